//! Keys that a TPM 2.0 in software seals.

mod counter;
mod swtpm;
mod tap;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use lightning_db::{Database, Error, KeySource};
use lightning_db_key_services::key_source;

use self::swtpm::{PIN, Tpm, hurried};
use self::tap::Tap;
use crate::support::{
    Meddling, SOON, config, create, fails_to_create, fails_to_open, key, life, meddling_is_noticed, open,
};

#[test]
fn a_life_and_a_restart_of_the_machine() {
    let tpm = Tpm::start();
    let uri = tpm.uri(&format!("pcrs=sha256:0,7&{}", tpm.pin()));
    life(tpm.path(), &uri);
    let path = tpm.path().join("life");
    tpm.stop();
    let (hurried, began) = (hurried(&uri), Instant::now());
    for error in [fails_to_open(&path, key(&hurried)), fails_to_create(tpm.path(), key(&hurried))] {
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    tpm.start_again();
    open(&path, key(&uri)).expect("opened");
}

#[test]
fn a_life_on_each_lesser_condition() {
    let tpm = Tpm::start();
    for conditions in ["", "pcrs=sha256:7&", &tpm.pin()] {
        let folder = tempfile::tempdir().expect("a folder");
        life(folder.path(), &tpm.uri(conditions));
    }
}

#[test]
fn nothing_stays_in_the_tpm() {
    let tpm = Tpm::start();
    let path = tpm.path().join("db");
    let uri = tpm.uri(&format!("pcrs=sha256:7&{}", tpm.pin()));
    create(&path, key(&uri)).expect("created");
    open(&path, key(&uri)).expect("opened");
    tpm.extend(7);
    fails_to_open(&path, key(&uri));
    for kind in ["handles-transient", "handles-loaded-session", "handles-saved-session"] {
        assert_eq!(tpm.tool("tpm2_getcap", &[kind]).trim(), "", "{kind}");
    }
}

#[test]
fn a_machine_that_was_started_in_another_way() {
    let tpm = Tpm::start();
    let path = tpm.path().join("db");
    let uri = tpm.uri("pcrs=sha256:0,7&");
    create(&path, key(&uri)).expect("created");
    let db = Database::open(&path, config(key(&uri))).expect("opened");
    db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("a second slot");
    db.close().expect("closed");
    tpm.extend(4);
    open(&path, key(&uri)).expect("that register is not asked for");

    tpm.extend(7);
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
    assert!(error.to_string().contains("PCRs sha256:0,7 are not what they were"), "{error}");
    tpm.stop();
    tpm.start_again();
    open(&path, key(&uri)).expect("started as before");

    tpm.extend(7);
    let db = Database::open(&path, config(KeySource::passphrase("for recovery"))).expect("opened");
    let slot = db.key_slots().into_iter().find(|slot| slot.kind == "tpm").expect("a slot").id;
    db.rewrap_key(slot, key(&uri)).expect("sealed to what is now");
    db.close().expect("closed");
    open(&path, key(&uri)).expect("opened");
    tpm.stop();
    tpm.start_again();
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
}

#[test]
fn a_wrong_pin_is_tried_once_and_a_few_lock_the_tpm() {
    let tpm = Tpm::start();
    tpm.tool(
        "tpm2_dictionarylockout",
        &["--setup-parameters", "--max-tries=2", "--recovery-time=1000", "--lockout-recovery-time=1000"],
    );
    let path = tpm.path().join("db");
    let uri = tpm.uri(&tpm.pin());
    create(&path, key(&uri)).expect("created");
    let db = Database::open(&path, config(key(&uri))).expect("opened");
    db.add_key(key(&uri), "again").expect("a second slot of the same kind");
    db.close().expect("closed");

    tpm.give_pin("4711-wrong");
    let source = key(&uri);
    for _ in 0..2 {
        let error = fails_to_open(&path, source.clone());
        assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
        let text = format!("{error} {error:?} {source:?}");
        assert!(text.contains("is wrong; it was tried once") && !text.contains("4711"), "{text}");
        assert_eq!(tpm.wrong_pins(), 1);
    }
    tpm.give_pin(PIN);
    open(&path, source).expect("the right PIN counts at once");

    tpm.give_pin("4711-other");
    fails_to_open(&path, key(&uri));
    tpm.give_pin(PIN);
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
    assert!(error.to_string().contains("--clear-lockout"), "{error}");
    let without = tpm.path().join("without");
    create(&without, key(&tpm.uri(""))).expect("what has no PIN is not locked");
    open(&without, key(&tpm.uri(""))).expect("what has no PIN is not locked");
    tpm.tool("tpm2_dictionarylockout", &["--clear-lockout"]);
    open(&path, key(&uri)).expect("unlocked");

    fs::set_permissions(tpm.path().join("pin"), fs::Permissions::from_mode(0o644)).expect("opened to all");
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
}

#[test]
fn another_tpm_and_a_cleared_one() {
    let (tpm, other) = (Tpm::start(), Tpm::start());
    let path = tpm.path().join("db");
    let uri = tpm.uri("pcrs=sha256:7&");
    create(&path, key(&uri)).expect("created");
    for uri in [other.uri("pcrs=sha256:7&"), tpm.uri("pcrs=sha256:0,7&"), tpm.uri("")] {
        let error = fails_to_open(&path, key(&uri));
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
        assert!(error.to_string().contains("with PCRs sha256:7 and no PIN wrapped this"), "{error}");
    }
    open(&path, key(&uri)).expect("its own");
    tpm.tool("tpm2_clear", &[]);
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::WrongKey { .. }), "{error}");
}

