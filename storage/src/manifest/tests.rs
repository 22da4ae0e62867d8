use std::path::Path;
use std::sync::Arc;

use lightning_db_crypto::{DatabaseId, EpochId, KeySource, Keyring, SeededEntropy, SuiteId};

use super::*;
use crate::directory::MANIFEST_FILES;
use crate::pointer::{BlockPtr, Codec};
use crate::segment::{SegmentInfo, SegmentKind};
use crate::tree::TreeRef;
use crate::vfs::{MemVfs, OpenHow, Vfs};
use crate::wal::{WalPosition, WalSegmentInfo};
use crate::{FrameNumber, Generation, Incarnation, Salt, SegmentId, SequenceNumber, StorageError};

const DIRECTORY: &str = "/db";

struct Fixture {
    vfs: Arc<dyn Vfs>,
    memory: MemVfs,
    keyring: Keyring,
    entropy: SeededEntropy,
}

impl Fixture {
    fn new() -> Self {
        let memory = MemVfs::new();
        memory.create_dir(Path::new(DIRECTORY)).expect("new directory");
        let entropy = SeededEntropy::new(7);
        let provider = KeySource::raw([3; 32]).resolve().expect("a raw key");
        let keyring =
            Keyring::create(provider.as_deref(), DatabaseId([9; 16]), &entropy, 0).expect("keyring");
        Self { vfs: Arc::new(memory.clone()), memory, keyring, entropy }
    }

    fn commit(&self, manifest: &Manifest) {
        let mut store = ManifestStore::new(Arc::clone(&self.vfs), Path::new(DIRECTORY));
        store.commit(manifest, &self.keyring, &self.entropy).expect("commit");
    }

    fn load(&self) -> crate::Result<Manifest> {
        ManifestStore::load(&self.vfs, Path::new(DIRECTORY), &self.keyring).map(|loaded| loaded.value)
    }

    fn flip_both(&self, offset: u64, xor: u8) {
        for name in MANIFEST_FILES {
            self.memory.corrupt(&Path::new(DIRECTORY).join(name), offset, xor).expect("inside the file");
        }
    }
}

fn segment(id: u64, kind: SegmentKind) -> SegmentInfo {
    SegmentInfo {
        id: SegmentId(id),
        kind,
        incarnation: Incarnation([1; 16]),
        key_domain: 0,
        epoch: EpochId(1),
        salt: Salt([id as u8; 24]),
        length: 1000 + 208,
        content_hash: [5; 32],
        dictionary: None,
        blocks: 3,
        live_bytes: 600,
        stored_bytes: 1000,
        created_micros: -4,
    }
}

