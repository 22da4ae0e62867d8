//! Whether a run stays what it is. Flushes, merges and backups make every figure go up and down, so what is compared is
//! the level of the last quarter with that of the second one: the lowest tenth, where a leak shows first, the mean, and the
//! highest value.

use std::fmt::Write;

use super::measure::Sample;

/// A figure, and how much higher than in the second quarter it may be in the last.
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) of: fn(&Sample) -> u64,
    /// What it is divided by to be shown.
    unit: f64,
    /// The share by which it may be higher.
    share: f64,
    /// And this much on top.
    slack: u64,
    /// What it may never exceed.
    limit: Option<u64>,
}

const MIB: u64 = 1 << 20;

/// A run stands still if nothing is written for so many seconds, however busy the machine is.
const LONGEST_PAUSE: f64 = 60.0;

/// The anonymous memory of a process with one database stays within its cache and 192 MiB. The soak opens copies beside.
const MEMORY_LIMIT: u64 = (8 + 192) * MIB;

/// What may be kept for repositories, and some segments beyond.
const LOG_LIMIT: u64 = super::RETAINED_LOG + 8 * MIB;

pub(super) const MEASURES: [Measure; 22] = [
    // The allocator keeps what it is given back, in as many places as there were threads, and each keeps as much as its
    // threads ever had at once: that goes on rising, more and more slowly. So what is in use is judged strictly, and of this
    // the level, and that it stays below what is promised.
    Measure { limit: Some(MEMORY_LIMIT), ..bytes("anonymous", |s| s.process.anonymous, 4 * MIB) },
    Measure { share: 0.1, ..bytes("in use", |s| s.process.heap, MIB) },
    bytes("most in use", |s| s.peak, 4 * MIB),
    Measure { share: 0.1, ..bytes("handed out", |s| s.process.handed_out, 2 * MIB) },
    Measure { share: 0.1, ..bytes("accounted", |s| s.accounted, MIB) },
    Measure { share: 0.0, ..bytes("beyond that", |s| s.process.heap.saturating_sub(s.accounted), MIB) },
    count("descriptors", |s| s.process.descriptors, 8),
    count("threads", |s| s.process.threads, 2),
    bytes("disk", |s| s.disk.bytes, 8 * MIB),
    count("files", |s| s.disk.count, 10),
    Measure { unit: 1024.0, ..bytes("manifest", |s| s.kept.manifest, 4 << 10) },
    Measure { share: 0.0, ..count("keyring", |s| s.kept.keyring, 0) },
    Measure { share: 1.0, ..count("gaps", |s| s.kept.gaps, 8) },
    bytes("live", |s| s.live_bytes, 4 * MIB),
    // It is kept for backups, which come when they come.
    Measure { limit: Some(LOG_LIMIT), ..bytes("log", |s| s.log_bytes, 8 * MIB) },
    count("segments", |s| s.segments, 10),
    count("runs", |s| s.runs, 4),
    count("versions", |s| s.versions, 4),
    bytes("memtables", |s| s.memtable_bytes, MIB),
    bytes("repository", |s| s.objects.bytes, 8 * MIB),
    count("objects", |s| s.objects.count, 20),
    // There is one more with each backup and each deletion; none may become larger than those before.
    Measure { unit: 1024.0, ..bytes("a record", |s| s.records.bytes / s.records.count.max(1), 4 << 10) },
];

const fn bytes(name: &'static str, of: fn(&Sample) -> u64, slack: u64) -> Measure {
    Measure { unit: MIB as f64, ..count(name, of, slack) }
}

const fn count(name: &'static str, of: fn(&Sample) -> u64, slack: u64) -> Measure {
    // Which checkpoints and backups there are at a time moves the level of a quarter by so much.
    Measure { name, of, unit: 1.0, share: 0.25, slack, limit: None }
}

/// Low, mean and high of a quarter.
struct Level {
    low: f64,
    mean: f64,
    high: f64,
}

impl Level {
    fn of(measure: &Measure, samples: &[Sample]) -> Self {
        let mut values: Vec<u64> = samples.iter().map(measure.of).collect();
        values.sort_unstable();
        let count = values.len().max(1);
        Self {
            low: values.get(count / 10).copied().unwrap_or(0) as f64,
            mean: values.iter().sum::<u64>() as f64 / count as f64,
            high: values.last().copied().unwrap_or(0) as f64,
        }
    }
}

/// What grew.
pub(super) fn growth(samples: &[Sample]) -> Vec<String> {
    let mut problems = Vec::new();
    let [_, second, _, last] = quarters(samples);
    let chance = chance(last);
    for measure in &MEASURES {
        let (before, after) = (Level::of(measure, second), Level::of(measure, last));
        let mut compare = |which: &str, before: f64, after: f64, leeway: f64| {
            let bound = before * (1.0 + measure.share * leeway) + measure.slack as f64 * leeway;
            if after > bound {
                let [before, after] = [before, after].map(|value| value / measure.unit);
                problems.push(format!("{} grew: {which} {before:.1}, then {after:.1}", measure.name));
            }
        };
        compare("lowest tenth", before.low, after.low, chance);
        compare("mean", before.mean, after.mean, chance);
        compare("highest", before.high, after.high, 3.0 * chance);
        let highest = Level::of(measure, samples).high;
        if measure.limit.is_some_and(|limit| highest > limit as f64) {
            problems.push(format!(
                "{} came to {:.1}, beyond its limit",
                measure.name,
                highest / measure.unit
            ));
        }
    }
    problems
}

