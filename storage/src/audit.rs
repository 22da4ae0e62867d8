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
//!
//! A file that would get too long is followed by another part (`parts.rs`), whose header has the chain's hash at the end of the
//! one before: what is changed or missing in an old part does not lead to the newer one.

mod parts;
mod salvage;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_crypto::{CryptoError, DatabaseId, Entropy, EpochId, Keyring, SlotId};

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::directory::DAMAGED_AUDIT_FILE;
use crate::vfs::{OpenHow, Vfs, VfsFile};
use crate::{Result, StorageError};
pub use parts::file_name;
use parts::{Limits, Start};
pub use salvage::{AuditBreak, AuditFile, salvage};

const LABEL: &str = "audit";
const MAX_DETAIL_LEN: usize = 512;
const MAX_ENTRY_LEN: usize = 4096;
/// A longer file is none of ours.
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
    /// How many entries there are, in all parts together.
    pub entries: u64,
    /// Length of its part's file up to here.
    pub length: u64,
    /// The chain's hash.
    pub hash: [u8; 32],
}

/// The log as it was read.
#[derive(Clone, Debug)]
pub struct AuditLog {
    /// How many entries are not kept any more: they were the oldest.
    pub gone: u64,
    /// The entries by number, the first one of them `gone` + 1; `None` where the data key was destroyed that sealed it.
    pub records: Vec<Option<AuditRecord>>,
    /// The end of what is sound.
    pub head: AuditHead,
    /// The part that this end is in.
    pub part: u32,
    /// Up to here of that part the manifest names it. What is behind was read, and may not be on stable storage: a sync that
    /// failed may have forgotten it, and reads show it all the same.
    pub proven: u64,
    /// Bytes behind that which are no entry: a crash left them.
    pub trailing: u64,
    /// Parts that are none: a crash left them when it came while the next one was begun, or while an old one went.
    pub leftovers: Vec<u32>,
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
    Reading { vfs, directory, keyring, expected, wanted: Wanted::Records }.run()
}

/// As [`read`], and gives no records: what the manifest names is compared with the chain's hash, and not opened; of parts
/// before that it is only seen that they are there. For who [goes on](AuditWriter::go_on) with it.
///
/// # Errors
/// As [`read`].
pub fn look(
    vfs: &dyn Vfs,
    directory: &Path,
    keyring: &Keyring,
    expected: Option<AuditHead>,
) -> Result<AuditLog> {
    Reading { vfs, directory, keyring, expected, wanted: Wanted::End }.run()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Records,
    End,
}

struct Reading<'a> {
    vfs: &'a dyn Vfs,
    directory: &'a Path,
    keyring: &'a Keyring,
    expected: Option<AuditHead>,
    wanted: Wanted,
}

