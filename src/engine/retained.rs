//! Flushed runs that are kept for backup repositories after they were merged away.
//!
//! What a repository holds grows by the runs flushed since its latest backup: shipping those costs what has changed,
//! while the merged base may share little with what it has. So each flushed run is kept until every repository has it,
//! or until together they take too much beside the live trees; then the next backup starts from those. While a backup
//! is made, every run is kept that is flushed: the repository may be new, and lack it.

use std::collections::BTreeMap;

use lightning_db_storage::manifest::{Lineage, Manifest};
use lightning_db_storage::{SegmentId, SequenceNumber};

/// Retained runs may take one byte in so many of the live trees'.
const LIVE_SHARE: u64 = 4;

/// Lets go of the runs that no repository waits for, and of all when they exceed their share, which is never less than
/// `least_limit` bytes.
pub(super) fn trim(manifest: &mut Manifest, least_limit: u64) {
    if manifest.retained_runs.is_empty() {
        return;
    }
    let waiting = manifest.repositories.iter().filter_map(|cursor| match &cursor.lineage {
        Lineage::Rebase => None,
        Lineage::Version { sequence, .. } => Some(*sequence),
    });
    let slowest: Option<SequenceNumber> = waiting.min();
    manifest.retained_runs.retain(|run| slowest.is_some_and(|slowest| run.last_sequence > slowest));
    let keyspace = &manifest.keyspaces[0];
    let runs: u64 = keyspace.runs.iter().map(|run| run.tree.stored_bytes).sum();
    let limit = ((keyspace.base.stored_bytes + runs) / LIVE_SHARE).max(least_limit);
    let bytes = extra_bytes(manifest);
    if bytes > limit {
        tracing::info!(
            bytes,
            limit,
            "runs kept for backups grew too large: the next backup starts from the live trees"
        );
        manifest.retained_runs.clear();
        manifest.repositories.iter_mut().for_each(|cursor| cursor.lineage = Lineage::Rebase);
    }
}

/// Bytes of files that only retained runs keep.
fn extra_bytes(manifest: &Manifest) -> u64 {
    let lengths: BTreeMap<SegmentId, u64> =
        manifest.segments.iter().map(|info| (info.id, info.length)).collect();
    let is_live =
        |id: u64| manifest.keyspaces.iter().flat_map(|keyspace| &keyspace.runs).any(|run| run.id == id);
    let only_retained = manifest.retained_runs.iter().filter(|run| !is_live(run.id));
    only_retained.flat_map(|run| &run.segments).filter_map(|id| lengths.get(id)).sum()
}
