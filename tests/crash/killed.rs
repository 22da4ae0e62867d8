//! A real process, on real files, killed at random moments.
//!
//! The process is this test binary, run again with [`PLACE`] set. It tells each commit that was acknowledged on its
//! standard output, where the kernel keeps what it said when it is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lightning_db::{Database, LightningDbConfig, WalSyncMode};

use crate::support::{Random, small};

/// Tells the child where its database is; not set in any other run.
const PLACE: &str = "LIGHTNING_TEST_CHILD_DIRECTORY";
const MODE: &str = "LIGHTNING_TEST_CHILD_MODE";
const THREADS: u32 = 3;

#[test]
fn no_acknowledged_commit_is_lost_when_the_process_is_killed_in_async_mode() {
    kill_again_and_again("async", 10, 1);
}

#[test]
fn no_acknowledged_commit_is_lost_when_the_process_is_killed_in_sync_mode() {
    kill_again_and_again("sync", 6, 2);
}

#[test]
fn no_acknowledged_commit_is_lost_when_the_log_is_written_with_system_calls() {
    kill_again_and_again("async,pwrite", 4, 3);
}

/// Not a test: what the child does.
#[test]
fn child() {
    if let (Some(place), Ok(mode)) = (std::env::var_os(PLACE), std::env::var(MODE)) {
        work_until_killed(Path::new(&place), &config(&mode));
    }
}

fn config(mode: &str) -> LightningDbConfig {
    LightningDbConfig {
        wal_sync_mode: if mode.contains("async") { WalSyncMode::Async } else { WalSyncMode::Sync },
        improved_wal: !mode.contains("pwrite"),
        background_compaction: true,
        compaction_interval: Duration::from_millis(20),
        ..small()
    }
}

/// The state of one thread's keys: a commit writes its number to `counter` and to `mirror`, together with a value of
/// its own, and takes an older value away.
fn keys(thread: u32) -> (Vec<u8>, Vec<u8>) {
    (format!("counter-{thread}").into_bytes(), format!("mirror-{thread}").into_bytes())
}

fn entry(thread: u32, number: u64) -> (Vec<u8>, Vec<u8>) {
    let len = if number.is_multiple_of(97) { 80_000 } else { (number % 700) as usize };
    (format!("entry-{thread}-{number:08}").into_bytes(), vec![number as u8; len])
}

fn work_until_killed(place: &Path, config: &LightningDbConfig) {
    let db = Database::open(place, config.clone()).expect("open");
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let db = Arc::clone(&db);
            std::thread::spawn(move || commit_until_killed(&db, thread))
        })
        .collect();
    loop {
        std::thread::sleep(Duration::from_millis(30));
        db.checkpoint().expect("checkpoint");
        if threads.iter().any(std::thread::JoinHandle::is_finished) {
            return;
        }
    }
}

fn commit_until_killed(db: &Database, thread: u32) {
    let (counter, mirror) = keys(thread);
    let start = db.get(&counter).expect("get").map_or(0, |bytes| number(&bytes));
    // The end of the last process may have come between the two.
    forget_old(db, thread, start);
    let mut out = std::io::stdout();
    for next in start + 1.. {
        let bytes = next.to_le_bytes().to_vec();
        db.put_batch(&[(counter.clone(), bytes.clone()), entry(thread, next), (mirror.clone(), bytes)])
            .expect("commit");
        forget_old(db, thread, next);
        out.write_all(format!("done {thread} {next}\n").as_bytes()).expect("the parent listens");
        out.flush().expect("the parent listens");
    }
}

/// After each second commit, takes back what was written fifty commits before.
fn forget_old(db: &Database, thread: u32, next: u64) {
    if next > 50 && next.is_multiple_of(2) {
        db.delete(&entry(thread, next - 50).0).expect("delete");
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn kill_again_and_again(mode: &str, rounds: u32, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("db");
    Database::create(&place, config(mode)).expect("create").close().expect("close");
    let mut random = Random(seed ^ u64::from(std::process::id()));
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        let wait = Duration::from_millis(20 + random.below(350));
        run_and_kill(&place, mode, wait, &mut acknowledged);
        let db = Database::open(&place, config(mode))
            .unwrap_or_else(|error| panic!("round {round}, killed after {wait:?}: {error}"));
        for thread in 0..THREADS {
            let promised = acknowledged.get(&thread).copied().unwrap_or(0);
            let found = check_thread(&db, thread);
            assert!(found >= promised, "round {round}, {wait:?}: {promised} was promised, {found} is there");
            assert!(found <= promised + 1, "round {round}: {found} was never done, {promised} was");
            acknowledged.insert(thread, found);
        }
    }
    assert!(acknowledged.values().any(|count| *count > 100), "enough was done: {acknowledged:?}");
}

fn run_and_kill(place: &Path, mode: &str, wait: Duration, acknowledged: &mut BTreeMap<u32, u64>) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["killed::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let output = child.stdout.take().expect("its output");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.filter_map(|line| parse(&line)).collect::<Vec<_>>()
    });
    std::thread::sleep(wait);
    child.kill().expect("kill");
    let status = child.wait().expect("wait");
    assert_eq!(status.code(), None, "it was killed, and did not end by itself");
    for (thread, number) in reader.join().expect("the reader") {
        acknowledged.insert(thread, number);
    }
}

fn parse(line: &str) -> Option<(u32, u64)> {
    let (thread, number) = line.split_once("done ")?.1.split_once(' ')?;
    Some((thread.parse().ok()?, number.parse().ok()?))
}

/// The number of the thread's last commit, if everything is as it was after that.
fn check_thread(db: &Database, thread: u32) -> u64 {
    let (counter, mirror) = keys(thread);
    let last = db.get(&counter).expect("get").map_or(0, |bytes| number(&bytes));
    let twin = db.get(&mirror).expect("get").map_or(0, |bytes| number(&bytes));
    assert_eq!(last, twin, "half a commit of thread {thread}");
    for number in 1..=last {
        let (key, value) = entry(thread, number);
        let was_deleted = number.is_multiple_of(2) && number + 50 < last;
        let may_be_deleted = number.is_multiple_of(2) && number + 50 <= last;
        match db.get(&key).expect("get") {
            Some(found) => assert!(found == value && !was_deleted, "entry {number} of {last}"),
            None => assert!(may_be_deleted, "entry {number} of {last} is missing"),
        }
    }
    last
}
