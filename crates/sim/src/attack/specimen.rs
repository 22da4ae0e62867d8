//! What is attacked: a small database with something of every kind in it, at several moments of its life, and its
//! repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db::{Database, KeySource, LightningDbConfig, Result, Vfs};
use lightning_db_storage::vfs::{MemVfs, OpenHow};

use crate::machine::Machine;

/// Where databases are.
pub(super) const DATABASE: &str = "/db";
/// Where repositories are.
pub(super) const REPOSITORY: &str = "/repository";

/// Content of a database.
pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const KEY: [u8; 32] = *b"\x91KEY-bytes-that-must-not-be-seen";

/// One state of a disk, and what the database on it must hold.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) disk: MemVfs,
    /// The number of the newest commit.
    pub(super) newest: u64,
}

/// A life of a database. All moments are of one database and one repository, the oldest first.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) config: LightningDbConfig,
    /// What the database held after each commit.
    pub(super) states: BTreeMap<u64, Model>,
    /// Closed, with a base and large values, before anything was backed up.
    pub(super) first: Moment,
    /// Closed, after a full backup and an increment, with other keys.
    pub(super) second: Moment,
    /// Closed, after a third backup.
    pub(super) closed: Moment,
    /// Killed: some commits are in the log only.
    pub(super) midway: Moment,
    /// Killed a little later: the last commits are not synced.
    pub(super) killed: Moment,
    /// The number of the newest commit that was synced when it was killed.
    pub(super) synced: u64,
    /// The disk when that one was the newest.
    pub(super) synced_disk: MemVfs,
    /// The newest commit in the repository.
    pub(super) backed_up: u64,
    /// The newest commit in the repository at the moment of `second`.
    pub(super) second_backed_up: u64,
    /// Closed at the moment of `second`, and then written to by somebody else.
    pub(super) elsewhere: Moment,
    /// What is in it.
    pub(super) elsewhere_state: Model,
}

/// How a database is configured that is attacked.
pub(super) fn config(encrypted: bool) -> LightningDbConfig {
    LightningDbConfig {
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        max_retained_log: 1 << 20,
        page_size: 1024,
        cache_size: 64 << 10,
        prefetch_enabled: false,
        metrics_enabled: false,
        encryption_enabled: encrypted,
        encryption_key: if encrypted { KeySource::raw(KEY) } else { KeySource::none() },
        background_compaction: false,
        compression_type: 1,
        ..LightningDbConfig::default()
    }
}

impl Story {
    /// Lives a life. `rows` is how much of everything there is; from some 3,000 on there is a dictionary.
    ///
    /// # Errors
    /// Those of the database: none is expected.
    pub(super) fn tell(seed: u64, config: &LightningDbConfig, rows: u32) -> Result<Self> {
        let machine = Machine::new(seed);
        let mut teller = Teller::create(machine, config.clone(), seed)?;
        teller.begin(rows)?;
        let first = teller.moment()?;
        teller.back_up_twice(rows)?;
        let second_backed_up = teller.database().last_sequence().0;
        let second = teller.moment()?;
        let (elsewhere, elsewhere_state) = Self::elsewhere(&second, &teller, seed)?;
        let backed_up = teller.go_back_and_on(rows)?;
        let closed = teller.moment()?;
        let (synced, synced_disk) = teller.leave_in_log()?;
        let midway = teller.now();
        for index in 0..3 {
            teller.put(index, 17, 9)?;
        }
        // Its frame takes 128 bytes: one flipped bit makes that length zero.
        teller.put(3, 17, 33)?;
        let killed = teller.now();
        teller.machine.kill();
        let Teller { states, .. } = teller;
        Ok(Self {
            config: config.clone(),
            states,
            first,
            second,
            closed,
            midway,
            killed,
            synced,
            synced_disk,
            backed_up,
            second_backed_up,
            elsewhere,
            elsewhere_state,
        })
    }

    /// Another continuation of the database at `from`, on another machine.
    fn elsewhere(from: &Moment, teller: &Teller, seed: u64) -> Result<(Moment, Model)> {
        let machine = Machine::with_disk(seed ^ 0xe15e, from.disk.fork());
        let mut other = Teller {
            machine,
            config: teller.config.clone(),
            seed: seed + 77,
            db: None,
            states: BTreeMap::new(),
            model: teller.model.clone(),
        };
        other.reopen()?;
        other.batch(0..12, 5, 30)?;
        other.database().compact()?;
        other.batch(5..9, 6, 30)?;
        Ok((other.moment()?, other.model.clone()))
    }

    /// What is in the database at a commit.
    pub(super) fn state(&self, sequence: u64) -> Option<&Model> {
        self.states.get(&sequence)
    }
}

/// Tells a story: works on a database and remembers what it must hold.
struct Teller {
    machine: Machine,
    config: LightningDbConfig,
    seed: u64,
    db: Option<Arc<Database>>,
    states: BTreeMap<u64, Model>,
    model: Model,
}

impl Teller {
    fn create(machine: Machine, config: LightningDbConfig, seed: u64) -> Result<Self> {
        let db = Database::create_in(machine.environment(), DATABASE, config.clone())?;
        let model = Model::new();
        let states = BTreeMap::from([(0, model.clone())]);
        Ok(Self { machine, config, seed, db: Some(db), states, model })
    }

