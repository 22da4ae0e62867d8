//! Finding the commit at which a replay to a target ends, before anything is replayed.

use std::collections::BTreeMap;

use lightning_db_storage::SequenceNumber;
use lightning_db_storage::wal::{LogEvent, LogSource};

use crate::history::reason_of;
use crate::{Aim, History, Known, Moment, RecoveryError, ReplayTarget, Result, Stop};

/// How many candidates an ambiguous target names.
const MAX_CANDIDATES: usize = 100;

/// Reads `history` as far as it must to say where a replay to `aim` ends. It is of no use after that: replay another one
/// over the same log, [`until`](History::until) what this returned.
///
/// A time is the longest run of commits from the start on of which none is later. Clocks step back: where a commit
/// behind that run is not later either, the target is ambiguous. A time later than the newest commit is reachable up to
/// [`Known::complete_until_micros`].
///
/// # Errors
/// `TargetNotReachable`, `TargetAmbiguous`, and damage in what had to be read.
pub fn locate(history: &mut History, known: &Known, aim: &Aim) -> Result<Stop> {
    let mut search = Search { start: history.start(), before: None, last_point: None };
    match &aim.target {
        ReplayTarget::Sequence(sequence) => search.sequence(history, aim, *sequence),
        ReplayTarget::Latest => search.latest(history, aim),
        ReplayTarget::Name(name) => search.name(history, known, aim, name),
        ReplayTarget::Time(micros) => search.time(history, known, aim, *micros),
    }
}

struct Search {
    start: Moment,
    /// The moment before the last one that was passed.
    before: Option<Moment>,
    /// The newest restore point behind the last commit that was passed.
    last_point: Option<String>,
}

impl Search {
    /// The next event; keeps in mind what it leaves behind.
    fn next(&mut self, history: &mut History) -> Result<Option<LogEvent>> {
        let before = history.reached().moment;
        let event = history.next_event()?;
        match &event {
            Some(LogEvent::Commit(_)) => {
                self.before = Some(before);
                self.last_point = None;
            }
            Some(LogEvent::RestorePoint(point)) => self.last_point = Some(point.name.clone()),
            None => {}
        }
        Ok(event)
    }

    fn sequence(&mut self, history: &mut History, aim: &Aim, wanted: SequenceNumber) -> Result<Stop> {
        let last = if aim.exclusive { wanted.0.checked_sub(1).map(SequenceNumber) } else { Some(wanted) };
        let Some(last) = last else {
            return Err(unreachable(history, aim, "nothing comes before it".into()));
        };
        if last < self.start.sequence {
            return Err(unreachable(history, aim, self.before_start()));
        }
        while history.reached().moment.sequence < last {
            if self.next(history)?.is_none() {
                break;
            }
        }
        if history.reached().moment.sequence != last {
            return Err(unreachable(history, aim, end_of(history)));
        }
        Ok(Stop { moment: history.reached().moment, last_point: None })
    }

    fn latest(&mut self, history: &mut History, aim: &Aim) -> Result<Stop> {
        while self.next(history)?.is_some() {}
        if history.broken_by().is_some() {
            return Err(unreachable(history, aim, end_of(history)));
        }
        if !aim.exclusive {
            return Ok(Stop { moment: history.reached().moment, last_point: self.last_point.take() });
        }
        match self.before {
            Some(moment) => Ok(Stop { moment, last_point: None }),
            None => Err(unreachable(history, aim, self.before_start())),
        }
    }

    fn name(&mut self, history: &mut History, known: &Known, aim: &Aim, name: &str) -> Result<Stop> {
        // By sequence number: where it is, what precedes it, and whether its point is in the log.
        let mut found = BTreeMap::new();
        let mut older = None;
        let mut wanted = Vec::new();
        for point in known.restore_points.iter().filter(|point| point.name == name) {
            if point.sequence < self.start.sequence {
                older = Some(point.sequence);
            } else if history.descends_from(point.incarnation, point.sequence) {
                wanted.push(point.sequence);
            }
        }
        if wanted.contains(&self.start.sequence) {
            found.insert(self.start.sequence, (self.start, None, None));
        }
        while let Some(event) = self.next(history)? {
            let moment = history.reached().moment;
            let is_point = matches!(&event, LogEvent::RestorePoint(point) if point.name == name);
            if is_point {
                found.insert(moment.sequence, (moment, self.before, Some(name.to_owned())));
            } else if wanted.contains(&moment.sequence) {
                found.entry(moment.sequence).or_insert((moment, self.before, None));
            }
        }
        if found.len() > 1 {
            let candidates = found.into_values().map(|(moment, ..)| moment).take(MAX_CANDIDATES).collect();
            return Err(RecoveryError::TargetAmbiguous { target: aim.to_string(), candidates });
        }
        match found.pop_first() {
            Some((_, (moment, _, last_point))) if !aim.exclusive => Ok(Stop { moment, last_point }),
            Some((_, (_, Some(moment), _))) => Ok(Stop { moment, last_point: None }),
            Some(_) => Err(unreachable(history, aim, self.before_start())),
            None => {
                let reason = match older {
                    Some(sequence) => format!("it is at sequence {sequence}, and {}", self.before_start()),
                    None => format!("there is no restore point of this name, and {}", end_of(history)),
                };
                Err(unreachable(history, aim, reason))
            }
        }
    }

