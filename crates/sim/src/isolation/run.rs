//! One history: a database in memory, processes that work on it at the same time, and crashes in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use lightning_db::{Database, Error, KeySource, LightningDbConfig, WalSyncMode};
use lightning_db_storage::clock::SystemClock;
use lightning_db_sync::{simulation, thread};
use parking_lot::Mutex;

use super::check::{Level, Promise};
use super::client::{End, Manners, Stop, lock, perform, scan_all};
use super::history::{History, Kind, Recorder, Step};
use super::plan::{Places, Plan};
use crate::coverage::Coverage;
use crate::machine::Machine;
use crate::random::Random;

/// Where the database is.
const PATH: &str = "/db";

/// How the processes of a history meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// As the operating system lets threads run. A seed does not repeat it.
    Threads,
    /// In turns and in virtual time. A seed repeats it.
    Turns,
}

/// Which history to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What else is drawn.
    pub seed: u64,
    /// How transactions are begun.
    pub level: Level,
    /// Whether conflicts are found at the commit only, not by locks.
    pub optimistic: bool,
    /// How many transactions.
    pub transactions: u64,
    /// How processes meet.
    pub schedule: Schedule,
    /// Whether every scan goes through all of its range, as Elle expects to be told beforehand.
    pub whole_scans: bool,
}

/// A history, and what it was made with.
#[derive(Debug)]
pub struct Run {
    /// What the processes did and saw.
    pub history: History,
    /// What the history is held against.
    pub promise: Promise,
    /// How often each thing happened.
    pub coverage: Coverage,
    /// What needs no history to be wrong.
    pub problems: Vec<String>,
    /// Of [`Schedule::Turns`], a hash of everything that happened.
    pub trace: u64,
}

/// Makes a history.
///
/// # Errors
/// A panic, a deadlock of the database's own threads, or no end.
pub fn run(choice: Choice) -> Result<Run, String> {
    if choice.schedule == Schedule::Threads {
        return Ok(make(choice));
    }
    let mut options = simulation::Options::new(own_seed(choice));
    // Locks and transactions time out after milliseconds. Longer steps would leave nothing else.
    options.tick = options.tick.min(Duration::from_micros(5));
    let report = simulation::run(options, move || make(choice)).map_err(|failure| failure.to_string())?;
    Ok(Run { trace: report.trace, ..report.value })
}

/// Each level and mode has lives and schedules of its own: twelve histories of one seed shall not be all alike.
fn own_seed(choice: Choice) -> u64 {
    choice.seed.wrapping_mul(6).wrapping_add(choice.level as u64 * 2 + u64::from(choice.optimistic))
}

fn make(choice: Choice) -> Run {
    let mut random = Random::new(own_seed(choice));
    let guards = choice.level == Level::ReadCommitted && !choice.optimistic;
    let world = World {
        schedule: choice.schedule,
        manners: Manners { level: choice.level, guards },
        machine: Machine::new(random.draw()),
        places: Places::new(choice.whole_scans),
        recorder: Recorder::default(),
        processes: AtomicU64::new(0),
        coverage: Mutex::default(),
        problems: Mutex::default(),
    };
    let config = configuration(choice, &mut random);
    let lives = 1 + random.below(3);
    for life in 1..=lives {
        world.live(&config, choice.transactions * life / lives, &mut random);
    }
    world.read_all(&config);
    Run {
        history: world.recorder.into_history(),
        promise: Promise {
            level: choice.level,
            appends_exclude_each_other: guards || choice.level > Level::ReadCommitted,
        },
        coverage: world.coverage.into_inner(),
        problems: world.problems.into_inner(),
        trace: 0,
    }
}

fn fill(db: &Database, number: &mut u64, random: &mut Random) -> Result<(), Error> {
    *number += 1;
    db.put(format!("other/{number:08}").as_bytes(), &random.noise(2000))
}

