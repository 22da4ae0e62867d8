//! redb.

use std::fs;

use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{Engine, Session, Settings, Show, ShowOne, size};
use crate::Result;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kv");

pub(super) struct Redb {
    db: Database,
    cache_bytes: u64,
}

impl Redb {
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        fs::create_dir_all(&settings.directory)?;
        let mut builder = Database::builder();
        builder.set_cache_size(usize::try_from(settings.cache_bytes)?);
        let db = builder.create(settings.directory.join("data.redb"))?;
        let txn = db.begin_write()?;
        txn.open_table(TABLE)?;
        txn.commit()?;
        Ok(Self { db, cache_bytes: settings.cache_bytes })
    }
}

impl Engine for Redb {
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("encryption", "none".into()),
            ("cache_size", size(self.cache_bytes)),
            ("durability", "Immediate, always: without it a killed process loses commits".into()),
            ("read transaction", "one held until the thread writes".into()),
            ("batches of gets", "no call for them: one by one".into()),
            ("everything else", "as by default".into()),
        ]
    }

    fn session(&self, work: &mut dyn FnMut(&mut dyn Session) -> Result<()>) -> Result<()> {
        work(&mut Thread { db: &self.db, held: None })
    }

    /// What it leaves for later, `compact`, needs the database for itself, and gives back space only.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}

struct Thread<'a> {
    db: &'a Database,
    held: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl Thread<'_> {
    fn table(&mut self) -> Result<&ReadOnlyTable<&'static [u8], &'static [u8]>> {
        let held = match self.held.take() {
            Some(held) => held,
            None => self.db.begin_read()?.open_table(TABLE)?,
        };
        Ok(self.held.insert(held))
    }

    fn write(&mut self, write: impl FnOnce(&WriteTransaction) -> Result<()>) -> Result<()> {
        self.held = None;
        let txn = self.db.begin_write()?;
        write(&txn)?;
        Ok(txn.commit()?)
    }
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.table()?.get(key)?.map(|value| value.value().to_vec()))
    }

    fn view(&mut self, key: &[u8], show: ShowOne<'_>) -> Result<()> {
        show(self.table()?.get(key)?.as_ref().map(redb::AccessGuard::value))
    }

    fn scan(&mut self, from: &[u8], limit: usize, show: Show<'_>) -> Result<()> {
        for entry in self.table()?.range(from..)?.take(limit) {
            let (key, value) = entry?;
            show(key.value(), value.value())?;
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(|txn| {
            txn.open_table(TABLE)?.insert(key, value)?;
            Ok(())
        })
    }

    fn put_batch(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.write(|txn| {
            let mut table = txn.open_table(TABLE)?;
            for (key, value) in items {
                table.insert(key.as_slice(), value.as_slice())?;
            }
            Ok(())
        })
    }
}
