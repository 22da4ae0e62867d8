//! Named checkpoints, and copies.

use std::path::Path;

use lightning_db_storage::vfs::{FaultPlan, FaultyVfs, Vfs};

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
    let (ours, theirs) = (db.engine.ctx.incarnation, copy.engine.ctx.incarnation);
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
    let last = db.last_sequence();
    assert!(matches!(db.rollback_to("never"), Err(Error::NotFound { .. })));
    db.put(b"late", b"1").expect("still open");
    let left = db.engine.ctx.incarnation;
    db.rollback_to("then").expect("rollback");
    assert!(matches!(db.put(b"k", b"v"), Err(Error::Closed)));
    drop(db);
    for round in 0..2 {
        let db = world.open(&small()).expect("open");
        assert_accounts(&db);
        assert_eq!(db.named_checkpoints().len(), 1);
        if round == 0 {
            assert_holds(&db, &then);
            assert_eq!(db.last_sequence(), at);
            assert_ne!(db.engine.ctx.incarnation, left);
            let gaps = db.engine.catalog.read(|manifest| manifest.gaps.clone());
            assert_eq!(
                gaps.iter().map(|gap| (gap.after, gap.through)).collect::<Vec<_>>(),
                [(at, last.next())]
            );
            model = then.clone();
        }
        fill(&db, &mut model, &mut random, 500);
        db.compact().expect("compact");
        assert_holds(&db, &model);
        assert_accounts(&db);
        db.close().expect("close");
    }
}
