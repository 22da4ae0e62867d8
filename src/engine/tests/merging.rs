//! Merges: what they keep, what they give back.

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
        let old = crate::database::get::get_at(&view.version, &index.to_be_bytes(), view.sequence);
        assert_eq!(old.expect("readable").as_deref(), Some(&b"old"[..]));
        assert_eq!(db.get(&index.to_be_bytes()).expect("get").as_deref(), Some(&b"new"[..]));
    }
    let with_view = world.disk.files().len();
    drop(view);
    assert!(world.disk.files().len() < with_view, "the files go with the last reader");
}
