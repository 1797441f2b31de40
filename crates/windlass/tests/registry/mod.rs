//! Images made of programs of Debian packages, and Debian's docker-registry to serve them from, on the loopback
//! address of a node.
#![allow(dead_code, reason = "each test file uses its part")]

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use testkit::cluster::Cluster;

/// Why images cannot be made and served here; `None` when they can.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    let needed = programs.iter().chain(&["/bin/busybox", "/usr/bin/docker-registry", "/usr/bin/skopeo"]);
    let absent = needed.into_iter().find(|program| !Path::new(program).exists());
    absent.map(|program| format!("{program} is not installed"))
}

/// What an image holds besides busybox, which every one has.
#[derive(Default)]
pub(crate) struct Recipe<'a> {
    /// Programs of this machine, at the same paths with the shared libraries they need.
    pub(crate) programs: &'a [&'a str],
    /// Files and their content.
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// Empty directories.
    pub(crate) dirs: &'a [&'a str],
}

/// Every file that `program` needs to run.
fn closure(program: &str) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::from([program.to_owned()]);
    let ldd = Command::new("ldd").arg(program).output().context("failed to run ldd")?;
    let listed = String::from_utf8_lossy(&ldd.stdout).into_owned();
    files.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    Ok(files)
}

fn layer(recipe: &Recipe<'_>) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut files = BTreeSet::from(["/bin/busybox".to_owned()]);
    for program in recipe.programs {
        files.extend(closure(program)?);
    }
    for path in &files {
        tar.append_path_with_name(std::fs::canonicalize(path)?, path.trim_start_matches('/'))?;
    }
    let applets = Command::new("/bin/busybox").arg("--list").output()?;
    for applet in String::from_utf8(applets.stdout)?.lines().filter(|name| *name != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "/bin/busybox")?;
    }
    for dir in recipe.dirs.iter().chain(&["tmp"]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o1777);
        header.set_size(0);
        tar.append_data(&mut header, format!("{dir}/"), std::io::empty())?;
    }
    let users = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ];
    for (path, content) in recipe.files.iter().chain(&users) {
        append(&mut tar, path, content.as_bytes(), 0o755)?;
    }
    Ok(tar.into_inner()?)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes an image as "docker save" does.
pub(crate) fn archive(file: &Path, name: &str, recipe: &Recipe<'_>) -> Result<()> {
    let layer = layer(recipe)?;
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd":["/bin/sh"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        hex(&layer)
    );
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":["layer.tar"]}}]"#);
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "layer.tar", &layer, 0o644)?;
    append(&mut tar, "config.json", config.as_bytes(), 0o644)?;
    append(&mut tar, "manifest.json", manifest.as_bytes(), 0o644)?;
    std::fs::write(file, tar.into_inner()?)?;
    Ok(())
}

/// Writes the same image as an OCI archive.
pub(crate) fn oci_archive(docker: &Path, file: &Path, name: &str) -> Result<()> {
    let (from, to) = (docker.display(), file.display());
    skopeo(
        Command::new("skopeo"),
        &format!("docker-archive:{from}"),
        &format!("oci-archive:{to}:{name}"),
        &[],
    )
}

fn skopeo(mut command: Command, from: &str, to: &str, flags: &[&str]) -> Result<()> {
    let copy =
        command.args(["copy", "--insecure-policy", "--quiet"]).args(flags).args([from, to]).output()?;
    if !copy.status.success() {
        bail!("skopeo copy {from} {to}: {}", String::from_utf8_lossy(&copy.stderr));
    }
    Ok(())
}

/// What a registry proves itself with.
pub(crate) struct Tls {
    /// Its certificate.
    pub(crate) certificate: PathBuf,
    /// The key to it.
    pub(crate) key: PathBuf,
}

/// A registry in one node's network.
pub(crate) struct Registry {
    serving: Child,
    netns: PathBuf,
    dir: PathBuf,
    host: String,
}

impl Registry {
    /// Serves `node` what is pushed, on port 5000 of its loopback address, from `dir`, which several nodes may share.
    /// With `password`, only user `puller` is served.
    pub(crate) fn serve(cluster: &Cluster, node: &str, dir: &Path, password: Option<&str>) -> Result<Self> {
        Self::start(cluster, node, dir, "localhost:5000", password, None)
    }

    /// The same with TLS, on `host` and port.
    pub(crate) fn serve_tls(
        cluster: &Cluster,
        node: &str,
        dir: &Path,
        host: &str,
        password: Option<&str>,
        tls: &Tls,
    ) -> Result<Self> {
        Self::start(cluster, node, dir, host, password, Some(tls))
    }

    fn start(
        cluster: &Cluster,
        node: &str,
        dir: &Path,
        host: &str,
        password: Option<&str>,
        tls: Option<&Tls>,
    ) -> Result<Self> {
        let netns = cluster.dir().join("netns").join(node);
        let config = dir.join(format!("{node}.yml"));
        let mut text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{}'{}}}\n",
            dir.join("data").display(),
            host.replace("localhost", "127.0.0.1"),
            tls.map(|tls| {
                let (certificate, key) = (tls.certificate.display(), tls.key.display());
                format!(", tls: {{certificate: {certificate}, key: {key}}}")
            })
            .unwrap_or_default()
        );
        if let Some(password) = password {
            let users = dir.join("htpasswd");
            std::fs::write(&users, password)?;
            text += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", users.display());
        }
        std::fs::write(&config, text)?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display())).args(["docker-registry", "serve"]).arg(&config);
        let mut serving = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let Some(stderr) = serving.stderr.take() else { bail!("docker-registry has no standard error") };
        let registry = Self { serving, netns, dir: dir.to_owned(), host: host.to_owned() };
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        for line in &mut lines {
            let line = line?;
            if line.contains("listening on") {
                // Keep reading, so that it never blocks on a full pipe.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(registry);
            }
            said = said + &line + "\n";
        }
        bail!("docker-registry ended before it listened:\n{said}")
    }

    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.display())).arg(program);
        command
    }

    /// Makes an image and pushes it as `<host>/<name>`.
    pub(crate) fn publish(&self, name: &str, recipe: &Recipe<'_>, flags: &[&str]) -> Result<()> {
        let file = self.dir.join("image.tar");
        let name = format!("{}/{name}", self.host);
        archive(&file, &name, recipe)?;
        let from = format!("docker-archive:{}", file.display());
        let flags = [&["--dest-tls-verify=false"], flags].concat();
        skopeo(self.enter("skopeo"), &from, &format!("docker://{name}"), &flags)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.serving.kill();
        let _ = self.serving.wait();
    }
}
