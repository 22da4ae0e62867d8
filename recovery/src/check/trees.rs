//! The trees of a manifest, wherever their blocks come from: a database's segments, or those of a repository.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_crypto::ContentHasher;
use lightning_db_storage::extent::{ExtentRef, verify_extent};
use lightning_db_storage::filter::{Filter, key_hash};
use lightning_db_storage::manifest::{Keyspace, Manifest, NamedCheckpoint, RunInfo};
use lightning_db_storage::page::Page;
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::segment::{SegmentKind, segment_file_name};
use lightning_db_storage::tree::{
    Cursor, DirectPages, EntryStream, PageSource, ReadAhead, TreeRef, TreeStream, VerifyVisitor, verify_tree,
};
use lightning_db_storage::{Result, SegmentId, StorageError, ZeroizingBytes};

use super::{CheckReport, Depth, Phase, Watch, step};

/// Checks every tree of `manifest`: those of the keyspaces, of named checkpoints, and the runs kept for repositories. The
/// manifest may be that of a backup, whose counts of live bytes are of another moment: they are not looked at.
///
/// # Errors
/// `Cancelled`. Damage is in the report.
pub fn check_trees(
    blocks: &dyn BlockSource,
    manifest: &Manifest,
    hasher: &ContentHasher,
    depth: Depth,
    watch: Watch<'_>,
) -> Result<CheckReport> {
    walk_trees(blocks, manifest, hasher, depth, watch).map(|walked| walked.report)
}

/// What a walk over all trees found.
pub(super) struct Walked {
    pub(super) report: CheckReport,
    /// Bytes in use by the current trees, by segment, if all of them could be read.
    live: Option<BTreeMap<SegmentId, u64>>,
}

/// As [`check_trees`].
pub(super) fn walk_trees(
    blocks: &dyn BlockSource,
    manifest: &Manifest,
    hasher: &ContentHasher,
    depth: Depth,
    watch: Watch<'_>,
) -> Result<Walked> {
    let trees = trees_of(manifest);
    let total = trees.iter().map(|tree| tree.tree.stored_bytes).sum();
    let pages = Watched { pages: DirectPages(blocks), watch, done: AtomicU64::new(0), total };
    let mut check =
        Check { blocks, pages: &pages, hasher, depth, report: CheckReport::default(), live: BTreeMap::new() };
    let mut live_is_known = depth == Depth::Deep;
    for tree in &trees {
        let is_sound = check.tree(tree)?;
        live_is_known &= is_sound || !tree.is_current;
    }
    step(watch, Phase::Trees, total, total)?;
    Ok(Walked { report: check.report, live: live_is_known.then_some(check.live) })
}

impl Walked {
    /// Compares the manifest's counts of live bytes with what the walk came across.
    pub(super) fn check_live_bytes(&mut self, manifest: &Manifest) {
        let Some(live) = &self.live else { return };
        for info in &manifest.segments {
            let found = live.get(&info.id).copied().unwrap_or_default();
            let counted = info.live_bytes;
            let file = segment_file_name(info.kind, info.id);
            let what = format!("{found} bytes of it are in use, and {counted} are counted as such");
            if found > counted {
                self.report.error(StorageError::corrupt(file, 0, what));
            } else if found < counted && info.kind != SegmentKind::Run {
                // A run counts as a whole as long as it exists.
                self.report.warning(file.as_ref(), None, what, "nothing is lost; the space is freed later");
            }
        }
    }
}

/// A tree and what it is part of.
struct Tree<'a> {
    tree: TreeRef,
    /// Its filter and the segments that it may use, if it is a run.
    run: Option<&'a RunInfo>,
    /// The checkpoint that keeps its segments.
    checkpoint: Option<&'a NamedCheckpoint>,
    /// Whether its blocks count as live.
    is_current: bool,
}

