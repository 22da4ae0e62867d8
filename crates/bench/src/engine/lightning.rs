//! lightning_db, as its defaults are but for the cache and what commits wait for.

use std::path::Path;
use std::sync::Arc;

use lightning_db::{Database, KeySource, LightningDbConfig, RestoreOptions, WalSyncMode};

use super::{
    BACKGROUND_THREADS, Backups, Durability, Engine, KEY, Session, Settings, Show, ShowOne, ShowOneOf,
    WRITE_BUFFER_BYTES, size,
};
use crate::Result;

pub(super) struct Lightning {
    db: Arc<Database>,
    config: LightningDbConfig,
}

impl Lightning {
    pub(super) fn open(settings: &Settings, is_encrypted: bool) -> Result<Self> {
        let config = LightningDbConfig {
            cache_size: usize::try_from(settings.cache_bytes)?,
            write_buffer_size: WRITE_BUFFER_BYTES,
            parallel_compaction_workers: BACKGROUND_THREADS,
            wal_sync_mode: match settings.durability {
                Durability::Async => WalSyncMode::Async,
                Durability::Sync => WalSyncMode::Sync,
            },
            encryption_enabled: is_encrypted,
            encryption_key: if is_encrypted { KeySource::raw(KEY) } else { KeySource::none() },
            ..Default::default()
        };
        let is_there = settings.directory.read_dir().is_ok_and(|mut files| files.next().is_some());
        let open = if is_there { Database::open } else { Database::create };
        Ok(Self { db: open(&settings.directory, config.clone())?, config })
    }
}

impl Engine for Lightning {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        vec![
            ("encryption", if config.encryption_enabled { "AES-256-GCM" } else { "none (checksums)" }.into()),
            ("cache_size", size(config.cache_size as u64)),
            ("write_buffer_size", size(config.write_buffer_size as u64)),
            ("wal_sync_mode", format!("{:?}", config.wal_sync_mode)),
            ("improved_wal", config.improved_wal.to_string()),
            ("compression", format!("adaptive, level {}, dictionaries", config.compression_level)),
            ("page_size", config.page_size.to_string()),
            ("mmap_size", format!("{:?}", config.mmap_size)),
            ("parallel_compaction_workers", config.parallel_compaction_workers.to_string()),
            ("prefetch", format!("{} workers, {} pages", config.prefetch_workers, config.prefetch_distance)),
            ("metrics_enabled", config.metrics_enabled.to_string()),
        ]
    }

    fn session(&self, work: &mut dyn FnMut(&mut dyn Session) -> Result<()>) -> Result<()> {
        work(&mut Thread { db: &self.db })
    }

    fn settle(&self) -> Result<()> {
        Ok(self.db.compact()?)
    }

    fn merges(&self) -> Option<u64> {
        Some(self.db.get_metrics().merges)
    }

    fn backups(&self) -> Result<&dyn Backups> {
        Ok(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}

impl Backups for Lightning {
    fn back_up(&self, repository: &Path) -> Result<()> {
        self.db.backup(repository)?;
        Ok(())
    }

    fn is_incremental(&self) -> bool {
        true
    }

    fn restore(&self, repository: &Path, directory: &Path) -> Result<()> {
        let encryption_key = self.config.encryption_key.clone();
        Database::restore(repository, directory, RestoreOptions { encryption_key, ..Default::default() })?;
        Ok(())
    }
}

struct Thread<'a> {
    db: &'a Database,
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get(key)?)
    }

    fn view(&mut self, key: &[u8], show: ShowOne<'_>) -> Result<()> {
        show(self.db.get_pinned(key)?.as_deref())
    }

    fn view_batch(&mut self, keys: &[&[u8]], show: ShowOneOf<'_>) -> Result<()> {
        let mut outcome = Ok(());
        self.db.get_batch_with(keys, |index, value| {
            if let Err(error) = show(index, value) {
                outcome = Err(error);
            }
        })?;
        outcome
    }

    fn get_batch(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        Ok(self.db.get_batch(keys)?)
    }

    fn scan(&mut self, from: &[u8], limit: usize, show: Show<'_>) -> Result<()> {
        let mut cursor = self.db.cursor(Some(from), None)?;
        for _ in 0..limit {
            let Some((key, value)) = cursor.next()? else { break };
            show(key, value)?;
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put(key, value)?)
    }

    fn put_batch(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        Ok(self.db.put_batch(items)?)
    }
}
