//! The bytes of a record.
//!
//! ```text
//! 0   magic "LDBBKUP\n"
//! 8   format version u32
//! 12  clear length u32
//! 16  clear part
//! ..  sealed length u32          0 for a deletion
//! ..  sealed part                the storage manifest, sealed; its associated data is BLAKE3 of all before its length
//! ..  signed u8                  0 or 1
//! ..  public key [32], Ed25519 signature [64] over all before `signed`, if it is 1
//! ..  BLAKE3 of all before it [32]
//!
//! clear   repository [16] | number varint | previous: present u8, number varint, hash [32] | created i64 | kind u8
//! kind 1  backup: database [16] | suite u8 | incarnation [16] | ancestry: count, (incarnation [16], sequence varint,
//!         time i64, next varint) | flushed sequence varint, time i64 | last sequence varint | as of i64
//!         | keyring: generation varint, hash [32], length varint
//!         | segments: count, (id varint, kind u8, hash [32], length varint)
//!         | log: count, (segment entry, start varint, first frame varint, previous tag [16], end position,
//!           commits: present u8, first varint, last varint; times: present u8, i64, i64; hash [32], length varint)
//!         | new segment bytes varint | new log bytes varint
//! kind 2  deletion: backup varint
//! ```

use std::path::Path;

use lightning_db_crypto::{DatabaseId, Entropy, Keyring, PublicKey, SuiteId};
use lightning_db_storage::bytes::{ByteReader, ByteWriter, Malformed};
use lightning_db_storage::manifest::{Fork, Manifest};
use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::wal::{WalPosition, WalSegmentInfo};
use lightning_db_storage::{FrameNumber, Incarnation, SegmentId, SequenceNumber};

use super::{
    BackupManifest, KeyringObject, LogPiece, PreviousRecord, Record, RecordBody, RepositoryId, SegmentObject,
};
use crate::{BackupError, Result, layout};

/// A record is never longer, in bytes.
pub const MAX_RECORD_LEN: u64 = 512 << 20;

const MAGIC: &[u8; 8] = b"LDBBKUP\n";
const FORMAT_VERSION: u32 = 1;
const LABEL: &str = "backup-manifest";
const CHECKSUM_LEN: usize = 32;
/// Fewer bytes than any piece of the log takes, so that a count can be trusted with an allocation.
const MIN_PIECE_LEN: usize = WalSegmentInfo::MIN_ENCODED_LEN + 80;
const BACKUP: u8 = 1;
const DELETION: u8 = 2;

pub(super) fn seal_backup(
    mut record: Record,
    version: &Manifest,
    keyring: &Keyring,
    entropy: &dyn Entropy,
) -> Result<(Record, Vec<u8>)> {
    record.signer = Some(keyring.public_key());
    let prefix = prefix(&record);
    let aad = blake3::hash(&prefix);
    let sealed = keyring.seal_small(
        entropy,
        LABEL,
        version.database.as_bytes(),
        aad.as_bytes(),
        &version.to_plain(),
    )?;
    let bytes = finish(prefix, &sealed, Some(keyring));
    if let RecordBody::Backup(backup) = &mut record.body {
        backup.sealed = sealed;
    }
    Ok((record, bytes))
}

pub(super) fn encode_deletion(record: &Record, keyring: Option<&Keyring>) -> Vec<u8> {
    finish(prefix(record), &[], keyring)
}

/// All that the sealed part is bound to.
fn prefix(record: &Record) -> Vec<u8> {
    let clear = clear(record);
    let mut out = ByteWriter::with_capacity(clear.len() + 16);
    out.raw(MAGIC).u32(FORMAT_VERSION).u32(clear.len() as u32).raw(&clear);
    out.into_vec()
}

fn finish(prefix: Vec<u8>, sealed: &[u8], signer: Option<&Keyring>) -> Vec<u8> {
    let mut out = ByteWriter::with_capacity(prefix.len() + sealed.len() + 133);
    out.raw(&prefix).u32(sealed.len() as u32).raw(sealed);
    match signer {
        Some(keyring) => {
            let signature = keyring.signing_key().sign(out.as_slice());
            out.u8(1).raw(&keyring.public_key().0).raw(&signature);
        }
        None => {
            out.u8(0);
        }
    }
    let checksum = blake3::hash(out.as_slice());
    out.raw(checksum.as_bytes());
    out.into_vec()
}

