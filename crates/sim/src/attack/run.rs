//! All cases on all processors, each watched for panics, for memory, and for never ending.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::case::{Case, Expect, Outcome};
use super::undetectable::Undetectable;
use super::{database, repository};
use crate::allocation::{LARGE, large_allocations};
use crate::coverage::Coverage;

/// No case takes longer, unless it never ends.
const LONGEST: Duration = Duration::from_secs(60);

/// So many failures are told. Of those that differ in their place only, one is.
const TOLD: usize = 60;

/// What threads said when they panicked.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs the cases and counts what came of them.
///
/// # Errors
/// Every case in which something came of it that may not, with the command that repeats it.
pub(super) fn run_cases(cases: &[Case], seed: u64) -> Result<Coverage, String> {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| PANICS.lock().push(info.to_string())));
    let outcome = run_watched(cases, seed);
    std::panic::set_hook(usual);
    outcome
}

struct Work<'a> {
    cases: &'a [Case],
    next: AtomicUsize,
    ended: AtomicBool,
    coverage: Mutex<Coverage>,
    failures: Mutex<BTreeMap<String, Failure>>,
    under_way: Vec<Mutex<Option<(usize, Instant)>>>,
    seed: u64,
}

fn run_watched(cases: &[Case], seed: u64) -> Result<Coverage, String> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let work = Work {
        cases,
        next: AtomicUsize::new(0),
        ended: AtomicBool::new(false),
        coverage: Mutex::default(),
        failures: Mutex::default(),
        under_way: (0..workers).map(|_| Mutex::new(None)).collect(),
        seed,
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = work.under_way.iter().map(|slot| scope.spawn(|| work.run(slot))).collect();
        scope.spawn(|| work.watch());
        for worker in workers {
            if worker.join().is_err() {
                work.failures.lock().insert("the attacker panicked".into(), Failure::default());
            }
        }
        work.ended.store(true, Ordering::Relaxed);
    });
    let failures = work.failures.into_inner();
    if failures.is_empty() {
        return Ok(work.coverage.into_inner());
    }
    let told =
        failures.into_iter().map(|(kind, Failure { what, times })| format!("{times} x {kind}\n{what}"));
    Err(told.collect::<Vec<_>>().join("\n"))
}

/// The first of some failures that differ in their place only.
#[derive(Default)]
struct Failure {
    what: String,
    times: u64,
}

impl Work<'_> {
    fn run(&self, slot: &Mutex<Option<(usize, Instant)>>) {
        let mut coverage = Coverage::default();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = self.cases.get(index) else { break };
            *slot.lock() = Some((index, Instant::now()));
            if let Err(what) = attempt(case, &mut coverage)
                && !self.tell(case, &what)
            {
                break;
            }
        }
        *slot.lock() = None;
        self.coverage.lock().merge(&coverage);
    }

    /// Notes a failure. Says whether to go on.
    fn tell(&self, case: &Case, what: &str) -> bool {
        let mut failures = self.failures.lock();
        let command = format!("lightning_sim attack --seed {} --only {:?}", self.seed, case.to_string());
        let kind = format!("{} of {}: {what}", case.damage.kind, case.target.name);
        let kind: String = kind.chars().filter(|char| !char.is_ascii_digit()).take(160).collect();
        let first = || {
            eprintln!("lightning_sim: attack: {what}\n    {command}");
            Failure { what: format!("    {what}\n    {command}"), times: 0 }
        };
        failures.entry(kind).or_insert_with(first).times += 1;
        failures.len() < TOLD
    }

    /// Ends the process when a case does not end.
    fn watch(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            for slot in &self.under_way {
                let running = *slot.lock();
                if let Some((index, since)) = running
                    && since.elapsed() > LONGEST
                {
                    eprintln!("lightning_sim: attack: this case never ends: {}", self.cases[index]);
                    std::process::exit(1);
                }
            }
        }
    }
}

fn attempt(case: &Case, coverage: &mut Coverage) -> Result<(), String> {
    let (allocations, _) = large_allocations();
    let examine = if case.target.is_repository { repository::examine } else { database::examine };
    let outcome = catch_unwind(AssertUnwindSafe(|| examine(case)));
    let panics = std::mem::take(&mut *PANICS.lock());
    if !panics.is_empty() {
        return Err(format!(
            "a panic (of this case, or of the one on another processor): {}",
            panics.join("; ")
        ));
    }
    let outcome = outcome.unwrap_or_else(|_| Err("a panic".into()))?;
    let (after, largest) = large_allocations();
    if after > allocations {
        return Err(format!(
            "{largest} bytes were asked for at once, here or on another processor; {LARGE} are enough for all"
        ));
    }
    if case.expect == Expect::Served
        && !matches!(outcome, Outcome::ServedAndNoticed | Outcome::ServedUnnoticed)
    {
        return Err(format!("it was {outcome}, where nothing is missing"));
    }
    count(case, outcome, coverage);
    Ok(())
}

fn count(case: &Case, outcome: Outcome, coverage: &mut Coverage) {
    coverage.hit(&format!("case/{}", case.damage.kind));
    coverage.hit(&format!("target/{}", case.target.name));
    coverage.hit(&format!("looked/{:?}", case.depth));
    coverage.hit(&format!("outcome/{outcome}"));
    match outcome {
        Outcome::Earlier(which) => coverage.hit(&format!("not noticed/{}", which.title())),
        Outcome::ServedUnnoticed => {
            coverage.hit(&format!("not noticed/{}", Undetectable::Meaningless.title()));
        }
        _ => {}
    }
}
