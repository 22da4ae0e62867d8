//! Databases and repositories of every format version that there was, kept as files: every later version opens them, reads
//! them completely, verifies and restores them, and goes on writing to a copy. A newer format is refused.
//!
//! `tests/golden/format-N.zst` is one archive, see `archive.rs`; `format-N-WHAT.zst` came later, when feature bits or optional
//! fields were added to that version. `cargo test --test golden -- --ignored` writes that of a new format version; one that
//! is there is never written again.

mod archive;
mod life;
mod newer;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lightning_db::{
    CheckOptions, Database, KeySource, LightningDbConfig, RecoveryTarget, RestoreOptions, VerifyLevel,
    VerifyOptions, check,
};

use archive::Archive;
use life::{PASSPHRASE, config};
use support::{Model, assert_holds};

/// The archives that there are, by name.
fn archives() -> Vec<(String, Archive)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of the archives") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "zst") {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            found.push((name, Archive::decode(&std::fs::read(&path).expect("an archive"))));
        }
    }
    assert!(!found.is_empty(), "no golden files are there");
    found
}

/// Does it once for each archive, unpacked to real files.
fn with_each(work: impl Fn(&Unpacked)) {
    for (name, archive) in archives() {
        let folder = tempfile::tempdir().expect("a folder");
        archive.unpack(folder.path());
        let (began, encrypted) = (Instant::now(), !name.contains("plain"));
        let states = life::read_states(&archive);
        assert!(states.len() > 10, "{name} says what must be in it");
        work(&Unpacked { name: name.clone(), folder: folder.path().into(), encrypted, states });
        println!("{name}: {:?}", began.elapsed());
    }
}

struct Unpacked {
    name: String,
    folder: PathBuf,
    encrypted: bool,
    /// What the database held after each commit.
    states: BTreeMap<u64, Model>,
}

impl Unpacked {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn config(&self) -> LightningDbConfig {
        config(self.encrypted)
    }

    fn key(&self) -> KeySource {
        self.config().encryption_key
    }

    fn newest(&self) -> (u64, &Model) {
        let (sequence, state) = self.states.last_key_value().expect("there are states");
        (*sequence, state)
    }
}

#[test]
fn every_database_is_read_completely() {
    with_each(|golden| {
        let db = Database::open_read_only(golden.path("db"), golden.config()).expect("open");
        let (newest, state) = golden.newest();
        assert_eq!(db.last_sequence().0, newest, "{}", golden.name);
        assert_holds(&db, state, &golden.name);
        let kept = db.named_checkpoints();
        assert_eq!(kept.len(), 1, "{}", golden.name);
        let snapshot = db.open_named_checkpoint(&kept[0].name).expect("the checkpoint");
        let found: Model =
            snapshot.scan(None, None).expect("scan").map(|entry| entry.expect("read")).collect();
        assert!(found == golden.states[&kept[0].sequence.0], "{}: the checkpoint", golden.name);
        let options = CheckOptions { encryption_key: golden.key(), ..CheckOptions::default() };
        let report = check(golden.path("db"), &options).expect("check");
        assert!(report.is_sound(), "{}: {report:#?}", golden.name);
        let covered = report.covered;
        for (what, count) in [
            ("trees", covered.trees),
            ("large values", covered.extents),
            ("filters", covered.filters),
            ("dictionaries", covered.dictionaries),
            ("commits in the log", covered.log_commits),
            ("log segments", covered.log_segments),
        ] {
            assert!(count > 0, "{} has no {what}: {covered:?}", golden.name);
        }
    });
}

#[test]
fn every_database_is_opened_by_each_of_its_keys() {
    with_each(|golden| {
        if golden.encrypted {
            let config =
                LightningDbConfig { encryption_key: KeySource::passphrase(PASSPHRASE), ..golden.config() };
            let db = Database::open_read_only(golden.path("db"), config).expect("the passphrase opens it");
            assert_holds(&db, golden.newest().1, &golden.name);
        }
    });
}

