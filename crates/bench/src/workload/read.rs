//! Gets and scans over data that does not change.

use std::fs;

use crate::data::{Data, Distribution, Draws, Key, Random};
use crate::engine::{Engine, Session};
use crate::measure::{Costs, Every, Limit, Outcome, Run, files_bytes, in_threads};
use crate::options::Plan;
use crate::{Error, Result};

use super::{Workload, in_session, load, unknown};

/// An engine with its data loaded and settled.
pub(super) struct Reads {
    plan: Plan,
    data: Data,
    engine: Box<dyn Engine>,
    uniform: Draws,
    zipf: Draws,
    latest: Draws,
    space_bytes: u64,
}

/// Keys of a batch of gets.
const BATCH: usize = 32;

const FAST: Every = Every(16);
const SLOW: Every = Every(1);

impl Reads {
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let (data, settings) = (plan.data(), plan.settings("db"));
        let engine = plan.variant.open(&settings)?;
        load(&*engine, data)?;
        engine.settle()?;
        engine.session(&mut |session| warm(session, data))?;
        Ok(Self {
            plan: plan.clone(),
            data,
            engine,
            uniform: Draws::new(data, Distribution::Uniform, 1),
            zipf: Draws::new(data, Distribution::Zipf, 2),
            latest: Draws::new(data, Distribution::Latest, 3),
            space_bytes: files_bytes(&settings.directory),
        })
    }

    fn draws(&self, distribution: Distribution) -> Draws {
        match distribution {
            Distribution::Uniform => self.uniform.clone(),
            Distribution::Zipf => self.zipf.clone(),
            Distribution::Latest | Distribution::Rank => self.latest.clone(),
        }
    }

    fn measure_row(&self, session: &mut dyn Session, row: &str) -> Result<Run> {
        use Distribution::{Latest, Uniform, Zipf};
        match row {
            "get-uniform" => self.gets(session, self.draws(Uniform)),
            "get-zipf" => self.gets(session, self.draws(Zipf)),
            "get-latest" => self.gets(session, self.draws(Latest)),
            "view-uniform" => self.views(session, self.draws(Uniform)),
            "view-zipf" => self.views(session, self.draws(Zipf)),
            "view-batch" => self.view_batches(session, self.draws(Uniform)),
            "view-batch-zipf" => self.view_batches(session, self.draws(Zipf)),
            "get-batch" => self.get_batches(session, self.draws(Uniform)),
            "absent" => self.absent(session, self.draws(Uniform)),
            "scan-10" => self.scans(session, 10),
            "scan-100" => self.scans(session, 100),
            "scan-all" => self.scans(session, self.data.keys),
            _ => Err::<Run, Error>(unknown(row)),
        }
    }

    /// Repeats a step, first unmeasured, so that caches are as they will be, then measured.
    fn measure(&self, every: Every, mut step: impl FnMut() -> Result<u64>) -> Result<Run> {
        let seconds = self.plan.seconds;
        let mut run =
            |seconds| Run::measure(Limit { steps: u64::MAX, seconds }, every, &["get"], |_| Ok((step()?, 0)));
        run(seconds)?;
        run(seconds)
    }

    fn gets(&self, session: &mut dyn Session, mut draws: Draws) -> Result<Run> {
        self.measure(FAST, || {
            let position = draws.position();
            let value = session.get(&self.data.key(position))?;
            self.data.check(position, value.as_deref())?;
            Ok(1)
        })
    }

    fn views(&self, session: &mut dyn Session, mut draws: Draws) -> Result<Run> {
        self.measure(FAST, || {
            let position = draws.position();
            session.view(&self.data.key(position), &mut |value| self.data.check(position, value))?;
            Ok(1)
        })
    }

    fn absent(&self, session: &mut dyn Session, mut draws: Draws) -> Result<Run> {
        self.measure(FAST, || {
            let position = draws.position();
            session.view(&self.data.absent_key(position), &mut |value| match value {
                None => Ok(()),
                Some(_) => Err("a key that was never written has a value".into()),
            })?;
            Ok(1)
        })
    }

    fn view_batches(&self, session: &mut dyn Session, mut draws: Draws) -> Result<Run> {
        let (mut positions, mut keys) = ([0; BATCH], [Key::default(); BATCH]);
        self.measure(SLOW, || {
            for (position, key) in positions.iter_mut().zip(&mut keys) {
                *position = draws.position();
                *key = self.data.key(*position);
            }
            let lent: [&[u8]; BATCH] = std::array::from_fn(|index| keys[index].as_slice());
            let mut shown = 0;
            session.view_batch(&lent, &mut |index, value| {
                shown += 1;
                self.data.check(positions[index], value)
            })?;
            if shown == BATCH { Ok(shown as u64) } else { Err("not each key was answered once".into()) }
        })
    }

    fn get_batches(&self, session: &mut dyn Session, mut draws: Draws) -> Result<Run> {
        let (mut positions, mut keys) = ([0; BATCH], vec![Vec::new(); BATCH]);
        self.measure(SLOW, || {
            for (position, key) in positions.iter_mut().zip(&mut keys) {
                *position = draws.position();
                key.clear();
                key.extend_from_slice(&self.data.key(*position));
            }
            let values = session.get_batch(&keys)?;
            for (position, value) in positions.iter().zip(&values) {
                self.data.check(*position, value.as_deref())?;
            }
            Ok(values.len() as u64)
        })
    }

    /// Scans from random keys on. Every entry is checked to be the next one.
    fn scans(&self, session: &mut dyn Session, length: u64) -> Result<Run> {
        let (data, mut random) = (self.data, Random::new(length));
        let every = if length > 100 { SLOW } else { Every(4) };
        self.measure(every, || {
            let first = random.below(data.keys - length + 1);
            let mut next = first;
            session.scan(&data.key(data.loaded(first)), length as usize, &mut |key, value| {
                let position = data.loaded(next);
                next += 1;
                if position.is_multiple_of(64) && key != data.key(position) {
                    return Err(format!("the scan shows another key than the one at {position}").into());
                }
                data.check(position, Some(value))
            })?;
            if next - first == length { Ok(length) } else { Err("the scan ended early".into()) }
        })
    }

    fn threads(&self) -> Result<Run> {
        let seconds = self.plan.seconds;
        in_threads(2, |thread| {
            in_session(&*self.engine, |session| {
                let mut draws = self.uniform.for_thread(thread);
                if self.engine.has_cache_per_session() {
                    warm(session, self.data)?;
                }
                let mut run = |seconds| {
                    Run::measure(Limit { steps: u64::MAX, seconds }, FAST, &["get"], |_| {
                        let position = draws.position();
                        let value = session.get(&self.data.key(position))?;
                        self.data.check(position, value.as_deref())?;
                        Ok((1, 0))
                    })
                };
                run(seconds)?;
                run(seconds)
            })
        })
    }
}

/// Reads every key once, so that what the caches hold does not depend on how fast the machine is at the moment.
fn warm(session: &mut dyn Session, data: Data) -> Result<()> {
    (0..data.keys)
        .map(|nth| data.nth_loaded(nth))
        .try_for_each(|position| session.view(&data.key(position), &mut |value| data.check(position, value)))
}

impl Workload for Reads {
    fn run(&mut self, row: &str) -> Result<Outcome> {
        let costs = Costs::begin();
        let is_cold = self.engine.has_cache_per_session();
        let run = if row == "get-2-threads" {
            self.threads()?
        } else {
            in_session(&*self.engine, |session| {
                if is_cold {
                    warm(session, self.data)?;
                }
                self.measure_row(session, row)
            })?
        };
        let space = self.space_bytes as f64 / self.data.bytes() as f64;
        Ok(Outcome::Measured(costs.end(run.reading(), None).with("space_per_byte", space)))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.engine.settings()
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        // What stays is removed by the parent.
        let _ = fs::remove_dir_all(&self.plan.directory);
    }
}
