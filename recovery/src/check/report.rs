//! What a check found, and what it looked at.

use std::path::{Path, PathBuf};

use lightning_db_storage::StorageError;

use super::Phase;

/// So many findings are kept; the rest are counted.
const MAX_FINDINGS: usize = 10_000;

const RESTORE: &str = "restore the database from a backup";

/// The outcome of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// What was read.
    pub covered: Covered,
    /// What is wrong, in the order in which it was found. No more than 10,000.
    pub findings: Vec<Finding>,
    /// How many errors were found, those included that are not listed.
    pub errors: u64,
    /// How many warnings were found, those included that are not listed.
    pub warnings: u64,
    /// What findings are about that are added now.
    pub(super) phase: Phase,
}

/// What a check looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Covered {
    /// Names in the directory.
    pub files: u64,
    /// Segments of pages and values.
    pub segments: u64,
    /// Bytes of segments that were hashed whole.
    pub hashed_bytes: u64,
    /// Trees: bases and runs, those of checkpoints and those kept for backups included.
    pub trees: u64,
    /// Pages.
    pub pages: u64,
    /// Entries in them.
    pub entries: u64,
    /// Large values.
    pub extents: u64,
    /// Bytes of large values.
    pub extent_bytes: u64,
    /// Filters.
    pub filters: u64,
    /// Keys that were looked up in their filters.
    pub filter_keys: u64,
    /// Compression dictionaries.
    pub dictionaries: u64,
    /// Log segments.
    pub log_segments: u64,
    /// Commits in the log.
    pub log_commits: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Data is damaged or missing, or may come to be; or the record of what was done with keys is.
    Error,
    /// No data is affected.
    Warning,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was being looked at.
    pub phase: Phase,
    /// The file, or what stands for it.
    pub file: PathBuf,
    /// Where in the file, if it is about a place.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

impl CheckReport {
    /// Whether nothing was found that affects data, or the record of what was done with keys.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.errors == 0
    }

    /// Takes out the findings that `is_void` holds of.
    pub fn retract(&mut self, is_void: impl Fn(&Finding) -> bool) {
        let (errors, warnings) = (&mut self.errors, &mut self.warnings);
        self.findings.retain(|finding| {
            let stays = !is_void(finding);
            match finding.severity {
                Severity::Error => *errors -= u64::from(!stays),
                Severity::Warning => *warnings -= u64::from(!stays),
            }
            stays
        });
    }

    /// Adds damage.
    pub(super) fn error(&mut self, error: StorageError) {
        let (file, offset, what, advice) = parts(error);
        self.add(Finding { severity: Severity::Error, phase: self.phase, file, offset, what, advice });
    }

    /// Adds damage to the audit log, which a backup does not mend: all data may be there.
    pub(super) fn audit_error(&mut self, file: &Path, what: String) {
        let advice = "find out who changed it: no data is in it, so there is nothing to restore; the next open for writing \
                      sets it aside and begins another";
        let (severity, phase, file) = (Severity::Error, self.phase, file.to_path_buf());
        self.add(Finding { severity, phase, file, offset: None, what, advice });
    }

    /// Adds what affects no data.
    pub(super) fn warning(
        &mut self,
        file: &Path,
        offset: Option<u64>,
        what: impl Into<String>,
        advice: &'static str,
    ) {
        let (file, what) = (file.to_path_buf(), what.into());
        self.add(Finding { severity: Severity::Warning, phase: self.phase, file, offset, what, advice });
    }

    fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Adds what another check found and looked at in this phase.
    pub(super) fn absorb(&mut self, other: Self) {
        self.covered = self.covered.plus(&other.covered);
        self.errors += other.errors;
        self.warnings += other.warnings;
        let room = MAX_FINDINGS.saturating_sub(self.findings.len());
        let phase = self.phase;
        self.findings
            .extend(other.findings.into_iter().take(room).map(|finding| Finding { phase, ..finding }));
    }
}

impl Covered {
    fn plus(&self, other: &Self) -> Self {
        Self {
            files: self.files + other.files,
            segments: self.segments + other.segments,
            hashed_bytes: self.hashed_bytes + other.hashed_bytes,
            trees: self.trees + other.trees,
            pages: self.pages + other.pages,
            entries: self.entries + other.entries,
            extents: self.extents + other.extents,
            extent_bytes: self.extent_bytes + other.extent_bytes,
            filters: self.filters + other.filters,
            filter_keys: self.filter_keys + other.filter_keys,
            dictionaries: self.dictionaries + other.dictionaries,
            log_segments: self.log_segments + other.log_segments,
            log_commits: self.log_commits + other.log_commits,
        }
    }
}

/// File, place, text and advice of an error.
fn parts(error: StorageError) -> (PathBuf, Option<u64>, String, &'static str) {
    match error {
        StorageError::Corrupt { file, offset, what } => (file, Some(offset), what, RESTORE),
        StorageError::NotFound { path } => (path, None, "it is missing".into(), RESTORE),
        StorageError::Io { action, path, source } => {
            let advice = "look at the disk and at the permissions, and check again";
            (path, None, format!("could not {action} it: {source}"), advice)
        }
        other => (PathBuf::new(), None, other.to_string(), RESTORE),
    }
}
