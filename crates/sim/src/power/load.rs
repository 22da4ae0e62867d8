//! The process that the power is cut under: it commits, and says on its standard output what was acknowledged.
//!
//! ```text
//! c THREAD NUMBER   this commit was acknowledged
//! s N N N           all up to these, by thread, is on stable storage: a checkpoint was acknowledged
//! b N N N           all up to these is in the repository, and on stable storage
//! e TEXT            something failed
//! ```

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use lightning_db::{Database, Error, KeySource, LightningDbConfig, WalSyncMode};

use crate::random::Random;

/// Threads that commit.
pub(super) const THREADS: usize = 3;
/// A thread deletes its entry of so many commits ago.
pub(super) const KEPT: u64 = 40;
/// The key of database and repository.
pub(super) const KEY: [u8; 32] = [0x5a; 32];

/// How far each thread is.
pub(super) type Counts = [u64; THREADS];

/// How commits are acknowledged, and how the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Sync,
    /// As `Sync`, with the log written by system calls.
    SyncCalls,
    Async,
    Periodic,
}

/// Where things are on the disk.
pub(super) fn database(place: &Path) -> std::path::PathBuf {
    place.join("db")
}

/// See [`database`].
pub(super) fn repository(place: &Path) -> std::path::PathBuf {
    place.join("repository")
}

/// The configuration of all rounds but for how commits are acknowledged.
pub(super) fn config(mode: Mode) -> LightningDbConfig {
    LightningDbConfig {
        wal_sync_mode: match mode {
            Mode::Sync | Mode::SyncCalls => WalSyncMode::Sync,
            Mode::Async => WalSyncMode::Async,
            Mode::Periodic => WalSyncMode::Periodic(Duration::from_millis(20)),
        },
        improved_wal: mode != Mode::SyncCalls,
        write_buffer_size: 256 << 10,
        wal_segment_size: 512 << 10,
        max_retained_log: 8 << 20,
        page_size: 4096,
        cache_size: 4 << 20,
        encryption_enabled: true,
        encryption_key: KeySource::raw(KEY),
        compaction_interval: Duration::from_millis(20),
        ..LightningDbConfig::default()
    }
}

/// Key of how many commits a thread did.
pub(super) fn counter(thread: usize) -> Vec<u8> {
    format!("counter/{thread}").into_bytes()
}

/// Key of how far another thread was, as a thread saw it before its last commit.
pub(super) fn seen(thread: usize) -> Vec<u8> {
    format!("seen/{thread}").into_bytes()
}

/// What begins the keys of a thread's entries.
pub(super) fn entries(thread: usize) -> Vec<u8> {
    format!("entry/{thread}/").into_bytes()
}

/// The entry of a commit.
pub(super) fn entry(thread: usize, number: u64) -> (Vec<u8>, Vec<u8>) {
    let len = if number % 61 == 7 { 70_000 } else { number * 37 % 900 };
    let value = Random::new(number * 8 + thread as u64).noise(len as usize);
    ([entries(thread), format!("{number:010}").into_bytes()].concat(), value)
}

/// Whom a thread looks at.
pub(super) fn neighbour(thread: usize) -> usize {
    (thread + 1) % THREADS
}

/// Works until it is stopped.
///
/// # Errors
/// The first failure.
pub(super) fn work(place: &Path, mode: Mode, seed: u64) -> Result<(), String> {
    let outcome = Database::open(database(place), config(mode)).and_then(|db| work_on(&db, place, seed));
    outcome.map_err(|error| {
        say(&format!("e {error}"));
        error.to_string()
    })
}

fn work_on(db: &Database, place: &Path, seed: u64) -> Result<(), Error> {
    let counts: [AtomicU64; THREADS] = Default::default();
    for (thread, count) in counts.iter().enumerate() {
        count.store(read_number(db, &counter(thread))?, Ordering::Release);
    }
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (thread, count) in counts.iter().enumerate() {
            threads.push(scope.spawn(move || commit_on_and_on(db, thread, count)));
        }
        threads.push(scope.spawn(|| keep_house(db, place, &counts, &mut Random::new(seed))));
        // They end with an error only, and then so does the process.
        let failed = threads.into_iter().map(|thread| thread.join()).find_map(|joined| joined.ok()?.err());
        failed.map_or(Ok(()), Err)
    })
}

fn commit_on_and_on(db: &Database, thread: usize, count: &AtomicU64) -> Result<(), Error> {
    let mut number = count.load(Ordering::Acquire);
    loop {
        number += 1;
        let tx = db.transaction()?;
        let neighbour = read_number(db, &counter(neighbour(thread)))?;
        tx.put(&counter(thread), &number.to_le_bytes())?;
        tx.put(&seen(thread), &neighbour.to_le_bytes())?;
        let (key, value) = entry(thread, number);
        tx.put(&key, &value)?;
        if number > KEPT {
            tx.delete(&entry(thread, number - KEPT).0)?;
        }
        report(tx.commit())?;
        count.store(number, Ordering::Release);
        say(&format!("c {thread} {number}"));
    }
}

fn keep_house(
    db: &Database,
    place: &Path,
    counts: &[AtomicU64; THREADS],
    random: &mut Random,
) -> Result<(), Error> {
    loop {
        std::thread::sleep(Duration::from_millis(random.below(60)));
        let before: Vec<String> =
            counts.iter().map(|count| count.load(Ordering::Acquire).to_string()).collect();
        let what = match random.below(8) {
            0..3 => report(db.checkpoint()).map(|()| "s")?,
            3 => report(db.compact()).map(|()| "s")?,
            4 => {
                report(db.rotate_data_key())?;
                continue;
            }
            _ => report(db.backup(repository(place))).map(|_| "b")?,
        };
        say(&format!("{what} {}", before.join(" ")));
    }
}

/// Says what failed as soon as it did: the other threads may not come to an end.
fn report<T>(outcome: Result<T, Error>) -> Result<T, Error> {
    outcome.inspect_err(|error| say(&format!("e {error}")))
}

/// The number under `key`, 0 if there is none.
pub(super) fn read_number(db: &Database, key: &[u8]) -> Result<u64, Error> {
    let value = db.get(key)?;
    Ok(value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes))
}

fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        // Nobody listens any more, so nobody will end this process.
        std::process::exit(1);
    }
}
