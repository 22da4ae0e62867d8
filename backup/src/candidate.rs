//! Which version of the database a backup holds.
//!
//! Merges rewrite what the repository has already. So a backup need not hold the live trees: the trees of the backup
//! before, with the runs flushed since on top, have the same content, and cost only those runs. What the backup before
//! had to be is no reason to copy everything again: only when the live trees are cheaper, or when the continued ones
//! would be bad to restore, the backup holds the live trees.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use lightning_db_crypto::EpochId;
use lightning_db_storage::bytes::ByteReader;
use lightning_db_storage::extent::ExtentRef;
use lightning_db_storage::manifest::{Keyspace, Manifest, RunInfo};
use lightning_db_storage::page::EntryValue;
use lightning_db_storage::segment::{ReadMode, SealContext, SegmentInfo, SegmentKind, Segments};
use lightning_db_storage::tree::{Cursor, DirectPages, EntryStream, ReadAhead, TreeStream};
use lightning_db_storage::{SegmentId, SequenceNumber, StorageError};

use crate::Result;
use crate::manifest::SegmentObject;

/// More runs than this make a restored database slow to read until they are merged.
const MAX_RUNS: usize = 64;
/// A restored database takes at most so many percent of the bytes that the live trees take.
const MAX_PERCENT_OF_LIVE: u64 = 150;

/// How a backup's version came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionKind {
    /// The trees of the backup before, with the runs flushed since.
    Continued,
    /// The live trees.
    Live,
}

/// Chooses between continuing `previous` and the live trees of `live`, by the bytes that `lacks` counts: those of the
/// segments that the repository does not have.
///
/// # Errors
/// What reading the runs gives.
pub(crate) fn choose(
    ctx: &SealContext,
    live: &Manifest,
    previous: Option<&Manifest>,
    lacks: &dyn Fn(&SegmentInfo) -> bool,
) -> Result<(VersionKind, Manifest)> {
    let whole = live_version(live);
    let Some(mut continued) = previous.and_then(|previous| continue_version(live, previous)) else {
        return Ok((VersionKind::Live, whole));
    };
    let cost = |version: &Manifest| -> u64 {
        version.segments.iter().filter(|info| lacks(info)).map(|info| info.length).sum()
    };
    let here: HashSet<SegmentObject> = live.segments.iter().map(SegmentObject::of).collect();
    let can_ship =
        continued.segments.iter().all(|info| !lacks(info) || here.contains(&SegmentObject::of(info)));
    let epoch = ctx.keyring.read().current_epoch();
    // Where everything was moved to the current key, a backup is not to need an older one for ever.
    let goes_back = is_outdated(&continued, epoch) && !is_outdated(&whole, epoch);
    if !can_ship || goes_back || is_bad_to_restore(&continued, &whole) || cost(&whole) < cost(&continued) {
        return Ok((VersionKind::Live, whole));
    }
    count_live_values(ctx, live, &mut continued)?;
    Ok((VersionKind::Continued, continued))
}

/// The live trees, and of the segments those that they need.
fn live_version(live: &Manifest) -> Manifest {
    let runs = || live.keyspaces.iter().flat_map(|keyspace| &keyspace.runs);
    let listed: BTreeSet<SegmentId> =
        runs().flat_map(|run| run.segments.iter().chain(&run.value_segments)).copied().collect();
    let needed = |info: &&SegmentInfo| {
        listed.contains(&info.id) || info.kind != SegmentKind::Run && info.live_bytes > 0
    };
    let segments = live.segments.iter().filter(needed).cloned().collect();
    version(live, live.keyspaces.clone(), segments)
}

/// What is kept of a manifest in a backup: the trees, and what is known about history. The log and what is particular to
/// this copy of the database stay behind.
fn version(live: &Manifest, keyspaces: Vec<Keyspace>, segments: Vec<SegmentInfo>) -> Manifest {
    // The state before any commit began with the database.
    let flushed_time_micros =
        if live.flushed_sequence.0 == 0 { live.created_micros } else { live.flushed_time_micros };
    Manifest {
        keyspaces,
        segments,
        flushed_time_micros,
        wal: Vec::new(),
        log_end: None,
        checkpoints: Vec::new(),
        repositories: Vec::new(),
        retained_runs: Vec::new(),
        audit: None,
        features: live.features.with_anchored(false),
        ..live.clone()
    }
}

