//! What a check finds in a small database, and that it finds everything.

mod home;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use home::Home;
use lightning_db_crypto::CryptoError;
use lightning_db_storage::directory::{KEYRING_FILES, MANIFEST_FILES};
use lightning_db_storage::segment::{HEADER_LEN, SegmentKind};
use lightning_db_storage::vfs::{CallKind, Keep, OpenHow, OsVfs, Vfs};
use lightning_db_storage::wal::{LogSource, scan};
use lightning_db_storage::{SequenceNumber, StorageError};

use super::*;

/// The one finding that is expected.
fn only(report: &CheckReport) -> &Finding {
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    &report.findings[0]
}

fn file_len(vfs: &dyn Vfs, path: &Path) -> u64 {
    vfs.metadata(path).expect("it exists").len
}

#[test]
fn a_sound_database_is_covered_in_full_and_nothing_is_written() {
    let (memory, home) = Home::in_memory();
    let before = memory.op_counts();
    let report = home.check(Depth::Deep);
    assert_eq!(report.findings, []);
    let Covered { entries, extents, extent_bytes, filters, filter_keys, .. } = report.covered;
    // The base twice, because the checkpoint has it too; so the older run. The kept run is the older one.
    assert_eq!((entries, extents, extent_bytes), (2 * 61 + 2 * 20 + 21, 2, 10_000));
    assert_eq!((filters, filter_keys), (3, 20 + 21 + 20));
    let Covered { files, segments, trees, dictionaries, log_segments, log_commits, .. } = report.covered;
    assert_eq!((files, segments, trees), (4 + 4 + 2, 4, 5));
    assert_eq!((dictionaries, log_segments, log_commits), (1, 2, 12));
    assert_eq!(
        report.covered.hashed_bytes,
        home.manifest.segments.iter().map(|info| info.length).sum::<u64>()
    );
    assert!(report.covered.pages > 20, "{:?}", report.covered);

    assert_eq!(home.check_closed(7).expect("sound"), report);
    let quick = home.check(Depth::Quick);
    assert!(quick.findings.is_empty() && quick.covered.pages == 5 && quick.covered.hashed_bytes == 0);
    let after = memory.op_counts();
    for kind in [
        CallKind::Create,
        CallKind::Write,
        CallKind::SetLen,
        CallKind::RemoveFile,
        CallKind::Rename,
        CallKind::Lock,
    ] {
        assert_eq!(after.of(kind), before.of(kind), "a check only reads");
    }
}

#[test]
fn every_flipped_byte_of_every_segment_is_found() {
    let (memory, home) = Home::in_memory();
    for info in &home.manifest.segments {
        let path = home.ctx.segment_path(info.kind, info.id);
        for at in 0..info.length {
            memory.corrupt(&path, at, 1 << (at % 8)).expect("in the file");
            let report = home.check(Depth::Deep);
            assert!(!report.is_sound(), "byte {at} of {}", path.display());
            memory.corrupt(&path, at, 1 << (at % 8)).expect("in the file");
        }
    }
    assert!(home.check(Depth::Deep).findings.is_empty(), "all bytes are back");
}

#[test]
fn every_flipped_byte_of_the_log_is_found_or_lies_between_frames() {
    let (memory, home) = Home::in_memory();
    let replay = || {
        let outcome = scan(&home.ctx, &home.manifest.wal, None, SequenceNumber(0)).expect("sound");
        let mut source = outcome.replay(&home.ctx).expect("opens");
        let mut seen = Vec::new();
        while let Some(event) = source.next_event().expect("sound") {
            seen.push(format!("{event:?}"));
        }
        seen
    };
    let sound = replay();
    let mut harmless = 0;
    for index in 0..home.manifest.wal.len() {
        let path = home.log_path(index);
        for at in 0..3000 {
            memory.corrupt(&path, at, 1 << (at % 8)).expect("in the file");
            if home.check(Depth::Deep).is_sound() {
                assert!(at >= HEADER_LEN as u64);
                assert_eq!(replay(), sound, "byte {at} of {} makes no difference", path.display());
                harmless += 1;
            }
            memory.corrupt(&path, at, 1 << (at % 8)).expect("in the file");
        }
    }
    // About 1000 bytes of each segment are in use; what pads frames to 16 bytes, and what is behind the end, is not.
    assert!((3000..5000).contains(&harmless), "{harmless}");
}

