//! Many seeds, in processes of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::Mutex;

use super::worker::Worker;
use super::{Outcome, floors, run_seed};
use crate::coverage::Coverage;
use crate::random::seconds_since_1970;

/// Which seeds to run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The first seed; unless told, the seconds since 1970, so that every run has fresh ones.
    #[arg(long)]
    pub from: Option<u64>,
    /// How many.
    #[arg(long, default_value_t = 1000)]
    pub count: u64,
    /// How many processes; unless told, one for each processor.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Stop after so many seconds.
    #[arg(long)]
    pub time_limit: Option<u64>,
    /// A file that keeps the totals: a run that was stopped goes on where it was.
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Every so many seeds, one is run twice, and the two runs compared.
    #[arg(long, default_value_t = 20)]
    pub twins: u64,
    /// Stop at the first failure.
    #[arg(long)]
    pub fail_fast: bool,
    /// Leaves the regression seeds out.
    #[arg(long)]
    pub only_fresh: bool,
}

/// Which seed to run again.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// The seed.
    pub seed: u64,
    /// Prints the verdict and nothing else.
    #[arg(long)]
    pub quiet: bool,
}

/// Seeds that once found something; see the file.
const REGRESSIONS: &str = include_str!("../../regressions/seeds.txt");
/// A seed takes a fraction of a second; one that takes this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(300);
/// How often totals are written and progress is printed.
const NEWS_EVERY: Duration = Duration::from_secs(10);

/// Runs one seed and prints what it does.
///
/// # Errors
/// What is wrong.
pub fn replay(replay: &Replay) -> Result<(), String> {
    let outcome = run_seed(replay.seed, !replay.quiet);
    println!("seed {}: trace {:016x}", replay.seed, outcome.trace);
    outcome.problem.map_or(Ok(()), |problem| Err(format!("seed {}: {problem}", replay.seed)))
}

/// Runs the seeds, and the regression seeds first.
///
/// # Errors
/// When a seed found something, or something happened too rarely.
pub fn run(options: &Options) -> Result<(), String> {
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut totals = options.state.as_deref().map_or(Ok(Totals::default()), Totals::load)?;
    let first = options.from.or(totals.next).unwrap_or_else(|| seconds_since_1970() * 1_000_000);
    let done_before = totals.coverage.count(SEEDS);
    totals.next = Some(first + done_before * u64::from(options.from.is_some()));
    println!("seeds from {} on, {} at once", totals.next.unwrap_or(first), jobs);
    let regressions = if options.only_fresh { Vec::new() } else { regressions()? };
    let campaign = Campaign {
        options,
        ends: options.time_limit.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        last: totals.next.unwrap_or(first).saturating_add(options.count),
        news: Mutex::new(Instant::now()),
        state: Mutex::new(State { totals, regressions, failures: BTreeMap::new() }),
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| campaign.job());
        }
    });
    campaign.verdict()
}

/// How many seeds were run.
const SEEDS: &str = "seeds";
/// How many found something; also of the runs that this one continues.
const FAILURES: &str = "failures";

#[derive(Default)]
struct Totals {
    coverage: Coverage,
    next: Option<u64>,
}

struct State {
    totals: Totals,
    /// Regression seeds that wait.
    regressions: Vec<u64>,
    failures: BTreeMap<u64, String>,
}

struct Campaign<'a> {
    options: &'a Options,
    ends: Option<Instant>,
    last: u64,
    news: Mutex<Instant>,
    state: Mutex<State>,
}

