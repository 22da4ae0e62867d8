//! fjall.

use fjall::config::{CompressionPolicy, FilterPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{
    BACKGROUND_THREADS, Durability, Engine, Session, Settings, Show, ShowOne, WRITE_BUFFER_BYTES, size,
};
use crate::Result;

pub(super) struct Fjall {
    db: Database,
    keyspace: Keyspace,
    cache_bytes: u64,
    durability: Durability,
}

impl Fjall {
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        let db = Database::builder(&settings.directory)
            .cache_size(settings.cache_bytes)
            .worker_threads(BACKGROUND_THREADS)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(WRITE_BUFFER_BYTES as u64);
        let keyspace = db.keyspace("kv", options)?;
        let (cache_bytes, durability) = (settings.cache_bytes, settings.durability);
        Ok(Self { db, keyspace, cache_bytes, durability })
    }
}

impl Engine for Fjall {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let defaults = KeyspaceCreateOptions::default();
        let (filter, compression): (&FilterPolicy, &CompressionPolicy) =
            (&defaults.filter_policy, &defaults.data_block_compression_policy);
        vec![
            ("encryption", "none".into()),
            ("cache_size", size(self.cache_bytes)),
            ("max_memtable_size", size(WRITE_BUFFER_BYTES as u64)),
            ("worker_threads", BACKGROUND_THREADS.to_string()),
            ("filters", format!("{filter:?}, its default")),
            ("compression", format!("{compression:?}, its default; it has LZ4 only")),
            ("persist after a commit", format!("{:?}", self.mode())),
            ("batches of gets", "no call for them: one by one".into()),
            ("everything else", "as by default".into()),
        ]
    }

    fn session(&self, work: &mut dyn FnMut(&mut dyn Session) -> Result<()>) -> Result<()> {
        work(&mut Thread { fjall: self })
    }

    fn settle(&self) -> Result<()> {
        self.keyspace.rotate_memtable_and_wait()?;
        self.keyspace.major_compact()?;
        Ok(())
    }

    fn merges(&self) -> Option<u64> {
        Some(self.db.compactions_completed() as u64)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

impl Fjall {
    fn mode(&self) -> PersistMode {
        match self.durability {
            Durability::Async => PersistMode::Buffer,
            Durability::Sync => PersistMode::SyncData,
        }
    }
}

struct Thread<'a> {
    fjall: &'a Fjall,
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.fjall.keyspace.get(key)?.map(|value| value.to_vec()))
    }

    fn view(&mut self, key: &[u8], show: ShowOne<'_>) -> Result<()> {
        show(self.fjall.keyspace.get(key)?.as_deref())
    }

    fn scan(&mut self, from: &[u8], limit: usize, show: Show<'_>) -> Result<()> {
        for entry in self.fjall.keyspace.range(from..).take(limit) {
            let (key, value) = entry.into_inner()?;
            show(&key, &value)?;
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.fjall.keyspace.insert(key, value)?;
        if self.fjall.durability == Durability::Sync {
            self.fjall.db.persist(self.fjall.mode())?;
        }
        Ok(())
    }

    fn put_batch(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut batch = self.fjall.db.batch().durability(Some(self.fjall.mode()));
        for (key, value) in items {
            batch.insert(&self.fjall.keyspace, key.as_slice(), value.as_slice());
        }
        Ok(batch.commit()?)
    }
}
