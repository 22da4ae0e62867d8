//! What comes in between at the worst moment, by a file system that calls back.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use lightning_db_crypto::KeySource;
use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::vfs::{DirEntry, FileLock, MemVfs, Metadata, OpenHow, Vfs, VfsFile};
use lightning_db_sync::Mutex;

use super::support::{PATH, World, small};
use crate::database::Database;

/// Long enough for a thread that is not held up to get where it is going.
const MEANWHILE: Duration = Duration::from_millis(200);
/// Only a deadlock takes so long.
const FOR_EVER: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    CreateLog,
    RemoveLog,
    SyncDirectory,
}

type Hook = Box<dyn FnOnce() + Send>;

/// A disk that calls back, once, before a call of one kind.
struct Calling {
    disk: MemVfs,
    hooks: Hooks,
}

/// What is to happen, and at which call of its kind, counted from 0.
type Hooks = Arc<Mutex<Option<(Moment, u32, Hook)>>>;

impl Calling {
    fn moment(&self, moment: Moment) {
        let mut hooks = self.hooks.lock();
        let hook = match &mut *hooks {
            Some((wanted, 0, _)) if *wanted == moment => hooks.take(),
            Some((wanted, left, _)) if *wanted == moment => {
                *left -= 1;
                None
            }
            _ => None,
        };
        drop(hooks);
        if let Some((.., hook)) = hook {
            hook();
        }
    }
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calling")
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
}

impl Vfs for Calling {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn VfsFile>> {
        if is_log(path) && how == OpenHow::CreateNew {
            self.moment(Moment::CreateLog);
        }
        self.disk.open(path, how)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.disk.metadata(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        if is_log(path) {
            self.moment(Moment::RemoveLog);
        }
        self.disk.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.moment(Moment::SyncDirectory);
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.disk.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.disk.lock_shared(path)
    }

    fn available_space(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.disk.available_space(dir)
    }

    fn boot_id(&self, dir: &Path) -> [u8; 16] {
        self.disk.boot_id(dir)
    }

    fn process_id(&self) -> u32 {
        self.disk.process_id()
    }
}

/// A database, and where to say what happens at which moment.
fn database(seed: u64) -> (Arc<Database>, impl Fn(Moment, u32, Hook)) {
    let world = World::new(seed);
    let hooks = Hooks::default();
    let calling = Calling { disk: world.disk.clone(), hooks: Arc::clone(&hooks) };
    let environment = world.environment_on(Arc::new(calling));
    let db = Database::create_in(environment, PATH, small()).expect("a new database");
    (db, move |moment, after, what| *hooks.lock() = Some((moment, after, what)))
}

#[test]
fn a_checkpoint_that_is_dropped_while_a_rollback_goes_to_it_takes_no_file_away() {
    let (db, at) = database(1);
    let fill = |value: u8| {
        for key in 0..500_u32 {
            db.put(&key.to_be_bytes(), &[value; 100]).expect("put");
        }
        db.compact().expect("compact");
    };
    fill(1);
    db.create_named_checkpoint("then").expect("checkpoint");
    fill(2);
    let (done, dropped) = channel();
    let other = Arc::clone(&db);
    let drop_it = move || {
        let (done_there, soon) = channel();
        std::thread::spawn(move || {
            let _ = other.drop_named_checkpoint("then");
            let _ = done_there.send(());
            let _ = done.send(());
        });
        let _ = soon.recv_timeout(MEANWHILE);
    };
    at(Moment::CreateLog, 0, Box::new(drop_it));
    db.rollback_to("then").expect("rollback");
    dropped.recv_timeout(FOR_EVER).expect("the checkpoint is dropped in the end");
    for key in 0..500_u32 {
        let found = db.get(&key.to_be_bytes()).expect("readable");
        assert_eq!(found.as_deref(), Some(&[1; 100][..]));
    }
    db.close().expect("close");
}

#[test]
fn while_a_rollback_ends_no_record_is_filled_under_a_number_of_the_history_that_is_left() {
    let (db, at) = database(2);
    db.put(b"k", b"then").expect("put");
    db.create_named_checkpoint("then").expect("checkpoint");
    db.put(b"k", b"later").expect("put");
    let before = db.snapshot();
    // It is removed when the new trees are there, after the segment that was written to.
    db.engine.prepare_ahead().expect("a segment of the log");
    let other = Arc::clone(&db);
    let read = move || {
        for _ in 0..4 {
            other.get(b"k").expect("readable");
        }
    };
    at(Moment::RemoveLog, 1, Box::new(read));
    db.rollback_to("then").expect("rollback");
    assert_eq!(before.get(b"k").expect("readable").as_deref(), Some(&b"later"[..]));
    assert_eq!(db.get(b"k").expect("readable").as_deref(), Some(&b"then"[..]));
}

#[test]
fn a_change_of_keys_beside_a_new_segment_and_a_new_manifest_ends() {
    let (db, at) = database(3);
    let (done, all_done) = channel();
    let (begins, changes) = (Arc::clone(&db), Arc::clone(&db));
    let (begun, changed) = (done.clone(), done.clone());
    let meanwhile = move || {
        std::thread::spawn(move || {
            begins.engine.segment_options(SegmentKind::Run);
            let _ = begun.send(());
        });
        std::thread::sleep(MEANWHILE);
        std::thread::spawn(move || {
            changes.add_key(KeySource::raw([9; 32]), "another").expect("add a key");
            let _ = changed.send(());
        });
        std::thread::sleep(MEANWHILE);
    };
    at(Moment::SyncDirectory, 0, Box::new(meanwhile));
    let writes = Arc::clone(&db);
    std::thread::spawn(move || {
        writes.engine.change_manifest(|_| {}).expect("a manifest");
        let _ = done.send(());
    });
    let ended = (0..3).filter(|_| all_done.recv_timeout(FOR_EVER).is_ok()).count();
    if ended < 3 {
        // Nor would closing it end.
        std::mem::forget(db);
        panic!("{ended} of 3 ended");
    }
}
