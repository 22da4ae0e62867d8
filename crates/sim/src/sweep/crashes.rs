//! Every call that changes something, in every workload, as the moment at which the process or the machine dies.

use std::sync::Arc;

use clap::Args;
use lightning_db::Database;
use lightning_db_storage::vfs::{CallKind, Keep, MemVfs};

use super::ending::{CUTS, Cut};
use super::judge::{Manner, judge};
use super::ledger::{End, Ledger};
use super::runner::{Tally, run_all, simulated};
use super::script::{self, Script};
use super::stage::{PATH, Stage, Trouble};
use crate::coverage::Coverage;
use crate::machine::Machine;
use crate::random::Random;

/// What to crash.
#[derive(Args, Debug)]
pub struct Options {
    /// What the power cuts draw from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many random power cuts at each call, beside those that keep nothing and everything and a killed process.
    #[arg(long, default_value_t = 1)]
    random: u64,
    /// Of the crashes inside a recovery, one in so many is tried; 0 for none.
    #[arg(long, default_value_t = 41)]
    nested_every: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only this workload.
    #[arg(long)]
    only: Option<String>,
    /// Only this call.
    #[arg(long)]
    call: Option<u64>,
}

/// A workload ready to be crashed at any call.
struct Ready {
    script: Script,
    disk: MemVfs,
    ledger: Ledger,
    /// The calls that change something.
    calls: Vec<CallKind>,
}

#[derive(Clone)]
struct Job {
    ready: Arc<Ready>,
    call: u64,
}

/// Calls of a kind that can be crash points.
const KINDS: [CallKind; 13] = [
    CallKind::Create,
    CallKind::CreateDir,
    CallKind::RemoveDir,
    CallKind::RemoveFile,
    CallKind::Rename,
    CallKind::HardLink,
    CallKind::Write,
    CallKind::SetLen,
    CallKind::MapStore,
    CallKind::MapPublish,
    CallKind::SyncDir,
    CallKind::SyncData,
    CallKind::SyncAll,
];

#[derive(Clone, Copy)]
struct Draws {
    seed: u64,
    random: u64,
    every: u64,
}

/// Runs the campaign.
///
/// # Errors
/// What was found, with the commands that repeat it; or what was not covered.
pub fn run(options: &Options) -> Result<(), String> {
    let wanted = |script: &Script| options.only.as_deref().is_none_or(|only| only == script.name);
    let ready: Vec<Arc<Ready>> =
        script::all().into_iter().filter(wanted).map(Ready::new).collect::<Result<_, _>>()?;
    let mut jobs: Vec<Job> = Vec::new();
    for ready in &ready {
        let calls = 0..ready.calls.len() as u64;
        let calls = calls.filter(|call| options.call.is_none_or(|only| only == *call));
        jobs.extend(calls.map(|call| Job { ready: Arc::clone(ready), call }));
    }
    let name = |job: &Job| {
        let Options { seed, random, nested_every, .. } = options;
        let (only, call) = (job.ready.script.name, job.call);
        format!(
            "lightning_sim crashes --only {only} --call {call} --seed {seed} --random {random} --nested-every {nested_every}"
        )
    };
    let mut coverage = run_all(&jobs, options.jobs, name, |job| {
        let (job, draws) =
            (job.clone(), Draws { seed: options.seed, random: options.random, every: options.nested_every });
        simulated(1, move || job.run(draws))
    })?;
    if options.only.is_none() && options.call.is_none() {
        require(&mut coverage, &ready);
    }
    println!("{coverage}");
    match coverage.missing().is_empty() {
        true => Ok(()),
        false => Err("something was not covered, see above".to_owned()),
    }
}

/// Every workload, every kind of call that there is, and every kind of end.
fn require(coverage: &mut Coverage, ready: &[Arc<Ready>]) {
    for Ready { script, calls, .. } in ready.iter().map(|ready| &**ready) {
        coverage.require(&format!("crashed in/{}", script.name), calls.len() as u64 * 5 / 2);
    }
    for kind in KINDS {
        coverage.require(&format!("crashed at/{kind:?}"), if rare(kind) { 0 } else { 10 });
    }
    for cut in CUTS {
        coverage.require(&format!("kept/{}", cut.name), 2000);
    }
    coverage.require("recovery/crashed in", 300);
}

/// Kinds of calls that the engine makes hardly ever, or never.
fn rare(kind: CallKind) -> bool {
    matches!(kind, CallKind::SetLen | CallKind::RemoveDir | CallKind::CreateDir)
}

