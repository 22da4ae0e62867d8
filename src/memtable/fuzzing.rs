//! The versions of a key in a spilled memtable.

use lightning_db_storage::SequenceNumber;

use super::entry::KeyEntry;
use super::versions::{decode, encode};
use super::{MemHit, MemValue};
use crate::fuzzing::Target;

/// Versions: what is read is written again as the same bytes.
pub const VERSIONS: Target = Target { name: "versions", run, seeds, room: 64 << 10 };

fn run(data: &[u8]) {
    if let Ok(entry) = decode(b"key", data) {
        assert_eq!(*encode(&entry), data);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let hit = |seq, value| MemHit { seq: SequenceNumber(seq), value };
    let older = vec![hit(3, MemValue::Put(b"old"[..].into())), hit(5, MemValue::Delete)];
    let entry = KeyEntry::new(b"key", hit(300, MemValue::Extent([7; 40][..].into())), older);
    vec![encode(&entry).to_vec()]
}
