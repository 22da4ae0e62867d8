//! A client: what it draws, it does.

use std::sync::atomic::Ordering;

use lightning_db::{Database, DatabaseIterator, Snapshot};

use super::model::{History, Value};
use super::run::{Process, Run, Step, Stop};
use super::transactions::Open;
use crate::random::Random;

/// One who works with the database.
pub(crate) struct Client<'a> {
    pub(crate) process: &'a Process<'a>,
    pub(crate) run: &'a Run,
    pub(crate) db: &'a Database,
    pub(crate) random: Random,
    pub(crate) number: usize,
    pub(crate) kept: Vec<Snapshot>,
    pub(crate) iterators: Vec<Walk>,
    pub(crate) open: Vec<Open>,
}

/// An iterator that was left half-way, and what it has still to return.
pub(crate) struct Walk {
    pub(crate) iterator: DatabaseIterator,
    pub(crate) expected: std::vec::IntoIter<(Vec<u8>, Value)>,
    pub(crate) what: String,
}

type Operation = fn(&mut Client<'_>) -> Step;

/// What there is to do, how often in comparison, and whether only one who is alone can.
const OPERATIONS: &[(&str, u64, bool, Operation)] = &[
    ("put", 60, true, |client| client.put()),
    ("delete", 20, true, |client| client.delete()),
    ("put_batch", 20, true, |client| client.put_batch()),
    ("delete_batch", 8, true, |client| client.delete_batch()),
    ("write", 40, false, |client| client.write()),
    ("fill", 6, false, |client| client.fill()),
    ("execute_transaction", 6, true, |client| client.execute()),
    ("get", 40, false, |client| client.get()),
    ("get_batch", 12, false, |client| client.get_batch()),
    ("scan", 12, false, |client| client.scan()),
    ("snapshot", 8, false, |client| client.take_snapshot()),
    ("look_back", 12, false, |client| client.look_back()),
    ("walk", 12, false, |client| client.walk()),
    ("roam", 10, false, |client| client.roam()),
    ("begin", 16, false, |client| client.begin_transaction()),
    ("in_transaction", 50, false, |client| client.in_transaction()),
    ("end_transaction", 14, false, |client| client.end_transaction()),
    ("checkpoint", 8, false, |client| client.checkpoint()),
    ("compact", 5, false, |client| client.compact()),
    ("evict_cache", 4, false, |client| client.evict_cache()),
    ("check", 2, false, |client| client.check()),
    ("compare", 6, false, |client| client.compare()),
    ("observe", 4, false, |client| client.observe()),
    ("rest", 3, false, |client| client.rest()),
    ("clock", 6, false, |client| client.step_clock()),
    ("named_checkpoint", 5, false, |client| client.create_named()),
    ("open_named", 4, false, |client| client.open_named()),
    ("drop_named", 2, false, |client| client.drop_named()),
    ("rollback", 3, true, |client| client.roll_back()),
    ("create_checkpoint", 3, false, |client| client.create_copy()),
    ("restore_point", 4, false, |client| client.create_restore_point()),
    ("backup", 8, false, |client| client.backup()),
    ("list_backups", 2, false, |client| client.list_backups()),
    ("delete_backup", 2, false, |client| client.delete_backup()),
    ("restore", 6, false, |client| client.restore()),
    ("verify", 2, false, |client| client.verify()),
    ("rotate_data_key", 3, false, |client| client.rotate_data_key()),
    ("change_keys", 3, false, |client| client.change_keys()),
    ("rewrap_key", 2, true, |client| client.rewrap_key()),
    ("rotate_master_key", 2, true, |client| client.rotate_master_key()),
    ("reseal", 2, true, |client| client.reseal()),
];

impl<'a> Client<'a> {
    pub(crate) fn new(process: &'a Process<'a>, db: &'a Database, random: Random, number: usize) -> Self {
        let (kept, iterators, open) = (Vec::new(), Vec::new(), Vec::new());
        Self { process, run: process.run, db, random, number, kept, iterators, open }
    }

    /// Does `count` things.
    pub(crate) fn work(&mut self, count: u64) -> Step {
        let is_alone = self.process.is_alone;
        let possible = || OPERATIONS.iter().filter(move |(_, _, alone, _)| is_alone || !alone);
        let total: u64 = possible().map(|(_, weight, ..)| weight).sum();
        for _ in 0..count {
            let mut drawn = self.random.below(total);
            for (name, weight, _, operation) in possible() {
                if drawn < *weight {
                    self.run.hit(&format!("operation/{name}"));
                    self.run.note(&format!("{} {name} at {}", self.number, self.db.last_sequence()));
                    let done = operation(self);
                    if matches!(done, Err(Stop::Crashed))
                        && !self.process.was_struck.swap(true, Ordering::Relaxed)
                    {
                        self.run.hit(&format!("crash/during {name}"));
                    }
                    done?;
                    break;
                }
                drawn -= weight;
            }
        }
        self.finish()
    }

    /// Looks a last time at what was kept.
    fn finish(&mut self) -> Step {
        while !self.iterators.is_empty() {
            self.finish_walk(0)?;
        }
        while !self.kept.is_empty() {
            self.look_back()?;
            self.kept.pop();
        }
        while !self.open.is_empty() {
            self.end_transaction()?;
        }
        Ok(())
    }

    /// The newest commit that everybody sees.
    pub(crate) fn now(&self) -> u64 {
        self.db.last_sequence().0
    }

    /// Looks something up in what is known of the database.
    pub(crate) fn with_history<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.run.world().oracle.history)
    }

    /// A key: mostly one that others use too, with long common beginnings, of one byte, and very long ones.
    pub(crate) fn key(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match random.below(64) {
            0 => vec![random.below(8) as u8],
            1 => vec![0xff; 1 + random.below(3) as usize],
            2 => [vec![b'L'; 200 + random.below(3) as usize * 400], vec![random.below(4) as u8]].concat(),
            3 if random.once_in(12) => vec![b'M'; 65_535 - random.below(2) as usize],
            4..20 => format!("shared/beginning/of/many/keys/{:03}", random.below(60)).into_bytes(),
            _ => {
                // Some keys are wanted more than others, so that there are hot ones.
                let wanted = 1 + random.below(48);
                format!("k{:02}", random.below(wanted)).into_bytes()
            }
        }
    }

    /// The length of a value.
    pub(crate) fn len(&mut self) -> usize {
        let largest_frame = self.run.config.wal_segment_size / 4 * 3;
        let random = &mut self.random;
        (match random.below(100) {
            0..5 => 0,
            5..60 => 1 + random.below(60),
            60..92 => random.below(1000),
            92..98 => 1000 + random.below(8000),
            98 if random.once_in(2) => 40_000 + random.below(40_000),
            // With its key and what stands before them, about as long as a frame of the log may be.
            98 => largest_frame - 16 - random.below(32),
            _ => {
                // Rarely more than one piece of a large value.
                let (least, more) = match random.below(80) {
                    0..2 => (1 << 20, 1_500_000),
                    2..20 => (65_536, 300_000),
                    _ => (65_536, 4000),
                };
                least + random.below(more)
            }
        }) as usize
    }

    /// A new value.
    pub(crate) fn value(&mut self) -> Value {
        let len = self.len();
        self.run.value(&mut self.random, len)
    }
}
