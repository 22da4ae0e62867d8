//! What must hold between the parts of a manifest. A manifest that breaks a rule was not written by a sound program,
//! and nothing is built on it.

use std::collections::HashSet;
use std::hash::Hash;

use super::types::{Keyspace, Lineage, Manifest, RunInfo};
use crate::SegmentId;
use crate::segment::{SegmentInfo, SegmentKind};
use crate::tree::TreeRef;

type Checked = Result<(), String>;

/// Numbers grow by one, and never come this far.
const NUMBER_MAX: u64 = 1 << 62;
/// Larger than any page size that a configuration may ask for, in bytes; buffers are sized by it.
const PAGE_SIZE_MAX: u32 = 1 << 20;

/// Says which rule is broken, if one is.
pub(super) fn check(manifest: &Manifest) -> Checked {
    check_segments(manifest)?;
    check_log(manifest)?;
    let table: HashSet<SegmentId> = manifest.segments.iter().map(|info| info.id).collect();
    check_keyspaces(&manifest.keyspaces, &table)?;
    for run in manifest.keyspaces.iter().flat_map(|keyspace| &keyspace.runs) {
        require(run.last_sequence <= manifest.flushed_sequence, || {
            format!("run {} is not flushed yet", run.id)
        })?;
        require(run.id < manifest.next_run, || format!("run {} has a number not given out yet", run.id))?;
    }
    check_checkpoints(manifest, &table)?;
    for cursor in &manifest.repositories {
        if let Lineage::Version { keyspaces, segments, .. } = &cursor.lineage {
            check_keyspaces(keyspaces, &segments.iter().map(|info| info.id).collect())?;
        }
    }
    manifest.retained_runs.iter().try_for_each(|run| check_run(run, &table))?;
    unique(manifest.retained_runs.iter().map(|run| run.id), "retained run")?;
    unique(manifest.repositories.iter().map(|cursor| cursor.repository), "repository")?;
    unique(manifest.restore_points.iter().map(|point| (&point.name, point.incarnation)), "restore point")?;
    for gap in &manifest.gaps {
        require(gap.after < gap.through, || "a gap in the history is empty".into())?;
    }
    let page_size = manifest.page_size;
    require(page_size.is_power_of_two() && page_size <= PAGE_SIZE_MAX, || format!("page size {page_size}"))
}

/// As [`check`], of a manifest that was read: what counts on from its numbers can do so for ever.
pub(super) fn check_read(manifest: &Manifest) -> Checked {
    check(manifest)?;
    check_numbers(manifest)
}

fn check_numbers(manifest: &Manifest) -> Checked {
    let numbers = [
        (manifest.generation.0, "generation"),
        (manifest.next_segment.0, "next segment"),
        (manifest.next_run, "next run"),
        (manifest.flushed_sequence.0, "flushed sequence number"),
        (total(manifest), "sum of all sizes and counts"),
    ];
    numbers.into_iter().try_for_each(|(number, what)| {
        require(number <= NUMBER_MAX, || format!("the {what} is {number}, which leaves no room for more"))
    })
}

/// No sum of sizes or of counts of a manifest is larger.
fn total(manifest: &Manifest) -> u64 {
    let lineages = manifest.repositories.iter().filter_map(|cursor| match &cursor.lineage {
        Lineage::Version { keyspaces, segments, .. } => Some((keyspaces, segments)),
        Lineage::Rebase => None,
    });
    let checkpoints = manifest.checkpoints.iter().flat_map(|checkpoint| &checkpoint.keyspaces);
    let keyspaces = manifest.keyspaces.iter().chain(checkpoints);
    let keyspaces = keyspaces.chain(lineages.clone().flat_map(|(keyspaces, _)| keyspaces));
    let trees = keyspaces.flat_map(|keyspace| {
        keyspace.runs.iter().map(|run| &run.tree).chain(std::iter::once(&keyspace.base))
    });
    let trees = trees.chain(manifest.retained_runs.iter().map(|run| &run.tree));
    let in_trees = trees.flat_map(|tree| [tree.entries, tree.stored_bytes, tree.raw_bytes]);
    let segments = manifest.segments.iter().chain(lineages.flat_map(|(_, segments)| segments));
    let in_segments = segments.flat_map(|info| [info.length, info.blocks, info.stored_bytes]);
    in_trees.chain(in_segments).fold(0, u64::saturating_add)
}

