//! Sizes and durations as text.

use std::time::Duration;

/// Reads a size in bytes: `4096`, `64KB`, `512 MB`, `2GiB`. All units are powers of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const FORM: &str = "a size is a whole number and a unit, such as 4096, 64KB, 512MB or 2GB";
    let (number, unit) = split(text).ok_or(FORM)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(FORM.into()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "the size is beyond 64 bits".into())
}

/// Reads a duration: `250us`, `100ms`, `30s`, `5m`, `1h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "a duration is a whole number and a unit, such as 100ms, 30s, 5m or 1h";
    let (number, unit) = split(text).ok_or(FORM)?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    let duration = match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => return Err(FORM.into()),
    };
    duration.ok_or_else(|| "the duration is beyond 64 bits of seconds".into())
}

/// Splits `512 MB` into 512 and `MB`.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("4096", 4096),
            ("512MB", 512 << 20),
            (" 64 kb ", 64 << 10),
            ("2GiB", 2 << 30),
            ("1t", 1 << 40),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        let too_large = ["99999999999999999999", "99999999999T"];
        for text in ["", "MB", "-1", "1.5GB", "12 parsecs", "0x10"].into_iter().chain(too_large) {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_say_their_unit() {
        for (text, millis) in
            [("100ms", 100), ("30s", 30_000), ("5 m", 300_000), ("1h", 3_600_000), ("2000us", 2)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "-5s", "1d", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
