//! The newest committed values of hot keys, read without a lock.
//!
//! A table of fixed size has sets; each holds records and, beside them, stamps. It has places for more records than its
//! own memory can hold: records also take what pages leave free of theirs ([`Room`]), and give it back when pages come.
//!
//! Each key has one stamp, which it may share with other keys. A stamp counts the commits under way that write its keys, and changes when one begins and when it ends:
//!
//! ```text
//! stamp u64: changes (high 36 bits) | commits under way (low 28 bits)
//! ```
//!
//! A commit is two changes, so a stamp comes back after 2^35 commits that write its keys: more than nine hours at a
//! million a second. No reader sleeps that long between its ticket and its fill. A write counts once for each time that
//! it names a key, and a group of commits holds far fewer than 2^28.
//!
//! - A commit calls [`HotRecords::pending`] for each of its keys before it is published, and [`HotRecords::settled`] for
//!   each after.
//! - A reader that misses takes a [`FillTicket`], which holds the stamp, *before* it chooses the sequence number that it
//!   reads at; a stamp with a commit under way gives no ticket. Its record carries the ticket's stamp.
//! - A record counts only while its stamp is the current one.
//!
//! So no record is stale. Who knows of a publication sees the change that came before it, and no record filled under an
//! earlier stamp counts for him any more. A record filled under a stamp taken after the commit had settled was read
//! after the publication. And what a slow reader stores late carries its old stamp, and never counts.
//!
//! For the same reason a record serves every snapshot at its sequence number or above: a commit between the two would
//! have changed the stamp before the snapshot could be taken.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use lightning_db_storage::SequenceNumber;
use lightning_db_sync::modelled::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use lightning_db_sync::modelled::{Guard, SwapOption};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::budget::Room;
use super::counter::Counter;
use super::prefetch::{LINE, prefetch};
use super::record::{Record, key_of, memory_bytes, memory_bytes_of, new_record, value_of};

/// Slots that a key may lie in.
const WAYS: usize = 6;
/// Cells for marks of keys that missed.
const MISSED: usize = 4;
/// Keys that are looked up together. Each holds what it found without counting a reference, for which a thread has eight
/// places.
pub(crate) const GROUP: usize = 8;
/// The sets take at most one part in this many of the table's own memory; the rest is for records.
const SETS_SHARE: usize = 2;
/// A smaller table is of no use.
const SETS_MIN: usize = 16;
/// Sets come into being in blocks of this many, so that nobody waits for a large table to be laid out.
const BLOCK: usize = 512;
/// A record may take this share of the table's own memory for records, so that a few long ones do not drive out all
/// others.
const LONGEST_SHARE: usize = 64;
/// How many slots a fill may look at for room.
const SWEEP_PER_FILL: usize = 64;
/// Of the records that others would have to go for, one in this many is let in. Who comes often comes in, and keys that
/// are all alike and too many do not drive each other out at every read.
const LET_IN: usize = 8;
/// Cache lines of a record that are fetched ahead; of longer ones the processor notices by itself that they go on.
const LINES_AHEAD: usize = 3;
/// One commit more under way, and a change.
const BEGUN: u64 = CHANGE + 1;
/// One commit less under way, and a change.
const ENDED: u64 = CHANGE - 1;
const CHANGE: u64 = 1 << 28;
const UNDER_WAY: u64 = CHANGE - 1;

/// The table.
pub(crate) struct HotRecords {
    blocks: Box<[OnceLock<Box<[Set]>>]>,
    /// How many sets there are in all, a power of two.
    sets: usize,
    hash_seed: u64,
    /// Bytes for records that are always this table's.
    own_capacity: usize,
    /// What may be had besides.
    room: Arc<Room>,
    record_bytes: AtomicUsize,
    hand: AtomicUsize,
    asked: AtomicUsize,
    hits: Counter,
    misses: Counter,
}

