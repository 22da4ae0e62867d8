//! Records as bytes: they come back as they were, and whoever changes one is found out.

use lightning_db_crypto::{KeySource, SeededEntropy};
use lightning_db_storage::Generation;
use lightning_db_storage::manifest::{Features, Keyspace};

use super::*;
use crate::BackupError;
use crate::catalog::{Catalog, Entry};

const PLACE: &str = "a place";

fn keyring(byte: u8) -> Keyring {
    let provider = KeySource::raw([byte; 32]).resolve().expect("a raw key");
    let entropy = SeededEntropy::new(u64::from(byte));
    Keyring::create(provider.as_deref(), DatabaseId([1; 16]), &entropy, 0).expect("a keyring")
}

fn version() -> Manifest {
    Manifest {
        features: Features::default(),
        generation: Generation(7),
        database: DatabaseId([1; 16]),
        incarnation: Incarnation([2; 16]),
        ancestry: vec![Fork {
            incarnation: Incarnation([3; 16]),
            sequence: SequenceNumber(4),
            time_micros: -5,
            next: SequenceNumber(6),
        }],
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

fn piece(first: u64, last: u64) -> LogPiece {
    let segment = WalSegmentInfo {
        id: SegmentId(5),
        incarnation: Incarnation([2; 16]),
        key_domain: 0,
        epoch: lightning_db_crypto::EpochId(1),
        salt: lightning_db_storage::Salt([6; 24]),
        boot_id: [7; 16],
        accepted_through: None,
        created_micros: 8,
    };
    LogPiece {
        segment,
        start: 128,
        first_frame: FrameNumber(first),
        previous_tag: [9; 16],
        end: WalPosition {
            segment: SegmentId(5),
            offset: 256,
            frame: FrameNumber(last),
            tag: [10; 16],
            sequence: SequenceNumber(last),
            within_commit: false,
        },
        sequences: Some((SequenceNumber(first), SequenceNumber(last))),
        times: Some((-1, 1)),
        hash: [11; 32],
        length: 400,
    }
}

fn sealed(keyring: &Keyring) -> (Record, Vec<u8>) {
    let object = KeyringObject { generation: 1, hash: [4; 32], length: 300 };
    let log = (0..30).map(|at| piece(at * 10 + 1, at * 10 + 10)).collect();
    let backup =
        BackupManifest::new(&version(), keyring.suite_id(), (SequenceNumber(300), 99), object, log, 0);
    let record = Record {
        repository: RepositoryId([8; 16]),
        number: 12,
        previous: Some(PreviousRecord { number: 11, hash: [5; 32] }),
        created_micros: 1_000,
        body: RecordBody::Backup(Box::new(backup)),
        signer: None,
    };
    record.seal_backup(&version(), keyring, &SeededEntropy::new(3)).expect("sealed")
}

fn decode(bytes: &[u8]) -> Result<Record> {
    Record::decode(PLACE, "manifests/12", bytes)
}

/// `bytes` with the checksum that fits them.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let content = bytes.len() - 32;
    let checksum = blake3::hash(&bytes[..content]);
    bytes[content..].copy_from_slice(checksum.as_bytes());
    bytes
}

#[test]
fn a_backup_comes_back_as_it_was_and_opens_with_its_key_only() {
    let own = keyring(1);
    let (record, bytes) = sealed(&own);
    let read = decode(&bytes).expect("sound");
    assert_eq!(read, record);
    assert_eq!(read.signer, Some(own.public_key()));
    assert_eq!(read.open(PLACE, &own).expect("opened"), Some(version()));
    assert!(read.open(PLACE, &keyring(2)).is_err());
}

#[test]
fn a_changed_record_is_refused_even_with_the_right_checksum() {
    let (_, bytes) = sealed(&keyring(1));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(decode(&flipped).is_err(), "byte {at} without a checksum");
        if at < bytes.len() - 32 {
            assert!(decode(&with_checksum(flipped)).is_err(), "byte {at} with a checksum");
        }
        assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        if at >= 32 {
            assert!(decode(&with_checksum(bytes[..at].to_vec())).is_err(), "cut at {at} with a checksum");
        }
    }
}

#[test]
fn a_backup_needs_a_signature_and_its_sealed_part_belongs_to_its_clear_part() {
    let own = keyring(1);
    let (record, bytes) = sealed(&own);
    let mut unsigned = bytes[..bytes.len() - 32 - 97].to_vec();
    unsigned.extend_from_slice(&[0; 33]);
    assert!(matches!(decode(&with_checksum(unsigned)), Err(BackupError::Damaged { .. })));

    let mut moved = record;
    moved.number = 13;
    assert!(matches!(moved.open(PLACE, &own), Err(BackupError::Damaged { .. })));
}

#[test]
fn a_deletion_may_be_signed_or_not_and_says_which() {
    let own = keyring(1);
    let deletion = |signer| Record {
        repository: RepositoryId([8; 16]),
        number: 3,
        previous: None,
        created_micros: 0,
        body: RecordBody::Deletion { backup: 2 },
        signer,
    };
    let record = deletion(None);
    assert_eq!(decode(&record.encode_deletion(None)).expect("sound"), record);
    let signed = decode(&record.encode_deletion(Some(&own))).expect("sound");
    assert_eq!(signed, deletion(Some(own.public_key())));
    assert_eq!(signed.open(PLACE, &own).expect("nothing in it"), None);
}

#[test]
fn a_catalog_does_not_keep_what_is_large_in_the_records_of_deleted_backups() {
    let own = keyring(1);
    let backup = |number| {
        let (mut record, _) = sealed(&own);
        record.number = number;
        let RecordBody::Backup(backup) = &mut record.body else { unreachable!("a backup was sealed") };
        let (id, kind) = (SegmentId(number), SegmentKind::Base);
        backup.segments.push(SegmentObject { id, kind, hash: [1; 32], length: 4096 });
        (number, Entry { record, hash: [0; 32] })
    };
    let deletion = |number, backup| {
        let (mut record, _) = sealed(&own);
        (record.number, record.body) = (number, RecordBody::Deletion { backup });
        (number, Entry { record, hash: [0; 32] })
    };
    // However the records are listed.
    let records = || [backup(1), backup(2), deletion(3, 1), backup(4), deletion(5, 4)];
    for in_order in [true, false] {
        let mut catalog = Catalog::new(PLACE.into());
        let mut records: Vec<_> = records().into();
        if !in_order {
            records.reverse();
        }
        for (number, entry) in records {
            catalog.insert(number, entry);
        }
        let kept: Vec<_> = catalog.all_backups().collect();
        assert_eq!(kept.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(
            kept.iter().map(|(_, backup)| backup.sealed.is_empty()).collect::<Vec<_>>(),
            [true, false, true]
        );
        // The newest backup tells whether the database is the one that it was made from.
        assert_eq!(
            kept.iter().map(|(_, backup)| backup.segments.is_empty()).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(kept.iter().all(|(_, backup)| *backup.ancestry == *version().ancestry));
        let is_shared = Arc::ptr_eq(&kept[0].1.ancestry, &kept[1].1.ancestry);
        assert_eq!(is_shared && Arc::ptr_eq(&kept[1].1.ancestry, &kept[2].1.ancestry), in_order);
    }
}
