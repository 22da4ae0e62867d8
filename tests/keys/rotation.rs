//! Another slot key, another data key, another master key: what is sealed with which afterwards, and that no moment leaves
//! a database that opens with neither.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lightning_db::{
    CheckOptions, Database, Error, KeySource, LightningDbConfig, NoProgress, Progress, RecoveryTarget,
    RestoreOptions, SlotId, Vfs, check_in,
};
use lightning_db_storage::vfs::Keep;

use crate::support::{KEY, Machine, Model, PATH, Random, assert_holds, small};

const REPOSITORY: &str = "/repository";

fn raw(byte: u8) -> KeySource {
    KeySource::raw([byte; 32])
}

fn with(key: KeySource) -> LightningDbConfig {
    LightningDbConfig { encryption_key: key, ..small() }
}

/// A database with a base, runs, large values, and commits that are only in the log.
fn filled(machine: &Machine) -> (Arc<Database>, Model) {
    let db = machine.create(&small());
    let mut model = Model::new();
    fill(&db, &mut model, 1);
    db.compact().expect("compact");
    fill(&db, &mut model, 2);
    (db, model)
}

fn fill(db: &Database, model: &mut Model, seed: u64) {
    let mut random = Random(seed);
    let mut put = |key: Vec<u8>, value: Vec<u8>| {
        db.put(&key, &value).expect("put");
        model.insert(key, value);
    };
    for _ in 0..200 {
        put(random.key(300), random.noise(300));
    }
    put(format!("large-{seed}").into_bytes(), random.noise(70_000));
    db.checkpoint().expect("checkpoint");
    for _ in 0..20 {
        put(random.key(300), random.noise(40));
    }
}

/// The data keys that the headers of the database's files name.
fn epochs_in_files(machine: &Machine) -> BTreeSet<u32> {
    let mut epochs = BTreeSet::new();
    for file in machine.disk.files().iter().filter(|file| file.starts_with(PATH)) {
        let bytes = machine.read(file);
        if bytes.starts_with(b"LDBSEG\r\n") {
            epochs.insert(u32::from_le_bytes(bytes[56..60].try_into().expect("four bytes")));
        }
    }
    epochs
}

#[test]
fn at_once_means_pages_values_and_the_log() {
    let machine = Machine::new(1);
    let (db, mut model) = filled(&machine);
    let old = epochs_in_files(&machine);
    let epoch = db.rotate_data_key().expect("rotate");
    db.put(b"to the log", b"of the new key").expect("put");
    model.insert(b"to the log".to_vec(), b"of the new key".to_vec());
    db.reseal(&NoProgress).expect("reseal");
    assert_eq!(epochs_in_files(&machine), [epoch.0].into());
    assert!(!old.contains(&epoch.0) && !old.is_empty());
    let keys = db.data_keys();
    assert!(keys.iter().all(|key| key.is_current != key.is_unused()), "{keys:#?}");
    assert_holds(&db, &model, "resealed");
    machine.kill(db);
    let db = machine.reopen(&small());
    assert_holds(&db, &model, "opened again");
    db.reseal(&NoProgress).expect("nothing is left to do");
    assert_eq!(epochs_in_files(&machine), [epoch.0].into());
}

