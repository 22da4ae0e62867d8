//! Keys and passphrases in the environment.
//!
//! A test cannot change its own environment without racing the others, so it runs itself again
//! with the environment it needs.

use std::process::Command;

use lightning_db_crypto::{CryptoError, KeySource};

use crate::{create_and_open, refusal};

const IN_CHILD: &str = "CRYPTO_TEST_IN_CHILD";
const KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

#[test]
fn the_environment_holds_keys() {
    if std::env::var_os(IN_CHILD).is_some() {
        return check_sources();
    }
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this)
        .args(["--exact", "env::the_environment_holds_keys", "--nocapture"])
        .env(IN_CHILD, "yes")
        .env("CRYPTO_TEST_KEY", KEY)
        .env("CRYPTO_TEST_SHORT", &KEY[..62])
        .env("CRYPTO_TEST_NO_HEX", format!("{}hunter", &KEY[..58]))
        .env("CRYPTO_TEST_EMPTY", "")
        .env("CRYPTO_TEST_PASSPHRASE", "correct horse")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "the test did not run: {text}");
}

fn check_sources() {
    let key = KeySource::env("CRYPTO_TEST_KEY");
    create_and_open(&KeySource::raw([7; 32]), &key).expect("the same key");
    let passphrase = KeySource::passphrase_env("CRYPTO_TEST_PASSPHRASE");
    create_and_open(&KeySource::passphrase("correct horse"), &passphrase).expect("the same");
    let wrong = create_and_open(&KeySource::passphrase("incorrect"), &passphrase);
    assert!(matches!(wrong, Err(CryptoError::WrongKey { .. })));

    for name in ["CRYPTO_TEST_SHORT", "CRYPTO_TEST_NO_HEX", "CRYPTO_TEST_EMPTY"] {
        let text = refusal(&KeySource::env(name), "0707");
        assert!(text.contains(name) && text.contains("64 hex digits"), "{text}");
    }
    assert!(refusal(&KeySource::passphrase_env("CRYPTO_TEST_EMPTY"), "").contains("empty"));
    for source in [KeySource::env("CRYPTO_TEST_NOT_SET"), KeySource::passphrase_env("CRYPTO_TEST_NOT_SET")] {
        let text = refusal(&source, "");
        assert!(text.contains("CRYPTO_TEST_NOT_SET") && text.contains("not set"), "{text}");
    }
    for name in ["", "A=B", "A\0B"] {
        assert!(refusal(&KeySource::env(name), "").contains("no name"));
    }
}
