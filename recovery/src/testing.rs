//! A log that is made up, for tests.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use lightning_db_storage::wal::{CommitHead, LogEvent, LogOp, LogSource, RestorePoint};
use lightning_db_storage::{Incarnation, Result, SequenceNumber, StorageError};

use crate::{Known, Leg, Moment};

/// A history.
pub(crate) const A: Incarnation = Incarnation([0xa; 16]);
/// Another one.
pub(crate) const B: Incarnation = Incarnation([0xb; 16]);

pub(crate) fn moment(incarnation: Incarnation, sequence: u64, time_micros: i64) -> Moment {
    Moment { incarnation, sequence: SequenceNumber(sequence), time_micros }
}

/// A start in history A at a commit of [`FakeLog::commits`], and nothing else.
pub(crate) fn known(start: u64) -> Known {
    let start = moment(A, start, start as i64 * 10);
    Known { start, gaps: Vec::new(), restore_points: Vec::new(), complete_until_micros: None }
}

pub(crate) fn leg(log: FakeLog, through: Option<u64>) -> Leg {
    let (incarnation, after) = (log.incarnation, SequenceNumber(0));
    Leg { incarnation, after, through: through.map(SequenceNumber), source: Box::new(log) }
}

/// Events in the order in which they were added. Each commit puts its sequence number, and nothing else.
pub(crate) struct FakeLog {
    incarnation: Incarnation,
    events: VecDeque<Option<LogEvent>>,
    key: Option<[u8; 8]>,
    current: [u8; 8],
}

impl FakeLog {
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, events: VecDeque::new(), key: None, current: [0; 8] }
    }

    /// Commit `n` is made at `n * 10` microseconds.
    pub(crate) fn commits(self, sequences: RangeInclusive<u64>) -> Self {
        sequences.fold(self, |log, n| log.commit_at(n, n as i64 * 10))
    }

    pub(crate) fn commit_at(mut self, sequence: u64, time_micros: i64) -> Self {
        let (sequence, incarnation) = (SequenceNumber(sequence), self.incarnation);
        self.events.push_back(Some(LogEvent::Commit(CommitHead {
            sequence,
            time_micros,
            incarnation,
            ops: 1,
        })));
        self
    }

    pub(crate) fn point(self, name: &str, sequence: u64) -> Self {
        self.point_at(name, sequence, sequence as i64 * 10)
    }

    pub(crate) fn point_at(mut self, name: &str, sequence: u64, time_micros: i64) -> Self {
        let (name, sequence) = (name.to_owned(), SequenceNumber(sequence));
        self.events.push_back(Some(LogEvent::RestorePoint(RestorePoint { name, sequence, time_micros })));
        self
    }

    /// Reading fails here.
    pub(crate) fn damage(mut self) -> Self {
        self.events.push_back(None);
        self
    }
}

impl LogSource for FakeLog {
    fn next_event(&mut self) -> Result<Option<LogEvent>> {
        let Some(event) = self.events.pop_front() else { return Ok(None) };
        let event = event.ok_or_else(|| StorageError::corrupt("made up", 0, "made up"))?;
        self.key = match &event {
            LogEvent::Commit(head) => Some(head.sequence.0.to_be_bytes()),
            LogEvent::RestorePoint(_) => None,
        };
        Ok(Some(event))
    }

    fn next_op(&mut self) -> Result<Option<LogOp<'_>>> {
        let Some(key) = self.key.take() else { return Ok(None) };
        self.current = key;
        Ok(Some(LogOp::Put { key: &self.current, value: b"" }))
    }

    fn read_value(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        chunk.clear();
        Ok(false)
    }
}
