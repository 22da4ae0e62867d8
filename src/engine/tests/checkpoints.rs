//! Named checkpoints, and copies.

use std::path::Path;

use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::vfs::{FaultPlan, FaultyVfs, Keep, Vfs};

use super::support::{Model, PATH, Random, World, assert_accounts, assert_holds, small};
use crate::database::Database;
use crate::error::Error;

fn fill(db: &Database, model: &mut Model, random: &mut Random, count: usize) {
    for _ in 0..count {
        let (key, value) = (random.key(300), random.value(200));
        db.put(&key, &value).expect("put");
        model.insert(key, value);
    }
}

#[test]
fn a_named_checkpoint_shows_its_moment_until_it_is_dropped() {
    let world = World::new(1);
    let mut random = Random(1);
    let (db, mut model) = (world.create(&small()), Model::new());
    fill(&db, &mut model, &mut random, 500);
    db.put(b"large", &vec![7; 200_000]).expect("put");
    model.insert(b"large".to_vec(), vec![7; 200_000]);
    let then = model.clone();
    let made = db.create_named_checkpoint("then").expect("checkpoint");
    assert_eq!(made.sequence, db.last_sequence());
    assert!(matches!(db.create_named_checkpoint("then"), Err(Error::AlreadyExists { .. })));
    assert!(matches!(db.create_named_checkpoint(""), Err(Error::InvalidArgument { .. })));
    for _ in 0..5 {
        fill(&db, &mut model, &mut random, 400);
        db.delete(b"large").expect("delete");
        model.remove(&b"large"[..]);
        db.compact().expect("compact");
    }
    assert_accounts(&db);
    db.close().expect("close");
    drop(db);
    let db = world.open(&small()).expect("open");
    assert_eq!(db.named_checkpoints(), [made]);
    let shown = db.open_named_checkpoint("then").expect("the checkpoint");
    for (key, value) in &then {
        assert_eq!(shown.get(key).expect("readable").as_ref(), Some(value));
    }
    assert_eq!(shown.scan(None, None).expect("scan").count(), then.len());
    let with_checkpoint = world.file_bytes();
    db.drop_named_checkpoint("then").expect("drop");
    assert_eq!(shown.get(b"large").expect("readable").map(|value| value.len()), Some(200_000));
    drop(shown);
    assert!(matches!(db.open_named_checkpoint("then"), Err(Error::NotFound { .. })));
    assert!(matches!(db.drop_named_checkpoint("then"), Err(Error::NotFound { .. })));
    db.compact().expect("compact");
    assert!(world.file_bytes() < with_checkpoint);
    assert_holds(&db, &model);
}

#[test]
fn a_copy_opens_with_its_moment_and_goes_its_own_way() {
    let world = World::new(2);
    let mut random = Random(2);
    let (db, mut model) = (world.create(&small()), Model::new());
    fill(&db, &mut model, &mut random, 600);
    let then = model.clone();
    db.create_checkpoint("/copy").expect("copy");
    assert!(matches!(db.create_checkpoint("/copy"), Err(Error::AlreadyExists { .. })));
    fill(&db, &mut model, &mut random, 600);
    db.compact().expect("compact");

    let copy = Database::open_in(world.environment(), "/copy", small()).expect("open the copy");
    assert_holds(&copy, &then);
    assert_eq!(copy.last_sequence().0, 600);
    let (ours, theirs) = (db.engine.ctx.incarnation.get(), copy.engine.ctx.incarnation.get());
    assert_ne!(ours, theirs, "two histories");
    let fork = copy.engine.catalog.read(|manifest| manifest.ancestry.last().copied()).expect("a parent");
    assert_eq!((fork.incarnation, fork.sequence.0), (ours, 600));
    let mut theirs = then;
    fill(&copy, &mut theirs, &mut random, 600);
    copy.compact().expect("compact");
    assert_holds(&copy, &theirs);
    assert_holds(&db, &model);
    copy.close().expect("close");
    drop(copy);
    let copy = Database::open_in(world.environment(), "/copy", small()).expect("open again");
    assert_holds(&copy, &theirs);
}

