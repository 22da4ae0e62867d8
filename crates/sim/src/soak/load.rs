//! Threads that write, transfer and look.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lightning_db::{Database, DatabaseIterator, Error, Snapshot};

use super::oracle::{self, KEYS, OWNERS};
use super::{Outcome, Soak};
use crate::random::Random;

/// How coverage calls a transfer.
pub(super) const TRANSFER: &str = "write/transfer";
/// How coverage calls a round of looking.
pub(super) const ROUND: &str = "look/round";
/// One held snapshot in so many has an iterator.
pub(super) const WALKS_EACH: u64 = 3;
/// Snapshots that are held at once, at most.
const HELD: usize = 12;
/// Entries that an iterator which is held goes on at a time.
const STEP: usize = 200;

/// A snapshot that somebody keeps, with what it showed at first.
pub(super) struct Held {
    shown: Snapshot,
    until: Instant,
    digest: u64,
    /// An iterator that goes on now and then.
    walk: Option<Walk>,
}

struct Walk {
    entries: DatabaseIterator,
    last: Vec<u8>,
    seen: usize,
}

/// Keeps a thread to its pace.
struct Pace {
    since: Instant,
    each: Option<Duration>,
    done: u32,
}

impl Pace {
    fn new(a_second: u64) -> Self {
        let each =
            (a_second > 0).then(|| Duration::from_secs(1) / u32::try_from(a_second).unwrap_or(u32::MAX));
        Self { since: Instant::now(), each, done: 0 }
    }

    fn step(&mut self) {
        self.done += 1;
        let Some(each) = self.each.filter(|_| self.done.is_multiple_of(16)) else { return };
        let due = self.since + each * self.done;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if self.done >= 1 << 16 {
            (self.since, self.done) = (Instant::now(), 0);
        }
    }
}

/// How coverage calls a write of this owner.
pub(super) fn owner_name(owner: usize) -> String {
    format!("write/owner {owner}")
}

/// How long a snapshot is held, at most; half as long on average.
fn longest_held(length: Duration) -> Duration {
    (length / 40).max(Duration::from_secs(2))
}

/// How many are held in a run of this length if nobody has to wait.
pub(super) fn planned_snapshots(length: Duration) -> f64 {
    2.0 * HELD as f64 * length.as_secs_f64() / longest_held(length).as_secs_f64()
}

