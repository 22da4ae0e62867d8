//! What concerns a whole process: its threads, its environment, its log. Each scenario runs in a process of its own: this
//! test binary, run again.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use lightning_db::{Database, LightningDbConfig};

use crate::support::{Machine, plain, small};

const SCENARIO: &str = "LIGHTNING_TEST_SCENARIO";
const PLACE: &str = "LIGHTNING_TEST_PLACE";

/// Runs a scenario in a new process.
fn run(scenario: &str, place: &Path, variables: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["process::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .env(PLACE, place)
        .env_remove("RUST_LOG")
        .envs(variables.iter().copied())
        .output()
        .expect("a child")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Not a test: what the child does.
#[test]
fn child() {
    let (Ok(scenario), Some(place)) = (std::env::var(SCENARIO), std::env::var_os(PLACE)) else { return };
    let place = Path::new(&place);
    match scenario.split_once(' ').unwrap_or((&scenario, "")) {
        ("threads", numbers) => threads(place, numbers),
        ("load", _) => println!("{:?}", LightningDbConfig::load(place)),
        ("environment", _) => println!("{:?}", LightningDbConfig::from_environment()),
        ("log", level) => log_at(level),
        other => panic!("{other:?}"),
    }
}

fn threads(place: &Path, numbers: &str) {
    let numbers: Vec<usize> = numbers.split(' ').map(|text| text.parse().expect("a number")).collect();
    let config = LightningDbConfig {
        parallel_compaction_workers: numbers[0],
        background_compaction: true,
        prefetch_workers: numbers[1],
        prefetch_enabled: true,
        ..small()
    };
    let db = Database::create(place, config).expect("create");
    for index in 0..3000u32 {
        db.put(&index.to_be_bytes(), &[1; 100]).expect("put");
    }
    db.compact().expect("compact");
    assert_eq!(db.scan(None, None).expect("scan").count(), 3000);
    let names = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.expect("a thread").path().join("comm")).unwrap_or_default()
        };
        tasks.map(name).collect::<Vec<String>>()
    };
    // A thread names itself when it first runs, on a busy machine late. The system keeps 15 bytes of a name.
    let count = |part: &str| names().iter().filter(|name| name.starts_with(part)).count();
    let give_up = std::time::Instant::now() + Duration::from_secs(20);
    while count("lightning-merge") < numbers[0] || count("lightning-read") < numbers[1] {
        if std::time::Instant::now() > give_up {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("merge={} read={}", count("lightning-merge"), count("lightning-read"));
}

#[cfg(target_os = "linux")]
#[test]
fn workers_are_as_many_threads_as_configured() {
    for (merge, read) in [(1, 3), (4, 1)] {
        let folder = tempfile::tempdir().expect("a folder");
        let text = printed(&run(&format!("threads {merge} {read}"), &folder.path().join("db"), &[]));
        assert!(text.contains(&format!("merge={merge} read={read}")), "{text}");
    }
}

fn log_at(level: &str) {
    let config = LightningDbConfig { log_level: level.parse().expect("a level"), ..plain() };
    lightning_db::logging::init_logger_with(&config);
    log::error!("an error is told");
    log::warn!("a warning is told");
    log::debug!("a detail is told");
}

#[test]
fn log_level_says_what_is_let_through() {
    let told = |level| {
        let output = run(&format!("log {level}"), Path::new("/"), &[]);
        printed(&output);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ["an error is told", "a warning is told", "a detail is told"].map(|line| text.contains(line))
    };
    assert_eq!(told("off"), [false, false, false]);
    assert_eq!(told("error"), [true, false, false]);
    assert_eq!(told("warn"), [true, true, false]);
    assert_eq!(told("debug"), [true, true, true]);
}

#[test]
fn metrics_enabled_measures_durations() {
    for metrics_enabled in [true, false] {
        let machine = Machine::new(1);
        let db = machine.create(&LightningDbConfig { metrics_enabled, ..small() });
        db.put(b"k", b"v").expect("put");
        drop(db.get(b"k").expect("get"));
        let metrics = db.get_metrics();
        assert_eq!((metrics.reads, metrics.writes), (1, 1), "counted in any case");
        assert_eq!(metrics.read_latency.count() > 0, metrics_enabled);
        assert_eq!(metrics.write_latency.count() > 0, metrics_enabled);
    }
}

/// Of each option: its section and line in the file, its variable and value; the field that they set, and how it prints
/// after the one and the other.
type Source = (&'static str, &'static str, (&'static str, &'static str), &'static str, [&'static str; 2]);

