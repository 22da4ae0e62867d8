//! Writing a log and reading it back.

use std::io::Read;

use super::*;
use crate::StorageError;
use crate::segment::HEADER_LEN;
use crate::segment::testing::{context_in, read_file};
use crate::vfs::{Keep, OsVfs};

#[test]
fn what_was_committed_is_replayed_in_order() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    put(&mut writer, 1).unwrap();
    let mut two = CommitOps::new();
    two.put(b"a", b"1");
    two.delete(b"b");
    let mut three = CommitOps::new();
    let group = &mut [
        LogEntry::Commit { sequence: SequenceNumber(2), time_micros: 5, ops: &mut two },
        LogEntry::RestorePoint { name: "here", sequence: SequenceNumber(2), time_micros: 6 },
        LogEntry::Commit { sequence: SequenceNumber(3), time_micros: 4, ops: &mut three },
    ];
    let before = writer.position().frame;
    let appended = writer.append(group).unwrap();
    assert_eq!(appended.entries, 3);
    assert_eq!(appended.position.frame, before.next(), "a group shares one frame");
    assert_eq!(appended.position.sequence, SequenceNumber(3));

    let mut expected = puts(1);
    expected.push(Seen::Commit(2, vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None)]));
    expected.push(Seen::Point("here".into(), 2));
    expected.push(Seen::Commit(3, vec![]));
    let outcome = home.scan().unwrap();
    assert_eq!(outcome.end, Some(appended.position));
    assert_eq!(outcome.restore_points.len(), 1);
    assert_eq!(home.read().unwrap().0, expected);
}

#[test]
fn a_log_goes_on_over_segments_and_restarts() {
    let home = Home::new(SMALL);
    let mut start = WalStart::default();
    for round in 0..3_u64 {
        let mut writer = home.writer(start).unwrap();
        for n in round * 2000 + 1..=(round + 1) * 2000 {
            put(&mut writer, n).unwrap();
        }
        if round == 1 {
            writer.finish().unwrap();
        }
        home.memory.kill_process();
        let (seen, next, cut) = home.recover().unwrap();
        assert_eq!((seen, cut), (puts((round + 1) * 2000), None));
        start = next;
    }
    assert!(home.segments().len() > 4);
    let obsolete = home.segments().iter().filter(|info| info.is_obsolete(SequenceNumber(4000))).count();
    assert!(obsolete >= 2 && obsolete < home.segments().len());
    let (old, young) = (home.segments()[..obsolete].to_vec(), home.segments()[obsolete..].to_vec());
    let before = old.last().unwrap().accepted_through;
    for before in [before, None] {
        let outcome = scan(&home.ctx, &young, before, SequenceNumber(4000)).unwrap();
        assert_eq!(outcome.last_sequence, SequenceNumber(6000));
        let seen = replay_all(&mut outcome.replay(&home.ctx).unwrap()).unwrap();
        assert_eq!(seen.last(), puts(6000).last());
    }
    let gap = scan(&home.ctx, &young, None, SequenceNumber(10)).unwrap_err();
    assert!(matches!(gap, StorageError::Corrupt { .. }), "{gap}");
}

#[test]
fn a_large_commit_goes_on_over_segments_and_is_streamed() {
    for mode in [WalMode::Mapped, WalMode::Pwrite] {
        let home = Home::new(WalOptions { mode, ..SMALL });
        let mut writer = home.writer(WalStart::default()).unwrap();
        put(&mut writer, 1).unwrap();
        let long: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let longest_key = vec![9; 65_535];
        let mut ops = CommitOps::new();
        ops.put(b"long", &long);
        ops.put(&longest_key, &long[..MAX_INLINE_VALUE_LEN]);
        ops.put_from(b"read", 300_000, long.as_slice());
        ops.put_from(b"none", 0, std::io::empty());
        ops.delete(b"gone");
        commit(&mut writer, 2, &mut ops).unwrap();
        put(&mut writer, 3).unwrap();
        let mut expected = puts(1);
        expected.push(Seen::Commit(
            2,
            vec![
                (b"long".to_vec(), Some(long.clone())),
                (longest_key.clone(), Some(long[..MAX_INLINE_VALUE_LEN].to_vec())),
                (b"read".to_vec(), Some(long[..300_000].to_vec())),
                (b"none".to_vec(), Some(Vec::new())),
                (b"gone".to_vec(), None),
            ],
        ));
        expected.extend(puts(3).pop());
        assert!(home.segments().len() > 7);
        let outcome = home.scan().unwrap();
        let mut replay = outcome.replay(&home.ctx).unwrap();
        assert_eq!(replay_all(&mut replay).unwrap(), expected);

        let mut passed_over = outcome.replay(&home.ctx).unwrap();
        let mut heads = 0;
        while passed_over.next_event().unwrap().is_some() {
            heads += 1;
            passed_over.next_op().unwrap();
        }
        assert_eq!(heads, 3, "what is not read is passed over");
    }
}

