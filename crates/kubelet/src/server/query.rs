//! Query strings.

/// Decodes `%XX` and `+`; bytes that are no UTF-8 are replaced.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Parameters of a query, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|p| !p.is_empty());
        let split = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        };
        Self(pairs.map(split).collect())
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Every value of a parameter.
    pub(super) fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    /// Whether a flag is set: `1` and `true` in both protocols' spellings.
    pub(super) fn flag(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| matches!(self.get(key), Some("1" | "true")))
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn decodes_and_repeats() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo%20a+b&tty=1&x=%zz"));
        assert_eq!(query.all("command"), ["sh", "-c", "echo a b"]);
        assert!(query.flag(&["tty"]) && !query.flag(&["input"]));
        assert_eq!(query.get("x"), Some("%zz"));
    }
}
