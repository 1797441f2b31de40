//! `cp`: copies files to and from containers, as a tar archive through `tar` in the container.

use super::exec::exec_path;
use super::{Group, Verb};
use crate::error::{Result, fail, message};
use crate::flags::{self, flag, is_set, positional, text, value};
use crate::pods::container;
use crate::select::{self, Found};
use crate::session::Session;
use crate::stream::{self, Channels};
use bytes::Bytes;
use clap::ArgMatches;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use tokio::sync::mpsc;

pub(crate) const VERB: Verb = Verb {
    name: "cp",
    group: Group::Debug,
    about: "Copy files to and from containers",
    examples: "kubectl cp ./page.html web:/srv/page.html
        kubectl cp shop/web:/var/log ./logs -c main",
    arguments: |command| {
        command
            .arg(value("container", "NAME", "Which container").short('c'))
            .arg(flag("no-preserve", "Do not keep owner and permissions"))
            .arg(value("retries", "N", "Accepted").hide(true))
            .arg(flags::args("SOURCE DESTINATION"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// `[[NAMESPACE/]POD:]PATH`.
struct Place<'a> {
    pod: Option<(Option<&'a str>, &'a str)>,
    path: &'a str,
}

impl<'a> Place<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let Some((pod, path)) = text.split_once(':').filter(|(pod, _)| !pod.starts_with(['.', '/'])) else {
            return Ok(Self { pod: None, path: text });
        };
        if path.is_empty() {
            return fail("filepath can not be empty");
        }
        match pod.split('/').collect::<Vec<_>>().as_slice() {
            [name] if !name.is_empty() => Ok(Self { pod: Some((None, name)), path }),
            [namespace, name] if !name.is_empty() => Ok(Self { pod: Some((Some(namespace), name)), path }),
            _ => fail("pod name and path must be written as [[namespace/]pod:]path"),
        }
    }
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let [source, target] = args.as_slice() else { return fail("source and destination are required") };
    let (source, target) = (Place::parse(source)?, Place::parse(target)?);
    match (source.pod, target.pod) {
        (None, Some(place)) => {
            let (pod, container) = pod(session, matches, place).await?;
            upload(session, matches, &pod, &container, source.path, target.path).await
        }
        (Some(place), None) => {
            let (pod, container) = pod(session, matches, place).await?;
            download(session, &pod, &container, source.path, target.path).await
        }
        _ => fail(
            "one of src or dest must be a local file specification and one must be a file specification of a pod",
        ),
    }
}

async fn pod(
    session: &Session,
    matches: &ArgMatches,
    place: (Option<&str>, &str),
) -> Result<(Found, String)> {
    let (namespace, name) = place;
    let resource = session.discovery().await?.find("pods")?;
    let current = session.namespace().await?;
    let target = select::Target {
        resource,
        namespace: Some(namespace.map_or(current, str::to_owned)),
        name: Some(name.to_owned()),
    };
    let (mut found, errors) =
        select::read(session.rest().await?, &[target], &select::Selectors::default()).await?;
    crate::error::Error::all(errors)?;
    let pod = found.pop().ok_or_else(|| message(format!("pod {name:?} not found")))?;
    let container = container(session, &pod, text(matches, "container"), false)?;
    Ok((pod, container))
}

/// Directory and last name of a path in a container.
fn split(path: &str) -> (String, String) {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((directory, name)) => (directory.to_owned(), name.to_owned()),
        None => (".".to_owned(), trimmed.to_owned()),
    }
}

