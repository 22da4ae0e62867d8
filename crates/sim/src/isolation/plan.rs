//! What a transaction means to do, drawn so that many meet on few lists.

use std::sync::atomic::{AtomicU64, Ordering};

use super::check::Level;
use super::history::{Element, Key, Step};
use crate::random::Random;

/// So many lists are written to at one time.
const LISTS: u64 = 4;
/// After so many transactions the first of them is left alone, and another one begins.
const TRANSACTIONS_PER_LIST: u64 = 12;

/// Through which part of the public interface a transaction goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A transaction by number.
    Numbered,
    /// A transaction that ends with its scope.
    Scoped,
    /// A transaction by number that may not write, at a snapshot.
    ReadOnly,
    /// `execute_transaction`, which begins again after a conflict.
    Retried,
    /// A snapshot outside of any transaction.
    Snapshot,
    /// One call outside of any transaction: `get`, `get_batch`, `scan`, `put` or `put_batch`.
    Single,
}

/// What it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Reads the list and writes it with one element more.
    Append(Key, Element, Detour),
    /// Begins a list that nobody else ever writes.
    Begin(Key, Element),
    Read(Key),
    /// Reads a range in one scan, without its end.
    Scan(Key, Key, Walk),
    /// Lets others go on, for so many microseconds.
    Pause(u64),
}

/// How far a scan goes: so many entries from the start, then so many from the end. What it did not come to was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Walk {
    /// All of it, upwards.
    pub(super) const WHOLE: Self = Self { up: u64::MAX, down: 0 };
}

/// What is written, and not left so, before the list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detour {
    Straight,
    /// The list with this at its end, which nobody else may ever see.
    Scratch(Element),
    /// Nothing: the list is deleted.
    Deleted,
}

/// A transaction to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) way: Way,
    pub(super) actions: Vec<Action>,
    pub(super) commits: bool,
}

/// Where all processes of one history are.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Whether every scan goes through all of its range, so that it is known beforehand what it reads.
    whole_scans: bool,
    begun: AtomicU64,
    elements: AtomicU64,
    own_lists: AtomicU64,
}

impl Places {
    pub(super) fn new(whole_scans: bool) -> Self {
        Self { whole_scans, ..Self::default() }
    }

    /// How many transactions were drawn.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Lists with this number and above were never written.
    pub(super) fn end(&self) -> Key {
        2 * (self.begun() / TRANSACTIONS_PER_LIST + LISTS + 4)
    }

    /// Draws a transaction.
    pub(super) fn draw(&self, level: Level, random: &mut Random) -> Plan {
        let base = self.begun.fetch_add(1, Ordering::Relaxed) / TRANSACTIONS_PER_LIST;
        let mut draw = Draw { places: self, random, base };
        let (way, mut actions) = match draw.random.below(16) {
            0 => (Way::Snapshot, draw.reads(3)),
            1 => (Way::ReadOnly, draw.reads(4)),
            2 => (Way::Single, draw.single()),
            3 => (Way::Single, draw.own_lists()),
            4 => (Way::Numbered, draw.own_lists()),
            // This one is always at a snapshot.
            5 if level == Level::Snapshot => (Way::Retried, draw.update()),
            5..=7 => (Way::Numbered, draw.skew()),
            8..=10 => (Way::Scoped, draw.update()),
            11 => (Way::Scoped, draw.crossing()),
            _ => (Way::Numbered, draw.mixed()),
        };
        if way != Way::Single {
            draw.add_pauses(&mut actions);
        }
        let is_abortable = matches!(way, Way::Numbered | Way::Scoped);
        let commits = !(is_abortable && draw.random.once_in(12));
        Plan { way, actions, commits }
    }
}

impl Plan {
    /// The steps that are announced before the transaction begins.
    pub(super) fn steps(&self) -> Vec<Step> {
        let steps = |action: &Action| match action {
            Action::Append(key, element, _) | Action::Begin(key, element) => {
                vec![Step::Append(*key, *element)]
            }
            Action::Read(key) => vec![Step::Read(*key, None)],
            Action::Scan(from, to, _) => (*from..*to).map(|key| Step::Read(key, None)).collect(),
            Action::Pause(_) => Vec::new(),
        };
        self.actions.iter().flat_map(steps).collect()
    }
}

struct Draw<'a> {
    places: &'a Places,
    random: &'a mut Random,
    base: u64,
}

