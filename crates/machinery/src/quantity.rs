//! Quantities: `100m`, `1.5Gi`, `1e3` (API reference, `resource.Quantity`).
//!
//! A value is a whole number of nano units in 128 bits: exact for everything that upstream represents exactly
//! up to 1.7e29; greater numbers saturate there.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// Which suffixes a quantity is printed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Powers of 1000: `m`, `k`, `M`.
    #[default]
    DecimalSi,
    /// Powers of 1024: `Ki`, `Mi`.
    BinarySi,
    /// Powers of ten: `e3`.
    DecimalExponent,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form of a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is fine, the suffix unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// The number has two points or no digit.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
}

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = 1_000_000;
const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[&str] = &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Binary quantities are capped here, as upstream caps them.
const BINARY_MAX: i128 = i64::MAX as i128 * NANO;

/// A number with a preferred way of printing. Equality and order are those of the number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Zero, printed `0`.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// A whole number.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANO, format }
    }

    /// A number of thousandths.
    pub fn from_milli(milli: i64, format: Format) -> Self {
        Self { nanos: i128::from(milli) * MILLI, format }
    }

    /// Parses the text form. Less than a nano unit is rounded away from zero.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (number, suffix) = split(text)?;
        let (negative, digits) = match number.as_bytes().first() {
            Some(b'-') => (true, &number[1..]),
            Some(b'+') => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if fraction.contains('.') || whole.is_empty() && fraction.is_empty() {
            return Err(QuantityError::Numeric);
        }
        let (mut nanos, mut format) = match scale(suffix)? {
            Scale::Ten(exponent, format) => (decimal(whole, fraction, exponent), format),
            Scale::Two(exponent) => (binary(whole, fraction, exponent), Format::BinarySi),
        };
        if format == Format::BinarySi && (1..NANO).contains(&nanos) {
            format = Format::DecimalSi;
        }
        if negative {
            nanos = -nanos;
        }
        Ok(Self { nanos, format })
    }

    /// How it is printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The number rounded up to a whole one; saturates at 64 bits.
    pub fn value(&self) -> i64 {
        saturate(div_ceil(self.nanos, NANO))
    }

    /// The number of thousandths, rounded up; saturates at 64 bits.
    pub fn milli_value(&self) -> i64 {
        saturate(div_ceil(self.nanos, MILLI))
    }

    /// The nearest floating-point number.
    #[allow(clippy::cast_precision_loss, reason = "that is what the caller asks for")]
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// The number if it is whole and fits.
    pub fn as_i64(&self) -> Option<i64> {
        if self.nanos % NANO == 0 { i64::try_from(self.nanos / NANO).ok() } else { None }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Rounded away from zero to thousandths, as the defaulting of resource lists does.
    #[must_use]
    pub fn round_up_milli(self) -> Self {
        let away = |n: i128| (n / MILLI + i128::from(n % MILLI != 0)) * MILLI;
        let nanos = if self.nanos < 0 { -away(-self.nanos) } else { away(self.nanos) };
        Self { nanos, ..self }
    }

    /// Times a whole number.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Self { nanos: self.nanos.saturating_mul(i128::from(factor)), ..self }
    }
}

fn saturate(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

fn div_ceil(n: i128, by: i128) -> i128 {
    n.div_euclid(by) + i128::from(n.rem_euclid(by) != 0)
}

/// Number and suffix of a text that has the form of a quantity.
fn split(text: &str) -> Result<(&str, &str), QuantityError> {
    let signed = usize::from(text.starts_with(['+', '-']));
    let rest = &text[signed..];
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    if digits == 0 {
        return Err(QuantityError::Format);
    }
    let (number, suffix) = text.split_at(signed + digits);
    let letters = suffix.find(|c: char| !"eEinumkKMGTP".contains(c)).unwrap_or(suffix.len());
    let exponent = suffix[letters..].strip_prefix(['+', '-']).unwrap_or(&suffix[letters..]);
    if exponent.bytes().all(|b| b.is_ascii_digit()) {
        Ok((number, suffix))
    } else {
        Err(QuantityError::Format)
    }
}

enum Scale {
    Ten(i64, Format),
    Two(u32),
}

fn scale(suffix: &str) -> Result<Scale, QuantityError> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok(Scale::Ten(i64::from(*exponent), Format::DecimalSi));
    }
    if let Some(power) = BINARY.iter().position(|name| *name == suffix) {
        return Ok(Scale::Two(u32::try_from(power).unwrap_or_default() * 10));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let exponent: i64 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
    Ok(Scale::Ten(exponent, Format::DecimalExponent))
}

/// `whole.fraction * 10^exponent` in nano units, rounded up, saturating.
fn decimal(whole: &str, fraction: &str, exponent: i64) -> i128 {
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let shift = exponent.saturating_add(9).saturating_sub(i64::try_from(fraction.len()).unwrap_or(i64::MAX));
    if shift >= 0 {
        // Beyond 39 digits the number saturates anyway.
        let zeros = usize::try_from(shift).unwrap_or(40).min(40);
        return (digits.to_owned() + &"0".repeat(zeros)).parse().unwrap_or(i128::MAX);
    }
    let dropped = usize::try_from(-shift).unwrap_or(usize::MAX).min(digits.len());
    let (kept, dropped) = digits.split_at(digits.len() - dropped);
    let kept: i128 = if kept.is_empty() { 0 } else { kept.parse().unwrap_or(i128::MAX) };
    kept.saturating_add(i128::from(dropped.bytes().any(|b| b != b'0')))
}

