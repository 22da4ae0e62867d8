//! What moto does not do by itself: refuse, disable keys, throttle, answer late, lie.

use std::env;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lightning_db::Error;
use serde_json::json;

use super::moto::{Moto, SECRET, in_own_process};
use crate::support::between::{Action, Between, Request};
use crate::support::server::free_port;
use crate::support::{SOON, create, fails_to_create, fails_to_open, hurried, key, open, process};

fn uri(moto: &Moto, between: &Between) -> String {
    let uri = moto.uri(&moto.make_key());
    uri.replace(&format!(":{}", moto.port), &format!(":{}", between.port))
}

fn says(code: &'static str, message: &'static str) -> impl Fn(&Request) -> Action + Send + Sync {
    move |_| Action::Answer(400, json!({ "__type": code, "message": message }).to_string())
}

#[test]
fn refusals_and_disabled_keys() {
    in_own_process("awskms::double::refusals_and_disabled_keys", |moto| {
        let between = Between::before(moto.port);
        let (path, uri) = (moto.folder.join("db"), uri(moto, &between));
        create(&path, key(&uri)).expect("created");
        for (code, message, kind) in [
            ("DisabledException", "arn:aws:kms:x is disabled.", "key_disabled"),
            ("KMSInvalidStateException", "arn:aws:kms:x is pending deletion.", "key_disabled"),
            ("AccessDeniedException", "User is not authorized to perform kms:Decrypt", "key_refused"),
            ("ExpiredTokenException", "The security token included in the request is expired", "key_refused"),
            ("UnrecognizedClientException", "The security token is invalid", "key_refused"),
            (
                "InvalidSignatureException",
                "Signature expired: 20260101 is now earlier than 20260102",
                "key_refused",
            ),
            ("IncorrectKeyException", "The key ID does not identify the key", "wrong_key"),
            ("SomethingNew", "nobody knows", "key_provider"),
        ] {
            between.set(says(code, message));
            let error = fails_to_open(&path, key(&uri));
            assert_eq!(error.kind(), kind, "{code}: {error}");
            let text = format!("{error} {error:?}");
            assert!(!text.contains(SECRET), "{text}");
            assert!(kind == "wrong_key" || text.contains(message), "{text}");
            assert_eq!(between.seen(), 1, "{code} does not pass by being asked again");
            let error = fails_to_create(&moto.folder, key(&uri));
            assert_eq!(error.kind(), kind, "{code}: {error}");
        }
        between.set(|_| Action::Pass);
        open(&path, key(&uri)).expect("nothing stayed broken");
    });
}

#[test]
fn a_service_that_throttles() {
    in_own_process("awskms::double::a_service_that_throttles", |moto| {
        let between = Between::before(moto.port);
        let (path, uri) = (moto.folder.join("db"), uri(moto, &between));
        create(&path, key(&uri)).expect("created");
        let asked = AtomicUsize::new(0);
        between.set(move |request| match asked.fetch_add(1, Ordering::Relaxed) {
            0..3 => says("ThrottlingException", "Rate exceeded")(request),
            3 => Action::Answer(500, json!({ "__type": "KMSInternalException" }).to_string()),
            4 => Action::Hangup,
            _ => Action::Pass,
        });
        open(&path, key(&uri)).expect("tried again");
        assert_eq!(between.seen(), 6);

        between.set(says("ThrottlingException", "Rate exceeded"));
        let began = Instant::now();
        let error = fails_to_open(&path, key(&hurried(&uri)));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert!((1..30).contains(&between.seen()), "{} tries", between.seen());
    });
}

#[test]
fn a_service_that_is_slow() {
    in_own_process("awskms::double::a_service_that_is_slow", |moto| {
        let between = Between::before(moto.port);
        let (path, uri) = (moto.folder.join("db"), uri(moto, &between));
        create(&path, key(&uri)).expect("created");
        between.set(|_| Action::Hang);
        let began = Instant::now();
        let hurried = hurried(&uri);
        for error in [fails_to_open(&path, key(&hurried)), fails_to_create(&moto.folder, key(&hurried))] {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        }
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        // One late answer leaves time for another try.
        let asked = AtomicUsize::new(0);
        between.set(
            move |_| if asked.fetch_add(1, Ordering::Relaxed) == 0 { Action::Hang } else { Action::Pass },
        );
        open(&path, key(&(uri + "&timeout=16"))).expect("opened");
    });
}

#[test]
fn a_service_that_lies() {
    in_own_process("awskms::double::a_service_that_lies", |moto| {
        let between = Between::before(moto.port);
        let (path, uri) = (moto.folder.join("db"), uri(moto, &between));
        create(&path, key(&uri)).expect("created");
        for (plaintext, kind) in [(BASE64.encode([9; 80]), "wrong_database"), ("AAAA".into(), "key_tampered")]
        {
            between.set(move |_| Action::Answer(200, json!({ "Plaintext": plaintext }).to_string()));
            let error = fails_to_open(&path, key(&uri));
            assert_eq!(error.kind(), kind, "{error}");
        }
        between.set(|_| Action::Answer(200, "{}".into()));
        let error = fails_to_open(&path, key(&uri));
        assert_eq!(error.kind(), "key_provider", "{error}");
        between.set(|_| Action::Answer(200, "<html>".into()));
        let error = fails_to_open(&path, key(&hurried(&uri)));
        assert!(["key_provider", "key_unreachable"].contains(&error.kind()), "{error}");
        between.set(|_| Action::Pass);
        open(&path, key(&uri)).expect("nothing stayed broken");
    });
}

#[test]
fn no_credentials() {
    let none = [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ];
    process::with("awskms::double::no_credentials", &none, |folder| {
        assert!(env::var_os("AWS_ACCESS_KEY_ID").is_none());
        let uri = "awskms:alias/k?region=eu-west-1&endpoint=http://127.0.0.1:9";
        let error = fails_to_create(folder, key(uri));
        assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
        assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    });
}

/// An endpoint that was set for something else, and is reached without TLS: no request goes there, and no key in it.
#[test]
fn an_endpoint_from_the_environment_gets_no_key_in_the_clear() {
    misdirected("an_endpoint_from_the_environment_gets_no_key_in_the_clear", "AWS_ENDPOINT_URL");
}

#[test]
fn an_endpoint_for_this_service_gets_no_key_in_the_clear() {
    misdirected("an_endpoint_for_this_service_gets_no_key_in_the_clear", "AWS_ENDPOINT_URL_KMS");
}

fn misdirected(test: &str, variable: &'static str) {
    // This machine, by an address that does not say so.
    let variables = |_: &Path| {
        vec![
            (variable, format!("http://0.0.0.0:{}", free_port())),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
            ("AWS_CONFIG_FILE", "/nonexistent".into()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent".into()),
        ]
    };
    process::with_folder(&format!("awskms::double::{test}"), variables, |folder| {
        let endpoint = env::var(variable).expect("set");
        let listener = TcpListener::bind(endpoint.trim_start_matches("http://")).expect("the port is free");
        listener.set_nonblocking(true).expect("set");
        let error = fails_to_create(folder, key("awskms:alias/k?region=eu-west-1"));
        assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&endpoint) && text.contains("AWS_ENDPOINT_URL"), "{text}");
        assert!(listener.accept().is_err(), "somebody connected");
    });
}
