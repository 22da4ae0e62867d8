//! Wall time: microseconds since 1970 in files, [`SystemTime`] for users.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The moment `micros` after 1970-01-01T00:00:00Z.
pub(crate) fn system_time(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let moment = if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moment.unwrap_or(UNIX_EPOCH)
}

/// Whole microseconds from 1970 to `time`, rounded down; negative before.
pub(crate) fn unix_micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let micros = i64::try_from(before.as_nanos().div_ceil(1000)).unwrap_or(i64::MAX);
            -micros
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_and_fractions_are_cut_off() {
        for micros in [0, 1, -1, 1_359_612_900_000_001, -1_359_612_900_000_001] {
            assert_eq!(unix_micros(system_time(micros)), micros);
        }
        assert_eq!(unix_micros(UNIX_EPOCH + Duration::from_nanos(1999)), 1);
        assert_eq!(unix_micros(UNIX_EPOCH - Duration::from_nanos(1999)), -2);
    }
}
