//! Records from bytes that nobody, or a holder of the key, made up.

use std::sync::OnceLock;

use lightning_db_crypto::{EpochId, KeySource, SeededEntropy};
use lightning_db_storage::manifest::{Features, Keyspace};
use lightning_db_storage::{Generation, Salt};

use super::*;
use crate::fuzzing::{Input, Target, edit, flips};

/// The object, changed without the key: it never counts. Its checksum is made to fit.
pub const RECORD: Target = Target {
    name: "record",
    run: object,
    seeds: || {
        let mut seeds = flips(&[0], sample().1.len() - 32);
        seeds.extend([vec![0], [vec![1], sample().1.clone()].concat(), [vec![1], deletion()].concat()]);
        seeds
    },
    room: 1 << 20,
};

/// The clear part and the sealed one, made up and signed by who has the key: what is accepted is written again as the same
/// bytes.
pub const RECORD_CONTENT: Target = Target {
    name: "record_content",
    run: content,
    seeds: || {
        let clear = codec::clear(&sample().0);
        let sealed = version().to_plain();
        vec![
            [&[0], &clear[..]].concat(),
            [&[1], &sealed[..]].concat(),
            [&[0], &codec::clear(&deleted())[..]].concat(),
        ]
    },
    room: 1 << 20,
};

const PLACE: &str = "a place";

fn decode(bytes: &[u8]) -> Result<Record> {
    Record::decode(PLACE, "manifests/12", bytes)
}

fn with_checksum(content: &[u8]) -> Vec<u8> {
    [content, blake3::hash(content).as_bytes()].concat()
}

fn object(data: &[u8]) {
    let (record, stored) = sample();
    let mut input = Input::new(data);
    let bytes = if input.byte() & 1 == 0 {
        let mut content = stored[..stored.len() - 32].to_vec();
        edit(&mut content, &mut input);
        with_checksum(&content)
    } else {
        with_checksum(input.rest())
    };
    let Ok(read) = decode(&bytes) else {
        assert_ne!(&bytes, stored, "the record is refused");
        return;
    };
    match (&read.body, read.signer) {
        (RecordBody::Deletion { .. }, None) => assert_eq!(read.encode_deletion(None), bytes),
        (_, Some(signer)) if signer == keyring().public_key() => {
            assert_eq!((&read, &bytes), (record, stored))
        }
        (_, signer) => assert!(signer.is_some(), "a backup that nobody signed"),
    }
}

fn content(data: &[u8]) {
    let mut input = Input::new(data);
    let keyring = keyring();
    if input.byte() & 1 == 0 {
        let clear = input.rest();
        let Ok(mut record) = codec::take_whole_record(clear) else { return };
        assert_eq!(codec::clear(&record), clear, "a record has two encodings");
        record.signer = Some(keyring.public_key());
        if record.backup().is_none() {
            assert_eq!(decode(&record.encode_deletion(Some(keyring))).ok(), Some(record));
            return;
        }
        let (sealed, bytes) =
            record.seal_backup(&version(), keyring, &SeededEntropy::new(5)).expect("sealed");
        let read = decode(&bytes).expect("what was just signed");
        assert_eq!(read, sealed);
        // The sealed part agrees with the clear one, or the record does not open.
        let opened = read.open(PLACE, keyring).ok().flatten();
        assert!(opened.is_none_or(|opened| opened == version()));
    } else {
        let plain = input.rest();
        let Ok(version) = Manifest::from_plain(std::path::Path::new(PLACE), keyring.suite_id(), plain) else {
            return;
        };
        let version = Manifest { database: keyring.database_id(), ..version };
        let (record, bytes) = record_of(&version);
        let read = decode(&bytes).expect("what was just signed");
        assert_eq!(read, record);
        assert_eq!(read.open(PLACE, keyring).expect("what was just sealed"), Some(version));
    }
}

fn keyring() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(|| {
        let provider = KeySource::raw([1; 32]).resolve().expect("a raw key");
        let entropy = SeededEntropy::new(1);
        Keyring::create(provider.as_deref(), DatabaseId([1; 16]), &entropy, 0).expect("a keyring")
    })
}

/// A record with something of everything, and its object.
pub(crate) fn sample() -> &'static (Record, Vec<u8>) {
    static SAMPLE: OnceLock<(Record, Vec<u8>)> = OnceLock::new();
    SAMPLE.get_or_init(|| record_of(&version()))
}

fn record_of(version: &Manifest) -> (Record, Vec<u8>) {
    let object = KeyringObject { generation: 1, hash: [4; 32], length: 300 };
    let log = vec![piece(1, 10), piece(11, 20)];
    let last = (SequenceNumber(300), 99);
    let backup = BackupManifest::new(version, keyring().suite_id(), last, object, log, 0);
    let record = Record {
        repository: RepositoryId([8; 16]),
        number: 12,
        previous: Some(PreviousRecord { number: 11, hash: [5; 32] }),
        created_micros: 1_000,
        body: RecordBody::Backup(Box::new(backup)),
        signer: None,
    };
    record.seal_backup(version, keyring(), &SeededEntropy::new(3)).expect("sealed")
}

fn deleted() -> Record {
    let body = RecordBody::Deletion { backup: 1 };
    Record {
        repository: RepositoryId([8; 16]),
        number: 1,
        previous: None,
        created_micros: 5,
        body,
        signer: None,
    }
}

/// The object of a deletion that nobody signed, number 1 of its repository.
pub(crate) fn deletion() -> Vec<u8> {
    deleted().encode_deletion(None)
}

fn piece(first: u64, last: u64) -> LogPiece {
    let segment = WalSegmentInfo {
        id: SegmentId(5),
        incarnation: Incarnation([2; 16]),
        key_domain: 0,
        epoch: EpochId(1),
        salt: Salt([6; 24]),
        boot_id: [7; 16],
        accepted_through: None,
        created_micros: 8,
    };
    let end = WalPosition {
        segment: SegmentId(5),
        offset: 256,
        frame: FrameNumber(last),
        tag: [10; 16],
        sequence: SequenceNumber(last),
        within_commit: false,
    };
    let (first_frame, sequences) = (FrameNumber(first), Some((SequenceNumber(first), SequenceNumber(last))));
    let (previous_tag, times) = ([9; 16], Some((-1, 1)));
    LogPiece {
        segment,
        start: 128,
        first_frame,
        previous_tag,
        end,
        sequences,
        times,
        hash: [11; 32],
        length: 400,
    }
}

fn version() -> Manifest {
    let (incarnation, sequence) = (Incarnation([3; 16]), SequenceNumber(4));
    Manifest {
        features: Features::default(),
        generation: Generation(7),
        database: DatabaseId([1; 16]),
        incarnation: Incarnation([2; 16]),
        ancestry: vec![Fork { incarnation, sequence, time_micros: -5, next: SequenceNumber(6) }],
        created_micros: 1,
        next_segment: SegmentId(9),
        next_run: 3,
        flushed_sequence: SequenceNumber(20),
        flushed_time_micros: 77,
        log_end: None,
        keyspaces: vec![Keyspace::empty_default()],
        segments: Vec::new(),
        wal: Vec::new(),
        checkpoints: Vec::new(),
        restore_points: Vec::new(),
        repositories: Vec::new(),
        retained_runs: Vec::new(),
        audit: None,
        gaps: Vec::new(),
        page_size: 4096,
    }
}
