//! One seed's run: the machine, the database's configuration, and what everybody in it knows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lightning_db::{Error, Incarnation, LightningDbConfig};
use lightning_db_storage::clock::Clock;
use lightning_db_sync::simulation;
use parking_lot::{Mutex, MutexGuard};

use super::config::{KEY, OTHER_KEY, THIRD_KEY};
use super::keys::Second;
use super::model::{Change, Commit, Value};
use super::oracle::Oracle;
use super::repositories::Repositories;
use crate::coverage::Coverage;
use crate::machine::Machine;
use crate::random::Random;
use crate::turns::TurnClock;

/// Begins every value that is long enough. It must be in no file of an encrypted database.
pub(crate) const CANARY: &[u8] = b"CANARY-in-values";

/// Why work ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The machine or the process died, as planned.
    Crashed,
    /// Something is wrong.
    Bug(String),
}

/// The outcome of work that can end early.
pub(crate) type Step<T = ()> = Result<T, Stop>;

impl From<String> for Stop {
    fn from(problem: String) -> Self {
        Self::Bug(problem)
    }
}

/// Fails with a problem.
pub(crate) fn bug<T>(problem: impl Into<String>) -> Step<T> {
    Err(Stop::Bug(problem.into()))
}

/// One seed's run.
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) config: LightningDbConfig,
    /// Not held while the database is called: others may have their turn then.
    world: Mutex<World>,
    pub(crate) audit: Mutex<super::audit::Audit>,
    /// Whether there are lives that write so much that dictionaries are made.
    pub(crate) churns: bool,
    /// Whether everything that happens is printed.
    verbose: bool,
}

/// What is known.
pub(crate) struct World {
    pub(crate) oracle: Oracle,
    pub(crate) coverage: Coverage,
    pub(crate) points: super::moments::Points,
    pub(crate) repositories: Repositories,
    /// Whether what is on the disk is all that will ever be there: the last process ended with the machine's power.
    pub(crate) ended_by_cut: bool,
    /// Whether the next open recovers from a death.
    pub(crate) has_died: bool,
    /// Whether the wall clock ever stepped back: then times say nothing about the order of commits.
    pub(crate) clock_went_back: bool,
    /// A clone of the directory that was left alone since.
    pub(crate) stale: Option<Stale>,
    /// Whether a second key opens the database.
    pub(crate) second: Second,
    path: PathBuf,
    next_id: u64,
}

/// A clone of the directory, what it began with, and of which history.
pub(crate) struct Stale {
    pub(crate) place: PathBuf,
    pub(crate) sequence: u64,
    pub(crate) incarnation: Incarnation,
}

impl Run {
    pub(crate) fn new(seed: u64, random: &mut Random, verbose: bool) -> Self {
        let mut coverage = Coverage::default();
        let config = super::config::draw(random, &mut coverage);
        let churns = config.compression_enabled && config.compression_type < 2 && random.once_in(12);
        let world = World {
            oracle: Oracle::default(),
            coverage,
            points: super::moments::Points::default(),
            repositories: Repositories::default(),
            ended_by_cut: true,
            has_died: true,
            clock_went_back: false,
            stale: None,
            second: Second::default(),
            path: PathBuf::from("/db"),
            next_id: 0,
        };
        let audit = Mutex::default();
        Self { machine: Machine::new(seed), config, world: Mutex::new(world), audit, churns, verbose }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock()
    }

    /// Where the database is.
    pub(crate) fn path(&self) -> PathBuf {
        self.world().path.clone()
    }

    /// The database is elsewhere from now on.
    pub(crate) fn set_path(&self, path: PathBuf) {
        self.world().path = path;
    }

    /// Counts something.
    pub(crate) fn hit(&self, name: &str) {
        self.world().coverage.hit(name);
    }

    /// Notes what happened, for who compares two runs or reads one.
    pub(crate) fn note(&self, text: &str) {
        if self.verbose {
            eprintln!("{text}");
        }
        simulation::note(text.as_bytes());
    }

    /// The wall clock.
    pub(crate) fn micros(&self) -> i64 {
        TurnClock::new(self.machine.clock.clone()).now_micros()
    }

    /// The clock that never steps back.
    pub(crate) fn monotonic(&self) -> Duration {
        TurnClock::new(self.machine.clock.clone()).monotonic()
    }

    /// A commit begins. Returns its id.
    pub(crate) fn begin(&self, change: Change) -> u64 {
        let micros = (self.micros(), i64::MAX);
        let mut world = self.world();
        world.next_id += 1;
        let id = world.next_id;
        world.oracle.begin(Commit { id, change, micros });
        id
    }

    /// How many files of log the database has.
    pub(crate) fn log_files(&self) -> u64 {
        use lightning_db::Vfs as _;
        let files = self.machine.disk.list(&self.path()).unwrap_or_default();
        files.iter().filter(|file| file.name.ends_with(".wal")).count() as u64
    }

    /// A value that no other commit writes: `len` bytes, or the few more that it takes.
    pub(crate) fn value(&self, random: &mut Random, len: usize) -> Value {
        if len == 0 {
            return Value::from([].as_slice());
        }
        let tag = {
            let mut world = self.world();
            world.next_id += 1;
            world.next_id
        };
        let mut bytes = Vec::with_capacity(len + 32);
        if len > CANARY.len() + 8 {
            bytes.extend_from_slice(CANARY);
        }
        bytes.extend_from_slice(&tag.to_le_bytes()[..if len < 16 { 3 } else { 8 }]);
        if random.once_in(2) {
            let noise = random.draw();
            bytes.extend((bytes.len()..len).map(|at| (noise >> (at % 57)) as u8 ^ (at as u8)));
        } else {
            bytes.resize(bytes.len().max(len), tag as u8);
        }
        bytes.into()
    }
}

