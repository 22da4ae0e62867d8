//! Puts that the kernel has when they are acknowledged, into databases that are made for each run.

use std::fs;
use std::time::Instant;

use crate::Result;
use crate::data::{Data, Random};
use crate::engine::Engine;
use crate::measure::{Costs, Every, Limit, Outcome, Reading, Run, files_bytes, in_threads};
use crate::options::Plan;

use super::{LOAD_BATCH, Workload, batch, in_session, load, unknown, version};

pub(super) struct Writes {
    plan: Plan,
    data: Data,
    settings: Vec<(&'static str, String)>,
}

/// One put in so many is timed.
const EVERY: Every = Every(4);

/// How many times longer than reads a burst may take, and the steady state.
const BURST: f64 = 10.0;
const STEADY: f64 = 20.0;

/// How many times the data set is written over: half of it unmeasured, before the state is steady.
const STEADY_TIMES: u64 = 4;

impl Writes {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let engine = plan.variant.open(&plan.settings("settings"))?;
        let settings = engine.settings();
        engine.close()?;
        Ok(Self { plan: plan.clone(), data: plan.data(), settings })
    }

    fn burst(&self, engine: &dyn Engine, threads: u64, in_order: bool) -> Result<Run> {
        let (data, seconds) = (self.data, BURST * self.plan.seconds);
        in_threads(threads, |thread| {
            in_session(engine, |session| {
                let mut value = Vec::new();
                let limit = Limit { steps: data.keys / threads, seconds };
                Run::measure(limit, EVERY, &["put"], |step| {
                    let nth = step * threads + thread;
                    let position = if in_order { data.loaded(nth) } else { data.nth_loaded(nth) };
                    data.fill(position, 0, &mut value);
                    session.put(&data.key(position), &value)?;
                    Ok((1, 0))
                })
            })
        })
    }

    fn batches(&self, engine: &dyn Engine) -> Result<Run> {
        let data = self.data;
        let limit = Limit { steps: data.keys / LOAD_BATCH, seconds: BURST * self.plan.seconds };
        in_session(engine, |session| {
            let mut items = Vec::new();
            Run::measure(limit, Every(1), &["batch"], |step| {
                batch(&mut items, data, step * LOAD_BATCH..(step + 1) * LOAD_BATCH, 0);
                session.put_batch(&items)?;
                Ok((LOAD_BATCH, 0))
            })
        })
    }

    /// Writes over a loaded data set, and measures the second half of it.
    fn steady(&self, engine: &dyn Engine) -> Result<Reading> {
        load(engine, self.data)?;
        let (data, mut random) = (self.data, Random::new(9));
        let merges_before = engine.merges();
        let limit = Limit { steps: STEADY_TIMES / 2 * data.keys, seconds: STEADY / 2.0 * self.plan.seconds };
        let costs = Costs::begin();
        let mut unmeasured = 0;
        let run = in_session(engine, |session| {
            let mut value = Vec::new();
            let mut half = |thread| {
                Run::measure(limit, EVERY, &["put"], |step| {
                    let position = data.loaded(random.below(data.keys));
                    data.fill(position, version(thread, step), &mut value);
                    session.put(&data.key(position), &value)?;
                    Ok((1, 0))
                })
            };
            unmeasured = half(1)?.operations;
            half(2)
        })?;
        let written_over = (unmeasured + run.operations) as f64 / data.keys as f64;
        let reading = costs.end(run.reading(), Some((unmeasured + run.operations) * data.entry_bytes()));
        let space = files_bytes(&self.plan.settings("db").directory) as f64 / data.bytes() as f64;
        let mut reading = reading.with("space_per_byte", space).with("times_written_over", written_over);
        if let (Some(before), Some(after)) = (merges_before, engine.merges()) {
            reading = reading.with("merges", (after - before) as f64);
        }
        if run.ran_out_of_time {
            reading =
                reading.remark(format!("the time was over when {written_over:.2} of the data was rewritten"));
        }
        Ok(reading)
    }

    /// What a burst left behind: after closing, and after everything was merged.
    fn afterwards(&self, engine: Box<dyn Engine>, run: &Run, costs: &Costs) -> Result<Reading> {
        let directory = self.plan.settings("db").directory;
        let user_bytes = run.operations * self.data.entry_bytes();
        let began = Instant::now();
        engine.settle()?;
        let settled_ms = began.elapsed().as_secs_f64() * 1e3;
        let reading = costs.end(run.reading(), Some(user_bytes)).with("settle_ms", settled_ms);
        let space = files_bytes(&directory) as f64 / user_bytes as f64;
        self.check(&*engine, run)?;
        engine.close()?;
        let reading = reading.with("space_per_byte", space);
        let told = "the time was over before all of the data was written";
        Ok(if run.ran_out_of_time { reading.remark(told) } else { reading })
    }

    /// Everything that was written must be there, once.
    fn check(&self, engine: &dyn Engine, run: &Run) -> Result<()> {
        engine.session(&mut |session| {
            let (mut count, mut last) = (0, None);
            session.scan(&[0], usize::MAX >> 1, &mut |_, value| {
                let position = Data::position_of(value).ok_or("a value is too short")?;
                if last.is_some_and(|last| last >= position) {
                    return Err("the entries are not in order".into());
                }
                (count, last) = (count + 1, Some(position));
                self.data.check(position, Some(value))
            })?;
            if count == run.operations {
                Ok(())
            } else {
                Err(format!("{count} of {} entries are there", run.operations).into())
            }
        })
    }
}

impl Workload for Writes {
    fn run(&mut self, row: &str) -> Result<Outcome> {
        if let Some(reason) = self.plan.variant.lacks_async() {
            return Ok(Outcome::Absent(reason.into()));
        }
        let settings = self.plan.settings("db");
        let engine = self.plan.variant.open(&settings)?;
        let costs = Costs::begin();
        let reading = match row {
            "put-steady" => {
                let reading = self.steady(&*engine)?;
                engine.close()?;
                reading
            }
            _ => {
                let run = match row {
                    "put-sequential" => self.burst(&*engine, 1, true)?,
                    "put-random" => self.burst(&*engine, 1, false)?,
                    "put-2-threads" => self.burst(&*engine, 2, false)?,
                    "batch-1000" => self.batches(&*engine)?,
                    _ => return Err(unknown(row)),
                };
                self.afterwards(engine, &run, &costs)?
            }
        };
        fs::remove_dir_all(&settings.directory)?;
        Ok(Outcome::Measured(reading))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.settings.clone()
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        // What stays is removed by the parent.
        let _ = fs::remove_dir_all(&self.plan.directory);
    }
}
