//! How a machine ends.

use lightning_db_storage::vfs::{Keep, MemVfs};

use super::ledger::End;
use crate::random::Random;

/// What is left at an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) end: End,
    pub(super) keep: Keep,
    pub(super) name: &'static str,
}

/// All ends.
pub(super) const CUTS: [Cut; 4] = [
    Cut { end: End::Kill, keep: Keep::Everything, name: "kill" },
    Cut { end: End::PowerCut, keep: Keep::Nothing, name: "nothing" },
    Cut { end: End::PowerCut, keep: Keep::Everything, name: "everything" },
    Cut { end: End::PowerCut, keep: Keep::Random, name: "random" },
];

impl Cut {
    /// What this end leaves of a disk.
    pub(super) fn apply(self, disk: &MemVfs, seed: u64) -> MemVfs {
        let disk = disk.fork();
        match self.end {
            End::Kill => disk.kill_process(),
            End::PowerCut => {
                let mut random = Random::new(seed);
                disk.crash(&mut || random.draw(), self.keep);
            }
        }
        disk
    }
}
