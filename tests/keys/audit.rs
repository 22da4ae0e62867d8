//! What was done with keys is noted, and what is taken away of that is noticed.

use std::path::{Path, PathBuf};

use lightning_db::{
    AuditEvent, CheckOptions, Database, DestroyDataKeyOptions, Error, KeySource, LightningDbConfig,
    NoProgress, SlotId, Vfs, check_in,
};

use lightning_db_storage::vfs::{CallKind, Calls, Effect, Fault};

use crate::support::{KEY, Machine, PATH, Random, contains, plain, small};

fn log_file() -> PathBuf {
    Path::new(PATH).join("AUDIT")
}

fn events(db: &Database) -> Vec<AuditEvent> {
    let log = db.audit_log().expect("read");
    assert_eq!(log.problem, None);
    log.records.into_iter().map(|record| record.expect("its key is there").event).collect()
}

fn raw(byte: u8) -> KeySource {
    KeySource::raw([byte; 32])
}

/// A life with a use of keys of every kind.
fn lived(machine: &Machine) -> Vec<AuditEvent> {
    let db = machine.create(&small());
    db.put(b"k", b"v").expect("put");
    let second = db.add_key(raw(2), "second").expect("add");
    assert!(db.add_key(raw(3), "second").is_err());
    db.rewrap_key(second, raw(4)).expect("rewrap");
    db.remove_key(second).expect("remove");
    assert!(matches!(db.remove_key(SlotId(1)), Err(Error::LastKeySlot)));
    db.rotate_data_key().expect("rotate");
    db.rotate_master_key(&[], &[]).expect("rotate");
    db.backup("/repository").expect("backup");
    db.create_checkpoint("/copy").expect("copy");
    db.close().expect("close");
    drop(db);
    machine.reopen(&small()).close().expect("close");
    use AuditEvent::{
        Created, DataKeyRotated, Exported, KeyAdded, KeyRemoved, KeyRewrapped, MasterKeyRotated, Opened,
        Refused,
    };
    vec![
        Created,
        KeyAdded,
        Refused,
        KeyRewrapped,
        KeyRemoved,
        Refused,
        DataKeyRotated,
        MasterKeyRotated,
        Exported,
        Exported,
        Opened,
    ]
}

#[test]
fn each_use_of_a_key_is_an_entry() {
    let machine = Machine::new(1);
    let expected = lived(&machine);
    let db = machine.open_read_only(&small()).expect("open");
    assert_eq!(events(&db), expected);
    let records: Vec<_> = db.audit_log().expect("read").records.into_iter().flatten().collect();
    assert_eq!(records[1].slot, Some(SlotId(2)));
    assert!(records[6].epoch.is_some() && records[6].epoch < Some(lightning_db::EpochId(u32::MAX)));
    assert_eq!(records[10].slot, Some(SlotId(1)), "which slot opened it");
    assert!(records[8].detail.contains("/repository") && records[9].detail.contains("/copy"));
    assert!(records[5].detail.contains("key_removed: last_key_slot"), "{:?}", records[5]);
    let bytes = machine.read(&log_file());
    assert!(!contains(&bytes, b"repository") && !contains(&bytes, b"second"), "it is sealed");
}

#[test]
fn an_open_that_fails_or_reads_only_writes_nothing() {
    let machine = Machine::new(2);
    lived(&machine);
    let files = || -> Vec<_> {
        let files = machine.disk.files().into_iter().filter(|path| path.starts_with(PATH));
        files.map(|path| (path.clone(), machine.read(&path))).collect()
    };
    let before = files();
    let wrong = LightningDbConfig { encryption_key: raw(9), ..small() };
    assert!(matches!(machine.open(&wrong), Err(Error::WrongKey { .. })));
    assert!(matches!(machine.open(&plain()), Err(Error::KeyRequired { .. })));
    drop(machine.open_read_only(&small()).expect("open"));
    assert!(before == files(), "a file changed");
}

