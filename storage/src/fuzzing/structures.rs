//! Structures that have one encoding: what is read is written again as the same bytes.

use std::fmt::Debug;
use std::path::Path;

use lightning_db_crypto::{DatabaseId, EpochId, SetDigest, SuiteId};
use xxhash_rust::xxh3::xxh3_64;

use super::{Input, Target};
use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::directory::{FileRole, classify};
use crate::extent::ExtentRef;
use crate::filter::{Filter, FilterBuilder, key_hash};
use crate::page::Child;
use crate::pointer::{BlockPtr, Codec};
use crate::segment::{
    HEADER_LEN, SegmentHeader, SegmentInfo, SegmentKind, parse_segment_file_name, segment_file_name,
};
use crate::tree::TreeRef;
use crate::wal::{WalPosition, WalSegmentInfo};
use crate::{FrameNumber, Generation, Incarnation, Salt, SegmentId, SequenceNumber};

/// Pointers, references, entries of tables, headers.
pub const STRUCTURES: Target = Target { name: "structures", run: structures, seeds, room: 64 << 10 };

/// Filters over keys.
pub const FILTER: Target = Target {
    name: "filter",
    run: filter,
    seeds: || {
        let mut builder = FilterBuilder::new(100);
        (0..100u8).for_each(|key| builder.insert(key_hash(&[key])));
        vec![builder.finish().encode(), FilterBuilder::new(0).finish().encode()]
    },
    room: 64 << 10,
};

/// Names of files.
pub const FILE_NAME: Target = Target {
    name: "file_name",
    run: file_name,
    seeds: || {
        let names = ["MANIFEST", "MANIFEST.2", "KEYRING.tmp", "LOCK", "RESERVE", "00000000000000ab.base"];
        names.map(|name| name.as_bytes().to_vec()).to_vec()
    },
    room: 64 << 10,
};

fn structures(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.byte();
    let bytes = input.rest();
    match which % 7 {
        0 => canonical(bytes, BlockPtr::decode, BlockPtr::encode),
        1 => canonical(bytes, ExtentRef::decode, ExtentRef::encode),
        2 => canonical(bytes, SegmentInfo::decode, SegmentInfo::encode),
        3 => canonical(bytes, TreeRef::decode, TreeRef::encode),
        4 => canonical(bytes, WalPosition::decode, WalPosition::encode),
        5 => canonical(bytes, WalSegmentInfo::decode, WalSegmentInfo::encode),
        _ => header(bytes),
    }
}

/// What `decode` takes from the front of `bytes`, `encode` gives back.
pub(crate) fn canonical<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&mut ByteReader<'_>) -> Result<T, Malformed>,
    encode: impl Fn(&T, &mut ByteWriter),
) {
    let mut reader = ByteReader::new(bytes);
    let Ok(value) = decode(&mut reader) else { return };
    let taken = &bytes[..bytes.len() - reader.rest().len()];
    let mut out = ByteWriter::new();
    encode(&value, &mut out);
    assert_eq!(out.as_slice(), taken, "{value:?} has two encodings");
    assert_eq!(decode(&mut ByteReader::new(out.as_slice())), Ok(value));
}

fn header(bytes: &[u8]) {
    let file = Path::new("x.base");
    let mut bytes = bytes.to_vec();
    if let Some(fixed) = bytes.get_mut(..HEADER_LEN) {
        let checksum = xxh3_64(&fixed[..HEADER_LEN - 8]);
        fixed[HEADER_LEN - 8..].copy_from_slice(&checksum.to_le_bytes());
    }
    if let Ok(header) = SegmentHeader::decode(file, &bytes) {
        let encoded = header.encode();
        assert_eq!(SegmentHeader::decode(file, &encoded).ok().as_ref(), Some(&header));
        assert_eq!(header.check(file, &bytes).is_ok(), bytes[..HEADER_LEN] == encoded);
    }
}

