//! The audit log: each use of a key, sealed and chained.
//!
//! ```text
//! header   magic "LDBAUDIT" | version u32 | zeros u32 | database id [16]
//! entry    length u32 | epoch u32, sealed object          label "audit"; context: the entry's number u64;
//!                                                          associated data: the chain's hash before the entry
//! inside   time i64 | event u8 | slot: option of u32 | epoch: option of u32 | missed varint | detail: text
//! ```
//!
//! The chain's hash is BLAKE3 of the header, and after each entry BLAKE3 of the hash before and of the entry's bytes. The
//! manifest has the newest: what it names can neither be cut off nor changed. Entries behind that are of the moment before
//! a crash; each must open, and so follows the one before.

use std::path::Path;
use std::sync::Arc;

use lightning_db_crypto::{CryptoError, DatabaseId, Entropy, EpochId, Keyring, SlotId};

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::directory::{AUDIT_FILE, DAMAGED_AUDIT_FILE};
use crate::vfs::{OpenHow, Vfs, VfsFile};
use crate::{Result, StorageError};

const MAGIC: &[u8; 8] = b"LDBAUDIT";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 32;
const LABEL: &str = "audit";
const MAX_DETAIL_LEN: usize = 512;
const MAX_ENTRY_LEN: usize = 4096;
/// A longer file is none of ours: ten entries a minute for a year take less.
const MAX_FILE_LEN: u64 = 1 << 30;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AuditEvent {
    /// The database was created.
    Created = 1,
    /// It was opened for writing by a slot's key.
    Opened = 2,
    /// A slot was added.
    KeyAdded = 3,
    /// A slot was removed.
    KeyRemoved = 4,
    /// A slot got another key.
    KeyRewrapped = 5,
    /// A new data key was drawn.
    DataKeyRotated = 6,
    /// A new master key was drawn, and a data key with it.
    MasterKeyRotated = 7,
    /// A data key was destroyed.
    DataKeyDestroyed = 8,
    /// The keyring was copied, sealed as it is: into a repository, or into a copy of the database.
    Exported = 9,
    /// A change of keys was refused.
    Refused = 10,
    /// The log before was damaged or cut; a new one begins here.
    Damaged = 11,
}

impl AuditEvent {
    const ALL: [Self; 11] = [
        Self::Created,
        Self::Opened,
        Self::KeyAdded,
        Self::KeyRemoved,
        Self::KeyRewrapped,
        Self::DataKeyRotated,
        Self::MasterKeyRotated,
        Self::DataKeyDestroyed,
        Self::Exported,
        Self::Refused,
        Self::Damaged,
    ];

    /// A short name that stays the same from version to version.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Opened => "opened",
            Self::KeyAdded => "key_added",
            Self::KeyRemoved => "key_removed",
            Self::KeyRewrapped => "key_rewrapped",
            Self::DataKeyRotated => "data_key_rotated",
            Self::MasterKeyRotated => "master_key_rotated",
            Self::DataKeyDestroyed => "data_key_destroyed",
            Self::Exported => "exported",
            Self::Refused => "refused",
            Self::Damaged => "damaged",
        }
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When, microseconds since 1970.
    pub time_micros: i64,
    /// What.
    pub event: AuditEvent,
    /// The slot, where it was about one.
    pub slot: Option<SlotId>,
    /// The data key, where it was about one.
    pub epoch: Option<EpochId>,
    /// How many entries before it could not be written.
    pub missed: u64,
    /// What else there is to say; never a secret.
    pub detail: String,
}

/// The end of the log, as the manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// How many entries there are.
    pub entries: u64,
    /// Length of the file up to here.
    pub length: u64,
    /// The chain's hash.
    pub hash: [u8; 32],
}

/// The log as it was read.
#[derive(Clone, Debug)]
pub struct AuditLog {
    /// The entries by number, from 1; `None` where the data key was destroyed that sealed it.
    pub records: Vec<Option<AuditRecord>>,
    /// The end of what is sound.
    pub head: AuditHead,
    /// Up to here the manifest names it. What is behind was read, and may not be on stable storage: a sync that failed may
    /// have forgotten it, and reads show it all the same.
    pub proven: u64,
    /// Bytes behind that which are no entry: a crash left them.
    pub trailing: u64,
    /// What is missing or was changed of what the manifest names.
    pub problem: Option<String>,
}

/// Reads the log of the database in `directory`, of which the manifest names `expected`.
///
/// # Errors
/// What the system reports; damage is in the result.
pub fn read(
    vfs: &dyn Vfs,
    directory: &Path,
    keyring: &Keyring,
    expected: Option<AuditHead>,
) -> Result<AuditLog> {
    Ok(parse(&content(vfs, directory)?, keyring, expected, Wanted::Records))
}

