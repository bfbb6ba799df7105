//! Sizes and durations as people write them: `64MiB`, `1.5GB`, `30s`, `1h30m`.
//!
//! A number without a unit is refused: nobody remembers whether it meant seconds or milliseconds.

use std::time::Duration;

/// Why a size or a duration could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Nothing was given.
    #[error("value is empty")]
    Empty,
    /// It does not begin with a number.
    #[error("`{found}` is not a number")]
    Number {
        /// What stands there instead.
        found: String,
    },
    /// There is a number but no unit.
    #[error("number `{number}` has no unit, expected one of {expected}")]
    Missing {
        /// The number.
        number: String,
        /// The units there are.
        expected: &'static str,
    },
    /// The unit is not known.
    #[error("unit `{unit}` is not known, expected one of {expected}")]
    Unknown {
        /// What stands there instead.
        unit: String,
        /// The units there are.
        expected: &'static str,
    },
    /// The value does not fit.
    #[error("value is too large")]
    TooLarge,
}

impl UnitError {
    /// What to write instead, where the message does not tell already.
    pub fn hint(&self) -> Option<String> {
        let unclear = matches!(self, Self::Empty | Self::Number { .. });
        unclear.then(|| {
            "write a number and a unit: `30s`, `1h30m` for a duration, `64MiB`, `1.5GB` for a size".to_owned()
        })
    }
}

const SIZE_UNITS: &str = "`B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB`, `TB`";
const DURATION_UNITS: &str = "`ms`, `s`, `m`, `h`, `d`";

/// The largest duration taken, a hundred years: anything beyond is a slip of the finger, and it keeps
/// `now + duration` from running over.
const MAX_DURATION: Duration = Duration::from_hours(100 * 366 * 24);

/// Reads a size in bytes: a number, whole or with decimals, and a unit. `KiB` and its kin are powers of 1024, `kB` and its kin of 1000.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let (number, unit) = split_number(text)?;
    let bytes: u64 = match unit.trim_start() {
        "" => return Err(UnitError::Missing { number: number.to_owned(), expected: SIZE_UNITS }),
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        unit => return Err(UnitError::Unknown { unit: unit.to_owned(), expected: SIZE_UNITS }),
    };
    u64::try_from(scale(number, bytes)?).map_err(|_| UnitError::TooLarge)
}

/// Reads a duration: one or more numbers, each with a unit, added up.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const NANOSECONDS: u64 = 1_000_000;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError::Empty);
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let after = after.trim_start();
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len()));
        let each = match unit {
            "" => return Err(UnitError::Missing { number: number.to_owned(), expected: DURATION_UNITS }),
            "ms" => NANOSECONDS,
            "s" => 1_000 * NANOSECONDS,
            "m" => 60_000 * NANOSECONDS,
            "h" => 3_600_000 * NANOSECONDS,
            "d" => 86_400_000 * NANOSECONDS,
            unit => return Err(UnitError::Unknown { unit: unit.to_owned(), expected: DURATION_UNITS }),
        };
        nanoseconds = nanoseconds.checked_add(scale(number, each)?).ok_or(UnitError::TooLarge)?;
        rest = after.trim_start();
    }
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| UnitError::TooLarge)?;
    Some(Duration::from_nanos(nanoseconds)).filter(|value| *value <= MAX_DURATION).ok_or(UnitError::TooLarge)
}

/// A size for people: `0 B`, `1.5 KiB`, `512.0 MiB`.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // 1023.95 would be printed as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// How many of what: `1 endpoint`, `3 endpoints`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A duration for people, to the two largest units: `350ms`, `4.2s`, `1m 30s`, `2h 5m`, `3d 4h`.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    // Rounded first, so that 59.96 s does not become `60.0s`.
    let seconds = (milliseconds + 500) / 1000;
    let pair = |large: u128, small: u128, names: [&str; 2]| match small {
        0 => format!("{large}{}", names[0]),
        _ => format!("{large}{} {small}{}", names[0], names[1]),
    };
    match seconds {
        _ if milliseconds < 1000 => format!("{milliseconds}ms"),
        _ if milliseconds < 59_950 => format!("{:.1}s", milliseconds as f64 / 1000.0),
        0..3600 => pair(seconds / 60, seconds % 60, ["m", "s"]),
        3600..86_400 => pair(seconds / 3600, seconds % 3600 / 60, ["h", "m"]),
        _ => pair(seconds / 86_400, seconds % 86_400 / 3600, ["d", "h"]),
    }
}

/// Splits off the number in front: digits, and perhaps a point with digits.
fn split_number(text: &str) -> Result<(&str, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let sound = match number.split_once('.') {
        Some((whole, fraction)) => plain(whole) && plain(fraction),
        None => plain(number),
    };
    match sound {
        true => Ok((number, rest)),
        false if text.is_empty() => Err(UnitError::Empty),
        false => Err(UnitError::Number { found: text.to_owned() }),
    }
}

/// `number` times `unit`, without going through floating point: `0.1` of a day is exact.
fn scale(number: &str, unit: u64) -> Result<u128, UnitError> {
    /// More decimals than this say nothing in any unit there is.
    const MAX_DECIMALS: usize = 12;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = whole.parse().map_err(|_| UnitError::TooLarge)?;
    let fraction = &fraction[..fraction.len().min(MAX_DECIMALS)];
    let part = match fraction {
        "" => 0,
        digits => {
            let digits: u128 = digits.parse().map_err(|_| UnitError::TooLarge)?;
            digits * u128::from(unit) / 10_u128.pow(fraction.len() as u32)
        }
    };
    whole.checked_mul(u128::from(unit)).and_then(|value| value.checked_add(part)).ok_or(UnitError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0B", 0),
            ("64MiB", 64 << 20),
            ("200GiB", 200 << 30),
            ("10MB", 10_000_000),
            ("1.5 KiB", 1536),
            (" 3kB ", 3000),
            ("16777215TiB", 16_777_215 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, message) in [
            ("", "value is empty"),
            ("MiB", "`MiB` is not a number"),
            ("-1MiB", "`-1MiB` is not a number"),
            ("1.MiB", "`1.MiB` is not a number"),
            ("1.2.3MiB", "`1.2.3MiB` is not a number"),
            ("64M", &format!("unit `M` is not known, expected one of {SIZE_UNITS}")),
            ("64", &format!("number `64` has no unit, expected one of {SIZE_UNITS}")),
            ("16777216TiB", "value is too large"),
            ("99999999999999999999999999999999999999999B", "value is too large"),
        ] {
            assert_eq!(parse_size(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m 5s", 5_405_000),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for (text, message) in [
            ("", "value is empty"),
            ("fast", "`fast` is not a number"),
            ("1h30", &format!("number `30` has no unit, expected one of {DURATION_UNITS}")),
            ("5min", &format!("unit `min` is not known, expected one of {DURATION_UNITS}")),
            ("1h-30m", "`-30m` is not a number"),
            ("99999999999d", "value is too large"),
            ("200000d", "value is too large"),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
        for (milliseconds, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (4_200, "4.2s"),
            (59_960, "1m"),
            (90_000, "1m 30s"),
            (7_500_000, "2h 5m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(milliseconds)), text);
        }
    }
}
