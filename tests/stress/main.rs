//! Everything at once, by real threads on real files, with buffers so small that flushes, merges and log files come and go
//! all the time.
//!
//! What must hold at any moment, whatever else happens, rollbacks included: the accounts of a bank have the same sum, and
//! the two halves of a pair are equal. What owners wrote must be there at the end, in a database that was opened again and
//! in one that was restored. `LIGHTNING_DB_STRESS_SECONDS` makes it last longer.

mod closing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lightning_db::{
    CheckDepth, Database, DatabaseIterator, Error, KeySource, LightningDbConfig, RecoveryTarget,
    RestoreOptions, Snapshot, WalSyncMode,
};
use parking_lot::{Mutex, RwLock};

const ACCOUNTS: u64 = 16;
const PAIRS: u64 = 8;
const START: u64 = 1000;
const OWNERS: usize = 2;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Stress {
    db: Arc<Database>,
    directory: PathBuf,
    over: AtomicBool,
    /// Held for reading while an owner writes and notes what it wrote.
    owners: RwLock<()>,
    models: [Mutex<Model>; OWNERS],
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn value(&mut self) -> Vec<u8> {
        let len = if self.below(40) == 0 { 60_000 + self.below(90_000) } else { self.below(600) };
        vec![self.next() as u8; len as usize]
    }
}

fn config(optimistic: bool) -> LightningDbConfig {
    LightningDbConfig {
        encryption_enabled: true,
        encryption_key: KeySource::raw([7; 32]),
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        page_size: 1024,
        cache_size: 1 << 20,
        compaction_interval: Duration::from_millis(20),
        lock_timeout: Duration::from_millis(200),
        wal_sync_mode: if optimistic { WalSyncMode::Async } else { WalSyncMode::Sync },
        use_optimized_transactions: optimistic,
        ..LightningDbConfig::default()
    }
}

fn account(number: u64) -> Vec<u8> {
    format!("account-{number:02}").into_bytes()
}

fn number(value: Option<Vec<u8>>) -> u64 {
    let value = value.expect("an account is never closed");
    u64::from_le_bytes(value.try_into().expect("a balance"))
}

fn halves(pair: u64) -> [Vec<u8>; 2] {
    ["a", "z"].map(|half| format!("{half}-pair-{pair}").into_bytes())
}

/// What holds in every state.
fn assert_sound(shown: &Snapshot, what: &str) {
    let keys: Vec<_> = (0..ACCOUNTS).map(account).collect();
    let balances = shown.get_batch(&keys).expect("readable");
    assert_eq!(balances.into_iter().map(number).sum::<u64>(), ACCOUNTS * START, "{what}: by keys");
    let upwards: Vec<_> =
        shown.scan_prefix(b"account-").expect("scan").map(|entry| entry.expect("readable")).collect();
    let sum: u64 = upwards.iter().map(|(_, value)| number(Some(value.clone()))).sum();
    assert_eq!((upwards.len() as u64, sum), (ACCOUNTS, ACCOUNTS * START), "{what}: by a scan");
    for pair in 0..PAIRS {
        let [one, other] = halves(pair).map(|key| shown.get(&key).expect("readable"));
        assert!(one == other, "{what}: the halves of pair {pair} differ");
    }
}

fn assert_owned(db: &Database, owner: usize, model: &Model, what: &str) {
    let prefix = format!("owner-{owner}-");
    let entries = db.scan_prefix(prefix.as_bytes()).expect("scan");
    let found: Model = entries.map(|entry| entry.expect("readable")).collect();
    let differs = |key: &&Vec<u8>| found.get(*key) != model.get(*key);
    let wrong: Vec<_> =
        model.keys().chain(found.keys()).filter(differs).map(|k| String::from_utf8_lossy(k)).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}