/// As [`read`], and gives no records: what the manifest names is compared with the chain's hash, and not opened. For who
/// [goes on](AuditWriter::go_on) with it.
///
/// # Errors
/// As [`read`].
pub fn look(
    vfs: &dyn Vfs,
    directory: &Path,
    keyring: &Keyring,
    expected: Option<AuditHead>,
) -> Result<AuditLog> {
    Ok(parse(&content(vfs, directory)?, keyring, expected, Wanted::End))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Records,
    End,
}

fn content(vfs: &dyn Vfs, directory: &Path) -> Result<Vec<u8>> {
    let path = directory.join(AUDIT_FILE);
    let failed = |error| StorageError::io("read", &path, error);
    let mut bytes = Vec::new();
    match vfs.open(&path, OpenHow::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(file) => {
            let len = file.len().map_err(failed)?.min(MAX_FILE_LEN);
            bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
            file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        }
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], keyring: &Keyring, expected: Option<AuditHead>, wanted: Wanted) -> AuditLog {
    let header = header(keyring.database_id());
    let hash = *blake3::hash(&header).as_bytes();
    let head = AuditHead { entries: 0, length: HEADER_LEN as u64, hash };
    let proven = expected.map_or(head.length, |expected| expected.length);
    let mut log = AuditLog { records: Vec::new(), head, proven, trailing: 0, problem: None };
    let known = expected.map_or(0, |expected| expected.entries);
    if !bytes.starts_with(&header) {
        log.trailing = bytes.len() as u64;
        log.problem = expected.map(|_| match bytes.is_empty() {
            true => format!("it is missing, with {known} entries"),
            false => "its header was changed".to_owned(),
        });
        return log;
    }
    let mut rest = &bytes[HEADER_LEN..];
    while let Some((entry, after)) = split_entry(rest) {
        let number = log.head.entries + 1;
        let opened = match wanted {
            Wanted::End if number <= known => Ok(None),
            _ => open(entry, number, &log.head.hash, keyring),
        };
        // What the manifest names is proved by its hash; an entry behind it only by itself.
        if number > known && !matches!(opened, Ok(Some(_))) {
            break;
        }
        log.head = AuditHead {
            entries: number,
            length: log.head.length + entry.len() as u64,
            hash: next_hash(&log.head.hash, entry),
        };
        if wanted == Wanted::Records {
            log.records.push(opened.unwrap_or_default());
        }
        rest = after;
        if let Some(expected) = expected.filter(|expected| expected.entries == number)
            && expected != log.head
        {
            log.problem = Some(format!("one of its {number} entries was changed"));
            return log;
        }
    }
    log.trailing = rest.len() as u64;
    if log.head.entries < known {
        log.problem = Some(format!("it ends after {} of {known} entries", log.head.entries));
    }
    log
}

fn header(database: DatabaseId) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..].copy_from_slice(database.as_bytes());
    out
}

/// An entry with its length, and what follows.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    if len > MAX_ENTRY_LEN { None } else { bytes.split_at_checked(4 + len) }
}

fn next_hash(before: &[u8; 32], entry: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(before).update(entry).finalize().as_bytes()
}

/// What an entry says; `None` if its data key was destroyed.
fn open(entry: &[u8], number: u64, before: &[u8; 32], keyring: &Keyring) -> Result<Option<AuditRecord>, ()> {
    match keyring.open_small(LABEL, &number.to_le_bytes(), before, &entry[4..]) {
        Ok(plain) => decode(&plain).map(Some).map_err(drop),
        Err(CryptoError::EpochNotFound(_)) => Ok(None),
        Err(_) => Err(()),
    }
}

fn encode(record: &AuditRecord) -> Vec<u8> {
    let mut out = ByteWriter::new();
    out.i64(record.time_micros).u8(record.event as u8);
    for number in [record.slot.map(|slot| slot.0), record.epoch.map(|epoch| epoch.0)] {
        out.u8(u8::from(number.is_some()));
        if let Some(number) = number {
            out.u32(number);
        }
    }
    let detail = record.detail.floor_char_boundary(MAX_DETAIL_LEN);
    out.varint(record.missed).bytes(&record.detail.as_bytes()[..detail]);
    out.into_vec()
}

fn decode(bytes: &[u8]) -> Result<AuditRecord, Malformed> {
    let mut input = ByteReader::new(bytes);
    let time_micros = input.i64("time")?;
    let number = input.u8("event")?;
    let event = AuditEvent::ALL.into_iter().find(|event| *event as u8 == number);
    let option = |input: &mut ByteReader<'_>| match input.u8("flag")? {
        0 => Ok(None),
        1 => Ok(Some(input.u32("number")?)),
        _ => Err(Malformed { what: "flag" }),
    };
    let (slot, epoch) = (option(&mut input)?.map(SlotId), option(&mut input)?.map(EpochId));
    let missed = input.varint("missed entries")?;
    let detail = String::from_utf8(input.bytes("detail")?.to_vec());
    input.finish("end of entry")?;
    let detail = detail.map_err(|_| Malformed { what: "detail" })?;
    Ok(AuditRecord {
        time_micros,
        event: event.ok_or(Malformed { what: "event" })?,
        slot,
        epoch,
        missed,
        detail,
    })
}

