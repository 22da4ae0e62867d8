//! Whatever is done to the files or to the pointers: an error, or the right bytes.

use super::*;

/// Three blocks of one length, and one compressed.
fn blocks() -> Vec<Vec<u8>> {
    vec![
        b"alpha: nothing but the truth".to_vec(),
        b"beta : nothing but the truth".to_vec(),
        rows(1),
        vec![5; 28],
    ]
}

struct Fixture {
    vfs: MemVfs,
    ctx: Arc<SealContext>,
    info: SegmentInfo,
    ptrs: Vec<BlockPtr>,
    path: PathBuf,
    bytes: Vec<u8>,
}

fn fixture(encrypted: bool) -> Fixture {
    let vfs = MemVfs::new();
    let ctx = Arc::new(context_in(Arc::new(vfs.clone()), "/db", 1, encrypted));
    let compression = CompressionSettings::new(true, 2, 3).expect("valid");
    let (info, ptrs) =
        written(&ctx, 1, &WriterOptions { compression, ..options(SegmentKind::Base) }, &blocks());
    let path = ctx.segment_path(info.kind, info.id);
    let bytes = read_file(&vfs, &path);
    Fixture { vfs, ctx, info, ptrs, path, bytes }
}

impl Fixture {
    /// How many blocks still come back; panics when one comes back wrong.
    fn survivors(&self, mode: ReadMode) -> usize {
        let Ok(reader) = SegmentReader::open(&self.ctx, &self.info, mode) else { return 0 };
        let read = |(ptr, raw): (&BlockPtr, Vec<u8>)| match reader.read(BlockKind::Leaf, ptr) {
            Ok(found) => {
                assert_eq!(*found, raw, "wrong bytes were believed");
                1
            }
            Err(StorageError::Corrupt { file, offset, .. }) => {
                assert_eq!((file, offset), (self.path.clone(), ptr.offset));
                0
            }
            Err(other) => panic!("{other}"),
        };
        self.ptrs.iter().zip(blocks()).map(read).sum()
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for encrypted in [true, false] {
        let fixture = fixture(encrypted);
        let blocks_end = fixture.bytes.len() as u64 - 80;
        for at in 0..fixture.bytes.len() as u64 {
            fixture.vfs.corrupt(&fixture.path, at, 1 << (at % 8)).expect("flipped");
            let expected = match at {
                0..128 => 0,
                at if at < blocks_end => 3,
                _ => 4,
            };
            assert_eq!(fixture.survivors(READ), expected, "byte {at}");
            assert_eq!(fixture.survivors(MAP), expected, "byte {at}");
            if let Ok(reader) = SegmentReader::open(&fixture.ctx, &fixture.info, READ) {
                assert!(is_corrupt(&reader.verify(&fixture.info)), "byte {at}");
            }
            fixture.vfs.corrupt(&fixture.path, at, 1 << (at % 8)).expect("flipped back");
        }
        assert_eq!(fixture.survivors(READ), 4);
    }
}

#[test]
fn a_footer_is_checked_even_when_its_hash_is_recorded() {
    let fixture = fixture(true);
    for at in fixture.info.length - 80..fixture.info.length {
        fixture.vfs.corrupt(&fixture.path, at, 4).expect("flipped");
        let file = fixture.vfs.open(&fixture.path, crate::vfs::OpenHow::Read).expect("opens");
        let content_hash = hash_file(&*file, &fixture.path, fixture.info.length).expect("hashed");
        let info = SegmentInfo { content_hash, ..fixture.info.clone() };
        let reader = SegmentReader::open(&fixture.ctx, &info, READ).expect("opens");
        assert!(is_corrupt(&reader.verify(&info)), "byte {at}");
        fixture.vfs.corrupt(&fixture.path, at, 4).expect("flipped back");
    }
    let reader = SegmentReader::open(&fixture.ctx, &fixture.info, READ).expect("opens");
    let miscounted = SegmentInfo { blocks: 5, ..fixture.info.clone() };
    assert!(is_corrupt(&reader.verify(&miscounted)));
}

#[test]
fn swapped_blocks_do_not_open() {
    for encrypted in [true, false] {
        let fixture = fixture(encrypted);
        let mut bytes = fixture.bytes.clone();
        let (first, second) = (fixture.ptrs[0].offset as usize, fixture.ptrs[1].offset as usize);
        let (left, right) = bytes.split_at_mut(second);
        left[first..first + 28].swap_with_slice(&mut right[..28]);
        replace_file(&fixture.vfs, &fixture.path, &bytes);
        assert_eq!(fixture.survivors(READ), 2);
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    let fixture = fixture(true);
    for len in 0..fixture.bytes.len() {
        replace_file(&fixture.vfs, &fixture.path, &fixture.bytes[..len]);
        match SegmentReader::open(&fixture.ctx, &fixture.info, READ) {
            Err(StorageError::Corrupt { file, offset, .. }) => {
                assert_eq!((file, offset), (fixture.path.clone(), len as u64))
            }
            other => panic!("{len} bytes: {other:?}"),
        }
    }
    replace_file(&fixture.vfs, &fixture.path, &[&fixture.bytes[..], &[0]].concat());
    assert!(is_corrupt(&SegmentReader::open(&fixture.ctx, &fixture.info, READ)));
    fixture.vfs.remove_file(&fixture.path).expect("removed");
    assert!(matches!(
        SegmentReader::open(&fixture.ctx, &fixture.info, READ),
        Err(StorageError::Corrupt { file, .. }) if file == fixture.path
    ));
}

#[test]
fn a_pointer_that_differs_in_anything_does_not_open() {
    for encrypted in [true, false] {
        let fixture = fixture(encrypted);
        let reader = SegmentReader::open(&fixture.ctx, &fixture.info, READ).expect("opens");
        let good = fixture.ptrs[2];
        assert_eq!(good.codec, Codec::Lz4);
        for bad in [
            BlockPtr { segment: SegmentId(2), ..good },
            BlockPtr { offset: good.offset - 1, ..good },
            BlockPtr { offset: good.offset + 1, ..good },
            BlockPtr { offset: 0, ..good },
            BlockPtr { offset: u64::MAX - 5, ..good },
            BlockPtr { stored_len: good.stored_len - 1, ..good },
            BlockPtr { stored_len: good.stored_len + 1, ..good },
            BlockPtr { stored_len: 0, ..good },
            BlockPtr { raw_len: good.raw_len + 1, ..good },
            BlockPtr { raw_len: u32::MAX, ..good },
            BlockPtr { codec: Codec::Snappy, ..good },
            BlockPtr { codec: Codec::ZstdDict, ..good },
            BlockPtr { birth: Generation(6), ..good },
            BlockPtr { tag: fixture.ptrs[0].tag, ..good },
        ] {
            assert!(is_corrupt(&reader.read(BlockKind::Leaf, &bad)), "{bad:?}");
        }
        assert!(is_corrupt(&reader.read(BlockKind::Inner, &good)), "another kind of block");
        reader.read(BlockKind::Leaf, &good).expect("opens");
    }
}

#[test]
fn a_manifest_entry_that_differs_does_not_open_the_file() {
    let fixture = fixture(true);
    let good = &fixture.info;
    fixture.ctx.keyring.write().start_epoch(&*fixture.ctx.entropy, 0).expect("a second epoch");
    for bad in [
        SegmentInfo { salt: Salt([1; 24]), ..good.clone() },
        SegmentInfo { incarnation: Incarnation([1; 16]), ..good.clone() },
        SegmentInfo { epoch: EpochId(2), ..good.clone() },
        SegmentInfo { key_domain: 1, ..good.clone() },
    ] {
        assert!(is_corrupt(&SegmentReader::open(&fixture.ctx, &bad, READ)), "{bad:?}");
    }
    let destroyed = SegmentInfo { epoch: EpochId(3), ..good.clone() };
    assert!(SegmentReader::open(&fixture.ctx, &destroyed, READ).is_err(), "an epoch without a key");
}

#[test]
fn a_segment_of_another_database_is_refused_even_behind_the_right_header() {
    let fixture = fixture(true);
    let other = Arc::new(context_in(Arc::new(fixture.vfs.clone()), "/other", 2, true));
    let compression = CompressionSettings::new(true, 2, 3).expect("valid");
    let (info, _) =
        written(&other, 1, &WriterOptions { compression, ..options(SegmentKind::Base) }, &blocks());
    let mut foreign = read_file(&fixture.vfs, &other.segment_path(info.kind, info.id));
    assert_eq!(foreign.len(), fixture.bytes.len());
    replace_file(&fixture.vfs, &fixture.path, &foreign);
    let refused = SegmentReader::open(&fixture.ctx, &fixture.info, READ).expect_err("foreign").to_string();
    assert!(refused.contains("another database"), "{refused}");
    foreign[..HEADER_LEN].copy_from_slice(&fixture.bytes[..HEADER_LEN]);
    replace_file(&fixture.vfs, &fixture.path, &foreign);
    assert_eq!(fixture.survivors(READ), 0);
}

#[test]
fn an_older_segment_of_one_number_is_refused() {
    let fixture = fixture(true);
    fixture.vfs.remove_file(&fixture.path).expect("removed");
    let (newer, _) = written(&fixture.ctx, 1, &options(SegmentKind::Base), &blocks());
    replace_file(&fixture.vfs, &fixture.path, &fixture.bytes);
    let same_len = SegmentInfo { length: fixture.info.length, ..newer };
    assert!(is_corrupt(&SegmentReader::open(&fixture.ctx, &same_len, READ)));
}

#[test]
fn a_later_format_is_told_from_damage() {
    let fixture = fixture(true);
    let mut bytes = fixture.bytes.clone();
    bytes[8] = 2;
    replace_file(&fixture.vfs, &fixture.path, &bytes);
    assert!(is_corrupt(&SegmentReader::open(&fixture.ctx, &fixture.info, READ)));
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..120]);
    bytes[120..128].copy_from_slice(&checksum.to_le_bytes());
    replace_file(&fixture.vfs, &fixture.path, &bytes);
    assert!(matches!(
        SegmentReader::open(&fixture.ctx, &fixture.info, READ),
        Err(StorageError::UnsupportedFormat { .. })
    ));
}
