//! Quantities as whole numbers. Values that do not parse count as 0: the API server has validated them.

/// Value in units, rounded up: bytes, counts.
pub(crate) fn units(text: &str) -> i64 {
    let milli = parse_milli(text);
    let up = if milli % 1000 > 0 { 1 } else { 0 };
    i64::try_from(milli / 1000 + up).unwrap_or(i64::MAX)
}

/// Value in thousandths: CPU.
pub(crate) fn milli(text: &str) -> i64 {
    i64::try_from(parse_milli(text)).unwrap_or(i64::MAX)
}

/// Suffixes of the resource model, as multipliers over 1/1_000_000_000.
const SUFFIXES: &[(&str, i128)] = &[
    ("Ki", 1_000_000_000 << 10),
    ("Mi", 1_000_000_000 << 20),
    ("Gi", 1_000_000_000 << 30),
    ("Ti", 1_000_000_000 << 40),
    ("Pi", 1_000_000_000 << 50),
    ("Ei", 1_000_000_000 << 60),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", 1_000_000_000_000),
    ("M", 1_000_000_000_000_000),
    ("G", 1_000_000_000_000_000_000),
    ("T", 1_000_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000_000_000),
];

fn parse_milli(text: &str) -> i128 {
    let text = text.trim();
    let (number, nano) = match SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix)) {
        Some((suffix, nano)) => (&text[..text.len() - suffix.len()], *nano),
        None => match text.split_once(['e', 'E']) {
            Some((number, exponent)) => {
                let exponent: u32 = exponent.parse().unwrap_or(0).min(18);
                (number, 1_000_000_000 * 10_i128.pow(exponent))
            }
            None => (text, 1_000_000_000),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = &fraction[..fraction.len().min(9)];
    let digits: i128 = format!("{whole}{fraction}").parse().unwrap_or(0);
    let scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let nanos = digits.saturating_mul(nano) / scale;
    let up = if nanos % 1_000_000 > 0 { 1 } else { 0 };
    nanos / 1_000_000 + up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_suffix() {
        for (text, want) in [
            ("100m", 100),
            ("1", 1000),
            ("0.5", 500),
            ("1.5Gi", (3 << 29) * 1000),
            ("2e3", 2_000_000),
            ("1E", 1_000_000_000_000_000_000_i64.saturating_mul(1000)),
            ("1n", 1),
            ("64Mi", (64 << 20) * 1000),
        ] {
            assert_eq!(milli(text), want, "{text}");
        }
        assert_eq!(units("1500m"), 2);
        assert_eq!(units("nonsense"), 0);
    }
}