/// Appends to the log.
#[derive(Debug)]
pub struct AuditWriter {
    file: Arc<dyn VfsFile>,
    head: AuditHead,
}

impl AuditWriter {
    /// Goes on behind what was read, which is durable then, and cuts off what a crash left behind that. A log that is damaged
    /// is set aside under another name, beside earlier ones, and a new one begun; so is one that is not there.
    ///
    /// # Errors
    /// What the system reports.
    pub fn go_on(vfs: &dyn Vfs, directory: &Path, database: DatabaseId, log: &AuditLog) -> Result<Self> {
        let path = directory.join(AUDIT_FILE);
        let failed = |error| StorageError::io("write", &path, error);
        if log.head.entries > 0 && log.problem.is_none() {
            let file = vfs.open(&path, OpenHow::ReadWrite).map_err(failed)?;
            if log.trailing > 0 {
                file.set_len(log.head.length).map_err(failed)?;
            }
            let unproven = usize::try_from(log.head.length.saturating_sub(log.proven)).unwrap_or(0);
            if unproven > 0 {
                let mut entries = vec![0; unproven];
                file.read_exact_at(&mut entries, log.proven).map_err(failed)?;
                file.write_all_at(&entries, log.proven).map_err(failed)?;
            }
            if log.trailing > 0 || unproven > 0 {
                file.sync_all().map_err(failed)?;
            }
            return Ok(Self { file, head: log.head });
        }
        let out_of_the_way = match &log.problem {
            Some(_) => set_aside(vfs, directory, &path),
            // A crash came before the first entry.
            None => vfs.remove_file(&path),
        };
        match out_of_the_way {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let header = header(database);
        let file = vfs.open(&path, OpenHow::CreateNew).map_err(failed)?;
        file.write_all_at(&header, 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        vfs.sync_dir(directory).map_err(failed)?;
        let hash = *blake3::hash(&header).as_bytes();
        Ok(Self { file, head: AuditHead { entries: 0, length: HEADER_LEN as u64, hash } })
    }

    /// Appends an entry. When this returns it is durable. After an error the next one takes its place.
    ///
    /// # Errors
    /// What sealing and the system give.
    pub fn append(
        &mut self,
        keyring: &Keyring,
        entropy: &dyn Entropy,
        record: &AuditRecord,
    ) -> Result<AuditHead> {
        if self.head.length > MAX_FILE_LEN - MAX_ENTRY_LEN as u64 - 4 {
            let what = format!(
                "it would be longer than {MAX_FILE_LEN} bytes: remove it, which the next opening tells"
            );
            return Err(StorageError::UnsupportedFormat { file: AUDIT_FILE.into(), what });
        }
        let number = self.head.entries + 1;
        let plain = encode(record);
        let sealed = keyring.seal_small(entropy, LABEL, &number.to_le_bytes(), &self.head.hash, &plain)?;
        let mut entry = ByteWriter::with_capacity(4 + sealed.len());
        entry.u32(sealed.len() as u32).raw(&sealed);
        let entry = entry.into_vec();
        let failed = |error| StorageError::io("write", Path::new(AUDIT_FILE), error);
        self.file.write_all_at(&entry, self.head.length).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.head = AuditHead {
            entries: number,
            length: self.head.length + entry.len() as u64,
            hash: next_hash(&self.head.hash, &entry),
        };
        Ok(self.head)
    }
}

/// Never in the place of an earlier one: whoever damages the log twice is not to take the evidence away.
fn set_aside(vfs: &dyn Vfs, directory: &Path, path: &Path) -> std::io::Result<()> {
    let names = (2..).map(|number| format!("{DAMAGED_AUDIT_FILE}.{number}"));
    let mut places =
        std::iter::once(DAMAGED_AUDIT_FILE.to_owned()).chain(names).map(|name| directory.join(name));
    let is_free = |place: &std::path::PathBuf| vfs.metadata(place).is_err();
    let free = places.find(is_free).expect("there are more numbers than files");
    vfs.rename(path, &free)
}

impl AuditHead {
    pub(crate) fn encode(&self, out: &mut ByteWriter) {
        out.varint(self.entries).varint(self.length).raw(&self.hash);
    }

    pub(crate) fn decode(input: &mut ByteReader<'_>) -> std::result::Result<Self, Malformed> {
        Ok(Self {
            entries: input.varint("entries of the audit log")?,
            length: input.varint("length of the audit log")?,
            hash: input.array("hash of the audit log")?,
        })
    }
}
