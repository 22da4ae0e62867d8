use std::time::Duration;

use lightning_db_storage::vfs::MemVfs;

use super::*;
use crate::WalSyncMode;
use crate::config::options::read_key;

const PATH: &str = "/lightning_db.toml";

fn from(text: &[u8]) -> Result<LightningDbConfig> {
    let vfs = MemVfs::new();
    let file = vfs.open(Path::new(PATH), OpenHow::CreateNew).expect("a new file");
    file.write_all_at(text, 0).expect("room for it");
    let mut config = LightningDbConfig::default();
    apply(&mut config, &vfs, Path::new(PATH), &read_key)?;
    Ok(config)
}

fn refusal(text: &str) -> (String, String) {
    match from(text.as_bytes()) {
        Err(Error::InvalidConfig { option, reason }) => (option, reason),
        other => panic!("{text} gave {other:?}"),
    }
}

#[test]
fn the_documented_file_is_read() -> Result<()> {
    let config = from(
        br#"
        [database]
        cache_size_mb = 512
        page_size = 4096
        compression_enabled = true
        compression_type = "zstd"

        [transaction]
        max_active = 10000
        timeout_seconds = 30

        [wal]
        enabled = true
        sync_mode = "async"
        segment_size_mb = 64

        [monitoring]
        metrics_enabled = true
        metrics_port = 9090
        "#,
    )?;
    assert_eq!((config.cache_size, config.page_size), (512 << 20, 4096));
    assert_eq!((config.compression_enabled, config.compression_type), (true, 1));
    assert_eq!(
        (config.max_active_transactions, config.transaction_timeout),
        (10_000, Duration::from_secs(30))
    );
    assert_eq!((config.wal_enabled, config.wal_sync_mode), (true, WalSyncMode::Async));
    assert_eq!(config.wal_segment_size, 64 << 20);
    assert_eq!((config.metrics_enabled, config.metrics_port), (true, 9090));
    Ok(())
}

#[test]
fn the_file_shown_in_the_documentation_sets_every_option() -> Result<()> {
    let source = include_str!("../variables.rs");
    let lines = source.lines().skip_while(|line| !line.contains("```toml")).skip(1);
    let shown = lines
        .take_while(|line| !line.contains("```"))
        .map(|line| line.trim_start().trim_start_matches("///"));
    let shown: String = shown.flat_map(|line| [line, "\n"]).collect();
    let sections: Table = shown.parse().expect("the documentation shows TOML");
    for option in OPTIONS {
        let keys = sections.get(option.section).and_then(Value::as_table).expect(option.section);
        assert!(keys.keys().any(|key| option.spells(key)), "{}.{} is not shown", option.section, option.name);
    }
    let config = from(shown.as_bytes())?;
    assert_eq!(config.mmap_size, Some(1 << 30));
    assert_eq!(config.max_retained_log, 4 << 30);
    assert_eq!(config.compaction_interval, Duration::from_secs(60));
    assert!(config.encryption_enabled);
    Ok(())
}

#[test]
fn every_unknown_key_is_named() {
    let (option, _) = refusal("[database]\ncachesize = 1\n[wall]\nx = 1\n[wal]\nsync = true\n");
    for name in ["database.cachesize", "[wall]", "wal.sync", PATH] {
        assert!(option.contains(name), "{name} is not in {option}");
    }
    assert!(refusal("page_size = 4096").0.starts_with("page_size"));
}

#[test]
fn wrong_values_name_the_key_and_the_form() {
    for (text, key) in [
        ("[database]\ncache_size = \"lots\"", "database.cache_size "),
        ("[database]\ncache_size = -1", "database.cache_size "),
        ("[database]\ncache_size_mb = \"512MB\"", "database.cache_size_mb "),
        ("[database]\ncache_size_mb = 9223372036854775807", "database.cache_size_mb "),
        ("[database]\ncompression_enabled = \"yes\"", "database.compression_enabled "),
        ("[database]\ncompression_type = \"gzip\"", "database.compression_type "),
        ("[transaction]\nmax_active = 1.5", "transaction.max_active "),
        ("[transaction]\ntimeout = 30", "transaction.timeout "),
        ("[wal]\nsync_mode = \"always\"", "wal.sync_mode "),
        ("[monitoring]\nmetrics_port = 70000", "monitoring.metrics_port "),
        ("[encryption]\nkey = 7", "encryption.key "),
    ] {
        assert!(refusal(text).0.starts_with(key), "{text}: {:?}", refusal(text));
    }
}

#[test]
fn one_option_under_two_names_is_refused() {
    let (option, reason) = refusal("[database]\ncache_size = \"1GB\"\ncache_size_mb = 512");
    assert!(option.starts_with("database.cache_size_mb ") && reason.contains("cache_size"));
}

#[test]
fn an_explicit_switch_wins_over_the_key() -> Result<()> {
    assert!(from(b"[encryption]\nkey = \"env:K\"")?.encryption_enabled);
    let config = from(b"[encryption]\nenabled = false\nkey = \"env:K\"")?;
    assert!(!config.encryption_enabled && config.validate().is_err());
    Ok(())
}

#[test]
fn what_is_no_configuration_is_refused_without_repeating_it() {
    let (option, reason) = refusal("[database]\npage_size = 4096\nhunter2 hunter2\n");
    assert!(option.contains(PATH) && reason.contains("line 3"), "{option}: {reason}");
    assert!(!reason.contains("hunter2"), "{reason}");
    assert!(matches!(from(&[0xff, 0xfe]), Err(Error::InvalidConfig { .. })));
    assert!(matches!(from(&vec![b'#'; 1 << 21]), Err(Error::InvalidConfig { .. })));

    let mut config = LightningDbConfig::default();
    let missing = apply(&mut config, &MemVfs::new(), Path::new("/none.toml"), &read_key);
    assert!(matches!(missing, Err(Error::NotFound { what }) if what.contains("none.toml")));
}