async fn upload(
    session: &Session,
    matches: &ArgMatches,
    pod: &Found,
    container: &str,
    from: &str,
    to: &str,
) -> Result<()> {
    let local = PathBuf::from(from);
    if !local.exists() {
        return fail(format!("{from} doesn't exist in local filesystem"));
    }
    let (mut directory, mut name) = split(to);
    // What ends with a slash, or is a directory, gets the file inside.
    let probe: Vec<String> = ["test", "-d", to].map(str::to_owned).to_vec();
    let probe = exec_path(pod, container, &probe, Channels::default());
    let inside = to.ends_with('/') || stream::run_quiet(session, &probe).await.is_ok();
    if inside {
        directory = to.to_owned();
        name = local.canonicalize()?.file_name().unwrap_or_default().to_string_lossy().into_owned();
    }
    let (sender, receiver) = mpsc::channel(8);
    let packing = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let mut archive = tar::Builder::new(Pipe(sender));
        archive.follow_symlinks(false);
        if local.is_dir() {
            archive.append_dir_all(&name, &local)?;
        } else {
            archive.append_path_with_name(&local, &name)?;
        }
        archive.into_inner()?.flush()
    });
    let mut command = vec!["tar".to_owned(), "-xmf".to_owned(), "-".to_owned(), "-C".to_owned(), directory];
    if is_set(matches, "no-preserve") {
        command.splice(1..2, ["--no-same-permissions", "--no-same-owner", "-xmf"].map(str::to_owned));
    }
    let path = exec_path(pod, container, &command, Channels { stdin: true, tty: false });
    stream::run_with(session, &path, Some(receiver), &mut |bytes| session.out(bytes)).await?;
    packing.await.map_err(|error| message(format!("failed to pack {from}: {error}")))??;
    Ok(())
}

/// Hands pieces of an archive to the stream.
struct Pipe(mpsc::Sender<Bytes>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn download(session: &Session, pod: &Found, container: &str, from: &str, to: &str) -> Result<()> {
    let (directory, name) = split(from);
    let command = ["tar", "cf", "-", "-C", &directory, &name].map(str::to_owned);
    let path = exec_path(pod, container, &command, Channels::default());
    let mut archive = tempfile::tempfile()?;
    stream::run_with(session, &path, None, &mut |bytes| Ok(archive.write_all(bytes)?)).await?;
    archive.seek(SeekFrom::Start(0))?;
    let mut target = PathBuf::from(to);
    if target.is_dir() {
        target = target.join(&name);
    }
    let unpacked = tokio::task::spawn_blocking(move || unpack(archive, &name, &target));
    unpacked.await.map_err(|error| message(format!("failed to unpack {from}: {error}")))?
}

/// Unpacks what is below `name` to `target`. The container is not trusted: names that lead elsewhere and links are left.
fn unpack(archive: std::fs::File, name: &str, target: &Path) -> Result<()> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        let Ok(below) = path.strip_prefix(name) else { continue };
        if !(kind.is_file() || kind.is_dir())
            || below.components().any(|part| !matches!(part, Component::Normal(_)))
        {
            eprintln!("warning: skipping {}: only files and directories are copied", path.display());
            continue;
        }
        let place = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) };
        if kind.is_dir() {
            std::fs::create_dir_all(&place)?;
        } else {
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            entry.unpack(&place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = Place::parse("shop/web:/a/b").unwrap();
        assert_eq!((place.pod, place.path), (Some((Some("shop"), "web")), "/a/b"));
        assert!(Place::parse("./a:b").unwrap().pod.is_none());
        assert_eq!(split("/a/b/"), ("/a".to_owned(), "b".to_owned()));
        assert_eq!(split("b"), (".".to_owned(), "b".to_owned()));
    }

    #[test]
    fn archives_cannot_escape() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: tar::EntryType| {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(kind);
            header.set_size(if kind.is_file() { 2 } else { 0 });
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, if kind.is_file() { &b"hi"[..] } else { &b""[..] }).unwrap();
        };
        add("logs/a", tar::EntryType::Regular);
        add("logs/../../evil", tar::EntryType::Regular);
        add("logs/link", tar::EntryType::Symlink);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&builder.into_inner().unwrap()).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("in/logs");
        unpack(file, "logs", &target).unwrap();
        assert_eq!(std::fs::read(target.join("a")).unwrap(), b"hi");
        assert!(!directory.path().join("evil").exists() && !target.join("link").exists());
    }
}
