//! Copying a log out, and replaying the copies.

use super::*;
use crate::StorageError;
use crate::vfs::Keep;

/// All of a log in pieces, each ending at one of `stops` or with its segment.
fn export_all(home: &Home, stops: &[u64]) -> Vec<ArchivePiece> {
    let mut pieces: Vec<ArchivePiece> = Vec::new();
    for info in home.segments() {
        for stop in stops {
            let from = pieces.last().map(|piece| piece.end);
            let exported = export_range(&home.ctx, &info, from.as_ref(), FrameNumber(*stop)).unwrap();
            pieces.extend(exported);
        }
    }
    pieces
}

fn replay_pieces(home: &Home, pieces: Vec<ArchivePiece>, known_through: u64) -> Result<Vec<Seen>> {
    let parts =
        pieces.into_iter().enumerate().map(|(index, piece)| Ok(piece.into_part(format!("{index}").into())));
    replay_all(&mut replay_archive(Arc::clone(&home.ctx), parts, SequenceNumber(known_through)))
}

/// A log of several segments, with a large commit and a restore point in it, finished.
fn long_log() -> (Home, Vec<Seen>, u64) {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    for n in 1..=500 {
        put(&mut writer, n).unwrap();
    }
    let sequence = SequenceNumber(500);
    writer.append(&mut [LogEntry::RestorePoint { name: "half", sequence, time_micros: 1 }]).unwrap();
    let large = vec![5; 400_000];
    let mut ops = CommitOps::new();
    ops.put(b"large", &large);
    commit(&mut writer, 501, &mut ops).unwrap();
    for n in 502..=1500 {
        put(&mut writer, n).unwrap();
    }
    let last = writer.position().frame.0;
    writer.finish().unwrap();
    let mut expected = puts(1500);
    expected[500] = Seen::Commit(501, vec![(b"large".to_vec(), Some(large.clone()))]);
    expected.insert(500, Seen::Point("half".into(), 500));
    (home, expected, last)
}

#[test]
fn pieces_of_any_size_replay_as_the_log_does() {
    let (home, expected, last) = long_log();
    let by_segment = export_all(&home, &[u64::MAX - 1]);
    assert_eq!(by_segment.len(), home.segments().len());
    let by_few: Vec<u64> = (1..last).step_by(7).chain([last + 1]).collect();
    let small = export_all(&home, &by_few);
    assert!(small.len() > 100);
    for pieces in [by_segment, small] {
        let mut sequence = 0;
        for pair in pieces.windows(2) {
            assert_eq!(pair[1].previous_tag, pair[0].end.tag);
            assert_eq!(pair[1].first_frame, pair[0].end.frame.next());
        }
        for (first, last) in pieces.iter().filter_map(|piece| piece.sequences) {
            assert_eq!(first.0, sequence + 1);
            sequence = last.0;
        }
        assert_eq!(sequence, 1500);
        let times: Vec<_> = pieces.iter().filter_map(|piece| piece.times).collect();
        assert_eq!((times[0].0, times[times.len() - 1].1), (1_000_000, 1_500_000_000));
        assert_eq!(pieces.iter().flat_map(|piece| &piece.restore_points).count(), 1);
        assert_eq!(replay_pieces(&home, pieces, 0).unwrap(), expected);
    }
}

#[test]
fn an_archive_that_begins_late_replays_what_its_backup_lacks() {
    let (home, expected, last) = long_log();
    let stops: Vec<u64> = (1..=last + 1).collect();
    let pieces = export_all(&home, &stops);
    let within_large = pieces.iter().position(|piece| piece.end.within_commit).unwrap() + 1;
    let late = pieces[within_large..].to_vec();
    assert_eq!(replay_pieces(&home, late.clone(), 501).unwrap(), expected[502..]);
    assert!(replay_pieces(&home, late, 500).is_err(), "the beginning of the large commit is missing");
    let later = pieces.iter().position(|piece| piece.sequences.is_some_and(|s| s.0.0 == 700)).unwrap();
    assert_eq!(replay_pieces(&home, pieces[later..].to_vec(), 699).unwrap(), expected[700..]);
    assert!(replay_pieces(&home, pieces[later..].to_vec(), 698).is_err());
    // From the first part of the large commit on, with the segment that it began in read from its middle.
    assert_eq!(replay_pieces(&home, pieces[within_large - 1..].to_vec(), 500).unwrap(), expected[501..]);
    let half_a_commit = pieces[..within_large].to_vec();
    assert_eq!(replay_pieces(&home, half_a_commit, 0).unwrap(), expected[..501]);
}