impl Campaign<'_> {
    fn job(&self) {
        let mut worker = None;
        while let Some(seed) = self.draw() {
            let outcome = self.run_in(&mut worker, seed);
            let is_twin = seed.is_multiple_of(self.options.twins.max(1));
            let outcome = match outcome {
                Ok(outcome) if is_twin && outcome.problem.is_none() => {
                    self.run_in(&mut worker, seed).map(|again| compare(outcome, &again))
                }
                outcome => outcome,
            };
            self.note(seed, outcome);
        }
    }

    fn draw(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let is_over = self.ends.is_some_and(|ends| Instant::now() >= ends);
        if is_over || self.options.fail_fast && !state.failures.is_empty() {
            return None;
        }
        if let Some(seed) = state.regressions.pop() {
            return Some(seed);
        }
        let seed = state.totals.next.filter(|next| *next < self.last)?;
        state.totals.next = Some(seed + 1);
        Some(seed)
    }

    fn run_in(&self, worker: &mut Option<Worker>, seed: u64) -> Result<Outcome, String> {
        let running = match worker {
            Some(worker) => worker,
            None => worker.insert(Worker::start()?),
        };
        let outcome = running.run(seed, HANGS_AFTER);
        if !matches!(&outcome, Ok(outcome) if outcome.problem.is_none()) {
            *worker = None;
        }
        outcome
    }

    fn note(&self, seed: u64, outcome: Result<Outcome, String>) {
        let mut state = self.state.lock();
        let problem = match outcome {
            Ok(outcome) => {
                state.totals.coverage.merge(&outcome.coverage);
                outcome.problem
            }
            Err(problem) => Some(problem),
        };
        state.totals.coverage.hit(SEEDS);
        if let Some(problem) = problem {
            println!(
                "seed {seed}: {problem}\n  again: cargo run --profile sim -p lightning_db_sim -- replay {seed}"
            );
            state.totals.coverage.hit(FAILURES);
            state.failures.insert(seed, problem);
        }
        let mut news = self.news.lock();
        if news.elapsed() >= NEWS_EVERY {
            *news = Instant::now();
            println!("{}", state.totals.summary());
            self.save(&state.totals);
        }
    }

    fn save(&self, totals: &Totals) {
        if let Some(path) = &self.options.state
            && let Err(problem) = totals.save(path)
        {
            eprintln!("the totals were not written: {problem}");
        }
    }

    fn verdict(self) -> Result<(), String> {
        let State { mut totals, failures, .. } = self.state.into_inner();
        if let (Some(path), Err(problem)) =
            (&self.options.state, self.options.state.as_deref().map_or(Ok(()), |path| totals.save(path)))
        {
            return Err(format!("{}: {problem}", path.display()));
        }
        let seeds = totals.coverage.count(SEEDS);
        floors::require(&mut totals.coverage, seeds);
        println!("{}\n{}", totals.coverage, totals.summary());
        let failed = totals.coverage.count(FAILURES);
        if failed > 0 {
            let list: Vec<_> = failures.keys().map(u64::to_string).collect();
            return Err(format!("{failed} seeds failed, of this run: {}", list.join(" ")));
        }
        let missing = totals.coverage.missing();
        if missing.is_empty() { Ok(()) } else { Err(format!("happened too rarely: {missing:?}")) }
    }
}

/// Two runs of one seed must be the same.
fn compare(mut first: Outcome, second: &Outcome) -> Outcome {
    first.coverage.hit("twins");
    if first.trace != second.trace {
        first.problem =
            Some(format!("two runs differ: trace {:016x}, then {:016x}", first.trace, second.trace));
    }
    first
}

impl Totals {
    fn summary(&self) -> String {
        let count = |name| self.coverage.count(name);
        format!(
            "{} seeds, {} crash recoveries, {} failures; next seed {}",
            count(SEEDS),
            count("crash/recoveries"),
            count(FAILURES),
            self.next.unwrap_or_default()
        )
    }

    /// The totals in a file; none if there is none.
    fn load(path: &Path) -> Result<Self, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let mut totals = Self::default();
        for line in text.lines() {
            let entry = line.rsplit_once(' ').and_then(|(name, count)| Some((name, count.parse().ok()?)));
            let (name, count): (&str, u64) =
                entry.ok_or_else(|| format!("{}: {line:?} means nothing", path.display()))?;
            if name == "next" {
                totals.next = Some(count);
            } else {
                totals.coverage.add(name, count);
            }
        }
        Ok(totals)
    }

    /// Writes the totals beside the file and puts them in its place.
    #[expect(clippy::disallowed_methods, reason = "the campaign's own file, and no database's")]
    fn save(&self, path: &Path) -> Result<(), String> {
        let mut text = format!("next {}\n", self.next.unwrap_or_default());
        for (name, count) in self.coverage.iter() {
            text.push_str(&format!("{name} {count}\n"));
        }
        let beside = path.with_extension("new");
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|error| error.to_string())
    }
}

fn regressions() -> Result<Vec<u64>, String> {
    let seed = |line: &str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        word.parse().map_err(|_| format!("{line:?} in regressions/seeds.txt begins with no seed"))
    };
    REGRESSIONS.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(seed).collect()
}
