//! SQLCipher.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OptionalExtension, Statement};

use super::{Backups, Durability, Engine, KEY, Session, Settings, Show, ShowOne, size};
use crate::Result;

/// Each session has a connection of its own; this one keeps the database open.
pub(super) struct SqlCipher {
    directory: PathBuf,
    cache_bytes: u64,
    durability: Durability,
    first: std::sync::Mutex<Connection>,
}

const FILE: &str = "data.sqlite";

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(60);

impl SqlCipher {
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        fs::create_dir_all(&settings.directory)?;
        let (directory, cache_bytes) = (settings.directory.clone(), settings.cache_bytes);
        let first = connect(&directory.join(FILE), cache_bytes, settings.durability)?;
        first.execute_batch("CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")?;
        let version: String = first.query_row("PRAGMA cipher_version", [], |row| row.get(0))?;
        if version.is_empty() {
            return Err("this SQLite has no cipher".into());
        }
        Ok(Self { directory, cache_bytes, durability: settings.durability, first: first.into() })
    }
}

fn connect(file: &Path, cache_bytes: u64, durability: Durability) -> Result<Connection> {
    let db = Connection::open(file)?;
    let key: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    db.execute_batch(&format!("PRAGMA key = \"x'{key}'\""))?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", synchronous(durability))?;
    db.pragma_update(None, "cache_size", -i64::try_from(cache_bytes >> 10)?)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(db)
}

/// In WAL mode the kernel has a commit's bytes without any sync; `FULL` syncs the log at each commit.
fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Async => "OFF",
        Durability::Sync => "FULL",
    }
}

impl Engine for SqlCipher {
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("encryption", "AES-256-CBC with HMAC-SHA512, raw key".into()),
            ("cache_size", format!("{} for each connection", size(self.cache_bytes))),
            ("journal_mode", "WAL".into()),
            ("synchronous", synchronous(self.durability).into()),
            ("table", "BLOB PRIMARY KEY, WITHOUT ROWID; prepared statements".into()),
            ("batches of gets", "no call for them: one by one".into()),
            ("everything else", "as by default".into()),
        ]
    }

    fn session(&self, work: &mut dyn FnMut(&mut dyn Session) -> Result<()>) -> Result<()> {
        let db = connect(&self.directory.join(FILE), self.cache_bytes, self.durability)?;
        let mut thread = Thread {
            get: db.prepare("SELECT v FROM kv WHERE k = ?1")?,
            put: db.prepare("INSERT INTO kv VALUES (?1, ?2) ON CONFLICT(k) DO UPDATE SET v = excluded.v")?,
            scan: db.prepare("SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k LIMIT ?2")?,
            begin: db.prepare("BEGIN IMMEDIATE")?,
            commit: db.prepare("COMMIT")?,
        };
        work(&mut thread)
    }

    fn has_cache_per_session(&self) -> bool {
        true
    }

    fn settle(&self) -> Result<()> {
        let db = self.first.lock().map_err(|_| "a thread panicked")?;
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn backups(&self) -> Result<&dyn Backups> {
        Ok(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let db = self.first.into_inner().map_err(|_| "a thread panicked")?;
        db.close().map_err(|(_, error)| error.into())
    }
}

impl Backups for SqlCipher {
    fn back_up(&self, repository: &Path) -> Result<()> {
        fs::create_dir_all(repository)?;
        let file = repository.join(FILE);
        let from = self.first.lock().map_err(|_| "a thread panicked")?;
        let mut to = connect(&file, self.cache_bytes, self.durability)?;
        Backup::new(&from, &mut to)?.run_to_completion(1024, Duration::ZERO, None)?;
        to.close().map_err(|(_, error)| error)?;
        Ok(fs::File::open(file)?.sync_all()?)
    }

    fn is_incremental(&self) -> bool {
        false
    }

    fn restore(&self, repository: &Path, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        let target = directory.join(FILE);
        fs::copy(repository.join(FILE), &target)?;
        Ok(fs::File::open(target)?.sync_all()?)
    }
}

struct Thread<'a> {
    get: Statement<'a>,
    put: Statement<'a>,
    scan: Statement<'a>,
    begin: Statement<'a>,
    commit: Statement<'a>,
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get.query_row([key], |row| row.get(0)).optional()?)
    }

    fn view(&mut self, key: &[u8], show: ShowOne<'_>) -> Result<()> {
        let mut rows = self.get.query([key])?;
        match rows.next()? {
            Some(row) => show(Some(row.get_ref(0)?.as_blob()?)),
            None => show(None),
        }
    }

    fn scan(&mut self, from: &[u8], limit: usize, show: Show<'_>) -> Result<()> {
        let mut rows = self.scan.query((from, i64::try_from(limit).unwrap_or(i64::MAX)))?;
        while let Some(row) = rows.next()? {
            show(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?)?;
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put.execute((key, value))?;
        Ok(())
    }

    fn put_batch(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.begin.execute([])?;
        for (key, value) in items {
            self.put.execute((key, value))?;
        }
        self.commit.execute([])?;
        Ok(())
    }
}