#[test]
fn a_copy_that_fails_leaves_nothing_behind() {
    let world = World::new(3);
    let db = world.create(&small());
    fill(&db, &mut Model::new(), &mut Random(3), 100);
    db.close().expect("close");
    drop(db);
    let before = world.disk.list(Path::new("/")).expect("list").len();
    for at in 0..12 {
        let plan = FaultPlan::new();
        let faulty = std::sync::Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan.clone()));
        let db = Database::open_in(world.environment_on(faulty), PATH, small()).expect("open");
        db.checkpoint().expect("checkpoint");
        let fault = lightning_db_storage::vfs::Fault::new(
            lightning_db_storage::vfs::Calls::Mutating,
            lightning_db_storage::vfs::Effect::Fail(std::io::ErrorKind::Other),
        );
        plan.add(fault.on("copy").after(at));
        assert!(db.create_checkpoint("/copy").is_err(), "call {at}");
        plan.clear();
        assert_eq!(world.disk.list(Path::new("/")).expect("list").len(), before, "call {at}");
        db.put(b"k", b"v").expect("the database is as it was");
    }
}

#[test]
fn a_rollback_gives_the_moment_back_and_begins_a_new_history() {
    let world = World::new(4);
    let mut random = Random(4);
    let (db, mut model) = (world.create(&small()), Model::new());
    fill(&db, &mut model, &mut random, 400);
    db.put(b"large", &vec![5; 150_000]).expect("put");
    model.insert(b"large".to_vec(), vec![5; 150_000]);
    db.compact().expect("compact");
    fill(&db, &mut model, &mut random, 100);
    let then = model.clone();
    db.create_named_checkpoint("then").expect("checkpoint");
    let at = db.last_sequence();
    for _ in 0..3 {
        fill(&db, &mut model, &mut random, 300);
        db.delete(b"large").expect("delete");
        db.compact().expect("compact");
    }
    assert!(matches!(db.rollback_to("never"), Err(Error::NotFound { .. })));
    db.put(b"late", b"1").expect("not flushed yet");
    let before = db.snapshot();
    let open = db.begin_transaction().expect("begin");
    db.put_tx(open, b"late", b"2").expect("put");
    let left = db.engine.ctx.incarnation.get();
    let step = db.rollback_to("then").expect("rollback");
    assert!(step > before.sequence() && step == db.last_sequence());
    assert_holds(&db, &then);
    assert_eq!(
        before.get(b"late").expect("readable").as_deref(),
        Some(&b"1"[..]),
        "a snapshot does not change"
    );
    assert!(matches!(db.commit_transaction(open), Err(Error::TransactionConflict)));
    let (gaps, fork) = db.engine.catalog.read(|m| (m.gaps.clone(), m.ancestry.last().copied()));
    assert_eq!(gaps, []);
    assert_eq!(fork.map(|fork| (fork.incarnation, fork.sequence, fork.next)), Some((left, at, step)));
    drop(before);
    model = then.clone();
    fill(&db, &mut model, &mut random, 50);
    assert_eq!(db.last_sequence().0, step.0 + 50);
    drop(db);
    for _ in 0..2 {
        let db = world.open(&small()).expect("open");
        assert_ne!(db.engine.ctx.incarnation.get(), left);
        assert_eq!(db.named_checkpoints().len(), 1);
        assert_holds(&db, &model);
        assert_accounts(&db);
        fill(&db, &mut model, &mut random, 500);
        db.compact().expect("compact");
        assert_holds(&db, &model);
        assert_accounts(&db);
        db.close().expect("close");
    }
}

