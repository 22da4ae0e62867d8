//! What is noticed when the bytes of a log are not those that were written.

use super::*;
use crate::StorageError;
use crate::segment::testing::{context_in, read_file, replace_file};
use crate::vfs::Keep;

/// A log of `n` commits, synced and with a marker that says so; where each frame ends.
fn synced_log(n: u64) -> (Home, Vec<u64>) {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    let mut ends = vec![writer.position().offset];
    for n in 1..=n {
        ends.push(put(&mut writer, n).unwrap().position.offset);
    }
    writer.sync_handle().sync().unwrap();
    assert!(writer.write_marker().unwrap());
    ends.push(writer.position().offset);
    (home, ends)
}

fn restart_machine(home: &Home) {
    home.memory.crash(&mut dice(0), Keep::Everything);
}

fn expect_corrupt(result: Result<ScanOutcome>, what: &str) -> u64 {
    match result {
        Err(StorageError::Corrupt { file, offset, .. }) => {
            assert!(file.to_string_lossy().ends_with(".wal"), "{what}");
            offset
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: not noticed"),
    }
}

#[test]
fn every_flipped_byte_of_what_was_appended_is_noticed_before_the_machine_restarts() {
    let (home, ends) = synced_log(12);
    let path = home.path(SegmentId(1));
    let bytes = read_file(&home.memory, &path);
    let end = *ends.last().unwrap();
    for offset in 0..end + 200 {
        home.memory.corrupt(&path, offset, 1 << (offset % 8)).unwrap();
        let is_padding =
            bytes[offset as usize] == 0 && ends.iter().any(|end| (offset..offset + 16).contains(end));
        match home.scan() {
            Ok(outcome) => {
                assert!(is_padding || offset >= end, "byte {offset}");
                assert_eq!(replay_all(&mut outcome.replay(&home.ctx).unwrap()).unwrap(), puts(12));
            }
            Err(_) if offset >= end + 4 => panic!("byte {offset} holds nothing"),
            error => assert!(expect_corrupt(error, "before") <= offset),
        }
        home.memory.corrupt(&path, offset, 1 << (offset % 8)).unwrap();
    }
    assert_eq!(home.recover().unwrap().0, puts(12));
}

#[test]
fn a_length_that_one_flipped_bit_made_zero_does_not_end_the_log() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    let path = home.path(SegmentId(1));
    let (mut tried, mut written) = (0, Vec::new());
    for n in 1..=60 {
        let start = writer.position().offset;
        let value = vec![7; n as usize];
        let mut ops = CommitOps::new();
        ops.put(b"key", &value);
        commit(&mut writer, n, &mut ops).unwrap();
        written.push(Seen::Commit(n, vec![(b"key".to_vec(), Some(value.clone()))]));
        let at = start as usize;
        let length = u32::from_le_bytes(read_file(&home.memory, &path)[at..at + 4].try_into().unwrap());
        if length.is_power_of_two() {
            let (byte, bit) = (length.trailing_zeros() / 8, length.trailing_zeros() % 8);
            home.memory.corrupt(&path, start + u64::from(byte), 1 << bit).unwrap();
            assert_eq!(home.read().unwrap().0, written);
            tried += 1;
        }
    }
    assert!(tried > 0, "no frame has such a length");
}

