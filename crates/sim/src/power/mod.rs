//! Real power cuts: a file system in a file is shut down under a process that commits to a database on it, mounted
//! again, and the database must hold what was acknowledged.
//!
//! ```text
//! disk.rs   the file system: made, mounted, shut down
//! load.rs   the process that works on it, and says what was acknowledged
//! after.rs  what database and repository must hold then
//! ```
//!
//! What the shutdown does: pages in memory that were not written are lost, and the journal too, or without it. What was
//! given to the block device is kept, flushed or not: a disk that loses its own cache is not part of this; the simulated
//! disk of the other campaigns does that.

mod after;
mod disk;
mod load;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use lightning_db::Database;
use parking_lot::Mutex;

use crate::coverage::Coverage;
use crate::random::Random;
use after::Acknowledged;
use disk::{Disk, Journal, Kind};
use load::Mode;

/// Rounds on one file system, at most; both kinds have some where there are two rounds.
const ROUNDS_PER_DISK: u64 = 5;
const MODES: [Mode; 5] = [Mode::Sync, Mode::SyncCalls, Mode::Async, Mode::Periodic, Mode::Sync];

/// Where and how often to cut.
#[derive(Args, Debug)]
pub struct Options {
    /// How many times the power is cut.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// What is drawn: when the power is cut, and how.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to put the file that holds the file system, 400 MiB at most; by default where the system has temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Fails where power cannot be cut, in place of saying so.
    #[arg(long)]
    require: bool,
    /// In a mount namespace of its own.
    #[arg(long, hide = true)]
    inside: bool,
    /// To be the process that works on the disk mounted here.
    #[arg(long, hide = true)]
    work_at: Option<PathBuf>,
    #[arg(long, hide = true, value_enum, default_value = "sync")]
    mode: Mode,
}

/// Runs the campaign, or says why it cannot be run here.
///
/// # Errors
/// What was lost.
pub fn run(options: &Options) -> Result<(), String> {
    let directory = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    if let Some(place) = &options.work_at {
        return load::work(place, options.mode, options.seed);
    }
    if options.inside {
        return campaign(options, &directory);
    }
    match disk::obstacle(&directory) {
        None => in_namespace(options, &directory),
        Some(obstacle) if options.require => Err(format!("power cannot be cut here: {obstacle}")),
        Some(obstacle) => {
            println!("power: SKIPPED, nothing was tested: {obstacle}");
            Ok(())
        }
    }
}

/// Whether this machine has what it takes to cut power, so that a cut that cannot be made is a failure.
#[must_use]
pub fn can_cut() -> bool {
    disk::can_be_made()
}

