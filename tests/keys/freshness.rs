//! A directory that was put back to an older state is noticed, and a database that nobody touched never is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lightning_db::{
    AnchorSource, Database, Error, FreshnessAnchor, FreshnessMark, FreshnessPolicy, LightningDbConfig,
    NoProgress, RestoreOptions, Vfs,
};
use lightning_db_storage::vfs::{Calls, Effect, Fault};
use parking_lot::Mutex;

use crate::support::{Machine, Model, PATH, Random, assert_holds, small};

const MARK: &str = "/elsewhere/mark";
const OLD: &str = "/old";

fn anchored(policy: FreshnessPolicy) -> LightningDbConfig {
    LightningDbConfig { freshness_anchor: AnchorSource::file(MARK), freshness_policy: policy, ..small() }
}

fn machine() -> Machine {
    let machine = Machine::new(1);
    machine.disk.create_dir(Path::new("/elsewhere")).expect("a folder");
    machine.disk.sync_dir(Path::new("/")).expect("sync");
    machine
}

fn remove(machine: &Machine, folder: &str) {
    for file in machine.disk.files().iter().filter(|file| file.starts_with(folder)) {
        machine.disk.remove_file(file).expect("remove");
    }
    machine.disk.remove_dir(Path::new(folder)).expect("remove");
}

/// A database that went on after a copy of its directory was taken, which is put in its place.
fn put_back(machine: &Machine) {
    let db = machine.create(&anchored(FreshnessPolicy::Refuse));
    db.put(b"k", b"then").expect("put");
    db.close().expect("close");
    drop(db);
    machine.disk.copy_tree(Path::new(PATH), Path::new(OLD)).expect("copy");
    let db = machine.reopen(&anchored(FreshnessPolicy::Refuse));
    db.put(b"k", b"now").expect("put");
    db.close().expect("close");
    drop(db);
    remove(machine, PATH);
    machine.disk.copy_tree(Path::new(OLD), Path::new(PATH)).expect("copy");
}

#[test]
fn an_older_directory_is_refused_and_changes_nothing() {
    let machine = machine();
    put_back(&machine);
    let files =
        || -> Vec<_> { machine.disk.files().iter().map(|path| (path.clone(), machine.read(path))).collect() };
    let before = files();
    for open in [Machine::open, Machine::open_read_only] {
        let refused = open(&machine, &anchored(FreshnessPolicy::Refuse));
        assert!(matches!(refused, Err(Error::RolledBack { .. })), "{refused:?}");
    }
    let after: Vec<_> = files().into_iter().filter(|(path, _)| !path.ends_with("LOCK")).collect();
    assert!(before.into_iter().filter(|(path, _)| !path.ends_with("LOCK")).eq(after), "a file changed");
    // Without an anchor nobody can tell.
    assert_eq!(
        machine.open_read_only(&small()).expect("open").get(b"k").expect("get").as_deref(),
        Some(&b"then"[..])
    );
}

#[test]
fn it_can_be_warned_of_or_ignored_once_and_then_counts() {
    for policy in [FreshnessPolicy::Warn, FreshnessPolicy::Ignore] {
        let machine = machine();
        put_back(&machine);
        machine.open_read_only(&anchored(policy)).expect("opened for reading, the mark stays");
        assert!(machine.open(&anchored(FreshnessPolicy::Refuse)).is_err());
        machine.reopen(&anchored(policy)).close().expect("close");
        machine.reopen(&anchored(FreshnessPolicy::Refuse)).close().expect("what was accepted counts");
    }
}

/// Each state that a copy was taken of is told from every later one.
#[test]
fn every_closed_state_is_told_from_the_later_ones() {
    let machine = machine();
    machine.create(&anchored(FreshnessPolicy::Refuse)).close().expect("close");
    for round in 0..5_u32 {
        machine.disk.copy_tree(Path::new(PATH), Path::new(&format!("/old-{round}"))).expect("copy");
        let db = machine.reopen(&anchored(FreshnessPolicy::Refuse));
        db.put(b"round", &round.to_le_bytes()).expect("put");
        db.close().expect("close");
    }
    for round in 0..5 {
        let place = format!("/old-{round}");
        let opened = Database::open_in(machine.environment(), &place, anchored(FreshnessPolicy::Refuse));
        assert!(matches!(opened, Err(Error::RolledBack { .. })), "{place}: {opened:?}");
    }
    machine.reopen(&anchored(FreshnessPolicy::Refuse)).close().expect("the newest opens");
}

