//! What a process has left of a database that it closed: nothing, and the same each time.

use super::kept::Kept;
use super::measure::Process;
use super::upkeep::Moment;
use super::{Outcome, Soak};

/// Bytes of memory by which one rest may differ from another: names of what happened, buffers of threads.
const HEAP_SLACK: u64 = 64 << 10;
/// The same of what the allocator handed out: it counts what it keeps for each thread as handed out.
const HANDED_OUT_SLACK: u64 = 1 << 20;

/// A moment in which the database is closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// Bytes in use, without what the soak keeps itself.
    pub(super) heap: u64,
    /// Bytes that the allocator handed out, also without that.
    pub(super) handed_out: u64,
}

impl Soak {
    /// Notes what is left. The caller has closed the database, and lets nobody open it; the soak has `threads`.
    pub(super) fn rest(&self, threads: u64) -> Outcome {
        let now = Process::now()?;
        if (now.threads, now.descriptors) != (self.before.threads + threads, self.before.descriptors) {
            return Err(format!(
                "before the run the process had {}; closed, with {threads} threads of the soak, {now}",
                self.before
            ));
        }
        let own = self.moments.lock().iter().map(Moment::size).sum::<u64>();
        self.rests.lock().push(Rest {
            heap: now.heap.saturating_sub(own),
            handed_out: now.handed_out.saturating_sub(own),
        });
        Ok(())
    }

    /// Fails unless the database that was just opened keeps what the soak made it keep, and nothing else.
    pub(super) fn assert_kept(&self) -> Outcome {
        let kept = self.kept()?;
        let first = *self.first.get_or_init(|| kept);
        let must = {
            let coverage = self.coverage.lock();
            Kept {
                epochs: first.epochs + coverage.count("upkeep/new data key"),
                forks: self.forks.load(std::sync::atomic::Ordering::Relaxed),
                restore_points: coverage.count("upkeep/restore point"),
                keyring: first.keyring,
                // As many as there are, and as large as that makes it: what grows there is seen in the samples.
                gaps: kept.gaps,
                manifest: kept.manifest,
            }
        };
        if kept == must {
            Ok(())
        } else {
            Err(format!("the database keeps {kept:?}, and must keep {must:?}"))
        }
    }
}

/// What was left later in the run and not earlier.
pub(super) fn left_over(rests: &[Rest]) -> Vec<String> {
    let (settled, later) = (&rests[rests.len() / 4..rests.len() / 2], &rests[rests.len() / 2..]);
    let mut problems = Vec::new();
    let mut compare = |name: &str, of: fn(&Rest) -> u64, slack: u64| {
        let Some(before) = settled.iter().map(of).max() else {
            problems.push("the database was not closed often enough".to_owned());
            return;
        };
        let after = later.iter().map(of).max().unwrap_or(0);
        if after > before + slack {
            problems.push(format!("closed, {name} grew: at most {before} bytes, then {after}"));
        }
    };
    compare("memory", |rest| rest.heap, HEAP_SLACK);
    compare("what the allocator handed out", |rest| rest.handed_out, HANDED_OUT_SLACK);
    problems
}

/// How much was left each time.
pub(super) fn table(rests: &[Rest]) -> String {
    let line = |name: &str, of: fn(&Rest) -> u64| {
        let values: Vec<String> =
            rests.iter().map(|rest| format!("{:.2}", of(rest) as f64 / f64::from(1 << 20))).collect();
        format!("closed, {name} in MiB: {}\n", values.join(" "))
    };
    line("memory in use", |rest| rest.heap) + &line("handed out", |rest| rest.handed_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_life_leaves_behind_is_found() {
        let run = |each: u64| -> Vec<Rest> {
            let rest = |life: u64| Rest { heap: (1 << 20) + life * each, handed_out: 3 << 20 };
            (0..31).map(rest).collect()
        };
        assert_eq!(left_over(&run(0)), Vec::<String>::new());
        assert_eq!(left_over(&run(20 << 10)).len(), 1);
        assert_eq!(left_over(&run(0)[..1]).len(), 2);
    }
}
