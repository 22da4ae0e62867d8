//! What a serializable transaction read: keys, found or not, and the parts of ranges that its scans went through.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use lightning_db_sync::Mutex;

use super::key::Key;
use crate::read::KeyRange;

/// What a scan that is remembered takes from the heap.
const SCAN_BYTES: usize = 256;

/// A range between two keys.
pub(super) type Between = (Bound<Key>, Bound<Key>);

#[derive(Default)]
pub(super) struct ReadSet {
    keys: BTreeSet<Key>,
    scans: Vec<Arc<ScannedRange>>,
}

impl ReadSet {
    /// What remembering a key takes from the heap.
    pub(super) fn bytes_of_key(key: &[u8]) -> usize {
        super::write_set::WriteSet::bytes_of(key, 0)
    }

    /// What remembering a scan takes from the heap.
    pub(super) fn bytes_of_scan(range: &KeyRange) -> usize {
        SCAN_BYTES + range.start().len() + range.end().map_or(0, <[u8]>::len)
    }

    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
    }

    pub(super) fn add_key(&mut self, key: &[u8]) {
        self.keys.insert(Key::from(key));
    }

    pub(super) fn add_scan(&mut self, range: &KeyRange) -> Arc<ScannedRange> {
        let scan = Arc::new(ScannedRange::new(range));
        self.scans.push(Arc::clone(&scan));
        scan
    }

    /// The keys, and the ranges that were gone through. No scan goes on after this.
    pub(super) fn finish(self) -> (BTreeSet<Key>, Vec<Between>) {
        let ranges = self.scans.iter().flat_map(|scan| scan.finish()).collect();
        (self.keys, ranges)
    }
}

/// How far a scan has come, from either end.
pub(super) struct ScannedRange {
    start: Key,
    end: Option<Key>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    finished: bool,
    /// Everything up to here was seen.
    front: Option<Key>,
    /// Everything from here on was seen.
    back: Option<Key>,
    /// Everything was seen.
    all: bool,
}

/// What a step of a scan came to.
pub(super) enum Step<'a> {
    Up(&'a [u8]),
    Down(&'a [u8]),
    /// There was nothing left.
    End,
}

impl ScannedRange {
    fn new(range: &KeyRange) -> Self {
        let progress = Mutex::default();
        Self { start: Key::from(range.start()), end: range.end().map(Key::from), progress }
    }

    /// Remembers a step. Says whether the transaction was still open: what was read counts only then.
    pub(super) fn note(&self, step: Step<'_>) -> bool {
        let mut progress = self.progress.lock();
        match step {
            Step::Up(key) => progress.front = Some(Key::from(key)),
            Step::Down(key) => progress.back = Some(Key::from(key)),
            Step::End => progress.all = true,
        }
        !progress.finished
    }

    fn finish(&self) -> Vec<Between> {
        let mut progress = self.progress.lock();
        progress.finished = true;
        let start = Bound::Included(self.start.clone());
        let end = self.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        if progress.all {
            return vec![(start, end)];
        }
        let front = progress.front.take().map(|key| (start, Bound::Included(key)));
        let back = progress.back.take().map(|key| (Bound::Included(key), end));
        front.into_iter().chain(back).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn included(key: &[u8]) -> Bound<Key> {
        Bound::Included(Key::from(key))
    }

    #[test]
    fn only_what_a_scan_went_through_counts() {
        let range = KeyRange::new(Some(b"b"), Some(b"y"));
        let excluded = Bound::Excluded(Key::from(&b"y"[..]));

        let untouched = ScannedRange::new(&range);
        assert!(untouched.finish().is_empty());

        let both = ScannedRange::new(&range);
        assert!(both.note(Step::Up(b"c")) && both.note(Step::Up(b"d")) && both.note(Step::Down(b"x")));
        assert_eq!(both.finish(), [(included(b"b"), included(b"d")), (included(b"x"), excluded.clone())]);
        assert!(!both.note(Step::Up(b"e")), "the transaction is over");

        let whole = ScannedRange::new(&range);
        whole.note(Step::Up(b"c"));
        whole.note(Step::End);
        assert_eq!(whole.finish(), [(included(b"b"), excluded)]);

        let open = ScannedRange::new(&KeyRange::default());
        open.note(Step::End);
        assert_eq!(open.finish(), [(included(b""), Bound::Unbounded)]);
    }
}
