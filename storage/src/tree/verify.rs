//! Checking a tree in full: every page, every entry, and that what is said about them adds up.

use lightning_db_crypto::{ContentHasher, SetDigest};

use super::{PageSource, TreeRef, damaged, entry_digest, inner_of, kind_at, leaf_of, load};
use crate::bytes::ByteReader;
use crate::extent::ExtentRef;
use crate::page::{Child, EntryKind, EntryValue, Inner, Leaf};
use crate::pointer::{BlockKind, BlockPtr};
use crate::{Result, StorageError, ZeroizingBytes};

/// What a check of a tree covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Pages that were read and are pages.
    pub pages: u64,
    /// Entries in them, deletes included.
    pub entries: u64,
    /// Entries that are deletes.
    pub tombstones: u64,
    /// Entries that are extents.
    pub extents: u64,
    /// Bytes in their segments of all pages to which a pointer was found.
    pub stored_bytes: u64,
    /// The same before compression.
    pub raw_bytes: u64,
    /// Damaged places, each of them reported. What lies below a damaged page was not reached.
    pub damages: u64,
}

/// Told what a check comes across.
pub struct VerifyVisitor<'a> {
    /// Each page to which a pointer was found, also when it then cannot be read.
    pub on_block: &'a mut dyn FnMut(&BlockPtr, BlockKind),
    /// Each extent, with its key. What it returns as an error is reported as damage.
    pub on_extent: &'a mut dyn FnMut(&[u8], &ExtentRef) -> Result<()>,
    /// Each damaged place. The check goes on after it.
    pub on_damage: &'a mut dyn FnMut(StorageError),
}

impl std::fmt::Debug for VerifyVisitor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyVisitor").finish_non_exhaustive()
    }
}

/// Reads all pages of a tree and checks them: that each opens and is well formed, that keys ascend across pages, that
/// separators bound what is below them, and that counts, sums of bytes and the digest are those that were stored.
///
/// # Errors
/// `Cancelled`, when the source or the visitor returned it. All else is reported as damage.
pub fn verify_tree(
    source: &dyn PageSource,
    tree: &TreeRef,
    hasher: &ContentHasher,
    visitor: VerifyVisitor<'_>,
) -> Result<VerifyReport> {
    let (report, digest) = (VerifyReport::default(), SetDigest::default());
    let mut check = Check { source, hasher, visitor, report, digest };
    if let Some((root, level)) = tree.top() {
        check.subtree(&root, level, &Bounds::default())?;
    }
    check.totals(tree)?;
    Ok(check.report)
}

struct Check<'a, 'v> {
    source: &'a dyn PageSource,
    hasher: &'a ContentHasher,
    visitor: VerifyVisitor<'v>,
    report: VerifyReport,
    digest: SetDigest,
}

/// Where the keys of a subtree lie: `lower` or above, below `upper`.
#[derive(Default)]
struct Bounds {
    lower: ZeroizingBytes,
    upper: Option<ZeroizingBytes>,
}

/// What was found in a subtree, unless some of it was out of reach.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Found {
    entries: u64,
    extents: bool,
}

impl Check<'_, '_> {
    fn subtree(&mut self, ptr: &BlockPtr, level: u8, bounds: &Bounds) -> Result<Option<Found>> {
        (self.visitor.on_block)(ptr, kind_at(level));
        self.report.stored_bytes += u64::from(ptr.stored_len);
        self.report.raw_bytes += u64::from(ptr.raw_len);
        let page = match load(self.source, level, ptr) {
            Ok(page) => page,
            Err(error) => {
                self.damage(error)?;
                return Ok(None);
            }
        };
        self.report.pages += 1;
        if level == 0 {
            self.leaf(leaf_of(&page), ptr, bounds).map(Some)
        } else {
            self.inner(inner_of(&page), ptr, level, bounds)
        }
    }