#[rustfmt::skip]
const SOURCES: &[Source] = &[
    ("database", "page_size = 8192", ("PAGE_SIZE", "16KB"), "page_size", ["8192", "16384"]),
    ("database", "cache_size_mb = 12", ("CACHE_SIZE", "13MB"), "cache_size", ["12582912", "13631488"]),
    ("database", "mmap_size = \"1MB\"", ("MMAP_SIZE", "0"), "mmap_size", ["Some(1048576)", "Some(0)"]),
    ("database", "write_buffer_size = 65536", ("WRITE_BUFFER_SIZE", "128KB"), "write_buffer_size", ["65536", "131072"]),
    ("database", "compression_enabled = false", ("COMPRESSION_ENABLED", "true"), "compression_enabled", ["false", "true"]),
    ("database", "compression_type = \"zstd\"", ("COMPRESSION_TYPE", "adaptive"), "compression_type", ["1", "0"]),
    ("database", "compression_level = 5", ("COMPRESSION_LEVEL", "-3"), "compression_level", ["5", "-3"]),
    ("database", "use_lock_free_cache = false", ("USE_LOCK_FREE_CACHE", "true"), "use_lock_free_cache", ["false", "true"]),
    #[cfg(not(feature = "fips"))]
    ("database", "use_simd = false", ("USE_SIMD", "true"), "use_simd", ["false", "true"]),
    // With the FIPS module it can be nothing else.
    #[cfg(feature = "fips")]
    ("database", "use_simd = true", ("USE_SIMD", "1"), "use_simd", ["true", "true"]),
    ("encryption", "key = \"env:SOME_KEY\"", ("KEY", "env:OTHER_KEY"), "encryption_enabled", ["true", "true"]),
    ("encryption", "enabled = true", ("ENCRYPTION_ENABLED", "1"), "encryption_enabled", ["true", "true"]),
    ("freshness", "anchor = \"file:/a\"", ("FRESHNESS_ANCHOR", "file:/b"), "freshness_anchor", ["AnchorSource(file:/a)", "AnchorSource(file:/b)"]),
    ("freshness", "policy = \"warn\"", ("FRESHNESS_POLICY", "ignore"), "freshness_policy", ["Warn", "Ignore"]),
    ("transaction", "max_active = 7", ("MAX_ACTIVE_TRANSACTIONS", "8"), "max_active_transactions", ["7", "8"]),
    ("transaction", "timeout_seconds = 7", ("TRANSACTION_TIMEOUT", "8s"), "transaction_timeout", ["7s", "8s"]),
    ("transaction", "lock_timeout = \"7ms\"", ("LOCK_TIMEOUT", "8ms"), "lock_timeout", ["7ms", "8ms"]),
    ("transaction", "optimized = false", ("USE_OPTIMIZED_TRANSACTIONS", "true"), "use_optimized_transactions", ["false", "true"]),
    ("wal", "enabled = true", ("WAL_ENABLED", "1"), "wal_enabled", ["true", "true"]),
    ("wal", "sync_mode = \"sync\"", ("WAL_SYNC_MODE", "periodic:5ms"), "wal_sync_mode", ["Sync", "Periodic(5ms)"]),
    ("wal", "improved = false", ("IMPROVED_WAL", "true"), "improved_wal", ["false", "true"]),
    ("wal", "segment_size_mb = 2", ("WAL_SEGMENT_SIZE", "3MB"), "wal_segment_size", ["2097152", "3145728"]),
    ("wal", "max_retained = \"1GB\"", ("MAX_RETAINED_LOG", "2GB"), "max_retained_log", ["1073741824", "2147483648"]),
    ("prefetch", "enabled = false", ("PREFETCH_ENABLED", "true"), "prefetch_enabled", ["false", "true"]),
    ("prefetch", "distance = 7", ("PREFETCH_DISTANCE", "9"), "prefetch_distance", ["7", "9"]),
    ("prefetch", "workers = 7", ("PREFETCH_WORKERS", "9"), "prefetch_workers", ["7", "9"]),
    ("compaction", "background = false", ("BACKGROUND_COMPACTION", "true"), "background_compaction", ["false", "true"]),
    ("compaction", "interval_seconds = 7", ("COMPACTION_INTERVAL", "9s"), "compaction_interval", ["7s", "9s"]),
    ("compaction", "workers = 7", ("PARALLEL_COMPACTION_WORKERS", "9"), "parallel_compaction_workers", ["7", "9"]),
    ("server", "max_connections = 7", ("MAX_CONNECTIONS", "9"), "max_connections", ["7", "9"]),
    ("server", "rate_limit_ops_per_second = 7", ("RATE_LIMIT_OPS_PER_SECOND", "9"), "rate_limit_ops_per_second", ["7", "9"]),
    ("monitoring", "metrics_enabled = false", ("METRICS_ENABLED", "true"), "metrics_enabled", ["false", "true"]),
    ("monitoring", "metrics_port = 7", ("METRICS_PORT", "9"), "metrics_port", ["7", "9"]),
    ("logging", "level = \"warn\"", ("LOG_LEVEL", "trace"), "log_level", ["Warn", "Trace"]),
];

