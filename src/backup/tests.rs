//! Backups and restores through the public interface, on a file system in memory, held against a model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lightning_db_crypto::{KeySource, SeededEntropy};
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::vfs::{FaultPlan, FaultyVfs, MemVfs, OpenHow};

use super::*;
use crate::config::LightningDbConfig;
use crate::restore::{RecoveryTarget, RestoreOptions, RestoreReport};
use crate::verify::{RepositoryReport, VerifyLevel, VerifyOptions};

mod cost;
mod failures;
mod histories;
mod trust;

pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A database at `/db` in memory, and everything that it ever held.
pub(crate) struct World {
    pub(crate) memory: MemVfs,
    pub(crate) clock: ManualClock,
    pub(crate) environment: Environment,
    pub(crate) db: Arc<Database>,
    pub(crate) states: Vec<(i64, Model)>,
    pub(crate) random: u64,
}

pub(crate) fn key() -> KeySource {
    KeySource::raw([9; 32])
}

pub(crate) fn config() -> LightningDbConfig {
    LightningDbConfig {
        encryption_enabled: true,
        encryption_key: key(),
        write_buffer_size: 256 << 10,
        wal_segment_size: 128 << 10,
        background_compaction: false,
        ..Default::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, config())
    }

    pub(crate) fn with(seed: u64, config: LightningDbConfig) -> Self {
        let memory = MemVfs::new();
        let clock = ManualClock::new(1_700_000_000_000_000);
        let environment = Environment {
            vfs: Arc::new(memory.clone()),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(seed)),
        };
        let db = Database::create_in(environment.clone(), "/db", config).expect("a new database");
        Self { memory, clock, environment, db, states: vec![(i64::MIN, Model::new())], random: seed | 1 }
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    /// One commit, which the model follows.
    pub(crate) fn commit(&mut self) {
        self.clock.advance(Duration::from_millis(1 + self.random % 50));
        let mut model = self.states.last().expect("the empty state").1.clone();
        let key = |number: u64| format!("key {number:04}").into_bytes();
        let number = self.below(300);
        match self.below(10) {
            0 | 1 => {
                self.db.delete(&key(number)).expect("delete");
                model.remove(&key(number));
            }
            2 => {
                let items: Vec<_> =
                    (0..20).map(|step| (key((number + step) % 300), vec![step as u8; 900])).collect();
                self.db.put_batch(&items).expect("batch");
                model.extend(items);
            }
            3 if self.below(3) == 0 => {
                let value: Vec<u8> = (0..70_000 + number * 700).map(|at| (at % 251) as u8).collect();
                self.db.put(&key(number), &value).expect("put");
                model.insert(key(number), value);
            }
            _ => {
                let value = format!("value {} of {number}", self.states.len()).into_bytes();
                self.db.put(&key(number), &value).expect("put");
                model.insert(key(number), value);
            }
        }
        let now = lightning_db_storage::clock::Clock::now_micros(&self.clock);
        self.states.push((now, model));
        assert_eq!(self.db.last_sequence().0, self.states.len() as u64 - 1);
    }

    pub(crate) fn commits(&mut self, count: usize) {
        (0..count).for_each(|_| self.commit());
    }

    pub(crate) fn restore(&self, target: RecoveryTarget, exclusive: bool) -> Result<(RestoreReport, Model)> {
        let options = RestoreOptions { target, encryption_key: key(), exclusive, ..Default::default() };
        self.restore_with(options)
    }

    pub(crate) fn restore_with(&self, options: RestoreOptions) -> Result<(RestoreReport, Model)> {
        let place = Path::new("/restored");
        // The open database makes and deletes files of its own meanwhile.
        let others = || -> Vec<_> {
            self.memory.files().into_iter().filter(|path| !path.starts_with("/db")).collect()
        };
        let before = others();
        let report = Database::restore_with(&self.environment, "/repo", place, options, &NoProgress);
        let report = report.inspect_err(|_| assert_eq!(others(), before, "nothing is left behind"))?;
        let db = Database::open_in(self.environment.clone(), place, config())?;
        assert_eq!(db.last_sequence(), report.sequence);
        let model = contents(&db)?;
        db.close()?;
        drop(db);
        remove_tree(&self.memory, place);
        Ok((report, model))
    }

    /// Makes a backup into a repository on a disk of its own, which stops working at that call. Whether the backup noticed.
    pub(crate) fn backup_that_dies(&self, crash_at: u64) -> bool {
        let plan = FaultPlan::new();
        let faulty = FaultyVfs::over_memory(self.memory.clone(), plan.clone());
        plan.crash_at(crash_at);
        let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::new(Arc::new(faulty), Path::new("/repo")));
        back_up_into(&self.db, &store, &NoProgress).is_err()
    }

    pub(crate) fn backup(&self) -> BackupReport {
        self.db.backup("/repo").expect("a backup")
    }
}

