//! Pulling from a real registry (docker-registry) on loopback: plain and TLS, with and without a password, again and
//! at once, and importing what skopeo writes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use runtime::images::{Credentials, ImageError, Limits, Name, Registries, Store};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn usable(test: &str) -> bool {
    let there = |program: &str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).is_file())
    };
    let why = if !rustix::process::geteuid().is_root() {
        "needs root, to keep the owners of files"
    } else if !there("docker-registry") || !there("skopeo") {
        "needs docker-registry and skopeo"
    } else {
        return true;
    };
    println!("skipped {test}: {why}");
    false
}

struct Registry {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Registry {
    fn start(extra: impl Fn(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {0}/data}}}}\n{1}",
            dir.path().display(),
            extra(dir.path()).replace("PORT", &port.to_string()),
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { process, port, dir }
    }

    fn plain() -> Self {
        Self::start(|_| "http: {addr: \"127.0.0.1:PORT\"}\n".to_owned())
    }

    fn name(&self, rest: &str) -> Name {
        Name::parse(&format!("127.0.0.1:{}/{rest}", self.port)).unwrap()
    }

    fn push(&self, archive: &Path, rest: &str, args: &[&str]) {
        let to = format!("docker://127.0.0.1:{}/{rest}", self.port);
        let from = format!("docker-archive:{}", archive.display());
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]).args(args);
        assert!(command.arg(from).arg(to).status().unwrap().success());
    }
}

fn archive(dir: &Path, content: &[u8]) -> PathBuf {
    let mut layer = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        layer.append_data(&mut header, name, content).unwrap();
    };
    add("content", content);
    // Something that does not compress, so that a download takes several pieces.
    let noise: Vec<u8> = (0u32..300_000)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes())
        .collect();
    add("noise", &noise);
    let layer = layer.into_inner().unwrap();
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Cmd":["/x"],"User":"7:8"}},"rootfs":{{"type":"layers","diff_ids":["sha256:{hex}"]}}}}"#
    );
    let manifest = r#"[{"Config":"c.json","RepoTags":["test.local/x:1"],"Layers":["layer.tar"]}]"#;
    let path = dir.join(format!("{}.tar", content.len()));
    let mut image = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for (name, content) in
        [("c.json", config.as_bytes()), ("layer.tar", &layer), ("manifest.json", manifest.as_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        image.append_data(&mut header, name, content).unwrap();
    }
    image.finish().unwrap();
    path
}

