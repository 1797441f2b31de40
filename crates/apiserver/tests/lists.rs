//! Lists: every case of `resourceVersion` and `resourceVersionMatch`, with its error; pages and what becomes of them when
//! history goes. Source: API concepts, "Resource versions" and "Retrieving large results sets in chunks".

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use serde_json::{Value, json};
use support::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn map(server: &Server, name: &str) -> i64 {
    let made =
        server.post(MAPS, &json!({"metadata": {"name": name, "labels": {"l": "1"}}})).await.expect(201);
    made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn versions_and_matches_mean_what_the_table_says() {
    let server = Server::start().await;
    let first = map(&server, "a").await;
    map(&server, "b").await;
    let newest = map(&server, "c").await;
    for (query, expected) in [
        (String::new(), &["a", "b", "c"][..]),
        ("resourceVersion=0".to_owned(), &["a", "b", "c"]),
        (format!("resourceVersion={first}"), &["a", "b", "c"]),
        (format!("resourceVersion={first}&resourceVersionMatch=NotOlderThan"), &["a", "b", "c"]),
        (format!("resourceVersion={first}&resourceVersionMatch=Exact"), &["a"]),
        (format!("resourceVersion={first}&limit=5"), &["a"]),
        (format!("resourceVersion={first}&limit=2&resourceVersionMatch=NotOlderThan"), &["a", "b"]),
        ("resourceVersion=0&limit=1".to_owned(), &["a", "b", "c"]),
        ("limit=2".to_owned(), &["a", "b"]),
    ] {
        let list = server.get(&format!("{MAPS}?labelSelector=l%3D1&{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
    }
    let ahead = newest + 1000;
    for (query, code, message) in [
        (
            "resourceVersionMatch=Exact".to_owned(),
            422,
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0".to_owned(),
            422,
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            format!("resourceVersionMatch=Newer&resourceVersion={first}"),
            422,
            "resourceVersionMatch: Unsupported value: \"Newer\": supported values: \"\", \"Exact\", \"NotOlderThan\"",
        ),
        ("resourceVersion=x".to_owned(), 400, "Invalid value: \"x\""),
        (
            "sendInitialEvents=true".to_owned(),
            422,
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ),
        ("continue=x".to_owned(), 400, "continue key is not valid"),
        (format!("resourceVersion={ahead}"), 504, "Too large resource version"),
        (format!("resourceVersion={ahead}&resourceVersionMatch=Exact"), 504, "Too large resource version"),
        (
            "watch=1&resourceVersionMatch=NotOlderThan".to_owned(),
            422,
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=1&sendInitialEvents=true".to_owned(),
            422,
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    ] {
        let status = server.get(&format!("{MAPS}?{query}")).await.expect(code);
        let text = status["message"].as_str().unwrap();
        assert!(text.contains(message), "{query}: {text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_too_old_goes_on_with_the_token_it_is_given() {
    let server = Server::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        map(&server, name).await;
    }
    let page = server.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!(names(&page), ["a", "b"]);
    assert_eq!(page["metadata"]["remainingItemCount"], 3);
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    let refused = server.get(&format!("{MAPS}?limit=2&continue={token}&resourceVersion=1")).await;
    assert_eq!(refused.code, 400, "{}", refused.text());
    // A list that stays on its snapshot does not see what comes later.
    map(&server, "bb").await;
    let next = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&next), ["c", "d"]);
    assert_eq!(next["metadata"]["resourceVersion"], page["metadata"]["resourceVersion"]);
    // Selected lists cannot say how much is left.
    let selected = server.get(&format!("{MAPS}?limit=2&labelSelector=l%3D1")).await.expect(200);
    assert!(
        selected["metadata"]["remainingItemCount"].is_null() && selected["metadata"]["continue"].is_string()
    );

    let server = server.restart().await;
    let newest = map(&server, "f").await;
    server.store.compact(newest).await.unwrap();
    let gone = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(410);
    assert_eq!(gone["reason"], "Expired");
    let token = gone["metadata"]["continue"].as_str().expect("a token to go on with").to_owned();
    let rest = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["bb", "c"], "what came meanwhile shows up");
    let old = page["metadata"]["resourceVersion"].as_str().unwrap();
    server.get(&format!("{MAPS}?resourceVersion={old}&resourceVersionMatch=Exact")).await.expect(410);
    server.stop().await;
}
