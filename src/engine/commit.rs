//! Commits. Whoever holds the writer commits for all that wait: one frame of the log and one sync for the whole group.
//!
//! A commit is validated, logged, (in `Sync` mode) synced, applied to the memtable, published, in this order, and
//! commits publish in the order of their numbers. What fails before it is in the log leaves no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use lightning_db_storage::bytes::ByteWriter;
use lightning_db_storage::extent::ExtentRef;
use lightning_db_storage::manifest::RestorePoint;
use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::wal::{
    CommitOps, LogEntry, PreparedSegment, WalPosition, WalSegmentInfo, WalSync, WalWriter,
};
use lightning_db_storage::{FrameNumber, SequenceNumber, StorageError, ZeroizingBytes};
use lightning_db_sync::Mutex;
use lightning_db_sync::atomic::{AtomicBool, Ordering};

use super::op::{Op, OpValue, OwnedValue};
use super::queue::{self, Queue};
use super::recent::CommitView;
use super::values::{LARGE_VALUE_LEN, ValueLog};
use super::version::Layer;
use super::{Engine, reserve};
use crate::cache::Write;
use crate::config::WalSyncMode;
use crate::error::{Error, Result};
use crate::memtable::MemValue;
use crate::shared_bytes::SharedBytes;

/// Decides, when all earlier commits are known, whether this one may happen. Its error is the commit's.
pub(crate) type Validate = Box<dyn FnOnce(&CommitView<'_>) -> Result<()> + Send>;

/// Where commits come together.
pub(super) struct Commits {
    pub(super) queue: Queue<Writer, Job, Result<SequenceNumber>>,
    sync: Mutex<Option<WalSync>>,
    /// The next segment of the log. Whoever makes one holds this lock, so that the manifest lists them in order.
    pub(super) ready_segment: Mutex<Option<PreparedSegment>>,
    /// Segments of the log that ended, for the next manifest.
    pub(super) finished_segments: Mutex<Vec<WalSegmentInfo>>,
    /// Restore points in the log, for the next manifest.
    pub(super) restore_points: Mutex<Vec<RestorePoint>>,
    has_log: AtomicBool,
}

/// What only one thread has at a time.
pub(super) struct Writer {
    pub(super) log: Option<WalWriter>,
    /// The newest commit.
    pub(super) last: SequenceNumber,
}

/// A commit that somebody else may do.
pub(super) struct Job {
    ops: Vec<(ZeroizingBytes, Option<OwnedValue>)>,
    validate: Mutex<Option<Validate>>,
}

type Ticket = queue::Ticket<Job, Result<SequenceNumber>>;

/// A commit in a group.
struct Member<'a> {
    ops: Vec<Op<'a>>,
    validate: Option<Validate>,
    ticket: Option<Arc<Ticket>>,
    /// What goes into the memtable, once accepted.
    values: Vec<MemValue>,
    /// For the hot records.
    writes: Vec<Write>,
    sequence: SequenceNumber,
    time_micros: i64,
    outcome: Option<Result<SequenceNumber>>,
}

impl Commits {
    pub(super) fn new(last: SequenceNumber) -> Self {
        Self {
            queue: Queue::new(Writer { log: None, last }),
            sync: Mutex::default(),
            ready_segment: Mutex::default(),
            finished_segments: Mutex::default(),
            restore_points: Mutex::default(),
            has_log: AtomicBool::new(false),
        }
    }

    /// The newest commit, as the log told it.
    pub(super) fn set_last(&self, last: SequenceNumber) {
        self.queue.writer().last = last;
    }

    /// Logs from now on.
    pub(super) fn set_log(&self, log: WalWriter) {
        self.attach_log(&mut self.queue.writer(), log);
    }

    /// As [`set_log`](Self::set_log), for who holds the writer.
    pub(super) fn attach_log(&self, writer: &mut Writer, log: WalWriter) {
        *self.sync.lock() = Some(log.sync_handle());
        writer.log = Some(log);
        self.has_log.store(true, Ordering::Release);
    }

    /// Ends the log, if there is one.
    pub(super) fn take_log(&self) -> Option<WalWriter> {
        self.has_log.store(false, Ordering::Release);
        self.queue.writer().log.take()
    }

