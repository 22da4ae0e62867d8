//! From what a user wants to restore, to the backup to start from and the log to replay.

use lightning_db_crypto::{CryptoError, KeyProvider, Keyring, MAX_KEYRING_LEN, PublicKey};
use lightning_db_storage::manifest::{Fork, Manifest, RestorePoint};
use lightning_db_storage::{Incarnation, SequenceNumber};

use crate::catalog::{Catalog, Entry};
use crate::error::{ReachableInterval, TargetCandidate};
use crate::history::{Leg, intervals, reach, way};
use crate::manifest::{BackupManifest, KeyringObject, LogPiece};
use crate::repository::{Repository, read_object};
use crate::{BackupError, Result};

/// What to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest commit of the history that the newest backup is of.
    Latest,
    /// The state that this backup took.
    Backup(u64),
    /// The state after this commit.
    Sequence(SequenceNumber),
    /// The longest run of commits of which none is later, in microseconds since 1970.
    Time(i64),
    /// The state at the restore point of this name.
    Name(String),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("the newest commit"),
            Self::Backup(number) => write!(f, "backup {number}"),
            Self::Sequence(sequence) => write!(f, "sequence number {sequence}"),
            Self::Time(micros) => write!(f, "the time {micros} µs since 1970"),
            Self::Name(name) => write!(f, "the restore point {name:?}"),
        }
    }
}

/// What to restore, and how to read that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The target.
    pub target: Target,
    /// Stop before the commit that the target ends with; only for a sequence number, a time or a name.
    pub exclusive: bool,
    /// The history that is meant, where several have the target.
    pub incarnation: Option<Incarnation>,
    /// The key that must have signed every record.
    pub signer: Option<PublicKey>,
}

/// A restore that is known to be possible, as far as the records tell.
#[derive(Debug)]
pub struct RestorePlan {
    /// The backup to start from.
    pub backup: u64,
    /// The version that it holds.
    pub version: Manifest,
    /// The history to restore into, and where it left its parents.
    pub incarnation: Incarnation,
    /// The histories that it grew out of.
    pub ancestry: Vec<Fork>,
    /// The keyring that opens all of it, with all data keys that the repository has.
    pub keyring: Keyring,
    /// Where to stop.
    pub goal: Goal,
    /// The log to replay, in order.
    pub legs: Vec<PlannedLeg>,
    /// Every restore point that is known of these histories.
    pub restore_points: Vec<RestorePoint>,
    /// The time up to which there was no commit after the end of the log, microseconds since 1970.
    pub complete_until_micros: i64,
    /// What can be reached in this history, for messages.
    pub reachable: Vec<ReachableInterval>,
}

/// Where a replay stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// After this commit.
    Sequence(SequenceNumber),
    /// After the longest run of commits of which none is later.
    Time {
        /// The time, microseconds since 1970.
        micros: i64,
        /// Leave out commits of exactly that time too.
        exclusive: bool,
    },
}

/// Log of one history.
#[derive(Clone, Debug)]
pub struct PlannedLeg {
    /// The history.
    pub incarnation: Incarnation,
    /// The number of the state before the log, in this history.
    pub after: SequenceNumber,
    /// The last commit that the next history has; `None` for the last leg.
    pub through: Option<SequenceNumber>,
    /// The pieces, in order.
    pub pieces: Vec<LogPiece>,
}

