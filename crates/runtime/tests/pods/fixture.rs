//! One runtime with a busybox image, in directories and cgroups of its own.

use component::Tasks;
use component::clock::SystemClock;
use cri::v1;
use runtime::{Config, Runtime};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) const IMAGE: &str = "test.local/busybox:1";

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) fn usable() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".into());
    }
    let busybox = std::fs::read("/bin/busybox").map_err(|_| "needs /bin/busybox (busybox-static)")?;
    if interpreted(&busybox) {
        return Err("needs a static busybox (busybox-static)".into());
    }
    let missing = linux::cgroup::Cgroups::detect().map_err(|error| error.to_string())?.missing();
    if missing.is_empty() { Ok(()) } else { Err(format!("needs cgroup controllers {missing:?}")) }
}

// Whether an ELF program asks for a loader (PT_INTERP, 3): e_phoff at 32, e_phentsize at 54, e_phnum at 56.
fn interpreted(elf: &[u8]) -> bool {
    let number =
        |at: usize, bytes: usize| elf[at..at + bytes].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(table + index * size, 4) == 3)
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) cgroup: String,
    tasks: parking_lot::Mutex<Tasks>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("wl").tempdir().unwrap();
        let own = |name: &str| dir.path().join(name);
        let config = Config {
            root: own("root"),
            state: own("state"),
            socket: own("cri.sock"),
            cni_conf_dir: own("cni"),
            cni_bin_dirs: vec![own("bin")],
            shim_command: vec![std::env::current_exe().unwrap().into(), "shim".into()],
            registry_dirs: Vec::new(),
            version: "0.0.0-test".into(),
        };
        null_network(&config);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/windlass-test-{}-{number}", std::process::id());
        let fixture = Self { dir, config, cgroup, tasks: Default::default() };
        let runtime = fixture.serve().await;
        let tar = fixture.dir.path().join("busybox.tar");
        write_image(&tar);
        let store = runtime.images().clone();
        let imported =
            tokio::task::spawn_blocking(move || runtime::images::import(&store, &tar, None).unwrap())
                .await
                .unwrap();
        assert_eq!(imported[0].tags.first().unwrap(), IMAGE);
        fixture
    }

    /// Starts the runtime, again after [`Fixture::kill`].
    pub(crate) async fn serve(&self) -> Runtime {
        let tasks = Tasks::new();
        *self.tasks.lock() = tasks.clone();
        runtime::serve(self.config.clone(), SystemClock::shared(), tasks).await.unwrap()
    }

    /// Ends the runtime's tasks as abruptly as a signal would: nothing of it cleans up.
    pub(crate) async fn kill(&self) {
        let tasks = self.tasks.lock().clone();
        assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
    }

    pub(crate) async fn clients(&self) -> cri::Clients {
        cri::Clients::connect(&self.config.socket).await.unwrap()
    }

    pub(crate) async fn finish(&self) {
        self.kill().await;
        runtime::cleanup(&self.config.root).await.unwrap();
        linux::cgroup::Cgroups::detect().unwrap().group(&self.cgroup).unwrap().remove().unwrap();
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    pub(crate) fn sandbox(&self, name: &str) -> v1::PodSandboxConfig {
        let options = v1::NamespaceOption {
            network: v1::NamespaceMode::Pod.into(),
            pid: v1::NamespaceMode::Container.into(),
            ..Default::default()
        };
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.into(),
                uid: format!("uid-{name}"),
                namespace: "default".into(),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: self.logs().display().to_string(),
            labels: [("app".to_owned(), name.to_owned())].into(),
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/{name}", self.cgroup),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(options),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(crate) fn container(&self, name: &str, script: &str) -> v1::ContainerConfig {
        let profile = v1::SecurityProfile {
            profile_type: v1::security_profile::ProfileType::RuntimeDefault.into(),
            ..Default::default()
        };
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: IMAGE.into(), ..Default::default() }),
            command: vec!["/bin/sh".into(), "-c".into(), script.into()],
            log_path: format!("{name}/0.log"),
            linux: Some(v1::LinuxContainerConfig {
                resources: None,
                security_context: Some(v1::LinuxContainerSecurityContext {
                    seccomp: Some(profile),
                    namespace_options: Some(v1::NamespaceOption {
                        pid: v1::NamespaceMode::Container.into(),
                        ..Default::default()
                    }),
                    masked_paths: vec![
                        "/proc/kcore".into(),
                        "/proc/timer_list".into(),
                        "/sys/firmware".into(),
                    ],
                    readonly_paths: vec!["/proc/sys".into(), "/proc/sysrq-trigger".into()],
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    pub(crate) fn log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.logs().join(name).join("0.log")).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }
}

/// A pod and the calls a test makes about it.
pub(crate) struct Pod<'a> {
    pub(crate) fixture: &'a Fixture,
    pub(crate) clients: cri::Clients,
    pub(crate) id: String,
    pub(crate) config: v1::PodSandboxConfig,
}

impl<'a> Pod<'a> {
    pub(crate) async fn run(fixture: &'a Fixture, config: v1::PodSandboxConfig) -> Pod<'a> {
        let mut clients = fixture.clients().await;
        let request = v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let id = clients.runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
        Self { fixture, clients, id, config }
    }

    pub(crate) async fn create(&mut self, config: v1::ContainerConfig) -> Result<String, tonic::Status> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        Ok(self.clients.runtime.create_container(request).await?.into_inner().container_id)
    }