impl Ready {
    fn new(script: Script) -> Result<Arc<Self>, String> {
        let (script, disk, ledger) = simulated(1, move || {
            let (disk, ledger) = Stage::prepared(&script)?;
            Ok((script, disk, ledger))
        })?;
        // In turns of its own, that begin where those of the jobs do, so that the calls are the same.
        simulated(1, move || {
            let mut stage = Stage::new(&script, 2, Some((&disk, &ledger)));
            stage.plan.record();
            for step in &script.steps {
                stage.perform(*step).map_err(|trouble| format!("{}: {step:?}: {trouble:?}", script.name))?;
            }
            let trace = stage.plan.take_trace().into_iter().map(|call| call.kind);
            let calls = trace.filter(|kind| kind.is_mutating()).collect();
            stage.end_process();
            drop(stage);
            Ok(Arc::new(Self { script, disk, ledger, calls }))
        })
    }
}

impl Job {
    fn run(&self, draws: Draws) -> Tally {
        let Ready { script, disk, ledger, calls } = &*self.ready;
        let mut random = Random::new(draws.seed ^ (self.call << 20) ^ script.name.len() as u64);
        let mut stage = Stage::new(script, 2, Some((disk, ledger)));
        // One in four writes is torn at its very end: the write itself went well.
        let torn_at = if random.once_in(4) { u64::MAX } else { random.draw() };
        stage.plan.crash_at_byte(self.call, torn_at);
        for step in &script.steps {
            match stage.perform(*step) {
                Ok(()) => {}
                Err(_) if stage.plan.crashed() => break,
                Err(trouble) => return Err(format!("{step:?}: {}", told(trouble))),
            }
        }
        let mut coverage = Coverage::default();
        if !stage.plan.crashed() {
            return Err("nothing crashed: the workload made fewer calls than before".to_owned());
        }
        let kind = calls.get(self.call as usize);
        stage.end_process();
        let (left, ledger) = (stage.machine.disk.clone(), stage.ledger.clone());
        for (index, cut) in CUTS.iter().enumerate() {
            let times = if cut.keep == Keep::Random { draws.random } else { 1 };
            for _ in 0..times {
                let seed = random.draw();
                let disk = cut.apply(&left, seed);
                let manner = Manner { floor: ledger.floor(cut.end), lied: false, seed };
                judge(script, &ledger, disk, manner).map_err(|what| format!("{} kept: {what}", cut.name))?;
                coverage.hit(&format!("kept/{}", cut.name));
                coverage.hit(&format!("crashed in/{}", script.name));
            }
            if script.nested && draws.every > 0 {
                let seed = random.draw();
                let inside = Inside { script, ledger: &ledger, seed, every: draws.every };
                let next = CUTS[(index + 1) % CUTS.len()];
                // What only outlives a process is gone with a power cut before or after it.
                let end = if cut.end == next.end { cut.end } else { End::PowerCut };
                let nested = inside.run(&cut.apply(&left, seed), ledger.floor(end), next);
                coverage.merge(&nested.map_err(|what| format!("{} kept, then {what}", cut.name))?);
            }
        }
        if let Some(kind) = kind {
            coverage.hit(&format!("crashed at/{kind:?}"));
        }
        Ok(coverage)
    }
}

fn told(trouble: Trouble) -> String {
    match trouble {
        Trouble::Refused(error) => format!("refused without a fault: {error}"),
        Trouble::Wrong(what) => what,
    }
}

/// Crashes inside the recovery after a crash.
struct Inside<'a> {
    script: &'a Script,
    ledger: &'a Ledger,
    seed: u64,
    every: u64,
}

impl Inside<'_> {
    fn run(&self, disk: &MemVfs, floor: usize, cut: Cut) -> Tally {
        let mut coverage = Coverage::default();
        let mut random = Random::new(self.seed);
        let mut call = random.below(self.every);
        while let Some(left) = self.recover(disk, call, random.draw()) {
            let (left, promised) = left;
            let seed = random.draw();
            let manner = Manner { floor: floor.max(promised), lied: false, seed };
            judge(self.script, self.ledger, cut.apply(&left, seed), manner)
                .map_err(|what| format!("call {call} of the recovery, {} kept: {what}", cut.name))?;
            coverage.hit("recovery/crashed in");
            coverage.hit(&format!("kept/{}", cut.name));
            call += self.every;
        }
        Ok(coverage)
    }

    /// Recovers and dies at `call`. Returns what is left, and how many commits an open promised; `None` if there were not
    /// as many calls.
    fn recover(&self, disk: &MemVfs, call: u64, torn_at: u64) -> Option<(MemVfs, usize)> {
        let mut machine = Machine::new(self.seed ^ 7);
        machine.disk = disk.fork();
        let environment = machine.environment();
        let plan = machine.plan();
        plan.crash_at_byte(call, torn_at);
        let opened = Database::open_in(environment, PATH, self.script.config(1));
        let promised = opened.as_ref().map_or(0, |db| db.last_sequence().0 as usize);
        let crashed = plan.crashed();
        plan.crash_at(0);
        drop(opened);
        crashed.then(|| (machine.disk.clone(), promised))
    }
}
