//! Whole databases: some files were changed, or the manifest was made up by who has the key.

use std::path::Path;
use std::sync::Arc;

use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{Manifest, ManifestStore};
use lightning_db_storage::tree::TreeRef;
use lightning_db_storage::vfs::{MemVfs, Vfs};

use super::sample::{self, Model, content, disk, environment, sample};
use super::{Input, Target, edit};
use crate::check::{CheckDepth, CheckOptions, check_in};
use crate::database::Database;
use crate::error::Result;

/// Files changed without the key: what is read is what was there after the commit that the database says is its last.
pub const DATABASE: Target = Target {
    name: "database",
    run: files,
    seeds: || {
        let mut seeds = vec![vec![0], vec![1]];
        for number in 0..12 {
            seeds.push(vec![1, number, 0, 5, 0, 0, 6, 0, 0, 0, 200, 9]);
            seeds.push(vec![0, number, number + 1, 1]);
            seeds.push(vec![1, number, 0, 0]);
        }
        seeds
    },
    room: 64 << 20,
};

/// A manifest made up by who has the key, over sound files: opening it and working with it gives errors at worst.
pub const DATABASE_MANIFEST: Target = Target {
    name: "database_manifest",
    run: manifest,
    seeds: || {
        let mut seeds = vec![vec![]];
        for which in 0..24 {
            for how in [[0, 0], [1, 0], [2, 31], [2, 62]] {
                seeds.push([&[1, which, 0][..], &how].concat());
            }
        }
        for at in (0u32..1500).step_by(50) {
            seeds.push([&[0, 6 + 9 * (at / 50 % 8) as u8], &at.to_be_bytes()[1..], &[8]].concat());
        }
        seeds
    },
    room: 256 << 20,
};

fn files(data: &[u8]) {
    let mut input = Input::new(data);
    let restarted = input.byte() & 1 == 1;
    let mut files = sample().files.clone();
    let changed = sample::change(&mut files, sample::DATABASE, &mut input);
    let disk = disk(&files, restarted);
    let options = CheckOptions { depth: CheckDepth::Deep, encryption_key: sample::key(), progress: None };
    let report = check_in(&environment(&disk, 2), sample::DATABASE, &options);
    let sound = report.as_ref().is_ok_and(|report| report.is_sound());
    assert!(sound || changed, "an unchanged database is not sound: {report:?}");
    if let Ok(db) = Database::open_read_only_in(environment(&disk, 3), sample::DATABASE, sample::config()) {
        compare(&db, changed);
    }
    match Database::open_in(environment(&disk, 4), sample::DATABASE, sample::config()) {
        Ok(db) => {
            let whole = compare(&db, changed);
            assert!(whole || !sound, "the check finds nothing, and something cannot be read");
            go_on(&disk, db);
        }
        Err(error) => assert!(changed, "an unchanged database does not open: {error}"),
    }
}

/// Compares what can be read with what was committed; whether all could be read.
fn compare(db: &Database, changed: bool) -> bool {
    let last = u64::from(db.last_sequence());
    assert!((sample().synced..sample().states.len() as u64).contains(&last), "commit {last} is the last");
    assert!(changed || last == sample().states.len() as u64 - 1);
    let expected: &Model = &sample().states[last as usize];
    let mut whole = true;
    match content(db) {
        Ok(found) => assert_eq!(&found, expected, "a scan gives something else"),
        Err(_) => whole = false,
    }
    for key in sample().states.iter().flat_map(|state| state.keys()) {
        match db.get(key) {
            Ok(found) => assert_eq!(found.as_ref(), expected.get(key), "a read gives something else"),
            Err(_) => whole = false,
        }
    }
    assert!(whole || changed);
    whole
}

/// What opens can be written, and what was written is there after the next open.
fn go_on(disk: &MemVfs, db: Arc<Database>) {
    let before = content(&db);
    db.put(b"one more", b"value").expect("an open database takes a write");
    let last = db.last_sequence();
    // Damage that nobody has read yet can keep a flush from succeeding, and nothing else.
    let _ = db.close();
    drop(db);
    let Ok(db) = Database::open_in(environment(disk, 5), sample::DATABASE, sample::config()) else {
        assert!(before.is_err(), "a database that was whole does not open again");
        return;
    };
    assert_eq!(db.last_sequence(), last);
    assert_eq!(db.get(b"one more").expect("it was just written"), Some(b"value".to_vec()));
}

