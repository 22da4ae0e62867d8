//! What a later version may write, and this one must refuse, saying why: a newer version of a format, features that this
//! one lacks.

use std::path::Path;
use std::sync::Arc;

use lightning_db::{CheckOptions, Database, Error, NoProgress, RestoreOptions, VerifyOptions, check_in};
use lightning_db_crypto::{KeySource, Keyring};
use lightning_db_storage::manifest::{Features, ManifestStore};
use lightning_db_storage::vfs::Vfs;

use crate::support::{KEY, Machine, PATH, small};

const REPOSITORY: &str = "/repository";

fn machine() -> Machine {
    let machine = Machine::new(5);
    let db = machine.create(&small());
    db.put(b"key", b"value").expect("put");
    db.backup(REPOSITORY).expect("backup");
    db.close().expect("close");
    machine
}

/// Says in the file that it has format version 2, and makes the checksum over it fit: the version must be readable before
/// a key is tried, since what follows may be another format.
fn renumber(machine: &Machine, path: &Path, at: usize) {
    let mut bytes = machine.read(path);
    let content = bytes.len() - 32;
    assert_eq!(bytes[at..at + 4], 1_u32.to_le_bytes(), "{} has its version elsewhere", path.display());
    bytes[at] = 2;
    let checksum = *blake3::hash(&bytes[..content]).as_bytes();
    bytes[content..].copy_from_slice(&checksum);
    machine.write(path, &bytes);
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: lightning_db::Result<T>, what: &str) {
    let error = outcome.expect_err(what);
    let Error::UnsupportedFormat { .. } = &error else { panic!("{what}: {error:?}") };
    let text = error.to_string();
    assert!(text.contains('2') && text.contains('1'), "{what} names both versions: {text}");
    assert!(text.contains("newer"), "{what} says what to do: {text}");
}

#[test]
fn a_newer_version_of_manifest_or_keyring_is_refused_naming_both_versions() {
    for name in ["MANIFEST", "KEYRING"] {
        let machine = machine();
        for copy in [name.to_owned(), format!("{name}.2")] {
            renumber(&machine, &Path::new(PATH).join(copy), 8);
        }
        let before: Vec<_> = machine.disk.files().iter().map(|path| machine.read(path)).collect();
        assert_refused(machine.open(&small()), name);
        assert_refused(machine.open_read_only(&small()), name);
        let options = CheckOptions { encryption_key: KeySource::raw(KEY), ..CheckOptions::default() };
        assert_refused(check_in(&machine.environment(), PATH, &options), name);
        let after: Vec<_> = machine.disk.files().iter().map(|path| machine.read(path)).collect();
        assert!(before == after, "{name}: a file changed");
    }
}

#[test]
fn a_newer_version_of_a_repository_or_record_is_refused_naming_both_versions() {
    for (name, at) in [("repository", 8), ("manifests/0000000000000001", 8)] {
        let machine = machine();
        renumber(&machine, &Path::new(REPOSITORY).join(name), at);
        let options = RestoreOptions { encryption_key: KeySource::raw(KEY), ..RestoreOptions::default() };
        let restored =
            Database::restore_with(&machine.environment(), REPOSITORY, "/restored", options, &NoProgress);
        assert_refused(restored, name);
        assert!(machine.disk.metadata(Path::new("/restored")).is_err(), "nothing is left");
        let options = VerifyOptions { encryption_key: KeySource::raw(KEY), ..VerifyOptions::default() };
        let verified =
            Database::verify_repository_with(&machine.environment(), REPOSITORY, options, &NoProgress);
        assert_refused(verified, name);
    }
}

/// Features as a later version would seal them.
fn with_features(features: Features) -> Machine {
    let machine = machine();
    let vfs: Arc<dyn Vfs> = Arc::new(machine.disk.clone());
    let bytes = machine.read(&Path::new(PATH).join("KEYRING"));
    let provider = KeySource::raw(KEY).resolve().expect("a key");
    let keyring = Keyring::open(&bytes, provider.as_deref()).expect("the keyring opens");
    let directory = Path::new(PATH);
    let mut manifest = ManifestStore::load(&vfs, directory, &keyring).expect("the manifest").value;
    manifest.features = features;
    manifest.generation = manifest.generation.next();
    let mut store = ManifestStore::new(vfs, directory);
    store.commit(&manifest, &keyring, &lightning_db_crypto::SeededEntropy::new(1)).expect("commit");
    machine
}

#[test]
fn unknown_features_allow_what_they_say() {
    let none = Features::default();
    let machine = with_features(Features { compatible: 1 << 63, ..none });
    assert!(machine.open_read_only(&small()).is_ok() && machine.open(&small()).is_ok());

    let machine = with_features(Features { read_compatible: 1 << 5, ..none });
    let db = machine.open_read_only(&small()).expect("it may be read");
    assert_eq!(db.get(b"key").expect("get").as_deref(), Some(&b"value"[..]));
    drop(db);
    assert!(matches!(machine.open(&small()), Err(Error::UnsupportedFormat { .. })));

    let machine = with_features(Features { incompatible: 1 << 7, ..none });
    for refused in [machine.open(&small()).map(drop), machine.open_read_only(&small()).map(drop)] {
        let error = refused.expect_err("it may not be opened");
        assert!(matches!(error, Error::UnsupportedFormat { .. }), "{error:?}");
        assert!(error.to_string().contains("0x80"), "which one: {error}");
    }
}