/// The trees of `previous` with the runs flushed since on top; `None` if they do not fit together.
fn continue_version(live: &Manifest, previous: &Manifest) -> Option<Manifest> {
    let one_keyspace = live.keyspaces.len() == 1 && previous.keyspaces.len() == 1;
    if !one_keyspace || previous.incarnation != live.incarnation || previous.next_run > live.next_run {
        return None;
    }
    let added = runs_after(live, previous.flushed_sequence)?;
    let mut keyspace = previous.keyspaces.first()?.clone();
    keyspace.runs.extend(added.iter().map(|run| (*run).clone()));
    let mut table: BTreeMap<SegmentId, SegmentInfo> =
        previous.segments.iter().map(|info| (info.id, info.clone())).collect();
    for id in added.iter().flat_map(|run| run.segments.iter().chain(&run.value_segments)) {
        let info = live.segments.iter().find(|info| info.id == *id)?;
        let fresh = SegmentInfo { live_bytes: info.stored_bytes, ..info.clone() };
        // Segments of another copy of the database may have the same number.
        let known = table.entry(*id).or_insert(fresh);
        if known.content_hash != info.content_hash {
            return None;
        }
    }
    let mut segments: Vec<SegmentInfo> = table.into_values().collect();
    segments.sort_by_key(|info| info.id);
    let ids: BTreeSet<u64> = keyspace.runs.iter().map(|run| run.id).collect();
    let sound =
        ids.len() == keyspace.runs.len() && segments.last().is_none_or(|info| info.id < live.next_segment);
    sound.then(|| version(live, vec![keyspace], segments))
}

/// Runs with exactly the commits after `flushed`, oldest first; those that reach furthest are preferred.
fn runs_after(live: &Manifest, flushed: SequenceNumber) -> Option<Vec<&RunInfo>> {
    let known = || live.retained_runs.iter().chain(live.keyspaces.iter().flat_map(|keyspace| &keyspace.runs));
    let mut at = flushed;
    let mut runs = Vec::new();
    while at < live.flushed_sequence {
        let next = known().filter(|run| run.first_sequence == at.next());
        let run = next.max_by_key(|run| run.last_sequence)?;
        at = run.last_sequence;
        runs.push(run);
    }
    (at == live.flushed_sequence).then_some(runs)
}

/// Whether anything of it is under another data key than that of `epoch`.
fn is_outdated(version: &Manifest, epoch: EpochId) -> bool {
    version.segments.iter().any(|info| info.epoch != epoch)
}

fn is_bad_to_restore(version: &Manifest, live: &Manifest) -> bool {
    let limit = tree_bytes(live).saturating_mul(MAX_PERCENT_OF_LIVE) / 100;
    version.keyspaces.iter().any(|keyspace| keyspace.runs.len() > MAX_RUNS) || tree_bytes(version) > limit
}

fn tree_bytes(version: &Manifest) -> u64 {
    let trees = |keyspace: &Keyspace| {
        let runs = keyspace.runs.iter().map(|run| run.tree.stored_bytes);
        runs.fold(keyspace.base.stored_bytes, u64::saturating_add)
    };
    version.keyspaces.iter().map(trees).fold(0, u64::saturating_add)
}

/// The value segments of the added runs: what the live manifest counts in them is what the live trees refer to, not what
/// these do. A restored database deletes what is not counted, so they are counted anew.
fn count_live_values(ctx: &SealContext, live: &Manifest, version: &mut Manifest) -> Result<()> {
    let added: BTreeSet<u64> =
        live.retained_runs.iter().chain(&live.keyspaces[0].runs).map(|run| run.id).collect();
    let runs: Vec<RunInfo> =
        version.keyspaces[0].runs.iter().filter(|run| added.contains(&run.id)).cloned().collect();
    let mut referred: BTreeMap<SegmentId, u64> =
        runs.iter().flat_map(|run| &run.value_segments).map(|id| (*id, 0)).collect();
    for run in runs.iter().filter(|run| !run.value_segments.is_empty()) {
        count_values(ctx, &version.segments, run, &mut referred)?;
    }
    for info in &mut version.segments {
        if let Some(bytes) = referred.get(&info.id) {
            info.live_bytes = (*bytes).min(info.stored_bytes);
        }
    }
    Ok(())
}

fn count_values(
    ctx: &SealContext,
    table: &[SegmentInfo],
    run: &RunInfo,
    referred: &mut BTreeMap<SegmentId, u64>,
) -> Result<()> {
    let segments = Segments::new();
    for info in table.iter().filter(|info| run.segments.contains(&info.id)) {
        segments.open(ctx, info, ReadMode::default())?;
    }
    let pages = DirectPages(&segments);
    let mut stream = TreeStream::new(Cursor::new(&pages, run.tree, ReadAhead::default()));
    while stream.advance()? {
        let EntryValue::Extent(encoded) = stream.value() else { continue };
        let extent = ExtentRef::decode(&mut ByteReader::new(encoded)).map_err(|error| {
            StorageError::corrupt(ctx.directory.join(format!("run {}", run.id)), 0, error.to_string())
        })?;
        for chunk in &extent.chunks {
            if let Some(bytes) = referred.get_mut(&chunk.segment) {
                *bytes += u64::from(chunk.stored_len);
            }
        }
    }
    Ok(())
}
