//! Where things are in a file, as far as that can be seen without a key, or from what a reader reads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db::Database;
use lightning_db_storage::vfs::{CallKind, FaultPlan, FaultyVfs};

use super::case::Target;
use super::database::environment;
use super::specimen;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One of two copies.
    Twin,
    /// Pages and values.
    Pages,
    /// A log that nothing is appended to any more, or none was yet.
    Log,
    /// The log that was in use when the process was killed.
    OpenLog,
    /// Something in a repository.
    Object,
    /// What was done with keys: no data is in it, and every change to it is found.
    Audit,
    /// Nothing of it is ever believed.
    Idle,
}

/// A file of a target.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Below the root.
    pub(super) file: Arc<Path>,
    pub(super) bytes: Arc<[u8]>,
    pub(super) role: Role,
    /// Behind the last byte that means something.
    pub(super) content_end: u64,
    /// Header, blocks, frames: what can change places.
    pub(super) parts: Vec<Range<u64>>,
    /// Bytes within the content that mean nothing.
    pub(super) padding: Vec<Range<u64>>,
}

const SEGMENT_HEADER: u64 = 128;
const FRAME_ALIGNMENT: u64 = 16;

impl Layout {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn is_padding(&self, offset: u64) -> bool {
        offset >= self.content_end || self.padding.iter().any(|range| range.contains(&offset))
    }

    pub(super) fn ending(&self) -> &str {
        self.file.extension().and_then(|ending| ending.to_str()).unwrap_or_default()
    }
}

/// All files of a target.
pub(super) fn layouts(target: &Target) -> Vec<Layout> {
    let blocks = if target.is_repository { BTreeMap::new() } else { blocks_read(target) };
    let root = target.root.to_str().unwrap_or_default();
    let mut found: Vec<Layout> = specimen::files(&target.disk, root)
        .into_iter()
        .map(|(path, bytes)| layout(target, &path, bytes, blocks.get(&path).map_or(&[][..], Vec::as_slice)))
        .collect();
    // The log in use is the newest that has commits in it, unless it was closed.
    if target.newest > target.story.closed.newest
        && let Some(open) =
            found.iter_mut().rfind(|layout| layout.role == Role::Log && layout.parts.len() > 2)
    {
        open.role = Role::OpenLog;
    }
    found
}

fn layout(target: &Target, path: &Path, bytes: Arc<[u8]>, blocks: &[Range<u64>]) -> Layout {
    let file = path.strip_prefix(&target.root).unwrap_or(path);
    let role = role(target, file);
    let mut layout = Layout {
        file: file.into(),
        content_end: bytes.len() as u64,
        bytes,
        role,
        parts: blocks.to_vec(),
        padding: Vec::new(),
    };
    if role == Role::Log {
        find_frames(&mut layout);
    }
    layout
}

fn role(target: &Target, file: &Path) -> Role {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match (name, ending) {
        ("LOCK" | "LOCK.writer" | "RESERVE", _) => Role::Idle,
        _ if target.is_repository => Role::Object,
        (_, "run" | "base" | "value") => Role::Pages,
        (_, "wal") => Role::Log,
        ("AUDIT", _) => Role::Audit,
        _ => Role::Twin,
    }
}

fn find_frames(layout: &mut Layout) {
    let header = 0..SEGMENT_HEADER.min(layout.len());
    layout.parts = vec![header];
    let mut offset = SEGMENT_HEADER;
    while let Some(len) = frame_len(&layout.bytes, offset) {
        let end = offset + len;
        let next = end.next_multiple_of(FRAME_ALIGNMENT);
        layout.parts.push(offset..end);
        layout.padding.push(end..next);
        offset = next;
    }
    layout.content_end = offset;
}

fn frame_len(bytes: &[u8], offset: u64) -> Option<u64> {
    let head = bytes.get(offset as usize..offset as usize + 8)?;
    let len = u32::from_le_bytes(head[..4].try_into().ok()?);
    (len > 0 && &head[4..] == b"LDBF").then_some(u64::from(len))
}

/// The places of files that a full read reads, each a block.
fn blocks_read(target: &Target) -> BTreeMap<PathBuf, Vec<Range<u64>>> {
    let plan = FaultPlan::new();
    plan.record();
    let mut environment = environment(&target.disk.fork());
    environment.vfs = Arc::new(FaultyVfs::new(environment.vfs, plan.clone()));
    let db = Database::open_read_only_in(environment, &target.root, target.config.clone())
        .expect("what nobody damaged opens");
    db.scan(None, None).expect("what nobody damaged can be read").for_each(drop);
    let mut found = BTreeMap::<PathBuf, Vec<Range<u64>>>::new();
    for call in plan.take_trace().into_iter().filter(|call| call.kind == CallKind::Read && call.len > 0) {
        let ranges = found.entry(call.path).or_default();
        let range = call.offset..call.offset + call.len;
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    found.values_mut().for_each(|ranges| ranges.sort_by_key(|range| range.start));
    found
}