fn manifest(data: &[u8]) {
    let disk = disk(&sample().files, false);
    let place = Path::new(sample::DATABASE);
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let provider = sample::key().resolve().expect("a raw key");
    let keyring =
        KeyringStore::new(Arc::clone(&vfs), place).load(provider.as_deref()).expect("a sound keyring").value;
    let sound = ManifestStore::load(&vfs, place, &keyring).expect("a sound manifest").value;
    let mut input = Input::new(data);
    let mut made_up = sound.clone();
    for _ in 0..input.byte() % 4 {
        set_field(&mut made_up, &mut input);
    }
    let mut plain = made_up.to_plain().to_vec();
    edit(&mut plain, &mut input);
    let Ok(made_up) = Manifest::from_plain(place, keyring.suite_id(), &plain) else { return };
    let made_up = Manifest { database: sound.database, ..made_up };
    let mut store = ManifestStore::new(vfs, place);
    let world = environment(&disk, 2);
    store.commit(&made_up, &keyring, &*world.entropy).expect("it was accepted");
    let options = CheckOptions { depth: CheckDepth::Deep, encryption_key: sample::key(), progress: None };
    let _ = check_in(&world, place, &options);
    if let Ok(db) = Database::open_read_only_in(world.clone(), place, sample::config()) {
        let _ = content(&db);
    }
    if let Ok(db) = Database::open_in(world, place, sample::config()) {
        let _ = work(&db);
    }
}

/// Sets a number of the manifest to another one, as a writer with a bug could.
fn set_field(manifest: &mut Manifest, input: &mut Input<'_>) {
    let (which, index) = (input.byte(), usize::from(input.byte()));
    let number = match input.byte() % 4 {
        0 => u64::from(input.byte()),
        1 => u64::MAX - u64::from(input.byte()),
        2 => 1 << (input.byte() % 64),
        _ => input.number(),
    };
    let at = |len: usize| index.checked_rem(len).unwrap_or(0);
    let keyspace = &mut manifest.keyspaces[0];
    match which % 24 {
        0 => manifest.page_size = number as u32,
        1 => manifest.next_segment.0 = number,
        2 => manifest.next_run = number,
        3 => manifest.flushed_sequence.0 = number,
        4 => manifest.flushed_time_micros = number.cast_signed(),
        5 => manifest.created_micros = number.cast_signed(),
        6 => manifest.generation.0 = number,
        7 => keyspace.base.height = number as u8,
        8 => keyspace.base.entries = number,
        9 => keyspace.base.stored_bytes = number,
        10 => keyspace.base.tombstones = number,
        11 => keyspace.base = TreeRef::default(),
        12 => keyspace.key_domain = number as u16,
        13..=16 => {
            let index = at(manifest.segments.len());
            let Some(info) = manifest.segments.get_mut(index) else { return };
            match which % 24 {
                13 => (info.stored_bytes, info.live_bytes) = (number, number),
                14 => info.live_bytes = number.min(info.stored_bytes),
                15 => info.epoch.0 = number as u32,
                _ => info.length = number,
            }
        }
        17..=20 => {
            let index = at(manifest.wal.len());
            let Some(info) = manifest.wal.get_mut(index) else { return };
            match (which % 24, &mut info.accepted_through) {
                (17, Some(end)) => end.offset = number,
                (18, Some(end)) => end.frame.0 = number,
                (19, Some(end)) => end.sequence.0 = number,
                (_, end) => *end = None,
            }
        }
        21 => manifest.wal.truncate(index % 4),
        22 => {
            let index = at(manifest.checkpoints.len());
            let Some(checkpoint) = manifest.checkpoints.get_mut(index) else { return };
            checkpoint.sequence.0 = number;
        }
        _ => {
            let index = at(manifest.repositories.len());
            let Some(cursor) = manifest.repositories.get_mut(index) else { return };
            cursor.last_backup = number;
            if let Some(archived) = &mut cursor.archived {
                archived.frame.0 = number;
            }
        }
    }
}

/// A bit of everything that a manifest has a part in.
fn work(db: &Database) -> Result<()> {
    let _ = content(db);
    let _ = db.stats();
    for checkpoint in db.named_checkpoints() {
        let _ = db.open_named_checkpoint(&checkpoint.name).map(|snapshot| snapshot.get(b"key-001"));
    }
    db.put(b"key", &[1; 100])?;
    db.checkpoint()?;
    let _ = db.backup("/repository");
    db.compact()?;
    let _ = db.rollback_to("named");
    db.put(b"key", b"value")?;
    db.close()
}
