//! Leaf pages: the entries of a tree.

use std::cmp::Ordering;
use std::fmt;

use super::{Behind, Page, Place};
use crate::bytes::{ByteReader, Malformed};

use crate::ZeroizingBytes;

/// What an entry says about its key. The numbers are those on disk; other numbers are free for later versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// The key has the value that follows.
    Put = 1,
    /// The key is gone, whatever older runs and the base say.
    Delete = 2,
    /// The key has a large value, kept outside the tree.
    Extent = 3,
    /// Several versions of the key, in a form that the engine knows.
    Versions = 4,
}

impl EntryKind {
    /// The kind with this number on disk.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::Extent),
            4 => Some(Self::Versions),
            _ => None,
        }
    }
}

/// An entry's value, borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EntryValue<'a> {
    /// The value itself.
    Put(&'a [u8]),
    /// The key is deleted.
    Delete,
    /// An encoded reference to a value outside the tree.
    Extent(&'a [u8]),
    /// Versions of the key, as the engine encoded them.
    Versions(&'a [u8]),
}

impl<'a> EntryValue<'a> {
    /// Puts together what [`kind`](Self::kind) and [`bytes`](Self::bytes) take apart; the bytes of a delete are ignored.
    #[must_use]
    #[inline]
    pub const fn new(kind: EntryKind, bytes: &'a [u8]) -> Self {
        match kind {
            EntryKind::Put => Self::Put(bytes),
            EntryKind::Delete => Self::Delete,
            EntryKind::Extent => Self::Extent(bytes),
            EntryKind::Versions => Self::Versions(bytes),
        }
    }

    /// What the entry says about its key.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::Put(_) => EntryKind::Put,
            Self::Delete => EntryKind::Delete,
            Self::Extent(_) => EntryKind::Extent,
            Self::Versions(_) => EntryKind::Versions,
        }
    }

    /// The stored bytes; none for a delete.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Put(bytes) | Self::Extent(bytes) | Self::Versions(bytes) => bytes,
            Self::Delete => &[],
        }
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value { kind: self.kind(), bytes: ZeroizingBytes::new(self.bytes().to_vec()) }
    }
}

/// Shows the kind and the length; never the bytes.
impl fmt::Debug for EntryValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.kind(), self.bytes().len())
    }
}

/// An entry's value, owned; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    kind: EntryKind,
    bytes: ZeroizingBytes,
}

impl Value {
    /// The value, borrowed.
    #[must_use]
    pub fn as_entry(&self) -> EntryValue<'_> {
        EntryValue::new(self.kind, &self.bytes)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_entry().fmt(f)
    }
}

/// A page's entries, in ascending order of their keys. There is at least one.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    pub(super) page: &'a Page,
}

#[expect(clippy::len_without_is_empty, reason = "a page has at least one entry")]
impl<'a> Leaf<'a> {
    /// How many entries there are; never 0.
    #[must_use]
    pub fn len(&self) -> usize {
        self.page.len()
    }

    /// The place of `key`, or else the place of the first key that is greater, which is `len()` when there is none.
    #[inline]
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.page.search(key)
    }

    /// Replaces the content of `key` by the key at `index`.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    pub fn key_into(&self, index: usize, key: &mut Vec<u8>) {
        self.page.key_into(index, key);
    }

    /// As [`key_into`](Self::key_into), where `key` holds another key of this page.
    #[inline]
    pub(crate) fn other_key_into(&self, index: usize, key: &mut Vec<u8>) {
        self.page.other_key_into(index, key);
    }

    /// How the key at `index` compares to `key`.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    #[must_use]
    pub fn compare(&self, index: usize, key: &[u8]) -> Ordering {
        self.page.compare(index, key)
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    #[must_use]
    pub fn value(&self, index: usize) -> EntryValue<'a> {
        self.value_at(self.value_place(index))
    }

    /// Where the value at `index` is; for whoever looks at it more than once.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    #[inline]
    pub(crate) fn value_place(&self, index: usize) -> ValuePlace {
        let Place { suffix, suffix_len, behind } = self.page.places[index];
        let Behind::Value(kind, before) = behind else { return ValuePlace::NONE };
        let start = suffix + u32::from(suffix_len) + u32::from(before);
        ValuePlace { kind, start, end: self.page.entry_end(index) }
    }

    /// The value at a place of this page.
    #[inline]
    pub(crate) fn value_at(&self, place: ValuePlace) -> EntryValue<'a> {
        EntryValue::new(place.kind, &self.page.raw[place.start as usize..place.end as usize])
    }
}

/// Where a value is in its page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValuePlace {
    pub(crate) kind: EntryKind,
    start: u32,
    end: u32,
}

impl ValuePlace {
    /// No value: what a cursor has that stands nowhere.
    pub(crate) const NONE: Self = Self { kind: EntryKind::Delete, start: 0, end: 0 };
}

/// Reads what stands behind an entry's key, to see that it is well formed.
pub(super) fn check(input: &mut ByteReader<'_>) -> Result<Behind, Malformed> {
    let from = input.rest().len();
    let value = read(input)?;
    let len = from - input.rest().len();
    Ok(Behind::Value(value.kind(), (len - value.bytes().len()) as u8))
}

fn read<'a>(input: &mut ByteReader<'a>) -> Result<EntryValue<'a>, Malformed> {
    let kind = EntryKind::from_u8(input.u8("entry kind")?).ok_or(Malformed { what: "entry kind" })?;
    match kind {
        EntryKind::Delete => Ok(EntryValue::Delete),
        _ => Ok(EntryValue::new(kind, input.bytes("entry value")?)),
    }
}