/// `whole.fraction * 2^exponent` in nano units, rounded up and capped.
fn binary(whole: &str, fraction: &str, exponent: u32) -> i128 {
    const PLACES: usize = 18;
    let factor = 1i128 << exponent;
    let number =
        |digits: &str| -> Option<i128> { if digits.is_empty() { Some(0) } else { digits.parse().ok() } };
    let scaled = || -> Option<i128> {
        let whole = number(whole)?.checked_mul(factor)?.checked_mul(NANO)?;
        let (head, tail) = fraction.split_at(fraction.len().min(PLACES));
        let sticky = i128::from(tail.bytes().any(|b| b != b'0'));
        let head = number(&format!("{head:0<PLACES$}"))?;
        // The fraction is below 1: head / 10^18 * factor * 10^9, in an order that cannot overflow.
        whole.checked_add(div_ceil(head * factor + sticky, NANO))
    };
    scaled().unwrap_or(BINARY_MAX).min(BINARY_MAX)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl Add for Quantity {
    type Output = Self;

    /// Zero takes over the other's format, so that sums may start from it.
    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: self.nanos.saturating_neg(), ..self }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the greatest suffix that loses nothing. Binary quantities that are
    /// below 1024 or not whole are printed in decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = -1024 * NANO < self.nanos && self.nanos < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.nanos % NANO == 0 {
            let mut number = self.nanos / NANO;
            let mut power = 0;
            while number % 1024 == 0 && power + 1 < BINARY.len() {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", BINARY[power]);
        }
        let mut number = self.nanos;
        let mut exponent = -9;
        while number % 1000 == 0 {
            number /= 1000;
            exponent += 3;
        }
        match DECIMAL.iter().find(|(_, known)| *known == exponent) {
            _ if exponent == 0 => write!(f, "{number}"),
            Some((suffix, _)) if self.format != Format::DecimalExponent => write!(f, "{number}{suffix}"),
            _ => write!(f, "{number}e{exponent}"),
        }
    }
}

/// The canonical form of a quantity's text.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    Quantity::parse(text).map(|quantity| quantity.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_forms() {
        let rows = [
            ("0", "0"),
            ("0Gi", "0"),
            ("-0", "0"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("0.1", "100m"),
            (".5", "500m"),
            ("1.", "1"),
            ("+1", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("1000Ki", "1000Ki"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1.1Ki", "1126400m"),
            ("100n", "100n"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e-1", "1200e-3"),
            ("1E", "1E"),
            ("1000E", "1e21"),
            ("8Ei", "9223372036854775807"),
            ("123456789123456789123456789Ki", "9223372036854775807"),
            ("-5Mi", "-5Mi"),
            ("1e-100", "1e-9"),
            ("10000000000000000000000000000", "10e27"),
        ];
        for (text, expected) in rows {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses() {
        use QuantityError::{Format, Numeric, Suffix};
        let rows = [
            ("", Format),
            ("a", Format),
            ("1 ", Format),
            ("1x", Format),
            ("--1", Format),
            ("1.2.3", Numeric),
            (".", Numeric),
            ("1mi", Suffix),
            ("1K", Suffix),
            ("1e", Suffix),
            ("1ee3", Suffix),
            ("1k5", Suffix),
            ("1e99999999999999999999", Suffix),
        ];
        for (text, expected) in rows {
            assert_eq!(Quantity::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn arithmetic() {
        let q = |text| Quantity::parse(text).unwrap();
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("1") - q("100m")).to_string(), "900m");
        assert_eq!(["100m", "1.9"].map(q).into_iter().sum::<Quantity>().to_string(), "2");
        assert_eq!((Quantity::ZERO + q("2Mi")).to_string(), "2Mi");
        assert_eq!((q("1.1").value(), q("-1.1").value(), q("1.1m").milli_value()), (2, -1, 2));
        assert_eq!(q("1.1m").round_up_milli().to_string(), "2m");
        assert!(q("1Ki") > q("1k") && q("1000m") == q("1"));
        assert_eq!(q("1e1000000").as_i64(), None);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(text in "-?[0-9]{1,12}(\\.[0-9]{1,9})?(n|u|m||k|M|G|Ki|Mi|Gi|e3|E-2)") {
            let quantity = Quantity::parse(&text).unwrap();
            prop_assert_eq!(Quantity::parse(&quantity.to_string()).unwrap(), quantity);
        }

        #[test]
        fn sums_are_exact(a in -1_000_000_000_000i64..1_000_000_000_000, b in -1_000_000_000_000i64..1_000_000_000_000) {
            let sum = Quantity::from_milli(a, Format::DecimalSi) + Quantity::from_milli(b, Format::BinarySi);
            prop_assert_eq!(sum.milli_value(), a + b);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[+-]?[0-9.]{0,60}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,20}|\\PC{0,9}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let _ = (quantity.to_string(), quantity.value(), quantity + quantity, -quantity);
            }
        }
    }
}
