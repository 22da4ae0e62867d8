//! Verifying a repository without a key.
//!
//! Level 1: every record can be read, and every object that a backup needs is there and as long as it should be.
//! Level 2: also, the bytes of each object have the hash that is signed for, the records name one another by their
//! hashes without a gap, one key has signed them all, and that key is the one of the keyring. What is inside the segments
//! is for those who have a key.
//!
//! A problem does not end the verification: all of them are reported.

use std::collections::BTreeMap;

use lightning_db_crypto::{PublicKey, peek};

use crate::catalog::{BackupSummary, Catalog};
use crate::error::ReachableInterval;
use crate::history::intervals;
use crate::manifest::{PreviousRecord, RecordBody};
use crate::plan::read_keyring;
use crate::repository::Repository;
use crate::restore::open_object;
use crate::transfer::{Progress, copy};
use crate::{BackupError, Result, layout};

/// How deep to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Objects are there.
    Presence,
    /// Their bytes are right, and the records are signed and chained.
    Hashes,
}

/// What a verification covered, and what it found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// The backups that there are.
    pub backups: Vec<BackupSummary>,
    /// Records read, those of deletions and deleted backups too.
    pub records: u64,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes of those objects.
    pub bytes: u64,
    /// Bytes that were read and hashed; 0 at level 1.
    pub hashed_bytes: u64,
    /// Bytes of objects that no backup needs; the next backup removes them.
    pub orphan_bytes: u64,
    /// Deletions that nobody signed: they were made without a key.
    pub unsigned_deletions: u64,
    /// The key that signed the records.
    pub signer: Option<PublicKey>,
    /// What can be restored, by history.
    pub reachable: Vec<ReachableInterval>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object's name.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The backups that cannot be restored, or not in full, because of it.
    pub backups: Vec<u64>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, object: impl Into<String>, what: impl Into<String>, backups: Vec<u64>) {
        self.problems.push(Problem { object: object.into(), what: what.into(), backups });
    }
}

/// Verifies a repository. With `pinned`, every record must be signed by that key.
///
/// # Errors
/// Only when the repository cannot be read at all; everything else is in the report.
pub fn verify(
    repository: &Repository,
    level: Level,
    pinned: Option<PublicKey>,
    progress: &dyn Progress,
) -> Result<VerifyReport> {
    // Before the records: a backup that is made meanwhile is not missed then.
    let head = repository.head();
    let catalog = repository.catalog()?;
    let mut report = VerifyReport { backups: catalog.summaries(), ..VerifyReport::default() };
    verify_records(&catalog, &mut report);
    verify_head(head, &catalog, &mut report)?;
    let needed = needed_objects(&catalog);
    verify_objects(repository, level, &needed, &mut report, progress)?;
    if level >= Level::Hashes {
        verify_chain(&catalog, &mut report);
        verify_signer(&catalog, pinned, &mut report);
        verify_keyrings(repository, &catalog, &mut report);
    }
    count_orphans(repository, &needed, &mut report)?;
    report.reachable =
        catalog.incarnations().into_iter().flat_map(|incarnation| intervals(&catalog, incarnation)).collect();
    Ok(report)
}

/// So many missing records in a row are named one by one.
const MISSING_NAMED: usize = 1000;

fn verify_records(catalog: &Catalog, report: &mut VerifyReport) {
    report.records = catalog.entries().count() as u64;
    for (number, error) in catalog.unreadable() {
        report.problem(layout::manifest(number), error.to_string(), vec![number]);
    }
    let unreadable: Vec<u64> = catalog.unreadable().map(|(number, _)| number).collect();
    let mut expected = 1;
    for entry in catalog.entries() {
        let number = entry.record.number;
        let missing = (expected..number).filter(|missing| !unreadable.contains(missing));
        for missing in missing.take(MISSING_NAMED) {
            report.problem(layout::manifest(missing), "it is missing", vec![missing]);
        }
        if (number - expected) as usize > MISSING_NAMED {
            let what = format!("all records from {expected} to {} are missing, or most of them", number - 1);
            report.problem(layout::MANIFESTS, what, Vec::new());
        }
        expected = number + 1;
        let unsigned = entry.record.signer.is_none();
        report.unsigned_deletions += u64::from(unsigned);
    }
    if report.backups.is_empty() {
        report.problem(layout::MANIFESTS, "there is no backup that can be read", Vec::new());
    }
}

