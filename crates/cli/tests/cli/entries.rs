//! create, put, get, delete, scan, export, compact, restore-point.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::support::{Place, contents};

#[test]
fn an_entry_is_put_read_and_deleted() {
    let place = Place::with_database();
    assert!(
        place.ok(["put", "db", "greeting", "hello"]).starts_with("put greeting (5 bytes, sequence number 1)")
    );
    assert_eq!(place.ok(["get", "db", "greeting"]), "hello\n");
    assert!(place.ok(["delete", "db", "greeting"]).starts_with("deleted greeting (sequence number 2)"));
    place.fails(4, "has no key greeting", ["get", "db", "greeting"]);
    place.fails(4, "has no key greeting", ["delete", "db", "greeting"]);
    assert_eq!(place.ok(["put", "db", "-k", "-v", "--quiet"]), "");
    assert_eq!(place.ok(["get", "db", "-k"]), "-v\n");
}

#[test]
fn programs_read_json() {
    let place = Place::new();
    assert_eq!(place.json(["create", "db"]), serde_json::json!({"created": "db", "encrypted": true}));
    let put = place.json(["put", "db", "k", "\"v\""]);
    assert_eq!(put, serde_json::json!({"put": {"key": "k"}, "bytes": 3, "sequence": 1}));
    assert_eq!(place.json(["get", "db", "k"]), serde_json::json!({"key": "k", "value": "\"v\""}));
    let deleted = place.json(["delete", "db", "k"]);
    assert_eq!(deleted, serde_json::json!({"deleted": {"key": "k"}, "sequence": 2}));
    let missing = place.run(["--json", "get", "db", "k"]);
    missing.is_failure(4, "");
    assert_eq!(missing.error().0, "not_found");
    assert_eq!(place.json(["compact", "db"])["compacted"], "db");
    let named = place.json(["restore-point", "db", "here"]);
    assert_eq!(named, serde_json::json!({"restore_point": "here", "sequence": 2}));
    place.fails(1, "already exists", ["restore-point", "db", "here"]);
    place.fails(2, "name", ["restore-point", "db", ""]);
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let place = Place::with_database();
    place.ok(["put", "db", "--hex", "00ff", "c3280a"]);
    assert_eq!(place.ok(["get", "db", "--hex", "00FF"]), "c3280a\n");
    assert_eq!(place.ok(["scan", "db"]), "\\x00\\xff\t\\xc3(\\n\n");
    assert_eq!(place.ok(["scan", "db", "--hex"]), "00ff\tc3280a\n");
    assert_eq!(place.json(["scan", "db"]), serde_json::json!({"key_hex": "00ff", "value_hex": "c3280a"}));
    assert_eq!(place.json(["scan", "db", "--hex"]), serde_json::json!({"key": "00ff", "value": "c3280a"}));
    let raw = OsStr::from_bytes(b"\xfe\x80");
    place.ok([OsStr::new("put"), OsStr::new("db"), raw, raw]);
    let ran = place.run([OsStr::new("get"), OsStr::new("db"), raw]);
    assert_eq!((ran.status, ran.raw.as_slice()), (0, &b"\xfe\x80\n"[..]));
    place.fails(2, "not hex", ["get", "db", "--hex", "xyz"]);
    place.fails(2, "not hex", ["put", "db", "--hex", "00", "0"]);
}

