//! Keys: where they come from, and keys list, add, remove, rotate.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Place, contents};

const PASSPHRASE: (&str, &str) = ("THE_PASSPHRASE", "correct horse");

#[test]
fn a_wrong_missing_or_unusable_key_is_status_3_and_changes_nothing() {
    let place = Place::with_database();
    place.ok(["put", "db", "k", "v"]);
    let before = contents(&place.path("db"));
    place.secret("wrong", &"00".repeat(32));
    place.secret("short", "00");
    place.secret("open", &"a7".repeat(32));
    fs::set_permissions(place.path("open"), fs::Permissions::from_mode(0o644)).expect("permissions set");
    for command in [&["get", "db", "k"][..], &["put", "db", "k", "w"], &["keys", "list", "db"]] {
        let run = |key: &str| place.run(command.iter().chain(&["--key", key]));
        run("file:wrong").is_failure(3, "wrong key");
        run("file:short").is_failure(3, "short");
        run("file:open").is_failure(3, "open");
        run("env:UNSET_VARIABLE").is_failure(3, "UNSET_VARIABLE");
        run("passphrase:prompt").is_failure(3, "passphrase:prompt");
        let none = place.run_bare(command);
        none.is_failure(3, "--key URI");
        let json = place.run(command.iter().chain(&["--json", "--key", "file:wrong"]));
        assert_eq!(json.error().0, "wrong_key");
    }
    assert!(before == contents(&place.path("db")), "no file has changed");
    assert_eq!(place.ok(["get", "db", "k"]), "v\n");
}

#[test]
fn keys_are_added_listed_and_removed() {
    let place = Place::with_database();
    place.ok(["put", "db", "k", "v"]);
    place.secret("second", &"b8".repeat(32));
    assert_eq!(place.ok(["keys", "add", "db", "file:second"]), "added key 2 (file) to db\n");
    let variables = [("LIGHTNING_DB_KEY", "file:key"), PASSPHRASE];
    let added =
        place.run_with(&variables, ["keys", "add", "db", "passphrase-env:THE_PASSPHRASE", "--label", "me"]);
    assert_eq!((added.status, added.out.as_str()), (0, "added key 3 (me) to db\n"), "{added:?}");
    place.fails(1, "already exists", ["keys", "add", "db", "file:second", "--label", "me"]);
    place.fails(2, "label", ["keys", "add", "db", "file:second", "--label", ""]);
    place.fails(3, "nofile", ["keys", "add", "db", "file:nofile"]);

    let with_passphrase = ["get", "db", "k", "--key", "passphrase-env:THE_PASSPHRASE"];
    assert_eq!(place.run_with(&[PASSPHRASE], with_passphrase).out, "v\n");
    assert_eq!(place.run(["get", "db", "k", "--key", "file:second"]).out, "v\n");

    let listed = place.json(["keys", "list", "db"]);
    let labels: Vec<_> = listed["keys"].as_array().expect("a list").iter().map(|key| &key["label"]).collect();
    assert_eq!(labels, ["default", "file", "me"]);
    assert!(place.ok(["keys", "list", "db"]).contains("passphrase"));

    assert!(place.ok(["keys", "remove", "db", "1"]).contains("copies and backups made before still open"));
    place.fails(3, "wrong key", ["get", "db", "k"]);
    let second = |arguments: &[&str]| place.run(arguments.iter().chain(&["--key", "file:second"]));
    assert_eq!(second(&["get", "db", "k"]).out, "v\n");
    second(&["keys", "remove", "db", "9"]).is_failure(4, "key slot 9");
    assert_eq!(second(&["keys", "remove", "db", "3"]).status, 0);
    second(&["keys", "remove", "db", "2"]).is_failure(1, "only key");
    second(&["keys", "remove", "db", "two"]).is_failure(2, "two");
}

#[test]
fn the_data_key_is_rotated() {
    let place = Place::with_database();
    place.ok(["put", "db", "old", "1"]);
    assert!(place.ok(["keys", "rotate", "db"]).contains("is sealed with data key "));
    place.ok(["put", "db", "new", "2"]);
    let (one, two) = (place.json(["keys", "rotate", "db"]), place.json(["keys", "rotate", "db"]));
    assert!(one["epoch"].as_u64().is_some_and(|number| number > 1), "numbers are drawn");
    assert_ne!(one["epoch"], two["epoch"]);
    place.ok(["compact", "db"]);
    assert_eq!(place.ok(["scan", "db"]), "new\t2\nold\t1\n");
}

