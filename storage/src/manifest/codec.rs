//! The bytes of a manifest.
//!
//! ```text
//! 0   magic "LDBMANIF"
//! 8   format version u32
//! 12  suite u8, 3 bytes zero
//! 16  features: compatible u64, read-compatible u64, incompatible u64
//! 40  generation u64
//! 48  database id [16]
//! 64  key domain u32
//! 68  keyring generation u64
//! 76  body length u32
//! 80  body: epoch u32, then sealed under a fresh salt; associated data: those four bytes, then bytes 0..76
//! ..  BLAKE3 of all before it [32]
//! ```
//!
//! The keyring generation is that of the keyring beside which the manifest was written: an older one that was put back
//! in its place is refused.
//!
//! The checksum outside tells damage from a wrong key before any key is used. The body is the fields of [`Manifest`]
//! in the order in which they are declared, those of the clear part left out: integers as varints, times as i64,
//! lists with their count before them, an option with a byte 0 or 1 before it. What is known of a repository has flags of
//! its own before the last two of its fields, for these.

use std::path::Path;

use lightning_db_crypto::{DatabaseId, Keyring, SuiteId};

use super::types::{
    ArchivedThrough, Features, Fork, Gap, GapReason, HeldSegment, Keyspace, Lineage, Manifest,
    NamedCheckpoint, RepositoryCursor, RestorePoint, RunInfo,
};
use crate::audit::AuditHead;
use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::pointer::BlockPtr;
use crate::segment::SegmentInfo;
use crate::tree::TreeRef;
use crate::wal::{WalPosition, WalSegmentInfo};
use crate::{FrameNumber, Generation, Incarnation, Result, SegmentId, SequenceNumber, StorageError};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The longest name of a keyspace, checkpoint or restore point, in bytes.
pub const MAX_NAME_LEN: usize = 255;

/// A manifest is never longer.
pub(super) const MAX_LEN: u64 = 256 << 20;
const MAGIC: &[u8; 8] = b"LDBMANIF";
const CLEAR_LEN: usize = 80;
pub(super) const CHECKSUM_LEN: usize = 32;
const LABEL: &str = "manifest";
/// The body ends with the head of the audit log.
const HAS_AUDIT_HEAD: u64 = 1;
const KNOWN_INCOMPATIBLE: u64 = HAS_AUDIT_HEAD;
/// Of a repository: the trees of its latest backup follow.
const TREES_KNOWN: u8 = 1;
/// Of a repository: behind them follows the end of log that was announced.
const LOG_ANNOUNCED: u8 = 2;
/// Of a backup that may have become whole unheard, the segments of its trees are known by a digest.
const TREES_ANNOUNCED: u8 = 4;

/// The clear part, once its checksum is known to be right.
struct Clear {
    suite: SuiteId,
    features: Features,
    generation: Generation,
    database: DatabaseId,
}

/// Whether a database with these features may be written by this version.
pub(super) fn is_writable(features: Features) -> bool {
    features.read_compatible == 0
}

/// The file's bytes.
pub(super) fn to_bytes(
    manifest: &Manifest,
    keyring: &Keyring,
    entropy: &dyn lightning_db_crypto::Entropy,
) -> Result<Vec<u8>> {
    let mut out = ByteWriter::new();
    out.raw(MAGIC).u32(FORMAT_VERSION).u8(keyring.suite_id().to_u8()).raw(&[0; 3]);
    out.u64(manifest.features.compatible).u64(manifest.features.read_compatible).u64(incompatible(manifest));
    out.u64(manifest.generation.0).raw(manifest.database.as_bytes()).u32(0).u64(keyring.generation());
    let context = context(manifest.database, manifest.generation);
    let sealed = keyring.seal_small(entropy, LABEL, &context, out.as_slice(), &body(manifest))?;
    let mut file = out;
    file.u32(sealed.len() as u32).raw(&sealed);
    let checksum = blake3::hash(file.as_slice());
    file.raw(checksum.as_bytes());
    Ok(file.into_vec())
}

