//! LMDB.

use std::fs;
use std::ops::Bound;
use std::path::Path;

use heed3::types::Bytes;
use heed3::{CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};

use super::{Backups, Durability, Engine, Session, Settings, Show, ShowOne, size};
use crate::Result;

pub(super) struct Lmdb {
    env: Env<WithoutTls>,
    table: Database<Bytes, Bytes>,
    durability: Durability,
    /// Whether a read transaction is held until the session writes, or is made for each read.
    holds: bool,
    map_bytes: usize,
}

impl Lmdb {
    pub(super) fn open(settings: &Settings, holds: bool) -> Result<Self> {
        fs::create_dir_all(&settings.directory)?;
        let map_bytes =
            usize::try_from((8 * settings.data_bytes_max).max(1 << 30))?.next_multiple_of(1 << 20);
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_bytes).max_readers(64);
        if settings.durability == Durability::Async {
            #[expect(unsafe_code, reason = "heed says so of any flag that weakens durability")]
            // SAFETY: without syncs a power cut can damage the file; the benchmark's files do not outlive it.
            unsafe {
                options.flags(EnvFlags::NO_SYNC);
            }
        }
        #[expect(unsafe_code, reason = "LMDB maps its file")]
        // SAFETY: nobody else opens or changes the files of the benchmark's own directory while it runs.
        let env = unsafe { options.open(&settings.directory)? };
        let mut txn = env.write_txn()?;
        let table = env.create_database(&mut txn, None)?;
        txn.commit()?;
        Ok(Self { env, table, durability: settings.durability, holds, map_bytes })
    }
}

impl Engine for Lmdb {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let reads = if self.holds { "one held until the thread writes" } else { "one for each read" };
        vec![
            ("encryption", "none".into()),
            ("cache", "the kernel's, without limit".into()),
            ("read transaction", reads.into()),
            ("MDB_NOSYNC", (self.durability == Durability::Async).to_string()),
            ("map size", size(self.map_bytes as u64)),
            ("batches of gets", "no call for them: one by one".into()),
            ("everything else", "as by default".into()),
        ]
    }

    fn session(&self, work: &mut dyn FnMut(&mut dyn Session) -> Result<()>) -> Result<()> {
        work(&mut Thread { lmdb: self, held: None })
    }

    fn settle(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn backups(&self) -> Result<&dyn Backups> {
        Ok(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

impl Backups for Lmdb {
    fn back_up(&self, repository: &Path) -> Result<()> {
        fs::create_dir_all(repository)?;
        let copy = self.env.copy_to_path(repository.join("data.mdb"), CompactionOption::Disabled)?;
        Ok(copy.sync_all()?)
    }

    fn is_incremental(&self) -> bool {
        false
    }

    fn restore(&self, repository: &Path, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        let target = directory.join("data.mdb");
        fs::copy(repository.join("data.mdb"), &target)?;
        Ok(fs::File::open(target)?.sync_all()?)
    }
}

struct Thread<'a> {
    lmdb: &'a Lmdb,
    held: Option<RoTxn<'a, WithoutTls>>,
}

impl<'a> Thread<'a> {
    /// Calls `read` with a transaction, the held one if transactions are held.
    fn read<T>(&mut self, read: impl FnOnce(&RoTxn<'a, WithoutTls>, &Lmdb) -> Result<T>) -> Result<T> {
        if !self.lmdb.holds {
            return read(&self.lmdb.env.read_txn()?, self.lmdb);
        }
        let held = match self.held.take() {
            Some(held) => held,
            None => self.lmdb.env.read_txn()?,
        };
        read(self.held.insert(held), self.lmdb)
    }
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(|txn, lmdb| Ok(lmdb.table.get(txn, key)?.map(<[u8]>::to_vec)))
    }

    fn view(&mut self, key: &[u8], show: ShowOne<'_>) -> Result<()> {
        self.read(|txn, lmdb| show(lmdb.table.get(txn, key)?))
    }

    fn scan(&mut self, from: &[u8], limit: usize, show: Show<'_>) -> Result<()> {
        self.read(|txn, lmdb| {
            let bounds = (Bound::Included(from), Bound::Unbounded);
            for entry in lmdb.table.range(txn, &bounds)?.take(limit) {
                let (key, value) = entry?;
                show(key, value)?;
            }
            Ok(())
        })
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.held = None;
        let mut txn = self.lmdb.env.write_txn()?;
        self.lmdb.table.put(&mut txn, key, value)?;
        Ok(txn.commit()?)
    }

    fn put_batch(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.held = None;
        let mut txn = self.lmdb.env.write_txn()?;
        for (key, value) in items {
            self.lmdb.table.put(&mut txn, key, value)?;
        }
        Ok(txn.commit()?)
    }
}
