//! What the runtime and a pod's shim say to each other: frames of a big-endian 32-bit length and JSON, over a unix
//! socket in the pod's state directory. Descriptors travel beside the first byte of a frame.
//!
//! A connection carries one request. Most get one reply; [`Request::Exec`] gets [`Reply::Started`] and later
//! [`Reply::Exited`], and [`Request::Watch`] gets [`Reply::Changed`] until it closes. A newer runtime meets older
//! shims: fields may be added with a default, never changed.

use crate::container::{ContainerSpec, ProcessSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The longest frame accepted, in bytes.
pub(crate) const MAX_FRAME: usize = 4 << 20;

/// The socket's name in the pod's state directory.
pub(crate) const SOCKET: &str = "shim.sock";

/// The file that says how to set up the pod, in its state directory.
pub(crate) const SETUP: &str = "setup.json";

/// The pinned network namespace's name in the pod's state directory.
pub(crate) const NETNS: &str = "netns";

/// The directory for the pod's `/dev/shm`, in its state directory.
pub(crate) const SHM: &str = "shm";

/// The exit record's name in a container's directory.
pub(crate) const EXIT: &str = "exit.json";

/// What a shim sets up before it answers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Setup {
    /// The pod's id.
    pub(crate) id: String,
    /// A network namespace of its own.
    pub(crate) own_network: bool,
    /// An IPC namespace and `/dev/shm` of its own.
    pub(crate) own_ipc: bool,
    /// A UTS namespace of its own, with this name.
    pub(crate) hostname: Option<String>,
    /// One pid namespace for all its containers, with the shim as process 1.
    pub(crate) shared_pids: bool,
    /// Kernel parameters, in the namespaces above.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// The shim's own cgroup.
    pub(crate) cgroup: String,
}

/// What the runtime asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// How are you?
    State,
    /// Tell me of every change from now on; the first reply is the present state.
    Watch,
    /// Make and run a container.
    Start(Box<ContainerSpec>),
    /// Send a signal to a container's first process, or kill all of it.
    Signal { container: String, signal: i32 },
    /// Run a process in a container. Standard input, output and error come along, unless it has a terminal.
    Exec { container: String, process: Box<ProcessSpec> },
    /// Copy output to the descriptors that come along: standard output, then error, as far as asked for. The reply
    /// brings a descriptor for input, if the container reads any.
    Attach { container: String, stdout: bool, stderr: bool },
    /// Close the container's standard input.
    CloseStdin { container: String },
    /// Open the log file anew, after a rotation.
    ReopenLog { container: String },
    /// Forget a container that has ended.
    Forget { container: String },
    /// Kill everything and end.
    Shutdown,
}

/// What a shim answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Reply {
    /// Done.
    Done,
    /// Not done, and why.
    Failed(String),
    /// The present state.
    State(State),
    /// A process runs. The terminal, if it has one, comes along.
    Started { pid: i32 },
    /// The exec'd process has ended.
    Exited { code: i32 },
    /// A container has started or ended.
    Changed(ContainerState),
}

/// A shim's state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// The shim's process id on the host.
    pub(crate) pid: i32,
    /// Containers that run or have ended and were not forgotten.
    pub(crate) containers: Vec<ContainerState>,
}

/// One container's state as its shim knows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerState {
    pub(crate) id: String,
    /// Process id on the host.
    pub(crate) pid: i32,
    /// Nanoseconds since the epoch.
    pub(crate) started_at: i64,
    /// How it ended, if it has.
    pub(crate) exit: Option<ExitRecord>,
}

/// How a container ended; also the content of [`EXIT`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExitRecord {
    /// As a shell would show it.
    pub(crate) code: i32,
    /// Whether the kernel killed a process of it for want of memory.
    pub(crate) out_of_memory: bool,
    /// Nanoseconds since the epoch; 0 when its program never ran.
    pub(crate) started_at: i64,
    /// Nanoseconds since the epoch.
    pub(crate) finished_at: i64,
    /// Why it could not start.
    #[serde(default)]
    pub(crate) failure: Option<String>,
}

/// A frame of `message`.
pub(crate) fn encode<T: Serialize>(message: &T) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the message is too long"));
    }
    frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(0).to_be_bytes());
    Ok(frame)
}

/// Takes one message off the front of `buffer`, if all of it is there.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(buffer: &mut Vec<u8>) -> std::io::Result<Option<T>> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > MAX_FRAME {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "the peer announced a message that is too long",
        ));
    }
    let Some(body) = buffer.get(4..4 + length) else { return Ok(None) };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

/// Where the exit record of the container with this directory is.
pub(crate) fn exit_file(directory: &std::path::Path) -> PathBuf {
    directory.join(EXIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_arrive_in_pieces() {
        let frame = encode(&Request::Signal { container: "c".into(), signal: 15 }).unwrap();
        let mut buffer = Vec::new();
        for byte in &frame[..frame.len() - 1] {
            buffer.push(*byte);
            assert!(decode::<Request>(&mut buffer).unwrap().is_none());
        }
        buffer.extend([frame[frame.len() - 1], 7]);
        let request = decode::<Request>(&mut buffer).unwrap().unwrap();
        assert!(matches!(request, Request::Signal { signal: 15, .. }));
        assert_eq!(buffer, [7]);
    }

    #[test]
    fn a_hostile_length_is_refused_before_memory_is_spent() {
        let mut buffer = vec![0xff; 8];
        let error = decode::<Request>(&mut buffer).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }
}
