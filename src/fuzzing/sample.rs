//! A small database with a repository, as files, and what it held after each commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lightning_db_crypto::{KeySource, SeededEntropy};
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::vfs::{Keep, MemVfs, OpenHow, Vfs};

use super::{Input, edit};
use crate::config::{LightningDbConfig, WalSyncMode};
use crate::database::Database;
use crate::environment::Environment;
use crate::error::Result;

pub(super) const DATABASE: &str = "/db";
pub(super) const REPOSITORY: &str = "/repository";

/// What a database holds.
pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Files with their paths.
pub(super) type Files = Vec<(PathBuf, Vec<u8>)>;

pub(super) struct Sample {
    pub(super) files: Files,
    /// The content after each commit, by its sequence number; empty at 0.
    pub(super) states: Vec<Model>,
    /// The last commit that was synced before the files were taken.
    pub(super) synced: u64,
}

/// The sample. It is of a process that was killed, so that the log is needed.
pub(super) fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| make().expect("a database in memory"))
}

pub(super) fn config() -> LightningDbConfig {
    LightningDbConfig {
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        max_retained_log: 1 << 20,
        page_size: 1024,
        cache_size: 64 << 10,
        wal_sync_mode: WalSyncMode::Async,
        improved_wal: false,
        encryption_enabled: true,
        encryption_key: key(),
        prefetch_enabled: false,
        background_compaction: false,
        compaction_interval: Duration::from_secs(3600),
        ..LightningDbConfig::default()
    }
}

pub(super) fn key() -> KeySource {
    KeySource::raw([0x5a; 32])
}

pub(super) fn environment(disk: &MemVfs, seed: u64) -> Environment {
    Environment {
        vfs: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(seed)),
    }
}

fn make() -> Result<Sample> {
    let disk = MemVfs::new();
    let clock = ManualClock::new(1_700_000_000_000_000);
    let environment = Environment { clock: Arc::new(clock.clone()), ..environment(&disk, 1) };
    let db = Database::create_in(environment, DATABASE, config())?;
    let mut maker = Maker { db: &db, clock, states: vec![Model::new()] };
    let entry =
        |number: usize, len: usize| (format!("key-{number:03}").into_bytes(), vec![number as u8; len]);
    let many: Vec<_> = (0..60).map(|number| entry(number, 40)).collect();
    maker.commit(&many, &[])?;
    maker.commit(&[(b"large".to_vec(), vec![7; 70 << 10])], &[b"key-003"])?;
    db.compact()?;
    db.create_named_checkpoint("named")?;
    maker.commit(&[entry(70, 900), entry(5, 3)], &[b"key-010"])?;
    db.create_restore_point("a point")?;
    db.backup(REPOSITORY)?;
    maker.commit(&[entry(71, 10)], &[b"key-011", b"key-070"])?;
    db.backup(REPOSITORY)?;
    let synced = maker.states.len() as u64 - 1;
    maker.commit(&[entry(72, 20)], &[])?;
    maker.commit(&[entry(73, 30)], &[b"key-012"])?;
    let files = disk.files().into_iter().map(|path| (path.clone(), read(&disk, &path))).collect();
    Ok(Sample { files, states: maker.states, synced })
}

struct Maker<'a> {
    db: &'a Database,
    clock: ManualClock,
    states: Vec<Model>,
}

impl Maker<'_> {
    fn commit(&mut self, puts: &[(Vec<u8>, Vec<u8>)], deletes: &[&[u8]]) -> Result<()> {
        self.clock.advance(Duration::from_secs(1));
        self.db.execute_transaction(|tx| {
            puts.iter().try_for_each(|(key, value)| tx.put(key, value))?;
            deletes.iter().try_for_each(|key| tx.delete(key))
        })?;
        let mut state = self.states[self.states.len() - 1].clone();
        state.extend(puts.iter().cloned());
        state.retain(|key, _| !deletes.contains(&key.as_slice()));
        self.states.push(state);
        Ok(())
    }
}

fn read(disk: &MemVfs, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenHow::Read).expect("it was listed");
    let mut bytes = vec![0; file.len().expect("its length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    bytes
}

/// A disk with these files, on the same machine that wrote them, or one that was started again.
pub(super) fn disk(files: &Files, restarted: bool) -> MemVfs {
    let disk = MemVfs::new();
    for (path, bytes) in files {
        let folders: Vec<&Path> = path.ancestors().skip(1).collect();
        for folder in folders.into_iter().rev().skip(1) {
            // It may be there already.
            let _ = disk.create_dir(folder);
        }
        let file = disk.open(path, OpenHow::CreateNew).expect("each path once");
        file.write_all_at(bytes, 0).expect("memory");
    }
    if restarted {
        disk.crash(&mut || 0, Keep::Everything);
    }
    disk
}

/// Changes some of the files below `root` as somebody without the key can; whether any is not as it was.
pub(super) fn change(files: &mut Files, root: &str, input: &mut Input<'_>) -> bool {
    while !input.is_empty() {
        let own: Vec<usize> = (0..files.len()).filter(|index| files[*index].0.starts_with(root)).collect();
        if own.is_empty() {
            break;
        }
        let (which, other) = (own[input.below(own.len())], own[input.below(own.len())]);
        match input.byte() % 8 {
            0 => drop(files.remove(which)),
            1 => files[which].1 = files[other].1.clone(),
            2 if which != other => {
                let path = files[which].0.clone();
                files[which].0 = std::mem::replace(&mut files[other].0, path);
            }
            _ => {
                let edits = input.chunk();
                let bytes = &mut files[which].1;
                // Logs are empty for the most part: changes go to where something is, and just behind.
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                let rest = bytes.split_off((used + 100).min(bytes.len()));
                edit(bytes, &mut Input::new(edits));
                bytes.extend_from_slice(&rest);
            }
        }
    }
    let by_path = |files: &Files| files.iter().cloned().collect::<BTreeMap<_, _>>();
    by_path(files) != by_path(&sample().files)
}

/// All that a database holds, if all of it can be read.
pub(super) fn content(db: &Database) -> Result<Model> {
    db.scan(None, None)?.collect()
}
