//! `/logs/`: the files below `/var/log` of the machine that the API server runs on, as upstream's
//! `--enable-logs-handler` has it, for whoever may read that path.
//!
//! Deliberately absent: ranges, and whatever lies outside that directory, however links point there.

use crate::http::text_response;
use component::serve::{BoxError, Response, full};
use futures::StreamExt;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::Status;
use std::io;
use std::path::{Path, PathBuf};
use tokio_util::io::ReaderStream;

const ROOT: &str = "/var/log";

/// What a path leads to.
enum Found {
    Directory(Vec<String>),
    File(std::fs::File, u64),
}

/// Answers `path`, which begins with `/logs`.
pub(super) async fn answer(path: &str) -> Result<Response, Status> {
    let Some(rest) = path.strip_prefix("/logs/") else { return Ok(moved("/logs/")) };
    let (wanted, is_directory) =
        (crate::request::decode(rest, false), rest.is_empty() || rest.ends_with('/'));
    let found = tokio::task::spawn_blocking(move || find(Path::new(ROOT), &wanted)).await;
    match found.map_err(Status::internal)? {
        Ok(Found::Directory(_)) if !is_directory => Ok(moved(&format!("{path}/"))),
        Ok(Found::Directory(names)) => Ok(listing(&names)),
        Ok(Found::File(file, size)) => Ok(content(file, size)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(text_response(403, "403 Forbidden\n"))
        }
        Err(_) => Ok(text_response(404, "404 page not found\n")),
    }
}

fn find(root: &Path, wanted: &str) -> io::Result<Found> {
    let root = root.canonicalize()?;
    let path: PathBuf = root.join(wanted.trim_start_matches('/')).canonicalize()?;
    if !path.starts_with(&root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path)? {
            let entry = entry?;
            let slash = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
            names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
        }
        names.sort();
        return Ok(Found::Directory(names));
    }
    // Reading a pipe or device would wait, or do something.
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Found::File(std::fs::File::open(&path)?, metadata.len()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

fn listing(names: &[String]) -> Response {
    let links: String = names
        .iter()
        .map(|name| {
            let link = name.bytes().fold(String::new(), |mut link, byte| {
                if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
                    link.push(char::from(byte));
                } else {
                    link.push_str(&format!("%{byte:02X}"));
                }
                link
            });
            format!("<a href=\"{link}\">{}</a>\n", escape(name))
        })
        .collect();
    let mut response = text_response(200, format!("<!doctype html>\n<pre>\n{links}</pre>\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn content(file: std::fs::File, size: u64) -> Response {
    let stream = ReaderStream::new(tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), size));
    let mut response = text_response(200, "");
    let frames = stream.map(|piece| piece.map(Frame::data).map_err(BoxError::from));
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    response
}

fn moved(to: &str) -> Response {
    let mut response = text_response(301, "");
    *response.body_mut() = full(bytes::Bytes::new());
    if let Ok(location) = HeaderValue::try_from(to) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        std::fs::create_dir_all(root.join("pods")).unwrap();
        std::fs::write(root.join("a.log"), "x").unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), root.join("link")).unwrap();
        assert!(matches!(find(&root, "a.log"), Ok(Found::File(_, 1))));
        assert!(
            matches!(find(&root, ""), Ok(Found::Directory(names)) if names == ["a.log", "link", "pods/"])
        );
        for outside in ["../secret", "link", "pods/../../secret", "/etc/passwd", "nope"] {
            assert!(find(&root, outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn names_cannot_write_html() {
        assert_eq!(escape("<a>\"'&"), "&lt;a&gt;&#34;&#39;&amp;");
    }
}