#[test]
fn missing_reordered_and_damaged_pieces_are_noticed() {
    let (home, expected, last) = long_log();
    let stops: Vec<u64> = (101..last).step_by(100).chain([last + 1]).collect();
    let pieces = export_all(&home, &stops);
    for index in 0..pieces.len() - 1 {
        let mut missing = pieces.clone();
        let removed = missing.remove(index);
        let replayed = replay_pieces(&home, missing, 0);
        if removed.sequences.is_none() && !removed.end.within_commit {
            // Of names of moments the manifest tells, too.
            let commits = |seen: &[Seen]| seen.iter().filter(|one| matches!(one, Seen::Commit(..))).count();
            assert_eq!(commits(&replayed.unwrap()), commits(&expected), "{index} has no commit");
        } else {
            assert!(replayed.is_err(), "{index} missing");
        }
        let mut swapped = pieces.clone();
        swapped.swap(index, index + 1);
        assert!(replay_pieces(&home, swapped, 0).is_err(), "{index} swapped");
    }
    let piece = &pieces[2];
    for at in (0..piece.frames.len()).step_by(61) {
        let mut damaged = pieces.clone();
        damaged[2].frames[at] ^= 4;
        match replay_pieces(&home, damaged, 0) {
            Ok(seen) => {
                assert_eq!(piece.frames[at], 0, "byte {at}");
                assert_eq!(seen, expected);
            }
            Err(error) => {
                assert!(matches!(&error, StorageError::Corrupt { file, .. } if file.as_os_str() == "2"))
            }
        }
    }
}

#[test]
fn pieces_come_back_from_their_objects_or_are_refused() {
    let (home, _, last) = long_log();
    let piece = export_all(&home, &[20, last]).remove(0);
    let object = piece.encode();
    let decoded = ArchivePiece::decode("o".as_ref(), &object).unwrap();
    assert_eq!(decoded, piece);
    for len in 0..object.len() {
        assert!(ArchivePiece::decode("o".as_ref(), &object[..len]).is_err(), "{len}");
    }
    for at in 0..object.len() {
        let mut flipped = object.clone();
        flipped[at] ^= 0x81;
        // Anything may be refused here or when it is opened; nothing may panic or open as something else.
        if let Ok(piece) = ArchivePiece::decode("o".as_ref(), &flipped)
            && let Ok(seen) = replay_pieces(&home, vec![piece], 0)
        {
            assert!(puts(19).starts_with(&seen), "byte {at}");
        }
    }
}

#[test]
fn what_was_given_up_or_is_damaged_is_not_archived() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    let ends: Vec<u64> = (1..=6).map(|n| put(&mut writer, n).unwrap().position.offset).collect();
    home.memory.crash(&mut dice(0), Keep::Everything);
    let path = home.path(SegmentId(1));
    home.memory.corrupt(&path, ends[3] + 60, 1).unwrap();
    let info = &home.segments()[0];
    let error = export_range(&home.ctx, info, None, FrameNumber(6)).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { offset, .. } if offset == ends[3]), "{error}");

    let (_, start, _) = home.recover().unwrap();
    home.memory.corrupt(&path, ends[3] + 60, 1).unwrap();
    let mut writer = home.writer(start).unwrap();
    put(&mut writer, 5).unwrap();
    let pieces = export_all(&home, &[writer.position().frame.0]);
    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[0].end.offset, ends[3]);
    assert_eq!(replay_pieces(&home, pieces, 0).unwrap(), puts(5));
}

#[test]
fn a_piece_tells_whether_the_beginning_of_its_first_commit_is_elsewhere() {
    let (home, ..) = long_log();
    let alone = |info| export_range(&home.ctx, info, None, FrameNumber(u64::MAX)).unwrap().unwrap();
    let segments: Vec<ArchivePiece> = home.segments().iter().map(alone).collect();
    let begins = segments.iter().position(|piece| piece.end.within_commit).unwrap();
    let ends = begins + segments[begins..].iter().position(|piece| !piece.end.within_commit).unwrap();
    assert!(ends > begins);
    for (index, piece) in segments.iter().enumerate() {
        assert_eq!(piece.lacks_beginning, (begins + 1..=ends).contains(&index), "{index}: {piece:?}");
    }
    let mut last = segments[ends].clone();
    assert_eq!(last.sequences.unwrap().0, SequenceNumber(501));
    last.give_up_first_commit();
    assert_eq!(last.sequences.unwrap().0, SequenceNumber(502));
}

#[test]
fn frames_without_commits_may_be_missing_between_segments_and_no_others() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    for n in 1..=3 {
        put(&mut writer, n).unwrap();
    }
    let stop = writer.position().frame.0;
    writer.rotate().unwrap();
    writer.write_marker().unwrap();
    writer.rotate().unwrap();
    for n in 4..=6 {
        put(&mut writer, n).unwrap();
    }
    writer.finish().unwrap();
    let pieces = export_all(&home, &[stop, u64::MAX - 1]);
    let is_needed = |piece: &&ArchivePiece| piece.sequences.is_some();
    let needed: Vec<ArchivePiece> = pieces.iter().filter(is_needed).cloned().collect();
    assert_eq!((pieces.len(), needed.len()), (4, 2));
    assert_eq!(replay_pieces(&home, needed.clone(), 0).unwrap(), puts(6));
    assert!(replay_pieces(&home, needed[1..].to_vec(), 0).is_err());
    let early = export_range(&home.ctx, &home.segments()[0], None, FrameNumber(stop - 1)).unwrap().unwrap();
    assert!(replay_pieces(&home, vec![early, needed[1].clone()], 0).is_err(), "the third commit is missing");
}
