//! Device nodes and the rule of the device cgroup.

use crate::container::DeviceNode;
use cri::v1;
use linux::cgroup::{DeviceKind, DeviceRule};
use linux::{Context, Error, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The most devices one directory may bring.
const MAX_DEVICES: usize = 10_000;

/// Character devices that every container may use: null, zero, full, random, urandom, tty, ptmx, terminals.
const COMMON: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// Below `/dev`, what containers have of their own.
const OWN: [&str; 5] = ["pts", "shm", "mqueue", "fd", "console"];

/// The nodes to make and what may be touched.
pub(super) fn devices(
    config: &v1::ContainerConfig,
    privileged: bool,
) -> Result<(Vec<DeviceNode>, Vec<DeviceRule>)> {
    let mut nodes = Vec::new();
    let any = DeviceRule { read: false, write: false, ..DeviceRule::ALL };
    // Nodes of all kinds may be made: only those listed can be used.
    let mut rules = vec![
        DeviceRule { kind: DeviceKind::Character, ..any },
        DeviceRule { kind: DeviceKind::Block, ..any },
    ];
    for (major, minor) in COMMON {
        rules.push(DeviceRule { kind: DeviceKind::Character, major: Some(major), minor, ..DeviceRule::ALL });
    }
    if privileged {
        walk(Path::new("/dev"), Path::new("/dev"), true, &mut nodes)?;
    }
    for device in &config.devices {
        let from = nodes.len();
        let (host, inside) = (Path::new(&device.host_path), Path::new(&device.container_path));
        let host = std::fs::canonicalize(host).context(|| format!("find device {}", device.host_path))?;
        if host.is_dir() {
            walk(&host, inside, false, &mut nodes)?;
        } else {
            nodes.push(node(&host, inside)?.ok_or_else(|| {
                Error::refused(format!("use device {}", device.host_path), "it is not a device")
            })?);
        }
        let may = |letter| device.permissions.contains(letter);
        rules.extend(nodes[from..].iter().map(|node| DeviceRule {
            kind: if node.block { DeviceKind::Block } else { DeviceKind::Character },
            major: Some(node.major),
            minor: Some(node.minor),
            read: may('r'),
            write: may('w'),
            make: may('m'),
        }));
    }
    Ok((nodes, rules))
}

fn walk(host: &Path, inside: &Path, top: bool, nodes: &mut Vec<DeviceNode>) -> Result<()> {
    let entries = std::fs::read_dir(host).context(|| format!("list {}", host.display()))?;
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if top && OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let (host, inside) = (entry.path(), inside.join(entry.file_name()));
        if kind.is_dir() {
            walk(&host, &inside, false, nodes)?;
        } else if let Some(found) = node(&host, &inside)? {
            nodes.push(found);
        }
        if nodes.len() > MAX_DEVICES {
            return Err(Error::refused(
                "pass devices to the container",
                format!("there are more than {MAX_DEVICES}"),
            ));
        }
    }
    Ok(())
}

fn node(host: &Path, inside: &Path) -> Result<Option<DeviceNode>> {
    let found = std::fs::symlink_metadata(host).context(|| format!("look at {}", host.display()))?;
    let kind = found.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Ok(None);
    }
    Ok(Some(DeviceNode {
        path: inside.to_owned(),
        block: kind.is_block_device(),
        major: rustix::fs::major(found.rdev()),
        minor: rustix::fs::minor(found.rdev()),
        mode: found.mode() & 0o777,
        uid: found.uid(),
        gid: found.gid(),
    }))
}
