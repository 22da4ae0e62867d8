//! Directories and names: as processes see them, and as the disk has them.
//!
//! Invariant: applying `unsynced` in order to the durable names gives the current ones. An
//! operation is applied whole, so a rename is atomic, between two directories too; and of
//! operations that touch one name, none becomes durable before an earlier one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::Arc;

use super::content::Content;
use super::crash::Chance;

/// The number of a file or directory; never used again.
pub(super) type Inode = u64;

const ROOT: Inode = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    File(Inode),
    Dir(Inode),
}

#[derive(Clone)]
pub(super) struct Tree {
    files: BTreeMap<Inode, Content>,
    dirs: BTreeMap<Inode, Dir>,
    unsynced: Vec<Operation>,
    next: Inode,
}

#[derive(Clone, Default)]
struct Dir {
    current: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
}

/// Names that change together.
type Operation = Vec<Change>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    dir: Inode,
    name: String,
}

#[derive(Clone)]
struct Change {
    name: Name,
    /// What the name stands for from now on; `None`: for nothing.
    to: Option<Entry>,
}

impl Tree {
    /// An empty root directory.
    pub(super) fn new() -> Self {
        let dirs = BTreeMap::from([(ROOT, Dir::default())]);
        Self { files: BTreeMap::new(), dirs, unsynced: Vec::new(), next: ROOT + 1 }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Entry> {
        self.walk(&names_of(path)?)
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<Inode> {
        match self.find(path)? {
            Entry::File(file) => Ok(file),
            Entry::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    /// The names in a directory, sorted.
    pub(super) fn entries(&self, dir: &Path) -> io::Result<Vec<(String, Entry)>> {
        let dir = self.find_dir(&names_of(dir)?)?;
        Ok(self.dir(dir)?.current.iter().map(|(name, entry)| (name.clone(), *entry)).collect())
    }

    pub(super) fn content(&self, file: Inode) -> io::Result<&Content> {
        self.files.get(&file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn content_mut(&mut self, file: Inode) -> io::Result<&mut Content> {
        self.files.get_mut(&file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Bytes of all files that have a name or are open.
    pub(super) fn used(&self) -> u64 {
        let named = self.inodes(|dir| &dir.current);
        let live = self.files.iter().filter(|(inode, file)| file.opens > 0 || named.contains(inode));
        live.map(|(_, file)| file.bytes().len() as u64).sum()
    }

    pub(super) fn create_file(&mut self, path: &Path, content: Content) -> io::Result<Inode> {
        let name = self.new_name(path)?;
        let file = self.draw_inode();
        self.files.insert(file, content);
        self.perform(vec![Change { name, to: Some(Entry::File(file)) }]);
        Ok(file)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let name = self.new_name(path)?;
        let dir = self.draw_inode();
        self.dirs.insert(dir, Dir::default());
        self.perform(vec![Change { name, to: Some(Entry::Dir(dir)) }]);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find_dir(&names_of(path)?)?;
        let name = self.name(path)?;
        if !self.dir(dir)?.current.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.perform(vec![Change { name, to: None }]);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.find_file(path)?;
        let name = self.name(path)?;
        self.perform(vec![Change { name, to: None }]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let moved = self.find(from)?;
        let target = match self.find(to) {
            Ok(target) => Some(target),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (old, new) = (self.name(from)?, self.name(to)?);
        let (from, to) = (names_of(from)?, names_of(to)?);
        match (moved, target) {
            (Entry::Dir(_), Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (Entry::Dir(_), None) if to.starts_with(&from) => {
                return Err(ErrorKind::InvalidInput.into());
            }
            (Entry::File(_), Some(Entry::Dir(_))) if from.starts_with(&to) => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            (Entry::File(_), Some(Entry::Dir(_))) => return Err(ErrorKind::IsADirectory.into()),
            (moved, target) if Some(moved) == target => return Ok(()),
            (Entry::File(file), Some(Entry::File(replaced))) => {
                let other = Arc::clone(self.content(replaced)?.bytes());
                self.content_mut(file)?.replace(other);
            }
            _ => {}
        }
        self.perform(vec![Change { name: old, to: None }, Change { name: new, to: Some(moved) }]);
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let linked = self.find(from)?;
        let name = self.new_name(to)?;
        if matches!(linked, Entry::Dir(_)) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.perform(vec![Change { name, to: Some(linked) }]);
        Ok(())
    }

    /// Makes durable all operations that touch `dir`, and those that had to come before.
    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = self.find_dir(&names_of(dir)?)?;
        let mut touched = BTreeSet::new();
        let mut waiting = Vec::new();
        let mut synced = Vec::new();
        for operation in std::mem::take(&mut self.unsynced).into_iter().rev() {
            if operation.iter().any(|change| change.name.dir == dir || touched.contains(&change.name)) {
                touched.extend(operation.iter().map(|change| change.name.clone()));
                synced.push(operation);
            } else {
                waiting.push(operation);
            }
        }
        waiting.reverse();
        self.unsynced = waiting;
        synced.into_iter().rev().for_each(|operation| self.make_durable(operation));
        self.forget_the_lost();
        Ok(())
    }

    /// Makes everything durable: names and content.
    pub(super) fn sync_everything(&mut self) {
        for operation in std::mem::take(&mut self.unsynced) {
            self.make_durable(operation);
        }
        self.files.values_mut().for_each(Content::sync);
        self.forget_the_lost();
    }

    /// A power cut; with `chance`, a random part of what was not synced is kept.
    pub(super) fn crash(&mut self, mut chance: Option<Chance<'_>>) {
        let mut lost = BTreeSet::new();
        for operation in std::mem::take(&mut self.unsynced) {
            let possible = operation.iter().all(|change| !lost.contains(&change.name));
            if possible && chance.as_mut().is_some_and(Chance::keeps) {
                self.make_durable(operation);
            } else {
                lost.extend(operation.into_iter().map(|change| change.name));
            }
        }
        self.dirs.values_mut().for_each(|dir| dir.current.clone_from(&dir.durable));
        self.files.values_mut().for_each(|file| file.crash(chance.as_mut()));
        self.forget_the_lost();
    }

    /// The end of a process: files stay, open handles do not.
    pub(super) fn close_all(&mut self) {
        self.files.values_mut().for_each(|file| file.opens = 0);
        self.forget_the_lost();
    }

    /// Files that anything can still reach, now or after a crash.
    #[cfg(test)]
    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    fn perform(&mut self, operation: Operation) {
        for change in &operation {
            if let Some(dir) = self.dirs.get_mut(&change.name.dir) {
                set(&mut dir.current, change.name.name.clone(), change.to);
            }
        }
        self.unsynced.push(operation);
    }

    fn make_durable(&mut self, operation: Operation) {
        for change in operation {
            if let Some(dir) = self.dirs.get_mut(&change.name.dir) {
                set(&mut dir.durable, change.name.name, change.to);
            }
        }
    }

    /// Drops files and directories that nothing can reach any more, now or after a crash.
    fn forget_the_lost(&mut self) {
        let mut kept = self.inodes(|dir| &dir.current);
        kept.extend(self.inodes(|dir| &dir.durable));
        kept.extend(self.unsynced.iter().flatten().filter_map(|change| change.to.map(Entry::inode)));
        self.files.retain(|inode, file| file.opens > 0 || kept.contains(inode));
        self.dirs.retain(|inode, _| *inode == ROOT || kept.contains(inode));
    }

    fn inodes(&self, of: impl Fn(&Dir) -> &BTreeMap<String, Entry>) -> BTreeSet<Inode> {
        self.dirs.values().flat_map(|dir| of(dir).values()).map(|entry| entry.inode()).collect()
    }

    /// How many names a file has.
    pub(super) fn names(&self, file: Inode) -> u64 {
        let entries = self.dirs.values().flat_map(|dir| dir.current.values());
        entries.filter(|entry| **entry == Entry::File(file)).count() as u64
    }

    fn draw_inode(&mut self) -> Inode {
        self.next += 1;
        self.next
    }

    fn dir(&self, dir: Inode) -> io::Result<&Dir> {
        self.dirs.get(&dir).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn walk(&self, names: &[&str]) -> io::Result<Entry> {
        let Some((last, parents)) = names.split_last() else {
            return Ok(Entry::Dir(ROOT));
        };
        let parent = self.dir(self.find_dir(parents)?)?;
        parent.current.get(*last).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn find_dir(&self, names: &[&str]) -> io::Result<Inode> {
        let mut at = ROOT;
        for name in names {
            match self.dir(at)?.current.get(*name) {
                Some(Entry::Dir(next)) => at = *next,
                Some(Entry::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => return Err(ErrorKind::NotFound.into()),
            }
        }
        Ok(at)
    }

    /// The name at `path`, whether or not it stands for something; its directory exists.
    fn name(&self, path: &Path) -> io::Result<Name> {
        let names = names_of(path)?;
        let (last, parents) = names.split_last().ok_or(ErrorKind::InvalidInput)?;
        Ok(Name { dir: self.find_dir(parents)?, name: (*last).to_owned() })
    }

    fn new_name(&self, path: &Path) -> io::Result<Name> {
        match self.find(path) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => self.name(path),
            Err(error) => Err(error),
        }
    }
}

impl Entry {
    fn inode(self) -> Inode {
        match self {
            Self::File(inode) | Self::Dir(inode) => inode,
        }
    }
}

fn set(names: &mut BTreeMap<String, Entry>, name: String, to: Option<Entry>) {
    match to {
        Some(entry) => names.insert(name, entry),
        None => names.remove(&name),
    };
}

/// The names from the root to `path`. Absolute and relative paths are the same: the root is
/// the current directory.
fn names_of(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            Component::ParentDir => return Err(ErrorKind::InvalidInput.into()),
            Component::Normal(name) => names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?),
        }
    }
    Ok(names)
}
