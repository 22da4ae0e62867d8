//! How far a database had got, as a counter of a TPM remembers it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lightning_db::{
    AnchorSource, Database, Error, FreshnessAnchor, FreshnessMark, FreshnessPolicy, KeySource,
    LightningDbConfig, SequenceNumber,
};
use lightning_db_key_services::TpmCounter;

use super::swtpm::{Tpm, hurried};
use crate::support::{run, secret_file};

const OWNER: &str = "0815-right";

impl Tpm {
    /// The URI of a counter in this TPM.
    fn counter_uri(&self, more: &str) -> String {
        self.uri(more).replace("tpm:?", "tpm-counter:0x01800100?")
    }
}

fn anchored(uri: &str, policy: FreshnessPolicy) -> LightningDbConfig {
    let counter = TpmCounter::from_uri(uri).expect("a URI");
    LightningDbConfig {
        encryption_enabled: true,
        encryption_key: KeySource::raw([7; 32]),
        freshness_anchor: AnchorSource::anchor(Arc::new(counter)),
        freshness_policy: policy,
        ..LightningDbConfig::default()
    }
}

/// Opens the database, adds a row, closes it.
fn use_it(path: &Path, config: LightningDbConfig) -> Result<(), Error> {
    let db = Database::open(path, config)?;
    db.put(b"row", b"value")?;
    db.compact()?;
    db.close()
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-r").arg(from).arg(to));
}

#[test]
fn a_directory_that_was_put_back_is_noticed() {
    let tpm = Tpm::start();
    let (path, old) = (tpm.path().join("db"), tpm.path().join("old"));
    let uri = tpm.counter_uri("");
    Database::create(&path, anchored(&uri, FreshnessPolicy::Refuse))
        .expect("created")
        .close()
        .expect("closed");
    copy(&path, &old);
    for _ in 0..3 {
        use_it(&path, anchored(&uri, FreshnessPolicy::Refuse)).expect("opened");
    }
    tpm.stop();
    tpm.start_again();
    use_it(&path, anchored(&uri, FreshnessPolicy::Refuse)).expect("the counter is as it was");

    let error = Database::open(&old, anchored(&uri, FreshnessPolicy::Refuse)).expect_err("it is older");
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    assert!(!error.to_string().contains("commit 0"), "{error}");
    let error = Database::create(tpm.path().join("new"), anchored(&uri, FreshnessPolicy::Refuse));
    let error = error.expect_err("the counter is another database's");
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");

    use_it(&old, anchored(&uri, FreshnessPolicy::Ignore)).expect("put back on purpose");
    use_it(&old, anchored(&uri, FreshnessPolicy::Refuse)).expect("the counter was begun anew");
}

#[test]
fn a_counter_that_is_gone_or_does_not_answer() {
    let tpm = Tpm::start();
    let path = tpm.path().join("db");
    let uri = tpm.counter_uri("");
    let config = |uri: &str| anchored(uri, FreshnessPolicy::Refuse);
    Database::create(&path, config(&uri)).expect("created").close().expect("closed");
    use_it(&path, config(&uri)).expect("opened");
    tpm.stop();
    let error = Database::open(&path, config(&hurried(&uri))).expect_err("nobody can tell");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(error.to_string().contains("tpm-counter:0x01800100"), "{error}");
    tpm.start_again();
    use_it(&path, config(&uri)).expect("nothing has changed");
    for handle in ["0x01800101", "0x01800100"] {
        tpm.tool("tpm2_nvundefine", &["-C", "o", handle]);
        let error = Database::open(&path, config(&uri)).expect_err("there was a mark");
        assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    }
    use_it(&path, anchored(&uri, FreshnessPolicy::Ignore)).expect("opened once without it");
    use_it(&path, config(&uri)).expect("there is a mark again");
}

#[test]
fn only_the_owner_begins_a_counter_and_anybody_counts() {
    let tpm = Tpm::start();
    tpm.tool("tpm2_changeauth", &["-c", "owner", OWNER]);
    secret_file(&tpm.path().join("owner"), OWNER);
    let mine = tpm.counter_uri(&format!("owner-source=file:{}&", tpm.path().join("owner").display()));
    let mark = |generation| FreshnessMark {
        database: [3; 16],
        incarnation: None,
        generation,
        sequence: SequenceNumber(0),
    };
    let counter = |uri: &str| TpmCounter::from_uri(uri).expect("a URI");
    let anybody = counter(&tpm.counter_uri(""));
    let error = anybody.store(&mark(10)).expect_err("the owner wants an authorization").to_string();
    assert!(error.contains("owner-source=") && !error.contains(OWNER), "{error}");
    assert_eq!(anybody.load().expect("an answer"), None);
    counter(&mine).store(&mark(10)).expect("begun");
    for generation in [10, 11, 15, 79] {
        anybody.store(&mark(generation)).expect("counted");
        assert_eq!(anybody.load().expect("an answer"), Some(mark(generation)));
    }
    // Back, and further than is counted in steps.
    for generation in [78, 144] {
        anybody.store(&mark(generation)).expect_err("that is not counting");
        assert_eq!(anybody.load().expect("an answer"), Some(mark(79)));
    }
    counter(&mine).store(&mark(20)).expect("begun anew");
    assert_eq!(anybody.load().expect("an answer"), Some(mark(20)));
    secret_file(&tpm.path().join("owner"), "0815-wrong");
    let error = counter(&mine).store(&mark(10)).expect_err("wrong").to_string();
    assert!(error.contains("owner-source=") && !error.contains("0815"), "{error}");
    assert_eq!(anybody.load().expect("an answer"), Some(mark(20)));
}

#[test]
fn an_index_of_somebody_else_is_left_alone() {
    let tpm = Tpm::start();
    for (handle, attributes) in
        [("0x01800100", "ownerread|ownerwrite"), ("0x01800101", "authread|authwrite|ownerwrite")]
    {
        tpm.tool("tpm2_nvdefine", &["-C", "o", "-s", "40", "-a", attributes, handle]);
        let config = anchored(&tpm.counter_uri(""), FreshnessPolicy::Refuse);
        let error = Database::create(tpm.path().join("db"), config).expect_err("it is no counter");
        assert!(error.to_string().contains("is no counter of a database"), "{error}");
        assert!(!tpm.path().join("db").exists());
        tpm.tool("tpm2_nvundefine", &["-C", "o", handle]);
    }
}
