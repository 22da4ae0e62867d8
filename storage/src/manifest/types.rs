//! What a manifest says. Plain data: its meaning is in the engine, its bytes in the codec.

use std::collections::BTreeSet;

use lightning_db_crypto::DatabaseId;

use crate::audit::AuditHead;
use crate::pointer::BlockPtr;
use crate::segment::SegmentInfo;
use crate::tree::TreeRef;
use crate::wal::{WalPosition, WalSegmentInfo};
use crate::{FrameNumber, Generation, Incarnation, SegmentId, SequenceNumber};

/// One state of the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// What a program must know to use this database.
    pub features: Features,
    /// One higher with every commit of the manifest.
    pub generation: Generation,
    /// Which database this is. Copies and restores keep it.
    pub database: DatabaseId,
    /// Which history of it this is.
    pub incarnation: Incarnation,
    /// The histories that this one grew out of, oldest first; the last is its parent and where it left it.
    pub ancestry: Vec<Fork>,
    /// When the database was created, microseconds since 1970.
    pub created_micros: i64,
    /// The smallest segment id that was never given out.
    pub next_segment: SegmentId,
    /// The smallest run id that was never given out.
    pub next_run: u64,
    /// Every commit up to here is in the trees.
    pub flushed_sequence: SequenceNumber,
    /// The time of that commit, microseconds since 1970.
    pub flushed_time_micros: i64,
    /// The last accepted frame of this incarnation's log, for when `wal` no longer tells.
    pub log_end: Option<WalPosition>,
    /// The trees. Keyspace 0 is the default one, and comes first.
    pub keyspaces: Vec<Keyspace>,
    /// Every run, base and value segment, by ascending id.
    pub segments: Vec<SegmentInfo>,
    /// The log, oldest segment first; the last is the one being written.
    pub wal: Vec<WalSegmentInfo>,
    /// States kept by name, in order of creation.
    pub checkpoints: Vec<NamedCheckpoint>,
    /// Named points for recovery, in order of creation.
    pub restore_points: Vec<RestorePoint>,
    /// The repositories that back this database up.
    pub repositories: Vec<RepositoryCursor>,
    /// Flushed runs that were merged away and still wait for a repository, oldest first.
    pub retained_runs: Vec<RunInfo>,
    /// Intervals of history that cannot be replayed, oldest first.
    pub gaps: Vec<Gap>,
    /// The page size, in bytes, that new segments are written with.
    pub page_size: u32,
    /// The end of the audit log; `None` if there is none yet.
    pub audit: Option<AuditHead>,
}

impl Manifest {
    /// The segments of the runs, those of retained runs and of checkpoints left out.
    #[must_use]
    pub fn run_segments(&self) -> BTreeSet<SegmentId> {
        let runs = self.keyspaces.iter().flat_map(|keyspace| &keyspace.runs);
        runs.flat_map(|run| &run.segments).copied().collect()
    }
}

/// Feature bits: what a program does not know decides what it may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Unknown bits here change nothing.
    pub compatible: u64,
    /// Unknown bits here allow reading only.
    pub read_compatible: u64,
    /// Unknown bits here forbid opening.
    pub incompatible: u64,
}

impl Features {
    /// A freshness anchor has a mark of a state of this directory.
    const ANCHORED: u64 = 1;

    /// Whether some anchor has remembered a state of this directory: then none is expected to know nothing.
    #[must_use]
    pub fn is_anchored(self) -> bool {
        self.compatible & Self::ANCHORED != 0
    }

    /// The same, with that as it is said. A copy is another directory.
    #[must_use]
    pub fn with_anchored(self, is_anchored: bool) -> Self {
        let bit = if is_anchored { Self::ANCHORED } else { 0 };
        Self { compatible: self.compatible & !Self::ANCHORED | bit, ..self }
    }
}

/// Where one history left another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The history that was left.
    pub incarnation: Incarnation,
    /// Its last commit that the next one has.
    pub sequence: SequenceNumber,
    /// The time of that commit, microseconds since 1970.
    pub time_micros: i64,
    /// The number that this very state has in the next history. A restored database keeps the number; going back to a
    /// checkpoint takes the next one that was never used, and the numbers between are of no commit of that history.
    pub next: SequenceNumber,
}

/// One ordered set of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyspace {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The domain whose data keys seal it.
    pub key_domain: u16,
    /// The base tree.
    pub base: TreeRef,
    /// Sorted runs above the base, oldest first.
    pub runs: Vec<RunInfo>,
}