    /// Whether commits are logged.
    pub(super) fn has_log(&self) -> bool {
        self.has_log.load(Ordering::Acquire)
    }

    /// Looks while nothing is being logged, at the place where the log ends, if there is one.
    pub(super) fn at_log_end<T>(&self, look: impl FnOnce(Option<WalPosition>) -> T) -> T {
        let writer = self.queue.writer();
        look(writer.log.as_ref().map(WalWriter::position))
    }

    /// Syncs the log, beside commits.
    pub(super) fn log_sync(&self) -> Option<WalSync> {
        self.sync.lock().clone()
    }
}

impl Engine {
    /// Commits `ops` as one: all of them or none, under one sequence number, which is returned once the commit is as
    /// durable as `wal_sync_mode` asks. Of several writes to one key the last one counts.
    ///
    /// # Errors
    /// What `validate` returns; `EmptyKey`, `KeyTooLarge`, `ValueTooLarge`; `DiskFull`, after which writing can go on;
    /// `Poisoned` and other failures, after which it cannot.
    pub(crate) fn commit(&self, ops: &[Op<'_>], validate: Option<Validate>) -> Result<SequenceNumber> {
        ops.iter().try_for_each(Op::check)?;
        self.check_writable()?;
        if ops.is_empty() && validate.is_none() {
            return Ok(self.versions.published());
        }
        self.throttle(ops)?;
        let is_large = ops.iter().any(|op| op.value_len() >= LARGE_VALUE_LEN as u64);
        let queue = &self.commits.queue;
        let writer = if is_large {
            Some(queue.writer())
        } else if self.config.wal_sync_mode == WalSyncMode::Sync {
            // Who takes the writer as it comes passes those who wait for it: with a sync in each turn, for long.
            None
        } else {
            queue.free_writer()
        };
        if let Some(mut writer) = writer {
            return self.lead(&mut writer, Some(Member::new(ops.to_vec(), validate)));
        }
        let lead = |writer: &mut Writer| drop(self.lead(writer, None));
        queue.hand_over(Job::new(ops, validate), lead).unwrap_or(Err(Error::Cancelled))
    }

    /// Names the present moment in the log, durably; without a log, in the manifest, once the trees have everything up to
    /// it.
    ///
    /// # Errors
    /// `AlreadyExists` for a name in use, and what logging and syncing can give.
    pub(crate) fn create_restore_point(&self, name: &str) -> Result<RestorePoint> {
        let mut writer = self.commits.queue.writer();
        self.check_writable()?;
        let incarnation = self.ctx.incarnation.get();
        let is_this = |point: &RestorePoint| point.name == name && point.incarnation == incarnation;
        let is_pending = self.commits.restore_points.lock().iter().any(is_this);
        if is_pending || self.catalog.read(|manifest| manifest.restore_points.iter().any(is_this)) {
            return Err(name_in_use(name));
        }
        let point = RestorePoint {
            name: name.to_owned(),
            sequence: writer.last,
            time_micros: self.ctx.clock.now_micros(),
            incarnation,
        };
        let Some(log) = &mut writer.log else {
            self.freeze();
            drop(writer);
            return self.enter_restore_point(point);
        };
        let (sequence, time_micros) = (point.sequence, point.time_micros);
        let logged = log.append(&mut [LogEntry::RestorePoint { name, sequence, time_micros }]);
        logged.map_err(|error| self.write_failed(error))?;
        log.sync_handle().sync().map_err(|error| self.write_failed(error))?;
        self.commits.restore_points.lock().push(point.clone());
        self.change_manifest(|_| {})?;
        Ok(point)
    }

    /// Flushes what is frozen, and then enters a restore point: after a crash no other commits have the numbers of those
    /// before it.
    fn enter_restore_point(&self, point: RestorePoint) -> Result<RestorePoint> {
        self.flush_frozen(true)?;
        let mut is_new = false;
        self.change_manifest(|manifest| {
            let is_this =
                |known: &RestorePoint| (&known.name, known.incarnation) == (&point.name, point.incarnation);
            is_new = !manifest.restore_points.iter().any(is_this);
            if is_new {
                manifest.restore_points.push(point.clone());
            }
        })?;
        if is_new { Ok(point) } else { Err(name_in_use(&point.name)) }
    }

    /// Syncs what was committed so far, if there is a log.
    pub(super) fn sync_log(&self) -> Result<()> {
        let Some(sync) = self.commits.log_sync() else { return Ok(()) };
        sync.sync().map_err(|error| self.write_failed(error))?;
        self.metrics.wal_syncs.add(1);
        Ok(())
    }

    /// Brings everything committed so far to stable storage: into the log, or without a log into the trees. Returns the
    /// newest durable frame of the log, and a time: every commit that was made up to then is among them.
    pub(super) fn settle(&self) -> Result<(Option<FrameNumber>, i64)> {
        let now = {
            // A commit reads the clock before it is logged; with the writer held, none is in between.
            let _writer = self.commits.queue.writer();
            self.ctx.clock.now_micros()
        };
        let Some(sync) = self.commits.log_sync().filter(|_| self.commits.has_log()) else {
            self.flush_all()?;
            return Ok((None, now));
        };
        let durable = sync.sync().map_err(|error| self.write_failed(error))?;
        self.metrics.wal_syncs.add(1);
        Ok((Some(durable), now))
    }

    /// Lets the log say what was synced, so that a later reader knows. For quiet moments.
    pub(super) fn mark_synced(&self) -> Result<()> {
        let Some(mut writer) = self.commits.queue.free_writer() else { return Ok(()) };
        let Some(log) = &mut writer.log else { return Ok(()) };
        log.write_marker().map(drop).map_err(|error| self.write_failed(error))
    }

    /// Goes on in the next segment of the log.
    pub(super) fn rotate_log(&self) -> Result<()> {
        let mut writer = self.commits.queue.writer();
        let Some(log) = &mut writer.log else { return Ok(()) };
        log.rotate().map(drop).map_err(|error| self.write_failed(error))
    }

    /// Makes the active memtable wait for its flush, if anything is in it.
    pub(super) fn freeze_active(&self) {
        let _writer = self.commits.queue.writer();
        self.freeze();
    }

    /// Commits for the caller and for all that wait. Returns the outcome of `own`, or of nobody.
    fn lead(&self, writer: &mut Writer, own: Option<Member<'_>>) -> Result<SequenceNumber> {
        let tickets = self.commits.queue.take_waiting(writer);
        let has_own = own.is_some();
        let mut group: Vec<Member<'_>> =
            own.into_iter().chain(tickets.iter().map(Member::of_ticket)).collect();
        if let Err(error) = self.health.check() {
            // Closed or poisoned since the caller looked.
            group.iter_mut().for_each(|member| member.outcome = Some(Err(error.clone())));
        }
        let layer = self.accept(writer.last, &mut group);
        if let Err(error) = self.log_and_apply(writer, &layer, &mut group) {
            group.iter_mut().filter(|member| member.outcome.is_none()).for_each(|member| {
                member.outcome = Some(Err(error.clone()));
            });
        }
        self.freeze_if_full(&layer);
        let mut outcomes = group.into_iter();
        let first = if has_own { outcomes.next() } else { None };
        for member in outcomes {
            if let (Some(ticket), Some(outcome)) = (member.ticket, member.outcome) {
                ticket.settle(outcome);
            }
        }
        first.and_then(|member| member.outcome).unwrap_or_else(|| Ok(self.versions.published()))
    }

    /// Validates the group in order, numbers those that pass, and writes their large values. The others have their
    /// outcome then.
    fn accept(&self, last: SequenceNumber, group: &mut [Member<'_>]) -> Arc<Layer> {
        let version = self.versions.current();
        let track = group.len() > 1 && group.iter().any(|member| member.validate.is_some());
        let mut pending = BTreeMap::new();
        let mut sequence = last;
        for member in group.iter_mut().filter(|member| member.outcome.is_none()) {
            let validated = member.validate.take().map_or(Ok(()), |validate| {
                validate(&CommitView { version: &version, recent: &self.recent, pending: &pending })
            });
            match validated.and_then(|()| self.memtable_values(&version.active, &member.ops)) {
                Err(error) => member.outcome = Some(Err(error)),
                Ok(_) if member.ops.is_empty() => member.outcome = Some(Ok(sequence)),
                Ok(values) => {
                    sequence = sequence.next();
                    (member.values, member.sequence) = (values, sequence);
                    if let Some(hot) = &self.caches.hot_records {
                        member.writes = member.ops.iter().map(|op| hot.announce(op.key)).collect();
                    }
                    member.time_micros = self.ctx.clock.now_micros();
                    if track {
                        pending.extend(member.ops.iter().map(|op| (op.key.to_vec(), sequence)));
                    }
                }
            }
        }
        Arc::clone(&version.active)
    }

    fn memtable_values(&self, layer: &Layer, ops: &[Op<'_>]) -> Result<Vec<MemValue>> {
        let value = |op: &Op<'_>| {
            let is_large = op.value_len() >= LARGE_VALUE_LEN as u64;
            match op.value {
                None => Ok(MemValue::Delete),
                Some(OpValue::Lent(bytes)) if !is_large => Ok(MemValue::Put(SharedBytes::from(bytes))),
                Some(OpValue::Shared(bytes)) if !is_large => Ok(MemValue::Put(bytes.clone())),
                Some(OpValue::Lent(mut bytes)) => self.large_value(layer, op.value_len(), &mut bytes),
                Some(OpValue::Shared(bytes)) => self.large_value(layer, op.value_len(), &mut &**bytes),
                Some(OpValue::Stored(value)) => self.large_value(layer, value.len(), &mut value.reader()),
            }
        };
        ops.iter().map(value).collect()
    }

    /// Writes a large value to the layer's own segments.
    pub(super) fn large_value(
        &self,
        layer: &Layer,
        len: u64,
        value: &mut dyn std::io::Read,
    ) -> Result<MemValue> {
        ValueLog::check_space(&self.ctx, len)?;
        let extent =
            self.write_value(&layer.values, len, value).inspect_err(|error| self.health.poison(error))?;
        let mut encoded = ByteWriter::new();
        extent.encode(&mut encoded);
        Ok(MemValue::Extent(SharedBytes::from(encoded.as_slice())))
    }

    /// Writes a large value to segments that are not in the manifest yet.
    pub(super) fn write_value(
        &self,
        log: &ValueLog,
        len: u64,
        value: &mut dyn std::io::Read,
    ) -> Result<ExtentRef> {
        let open = || (self.segment_options(SegmentKind::Value), self.catalog.segment_ids());
        Ok(log.write(&self.ctx, open, &self.hasher, len, value)?)
    }

    /// Logs the accepted members, as many at a time as fit a frame, then applies and publishes those that were logged.
    fn log_and_apply(&self, writer: &mut Writer, layer: &Layer, group: &mut [Member<'_>]) -> Result<()> {
        let mut accepted: Vec<&mut Member<'_>> =
            group.iter_mut().filter(|member| member.outcome.is_none()).collect();
        let (logged, failure) = match &mut writer.log {
            Some(log) => self.log_members(log, &accepted),
            None => (accepted.len(), None),
        };
        let Some(last) = accepted[..logged].last().map(|member| member.sequence) else {
            return failure.map_or(Ok(()), Err);
        };
        if let Some(log) = writer.log.as_ref().filter(|_| self.config.wal_sync_mode == WalSyncMode::Sync) {
            log.sync_handle().sync().map_err(|error| self.write_failed(error))?;
            self.metrics.wal_syncs.add(1);
        }
        writer.last = last;
        self.apply(layer, &mut accepted[..logged]);
        failure.map_or(Ok(()), Err)
    }

    /// How many members, from the front, are in the log, and why it is not all of them.
    fn log_members(&self, log: &mut WalWriter, members: &[&mut Member<'_>]) -> (usize, Option<Error>) {
        let mut ops: Vec<CommitOps<'_>> = members.iter().map(|member| member.log_ops()).collect();
        self.metrics.wal_bytes.add(ops.iter().map(CommitOps::encoded_len).sum());
        let mut entries: Vec<LogEntry<'_, '_>> = Vec::with_capacity(ops.len());
        for (member, ops) in members.iter().zip(&mut ops) {
            entries.push(LogEntry::Commit {
                sequence: member.sequence,
                time_micros: member.time_micros,
                ops,
            });
        }
        let only_deletes = members.iter().flat_map(|member| &member.ops).all(|op| op.value.is_none());
        let mut done = 0;
        while done < entries.len() {
            match log.append(&mut entries[done..]) {
                Ok(appended) => done += appended.entries,
                Err(StorageError::DiskFull { .. }) if only_deletes && reserve::release(&self.ctx) => {}
                Err(error) => return (done, Some(self.write_failed(error))),
            }
        }
        (done, None)
    }

    /// No hot record may be filled with an old value between two moments: before a commit is visible, and after.
    fn apply(&self, layer: &Layer, members: &mut [&mut Member<'_>]) {
        let mut last = SequenceNumber::default();
        if let Some(hot) = &self.caches.hot_records {
            members.iter_mut().flat_map(|member| &mut member.writes).for_each(|write| hot.pending(write));
        }
        for member in members.iter_mut() {
            for (op, value) in member.ops.iter().zip(member.values.drain(..)) {
                layer.memtable.insert(op.key, member.sequence, value);
            }
            layer.note_time(member.time_micros);
            member.outcome = Some(Ok(member.sequence));
            last = member.sequence;
        }
        self.versions.publish(last);
        let Some(hot) = &self.caches.hot_records else { return };
        if let [Member { ops, writes, sequence, .. }] = members
            && let ([op], [write]) = (&ops[..], &writes[..])
        {
            // The only write: with the writer held, no other can have become newer.
            if let (Some(ticket), Some(value)) = (hot.settled(write), op.small_value()) {
                hot.fill(&ticket, op.key, *sequence, Some(value));
            }
            return;
        }
        for write in members.iter().flat_map(|member| &member.writes) {
            // Of several writes to one key it would have to be the last.
            _ = hot.settled(write);
        }
    }

    /// Turns a failure of the log into the engine's error. All but a full disk and a cancelled one end writing.
    pub(super) fn write_failed(&self, error: StorageError) -> Error {
        let goes_on = matches!(error, StorageError::DiskFull { .. } | StorageError::Cancelled);
        let error = Error::from(error);
        if !goes_on || self.catalog.is_unsure() {
            self.health.poison(&error);
        }
        error
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.health.check()
    }
}

fn name_in_use(name: &str) -> Error {
    Error::AlreadyExists { what: format!("the restore point {name:?}") }
}

impl Job {
    fn new(ops: &[Op<'_>], validate: Option<Validate>) -> Self {
        let owned = |op: &Op<'_>| (ZeroizingBytes::new(op.key.to_vec()), op.value.map(OpValue::to_owned));
        let ops = ops.iter().map(owned).collect();
        Self { ops, validate: Mutex::new(validate) }
    }
}

impl<'a> Member<'a> {
    fn new(ops: Vec<Op<'a>>, validate: Option<Validate>) -> Self {
        Self {
            ops,
            validate,
            ticket: None,
            values: Vec::new(),
            writes: Vec::new(),
            sequence: SequenceNumber::default(),
            time_micros: 0,
            outcome: None,
        }
    }

    fn of_ticket(ticket: &'a Arc<Ticket>) -> Self {
        let op = |(key, value): &'a (ZeroizingBytes, Option<OwnedValue>)| Op {
            key: key.as_slice(),
            value: value.as_ref().map(OwnedValue::lend),
        };
        let ops = ticket.job.ops.iter().map(op).collect();
        let validate = ticket.job.validate.lock().take();
        Self { ticket: Some(Arc::clone(ticket)), ..Self::new(ops, validate) }
    }

    fn log_ops(&self) -> CommitOps<'a> {
        let len = |op: &Op<'_>| CommitOps::put_len(op.key.len(), op.value_len() as usize);
        let mut ops = CommitOps::with_capacity(self.ops.iter().map(len).sum());
        for op in &self.ops {
            match op.value {
                Some(OpValue::Lent(bytes)) => ops.put(op.key, bytes),
                Some(OpValue::Shared(bytes)) => ops.put(op.key, bytes),
                Some(OpValue::Stored(value)) => ops.put_from(op.key, value.len(), value.reader()),
                None => ops.delete(op.key),
            }
        }
        ops
    }
}
