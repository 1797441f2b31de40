//! `/containerLogs`: what a container wrote, from the runtime's log files in CRI format.
//!
//! A line is `<RFC 3339 time> <stream> <F|P> <text>`; P marks a piece of a line that goes on in the next.

use super::follow::Watcher;
use super::query::Query;
use super::{text, typed};
use crate::kubelet::Kubelet;
use crate::model::{RuntimeContainer, RuntimePod, State};
use crate::pod::worker::Worker;
use crate::spec;
use api::k8s_openapi::jiff::Timestamp;
use bytes::Bytes;
use component::serve::{BoxError, Request, Response};
use futures::StreamExt;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::Status;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

/// Longest piece of a line that is read at once.
const MAX_LINE: u64 = 256 * 1024;
/// Block size when looking for the last lines.
const BLOCK: u64 = 64 * 1024;

/// What is asked (`core/v1.PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<u64>,
    since: Option<Timestamp>,
    limit: Option<u64>,
    /// `stdout` or `stderr`; both without.
    stream: Option<String>,
}

impl Options {
    fn parse(query: &Query, now: Timestamp) -> Result<Self, Status> {
        let number = |key: &str| -> Result<Option<u64>, Status> {
            let Some(value) = query.get(key).filter(|v| !v.is_empty()) else { return Ok(None) };
            value.parse().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "{key} must be a whole number that is not negative, not {value:?}"
                ))
            })
        };
        let mut since = None;
        if let Some(seconds) = number("sinceSeconds")? {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            since = Timestamp::from_second(now.as_second().saturating_sub(seconds)).ok();
        } else if let Some(time) = query.get("sinceTime").filter(|t| !t.is_empty()) {
            let parsed = time.parse::<Timestamp>();
            since = Some(parsed.map_err(|_| {
                Status::bad_request(format!("sinceTime must be an RFC 3339 time, not {time:?}"))
            })?);
        }
        let stream = query.get("stream").filter(|s| !s.is_empty() && *s != "All").map(str::to_lowercase);
        Ok(Self {
            follow: query.flag(&["follow"]),
            previous: query.flag(&["previous"]),
            timestamps: query.flag(&["timestamps"]),
            tail: number("tailLines")?,
            since,
            limit: number("limitBytes")?,
            stream,
        })
    }
}

/// One line of a log file.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a str,
    stream: &'a str,
    text: &'a [u8],
    /// Whether the text ends a line.
    full: bool,
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = parts.next()?;
    let text = parts.next().unwrap_or_default();
    // Tags are separated by colons; the first says whether the line is complete.
    let full = tags.split(|b| *b == b':').next() != Some(b"P");
    matches!(stream, "stdout" | "stderr").then_some(Line { time, stream, text, full })
}

/// Turns lines of the file into what the client reads.
struct Printer {
    options: Options,
    at_start: bool,
    left: u64,
    /// Lines that may still be printed: who asks for the last ones gets no more, however fast more come.
    lines: u64,
}

impl Printer {
    fn new(options: &Options) -> Self {
        let lines = options.tail.filter(|_| !options.follow).unwrap_or(u64::MAX);
        let left = options.limit.unwrap_or(u64::MAX);
        Self { options: options.clone(), at_start: true, left, lines }
    }

    /// The bytes of one line; `None` once the limit is reached.
    fn print(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        self.lines = self.lines.checked_sub(1)?;
        let Some(line) = parse(line) else { return Some(Vec::new()) };
        let too_old = || {
            self.options.since.is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|t| t < since))
        };
        let other = self.options.stream.as_deref().is_some_and(|s| s != line.stream);
        if other || too_old() {
            return Some(Vec::new());
        }
        let mut out = Vec::with_capacity(line.text.len() + 40);
        if self.options.timestamps && self.at_start {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.full {
            out.push(b'\n');
        }
        self.at_start = line.full;
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        if room == 0 {
            return None;
        }
        out.truncate(room);
        self.left -= out.len() as u64;
        Some(out)
    }

    fn is_full(&self) -> bool {
        self.left == 0 || self.lines == 0
    }
}

/// Offset at which the last `lines` lines of the file begin.
async fn tail_offset(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(end);
    }
    let size = end;
    let mut seen = 0;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(begin)).await?;
        let mut block = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        file.read_exact(&mut block).await?;
        for (index, byte) in block.iter().enumerate().rev() {
            let at = begin + index as u64;
            // The newline that ends the file ends a line and begins none.
            if *byte == b'\n' && at + 1 < size {
                seen += 1;
                if seen == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = begin;
    }
    Ok(0)
}

