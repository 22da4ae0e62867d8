//! Another database of the same key, and its repository, in the place of everything.

use lightning_db::{Database, Error, NoProgress, PublicKey, RestoreOptions};
use lightning_db_storage::vfs::MemVfs;

use super::database::environment;
use super::specimen::{DATABASE, Model, REPOSITORY, Story};
use super::undetectable::Undetectable;
use crate::coverage::Coverage;

const RESTORED: &str = "/restored";

/// Shows that nobody can tell who has nothing but the key, and that who knows the database's public key can.
///
/// # Errors
/// Where it is otherwise.
pub(super) fn replace(own: &Story, stranger: &Story, coverage: &mut Coverage) -> Result<(), String> {
    let text = |error: Error| format!("another database in the place of everything: {error}");
    let disk = stranger.killed.disk.fork();
    let db = Database::open_read_only_in(environment(&disk), DATABASE, own.config.clone()).map_err(text)?;
    let seen = (db.last_sequence().0, content(&db).map_err(text)?);
    if stranger.state(seen.0) != Some(&seen.1) {
        return Err("another database in the place of everything gives what it never held".into());
    }
    let restored = restore(own, &disk, None).map_err(text)?;
    if stranger.state(stranger.backed_up) != Some(&restored) {
        return Err("another repository in the place of everything gives what it never held".into());
    }
    coverage.hit(&format!("not noticed/{}", Undetectable::AnotherDatabase.title()));
    let disk_of_own = own.closed.disk.fork();
    let own_key = Database::open_read_only_in(environment(&disk_of_own), DATABASE, own.config.clone())
        .map_err(text)?
        .public_key();
    match restore(own, &disk, Some(own_key)) {
        Err(Error::Corrupt { .. }) => Ok(()),
        Err(error) => Err(text(error)),
        Ok(_) => {
            Err("a repository that another database signed is restored, although the key is pinned".into())
        }
    }
}

fn restore(own: &Story, disk: &MemVfs, public_key: Option<PublicKey>) -> Result<Model, Error> {
    let disk = disk.fork();
    let encryption_key = own.config.encryption_key.clone();
    let options = RestoreOptions { encryption_key, public_key, ..RestoreOptions::default() };
    Database::restore_with(&environment(&disk), REPOSITORY, RESTORED, options, &NoProgress)?;
    content(&*Database::open_read_only_in(environment(&disk), RESTORED, own.config.clone())?)
}

fn content(db: &Database) -> Result<Model, Error> {
    db.scan(None, None)?.collect()
}
