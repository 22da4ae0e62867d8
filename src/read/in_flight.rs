//! Which pages are being read just now, so that no two threads decrypt the same one.

use lightning_db_sync::modelled::{Condvar, Mutex};

use crate::cache::PageKey;

const SHARDS: usize = 16;

/// The pages that some thread is reading.
#[derive(Default)]
pub(super) struct InFlight {
    shards: [Shard; SHARDS],
}

#[derive(Default)]
struct Shard {
    /// No longer than there are threads.
    keys: Mutex<Vec<PageKey>>,
    landed: Condvar,
}

/// Reading a page: ends when it is dropped.
#[must_use = "the page is in flight until this is dropped"]
pub(super) struct Flight<'a> {
    shard: &'a Shard,
    key: PageKey,
}

impl InFlight {
    /// Announces that the caller reads a page. `None` when another thread is at it.
    pub(super) fn begin(&self, key: PageKey) -> Option<Flight<'_>> {
        let shard = self.shard(key);
        let mut keys = shard.keys.lock();
        if keys.contains(&key) {
            return None;
        }
        keys.push(key);
        Some(Flight { shard, key })
    }

    /// Waits until nobody reads the page.
    pub(super) fn wait(&self, key: PageKey) {
        let shard = self.shard(key);
        let mut keys = shard.keys.lock();
        shard.landed.wait_while(&mut keys, |keys| keys.contains(&key));
    }

    fn shard(&self, key: PageKey) -> &Shard {
        // Offsets of neighbours differ by hundreds of bytes at least.
        &self.shards[((key.offset >> 8) ^ key.segment.0) as usize % SHARDS]
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.shard.keys.lock().retain(|key| *key != self.key);
        self.shard.landed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use lightning_db_storage::SegmentId;

    use super::*;

    #[test]
    fn one_flies_and_the_others_wait() {
        let in_flight = InFlight::default();
        let key = PageKey { segment: SegmentId(1), offset: 128 };
        let landed = AtomicBool::new(false);
        let flight = in_flight.begin(key).expect("nobody else is at it");
        assert!(in_flight.begin(key).is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                in_flight.wait(key);
                assert!(landed.load(Ordering::SeqCst));
            });
            landed.store(true, Ordering::SeqCst);
            drop(flight);
            waiter.join().expect("the waiter wakes");
        });
        assert!(in_flight.begin(key).is_some());
    }
}