pub(super) fn decode(place: &str, object: &str, bytes: &[u8]) -> Result<Record> {
    let damaged = |what: String| BackupError::Damaged { place: place.into(), object: object.into(), what };
    let content_len =
        bytes.len().checked_sub(CHECKSUM_LEN).ok_or_else(|| damaged("it is too short".into()))?;
    let (content, checksum) = bytes.split_at(content_len);
    if blake3::hash(content).as_bytes() != checksum {
        return Err(damaged("its checksum does not match".into()));
    }
    let mut input = ByteReader::new(content);
    let version = head(&mut input).map_err(|error| damaged(error.to_string()))?;
    if version != FORMAT_VERSION {
        let what = format!("it has format version {version}, known is {FORMAT_VERSION}");
        return Err(BackupError::Unsupported { place: place.into(), object: object.into(), what });
    }
    let parsed = parts(content, &mut input).map_err(|error| damaged(error.to_string()))?;
    let Parts { mut record, signed, signature } = parsed;
    match (record.signer, signature) {
        (Some(signer), Some(signature)) => signer
            .verify(signed, &signature)
            .map_err(|_| damaged("its signature is not that of its content".into()))?,
        _ if matches!(record.body, RecordBody::Deletion { .. }) => record.signer = None,
        _ => return Err(damaged("it is not signed".into())),
    }
    Ok(record)
}

struct Parts<'a> {
    record: Record,
    signed: &'a [u8],
    signature: Option<[u8; 64]>,
}

fn head(input: &mut ByteReader<'_>) -> Result<u32, Malformed> {
    if input.array::<8>("magic")? != *MAGIC {
        return Err(Malformed { what: "magic" });
    }
    input.u32("format version")
}

fn parts<'a>(content: &'a [u8], input: &mut ByteReader<'a>) -> Result<Parts<'a>, Malformed> {
    let clear_len = input.u32("clear length")? as usize;
    let mut clear = ByteReader::new(input.raw(clear_len, "clear part")?);
    let sealed_len = input.u32("sealed length")? as usize;
    let sealed = input.raw(sealed_len, "sealed part")?;
    let signed = &content[..content.len() - input.rest().len()];
    let (signer, signature) = match input.u8("signature")? {
        0 => (None, None),
        1 => (Some(PublicKey(input.array("public key")?)), Some(input.array("signature")?)),
        _ => return Err(Malformed { what: "signature" }),
    };
    input.clone().finish("end of record")?;
    let mut record = take_record(&mut clear, sealed)?;
    clear.finish("clear part")?;
    record.signer = signer;
    Ok(Parts { record, signed, signature })
}

pub(super) fn open(record: &Record, place: &str, keyring: &Keyring) -> Result<Option<Manifest>> {
    let Some(backup) = record.backup() else { return Ok(None) };
    let object = layout::manifest(record.number);
    let damaged = |what: String| BackupError::Damaged { place: place.into(), object: object.clone(), what };
    if backup.database != keyring.database_id() || backup.suite != keyring.suite_id() {
        return Err(damaged("it belongs to another database than the keyring".into()));
    }
    let aad = blake3::hash(&prefix(record));
    let plain = keyring
        .open_small(LABEL, backup.database.as_bytes(), aad.as_bytes(), &backup.sealed)
        .map_err(|error| damaged(format!("its sealed part does not open ({error})")))?;
    let manifest = Manifest::from_plain(&Path::new(place).join(&object), backup.suite, &plain)?;
    agree(backup, &manifest).map_err(|what| damaged(format!("its sealed part has another {what}")))?;
    Ok(Some(manifest))
}