#[test]
fn a_slot_gets_another_key() {
    let place = Place::with_database();
    place.ok(["put", "db", "k", "v"]);
    place.secret("next", &"b8".repeat(32));
    assert!(place.ok(["keys", "rewrap", "db", "1"]).contains("is now a raw key, which was tried"));
    assert!(place.ok(["keys", "rewrap", "db", "1", "file:next"]).contains("still open with the old one"));
    place.fails(3, "wrong key", ["get", "db", "k"]);
    let next = |arguments: &[&str]| place.run(arguments.iter().chain(&["--key", "file:next"]));
    assert_eq!(next(&["get", "db", "k"]).out, "v\n");
    next(&["keys", "rewrap", "db", "9", "file:key"]).is_failure(4, "key slot 9");
    next(&["keys", "rewrap", "db", "1", "file:none"]).is_failure(3, "none");
    assert_eq!(next(&["get", "db", "k"]).out, "v\n");
}

#[test]
fn a_rotation_at_once_leaves_nothing_under_the_old_key() {
    let place = Place::with_database();
    place.ok(["put", "db", "old", "1"]);
    let rotated = place.json(["keys", "rotate", "db", "--now"]);
    let epochs = rotated["epochs"].as_array().expect("a list");
    let unused: Vec<_> = epochs.iter().map(|epoch| epoch["unused"].as_bool().expect("a flag")).collect();
    assert_eq!(unused, [true, false]);
    assert!(place.ok(["keys", "rotate", "db", "--resume"]).contains("nothing in db needs an older key"));
    assert!(place.ok(["keys", "epochs", "db"]).contains("nothing here"));
    assert_eq!(place.ok(["get", "db", "old"]), "1\n");
}

#[test]
fn the_master_key_is_rotated_with_the_keys_that_are_to_stay() {
    let place = Place::with_database();
    place.ok(["put", "db", "k", "v"]);
    for (name, byte) in [("second", "b8"), ("third", "c9")] {
        place.secret(name, &byte.repeat(32));
        place.ok(["keys", "add", "db", &format!("file:{name}"), "--label", name]);
    }
    place.fails(2, "key slot 2 (second, raw), key slot 3 (third, raw)", ["keys", "rotate", "db", "--master"]);
    let second = ["--slot-key", "file:second"];
    place.fails(2, "key slot 3", ["keys", "rotate", "db", "--master"].iter().chain(&second));
    let all = ["keys", "rotate", "db", "--master", "--drop-slot", "3", "--now"];
    let rotated = place.json(all.iter().chain(&second));
    assert_eq!(rotated["master"], true);
    for (name, status) in [("key", 0), ("second", 0), ("third", 3)] {
        let got = place.run(["get", "db", "k", "--key", &format!("file:{name}")]);
        assert_eq!(got.status, status, "{got:?}");
    }
    assert!(place.run(["check", "db", "--deep"]).status == 0);
}

#[test]
fn keys_are_destroyed_after_being_told_what_is_lost() {
    let place = Place::with_database();
    place.ok(["put", "db", "k", "v"]);
    place.ok(["backup", "db", "repo"]);
    let files = contents(&place.path("db"));
    assert!(place.ok(["keys", "destroy", "db", "--dry-run"]).contains("repo: 1 backup (1), with 1 keyring"));
    place.fails(2, "Give --yes", ["keys", "destroy", "db"]);
    place.run_bare(["keys", "destroy", "db"]).is_failure(2, "not known which repositories");
    place.secret("wrong", &"00".repeat(32));
    place.fails(3, "wrong key", ["keys", "destroy", "db", "--yes", "--key", "file:wrong"]);
    assert!(files == contents(&place.path("db")), "nothing has changed");
    let told = place.json(["keys", "destroy", "db", "--yes"]);
    assert_eq!((&told["destroyed"], &told["places"][0]["backups"][0]), (&true.into(), &1.into()));
    place.fails(4, "does not exist", ["get", "db", "k"]);
    place.fails(3, "missing", ["restore", "repo", "restored"]);
    place.fails(4, "keyring", ["keys", "destroy", "db", "--yes"]);
}

