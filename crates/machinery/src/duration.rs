//! Durations in Go's text form, `1h30m0s`, as `metav1.Duration` and many flags use it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

const SECOND: i64 = 1_000_000_000;
const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// A signed number of nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

impl Duration {
    /// Parses `300ms`, `-1.5h` or `2h45m`. The error has Go's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("time: invalid duration {text:?}");
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(number);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
                return Err(invalid());
            }
            let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            if unit.is_empty() {
                return Err(format!("time: missing unit in duration {text:?}"));
            }
            let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
            };
            let nanos = i128::from(*nanos);
            let whole: i128 =
                if whole.is_empty() { 0 } else { i64::from_str(whole).map_err(|_| invalid())?.into() };
            // 15 digits are more than a nanosecond of an hour needs.
            let digits = &fraction[..fraction.len().min(15)];
            let part: i128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| invalid())? };
            total +=
                whole * nanos + part * nanos / 10i128.pow(u32::try_from(digits.len()).unwrap_or_default());
            rest = tail;
            if total > i128::from(i64::MAX) + i128::from(negative) {
                return Err(invalid());
            }
        }
        i64::try_from(if negative { -total } else { total }).map(Self).map_err(|_| invalid())
    }

    /// As a standard duration; `None` when negative.
    pub fn to_std(self) -> Option<StdDuration> {
        u64::try_from(self.0).ok().map(StdDuration::from_nanos)
    }
}

impl From<StdDuration> for Duration {
    /// Saturates after 292 years.
    fn from(duration: StdDuration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Duration {
    /// Go's form: `1h0m0s`, `1.5s`, `10ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = SECOND.unsigned_abs();
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < second {
            let (unit, size) = match nanos {
                0..1_000 => ("ns", 1),
                1_000..1_000_000 => ("µs", 1_000),
                _ => ("ms", 1_000_000),
            };
            return write!(f, "{}{unit}", point(nanos, size));
        }
        let seconds = nanos / second;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", point(nanos % (60 * second), second))
    }
}

/// `nanos / size` with no more decimals than needed.
fn point(nanos: u64, size: u64) -> String {
    let (whole, rest) = (nanos / size, nanos % size);
    if rest == 0 {
        return whole.to_string();
    }
    let width = size.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_prints_as_go() {
        let rows = [
            ("0", "0s"),
            ("0s", "0s"),
            ("1h30m", "1h30m0s"),
            ("1.5h", "1h30m0s"),
            ("90s", "1m30s"),
            ("-1.5s", "-1.5s"),
            ("300ms", "300ms"),
            ("1us", "1µs"),
            ("1µs5ns", "1.005µs"),
            (".5s", "500ms"),
            ("24h", "24h0m0s"),
            ("+1m", "1m0s"),
        ];
        for (text, expected) in rows {
            assert_eq!(Duration::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn errors_are_those_of_go() {
        let rows = [
            ("", "time: invalid duration \"\""),
            ("3", "time: missing unit in duration \"3\""),
            ("3x", "time: unknown unit \"x\" in duration \"3x\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            (".s", "time: invalid duration \".s\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ];
        for (text, expected) in rows {
            assert_eq!(Duration::parse(text).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(nanos: i64) {
            prop_assert_eq!(Duration::parse(&Duration(nanos).to_string()), Ok(Duration(nanos)));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[-+]?[0-9.]{0,25}[a-zµ]{0,2}[0-9]{0,3}s?") {
            let _ = Duration::parse(&text);
        }
    }
}
