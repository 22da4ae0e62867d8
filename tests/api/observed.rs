//! What others see of a database at work: metrics through the `metrics` facade, and spans through `tracing`.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lightning_db::{Database, LightningDbConfig, RestoreOptions};
use metrics_util::debugging::DebuggingRecorder;
use tracing_subscriber::fmt::format::FmtSpan;

#[test]
fn metrics_are_published_by_themselves() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    recorder.install().expect("no other test of this program records metrics");
    let folder = tempfile::tempdir().expect("a folder");
    let config = LightningDbConfig { compaction_interval: Duration::from_millis(100), ..Default::default() };
    let db = Database::create(folder.path().join("db"), config).expect("created");
    db.put(b"key", b"value").expect("put");
    let tx = db.begin_transaction().expect("begun");
    let patience = Instant::now();
    loop {
        let names: Vec<String> =
            seen.snapshot().into_vec().into_iter().map(|(key, ..)| key.key().name().to_owned()).collect();
        if ["lightning_db_operations_total", "lightning_db_transactions_active", "lightning_db_up"]
            .iter()
            .all(|name| names.iter().any(|known| known == name))
        {
            break;
        }
        assert!(patience.elapsed() < Duration::from_secs(60), "only {names:?} were published");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(db.get_metrics().transactions_active, 1);
    db.abort_transaction(tx).expect("aborted");
}

/// Keeps what is written to it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn long_work_has_spans() {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_span_events(FmtSpan::NEW)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, repository) = (folder.path().join("db"), folder.path().join("repository"));
    tracing::subscriber::with_default(subscriber, || {
        let config = LightningDbConfig { background_compaction: false, ..LightningDbConfig::default() };
        let db = Database::create(&path, config).expect("created");
        // The spans of this thread are seen. Now and then another one is faster to flush.
        for round in 0..50_u32 {
            db.put(b"key", &round.to_be_bytes()).expect("put");
            db.checkpoint().expect("flushed");
        }
        db.compact().expect("compacted");
        db.backup(&repository).expect("backed up");
        db.close().expect("closed");
        drop(db);
        Database::open(&path, LightningDbConfig::default()).expect("opened").close().expect("closed");
        Database::restore(&repository, folder.path().join("restored"), RestoreOptions::default())
            .expect("restored");
    });
    let text = String::from_utf8(kept.0.lock().expect("not poisoned").clone()).expect("UTF-8");
    for span in ["flush", "merge into the base", "backup", "close", "open", "restore"] {
        assert!(text.lines().any(|line| line.contains(&format!("{span}{{"))), "no span {span:?} in {text}");
    }
}
