//! `keys destroy DB`

use std::io::{self, Write};
use std::path::PathBuf;

use lightning_db::{
    DataKeyDestruction, Database, DestroyDataKeyOptions, DestroyOptions, EpochId, KeyDestruction, KeyPlace,
};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::key::{self, Ask};
use crate::output::human::{Size, counted};
use crate::output::progress::Progress;
use crate::session::Session;

/// What stays out of reach, whatever is destroyed.
const BEYOND: &str = "Not reached: copies that were taken elsewhere (cp, snapshots of file systems and disks, checkpoints made \
                      as directories, repositories that are not named here). Who has one of these, and a key that opened the \
                      database then, can still read it. Overwriting does not reach what a disk or file system keeps that \
                      never writes in place";

/// Which keys to destroy.
#[derive(Debug, clap::Args)]
pub(super) struct Destroy {
    /// The database's directory
    db: PathBuf,
    /// Only this data key, as `keys epochs` shows it; live data is not under it any more, see `keys rotate --now`
    #[arg(long, value_name = "EPOCH")]
    epoch: Option<u32>,
    /// With --epoch: also if named checkpoints, or log that no backup has fetched, are lost with it
    #[arg(long, requires = "epoch")]
    force: bool,
    /// With --epoch: a key that opened the database once, written as for --key; it tells what is in the keyrings of older
    /// backups. Once for each
    #[arg(long, value_name = "URI", requires = "epoch")]
    slot_key: Vec<String>,
    /// With --epoch: destroy also the keyrings in repositories that no key opens, with the backups made beside them
    #[arg(long, requires = "epoch")]
    unknown_keyrings: bool,
    /// A repository with keys of the database, beside those that are registered; once for each
    #[arg(long, value_name = "REPO")]
    repository: Vec<PathBuf>,
    /// A copy of the database, whose keys go, too; once for each
    #[arg(long, value_name = "DIR", conflicts_with = "epoch")]
    copy: Vec<PathBuf>,
    /// Without a key: destroy the keys though it is not known which repositories are registered and have them, too
    #[arg(long, conflicts_with = "epoch")]
    repositories_unknown: bool,
    /// Only say what would be lost
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it without being asked
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Destroyed {
    destroyed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    database: Option<String>,
    repositories_known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyring_linked: Option<bool>,
    places: Vec<Place>,
    not_reached: &'static str,
}

#[derive(Serialize)]
struct Place {
    place: String,
    keyrings: usize,
    backups: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_keyrings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_backups: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreached: Option<String>,
}

impl Destroy {
    pub(super) fn run(self, session: &Session) -> Outcome {
        match self.epoch {
            Some(epoch) => self.data_key(session, EpochId(epoch)),
            None => self.all(session),
        }
    }

    fn all(&self, session: &Session) -> Outcome {
        let options = DestroyOptions {
            encryption_key: session.key(Ask::ToOpen)?,
            repositories: self.repository.clone(),
            copies: self.copy.clone(),
        };
        let plan = Database::plan_destruction(&self.db, &options)?;
        let told = self.told(&plan);
        if self.dry_run {
            return session.output.report(told, &object_of_all(&plan, false));
        }
        if !plan.repositories_known && !self.repositories_unknown {
            let how = "give --key, or name them with --repository and say --repositories-unknown";
            return Err(Failure::Usage(format!("{told}\nNothing was destroyed: {how}")));
        }
        self.confirm(&told)?;
        let done = Database::destroy(&self.db, &options)?;
        let text = format!(
            "all keys of {} are destroyed; what is left of it are {} that nobody can read. {BEYOND}",
            self.db.display(),
            Size(done.file_bytes)
        );
        session.output.done(text, &object_of_all(&done, true))?;
        let mut left = problems(&done.places);
        if !done.repositories_known {
            left.push("it is not known which repositories are registered".to_owned());
        }
        self.all_or(left)
    }

    fn data_key(&self, session: &Session, epoch: EpochId) -> Outcome {
        let keys = self.slot_key.iter().map(|uri| key::from_uri("--slot-key", uri, Ask::ToOpen));
        let options = DestroyDataKeyOptions {
            repositories: self.repository.clone(),
            keys: keys.collect::<Outcome<_>>()?,
            unknown_keyrings: self.unknown_keyrings,
            force: self.force,
        };
        let db = if self.dry_run { session.open_read_only(&self.db)? } else { session.open(&self.db)? };
        let plan = db.plan_data_key_destruction(epoch, &options)?;
        let told = self.told_of_epoch(&plan);
        if self.dry_run {
            return session.output.report(told, &object_of_epoch(&plan, false));
        }
        self.confirm(&told)?;
        let progress = Progress::new(session.output, "backing up", 0);
        let done = db.destroy_data_key(epoch, &options, &progress)?;
        drop(progress);
        db.close()?;
        let text = format!(
            "data key {epoch} of {} is destroyed{}{}. {BEYOND}",
            self.db.display(),
            taken(&done.places),
            linked(&done)
        );
        session.output.done(text, &object_of_epoch(&done, true))?;
        self.all_or(problems(&done.places))
    }

