//! `inspect DB`

use std::fmt;
use std::path::PathBuf;

use lightning_db::DatabaseStats;

use crate::failure::Outcome;
use crate::output::human::{Count, Size};
use crate::session::Session;

/// What to inspect.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lightning-cli inspect ./mydb
  lightning-cli inspect ./mydb --verbose")]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// Show how the data is stored, too
    #[arg(long, short)]
    verbose: bool,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let stats = session.open_read_only(&self.db)?.stats()?;
        session.output.report(Inspected { stats: &stats, verbose: self.verbose }, &stats)
    }
}

struct Inspected<'a> {
    stats: &'a DatabaseStats,
    verbose: bool,
}

impl fmt::Display for Inspected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats;
        write!(f, "{stats}")?;
        if !self.verbose {
            return Ok(());
        }
        write!(f, "\n- Encrypted: {}", if stats.encrypted { "yes" } else { "no" })?;
        write!(f, "\n- Pages: {} of {}", Count(stats.pages), Size(stats.page_size))?;
        write!(f, "\n- Compression ratio: {:.2}", stats.compression_ratio)?;
        write!(f, "\n- Bytes in use: {}", Size(stats.live_bytes))?;
        write!(f, "\n- Files: {} and {} of log", Count(stats.segments), Size(stats.wal_bytes))?;
        write!(
            f,
            "\n- Sorted runs: {} with {} to merge",
            Count(stats.runs),
            Size(stats.pending_compaction_bytes)
        )?;
        write!(
            f,
            "\n- Last sequence number: {} ({} in sorted files)",
            stats.last_sequence, stats.flushed_sequence
        )?;
        write!(f, "\n- History: {}", stats.incarnation)?;
        write!(f, "\n- Named checkpoints: {}", Count(stats.named_checkpoints))?;
        write!(f, "\n- Backup repositories: {}", Count(stats.registered_repositories))
    }
}