/// Reads the file's bytes, and tells the generation of the keyring beside which they were written.
pub(super) fn from_bytes(path: &Path, bytes: &[u8], keyring: &Keyring) -> Result<(Manifest, u64)> {
    let corrupt = |offset: usize, what: &str| StorageError::corrupt(path, offset as u64, what);
    let Split { clear, keyring_generation, sealed } = split(path, bytes)?;
    if clear.suite != keyring.suite_id() || clear.database != keyring.database_id() {
        return Err(corrupt(12, "this manifest belongs to another database than the keyring beside it"));
    }
    let context = context(clear.database, clear.generation);
    let body = keyring
        .open_small(LABEL, &context, &bytes[..CLEAR_LEN - 4], sealed)
        .map_err(|error| corrupt(CLEAR_LEN, &format!("the manifest does not open ({error})")))?;
    let mut input = ByteReader::new(&body);
    let manifest = manifest(&mut input, &clear)
        .and_then(|manifest| input.finish("end of manifest").map(|()| manifest))
        .map_err(|error| corrupt(CLEAR_LEN, &error.to_string()))?;
    super::check::check_read(&manifest).map_err(|what| corrupt(CLEAR_LEN, &what))?;
    Ok((manifest, keyring_generation))
}

impl Manifest {
    /// The manifest as bytes that are not sealed, for a backup, which seals them itself. They tell of the content: they
    /// are wiped, and are never written anywhere as they are.
    ///
    /// ```text
    /// features 3 x u64 | generation u64 | database id [16] | body
    /// ```
    #[must_use]
    pub fn to_plain(&self) -> crate::ZeroizingBytes {
        let body = body(self);
        let mut out = ByteWriter::with_capacity(body.len() + 48);
        out.u64(self.features.compatible).u64(self.features.read_compatible).u64(incompatible(self));
        out.u64(self.generation.0).raw(self.database.as_bytes()).raw(&body);
        crate::ZeroizingBytes::new(out.into_vec())
    }

    /// Reads what [`to_plain`](Self::to_plain) made, once it was opened; `name` is how errors call it.
    ///
    /// # Errors
    /// `Corrupt` when it is no sound manifest; `UnsupportedFormat` for features that this version lacks.
    pub fn from_plain(name: &Path, suite: SuiteId, bytes: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| StorageError::corrupt(name, 0, what);
        let parse = |input: &mut ByteReader<'_>| {
            let features = Features {
                compatible: input.u64("features")?,
                read_compatible: input.u64("features")?,
                incompatible: input.u64("features")?,
            };
            let generation = Generation(input.u64("generation")?);
            let clear =
                Clear { suite, features, generation, database: DatabaseId(input.array("database id")?) };
            Ok(clear)
        };
        let mut input = ByteReader::new(bytes);
        let clear = parse(&mut input).map_err(|error: Malformed| corrupt(&error.to_string()))?;
        if clear.features.incompatible & !KNOWN_INCOMPATIBLE != 0 {
            let what = format!(
                "it uses features (bits {:#x}) that this version lacks",
                clear.features.incompatible & !KNOWN_INCOMPATIBLE
            );
            return Err(StorageError::UnsupportedFormat { file: name.to_path_buf(), what });
        }
        let manifest = manifest(&mut input, &clear)
            .and_then(|manifest| input.finish("end of manifest").map(|()| manifest))
            .map_err(|error| corrupt(&error.to_string()))?;
        super::check::check_read(&manifest).map_err(|what| corrupt(&what))?;
        Ok(manifest)
    }
}

/// The features that a program must know to read what is written for `manifest`.
fn incompatible(manifest: &Manifest) -> u64 {
    manifest.features.incompatible | if manifest.audit.is_some() { HAS_AUDIT_HEAD } else { 0 }
}