fn ptr(segment: u64) -> BlockPtr {
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

fn tree(segment: u64) -> TreeRef {
    TreeRef {
        root: Some(ptr(segment)),
        height: 1,
        entries: 5,
        tombstones: 1,
        stored_bytes: 100,
        ..TreeRef::default()
    }
}

fn run(id: u64, first: u64, last: u64) -> RunInfo {
    RunInfo {
        id,
        tree: tree(2),
        filter: vec![ptr(2)],
        first_sequence: SequenceNumber(first),
        last_sequence: SequenceNumber(last),
        last_time_micros: 77,
        tier: 0,
        segments: vec![SegmentId(2)],
        value_segments: vec![SegmentId(3)],
    }
}

fn checkpoint(keyspace: Keyspace) -> NamedCheckpoint {
    NamedCheckpoint {
        name: "before".into(),
        sequence: SequenceNumber(9),
        time_micros: 3,
        made_micros: 4,
        incarnation: Incarnation([1; 16]),
        ancestry: Vec::new(),
        keyspaces: vec![keyspace],
        segments: [1, 2].map(|id| HeldSegment { id: SegmentId(id), live_bytes: 5 }).to_vec(),
    }
}

/// One that goes on from what it has, and one that begins anew.
fn repositories(keyspace: Keyspace, segments: Vec<SegmentInfo>) -> Vec<RepositoryCursor> {
    let archived = ArchivedThrough {
        incarnation: Incarnation([1; 16]),
        frame: FrameNumber(12),
        tag: [4; 16],
        sequence: SequenceNumber(6),
        time_micros: 3,
    };
    let (sequence, keyspaces) = (SequenceNumber(6), vec![keyspace]);
    let first = RepositoryCursor {
        repository: [1; 16],
        url_hint: "/mnt/repo".into(),
        last_backup: 4,
        archived: Some(archived),
        announced: Some(ArchivedThrough { frame: FrameNumber(9), ..archived }),
        announced_trees: Some([6; 32]),
        lineage: Lineage::Version { sequence, time_micros: 1, keyspaces, segments },
    };
    let second = RepositoryCursor {
        repository: [2; 16],
        url_hint: String::new(),
        last_backup: 0,
        archived: None,
        announced: None,
        announced_trees: None,
        lineage: Lineage::Rebase,
    };
    vec![first, second]
}

fn full() -> Manifest {
    let end = WalPosition {
        segment: SegmentId(4),
        offset: 4096,
        frame: FrameNumber(17),
        tag: [6; 16],
        sequence: SequenceNumber(9),
        within_commit: false,
    };
    let log = |id, accepted_through| WalSegmentInfo {
        id: SegmentId(id),
        incarnation: Incarnation([1; 16]),
        key_domain: 0,
        epoch: EpochId(1),
        salt: Salt([2; 24]),
        boot_id: [3; 16],
        accepted_through,
        created_micros: 5,
    };
    let keyspace =
        Keyspace { base: tree(1), runs: vec![run(1, 4, 6), run(2, 7, 9)], ..Keyspace::empty_default() };
    let segments =
        vec![segment(1, SegmentKind::Base), segment(2, SegmentKind::Run), segment(3, SegmentKind::Value)];
    Manifest {
        features: Features { compatible: 1, ..Features::default() },
        generation: Generation(12),
        database: DatabaseId([9; 16]),
        incarnation: Incarnation([1; 16]),
        ancestry: vec![Fork {
            incarnation: Incarnation([0; 16]),
            sequence: SequenceNumber(3),
            time_micros: -9,
            next: SequenceNumber(4),
        }],
        created_micros: -5,
        next_segment: SegmentId(6),
        next_run: 3,
        flushed_sequence: SequenceNumber(9),
        flushed_time_micros: 44,
        log_end: Some(end),
        keyspaces: vec![keyspace.clone()],
        segments: segments.clone(),
        wal: vec![log(4, Some(end)), log(5, None)],
        checkpoints: vec![checkpoint(keyspace.clone())],
        restore_points: vec![RestorePoint {
            name: "point".into(),
            sequence: SequenceNumber(8),
            time_micros: 2,
            incarnation: Incarnation([1; 16]),
        }],
        repositories: repositories(keyspace, segments),
        retained_runs: vec![run(1, 4, 6)],
        gaps: vec![Gap {
            incarnation: Incarnation([1; 16]),
            after: SequenceNumber(2),
            through: SequenceNumber(4),
            reason: GapReason::LogDisabled,
        }],
        page_size: 4096,
        audit: Some(crate::audit::AuditHead { entries: 7, length: 1200, hash: [9; 32] }),
    }
}

#[test]
fn a_manifest_comes_back_as_it_was() {
    let fixture = Fixture::new();
    assert!(matches!(fixture.load(), Err(StorageError::NotFound { .. })));
    fixture.commit(&full());
    assert_eq!(fixture.load().expect("intact"), full());
    assert!(full().is_writable());
}

#[test]
fn plain_bytes_come_back_and_short_ones_are_refused() {
    let manifest = full();
    let (bytes, name) = (manifest.to_plain(), Path::new("a backup"));
    let again = Manifest::from_plain(name, SuiteId::Aes256Gcm, &bytes).expect("what was written");
    assert_eq!(again, manifest);
    for len in 0..bytes.len() {
        let cut = Manifest::from_plain(name, SuiteId::Aes256Gcm, &bytes[..len]);
        assert!(matches!(cut, Err(StorageError::Corrupt { .. })), "{len} bytes");
    }
    let mut newer = bytes.to_vec();
    newer[16] = 2;
    let newer = Manifest::from_plain(name, SuiteId::Aes256Gcm, &newer);
    assert!(matches!(newer, Err(StorageError::UnsupportedFormat { .. })));
}

#[test]
fn nothing_of_it_can_be_read_without_the_key() {
    let fixture = Fixture::new();
    fixture.commit(&full());
    for name in MANIFEST_FILES {
        let path = Path::new(DIRECTORY).join(name);
        let file = fixture.vfs.open(&path, OpenHow::Read).expect("open");
        let mut bytes = vec![0; file.len().expect("length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        for secret in [&b"before"[..], b"point", b"/mnt/repo", b"default"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn every_byte_flipped_in_both_copies_is_noticed() {
    let fixture = Fixture::new();
    fixture.commit(&full());
    let path = Path::new(DIRECTORY).join(MANIFEST_FILES[0]);
    for offset in 0..fixture.vfs.metadata(&path).expect("metadata").len {
        fixture.flip_both(offset, 0x10);
        let error = fixture.load().expect_err("damage");
        assert!(
            matches!(&error, StorageError::Corrupt { file, .. } if *file == path),
            "byte {offset}: {error}"
        );
        fixture.flip_both(offset, 0x10);
    }
    assert_eq!(fixture.load().expect("mended"), full());
}

/// Writes bytes with a right checksum to both copies.
fn plant(fixture: &Fixture, change: impl Fn(&mut Vec<u8>)) {
    fixture.commit(&full());
    for name in MANIFEST_FILES {
        let path = Path::new(DIRECTORY).join(name);
        let file = fixture.vfs.open(&path, OpenHow::ReadWrite).expect("open");
        let mut bytes = vec![0; file.len().expect("length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes.truncate(bytes.len() - 32);
        change(&mut bytes);
        bytes.extend_from_slice(blake3::hash(&bytes.clone()).as_bytes());
        file.set_len(0).expect("cut");
        file.write_all_at(&bytes, 0).expect("write");
    }
}

#[test]
fn a_newer_format_or_an_unknown_feature_is_named_as_such() {
    let fixture = Fixture::new();
    plant(&fixture, |bytes| bytes[8] = 2);
    assert!(matches!(fixture.load(), Err(StorageError::UnsupportedFormat { .. })));
    plant(&fixture, |bytes| bytes[32] = 2);
    assert!(matches!(fixture.load(), Err(StorageError::UnsupportedFormat { .. })));
}

#[test]
fn a_forged_clear_part_or_body_does_not_open() {
    let fixture = Fixture::new();
    for offset in [13, 16, 24, 40, 48, 64, 68, 76, 88] {
        plant(&fixture, |bytes| bytes[offset] ^= 1);
        assert!(matches!(fixture.load(), Err(StorageError::Corrupt { .. })), "byte {offset}");
    }
    plant(&fixture, |bytes| bytes.truncate(bytes.len() - 1));
    assert!(matches!(fixture.load(), Err(StorageError::Corrupt { .. })));
    plant(&fixture, |bytes| bytes.clear());
    assert!(matches!(fixture.load(), Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_manifest_of_another_database_is_refused() {
    let fixture = Fixture::new();
    let provider = KeySource::raw([3; 32]).resolve().expect("a raw key");
    let other =
        Keyring::create(provider.as_deref(), DatabaseId([8; 16]), &fixture.entropy, 0).expect("keyring");
    fixture.commit(&full());
    let loaded = ManifestStore::load(&fixture.vfs, Path::new(DIRECTORY), &other);
    assert!(matches!(loaded, Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_manifest_that_went_missing_beside_segments_is_damage() {
    let fixture = Fixture::new();
    let path = Path::new(DIRECTORY).join("0000000000000001.base");
    fixture.vfs.open(&path, OpenHow::CreateNew).expect("create");
    assert!(matches!(fixture.load(), Err(StorageError::Corrupt { .. })));
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let spoilers: [fn(&mut Manifest); 14] = [
        |m| m.keyspaces.clear(),
        |m| m.keyspaces[0].runs.swap(0, 1),
        |m| m.keyspaces[0].runs[1].id = 1,
        |m| m.keyspaces[0].runs[0].segments.push(SegmentId(99)),
        |m| m.keyspaces[0].base.root = Some(ptr(99)),
        |m| m.next_segment = SegmentId(5),
        |m| m.next_run = 2,
        |m| m.segments[0].id = SegmentId(2),
        |m| m.segments[0].id = SegmentId(4),
        |m| m.wal.swap(0, 1),
        |m| m.flushed_sequence = SequenceNumber(8),
        |m| m.checkpoints.push(m.checkpoints[0].clone()),
        |m| m.gaps[0].through = SequenceNumber(2),
        |m| m.page_size = 5000,
    ];
    for (index, spoil) in spoilers.iter().enumerate() {
        let mut manifest = full();
        spoil(&mut manifest);
        assert!(super::check::check(&manifest).is_err(), "spoiler {index}");
    }
    assert_eq!(super::check::check(&full()), Ok(()));
}

#[test]
fn an_older_keyring_in_the_place_of_the_right_one_is_refused() {
    let mut fixture = Fixture::new();
    fixture.commit(&full());
    let lagging = Path::new(DIRECTORY).join("kept");
    fixture.vfs.hard_link(&Path::new(DIRECTORY).join(MANIFEST_FILES[0]), &lagging).expect("link");
    let older = fixture.keyring.duplicate();
    fixture.keyring.start_epoch(&fixture.entropy, 1).expect("an epoch");
    fixture.commit(&Manifest { generation: Generation(41), ..full() });
    assert_eq!(fixture.load().expect("the right one").generation, Generation(41));
    let refused = |keyring: &Keyring| {
        let loaded = ManifestStore::load(&fixture.vfs, Path::new(DIRECTORY), keyring);
        matches!(loaded, Err(StorageError::Corrupt { .. }))
    };
    assert!(refused(&older), "it lacks the epoch");

    let older = fixture.keyring.duplicate();
    let provider = KeySource::raw([4; 32]).resolve().expect("a raw key").expect("a key");
    fixture.keyring.add_slot(&*provider, "second", &fixture.entropy, 2).expect("a slot");
    fixture.commit(&Manifest { generation: Generation(42), ..full() });
    let loaded = ManifestStore::load(&fixture.vfs, Path::new(DIRECTORY), &older);
    let keyring = Path::new(DIRECTORY).join("KEYRING");
    assert!(matches!(&loaded, Err(StorageError::Corrupt { file, .. }) if *file == keyring), "{loaded:?}");
    fixture.vfs.rename(&lagging, &Path::new(DIRECTORY).join(MANIFEST_FILES[0])).expect("rename");
    let loaded = ManifestStore::load(&fixture.vfs, Path::new(DIRECTORY), &older);
    assert!(matches!(&loaded, Err(StorageError::Corrupt { file, .. }) if *file == keyring), "{loaded:?}");
}