impl Keyspace {
    /// The default keyspace with nothing in it.
    #[must_use]
    pub fn empty_default() -> Self {
        Self { id: 0, name: "default".into(), key_domain: 0, base: TreeRef::default(), runs: Vec::new() }
    }
}

/// A sorted run: what one flush wrote, or several runs merged.
#[derive(Clone, Debug, PartialEq)]
pub struct RunInfo {
    /// Its number, unique within the database's directory.
    pub id: u64,
    /// Its tree; deletions are entries.
    pub tree: TreeRef,
    /// The filter over its keys, in pieces; empty when it has none.
    pub filter: Vec<BlockPtr>,
    /// The first commit that it may hold.
    pub first_sequence: SequenceNumber,
    /// The last commit that it may hold.
    pub last_sequence: SequenceNumber,
    /// The time of that commit, microseconds since 1970.
    pub last_time_micros: i64,
    /// How often it was merged: 0 for what a flush wrote.
    pub tier: u8,
    /// The segments with its pages.
    pub segments: Vec<SegmentId>,
    /// The value segments with the large values that it brought in.
    pub value_segments: Vec<SegmentId>,
}

/// A state of the database, kept by name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCheckpoint {
    /// The name.
    pub name: String,
    /// The last commit in it.
    pub sequence: SequenceNumber,
    /// The time of that commit, microseconds since 1970.
    pub time_micros: i64,
    /// When it was made, microseconds since 1970.
    pub made_micros: i64,
    /// The history that it belongs to.
    pub incarnation: Incarnation,
    /// The histories that this one grew out of, as in [`Manifest::ancestry`].
    pub ancestry: Vec<Fork>,
    /// Its trees.
    pub keyspaces: Vec<Keyspace>,
    /// The segments that it keeps alive.
    pub segments: Vec<HeldSegment>,
}

/// A segment that a checkpoint keeps alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldSegment {
    /// Its number.
    pub id: SegmentId,
    /// How many of its bytes the checkpoint's trees use.
    pub live_bytes: u64,
}

impl From<&SegmentInfo> for HeldSegment {
    fn from(info: &SegmentInfo) -> Self {
        Self { id: info.id, live_bytes: info.live_bytes }
    }
}

/// A named point that a restore can go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    /// The name.
    pub name: String,
    /// The last commit before it.
    pub sequence: SequenceNumber,
    /// When it was made, microseconds since 1970.
    pub time_micros: i64,
    /// The history that it belongs to.
    pub incarnation: Incarnation,
}

/// What one backup repository has of this database.
#[derive(Clone, Debug, PartialEq)]
pub struct RepositoryCursor {
    /// The repository's random id.
    pub repository: [u8; 16],
    /// Where it was last seen, for messages.
    pub url_hint: String,
    /// The number of its latest backup of this database.
    pub last_backup: u64,
    /// The log that it holds, without a break since its oldest backup.
    pub archived: Option<ArchivedThrough>,
    /// The log that it holds too if a backup became whole of which this database did not hear.
    pub announced: Option<ArchivedThrough>,
    /// Digest of the segments of that backup's trees: by it the backup is known, whatever becomes of the lineage.
    pub announced_trees: Option<[u8; 32]>,
    /// The trees that its latest backup holds.
    pub lineage: Lineage,
}

/// The end of the log that a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedThrough {
    /// The history that the log belongs to.
    pub incarnation: Incarnation,
    /// The last frame.
    pub frame: FrameNumber,
    /// That frame's tag.
    pub tag: [u8; 16],
    /// The last commit in it or before it.
    pub sequence: SequenceNumber,
    /// The time of that commit, microseconds since 1970.
    pub time_micros: i64,
}

/// From what the next backup into a repository starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Lineage {
    /// From the live trees: nothing is known about what the repository holds.
    Rebase,
    /// From the trees of the latest backup plus the runs flushed since.
    Version {
        /// The last commit in those trees.
        sequence: SequenceNumber,
        /// Its time, microseconds since 1970.
        time_micros: i64,
        /// The trees.
        keyspaces: Vec<Keyspace>,
        /// Their segments, which may be gone here.
        segments: Vec<SegmentInfo>,
    },
}

/// Commits that cannot be replayed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The history that they belong to.
    pub incarnation: Incarnation,
    /// The last commit before them.
    pub after: SequenceNumber,
    /// The last of them.
    pub through: SequenceNumber,
    /// Why.
    pub reason: GapReason,
}

/// Why history cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GapReason {
    /// The log was switched off.
    LogDisabled = 1,
    /// The log grew past its cap before a repository fetched it.
    LogDropped = 2,
}
