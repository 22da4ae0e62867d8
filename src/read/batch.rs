//! Reading many keys at one moment.

use std::sync::Arc;

use lightning_db_storage::filter::key_hash;
use lightning_db_storage::pointer::BlockSource;
use lightning_db_storage::tree::{self, LeafHit};

use super::pages::ViewPages;
use super::point::{check_key, find_in_memory, of_leaf, of_memory};
use super::{PinnedValue, Reader};
use crate::cache::{FillTicket, GROUP, HotRecords};
use crate::engine::{ReadView, Versions};
use crate::error::Result;

/// Keys that are looked for in the trees together. Bounds the pages that a batch holds in memory at once.
const KEYS_AT_ONCE: usize = 256;

/// Takes what was found: the key's place in the batch, and its value, if it has one.
pub(crate) type Show<'a> = &'a mut dyn FnMut(usize, Option<&[u8]>);

/// A key that neither the hot records nor the memtables know.
struct Wanted<'k> {
    index: usize,
    key: &'k [u8],
    hash: u64,
    ticket: Option<FillTicket>,
    found: Option<LeafHit>,
}

impl Reader {
    /// Shows the value of each of `keys` at one moment, each once, in no particular order: first what is in memory, then
    /// the rest in the order of keys, so that a page is read once for all that it holds, and misses overlap.
    ///
    /// `latest` names where the view is from, when it was the newest; what is found can then enter the hot records.
    ///
    /// # Errors
    /// `EmptyKey` and `KeyTooLarge` before anything was shown; `Closed`, and those of reading files.
    pub(crate) fn get_batch<K: AsRef<[u8]>>(
        self: &Arc<Self>,
        view: &ReadView,
        latest: Option<&Versions>,
        keys: &[K],
        show: Show<'_>,
    ) -> Result<()> {
        self.check_open()?;
        keys.iter().try_for_each(|key| check_key(key.as_ref()))?;
        let mut wanted = self.batch_from_memory(view, latest, keys, show)?;
        wanted.sort_unstable_by_key(|wanted| wanted.key);
        let blocks: Arc<dyn BlockSource> = Arc::clone(&view.version) as _;
        let pages = ViewPages { reader: Arc::clone(self), blocks };
        for part in wanted.chunks_mut(KEYS_AT_ONCE) {
            find_in_trees(view, &pages, part)?;
            for wanted in part {
                let value = match wanted.found.take() {
                    Some(hit) => of_leaf(&*view.version, hit)?,
                    None => None,
                };
                self.fill(view, wanted, value.as_ref());
                show(wanted.index, value.as_deref());
            }
        }
        Ok(())
    }

    /// Shows what the hot records and the memtables know, and returns the rest.
    fn batch_from_memory<'k, K: AsRef<[u8]>>(
        &self,
        view: &ReadView,
        latest: Option<&Versions>,
        keys: &'k [K],
        show: Show<'_>,
    ) -> Result<Vec<Wanted<'k>>> {
        let hot = self.caches().hot_records.as_ref();
        let mut wanted = Vec::new();
        for (begin, group) in (0..).step_by(GROUP).zip(keys.chunks(GROUP)) {
            let group = group.iter().map(AsRef::as_ref);
            let mut hits = hot.map_or_else(Default::default, |hot| hot.get_group(group.clone()));
            for ((index, key), hit) in (begin..).zip(group).zip(&mut hits) {
                if let Some(hit) = hit.take().filter(|hit| hit.read_at() <= view.sequence) {
                    show(index, hit.value());
                } else if let Some(value) = find_in_memory(&view.version, view.sequence, key)? {
                    show(index, of_memory(&*view.version, value)?.as_deref());
                } else {
                    let ticket = hot.filter(|_| latest.is_some()).and_then(|hot| hot.ticket(key));
                    wanted.push(Wanted { index, key, hash: key_hash(key), ticket, found: None });
                }
            }
        }
        // A ticket asks for a sequence number that was chosen after it. If nothing was published since the view was
        // taken, the view's is as good as one chosen now.
        if latest.is_none_or(|versions| versions.published() != view.sequence) {
            wanted.iter_mut().for_each(|wanted| wanted.ticket = None);
        }
        Ok(wanted)
    }

    fn fill(&self, view: &ReadView, wanted: &Wanted<'_>, value: Option<&PinnedValue>) {
        let hot: Option<&HotRecords> = self.caches().hot_records.as_ref();
        if let (Some(hot), Some(ticket)) = (hot, &wanted.ticket) {
            hot.fill(ticket, wanted.key, view.sequence, value.map(|value| &**value));
        }
    }
}

/// Finds the entries of keys that ascend, in the newest tree that has them.
fn find_in_trees(view: &ReadView, pages: &ViewPages, wanted: &mut [Wanted<'_>]) -> Result<()> {
    let state = &view.version.tree;
    let runs = state.runs.iter().map(|run| (&run.info.tree, run.filter.as_ref()));
    let (mut places, mut keys) = (Vec::new(), Vec::new());
    for (tree, filter) in runs.chain([(&state.base, None)]) {
        places.clear();
        keys.clear();
        for (place, wanted) in wanted.iter().enumerate() {
            if wanted.found.is_none() && filter.is_none_or(|filter| filter.may_contain(wanted.hash)) {
                places.push(place);
                keys.push(wanted.key);
            }
        }
        tree::get_many(pages, tree, &keys, |index, hit| wanted[places[index]].found = Some(hit))?;
    }
    Ok(())
}
