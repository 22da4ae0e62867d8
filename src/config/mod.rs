//! What can be set about a database, and from where: the struct, a file, the environment.

mod builder;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod options;
mod units;
mod validate;
mod variables;

use std::time::Duration;

use lightning_db_crypto::KeySource;

use crate::freshness::{AnchorSource, FreshnessPolicy};
pub use builder::ConfigBuilder;
pub(crate) use variables::variable;

const MIB: usize = 1024 * 1024;

/// Everything that can be set about a database. Each option changes what the database does; what is out of range or
/// contradicts something else is refused when the database is created or opened, with the option's name.
///
/// ```
/// use lightning_db::{KeySource, LightningDbConfig};
///
/// let config = LightningDbConfig {
///     cache_size: 256 * 1024 * 1024,
///     encryption_enabled: true,
///     encryption_key: KeySource::passphrase("correct horse"),
///     ..Default::default()
/// };
/// config.validate()?;
/// # Ok::<(), lightning_db::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LightningDbConfig {
    /// Bytes of a page before it is compressed: a power of two from 1 KiB to 64 KiB. Holds for what is written from
    /// now on. Default: 4096.
    pub page_size: usize,
    /// Bytes of memory for pages, hot records and filters together; at least 64 KiB. Default: 64 MiB.
    pub cache_size: usize,
    /// How many bytes of finished files are read through memory maps, at most; at least 64 KiB. `None`, and `Some(0)`,
    /// map nothing: reads through a map are faster, but when the disk cannot read a mapped file, or somebody cuts it
    /// short, the system ends the process (SIGBUS), where a plain read is an error. The log is mapped whatever this says
    /// (see `improved_wal`): its space is filled with zeros before, and it is written, not read. Default: `None`.
    pub mmap_size: Option<usize>,
    /// Bytes of recent writes held in memory before they go to a file: 64 KiB to 32 MiB. Three such buffers can be
    /// alive at once. Default: 32 MiB.
    pub write_buffer_size: usize,

    /// Whether pages are compressed. Holds for what is written from now on. Default: true.
    pub compression_enabled: bool,
    /// The codec: 0 chooses for each page, 1 Zstd, 2 LZ4, 3 Snappy. Default: 0.
    pub compression_type: u32,
    /// Zstd's level, -7 to 22; higher is smaller and slower. LZ4 and Snappy have no levels. Default: 3.
    pub compression_level: i32,

    /// Whether the database is encrypted; `encryption_key` must then name a key. Default: false.
    pub encryption_enabled: bool,
    /// Where the key comes from. Default: none.
    pub encryption_key: KeySource,

    /// Where, outside of its directory, the database remembers how far it got, so that a directory that was put back to an
    /// older state is noticed. Each database needs an anchor of its own. Default: nowhere.
    pub freshness_anchor: AnchorSource,
    /// What to do about a database that is older than its anchor remembers. Default: it is refused.
    pub freshness_policy: FreshnessPolicy,

    /// How many transactions can be open at once. Default: 1000.
    pub max_active_transactions: usize,
    /// How long a transaction can be open before it is aborted. Default: 30 s.
    pub transaction_timeout: Duration,
    /// How long a locking transaction waits for another one's lock. Default: 5 s.
    pub lock_timeout: Duration,
    /// `true`: transactions find conflicts when they commit. `false`: they lock the keys that they write, wait for
    /// each other, and deadlocks are found and broken. Default: true.
    pub use_optimized_transactions: bool,

    /// Whether commits go through the write-ahead log. Without it a commit is safe only after `checkpoint` or
    /// `close`, and the time between backups cannot be restored. Default: true.
    pub wal_enabled: bool,
    /// What a commit waits for. Default: [`WalSyncMode::Async`].
    pub wal_sync_mode: WalSyncMode,
    /// Whether the log is written through a memory map, which is faster; `false` writes with system calls.
    /// Default: true.
    pub improved_wal: bool,
    /// Bytes of one log file: 128 KiB to 1 GiB, rounded up to a multiple of 64 KiB. Default: 64 MiB.
    pub wal_segment_size: u64,
    /// How many bytes of log are kept for a backup repository that does not fetch them. Beyond it the oldest are
    /// given up, and the gap is reported. At least `wal_segment_size`. Default: 4 GiB.
    pub max_retained_log: u64,

    /// Whether scans read ahead. Default: true.
    pub prefetch_enabled: bool,
    /// How many pages a scan reads ahead: 1 to 1024. Default: 8.
    pub prefetch_distance: usize,
    /// How many threads read ahead: 1 to 64. Default: 2.
    pub prefetch_workers: usize,
    /// Whether hot records are kept in a table that is read without a lock. Default: true.
    pub use_lock_free_cache: bool,
    /// Whether encryption uses the processor's AES and vector instructions. `false` takes the portable
    /// implementation; both read what the other wrote. Default: true.
    pub use_simd: bool,

    /// Whether sorted files are merged in the background; `false` leaves merging to `compact`. Default: true.
    pub background_compaction: bool,
    /// How often an idle database looks for something to merge or clean up. Default: 60 s.
    pub compaction_interval: Duration,
    /// How many merges can run at once: 1 to 64. Default: 2.
    pub parallel_compaction_workers: usize,

    /// How many network connections the server serves at once: 1 to 1,000,000. Default: 1000.
    pub max_connections: usize,
    /// How many operations a second the server accepts; 0 is no limit. Default: 0.
    pub rate_limit_ops_per_second: u64,
    /// Whether durations are measured and everything is published through the `metrics` facade. Default: true.
    pub metrics_enabled: bool,
    /// The port on which the server offers metrics. Default: 9090.
    pub metrics_port: u16,
    /// What [`logging::init_logger_with`](crate::logging::init_logger_with) lets through. Default: `Info`.
    pub log_level: log::LevelFilter,
}

