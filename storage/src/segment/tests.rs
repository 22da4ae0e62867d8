//! Segments as a whole: what is written is read, and nothing else ever is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_crypto::EpochId;

use crate::bytes::{ByteReader, ByteWriter};
use crate::compress::{CompressionSettings, DictionaryTrainer, MAX_DICTIONARY_LEN, train_dictionary};
use crate::pointer::{BlockKind, BlockPtr, BlockSink, BlockSource, Codec};
use crate::vfs::{MemVfs, Vfs};
use crate::{Generation, Incarnation, Salt, SegmentId, StorageError};

use super::testing::{context, context_in, ids_from, options, read_file, replace_file};
use super::*;

mod damage;
mod failures;
mod nonces;

const READ: ReadMode = ReadMode { map: false };
const MAP: ReadMode = ReadMode { map: true };

/// Rows that have much in common, about 1.5 KB.
fn rows(seed: u64) -> Vec<u8> {
    let row = |n: u64| {
        format!(
            "{{\"carrier\":\"UA\",\"flight\":{n},\"tail\":\"N{:04x}\"}}\n",
            n.wrapping_mul(40_503) % 65_536
        )
    };
    (0..32).flat_map(|n| row(seed * 32 + n).into_bytes()).collect()
}

fn written(
    ctx: &Arc<SealContext>,
    id: u64,
    options: &WriterOptions,
    blocks: &[Vec<u8>],
) -> (SegmentInfo, Vec<BlockPtr>) {
    let mut writer = SegmentWriter::create(ctx, SegmentId(id), options).expect("created");
    let ptrs = blocks.iter().map(|raw| writer.append(BlockKind::Leaf, raw).expect("appended")).collect();
    (writer.finish().expect("finished"), ptrs)
}

fn is_corrupt<T>(outcome: &crate::Result<T>) -> bool {
    matches!(outcome, Err(StorageError::Corrupt { .. }))
}

#[test]
fn blocks_of_every_codec_come_back_read_and_mapped() {
    let (vfs, ctx) = context();
    let blocks: Vec<Vec<u8>> = (0..40).map(rows).chain([vec![1], vec![0; 300_000]]).collect();
    let settings = [CompressionSettings::none()]
        .into_iter()
        .chain((0..4).map(|kind| CompressionSettings::new(true, kind, 3).expect("valid")));
    for (id, compression) in settings.enumerate() {
        let (info, ptrs) =
            written(&ctx, id as u64, &WriterOptions { compression, ..options(SegmentKind::Run) }, &blocks);
        assert_eq!(info.blocks, blocks.len() as u64);
        assert_eq!(info.stored_bytes, ptrs.iter().map(|ptr| u64::from(ptr.stored_len)).sum::<u64>());
        assert_eq!((info.live_bytes, info.created_micros), (info.stored_bytes, 1_700_000_000_000_000));
        for mode in [READ, MAP] {
            let reader = SegmentReader::open(&ctx, &info, mode).expect("opens");
            for (ptr, raw) in ptrs.iter().zip(&blocks) {
                assert_eq!(*reader.read(BlockKind::Leaf, ptr).expect("reads"), *raw);
                assert_eq!(ptr.birth, Generation(5));
            }
            reader.verify(&info).expect("whole");
        }
    }
    vfs.refuse_maps(true);
    let (info, ptrs) = written(&ctx, 9, &options(SegmentKind::Base), &blocks);
    let reader = SegmentReader::open(&ctx, &info, MAP).expect("opens where maps are refused");
    assert_eq!(*reader.read(BlockKind::Leaf, &ptrs[0]).expect("reads"), blocks[0]);
}

#[test]
fn a_segment_carries_its_dictionary() {
    let (_, ctx) = context();
    let pages: Vec<Vec<u8>> = (0..300).map(rows).collect();
    let samples: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
    let dictionary = train_dictionary(&samples, MAX_DICTIONARY_LEN).map(Arc::new);
    let compression = CompressionSettings::new(true, 1, 3).expect("valid");
    let with = WriterOptions { dictionary, compression, ..options(SegmentKind::Run) };
    let (info, ptrs) = written(&ctx, 2, &with, &pages[..50]);
    let (other, _) = written(&ctx, 1, &with, &pages);
    let (plain, _) = written(&ctx, 3, &WriterOptions { dictionary: None, ..with.clone() }, &pages[..50]);
    ctx.vfs.remove_file(&ctx.segment_path(other.kind, other.id)).expect("removed");

    let dictionary_ptr = info.dictionary.expect("stored in the segment");
    assert_eq!(dictionary_ptr.offset, HEADER_LEN as u64);
    assert!(plain.dictionary.is_none());
    assert!(info.stored_bytes - u64::from(dictionary_ptr.stored_len) < plain.stored_bytes);
    let reader = SegmentReader::open(&ctx, &info, READ).expect("opens");
    for (ptr, raw) in ptrs.iter().zip(&pages) {
        assert_eq!(ptr.codec, Codec::ZstdDict);
        assert_eq!(*reader.read(BlockKind::Leaf, ptr).expect("reads"), *raw);
    }
    let without = SegmentInfo { dictionary: None, ..info };
    let reader = SegmentReader::open(&ctx, &without, READ).expect("opens");
    assert!(is_corrupt(&reader.read(BlockKind::Leaf, &ptrs[0])));
}

