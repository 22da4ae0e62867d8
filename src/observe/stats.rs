//! What a database consists of at this moment.

use std::fmt;

use lightning_db_storage::{Incarnation, SequenceNumber};
use serde::{Serialize, Serializer};

/// What a database consists of. Taken without stopping anything, so figures that change can be a moment apart.
///
/// Its text form is a short summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DatabaseStats {
    /// How many keys there are. Keys that were written again or deleted, and not merged yet, are estimated; after
    /// `compact` the number is exact.
    pub total_keys: u64,
    /// Length of all files, in bytes.
    pub size_bytes: u64,
    /// Bytes of those files that are in use.
    pub live_bytes: u64,
    /// Levels of the base tree, from its root to its leaves.
    pub tree_depth: u32,
    /// Pages in use.
    pub pages: u64,
    /// Bytes of entries in a page, divided by [`page_size`](Self::page_size), on average; 1 when pages are full.
    pub page_utilization: f64,
    /// Bytes of pages before compression, divided by those after it; 1 when nothing is stored.
    pub compression_ratio: f64,
    /// Bytes of a page that is written now, before compression.
    pub page_size: u64,
    /// Sorted files on top of the base tree, which reads have to look through.
    pub runs: u64,
    /// Files of the database but the log.
    pub segments: u64,
    /// Bytes that wait to be merged into the base tree.
    pub pending_compaction_bytes: u64,
    /// Bytes in memory that are not in a sorted file yet.
    pub memtable_bytes: u64,
    /// Bytes of pages, hot records and filters in memory.
    pub cache_bytes: u64,
    /// Bytes of the log's files, those kept for backups included.
    pub wal_bytes: u64,
    /// The newest commit.
    #[serde(serialize_with = "number")]
    pub last_sequence: SequenceNumber,
    /// The newest commit that is in sorted files.
    #[serde(serialize_with = "number")]
    pub flushed_sequence: SequenceNumber,
    /// Snapshots and transactions that hold older states.
    pub open_snapshots: u64,
    /// Transactions that are open.
    pub active_transactions: u64,
    /// Named checkpoints.
    pub named_checkpoints: u64,
    /// Backup repositories for which log is kept.
    pub registered_repositories: u64,
    /// Whether the database is encrypted.
    pub encrypted: bool,
    /// The history that this database continues.
    #[serde(serialize_with = "text")]
    pub incarnation: Incarnation,
}

impl fmt::Display for DatabaseStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Database Statistics:")?;
        writeln!(f, "- Total keys: {}", Grouped(self.total_keys))?;
        writeln!(f, "- Database size: {}", Size(self.size_bytes))?;
        writeln!(f, "- B+Tree depth: {}", self.tree_depth)?;
        write!(f, "- Page utilization: {:.0}%", self.page_utilization * 100.0)
    }
}

/// `1,234,567`
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// `456 MB`; the units are powers of 1024.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KB", "MB", "GB", "TB"];
        let power = (self.0.checked_ilog2().unwrap_or(0) / 10).min(4);
        let (unit, one) = (UNITS[power as usize], 1_u64 << (10 * power));
        let whole = self.0 / one;
        if power == 0 || whole >= 100 {
            return write!(f, "{} {unit}", Grouped(whole));
        }
        write!(f, "{:.1} {unit}", self.0 as f64 / one as f64)
    }
}

fn number<S: Serializer>(sequence: &SequenceNumber, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(sequence.0)
}

fn text<S: Serializer>(incarnation: &Incarnation, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_documented_one() {
        let stats = DatabaseStats {
            total_keys: 1_234_567,
            size_bytes: 456 << 20,
            tree_depth: 4,
            page_utilization: 0.87,
            ..Default::default()
        };
        let lines = [
            "Database Statistics:",
            "- Total keys: 1,234,567",
            "- Database size: 456 MB",
            "- B+Tree depth: 4",
            "- Page utilization: 87%",
        ];
        assert_eq!(stats.to_string(), lines.join("\n"));
    }

    #[test]
    fn sizes_and_counts_are_readable() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1,023 bytes"),
            (1536, "1.5 KB"),
            (150 << 10, "150 KB"),
            (5 << 30, "5.0 GB"),
            (3 << 39, "1.5 TB"),
            (u64::MAX, "16,777,215 TB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!(Grouped(999).to_string(), "999");
        assert_eq!(Grouped(1_000_000).to_string(), "1,000,000");
    }

    #[test]
    fn programs_get_every_field() -> Result<(), serde_json::Error> {
        let stats = DatabaseStats {
            last_sequence: SequenceNumber(7),
            incarnation: Incarnation([0xab; 16]),
            ..Default::default()
        };
        let value = serde_json::to_value(&stats)?;
        assert_eq!(value["last_sequence"], 7);
        assert_eq!(value["incarnation"], "ab".repeat(16));
        assert_eq!(value["pending_compaction_bytes"], 0);
        Ok(())
    }
}
