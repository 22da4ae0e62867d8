//! Which histories lead to which: by steps back, and by restored databases that went on.

use std::collections::BTreeMap;

use lightning_db::{Incarnation, RestoreReport};

/// Which histories the database had, and what each goes on from.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// Another history, up to a commit of it.
    parents: BTreeMap<[u8; 16], (Incarnation, u64)>,
    /// The histories of the database since it last went on as a restored one, with the first number of each.
    eras: Vec<(u64, Incarnation)>,
    /// Some step back was cut short: what came of it is not known.
    pub(super) is_unsure: bool,
}

impl Past {
    /// It stepped back from the history `from` to the commit `to`, and has the history `now` from the number `sequence` on.
    pub(super) fn turned_back(&mut self, from: Incarnation, to: u64, now: Incarnation, sequence: u64) {
        if self.eras.is_empty() {
            self.eras.push((0, from));
        }
        self.is_unsure |= self.eras.last().is_none_or(|(_, last)| *last != from);
        // The checkpoint may be of a history before the one that was left.
        let of_checkpoint = self.eras.iter().rev().find(|(first, _)| *first <= to).map(|(_, it)| *it);
        self.parents.insert(now.0, (of_checkpoint.unwrap_or(from), to));
        self.eras.push((sequence, now));
    }

    /// It goes on as one that was restored.
    pub(super) fn restored(&mut self, report: &RestoreReport) {
        self.parents.insert(report.incarnation.0, (report.restored_from, report.sequence.0));
        self.eras = vec![(0, report.incarnation)];
        self.is_unsure = false;
    }

    /// The histories that lead to one, and how far each of them does; none where that is not known.
    pub(super) fn of(&self, incarnation: Incarnation) -> Vec<(Incarnation, u64)> {
        let mut past: Vec<(Incarnation, u64)> = Vec::new();
        let mut next = self.parents.get(&incarnation.0).filter(|_| !self.is_unsure);
        while let Some((parent, through)) = next.copied() {
            past.push((parent, past.last().map_or(through, |(_, later)| through.min(*later))));
            next = self.parents.get(&parent.0);
        }
        past
    }
}