/// All that a key's lookup, ticket and commit look at, in two lines that are fetched together.
#[repr(C, align(128))]
#[derive(Default)]
struct Set {
    /// Emptied when the table is dropped, and then hold nothing that a destructor would have to free. Their own looks
    /// for readers among all threads that ever were, also where they are empty: with a large table, a second's work.
    records: [ManuallyDrop<SwapOption<Record>>; WAYS],
    /// A part of the hash of each record's key: a hint that spares a look at the record.
    tags: [AtomicU16; WAYS],
    stamps: [AtomicU64; WAYS],
    /// Of the keys that share a place, marks of the two that missed last: a record is admitted at its second miss. Two,
    /// so that two hot keys of one place do not keep each other out.
    missed: [AtomicU32; MISSED],
}

/// A record that was found. Holding it holds up nobody.
pub(crate) struct HotHit(Guard<Option<Record>>);

/// The right to fill in a record for one key, as long as no commit writes it meanwhile.
#[derive(Debug)]
#[must_use = "a ticket is for a fill"]
pub(crate) struct FillTicket {
    place: Place,
    stamp: u64,
}

/// A write to one key by a commit under way.
#[derive(Debug)]
pub(crate) struct Write {
    place: Place,
    /// Whether there was a record that it replaces.
    was_hot: bool,
}

/// What a table has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HotStats {
    /// Lookups that found a record.
    pub(crate) hits: u64,
    /// Lookups that did not.
    pub(crate) misses: u64,
    /// Memory taken, the tables included.
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u64,
    set: usize,
    /// Which of the set's stamps.
    way: usize,
}

impl HotRecords {
    /// A table that has `bytes` of memory for itself, and what `room` has besides; `None` when that is too little for one
    /// of any use. `hash_seed` is random, so that nobody can choose keys that collide.
    pub(crate) fn new(bytes: usize, room: Arc<Room>, hash_seed: u64) -> Option<Self> {
        let sets = bytes / SETS_SHARE / size_of::<Set>();
        if sets < SETS_MIN {
            return None;
        }
        let sets = (sets + 1).next_power_of_two() / 2;
        Some(Self::laid_out(sets, bytes - sets * size_of::<Set>(), room, hash_seed))
    }

