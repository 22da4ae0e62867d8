//! backup, backups, verify, restore.

use std::fs;

use serde_json::Value;

use crate::support::{Place, contents};

/// A database with a history: `a` is put, backed up, changed, named, deleted, backed up again.
fn with_history() -> Place {
    let place = Place::with_database();
    place.ok(["put", "db", "a", "1"]);
    place.ok(["backup", "db", "repo"]);
    place.ok(["put", "db", "a", "2"]);
    place.ok(["restore-point", "db", "before"]);
    place.ok(["delete", "db", "a"]);
    place.ok(["put", "db", "b", "3"]);
    place.ok(["backup", "db", "repo"]);
    place
}

/// What a restore to `target` holds.
fn restored(place: &Place, target: &[&str]) -> String {
    restored_as(place, "again", target)
}

fn restored_as(place: &Place, name: &str, target: &[&str]) -> String {
    place.ok(["restore", "repo", name].iter().chain(target));
    let scan = place.ok(["scan", name]);
    place.ok(["check", name, "--deep"]);
    fs::remove_dir_all(place.path(name)).expect("removed");
    scan
}

#[test]
fn every_moment_comes_back() {
    let place = with_history();
    fs::remove_dir_all(place.path("db")).expect("a disaster");
    assert_eq!(restored(&place, &[]), "b\t3\n");
    assert_eq!(restored(&place, &["--to", "latest"]), "b\t3\n");
    assert_eq!(restored(&place, &["--to", "backup:1"]), "a\t1\n");
    assert_eq!(restored(&place, &["--to", "seq:1"]), "a\t1\n");
    assert_eq!(restored(&place, &["--to", "seq:2"]), "a\t2\n");
    assert_eq!(restored(&place, &["--to", "seq:3"]), "");
    assert_eq!(restored(&place, &["--to", "seq:3", "--exclusive"]), "a\t2\n");
    assert_eq!(restored(&place, &["--to", "name:before"]), "a\t2\n");

    let report = place.json(["restore", "repo", "again"]);
    assert_eq!((&report["last_sequence"], &report["restored"]), (&4.into(), &"again".into()));
    assert_ne!(report["incarnation"], report["restored_from"]);
    fs::remove_dir_all(place.path("again")).expect("removed");
    let time = report["time"].as_str().expect("a time").to_owned();
    assert_eq!(restored(&place, &["--to", &format!("time:{time}")]), "b\t3\n");
    let id = report["restored_from"].as_str().expect("an id").to_owned();
    assert_eq!(restored(&place, &["--to", "seq:2", "--incarnation", &id]), "a\t2\n");
}

#[test]
fn what_cannot_be_reached_is_status_4_and_leaves_nothing() {
    let place = with_history();
    let before = place.names(".");
    for target in
        ["seq:99", "backup:9", "name:nope", "time:1999-01-01T00:00:00Z", "time:2999-01-01T00:00:00Z"]
    {
        place.fails(4, "", ["restore", "repo", "again", "--to", target]);
    }
    let unreachable = place.fails(4, "sequence", ["restore", "repo", "again", "--to", "seq:99", "--json"]);
    assert_eq!(unreachable.error().0, "target_not_reachable");
    for target in ["yesterday", "seq:x", "time:2026-05-01", "time:2026-05-01T12:00:00", "name:", "level:3"] {
        place.fails(2, "--to", ["restore", "repo", "again", "--to", target]);
    }
    place.fails(4, "nowhere", ["restore", "nowhere", "again"]);
    place.fails(1, "already exists", ["restore", "repo", "db"]);
    place.secret("wrong", &"00".repeat(32));
    place.fails(3, "wrong key", ["restore", "repo", "again", "--key", "file:wrong"]);
    place.run_bare(["restore", "repo", "again"]).is_failure(3, "--key URI");
    fs::remove_file(place.path("wrong")).expect("removed");
    assert_eq!(place.names("."), before, "nothing half-made is left");
}

