//! A disk that is full at any size between what the workload begins with and what it needs.

use std::path::Path;
use std::time::Duration;

use lightning_db::Error;
use lightning_db_storage::vfs::{MemVfs, Vfs};
use lightning_db_sync::thread;

use super::judge::{Manner, judge};
use super::ledger::{End, Ledger, Surety};
use super::runner::Tally;
use super::script::{Script, Step};
use super::stage::{Stage, Trouble};
use crate::coverage::Coverage;

/// More than any workload needs.
const ROOMY: u64 = 1 << 30;

/// After so long the engine has done what it does now and then.
const WHILE: Duration = Duration::from_secs(4000);

/// Sizes are tried this far apart, in bytes.
const STEP: u64 = 64 << 10;

/// The sizes to try.
pub(super) fn capacities(script: &Script, disk: &MemVfs, ledger: &Ledger) -> Result<Vec<u64>, String> {
    let mut stage = Stage::new(script, 2, Some((disk, ledger)));
    stage.machine.disk.set_capacity(Some(ROOMY));
    let first = used(&stage);
    let mut most = first;
    for step in &script.steps {
        stage.perform(*step).map_err(|trouble| format!("{}: {step:?}: {trouble:?}", script.name))?;
        most = most.max(used(&stage));
    }
    stage.end_process();
    Ok((first..most + (256 << 10)).step_by(STEP as usize).collect())
}

/// Runs a workload on a disk of this size, then frees room, and looks whether all is there.
pub(super) fn run(script: &Script, disk: &MemVfs, ledger: &Ledger, capacity: u64, seed: u64) -> Tally {
    let mut coverage = Coverage::default();
    let mut stage = Stage::new(script, 2, Some((disk, ledger)));
    stage.machine.disk.set_capacity(Some(capacity));
    let mut was_full = false;
    // What is full is cleared before it is closed.
    let (last, steps) = match script.steps.split_last() {
        Some((Step::Close, steps)) => (Some(Step::Close), steps),
        _ => (None, &*script.steps),
    };
    for step in steps {
        let outcome = stage.perform(*step);
        was_full |= permit(*step, outcome, stage.is_unsure)?;
        if stage.db.is_some() && !stage.is_unsure {
            permit(Step::Read, stage.perform(Step::Read), false)?;
        }
    }
    coverage.hit("full disk/runs");
    if was_full && stage.db.is_some() && !stage.is_unsure {
        let cleared = stage.delete(3);
        cleared.map_err(|trouble| format!("a full disk cannot be cleared by deleting: {trouble:?}"))?;
        coverage.hit("full disk/deleted from");
    }
    stage.machine.disk.set_capacity(None);
    if stage.db.is_some() && !stage.is_unsure {
        for step in [Step::Put(2, 100), Step::Checkpoint, Step::Read] {
            stage
                .perform(step)
                .map_err(|trouble| format!("{step:?}, when there is room again: {trouble:?}"))?;
        }
    }
    if was_full && stage.db.is_some() && !stage.is_unsure && seed.is_multiple_of(4) {
        fill_again(&mut stage)?;
        coverage.hit("full disk/a second time");
    }
    match (seed % 3, last) {
        (0, _) => stage.db = None,
        (1, Some(close)) if !stage.is_unsure => stage
            .perform(close)
            .map_err(|trouble| format!("{close:?}, when there is room again: {trouble:?}"))?,
        _ => {}
    }
    stage.end_process();
    stage.machine.disk.kill_process();
    let manner = Manner { floor: stage.ledger.floor(End::Kill), lied: false, seed };
    judge(script, &stage.ledger, stage.machine.disk.clone(), manner)?;
    if stage.ledger.created == Surety::Yes {
        coverage.hit("full disk/nothing lost");
    }
    Ok(coverage)
}

/// How much of a roomy disk is in use.
fn used(stage: &Stage<'_>) -> u64 {
    let free = stage.machine.disk.available_space(Path::new("/")).ok().flatten();
    ROOMY - free.unwrap_or(ROOMY)
}

/// The same process, after a while, on a disk that is full for a second time: it can be cleared as the first time.
fn fill_again(stage: &mut Stage<'_>) -> Result<(), String> {
    stage.machine.disk.set_capacity(Some(ROOMY));
    thread::sleep(WHILE);
    stage.machine.disk.set_capacity(Some(used(stage)));
    for _ in 0..100 {
        if permit(Step::Put(1, 9000), stage.perform(Step::Put(1, 9000)), stage.is_unsure)? {
            break;
        }
    }
    let cleared = stage.delete(3);
    stage.machine.disk.set_capacity(None);
    cleared.map_err(|trouble| format!("full again, it cannot be cleared by deleting: {trouble:?}"))?;
    let written = stage.perform(Step::Put(2, 100)).and_then(|()| stage.perform(Step::Read));
    written.map_err(|trouble| format!("when there is room for the second time: {trouble:?}"))
}

/// A step goes well, or says that the disk is full, or needs what an earlier one could not make.
fn permit(step: Step, outcome: Result<(), Trouble>, is_unsure: bool) -> Result<bool, String> {
    match outcome {
        // A step back that found no room half-way ends writing.
        Err(Trouble::Refused(Error::Poisoned { .. })) if is_unsure => Ok(false),
        Ok(()) => Ok(false),
        Err(Trouble::Refused(Error::DiskFull { .. })) => Ok(true),
        Err(Trouble::Refused(Error::Closed | Error::NotFound { .. } | Error::LastKeySlot)) => Ok(false),
        Err(Trouble::Refused(error)) => Err(format!("{step:?} on a full disk: {error}")),
        Err(Trouble::Wrong(what)) => Err(format!("{step:?} on a full disk: {what}")),
    }
}
