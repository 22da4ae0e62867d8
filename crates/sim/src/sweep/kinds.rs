//! What can go wrong with a call.

use std::io::ErrorKind::{Other, StorageFull};

use lightning_db_storage::vfs::Effect::{
    DropWrites, Fail, FlipBit, IgnoreWrite, LoseWrites, MisdirectRead, MisdirectWrite, ShortRead, ShortWrite,
    StaleRead,
};
use lightning_db_storage::vfs::{CallKind, Effect, Elsewhere};

/// One kind of fault.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The effect, from a drawn number.
    pub(super) effect: fn(u64) -> Effect,
    /// From then on, not once.
    pub(super) lasting: bool,
    /// On every call that changes something, not on those of one kind.
    pub(super) whole_disk: bool,
    /// Whether it is tried at every call.
    pub(super) always: bool,
    /// Whether it says that the disk is full.
    pub(super) fills: bool,
    /// Whether unsynced writes are gone at once.
    pub(super) drops: bool,
    pub(super) lie: Lie,
    /// How often a run has to try it.
    pub(super) floor: u64,
}

/// In what way a fault deceives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// It says that it failed.
    None,
    /// A read gives something else.
    Read,
    /// A read gives what was there before. For the end of a log that is a shorter log, which nothing tells from one that
    /// never was longer.
    Stale,
    /// A write is not there. At the end of a log, as with a stale read.
    Write,
    /// A write is not there, and over something else. Of a log that may be the end.
    Elsewhere,
}

const fn kind(name: &'static str, floor: u64, effect: fn(u64) -> Effect) -> Kind {
    Kind {
        name,
        effect,
        lasting: false,
        whole_disk: false,
        always: false,
        fills: false,
        drops: false,
        lie: Lie::None,
        floor,
    }
}

impl Kind {
    const fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    const fn always(mut self) -> Self {
        self.always = true;
        self
    }

    const fn fills(mut self) -> Self {
        self.fills = true;
        self
    }

    const fn drops(mut self) -> Self {
        self.drops = true;
        self
    }

    const fn whole_disk(mut self) -> Self {
        self.whole_disk = true;
        self
    }

    const fn lies(mut self, lie: Lie) -> Self {
        self.lie = lie;
        self
    }

    /// Whether it can happen to calls of this kind.
    pub(super) fn fits(&self, call: CallKind) -> bool {
        use CallKind::{
            Create, CreateDir, HardLink, MapPublish, MapStore, MapWrite, Read, Rename, SetLen, Write,
        };
        if self.whole_disk {
            return call.is_mutating();
        }
        match (self.effect)(0) {
            Fail(StorageFull) => {
                matches!(call, Create | CreateDir | HardLink | Rename | SetLen | Write | MapWrite)
            }
            // A store into a map cannot fail; the map can be refused.
            Fail(_) => !matches!(call, MapStore | MapPublish),
            ShortWrite { .. } => call == Write,
            IgnoreWrite | MisdirectWrite(_) => matches!(call, Write | MapStore | MapPublish),
            LoseWrites(_) | DropWrites(_) => matches!(call, CallKind::SyncData | CallKind::SyncAll),
            ShortRead => call == Read,
            FlipBit(_) | MisdirectRead(_) | StaleRead => call.is_read(),
            _ => false,
        }
    }
}

/// All kinds.
pub(super) static KINDS: [Kind; 20] = [
    kind("error", 4000, |_| Fail(Other)).always(),
    kind("error-lasting", 4000, |_| Fail(Other)).lasting().always(),
    kind("dead", 60, |_| Fail(Other)).lasting().whole_disk(),
    kind("full", 10, |_| Fail(StorageFull)).fills(),
    kind("full-lasting", 10, |_| Fail(StorageFull)).lasting().fills(),
    kind("full-disk", 60, |_| Fail(StorageFull)).lasting().whole_disk().fills(),
    kind("short-write", 10, |bytes| ShortWrite { bytes, error: Other }),
    kind("short-write-full", 10, |bytes| ShortWrite { bytes, error: StorageFull }).fills(),
    kind("lost-at-sync", 100, |_| LoseWrites(Other)).always(),
    kind("lost-at-sync-lasting", 10, |_| LoseWrites(Other)).lasting(),
    kind("dropped-at-sync", 100, |_| DropWrites(Other)).always().drops(),
    kind("short-read", 10, |_| ShortRead),
    kind("short-read-lasting", 10, |_| ShortRead).lasting(),
    kind("flipped-bit", 10, FlipBit).lies(Lie::Read),
    kind("stale-read", 10, |_| StaleRead).lies(Lie::Stale),
    kind("read-from-elsewhere-in-file", 10, |by| MisdirectRead(Elsewhere::Offset(by))).lies(Lie::Read),
    kind("read-from-another-file", 10, |choice| MisdirectRead(Elsewhere::File(choice))).lies(Lie::Read),
    kind("ignored-write", 10, |_| IgnoreWrite).lies(Lie::Write),
    kind("write-elsewhere-in-file", 10, |by| MisdirectWrite(Elsewhere::Offset(by))).lies(Lie::Elsewhere),
    kind("write-to-another-file", 10, |choice| MisdirectWrite(Elsewhere::File(choice))).lies(Lie::Elsewhere),
];