fn check_segments(manifest: &Manifest) -> Checked {
    let in_order = manifest.segments.windows(2).all(|pair| pair[0].id < pair[1].id);
    require(in_order, || "the segment table is not in order".into())?;
    for info in &manifest.segments {
        require(info.id < manifest.next_segment, || {
            format!("segment {} has a number not given out yet", info.id)
        })?;
        require(info.kind != SegmentKind::Wal, || format!("segment {} is a log among the trees", info.id))?;
        require(info.live_bytes <= info.stored_bytes, || {
            format!("segment {} has more live than stored", info.id)
        })?;
    }
    Ok(())
}

fn check_log(manifest: &Manifest) -> Checked {
    let both = manifest
        .wal
        .iter()
        .map(|info| info.id)
        .chain(manifest.segments.iter().map(|info: &SegmentInfo| info.id));
    unique(both, "segment")?;
    let in_order = manifest.wal.windows(2).all(|pair| pair[0].id < pair[1].id);
    require(in_order, || "the log segments are not in order".into())?;
    manifest.wal.iter().try_for_each(|info| {
        require(info.id < manifest.next_segment, || format!("log {} has a number not given out yet", info.id))
    })
}

fn check_keyspaces(keyspaces: &[Keyspace], table: &HashSet<SegmentId>) -> Checked {
    let has_default = keyspaces.first().is_some_and(|keyspace| keyspace.id == 0);
    require(has_default, || "the default keyspace is missing".into())?;
    unique(keyspaces.iter().map(|keyspace| keyspace.id), "keyspace")?;
    unique(keyspaces.iter().flat_map(|keyspace| &keyspace.runs).map(|run| run.id), "run")?;
    for keyspace in keyspaces {
        check_tree(&keyspace.base, table, "the base")?;
        keyspace.runs.iter().try_for_each(|run| check_run(run, table))?;
        let in_order = keyspace.runs.windows(2).all(|pair| pair[0].last_sequence < pair[1].first_sequence);
        require(in_order, || format!("the runs of keyspace {} overlap", keyspace.id))?;
    }
    Ok(())
}

fn check_run(run: &RunInfo, table: &HashSet<SegmentId>) -> Checked {
    require(run.first_sequence <= run.last_sequence, || format!("run {} ends before it begins", run.id))?;
    check_tree(&run.tree, table, "a run")?;
    let own = run.segments.iter().chain(&run.value_segments).copied();
    let filter = run.filter.iter().map(|ptr| ptr.segment);
    own.chain(filter).try_for_each(|id| known(id, table, "a run"))
}

fn check_tree(tree: &TreeRef, table: &HashSet<SegmentId>, what: &str) -> Checked {
    tree.root.map_or(Ok(()), |root| known(root.segment, table, what))
}

fn check_checkpoints(manifest: &Manifest, table: &HashSet<SegmentId>) -> Checked {
    unique(manifest.checkpoints.iter().map(|checkpoint| &checkpoint.name), "checkpoint")?;
    manifest.checkpoints.iter().try_for_each(|checkpoint| {
        check_keyspaces(&checkpoint.keyspaces, table)?;
        checkpoint.segments.iter().try_for_each(|held| known(held.id, table, "a checkpoint"))
    })
}

fn known(id: SegmentId, table: &HashSet<SegmentId>, what: &str) -> Checked {
    require(table.contains(&id), || format!("{what} needs segment {id}, which is not in the table"))
}

fn unique<T: Eq + Hash>(items: impl Iterator<Item = T>, what: &str) -> Checked {
    let mut seen = HashSet::new();
    for item in items {
        require(seen.insert(item), || format!("a {what} is listed twice"))?;
    }
    Ok(())
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}