#[test]
fn ranges_are_scanned_both_ways() {
    let place = Place::with_database();
    for key in ["a", "ab", "ac", "b", "c"] {
        place.ok(["put", "db", key, &key.to_uppercase()]);
    }
    let keys = |arguments: &[&str]| {
        let out = place.ok(["scan", "db"].iter().chain(arguments));
        out.lines()
            .map(|line| line.split('\t').next().expect("a key").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(place.ok(["scan", "db", "--start", "b"]), "b\tB\nc\tC\n");
    assert_eq!(keys(&[]), "a ab ac b c");
    assert_eq!(keys(&["--reverse"]), "c b ac ab a");
    assert_eq!(keys(&["--prefix", "a"]), "a ab ac");
    assert_eq!(keys(&["--prefix", "a", "--reverse", "--limit", "2"]), "ac ab");
    assert_eq!(keys(&["--start", "ab", "--end", "c"]), "ab ac b");
    assert_eq!(keys(&["--start", "ab", "--end", "c", "--reverse"]), "b ac ab");
    assert_eq!(keys(&["--limit", "0"]), "");
    assert_eq!(keys(&["--start", "x"]), "");
    let lines = place.ok(["scan", "db", "--json", "--limit", "2"]);
    assert_eq!(lines, "{\"key\":\"a\",\"value\":\"A\"}\n{\"key\":\"ab\",\"value\":\"AB\"}\n");
    place.fails(2, "--prefix", ["scan", "db", "--prefix", "a", "--start", "b"]);
    place.fails(2, "--limit", ["scan", "db", "--limit", "many"]);
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_quietly() {
    let place = Place::with_database();
    let rows: String = (0..20_000).map(|n| format!("{n:06},{}\n", "x".repeat(40))).collect();
    place.write("rows.csv", format!("id,text\n{rows}"));
    place.ok(["import", "csv", "rows.csv", "db"]);
    let mut command = place.command();
    command.env("LIGHTNING_DB_KEY", "file:key").args(["scan", "db"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut first = [0; 16];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("some output");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn everything_is_exported_as_a_whole_or_not_at_all() {
    let place = Place::with_database();
    place.ok(["put", "db", "a", "say \"hi\", you"]);
    place.ok(["put", "db", "b", "2"]);
    assert_eq!(place.ok(["export", "db", "all.jsonl"]), "exported 2 entries to all.jsonl\n");
    let lines = place.read("all.jsonl");
    assert_eq!(lines, "{\"key\":\"a\",\"value\":\"say \\\"hi\\\", you\"}\n{\"key\":\"b\",\"value\":\"2\"}\n");
    assert_eq!(place.json(["export", "db", "all.csv"])["exported"], 2);
    assert_eq!(place.read("all.csv"), "key,value\na,\"say \"\"hi\"\", you\"\nb,2\n");
    place.fails(1, "could not write all.csv", ["export", "db", "all.csv"]);
    place.fails(2, ".jsonl", ["export", "db", "all.txt"]);

    place.ok(["put", "db", "--hex", "ff", "ff"]);
    place.fails(1, "\\xff is not text", ["export", "db", "binary.csv"]);
    assert!(!place.exists("binary.csv"));
    place.ok(["export", "db", "binary.csv", "--hex"]);
    assert!(place.read("binary.csv").ends_with("\nff,ff\n"));
    place.fails(4, "no/where.jsonl", ["export", "db", "no/where.jsonl"]);
    assert_eq!(place.names("."), ["all.csv", "all.jsonl", "binary.csv", "db", "key"]);
}

#[test]
fn reading_commands_write_nothing() {
    let place = Place::with_database();
    place.ok(["put", "db", "a", "1"]);
    let before = contents(&place.path("db"));
    place.ok(["get", "db", "a"]);
    place.ok(["scan", "db"]);
    place.ok(["export", "db", "a.jsonl"]);
    place.ok(["keys", "list", "db"]);
    assert!(before == contents(&place.path("db")));
}

#[test]
fn what_is_there_is_never_overwritten() {
    let place = Place::with_database();
    place.ok(["put", "db", "a", "1"]);
    place.fails(1, "already exists", ["create", "db"]);
    assert_eq!(place.ok(["get", "db", "a"]), "1\n");
    std::fs::create_dir(place.path("other")).expect("a folder");
    place.write("other/notes", "mine");
    place.fails(1, "already exists", ["create", "other"]);
    place.fails(4, "does not exist", ["get", "other", "a"]);
    place.fails(4, "does not exist", ["put", "other", "a", "b"]);
    place.fails(4, "does not exist", ["put", "nowhere", "a", "b"]);
    assert_eq!(place.names("other"), ["notes"]);
    assert!(!place.exists("nowhere"));
    place.write("file", "text");
    place.fails(1, "file", ["get", "file", "a"]);
}
