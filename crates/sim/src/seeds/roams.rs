//! Cursors that go up and down and seek, in step with one over what they have to find.

use lightning_db::Cursor;

use super::client::Client;
use super::model::{Value, show};
use super::oracle::{Overlay, RangeSight, expected_range};
use super::run::{Step, bug};

/// Where a cursor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeFirst,
    On(usize),
    AfterLast,
}

/// One move of a cursor.
#[derive(Debug, Clone)]
enum Move {
    Next,
    Prev,
    First,
    Last,
    Seek(Vec<u8>),
    SeekBack(Vec<u8>),
}

impl Move {
    fn make<'c>(&self, cursor: &'c mut Cursor) -> lightning_db::Result<Option<(&'c [u8], &'c [u8])>> {
        match self {
            Self::Next => cursor.next(),
            Self::Prev => cursor.prev(),
            Self::First => cursor.first(),
            Self::Last => cursor.last(),
            Self::Seek(key) => cursor.seek(key),
            Self::SeekBack(key) => cursor.seek_back(key),
        }
    }

    /// Where it leads to among `entries`.
    fn lead(&self, entries: &[(Vec<u8>, Value)], from: Place) -> Place {
        let up = |index: usize| if index < entries.len() { Place::On(index) } else { Place::AfterLast };
        let down = |index: Option<usize>| index.map_or(Place::BeforeFirst, Place::On);
        let below = |key: &Vec<u8>| entries.partition_point(|(other, _)| other < key);
        match (self, from) {
            (Self::First, _) | (Self::Next, Place::BeforeFirst) => up(0),
            (Self::Next, Place::On(index)) => up(index + 1),
            (Self::Last, _) | (Self::Prev, Place::AfterLast) => down(entries.len().checked_sub(1)),
            (Self::Prev, Place::On(index)) => down(index.checked_sub(1)),
            (Self::Next | Self::Prev, place) => place,
            (Self::Seek(key), _) => up(below(key)),
            (Self::SeekBack(key), _) => down(below(key).checked_sub(1)),
        }
    }
}

impl Client<'_> {
    /// Roams in a snapshot.
    pub(crate) fn roam(&mut self) -> Step {
        let snapshot =
            if self.kept.is_empty() { self.db.snapshot() } else { self.random.pick(&self.kept).clone() };
        let sequence = snapshot.sequence().0;
        let wanted = self.wanted().plain();
        let (start, end) = wanted.plain_bounds().unwrap_or_default();
        let strikes = self.process.strikes();
        let Some(mut cursor) = self.process.expect_since(strikes, "cursor", snapshot.cursor(start, end))?
        else {
            return Ok(());
        };
        let sight =
            RangeSight { limit: usize::MAX, from_behind: 0, ..wanted.sight(Vec::new(), Overlay::new()) };
        let entries = {
            let world = self.run.world();
            if world.oracle.history.applied() < sequence || world.oracle.history.is_unclear(sequence) {
                return Ok(());
            }
            expected_range(&world.oracle.history, &sight, sequence)
        };
        let mut place = Place::BeforeFirst;
        for _ in 0..4 + self.random.below(24) {
            let step = self.draw_move();
            place = step.lead(&entries, place);
            let expected = if let Place::On(index) = place { entries.get(index) } else { None };
            let strikes = self.process.strikes();
            let moved = step.make(&mut cursor).map(|found| is_that(found, expected));
            let Some(is_right) = self.process.expect_since(strikes, "a move of a cursor", moved)? else {
                return Ok(());
            };
            if !is_right || !is_that(cursor.current(), expected) {
                let found = cursor.current().map_or("nothing".to_owned(), |(key, _)| show(key));
                let expected = expected.map_or("nothing".to_owned(), |(key, _)| show(key));
                return bug(format!(
                    "a cursor at commit {sequence} comes by {step:?} to {found}, not to {expected}"
                ));
            }
        }
        Ok(())
    }

    fn draw_move(&mut self) -> Move {
        match self.random.below(12) {
            0..4 => Move::Next,
            4..8 => Move::Prev,
            8 => Move::First,
            9 => Move::Last,
            10 => Move::Seek(self.key()),
            _ => Move::SeekBack(self.key()),
        }
    }
}

fn is_that(found: Option<(&[u8], &[u8])>, expected: Option<&(Vec<u8>, Value)>) -> bool {
    match (found, expected) {
        (Some((key, value)), Some((k, v))) => key == k && *value == **v,
        (None, None) => true,
        _ => false,
    }
}
