//! Soak: a real database on real files under mixed load for as long as one likes, with a data set that does not grow. So
//! nothing else may grow either: memory, descriptors, threads, files.
//!
//! ```text
//! oracle.rs    what the database must hold, from a few bytes for each key
//! load.rs      threads that write, transfer and look
//! upkeep.rs    backups, copies, restores, merges, new keys, ways back in time, closing and opening
//! measure.rs   what the process and the files take at one moment
//! kept.rs      what the files keep for ever, and the size of the rest
//! rest.rs      what is left whenever the database is closed
//! floors.rs    how much must have been done
//! verdict.rs   whether all that stays the same: the last quarter of the run against the second one
//! ```

mod floors;
mod kept;
mod load;
mod measure;
mod oracle;
mod rest;
mod upkeep;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use lightning_db::{CheckOptions, Database, KeySource, LightningDbConfig, VerifyLevel, VerifyOptions, check};
use parking_lot::{Mutex, RwLock};

use crate::coverage::Coverage;
use crate::random::Random;
use kept::Kept;
use load::Held;
use measure::{Process, Sample};
use oracle::{OWNERS, Owned};
use rest::Rest;
use upkeep::Moment;

/// How a part of the soak ended.
type Outcome<T = ()> = Result<T, String>;

/// How many samples a run takes.
const SAMPLES: u32 = 240;
/// Threads that work on the database: the owners, and those for transfers, looking, upkeep, closing.
const THREADS: u64 = OWNERS as u64 + 4;
/// Bytes of log that are kept for repositories, at most.
const RETAINED_LOG: u64 = 64 << 20;
/// A run shorter than this is too short for quarters to be compared.
const SHORTEST: u64 = 20;

