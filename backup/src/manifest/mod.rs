//! What `manifests/<number>` says: that a backup was made, or that one was deleted. These records are the truth about
//! a repository; an object that none of them names is nothing.
//!
//! A record has a clear part, by which a repository is verified, copied and pruned without a key; a backup's has a
//! sealed part too, with the trees, names and whatever else tells of the content. All of it is signed by the database,
//! and each record names the one before by its hash.

mod codec;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use lightning_db_crypto::{DatabaseId, Entropy, EpochId, Keyring, PublicKey, SuiteId};
use lightning_db_storage::manifest::{Fork, Manifest};
use lightning_db_storage::segment::{SegmentInfo, SegmentKind};
use lightning_db_storage::wal::{ArchivePiece, WalPosition, WalSegmentInfo};
use lightning_db_storage::{FrameNumber, Incarnation, SegmentId, SequenceNumber};

use crate::{Result, layout};

pub use codec::MAX_RECORD_LEN;

/// The identity of a repository, drawn at random when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepositoryId(pub [u8; 16]);

impl std::fmt::Debug for RepositoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RepositoryId({self})")
    }
}

impl std::fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// One record of a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// Its number; they count from 1 without gaps.
    pub number: u64,
    /// The record before it.
    pub previous: Option<PreviousRecord>,
    /// When it was made, microseconds since 1970.
    pub created_micros: i64,
    /// What it says.
    pub body: RecordBody,
    /// Who signed it. Only a deletion may be without a signature: it can be made without a key.
    pub signer: Option<PublicKey>,
}

/// A record's predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousRecord {
    /// Its number.
    pub number: u64,
    /// BLAKE3 of the whole object.
    pub hash: [u8; 32],
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordBody {
    /// A backup was made.
    Backup(Box<BackupManifest>),
    /// A backup was deleted.
    Deletion {
        /// Its number.
        backup: u64,
    },
}

/// One backup: a version of the database, and the log that was archived with it.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupManifest {
    /// The database.
    pub database: DatabaseId,
    /// How its files are sealed.
    pub suite: SuiteId,
    /// The history that the backup belongs to.
    pub incarnation: Incarnation,
    /// The histories that this one grew out of, oldest first. Backups of one history share the list.
    pub ancestry: Arc<[Fork]>,
    /// The last commit in the trees of the backup.
    pub flushed_sequence: SequenceNumber,
    /// Its time, microseconds since 1970.
    pub flushed_time_micros: i64,
    /// The last commit that the backup holds, by its trees or by the log up to it.
    pub last_sequence: SequenceNumber,
    /// The time up to which there was no other commit, microseconds since 1970.
    pub as_of_micros: i64,
    /// The keyring that opens it.
    pub keyring: KeyringObject,
    /// The segments of its trees.
    pub segments: Vec<SegmentObject>,
    /// The log that was archived with it. What the backups before it archived is listed there.
    pub log: Vec<LogPiece>,
    /// Bytes of segments that the repository did not have before.
    pub new_segment_bytes: u64,
    /// Bytes of log that the repository did not have before.
    pub new_log_bytes: u64,
    /// The storage manifest of the version, sealed.
    sealed: Vec<u8>,
}

/// A keyring in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyringObject {
    /// Its generation.
    pub generation: u64,
    /// BLAKE3 of the object.
    pub hash: [u8; 32],
    /// Length in bytes.
    pub length: u64,
}

/// A segment in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentObject {
    /// Its id in the database.
    pub id: SegmentId,
    /// What it is for.
    pub kind: SegmentKind,
    /// BLAKE3 of the object.
    pub hash: [u8; 32],
    /// Length in bytes.
    pub length: u64,
}

/// A piece of the log in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// The log segment that the frames are of, with all that is needed to open them.
    pub segment: WalSegmentInfo,
    /// Where the first frame lies in the segment.
    pub start: u64,
    /// The number of the first frame.
    pub first_frame: FrameNumber,
    /// The tag of the frame before it.
    pub previous_tag: [u8; 16],
    /// Behind the last frame.
    pub end: WalPosition,
    /// The first and last commit that is completed here.
    pub sequences: Option<(SequenceNumber, SequenceNumber)>,
    /// The earliest and latest time of the commits that begin here, microseconds since 1970.
    pub times: Option<(i64, i64)>,
    /// BLAKE3 of the object.
    pub hash: [u8; 32],
    /// Length of the object in bytes.
    pub length: u64,
}

impl KeyringObject {
    /// The object's name.
    #[must_use]
    pub fn name(&self) -> String {
        layout::keyring(self.generation, &self.hash)
    }
}