/// Before anything is moved: what is committed from now on is not in a file that the old key sealed.
#[test]
fn the_log_goes_on_under_the_new_key_at_once() {
    for prepared in [false, true] {
        let machine = Machine::new(2);
        let db = machine.create(&small());
        db.put(b"a", b"1").expect("put");
        if prepared {
            // The next file of the log is made ready in the background.
            let enough = || machine.files_ending(".wal").len() > 1;
            (0..500)
                .take_while(|_| !enough())
                .for_each(|_| std::thread::sleep(std::time::Duration::from_millis(10)));
        }
        let before: BTreeSet<_> = machine.files_ending(".wal").into_iter().collect();
        let contents: Vec<_> = before.iter().map(|path| machine.read(path)).collect();
        let epoch = db.rotate_data_key().expect("rotate");
        let lengths: Vec<_> = before
            .iter()
            .map(|path| machine.disk.metadata(path).is_ok().then(|| machine.read(path)))
            .collect();
        db.put(b"b", b"2").expect("put");
        for ((path, then), now) in before.iter().zip(lengths).zip(contents) {
            if let Some(then) = then {
                assert!(machine.read(path) == then, "{} was written to", path.display());
                assert!(then.len() >= now.len());
            }
        }
        let fresh = machine.files_ending(".wal").into_iter().filter(|path| !before.contains(path));
        let epochs: Vec<u32> = fresh
            .map(|path| u32::from_le_bytes(machine.read(&path)[56..60].try_into().expect("four bytes")))
            .collect();
        assert!(!epochs.is_empty() && epochs.iter().all(|one| *one == epoch.0), "{epochs:?}");
        machine.kill(db);
        let db = machine.reopen(&small());
        assert_eq!(db.get(b"a").expect("get").as_deref(), Some(&b"1"[..]));
        assert_eq!(db.get(b"b").expect("get").as_deref(), Some(&b"2"[..]));
    }
}

#[test]
fn what_checkpoints_hold_stays_and_is_told() {
    let machine = Machine::new(3);
    let (db, model) = filled(&machine);
    db.create_named_checkpoint("kept").expect("checkpoint");
    db.rotate_data_key().expect("rotate");
    db.reseal(&NoProgress).expect("reseal");
    let old = db.data_keys().remove(0);
    assert_eq!((old.live_bytes, old.checkpoints.as_slice()), (0, &["kept".to_owned()][..]));
    assert!(!old.is_unused() && old.file_bytes > 0);
    let snapshot = db.open_named_checkpoint("kept").expect("open");
    assert_eq!(snapshot.scan(None, None).expect("scan").count(), model.len());
    drop(snapshot);
    db.drop_named_checkpoint("kept").expect("drop");
    assert!(db.data_keys()[0].is_unused());
    assert_holds(&db, &model, "moved");
}

struct Steps(AtomicU64);

impl Progress for Steps {
    fn advance(&self, phase: &'static str, done: u64, total: u64) {
        assert!(phase == "sealing anew" && done <= total);
        self.0.store(done, Ordering::Relaxed);
    }
}

#[test]
fn moving_goes_on_while_others_write_and_reads_stay_right() {
    let machine = Machine::new(4);
    let (db, _) = filled(&machine);
    let done = AtomicBool::new(false);
    let steps = Steps(AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0_u32;
            while !done.load(Ordering::Relaxed) || written < 100 {
                db.put(b"counter", &written.to_le_bytes()).expect("put");
                let read = db.get(b"counter").expect("get").expect("there");
                assert_eq!(read, written.to_le_bytes());
                written += 1;
                if written.is_multiple_of(20) {
                    db.checkpoint().expect("flush");
                }
            }
        });
        for _ in 0..3 {
            db.rotate_data_key().expect("rotate");
            db.reseal(&steps).expect("reseal");
        }
        done.store(true, Ordering::Relaxed);
        writer.join().expect("the writer");
    });
    assert!(steps.0.load(Ordering::Relaxed) > 0);
    db.checkpoint().expect("flush");
    db.reseal(&NoProgress).expect("reseal");
    assert_eq!(epochs_in_files(&machine).len(), 1);
}

