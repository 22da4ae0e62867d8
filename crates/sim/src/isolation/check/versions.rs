//! Who appended what, in which order versions followed each other, and the anomalies that need no cycle.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::edn::print_steps;
use super::super::history::{Element, Key, Outcome, Step, Transaction};
use super::{Anomaly, Found, Level, Promise};

/// What is known of the versions of all lists.
pub(super) struct Versions<'a> {
    pub(super) transactions: &'a [Transaction],
    pub(super) promise: Promise,
    writers: HashMap<(Key, Element), Writer>,
    /// What stands right after an element, or first, in lists that were read.
    next: HashMap<(Key, Option<Element>), BTreeSet<Element>>,
    longest: HashMap<Key, &'a [Element]>,
    /// Who appended what is in no list that was read, and committed.
    unread: HashMap<Key, Vec<usize>>,
    pub(super) reads: Vec<Read<'a>>,
}

#[derive(Clone, Copy)]
struct Writer {
    transaction: usize,
    /// What the same transaction appended to the same list before and after.
    before: Option<Element>,
    after: Option<Element>,
}

/// A list as a committed transaction read it.
pub(super) struct Read<'a> {
    pub(super) transaction: usize,
    pub(super) key: Key,
    /// As it was found, without what the transaction had appended itself.
    pub(super) found: &'a [Element],
    /// Whether the transaction had appended nothing to it yet.
    pub(super) is_pure: bool,
    whole: &'a [Element],
}

impl<'a> Versions<'a> {
    pub(super) fn of(transactions: &'a [Transaction], promise: Promise, found: &mut Vec<Found>) -> Self {
        let (writers, next, longest, unread) = Default::default();
        let mut versions = Self { transactions, promise, writers, next, longest, unread, reads: Vec::new() };
        for number in 0..transactions.len() {
            versions.add_appends(number, found);
        }
        for (number, transaction) in transactions.iter().enumerate() {
            if transaction.outcome == Outcome::Committed {
                versions.add_reads(number);
            }
        }
        versions.find_unread();
        versions
    }

    fn find_unread(&mut self) {
        let read: HashSet<(Key, Element)> = self
            .next
            .iter()
            .flat_map(|((key, _), next)| next.iter().map(|element| (*key, *element)))
            .collect();
        for (place, writer) in &self.writers {
            let is_committed = self.transactions[writer.transaction].outcome == Outcome::Committed;
            if is_committed && !read.contains(place) {
                self.unread.entry(place.0).or_default().push(writer.transaction);
            }
        }
        self.unread.values_mut().for_each(|writers| writers.sort_unstable());
    }

    fn add_appends(&mut self, number: usize, found: &mut Vec<Found>) {
        let mut last: HashMap<Key, Element> = HashMap::new();
        for step in &self.transactions[number].steps {
            let Step::Append(key, element) = *step else { continue };
            let before = last.insert(key, element);
            if let Some(before) = before
                && let Some(writer) = self.writers.get_mut(&(key, before))
            {
                writer.after = Some(element);
            }
            let writer = Writer { transaction: number, before, after: None };
            if self.writers.insert((key, element), writer).is_some() {
                let how = format!("{element} is appended to {key} twice; the history is of no use");
                found.push(Found { anomaly: Anomaly::Duplicate, how });
            }
        }
    }

    fn add_reads(&mut self, number: usize) {
        let mut appended: HashSet<Key> = HashSet::new();
        for step in &self.transactions[number].steps {
            match step {
                Step::Append(key, _) => _ = appended.insert(*key),
                Step::Read(_, None) => {}
                Step::Read(key, Some(list)) => {
                    let is_own = |element: &&Element| self.writer(*key, **element) == Some(number);
                    let own = list.iter().rev().take_while(is_own).count();
                    let found = &list[..list.len() - own];
                    let is_pure = !appended.contains(key);
                    self.reads.push(Read { transaction: number, key: *key, found, is_pure, whole: list });
                    self.add_order(*key, list);
                }
            }
        }
    }

