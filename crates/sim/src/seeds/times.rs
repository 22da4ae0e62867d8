//! When commits were made: restores tell, and restores to a time must be true to it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use lightning_db::RestoreReport;

use crate::random::Random;

/// The times of commits, by their history and number.
#[derive(Debug, Clone, Default)]
pub(super) struct Times(BTreeMap<([u8; 16], u64), SystemTime>);

impl Times {
    /// Remembers when the newest commit of a restored database was made.
    pub(super) fn learn(&mut self, report: &RestoreReport) {
        self.0.insert((report.restored_from.0, report.sequence.0), report.time);
    }

    /// Half of the times a known one, if there is any.
    pub(super) fn pick(&self, random: &mut Random) -> Option<SystemTime> {
        let all: Vec<SystemTime> = self.0.values().copied().collect();
        (!all.is_empty() && random.once_in(2)).then(|| *random.pick(&all))
    }

    /// What is wrong with a restore to the time `wanted`, if anything: a commit that is too late, or one missing that is
    /// not.
    pub(super) fn misfit(
        &self,
        report: &RestoreReport,
        wanted: SystemTime,
        exclusive: bool,
        clock_went_back: bool,
    ) -> Option<String> {
        let is_within = |time: SystemTime| if exclusive { time < wanted } else { time <= wanted };
        let (history, last) = (report.restored_from.0, report.sequence.0);
        if last > 0 && !is_within(report.time) {
            return Some(format!("came to commit {last}, of {:?}", report.time));
        }
        if clock_went_back {
            return None;
        }
        let mut later = self.0.range((history, last + 1)..=(history, u64::MAX));
        later
            .find(|(_, time)| is_within(**time))
            .map(|((_, missing), time)| format!("came to commit {last} and lacks {missing}, of {time:?}"))
    }
}
