//! Parts of timestamps and durations; without a time zone, of UTC.

use super::{fail, none};
use crate::error::EvalError;
use crate::signature::{Cost, Function, row};
use crate::value::Val;
use jiff::Zoned;
use jiff::tz::{Offset, TimeZone};

const ONE: Cost = Cost::Fixed(1);
const DATE: &[&str] = &["timestamp.() -> int", "timestamp.(string) -> int"];
const BOTH: &[&str] = &["timestamp.() -> int", "timestamp.(string) -> int", "duration.() -> int"];

pub(super) static TABLE: &[Function] = &[
    row("getFullYear", DATE, ONE, |_, args| part(args, |t| i64::from(t.year()))),
    row("getMonth", DATE, ONE, |_, args| part(args, |t| i64::from(t.month()) - 1)),
    row("getDayOfYear", DATE, ONE, |_, args| part(args, |t| i64::from(t.day_of_year()) - 1)),
    row("getDayOfMonth", DATE, ONE, |_, args| part(args, |t| i64::from(t.day()) - 1)),
    row("getDate", DATE, ONE, |_, args| part(args, |t| i64::from(t.day()))),
    row("getDayOfWeek", DATE, ONE, |_, args| part(args, |t| i64::from(t.weekday().to_sunday_zero_offset()))),
    row("getHours", BOTH, ONE, |_, args| match args {
        [Val::Duration(nanos)] => Ok(Val::Int(nanos / 3_600_000_000_000)),
        args => part(args, |t| i64::from(t.hour())),
    }),
    row("getMinutes", BOTH, ONE, |_, args| match args {
        [Val::Duration(nanos)] => Ok(Val::Int(nanos / 60_000_000_000)),
        args => part(args, |t| i64::from(t.minute())),
    }),
    row("getSeconds", BOTH, ONE, |_, args| match args {
        [Val::Duration(nanos)] => Ok(Val::Int(nanos / 1_000_000_000)),
        args => part(args, |t| i64::from(t.second())),
    }),
    row("getMilliseconds", BOTH, ONE, |_, args| match args {
        [Val::Duration(nanos)] => Ok(Val::Int(nanos / 1_000_000)),
        args => part(args, |t| i64::from(t.millisecond())),
    }),
];

fn part<'a>(args: &[Val<'a>], take: fn(&Zoned) -> i64) -> Result<Val<'a>, EvalError> {
    let (time, zone) = match args {
        [Val::Timestamp(time)] => (time, TimeZone::UTC),
        [Val::Timestamp(time), Val::String(name)] => match zone(name) {
            Some(zone) => (time, zone),
            None => return fail(format!("unknown time zone {}", &**name)),
        },
        _ => return none(),
    };
    Ok(Val::Int(take(&time.to_zoned(zone))))
}

/// `Europe/Berlin`, `UTC`, `+02:00`, `-08:30`.
fn zone(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else {
        return if name.is_empty() { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() };
    };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().ok()?;
    let minutes: i32 = minutes.parse().ok().filter(|minutes| (0..60).contains(minutes))?;
    let seconds = (hours.checked_mul(60)?.checked_add(minutes)?).checked_mul(60)?;
    let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?;
    Some(TimeZone::fixed(offset))
}
