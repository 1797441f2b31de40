//! `local-path`: makes and removes the directory of one volume, in a helper pod on the node that has it.
//!
//! The provisioner in the controller manager starts these pods. Deliberately absent: choosing nodes, and the API.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Flags of `windlass local-path`.
#[derive(Args, Clone, Debug)]
pub struct LocalPathOptions {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand, Clone, Debug)]
enum Work {
    /// Make the directory, open to every user
    Make {
        /// The directory; the one above must exist
        directory: PathBuf,
    },
    /// Remove the directory and all that is in it
    Remove {
        /// The directory
        directory: PathBuf,
    },
}

/// Does the work; doing it again changes nothing.
pub fn run(options: &LocalPathOptions) -> Result<()> {
    match &options.work {
        Work::Make { directory } => make(directory),
        Work::Remove { directory } => remove(directory),
    }
}

fn make(directory: &Path) -> Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("failed to make {}", directory.display()));
        }
        _ => {}
    }
    if !fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir()) {
        bail!("{} is there and is no directory; remove it", directory.display());
    }
    // Whoever the pod runs as must be able to write, and the umask takes that away from new directories.
    fs::set_permissions(directory, Permissions::from_mode(0o777))
        .with_context(|| format!("failed to open {} to every user", directory.display()))
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_can_be_done_again() {
        let root = std::env::temp_dir().join(format!("windlass-local-path-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let directory = root.join("pvc-1");
        for _ in 0..2 {
            make(&directory).unwrap();
            assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o777);
        }
        fs::write(directory.join("data"), "kept by nobody").unwrap();
        std::os::unix::fs::symlink(&root, directory.join("up")).unwrap();
        for _ in 0..2 {
            remove(&directory).unwrap();
            assert!(!directory.exists() && root.exists());
        }
        fs::write(&directory, "").unwrap();
        assert!(make(&directory).unwrap_err().to_string().contains("no directory"));
        fs::remove_dir_all(&root).unwrap();
    }
}
