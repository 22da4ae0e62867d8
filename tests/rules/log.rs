//! The log: what is in its files, where it ends, and what a crash, a second crash and a full disk leave of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lightning_db::{Database, Error, LightningDbConfig, Vfs, WalSyncMode};
use lightning_db_storage::vfs::{CallKind, Keep};

use crate::support::{Machine, Model, PATH, Random, assert_holds, compare, contains, seeds, small};

const CANARY: &[u8] = b"a-row-that-must-not-be-seen";

fn sync() -> LightningDbConfig {
    LightningDbConfig { wal_sync_mode: WalSyncMode::Sync, ..small() }
}

/// Puts `count` entries, and says what is there then.
fn fill(db: &Database, count: u32) -> Model {
    let mut model = Model::new();
    for index in 0..count {
        let (key, value) = (format!("key-{index:04}").into_bytes(), vec![index as u8; 20]);
        db.put(&key, &value).expect("put");
        model.insert(key, value);
    }
    model
}

#[test]
fn only_ciphertext_is_in_the_files_at_whatever_call_the_process_dies() {
    for at in 0..160 {
        let machine = Machine::new(at);
        let config = LightningDbConfig { improved_wal: at % 4 != 0, compression_enabled: false, ..small() };
        machine.create(&config).close().expect("close");
        if let Ok(db) = Database::open_in(machine.environment_dying_at(at), PATH, config.clone()) {
            let _ = (0..40u32).try_for_each(|index| {
                let value = CANARY.repeat(if index == 20 { 4000 } else { 20 });
                db.put(&[CANARY, &index.to_le_bytes()].concat(), &value)?;
                if index == 30 { db.checkpoint() } else { Ok(()) }
            });
        }
        machine.disk.kill_process();
        for path in machine.disk.files() {
            assert!(!contains(&machine.read(&path), CANARY), "call {at}: plaintext in {}", path.display());
        }
        machine.reopen(&config);
    }
}

/// The newest log file and its length up to the last byte that is not zero.
fn used_log(machine: &Machine) -> (PathBuf, u64) {
    let used = |path: &PathBuf| machine.read(path).iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
    let logs = machine.files_ending(".wal");
    logs.into_iter().map(|path| (path.clone(), used(&path))).max_by_key(|(_, used)| *used).expect("a log")
}

/// Flips bytes of the log between `from` and `to`, one at a time. Each is noticed, or all of `model` is there.
fn assert_each_flip_is_noticed(
    machine: &Machine,
    config: &LightningDbConfig,
    range: std::ops::Range<u64>,
    model: &Model,
) {
    let (log, _) = used_log(machine);
    let copy = Path::new("/copy");
    let mut noticed = 0;
    for offset in range.step_by(3) {
        machine.disk.copy_tree(Path::new(PATH), copy).expect("copy");
        let name = log.file_name().expect("a name");
        machine.disk.corrupt(&copy.join(name), offset, 0x40).expect("flip");
        match Database::open_in(machine.environment(), copy, config.clone()) {
            Err(Error::Corrupt { file, .. }) => {
                assert_eq!(file.file_name(), Some(name), "the damaged file is named");
                noticed += 1;
            }
            Err(error) => panic!("byte {offset}: {error}"),
            Ok(db) => {
                let whole = compare(&db, model);
                whole.unwrap_or_else(|missing| panic!("byte {offset} of the log was flipped and {missing}"));
            }
        }
        for file in machine.disk.files().iter().filter(|file| file.starts_with(copy)) {
            machine.disk.remove_file(file).expect("remove");
        }
        machine.disk.remove_dir(copy).expect("remove");
    }
    assert!(noticed > 20, "{noticed} flips were noticed");
}

#[test]
fn damage_to_anything_that_a_killed_process_acknowledged_is_noticed() {
    let machine = Machine::new(1);
    let db = machine.create(&small());
    let model = fill(&db, 12);
    machine.kill(db);
    let end = used_log(&machine).1;
    assert_each_flip_is_noticed(&machine, &small(), 0..end, &model);
    assert_holds(&machine.reopen(&small()), &model, "undamaged");
}

