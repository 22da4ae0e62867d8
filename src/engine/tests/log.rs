//! Which log is kept, and for whom.

use lightning_db_storage::manifest::{ArchivedThrough, Lineage, Manifest, RepositoryCursor};
use lightning_db_storage::wal::{WalPosition, WalSegmentInfo};
use lightning_db_storage::{FrameNumber, Incarnation, SegmentId, SequenceNumber};

use super::support::{World, small};
use crate::engine::log::retire;

fn history(number: u8) -> Incarnation {
    Incarnation([number; 16])
}

/// What is retired of three histories with a segment each, of which the last is the present one.
fn retired(archived: Option<(u8, u64)>, lineage: Lineage) -> Vec<u64> {
    retired_after(archived, None, lineage)
}

/// The same after a backup was announced that brings this much log, and was not heard of.
fn retired_after(archived: Option<(u8, u64)>, announced: Option<(u8, u64)>, lineage: Lineage) -> Vec<u64> {
    let db = World::new(1).create(&small());
    let mut manifest = db.engine.catalog.read(Manifest::clone);
    let info = manifest.wal[0].clone();
    let segment = |number: u8| {
        let (id, sequence) = (SegmentId(u64::from(number)), SequenceNumber(10 * u64::from(number)));
        let (offset, frame, tag) = (0, FrameNumber(9), [number; 16]);
        let end = WalPosition { segment: id, offset, frame, tag, sequence, within_commit: false };
        WalSegmentInfo { id, incarnation: history(number), accepted_through: Some(end), ..info.clone() }
    };
    manifest.wal = vec![segment(1), segment(2), segment(3)];
    (manifest.incarnation, manifest.flushed_sequence) = (history(3), SequenceNumber(30));
    let through = |(number, frame): (u8, u64)| ArchivedThrough {
        incarnation: history(number),
        frame: FrameNumber(frame),
        tag: [number; 16],
        sequence: SequenceNumber(10 * u64::from(number)),
        time_micros: 0,
    };
    manifest.repositories = vec![RepositoryCursor {
        repository: [0; 16],
        url_hint: String::new(),
        last_backup: 1,
        archived: archived.map(through),
        announced: announced.map(through),
        announced_trees: None,
        lineage,
    }];
    retire(&mut manifest, u64::MAX, 1).into_iter().map(|id| id.0).collect()
}

#[test]
fn only_log_that_a_repository_has_or_has_passed_is_retired() {
    assert_eq!(retired(Some((1, 8)), Lineage::Rebase), [0; 0]);
    assert_eq!(retired(Some((1, 9)), Lineage::Rebase), [1], "it never saw the second history");
    assert_eq!(retired(Some((2, 8)), Lineage::Rebase), [1]);
    assert_eq!(retired(Some((2, 9)), Lineage::Rebase), [1, 2]);
    assert_eq!(retired(Some((3, 8)), Lineage::Rebase), [1, 2]);
    assert_eq!(retired(Some((3, 9)), Lineage::Rebase), [1, 2, 3]);
    assert_eq!(retired(None, Lineage::Rebase), [0; 0]);
    assert_eq!(retired(None, version(29)), [1, 2]);
    assert_eq!(retired(None, version(30)), [1, 2, 3], "a first backup has it in its trees");
}

#[test]
fn log_that_only_an_announced_backup_brings_is_kept_until_that_is_heard_of() {
    assert_eq!(retired_after(None, Some((3, 9)), version(30)), [0; 0], "its trees are of that backup too");
    assert_eq!(retired_after(Some((3, 8)), Some((3, 9)), version(30)), [1, 2]);
    assert_eq!(retired_after(Some((3, 9)), Some((3, 9)), version(30)), [1, 2, 3]);
}

fn version(sequence: u64) -> Lineage {
    Lineage::Version {
        sequence: SequenceNumber(sequence),
        time_micros: 0,
        keyspaces: Vec::new(),
        segments: Vec::new(),
    }
}