    /// Fails if anything was left.
    fn all_or(&self, left: Vec<String>) -> Outcome {
        if left.is_empty() {
            return Ok(());
        }
        let text =
            format!("keys of {} were destroyed, but not everywhere: {}", self.db.display(), left.join("; "));
        Err(Failure::Incomplete(text))
    }

    fn told(&self, plan: &KeyDestruction) -> String {
        let slots: Vec<String> =
            plan.slots.iter().map(|slot| format!("{} ({}, {})", slot.id, slot.label, slot.kind)).collect();
        let known = if plan.repositories_known {
            ""
        } else {
            "\nWithout a key it is not known which repositories are registered: name them with --repository"
        };
        format!(
            "This destroys all keys of {} for ever: {} of data, and key slots {}.{}{known}",
            self.db.display(),
            Size(plan.file_bytes),
            slots.join(", "),
            lines(&plan.places)
        )
    }

    fn told_of_epoch(&self, plan: &DataKeyDestruction) -> String {
        let here = match &plan.key {
            None => "the database has it no longer".to_owned(),
            Some(key) if key.is_unused() => "nothing in the database needs it".to_owned(),
            Some(key) => format!("needed in the database by {key}"),
        };
        format!(
            "This destroys data key {} of {} for ever ({here}). Each repository gets a backup first, and loses those that were \
             made while the database had the key{}.{}",
            plan.epoch,
            self.db.display(),
            linked(plan),
            lines(&plan.places)
        )
    }

    /// Asks, unless told not to.
    fn confirm(&self, told: &str) -> Outcome {
        if self.yes {
            return Ok(());
        }
        if !key::can_ask() {
            return Err(Failure::Usage(format!("{told}\nGive --yes to do it")));
        }
        let wanted = self.db.display().to_string();
        eprint!("{told}\nType {wanted} to do it: ");
        let mut typed = String::new();
        let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut typed));
        read.map_err(|error| Failure::Usage(format!("nobody answered ({error}); nothing was destroyed")))?;
        if typed.trim_end_matches(['\r', '\n']) == wanted {
            return Ok(());
        }
        Err(Failure::Usage("another name was typed; nothing was destroyed".into()))
    }
}

/// What is lost in each place, and what is left.
fn lines(places: &[KeyPlace]) -> String {
    let line = |place: &KeyPlace| {
        let keyrings = || counted(place.keyrings as u64, "keyring", "keyrings");
        let lost = match (place.keyrings, &place.backups[..]) {
            (0, _) => None,
            (_, []) => Some(keyrings()),
            (_, backups) => {
                let count = counted(backups.len() as u64, "backup", "backups");
                Some(format!("{count} ({}), with {}", numbers(backups), keyrings()))
            }
        };
        let told: Vec<String> = lost.into_iter().chain(place.problem()).collect();
        let told = if told.is_empty() { "nothing".to_owned() } else { told.join("; ") };
        format!("\n  {}: {told}", place.place.display())
    };
    places.iter().map(line).collect()
}

/// A keyring with two names is not overwritten: it is a copy's, too.
fn linked(plan: &DataKeyDestruction) -> &'static str {
    if plan.is_keyring_linked {
        "; a copy of the database was made with links (cp -l, snapshots), and keeps the key"
    } else {
        ""
    }
}

fn taken(places: &[KeyPlace]) -> String {
    let backups: usize = places.iter().map(|place| place.backups.len()).sum();
    match backups {
        0 => String::new(),
        count => format!(", and {} with it", counted(count as u64, "backup", "backups")),
    }
}

fn numbers(backups: &[u64]) -> String {
    backups.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn problems(places: &[KeyPlace]) -> Vec<String> {
    let told = |place: &KeyPlace| Some(format!("{}: {}", place.place.display(), place.problem()?));
    places.iter().filter_map(told).collect()
}

fn object_of_all(plan: &KeyDestruction, destroyed: bool) -> Destroyed {
    Destroyed {
        destroyed,
        epoch: None,
        database: Some(plan.database.clone()),
        repositories_known: plan.repositories_known,
        keyring_linked: None,
        places: plan.places.iter().map(Place::from).collect(),
        not_reached: BEYOND,
    }
}

fn object_of_epoch(plan: &DataKeyDestruction, destroyed: bool) -> Destroyed {
    Destroyed {
        destroyed,
        epoch: Some(plan.epoch.0),
        database: None,
        repositories_known: true,
        keyring_linked: Some(plan.is_keyring_linked),
        places: plan.places.iter().map(Place::from).collect(),
        not_reached: BEYOND,
    }
}

impl From<&KeyPlace> for Place {
    fn from(place: &KeyPlace) -> Self {
        Self {
            place: place.place.display().to_string(),
            keyrings: place.keyrings,
            backups: place.backups.clone(),
            unknown_keyrings: place.unknown.clone(),
            unknown_backups: place.unknown_backups.clone(),
            unreached: place.unreached.clone(),
        }
    }
}