fn configuration(choice: Choice, random: &mut Random) -> LightningDbConfig {
    let is_encrypted = random.once_in(4);
    let key = if is_encrypted { KeySource::raw([7; 32]) } else { KeySource::none() };
    let sync = [WalSyncMode::Sync, WalSyncMode::Async, WalSyncMode::Periodic(Duration::from_millis(3))];
    LightningDbConfig {
        use_optimized_transactions: choice.optimistic,
        lock_timeout: Duration::from_millis(1 + random.below(4)),
        transaction_timeout: Duration::from_millis(*random.pick(&[3, 20, 1000])),
        max_active_transactions: *random.pick(&[3, 6, 1000, 1000]),
        wal_sync_mode: *random.pick(&sync),
        improved_wal: !random.once_in(3),
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        max_retained_log: 1 << 20,
        page_size: 1024,
        cache_size: *random.pick(&[64 << 10, 1 << 20]),
        encryption_enabled: is_encrypted,
        encryption_key: key,
        background_compaction: !random.once_in(3),
        compaction_interval: Duration::from_millis(5),
        ..LightningDbConfig::default()
    }
}

/// How a life of the database ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Close,
    Kill,
    PowerCut,
}

struct World {
    schedule: Schedule,
    manners: Manners,
    machine: Machine,
    places: Places,
    recorder: Recorder,
    processes: AtomicU64,
    coverage: Mutex<Coverage>,
    problems: Mutex<Vec<String>>,
}

impl World {
    /// Opens the database, works on it until `until` transactions were begun in all, and ends.
    fn live(&self, config: &LightningDbConfig, until: u64, random: &mut Random) {
        let Some(db) = self.open(config) else { return };
        // Only what was synced is promised to outlive a power cut.
        let deaths = if config.wal_sync_mode == WalSyncMode::Sync {
            [Death::Close, Death::Kill, Death::PowerCut]
        } else {
            [Death::Close, Death::Kill, Death::Kill]
        };
        let death = *random.pick(&deaths);
        let processes = 4 + random.below(6);
        thread::scope(|scope| {
            for _ in 0..processes {
                let (db, mut random) = (&db, random.fork());
                scope.spawn(move || self.work(db, until, &mut random));
            }
            let mut random = random.fork();
            let (db, dies_early) = (&db, death != Death::Close);
            scope.spawn(move || self.keep_house(db, until, dies_early, &mut random));
        });
        self.hit(&format!("life/{death:?}").to_lowercase());
        match death {
            Death::Close => {
                self.left_clean(&db);
                if let Err(error) = db.close() {
                    self.problem(format!("closing failed: {error}"));
                }
            }
            Death::Kill => self.machine.kill(),
            Death::PowerCut => {
                let keep = random.keep();
                self.machine.power_cut(random, keep);
            }
        }
    }

    /// When all processes are done no transaction is open, no key is locked and no snapshot is held.
    fn left_clean(&self, db: &Database) {
        for key in 0..self.places.end() {
            let tries = (0..100).map(|_| db.transaction().and_then(|tx| lock(&tx, key)));
            // The time for a transaction may be shorter than a busy machine takes.
            let outcome = tries.into_iter().find(|tried| !matches!(tried, Err(Error::TransactionTimedOut)));
            match outcome {
                Some(Ok(())) => {}
                other => self.problem(format!("list {key} cannot be locked at the end: {other:?}")),
            }
        }
        // Merges hold versions too, until they are done.
        for _ in 0..500 {
            match db.stats() {
                Ok(stats) if (stats.active_transactions, stats.open_snapshots) == (0, 0) => return,
                Ok(_) => thread::sleep(Duration::from_millis(10)),
                Err(error) => return self.problem(format!("no statistics at the end: {error}")),
            }
        }
        self.problem("a transaction or an old version is still held at the end".to_owned());
    }

