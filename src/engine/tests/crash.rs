//! Power cuts and killed processes at every moment: an open gives what some prefix of the commits made, with every
//! commit that was promised.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::vfs::{Calls, Effect, Fault, FaultPlan, FaultyVfs, Keep, OpenHow, Vfs};

use super::support::{Model, PATH, Random, World, assert_holds, small};
use crate::config::{LightningDbConfig, WalSyncMode};
use crate::database::Database;
use crate::error::Error;

/// The states after each commit, the first one empty.
struct History {
    states: Vec<Model>,
    /// How many commits were acknowledged.
    acknowledged: usize,
}

impl History {
    fn new() -> Self {
        Self { states: vec![Model::new()], acknowledged: 0 }
    }

    /// Commits until one fails; that one may or may not have happened.
    fn work(&mut self, db: &Database, random: &mut Random, commits: usize) {
        for _ in 0..commits {
            let mut next = self.states[self.acknowledged].clone();
            let items: Vec<_> = (0..=random.below(3)).map(|_| (random.key(40), random.value(400))).collect();
            let done = if random.below(5) == 0 {
                let keys: Vec<_> = items.into_iter().map(|(key, _)| key).collect();
                keys.iter().for_each(|key| {
                    next.remove(key);
                });
                db.delete_batch(&keys).is_ok()
            } else {
                next.extend(items.iter().cloned());
                db.put_batch(&items).is_ok()
            };
            self.states.truncate(self.acknowledged + 1);
            self.states.push(next);
            if !done {
                return;
            }
            self.acknowledged += 1;
            if random.below(60) == 0 && db.checkpoint().is_err() {
                return;
            }
            if random.below(90) == 0 && db.compact().is_err() {
                return;
            }
        }
    }

    /// Finds the state that the database has, which must not be older than `promised`, and goes on from it.
    fn settle(&mut self, db: &Database, promised: usize, what: &str) {
        let at = db.last_sequence().0 as usize;
        assert!(at >= promised, "{what}: {promised} commits were promised, {at} are there");
        assert!(at < self.states.len(), "{what}: commit {at} never happened");
        assert_holds(db, &self.states[at]);
        self.states.truncate(at + 1);
        self.acknowledged = at;
    }
}

fn config(seed: u64) -> LightningDbConfig {
    LightningDbConfig {
        wal_sync_mode: if seed.is_multiple_of(2) { WalSyncMode::Sync } else { WalSyncMode::Async },
        improved_wal: !seed.is_multiple_of(3),
        background_compaction: seed.is_multiple_of(5),
        ..small()
    }
}

#[test]
fn a_power_cut_at_any_call_leaves_a_prefix_with_all_that_was_synced() {
    for seed in 0..60 {
        let world = World::new(seed);
        let config = config(seed);
        let mut random = Random(seed * 77 + 1);
        let mut history = History::new();
        world.create(&config).close().expect("close");
        let mut promised = 0;
        for round in 0..4 {
            let plan = FaultPlan::new();
            plan.crash_at(random.below(900));
            let faulty = Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan.clone()));
            if let Ok(db) = Database::open_in(world.environment_on(faulty), PATH, config.clone()) {
                history.settle(&db, promised, &format!("seed {seed} round {round} before"));
                // What an open found is in synced files.
                promised = history.acknowledged;
                history.work(&db, &mut random, 300);
                if config.wal_sync_mode == WalSyncMode::Sync {
                    promised = history.acknowledged;
                }
                drop(db);
            }
            let keep = [Keep::Nothing, Keep::Everything, Keep::Random][random.below(3) as usize];
            world.disk.crash(&mut || random.next(), keep);
            let db = world.open(&config).unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            history.settle(&db, promised, &format!("seed {seed} round {round} after"));
            promised = history.acknowledged;
            db.close().expect("close");
        }
    }
}