#[test]
fn every_key_of_the_file_and_every_variable_reaches_its_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lightning_db.toml");
    let mut file = String::new();
    let mut last = "";
    for (section, line, ..) in SOURCES {
        if *section != last {
            file.push_str(&format!("[{section}]\n"));
            last = section;
        }
        file.push_str(&format!("{line}\n"));
    }
    std::fs::write(&path, file).expect("write");
    let named: Vec<(String, &str)> =
        SOURCES.iter().map(|(_, _, (name, value), ..)| (format!("LIGHTNING_DB_{name}"), *value)).collect();
    let variables: Vec<(&str, &str)> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let from_file = printed(&run("load", &path, &[]));
    let over_file = printed(&run("load", &path, &variables));
    let alone = printed(&run("environment", &path, &variables));
    for (_, line, (name, _), field, [in_file, in_environment]) in SOURCES {
        let shows = |text: &str, value: &str| text.contains(&format!(" {field}: {value}"));
        assert!(shows(&from_file, in_file), "{line} gives {from_file}");
        assert!(shows(&over_file, in_environment), "{name} over the file gives {over_file}");
        assert!(shows(&alone, in_environment), "{name} gives {alone}");
    }
    let config = format!("{:?}", LightningDbConfig::default());
    let fields = config.matches(": ").count();
    assert!(SOURCES.len() >= fields, "every one of the {fields} fields is tried");
}

#[test]
fn encryption_and_the_log_can_be_turned_off_in_the_file_and_a_misspelt_key_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lightning_db.toml");
    let load = |text: &str, variables: &[(&str, &str)]| {
        std::fs::write(&path, text).expect("write");
        printed(&run("load", &path, variables))
    };
    assert!(load("[wal]\nenabled = false\n", &[]).contains("wal_enabled: false"));
    let contradiction = load("[encryption]\nkey = \"env:SOME_KEY\"\nenabled = false\n", &[]);
    assert!(contradiction.contains("InvalidConfig") && contradiction.contains("encryption_key"));
    let misspelt = load("[wal]\nenabeld = false\n", &[]);
    assert!(misspelt.contains("wal.enabeld") && misspelt.contains("InvalidConfig"), "{misspelt}");
    let no_number = load("", &[("LIGHTNING_DB_PREFETCH_WORKERS", "many")]);
    assert!(no_number.contains("LIGHTNING_DB_PREFETCH_WORKERS") && no_number.contains("InvalidConfig"));
}
