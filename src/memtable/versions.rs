//! The versions of a key as bytes, in the pages of a spilled memtable.
//!
//! ```text
//! newest first, up to the end, each:
//!   sequence number varint | what u8 (1 put, 2 delete, 3 extent) | length varint | value
//! ```

use std::sync::Arc;

use lightning_db_storage::bytes::{ByteReader, ByteWriter, Malformed};
use lightning_db_storage::page::EntryKind;
use lightning_db_storage::{SequenceNumber, ZeroizingBytes};

use super::MemValue;
use super::entry::{KeyEntry, MemHit};

/// The fields before a value take at most this.
const HEAD_LEN_MAX: usize = 10 + 1 + 10;

/// Encodes all versions. Nothing may be inserted meanwhile.
pub(super) fn encode(entry: &KeyEntry) -> ZeroizingBytes {
    // Room for all at once: a buffer that grows leaves plaintext behind where it was.
    let room = entry.value_bytes() + entry.version_count() * HEAD_LEN_MAX;
    let mut out = ByteWriter::with_capacity(room);
    entry.each_version(|hit| {
        out.varint(hit.seq.0).u8(hit.value.kind() as u8).bytes(hit.value.bytes());
    });
    ZeroizingBytes::new(out.into_vec())
}

/// Reads the versions of `key`. There is at least one.
pub(super) fn decode(key: &[u8], encoded: &[u8]) -> Result<Arc<KeyEntry>, Malformed> {
    let mut input = ByteReader::new(encoded);
    let newest = decode_one(&mut input)?;
    let mut older: Vec<MemHit> = Vec::new();
    let mut before = newest.seq;
    while !input.rest().is_empty() {
        let hit = decode_one(&mut input)?;
        if hit.seq >= before {
            return Err(Malformed { what: "order of versions" });
        }
        before = hit.seq;
        older.push(hit);
    }
    older.reverse();
    Ok(KeyEntry::new(key, newest, older))
}

fn decode_one(input: &mut ByteReader<'_>) -> Result<MemHit, Malformed> {
    let seq = SequenceNumber(input.varint("sequence number of a version")?);
    let kind = input.u8("kind of a version")?;
    let bytes = input.bytes("value of a version")?;
    let value = match EntryKind::from_u8(kind) {
        Some(EntryKind::Put) => MemValue::Put(bytes.into()),
        Some(EntryKind::Delete) if bytes.is_empty() => MemValue::Delete,
        Some(EntryKind::Extent) => MemValue::Extent(bytes.into()),
        _ => return Err(Malformed { what: "kind of a version" }),
    };
    Ok(MemHit { seq, value })
}
