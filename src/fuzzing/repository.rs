//! Whole repositories, some of whose objects were changed by somebody without the key.

use std::time::{Duration, UNIX_EPOCH};

use super::sample::{self, content, disk, environment, sample};
use super::{Input, Target};
use crate::backup::NoProgress;
use crate::database::Database;
use crate::restore::{RecoveryTarget, RestoreOptions};
use crate::verify::{VerifyLevel, VerifyOptions};

/// What is restored is what was there after the commit that the restore says it reached; the one that was asked for, if one
/// was.
pub const REPOSITORY_FILES: Target = Target {
    name: "repository_files",
    run,
    seeds: || {
        let mut seeds: Vec<Vec<u8>> =
            (0..6).map(|kind| [&[kind][..], &4u64.to_le_bytes()].concat()).collect();
        for number in 0..14 {
            let changes =
                [[number, 0, 5, 0, 0, 6, 0, 0, 0, 100, 9], [number, number + 1, 1, 0, 0, 3, 0, 0, 0, 1, 0]];
            for change in changes {
                seeds.push([&[0][..], &3u64.to_le_bytes(), &change].concat());
            }
        }
        seeds
    },
    room: 64 << 20,
};

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.byte();
    let number = input.number();
    let mut files = sample().files.clone();
    let changed = sample::change(&mut files, sample::REPOSITORY, &mut input);
    files.retain(|(path, _)| path.starts_with(sample::REPOSITORY));
    let disk = disk(&files, false);
    let world = environment(&disk, 2);
    let level = [VerifyLevel::Presence, VerifyLevel::Hashes, VerifyLevel::Contents][usize::from(how / 8) % 3];
    let options =
        VerifyOptions { level: Some(level), encryption_key: sample::key(), ..VerifyOptions::default() };
    let report = Database::verify_repository_with(&world, sample::REPOSITORY, options, &NoProgress);
    let sound = report.as_ref().is_ok_and(|report| report.problems.is_empty());
    assert!(sound || changed, "an unchanged repository is not sound: {report:?}");
    let _ = Database::list_backups_in(&world, sample::REPOSITORY);
    let target = match how % 6 {
        0 => RecoveryTarget::Latest,
        1 => RecoveryTarget::Backup(number),
        2 => RecoveryTarget::Sequence((number % 16).into()),
        3 => RecoveryTarget::Sequence(number.into()),
        4 => {
            RecoveryTarget::Time(UNIX_EPOCH.checked_add(Duration::from_micros(number)).unwrap_or(UNIX_EPOCH))
        }
        _ => RecoveryTarget::Name("a point".into()),
    };
    let options = RestoreOptions {
        target: target.clone(),
        encryption_key: sample::key(),
        exclusive: how & 0x80 != 0,
        ..RestoreOptions::default()
    };
    let exclusive = options.exclusive;
    let restored = Database::restore_with(&world, sample::REPOSITORY, "/restored", options, &NoProgress);
    let Ok(report) = restored else {
        let left = disk.files().into_iter().find(|path| !path.starts_with(sample::REPOSITORY));
        assert!(left.is_none(), "a failed restore leaves {left:?}");
        assert!(changed || !matches!(target, RecoveryTarget::Latest | RecoveryTarget::Name(_)) || exclusive);
        return;
    };
    let reached = report.sequence.0;
    assert!(changed || !matches!(target, RecoveryTarget::Latest) || reached == sample().synced || exclusive);
    if let RecoveryTarget::Sequence(wanted) = target {
        assert_eq!(reached, wanted.0 - u64::from(exclusive), "another moment was taken");
    }
    let db = Database::open_in(world, "/restored", sample::config()).expect("what was just restored");
    let expected = sample().states.get(reached as usize).expect("a commit that was made");
    assert_eq!(&content(&db).expect("what was just restored"), expected, "something else was restored");
}
