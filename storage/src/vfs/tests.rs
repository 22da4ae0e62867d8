//! What holds for the system's files and those in memory alike.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Keep, MemVfs, OpenHow, OsVfs, Vfs, VfsFile};

/// A file system and an empty directory in it.
struct Place {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    handles: Vec<Option<Arc<dyn VfsFile>>>,
}

impl Place {
    fn new(vfs: impl Vfs + 'static, dir: &Path) -> Self {
        Self { vfs: Arc::new(vfs), dir: dir.to_owned(), handles: vec![None, None] }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Runs `check` on both.
fn on_both(check: impl Fn(&Place)) {
    check(&Place::new(MemVfs::new(), Path::new("/")));
    let dir = tempfile::tempdir().unwrap();
    check(&Place::new(OsVfs::new(), dir.path()));
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().map_or_else(|| panic!("no error"), |error| error.kind())
}

const NAMES: [&str; 7] = ["a", "b", "d", "d/a", "d/e", "d/e/a", "missing/a"];
const HOW: [OpenHow; 3] = [OpenHow::Read, OpenHow::CreateNew, OpenHow::ReadWrite];

#[derive(Debug, Clone)]
enum Step {
    Open { handle: usize, name: usize, how: usize },
    Close { handle: usize },
    Read { handle: usize, offset: u64, len: usize },
    Write { handle: usize, offset: u64, len: usize, byte: u8 },
    SetLen { handle: usize, len: u64 },
    Sync { handle: usize },
    MapWrite { handle: usize, offset: u64, len: usize, at: usize },
    MapRead { handle: usize, len: usize },
    CreateDir { name: usize },
    RemoveDir { name: usize },
    RemoveFile { name: usize },
    Rename { from: usize, to: usize },
    HardLink { from: usize, to: usize },
    SyncDir { name: usize },
    List { name: usize },
    Metadata { name: usize },
    Lock { name: usize },
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let handle = 0..2_usize;
    let name = || 0..NAMES.len();
    let offset = || prop_oneof![0..20_u64, 4090..4100_u64, Just(i64::MAX as u64), Just(u64::MAX)];
    prop_oneof![
        4 => (handle.clone(), name(), 0..3_usize).prop_map(|(handle, name, how)| Open { handle, name, how }),
        1 => handle.clone().prop_map(|handle| Close { handle }),
        3 => (handle.clone(), offset(), 0..5000_usize)
            .prop_map(|(handle, offset, len)| Read { handle, offset, len }),
        4 => (handle.clone(), 0..5000_u64, 0..5000_usize, any::<u8>())
            .prop_map(|(handle, offset, len, byte)| Write { handle, offset, len, byte }),
        1 => (handle.clone(), 0..20_000_u64).prop_map(|(handle, len)| SetLen { handle, len }),
        1 => handle.clone().prop_map(|handle| Sync { handle }),
        2 => (handle.clone(), prop_oneof![Just(0), Just(4096), Just(100)], 0..9000_usize, 0..9000_usize)
            .prop_map(|(handle, offset, len, at)| MapWrite { handle, offset, len, at }),
        1 => (handle, 0..9000_usize).prop_map(|(handle, len)| MapRead { handle, len }),
        2 => name().prop_map(|name| CreateDir { name }),
        1 => name().prop_map(|name| RemoveDir { name }),
        1 => name().prop_map(|name| RemoveFile { name }),
        3 => (name(), name()).prop_map(|(from, to)| Rename { from, to }),
        2 => (name(), name()).prop_map(|(from, to)| HardLink { from, to }),
        1 => name().prop_map(|name| SyncDir { name }),
        1 => name().prop_map(|name| List { name }),
        1 => name().prop_map(|name| Metadata { name }),
        1 => name().prop_map(|name| Lock { name }),
    ]
}

/// What a step shows: the text of its result, or the kind of its error.
fn run(place: &mut Place, step: &Step) -> String {
    run_on_names(place, step).unwrap_or_else(|error| format!("{:?}", error.kind()))
}

fn run_on_names(place: &mut Place, step: &Step) -> io::Result<String> {
    let path = |name: &usize| place.path(NAMES[*name]);
    let vfs = &place.vfs;
    match step {
        Step::Open { handle, name, how } => {
            let file = vfs.open(&path(name), HOW[*how])?;
            place.handles[*handle] = Some(file);
        }
        Step::Close { handle } => place.handles[*handle] = None,
        Step::CreateDir { name } => vfs.create_dir(&path(name))?,
        Step::RemoveDir { name } => vfs.remove_dir(&path(name))?,
        Step::RemoveFile { name } => vfs.remove_file(&path(name))?,
        Step::Rename { from, to } => vfs.rename(&path(from), &path(to))?,
        Step::HardLink { from, to } => vfs.hard_link(&path(from), &path(to))?,
        Step::SyncDir { name } => vfs.sync_dir(&path(name))?,
        Step::List { name } => {
            let shown = vfs
                .list(&path(name))?
                .into_iter()
                .map(|entry| (entry.name, (!entry.is_dir).then_some(entry.len)));
            return Ok(format!("{:?}", shown.collect::<Vec<_>>()));
        }
        Step::Metadata { name } => {
            let found = vfs.metadata(&path(name))?;
            let len = (!found.is_dir).then_some(found.len);
            return Ok(format!("{len:?} {:?} {:?}", found.mode, found.links));
        }
        Step::Lock { name } => {
            let _lock = vfs.lock(&path(name))?;
            return Ok(format!("{:?}", kind(vfs.lock(&path(name)))));
        }
        Step::Read { handle, .. }
        | Step::Write { handle, .. }
        | Step::SetLen { handle, .. }
        | Step::Sync { handle }
        | Step::MapWrite { handle, .. }
        | Step::MapRead { handle, .. } => {
            return place.handles[*handle]
                .as_ref()
                .map_or(Ok("closed".into()), |file| run_on_file(file.as_ref(), step));
        }
    }
    Ok("done".into())
}

fn run_on_file(file: &dyn VfsFile, step: &Step) -> io::Result<String> {
    match *step {
        Step::Read { offset, len, .. } => {
            let mut buf = vec![0; len];
            let count = file.read_at(&mut buf, offset)?;
            let exact = file.read_exact_at(&mut vec![0; len], offset).map_err(|error| error.kind());
            return Ok(format!("{} {exact:?}", blake3::hash(&buf[..count])));
        }
        Step::Write { offset, len, byte, .. } => file.write_all_at(&vec![byte; len], offset)?,
        Step::SetLen { len, .. } => file.set_len(len)?,
        Step::Sync { .. } => file.sync_data().and_then(|()| file.sync_all())?,
        Step::MapWrite { offset, len, at, .. } => {
            let map = file.map_write(offset, len)?;
            let stored = map.write(at, b"mapped").map_err(|error| error.kind());
            let published = map.publish_u32(at, 0x0a0b_0c0d).map_err(|error| error.kind());
            return Ok(format!("{stored:?} {published:?}"));
        }
        Step::MapRead { len, .. } => return Ok(blake3::hash(file.map_read(len)?.bytes()).to_string()),
        _ => unreachable!("not a step on a file"),
    }
    Ok(format!("{}", file.len()?))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_behaves_like_the_system(steps in vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut system = Place::new(OsVfs::new(), dir.path());
        let mut memory = Place::new(MemVfs::new(), Path::new("/"));
        for step in &steps {
            prop_assert_eq!(run(&mut memory, step), run(&mut system, step), "{:?}", step);
        }
    }
}

/// Every path below `dir`, with the content of the files.
fn snapshot(vfs: &MemVfs, dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in vfs.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            found.append(&mut snapshot(vfs, &path));
            found.insert(path, None);
        } else {
            let mut bytes = vec![0; entry.len as usize];
            vfs.open(&path, OpenHow::Read).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

/// Syncs what `snapshot` sees, below `dir` in either order.
fn sync_all(vfs: &MemVfs, names_first: bool) {
    let root = Path::new("/");
    let mut found: Vec<_> = snapshot(vfs, root).into_iter().collect();
    found.push((root.to_owned(), None));
    if names_first {
        found.reverse();
    }
    for (path, content) in found {
        match content {
            Some(_) => vfs.open(&path, OpenHow::Read).unwrap().sync_data().unwrap(),
            None => vfs.sync_dir(&path).unwrap(),
        }
    }
}

fn run_in_memory(vfs: &MemVfs, steps: &[Step]) {
    let mut place = Place::new(vfs.clone(), Path::new("/"));
    for step in steps {
        run(&mut place, step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_takes_nothing_that_was_synced(
        steps in vec(step(), 1..60), names_first: bool, draws in vec(any::<u64>(), 1..50),
    ) {
        let vfs = MemVfs::new();
        run_in_memory(&vfs, &steps);
        sync_all(&vfs, names_first);
        let before = snapshot(&vfs, Path::new("/"));
        let mut draws = draws.into_iter().cycle();
        for keep in [Keep::Random, Keep::Nothing, Keep::Everything] {
            vfs.crash(&mut || draws.next().unwrap_or_default(), keep);
            prop_assert_eq!(&before, &snapshot(&vfs, Path::new("/")));
        }
    }

    #[test]
    fn a_late_power_cut_or_a_kill_takes_nothing(steps in vec(step(), 1..60), kill: bool) {
        let vfs = MemVfs::new();
        run_in_memory(&vfs, &steps);
        let before = snapshot(&vfs, Path::new("/"));
        if kill { vfs.kill_process() } else { vfs.crash(&mut || 0, Keep::Everything) }
        prop_assert_eq!(before, snapshot(&vfs, Path::new("/")));
    }

    #[test]
    fn work_goes_on_after_a_power_cut(
        before in vec(step(), 1..60), after in vec(step(), 1..30), draws in vec(any::<u64>(), 1..50),
    ) {
        let vfs = MemVfs::new();
        run_in_memory(&vfs, &before);
        let mut draws = draws.into_iter().cycle();
        vfs.crash(&mut || draws.next().unwrap_or_default(), Keep::Random);
        let left = snapshot(&vfs, Path::new("/"));
        vfs.crash(&mut || 0, Keep::Nothing);
        prop_assert_eq!(&left, &snapshot(&vfs, Path::new("/")), "what a cut left is on the disk");
        run_in_memory(&vfs, &after);
        sync_all(&vfs, false);
    }
}

#[test]
fn new_files_and_directories_are_private() {
    on_both(|place| {
        let file = place.path("file");
        place.vfs.open(&file, OpenHow::CreateNew).unwrap();
        place.vfs.create_dir(&place.path("dir")).unwrap();
        let _lock = place.vfs.lock(&place.path("lock")).unwrap();
        let mode = |name| place.vfs.metadata(&place.path(name)).unwrap().mode;
        if cfg!(unix) {
            assert_eq!((mode("file"), mode("dir"), mode("lock")), (Some(0o600), Some(0o700), Some(0o600)));
        }
    });
}

#[test]
fn one_lock_excludes_another_in_the_same_process_until_dropped() {
    on_both(|place| {
        let path = place.path("lock");
        let lock = place.vfs.lock(&path).unwrap();
        assert_eq!(kind(place.vfs.lock(&path)), ErrorKind::WouldBlock);
        let other = place.vfs.lock(&place.path("other")).unwrap();
        drop(lock);
        place.vfs.lock(&path).unwrap();
        drop(other);
    });
}

#[test]
fn shared_locks_keep_out_exclusive_ones_only() {
    on_both(|place| {
        let path = place.path("lock");
        assert_eq!(kind(place.vfs.lock_shared(&path)), ErrorKind::NotFound);
        let exclusive = place.vfs.lock(&path).unwrap();
        assert_eq!(kind(place.vfs.lock_shared(&path)), ErrorKind::WouldBlock);
        drop(exclusive);
        let first = place.vfs.lock_shared(&path).unwrap();
        let second = place.vfs.lock_shared(&path).unwrap();
        drop(first);
        assert_eq!(kind(place.vfs.lock(&path)), ErrorKind::WouldBlock);
        drop(second);
        place.vfs.lock(&path).unwrap();
    });
}

#[test]
fn what_is_written_through_a_map_is_in_the_file_at_once() {
    on_both(|place| {
        let file = place.vfs.open(&place.path("log"), OpenHow::CreateNew).unwrap();
        file.write_all_at(&[0; 8192], 0).unwrap();
        let map = file.map_write(4096, 4096).unwrap();
        map.write(3, b"body").unwrap();
        map.publish_u32(8, 0x0403_0201).unwrap();
        let mut seen = [0; 12];
        file.read_exact_at(&mut seen, 4096).unwrap();
        assert_eq!(&seen, b"\0\0\0body\0\x01\x02\x03\x04");

        assert_eq!(kind(map.write(4093, b"body")), ErrorKind::InvalidInput);
        assert_eq!(kind(map.write(usize::MAX, b"body")), ErrorKind::InvalidInput);
        assert_eq!(kind(map.publish_u32(6, 1)), ErrorKind::InvalidInput);
        assert_eq!(kind(map.publish_u32(4096, 1)), ErrorKind::InvalidInput);
        assert_eq!(kind(file.map_write(4096, 4097)), ErrorKind::InvalidInput);
        assert_eq!(kind(file.map_read(8193)), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_removed_file_lives_as_long_as_a_handle() {
    on_both(|place| {
        let path = place.path("file");
        let file = place.vfs.open(&path, OpenHow::CreateNew).unwrap();
        file.write_all_at(b"still", 0).unwrap();
        place.vfs.remove_file(&path).unwrap();
        place.vfs.sync_dir(&place.dir).unwrap();
        let mut seen = [0; 5];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"still");
        assert_eq!(kind(place.vfs.metadata(&path)), ErrorKind::NotFound);
    });
}

#[test]
fn boot_and_process_ids_are_stable_within_a_process() {
    on_both(|place| {
        let dir = place.path("boot");
        place.vfs.create_dir(&dir).unwrap();
        assert_eq!(place.vfs.boot_id(&dir), place.vfs.boot_id(&dir));
        assert_eq!(place.vfs.process_id(), place.vfs.process_id());
    });
}