fn context(database: DatabaseId, generation: Generation) -> Vec<u8> {
    let mut out = ByteWriter::new();
    out.raw(database.as_bytes()).u64(generation.0);
    out.into_vec()
}

/// The parts of a file, once its checksum is known to be right.
struct Split<'a> {
    clear: Clear,
    keyring_generation: u64,
    sealed: &'a [u8],
}

/// Checks everything that needs no key.
fn split<'a>(path: &Path, bytes: &'a [u8]) -> Result<Split<'a>> {
    let corrupt = |what: &str| StorageError::corrupt(path, 0, what);
    let content_len = bytes.len().checked_sub(CHECKSUM_LEN).filter(|len| *len >= CLEAR_LEN);
    let (content, checksum) =
        bytes.split_at(content_len.ok_or_else(|| corrupt("it is too short for a manifest"))?);
    if blake3::hash(content).as_bytes() != checksum {
        return Err(corrupt("the manifest's checksum does not match"));
    }
    let mut input = ByteReader::new(content);
    clear(path, &mut input)?.map_err(|error: Malformed| corrupt(&error.to_string()))
}

fn clear<'a>(path: &Path, input: &mut ByteReader<'a>) -> Result<Result<Split<'a>, Malformed>> {
    let unsupported = |what: String| StorageError::UnsupportedFormat { file: path.to_path_buf(), what };
    let fields = |input: &mut ByteReader<'a>| {
        if input.array::<8>("magic")? != *MAGIC {
            return Err(Malformed { what: "magic" });
        }
        Ok((input.u32("format version")?, input.u8("suite")?))
    };
    let (version, suite) = match fields(input) {
        Ok(fields) => fields,
        Err(error) => return Ok(Err(error)),
    };
    if version != FORMAT_VERSION {
        return Err(unsupported(format!("it has format version {version}, known is {FORMAT_VERSION}")));
    }
    let suite =
        SuiteId::from_u8(suite).ok_or_else(|| unsupported(format!("it is sealed with suite {suite}")))?;
    let rest = |input: &mut ByteReader<'a>| {
        input.raw(3, "reserved bytes")?;
        let features = Features {
            compatible: input.u64("features")?,
            read_compatible: input.u64("features")?,
            incompatible: input.u64("features")?,
        };
        let generation = Generation(input.u64("generation")?);
        let database = DatabaseId(input.array("database id")?);
        let _key_domain = input.u32("key domain")?;
        let keyring_generation = input.u64("keyring generation")?;
        let body_len = input.u32("body length")?;
        let sealed = input.raw(body_len as usize, "body")?;
        input.clone().finish("end of file")?;
        Ok(Split { clear: Clear { suite, features, generation, database }, keyring_generation, sealed })
    };
    match rest(input) {
        Ok(Split { clear, .. }) if clear.features.incompatible & !KNOWN_INCOMPATIBLE != 0 => {
            Err(unsupported(format!(
                "it uses features (bits {:#x}) that this version lacks",
                clear.features.incompatible & !KNOWN_INCOMPATIBLE
            )))
        }
        other => Ok(other),
    }
}

fn body(m: &Manifest) -> crate::ZeroizingBytes {
    let mut out = ByteWriter::new();
    out.raw(&m.incarnation.0);
    list(&mut out, &m.ancestry, put_fork);
    out.i64(m.created_micros).varint(m.next_segment.0).varint(m.next_run);
    out.varint(m.flushed_sequence.0).i64(m.flushed_time_micros);
    put_option(&mut out, m.log_end.as_ref(), |out, end| end.encode(out));
    list(&mut out, &m.keyspaces, put_keyspace);
    list(&mut out, &m.segments, |out, info| info.encode(out));
    list(&mut out, &m.wal, |out, info| info.encode(out));
    list(&mut out, &m.checkpoints, put_checkpoint);
    list(&mut out, &m.restore_points, |out, point| {
        out.bytes(point.name.as_bytes())
            .varint(point.sequence.0)
            .i64(point.time_micros)
            .raw(&point.incarnation.0);
    });
    list(&mut out, &m.repositories, put_repository);
    list(&mut out, &m.retained_runs, put_run);
    list(&mut out, &m.gaps, |out, gap| {
        out.raw(&gap.incarnation.0).varint(gap.after.0).varint(gap.through.0).u8(gap.reason as u8);
    });
    out.u32(m.page_size);
    if let Some(head) = &m.audit {
        head.encode(&mut out);
    }
    crate::ZeroizingBytes::new(out.into_vec())
}

