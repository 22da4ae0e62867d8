//! A computer in memory, on which databases live and die.

use std::sync::Arc;

use lightning_db::Environment;
use lightning_db_crypto::SeededEntropy;
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::vfs::{FaultPlan, FaultyVfs, Keep, MemVfs};
use parking_lot::Mutex;

use crate::random::Random;
use crate::turns::{TurnClock, TurnVfs};

/// A computer with a disk that can lose power, a clock that moves when it is told to and with a simulation's time, and
/// randomness from a seed.
#[derive(Debug)]
pub struct Machine {
    /// Its disk.
    pub disk: MemVfs,
    /// Its clock.
    pub clock: ManualClock,
    entropy: Arc<SeededEntropy>,
    plan: Mutex<FaultPlan>,
}

impl Machine {
    /// A machine with an empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_disk(seed, MemVfs::new())
    }

    /// A machine with this disk.
    #[must_use]
    pub fn with_disk(seed: u64, disk: MemVfs) -> Self {
        Self {
            disk,
            clock: ManualClock::new(1_700_000_000_000_000),
            entropy: Arc::new(SeededEntropy::new(seed)),
            plan: Mutex::default(),
        }
    }

    /// What a new process sees: its calls go by a plan of its own, which [`plan`](Self::plan) returns.
    #[must_use]
    pub fn environment(&self) -> Environment {
        let plan = FaultPlan::new();
        *self.plan.lock() = plan.clone();
        Environment {
            vfs: Arc::new(TurnVfs::new(FaultyVfs::over_memory(self.disk.clone(), plan))),
            clock: Arc::new(TurnClock::new(self.clock.clone())),
            entropy: Arc::clone(&self.entropy) as _,
        }
    }

    /// What decides about the calls of the newest process.
    #[must_use]
    pub fn plan(&self) -> FaultPlan {
        self.plan.lock().clone()
    }

    /// Ends the process; what it wrote is there, synced or not. Whatever of it still runs can do nothing any more.
    pub fn kill(&self) {
        self.plan().crash_at(0);
        self.disk.kill_process();
    }

    /// Cuts the power and starts again.
    pub fn power_cut(&self, random: &mut Random, keep: Keep) {
        self.plan().crash_at(0);
        self.disk.crash(&mut || random.draw(), keep);
    }
}
