//! A key of Google Cloud KMS, of which there is only a double.

mod double;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lightning_db::{Database, Error, KeySource};
use lightning_db_key_services::key_source;
use serde_json::{Value, json};

use self::double::{KEY, SECRET, TOKEN, in_own_process, plaintext_answer, refusal};
use crate::support::between::Action;
use crate::support::{
    SOON, config, create, fails_to_create, fails_to_open, hurried, key, life, meddling_is_noticed, open,
    process,
};

#[test]
fn a_life_and_what_is_asked() {
    in_own_process("gcpkms::a_life_and_what_is_asked", |double| {
        life(&double.folder, &double.uri());
        let asked = double.asked.lock().expect("a lock").clone();
        assert_eq!(asked["doing"], "decrypt");
        assert_eq!(asked["name"], KEY);

        let first = bound(&asked);
        create(&double.folder.join("db"), key(&double.uri())).expect("created");
        let second = bound(&double.asked.lock().expect("a lock"));
        for bound in [&first, &second] {
            let id = bound.strip_prefix("lightning_db key slot ").expect("what it is for");
            assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()), "{bound}");
        }
        assert_ne!(first, second, "each database has a binding of its own");
    });
}

/// What a request says to authenticate along with the key.
fn bound(asked: &Value) -> String {
    let bytes = BASE64.decode(asked["additionalAuthenticatedData"].as_str().expect("bytes"));
    String::from_utf8(bytes.expect("base64")).expect("text")
}

#[test]
fn a_service_that_is_not_there() {
    in_own_process("gcpkms::a_service_that_is_not_there", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        let db = Database::open(&path, config(key(&uri))).expect("opened");
        db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("added");
        for quiet in [|| Action::Hangup, || Action::Hang] {
            double.answer(move |_, _| quiet());
            let began = Instant::now();
            // Rotated while it is away: nothing changes.
            let slot = db.key_slots()[0].id;
            let error = db.rewrap_key(slot, key(&hurried(&uri))).expect_err("it is away");
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
        db.close().expect("closed");
        let began = Instant::now();
        for error in [
            fails_to_open(&path, key(&hurried(&uri))),
            fails_to_create(&double.folder, key(&hurried(&uri))),
            fails_to_create(
                &double.folder,
                key(&format!("gcpkms://{KEY}?endpoint=http://127.0.0.1:9&timeout=1")),
            ),
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
    in_own_process("gcpkms::refusals_and_disabled_keys", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        for (code, status, message, kind) in [
            (404, "NOT_FOUND", "CryptoKey projects/p/… not found.", "no_such_key"),
            (
                400,
                "FAILED_PRECONDITION",
                "the version is not enabled, current state is: DISABLED.",
                "key_disabled",
            ),
            (403, "PERMISSION_DENIED", "Permission 'cloudkms.…' denied on resource", "key_refused"),
            (401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "key_refused"),
            (400, "OUT_OF_RANGE", "nobody knows", "key_provider"),
        ] {
            double.answer(move |_, _| refusal(code, status, message));
            let error = fails_to_open(&path, key(&uri));
            assert_eq!(error.kind(), kind, "{status}: {error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(message) && !text.contains(SECRET) && !text.contains(TOKEN), "{text}");
            assert!(double.between.seen() <= 2, "{status} does not pass by being asked again");
            let error = fails_to_create(&double.folder, key(&uri));
            assert_eq!(error.kind(), kind, "{status}: {error}");
        }
        double.serve();
        open(&path, key(&uri)).expect("nothing stayed broken");
        let error = fails_to_open(&path, key(&double.uri_of(&format!("{KEY}2"))));
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    });
}

#[test]
fn a_service_that_throttles() {
    in_own_process("gcpkms::a_service_that_throttles", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        let asked = AtomicUsize::new(0);
        double.answer(move |_, honest| match asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded"),
            2 => refusal(503, "UNAVAILABLE", "come again"),
            3 => Action::Hangup,
            4 => Action::Answer(502, "<html>".into()),
            _ => honest,
        });
        open(&path, key(&uri)).expect("tried again");
        double.answer(|_, _| refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded"));
        let began = Instant::now();
        let error = fails_to_open(&path, key(&hurried(&uri)));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(error.to_string().contains("throttled"), "{error}");
        assert!(began.elapsed() < SOON && double.between.seen() < 10, "{} tries", double.between.seen());
    });
}

#[test]
fn what_is_damaged_on_the_way_is_asked_again() {
    in_own_process("gcpkms::what_is_damaged_on_the_way_is_asked_again", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        let spoilt = |field: &'static str, value: Value| {
            move |honest: Action| match honest {
                Action::Answer(200, body) => {
                    let mut body: Value = serde_json::from_str(&body).expect("JSON");
                    if !body[field].is_null() {
                        body[field] = value.clone();
                    }
                    Action::Answer(200, body.to_string())
                }
                other => other,
            }
        };
        for (field, value) in [
            ("ciphertextCrc32c", json!("7")),
            ("verifiedPlaintextCrc32c", json!(false)),
            ("verifiedAdditionalAuthenticatedDataCrc32c", json!(false)),
        ] {
            let (spoil, asked) = (spoilt(field, value.clone()), AtomicUsize::new(0));
            double.answer(
                move |_, honest| {
                    if asked.fetch_add(1, Ordering::Relaxed) == 0 { spoil(honest) } else { honest }
                },
            );
            create(&double.folder.join(field), key(&uri)).expect("asked again");
            let spoil = spoilt(field, value);
            double.answer(move |_, honest| spoil(honest));
            let error = fails_to_create(&double.folder, key(&uri));
            assert!(error.to_string().contains("damaged on the way"), "{field}: {error}");
        }
        double.serve();
        create(&path, key(&uri)).expect("created");
        let spoil = spoilt("plaintextCrc32c", json!("7"));
        double.answer(move |_, honest| spoil(honest));
        let error = fails_to_open(&path, key(&uri));
        assert!(error.to_string().contains("damaged on the way"), "{error}");
    });
}

