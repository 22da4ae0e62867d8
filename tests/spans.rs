//! What others see of long work, through `tracing`. In a program of its own: whether somebody wants a span is decided once for
//! all threads, and a thread of another test that comes to it first has nobody who does.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use lightning_db::{Database, LightningDbConfig, RestoreOptions};
use tracing_subscriber::fmt::format::FmtSpan;

/// Keeps what one thread writes to it.
#[derive(Clone)]
struct Kept(ThreadId, Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if thread::current().id() == self.0 {
            self.1.lock().expect("not poisoned").extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn long_work_has_spans() {
    let kept = Kept(thread::current().id(), Arc::default());
    let writer = kept.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_span_events(FmtSpan::NEW)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, repository) = (folder.path().join("db"), folder.path().join("repository"));
    tracing::subscriber::set_global_default(subscriber).expect("this program has no other test");
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
    let text = String::from_utf8(kept.1.lock().expect("not poisoned").clone()).expect("UTF-8");
    for span in ["flush", "merge into the base", "backup", "close", "open", "restore"] {
        assert!(text.lines().any(|line| line.contains(&format!("{span}{{"))), "no span {span:?} in {text}");
    }
}
