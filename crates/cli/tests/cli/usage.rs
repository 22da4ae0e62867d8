//! Wrong usage, help, and where errors and logs go.

use crate::support::Place;

#[test]
fn wrong_usage_is_status_2() {
    let place = Place::with_database();
    for arguments in [
        &["frobnicate"][..],
        &["get", "db"],
        &["get", "db", "k", "--wrong"],
        &["put", "db", "k"],
        &["create", "db2", "--key", "file:key", "--no-encryption"],
        &["create", "db2", "--key", "correct horse"],
        &["create", "db2", "--key", "raw:00"],
        &["create", "db2", "--key", "awskms:arn"],
        &["put", "db", "", "v"],
        &["put", "db", &"k".repeat(65_536), "v"],
        &["import", "parquet", "f", "db"],
    ] {
        let text = place.run(arguments);
        assert_eq!((text.status, text.out.as_str()), (2, ""), "{arguments:?} {text:?}");
        assert!(!text.err.contains("correct horse"));
        let json = place.run(["--json"].iter().chain(arguments));
        assert_eq!((json.status, json.out.as_str()), (2, ""), "{arguments:?} {json:?}");
        assert!(!json.error().1.is_empty());
    }
    assert_eq!(place.names("."), ["db", "key"]);
}

#[test]
fn a_new_database_is_encrypted_unless_told_otherwise() {
    let place = Place::new();
    place.write("rows.csv", "id\n1\n");
    place.run_bare(["create", "db"]).is_failure(2, "--no-encryption");
    place.run_bare(["import", "csv", "rows.csv", "db"]).is_failure(2, "--no-encryption");
    assert!(!place.exists("db"));
    let created = place.run_bare(["create", "db", "--no-encryption"]);
    assert_eq!((created.status, created.out.as_str()), (0, "created db (not encrypted)\n"));
    assert_eq!(place.run_bare(["put", "db", "k", "v"]).status, 0);
    assert_eq!(place.run_bare(["get", "db", "k"]).out, "v\n");
    place.fails(3, "not encrypted", ["get", "db", "k"]);
    assert_eq!(
        place.run(["create", "db2", "--no-encryption"]).status,
        0,
        "what is typed wins over the environment"
    );
}

#[test]
fn help_has_examples_and_no_error() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["scan", "--help"], &["import", "csv", "--help"], &["keys", "--help"]]
    {
        let out = place.ok(arguments);
        assert!(out.contains("Examples:") && out.contains("lightning-cli"), "{out}");
    }
    assert!(place.ok(["--version"]).starts_with("lightning-cli "));
    assert_eq!(place.run(Vec::<&str>::new()).status, 2);
}

#[test]
fn logs_never_reach_standard_output() {
    let place = Place::new();
    let variables = [("LIGHTNING_DB_KEY", "file:key"), ("RUST_LOG", "trace")];
    for arguments in [&["create", "db"][..], &["put", "db", "k", "v"], &["get", "db", "k"]] {
        let loud = place.run_with(&variables, arguments);
        assert_eq!((loud.status, loud.out.lines().count()), (0, 1), "{loud:?}");
    }
}

#[test]
fn the_environment_is_read_and_checked() {
    let place = Place::with_database();
    let key = ("LIGHTNING_DB_KEY", "file:key");
    let wrong = place.run_with(&[key, ("LIGHTNING_DB_CACHE_SIZE", "lots")], ["get", "db", "k"]);
    wrong.is_failure(2, "LIGHTNING_DB_CACHE_SIZE");
    let wrong = place.run_with(&[("LIGHTNING_DB_KEY", "hunter2")], ["get", "db", "k"]);
    wrong.is_failure(2, "LIGHTNING_DB_KEY");
    assert!(!wrong.err.contains("hunter2"));
}

#[test]
fn a_database_in_use_is_told() {
    let place = Place::with_database();
    let config = lightning_db::LightningDbConfig {
        encryption_enabled: true,
        encryption_key: lightning_db::KeySource::file(place.path("key")),
        ..Default::default()
    };
    let db = lightning_db::Database::open(place.path("db"), config).expect("opened");
    place.fails(1, "in use", ["put", "db", "k", "v"]);
    place.fails(1, "in use", ["get", "db", "k"]);
    assert_eq!(place.run(["--json", "scan", "db"]).error().0, "locked");
    db.close().expect("closed");
    place.ok(["put", "db", "k", "v"]);
}