    fn add_order(&mut self, key: Key, list: &'a [Element]) {
        let longest = self.longest.entry(key).or_default();
        if longest.starts_with(list) {
            return;
        }
        if list.len() > longest.len() {
            *longest = list;
        }
        let mut before = None;
        for element in list {
            self.next.entry((key, before)).or_default().insert(*element);
            before = Some(*element);
        }
    }

    /// Who appended `element` to `key`.
    pub(super) fn writer(&self, key: Key, element: Element) -> Option<usize> {
        Some(self.writers.get(&(key, element))?.transaction)
    }

    /// Who wrote versions after the one that ends with `last`: the next, and, as those come later too, all that nobody
    /// read.
    pub(super) fn successors(&self, key: Key, last: Option<Element>) -> impl Iterator<Item = usize> {
        let next = self.next.get(&(key, last)).into_iter().flatten();
        let unread = self.unread.get(&key).into_iter().flatten().copied();
        next.filter_map(move |element| self.writer(key, *element)).chain(unread)
    }

    /// Pairs of transactions of which the second wrote on top of what the first had written.
    pub(super) fn overwrites(&self) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for ((key, last), next) in &self.next {
            let Some(first) = last.and_then(|last| self.writer(*key, last)) else { continue };
            pairs.extend(next.iter().filter_map(|element| Some((first, self.writer(*key, *element)?))));
        }
        pairs.sort_unstable();
        pairs
    }

    /// Everything that can be seen without a cycle.
    pub(super) fn check_reads(&self, found: &mut Vec<Found>) {
        for read in &self.reads {
            self.check_elements(read, found);
        }
        for (number, transaction) in self.transactions.iter().enumerate() {
            if transaction.outcome == Outcome::Committed {
                self.check_inside(number, found);
            }
        }
        self.check_lost_updates(found);
        if self.promise.appends_exclude_each_other {
            self.check_whole(found);
            self.check_fresh(found);
        }
    }

    fn check_elements(&self, read: &Read<'_>, found: &mut Vec<Found>) {
        let mut seen = HashSet::new();
        let mut report = |anomaly, what: String| {
            found.push(Found { anomaly, how: format!("{} {what}", self.show(read.transaction)) });
        };
        for (place, element) in read.whole.iter().enumerate() {
            let key = read.key;
            if !seen.insert(element) {
                report(Anomaly::Duplicate, format!("reads {element} in {key} twice"));
            }
            let Some(writer) = self.writers.get(&(key, *element)) else {
                report(Anomaly::Garbage, format!("reads {element} in {key}, which nobody appended"));
                continue;
            };
            let other = self.show(writer.transaction);
            if self.transactions[writer.transaction].outcome == Outcome::Aborted {
                report(Anomaly::AbortedRead, format!("reads {element} in {key} of {other}, which failed"));
            }
            if writer.transaction == read.transaction {
                continue;
            }
            let before = place.checked_sub(1).map(|place| read.whole[place]);
            let after = read.whole.get(place + 1).copied();
            if writer.after.is_some() && after.is_none() {
                report(Anomaly::IntermediateRead, format!("reads {element} at the end of {key} of {other}"));
            } else if (writer.after.is_some() && writer.after != after)
                || (writer.before.is_some() && writer.before != before)
            {
                report(Anomaly::Torn, format!("reads {element} in {key}, but not all of {other}"));
            }
        }
        if self.promise.appends_exclude_each_other && !self.longest_of(read.key).starts_with(read.whole) {
            let longest = self.longest_of(read.key);
            report(Anomaly::IncompatibleOrder, format!("read {}, which was {longest:?} too", read.key));
        }
    }

    /// A transaction sees what it did itself, and at a snapshot the same again.
    fn check_inside(&self, number: usize, found: &mut Vec<Found>) {
        let is_snapshot = self.promise.level >= Level::Snapshot;
        let mut expected: HashMap<Key, Expected> = HashMap::new();
        for step in &self.transactions[number].steps {
            match step {
                Step::Append(key, element) => {
                    expected.entry(*key).or_default().list.push(*element);
                }
                Step::Read(_, None) => {}
                Step::Read(key, Some(list)) => {
                    let known = expected.entry(*key).or_default();
                    let own = list.iter().filter(|element| self.writer(*key, **element) == Some(number));
                    let fits = if known.is_all { list == &known.list } else { list.ends_with(&known.list) };
                    if !fits || own.count() != known.own(|element| self.writer(*key, element) == Some(number))
                    {
                        let how = format!("{} reads {key} not as it left it", self.show(number));
                        found.push(Found { anomaly: Anomaly::Internal, how });
                    }
                    if is_snapshot || !known.list.is_empty() {
                        *known = Expected { is_all: true, list: list.clone() };
                    }
                }
            }
        }
    }

    fn check_lost_updates(&self, found: &mut Vec<Found>) {
        let mut based_on: HashMap<(Key, Option<Element>), usize> = HashMap::new();
        for read in self.reads.iter().filter(|read| read.is_pure) {
            let steps = &self.transactions[read.transaction].steps;
            if !steps.iter().any(|step| matches!(step, Step::Append(key, _) if *key == read.key)) {
                continue;
            }
            let version = (read.key, read.found.last().copied());
            match based_on.insert(version, read.transaction) {
                Some(other) if other != read.transaction => {
                    let (one, two) = (self.show(other), self.show(read.transaction));
                    let how = format!("{one} and {two} read one version of {} and wrote the next", read.key);
                    found.push(Found { anomaly: Anomaly::LostUpdate, how });
                }
                _ => {}
            }
        }
    }

    /// Who sees something of a transaction sees all of it: from then on, and at a snapshot from the beginning.
    fn check_whole(&self, found: &mut Vec<Found>) {
        let is_snapshot = self.promise.level >= Level::Snapshot;
        for reads in self.reads.chunk_by(|a, b| a.transaction == b.transaction) {
            let mut seen: HashMap<usize, usize> = HashMap::new();
            for (place, read) in reads.iter().enumerate() {
                for writer in read.found.iter().filter_map(|element| self.writer(read.key, *element)) {
                    seen.entry(writer).or_insert(place);
                }
            }
            for (&writer, &since) in &seen {
                let since = if is_snapshot { 0 } else { since };
                for step in &self.transactions[writer].steps {
                    let Step::Append(key, element) = step else { continue };
                    let lacks = |read: &Read<'_>| read.key == *key && !read.whole.contains(element);
                    if reads[since..].iter().any(lacks) {
                        let (reader, writer) = (self.show(reads[0].transaction), self.show(writer));
                        let how = format!("{reader} sees a part of {writer}, and not {element} in {key}");
                        found.push(Found { anomaly: Anomaly::Torn, how });
                    }
                }
            }
        }
    }

    /// What was acknowledged before a transaction began is there for it.
    fn check_fresh(&self, found: &mut Vec<Found>) {
        let mut acknowledged: HashMap<Key, Vec<(u64, Element)>> = HashMap::new();
        for transaction in self.transactions.iter().filter(|one| one.outcome == Outcome::Committed) {
            for step in &transaction.steps {
                if let Step::Append(key, element) = step {
                    acknowledged.entry(*key).or_default().push((transaction.ended, *element));
                }
            }
        }
        for read in &self.reads {
            let reader = &self.transactions[read.transaction];
            for (ended, element) in acknowledged.get(&read.key).into_iter().flatten() {
                if *ended < reader.began && !read.whole.contains(element) {
                    let (reader, key) = (self.show(read.transaction), read.key);
                    let how = format!("{reader} reads {key} without {element}, acknowledged before it began");
                    found.push(Found { anomaly: Anomaly::Missing, how });
                }
            }
        }
    }

    fn longest_of(&self, key: Key) -> &'a [Element] {
        self.longest.get(&key).copied().unwrap_or_default()
    }

    /// A transaction in words.
    pub(super) fn show(&self, number: usize) -> String {
        let transaction = &self.transactions[number];
        format!("T{} {}", transaction.began, print_steps(&transaction.steps))
    }
}

/// What a transaction must find in a list: all of it, or what stands at its end.
#[derive(Default)]
struct Expected {
    is_all: bool,
    list: Vec<Element>,
}

impl Expected {
    fn own(&self, is_own: impl Fn(Element) -> bool) -> usize {
        self.list.iter().filter(|element| is_own(**element)).count()
    }
}
