//! Backups, copies, restores, merges, new keys, ways back in time, closing and opening.

use std::path::Path;
use std::time::Duration;

use lightning_db::{CheckDepth, Database, Error, RecoveryTarget, RestoreOptions, VerifyLevel, VerifyOptions};

use super::load::compare_all;
use super::oracle::{OWNERS, Owned};
use super::{Outcome, Soak};
use crate::random::Random;

/// What must happen at least once in so many seconds.
pub(super) const FLOORS: [(&str, u64); 14] = [
    ("upkeep/checkpoint", 15),
    ("upkeep/compact", 30),
    ("upkeep/cache emptied", 30),
    ("upkeep/backup", 10),
    ("upkeep/backup deleted", 15),
    ("upkeep/restore", 60),
    ("upkeep/repository verified", 60),
    ("upkeep/files checked", 60),
    ("upkeep/copy", 60),
    ("upkeep/new data key", 60),
    ("upkeep/restore point", 120),
    ("upkeep/named checkpoint", 30),
    ("upkeep/rollback", 60),
    ("upkeep/opened again", 120),
];

/// Backups that are kept.
const BACKUPS_KEPT: usize = 3;
/// Named checkpoints that are kept.
const NAMES_KEPT: usize = 2;

/// A named checkpoint and what it holds.
type Moment = (String, [Owned; OWNERS]);

