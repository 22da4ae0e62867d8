//! An audit log that is longer than one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db::{AuditEvent, CheckOptions, Database, Error, KeySource, SlotId, Vfs, check_in};

use crate::support::{KEY, Machine, PATH, Random, small};

const PART_LEN: u64 = 1 << 20;
/// More than an entry takes.
const ENTRY_LEN: u64 = 200;

fn part(number: u32) -> PathBuf {
    let name = if number == 1 { "AUDIT".to_owned() } else { format!("AUDIT.{number}") };
    Path::new(PATH).join(name)
}

/// Has changes of keys refused until `done`; says how many.
fn refuse(db: &Arc<Database>, mut done: impl FnMut() -> bool) -> usize {
    let mut count = 0;
    while !done() {
        assert!(matches!(db.remove_key(SlotId(1)), Err(Error::LastKeySlot)));
        count += 1;
    }
    count
}

/// A log of three parts, and how many entries it has.
fn long(machine: &Machine) -> usize {
    let db = machine.create(&small());
    let refused = refuse(&db, || machine.disk.metadata(&part(3)).is_ok());
    db.close().expect("close");
    drop(db);
    machine.reopen(&small()).close().expect("close");
    // Created, refused, opened.
    refused + 2
}

fn is_sound(machine: &Machine) -> bool {
    let db = machine.open_read_only(&small()).expect("data is served all the same");
    let sound = db.audit_log().expect("read").problem.is_none();
    drop(db);
    let options = CheckOptions { encryption_key: KeySource::raw(KEY), ..CheckOptions::default() };
    let report = check_in(&machine.environment(), PATH, &options).expect("check");
    assert_eq!(report.is_sound(), sound);
    sound
}

#[test]
fn a_long_log_goes_on_in_another_part_and_all_of_it_is_proven() {
    let machine = Machine::new(31);
    let entries = long(&machine);
    let db = machine.open_read_only(&small()).expect("open");
    let log = db.audit_log().expect("read");
    assert_eq!((log.problem, log.gone, log.records.len()), (None, 0, entries));
    let of = |event| log.records.iter().flatten().filter(|record| record.event == event).count();
    assert_eq!((of(AuditEvent::Refused), of(AuditEvent::Opened)), (entries - 2, 1));
    drop(db);
    assert!(is_sound(&machine));
    for number in 1..=3 {
        assert!(machine.len(&part(number)) <= PART_LEN);
        let whole = machine.read(&part(number));
        for at in [0, 20, 60, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            machine.write(&part(number), &changed);
            assert!(!is_sound(&machine), "byte {at} of part {number} changed");
        }
        machine.write(&part(number), &whole[..whole.len() - 1]);
        assert!(!is_sound(&machine), "part {number} cut");
        machine.disk.remove_file(&part(number)).expect("remove");
        assert!(!is_sound(&machine), "part {number} removed");
        machine.write(&part(number), &whole);
    }
    assert!(is_sound(&machine));

    // The next opening notices that an old part is gone, and keeps the others as they are.
    let newest = machine.read(&part(3));
    machine.disk.remove_file(&part(2)).expect("remove");
    let db = machine.reopen(&small());
    let log = db.audit_log().expect("read");
    let events: Vec<_> = log.records.iter().flatten().map(|record| record.event).collect();
    assert_eq!(events, [AuditEvent::Damaged, AuditEvent::Opened]);
    assert!(machine.read(&Path::new(PATH).join("AUDIT.damaged.2")) == newest);
    let set_aside = db.damaged_audit_logs().expect("read");
    let names: Vec<_> = set_aside.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["AUDIT.damaged", "AUDIT.damaged.2"]);
    assert!(set_aside.iter().all(|file| file.breaks.is_none() && !file.entries.is_empty()));
}

/// At every call of a life in which the log goes on in another part: it never looks damaged, and what was acknowledged is in it.
#[test]
fn no_crash_between_two_parts_loses_an_entry() {
    let prepared = Machine::new(32);
    let db = prepared.create(&small());
    let before = 1 + refuse(&db, || prepared.len(&part(1)) + ENTRY_LEN > PART_LEN);
    db.close().expect("close");
    drop(db);
    let mut call = 0;
    loop {
        let machine = Machine::new(33 + call);
        machine.disk.create_dir(Path::new(PATH)).expect("a directory");
        for path in prepared.disk.files().into_iter().filter(|path| path.starts_with(PATH)) {
            machine.write(&path, &prepared.read(&path));
        }
        machine.disk.sync_dir(Path::new(PATH)).expect("durable");
        machine.disk.sync_dir(Path::new("/")).expect("durable");
        let environment = machine.environment_dying_at(call);
        let mut acknowledged = before;
        let alive = || !machine.plan().crashed();
        let outcome = (|| {
            let db = Database::open_in(environment, PATH, small())?;
            acknowledged = if alive() { before + 1 } else { acknowledged };
            for more in 2..5 {
                db.rotate_data_key()?;
                acknowledged = if alive() { before + more } else { acknowledged };
            }
            db.close()
        })();
        let crashed = machine.plan().crashed();
        machine.plan().crash_at(0);
        let mut random = Random(call);
        let keep = random.keep();
        machine.disk.crash(&mut || random.next(), keep);
        let db = machine.reopen(&small());
        let log = db.audit_log().expect("read");
        assert_eq!(log.problem, None, "call {call}");
        // One more: it was opened again.
        assert!(log.records.len() > acknowledged, "call {call}: {} of {acknowledged}", log.records.len());
        assert!(
            log.records.iter().flatten().all(|record| record.event != AuditEvent::Damaged),
            "call {call}"
        );
        if !crashed {
            outcome.expect("nothing went wrong");
            assert_eq!(log.part, 2);
            break;
        }
        call += 1;
    }
    assert!(call > 20);
}