impl Soak {
    /// The database, open; nobody closes it while it is used here.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Arc<Database>) -> Outcome<T>) -> Outcome<T> {
        let open = self.open.read();
        work(open.as_ref().ok_or("the database is not open")?)
    }

    /// Writes keys that nobody else writes, and reads them back.
    pub(super) fn own(&self, owner: usize, random: &mut Random) -> Outcome {
        let name = owner_name(owner);
        let mut pace = Pace::new(self.pace);
        let mut round = 0_u64;
        while self.goes_on() {
            round += 1;
            self.with(|db| {
                let _nobody_counts = self.quiet.read();
                self.write_own(db, owner, random)?;
                let owned = self.owned[owner].lock();
                let index = random.below(u64::from(KEYS)) as u32;
                let found = db.get(&owned.key(index)).map_err(|error| format!("get: {error}"))?;
                if found != owned.expected(index) {
                    return Err(format!("{} is not what was written", oracle::show(&owned.key(index))));
                }
                if round.is_multiple_of(512) {
                    owned.compare(&db.snapshot(), random.below(u64::from(KEYS)) as u32, 300, "at work")?;
                }
                Ok(())
            })?;
            self.hit(&name);
            self.operations.fetch_add(1, Ordering::Relaxed);
            pace.step();
        }
        Ok(())
    }

    fn write_own(&self, db: &Database, owner: usize, random: &mut Random) -> Outcome {
        let mut owned = self.owned[owner].lock();
        let index = |random: &mut Random| random.below(u64::from(KEYS)) as u32;
        let failed = |error: Error| format!("owner {owner} writes: {error}");
        if random.once_in(12) {
            let index = index(random);
            db.delete(&owned.key(index)).map_err(failed)?;
            owned.note(index, 0);
            return Ok(());
        }
        let count = if random.once_in(8) { 5 } else { 1 };
        let mut indices: Vec<_> = (0..count).map(|_| index(random)).collect();
        indices.sort_unstable();
        indices.dedup();
        let values: Vec<_> = indices.into_iter().map(|index| (index, owned.next(index))).collect();
        let items: Vec<_> =
            values.iter().map(|(index, (_, value))| (owned.key(*index), value.clone())).collect();
        if random.once_in(3) {
            db.execute_transaction(|tx| items.iter().try_for_each(|(key, value)| tx.put(key, value)))
        } else {
            db.put_batch(&items)
        }
        .map_err(failed)?;
        values.iter().for_each(|(index, (number, _))| owned.note(*index, *number));
        Ok(())
    }

    /// Moves money between accounts. Some transactions stay open for a while.
    pub(super) fn transfer(&self, random: &mut Random) -> Outcome {
        let mut pace = Pace::new(self.pace);
        while self.goes_on() {
            self.with(|db| self.transfer_once(db, random))?;
            self.hit(TRANSFER);
            self.operations.fetch_add(1, Ordering::Relaxed);
            pace.step();
        }
        Ok(())
    }

    fn transfer_once(&self, db: &Database, random: &mut Random) -> Outcome {
        let (from, to) = (oracle::account(random), oracle::account(random));
        let amount = random.below(100);
        let tx = if random.once_in(2) { db.transaction() } else { db.serializable_transaction() };
        let failed = |error: Error| format!("a transfer: {error}");
        let tx = tx.map_err(failed)?;
        let one = oracle::balance(tx.get(&from).map_err(failed)?)?;
        let other = oracle::balance(tx.get(&to).map_err(failed)?)?;
        if from == to || one < amount {
            return tx.abort().map_err(failed);
        }
        tx.put(&from, &(one - amount).to_le_bytes()).map_err(failed)?;
        tx.put(&to, &(other + amount).to_le_bytes()).map_err(failed)?;
        if random.once_in(400) {
            std::thread::sleep(Duration::from_millis(100));
            self.hit("write/transaction held");
        }
        match tx.commit() {
            Ok(()) => Ok(()),
            Err(Error::TransactionConflict) => {
                self.hit("write/conflict");
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Holds snapshots and iterators, through flushes, merges and whatever else goes on, and looks whether they change.
    pub(super) fn look(&self, random: &mut Random) -> Outcome {
        let longest = longest_held(self.length).as_millis() as u64;
        while self.goes_on() {
            self.with(|db| {
                let mut held = self.held.lock();
                if held.len() < HELD {
                    let until = Instant::now() + Duration::from_millis(random.below(longest));
                    held.push(Held::new(db, until, random)?);
                }
                for one in held.iter_mut() {
                    one.go_on()?;
                }
                let now = Instant::now();
                for one in held.extract_if(.., |one| one.until <= now) {
                    one.end(self)?;
                }
                Ok(())
            })?;
            self.hit(ROUND);
            std::thread::sleep(Duration::from_millis(100 + random.below(200)));
        }
        Ok(())
    }
}

impl Held {
    fn new(db: &Database, until: Instant, random: &mut Random) -> Outcome<Self> {
        let shown = db.snapshot();
        let digest = oracle::assert_sound(&shown)?;
        let walk = if random.once_in(WALKS_EACH) {
            let entries = shown.scan(None, None).map_err(|error| format!("scan: {error}"))?;
            Some(Walk { entries, last: Vec::new(), seen: 0 })
        } else {
            None
        };
        Ok(Self { shown, until, digest, walk })
    }

    fn go_on(&mut self) -> Outcome {
        match &mut self.walk {
            Some(walk) => walk.go_on(STEP),
            None => Ok(()),
        }
    }

    fn end(self, soak: &Soak) -> Outcome {
        if oracle::assert_sound(&self.shown)? != self.digest {
            return Err("a snapshot changed".to_owned());
        }
        soak.hit("look/snapshot held");
        let Some(mut walk) = self.walk else { return Ok(()) };
        walk.go_on(usize::MAX)?;
        let entries = self.shown.scan(None, None).map_err(|error| format!("scan: {error}"))?;
        let (seen, there) = (walk.seen, entries.count());
        if seen != there {
            return Err(format!("an iterator saw {seen} entries where its snapshot has {there}"));
        }
        soak.hit("look/iterator held");
        Ok(())
    }
}

impl Walk {
    fn go_on(&mut self, steps: usize) -> Outcome {
        for entry in self.entries.by_ref().take(steps) {
            let (key, _) = entry.map_err(|error| format!("an iterator: {error}"))?;
            if key <= self.last {
                return Err(format!("an iterator went back to {}", oracle::show(&key)));
            }
            (self.last, self.seen) = (key, self.seen + 1);
        }
        Ok(())
    }
}

/// Fails unless every owner's keys have what they must have.
pub(super) fn compare_all(shown: &Snapshot, owned: &[oracle::Owned; OWNERS], when: &str) -> Outcome {
    oracle::assert_sound(shown)?;
    owned.iter().try_for_each(|owned| owned.compare(shown, 0, KEYS, when))
}
