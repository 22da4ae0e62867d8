//! Destroyed keys: what somebody who has every key slot, all files and all old backups can still read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db::{
    Database, DestroyDataKeyOptions, DestroyOptions, EpochId, Error, KeySource, LightningDbConfig,
    NoProgress, RecoveryTarget, RestoreOptions, VerifyLevel, VerifyOptions, Vfs,
};
use lightning_db_crypto::Keyring;
use lightning_db_storage::vfs::{OpenHow, VfsFile};

use crate::support::{KEY, Machine, Model, PATH, Random, assert_holds, contains, small};

const REPOSITORY: &str = "/repository";
const OTHER: &str = "/other";

fn options() -> DestroyOptions {
    DestroyOptions { encryption_key: KeySource::raw(KEY), ..DestroyOptions::default() }
}

fn by_force() -> DestroyDataKeyOptions {
    DestroyDataKeyOptions { force: true, ..DestroyDataKeyOptions::default() }
}

fn fill(db: &Database, model: &mut Model, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..100 {
        let (key, value) = (random.key(200), random.noise(200));
        db.put(&key, &value).expect("put");
        model.insert(key, value);
    }
}

/// Draws a new data key and moves everything under it.
fn leave_data_key(db: &Database) {
    db.rotate_data_key().expect("rotate");
    db.reseal(&NoProgress).expect("reseal");
}

/// Everything on the disk that opens as a keyring with the key, with the data keys in it. The attacker has the key.
fn keyrings_on_disk(machine: &Machine) -> Vec<(PathBuf, Vec<EpochId>)> {
    keyrings_opened_by(machine, &KeySource::raw(KEY))
}

/// As [`keyrings_on_disk`], with the key that the attacker has.
fn keyrings_opened_by(machine: &Machine, key: &KeySource) -> Vec<(PathBuf, Vec<EpochId>)> {
    let provider = key.resolve().expect("a key");
    let open = |path: PathBuf| {
        let keyring = Keyring::open(&machine.read(&path), provider.as_deref()).ok()?;
        Some((path, keyring.epochs().iter().map(|epoch| epoch.id).collect()))
    };
    machine.disk.files().into_iter().filter_map(open).collect()
}

/// What is in no other form of the same keyring: the end of its body.
fn sealed_part(keyring: &[u8]) -> &[u8] {
    &keyring[keyring.len() - 100..]
}

/// Whether any file is still an intact object that `needle` was taken from.
fn anywhere(machine: &Machine, needle: &[u8]) -> Option<PathBuf> {
    machine.disk.files().into_iter().find(|path| contains(&machine.read(path), needle))
}

fn verify(machine: &Machine, repository: &str, level: VerifyLevel) -> lightning_db::RepositoryReport {
    let options = VerifyOptions {
        level: Some(level),
        encryption_key: KeySource::raw(KEY),
        scratch: Some("/".into()),
        ..VerifyOptions::default()
    };
    Database::verify_repository_with(&machine.environment(), repository, options, &NoProgress)
        .expect("verify")
}

fn restore(machine: &Machine, to: &str, target: RecoveryTarget) -> Result<(), Error> {
    let options = RestoreOptions { target, encryption_key: KeySource::raw(KEY), ..RestoreOptions::default() };
    Database::restore_with(&machine.environment(), REPOSITORY, to, options, &NoProgress).map(drop)
}

