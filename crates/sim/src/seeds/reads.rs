//! Reading, at once and of moments that were kept.

use std::ops::Bound;

use lightning_db::{CheckDepth, Result, Snapshot};

use super::client::{Client, Walk};
use super::oracle::{Overlay, RangeSight, Seen, Sight, expected_range};
use super::run::{Step, bug};

/// Entries of a scan.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Where a scan goes.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    prefix: Option<Vec<u8>>,
    reverse: bool,
    limit: usize,
    /// From which end the entries are taken, step by step: a one is the other end.
    turns: u64,
}

type Entry = (Vec<u8>, Vec<u8>);

/// From one key on, and below another.
type PlainBounds<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

impl Wanted {
    /// The bounds of a scan, from one key on and below another, if they are of this kind.
    pub(crate) fn plain_bounds(&self) -> Option<PlainBounds<'_>> {
        let start = match &self.start {
            Bound::Included(key) => Some(key.as_slice()),
            Bound::Unbounded => None,
            Bound::Excluded(_) => return None,
        };
        let end = match &self.end {
            Bound::Excluded(key) => Some(key.as_slice()),
            Bound::Unbounded => None,
            Bound::Included(_) => return None,
        };
        Some((start, end))
    }

    /// What a scan of it returned.
    pub(crate) fn sight(&self, found: Entries, overlay: Overlay) -> RangeSight {
        let (start, end) = match &self.prefix {
            Some(prefix) => (Bound::Included(prefix.clone()), after_prefix(prefix)),
            None => (self.start.clone(), self.end.clone()),
        };
        let (limit, from_behind) = self.limits();
        RangeSight { start, end, reverse: self.reverse, limit, from_behind, overlay, found }
    }

    /// How many entries are taken from the one end, and from the other. All of them, however they are taken, are of the
    /// one end.
    fn limits(&self) -> (usize, usize) {
        if self.limit == usize::MAX {
            return (self.limit, 0);
        }
        let from_behind = (0..self.limit).filter(|step| self.is_from_behind(*step)).count();
        (self.limit - from_behind, from_behind)
    }

    fn is_from_behind(&self, step: usize) -> bool {
        self.turns >> (step % 64) & 1 == 1
    }

    /// Takes as many entries as are wanted, from both ends, in the order of the scan.
    pub(crate) fn collect(
        &self,
        mut entries: impl DoubleEndedIterator<Item = Result<Entry>>,
    ) -> Result<Entries> {
        let (mut found, mut from_behind) = (Vec::new(), Vec::new());
        for step in 0..self.limit {
            let is_from_behind = self.is_from_behind(step);
            let next = if is_from_behind { entries.next_back() } else { entries.next() };
            match next.transpose()? {
                None => break,
                Some(entry) if is_from_behind => from_behind.push(entry),
                Some(entry) => found.push(entry),
            }
        }
        if self.limit == usize::MAX {
            // At the end of one end is the end of the other.
            found.extend(entries.next().into_iter().chain(entries.next_back()).collect::<Result<Entries>>()?);
        }
        found.extend(from_behind.into_iter().rev());
        Ok(found)
    }

    /// Only what a transaction can scan: upwards, from one key on and below another.
    pub(crate) fn plain(self) -> Self {
        let start = match self.start {
            Bound::Excluded(key) => Bound::Included(key),
            start => start,
        };
        let end = match self.end {
            Bound::Included(key) => Bound::Excluded(key),
            end => end,
        };
        Self { start, end, reverse: false, prefix: None, ..self }
    }
}

fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte < 0xff);
    kept.map_or(Bound::Unbounded, |at| {
        let mut end = prefix[..=at].to_vec();
        end[at] += 1;
        Bound::Excluded(end)
    })
}

