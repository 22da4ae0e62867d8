//! Where a repository keeps its objects.
//!
//! An object has a name like a relative path, and bytes. It comes into being whole or not at all, only if its name is
//! free, and is never changed after that. The one exception is a hint that nothing depends on, which
//! [`ObjectStore::replace`] writes.

mod directory;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use lightning_db_storage::vfs::Vfs;

use crate::Result;

pub use directory::DirectoryStore;

/// Objects by name.
pub trait ObjectStore: Send + Sync + Debug {
    /// Where the objects are, for messages.
    fn place(&self) -> String;

    /// Where the objects are, as it is found from anywhere: what [`place`](Self::place) says may depend on the working
    /// directory.
    fn address(&self) -> String {
        self.place()
    }

    /// Creates an object from what `content` writes, unless the name is taken. When this returns [`Put::Created`], the
    /// object is durable. If `content` fails, or the process dies, there is no object.
    ///
    /// # Errors
    /// What `content` returns; a full disk, and what the system reports.
    fn put_if_absent(&self, name: &str, content: Content<'_>) -> Result<Put>;

    /// Writes a small object in place of the one that may be there. A reader sees the old bytes or the new ones.
    ///
    /// # Errors
    /// What the system reports.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// An object, for reading; `None` if there is none of that name.
    ///
    /// # Errors
    /// What the system reports.
    fn get(&self, name: &str) -> Result<Option<Box<dyn ObjectReader>>>;

    /// All objects whose names begin with `prefix` and a slash, in order of their names.
    ///
    /// # Errors
    /// What the system reports.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>>;

    /// Deletes an object. That there is none is no error.
    ///
    /// # Errors
    /// What the system reports.
    fn delete(&self, name: &str) -> Result<()>;

    /// Deletes an object, and overwrites its bytes first where they are a file. That there is none is no error.
    ///
    /// # Errors
    /// What the system reports.
    fn destroy(&self, name: &str) -> Result<()>;

    /// Makes the place if it does not exist, and keeps other writers out until the result is dropped. What a writer that
    /// died left behind unfinished is removed.
    ///
    /// # Errors
    /// [`Busy`](crate::BackupError::Busy) when there is another writer, [`NotEmpty`](crate::BackupError::NotEmpty) when
    /// there is something else than a repository.
    fn lock(&self) -> Result<Box<dyn WriterLock>>;

    /// The file that is the object of this name, for stores that keep their objects as files: what is in it can then be
    /// read in place.
    fn file(&self, name: &str) -> Option<(Arc<dyn Vfs>, PathBuf)>;

    /// Whether there is no object, and nothing of anybody else; empty folders do not count.
    ///
    /// # Errors
    /// What the system reports.
    fn is_empty(&self) -> Result<bool>;
}

/// Writes the bytes of an object to the sink. May be called once only.
pub type Content<'a> = &'a mut dyn FnMut(&mut dyn ObjectSink) -> Result<()>;

/// Takes the bytes of an object that is being created.
pub trait ObjectSink {
    /// Appends bytes.
    ///
    /// # Errors
    /// A full disk, and what the system reports.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Reads one object, from any thread.
pub trait ObjectReader: Send + Sync + Debug {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at `offset`, and returns how many bytes; zero at the end.
    ///
    /// # Errors
    /// What the system reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;
}

/// Keeps other writers out while it lives.
pub trait WriterLock: Send + Debug {}

/// What became of an object that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was created.
    Created,
    /// There is one of that name already; it was left as it is.
    Exists,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}
