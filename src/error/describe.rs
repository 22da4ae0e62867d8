//! Moments and intervals in the text of errors.

use std::fmt;

use super::{ReachableInterval, TargetCandidate};

/// The intervals of [`TargetNotReachable`](super::Error::TargetNotReachable) as text.
pub(super) struct Reachable<'a>(pub(super) &'a [ReachableInterval]);

impl fmt::Display for Reachable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing can be reached");
        }
        f.write_str("what can be reached: ")?;
        for (index, interval) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(
                f,
                "{comma}sequence {} to {} ({} to {}) of incarnation {}",
                interval.first,
                interval.last,
                UtcTime(interval.first_micros),
                UtcTime(interval.last_micros),
                interval.incarnation,
            )?;
        }
        Ok(())
    }
}

/// The candidates of [`TargetAmbiguous`](super::Error::TargetAmbiguous) as text.
pub(super) struct Candidates<'a>(pub(super) &'a [TargetCandidate]);

impl fmt::Display for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, candidate) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let TargetCandidate { incarnation, sequence, micros } = candidate;
            f.write_str(comma)?;
            if let Some(sequence) = sequence {
                write!(f, "sequence {sequence} of ")?;
            }
            write!(f, "incarnation {incarnation}")?;
            if let Some(micros) = micros {
                write!(f, " ({})", UtcTime(*micros))?;
            }
        }
        Ok(())
    }
}

/// Microseconds since 1970 in the form `2013-01-31T06:15:00.000000Z`.
struct UtcTime(i64);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MICROS_A_DAY: i64 = 86_400_000_000;
        let (year, month, day) = civil_date(self.0.div_euclid(MICROS_A_DAY));
        let micros = self.0.rem_euclid(MICROS_A_DAY);
        let seconds = micros / 1_000_000;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z",
            micros % 1_000_000
        )
    }
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from 1 March, so that the leap day is the
/// last one of its year and of its 400-year era (146,097 days, which begin on 0000-03-01).
fn civil_date(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        let text = |seconds: i64| UtcTime(seconds * 1_000_000).to_string();
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.000000Z");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert!(!UtcTime(i64::MIN).to_string().is_empty() && !UtcTime(i64::MAX).to_string().is_empty());
    }
}
