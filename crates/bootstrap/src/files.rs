//! Small files that must survive power loss: written beside, flushed, renamed over, directory flushed.

use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a text file; the error names it.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Makes a directory and its parents, readable by root only where it is new.
pub fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("failed to make the directory {}", path.display()))
}

/// Replaces a file that only root may read (mode 0600).
pub fn write_private(path: &Path, data: &[u8]) -> Result<()> {
    replace(path, data, 0o600)
}

/// Replaces a file that everyone may read (mode 0644).
pub fn write_public(path: &Path, data: &[u8]) -> Result<()> {
    replace(path, data, 0o644)
}

fn replace(path: &Path, data: &[u8], mode: u32) -> Result<()> {
    let parent = path.parent().with_context(|| format!("{} has no directory", path.display()))?;
    make_dir(parent)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let write = || -> std::io::Result<()> {
        // A leftover of a dead run may have another mode.
        match fs::remove_file(beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
        file.write_all(data)?;
        file.sync_all()?;
        fs::rename(beside, path)?;
        File::open(parent)?.sync_all()
    };
    write().with_context(|| format!("failed to write {}; is the disk full or read-only?", path.display()))
}