impl Reading<'_> {
    fn run(&self) -> Result<AuditLog> {
        let mut numbers = parts::list(self.vfs, self.directory)?;
        let first = Start::of_first(self.keyring.database_id());
        let mut log = AuditLog {
            gone: 0,
            records: Vec::new(),
            head: first.head(),
            part: 1,
            proven: 0,
            trailing: 0,
            leftovers: Vec::new(),
            problem: None,
        };
        // A part that nothing proves is what a crash left, or somebody else's. The oldest one is looked at below.
        while numbers.len() > 1
            && let Some(newest) = numbers.pop_if(|newest| !self.is_proven(*newest))
        {
            log.leftovers.push(newest);
        }
        let oldest = numbers.last().and_then(|newest| self.start(*newest)).map_or(1, |start| start.oldest);
        log.leftovers.extend(numbers.extract_if(.., |number| *number < oldest));
        if numbers.first().is_some_and(|first| *first != oldest) {
            log.problem = Some(format!("its part {oldest} is missing"));
            return Ok(log);
        }
        if numbers.is_empty() {
            log.problem = self.expected.map(|head| format!("it is missing, with {} entries", head.entries));
            return Ok(log);
        }
        if self.wanted == Wanted::End {
            let names_before =
                |number: &u32| self.start(*number).is_some_and(|start| start.entries < self.known());
            let begin = numbers.iter().rposition(names_before).unwrap_or(0);
            if numbers.iter().zip(oldest..).any(|(number, expected)| *number != expected) {
                log.problem = Some("one of its parts is missing".to_owned());
                return Ok(log);
            }
            numbers.drain(..begin);
        }
        self.walk(&numbers, &mut log)?;
        Ok(log)
    }

    /// How many entries the manifest names.
    fn known(&self) -> u64 {
        self.expected.map_or(0, |expected| expected.entries)
    }

    fn start(&self, part: u32) -> Option<Start> {
        let bytes = parts::beginning(self.vfs, self.directory, part, 0).ok()?;
        Start::read(&bytes, self.keyring.database_id(), part)
    }

    /// Whether the manifest or its first entry proves a part. Who cannot seal an entry cannot make one.
    fn is_proven(&self, part: u32) -> bool {
        let Ok(bytes) = parts::beginning(self.vfs, self.directory, part, 4 + MAX_ENTRY_LEN) else {
            return true;
        };
        let Some(start) = Start::read(&bytes, self.keyring.database_id(), part) else { return false };
        if self.known() > start.entries {
            return true;
        }
        let first = bytes.get(start.len..).and_then(split_entry);
        first.is_some_and(|(entry, _)| {
            matches!(open(entry, start.entries + 1, &start.hash, self.keyring), Ok(Some(_)))
        })
    }

    /// Follows the chain from part to part.
    fn walk(&self, numbers: &[u32], log: &mut AuditLog) -> Result<()> {
        for (index, &part) in numbers.iter().enumerate() {
            let bytes = parts::content(self.vfs, self.directory, part)?;
            let Some(start) = Start::read(&bytes, self.keyring.database_id(), part) else {
                log.trailing = bytes.len() as u64;
                log.problem = self.expected.map(|_| match part {
                    1 => "its header was changed".to_owned(),
                    _ => format!("the header of its part {part} was changed"),
                });
                return Ok(());
            };
            if index == 0 {
                log.gone = start.entries;
            } else if part != log.part + 1
                || start.entries != log.head.entries
                || start.before != log.head.hash
            {
                log.problem = Some(match start.entries.cmp(&log.head.entries) {
                    std::cmp::Ordering::Greater if part == log.part + 1 => format!(
                        "its part {} ends after {} of {} entries",
                        log.part, log.head.entries, start.entries
                    ),
                    _ => format!("one of the entries before its part {part} was changed"),
                });
                return Ok(());
            }
            (log.part, log.head) = (part, start.head());
            log.proven =
                self.expected.filter(|head| head.entries > start.entries).map_or(0, |head| head.length);
            // What follows the last entry of an old part was left when it could not be written to any more.
            let end = numbers.get(index + 1).and_then(|next| self.start(*next)).map(|next| next.entries);
            self.follow(&bytes[start.len..], end, log);
            if log.problem.is_some() {
                return Ok(());
            }
        }
        if log.head.entries < self.known() {
            log.problem = Some(format!("it ends after {} of {} entries", log.head.entries, self.known()));
        }
        Ok(())
    }

    /// Reads the entries of one part, up to the number `end` if it is an old one.
    fn follow(&self, mut rest: &[u8], end: Option<u64>, log: &mut AuditLog) {
        let known = self.known();
        while let Some((entry, after)) = split_entry(rest).filter(|_| end != Some(log.head.entries)) {
            let number = log.head.entries + 1;
            let opened = match self.wanted {
                Wanted::End if number <= known => Ok(None),
                _ => open(entry, number, &log.head.hash, self.keyring),
            };
            // What the manifest names, or a newer part, is proved by its hash; an entry behind it only by itself.
            if number > known && end.is_none() && !matches!(opened, Ok(Some(_))) {
                break;
            }
            log.head = log.head.with(entry);
            if self.wanted == Wanted::Records {
                log.records.push(opened.unwrap_or_default());
            }
            rest = after;
            if let Some(expected) = self.expected.filter(|expected| expected.entries == number)
                && expected != log.head
            {
                log.problem = Some(format!("one of its {number} entries was changed"));
                return;
            }
        }
        log.trailing = if end.is_none() { rest.len() as u64 } else { 0 };
    }
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
    directory: PathBuf,
    head: AuditHead,
    part: u32,
    oldest: u32,
    limits: Limits,
}

