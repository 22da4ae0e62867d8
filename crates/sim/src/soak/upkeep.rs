//! Backups, copies, restores, merges, new keys, ways back in time, closing and opening.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lightning_db::{CheckDepth, Database, Error, RecoveryTarget, RestoreOptions, VerifyLevel, VerifyOptions};

use super::load::compare_all;
use super::oracle::{OWNERS, Owned};
use super::{Outcome, Soak, THREADS};
use crate::random::Random;

/// What one round in [`KINDS`] does, and in how many of them.
pub(super) const SHARES: [(&str, u64); 12] = [
    ("upkeep/checkpoint", 6),
    ("upkeep/compact", 3),
    ("upkeep/cache emptied", 3),
    ("upkeep/backup", 10),
    ("upkeep/restore", 2),
    ("upkeep/repository verified", 2),
    ("upkeep/files checked", 2),
    ("upkeep/copy", 2),
    ("upkeep/new data key", 2),
    ("upkeep/restore point", 1),
    ("upkeep/named checkpoint", 4),
    ("upkeep/rollback", 3),
];
/// The sum of the shares.
pub(super) const KINDS: u64 = 40;

/// Times that the database is closed and opened in the first part of a run, one in [`LIVES_SHARE`]. Then it stays open: what
/// grows in one that is open for long shows in the quarters after that.
const REOPENED: u32 = 30;
const LIVES_SHARE: u32 = 5;

/// How coverage calls a round, and a backup that was deleted in one.
pub(super) const ROUND: &str = "upkeep/round";
pub(super) const DELETED: &str = "upkeep/backup deleted";

/// The time from one opening to the next close, in the first part.
fn open_for(length: Duration) -> Duration {
    (length / (LIVES_SHARE * REOPENED)).max(Duration::from_secs(2))
}

/// Times that the database is closed in a run of this length if that takes no time.
pub(super) fn planned_closes(length: Duration) -> u32 {
    (length / LIVES_SHARE).div_duration_f64(open_for(length)) as u32
}

/// Backups that are kept.
const BACKUPS_KEPT: usize = 3;
/// Named checkpoints that are kept.
const NAMES_KEPT: usize = 2;

/// A named checkpoint.
pub(super) struct Moment {
    name: String,
    /// What it holds.
    owned: [Owned; OWNERS],
    /// Steps from one history to the next that led to it.
    forks: u64,
}

impl Moment {
    /// Bytes of memory that it takes.
    pub(super) fn size(&self) -> u64 {
        self.owned.iter().map(Owned::size).sum()
    }
}

impl Soak {
    /// Everything that an administrator does, in any order, again and again.
    pub(super) fn keep_up(&self, random: &mut Random) -> Outcome {
        for round in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            self.with(|db| self.keep_up_once(db, round, random))?;
            std::thread::sleep(Duration::from_millis(50 + random.below(700)));
        }
        Ok(())
    }

    fn keep_up_once(&self, db: &Database, round: u64, random: &mut Random) -> Outcome {
        let mut drawn = random.below(KINDS);
        let (name, _) = SHARES
            .iter()
            .find(|(_, share)| {
                let is_it = drawn < *share;
                drawn = drawn.saturating_sub(*share);
                is_it
            })
            .ok_or("the shares do not make up the whole")?;
        let done = match *name {
            "upkeep/checkpoint" => db.checkpoint().map_err(say),
            "upkeep/compact" => db.compact().map_err(say),
            "upkeep/cache emptied" => db.evict_cache(random.below(101) as f64 / 100.0).map(drop).map_err(say),
            "upkeep/backup" => self.back_up(db),
            "upkeep/restore" => self.restore(db),
            "upkeep/repository verified" => self.verify(),
            "upkeep/files checked" => check(db),
            "upkeep/copy" => self.copy(db),
            "upkeep/new data key" => db.rotate_data_key().map(drop).map_err(say),
            "upkeep/restore point" => {
                db.create_restore_point(&format!("point-{round}")).map(drop).map_err(say)
            }
            "upkeep/named checkpoint" => self.name_moment(db, round, random),
            _ => self.turn_back(db, random),
        };
        done.map_err(|error| format!("{name}: {error}"))?;
        self.hit(name);
        Ok(())
    }

    /// What the owners wrote, while nobody writes.
    pub(super) fn clone_owned(&self) -> [Owned; OWNERS] {
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
            self.hit(DELETED);
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

    fn name_moment(&self, db: &Database, round: u64, random: &mut Random) -> Outcome {
        let mut moments = self.moments.lock();
        if moments.len() == NAMES_KEPT {
            let oldest = moments.remove(random.below(NAMES_KEPT as u64) as usize);
            db.drop_named_checkpoint(&oldest.name).map_err(say)?;
        }
        let name = format!("moment-{round}");
        let _nobody_writes = self.quiet.write();
        db.create_named_checkpoint(&name).map_err(say)?;
        let forks = self.forks.load(Ordering::Relaxed);
        moments.push(Moment { name, owned: self.clone_owned(), forks });
        Ok(())
    }

    fn turn_back(&self, db: &Database, random: &mut Random) -> Outcome {
        if self.moments.lock().is_empty() {
            self.name_moment(db, u64::MAX, random)?;
        }
        let moments = self.moments.lock();
        let Moment { name, owned: then, forks } = random.pick(&moments);
        compare_all(&db.open_named_checkpoint(name).map_err(say)?, then, "a named checkpoint")?;
        let _nobody_writes = self.quiet.write();
        db.rollback_to(name).map_err(say)?;
        compare_all(&db.snapshot(), then, "after a rollback")?;
        for (owned, then) in self.owned.iter().zip(then) {
            owned.lock().clone_from(then);
        }
        self.forks.store(forks + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the database and opens it again, snapshots dropped before or after.
    pub(super) fn open_again(&self, random: &mut Random) -> Outcome {
        let every = open_for(self.length);
        let end = self.started + self.length / LIVES_SHARE;
        loop {
            let due = Instant::now() + every;
            while Instant::now() < due {
                if !self.goes_on() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            if Instant::now() > end {
                return Ok(());
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
            self.rest(THREADS)?;
            let db = self.reopen()?;
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
