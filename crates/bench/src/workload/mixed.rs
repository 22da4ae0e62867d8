//! Reads and writes at the same time: YCSB's six mixes, and 80/20.

use std::fs;
use std::time::Duration;

use crate::data::{Data, Distribution, Draws, Random};
use crate::engine::{Engine, Session};
use crate::measure::{Costs, Every, Limit, Outcome, Run, idle_gap_max_ms, in_threads};
use crate::options::Plan;
use crate::{Error, Result};

use super::{Workload, in_session, load, unknown, version};

pub(super) struct Mixed {
    plan: Plan,
    data: Data,
    engine: Box<dyn Engine>,
    zipf: Draws,
    ranks: Draws,
    /// How many keys each thread has added, in all runs.
    added: u64,
    runs: u64,
}

/// What a thread does, in percent; the rest is gets.
#[derive(Clone, Copy)]
struct Mix {
    threads: u64,
    updates: u64,
    inserts: u64,
    scans: u64,
    /// Gets whose value is written back.
    changes: u64,
    /// Gets follow the newest keys.
    latest: bool,
}

const ONLY_GETS: Mix = Mix { threads: 2, updates: 0, inserts: 0, scans: 0, changes: 0, latest: false };

/// One operation in so many is timed.
const EVERY: Every = Every(4);

const KINDS: &[&str] = &["get", "put", "scan"];
const GET: usize = 0;
const PUT: usize = 1;
const SCAN: usize = 2;

/// Longest scan of YCSB E.
const SCAN_MAX: u64 = 100;

/// How much longer than reads mixes are measured: stalls are rare.
const LONGER: f64 = 3.0;

fn mix_of(row: &str) -> Result<Mix> {
    Ok(match row {
        "ycsb-a" => Mix { updates: 50, ..ONLY_GETS },
        "ycsb-b" => Mix { updates: 5, ..ONLY_GETS },
        "ycsb-c" => ONLY_GETS,
        "ycsb-d" => Mix { inserts: 5, latest: true, ..ONLY_GETS },
        "ycsb-e" => Mix { inserts: 5, scans: 95, ..ONLY_GETS },
        "ycsb-f" => Mix { changes: 50, ..ONLY_GETS },
        "mixed-1-thread" => Mix { threads: 1, updates: 20, ..ONLY_GETS },
        "mixed-2-threads" => Mix { updates: 20, ..ONLY_GETS },
        _ => return Err(unknown(row)),
    })
}

impl Mixed {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let data = plan.data();
        let engine = plan.variant.open(&plan.settings("db"))?;
        load(&*engine, data)?;
        engine.settle()?;
        let zipf = Draws::new(data, Distribution::Zipf, 2);
        let ranks = Draws::new(data, Distribution::Rank, 4);
        Ok(Self { plan: plan.clone(), data, engine, zipf, ranks, added: 0, runs: 0 })
    }

    fn measure(&self, mix: Mix, seconds: f64) -> Result<Run> {
        in_threads(mix.threads, |number| {
            in_session(&*self.engine, |session| {
                let mut thread = Thread::new(self, mix, number);
                let mut run = |seconds| {
                    let limit = Limit { steps: u64::MAX, seconds };
                    Run::measure(limit, EVERY, KINDS, |step| Ok((1, thread.step(session, step)?)))
                };
                run(self.plan.seconds)?;
                run(seconds)
            })
        })
    }
}

struct Thread<'a> {
    data: Data,
    mix: Mix,
    number: u64,
    random: Random,
    zipf: Draws,
    ranks: Draws,
    /// How many keys this thread has added.
    added: u64,
    version: u64,
    value: Vec<u8>,
    mixed: &'a Mixed,
}

impl<'a> Thread<'a> {
    fn new(mixed: &'a Mixed, mix: Mix, number: u64) -> Self {
        let seed = mixed.runs * 64 + number;
        Self {
            data: mixed.data,
            mix,
            number,
            random: Random::new(seed),
            zipf: mixed.zipf.for_thread(seed),
            ranks: mixed.ranks.for_thread(seed),
            added: mixed.added,
            version: version(seed, 0),
            value: Vec::new(),
            mixed,
        }
    }

    /// Does one operation, and returns its kind.
    fn step(&mut self, session: &mut dyn Session, _step: u64) -> Result<usize> {
        let draw = self.random.below(100);
        let Mix { updates, inserts, scans, changes, .. } = self.mix;
        if draw < updates {
            let position = self.zipf.position();
            self.put(session, position)
        } else if draw < updates + inserts {
            let position = self.nth_of_mine(self.added);
            self.added += 1;
            self.put(session, position)
        } else if draw < updates + inserts + scans {
            self.scan(session)
        } else if draw < updates + inserts + scans + changes {
            let position = self.get(session)?;
            self.put(session, position)
        } else {
            self.get(session).map(|_| GET)
        }
    }

    /// The position of the key that this thread adds as its `nth`.
    fn nth_of_mine(&self, nth: u64) -> u64 {
        self.data.nth_added(nth * self.mix.threads + self.number)
    }

    fn get(&mut self, session: &mut dyn Session) -> Result<u64> {
        let position = if self.mix.latest {
            match self.ranks.position() {
                rank if rank < self.added - self.mixed.added => self.nth_of_mine(self.added - 1 - rank),
                rank => self.data.nth_loaded(self.data.keys - 1 - rank),
            }
        } else {
            self.zipf.position()
        };
        let value = session.get(&self.data.key(position))?;
        self.data.check(position, value.as_deref())?;
        Ok(position)
    }

    fn put(&mut self, session: &mut dyn Session, position: u64) -> Result<usize> {
        self.version = self.version.wrapping_add(1);
        self.data.fill(position, self.version, &mut self.value);
        session.put(&self.data.key(position), &self.value)?;
        Ok(PUT)
    }

    fn scan(&mut self, session: &mut dyn Session) -> Result<usize> {
        let (first, length) = (self.zipf.position(), 1 + self.random.below(SCAN_MAX));
        let (data, mut next, mut shown) = (self.data, first, 0);
        session.scan(&data.key(first), length as usize, &mut |key, value| {
            let position = Data::position_of(value).ok_or("a value is too short")?;
            if position < next || (position.is_multiple_of(64) && key != data.key(position)) {
                return Err(format!("the scan shows {position} where {next} is the least").into());
            }
            (next, shown) = (position + 1, shown + 1);
            data.check(position, Some(value))
        })?;
        // The last keys have fewer after them.
        let least = length.min(data.keys - first / 2);
        if shown >= least { Ok(SCAN) } else { Err::<usize, Error>("the scan ended early".into()) }
    }
}

impl Workload for Mixed {
    fn run(&mut self, row: &str) -> Result<Outcome> {
        let mix = mix_of(row)?;
        if row != "ycsb-c"
            && let Some(reason) = self.plan.variant.lacks_async()
        {
            return Ok(Outcome::Absent(reason.into()));
        }
        let costs = Costs::begin();
        let seconds = LONGER * self.plan.seconds;
        let run = self.measure(mix, seconds)?;
        self.runs += 1;
        self.added += run.operations;
        let idle = idle_gap_max_ms(Duration::from_secs_f64(seconds));
        Ok(Outcome::Measured(costs.end(run.reading(), None).with("idle_gap_max_ms", idle)))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.engine.settings()
    }
}

impl Drop for Mixed {
    fn drop(&mut self) {
        // What stays is removed by the parent.
        let _ = fs::remove_dir_all(&self.plan.directory);
    }
}
