//! One file's bytes: as processes see them, and as the disk has them.

use super::crash::Chance;

/// The unit a disk writes at once, in bytes; but even that may be torn.
const SECTOR: usize = 512;

/// Invariant: applying `unsynced` in order to `durable` gives `current`, unless
/// [`lose_writes`](Content::lose_writes) has dropped some of it.
#[derive(Default)]
pub(super) struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Handles and maps that keep the file alive without a name.
    pub(super) opens: u64,
}

enum Change {
    Write { offset: usize, bytes: Box<[u8]> },
    SetLen(usize),
}

impl Content {
    /// A file that is already on the disk.
    pub(super) fn synced(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), current: bytes, ..Self::default() }
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
            change.apply(&mut self.durable);
        }
    }

    /// What a failed sync leaves: the writes are forgotten, though reads still see them.
    /// Lengths are kept in the file system's own log, and are not.
    pub(super) fn lose_writes(&mut self) {
        self.unsynced.retain(|change| matches!(change, Change::SetLen(_)));
    }

    /// Flips the bits of `mask` in a byte, on the disk too; false when there is no such byte.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) -> bool {
        let Some(byte) = self.current.get_mut(offset) else {
            return false;
        };
        *byte ^= mask;
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= mask;
        }
        // A change waiting for its sync would bring the old byte back.
        for change in &mut self.unsynced {
            if let Change::Write { offset: start, bytes } = change
                && let Some(byte) = offset.checked_sub(*start).and_then(|at| bytes.get_mut(at))
            {
                *byte ^= mask;
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
                change.apply_in_part(&mut self.durable, index < resized_until, chance);
            }
        }
        self.current.clone_from(&self.durable);
        self.opens = 0;
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
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