#[test]
fn nothing_opens_once_all_keys_are_destroyed() {
    let machine = Machine::new(1);
    let db = machine.create(&small());
    let mut model = Model::new();
    fill(&db, &mut model, 1);
    db.add_key(KeySource::raw([2; 32]), "second").expect("add");
    db.backup(REPOSITORY).expect("backup");
    db.rotate_data_key().expect("rotate");
    db.backup(REPOSITORY).expect("backup");
    db.create_checkpoint("/copy").expect("a copy");
    db.create_checkpoint("/taken").expect("a copy that nobody names");
    assert!(matches!(
        Database::destroy_in(&machine.environment(), PATH, &options()),
        Err(Error::Locked { .. })
    ));
    db.close().expect("close");
    drop(db);
    let wrong = DestroyOptions { encryption_key: KeySource::raw([9; 32]), ..options() };
    assert!(matches!(
        Database::destroy_in(&machine.environment(), PATH, &wrong),
        Err(Error::WrongKey { .. })
    ));
    let keyring = machine.read(&Path::new(PATH).join("KEYRING"));

    let named = DestroyOptions { copies: vec!["/copy".into()], ..options() };
    let plan = Database::plan_destruction_in(&machine.environment(), PATH, &named).expect("plan");
    assert!(plan.repositories_known && plan.slots.len() == 2 && plan.file_bytes > 0);
    assert_eq!(plan.places[0].backups, [1, 2]);
    assert_holds(&machine.reopen(&small()), &model, "a plan changes nothing");
    let done = Database::destroy_in(&machine.environment(), PATH, &named).expect("destroy");
    assert_eq!(done.places, plan.places);

    let left: Vec<PathBuf> = keyrings_on_disk(&machine).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [Path::new("/taken/KEYRING"), Path::new("/taken/KEYRING.2")], "only what was not named");
    assert_eq!(anywhere(&machine, sealed_part(&keyring)), None, "no old bytes of the keyring");
    for key in [KeySource::raw(KEY), KeySource::raw([2; 32])] {
        let config = LightningDbConfig { encryption_key: key, ..small() };
        assert!(matches!(machine.open(&config), Err(Error::NotFound { .. })));
    }
    for target in [RecoveryTarget::Latest, RecoveryTarget::Backup(1)] {
        assert!(restore(&machine, "/restored", target).is_err());
    }
    assert!(!verify(&machine, REPOSITORY, VerifyLevel::Hashes).is_sound());
    assert!(matches!(
        Database::destroy_in(&machine.environment(), PATH, &options()),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn what_is_not_reached_is_said() {
    let machine = Machine::new(2);
    let db = machine.create(&small());
    db.put(b"k", b"v").expect("put");
    db.backup(REPOSITORY).expect("backup");
    db.close().expect("close");
    drop(db);
    machine.disk.rename(Path::new(REPOSITORY), Path::new("/moved")).expect("rename");
    let plan = Database::plan_destruction_in(&machine.environment(), PATH, &options()).expect("plan");
    assert!(plan.places[0].problem().is_some_and(|problem| problem.contains("not reached")));
    let unknown = DestroyOptions::default();
    let plan =
        Database::plan_destruction_in(&machine.environment(), PATH, &unknown).expect("plan without a key");
    assert!(!plan.repositories_known && plan.places.is_empty());
    let named = DestroyOptions { repositories: vec!["/moved".into()], ..unknown };
    Database::destroy_in(&machine.environment(), PATH, &named).expect("destroy");
    assert_eq!(keyrings_on_disk(&machine), []);
}

/// Two databases with one key: neither takes the other's copies or repositories along.
#[test]
fn what_belongs_to_another_database_is_refused_before_anything_is_destroyed() {
    let machine = Machine::new(3);
    let db = machine.create(&small());
    let other = Database::create_in(machine.environment(), "/second", small()).expect("create");
    other.put(b"k", b"v").expect("put");
    other.backup(OTHER).expect("backup");
    for db in [db, other] {
        db.close().expect("close");
    }
    let before = keyrings_on_disk(&machine);
    let copies = DestroyOptions { copies: vec!["/second".into()], ..options() };
    let refused = Database::destroy_in(&machine.environment(), PATH, &copies);
    assert!(matches!(refused, Err(Error::InvalidArgument { argument: "copies", .. })), "{refused:?}");
    let repositories = DestroyOptions { repositories: vec![OTHER.into()], ..options() };
    let refused = Database::destroy_in(&machine.environment(), PATH, &repositories);
    assert!(matches!(refused, Err(Error::Diverged { .. })), "{refused:?}");
    assert_eq!(keyrings_on_disk(&machine), before);
}

/// A database with two repositories, a copy, and what copies and restores left that died: under their own names, the first
/// copy of the keyring gone, or still being written.
fn with_everything(seed: u64) -> (Machine, DestroyOptions) {
    let machine = Machine::new(seed);
    let db = machine.create(&small());
    db.put(b"k", b"v").expect("put");
    db.backup(REPOSITORY).expect("backup");
    db.backup(OTHER).expect("backup");
    db.create_checkpoint("/copy").expect("copy");
    db.close().expect("close");
    for left in ["/elsewhere.creating-01", "/db.creating-02", "/target.restoring-03"] {
        machine.disk.copy_tree(Path::new("/copy"), Path::new(left)).expect("copy");
    }
    let remove = |path: &str| machine.disk.remove_file(Path::new(path)).expect("remove");
    remove("/elsewhere.creating-01/KEYRING");
    remove("/target.restoring-03/KEYRING");
    let (from, to) = ("/target.restoring-03/KEYRING.2", "/target.restoring-03/KEYRING.2.tmp");
    machine.disk.rename(Path::new(from), Path::new(to)).expect("rename");
    for left in ["/elsewhere.creating-01", "/target.restoring-03"] {
        machine.disk.sync_dir(Path::new(left)).expect("sync");
    }
    (machine, DestroyOptions { copies: vec!["/copy".into()], ..options() })
}

#[test]
fn a_destruction_that_died_is_gone_on_with() {
    let mut call = 0;
    loop {
        let (machine, options) = with_everything(4);
        let environment = machine.environment_dying_at(call);
        let outcome = Database::destroy_in(&environment, PATH, &options);
        let crashed = machine.plan().crashed();
        let mut random = Random(call);
        let keep = random.keep();
        machine.disk.crash(&mut || random.next(), keep);
        let is_left = !keyrings_on_disk(&machine).is_empty();
        if crashed {
            // The same command again.
            match Database::destroy_in(&machine.environment(), PATH, &options) {
                Ok(_) => {}
                // One copy of the keyring is left with nothing in it, or none.
                Err(Error::NotFound { .. } | Error::Corrupt { .. }) if !is_left => {}
                Err(error) => panic!("call {call}: {error}"),
            }
        } else {
            outcome.expect("nothing went wrong");
        }
        assert_eq!(keyrings_on_disk(&machine), [], "call {call}");
        if !crashed {
            assert!(call > 20);
            break;
        }
        call += 1;
    }
}

#[test]
fn what_another_database_left_beside_it_is_none_of_its() {
    let (machine, options) = with_everything(13);
    let other = Database::create_in(machine.environment(), "/db.creating-04", small()).expect("create");
    other.put(b"k", b"v").expect("put");
    other.close().expect("close");
    drop(other);
    Database::destroy_in(&machine.environment(), PATH, &options).expect("destroy");
    let left: Vec<PathBuf> = keyrings_on_disk(&machine).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, ["KEYRING", "KEYRING.2"].map(|name| Path::new("/db.creating-04").join(name)));
}

#[test]
fn whatever_is_in_use_stops_it_before_anything_is_destroyed() {
    let (machine, options) = with_everything(14);
    let before = keyrings_on_disk(&machine);
    for lock in ["/copy/LOCK", "/db/LOCK", "/other/LOCK.writer"] {
        let held = machine.disk.lock(Path::new(lock)).expect("lock");
        let refused = Database::destroy_in(&machine.environment(), PATH, &options);
        assert!(matches!(refused, Err(Error::Locked { .. })), "{lock}: {refused:?}");
        assert_eq!(keyrings_on_disk(&machine), before, "{lock}");
        drop(held);
    }
    for copy in ["/nowhere", "/copy/KEYRING"] {
        let mistaken = DestroyOptions { copies: vec![copy.into()], ..options.clone() };
        let refused = Database::destroy_in(&machine.environment(), PATH, &mistaken);
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{copy}: {refused:?}");
    }
    assert_eq!(keyrings_on_disk(&machine), before);
}

/// Where only an old registration leads to it.
#[test]
fn another_database_s_repository_in_the_place_of_a_registered_one_is_told_and_left() {
    let machine = Machine::new(15);
    let db = machine.create(&small());
    db.backup(REPOSITORY).expect("backup");
    db.close().expect("close");
    let other = Database::create_in(machine.environment(), "/second", small()).expect("create");
    machine.disk.rename(Path::new(REPOSITORY), Path::new("/moved")).expect("rename");
    other.backup(REPOSITORY).expect("backup");
    other.close().expect("close");
    let named = DestroyOptions { repositories: vec!["/moved".into()], ..options() };
    let done = Database::destroy_in(&machine.environment(), PATH, &named).expect("destroy");
    assert!(
        done.places.iter().any(|place| place.place == Path::new(REPOSITORY) && place.unreached.is_some())
    );
    let left = keyrings_on_disk(&machine);
    assert_eq!(left.len(), 3, "the other database's own two, and that in its repository: {left:?}");
}

#[test]
fn a_data_key_that_is_destroyed_opens_nothing_in_files_and_old_backups() {
    let machine = Machine::new(5);
    let db = machine.create(&small());
    let mut model = Model::new();
    fill(&db, &mut model, 1);
    let old = db.data_keys()[0].epoch;
    for repository in [REPOSITORY, OTHER] {
        db.backup(repository).expect("backup");
    }
    fill(&db, &mut model, 2);
    db.backup(REPOSITORY).expect("backup");
    let refused = db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress);
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "it is the current one: {refused:?}");
    db.rotate_data_key().expect("rotate");
    let refused = db.destroy_data_key(old, &by_force(), &NoProgress);
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "live data is under it: {refused:?}");
    db.reseal(&NoProgress).expect("reseal");
    fill(&db, &mut model, 3);
    let keyring = machine.read(&Path::new(PATH).join("KEYRING"));
    let plan = db.plan_data_key_destruction(old, &DestroyDataKeyOptions::default()).expect("plan");
    let lost: Vec<_> = plan.places.iter().map(|place| (place.place.clone(), place.backups.clone())).collect();
    assert_eq!(lost, [(OTHER.into(), vec![1]), (REPOSITORY.into(), vec![1, 2])]);
    db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress).expect("destroy");

    assert!(db.data_keys().iter().all(|key| key.epoch != old));
    for (path, epochs) in keyrings_on_disk(&machine) {
        assert!(!epochs.contains(&old), "{} has it", path.display());
    }
    assert_eq!(anywhere(&machine, sealed_part(&keyring)), None, "no keyring of before");
    assert_holds(&db, &model, "the database");
    fill(&db, &mut model, 4);
    db.backup(REPOSITORY).expect("backups go on");
    for repository in [REPOSITORY, OTHER] {
        let report = verify(&machine, repository, VerifyLevel::Restore);
        assert!(report.is_sound(), "{repository}: {:#?}", report.problems);
    }
    assert!(matches!(restore(&machine, "/one", RecoveryTarget::Backup(1)), Err(Error::NotFound { .. })));
    restore(&machine, "/latest", RecoveryTarget::Latest).expect("restore");
    let latest = Database::open_in(machine.environment(), "/latest", small()).expect("open");
    assert_holds(&latest, &model, "restored");
    let again = db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress);
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
    db.close().expect("close");
    drop(db);
    assert_holds(&machine.reopen(&small()), &model, "opened again");
}

