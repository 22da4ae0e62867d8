//! What is done in each row, one file for each family.

mod backup;
mod mixed;
pub mod open;
mod read;
mod sync;
mod write;

use std::fs;

use crate::Result;
use crate::data::{Data, mix};
use crate::engine::{Engine, Settings};
use crate::matrix::Group;
use crate::measure::{Outcome, Run};
use crate::options::Plan;

/// A group of rows over one data set, in one child.
pub trait Workload {
    /// Runs a row once.
    ///
    /// # Errors
    /// Whatever goes wrong; the next rows can be run all the same.
    fn run(&mut self, row: &str) -> Result<Outcome>;

    /// The engine's settings, as they are printed.
    fn settings(&self) -> Vec<(&'static str, String)>;
}

/// Prepares a group: loads what its rows read.
///
/// # Errors
/// The engine's.
pub fn prepare(plan: &Plan) -> Result<Box<dyn Workload>> {
    clear(plan)?;
    Ok(match plan.group {
        Group::ReadL3 | Group::ReadCached | Group::ReadCold => Box::new(read::Reads::prepare(plan)?),
        Group::Mixed => Box::new(mixed::Mixed::prepare(plan)?),
        Group::Write => Box::new(write::Writes::prepare(plan)?),
        Group::Sync => Box::new(sync::Syncs::prepare(plan)?),
        Group::Open => Box::new(open::Opens::prepare(plan)?),
        Group::Backup => Box::new(backup::Backups::prepare(plan)?),
    })
}

/// Removes what an earlier run left.
fn clear(plan: &Plan) -> Result<()> {
    match fs::remove_dir_all(&plan.directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(fs::create_dir_all(&plan.directory)?),
    }
}

impl Plan {
    /// The data set.
    #[must_use]
    pub fn data(&self) -> Data {
        Data::new(self.keys, self.value_bytes)
    }

    /// What the engine is opened with, in a directory of the plan's by this name.
    #[must_use]
    pub fn settings(&self, name: &str) -> Settings {
        Settings {
            directory: self.directory.join(name),
            cache_bytes: self.cache_bytes,
            data_bytes_max: 2 * self.data().bytes(),
            durability: self.durability,
        }
    }
}

/// How many entries are written in one commit when data is loaded.
const LOAD_BATCH: u64 = 1000;

/// Loads the data set, in an order that looks random, in large commits.
fn load(engine: &dyn Engine, data: Data) -> Result<()> {
    engine.session(&mut |session| {
        let mut items = Vec::new();
        for first in (0..data.keys).step_by(LOAD_BATCH as usize) {
            batch(&mut items, data, first..(first + LOAD_BATCH).min(data.keys), 0);
            session.put_batch(&items)?;
        }
        Ok(())
    })
}

/// Makes `items` the entries that are loaded as the numbers in `range`, in some version.
fn batch(items: &mut Vec<(Vec<u8>, Vec<u8>)>, data: Data, range: std::ops::Range<u64>, version: u64) {
    items.resize_with((range.end - range.start) as usize, Default::default);
    for (nth, (key, value)) in range.zip(items.iter_mut()) {
        let position = data.nth_loaded(nth);
        key.clear();
        key.extend_from_slice(&data.key(position));
        data.fill(position, version, value);
    }
}

/// Runs `work` in a session of the engine and returns what it measured.
fn in_session(
    engine: &dyn Engine,
    mut work: impl FnMut(&mut dyn crate::engine::Session) -> Result<Run>,
) -> Result<Run> {
    let mut measured = None;
    engine.session(&mut |session| {
        measured = Some(work(session)?);
        Ok(())
    })?;
    measured.ok_or_else(|| "the session did nothing".into())
}

/// A version that no other write has, as a number for values.
fn version(thread: u64, number: u64) -> u64 {
    mix(thread) ^ number
}

/// An error for a row that a family does not have.
fn unknown(row: &str) -> crate::Error {
    format!("there is no row {row}").into()
}
