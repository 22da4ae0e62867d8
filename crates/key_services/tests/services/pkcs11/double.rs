//! What no software token does by itself: lock its PIN, hang, go away within a call.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lightning_db::{Database, Error};

use super::hsm::{self, Hsm, MODULE, PIN};
use crate::support::{config, create, fails_to_create, fails_to_open, key, open, run, secret_file};

/// SoftHSM behind a module that fails as it is told.
struct Double<'a> {
    hsm: &'a Hsm,
    module: PathBuf,
    faults: PathBuf,
}

impl<'a> Double<'a> {
    fn of(hsm: &'a Hsm) -> Self {
        let module = hsm.folder.join("double.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/pkcs11/double.c");
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        run(Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&module)
            .arg(format!("-DSOFTHSM=\"{MODULE}\""))
            .arg(source)
            .arg("-ldl"));
        Self { module, faults: hsm.folder.join("faults"), hsm }
    }

    fn uri(&self, more: &str) -> String {
        self.hsm.uri_by(&self.module, "token=safe;object=wrapping") + more
    }

    fn fail(&self, faults: &str) {
        fs::write(&self.faults, faults).expect("written");
    }

    /// How often somebody tried to log in.
    fn logins(&self) -> usize {
        fs::read(self.faults.with_extension("logins")).map_or(0, |text| text.len())
    }
}

fn with_double(name: &str, body: impl FnOnce(&Double<'_>)) {
    hsm::in_own_process(&format!("pkcs11::double::{name}"), |hsm| body(&Double::of(hsm)));
}

#[test]
fn a_locked_pin() {
    with_double("a_locked_pin", |double| {
        let path = double.hsm.folder.join("db");
        create(&path, key(&double.uri(""))).expect("created");
        double.fail("C_Login a4 0 9");
        for error in [
            fails_to_open(&path, key(&double.uri(""))),
            fails_to_create(&double.hsm.folder, key(&double.uri(""))),
        ] {
            assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
            assert!(error.to_string().contains("locked its PIN"), "{error}");
        }
    });
}

#[test]
fn a_wrong_pin_is_tried_once_for_all_slots() {
    with_double("a_wrong_pin_is_tried_once_for_all_slots", |double| {
        let path = double.hsm.folder.join("db");
        create(&path, key(&double.uri(""))).expect("created");
        let db = Database::open(&path, config(key(&double.uri("")))).expect("opened");
        for label in ["two", "three", "four"] {
            db.add_key(key(&double.uri("")), label).expect("added");
        }
        db.close().expect("closed");
        double.fail("");
        let before = double.logins();
        secret_file(&double.hsm.pin_file, "9999");
        // Whoever asks in this process: a server may have many databases with one token.
        for _ in 0..3 {
            let error = fails_to_open(&path, key(&double.uri("")));
            assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
        }
        assert_eq!(double.logins(), before + 1);
        secret_file(&double.hsm.pin_file, PIN);
        open(&path, key(&double.uri(""))).expect("the right PIN is tried");
    });
}

#[test]
fn a_pin_that_may_be_the_last_one_is_not_tried() {
    with_double("a_pin_that_may_be_the_last_one_is_not_tried", |double| {
        let path = double.hsm.folder.join("db");
        create(&path, key(&double.uri(""))).expect("created");
        let before = double.logins();
        // CKF_USER_PIN_FINAL_TRY
        double.fail("C_GetTokenInfo 20000 0 1000");
        let error = fails_to_open(&path, key(&double.uri("")));
        assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
        assert!(error.to_string().contains("one more wrong PIN"), "{error}");
        assert_eq!(double.logins(), before);
        double.fail("");
        open(&path, key(&double.uri(""))).expect("nothing stayed broken");
    });
}

#[test]
fn a_token_that_is_lost_without_saying_so() {
    with_double("a_token_that_is_lost_without_saying_so", |double| {
        let path = double.hsm.folder.join("db");
        create(&path, key(&double.uri(""))).expect("created");
        // CKR_GENERAL_ERROR, and nothing else works, either.
        double.fail("C_UnwrapKey 5 0 1\nC_GetAttributeValue 30 0 1000");
        let error = fails_to_open(&path, key(&double.uri("")));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        double.fail("C_UnwrapKey 5 0 2");
        let error = fails_to_open(&path, key(&double.uri("")));
        assert!(matches!(error, Error::KeyTampered { .. }), "{error}");
        double.fail("");
        open(&path, key(&double.uri(""))).expect("nothing stayed broken");
    });
}

#[test]
fn a_token_that_does_not_answer() {
    with_double("a_token_that_does_not_answer", |double| {
        let path = double.hsm.folder.join("db");
        create(&path, key(&double.uri(""))).expect("created");
        double.fail("C_Login 0 8 1");
        let began = Instant::now();
        let error = fails_to_open(&path, key(&double.uri("&timeout=1")));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        assert!(error.to_string().contains("within 1 second"), "{error}");
        let error = fails_to_create(&double.hsm.folder, key(&double.uri("&timeout=1")));
        assert!(matches!(error, Error::KeyUnreachable { .. }), "while the module still hangs: {error}");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        open(&path, key(&double.uri("&timeout=60"))).expect("it answers again");
    });
}

#[test]
fn a_session_that_is_lost() {
    with_double("a_session_that_is_lost", |double| {
        let path = double.hsm.folder.join("db");
        create(&path, key(&double.uri(""))).expect("created");
        // Lost before any work, it is opened a second time: CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_REMOVED.
        double.fail("C_FindObjectsInit b3 0 1");
        open(&path, key(&double.uri(""))).expect("a second try");
        double.fail("C_OpenSession 32 0 1");
        open(&path, key(&double.uri(""))).expect("a second try");
        // Within the work it is told.
        for (call, code) in [("C_WrapKey", "b0"), ("C_UnwrapKey", "32")] {
            double.fail(&format!("{call} {code} 0 1"));
            let error = fails_to_create(&double.hsm.folder, key(&double.uri("")));
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{call}: {error}");
        }
        open(&path, key(&double.uri(""))).expect("nothing stayed broken");
    });
}
