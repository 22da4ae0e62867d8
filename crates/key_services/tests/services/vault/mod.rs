//! The transit engine of OpenBao.

mod bao;
mod double;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use lightning_db::{Database, Error, KeySource};
use lightning_db_key_services::key_source;
use serde_json::json;

use self::bao::Bao;
use crate::support::{
    SOON, config, create, fails_to_create, fails_to_open, hurried, key, life, meddling_is_noticed, open,
    secret_file,
};

#[test]
fn a_life_with_a_derived_key_and_with_a_plain_one() {
    let bao = Bao::start();
    life(bao.folder.path(), &bao.uri("lightning"));
    let folder = tempfile::tempdir().expect("a folder");
    bao.post("transit/keys/plain", &json!({ "type": "chacha20-poly1305" }));
    life(folder.path(), &bao.uri("plain"));
}

#[test]
fn a_rotated_key_wraps_anew_and_its_old_version_can_be_closed() {
    let bao = Bao::start();
    let path = bao.folder.path().join("db");
    create(&path, key(&bao.uri("lightning"))).expect("created");
    let old = bao.folder.path().join("old");
    create(&old, key(&bao.uri("lightning"))).expect("created");
    bao.post("transit/keys/lightning/rotate", &json!({}));
    let db = Database::open(&path, config(key(&bao.uri("lightning")))).expect("the old version opens");
    db.rewrap_key(db.key_slots()[0].id, key(&bao.uri("lightning"))).expect("wrapped by the new version");
    db.close().expect("closed");
    bao.post("transit/keys/lightning/config", &json!({ "min_decryption_version": 2 }));
    open(&path, key(&bao.uri("lightning"))).expect("the new version opens");
    let error = fails_to_open(&old, key(&bao.uri("lightning")));
    assert!(matches!(error, Error::KeyDisabled { .. }), "{error}");
    assert!(error.to_string().contains("min_decryption_version"), "{error}");
    bao.post("transit/keys/lightning/config", &json!({ "min_decryption_version": 1 }));
    open(&old, key(&bao.uri("lightning"))).expect("allowed again");
}

#[test]
fn a_server_that_is_down_sealed_and_back() {
    let mut bao = Bao::start_durable();
    let path = bao.folder.path().join("db");
    let uri = hurried(&bao.uri("lightning"));
    create(&path, key(&bao.uri("lightning"))).expect("created");
    bao.stop();
    let began = Instant::now();
    for error in [fails_to_open(&path, key(&uri)), fails_to_create(bao.folder.path(), key(&uri))] {
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    bao.start_again();
    for error in [fails_to_open(&path, key(&uri)), fails_to_create(bao.folder.path(), key(&uri))] {
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(error.to_string().contains("sealed"), "{error}");
    }
    bao.unseal();
    open(&path, key(&bao.uri("lightning"))).expect("opened");
}

#[test]
fn keys_that_are_not_there() {
    let bao = Bao::start();
    let path = bao.folder.path().join("db");
    create(&path, key(&bao.uri("lightning"))).expect("created");
    for error in [
        fails_to_create(bao.folder.path(), key(&bao.uri("missing"))),
        fails_to_open(&path, key(&bao.uri("missing"))),
        fails_to_create(bao.folder.path(), key(&bao.uri_of("nowhere/lightning"))),
        fails_to_open(&path, key(&bao.uri_of("nowhere/lightning"))),
    ] {
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
    }
    assert!(bao.get("transit/keys/missing").is_none(), "no key was made in passing");

    bao.post("transit/keys/other", &json!({ "derived": true }));
    let error = fails_to_open(&path, key(&bao.uri("other")));
    assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    bao.post("transit/keys/signs", &json!({ "type": "ed25519" }));
    let error = fails_to_create(bao.folder.path(), key(&bao.uri("signs")));
    assert!(matches!(error, Error::InvalidKey { .. }), "{error}");

    bao.post("transit/keys/lightning/config", &json!({ "deletion_allowed": true }));
    bao.delete("transit/keys/lightning");
    let error = fails_to_open(&path, key(&bao.uri("lightning")));
    assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
}

#[test]
fn tokens_that_are_refused() {
    let bao = Bao::start();
    let path = bao.folder.path().join("db");
    create(&path, key(&bao.uri("lightning"))).expect("created");
    let source = key(&bao.uri("lightning"));
    for token in ["hvs.none-such-4711".to_owned(), bao.token(&json!({ "policies": ["default"] }))] {
        secret_file(&bao.token_file, &token);
        for error in
            [fails_to_open(&path, source.clone()), fails_to_create(bao.folder.path(), source.clone())]
        {
            assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
            let text = format!("{error} {error:?} {source:?}");
            assert!(text.contains("permission denied") && !text.contains(&token), "{text}");
        }
    }
    fs::set_permissions(&bao.token_file, fs::Permissions::from_mode(0o644)).expect("opened to all");
    let error = fails_to_open(&path, source.clone());
    assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
    bao.allow_this_key_only();
    secret_file(&bao.token_file, &bao.token(&json!({ "policies": ["lightning"] })));
    open(&path, source.clone()).expect("the new token counts at once");
    create(&bao.folder.path().join("again"), source).expect("and may wrap");
}

#[test]
fn a_token_that_would_end_is_renewed() {
    let bao = Bao::start();
    let path = bao.folder.path().join("db");
    create(&path, key(&bao.uri("lightning"))).expect("created");
    bao.allow_this_key_only();
    let token = bao.token(&json!({ "policies": ["default", "lightning"], "ttl": "20s" }));
    secret_file(&bao.token_file, &token);
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(11));
        open(&path, key(&bao.uri("lightning"))).expect("renewed in time");
    }
    bao.post("auth/token/revoke", &json!({ "token": token }));
    let error = fails_to_open(&path, key(&bao.uri("lightning")));
    assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
}

