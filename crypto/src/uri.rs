//! Key sources as text, the same wherever one is written: on a command line, in a file, in the
//! environment.

mod service;

use std::io;

use crate::{CryptoError, KeySource};

pub use service::{ServiceUri, UriGrammar};

const FORMS: &str = "file:PATH, env:NAME, passphrase-file:PATH, passphrase-env:NAME, \
                     passphrase:prompt, exec:PROGRAM";

/// Kinds of key source that other crates or features bring, and which.
const ELSEWHERE: [(&str, &str); 9] = [
    ("pkcs11", "build with the feature `pkcs11`"),
    ("awskms", "use lightning_db_key_services::key_source, with the feature `awskms`"),
    ("azurekv", "use lightning_db_key_services::key_source, with the feature `azurekv`"),
    ("gcpkms", "use lightning_db_key_services::key_source, with the feature `gcpkms`"),
    ("keyring", "use lightning_db_key_services::key_source, with the feature `keyring`"),
    ("kmip", "use lightning_db_key_services::key_source, with the feature `kmip`"),
    ("recovery-file", "use lightning_db_key_services::key_source, with the feature `recovery`"),
    ("tpm", "use lightning_db_key_services::key_source, with the feature `tpm`"),
    ("vault", "use lightning_db_key_services::key_source, with the feature `vault`"),
];

impl KeySource {
    /// Reads a key URI.
    ///
    /// | URI | the key is |
    /// |---|---|
    /// | `file:PATH` | 32 raw bytes or 64 hex digits in a file that only its owner can read |
    /// | `env:NAME` | 64 hex digits in an environment variable |
    /// | `passphrase-file:PATH` | a passphrase in a file that only its owner can read |
    /// | `passphrase-env:NAME` | a passphrase in an environment variable |
    /// | `passphrase:prompt` | asked for, see [`from_uri_with`](Self::from_uri_with) |
    /// | `exec:PROGRAM` | held by an external command, see [`ExecProvider`](crate::ExecProvider) |
    /// | `pkcs11:…` | in a PKCS#11 token (RFC 7512), with the feature `pkcs11` |
    ///
    /// What follows the colon is taken as it is, without escapes, except in the URIs of services. Nothing is read or
    /// connected to yet. Further services are in the crate `lightning_db_key_services`, whose `key_source` reads these
    /// URIs too, and can be given to `LightningDbConfig::load_with_keys`.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none of these, or asks for a prompt.
    ///
    /// ```
    /// # use lightning_db_crypto::{CryptoError, KeySource};
    /// # fn main() -> Result<(), CryptoError> {
    /// let source = KeySource::from_uri("file:/etc/lightning_db.key")?;
    /// assert_eq!(format!("{source:?}"), "KeySource(file:/etc/lightning_db.key)");
    /// assert!(KeySource::from_uri("correct horse").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        Self::from_uri_with(uri, &mut || {
            Err(io::Error::other(
                "there is nobody to ask here: use the command line, or passphrase-file: or \
                 passphrase-env:",
            ))
        })
    }

    /// Reads a key URI; `passphrase:prompt` is asked of `prompt`, at once.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is no key URI, or `prompt` fails.
    pub fn from_uri_with(
        uri: &str,
        prompt: &mut dyn FnMut() -> io::Result<String>,
    ) -> Result<Self, CryptoError> {
        // No part of the text goes into an error: it may be a key or passphrase given by mistake.
        let (scheme, rest) = uri.split_once(':').ok_or_else(|| {
            invalid(format!("a key is named by a URI, and not given itself: use one of {FORMS}"))
        })?;
        #[cfg(feature = "pkcs11")]
        if scheme == "pkcs11" {
            return Ok(Self::provider(std::sync::Arc::new(crate::Pkcs11Provider::from_uri(uri)?)));
        }
        if let Some((scheme, how)) = ELSEWHERE.iter().find(|(known, _)| *known == scheme) {
            return Err(invalid(format!("this build has no {scheme}: {how}, or use one of {FORMS}")));
        }
        if rest.is_empty() || rest.contains('\0') {
            return Err(invalid(format!("nothing usable follows the colon: use one of {FORMS}")));
        }
        match scheme {
            "file" => Ok(Self::file(rest)),
            "env" => Ok(Self::env(rest)),
            "passphrase-file" => Ok(Self::passphrase_file(rest)),
            "passphrase-env" => Ok(Self::passphrase_env(rest)),
            "exec" => Ok(Self::exec(rest)),
            "passphrase" if rest == "prompt" => prompt().map(Self::passphrase).map_err(|error| {
                CryptoError::InvalidKey { source_name: "passphrase:prompt".into(), reason: error.to_string() }
            }),
            "passphrase" => Err(invalid(
                "a passphrase does not belong into a URI, where others may see it: use \
                 passphrase:prompt, passphrase-file:PATH or passphrase-env:NAME"
                    .into(),
            )),
            _ => Err(invalid(format!("there is no such kind of key source: use one of {FORMS}"))),
        }
    }
}

fn invalid(reason: String) -> CryptoError {
    CryptoError::InvalidKey { source_name: "the key URI".into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_names_its_source() {
        for (uri, shown) in [
            ("file:/a b/c:d", "KeySource(file:/a b/c:d)"),
            ("file:relative", "KeySource(file:relative)"),
            ("env:KEY", "KeySource(env:KEY)"),
            ("passphrase-file:p", "KeySource(passphrase-file:p)"),
            ("passphrase-env:P", "KeySource(passphrase-env:P)"),
            ("exec:/bin/x", "KeySource(exec:/bin/x)"),
        ] {
            assert_eq!(format!("{:?}", KeySource::from_uri(uri).expect(uri)), shown);
        }
    }

    #[test]
    fn what_is_no_key_uri_is_refused_without_being_repeated() {
        for uri in [
            "",
            "hunter2",
            "hunter2:hunter2",
            "passphrase:hunter2",
            "FILE:hunter2",
            ":hunter2",
            "file:",
            "env:",
            "exec:",
            "passphrase:",
            "file:\0hunter2",
            "raw:hunter2",
        ] {
            let error = KeySource::from_uri(uri).expect_err(uri);
            assert!(matches!(error, CryptoError::InvalidKey { .. }), "{uri}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{uri}: {error}");
        }
    }

    #[test]
    fn what_another_crate_brings_is_named() {
        for (scheme, how) in ELSEWHERE {
            if cfg!(feature = "pkcs11") && scheme == "pkcs11" {
                continue;
            }
            let error = KeySource::from_uri(&format!("{scheme}:hunter2")).expect_err(scheme).to_string();
            assert!(error.contains(&format!("no {scheme}: {how}")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn only_a_prompt_is_prompted_for() {
        let mut asked = 0;
        let mut prompt = || {
            asked += 1;
            Ok("secret".to_string())
        };
        let source = KeySource::from_uri_with("passphrase:prompt", &mut prompt).expect("asked");
        assert_eq!(format!("{source:?}"), "KeySource(passphrase [redacted])");
        KeySource::from_uri_with("env:X", &mut prompt).expect("not asked");
        assert_eq!(asked, 1);
        let error = KeySource::from_uri("passphrase:prompt").expect_err("nobody to ask");
        assert!(error.to_string().contains("passphrase-file:"), "{error}");
    }
}