/// The life of one process.
pub(crate) struct Process<'a> {
    pub(crate) run: &'a Run,
    pub(crate) environment: lightning_db::Environment,
    pub(crate) plan: lightning_db_storage::vfs::FaultPlan,
    /// Whether calls fail that the machine did not die of.
    pub(crate) is_faulty: bool,
    /// The key that the database was opened with, or that has taken its place in its slot since.
    pub(crate) own_key: Mutex<[u8; 32]>,
    /// Whether a crash is planned, which may come earlier.
    pub(crate) may_crash: bool,
    /// Whether neither a crash nor a fault is planned.
    pub(crate) has_no_plan: bool,
    /// Whether only one client is at work.
    pub(crate) is_alone: bool,
    /// Writing has ended after a failure.
    pub(crate) is_poisoned: AtomicBool,
    /// Somebody has noticed that the machine died.
    pub(crate) was_struck: AtomicBool,
    pub(crate) transactions: Opened,
}

/// How many transactions were begun and how many have ended, so how many can be open.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Opened {
    /// One is about to begin. Returns what [`most`](Self::most) needs.
    pub(crate) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.ended.load(Ordering::Relaxed)
    }

    /// One has ended, or did not begin.
    pub(crate) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many others can have been open at some moment since `ended_before` had ended.
    pub(crate) fn most(&self, ended_before: u64) -> u64 {
        self.begun.load(Ordering::Relaxed).saturating_sub(ended_before + 1)
    }
}

impl<'a> Process<'a> {
    /// A process that nothing happens to, unless it is planned.
    pub(crate) fn start(run: &'a Run) -> Self {
        let environment = run.machine.environment();
        let plan = run.machine.plan();
        let (is_poisoned, was_struck) = (AtomicBool::new(false), AtomicBool::new(false));
        let transactions = Opened::default();
        Self {
            run,
            environment,
            plan,
            is_faulty: false,
            own_key: Mutex::new(KEY),
            may_crash: false,
            has_no_plan: false,
            is_alone: true,
            is_poisoned,
            was_struck,
            transactions,
        }
    }

    pub(crate) fn own_key(&self) -> [u8; 32] {
        *self.own_key.lock()
    }

    /// Whether the machine died.
    pub(crate) fn crashed(&self) -> bool {
        self.plan.crashed()
    }

    /// How many calls were struck by the planned fault so far.
    pub(crate) fn strikes(&self) -> u64 {
        self.plan.strikes()
    }

    /// Judges an outcome: an error must be one that `permitted` knows, or follow from a planned fault that has struck.
    pub(crate) fn judge<T>(
        &self,
        what: &str,
        outcome: lightning_db::Result<T>,
        permitted: impl FnOnce(&Error) -> bool,
    ) -> Step<Result<T, Error>> {
        self.judge_since(0, what, outcome, permitted)
    }

    /// As [`judge`](Self::judge), of something that depends on no work but its own: the fault must have struck while it was
    /// done, after so many strikes.
    pub(crate) fn judge_since<T>(
        &self,
        strikes_before: u64,
        what: &str,
        outcome: lightning_db::Result<T>,
        permitted: impl FnOnce(&Error) -> bool,
    ) -> Step<Result<T, Error>> {
        let error = match outcome {
            Ok(value) => return Ok(Ok(value)),
            Err(error) => error,
        };
        let text = format!("{error} {error:?}");
        if [&KEY[..8], &OTHER_KEY[..8], &THIRD_KEY[..8], CANARY]
            .iter()
            .any(|secret| contains(text.as_bytes(), secret))
        {
            return bug(format!("{what}: the error tells a secret: {text}"));
        }
        if self.crashed() {
            return Err(Stop::Crashed);
        }
        self.run.hit(&format!("error/{}", error.kind()));
        let was_struck = self.is_faulty && self.strikes() > strikes_before;
        if permitted(&error) || was_struck && follows_from_faults(&error) {
            self.run.note(&format!("  {what}: {}", error.kind()));
            return Ok(Err(error));
        }
        bug(format!("{what}: {error}"))
    }

    /// Judges an outcome that may be an error only after a planned fault; `None` then.
    pub(crate) fn expect<T>(&self, what: &str, outcome: lightning_db::Result<T>) -> Step<Option<T>> {
        Ok(self.judge(what, outcome, |_| false)?.ok())
    }

    /// As [`expect`](Self::expect), of something that depends on no work but its own.
    pub(crate) fn expect_since<T>(
        &self,
        strikes_before: u64,
        what: &str,
        outcome: lightning_db::Result<T>,
    ) -> Step<Option<T>> {
        Ok(self.judge_since(strikes_before, what, outcome, |_| false)?.ok())
    }
}

fn follows_from_faults(error: &Error) -> bool {
    matches!(
        error,
        Error::Io { .. } | Error::Poisoned { .. } | Error::DiskFull { .. } | Error::Corrupt { .. }
    )
}

/// Whether `needle` is anywhere in `bytes`.
pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    /// Pieces that are searched for the first byte at once, which is rare in most.
    const PIECE: usize = 64;
    let Some((first, rest)) = needle.split_first() else { return true };
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        if !piece.iter().fold(false, |found, byte| found | (byte == first)) {
            continue;
        }
        let begins_here = |at: usize| bytes[at] == *first && bytes[at + 1..].starts_with(rest);
        if (number * PIECE..number * PIECE + piece.len()).any(begins_here) {
            return true;
        }
    }
    false
}
