//! stats, inspect, check.

use std::fs;
use std::path::PathBuf;

use crate::support::Place;

fn filled() -> Place {
    let place = Place::new();
    let rows: String = (0..3000).map(|n| format!("{n:06},{}\n", n * 7919)).collect();
    place.write("rows.csv", format!("id,number\n{rows}"));
    place.ok(["import", "csv", "rows.csv", "db"]);
    place.ok(["compact", "db"]);
    place.ok(["put", "db", "late", "1"]);
    place
}

/// The database's files with this ending, the largest first.
fn files(place: &Place, ending: &str) -> Vec<PathBuf> {
    let names = place.names("db").into_iter().filter(|name| name.ends_with(ending));
    let mut files: Vec<PathBuf> = names.map(|name| place.path("db").join(name)).collect();
    files.sort_by_key(|file| std::cmp::Reverse(fs::metadata(file).expect("a file").len()));
    files
}

fn flip(file: &PathBuf, at: usize) {
    let mut bytes = fs::read(file).expect("read");
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("written");
}

#[test]
fn figures_are_shown() {
    let place = filled();
    let plain = place.ok(["inspect", "db"]);
    assert!(plain.starts_with("Database Statistics:\n- Total keys: 3,001\n- Database size: "), "{plain}");
    assert_eq!(plain.lines().count(), 5);
    assert!(plain.contains("\n- B+Tree depth: ") && plain.contains("\n- Page utilization: "), "{plain}");
    let verbose = place.ok(["inspect", "db", "--verbose"]);
    assert!(verbose.starts_with(&plain) || verbose.contains("- Total keys: 3,001"), "{verbose}");
    assert!(verbose.contains("\n- Encrypted: yes\n") && verbose.contains("\n- Last sequence number: "));
    assert_eq!(place.json(["inspect", "db"])["total_keys"], 3001);
    let stats = place.json(["stats", "db"]);
    assert_eq!((&stats["total_keys"], &stats["encrypted"]), (&3001.into(), &true.into()));
    let table = place.ok(["stats", "db"]);
    assert!(table.lines().count() > 10 && table.contains("total_keys"), "{table}");
    assert!(place.json(["compact", "db"])["bytes_after"].as_u64() > Some(0));
}

#[test]
fn a_sound_database_passes() {
    let place = filled();
    let deep = "Checking database integrity...\n✓ Page checksums valid\n✓ B+Tree structure consistent\n\
                ✓ Transaction log intact\n✓ No orphaned pages\n✓ All checks passed\n";
    assert_eq!(place.ok(["check", "db", "--deep"]), deep);
    assert!(place.ok(["check", "db"]).ends_with("✓ All checks passed\n"));
    let report = place.json(["check", "db", "--deep"]);
    assert_eq!((&report["sound"], &report["depth"]), (&true.into(), &"deep".into()));
    assert_eq!(report["covered"]["entries"], 3001);
}

#[test]
fn damage_is_found_and_named() {
    let place = filled();
    let base = files(&place, ".base").remove(0);
    flip(&base, 5000);
    let ran = place.run(["check", "db", "--deep"]);
    assert_eq!(ran.status, 3, "{ran:?}");
    let name = base.file_name().expect("a name").to_str().expect("UTF-8");
    assert!(ran.out.contains("✗ Page checksums valid") && ran.out.contains(name), "{ran:?}");
    assert!(ran.out.contains("✓ Transaction log intact") && !ran.out.contains("All checks passed"));
    assert!(ran.err.contains("restore it from a backup"));

    let json = place.run(["check", "db", "--deep", "--json"]);
    assert_eq!((json.status, json.error().0.as_str()), (3, "corrupt"));
    let report: serde_json::Value = serde_json::from_str(&json.out).expect("one object");
    assert_eq!(report["sound"], false);
    let named = report["findings"][0]["file"].as_str().expect("a file");
    assert!(named.ends_with(name), "{report}");

    let scan = place.run(["scan", "db"]);
    assert_eq!(scan.status, 3, "what is damaged is never printed as if it were right: {scan:?}");
    place.fails(4, "does not exist", ["check", "nowhere"]);
    let wrong = place.run_with(&[("THE_KEY", &"00".repeat(32))], ["check", "db", "--key", "env:THE_KEY"]);
    wrong.is_failure(3, "wrong key");
}

#[test]
fn a_damaged_log_is_told_from_damaged_pages() {
    let place = Place::with_database();
    let config = lightning_db::LightningDbConfig {
        encryption_enabled: true,
        encryption_key: lightning_db::KeySource::file(place.path("key")),
        ..Default::default()
    };
    let open = lightning_db::Database::open(place.path("db"), config).expect("opened");
    open.put(b"k", b"v").expect("put");
    fs::create_dir(place.path("copy")).expect("a folder");
    for name in place.names("db") {
        fs::copy(place.path("db").join(&name), place.path("copy").join(&name)).expect("copied");
    }
    assert_eq!(place.ok(["get", "copy", "k"]), "v\n");
    let logs = place.names("copy").into_iter().filter(|name| name.ends_with(".wal"));
    let log = logs.map(|name| place.path("copy").join(name)).next().expect("a log");
    flip(&log, 200);
    let ran = place.run(["check", "copy"]);
    assert_eq!(ran.status, 3, "{ran:?}");
    assert!(ran.out.contains("✗ Transaction log intact"), "{ran:?}");
}

#[test]
fn an_orphan_is_a_warning() {
    let place = filled();
    place.write("db/00000000000fffff.run", "left by a crash");
    let out = place.ok(["check", "db", "--deep"]);
    assert!(out.contains("! Orphaned files: 1") && out.ends_with("✓ All checks passed\n"), "{out}");
    place.ok(["put", "db", "k", "v"]);
    assert!(place.ok(["check", "db"]).contains("✓ No orphaned pages"));
}