    fn time(&mut self, history: &mut History, known: &Known, aim: &Aim, micros: i64) -> Result<Stop> {
        let latest_allowed = if aim.exclusive { micros.saturating_sub(1) } else { micros };
        if self.start.sequence.0 > 0 && self.start.time_micros > latest_allowed {
            return Err(unreachable(history, aim, self.before_start()));
        }
        let mut prefix = Prefix { end: self.start, is_over: false, later: Vec::new(), was_late: false };
        let mut newest = self.start.time_micros;
        while let Some(event) = self.next(history)? {
            match event {
                LogEvent::Commit(head) => {
                    newest = newest.max(head.time_micros);
                    prefix.take(history.reached().moment, latest_allowed);
                }
                LogEvent::RestorePoint(point) => newest = newest.max(point.time_micros),
            }
        }
        let complete = known.complete_until_micros.filter(|_| history.broken_by().is_none());
        if !prefix.is_over && complete.map_or(newest, |until| newest.max(until)) < latest_allowed {
            let reason = format!("it is later than all that was kept, and {}", end_of(history));
            return Err(unreachable(history, aim, reason));
        }
        if prefix.later.is_empty() {
            return Ok(Stop { moment: prefix.end, last_point: None });
        }
        let candidates = std::iter::once(prefix.end).chain(prefix.later).take(MAX_CANDIDATES).collect();
        Err(RecoveryError::TargetAmbiguous { target: aim.to_string(), candidates })
    }

    fn before_start(&self) -> String {
        format!("what there is begins with sequence {}", self.start.sequence)
    }
}

/// The commits of which none is later than a time, and what comes behind them.
struct Prefix {
    /// The last commit of the longest such run from the start on.
    end: Moment,
    /// Whether a later commit ended it.
    is_over: bool,
    /// The last commit of each further run that is not later.
    later: Vec<Moment>,
    was_late: bool,
}

impl Prefix {
    fn take(&mut self, commit: Moment, latest_allowed: i64) {
        let is_late = commit.time_micros > latest_allowed;
        match (is_late, self.is_over) {
            (true, _) => self.is_over = true,
            (false, false) => self.end = commit,
            (false, true) => {
                if !self.was_late {
                    self.later.pop();
                }
                if self.later.len() < MAX_CANDIDATES {
                    self.later.push(commit);
                }
            }
        }
        self.was_late = is_late;
    }
}

fn unreachable(history: &History, aim: &Aim, reason: String) -> RecoveryError {
    RecoveryError::TargetNotReachable { target: aim.to_string(), reason, intervals: history.intervals() }
}

/// Where the history ended, and why, in words.
fn end_of(history: &History) -> String {
    let last = history.reached().moment.sequence;
    match history.broken_by() {
        None => format!("the log ends with sequence {last}"),
        Some(gap) => format!(
            "the log breaks off after sequence {last}, because commits {} to {} {}",
            gap.after.next(),
            gap.through,
            reason_of(&gap)
        ),
    }
}

#[cfg(test)]
mod tests {
    use lightning_db_storage::manifest::{Gap, GapReason, RestorePoint};

    use super::*;
    use crate::testing::{A, B, FakeLog, known, leg, moment};

    fn at(target: ReplayTarget) -> Aim {
        Aim::at(target)
    }

    fn sequence(n: u64) -> ReplayTarget {
        ReplayTarget::Sequence(SequenceNumber(n))
    }

    fn name(name: &str) -> ReplayTarget {
        ReplayTarget::Name(name.into())
    }

    fn find_in(known: &Known, log: FakeLog, aim: &Aim) -> Result<Stop> {
        locate(&mut History::new(known, vec![leg(log, None)]), known, aim)
    }

