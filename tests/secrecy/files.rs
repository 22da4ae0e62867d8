//! What is in files.

use std::path::Path;

use lightning_db::{
    Database, KeySource, LightningDbConfig, NoProgress, RecoveryTarget, RestoreOptions, TransactionOptions,
    WalSyncMode,
};

use crate::support::{KEY, Machine, Random, contains, small};

/// Begins every key and every value, in clear text, and stands in the middle of long ones.
pub(crate) const CANARY: &[u8] = b"canary=Tweety";

/// The forms in which a secret could be found.
fn needles() -> Vec<Vec<u8>> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    vec![
        CANARY.to_vec(),
        hex(CANARY).into_bytes(),
        KEY.to_vec(),
        KEY[..16].to_vec(),
        KEY[16..].to_vec(),
        hex(&KEY).into_bytes(),
        PASSPHRASE.as_bytes().to_vec(),
    ]
}

const PASSPHRASE: &str = "open sesame, said Ali Baba";

#[track_caller]
fn assert_secret(machine: &Machine, when: &str) {
    let needles = needles();
    for path in machine.disk.files() {
        let bytes = machine.read(&path);
        for needle in &needles {
            assert!(!contains(&bytes, needle), "{when}: {needle:?} is in {}", path.display());
            let name = path.to_string_lossy();
            assert!(!name.contains(&*String::from_utf8_lossy(needle)), "{when}: {name}");
        }
    }
}

fn row(index: u32) -> Vec<u8> {
    [CANARY, format!("-{index:06}").as_bytes()].concat()
}

/// Values of all sizes: empty, short, longer than a page, longer than a value that stands alone, longer than a frame.
const LENGTHS: [usize; 8] = [0, 1, 13, 500, 3000, 30_000, 70_000, 1_200_000];

fn work(db: &Database, seed: u64) -> lightning_db::Result<()> {
    let mut random = Random(seed);
    for (index, len) in LENGTHS.into_iter().enumerate() {
        let value: Vec<u8> = CANARY.iter().copied().cycle().take(len).collect();
        db.put(&row(index as u32), &value)?;
    }
    db.put(&CANARY.repeat(4000), CANARY)?;
    db.create_restore_point("canary=Tweety")?;
    let items: Vec<_> = (100..2500u32).map(|index| (row(index), row(index).repeat(3))).collect();
    for batch in items.chunks(200) {
        db.put_batch(batch)?;
    }
    db.checkpoint()?;
    let transaction = db.transaction_with(TransactionOptions { read_only: false, snapshot: true })?;
    transaction.put(&row(1), &CANARY.repeat(10_000))?;
    transaction.commit()?;
    // Pages of one kind, enough for a dictionary to be made of them.
    db.compact()?;
    let snapshot = db.snapshot();
    for _ in 0..600 {
        db.put(&row(random.below(3000) as u32), &CANARY.repeat(1 + random.below(30) as usize))?;
    }
    db.delete_batch(&(100..400).map(row).collect::<Vec<_>>())?;
    db.create_named_checkpoint("canary=Tweety")?;
    db.compact()?;
    assert!(snapshot.get(&row(100))?.is_some());
    db.put(&row(9), CANARY)
}

#[test]
fn no_row_and_no_key_is_in_a_file_of_a_database() {
    for (compression_type, compression_enabled) in [(0, true), (1, true), (2, true), (3, true), (0, false)] {
        let machine = Machine::new(u64::from(compression_type));
        let db = machine.create(&LightningDbConfig { compression_type, compression_enabled, ..small() });
        work(&db, 1).expect("work");
        assert_secret(&machine, "while it is open");
        db.close().expect("close");
        drop(db);
        assert_secret(&machine, "after closing");
    }
}

#[test]
fn no_row_is_in_a_file_at_whatever_call_a_process_dies() {
    for at in (0..3000).step_by(71) {
        let machine = Machine::new(at);
        let config = LightningDbConfig {
            wal_sync_mode: WalSyncMode::Sync,
            improved_wal: at % 2 == 0,
            compression_enabled: at % 3 == 0,
            ..small()
        };
        machine.create(&config).close().expect("close");
        let environment = machine.environment_dying_at(at);
        if let Ok(db) = Database::open_in(environment, crate::support::PATH, config) {
            let _ = work(&db, at);
        }
        machine.disk.kill_process();
        assert_secret(&machine, &format!("call {at}"));
    }
}

#[test]
fn no_row_and_no_key_is_in_a_repository_or_what_is_restored_from_it() {
    let machine = Machine::new(1);
    let db = machine.create(&LightningDbConfig { max_retained_log: 1 << 30, ..small() });
    db.backup("/repository").expect("backup");
    work(&db, 1).expect("work");
    db.put(&row(7), &CANARY.repeat(200)).expect("put");
    db.backup("/repository").expect("an increment");
    db.create_checkpoint("/copy").expect("a copy");
    let options =
        |target| RestoreOptions { target, encryption_key: KeySource::raw(KEY), ..RestoreOptions::default() };
    for (place, target) in [
        ("/latest", RecoveryTarget::Latest),
        ("/named", RecoveryTarget::Name("canary=Tweety".into())),
        ("/early", RecoveryTarget::Sequence(5.into())),
    ] {
        let outcome = Database::restore_with(
            &machine.environment(),
            "/repository",
            place,
            options(target),
            &NoProgress,
        );
        if place != "/early" {
            outcome.unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
    assert!(machine.disk.files().iter().any(|path| path.starts_with(Path::new("/repository"))));
    assert_secret(&machine, "with a repository");
}

#[test]
fn no_passphrase_is_in_a_file() {
    let machine = Machine::new(2);
    let config = LightningDbConfig { encryption_key: KeySource::passphrase(PASSPHRASE), ..small() };
    let db = machine.create(&config);
    db.put(CANARY, CANARY).expect("put");
    db.add_key(KeySource::raw(KEY), "spare").expect("a second key");
    db.rotate_data_key().expect("rotate");
    db.put(b"after", CANARY).expect("put");
    db.compact().expect("compact");
    assert_secret(&machine, "with two keys");
    db.close().expect("close");
    drop(db);
    let db = machine.open(&small()).expect("the second key opens");
    assert_eq!(db.get(CANARY).expect("get").as_deref(), Some(CANARY));
}

/// That the search finds what there is to find.
#[test]
fn rows_are_found_where_nothing_hides_them() {
    let machine = Machine::new(3);
    let db = machine.create(&LightningDbConfig { compression_enabled: false, ..crate::support::plain() });
    db.put(b"key", CANARY).expect("put");
    let is_there =
        |machine: &Machine| machine.disk.files().iter().any(|path| contains(&machine.read(path), CANARY));
    assert!(is_there(&machine), "in the log");
    db.checkpoint().expect("checkpoint");
    db.close().expect("close");
    assert!(is_there(&machine), "in a run");
}