fn manifest(input: &mut ByteReader<'_>, clear: &Clear) -> Result<Manifest, Malformed> {
    Ok(Manifest {
        // Whether there is an audit log is said by the manifest that is written.
        features: Features { incompatible: clear.features.incompatible & !HAS_AUDIT_HEAD, ..clear.features },
        generation: clear.generation,
        database: clear.database,
        incarnation: take_incarnation(input)?,
        ancestry: take_list(input, 26, "ancestry", take_fork)?,
        created_micros: input.i64("creation time")?,
        next_segment: SegmentId(input.varint("next segment")?),
        next_run: input.varint("next run")?,
        flushed_sequence: take_sequence(input)?,
        flushed_time_micros: input.i64("flushed time")?,
        log_end: take_option(input, "end of the log", WalPosition::decode)?,
        keyspaces: take_list(input, 4, "keyspaces", take_keyspace)?,
        segments: take_list(input, 8, "segments", SegmentInfo::decode)?,
        wal: take_list(input, 8, "log segments", WalSegmentInfo::decode)?,
        checkpoints: take_list(input, 8, "checkpoints", take_checkpoint)?,
        restore_points: take_list(input, 26, "restore points", |input| {
            let (name, sequence) = (take_name(input)?, take_sequence(input)?);
            let time_micros = input.i64("restore point time")?;
            Ok(RestorePoint { name, sequence, time_micros, incarnation: take_incarnation(input)? })
        })?,
        repositories: take_list(input, 18, "repositories", take_repository)?,
        retained_runs: take_list(input, 8, "retained runs", take_run)?,
        gaps: take_list(input, 19, "gaps", take_gap)?,
        page_size: input.u32("page size")?,
        audit: match clear.features.incompatible & HAS_AUDIT_HEAD {
            0 => None,
            _ => Some(AuditHead::decode(input)?),
        },
    })
}

fn put_keyspace(out: &mut ByteWriter, keyspace: &Keyspace) {
    out.varint(u64::from(keyspace.id)).bytes(keyspace.name.as_bytes()).varint(u64::from(keyspace.key_domain));
    keyspace.base.encode(out);
    list(out, &keyspace.runs, put_run);
}

fn take_keyspace(input: &mut ByteReader<'_>) -> Result<Keyspace, Malformed> {
    let id = input.varint_u32("keyspace id")?;
    let name = take_name(input)?;
    let what = "key domain";
    let key_domain = u16::try_from(input.varint(what)?).map_err(|_| Malformed { what })?;
    let base = TreeRef::decode(input)?;
    Ok(Keyspace { id, name, key_domain, base, runs: take_list(input, 8, "runs", take_run)? })
}

fn put_run(out: &mut ByteWriter, run: &RunInfo) {
    out.varint(run.id);
    run.tree.encode(out);
    list(out, &run.filter, |out, ptr| ptr.encode(out));
    out.varint(run.first_sequence.0).varint(run.last_sequence.0).i64(run.last_time_micros).u8(run.tier);
    put_ids(out, &run.segments);
    put_ids(out, &run.value_segments);
}

