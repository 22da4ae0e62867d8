//! What to merge next.
//!
//! Lazy leveling: runs of one size tier are merged into one of the next, and all of them into the base once they are
//! large enough beside it that rewriting the base pays. A merge takes neighbours in age only, so that a deletion never
//! outlives what it deletes, and a merge into the base takes the oldest runs, all of them.

use std::collections::BTreeSet;

use lightning_db_crypto::EpochId;
use lightning_db_storage::SegmentId;
use lightning_db_storage::manifest::{Manifest, RunInfo};
use lightning_db_storage::segment::{SegmentInfo, SegmentKind};

/// So many runs of one tier become one of the next.
const FAN_IN: usize = 4;
/// More runs than this are merged into the base, however small they are.
const MAX_RUNS: usize = 12;
/// The runs are merged into the base when they hold this share of its bytes, one in so many.
const BASE_SHARE: u64 = 4;
/// A segment whose live share is below this many percent is emptied by the next merge into the base.
const VICTIM_LIVE_PERCENT: u64 = 50;
/// The cleaner starts when less than this many percent of the bytes of base and value segments are live, and empties the
/// segments below it: there is always one then.
const CLEAN_LIVE_PERCENT: u64 = 75;
/// `compact` empties segments below this many percent.
const COMPACT_LIVE_PERCENT: u64 = 95;

/// What older data keys sealed is moved by and by: a merge takes one in so many of the bytes.
const ROTATION_SHARE: u64 = 8;

/// Moving everything at once takes about so many steps, each of which is durable when it is done,
const RESEAL_STEPS: u64 = 32;
/// and none of which moves less than this, if there is so much.
const RESEAL_STEP_LEN: u64 = 16 << 20;

/// A merge to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// These runs, neighbours in age, become one.
    Runs(Vec<u64>),
    /// These runs, the oldest, go into the base, and these segments are emptied.
    Base { runs: Vec<u64>, victims: BTreeSet<SegmentId> },
}

/// Chooses a merge that no other one under way is in the way of. Merges of young runs come first: they are short, and
/// reads wait for them most. What comes last is to move what another data key than that of `epoch` sealed.
pub(super) fn choose(
    manifest: &Manifest,
    epoch: EpochId,
    busy: &BTreeSet<u64>,
    base_is_busy: bool,
) -> Option<Work> {
    let keyspace = manifest.keyspaces.first()?;
    let runs = &keyspace.runs;
    let run_bytes: u64 = runs.iter().map(|run| run.tree.stored_bytes).sum();
    let due =
        runs.len() > MAX_RUNS || !runs.is_empty() && run_bytes >= keyspace.base.stored_bytes / BASE_SHARE;
    if let Some(work) = same_tier(runs, busy) {
        let whole = matches!(&work, Work::Runs(ids) if ids.len() == runs.len());
        if !(whole && due && !base_is_busy) {
            return Some(work);
        }
    }
    // While the base is small it pays to wait for more than one flush.
    let due = due && (runs.len() >= FAN_IN || runs.iter().any(|run| run.tier > 0));
    if base_is_busy || !busy.is_empty() {
        return None;
    }
    let outdated = outdated(manifest, epoch);
    let is_rotating = !outdated.is_empty() || has_outdated_run(manifest, runs, epoch);
    let is_dirty = is_dirty(manifest);
    if !(due || is_dirty || is_rotating) {
        return None;
    }
    let mut victims = victims(manifest, if is_dirty { CLEAN_LIVE_PERCENT } else { VICTIM_LIVE_PERCENT });
    victims.extend(outdated);
    // All runs, for the cleaner too: what they have in a segment that is to be emptied must move as well.
    Some(Work::Base { runs: runs.iter().map(|run| run.id).collect(), victims })
}

/// Everything into the base, all dead space emptied, and nothing left under another data key than that of `epoch`.
pub(super) fn compact_all(manifest: &Manifest, epoch: EpochId) -> Work {
    let runs = manifest.keyspaces.iter().take(1).flat_map(|keyspace| &keyspace.runs);
    let mut victims = victims(manifest, COMPACT_LIVE_PERCENT);
    victims.extend(cleanable(manifest).filter(|info| info.epoch != epoch).map(|info| info.id));
    Work::Base { runs: runs.map(|run| run.id).collect(), victims }
}

/// The segments that merging everything left too empty, because pages in them were replaced, if there are any.
pub(super) fn compact_rest(manifest: &Manifest) -> Option<Work> {
    let victims = victims(manifest, CLEAN_LIVE_PERCENT);
    let runs = manifest.keyspaces.iter().take(1).flat_map(|keyspace| &keyspace.runs);
    (!victims.is_empty()).then(|| Work::Base { runs: runs.map(|run| run.id).collect(), victims })
}