#[test]
fn changed_and_moved_wrapped_keys() {
    let bao = Bao::start();
    meddling_is_noticed(bao.folder.path(), &bao.uri("lightning"), "key_tampered");
}

#[test]
fn a_namespace_and_tls() {
    let bao = Bao::start_with_tls();
    bao.post("sys/namespaces/team", &json!({}));
    bao.post("team/sys/mounts/transit", &json!({ "type": "transit" }));
    bao.post("team/transit/keys/theirs", &json!({ "derived": true }));
    let path = bao.folder.path().join("db");
    create(&path, key(&(bao.uri("theirs") + "&namespace=team"))).expect("created");
    open(&path, key(&(bao.uri("theirs") + "&namespace=team"))).expect("opened");
    let error = fails_to_create(bao.folder.path(), key(&bao.uri("theirs")));
    assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
    let trusted = bao.uri("theirs");
    let (untrusted, _) = trusted.split_once("&ca-file=").expect("it names one");
    let untrusted = format!("{untrusted}&timeout=1&namespace=team");
    let error = fails_to_open(&path, key(&untrusted));
    assert!(matches!(error, Error::KeyUnreachable { .. }), "a certificate that nobody vouches for: {error}");
}

#[test]
fn a_passphrase_beside_it_opens_without_the_service() {
    let mut bao = Bao::start();
    let path = bao.folder.path().join("db");
    create(&path, key(&bao.uri("lightning"))).expect("created");
    let db = Database::open(&path, config(key(&bao.uri("lightning")))).expect("opened");
    db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("added");
    bao.stop();
    db.put(b"row", b"value").expect("an open database needs no service");
    let before = db.key_slots();
    let hurried = key(&hurried(&bao.uri("lightning")));
    for error in [
        db.rewrap_key(before[0].id, hurried.clone()).expect_err("nobody wraps"),
        db.add_key(hurried, "another").expect_err("nobody wraps"),
        db.rotate_data_key().expect_err("the key would not open what comes of it"),
    ] {
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    }
    assert_eq!(db.key_slots(), before);
    db.close().expect("closed");
    open(&path, KeySource::passphrase("for recovery")).expect("opened");
}

#[test]
fn no_text_shows_a_token() {
    for uri in [
        "vault:transit/lightning?address=http://127.0.0.1:1&token=hvs.4711",
        "vault:transit/lightning?hvs.4711",
        "vault:hvs.4711",
        "vault:transit/lightning?address=http://hvs.4711@127.0.0.1:1",
    ] {
        let error = key_source(uri).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        assert!(error.to_string().contains("at character "), "{error}");
    }
}
