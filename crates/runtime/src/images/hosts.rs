//! How each registry is reached: the `certs.d` directories that users of other runtimes know.
//!
//! `<dir>/<host[:port]>/hosts.toml` names mirrors and authorities (containerd's format); without that file, every
//! `*.crt` beside it is an authority to trust (Docker's habit). `<dir>/_default` stands for registries that have no
//! directory of their own. The first directory that knows a registry decides; files are read at every pull, so that a
//! change needs no restart. Deliberately absent: client certificates, own headers and paths, which are refused.

use super::ImageError;
use linux::Context;
use oci_client::client::{Certificate, CertificateEncoding};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, TableLike};

/// Larger files are refused, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// `certs.d` directories, the most important first.
    pub directories: Vec<PathBuf>,
}

/// One place to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port.
    pub(super) host: String,
    /// Whether it speaks TLS; `None` is to be found out (loopback).
    pub(super) tls: Option<bool>,
    /// Files with authorities to trust besides the system's.
    pub(super) authorities: Vec<PathBuf>,
    /// Whether any certificate will do.
    pub(super) skip_verify: bool,
}

impl Endpoint {
    fn new(registry: &str) -> Self {
        let tls = (!loopback(registry)).then_some(true);
        Self { host: registry.to_owned(), tls, authorities: Vec::new(), skip_verify: false }
    }

    /// The authorities themselves.
    pub(super) fn certificates(&self) -> Result<Vec<Certificate>, ImageError> {
        let read = |path: &PathBuf| {
            let data = std::fs::read(path).context(|| format!("read {}", path.display()))?;
            Ok(Certificate { encoding: CertificateEncoding::Pem, data })
        };
        self.authorities.iter().map(read).collect()
    }
}

fn loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => registry.split(':').next().unwrap_or(""),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Registries {
    /// Where to ask for images of `registry`, in order.
    pub(super) fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, ImageError> {
        let places = self.directories.iter().flat_map(|dir| [dir.join(registry), dir.join("_default")]);
        let Some(dir) = places.into_iter().find(|dir| dir.is_dir()) else {
            return Ok(vec![Endpoint::new(registry)]);
        };
        let file = dir.join("hosts.toml");
        if !file.exists() {
            let mut own = Endpoint::new(registry);
            own.authorities = certificates_in(&dir)?;
            return Ok(vec![own]);
        }
        let size = std::fs::metadata(&file).context(|| format!("read {}", file.display()))?.len();
        let wrong = |why: String| ImageError::Hosts { file: file.display().to_string(), why };
        if size > MAX_FILE {
            return Err(wrong(format!("it is larger than {MAX_FILE} bytes")));
        }
        let text = std::fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
        parse(&text, registry, &dir).map_err(wrong)
    }
}

fn certificates_in(dir: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = std::fs::read_dir(dir).context(|| format!("read {}", dir.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "crt")).collect();
    found.sort();
    Ok(found)
}

/// The hosts of the file, then the server.
fn parse(text: &str, registry: &str, dir: &Path) -> Result<Vec<Endpoint>, String> {
    let document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let mut endpoints = Vec::new();
    if let Some(hosts) = document.get("host") {
        let hosts = hosts.as_table_like().ok_or("host must be a table")?;
        for (url, settings) in hosts.iter() {
            let settings = settings.as_table_like().ok_or_else(|| format!("host.{url:?} must be a table"))?;
            let endpoint = endpoint(url, settings, dir).map_err(|why| format!("host.{url:?}: {why}"))?;
            endpoints.extend(endpoint);
        }
    }
    let server = match document.get("server").map(|server| server.as_str().ok_or("server must be a string")) {
        Some(server) => {
            endpoint(server?, document.as_table(), dir).map_err(|why| format!("server: {why}"))?
        }
        None => None,
    };
    endpoints.push(server.unwrap_or_else(|| Endpoint::new(registry)));
    Ok(endpoints)
}

