//! Volumes and environment that come from the API.

use super::*;
use api::k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapEnvSource, ConfigMapVolumeSource, EmptyDirVolumeSource, EnvFromSource, EnvVar,
    Volume, VolumeMount,
};
use std::collections::BTreeMap;

fn map(value: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some("cm".to_owned());
    map.data = Some(BTreeMap::from([("key".to_owned(), value.to_owned())]));
    map
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn reader() -> Pod {
    let mut a = container("a");
    a.volume_mounts = Some(vec![mount("conf", "/conf"), mount("tmp", "/tmp")]);
    a.env_from = Some(vec![EnvFromSource {
        config_map_ref: Some(ConfigMapEnvSource { name: "cm".to_owned(), optional: None }),
        ..EnvFromSource::default()
    }]);
    let refers = EnvVar { name: "X".to_owned(), value: Some("<$(key)>".to_owned()), value_from: None };
    a.env = Some(vec![refers]);
    let mut pod = pod("web", vec![a]);
    let source = ConfigMapVolumeSource { name: "cm".to_owned(), ..ConfigMapVolumeSource::default() };
    let conf = Volume { name: "conf".to_owned(), config_map: Some(source), ..Volume::default() };
    let empty = Some(EmptyDirVolumeSource::default());
    let tmp = Volume { name: "tmp".to_owned(), empty_dir: empty, ..Volume::default() };
    pod.spec.as_mut().unwrap().volumes = Some(vec![conf, tmp]);
    pod
}

#[tokio::test]
async fn a_config_map_appears_and_follows_changes() {
    let bench = Bench::new("configmap").await;
    bench.start().await;
    bench.create(&reader()).await;
    bench
        .until_event(
            "FailedMount",
            "MountVolume.SetUp failed for volume \"conf\" : configmap \"cm\" not found",
        )
        .await;
    let maps = bench.api.client().namespaced::<ConfigMap>("default");
    maps.create(&map("one")).await.unwrap();
    // No time passes: the watch wakes the pod.
    bench.until_pod("web", "is ready", is_ready).await;
    let config = bench.runtime.config("a").unwrap();
    let env = |name: &str| config.envs.iter().find(|e| e.key == name).map(|e| e.value.clone());
    assert_eq!((env("key").as_deref(), env("X").as_deref()), (Some("one"), Some("<one>")));
    let host = |path: &str| {
        let found = config.mounts.iter().find(|m| m.container_path == path);
        PathBuf::from(found.unwrap().host_path.clone())
    };
    let file = host("/conf").join("key");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    assert!(host("/tmp").is_dir() && host("/etc/hosts").is_file() && host("/dev/termination-log").is_file());
    maps.update(&map("two")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while std::fs::read_to_string(&file).unwrap_or_default() != "two" {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(bench.runtime.count("create a"), 1);
}

#[tokio::test]
async fn a_missing_reference_holds_the_container_back() {
    let bench = Bench::new("missing").await;
    bench.start().await;
    let mut waiting = reader();
    let spec = waiting.spec.as_mut().unwrap();
    spec.volumes = None;
    spec.containers[0].volume_mounts = None;
    bench.create(&waiting).await;
    let held = bench.until_pod("web", "waits", |p| waits_for(p, "a") == "CreateContainerConfigError").await;
    let message = status_of(&held, "a").state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "configmap \"cm\" not found");
    bench.api.client().namespaced::<ConfigMap>("default").create(&map("one")).await.unwrap();
    bench.until_pod("web", "is ready", is_ready).await;
}