#[test]
fn a_service_that_lies() {
    in_own_process("gcpkms::a_service_that_lies", |double| {
        let (path, uri) = (double.folder.join("db"), double.uri());
        create(&path, key(&uri)).expect("created");
        for (plaintext, kind) in [(vec![9; 80], "wrong_database"), (vec![0; 3], "key_tampered")] {
            double.answer(move |_, _| Action::Answer(200, plaintext_answer(&plaintext).to_string()));
            let error = fails_to_open(&path, key(&uri));
            assert_eq!(error.kind(), kind, "{error}");
        }
        for body in ["<html>", "{\"plaintext\": 7}"] {
            double.answer(|_, _| Action::Answer(200, body.into()));
            let error = fails_to_open(&path, key(&hurried(&uri)));
            assert!(["key_provider", "key_unreachable"].contains(&error.kind()), "{error}");
        }
        double.answer(|_, honest| match honest {
            Action::Answer(200, body) => {
                Action::Answer(200, body.replace("cryptoKeys/k/", "cryptoKeys/other/"))
            }
            other => other,
        });
        let error = fails_to_create(&double.folder, key(&uri));
        assert!(error.to_string().contains("another key"), "{error}");
        double.serve();
        meddling_is_noticed(&double.folder, &uri, "key_tampered");
    });
}

#[test]
fn no_credentials() {
    let none = [("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent")];
    process::with("gcpkms::no_credentials", &none, |folder| {
        let error = fails_to_create(folder, key(&format!("gcpkms://{KEY}?endpoint=http://127.0.0.1:9")));
        assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
        assert!(error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
    });
}

#[test]
fn no_text_shows_a_secret() {
    for rest in ["?token=4711-secret", "?4711-secret", "?endpoint=http://4711-secret@127.0.0.1:1", "/4711"] {
        let error = key_source(&format!("gcpkms://{KEY}{rest}")).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        assert!(error.to_string().contains("at character "), "{error}");
    }
}