/// Finds the way to what is wanted.
///
/// # Errors
/// `WrongKey` and the like; `BackupNotFound`, `TargetNotReachable`, `TargetAmbiguous`, `InvalidOption`; `Damaged` and
/// `Missing` for what has to be read.
pub fn plan(
    repository: &Repository,
    wanted: &Wanted,
    provider: Option<&dyn KeyProvider>,
) -> Result<RestorePlan> {
    let ends_somewhere = matches!(wanted.target, Target::Latest | Target::Backup(_));
    if wanted.exclusive && ends_somewhere {
        let text = format!(
            "{} has no end to stop before: `exclusive` goes with a sequence number, a time or a name",
            wanted.target
        );
        return Err(BackupError::InvalidOption(text));
    }
    // Before the records: a backup that is made meanwhile is not missed then.
    let hinted = repository.head().ok().flatten().map_or(0, |head| head.number);
    let catalog = repository.catalog()?;
    wanted.signer.map_or(Ok(()), |signer| catalog.require_signer(signer))?;
    let keyring = open_keyring(repository, &catalog, provider)?;
    catalog.require_signer(keyring.public_key())?;
    let planner = Planner { repository, catalog: &catalog, keyring: &keyring, wanted };
    planner.require_records(hinted)?;
    let (incarnation, goal) = planner.resolve()?;
    let (number, entry, backup, legs) = planner.base(incarnation, goal)?;
    let place = repository.place();
    let version = entry.record.open(&place, &keyring)?;
    let version = version.ok_or(BackupError::BackupNotFound { place, number })?;
    let found = intervals(&catalog, incarnation);
    let complete = found.iter().map(|interval| interval.last_micros).max();
    let (restore_points, unreadable) = planner.restore_points();
    if let Some(error) = unreadable {
        tracing::warn!(%error, "restore points of another backup are left out, because it cannot be opened");
    }
    Ok(RestorePlan {
        backup: number,
        version,
        incarnation,
        ancestry: catalog.ancestry(incarnation).unwrap_or_default().to_vec(),
        goal,
        legs: planned(&legs, goal),
        restore_points,
        complete_until_micros: complete.unwrap_or(backup.as_of_micros),
        reachable: found,
        keyring,
    })
}