fn take_run(input: &mut ByteReader<'_>) -> Result<RunInfo, Malformed> {
    Ok(RunInfo {
        id: input.varint("run id")?,
        tree: TreeRef::decode(input)?,
        filter: take_list(input, BlockPtr::MIN_ENCODED_LEN, "filter", BlockPtr::decode)?,
        first_sequence: take_sequence(input)?,
        last_sequence: take_sequence(input)?,
        last_time_micros: input.i64("run time")?,
        tier: input.u8("run tier")?,
        segments: take_ids(input)?,
        value_segments: take_ids(input)?,
    })
}

fn put_fork(out: &mut ByteWriter, fork: &Fork) {
    out.raw(&fork.incarnation.0).varint(fork.sequence.0).i64(fork.time_micros).varint(fork.next.0);
}

fn take_fork(input: &mut ByteReader<'_>) -> Result<Fork, Malformed> {
    Ok(Fork {
        incarnation: take_incarnation(input)?,
        sequence: take_sequence(input)?,
        time_micros: input.i64("fork time")?,
        next: take_sequence(input)?,
    })
}

fn put_checkpoint(out: &mut ByteWriter, checkpoint: &NamedCheckpoint) {
    out.bytes(checkpoint.name.as_bytes()).varint(checkpoint.sequence.0).i64(checkpoint.time_micros);
    out.i64(checkpoint.made_micros).raw(&checkpoint.incarnation.0);
    list(out, &checkpoint.ancestry, put_fork);
    list(out, &checkpoint.keyspaces, put_keyspace);
    list(out, &checkpoint.segments, |out, held| {
        out.varint(held.id.0).varint(held.live_bytes);
    });
}

fn take_checkpoint(input: &mut ByteReader<'_>) -> Result<NamedCheckpoint, Malformed> {
    Ok(NamedCheckpoint {
        name: take_name(input)?,
        sequence: take_sequence(input)?,
        time_micros: input.i64("checkpoint time")?,
        made_micros: input.i64("checkpoint made")?,
        incarnation: take_incarnation(input)?,
        ancestry: take_list(input, 26, "ancestry", take_fork)?,
        keyspaces: take_list(input, 4, "keyspaces", take_keyspace)?,
        segments: take_list(input, 2, "held segments", |input| {
            let id = SegmentId(input.varint("held segment")?);
            Ok(HeldSegment { id, live_bytes: input.varint("held bytes")? })
        })?,
    })
}

fn put_repository(out: &mut ByteWriter, cursor: &RepositoryCursor) {
    out.raw(&cursor.repository).bytes(cursor.url_hint.as_bytes()).varint(cursor.last_backup);
    put_option(out, cursor.archived.as_ref(), put_log_end);
    let announced = if cursor.announced.is_some() { LOG_ANNOUNCED } else { 0 }
        | if cursor.announced_trees.is_some() { TREES_ANNOUNCED } else { 0 };
    match &cursor.lineage {
        Lineage::Rebase => {
            out.u8(announced);
        }
        Lineage::Version { sequence, time_micros, keyspaces, segments } => {
            out.u8(announced | TREES_KNOWN).varint(sequence.0).i64(*time_micros);
            list(out, keyspaces, put_keyspace);
            list(out, segments, |out, info| info.encode(out));
        }
    }
    if let Some(end) = &cursor.announced {
        put_log_end(out, end);
    }
    if let Some(digest) = &cursor.announced_trees {
        out.raw(digest);
    }
}

fn put_log_end(out: &mut ByteWriter, end: &ArchivedThrough) {
    out.raw(&end.incarnation.0).varint(end.frame.0).raw(&end.tag).varint(end.sequence.0).i64(end.time_micros);
}

