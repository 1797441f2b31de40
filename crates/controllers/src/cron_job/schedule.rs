//! Cron schedules: five fields, names, steps and ranges, and the `@` words (crontab(5); Kubernetes documentation,
//! "CronJob").

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};
use machinery::duration::Duration;

/// Schedules that never come to pass (30 February) are given up after this many years.
const HORIZON_YEARS: i64 = 5;

/// A parsed schedule; each field is a bit set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether day and weekday were both given: then either suffices.
    either_day: bool,
    /// `@every`: a fixed distance in seconds.
    every: Option<i64>,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Parses a schedule; the error says which part is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(duration) = fields.strip_prefix("@every ") {
            let parsed = Duration::parse(duration.trim());
            let parsed =
                parsed.map_err(|error| format!("failed to parse the duration of {text:?}: {error}"))?;
            let seconds =
                parsed.to_std().and_then(|length| i64::try_from(length.as_secs()).ok()).unwrap_or(1);
            return Ok(Self { every: Some(seconds.max(1)), ..Self::never() });
        }
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", parts.len()));
        };
        let is_star = |field: &str| field.starts_with('*') || field.starts_with('?');
        let mut weekdays = field(weekday, 0, 7, &WEEKDAYS, 0)?;
        if weekdays & (1 << 7) != 0 {
            weekdays |= 1;
        }
        Ok(Self {
            minutes: field(minute, 0, 59, &[], 0)?,
            hours: field(hour, 0, 23, &[], 0)?,
            days: field(day, 1, 31, &[], 0)?,
            months: field(month, 1, 12, &MONTHS, 1)?,
            weekdays,
            either_day: !is_star(day) && !is_star(weekday),
            every: None,
        })
    }

    fn never() -> Self {
        Self { minutes: 0, hours: 0, days: 0, months: 0, weekdays: 0, either_day: false, every: None }
    }

    fn has_day(&self, at: DateTime) -> bool {
        let day = self.days & (1 << at.day()) != 0;
        let weekday = self.weekdays & (1 << at.weekday().to_sunday_zero_offset()) != 0;
        if self.either_day { day || weekday } else { day && weekday }
    }

    /// The first time after `after`, by the clocks of `zone`.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if let Some(seconds) = self.every {
            return Timestamp::from_second(after.as_second().checked_add(seconds)?).ok();
        }
        let start = zone.to_datetime(after);
        let mut at = start.date().at(start.hour(), start.minute(), 0, 0).checked_add(1.minute()).ok()?;
        let end = start.checked_add(Span::new().years(HORIZON_YEARS)).ok()?;
        while at < end {
            if self.months & (1 << at.month()) == 0 {
                at = at.date().first_of_month().checked_add(1.month()).ok()?.at(0, 0, 0, 0);
            } else if !self.has_day(at) {
                at = at.date().checked_add(1.day()).ok()?.at(0, 0, 0, 0);
            } else if self.hours & (1 << at.hour()) == 0 {
                at = at.date().at(at.hour(), 0, 0, 0).checked_add(1.hour()).ok()?;
            } else if self.minutes & (1 << at.minute()) == 0 {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                // A time that the change to summer time skips is taken after the gap.
                let found = zone.to_ambiguous_timestamp(at).compatible().ok()?;
                if found > after {
                    return Some(found);
                }
                at = at.checked_add(1.minute()).ok()?;
            }
        }
        None
    }
}

fn field(text: &str, low: u32, high: u32, names: &[&str], first: u32) -> Result<u64, String> {
    let mut bits = 0_u64;
    let number = |word: &str| -> Result<u32, String> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(word));
        let value = match named.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => at + first,
            None => word.parse().map_err(|_| format!("failed to parse number {word:?} of {text:?}"))?,
        };
        if (low..=high).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{value} of {text:?} is not between {low} and {high}"))
        }
    };
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step = match step {
            None => 1,
            Some(step) => {
                step.parse::<u32>().map_err(|_| format!("failed to parse step {step:?} of {text:?}"))?
            }
        };
        if step == 0 {
            return Err(format!("step of {text:?} must be positive"));
        }
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (low, if high == 7 { 6 } else { high }),
            Some((from, to)) => (number(from)?, number(to)?),
            None if part.contains('/') => (number(range)?, high),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(format!("beginning of range ({from}) beyond end of range ({to}): {text}"));
        }
        let mut value = from;
        while value <= to {
            bits |= 1 << value;
            value = value.saturating_add(step);
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_times() {
        // (schedule, after, next) in UTC.
        let rows = [
            ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:45:00Z", "2026-01-01T01:00:00Z"),
            ("30 4 1,15 * *", "2026-01-02T00:00:00Z", "2026-01-15T04:30:00Z"),
            ("0 0 * * fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 9-17/4 * * 1-5", "2026-01-02T13:00:00Z", "2026-01-02T17:00:00Z"),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@monthly", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
        ];
        for (text, after, next) in rows {
            let schedule = Schedule::parse(text).unwrap();
            let got = schedule.next(after.parse().unwrap(), &TimeZone::UTC).map(|time| time.to_string());
            assert_eq!(got.as_deref(), Some(next), "{text}");
        }
        let never = Schedule::parse("0 0 30 2 *").unwrap();
        assert_eq!(never.next("2026-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC), None);
    }

    #[test]
    fn time_zones_shift_and_skip() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let daily = Schedule::parse("30 2 * * *").unwrap();
        let next = |after: &str| daily.next(after.parse().unwrap(), &zone).unwrap().to_string();
        assert_eq!(next("2026-01-01T00:00:00Z"), "2026-01-01T01:30:00Z");
        // 02:30 does not exist on 29 March 2026; it is taken at 03:30 summer time.
        assert_eq!(next("2026-03-28T12:00:00Z"), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn malformed_schedules_are_told() {
        for text in ["", "* * * *", "60 * * * *", "* * * * 8", "*/0 * * * *", "5-1 * * * *", "x * * * *"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
