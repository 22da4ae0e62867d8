//! A large database through its whole life: loaded, reopened, scanned both ways, backed up, changed by one in a
//! hundred, backed up again, restored and deep-checked, with its memory watched all the way.
//!
//! `cargo run --release --example scale [-- --entries 10000000] [--keep DIR]`
//!
//! Fails when an answer is wrong, when anonymous memory passes `cache_size` plus 192 MiB, or when the second backup adds
//! more than three in a hundred of the first, the archived log counted apart.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lightning_db::{CheckOptions, Database, KeySource, LightningDbConfig, RestoreOptions};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CACHE_SIZE: usize = 64 << 20;
const MEMORY_LIMIT: u64 = CACHE_SIZE as u64 + (192 << 20);
const BATCH: u64 = 1000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    let entries = after("--entries").map_or(Ok(10_000_000), |text| text.parse());
    let keep = after("--keep").map(PathBuf::from);
    let outcome = entries.map_err(Into::into).and_then(|entries| run(entries, keep.as_deref()));
    match outcome {
        Ok(()) => {
            println!("PASSED");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn config() -> LightningDbConfig {
    LightningDbConfig {
        encryption_enabled: true,
        encryption_key: KeySource::raw([0x5a; 32]),
        cache_size: CACHE_SIZE,
        ..Default::default()
    }
}

fn run(entries: u64, keep: Option<&Path>) -> Outcome<()> {
    let temporary = tempfile::tempdir()?;
    let folder = keep.unwrap_or(temporary.path());
    let (path, repository, restored) =
        (folder.join("db"), folder.join("repository"), folder.join("restored"));
    let watch = MemoryWatch::start();

    let db = Database::create(&path, config())?;
    timed("loaded", &watch, || load(&db, entries))?;
    timed("closed", &watch, || Ok(db.close()?))?;
    drop(db);
    let db = timed("reopened", &watch, || Ok(Database::open(&path, config())?))?;
    let first = timed("compared, walking up", &watch, || compare(&db, entries, false, 0))?;
    println!("  {first} entries, {} on disk", mib(bytes_below(&path)?));
    timed("compared, walking down", &watch, || compare(&db, entries, true, 0))?;

    let full = timed("backed up in full", &watch, || Ok(db.backup(&repository)?))?;
    timed("changed one in a hundred", &watch, || change(&db, entries))?;
    let increment = timed("backed up again", &watch, || Ok(db.backup(&repository)?))?;
    println!(
        "  full {}, then {} and {} of log",
        mib(full.segment_bytes),
        mib(increment.segment_bytes),
        mib(increment.log_bytes)
    );
    if increment.segment_bytes * 100 > full.segment_bytes * 3 {
        return Err("the increment is more than 3% of the full backup".into());
    }
    db.close()?;
    drop(db);

    let options = RestoreOptions { encryption_key: KeySource::raw([0x5a; 32]), ..Default::default() };
    timed("restored", &watch, || Ok(Database::restore(&repository, &restored, options)?))?;
    let db = timed("opened what was restored", &watch, || Ok(Database::open(&restored, config())?))?;
    timed("compared", &watch, || compare(&db, entries, false, 1))?;
    timed("merged everything", &watch, || Ok(db.compact()?))?;
    timed("compared", &watch, || compare(&db, entries, true, 1))?;
    println!("  {} on disk", mib(bytes_below(&restored)?));
    db.close()?;
    drop(db);
    timed("checked in depth", &watch, || {
        let options = CheckOptions { encryption_key: KeySource::raw([0x5a; 32]), ..Default::default() };
        let report = lightning_db::check(&restored, &options)?;
        if report.is_sound() { Ok(()) } else { Err(format!("{report:?}").into()) }
    })?;
    let peak = watch.peak();
    println!("anonymous memory at most {} of {}", mib(peak), mib(MEMORY_LIMIT));
    if peak > MEMORY_LIMIT { Err("more memory than the limit".into()) } else { Ok(()) }
}

/// Keys in an order that looks random and visits each once.
fn scattered(index: u64, entries: u64) -> u64 {
    // A step that shares no factor with the count visits every place.
    let mut step = 7_368_787 % entries.max(1);
    while gcd(step, entries) != 1 {
        step += 1;
    }
    ((u128::from(index) * u128::from(step)) % u128::from(entries)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:016}").into_bytes()
}

/// A hundred bytes that compress to about a half.
fn value(number: u64, version: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version;
    let mut out = Vec::with_capacity(100);
    while out.len() < 50 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.resize(100, b'.');
    out
}

fn is_changed(number: u64) -> bool {
    (number.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).is_multiple_of(100)
}

fn load(db: &Database, entries: u64) -> Outcome<()> {
    for start in (0..entries).step_by(BATCH as usize) {
        let numbers = (start..(start + BATCH).min(entries)).map(|index| scattered(index, entries));
        let items: Vec<_> = numbers.map(|number| (key(number), value(number, 0))).collect();
        db.put_batch(&items)?;
    }
    Ok(())
}

fn change(db: &Database, entries: u64) -> Outcome<()> {
    for number in (0..entries).filter(|number| is_changed(*number)) {
        db.put(&key(number), &value(number, 1))?;
    }
    Ok(())
}

fn compare(db: &Database, entries: u64, down: bool, version: u64) -> Outcome<u64> {
    let mut seen = 0;
    let rows = if down { db.scan_reverse(None, None)? } else { db.scan(None, None)? };
    for row in rows {
        let (found_key, found) = row?;
        let number = if down { entries - 1 - seen } else { seen };
        let version = if is_changed(number) { version } else { 0 };
        if found_key != key(number) || found != value(number, version) {
            return Err(format!("entry {number} is not what was written").into());
        }
        seen += 1;
    }
    if seen == entries { Ok(seen) } else { Err(format!("{seen} entries of {entries}").into()) }
}

fn timed<T>(what: &str, watch: &MemoryWatch, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let started = Instant::now();
    let result = work()?;
    println!("{what}: {:.2?} (peak so far {})", started.elapsed(), mib(watch.peak()));
    Ok(result)
}

fn bytes_below(folder: &Path) -> Outcome<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        total += entry?.metadata()?.len();
    }
    Ok(total)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// Watches the anonymous memory of this process, every ten milliseconds.
struct MemoryWatch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl MemoryWatch {
    fn start() -> Self {
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let watch = Self { peak: Arc::clone(&peak), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_bytes().unwrap_or_default(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        watch
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
