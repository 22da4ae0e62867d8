//! What is believed of what is on the disk, and under which key.

use std::path::{Path, PathBuf};

use lightning_db::{CheckOptions, CheckReport, Database, Error, KeySource, LightningDbConfig, Vfs, check_in};

use crate::support::{KEY, Machine, Model, PATH, Random, compare, plain, small};

/// Writes a database with a base, runs, large values and a log, and closes it.
fn build(machine: &Machine, path: &str, config: &LightningDbConfig, seed: u64) -> Model {
    let db = Database::create_in(machine.environment(), path, config.clone()).expect("create");
    let (mut random, mut model) = (Random(seed), Model::new());
    let mut put = |key: Vec<u8>, value: Vec<u8>| {
        db.put(&key, &value).expect("put");
        model.insert(key, value);
    };
    for index in 0..300u32 {
        put(format!("key-{index:05}").into_bytes(), random.noise(60));
    }
    put(b"large".to_vec(), random.noise(70_000));
    db.compact().expect("compact");
    for index in (0..300u32).step_by(7) {
        put(format!("key-{index:05}").into_bytes(), random.noise(50));
    }
    put(b"large too".to_vec(), random.noise(66_000));
    db.checkpoint().expect("checkpoint");
    put(b"in the log".to_vec(), random.noise(10));
    machine.plan().crash_at(0);
    drop(db);
    machine.disk.kill_process();
    model
}

/// The files of the database in `path`, but those that hold nothing.
fn files(machine: &Machine, path: &str) -> Vec<PathBuf> {
    let holds =
        |file: &PathBuf| file.starts_with(path) && !file.ends_with("LOCK") && !file.ends_with("RESERVE");
    machine.disk.files().into_iter().filter(holds).collect()
}

/// What is wrong with the database at `path`: an error, or `Ok` if it holds `model` exactly. Panics at a wrong row.
fn look(machine: &Machine, path: &Path, config: &LightningDbConfig, model: &Model) -> Result<(), Error> {
    let db = Database::open_in(machine.environment(), path, config.clone())?;
    db.scan(None, None)?.try_for_each(|entry| {
        let (key, value) = entry?;
        assert!(model.get(&key) == Some(&value), "a wrong row under {}", String::from_utf8_lossy(&key));
        Ok::<_, Error>(())
    })?;
    compare(&db, model).unwrap_or_else(|problem| panic!("nobody noticed: {problem}"));
    db.close()
}

fn remove(machine: &Machine, path: &Path) {
    for file in machine.disk.files().iter().filter(|file| file.starts_with(path)) {
        machine.disk.remove_file(file).expect("remove");
    }
    machine.disk.remove_dir(path).expect("remove");
}

/// Copies the database, lets `spoil` work on the copy, and looks at it.
fn spoiled(
    machine: &Machine,
    config: &LightningDbConfig,
    model: &Model,
    spoil: impl FnOnce(&Path),
) -> Result<(), Error> {
    let copy = Path::new("/copy");
    machine.disk.copy_tree(Path::new(PATH), copy).expect("copy");
    spoil(copy);
    let outcome = look(machine, copy, config, model);
    remove(machine, copy);
    outcome
}

