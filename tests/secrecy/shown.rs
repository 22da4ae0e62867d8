//! What is shown: debug texts, errors, the program's log.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use lightning_db::{Database, Error, KeySource, LightningDbConfig};
use parking_lot::Mutex;

use crate::files::CANARY;
use crate::support::{KEY, Machine, PATH, small};

#[track_caller]
fn assert_hidden(text: &str) {
    let bytes = |secret: &[u8]| secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let hex = |secret: &[u8]| secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for secret in [CANARY, &KEY[..], &KEY[1..9], b"open sesame"] {
        let forms = [String::from_utf8_lossy(secret).into_owned(), bytes(secret), hex(secret)];
        for form in forms.iter().filter(|form| !form.is_empty()) {
            assert!(!text.contains(form), "{form} is shown: {text}");
        }
    }
}

#[test]
fn debug_texts_show_no_row_and_no_key() {
    let machine = Machine::new(1);
    let db = machine.create(&small());
    db.put(CANARY, CANARY).expect("put");
    let key = KeySource::passphrase("open sesame");
    let transaction = db.transaction().expect("begin");
    transaction.put(CANARY, CANARY).expect("put");
    let snapshot = db.snapshot();
    for text in [
        format!("{db:?}"),
        format!("{:?} {key:?}", small()),
        format!("{transaction:?}"),
        format!("{snapshot:?} {:?}", snapshot.get_pinned(CANARY)),
        format!("{:?}", db.get_pinned(CANARY)),
        format!("{:?}", db.scan(None, None)),
        format!("{:?}", db.cursor(None, None)),
        format!("{:?} {:?} {:?}", db.stats(), db.get_metrics(), db.health_check()),
        format!("{:?}", db.key_slots()),
    ] {
        assert_hidden(&text);
    }
}

#[test]
fn errors_show_no_row_and_no_key() {
    let machine = Machine::new(2);
    let db = machine.create(&LightningDbConfig { use_optimized_transactions: true, ..small() });
    let (one, two) = (db.transaction().expect("begin"), db.transaction().expect("begin"));
    one.put(CANARY, CANARY).expect("put");
    two.put(CANARY, CANARY).expect("put");
    one.commit().expect("commit");
    let mut errors: Vec<Error> = vec![
        two.commit().expect_err("a conflict"),
        db.put(&CANARY.repeat(6000), b"").expect_err("a long key"),
        KeySource::from_uri("open sesame").expect_err("no key").into(),
    ];
    db.compact().expect("compact");
    db.close().expect("close");
    drop(db);
    let wrong = LightningDbConfig { encryption_key: KeySource::passphrase("open sesame"), ..small() };
    errors.push(machine.open(&wrong).expect_err("a wrong key"));
    let base = machine.files_ending(".base").pop().expect("a base");
    for offset in 128..machine.len(&base) {
        machine.disk.corrupt(&base, offset, 1).expect("flip");
    }
    match machine.open(&small()) {
        Err(error) => errors.push(error),
        Ok(db) => errors.push(db.get(CANARY).expect_err("damage")),
    }
    for error in errors {
        assert_hidden(&format!("{error} {error:?}"));
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_of_the_program_shows_no_row_and_no_key() {
    let log = Shared::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // For all threads, those that work in the background too.
    tracing::subscriber::set_global_default(subscriber).expect("nobody else logs in this program");
    let machine = Machine::new(3);
    let db = machine.create(&LightningDbConfig { background_compaction: true, ..small() });
    for index in 0..2000u32 {
        db.put(&[CANARY, &index.to_be_bytes()].concat(), &CANARY.repeat(20)).expect("put");
    }
    db.backup("/repository").expect("backup");
    machine.kill(db);
    let wal = machine.files_ending(".wal").pop().expect("a log");
    let db = Database::open_in(machine.environment(), PATH, small()).expect("open");
    let _ = db.get(CANARY);
    db.close().expect("close");
    drop(db);
    let missing = Database::open_in(machine.environment(), Path::new("/nowhere"), small());
    assert!(missing.is_err() && machine.disk.files().len() > 3, "{}", wal.display());
    tracing::warn!("the end");
    let text = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert!(text.contains("the end"), "the log is caught");
    assert_hidden(&text);
}
