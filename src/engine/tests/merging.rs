//! Merges: what they keep, what they give back.

use std::sync::Arc;
use std::time::Duration;

use super::support::{Model, Random, World, assert_accounts, assert_holds, small};
use crate::config::LightningDbConfig;
use crate::engine::LARGE_VALUE_LEN;

#[test]
fn deletions_stay_deleted_through_every_merge() {
    for seed in 0..4 {
        let world = World::new(seed);
        let db = world.create(&LightningDbConfig { background_compaction: seed % 2 == 0, ..small() });
        let (mut random, mut model) = (Random(seed), Model::new());
        for round in 0..30 {
            for _ in 0..60 {
                let key = random.key(200);
                if random.below(2) == 0 {
                    db.delete(&key).expect("delete");
                    model.remove(&key);
                } else {
                    let value = random.value(200);
                    db.put(&key, &value).expect("put");
                    model.insert(key, value);
                }
            }
            db.checkpoint().expect("checkpoint");
            while db.engine.merge_once().expect("merge") {}
            if round % 10 == 9 {
                assert_holds(&db, &model);
                assert_accounts(&db);
            }
        }
        db.compact().expect("compact");
        assert_holds(&db, &model);
        assert_accounts(&db);
        let (entries, runs) = db
            .engine
            .catalog
            .read(|manifest| (manifest.keyspaces[0].base.entries, manifest.keyspaces[0].runs.len()));
        assert_eq!((entries, runs), (model.len() as u64, 0), "nothing deleted is left");
    }
}

#[test]
fn overwriting_the_same_data_does_not_grow_the_files() {
    let world = World::new(3);
    let db = world.create(&small());
    let mut random = Random(3);
    let mut model = Model::new();
    let mut largest = 0;
    for round in 0..12 {
        for index in 0..1500u32 {
            let key = format!("key-{index:06}").into_bytes();
            let value: Vec<u8> = (0..120).map(|_| random.next() as u8).collect();
            db.put(&key, &value).expect("put");
            model.insert(key, value);
        }
        db.checkpoint().expect("checkpoint");
        while db.engine.merge_once().expect("merge") {}
        if round > 3 {
            largest = largest.max(world.file_bytes());
        }
    }
    db.compact().expect("compact");
    assert_holds(&db, &model);
    let live = world.file_bytes();
    db.engine.catalog.read(|manifest| {
        let (live, stored) = manifest
            .segments
            .iter()
            .fold((0, 0), |(live, stored), info| (live + info.live_bytes, stored + info.stored_bytes));
        assert!(live * 100 >= stored * 70, "{live} of {stored} bytes are live after compacting");
    });
    assert!(largest < live * 4, "{largest} bytes at most, {live} at the end");
}

#[test]
fn large_values_are_given_back_when_overwritten() {
    let world = World::new(4);
    let db = world.create(&small());
    let mut model = Model::new();
    let mut random = Random(4);
    for round in 0..20u8 {
        for index in 0..6u8 {
            let key = vec![b'k', index];
            let value: Vec<u8> = (0..LARGE_VALUE_LEN + 1000).map(|_| random.next() as u8).collect();
            db.put(&key, &value).expect("put");
            model.insert(key, value);
        }
        if round % 5 == 4 {
            db.delete(&[b'k', round % 6]).expect("delete");
            model.remove(&vec![b'k', round % 6]);
        }
        db.checkpoint().expect("checkpoint");
        while db.engine.merge_once().expect("merge") {}
    }
    assert_holds(&db, &model);
    db.compact().expect("compact");
    assert_holds(&db, &model);
    let bytes: u64 = model.values().map(|value| value.len() as u64).sum();
    let stored = world.file_bytes();
    assert!(stored < bytes * 3 / 2 + (512 << 10), "{stored} bytes hold {bytes}");
    db.close().expect("close");
    drop(db);
    assert_holds(&world.open(&small()).expect("open"), &model);
}

#[test]
fn a_reader_keeps_what_it_sees_while_files_are_merged_away() {
    let world = World::new(5);
    let db = world.create(&small());
    for index in 0..500u32 {
        db.put(&index.to_be_bytes(), b"old").expect("put");
    }
    db.checkpoint().expect("checkpoint");
    let view = db.engine.versions.view();
    for index in 0..500u32 {
        db.put(&index.to_be_bytes(), b"new").expect("put");
    }
    db.compact().expect("compact");
    for index in 0..500u32 {
        let old = db.engine.reader.get_at(&view.version, view.sequence, &index.to_be_bytes());
        assert_eq!(old.expect("readable").as_deref(), Some(&b"old"[..]));
        assert_eq!(db.get(&index.to_be_bytes()).expect("get").as_deref(), Some(&b"new"[..]));
    }
    let with_view = world.disk.files().len();
    drop(view);
    assert!(world.disk.files().len() < with_view, "the files go with the last reader");
}

#[test]
fn what_snapshots_hold_goes_to_temporary_files_when_it_is_too_much() {
    let world = World::new(6);
    let config = LightningDbConfig { cache_size: 256 << 10, ..small() };
    let db = world.create(&config);
    let mut views = Vec::new();
    for round in 0..20u32 {
        for index in 0..60u32 {
            db.put(&index.to_be_bytes(), &[round as u8; 1000]).expect("put");
        }
        views.push((round, db.engine.versions.view()));
        db.checkpoint().expect("checkpoint");
        db.engine.balance_memory().expect("balance");
    }
    let held = db.engine.pinned.memory_bytes();
    assert!(held <= 256 << 10, "{held} bytes are held");
    for (round, view) in &views {
        for index in 0..60u32 {
            let value = db.engine.reader.get_at(&view.version, view.sequence, &index.to_be_bytes());
            assert_eq!(value.expect("readable").as_deref(), Some(&[*round as u8; 1000][..]));
        }
    }
    let files = world.disk.files().len();
    views.clear();
    db.compact().expect("compact");
    assert!(world.disk.files().len() + 10 < files, "temporary files go with the last snapshot");
}

