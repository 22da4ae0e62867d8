//! Options as text that anybody may have written.

use std::path::Path;
use std::sync::Arc;

use lightning_db_storage::vfs::{MemVfs, OpenHow, Vfs};

use super::options::{OPTIONS, read_key};
use super::units::{parse_duration, parse_size};
use super::{LightningDbConfig, variables};
use crate::error::Error;
use crate::fuzzing::{Input, Target};

/// The configuration file.
pub const CONFIG_FILE: Target = Target {
    name: "config_file",
    run: file,
    seeds: || {
        let text = "[database]\ncache_size_mb = 512\npage_size = 4096\nmmap_size = \"1GB\"\n\
            compression_type = \"zstd\"\n[encryption]\nkey = \"file:/etc/lightning.key\"\nenabled = true\n\
            [transaction]\nlock_timeout = \"5s\"\ntimeout_seconds = 30\n[wal]\nsync_mode = \"periodic:100ms\"\n\
            [logging]\nlevel = \"info\"\n";
        vec![text.into(), b"[database]\ncache_size = -1\n".to_vec(), b"x = 1".to_vec(), b"[wal".to_vec()]
    },
    room: 1 << 20,
};

/// The value of each option, and units.
pub const CONFIG_VALUES: Target = Target {
    name: "config_values",
    run: values,
    seeds: || {
        let texts =
            ["512MB", "30s", "periodic:100ms", "zstd", "true", "18446744073709551615t", "file:/x", "info"];
        texts.map(|text| [&[0], text.as_bytes()].concat()).to_vec()
    },
    room: 64 << 10,
};

fn file(data: &[u8]) {
    let (disk, path) = (MemVfs::new(), Path::new("/lightning_db.toml"));
    let file = disk.open(path, OpenHow::CreateNew).expect("a new file");
    file.write_all_at(data, 0).expect("memory");
    let vfs: Arc<dyn Vfs> = Arc::new(disk);
    match variables::load(path, &*vfs, &|_| Ok(None), &read_key) {
        Ok(config) => config.validate().expect("it was accepted"),
        Err(Error::InvalidConfig { .. }) => {}
        Err(error) => panic!("not an error of a configuration: {error}"),
    }
}

fn values(data: &[u8]) {
    let mut input = Input::new(data);
    let number = input.byte();
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    for option in OPTIONS {
        let mut config = LightningDbConfig::default();
        // Accepted or refused with a reason; never anything else.
        if let Err(reason) = option.kind.set_text(&mut config, text, &read_key) {
            assert!(!reason.is_empty());
        } else {
            let _ = config.validate();
        }
    }
    for unit in ["B", "KB", "MB", "GB", "TB"] {
        assert!(parse_size(&format!("{number}{unit}")).is_ok());
    }
    if let Ok(bytes) = parse_size(text) {
        assert_eq!(parse_size(&bytes.to_string()), Ok(bytes));
    }
    if let Ok(duration) = parse_duration(text)
        && duration.subsec_nanos() == 0
    {
        assert_eq!(parse_duration(&format!("{}s", duration.as_secs())), Ok(duration));
    }
}
