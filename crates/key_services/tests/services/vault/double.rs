//! What OpenBao does not do by itself: answer late, ask to come again, lie.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lightning_db::{Error, KeySource};
use serde_json::{Value, json};

use super::bao::Bao;
use crate::support::between::{Action, Between, Request};
use crate::support::{Meddling, SOON, create, fails_to_create, fails_to_open, hurried, key, open};

fn uri(bao: &Bao, between: &Between) -> String {
    bao.uri("lightning").replace(&format!(":{}", bao.port), &format!(":{}", between.port))
}

#[test]
fn a_server_that_is_slow() {
    let bao = Bao::start();
    let between = Between::before(bao.port);
    let (path, uri) = (bao.folder.path().join("db"), uri(&bao, &between));
    create(&path, key(&uri)).expect("created");
    for quiet in [|_: &Request| Action::Hang, |_: &Request| Action::Hangup] {
        between.set(quiet);
        let began = Instant::now();
        let hurried = hurried(&uri);
        for error in [fails_to_open(&path, key(&hurried)), fails_to_create(bao.folder.path(), key(&hurried))]
        {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        }
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    between.set(|_| Action::Pass);
    open(&path, key(&uri)).expect("opened");
}

#[test]
fn a_server_that_throttles() {
    let bao = Bao::start();
    let between = Between::before(bao.port);
    let path = bao.folder.path().join("db");
    create(&path, key(&uri(&bao, &between))).expect("created");
    let refused = AtomicUsize::new(0);
    between.set(move |_| match refused.fetch_add(1, Ordering::Relaxed) {
        0..3 => Action::Answer(429, r#"{"errors":["request path \"x\": rate limit quota exceeded"]}"#.into()),
        3 => Action::Answer(502, String::new()),
        _ => Action::Pass,
    });
    open(&path, key(&uri(&bao, &between))).expect("tried again");
    assert!(between.seen() >= 5);

    between.set(|_| Action::Answer(429, String::new()));
    let began = Instant::now();
    let error = fails_to_open(&path, key(&hurried(&uri(&bao, &between))));
    assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    assert!(error.to_string().contains("come again later"), "{error}");
    assert!(between.seen() < 10 && began.elapsed() < SOON, "{} tries", between.seen());
}

#[test]
fn a_server_that_lies() {
    let bao = Bao::start();
    let between = Between::before(bao.port);
    let (path, uri) = (bao.folder.path().join("db"), uri(&bao, &between));
    create(&path, key(&uri)).expect("created");

    // What it unwraps is the data key of another database.
    let stranger = Meddling::with(&key(&uri), |_, wrapped| wrapped);
    create(&bao.folder.path().join("other"), KeySource::provider(stranger)).expect("created");
    between.set(|request| {
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else { return Action::Pass };
        assert!(body["ciphertext"].is_string());
        let payload = BASE64.encode([9; 80]);
        Action::Answer(200, json!({ "data": { "plaintext": payload } }).to_string())
    });
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::WrongDatabase { .. }), "{error}");

    for (answer, kind) in [
        (json!({ "data": { "plaintext": "AAAA" } }).to_string(), "key_tampered"),
        (json!({ "data": { "plaintext": "?" } }).to_string(), "key_provider"),
        (json!({ "data": {} }).to_string(), "key_provider"),
        ("<html>".into(), "key_provider"),
        ("x".repeat(1 << 20), "key_provider"),
    ] {
        between.set(move |_| Action::Answer(200, answer.clone()));
        let error = fails_to_open(&path, key(&uri));
        assert_eq!(error.kind(), kind, "{error}");
    }
    between.set(|_| Action::Answer(307, String::new()));
    let error = fails_to_open(&path, key(&uri));
    assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
    between.set(|_| Action::Pass);
    open(&path, key(&uri)).expect("nothing stayed broken");
}
