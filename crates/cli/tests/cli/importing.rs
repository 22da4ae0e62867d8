//! import csv.

use std::io::Write;
use std::process::Stdio;

use crate::support::Place;

const ROWS: &str = "id,name,town\n2,\"Doe, Jane\",Köln\n1,Ada,\n";

#[test]
fn rows_become_entries() {
    let place = Place::new();
    place.write("rows.csv", ROWS);
    let said = place.ok(["import", "csv", "rows.csv", "db"]);
    assert_eq!(said, "imported 2 rows into db (last sequence number 1)\n");
    assert_eq!(
        place.ok(["scan", "db"]),
        "1\t{\"id\":\"1\",\"name\":\"Ada\",\"town\":\"\"}\n2\t{\"id\":\"2\",\"name\":\"Doe, Jane\",\"town\":\"Köln\"}\n"
    );
    let again = place.json(["import", "csv", "rows.csv", "db", "--key-column", "name"]);
    let expected = serde_json::json!({"imported": 2, "replaced": 0, "created": false, "database": "db", "last_sequence": 2});
    assert_eq!(again, expected);
    assert!(place.ok(["get", "db", "Ada"]).contains("\"id\":\"1\""));
    place.fails(2, "exists already", ["import", "csv", "rows.csv", "db", "--no-encryption"]);
    let public = place.run_bare(["import", "csv", "rows.csv", "public", "--no-encryption"]);
    assert_eq!(public.status, 0, "{public:?}");
    assert_eq!(place.run_bare(["scan", "public", "--limit", "1"]).out.lines().count(), 1);
}

#[test]
fn a_key_that_repeats_is_counted() {
    let place = Place::new();
    place.write("rows.csv", "year,n\n2013,1\n2013,2\n2014,3\n2013,4\n");
    let said = place.ok(["import", "csv", "rows.csv", "db"]);
    assert!(said.starts_with("imported 4 rows into db, 2 rows over a key that was there already"), "{said}");
    let again = place.json(["import", "csv", "rows.csv", "db"]);
    assert_eq!((&again["imported"], &again["replaced"]), (&4.into(), &4.into()));
}

#[test]
fn a_mistake_anywhere_imports_nothing() {
    let place = Place::new();
    let many: String = (0..5000).map(|n| format!("{n},x\n")).collect();
    for (content, told) in [
        (String::new(), "empty"),
        ("a,a\n1,2\n".into(), "two columns"),
        (format!("id,v\n{many}only one\n"), "5002"),
        (format!("id,v\n{many},no key\n"), "line 5002"),
        (format!("id,v\n{many}{},long\n", "k".repeat(65_536)), "65536 bytes"),
    ] {
        place.write("bad.csv", content);
        place.fails(1, told, ["import", "csv", "bad.csv", "db"]);
    }
    place.write("bad.csv", b"id,v\n1,\xff\n");
    place.fails(1, "UTF-8", ["import", "csv", "bad.csv", "db"]);
    place.write("rows.csv", ROWS);
    place.fails(1, "there are id, name, town", ["import", "csv", "rows.csv", "db", "--key-column", "nope"]);
    place.fails(4, "nofile.csv", ["import", "csv", "nofile.csv", "db"]);
    place.fails(1, "directory", ["import", "csv", ".", "db"]);
    assert_eq!(place.names("."), ["bad.csv", "key", "rows.csv"]);
}

#[test]
fn a_pipe_is_imported_as_it_comes() {
    let place = Place::new();
    let mut command = place.command();
    command.env("LIGHTNING_DB_KEY", "file:key").args(["import", "csv", "/dev/stdin", "db", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(ROWS.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(place.ok(["scan", "db"]).lines().count(), 2);
}
