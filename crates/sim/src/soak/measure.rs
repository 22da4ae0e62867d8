//! What the process and its files take at one moment.
#![expect(
    clippy::disallowed_methods,
    reason = "looks at a database from outside, at what the kernel says of the process, and writes a report"
)]

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::iter::Sum;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::kept::Kept;
use super::{Outcome, Soak};
use crate::allocation;

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    /// Bytes of memory that are backed by no file.
    pub(super) anonymous: u64,
    /// Bytes that were asked for and not given back: what is in use. The allocator keeps more.
    pub(super) heap: u64,
    /// Bytes that the allocator handed out, to C code as well.
    pub(super) handed_out: u64,
    /// Seconds of processor time until now.
    pub(super) worked: f64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// One moment of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    pub(super) process: Process,
    /// Bytes of the database's files, and how many there are.
    pub(super) disk: Files,
    /// What the records of a repository name.
    pub(super) objects: Files,
    /// Records of backups and of deletions. They stay for ever.
    pub(super) records: Files,
    /// The most that was in use at a time since the sample before, in bytes.
    pub(super) peak: u64,
    pub(super) kept: Kept,
    pub(super) live_bytes: u64,
    pub(super) log_bytes: u64,
    pub(super) segments: u64,
    pub(super) runs: u64,
    /// Older states that somebody holds.
    pub(super) versions: u64,
    pub(super) memtable_bytes: u64,
    /// What the database says of its memory.
    pub(super) accounted: u64,
    pub(super) operations: u64,
}

/// Files of a directory and those below it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Files {
    pub(super) bytes: u64,
    pub(super) count: u64,
}

impl Process {
    pub(super) fn now() -> Outcome<Self> {
        let status = fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc: {error}"))?;
        let field = |name: &str| -> Outcome<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.ok_or_else(|| format!("/proc/self/status does not tell {name}"))
        };
        let descriptors = fs::read_dir("/proc/self/fd").map_err(|error| format!("/proc: {error}"))?;
        let heap = allocation::live_bytes() as u64;
        Ok(Self {
            anonymous: field("RssAnon")? << 10,
            heap,
            handed_out: allocation::allocator().map_or(heap, |(used, _)| used as u64),
            worked: worked()?,
            descriptors: descriptors.count() as u64,
            threads: field("Threads")?,
        })
    }
}

/// Seconds that the threads of this process spent on processors.
fn worked() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(|error| format!("/proc: {error}"))?;
    // The name of the program is in parentheses and may hold spaces; user and system time are the 12th and 13th after it.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: Vec<u64> =
        after.split_whitespace().skip(11).take(2).filter_map(|it| it.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64),
        _ => Err("/proc/self/stat does not tell the processor time".to_owned()),
    }
}

impl Sum for Files {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            bytes: sum.bytes + part.bytes,
            count: sum.count + part.count,
        })
    }
}

impl Display for Process {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} descriptors and {} threads", self.descriptors, self.threads)
    }
}

impl Soak {
    pub(super) fn sample(&self) -> Outcome<Sample> {
        let (path, repository) = (self.path("db"), self.path("repo"));
        self.with(|db| {
            let stats = db.stats().map_err(|error| format!("stats: {error}"))?;
            Ok(Sample {
                seconds: self.started.elapsed().as_secs_f64(),
                process: Process::now()?,
                disk: files(&path),
                objects: ["segments", "wal", "keyrings"]
                    .iter()
                    .map(|part| files(&repository.join(part)))
                    .sum(),
                records: files(&repository.join("manifests")),
                peak: allocation::take_peak() as u64,
                kept: self.kept()?,
                live_bytes: stats.live_bytes,
                log_bytes: stats.wal_bytes,
                segments: stats.segments,
                runs: stats.runs,
                versions: stats.open_snapshots,
                memtable_bytes: stats.memtable_bytes,
                accounted: db.get_metrics().memory_used_bytes,
                operations: self.operations.load(Ordering::Relaxed),
            })
        })
    }
}

/// What goes while it is looked at does not count.
fn files(directory: &Path) -> Files {
    let mut found = Files::default();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                let below = files(&entry.path());
                found.bytes += below.bytes;
                found.count += below.count;
            }
            Ok(metadata) => {
                found.bytes += metadata.len();
                found.count += 1;
            }
            Err(_) => {}
        }
    }
    found
}

pub(super) fn remove_tree(path: &Path) -> Outcome {
    fs::remove_dir_all(path).map_err(|error| format!("remove {}: {error}", path.display()))
}

/// Writes every sample as one JSON array.
pub(super) fn write_json(path: &Path, samples: &[Sample]) -> Outcome {
    let objects: Vec<String> = samples
        .iter()
        .map(|sample| {
            let fields: Vec<String> = super::verdict::MEASURES
                .iter()
                .map(|measure| format!("\"{}\": {}", measure.name, (measure.of)(sample)))
                .collect();
            format!(
                "{{\"seconds\": {:.1}, \"operations\": {}, {}}}",
                sample.seconds,
                sample.operations,
                fields.join(", ")
            )
        })
        .collect();
    let text = format!("[\n{}\n]\n", objects.join(",\n"));
    fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
}