impl Soak {
    /// Everything that an administrator does, in any order, again and again.
    pub(super) fn keep_up(&self, random: &mut Random) -> Outcome {
        let mut moments: Vec<Moment> = Vec::new();
        for round in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            self.with(|db| self.keep_up_once(db, round, &mut moments, random))?;
            std::thread::sleep(Duration::from_millis(50 + random.below(700)));
        }
        Ok(())
    }

    fn keep_up_once(
        &self,
        db: &Database,
        round: u64,
        moments: &mut Vec<Moment>,
        random: &mut Random,
    ) -> Outcome {
        let (name, done) = match random.below(40) {
            0..6 => ("upkeep/checkpoint", db.checkpoint().map_err(say)),
            6..9 => ("upkeep/compact", db.compact().map_err(say)),
            9..12 => (
                "upkeep/cache emptied",
                db.evict_cache(random.below(101) as f64 / 100.0).map(drop).map_err(say),
            ),
            12..22 => ("upkeep/backup", self.back_up(db)),
            22..24 => ("upkeep/restore", self.restore(db)),
            24..26 => ("upkeep/repository verified", self.verify()),
            26..28 => ("upkeep/files checked", check(db)),
            28..30 => ("upkeep/copy", self.copy(db)),
            30..32 => ("upkeep/new data key", db.rotate_data_key().map(drop).map_err(say)),
            32 => (
                "upkeep/restore point",
                db.create_restore_point(&format!("point-{round}")).map(drop).map_err(say),
            ),
            33..37 => ("upkeep/named checkpoint", self.name_moment(db, round, moments, random)),
            _ if moments.is_empty() => return Ok(()),
            _ => ("upkeep/rollback", self.turn_back(db, moments, random)),
        };
        done.map_err(|error| format!("{name}: {error}"))?;
        self.hit(name);
        Ok(())
    }

    /// What the owners wrote, while nobody writes.
    fn clone_owned(&self) -> [Owned; OWNERS] {
        std::array::from_fn(|owner| self.owned[owner].lock().clone())
    }

    /// Makes a backup, and deletes all but the newest ones.
    fn back_up(&self, db: &Database) -> Outcome {
        let repository = self.path("repo");
        db.backup(&repository).map_err(say)?;
        let backups = Database::list_backups(&repository).map_err(say)?;
        let too_many = backups.len().saturating_sub(BACKUPS_KEPT);
        for backup in &backups[..too_many] {
            Database::delete_backup(&repository, backup.number).map_err(say)?;
            self.hit("upkeep/backup deleted");
        }
        Ok(())
    }

    /// Restores a backup of this moment elsewhere, and compares.
    fn restore(&self, db: &Database) -> Outcome {
        let repository = self.path("repo");
        let (backup, owned) = {
            let _nobody_writes = self.quiet.write();
            (db.backup(&repository).map_err(say)?.backup, self.clone_owned())
        };
        let restored = self.path("restored");
        let options = RestoreOptions {
            target: RecoveryTarget::Backup(backup),
            encryption_key: self.config.encryption_key.clone(),
            ..RestoreOptions::default()
        };
        Database::restore(&repository, &restored, options).map_err(say)?;
        self.compare_and_remove(&restored, &owned, "restored")
    }

    fn compare_and_remove(&self, path: &Path, owned: &[Owned; OWNERS], when: &str) -> Outcome {
        let copy = Database::open(path, self.config.clone()).map_err(say)?;
        compare_all(&copy.snapshot(), owned, when)?;
        copy.put(b"a way of its own", b"").map_err(say)?;
        copy.close().map_err(say)?;
        drop(copy);
        super::measure::remove_tree(path)
    }

    fn verify(&self) -> Outcome {
        let options = VerifyOptions {
            level: Some(VerifyLevel::Contents),
            encryption_key: self.config.encryption_key.clone(),
            ..VerifyOptions::default()
        };
        let report = match Database::verify_repository(self.path("repo"), options) {
            Err(Error::NotFound { .. }) => return Ok(()),
            report => report.map_err(say)?,
        };
        if report.is_sound() { Ok(()) } else { Err(format!("{:?}", report.problems)) }
    }

    /// Makes a copy of this moment, opens and compares it.
    fn copy(&self, db: &Database) -> Outcome {
        let path = self.path("copy");
        let owned = {
            let _nobody_writes = self.quiet.write();
            db.create_checkpoint(&path).map_err(say)?;
            self.clone_owned()
        };
        self.compare_and_remove(&path, &owned, "a copy")
    }

    fn name_moment(
        &self,
        db: &Database,
        round: u64,
        moments: &mut Vec<Moment>,
        random: &mut Random,
    ) -> Outcome {
        if moments.len() == NAMES_KEPT {
            let (name, _) = moments.remove(random.below(NAMES_KEPT as u64) as usize);
            db.drop_named_checkpoint(&name).map_err(say)?;
        }
        let name = format!("moment-{round}");
        let _nobody_writes = self.quiet.write();
        db.create_named_checkpoint(&name).map_err(say)?;
        moments.push((name, self.clone_owned()));
        Ok(())
    }

    fn turn_back(&self, db: &Database, moments: &[Moment], random: &mut Random) -> Outcome {
        let (name, then) = random.pick(moments);
        compare_all(&db.open_named_checkpoint(name).map_err(say)?, then, "a named checkpoint")?;
        let _nobody_writes = self.quiet.write();
        db.rollback_to(name).map_err(say)?;
        compare_all(&db.snapshot(), then, "after a rollback")?;
        for (owned, then) in self.owned.iter().zip(then) {
            owned.lock().clone_from(then);
        }
        Ok(())
    }

    /// Closes the database and opens it again, snapshots dropped before or after.
    pub(super) fn open_again(&self, random: &mut Random) -> Outcome {
        let every = self.share(30, Duration::from_secs(3));
        loop {
            let due = std::time::Instant::now() + every;
            while std::time::Instant::now() < due {
                if !self.goes_on() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let mut open = self.open.write();
            let db = open.take().ok_or("the database is not open")?;
            self.count_work(&db);
            if random.once_in(2) {
                self.held.lock().clear();
            }
            db.close().map_err(|error| format!("close: {error}"))?;
            drop(db);
            self.held.lock().clear();
            let db =
                Database::open(self.path("db"), self.config.clone()).map_err(|e| format!("open: {e}"))?;
            compare_all(&db.snapshot(), &self.clone_owned(), "opened again")?;
            *open = Some(db);
            self.hit("upkeep/opened again");
        }
    }
}

fn check(db: &Database) -> Outcome {
    let report = db.check(CheckDepth::Deep).map_err(say)?;
    if report.is_sound() { Ok(()) } else { Err(format!("{:?}", report.findings)) }
}

fn say(error: Error) -> String {
    error.to_string()
}