impl SegmentObject {
    /// The object of a segment.
    #[must_use]
    pub fn of(info: &SegmentInfo) -> Self {
        Self { id: info.id, kind: info.kind, hash: info.content_hash, length: info.length }
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> String {
        layout::segment(self.id, &self.hash)
    }
}

impl LogPiece {
    /// The entry for `piece`, whose object is `object`.
    #[must_use]
    pub fn of(piece: &ArchivePiece, object: &[u8]) -> Self {
        Self {
            segment: piece.info.clone(),
            start: piece.start,
            first_frame: piece.first_frame,
            previous_tag: piece.previous_tag,
            end: piece.end,
            sequences: piece.sequences,
            times: piece.times,
            hash: *blake3::hash(object).as_bytes(),
            length: object.len() as u64,
        }
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> String {
        layout::log_piece(self.segment.incarnation, self.first_frame, self.end.frame, &self.hash)
    }

    /// The last commit before those that are completed here.
    #[must_use]
    pub fn before(&self) -> SequenceNumber {
        match self.sequences {
            Some((first, _)) => SequenceNumber(first.0.saturating_sub(1)),
            None => self.end.sequence,
        }
    }

    /// Whether this piece goes on where `earlier` ends, with no commit between. Between two segments there may be frames
    /// without commits that were given up; the segment says so when it is replayed.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> bool {
        let is_next = self.first_frame == earlier.end.frame.next() && self.previous_tag == earlier.end.tag;
        let is_later = self.first_frame > earlier.end.frame.next()
            && self.segment.id > earlier.segment.id
            && !earlier.end.within_commit;
        (is_next || is_later) && self.before() == earlier.end.sequence
    }
}

impl BackupManifest {
    /// The data key that its sealed part names; `None` if that was left out.
    pub(crate) fn sealed_epoch(&self) -> Option<EpochId> {
        self.sealed.first_chunk().map(|number| EpochId(u32::from_le_bytes(*number)))
    }

    /// The clear part of a backup that holds `version` and adds `log`; it is sealed with
    /// [`Record::seal_backup`].
    pub(crate) fn new(
        version: &Manifest,
        suite: SuiteId,
        (last_sequence, as_of_micros): (SequenceNumber, i64),
        keyring: KeyringObject,
        log: Vec<LogPiece>,
        new_segment_bytes: u64,
    ) -> Self {
        Self {
            database: version.database,
            suite,
            incarnation: version.incarnation,
            ancestry: version.ancestry.as_slice().into(),
            flushed_sequence: version.flushed_sequence,
            flushed_time_micros: version.flushed_time_micros,
            last_sequence,
            as_of_micros,
            keyring,
            segments: version.segments.iter().map(SegmentObject::of).collect(),
            new_log_bytes: log.iter().map(|piece| piece.length).sum(),
            log,
            new_segment_bytes,
            sealed: Vec::new(),
        }
    }

    /// Gives back the memory of the sealed part. [`Record::open`] refuses the record from then on.
    pub(crate) fn forget_sealed(&mut self) {
        self.sealed = Vec::new();
    }

    /// Gives back the memory of the list of segments.
    pub(crate) fn forget_segments(&mut self) {
        self.segments = Vec::new();
    }

    /// Whether a database of history `incarnation` with these ancestors has this backup in
    /// its past.
    #[must_use]
    pub fn is_past_of(&self, incarnation: Incarnation, ancestry: &[Fork]) -> bool {
        self.incarnation == incarnation
            || ancestry
                .iter()
                .any(|fork| fork.incarnation == self.incarnation && self.flushed_sequence <= fork.sequence)
    }

    /// The ancestors of a history, if it is this backup's or one that this grew out of.
    pub(crate) fn ancestry_of(&self, incarnation: Incarnation) -> Option<&[Fork]> {
        if self.incarnation == incarnation {
            return Some(&self.ancestry);
        }
        let at = self.ancestry.iter().position(|fork| fork.incarnation == incarnation)?;
        Some(&self.ancestry[..at])
    }
}

impl Record {
    /// A backup's record as an object: `version` is sealed into it, and all of it is signed. Returns the record as a
    /// reader will see it, and its bytes.
    ///
    /// # Errors
    /// When there are no random bytes, or no key to seal with.
    pub fn seal_backup(
        self,
        version: &Manifest,
        keyring: &Keyring,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Vec<u8>)> {
        codec::seal_backup(self, version, keyring, entropy)
    }

    /// A deletion's record as an object, signed if there is a key to do it with.
    #[must_use]
    pub fn encode_deletion(&self, keyring: Option<&Keyring>) -> Vec<u8> {
        codec::encode_deletion(self, keyring)
    }

    /// Reads a record and verifies its signature. Who signed it is for the caller to judge.
    ///
    /// # Errors
    /// `Damaged` for anything that is not a whole, signed record; `Unsupported` for one of a later version.
    pub fn decode(place: &str, object: &str, bytes: &[u8]) -> Result<Self> {
        codec::decode(place, object, bytes)
    }

    /// Opens the sealed part: the storage manifest of the version that the backup holds. None for a deletion.
    ///
    /// # Errors
    /// `Damaged` when it does not open or contradicts the clear part, and what opening with this keyring gives.
    pub fn open(&self, place: &str, keyring: &Keyring) -> Result<Option<Manifest>> {
        codec::open(self, place, keyring)
    }

    /// The backup, if the record is of one.
    #[must_use]
    pub fn backup(&self) -> Option<&BackupManifest> {
        match &self.body {
            RecordBody::Backup(backup) => Some(backup),
            RecordBody::Deletion { .. } => None,
        }
    }
}

/// By what the trees of a backup are known: their segments and what is in them.
pub(crate) fn trees_digest(segments: impl Iterator<Item = (SegmentId, [u8; 32])>) -> [u8; 32] {
    let mut segments: Vec<_> = segments.collect();
    segments.sort_unstable();
    let mut digest = blake3::Hasher::new();
    for (id, hash) in segments {
        digest.update(&id.0.to_le_bytes()).update(&hash);
    }
    digest.finalize().into()
}
