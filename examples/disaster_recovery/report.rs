//! The table at the end, and the verdict.

use std::path::Path;
use std::time::Duration;

use crate::Outcome;
use crate::tamper::Tampering;

/// A backup that was made.
pub(crate) struct Backup {
    /// When in the story.
    pub(crate) name: &'static str,
    /// New bytes of pages.
    pub(crate) segment_bytes: u64,
    /// New bytes of log.
    pub(crate) log_bytes: u64,
    /// How long it took.
    pub(crate) duration: Duration,
}

/// A restore that was made, and how it compared.
pub(crate) struct Restore {
    /// The moment.
    pub(crate) name: &'static str,
    /// The sequence number that was reached.
    pub(crate) sequence: u64,
    /// How many rows there should be.
    pub(crate) rows: usize,
    /// How many rows were not as they should be.
    pub(crate) differences: usize,
    /// How many of those were missing.
    pub(crate) lost: usize,
    /// How long each phase took.
    pub(crate) phases: Vec<(&'static str, Duration)>,
}

/// Everything that is printed at the end.
pub(crate) struct Report {
    rows: usize,
    /// How long it took to create the database and import the rows.
    pub(crate) import: Duration,
    /// The size of the database's directory before it was lost.
    pub(crate) database_bytes: u64,
    /// The newest commit before the disaster.
    pub(crate) last_sequence: u64,
    /// The backups, in order.
    pub(crate) backups: Vec<Backup>,
    /// The restores, in order.
    pub(crate) restores: Vec<Restore>,
    /// Whether a changed byte was noticed.
    pub(crate) tampering: Option<Tampering>,
}

impl Report {
    /// A report to be filled in.
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            rows,
            import: Duration::ZERO,
            database_bytes: 0,
            last_sequence: 0,
            backups: Vec::new(),
            restores: Vec::new(),
            tampering: None,
        }
    }

    /// Whether everything came back, and the tampering was noticed.
    pub(crate) fn passed(&self) -> bool {
        let restored =
            !self.restores.is_empty() && self.restores.iter().all(|restore| restore.differences == 0);
        restored && self.tampering.as_ref().is_some_and(|tampering| tampering.noticed.is_some())
    }

    /// Prints the table and the verdict.
    pub(crate) fn print(&self) {
        println!("\nflights imported   {:>12}   in {:.2?}", self.rows, self.import);
        println!("database           {:>12}   at commit {}", bytes(self.database_bytes), self.last_sequence);
        println!("\n{:<28} {:>12} {:>12} {:>10}", "backup", "pages", "log", "time");
        for backup in &self.backups {
            let (pages, log) = (bytes(backup.segment_bytes), bytes(backup.log_bytes));
            println!("{:<28} {pages:>12} {log:>12} {:>10.2?}", backup.name, backup.duration);
        }
        println!(
            "\n{:<18} {:>8} {:>7} {:>6} {:>9}   phases",
            "restore to", "commit", "rows", "lost", "differing"
        );
        for restore in &self.restores {
            let phases: Vec<String> =
                restore.phases.iter().map(|(name, duration)| format!("{name} {duration:.2?}")).collect();
            let Restore { name, sequence, rows, lost, differences, .. } = restore;
            println!("{name:<18} {sequence:>8} {rows:>7} {lost:>6} {differences:>9}   {}", phases.join(", "));
        }
        if let Some(Tampering { place, noticed }) = &self.tampering {
            let outcome = noticed.as_deref().unwrap_or("NOT NOTICED");
            println!("\nchanged {place}: {outcome}");
        }
        let lost: usize = self.restores.iter().map(|restore| restore.lost).sum();
        let verdict = if self.passed() { "PASSED" } else { "FAILED" };
        println!("\n{verdict}: rows lost in the disaster: {lost}");
    }
}

/// The total length of the files in a directory.
pub(crate) fn bytes_below(folder: &Path) -> Outcome<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        total += entry?.metadata()?.len();
    }
    Ok(total)
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.2} MiB", count as f64 / 1_048_576.0),
    }
}
