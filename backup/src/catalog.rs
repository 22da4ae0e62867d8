//! All records of a repository, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lightning_db_crypto::PublicKey;
use lightning_db_storage::Incarnation;
use lightning_db_storage::manifest::Fork;

use crate::history::Chain;
use crate::manifest::{BackupManifest, KeyringObject, LogPiece, PreviousRecord, Record, RecordBody};
use crate::{BackupError, Result, layout};

/// The records of a repository, by number.
///
/// Records stay for ever, and each operation reads them all. So what is large in them is kept only as far as somebody asks for
/// it: of a deleted backup neither the sealed part nor the list of its segments, and each list of ancestors once for the
/// backups in a row that share it.
#[derive(Debug)]
pub struct Catalog {
    place: String,
    entries: BTreeMap<u64, Entry>,
    unreadable: BTreeMap<u64, BackupError>,
    deleted: BTreeSet<u64>,
    /// Of each history the newest backup, deleted or not.
    newest: BTreeMap<Incarnation, u64>,
}

/// A record and the hash of its object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// BLAKE3 of its object.
    pub hash: [u8; 32],
}

/// What a list of backups shows; no key is needed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// The backup's number.
    pub number: u64,
    /// When it was made, microseconds since 1970.
    pub created_micros: i64,
    /// The history that it belongs to.
    pub incarnation: Incarnation,
    /// The last commit that it holds.
    pub sequence: lightning_db_storage::SequenceNumber,
    /// The time up to which there was no other commit, microseconds since 1970.
    pub as_of_micros: i64,
    /// Bytes of all its segments.
    pub total_bytes: u64,
    /// Bytes of segments that came into the repository with it.
    pub new_segment_bytes: u64,
    /// Bytes of log that came into the repository with it.
    pub new_log_bytes: u64,
}

impl Catalog {
    pub(crate) fn new(place: String) -> Self {
        Self {
            place,
            entries: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            deleted: BTreeSet::new(),
            newest: BTreeMap::new(),
        }
    }

    pub(crate) fn insert(&mut self, number: u64, mut entry: Entry) {
        let superseded = match &mut entry.record.body {
            RecordBody::Deletion { backup } => {
                self.deleted.insert(*backup);
                *backup
            }
            RecordBody::Backup(backup) => {
                let before =
                    self.entries.range(..number).rev().find_map(|(_, before)| before.record.backup());
                if let Some(before) = before.filter(|before| before.ancestry == backup.ancestry) {
                    backup.ancestry = Arc::clone(&before.ancestry);
                }
                let newest = self.newest.entry(backup.incarnation).or_insert(number);
                let before = *newest;
                *newest = number.max(before);
                before
            }
        };
        self.entries.insert(number, entry);
        self.forget(superseded);
        self.forget(number);
    }

    /// Gives back what nobody asks for of a deleted backup. The segments of the newest backup of a history tell whether it
    /// was made from a database that has no log.
    fn forget(&mut self, number: u64) {
        let backup = self.entries.get_mut(&number).map(|entry| &mut entry.record.body);
        let Some(RecordBody::Backup(backup)) = backup.filter(|_| self.deleted.contains(&number)) else {
            return;
        };
        backup.forget_sealed();
        if self.newest.get(&backup.incarnation).is_some_and(|newest| number < *newest) {
            backup.forget_segments();
        }
    }

    pub(crate) fn insert_unreadable(&mut self, number: u64, error: BackupError) {
        self.unreadable.insert(number, error);
    }

