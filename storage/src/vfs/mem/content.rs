//! One file's bytes: as processes see them, and as the disk has them.

use std::sync::Arc;

use super::crash::Chance;

/// The unit a disk writes at once, in bytes; but even that may be torn.
const SECTOR: usize = 512;

/// Invariant: applying `unsynced` in order to `durable` gives `current`, unless
/// [`lose_writes`](Content::lose_writes) has dropped some of it. Clones share bytes until they change.
#[derive(Clone, Default)]
pub(super) struct Content {
    current: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
    /// Handles and maps that keep the file alive without a name.
    pub(super) opens: u64,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

impl Content {
    /// A file with the bytes that `other` has now, all of them on the disk.
    pub(super) fn synced_copy(other: &Self) -> Self {
        let bytes = Arc::clone(&other.current);
        Self { durable: Arc::clone(&bytes), current: bytes, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.into() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.change(Change::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(Arc::make_mut(&mut self.durable));
        }
    }

    /// What a failed sync leaves: the writes are forgotten, though reads still see them.
    /// Lengths are kept in the file system's own log, and are not.
    pub(super) fn lose_writes(&mut self) {
        self.unsynced.retain(|change| matches!(change, Change::SetLen(_)));
    }

    /// Flips the bits of `mask` in a byte, on the disk too; false when there is no such byte.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) -> bool {
        if offset >= self.current.len() {
            return false;
        }
        for bytes in [&mut self.current, &mut self.durable] {
            if let Some(byte) = Arc::make_mut(bytes).get_mut(offset) {
                *byte ^= mask;
            }
        }
        // A change waiting for its sync would bring the old byte back.
        for change in &mut self.unsynced {
            if let Change::Write { offset: start, bytes } = change
                && let Some(at) = offset.checked_sub(*start).filter(|at| *at < bytes.len())
            {
                Arc::make_mut(bytes)[at] ^= mask;
            }
        }
        true
    }

    /// A power cut. Without `chance` nothing unsynced is kept. With it, the length stops
    /// changing at a random moment, and each sector of each write is kept, torn or lost on
    /// its own; of two writes to one place the later one wins, if it is kept.
    pub(super) fn crash(&mut self, chance: Option<&mut Chance<'_>>) {
        let changes = std::mem::take(&mut self.unsynced);
        if let Some(chance) = chance {
            let resized_until = chance.below(changes.len() + 1);
            for (index, change) in changes.iter().enumerate() {
                change.apply_in_part(Arc::make_mut(&mut self.durable), index < resized_until, chance);
            }
        }
        self.current.clone_from(&self.durable);
        self.opens = 0;
    }

    fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.current));
        self.unsynced.push(change);
    }
}

impl Change {
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