    pub(crate) async fn start(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = v1::StartContainerRequest { container_id: id.into() };
        self.clients.runtime.start_container(request).await.map(drop)
    }

    /// Creates and starts a container that runs `script`.
    pub(crate) async fn script(&mut self, name: &str, script: &str) -> String {
        let id = self.create(self.fixture.container(name, script)).await.unwrap();
        self.start(&id).await.unwrap();
        id
    }

    pub(crate) async fn status(&mut self, id: &str) -> v1::ContainerStatus {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.clients.runtime.container_status(request).await.unwrap().into_inner().status.unwrap()
    }

    pub(crate) async fn pid(&mut self, id: &str) -> i32 {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: true };
        let info = self.clients.runtime.container_status(request).await.unwrap().into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
        i32::try_from(info["pid"].as_i64().unwrap()).unwrap()
    }

    /// Waits, by events, until the container has ended.
    pub(crate) async fn ended(&mut self, id: &str) -> v1::ContainerStatus {
        let mut events =
            self.clients.runtime.get_container_events(v1::GetEventsRequest {}).await.unwrap().into_inner();
        loop {
            let status = self.status(id).await;
            if status.state() == v1::ContainerState::ContainerExited {
                return status;
            }
            events.message().await.unwrap().expect("the stream of events ended");
        }
    }

    pub(crate) async fn exec(&mut self, id: &str, script: &str) -> (String, String, i32) {
        let request = v1::ExecSyncRequest {
            container_id: id.into(),
            cmd: vec!["/bin/sh".into(), "-c".into(), script.into()],
            timeout: 30,
        };
        let done = self.clients.runtime.exec_sync(request).await.unwrap().into_inner();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(done.stdout), text(done.stderr), done.exit_code)
    }

    pub(crate) async fn stop(&mut self, id: &str, timeout: i64) {
        let request = v1::StopContainerRequest { container_id: id.into(), timeout };
        self.clients.runtime.stop_container(request).await.unwrap();
    }

    pub(crate) async fn remove(mut self) {
        let stop = v1::StopPodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.clients.runtime.stop_pod_sandbox(stop).await.unwrap();
        let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.clients.runtime.remove_pod_sandbox(remove).await.unwrap();
    }
}

// A network of nothing but loopback: what the runtime does with plugins is tested beside it.
fn null_network(config: &Config) {
    std::fs::create_dir_all(&config.cni_conf_dir).unwrap();
    std::fs::create_dir_all(&config.cni_bin_dirs[0]).unwrap();
    let conf = r#"{"cniVersion":"1.0.0","name":"none","plugins":[{"type":"none"}]}"#;
    std::fs::write(config.cni_conf_dir.join("10-none.conflist"), conf).unwrap();
    let plugin = config.cni_bin_dirs[0].join("none");
    std::fs::write(&plugin, "#!/bin/sh\n[ \"$CNI_COMMAND\" = ADD ] && echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"192.0.2.7/24\"}]}'\nexit 0\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
}

// What `docker save` would write: two layers, so that overlayfs has something to stack.
fn write_image(path: &Path) {
    let mut base = tar::Builder::new(Vec::new());
    for dir in ["bin", "etc", "root", "tmp", "srv"] {
        entry(&mut base, tar::EntryType::Directory, dir, b"", 0o755, "");
    }
    entry(
        &mut base,
        tar::EntryType::Regular,
        "bin/busybox",
        &std::fs::read("/bin/busybox").unwrap(),
        0o755,
        "",
    );
    let applets = "sh cat echo sleep id hostname mount umount ls ps kill true false head dd env stty tty wc seq mknod touch rm mkdir unshare nc grep printf trap test date chmod od tail yes";
    for applet in applets.split(' ') {
        entry(&mut base, tar::EntryType::Symlink, &format!("bin/{applet}"), b"", 0o777, "busybox");
    }
    let accounts = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv:/bin/sh\n";
    entry(&mut base, tar::EntryType::Regular, "etc/passwd", accounts, 0o644, "");
    entry(
        &mut base,
        tar::EntryType::Regular,
        "etc/group",
        b"root:x:0:\nweb:x:33:\nlogs:x:4:web\n",
        0o644,
        "",
    );
    entry(&mut base, tar::EntryType::Regular, "etc/removed", b"gone\n", 0o644, "");
    let base = base.into_inner().unwrap();
    let mut top = tar::Builder::new(Vec::new());
    entry(&mut top, tar::EntryType::Regular, "etc/.wh.removed", b"", 0o644, "");
    entry(&mut top, tar::EntryType::Regular, "etc/top", b"top\n", 0o644, "");
    let top = top.into_inner().unwrap();
    let digest = |bytes: &[u8]| {
        use sha2::Digest;
        let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    };
    let config = serde_json::json!({"architecture": "amd64", "os": "linux",
        "config": {"Env": ["FROM_IMAGE=yes", "PATH=/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/srv"},
        "rootfs": {"type": "layers", "diff_ids": [digest(&base), digest(&top)]}});
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": [IMAGE], "Layers": ["base/layer.tar", "top/layer.tar"]}]);
    let mut image = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, content) in [
        ("c.json", config.to_string().into_bytes()),
        ("base/layer.tar", base),
        ("top/layer.tar", top),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        entry(&mut image, tar::EntryType::Regular, name, &content, 0o644, "");
    }
    image.finish().unwrap();
}

fn entry<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    kind: tar::EntryType,
    name: &str,
    content: &[u8],
    mode: u32,
    link: &str,
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    tar.append_data(&mut header, name, content).unwrap();
}
