//! The manifest in memory, and the one place that replaces it.

use std::sync::Arc;

use lightning_db_storage::audit::AuditHead;
use lightning_db_storage::manifest::{Manifest, ManifestStore};
use lightning_db_storage::segment::{SealContext, SegmentIds, SegmentKind};
use lightning_db_storage::{Generation, Result, SegmentId, StorageError};
use lightning_db_sync::Mutex;
use lightning_db_sync::atomic::{AtomicU64, Ordering};

use crate::freshness::Freshness;

/// The current manifest.
pub(crate) struct Catalog {
    state: Mutex<State>,
    next_segment: Arc<AtomicU64>,
    next_run: AtomicU64,
    freshness: Freshness,
    /// The newest end of the audit log, for the manifests to come.
    audit: Mutex<Option<AuditHead>>,
}

struct State {
    manifest: Manifest,
    store: ManifestStore,
    /// The lock on the directory was given back: somebody else may have another manifest there.
    is_closed: bool,
}

impl Catalog {
    /// A catalog of `manifest`, which `store` has on disk or will get. Segment ids start at `first_free`.
    pub(super) fn new(
        manifest: Manifest,
        store: ManifestStore,
        first_free: SegmentId,
        freshness: Freshness,
    ) -> Self {
        let next_run = AtomicU64::new(manifest.next_run);
        let next_segment = Arc::new(AtomicU64::new(first_free.0.max(manifest.next_segment.0)));
        let audit = Mutex::new(manifest.audit);
        let state = Mutex::new(State { manifest, store, is_closed: false });
        Self { state, next_segment, next_run, freshness, audit }
    }

    /// Looks at the manifest.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Manifest) -> R) -> R {
        look(&self.state.lock().manifest)
    }

    /// A segment number that nobody else gets.
    pub(crate) fn new_segment_id(&self) -> SegmentId {
        SegmentId(self.next_segment.fetch_add(1, Ordering::Relaxed))
    }

    /// As [`new_segment_id`](Self::new_segment_id), for writers of several segments.
    pub(crate) fn segment_ids(&self) -> SegmentIds {
        let next = Arc::clone(&self.next_segment);
        Arc::new(move || SegmentId(next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A run number that nobody else gets.
    pub(super) fn new_run_id(&self) -> u64 {
        self.next_run.fetch_add(1, Ordering::Relaxed)
    }

    /// The generation of what is written now: that of the next manifest, or later.
    pub(super) fn birth(&self) -> Generation {
        self.state.lock().manifest.generation.next()
    }

    /// Makes what `edit` does to the manifest the durable truth, and then calls `then` before anybody else can change
    /// the manifest again. What the new manifest refers to has been synced by the caller; the directory is synced
    /// here, first.
    ///
    /// # Errors
    /// Nothing has changed then, on disk or in memory, unless [`is_unsure`](Self::is_unsure).
    pub(super) fn commit(
        &self,
        ctx: &SealContext,
        edit: impl FnOnce(&mut Manifest),
        then: impl FnOnce(&Manifest),
    ) -> Result<()> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(StorageError::Cancelled);
        }
        let mut next = state.manifest.clone();
        edit(&mut next);
        sweep(&mut next);
        next.generation = state.manifest.generation.next();
        next.next_segment = SegmentId(self.next_segment.load(Ordering::Relaxed));
        next.next_run = self.next_run.load(Ordering::Relaxed);
        next.audit = *self.audit.lock();
        next.features = next.features.with_anchored(next.features.is_anchored() || self.freshness.has_mark());
        let directory = &ctx.directory;
        ctx.vfs.sync_dir(directory).map_err(|error| StorageError::io("sync", directory, error))?;
        state.store.commit(&next, &ctx.keyring.read(), &*ctx.entropy)?;
        state.manifest = next;
        self.freshness.remember(&state.manifest);
        then(&state.manifest);
        Ok(())
    }

    /// Remembers the manifest outside of the directory; from now on each one.
    pub(super) fn begin_to_remember(&self) {
        let state = self.state.lock();
        self.freshness.begin();
        self.freshness.remember(&state.manifest);
    }

    /// Has the manifests to come name this end of the audit log.
    pub(super) fn set_audit_head(&self, head: AuditHead) {
        *self.audit.lock() = Some(head);
    }

    /// The newest end of the audit log.
    pub(super) fn audit_head(&self) -> Option<AuditHead> {
        *self.audit.lock()
    }

    /// From now on every commit is `Cancelled`; one that is under way ends first.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
    }

    /// Whether a commit failed half-way: which manifest is current is known only at the next open.
    pub(super) fn is_unsure(&self) -> bool {
        self.state.lock().store.is_unsure()
    }
}

/// Takes the segments out of the table that nothing needs: no live bytes, no checkpoint, no retained run.
pub(super) fn sweep(manifest: &mut Manifest) {
    let mut needed = std::collections::BTreeSet::new();
    needed
        .extend(manifest.checkpoints.iter().flat_map(|checkpoint| &checkpoint.segments).map(|held| held.id));
    needed.extend(manifest.run_segments());
    let retained = manifest.retained_runs.iter();
    needed.extend(retained.flat_map(|run| run.segments.iter().chain(&run.value_segments)).copied());
    let run_is_gone = |kind| kind == SegmentKind::Run;
    manifest
        .segments
        .retain(|info| needed.contains(&info.id) || info.live_bytes > 0 && !run_is_gone(info.kind));
    let table: std::collections::BTreeSet<_> = manifest.segments.iter().map(|info| info.id).collect();
    let keep = |ids: &mut Vec<SegmentId>| ids.retain(|id| table.contains(id));
    manifest
        .keyspaces
        .iter_mut()
        .flat_map(|keyspace| &mut keyspace.runs)
        .for_each(|run| keep(&mut run.value_segments));
}