#[test]
fn every_database_goes_on_being_written() {
    with_each(|golden| {
        let mut state = golden.newest().1.clone();
        let db = Database::open(golden.path("db"), golden.config()).expect("open");
        assert_holds(&db, &state, &golden.name);
        for index in 0..500_u32 {
            let (key, value) = (format!("new-{index}").into_bytes(), index.to_le_bytes().repeat(20));
            db.put(&key, &value).expect("put");
            state.insert(key, value);
        }
        let gone: Vec<_> = state.keys().step_by(7).cloned().collect();
        db.delete_batch(&gone).expect("delete");
        gone.iter().for_each(|key| _ = state.remove(key));
        db.compact().expect("compact");
        if golden.encrypted {
            db.rotate_data_key().expect("rotate");
        }
        db.put(b"last", b"row").expect("put");
        state.insert(b"last".to_vec(), b"row".to_vec());
        let backup = db.backup(golden.path("repository")).expect("an increment of what an old version began");
        db.close().expect("close");
        drop(db);
        let db = Database::open(golden.path("db"), golden.config()).expect("open again");
        assert_holds(&db, &state, &golden.name);
        let options = RestoreOptions { encryption_key: golden.key(), ..RestoreOptions::default() };
        let restored = Database::restore(golden.path("repository"), golden.path("restored"), options);
        assert_eq!(restored.expect("restore").sequence, backup.sequence, "{}", golden.name);
        let db = Database::open(golden.path("restored"), golden.config()).expect("open what was restored");
        assert_holds(&db, &state, &golden.name);
    });
}

#[test]
fn every_repository_is_verified_at_each_level_and_restored_to_every_commit_it_reaches() {
    with_each(|golden| {
        let mut reachable = Vec::new();
        for level in [VerifyLevel::Presence, VerifyLevel::Hashes, VerifyLevel::Contents, VerifyLevel::Restore]
        {
            let options = VerifyOptions {
                level: Some(level),
                encryption_key: golden.key(),
                scratch: Some(golden.folder.clone()),
                ..VerifyOptions::default()
            };
            let report = Database::verify_repository(golden.path("repository"), options).expect("verify");
            assert!(report.is_sound(), "{}: {:?}", golden.name, report.problems);
            assert!(report.backups.len() >= 3, "{}", golden.name);
            reachable = report.reachable;
        }
        let mut reached = 0;
        for interval in reachable {
            for sequence in interval.first.0..=interval.last.0 {
                // A fork belongs to both histories; the state is the same.
                let place = golden.path(&format!("restored-{reached}"));
                let options = RestoreOptions {
                    target: RecoveryTarget::Sequence(sequence.into()),
                    incarnation: Some(interval.incarnation),
                    encryption_key: golden.key(),
                    ..RestoreOptions::default()
                };
                let report = Database::restore(golden.path("repository"), &place, options).expect("restore");
                assert_eq!(report.sequence.0, sequence);
                let db = Database::open_read_only(&place, golden.config()).expect("open");
                assert_holds(&db, &golden.states[&sequence], &format!("{} at {sequence}", golden.name));
                drop(db);
                std::fs::remove_dir_all(&place).expect("remove");
                reached += 1;
            }
        }
        assert!(reached > 5, "{}: {reached} commits are reached", golden.name);
        let options = RestoreOptions {
            target: RecoveryTarget::Name(life::POINT.into()),
            encryption_key: golden.key(),
            ..RestoreOptions::default()
        };
        Database::restore(golden.path("repository"), golden.path("named"), options).expect("by its name");
    });
}

/// Writes the archives of this format version. One that is there is left alone: what an old version wrote is the test.
#[test]
#[ignore = "it writes the files of a new format version"]
fn write_the_files_of_this_format_version() {
    for (encrypted, name) in [(true, "format-1-audit.zst"), (false, "format-1-audit-plain.zst")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        assert!(!path.exists(), "{} is there: a new format version has a new name", path.display());
        let archive = life::live(encrypted);
        let bytes = archive.encode();
        let sizes: Vec<_> = archive.0.iter().map(|(path, bytes)| (path, bytes.len())).collect();
        assert!(bytes.len() < 150_000, "{name} takes {} bytes: {sizes:#?}", bytes.len());
        std::fs::write(path, bytes).expect("write");
    }
}
