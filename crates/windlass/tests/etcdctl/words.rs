//! Output without what differs from run to run: ids, endpoints, times, sizes.

/// Fields of JSON that differ.
const FIELDS: &[&str] = &["cluster_id", "member_id", "raft_term", "took", "lease", "id", "ID", "LeaseID"];

/// `output` with what differs replaced.
pub(crate) fn plain(output: &str, endpoint: &str) -> String {
    output.replace(endpoint, "ENDPOINT").lines().map(|line| format!("{}\n", plain_line(line))).collect()
}

fn plain_line(line: &str) -> String {
    if line.starts_with('{') || line.starts_with('[') {
        return plain_json(line);
    }
    if line.starts_with("\"RaftTerm\"") {
        return "\"RaftTerm\" : ID".to_owned();
    }
    // `took = 1.2ms`, `took 1.2ms`: whatever it took.
    let line = line.split_once("took").map_or(line.to_owned(), |(before, _)| format!("{before}took TIME"));
    let line = match line.split_once("remaining(") {
        Some((before, after)) => {
            let after = after.split_once(')').map_or("", |(_, after)| after);
            format!("{before}remaining(LEFT){after}")
        }
        None => line,
    };
    let is_id = |word: &str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let split = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    split
        .map(|piece| {
            let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if is_id(word) { piece.replace(word, "ID") } else { piece.to_owned() }
        })
        .collect()
}

/// JSON without the fields that differ, or in which a zero is left out by one server.
fn plain_json(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('"') {
        let Some(length) = rest[start + 1..].find('"') else { break };
        let name = &rest[start + 1..start + 1 + length];
        let after = &rest[start + length + 2..];
        if FIELDS.contains(&name) && after.starts_with(':') {
            let value = after[1..].find([',', '}', ']']).map_or(after.len(), |end| end + 1);
            out.push_str(&rest[..start]);
            out.push_str(&format!("\"{name}\":ID"));
            rest = &after[value..];
        } else {
            out.push_str(&rest[..start + length + 2]);
            rest = after;
        }
    }
    out + rest
}

#[test]
fn what_differs_goes() {
    let line = "lease 694d8324b4080150 granted with TTL(100s), remaining(99s), attached keys([k])";
    assert_eq!(plain_line(line), "lease ID granted with TTL(100s), remaining(LEFT), attached keys([k])");
    let json =
        r#"{"header":{"cluster_id":12,"member_id":34,"revision":5,"raft_term":2},"kvs":[{"key":"Zm9v"}]}"#;
    assert_eq!(
        plain(json, "x"),
        "{\"header\":{\"cluster_id\":ID,\"member_id\":ID,\"revision\":5,\"raft_term\":ID},\"kvs\":[{\"key\":\"Zm9v\"}]}\n"
    );
    let line = "127.0.0.1:9 is healthy: successfully committed proposal: took = 1.5ms";
    assert_eq!(
        plain(line, "127.0.0.1:9"),
        "ENDPOINT is healthy: successfully committed proposal: took TIME\n"
    );
}