fn take_repository(input: &mut ByteReader<'_>) -> Result<RepositoryCursor, Malformed> {
    let repository = input.array("repository id")?;
    let url_hint = take_text(input, "repository place")?;
    let last_backup = input.varint("last backup")?;
    let archived = take_option(input, "archived log", take_log_end)?;
    let flags = input.u8("lineage")?;
    if flags & !(TREES_KNOWN | LOG_ANNOUNCED | TREES_ANNOUNCED) != 0 {
        return Err(Malformed { what: "lineage" });
    }
    let lineage = if flags & TREES_KNOWN == 0 {
        Lineage::Rebase
    } else {
        Lineage::Version {
            sequence: take_sequence(input)?,
            time_micros: input.i64("lineage time")?,
            keyspaces: take_list(input, 4, "keyspaces", take_keyspace)?,
            segments: take_list(input, 8, "segments", SegmentInfo::decode)?,
        }
    };
    let announced = (flags & LOG_ANNOUNCED != 0).then(|| take_log_end(input)).transpose()?;
    let announced_trees =
        (flags & TREES_ANNOUNCED != 0).then(|| input.array("announced trees")).transpose()?;
    Ok(RepositoryCursor { repository, url_hint, last_backup, archived, announced, announced_trees, lineage })
}

fn take_log_end(input: &mut ByteReader<'_>) -> Result<ArchivedThrough, Malformed> {
    Ok(ArchivedThrough {
        incarnation: take_incarnation(input)?,
        frame: FrameNumber(input.varint("archived frame")?),
        tag: input.array("archived tag")?,
        sequence: take_sequence(input)?,
        time_micros: input.i64("archived time")?,
    })
}

fn take_gap(input: &mut ByteReader<'_>) -> Result<Gap, Malformed> {
    let incarnation = take_incarnation(input)?;
    let (after, through) = (take_sequence(input)?, take_sequence(input)?);
    let reason = match input.u8("gap reason")? {
        1 => GapReason::LogDisabled,
        2 => GapReason::LogDropped,
        _ => return Err(Malformed { what: "gap reason" }),
    };
    Ok(Gap { incarnation, after, through, reason })
}

fn list<T>(out: &mut ByteWriter, items: &[T], put: impl Fn(&mut ByteWriter, &T)) {
    out.varint(items.len() as u64);
    items.iter().for_each(|item| put(out, item));
}

fn take_list<T>(
    input: &mut ByteReader<'_>,
    min_item_len: usize,
    what: &'static str,
    take: impl Fn(&mut ByteReader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    (0..input.count(min_item_len, what)?).map(|_| take(input)).collect()
}

fn put_option<T>(out: &mut ByteWriter, item: Option<&T>, put: impl Fn(&mut ByteWriter, &T)) {
    out.u8(u8::from(item.is_some()));
    item.into_iter().for_each(|item| put(out, item));
}

fn take_option<T>(
    input: &mut ByteReader<'_>,
    what: &'static str,
    take: impl Fn(&mut ByteReader<'_>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match input.u8(what)? {
        0 => Ok(None),
        1 => take(input).map(Some),
        _ => Err(Malformed { what }),
    }
}

fn put_ids(out: &mut ByteWriter, ids: &[SegmentId]) {
    list(out, ids, |out, id| {
        out.varint(id.0);
    });
}

fn take_ids(input: &mut ByteReader<'_>) -> Result<Vec<SegmentId>, Malformed> {
    take_list(input, 1, "segment ids", |input| input.varint("segment id").map(SegmentId))
}

fn take_incarnation(input: &mut ByteReader<'_>) -> Result<Incarnation, Malformed> {
    input.array("incarnation").map(Incarnation)
}

fn take_sequence(input: &mut ByteReader<'_>) -> Result<SequenceNumber, Malformed> {
    input.varint("sequence number").map(SequenceNumber)
}

fn take_name(input: &mut ByteReader<'_>) -> Result<String, Malformed> {
    let name = take_text(input, "name")?;
    if name.len() <= MAX_NAME_LEN { Ok(name) } else { Err(Malformed { what: "name" }) }
}

fn take_text(input: &mut ByteReader<'_>, what: &'static str) -> Result<String, Malformed> {
    String::from_utf8(input.bytes(what)?.to_vec()).map_err(|_| Malformed { what })
}