impl Draw<'_> {
    /// A list that many write; their numbers are even.
    fn list(&mut self) -> Key {
        2 * (self.base + self.random.below(LISTS))
    }

    /// A list that is read: now and then one that is written only once, or not at all yet.
    fn list_to_read(&mut self) -> Key {
        if self.random.once_in(6) { self.list() + 1 } else { self.list() }
    }

    fn element(&mut self) -> Element {
        self.places.elements.fetch_add(1, Ordering::Relaxed)
    }

    fn append(&mut self, key: Key) -> Action {
        let detour = match self.random.below(12) {
            0 => Detour::Scratch(self.element()),
            1 => Detour::Deleted,
            _ => Detour::Straight,
        };
        Action::Append(key, self.element(), detour)
    }

    fn scan(&mut self) -> Action {
        let from = (2 * self.base).saturating_sub(2) + self.random.below(6);
        let walk = match self.random.below(10) {
            0..2 => Walk { up: 0, down: u64::MAX },
            2..4 if !self.places.whole_scans => Walk { up: 1 + self.random.below(3), down: 0 },
            4 if !self.places.whole_scans => {
                Walk { up: self.random.below(3), down: 1 + self.random.below(2) }
            }
            _ => Walk::WHOLE,
        };
        Action::Scan(from, from + 2 + self.random.below(8), walk)
    }

    fn reads(&mut self, most: u64) -> Vec<Action> {
        let len = 2 + self.random.below(most);
        (0..len)
            .map(|_| if self.random.once_in(4) { self.scan() } else { Action::Read(self.list_to_read()) })
            .collect()
    }

    /// One call can read one moment only.
    fn single(&mut self) -> Vec<Action> {
        match self.random.below(3) {
            0 => vec![Action::Read(self.list_to_read())],
            1 => vec![self.scan()],
            _ => (0..4).map(|_| Action::Read(self.list_to_read())).collect(),
        }
    }

    fn update(&mut self) -> Vec<Action> {
        let key = self.list();
        let mut actions = vec![Action::Read(key), self.append(key)];
        if self.random.once_in(4) {
            actions.push(Action::Read(key));
        }
        actions
    }

    /// Looks at two lists or a range, and writes to one of what it saw, or to none of it.
    fn skew(&mut self) -> Vec<Action> {
        let (one, two) = (self.list(), self.list());
        let mut actions = if self.random.once_in(2) {
            vec![Action::Read(one), Action::Read(two)]
        } else {
            vec![self.scan()]
        };
        let key = if self.random.once_in(2) { one } else { self.list() };
        match self.own_list() {
            Some(own) if self.random.once_in(3) => actions.push(Action::Begin(own, self.element())),
            _ => actions.push(self.append(key)),
        }
        actions
    }

    /// Appends to two lists: one and the same transaction the other way round is a deadlock.
    fn crossing(&mut self) -> Vec<Action> {
        let (one, two) = (self.list(), self.list());
        vec![self.append(one), Action::Pause(50), self.append(two)]
    }

    fn mixed(&mut self) -> Vec<Action> {
        let len = 1 + self.random.below(5);
        (0..len)
            .map(|_| match self.random.below(10) {
                0 => self.scan(),
                1..=4 => Action::Read(self.list_to_read()),
                _ => {
                    let key = self.list();
                    self.append(key)
                }
            })
            .collect()
    }

    fn own_lists(&mut self) -> Vec<Action> {
        let len = 1 + self.random.below(3);
        let lists: Vec<Key> = (0..len).filter_map(|_| self.own_list()).collect();
        if lists.is_empty() {
            return vec![Action::Read(self.list_to_read())];
        }
        lists.into_iter().map(|key| Action::Begin(key, self.element())).collect()
    }

    /// A list that nobody has written, near those that many write; their numbers are odd.
    fn own_list(&mut self) -> Option<Key> {
        let taken = &self.places.own_lists;
        let near = self.base..self.base + LISTS + 2;
        let next = |own: u64| Some(own.max(near.start) + 1).filter(|next| *next <= near.end);
        let own = taken.try_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(2 * own.max(near.start) + 1)
    }

    fn add_pauses(&mut self, actions: &mut Vec<Action>) {
        for place in (1..=actions.len()).rev() {
            match self.random.below(24) {
                0 if self.random.once_in(8) => actions.insert(place, Action::Pause(20_000)),
                0 => actions.insert(place, Action::Pause(self.random.below(3_000))),
                1..=4 => actions.insert(place, Action::Pause(self.random.below(150))),
                5..=9 => actions.insert(place, Action::Pause(0)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_element_and_no_list_of_ones_own_is_drawn_twice_and_all_are_below_the_end() {
        let (places, mut random) = (Places::default(), Random::new(1));
        let (mut elements, mut own) = (HashSet::new(), HashSet::new());
        for _ in 0..2000 {
            for action in places.draw(Level::Snapshot, &mut random).actions {
                match action {
                    Action::Append(key, element, _) => {
                        assert!(elements.insert(element) && key % 2 == 0 && key < places.end());
                    }
                    Action::Begin(key, element) => {
                        assert!(elements.insert(element) && own.insert(key));
                        assert!(key % 2 == 1 && key < places.end());
                    }
                    Action::Read(_) | Action::Scan(..) | Action::Pause(_) => {}
                }
            }
        }
        assert!(own.len() > 50 && elements.len() > 1000);
    }
}