#[test]
fn checkpoints_go_with_a_data_key_only_by_force() {
    let machine = Machine::new(6);
    let db = machine.create(&small());
    let mut model = Model::new();
    fill(&db, &mut model, 1);
    let old = db.data_keys()[0].epoch;
    db.create_named_checkpoint("kept").expect("checkpoint");
    leave_data_key(&db);
    let refused = db
        .destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress)
        .expect_err("a checkpoint needs it");
    assert!(refused.to_string().contains("kept"), "{refused}");
    assert_eq!(db.named_checkpoints().len(), 1);
    db.destroy_data_key(old, &by_force(), &NoProgress).expect("by force");
    assert_eq!(db.named_checkpoints().len(), 0);
    assert_holds(&db, &model, "live data stays");
}

/// Whatever refuses it does so before anything is given up.
#[test]
fn nothing_is_given_up_for_a_data_key_that_stays() {
    let machine = Machine::new(16);
    let db = machine.create(&small());
    let mut model = Model::new();
    fill(&db, &mut model, 1);
    let old = db.data_keys()[0].epoch;
    db.create_named_checkpoint("kept").expect("checkpoint");
    leave_data_key(&db);
    db.add_key(KeySource::raw([2; 32]), "second").expect("add");
    db.remove_key(db.key_slots()[0].id).expect("remove");
    let refused = db.destroy_data_key(old, &by_force(), &NoProgress);
    assert!(matches!(refused, Err(Error::WrongKey { .. })), "{refused:?}");
    assert_eq!(db.named_checkpoints().len(), 1);
    db.close().expect("close");
    drop(db);
    let db = machine.reopen(&LightningDbConfig { encryption_key: KeySource::raw([2; 32]), ..small() });
    assert_eq!(db.named_checkpoints().len(), 1);
    db.destroy_data_key(old, &by_force(), &NoProgress).expect("destroy");
    assert_eq!(db.named_checkpoints().len(), 0);
    assert_holds(&db, &model, "live data stays");
}

