//! A key that a server of PyKMIP's hands out over mutual TLS.

mod server;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use lightning_db::Error;
use lightning_db_key_services::key_source;

use self::server::Kmip;
use crate::support::{
    SOON, create, fails_to_create, fails_to_open, hurried, key, life, meddling_is_noticed, open,
};

#[test]
fn a_life_and_a_restart_of_the_server() {
    let kmip = Kmip::start();
    let patient = kmip.uri(&kmip.make_key());
    let uri = hurried(&patient);
    life(kmip.path(), &patient);
    let path = kmip.path().join("life");
    kmip.stop();
    let began = Instant::now();
    for error in [fails_to_open(&path, key(&uri)), fails_to_create(kmip.path(), key(&uri))] {
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    kmip.start_again();
    open(&path, key(&patient)).expect("opened");
}

#[test]
fn keys_that_are_not_there_or_not_active() {
    let kmip = Kmip::start();
    let (id, path) = (kmip.make_key(), kmip.path().join("db"));
    let uri = kmip.uri(&id);
    create(&path, key(&uri)).expect("created");

    let inactive = kmip.manage("make", "256");
    let error = fails_to_create(kmip.path(), key(&kmip.uri(&inactive)));
    assert!(matches!(error, Error::KeyDisabled { .. }), "{error}");
    let short = kmip.manage("make", "128");
    kmip.manage("activate", &short);
    let error = fails_to_create(kmip.path(), key(&kmip.uri(&short)));
    assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
    let error = fails_to_open(&path, key(&kmip.uri(&kmip.make_key())));
    assert!(matches!(error, Error::WrongKey { .. }), "{error}");

    for error in
        [fails_to_create(kmip.path(), key(&kmip.uri("4711"))), fails_to_open(&path, key(&kmip.uri("4711")))]
    {
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
    }
    kmip.manage("revoke", &id);
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::KeyDisabled { .. }), "{error}");
    assert!(error.to_string().contains("Deactivated"), "{error}");
    kmip.manage("destroy", &id);
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
}

#[test]
fn users_and_servers_that_are_not_trusted() {
    let kmip = Kmip::start();
    let (id, path) = (kmip.make_key(), kmip.path().join("db"));
    create(&path, key(&kmip.uri(&id))).expect("created");
    for user in ["mallory", "stranger"] {
        let uri = kmip.uri_by(user, &id);
        for error in [fails_to_open(&path, key(&uri)), fails_to_create(kmip.path(), key(&uri))] {
            // What a server says as it closes can be lost on the way.
            let cut_off = matches!(error, Error::KeyUnreachable { .. }) && user == "stranger";
            assert!(matches!(error, Error::KeyRefused { .. }) || cut_off, "{user}: {error}");
            assert!(error.to_string().contains("cert-file="), "{user}: {error}");
        }
    }
    let untrusted = kmip.uri(&id).replace("/ca.pem", "/stranger-ca.pem");
    let error = fails_to_open(&path, key(&untrusted));
    assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    assert!(error.to_string().contains("ca-file="), "{error}");

    fs::set_permissions(kmip.key_file(), fs::Permissions::from_mode(0o644)).expect("opened to all");
    let error = fails_to_open(&path, key(&kmip.uri(&id)));
    assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
}

#[test]
fn changed_and_moved_wrapped_keys() {
    let kmip = Kmip::start();
    meddling_is_noticed(kmip.path(), &kmip.uri(&kmip.make_key()), "wrong_key");
}

#[test]
fn a_server_that_says_nothing() {
    let kmip = Kmip::start();
    let (id, path) = (kmip.make_key(), kmip.path().join("db"));
    create(&path, key(&kmip.uri(&id))).expect("created");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let uri = hurried(&kmip.uri(&id).replace(&format!(":{}", kmip.port), &format!(":{port}")));
    let began = Instant::now();
    for error in [fails_to_open(&path, key(&uri)), fails_to_create(kmip.path(), key(&uri))] {
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(error.to_string().contains("in time"), "{error}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn no_text_shows_a_secret() {
    for uri in ["kmip:1?server=h:1&password=4711-secret", "kmip:1?4711-secret", "kmip:4711 secret"] {
        let error = key_source(uri).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
    }
}