/// The clear part is what is copied, verified and pruned by; it must be what is restored.
fn agree(backup: &BackupManifest, manifest: &Manifest) -> Result<(), &'static str> {
    let objects = manifest.segments.iter().map(SegmentObject::of);
    let pairs = [
        (backup.database == manifest.database, "database"),
        (backup.incarnation == manifest.incarnation, "incarnation"),
        (*backup.ancestry == *manifest.ancestry, "ancestry"),
        (backup.flushed_sequence == manifest.flushed_sequence, "flushed sequence"),
        (backup.flushed_time_micros == manifest.flushed_time_micros, "flushed time"),
        (objects.eq(backup.segments.iter().copied()), "list of segments"),
    ];
    pairs.into_iter().find(|(equal, _)| !equal).map_or(Ok(()), |(_, what)| Err(what))
}

pub(super) fn clear(record: &Record) -> Vec<u8> {
    let mut out = ByteWriter::new();
    out.raw(&record.repository.0).varint(record.number).u8(u8::from(record.previous.is_some()));
    if let Some(previous) = &record.previous {
        out.varint(previous.number).raw(&previous.hash);
    }
    out.i64(record.created_micros);
    match &record.body {
        RecordBody::Backup(backup) => {
            out.u8(BACKUP);
            put_backup(&mut out, backup);
        }
        RecordBody::Deletion { backup } => {
            out.u8(DELETION).varint(*backup);
        }
    }
    out.into_vec()
}

/// A record from its clear part alone.
#[cfg(any(test, fuzzing))]
pub(super) fn take_whole_record(clear: &[u8]) -> Result<Record, Malformed> {
    let mut input = ByteReader::new(clear);
    let record = take_record(&mut input, &[])?;
    input.finish("clear part").map(|()| record)
}

fn take_record(input: &mut ByteReader<'_>, sealed: &[u8]) -> Result<Record, Malformed> {
    let repository = RepositoryId(input.array("repository id")?);
    let number = input.varint("record number")?;
    let previous = take_option(input, "previous record", |input| {
        Ok(PreviousRecord { number: input.varint("previous record")?, hash: input.array("previous hash")? })
    })?;
    let created_micros = input.i64("creation time")?;
    let body = match input.u8("record kind")? {
        BACKUP => RecordBody::Backup(Box::new(take_backup(input, sealed).and_then(with_room)?)),
        DELETION if sealed.is_empty() => RecordBody::Deletion { backup: input.varint("deleted backup")? },
        _ => return Err(Malformed { what: "record kind" }),
    };
    Ok(Record { repository, number, previous, created_micros, body, signer: None })
}

fn put_backup(out: &mut ByteWriter, backup: &BackupManifest) {
    out.raw(backup.database.as_bytes()).u8(backup.suite.to_u8()).raw(&backup.incarnation.0);
    out.varint(backup.ancestry.len() as u64);
    for fork in &*backup.ancestry {
        out.raw(&fork.incarnation.0).varint(fork.sequence.0).i64(fork.time_micros).varint(fork.next.0);
    }
    out.varint(backup.flushed_sequence.0).i64(backup.flushed_time_micros);
    out.varint(backup.last_sequence.0).i64(backup.as_of_micros);
    out.varint(backup.keyring.generation).raw(&backup.keyring.hash).varint(backup.keyring.length);
    out.varint(backup.segments.len() as u64);
    for segment in &backup.segments {
        out.varint(segment.id.0).u8(segment.kind as u8).raw(&segment.hash).varint(segment.length);
    }
    out.varint(backup.log.len() as u64);
    for piece in &backup.log {
        put_piece(out, piece);
    }
    out.varint(backup.new_segment_bytes).varint(backup.new_log_bytes);
}