fn trees_of(manifest: &Manifest) -> Vec<Tree<'_>> {
    let mut trees = Vec::new();
    add_keyspaces(&mut trees, &manifest.keyspaces, None);
    for checkpoint in &manifest.checkpoints {
        add_keyspaces(&mut trees, &checkpoint.keyspaces, Some(checkpoint));
    }
    for run in &manifest.retained_runs {
        trees.push(Tree { tree: run.tree, run: Some(run), checkpoint: None, is_current: false });
    }
    // A run that is retained and not merged yet would be read twice.
    let mut seen: HashSet<(BlockPtr, Option<String>)> = HashSet::new();
    let owner = |tree: &Tree<'_>| tree.checkpoint.map(|checkpoint| checkpoint.name.clone());
    trees.retain(|tree| tree.tree.root.is_none_or(|root| seen.insert((root, owner(tree)))));
    trees
}

fn add_keyspaces<'a>(
    trees: &mut Vec<Tree<'a>>,
    keyspaces: &'a [Keyspace],
    checkpoint: Option<&'a NamedCheckpoint>,
) {
    let is_current = checkpoint.is_none();
    for keyspace in keyspaces {
        trees.push(Tree { tree: keyspace.base, run: None, checkpoint, is_current });
        let run = |run: &'a RunInfo| Tree { tree: run.tree, run: Some(run), checkpoint, is_current };
        trees.extend(keyspace.runs.iter().map(run));
    }
}

struct Check<'a> {
    blocks: &'a dyn BlockSource,
    pages: &'a Watched<'a>,
    hasher: &'a ContentHasher,
    depth: Depth,
    report: CheckReport,
    /// Bytes of current blocks that the walk came across, by segment.
    live: BTreeMap<SegmentId, u64>,
}

impl Check<'_> {
    /// Whether the tree is as it should be.
    fn tree(&mut self, tree: &Tree<'_>) -> Result<bool> {
        let before = self.report.errors;
        self.report.covered.trees += 1;
        match self.depth {
            Depth::Quick => self.root(&tree.tree)?,
            Depth::Deep => self.walk(tree)?,
        }
        let is_sound = self.report.errors == before;
        if let Some(run) = tree.run {
            self.filter(run, is_sound)?;
        }
        Ok(self.report.errors == before)
    }

    fn root(&mut self, tree: &TreeRef) -> Result<()> {
        let Some(root) = &tree.root else { return Ok(()) };
        let kind = if tree.height == 1 { BlockKind::Leaf } else { BlockKind::Inner };
        match self.pages.page(kind, root) {
            Ok(_) => self.report.covered.pages += 1,
            Err(error) => self.damage(error)?,
        }
        Ok(())
    }

    fn walk(&mut self, tree: &Tree<'_>) -> Result<()> {
        let (blocks, hasher) = (self.blocks, self.hasher);
        let used = RefCell::new(Used::default());
        let mut extents_len = 0u64;
        let mut damage = CheckReport::default();
        let visitor = VerifyVisitor {
            on_block: &mut |ptr, _| used.borrow_mut().page(ptr),
            on_extent: &mut |_, extent| {
                used.borrow_mut().extent(extent);
                extents_len = extents_len.saturating_add(extent.len);
                verify_extent(blocks, hasher, extent)
            },
            on_damage: &mut |error| damage.error(error),
        };
        let found = verify_tree(self.pages, &tree.tree, hasher, visitor)?;
        let used = used.into_inner();
        used.check_owner(tree, &mut damage);
        self.report.absorb(damage);
        let covered = &mut self.report.covered;
        covered.pages += found.pages;
        covered.entries += found.entries;
        covered.extents += found.extents;
        covered.extent_bytes += extents_len;
        if tree.is_current {
            for (segment, bytes) in used.pages.into_iter().chain(used.extents) {
                *self.live.entry(segment).or_insert(0) += bytes;
            }
        }
        Ok(())
    }

    /// Reads a run's filter, and deep, asks it for every key of the run, if that can be read.
    fn filter(&mut self, run: &RunInfo, is_readable: bool) -> Result<()> {
        let Some(first) = run.filter.first() else { return Ok(()) };
        self.report.covered.filters += 1;
        let mut bytes = ZeroizingBytes::new(Vec::new());
        for ptr in &run.filter {
            match self.blocks.read_block(BlockKind::Filter, ptr) {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(error) => return self.damage(error),
            }
        }
        let filter = match Filter::decode(&bytes) {
            Ok(filter) => filter,
            Err(malformed) => return self.damage(in_run(first, malformed.to_string())),
        };
        if self.depth == Depth::Quick || !is_readable {
            return Ok(());
        }
        let mut denied = 0u64;
        let mut keys = TreeStream::new(Cursor::new(self.pages, run.tree, ReadAhead::default()));
        loop {
            match keys.advance() {
                Ok(false) => break,
                Ok(true) => {}
                Err(error) => return self.damage(error),
            }
            self.report.covered.filter_keys += 1;
            denied += u64::from(!filter.may_contain(key_hash(keys.key())));
        }
        if denied > 0 {
            let what = format!("the filter of run {} denies {denied} keys that the run has", run.id);
            self.damage(in_run(first, what))?;
        }
        Ok(())
    }

    fn damage(&mut self, error: StorageError) -> Result<()> {
        if matches!(error, StorageError::Cancelled) {
            return Err(error);
        }
        self.report.error(error);
        Ok(())
    }
}