#[test]
fn a_length_that_one_flipped_bit_made_zero_does_not_end_a_large_commit() {
    let mut tried = 0;
    for len in 100_200..100_400 {
        let home = Home::new(SMALL);
        let mut writer = home.writer(WalStart::default()).unwrap();
        let value = vec![7; len];
        let mut ops = CommitOps::new();
        ops.put(b"key", &value);
        commit(&mut writer, 1, &mut ops).unwrap();
        let end = writer.position();
        let path = home.path(end.segment);
        let file = read_file(&home.memory, &path);
        // Its last frame is behind the first, where that ends.
        let last =
            (128..end.offset as usize).step_by(16).rev().find(|at| file[at + 4..].starts_with(b"LDBF"));
        let last = last.expect("a frame");
        let length = u32::from_le_bytes(file[last..last + 4].try_into().unwrap());
        if length.is_power_of_two() {
            let (byte, bit) = (length.trailing_zeros() / 8, length.trailing_zeros() % 8);
            home.memory.corrupt(&path, last as u64 + u64::from(byte), 1 << bit).unwrap();
            let seen = home.read().unwrap().0;
            assert!(seen == [Seen::Commit(1, vec![(b"key".to_vec(), Some(value.clone()))])], "{len}");
            tried += 1;
        }
    }
    assert!(tried > 0, "no last frame has such a length");
}

#[test]
fn every_flipped_byte_of_what_was_synced_is_noticed_after_the_machine_restarted() {
    let (home, ends) = synced_log(12);
    restart_machine(&home);
    let path = home.path(SegmentId(1));
    let [.., synced, end] = ends[..] else { panic!("no frames") };
    for offset in 0..end + 200 {
        home.memory.corrupt(&path, offset, 1 << (offset % 8)).unwrap();
        match home.scan() {
            Ok(outcome) => {
                let seen = replay_all(&mut outcome.replay(&home.ctx).unwrap()).unwrap();
                assert_eq!(seen, puts(12), "byte {offset}");
                let in_marker = (synced..end).contains(&offset);
                assert!(!in_marker || outcome.cut.is_some(), "byte {offset}");
            }
            error => {
                assert!(offset < synced, "byte {offset} was not promised");
                expect_corrupt(error, "after");
            }
        }
        home.memory.corrupt(&path, offset, 1 << (offset % 8)).unwrap();
    }
}

#[test]
fn a_synced_log_that_is_cut_short_or_blanked_is_noticed() {
    let (home, ends) = synced_log(6);
    restart_machine(&home);
    let path = home.path(SegmentId(1));
    let bytes = read_file(&home.memory, &path);
    let [.., synced, _] = ends[..] else { panic!("no frames") };
    for start in (0..synced).step_by(16) {
        let mut blanked = bytes.clone();
        blanked[start as usize..][..16].fill(0);
        let is_padding = blanked == bytes;
        replace_file(&home.memory, &path, &blanked);
        assert!(is_padding || home.scan().is_err(), "blanked {start}");
    }
    for end in ends {
        replace_file(&home.memory, &path, &bytes[..end as usize]);
        assert_eq!(expect_corrupt(home.scan(), "cut short"), end);
    }
}

#[test]
fn finished_segments_are_whole_or_damaged() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    (1..=1200).for_each(|n| assert!(put(&mut writer, n).is_ok()));
    assert_eq!(home.segments().len(), 2);
    home.manifest.0.lock().segments.iter_mut().for_each(|info| info.accepted_through = None);
    restart_machine(&home);
    let path = home.path(SegmentId(1));
    let bytes = read_file(&home.memory, &path);
    for offset in (0..bytes.len() as u64).step_by(997) {
        home.memory.corrupt(&path, offset, 0x10).unwrap();
        if let Ok(outcome) = home.scan() {
            assert_eq!(outcome.last_sequence, SequenceNumber(1200), "byte {offset}");
            assert_eq!(bytes[offset as usize], 0, "byte {offset}");
        }
        home.memory.corrupt(&path, offset, 0x10).unwrap();
        replace_file(&home.memory, &path, &bytes[..offset as usize]);
        expect_corrupt(home.scan(), "cut short");
        replace_file(&home.memory, &path, &bytes);
    }
    assert_eq!(home.recover().unwrap().0, puts(1200));
}

