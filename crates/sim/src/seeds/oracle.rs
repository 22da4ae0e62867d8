//! What is known of one database, and what may therefore be seen in it.
//!
//! A commit is under way, then known under its number, or of unknown outcome. What is seen is compared with the model at
//! the moments at which it can have been seen: those between the newest commit before the read and the newest after it.
//! After a crash the oracle finds which prefix of the commits is there, and whether it may be that one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::model::{Commit, History, Value, show};

/// What a transaction has written itself.
pub(crate) type Overlay = BTreeMap<Vec<u8>, Option<Value>>;

/// Something that was read.
#[derive(Debug, Clone)]
pub(crate) enum Sight {
    /// The value of one key.
    Key(Vec<u8>, Option<Vec<u8>>),
    /// A range, or its beginning.
    Range(RangeSight),
}

/// What a scan returned.
#[derive(Debug, Clone)]
pub(crate) struct RangeSight {
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Bound<Vec<u8>>,
    pub(crate) reverse: bool,
    /// The scan was left after so many entries,
    pub(crate) limit: usize,
    /// and so many from its other end.
    pub(crate) from_behind: usize,
    /// What the reader had written itself.
    pub(crate) overlay: Overlay,
    pub(crate) found: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Things that were read at one moment, which lies between two commits.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) what: String,
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) sights: Vec<Sight>,
    /// Nobody else may have written these keys between that moment and this commit, exclusive.
    pub(crate) unchanged: Option<(Vec<Vec<u8>>, u64)>,
}

/// The two ways in which commits can be lost, and up to where they may not be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Promised {
    /// Survives the end of the process.
    pub(crate) kill: u64,
    /// Survives a power cut.
    pub(crate) power: u64,
}

/// What is known of one database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) history: History,
    /// Commits that are under way, or whose outcome is unknown.
    pub(crate) pending: BTreeMap<u64, Commit>,
    pub(crate) promised: Promised,
    seen: Vec<Seen>,
}

impl Oracle {
    /// A database that has the commits of `history` up to `sequence`; all of it is durable.
    pub(crate) fn copy_of(history: &History, sequence: u64) -> Self {
        let mut history = history.clone();
        history.truncate(sequence);
        let promised = Promised { kill: sequence, power: sequence };
        Self { history, promised, ..Self::default() }
    }

    /// A commit begins.
    pub(crate) fn begin(&mut self, commit: Commit) {
        self.pending.insert(commit.id, commit);
    }

