//! The files of a directory: whether each is there, is what it should be, and is all that is there.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use lightning_db_storage::audit::{self, AuditLog};
use lightning_db_storage::compress::Dictionary;
use lightning_db_storage::directory::{self, AUDIT_FILE, FileEntry, FileRole, KEYRING_FILES, MANIFEST_FILES};
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{Manifest, ManifestStore};
use lightning_db_storage::pointer::{BlockKind, BlockSource};
use lightning_db_storage::segment::{
    ReadMode, SealContext, SegmentInfo, SegmentKind, SegmentReader, Segments,
};
use lightning_db_storage::vfs::Vfs;
use lightning_db_storage::{Result, SegmentId, StorageError};

use super::{CheckReport, Depth, Phase, Use, Watch, step};

/// Whether anything in the directory is of a database.
///
/// # Errors
/// `NotFound` when nothing is.
pub(super) fn require_database(vfs: &dyn Vfs, directory: &Path) -> Result<()> {
    let is_of_one = |entry: &FileEntry| {
        matches!(entry.role, FileRole::Segment { .. } | FileRole::Manifest | FileRole::Keyring)
    };
    if directory::list(vfs, directory)?.iter().any(is_of_one) {
        return Ok(());
    }
    Err(StorageError::NotFound { path: directory.join(MANIFEST_FILES[0]) })
}

/// Looks for files that are not the database's, and at who may read those that are.
pub(super) fn check_directory_entries(
    ctx: &SealContext,
    manifest: &Manifest,
    usage: Use,
    report: &mut CheckReport,
) {
    let entries = match directory::list(&*ctx.vfs, &ctx.directory) {
        Ok(entries) => entries,
        Err(error) => return report.error(error),
    };
    let pages = manifest.segments.iter().map(|info| (info.kind, info.id));
    let log = manifest.wal.iter().map(|info| (SegmentKind::Wal, info.id));
    let known: HashSet<(SegmentKind, SegmentId)> = pages.chain(log).collect();
    check_permissions(ctx, &ctx.directory, 0o700, report);
    for FileEntry { name, role, .. } in entries {
        let path = ctx.directory.join(name);
        report.covered.files += 1;
        match role {
            FileRole::Foreign => {
                let advice = "move it elsewhere if it does not belong here";
                report.warning(&path, None, "it is not a file of the database", advice);
                continue;
            }
            FileRole::Segment { .. } | FileRole::Temporary if usage == Use::Open => {}
            FileRole::Segment { kind, id } if !known.contains(&(kind, id)) => {
                let what = "an orphan: nothing refers to this segment; an interrupted operation left it";
                report.warning(&path, None, what, "open the database for writing: it is removed then");
            }
            FileRole::Temporary => {
                let what = "the next content of this file was being written when the process ended";
                report.warning(&path, None, what, "open the database for writing: it is removed then");
            }
            FileRole::Segment { .. }
            | FileRole::Manifest
            | FileRole::Keyring
            | FileRole::Lock
            | FileRole::Reserve
            | FileRole::Audit => {}
        }
        check_permissions(ctx, &path, 0o600, report);
    }
}

fn check_permissions(ctx: &SealContext, path: &Path, expected: u32, report: &mut CheckReport) {
    let mode = ctx.vfs.metadata(path).ok().and_then(|metadata| metadata.mode);
    if let Some(mode) = mode.filter(|mode| mode & 0o077 != 0) {
        let what = format!("others than its owner have access (mode {:o}, not {expected:o})", mode & 0o777);
        report.warning(path, None, what, "take the access of group and others away with chmod go=");
    }
}

