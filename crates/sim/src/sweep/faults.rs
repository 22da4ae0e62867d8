//! Every call, in every workload, as the one that fails, or lies.

use std::sync::Arc;

use clap::Args;
use lightning_db::Error;
use lightning_db_storage::vfs::{Call, CallKind, Calls, Fault, MemVfs};

use super::ending::{CUTS, Cut};
use super::full;
use super::judge::{Manner, Verdict, judge};
use super::kinds::{KINDS, Kind, Lie};
use super::ledger::{End, Ledger};
use super::runner::{Tally, run_all, simulated};
use super::script::{self, Script, Step};
use super::stage::{PATH, Stage, Trouble};
use crate::coverage::Coverage;
use crate::random::Random;

/// What to let fail.
#[derive(Args, Debug)]
pub struct Options {
    /// What is drawn from: bits, bytes, places and ends.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Every kind of fault at every call. Otherwise an error, once and from then on, at every call, and each other kind at
    /// one in so many of the calls that it fits: as many seeds in a row try it at all of them.
    #[arg(long)]
    all: bool,
    /// One in so many.
    #[arg(long, default_value_t = 16)]
    every: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only this workload.
    #[arg(long)]
    only: Option<String>,
    /// Only this call.
    #[arg(long)]
    call: Option<usize>,
    /// Only this kind of fault.
    #[arg(long)]
    fault: Option<String>,
    /// Only a disk of this capacity, in bytes.
    #[arg(long)]
    capacity: Option<u64>,
}

/// A workload ready for a fault in any call.
pub(super) struct Ready {
    pub(super) script: Script,
    pub(super) disk: MemVfs,
    pub(super) ledger: Ledger,
    calls: Vec<Call>,
}

enum Job {
    Call { ready: Arc<Ready>, call: usize, kind: &'static Kind },
    Full { ready: Arc<Ready>, capacity: u64 },
}

/// Runs the campaign.
///
/// # Errors
/// What was found, with the commands that repeat it; or what was not covered.
pub fn run(options: &Options) -> Result<(), String> {
    let wanted = |script: &Script| options.only.as_deref().is_none_or(|only| only == script.name);
    let ready: Vec<_> =
        script::all().into_iter().filter(wanted).map(Ready::new).collect::<Result<_, String>>()?;
    let mut jobs: Vec<Job> = Vec::new();
    for ready in &ready {
        jobs.extend(calls_of(ready, options));
        if options.fault.is_none() && options.call.is_none() {
            let on = Arc::clone(ready);
            let capacities = simulated(1, move || full::capacities(&on.script, &on.disk, &on.ledger))?;
            let wanted = capacities
                .into_iter()
                .filter(|capacity| options.capacity.is_none_or(|only| only == *capacity));
            jobs.extend(wanted.map(|capacity| Job::Full { ready: Arc::clone(ready), capacity }));
        }
    }
    let mut coverage = run_all(&jobs, options.jobs, |job| job.name(options), |job| job.run(options))?;
    if options.only.is_none()
        && options.call.is_none()
        && options.fault.is_none()
        && options.capacity.is_none()
    {
        require(&mut coverage, &ready);
    }
    println!("{coverage}");
    match coverage.missing().is_empty() {
        true => Ok(()),
        false => Err("something was not covered, see above".to_owned()),
    }
}

/// Every workload, every kind of fault, every kind of call.
fn require(coverage: &mut Coverage, ready: &[Arc<Ready>]) {
    for ready in ready {
        coverage.require(&format!("failed in/{}", ready.script.name), ready.calls.len() as u64);
    }
    for kind in &KINDS {
        coverage.require(&format!("fault/{}", kind.name), kind.floor);
    }
    for step in ["refused", "went well", "refused for want of room"] {
        coverage.require(&format!("step after a fault/{step}"), 100);
    }
    coverage.require("full disk/runs", 150);
    coverage.require("full disk/deleted from", 20);
    coverage.require("verdict/sound", 5000);
    coverage.require("verdict/damage told", 5);
}

fn calls_of(ready: &Arc<Ready>, options: &Options) -> Vec<Job> {
    // Which of so many, by the seed and for each kind another.
    let mut turn: Vec<u64> =
        (0..KINDS.len() as u64).map(|kind| options.seed.wrapping_add(7 * kind)).collect();
    let mut jobs = Vec::new();
    for (call, made) in ready.calls.iter().enumerate() {
        for (kind, turn) in KINDS.iter().zip(&mut turn).filter(|(kind, _)| kind.fits(made.kind)) {
            let is_drawn = turn.is_multiple_of(options.every);
            *turn = turn.wrapping_add(1);
            let wanted = match &options.fault {
                Some(only) => only == kind.name,
                None => options.all || kind.always || is_drawn,
            };
            if wanted && options.capacity.is_none() && options.call.is_none_or(|only| only == call) {
                jobs.push(Job::Call { ready: Arc::clone(ready), call, kind });
            }
        }
    }
    jobs
}

impl Ready {
    fn new(script: Script) -> Result<Arc<Self>, String> {
        let (script, disk, ledger) = simulated(1, move || {
            let (disk, ledger) = Stage::prepared(&script)?;
            Ok((script, disk, ledger))
        })?;
        // In turns of its own, that begin where those of the trials do, so that the calls are the same.
        simulated(1, move || {
            let mut stage = Stage::new(&script, 2, Some((&disk, &ledger)));
            stage.plan.record();
            let told = |step, trouble| format!("{}: {step:?}: {trouble:?}", script.name);
            for step in &script.steps {
                stage.perform(*step).map_err(|trouble| told(*step, trouble))?;
                if stage.db.is_some() {
                    stage.perform(Step::Read).map_err(|trouble| told(Step::Read, trouble))?;
                }
            }
            let calls = stage.plan.take_trace();
            stage.end_process();
            drop(stage);
            Ok(Arc::new(Self { script, disk, ledger, calls }))
        })
    }
}

impl Job {
    fn name(&self, options: &Options) -> String {
        match self {
            Self::Call { ready, call, kind } => format!(
                "lightning_sim faults --only {} --call {call} --fault {} --seed {}   ({:?} of {})",
                ready.script.name,
                kind.name,
                options.seed,
                ready.calls[*call].kind,
                ready.calls[*call].path.display(),
            ),
            Self::Full { ready, capacity } => {
                format!(
                    "lightning_sim faults --only {} --capacity {capacity} --seed {}",
                    ready.script.name, options.seed
                )
            }
        }
    }

