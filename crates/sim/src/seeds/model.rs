//! What a database must hold, after each of its commits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// A stored value.
pub(crate) type Value = Arc<[u8]>;

/// What a commit writes: of several writes to one key the last one counts. `None` deletes.
pub(crate) type Writes = Vec<(Vec<u8>, Option<Value>)>;

/// What one sequence number did.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A commit.
    Write(Writes),
    /// A step back to the state after this commit.
    Back(u64),
}

/// One change with what is known about its time.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    /// Which change it is; no two are the same, also not in two copies of a database.
    pub(crate) id: u64,
    pub(crate) change: Change,
    /// The wall clock when it began and when it was acknowledged, in microseconds; the commit's own time is between.
    pub(crate) micros: (i64, i64),
}

/// Every version of every key, by sequence number.
///
/// Commits may become known out of order. What stands behind a missing one waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    keys: BTreeMap<Vec<u8>, Vec<(u64, Option<Value>)>>,
    commits: BTreeMap<u64, Commit>,
    waiting: BTreeMap<u64, Commit>,
    applied: u64,
    /// Numbers after which the state is one of several: commits of unknown outcome can have come in more than one order.
    unclear: BTreeSet<u64>,
}

impl History {
    /// The newest commit up to which every one is known.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// The newest commit that is known.
    pub(crate) fn newest(&self) -> u64 {
        self.waiting.last_key_value().map_or(self.applied, |(sequence, _)| *sequence)
    }

    /// The commit with this number, if it is known.
    pub(crate) fn commit(&self, sequence: u64) -> Option<&Commit> {
        self.commits.get(&sequence).or_else(|| self.waiting.get(&sequence))
    }

    /// The numbers up to `newest` that no known commit has.
    pub(crate) fn unknown(&self, newest: u64) -> Vec<u64> {
        (self.applied + 1..=newest).filter(|sequence| !self.waiting.contains_key(sequence)).collect()
    }

    /// Learns which number a commit has.
    ///
    /// # Errors
    /// When another one has it.
    pub(crate) fn learn(&mut self, sequence: u64, commit: Commit) -> Result<(), String> {
        if let Some(other) = self.commit(sequence) {
            return Err(format!("commits {} and {} both have number {sequence}", other.id, commit.id));
        }
        if sequence <= self.applied {
            return Err(format!("commit {} has number {sequence}, which is older than others", commit.id));
        }
        self.waiting.insert(sequence, commit);
        while let Some(commit) = self.waiting.remove(&(self.applied + 1)) {
            self.apply(self.applied + 1, commit);
        }
        Ok(())
    }

    fn apply(&mut self, sequence: u64, commit: Commit) {
        let mut last: BTreeMap<&[u8], &Option<Value>> = BTreeMap::new();
        match &commit.change {
            Change::Write(writes) => {
                last.extend(writes.iter().map(|(key, value)| (key.as_slice(), value)));
                for (key, value) in last {
                    self.keys.entry(key.to_vec()).or_default().push((sequence, value.clone()));
                }
            }
            Change::Back(to) => {
                for versions in self.keys.values_mut() {
                    let (then, now) = (at(versions, *to).cloned(), at(versions, sequence).cloned());
                    if then != now {
                        versions.push((sequence, then));
                    }
                }
            }
        }
        self.commits.insert(sequence, commit);
        self.applied = sequence;
    }

    /// The state after this commit is one of several, of which nobody knows which.
    pub(crate) fn doubt(&mut self, sequence: u64) {
        self.unclear.insert(sequence);
    }

    /// Whether the state after this commit is one of several.
    pub(crate) fn is_unclear(&self, sequence: u64) -> bool {
        self.unclear.contains(&sequence)
    }

    /// Forgets every commit behind `sequence`: they are lost, or given up.
    pub(crate) fn truncate(&mut self, sequence: u64) {
        self.waiting.split_off(&(sequence + 1));
        self.commits.split_off(&(sequence + 1));
        self.unclear.split_off(&(sequence + 1));
        self.applied = self.applied.min(sequence);
        self.keys.retain(|_, versions| {
            versions.truncate(versions.partition_point(|(at, _)| *at <= sequence));
            !versions.is_empty()
        });
    }