#[test]
fn another_database_in_its_place_is_noticed() {
    let machine = machine();
    machine.create(&anchored(FreshnessPolicy::Refuse)).close().expect("close");
    Database::create_in(machine.environment(), "/other", small()).expect("create").close().expect("close");
    let opened = Database::open_in(machine.environment(), "/other", anchored(FreshnessPolicy::Refuse));
    assert!(matches!(opened, Err(Error::RolledBack { .. })), "{opened:?}");
    let created = Database::create_in(machine.environment(), "/new", anchored(FreshnessPolicy::Refuse));
    assert!(matches!(created, Err(Error::RolledBack { .. })), "{created:?}");
    assert!(machine.disk.metadata(Path::new("/new")).is_err(), "nothing is left");
}

/// At every call of a life, with the disk as a power cut leaves it: a healthy database is never refused.
#[test]
fn no_crash_makes_a_healthy_database_look_old() {
    for seed in 0..2 {
        let mut call = seed;
        loop {
            let machine = machine();
            machine.create(&anchored(FreshnessPolicy::Refuse)).close().expect("close");
            let mut random = Random(call + seed * 1000);
            let environment = machine.environment_dying_at(call);
            let outcome = life(environment);
            let crashed = machine.plan().crashed();
            machine.plan().crash_at(0);
            let keep = random.keep();
            machine.disk.crash(&mut || random.next(), keep);
            let opened = machine.open(&anchored(FreshnessPolicy::Refuse));
            opened
                .unwrap_or_else(|error| panic!("seed {seed}, call {call}: {error}"))
                .close()
                .expect("close");
            if !crashed {
                outcome.expect("nothing went wrong");
                break;
            }
            call += 2;
        }
        assert!(call > 40);
    }
}

fn life(environment: lightning_db::Environment) -> lightning_db::Result<()> {
    let db = Database::open_in(environment, PATH, anchored(FreshnessPolicy::Refuse))?;
    for round in 0..3_u8 {
        db.put(&[round], &[round; 500])?;
        db.checkpoint()?;
    }
    db.create_named_checkpoint("kept")?;
    db.compact()?;
    db.rotate_data_key()?;
    db.rollback_to("kept")?;
    db.put(b"after", b"it")?;
    db.close()
}

#[test]
fn a_restore_in_the_place_of_the_database_is_accepted_on_purpose_only() {
    let machine = machine();
    let db = machine.create(&anchored(FreshnessPolicy::Refuse));
    let mut model = Model::new();
    for index in 0..40_u8 {
        db.put(&[index], &[index; 300]).expect("put");
        model.insert(vec![index], vec![index; 300]);
    }
    db.backup("/repository").expect("backup");
    for _ in 0..5 {
        db.put(b"more", b"of it").expect("put");
        db.checkpoint().expect("flush");
    }
    db.close().expect("close");
    drop(db);
    remove(&machine, PATH);
    let options = RestoreOptions { encryption_key: small().encryption_key, ..RestoreOptions::default() };
    Database::restore_with(&machine.environment(), "/repository", PATH, options, &NoProgress)
        .expect("restore");
    assert!(matches!(machine.open(&anchored(FreshnessPolicy::Refuse)), Err(Error::RolledBack { .. })));
    assert_holds(&machine.reopen(&anchored(FreshnessPolicy::Ignore)), &model, "on purpose");
    assert_holds(&machine.reopen(&anchored(FreshnessPolicy::Refuse)), &model, "from then on");
}

/// An anchor of one's own, which can fail.
#[derive(Debug, Default)]
struct Counter {
    mark: Mutex<Option<FreshnessMark>>,
    fails: Mutex<bool>,
}

impl FreshnessAnchor for Counter {
    fn load(&self) -> io::Result<Option<FreshnessMark>> {
        if *self.fails.lock() { Err(io::Error::other("no answer")) } else { Ok(*self.mark.lock()) }
    }

    fn store(&self, mark: &FreshnessMark) -> io::Result<()> {
        if *self.fails.lock() {
            return Err(io::Error::other("no answer"));
        }
        let mut known = self.mark.lock();
        assert!(known.is_none_or(|known| known.generation < mark.generation), "marks only grow");
        *known = Some(*mark);
        Ok(())
    }
}

#[test]
fn an_anchor_that_does_not_answer_stops_no_write_and_refuses_no_more_than_it_must() {
    let machine = Machine::new(3);
    let counter = Arc::new(Counter::default());
    let config = |policy| LightningDbConfig {
        freshness_anchor: AnchorSource::anchor(Arc::clone(&counter) as _),
        freshness_policy: policy,
        ..small()
    };
    let db = machine.create(&config(FreshnessPolicy::Refuse));
    let marks = || counter.mark.lock().map(|mark| (mark.generation, mark.sequence.0));
    let before = marks();
    for _ in 0..50 {
        db.put(b"k", b"v").expect("put");
    }
    assert_eq!(marks(), before, "a commit costs nothing");
    db.checkpoint().expect("flush");
    assert_eq!(marks().expect("a mark").1, 50);
    *counter.fails.lock() = true;
    db.put(b"k", b"w").expect("put");
    db.close().expect("close");
    drop(db);
    assert!(matches!(machine.open(&config(FreshnessPolicy::Refuse)), Err(Error::Io { .. })));
    machine.reopen(&config(FreshnessPolicy::Warn)).close().expect("warned");
    *counter.fails.lock() = false;
    machine.reopen(&config(FreshnessPolicy::Refuse)).close().expect("newer than the mark");
}

