//! Merging changes into the base: a new tree that shares with the old one every page that need not differ.
//!
//! The walk goes through the base in key order beside the changes. A subtree that no change falls into is not read. One
//! that is read and turns out to stay as it is has nothing written for it either: only when the first page below
//! an inner page changes are that page and the pages above it given up, and the children passed so far kept by
//! their pointers. So a merge that changes nothing writes nothing and gives the old tree.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use lightning_db_crypto::ContentHasher;

use super::build::bad_extent;
use super::writer::TreeWriter;
use super::{EntryStream, PageSource, TreeRef, damaged, entry_digest, inner_of, leaf_of, load};
use crate::bytes::{ByteReader, ByteWriter};
use crate::extent::ExtentRef;
use crate::page::{Child, EntryKind, EntryValue, Inner, Leaf, Page};
use crate::pointer::{BlockPtr, BlockSink};
use crate::{Result, SegmentId, StorageError, ZeroizingBytes};

/// Changes taken between two calls of [`MergeObserver::pace`], at most.
const CHANGES_PER_PACE: u64 = 256;

/// Told what a merge does. If the merge fails, what it was told does not count.
pub trait MergeObserver {
    /// A page of the base that the result does not use. Told once a page.
    fn page_dropped(&mut self, ptr: &BlockPtr);

    /// An encoded reference to an extent, of the base or of a change, that the result does not use: the entry was
    /// overwritten or deleted, or the extent moved.
    fn extent_dropped(&mut self, encoded: &[u8]);

    /// So many changes were taken since the last call.
    fn progress(&mut self, entries: u64);

    /// Called often, between two pages: a place to wait, so that the merge does not take all of the disk.
    fn pace(&mut self);
}

/// How changes are merged into the base.
pub struct MergeConfig<'a> {
    /// Bytes of a page before compression, about; holds for the pages that are written.
    pub page_size: usize,
    /// Segments to empty: pages and extents that live there are moved even when nothing changes them.
    pub victims: &'a BTreeSet<SegmentId>,
    /// Digests the entries.
    pub hasher: &'a ContentHasher,
    /// Writes the value of an extent to another place.
    pub move_extent: &'a mut dyn FnMut(&ExtentRef) -> Result<ExtentRef>,
    /// Told what happens.
    pub observer: &'a mut dyn MergeObserver,
    /// Asked often; true ends the merge with `Cancelled`.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl fmt::Debug for MergeConfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page_size, victims, .. } = self;
        f.debug_struct("MergeConfig")
            .field("page_size", page_size)
            .field("victims", victims)
            .finish_non_exhaustive()
    }
}

/// Makes the tree that holds the entries of `base` with `changes` applied. Deletes take entries away and are not kept;
/// entries with several versions are stored as they come, so resolve them before.
///
/// Pages are read from `source` and written to `sink`. The pages of the result are those written and those of the base
/// not reported to [`MergeObserver::page_dropped`]. Memory is bounded by a few pages a level.
///
/// # Errors
/// Those of source, stream, sink and callbacks; `Cancelled` when asked to stop; `Corrupt` when a page or the stream
/// is out of order. The base is as it was, and what was written is of no use.
pub fn merge_into_base(
    base: &TreeRef,
    source: &dyn PageSource,
    changes: &mut dyn EntryStream,
    sink: &mut dyn BlockSink,
    config: MergeConfig<'_>,
) -> Result<TreeRef> {
    let more = changes.advance()?;
    let out = TreeWriter::new(sink, config.page_size);
    let (open, key, result) = (Vec::new(), ZeroizingBytes::default(), *base);
    let mut merge = Merge { source, changes, more, taken: 0, out, config, open, key, result };
    let fate = match base.top() {
        Some((root, level)) => merge.subtree(&root, level, None, false)?,
        None => merge.fill_empty()?,
    };
    merge.tick()?;
    if fate == Fate::Rewritten { merge.finish() } else { Ok(*base) }
}

