//! Importing images from a file: what `docker save` writes, and OCI image layouts in a tar, compressed or not.

use super::digest::{Digest, Hashing};
use super::metadata::{Descriptor, MAX_JSON, Manifest};
use super::{Image, ImageConfig, ImageError, Name, Store};
use linux::Context;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The most files an archive may contain: layers, configurations and little else.
const MAX_FILES: usize = 4096;

/// The annotations that name an image in an OCI layout, best first.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Imports every image of the archive at `path`. `name` names the image when the archive does not (or has just one).
/// Blocks: call off async threads.
pub fn import(store: &Store, path: &Path, name: Option<&Name>) -> Result<Vec<Image>, ImageError> {
    let file = File::open(path).context(|| format!("open image archive {}", path.display()))?;
    read(store, file, name).map_err(|error| match error {
        ImageError::Broken { what, why } => {
            ImageError::broken(format!("image archive {}", path.display()), format!("{what}: {why}"))
        }
        other => other,
    })
}

fn read(store: &Store, file: File, name: Option<&Name>) -> Result<Vec<Image>, ImageError> {
    let archive = Archive::open(store, file)?;
    if archive.files.contains_key("manifest.json") {
        return docker(store, &archive, name);
    }
    if archive.files.contains_key("index.json") {
        return layout(store, &archive, name);
    }
    let why = "it has neither manifest.json (docker save) nor index.json (OCI layout)";
    Err(ImageError::broken("its content", why))
}

/// An uncompressed archive that can be read at any place.
struct Archive {
    file: File,
    files: HashMap<String, Place>,
}

enum Place {
    Bytes {
        at: u64,
        length: u64,
    },
    /// The same as another name: `docker save` of old shared layers so.
    Link(String),
}