#[test]
fn a_storage_key_that_was_made_persistent() {
    let tpm = Tpm::start();
    let path = tpm.path().join("db");
    let uri = tpm.uri("").replace("tpm:?", "tpm:0x81000001?");
    let error = fails_to_create(tpm.path(), key(&uri));
    assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
    tpm.tool("tpm2_createprimary", &["-C", "o", "-g", "sha256", "-G", "ecc", "-c", "primary.ctx"]);
    tpm.tool("tpm2_flushcontext", &["-t"]);
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "primary.ctx", "0x81000001"]);
    tpm.tool("tpm2_changeauth", &["-c", "owner", "hunter2"]);
    let error = fails_to_create(tpm.path(), key(&tpm.uri("")));
    assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
    assert!(error.to_string().contains("tpm:0x81000001"), "{error}");
    create(&path, key(&uri)).expect("created without the owner's authorization");
    open(&path, key(&uri)).expect("opened");
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-P", "hunter2", "-c", "0x81000001"]);
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
}

#[test]
fn registers_that_the_tpm_does_not_have() {
    let tpm = Tpm::start();
    let error = fails_to_create(tpm.path(), key(&tpm.uri("pcrs=sha512:7&")));
    assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
    assert!(error.to_string().contains("it has no PCRs sha512:7"), "{error}");
}

#[test]
fn changed_and_moved_wrapped_keys() {
    let tpm = Tpm::start();
    meddling_is_noticed(tpm.path(), &tpm.uri("pcrs=sha256:7&"), "wrong_database");
}

#[test]
fn who_listens_on_the_wires_hears_no_key() {
    let tpm = Tpm::start();
    let tap = Tap::before(tpm.port);
    let path = tpm.path().join("db");
    let uri = tpm.uri_at(tap.port, &format!("pcrs=sha256:7&{}", tpm.pin()));
    let sealed = Meddling::with(&key(&uri), |_, wrapped| wrapped);
    create(&path, KeySource::provider(Arc::clone(&sealed) as _)).expect("created");
    open(&path, key(&uri)).expect("opened");
    let wrapped = sealed.wrapped();
    let public = usize::from(u16::from_be_bytes([wrapped.bytes[0], wrapped.bytes[1]]));
    assert!(tap.heard(&wrapped.bytes[2..2 + public]), "the public part is no secret");
    // What is sealed begins with the database's id, as the parameters do behind their version.
    assert!(!tap.heard(&wrapped.params[1..17]) && !tap.heard(PIN.as_bytes()));
}

#[test]
fn a_tpm_that_is_gone_or_silent_while_keys_are_rotated() {
    let tpm = Tpm::start();
    let path = tpm.path().join("db");
    create(&path, key(&tpm.uri(""))).expect("created");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = hurried(&tpm.uri_at(silent.local_addr().expect("an address").port(), ""));
    let db = Database::open(&path, config(key(&tpm.uri("")))).expect("opened");
    db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("added");
    tpm.stop();
    db.put(b"row", b"value").expect("an open database needs no TPM");
    let (before, began) = (db.key_slots(), Instant::now());
    for uri in [hurried(&tpm.uri("")), silent] {
        for error in [
            db.rewrap_key(before[0].id, key(&uri)).expect_err("nobody seals"),
            db.add_key(key(&uri), "another").expect_err("nobody seals"),
        ] {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        }
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let error = db.rotate_data_key().expect_err("the key would not open what comes of it");
    assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    assert_eq!(db.key_slots(), before);
    db.close().expect("closed");
    open(&path, KeySource::passphrase("for recovery")).expect("opened");
    tpm.start_again();
    open(&path, key(&tpm.uri(""))).expect("opened");
}

#[test]
fn no_text_shows_a_pin() {
    for uri in ["tpm:?pin=4711-secret", "tpm:?4711-secret", "tpm:4711-secret"] {
        let error = key_source(uri).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        assert!(error.to_string().contains("at character "), "{error}");
    }
}