#[test]
fn backups_are_told_listed_and_incremental() {
    let place = Place::new();
    let rows: String =
        (0..20_000_u64).map(|n| format!("{n:06},{}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    place.write("rows.csv", format!("id,number\n{rows}"));
    place.ok(["import", "csv", "rows.csv", "db"]);
    let first = place.json(["backup", "db", "repo"]);
    place.ok(["put", "db", "one", "more"]);
    let said = place.ok(["backup", "db", "repo"]);
    assert!(said.starts_with("backup 2 of db in repo: "), "{said}");
    let listed = place.run_bare(["backups", "repo", "--json"]);
    assert_eq!(listed.status, 0, "{listed:?}");
    let listed: Value = serde_json::from_str(&listed.out).expect("one object");
    let backups = listed["backups"].as_array().expect("a list");
    assert_eq!(backups.len(), 2);
    let bytes = |backup: &Value| backup["new_segment_bytes"].as_u64().expect("a number");
    assert_eq!(bytes(&backups[0]), bytes(&first));
    assert!(bytes(&backups[1]) * 10 < bytes(&backups[0]), "the second holds what changed: {listed}");
    let table = place.run_bare(["backups", "repo"]).out;
    assert_eq!(table.lines().count(), 3, "{table}");
    place.fails(4, "nowhere", ["backups", "nowhere"]);
}

#[test]
fn one_repository_takes_one_history() {
    let place = with_history();
    place.ok(["create", "other"]);
    place.ok(["put", "other", "a", "1"]);
    place.fails(1, "another database", ["backup", "other", "repo"]);
    place.fails(4, "does not exist", ["backup", "nowhere", "repo2"]);
    fs::create_dir(place.path("notes")).expect("a folder");
    place.write("notes/mine", "text");
    place.fails(1, "already exists", ["backup", "db", "notes"]);
    assert_eq!(place.names("notes"), ["mine"]);
    assert!(!place.exists("repo2"));
    place.ok(["verify", "repo"]);
}

#[test]
fn a_copy_diverges_and_a_restored_database_goes_on() {
    let place = with_history();
    fs::create_dir(place.path("copy")).expect("a folder");
    for name in place.names("db") {
        fs::copy(place.path("db").join(&name), place.path("copy").join(&name)).expect("copied");
    }
    place.ok(["put", "db", "c", "original"]);
    place.ok(["backup", "db", "repo"]);
    place.ok(["put", "copy", "c", "copy"]);
    let refused = place.fails(1, "", ["backup", "copy", "repo", "--json"]);
    assert_eq!(refused.error().0, "diverged");

    place.ok(["restore", "repo", "again", "--to", "seq:4"]);
    place.ok(["put", "again", "c", "restored"]);
    place.ok(["backup", "again", "repo"]);
    place.ok(["verify", "repo", "--level", "4"]);
    assert_eq!(restored_as(&place, "other", &[]), "b\t3\nc\trestored\n");
    place.fails(4, "", ["restore", "repo", "other", "--to", "seq:5"]);
    assert!(!place.exists("other"));
}

#[test]
fn a_repository_is_verified_at_each_level() {
    let place = with_history();
    for (level, covered) in
        [("1", "objects"), ("2", "hashed"), ("3", "entries"), ("4", "restored and checked")]
    {
        let out = place.ok(["verify", "repo", "--level", level]);
        assert!(out.starts_with(&format!("✓ 2 backups verified at level {level}\n")), "{out}");
        assert!(out.contains(covered) && out.ends_with("✓ everything can be restored\n"), "{out}");
    }
    assert_eq!(place.json(["verify", "repo"])["level"], 3);
    let signer = place.json(["verify", "repo"])["signer"].as_str().expect("a public key").to_owned();
    place.ok(["verify", "repo", "--public-key", &signer]);
    let other = place.run(["verify", "repo", "--public-key", &"ab".repeat(32)]);
    assert!(other.status == 3 && other.out.contains("signed by another key"), "{other:?}");
    place.fails(2, "--public-key", ["verify", "repo", "--public-key", "short"]);
    let keyless = place.run_bare(["verify", "repo", "--json"]);
    let report: Value = serde_json::from_str(&keyless.out).expect("one object");
    assert_eq!((keyless.status, &report["level"], &report["sound"]), (0, &2.into(), &true.into()));
    assert!(report["reachable"].as_array().is_some_and(|intervals| !intervals.is_empty()), "{report}");
    place.run_bare(["verify", "repo", "--level", "3"]).is_failure(3, "--key URI");
    place.fails(2, "--level", ["verify", "repo", "--level", "5"]);
    place.fails(4, "nowhere", ["verify", "nowhere"]);
}

#[test]
fn a_damaged_repository_is_status_3() {
    let place = with_history();
    let (segment, mut bytes) =
        contents(&place.path("repo/segments")).into_iter().next().expect("a repository has segments");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&segment).expect("removed");
    fs::write(&segment, bytes).expect("written");
    assert!(place.run_bare(["verify", "repo", "--level", "1"]).out.contains("✓"));
    let ran = place.run_bare(["verify", "repo"]);
    assert_eq!(ran.status, 3, "{ran:?}");
    assert!(ran.out.contains("✗ not everything can be restored"), "{ran:?}");
    let restore = place.run(["restore", "repo", "again", "--to", "backup:1"]);
    restore.is_failure(3, "damaged");
    assert_eq!(place.names("."), ["db", "key", "repo"]);
}

#[test]
fn nothing_plain_is_in_a_repository() {
    let place = Place::with_database();
    place.ok(["put", "db", "a-conspicuous-key", "a-conspicuous-value"]);
    place.ok(["restore-point", "db", "a-conspicuous-name"]);
    place.ok(["backup", "db", "repo"]);
    for (path, content) in contents(&place.path("repo")) {
        let has = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
        assert!(!has(b"a-conspicuous") && !has(&[0xa7; 32]), "{}", path.display());
    }
}