/// What to soak.
#[derive(Args, Debug)]
pub struct Options {
    /// How long, in seconds.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(SHORTEST..))]
    seconds: u64,
    /// Operations a second of each of the three writing threads; 0 for as many as they can.
    #[arg(long, default_value_t = 1000)]
    pace: u64,
    /// Where to put the database; a new directory is made in it and removed afterwards. By default where the system has
    /// temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Also write every sample to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What the threads draw their numbers from. Real threads do not repeat a run all the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What the threads share.
struct Soak {
    config: LightningDbConfig,
    home: PathBuf,
    pace: u64,
    /// The process before there was a database.
    before: Process,
    started: Instant,
    length: Duration,
    over: AtomicBool,
    /// The database; whoever closes it holds this for writing.
    open: RwLock<Option<Arc<Database>>>,
    /// Held for reading while an owner writes and notes what it wrote, for writing by who needs the two to agree.
    quiet: RwLock<()>,
    owned: [Mutex<Owned>; OWNERS],
    held: Mutex<Vec<Held>>,
    moments: Mutex<Vec<Moment>>,
    /// Steps from one history to the next that led here.
    forks: AtomicU64,
    rests: Mutex<Vec<Rest>>,
    /// What was kept at first.
    first: OnceLock<Kept>,
    operations: AtomicU64,
    coverage: Mutex<Coverage>,
    failure: Mutex<Option<String>>,
}

/// Runs it. Prints a table and what was covered.
///
/// # Errors
/// A wrong answer, an error of the database, something that grows, or something that never happened.
pub fn run(options: &Options) -> Result<(), String> {
    let scratch = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.map_err(|error| format!("no directory for the soak: {error}"))?;
    let soak = Soak::new(options, scratch.path())?;
    *soak.open.write() = Some(soak.create()?);
    println!("soak: {} seconds in {}", options.seconds, scratch.path().display());
    let samples = soak.work(options.seed);
    if let Some(path) = &options.json {
        measure::write_json(path, &samples)?;
    }
    let ended = soak.end();
    let rests = soak.rests.lock().clone();
    print!("{}{}", verdict::table(&samples), rest::table(&rests));
    let worked = Process::now()?.worked;
    println!("{worked:.0} seconds of processor time");
    let mut coverage = soak.coverage.lock().clone();
    floors::require(&mut coverage, soak.length, worked);
    print!("{coverage}");
    if let Some(failure) = soak.failure.lock().take() {
        return Err(failure);
    }
    ended?;
    let mut problems = verdict::growth(&samples);
    problems.extend(verdict::pauses(&samples));
    problems.extend(rest::left_over(&rests));
    problems.extend(coverage.missing().into_iter().map(|(name, happened, floor)| {
        format!("{name} happened {happened} times, and should at least {floor} times")
    }));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

impl Soak {
    fn new(options: &Options, home: &Path) -> Outcome<Self> {
        Ok(Self {
            config: config(),
            home: home.to_path_buf(),
            pace: options.pace,
            before: Process::now()?,
            started: Instant::now(),
            length: Duration::from_secs(options.seconds),
            over: AtomicBool::new(false),
            open: RwLock::default(),
            quiet: RwLock::default(),
            owned: std::array::from_fn(|owner| Mutex::new(Owned::new(owner))),
            held: Mutex::default(),
            moments: Mutex::default(),
            forks: AtomicU64::new(0),
            rests: Mutex::default(),
            first: OnceLock::new(),
            operations: AtomicU64::new(0),
            coverage: Mutex::default(),
            failure: Mutex::default(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn hit(&self, name: &str) {
        self.coverage.lock().hit(name);
    }

    /// A database with everything in it that ever will be.
    fn create(&self) -> Outcome<Arc<Database>> {
        let db = Database::create(self.path("db"), self.config.clone()).map_err(|e| e.to_string())?;
        oracle::fill(&db)?;
        for owned in &self.owned {
            owned.lock().fill(&db)?;
        }
        self.assert_kept()?;
        Ok(db)
    }

    /// Opens it again. It must have kept what it has to.
    fn reopen(&self) -> Outcome<Arc<Database>> {
        let db = Database::open(self.path("db"), self.config.clone()).map_err(|e| format!("open: {e}"))?;
        self.assert_kept()?;
        Ok(db)
    }

    /// Lets all threads work for the length of the run, and takes samples.
    fn work(&self, seed: u64) -> Vec<Sample> {
        let mut random = Random::new(seed);
        let mut samples = Vec::with_capacity(SAMPLES as usize + 1);
        std::thread::scope(|scope| {
            for owner in 0..OWNERS {
                self.spawn(scope, random.fork(), move |soak, random| soak.own(owner, random));
            }
            self.spawn(scope, random.fork(), Soak::transfer);
            self.spawn(scope, random.fork(), Soak::look);
            self.spawn(scope, random.fork(), Soak::keep_up);
            self.spawn(scope, random.fork(), Soak::open_again);
            while self.goes_on() && self.started.elapsed() < self.length {
                match self.sample() {
                    Ok(sample) => samples.push(sample),
                    Err(error) => self.fail(error),
                }
                std::thread::sleep(self.length / SAMPLES);
            }
            self.over.store(true, Ordering::Relaxed);
        });
        samples
    }

    /// A thread that works until the end, or until somebody fails.
    fn spawn<'a>(
        &'a self,
        scope: &'a std::thread::Scope<'a, '_>,
        mut random: Random,
        work: impl FnOnce(&Soak, &mut Random) -> Outcome + Send + 'a,
    ) {
        scope.spawn(move || {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self, &mut random)));
            match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.fail(error),
                Err(_) => self.fail("a thread panicked".to_owned()),
            }
        });
    }

    /// The first failure is what the run ends with.
    fn fail(&self, error: String) {
        self.failure.lock().get_or_insert(error);
        self.over.store(true, Ordering::Relaxed);
    }

    /// Closes the database, twice. Then the process must be what it was before, and the files must be sound.
    fn end(&self) -> Outcome {
        self.held.lock().clear();
        let db = self.open.write().take().ok_or("the database is not open")?;
        oracle::assert_sound(&db.snapshot())?;
        self.count_work(&db);
        db.close().map_err(|error| format!("close: {error}"))?;
        drop(db);
        self.rest(0)?;
        let db = self.reopen()?;
        load::compare_all(&db.snapshot(), &self.clone_owned(), "at the end")?;
        db.close().map_err(|error| format!("close: {error}"))?;
        drop(db);
        self.rest(0)?;
        let key = self.config.encryption_key.clone();
        let options = CheckOptions { encryption_key: key.clone(), ..CheckOptions::default() };
        let report = check(self.path("db"), &options).map_err(|error| format!("check: {error}"))?;
        if !report.is_sound() {
            return Err(format!("the files are not sound: {:?}", report.findings));
        }
        let options = VerifyOptions {
            level: Some(VerifyLevel::Restore),
            encryption_key: key,
            scratch: Some(self.home.clone()),
            ..VerifyOptions::default()
        };
        let report = Database::verify_repository(self.path("repo"), options).map_err(|e| e.to_string())?;
        if !report.is_sound() {
            return Err(format!("the repository is not sound: {:?}", report.problems));
        }
        Ok(())
    }

    /// Counts what the database did by itself since it was opened.
    fn count_work(&self, db: &Database) {
        let metrics = db.get_metrics();
        let mut coverage = self.coverage.lock();
        coverage.add("engine/flush", metrics.flushes);
        coverage.add("engine/merge", metrics.merges);
        coverage.add("engine/commits in transactions", metrics.transactions_committed);
    }
}

/// Small buffers and files, so that much happens.
fn config() -> LightningDbConfig {
    LightningDbConfig {
        encryption_enabled: true,
        encryption_key: KeySource::raw([0x50; 32]),
        write_buffer_size: 1 << 20,
        wal_segment_size: 2 << 20,
        max_retained_log: RETAINED_LOG,
        cache_size: 8 << 20,
        compaction_interval: Duration::from_millis(500),
        ..LightningDbConfig::default()
    }
}
