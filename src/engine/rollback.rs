//! Going back to a named checkpoint.
//!
//! The trees of the checkpoint become the current ones, and a new history begins: what was committed since then is
//! given up, its log too, and a commit of the new history never passes for one of the old. The database is closed by
//! it, so that nobody goes on with what is no longer true.

use std::collections::HashMap;

use lightning_db_storage::manifest::{Fork, Gap, GapReason, Lineage, Manifest, NamedCheckpoint};
use lightning_db_storage::pointer::BlockPtr;
use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::tree::{DirectPages, TreeRef, VerifyVisitor, verify_tree};
use lightning_db_storage::{Incarnation, SegmentId, StorageError};

use super::Engine;
use super::log::{add_gap, remove_log_files};
use super::version::TreeState;
use crate::error::{Error, Result};

impl Engine {
    /// Makes the database what it was at a named checkpoint, and closes it.
    ///
    /// # Errors
    /// `NotFound`, and `Corrupt` when the checkpoint is damaged: the database stays open and as it was. Those of writing
    /// files: it is closed, and opens either as it was or as the checkpoint has it.
    pub(crate) fn rollback_to(&self, name: &str) -> Result<()> {
        let view = self.named_checkpoint_view(name)?;
        let checkpoint = self
            .catalog
            .read(|manifest| manifest.checkpoints.iter().find(|known| known.name == name).cloned());
        let checkpoint =
            checkpoint.ok_or_else(|| Error::NotFound { what: format!("the checkpoint {name:?}") })?;
        let live = self.live_bytes(&view.version.tree)?;
        let mut incarnation = [0; 16];
        self.ctx.entropy.fill(&mut incarnation)?;
        self.close_after(|| {
            // Somebody may have dropped it until a moment ago.
            self.catalog.read(|manifest| {
                let is_there = manifest.checkpoints.iter().any(|known| known.name == name);
                if is_there {
                    Ok(())
                } else {
                    Err(Error::NotFound { what: format!("the checkpoint {name:?}") })
                }
            })?;
            let mut log = Vec::new();
            let go_back = |manifest: &mut Manifest| {
                log = manifest.wal.drain(..).map(|info| info.id).collect();
                go_back(manifest, checkpoint, Incarnation(incarnation));
                set_live_bytes(manifest, &live);
            };
            self.catalog.commit(&self.ctx, go_back, |_| {})?;
            remove_log_files(&self.ctx, &log);
            Ok(())
        })
    }

    /// Bytes in use by segment, counted anew: the manifest's figures are those of the current trees.
    fn live_bytes(&self, tree: &TreeState) -> Result<HashMap<SegmentId, u64>> {
        let mut live: HashMap<SegmentId, u64> = HashMap::new();
        let mut chunks: HashMap<SegmentId, u64> = HashMap::new();
        let mut damage: Option<StorageError> = None;
        let trees: Vec<TreeRef> = tree.runs.iter().map(|run| run.info.tree).chain([tree.base]).collect();
        for tree_ref in trees {
            let visitor = VerifyVisitor {
                on_block: &mut |ptr: &BlockPtr, _| {
                    *live.entry(ptr.segment).or_insert(0) += u64::from(ptr.stored_len);
                },
                on_extent: &mut |_, extent| {
                    for chunk in &extent.chunks {
                        *chunks.entry(chunk.segment).or_insert(0) += u64::from(chunk.stored_len);
                    }
                    Ok(())
                },
                on_damage: &mut |error| {
                    damage.get_or_insert(error);
                },
            };
            verify_tree(&DirectPages(&tree.segments), &tree_ref, &self.hasher, visitor)?;
        }
        for (segment, bytes) in chunks {
            *live.entry(segment).or_insert(0) += bytes;
        }
        damage.map_or(Ok(live), |error| Err(error.into()))
    }
}

fn go_back(manifest: &mut Manifest, checkpoint: NamedCheckpoint, incarnation: Incarnation) {
    let (left, last) = (manifest.incarnation, manifest.flushed_sequence);
    let sequence = checkpoint.sequence;
    // Commits of the history that is left which no backup has.
    let archived = manifest.repositories.iter().filter_map(|cursor| cursor.archived);
    let archived = archived.filter(|end| end.incarnation == left).map(|end| end.sequence).max();
    let after = archived.unwrap_or_default().max(sequence);
    add_gap(manifest, Gap { incarnation: left, after, through: last, reason: GapReason::Rollback });
    manifest.ancestry.push(Fork { incarnation: left, sequence, time_micros: checkpoint.time_micros });
    manifest.incarnation = incarnation;
    manifest.keyspaces = checkpoint.keyspaces;
    manifest.flushed_sequence = sequence;
    manifest.flushed_time_micros = checkpoint.time_micros;
    manifest.log_end = None;
    manifest.retained_runs.clear();
    manifest.repositories.iter_mut().for_each(|cursor| cursor.lineage = Lineage::Rebase);
}

fn set_live_bytes(manifest: &mut Manifest, live: &HashMap<SegmentId, u64>) {
    for info in &mut manifest.segments {
        let counted = live.get(&info.id).copied().unwrap_or_default();
        // A run is in use as a whole, its filter too.
        info.live_bytes =
            if info.kind == SegmentKind::Run && counted > 0 { info.stored_bytes } else { counted };
    }
}