    /// A table of so many sets, a power of two, with `own_capacity` bytes for records.
    pub(super) fn laid_out(sets: usize, own_capacity: usize, room: Arc<Room>, hash_seed: u64) -> Self {
        Self {
            blocks: (0..sets.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect(),
            sets,
            hash_seed,
            own_capacity,
            room,
            record_bytes: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    /// The newest committed value of `key`, if it is here. It answers a read of the latest state, and a snapshot at
    /// [`HotHit::read_at`] or above.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<HotHit> {
        let place = self.place(key);
        let found = self.present_set(place).and_then(|set| {
            set.records.iter().zip(&set.tags).find_map(|(record, tag)| {
                let is_likely = tag.load(Ordering::Relaxed) == place.tag();
                if is_likely { set.hit(record.load(), place, key) } else { None }
            })
        });
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.add(1);
        found
    }

    /// As [`get`](Self::get) for each of at most [`GROUP`] keys, but that a record may be overlooked. The memory that each
    /// lies in is waited for together.
    pub(crate) fn get_group<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> [Option<HotHit>; GROUP] {
        let mut places = [None; GROUP];
        for (place, key) in places.iter_mut().zip(keys.clone()) {
            *place = Some(self.place_ahead(key));
        }
        let mut found = places.map(|place| {
            let place = place?;
            let set = self.present_set(place)?;
            let way = set.tags.iter().position(|tag| tag.load(Ordering::Relaxed) == place.tag())?;
            Some(set.records[way].load())
        });
        for record in found.iter().flatten().filter_map(|guard| guard.as_ref()) {
            let begin = record.as_ptr().cast::<u8>();
            (0..LINES_AHEAD).for_each(|line| prefetch(begin.wrapping_add(line * LINE)));
        }
        let mut hits = 0;
        let mut group = [const { None }; GROUP];
        for (((hit, record), place), key) in group.iter_mut().zip(&mut found).zip(places).zip(keys) {
            let (Some(record), Some(place)) = (record.take(), place) else { continue };
            *hit = self.present_set(place).and_then(|set| set.hit(record, place, key));
            hits += u64::from(hit.is_some());
        }
        self.hits.add(hits);
        self.misses.add(places.iter().flatten().count() as u64 - hits);
        group
    }

    /// To be taken after a miss, and before the reader loads the version and the sequence number that it reads at.
    /// `None` when a commit of the key is under way, or when others would have to go for it and it is not known to be
    /// hot: it missed once.
    pub(crate) fn ticket(&self, key: &[u8]) -> Option<FillTicket> {
        let place = self.place(key);
        let is_full = self.record_bytes.load(Ordering::Relaxed) >= self.capacity() / 16 * 15;
        if is_full && !self.missed_before(place) {
            return None;
        }
        let stamp = self.set(place).stamp(place);
        (stamp & UNDER_WAY == 0).then_some(FillTicket { place, stamp })
    }

    /// Stores what the holder of the ticket read at `read_at`; `None` when the key is absent. Dropped when a commit of
    /// the key began since, or when there is no room.
    pub(crate) fn fill(
        &self,
        ticket: &FillTicket,
        key: &[u8],
        read_at: SequenceNumber,
        value: Option<&[u8]>,
    ) {
        let FillTicket { place, stamp } = *ticket;
        let bytes = memory_bytes_of(key.len(), value.map_or(0, <[u8]>::len));
        let set = self.set(place);
        if set.stamp(place) != stamp || bytes > self.own_capacity / LONGEST_SHARE || !self.reserve(bytes) {
            return;
        }
        let Some(record) = new_record(key, value, read_at, stamp) else {
            self.record_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return;
        };
        let way = set.choose(place, key);
        let replaced = set.records[way].swap(Some(record));
        set.tags[way].store(place.tag(), Ordering::Relaxed);
        self.release(replaced);
    }

    /// A commit will write `key`: what of the table that concerns is fetched meanwhile.
    #[inline]
    pub(crate) fn announce(&self, key: &[u8]) -> Write {
        Write { place: self.place_ahead(key), was_hot: false }
    }

    /// The commit is about to be published: what is here of the key no longer counts.
    #[inline]
    pub(crate) fn pending(&self, write: &mut Write) {
        let place = write.place;
        let set = self.set(place);
        set.stamps[place.way].fetch_add(BEGUN, Ordering::AcqRel);
        for (record, tag) in set.records.iter().zip(&set.tags) {
            if tag.load(Ordering::Relaxed) == place.tag() {
                let removed = record.swap(None);
                write.was_hot |= removed.is_some();
                self.release(removed);
            }
        }
    }

    /// The commit that [`HotRecords::pending`] was called for is published, or failed. Called as often as that was. When
    /// the key was hot, and no other commit of it is under way, it gives the right to fill in what the commit wrote.
    #[inline]
    pub(crate) fn settled(&self, write: &Write) -> Option<FillTicket> {
        let place = write.place;
        let before = self.set(place).stamps[place.way].fetch_add(ENDED, Ordering::AcqRel);
        debug_assert!(before & UNDER_WAY > 0, "a commit settles what it made pending");
        let stamp = before.wrapping_add(ENDED);
        (write.was_hot && stamp & UNDER_WAY == 0).then_some(FillTicket { place, stamp })
    }

    /// As [`HotRecords::pending`] for every key there is.
    pub(crate) fn all_pending(&self) {
        for stamp in (0..self.blocks.len()).flat_map(|block| self.block(block)).flat_map(|set| &set.stamps) {
            stamp.fetch_add(BEGUN, Ordering::AcqRel);
        }
    }

    /// As [`HotRecords::settled`] for every key there is.
    pub(crate) fn all_settled(&self) {
        for stamp in (0..self.blocks.len()).flat_map(|block| self.block(block)).flat_map(|set| &set.stamps) {
            stamp.fetch_add(ENDED, Ordering::AcqRel);
        }
    }

    /// Drops about this share of the records' bytes, 0.0 to 1.0. Returns how many bytes were freed.
    pub(crate) fn evict_fraction(&self, fraction: f64) -> usize {
        let before = self.record_bytes.load(Ordering::Relaxed);
        let keep = (before as f64 * (1.0 - fraction.clamp(0.0, 1.0))) as usize;
        self.sweep(keep, 2 * self.sets * WAYS);
        before.saturating_sub(self.record_bytes.load(Ordering::Relaxed))
    }

    /// Gives back what pages have taken of the room that records had beside their own. Records in use go too when others
    /// are not found at once: a reader waits for it.
    pub(crate) fn make_room(&self) {
        let capacity = self.capacity();
        if !self.sweep(capacity, SWEEP_PER_FILL) {
            self.sweep_all(capacity, self.sets * WAYS);
        }
    }

    /// What the table has done and holds.
    pub(crate) fn stats(&self) -> HotStats {
        let sets: usize =
            (0..self.blocks.len()).filter_map(|block| self.present(block)).map(<[Set]>::len).sum();
        let bytes = sets * size_of::<Set>() + self.record_bytes.load(Ordering::Relaxed);
        HotStats { hits: self.hits.get(), misses: self.misses.get(), bytes }
    }

    #[inline]
    fn place(&self, key: &[u8]) -> Place {
        let hash = xxh3_64_with_seed(key, self.hash_seed);
        let way = ((hash & 0xffff_ffff) * WAYS as u64) >> 32;
        Place { hash, set: (hash >> 32) as usize & (self.sets - 1), way: way as usize }
    }

    /// As [`place`](Self::place), and asks for what is there.
    #[inline]
    fn place_ahead(&self, key: &[u8]) -> Place {
        let place = self.place(key);
        if let Some(set) = self.present_set(place) {
            prefetch(&raw const set.records);
            prefetch(&raw const set.stamps);
        }
        place
    }

    /// Bytes that records may take now.
    fn capacity(&self) -> usize {
        self.own_capacity + self.room.free()
    }

    #[inline]
    fn present_set(&self, place: Place) -> Option<&Set> {
        self.present(place.set / BLOCK).map(|block| &block[place.set % BLOCK])
    }

    fn present(&self, block: usize) -> Option<&[Set]> {
        self.blocks[block].get().map(|sets| &**sets)
    }

    fn block(&self, block: usize) -> &[Set] {
        self.blocks[block].get_or_init(|| (0..self.sets.min(BLOCK)).map(|_| Set::default()).collect())
    }

    fn set(&self, place: Place) -> &Set {
        &self.block(place.set / BLOCK)[place.set % BLOCK]
    }

    fn missed_before(&self, place: Place) -> bool {
        let mark = u32::from(place.tag()) | 1;
        let cell = &self.set(place).missed[place.hash as usize % MISSED];
        let marks = cell.load(Ordering::Relaxed);
        let known = marks & 0xffff == mark || marks >> 16 == mark;
        if !known {
            cell.store(marks << 16 | mark, Ordering::Relaxed);
        }
        known
    }

    /// Takes room for a record. When there is none, it is made for some.
    fn reserve(&self, bytes: usize) -> bool {
        let after = self.record_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let capacity = self.capacity();
        let is_let_in = || self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(LET_IN);
        if after <= capacity || (is_let_in() && self.sweep(capacity, SWEEP_PER_FILL)) {
            return true;
        }
        self.record_bytes.fetch_sub(bytes, Ordering::AcqRel);
        false
    }

    fn release(&self, record: Option<Record>) {
        if let Some(record) = record {
            self.record_bytes.fetch_sub(memory_bytes(&record), Ordering::AcqRel);
        }
    }

    /// Drops records that were not used since the hand passed last, until `keep` bytes are left or `steps` are done.
    fn sweep(&self, keep: usize, steps: usize) -> bool {
        self.sweep_where(keep, steps, |record| !record.header.header.used.swap(false, Ordering::Relaxed))
    }

    /// As [`sweep`](Self::sweep), whatever is used or not.
    fn sweep_all(&self, keep: usize, steps: usize) -> bool {
        self.sweep_where(keep, steps, |_| true)
    }

    fn sweep_where(&self, keep: usize, steps: usize, goes: impl Fn(&Record) -> bool) -> bool {
        for _ in 0..steps {
            if self.record_bytes.load(Ordering::Acquire) <= keep {
                return true;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed);
            let set = (hand / WAYS) & (self.sets - 1);
            let Some(block) = self.present(set / BLOCK) else { continue };
            let slot = &block[set % BLOCK].records[hand % WAYS];
            if slot.load().as_ref().is_some_and(&goes) {
                self.release(slot.swap(None));
            }
        }
        self.record_bytes.load(Ordering::Acquire) <= keep
    }
}

impl Set {
    /// Acquires: who sees that a commit has settled sees that it was published.
    fn stamp(&self, place: Place) -> u64 {
        self.stamps[place.way].load(Ordering::Acquire)
    }

    /// What was loaded from a slot of the set, if it is a record of `key` that counts.
    #[inline]
    fn hit(&self, record: Guard<Option<Record>>, place: Place, key: &[u8]) -> Option<HotHit> {
        let found = record.as_ref().filter(|found| key_of(found) == key)?;
        let header = &found.header.header;
        if header.stamp != self.stamp(place) {
            return None;
        }
        if !header.used.load(Ordering::Relaxed) {
            header.used.store(true, Ordering::Relaxed);
        }
        Some(HotHit(record))
    }

    /// The slot to fill: one with the key, else an empty one, else one that was not used since it was looked at last.
    fn choose(&self, place: Place, key: &[u8]) -> usize {
        // A tag that is not there yet leaves two records of one key, which agree or do not count.
        let holds_key = |way: &usize| {
            self.tags[*way].load(Ordering::Relaxed) == place.tag()
                && self.records[*way].load().as_ref().is_some_and(|record| key_of(record) == key)
        };
        let is_empty = |way: &usize| self.records[*way].load().is_none();
        let is_idle = |way: &usize| {
            let record = self.records[*way].load();
            record.as_ref().is_none_or(|record| !record.header.header.used.swap(false, Ordering::Relaxed))
        };
        let mut ways = 0..WAYS;
        let found = ways.clone().find(holds_key).or_else(|| ways.clone().find(is_empty));
        found.or_else(|| ways.find(is_idle)).unwrap_or((place.hash >> 16) as usize % WAYS)
    }
}

impl Place {
    fn tag(self) -> u16 {
        (self.hash >> 16) as u16
    }
}

impl HotHit {
    /// The sequence number that the record was read at: the record holds for it and for all later ones up to now.
    #[inline]
    pub(crate) fn read_at(&self) -> SequenceNumber {
        self.record().map_or(SequenceNumber(u64::MAX), |record| record.header.header.read_at)
    }

    /// `None`: the key is absent.
    #[inline]
    pub(crate) fn value(&self) -> Option<&[u8]> {
        value_of(self.record()?)
    }

    /// Always there: see [`Set::hit`].
    #[inline]
    fn record(&self) -> Option<&Record> {
        self.0.deref().as_ref()
    }
}

/// Shows the moment; never the bytes.
impl fmt::Debug for HotHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotHit").field("read_at", &self.read_at()).finish_non_exhaustive()
    }
}