fn in_namespace(options: &Options, directory: &Path) -> Result<(), String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let (rounds, seed) = (options.rounds.to_string(), options.seed.to_string());
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(this)
        .args(["power", "--inside", "--rounds", &rounds, "--seed", &seed, "--directory"])
        .arg(directory)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("power: see above".to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

fn campaign(options: &Options, directory: &Path) -> Result<(), String> {
    let started = Instant::now();
    let mut random = Random::new(options.seed);
    let mut coverage = floors(options.rounds);
    let on_one = rounds_per_disk(options.rounds);
    let mut done = 0;
    while done < options.rounds {
        let kind = if (done / on_one).is_multiple_of(2) { Kind::Xfs } else { Kind::Ext4 };
        let mut disk = Disk::new(kind, directory)?;
        disk.mount()?;
        create(&disk.place())?;
        let mut held = Acknowledged::default();
        for round in (done..options.rounds).take(on_one as usize) {
            let mode = MODES[(round % MODES.len() as u64) as usize];
            let what = cut_once(&mut disk, mode, &mut held, &mut random, &mut coverage);
            what.map_err(|what| {
                format!("round {round} of seed {}, {kind:?}, {mode:?}: {what}", options.seed)
            })?;
            coverage.hit(&format!("file system/{kind:?}").to_lowercase());
            coverage.hit(&format!("mode/{mode:?}").to_lowercase());
            done = round + 1;
        }
        disk.unmount()?;
    }
    println!("power: {done} cuts in {:.0?}", started.elapsed());
    print!("{coverage}");
    let missing = coverage.missing();
    if missing.is_empty() { Ok(()) } else { Err(format!("too little was covered: {missing:?}")) }
}

fn rounds_per_disk(rounds: u64) -> u64 {
    rounds.div_ceil(2).clamp(1, ROUNDS_PER_DISK)
}

fn floors(rounds: u64) -> Coverage {
    let mut coverage = Coverage::default();
    coverage.require("commits acknowledged", rounds * 20);
    let on_one = rounds_per_disk(rounds);
    coverage.require("file system/xfs", rounds.min(on_one));
    coverage.require("file system/ext4", rounds.saturating_sub(on_one).min(on_one));
    if rounds >= 20 {
        let names = ["commits lost that may be", "cut/early", "cut/journal lost", "cut/journal written"];
        for name in names.into_iter().chain(["checkpoints acknowledged", "backups acknowledged"]) {
            coverage.require(name, 1);
        }
    }
    coverage
}

fn create(place: &Path) -> Result<(), String> {
    let created = Database::create(load::database(place), load::config(Mode::Sync));
    created.and_then(|db| db.close()).map_err(|error| format!("creating: {error}"))
}

/// Lets a process work, cuts the power, starts again and looks.
fn cut_once(
    disk: &mut Disk,
    mode: Mode,
    held: &mut Acknowledged,
    random: &mut Random,
    coverage: &mut Coverage,
) -> Result<(), String> {
    let journal = if random.once_in(2) { Journal::Lost } else { Journal::Written };
    // Early: while the database is being opened, and what the last cut left is replayed.
    let is_early = random.once_in(4);
    let wait = Duration::from_millis(if is_early { random.below(40) } else { 100 + random.below(900) });
    let (mut child, said) = start(&disk.place(), mode, random.draw())?;
    let (is_cut, told) = (AtomicBool::new(false), Mutex::new(held.clone()));
    let outcome = std::thread::scope(|scope| {
        let listener = scope.spawn(|| listen(said, &told, &is_cut));
        std::thread::sleep(wait);
        is_cut.store(true, Ordering::Release);
        let outcome = disk.cut(journal);
        std::thread::sleep(Duration::from_millis(20));
        _ = child.kill();
        _ = child.wait();
        outcome.and(listener.join().unwrap_or_else(|_| Err("the listener panicked".to_owned())))
    });
    outcome?;
    disk.unmount()?;
    disk.mount()?;
    coverage.hit(if is_early { "cut/early" } else { "cut/under load" });
    coverage.hit(if journal == Journal::Lost { "cut/journal lost" } else { "cut/journal written" });
    let told = told.into_inner();
    coverage.add("commits acknowledged", told.commits() - held.commits());
    *held = after::look(&disk.place(), mode, &told, coverage)?;
    Ok(())
}

fn start(place: &Path, mode: Mode, seed: u64) -> Result<(Child, ChildStdout), String> {
    let mode = mode.to_possible_value().ok_or("a mode without a name")?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(this)
        .args(["power", "--mode", mode.get_name(), "--seed", &seed.to_string(), "--work-at"])
        .arg(place)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let said = child.stdout.take().ok_or("no standard output")?;
    Ok((child, said))
}

/// Takes down what the process says. A failure before the cut is one.
fn listen(said: ChildStdout, told: &Mutex<Acknowledged>, is_cut: &AtomicBool) -> Result<(), String> {
    for line in BufReader::new(said).lines() {
        let line = line.map_err(|error| error.to_string())?;
        match line.strip_prefix("e ") {
            None => told.lock().add(&line).ok_or_else(|| format!("what is {line:?}?"))?,
            Some(_) if is_cut.load(Ordering::Acquire) => {}
            Some(error) => return Err(format!("the process failed before the cut: {error}")),
        }
    }
    Ok(())
}
