//! Isolation: concurrent transactions on lists that only grow, and whether what they saw is what their level promises.
//!
//! ```text
//! plan.rs     what a transaction means to do
//! client.rs   does it, through every part of the public interface
//! run.rs      one history: a database in memory, processes, flushes and merges, crashes
//! history.rs  what the processes did and saw; edn.rs: the same as text, as Elle reads it
//! check/      which anomalies a history shows, and which a level permits
//! ```

pub mod check;
mod client;
pub mod edn;
pub mod history;
mod plan;
pub mod run;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::coverage::Coverage;
use check::{Anomaly, Level, Promise, anomalies};
use history::{History, Outcome};
use run::{Choice, Run, Schedule};

/// Which histories to make and check.
#[derive(Args, Debug)]
pub struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, each at every level with locks and without. One, if something is chosen below.
    #[arg(long)]
    seeds: Option<u64>,
    /// Only this level.
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Only transactions that lock what they write.
    #[arg(long)]
    locking: bool,
    /// Only histories whose processes meet so.
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// How many transactions a history has.
    #[arg(long, default_value_t = 800)]
    transactions: u64,
    /// Begins no history after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Makes one history, at `--level`, and writes it to this file in the form that Elle reads. At read committed
    /// transactions lock what they append to, as Elle expects of an append.
    #[arg(long, requires = "level", conflicts_with_all = ["seeds", "seconds", "check"])]
    export: Option<PathBuf>,
    /// Makes no history, but checks the one in this file against `--level`.
    #[arg(long, requires = "level", conflicts_with_all = ["seeds", "seconds"])]
    check: Option<PathBuf>,
}

/// As many seeds as fit into a minute on two cores.
const SEEDS: u64 = 20;

/// Runs the campaign.
///
/// # Errors
/// What was found, or what was covered too little.
pub fn run(options: &Options) -> Result<(), String> {
    if let (Some(path), Some(level)) = (&options.check, options.level) {
        return check_file(path, level);
    }
    if let (Some(path), Some(level)) = (&options.export, options.level) {
        let optimistic = !options.locking && level != Level::ReadCommitted;
        let schedule = options.schedule.unwrap_or(Schedule::Threads);
        let Options { seed, transactions, .. } = *options;
        let choice = Choice { seed, level, optimistic, transactions, schedule, whole_scans: true };
        let run = run::run(choice)?;
        save(path, &run.history)?;
        let mut totals = Coverage::default();
        let verdict = judge(choice, &run, &mut totals);
        print!("{totals}");
        return verdict;
    }
    campaign(options)
}

fn campaign(options: &Options) -> Result<(), String> {
    let started = Instant::now();
    let is_limited = options.locking || options.seeds.is_some() || options.seconds.is_some();
    let is_whole = options.level.is_none() && options.schedule.is_none() && !is_limited;
    let mut coverage = if is_whole { floors() } else { Coverage::default() };
    let is_over = || options.seconds.is_some_and(|limit| started.elapsed() >= Duration::from_secs(limit));
    let seeds = options.seeds.unwrap_or(match options.seconds {
        Some(_) => u64::MAX,
        None if is_whole => SEEDS,
        None => 1,
    });
    let seeds = options.seed..options.seed.saturating_add(seeds);
    for choice in seeds.flat_map(|seed| choices(options, seed)) {
        if is_over() {
            break;
        }
        let run = run::run(choice).map_err(|failure| format!("{failure}\n{}", again(choice)))?;
        judge(choice, &run, &mut coverage)?;
        // One schedule of each seed is run twice.
        if choice.schedule == Schedule::Turns && choice.level == Level::ReadCommitted && choice.optimistic {
            same_again(choice, &run, &mut coverage)?;
        }
    }
    println!("isolation: {} histories in {:.1?}", coverage.count("histories"), started.elapsed());
    print!("{coverage}");
    let missing = coverage.missing();
    if missing.is_empty() { Ok(()) } else { Err(format!("too little was covered: {missing:?}")) }
}

fn same_again(choice: Choice, first: &Run, coverage: &mut Coverage) -> Result<(), String> {
    let second = run::run(choice)?;
    coverage.hit("schedules repeated");
    if (second.trace, &second.history) == (first.trace, &first.history) {
        return Ok(());
    }
    Err(format!("a seed does not repeat its run\n{}", again(choice)))
}

fn choices(options: &Options, seed: u64) -> Vec<Choice> {
    let levels = [Level::ReadCommitted, Level::Snapshot, Level::Serializable];
    let levels = levels.into_iter().filter(|level| options.level.is_none_or(|only| only == *level));
    let modes: &[bool] = if options.locking { &[false] } else { &[true, false] };
    let transactions = options.transactions;
    let mut choices = Vec::new();
    for schedule in [Schedule::Threads, Schedule::Turns] {
        if options.schedule.is_some_and(|only| only != schedule) {
            continue;
        }
        for level in levels.clone() {
            let whole_scans = false;
            let choice = |optimistic| Choice { seed, level, optimistic, transactions, schedule, whole_scans };
            choices.extend(modes.iter().map(|optimistic| choice(*optimistic)));
        }
    }
    choices
}