/// Reading the log, a check, and the next open notice it.
fn assert_noticed(machine: &Machine, what: &str) {
    let db = machine.open_read_only(&small()).expect("data is served all the same");
    assert!(db.audit_log().expect("read").problem.is_some(), "{what}");
    drop(db);
    let options = CheckOptions { encryption_key: KeySource::raw(KEY), ..CheckOptions::default() };
    let report = check_in(&machine.environment(), PATH, &options).expect("check");
    assert!(!report.is_sound() && report.findings.iter().any(|finding| finding.file == log_file()), "{what}");
}

#[test]
fn whatever_is_taken_away_or_changed_is_noticed() {
    let machine = Machine::new(3);
    let expected = lived(&machine);
    let whole = machine.read(&log_file());
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x20;
        machine.write(&log_file(), &changed);
        if at % 16 == 0 {
            assert_noticed(&machine, &format!("byte {at} flipped"));
        } else {
            let db = machine.open_read_only(&small()).expect("open");
            assert!(db.audit_log().expect("read").problem.is_some(), "byte {at} flipped");
        }
    }
    for len in (0..whole.len()).step_by(37) {
        machine.write(&log_file(), &whole[..len]);
        assert_noticed(&machine, &format!("cut to {len} bytes"));
    }
    machine.disk.remove_file(&log_file()).expect("remove");
    assert_noticed(&machine, "removed");
    let db = machine.reopen(&small());
    assert_eq!(events(&db), [AuditEvent::Damaged, AuditEvent::Opened], "and stays known");
    db.close().expect("close");
    drop(db);

    machine.write(&log_file(), &whole);
    assert_noticed(&machine, "an older one put back");
    let db = machine.reopen(&small());
    assert_eq!(events(&db), [AuditEvent::Damaged, AuditEvent::Opened]);
    let evidence = machine.read(&Path::new(PATH).join("AUDIT.damaged"));
    assert!(evidence == whole, "evidence is kept");
    db.close().expect("close");
    drop(db);

    let mut changed = machine.read(&log_file());
    changed[60] ^= 1;
    machine.write(&log_file(), &changed);
    let db = machine.reopen(&small());
    assert_eq!(events(&db), [AuditEvent::Damaged, AuditEvent::Opened]);
    let told = db.audit_log().expect("read").records[0].clone().expect("readable").detail;
    assert!(told.contains("it had 2 entries in ") && told.contains("hash "), "{told}");
    assert!(
        machine.read(&Path::new(PATH).join("AUDIT.damaged")) == evidence,
        "a second incident takes nothing away"
    );
    assert!(machine.read(&Path::new(PATH).join("AUDIT.damaged.2")) == changed);
    assert_eq!(expected.len(), 11);
}

#[test]
fn what_a_crash_left_behind_the_last_entry_is_cut_off_and_nothing_else() {
    let machine = Machine::new(4);
    let mut expected = lived(&machine);
    let whole = machine.read(&log_file());
    machine.write(&log_file(), &[&whole[..], &[7; 50]].concat());
    let db = machine.open_read_only(&small()).expect("open");
    assert_eq!((events(&db), db.audit_log().expect("read").trailing), (expected.clone(), 50));
    drop(db);
    expected.push(AuditEvent::Opened);
    assert_eq!(events(&machine.reopen(&small())), expected);
    assert!(machine.read(&log_file()).starts_with(&whole));
}