#[test]
fn every_flipped_byte_of_one_twin_is_a_warning_and_of_both_an_error() {
    let (memory, home) = Home::in_memory();
    for names in [KEYRING_FILES, MANIFEST_FILES] {
        let [first, second] = names.map(|name| home.path(name));
        for at in (0..file_len(&memory, &first)).step_by(7) {
            for twin in [&first, &second] {
                memory.corrupt(twin, at, 4).expect("in the file");
                let report = home.check_closed(7).expect("the other twin is whole");
                let finding = only(&report);
                assert_eq!((finding.severity, &finding.file), (Severity::Warning, twin), "byte {at}");
                memory.corrupt(twin, at, 4).expect("in the file");
            }
        }
        for twin in [&first, &second] {
            memory.corrupt(twin, 30, 4).expect("in the file");
        }
        let report = home.check_closed(7).expect("the damage is in the report");
        assert!(!report.is_sound() && only(&report).file == first);
        assert!(!home.check(Depth::Quick).is_sound(), "also while it is open");
        for twin in [&first, &second] {
            memory.corrupt(twin, 30, 4).expect("in the file");
        }
    }
}

#[test]
fn a_wrong_key_and_a_directory_without_a_database_are_not_damage() {
    let (memory, home) = Home::in_memory();
    let wrong = home.check_closed(8);
    assert!(matches!(wrong, Err(StorageError::Crypto(CryptoError::WrongKey { .. }))), "{wrong:?}");
    for name in KEYRING_FILES.into_iter().chain(MANIFEST_FILES) {
        memory.remove_file(&home.path(name)).expect("removed");
    }
    let report = home.check_closed(7).expect("segments are there, so it was a database");
    assert!(!report.is_sound());
    for path in memory.files() {
        memory.remove_file(&path).expect("removed");
    }
    assert!(matches!(home.check_closed(7), Err(StorageError::NotFound { .. })));
}

#[test]
fn a_missing_file_is_named_and_the_rest_is_checked_all_the_same() {
    for kind in [SegmentKind::Value, SegmentKind::Base, SegmentKind::Run] {
        let (memory, home) = Home::in_memory();
        let path = home.segment_of(kind);
        memory.remove_file(&path).expect("removed");
        let last = home.log_path(1);
        memory.corrupt(&last, 200, 1).expect("in the file");
        let report = home.check(Depth::Deep);
        for file in [path, last] {
            assert!(report.findings.iter().any(|finding| finding.file == file), "{:#?}", report.findings);
        }
    }
    let (memory, home) = Home::in_memory();
    memory.remove_file(&home.log_path(0)).expect("removed");
    let report = home.check(Depth::Deep);
    assert_eq!(only(&report).file, home.log_path(0));
    assert_eq!(report.covered.log_commits, 6, "the segment behind was read");
}

#[test]
fn every_damaged_frame_of_a_log_segment_is_named() {
    let (memory, home) = Home::in_memory();
    for index in [0, 1] {
        let path = home.log_path(index);
        for at in [300, 305, 700] {
            memory.corrupt(&path, at, 1).expect("in the file");
        }
        let report = home.check(Depth::Deep);
        let places: Vec<u64> = report.findings.iter().filter_map(|finding| finding.offset).collect();
        assert!(report.findings.iter().all(|finding| finding.file == path));
        let [first, second] = places[..] else { panic!("{:#?}", report.findings) };
        assert!(first <= 300 && 305 < second && second <= 700, "{places:?}");
        for at in [300, 305, 700] {
            memory.corrupt(&path, at, 1).expect("in the file");
        }
    }
}

#[test]
fn damage_in_several_places_is_found_in_one_go() {
    let (memory, home) = Home::in_memory();
    let files = [
        home.segment_of(SegmentKind::Base),
        home.segment_of(SegmentKind::Run),
        home.log_path(0),
        home.log_path(1),
    ];
    for file in &files {
        memory.corrupt(file, 300, 1).expect("in the file");
    }
    let report = home.check(Depth::Deep);
    for file in &files {
        assert!(report.findings.iter().any(|finding| finding.file == *file), "{:#?}", report.findings);
    }
}

#[test]
fn what_does_not_belong_is_told_and_left_alone() {
    let (memory, home) = Home::in_memory();
    for name in ["00000000000000ff.base", "MANIFEST.tmp", "notes.txt"] {
        home.create_file(name, b"x");
    }
    memory.create_dir(&home.path("folder")).expect("created");
    let report = home.check_closed(7).expect("checked");
    assert!(report.is_sound());
    let found: Vec<_> =
        report.findings.iter().map(|finding| (finding.severity, finding.file.clone())).collect();
    let expected = ["00000000000000ff.base", "MANIFEST.tmp", "folder", "notes.txt"];
    assert_eq!(found, expected.map(|name| (Severity::Warning, home.path(name))));
    assert_eq!(memory.files().len(), 10 + 3);
    let report = home.check_as(Use::Open, Depth::Quick).expect("checked");
    let found: Vec<_> = report.findings.iter().map(|finding| finding.file.clone()).collect();
    let expected = ["folder", "notes.txt"].map(|name| home.path(name));
    assert_eq!(found, expected, "files come and go while a database is in use");
}