/// One step of moving everything that is live to the data key of `epoch`: all runs, and some of the segments that other
/// keys sealed, those too that something else goes on holding. None when nothing is left to move.
pub(super) fn reseal_step(manifest: &Manifest, epoch: EpochId) -> Option<Work> {
    let runs = &manifest.keyspaces.first()?.runs;
    let outdated = outdated_live(manifest, epoch).collect::<Vec<_>>();
    if outdated.is_empty() && !has_outdated_run(manifest, runs, epoch) {
        return None;
    }
    let total: u64 = outdated.iter().map(|info| info.live_bytes).sum();
    let mut room = (total / RESEAL_STEPS).max(RESEAL_STEP_LEN);
    let mut victims = BTreeSet::new();
    for info in outdated {
        victims.insert(info.id);
        room = room.saturating_sub(info.live_bytes);
        if room == 0 {
            break;
        }
    }
    Some(Work::Base { runs: runs.iter().map(|run| run.id).collect(), victims })
}

/// Live bytes that another data key than that of `epoch` sealed.
pub(super) fn outdated_bytes(manifest: &Manifest, epoch: EpochId) -> u64 {
    let of_runs = manifest.run_segments();
    let runs = manifest.segments.iter().filter(|info| info.epoch != epoch && of_runs.contains(&info.id));
    let runs: u64 = runs.map(|info| info.stored_bytes).sum();
    runs + outdated_live(manifest, epoch).map(|info| info.live_bytes).sum::<u64>()
}

/// Segments of pages and values that another data key sealed and in which something is live.
fn outdated_live(manifest: &Manifest, epoch: EpochId) -> impl Iterator<Item = &SegmentInfo> {
    let is_live = move |info: &&SegmentInfo| {
        info.kind != SegmentKind::Run && info.epoch != epoch && info.live_bytes > 0
    };
    manifest.segments.iter().filter(is_live)
}

/// Bytes of runs that wait for a merge into the base.
pub(crate) fn pending_bytes(manifest: &Manifest) -> u64 {
    manifest.keyspaces.iter().flat_map(|keyspace| &keyspace.runs).map(|run| run.tree.stored_bytes).sum()
}

/// The youngest neighbours of one tier, if there are enough.
fn same_tier(runs: &[RunInfo], busy: &BTreeSet<u64>) -> Option<Work> {
    let mut end = runs.len();
    while end > 0 {
        let tier = runs[end - 1].tier;
        let start = runs[..end].iter().rposition(|run| run.tier != tier).map_or(0, |before| before + 1);
        let group = &runs[start..end];
        if group.len() >= FAN_IN && group.iter().all(|run| !busy.contains(&run.id)) {
            return Some(Work::Runs(group.iter().map(|run| run.id).collect()));
        }
        end = start;
    }
    None
}

/// Whether too much of the base's and the values' files is dead.
fn is_dirty(manifest: &Manifest) -> bool {
    let (live, stored) = cleanable(manifest).fold((0u64, 0u64), |(live, stored), info| {
        (live.saturating_add(info.live_bytes), stored.saturating_add(content_bytes(info)))
    });
    live.saturating_mul(100) < stored.saturating_mul(CLEAN_LIVE_PERCENT)
}

/// Bytes of what can be live: a dictionary goes with its segment.
fn content_bytes(info: &SegmentInfo) -> u64 {
    info.stored_bytes.saturating_sub(info.dictionary.map_or(0, |ptr| u64::from(ptr.stored_len)))
}

fn victims(manifest: &Manifest, percent: u64) -> BTreeSet<SegmentId> {
    let is_victim = |info: &&SegmentInfo| {
        info.live_bytes.saturating_mul(100) < content_bytes(info).saturating_mul(percent)
    };
    cleanable(manifest).filter(is_victim).map(|info| info.id).collect()
}

/// The oldest segments that another data key than that of `epoch` sealed: as many as one merge is to move.
fn outdated(manifest: &Manifest, epoch: EpochId) -> BTreeSet<SegmentId> {
    let stored: u64 = cleanable(manifest).map(|info| info.stored_bytes).sum();
    let mut room = stored / ROTATION_SHARE + 1;
    let mut taken = BTreeSet::new();
    for info in cleanable(manifest).filter(|info| info.epoch != epoch) {
        if room == 0 {
            break;
        }
        room = room.saturating_sub(info.stored_bytes);
        taken.insert(info.id);
    }
    taken
}

fn has_outdated_run(manifest: &Manifest, runs: &[RunInfo], epoch: EpochId) -> bool {
    let of_runs: BTreeSet<SegmentId> = runs.iter().flat_map(|run| &run.segments).copied().collect();
    manifest.segments.iter().any(|info| info.epoch != epoch && of_runs.contains(&info.id))
}

/// Segments that a merge into the base can empty: those that no checkpoint or retained run holds in place.
fn cleanable(manifest: &Manifest) -> impl Iterator<Item = &SegmentInfo> {
    let mut held: BTreeSet<SegmentId> =
        manifest.checkpoints.iter().flat_map(|checkpoint| &checkpoint.segments).map(|held| held.id).collect();
    held.extend(manifest.retained_runs.iter().flat_map(|run| &run.value_segments).copied());
    manifest.segments.iter().filter(move |info| info.kind != SegmentKind::Run && !held.contains(&info.id))
}