/// The container whose log is asked for.
fn choose<'a>(
    runtime: &'a RuntimePod,
    name: &str,
    previous: bool,
    pod: &str,
) -> Result<&'a RuntimeContainer, Status> {
    let bad = |why: String| Status::bad_request(format!("container {name:?} in pod {pod:?} {why}"));
    if previous {
        // What runs now is not the previous one; without it, the newest ended one is.
        let latest = runtime.latest(name).filter(|c| c.state == State::Exited);
        let found = runtime.previous(name).or(latest.filter(|c| c.restart_count > 0));
        return found.ok_or_else(|| {
            Status::bad_request(format!("previous terminated container {name:?} in pod {pod:?} not found"))
        });
    }
    match runtime.latest(name) {
        // An attempt that never started has nothing to tell; the one before may.
        Some(c) if c.state == State::Created => {
            runtime.previous(name).ok_or_else(|| bad("is waiting to start: ContainerCreating".to_owned()))
        }
        Some(c) => Ok(c),
        None => Err(bad("is waiting to start: ContainerCreating".to_owned())),
    }
}

/// Why a container that was never made waits.
fn waiting_reason(kubelet: &Kubelet, worker: &Worker, name: &str) -> Option<String> {
    let status = kubelet.status.get(&worker.uid)?;
    let lists =
        [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    let state = all.find(|s| s.name == name)?.state?;
    let waiting = state.waiting?;
    let reason = waiting.reason?;
    Some(match (reason.as_str(), waiting.message) {
        ("ErrImagePull" | "ImagePullBackOff", _) => "trying and failing to pull image".to_owned(),
        _ => reason,
    })
}

/// `/containerLogs/<ns>/<pod>/<container>`.
pub(super) async fn serve(
    kubelet: &Arc<Kubelet>,
    namespace: &str,
    pod: &str,
    name: &str,
    request: &Request,
) -> Result<Response, Status> {
    let query = Query::parse(request.uri().query());
    let options = Options::parse(&query, client::time::now(&*kubelet.clock))?;
    let Some(worker) = kubelet.workers.find(namespace, pod) else {
        return Err(Status::new(404, machinery::Reason::NotFound, format!("pod {pod:?} does not exist")));
    };
    if spec::find(&worker.pod(), name).is_none() {
        return Err(Status::bad_request(format!("container {name} is not valid for pod {pod}")));
    }
    let runtime = worker.runtime().unwrap_or_default();
    let container = match choose(&runtime, name, options.previous, pod) {
        Ok(container) => container.clone(),
        Err(status) => {
            return Err(match waiting_reason(kubelet, &worker, name).filter(|_| !options.previous) {
                Some(reason) => Status::bad_request(format!(
                    "container {name:?} in pod {pod:?} is waiting to start: {reason}"
                )),
                None => status,
            });
        }
    };
    let path = PathBuf::from(&container.log_path);
    let mut file = match File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(text(
                StatusCode::OK,
                format!("unable to retrieve container logs for {}://{}", kubelet.runtime.name, container.id),
            ));
        }
        Err(error) => return Err(Status::internal(format!("failed to open the log: {error}"))),
    };
    let start = match options.tail {
        None => Ok(0),
        Some(lines) => tail_offset(&mut file, lines).await,
    };
    let start = start.map_err(|error| Status::internal(format!("failed to read the log: {error}")))?;
    file.seek(SeekFrom::Start(start))
        .await
        .map_err(|error| Status::internal(format!("failed to read the log: {error}")))?;
    let (sender, receiver) = mpsc::channel(16);
    let reader = Reader { path, worker, id: container.id, printer: Printer::new(&options), sender };
    let follow = options.follow && container.state == State::Running;
    kubelet.tasks.spawn_until_stopped("log reader", async move {
        if let Err(error) = reader.run(file, follow).await {
            tracing::debug!("failed to read a log: {error}; the client sees a short one");
        }
    });
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver)
        .map(|bytes: Bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    let mut response = typed(StatusCode::OK, "text/plain", Bytes::new());
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    Ok(response)
}

struct Reader {
    path: PathBuf,
    worker: Arc<Worker>,
    id: String,
    printer: Printer,
    sender: mpsc::Sender<Bytes>,
}

