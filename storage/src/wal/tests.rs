//! Stories of a log: how it is written, what a crash leaves, and what is noticed.

mod archive;
mod crash;
mod damage;
mod writing;

use std::sync::Arc;

use lightning_db_crypto::EpochId;
use lightning_db_sync::Mutex;

use super::*;
use crate::segment::SealContext;
use crate::segment::testing::context_in;
use crate::vfs::{MemVfs, Vfs};

/// A database that has nothing but a log; its manifest is kept in memory and never lost.
struct Home {
    memory: MemVfs,
    ctx: Arc<SealContext>,
    options: WalOptions,
    manifest: Manifest,
}

#[derive(Clone, Default)]
struct Manifest(Arc<Mutex<Listed>>);

#[derive(Default)]
struct Listed {
    segments: Vec<WalSegmentInfo>,
    next_id: u64,
}

/// A commit or restore point, as it was replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Commit(u64, Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Point(String, u64),
}

const SMALL: WalOptions = WalOptions { segment_size: MIN_SEGMENT_SIZE, mode: WalMode::Mapped };

impl Home {
    fn new(options: WalOptions) -> Self {
        Self::over(MemVfs::new(), |memory| Arc::new(memory.clone()), options, true)
    }

    fn over(
        memory: MemVfs,
        vfs: impl Fn(&MemVfs) -> Arc<dyn Vfs>,
        options: WalOptions,
        encrypted: bool,
    ) -> Self {
        let ctx = context_in(vfs(&memory), "/db", 1, encrypted);
        memory.sync_dir("/".as_ref()).expect("synced");
        Self { memory, ctx: Arc::new(ctx), options, manifest: Manifest::default() }
    }

    fn supply(&self) -> Supply {
        Supply { ctx: Arc::clone(&self.ctx), options: self.options, manifest: self.manifest.clone() }
    }

    fn writer(&self, start: WalStart) -> Result<WalWriter> {
        let mut supply = self.supply();
        let first = supply.next()?;
        WalWriter::start(Arc::clone(&self.ctx), first, start, Box::new(supply))
    }

    fn segments(&self) -> Vec<WalSegmentInfo> {
        self.manifest.0.lock().segments.clone()
    }

    fn scan(&self) -> Result<ScanOutcome> {
        scan(&self.ctx, &self.segments(), None, SequenceNumber(0))
    }

    /// Scans and replays, and changes nothing.
    fn read(&self) -> Result<(Vec<Seen>, ScanOutcome)> {
        let outcome = self.scan()?;
        let seen = replay_all(&mut outcome.replay(&self.ctx)?)?;
        let commits = seen.iter().filter(|seen| matches!(seen, Seen::Commit(..))).count();
        assert_eq!(commits as u64, outcome.commits, "both readings agree");
        Ok((seen, outcome))
    }

    /// What recovery does: scans, replays, settles, and tells what there was and where to go on.
    fn recover(&self) -> Result<(Vec<Seen>, WalStart, Option<CutReport>)> {
        let (seen, outcome) = self.read()?;
        let settled = outcome.settle(&self.ctx)?;
        self.manifest.0.lock().segments = settled.segments;
        Ok((seen, settled.start, outcome.cut))
    }

    fn path(&self, segment: SegmentId) -> std::path::PathBuf {
        self.ctx.segment_path(SegmentKind::Wal, segment)
    }
}

struct Supply {
    ctx: Arc<SealContext>,
    options: WalOptions,
    manifest: Manifest,
}

impl SegmentSupply for Supply {
    fn next(&mut self) -> Result<PreparedSegment> {
        let id = {
            let mut listed = self.manifest.0.lock();
            listed.next_id += 1;
            SegmentId(listed.next_id)
        };
        let prepared = prepare_segment(&self.ctx, &self.options, id, EpochId(1))?;
        let directory = &self.ctx.directory;
        self.ctx.vfs.sync_dir(directory).map_err(|e| crate::StorageError::io("sync", directory, e))?;
        self.manifest.0.lock().segments.push(prepared.info().clone());
        Ok(prepared)
    }

    fn finished(&mut self, segment: WalSegmentInfo) {
        let mut listed = self.manifest.0.lock();
        if let Some(entry) = listed.segments.iter_mut().find(|entry| entry.id == segment.id) {
            *entry = segment;
        }
    }
}

fn replay_all(source: &mut dyn LogSource) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    while let Some(event) = source.next_event()? {
        let head = match event {
            LogEvent::RestorePoint(point) => {
                seen.push(Seen::Point(point.name, point.sequence.0));
                continue;
            }
            LogEvent::Commit(head) => head,
        };
        let mut ops = Vec::new();
        loop {
            let (key, streamed) = match source.next_op()? {
                None => break,
                Some(LogOp::Put { key, value }) => {
                    ops.push((key.to_vec(), Some(value.to_vec())));
                    continue;
                }
                Some(LogOp::Delete { key }) => {
                    ops.push((key.to_vec(), None));
                    continue;
                }
                Some(LogOp::PutStreamed { key, len }) => (key.to_vec(), len),
            };
            let (mut value, mut chunk) = (Vec::new(), Vec::new());
            while source.read_value(&mut chunk)? {
                value.extend_from_slice(&chunk);
            }
            assert_eq!(value.len() as u64, streamed);
            ops.push((key, Some(value)));
        }
        assert_eq!(ops.len() as u64, head.ops);
        seen.push(Seen::Commit(head.sequence.0, ops));
    }
    Ok(seen)
}

/// The value of commit `n` in these tests.
fn value(n: u64) -> Vec<u8> {
    format!("value-{n}-CANARY-{n}").into_bytes()
}

fn key(n: u64) -> Vec<u8> {
    format!("key-{n}").into_bytes()
}

/// Appends commit `n`, a put of its key and value.
fn put(writer: &mut WalWriter, n: u64) -> Result<Appended> {
    let (key, value) = (key(n), value(n));
    let mut ops = CommitOps::new();
    ops.put(&key, &value);
    commit(writer, n, &mut ops)
}

fn commit(writer: &mut WalWriter, n: u64, ops: &mut CommitOps<'_>) -> Result<Appended> {
    let time_micros = 1_000_000 * n as i64;
    writer.append(&mut [LogEntry::Commit { sequence: SequenceNumber(n), time_micros, ops }])
}

/// What replaying commits `1..=n`, each made by [`put`], shows.
fn puts(n: u64) -> Vec<Seen> {
    (1..=n).map(|n| Seen::Commit(n, vec![(key(n), Some(value(n)))])).collect()
}

/// A reproducible source of numbers.
fn dice(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
