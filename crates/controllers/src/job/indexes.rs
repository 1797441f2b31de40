//! Sets of completion indexes in the API's form: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Most indexes that are read; the API allows no more completions.
const LIMIT: i32 = 1_000_000;

/// Reads what [`format()`] writes; indexes from `end` on and malformed parts are left out.
pub(super) fn parse(text: &str, end: i32) -> BTreeSet<i32> {
    let end = end.min(LIMIT);
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            all.extend(first.max(0)..(last.saturating_add(1)).min(end));
        }
    }
    all
}

/// Writes a set; runs of three or more as a range.
pub(super) fn format(all: &BTreeSet<i32>) -> String {
    let mut text = String::new();
    let mut rest = all.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while rest.peek() == Some(&(last + 1)) {
            last += 1;
            rest.next();
        }
        if !text.is_empty() {
            text.push(',');
        }
        // Writing to a string does not fail.
        let _ = match last - first {
            0 => write!(text, "{first}"),
            1 => write!(text, "{first},{last}"),
            _ => write!(text, "{first}-{last}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for text in ["", "0", "1,3-5,7", "0,1", "2-4"] {
            assert_eq!(format(&parse(text, 100)), text);
        }
        assert_eq!(parse("0-999999999,x,-4", 3).len(), 3);
    }
}