/// Killed anywhere while a data key is destroyed: the database opens and has everything, and what was begun can be ended.
#[test]
fn a_destruction_of_a_data_key_that_died_is_gone_on_with() {
    let mut call = 0;
    loop {
        let machine = Machine::new(7);
        let db = machine.create(&small());
        let mut model = Model::new();
        fill(&db, &mut model, 1);
        let old = db.data_keys()[0].epoch;
        db.backup(REPOSITORY).expect("backup");
        db.rotate_data_key().expect("rotate");
        db.reseal(&NoProgress).expect("reseal");
        db.close().expect("close");
        drop(db);
        let db = machine.reopen(&small());
        machine.plan().crash_at(call);
        let outcome = db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress);
        let crashed = machine.plan().crashed();
        machine.plan().crash_at(0);
        drop(db);
        let mut random = Random(call);
        let keep = random.keep();
        machine.disk.crash(&mut || random.next(), keep);
        let db = machine.reopen(&small());
        assert_holds(&db, &model, &format!("call {call}"));
        match db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress) {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => panic!("call {call}: {error}"),
        }
        assert!(keyrings_on_disk(&machine).iter().all(|(_, epochs)| !epochs.contains(&old)), "call {call}");
        assert!(verify(&machine, REPOSITORY, VerifyLevel::Contents).is_sound(), "call {call}");
        if !crashed {
            outcome.expect("nothing went wrong");
            assert!(call > 20);
            break;
        }
        call += if call > 30 { 7 } else { 1 };
    }
}

