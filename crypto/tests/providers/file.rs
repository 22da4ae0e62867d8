//! Keys and passphrases in files.

#![expect(clippy::disallowed_methods, reason = "key files lie outside of a database and its file system")]

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use lightning_db_crypto::{CryptoError, KeySource};
use tempfile::TempDir;

use crate::{create_and_open, refusal};

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, content: &[u8], mode: u32) -> PathBuf {
        let path = self.0.path().join("secret");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        path
    }
}

#[test]
fn all_forms_of_one_key_are_one_key() {
    let key: [u8; 32] = std::array::from_fn(|n| n as u8);
    for content in [key.to_vec(), HEX.into(), format!("{HEX}\n").into(), format!("{HEX}\r\n").into()] {
        let files = Files::new();
        for mode in [0o600, 0o400] {
            let source = KeySource::file(files.write(&content, mode));
            create_and_open(&KeySource::raw(key), &source).expect("the same key");
            fs::remove_file(files.0.path().join("secret")).expect("removed");
        }
    }
}

#[test]
fn what_is_no_key_file_is_refused() {
    let files = Files::new();
    for content in [
        b"".to_vec(),
        vec![7; 31],
        vec![7; 33],
        HEX.as_bytes()[..63].to_vec(),
        format!("{HEX}0").into(),
        format!(" {HEX}").into(),
        format!("{HEX}\n\n").into(),
        HEX.replace('a', "g").into(),
        vec![b'0'; 1 << 20],
    ] {
        let text = refusal(&KeySource::file(files.write(&content, 0o600)), "0001020304");
        assert!(text.contains("32 raw bytes"), "{text}");
    }
}

#[test]
fn a_file_that_others_can_use_is_refused() {
    let files = Files::new();
    for mode in [0o640, 0o604, 0o644, 0o610, 0o601, 0o666, 0o777] {
        let path = files.write(&[7; 32], mode);
        for source in [KeySource::file(&path), KeySource::passphrase_file(&path)] {
            let text = refusal(&source, "");
            assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
        }
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let files = Files::new();
    let pipe = files.0.path().join("pipe");
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    for path in [pipe.as_path(), files.0.path()] {
        for source in [KeySource::file(path), KeySource::passphrase_file(path)] {
            assert!(refusal(&source, "").contains("regular file"));
        }
    }
    let missing = files.0.path().join("missing");
    let error = KeySource::file(&missing).resolve().expect_err("missing");
    assert!(matches!(&error, CryptoError::Io { path, .. } if *path == missing), "{error}");
    assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
}

#[test]
fn a_passphrase_file_ends_at_its_line_end() {
    let files = Files::new();
    let secret = KeySource::passphrase("correct horse ");
    let source = KeySource::passphrase_file(files.write(b"correct horse \n", 0o600));
    create_and_open(&secret, &source).expect("the same passphrase");
    files.write(b"correct horse\n", 0o600);
    assert!(matches!(create_and_open(&secret, &source), Err(CryptoError::WrongKey { .. })));

    for empty in [&b""[..], b"\n", b"\r\n"] {
        let text = refusal(&KeySource::passphrase_file(files.write(empty, 0o600)), "");
        assert!(text.contains("empty"), "{text}");
    }
    let text = refusal(&KeySource::passphrase_file(files.write(&[b'x'; 4097], 0o600)), "xxxxx");
    assert!(text.contains("4096"), "{text}");
    assert!(refusal(&KeySource::passphrase(""), "").contains("empty"));
}
