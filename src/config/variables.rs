//! Options from environment variables.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use lightning_db_crypto::KeySource;
use lightning_db_storage::vfs::Vfs;

use super::options::{Entry, OPTIONS, ReadKey, read_key};
use super::{LightningDbConfig, file};
use crate::environment::Environment;
use crate::error::{Error, Result};

impl LightningDbConfig {
    /// The defaults, changed by the environment.
    ///
    /// Each option has a variable: `LIGHTNING_DB_` and the field's name in capitals, as in
    /// `LIGHTNING_DB_CACHE_SIZE=512MB`; `LIGHTNING_DB_KEY` names the encryption key as a URI. Other variables that
    /// begin alike are ignored: container platforms set some of their own for a service of this name.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the variable.
    pub fn from_environment() -> Result<Self> {
        from_environment(&read_key)
    }

    /// As [`from_environment`](Self::from_environment), where `keys` reads key URIs: for the services of other crates, such as
    /// `lightning_db_key_services::key_source`.
    ///
    /// # Errors
    /// As there; what `keys` says goes into the error.
    pub fn from_environment_with_keys<E: Display>(
        keys: impl Fn(&str) -> Result<KeySource, E>,
    ) -> Result<Self> {
        from_environment(&|uri| keys(uri).map_err(|error| error.to_string()))
    }

    /// As [`from_environment`](Self::from_environment), with this key (or none) in place of what the variables say
    /// about encryption, which are not read: for programs that find the key in their own way, such as by asking.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the variable.
    pub fn from_environment_with(key: KeySource) -> Result<Self> {
        let mut config = Self { encryption_enabled: !key.is_none(), encryption_key: key, ..Self::default() };
        apply_some(&mut config, &variable, &read_key, |option| option.section != "encryption")?;
        config.validate()?;
        Ok(config)
    }

    /// The defaults, changed by the file at `path`, changed by the environment (as
    /// [`from_environment`](Self::from_environment)).
    ///
    /// The file is TOML:
    ///
    /// ```toml
    /// [database]
    /// cache_size_mb = 512             # or cache_size = "512MB"; units are powers of 1024
    /// page_size = 4096
    /// mmap_size = "1GB"
    /// write_buffer_size_mb = 32
    /// compression_enabled = true
    /// compression_type = "zstd"       # adaptive, zstd, lz4, snappy
    /// compression_level = 3
    /// use_lock_free_cache = true
    /// use_simd = true
    ///
    /// [freshness]
    /// anchor = "file:/elsewhere/mydb.mark"
    /// policy = "refuse"               # ignore, warn, refuse
    ///
    /// [encryption]
    /// key = "file:/etc/lightning.key" # where the key is; turns encryption on
    /// enabled = true
    ///
    /// [transaction]
    /// max_active = 10000
    /// timeout_seconds = 30            # or timeout = "30s"
    /// lock_timeout = "5s"
    /// optimized = true
    ///
    /// [wal]
    /// enabled = true
    /// sync_mode = "async"             # async, sync, periodic:100ms
    /// improved = true
    /// segment_size_mb = 64
    /// max_retained = "4GB"
    ///
    /// [prefetch]
    /// enabled = true
    /// distance = 8
    /// workers = 2
    ///
    /// [compaction]
    /// background = true
    /// interval_seconds = 60
    /// workers = 2
    ///
    /// [server]
    /// max_connections = 1000
    /// rate_limit_ops_per_second = 0
    ///
    /// [monitoring]
    /// metrics_enabled = true
    /// metrics_port = 9090
    ///
    /// [logging]
    /// level = "info"
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such file; [`Error::InvalidConfig`] naming the key or the variable that
    /// is unknown, out of range or contradicts another one.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        load(path.as_ref(), &*Environment::default().vfs, &variable, &read_key)
    }

    /// As [`load`](Self::load), where `keys` reads key URIs: for the services of other crates, such as
    /// `lightning_db_key_services::key_source`.
    ///
    /// ```
    /// use lightning_db::{KeySource, LightningDbConfig};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("lightning_db.toml");
    /// # std::fs::write(&path, "[encryption]\nkey = \"mine:7\"\n")?;
    /// let config = LightningDbConfig::load_with_keys(&path, |uri| match uri.split_once(':') {
    ///     Some(("mine", number)) => Ok(KeySource::raw([number.len() as u8; 32])),
    ///     _ => Err("it is mine: and a number"),
    /// })?;
    /// assert!(config.encryption_enabled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there; what `keys` says goes into the error.
    pub fn load_with_keys<E: Display>(
        path: impl AsRef<Path>,
        keys: impl Fn(&str) -> Result<KeySource, E>,
    ) -> Result<Self> {
        let read_key = |uri: &str| keys(uri).map_err(|error| error.to_string());
        load(path.as_ref(), &*Environment::default().vfs, &variable, &read_key)
    }
}

