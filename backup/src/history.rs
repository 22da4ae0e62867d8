//! Which states can be reached: the log of each history as a chain of pieces, and the ways from a backup along it.
//!
//! A way starts at the last commit in a backup's trees and follows the log of that history; where a later history forked
//! off, it leaves at the fork and goes on in the log of that one. Frames and commits follow one another without a gap
//! all along, or the way ends there.

use lightning_db_storage::manifest::Fork;
use lightning_db_storage::{Incarnation, SequenceNumber};

use crate::catalog::Catalog;
use crate::error::ReachableInterval;
use crate::manifest::{BackupManifest, LogPiece};

/// The archived log of one history, in order. It may have gaps.
#[derive(Debug)]
pub(crate) struct Chain<'a> {
    pieces: Vec<&'a LogPiece>,
}

/// A part of a way: pieces of one history's log without a gap, and the last commit that is taken from them.
#[derive(Clone, Debug)]
pub(crate) struct Leg<'a> {
    pub(crate) incarnation: Incarnation,
    pub(crate) after: SequenceNumber,
    pub(crate) through: SequenceNumber,
    pub(crate) pieces: Vec<&'a LogPiece>,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(pieces: impl Iterator<Item = &'a LogPiece>) -> Self {
        let mut pieces: Vec<_> = pieces.collect();
        // Of pieces that overlap, the one that reaches further goes first, and what it covers is passed over.
        pieces.sort_by_key(|piece| (piece.first_frame, std::cmp::Reverse(piece.end.frame)));
        pieces.dedup_by(|later, earlier| later.end.frame <= earlier.end.frame);
        Self { pieces }
    }

    pub(crate) fn pieces(&self) -> &[&'a LogPiece] {
        &self.pieces
    }

    pub(crate) fn end(&self) -> Option<&'a LogPiece> {
        self.pieces.last().copied()
    }

    /// The piece to begin with when all commits up to `known` are there: the last one that does not begin behind the
    /// commit after it, nor in the middle of that. In the middle of one that is there it may begin.
    pub(crate) fn start_for(&self, known: SequenceNumber) -> usize {
        let begins_in_time = |index: usize| {
            let inside = index.checked_sub(1).is_some_and(|before| {
                let end = &self.pieces[before].end;
                end.within_commit
                    && end.newest_begun() > known
                    && self.pieces[index].follows(self.pieces[before])
            });
            self.pieces[index].before() <= known && !inside
        };
        (0..self.pieces.len()).rev().find(|index| begins_in_time(*index)).unwrap_or(0)
    }

    /// The log from `known` on, as far as it goes without a gap, or to the commit `limit`.
    pub(crate) fn leg(
        &self,
        incarnation: Incarnation,
        known: SequenceNumber,
        limit: Option<SequenceNumber>,
    ) -> Leg<'a> {
        let mut leg = Leg { incarnation, after: known, through: known, pieces: Vec::new() };
        for piece in self.pieces.iter().skip(self.start_for(known)) {
            let joins = match leg.pieces.last() {
                Some(last) => piece.follows(last),
                None => piece.before() <= known,
            };
            if !joins || limit.is_some_and(|limit| leg.through >= limit) {
                break;
            }
            leg.pieces.push(piece);
            leg.through = leg.through.max(piece.end.sequence);
        }
        leg.through = limit.map_or(leg.through, |limit| leg.through.min(limit)).max(known);
        leg
    }
}

/// The way from `base` into the history `target`, as far as it goes; `None` when it does not get there.
pub(crate) fn way<'a>(
    catalog: &'a Catalog,
    base: &BackupManifest,
    target: Incarnation,
) -> Option<Vec<Leg<'a>>> {
    let ancestry = catalog.ancestry(target)?;
    if !base.is_past_of(target, ancestry) {
        return None;
    }
    let from =
        ancestry.iter().position(|fork| fork.incarnation == base.incarnation).unwrap_or(ancestry.len());
    let mut known = base.flushed_sequence;
    let mut legs = Vec::new();
    for Fork { incarnation, sequence, next, .. } in &ancestry[from..] {
        let leg = catalog.chain(*incarnation).leg(*incarnation, known, Some(*sequence));
        if leg.through < *sequence {
            return None;
        }
        // The same state goes by another number where the next history began by going back.
        known = *next;
        legs.push(leg);
    }
    legs.push(catalog.chain(target).leg(target, known, None));
    Some(legs)
}

/// The commits of a way, first and last; those of earlier histories count to these.
pub(crate) fn reach(base: &BackupManifest, way: &[Leg<'_>]) -> (SequenceNumber, SequenceNumber) {
    let last = way.last().map_or(base.flushed_sequence, |leg| leg.through);
    (base.flushed_sequence, last)
}

/// All that can be reached within a history's own part, which begins at its fork.
pub(crate) fn intervals(catalog: &Catalog, incarnation: Incarnation) -> Vec<ReachableInterval> {
    let fork = catalog.ancestry(incarnation).and_then(<[Fork]>::last);
    let mut found: Vec<ReachableInterval> = Vec::new();
    for (_, _, base) in catalog.backups() {
        let Some(way) = way(catalog, base, incarnation) else { continue };
        let (first, last) = reach(base, &way);
        let (first, first_micros) = match fork {
            Some(fork) if first < fork.next => (fork.next, fork.time_micros),
            _ => (first, base.flushed_time_micros),
        };
        let last_micros = last_time(catalog, incarnation, &way, last).max(first_micros);
        let interval = ReachableInterval { incarnation, first, last, first_micros, last_micros };
        match found.iter_mut().find(|other| other.first <= last && first <= other.last) {
            Some(other) if other.first <= first => {
                other.last = other.last.max(last);
                other.last_micros = other.last_micros.max(last_micros);
            }
            Some(other) => *other = ReachableInterval { last: last.max(other.last), ..interval },
            None => found.push(interval),
        }
    }
    found.sort_by_key(|interval| interval.first);
    found
}

/// The time up to which `last` is the newest commit, as far as the repository tells.
fn last_time(catalog: &Catalog, incarnation: Incarnation, way: &[Leg<'_>], last: SequenceNumber) -> i64 {
    let of_backups = catalog
        .all_backups()
        .filter(|(_, backup)| backup.incarnation == incarnation && backup.last_sequence <= last)
        .map(|(_, backup)| backup.as_of_micros.max(backup.flushed_time_micros));
    let pieces = way.last().into_iter().flat_map(|leg| &leg.pieces);
    let of_log = pieces.filter_map(|piece| piece.times).map(|(_, latest)| latest);
    of_backups.chain(of_log).max().unwrap_or(i64::MIN)
}
