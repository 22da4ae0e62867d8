//! Going back to checkpoints between backups: every commit of every history is within reach.

use std::collections::BTreeSet;

use lightning_db_storage::Incarnation;

use super::*;

/// A database that goes back now and then, and every state that each of its histories had.
struct Wanderer {
    world: World,
    present: Incarnation,
    model: Model,
    states: BTreeMap<(Incarnation, u64), Model>,
    checkpoints: Vec<(String, Model)>,
    /// The histories that a backup tells of: its own, and those that it grew out of.
    told: BTreeSet<Incarnation>,
}

impl Wanderer {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let present = world.db.engine.ctx.incarnation.get();
        let (model, checkpoints, told) = (Model::new(), Vec::new(), BTreeSet::new());
        Self { world, present, model, states: BTreeMap::new(), checkpoints, told }
    }

    fn note(&mut self, at: SequenceNumber) {
        self.states.insert((self.present, at.0), self.model.clone());
    }

    fn commit(&mut self) {
        self.world.clock.advance(Duration::from_millis(3));
        let key = format!("key {}", self.world.below(20)).into_bytes();
        let value = vec![self.world.below(250) as u8; 1 + self.world.below(300) as usize];
        self.world.db.put(&key, &value).expect("put");
        self.model.insert(key, value);
        self.note(self.world.db.last_sequence());
    }

    fn create_checkpoint(&mut self) {
        let name = format!("checkpoint {}", self.checkpoints.len());
        self.world.db.create_named_checkpoint(&name).expect("checkpoint");
        self.checkpoints.push((name, self.model.clone()));
    }

    fn go_back(&mut self) {
        if self.checkpoints.is_empty() {
            return;
        }
        let chosen = self.world.below(self.checkpoints.len() as u64) as usize;
        let (name, model) = self.checkpoints[chosen].clone();
        let step = self.world.db.rollback_to(&name).expect("rollback");
        self.present = self.world.db.engine.ctx.incarnation.get();
        self.model = model;
        self.note(step);
    }

    fn reopen(&mut self) {
        self.world.db.close().expect("closed");
        self.world.db = Database::open_in(self.world.environment.clone(), "/db", config()).expect("opened");
    }

    fn backup(&mut self) {
        assert!(self.world.backup().lost_log.is_empty());
        let ancestry = self.world.db.engine.catalog.read(|manifest| manifest.ancestry.clone());
        self.told.extend(ancestry.iter().map(|fork| fork.incarnation).chain([self.present]));
    }

    fn step(&mut self) {
        match self.world.below(30) {
            0..4 => self.create_checkpoint(),
            4..6 => self.go_back(),
            6 => self.reopen(),
            7 => self.world.db.checkpoint().expect("flushed"),
            8 => self.world.db.compact().expect("compact"),
            9 => self.backup(),
            _ => self.commit(),
        }
    }

    fn check(&self, seed: u64) {
        for ((incarnation, sequence), model) in &self.states {
            if !self.told.contains(incarnation) {
                continue;
            }
            let options = RestoreOptions {
                target: RecoveryTarget::Sequence(SequenceNumber(*sequence)),
                encryption_key: key(),
                incarnation: Some(*incarnation),
                ..Default::default()
            };
            let restored = self.world.restore_with(options);
            let (report, restored) =
                restored.unwrap_or_else(|error| panic!("seed {seed}: {sequence} of {incarnation}: {error}"));
            assert_eq!((report.sequence.0, report.restored_from), (*sequence, *incarnation), "seed {seed}");
            assert!(restored == *model, "seed {seed}: another state at {sequence} of {incarnation}");
        }
    }
}

#[test]
fn every_commit_after_the_first_backup_is_within_reach_whatever_was_gone_back_to() {
    for seed in 1..9 {
        let mut wanderer = Wanderer::new(seed);
        (0..5).for_each(|_| wanderer.commit());
        wanderer.states.clear();
        wanderer.backup();
        wanderer.note(wanderer.world.db.last_sequence());
        for _ in 0..80 {
            wanderer.step();
        }
        wanderer.backup();
        wanderer.check(seed);
    }
}

