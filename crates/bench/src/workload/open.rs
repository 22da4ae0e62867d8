//! How long it takes until a database serves.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Result;
use crate::data::Data;
use crate::engine::Settings;
use crate::measure::{Costs, Outcome, Reading};
use crate::options::{Crash, Plan};

use super::{LOAD_BATCH, Workload, batch, load, unknown};

pub(super) struct Opens {
    plan: Plan,
    data: Data,
    settings: Vec<(&'static str, String)>,
}

/// Records that a killed process leaves in the log, at most: few enough that none of the engines flushes before.
const RECORDS_MAX: u64 = 200_000;

/// Entries of each commit of the process that is killed.
const CRASH_BATCH: u64 = 100;

impl Opens {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let data = plan.data();
        let engine = plan.variant.open(&plan.settings("db"))?;
        load(&*engine, data)?;
        engine.settle()?;
        let settings = engine.settings();
        engine.close()?;
        Ok(Self { plan: plan.clone(), data, settings })
    }

    /// Opens, reads a first key, and closes.
    fn open(&self, settings: &Settings, position: u64) -> Result<f64> {
        let began = Instant::now();
        let engine = self.plan.variant.open(settings)?;
        let mut milliseconds = 0.0;
        engine.session(&mut |session| {
            let value = session.get(&self.data.key(position))?;
            milliseconds = began.elapsed().as_secs_f64() * 1e3;
            self.data.check(position, value.as_deref())
        })?;
        engine.close()?;
        Ok(milliseconds)
    }

    fn killed(&self, settings: &Settings) -> Result<Reading> {
        let records = (self.data.keys / 4).min(RECORDS_MAX) / LOAD_BATCH * LOAD_BATCH;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("crash").arg("--plan").arg(serde_json::to_string(&self.plan)?);
        let status = command.arg("--records").arg(records.to_string()).stderr(Stdio::null()).status()?;
        if status.code().is_some() {
            return Err("the process that was to be killed ended by itself".into());
        }
        let milliseconds = self.open(settings, self.data.nth_loaded(records - 1))?;
        let reading = Reading::of(milliseconds).with("records", records as f64);
        Ok(reading.with("records_per_second", records as f64 / milliseconds * 1e3))
    }
}

/// Writes records and ends without closing anything.
///
/// # Errors
/// The engine's, before it came to that.
pub fn write_and_die(crash: &Crash) -> Result<()> {
    let plan: Plan = serde_json::from_str(&crash.plan)?;
    let engine = plan.variant.open(&plan.settings(KILLED))?;
    engine.session(&mut |session| {
        let mut items = Vec::new();
        for first in (0..crash.records).step_by(CRASH_BATCH as usize) {
            batch(&mut items, plan.data(), first..first + CRASH_BATCH, 0);
            session.put_batch(&items)?;
        }
        std::process::abort()
    })
}

const KILLED: &str = "killed";

impl Workload for Opens {
    fn run(&mut self, row: &str) -> Result<Outcome> {
        let costs = Costs::begin();
        let reading = match row {
            "open-clean" => Reading::of(self.open(&self.plan.settings("db"), 0)?),
            "open-killed" => {
                let settings = self.plan.settings(KILLED);
                let reading = self.killed(&settings)?;
                fs::remove_dir_all(&settings.directory)?;
                reading
            }
            _ => return Err(unknown(row)),
        };
        Ok(Outcome::Measured(costs.end(reading, None)))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.settings.clone()
    }
}

impl Drop for Opens {
    fn drop(&mut self) {
        // What stays is removed by the parent.
        let _ = fs::remove_dir_all(&self.plan.directory);
    }
}