#[test]
fn runs_and_log_are_kept_until_a_repository_has_them() {
    use lightning_db_storage::manifest::{ArchivedThrough, Lineage, RepositoryCursor};

    let world = World::new(7);
    let db = world.create(&small());
    let engine = &db.engine;
    let retained = || engine.catalog.read(|manifest| (manifest.retained_runs.len(), manifest.wal.len()));
    let fill = |count: u32| {
        (0..count).for_each(|index| db.put(&index.to_be_bytes(), &[7; 900]).expect("put"));
        db.checkpoint().expect("checkpoint");
    };
    fill(200);
    assert_eq!(retained().0, 0, "nobody waits");
    let lineage = |sequence| Lineage::Version {
        sequence,
        time_micros: 0,
        keyspaces: vec![lightning_db_storage::manifest::Keyspace::empty_default()],
        segments: Vec::new(),
    };
    let cursor = RepositoryCursor {
        repository: [1; 16],
        url_hint: "repo".into(),
        last_backup: 1,
        archived: None,
        announced: None,
        announced_trees: None,
        lineage: lineage(db.last_sequence()),
    };
    engine.change_manifest(|manifest| manifest.repositories.push(cursor)).expect("register");
    fill(200);
    db.compact().expect("compact");
    let (runs, log) = retained();
    assert!(runs > 0 && log > 1, "{runs} runs and {log} log segments are kept");
    let kept: Vec<_> = engine
        .catalog
        .read(|manifest| manifest.retained_runs.iter().flat_map(|run| run.segments.clone()).collect());
    let version = engine.versions.current();
    assert!(kept.iter().all(|id| version.tree.segments.get(*id).is_some()), "their files are there");
    drop(version);

    let last = db.last_sequence();
    let end = engine
        .catalog
        .read(|manifest| manifest.wal.iter().filter_map(|info| info.accepted_through).next_back());
    let end = end.expect("a finished log segment");
    engine
        .change_manifest(|manifest| {
            let cursor = &mut manifest.repositories[0];
            cursor.lineage = lineage(last);
            let (incarnation, frame, tag, sequence) =
                (manifest.incarnation, end.frame, end.tag, end.sequence);
            cursor.archived = Some(ArchivedThrough { incarnation, frame, tag, sequence, time_micros: 0 });
        })
        .expect("a backup");
    let (runs, log) = retained();
    assert_eq!(runs, 0);
    assert!(log <= 2, "{log} log segments are left");

    // A repository that never fetches: the log is given up beyond its cap, and the gap is on record.
    for _ in 0..12 {
        fill(200);
    }
    let (log, gaps) = engine.catalog.read(|manifest| (manifest.wal.len() as u64, manifest.gaps.clone()));
    let config = small();
    assert!(
        log * config.wal_segment_size <= config.max_retained_log + 3 * config.wal_segment_size,
        "{log} segments"
    );
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].after, end.sequence);
}

#[test]
fn merges_move_by_and_by_what_older_keys_sealed() {
    let world = World::new(9);
    let db = world.create(&small());
    let (mut random, mut model) = (Random(9), Model::new());
    for index in 0..4000u32 {
        let value = random.value(if index % 500 == 0 { 2 * LARGE_VALUE_LEN as u64 } else { 400 });
        db.put(&index.to_be_bytes(), &value).expect("put");
        model.insert(index.to_be_bytes().to_vec(), value);
    }
    db.compact().expect("compact");
    db.put(b"in a run", b"before the rotation").expect("put");
    model.insert(b"in a run".to_vec(), b"before the rotation".to_vec());
    db.checkpoint().expect("checkpoint");
    let epoch = db.rotate_data_key().expect("rotate");
    let mut merges = 0;
    while db.engine.merge_once().expect("merge") {
        merges += 1;
        assert!(merges < 50, "the rotation ends");
        assert_accounts(&db);
    }
    assert!(merges > 1, "not all at once");
    let oldest = db.engine.catalog.read(|manifest| manifest.segments.iter().map(|info| info.epoch).min());
    assert_eq!(oldest, Some(epoch), "something is still under the old key");
    assert_holds(&db, &model);
}

#[test]
fn merges_that_are_due_begin_when_the_database_is_opened() {
    let world = World::new(10);
    let quiet = LightningDbConfig { compaction_interval: Duration::from_secs(3600), ..small() };
    let db = world.create(&quiet);
    for index in 0..60u32 {
        db.put(&index.to_be_bytes(), b"in a run of its own").expect("put");
        db.checkpoint().expect("checkpoint");
    }
    db.close().expect("close");
    drop(db);
    let db = world.open(&LightningDbConfig { background_compaction: true, ..quiet }).expect("open");
    let (done, put) = std::sync::mpsc::channel();
    let writer = Arc::clone(&db);
    std::thread::spawn(move || done.send(writer.put(b"k", b"v")));
    let put =
        put.recv_timeout(Duration::from_secs(20)).expect("a writer does not wait for the next interval");
    put.expect("put");
    assert!(db.engine.catalog.read(|manifest| manifest.keyspaces[0].runs.len()) < 60);
}
