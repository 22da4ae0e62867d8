//! External commands, well-behaved and not.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use lightning_db_crypto::{
    CryptoError, ExecProvider, KeyProvider, KeySource, OsEntropy, SecretKey, SlotContext, WrappedKey,
};

use crate::{CONTEXT, create_and_open};

fn command(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/providers/commands").join(name)
}

fn provider(name: &str) -> ExecProvider {
    ExecProvider::new(command(name))
}

fn key() -> SecretKey {
    SecretKey::from_bytes(*b"a key that is to be wrapped here")
}

fn wrap(provider: &ExecProvider) -> Result<WrappedKey, CryptoError> {
    provider.wrap(&CONTEXT, &key(), &OsEntropy)
}

fn unwrap(name: &str) -> Result<SecretKey, CryptoError> {
    let commitment = CONTEXT.commitment_to(&key());
    let wrapped = WrappedKey { params: vec![], bytes: vec![1; 40], commitment };
    provider(name).unwrap(&CONTEXT, &wrapped)
}

/// The text of a failure that says nothing about keys.
fn failure<T>(result: Result<T, CryptoError>) -> String {
    match result {
        Err(error @ CryptoError::Provider { .. }) => error.to_string(),
        Err(error) => panic!("not a failure of the provider: {error:?}"),
        Ok(_) => panic!("this cannot succeed"),
    }
}

#[test]
fn a_command_wraps_and_unwraps() {
    let source = KeySource::exec(command("service"));
    create_and_open(&source, &source).expect("it keeps keys");

    let wrapped = wrap(&provider("service")).expect("wrapped");
    assert_eq!(wrapped.bytes.len(), 64, "the slot and the key reached the command");
    assert_eq!(provider("service").unwrap(&CONTEXT, &wrapped).expect("unwrapped"), key());
    let moved = SlotContext { salt: [1; 32], ..CONTEXT };
    let error = provider("service").unwrap(&moved, &wrapped).expect_err("of another slot");
    assert!(matches!(error, CryptoError::WrongKey { .. }), "{error}");
}

#[test]
fn another_key_is_a_wrong_key() {
    for name in ["stranger", "another"] {
        let error = unwrap(name).expect_err("not this key");
        assert!(matches!(error, CryptoError::WrongKey { .. }), "{name}: {error}");
    }
}

#[test]
fn a_failure_is_reported_shortly_and_on_one_line() {
    let text = failure(unwrap("broken"));
    assert!(text.contains("no route") && text.contains("exit status: 7"), "{text}");
    assert!(!text.contains('\u{1b}') && text.len() < 500, "{text}");
    let text = failure(wrap(&provider("traced")));
    assert!(text.contains("[redacted]"), "{text}");
    assert!(!text.contains(&hex::encode(&key().expose()[..8])), "{text}");
    let text = failure(wrap(&ExecProvider::new("/no/such/program")));
    assert!(text.contains("/no/such/program") && text.contains("cannot be started"), "{text}");
}

#[test]
fn answers_that_are_no_key_are_refused() {
    assert!(failure(unwrap("garbage")).contains("not in hex"));
    assert!(failure(unwrap("short")).contains("2 bytes, not 32"));
    assert!(failure(unwrap("silent")).contains("0 bytes"));
    assert!(failure(unwrap("chatty")).contains("hex digits"));
    assert!(failure(wrap(&provider("chatty"))).contains("hex digits"));
    let text = failure(wrap(&provider("mirror")));
    assert!(text.contains("unwrapped") && !text.contains(&hex::encode(key().expose())), "{text}");
}

#[test]
fn a_command_that_does_not_end_is_killed() {
    for name in ["slow", "leaves-a-child"] {
        let start = Instant::now();
        let text = failure(wrap(&provider(name).with_timeout(Duration::from_millis(300))));
        assert!(text.contains("killed") || text.contains("stayed open"), "{name}: {text}");
        assert!(start.elapsed() < Duration::from_secs(30), "{name} was waited for");
    }
}