    /// Where it stops.
    fn found(outcome: Result<Stop>) -> u64 {
        outcome.expect("reachable").moment.sequence.0
    }

    fn assert_unreachable(outcome: Result<Stop>, first: u64, last: u64) {
        let Err(RecoveryError::TargetNotReachable { intervals, reason, .. }) = outcome else {
            panic!("it is not reachable: {outcome:?}");
        };
        let interval = (intervals[0].first.0, intervals[0].last.0);
        assert_eq!(interval, (first, last), "{reason}");
    }

    fn assert_ambiguous(outcome: Result<Stop>, expected: &[u64]) {
        let Err(RecoveryError::TargetAmbiguous { candidates, .. }) = outcome else {
            panic!("it is ambiguous: {outcome:?}");
        };
        let sequences: Vec<u64> = candidates.iter().map(|moment| moment.sequence.0).collect();
        assert_eq!(sequences, expected);
    }

    #[test]
    fn a_sequence_number_is_found_where_there_is_log_and_nowhere_else() {
        let log = || FakeLog::new(A).commits(1..=9);
        let start = known(4);
        for n in 4..=9 {
            assert_eq!(found(find_in(&start, log(), &at(sequence(n)))), n);
        }
        for n in 5..=10 {
            assert_eq!(found(find_in(&start, log(), &Aim::before(sequence(n)))), n - 1);
        }
        assert_unreachable(find_in(&start, log(), &at(sequence(3))), 4, 4);
        assert_unreachable(find_in(&start, log(), &at(sequence(10))), 4, 9);
        assert_unreachable(find_in(&start, log(), &Aim::before(sequence(4))), 4, 4);
        assert_unreachable(find_in(&start, log(), &Aim::before(sequence(11))), 4, 9);
        assert_eq!(found(find_in(&known(0), log(), &at(sequence(0)))), 0, "the empty database");
        let damaged_later = log().damage();
        assert_eq!(found(find_in(&start, damaged_later, &at(sequence(9)))), 9);
    }

    #[test]
    fn the_latest_is_the_end_of_the_log_and_never_of_a_part_of_it() {
        let log = || FakeLog::new(A).commits(3..=6).point("end", 6);
        let stop = find_in(&known(4), log(), &at(ReplayTarget::Latest)).expect("reachable");
        assert_eq!((stop.moment, stop.last_point), (moment(A, 6, 60), Some("end".into())));
        assert_eq!(found(find_in(&known(4), log(), &Aim::before(ReplayTarget::Latest))), 5);
        assert_unreachable(find_in(&known(6), log(), &Aim::before(ReplayTarget::Latest)), 6, 6);
        assert!(find_in(&known(4), log().damage(), &at(ReplayTarget::Latest)).is_err());
        let (after, through) = (SequenceNumber(6), SequenceNumber(8));
        let gap = Gap { incarnation: A, after, through, reason: GapReason::LogDropped };
        let broken = Known { gaps: vec![gap], ..known(4) };
        assert_unreachable(find_in(&broken, log(), &at(ReplayTarget::Latest)), 4, 6);
        assert_unreachable(find_in(&broken, log(), &at(sequence(7))), 4, 6);
        assert_eq!(found(find_in(&broken, log(), &at(sequence(6)))), 6);
    }

    #[test]
    fn a_time_is_the_longest_run_of_commits_that_are_not_later() {
        let log = || FakeLog::new(A).commits(1..=9);
        let time = ReplayTarget::Time;
        for (micros, expected) in [(40, 4), (49, 4), (50, 5), (89, 8), (90, 9)] {
            assert_eq!(found(find_in(&known(4), log(), &at(time(micros)))), expected, "{micros}");
        }
        for (micros, expected) in [(41, 4), (50, 4), (51, 5), (91, 9)] {
            assert_eq!(found(find_in(&known(4), log(), &Aim::before(time(micros)))), expected, "{micros}");
        }
        assert_unreachable(find_in(&known(4), log(), &at(time(39))), 4, 4);
        assert_unreachable(find_in(&known(4), log(), &Aim::before(time(40))), 4, 4);
        assert_unreachable(find_in(&known(4), log(), &at(time(91))), 4, 9);
        let complete = Known { complete_until_micros: Some(95), ..known(4) };
        assert_eq!(found(find_in(&complete, log(), &at(time(95)))), 9);
        assert_unreachable(find_in(&complete, log(), &at(time(96))), 4, 9);
        let marked = log().point_at("later", 9, 93);
        assert_eq!(found(find_in(&known(4), marked, &at(time(92)))), 9, "the log reaches on to the point");
        let (after, through) = (SequenceNumber(9), SequenceNumber(12));
        let gaps = vec![Gap { incarnation: A, after, through, reason: GapReason::LogDisabled }];
        let broken = Known { gaps, ..complete };
        assert_unreachable(find_in(&broken, log(), &at(time(95))), 4, 9);
    }

