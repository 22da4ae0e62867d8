//! A history as one log: from the state of a backup on, over the forks that lead to the present, as far as wanted.
//!
//! What holds for whoever reads a [`History`]:
//!
//! * Commits come one after another from the start's on, without a gap, each from the incarnation that has it in the
//!   line of descent: a parent's commits behind the fork are not part of the history.
//! * Nothing behind the stop is ever given, nor read further than to the commit that follows it.

use std::collections::VecDeque;
use std::fmt;

use lightning_db_storage::manifest::{Gap, GapReason, RestorePoint};
use lightning_db_storage::wal::{CommitHead, LogEvent, LogOp, LogSource};
use lightning_db_storage::{Incarnation, Result, SequenceNumber, StorageError};

use crate::{Interval, Stop};

/// A state of a database: that after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The history that the commit is in.
    pub incarnation: Incarnation,
    /// The commit; 0 is the empty database.
    pub sequence: SequenceNumber,
    /// The commit's time, in microseconds since 1970.
    pub time_micros: i64,
}

/// What is known about a history besides its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The state that the replay begins with.
    pub start: Moment,
    /// Intervals that may be missing from the log. They explain a break where there is one.
    pub gaps: Vec<Gap>,
    /// Restore points that are known without reading the log.
    pub restore_points: Vec<RestorePoint>,
    /// No commit was made between the end of the log and this time, in microseconds since 1970: that of the newest
    /// backup, which took all the log there was.
    pub complete_until_micros: Option<i64>,
}

/// The log of one incarnation.
pub struct Leg {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The number that the state before this leg has in its history. A history that began by going back to a checkpoint
    /// counts on from the newest number that there was.
    pub after: SequenceNumber,
    /// The last commit that the next leg's history has; `None` for the last leg.
    pub through: Option<SequenceNumber>,
    /// The log. It may begin with commits that are in the start already.
    pub source: Box<dyn LogSource>,
}

/// How far a replay came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The state that was reached.
    pub moment: Moment,
    /// How many commits were replayed.
    pub commits: u64,
}

/// The log of a line of descent. It is a [`LogSource`]: give it to whoever applies commits.
pub struct History {
    start: Moment,
    gaps: Vec<Gap>,
    legs: VecDeque<Leg>,
    stop: Option<Stop>,
    at: Moment,
    commits: u64,
    intervals: Vec<Interval>,
    /// Whether the reader is in a commit that it was given.
    within_commit: bool,
    ended: bool,
    broken_by: Option<Gap>,
}

impl History {
    /// A history that goes on from `known.start`. `legs` are in order: each forks off the one before.
    #[must_use]
    pub fn new(known: &Known, legs: Vec<Leg>) -> Self {
        let start = known.start;
        Self {
            start,
            gaps: known.gaps.clone(),
            legs: legs.into(),
            stop: None,
            at: start,
            commits: 0,
            intervals: vec![interval_of(&start)],
            within_commit: false,
            ended: false,
            broken_by: None,
        }
    }