pub(crate) fn contents(db: &Database) -> Result<Model> {
    db.scan(None, None)?.collect()
}

pub(crate) fn remove_tree(memory: &MemVfs, directory: &Path) {
    for entry in memory.list(directory).expect("a directory") {
        let path = directory.join(entry.name);
        if entry.is_dir { remove_tree(memory, &path) } else { memory.remove_file(&path).expect("a file") }
    }
    memory.remove_dir(directory).expect("an empty directory");
}

#[test]
fn every_commit_since_the_first_backup_can_be_restored() {
    for seed in 1..5 {
        let mut world = World::new(seed);
        world.commits(30);
        let first = world.backup();
        let mut backups = vec![(first.backup, first.sequence)];
        let mut names = Vec::new();
        for round in 0..6 {
            for _ in 0..4 {
                world.commits(12);
                match world.below(5) {
                    0 => world.db.checkpoint().expect("checkpoint"),
                    1 => world.db.compact().expect("compact"),
                    2 => {
                        let name = format!("point {round}.{}", names.len());
                        let at = world.db.create_restore_point(&name).expect("point");
                        names.push((name, at));
                    }
                    _ => {}
                }
            }
            let report = world.backup();
            assert_eq!(report.sequence, world.db.last_sequence());
            assert!(report.lost_log.is_empty());
            backups.push((report.backup, report.sequence));
        }
        let last = world.states.len() as u64 - 1;
        let state = |sequence: SequenceNumber| &world.states[sequence.0 as usize].1;
        for (backup, sequence) in &backups {
            let (report, model) = world.restore(RecoveryTarget::Backup(*backup), false).expect("restored");
            assert_eq!(
                (report.sequence, &model),
                (*sequence, state(*sequence)),
                "seed {seed} backup {backup}"
            );
        }
        for (name, sequence) in &names {
            let (report, model) = world.restore(RecoveryTarget::Name(name.clone()), false).expect("restored");
            assert_eq!((report.sequence, &model), (*sequence, state(*sequence)), "seed {seed} {name}");
        }
        let mut random = seed;
        for _ in 0..12 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let sequence = SequenceNumber(30 + (random >> 33) % (last - 29));
            let (report, model) = world.restore(RecoveryTarget::Sequence(sequence), false).expect("restored");
            assert_eq!(
                (report.sequence, &model),
                (sequence, state(sequence)),
                "seed {seed} commit {sequence}"
            );
            let at = RecoveryTarget::Time(system_time(world.states[sequence.0 as usize].0));
            let (report, model) = world.restore(at.clone(), false).expect("restored");
            assert_eq!(
                (report.sequence, &model),
                (sequence, state(sequence)),
                "seed {seed} time of {sequence}"
            );
            if sequence.0 > 30 {
                let before = SequenceNumber(sequence.0 - 1);
                let (report, model) = world.restore(at, true).expect("restored");
                assert_eq!(
                    (report.sequence, &model),
                    (before, state(before)),
                    "seed {seed} before {sequence}"
                );
            }
        }
        let (report, model) = world.restore(RecoveryTarget::Latest, false).expect("restored");
        assert_eq!((report.sequence.0, &model), (last, state(SequenceNumber(last))));
        for target in [
            RecoveryTarget::Sequence(SequenceNumber(last + 1)),
            RecoveryTarget::Time(system_time(1_699_999_999_999_999)),
            RecoveryTarget::Time(system_time(i64::MAX)),
            RecoveryTarget::Name("no such point".into()),
        ] {
            let refused = world.restore(target.clone(), false);
            assert!(matches!(refused, Err(Error::TargetNotReachable { .. })), "{target:?}: {refused:?}");
        }
        assert!(matches!(world.restore(RecoveryTarget::Backup(99), false), Err(Error::NotFound { .. })));
    }
}