#[test]
fn missing_repeated_reordered_and_foreign_segments_are_noticed() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    (1..=4500).for_each(|n| assert!(put(&mut writer, n).is_ok()));
    let listed = home.segments();
    assert!(listed.len() >= 4);
    let try_list = |order: &[usize]| {
        let list: Vec<_> = order.iter().map(|index| listed[*index].clone()).collect();
        scan(&home.ctx, &list, None, SequenceNumber(0))
    };
    assert!(try_list(&[0, 1, 2]).is_ok());
    for order in [&[0, 2][..], &[1, 2], &[0, 1, 1], &[1, 0], &[0, 2, 1]] {
        expect_corrupt(try_list(order), &format!("{order:?}"));
    }

    let [first, second] = [0, 1].map(|index| home.path(listed[index].id));
    let [one, two] = [&first, &second].map(|path| read_file(&home.memory, path));
    replace_file(&home.memory, &first, &two);
    assert_eq!(expect_corrupt(home.scan(), "another segment in its place"), 0);
    let with_own_header = [&one[..128], &two[128..]].concat();
    replace_file(&home.memory, &first, &with_own_header);
    assert_eq!(expect_corrupt(home.scan(), "another segment's frames"), 128);
    home.memory.remove_file(&first).unwrap();
    assert!(matches!(home.scan(), Err(StorageError::Corrupt { file, .. }) if file == first));

    let other = context_in(Arc::new(home.memory.clone()), "/other", 2, true);
    let prepared = prepare_segment(&other, &SMALL, listed[0].id, EpochId(1)).unwrap();
    let foreign = read_file(&home.memory, &other.segment_path(SegmentKind::Wal, prepared.info().id));
    replace_file(&home.memory, &first, &foreign);
    let error = home.scan().unwrap_err();
    assert!(error.to_string().contains("another database"), "{error}");
}

#[test]
fn a_segment_of_another_history_or_epoch_does_not_open() {
    let (home, _) = synced_log(3);
    for change in 0..4 {
        let mut list = home.segments();
        match change {
            0 => list[0].incarnation.0[0] ^= 1,
            1 => list[0].salt.0[0] ^= 1,
            2 => list[0].key_domain = 1,
            _ => list[0].id = SegmentId(9),
        }
        assert!(scan(&home.ctx, &list, None, SequenceNumber(0)).is_err(), "{change}");
    }
}

#[test]
fn the_end_that_the_manifest_knows_must_be_there() {
    let (home, ends) = synced_log(6);
    home.recover().unwrap();
    restart_machine(&home);
    let path = home.path(SegmentId(1));
    let bytes = read_file(&home.memory, &path);
    replace_file(&home.memory, &path, &bytes[..ends[4] as usize]);
    assert_eq!(expect_corrupt(home.scan(), "cut short"), ends[4]);
    let mut list = home.segments();
    replace_file(&home.memory, &path, &bytes);
    list[0].accepted_through.as_mut().unwrap().tag[0] ^= 1;
    expect_corrupt(scan(&home.ctx, &list, None, SequenceNumber(0)), "another end");
}

#[test]
fn a_segment_that_was_prepared_and_never_used_is_an_empty_log() {
    let home = Home::new(SMALL);
    let unused = home.supply().next().unwrap().info().id;
    let outcome = home.scan().unwrap();
    assert_eq!((outcome.end, outcome.commits, outcome.cut.is_none()), (None, 0, true));
    let settled = outcome.settle(&home.ctx).unwrap();
    assert_eq!(
        (settled.segments, settled.unused, settled.start),
        (vec![], vec![unused], WalStart::default())
    );

    let (home, _) = synced_log(3);
    let end = home.scan().unwrap().end;
    let unused = home.supply().next().unwrap().info().id;
    let settled = home.scan().unwrap().settle(&home.ctx).unwrap();
    assert_eq!((settled.unused, settled.start.after), (vec![unused], end));
    let only_unused = &home.segments()[1..];
    let outcome = scan(&home.ctx, only_unused, end, SequenceNumber(3)).unwrap();
    assert_eq!((outcome.end, outcome.last_sequence), (end, SequenceNumber(3)), "the chain goes on");
}
