//! Power cuts on a simulated disk, at any call that changes something: while committing, flushing, merging, going on in
//! the next log file, and while coming back from the last cut.

use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db::{Database, LightningDbConfig, WalSyncMode};
use lightning_db_storage::vfs::Keep;

use crate::support::{Machine, Model, PATH, Random, compare, seeds, small};

/// The state after each commit, the first one empty.
struct History {
    states: Vec<Model>,
}

impl History {
    fn new() -> Self {
        Self { states: vec![Model::new()] }
    }

    fn last(&self) -> &Model {
        self.states.last().expect("there is always one")
    }

    /// Commits until something fails. Returns how many commits are acknowledged, and how many are synced.
    fn work(
        &mut self,
        db: &Database,
        config: &LightningDbConfig,
        random: &mut Random,
        steps: u64,
    ) -> Acknowledged {
        let mut done = Acknowledged { commits: self.states.len() - 1, synced: 0 };
        for _ in 0..steps {
            let (items, deletes) = draw(random);
            let mut next = self.last().clone();
            let outcome = if deletes {
                let keys: Vec<_> = items.into_iter().map(|(key, _)| key).collect();
                keys.iter().for_each(|key| {
                    next.remove(key);
                });
                db.delete_batch(&keys)
            } else {
                next.extend(items.iter().cloned());
                db.put_batch(&items)
            };
            self.states.push(next);
            if outcome.is_err() {
                return done;
            }
            done.commits = self.states.len() - 1;
            if config.wal_sync_mode == WalSyncMode::Sync {
                done.synced = done.commits;
            }
            let synced = match random.below(70) {
                0 => db.checkpoint(),
                1 => db.create_restore_point(&format!("point-{}", done.commits)).map(drop),
                2 => db.compact(),
                _ => continue,
            };
            if synced.is_err() {
                return done;
            }
            done.synced = done.commits;
        }
        done
    }

    /// Finds which state `db` has, and goes on from there.
    fn settle(&mut self, machine: &Machine, db: &Database, at_least: usize, what: &str) -> usize {
        let at = db.last_sequence().0 as usize;
        assert!(at >= at_least, "{what}: {at_least} commits were promised, {at} are there");
        assert!(at < self.states.len(), "{what}: commit {at} never happened");
        match compare(db, &self.states[at]) {
            // What works in the background may have met the power cut already.
            Err(_) if machine.plan().crashed() => {}
            outcome => outcome.unwrap_or_else(|problem| panic!("{what}: {problem}")),
        }
        self.states.truncate(at + 1);
        at
    }
}

type Item = (Vec<u8>, Vec<u8>);

struct Acknowledged {
    commits: usize,
    synced: usize,
}

/// What the next commit does, and whether it deletes. Now and then it does not fit one file of the log.
fn draw(random: &mut Random) -> (Vec<Item>, bool) {
    let deletes = random.below(5) == 0;
    if random.below(80) == 0 {
        let len = 70_000 + random.below(200_000) as usize;
        let value = random.noise(len);
        return (vec![(random.key(40), value), (random.key(40), Vec::new())], deletes);
    }
    let count = 1 + random.below(4);
    ((0..count).map(|_| (random.key(60), random.value(900))).collect(), deletes)
}

fn config(seed: u64) -> LightningDbConfig {
    LightningDbConfig {
        wal_sync_mode: if seed.is_multiple_of(2) { WalSyncMode::Sync } else { WalSyncMode::Async },
        improved_wal: !seed.is_multiple_of(3),
        background_compaction: seed.is_multiple_of(4),
        ..small()
    }
}

#[test]
fn a_power_cut_leaves_a_prefix_with_every_synced_commit_life_after_life() {
    for seed in seeds(30) {
        let machine = Machine::new(seed);
        let config = config(seed);
        let mut random = Random(seed.wrapping_mul(7919) + 5);
        let mut history = History::new();
        machine.create(&config).close().expect("close");
        let mut promised = 0;
        for life in 0..4 {
            let what = format!("seed {seed}, life {life}");
            let environment = machine.environment_dying_at(random.below(1500));
            if let Ok(db) = Database::open_in(environment, PATH, config.clone()) {
                // What an opened database holds is in synced files.
                promised = history.settle(&machine, &db, promised, &format!("{what}, opened"));
                promised = promised.max(history.work(&db, &config, &mut random, 250).synced);
                drop(db);
            }
            let keep = random.keep();
            machine.disk.crash(&mut || random.next(), keep);
            promised = come_back(&machine, &config, &mut history, promised, &mut random, &what);
        }
    }
}