impl Reader {
    fn is_running(&self) -> bool {
        let runtime = self.worker.runtime();
        runtime.is_some_and(|r| r.containers.iter().any(|c| c.id == self.id && c.state == State::Running))
    }

    /// Sends what is in the file from here on; `rest` keeps a line whose end is not written yet. Returns whether
    /// anyone still wants more.
    async fn drain(&mut self, file: &mut BufReader<File>, rest: &mut Vec<u8>) -> std::io::Result<bool> {
        let mut out = Vec::new();
        loop {
            let read = (&mut *file).take(MAX_LINE).read_until(b'\n', rest).await?;
            let complete = rest.last() == Some(&b'\n');
            if complete || rest.len() as u64 >= MAX_LINE {
                let line = std::mem::take(rest);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                match self.printer.print(line) {
                    Some(printed) => out.extend(printed),
                    None => return Ok(false),
                }
            }
            let done = read == 0 || self.printer.is_full();
            if !out.is_empty()
                && (done || out.len() >= 32 * 1024)
                && self.sender.send(std::mem::take(&mut out).into()).await.is_err()
            {
                return Ok(false);
            }
            if done {
                return Ok(!self.printer.is_full());
            }
        }
    }

    async fn run(mut self, file: File, follow: bool) -> std::io::Result<()> {
        // Watching begins before reading, so that nothing written in between is missed.
        let mut watcher = if follow { Some(Watcher::new(&self.path)?) } else { None };
        let mut changes = self.worker.runtime_changes();
        let mut file = BufReader::new(file);
        let mut rest = Vec::new();
        loop {
            let running = self.is_running();
            if !self.drain(&mut file, &mut rest).await? {
                return Ok(());
            }
            let Some(watcher) = watcher.as_mut().filter(|_| running) else { return Ok(()) };
            tokio::select! {
                event = watcher.next() => if event?.replaced {
                    // Rotated: the rest of the old file was read, the new one begins.
                    self.drain(&mut file, &mut rest).await?;
                    file = BufReader::new(File::open(&self.path).await?);
                },
                _ = changes.changed() => {}
                () = self.sender.closed() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(options: &Options, lines: &[&str]) -> String {
        let mut printer = Printer::new(options);
        let parts = lines.iter().map_while(|line| printer.print(line.as_bytes()));
        String::from_utf8(parts.flatten().collect()).unwrap()
    }

    const LINES: &[&str] = &[
        "2026-01-01T00:00:00.5Z stdout F one",
        "2026-01-01T00:00:01.5Z stderr P two",
        "2026-01-01T00:00:02.5Z stderr F  more",
        "nonsense",
    ];

    #[test]
    fn lines_are_joined_filtered_and_cut() {
        assert_eq!(print(&Options::default(), LINES), "one\ntwo more\n");
        let options = Options { timestamps: true, ..Options::default() };
        assert_eq!(print(&options, LINES), "2026-01-01T00:00:00.5Z one\n2026-01-01T00:00:01.5Z two more\n");
        let options = Options { since: Some("2026-01-01T00:00:01Z".parse().unwrap()), ..Options::default() };
        assert_eq!(print(&options, LINES), "two more\n");
        let options = Options { limit: Some(6), ..Options::default() };
        assert_eq!(print(&options, LINES), "one\ntw");
        let options = Options { tail: Some(1), ..Options::default() };
        assert_eq!(print(&options, LINES), "one\n");
        let options = Options { follow: true, ..options };
        assert_eq!(print(&options, LINES), "one\ntwo more\n");
        let options = Options { stream: Some("stdout".to_owned()), ..Options::default() };
        assert_eq!(print(&options, LINES), "one\n");
    }

    #[tokio::test]
    async fn the_tail_begins_at_a_line() {
        let path = std::env::temp_dir().join(format!("windlass-tail-{}", std::process::id()));
        for (content, lines, want) in [
            ("a\nb\nc\n", 1, 4),
            ("a\nb\nc\n", 2, 2),
            ("a\nb\nc\n", 9, 0),
            ("a\nb", 1, 2),
            ("a\n", 0, 2),
            ("", 3, 0),
        ] {
            tokio::fs::write(&path, content).await.unwrap();
            let mut file = File::open(&path).await.unwrap();
            assert_eq!(tail_offset(&mut file, lines).await.unwrap(), want, "{content:?} {lines}");
        }
        tokio::fs::remove_file(&path).await.unwrap();
    }
}
