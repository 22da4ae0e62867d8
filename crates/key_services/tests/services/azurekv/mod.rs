//! A key of Azure Key Vault, of which there is only a double.

mod double;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lightning_db::{Database, Error, KeySource};
use lightning_db_key_services::key_source;

use self::double::{SECRET, TOKEN, VAULT, VERSION, in_own_process, refusal, value_answer};
use crate::support::between::Action;
use crate::support::{
    SOON, config, create, fails_to_create, fails_to_open, hurried, key, life, meddling_is_noticed, open,
    process,
};

#[test]
fn a_life_and_what_is_asked() {
    in_own_process("azurekv::a_life_and_what_is_asked", |double| {
        life(&double.folder, &double.uri());
        let asked = double.asked.lock().expect("a lock").clone();
        assert_eq!(asked["alg"], "RSA-OAEP-256");
        let path = asked["path"].as_str().expect("a path");
        assert!(path.starts_with(&format!("/keys/lightning/{VERSION}/unwrapkey?api-version=")), "{path}");

        let symmetric = double.uri_of(&format!("lightning/{VERSION}")) + "&algorithm=A256KW";
        let db = double.folder.join("symmetric");
        create(&db, key(&symmetric)).expect("created");
        open(&db, key(&double.uri())).expect("the slot says how it was wrapped");
        assert_eq!(double.asked.lock().expect("a lock")["alg"], "A256KW");
        let error = fails_to_open(&db, key(&double.uri_of("lightning/00112233445566778899aabbccddeeff")));
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    });
}

#[test]
fn a_service_that_is_not_there() {
    in_own_process("azurekv::a_service_that_is_not_there", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        let db = Database::open(&path, config(key(&uri))).expect("opened");
        db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("added");
        for quiet in [|| Action::Hangup, || Action::Hang] {
            double.answer(move |_| quiet());
            let began = Instant::now();
            // Rotated while it is away: nothing changes.
            let slot = db.key_slots()[0].id;
            let error = db.rewrap_key(slot, key(&hurried(&uri))).expect_err("it is away");
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
        db.close().expect("closed");
        let nobody = format!("azurekv://{VAULT}/keys/lightning?connect=127.0.0.1:9&timeout=1");
        let began = Instant::now();
        for error in [
            fails_to_open(&path, key(&hurried(&uri))),
            fails_to_create(&double.folder, key(&hurried(&uri))),
            fails_to_create(&double.folder, key(&nobody)),
        ] {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        }
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        open(&path, KeySource::passphrase("for recovery")).expect("opened without the service");
        double.serve();
        open(&path, key(&uri)).expect("nothing stayed broken");
    });
}

#[test]
fn refusals_and_disabled_keys() {
    in_own_process("azurekv::refusals_and_disabled_keys", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        for (status, code, inner, kind) in [
            (404, "KeyNotFound", "", "no_such_key"),
            (403, "Forbidden", "KeyDisabled", "key_disabled"),
            (403, "Forbidden", "KeyOperationForbidden", "key_disabled"),
            (403, "Forbidden", "ForbiddenByRbac", "key_refused"),
            (403, "Forbidden", "ForbiddenByFirewall", "key_refused"),
            (418, "SomethingNew", "", "key_provider"),
        ] {
            double.answer(move |_| refusal(status, code, inner, "the service's words"));
            let error = fails_to_open(&path, key(&uri));
            assert_eq!(error.kind(), kind, "{code} {inner}: {error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains("the service's words"), "{text}");
            assert!(!text.contains(SECRET) && !text.contains(TOKEN), "{text}");
            // To be asked who he is, to get a token, to ask.
            assert!(double.between.seen() <= 3, "{code} does not pass by being asked again");
            let error = fails_to_create(&double.folder, key(&uri));
            assert_eq!(error.kind(), kind, "{code} {inner}: {error}");
        }
        double.serve();
        open(&path, key(&uri)).expect("nothing stayed broken");
        let error = fails_to_create(&double.folder, key(&double.uri_of("missing")));
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
        let error = fails_to_open(&path, key(&double.uri_of("missing")));
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    });
}

#[test]
fn a_service_that_throttles() {
    in_own_process("azurekv::a_service_that_throttles", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        let asked = AtomicUsize::new(0);
        double.answer(move |honest| match asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => refusal(429, "Throttled", "", "too many"),
            2 => refusal(503, "ServerError", "", "come again"),
            3 => Action::Hangup,
            _ => honest,
        });
        open(&path, key(&uri)).expect("tried again");
        double.answer(|_| refusal(429, "Throttled", "", "too many"));
        let began = Instant::now();
        let error = fails_to_open(&path, key(&hurried(&uri)));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(error.to_string().contains("throttled"), "{error}");
        assert!(began.elapsed() < SOON && double.between.seen() < 12, "{} tries", double.between.seen());
    });
}

#[test]
fn a_service_that_lies() {
    in_own_process("azurekv::a_service_that_lies", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        for (payload, kind) in [(vec![9; 80], "wrong_database"), (vec![0; 3], "key_tampered")] {
            double.answer(move |_| value_answer(VERSION, &payload));
            let error = fails_to_open(&path, key(&uri));
            assert_eq!(error.kind(), kind, "{error}");
        }
        for body in ["<html>", "{}", "{\"value\": 7}"] {
            double.answer(|_| Action::Answer(200, body.into()));
            let error = fails_to_open(&path, key(&uri));
            assert_eq!(error.kind(), "key_provider", "{error}");
        }
        double.answer(|honest| match honest {
            Action::Answer(200, body) => Action::Answer(200, body.replace("/lightning/", "/other/")),
            other => other,
        });
        let error = fails_to_create(&double.folder, key(&uri));
        assert!(error.to_string().contains("another key"), "{error}");
        // A token for another service is not asked for, and nothing is sent.
        double.challenge(
            r#"Bearer authorization="https://login.example/t", resource="https://management.example""#,
        );
        let error = fails_to_open(&path, key(&uri));
        assert!(!matches!(error, Error::KeyUnreachable { .. }), "{error}");
        double.serve();
        meddling_is_noticed(&double.folder, &uri, "wrong_database");
    });
}

/// Whoever answers at the vault's address must have a certificate for its name.
#[test]
fn a_vault_that_nobody_vouches_for() {
    in_own_process("azurekv::a_vault_that_nobody_vouches_for", |double| {
        let stranger =
            format!("azurekv://{VAULT}/keys/lightning?connect=127.0.0.1:{}&timeout=1", double.between.port);
        let error = fails_to_create(&double.folder, key(&stranger));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert_eq!(double.between.seen(), 0, "nothing was asked");
    });
}

#[test]
fn no_credentials() {
    process::with("azurekv::no_credentials", &[("AZURE_TENANT_ID", "")], |folder| {
        let uri = format!("azurekv://{VAULT}/keys/k?credentials=environment&connect=127.0.0.1:9");
        let error = fails_to_create(folder, key(&uri));
        assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
        assert!(error.to_string().contains("AZURE_TENANT_ID"), "{error}");
    });
}

#[test]
fn no_text_shows_a_secret() {
    for rest in ["?client-secret=4711-secret", "?4711-secret", "?connect=4711-secret", "/4711/4711"] {
        let error = key_source(&format!("azurekv://{VAULT}/keys/k{rest}")).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        assert!(error.to_string().contains("at character "), "{error}");
    }
}
