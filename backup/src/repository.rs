//! A repository: its identity and its records.
//!
//! ```text
//! repository   magic "LDBREPO\n" | format version u32 | id [16] | BLAKE3 of all before it [32]
//! head         number u64 | BLAKE3 of that record's object [32]     -- a hint, for noticing that the newest is gone
//! ```

use std::sync::Arc;

use lightning_db_crypto::Entropy;
use lightning_db_storage::bytes::{ByteReader, ByteWriter, Malformed};

use crate::catalog::{Catalog, Entry};
use crate::manifest::{MAX_RECORD_LEN, PreviousRecord, Record, RepositoryId};
use crate::store::{ObjectStore, Put};
use crate::{BackupError, Result, layout};

const MAGIC: &[u8; 8] = b"LDBREPO\n";
const FORMAT_VERSION: u32 = 1;
/// Longer than an identity or a hint ever is.
const MAX_SMALL_LEN: u64 = 4096;

/// A repository that exists.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
    id: RepositoryId,
}

impl Repository {
    /// Opens the repository in `store`. Nothing is written.
    ///
    /// # Errors
    /// `NotARepository`, `Damaged`, `Unsupported`, and what reading gives.
    pub fn open(store: Arc<dyn ObjectStore>) -> Result<Self> {
        let place = store.place();
        if store.get(layout::REPOSITORY)?.is_none() {
            return Err(BackupError::NotARepository { place });
        }
        let bytes = read_object(&*store, layout::REPOSITORY, MAX_SMALL_LEN)?;
        let id = parse_identity(&place, &bytes)?;
        Ok(Self { store, id })
    }

    /// Opens the repository in `store`, or makes one where there is nothing. The caller holds the writer's lock.
    ///
    /// # Errors
    /// As [`open`](Self::open); `NotEmpty` where there is something else.
    pub fn open_or_create(store: Arc<dyn ObjectStore>, entropy: &dyn Entropy) -> Result<Self> {
        match Self::open(Arc::clone(&store)) {
            Err(BackupError::NotARepository { place }) if !store.is_empty()? => {
                Err(BackupError::NotEmpty { place })
            }
            Err(BackupError::NotARepository { .. }) => {
                let mut id = [0; 16];
                entropy.fill(&mut id)?;
                let bytes = identity(RepositoryId(id));
                store.put_if_absent(layout::REPOSITORY, &mut |sink| sink.write(&bytes))?;
                Self::open(store)
            }
            other => other,
        }
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.store.place()
    }

