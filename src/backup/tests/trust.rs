//! Repositories that are not what they were, or not whose they should be.

use lightning_db_crypto::PublicKey;

use super::*;

#[test]
fn a_repository_that_was_set_back_is_told() {
    let mut world = World::new(59);
    let mut told = Vec::new();
    for _ in 0..3 {
        world.commits(5);
        told.push(world.backup().set_back_from);
    }
    assert_eq!(told, [None; 3]);
    let newest = world.memory.files().into_iter().filter(|path| path.starts_with("/repo/manifests")).max();
    world.memory.remove_file(&newest.expect("records")).expect("removed");
    world.commits(5);
    assert_eq!(world.backup().set_back_from, Some(3));
    assert_eq!(world.backup().set_back_from, None);
    let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("restored");
    assert_eq!(&model, &world.states.last().expect("states").1);
}

#[test]
fn nothing_is_restored_that_another_key_signed_than_the_one_that_is_trusted() {
    let mut world = World::new(61);
    world.commits(5);
    world.backup();
    let (own, foreign) = (world.db.public_key(), PublicKey([7; 32]));
    for (public_key, is_trusted) in [(None, true), (Some(own), true), (Some(foreign), false)] {
        let options = RestoreOptions { encryption_key: key(), public_key, ..Default::default() };
        let restored = world.restore_with(options);
        assert_eq!(restored.is_ok(), is_trusted, "{restored:?}");
        assert!(is_trusted || matches!(restored, Err(Error::Corrupt { .. })));
    }
}
