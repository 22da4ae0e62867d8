//! The general campaign: a seed draws a database, what is done with it and what goes wrong, and a model says what may be
//! seen at every step.
//!
//! ```text
//! config.rs        which database
//! model.rs         every version of every key
//! oracle.rs        what may be seen, and what must have survived
//! past.rs          which histories lead to which
//! run.rs           what everybody knows; judging outcomes
//! life.rs          processes that begin, work and die, and what is found after them
//! faults.rs        calls that fail
//! client.rs        what there is to do, and how often
//! writes.rs reads.rs roams.rs transactions.rs moments.rs repositories.rs times.rs keys.rs observe.rs    doing it
//! audit.rs         no nonce twice, no secret in any file
//! campaign.rs      many seeds in processes of their own; totals
//! worker.rs        one such process
//! floors.rs        what has to happen how often
//! ```

mod audit;
mod campaign;
mod client;
mod config;
mod faults;
mod floors;
mod keys;
mod life;
mod model;
mod moments;
mod observe;
mod oracle;
mod past;
mod reads;
mod repositories;
mod roams;
mod run;
mod times;
mod transactions;
mod worker;
mod writes;

use lightning_db_sync::simulation;

pub(crate) use self::run::contains;
use self::run::{CANARY, Run, Step, Stop};
use crate::coverage::Coverage;
use crate::messages;
use crate::random::Random;
pub use campaign::{Options, Replay, replay, run};
pub use worker::work;

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What happened how often.
    pub coverage: Coverage,
    /// The same for each run of a seed.
    pub trace: u64,
    /// What is wrong, if anything.
    pub problem: Option<String>,
    /// Whether threads of it still wait, for ever: the process should end.
    pub is_stuck: bool,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, verbose: bool) -> Outcome {
    let options =
        simulation::Options { tail: if verbose { 60 } else { 0 }, ..simulation::Options::new(seed) };
    match simulation::run(options, move || whole_life(seed, verbose)) {
        Ok(report) => Outcome { coverage: report.value.coverage, trace: report.trace, ..report.value },
        Err(failure) => Outcome {
            coverage: Coverage::default(),
            trace: failure.steps,
            problem: Some(failure.to_string()),
            is_stuck: true,
        },
    }
}

fn whole_life(seed: u64, verbose: bool) -> Outcome {
    // Bytes that are no text show as a mark of their own: what comes behind the first of a key is looked for.
    messages::read_for(&[&config::KEY[1..12], &config::OTHER_KEY[1..12], &config::THIRD_KEY[1..12], CANARY]);
    let _ = messages::first_that_told();
    let mut random = Random::new(seed);
    let run = Run::new(seed, &mut random, verbose);
    let problem = match history(&run, &mut random) {
        Ok(()) => messages::first_that_told().map(|text| format!("a message tells a secret: {text}")),
        Err(Stop::Crashed) => Some("something died that was not planned to".to_owned()),
        Err(Stop::Bug(problem)) => Some(problem),
    };
    let coverage = run.world().coverage.clone();
    Outcome { coverage, trace: 0, problem, is_stuck: false }
}

fn history(run: &Run, random: &mut Random) -> Step {
    run.note(&format!("{:?}", run.config));
    life::create(run, random)?;
    let mut found = None;
    for _ in 0..10 + random.below(8) {
        life::live(run, random, &mut found)?;
    }
    life::finish(run, random, &mut found)
}