impl Client<'_> {
    pub(crate) fn wanted(&mut self) -> Wanted {
        let any_kind = self.random.once_in(4);
        let bound = |client: &mut Self, usual: fn(Vec<u8>) -> Bound<Vec<u8>>| match client.random.below(3) {
            0 => Bound::Unbounded,
            1 if any_kind => Bound::Included(client.key()),
            2 if any_kind => Bound::Excluded(client.key()),
            _ => usual(client.key()),
        };
        let (start, end) = (bound(self, Bound::Included), bound(self, Bound::Excluded));
        let prefix = self.random.once_in(4).then(|| {
            let key = self.key();
            let len = 1 + self.random.below(key.len().min(40) as u64) as usize;
            let mut prefix = key[..len].to_vec();
            // The greatest byte at the end: what comes behind such a prefix is not its last byte plus one.
            if self.random.once_in(6) {
                prefix.push(u8::MAX);
            }
            prefix
        });
        let reverse = prefix.is_none() && !any_kind && self.random.once_in(2);
        let limit = if self.random.once_in(3) { 1 + self.random.below(8) as usize } else { usize::MAX };
        let turns = if self.random.once_in(3) { self.random.draw() } else { 0 };
        Wanted { start, end, prefix, reverse, limit, turns }
    }

    /// Something was read from the present state, which was at least `low`.
    pub(crate) fn saw(&self, what: &str, low: u64, sights: Vec<Sight>) -> Step {
        let high = self.now();
        let seen = Seen { what: what.to_owned(), low, high, sights, unchanged: None };
        Ok(self.run.world().oracle.saw(seen)?)
    }

    pub(crate) fn get(&mut self) -> Step {
        let key = self.key();
        for _ in 0..self.random.below(4) {
            self.get_key(&key)?;
        }
        self.get_key(&key)
    }

    fn get_key(&mut self, key: &[u8]) -> Step {
        let (low, strikes) = (self.now(), self.process.strikes());
        let found = if self.random.once_in(3) {
            self.db.get_pinned(key).map(|value| value.map(|value| value.to_vec()))
        } else {
            self.db.get(key)
        };
        let Some(found) = self.process.expect_since(strikes, "get", found)? else { return Ok(()) };
        self.saw("get", low, vec![Sight::Key(key.to_vec(), found)])
    }

    pub(crate) fn get_batch(&mut self) -> Step {
        // Sometimes more than are read together.
        let count = if self.random.once_in(10) { 400 } else { 16 };
        let keys: Vec<_> = (0..1 + self.random.below(count)).map(|_| self.key()).collect();
        let (low, strikes) = (self.now(), self.process.strikes());
        let found = if self.random.once_in(2) {
            let mut found = vec![None; keys.len()];
            let lent: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let shown = self.db.get_batch_with(&lent, |at, value| found[at] = value.map(<[u8]>::to_vec));
            shown.map(|()| found)
        } else {
            self.db.get_batch(&keys)
        };
        let Some(found) = self.process.expect_since(strikes, "get_batch", found)? else { return Ok(()) };
        let sights = keys.into_iter().zip(found).map(|(key, value)| Sight::Key(key, value)).collect();
        self.saw("get_batch", low, sights)
    }

    pub(crate) fn scan(&mut self) -> Step {
        let wanted = self.wanted();
        let (low, strikes) = (self.now(), self.process.strikes());
        let entries = match (&wanted.prefix, wanted.plain_bounds()) {
            (Some(prefix), _) => self.db.scan_prefix(prefix),
            (None, Some((start, end))) if wanted.reverse => self.db.scan_reverse(start, end),
            (None, Some((start, end))) if self.random.once_in(2) => self.db.scan(start, end),
            (None, _) => self.db.range::<Vec<u8>>((wanted.start.clone(), wanted.end.clone())),
        };
        let found = entries.and_then(|entries| wanted.collect(entries));
        let Some(found) = self.process.expect_since(strikes, "scan", found)? else { return Ok(()) };
        self.saw("scan", low, vec![Sight::Range(wanted.sight(found, Overlay::new()))])
    }

    /// Compares everything, both ways and key by key.
    pub(crate) fn compare(&mut self) -> Step {
        let snapshot = self.db.snapshot();
        self.compare_snapshot(&snapshot, "compare")
    }

    /// Compares everything that a snapshot shows.
    pub(crate) fn compare_snapshot(&mut self, snapshot: &Snapshot, what: &str) -> Step {
        let sequence = snapshot.sequence().0;
        let keys: Vec<Vec<u8>> = self.with_history(|history| history.keys().map(<[u8]>::to_vec).collect());
        let strikes = self.process.strikes();
        let sights = all_sights(snapshot, &keys, self.random.once_in(2));
        let Some(sights) = self.process.expect_since(strikes, what, sights)? else { return Ok(()) };
        let seen = Seen { what: what.to_owned(), low: sequence, high: sequence, sights, unchanged: None };
        Ok(self.run.world().oracle.saw(seen)?)
    }

    pub(crate) fn take_snapshot(&mut self) -> Step {
        let low = self.now();
        let snapshot = self.db.snapshot();
        let (sequence, high) = (snapshot.sequence().0, self.now());
        if !(low..=high).contains(&sequence) {
            return bug(format!("a snapshot shows commit {sequence}, not {low} to {high}"));
        }
        self.kept.push(snapshot);
        if self.kept.len() > 5 {
            let at = self.random.below(5) as usize;
            self.kept.swap_remove(at);
        }
        Ok(())
    }

    /// Looks at a snapshot that was taken a while ago.
    pub(crate) fn look_back(&mut self) -> Step {
        if self.kept.is_empty() {
            return self.take_snapshot();
        }
        let at = self.random.below(self.kept.len() as u64) as usize;
        let snapshot = self.kept[at].clone();
        self.compare_snapshot(&snapshot, "an old snapshot")
    }

    /// Begins to walk a snapshot, or goes on with a walk.
    pub(crate) fn walk(&mut self) -> Step {
        if self.iterators.len() < 3 && (self.iterators.is_empty() || self.random.once_in(3)) {
            return self.begin_walk();
        }
        let at = self.random.below(self.iterators.len() as u64) as usize;
        let steps = 1 + self.random.below(6);
        for _ in 0..steps {
            let is_from_behind = self.random.once_in(4);
            let walk = &mut self.iterators[at];
            if !step(self.process, walk, is_from_behind)? {
                self.iterators.swap_remove(at);
                break;
            }
        }
        Ok(())
    }

    fn begin_walk(&mut self) -> Step {
        let snapshot =
            if self.kept.is_empty() { self.db.snapshot() } else { self.random.pick(&self.kept).clone() };
        let sequence = snapshot.sequence().0;
        let wanted = Wanted { limit: usize::MAX, ..self.wanted() };
        let begun = match (&wanted.prefix, wanted.plain_bounds()) {
            (Some(prefix), _) => snapshot.scan_prefix(prefix),
            (None, Some((start, end))) if wanted.reverse => snapshot.scan_reverse(start, end),
            (None, Some((start, end))) => snapshot.scan(start, end),
            (None, None) => snapshot.range::<Vec<u8>>((wanted.start.clone(), wanted.end.clone())),
        };
        let strikes = self.process.strikes();
        let Some(iterator) = self.process.expect_since(strikes, "walk", begun)? else { return Ok(()) };
        let world = self.run.world();
        if world.oracle.history.applied() < sequence {
            return Ok(());
        }
        let sight = wanted.sight(Vec::new(), Overlay::new());
        let expected = expected_range(&world.oracle.history, &sight, sequence).into_iter();
        drop(world);
        self.iterators.push(Walk { iterator, expected, what: format!("a walk at commit {sequence}") });
        Ok(())
    }

    /// Walks to the end.
    pub(crate) fn finish_walk(&mut self, at: usize) -> Step {
        let mut walk = self.iterators.swap_remove(at);
        while step(self.process, &mut walk, false)? {}
        Ok(())
    }

    /// Checks the database's files while it is in use.
    pub(crate) fn check(&mut self) -> Step {
        let depth = if self.random.once_in(2) { CheckDepth::Deep } else { CheckDepth::Quick };
        let strikes = self.process.strikes();
        let checked = self.db.check(depth);
        let Some(report) = self.process.expect_since(strikes, "check", checked)? else { return Ok(()) };
        if self.process.strikes() == 0
            && !self.process.crashed()
            && report.findings.iter().any(|finding| !finding.what.contains("one generation behind its twin"))
        {
            return bug(format!("check: {:?}", report.findings));
        }
        Ok(())
    }
}