    /// Where its objects are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Reads all records. One that cannot be read does not keep the others from being used: the catalog says so.
    ///
    /// # Errors
    /// What reading gives.
    pub fn catalog(&self) -> Result<Catalog> {
        let mut catalog = Catalog::new(self.place());
        for object in self.store.list(layout::MANIFESTS)? {
            let Some(number) = layout::parse_manifest(&object.name) else { continue };
            match self.read_record(&object.name, number) {
                Ok(entry) => catalog.insert(number, entry),
                Err(error @ (BackupError::Damaged { .. } | BackupError::Unsupported { .. })) => {
                    catalog.insert_unreadable(number, error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(catalog)
    }

    /// One record.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported`, `Missing`.
    pub(crate) fn record(&self, number: u64) -> Result<Entry> {
        self.read_record(&layout::manifest(number), number)
    }

    fn read_record(&self, name: &str, number: u64) -> Result<Entry> {
        let bytes = read_object(&*self.store, name, MAX_RECORD_LEN)?;
        let hash = *blake3::hash(&bytes).as_bytes();
        let record = Record::decode(&self.place(), name, &bytes)?;
        if record.repository != self.id || record.number != number {
            return Err(self.damaged(name, "it is another record, or one of another repository"));
        }
        Ok(Entry { record, hash })
    }

    /// Writes the next record, and then the hint. When this returns, the record counts. A hint that cannot be written is no
    /// error: the record counts without it, and the next one writes it again.
    ///
    /// # Errors
    /// `Busy` when somebody else has written a record of this number; what writing the record gives.
    pub(crate) fn append(&self, number: u64, bytes: &[u8]) -> Result<()> {
        let name = layout::manifest(number);
        if self.store.put_if_absent(&name, &mut |sink| sink.write(bytes))? == Put::Exists {
            return Err(BackupError::Busy { place: self.place() });
        }
        let hint = self.write_head(PreviousRecord { number, hash: *blake3::hash(bytes).as_bytes() });
        if let Err(error) = hint {
            tracing::warn!(%error, "a repository's head still names the record before; the next one will be named");
        }
        Ok(())
    }

    /// Writes the hint.
    pub(crate) fn write_head(&self, newest: PreviousRecord) -> Result<()> {
        let mut head = ByteWriter::new();
        head.u64(newest.number).raw(&newest.hash);
        self.store.replace(layout::HEAD, head.as_slice())
    }

    /// What the hint says, if there is one.
    pub(crate) fn head(&self) -> Result<Option<PreviousRecord>> {
        if self.store.get(layout::HEAD)?.is_none() {
            return Ok(None);
        }
        let bytes = read_object(&*self.store, layout::HEAD, MAX_SMALL_LEN)?;
        let parse = |mut input: ByteReader<'_>| {
            let head = PreviousRecord { number: input.u64("number")?, hash: input.array("hash")? };
            input.finish("end of head")?;
            Ok(head)
        };
        let parsed = parse(ByteReader::new(&bytes));
        parsed.map(Some).map_err(|error: Malformed| self.damaged(layout::HEAD, &error.to_string()))
    }

    pub(crate) fn damaged(&self, object: &str, what: &str) -> BackupError {
        BackupError::Damaged { place: self.place(), object: object.into(), what: what.into() }
    }
}

/// All bytes of an object that has at most `max_len`.
///
/// # Errors
/// `Missing`, `Damaged` when it is longer or ends early.
pub(crate) fn read_object(store: &dyn ObjectStore, name: &str, max_len: u64) -> Result<Vec<u8>> {
    let place = store.place();
    let Some(reader) = store.get(name)? else {
        return Err(BackupError::Missing { place, object: name.into() });
    };
    let damaged = |what: String| BackupError::Damaged { place: place.clone(), object: name.into(), what };
    let len = usize::try_from(reader.len()).ok().filter(|_| reader.len() <= max_len);
    let len = len.ok_or_else(|| damaged(format!("it is {} bytes long", reader.len())))?;
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match reader.read_at(&mut bytes[done..], done as u64)? {
            0 => return Err(damaged(format!("it ends at byte {done} of {len}"))),
            count => done += count,
        }
    }
    Ok(bytes)
}

pub(crate) fn identity(id: RepositoryId) -> Vec<u8> {
    let mut out = ByteWriter::new();
    out.raw(MAGIC).u32(FORMAT_VERSION).raw(&id.0);
    let checksum = blake3::hash(out.as_slice());
    out.raw(checksum.as_bytes());
    out.into_vec()
}

pub(crate) fn parse_identity(place: &str, bytes: &[u8]) -> Result<RepositoryId> {
    let damaged = |what: &str| BackupError::Damaged {
        place: place.into(),
        object: layout::REPOSITORY.into(),
        what: what.into(),
    };
    let parse = |mut input: ByteReader<'_>| {
        let magic = input.array::<8>("magic")?;
        let (version, id) = (input.u32("format version")?, input.array("id")?);
        let checksum: [u8; 32] = input.array("checksum")?;
        input.finish("end of repository")?;
        Ok((magic, version, id, checksum))
    };
    let (magic, version, id, checksum) =
        parse(ByteReader::new(bytes)).map_err(|error: Malformed| damaged(&error.to_string()))?;
    if magic != *MAGIC || *blake3::hash(&bytes[..bytes.len() - checksum.len()]).as_bytes() != checksum {
        return Err(damaged("its checksum does not match"));
    }
    if version != FORMAT_VERSION {
        let what = format!("it has format version {version}, known is {FORMAT_VERSION}");
        return Err(BackupError::Unsupported {
            place: place.into(),
            object: layout::REPOSITORY.into(),
            what,
        });
    }
    Ok(RepositoryId(id))
}
