//! Segments whose file was changed, and segments whose content was made up by who has the key.

use std::sync::{Arc, OnceLock};

use super::footer::Footer;
use super::seal::BlockSealer;
use super::testing::{context, options, read_file, replace_file};
use super::{ReadMode, SealContext, SegmentInfo, SegmentKind, SegmentReader, SegmentWriter, WriterOptions};
use crate::bytes::{ByteReader, ByteWriter};
use crate::compress::{CompressionSettings, train_dictionary};
use crate::fuzzing::{Input, Target, edit, flips};
use crate::pointer::{BlockKind, BlockPtr, BlockSink, Codec};
use crate::{SegmentId, ZeroizingBytes};

/// The file, changed without the key: a block that opens is the one that was written.
pub const SEGMENT: Target = Target {
    name: "segment",
    run: file,
    seeds: || {
        let mut seeds = flips(&[], sample().file.len());
        seeds.extend([vec![], vec![3, 0, 2, 0], vec![7, 0, 0, 90, 30]]);
        seeds
    },
    room: 4 << 20,
};

/// Blocks, footers and entries of the manifest, sealed again after they were changed.
pub const SEGMENT_CONTENT: Target = Target {
    name: "segment_content",
    run: content,
    seeds: || {
        let dictionary = &sample().blocks[0];
        let dictionary = &sample().file[dictionary.1.offset as usize..][..40];
        vec![
            vec![0, 1, 0, 9, 200, b'x', b'y'],
            [&[0, 2, 0, 9, 200], dictionary].concat(),
            vec![1, 0, 0, 0, 60, 5],
            vec![2, 9, 0, 0, 0, 0, 0, 0, 0, 1],
        ]
    },
    room: 4 << 20,
};

/// A segment and all that is in it.
struct Sample {
    ctx: Arc<SealContext>,
    info: SegmentInfo,
    file: Vec<u8>,
    /// Each block with what it holds.
    blocks: Vec<(BlockKind, BlockPtr, Vec<u8>)>,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let (vfs, ctx) = context();
        let row =
            |number: u32| format!("{{\"number\":{number},\"name\":\"row {number}\"}}").repeat(6).into_bytes();
        let samples: Vec<Vec<u8>> = (0..100).map(row).collect();
        let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
        let dictionary = train_dictionary(&samples, 1024).map(Arc::new);
        let compression = CompressionSettings::new(true, 1, 3).expect("valid settings");
        let options = WriterOptions { dictionary, compression, ..options(SegmentKind::Base) };
        let mut writer = SegmentWriter::create(&ctx, SegmentId(1), &options).expect("a segment");
        let mut blocks = Vec::new();
        for number in 0..6 {
            let kind = [BlockKind::Leaf, BlockKind::Inner, BlockKind::Extent][number as usize % 3];
            let raw = row(number);
            blocks.push((kind, writer.append(kind, &raw).expect("appended"), raw));
        }
        let info = writer.finish().expect("finished");
        let file = read_file(&vfs, &ctx.segment_path(info.kind, info.id));
        if let Some(ptr) = info.dictionary {
            blocks.insert(
                0,
                (BlockKind::Dictionary, ptr, options.dictionary.expect("trained").bytes().to_vec()),
            );
        }
        Sample { ctx, info, file, blocks }
    })
}

/// The sample's segment with another file.
fn open(info: &SegmentInfo, bytes: &[u8]) -> crate::Result<SegmentReader> {
    let (vfs, ctx) = context();
    let path = ctx.segment_path(info.kind, info.id);
    replace_file(&vfs, &path, bytes);
    SegmentReader::open(&ctx, info, ReadMode { map: bytes.len().is_multiple_of(2) })
}

