//! Pods that get more than others: the host's network, all privileges, a terminal, mounts both ways.

use crate::fixture::{Fixture, IMAGE, Pod};
use cri::v1;

pub(crate) async fn host_network_needs_no_plugin(fixture: &Fixture) {
    std::fs::remove_dir_all(&fixture.config.cni_conf_dir).unwrap();
    let mut clients = fixture.clients().await;
    let status = clients.runtime.status(v1::StatusRequest::default()).await.unwrap().into_inner();
    let conditions = status.status.unwrap().conditions;
    let network = conditions.iter().find(|condition| condition.r#type == "NetworkReady").unwrap();
    assert!(!network.status && network.message.contains("no network config found"), "{network:?}");
    assert!(conditions.iter().any(|condition| condition.r#type == "RuntimeReady" && condition.status));
    let request = v1::RunPodSandboxRequest { config: Some(fixture.sandbox("n")), ..Default::default() };
    let error = clients.runtime.run_pod_sandbox(request).await.unwrap_err();
    assert!(error.message().contains("cni plugin not initialized"), "{error}");
    let mut config = fixture.sandbox("n");
    let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    security.namespace_options.as_mut().unwrap().network = v1::NamespaceMode::Node.into();
    let mut pod = Pod::run(fixture, config).await;
    let id = pod.script("main", "sleep 1000").await;
    let (out, _, _) = pod.exec(&id, "hostname; ls -l /proc/self/ns/net").await;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(out.contains(own.to_str().unwrap()), "{out}");
    assert!(out.starts_with(rustix::system::uname().nodename().to_str().unwrap()), "{out}");
    pod.remove().await;
}

pub(crate) async fn privileged_and_mounts_both_ways(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("v")).await;
    let shared = fixture.dir.path().join("shared");
    std::fs::create_dir_all(shared.join("sub")).unwrap();
    linux::mount::bind(&shared, &shared).unwrap();
    linux::mount::propagate(&shared, linux::mount::Propagation::Shared).unwrap();
    let mut config = fixture.container("main", "sleep 1000");
    config.mounts = vec![
        v1::Mount {
            container_path: "/shared".into(),
            host_path: shared.display().to_string(),
            propagation: v1::MountPropagation::PropagationBidirectional.into(),
            ..Default::default()
        },
        v1::Mount {
            container_path: "/image".into(),
            image: Some(v1::ImageSpec { image: IMAGE.into(), ..Default::default() }),
            image_sub_path: "etc".into(),
            readonly: true,
            ..Default::default()
        },
    ];
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
    let id = pod.create(config).await.unwrap();
    pod.start(&id).await.unwrap();
    let (out, err, code) = pod
        .exec(&id, "mount -t tmpfs none /shared/sub && echo up >/shared/sub/f; cat /image/top; ls /image")
        .await;
    assert!(code == 0 && out.starts_with("top\n") && !out.contains("removed"), "{out}{err}");
    assert_eq!(std::fs::read_to_string(shared.join("sub/f")).unwrap(), "up\n");
    let (_, _, code) = pod.exec(&id, "touch /image/x").await;
    assert_ne!(code, 0);
    let (out, _, _) =
        pod.exec(&id, "grep Seccomp: /proc/self/status; test -w /proc/sys/vm/drop_caches && echo w").await;
    assert_eq!(out, "Seccomp:\t0\nw\n");
    pod.remove().await;
    linux::mount::unmount_below(&shared).unwrap();
}

pub(crate) async fn a_read_only_root_with_a_terminal(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("t")).await;
    let mut config = fixture.container(
        "main",
        "tty; test -t 0 && test -t 1 && echo yes; ls -l /dev/console; touch /x; read line; echo got $line",
    );
    (config.stdin, config.tty) = (true, true);
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().readonly_rootfs = true;
    let id = pod.create(config).await.unwrap();
    pod.start(&id).await.unwrap();
    let request = v1::AttachRequest {
        container_id: id.clone(),
        stdin: true,
        stdout: true,
        tty: true,
        ..Default::default()
    };
    let url = pod.clients.runtime.attach(request).await.unwrap().into_inner().url;
    let mut socket = crate::streaming::websocket(&url, "v4.channel.k8s.io").await;
    crate::streaming::type_in(&mut socket, "word\n").await;
    let said = crate::streaming::drain(&mut socket).await;
    assert!(said[1].contains("got word"), "{said:?}");
    assert_eq!(pod.ended(&id).await.exit_code, 0);
    let log = fixture.log("main");
    for line in ["/dev/pts/0", "yes", "/dev/console", "Read-only file system", "got word"] {
        assert!(log.contains(line), "{line} in {log}");
    }
    pod.remove().await;
}
