//! Numbers that may be percentages: `maxSurge: 25%` (API reference, `util.intstr.IntOrString`).

/// A number or the text in its place, borrowed from whichever type the caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOrPercent<'a> {
    /// A plain number.
    Int(i32),
    /// A text, which should end in `%`.
    Text(&'a str),
}

/// The number that a percentage names. The error has upstream's words.
pub fn percent(text: &str) -> Result<i32, String> {
    let number = text.strip_suffix('%').ok_or("invalid type: string is not a percentage")?;
    number
        .parse()
        .map_err(|_| format!("invalid value {text:?}: strconv.Atoi: parsing {number:?}: invalid syntax"))
}

/// The number itself, or the percentage of `total`, rounded up or down. Saturates at 32 bits.
pub fn resolve(value: IntOrPercent<'_>, total: i32, round_up: bool) -> Result<i32, String> {
    match value {
        IntOrPercent::Int(number) => Ok(number),
        IntOrPercent::Text(text) => {
            let percent = percent(text).map_err(|why| format!("invalid value for IntOrString: {why}"))?;
            let product = i64::from(percent) * i64::from(total);
            let rounded = product.div_euclid(100) + i64::from(round_up && product.rem_euclid(100) != 0);
            Ok(i32::try_from(rounded).unwrap_or(if rounded < 0 { i32::MIN } else { i32::MAX }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves() {
        let rows = [
            (IntOrPercent::Int(3), 10, true, 3),
            (IntOrPercent::Text("25%"), 10, true, 3),
            (IntOrPercent::Text("25%"), 10, false, 2),
            (IntOrPercent::Text("0%"), 10, true, 0),
            (IntOrPercent::Text("100%"), 7, false, 7),
            (IntOrPercent::Text("2147483647%"), i32::MAX, true, i32::MAX),
        ];
        for (value, total, round_up, expected) in rows {
            assert_eq!(resolve(value, total, round_up), Ok(expected));
        }
        assert_eq!(
            resolve(IntOrPercent::Text("5"), 1, true).unwrap_err(),
            "invalid value for IntOrString: invalid type: string is not a percentage"
        );
        assert!(resolve(IntOrPercent::Text("x%"), 1, true).is_err());
    }
}