#[test]
fn access_for_others_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().expect("a directory");
    let home = Home::create(Arc::new(OsVfs::new()), &outer.path().join("db"));
    assert_eq!(home.check(Depth::Deep).findings, []);
    let open_up = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permitted");
    };
    open_up(&home.ctx.directory, 0o750);
    open_up(&home.path("KEYRING"), 0o604);
    let report = home.check(Depth::Quick);
    assert!(report.is_sound());
    let files: Vec<_> = report.findings.iter().map(|finding| finding.file.clone()).collect();
    assert_eq!(files, [home.ctx.directory.clone(), home.path("KEYRING")]);
}

#[test]
fn a_manifest_that_contradicts_the_trees_is_found_out() {
    type Edit = fn(&mut Manifest);
    let lies: [(&str, Edit); 9] = [
        ("entries", |m| m.keyspaces[0].base.entries += 1),
        ("deletes", |m| m.keyspaces[0].runs[1].tree.tombstones = 0),
        ("digest", |m| m.keyspaces[0].base.digest = m.keyspaces[0].runs[0].tree.digest),
        ("of it are in use", |m| m.segments[0].live_bytes -= 1),
        ("does not say so", |m| m.checkpoints[0].segments.clear()),
        ("does not say so", |m| m.keyspaces[0].runs[0].segments.clear()),
        ("denies", |m| m.keyspaces[0].runs[1].filter = m.keyspaces[0].runs[0].filter.clone()),
        ("filter", |m| m.keyspaces[0].runs[1].filter.truncate(1)),
        ("not have", |m| m.segments.truncate(1)),
    ];
    for (expected, lie) in lies {
        let (_, mut home) = Home::in_memory();
        lie(&mut home.manifest);
        let report = home.check(Depth::Deep);
        let found = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
        let texts: Vec<&str> = found.map(|finding| finding.what.as_str()).collect();
        assert!(texts.iter().any(|text| text.contains(expected)), "{expected}: {texts:#?}");
    }
    let (_, mut home) = Home::in_memory();
    home.manifest.segments[1].live_bytes += 1;
    assert_eq!(only(&home.check(Depth::Deep)).severity, Severity::Warning, "space that is not freed yet");
}

#[test]
fn the_log_must_go_on_from_what_the_trees_hold() {
    let (_, mut home) = Home::in_memory();
    let first = home.manifest.wal.remove(0);
    assert!(!home.check(Depth::Deep).is_sound(), "commits 3 to 6 are in no tree and in no log");
    home.manifest.flushed_sequence = SequenceNumber(6);
    assert!(home.check(Depth::Deep).is_sound());
    home.manifest.log_end = first.accepted_through;
    assert!(home.check(Depth::Deep).is_sound());
}

#[test]
fn what_a_power_cut_tore_is_a_warning_only() {
    let (memory, home) = Home::in_memory();
    let position =
        scan(&home.ctx, &home.manifest.wal, None, SequenceNumber(0)).expect("sound").end.expect("an end");
    for path in memory.files() {
        let file = memory.open(&path, OpenHow::ReadWrite).expect("opens");
        file.sync_all().expect("synced");
    }
    memory.sync_dir(&home.ctx.directory).expect("synced");
    memory.sync_dir(Path::new("/")).expect("synced");
    memory.crash(&mut || 0, Keep::Everything);
    memory.corrupt(&home.log_path(1), position.offset + 1, 8).expect("in the file");
    let report = home.check(Depth::Deep);
    let finding = only(&report);
    assert_eq!((finding.severity, finding.offset), (Severity::Warning, Some(position.offset)));
    assert_eq!(report.covered.log_commits, 12);
}

#[test]
fn a_check_can_be_stopped_in_each_phase() {
    let (_, home) = Home::in_memory();
    for phase in [Phase::Files, Phase::Trees, Phase::Log] {
        let asked = AtomicU32::new(0);
        let watch = |progress: Progress| {
            assert!(progress.done <= progress.total);
            asked.fetch_add(1, Ordering::Relaxed);
            progress.phase != phase
        };
        let stopped = check_database(&home.ctx, &home.manifest, Use::Closed, Depth::Deep, &watch);
        assert!(matches!(stopped, Err(StorageError::Cancelled)));
        assert!(asked.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn so_many_findings_are_kept_and_the_rest_are_counted() {
    let mut report = CheckReport::default();
    for n in 0..20_000 {
        report.error(StorageError::corrupt("f", n, "x"));
    }
    assert_eq!((report.errors, report.findings.len()), (20_000, 10_000));
    let mut sum = CheckReport::default();
    sum.error(StorageError::corrupt("f", 0, "x"));
    sum.absorb(report);
    assert_eq!((sum.errors, sum.findings.len()), (20_001, 10_000));
    sum.warning(Path::new("g"), None, "y", "z");
    sum.retract(|finding| finding.offset.is_some_and(|offset| offset < 100));
    assert_eq!((sum.errors, sum.warnings, sum.findings.len()), (20_001 - 101, 1, 10_000 - 101));
}