fn store(dir: &Path) -> Store {
    Store::open(&dir.join("store"), Limits::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_by_tag_and_digest_share_their_work() {
    if !usable("pulls_by_tag_and_digest_share_their_work") {
        return;
    }
    let (registry, dir) = (Registry::plain(), tempfile::tempdir().unwrap());
    registry.push(&archive(dir.path(), b"one"), "a/x:1", &[]);
    let (store, name) = (store(dir.path()), registry.name("a/x:1"));
    let registries = Registries::default();
    let pulls = (0..8).map(|_| store.pull(&name, &Credentials::Anonymous, &registries));
    let images: Vec<_> = futures::future::join_all(pulls).await.into_iter().map(Result::unwrap).collect();
    assert!(images.iter().all(|image| image.id == images[0].id));
    let image = store.find(&name.tagged().unwrap()).unwrap();
    let layer = store.layers_dir().join(&Store::lower(&image)[0]);
    assert_eq!(std::fs::read(layer.join("content")).unwrap(), b"one");
    assert_eq!(store.config(&image).unwrap().process().user, "7:8");
    // By digest, and after a restart of the node.
    let pinned = image.digests.first().unwrap().clone();
    let by_digest =
        store.pull(&Name::parse(&pinned).unwrap(), &Credentials::Anonymous, &registries).await.unwrap();
    assert_eq!(by_digest.id, image.id);
    drop(store);
    let store = self::store(dir.path());
    assert_eq!(store.find(&pinned).unwrap().id, image.id);
    // A tag that moves is pulled anew, and the old image keeps its digest.
    registry.push(&archive(dir.path(), b"three"), "a/x:1", &[]);
    let moved = store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap();
    assert_ne!(moved.id, image.id);
    assert!(store.find(&pinned).unwrap().tags.is_empty());
    store.remove(image.id.as_str(), &[]).unwrap();
    assert!(store.find(&pinned).is_none() && !layer.exists());
    store.remove(moved.id.as_str(), &Store::lower(&moved)).unwrap();
    let kept = store.layers_dir().join(&Store::lower(&moved)[0]);
    assert!(kept.exists(), "a container stands on it");
    store.collect(&[]).unwrap();
    assert!(!kept.exists());
    let error =
        store.pull(&registry.name("a/none:1"), &Credentials::Anonymous, &registries).await.unwrap_err();
    assert!(
        matches!(error, ImageError::Pull { absent: true, .. }) && error.to_string().contains("not found"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_download_goes_on_and_a_false_one_is_refused() {
    if !usable("a_broken_download_goes_on_and_a_false_one_is_refused") {
        return;
    }
    let (registry, dir) = (Registry::plain(), tempfile::tempdir().unwrap());
    registry.push(&archive(dir.path(), b"resumed"), "r/x:1", &[]);
    let blobs = registry.dir.path().join("data/docker/registry/v2/blobs/sha256");
    let mut largest = (0, PathBuf::new());
    for prefix in std::fs::read_dir(&blobs).unwrap().flatten() {
        for blob in std::fs::read_dir(prefix.path()).unwrap().flatten() {
            let path = blob.path().join("data");
            largest = largest.max((std::fs::metadata(&path).unwrap().len(), path));
        }
    }
    let digest = largest.1.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let whole = std::fs::read(&largest.1).unwrap();
    // As if the node had died in the middle.
    let store = store(dir.path());
    let partial = dir.path().join("store/ingest").join(format!("{digest}.partial"));
    std::fs::write(&partial, &whole[..whole.len() / 2]).unwrap();
    let registries = Registries::default();
    let name = registry.name("r/x:1");
    store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap();
    assert!(!partial.exists());
    store.remove(&name.tagged().unwrap(), &[]).unwrap();
    // A partial file of something else is found out by its digest, and the next attempt is clean.
    std::fs::write(&partial, vec![0; whole.len() / 2]).unwrap();
    let error = store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap_err();
    assert!(matches!(error, ImageError::Broken { .. }), "{error}");
    store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap();
    store.remove(&name.tagged().unwrap(), &[]).unwrap();
    // The registry itself turns bad.
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&largest.1, &changed).unwrap();
    let error = store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap_err().to_string();
    assert!(error.contains("digest") || error.contains("broken"), "{error}");
    assert!(store.list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_passwords() {
    if !usable("tls_and_passwords") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let key =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let (cert, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
    let registry = Registry::start(|own| {
        std::fs::write(own.join("tls.crt"), &cert).unwrap();
        std::fs::write(own.join("tls.key"), &secret).unwrap();
        // bcrypt of "secret".
        std::fs::write(
            own.join("htpasswd"),
            "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
        )
        .unwrap();
        format!(
            "http: {{addr: \"127.0.0.1:PORT\", tls: {{certificate: {0}/tls.crt, key: {0}/tls.key}}}}\n\
             auth: {{htpasswd: {{realm: r, path: {0}/htpasswd}}}}\n",
            own.display()
        )
    });
    let store = store(dir.path());
    let (name, certificates) = (registry.name("s/x:1"), dir.path().join("certs"));
    let own = certificates.join(name.registry());
    std::fs::create_dir_all(&own).unwrap();
    let registries = Registries { directories: vec![certificates] };
    // Not trusted: no fallback to anything weaker than what answers.
    let error = store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap_err();
    assert!(matches!(error, ImageError::Pull { .. }), "{error}");
    std::fs::write(own.join("ca.crt"), &cert).unwrap();
    let error = store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap_err();
    assert!(matches!(error, ImageError::Pull { unauthorized: true, .. }), "{error}");
    let wrong = Credentials::Basic("user".into(), "guess".into());
    let error = store.pull(&name, &wrong, &registries).await.unwrap_err();
    assert!(matches!(error, ImageError::Pull { unauthorized: true, .. }), "{error}");
    assert!(!format!("{error} {wrong:?}").contains("guess"));
    registry.push(&archive(dir.path(), b"secret"), "s/x:1", &["--dest-creds=user:secret"]);
    let right = Credentials::Basic("user".into(), "secret".into());
    let image = store.pull(&name, &right, &registries).await.unwrap();
    assert!(store.find(&name.tagged().unwrap()).is_some_and(|found| found.id == image.id));
    // Who was let in once does not open the door to others.
    store.pull(&name, &Credentials::Anonymous, &registries).await.unwrap_err();
}

#[test]
fn archives_of_other_tools_are_imported() {
    if !usable("archives_of_other_tools_are_imported") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let docker = archive(dir.path(), b"archived");
    let layout = dir.path().join("oci.tar");
    let from = format!("docker-archive:{}", docker.display());
    let to = format!("oci-archive:{}:named.local/x:2", layout.display());
    let done =
        Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &from, &to]).status().unwrap();
    assert!(done.success());
    let store = store(dir.path());
    let first = runtime::images::import(&store, &docker, None).unwrap().remove(0);
    let second = runtime::images::import(&store, &layout, None).unwrap().remove(0);
    assert_eq!(first.layers, second.layers);
    assert!(store.find("named.local/x:2").is_some() && store.find("test.local/x:1").is_some());
    let name = Name::parse("mine:3").unwrap();
    runtime::images::import(&store, &layout, Some(&name)).unwrap();
    assert_eq!(store.find("mine:3").unwrap().id, second.id);
    for (content, what) in [(&b"not an archive"[..], "broken"), (b"", "neither manifest.json")] {
        let bad = dir.path().join("bad.tar");
        std::fs::write(&bad, content).unwrap();
        let error = runtime::images::import(&store, &bad, None).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn the_program_itself_is_an_image() {
    if !usable("the_program_itself_is_an_image") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let image = store.import_self("1.2.3").unwrap();
    assert!(image.pinned && image.tags.contains("windlass.local/windlass:1.2.3"));
    assert_eq!(store.config(&image).unwrap().process().entrypoint, ["/windlass"]);
    assert_eq!(store.import_self("1.2.3").unwrap().id, image.id);
    // It runs from there and nothing else: its loader and libraries came along.
    let layer = store.layers_dir().join(&Store::lower(&image)[0]);
    let listed = Command::new("chroot").arg(&layer).args(["/windlass", "--list"]).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("the_program_itself_is_an_image"));
}
