//! Clock with Adaptive Replacement (CAR; Bansal and Modha, 2004), counted in bytes.
//!
//! Two clocks hold pages: `Recent` those used once lately, `Frequent` those used more than once. Behind each stands a
//! list of ghosts, which remember what it evicted. A page that returns while its ghost is there shows which clock was
//! too small, and moves `target`, the share of `Recent`, that way. So one long scan does not drive out what is used
//! often, and nothing has to be set by hand.
//!
//! Invariants, after each call, in bytes that pages take or took:
//! - pages and the slots of all, ghosts included, take at most `capacity`;
//! - `Recent` and its ghosts take at most `capacity`, all four together at most twice that.

use std::sync::Arc;

use hashbrown::HashTable;
use lightning_db_sync::modelled::atomic::{AtomicU8, Ordering};

use super::page_cache::PageKey;
use Where::{Frequent, FrequentGhost, Recent, RecentGhost};

const NONE: u32 = u32::MAX;
const IDLE: u8 = Mark::Idle as u8;
const USED: u8 = 1;
const AHEAD: u8 = Mark::Ahead as u8;

/// How a page comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Mark {
    /// Because somebody asked for it: that was its first use.
    Idle = 0,
    /// Because somebody may ask for it soon.
    Ahead = 2,
}

/// One shard of a cache.
pub(super) struct Clock<V> {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashTable<Entry<V>>,
    lists: [List; 4],
    /// Bytes that `Recent` should take.
    target: usize,
    capacity: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
enum Where {
    Recent = 0,
    Frequent = 1,
    RecentGhost = 2,
    FrequentGhost = 3,
}

/// What a lookup needs, in one place.
struct Entry<V> {
    key: PageKey,
    slot: u32,
    mark: AtomicU8,
    /// `None` in a ghost.
    page: Option<Arc<V>>,
}

/// What only evictions need.
struct Slot {
    key: PageKey,
    /// Of page and slot; a ghost remembers it.
    weight: usize,
    previous: u32,
    next: u32,
    at: Where,
}

/// Slots from the oldest to the newest. Taking one from the front and putting it at the back is a clock's hand moving.
#[derive(Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
    len: usize,
    bytes: usize,
}

impl<V> Clock<V> {
    /// What a slot takes besides its page: vectors and tables that grow by doubling are up to half empty.
    const SLOT_BYTES: usize = 2 * (size_of::<Slot>() + size_of::<u32>() + size_of::<Entry<V>>()) + 16;