impl AuditWriter {
    /// Goes on behind what was read, which is durable then, and cuts off what a crash left behind that. A log that is damaged
    /// is set aside under another name, beside earlier ones, and a new one begun; so is one that is not there.
    ///
    /// # Errors
    /// What the system reports.
    pub fn go_on(vfs: &dyn Vfs, directory: &Path, database: DatabaseId, log: &AuditLog) -> Result<Self> {
        let path = directory.join(file_name(log.part));
        let failed = |error| StorageError::io("write", &path, error);
        if log.head.entries > 0 && log.problem.is_none() {
            for part in &log.leftovers {
                parts::remove(vfs, directory, *part)?;
            }
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
                // So may its name be, of a part that was begun.
                vfs.sync_dir(directory).map_err(failed)?;
            }
            let oldest = parts::list(vfs, directory)?.first().copied().unwrap_or(log.part);
            let (head, part) = (log.head, log.part);
            return Ok(Self {
                file,
                directory: directory.into(),
                head,
                part,
                oldest,
                limits: Limits::default(),
            });
        }
        for part in parts::list(vfs, directory)? {
            match &log.problem {
                Some(_) => set_aside(vfs, directory, &directory.join(file_name(part))).map_err(failed)?,
                // A crash came before the first entry.
                None => parts::remove(vfs, directory, part)?,
            }
        }
        let start = Start::of_first(database);
        let file = parts::begin(vfs, directory, 1, &start.bytes)?;
        let (head, limits) = (start.head(), Limits::default());
        Ok(Self { file, directory: directory.into(), head, part: 1, oldest: 1, limits })
    }

    /// Appends an entry, in another part if this one would get too long; then the oldest one goes, if there are too many. When
    /// this returns it is durable. After an error the next one takes its place.
    ///
    /// # Errors
    /// What sealing and the system give.
    pub fn append(
        &mut self,
        vfs: &dyn Vfs,
        keyring: &Keyring,
        entropy: &dyn Entropy,
        record: &AuditRecord,
    ) -> Result<AuditHead> {
        let number = self.head.entries + 1;
        let plain = encode(record);
        let seal = |before: &[u8; 32]| -> Result<Vec<u8>> {
            let sealed = keyring.seal_small(entropy, LABEL, &number.to_le_bytes(), before, &plain)?;
            let mut entry = ByteWriter::with_capacity(4 + sealed.len());
            entry.u32(sealed.len() as u32).raw(&sealed);
            Ok(entry.into_vec())
        };
        let entry = seal(&self.head.hash)?;
        if self.head.entries > 0 && self.head.length + entry.len() as u64 > self.limits.part_len {
            let oldest = self.oldest.max((self.part + 2).saturating_sub(self.limits.parts));
            let start = Start::after(keyring.database_id(), self.part, &self.head, oldest);
            let entry = seal(&start.hash)?;
            let bytes = [&start.bytes[..], &entry].concat();
            self.file = parts::begin(vfs, &self.directory, start.part, &bytes)?;
            self.part = start.part;
            self.head = start.head().with(&entry);
            while self.oldest < oldest && parts::remove(vfs, &self.directory, self.oldest).is_ok() {
                self.oldest += 1;
            }
            return Ok(self.head);
        }
        let failed = |error| StorageError::io("write", self.directory.join(file_name(self.part)), error);
        self.file.write_all_at(&entry, self.head.length).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.head = self.head.with(&entry);
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
    /// The end behind one more entry.
    fn with(&self, entry: &[u8]) -> Self {
        let length = self.length + entry.len() as u64;
        Self { entries: self.entries + 1, length, hash: next_hash(&self.hash, entry) }
    }

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