#[test]
fn commits_about_as_long_as_a_frame_come_back() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    let longest = (MIN_SEGMENT_SIZE / 4 * 3) as usize;
    let mut expected = Vec::new();
    for len in longest - 100..=longest {
        for streamed in [false, true] {
            let n = expected.len() as u64 + 1;
            // In two values, since one of that length is always streamed.
            let (first, second) = (vec![1; len / 2], vec![2; len - len / 2]);
            let mut ops = CommitOps::new();
            if streamed {
                ops.put_from(b"a", first.len() as u64, first.as_slice());
            } else {
                ops.put(b"a", &first);
            }
            ops.put(b"b", &second);
            commit(&mut writer, n, &mut ops).unwrap();
            let seen = vec![(b"a".to_vec(), Some(first.clone())), (b"b".to_vec(), Some(second.clone()))];
            expected.push(Seen::Commit(n, seen));
        }
    }
    assert!(home.read().unwrap().0 == expected);
}

#[test]
fn a_value_that_ends_early_voids_its_commit_and_nothing_else() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    put(&mut writer, 1).unwrap();
    for len in [1000, 900_000] {
        let mut ops = CommitOps::new();
        ops.put(b"never", b"seen");
        ops.put_from(b"short", len, std::io::repeat(1).take(len - 1));
        let error = commit(&mut writer, 2, &mut ops).unwrap_err();
        assert!(matches!(error, StorageError::Io { .. }), "{error}");
        assert_eq!(home.read().unwrap().0, puts(1));
    }
    assert!(writer.position().within_commit);
    assert_eq!(writer.position().newest_begun(), SequenceNumber(2));
    put(&mut writer, 2).unwrap();
    assert!(!writer.position().within_commit);
    assert_eq!(home.read().unwrap().0, puts(2));
}

#[test]
fn a_void_commit_at_the_end_stays_void_after_a_restart() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    put(&mut writer, 1).unwrap();
    let mut ops = CommitOps::new();
    ops.put_from(b"short", 900_000, std::io::repeat(1).take(500_000));
    commit(&mut writer, 2, &mut ops).unwrap_err();
    home.memory.kill_process();
    let (seen, start, _) = home.recover().unwrap();
    assert_eq!(seen, puts(1));
    assert!(start.after.unwrap().within_commit);
    let mut writer = home.writer(start).unwrap();
    put(&mut writer, 2).unwrap();
    assert_eq!(home.read().unwrap().0, puts(2));
}

#[test]
fn both_ways_of_writing_write_the_same_bytes() {
    let files = [WalMode::Mapped, WalMode::Pwrite].map(|mode| {
        let home = Home::new(WalOptions { mode, ..SMALL });
        let mut writer = home.writer(WalStart::default()).unwrap();
        for n in 1..2000 {
            put(&mut writer, n).unwrap();
        }
        home.segments().iter().map(|info| read_file(&home.memory, &home.path(info.id))).collect::<Vec<_>>()
    });
    assert!(files[0].len() > 1);
    assert!(files[0] == files[1]);
}

#[test]
fn a_refused_map_is_written_around() {
    let home = Home::new(SMALL);
    home.memory.refuse_maps(true);
    let mut writer = home.writer(WalStart::default()).unwrap();
    put(&mut writer, 1).unwrap();
    assert_eq!(home.read().unwrap().0, puts(1));
}

#[test]
fn an_unencrypted_log_is_read_back_and_chained_like_any_other() {
    let home = Home::over(MemVfs::new(), |memory| Arc::new(memory.clone()), SMALL, false);
    let mut writer = home.writer(WalStart::default()).unwrap();
    (1..=3000).for_each(|n| assert!(put(&mut writer, n).is_ok()));
    assert_eq!(home.read().unwrap().0, puts(3000));
}