#[test]
fn blocks_can_be_read_while_the_segment_is_written() {
    let (_, ctx) = context();
    let mut writer =
        SegmentWriter::create(&ctx, SegmentId(1), &options(SegmentKind::Value)).expect("created");
    let first = writer.append(BlockKind::Extent, b"first").expect("appended");
    let reader = writer.reader().expect("a reader");
    assert_eq!(**reader.read(BlockKind::Extent, &first).expect("flushed"), *b"first");
    let second = writer.append(BlockKind::Extent, b"second").expect("appended");
    assert!(is_corrupt(&reader.read(BlockKind::Extent, &second)), "not in the file yet");
    writer.flush().expect("flushed");
    assert_eq!(**reader.read(BlockKind::Extent, &second).expect("flushed"), *b"second");
    let info = writer.finish().expect("finished");
    assert_eq!(**reader.read(BlockKind::Extent, &second).expect("finished"), *b"second");
    let footer = BlockPtr { offset: info.length - 80, ..second };
    assert!(is_corrupt(&reader.read(BlockKind::Footer, &footer)));
}

#[test]
fn a_series_rolls_over_and_reads_as_one() {
    let (_, ctx) = context();
    let set = SegmentSetOptions { writer: options(SegmentKind::Base), segment_size: 10_000, trainer: None };
    let mut writer = SegmentSetWriter::new(&ctx, set, ids_from(10));
    assert!(writer.reader().expect("none").is_none());
    let blocks: Vec<Vec<u8>> = (0..40).map(rows).collect();
    let ptrs: Vec<BlockPtr> =
        blocks.iter().map(|raw| writer.append(BlockKind::Leaf, raw).expect("appended")).collect();
    let segments = Segments::new();
    let (id, reader) = writer.reader().expect("flushed").expect("one is open");
    segments.insert(id, Arc::new(reader));
    assert_eq!(*segments.read_block(BlockKind::Leaf, &ptrs[39]).expect("reads"), blocks[39]);

    let before_footer = writer.stored_bytes();
    let infos = writer.finish().expect("finished");
    assert_eq!(infos.iter().map(|info| info.length).sum::<u64>(), before_footer + 80);
    assert_eq!(
        infos.iter().map(|info| info.id.0).collect::<Vec<_>>(),
        (10..10 + infos.len() as u64).collect::<Vec<_>>()
    );
    assert!(infos.len() > 3 && infos.iter().all(|info| info.length < 13_000));
    for info in &infos {
        segments.open(&ctx, info, MAP).expect("opens");
    }
    for (ptr, raw) in ptrs.iter().zip(&blocks) {
        assert_eq!(*segments.read_block(BlockKind::Leaf, ptr).expect("reads"), *raw);
    }
    segments.remove(SegmentId(10));
    assert!(is_corrupt(&segments.read_block(BlockKind::Leaf, &ptrs[0])));
}

#[test]
fn a_series_learns_a_dictionary_for_its_later_segments() {
    let (_, ctx) = context();
    let trainer = Some(Arc::new(DictionaryTrainer::new()));
    let compression = CompressionSettings::default();
    let writer = WriterOptions { compression, ..options(SegmentKind::Run) };
    let mut writer = SegmentSetWriter::new(
        &ctx,
        SegmentSetOptions { writer, segment_size: 100_000, trainer },
        ids_from(1),
    );
    let blocks: Vec<Vec<u8>> = (0..3000).map(rows).collect();
    let ptrs: Vec<BlockPtr> =
        blocks.iter().map(|raw| writer.append(BlockKind::Leaf, raw).expect("appended")).collect();
    let infos = writer.finish().expect("finished");
    assert!(infos.first().is_some_and(|info| info.dictionary.is_none()));
    assert!(infos.last().is_some_and(|info| info.dictionary.is_some()));
    let segments = Segments::new();
    infos.iter().for_each(|info| segments.open(&ctx, info, READ).expect("opens"));
    for (ptr, raw) in ptrs.iter().zip(&blocks) {
        assert_eq!(*segments.read_block(BlockKind::Leaf, ptr).expect("reads"), *raw);
    }
    assert_eq!(ptrs[2999].codec, Codec::ZstdDict);
}