    pub(super) fn new(capacity: usize) -> Self {
        let empty = List { oldest: NONE, newest: NONE, len: 0, bytes: 0 };
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            lists: [empty; 4],
            target: 0,
            capacity,
        }
    }

    #[inline]
    pub(super) fn get(&self, hash: u64, key: PageKey) -> Option<Arc<V>> {
        let entry = self.find(hash, key)?;
        let page = entry.page.as_ref()?;
        match entry.mark.load(Ordering::Relaxed) {
            IDLE => entry.mark.store(USED, Ordering::Relaxed),
            AHEAD => entry.mark.store(IDLE, Ordering::Relaxed),
            _ => {}
        }
        Some(Arc::clone(page))
    }

    pub(super) fn contains(&self, hash: u64, key: PageKey) -> bool {
        self.find(hash, key).is_some_and(|entry| entry.page.is_some())
    }

    /// Adds a page that takes `page_bytes`. Returns the page to use, which is the one that was here already if there
    /// was one, and the pages that were evicted, to be dropped without the lock.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: PageKey,
        page: Arc<V>,
        page_bytes: usize,
        mark: Mark,
    ) -> (Arc<V>, Vec<Arc<V>>) {
        let weight = page_bytes.saturating_add(Self::SLOT_BYTES);
        let known = match self.find(hash, key) {
            Some(Entry { page: Some(page), .. }) => return (Arc::clone(page), Vec::new()),
            ghost => ghost.map(|ghost| ghost.slot),
        };
        if weight > self.capacity / 2 {
            return (page, Vec::new());
        }
        let mut victims = Vec::new();
        let at = match known {
            Some(ghost) => {
                self.adapt(self.slots[ghost as usize].at, weight);
                self.remove(ghost);
                Frequent
            }
            None => Recent,
        };
        self.make_room(weight, &mut victims);
        let slot = self.add(Slot { key, weight, previous: NONE, next: NONE, at });
        let entry = Entry { key, slot, mark: AtomicU8::new(mark as u8), page: Some(Arc::clone(&page)) };
        self.index.insert_unique(hash, entry, |entry| entry.key.hash());
        self.trim_ghosts();
        (page, victims)
    }

    /// Forgets the pages and ghosts that `unwanted` names. Returns the pages, to be dropped without the lock.
    pub(super) fn remove_where(&mut self, unwanted: impl Fn(&PageKey) -> bool) -> Vec<Arc<V>> {
        let found = self.index.iter().filter(|entry| unwanted(&entry.key)).map(|entry| entry.slot);
        let mut found: Vec<u32> = found.collect();
        // In an order that depends on nothing but what was done.
        found.sort_unstable();
        found.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Evicts pages until those that are left take at most `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) -> Vec<Arc<V>> {
        let mut victims = Vec::new();
        while self.resident_bytes() > bytes && self.evict(&mut victims) {}
        self.trim_ghosts();
        victims
    }

    pub(super) fn set_capacity(&mut self, capacity: usize) -> Vec<Arc<V>> {
        self.capacity = capacity;
        self.target = self.target.min(capacity);
        let mut victims = Vec::new();
        self.make_room(0, &mut victims);
        self.trim_ghosts();
        victims
    }

    /// What pages and slots take.
    pub(super) fn bytes(&self) -> usize {
        self.resident_bytes() + self.ghosts() * Self::SLOT_BYTES
    }

    /// What pages and their slots take.
    pub(super) fn resident_bytes(&self) -> usize {
        self.list(Recent).bytes + self.list(Frequent).bytes
    }

    pub(super) fn residents(&self) -> usize {
        self.list(Recent).len + self.list(Frequent).len
    }

    fn ghosts(&self) -> usize {
        self.list(RecentGhost).len + self.list(FrequentGhost).len
    }

    fn list(&self, at: Where) -> &List {
        &self.lists[at as usize]
    }

    #[inline]
    fn find(&self, hash: u64, key: PageKey) -> Option<&Entry<V>> {
        self.index.find(hash, |entry| entry.key == key)
    }

    fn entry_of(&mut self, number: u32) -> Option<&mut Entry<V>> {
        let hash = self.slots[number as usize].key.hash();
        self.index.find_mut(hash, |entry| entry.slot == number)
    }

    /// A ghost was asked for: its clock was too small. The fewer ghosts there are of its kind, the more it tells.
    fn adapt(&mut self, ghost: Where, weight: usize) {
        let (recent, frequent) = (self.list(RecentGhost).bytes.max(1), self.list(FrequentGhost).bytes.max(1));
        if ghost == RecentGhost {
            let step = weight.saturating_mul((frequent / recent).max(1));
            self.target = self.target.saturating_add(step).min(self.capacity);
        } else {
            let step = weight.saturating_mul((recent / frequent).max(1));
            self.target = self.target.saturating_sub(step);
        }
    }

    fn make_room(&mut self, weight: usize, victims: &mut Vec<Arc<V>>) {
        while self.bytes() + weight > self.capacity && self.evict(victims) {}
        while self.bytes() + weight > self.capacity && self.ghosts() > 0 {
            self.drop_ghost();
        }
    }

    /// Evicts one page and leaves a ghost. Pages that were used since the hand passed last go to `Frequent` instead.
    fn evict(&mut self, victims: &mut Vec<Arc<V>>) -> bool {
        loop {
            let (recent, frequent) = (self.list(Recent), self.list(Frequent));
            let from_recent = recent.len > 0 && (frequent.len == 0 || recent.bytes >= self.target.max(1));
            let (from, ghost) = if from_recent { (Recent, RecentGhost) } else { (Frequent, FrequentGhost) };
            let number = self.list(from).oldest;
            if number == NONE {
                return false;
            }
            let Some(entry) = self.entry_of(number) else { return false };
            match entry.mark.swap(IDLE, Ordering::Relaxed) {
                USED => self.move_to(number, Frequent),
                // It was read for nothing: that tells nothing of the clock's size.
                AHEAD => {
                    victims.extend(self.remove(number));
                    return true;
                }
                _ => {
                    victims.extend(entry.page.take());
                    self.move_to(number, ghost);
                    return true;
                }
            }
        }
    }

    fn trim_ghosts(&mut self) {
        while self.list(RecentGhost).len > 0
            && self.list(Recent).bytes + self.list(RecentGhost).bytes > self.capacity
        {
            self.remove(self.list(RecentGhost).oldest);
        }
        while self.ghosts() > 0 && self.lists.iter().map(|list| list.bytes).sum::<usize>() > 2 * self.capacity
        {
            self.drop_ghost();
        }
    }

    fn drop_ghost(&mut self) {
        let from = if self.list(FrequentGhost).len > 0 { FrequentGhost } else { RecentGhost };
        self.remove(self.list(from).oldest);
    }

    /// Takes a slot into its list. Who calls it puts it into the index.
    fn add(&mut self, slot: Slot) -> u32 {
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.link(number);
        number
    }

    /// Forgets a slot. Returns its page, unless it was a ghost.
    fn remove(&mut self, number: u32) -> Option<Arc<V>> {
        self.unlink(number);
        self.free.push(number);
        let hash = self.slots[number as usize].key.hash();
        let entry = self.index.find_entry(hash, |entry| entry.slot == number).ok()?;
        entry.remove().0.page
    }

    fn move_to(&mut self, number: u32, at: Where) {
        self.unlink(number);
        self.slots[number as usize].at = at;
        self.link(number);
    }

    fn link(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        let list = &mut self.lists[slot.at as usize];
        let before = std::mem::replace(&mut list.newest, number);
        list.len += 1;
        list.bytes += slot.weight;
        (slot.previous, slot.next) = (before, NONE);
        match before {
            NONE => list.oldest = number,
            before => self.slots[before as usize].next = number,
        }
    }

    fn unlink(&mut self, number: u32) {
        let slot = &self.slots[number as usize];
        let (previous, next, at, weight) = (slot.previous, slot.next, slot.at, slot.weight);
        let list = &mut self.lists[at as usize];
        list.len -= 1;
        list.bytes -= weight;
        match previous {
            NONE => list.oldest = next,
            previous => self.slots[previous as usize].next = next,
        }
        match next {
            NONE => list.newest = previous,
            next => self.slots[next as usize].previous = previous,
        }
    }
}
