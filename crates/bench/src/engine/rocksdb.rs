//! RocksDB.

use std::path::Path;

use rocksdb::backup::{BackupEngine, BackupEngineOptions, RestoreOptions};
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, CompactOptions, DB, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, Env, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{
    BACKGROUND_THREADS, Backups, Durability, Engine, Session, Settings, Show, ShowOne, ShowOneOf,
    WRITE_BUFFER_BYTES, size,
};
use crate::Result;

pub(super) struct Rocks {
    db: DB,
    cache_bytes: u64,
    durability: Durability,
}

/// Bits of a filter for each key.
const BLOOM_BITS: f64 = 10.0;

impl Rocks {
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        let mut table = BlockBasedOptions::default();
        // No estimate: the cache finds out how large entries are.
        table.set_block_cache(&Cache::new_hyper_clock_cache(usize::try_from(settings.cache_bytes)?, 0));
        table.set_bloom_filter(BLOOM_BITS, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Zstd);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_write_buffer_number(3);
        options.increase_parallelism(i32::try_from(BACKGROUND_THREADS)?);
        // By name, or the crate has no handle of it.
        let families = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
        let db = DB::open_cf_with_opts(&options, &settings.directory, families)?;
        Ok(Self { db, cache_bytes: settings.cache_bytes, durability: settings.durability })
    }
}

impl Engine for Rocks {
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("encryption", "none".into()),
            ("block cache", format!("HyperClock, {}", size(self.cache_bytes))),
            ("bloom filter", format!("{BLOOM_BITS} bits a key")),
            ("compression", "Zstd, all levels".into()),
            ("write buffers", format!("3 of {}", size(WRITE_BUFFER_BYTES as u64))),
            ("background threads", BACKGROUND_THREADS.to_string()),
            ("WriteOptions::sync", (self.durability == Durability::Sync).to_string()),
            ("target-cpu", "as the whole program, see the machine".into()),
            ("everything else", "as by default".into()),
        ]
    }

    fn session(&self, work: &mut dyn FnMut(&mut dyn Session) -> Result<()>) -> Result<()> {
        let mut write = WriteOptions::default();
        write.set_sync(self.durability == Durability::Sync);
        let family = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).ok_or("no default column family")?;
        work(&mut Thread { db: &self.db, family, read: ReadOptions::default(), write })
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    fn backups(&self) -> Result<&dyn Backups> {
        Ok(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.flush_wal(false)?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}

impl Backups for Rocks {
    fn back_up(&self, repository: &Path) -> Result<()> {
        engine(repository)?.create_new_backup_flush(&self.db, true)?;
        Ok(())
    }

    fn is_incremental(&self) -> bool {
        true
    }

    fn restore(&self, repository: &Path, directory: &Path) -> Result<()> {
        engine(repository)?.restore_from_latest_backup(directory, directory, &RestoreOptions::default())?;
        Ok(())
    }
}

fn engine(repository: &Path) -> Result<BackupEngine> {
    let mut options = BackupEngineOptions::new(repository)?;
    options.set_max_background_operations(i32::try_from(BACKGROUND_THREADS)?);
    options.set_sync(true);
    Ok(BackupEngine::open(&options, &Env::new()?)?)
}

struct Thread<'a> {
    db: &'a DB,
    family: &'a ColumnFamily,
    read: ReadOptions,
    write: WriteOptions,
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get_opt(key, &self.read)?)
    }

    fn view(&mut self, key: &[u8], show: ShowOne<'_>) -> Result<()> {
        show(self.db.get_pinned_opt(key, &self.read)?.as_deref())
    }

    fn view_batch(&mut self, keys: &[&[u8]], show: ShowOneOf<'_>) -> Result<()> {
        let values = self.db.batched_multi_get_cf_opt(self.family, keys.iter().copied(), false, &self.read);
        for (index, value) in values.into_iter().enumerate() {
            show(index, value?.as_deref())?;
        }
        Ok(())
    }

    fn get_batch(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let keys = keys.iter().map(Vec::as_slice);
        let values = self.db.batched_multi_get_cf_opt(self.family, keys, false, &self.read);
        values.into_iter().map(|value| Ok(value?.map(|value| value.to_vec()))).collect()
    }

    fn scan(&mut self, from: &[u8], limit: usize, show: Show<'_>) -> Result<()> {
        let mut cursor = self.db.raw_iterator_opt(ReadOptions::default());
        cursor.seek(from);
        for _ in 0..limit {
            let Some((key, value)) = cursor.item() else { break };
            show(key, value)?;
            cursor.next();
        }
        Ok(cursor.status()?)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn put_batch(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in items {
            batch.put(key, value);
        }
        Ok(self.db.write_opt(batch, &self.write)?)
    }
}