#[test]
fn an_empty_series_has_no_files() {
    let (vfs, ctx) = context();
    let set = SegmentSetOptions { writer: options(SegmentKind::Run), segment_size: 1000, trainer: None };
    assert_eq!(SegmentSetWriter::new(&ctx, set, ids_from(1)).finish().expect("finished"), []);
    assert_eq!(vfs.files(), Vec::<PathBuf>::new());
}

#[test]
fn file_names_go_both_ways_and_no_other_name_is_taken() {
    for kind in [SegmentKind::Wal, SegmentKind::Run, SegmentKind::Base, SegmentKind::Value] {
        for id in [0, 255, u64::MAX] {
            let name = segment_file_name(kind, SegmentId(id));
            assert_eq!(parse_segment_file_name(&name), Some((kind, SegmentId(id))), "{name}");
        }
    }
    assert_eq!(segment_file_name(SegmentKind::Base, SegmentId(0xab)), "00000000000000ab.base");
    let short = "ab.base";
    let upper = "00000000000000AB.base";
    let signed = "+0000000000000ab.base";
    let strange = "00000000000000ab.page";
    for name in [short, upper, signed, strange, "", ".base", "00000000000000ab", "00000000000000ab.base.tmp"]
    {
        assert_eq!(parse_segment_file_name(name), None, "{name}");
    }
}

#[test]
fn entries_of_the_manifest_come_back_and_contradictions_are_refused() {
    let (_, ctx) = context();
    let (info, ptrs) = written(&ctx, 4, &options(SegmentKind::Value), &[rows(1)]);
    let info = SegmentInfo { dictionary: Some(ptrs[0]), created_micros: -5, ..info };
    let mut out = ByteWriter::new();
    info.encode(&mut out);
    assert!(out.len() >= SegmentInfo::MIN_ENCODED_LEN);
    let mut input = ByteReader::new(out.as_slice());
    assert_eq!(SegmentInfo::decode(&mut input).as_ref(), Ok(&info));
    assert!(input.rest().is_empty());
    for len in 0..out.len() {
        assert!(SegmentInfo::decode(&mut ByteReader::new(&out.as_slice()[..len])).is_err());
    }
    let foreign = BlockPtr { segment: SegmentId(5), ..ptrs[0] };
    for bad in [
        SegmentInfo { kind: SegmentKind::Wal, ..info.clone() },
        SegmentInfo { length: info.length + 1, ..info.clone() },
        SegmentInfo { stored_bytes: u64::MAX, ..info.clone() },
        SegmentInfo { live_bytes: info.stored_bytes + 1, ..info.clone() },
        SegmentInfo { dictionary: Some(foreign), ..info.clone() },
    ] {
        let mut out = ByteWriter::new();
        bad.encode(&mut out);
        assert!(SegmentInfo::decode(&mut ByteReader::new(out.as_slice())).is_err(), "{bad:?}");
    }
}

#[test]
fn headers_lie_as_drawn() {
    let (_, ctx) = context();
    let header = SegmentHeader {
        salt: Salt([9; 24]),
        key_domain: 0x0201,
        ..SegmentHeader::draw(&ctx, SegmentKind::Base, SegmentId(0x0102), EpochId(6)).expect("drawn")
    };
    let bytes = header.encode();
    assert_eq!(&bytes[..16], b"LDBSEG\r\n\x01\0\0\0\x02\x01\x01\x02");
    assert_eq!(&bytes[16..32], ctx.database.as_bytes());
    assert_eq!(bytes[32..48], [3; 16]);
    assert_eq!(&bytes[48..64], b"\x02\x01\0\0\0\0\0\0\x06\0\0\0\0\0\0\0");
    assert_eq!(bytes[64..88], [9; 24]);
    assert_eq!(bytes[88..120], [0; 32]);
    assert_eq!(SegmentHeader::decode(Path::new("f"), &bytes).expect("decodes"), header);
}

#[test]
fn a_segment_of_an_earlier_incarnation_still_opens() {
    let (_, ctx) = context();
    let (info, ptrs) = written(&ctx, 1, &options(SegmentKind::Run), &[rows(1)]);
    let later = SealContext {
        vfs: Arc::clone(&ctx.vfs),
        clock: Arc::clone(&ctx.clock),
        entropy: Arc::clone(&ctx.entropy),
        suite: Arc::clone(&ctx.suite),
        keyring: Arc::clone(&ctx.keyring),
        database: ctx.database,
        incarnation: Incarnation([4; 16]).into(),
        directory: ctx.directory.clone(),
        salts: SaltCount::default(),
    };
    let reader = SegmentReader::open(&later, &info, READ).expect("opens");
    assert_eq!(*reader.read(BlockKind::Leaf, &ptrs[0]).expect("reads"), rows(1));
    let moved = SegmentInfo { incarnation: Incarnation([4; 16]), ..info };
    assert!(is_corrupt(&SegmentReader::open(&later, &moved, READ)));
}
