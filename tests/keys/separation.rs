//! Backups kept by somebody who has no key: he fetches, verifies and deletes, and reads nothing.

use std::path::Path;

use lightning_db::{Database, Error, KeySource, NoProgress, RestoreOptions, VerifyLevel, VerifyOptions, Vfs};
use lightning_db_storage::vfs::OpenHow;

use crate::support::{KEY, Machine, Model, Random, assert_holds, contains, small};

const REPOSITORY: &str = "/repository";
const VAULT: &str = "/vault";

/// What the keeper does: copies every object that he lacks, the records last. No key, and nothing of the library.
fn fetch(machine: &Machine) -> usize {
    let mut names: Vec<_> =
        machine.disk.files().into_iter().filter(|path| path.starts_with(REPOSITORY)).collect();
    names.sort_by_key(|path| path.to_string_lossy().contains("/manifests/"));
    let mut copied = 0;
    for from in names {
        let name = from.strip_prefix(REPOSITORY).expect("below it");
        let to = Path::new(VAULT).join(name);
        let is_hint = name == Path::new("head");
        if name == Path::new("LOCK.writer") || machine.disk.metadata(&to).is_ok() && !is_hint {
            continue;
        }
        for folder in to.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let _ = machine.disk.create_dir(folder);
        }
        machine.write(&to, &machine.read(&from));
        copied += 1;
    }
    copied
}

#[test]
fn the_keeper_of_backups_needs_no_key() {
    let machine = Machine::new(1);
    let db = machine.create(&small());
    let (mut model, mut random) = (Model::new(), Random(1));
    for round in 0..3 {
        for _ in 0..80 {
            let (key, value) =
                (random.key(200), [b"a-value-nobody-may-see-".to_vec(), random.noise(90)].concat());
            db.put(&key, &value).expect("put");
            model.insert(key, value);
        }
        db.backup(REPOSITORY).expect("backup");
        assert!(fetch(&machine) > 0, "round {round}");
    }
    let pinned = Some(db.public_key());
    drop(db);

    let verify = |key: KeySource, level| {
        let options = VerifyOptions {
            level: Some(level),
            encryption_key: key,
            public_key: pinned,
            ..Default::default()
        };
        Database::verify_repository_with(&machine.environment(), VAULT, options, &NoProgress)
    };
    let report = verify(KeySource::none(), VerifyLevel::Hashes).expect("verify without a key");
    assert!(report.is_sound() && report.backups.len() == 3, "{:?}", report.problems);
    assert!(matches!(verify(KeySource::none(), VerifyLevel::Contents), Err(Error::KeyRequired { .. })));
    Database::delete_backup_in(&machine.environment(), VAULT, 1).expect("delete without a key");
    for path in machine.disk.files().into_iter().filter(|path| path.starts_with(VAULT)) {
        assert!(!contains(&machine.read(&path), b"nobody-may-see"), "{}", path.display());
    }
    let restore = |key: KeySource| {
        let options = RestoreOptions { encryption_key: key, public_key: pinned, ..RestoreOptions::default() };
        Database::restore_with(&machine.environment(), VAULT, "/restored", options, &NoProgress)
    };
    assert!(matches!(restore(KeySource::none()), Err(Error::KeyRequired { .. })));
    assert!(verify(KeySource::raw(KEY), VerifyLevel::Contents).expect("verify").is_sound());
    restore(KeySource::raw(KEY)).expect("restore");
    let restored = Database::open_in(machine.environment(), "/restored", small()).expect("open");
    assert_holds(&restored, &model, "restored by who has the key");
    assert!(machine.disk.open(Path::new("/vault/repository"), OpenHow::Read).is_ok());
}
