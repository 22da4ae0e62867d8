//! What must hold for all bytes that keys, keyrings and sealed objects are read from. Built for fuzzing and tests only.

#[path = "../../fuzz/shared/mod.rs"]
mod shared;

pub use shared::Target;
pub(crate) use shared::{Input, edit, flips};

pub use crate::keyring::fuzzing::{KEYRING, KEYRING_BODY};

use crate::{CryptoError, KeySource, PassphraseCost, PublicKey, RingAesGcm, SecretKey, SeededEntropy};
use crate::{open_object, seal_object};

/// All targets of this crate.
pub const TARGETS: &[Target] = &[KEYRING, KEYRING_BODY, SEALED_OBJECT, KEY_URI, KEY_TEXT];

/// Small sealed objects: only what was sealed opens.
pub const SEALED_OBJECT: Target = Target {
    name: "sealed_object",
    run: sealed_object,
    seeds: || vec![b"\x20some content of a sealed object".to_vec(), vec![0, 0, 200, 3], vec![2, 1, 0, 0, 5]],
    room: 64 << 10,
};

/// Key sources as text: no part of what is refused is repeated, for it may be a key.
pub const KEY_URI: Target = Target {
    name: "key_uri",
    run: key_uri,
    seeds: || {
        let uris = ["file:/a/key", "env:NAME", "passphrase-file:p", "passphrase-env:P", "passphrase:prompt"];
        let more =
            ["exec:/bin/x", "pkcs11:token=x", "passphrase:correct horse", "0123456789abcdef", "vault:"];
        uris.iter().chain(&more).map(|uri| uri.as_bytes().to_vec()).collect()
    },
    room: 64 << 10,
};

/// Other text and bytes that keys are made of: key files, answers of key commands, public keys, costs.
pub const KEY_TEXT: Target = Target {
    name: "key_text",
    run: key_text,
    seeds: || {
        let digits = "00ff".repeat(16);
        let line = format!("{digits}\r\n").into_bytes();
        vec![vec![7; 32], digits.into_bytes(), line, PassphraseCost::DEFAULT.to_bytes(), vec![0; 12]]
    },
    room: 64 << 10,
};

fn sealed_object(data: &[u8]) {
    let mut input = Input::new(data);
    let plain = input.chunk();
    let parent = SecretKey::from_bytes([6; 32]);
    let sealed = seal_object(&RingAesGcm, &parent, &SeededEntropy::new(1), "kind", b"7", b"aad", plain)
        .expect("there is randomness");
    let open = |bytes: &[u8]| open_object(&RingAesGcm, &parent, "kind", b"7", b"aad", bytes);
    assert_eq!(**open(&sealed).expect("as it was sealed"), *plain);
    let mut edited = sealed.clone();
    edit(&mut edited, &mut input);
    if let Ok(opened) = open(&edited) {
        assert_eq!(edited, sealed, "a changed object opened");
        assert_eq!(**opened, *plain);
    }
    assert!(open(input.rest()).is_err(), "an object that nobody sealed opened");
}

fn key_uri(data: &[u8]) {
    const SECRET_LEN: usize = 8;
    let Ok(uri) = std::str::from_utf8(data) else { return };
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    match KeySource::from_uri(uri) {
        Ok(source) => assert!(format!("{source:?}").starts_with("KeySource(")),
        Err(error) => {
            assert!(matches!(error, CryptoError::InvalidKey { .. }), "{error:?}");
            let constant = KeySource::from_uri("").expect_err("empty").to_string()
                + &KeySource::from_uri("x:").expect_err("nothing follows").to_string()
                + &KeySource::from_uri("passphrase:x").expect_err("a passphrase").to_string()
                + &KeySource::from_uri("passphrase:prompt").expect_err("nobody to ask").to_string()
                + &KeySource::from_uri("x:x").expect_err("no such kind").to_string()
                + &[
                    "pkcs11:x",
                    "awskms:x",
                    "azurekv:x",
                    "gcpkms:x",
                    "keyring:x",
                    "kmip:x",
                    "recovery-file:x",
                    "tpm:x",
                    "vault:x",
                ]
                .map(|uri| KeySource::from_uri(uri).expect_err("elsewhere").to_string())
                .concat();
            let told = format!("{error} {error:?}");
            let repeated = rest.len() >= SECRET_LEN && told.contains(rest) && !constant.contains(rest);
            assert!(!repeated, "an error repeats what may be a key");
        }
    }
}

fn key_text(data: &[u8]) {
    crate::provider::fuzzing::check(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = text.parse::<PublicKey>()
    {
        assert_eq!(key.to_string().parse::<PublicKey>().expect("its own text"), key);
        assert_eq!(key.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(cost) = PassphraseCost::from_bytes(data) {
        assert_eq!(cost.to_bytes(), data);
    }
}

#[cfg(test)]
#[test]
fn targets_hold_for_what_was_found_before() {
    shared::replay(TARGETS);
}