/// An iterator that is held, and what its snapshot has from end to start.
struct Walk {
    entries: DatabaseIterator,
    rest: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Walk {
    fn new(shown: &Snapshot) -> Self {
        let backwards = shown.scan_reverse(None, None).expect("scan").map(|entry| entry.expect("readable"));
        let rest = backwards.collect();
        Self { entries: shown.scan(None, None).expect("scan"), rest }
    }

    fn go_on(&mut self, steps: usize) {
        for entry in self.entries.by_ref().take(steps) {
            assert!(self.rest.pop() == Some(entry.expect("readable")), "an iterator shows its moment");
        }
    }

    fn end(mut self) {
        self.go_on(usize::MAX);
        assert!(self.rest.is_empty(), "an iterator shows all of its moment");
    }
}

impl Stress {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Writes keys that nobody else writes, and reads them back.
    fn own(&self, owner: usize) {
        let mut random = Random(owner as u64 + 100);
        let mut round = 0_u64;
        while self.goes_on() {
            round += 1;
            let _at_work = self.owners.read();
            let mut model = self.models[owner].lock();
            let key = |random: &mut Random| format!("owner-{owner}-{:03}", random.below(200)).into_bytes();
            match random.below(8) {
                0 | 1 => {
                    let key = key(&mut random);
                    self.db.delete(&key).expect("delete");
                    model.remove(&key);
                }
                2 => {
                    let items: Vec<_> = (0..5).map(|_| (key(&mut random), random.value())).collect();
                    self.db.put_batch(&items).expect("put");
                    model.extend(items);
                }
                3 => {
                    let items: Vec<_> = (0..3).map(|_| (key(&mut random), random.value())).collect();
                    let put = |tx: &lightning_db::Transaction<'_>| {
                        items.iter().try_for_each(|(key, value)| tx.put(key, value))
                    };
                    self.db.execute_transaction(put).expect("a transaction of keys of one's own");
                    model.extend(items);
                }
                _ => {
                    let (key, value) = (key(&mut random), random.value());
                    self.db.put(&key, &value).expect("put");
                    model.insert(key, value);
                }
            }
            let key = key(&mut random);
            assert!(
                self.db.get(&key).expect("readable").as_ref() == model.get(&key),
                "owner {owner}, round {round}"
            );
            if round.is_multiple_of(64) {
                assert_owned(&self.db, owner, &model, "at work");
            }
        }
    }

    /// Moves money, beside rollbacks too: a transfer is before one or after it, and never half of each.
    fn transfer(&self, teller: u64) {
        let mut random = Random(teller + 200);
        while self.goes_on() {
            let (from, to) = (account(random.below(ACCOUNTS)), account(random.below(ACCOUNTS)));
            let amount = random.below(50);
            let moved = self.db.execute_transaction(|tx| {
                let balance = number(tx.get(&from)?);
                if from == to || balance < amount {
                    return Ok(());
                }
                let other = number(tx.get(&to)?);
                tx.put(&from, &(balance - amount).to_le_bytes())?;
                tx.put(&to, &(other + amount).to_le_bytes())
            });
            match moved {
                Ok(()) | Err(Error::TransactionConflict | Error::Deadlock | Error::LockTimeout) => {}
                Err(error) => panic!("a transfer: {error}"),
            }
            let pair = halves(random.below(PAIRS));
            let value = random.value();
            let both: Vec<_> = pair.into_iter().map(|half| (half, value.clone())).collect();
            match self.db.put_batch(&both) {
                Ok(()) | Err(Error::Deadlock | Error::LockTimeout) => {}
                Err(error) => panic!("a pair: {error}"),
            }
        }
    }

    fn look(&self) {
        let mut random = Random(300);
        let mut kept: Vec<(Snapshot, Vec<u8>)> = Vec::new();
        let mut walked: Vec<Walk> = Vec::new();
        let digest = |shown: &Snapshot| -> Vec<u8> {
            let entries = shown.scan(None, None).expect("scan").map(|entry| entry.expect("readable"));
            entries
                .flat_map(|(key, value)| {
                    [key.clone(), vec![value.len() as u8, *value.first().unwrap_or(&0)]].concat()
                })
                .collect()
        };
        while self.goes_on() {
            let now = self.db.snapshot();
            assert_sound(&now, "now");
            if random.below(4) == 0 {
                walked.push(Walk::new(&now));
            }
            if random.below(4) == 0 {
                let seen = digest(&now);
                kept.push((now, seen));
            }
            walked.iter_mut().for_each(|walk| walk.go_on(20));
            if walked.len() > 3 {
                walked.swap_remove(random.below(4) as usize).end();
            }
            if kept.len() > 6 {
                let (old, seen) = kept.swap_remove(random.below(6) as usize);
                assert_sound(&old, "a moment ago");
                assert!(digest(&old) == seen, "a snapshot changed");
            }
        }
    }

    fn maintain(&self) {
        let mut random = Random(400);
        for round in 0_u64.. {
            if !self.goes_on() {
                return;
            }
            match random.below(10) {
                0 | 1 => self.db.checkpoint().expect("checkpoint"),
                2 => self.db.compact().expect("compact"),
                3 => self.copy(round),
                4 => drop(self.db.rotate_data_key().expect("rotate")),
                5 => drop(self.db.evict_cache(0.5).expect("evict")),
                6 => drop(self.db.create_restore_point(&format!("point-{round}")).expect("restore point")),
                7 => self.restore(round),
                8 => {
                    assert!(self.db.check(CheckDepth::Deep).expect("check").is_sound(), "the files are sound")
                }
                _ => drop(self.db.backup(self.directory.join("repo")).expect("backup")),
            }
            std::thread::sleep(Duration::from_millis(random.below(30)));
        }
    }

