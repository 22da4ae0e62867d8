//! The log: every frame, the chain of them, and that commits go on from what the trees hold.

use std::path::Path;

use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::segment::{SealContext, SegmentKind};
use lightning_db_storage::wal::{ScanOutcome, WalPosition, WalSegmentInfo, damaged_places, scan};
use lightning_db_storage::{Result, SequenceNumber, StorageError};

use super::{CheckReport, Phase, Watch, step};

/// Reads the whole log. Behind damage it goes on with the next segment.
///
/// # Errors
/// `Cancelled`.
pub(super) fn check_log(
    ctx: &SealContext,
    manifest: &Manifest,
    watch: Watch<'_>,
    report: &mut CheckReport,
) -> Result<()> {
    let total = manifest.wal.len() as u64;
    let mut done = 0;
    step(watch, Phase::Log, done, total)?;
    for chain in manifest.wal.chunk_by(|a, b| a.incarnation == b.incarnation) {
        let is_own = chain.first().is_some_and(|info| info.incarnation == manifest.incarnation);
        // Of a history that was left nothing is replayed: its log waits for repositories, whatever it begins with.
        let (before, known_through) = if is_own {
            (manifest.log_end, manifest.flushed_sequence)
        } else {
            (None, SequenceNumber(u64::MAX))
        };
        check_chain(ctx, chain, before, known_through, report);
        done += chain.len() as u64;
        step(watch, Phase::Log, done, total)?;
    }
    Ok(())
}

fn check_chain(
    ctx: &SealContext,
    chain: &[WalSegmentInfo],
    mut before: Option<WalPosition>,
    mut known_through: SequenceNumber,
    report: &mut CheckReport,
) {
    let mut rest = chain;
    while !rest.is_empty() {
        match scan(ctx, rest, before, known_through) {
            Ok(outcome) => {
                report.covered.log_segments += rest.len() as u64;
                return note(&outcome, report);
            }
            Err(error) => {
                let damaged = place_of(&error).and_then(|file| {
                    rest.iter().position(|info| ctx.segment_path(SegmentKind::Wal, info.id) == file)
                });
                report.error(error);
                let Some(damaged) = damaged else { return };
                note_further(ctx, &rest[damaged], report);
                report.covered.log_segments += damaged as u64 + 1;
                rest = &rest[damaged + 1..];
                // What is behind can only be held against itself.
                (before, known_through) = (None, SequenceNumber(u64::MAX));
            }
        }
    }
}

/// The places of a damaged segment that are damaged too, behind the one that was reported.
fn note_further(ctx: &SealContext, info: &WalSegmentInfo, report: &mut CheckReport) {
    let path = ctx.segment_path(SegmentKind::Wal, info.id);
    let known = report.findings.last().and_then(|finding| finding.offset);
    // What keeps the segment from being read at all was reported.
    for place in damaged_places(ctx, info).unwrap_or_default() {
        if Some(place) != known {
            report.error(StorageError::corrupt(
                &path,
                place,
                "a log frame is not the one that was written here",
            ));
        }
    }
}

fn note(outcome: &ScanOutcome, report: &mut CheckReport) {
    report.covered.log_commits += outcome.commits;
    if let Some(cut) = &outcome.cut {
        let what = format!(
            "the log ends in {} bytes of a write that a power cut interrupted; none of it was promised",
            cut.discarded_bytes
        );
        report.warning(
            &cut.file,
            Some(cut.offset),
            what,
            "open the database for writing: they are given up then",
        );
    }
}

fn place_of(error: &StorageError) -> Option<&Path> {
    match error {
        StorageError::Corrupt { file, .. } => Some(file),
        StorageError::NotFound { path } | StorageError::Io { path, .. } => Some(path),
        _ => None,
    }
}