/// Opens the database, with further power cuts while it opens.
fn come_back(
    machine: &Machine,
    config: &LightningDbConfig,
    history: &mut History,
    promised: usize,
    random: &mut Random,
    what: &str,
) -> usize {
    for _ in 0..random.below(3) {
        let environment = machine.environment_dying_at(random.below(120));
        if let Ok(db) = Database::open_in(environment, PATH, config.clone()) {
            history.settle(machine, &db, promised, &format!("{what}, again"));
            drop(db);
        }
        let keep = random.keep();
        machine.disk.crash(&mut || random.next(), keep);
    }
    let db = machine.open(config).unwrap_or_else(|error| panic!("{what}: {error}"));
    let at = history.settle(machine, &db, promised, &format!("{what}, after"));
    db.close().expect("close");
    at
}

#[test]
fn a_killed_process_leaves_every_acknowledged_commit_whatever_the_mode() {
    for seed in seeds(30) {
        let machine = Machine::new(seed + 1000);
        let config = config(seed);
        let mut random = Random(seed.wrapping_mul(104_729) + 1);
        let mut history = History::new();
        machine.create(&config).close().expect("close");
        let mut promised = 0;
        for life in 0..4 {
            let what = format!("seed {seed}, life {life}");
            let environment = machine.environment_dying_at(random.below(1500));
            if let Ok(db) = Database::open_in(environment, PATH, config.clone()) {
                history.settle(&machine, &db, promised, &format!("{what}, opened"));
                promised = history.work(&db, &config, &mut random, 250).commits;
                drop(db);
            }
            machine.disk.kill_process();
            let db = machine.open(&config).unwrap_or_else(|error| panic!("{what}: {error}"));
            promised = history.settle(&machine, &db, promised, &format!("{what}, after"));
            db.close().expect("close");
        }
    }
}

#[test]
fn commits_of_many_threads_survive_a_power_cut_once_they_are_acknowledged_in_sync_mode() {
    for seed in seeds(12) {
        let machine = Machine::new(seed + 2000);
        let config = LightningDbConfig {
            wal_sync_mode: WalSyncMode::Sync,
            background_compaction: true,
            improved_wal: seed.is_multiple_of(2),
            ..small()
        };
        machine.create(&config).close().expect("close");
        let mut random = Random(seed + 1);
        let environment = machine.environment_dying_at(400 + random.below(2500));
        let acknowledged: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
        if let Ok(db) = Database::open_in(environment, PATH, config.clone()) {
            std::thread::scope(|scope| {
                for (thread, count) in acknowledged.iter().enumerate() {
                    let db = &db;
                    scope.spawn(move || {
                        for number in 1..=400u64 {
                            if db.put(&key(thread, number), &value(thread, number)).is_err() {
                                return;
                            }
                            count.store(number, Ordering::Relaxed);
                        }
                    });
                }
            });
        }
        let keep = if seed % 3 == 0 { Keep::Nothing } else { Keep::Random };
        machine.disk.crash(&mut || random.next(), keep);
        let db = machine.reopen(&config);
        for (thread, count) in acknowledged.iter().enumerate() {
            let promised = count.load(Ordering::Relaxed);
            for number in 1..=promised {
                let found = db.get(&key(thread, number)).expect("get");
                assert_eq!(
                    found,
                    Some(value(thread, number)),
                    "seed {seed}, {thread}/{number} of {promised}"
                );
            }
            let found = db.scan_prefix(&key(thread, 0)[..2]).expect("scan").count() as u64;
            assert!(
                found == promised || found == promised + 1,
                "{found} of thread {thread}, {promised} promised"
            );
        }
    }
}

fn key(thread: usize, number: u64) -> Vec<u8> {
    format!("{thread}-{number:06}").into_bytes()
}

fn value(thread: usize, number: u64) -> Vec<u8> {
    vec![(thread as u64 * 31 + number) as u8; (number % 300) as usize]
}