    /// The value of `key` after commit `sequence`.
    pub(crate) fn get(&self, key: &[u8], sequence: u64) -> Option<&Value> {
        at(self.keys.get(key)?, sequence)
    }

    /// Whether a commit from `after`, exclusive, to `through`, inclusive, changed `key`.
    pub(crate) fn changed(&self, key: &[u8], after: u64, through: u64) -> bool {
        let versions = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        versions.iter().any(|(at, _)| (after + 1..=through).contains(at))
    }

    /// The entries of a range after commit `sequence`.
    pub(crate) fn range<'a>(
        &'a self,
        sequence: u64,
        start: Bound<&'a [u8]>,
        end: Bound<&'a [u8]>,
    ) -> Box<dyn DoubleEndedIterator<Item = (&'a [u8], &'a Value)> + 'a> {
        if is_empty(start, end) {
            return Box::new(std::iter::empty());
        }
        let entries = self.keys.range::<[u8], _>((start, end));
        Box::new(entries.filter_map(move |(key, versions)| Some((key.as_slice(), at(versions, sequence)?))))
    }

    /// All keys that ever were.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(Vec::as_slice)
    }

    /// In what `found`, in the order of keys, differs from the state after commit `sequence`, if that is known.
    pub(crate) fn difference(&self, sequence: u64, found: &[(Vec<u8>, Vec<u8>)]) -> Option<String> {
        if self.is_unclear(sequence) {
            return None;
        }
        let mut expected = self.range(sequence, Bound::Unbounded, Bound::Unbounded);
        for (key, value) in found {
            match expected.next() {
                None => return Some(format!("{} is too much, with {}", show(key), show(value))),
                Some((next, _)) if next != key => {
                    return Some(format!("{} stands where {} should", show(key), show(next)));
                }
                Some((_, next)) if **next != **value => {
                    return Some(format!("{} has {}, not {}", show(key), show(value), show(next)));
                }
                Some(_) => {}
            }
        }
        expected.next().map(|(key, _)| format!("{} is missing", show(key)))
    }
}

/// Whether a range holds nothing, or is the wrong way round.
pub(crate) fn is_empty(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
    }
}

fn at(versions: &[(u64, Option<Value>)], sequence: u64) -> Option<&Value> {
    let newer = versions.partition_point(|(at, _)| *at <= sequence);
    versions[..newer].last()?.1.as_ref()
}

/// The beginning of a key or a value, for messages.
pub(crate) fn show(bytes: &[u8]) -> String {
    let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(48)]).escape_debug().to_string();
    if bytes.len() > 48 {
        format!("{beginning:?}… ({} bytes)", bytes.len())
    } else {
        format!("{beginning:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(id: u64, key: &[u8], value: &[u8]) -> Commit {
        let change = Change::Write(vec![(key.to_vec(), Some(value.into()))]);
        Commit { id, change, micros: (0, 0) }
    }

    #[test]
    fn commits_that_become_known_out_of_order_are_applied_in_order() {
        let mut history = History::default();
        history.learn(2, put(1, b"a", b"2")).expect("free");
        assert_eq!((history.applied(), history.newest()), (0, 2));
        assert_eq!(history.unknown(3), [1, 3]);
        history.learn(1, put(2, b"a", b"1")).expect("free");
        assert_eq!(history.applied(), 2);
        assert_eq!(history.get(b"a", 2).map(|value| &**value), Some(&b"2"[..]));
        assert_eq!(history.get(b"a", 1).map(|value| &**value), Some(&b"1"[..]));
        assert!(history.learn(2, put(3, b"b", b"")).is_err());
    }

    #[test]
    fn a_step_back_brings_back_the_state_and_keeps_what_was() {
        let mut history = History::default();
        history.learn(1, put(1, b"a", b"1")).expect("free");
        history.learn(2, put(2, b"b", b"2")).expect("free");
        history.learn(3, Commit { id: 3, change: Change::Back(1), micros: (0, 0) }).expect("free");
        assert!(history.difference(3, &[(b"a".to_vec(), b"1".to_vec())]).is_none());
        assert!(history.difference(2, &[(b"a".to_vec(), b"1".to_vec())]).is_some());
        history.truncate(1);
        assert_eq!((history.applied(), history.keys().count()), (1, 1));
    }
}