#[test]
fn a_damaged_mark_is_told_from_none() {
    let machine = machine();
    machine.create(&anchored(FreshnessPolicy::Refuse)).close().expect("close");
    let bytes = machine.read(Path::new(MARK));
    assert_eq!(bytes.len(), 88);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        machine.write(Path::new(MARK), &changed);
        assert!(
            matches!(machine.open_read_only(&anchored(FreshnessPolicy::Refuse)), Err(Error::Io { .. })),
            "byte {at}"
        );
    }
    machine.write(Path::new(MARK), &bytes[..40]);
    assert!(machine.open_read_only(&anchored(FreshnessPolicy::Refuse)).is_err());
}

#[test]
fn a_mark_that_is_not_there_any_more_is_told_from_the_first_use() {
    let machine = machine();
    machine.create(&small()).close().expect("close");
    machine.reopen(&anchored(FreshnessPolicy::Refuse)).close().expect("the first use");
    machine.disk.remove_file(Path::new(MARK)).expect("remove");
    let opened = machine.open(&anchored(FreshnessPolicy::Refuse));
    assert!(matches!(opened, Err(Error::RolledBack { .. })), "{opened:?}");
    assert!(machine.disk.metadata(Path::new(MARK)).is_err(), "none is written below a mount point");
    machine.reopen(&anchored(FreshnessPolicy::Ignore)).close().expect("on purpose");
    machine.reopen(&anchored(FreshnessPolicy::Refuse)).close().expect("from then on");
}

#[test]
fn a_disk_that_is_not_mounted_is_told_from_the_first_use() {
    let machine = Machine::new(1);
    machine.create(&small()).close().expect("close");
    for open in [Machine::open, Machine::open_read_only] {
        let refused = open(&machine, &anchored(FreshnessPolicy::Refuse));
        assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    }
    let created = Database::create_in(machine.environment(), "/new", anchored(FreshnessPolicy::Refuse));
    assert!(matches!(created, Err(Error::Io { .. })), "{created:?}");
    machine.reopen(&anchored(FreshnessPolicy::Warn)).close().expect("warned");
}

#[test]
fn a_creation_that_failed_leaves_no_mark() {
    let mut failed = 0;
    for call in 0.. {
        let machine = machine();
        let environment = machine.environment();
        let full = Fault::new(Calls::Mutating, Effect::Fail(io::ErrorKind::StorageFull));
        machine.plan().add(full.after(call));
        let created = Database::create_in(environment, PATH, anchored(FreshnessPolicy::Refuse));
        if machine.plan().strikes() == 0 {
            break;
        }
        if let Err(error) = created {
            failed += 1;
            assert!(machine.disk.metadata(Path::new(MARK)).is_err(), "call {call}: {error}");
            machine.create(&anchored(FreshnessPolicy::Refuse)).close().expect("close");
        }
    }
    assert!(failed > 20, "{failed} creations failed");
}

/// A copy that is opened with the same anchor, as by a variable of the environment that all commands read.
#[test]
fn a_copy_does_not_take_the_mark_of_the_database_it_was_made_of() {
    let machine = machine();
    let db = machine.create(&anchored(FreshnessPolicy::Refuse));
    db.put(b"k", b"v").expect("put");
    db.create_checkpoint("/copy").expect("copy");
    db.close().expect("close");
    drop(db);
    let copy = || Database::open_in(machine.environment(), "/copy", anchored(FreshnessPolicy::Refuse));
    assert!(matches!(copy(), Err(Error::RolledBack { .. })), "{:?}", copy());
    // It may have gone further than the database.
    let alone = Database::open_in(machine.environment(), "/copy", small()).expect("open");
    for _ in 0..10 {
        alone.put(b"k", b"w").expect("put");
        alone.checkpoint().expect("flush");
    }
    alone.close().expect("close");
    drop(alone);
    assert!(matches!(copy(), Err(Error::RolledBack { .. })), "{:?}", copy());
    machine.reopen(&anchored(FreshnessPolicy::Refuse)).close().expect("the database itself opens");
}
