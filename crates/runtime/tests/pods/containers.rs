//! What containers see, do and leave behind.

use crate::fixture::{Fixture, Pod};
use cri::v1;

pub(crate) async fn runs_logs_and_exits(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("web")).await;
    let status = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let status = pod.clients.runtime.pod_sandbox_status(status).await.unwrap().into_inner().status.unwrap();
    assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
    assert_eq!(status.network.unwrap().ip, "192.0.2.7");
    let script =
        "echo out; echo err >&2; printf partial; cat /etc/top; test -e /etc/removed && echo there; exit 3";
    let id = pod.script("main", script).await;
    let status = pod.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.started_at > 0 && status.finished_at >= status.started_at);
    let log = fixture.log("main");
    for line in ["stdout F out\n", "stderr F err\n", "stdout F partialtop\n"] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
    assert!(!log.contains("there"), "{log}");
    let id = pod.script("unended", "printf end").await;
    let status = pod.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    assert_eq!(fixture.log("unended"), "stdout P end\n");
    pod.remove().await;
}

pub(crate) async fn exec_sync_and_timeouts(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("e")).await;
    let id = pod.script("main", "sleep 1000").await;
    let (out, err, code) = pod.exec(&id, "echo $FROM_IMAGE $HOME $HOSTNAME; pwd; echo bad >&2; exit 7").await;
    assert_eq!((out.as_str(), err.as_str(), code), ("yes /root e\n/srv\n", "bad\n", 7));
    // More than the pipe holds.
    let (out, _, code) = pod.exec(&id, "yes | head -c 3000000").await;
    assert_eq!((out.len(), code), (3_000_000, 0));
    let request = v1::ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["/bin/sleep".into(), "100".into()],
        timeout: 1,
    };
    let error = pod.clients.runtime.exec_sync(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded, "{error}");
    let request = v1::ExecSyncRequest { container_id: id.clone(), cmd: vec!["nothing".into()], timeout: 5 };
    let error = pod.clients.runtime.exec_sync(request).await.unwrap_err();
    assert!(error.message().contains("executable file not found in $PATH"), "{error}");
    // Exec'd processes are filtered and as unprivileged as the first one.
    let (_, _, code) = pod.exec(&id, "unshare -n true").await;
    assert_ne!(code, 0);
    let (out, _, _) = pod.exec(&id, "grep -E '^(Seccomp|CapEff):' /proc/self/status").await;
    assert!(out.contains("Seccomp:\t2") && out.contains("CapEff:\t00000000a80425fb"), "{out}");
    pod.remove().await;
}

pub(crate) async fn isolation_and_security(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("iso")).await;
    let volume = fixture.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "data").unwrap();
    let mut config = fixture.container("main", "sleep 1000");
    config.mounts = vec![
        v1::Mount {
            container_path: "/data".into(),
            host_path: volume.display().to_string(),
            readonly: true,
            ..Default::default()
        },
        v1::Mount {
            container_path: "/a/new/file".into(),
            host_path: volume.join("file").display().to_string(),
            ..Default::default()
        },
    ];
    let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    security.run_as_username = "web".into();
    security.no_new_privs = true;
    security.supplemental_groups = vec![77];
    let id = pod.create(config).await.unwrap();
    pod.start(&id).await.unwrap();
    let status = pod.status(&id).await;
    let user = status.user.unwrap().linux.unwrap();
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (33, 33, vec![4, 33, 77]));
    let (out, err, _) = pod
        .exec(
            &id,
            "id -u; id -G; hostname; cat /data/file /a/new/file; echo; echo $$ | wc -l; ls /proc | grep -c '^[0-9]'; \
             grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/1/cmdline | head -c 7",
        )
        .await;
    assert!(
        out.starts_with("33\n33 4 77\niso\ndatadata\n") || out.starts_with("33\n4 33 77\niso\ndatadata\n"),
        "{out}{err}"
    );
    assert!(out.contains("CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"), "{out}");
    assert!(out.ends_with("/bin/sh") || out.ends_with("sleep\u{0}1"), "{out}");
    let (_, err, code) = pod.exec(&id, "touch /data/x").await;
    assert!(code != 0 && err.contains("Read-only"), "{err}");
    // Another container of the same image has none of this one's changes; root may write to its own copy only.
    let other = pod.script("other", "echo changed >/etc/top; rm /bin/yes; sleep 1000").await;
    let (out, _, _) =
        pod.exec(&other, "cat /etc/top; ls -l /proc/self/fd | wc -l; ls /dev; mount; ls -ld /").await;
    assert!(out.starts_with("changed\n"), "{out}");
    assert!(out.contains("full\n") && out.contains("urandom\n"), "{out}");
    assert!(out.contains("drwxr-xr-x"), "{out}");
    for secret in ["/proc/kcore", "/proc/timer_list"] {
        let (out, _, _) = pod.exec(&other, &format!("head -c 100 {secret} | wc -c")).await;
        assert_eq!(out, "0\n", "{secret}");
    }
    let (_, err, code) = pod.exec(&other, "echo 1 >/proc/sys/vm/drop_caches").await;
    assert!(code != 0 && err.contains("Read-only"), "{err}");
    let (_, _, code) = pod.exec(&other, "mount -t tmpfs none /tmp").await;
    assert_ne!(code, 0);
    // A block device can be made, but not opened.
    let (_, err, code) = pod.exec(&other, "mknod /tmp/disk b 254 0 && head -c1 /tmp/disk").await;
    assert!(code != 0 && err.contains("not permitted"), "{err}");
    let third = pod.script("third", "cat /etc/top; yes | head -n1").await;
    pod.ended(&third).await;
    assert_eq!(fixture.log("third"), "stdout F top\nstdout F y\n");
    pod.remove().await;
}

