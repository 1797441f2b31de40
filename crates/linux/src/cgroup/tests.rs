use super::*;

fn mount(kind: &str, target: &str, options: &str) -> MountPoint {
    MountPoint {
        target: target.into(),
        root: "/".into(),
        kind: kind.into(),
        options: options.split(',').map(str::to_owned).collect(),
        shared: false,
    }
}

#[test]
fn hosts_of_every_kind_are_recognised() {
    let hybrid = Cgroups::from_mounts(&[
        mount("cgroup", "/sys/fs/cgroup/cpu,cpuacct", "rw,cpu,cpuacct"),
        mount("cgroup", "/sys/fs/cgroup/memory", "rw,memory"),
        mount("cgroup", "/other/memory", "rw,memory"),
        mount("cgroup", "/sys/fs/cgroup/blkio", "rw,blkio"),
        mount("cgroup", "/sys/fs/cgroup/systemd", "rw,name=systemd"),
        mount("cgroup2", "/sys/fs/cgroup/unified", "rw"),
    ]);
    assert!(!hybrid.unified() && hybrid.has("cpuacct") && !hybrid.has("pids"));
    assert_eq!(hybrid.missing(), ["pids", "cpuset"]);
    let dirs = hybrid.group("/kubepods/pod1").unwrap().directories();
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
    assert_eq!(
        dirs,
        [
            "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1",
            "/sys/fs/cgroup/memory/kubepods/pod1",
            "/sys/fs/cgroup/systemd/kubepods/pod1",
            "/sys/fs/cgroup/unified/kubepods/pod1",
        ]
    );
    assert!(Cgroups::from_mounts(&[mount("cgroup2", "/sys/fs/cgroup", "rw")]).unified());
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let cgroups = Cgroups::v2_at("/sys/fs/cgroup");
    for bad in ["/", "", "/a/../b", "a//b", "/a/./b"] {
        let error = cgroups.group(bad).unwrap_err().to_string();
        assert!(error.contains("not a clean absolute path"), "{bad}: {error}");
    }
}

/// A directory tree that looks like version 2: what is written is what the kernel would get.
#[test]
fn limits_are_translated_to_version_2() {
    let root = std::env::temp_dir().join(format!("windlass-cgroup-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("cgroup.controllers"), "cpu memory pids misc\n").unwrap();
    let group = Cgroups::v2_at(&root).group("/kubepods/pod1/c1").unwrap();
    group.create().unwrap();
    let at = |name: &str| std::fs::read_to_string(root.join("kubepods/pod1/c1").join(name)).unwrap();
    assert_eq!(std::fs::read_to_string(root.join("cgroup.subtree_control")).unwrap(), "+cpu +memory +pids");
    std::fs::write(root.join("kubepods/pod1/c1/memory.swap.max"), "max").unwrap();
    let resources = Resources {
        cpu_shares: 1024,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        memory_limit: 64 << 20,
        memory_swap_limit: 96 << 20,
        pids_limit: -1,
        huge_pages: vec![HugePages { size: "2MB".into(), limit: 0 }],
        unified: [("memory.high".to_owned(), "1000".to_owned())].into(),
        ..Resources::default()
    };
    group.set(&resources).unwrap();
    assert_eq!(at("cpu.weight"), "39");
    assert_eq!(at("cpu.max"), "50000 100000");
    assert_eq!((at("memory.max"), at("memory.swap.max")), ("67108864".into(), "33554432".into()));
    assert_eq!((at("pids.max"), at("memory.high")), ("max".into(), "1000".into()));
    let escape = Resources { unified: [("../x".to_owned(), "1".to_owned())].into(), ..Resources::default() };
    assert!(group.set(&escape).unwrap_err().to_string().contains("not a file name"));
    std::fs::remove_dir_all(&root).unwrap();
}

/// On the real hierarchies of this host.
#[test]
fn real_groups_hold_limit_and_kill_processes() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped real_groups_hold_limit_and_kill_processes: needs root");
        return;
    }
    let cgroups = Cgroups::detect().unwrap();
    if !cgroups.missing().is_empty() {
        println!("skipped real_groups_hold_limit_and_kill_processes: no controllers {:?}", cgroups.missing());
        return;
    }
    let parent = cgroups.group(&format!("/windlass-test-{}", std::process::id())).unwrap();
    let group = parent.child("c1").unwrap();
    group.create().unwrap();
    let resources = Resources {
        memory_limit: 32 << 20,
        pids_limit: 50,
        cpu_shares: 512,
        cpu_quota: 20_000,
        cpu_period: 100_000,
        devices: Some(vec![DeviceRule {
            kind: DeviceKind::Character,
            major: Some(1),
            minor: Some(3),
            ..DeviceRule::ALL
        }]),
        ..Resources::default()
    };
    group.set(&resources).unwrap();
    let mut child = std::process::Command::new("sh")
        .args(["-c", "read go; cat /dev/zero >/dev/null; head -c1 /dev/zero && exit 3; sleep 1000"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    group.add(i32::try_from(child.id()).unwrap()).unwrap();
    assert_eq!(parent.processes().unwrap(), [i32::try_from(child.id()).unwrap()]);
    assert_eq!(group.stats().unwrap().memory_limit, Some(32 << 20));
    assert_eq!(group.stats().unwrap().pids, Some(1));
    // /dev/zero (1:5) is not allowed: both commands fail and the shell goes to sleep.
    drop(child.stdin.take());
    let busy = || parent.processes().unwrap().len();
    while busy() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the device filter let /dev/zero through");
        std::thread::yield_now();
    }
    parent.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    while !parent.processes().unwrap().is_empty() {
        std::thread::yield_now();
    }
    parent.remove().unwrap();
    assert!(!group.exists());
}

#[test]
fn a_group_that_went_away_has_nothing_below_it() {
    assert_eq!(directories_in(Path::new("/proc/self/no-group")).unwrap(), Vec::<PathBuf>::new());
    assert!(directories_in(Path::new("/proc/self/stat")).is_err());
}
