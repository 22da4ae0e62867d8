//! What is shown to people: figures that are right, and no secrets.

use std::time::Duration;

use lightning_db::{DatabaseStats, WalSyncMode};
use lightning_db_sync::thread;

use super::client::Client;
use super::run::{CANARY, Step, Stop, bug, contains};

impl Client<'_> {
    /// Looks at figures.
    pub(crate) fn observe(&mut self) -> Step {
        let (low, strikes) = (self.now(), self.process.strikes());
        let stats = self.process.expect_since(strikes, "stats", self.db.stats())?;
        if let Some(stats) = &stats {
            self.compare_figures(low, stats)?;
        }
        let shown = format!(
            "{:?} {stats:?} {:?} {:?} {:?}",
            self.db.get_metrics(),
            self.db.health_check(),
            self.db,
            self.run.config
        );
        for secret in [&super::config::KEY[1..], CANARY] {
            if contains(shown.as_bytes(), secret) {
                return bug(format!("what is shown tells a secret: {shown}"));
            }
        }
        if self.process.crashed() { Err(Stop::Crashed) } else { Ok(()) }
    }

    fn compare_figures(&self, low: u64, stats: &DatabaseStats) -> Step {
        let newest = stats.last_sequence.0;
        let is_newest = (low..=self.now()).contains(&newest);
        let is_flushed = stats.flushed_sequence.0 <= self.now();
        let is_sealed = stats.encrypted == self.run.config.encryption_enabled;
        let has_sizes = stats.wal_bytes <= stats.size_bytes;
        let mut is_right = is_newest && is_flushed && is_sealed && has_sizes;
        if self.process.is_alone {
            let points = &self.run.world().points;
            let named = points.unsure.is_empty().then_some(points.named.len() as u64);
            is_right &= named.is_none_or(|named| named == stats.named_checkpoints);
            // Some of them may have timed out.
            is_right &= stats.active_transactions <= self.open.len() as u64;
        }
        if is_right || self.process.crashed() {
            return Ok(());
        }
        bug(format!("the figures are not right, with {} as newest commit: {stats:?}", self.now()))
    }

    /// Does nothing for a while, in which work in the background goes on. What `Periodic` promises is true then.
    pub(crate) fn rest(&mut self) -> Step {
        let newest = self.now();
        let WalSyncMode::Periodic(period) = self.run.config.wal_sync_mode else {
            thread::sleep(Duration::from_millis(1 + self.random.below(200)));
            return if self.process.crashed() { Err(Stop::Crashed) } else { Ok(()) };
        };
        // The thread that syncs may be held up for long.
        let is_long = self.random.once_in(3);
        thread::sleep(if is_long { 20 * period + Duration::from_secs(3) } else { period });
        if self.process.crashed() {
            return Err(Stop::Crashed);
        }
        if is_long && self.process.strikes() == 0 && self.run.config.wal_enabled {
            self.run.hit("rest/after which Periodic has synced");
            self.run.world().oracle.promise(newest);
            // What was promised is best asked for at once.
            if self.process.may_crash && self.random.once_in(2) {
                self.process.plan.crash_at(self.random.below(8));
            }
        }
        Ok(())
    }
}