pub(crate) async fn failures_say_why(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("f")).await;
    let mut config = fixture.container("missing", "");
    config.command = vec!["/no/such/program".into()];
    let id = pod.create(config).await.unwrap();
    let error = pod.start(&id).await.unwrap_err();
    assert!(
        error.message().contains("/no/such/program") && error.message().contains("No such file"),
        "{error}"
    );
    let status = pod.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    assert!(status.message.contains("/no/such/program"), "{}", status.message);
    let mut config = fixture.container("noimage", "true");
    config.image = Some(v1::ImageSpec { image: "absent:1".into(), ..Default::default() });
    let error = pod.create(config).await.unwrap_err();
    assert!(error.code() == tonic::Code::NotFound && error.message().contains("absent:1"), "{error}");
    let mut config = fixture.container("nouser", "true");
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().run_as_username = "ghost".into();
    let error = pod.create(config).await.unwrap_err();
    assert!(error.message().contains("no matching entries in passwd"), "{error}");
    let same = v1::RunPodSandboxRequest { config: Some(pod.config.clone()), ..Default::default() };
    let error = pod.clients.runtime.run_pod_sandbox(same).await.unwrap_err();
    assert!(error.message().contains("is reserved for"), "{error}");
    let request = v1::ContainerStatusRequest { container_id: "none".into(), verbose: false };
    let error = pod.clients.runtime.container_status(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound);
    // A mount that the kernel refuses names the mount.
    let mut config = fixture.container("proc", "true");
    config.mounts =
        vec![v1::Mount { container_path: "/proc/1".into(), host_path: "/etc".into(), ..Default::default() }];
    let id = pod.create(config).await.unwrap();
    let error = pod.start(&id).await.unwrap_err();
    assert!(error.message().contains("/proc/1"), "{error}");
    pod.remove().await;
}

pub(crate) async fn stop_kill_and_remove(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("s")).await;
    let polite = pod.script("polite", "trap 'exit 5' TERM; while :; do sleep 0.1; done").await;
    pod.stop(&polite, 20).await;
    assert_eq!(pod.status(&polite).await.exit_code, 5);
    let stubborn = pod.script("stubborn", "trap '' TERM; while :; do sleep 0.1; done").await;
    pod.stop(&stubborn, 1).await;
    let status = pod.status(&stubborn).await;
    assert_eq!((status.exit_code, status.state()), (137, v1::ContainerState::ContainerExited));
    pod.stop(&stubborn, 1).await;
    let running = pod.script("running", "sleep 1000").await;
    let pid = pod.pid(&running).await;
    let remove = v1::RemoveContainerRequest { container_id: running.clone() };
    pod.clients.runtime.remove_container(remove.clone()).await.unwrap();
    pod.clients.runtime.remove_container(remove).await.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists());
    assert!(!fixture.config.root.join("containers").join(&running).exists());
    let list = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() }),
    };
    let listed = pod.clients.runtime.list_containers(list).await.unwrap().into_inner().containers;
    assert_eq!(listed.len(), 2);
    pod.remove().await;
}