fn from_environment(read_key: ReadKey<'_>) -> Result<LightningDbConfig> {
    let mut config = LightningDbConfig::default();
    apply(&mut config, &variable, read_key)?;
    config.validate()?;
    Ok(config)
}

pub(super) fn load(
    path: &Path,
    vfs: &dyn Vfs,
    lookup: &dyn Fn(&str) -> Result<Option<String>>,
    read_key: ReadKey<'_>,
) -> Result<LightningDbConfig> {
    let mut config = LightningDbConfig::default();
    file::apply(&mut config, vfs, path, read_key)?;
    apply(&mut config, lookup, read_key)?;
    config.validate()?;
    Ok(config)
}

/// An environment variable that is text. The environment is read here alone.
///
/// # Errors
/// [`Error::InvalidConfig`] when it is not UTF-8.
pub(crate) fn variable(name: &str) -> Result<Option<String>> {
    env::var_os(name)
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| Error::config(name, "it is not UTF-8"))
}

fn apply(
    config: &mut LightningDbConfig,
    lookup: &dyn Fn(&str) -> Result<Option<String>>,
    read_key: ReadKey<'_>,
) -> Result<()> {
    apply_some(config, lookup, read_key, |_| true)
}

fn apply_some(
    config: &mut LightningDbConfig,
    lookup: &dyn Fn(&str) -> Result<Option<String>>,
    read_key: ReadKey<'_>,
    wanted: fn(&Entry) -> bool,
) -> Result<()> {
    for option in OPTIONS.iter().filter(|option| wanted(option)) {
        if let Some(text) = lookup(option.variable)? {
            let outcome = option.kind.set_text(config, &text, read_key);
            outcome.map_err(|reason| Error::config(option.variable, reason))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lightning_db_storage::vfs::{MemVfs, OpenHow};
    use log::LevelFilter;

    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<LightningDbConfig> {
        let mut config = LightningDbConfig::default();
        let find = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
        apply(&mut config, &|name| Ok(find(name)), &read_key)?;
        Ok(config)
    }

    #[test]
    fn the_documented_variables_are_read() -> Result<()> {
        let config = from(&[
            ("LIGHTNING_DB_CACHE_SIZE", "512MB"),
            ("LIGHTNING_DB_PREFETCH_WORKERS", "4"),
            ("LIGHTNING_DB_METRICS_PORT", "9091"),
            ("LIGHTNING_DB_LOG_LEVEL", "debug"),
            ("LIGHTNING_DB_KEY", "env:THE_KEY"),
            ("LIGHTNING_DB_TRANSACTION_TIMEOUT", "2m"),
            ("LIGHTNING_DB_SERVICE_HOST", "10.0.0.1"),
        ])?;
        assert_eq!(config.cache_size, 512 << 20);
        assert_eq!((config.prefetch_workers, config.metrics_port), (4, 9091));
        assert_eq!(config.log_level, LevelFilter::Debug);
        assert_eq!(config.transaction_timeout, Duration::from_secs(120));
        assert!(config.encryption_enabled && !config.encryption_key.is_none());
        Ok(())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() -> Result<()> {
        let vfs = MemVfs::new();
        let path = Path::new("/lightning_db.toml");
        let text = b"[database]\ncache_size_mb = 512\npage_size = 8192";
        vfs.open(path, OpenHow::CreateNew).and_then(|file| file.write_all_at(text, 0)).expect("a new file");

        let cache_1_gb = |name: &str| Ok((name == "LIGHTNING_DB_CACHE_SIZE").then(|| "1GB".to_owned()));
        let config = load(path, &vfs, &cache_1_gb, &read_key)?;
        assert_eq!((config.cache_size, config.page_size, config.prefetch_distance), (1 << 30, 8192, 8));

        let odd_pages = |name: &str| Ok((name == "LIGHTNING_DB_PAGE_SIZE").then(|| "5000".to_owned()));
        let refused = load(path, &vfs, &odd_pages, &read_key);
        assert!(matches!(refused, Err(Error::InvalidConfig { option, .. }) if option == "page_size"));
        Ok(())
    }

    #[test]
    fn other_crates_read_their_key_uris_wherever_one_stands() -> Result<()> {
        let vfs = MemVfs::new();
        let path = Path::new("/lightning_db.toml");
        let text = b"[encryption]\nkey = \"theirs:file\"";
        vfs.open(path, OpenHow::CreateNew).and_then(|file| file.write_all_at(text, 0)).expect("a new file");
        let theirs = |uri: &str| {
            let place = uri.strip_prefix("theirs:").ok_or("it begins with theirs:")?;
            Ok(KeySource::env(place))
        };
        let config = load(path, &vfs, &|_| Ok(None), &theirs)?;
        assert!(config.encryption_enabled);
        assert_eq!(format!("{:?}", config.encryption_key), "KeySource(env:file)");
        let variable = |name: &str| Ok((name == "LIGHTNING_DB_KEY").then(|| "theirs:variable".to_owned()));
        let config = load(path, &vfs, &variable, &theirs)?;
        assert_eq!(format!("{:?}", config.encryption_key), "KeySource(env:variable)");

        let mistaken = |name: &str| Ok((name == "LIGHTNING_DB_KEY").then(|| "hunter2".to_owned()));
        for refused in [load(path, &vfs, &mistaken, &theirs), load(path, &vfs, &|_| Ok(None), &read_key)] {
            let error = refused.expect_err("no key URI");
            assert!(matches!(&error, Error::InvalidConfig { .. }), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_file_of_the_system_is_loaded() -> std::io::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), "[prefetch]\nenabled = false\n")?;
        let config = LightningDbConfig::load(file.path()).expect("a valid file");
        assert!(!config.prefetch_enabled);
        Ok(())
    }

    #[test]
    fn text_that_is_no_value_names_the_variable() {
        for (name, text) in [
            ("LIGHTNING_DB_CACHE_SIZE", "lots"),
            ("LIGHTNING_DB_CACHE_SIZE", ""),
            ("LIGHTNING_DB_PREFETCH_WORKERS", "four"),
            ("LIGHTNING_DB_PREFETCH_WORKERS", "-1"),
            ("LIGHTNING_DB_METRICS_PORT", "65536"),
            ("LIGHTNING_DB_LOG_LEVEL", "loud"),
            ("LIGHTNING_DB_WAL_ENABLED", "maybe"),
            ("LIGHTNING_DB_WAL_SYNC_MODE", "periodic"),
            ("LIGHTNING_DB_TRANSACTION_TIMEOUT", "30"),
            ("LIGHTNING_DB_KEY", "nonsense:x"),
        ] {
            let result = from(&[(name, text)]);
            assert!(
                matches!(&result, Err(Error::InvalidConfig { option, .. }) if option == name),
                "{name}={text}: {result:?}"
            );
        }
    }

    #[test]
    fn a_key_that_was_found_elsewhere_stays() -> Result<()> {
        let mut config = LightningDbConfig::default();
        let other = |name: &str| Ok((name == "LIGHTNING_DB_KEY").then(|| "env:OTHER".to_owned()));
        apply_some(&mut config, &other, &read_key, |option| option.section != "encryption")?;
        assert!(!config.encryption_enabled && config.encryption_key.is_none());
        let config = LightningDbConfig::from_environment_with(KeySource::file("/k"))?;
        assert!(config.encryption_enabled);
        assert_eq!(format!("{:?}", config.encryption_key), "KeySource(file:/k)");
        Ok(())
    }

    #[test]
    fn a_key_pasted_in_place_of_its_uri_is_not_repeated() {
        let error = from(&[("LIGHTNING_DB_KEY", "deadbeefdeadbeef")]).expect_err("no URI");
        assert!(!error.to_string().contains("deadbeef") && !format!("{error:?}").contains("deadbeef"));
    }
}