#[test]
fn a_slot_gets_another_key_or_keeps_its_own() {
    let machine = Machine::new(5);
    let db = machine.create(&small());
    db.put(b"k", b"v").expect("put");
    db.rewrap_key(SlotId(1), raw(2)).expect("rewrap");
    assert!(matches!(db.rewrap_key(SlotId(7), raw(2)), Err(Error::NotFound { .. })));
    assert!(matches!(db.rewrap_key(SlotId(1), KeySource::none()), Err(Error::InvalidArgument { .. })));
    db.close().expect("close");
    drop(db);
    assert!(matches!(machine.open(&small()), Err(Error::WrongKey { .. })));
    let db = machine.reopen(&with(raw(2)));
    assert_eq!(db.get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
    assert_eq!(db.key_slots()[0].label, "default");
}

#[test]
fn a_new_master_key_takes_every_slot_along_or_none() {
    let machine = Machine::new(6);
    let (db, model) = filled(&machine);
    db.add_key(raw(2), "second").expect("add");
    let before = machine.read(&Path::new(PATH).join("KEYRING"));
    assert!(matches!(db.rotate_master_key(&[], &[]), Err(Error::InvalidArgument { .. })));
    assert!(matches!(db.rotate_master_key(&[raw(2), raw(3)], &[]), Err(Error::WrongKey { .. })));
    assert!(machine.read(&Path::new(PATH).join("KEYRING")) == before, "a refusal changes nothing");
    let epoch = db.rotate_master_key(&[raw(2)], &[]).expect("rotate");
    db.reseal(&NoProgress).expect("reseal");
    assert_eq!(epochs_in_files(&machine), [epoch.0].into());
    db.close().expect("close");
    drop(db);
    for key in [KeySource::raw(KEY), raw(2)] {
        let db = machine.reopen(&with(key.clone()));
        assert_holds(&db, &model, "under the new master key");
        drop(db);
        let options = CheckOptions { encryption_key: key, ..CheckOptions::default() };
        let report = check_in(&machine.environment(), PATH, &options).expect("check");
        assert!(report.is_sound(), "digests of before still fit: {report:#?}");
    }
    let db = machine.reopen(&small());
    db.rotate_master_key(&[], &[SlotId(2)]).expect("without the second");
    db.close().expect("close");
    drop(db);
    assert!(matches!(machine.open(&with(raw(2))), Err(Error::WrongKey { .. })));
    assert_holds(&machine.reopen(&small()), &model, "with the first");
}

/// What a rotation is: called with the database, whatever comes of it.
type Rotation = fn(&Database) -> lightning_db::Result<()>;

fn master(db: &Database) -> lightning_db::Result<()> {
    db.rotate_master_key(&[raw(2)], &[])?;
    db.reseal(&NoProgress)
}

fn data(db: &Database) -> lightning_db::Result<()> {
    db.rotate_data_key()?;
    db.reseal(&NoProgress)
}

fn rewrap(db: &Database) -> lightning_db::Result<()> {
    db.rewrap_key(SlotId(1), raw(9))
}

/// At every call that changes something: what is left opens, with the old key or with the new one, and holds everything.
#[test]
fn killed_anywhere_in_a_rotation_the_database_opens_with_the_old_or_the_new_key() {
    let rotations: [(&str, Rotation, [KeySource; 2]); 3] = [
        ("master", master, [KeySource::raw(KEY), KeySource::raw(KEY)]),
        ("data", data, [KeySource::raw(KEY), KeySource::raw(KEY)]),
        ("rewrap", rewrap, [KeySource::raw(KEY), raw(9)]),
    ];
    for (name, rotate, keys) in rotations {
        let mut call = 0;
        loop {
            let machine = Machine::new(7);
            let db = machine.create(&small());
            let mut model = Model::new();
            fill(&db, &mut model, 3);
            db.add_key(raw(2), "second").expect("add");
            db.close().expect("close");
            drop(db);
            let db = machine.reopen(&small());
            machine.plan().crash_at(call);
            let outcome = rotate(&db);
            let crashed = machine.plan().crashed();
            machine.plan().crash_at(0);
            drop(db);
            if call % 2 == 0 {
                machine.disk.kill_process();
            } else {
                let mut random = Random(call);
                machine.disk.crash(&mut || random.next(), Keep::Random);
            }
            let opened: Vec<_> =
                keys.iter().filter_map(|key| machine.open(&with(key.clone())).ok()).take(1).collect();
            let db = opened.first().unwrap_or_else(|| panic!("{name}, call {call}: opens with neither"));
            assert_holds(db, &model, &format!("{name}, call {call}"));
            let slots = db.key_slots().len();
            assert_eq!(slots, 2, "{name}, call {call}");
            drop(opened);
            let second = machine.open(&with(raw(2)));
            assert_holds(&second.expect("the other slot opens it, too"), &model, name);
            if !crashed {
                outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
                break;
            }
            call += if call > 60 { 5 } else { 1 };
        }
        assert!(call > 4, "{name} makes several calls");
    }
}

fn restored(machine: &Machine, to: &str, target: RecoveryTarget, key: KeySource) -> Arc<Database> {
    let options = RestoreOptions { target, encryption_key: key.clone(), ..RestoreOptions::default() };
    Database::restore_with(&machine.environment(), REPOSITORY, to, options, &NoProgress).expect("restore");
    Database::open_in(machine.environment(), to, with(key)).expect("open what was restored")
}

#[test]
fn backups_of_before_and_after_a_rotation_are_restored() {
    let machine = Machine::new(8);
    let (db, model) = filled(&machine);
    let first = db.backup(REPOSITORY).expect("backup");
    let mut newer = model.clone();
    for round in 0..2_u64 {
        let epoch = db.rotate_master_key(&[], &[]).expect("rotate");
        db.reseal(&NoProgress).expect("reseal");
        fill(&db, &mut newer, 10 + round);
        let report = db.backup(REPOSITORY).expect("backup");
        assert!(!report.is_continued, "a backup after everything was moved does not need the old key");
        db.checkpoint().expect("flush");
        db.reseal(&NoProgress).expect("reseal");
        assert_eq!(epochs_in_files(&machine), [epoch.0].into(), "the log that was fetched is gone");
    }
    db.close().expect("close");
    drop(db);
    let target = RecoveryTarget::Backup(first.backup);
    assert_holds(&restored(&machine, "/first", target, KeySource::raw(KEY)), &model, "the first");
    let latest = restored(&machine, "/latest", RecoveryTarget::Latest, KeySource::raw(KEY));
    assert_holds(&latest, &newer, "the latest");
}

/// Two histories out of one backup, each with a master key of its own, share a repository.
#[test]
fn restored_copies_with_master_keys_of_their_own_share_a_repository() {
    let machine = Machine::new(9);
    let (db, model) = filled(&machine);
    db.backup(REPOSITORY).expect("backup");
    db.close().expect("close");
    drop(db);
    let mut models = Vec::new();
    for (index, place) in ["/one", "/two"].into_iter().enumerate() {
        let db = restored(&machine, place, RecoveryTarget::Backup(1), KeySource::raw(KEY));
        let mut own = model.clone();
        db.rotate_master_key(&[], &[]).expect("rotate");
        fill(&db, &mut own, 20 + index as u64);
        let report = db.backup(REPOSITORY).expect("backup");
        models.push((report.backup, own));
    }
    for (backup, model) in models {
        let place = format!("/again-{backup}");
        let again = restored(&machine, &place, RecoveryTarget::Backup(backup), KeySource::raw(KEY));
        assert_holds(&again, &model, &place);
    }
}

/// While a backup copies, the keys change under it.
#[test]
fn a_rotation_during_a_backup_spoils_neither() {
    let machine = Machine::new(10);
    let (db, model) = filled(&machine);
    struct Rotating<'a>(&'a Database, AtomicBool);
    impl Progress for Rotating<'_> {
        fn advance(&self, _: &'static str, _: u64, _: u64) {
            if !self.1.swap(true, Ordering::Relaxed) {
                self.0.rotate_master_key(&[], &[]).expect("rotate");
                self.0.reseal(&NoProgress).expect("reseal");
            }
        }
    }
    for _ in 0..2 {
        let rotating = Rotating(&db, AtomicBool::new(false));
        db.backup_with(REPOSITORY, &rotating).expect("backup");
        assert!(rotating.1.load(Ordering::Relaxed));
    }
    db.backup(REPOSITORY).expect("backup");
    assert_holds(&db, &model, "the database");
    for backup in 1..=3 {
        let place = format!("/restored-{backup}");
        let again = restored(&machine, &place, RecoveryTarget::Backup(backup), KeySource::raw(KEY));
        assert_holds(&again, &model, &place);
    }
}