/// `None` for a host that must not be asked for what a pull needs.
fn endpoint(url: &str, settings: &dyn TableLike, dir: &Path) -> Result<Option<Endpoint>, String> {
    for absent in ["client", "override_path", "header"] {
        if settings.contains_key(absent) {
            return Err(format!("{absent} is not supported by this version of Windlass; remove it"));
        }
    }
    let (tls, rest) = match url.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        Some((other, _)) => return Err(format!("scheme {other:?} is neither https nor http")),
        None => (true, url),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || !matches!(path.trim_end_matches('/'), "" | "v2") {
        return Err(format!("{url:?} must be https://HOST[:PORT] without a path of its own"));
    }
    if let Some(capabilities) = settings.get("capabilities") {
        let capabilities = strings(capabilities, "capabilities")?;
        let needs = ["pull", "resolve"];
        if !needs.iter().all(|need| capabilities.iter().any(|has| has == need)) {
            return Ok(None);
        }
    }
    let authorities = match settings.get("ca") {
        Some(files) => strings(files, "ca")?.iter().map(|file| dir.join(file)).collect(),
        None => Vec::new(),
    };
    let skip_verify = match settings.get("skip_verify") {
        Some(skip) => skip.as_bool().ok_or("skip_verify must be true or false")?,
        None => false,
    };
    Ok(Some(Endpoint { host: host.to_owned(), tls: Some(tls), authorities, skip_verify }))
}

/// A string or a list of them.
fn strings(item: &Item, field: &str) -> Result<Vec<String>, String> {
    if let Some(one) = item.as_str() {
        return Ok(vec![one.to_owned()]);
    }
    let wrong = || format!("{field} must be a string or a list of strings");
    let list = item.as_array().ok_or_else(wrong)?;
    list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_runtimes_are_understood() {
        let text = r#"
            server = "https://registry.example.com"
            ca = ["own.pem", "/abs/more.pem"]
            [host."http://mirror.local:5000"]
              capabilities = ["pull", "resolve"]
            [host."https://push.only"]
              capabilities = ["push"]
            [host."https://lax.local/v2/"]
              skip_verify = true
        "#;
        let found = parse(text, "registry.example.com", Path::new("/d")).unwrap();
        let hosts: Vec<_> = found.iter().map(|e| (e.host.as_str(), e.tls, e.skip_verify)).collect();
        assert_eq!(
            hosts,
            [
                ("mirror.local:5000", Some(false), false),
                ("lax.local", Some(true), true),
                ("registry.example.com", Some(true), false)
            ]
        );
        assert_eq!(found[2].authorities, [Path::new("/d/own.pem"), Path::new("/abs/more.pem")]);
        // Without a server, the registry itself comes last.
        let found = parse("[host.\"http://m\"]\n", "localhost:1", Path::new("/d")).unwrap();
        assert_eq!((found.len(), found[1].host.as_str(), found[1].tls), (2, "localhost:1", None));
        for (bad, why) in [
            ("server = 1", "server must be a string"),
            ("[host.\"ftp://x\"]", "neither https nor http"),
            ("[host.\"https://x/deep\"]", "without a path"),
            ("[host.\"https://x\"]\nclient = \"c.pem\"", "client is not supported"),
            ("[host.\"https://x\"]\nca = 1", "ca must be a string or a list"),
            ("[unclosed", "TOML"),
        ] {
            let error = parse(bad, "r", Path::new("/d")).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn the_first_directory_that_knows_the_registry_decides() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("a"), root.path().join("b"));
        for dir in [first.join("r:1"), second.join("r:1"), second.join("_default")] {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("ca.crt"), "").unwrap();
        }
        let registries = Registries { directories: vec![first.clone(), second.clone()] };
        let of = |registry: &str| registries.endpoints(registry).unwrap().remove(0).authorities;
        assert_eq!(of("r:1"), [first.join("r:1/ca.crt")]);
        assert_eq!(of("other"), [second.join("_default/ca.crt")]);
        std::fs::write(first.join("r:1/hosts.toml"), "=").unwrap();
        let error = registries.endpoints("r:1").unwrap_err().to_string();
        assert!(error.contains("hosts.toml"), "{error}");
    }
}