    #[test]
    fn a_clock_that_steps_back_makes_a_time_ambiguous_only_where_it_does() {
        // 1..=4 at 10..=40, then the clock steps back to 25.
        let log = || FakeLog::new(A).commits(1..=4).commit_at(5, 25).commit_at(6, 35).commit_at(7, 45);
        let find = |micros| find_in(&known(0), log(), &at(ReplayTarget::Time(micros)));
        assert_eq!(found(find(24)), 2);
        assert_ambiguous(find(25), &[2, 5]);
        assert_ambiguous(find(34), &[3, 5]);
        assert_ambiguous(find(39), &[3, 6]);
        assert_eq!(found(find(40)), 6, "all up to 6 are not later, and all behind are");
        assert_eq!(found(find(45)), 7);
        let twice = log().commit_at(8, 30).commit_at(9, 70);
        assert_ambiguous(find_in(&known(0), twice, &at(ReplayTarget::Time(36))), &[3, 6, 8]);
    }

    #[test]
    fn a_name_is_the_state_after_its_sequence_number() {
        let log = || FakeLog::new(A).commits(1..=5).point("a", 5).point("b", 5).commits(6..=8);
        let stop = find_in(&known(2), log(), &at(name("a"))).expect("reachable");
        assert_eq!((stop.moment.sequence.0, stop.last_point.as_deref()), (5, Some("a")));
        let mut history = History::new(&known(2), vec![leg(log(), None)]).until(stop);
        let mut points = Vec::new();
        while let Some(event) = history.next_event().expect("whole") {
            if let LogEvent::RestorePoint(point) = event {
                points.push(point.name);
            }
        }
        assert_eq!(points, ["a"], "its own point is part of the target, the next is not");
        assert_eq!(found(find_in(&known(2), log(), &Aim::before(name("b")))), 4);
        assert_eq!(found(find_in(&known(5), log(), &at(name("b")))), 5);
        assert_unreachable(find_in(&known(5), log(), &Aim::before(name("b"))), 5, 8);
        assert_unreachable(find_in(&known(2), log(), &at(name("c"))), 2, 8);
    }

    #[test]
    fn a_name_can_be_known_without_its_point_in_the_log_and_twice_is_ambiguous() {
        let point = |incarnation, n| {
            let (name, sequence) = ("x".to_owned(), SequenceNumber(n));
            RestorePoint { name, sequence, time_micros: 1, incarnation }
        };
        let find = |points: Vec<RestorePoint>, log, aim: &Aim| {
            find_in(&Known { restore_points: points, ..known(2) }, log, aim)
        };
        let log = || FakeLog::new(A).commits(1..=6);
        assert_eq!(found(find(vec![point(A, 4)], log(), &at(name("x")))), 4);
        assert_eq!(found(find(vec![point(A, 4)], log(), &Aim::before(name("x")))), 3);
        assert_eq!(found(find(vec![point(A, 2)], log(), &at(name("x")))), 2);
        assert_unreachable(find(vec![point(A, 1)], log(), &at(name("x"))), 2, 6);
        assert_unreachable(find(vec![point(B, 4)], log(), &at(name("x"))), 2, 6);
        assert_ambiguous(find(vec![point(A, 4)], log().point("x", 6), &at(name("x"))), &[4, 6]);
    }

    #[test]
    fn targets_are_found_across_a_fork_and_not_in_what_was_left_behind() {
        let find = |aim: &Aim| {
            let parent = FakeLog::new(A).commits(1..=4).commit_at(5, 500).point("lost", 5);
            let child = FakeLog::new(B).commits(5..=7).point("kept", 7).commits(8..=8);
            let legs = vec![leg(parent, Some(4)), leg(child, None)];
            locate(&mut History::new(&known(2), legs), &known(2), aim)
        };
        let stop = find(&at(sequence(6))).expect("reachable");
        assert_eq!(stop.moment, moment(B, 6, 60));
        assert_eq!(found(find(&at(ReplayTarget::Time(75)))), 7);
        assert_eq!(found(find(&at(name("kept")))), 7);
        assert!(matches!(find(&at(name("lost"))), Err(RecoveryError::TargetNotReachable { .. })));
    }
}