#[test]
fn a_hot_record_of_the_history_that_was_left_is_not_served() {
    let world = World::new(5);
    let db = world.create(&small());
    db.put(b"key", b"then").expect("put");
    db.create_named_checkpoint("then").expect("checkpoint");
    db.put(b"key", b"now").expect("put");
    for _ in 0..5 {
        assert_eq!(db.get(b"key").expect("get").as_deref(), Some(&b"now"[..]));
    }
    db.rollback_to("then").expect("rollback");
    assert_eq!(db.get(b"key").expect("get").as_deref(), Some(&b"then"[..]));
}

#[test]
fn going_back_and_forth_keeps_the_line_of_histories() {
    let world = World::new(6);
    let db = world.create(&small());
    let incarnation = || db.engine.ctx.incarnation.get();
    let first = incarnation();
    db.put(b"key", b"one").expect("put");
    db.create_named_checkpoint("one").expect("checkpoint");
    let one = db.last_sequence();
    db.rollback_to("one").expect("rollback");
    let second = incarnation();
    db.put(b"key", b"two").expect("put");
    db.create_named_checkpoint("two").expect("checkpoint");
    let two = db.last_sequence();
    db.rollback_to("one").expect("rollback");
    db.rollback_to("two").expect("rollback");
    assert_eq!(db.get(b"key").expect("get").as_deref(), Some(&b"two"[..]));
    let line: Vec<_> = db
        .engine
        .catalog
        .read(|manifest| manifest.ancestry.iter().map(|fork| (fork.incarnation, fork.sequence)).collect());
    assert_eq!(line, [(first, one), (second, two)], "the third history is no ancestor of the fourth");
}

#[test]
fn a_crash_at_any_call_of_a_rollback_leaves_the_old_state_or_the_checkpoints() {
    for at in 0..200 {
        let world = World::new(7);
        let db = world.create(&small());
        db.put(b"key", b"then").expect("put");
        db.create_named_checkpoint("then").expect("checkpoint");
        db.put(b"key", b"now").expect("put");
        db.close().expect("close");
        drop(db);
        let plan = FaultPlan::new();
        let faulty = std::sync::Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan.clone()));
        let db = Database::open_in(world.environment_on(faulty), PATH, small()).expect("open");
        plan.crash_at(at);
        let outcome = db.rollback_to("then");
        drop(db);
        let mut random = Random(at);
        world.disk.crash(&mut || random.next(), Keep::Random);
        let db = world.open(&small()).expect("opens");
        let value = db.get(b"key").expect("get").expect("a value");
        assert!(value == b"then" || value == b"now" && outcome.is_err(), "call {at}: {value:?}, {outcome:?}");
        db.put(b"key", b"later").expect("writable");
        if outcome.is_ok() {
            return;
        }
    }
    panic!("the rollback never succeeded");
}

#[test]
fn a_checkpoint_names_no_segment_that_only_a_repository_waits_for() {
    let world = World::new(9);
    let db = world.create(&small());
    let mut random = Random(9);
    for _ in 0..2000 {
        db.put(&random.key(100_000), &[1; 100]).expect("put");
    }
    db.compact().expect("compact");
    db.backup("/repo").expect("the repository is known from now on");
    for value in [vec![7; 200_000], vec![1], vec![2], vec![3]] {
        db.put(b"large", &value).expect("put");
        db.checkpoint().expect("flush");
    }
    assert!(db.engine.merge_once().expect("merge"));
    let dead = db.engine.catalog.read(|manifest| {
        assert_eq!(manifest.keyspaces[0].runs.len(), 1, "the runs became one");
        manifest.segments.iter().any(|info| info.live_bytes == 0 && info.kind == SegmentKind::Value)
    });
    assert!(dead, "the large value is kept for the next backup alone");
    db.create_named_checkpoint("then").expect("checkpoint");
    db.compact().expect("compact");
    db.backup("/repo").expect("backup");
    db.close().expect("close");
    drop(db);
    let db = world.open(&small()).expect("open");
    db.rollback_to("then").expect("rollback");
    assert_eq!(db.get(b"large").expect("get").as_deref(), Some(&[3][..]));
}