    /// Every readable record, by number.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.values()
    }

    /// Records that cannot be read, and why.
    pub fn unreadable(&self) -> impl Iterator<Item = (u64, &BackupError)> {
        self.unreadable.iter().map(|(number, error)| (*number, error))
    }

    /// Backups that were not deleted, by number.
    pub fn backups(&self) -> impl DoubleEndedIterator<Item = (u64, &Entry, &BackupManifest)> {
        let live = self.entries.iter().filter(|(number, _)| !self.deleted.contains(number));
        live.filter_map(|(number, entry)| Some((*number, entry, entry.record.backup()?)))
    }

    /// Whether a backup was deleted.
    pub(crate) fn is_deleted(&self, number: u64) -> bool {
        self.deleted.contains(&number)
    }

    /// Every backup that there ever was, deleted ones too: the log that they archived serves the others.
    pub fn all_backups(&self) -> impl DoubleEndedIterator<Item = (u64, &BackupManifest)> {
        self.entries.iter().filter_map(|(number, entry)| Some((*number, entry.record.backup()?)))
    }

    /// A backup that was not deleted.
    ///
    /// # Errors
    /// `BackupNotFound`, or why its record cannot be read.
    pub fn backup(&self, number: u64) -> Result<(&Entry, &BackupManifest)> {
        if let Some(error) = self.refusal(number, "") {
            return Err(error);
        }
        let found = self.entries.get(&number).filter(|_| !self.deleted.contains(&number));
        found
            .and_then(|entry| Some((entry, entry.record.backup()?)))
            .ok_or_else(|| BackupError::BackupNotFound { place: self.place.clone(), number })
    }

    /// Why a record cannot be read; `note` is added to that.
    pub(crate) fn refusal(&self, number: u64, note: &str) -> Option<BackupError> {
        let (place, object) = (self.place.clone(), crate::layout::manifest(number));
        Some(match self.unreadable.get(&number)? {
            BackupError::Unsupported { what, .. } => {
                BackupError::Unsupported { place, object, what: format!("{what}{note}") }
            }
            BackupError::Damaged { what, .. } => {
                BackupError::Damaged { place, object, what: format!("{what}{note}") }
            }
            other => BackupError::Damaged { place, object, what: format!("{other}{note}") },
        })
    }

    /// The list of backups.
    #[must_use]
    pub fn summaries(&self) -> Vec<BackupSummary> {
        let summary = |(number, entry, backup): (u64, &Entry, &BackupManifest)| BackupSummary {
            number,
            created_micros: entry.record.created_micros,
            incarnation: backup.incarnation,
            sequence: backup.last_sequence,
            as_of_micros: backup.as_of_micros,
            total_bytes: backup.segments.iter().map(|segment| segment.length).sum(),
            new_segment_bytes: backup.new_segment_bytes,
            new_log_bytes: backup.new_log_bytes,
        };
        self.backups().map(summary).collect()
    }

    /// The number of the next record.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] when there is none: somebody wrote a record with the last number that there can be.
    pub fn next_number(&self) -> Result<u64> {
        let last = self.last_number();
        if last >= layout::MAX_NUMBER {
            return Err(BackupError::Damaged {
                place: self.place().into(),
                object: layout::manifest(last),
                what: "it has the last number there can be, and leaves none for the next".into(),
            });
        }
        Ok(last + 1)
    }

    pub(crate) fn last_number(&self) -> u64 {
        let readable = self.entries.keys().next_back();
        let unreadable = self.unreadable.keys().next_back();
        readable.max(unreadable).copied().unwrap_or(0)
    }

    /// The newest readable record, which the next one names.
    pub(crate) fn newest(&self) -> Option<PreviousRecord> {
        let (number, entry) = self.entries.iter().next_back()?;
        Some(PreviousRecord { number: *number, hash: entry.hash })
    }

    /// Whether every record is there and readable. If not, it is unknown which objects are in use, and none is deleted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unreadable.is_empty() && self.entries.len() as u64 == self.last_number()
    }

    /// The first record after number `after` that is missing or cannot be read. There should be `expected` at least.
    pub(crate) fn first_unknown(&self, after: u64, expected: u64) -> Option<u64> {
        let last = self.last_number().max(expected);
        (after.saturating_add(1)..=last).find(|number| !self.entries.contains_key(number))
    }

    /// The keys by which records were signed; more than one is a sign of forgery.
    #[must_use]
    pub fn signers(&self) -> Vec<PublicKey> {
        let mut signers = Vec::new();
        for signer in self.entries.values().filter_map(|entry| entry.record.signer) {
            if !signers.contains(&signer) {
                signers.push(signer);
            }
        }
        signers
    }

    /// Refuses a repository with a record that somebody else than `key` signed.
    ///
    /// # Errors
    /// `Damaged`, naming the record.
    pub fn require_signer(&self, key: PublicKey) -> Result<()> {
        let foreign = |entry: &&Entry| entry.record.signer.is_some_and(|signer| signer != key);
        self.entries.values().find(foreign).map_or(Ok(()), |entry| {
            Err(BackupError::Damaged {
                place: self.place.clone(),
                object: crate::layout::manifest(entry.record.number),
                what: format!("it is signed by another key than {key}, the database's own"),
            })
        })
    }

    /// The log of one history.
    pub(crate) fn chain(&self, incarnation: Incarnation) -> Chain<'_> {
        let pieces = self.all_backups().flat_map(|(_, backup)| &backup.log);
        Chain::new(pieces.filter(|piece| piece.segment.incarnation == incarnation))
    }

    /// The ancestors of a history, oldest first; `None` when no backup is of it, nor of one that grew out of it.
    pub(crate) fn ancestry(&self, incarnation: Incarnation) -> Option<&[Fork]> {
        self.all_backups().find_map(|(_, backup)| backup.ancestry_of(incarnation))
    }

    /// The histories that something can be restored of: those of the backups, and those that there is log of.
    pub(crate) fn histories(&self) -> BTreeSet<Incarnation> {
        let mut all = self.incarnations();
        all.extend(self.all_log_incarnations().into_iter().filter(|one| self.ancestry(*one).is_some()));
        all
    }

    /// The histories that there are backups of.
    #[must_use]
    pub fn incarnations(&self) -> BTreeSet<Incarnation> {
        self.all_backups().map(|(_, backup)| backup.incarnation).collect()
    }

    /// The pieces of log that some backup needs to get to a later commit.
    pub(crate) fn needed_log(&self) -> Vec<&LogPiece> {
        let mut needed = Vec::new();
        for incarnation in self.all_log_incarnations() {
            let chain = self.chain(incarnation);
            let ancestry = self.ancestry(incarnation).unwrap_or_default();
            let inherits = |(_, _, backup): &(u64, &Entry, &BackupManifest)| {
                backup.incarnation != incarnation && backup.is_past_of(incarnation, ancestry)
            };
            let own = self.backups().filter(|(_, _, backup)| backup.incarnation == incarnation);
            let first = if self.backups().any(|backup| inherits(&backup)) {
                Some(0)
            } else {
                own.map(|(_, _, backup)| chain.start_for(backup.flushed_sequence)).min()
            };
            needed.extend(first.into_iter().flat_map(|first| chain.pieces()[first..].iter().copied()));
        }
        needed
    }

    /// The keyrings that open what is there: those of the backups, and of each history whose backups brought log that is
    /// needed the newest one, that of a deleted backup too. It has every key of the earlier ones that was not destroyed. So a
    /// keyring that is not needed any more never is again, whatever is deleted.
    pub(crate) fn needed_keyrings(&self) -> Vec<KeyringObject> {
        let log: BTreeSet<String> = self.needed_log().into_iter().map(LogPiece::name).collect();
        let brought_log =
            |(_, backup): &(u64, &BackupManifest)| backup.log.iter().any(|piece| log.contains(&piece.name()));
        let logged: BTreeSet<Incarnation> =
            self.all_backups().filter(brought_log).map(|(_, backup)| backup.incarnation).collect();
        let mut newest: BTreeMap<Incarnation, u64> = BTreeMap::new();
        for (_, backup) in self.all_backups() {
            let generation = newest.entry(backup.incarnation).or_default();
            *generation = backup.keyring.generation.max(*generation);
        }
        let opens = |(number, backup): &(u64, &BackupManifest)| {
            let is_newest = || newest.get(&backup.incarnation) == Some(&backup.keyring.generation);
            !self.deleted.contains(number) || logged.contains(&backup.incarnation) && is_newest()
        };
        self.all_backups().filter(opens).map(|(_, backup)| backup.keyring).collect()
    }

    fn all_log_incarnations(&self) -> BTreeSet<Incarnation> {
        let pieces = self.all_backups().flat_map(|(_, backup)| &backup.log);
        pieces.map(|piece| piece.segment.incarnation).collect()
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }
}