#[test]
fn entries_out_of_order_and_beyond_the_limits_are_refused_and_change_nothing() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    put(&mut writer, 1).unwrap();
    let before = writer.position();
    assert!(put(&mut writer, 1).is_err());
    assert!(put(&mut writer, 3).is_err());
    let name = "n".repeat(MAX_RESTORE_POINT_NAME_LEN + 1);
    for (name, sequence) in [(name.as_str(), 1), ("early", 0), ("late", 2)] {
        let sequence = SequenceNumber(sequence);
        assert!(writer.append(&mut [LogEntry::RestorePoint { name, sequence, time_micros: 0 }]).is_err());
    }
    let mut ops = CommitOps::new();
    ops.put(&vec![0; MIN_SEGMENT_SIZE as usize], b"");
    assert!(commit(&mut writer, 2, &mut ops).is_err());
    assert_eq!(writer.append(&mut []).unwrap().entries, 0);
    assert_eq!(writer.position(), before);
    put(&mut writer, 2).unwrap();
    assert_eq!(home.read().unwrap().0, puts(2));
}

#[test]
fn a_group_larger_than_a_frame_is_taken_in_turns() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    let value = vec![1; 10_000];
    let mut all: Vec<CommitOps<'_>> = (0..30)
        .map(|n| {
            let mut ops = CommitOps::new();
            ops.put(&key(n), &value);
            if n == 17 {
                ops.put_from(b"large", 400_000, std::io::repeat(3));
            }
            ops
        })
        .collect();
    let mut entries: Vec<LogEntry<'_, '_>> = (1..)
        .zip(&mut all)
        .map(|(n, ops)| LogEntry::Commit { sequence: SequenceNumber(n), time_micros: 0, ops })
        .collect();
    let (mut done, mut turns) = (0, 0);
    while done < entries.len() {
        done += writer.append(&mut entries[done..]).unwrap().entries;
        turns += 1;
    }
    assert!((4..10).contains(&turns), "{turns}");
    assert_eq!(home.read().unwrap().0.len(), 30);
}

#[test]
fn the_buffer_of_a_frame_never_moves_and_keeps_no_plaintext_after_a_failure() {
    let home = Home::new(WalOptions { segment_size: 1 << 20, ..SMALL });
    let mut writer = home.writer(WalStart::default()).unwrap();
    let place = writer.frame.as_ptr();
    for (n, len) in [(1, 10u64), (2, 15_000), (3, 3_000_000), (4, 700_000)] {
        let mut ops = CommitOps::new();
        ops.put_from(b"large", len, std::io::repeat(7).take(len));
        commit(&mut writer, n, &mut ops).unwrap();
    }
    let mut short = CommitOps::new();
    short.put(b"key", &[7; 1000]);
    short.put_from(b"short", 500_000, std::io::repeat(7).take(400_000));
    commit(&mut writer, 5, &mut short).unwrap_err();
    assert!(writer.frame.is_empty(), "wiped: otherwise there is a header in it at least");
    let capacity = writer.frame.capacity();
    writer.frame.resize(capacity, 1);
    assert_eq!(writer.frame.as_ptr(), place);
    put(&mut writer, 5).unwrap();
    assert_eq!(home.read().unwrap().0.len(), 5);
}

#[test]
fn syncs_are_as_many_as_asked_for_and_skip_what_is_synced() {
    let home = Home::new(WalOptions { segment_size: 4 << 20, ..SMALL });
    let mut writer = home.writer(WalStart::default()).unwrap();
    let sync = writer.sync_handle();
    let syncs = || home.memory.op_counts().file_syncs();
    let before = syncs();
    (1..=100).for_each(|n| assert!(put(&mut writer, n).is_ok()));
    assert_eq!(syncs(), before, "appending does not sync");
    assert!(sync.is_behind());
    assert!(!writer.write_marker().unwrap(), "nothing new is synced");
    assert_eq!(sync.sync().unwrap(), writer.position().frame);
    assert_eq!(syncs(), before + 1);
    assert!(!sync.is_behind());
    sync.sync().unwrap();
    assert_eq!(syncs(), before + 1, "all was synced");
    assert!(writer.write_marker().unwrap());
    assert!(!writer.write_marker().unwrap());
    assert!(!sync.is_behind(), "a marker needs no sync");
    assert_eq!(home.read().unwrap().0, puts(100));
}