/// The newest record could be taken away without a trace, if nothing else told of it.
fn verify_head(
    head: Result<Option<PreviousRecord>>,
    catalog: &Catalog,
    report: &mut VerifyReport,
) -> Result<()> {
    match head {
        Ok(Some(PreviousRecord { number, .. })) if number > catalog.last_number() => {
            for missing in
                catalog.last_number() + 1..=number.min(catalog.last_number() + MISSING_NAMED as u64)
            {
                report.problem(layout::manifest(missing), "it is missing", vec![missing]);
            }
        }
        Ok(Some(PreviousRecord { number, hash })) => {
            let named = catalog.entries().find(|entry| entry.record.number == number);
            let is_known = named.is_some_and(|entry| entry.hash == hash);
            if !is_known && !catalog.unreadable().any(|(unreadable, _)| unreadable == number) {
                report.problem(layout::HEAD, "it names a record that is not there", Vec::new());
            }
        }
        // A backup that died before it wrote the hint; the next one writes it.
        Ok(None) if catalog.last_number() <= 1 => {}
        Ok(None) => report.problem(layout::HEAD, "it is missing", Vec::new()),
        Err(error @ BackupError::Damaged { .. }) => {
            report.problem(layout::HEAD, error.to_string(), Vec::new());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

struct Needed {
    length: u64,
    hash: [u8; 32],
    backups: Vec<u64>,
}

fn needed_objects(catalog: &Catalog) -> BTreeMap<String, Needed> {
    let mut needed: BTreeMap<String, Needed> = BTreeMap::new();
    let mut add = |name: String, length: u64, hash: [u8; 32], backup: Option<u64>| {
        let entry = needed.entry(name).or_insert_with(|| Needed { length, hash, backups: Vec::new() });
        entry.backups.extend(backup);
    };
    for (number, _, backup) in catalog.backups() {
        add(backup.keyring.name(), backup.keyring.length, backup.keyring.hash, Some(number));
        for segment in &backup.segments {
            add(segment.name(), segment.length, segment.hash, Some(number));
        }
    }
    for keyring in catalog.needed_keyrings() {
        add(keyring.name(), keyring.length, keyring.hash, None);
    }
    for piece in catalog.needed_log() {
        let with = |backup: &crate::BackupManifest| backup.log.contains(piece);
        let number = catalog.all_backups().find(|(_, backup)| with(backup)).map(|(number, _)| number);
        add(piece.name(), piece.length, piece.hash, number);
    }
    needed
}

fn verify_objects(
    repository: &Repository,
    level: Level,
    needed: &BTreeMap<String, Needed>,
    report: &mut VerifyReport,
    progress: &dyn Progress,
) -> Result<()> {
    let total = needed.values().map(|object| object.length).sum();
    for (name, object) in needed {
        let checked = open_object(&**repository.store(), name, object.length).and_then(|reader| {
            if level < Level::Hashes {
                return Ok(0);
            }
            let read = |buf: &mut [u8], at| reader.read_at(buf, at);
            let (hash, bytes) = copy(object.length, &read, &mut |_| Ok(()))?;
            if hash == object.hash {
                return Ok(bytes);
            }
            Err(repository.damaged(name, "its bytes are not those that were put there"))
        });
        report.objects += 1;
        report.bytes += object.length;
        match checked {
            Ok(bytes) => report.hashed_bytes += bytes,
            Err(BackupError::Missing { .. }) => report.problem(name, "it is missing", object.backups.clone()),
            Err(BackupError::Damaged { what, .. }) => report.problem(name, what, object.backups.clone()),
            Err(error @ BackupError::Storage(_)) => {
                report.problem(name, error.to_string(), object.backups.clone());
            }
            Err(error) => return Err(error),
        }
        progress.advance("objects", report.bytes, total);
    }
    Ok(())
}

/// Each record names the one before by its hash, so none can be replaced or taken out.
fn verify_chain(catalog: &Catalog, report: &mut VerifyReport) {
    let hashes: BTreeMap<u64, [u8; 32]> =
        catalog.entries().map(|entry| (entry.record.number, entry.hash)).collect();
    for entry in catalog.entries() {
        let record = &entry.record;
        let broken = match record.previous {
            None => record.number != 1 && hashes.keys().any(|number| *number < record.number),
            Some(previous) => {
                previous.number >= record.number
                    || hashes.get(&previous.number).is_some_and(|hash| *hash != previous.hash)
                    || (previous.number + 1..record.number).any(|between| hashes.contains_key(&between))
            }
        };
        if broken {
            let what = "the record before it is not the one that it names";
            report.problem(layout::manifest(record.number), what, vec![record.number]);
        }
    }
}

fn verify_signer(catalog: &Catalog, pinned: Option<PublicKey>, report: &mut VerifyReport) {
    let expected = pinned.or_else(|| catalog.signers().first().copied());
    report.signer = expected;
    let databases: Vec<_> = catalog.all_backups().map(|(_, backup)| backup.database).collect();
    for entry in catalog.entries() {
        let record = &entry.record;
        if record.signer.is_some() && record.signer != expected {
            let what = "it is signed by another key than the one that is trusted";
            report.problem(layout::manifest(record.number), what, vec![record.number]);
        }
        if let RecordBody::Backup(backup) = &record.body
            && databases.first().is_some_and(|first| *first != backup.database)
        {
            let what = "it is of another database";
            report.problem(layout::manifest(record.number), what, vec![record.number]);
        }
    }
}

/// The keyring of a backup must be of the same database, and have the key that signed the backup.
fn verify_keyrings(repository: &Repository, catalog: &Catalog, report: &mut VerifyReport) {
    for (number, entry, backup) in catalog.backups() {
        // That it is missing or damaged was found with the other objects.
        let Ok(bytes) = read_keyring(repository, &backup.keyring) else { continue };
        let fits = peek(&bytes).map(|info| {
            info.database == backup.database
                && info.generation == backup.keyring.generation
                && Some(info.public_key) == entry.record.signer
        });
        if !matches!(fits, Ok(true)) {
            let what = "it is not the keyring of the database that signed the backup";
            report.problem(backup.keyring.name(), what, vec![number]);
        }
    }
}

fn count_orphans(
    repository: &Repository,
    needed: &BTreeMap<String, Needed>,
    report: &mut VerifyReport,
) -> Result<()> {
    for prefix in [layout::SEGMENTS, layout::LOG, layout::KEYRINGS] {
        let objects = repository.store().list(prefix)?;
        let orphans = objects.iter().filter(|object| !needed.contains_key(&object.name));
        report.orphan_bytes += orphans.map(|object| object.len).sum::<u64>();
    }
    Ok(())
}