struct Merge<'a, 'c> {
    source: &'a dyn PageSource,
    changes: &'a mut dyn EntryStream,
    /// Whether `changes` stands on an entry.
    more: bool,
    /// Changes taken since progress was last reported.
    taken: u64,
    out: TreeWriter<'a>,
    config: MergeConfig<'c>,
    /// The inner pages from the root to where the walk is.
    open: Vec<OpenPage>,
    key: ZeroizingBytes,
    /// The base, with what is taken away and added so far.
    result: TreeRef,
}

/// An inner page whose children are being walked.
struct OpenPage {
    page: Arc<Page>,
    ptr: BlockPtr,
    /// Children at the start that stay as they are. Counted only until the page is rewritten.
    clean: usize,
    rewritten: bool,
}

/// What became of a subtree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays as it is, and nothing was written for it.
    Clean,
    /// All of it that remains was given to the writer.
    Rewritten,
}

impl Merge<'_, '_> {
    /// Walks a subtree, whose keys are below `upper`. With `force` it is taken apart even if nothing changes in it.
    fn subtree(&mut self, ptr: &BlockPtr, level: u8, upper: Option<&[u8]>, force: bool) -> Result<Fate> {
        self.tick()?;
        let page = load(self.source, level, ptr)?;
        if level == 0 {
            return self.leaf(leaf_of(&page), ptr, upper, force);
        }
        self.open.push(OpenPage { page: Arc::clone(&page), ptr: *ptr, clean: 0, rewritten: false });
        if force || self.is_victim(ptr) {
            self.rewrite_open_pages()?;
        }
        for index in 0..inner_of(&page).len() {
            self.child(inner_of(&page), index, level - 1, upper)?;
        }
        let rewritten = self.open.pop().is_some_and(|open| open.rewritten);
        Ok(if rewritten { Fate::Rewritten } else { Fate::Clean })
    }

    /// Walks the child at `index` of the innermost open page, whose keys are below `page_upper`.
    fn child(&mut self, inner: Inner<'_>, index: usize, level: u8, page_upper: Option<&[u8]>) -> Result<()> {
        let child = inner.child(index);
        let visit = self.cleans_below(&child, level) || self.change_falls_into(inner, index, page_upper);
        let parent_rewritten = self.open.last().is_some_and(|open| open.rewritten);
        if !visit && !parent_rewritten {
            self.pass_clean(index);
            return Ok(());
        }
        let own_upper = upper_of(inner, index);
        let upper = own_upper.as_ref().map(|key| &key[..]).or(page_upper);
        if visit && self.subtree(&child.ptr, level, upper, false)? == Fate::Rewritten {
            return Ok(());
        }
        if !parent_rewritten {
            self.pass_clean(index);
            return Ok(());
        }
        if self.out.would_leave_crumbs(level, &child.ptr) {
            return self.subtree(&child.ptr, level, upper, true).map(drop);
        }
        inner.separator_into(index, &mut self.key);
        self.out.keep(level, &self.key, &child, upper)
    }

    /// Notes that the child at `index` of the innermost open page stays as it is.
    fn pass_clean(&mut self, index: usize) {
        if let Some(open) = self.open.last_mut() {
            open.clean = index + 1;
        }
    }

    /// Gives up the open pages, and keeps the children that were passed in them.
    fn rewrite_open_pages(&mut self) -> Result<()> {
        for depth in 0..self.open.len() {
            let open = &mut self.open[depth];
            if std::mem::replace(&mut open.rewritten, true) {
                continue;
            }
            let (page, ptr, clean) = (Arc::clone(&open.page), open.ptr, open.clean);
            self.drop_page(&ptr);
            let inner = inner_of(&page);
            for index in 0..clean {
                inner.separator_into(index, &mut self.key);
                let upper = upper_of(inner, index);
                self.out.keep(
                    page.level() - 1,
                    &self.key,
                    &inner.child(index),
                    upper.as_ref().map(|key| &key[..]),
                )?;
            }
        }
        Ok(())
    }