    fn inner(
        &mut self,
        inner: Inner<'_>,
        ptr: &BlockPtr,
        level: u8,
        bounds: &Bounds,
    ) -> Result<Option<Found>> {
        let last = inner.len() - 1;
        let above = bounds.upper.as_ref().is_some_and(|upper| inner.compare(last, upper).is_ge());
        if inner.compare(0, &bounds.lower).is_lt() || above {
            self.damage(damaged(ptr, "a separator outside of the page's bounds"))?;
        }
        let mut sum = Some(Found::default());
        for index in 0..inner.len() {
            let child = inner.child(index);
            let found = self.subtree(&child.ptr, level - 1, &bounds_of(inner, index, bounds))?;
            if let Some(found) = found {
                self.compare_child(&child, found)?;
            }
            sum = sum.zip(found).map(|(sum, found)| Found {
                entries: sum.entries.saturating_add(found.entries),
                extents: sum.extents || found.extents,
            });
        }
        Ok(sum)
    }

    /// Compares what stands in the parent with what was found.
    fn compare_child(&mut self, child: &Child, found: Found) -> Result<()> {
        if child.entries != found.entries {
            self.damage(damaged(&child.ptr, format!("{} entries, not {}", found.entries, child.entries)))?;
        }
        if child.holds_extents != found.extents {
            self.damage(damaged(&child.ptr, "extents that its parent denies, or none where it has them"))?;
        }
        Ok(())
    }

    fn leaf(&mut self, leaf: Leaf<'_>, ptr: &BlockPtr, bounds: &Bounds) -> Result<Found> {
        let above = bounds.upper.as_ref().is_some_and(|upper| leaf.compare(leaf.len() - 1, upper).is_ge());
        if leaf.compare(0, &bounds.lower).is_lt() || above {
            self.damage(damaged(ptr, "a key outside of the page's bounds"))?;
        }
        let mut found = Found { entries: leaf.len() as u64, extents: false };
        let mut key = ZeroizingBytes::default();
        for index in 0..leaf.len() {
            leaf.key_into(index, &mut key);
            let value = leaf.value(index);
            match entry_digest(self.hasher, &key, &value) {
                Ok(digest) => self.digest.add(digest),
                Err(malformed) => self.damage(damaged(ptr, malformed.to_string()))?,
            }
            match value {
                EntryValue::Extent(encoded) => {
                    found.extents = true;
                    self.extent(&key, encoded)?;
                }
                _ => self.report.tombstones += u64::from(value.kind() == EntryKind::Delete),
            }
        }
        self.report.entries += found.entries;
        Ok(found)
    }

    /// A reference that is malformed was reported by the digest.
    fn extent(&mut self, key: &[u8], encoded: &[u8]) -> Result<()> {
        self.report.extents += 1;
        let Ok(extent) = ExtentRef::decode(&mut ByteReader::new(encoded)) else { return Ok(()) };
        match (self.visitor.on_extent)(key, &extent) {
            Ok(()) => Ok(()),
            Err(error) => self.damage(error),
        }
    }

    /// Compares the sums with the stored ones. With damage found they differ anyhow.
    fn totals(&mut self, tree: &TreeRef) -> Result<()> {
        if self.report.damages > 0 {
            return Ok(());
        }
        let VerifyReport { entries, tombstones, stored_bytes, raw_bytes, .. } = self.report;
        let mut wrong = Vec::new();
        for (what, found, stored) in [
            ("entries", entries, tree.entries),
            ("deletes", tombstones, tree.tombstones),
            ("stored bytes", stored_bytes, tree.stored_bytes),
            ("raw bytes", raw_bytes, tree.raw_bytes),
        ] {
            if found != stored {
                wrong.push(format!("{found} {what}, not {stored}"));
            }
        }
        if self.digest != tree.digest {
            wrong.push("another digest of its entries than was stored".to_owned());
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let what = format!("a tree of {}", wrong.join(", "));
        self.damage(match &tree.root {
            Some(root) => damaged(root, what),
            None => StorageError::corrupt("an empty tree", 0, what),
        })
    }

    fn damage(&mut self, error: StorageError) -> Result<()> {
        if matches!(error, StorageError::Cancelled) {
            return Err(error);
        }
        self.report.damages += 1;
        (self.visitor.on_damage)(error);
        Ok(())
    }
}

/// The bounds of the child at `index` of a page that has `bounds`.
fn bounds_of(inner: Inner<'_>, index: usize, bounds: &Bounds) -> Bounds {
    let separator = |index| {
        let mut key = ZeroizingBytes::default();
        inner.separator_into(index, &mut key);
        key
    };
    let next = index + 1;
    let upper = if next < inner.len() { Some(separator(next)) } else { bounds.upper.clone() };
    Bounds { lower: separator(index), upper }
}
