//! Parts of a log: begun, followed, and gone in the end.

use std::path::Path;

use lightning_db_crypto::{DatabaseId, KeySource, Keyring, SeededEntropy};

use super::*;
use crate::vfs::MemVfs;

const DIRECTORY: &str = "/db";
const SMALL: Limits = Limits { part_len: 700, parts: 3 };

struct Fixture {
    vfs: MemVfs,
    keyring: Keyring,
    entropy: SeededEntropy,
}

impl Fixture {
    fn new() -> Self {
        let vfs = MemVfs::new();
        vfs.create_dir(Path::new(DIRECTORY)).expect("new directory");
        let entropy = SeededEntropy::new(7);
        let provider = KeySource::raw([3; 32]).resolve().expect("a raw key");
        let keyring =
            Keyring::create(provider.as_deref(), DatabaseId([9; 16]), &entropy, 0).expect("keyring");
        Self { vfs, keyring, entropy }
    }

    fn writer(&self, expected: Option<AuditHead>) -> AuditWriter {
        let log = look(&self.vfs, Path::new(DIRECTORY), &self.keyring, expected).expect("looked");
        assert_eq!(log.problem, None);
        let id = self.keyring.database_id();
        let writer = AuditWriter::go_on(&self.vfs, Path::new(DIRECTORY), id, &log).expect("goes on");
        AuditWriter { limits: SMALL, ..writer }
    }

    /// Appends entries; the times are their numbers.
    fn append(&self, writer: &mut AuditWriter, count: u64) -> AuditHead {
        let mut head = writer.head;
        for _ in 0..count {
            let record = AuditRecord {
                time_micros: writer.head.entries as i64 + 1,
                event: AuditEvent::Opened,
                slot: None,
                epoch: None,
                missed: 0,
                detail: String::new(),
            };
            head = writer.append(&self.vfs, &self.keyring, &self.entropy, &record).expect("appended");
        }
        head
    }

    fn read(&self, expected: Option<AuditHead>) -> AuditLog {
        let directory = Path::new(DIRECTORY);
        let log = read(&self.vfs, directory, &self.keyring, expected).expect("read");
        let seen = look(&self.vfs, directory, &self.keyring, expected).expect("looked");
        if log.problem.is_none() {
            let end = |log: &AuditLog| (log.head, log.part, log.trailing, log.leftovers.clone());
            assert_eq!((end(&log), None), (end(&seen), seen.problem));
        }
        log
    }

    fn parts(&self) -> Vec<u32> {
        parts::list(&self.vfs, Path::new(DIRECTORY)).expect("listed")
    }

    fn put(&self, part: u32, bytes: &[u8]) {
        parts::begin(&self.vfs, Path::new(DIRECTORY), part, bytes).expect("put");
    }

    fn content(&self, part: u32) -> Vec<u8> {
        parts::content(&self.vfs, Path::new(DIRECTORY), part).expect("there")
    }
}

fn numbers(log: &AuditLog) -> Vec<i64> {
    log.records.iter().flatten().map(|record| record.time_micros).collect()
}

#[test]
fn the_oldest_parts_go_and_the_rest_is_whole() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer(None);
    let early = fixture.append(&mut writer, 3);
    let head = fixture.append(&mut writer, 60);
    let parts = fixture.parts();
    assert!(parts.len() == 3 && parts[0] > 2, "{parts:?}");
    for part in &parts {
        assert!(fixture.content(*part).len() as u64 <= SMALL.part_len);
    }
    // Also where no manifest was written for as long as that.
    for expected in [Some(head), Some(early), None] {
        let log = fixture.read(expected);
        assert_eq!((log.problem.as_deref(), log.head), (None, head));
        let first = log.gone as i64 + 1;
        assert!(first > 1 && numbers(&log) == (first..=63).collect::<Vec<_>>(), "{:?}", numbers(&log));
    }
    let mut writer = fixture.writer(Some(head));
    let later = fixture.append(&mut writer, 20);
    assert_eq!(fixture.parts().len(), 3);
    assert_eq!(fixture.read(Some(later)).problem, None);
}

