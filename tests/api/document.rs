//! The examples of the reference documentation, as printed there, each with a check of what it does. Where an example
//! leaves a function out, the test completes it.

#![allow(clippy::field_reassign_with_default, reason = "the examples are printed so")]

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use lightning_db::{Database, Error, KeySource, LightningDbConfig, TransactionOptions, WalSyncMode};

type Outcome = Result<(), Box<dyn StdError>>;

/// A fresh directory, and the path of a database to be in it.
fn place() -> Result<(tempfile::TempDir, String), Box<dyn StdError>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mydb").to_str().ok_or("the temporary folder is not UTF-8")?.to_owned();
    Ok((folder, path))
}

#[test]
fn basic_example() -> Outcome {
    let (_folder, path) = place()?;
    let db = Database::create(&path, LightningDbConfig::default())?;
    db.put(b"key", b"value")?;
    let value = db.get(b"key")?;
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    db.delete(b"key")?;
    assert_eq!(db.get(b"key")?, None);
    Ok(())
}

#[test]
fn advanced_example() -> Outcome {
    let (_folder, path) = place()?;
    let mut config = LightningDbConfig::default();
    config.cache_size = 256 * 1024 * 1024; // 256MB cache
    config.compression_enabled = true;
    config.compression_type = 1; // Zstd
    let db = Database::create(&path, config)?;

    let tx_opts = TransactionOptions { read_only: false, snapshot: true };
    let tx = db.begin_transaction_with_options(tx_opts)?;
    for i in 0..1000 {
        let key = format!("key_{}", i);
        let value = format!("value_{}", i);
        db.put_tx(tx, key.as_bytes(), value.as_bytes())?;
    }
    assert_eq!(db.get(b"key_1")?, None, "nothing is seen before the commit");
    db.commit_transaction(tx)?;

    let iter = db.scan_prefix(b"key_")?;
    let mut seen = Vec::new();
    for result in iter.take(10) {
        let (key, value) = result?;
        seen.push(format!("{}: {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value)));
    }
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[..3], ["key_0: value_0", "key_1: value_1", "key_10: value_10"]);
    Ok(())
}

#[test]
fn create_refuses_what_exists_and_open_what_does_not() -> Outcome {
    let (_folder, path) = place()?;
    assert!(matches!(Database::open(&path, LightningDbConfig::default()), Err(Error::NotFound { .. })));
    let db: Arc<Database> = Database::create(&path, LightningDbConfig::default())?;
    db.put(b"k", b"v")?;
    db.close()?;
    drop(db);
    assert!(matches!(
        Database::create(&path, LightningDbConfig::default()),
        Err(Error::AlreadyExists { .. })
    ));
    let db = Database::open(&path, LightningDbConfig::default())?;
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

#[test]
fn batches_scans_and_transactions_have_the_printed_signatures() -> Outcome {
    let (_folder, path) = place()?;
    let db = Database::create(&path, LightningDbConfig::default())?;
    let items: Vec<(Vec<u8>, Vec<u8>)> = (0..5u8).map(|i| (vec![b'k', i], vec![b'v', i])).collect();
    let before: u64 = db.last_sequence().into();
    db.put_batch(&items)?;
    assert_eq!(u64::from(db.last_sequence()), before + 1, "a batch is one commit");
    let keys: Vec<Vec<u8>> = vec![vec![b'k', 3], b"absent".to_vec(), vec![b'k', 0]];
    assert_eq!(db.get_batch(&keys)?, [Some(vec![b'v', 3]), None, Some(vec![b'v', 0])]);
    db.delete_batch(&keys)?;

    let walk = |iter: lightning_db::DatabaseIterator| -> Result<Vec<u8>, Error> {
        iter.map(|item| item.map(|(key, _)| key[1])).collect()
    };
    assert_eq!(walk(db.scan(None, None)?)?, [1, 2, 4]);
    assert_eq!(walk(db.scan(Some(&[b'k', 2]), Some(&[b'k', 4]))?)?, [2]);
    assert_eq!(walk(db.scan_reverse(Some(&[b'k', 1]), Some(&[b'k', 4]))?)?, [2, 1]);
    assert_eq!(walk(db.scan_prefix(b"k")?)?, [1, 2, 4]);

    let tx: lightning_db::TransactionId = db.begin_transaction()?;
    db.put_tx(tx, b"a", b"1")?;
    assert_eq!(db.get_tx(tx, b"a")?.as_deref(), Some(&b"1"[..]));
    db.delete_tx(tx, b"a")?;
    assert_eq!(db.get_tx(tx, b"a")?, None);
    db.abort_transaction(tx)?;
    assert!(matches!(db.commit_transaction(tx), Err(Error::TransactionNotFound)));
    Ok(())
}

#[test]
fn defaults_are_those_printed() {
    let config = LightningDbConfig::default();
    assert_eq!(config.page_size, 4096);
    assert_eq!(config.cache_size, 64 << 20);
    assert_eq!(config.mmap_size, None);
    assert!(config.compression_enabled);
    assert_eq!(config.compression_level, 3);
    assert_eq!(config.max_active_transactions, 1000);
    assert_eq!(config.transaction_timeout, Duration::from_secs(30));
    assert!(config.use_optimized_transactions);
    assert!(config.wal_enabled);
    assert!(matches!(config.wal_sync_mode, WalSyncMode::Async));
    assert!(config.improved_wal);
    assert!(config.prefetch_enabled);
    assert_eq!(config.prefetch_distance, 8);
    assert_eq!(config.prefetch_workers, 2);
    assert!(config.use_lock_free_cache);
    assert!(config.background_compaction);
    assert_eq!(config.compaction_interval, Duration::from_secs(60));
    assert_eq!(config.parallel_compaction_workers, 2);
}

#[test]
fn tuning_examples() -> Outcome {
    let (_folder, path) = place()?;
    let mut config = LightningDbConfig::default();
    config.cache_size = 1024 * 1024 * 1024; // 1GB cache
    config.prefetch_enabled = true;
    config.prefetch_distance = 16;
    config.wal_sync_mode = WalSyncMode::Async;
    config.background_compaction = true;
    config.parallel_compaction_workers = 4;
    config.compaction_interval = Duration::from_secs(30);
    config.use_simd = true;
    config.use_lock_free_cache = true;
    config.use_optimized_transactions = true;
    config.max_connections = 1000;
    config.rate_limit_ops_per_second = 100000;
    let db = Database::create(&path, config)?;
    db.put(b"k", b"v")?;
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

#[test]
fn encryption_example() -> Outcome {
    fn load_key_from_hsm() -> Result<KeySource, Error> {
        Ok(KeySource::raw([7; 32]))
    }
    let (_folder, path) = place()?;
    let config = LightningDbConfig {
        encryption_enabled: true,
        encryption_key: load_key_from_hsm()?,
        ..Default::default()
    };
    let db = Database::create(&path, config)?;
    db.put(b"k", b"v")?;
    db.close()?;
    drop(db);
    assert!(matches!(Database::open(&path, LightningDbConfig::default()), Err(Error::KeyRequired { .. })));
    Ok(())
}

#[test]
fn input_validation_example() -> Outcome {
    const MAX_KEY_SIZE: usize = lightning_db::MAX_KEY_SIZE;
    fn validate_key(key: &[u8]) -> Result<(), Error> {
        if key.len() > MAX_KEY_SIZE {
            return Err(Error::KeyTooLarge);
        }
        Ok(())
    }
    let (_folder, path) = place()?;
    let db = Database::create(&path, LightningDbConfig::default())?;
    let longest = vec![b'x'; MAX_KEY_SIZE];
    validate_key(&longest)?;
    db.put(&longest, b"v")?;
    assert_eq!(db.get(&longest)?.as_deref(), Some(&b"v"[..]));
    let too_long = vec![b'x'; MAX_KEY_SIZE + 1];
    assert!(matches!(validate_key(&too_long), Err(Error::KeyTooLarge)));
    assert!(matches!(db.put(&too_long, b"v"), Err(Error::KeyTooLarge)));
    assert!(matches!(db.put(b"", b"v"), Err(Error::EmptyKey)));
    Ok(())
}

#[test]
fn troubleshooting_examples() -> Outcome {
    let (_folder, path) = place()?;
    let db = Database::create(&path, LightningDbConfig::default())?;
    for i in 0..100u32 {
        db.put(&i.to_be_bytes(), &[0; 1000])?;
    }
    let metrics = db.get_metrics();
    println!("Memory used: {} MB", metrics.memory_used_bytes / 1024 / 1024);
    assert!(metrics.memory_used_bytes > 100_000, "the hundred values are in memory");
    db.evict_cache(0.2)?; // Evict 20% of cache
    let stats = db.stats()?;
    if stats.pending_compaction_bytes > 100 * 1024 * 1024 {
        db.compact()?;
    }
    assert!(db.health_check()?.healthy);
    Ok(())
}

#[test]
fn retry_example() -> Outcome {
    let (_folder, path) = place()?;
    let db = Database::create(&path, LightningDbConfig::default())?;
    let tx_opts = TransactionOptions { read_only: true, snapshot: true };
    let tx = db.begin_transaction_with_options(tx_opts)?;
    assert!(matches!(db.put_tx(tx, b"k", b"v"), Err(Error::TransactionReadOnly)));
    db.abort_transaction(tx)?;

    let mut retries = 0;
    let result = loop {
        match db.execute_transaction(|tx| tx.put(b"k", b"v")) {
            Ok(result) => break Ok(result),
            Err(Error::TransactionConflict) if retries < 3 => {
                retries += 1;
                std::thread::sleep(Duration::from_millis(10 * retries));
            }
            Err(e) => break Err(e),
        }
    };
    result?;
    assert_eq!(db.get(b"k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

#[test]
fn backup_and_checkpoint_example() -> Outcome {
    let (folder, path) = place()?;
    let db = Database::create(&path, LightningDbConfig::default())?;
    db.put(b"k", b"v")?;
    let repository = folder.path().join("backup");
    db.backup(repository.to_str().ok_or("not UTF-8")?)?;
    db.checkpoint()?; // Ensure consistent state
    let restored = folder.path().join("restored");
    Database::restore(&repository, &restored, lightning_db::RestoreOptions::default())?;
    let copy = Database::open(&restored, LightningDbConfig::default())?;
    assert_eq!(copy.get(b"k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

#[test]
fn logging_and_tracing_examples() -> Outcome {
    use tracing::{Instrument, info_span};

    lightning_db::logging::init_logger();
    lightning_db::logging::init_logger();
    log::info!(event = "database_started", version = env!("CARGO_PKG_VERSION"), cache_size_mb = 256; "started");

    async fn handle_request(db: &Database, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let span = info_span!("database_read", key = ?key);
        async {
            let value = db.get(key)?;
            Ok(value)
        }
        .instrument(span)
        .await
    }
    let (_folder, path) = place()?;
    let db = Database::create(&path, LightningDbConfig::default())?;
    db.put(b"k", b"v")?;
    let mut request = std::pin::pin!(handle_request(&db, b"k"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match request.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => assert_eq!(value?.as_deref(), Some(&b"v"[..])),
        std::task::Poll::Pending => return Err("a read never waits for another task".into()),
    }
    Ok(())
}