/// The files that these names stand for now, whatever becomes of the names.
fn held(machine: &Machine, names: &[PathBuf]) -> Vec<(PathBuf, Arc<dyn VfsFile>)> {
    let open = |path: &PathBuf| (path.clone(), machine.disk.open(path, OpenHow::Read).expect("open"));
    names.iter().map(open).collect()
}

#[track_caller]
fn assert_overwritten(files: &[(PathBuf, Arc<dyn VfsFile>)], what: &str) {
    assert!(!files.is_empty(), "{what}");
    for (path, file) in files {
        let mut bytes = vec![1; file.len().expect("length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == 0), "{what}: {}", path.display());
    }
}

fn keyring_files() -> [PathBuf; 2] {
    ["KEYRING", "KEYRING.2"].map(|name| Path::new(PATH).join(name))
}

/// Whatever is done to keys: who searches the free blocks of the disk afterwards finds no keyring of before.
#[test]
fn what_a_keyring_was_is_overwritten_at_each_change() {
    type Change = fn(&Database);
    let machine = Machine::new(8);
    let db = machine.create(&small());
    let changes: [(&str, Change); 7] = [
        ("add", |db| _ = db.add_key(KeySource::raw([2; 32]), "second").expect("add")),
        ("rewrap", |db| db.rewrap_key(db.key_slots()[1].id, KeySource::raw([3; 32])).expect("rewrap")),
        ("remove", |db| db.remove_key(db.key_slots()[1].id).expect("remove")),
        ("rotate", |db| _ = db.rotate_data_key().expect("rotate")),
        ("rotate the master key", |db| _ = db.rotate_master_key(&[], &[]).expect("rotate")),
        ("reseal, to destroy", |db| {
            db.reseal(&NoProgress).expect("reseal");
            db.rotate_data_key().expect("rotate");
        }),
        ("destroy", |db| {
            let old = db.data_keys()[0].epoch;
            db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress).expect("destroy");
        }),
    ];
    for (what, change) in changes {
        let before = held(&machine, &keyring_files());
        change(&db);
        assert_overwritten(&before, what);
    }
}

#[test]
fn keyrings_that_a_repository_lets_go_of_are_overwritten() {
    let machine = Machine::new(10);
    let db = machine.create(&small());
    for _ in 0..3 {
        db.put(b"k", b"v").expect("put");
        db.rotate_data_key().expect("rotate");
        db.backup(REPOSITORY).expect("backup");
    }
    let keyrings = || -> Vec<PathBuf> {
        let folder = Path::new(REPOSITORY).join("keyrings");
        machine.disk.files().into_iter().filter(|path| path.starts_with(&folder)).collect()
    };
    let before = held(&machine, &keyrings());
    for backup in [1, 2] {
        Database::delete_backup_in(&machine.environment(), REPOSITORY, backup).expect("delete");
    }
    let left = keyrings();
    let gone: Vec<_> = before.into_iter().filter(|(path, _)| !left.contains(path)).collect();
    assert_overwritten(&gone, "deleted with its backup");
}

#[test]
fn a_keyring_that_a_kill_left_half_way_is_overwritten_before_it_is_removed() {
    let temporary = Path::new(PATH).join("KEYRING.tmp");
    let mut found = 0;
    for call in 0..20 {
        let machine = Machine::new(11);
        let db = machine.create(&small());
        machine.plan().crash_at(call);
        let _ = db.rotate_data_key();
        drop(db);
        machine.plan().crash_at(0);
        machine.disk.kill_process();
        let is_there = machine.disk.metadata(&temporary).is_ok_and(|found| found.len > 0);
        let left = if is_there { held(&machine, std::slice::from_ref(&temporary)) } else { Vec::new() };
        machine.reopen(&small()).close().expect("close");
        if is_there {
            assert_overwritten(&left, &format!("call {call}"));
            found += 1;
        }
    }
    assert!(found > 0, "no kill left one");
}

/// A copy that was made with links shares the keyring's file until that is replaced. It keeps it, with all its keys.
#[test]
fn a_copy_made_with_links_keeps_its_keyring() {
    let machine = Machine::new(12);
    let db = machine.create(&small());
    let mut model = Model::new();
    fill(&db, &mut model, 1);
    db.rotate_data_key().expect("rotate");
    db.close().expect("close");
    drop(db);
    machine.disk.create_dir(Path::new("/linked")).expect("a folder");
    for entry in machine.disk.list(Path::new(PATH)).expect("list") {
        let (from, to) = (Path::new(PATH).join(&entry.name), Path::new("/linked").join(&entry.name));
        machine.disk.hard_link(&from, &to).expect("link");
    }
    let db = machine.reopen(&small());
    db.reseal(&NoProgress).expect("reseal");
    let old = db.data_keys()[0].epoch;
    let plan = db.plan_data_key_destruction(old, &DestroyDataKeyOptions::default()).expect("plan");
    assert!(plan.is_keyring_linked, "it is said");
    db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress).expect("destroy");
    let again = db.plan_data_key_destruction(db.data_keys()[0].epoch, &DestroyDataKeyOptions::default());
    assert!(!again.expect("plan").is_keyring_linked, "what replaced it has one name");
    db.close().expect("close");
    drop(db);
    let linked = Database::open_in(machine.environment(), "/linked", small()).expect("open");
    assert_holds(&linked, &model, "the copy");
}

