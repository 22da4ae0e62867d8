//! What others see of a database at work: metrics through the `metrics` facade.

use std::thread;
use std::time::{Duration, Instant};

use lightning_db::{Database, LightningDbConfig};
use metrics_util::debugging::DebuggingRecorder;

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
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(db.get_metrics().transactions_active, 1);
    db.abort_transaction(tx).expect("aborted");
}