/// One step of a walk; false at its end.
fn step(process: &super::run::Process<'_>, walk: &mut Walk, is_from_behind: bool) -> Step<bool> {
    let Walk { iterator, expected, what } = walk;
    let strikes = process.strikes();
    let next: Option<Result<_>> = if is_from_behind { iterator.next_back() } else { iterator.next() };
    let Some(found) = process.expect_since(strikes, what, next.transpose())? else { return Ok(false) };
    let wanted = if is_from_behind { expected.next_back() } else { expected.next() };
    let is_same = match (&found, &wanted) {
        (Some((key, value)), Some((k, v))) => key == k && **value == **v,
        (None, None) => true,
        _ => false,
    };
    if is_same {
        return Ok(found.is_some());
    }
    let show = |key: Option<&Vec<u8>>| key.map_or("the end".to_owned(), |key| super::model::show(key));
    bug(format!(
        "{what}: {} comes where {} should",
        show(found.as_ref().map(|(key, _)| key)),
        show(wanted.as_ref().map(|(key, _)| key))
    ))
}

fn all_sights(snapshot: &Snapshot, keys: &[Vec<u8>], at_once: bool) -> Result<Vec<Sight>> {
    let whole = |reverse| -> Result<Sight> {
        let entries = if reverse { snapshot.scan_reverse(None, None) } else { snapshot.scan(None, None) };
        let found = entries?.collect::<Result<Entries>>()?;
        let (start, end) = (Bound::Unbounded, Bound::Unbounded);
        let (limit, from_behind, overlay) = (usize::MAX, 0, Overlay::new());
        Ok(Sight::Range(RangeSight { start, end, reverse, limit, from_behind, overlay, found }))
    };
    let mut sights = vec![whole(false)?, whole(true)?];
    if at_once {
        let values = snapshot.get_batch(keys)?;
        sights.extend(keys.iter().cloned().zip(values).map(|(key, value)| Sight::Key(key, value)));
        return Ok(sights);
    }
    for key in keys {
        sights.push(Sight::Key(key.clone(), snapshot.get(key)?));
    }
    Ok(sights)
}