#[test]
fn a_second_backup_ships_what_changed_and_nothing_else() {
    let mut world = World::new(11);
    for _ in 0..20 {
        world.commits(20);
    }
    world.db.compact().expect("compact");
    world.commits(20);
    let first = world.backup();
    let again = world.backup();
    assert!(!first.is_continued);
    assert_eq!(first.log_bytes, 0, "all of it is in the trees");
    assert_eq!((again.segment_bytes, again.log_bytes), (0, 0), "nothing changed");
    world.db.put(b"key 0001", b"other").expect("put");
    world.db.compact().expect("a merge that rewrites the base");
    let third = world.backup();
    assert!(third.is_continued);
    assert!(
        third.segment_bytes < first.segment_bytes / 20,
        "{} of {}",
        third.segment_bytes,
        first.segment_bytes
    );
    let mut expected = world.states.last().expect("states").1.clone();
    expected.insert(b"key 0001".to_vec(), b"other".to_vec());
    assert_eq!(world.restore(RecoveryTarget::Latest, false).expect("restored").1, expected);
    let listed = Database::list_backups_in(&world.environment, "/repo").expect("a list");
    assert_eq!(listed.iter().map(|backup| backup.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(listed[2].new_segment_bytes, third.segment_bytes);
}

#[test]
fn a_copy_of_the_database_that_went_its_own_way_is_diverged() {
    let mut world = World::new(3);
    world.commits(10);
    world.backup();
    world.db.close().expect("closed");
    world.memory.copy_tree(Path::new("/db"), Path::new("/copy")).expect("copied");
    let open = |path: &str| Database::open_in(world.environment.clone(), path, config()).expect("opened");
    let (original, copy) = (open("/db"), open("/copy"));
    original.put(b"who", b"the original").expect("put");
    copy.put(b"who", b"the copy").expect("put");
    original.backup("/repo").expect("it goes on from its own log");
    let refused = copy.backup("/repo");
    assert!(matches!(refused, Err(Error::Diverged { .. })), "{refused:?}");
    copy.put(b"more", b"from the copy").expect("put");
    copy.put(b"yet more", b"from the copy").expect("put");
    let refused = copy.backup("/repo");
    assert!(matches!(refused, Err(Error::Diverged { .. })), "{refused:?}");
    original.put(b"more", b"from the original").expect("put");
    original.backup("/repo").expect("the repository is as the original left it");
    copy.backup("/own").expect("a repository of its own");
    let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("restored");
    assert_eq!(model.get(&b"more"[..]).map(Vec::as_slice), Some(&b"from the original"[..]));
}

#[test]
fn another_database_and_another_kind_of_directory_are_refused() {
    let mut world = World::new(5);
    world.commits(3);
    world.backup();
    let other = Database::create_in(world.environment.clone(), "/other", config()).expect("a database");
    assert!(matches!(other.backup("/repo"), Err(Error::Diverged { .. })));
    assert!(matches!(other.backup("/other"), Err(Error::AlreadyExists { .. })), "that is a database");
    for place in ["s3://bucket/repo", "/other/repo", "file:///other/deep/repo"] {
        assert!(matches!(other.backup(place), Err(Error::InvalidArgument { .. })), "{place}");
    }
    let wrong = RestoreOptions { encryption_key: KeySource::raw([1; 32]), ..Default::default() };
    assert!(matches!(world.restore_with(wrong), Err(Error::WrongKey { .. })));
    assert!(matches!(world.restore_with(RestoreOptions::default()), Err(Error::KeyRequired { .. })));
    let full = RestoreOptions { encryption_key: key(), ..Default::default() };
    let onto = Database::restore_with(&world.environment, "/repo", "/other", full.clone(), &NoProgress);
    assert!(matches!(onto, Err(Error::AlreadyExists { .. })));
    let nowhere = Database::restore_with(&world.environment, "/nothing", "/new", full, &NoProgress);
    assert!(matches!(nowhere, Err(Error::NotFound { .. })));
}

#[test]
fn a_restored_database_goes_on_in_a_history_of_its_own_in_the_same_repository() {
    let mut world = World::new(7);
    world.commits(10);
    world.backup();
    world.commits(10);
    world.db.create_restore_point("before").expect("point");
    world.commits(20);
    world.backup();
    let options = RestoreOptions {
        target: RecoveryTarget::Name("before".into()),
        encryption_key: key(),
        ..Default::default()
    };
    let restored =
        Database::restore_with(&world.environment, "/repo", "/db2", options, &NoProgress).expect("restored");
    assert_eq!(restored.sequence.0, 20);
    let db2 = Database::open_in(world.environment.clone(), "/db2", config()).expect("opened");
    world.clock.advance(Duration::from_secs(100));
    db2.put(b"only here", b"1").expect("put");
    // What was flushed before the new history's first backup stays within reach, too.
    db2.close().expect("close");
    let db2 = Database::open_in(world.environment.clone(), "/db2", config()).expect("opened again");
    db2.put(b"only here", b"2").expect("put");
    db2.backup("/repo").expect("the repository takes both histories");
    world.clock.advance(Duration::from_secs(100));
    world.commits(5);
    world.backup();

    let of = |target: RecoveryTarget, incarnation| {
        world.restore_with(RestoreOptions {
            target,
            encryption_key: key(),
            incarnation,
            ..Default::default()
        })
    };
    // Commit 21 is another one in each history.
    let Err(Error::TargetAmbiguous { candidates, .. }) =
        of(RecoveryTarget::Sequence(SequenceNumber(21)), None)
    else {
        panic!("two histories have a commit 21");
    };
    assert_eq!(candidates.len(), 2);
    let (report, model) =
        of(RecoveryTarget::Sequence(SequenceNumber(21)), Some(restored.incarnation)).expect("the new one");
    assert_eq!(report.restored_from, restored.incarnation);
    let mut expected = world.states[20].1.clone();
    expected.insert(b"only here".to_vec(), b"1".to_vec());
    assert_eq!(model, expected);
    let old = Some(restored.restored_from);
    let (_, model) = of(RecoveryTarget::Sequence(SequenceNumber(21)), old).expect("the old one");
    assert_eq!(model, world.states[21].1);
    let (_, model) = of(RecoveryTarget::Sequence(SequenceNumber(15)), None).expect_err_or(&world, 15);
    assert_eq!(model, world.states[15].1);
    let (_, model) = of(RecoveryTarget::Latest, None).expect("the newest backup's history");
    assert_eq!(&model, &world.states.last().expect("states").1);
    let (_, model) = of(RecoveryTarget::Name("before".into()), None).expect("one point, seen by both");
    assert_eq!(model, world.states[20].1);
}

trait OrReport<T> {
    fn expect_err_or(self, world: &World, sequence: u64) -> T;
}

impl<T> OrReport<T> for Result<T> {
    fn expect_err_or(self, world: &World, sequence: u64) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("commit {sequence} of {}: {error}", world.states.len()),
        }
    }
}

