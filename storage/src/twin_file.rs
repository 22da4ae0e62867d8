//! A small file kept as two copies of one generation, replaced as a whole.
//!
//! ```text
//! commit:  write NAME.tmp and NAME.2.tmp, sync both
//!          rename NAME.tmp -> NAME, NAME.2.tmp -> NAME.2
//!          sync the directory                                 -- only now is the commit done
//! load:    read both copies, take the newer of those that are intact
//! ```
//!
//! After a commit has returned, both copies hold the same generation, so damage to one of them never leads back to
//! an older state. Where a crash left them one generation apart, the commit of the newer had not returned, and
//! nothing depends on it yet: either copy is a correct answer. The next commit writes both again.
//!
//! Where the content is secret, what a commit replaces, and what one that died left, is overwritten before it is removed: on
//! a disk that writes in place nobody finds it in free blocks. What has another name is none of ours, and is left as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::vfs::{OpenHow, Vfs, VfsFile};
use crate::{Generation, Result, StorageError};

/// The two copies of one file.
#[derive(Debug)]
pub struct TwinFile {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    copies: [&'static str; 2],
    max_len: u64,
    is_secret: bool,
    unsure: Option<String>,
}

/// What [`TwinFile::load`] found.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The content of the newest intact copy.
    pub value: T,
    /// Its generation.
    pub generation: Generation,
    /// Why the other copy cannot be used, or lags; `None` when both are intact and of one generation. The next commit
    /// replaces it.
    pub twin_problem: Option<StorageError>,
}

