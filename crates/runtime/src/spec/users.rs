//! As whom a container runs: numbers from names, by the image's own `/etc/passwd` and `/etc/group`.

use crate::container::User;
use cri::v1;
use linux::beneath::{self, Links};
use linux::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::io::Read;
use std::path::Path;

/// The largest account file read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The account files of an image.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// From the topmost layer that has them.
    pub(super) fn of(layers: &Path, lower: &[String]) -> Self {
        Self { passwd: file(layers, lower, "etc/passwd"), group: file(layers, lower, "etc/group") }
    }

    // name:password:uid:gid:comment:home:shell
    fn user(&self, wanted: impl Fn(&str, u32) -> bool) -> Option<(u32, u32, String, String)> {
        self.passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (name, uid) = (fields.first()?, fields.get(2)?.parse().ok()?);
            let found = wanted(name, uid);
            let home = fields.get(5).copied().unwrap_or("").to_owned();
            found.then_some((uid, fields.get(3)?.parse().ok()?, (*name).to_owned(), home))
        })
    }

    // name:password:gid:members
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some((*fields.first()?, fields.get(2)?.parse().ok()?, fields.get(3).copied().unwrap_or("")))
        })
    }

    fn memberships(&self, name: &str) -> impl Iterator<Item = u32> {
        self.groups()
            .filter(move |(_, _, members)| {
                members.split(',').any(|member| member.trim() == name && !name.is_empty())
            })
            .map(|(_, gid, _)| gid)
    }
}

fn file(layers: &Path, lower: &[String], path: &str) -> String {
    for layer in lower {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = rustix::fs::open(layers.join(layer), flags, Mode::empty()) else { continue };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let Ok(found) = beneath::open(&root, Path::new(path), flags, Mode::empty(), Links::Follow) else {
            continue;
        };
        let mut text = String::new();
        let found = std::fs::File::from(found);
        // A device here means the layer hides what is below.
        if found.metadata().is_ok_and(|metadata| metadata.is_file()) {
            let _ = found.take(MAX_FILE).read_to_string(&mut text);
        }
        return text;
    }
    String::new()
}

/// Who runs, and their home directory. The pod's wishes come before the image's.
pub(super) fn resolve(
    security: &v1::LinuxContainerSecurityContext,
    image: &str,
    accounts: &Accounts,
) -> Result<(User, String)> {
    let group = security.run_as_group.as_ref().map(|gid| gid.value.to_string());
    let who = match (&security.run_as_user, security.run_as_username.as_str()) {
        (Some(uid), _) => uid.value.to_string(),
        (None, "") if group.is_some() && image.is_empty() => {
            return Err(Error::refused("run the container", "user group is specified without user"));
        }
        (None, "") => image.to_owned(),
        (None, name) => name.to_owned(),
    };
    let (name, own_group) =
        who.split_once(':').map_or((who.as_str(), None), |(user, group)| (user, Some(group)));
    let name = if name.is_empty() { "0" } else { name };
    let found = match name.parse::<u32>() {
        Ok(uid) => accounts.user(|_, id| id == uid).unwrap_or((uid, 0, String::new(), String::new())),
        Err(_) => accounts.user(|known, _| known == name).ok_or_else(|| {
            let why = format!("unable to find user {name}: no matching entries in passwd file");
            Error::refused("run the container", why)
        })?,
    };
    let (uid, mut gid, name, home) = found;
    if let Some(group) = group.as_deref().or(own_group) {
        gid = group_number(group, accounts)?;
    }
    let strict = security.supplemental_groups_policy() == v1::SupplementalGroupsPolicy::Strict;
    let mut groups: Vec<u32> = vec![gid];
    if !strict {
        groups.extend(accounts.memberships(&name));
    }
    for wanted in &security.supplemental_groups {
        let wanted = u32::try_from(*wanted)
            .map_err(|_| Error::refused("run the container", format!("group {wanted} is out of range")))?;
        groups.push(wanted);
    }
    groups.sort_unstable();
    groups.dedup();
    let home = if home.is_empty() { if uid == 0 { "/root" } else { "/" }.to_owned() } else { home };
    Ok((User { uid, gid, groups }, home))
}

fn group_number(group: &str, accounts: &Accounts) -> Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    accounts.groups().find(|(name, _, _)| *name == group).map(|(_, gid, _)| gid).ok_or_else(|| {
        let why = format!("unable to find group {group}: no matching entries in group file");
        Error::refused("run the container", why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv:/bin/false\nbroken\n".into(),
            group: "root:x:0:\nweb:x:33:\nlogs:x:4:web,other\n".into(),
        }
    }

    fn number(value: i64) -> Option<v1::Int64Value> {
        Some(v1::Int64Value { value })
    }

    #[test]
    fn names_numbers_and_groups() {
        let plain = v1::LinuxContainerSecurityContext::default();
        let of = |image: &str| {
            resolve(&plain, image, &accounts()).map(|(user, home)| (user.uid, user.gid, user.groups, home))
        };
        assert_eq!(of("").unwrap(), (0, 0, vec![0], "/root".into()));
        assert_eq!(of("web").unwrap(), (33, 33, vec![4, 33], "/srv".into()));
        assert_eq!(of("33:logs").unwrap(), (33, 4, vec![4], "/srv".into()));
        assert_eq!(of("1000").unwrap(), (1000, 0, vec![0], "/".into()));
        assert!(of("nobody").unwrap_err().to_string().contains("no matching entries in passwd"));
        assert!(of("web:none").unwrap_err().to_string().contains("no matching entries in group"));
        let mut wish = v1::LinuxContainerSecurityContext {
            run_as_user: number(33),
            run_as_group: number(7),
            supplemental_groups: vec![99],
            ..plain.clone()
        };
        let (user, _) = resolve(&wish, "root", &accounts()).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (33, 7, vec![4, 7, 99]));
        wish.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict.into();
        assert_eq!(resolve(&wish, "root", &accounts()).unwrap().0.groups, [7, 99]);
    }
}