#[test]
fn deleting_a_backup_never_breaks_another() {
    let mut world = World::new(13);
    let mut backups = Vec::new();
    for _ in 0..5 {
        world.commits(25);
        world.db.checkpoint().expect("flushed");
        backups.push(world.backup());
    }
    for (deleted, oldest_left) in [(2, 1), (1, 3), (4, 3)] {
        Database::delete_backup_in(&world.environment, "/repo", deleted).expect("deleted");
        assert!(matches!(
            Database::delete_backup_in(&world.environment, "/repo", deleted),
            Err(Error::NotFound { .. })
        ));
        let from = backups[oldest_left - 1].sequence.0;
        for sequence in from..world.states.len() as u64 {
            if sequence % 7 == 0 {
                let target = RecoveryTarget::Sequence(SequenceNumber(sequence));
                let (_, model) = world.restore(target, false).expect_err_or(&world, sequence);
                assert_eq!(model, world.states[sequence as usize].1);
            }
        }
    }
    Database::delete_backup_in(&world.environment, "/repo", 3).expect("deleted");
    let last = Database::delete_backup_in(&world.environment, "/repo", 5);
    assert!(matches!(last, Err(Error::InvalidArgument { .. })), "the only one stays");
    world.commits(5);
    world.backup();
    let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("restored");
    assert_eq!(&model, &world.states.last().expect("states").1);
}

#[test]
fn without_a_log_the_moments_of_backups_can_be_restored_and_others_are_unreachable() {
    let mut world = World::with(17, LightningDbConfig { wal_enabled: false, ..config() });
    world.commits(10);
    let first = world.backup();
    world.commits(10);
    let second = world.backup();
    assert_eq!((first.sequence.0, second.sequence.0), (10, 20));
    for at in [10, 20] {
        let (_, model) =
            world.restore(RecoveryTarget::Sequence(SequenceNumber(at)), false).expect("restored");
        assert_eq!(model, world.states[at as usize].1);
    }
    for at in [9, 15] {
        let refused = world.restore(RecoveryTarget::Sequence(SequenceNumber(at)), false);
        assert!(matches!(refused, Err(Error::TargetNotReachable { .. })), "{at}: {refused:?}");
    }
}