    /// Walks a leaf beside the changes below `upper`.
    fn leaf(&mut self, leaf: Leaf<'_>, ptr: &BlockPtr, upper: Option<&[u8]>, force: bool) -> Result<Fate> {
        let mut fate = Fate::Clean;
        if force || self.is_victim(ptr) || self.holds_victims(leaf)? {
            fate = self.rewrite_leaf(ptr)?;
        }
        let mut copied = 0;
        while self.more && upper.is_none_or(|upper| self.changes.key() < upper) {
            let place = leaf.search(self.changes.key());
            let old = place.ok().map(|index| leaf.value(index));
            if is_change(old, self.changes.value()) {
                if fate == Fate::Clean {
                    fate = self.rewrite_leaf(ptr)?;
                }
                let until = place.unwrap_or_else(|index| index);
                self.copy(leaf, copied..until)?;
                copied = until + usize::from(old.is_some());
                self.apply(old)?;
            }
            self.take_change()?;
        }
        if fate == Fate::Rewritten {
            self.copy(leaf, copied..leaf.len())?;
        }
        Ok(fate)
    }

    fn rewrite_leaf(&mut self, ptr: &BlockPtr) -> Result<Fate> {
        self.rewrite_open_pages()?;
        self.drop_page(ptr);
        Ok(Fate::Rewritten)
    }

    /// Takes all changes into an empty base.
    fn fill_empty(&mut self) -> Result<Fate> {
        let mut fate = Fate::Clean;
        while self.more {
            if is_change(None, self.changes.value()) {
                self.apply(None)?;
                fate = Fate::Rewritten;
            }
            self.take_change()?;
        }
        Ok(fate)
    }

    /// Puts the current change in the place of the old entry of its key.
    fn apply(&mut self, old: Option<EntryValue<'_>>) -> Result<()> {
        let (key, new) = (self.changes.key(), self.changes.value());
        if let Some(old) = old {
            self.result.digest.remove(entry_digest(self.config.hasher, key, &old).map_err(bad_extent)?);
            self.result.entries = self.result.entries.saturating_sub(1);
            if let EntryValue::Extent(encoded) = old {
                self.config.observer.extent_dropped(encoded);
            }
        }
        if new.kind() == EntryKind::Delete {
            return Ok(());
        }
        self.result.digest.add(entry_digest(self.config.hasher, key, &new).map_err(bad_extent)?);
        self.result.entries += 1;
        write_entry(&mut self.out, &mut self.config, key, new)
    }

    /// Copies entries of a leaf that stay as they are.
    fn copy(&mut self, leaf: Leaf<'_>, range: std::ops::Range<usize>) -> Result<()> {
        for index in range {
            leaf.key_into(index, &mut self.key);
            write_entry(&mut self.out, &mut self.config, &self.key, leaf.value(index))?;
        }
        Ok(())
    }

    fn take_change(&mut self) -> Result<()> {
        self.taken += 1;
        if self.taken >= CHANGES_PER_PACE {
            self.tick()?;
        }
        self.key.clear();
        self.key.extend_from_slice(self.changes.key());
        self.more = self.changes.advance()?;
        if self.more && self.changes.key() <= &self.key[..] {
            return Err(StorageError::corrupt("the source of a merge", 0, "keys that do not ascend"));
        }
        Ok(())
    }

    /// A moment between two pages: to stop, to report, to wait.
    fn tick(&mut self) -> Result<()> {
        if (self.config.cancelled)() {
            return Err(StorageError::Cancelled);
        }
        if self.taken > 0 {
            self.config.observer.progress(std::mem::take(&mut self.taken));
        }
        self.config.observer.pace();
        Ok(())
    }

    fn drop_page(&mut self, ptr: &BlockPtr) {
        self.result.stored_bytes = self.result.stored_bytes.saturating_sub(u64::from(ptr.stored_len));
        self.result.raw_bytes = self.result.raw_bytes.saturating_sub(u64::from(ptr.raw_len));
        self.config.observer.page_dropped(ptr);
    }

    fn is_victim(&self, ptr: &BlockPtr) -> bool {
        self.config.victims.contains(&ptr.segment)
    }

