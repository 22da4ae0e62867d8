//! Puts that stable storage has when they are acknowledged.

use std::fs;
use std::time::Duration;

use crate::Result;
use crate::data::{Data, Random};
use crate::engine::Engine;
use crate::measure::{Costs, Every, Limit, Outcome, Run, in_threads, syncs_per_second};
use crate::options::Plan;

use super::{Workload, in_session, load, unknown, version};

pub(super) struct Syncs {
    plan: Plan,
    data: Data,
    engine: Box<dyn Engine>,
    runs: u64,
}

/// How much longer than reads synced puts are measured: there are few of them.
const LONGER: f64 = 3.0;

/// The data set is smaller: nothing here depends on it, and loading it is not what is measured.
const SMALLER: u64 = 10;

const BATCH: u64 = 100;

impl Syncs {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let data = Data::new(plan.keys / SMALLER, plan.value_bytes);
        let engine = plan.variant.open(&plan.settings("db"))?;
        load(&*engine, data)?;
        Ok(Self { plan: plan.clone(), data, engine, runs: 0 })
    }

    fn clients(&self, clients: u64) -> Result<Run> {
        let limit = Limit { steps: u64::MAX, seconds: LONGER * self.plan.seconds };
        in_threads(clients, |client| {
            in_session(&*self.engine, |session| {
                let seed = self.runs * 64 + client;
                let (mut random, mut value) = (Random::new(seed), Vec::new());
                Run::measure(limit, Every(1), &["put"], |step| {
                    let position = self.data.loaded(random.below(self.data.keys));
                    self.data.fill(position, version(seed, step), &mut value);
                    session.put(&self.data.key(position), &value)?;
                    Ok((1, 0))
                })
            })
        })
    }

    fn batches(&self) -> Result<Run> {
        let limit = Limit { steps: u64::MAX, seconds: LONGER * self.plan.seconds };
        let (mut random, mut items) = (Random::new(self.runs), vec![Default::default(); BATCH as usize]);
        in_session(&*self.engine, |session| {
            Run::measure(limit, Every(1), &["batch"], |step| {
                for (key, value) in &mut items {
                    let position = self.data.loaded(random.below(self.data.keys));
                    *key = self.data.key(position).to_vec();
                    self.data.fill(position, version(self.runs, step), value);
                }
                session.put_batch(&items)?;
                Ok((BATCH, 0))
            })
        })
    }
}

impl Workload for Syncs {
    fn run(&mut self, row: &str) -> Result<Outcome> {
        let seconds = Duration::from_secs_f64(self.plan.seconds);
        let device = syncs_per_second(&self.plan.directory.join("device"), seconds)?;
        self.runs += 1;
        let costs = Costs::begin();
        let run = match row {
            "sync-1-client" => self.clients(1)?,
            "sync-16-clients" => self.clients(16)?,
            "sync-batch-100" => self.batches()?,
            _ => return Err(unknown(row)),
        };
        let reading = costs.end(run.reading(), Some(run.operations * self.data.entry_bytes()));
        Ok(Outcome::Measured(reading.with("device_syncs_per_second", device)))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.engine.settings()
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        // What stays is removed by the parent.
        let _ = fs::remove_dir_all(&self.plan.directory);
    }
}