#[test]
fn space_grows_ahead_of_need_and_a_full_disk_spoils_nothing() {
    for mode in [WalMode::Mapped, WalMode::Pwrite] {
        let home = Home::new(WalOptions { segment_size: 1 << 20, mode });
        let mut writer = home.writer(WalStart::default()).unwrap();
        let path = home.path(SegmentId(1));
        let len = || home.memory.metadata(&path).unwrap().len;
        assert_eq!(len(), 256 << 10);
        let sync = writer.sync_handle();
        sync.grow_ahead().unwrap();
        assert_eq!(len(), 256 << 10, "half of it is not used yet");
        home.memory.set_capacity(Some(300 << 10));
        let mut n = 0;
        let error = loop {
            match put(&mut writer, n + 1) {
                Ok(_) => n += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StorageError::DiskFull { .. }), "{error}");
        assert!(matches!(sync.grow_ahead(), Err(StorageError::DiskFull { .. })));
        let mut large = CommitOps::new();
        large.put_from(b"large", 500_000, std::io::repeat(1));
        assert!(matches!(commit(&mut writer, n + 1, &mut large), Err(StorageError::DiskFull { .. })));
        sync.sync().unwrap();
        home.memory.set_capacity(None);
        sync.grow_ahead().unwrap();
        assert!(len() > 256 << 10);
        put(&mut writer, n + 1).unwrap();
        assert_eq!(home.read().unwrap().0, puts(n + 1));
        home.memory.set_capacity(Some(0));
        let error = writer.rotate().unwrap_err();
        assert!(matches!(error, StorageError::DiskFull { .. }), "no room for a next segment: {error}");
        home.memory.set_capacity(None);
        assert!(writer.rotate().unwrap());
        assert!(!writer.rotate().unwrap(), "nothing is in it yet");
        put(&mut writer, n + 2).unwrap();
    }
}

#[test]
fn a_fork_may_not_go_on_writing() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    put(&mut writer, 1).unwrap();
    let before = read_file(&home.memory, &home.path(SegmentId(1)));
    home.memory.kill_process();
    let error = put(&mut writer, 2).unwrap_err();
    assert!(error.to_string().contains("append to"), "{error}");
    assert!(matches!(put(&mut writer, 2), Err(StorageError::Poisoned { .. })));
    assert!(read_file(&home.memory, &home.path(SegmentId(1))) == before);
}

#[test]
fn entries_of_the_manifest_come_back_as_they_went_in() {
    let home = Home::new(SMALL);
    let writer = home.writer(WalStart::default()).unwrap();
    let open = writer.segment().clone();
    let closed = writer.finish().unwrap();
    assert!(closed.accepted_through.unwrap().offset > HEADER_LEN as u64);
    for info in [open, closed] {
        let mut out = ByteWriter::new();
        info.encode(&mut out);
        assert!(out.len() >= WalSegmentInfo::MIN_ENCODED_LEN);
        let mut reader = ByteReader::new(out.as_slice());
        assert_eq!(WalSegmentInfo::decode(&mut reader), Ok(info));
        assert_eq!(reader.finish("rest"), Ok(()));
        for len in 0..out.len() {
            assert!(WalSegmentInfo::decode(&mut ByteReader::new(&out.as_slice()[..len])).is_err());
        }
    }
}

#[test]
fn a_log_on_real_files_is_read_back_while_and_after_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [WalMode::Mapped, WalMode::Pwrite] {
        let dir = folder.path().join(format!("{mode:?}"));
        let ctx = context_in(Arc::new(OsVfs), dir.to_str().unwrap(), 1, true);
        let options = WalOptions { segment_size: 512 << 10, mode };
        let home = Home { memory: MemVfs::new(), ctx: Arc::new(ctx), options, manifest: Manifest::default() };
        let mut writer = home.writer(WalStart::default()).unwrap();
        for n in 1..=6000 {
            put(&mut writer, n).unwrap();
        }
        assert!(home.segments().len() > 1);
        assert_eq!(home.read().unwrap().0, puts(6000));
        writer.sync_handle().sync().unwrap();
        writer.write_marker().unwrap();
        assert_eq!(home.read().unwrap().0, puts(6000));
        writer.finish().unwrap();
        assert_eq!(home.recover().unwrap().0, puts(6000));
    }
}

#[test]
fn syncing_beside_the_writer_promises_only_what_a_power_cut_leaves() {
    for seed in 0..20 {
        let home = Home::new(SMALL);
        let mut writer = home.writer(WalStart::default()).unwrap();
        let sync = writer.sync_handle();
        let promised = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| {
                let mut durable = FrameNumber(0);
                for _ in 0..200 {
                    let now = sync.sync().unwrap();
                    assert!(now >= durable);
                    durable = now;
                    sync.grow_ahead().unwrap();
                }
                durable
            });
            (1..=3000).for_each(|n| assert!(put(&mut writer, n).is_ok()));
            syncing.join().unwrap()
        });
        home.memory.crash(&mut dice(seed), Keep::Random);
        let (seen, start, _) = home.recover().unwrap();
        assert!(puts(3000).starts_with(&seen));
        assert!(start.after.unwrap().frame >= promised);
    }
}
