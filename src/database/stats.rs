//! What a database says about itself.

use super::Database;
use crate::error::{Error, Result};
use crate::observe::{DatabaseStats, HealthStatus, MetricsSnapshot};

impl Database {
    /// What the database consists of at this moment.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let path = directory.path().join("mydb");
    /// # let db = lightning_db::Database::create(&path, lightning_db::LightningDbConfig::default())?;
    /// db.put(b"key", b"value")?;
    /// assert_eq!(db.stats()?.total_keys, 1);
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`, and those of listing the directory.
    pub fn stats(&self) -> Result<DatabaseStats> {
        if self.engine.health.is_closed() {
            return Err(Error::Closed);
        }
        self.engine.stats()
    }

    /// Counters since the database was opened, and measures of this moment. With `metrics_enabled` they are published
    /// through the `metrics` facade too.
    #[must_use]
    pub fn get_metrics(&self) -> MetricsSnapshot {
        self.engine.publish_metrics()
    }

    /// Whether the database can do its work: the disk, background work, the history that can be restored. It reads no
    /// data; for that there is a check of all files.
    ///
    /// # Errors
    /// `Closed`.
    pub fn health_check(&self) -> Result<HealthStatus> {
        if self.engine.health.is_closed() {
            return Err(Error::Closed);
        }
        Ok(self.engine.health_status())
    }
}

#[cfg(test)]
mod tests {
    use lightning_db_storage::vfs::MemVfs;

    use super::*;
    use crate::config::LightningDbConfig;
    use crate::environment::Environment;

    #[test]
    fn figures_follow_what_is_done() -> Result<()> {
        let disk = MemVfs::new();
        let environment = Environment { vfs: std::sync::Arc::new(disk.clone()), ..Environment::default() };
        let config = LightningDbConfig { write_buffer_size: 64 << 10, ..LightningDbConfig::default() };
        let db = Database::create_in(environment, "/db", config)?;
        assert_eq!(db.stats()?.total_keys, 0);
        for index in 0..2000u32 {
            db.put(&index.to_be_bytes(), &[1; 100])?;
        }
        for index in 0..500u32 {
            db.delete(&index.to_be_bytes())?;
        }
        db.compact()?;
        let stats = db.stats()?;
        assert_eq!((stats.total_keys, stats.runs, stats.pending_compaction_bytes), (1500, 0, 0));
        assert!(stats.tree_depth >= 2 && stats.pages > 20, "{stats:?}");
        assert!(stats.live_bytes <= stats.size_bytes && stats.compression_ratio > 1.0, "{stats:?}");
        assert!((0.5..=1.0).contains(&stats.page_utilization), "{stats:?}");
        assert_eq!((stats.last_sequence, stats.flushed_sequence), (db.last_sequence(), db.last_sequence()));
        let metrics = db.get_metrics();
        assert_eq!((metrics.writes, metrics.deletes), (2000, 500));
        assert!(metrics.flushes > 0 && metrics.merges > 0 && metrics.wal_bytes > 200_000, "{metrics:?}");
        assert!(metrics.up && metrics.healthy && db.health_check()?.healthy);

        disk.set_capacity(Some(metrics.storage_bytes + (8 << 20)));
        assert!(!db.health_check()?.healthy, "little space is left");
        db.close()?;
        assert!(matches!(db.health_check(), Err(Error::Closed)));
        assert!(!db.get_metrics().up);
        Ok(())
    }
}
