//! Keys that are no keys, or not the right ones: a typed error, and no file changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use lightning_db::{
    CheckOptions, Database, Error, KeySource, LightningDbConfig, RestoreOptions, VerifyOptions, check,
};

use crate::support::{KEY, small};

/// A database and its repository on real files.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Self { folder };
        let db = Database::create(home.path("db"), small()).expect("create");
        db.put(b"key", b"value").expect("put");
        db.backup(home.path("repository")).expect("backup");
        db.close().expect("close");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key_file(&self, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.path("key");
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        path
    }

    /// All files and what is in them.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.path("db"), self.path("repository")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("list") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.clone(), fs::read(&path).expect("read"));
                }
            }
        }
        found
    }

    /// What everything that takes a key says to this one. No file may change.
    #[track_caller]
    fn refusals(&self, key: &KeySource) -> Vec<Error> {
        let before = self.files();
        let (db, repository) = (self.path("db"), self.path("repository"));
        let config = LightningDbConfig { encryption_key: key.clone(), ..small() };
        let check_options = CheckOptions { encryption_key: key.clone(), ..CheckOptions::default() };
        let restore = RestoreOptions { encryption_key: key.clone(), ..RestoreOptions::default() };
        let verify = VerifyOptions { encryption_key: key.clone(), ..VerifyOptions::default() };
        let refusals = vec![
            Database::open(&db, config.clone()).map(drop).expect_err("open"),
            Database::open_read_only(&db, config.clone()).map(drop).expect_err("open to read"),
            Database::create(self.path("new"), config).map(drop).err().unwrap_or_else(|| {
                // The key is as good as any for a new database: it is only not that of the old one.
                fs::remove_dir_all(self.path("new")).expect("remove");
                Error::WrongKey { what: "nothing".into() }
            }),
            check(&db, &check_options).map(drop).expect_err("check"),
            Database::restore(&repository, self.path("restored"), restore).map(drop).expect_err("restore"),
            Database::verify_repository(&repository, verify).map(drop).expect_err("verify"),
        ];
        assert!(before == self.files(), "a file changed");
        assert!(!self.path("restored").exists() && !self.path("new").exists(), "something was left");
        refusals
    }

    #[track_caller]
    fn assert_still_opens(&self) {
        let db = Database::open(self.path("db"), small()).expect("the right key");
        assert_eq!(db.get(b"key").expect("get").as_deref(), Some(&b"value"[..]));
    }
}

#[track_caller]
fn assert_invalid(errors: &[Error], reason: &str) {
    for error in errors {
        let named = matches!(error, Error::InvalidKey { .. } | Error::Io { .. } | Error::NotFound { .. });
        assert!(named && error.to_string().contains(reason), "{error:?}");
    }
}

#[test]
fn a_file_that_is_no_key_is_refused_and_nothing_changes() {
    let home = Home::new();
    let hex = |count: usize| KEY.iter().map(|byte| format!("{byte:02x}")).collect::<String>().repeat(count);
    for (bytes, what) in [
        (Vec::new(), "empty"),
        (KEY[..31].to_vec(), "short"),
        ([&KEY[..], b"x"].concat(), "long"),
        (vec![1; 1 << 20], "very long"),
        (hex(1).as_bytes()[..63].to_vec(), "short hex"),
        ([hex(1).as_bytes(), b"0"].concat(), "long hex"),
        (hex(2).into_bytes(), "two keys"),
        (hex(1).replace('4', "g").into_bytes(), "no hex"),
        (b"\n".to_vec(), "a line end"),
    ] {
        let errors = home.refusals(&KeySource::file(home.key_file(&bytes, 0o600)));
        assert!(errors.iter().all(|error| matches!(error, Error::InvalidKey { .. })), "{what}: {errors:?}");
    }
    home.assert_still_opens();
}

#[test]
fn a_file_that_others_can_use_is_refused_though_it_is_the_right_key() {
    let home = Home::new();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
        let errors = home.refusals(&KeySource::file(home.key_file(&KEY, mode)));
        assert_invalid(&errors, "chmod 600");
    }
    for mode in [0o600, 0o400] {
        let config =
            LightningDbConfig { encryption_key: KeySource::file(home.key_file(&KEY, mode)), ..small() };
        Database::open(home.path("db"), config).expect("a private file");
    }
}

#[test]
fn what_is_not_there_or_not_a_file_is_refused() {
    let home = Home::new();
    let key = home.key_file(&KEY, 0o600);
    symlink(home.path("nowhere"), home.path("dangling")).expect("link");
    for path in [home.path("missing"), home.path("dangling"), home.path("db"), Path::new("/dev/null").into()]
    {
        for source in [KeySource::file(&path), KeySource::passphrase_file(&path)] {
            let errors = home.refusals(&source);
            assert_invalid(&errors, &path.display().to_string());
        }
    }
    symlink(&key, home.path("link")).expect("link");
    let config = LightningDbConfig { encryption_key: KeySource::file(home.path("link")), ..small() };
    Database::open(home.path("db"), config).expect("a link to a private file");
}

#[test]
fn a_wrong_key_is_called_that_wherever_it_comes_from() {
    let home = Home::new();
    let mut wrong = KEY;
    wrong[31] ^= 1;
    for source in [
        KeySource::file(home.key_file(&wrong, 0o600)),
        KeySource::raw(wrong),
        KeySource::raw([0; 32]),
        KeySource::passphrase("open sesame"),
    ] {
        let errors = home.refusals(&source);
        assert!(errors.iter().all(|error| matches!(error, Error::WrongKey { .. })), "{errors:?}");
    }
    home.assert_still_opens();
}

const VARIABLE: &str = "LIGHTNING_TEST_KEY_VARIABLE";
const PLACE: &str = "LIGHTNING_TEST_KEY_PLACE";

/// Not a test: what a child does that has the key in its environment.
#[test]
fn child() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let config = LightningDbConfig { encryption_key: KeySource::env(VARIABLE), ..small() };
    match Database::open(PathBuf::from(place), config) {
        Ok(_) => println!("opened"),
        Err(error) => println!("kind={} text={error}", error.kind()),
    }
}

#[test]
fn a_variable_that_is_no_key_is_refused_and_nothing_changes() {
    let home = Home::new();
    let hex = KEY.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (value, expected) in [
        (None, "kind=invalid_key"),
        (Some(String::new()), "kind=invalid_key"),
        (Some(hex[..62].to_owned()), "kind=invalid_key"),
        (Some(format!("{hex}00")), "kind=invalid_key"),
        (Some(hex.replace('4', "z")), "kind=invalid_key"),
        (Some("00".repeat(32)), "kind=wrong_key"),
        (Some(hex.clone()), "opened"),
    ] {
        let before = home.files();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["key_files::child", "--exact", "--nocapture"]).env(PLACE, home.path("db"));
        command.env_remove(VARIABLE);
        let output = command.envs(value.clone().map(|value| (VARIABLE, value))).output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(expected), "{value:?}: {text}");
        assert!(!text.contains(&hex[..16]), "the key is shown: {text}");
        if expected != "opened" {
            assert!(text.contains(VARIABLE) || expected == "kind=wrong_key", "{text}");
            assert!(before == home.files(), "a file changed");
        }
    }
}