/// Bytes that a tree uses of each segment.
#[derive(Default)]
struct Used {
    pages: BTreeMap<SegmentId, u64>,
    extents: BTreeMap<SegmentId, u64>,
}

impl Used {
    fn page(&mut self, ptr: &BlockPtr) {
        *self.pages.entry(ptr.segment).or_insert(0) += u64::from(ptr.stored_len);
    }

    fn extent(&mut self, extent: &ExtentRef) {
        for chunk in &extent.chunks {
            *self.extents.entry(chunk.segment).or_insert(0) += u64::from(chunk.stored_len);
        }
    }

    /// A run keeps the segments of its pages, a checkpoint keeps all that it needs: what they do not name may be deleted
    /// under them.
    fn check_owner(&self, tree: &Tree<'_>, report: &mut CheckReport) {
        let mut require = |id: &SegmentId, kept: &[SegmentId], owner: &str| {
            if !kept.contains(id) {
                let what = format!("{owner} needs this segment, and does not say so");
                report.error(StorageError::corrupt(format!("segment {:016x}", id.0), 0, what));
            }
        };
        if let Some(run) = tree.run {
            self.pages.keys().for_each(|id| require(id, &run.segments, &format!("run {}", run.id)));
        }
        if let Some(checkpoint) = tree.checkpoint {
            let owner = format!("checkpoint {:?}", checkpoint.name);
            let needed = self.pages.keys().chain(self.extents.keys());
            let held: Vec<SegmentId> = checkpoint.segments.iter().map(|held| held.id).collect();
            needed.for_each(|id| require(id, &held, &owner));
        }
    }
}

/// Pages of the trees; tells of progress, and lets the check be stopped.
struct Watched<'a> {
    pages: DirectPages<'a>,
    watch: Watch<'a>,
    done: AtomicU64,
    total: u64,
}

impl PageSource for Watched<'_> {
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>> {
        let len = u64::from(ptr.stored_len);
        let done = self.done.fetch_add(len, Ordering::Relaxed).min(self.total);
        step(self.watch, Phase::Trees, done, self.total)?;
        self.pages.page(kind, ptr)
    }
}

fn in_run(ptr: &BlockPtr, what: impl Into<String>) -> StorageError {
    StorageError::corrupt(segment_file_name(SegmentKind::Run, ptr.segment), ptr.offset, what)
}