fn file(data: &[u8]) {
    let sample = sample();
    let mut bytes = sample.file.clone();
    edit(&mut bytes, &mut Input::new(data));
    let Ok(reader) = open(&sample.info, &bytes) else {
        assert_ne!(bytes, sample.file, "the segment does not open");
        return;
    };
    assert_eq!(
        reader.verify(&sample.info).is_ok(),
        bytes == sample.file,
        "changes are found, and nothing else"
    );
    for (kind, ptr, raw) in &sample.blocks {
        match reader.read(*kind, ptr) {
            Ok(read) => assert_eq!(*read, *raw, "a changed block opened"),
            Err(_) => assert_ne!(bytes, sample.file),
        }
        let elsewhere = BlockPtr { offset: ptr.offset + 1, ..*ptr };
        assert!(reader.read(*kind, &elsewhere).is_err());
    }
}

fn content(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => made_up_block(&mut input),
        1 => changed_entry(&mut input),
        _ => made_up_footer(&mut input),
    }
}

fn sealer() -> BlockSealer {
    let sample = sample();
    BlockSealer::new(&sample.ctx, &sample.info.header(&sample.ctx)).expect("its key")
}

/// A block that was sealed and never compressed by us.
fn made_up_block(input: &mut Input<'_>) {
    let sample = sample();
    let codec = Codec::from_u8(input.byte() % 5).expect("one of the five");
    let (kind, first, _) = sample.blocks.last().expect("there are blocks");
    let raw_len = input.below(1 << 20) as u32;
    let mut bytes = input.take(usize::MAX).to_vec();
    let place = BlockPtr { stored_len: bytes.len() as u32, raw_len, codec, offset: 128, ..*first };
    let ptr = sealer().seal(*kind, place, &mut bytes).expect("sealed");
    let mut file = sample.file.clone();
    file.splice(128.., bytes);
    let length = file.len() as u64 + 80;
    file.resize(length as usize, 0);
    let reader =
        open(&SegmentInfo { length, ..sample.info.clone() }, &file).expect("header and length are right");
    if let Ok(read) = reader.read(*kind, &ptr) {
        assert_eq!(read.len(), raw_len as usize);
    }
}

/// An entry of the manifest that says something else than the file.
fn changed_entry(input: &mut Input<'_>) {
    let sample = sample();
    let mut out = ByteWriter::new();
    sample.info.encode(&mut out);
    let mut bytes = out.into_vec();
    edit(&mut bytes, input);
    let Ok(info) = SegmentInfo::decode(&mut ByteReader::new(&bytes)) else { return };
    let Ok(reader) = open(&info, &sample.file) else { return };
    // When it was begun, and how much of it is alive, only the manifest knows.
    let known = |info: &SegmentInfo| SegmentInfo {
        live_bytes: 0,
        created_micros: 0,
        dictionary: None,
        ..info.clone()
    };
    assert_eq!(reader.verify(&info).is_ok(), known(&info) == known(&sample.info));
    for (kind, ptr, raw) in &sample.blocks {
        if let Ok(read) = reader.read(*kind, ptr) {
            assert_eq!(*read, *raw);
        }
    }
}

/// A footer that says something else than the file.
fn made_up_footer(input: &mut Input<'_>) {
    let sample = sample();
    let at = sample.file.len() - super::footer::FOOTER_LEN;
    let mut hasher = blake3::Hasher::new();
    let content_hash = *hasher.update(&sample.file[..at]).finalize().as_bytes();
    let (blocks, stored_bytes) = (sample.info.blocks, sample.info.stored_bytes);
    let sound = Footer { blocks, stored_bytes, content_len: at as u64, content_hash };
    let mut footer = sound;
    let what = input.byte();
    for (bit, number) in
        [&mut footer.blocks, &mut footer.stored_bytes, &mut footer.content_len].into_iter().enumerate()
    {
        if what >> bit & 1 == 1 {
            *number = input.number();
        }
    }
    let mut bytes = sample.file[..at].to_vec();
    // Sealed where it says that the content ends, which must be where it is.
    bytes.extend_from_slice(&footer.seal(&sealer()).expect("sealed"));
    let content_hash = *blake3::hash(&bytes).as_bytes();
    let info = SegmentInfo { content_hash, ..sample.info.clone() };
    let reader = open(&info, &bytes).expect("header and length are right");
    assert_eq!(reader.verify(&info).is_ok(), footer == sound);
    let _: ZeroizingBytes = reader.read(sample.blocks[0].0, &sample.blocks[0].1).expect("not touched");
}