    /// Pages with large values in a base, and a checkpoint that keeps some of it.
    fn begin(&mut self, rows: u32) -> Result<()> {
        for round in 0..=(rows / 400) {
            self.batch(round * 400..((round + 1) * 400).min(rows), 1, 40)?;
        }
        self.large_value(b"large", 65_536)?;
        let db = self.database();
        db.checkpoint()?;
        db.compact()?;
        self.database().create_named_checkpoint("kept")?;
        self.batch(3..9, 2, 40)?;
        self.large_value(b"large", 65_600)?;
        self.database().compact()
    }

    /// Another key and another data key, a full backup, and an increment with a restore point.
    fn back_up_twice(&mut self, rows: u32) -> Result<()> {
        if self.config.encryption_enabled {
            let slot = self.database().add_key(KeySource::raw([7; 32]), "spare")?;
            self.database().rotate_data_key()?;
            self.database().remove_key(slot)?;
        }
        self.batch(rows / 2..rows / 2 + 6, 3, 25)?;
        self.database().backup(REPOSITORY)?;
        self.batch(2..6, 4, 25)?;
        self.delete(rows / 3..rows / 3 + 3)?;
        self.database().create_restore_point("before the change")?;
        self.put(1, 5, 10)?;
        self.database().backup(REPOSITORY)?;
        Ok(())
    }

    /// Back to the checkpoint, and on from there, with two runs and a backup between them. Returns the newest commit in
    /// the backup.
    fn go_back_and_on(&mut self, rows: u32) -> Result<u64> {
        let kept = self.kept_state();
        let sequence = self.database().rollback_to("kept")?;
        self.model = kept;
        self.states.insert(sequence.0, self.model.clone());
        self.batch(0..5, 6, 25)?;
        self.database().checkpoint()?;
        let backup = self.database().backup(REPOSITORY)?;
        self.batch(rows / 2..rows / 2 + 4, 7, 25)?;
        self.delete(7..9)?;
        Ok(backup.sequence.0)
    }

    /// Commits that are in the log alone; returns the newest that is synced, and the disk at that moment.
    fn leave_in_log(&mut self) -> Result<(u64, MemVfs)> {
        for index in 0..5 {
            self.put(index, 15, 12)?;
        }
        self.delete(1..2)?;
        self.database().create_restore_point("synced")?;
        let Moment { disk, newest } = self.now();
        self.put(30, 16, 12)?;
        self.put(31, 16, 12)?;
        Ok((newest, disk))
    }

    fn kept_state(&self) -> Model {
        let kept = self.database().named_checkpoints();
        let sequence = kept.first().map_or(0, |info| info.sequence.0);
        self.states.get(&sequence).cloned().unwrap_or_default()
    }

    fn batch(&mut self, rows: std::ops::Range<u32>, round: u32, len: u32) -> Result<()> {
        let items: Vec<_> = rows.map(|index| (key(index), self.value(index, round, len))).collect();
        self.database().put_batch(&items)?;
        self.model.extend(items);
        self.remember();
        Ok(())
    }

    fn put(&mut self, index: u32, round: u32, len: u32) -> Result<()> {
        let (key, value) = (key(index), self.value(index, round, len));
        self.database().put(&key, &value)?;
        self.model.insert(key, value);
        self.remember();
        Ok(())
    }

    /// A value that is long, and short on disk.
    fn large_value(&mut self, key: &[u8], len: usize) -> Result<()> {
        let value: Vec<u8> = (0..len).map(|index| (index / 1500) as u8).collect();
        self.database().put(key, &value)?;
        self.model.insert(key.to_vec(), value);
        self.remember();
        Ok(())
    }

    fn delete(&mut self, rows: std::ops::Range<u32>) -> Result<()> {
        let keys: Vec<_> = rows.map(key).collect();
        self.database().delete_batch(&keys)?;
        for key in keys {
            self.model.remove(&key);
        }
        self.remember();
        Ok(())
    }

    fn value(&self, index: u32, round: u32, len: u32) -> Vec<u8> {
        let mut text = format!("{} {index} {round} ", self.seed);
        while text.len() < len as usize {
            text.push_str("row ");
        }
        text.truncate(len.max(16) as usize);
        text.into_bytes()
    }

    fn remember(&mut self) {
        let sequence = self.database().last_sequence().0;
        self.states.insert(sequence, self.model.clone());
    }

    fn database(&self) -> &Database {
        self.db.as_deref().expect("it is open but for the time between a close and the next open")
    }

    /// Closes the database, keeps the disk as it is then, and opens the database again.
    fn moment(&mut self) -> Result<Moment> {
        self.database().close()?;
        let moment = self.now();
        self.reopen()?;
        Ok(moment)
    }

    fn reopen(&mut self) -> Result<()> {
        self.db = None;
        self.db = Some(Database::open_in(self.machine.environment(), DATABASE, self.config.clone())?);
        Ok(())
    }

    /// The disk as it would be if the process ended now.
    fn now(&self) -> Moment {
        Moment { disk: self.machine.disk.fork(), newest: self.database().last_sequence().0 }
    }
}

fn key(index: u32) -> Vec<u8> {
    format!("key-{index:05}").into_bytes()
}

/// The files below `root`, with what is in them.
pub(super) fn files(disk: &MemVfs, root: &str) -> BTreeMap<PathBuf, Arc<[u8]>> {
    let below = disk.files().into_iter().filter(|path| path.starts_with(root));
    below.map(|path| (path.clone(), read(disk, &path).into())).collect()
}

/// All of a file that is there.
pub(super) fn read(disk: &MemVfs, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenHow::Read).expect("files in memory open");
    let mut bytes = vec![0; file.len().expect("files in memory have a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("files in memory can be read");
    bytes
}