pub(crate) async fn shared_process_namespace(fixture: &Fixture) {
    let mut config = fixture.sandbox("p");
    let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    security.namespace_options.as_mut().unwrap().pid = v1::NamespaceMode::Pod.into();
    let mut pod = Pod::run(fixture, config).await;
    let shared = |name: &str, script: &str| {
        let mut config = fixture.container(name, script);
        let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        security.namespace_options.as_mut().unwrap().pid = v1::NamespaceMode::Pod.into();
        config
    };
    let one = pod.create(shared("one", "sleep 1111")).await.unwrap();
    pod.start(&one).await.unwrap();
    let two = pod.create(shared("two", "(sleep 2222 &) ; sleep 3333")).await.unwrap();
    pod.start(&two).await.unwrap();
    let (out, _, _) = pod.exec(&two, "ps").await;
    assert!(out.contains("sleep 1111") && out.contains("shim"), "{out}");
    // The orphan of the second container goes with it, although its parent is the pod's first process.
    pod.stop(&two, 0).await;
    let (out, _, _) = pod.exec(&one, "ps").await;
    assert!(!out.contains("sleep 3333"), "{out}");
    // A container that is to look at another one sees its processes only.
    let mut config = fixture.container("debug", "sleep 4444");
    let options =
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options.as_mut().unwrap();
    options.pid = v1::NamespaceMode::Target.into();
    options.target_id = one.clone();
    let debug = pod.create(config).await.unwrap();
    pod.start(&debug).await.unwrap();
    let (out, _, _) = pod.exec(&debug, "ps").await;
    assert!(out.contains("sleep 1111"), "{out}");
    pod.remove().await;
}

pub(crate) async fn limits_and_statistics(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("l")).await;
    let limited = |name: &str, script: &str| {
        let mut config = fixture.container(name, script);
        config.linux.as_mut().unwrap().resources = Some(v1::LinuxContainerResources {
            memory_limit_in_bytes: 32 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            oom_score_adj: 500,
            ..Default::default()
        });
        config
    };
    let eater = pod.create(limited("eater", "tail /dev/zero")).await.unwrap();
    pod.start(&eater).await.unwrap();
    let status = pod.ended(&eater).await;
    assert_eq!((status.reason.as_str(), status.exit_code), ("OOMKilled", 137));
    let id =
        pod.create(limited("quiet", "dd if=/dev/zero of=/file bs=1M count=4; sleep 1000")).await.unwrap();
    pod.start(&id).await.unwrap();
    let (out, _, _) = pod.exec(&id, "while ! test -s /file; do :; done; cat /proc/1/oom_score_adj").await;
    assert_eq!(out, "500\n");
    let request = v1::ContainerStatsRequest { container_id: id.clone() };
    let stats = pod.clients.runtime.container_stats(request).await.unwrap().into_inner().stats.unwrap();
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 0);
    assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert!(stats.writable_layer.unwrap().used_bytes.unwrap().value >= 1 << 20);
    let update = v1::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(v1::LinuxContainerResources { memory_limit_in_bytes: 48 << 20, ..Default::default() }),
        ..Default::default()
    };
    pod.clients.runtime.update_container_resources(update).await.unwrap();
    let resources = pod.status(&id).await.resources.unwrap().linux.unwrap();
    assert_eq!((resources.memory_limit_in_bytes, resources.cpu_shares), (48 << 20, 512));
    let group =
        linux::cgroup::Cgroups::detect().unwrap().group(&format!("{}/l/{id}", fixture.cgroup)).unwrap();
    assert_eq!(group.stats().unwrap().memory_limit, Some(48 << 20));
    let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let stats = pod.clients.runtime.pod_sandbox_stats(request).await.unwrap().into_inner().stats.unwrap();
    assert_eq!(stats.linux.unwrap().containers.len(), 1);
    pod.remove().await;
}

pub(crate) async fn log_rotation_and_events(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("r")).await;
    let mut events =
        pod.clients.runtime.get_container_events(v1::GetEventsRequest {}).await.unwrap().into_inner();
    let id = pod.script("main", "echo before; while ! test -e /go; do sleep 0.05; done; echo after").await;
    let path = fixture.logs().join("main/0.log");
    while !std::fs::read_to_string(&path).unwrap_or_default().contains("before") {
        tokio::task::yield_now().await;
    }
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    let reopen = v1::ReopenContainerLogRequest { container_id: id.clone() };
    pod.clients.runtime.reopen_container_log(reopen).await.unwrap();
    pod.exec(&id, "touch /go").await;
    let mut kinds = Vec::new();
    while kinds.last() != Some(&v1::ContainerEventType::ContainerStoppedEvent) {
        let event = events.message().await.unwrap().unwrap();
        assert_eq!(event.container_id, id);
        assert_eq!(event.pod_sandbox_status.as_ref().unwrap().id, pod.id);
        kinds.push(event.container_event_type());
    }
    use v1::ContainerEventType::{ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent};
    assert_eq!(kinds, [ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent]);
    assert_eq!(fixture.log("main"), "stdout F after\n");
    pod.remove().await;
}