    fn copy(&self, round: u64) {
        let copy = self.directory.join(format!("copy-{round}"));
        self.db.create_checkpoint(&copy).expect("a copy");
        let opened = Database::open(&copy, config(true)).expect("open the copy");
        assert_sound(&opened.snapshot(), "a copy");
        opened.close().expect("close the copy");
        std::fs::remove_dir_all(&copy).expect("remove the copy");
    }

    /// Restores a backup while everything goes on.
    fn restore(&self, round: u64) {
        let repository = self.directory.join("repo");
        let target = RecoveryTarget::Backup(self.db.backup(&repository).expect("backup").backup);
        let restored = self.directory.join(format!("restored-{round}"));
        let encryption_key = config(true).encryption_key;
        let options = RestoreOptions { target, encryption_key, ..Default::default() };
        Database::restore(&repository, &restored, options).expect("restore");
        let opened = Database::open(&restored, config(true)).expect("open what was restored");
        assert_sound(&opened.snapshot(), "restored");
        opened.close().expect("close");
        std::fs::remove_dir_all(&restored).expect("remove");
    }

    /// Keeps moments by name and goes back to them.
    fn turn_back(&self) {
        let mut random = Random(500);
        let mut kept: Vec<(String, [Model; OWNERS])> = Vec::new();
        for round in 0_u64.. {
            if !self.goes_on() {
                return;
            }
            if !kept.is_empty() && random.below(3) == 0 {
                let index = random.below(kept.len() as u64) as usize;
                let shown = self.db.open_named_checkpoint(&kept[index].0).expect("a checkpoint");
                assert_sound(&shown, "a checkpoint");
                let _nobody_writes = self.owners.write();
                self.db.rollback_to(&kept[index].0).expect("rollback");
                for (owner, model) in kept[index].1.iter().enumerate() {
                    assert_owned(&self.db, owner, model, "after a rollback");
                    self.models[owner].lock().clone_from(model);
                }
            } else {
                let name = format!("moment-{round}");
                let _nobody_writes = self.owners.write();
                self.db.create_named_checkpoint(&name).expect("a checkpoint");
                kept.push((name, std::array::from_fn(|owner| self.models[owner].lock().clone())));
            }
            if kept.len() > 3 {
                let (name, _) = kept.remove(random.below(3) as usize);
                self.db.drop_named_checkpoint(&name).expect("dropped");
            }
            std::thread::sleep(Duration::from_millis(random.below(60)));
        }
    }

    fn assert_all(&self, db: &Database, what: &str) {
        assert_sound(&db.snapshot(), what);
        for (owner, model) in self.models.iter().enumerate() {
            assert_owned(db, owner, &model.lock(), what);
        }
    }
}

fn seconds() -> u64 {
    std::env::var("LIGHTNING_DB_STRESS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Ends the others when one thread fails, so that the failure is seen.
struct EndAll<'a>(&'a AtomicBool);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn run(directory: &Path, config: &LightningDbConfig) {
    let path = directory.join("db");
    let db = Database::create(&path, config.clone()).expect("a new database");
    let opening: Vec<_> =
        (0..ACCOUNTS).map(|number| (account(number), START.to_le_bytes().to_vec())).collect();
    db.put_batch(&opening).expect("put");
    let over = AtomicBool::new(false);
    let directory_buf = directory.to_path_buf();
    let stress =
        Stress { db, directory: directory_buf, over, owners: RwLock::default(), models: Default::default() };
    std::thread::scope(|scope| {
        let stress = &stress;
        let work: [Box<dyn Fn() + Send>; 7] = [
            Box::new(|| stress.own(0)),
            Box::new(|| stress.own(1)),
            Box::new(|| stress.transfer(0)),
            Box::new(|| stress.transfer(1)),
            Box::new(|| stress.look()),
            Box::new(|| stress.maintain()),
            Box::new(|| stress.turn_back()),
        ];
        for work in work {
            scope.spawn(move || {
                let _end = EndAll(&stress.over);
                work();
            });
        }
        let end = Instant::now() + Duration::from_secs(seconds());
        while stress.goes_on() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        stress.over.store(true, Ordering::Relaxed);
    });
    stress.assert_all(&stress.db, "at the end");
    stress.db.backup(directory.join("repo")).expect("backup");
    stress.db.close().expect("close");
    stress.assert_all(&Database::open(&path, config.clone()).expect("open"), "opened again");
    let restored = directory.join("restored");
    let options = RestoreOptions { encryption_key: config.encryption_key.clone(), ..Default::default() };
    Database::restore(directory.join("repo"), &restored, options).expect("restore");
    stress.assert_all(&Database::open(&restored, config.clone()).expect("open"), "restored");
}

#[test]
fn everything_at_once_with_conflicts_at_commit() {
    run(tempfile::tempdir().expect("a directory").path(), &config(true));
}

#[test]
fn everything_at_once_with_locks_and_a_synced_log() {
    run(tempfile::tempdir().expect("a directory").path(), &config(false));
}
