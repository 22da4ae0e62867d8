//! `check DB`

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use lightning_db::{
    CheckDepth, CheckFinding, CheckOptions, CheckPhase, CheckProgress, CheckReport, CheckSeverity,
};
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::output::human::{Count, counted};
use crate::output::progress::Progress;
use crate::session::Session;

/// So many findings are shown to people; JSON has them all.
const SHOWN: usize = 50;

/// What to check.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is written, and the check goes on after the first damage. Damage is exit status 3. The database \
must not be open elsewhere.

Examples:
  lightning-cli check ./mydb
  lightning-cli check ./mydb --deep
  lightning-cli check ./mydb --deep --json"
)]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// Read every byte that counts, not only the frame of each file and tree
    #[arg(long)]
    deep: bool,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let report = session.with_key(|key| {
            let progress = Arc::new(Progress::new(session.output, "checking", 1));
            let watch = move |at: CheckProgress| {
                progress.of(phase_name(at.phase), at.done, at.total);
                true
            };
            let depth = if self.deep { CheckDepth::Deep } else { CheckDepth::Quick };
            let options = CheckOptions { depth, encryption_key: key, progress: Some(Arc::new(watch)) };
            Ok(lightning_db::check(&self.db, &options)?)
        })?;
        session.output.report(Checked { report: &report, deep: self.deep }, &self.object(&report))?;
        if report.is_sound() {
            return Ok(());
        }
        let found = counted(report.errors, "error", "errors");
        Err(Failure::Damaged(format!("{found} found in {}: restore it from a backup", self.db.display())))
    }

    fn object(&self, report: &CheckReport) -> Value {
        let covered = &report.covered;
        json!({
            "sound": report.is_sound(),
            "depth": if self.deep { "deep" } else { "quick" },
            "errors": report.errors,
            "warnings": report.warnings,
            "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
            "covered": {
                "files": covered.files,
                "segments": covered.segments,
                "hashed_bytes": covered.hashed_bytes,
                "trees": covered.trees,
                "pages": covered.pages,
                "entries": covered.entries,
                "large_values": covered.extents,
                "large_value_bytes": covered.extent_bytes,
                "filters": covered.filters,
                "filter_keys": covered.filter_keys,
                "dictionaries": covered.dictionaries,
                "log_segments": covered.log_segments,
                "log_commits": covered.log_commits,
            },
        })
    }
}

fn finding(finding: &CheckFinding) -> Value {
    json!({
        "severity": severity_name(finding.severity),
        "in": phase_name(finding.phase),
        "file": finding.file,
        "offset": finding.offset,
        "what": finding.what,
        "advice": finding.advice,
    })
}

fn severity_name(severity: CheckSeverity) -> &'static str {
    match severity {
        CheckSeverity::Error => "error",
        CheckSeverity::Warning => "warning",
    }
}

fn phase_name(phase: CheckPhase) -> &'static str {
    match phase {
        CheckPhase::Files => "files",
        CheckPhase::Trees => "trees",
        CheckPhase::Log => "log",
    }
}

struct Checked<'a> {
    report: &'a CheckReport,
    deep: bool,
}

impl Checked<'_> {
    fn has_error(&self, phase: CheckPhase) -> bool {
        let is_error =
            |finding: &CheckFinding| finding.severity == CheckSeverity::Error && finding.phase == phase;
        self.report.findings.iter().any(is_error)
    }

    /// Files that nothing refers to: no damage, and what opens the database for writing removes them.
    fn orphans(&self) -> usize {
        let is_orphan = |finding: &&CheckFinding| finding.advice.ends_with("it is removed then");
        self.report.findings.iter().filter(is_orphan).count()
    }
}

impl fmt::Display for Checked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Checking database integrity...")?;
        let files = if self.deep { "Page checksums valid" } else { "Files and headers valid" };
        let trees = if self.deep { "B+Tree structure consistent" } else { "B+Tree roots consistent" };
        line(f, !self.has_error(CheckPhase::Files), files)?;
        line(f, !self.has_error(CheckPhase::Trees), trees)?;
        line(f, !self.has_error(CheckPhase::Log), "Transaction log intact")?;
        match self.orphans() {
            0 => line(f, true, "No orphaned pages")?,
            orphans => {
                writeln!(f, "! Orphaned files: {orphans}; opening the database for writing removes them")?
            }
        }
        for finding in self.report.findings.iter().take(SHOWN) {
            write!(f, "  {}: {}", severity_name(finding.severity), finding.file.display())?;
            if let Some(offset) = finding.offset {
                write!(f, " at byte {offset}")?;
            }
            writeln!(f, ": {}; {}", finding.what, finding.advice)?;
        }
        let more = (self.report.errors + self.report.warnings).saturating_sub(SHOWN as u64);
        if more > 0 {
            writeln!(f, "  and {} more", Count(more))?;
        }
        if !self.report.is_sound() {
            return write!(f, "✗ {}", counted(self.report.errors, "error", "errors"));
        }
        write!(f, "✓ All checks passed")
    }
}

fn line(f: &mut fmt::Formatter<'_>, good: bool, text: &str) -> fmt::Result {
    writeln!(f, "{} {text}", if good { '✓' } else { '✗' })
}