/// What SECURITY.md says to do when a slot's key leaked, word by word; then whoever has the leaked key attacks.
fn after_a_leak(options: &DestroyDataKeyOptions) -> (Machine, Vec<lightning_db::KeyPlace>, EpochId) {
    let machine = Machine::new(9);
    let db = machine.create(&small());
    let mut model = Model::new();
    fill(&db, &mut model, 1);
    let old = db.data_keys()[0].epoch;
    db.backup(REPOSITORY).expect("backup");
    fill(&db, &mut model, 2);
    db.backup(REPOSITORY).expect("backup");
    let second = KeySource::raw([2; 32]);
    db.add_key(second.clone(), "second").expect("add");
    let new = || KeySource::raw([3; 32]);
    db.rewrap_key(db.key_slots()[0].id, new()).expect("rewrap");
    db.close().expect("close");
    drop(db);

    let safe = LightningDbConfig { encryption_key: new(), ..small() };
    let db = machine.reopen(&safe);
    db.rotate_master_key(&[second], &[]).expect("rotate");
    db.reseal(&NoProgress).expect("reseal");
    db.backup(REPOSITORY).expect("backup");
    let planned = db.plan_data_key_destruction(old, options).expect("plan").places;
    let done = db.destroy_data_key(old, options, &NoProgress).expect("destroy").places;
    assert_eq!(planned[0].unknown, done[0].unknown, "the plan says what is left");
    assert_holds(&db, &model, "the database");
    db.close().expect("close");
    (machine, done, old)
}