/// The newest keyring that opens, with the data keys of all others beside it: histories that were restored from one
/// backup have keys of their own.
///
/// # Errors
/// Why the newest one does not open, if none does.
pub fn open_keyring(
    repository: &Repository,
    catalog: &Catalog,
    provider: Option<&dyn KeyProvider>,
) -> Result<Keyring> {
    let mut objects = Vec::new();
    for object in catalog.needed_keyrings().into_iter().rev() {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    let mut opened: Option<Keyring> = None;
    let mut first_error = None;
    for object in objects {
        match read_keyring(repository, &object).and_then(|bytes| add_keyring(&mut opened, &bytes, provider)) {
            Ok(()) => {}
            Err(error) if opened.is_some() => {
                // What needs it says so; the rest can be restored without it.
                tracing::warn!(object = object.name(), %error, "a keyring of the repository does not open");
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    opened.ok_or_else(|| first_error.unwrap_or_else(|| no_backup(catalog)))
}

fn add_keyring(opened: &mut Option<Keyring>, bytes: &[u8], provider: Option<&dyn KeyProvider>) -> Result<()> {
    match opened {
        None => *opened = Some(Keyring::open(bytes, provider)?),
        Some(keyring) => {
            let other = match keyring.open_relative(bytes) {
                // From before the master key was another one, or after: if not by that, it opens by the given key.
                Err(CryptoError::WrongKey { .. }) if keyring.is_of_same_database(bytes) => {
                    Keyring::open(bytes, provider)?
                }
                other => other?,
            };
            keyring.adopt_epochs(&other)?;
        }
    }
    Ok(())
}

/// All log of a history that can be replayed, from the oldest backup on that leads into it, and that backup's number.
#[must_use]
pub fn whole_log(catalog: &Catalog, incarnation: Incarnation) -> Option<(u64, Vec<PlannedLeg>)> {
    let ways = catalog
        .backups()
        .filter_map(|(number, _, backup)| Some((number, backup, way(catalog, backup, incarnation)?)));
    let (number, _, legs) = ways.min_by_key(|(_, backup, _)| backup.flushed_sequence)?;
    Some((number, planned(&legs, Goal::Sequence(SequenceNumber(u64::MAX)))))
}

/// The bytes of a keyring, whose hash is right.
pub(crate) fn read_keyring(repository: &Repository, object: &KeyringObject) -> Result<Vec<u8>> {
    let bytes = read_object(&**repository.store(), &object.name(), MAX_KEYRING_LEN as u64)?;
    if *blake3::hash(&bytes).as_bytes() != object.hash {
        return Err(repository.damaged(&object.name(), "its bytes are not those that were put there"));
    }
    Ok(bytes)
}

fn no_backup(catalog: &Catalog) -> BackupError {
    let first = catalog.unreadable().next();
    if let Some(error) = first.and_then(|(number, _)| catalog.refusal(number, "")) {
        return error;
    }
    BackupError::BackupNotFound { place: catalog.place().into(), number: 1 }
}

struct Planner<'a> {
    repository: &'a Repository,
    catalog: &'a Catalog,
    keyring: &'a Keyring,
    wanted: &'a Wanted,
}

type Base<'a> = (u64, &'a Entry, &'a BackupManifest, Vec<Leg<'a>>);

impl<'a> Planner<'a> {
    /// Refuses when a record that cannot be read may hold what is wanted: nothing else is taken in its place. `hinted` is
    /// the newest record that there should be.
    fn require_records(&self, hinted: u64) -> Result<()> {
        let Wanted { target, incarnation, .. } = self.wanted;
        let before = match (target, incarnation) {
            // These say themselves which history they are of.
            (Target::Backup(_), _) | (Target::Sequence(_) | Target::Time(_) | Target::Name(_), Some(_)) => {
                return Ok(());
            }
            // What is older than a readable backup is not the newest.
            (Target::Latest, wanted) => {
                let is_of = |one: Incarnation| wanted.is_none_or(|wanted| wanted == one);
                let newest = self.catalog.backups().rev().find(|(_, _, backup)| is_of(backup.incarnation));
                newest.map_or(0, |(number, ..)| number)
            }
            _ => 0,
        };
        let Some(number) = self.catalog.first_unknown(before, hinted) else { return Ok(()) };
        let note = format!("; {target} may be in it: to restore what is left, name a backup by its number");
        Err(self.catalog.refusal(number, &note).unwrap_or_else(|| {
            self.repository.damaged(&crate::layout::manifest(number), &format!("it is missing{note}"))
        }))
    }

    fn resolve(&self) -> Result<(Incarnation, Goal)> {
        match &self.wanted.target {
            Target::Latest => self.latest(),
            Target::Backup(number) => {
                let (_, backup) = self.catalog.backup(*number)?;
                if self.wanted.incarnation.is_some_and(|wanted| wanted != backup.incarnation) {
                    return Err(self.not_reachable());
                }
                Ok((backup.incarnation, Goal::Sequence(backup.last_sequence)))
            }
            Target::Sequence(sequence) => self.sequence(*sequence),
            Target::Time(micros) => self.time(*micros),
            Target::Name(name) => self.name(name),
        }
    }

    fn latest(&self) -> Result<(Incarnation, Goal)> {
        let newest = self.catalog.backups().next_back().map(|(_, _, backup)| backup.incarnation);
        let incarnation = self.wanted.incarnation.or(newest).ok_or_else(|| no_backup(self.catalog))?;
        let last = intervals(self.catalog, incarnation).into_iter().map(|interval| interval.last).max();
        let last = last.ok_or_else(|| self.not_reachable())?;
        Ok((incarnation, Goal::Sequence(last)))
    }

    fn sequence(&self, sequence: SequenceNumber) -> Result<(Incarnation, Goal)> {
        let is_in = |incarnation: &Incarnation| {
            let fork = self.fork(*incarnation);
            let own = fork.is_none_or(|fork| sequence > fork.sequence && sequence >= fork.next);
            own && self.contains(*incarnation, sequence)
        };
        let found: Vec<Incarnation> = self.histories().into_iter().filter(is_in).collect();
        let incarnation = self.only_one(found, Some(sequence))?;
        Ok((incarnation, Goal::Sequence(self.stop_at(incarnation, sequence)?)))
    }

    /// The commit to stop after, if the target ends with `sequence`.
    fn stop_at(&self, incarnation: Incarnation, sequence: SequenceNumber) -> Result<SequenceNumber> {
        let stop = if self.wanted.exclusive {
            sequence.0.checked_sub(1).map(SequenceNumber)
        } else {
            Some(sequence)
        };
        stop.filter(|stop| self.contains(incarnation, *stop)).ok_or_else(|| self.not_reachable())
    }

    fn name(&self, name: &str) -> Result<(Incarnation, Goal)> {
        let histories = self.histories();
        let (points, unreadable) = self.restore_points();
        // The name may be meant there.
        unreadable.map_or(Ok(()), Err)?;
        let mut found: Vec<(Incarnation, SequenceNumber)> = points
            .into_iter()
            .filter(|point| point.name == name && histories.contains(&point.incarnation))
            .map(|point| (point.incarnation, point.sequence))
            .filter(|(incarnation, sequence)| self.contains(*incarnation, *sequence))
            .collect();
        found.sort();
        found.dedup();
        match found[..] {
            [] => Err(self.not_reachable()),
            [(incarnation, sequence)] => {
                Ok((incarnation, Goal::Sequence(self.stop_at(incarnation, sequence)?)))
            }
            _ => Err(self
                .ambiguous(found.into_iter().map(|(incarnation, sequence)| (incarnation, Some(sequence))))),
        }
    }

    fn time(&self, micros: i64) -> Result<(Incarnation, Goal)> {
        let is_in = |incarnation: &Incarnation| {
            let begins = self.own_start(*incarnation);
            let reachable = intervals(self.catalog, *incarnation);
            reachable.iter().any(|interval| {
                begins.unwrap_or(interval.first_micros).max(interval.first_micros) <= micros
                    && micros <= interval.last_micros
            })
        };
        let mut found: Vec<Incarnation> = self.histories().into_iter().filter(is_in).collect();
        if let Some(chosen) = self.wanted.incarnation.filter(|chosen| found.contains(chosen)) {
            found = vec![chosen];
        }
        let incarnation = self.only_one(found, None)?;
        Ok((incarnation, Goal::Time { micros, exclusive: self.wanted.exclusive }))
    }

    /// The time of the first commit of a history's own, if it has a parent.
    fn own_start(&self, incarnation: Incarnation) -> Option<i64> {
        self.fork(incarnation)?;
        let chain = self.catalog.chain(incarnation);
        let of_log = chain.pieces().iter().filter_map(|piece| piece.times).map(|(earliest, _)| earliest);
        let own = |(_, backup): &(u64, &BackupManifest)| backup.incarnation == incarnation;
        let of_backups = self.catalog.all_backups().filter(own).map(|(_, backup)| backup.as_of_micros);
        of_log.min().or(of_backups.min())
    }

    /// The histories that may be meant: all, or the one that was named and its ancestors.
    fn histories(&self) -> Vec<Incarnation> {
        let all = self.catalog.histories().into_iter();
        let Some(wanted) = self.wanted.incarnation else { return all.collect() };
        let ancestors = self.catalog.ancestry(wanted).unwrap_or_default();
        all.filter(|one| *one == wanted || ancestors.iter().any(|fork| fork.incarnation == *one)).collect()
    }

    fn fork(&self, incarnation: Incarnation) -> Option<Fork> {
        self.catalog.ancestry(incarnation)?.last().copied()
    }

    /// Whether the state after `sequence` can be reached; for a named history, only what it descends from counts.
    fn contains(&self, incarnation: Incarnation, sequence: SequenceNumber) -> bool {
        let left_at = self.wanted.incarnation.and_then(|wanted| {
            let ancestors = self.catalog.ancestry(wanted)?;
            ancestors.iter().find(|fork| fork.incarnation == incarnation).map(|fork| fork.sequence)
        });
        left_at.is_none_or(|left_at| sequence <= left_at)
            && intervals(self.catalog, incarnation)
                .iter()
                .any(|interval| interval.first <= sequence && sequence <= interval.last)
    }

    fn only_one(&self, found: Vec<Incarnation>, sequence: Option<SequenceNumber>) -> Result<Incarnation> {
        match found[..] {
            [] => Err(self.not_reachable()),
            [one] => Ok(one),
            _ => Err(self.ambiguous(found.into_iter().map(|incarnation| (incarnation, sequence)))),
        }
    }

    /// The backup to start from: the newest that is not past the goal.
    fn base(&self, incarnation: Incarnation, goal: Goal) -> Result<Base<'a>> {
        let chosen = match self.wanted.target {
            Target::Backup(number) => Some(number),
            _ => None,
        };
        let candidates =
            self.catalog.backups().filter(|(number, ..)| chosen.is_none_or(|chosen| chosen == *number));
        let ways = candidates.filter_map(|(number, entry, backup)| {
            let way = way(self.catalog, backup, incarnation)?;
            self.leads_to(backup, &way, goal).then_some((number, entry, backup, way))
        });
        let mut ways: Vec<Base<'a>> = ways.collect();
        ways.sort_by_key(|(number, _, backup, _)| (backup.flushed_sequence, *number));
        if let Goal::Time { micros, .. } = goal {
            // The clock may have stepped back: a backup with a later commit in it is not a start, except the oldest, of
            // whose past nothing is known.
            let steps = |way: &Base<'a>| self.has_later_commits(&ways[0], way.2, micros);
            let kept = ways.iter().rposition(|way| !steps(way)).unwrap_or(0);
            ways.truncate(kept + 1);
        }
        ways.pop().ok_or_else(|| self.not_reachable())
    }

    fn leads_to(&self, backup: &BackupManifest, way: &[Leg<'_>], goal: Goal) -> bool {
        let (first, last) = reach(backup, way);
        match goal {
            Goal::Sequence(sequence) => first <= sequence && sequence <= last,
            Goal::Time { micros, exclusive: false } => backup.flushed_time_micros <= micros,
            Goal::Time { micros, exclusive: true } => backup.flushed_time_micros < micros,
        }
    }

    /// Whether some commit between the oldest start and `backup` is later than `micros`.
    fn has_later_commits(&self, oldest: &Base<'_>, backup: &BackupManifest, micros: i64) -> bool {
        let pieces = oldest.3.iter().flat_map(|leg| &leg.pieces);
        let within = pieces.filter(|piece| {
            piece.sequences.is_some_and(|(first, _)| first <= backup.flushed_sequence)
                && piece.end.sequence > oldest.2.flushed_sequence
        });
        within.filter_map(|piece| piece.times).any(|(_, latest)| latest > micros)
    }

    /// The restore points of all histories, as the newest backup of each tells them, and newer ones that were deleted; and
    /// why a backup that should tell does not open.
    fn restore_points(&self) -> (Vec<RestorePoint>, Option<BackupError>) {
        let mut points = Vec::new();
        let mut unreadable = None;
        for incarnation in self.catalog.incarnations() {
            let is_own = |(_, backup): &(u64, &BackupManifest)| backup.incarnation == incarnation;
            for (number, _) in self.catalog.all_backups().rev().filter(is_own) {
                let is_deleted = self.catalog.is_deleted(number);
                match self.version(number) {
                    Ok(version) => points.extend(version.into_iter().flat_map(|one| one.restore_points)),
                    Err(error) if !is_deleted => unreadable = unreadable.or(Some(error)),
                    // Its key may be gone with it.
                    Err(_) => {}
                }
                if !is_deleted {
                    break;
                }
            }
        }
        points
            .sort_by(|a, b| (a.sequence, a.incarnation, &a.name).cmp(&(b.sequence, b.incarnation, &b.name)));
        points.dedup();
        (points, unreadable)
    }

    /// What a backup held, deleted or not: of those that were, the catalog keeps no sealed part.
    fn version(&self, number: u64) -> Result<Option<Manifest>> {
        let place = self.repository.place();
        match self.catalog.backup(number) {
            Ok((entry, _)) => entry.record.open(&place, self.keyring),
            Err(_) => self.repository.record(number)?.record.open(&place, self.keyring),
        }
    }

    fn described(&self) -> String {
        let before = if self.wanted.exclusive { "the moment before " } else { "" };
        format!("{before}{}", self.wanted.target)
    }

    fn not_reachable(&self) -> BackupError {
        let histories = self.histories();
        let reachable = histories.into_iter().flat_map(|incarnation| intervals(self.catalog, incarnation));
        BackupError::TargetNotReachable {
            place: self.repository.place(),
            wanted: self.described(),
            reachable: reachable.collect(),
        }
    }

    fn ambiguous(&self, found: impl Iterator<Item = (Incarnation, Option<SequenceNumber>)>) -> BackupError {
        let candidate = |(incarnation, sequence)| TargetCandidate { incarnation, sequence };
        BackupError::TargetAmbiguous { wanted: self.described(), candidates: found.map(candidate).collect() }
    }
}

/// The legs without what lies behind the goal.
fn planned(legs: &[Leg<'_>], goal: Goal) -> Vec<PlannedLeg> {
    let is_wanted = |piece: &LogPiece| match goal {
        Goal::Sequence(sequence) => piece.before() < sequence,
        Goal::Time { .. } => true,
    };
    // What has nothing new is not opened: its data key may have been destroyed since.
    let is_new = |piece: &LogPiece, after| piece.end.newest_begun() > after;
    let last = legs.len().saturating_sub(1);
    let leg = |(index, leg): (usize, &Leg<'_>)| {
        let new = leg.pieces.iter().skip_while(|piece| !is_new(piece, leg.after));
        PlannedLeg {
            incarnation: leg.incarnation,
            after: leg.after,
            through: (index < last).then_some(leg.through),
            pieces: new.filter(|piece| is_wanted(piece)).map(|piece| (*piece).clone()).collect(),
        }
    };
    legs.iter().enumerate().map(leg).collect()
}