    fn open(&self, config: &LightningDbConfig) -> Option<Arc<Database>> {
        let mut environment = self.machine.environment();
        if self.schedule == Schedule::Threads {
            environment.clock = Arc::new(SystemClock::default());
        }
        let is_new = self.machine.disk.files().is_empty();
        let opened = if is_new {
            Database::create_in(environment, PATH, config.clone())
        } else {
            Database::open_in(environment, PATH, config.clone())
        };
        opened.map_err(|error| self.problem(format!("opening failed: {error}"))).ok()
    }

    fn work(&self, db: &Database, until: u64, random: &mut Random) {
        let mut process = self.new_process();
        while self.places.begun() < until && !self.machine.plan().crashed() {
            let plan = self.places.draw(self.manners.level, random);
            self.recorder.note(process, Kind::Invoke, plan.steps());
            let end = perform(db, &plan, self.manners);
            self.count(&plan, &end);
            let is_unknown = end.kind == Kind::Info;
            if matches!(end.why, Some(Stop::Refused(Error::TooManyTransactions))) {
                thread::sleep(Duration::from_micros(300));
            }
            self.recorder.note(process, end.kind, end.steps);
            if is_unknown {
                process = self.new_process();
            }
        }
    }

    /// Fills and empties write buffers, merges, and at the end, if it shall be sudden, lets a crash come.
    fn keep_house(&self, db: &Database, until: u64, dies_early: bool, random: &mut Random) {
        let mut number = 0_u64;
        while self.places.begun() < until && !self.machine.plan().crashed() {
            thread::sleep(Duration::from_micros(200 + random.below(1500)));
            let outcome = match random.below(24) {
                0..2 => db.checkpoint(),
                2..4 => db.compact(),
                // So much that it is no longer known what was written before.
                4 => (0..100).try_for_each(|_| fill(db, &mut number, random)),
                _ => fill(db, &mut number, random),
            };
            match outcome {
                Err(error) if !self.is_expected(&error) => self.problem(format!("keeping house: {error}")),
                _ => {}
            }
            if dies_early && until.saturating_sub(self.places.begun()) < 40 {
                self.machine.plan().crash_at(random.below(30));
                return;
            }
        }
    }

    /// Reads everything at one moment, after all the others.
    fn read_all(&self, config: &LightningDbConfig) {
        let Some(db) = self.open(config) else { return };
        let (process, end) = (self.new_process(), self.places.end());
        let planned = (0..end).map(|key| Step::Read(key, None)).collect();
        self.recorder.note(process, Kind::Invoke, planned);
        let mut steps = Vec::new();
        match scan_all(&db.snapshot(), end, &mut steps) {
            Ok(()) => self.recorder.note(process, Kind::Ok, steps),
            Err(stop) => self.problem(format!("reading everything at the end: {stop:?}")),
        }
        if let Err(error) = db.close() {
            self.problem(format!("closing failed: {error}"));
        }
    }

    fn count(&self, plan: &Plan, end: &End) {
        self.hit(&format!("way/{:?}", plan.way).to_lowercase());
        match &end.why {
            None => self.hit("end/committed"),
            Some(Stop::Meant) => self.hit("end/aborted as it was meant"),
            Some(Stop::Wrong(what)) => self.problem(what.clone()),
            Some(Stop::Refused(_)) if end.kind == Kind::Info => self.hit("end/unknown"),
            Some(Stop::Refused(error)) => {
                self.hit(&format!("end/{}", error.kind()));
                if !self.is_expected(error) {
                    self.problem(format!("{plan:?}: {error}"));
                }
            }
        }
        if end.kind == Kind::Info && !self.machine.plan().crashed() {
            self.problem(format!("a commit failed without a crash: {:?}", end.why));
        }
    }

    fn is_expected(&self, error: &Error) -> bool {
        error.is_conflict()
            || matches!(error, Error::TransactionTimedOut | Error::TooManyTransactions)
            || self.machine.plan().crashed()
    }

    fn new_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    fn hit(&self, name: &str) {
        self.coverage.lock().hit(name);
    }

    fn problem(&self, what: String) {
        self.problems.lock().push(what);
    }
}
