//! Whether a single changed byte is noticed.

use std::fs;
use std::path::Path;

use lightning_db::{Database, LightningDbConfig};

use crate::Outcome;

/// What became of a database with one byte changed.
pub(crate) struct Tampering {
    /// The file and the place of the byte.
    pub(crate) place: String,
    /// The error that told of it, if one did.
    pub(crate) noticed: Option<String>,
}

/// Copies a database, flips the lowest bit of the byte in the middle of the copy's largest file of pages, and reads
/// everything in it.
pub(crate) fn try_one_byte(folder: &Path, database: &Path, config: &LightningDbConfig) -> Outcome<Tampering> {
    let copy = folder.join("tampered");
    fs::create_dir(&copy)?;
    let mut largest = (0, copy.clone());
    for entry in fs::read_dir(database)? {
        let entry = entry?;
        let target = copy.join(entry.file_name());
        let bytes = fs::copy(entry.path(), &target)?;
        let holds_pages =
            target.extension().is_some_and(|extension| extension == "base" || extension == "run");
        if holds_pages && bytes > largest.0 {
            largest = (bytes, target);
        }
    }
    let (length, file) = largest;
    let mut bytes = fs::read(&file)?;
    let middle = usize::try_from(length / 2)?;
    *bytes.get_mut(middle).ok_or("the copy holds no pages")? ^= 1;
    fs::write(&file, bytes)?;

    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let noticed = read_everything(&copy, config).err().map(|error| error.to_string());
    Ok(Tampering { place: format!("byte {middle} of {name}"), noticed })
}

fn read_everything(path: &Path, config: &LightningDbConfig) -> Result<(), lightning_db::Error> {
    let db = Database::open(path, config.clone())?;
    db.scan(None, None)?.try_for_each(|row| row.map(drop))
}