fn take_backup(input: &mut ByteReader<'_>, sealed: &[u8]) -> Result<BackupManifest, Malformed> {
    Ok(BackupManifest {
        database: DatabaseId(input.array("database id")?),
        suite: SuiteId::from_u8(input.u8("suite")?).ok_or(Malformed { what: "suite" })?,
        incarnation: Incarnation(input.array("incarnation")?),
        ancestry: take_list(input, 26, "ancestry", |input| {
            let incarnation = Incarnation(input.array("ancestor")?);
            let sequence = SequenceNumber(input.varint("fork")?);
            let time_micros = input.i64("fork time")?;
            Ok(Fork { incarnation, sequence, time_micros, next: SequenceNumber(input.varint("fork")?) })
        })?
        .into(),
        flushed_sequence: SequenceNumber(input.varint("flushed sequence")?),
        flushed_time_micros: input.i64("flushed time")?,
        last_sequence: SequenceNumber(input.varint("last sequence")?),
        as_of_micros: input.i64("time of the backup")?,
        keyring: KeyringObject {
            generation: input.varint("keyring generation")?,
            hash: input.array("keyring hash")?,
            length: input.varint("keyring length")?,
        },
        segments: take_list(input, 35, "segments", |input| {
            let id = SegmentId(input.varint("segment id")?);
            let kind = SegmentKind::from_u8(input.u8("segment kind")?);
            let kind = kind.ok_or(Malformed { what: "segment kind" })?;
            Ok(SegmentObject {
                id,
                kind,
                hash: input.array("hash")?,
                length: input.varint("segment length")?,
            })
        })?,
        log: take_list(input, MIN_PIECE_LEN, "log", take_piece)?,
        new_segment_bytes: input.varint("new segment bytes")?,
        new_log_bytes: input.varint("new log bytes")?,
        sealed: sealed.to_vec(),
    })
}

/// Refuses lengths whose sums nobody could count: anybody can sign a record.
fn with_room(backup: BackupManifest) -> Result<BackupManifest, Malformed> {
    const SUM_MAX: u64 = 1 << 62;
    let segments = backup.segments.iter().map(|segment| segment.length);
    let lengths = segments.chain(backup.log.iter().map(|piece| piece.length));
    let more = [backup.keyring.length, backup.new_segment_bytes, backup.new_log_bytes];
    let sum = lengths.chain(more).fold(0, u64::saturating_add);
    if sum <= SUM_MAX { Ok(backup) } else { Err(Malformed { what: "length" }) }
}

fn put_piece(out: &mut ByteWriter, piece: &LogPiece) {
    piece.segment.encode(out);
    out.varint(piece.start).varint(piece.first_frame.0).raw(&piece.previous_tag);
    piece.end.encode(out);
    out.u8(u8::from(piece.sequences.is_some()));
    if let Some((first, last)) = piece.sequences {
        out.varint(first.0).varint(last.0);
    }
    out.u8(u8::from(piece.times.is_some()));
    if let Some((earliest, latest)) = piece.times {
        out.i64(earliest).i64(latest);
    }
    out.raw(&piece.hash).varint(piece.length);
}

fn take_piece(input: &mut ByteReader<'_>) -> Result<LogPiece, Malformed> {
    let piece = LogPiece {
        segment: WalSegmentInfo::decode(input)?,
        start: input.varint("start of a piece")?,
        first_frame: FrameNumber(input.varint("first frame")?),
        previous_tag: input.array("previous tag")?,
        end: WalPosition::decode(input)?,
        sequences: take_option(input, "commits", |input| {
            Ok((SequenceNumber(input.varint("first commit")?), SequenceNumber(input.varint("last commit")?)))
        })?,
        times: take_option(input, "times", |input| Ok((input.i64("earliest")?, input.i64("latest")?)))?,
        hash: input.array("hash of a piece")?,
        length: input.varint("length of a piece")?,
    };
    let frames = piece.end.offset.checked_sub(piece.start);
    let sound = piece.end.segment == piece.segment.id
        && frames.is_some_and(|frames| frames <= piece.length)
        && piece.first_frame <= piece.end.frame
        && piece.sequences.is_none_or(|(first, last)| first <= last && last == piece.end.sequence);
    if sound { Ok(piece) } else { Err(Malformed { what: "piece of the log" }) }
}

fn take_list<T>(
    input: &mut ByteReader<'_>,
    min_item_len: usize,
    what: &'static str,
    take: impl Fn(&mut ByteReader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    (0..input.count(min_item_len, what)?).map(|_| take(input)).collect()
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
