//! Cron schedules: five fields (minute, hour, day of month, month, day of week) or a nickname such as
//! `@daily`.
//!
//! Source: documentation, "CronJob: Schedule syntax". Deliberately absent: seconds, and time zones, which
//! CronJob names in a field of its own.

/// A parsed schedule: for each field the set of values that match, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Minutes 0 to 59.
    pub minutes: u64,
    /// Hours 0 to 23.
    pub hours: u64,
    /// Days of the month, 1 to 31.
    pub days: u64,
    /// Months 1 to 12.
    pub months: u64,
    /// Days of the week, Sunday is 0.
    pub weekdays: u64,
    /// Whether the day of the month is free (`*` or `?`): then the day of the week alone decides, and the
    /// other way round; where neither is free, either may match.
    pub any_day: bool,
    /// Whether the day of the week is free.
    pub any_weekday: bool,
    /// Set for `@every`: the interval in seconds, which takes the place of all fields.
    pub every_seconds: Option<u64>,
}

/// One field: its bounds and the names of its values.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { low: 0, high: 59, names: &[] },
    Field { low: 0, high: 23, names: &[] },
    Field { low: 1, high: 31, names: &[] },
    Field { low: 1, high: 12, names: MONTHS },
    Field { low: 0, high: 6, names: WEEKDAYS },
];

impl Schedule {
    /// Parses a schedule; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(interval) = text.strip_prefix("@every ") {
            return Self::every(interval.trim());
        }
        let expanded = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(format!("unrecognized descriptor: {other}")),
            other => other,
        };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        let [minute, hour, day, month, weekday] = &FIELDS;
        let free = |field: &str| field.starts_with(['*', '?']);
        Ok(Self {
            minutes: minute.parse(minutes)?,
            hours: hour.parse(hours)?,
            days: day.parse(days)?,
            months: month.parse(months)?,
            weekdays: weekday.parse(weekdays)?,
            any_day: free(days),
            any_weekday: free(weekdays),
            every_seconds: None,
        })
    }

    fn every(interval: &str) -> Result<Self, String> {
        let bad = |_| format!("failed to parse duration @every {interval}");
        let duration = machinery::duration::Duration::parse(interval).map_err(bad)?;
        let seconds = duration.to_std().map(|duration| duration.as_secs().max(1));
        Ok(Self {
            minutes: 0,
            hours: 0,
            days: 0,
            months: 0,
            weekdays: 0,
            any_day: true,
            any_weekday: true,
            every_seconds: Some(seconds.unwrap_or(1)),
        })
    }
}

impl Field {
    /// The values of a comma-separated list of ranges, as bits.
    fn parse(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |bits, range| Ok(bits | self.range(range)?))
    }

    fn range(&self, text: &str) -> Result<u64, String> {
        let (span, step) = match text.split_once('/') {
            Some((span, step)) => {
                let number = step.parse::<u32>().map_err(|_| format!("failed to parse int from {step}"))?;
                (span, Some(number))
            }
            None => (text, None),
        };
        let (low, high) = match span.split_once('-') {
            _ if span == "*" || span == "?" => (self.low, self.high),
            Some((low, high)) => (self.value(low)?, self.value(high)?),
            None => {
                let low = self.value(span)?;
                // `5/10` means from five on.
                (low, if step.is_some() { self.high } else { low })
            }
        };
        if low < self.low {
            return Err(format!("beginning of range ({low}) below minimum ({}): {text}", self.low));
        }
        if high > self.high {
            return Err(format!("end of range ({high}) above maximum ({}): {text}", self.high));
        }
        if low > high {
            return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
        }
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        Ok((low..=high).step_by(step as usize).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_lowercase();
        if let Some(at) = self.names.iter().position(|name| *name == lower) {
            return Ok(self.low + u32::try_from(at).unwrap_or_default());
        }
        text.parse().map_err(|_| format!("failed to parse int from {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn fields_are_sets() {
        let schedule = Schedule::parse("*/15 9-17 1,15 jan mon-fri").unwrap();
        assert_eq!(schedule.minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(schedule.hours.count_ones(), 9);
        assert_eq!(schedule.days, 1 << 1 | 1 << 15);
        assert_eq!(schedule.months, 1 << 1);
        assert_eq!(schedule.weekdays, 0b11_1110);
        assert!(!schedule.any_day && !schedule.any_weekday);
        assert_eq!(Schedule::parse("@hourly"), Schedule::parse("0 * * * *"));
        assert_eq!(Schedule::parse("@every 90s").unwrap().every_seconds, Some(90));
    }

    #[test]
    fn says_what_is_wrong() {
        let rows = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x"),
            ("@never", "unrecognized descriptor: @never"),
        ];
        for (text, message) in rows {
            assert_eq!(Schedule::parse(text).unwrap_err(), message);
        }
    }
}