/// At every call of a life: the log never looks damaged, and what was acknowledged before is in it.
#[test]
fn no_crash_makes_the_log_look_damaged() {
    let mut call = 0;
    loop {
        let machine = Machine::new(5);
        machine.create(&small()).close().expect("close");
        let environment = machine.environment_dying_at(call);
        let mut acknowledged = 0;
        // What returns after the machine died was not told to anybody.
        let alive = || !machine.plan().crashed();
        let outcome = (|| {
            let db = Database::open_in(environment, PATH, small())?;
            acknowledged = if alive() { 2 } else { acknowledged };
            db.rotate_data_key()?;
            acknowledged = if alive() { 3 } else { acknowledged };
            db.add_key(raw(2), "second")?;
            acknowledged = if alive() { 4 } else { acknowledged };
            db.put(b"k", b"v")?;
            db.close()
        })();
        let crashed = machine.plan().crashed();
        machine.plan().crash_at(0);
        let mut random = Random(call);
        let keep = random.keep();
        machine.disk.crash(&mut || random.next(), keep);
        let db = machine.reopen(&small());
        let found = events(&db);
        assert!(
            found.len() > acknowledged && !found.contains(&AuditEvent::Damaged),
            "call {call}: {found:?}"
        );
        if !crashed {
            outcome.expect("nothing went wrong");
            break;
        }
        call += 1;
    }
    assert!(call > 20);
}

/// Who copies the database and kills the process at once cannot take away the entry that tells of it.
#[test]
fn the_entry_of_a_copy_cannot_be_cut_off_after_a_kill() {
    let machine = Machine::new(8);
    let db = machine.create(&small());
    let before = machine.len(&log_file());
    db.create_checkpoint("/copy").expect("copy");
    machine.kill(db);
    let whole = machine.read(&log_file());
    assert!(whole.len() as u64 > before);
    machine.write(&log_file(), &whole[..before as usize]);
    assert_noticed(&machine, "the entry of the copy");
}

/// What could not be written at first is told by the entry that can be, also when the log could not even be opened.
#[test]
fn entries_that_are_missing_are_counted() {
    let machine = Machine::new(9);
    machine.create(&small()).close().expect("close");
    let environment = machine.environment();
    let unreadable = Fault::new(Calls::Only(CallKind::Open), Effect::Fail(std::io::ErrorKind::Other));
    machine.plan().add(unreadable.on("AUDIT").lasting());
    let db = Database::open_in(environment, PATH, small()).expect("it stops nothing");
    db.rotate_data_key().expect("rotate");
    machine.plan().clear();
    db.rotate_data_key().expect("rotate");
    let log = db.audit_log().expect("read");
    let last = log.records.last().cloned().flatten().expect("readable");
    assert_eq!((last.event, last.missed, log.problem), (AuditEvent::DataKeyRotated, 2, None));
}

/// A keyring that could not be written, and a key that could not be had, are refusals, too.
#[test]
fn what_is_refused_before_or_after_the_keyring_is_changed_is_an_entry() {
    let machine = Machine::new(10);
    let db = machine.create(&small());
    assert!(db.add_key(KeySource::none(), "none").is_err());
    let full = Fault::new(Calls::Only(CallKind::Write), Effect::Fail(std::io::ErrorKind::StorageFull));
    machine.plan().add(full.on("KEYRING"));
    assert!(db.rotate_data_key().is_err());
    assert_eq!(events(&db), [AuditEvent::Created, AuditEvent::Refused, AuditEvent::Refused]);
}

#[test]
fn entries_under_a_destroyed_key_stay_counted() {
    let machine = Machine::new(6);
    let db = machine.create(&small());
    let old = db.data_keys()[0].epoch;
    db.rotate_data_key().expect("rotate");
    db.reseal(&NoProgress).expect("reseal");
    db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress).expect("destroy");
    let log = db.audit_log().expect("read");
    assert_eq!((log.problem, log.records[0].clone()), (None, None));
    let last = log.records.last().cloned().flatten().expect("readable");
    assert_eq!((last.event, last.epoch), (AuditEvent::DataKeyDestroyed, Some(old)));
    db.close().expect("close");
    drop(db);
    assert_eq!(machine.reopen(&small()).audit_log().expect("read").problem, None);
}

#[test]
fn without_keys_there_is_no_log() {
    let machine = Machine::new(7);
    machine.create(&plain()).close().expect("close");
    let db = machine.reopen(&plain());
    assert!(db.audit_log().expect("read").records.is_empty());
    assert!(machine.disk.metadata(&log_file()).is_err());
}