/// By how much more the level of a quarter is a matter of chance than that of one of 800 seconds: backups, checkpoints and
/// merges come often enough in that, and by lot.
fn chance(quarter: &[Sample]) -> f64 {
    let seconds = |sample: Option<&Sample>| sample.map_or(0.0, |sample| sample.seconds);
    let length = seconds(quarter.last()) - seconds(quarter.first());
    (800.0 / length.max(1.0)).sqrt().max(1.0)
}

/// Where the run stood still.
pub(super) fn pauses(samples: &[Sample]) -> Vec<String> {
    let mut since = samples.first();
    let mut problems = Vec::new();
    for sample in samples {
        let Some(last) = since else { break };
        if sample.operations != last.operations {
            since = Some(sample);
        } else if sample.seconds - last.seconds > LONGEST_PAUSE {
            problems.push(format!(
                "nothing was written from second {:.0} to {:.0}",
                last.seconds, sample.seconds
            ));
            since = Some(sample);
        }
    }
    problems
}

fn quarters(samples: &[Sample]) -> [&[Sample]; 4] {
    let at = |quarter: usize| samples.len() * quarter / 4;
    std::array::from_fn(|quarter| &samples[at(quarter)..at(quarter + 1)])
}

/// Low, mean and high of every figure, in each quarter.
pub(super) fn table(samples: &[Sample]) -> String {
    let mut text = format!("{:<12}", "");
    for quarter in 1..=4 {
        let _ = write!(text, "{:>28}", format!("quarter {quarter}: low mean high"));
    }
    text.push('\n');
    for measure in &MEASURES {
        let _ = write!(text, "{:<12}", measure.name);
        for quarter in quarters(samples) {
            let level = Level::of(measure, quarter);
            let [low, mean, high] = [level.low, level.mean, level.high].map(|value| value / measure.unit);
            let _ = write!(text, "{:>28}", format!("{low:.1} {mean:.1} {high:.1}"));
        }
        text.push('\n');
    }
    if let Some(last) = samples.last() {
        let _ = writeln!(text, "{} operations in {:.0} seconds", last.operations, last.seconds);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::kept::Kept;
    use crate::soak::measure::{Files, Process};

    /// As many samples as a run takes, each `step` bytes larger than the one before.
    fn run(step: u64) -> Vec<Sample> {
        let sample = |number: u64| Sample {
            seconds: 15.0 * number as f64,
            process: Process {
                anonymous: 60 * MIB + number * step,
                heap: 10 * MIB + number * step,
                handed_out: 16 * MIB + number * step,
                worked: number as f64,
                descriptors: 40,
                threads: 12,
            },
            peak: 20 * MIB,
            disk: Files { bytes: 40 * MIB + number % 7 * MIB, count: 60 },
            objects: Files { bytes: 30 * MIB, count: 80 },
            records: Files { bytes: number * 5000, count: number },
            kept: Kept { manifest: 8 << 10, keyring: 400, epochs: 1 + number, ..Kept::default() },
            live_bytes: 8 * MIB,
            log_bytes: 4 * MIB,
            segments: 50,
            runs: number % 6,
            versions: number % 12,
            memtable_bytes: MIB / 2,
            accounted: 8 * MIB,
            operations: number,
        };
        (0..240).map(sample).collect()
    }

    #[test]
    fn what_goes_up_and_down_passes_and_what_grows_does_not() {
        assert_eq!(growth(&run(0)), Vec::<String>::new());
        let leak = growth(&run(20 << 10));
        assert!(leak.iter().any(|problem| problem.starts_with("in use grew: lowest tenth")), "{leak:?}");
        let huge = growth(&run(MIB));
        assert!(huge.iter().any(|problem| problem.contains("beyond its limit")), "{huge:?}");
    }

    #[test]
    fn a_keyring_that_grows_by_one_byte_beside_its_keys_is_found() {
        let mut samples = run(0);
        samples.iter_mut().skip(200).for_each(|sample| sample.kept.keyring += 1);
        assert!(growth(&samples).iter().any(|problem| problem.starts_with("keyring grew")));
    }

    #[test]
    fn standing_still_is_found() {
        let mut samples = run(0);
        assert_eq!(pauses(&samples), Vec::<String>::new());
        samples.iter_mut().skip(100).take(7).for_each(|sample| sample.operations = 99);
        assert_eq!(pauses(&samples).len(), 1);
    }
}