#[test]
fn a_killed_process_loses_no_acknowledged_commit() {
    for seed in 0..60 {
        let world = World::new(seed);
        let config = config(seed);
        let mut random = Random(seed * 31 + 7);
        let mut history = History::new();
        world.create(&config).close().expect("close");
        for round in 0..4 {
            let plan = FaultPlan::new();
            plan.crash_at(random.below(900));
            let faulty = Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan.clone()));
            if let Ok(db) = Database::open_in(world.environment_on(faulty), PATH, config.clone()) {
                let promised = history.acknowledged;
                history.settle(&db, promised, &format!("seed {seed} round {round} before"));
                history.work(&db, &mut random, 300);
                drop(db);
            }
            world.disk.kill_process();
            let db = world.open(&config).unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            let promised = history.acknowledged;
            history.settle(&db, promised, &format!("seed {seed} round {round} after"));
            db.close().expect("close");
        }
    }
}

#[test]
fn a_crash_during_creation_leaves_nothing_that_opens_wrong() {
    for at in 0..60 {
        let world = World::new(at);
        let plan = FaultPlan::new();
        plan.crash_at(at);
        let faulty = Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan.clone()));
        let created = Database::create_in(world.environment_on(faulty), PATH, small());
        let is_created = created.is_ok();
        drop(created);
        let mut random = Random(at);
        world.disk.crash(&mut || random.next(), Keep::Random);
        match world.open(&small()) {
            Ok(db) => assert_eq!(db.last_sequence().0, 0),
            Err(error) => {
                assert!(!is_created, "call {at}: {error}");
                world.create(&small()).put(b"k", b"v").unwrap_or_else(|error| panic!("call {at}: {error}"));
            }
        }
    }
}

#[test]
fn after_a_creation_that_failed_and_a_power_cut_there_is_a_database_or_room_for_one() {
    for (fails_at, cut) in (0..60).flat_map(|fails_at| (0..24).map(move |cut| (fails_at, cut))) {
        let world = World::new(fails_at);
        let plan = FaultPlan::new();
        plan.add(Fault::new(Calls::Mutating, Effect::Fail(std::io::ErrorKind::Other)).after(fails_at));
        let faulty = Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan.clone()));
        drop(Database::create_in(world.environment_on(faulty), PATH, small()));
        let mut random = Random(fails_at * 24 + cut);
        world.disk.crash(&mut || random.next(), Keep::Random);
        match world.open(&small()) {
            Ok(db) => assert_eq!(db.last_sequence().0, 0),
            Err(Error::NotFound { .. }) => drop(world.create(&small())),
            Err(error) => panic!("failed at {fails_at}, cut {cut}: {error}"),
        }
    }
}

