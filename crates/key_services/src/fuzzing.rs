//! What must hold for whatever is given as a key. Built for fuzzing and tests only.

#[path = "../../../fuzz/shared/mod.rs"]
mod shared;

use lightning_db_crypto::CryptoError;
pub use shared::Target;

use crate::key_source;

/// All targets of this crate.
pub const TARGETS: &[Target] = &[SERVICE_URI];

/// URIs of key services: read or refused, and no part of what is refused is repeated, for it may be a secret.
pub const SERVICE_URI: Target = Target {
    name: "service_uri",
    run: service_uri,
    seeds: || {
        let uris = [
            "awskms:arn:aws:kms:eu-west-1:123456789012:key/1234-ab?endpoint=http://127.0.0.1:5000",
            "awskms:alias/k?region=us-east-1&profile=p&timeout=3",
            "azurekv://v.vault.azure.net/keys/k/0123?algorithm=A256KW&connect=[::1]:443&ca-file=/c",
            "azurekv://v/keys/k?secret=correct-horse",
            "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k?endpoint=https://kms.example&timeout=9",
            "gcpkms://projects/correct-horse",
            "keyring:my%20db?timeout=5",
            "kmip:42?server=[::1]:5696&ca-file=/ca&cert-file=/cert&key-file=/key",
            "pkcs11:token=safe;object=k;type=secret-key?module-path=/m.so&pin-source=file:/pin",
            "recovery-file:/safe/words",
            "tpm:0x81000001?pcrs=sha256:0,7&pin-source=env:PIN&tcti=swtpm:host=127.0.0.1,port=2321",
            "vault:team/transit/k?address=https://vault.example:8200/&token-file=/t&namespace=n&ca-file=/c",
            "vault:t/k?address=http://127.0.0.1:1&token=correct-horse",
            "tpm:?pin=correct-horse",
        ];
        uris.map(|uri| uri.as_bytes().to_vec()).to_vec()
    },
    room: 1 << 20,
};

const SECRET_LEN: usize = 8;
const SCHEMES: [&str; 9] =
    ["awskms", "azurekv", "gcpkms", "keyring", "kmip", "pkcs11", "recovery-file", "tpm", "vault"];

fn service_uri(data: &[u8]) {
    let Ok(uri) = std::str::from_utf8(data) else { return };
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    match key_source(uri) {
        Ok(source) => assert!(format!("{source:?}").starts_with("KeySource(")),
        Err(error) => {
            assert!(matches!(error, CryptoError::InvalidKey { .. }), "{error:?}");
            let told = format!("{error} {error:?}");
            let repeated = rest.len() >= SECRET_LEN && told.contains(rest) && !is_constant(rest);
            assert!(!repeated, "an error repeats what may be a secret");
        }
    }
}

/// Whether errors say this whatever was given.
fn is_constant(text: &str) -> bool {
    let refusals = SCHEMES.map(|scheme| {
        let told = |uri: String| key_source(&uri).err().map(|error| format!("{error} {error:?}"));
        [told(format!("{scheme}:?x")), told(format!("{scheme}:\0")), told("x:".into())]
            .map(Option::unwrap_or_default)
            .concat()
    });
    refusals.concat().contains(text)
}

#[cfg(test)]
#[test]
fn targets_hold_for_what_was_found_before() {
    shared::replay(TARGETS);
}
