//! The life of the database that is kept: something of every kind that the format has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lightning_db::{Database, KeySource, LightningDbConfig};

use crate::archive::Archive;
use crate::support::{Machine, Model, plain, small};

/// Opens every golden database, and is published here: there is nothing to protect in it.
pub(crate) const KEY: [u8; 32] = *b"a published key of golden files.";
/// Opens them too.
pub(crate) const PASSPHRASE: &str = "a published passphrase";
/// The name of a restore point in every golden repository.
pub(crate) const POINT: &str = "before the second change";

const REPOSITORY: &str = "/repository";

/// How golden databases are opened.
pub(crate) fn config(encrypted: bool) -> LightningDbConfig {
    if encrypted { LightningDbConfig { encryption_key: KeySource::raw(KEY), ..small() } } else { plain() }
}

/// Lives it, in memory, and returns what is on the disk when the process was killed, with what the database held after
/// each commit.
pub(crate) fn live(encrypted: bool) -> Archive {
    let mut life = Life::begin(encrypted);
    life.train_a_dictionary();
    life.use_every_codec();
    life.back_up_and_go_back();
    life.leave_commits_in_the_log();
    let Life { machine, states, .. } = life;
    machine.plan().crash_at(0);
    let mut archive = Archive::default();
    for path in machine.disk.files() {
        let name = path.strip_prefix("/").expect("below the root").to_str().expect("a name").to_owned();
        archive.0.insert(name, machine.read(&path));
    }
    write_states(&mut archive, &states);
    archive
}

struct Life {
    machine: Machine,
    config: LightningDbConfig,
    db: Arc<Database>,
    model: Model,
    states: BTreeMap<u64, Model>,
}

impl Life {
    fn begin(encrypted: bool) -> Self {
        let (machine, config) = (Machine::new(20_261), config(encrypted));
        let db = machine.create(&config);
        let states = BTreeMap::from([(0, Model::new())]);
        Self { machine, config, db, model: Model::new(), states }
    }

    /// Two MiB of rows that are much alike, most of which are deleted again.
    fn train_a_dictionary(&mut self) {
        for round in 0..4 {
            let items: Vec<_> = (0..5000_u32).map(|row| (key(row), value(row, round, 150))).collect();
            for batch in items.chunks(500) {
                self.db.put_batch(batch).expect("put");
            }
            self.model.extend(items);
            self.db.compact().expect("compact");
        }
        let keys: Vec<_> = (40..5000).map(key).collect();
        self.db.delete_batch(&keys).expect("delete");
        keys.iter().for_each(|key| _ = self.model.remove(key));
        self.db.compact().expect("compact");
        self.remember();
    }

    /// A run of every codec, a large value, a checkpoint, another data key and another key slot.
    fn use_every_codec(&mut self) {
        for codec in 0..4 {
            self.reopen(LightningDbConfig { compression_type: codec, ..self.config.clone() });
            let first = codec * 60;
            self.batch(first..first + 60, codec, 90);
            self.db.checkpoint().expect("a run");
        }
        let large: Vec<u8> = (0..1_200_000_u32).map(|index| (index / 5000) as u8).collect();
        self.db.put(b"large", &large).expect("put");
        self.model.insert(b"large".to_vec(), large);
        self.remember();
        self.reopen(LightningDbConfig { compression_enabled: false, ..self.config.clone() });
        self.batch(300..330, 5, 30);
        self.db.checkpoint().expect("a run");
        self.db.create_named_checkpoint("kept").expect("a checkpoint");
        self.reopen(self.config.clone());
        if self.config.encryption_enabled {
            self.db.add_key(KeySource::passphrase(PASSPHRASE), "a passphrase").expect("add");
            self.db.rotate_data_key().expect("rotate");
        }
        self.batch(20..50, 6, 90);
    }

    /// Three backups over two histories.
    fn back_up_and_go_back(&mut self) {
        self.db.backup(REPOSITORY).expect("a full backup");
        for row in 0..5 {
            self.batch(row..row + 5, 7, 40);
        }
        self.db.create_restore_point(POINT).expect("a restore point");
        self.batch(5..15, 8, 40);
        self.db.backup(REPOSITORY).expect("an increment");
        let kept = self.db.named_checkpoints()[0].sequence.0;
        let sequence = self.db.rollback_to("kept").expect("go back");
        self.model = self.states[&kept].clone();
        self.states.insert(sequence.0, self.model.clone());
        self.batch(0..10, 9, 40);
        self.db.checkpoint().expect("a run");
        self.batch(10..14, 10, 40);
        self.db.delete_batch(&[key(3), key(4)]).expect("delete");
        self.model.remove(&key(3));
        self.model.remove(&key(4));
        self.remember();
        self.db.backup(REPOSITORY).expect("another increment");
    }

    /// One log that was closed, and one that was in use.
    fn leave_commits_in_the_log(&mut self) {
        self.batch(60..64, 11, 20);
        self.reopen(self.config.clone());
        for row in 70..76 {
            self.batch(row..row + 1, 12, 20);
        }
        self.db.create_restore_point("synced").expect("a restore point");
        self.batch(80..81, 13, 20);
    }

    fn batch(&mut self, rows: std::ops::Range<u32>, round: u32, len: usize) {
        let items: Vec<_> = rows.map(|row| (key(row), value(row, round, len))).collect();
        self.db.put_batch(&items).expect("put");
        self.model.extend(items);
        self.remember();
    }

    fn remember(&mut self) {
        self.states.insert(self.db.last_sequence().0, self.model.clone());
    }

    fn reopen(&mut self, config: LightningDbConfig) {
        self.db.close().expect("close");
        self.db = self.machine.reopen(&config);
    }
}

fn key(row: u32) -> Vec<u8> {
    format!("customer/{row:05}/address").into_bytes()
}

fn value(row: u32, round: u32, len: usize) -> Vec<u8> {
    let mut text = format!("{{\"row\": {row}, \"round\": {round}, \"street\": \"");
    while text.len() < len {
        text.push_str(["Elm Street, ", "Oak Road, ", "Mill Lane, "][(row + round) as usize % 3]);
    }
    text.into_bytes()
}

/// `states/N` is what the database held after commit N: key and value of each row, each after its length (u32).
fn write_states(archive: &mut Archive, states: &BTreeMap<u64, Model>) {
    for (sequence, state) in states {
        let mut bytes = Vec::new();
        for part in state.iter().flat_map(|(key, value)| [key, value]) {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        archive.0.insert(format!("states/{sequence:06}"), bytes);
    }
}

/// What the database of an archive held after each commit.
pub(crate) fn read_states(archive: &Archive) -> BTreeMap<u64, Model> {
    let states = archive.0.iter().filter(|(path, _)| Path::new(path).starts_with("states"));
    let parse = |(path, bytes): (&String, &Vec<u8>)| {
        let mut rest = bytes.as_slice();
        let mut part = || {
            let (len, behind) = rest.split_first_chunk::<4>()?;
            let (part, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
            rest = behind;
            Some(part.to_vec())
        };
        let mut state = Model::new();
        while let Some(key) = part() {
            state.insert(key, part().expect("a value behind each key"));
        }
        (path["states/".len()..].parse().expect("a number"), state)
    };
    states.map(parse).collect()
}