#[test]
fn what_a_killed_creation_made_is_durable_before_an_open_relies_on_it() {
    for (killed_at, cut_at) in (0..60).flat_map(|killed_at| (0..16).map(move |cut_at| (killed_at, cut_at))) {
        let world = World::new(killed_at * 16 + cut_at);
        let faulty = |calls| {
            let plan = FaultPlan::new();
            plan.crash_at(calls);
            world.environment_on(Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan)))
        };
        drop(Database::create_in(faulty(killed_at), PATH, small()));
        world.disk.kill_process();
        drop(Database::open_in(faulty(cut_at), PATH, small()));
        let mut random = Random(killed_at * 16 + cut_at);
        world.disk.crash(&mut || random.next(), Keep::Random);
        let what = format!("killed at {killed_at}, cut at {cut_at}");
        match world.open(&small()) {
            Ok(db) => assert_eq!(db.last_sequence().0, 0, "{what}"),
            Err(Error::NotFound { .. }) => drop(world.create(&small())),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

#[test]
fn without_a_log_a_crash_goes_back_to_the_last_checkpoint() {
    let world = World::new(1);
    let config = LightningDbConfig { wal_enabled: false, ..small() };
    let db = world.create(&config);
    db.put(b"kept", b"1").expect("put");
    db.checkpoint().expect("checkpoint");
    db.put(b"lost", b"2").expect("put");
    world.kill(db);
    let db = world.open(&config).expect("open");
    assert!(db.get(b"kept").expect("get").is_some());
    assert!(db.get(b"lost").expect("get").is_none());
    db.put(b"more", b"3").expect("put");
    db.close().expect("close");
    drop(db);
    // With a log again: numbers go on, and the interval without log is on record.
    let db = world.open(&small()).expect("open");
    db.put(b"logged", b"4").expect("put");
    let gaps = db.engine.catalog.read(|manifest| manifest.gaps.clone());
    assert_eq!(gaps.iter().map(|gap| (gap.after.0, gap.through.0)).collect::<Vec<_>>(), [(0, 2)]);
    world.kill(db);
    let db = world.open(&config).expect("open");
    assert!(db.get(b"logged").expect("get").is_some());
    assert_eq!(db.last_sequence().0, 3);
}

#[test]
fn what_a_flush_made_durable_is_durable_in_the_log_too() {
    let world = World::new(6);
    let db = world.create(&small());
    for n in 0..10u32 {
        db.put(&n.to_be_bytes(), b"v").expect("put");
    }
    db.checkpoint().expect("checkpoint");
    world.power_cut(db, Keep::Nothing);
    let db = world.open(&small()).expect("open");
    let (flushed, logged) = db.engine.catalog.read(|manifest| {
        let ends = manifest.wal.iter().filter_map(|info| info.accepted_through).chain(manifest.log_end);
        (manifest.flushed_sequence, ends.map(|end| end.sequence).max())
    });
    assert_eq!(Some(flushed), logged, "a commit is in a run and in no log");
}

/// A commit has none behind it that could say that it was synced. A marker does, in every mode.
#[test]
fn damage_to_the_last_synced_commit_is_noticed_after_a_power_cut() {
    let world = World::new(5);
    let config = LightningDbConfig { compaction_interval: Duration::from_millis(5), ..small() };
    let db = world.create(&config);
    for key in [b"a", b"b", b"c"] {
        db.put(key, b"value").expect("put");
    }
    db.create_restore_point("synced").expect("a restore point");
    let log = db.engine.catalog.read(|manifest| manifest.wal[0].id);
    let path = db.engine.ctx.segment_path(SegmentKind::Wal, log);
    let frames = || {
        let bytes = world.disk.open(&path, OpenHow::Read).and_then(|file| {
            let mut bytes = vec![0; file.len()? as usize];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        });
        let bytes = bytes.expect("a log file");
        let starts = (4..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"LDBF"));
        starts.map(|at| at as u64 - 4).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while frames().len() < 6 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let frames = frames();
    assert_eq!(frames.len(), 6, "the segment's beginning, three commits, a restore point, a marker");
    world.power_cut(db, Keep::Everything);
    world.disk.corrupt(&path, frames[4] + 70, 1).expect("inside the file");
    assert!(matches!(world.open(&config), Err(Error::Corrupt { .. })));
}

#[test]
fn without_a_log_a_restore_point_keeps_what_is_before_it() {
    let world = World::new(2);
    let config = LightningDbConfig { wal_enabled: false, ..small() };
    let db = world.create(&config);
    db.put(b"before", b"1").expect("put");
    let point = db.create_restore_point("here").expect("a restore point");
    assert!(matches!(db.create_restore_point("here"), Err(Error::AlreadyExists { .. })));
    db.put(b"after", b"2").expect("put");
    world.kill(db);
    let db = world.open(&config).expect("open");
    assert_eq!(db.last_sequence(), point);
    assert!(db.get(b"before").expect("get").is_some());
    assert!(
        db.engine.catalog.read(|manifest| manifest.restore_points.iter().any(|known| known.name == "here"))
    );
}

#[test]
fn a_replay_of_more_than_a_write_buffer_records_no_gap() {
    let world = World::new(6);
    let large = LightningDbConfig { write_buffer_size: 4 << 20, ..small() };
    let db = world.create(&large);
    let mut model = Model::new();
    for index in 0..1000_u32 {
        let (key, value) = (index.to_be_bytes().to_vec(), vec![1; 400]);
        db.put(&key, &value).expect("put");
        model.insert(key, value);
    }
    world.kill(db);
    let db = world.open(&small()).expect("open");
    assert_holds(&db, &model);
    let gaps = db.engine.catalog.read(|manifest| manifest.gaps.clone());
    assert_eq!(gaps, [], "all of it came from the log");
}

#[test]
fn a_directory_that_a_killed_creation_left_is_durable_before_anything_relies_on_it() {
    let world = World::new(77);
    world.disk.create_dir(PATH.as_ref()).expect("a directory");
    world.disk.kill_process();
    let db = world.create(&LightningDbConfig { wal_sync_mode: WalSyncMode::Sync, ..small() });
    db.put(b"k", b"v").expect("put");
    world.power_cut(db, Keep::Nothing);
    assert_eq!(world.open(&small()).expect("open").get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
}
