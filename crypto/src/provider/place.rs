//! Where the secret is that opens a key service: a PIN, a token.

use std::{
    ffi::OsString,
    fmt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use zeroize::Zeroizing;

use super::{env, file};
use crate::CryptoError;

/// Where a PIN or an access token is kept. It is read each time it is needed, so that a new one counts at once.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// A file that only its owner can read; a line end that closes it does not belong to the secret.
    File(PathBuf),
    /// An environment variable.
    Env(OsString),
}

impl SecretPlace {
    /// Reads `file:PATH`, `env:NAME`, or a plain path.
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some(("env", name)) => Self::Env(name.into()),
            Some(("file", path)) => Self::File(path.strip_prefix("//").unwrap_or(path).into()),
            _ => Self::File(text.into()),
        }
    }

    /// Reads a PIN or a token.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is empty, not UTF-8, longer than 4096 bytes, not set, no regular file, or (on
    /// Unix) can be read by group or others; [`CryptoError::Io`] if it cannot be read.
    pub fn read(&self) -> Result<Zeroizing<String>, CryptoError> {
        self.read_up_to(file::MAX_PASSPHRASE_LEN)
    }

    /// As [`read`](Self::read), for a secret of another length in bytes, such as a private key with its certificates.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_up_to(&self, max_len: usize) -> Result<Zeroizing<String>, CryptoError> {
        let source = self.to_string();
        let mut bytes = match self {
            Self::File(path) => file::read_secret(path, &source, max_len)?,
            Self::Env(name) => env::read_passphrase(name, &source)?,
        };
        let invalid =
            |reason: &str| CryptoError::InvalidKey { source_name: source.clone(), reason: reason.into() };
        if bytes.is_empty() || bytes.len() > max_len {
            return Err(invalid(&format!("it has from 1 to {max_len} bytes")));
        }
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(invalid("it is not UTF-8"))
            }
        }
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{}", name.to_string_lossy()),
        }
    }
}

impl fmt::Debug for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretPlace({self})")
    }
}

/// The PIN that was refused last. A second try of it could lock the device, so it is not tried again, however many
/// key slots there are.
#[derive(Default)]
pub struct RefusedSecret(Mutex<Option<Zeroizing<String>>>);

impl RefusedSecret {
    /// Whether it is the one that was refused last.
    pub fn is(&self, secret: &str) -> bool {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().is_some_and(|refused| **refused == *secret)
    }

    /// Remembers one that was refused.
    pub fn remember(&self, secret: Zeroizing<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }
}

impl fmt::Debug for RefusedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefusedSecret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_names_its_place() {
        for (text, shown) in [
            ("/a/pin", "file:/a/pin"),
            ("file:/a/pin", "file:/a/pin"),
            ("file:///a/pin", "file:/a/pin"),
            ("env:PIN", "env:PIN"),
        ] {
            assert_eq!(SecretPlace::parse(text).to_string(), shown);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pin_that_others_can_read_is_refused() -> std::io::Result<()> {
        use std::{fs, os::unix::fs::PermissionsExt};
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pin");
        fs::write(&path, "1234\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let place = SecretPlace::File(path.clone());
        assert_eq!(**place.read().expect("private"), *"1234");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
        let error = place.read().expect_err("shared").to_string();
        assert!(error.contains("chmod 600") && !error.contains("1234"), "{error}");
        fs::write(&path, "")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        assert!(place.read().is_err());
        Ok(())
    }
}