#[test]
fn what_is_missing_or_changed_in_any_part_is_noticed() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer(None);
    let head = fixture.append(&mut writer, 40);
    for part in fixture.parts() {
        let whole = fixture.content(part);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            fixture.put(part, &changed);
            assert!(fixture.read(Some(head)).problem.is_some(), "byte {at} of part {part}");
            fixture.put(part, &whole[..at]);
            assert!(fixture.read(Some(head)).problem.is_some(), "part {part} cut to {at} bytes");
        }
        parts::remove(&fixture.vfs, Path::new(DIRECTORY), part).expect("removed");
        assert!(fixture.read(Some(head)).problem.is_some(), "part {part} removed");
        let seen = look(&fixture.vfs, Path::new(DIRECTORY), &fixture.keyring, Some(head)).expect("looked");
        assert!(seen.problem.is_some(), "part {part} removed, and looked at");
        fixture.put(part, &whole);
        assert_eq!(fixture.read(Some(head)).problem, None);
    }
    // One part in the place of another.
    let newest = *fixture.parts().last().expect("parts");
    let whole = fixture.content(newest);
    fixture.put(newest, &fixture.content(newest - 1));
    assert!(fixture.read(Some(head)).problem.is_some());
    fixture.put(newest, &whole);
    assert_eq!(fixture.read(Some(head)).problem, None);
}

#[test]
fn what_a_crash_leaves_of_a_part_is_removed() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer(None);
    let mut head = fixture.append(&mut writer, 40);
    while head.length > SMALL.part_len / 2 {
        head = fixture.append(&mut writer, 1);
    }
    let (parts, newest) = (fixture.parts(), writer.part);
    // The next part, without its first entry, and one that should have gone.
    let next = Start::after(fixture.keyring.database_id(), newest, &head, parts[0]);
    for left in [&[][..], &next.bytes[..50], &next.bytes, &[&next.bytes[..], &[1, 0, 0, 0, 7]].concat()] {
        fixture.put(newest + 1, left);
        fixture.put(1, b"old");
        let log = fixture.read(Some(head));
        assert_eq!((log.problem, log.head, log.leftovers.len()), (None, head, 2));
        let mut writer = fixture.writer(Some(head));
        assert_eq!((fixture.parts(), writer.part), (parts.clone(), newest));
        assert_eq!(fixture.append(&mut writer, 1).entries, head.entries + 1);
        // As if that had never been.
        let mut whole = fixture.content(newest);
        whole.truncate(head.length as usize);
        parts::remove(&fixture.vfs, Path::new(DIRECTORY), newest + 1).expect("removed");
        fixture.put(newest, &whole);
        for part in fixture.parts().into_iter().filter(|part| *part < parts[0]) {
            parts::remove(&fixture.vfs, Path::new(DIRECTORY), part).expect("removed");
        }
    }
}

#[test]
fn what_can_be_read_is_read_up_to_the_break() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer(None);
    fixture.append(&mut writer, 20);
    let parts = fixture.parts();
    let salvage = || salvage(&fixture.vfs, Path::new(DIRECTORY), &fixture.keyring).expect("read");
    let sound = salvage();
    assert_eq!(sound.iter().filter(|file| file.breaks.is_none()).count(), parts.len());
    let all: usize = sound.iter().map(|file| file.entries.len()).sum();
    assert_eq!(all, 20);
    let (part, name) = (parts[1], file_name(parts[1]));
    let whole = fixture.content(part);
    let before = sound.iter().find(|file| file.name == name).expect("there").entries.clone();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fixture.put(part, &changed);
        let files = salvage();
        let file = files.iter().find(|file| file.name == name).expect("there");
        let place = file.breaks.as_ref().expect("it breaks").offset;
        // What is changed in a header shows by the first entry.
        assert!(place <= at.max(80) as u64, "byte {at} is changed, and it breaks at {place}");
        assert!(before.starts_with(&file.entries) && file.entries.len() < before.len());
        // The others stand for themselves.
        assert!(files.iter().all(|file| file.name == name || file.breaks.is_none()));
    }
}