#[test]
fn keys_that_were_not_reached_are_told_by_the_exit_status() {
    let place = Place::with_database();
    place.ok(["backup", "db", "repo"]);
    std::fs::rename(place.path("repo"), place.path("moved")).expect("rename");
    let bare = place.run_bare(["keys", "destroy", "db", "--yes"]);
    bare.is_failure(2, "--repositories-unknown");
    place.ok(["keys", "list", "db"]);
    let ran = place.run(["keys", "destroy", "db", "--yes", "--quiet"]);
    ran.is_failure(5, "repo: it was not reached");
    place.fails(4, "keyring", ["keys", "destroy", "db", "--yes"]);
    place.ok(["restore", "moved", "restored"]);
    let unknown = place.run_bare(["keys", "destroy", "restored", "--yes", "--repositories-unknown"]);
    assert!(unknown.status == 5 && unknown.err.contains("not known which repositories"), "{unknown:?}");
}

#[test]
fn a_repository_is_found_from_another_working_directory() {
    let place = Place::with_database();
    place.ok(["backup", "db", "./repo"]);
    let key = format!("file:{}", place.path("key").display());
    let ran = place
        .command()
        .current_dir("/")
        .args(["keys", "destroy", "--yes", "--key", &key])
        .arg(place.path("db"))
        .output()
        .expect("it runs");
    assert!(ran.status.success(), "{ran:?}");
    place.fails(3, "missing", ["restore", "repo", "restored"]);
}

#[test]
fn what_a_leaked_key_opens_in_a_repository_goes_when_the_key_is_named() {
    let place = Place::with_database();
    place.ok(["backup", "db", "repo"]);
    let epoch = place.json(["keys", "epochs", "db"])["epochs"][0]["epoch"].to_string();
    place.secret("next", &"77".repeat(32));
    place.ok(["keys", "rewrap", "db", "1", "file:next"]);
    let by_next = ["--key", "file:next"];
    let with = |arguments: &[&str]| place.run([arguments, &by_next[..]].concat());
    assert_eq!(with(&["keys", "rotate", "db", "--master", "--now"]).status, 0);
    assert_eq!(with(&["backup", "db", "repo"]).status, 0);
    let destroy = ["keys", "destroy", "db", "--yes", "--epoch", epoch.as_str()];
    let ran = with(&destroy);
    assert!(ran.status == 5 && ran.err.contains("no key that was given opens"), "{ran:?}");
    let leaked = [&destroy[..], &["--slot-key", "file:key"]].concat();
    let ran = with(&leaked);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(std::fs::read_dir(place.path("repo/keyrings")).expect("a folder").count() >= 1);
    assert_eq!(with(&["verify", "repo", "--level", "4"]).status, 0);
}

#[test]
fn a_data_key_is_destroyed_with_the_backups_that_have_it() {
    let place = Place::with_database();
    place.ok(["put", "db", "k", "v"]);
    place.ok(["backup", "db", "repo"]);
    let epoch = place.json(["keys", "epochs", "db"])["epochs"][0]["epoch"].to_string();
    place.fails(2, "current", ["keys", "destroy", "db", "--epoch", &epoch, "--yes"]);
    place.ok(["keys", "rotate", "db", "--now"]);
    assert!(place.ok(["keys", "destroy", "db", "--epoch", &epoch, "--dry-run"]).contains("1 backup (1)"));
    assert!(place.ok(["keys", "destroy", "db", "--epoch", &epoch, "--yes"]).contains("and 1 backup with it"));
    place.fails(4, "data key", ["keys", "destroy", "db", "--epoch", &epoch, "--yes"]);
    assert_eq!(place.ok(["get", "db", "k"]), "v\n");
    place.ok(["verify", "repo", "--level", "4"]);
    place.ok(["restore", "repo", "restored"]);
    assert_eq!(place.ok(["get", "restored", "k"]), "v\n");
}