#[test]
fn after_a_leak_the_leaked_key_opens_nothing_that_has_the_old_data_key() {
    let leaked = KeySource::raw(KEY);
    let options = DestroyDataKeyOptions { keys: vec![leaked.clone()], ..DestroyDataKeyOptions::default() };
    let (machine, places, old) = after_a_leak(&options);
    assert_eq!((places[0].problem(), &places[0].backups[..]), (None, &[1, 2, 3][..]));
    assert_eq!(keyrings_opened_by(&machine, &leaked), []);
    for key in [KeySource::raw([2; 32]), KeySource::raw([3; 32])] {
        let found = keyrings_opened_by(&machine, &key);
        assert!(found.len() >= 3, "the database's two, and one in the repository: {found:?}");
        assert!(found.iter().all(|(_, epochs)| !epochs.contains(&old)), "{found:?}");
    }
}

/// Where nobody has the leaked key any more: what is left is told, and goes when that is asked for.
#[test]
fn keyrings_of_an_unknown_key_are_told_and_go_when_asked_for() {
    let leaked = KeySource::raw(KEY);
    let (machine, places, old) = after_a_leak(&DestroyDataKeyOptions::default());
    assert_eq!(
        (&places[0].backups[..], places[0].keyrings),
        (&[3][..], 1),
        "what is known goes all the same"
    );
    assert_eq!((places[0].unknown.len(), &places[0].unknown_backups[..]), (1, &[1, 2][..]));
    assert!(places[0].problem().is_some_and(|problem| problem.contains("backups 1, 2")), "{places:?}");
    assert_eq!(keyrings_opened_by(&machine, &leaked).len(), 1, "and what is told to be left is");

    let unknown = DestroyDataKeyOptions { unknown_keyrings: true, ..DestroyDataKeyOptions::default() };
    let safe = LightningDbConfig { encryption_key: KeySource::raw([3; 32]), ..small() };
    let db = machine.reopen(&safe);
    db.destroy_data_key(old, &unknown, &NoProgress).expect("goes on");
    db.close().expect("close");
    let (machine_two, places, _) = after_a_leak(&unknown);
    assert_eq!(places[0].problem(), None);
    for machine in [machine, machine_two] {
        assert_eq!(keyrings_opened_by(&machine, &leaked), []);
        let options = VerifyOptions {
            level: Some(VerifyLevel::Restore),
            encryption_key: KeySource::raw([3; 32]),
            scratch: Some("/".into()),
            ..VerifyOptions::default()
        };
        let report =
            Database::verify_repository_with(&machine.environment(), REPOSITORY, options, &NoProgress)
                .expect("verify");
        assert!(report.is_sound() && !report.backups.is_empty(), "{:#?}", report.problems);
        let options = RestoreOptions { encryption_key: KeySource::raw([3; 32]), ..RestoreOptions::default() };
        Database::restore_with(&machine.environment(), REPOSITORY, "/restored", options, &NoProgress)
            .expect("the newest state is restored");
    }
}

/// A commit in several pieces of the log, and nothing behind it: none of them is opened again once the key is gone.
#[test]
fn the_log_of_a_large_last_commit_is_not_missed_with_its_data_key() {
    let machine = Machine::new(21);
    let db = machine.create(&small());
    db.put(b"k", b"v").expect("put");
    db.backup(REPOSITORY).expect("backup");
    let large = Random(22).noise(20 << 20);
    db.put(b"large", &large).expect("put");
    let old = db.data_keys()[0].epoch;
    leave_data_key(&db);
    db.destroy_data_key(old, &DestroyDataKeyOptions::default(), &NoProgress).expect("destroy");
    let report = verify(&machine, REPOSITORY, VerifyLevel::Restore);
    assert!(report.is_sound(), "{:#?}", report.problems);
    let now = machine.environment().clock.now_micros().unsigned_abs();
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_micros(now);
    for (place, target) in [("/latest", RecoveryTarget::Latest), ("/now", RecoveryTarget::Time(now))] {
        restore(&machine, place, target).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}
