//! A key in GNOME's keyring, by the Secret Service.

mod daemon;

use std::path::Path;
use std::time::Instant;

use lightning_db::{Database, Error, KeySource};
use lightning_db_key_services::key_source;

use self::daemon::Keyring;
use crate::support::{
    SOON, config, create, fails_to_create, fails_to_open, key, life, meddling_is_noticed, open,
};

const URI: &str = "keyring:mydb";

/// A test's own name, and what it is in a process with a keyring that holds a key.
fn with_key(name: &str, body: impl FnOnce(&Keyring, &Path)) {
    daemon::in_own_process(name, |keyring| {
        keyring.store("mydb", "mydb", &"07".repeat(32));
        body(keyring, &keyring.folder.join("db"));
    });
}

#[test]
fn a_life_and_a_restart_of_the_keyring() {
    with_key("keyring::a_life_and_a_restart_of_the_keyring", |keyring, _| {
        life(&keyring.folder, URI);
        let path = keyring.folder.join("life");
        keyring.stop();
        let (hurried, began) = ("keyring:mydb?timeout=1", Instant::now());
        for error in [fails_to_open(&path, key(hurried)), fails_to_create(&keyring.folder, key(hurried))] {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
            assert!(error.to_string().contains("Secret Service"), "{error}");
        }
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        keyring.unlock();
        open(&path, key(URI)).expect("opened");
        keyring.stop_bus();
        let error = fails_to_open(&path, key(URI));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(error.to_string().contains("DBUS_SESSION_BUS_ADDRESS"), "{error}");
    });
}

#[test]
fn a_keyring_that_is_locked() {
    with_key("keyring::a_keyring_that_is_locked", |keyring, path| {
        create(path, key(URI)).expect("created");
        keyring.start_locked();
        for error in [fails_to_open(path, key(URI)), fails_to_create(&keyring.folder, key(URI))] {
            assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
            assert!(error.to_string().contains("locked"), "{error}");
        }
        keyring.unlock();
        open(path, key(URI)).expect("unlocked");
    });
}

#[test]
fn entries_that_are_not_there_not_keys_or_several() {
    with_key("keyring::entries_that_are_not_there_not_keys_or_several", |keyring, path| {
        create(path, key(URI)).expect("created");
        let missing = "keyring:missing";
        for error in [fails_to_create(&keyring.folder, key(missing)), fails_to_open(path, key(missing))] {
            assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
        }
        keyring.store("short", "short", "4711-secret");
        let error = fails_to_create(&keyring.folder, key("keyring:short"));
        assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        keyring.store("other", "other", &"08".repeat(32));
        let error = fails_to_open(path, key("keyring:other"));
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");

        keyring.store("second", "mydb", &"09".repeat(32));
        let error = fails_to_open(path, key(URI));
        assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
        assert!(error.to_string().contains("2 entries"), "{error}");
        keyring.clear("mydb");
        let error = fails_to_open(path, key(URI));
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
        keyring.store("mydb", "mydb", &"09".repeat(32));
        let error = fails_to_open(path, key(URI));
        assert!(matches!(error, Error::WrongKey { .. }), "another one under its name: {error}");
        keyring.store("mydb", "mydb", &"07".repeat(32));
        open(path, key(URI)).expect("put back");
    });
}

#[test]
fn changed_and_moved_wrapped_keys() {
    with_key("keyring::changed_and_moved_wrapped_keys", |keyring, _| {
        meddling_is_noticed(&keyring.folder, URI, "wrong_key");
    });
}

#[test]
fn a_keyring_that_is_gone_or_says_nothing_while_keys_are_rotated() {
    let name = "keyring::a_keyring_that_is_gone_or_says_nothing_while_keys_are_rotated";
    with_key(name, |keyring, path| {
        create(path, key(URI)).expect("created");
        let db = Database::open(path, config(key(URI))).expect("opened");
        db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("added");
        let (before, began) = (db.key_slots(), Instant::now());
        let impatient = "keyring:mydb?timeout=1";
        for gone in [false, true] {
            if gone {
                keyring.stop();
            } else {
                keyring.freeze();
            }
            for error in [
                db.rewrap_key(before[0].id, key(impatient)).expect_err("nobody answers"),
                db.add_key(key(impatient), "another").expect_err("nobody answers"),
            ] {
                assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
            }
        }
        let error = db.rotate_data_key().expect_err("the key would not open what comes of it");
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(db.key_slots(), before);
        db.close().expect("closed");
        open(path, KeySource::passphrase("for recovery")).expect("opened");
        keyring.unlock();
        open(path, key(URI)).expect("opened");
    });
}

#[test]
fn no_text_shows_a_secret() {
    for uri in ["keyring:x?password=4711-secret", "keyring:x?4711-secret", "keyring:4711\nsecret"] {
        let error = key_source(uri).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        assert!(error.to_string().contains("at character "), "{error}");
    }
}
