//! The user's own files: what is imported and exported. Files of databases and repositories are the library's.
#![expect(
    clippy::disallowed_types,
    reason = "these files belong to no database, so nothing is simulated or sealed here"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use tempfile::{NamedTempFile, PersistError};

use crate::failure::{Failure, Outcome};

/// Opens a file for reading.
///
/// # Errors
/// `File` naming it.
pub(crate) fn open(path: &Path) -> Outcome<File> {
    File::open(path).map_err(|error| Failure::file("open", path, error))
}

/// A file's length; none if it is no regular file, and so can be read only once.
///
/// # Errors
/// `File` naming it.
pub(crate) fn length(path: &Path) -> Outcome<Option<u64>> {
    let metadata = fs::metadata(path).map_err(|error| Failure::file("open", path, error))?;
    if metadata.is_dir() {
        return Err(Failure::Input {
            path: path.to_path_buf(),
            reason: "it is a directory, not a file".into(),
        });
    }
    Ok(metadata.is_file().then_some(metadata.len()))
}

/// Writes a new file, which only its owner can read, as a whole: it appears under its name when `write` has
/// succeeded, and not before.
///
/// # Errors
/// `File` if it exists already or cannot be written; those of `write`.
pub(crate) fn create<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> Outcome<T>) -> Outcome<T> {
    let failed = |error| Failure::file("write", path, error);
    if path.symlink_metadata().is_ok() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut out = BufWriter::new(NamedTempFile::new_in(directory).map_err(failed)?);
    let result = write(&mut out)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|PersistError { error, .. }| failed(error))?;
    Ok(result)
}
