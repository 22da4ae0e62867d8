//! Streams of entries in ascending order: what trees are built from.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use super::{Cursor, PageSource};
use crate::Result;
use crate::page::EntryValue;

/// Entries in strictly ascending order of their keys.
///
/// A stream stands before its first entry; [`advance`](Self::advance) takes it to the next one.
pub trait EntryStream {
    /// Goes to the next entry. False at the end, also when called again.
    ///
    /// # Errors
    /// Those of what the entries come from; `Cancelled` ends whatever consumes the stream.
    fn advance(&mut self) -> Result<bool>;

    /// The key of the current entry. Only to be called when the last [`advance`](Self::advance) returned true.
    fn key(&self) -> &[u8];

    /// The value of the current entry. Only to be called when the last [`advance`](Self::advance) returned true.
    fn value(&self) -> EntryValue<'_>;

    /// Goes to the next entry and lends it.
    ///
    /// # Errors
    /// Those of [`advance`](Self::advance).
    fn next(&mut self) -> Result<Option<(&[u8], EntryValue<'_>)>> {
        Ok(if self.advance()? { Some((self.key(), self.value())) } else { None })
    }
}

impl<T: EntryStream + ?Sized> EntryStream for Box<T> {
    fn advance(&mut self) -> Result<bool> {
        (**self).advance()
    }

    fn key(&self) -> &[u8] {
        (**self).key()
    }

    fn value(&self) -> EntryValue<'_> {
        (**self).value()
    }
}

/// All entries of a tree.
#[derive(Debug)]
pub struct TreeStream<S> {
    cursor: Cursor<S>,
    started: bool,
}

impl<S> TreeStream<S> {
    /// The entries of the cursor's tree, from the first, wherever the cursor stands.
    pub const fn new(cursor: Cursor<S>) -> Self {
        Self { cursor, started: false }
    }
}

impl<S> EntryStream for TreeStream<S>
where
    S: Deref<Target: PageSource>,
{
    fn advance(&mut self) -> Result<bool> {
        if self.started {
            return self.cursor.next();
        }
        self.started = true;
        self.cursor.seek_first()
    }

    fn key(&self) -> &[u8] {
        self.cursor.key()
    }

    fn value(&self) -> EntryValue<'_> {
        self.cursor.value()
    }
}

/// Told of each entry that a newer one hides: its key and its value.
pub type Superseded<'a> = Box<dyn FnMut(&[u8], EntryValue<'_>) + 'a>;

/// Several streams as one. Of the entries of one key only the newest comes through, deletes included.
pub struct MergedStream<'a> {
    /// The newest first.
    streams: Vec<Box<dyn EntryStream + 'a>>,
    /// The streams that have an entry, by its key, and by age for one key. The first one's entry is the current one.
    order: Vec<usize>,
    superseded: Superseded<'a>,
    started: bool,
}

impl<'a> MergedStream<'a> {
    /// Merges streams given from the newest to the oldest.
    #[must_use]
    pub fn new(streams: Vec<Box<dyn EntryStream + 'a>>, superseded: Superseded<'a>) -> Self {
        let order = Vec::with_capacity(streams.len());
        Self { streams, order, superseded, started: false }
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.streams[a].key().cmp(self.streams[b].key()).then(a.cmp(&b))
    }

    /// Takes the stream at `place` in the order to its next entry, and to its new place.
    fn step(&mut self, place: usize) -> Result<()> {
        let stream = self.order[place];
        if !self.streams[stream].advance()? {
            self.order.remove(place);
            return Ok(());
        }
        let rest = &self.order[place + 1..];
        if rest.first().is_some_and(|&other| self.compare(other, stream).is_lt()) {
            let passed = rest.partition_point(|&other| self.compare(other, stream).is_lt());
            self.order[place..=place + passed].rotate_left(1);
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        for stream in 0..self.streams.len() {
            if self.streams[stream].advance()? {
                let place = self.order.partition_point(|&other| self.compare(other, stream).is_lt());
                self.order.insert(place, stream);
            }
        }
        Ok(())
    }

    /// Passes over the older entries of the current key.
    fn pass_superseded(&mut self) -> Result<()> {
        while let [newest, older, ..] = self.order[..] {
            if self.streams[newest].key() != self.streams[older].key() {
                break;
            }
            let hidden = &self.streams[older];
            (self.superseded)(hidden.key(), hidden.value());
            self.step(1)?;
        }
        Ok(())
    }
}

impl EntryStream for MergedStream<'_> {
    fn advance(&mut self) -> Result<bool> {
        if !self.started {
            self.started = true;
            self.start()?;
        } else if !self.order.is_empty() {
            self.step(0)?;
        }
        self.pass_superseded()?;
        Ok(!self.order.is_empty())
    }

    fn key(&self) -> &[u8] {
        self.streams[self.order[0]].key()
    }

    fn value(&self) -> EntryValue<'_> {
        self.streams[self.order[0]].value()
    }
}

impl fmt::Debug for MergedStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedStream").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}
