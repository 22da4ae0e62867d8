//! What database and repository must hold after a power cut.

use std::path::Path;

use lightning_db::{CheckDepth, Database, KeySource, RestoreOptions};

use super::load::{
    Counts, KEPT, KEY, Mode, THREADS, config, counter, database, entries, entry, neighbour, read_number,
    repository, seen,
};
use crate::coverage::Coverage;

/// What the process said, by thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// The newest commit that was acknowledged.
    committed: Counts,
    /// The newest that is surely on stable storage.
    synced: Counts,
    /// The newest that is surely in the repository.
    backed_up: Option<Counts>,
    checkpoints: u64,
    backups: u64,
}

impl Acknowledged {
    /// Takes a line of the process, if it is one.
    pub(super) fn add(&mut self, line: &str) -> Option<()> {
        let (what, rest) = line.split_once(' ')?;
        let numbers: Vec<u64> = rest.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
        if what == "c" {
            let [thread, number] = numbers[..] else { return None };
            *self.committed.get_mut(usize::try_from(thread).ok()?)? = number;
            return Some(());
        }
        let counts: Counts = numbers.try_into().ok()?;
        self.synced = std::array::from_fn(|thread| self.synced[thread].max(counts[thread]));
        match what {
            "s" => self.checkpoints += 1,
            "b" => {
                self.backups += 1;
                self.backed_up = Some(counts);
            }
            _ => return None,
        }
        Some(())
    }

    /// How many commits were acknowledged.
    pub(super) fn commits(&self) -> u64 {
        self.committed.iter().sum()
    }
}

/// Opens everything, compares it with what was told, and returns what holds from now on.
///
/// # Errors
/// What was lost, or is there and should not be.
pub(super) fn look(
    place: &Path,
    mode: Mode,
    told: &Acknowledged,
    coverage: &mut Coverage,
) -> Result<Acknowledged, String> {
    let db = Database::open(database(place), config(mode)).map_err(|error| format!("opening: {error}"))?;
    let counts = hold(&db)?;
    let is_sync = matches!(mode, Mode::Sync | Mode::SyncCalls);
    for (thread, &held) in counts.iter().enumerate() {
        let (told, synced) = (told.committed[thread], told.synced[thread]);
        let least = if is_sync { told } else { synced };
        if held < least {
            return Err(format!("thread {thread} has {held} commits, {least} were promised to last"));
        }
        if held > told + 1 {
            return Err(format!("thread {thread} has {held} commits, and did {told} and perhaps one more"));
        }
        coverage.add("commits lost that may be", told.saturating_sub(held));
    }
    let report = db.check(CheckDepth::Deep).map_err(|error| format!("checking: {error}"))?;
    if report.errors > 0 {
        return Err(format!("the check found {report:?}"));
    }
    db.close().map_err(|error| format!("closing: {error}"))?;
    if let Some(least) = told.backed_up {
        look_into_repository(place, least)?;
        coverage.hit("repositories restored");
    }
    coverage.add("checkpoints acknowledged", told.checkpoints);
    coverage.add("backups acknowledged", told.backups);
    // What an open has found is in synced files.
    Ok(Acknowledged {
        committed: counts,
        synced: counts,
        backed_up: told.backed_up,
        ..Acknowledged::default()
    })
}

fn look_into_repository(place: &Path, least: Counts) -> Result<(), String> {
    let target = tempfile::tempdir_in(place).map_err(|error| error.to_string())?;
    let restored = target.path().join("restored");
    let options = RestoreOptions { encryption_key: KeySource::raw(KEY), ..RestoreOptions::default() };
    let done = Database::restore(repository(place), &restored, options);
    done.map_err(|error| format!("restoring: {error}"))?;
    let db = Database::open(&restored, config(Mode::Async)).map_err(|error| format!("restored: {error}"))?;
    let counts = hold(&db).map_err(|what| format!("restored: {what}"))?;
    if (0..THREADS).any(|thread| counts[thread] < least[thread]) {
        return Err(format!("the repository has {counts:?} commits, and {least:?} were backed up"));
    }
    db.close().map_err(|error| format!("closing what was restored: {error}"))
}

/// How far each thread is, if everything that `db` holds belongs to one moment.
fn hold(db: &Database) -> Result<Counts, String> {
    let number = |key: &[u8]| read_number(db, key).map_err(|error| error.to_string());
    let mut counts = Counts::default();
    for (thread, count) in counts.iter_mut().enumerate() {
        *count = number(&counter(thread))?;
    }
    for thread in 0..THREADS {
        let count = counts[thread];
        let mut expected = (count.saturating_sub(KEPT) + 1..=count).map(|number| entry(thread, number));
        let found = db.scan_prefix(&entries(thread)).map_err(|error| error.to_string())?;
        for item in found {
            let item = item.map_err(|error| error.to_string())?;
            if expected.next().as_ref() != Some(&item) {
                let key = String::from_utf8_lossy(&item.0);
                return Err(format!("{key} is there, or is as it is, at {count} commits of thread {thread}"));
            }
        }
        if let Some((key, _)) = expected.next() {
            return Err(format!("{} is missing of {count} commits", String::from_utf8_lossy(&key)));
        }
        let (other, saw) = (neighbour(thread), number(&seen(thread))?);
        if counts[other] < saw {
            let there = counts[other];
            return Err(format!(
                "thread {thread} saw {saw} commits of thread {other}, and {there} are there"
            ));
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_says_is_understood() {
        let mut told = Acknowledged::default();
        for line in ["c 1 7", "s 0 6 0", "b 0 5 2"] {
            assert_eq!(told.add(line), Some(()), "{line}");
        }
        assert_eq!((told.committed, told.synced, told.backed_up), ([0, 7, 0], [0, 6, 2], Some([0, 5, 2])));
        for line in ["c 9 1", "c 1", "s 1", "x 0 0 0", ""] {
            assert_eq!(told.add(line), None, "{line:?}");
        }
    }
}