    /// A commit did not happen, and never will.
    pub(crate) fn failed(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// A commit was acknowledged at `micros`.
    ///
    /// # Errors
    /// When that cannot be.
    pub(crate) fn acknowledged(&mut self, id: u64, sequence: u64, micros: i64) -> Result<(), String> {
        let mut commit = self.pending.remove(&id).ok_or("a commit ended that never began")?;
        commit.micros.1 = micros;
        self.history.learn(sequence, commit)?;
        self.review()
    }

    /// Something was read.
    ///
    /// # Errors
    /// When that cannot have been there.
    pub(crate) fn saw(&mut self, seen: Seen) -> Result<(), String> {
        if seen.low > seen.high {
            return Err(format!("{}: the newest commit went from {} to {}", seen.what, seen.low, seen.high));
        }
        if self.is_ready(&seen) {
            return self.judge(&seen);
        }
        self.seen.push(seen);
        Ok(())
    }

    /// Judges what can be judged by now.
    fn review(&mut self) -> Result<(), String> {
        if self.seen.is_empty() {
            return Ok(());
        }
        let (ready, rest) = std::mem::take(&mut self.seen).into_iter().partition(|seen| self.is_ready(seen));
        self.seen = rest;
        let ready: Vec<Seen> = ready;
        ready.iter().try_for_each(|seen| self.judge(seen))
    }

    fn is_ready(&self, seen: &Seen) -> bool {
        let needed = seen.unchanged.as_ref().map_or(0, |(_, before)| before.saturating_sub(1)).max(seen.high);
        self.history.applied() >= needed
    }

    fn judge(&self, seen: &Seen) -> Result<(), String> {
        let mut first = None;
        for sequence in (seen.low..=seen.high).rev() {
            match self.misfit(seen, sequence) {
                None => return Ok(()),
                Some(problem) => first = first.or(Some(problem)),
            }
        }
        let problem = first.unwrap_or_default();
        Err(format!("{} (between commits {} and {}): {problem}", seen.what, seen.low, seen.high))
    }

    fn misfit(&self, seen: &Seen, sequence: u64) -> Option<String> {
        if let Some((keys, before)) = &seen.unchanged {
            let changed =
                keys.iter().find(|key| self.history.changed(key, sequence, before.saturating_sub(1)));
            if let Some(key) = changed {
                return Some(format!(
                    "{} was changed between commit {sequence} and its own, {before}",
                    show(key)
                ));
            }
        }
        seen.sights.iter().find_map(|sight| match sight {
            Sight::Key(key, found) => {
                let expected = self.history.get(key, sequence).map(|value| &**value);
                (expected != found.as_deref()).then(|| {
                    let shown = |value: Option<&[u8]>| value.map_or("nothing".to_owned(), show);
                    let expected = shown(expected);
                    format!(
                        "{} has {}, not {expected}, at commit {sequence}",
                        show(key),
                        shown(found.as_deref())
                    )
                })
            }
            Sight::Range(range) => self.misfit_of_range(range, sequence),
        })
    }

    fn misfit_of_range(&self, range: &RangeSight, sequence: u64) -> Option<String> {
        let expected = expected_range(&self.history, range, sequence);
        let mut found = range.found.iter();
        for (key, value) in &expected {
            match found.next() {
                Some((next, has)) if next == key && **has == **value => {}
                Some((next, has)) => {
                    return Some(format!(
                        "{} = {} stands where {} = {} should, at commit {sequence}",
                        show(next),
                        show(has),
                        show(key),
                        show(value)
                    ));
                }
                None => return Some(format!("{} is missing at commit {sequence}", show(key))),
            }
        }
        found.next().map(|(key, _)| format!("{} is too much at commit {sequence}", show(key)))
    }

    /// Everything up to `sequence` survives a power cut.
    pub(crate) fn promise(&mut self, sequence: u64) {
        self.promised.power = self.promised.power.max(sequence);
        self.promised.kill = self.promised.kill.max(sequence);
    }

    /// A database was opened after a crash. Its newest commit is `sequence`, and it holds `found`. What it is allowed to
    /// have lost is behind `floor`.
    ///
    /// # Errors
    /// When that is not a prefix of what was committed, or less than was promised.
    pub(crate) fn settle(
        &mut self,
        sequence: u64,
        found: &[(Vec<u8>, Vec<u8>)],
        floor: u64,
    ) -> Result<(), String> {
        if sequence < floor {
            return Err(format!("{floor} commits were promised, {sequence} are there"));
        }
        let unknown = self.history.unknown(sequence);
        if unknown.len() > self.pending.len() {
            return Err(format!(
                "commit {sequence} never happened: {} are known, and {} of unknown outcome",
                self.history.newest(),
                self.pending.len()
            ));
        }
        self.history.truncate(sequence);
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        let mut problem = String::new();
        let mut fitting: Vec<(Vec<u64>, History)> = Vec::new();
        for order in orders(&ids, unknown.len()) {
            let mut history = self.history.clone();
            for (sequence, id) in unknown.iter().zip(&order) {
                history.learn(*sequence, self.pending[id].clone())?;
            }
            match history.difference(sequence, found) {
                None => fitting.push((order, history)),
                Some(difference) => problem = difference,
            }
        }
        if fitting.is_empty() {
            return Err(format!("at commit {sequence}: {problem}"));
        }
        let (first, mut history) = fitting.swap_remove(0);
        for (order, _) in &fitting {
            doubt_between(&mut history, &unknown, &first, order);
        }
        self.history = history;
        self.begin_again(sequence)
    }

    /// What was not judged is judged, or concerns what is lost.
    fn begin_again(&mut self, sequence: u64) -> Result<(), String> {
        self.pending.clear();
        self.promise(sequence);
        self.review()?;
        self.seen.clear();
        Ok(())
    }
}

/// The commits of unknown outcome can have come in two orders: from where these part to where they have had the same.
fn doubt_between(history: &mut History, unknown: &[u64], one: &[u64], other: &[u64]) {
    let had = |order: &[u64], count: usize| order[..count].iter().copied().collect::<BTreeSet<u64>>();
    for (index, number) in unknown.iter().enumerate() {
        if had(one, index + 1) != had(other, index + 1) {
            let next = unknown.get(index + 1).copied().unwrap_or(*number + 1);
            (*number..next).for_each(|number| history.doubt(number));
        }
    }
}

/// What a scan has to return at commit `sequence`.
pub(crate) fn expected_range(history: &History, range: &RangeSight, sequence: u64) -> Vec<(Vec<u8>, Value)> {
    let (start, end) = (as_slice(&range.start), as_slice(&range.end));
    let stored = history.range(sequence, start, end);
    let mut all: BTreeMap<Vec<u8>, Value> =
        stored.map(|(key, value)| (key.to_vec(), value.clone())).collect();
    if !super::model::is_empty(start, end) {
        for (key, value) in range.overlay.range::<[u8], _>((start, end)) {
            match value {
                Some(value) => all.insert(key.clone(), value.clone()),
                None => all.remove(key),
            };
        }
    }
    let mut all: Vec<_> = all.into_iter().collect();
    if range.reverse {
        all.reverse();
    }
    if all.len() > range.limit.saturating_add(range.from_behind) {
        all.drain(range.limit..all.len() - range.from_behind);
    }
    all
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Every way to take `count` of `ids` in some order.
fn orders(ids: &[u64], count: usize) -> Vec<Vec<u64>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut found = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let rest: Vec<u64> = [&ids[..index], &ids[index + 1..]].concat();
        found.extend(orders(&rest, count - 1).into_iter().map(|order| [vec![*id], order].concat()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::model::Change;
    use super::*;

    fn write(id: u64, key: &[u8], value: &[u8]) -> Commit {
        let change = Change::Write(vec![(key.to_vec(), Some(value.into()))]);
        Commit { id, change, micros: (0, 0) }
    }

    fn three() -> Oracle {
        let mut oracle = Oracle::default();
        for (id, value) in [(1, b"1"), (2, b"2"), (3, b"3")] {
            oracle.begin(write(id, b"k", value));
            oracle.acknowledged(id, id, 0).expect("free");
        }
        oracle
    }

    fn entry(value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        vec![(b"k".to_vec(), value.to_vec())]
    }

    #[test]
    fn a_prefix_settles_and_nothing_else() {
        assert!(three().settle(2, &entry(b"2"), 2).is_ok());
        assert!(three().settle(2, &entry(b"2"), 3).is_err(), "less than was promised");
        assert!(three().settle(2, &entry(b"3"), 0).is_err(), "another state");
        assert!(three().settle(4, &entry(b"3"), 0).is_err(), "a commit that nobody made");
        let mut oracle = three();
        oracle.begin(write(9, b"k", b"9"));
        oracle.settle(4, &entry(b"9"), 3).expect("the commit that was under way is there");
        assert_eq!(oracle.history.applied(), 4);
    }

    #[test]
    fn of_two_commits_under_way_the_order_is_found() {
        let mut oracle = three();
        oracle.begin(write(8, b"k", b"8"));
        oracle.begin(write(9, b"k", b"9"));
        oracle.settle(5, &entry(b"8"), 3).expect("9 came first");
        assert_eq!(oracle.history.commit(4).map(|commit| commit.id), Some(9));
    }

    #[test]
    fn of_two_commits_under_way_that_may_have_come_in_either_order_the_state_between_is_in_doubt() {
        let mut oracle = three();
        oracle.begin(write(8, b"x", b"8"));
        oracle.begin(write(9, b"y", b"9"));
        let found = [("k", "3"), ("x", "8"), ("y", "9")].map(|(key, value)| (key.into(), value.into()));
        oracle.settle(5, &found, 3).expect("either came first");
        let is_unclear: Vec<u64> = (0..=5).filter(|number| oracle.history.is_unclear(*number)).collect();
        assert_eq!(is_unclear, [4]);
    }

    #[test]
    fn what_was_read_fits_one_moment() {
        let mut oracle = three();
        let seen = |low, high, value: &[u8]| Seen {
            what: "get".to_owned(),
            low,
            high,
            sights: vec![Sight::Key(b"k".to_vec(), Some(value.to_vec()))],
            unchanged: None,
        };
        assert!(oracle.saw(seen(1, 2, b"1")).is_ok());
        assert!(oracle.saw(seen(2, 3, b"1")).is_err());
        oracle.begin(write(4, b"k", b"4"));
        oracle.saw(seen(3, 4, b"x")).expect("not judged yet");
        assert!(oracle.acknowledged(4, 4, 0).is_err(), "judged now");
    }
}
