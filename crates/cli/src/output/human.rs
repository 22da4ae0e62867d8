//! Numbers as people read them.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use lightning_db::Phase;

/// `1,234,567`
pub(crate) struct Count(pub(crate) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// `4.5 MB`; units are powers of 1024, as everywhere in lightning_db.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KB", "MB", "GB", "TB"];
        let power = (self.0.checked_ilog2().unwrap_or(0) / 10).min(4);
        let scaled = self.0 as f64 / (1_u64 << (10 * power)) as f64;
        let unit = UNITS[power as usize];
        let text = if power == 0 { format!("{} {unit}", self.0) } else { format!("{scaled:.1} {unit}") };
        f.pad(&text)
    }
}

/// `1.25 s`
pub(crate) struct Time(pub(crate) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let text =
            if seconds < 1.0 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") };
        f.pad(&text)
    }
}

/// `copy 1.25 s, replay 0.5 ms`
pub(crate) fn phases_text(phases: &[Phase]) -> String {
    let texts: Vec<String> =
        phases.iter().map(|phase| format!("{} {}", phase.name, Time(phase.duration))).collect();
    texts.join(", ")
}

/// A wall time from microseconds since 1970: `2013-01-31T06:15:00.000001Z`.
pub(crate) fn wall_time(micros: i64) -> String {
    Timestamp::from_microsecond(micros)
        .map_or_else(|_| format!("{micros} µs since 1970"), |time| time.to_string())
}

/// `1 row`, `2 rows`
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", Count(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Size(1023).to_string(), "1023 bytes");
        assert_eq!(Size(1536).to_string(), "1.5 KB");
        assert_eq!(Size(u64::MAX).to_string(), "16777216.0 TB");
        assert_eq!(Time(Duration::from_millis(1250)).to_string(), "1.25 s");
        assert_eq!(Time(Duration::from_micros(500)).to_string(), "0.5 ms");
        assert_eq!(counted(1, "row", "rows"), "1 row");
        assert_eq!(counted(1000, "row", "rows"), "1,000 rows");
        assert_eq!(wall_time(1_359_612_900_000_001), "2013-01-31T06:15:00.000001Z");
        assert!(wall_time(i64::MAX).ends_with("since 1970"));
    }
}
