//! A token made by SoftHSM.

mod double;
mod hsm;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use lightning_db::Error;
use lightning_db_key_services::key_source;

use self::hsm::{Hsm, MODULE, PIN};
use crate::support::{
    create, fails_to_create, fails_to_open, key, life, meddling_is_noticed, open, secret_file,
};

#[test]
fn a_life_with_a_token() {
    hsm::in_own_process("pkcs11::a_life_with_a_token", |hsm| {
        life(&hsm.folder, &hsm.uri(""));
        let listed = hsm.tool(&["--login", "--pin", PIN, "--list-objects"]);
        assert_eq!(listed.matches("Secret Key Object").count(), 1, "only the wrapping key stays: {listed}");
        assert!(listed.contains("never extractable"), "{listed}");
    });
}

#[test]
fn a_finalized_module_is_begun_anew() {
    hsm::in_own_process("pkcs11::a_finalized_module_is_begun_anew", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        hsm::finalize();
        open(&path, key(&hsm.uri(""))).expect("opened");
    });
}

#[test]
fn a_wrong_pin_is_refused_and_the_right_one_taken_later() {
    hsm::in_own_process("pkcs11::a_wrong_pin_is_refused_and_the_right_one_taken_later", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        let source = key(&hsm.uri(""));
        secret_file(&hsm.pin_file, "9999");
        for error in [fails_to_open(&path, source.clone()), fails_to_create(&hsm.folder, source.clone())] {
            assert!(matches!(error, Error::KeyRefused { .. }), "{error}");
            assert!(error.to_string().contains("PIN") && !error.to_string().contains("9999"), "{error}");
        }
        secret_file(&hsm.pin_file, PIN);
        open(&path, source).expect("the file is read again");
    });
}

#[test]
fn a_pin_that_others_can_read_is_refused() {
    hsm::in_own_process("pkcs11::a_pin_that_others_can_read_is_refused", |hsm| {
        fs::set_permissions(&hsm.pin_file, fs::Permissions::from_mode(0o644)).expect("opened to all");
        let error = fails_to_create(&hsm.folder, key(&hsm.uri("")));
        assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::remove_file(&hsm.pin_file).expect("removed");
        let error = fails_to_create(&hsm.folder, key(&hsm.uri("")));
        assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
    });
}

#[test]
fn a_key_that_is_not_there() {
    hsm::in_own_process("pkcs11::a_key_that_is_not_there", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        let missing = hsm.uri_of("token=safe;object=missing");
        for error in [fails_to_create(&hsm.folder, key(&missing)), fails_to_open(&path, key(&missing))] {
            assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
        }
        hsm.make_key("safe", "wrapping", "02");
        let error = fails_to_open(&path, key(&hsm.uri("")));
        assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
        assert!(error.to_string().contains("add id="), "{error}");
        open(&path, key(&hsm.uri_of("token=safe;object=wrapping;id=%01"))).expect("told apart by its id");
        let error = fails_to_open(&path, key(&hsm.uri_of("token=safe;id=%02")));
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    });
}

#[test]
fn a_key_that_was_replaced_under_its_name() {
    hsm::in_own_process("pkcs11::a_key_that_was_replaced_under_its_name", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        hsm.tool(&["--login", "--pin", PIN, "--delete-object", "--type", "secrkey", "--label", "wrapping"]);
        let error = fails_to_open(&path, key(&hsm.uri("")));
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
        hsm.make_key("safe", "wrapping", "01");
        let error = fails_to_open(&path, key(&hsm.uri("")));
        assert!(matches!(error, Error::KeyTampered { .. }), "{error}");
        assert!(error.to_string().contains("replaced by one of the same name"), "{error}");
    });
}

#[test]
fn two_tokens_of_one_label() {
    hsm::in_own_process("pkcs11::two_tokens_of_one_label", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        let serial = hsm.serial();
        hsm.make_token("safe");
        hsm::finalize();
        let error = fails_to_open(&path, key(&hsm.uri("")));
        assert!(matches!(error, Error::InvalidKey { .. }), "{error}");
        assert!(error.to_string().contains("add serial=") && error.to_string().contains(&serial), "{error}");
        let told = hsm.uri_of(&format!("token=safe;serial={serial};object=wrapping"));
        open(&path, key(&told)).expect("told apart by its serial number");
    });
}

