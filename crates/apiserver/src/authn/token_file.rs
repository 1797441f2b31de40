//! The static token file (`--token-auth-file`): lines of `token,user,uid,"group1,group2"`.
//!
//! Deliberately absent: reloading; upstream needs a restart too.

use super::bearer::{Identified, TokenAuthenticator};
use crate::contract::UserInfo;
use async_trait::async_trait;
use machinery::Status;
use std::collections::HashMap;
use std::path::Path;

pub(crate) struct TokenFile(HashMap<String, UserInfo>);

impl TokenFile {
    /// Reads the file. Fails when it is missing, a line has fewer than three columns, or a token is empty.
    pub(crate) async fn read(path: &Path) -> Result<Self, Status> {
        let failed = |why: String| {
            Status::internal(format!("failed to read the token file {}: {why}", path.display()))
        };
        let text = tokio::fs::read_to_string(path).await.map_err(|error| failed(error.to_string()))?;
        parse(&text).map(Self).map_err(failed)
    }
}

#[async_trait]
impl TokenAuthenticator for TokenFile {
    async fn identify(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        let user = self.0.get(token).cloned();
        Ok(user.map(|user| Identified { user, audiences: audiences.to_vec() }))
    }
}

fn parse(text: &str) -> Result<HashMap<String, UserInfo>, String> {
    let mut tokens = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let columns = columns(line);
        let [token, name, uid, rest @ ..] = columns.as_slice() else {
            return Err(format!("line {} has fewer than 3 columns (token, user name, user uid)", number + 1));
        };
        if token.is_empty() || name.is_empty() {
            return Err(format!("line {} has an empty token or user name", number + 1));
        }
        let groups = rest.first().map(String::as_str).unwrap_or_default();
        let user = UserInfo {
            name: name.clone(),
            uid: uid.clone(),
            groups: groups.split(',').map(str::trim).filter(|g| !g.is_empty()).map(str::to_owned).collect(),
            ..UserInfo::default()
        };
        tokens.insert(token.clone(), user);
    }
    Ok(tokens)
}

/// Columns of one line of CSV (RFC 4180): quotes group, doubled quotes are one.
fn columns(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(last) = columns.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                last.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c => last.push(c),
        }
    }
    columns.iter().map(|column| column.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_users_and_groups() {
        let tokens = parse("# comment\nabc,alice,1,\"dev,ops\"\nxyz, bob ,2\n").unwrap();
        assert_eq!(tokens["abc"].groups, ["dev", "ops"]);
        assert_eq!((tokens["xyz"].name.as_str(), tokens["xyz"].groups.len()), ("bob", 0));
        assert!(parse("abc,alice").unwrap_err().contains("line 1"));
        assert!(parse(",alice,1").is_err());
    }
}
