//! The static token file (`--token-auth-file`): lines of `token,user,uid,"group1,group2"`; followed while the server
//! runs. The password file (`basic.rs`) has the same form.

use super::bearer::{Identified, TokenAuthenticator};
use crate::contract::UserInfo;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use component::Tasks;
use component::files::{Apply, follow};
use machinery::Status;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Secret and user of each line.
type Rows = Vec<(String, UserInfo)>;
/// The same by token or by user name.
type Known = HashMap<String, (String, UserInfo)>;

/// A file of secrets and their users, by token or by user name.
pub(super) struct Table(ArcSwap<Known>);

impl Table {
    /// Reads and follows the file. Fails when it is missing, a line has fewer than three columns, or a secret is empty.
    pub(super) async fn read(
        path: &Path,
        what: &'static str,
        tasks: &Tasks,
        key: fn(&str, &UserInfo) -> String,
    ) -> Result<Arc<Self>, Status> {
        let failed =
            |why: String| Status::internal(format!("failed to read {what} {}: {why}", path.display()));
        let load = move |bytes: &[u8]| -> Result<Known, String> {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let rows = parse(text)?.into_iter();
            Ok(rows.map(|(secret, user)| (key(&secret, &user), (secret, user))).collect())
        };
        let bytes = tokio::fs::read(path).await.map_err(|error| failed(error.to_string()))?;
        let table = Arc::new(Self(ArcSwap::from_pointee(load(&bytes).map_err(failed)?)));
        let reloaded = table.clone();
        let apply: Apply = Arc::new(move |content| {
            let result = load(&content).map(|known| reloaded.0.store(Arc::new(known)));
            Box::pin(async move { result })
        });
        follow(tasks, what, path, bytes, apply).map_err(|error| failed(error.to_string()))?;
        Ok(table)
    }

    /// Secret and user under this key.
    pub(super) fn get(&self, key: &str) -> Option<(String, UserInfo)> {
        self.0.load().get(key).cloned()
    }
}

pub(crate) struct TokenFile(Arc<Table>);

impl TokenFile {
    /// Reads and follows the file.
    pub(crate) async fn read(path: &Path, tasks: &Tasks) -> Result<Self, Status> {
        Table::read(path, "the token file", tasks, |token, _| token.to_owned()).await.map(Self)
    }
}

#[async_trait]
impl TokenAuthenticator for TokenFile {
    async fn identify(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        Ok(self.0.get(token).map(|(_, user)| Identified { user, audiences: audiences.to_vec() }))
    }
}

fn parse(text: &str) -> Result<Rows, String> {
    let mut rows = Rows::new();
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
        rows.push((token.clone(), user));
    }
    Ok(rows)
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
        assert_eq!(
            (tokens[0].0.as_str(), &tokens[0].1.groups[..]),
            ("abc", &["dev".to_owned(), "ops".to_owned()][..])
        );
        assert_eq!((tokens[1].1.name.as_str(), tokens[1].1.groups.len()), ("bob", 0));
        assert!(parse("abc,alice").unwrap_err().contains("line 1"));
        assert!(parse(",alice,1").is_err());
    }
}
