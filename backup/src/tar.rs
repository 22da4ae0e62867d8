//! A repository as one stream, in the tar format: to carry it elsewhere, or to keep it where there are only streams.
//!
//! The objects stand in the order in which a backup writes them, the identity last: a stream that was cut short is no
//! repository.

use std::io::{self, Read, Write};
use std::sync::Arc;

use tar::{Archive, Builder, EntryType, Header};

use crate::repository::Repository;
use crate::store::{ObjectReader, ObjectStore, Put};
use crate::verify::{Level, verify};
use crate::{BackupError, NoProgress, Result, layout};

const PIECE_LEN: usize = 1 << 20;

/// Writes all objects of a repository, but for the hint, to `out`, and returns their bytes. A backup that is made meanwhile is in it wholly or
/// not at all; a deletion may make the stream incomplete, which the import notices.
///
/// # Errors
/// What reading and writing gives.
pub fn export_tar(repository: &Repository, out: &mut dyn Write) -> Result<u64> {
    let store = repository.store();
    let mut builder = Builder::new(out);
    let mut bytes = 0;
    // The list of records is taken first: all that they name is there by then.
    let records = store.list(layout::MANIFESTS)?;
    for prefix in [layout::KEYRINGS, layout::SEGMENTS, layout::LOG] {
        for object in store.list(prefix)? {
            bytes += append(&mut builder, &**store, &object.name)?;
        }
    }
    for record in records {
        bytes += append(&mut builder, &**store, &record.name)?;
    }
    bytes += append(&mut builder, &**store, layout::REPOSITORY)?;
    builder.into_inner().and_then(|out| out.flush()).map_err(stream("write"))?;
    Ok(bytes)
}

fn append(builder: &mut Builder<&mut dyn Write>, store: &dyn ObjectStore, name: &str) -> Result<u64> {
    let Some(reader) = store.get(name)? else { return Ok(0) };
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(reader.len());
    let len = reader.len();
    builder
        .append_data(&mut header, name, Sequential { reader: &*reader, at: 0 })
        .map_err(stream("write"))?;
    Ok(len)
}

struct Sequential<'a> {
    reader: &'a dyn ObjectReader,
    at: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read_at(buf, self.at).map_err(io::Error::other)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Makes a repository in `store`, where there is nothing, from a stream that [`export_tar`] wrote, and verifies it. After
/// an error there is nothing again.
///
/// # Errors
/// `NotEmpty`, `BadStream`, `Damaged`; what reading and writing gives.
pub fn import_tar(input: &mut dyn Read, store: &Arc<dyn ObjectStore>) -> Result<Repository> {
    if !store.is_empty()? {
        return Err(BackupError::NotEmpty { place: store.place() });
    }
    let _lock = store.lock()?;
    let mut created = Vec::new();
    let imported = import(input, &**store, &mut created).and_then(|()| open_sound(store));
    if imported.is_err() {
        // The identity came last, so what cannot be removed is no repository.
        for name in created.iter().map(String::as_str).rev().chain([layout::HEAD]) {
            if let Err(error) = store.delete(name) {
                tracing::warn!(object = name, %error, "could not remove an object of a failed import");
            }
        }
    }
    imported
}

fn import(input: &mut dyn Read, store: &dyn ObjectStore, created: &mut Vec<String>) -> Result<()> {
    let mut archive = Archive::new(input);
    for entry in archive.entries().map_err(stream("read"))? {
        let mut entry = entry.map_err(stream("read"))?;
        let name = entry.path().map_err(stream("read"))?.to_string_lossy().into_owned();
        let is_object = entry.header().entry_type() == EntryType::Regular && layout::is_known(&name);
        if !is_object || created.last().is_some_and(|last| last == layout::REPOSITORY) {
            return Err(BackupError::BadStream(format!("{name:?} does not belong there")));
        }
        let put = store.put_if_absent(&name, &mut |sink| {
            let mut piece = vec![0; PIECE_LEN];
            loop {
                match entry.read(&mut piece).map_err(stream("read"))? {
                    0 => return Ok(()),
                    count => sink.write(&piece[..count])?,
                }
            }
        })?;
        if put == Put::Exists {
            return Err(BackupError::BadStream(format!("{name:?} is in it twice")));
        }
        created.push(name);
    }
    match created.last() {
        Some(last) if last == layout::REPOSITORY => Ok(()),
        _ => Err(BackupError::BadStream("it ends too early".into())),
    }
}

fn open_sound(store: &Arc<dyn ObjectStore>) -> Result<Repository> {
    let repository = Repository::open(Arc::clone(store))?;
    if let Some(newest) = repository.catalog()?.newest() {
        repository.write_head(newest)?;
    }
    let report = verify(&repository, Level::Hashes, None, &NoProgress)?;
    match report.problems.first() {
        None => Ok(repository),
        Some(problem) => Err(repository.damaged(&problem.object, &problem.what)),
    }
}

fn stream(action: &'static str) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::Stream { action, source }
}