/// Compares the audit log with what the manifest says of its end.
pub(super) fn check_audit(ctx: &SealContext, manifest: &Manifest, usage: Use, report: &mut CheckReport) {
    let path = ctx.directory.join(AUDIT_FILE);
    match audit::read(&*ctx.vfs, &ctx.directory, &ctx.keyring.read(), manifest.audit) {
        Err(error) => report.error(error),
        Ok(AuditLog { problem: Some(problem), .. }) => {
            report.audit_error(&path, format!("the audit log: {problem}"));
        }
        Ok(AuditLog { trailing: 1.., head, part, .. })
            if usage == Use::Closed && manifest.audit.is_some() =>
        {
            let what = "behind the newest entry is what a crash left";
            report.warning(
                &ctx.directory.join(audit::file_name(part)),
                Some(head.length),
                what,
                "open the database for writing: it is cut off then",
            );
        }
        Ok(_) => {}
    }
}

/// Reads both copies of keyring and manifest.
pub(super) fn check_twins(ctx: &SealContext, report: &mut CheckReport) {
    let keyring = || {
        let loaded = KeyringStore::new(Arc::clone(&ctx.vfs), &ctx.directory).peek()?;
        Ok(loaded.twin_problem)
    };
    check_twin(ctx, KEYRING_FILES, &keyring, report);
    let manifest = || {
        let loaded = ManifestStore::load(&ctx.vfs, &ctx.directory, &ctx.keyring.read())?;
        Ok(loaded.twin_problem)
    };
    check_twin(ctx, MANIFEST_FILES, &manifest, report);
}

fn check_twin(
    ctx: &SealContext,
    names: [&str; 2],
    load: &dyn Fn() -> Result<Option<StorageError>>,
    report: &mut CheckReport,
) {
    // A database that is open may be between the two renames: the second look tells.
    let looked = match load() {
        Ok(None) => return,
        _ => load(),
    };
    match looked {
        Ok(None) => {}
        Ok(Some(problem)) => {
            let path = ctx.directory.join(names[0]);
            let (path, offset, what) = match problem {
                StorageError::Corrupt { file, offset, what } => (file, Some(offset), what),
                StorageError::NotFound { path } => (path, None, "it is missing".into()),
                other => (path, None, other.to_string()),
            };
            let what = format!("{what}; its twin is whole");
            report.warning(
                &path,
                offset,
                what,
                "open the database for writing: both copies are written anew",
            );
        }
        Err(error) => report.error(error),
    }
}

/// Opens every segment of pages and values; deep, reads them whole. Returns those that could be opened.
///
/// # Errors
/// `Cancelled`.
pub(super) fn check_segments(
    ctx: &SealContext,
    manifest: &Manifest,
    depth: Depth,
    watch: Watch<'_>,
    report: &mut CheckReport,
) -> Result<Segments> {
    let segments = Segments::new();
    let total = manifest.segments.iter().map(|info| info.length).sum();
    let mut done = 0;
    for info in &manifest.segments {
        step(watch, Phase::Files, done, total)?;
        report.covered.segments += 1;
        match SegmentReader::open(ctx, info, ReadMode { map: false }) {
            Err(error) => report.error(error),
            Ok(reader) => {
                if depth == Depth::Deep {
                    check_content(&reader, info, report);
                }
                segments.insert(info.id, Arc::new(reader));
                check_dictionary(ctx, &segments, info, report);
            }
        }
        done += info.length;
    }
    step(watch, Phase::Files, done, total)?;
    Ok(segments)
}

fn check_content(reader: &SegmentReader, info: &SegmentInfo, report: &mut CheckReport) {
    report.covered.hashed_bytes += info.length;
    if let Err(error) = reader.verify(info) {
        report.error(error);
    }
}

fn check_dictionary(ctx: &SealContext, segments: &Segments, info: &SegmentInfo, report: &mut CheckReport) {
    let Some(ptr) = &info.dictionary else { return };
    report.covered.dictionaries += 1;
    match segments.read_block(BlockKind::Dictionary, ptr) {
        Err(error) => report.error(error),
        Ok(bytes) => {
            if let Err(malformed) = Dictionary::from_bytes(bytes) {
                let file = ctx.segment_path(info.kind, info.id);
                report.error(StorageError::corrupt(file, ptr.offset, malformed.to_string()));
            }
        }
    }
}