#[test]
fn a_clock_that_steps_back_makes_a_time_ambiguous_and_nothing_else() {
    let mut world = World::new(19);
    world.backup();
    world.commits(10);
    let middle = world.states[5].0;
    world.clock.set(world.states[3].0);
    world.commits(10);
    world.backup();
    let refused = world.restore(RecoveryTarget::Time(system_time(middle)), false);
    assert!(matches!(refused, Err(Error::TargetAmbiguous { .. })), "{refused:?}");
    let (report, model) =
        world.restore(RecoveryTarget::Sequence(SequenceNumber(12)), false).expect("a number is a number");
    assert_eq!((report.sequence.0, &model), (12, &world.states[12].1));
}

fn verified(world: &World, level: VerifyLevel) -> RepositoryReport {
    let options = VerifyOptions {
        level: Some(level),
        encryption_key: key(),
        scratch: Some("/".into()),
        ..Default::default()
    };
    Database::verify_repository_with(&world.environment, "/repo", options, &NoProgress).expect("verified")
}

#[test]
fn a_sound_repository_is_sound_at_every_level() {
    let mut world = World::new(23);
    for round in 0..4 {
        world.commits(40);
        if round == 1 {
            world.db.compact().expect("compact");
        }
        if round == 2 {
            world.db.checkpoint().expect("checkpoint");
            world.commits(10);
            world.db.compact().expect("compact");
        }
        world.backup();
    }
    world.db.close().expect("closed");
    let files = world.memory.files();
    for level in [VerifyLevel::Presence, VerifyLevel::Hashes, VerifyLevel::Contents, VerifyLevel::Restore] {
        let report = verified(&world, level);
        assert!(report.is_sound(), "{level:?}: {:?}", report.problems);
        assert_eq!(report.backups.len(), 4);
        assert_eq!(report.orphan_bytes, 0);
        assert_eq!(report.hashed_bytes, if level == VerifyLevel::Presence { 0 } else { report.bytes });
        assert_eq!(report.log_commits > 0, level >= VerifyLevel::Contents);
        assert_eq!(report.restored, if level == VerifyLevel::Restore { 4 } else { 0 });
    }
    assert_eq!(world.memory.files(), files, "verification leaves nothing behind");
}

/// What is restored from a repository in which something is wrong: the truth, or an error.
fn restored_or_refused(world: &World) -> bool {
    match world.restore(RecoveryTarget::Latest, false) {
        Ok((report, model)) => {
            assert_eq!(model, world.states[report.sequence.0 as usize].1, "never a wrong or missing row");
            true
        }
        Err(error) => {
            assert!(
                error.is_integrity() || error.is_not_found() || error.kind() == "unsupported_format",
                "{error}"
            );
            false
        }
    }
}

#[test]
fn whatever_is_damaged_in_a_repository_is_found_without_a_key() {
    let mut world = World::new(29);
    for _ in 0..3 {
        world.commits(12);
        world.db.checkpoint().expect("flushed");
        world.commits(3);
        world.backup();
    }
    let hashes = VerifyOptions { level: Some(VerifyLevel::Hashes), ..Default::default() };
    let verify =
        || Database::verify_repository_with(&world.environment, "/repo", hashes.clone(), &NoProgress);
    assert!(verify().expect("verified").is_sound());
    let objects: Vec<_> = world.memory.files().into_iter().filter(|path| path.starts_with("/repo")).collect();
    let objects: Vec<_> = objects.into_iter().filter(|path| !path.ends_with("LOCK.writer")).collect();
    let found = |what: &str, path: &Path| {
        let noticed = verify().map_or(true, |report| !report.is_sound());
        assert!(noticed, "{what}: {}", path.display());
    };
    let mut random = 1u64;
    for path in &objects {
        let len = world.memory.metadata(path).expect("an object").len;
        for _ in 0..3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            let (at, bit) = ((random >> 20) % len, 1 << (random >> 60 & 7));
            world.memory.corrupt(path, at, bit).expect("flipped");
            found("flipped", path);
            restored_or_refused(&world);
            world.memory.corrupt(path, at, bit).expect("flipped back");
        }
        let bytes = read(&world, path);
        for (what, other) in
            [("cut", bytes[..bytes.len() - 1].to_vec()), ("longer", [&bytes[..], &[0]].concat())]
        {
            replace(&world, path, &other);
            found(what, path);
            restored_or_refused(&world);
        }
        world.memory.remove_file(path).expect("removed");
        found("missing", path);
        restored_or_refused(&world);
        replace(&world, path, &bytes);
    }
    for (one, other) in objects.iter().zip(&objects[1..]) {
        let (a, b) = (read(&world, one), read(&world, other));
        replace(&world, one, &b);
        replace(&world, other, &a);
        found("swapped", one);
        restored_or_refused(&world);
        replace(&world, one, &a);
        replace(&world, other, &b);
    }
    assert!(verify().expect("verified").is_sound());
    assert!(restored_or_refused(&world));
}