impl Archive {
    fn open(store: &Store, mut file: File) -> Result<Self, ImageError> {
        let broken = |error: std::io::Error| ImageError::broken("its tar", error);
        let mut head = [0; 4];
        let length = file.read(&mut head).map_err(broken)?;
        file.seek(SeekFrom::Start(0)).map_err(broken)?;
        if head[..length].starts_with(&[0x1f, 0x8b]) || head[..length] == [0x28, 0xb5, 0x2f, 0xfd] {
            file = expand(store, file)?;
        }
        let mut files = HashMap::new();
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = plain(&String::from_utf8_lossy(&entry.path_bytes()));
            let place = match entry.header().entry_type() {
                tar::EntryType::Regular => {
                    Place::Bytes { at: entry.raw_file_position(), length: entry.size() }
                }
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let to = entry.link_name_bytes().map(|to| String::from_utf8_lossy(&to).into_owned());
                    Place::Link(resolve(&name, &to.unwrap_or_default()))
                }
                _ => continue,
            };
            files.insert(name, place);
            if files.len() > MAX_FILES {
                return Err(ImageError::broken("its tar", format!("it has more than {MAX_FILES} files")));
            }
        }
        Ok(Self { file, files })
    }

    fn reader(&self, name: &str) -> Result<std::io::Take<File>, ImageError> {
        let mut name = plain(name);
        for _ in 0..8 {
            match self.files.get(&name) {
                Some(Place::Link(to)) => name.clone_from(to),
                Some(Place::Bytes { at, length }) => {
                    // Each reader with a position of its own.
                    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
                    let mut file = File::open(path).context(|| "read the image archive".to_owned())?;
                    file.seek(SeekFrom::Start(*at)).context(|| "read the image archive".to_owned())?;
                    return Ok(file.take(*length));
                }
                None => break,
            }
        }
        Err(ImageError::broken("its tar", format!("{name:?} is missing")))
    }

    fn json(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let reader = self.reader(name)?;
        if reader.limit() > MAX_JSON {
            return Err(ImageError::broken(name, format!("it is larger than {MAX_JSON} bytes")));
        }
        let mut text = Vec::new();
        let mut reader = reader;
        reader.read_to_end(&mut text).map_err(|error| ImageError::broken(name, error))?;
        Ok(text)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let bytes = self.json(&blob_name(&descriptor.digest))?;
        check(&Digest::of(&bytes), &descriptor.digest)?;
        Ok(bytes)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn check(found: &Digest, wanted: &Digest) -> Result<(), ImageError> {
    if found == wanted {
        return Ok(());
    }
    Err(ImageError::broken(format!("blob {wanted}"), format!("its content has digest {found}")))
}

// A seekable copy without a name, limited like a layer.
fn expand(store: &Store, file: File) -> Result<File, ImageError> {
    let path = store.temporary("archive");
    let mut copy = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .context(|| format!("make {}", path.display()))?;
    std::fs::remove_file(&path).context(|| format!("unlink {}", path.display()))?;
    let broken = |error: std::io::Error| ImageError::broken("its tar", error);
    let plain = super::unpack::decompress(file).map_err(broken)?;
    let limit = super::Limits::default().bytes;
    let copied = std::io::copy(&mut plain.take(limit), &mut copy).map_err(broken)?;
    if copied == limit {
        return Err(ImageError::broken("its tar", format!("it is larger than {limit} bytes")));
    }
    copy.seek(SeekFrom::Start(0)).map_err(broken)?;
    Ok(copy)
}

fn plain(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}

fn resolve(from: &str, to: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn docker(store: &Store, archive: &Archive, name: Option<&Name>) -> Result<Vec<Image>, ImageError> {
    let text = archive.json("manifest.json")?;
    let listed: Vec<DockerImage> =
        serde_json::from_slice(&text).map_err(|error| ImageError::broken("manifest.json", error))?;
    let alone = listed.len() == 1;
    let mut images = Vec::new();
    for image in listed {
        let config = archive.json(&image.config)?;
        let mut names = Vec::new();
        for tag in image.repo_tags.unwrap_or_default() {
            names.push(Name::parse(&tag)?);
        }
        if let Some(name) = name.filter(|_| alone) {
            names = vec![name.clone()];
        }
        let diff_ids = ImageConfig::parse(&config)?.rootfs.diff_ids;
        if diff_ids.len() != image.layers.len() {
            return Err(ImageError::broken(
                "the image",
                "its configuration lists other layers than its manifest",
            ));
        }
        let _lease = store.lease(&diff_ids);
        let mut size = config.len() as u64;
        for (diff_id, layer) in diff_ids.iter().zip(&image.layers) {
            let reader = archive.reader(layer)?;
            size += reader.limit();
            store.add_layer(diff_id, reader)?;
        }
        images.push(store.add_image(&config, size, &names, None, false)?);
    }
    Ok(images)
}

fn layout(store: &Store, archive: &Archive, name: Option<&Name>) -> Result<Vec<Image>, ImageError> {
    let index = Manifest::parse(&archive.json("index.json")?)?;
    let alone = index.manifests.len() == 1;
    let mut images = Vec::new();
    for entry in &index.manifests {
        let named = NAME_ANNOTATIONS.iter().find_map(|key| entry.annotations.get(*key));
        let names: Vec<Name> = match (name.filter(|_| alone), named) {
            (Some(name), _) => vec![name.clone()],
            // A bare tag ("latest") names nothing.
            (None, Some(text)) => {
                Name::parse(text).into_iter().filter(|_| text.contains(['/', ':'])).collect()
            }
            (None, None) => Vec::new(),
        };
        let mut digest = entry.digest.clone();
        let mut manifest = Manifest::parse(&archive.blob(entry)?)?;
        if !manifest.manifests.is_empty() {
            let here = manifest.here()?.clone();
            digest = here.digest.clone();
            manifest = Manifest::parse(&archive.blob(&here)?)?;
        }
        images.push(layout_image(store, archive, &manifest, &digest, &names)?);
    }
    Ok(images)
}

fn layout_image(
    store: &Store,
    archive: &Archive,
    manifest: &Manifest,
    digest: &Digest,
    names: &[Name],
) -> Result<Image, ImageError> {
    let described = manifest
        .config
        .as_ref()
        .ok_or_else(|| ImageError::broken("the manifest", "it names no configuration"))?;
    let config = archive.blob(described)?;
    let diff_ids = ImageConfig::parse(&config)?.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(ImageError::broken(
            "the image",
            "its configuration lists other layers than its manifest",
        ));
    }
    let _lease = store.lease(&diff_ids);
    let mut size = described.size;
    for (diff_id, layer) in diff_ids.iter().zip(&manifest.layers) {
        size = size.saturating_add(layer.size);
        if store.has_layer(diff_id) {
            continue;
        }
        let mut hashing = Hashing::new(archive.reader(&blob_name(&layer.digest))?);
        store.add_layer(diff_id, &mut hashing)?;
        std::io::copy(&mut hashing, &mut std::io::sink())
            .map_err(|error| ImageError::broken("a layer", error))?;
        check(&hashing.finish().1, &layer.digest)?;
    }
    store.add_image(&config, size, names, Some(digest), false)
}