#[test]
fn a_token_that_is_taken_away_and_brought_back() {
    hsm::in_own_process("pkcs11::a_token_that_is_taken_away_and_brought_back", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        let (tokens, away) = (hsm.folder.join("tokens"), hsm.folder.join("away"));
        fs::rename(&tokens, &away).expect("taken away");
        fs::create_dir(&tokens).expect("an empty slot");
        for error in
            [fails_to_open(&path, key(&hsm.uri(""))), fails_to_create(&hsm.folder, key(&hsm.uri("")))]
        {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        }
        fs::remove_dir_all(&tokens).expect("removed");
        fs::rename(&away, &tokens).expect("brought back");
        hsm::finalize();
        open(&path, key(&hsm.uri(""))).expect("opened");
    });
}

#[test]
fn a_module_that_is_not_there() {
    hsm::in_own_process("pkcs11::a_module_that_is_not_there", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        let uri = "pkcs11:token=safe;object=wrapping?module-path=/nowhere/module.so";
        for error in [fails_to_create(&hsm.folder, key(uri)), fails_to_open(&path, key(uri))] {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
            assert!(error.to_string().contains("/nowhere/module.so"), "{error}");
        }
    });
}

#[test]
fn a_key_that_may_not_unwrap() {
    hsm::in_own_process("pkcs11::a_key_that_may_not_unwrap", |hsm| {
        let path = hsm.folder.join("db");
        create(&path, key(&hsm.uri(""))).expect("created");
        may_unwrap(false);
        let error = fails_to_open(&path, key(&hsm.uri("")));
        assert!(matches!(error, Error::KeyDisabled { .. }), "{error}");
        let error = fails_to_create(&hsm.folder, key(&hsm.uri("")));
        assert!(matches!(error, Error::KeyDisabled { .. }), "{error}");
        may_unwrap(true);
        open(&path, key(&hsm.uri(""))).expect("enabled again");
    });
}

fn may_unwrap(yes: bool) {
    let context = Pkcs11::new(MODULE).expect("loaded");
    let slots = context.get_slots_with_token().expect("slots");
    let is_safe = |slot: &&cryptoki::slot::Slot| {
        context.get_token_info(**slot).is_ok_and(|info| info.label() == "safe")
    };
    let slot = *slots.iter().find(is_safe).expect("the token");
    let session = context.open_rw_session(slot).expect("a session");
    session.login(UserType::User, Some(&AuthPin::from(PIN.to_owned()))).expect("logged in");
    let found = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).expect("looked");
    session.update_attributes(found[0], &[Attribute::Unwrap(yes)]).expect("changed");
    session.logout().expect("logged out");
}

#[test]
fn changed_and_moved_wrapped_keys() {
    hsm::in_own_process("pkcs11::changed_and_moved_wrapped_keys", |hsm| {
        meddling_is_noticed(&hsm.folder, &hsm.uri(""), "wrong_database");
    });
}

#[test]
fn no_text_shows_a_pin() {
    hsm::in_own_process("pkcs11::no_text_shows_a_pin", |hsm: &Hsm| {
        let module = Path::new(MODULE).display();
        for uri in [
            format!("pkcs11:token=safe;object=wrapping?module-path={module}&pin-value=4711-secret"),
            format!("pkcs11:token=safe;object=wrapping?module-path={module}&pin=4711-secret"),
            "pkcs11:4711-secret".to_owned(),
        ] {
            let error = key_source(&uri).expect_err("refused");
            assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
            assert!(error.to_string().contains("at character "), "{error}");
        }
        secret_file(&hsm.pin_file, "4711-secret");
        let source = key(&hsm.uri(""));
        let error = fails_to_create(&hsm.folder, source.clone());
        assert!(!format!("{error} {error:?} {source:?}").contains("4711"), "{error}");
    });
}