/// What a commit waits for before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalSyncMode {
    /// The commit is with the operating system. A killed process loses nothing; a power cut can lose the newest.
    #[default]
    Async,
    /// The commit is on stable storage. Commits that come together share one sync.
    Sync,
    /// As `Async`, and synced at least this often (1 ms to 1 hour).
    Periodic(Duration),
}

/// How a transaction reads and whether it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionOptions {
    /// Refuses writes, and never conflicts. Default: false.
    pub read_only: bool,
    /// `true`: all reads see the database as it was when the transaction began (snapshot isolation; the first
    /// committer wins). `false`: each read sees the newest commit (read committed). Default: true.
    pub snapshot: bool,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self { read_only: false, snapshot: true }
    }
}

impl Default for LightningDbConfig {
    fn default() -> Self {
        Self {
            page_size: 4096,
            cache_size: 64 * MIB,
            mmap_size: None,
            write_buffer_size: 32 * MIB,
            compression_enabled: true,
            compression_type: 0,
            compression_level: 3,
            encryption_enabled: false,
            encryption_key: KeySource::none(),
            freshness_anchor: AnchorSource::none(),
            freshness_policy: FreshnessPolicy::Refuse,
            max_active_transactions: 1000,
            transaction_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            use_optimized_transactions: true,
            wal_enabled: true,
            wal_sync_mode: WalSyncMode::Async,
            improved_wal: true,
            wal_segment_size: 64 * MIB as u64,
            max_retained_log: 4096 * MIB as u64,
            prefetch_enabled: true,
            prefetch_distance: 8,
            prefetch_workers: 2,
            use_lock_free_cache: true,
            use_simd: true,
            background_compaction: true,
            compaction_interval: Duration::from_secs(60),
            parallel_compaction_workers: 2,
            max_connections: 1000,
            rate_limit_ops_per_second: 0,
            metrics_enabled: true,
            metrics_port: 9090,
            log_level: log::LevelFilter::Info,
        }
    }
}