    fn run(&self, options: &Options) -> Tally {
        let options_seed = options.seed;
        match self {
            Self::Call { ready, call, kind } => {
                let (ready, call, kind) = (Arc::clone(ready), *call, *kind);
                let random =
                    Random::new(options_seed ^ ((call as u64) << 24) ^ ready.script.name.len() as u64);
                simulated(1, move || {
                    Trial { ready: &ready, call, kind, random, coverage: Coverage::default() }.run()
                })
            }
            Self::Full { ready, capacity } => {
                let (ready, capacity) = (Arc::clone(ready), *capacity);
                simulated(1, move || {
                    full::run(&ready.script, &ready.disk, &ready.ledger, capacity, options_seed ^ capacity)
                })
            }
        }
    }
}

/// One run of a workload with one fault.
struct Trial<'a> {
    ready: &'a Ready,
    call: usize,
    kind: &'static Kind,
    random: Random,
    coverage: Coverage,
}

impl Trial<'_> {
    fn run(mut self) -> Tally {
        let Ready { script, disk, ledger, calls } = self.ready;
        let mut stage = Stage::new(script, 2, Some((disk, ledger)));
        stage.plan.add(self.fault(calls));
        let mut floor_of_lie = None;
        let (mut known, mut told) = ((0, 0), (0, 0));
        let fails_log = self.fails_log();
        let (mut log_failed, mut reopened) = (false, false);
        for step in &script.steps {
            let before = (stage.ledger.floor(End::Kill), stage.ledger.floor(End::PowerCut));
            // What was promised last is told by nothing but the promise, as long as nothing was written since.
            told = (told_before(before.0, known.0, told.0), told_before(before.1, known.1, told.1));
            known = before;
            stage.survives = if self.kind.drops { End::PowerCut } else { End::Kill };
            stage.leeway = usize::from(self.stale_log(&stage));
            let outcome = stage.perform(*step);
            if floor_of_lie.is_none() && stage.plan.strikes() > 0 {
                floor_of_lie = Some(if self.kind.lie == Lie::Elsewhere { told } else { before });
            }
            self.count(&outcome, &stage);
            self.permit(*step, outcome, log_failed)?;
            reopened |= floor_of_lie.is_some() && matches!(step, Step::Open) && stage.db.is_some();
            log_failed = fails_log && floor_of_lie.is_some() && !reopened;
            if stage.db.is_some() && !stage.is_unsure {
                self.permit(Step::Read, stage.perform(Step::Read), false)?;
            }
        }
        self.finish(stage, floor_of_lie)
    }

    fn fault(&mut self, calls: &[Call]) -> Fault {
        let struck = &calls[self.call];
        let of_kind =
            |which: Calls| calls[..self.call].iter().filter(|call| which.contain(call.kind)).count() as u64;
        let which = if self.kind.whole_disk { Calls::Mutating } else { Calls::Only(struck.kind) };
        let fault = Fault::new(which, (self.kind.effect)(self.random.draw())).after(of_kind(which));
        if self.kind.lasting { fault.lasting() } else { fault }
    }

    fn stale_log(&self, stage: &Stage<'_>) -> bool {
        self.kind.lie == Lie::Stale && is_log(stage)
    }

    /// Whether the fault is a failed sync of the database's log. The first sync of a segment is before its first use: if
    /// it fails, another segment is made.
    fn fails_log(&self) -> bool {
        let calls = &self.ready.calls;
        let struck = &calls[self.call];
        let is_sync_of_it = |call: &Call| {
            matches!(call.kind, CallKind::SyncData | CallKind::SyncAll) && call.path == struck.path
        };
        self.kind.lie == Lie::None
            && is_sync_of_it(struck)
            && struck.path.starts_with(PATH)
            && is_wal(struck)
            && calls[..self.call].iter().any(is_sync_of_it)
    }

    fn count(&mut self, outcome: &Result<(), Trouble>, stage: &Stage<'_>) {
        if stage.plan.strikes() == 0 {
            return;
        }
        self.coverage.hit(match outcome {
            Ok(()) => "step after a fault/went well",
            Err(Trouble::Refused(Error::DiskFull { .. })) => "step after a fault/refused for want of room",
            Err(_) => "step after a fault/refused",
        });
    }

    /// A step goes well, or is refused for a reason that the fault gives.
    fn permit(&self, step: Step, outcome: Result<(), Trouble>, log_failed: bool) -> Result<(), String> {
        let error = match outcome {
            Err(Trouble::Wrong(what)) => return Err(format!("{step:?}: {what}")),
            Ok(()) if log_failed && step.writes() => {
                return Err(format!("{step:?}: acknowledged after a failed sync of the log"));
            }
            Ok(()) => return Ok(()),
            Err(Trouble::Refused(error)) => error,
        };
        let is_permitted = match &error {
            Error::Io { .. } | Error::Poisoned { .. } | Error::Closed | Error::NotFound { .. } => true,
            Error::DiskFull { .. } => self.kind.fills,
            // The other key could not be added.
            Error::LastKeySlot => matches!(step, Step::RemoveKey(_)),
            Error::Corrupt { .. } => self.kind.lie != Lie::None,
            _ => false,
        };
        if is_permitted {
            Ok(())
        } else {
            Err(format!("{step:?}: an error that the fault does not give: {error}"))
        }
    }

    fn finish(mut self, mut stage: Stage<'_>, floor_of_lie: Option<(usize, usize)>) -> Tally {
        let strikes = stage.plan.strikes();
        if strikes == 0 {
            return Err("the fault struck nothing: the workload made other calls than before".to_owned());
        }
        if self.random.once_in(2) {
            // Closes with the fault still there, if it lasts.
            stage.db = None;
        }
        let is_log = is_log(&stage) || matches!(self.kind.lie, Lie::Elsewhere);
        let stale_log = self.stale_log(&stage);
        stage.end_process();
        let cut: &Cut = self.random.pick(&CUTS);
        let seed = self.random.draw();
        let left = cut.apply(&stage.machine.disk, seed);
        // What was dropped does not survive the process either.
        let end = if self.kind.drops { End::PowerCut } else { cut.end };
        let mut floor = stage.ledger.floor(end).saturating_sub(usize::from(stale_log));
        let wrote_a_lie = matches!(self.kind.lie, Lie::Write | Lie::Elsewhere);
        // A backup beside a record that it could not read names the one before as its predecessor: verification says so
        // when the record can be read again.
        let in_repository = self.ready.calls[self.call].path.starts_with("/repo");
        let lied = wrote_a_lie || self.kind.lie != Lie::None && in_repository;
        if let (true, true, Some((kill, power))) = (wrote_a_lie, is_log, floor_of_lie) {
            let known = if cut.end == End::Kill { kill } else { power };
            floor = floor.min(known.saturating_sub(1));
        }
        let manner = Manner { floor, lied, seed };
        let verdict = judge(&self.ready.script, &stage.ledger, left, manner)
            .map_err(|what| format!("{} kept: {what}", cut.name))?;
        self.coverage.hit(match verdict {
            Verdict::Sound => "verdict/sound",
            Verdict::Refused => "verdict/damage told",
        });
        self.coverage.hit(&format!("failed in/{}", self.ready.script.name));
        self.coverage.hit(&format!("failed at/{:?}", self.ready.calls[self.call].kind));
        self.coverage.hit(&format!("fault/{}", self.kind.name));
        self.coverage.add("fault/strikes", strikes);
        Ok(self.coverage)
    }
}

/// What was promised before the newest promise, if `known` was promised before that and `told` before `known`.
fn told_before(promised: usize, known: usize, told: usize) -> usize {
    if promised > known { known } else { told }
}

/// Whether the first call that was struck was one to a log.
fn is_log(stage: &Stage<'_>) -> bool {
    stage.plan.first_strike().is_some_and(|call| is_wal(&call))
}

fn is_wal(call: &Call) -> bool {
    call.path.extension().is_some_and(|ending| ending == "wal")
}