impl Drop for HotRecords {
    fn drop(&mut self) {
        self.evict_fraction(1.0);
        debug_assert_eq!(
            self.record_bytes.load(Ordering::Relaxed),
            0,
            "two rounds of the hand free every record"
        );
    }
}

impl fmt::Debug for HotRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotRecords").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_dropped_frees_its_records() {
        let table = HotRecords::new(1 << 20, Arc::default(), 11).expect("the table has room");
        let ticket = table.ticket(b"k").or_else(|| table.ticket(b"k")).expect("no commit is under way");
        table.fill(&ticket, b"k", SequenceNumber(1), Some(b"value"));
        let held = (0..table.blocks.len())
            .filter_map(|block| table.present(block))
            .flatten()
            .flat_map(|set| &set.records)
            .find_map(|record| record.load().clone());
        let record = held.expect("the record is there");
        assert_eq!(Record::strong_count(&record), 2);
        drop(table);
        assert_eq!(Record::strong_count(&record), 1);
    }

    #[test]
    fn a_fill_that_comes_billions_of_commits_late_does_not_count() {
        let table = HotRecords::new(1 << 20, Arc::default(), 11).expect("the table has room");
        for commits in [1u64 << 30, 1 << 31, 1 << 32] {
            let ticket = table.ticket(b"k").or_else(|| table.ticket(b"k")).expect("no commit is under way");
            let stamp = &table.set(ticket.place).stamps[ticket.place.way];
            stamp.fetch_add((BEGUN + ENDED) * commits, Ordering::AcqRel);
            table.fill(&ticket, b"k", SequenceNumber(1), Some(b"old"));
            assert!(table.get(b"k").is_none(), "after {commits} commits");
        }
    }
}