/// Checks a history and counts what it shows.
fn judge(choice: Choice, run: &Run, coverage: &mut Coverage) -> Result<(), String> {
    let transactions = run.history.transactions()?;
    let found = anomalies(&transactions, run.promise);
    coverage.merge(&run.coverage);
    coverage.hit("histories");
    coverage.add("transactions", transactions.len() as u64);
    let unknown = transactions.iter().filter(|one| one.outcome == Outcome::Unknown).count();
    coverage.add("transactions of unknown end", unknown as u64);
    let mut permitted: Vec<Anomaly> = found.iter().map(|one| one.anomaly).collect();
    permitted.sort_unstable();
    permitted.dedup();
    let level = format!("{:?}", choice.level).to_lowercase();
    for anomaly in permitted.iter().filter(|anomaly| !run.promise.forbids(**anomaly)) {
        coverage.hit(&format!("permitted/{level}/{anomaly:?}").to_lowercase());
    }
    let forbidden = found.iter().filter(|one| run.promise.forbids(one.anomaly)).map(ToString::to_string);
    let problems: Vec<String> = run.problems.iter().cloned().chain(forbidden).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let path = std::env::temp_dir().join(format!("isolation-{}-{level}.edn", choice.seed));
    save(&path, &run.history)?;
    let shown: Vec<&String> = problems.iter().take(8).collect();
    Err(format!(
        "{} problems at {level}, the first of them {shown:#?}\nthe history is in {}\n{}",
        problems.len(),
        path.display(),
        again(choice),
    ))
}

/// The command that makes a history once more.
fn again(choice: Choice) -> String {
    let Choice { seed, transactions, .. } = choice;
    let level = option_of(choice.level);
    let locking = if choice.optimistic { "" } else { " --locking" };
    let (schedule, what) = match choice.schedule {
        Schedule::Threads => ("threads", "make one like it with"),
        Schedule::Turns => ("turns", "make it again with"),
    };
    format!(
        "{what} `lightning_sim isolation --seed {seed} --level {level}{locking} --schedule {schedule} \
         --transactions {transactions}`"
    )
}

/// What each run of the whole campaign must have met, so that what it did not find was looked for.
fn floors() -> Coverage {
    let mut coverage = Coverage::default();
    let floors = [
        ("histories", 240),
        ("schedules repeated", 20),
        ("transactions", 150_000),
        ("transactions of unknown end", 50),
        ("end/committed", 30_000),
        ("end/aborted as it was meant", 1_000),
        ("end/transaction_conflict", 1_000),
        ("end/deadlock", 50),
        ("end/lock_timeout", 50),
        ("end/transaction_timed_out", 50),
        ("end/too_many_transactions", 50),
        ("life/close", 10),
        ("life/kill", 10),
        ("life/powercut", 5),
        ("way/numbered", 1_000),
        ("way/scoped", 1_000),
        ("way/readonly", 1_000),
        ("way/retried", 500),
        ("way/snapshot", 1_000),
        ("way/single", 1_000),
        ("permitted/readcommitted/lostupdate", 10),
        ("permitted/readcommitted/readskew", 5),
        ("permitted/snapshot/writeskew", 10),
    ];
    for (name, floor) in floors {
        coverage.require(name, floor);
    }
    coverage
}

fn option_of(level: Level) -> &'static str {
    match level {
        Level::ReadCommitted => "read-committed",
        Level::Snapshot => "snapshot",
        Level::Serializable => "serializable",
    }
}

#[expect(clippy::disallowed_methods, reason = "a report of this program, no file of a database")]
fn save(path: &Path, history: &History) -> Result<(), String> {
    std::fs::write(path, edn::print(history)).map_err(|error| format!("{}: {error}", path.display()))
}

fn check_file(path: &Path, level: Level) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let transactions = edn::parse(&text)?.transactions()?;
    let promise = Promise { level, appends_exclude_each_other: true };
    let found = anomalies(&transactions, promise);
    for one in &found {
        println!("{}{one}", if promise.forbids(one.anomaly) { "FORBIDDEN " } else { "permitted " });
    }
    let forbidden = found.iter().filter(|one| promise.forbids(one.anomaly)).count();
    println!("{} transactions, {forbidden} forbidden anomalies", transactions.len());
    if forbidden == 0 { Ok(()) } else { Err("the history breaks its promise".to_owned()) }
}