    /// Ends at `stop`.
    #[must_use]
    pub fn until(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// The state after the last commit that was given.
    #[must_use]
    pub fn reached(&self) -> Reached {
        Reached { moment: self.at, commits: self.commits }
    }

    /// After the end: makes sure that the stop was reached.
    ///
    /// # Errors
    /// `Corrupt` when the log ended before, which it did not when the stop was looked for.
    pub fn finish(self) -> Result<Reached> {
        match &self.stop {
            Some(stop) if stop.moment.sequence != self.at.sequence => {
                Err(missing(self.at.incarnation, self.at.sequence, stop.moment.sequence.next()))
            }
            _ => Ok(self.reached()),
        }
    }

    pub(crate) fn start(&self) -> Moment {
        self.start
    }

    /// What was read so far, a stretch for each incarnation.
    pub(crate) fn intervals(&self) -> Vec<Interval> {
        self.intervals.clone()
    }

    /// The recorded gap at which the log ended, if it did.
    pub(crate) fn broken_by(&self) -> Option<Gap> {
        self.broken_by
    }

    /// Whether `incarnation` has `sequence` in this line of descent, going by the legs that are left.
    pub(crate) fn descends_from(&self, incarnation: Incarnation, sequence: SequenceNumber) -> bool {
        let is_at_start = incarnation == self.start.incarnation && sequence == self.start.sequence;
        let is_in =
            |leg: &Leg| leg.incarnation == incarnation && leg.through.is_none_or(|end| sequence <= end);
        is_at_start || self.legs.iter().any(is_in)
    }

    /// Decides about the next event of the first leg; `None` when it is not for the reader.
    fn take(&mut self, event: LogEvent) -> Result<Option<LogEvent>> {
        match event {
            LogEvent::Commit(head) => self.take_commit(&head).map(|wanted| wanted.then_some(event)),
            LogEvent::RestorePoint(ref point) => {
                // Points that are older than the start stand among commits that are in it.
                if point.sequence < self.at.sequence {
                    return Ok(None);
                }
                if let Some(stop) = self.stop.as_ref().filter(|stop| stop.moment.sequence == self.at.sequence)
                {
                    self.ended = stop.last_point.as_ref() == Some(&point.name);
                }
                Ok(Some(event))
            }
        }
    }

    fn take_commit(&mut self, head: &CommitHead) -> Result<bool> {
        let Some(leg) = self.legs.front() else { return Ok(false) };
        if head.incarnation != leg.incarnation {
            return Err(damaged(
                leg.incarnation,
                format!("a commit of incarnation {} is in it", head.incarnation),
            ));
        }
        if leg.through.is_some_and(|through| head.sequence > through) {
            self.leave_leg();
            return Ok(false);
        }
        if head.sequence <= self.start.sequence && self.commits == 0 {
            return Ok(false);
        }
        if self.stop.as_ref().is_some_and(|stop| head.sequence > stop.moment.sequence) {
            self.ended = true;
            return Ok(false);
        }
        if head.sequence != self.at.sequence.next() {
            let error = missing(head.incarnation, self.at.sequence, head.sequence);
            return self.explain(error).map(|()| false);
        }
        let CommitHead { sequence, time_micros, incarnation, .. } = *head;
        self.at = Moment { incarnation, sequence, time_micros };
        self.commits += 1;
        self.extend_interval();
        Ok(true)
    }

    fn extend_interval(&mut self) {
        match self.intervals.last_mut() {
            Some(last) if last.incarnation == self.at.incarnation => {
                (last.last, last.last_micros) = (self.at.sequence, self.at.time_micros);
            }
            _ => self.intervals.push(interval_of(&self.at)),
        }
    }

    /// Whether nothing more is to be read: the stop is reached, and no restore point behind it is wanted.
    fn is_at_stop(&self) -> bool {
        self.stop
            .as_ref()
            .is_some_and(|stop| stop.last_point.is_none() && self.at.sequence >= stop.moment.sequence)
    }

    /// A break in the log is the end of what can be reached where it was recorded, and damage elsewhere.
    fn explain(&mut self, error: StorageError) -> Result<()> {
        match self.recorded_gap() {
            Some(gap) if matches!(error, StorageError::Corrupt { .. }) => {
                self.broken_by = Some(gap);
                self.ended = true;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// The gap that begins where the log was read to, if one was recorded.
    fn recorded_gap(&self) -> Option<Gap> {
        let incarnation = self.legs.front().map_or(self.at.incarnation, |leg| leg.incarnation);
        let begins_here = |gap: &&Gap| gap.after <= self.at.sequence && self.at.sequence < gap.through;
        self.gaps.iter().filter(|gap| gap.incarnation == incarnation).find(begins_here).copied()
    }

    /// The first leg has no more to give.
    fn end_leg(&mut self) {
        if let Some(gap) = self.recorded_gap() {
            self.broken_by = Some(gap);
            self.ended = true;
        }
        self.leave_leg();
    }

    /// Goes on with the next leg.
    fn leave_leg(&mut self) {
        let left = self.legs.pop_front();
        let is_at_fork = left.is_some_and(|leg| leg.through == Some(self.at.sequence));
        let Some(next) = self.legs.front().filter(|_| is_at_fork) else { return };
        if next.after > self.at.sequence {
            self.at = Moment { incarnation: next.incarnation, sequence: next.after, ..self.at };
            self.extend_interval();
        }
    }
}

impl LogSource for History {
    fn next_event(&mut self) -> Result<Option<LogEvent>> {
        self.within_commit = false;
        while !self.ended && !self.is_at_stop() {
            let at = self.at.sequence;
            let Some(leg) = self.legs.front_mut() else { break };
            if leg.through.is_some_and(|through| at >= through) {
                // What the parent did behind the fork is not asked for, so damage there does no harm.
                self.leave_leg();
                continue;
            }
            match leg.source.next_event() {
                Ok(Some(event)) => {
                    if let Some(event) = self.take(event)? {
                        self.within_commit = matches!(event, LogEvent::Commit(_));
                        return Ok(Some(event));
                    }
                }
                Ok(None) => self.end_leg(),
                Err(error) => self.explain(error)?,
            }
        }
        self.ended = true;
        Ok(None)
    }

    fn next_op(&mut self) -> Result<Option<LogOp<'_>>> {
        match self.legs.front_mut() {
            Some(leg) if self.within_commit => leg.source.next_op(),
            _ => Ok(None),
        }
    }

    fn read_value(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        match self.legs.front_mut() {
            Some(leg) if self.within_commit => leg.source.read_value(chunk),
            _ => {
                chunk.clear();
                Ok(false)
            }
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("start", &self.start)
            .field("at", &self.at)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

/// Why commits of a gap have no log, in words.
pub(crate) fn reason_of(gap: &Gap) -> &'static str {
    match gap.reason {
        GapReason::LogDisabled => "were made while the log was switched off",
        GapReason::LogDropped => "were dropped from the log before they were archived",
    }
}

fn interval_of(moment: &Moment) -> Interval {
    let Moment { incarnation, sequence, time_micros } = *moment;
    Interval {
        incarnation,
        first: sequence,
        last: sequence,
        first_micros: time_micros,
        last_micros: time_micros,
    }
}

fn missing(incarnation: Incarnation, after: SequenceNumber, next: SequenceNumber) -> StorageError {
    let what = if next <= after {
        format!("commit {next} comes again after commit {after}")
    } else {
        format!("commits {} to {} are missing", after.next(), next.0.saturating_sub(1))
    };
    damaged(incarnation, what)
}

fn damaged(incarnation: Incarnation, what: String) -> StorageError {
    StorageError::corrupt(format!("log of incarnation {incarnation}"), 0, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{A, B, FakeLog, known, leg, moment};

    fn sequences(history: &mut History) -> Result<Vec<u64>> {
        let mut seen = Vec::new();
        while let Some(event) = history.next_event()? {
            if let LogEvent::Commit(head) = event {
                let Some(LogOp::Put { key, .. }) = history.next_op()? else {
                    panic!("a commit with one put")
                };
                assert_eq!(key, head.sequence.0.to_be_bytes());
                assert!(history.next_op()?.is_none());
                seen.push(head.sequence.0);
            }
        }
        assert!(history.next_op()?.is_none(), "nothing is left to be read behind the end");
        Ok(seen)
    }

    fn stop(sequence: u64) -> Stop {
        Stop { moment: moment(A, sequence, 0), last_point: None }
    }

    #[test]
    fn what_the_start_has_is_left_out_and_nothing_behind_the_stop_is_read() {
        let log = FakeLog::new(A).commits(3..=9).damage();
        let mut history = History::new(&known(5), vec![leg(log, None)]).until(stop(9));
        assert_eq!(sequences(&mut history).expect("whole"), [6, 7, 8, 9]);
        let reached = history.finish().expect("reached");
        assert_eq!((reached.moment.sequence.0, reached.commits), (9, 4));
        for end in 5..9 {
            let log = FakeLog::new(A).commits(3..=9);
            let mut history = History::new(&known(5), vec![leg(log, None)]).until(stop(end));
            assert_eq!(sequences(&mut history).expect("whole"), (6..=end).collect::<Vec<_>>());
        }
        let mut history =
            History::new(&known(5), vec![leg(FakeLog::new(A).commits(3..=8), None)]).until(stop(9));
        sequences(&mut history).expect("whole");
        assert!(history.finish().is_err(), "the stop was not reached");
    }

    #[test]
    fn a_child_goes_on_where_it_left_its_parent() {
        let legs = || {
            let parent = FakeLog::new(A).commits(1..=4).point("old", 4).commits(5..=8).damage();
            let child = FakeLog::new(B).commits(5..=6).point("new", 6);
            vec![leg(parent, Some(4)), leg(child, None)]
        };
        let mut history = History::new(&known(1), legs());
        assert_eq!(sequences(&mut history).expect("whole"), [2, 3, 4, 5, 6]);
        assert_eq!(history.reached().moment, moment(B, 6, 60));
        let intervals = history.intervals();
        assert_eq!(intervals.len(), 2);
        assert_eq!((intervals[0].first.0, intervals[0].last.0), (1, 4));
        assert_eq!((intervals[1].incarnation, intervals[1].first.0, intervals[1].last.0), (B, 5, 6));

        let short = vec![leg(FakeLog::new(A).commits(1..=3), Some(4)), legs().remove(1)];
        let error = sequences(&mut History::new(&known(1), short)).expect_err("commit 4 is nowhere");
        assert!(error.to_string().contains("commits 4 to 4 are missing"), "{error}");

        let foreign = vec![leg(FakeLog::new(B).commits(1..=3), None)];
        let mislabelled = foreign.into_iter().map(|leg| Leg { incarnation: A, ..leg }).collect();
        assert!(sequences(&mut History::new(&known(1), mislabelled)).is_err());
    }

    #[test]
    fn going_back_takes_a_number_that_no_commit_has() {
        let legs = || {
            let parent = leg(FakeLog::new(A).commits(1..=8), Some(4));
            vec![parent, Leg { after: SequenceNumber(9), ..leg(FakeLog::new(B).commits(10..=12), None) }]
        };
        for start in [1, 4] {
            let mut history = History::new(&known(start), legs());
            let expected: Vec<u64> = (start + 1..=4).chain(10..=12).collect();
            assert_eq!(sequences(&mut history).expect("whole"), expected);
            assert_eq!(history.intervals().last().map(|last| (last.first.0, last.last.0)), Some((9, 12)));
        }
        let mut history = History::new(&known(1), legs()).until(stop(9));
        assert_eq!(sequences(&mut history).expect("whole"), [2, 3, 4]);
        assert_eq!(history.finish().expect("the step itself").moment, moment(B, 9, 40));
        let late = vec![legs().remove(0), leg(FakeLog::new(B).commits(10..=12), None)];
        assert!(sequences(&mut History::new(&known(1), late)).is_err(), "5 to 9 are missing");
    }

    #[test]
    fn a_gap_is_damage_unless_it_was_recorded() {
        let log = || FakeLog::new(A).commits(1..=3).commits(6..=7);
        let error = sequences(&mut History::new(&known(0), vec![leg(log(), None)])).expect_err("a gap");
        assert!(error.to_string().contains("commits 4 to 5 are missing"), "{error}");
        let twice = FakeLog::new(A).commits(1..=3).commits(2..=5);
        assert!(sequences(&mut History::new(&known(0), vec![leg(twice, None)])).is_err());

        let gap = Gap {
            incarnation: A,
            after: SequenceNumber(3),
            through: SequenceNumber(5),
            reason: GapReason::LogDisabled,
        };
        let recorded = Known { gaps: vec![gap], ..known(0) };
        for log in [log(), FakeLog::new(A).commits(1..=3).damage(), FakeLog::new(A).commits(1..=3)] {
            let mut history = History::new(&recorded, vec![leg(log, None)]);
            assert_eq!(sequences(&mut history).expect("an end, not damage"), [1, 2, 3]);
            assert_eq!(history.broken_by(), Some(gap));
        }
        let whole = FakeLog::new(A).commits(1..=7);
        let mut history = History::new(&recorded, vec![leg(whole, None)]);
        assert_eq!(sequences(&mut history).expect("the log is there").len(), 7);
        assert_eq!(history.broken_by(), None);
        let elsewhere = FakeLog::new(A).commits(1..=2).damage();
        assert!(sequences(&mut History::new(&recorded, vec![leg(elsewhere, None)])).is_err());
    }
}