fn flip_everywhere(config: &LightningDbConfig) {
    let machine = Machine::new(1);
    let model = build(&machine, PATH, config, 1);
    let (mut noticed, mut harmless) = (0, 0);
    for file in files(&machine, PATH) {
        let len = machine.len(&file);
        let name = file.file_name().expect("a name");
        let mut random = Random(len);
        for _ in 0..60 {
            let offset = random.below(len);
            let bit = 1 << random.below(8);
            let outcome = spoiled(&machine, config, &model, |copy| {
                machine.disk.corrupt(&copy.join(name), offset, bit).expect("flip");
            });
            match outcome {
                Ok(()) => harmless += 1,
                Err(error) => {
                    assert!(error.is_integrity(), "{} at {offset}: {error}", file.display());
                    assert!(!matches!(error, Error::WrongKey { .. }), "damage is no wrong key: {error}");
                    noticed += 1;
                }
            }
        }
    }
    assert!(noticed > 100, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_harmless() {
    flip_everywhere(&small());
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_harmless_without_encryption_too() {
    flip_everywhere(&plain());
}

#[test]
fn an_open_for_writing_writes_a_damaged_copy_anew() {
    for name in ["MANIFEST", "MANIFEST.2", "KEYRING", "KEYRING.2"] {
        let machine = Machine::new(9);
        let model = build(&machine, PATH, &small(), 9);
        let options = CheckOptions { encryption_key: KeySource::raw(KEY), ..CheckOptions::default() };
        let check = || check_in(&machine.environment(), PATH, &options).expect("check");
        machine.disk.corrupt(&Path::new(PATH).join(name), 100, 1).expect("flip");
        let named = |report: CheckReport| report.findings.iter().any(|finding| finding.file.ends_with(name));
        assert!(named(check()), "the check tells of {name}");
        look(&machine, Path::new(PATH), &small(), &model).expect("its twin serves");
        assert!(!named(check()), "{name} was not written anew");
    }
}

#[test]
fn a_missing_empty_or_shortened_file_is_noticed_or_harmless() {
    let machine = Machine::new(2);
    let model = build(&machine, PATH, &small(), 2);
    for file in files(&machine, PATH) {
        let name = file.file_name().expect("a name");
        let bytes = machine.read(&file);
        for len in [None, Some(0), Some(1), Some(bytes.len() / 2), Some(bytes.len() - 1)] {
            let outcome = spoiled(&machine, &small(), &model, |copy| match len {
                None => machine.disk.remove_file(&copy.join(name)).expect("remove"),
                Some(len) => machine.write(&copy.join(name), &bytes[..len]),
            });
            if let Err(error) = outcome {
                let is_named = error.is_integrity() || error.is_not_found();
                assert!(is_named, "{} with {len:?} bytes: {error}", file.display());
            }
        }
    }
}

#[test]
fn files_of_another_database_with_the_same_key_are_refused() {
    let machine = Machine::new(3);
    let model = build(&machine, PATH, &small(), 3);
    build(&machine, "/other", &small(), 4);
    let others = files(&machine, "/other");
    for file in files(&machine, PATH) {
        let ending = file.extension();
        for other in others.iter().filter(|other| other.extension() == ending) {
            let bytes = machine.read(other);
            let outcome = spoiled(&machine, &small(), &model, |copy| {
                machine.write(&copy.join(file.file_name().expect("a name")), &bytes);
            });
            let twin = ending.is_none() || ending.is_some_and(|ending| ending == "2");
            assert!(twin || outcome.is_err(), "{} in place of {}", other.display(), file.display());
        }
    }
    for pair in ["MANIFEST", "KEYRING"] {
        let outcome = spoiled(&machine, &small(), &model, |copy| {
            for name in [pair.to_owned(), format!("{pair}.2")] {
                machine.write(&copy.join(&name), &machine.read(&Path::new("/other").join(&name)));
            }
        });
        assert!(outcome.is_err(), "the {pair} of another database");
    }
}

#[test]
fn files_that_changed_places_are_refused() {
    let machine = Machine::new(4);
    let model = build(&machine, PATH, &small(), 5);
    let all = files(&machine, PATH);
    for one in &all {
        for other in all.iter().filter(|other| *other > one && other.extension() == one.extension()) {
            if one.extension().is_none_or(|ending| ending == "2") {
                continue;
            }
            let outcome = spoiled(&machine, &small(), &model, |copy| {
                let (a, b) = (machine.read(one), machine.read(other));
                machine.write(&copy.join(one.file_name().expect("a name")), &b);
                machine.write(&copy.join(other.file_name().expect("a name")), &a);
            });
            assert!(outcome.is_err(), "{} and {} changed places", one.display(), other.display());
        }
    }
}

/// Two continuations of one copy have files of the same number and place, which are not the same file.
#[test]
fn a_file_of_another_continuation_of_the_same_database_is_refused() {
    let machine = Machine::new(5);
    let db = machine.create(&small());
    db.put(b"common", b"past").expect("put");
    db.close().expect("close");
    drop(db);
    machine.disk.copy_tree(Path::new(PATH), Path::new("/fork")).expect("copy");
    let mut model = Model::from([(b"common".to_vec(), b"past".to_vec())]);
    for (path, value) in [(PATH, b"one"), ("/fork", b"two")] {
        let db = Database::open_in(machine.environment(), path, small()).expect("open");
        db.put(b"key", value).expect("put");
        db.compact().expect("compact");
        db.close().expect("close");
    }
    model.insert(b"key".to_vec(), b"one".to_vec());
    let mut tried = 0;
    for file in
        files(&machine, PATH).iter().filter(|file| file.extension().is_some_and(|ending| ending != "2"))
    {
        let name = file.file_name().expect("a name");
        let twin = Path::new("/fork").join(name);
        if machine.disk.metadata(&twin).is_ok() && machine.read(file) != machine.read(&twin) {
            let bytes = machine.read(&twin);
            let outcome = spoiled(&machine, &small(), &model, |copy| machine.write(&copy.join(name), &bytes));
            assert!(outcome.is_err(), "{} of the other continuation", file.display());
            tried += 1;
        }
    }
    assert!(tried > 0, "both have a file of the same name");
}

#[test]
fn a_wrong_key_is_called_that_and_changes_nothing() {
    let machine = Machine::new(6);
    let model = build(&machine, PATH, &small(), 6);
    let contents = |machine: &Machine| -> Vec<_> {
        files(machine, PATH).into_iter().map(|file| (file.clone(), machine.read(&file))).collect()
    };
    let before = contents(&machine);
    let wrong = LightningDbConfig { encryption_key: KeySource::raw([1; 32]), ..small() };
    assert!(matches!(machine.open(&wrong), Err(Error::WrongKey { .. })));
    assert!(matches!(machine.open_read_only(&wrong), Err(Error::WrongKey { .. })));
    assert!(matches!(machine.open(&plain()), Err(Error::KeyRequired { .. })));
    assert!(before == contents(&machine), "no file changed");
    look(&machine, Path::new(PATH), &small(), &model).expect("the right key opens");
}

#[test]
fn an_unencrypted_database_in_the_place_of_an_encrypted_one_is_refused() {
    let machine = Machine::new(7);
    build(&machine, PATH, &small(), 7);
    remove(&machine, Path::new(PATH));
    build(&machine, PATH, &plain(), 7);
    assert!(matches!(machine.open(&small()), Err(Error::NotEncrypted { .. })));
    assert!(matches!(machine.open_read_only(&small()), Err(Error::NotEncrypted { .. })));
}

#[test]
fn a_database_keeps_to_its_encryption_piece_by_piece() {
    let machine = Machine::new(8);
    let model = build(&machine, PATH, &small(), 8);
    build(&machine, "/other", &plain(), 8);
    for pair in ["MANIFEST", "KEYRING"] {
        let outcome = spoiled(&machine, &small(), &model, |copy| {
            for name in [pair.to_owned(), format!("{pair}.2")] {
                machine.write(&copy.join(&name), &machine.read(&Path::new("/other").join(&name)));
            }
        });
        assert!(outcome.is_err_and(|error| error.is_integrity()), "an unencrypted {pair}");
    }
}
