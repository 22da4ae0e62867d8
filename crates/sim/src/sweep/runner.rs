//! Many small jobs on a few threads, with what they counted and what they found.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lightning_db_sync::simulation::{self, Policy};
use parking_lot::Mutex;

use crate::coverage::Coverage;

/// What was counted, and what went wrong.
pub(super) type Tally = Result<Coverage, String>;

/// Longer than any job takes on a busy machine.
const STUCK: Duration = Duration::from_secs(120);

/// This many are shown; more of the same would not help.
const SHOWN: usize = 20;

/// Runs `work` with its threads in turns, always the same ones, so that the n-th call is always the same call.
pub(super) fn simulated<T: Send + 'static>(
    seed: u64,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let policy = Policy::Random { stay: 64 };
    let options =
        simulation::Options { policy, tick: Duration::from_micros(10), ..simulation::Options::new(seed) };
    simulation::run(options, work).map_err(|failure| failure.to_string())?.value
}

/// Does all of `jobs`, so many at a time. `work` returns what it counted, or what it found; a panic is a finding too.
/// `name` says which job it was, as the options that repeat it.
///
/// # Errors
/// What was found.
pub(super) fn run_all<J: Sync>(
    jobs: &[J],
    threads: usize,
    name: impl Fn(&J) -> String + Sync,
    work: impl Fn(&J) -> Tally + Sync,
) -> Result<Coverage, String> {
    let next = AtomicUsize::new(0);
    let ended = AtomicBool::new(false);
    let total = Mutex::new(Coverage::default());
    let findings = Mutex::new(Vec::new());
    let running: Vec<Mutex<Option<(Instant, String)>>> = (0..threads).map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = running
            .iter()
            .map(|mine| {
                let (next, total, findings, name, work) = (&next, &total, &findings, &name, &work);
                scope.spawn(move || {
                    let mut counted = Coverage::default();
                    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        *mine.lock() = Some((Instant::now(), name(job)));
                        let found = match catch_unwind(AssertUnwindSafe(|| work(job))) {
                            Ok(Ok(coverage)) => {
                                counted.merge(&coverage);
                                continue;
                            }
                            Ok(Err(what)) => what,
                            Err(_) => "a panic, see above".to_owned(),
                        };
                        let found = format!("{}\n    {found}", name(job));
                        eprintln!("{found}");
                        findings.lock().push(found);
                        if findings.lock().len() >= SHOWN {
                            break;
                        }
                    }
                    *mine.lock() = None;
                    total.lock().merge(&counted);
                })
            })
            .collect();
        let (running, ended) = (&running, &ended);
        scope.spawn(move || watch(running, ended));
        for worker in workers {
            if worker.join().is_err() {
                findings.lock().push("a worker ended by a panic".to_owned());
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    let findings = findings.into_inner();
    match findings.len() {
        0 => Ok(total.into_inner()),
        count => Err(format!("{count} of {} runs found something, see above", jobs.len())),
    }
}

/// Ends the program when a job does not end: what waits for ever cannot be stopped in any other way.
#[expect(clippy::exit, reason = "a thread that hangs cannot be ended")]
fn watch(running: &[Mutex<Option<(Instant, String)>>], ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        for job in running {
            if let Some((since, name)) = &*job.lock()
                && since.elapsed() > STUCK
            {
                eprintln!("does not end: {name}");
                std::process::exit(1);
            }
        }
    }
}
