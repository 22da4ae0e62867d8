//! One file's bytes: as processes see them, and as the disk has them.
//!
//! The disk's are not kept beside the others: each change remembers what it replaced, so a power cut takes back what was
//! not synced, and costs nothing for files that were. Only writes that a failed sync lost part the two for good. Clones
//! share bytes until they change.

use std::collections::VecDeque;
use std::sync::Arc;

use super::crash::Chance;

/// The unit a disk writes at once, in bytes; but even that may be torn.
const SECTOR: usize = 512;

/// How many synced changes a stale read can go back behind.
const REMEMBERED: usize = 16;

/// Invariant: taking back `unsynced` in reverse order from `current` gives what the disk has, unless `durable` says it.
#[derive(Clone, Default)]
pub(super) struct Content {
    current: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
    /// What the disk has, from when a failed sync lost writes until the next power cut.
    durable: Option<Vec<u8>>,
    /// What the newest synced changes replaced, oldest first.
    replaced: VecDeque<Before>,
    /// The file that a rename to this one's name took the place of.
    predecessor: Option<Arc<Vec<u8>>>,
    /// Handles and maps that keep the file alive without a name.
    pub(super) opens: u64,
}

#[derive(Clone)]
struct Change {
    what: What,
    before: Before,
}

#[derive(Clone)]
enum What {
    Write { offset: usize, bytes: Box<[u8]> },
    SetLen(usize),
}

/// What a change replaced.
#[derive(Clone)]
struct Before {
    len: usize,
    offset: usize,
    bytes: Box<[u8]>,
    /// Where the change ended.
    end: usize,
}

impl Content {
    /// A file with the bytes that `other` has now, all of them on the disk.
    pub(super) fn synced_copy(other: &Self) -> Self {
        Self { current: Arc::clone(&other.current), ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.current
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(What::Write { offset, bytes: bytes.into() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.change(What::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            if let Some(durable) = &mut self.durable {
                change.what.apply(durable);
            }
            self.replaced.push_back(change.before);
        }
        let forgotten = self.replaced.len().saturating_sub(REMEMBERED);
        self.replaced.drain(..forgotten);
    }

    /// What a failed sync leaves: the writes are forgotten, though reads still see them.
    /// Lengths are kept in the file system's own log, and are not.
    pub(super) fn lose_writes(&mut self) {
        if self.durable.is_none() {
            self.durable = Some(self.before_unsynced());
        }
        self.unsynced.retain(|change| matches!(change.what, What::SetLen(_)));
    }

    /// What a failed sync leaves on systems that drop the pages too: reads see what is on the disk.
    pub(super) fn drop_writes(&mut self) {
        self.lose_writes();
        self.current = Arc::new(self.durable.take().unwrap_or_default());
        for change in std::mem::take(&mut self.unsynced) {
            self.change(change.what);
        }
    }

    /// This file took the name of `other`.
    pub(super) fn replace(&mut self, other: Arc<Vec<u8>>) {
        self.predecessor = Some(other);
    }

    /// The file as it was before the newest change in this range; where none is known, the file whose name it took.
    pub(super) fn stale(&self, offset: usize, len: usize) -> Arc<Vec<u8>> {
        let end = offset.saturating_add(len);
        let newest_first = || {
            let unsynced = self.unsynced.iter().rev().map(|change| &change.before);
            unsynced.chain(self.replaced.iter().rev())
        };
        let is_there = |before: &Before| before.offset < end && offset < before.end;
        let Some(steps) = newest_first().position(is_there) else {
            return Arc::clone(self.predecessor.as_ref().unwrap_or(&self.current));
        };
        let mut bytes = self.current.to_vec();
        newest_first().take(steps + 1).for_each(|before| before.put_back(&mut bytes));
        Arc::new(bytes)
    }

    /// Flips the bits of `mask` in a byte, on the disk too; false when there is no such byte.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) -> bool {
        let Some(byte) = Arc::make_mut(&mut self.current).get_mut(offset) else {
            return false;
        };
        *byte ^= mask;
        if let Some(byte) = self.durable.as_mut().and_then(|durable| durable.get_mut(offset)) {
            *byte ^= mask;
        }
        // What is taken back, or waits for its sync, would bring the old byte back.
        let flip = |bytes: &mut [u8], start: usize| {
            if let Some(byte) = offset.checked_sub(start).and_then(|at| bytes.get_mut(at)) {
                *byte ^= mask;
            }
        };
        for change in &mut self.unsynced {
            flip(&mut change.before.bytes, change.before.offset);
            if let What::Write { offset, bytes } = &mut change.what {
                flip(bytes, *offset);
            }
        }
        true
    }

    /// A power cut. Without `chance` nothing unsynced is kept. With it, the length stops
    /// changing at a random moment, and each sector of each write is kept, torn or lost on
    /// its own; of two writes to one place the later one wins, if it is kept.
    pub(super) fn crash(&mut self, chance: Option<&mut Chance<'_>>) {
        self.opens = 0;
        self.replaced.clear();
        let durable = self.durable.take();
        if self.unsynced.is_empty() && durable.is_none() {
            return;
        }
        let mut left = durable.unwrap_or_else(|| self.before_unsynced());
        let changes = std::mem::take(&mut self.unsynced);
        if let Some(chance) = chance {
            let resized_until = chance.below(changes.len() + 1);
            for (index, change) in changes.iter().enumerate() {
                change.what.apply_in_part(&mut left, index < resized_until, chance);
            }
        }
        self.current = Arc::new(left);
    }

    fn before_unsynced(&self) -> Vec<u8> {
        let mut bytes = self.current.to_vec();
        self.unsynced.iter().rev().for_each(|change| change.before.put_back(&mut bytes));
        bytes
    }

    fn change(&mut self, what: What) {
        let current = Arc::make_mut(&mut self.current);
        let before = what.replaces(current);
        what.apply(current);
        self.unsynced.push(Change { what, before });
    }
}

impl Before {
    fn put_back(&self, to: &mut Vec<u8>) {
        to.resize(self.len, 0);
        // A stale read may go back on bytes that were cut since.
        if let Some(place) = to.get_mut(self.offset..self.offset + self.bytes.len()) {
            place.copy_from_slice(&self.bytes);
        }
    }
}

impl What {
    fn replaces(&self, current: &[u8]) -> Before {
        let len = current.len();
        let (offset, end) = match self {
            Self::Write { offset, bytes } => (*offset, offset + bytes.len()),
            Self::SetLen(new) => (*new, len),
        };
        let bytes = current.get(offset..end.min(len)).unwrap_or_default();
        Before { len, offset, bytes: bytes.into(), end: end.max(offset) }
    }

    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => to.resize(*len, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    fn apply_in_part(&self, to: &mut Vec<u8>, resizing: bool, chance: &mut Chance<'_>) {
        match self {
            Self::SetLen(len) if resizing => to.resize(*len, 0),
            Self::SetLen(_) => {}
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if resizing && to.len() < end {
                    to.resize(end, 0);
                }
                let mut start = *offset;
                while start < end {
                    let stop = (start / SECTOR + 1).saturating_mul(SECTOR).min(end);
                    let kept = chance.part_of(stop - start);
                    let (from, until) = (start + kept.start, (start + kept.end).min(to.len()));
                    if from < until {
                        to[from..until].copy_from_slice(&bytes[from - offset..until - offset]);
                    }
                    start = stop;
                }
            }
        }
    }
}