#[test]
fn log_of_a_history_that_no_backup_has_seen_waits_for_one() {
    let mut wanderer = Wanderer::new(99);
    wanderer.backup();
    wanderer.note(wanderer.world.db.last_sequence());
    for _ in 0..3 {
        wanderer.create_checkpoint();
        (0..10).for_each(|_| wanderer.commit());
        let (name, model) = wanderer.checkpoints.last().cloned().expect("a checkpoint");
        let step = wanderer.world.db.rollback_to(&name).expect("rollback");
        wanderer.present = wanderer.world.db.engine.ctx.incarnation.get();
        wanderer.model = model;
        wanderer.note(step);
        (0..10).for_each(|_| wanderer.commit());
        wanderer.world.db.checkpoint().expect("what is in the trees needs no log of its own");
        wanderer.reopen();
    }
    wanderer.backup();
    assert_eq!(wanderer.told.len(), 4);
    wanderer.check(99);
}

#[test]
fn restored_copies_that_drew_data_keys_of_their_own_share_a_repository() {
    let mut world = World::new(71);
    world.commits(10);
    let common = world.backup().backup;
    let options = || RestoreOptions {
        target: RecoveryTarget::Backup(common),
        encryption_key: key(),
        ..Default::default()
    };
    let mut expected = Vec::new();
    for place in ["/one", "/two"] {
        Database::restore_with(&world.environment, "/repo", place, options(), &NoProgress).expect("restored");
        let db = Database::open_in(world.environment.clone(), place, config()).expect("opened");
        for step in 0..2 {
            db.rotate_data_key().expect("a new data key");
            db.put(b"who", format!("{place} {step}").as_bytes()).expect("put");
            db.compact().expect("compacted");
            let report = db.backup("/repo").expect("a backup");
            expected.push((report.backup, contents(&db).expect("contents")));
        }
        db.close().expect("closed");
    }
    world.db.put(b"who", b"the original").expect("put");
    expected.push((world.backup().backup, contents(&world.db).expect("contents")));

    let report = verified(&world, VerifyLevel::Restore);
    assert!(report.is_sound(), "{:?}", report.problems);
    for (backup, model) in expected {
        let (_, found) = world.restore(RecoveryTarget::Backup(backup), false).expect("restored");
        assert_eq!(found, model, "backup {backup}");
    }
}

#[test]
fn names_of_moments_outlive_the_backup_that_brought_them() {
    let mut world = World::new(73);
    world.commits(5);
    world.backup();
    world.commits(5);
    world.db.create_restore_point("then").expect("a restore point");
    world.commits(5);
    let newest = world.backup().backup;
    Database::delete_backup_in(&world.environment, "/repo", newest).expect("deleted");
    let (_, model) = world.restore(RecoveryTarget::Name("then".into()), false).expect("the log leads there");
    assert_eq!(model, world.states[10].1);
}

#[test]
fn a_keyring_that_went_with_one_deletion_is_not_missed_after_the_next() {
    let mut world = World::new(74);
    world.commits(5);
    world.backup();
    let mut newer = Vec::new();
    for _ in 0..2 {
        world.db.rotate_data_key().expect("a new data key");
        world.commits(3);
        newer.push(world.backup().backup);
    }
    for number in newer {
        Database::delete_backup_in(&world.environment, "/repo", number).expect("deleted");
    }
    let options = VerifyOptions {
        level: Some(VerifyLevel::Contents),
        encryption_key: key(),
        ..VerifyOptions::default()
    };
    let report = Database::verify_repository_with(&world.environment, "/repo", options, &NoProgress);
    assert_eq!(report.expect("verified").problems, []);
    let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("the log leads there");
    assert_eq!(Some(&model), world.states.last().map(|(_, model)| model));
}
