//! Audit events to a file or to standard output, a line each, with rotation.
//!
//! Rotated files are named as upstream names them: `audit-2026-01-02T15-04-05.000.log`.

use super::event::{Event, timestamp};
use super::sink::Backend;
use async_trait::async_trait;
use component::SharedClock;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where events are written to, and how much of them is kept.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Whether lines are JSON; else they are in the older format of upstream.
    pub json: bool,
    /// Days that rotated files are kept; 0 keeps them.
    pub max_age: u64,
    /// Rotated files that are kept; 0 keeps all.
    pub max_backups: usize,
    /// Megabytes after which a file is rotated; 0 is 100.
    pub max_size: u64,
    /// Whether rotated files are compressed.
    pub compress: bool,
}

struct Open {
    file: File,
    size: u64,
}

/// The backend.
pub(super) struct Log {
    settings: LogFile,
    clock: SharedClock,
    open: Arc<Mutex<Option<Open>>>,
}

impl Log {
    /// Opens the file. Fails when it cannot be written.
    pub(super) fn open(settings: LogFile, clock: SharedClock) -> io::Result<Self> {
        let open = if settings.path.as_os_str() == "-" { None } else { Some(open(&settings.path)?) };
        Ok(Self { settings, clock, open: Arc::new(Mutex::new(open)) })
    }
}

fn open(path: &Path) -> io::Result<Open> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok(Open { file, size })
}

#[async_trait]
impl Backend for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn write(&self, events: &[Arc<Event>]) -> Result<(), String> {
        let mut lines = Vec::new();
        for event in events {
            if self.settings.json {
                lines.extend_from_slice(event.json());
            } else {
                lines.extend_from_slice(event.legacy().as_bytes());
            }
            lines.push(b'\n');
        }
        let (open, settings, now) = (self.open.clone(), self.settings.clone(), self.clock.now());
        let writing = tokio::task::spawn_blocking(move || append(&open, &settings, &lines, now));
        let path = self.settings.path.display();
        match writing.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(format!("failed to write {path}: {error}; check its directory and free space"))
            }
            Err(error) => Err(format!("failed to write {path}: {error}")),
        }
    }
}

fn append(to: &Mutex<Option<Open>>, settings: &LogFile, lines: &[u8], now: SystemTime) -> io::Result<()> {
    // Held over the write: there is one writer, and lines must not mix.
    let mut guard = to.lock();
    let Some(open) = guard.as_mut() else {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        return out.flush();
    };
    let limit = if settings.max_size == 0 { 100 } else { settings.max_size } * 1024 * 1024;
    if open.size > 0 && open.size + lines.len() as u64 > limit {
        *open = rotate(settings, now)?;
    }
    open.file.write_all(lines)?;
    open.size += lines.len() as u64;
    Ok(())
}

fn rotate(settings: &LogFile, now: SystemTime) -> io::Result<Open> {
    let path = &settings.path;
    let stamp = timestamp(now).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H-%M-%S").to_string();
    let millis = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_millis();
    let (stem, end) = name_parts(path);
    let old = path.with_file_name(format!("{stem}-{stamp}.{millis:03}{end}"));
    std::fs::rename(path, &old)?;
    let fresh = open(path)?;
    if settings.compress {
        compress(&old)?;
    }
    tidy(settings, now)?;
    Ok(fresh)
}

fn name_parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let end = path.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
    (text(path.file_stem()), end)
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let out = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&name)?;
    let mut out = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut out)?;
    out.finish()?.sync_all()?;
    std::fs::remove_file(path)
}

/// Removes rotated files that are too many or too old.
fn tidy(settings: &LogFile, now: SystemTime) -> io::Result<()> {
    let directory = settings.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (stem, end) = name_parts(&settings.path);
    let mut old: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest =
            name.strip_prefix(&format!("{stem}-")).map(|rest| rest.strip_suffix(".gz").unwrap_or(rest));
        // 2026-01-02T15-04-05.000
        if let Some(stamp) = rest.and_then(|rest| rest.strip_suffix(&end)).filter(|stamp| stamp.len() == 23) {
            old.push((stamp.to_owned(), entry.path()));
        }
    }
    old.sort_by(|a, b| b.0.cmp(&a.0));
    let oldest = (settings.max_age > 0)
        .then(|| now.checked_sub(Duration::from_secs(settings.max_age * 86_400)))
        .flatten()
        .and_then(timestamp)
        .map(|then| then.strftime("%Y-%m-%dT%H-%M-%S").to_string());
    for (at, (stamp, path)) in old.iter().enumerate() {
        let too_many = settings.max_backups > 0 && at >= settings.max_backups;
        let too_old = oldest.as_ref().is_some_and(|oldest| stamp < oldest);
        if too_many || too_old {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let settings = LogFile {
            path: path.clone(),
            json: true,
            max_age: 1,
            max_backups: 2,
            max_size: 1,
            compress: true,
        };
        let to = Mutex::new(Some(open(&path).unwrap()));
        let line = vec![b'x'; 700 * 1024];
        for day in 0..5 {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + day * 3600);
            append(&to, &settings, &line, now).unwrap();
        }
        let mut names: Vec<String> =
            std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(
            names,
            ["audit-1970-01-12T16-46-40.000.log.gz", "audit-1970-01-12T17-46-40.000.log.gz", "audit.log"]
        );
        append(&to, &settings, &line, SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000)).unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "the two were older than a day");
    }
}