fn read(world: &World, path: &Path) -> Vec<u8> {
    let file = world.memory.open(path, OpenHow::Read).expect("the file");
    let mut bytes = vec![0; file.len().expect("its length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    bytes
}

fn replace(world: &World, path: &Path, bytes: &[u8]) {
    if world.memory.metadata(path).is_ok() {
        world.memory.remove_file(path).expect("removed");
    }
    let file = world.memory.open(path, OpenHow::CreateNew).expect("created");
    file.write_all_at(bytes, 0).expect("written");
}

#[test]
fn a_backup_that_dies_anywhere_leaves_the_earlier_ones_and_the_next_one_clears_up() {
    let mut crash_at = 0;
    loop {
        let mut world = World::new(31);
        world.commits(15);
        world.db.checkpoint().expect("flushed");
        let first = world.backup();
        world.commits(15);
        world.db.checkpoint().expect("flushed");
        let died = world.backup_that_dies(crash_at);
        let report = verified(&world, VerifyLevel::Contents);
        assert!(report.is_sound(), "crash at {crash_at}: {:?}", report.problems);
        let (_, model) = world.restore(RecoveryTarget::Backup(first.backup), false).expect("restored");
        assert_eq!(model, world.states[15].1);

        world.commits(5);
        world.backup();
        let next = world.backup();
        assert_eq!(next.sequence.0, 35);
        let report = verified(&world, VerifyLevel::Contents);
        assert!(report.is_sound() && report.orphan_bytes == 0, "crash at {crash_at}: {:?}", report.problems);
        assert!(world.memory.files().iter().all(|path| !path.to_string_lossy().contains("lightning-tmp")));
        for sequence in [15, 22, 30, 33, 35] {
            let target = RecoveryTarget::Sequence(SequenceNumber(sequence));
            let (_, model) = world.restore(target, false).expect_err_or(&world, sequence);
            assert_eq!(model, world.states[sequence as usize].1, "crash at {crash_at}");
        }
        if !died {
            assert!(crash_at > 20, "a backup makes more calls than {crash_at}");
            break;
        }
        crash_at += 1;
    }
}

#[test]
fn a_repository_can_be_carried_as_one_stream() {
    let mut world = World::new(37);
    for _ in 0..3 {
        world.commits(20);
        world.backup();
    }
    let store = |place: &str| -> Arc<dyn ObjectStore> {
        Arc::new(DirectoryStore::new(Arc::new(world.memory.clone()), Path::new(place)))
    };
    let mut stream = Vec::new();
    let repository = Repository::open(store("/repo")).expect("a repository");
    lightning_db_backup::export_tar(&repository, &mut stream).expect("exported");
    lightning_db_backup::import_tar(&mut &stream[..], &store("/carried")).expect("imported");
    let options = RestoreOptions { encryption_key: key(), ..Default::default() };
    Database::restore_with(&world.environment, "/carried", "/there", options, &NoProgress).expect("restored");
    let there = Database::open_in(world.environment.clone(), "/there", config()).expect("opened");
    assert_eq!(contents(&there).expect("contents"), world.states.last().expect("states").1);
    let again = lightning_db_backup::import_tar(&mut &stream[..], &store("/carried"));
    assert!(again.is_err(), "nothing is written over");

    for len in (0..stream.len() - 2048).step_by(stream.len() / 40) {
        let cut = lightning_db_backup::import_tar(&mut &stream[..len], &store("/cut"));
        assert!(cut.is_err(), "cut at {len}");
        assert!(store("/cut").is_empty().expect("readable") || only_folders(&world, "/cut"), "cut at {len}");
    }
    let at = stream.len() / 2;
    stream[at] ^= 4;
    assert!(lightning_db_backup::import_tar(&mut &stream[..], &store("/flipped")).is_err());
}

fn only_folders(world: &World, place: &str) -> bool {
    let files = world.memory.files().into_iter().filter(|path| path.starts_with(place));
    files.into_iter().all(|path| path.ends_with("LOCK.writer"))
}
