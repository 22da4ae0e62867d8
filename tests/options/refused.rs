//! What is out of range or contradicts something else is refused by name, and leaves nothing behind. The options of the
//! server are refused in the same way.

use std::time::Duration;

use lightning_db::{Database, Error, KeySource, LightningDbConfig, Vfs, WalSyncMode};

use crate::support::{Machine, PATH, plain, small};

/// The option that an attempt to create a database names.
#[track_caller]
fn refused(change: impl FnOnce(&mut LightningDbConfig)) -> String {
    let mut config = plain();
    change(&mut config);
    let machine = Machine::new(1);
    let outcome = Database::create_in(machine.environment(), PATH, config);
    let Err(Error::InvalidConfig { option, reason }) = outcome else {
        panic!("{:?}", outcome.map(|_| "created"));
    };
    assert!(!reason.is_empty() && machine.disk.metadata(PATH.as_ref()).is_err(), "nothing is left behind");
    option
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    assert_eq!(refused(|c| c.page_size = 3000), "page_size");
    assert_eq!(refused(|c| c.cache_size = 1), "cache_size");
    assert_eq!(refused(|c| c.mmap_size = Some(1)), "mmap_size");
    assert_eq!(refused(|c| c.write_buffer_size = 1), "write_buffer_size");
    assert_eq!(refused(|c| c.compression_type = 4), "compression_type");
    assert_eq!(refused(|c| c.compression_level = 100), "compression_level");
    assert_eq!(refused(|c| c.max_active_transactions = 0), "max_active_transactions");
    assert_eq!(refused(|c| c.transaction_timeout = Duration::ZERO), "transaction_timeout");
    assert_eq!(refused(|c| c.lock_timeout = Duration::ZERO), "lock_timeout");
    assert_eq!(refused(|c| c.wal_segment_size = 1), "wal_segment_size");
    assert_eq!(refused(|c| c.wal_sync_mode = WalSyncMode::Periodic(Duration::ZERO)), "wal_sync_mode");
    assert_eq!(refused(|c| c.prefetch_distance = 0), "prefetch_distance");
    assert_eq!(refused(|c| c.prefetch_workers = 0), "prefetch_workers");
    assert_eq!(refused(|c| c.compaction_interval = Duration::ZERO), "compaction_interval");
    assert_eq!(refused(|c| c.parallel_compaction_workers = 0), "parallel_compaction_workers");
    assert_eq!(refused(|c| c.max_connections = 0), "max_connections");
    assert_eq!(refused(|c| c.metrics_port = 0), "metrics_port");
}

#[test]
fn what_contradicts_something_else_is_refused_by_name() {
    assert_eq!(refused(|c| c.encryption_enabled = true), "encryption_enabled");
    assert_eq!(refused(|c| c.encryption_key = KeySource::raw([7; 32])), "encryption_key");
    assert_eq!(refused(|c| c.max_retained_log = c.wal_segment_size - 1), "max_retained_log");
    let unlogged = |c: &mut LightningDbConfig| (c.wal_enabled, c.wal_sync_mode) = (false, WalSyncMode::Sync);
    assert_eq!(refused(unlogged), "wal_sync_mode");
    let lz4_level = |c: &mut LightningDbConfig| (c.compression_type, c.compression_level) = (2, 9);
    assert_eq!(refused(lz4_level), "compression_level");
}

#[test]
fn opening_refuses_as_creating_does_and_leaves_the_files_alone() {
    let machine = Machine::new(2);
    machine.create(&small()).close().expect("close");
    let before = machine.disk.op_counts().bytes_written;
    let outcome = machine.open(&LightningDbConfig { page_size: 1, ..small() });
    assert!(matches!(outcome, Err(Error::InvalidConfig { option, .. }) if option == "page_size"));
    assert_eq!(machine.disk.op_counts().bytes_written, before);
    machine.reopen(&small());
}