#[test]
fn a_recovery_key_is_printed_once_and_opens() {
    let place = Place::with_database();
    place.ok(["put", "db", "k", "v"]);
    let words = place.json(["keys", "escrow", "db"])["words"].as_str().expect("words").to_owned();
    assert_eq!(words.split(' ').count(), 24);
    place.secret("words", &format!("# in the safe\n{words}\n"));
    let get = |key: &str| place.run_with(&[], ["get", "db", "k", "--key", key]);
    assert_eq!(get("recovery-file:words").out, "v\n");

    let shared = place.json(["keys", "escrow", "db", "--shares", "3", "--threshold", "2"]);
    let shares: Vec<_> = shared["shares"]
        .as_array()
        .expect("shares")
        .iter()
        .map(|share| share.as_str().expect("text"))
        .collect();
    place.secret("shares", &format!("{}\n{}\n", shares[2], shares[0]));
    assert_eq!(get("recovery-file:shares").out, "v\n");
    place.secret("shares", shares[1]);
    get("recovery-file:shares").is_failure(3, "1 of the 2 shares");
    place.secret("words", &words.replacen(' ', " hunter ", 1));
    get("recovery-file:words").is_failure(3, "words");
    fs::set_permissions(place.path("words"), fs::Permissions::from_mode(0o644)).expect("permissions set");
    get("recovery-file:words").is_failure(3, "chmod 600");
    get("recovery:prompt").is_failure(3, "recovery");
    place.fails(2, "2 to 16", ["keys", "escrow", "db", "--shares", "3", "--threshold", "4"]);
    let listed = place.ok(["keys", "list", "db"]);
    assert!(listed.contains("recovery-2"));
    // One word alone may be there by right: `file` and `raw` are words of the list.
    let words: Vec<_> = words.split(' ').collect();
    assert!(words.windows(2).all(|pair| !listed.contains(&pair.join(" "))));
    assert!(place.ok(["keys", "escrow", "db", "--label", "paper"]).contains("not shown again"));
}

#[test]
fn what_was_done_with_keys_is_listed_and_a_cut_is_noticed() {
    let place = Place::with_database();
    place.secret("second", &"b8".repeat(32));
    place.ok(["keys", "add", "db", "file:second"]);
    place.ok(["keys", "rotate", "db"]);
    let audited = place.json(["keys", "audit", "db"]);
    let events: Vec<_> = audited["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["event"].as_str().expect("text"))
        .collect();
    assert_eq!(events, ["created", "opened", "key_added", "opened", "data_key_rotated"]);
    assert!(place.ok(["keys", "audit", "db"]).contains("key_added"));
    let log = fs::read(place.path("db/AUDIT")).expect("the log");
    place.write("db/AUDIT", &log[..log.len() - 1]);
    let cut = place.run(["keys", "audit", "db"]);
    assert!(cut.status == 3 && cut.err.contains("ends after 4 of 5 entries"), "{cut:?}");
    assert_eq!(place.run(["check", "db"]).status, 3);
    let salvaged = place.json(["keys", "audit", "db", "--damaged"]);
    let [file] = &salvaged["files"].as_array().expect("a list")[..] else { panic!("{salvaged}") };
    assert_eq!((&file["file"], file["entries"].as_array().map(Vec::len)), (&"AUDIT".into(), Some(4)));
    assert!(file["breaks"]["reason"].as_str().expect("text").contains("entry 5 is cut"), "{file}");
    let told = place.run(["put", "db", "key", "value"]);
    assert!(told.status == 0 && told.err.contains("the audit log was damaged"), "{told:?}");
    let listed = place.ok(["keys", "audit", "db", "--damaged"]);
    assert!(listed.contains("AUDIT.damaged") && listed.contains("entry 5 is cut"), "{listed}");
    assert!(place.ok(["keys", "audit", "db"]).contains("damaged"), "the log that was begun tells of it");
}

#[test]
fn a_database_without_encryption_has_no_keys() {
    let place = Place::new();
    assert_eq!(place.run_bare(["create", "db", "--no-encryption"]).status, 0);
    assert!(place.run_bare(["keys", "list", "db"]).out.contains("not encrypted"));
    place.run_bare(["keys", "add", "db", "file:key"]).is_failure(3, "not encrypted");
    place.run_bare(["keys", "rotate", "db"]).is_failure(3, "not encrypted");
}

#[test]
fn neither_keys_nor_values_are_in_any_file() {
    let place = Place::with_database();
    place.ok(["put", "db", "a-conspicuous-key", "a-conspicuous-value"]);
    place.ok(["compact", "db"]);
    for (path, content) in contents(&place.path("db")) {
        let has = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
        assert!(!has(b"a-conspicuous") && !has(&[0xa7; 32]), "{}", path.display());
    }
}
