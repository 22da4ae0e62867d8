//! Manifests from bytes that nobody, or a holder of the key, made up.

use std::path::Path;
use std::sync::OnceLock;

use lightning_db_crypto::{DatabaseId, KeySource, Keyring, SeededEntropy, SuiteId};

use super::codec::{CHECKSUM_LEN, from_bytes, to_bytes};
use super::{
    ArchivedThrough, Features, Fork, Gap, GapReason, HeldSegment, Keyspace, Lineage, Manifest,
    NamedCheckpoint, RepositoryCursor, RestorePoint, RunInfo,
};
use crate::fuzzing::structures::{log_segment, pointer, position, segment, tree_of};
use crate::fuzzing::{Input, Target, edit, flips};
use crate::segment::SegmentKind;
use crate::{FrameNumber, Generation, Incarnation, SegmentId, SequenceNumber};

/// The file, changed without the key: it never opens. Its checksum is made to fit.
pub const MANIFEST: Target = Target {
    name: "manifest",
    run: file,
    seeds: || {
        let mut seeds = flips(&[0], sealed().1.len() - CHECKSUM_LEN);
        seeds.extend([vec![0], [vec![1], sealed().1.clone()].concat()]);
        seeds
    },
    room: 1 << 20,
};

/// What is sealed, written by who has the key: what is accepted is written again as the same bytes.
pub const MANIFEST_BODY: Target = Target {
    name: "manifest_body",
    run: body,
    seeds: || {
        let mut small = sample();
        small.checkpoints.clear();
        small.repositories.clear();
        vec![sample().to_plain().to_vec(), small.to_plain().to_vec()]
    },
    room: 1 << 20,
};

fn file(data: &[u8]) {
    let (keyring, sealed) = sealed();
    let mut input = Input::new(data);
    let bytes = if input.byte() & 1 == 0 {
        let mut content = sealed[..sealed.len() - CHECKSUM_LEN].to_vec();
        edit(&mut content, &mut input);
        with_checksum(&content)
    } else {
        with_checksum(input.rest())
    };
    match from_bytes(Path::new("MANIFEST"), &bytes, keyring) {
        Ok((manifest, _)) => {
            assert_eq!(&bytes, sealed, "a changed manifest opened");
            assert_eq!(manifest, sample());
        }
        Err(_) => assert_ne!(&bytes, sealed, "the manifest does not open"),
    }
}

fn body(data: &[u8]) {
    let name = Path::new("MANIFEST");
    let Ok(manifest) = Manifest::from_plain(name, SuiteId::Aes256Gcm, data) else { return };
    assert_eq!(*manifest.to_plain(), data, "a manifest has two encodings");
    let (keyring, _) = sealed();
    let manifest = Manifest { database: keyring.database_id(), ..manifest };
    let bytes = to_bytes(&manifest, keyring, &SeededEntropy::new(2)).expect("sealed");
    let (again, generation) = from_bytes(name, &bytes, keyring).expect("what was just sealed");
    assert_eq!((again, generation), (manifest, keyring.generation()));
}

fn with_checksum(content: &[u8]) -> Vec<u8> {
    [content, blake3::hash(content).as_bytes()].concat()
}

/// A keyring, and the manifest that it sealed.
fn sealed() -> &'static (Keyring, Vec<u8>) {
    static SEALED: OnceLock<(Keyring, Vec<u8>)> = OnceLock::new();
    SEALED.get_or_init(|| {
        let entropy = SeededEntropy::new(1);
        let provider = KeySource::raw([3; 32]).resolve().expect("a raw key");
        let keyring = Keyring::create(provider.as_deref(), DATABASE, &entropy, 0).expect("a keyring");
        let bytes = to_bytes(&sample(), &keyring, &entropy).expect("sealed");
        (keyring, bytes)
    })
}

const DATABASE: DatabaseId = DatabaseId([9; 16]);

/// A manifest that has something of everything.
fn sample() -> Manifest {
    let incarnation = Incarnation([1; 16]);
    let sequence = SequenceNumber;
    let run = |id, first, last| RunInfo {
        id,
        tree: tree_of(2),
        filter: vec![pointer(2)],
        first_sequence: sequence(first),
        last_sequence: sequence(last),
        last_time_micros: 77,
        tier: 1,
        segments: vec![SegmentId(2)],
        value_segments: vec![SegmentId(3)],
    };
    let runs = vec![run(1, 3, 5), run(2, 6, 9)];
    let keyspace = Keyspace { base: tree_of(1), runs, ..Keyspace::empty_default() };
    let fork =
        Fork { incarnation: Incarnation([2; 16]), sequence: sequence(2), time_micros: 5, next: sequence(3) };
    let segments =
        vec![segment(1, SegmentKind::Base), segment(2, SegmentKind::Run), segment(3, SegmentKind::Value)];
    let checkpoint = NamedCheckpoint {
        name: "before".into(),
        sequence: sequence(9),
        time_micros: 3,
        made_micros: 4,
        incarnation,
        ancestry: vec![fork],
        keyspaces: vec![keyspace.clone()],
        segments: segments.iter().map(HeldSegment::from).collect(),
    };
    let archived = ArchivedThrough {
        incarnation,
        frame: FrameNumber(8),
        tag: [6; 16],
        sequence: sequence(7),
        time_micros: 70,
    };
    let lineage = Lineage::Version {
        sequence: sequence(9),
        time_micros: 1,
        keyspaces: vec![keyspace.clone()],
        segments: segments.clone(),
    };
    let repository = RepositoryCursor {
        repository: [7; 16],
        url_hint: "/a/place".into(),
        last_backup: 3,
        archived: Some(archived),
        announced: Some(ArchivedThrough { frame: FrameNumber(9), ..archived }),
        announced_trees: Some([6; 32]),
        lineage,
    };
    let (name, time_micros) = ("point".into(), 60);
    Manifest {
        features: Features { compatible: 1, ..Features::default() },
        generation: Generation(12),
        database: DATABASE,
        incarnation,
        ancestry: vec![fork],
        created_micros: 1,
        next_segment: SegmentId(20),
        next_run: 9,
        flushed_sequence: sequence(9),
        flushed_time_micros: 77,
        log_end: Some(position(4)),
        keyspaces: vec![keyspace],
        segments,
        wal: vec![log_segment(5, Some(position(5))), log_segment(6, None)],
        checkpoints: vec![checkpoint],
        restore_points: vec![RestorePoint { name, sequence: sequence(8), time_micros, incarnation }],
        repositories: vec![repository],
        retained_runs: vec![run(4, 1, 2)],
        gaps: vec![Gap {
            incarnation,
            after: sequence(1),
            through: sequence(2),
            reason: GapReason::LogDropped,
        }],
        page_size: 4096,
        audit: None,
    }
}