fn filter(bytes: &[u8]) {
    let Ok(filter) = Filter::decode(bytes) else { return };
    assert_eq!(filter.encode(), bytes);
    for word in bytes.chunks(8) {
        // Whatever the bits are: an answer, and the same each time.
        assert_eq!(filter.may_contain(key_hash(word)), filter.may_contain(key_hash(word)));
    }
}

fn file_name(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    let segment = parse_segment_file_name(name);
    if let Some((kind, id)) = segment {
        assert_eq!(segment_file_name(kind, id), name);
    }
    assert_eq!(matches!(classify(name), FileRole::Segment { .. }), segment.is_some());
}

pub(crate) fn pointer(segment: u64) -> BlockPtr {
    BlockPtr {
        segment: SegmentId(segment),
        offset: 128,
        stored_len: 100,
        raw_len: 100,
        codec: Codec::Stored,
        birth: Generation(2),
        tag: [8; 16],
    }
}

pub(crate) fn tree_of(segment: u64) -> TreeRef {
    let digest = SetDigest::default();
    let root = Some(pointer(segment));
    TreeRef { root, height: 1, entries: 5, tombstones: 1, stored_bytes: 100, raw_bytes: 100, digest }
}

pub(crate) fn segment(id: u64, kind: SegmentKind) -> SegmentInfo {
    SegmentInfo {
        id: SegmentId(id),
        kind,
        incarnation: Incarnation([1; 16]),
        key_domain: 0,
        epoch: EpochId(1),
        salt: Salt([id as u8; 24]),
        length: 1000 + 208,
        content_hash: [5; 32],
        dictionary: (kind == SegmentKind::Base).then(|| pointer(id)),
        blocks: 3,
        live_bytes: 600,
        stored_bytes: 1000,
        created_micros: -4,
    }
}

pub(crate) fn position(segment: u64) -> WalPosition {
    WalPosition {
        segment: SegmentId(segment),
        offset: 4096,
        frame: FrameNumber(9),
        tag: [3; 16],
        sequence: SequenceNumber(40),
        within_commit: true,
    }
}

pub(crate) fn log_segment(id: u64, end: Option<WalPosition>) -> WalSegmentInfo {
    WalSegmentInfo {
        id: SegmentId(id),
        incarnation: Incarnation([1; 16]),
        key_domain: 0,
        epoch: EpochId(1),
        salt: Salt([9; 24]),
        boot_id: [4; 16],
        accepted_through: end,
        created_micros: 77,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let chunks = vec![pointer(3), pointer(4)];
    let extent = ExtentRef { len: 200, digest: [1; 32], chunks };
    let header = SegmentHeader {
        kind: SegmentKind::Run,
        suite: SuiteId::Aes256Gcm,
        key_domain: 0,
        database: DatabaseId([2; 16]),
        incarnation: Incarnation([3; 16]),
        id: SegmentId(4),
        epoch: EpochId(5),
        salt: Salt([6; 24]),
    };
    let encoders: [&dyn Fn(&mut ByteWriter); 7] = [
        &|out| pointer(7).encode(out),
        &|out| extent.encode(out),
        &|out| segment(2, SegmentKind::Base).encode(out),
        &|out| tree_of(2).encode(out),
        &|out| position(5).encode(out),
        &|out| log_segment(5, Some(position(5))).encode(out),
        &|out| _ = out.raw(&header.encode()),
    ];
    let encode = |(number, encode): (usize, &&dyn Fn(&mut ByteWriter))| {
        let mut out = ByteWriter::new();
        out.u8(number as u8);
        encode(&mut out);
        out.into_vec()
    };
    encoders.iter().enumerate().map(encode).collect()
}

/// A child of an inner page with this pointer.
pub(crate) fn child(ptr: BlockPtr, entries: u64) -> Child {
    Child { ptr, holds_extents: entries % 2 == 1, entries }
}
