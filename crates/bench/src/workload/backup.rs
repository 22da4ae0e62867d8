//! Backups by the engines' own means, beside a plain copy of the files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Result;
use crate::data::{Data, Random};
use crate::engine::{Engine, Session};
use crate::measure::{Costs, Every, Limit, Outcome, Reading, Run, files_bytes};
use crate::options::Plan;

use super::{Workload, batch, in_session, load, unknown, version};

pub(super) struct Backups {
    plan: Plan,
    data: Data,
    engine: Box<dyn Engine>,
    runs: u64,
}

/// One key in so many is changed before an increment.
const CHANGED: u64 = 100;

/// How often the writer puts whose latency is measured.
const PACE: Duration = Duration::from_micros(50);

impl Backups {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let data = plan.data();
        let engine = plan.variant.open(&plan.settings("db"))?;
        load(&*engine, data)?;
        engine.settle()?;
        Ok(Self { plan: plan.clone(), data, engine, runs: 0 })
    }

    fn repository(&self) -> PathBuf {
        self.plan.directory.join("repository")
    }

    fn back_up(&self) -> Result<f64> {
        let began = Instant::now();
        self.engine.backups()?.back_up(&self.repository())?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    fn full(&self) -> Result<Reading> {
        remove(&self.repository())?;
        let milliseconds = self.back_up()?;
        let copied = self.plan.directory.join("copy");
        remove(&copied)?;
        let began = Instant::now();
        copy_and_sync(&self.plan.settings("db").directory, &copied)?;
        let copy_ms = began.elapsed().as_secs_f64() * 1e3;
        remove(&copied)?;
        Ok(Reading::of(milliseconds)
            .with("cp_and_sync_ms", copy_ms)
            .with("speed_of_cp", copy_ms / milliseconds)
            .with("repository_mib", files_bytes(&self.repository()) as f64 / f64::from(1 << 20))
            .with(
                "database_mib",
                files_bytes(&self.plan.settings("db").directory) as f64 / f64::from(1 << 20),
            ))
    }

    fn increment(&self) -> Result<Reading> {
        if !self.repository().exists() {
            self.back_up()?;
        }
        let (changed, data) = (self.data.keys / CHANGED, self.data);
        self.engine.session(&mut |session| {
            let (mut items, mut random) = (Vec::new(), Random::new(self.runs));
            batch(&mut items, data, 0..changed, 0);
            for (key, value) in &mut items {
                let position = data.loaded(random.below(data.keys));
                *key = data.key(position).to_vec();
                data.fill(position, version(self.runs, 1), value);
            }
            session.put_batch(&items)
        })?;
        let before = files_bytes(&self.repository());
        let milliseconds = self.back_up()?;
        let shipped = files_bytes(&self.repository()).saturating_sub(before);
        Ok(Reading::of(milliseconds)
            .with("shipped_mib", shipped as f64 / f64::from(1 << 20))
            .with("shipped_per_changed_byte", shipped as f64 / (changed * data.entry_bytes()) as f64))
    }

    fn restore(&self) -> Result<Reading> {
        if !self.repository().exists() {
            self.back_up()?;
        }
        let settings = self.plan.settings("restored");
        remove(&settings.directory)?;
        let began = Instant::now();
        self.engine.backups()?.restore(&self.repository(), &settings.directory)?;
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        let restored = self.plan.variant.open(&settings)?;
        let mut count = 0;
        restored.session(&mut |session| {
            session.scan(&[0], usize::MAX >> 1, &mut |_, value| {
                let position = self.data.loaded(count);
                count += 1;
                self.data.check(position, Some(value))
            })
        })?;
        restored.close()?;
        remove(&settings.directory)?;
        if count == self.data.keys {
            Ok(Reading::of(milliseconds))
        } else {
            Err("the restored database lacks entries".into())
        }
    }

    /// The latency of paced puts, while nothing else happens and while a backup runs.
    fn writers(&self) -> Result<Reading> {
        remove(&self.repository())?;
        let idle = AtomicBool::new(false);
        let before =
            in_session(&*self.engine, |session| self.paced(session, self.plan.seconds, &idle, 1))?.reading();
        let is_over = AtomicBool::new(false);
        let during = std::thread::scope(|scope| {
            let backing_up = scope.spawn(|| {
                let outcome = self.back_up();
                is_over.store(true, Ordering::Relaxed);
                outcome
            });
            let during = in_session(&*self.engine, |session| self.paced(session, 600.0, &is_over, 2));
            backing_up.join().unwrap_or_else(|_| Err("the backup panicked".into()))?;
            during
        })?;
        let p99 = |reading: &Reading| reading.latencies.get("put").map_or(0.0, |latency| latency.p99 / 1e6);
        let during = during.reading();
        let (base, value) = (p99(&before), p99(&during));
        let reading = Reading { value, ..during };
        Ok(reading.with("p99_before_ms", base).with("p99_ratio", value / base))
    }

    fn paced(&self, session: &mut dyn Session, seconds: f64, is_over: &AtomicBool, salt: u64) -> Result<Run> {
        let (data, mut random, mut value) = (self.data, Random::new(salt), Vec::new());
        let began = Instant::now();
        let mut all = None;
        let mut number = 0;
        while !is_over.load(Ordering::Relaxed) && began.elapsed().as_secs_f64() < seconds {
            number += 1;
            while began.elapsed() < PACE * number {
                std::hint::spin_loop();
            }
            let position = data.loaded(random.below(data.keys));
            data.fill(position, version(self.runs * 4 + salt, u64::from(number)), &mut value);
            let run = Run::measure(Limit { steps: 1, seconds: 600.0 }, Every(1), &["put"], |_| {
                session.put(&data.key(position), &value)?;
                Ok((1, 0))
            })?;
            match &mut all {
                None => all = Some(run),
                Some(all) => all.join(&run)?,
            }
        }
        all.ok_or_else(|| "the backup was over before anything was written".into())
    }
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// What an administrator would do with a database that is closed.
fn copy_and_sync(from: &Path, to: &Path) -> Result<()> {
    for (program, arguments) in [
        ("cp", vec!["-r".as_ref(), from.as_os_str(), to.as_os_str()]),
        ("sync", vec!["-f".as_ref(), to.as_os_str()]),
    ] {
        if !Command::new(program).args(arguments).status()?.success() {
            return Err(format!("{program} failed").into());
        }
    }
    Ok(())
}

impl Workload for Backups {
    fn run(&mut self, row: &str) -> Result<Outcome> {
        match self.engine.backups() {
            Err(reason) => return Ok(Outcome::Absent(reason.to_string())),
            Ok(backups) if row == "backup-increment" && !backups.is_incremental() => {
                return Ok(Outcome::Absent("each of its backups is a full one".into()));
            }
            Ok(_) => {}
        }
        self.runs += 1;
        let costs = Costs::begin();
        let reading = match row {
            "backup-full" => self.full()?,
            "backup-increment" => self.increment()?,
            "restore" => self.restore()?,
            "writers-p99" => self.writers()?,
            _ => return Err(unknown(row)),
        };
        Ok(Outcome::Measured(costs.end(reading, None)))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.engine.settings()
    }
}

impl Drop for Backups {
    fn drop(&mut self) {
        // What stays is removed by the parent.
        let _ = fs::remove_dir_all(&self.plan.directory);
    }
}
