//! Reading, at once and of moments that were kept.

use std::ops::Bound;

use lightning_db::{CheckDepth, DatabaseIterator, Result, Snapshot};

use super::client::{Client, Walk};
use super::oracle::{Overlay, RangeSight, Seen, Sight, expected_range};
use super::run::{CANARY, Step, bug, contains};

/// Entries of a scan.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Where a scan goes.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    prefix: Option<Vec<u8>>,
    reverse: bool,
    limit: usize,
}

impl Wanted {
    pub(crate) fn bounds(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        (self.start.as_deref(), self.end.as_deref())
    }

    /// What a scan of it returned.
    pub(crate) fn sight(&self, found: Entries, overlay: Overlay) -> RangeSight {
        let (start, end) = match &self.prefix {
            Some(prefix) => (Bound::Included(prefix.clone()), after_prefix(prefix)),
            None => (
                self.start.clone().map_or(Bound::Unbounded, Bound::Included),
                self.end.clone().map_or(Bound::Unbounded, Bound::Excluded),
            ),
        };
        RangeSight { start, end, reverse: self.reverse, limit: self.limit, overlay, found }
    }

    /// Only what a transaction can scan: upwards, between two keys.
    pub(crate) fn plain(self) -> Self {
        Self { reverse: false, prefix: None, ..self }
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
        let bound = |client: &mut Self| (!client.random.once_in(3)).then(|| client.key());
        let (start, end) = (bound(self), bound(self));
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
        let reverse = prefix.is_none() && self.random.once_in(2);
        let limit = if self.random.once_in(3) { 1 + self.random.below(8) as usize } else { usize::MAX };
        Wanted { start, end, prefix, reverse, limit }
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
        let low = self.now();
        let found = if self.random.once_in(3) {
            self.db.get_pinned(key).map(|value| value.map(|value| value.to_vec()))
        } else {
            self.db.get(key)
        };
        let Some(found) = self.process.expect("get", found)? else { return Ok(()) };
        self.saw("get", low, vec![Sight::Key(key.to_vec(), found)])
    }

    pub(crate) fn get_batch(&mut self) -> Step {
        let keys: Vec<_> = (0..1 + self.random.below(16)).map(|_| self.key()).collect();
        let low = self.now();
        let found = if self.random.once_in(2) {
            let mut found = vec![None; keys.len()];
            let lent: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let shown = self.db.get_batch_with(&lent, |at, value| found[at] = value.map(<[u8]>::to_vec));
            shown.map(|()| found)
        } else {
            self.db.get_batch(&keys)
        };
        let Some(found) = self.process.expect("get_batch", found)? else { return Ok(()) };
        let sights = keys.into_iter().zip(found).map(|(key, value)| Sight::Key(key, value)).collect();
        self.saw("get_batch", low, sights)
    }

    pub(crate) fn scan(&mut self) -> Step {
        let wanted = self.wanted();
        let low = self.now();
        let by_cursor = wanted.prefix.is_none() && !wanted.reverse && self.random.once_in(3);
        let found = if by_cursor {
            self.by_cursor(&wanted)
        } else {
            let (start, end) = wanted.bounds();
            let entries = match &wanted.prefix {
                Some(prefix) => self.db.scan_prefix(prefix),
                None if wanted.reverse => self.db.scan_reverse(start, end),
                None => self.db.scan(start, end),
            };
            entries.and_then(|entries| entries.take(wanted.limit).collect())
        };
        let Some(found) = self.process.expect("scan", found)? else { return Ok(()) };
        self.saw("scan", low, vec![Sight::Range(wanted.sight(found, Overlay::new()))])
    }

    fn by_cursor(&self, wanted: &Wanted) -> Result<Entries> {
        let (start, end) = wanted.bounds();
        let mut cursor = self.db.cursor(start, end)?;
        let mut found = Vec::new();
        while found.len() < wanted.limit {
            let Some((key, value)) = cursor.next()? else { break };
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
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
        let Some(sights) = self.process.expect(what, all_sights(snapshot, &keys))? else { return Ok(()) };
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
            let walk = &mut self.iterators[at];
            if !step(self.process, walk)? {
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
        let wanted = self.wanted();
        let (start, end) = wanted.bounds();
        let begun = match &wanted.prefix {
            Some(prefix) => snapshot.scan_prefix(prefix),
            None if wanted.reverse => snapshot.scan_reverse(start, end),
            None => snapshot.scan(start, end),
        };
        let Some(iterator) = self.process.expect("walk", begun)? else { return Ok(()) };
        let world = self.run.world();
        if world.oracle.history.applied() < sequence {
            return Ok(());
        }
        let sight = RangeSight { limit: usize::MAX, ..wanted.sight(Vec::new(), Overlay::new()) };
        let expected = expected_range(&world.oracle.history, &sight, sequence).into_iter();
        drop(world);
        self.iterators.push(Walk { iterator, expected, what: format!("a walk at commit {sequence}") });
        Ok(())
    }

    /// Walks to the end.
    pub(crate) fn finish_walk(&mut self, at: usize) -> Step {
        let mut walk = self.iterators.swap_remove(at);
        while step(self.process, &mut walk)? {}
        Ok(())
    }

    /// Checks the database's files while it is in use.
    pub(crate) fn check(&mut self) -> Step {
        let depth = if self.random.once_in(2) { CheckDepth::Deep } else { CheckDepth::Quick };
        let Some(report) = self.process.expect("check", self.db.check(depth))? else { return Ok(()) };
        if !self.process.is_faulty
            && !self.process.crashed()
            && report.findings.iter().any(|finding| !finding.what.contains("one generation behind its twin"))
        {
            return bug(format!("check: {:?}", report.findings));
        }
        Ok(())
    }

    /// What is shown to people holds no secrets.
    pub(crate) fn observe(&mut self) -> Step {
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            self.db.get_metrics(),
            self.db.stats(),
            self.db.health_check(),
            self.db,
            self.run.config
        );
        for secret in [&super::config::KEY[1..], CANARY] {
            if contains(shown.as_bytes(), secret) {
                return bug(format!("what is shown tells a secret: {shown}"));
            }
        }
        if self.process.crashed() { Err(super::run::Stop::Crashed) } else { Ok(()) }
    }
}

/// One step of a walk; false at its end.
fn step(process: &super::run::Process<'_>, walk: &mut Walk) -> Step<bool> {
    let Walk { iterator, expected, what } = walk;
    let next: Option<Result<_>> = DatabaseIterator::next(iterator);
    let found = match next.transpose() {
        Ok(found) => found,
        Err(error) => {
            process.judge(what, Err::<(), _>(error), |_| false)?.ok();
            return Ok(false);
        }
    };
    let wanted = expected.next();
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

fn all_sights(snapshot: &Snapshot, keys: &[Vec<u8>]) -> Result<Vec<Sight>> {
    let whole = |reverse| -> Result<Sight> {
        let entries = if reverse { snapshot.scan_reverse(None, None) } else { snapshot.scan(None, None) };
        let found = entries?.collect::<Result<Entries>>()?;
        let (start, end) = (Bound::Unbounded, Bound::Unbounded);
        let range = RangeSight { start, end, reverse, limit: usize::MAX, overlay: Overlay::new(), found };
        Ok(Sight::Range(range))
    };
    let mut sights = vec![whole(false)?, whole(true)?];
    for key in keys {
        sights.push(Sight::Key(key.clone(), snapshot.get(key)?));
    }
    Ok(sights)
}
