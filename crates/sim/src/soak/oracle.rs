//! What the database must hold. A few bytes for each key say it all, and as many at the end of a run as at its beginning.

use lightning_db::{Database, Snapshot};

use super::Outcome;
use crate::random::Random;

/// Threads that have keys of their own.
pub(super) const OWNERS: usize = 2;
/// Keys of each.
pub(super) const KEYS: u32 = 16_000;
const ACCOUNTS: u64 = 32;
const START: u64 = 1_000_000;
/// One value in this many goes to a file for large values.
const LARGE_EACH: u32 = 800;

/// What one owner wrote: for each key the number of its value, zero for none. The length of a value follows from its key
/// alone, so the bytes of all values stay about the same.
#[derive(Clone)]
pub(super) struct Owned {
    owner: usize,
    values: Vec<u32>,
}

impl Owned {
    pub(super) fn new(owner: usize) -> Self {
        Self { owner, values: vec![0; KEYS as usize] }
    }

    /// Bytes of memory that it takes.
    pub(super) fn size(&self) -> u64 {
        (self.values.capacity() * size_of::<u32>()) as u64
    }

    pub(super) fn key(&self, index: u32) -> Vec<u8> {
        format!("owner-{}-{index:06}", self.owner).into_bytes()
    }

    /// The value that `index` gets next, and its number.
    pub(super) fn next(&self, index: u32) -> (u32, Vec<u8>) {
        let number = (self.values[index as usize] | 1 << 31).wrapping_add(1) | 1 << 31;
        (number, self.value(index, number))
    }

    /// `index` has the value of that number now; zero for none.
    pub(super) fn note(&mut self, index: u32, number: u32) {
        self.values[index as usize] = number;
    }

    /// The value that `index` must have.
    pub(super) fn expected(&self, index: u32) -> Option<Vec<u8>> {
        let number = self.values[index as usize];
        (number != 0).then(|| self.value(index, number))
    }

    fn value(&self, index: u32, number: u32) -> Vec<u8> {
        let len = if index.is_multiple_of(LARGE_EACH) { 70_000 } else { 40 + index * 7 % 900 } as usize;
        let mut random = Random::new(u64::from(index) << 33 ^ u64::from(number) << 1 ^ self.owner as u64);
        let mut value = random.noise(len.min(200));
        value.resize(len, number as u8);
        value
    }

    /// Writes a first value to every key.
    pub(super) fn fill(&mut self, db: &Database) -> Outcome {
        for first in (0..KEYS).step_by(100) {
            let batch = first..(first + 100).min(KEYS);
            let values: Vec<_> = batch.map(|index| (index, self.next(index))).collect();
            let items: Vec<_> =
                values.iter().map(|(index, (_, value))| (self.key(*index), value.clone())).collect();
            db.put_batch(&items).map_err(|error| format!("fill: {error}"))?;
            values.iter().for_each(|(index, (number, _))| self.note(*index, *number));
        }
        Ok(())
    }

    /// Fails unless the keys from `first` on, `count` of them, have what they must have, and there are no others.
    pub(super) fn compare(&self, shown: &Snapshot, first: u32, count: u32, when: &str) -> Outcome {
        let end = first.saturating_add(count).min(KEYS);
        let failed = |error: lightning_db::Error| format!("owner {}, {when}: {error}", self.owner);
        let mut expected =
            (first..end).filter_map(|index| self.expected(index).map(|value| (self.key(index), value)));
        for entry in shown.scan(Some(&self.key(first)), Some(&self.key(end))).map_err(failed)? {
            let found = entry.map_err(failed)?;
            if expected.next().as_ref() != Some(&found) {
                return Err(format!("{when}: {} is not what it must be", show(&found.0)));
            }
        }
        match expected.next() {
            None => Ok(()),
            Some((key, _)) => Err(format!("{when}: {} is missing", show(&key))),
        }
    }
}

pub(super) fn show(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

pub(super) fn account(random: &mut Random) -> Vec<u8> {
    format!("account-{:03}", random.below(ACCOUNTS)).into_bytes()
}

pub(super) fn balance(value: Option<Vec<u8>>) -> Outcome<u64> {
    let bytes = value.and_then(|value| <[u8; 8]>::try_from(value).ok());
    bytes.map(u64::from_le_bytes).ok_or_else(|| "an account has no balance".to_owned())
}

/// Opens all accounts.
pub(super) fn fill(db: &Database) -> Outcome {
    let accounts = (0..ACCOUNTS).map(|number| format!("account-{number:03}").into_bytes());
    let items: Vec<_> = accounts.map(|account| (account, START.to_le_bytes().to_vec())).collect();
    db.put_batch(&items).map_err(|error| format!("fill: {error}"))
}

/// Fails unless the accounts have the sum that they have in every state, and returns a digest of what is in each.
pub(super) fn assert_sound(shown: &Snapshot) -> Outcome<u64> {
    let (mut sum, mut count, mut digest) = (0, 0, 0_u64);
    for entry in shown.scan_prefix(b"account-").map_err(|error| format!("the accounts: {error}"))? {
        let (_, value) = entry.map_err(|error| format!("the accounts: {error}"))?;
        let balance = balance(Some(value))?;
        (sum, count) = (sum + balance, count + 1);
        digest = digest.rotate_left(7) ^ balance;
    }
    if (sum, count) == (ACCOUNTS * START, ACCOUNTS) {
        Ok(digest)
    } else {
        Err(format!("{count} accounts hold {sum}, and not {ACCOUNTS} with {}", ACCOUNTS * START))
    }
}
