//! The workloads: short, so that every call of each can be tried, and together through every part of the engine.

use std::time::Duration;

use lightning_db::{KeySource, LightningDbConfig, WalSyncMode};

/// One workload.
pub(super) struct Script {
    pub(super) name: &'static str,
    /// What happens before anything goes wrong.
    pub(super) before: Vec<Step>,
    /// Whether the process is killed after that, so that `steps` begin with a log to replay. Otherwise it closes the
    /// database.
    pub(super) killed: bool,
    pub(super) steps: Vec<Step>,
    /// Whether it is short enough for crashes inside the recovery after each crash.
    pub(super) nested: bool,
    sync: WalSyncMode,
    change: fn(&mut LightningDbConfig),
}

/// One call, or a few of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Create,
    Open,
    Close,
    /// So many commits of one to three keys, with values of about so many bytes.
    Put(u32, usize),
    /// One value of so many bytes.
    Large(usize),
    /// A commit that deletes so many keys.
    Delete(usize),
    /// A transaction that reads, writes and deletes; the second one is aborted.
    Transactions,
    Checkpoint,
    Compact,
    RestorePoint(&'static str),
    Named(&'static str),
    Rollback(&'static str),
    Drop(&'static str),
    /// Copies the database to this directory.
    Copy(&'static str),
    /// Opens a copy, reads it, and closes it.
    UseCopy(&'static str),
    Backup(&'static str),
    /// Deletes the oldest backup.
    DeleteBackup(&'static str),
    Restore(&'static str, &'static str, Target),
    Rotate,
    /// Moves everything to the current data key.
    Reseal,
    /// Draws a new master key, and takes all key slots along.
    RotateMaster,
    AddKey(u8),
    RemoveKey(u8),
    /// Reads everything from a snapshot and from the present.
    Read,
}

impl Step {
    /// Whether it acknowledges something that the database's log has to keep.
    pub(super) fn writes(self) -> bool {
        matches!(
            self,
            Put(..) | Large(_) | Delete(_) | Transactions | RestorePoint(_) | Rollback(_) | Backup(_)
        )
    }
}

/// What is restored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Latest,
    /// The oldest backup.
    Oldest,
    /// The commit so many before the newest.
    Back(usize),
    Point(&'static str),
}

use Step::*;

impl Script {
    fn new(name: &'static str, sync: WalSyncMode, steps: Vec<Step>) -> Self {
        Self { name, before: vec![Create], killed: false, steps, nested: false, sync, change: |_| {} }
    }

    fn after(mut self, before: Vec<Step>, killed: bool) -> Self {
        self.before = before;
        self.killed = killed;
        self
    }

    fn with(mut self, change: fn(&mut LightningDbConfig)) -> Self {
        self.change = change;
        self
    }

    fn nested(mut self) -> Self {
        self.nested = true;
        self
    }

    /// The configuration of its database, opened with key `key`.
    pub(super) fn config(&self, key: u8) -> LightningDbConfig {
        let mut config = LightningDbConfig {
            write_buffer_size: 64 << 10,
            wal_segment_size: 128 << 10,
            max_retained_log: 1 << 20,
            page_size: 1024,
            cache_size: 1 << 20,
            encryption_enabled: true,
            encryption_key: key_source(key),
            wal_sync_mode: self.sync,
            background_compaction: false,
            compaction_interval: Duration::from_secs(3600),
            prefetch_enabled: false,
            metrics_enabled: false,
            ..LightningDbConfig::default()
        };
        (self.change)(&mut config);
        config
    }
}

/// The key with this number.
pub(super) fn key_source(key: u8) -> KeySource {
    KeySource::raw([key; 32])
}

/// All workloads.
#[expect(clippy::too_many_lines, reason = "a list, read from top to bottom")]
pub(super) fn all() -> Vec<Script> {
    use WalSyncMode::{Async, Periodic, Sync};
    let hour = Periodic(Duration::from_secs(3600));
    vec![
        Script::new("create", Sync, vec![Create, Put(1, 40), Close]).after(vec![], false).nested(),
        Script::new(
            "commits-sync",
            Sync,
            vec![Open, Put(3, 60), Delete(2), Transactions, Large(70 << 10), Put(2, 900), Read, Close],
        )
        .nested(),
        Script::new(
            "commits-async",
            Async,
            vec![Open, Put(4, 60), Checkpoint, Put(3, 500), Delete(2), RestorePoint("point"), Put(2, 60)],
        )
        .with(|config| config.improved_wal = false)
        .nested(),
        Script::new(
            "periodic",
            hour,
            vec![Open, Put(5, 300), Transactions, RestorePoint("point"), Put(4, 60), Close],
        ),
        Script::new(
            "flush",
            Sync,
            vec![
                Open,
                Put(6, 9000),
                Checkpoint,
                Put(6, 9000),
                Delete(6),
                Checkpoint,
                Read,
                Put(2, 60),
                Close,
            ],
        )
        .with(|config| config.compression_type = 2),
        Script::new(
            "merge",
            Async,
            vec![
                Open,
                Put(4, 4000),
                Checkpoint,
                Delete(5),
                Checkpoint,
                Compact,
                Put(3, 4000),
                Compact,
                Read,
                Close,
            ],
        )
        .after(vec![Create, Put(12, 4000), Checkpoint, Put(8, 4000)], false),
        Script::new(
            "large",
            Sync,
            vec![
                Open,
                Large(200 << 10),
                Large(66 << 10),
                Checkpoint,
                Large(300 << 10),
                Delete(20),
                Compact,
                Read,
                Close,
            ],
        )
        .after(vec![Create, Put(3, 60), Large(100 << 10)], false),
        Script::new(
            "copy",
            Async,
            vec![
                Open,
                Put(3, 400),
                Copy("/copy"),
                Put(2, 400),
                UseCopy("/copy"),
                Delete(2),
                Copy("/second"),
                Close,
            ],
        )
        .after(vec![Create, Put(6, 3000), Compact, Put(3, 200)], true),
        Script::new(
            "named",
            Sync,
            vec![
                Named("one"),
                Put(3, 600),
                Named("two"),
                Delete(3),
                Rollback("one"),
                Put(2, 60),
                Drop("two"),
                Compact,
            ],
        )
        .after(vec![Create, Put(5, 600)], false)
        .with_open(),
        Script::new(
            "backup",
            Sync,
            vec![
                Backup("/repo"),
                Put(4, 2000),
                Backup("/repo"),
                Delete(3),
                Compact,
                Backup("/repo"),
                DeleteBackup("/repo"),
                Close,
            ],
        )
        .after(vec![Create, Put(6, 2000)], false)
        .with_open(),
        Script::new(
            "restore",
            Sync,
            vec![
                Restore("/repo", "/latest", Target::Latest),
                Restore("/repo", "/back", Target::Back(2)),
                Restore("/repo", "/point", Target::Point("point")),
                Restore("/repo", "/oldest", Target::Oldest),
                UseCopy("/back"),
            ],
        )
        .after(
            vec![
                Create,
                Put(4, 2000),
                Backup("/repo"),
                Put(3, 500),
                RestorePoint("point"),
                Put(3, 500),
                Delete(2),
                Large(90 << 10),
                Put(2, 60),
                Backup("/repo"),
            ],
            false,
        ),
        Script::new(
            "rotate",
            Sync,
            vec![Rotate, Put(3, 1500), Checkpoint, Rotate, Put(2, 60), Compact, Read, Close],
        )
        .after(vec![Create, Put(6, 1500), Checkpoint, Put(2, 60)], false)
        .with_open(),
        Script::new("reseal", Async, vec![Rotate, Put(2, 60), Reseal, Delete(3), Read, Close])
            .after(
                vec![Create, Put(8, 1500), Compact, Large(70 << 10), Checkpoint, Named("kept"), Put(3, 60)],
                false,
            )
            .with_open(),
        Script::new("master", Sync, vec![RotateMaster, Put(2, 60), RotateMaster, Reseal, Read, Close])
            .after(vec![Create, Put(4, 900), AddKey(2), Checkpoint, Put(2, 60)], true)
            .with_open(),
        Script::new("keys", Sync, vec![AddKey(2), Put(1, 60), RemoveKey(1), Put(1, 60), AddKey(3), Close])
            .after(vec![Create, Put(2, 60)], false)
            .with_open(),
        Script::new("recovery", Async, vec![Open, Read, Put(2, 60), Close, Open, Put(1, 60), Close])
            .after(vec![Create, Put(10, 3000), Checkpoint, Put(12, 3000), Large(80 << 10), Delete(4)], true)
            .nested(),
        Script::new(
            "without-log",
            Async,
            vec![Open, Put(3, 200), Checkpoint, Put(3, 200), Delete(2), Close, Open, Read],
        )
        .with(|config| config.wal_enabled = false),
        Script::new(
            "plain",
            Sync,
            vec![Open, Put(3, 200), Checkpoint, Large(70 << 10), Delete(2), Compact, Read, Close],
        )
        .with(|config| {
            config.encryption_enabled = false;
            config.encryption_key = KeySource::none();
            config.mmap_size = Some(8 << 20);
        }),
    ]
}

impl Script {
    /// Opens the database before the first step.
    fn with_open(mut self) -> Self {
        self.steps.insert(0, Open);
        self
    }
}
