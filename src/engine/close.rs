//! Closing: everything to files, a log that says that it ended, and the lock given back.

use super::Engine;
use crate::error::Result;

impl Engine {
    /// Writes out everything, ends the log, and stops. Later calls wait for the first, and return what it does.
    ///
    /// # Errors
    /// The first failure. The log then has what could not be written, and the next open replays it. `Poisoned` when
    /// writing had ended before: what was not synced by then may be lost.
    pub(crate) fn close(&self) -> Result<()> {
        self.closed.lock().get_or_insert_with(|| self.end()).clone()
    }

    fn end(&self) -> Result<()> {
        // From here on no commit begins; one that is under way ends before the flush takes the writer.
        self.health.close();
        let _span = tracing::info_span!("close", directory = %self.ctx.directory.display()).entered();
        let outcome = match self.health.poisoned() {
            _ if self.read_only => Ok(()),
            Some(poisoned) => Err(poisoned),
            None => self.wind_down(),
        };
        self.signals.stop();
        self.reader.close();
        // A backup, a merge or a change of keys may end later than this: what it knows of the files is not theirs then.
        self.catalog.close();
        self.audit.close();
        let _keys_at_rest = self.keyring_store.lock();
        if self.config.metrics_enabled {
            self.publish_metrics();
        }
        self.lock.lock().take();
        outcome
    }

    fn wind_down(&self) -> Result<()> {
        self.flush_all()?;
        self.signals.stop();
        let Some(log) = self.commits.take_log() else { return Ok(()) };
        let finished = log.finish().map_err(|error| self.write_failed(error))?;
        self.commits.finished_segments.lock().push(finished);
        let unused = self.commits.ready_segment.lock().take().map(|segment| segment.info().id);
        self.change_manifest(|manifest| manifest.wal.retain(|info| Some(info.id) != unused))?;
        super::log::remove_log_files(&self.ctx, &unused.into_iter().collect::<Vec<_>>());
        Ok(())
    }
}
