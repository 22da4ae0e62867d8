//! What a database was told, and so what it may hold: after a crash, after an error, and at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The entries of a database at one moment.
pub(super) type Model = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// What was told to one database, and to what was made from it.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// Whether there is a database.
    pub(super) created: Surety,
    /// What it held after each acknowledged commit; by sequence number, so the first is empty.
    states: Vec<Arc<Model>>,
    /// What it may hold after the next commit: those that failed, or were under way at the crash.
    maybe: Vec<Arc<Model>>,
    /// Commits up to this one were promised to survive a power cut.
    durable: usize,
    /// Whether a commit survives the end of the process.
    pub(super) is_logged: bool,
    /// Named checkpoints.
    pub(super) named: BTreeMap<&'static str, Kept>,
    /// Directories with databases that were copied or restored.
    pub(super) copies: BTreeMap<&'static str, Kept>,
    /// Repositories.
    pub(super) repositories: BTreeMap<&'static str, Backups>,
    /// Restore points, with the commits before them.
    pub(super) points: BTreeMap<&'static str, (usize, Surety)>,
    /// Keys that open the database.
    pub(super) keys: BTreeMap<u8, Surety>,
    /// Whether it ever stepped back to a checkpoint: the numbers of commits then do not say all about a moment.
    pub(super) forked: bool,
}

/// How sure it is that something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surety {
    /// It is not there, whatever happened.
    No,
    /// Somebody tried to make it or to remove it, and was not told that it is done.
    Maybe,
    /// It is there.
    Yes,
}

/// Something that holds what the database held at a moment.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) model: Arc<Model>,
    pub(super) surety: Surety,
}

/// The backups in one repository.
#[derive(Clone, Debug, Default)]
pub(super) struct Backups {
    /// Those that were acknowledged, by number.
    pub(super) made: BTreeMap<u64, Arc<Model>>,
    /// What those may hold that were not.
    pub(super) maybe: Vec<Arc<Model>>,
    /// Those whose deletion was not acknowledged.
    pub(super) going: BTreeSet<u64>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Killed: the system goes on.
    Kill,
    /// With all power.
    PowerCut,
}

impl Ledger {
    /// There is nothing yet.
    pub(super) fn new(is_logged: bool) -> Self {
        Self {
            created: Surety::No,
            states: vec![Arc::default()],
            maybe: Vec::new(),
            durable: 0,
            is_logged,
            named: BTreeMap::new(),
            copies: BTreeMap::new(),
            repositories: BTreeMap::new(),
            points: BTreeMap::new(),
            keys: BTreeMap::from([(1, Surety::Yes)]),
            forked: false,
        }
    }

    /// What the database holds now.
    pub(super) fn current(&self) -> &Arc<Model> {
        &self.states[self.acknowledged()]
    }

    /// The number of the newest acknowledged commit.
    pub(super) fn acknowledged(&self) -> usize {
        self.states.len() - 1
    }

    /// What the database held after commit `sequence`.
    pub(super) fn state(&self, sequence: usize) -> Option<&Arc<Model>> {
        self.states.get(sequence)
    }

    /// A commit begins that leads to `next`.
    pub(super) fn attempt(&mut self, next: Arc<Model>) {
        self.maybe.push(next);
    }

    /// The newest attempt was acknowledged: nothing else has its number any more.
    pub(super) fn acknowledge(&mut self) {
        if let Some(next) = self.maybe.pop() {
            self.states.push(next);
        }
        self.maybe.clear();
    }

    /// What is acknowledged was promised to survive a power cut.
    pub(super) fn promise(&mut self) {
        self.durable = self.acknowledged();
    }

    /// The commit that at least has to be there after such an end.
    pub(super) fn floor(&self, end: End) -> usize {
        if end == End::Kill && self.is_logged { self.acknowledged() } else { self.durable }
    }

    /// Whether a database with this newest commit and these entries may be what was left. It is what it is from then on:
    /// what was found is on stable storage.
    pub(super) fn settle(&mut self, sequence: u64, found: &Model, floor: usize) -> Result<(), String> {
        let at = sequence as usize;
        if at < floor {
            return Err(format!("{floor} commits were promised, {at} are there"));
        }
        let known = match self.states.get(at) {
            Some(state) => std::slice::from_ref(state),
            None if at == self.states.len() && !self.maybe.is_empty() => self.maybe.as_slice(),
            None => {
                return Err(format!("commit {at} never happened, the newest was {}", self.acknowledged()));
            }
        };
        let Some(state) = known.iter().find(|state| ***state == *found) else {
            return Err(format!("after commit {at}: {}", difference(&known[0], found)));
        };
        let state = Arc::clone(state);
        self.states.truncate(at);
        self.states.push(state);
        self.maybe.clear();
        self.durable = at;
        Ok(())
    }
}

impl Kept {
    /// What holds `model`, once it is made.
    pub(super) fn maybe(model: &Arc<Model>) -> Self {
        Self { model: Arc::clone(model), surety: Surety::Maybe }
    }
}

/// In what two models differ, in words.
pub(super) fn difference(expected: &Model, found: &Model) -> String {
    let name = |key: &[u8]| String::from_utf8_lossy(&key[..key.len().min(24)]).into_owned();
    for (key, value) in expected {
        match found.get(key) {
            None => return format!("{} is missing", name(key)),
            Some(other) if other != value => {
                return format!(
                    "{} has another value ({} bytes, not {})",
                    name(key),
                    other.len(),
                    value.len()
                );
            }
            Some(_) => {}
        }
    }
    match found.keys().find(|key| !expected.contains_key(*key)) {
        Some(key) => format!("{} is too much", name(key)),
        None => "no difference".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(keys: &[&str]) -> Arc<Model> {
        Arc::new(keys.iter().map(|key| (key.as_bytes().to_vec(), Arc::from(key.as_bytes()))).collect())
    }

    #[test]
    fn a_prefix_of_commits_with_all_that_was_promised_is_permitted_and_nothing_else() {
        let mut ledger = Ledger::new(true);
        for next in [model(&["a"]), model(&["a", "b"]), model(&["b"])] {
            ledger.attempt(next);
            ledger.acknowledge();
            if ledger.acknowledged() == 2 {
                ledger.promise();
            }
        }
        ledger.attempt(model(&["b", "c"]));
        assert_eq!((ledger.floor(End::Kill), ledger.floor(End::PowerCut)), (3, 2));
        let settle = |at, keys: &[&str], end| ledger.clone().settle(at, &model(keys), ledger.floor(end));
        settle(2, &["a", "b"], End::PowerCut).unwrap();
        settle(3, &["b"], End::Kill).unwrap();
        settle(4, &["b", "c"], End::Kill).unwrap();
        settle(1, &["a"], End::PowerCut).unwrap_err();
        settle(2, &["a", "b"], End::Kill).unwrap_err();
        settle(3, &["a", "b"], End::Kill).unwrap_err();
        settle(4, &["c"], End::Kill).unwrap_err();
        settle(5, &["b", "c"], End::Kill).unwrap_err();
    }

    #[test]
    fn who_failed_has_no_claim_to_a_number_that_another_got() {
        let mut ledger = Ledger::new(true);
        ledger.attempt(model(&["failed"]));
        ledger.attempt(model(&["done"]));
        ledger.acknowledge();
        ledger.clone().settle(1, &model(&["done"]), 0).unwrap();
        ledger.settle(1, &model(&["failed"]), 0).unwrap_err();
    }
}
