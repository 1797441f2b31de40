//! [`Disk`]: the few file operations that the engine needs, so that a test can own the disk.
//!
//! Names are plain file names inside one directory; there are no subdirectories, links or permissions here.
//! What a method promises after a crash is said at the method, and [`memory::MemDisk`] takes away everything
//! that is not promised.

pub mod memory;
pub mod real;

use std::io;

/// A directory.
pub trait Disk: Send + Sync {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates a file that must not exist. It survives a crash once [`Disk::sync_dir`] returned.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Renames atomically, replacing `to`. Survives a crash once [`Disk::sync_dir`] returned.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Survives a crash once [`Disk::sync_dir`] returned.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Takes the directory for this process; `None` when someone else has it. Dropping the guard gives it
    /// back.
    fn lock(&self) -> io::Result<Option<Box<dyn Send>>>;
    /// How messages call a file: its path.
    fn describe(&self, name: &str) -> String;
}

/// An open file. Positioned reads and writes only; one user at a time.
pub trait File: Send {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `data` at `offset`. After a crash any subset of its sectors may be there until
    /// [`File::sync`] returned.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&mut self) -> io::Result<()>;
}