    /// Whether a child must be looked at for the sake of segments that are to be emptied. Inner pages are: what their
    /// children live in stands only in them.
    fn cleans_below(&self, child: &Child, level: u8) -> bool {
        !self.config.victims.is_empty() && (level > 0 || child.holds_extents || self.is_victim(&child.ptr))
    }

    fn holds_victims(&self, leaf: Leaf<'_>) -> Result<bool> {
        if self.config.victims.is_empty() {
            return Ok(false);
        }
        for index in 0..leaf.len() {
            if let EntryValue::Extent(encoded) = leaf.value(index)
                && lives_in(&decode(encoded)?, self.config.victims)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the next change belongs to the child at `index`.
    fn change_falls_into(&self, inner: Inner<'_>, index: usize, page_upper: Option<&[u8]>) -> bool {
        if !self.more {
            return false;
        }
        let key = self.changes.key();
        if index + 1 < inner.len() {
            inner.compare(index + 1, key).is_gt()
        } else {
            page_upper.is_none_or(|upper| key < upper)
        }
    }

    fn finish(mut self) -> Result<TreeRef> {
        let written = self.out.finish()?;
        self.result.root = written.root;
        self.result.height = written.height;
        self.result.stored_bytes = self.result.stored_bytes.saturating_add(written.stored_bytes);
        self.result.raw_bytes = self.result.raw_bytes.saturating_add(written.raw_bytes);
        if written.root_is_kept {
            self.shrink()?;
        }
        match self.result.root {
            Some(root) if self.result.entries == 0 => Err(damaged(&root, "entries that were not counted")),
            None if self.result.entries > 0 => {
                Err(StorageError::corrupt("the base", 0, "fewer entries than counted"))
            }
            _ => Ok(self.result),
        }
    }

    /// Leaves out the topmost pages that have one child only: a kept root whose siblings went.
    fn shrink(&mut self) -> Result<()> {
        while let Some((root, level @ 1..)) = self.result.top() {
            let page = load(self.source, level, &root)?;
            let inner = inner_of(&page);
            if inner.len() > 1 {
                break;
            }
            self.drop_page(&root);
            self.result.root = Some(inner.child(0).ptr);
            self.result.height -= 1;
        }
        Ok(())
    }
}

/// Whether an entry differs from what the base has for its key.
fn is_change(old: Option<EntryValue<'_>>, new: EntryValue<'_>) -> bool {
    match old {
        Some(old) => old != new,
        None => new.kind() != EntryKind::Delete,
    }
}

/// Gives an entry to the writer; its extent is moved first when it lives in a segment that is to be emptied.
fn write_entry(
    out: &mut TreeWriter<'_>,
    config: &mut MergeConfig<'_>,
    key: &[u8],
    value: EntryValue<'_>,
) -> Result<()> {
    let EntryValue::Extent(encoded) = value else { return out.entry(key, &value) };
    if config.victims.is_empty() {
        return out.entry(key, &value);
    }
    let extent = decode(encoded)?;
    if !lives_in(&extent, config.victims) {
        return out.entry(key, &value);
    }
    let moved = (config.move_extent)(&extent)?;
    if (moved.len, moved.digest) != (extent.len, extent.digest) {
        return Err(StorageError::corrupt("a moved extent", 0, "another value than before"));
    }
    config.observer.extent_dropped(encoded);
    let mut encoded = ByteWriter::new();
    moved.encode(&mut encoded);
    out.entry(key, &EntryValue::Extent(encoded.as_slice()))
}

fn lives_in(extent: &ExtentRef, segments: &BTreeSet<SegmentId>) -> bool {
    extent.chunks.iter().any(|chunk| segments.contains(&chunk.segment))
}

fn decode(encoded: &[u8]) -> Result<ExtentRef> {
    ExtentRef::decode(&mut ByteReader::new(encoded)).map_err(bad_extent)
}

/// The separator after the child at `index`, unless it is the page's last.
fn upper_of(inner: Inner<'_>, index: usize) -> Option<ZeroizingBytes> {
    (index + 1 < inner.len()).then(|| {
        let mut key = ZeroizingBytes::default();
        inner.separator_into(index + 1, &mut key);
        key
    })
}
