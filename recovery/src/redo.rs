//! What a database's own log adds to its trees, after a crash or a clean end.

use lightning_db_storage::Result;
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::segment::SealContext;
use lightning_db_storage::wal::{CutReport, ScanOutcome, SettledLog, WalSegmentInfo, scan};

use crate::{History, Known, Leg, Moment};

/// The part of the log that counts. Finding it out wrote nothing.
#[derive(Debug)]
pub struct Redo {
    outcome: ScanOutcome,
    flushed: Moment,
}

/// Reads the log of the manifest's incarnation and decides where it ends.
///
/// # Errors
/// `Corrupt` when something that was promised is damaged or missing; what reading can give.
pub fn redo(ctx: &SealContext, manifest: &Manifest) -> Result<Redo> {
    let is_own = |info: &&WalSegmentInfo| info.incarnation == manifest.incarnation;
    let segments: Vec<WalSegmentInfo> = manifest.wal.iter().filter(is_own).cloned().collect();
    let outcome = scan(ctx, &segments, manifest.log_end, manifest.flushed_sequence)?;
    let flushed = Moment {
        incarnation: manifest.incarnation,
        sequence: manifest.flushed_sequence,
        time_micros: manifest.flushed_time_micros,
    };
    Ok(Redo { outcome, flushed })
}

impl Redo {
    /// What the scan of the log found: its end, its restore points, what was cut off.
    #[must_use]
    pub fn outcome(&self) -> &ScanOutcome {
        &self.outcome
    }

    /// What was given up at the end of the log, if anything was.
    #[must_use]
    pub fn cut(&self) -> Option<&CutReport> {
        self.outcome.cut.as_ref()
    }

    /// The commits that are not in the trees yet, in order and without a gap, and the restore points among them.
    ///
    /// # Errors
    /// What opening the log can give.
    pub fn commits(&self, ctx: &SealContext) -> Result<History> {
        let source = Box::new(self.outcome.replay(ctx)?);
        let leg = Leg { incarnation: self.flushed.incarnation, through: None, source };
        let (gaps, restore_points) = (Vec::new(), Vec::new());
        let known = Known { start: self.flushed, gaps, restore_points, complete_until_micros: None };
        Ok(History::new(&known, vec![leg]))
    }

    /// Makes the accepted log durable and says what the manifest is to say of it; see [`ScanOutcome::settle`].
    ///
    /// # Errors
    /// What opening and syncing can give.
    pub fn settle(&self, ctx: &SealContext) -> Result<SettledLog> {
        self.outcome.settle(ctx)
    }
}
