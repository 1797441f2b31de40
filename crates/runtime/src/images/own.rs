//! The running program as an image, so that add-ons are ordinary pods without a registry: one layer with
//! `/windlass`, and the shared libraries it was linked with, if any.

use super::digest::Digest;
use super::store::Store;
use super::unpack::Unpacked;
use super::{Image, ImageError, Name};
use linux::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// What tells one build of the program from another without reading it.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    version: String,
    image: Option<Digest>,
}

impl Store {
    /// Imports the running program as `windlass.local/windlass:<version>`, its entry point `/windlass`. When this
    /// build was imported before, that costs one look at its file. Blocks: call off async threads.
    pub fn import_self(&self, version: &str) -> Result<Image, ImageError> {
        let name = Name::parse(&format!("windlass.local/windlass:{version}"))?;
        let program = PathBuf::from("/proc/self/exe");
        let status = fs::metadata(&program).context(|| "look at /proc/self/exe".to_owned())?;
        let mut print = Fingerprint {
            device: status.dev(),
            inode: status.ino(),
            size: status.size(),
            modified: (status.mtime(), status.mtime_nsec()),
            // Not the time of change: the hard link made below changes that of the program itself.
            version: version.to_owned(),
            image: None,
        };
        let file = self.root().join("own.json");
        if let Some(image) = self.known(&file, &print, &name) {
            return Ok(image);
        }
        let fresh = self.temporary("own");
        fs::create_dir(&fresh).context(|| format!("make {}", fresh.display()))?;
        let (diff_id, done) = build(&program, &fresh)?;
        if self.has_layer(&diff_id) {
            let _ = fs::remove_dir_all(&fresh);
        } else {
            self.place_layer(&fresh, &diff_id, done)?;
        }
        let image = self.add_image(&configuration(&diff_id), done.bytes, &[name], None, true)?;
        print.image = Some(image.id.clone());
        let text = serde_json::to_vec(&print)
            .map_err(std::io::Error::from)
            .context(|| format!("write {}", file.display()))?;
        super::store::write_durably(&file, &text)?;
        Ok(image)
    }

    fn known(&self, file: &Path, print: &Fingerprint, name: &Name) -> Option<Image> {
        let mut known: Fingerprint = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let id = known.image.take()?;
        let image = self.find(id.as_str())?;
        (known == *print && image.tags.contains(&name.tagged()?)).then_some(image)
    }
}

fn configuration(layer: &Digest) -> Vec<u8> {
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/";
    let config = serde_json::json!({
        "architecture": arch,
        "os": "linux",
        "config": {"Entrypoint": ["/windlass"], "Env": [path], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    });
    config.to_string().into_bytes()
}

// The layer's digest is that of a list of its files and their digests: the same for the same files, and cheaper
// than writing a tar only to hash it.
fn build(program: &Path, target: &Path) -> Result<(Digest, Unpacked), ImageError> {
    let mut files = vec![(program.to_owned(), PathBuf::from("windlass"))];
    for library in libraries()? {
        let inside = library.strip_prefix("/").unwrap_or(&library).to_owned();
        files.push((library, inside));
    }
    let mut list = String::new();
    let mut done = Unpacked::default();
    for (from, inside) in &files {
        let to = target.join(inside);
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir).context(|| format!("make {}", dir.display()))?;
        }
        // A link shares disk and page cache with the program that runs on the node.
        let real = fs::canonicalize(from).context(|| format!("find {}", from.display()))?;
        if fs::hard_link(&real, &to).is_err() {
            fs::copy(from, &to).context(|| format!("copy {} into an image", real.display()))?;
        }
        let file = fs::File::open(&to).context(|| format!("read {}", to.display()))?;
        let mut hashing = super::digest::Hashing::new(file);
        std::io::copy(&mut hashing, &mut std::io::sink()).context(|| format!("read {}", to.display()))?;
        let (_, digest, length) = hashing.finish();
        list.push_str(&format!("{}\t{digest}\n", inside.display()));
        done.bytes += length;
        done.entries += 1;
        aliases(&real, inside, target, &mut list)?;
    }
    loader(target, &mut list)?;
    for dir in ["dev", "etc", "proc", "sys", "tmp", "var"] {
        fs::create_dir_all(target.join(dir)).context(|| format!("make /{dir} of an image"))?;
    }
    Ok((Digest::of(list.as_bytes()), done))
}

/// Shared libraries mapped into this process, the loader among them; none when it is linked statically.
fn libraries() -> Result<BTreeSet<PathBuf>, ImageError> {
    let maps = fs::read_to_string("/proc/self/maps").context(|| "read /proc/self/maps".to_owned())?;
    let shared = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or("");
        path.starts_with('/') && (name.ends_with(".so") || name.contains(".so."))
    };
    Ok(maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .filter(shared)
        .map(PathBuf::from)
        .collect())
}

// Names beside a library that lead to it (libc.so.6 to libc-2.31.so): programs ask for those.
fn aliases(real: &Path, inside: &Path, target: &Path, list: &mut String) -> Result<(), ImageError> {
    let (Some(dir), Some(file), Some(to)) = (real.parent(), real.file_name(), inside.parent()) else {
        return Ok(());
    };
    if !file.to_string_lossy().contains(".so") {
        return Ok(());
    }
    let entries = fs::read_dir(dir).context(|| format!("list {}", dir.display()))?;
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())) {
        if fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(file)) {
            let name = to.join(entry.file_name());
            let _ = symlink(file, target.join(&name));
            list.push_str(&format!("{}\t-> {}\n", name.display(), file.display()));
        }
    }
    Ok(())
}

// The loader's path is written into programs; it is a link on most systems.
fn loader(target: &Path, list: &mut String) -> Result<(), ImageError> {
    let path =
        if cfg!(target_arch = "x86_64") { "lib64/ld-linux-x86-64.so.2" } else { "lib/ld-linux-aarch64.so.1" };
    let (host, inside) = (Path::new("/").join(path), target.join(path));
    if fs::symlink_metadata(&inside).is_ok() || !target.join("usr").exists() && !target.join("lib").exists() {
        return Ok(());
    }
    let Ok(real) = fs::canonicalize(&host) else { return Ok(()) };
    if let Some(dir) = inside.parent() {
        fs::create_dir_all(dir).context(|| format!("make {}", dir.display()))?;
    }
    symlink(&real, &inside).context(|| format!("link {}", inside.display()))?;
    list.push_str(&format!("{path}\t-> {}\n", real.display()));
    // The default search path has /lib, which holds nothing here but is a link to usr/lib on merged systems.
    for (name, to) in [("lib", "usr/lib")] {
        if fs::symlink_metadata(target.join(name)).is_err() {
            symlink(to, target.join(name)).context(|| format!("link /{name} of an image"))?;
            list.push_str(&format!("{name}\t-> {to}\n"));
        }
    }
    Ok(())
}