impl TwinFile {
    /// The copies `copies` in `directory`, none longer than `max_len` bytes.
    #[must_use]
    pub fn new(vfs: Arc<dyn Vfs>, directory: &Path, copies: [&'static str; 2], max_len: u64) -> Self {
        Self { vfs, directory: directory.to_path_buf(), copies, max_len, is_secret: false, unsure: None }
    }

    /// As [`new`](Self::new), for content of which nothing may stay behind.
    #[must_use]
    pub fn secret(vfs: Arc<dyn Vfs>, directory: &Path, copies: [&'static str; 2], max_len: u64) -> Self {
        Self { is_secret: true, ..Self::new(vfs, directory, copies, max_len) }
    }

    /// Reads both copies and returns the newest that `parse` accepts.
    ///
    /// `parse` is given the file's path and bytes, and returns the generation and the value. What it refuses as
    /// [`StorageError::Corrupt`] counts as damage to that copy, and so does what the system cannot read; every other
    /// refusal (a newer format, a wrong key) is about the database, and is returned at once.
    ///
    /// # Errors
    /// `NotFound` when neither copy exists; `Corrupt` naming the first copy when none is intact; what `parse` returns.
    pub fn load<T>(&self, parse: impl Fn(&Path, &[u8]) -> Result<(Generation, T)>) -> Result<Loaded<T>> {
        let [first, second] = self.copies.map(|name| self.load_copy(name, &parse));
        match (first, second) {
            (Ok(a), Ok(b)) => Ok(self.newer(a, b)),
            (Ok((generation, value)), Err(error)) | (Err(error), Ok((generation, value))) => {
                let twin_problem = Some(only_about_the_copy(error)?);
                Ok(Loaded { value, generation, twin_problem })
            }
            (Err(StorageError::NotFound { .. }), Err(error)) => Err(error),
            (Err(first), Err(second)) => {
                only_about_the_copy(second)?;
                Err(first)
            }
        }
    }

    fn newer<T>(&self, a: (Generation, T), b: (Generation, T)) -> Loaded<T> {
        let lagging = match a.0.cmp(&b.0) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Less => Some(0),
            std::cmp::Ordering::Greater => Some(1),
        };
        let twin_problem = lagging.map(|index| {
            StorageError::corrupt(
                self.path(self.copies[index]),
                0,
                "this copy is one generation behind its twin",
            )
        });
        let (generation, value) = if a.0 < b.0 { b } else { a };
        Loaded { value, generation, twin_problem }
    }

    /// The bytes of both copies, and of those that were being written in their place, as far as they are there.
    ///
    /// # Errors
    /// What the system reports.
    pub fn everything(&self) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for name in self.names() {
            match self.read(&self.path(&name)) {
                Ok(bytes) => found.push(bytes),
                Err(StorageError::NotFound { .. } | StorageError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn load_copy<T>(
        &self,
        name: &str,
        parse: &impl Fn(&Path, &[u8]) -> Result<(Generation, T)>,
    ) -> Result<(Generation, T)> {
        let path = self.path(name);
        parse(&path, &self.read(&path)?)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let read = |error| StorageError::io("read", path, error);
        let file = self.vfs.open(path, OpenHow::Read).map_err(read)?;
        let len = file.len().map_err(read)?;
        if len > self.max_len {
            return Err(StorageError::corrupt(path, self.max_len, format!("it is {len} bytes long")));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(read)?;
        Ok(bytes)
    }

    /// What was being written first: as long as a copy under its own name is left, all of it is found again.
    fn names(&self) -> impl Iterator<Item = String> {
        self.copies.map(temporary_name).into_iter().chain(self.copies.map(str::to_owned))
    }

    /// Replaces both copies by `bytes`. When it returns, both are on stable storage under their names.
    ///
    /// # Errors
    /// As long as [`is_unsure`](Self::is_unsure) is false after an error, the old content is in place and the commit
    /// can be tried again (a full disk, for one). Otherwise which generation is current is known only by loading
    /// again, and every further commit is refused as `Poisoned`.
    pub fn commit(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(first) = &self.unsure {
            return Err(StorageError::Poisoned { first: first.clone() });
        }
        if bytes.len() as u64 > self.max_len {
            let what = format!(
                "{} would be {} bytes long, the limit is {}",
                self.copies[0],
                bytes.len(),
                self.max_len
            );
            return Err(StorageError::UnsupportedFormat { file: self.path(self.copies[0]), what });
        }
        let replaced = self.to_wipe();
        for name in self.copies {
            if let Err(error) = self.write_temporary(name, bytes) {
                self.remove_temporaries();
                return Err(error);
            }
        }
        self.switch().inspect_err(|error| self.unsure = Some(error.to_string()))?;
        for file in replaced {
            // The new content counts, and is the only one that has a name.
            if let Err(error) = overwrite(&*file) {
                tracing::warn!(file = self.copies[0], %error, "what was replaced could not be overwritten");
            }
        }
        Ok(())
    }

    /// What the names stand for now, if it is to be overwritten when they stand for something else.
    fn to_wipe(&self) -> Vec<Arc<dyn VfsFile>> {
        let paths = self.copies.iter().filter(|_| self.is_secret).map(|name| self.path(name));
        let open = |path: PathBuf| {
            if has_other_names(&*self.vfs, &path) {
                tracing::warn!(file = %path.display(), "it has other names, and is not overwritten when it is replaced");
                return None;
            }
            self.vfs.open(&path, OpenHow::ReadWrite).ok()
        };
        paths.filter_map(open).collect()
    }

    /// Overwrites both copies, and what was being written in their place, and removes them. Returns the names of those that
    /// were there. What is not there is no error, so it can be called again after a crash.
    ///
    /// # Errors
    /// What the system reports; some may be gone then.
    pub fn destroy(&self) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        for name in self.names() {
            if destroy_file(&*self.vfs, &self.path(&name))? {
                gone.push(name);
            }
        }
        self.vfs
            .sync_dir(&self.directory)
            .map_err(|error| StorageError::io("sync", &self.directory, error))?;
        Ok(gone)
    }

    /// Whether a commit failed half-way, so that only loading again tells which generation is current.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.unsure.is_some()
    }

    fn write_temporary(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(&temporary_name(name));
        self.remove(&path)?;
        let file = self
            .vfs
            .open(&path, OpenHow::CreateNew)
            .map_err(|error| StorageError::io("create", &path, error))?;
        file.write_all_at(bytes, 0).map_err(|error| StorageError::io("write", &path, error))?;
        file.sync_all().map_err(|error| StorageError::io("sync", &path, error))
    }

    fn switch(&self) -> Result<()> {
        for name in self.copies {
            let (from, to) = (self.path(&temporary_name(name)), self.path(name));
            self.vfs.rename(&from, &to).map_err(|error| StorageError::io("replace", &to, error))?;
        }
        self.vfs.sync_dir(&self.directory).map_err(|error| StorageError::io("sync", &self.directory, error))
    }

    /// Best effort: what stays behind is replaced by the next commit, or removed by the next open.
    fn remove_temporaries(&self) {
        for name in self.copies {
            if let Err(error) = self.remove(&self.path(&temporary_name(name))) {
                tracing::warn!(%error, "could not remove a temporary file");
            }
        }
    }

    /// Removes a file, if there is one.
    fn remove(&self, path: &Path) -> Result<()> {
        let removed = if self.is_secret { wipe_file(&*self.vfs, path) } else { self.vfs.remove_file(path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Overwrites a file with zeros, syncs that, and removes it. Says whether there was one. Other names of the same file have
/// zeros then, too; a disk or file system that never writes in place may keep the old bytes somewhere.
///
/// # Errors
/// What the system reports.
pub fn destroy_file(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    let file = match vfs.open(path, OpenHow::ReadWrite) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StorageError::io("overwrite", path, error)),
    };
    overwrite(&*file).map_err(|error| StorageError::io("overwrite", path, error))?;
    drop(file);
    vfs.remove_file(path).map_err(|error| StorageError::io("remove", path, error))?;
    Ok(true)
}

/// Removes a file that holds a secret. It is overwritten with zeros first, unless it has other names: then it is somebody
/// else's, too, such as a copy's that was made with links.
///
/// # Errors
/// What the system reports, as of removing it.
pub fn wipe_file(vfs: &dyn Vfs, path: &Path) -> std::io::Result<()> {
    // Where the system does not say how many names a file has, it may have another one.
    if vfs.metadata(path).is_ok_and(|found| found.links == Some(1))
        && let Ok(file) = vfs.open(path, OpenHow::ReadWrite)
        && let Err(error) = overwrite(&*file)
    {
        tracing::warn!(file = %path.display(), %error, "it could not be overwritten before it is removed");
    }
    vfs.remove_file(path)
}

/// Whether the file at `path` has another name, too, or may have: the system reports an error.
pub fn has_other_names(vfs: &dyn Vfs, path: &Path) -> bool {
    match vfs.metadata(path) {
        Ok(found) => found.links.is_some_and(|links| links > 1),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn overwrite(file: &dyn VfsFile) -> std::io::Result<()> {
    let zeros = [0; 4096];
    let (len, mut at) = (file.len()?, 0);
    while at < len {
        let part = (len - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..part as usize], at)?;
        at += part;
    }
    file.sync_all()
}

/// The name under which the next content of `name` is written before it takes its place.
#[must_use]
pub fn temporary_name(name: &str) -> String {
    format!("{name}.tmp")
}

/// Passes on what makes one copy unusable while the other still counts.
fn only_about_the_copy(error: StorageError) -> Result<StorageError> {
    match error {
        StorageError::Corrupt { .. } | StorageError::NotFound { .. } | StorageError::Io { .. } => Ok(error),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{CallKind, Calls, Effect, Fault, FaultPlan, FaultyVfs, Keep, MemVfs};

    const NAMES: [&str; 2] = ["FILE", "FILE.2"];

    /// A generation, some content, and a checksum over both.
    fn encoded(generation: u64) -> Vec<u8> {
        let mut bytes = generation.to_le_bytes().to_vec();
        bytes.extend(std::iter::repeat_n(generation as u8, 1000));
        bytes.extend(blake3::hash(&bytes).as_bytes());
        bytes
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<(Generation, u64)> {
        let (content, checksum) = bytes.split_at(bytes.len().saturating_sub(32));
        if blake3::hash(content).as_bytes() != checksum {
            return Err(StorageError::corrupt(path, 0, "checksum"));
        }
        let generation = u64::from_le_bytes(content[..8].try_into().expect("eight bytes"));
        Ok((Generation(generation), generation))
    }

    fn fresh() -> (MemVfs, TwinFile) {
        let vfs = MemVfs::new();
        vfs.create_dir(Path::new("/db")).expect("new directory");
        vfs.sync_dir(Path::new("/")).expect("sync");
        let file = twin(&vfs);
        (vfs, file)
    }

    fn twin(vfs: &MemVfs) -> TwinFile {
        TwinFile::new(Arc::new(vfs.clone()), Path::new("/db"), NAMES, 4096)
    }

    fn load(vfs: &MemVfs) -> Result<Loaded<u64>> {
        twin(vfs).load(parse)
    }

    #[test]
    fn what_was_committed_is_loaded_from_either_copy() {
        let (vfs, mut file) = fresh();
        assert!(matches!(load(&vfs), Err(StorageError::NotFound { .. })));
        for generation in 1..4 {
            file.commit(&encoded(generation)).expect("commit");
            let loaded = load(&vfs).expect("intact");
            assert_eq!((loaded.value, loaded.twin_problem.is_none()), (generation, true));
        }
        for name in NAMES {
            let (vfs, mut file) = fresh();
            file.commit(&encoded(7)).expect("commit");
            vfs.remove_file(&Path::new("/db").join(name)).expect("remove");
            let loaded = load(&vfs).expect("one copy is left");
            assert_eq!((loaded.value, loaded.twin_problem.is_some()), (7, true));
            twin(&vfs).commit(&encoded(8)).expect("commit");
            assert!(load(&vfs).expect("intact").twin_problem.is_none(), "the next commit heals the pair");
        }
    }

    #[test]
    fn every_flipped_byte_in_one_copy_is_survived_and_in_both_is_corrupt() {
        for at in 0..encoded(3).len() as u64 {
            let (vfs, mut file) = fresh();
            file.commit(&encoded(3)).expect("commit");
            vfs.corrupt(Path::new("/db/FILE"), at, 1).expect("inside the file");
            let loaded = load(&vfs).expect("the twin is intact");
            assert_eq!((loaded.value, loaded.twin_problem.is_some()), (3, true));
            vfs.corrupt(Path::new("/db/FILE.2"), at, 0x80).expect("inside the file");
            assert!(
                matches!(load(&vfs), Err(StorageError::Corrupt { file, .. }) if file == Path::new("/db/FILE"))
            );
        }
    }

    #[test]
    fn a_copy_that_the_disk_cannot_read_is_survived_and_both_are_an_error() {
        let names = ["ONE", "TWO"];
        for name in names {
            let plan = FaultPlan::new();
            let faulty = FaultyVfs::over_memory(fresh().0, plan.clone());
            let mut file = TwinFile::new(Arc::new(faulty), Path::new("/db"), names, 4096);
            file.commit(&encoded(5)).expect("commit");
            let unreadable = Fault::new(Calls::Only(CallKind::Read), Effect::Fail(std::io::ErrorKind::Other));
            plan.add(unreadable.clone().on(name).lasting());
            let loaded = file.load(parse).expect("the twin is readable");
            assert_eq!((loaded.value, loaded.twin_problem.is_some()), (5, true));
            plan.add(unreadable.lasting());
            assert!(matches!(file.load(parse), Err(StorageError::Io { .. })));
        }
    }

    #[test]
    fn a_lagging_copy_never_wins() {
        for lagging in NAMES {
            let (vfs, mut file) = fresh();
            file.commit(&encoded(1)).expect("commit");
            let old = Path::new("/db").join(lagging);
            let kept = Path::new("/db/kept");
            vfs.hard_link(&old, kept).expect("link");
            file.commit(&encoded(2)).expect("commit");
            vfs.rename(kept, &old).expect("rename");
            let loaded = load(&vfs).expect("both are intact");
            assert_eq!((loaded.value, loaded.twin_problem.is_some()), (2, true));
        }
    }

    #[test]
    fn a_refusal_that_is_about_the_database_is_not_taken_for_damage() {
        let (vfs, mut file) = fresh();
        file.commit(&encoded(1)).expect("commit");
        let refused = twin(&vfs).load(|path, bytes| {
            if path.ends_with("FILE.2") {
                return Err(StorageError::UnsupportedFormat {
                    file: path.to_path_buf(),
                    what: "newer".into(),
                });
            }
            parse(path, bytes)
        });
        assert!(matches!(refused, Err(StorageError::UnsupportedFormat { .. })));
    }

    #[test]
    fn an_oversized_copy_is_damage_and_an_oversized_commit_is_refused() {
        let (vfs, mut file) = fresh();
        file.commit(&encoded(1)).expect("commit");
        assert!(file.commit(&[0; 4097]).is_err());
        assert!(!file.is_unsure());
        let long = vfs.open(Path::new("/db/FILE"), OpenHow::ReadWrite).expect("open");
        long.set_len(8192).expect("extend");
        assert_eq!(load(&vfs).expect("the twin is intact").value, 1);
    }

    #[test]
    fn a_power_cut_at_any_call_leaves_the_old_or_the_new_generation() {
        for seed in 0..20u64 {
            let mut at = 0;
            loop {
                let (vfs, mut file) = fresh();
                file.commit(&encoded(1)).expect("commit");
                let plan = FaultPlan::new();
                plan.crash_at(at);
                let faulty = FaultyVfs::over_memory(vfs.clone(), plan);
                let mut second = TwinFile::new(Arc::new(faulty), Path::new("/db"), NAMES, 4096);
                let done = second.commit(&encoded(2)).is_ok();
                let mut state = seed;
                let mut random = || {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    state >> 33
                };
                vfs.crash(&mut random, Keep::Random);
                let loaded = load(&vfs).expect("a power cut never loses both");
                assert!(
                    loaded.value == 2 || !done && loaded.value == 1,
                    "seed {seed}, call {at}: {}",
                    loaded.value
                );
                twin(&vfs).commit(&encoded(3)).expect("the leftovers are in nobody's way");
                if done {
                    break;
                }
                at += 1;
            }
            assert!(at > 5, "the commit makes several calls");
        }
    }
}
