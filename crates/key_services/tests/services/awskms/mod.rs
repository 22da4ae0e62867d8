//! A key of AWS KMS, as moto serves it.

mod double;
mod moto;

use std::time::Instant;

use lightning_db::{Database, Error, KeySource};
use lightning_db_key_services::key_source;

use self::moto::in_own_process;
use crate::support::{
    SOON, config, create, fails_to_create, fails_to_open, hurried, key, life, meddling_from, open,
};

/// Where a ciphertext of moto's ends to be the key's id in the clear.
const AFTER_KEY_ID: usize = 36;

#[test]
fn a_life_with_a_key_and_with_an_alias() {
    in_own_process("awskms::a_life_with_a_key_and_with_an_alias", |moto| {
        let arn = moto.make_key();
        life(&moto.folder, &moto.uri(&arn));
        moto.make_alias("alias/lightning", &arn);
        open(&moto.folder.join("life"), key(&moto.uri("alias/lightning"))).expect("the alias names the key");
        let other = moto.folder.join("other");
        create(&other, key(&moto.uri("alias/lightning"))).expect("created");
        open(&other, key(&moto.uri(&arn))).expect("the slot holds the key's own name");
    });
}

#[test]
fn a_service_that_is_not_there() {
    in_own_process("awskms::a_service_that_is_not_there", |moto| {
        let path = moto.folder.join("db");
        let patient = moto.uri(&moto.make_key());
        let uri = hurried(&patient);
        create(&path, key(&patient)).expect("created");
        let db = Database::open(&path, config(key(&patient))).expect("opened");
        db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("added");
        db.close().expect("closed");
        moto.stop();
        let began = Instant::now();
        for error in [fails_to_open(&path, key(&uri)), fails_to_create(&moto.folder, key(&uri))] {
            assert!(matches!(error, Error::KeyUnreachable { .. }), "{error}");
        }
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        open(&path, KeySource::passphrase("for recovery")).expect("opened without the service");
        // It forgets its keys, as moto does.
        moto.start_again();
        let error = fails_to_open(&path, key(&patient));
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
    });
}

#[test]
fn keys_that_are_not_there() {
    in_own_process("awskms::keys_that_are_not_there", |moto| {
        let path = moto.folder.join("db");
        create(&path, key(&moto.uri(&moto.make_key()))).expect("created");
        for missing in ["alias/missing", "11111111-2222-3333-4444-555555555555"] {
            let error = fails_to_create(&moto.folder, key(&moto.uri(missing)));
            assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
        }
        let error = fails_to_open(&path, key(&moto.uri("alias/missing")));
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
        let error = fails_to_open(&path, key(&moto.uri(&moto.make_key())));
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
        // Another region has other keys.
        let arn = moto.make_key();
        let id = arn.rsplit('/').next().expect("an id");
        let elsewhere = moto.uri(id).replace("eu-west-1", "us-east-2");
        let error = fails_to_create(&moto.folder, key(&elsewhere));
        assert!(matches!(error, Error::NoSuchKey { .. }), "{error}");
    });
}

#[test]
fn changed_and_moved_wrapped_keys() {
    in_own_process("awskms::changed_and_moved_wrapped_keys", |moto| {
        meddling_from(AFTER_KEY_ID, &moto.folder, &moto.uri(&moto.make_key()), "key_tampered");
    });
}

#[test]
fn a_rotated_key_still_opens() {
    in_own_process("awskms::a_rotated_key_still_opens", |moto| {
        let path = moto.folder.join("db");
        let arn = moto.make_key();
        create(&path, key(&moto.uri(&arn))).expect("created");
        moto.call("RotateKeyOnDemand", &serde_json::json!({ "KeyId": arn }));
        open(&path, key(&moto.uri(&arn))).expect("opened");
        life(&moto.folder, &moto.uri(&arn));
    });
}

#[test]
fn it_works_within_another_runtime() {
    in_own_process("awskms::it_works_within_another_runtime", |moto| {
        let (path, uri) = (moto.folder.join("db"), moto.uri(&moto.make_key()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            create(&path, key(&uri)).expect("created");
            open(&path, key(&uri)).expect("opened");
        });
    });
}

#[test]
fn no_text_shows_a_secret() {
    for uri in [
        "awskms:alias/lightning?secret-key=4711-secret",
        "awskms:alias/lightning?4711-secret",
        "awskms:alias/lightning?endpoint=http://4711-secret@127.0.0.1:1",
        "awskms:4711 secret",
    ] {
        let error = key_source(uri).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        assert!(error.to_string().contains("at character "), "{error}");
    }
}