#[test]
fn damage_to_what_was_synced_is_noticed_after_a_power_cut() {
    let machine = Machine::new(2);
    let db = machine.create(&sync());
    let model = fill(&db, 12);
    let end = used_log(&machine).1;
    // One more commit says that those before it were synced.
    db.put(b"later", b"").expect("put");
    machine.power_cut(db, &mut Random(1), Keep::Everything);
    let mut with_later = model.clone();
    with_later.insert(b"later".to_vec(), Vec::new());
    assert_each_flip_is_noticed(&machine, &sync(), 0..end, &with_later);
}

#[test]
fn a_quiet_log_says_that_its_last_commit_was_synced() {
    let machine = Machine::new(3);
    let config = LightningDbConfig { compaction_interval: Duration::from_millis(5), ..sync() };
    let db = machine.create(&config);
    let model = fill(&db, 12);
    let end = used_log(&machine).1;
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while used_log(&machine).1 == end && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(used_log(&machine).1 > end, "a frame that says so follows the last commit");
    machine.power_cut(db, &mut Random(1), Keep::Everything);
    assert_each_flip_is_noticed(&machine, &config, end - 100..end, &model);
}

#[test]
fn what_was_never_promised_is_cut_off_and_never_comes_back() {
    for seed in seeds(40) {
        let machine = Machine::new(seed);
        let mut random = Random(seed);
        let db = machine.create(&small());
        db.checkpoint().expect("checkpoint");
        for index in 0..60u32 {
            db.put(&index.to_be_bytes(), &random.noise(400)).expect("put");
        }
        machine.power_cut(db, &mut random, Keep::Random);
        let db = machine.reopen(&small());
        let kept = db.last_sequence().0;
        assert_eq!(db.scan(None, None).expect("scan").count() as u64, kept, "a prefix");
        let mut model: Model =
            db.scan(None, None).expect("scan").map(|entry| entry.expect("entry")).collect();
        for index in 0..20u32 {
            let (key, value) = (format!("second life {index}").into_bytes(), random.noise(300));
            db.put(&key, &value).expect("put");
            model.insert(key, value);
        }
        machine.kill(db);
        let db = machine.reopen(&small());
        assert_holds(&db, &model, &format!("seed {seed}, after {kept} commits of the first life"));
        assert_eq!(db.last_sequence().0, kept + 20);
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_synced_before_anything_new_is_acknowledged() {
    let machine = Machine::new(5);
    let db = machine.create(&small());
    let mut model = fill(&db, 30);
    machine.kill(db);
    let db = machine.reopen(&sync());
    db.put(b"new", b"acknowledged").expect("put");
    model.insert(b"new".to_vec(), b"acknowledged".to_vec());
    machine.power_cut(db, &mut Random(1), Keep::Nothing);
    assert_holds(&machine.reopen(&sync()), &model, "after the second crash");
}

/// What a killed process left is in memory only until it is synced: a power cut may still take it.
#[test]
fn a_power_cut_while_the_log_of_a_killed_process_is_replayed_leaves_a_prefix() {
    for at in 0..90 {
        let machine = Machine::new(at);
        let mut random = Random(at);
        let db = machine.create(&small());
        db.put(b"synced", b"").expect("put");
        db.checkpoint().expect("checkpoint");
        let model = fill(&db, 30);
        machine.kill(db);
        drop(Database::open_in(machine.environment_dying_at(at), PATH, small()));
        let keep = if at % 2 == 0 { Keep::Nothing } else { Keep::Random };
        machine.disk.crash(&mut || random.next(), keep);
        let db = machine.open(&small()).unwrap_or_else(|error| panic!("call {at}: {error}"));
        let kept = db.last_sequence().0 as usize - 1;
        let mut prefix: Model = model.into_iter().take(kept).collect();
        prefix.insert(b"synced".to_vec(), Vec::new());
        assert_holds(&db, &prefix, &format!("call {at}, {kept} commits"));
    }
}

#[test]
fn an_acknowledged_commit_is_never_in_a_log_file_that_nobody_knows() {
    // Each count of commits ends somewhere else; some end just behind the beginning of a log file.
    for count in 20..90u32 {
        let machine = Machine::new(count.into());
        let mut random = Random(count.into());
        let config = LightningDbConfig { write_buffer_size: 1 << 20, ..sync() };
        let db = machine.create(&config);
        let mut model = Model::new();
        for index in 0..count {
            let value = random.noise(4000);
            db.put(&index.to_be_bytes(), &value).expect("put");
            model.insert(index.to_be_bytes().to_vec(), value);
        }
        machine.power_cut(db, &mut random, Keep::Nothing);
        assert_holds(&machine.reopen(&config), &model, &format!("{count} synced commits"));
    }
}

#[test]
fn the_log_goes_from_file_to_file_without_a_hole_in_between() {
    for seed in seeds(40) {
        let machine = Machine::new(seed);
        let mut random = Random(seed + 77);
        let config = LightningDbConfig { write_buffer_size: 4 << 20, ..small() };
        let db = machine.create(&config);
        let count = 25 + random.below(80) as u32;
        for index in 0..count {
            db.put(&index.to_be_bytes(), &random.noise(4000)).expect("put");
        }
        machine.power_cut(db, &mut random, Keep::Random);
        let db = machine.reopen(&config);
        let kept = db.last_sequence().0 as u32;
        for index in 0..count {
            let is_there = db.get(&index.to_be_bytes()).expect("get").is_some();
            assert_eq!(is_there, index < kept, "seed {seed}: commit {index} of {kept} that were kept");
        }
    }
}

#[test]
fn an_old_copy_of_the_manifest_or_the_keyring_never_wins() {
    for name in ["MANIFEST", "MANIFEST.2", "KEYRING", "KEYRING.2"] {
        let machine = Machine::new(7);
        let path = Path::new(PATH).join(name);
        let db = machine.create(&small());
        let old = machine.read(&path);
        let model = fill(&db, 200);
        db.compact().expect("compact");
        db.close().expect("close");
        drop(db);
        machine.write(&path, &old);
        assert_holds(&machine.reopen(&small()), &model, &format!("an old {name}"));
    }
}

#[test]
fn a_commit_larger_than_a_log_file_is_whole_or_absent() {
    let value = Random(9).noise(600 << 10);
    let batch: Vec<_> = (0..3000u32).map(|index| (index.to_be_bytes().to_vec(), vec![7; 200])).collect();
    for at in (0..700).step_by(9) {
        let machine = Machine::new(at);
        machine.create(&small()).close().expect("close");
        let mut acknowledged = 0;
        if let Ok(db) = Database::open_in(machine.environment_dying_at(at), PATH, small()) {
            acknowledged += usize::from(db.put(b"before", b"").is_ok());
            acknowledged += usize::from(db.put(b"large", &value).is_ok());
            acknowledged += usize::from(db.put_batch(&batch).is_ok());
        }
        machine.disk.kill_process();
        let db = machine.reopen(&small());
        let large = db.get(b"large").expect("get");
        let of_batch = db.scan(Some(&[0]), Some(&[1])).expect("scan").count();
        assert!(large.is_none() || large.as_ref() == Some(&value), "call {at}: a part of the large value");
        assert!(of_batch == 0 || of_batch == batch.len(), "call {at}: {of_batch} entries of the batch");
        let there = [db.get(b"before").expect("get").is_some(), large.is_some(), of_batch > 0];
        let first_missing = there.iter().position(|there| !there).unwrap_or(3);
        assert!(first_missing >= acknowledged, "call {at}: {acknowledged} were acknowledged, {there:?}");
        assert!(there[first_missing..].iter().all(|there| !there), "call {at}: not a prefix, {there:?}");
    }
}

/// Writes until the disk is full.
fn fill_disk(db: &Database, model: &mut Model, random: &mut Random) {
    for index in 0..30_000u32 {
        let (key, value) = (index.to_be_bytes().to_vec(), random.noise(900));
        match db.put(&key, &value) {
            Ok(()) => drop(model.insert(key, value)),
            Err(Error::DiskFull { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never was full");
}

#[test]
fn a_full_disk_can_be_opened_read_and_cleared_by_deleting() {
    for seed in seeds(6) {
        let machine = Machine::new(seed);
        let (mut model, mut random) = (Model::new(), Random(seed));
        let db = machine.create(&small());
        machine.disk.set_capacity(Some((4 << 20) + random.below(200_000)));
        fill_disk(&db, &mut model, &mut random);
        assert_holds(&db, &model, "reads go on");
        for key in model.keys().take(20).cloned().collect::<Vec<_>>() {
            db.delete(&key).unwrap_or_else(|error| panic!("seed {seed}: deleting goes on: {error}"));
            model.remove(&key);
        }
        machine.kill(db);

        let before = machine.disk.op_counts().bytes_written;
        let reader = machine.open_read_only(&small()).expect("a full disk opens read-only");
        assert_holds(&reader, &model, "read-only");
        drop(reader);
        assert_eq!(machine.disk.op_counts().bytes_written, before, "reading writes nothing");

        let db =
            machine.open(&small()).unwrap_or_else(|error| panic!("seed {seed}: a full disk opens: {error}"));
        assert_holds(&db, &model, "after a crash on the full disk");
        let keys: Vec<_> = model.keys().cloned().collect();
        for key in &keys[..keys.len() / 2] {
            db.delete(key).unwrap_or_else(|error| panic!("seed {seed}: deleting on a full disk: {error}"));
            model.remove(key);
        }
        machine.disk.set_capacity(Some(9 << 20));
        db.compact().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        db.put(b"again", b"room").expect("there is room again");
        model.insert(b"again".to_vec(), b"room".to_vec());
        assert_holds(&db, &model, "after clearing up");
    }
}

#[test]
fn a_file_system_without_memory_maps_serves_as_well() {
    let machine = Machine::new(11);
    machine.disk.refuse_maps(true);
    let db = machine.create(&small());
    let model = fill(&db, 500);
    machine.kill(db);
    let db = machine.reopen(&small());
    db.compact().expect("compact");
    assert_holds(&db, &model, "without maps");
}

#[test]
fn a_second_writer_is_kept_out_while_the_first_one_lives() {
    let machine = Machine::new(12);
    let db = machine.create(&small());
    assert!(matches!(machine.open(&small()), Err(Error::Locked { .. })));
    assert!(matches!(machine.open_read_only(&small()), Err(Error::Locked { .. })));
    let again = Arc::clone(&db);
    drop(db);
    again.put(b"k", b"v").expect("a clone keeps it open");
    drop(again);
    assert_eq!(machine.reopen(&small()).get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
}

/// A map over a hole of the file kills the process when the disk is full at the first touch.
#[test]
fn a_log_file_has_its_space_written_before_it_is_mapped() {
    let machine = Machine::new(13);
    let db = machine.create(&small());
    machine.plan().record();
    for index in 0..200u32 {
        db.put(&index.to_be_bytes(), &[1; 4000]).expect("put");
    }
    db.close().expect("close");
    let calls = machine.plan().take_trace();
    let mut written = std::collections::HashMap::new();
    let mut maps = 0;
    for call in calls.iter().filter(|call| call.path.extension().is_some_and(|ending| ending == "wal")) {
        let end = written.entry(&call.path).or_insert(0);
        match call.kind {
            CallKind::Write if call.offset <= *end => *end = (*end).max(call.offset + call.len),
            CallKind::MapWrite if *end > 0 => {
                assert!(
                    call.offset + call.len <= *end,
                    "{} is mapped beyond byte {end}",
                    call.path.display()
                );
                maps += 1;
            }
            _ => {}
        }
    }
    assert!(maps >= 3, "{maps} maps of log files");
}
