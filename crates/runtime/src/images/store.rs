//! [`Store`]: what images this node has, by id, name and digest, and their layers on disk.
//!
//! ```text
//! <root>/images/<hex>.json   one record for each image, named by its configuration's digest
//! <root>/blobs/<hex>         configurations
//! <root>/layers/<name>/      unpacked layers, <name>.json what they are
//! <root>/ingest/             unfinished; emptied at start, except partial downloads
//! ```

use super::digest::{Digest, short_name};
use super::unpack::Unpacked;
use super::{ImageConfig, ImageError, Limits, Name};
use linux::Context;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An image of this node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<Digest>,
    /// Bytes to download or store, compressed as it came.
    pub size: u64,
    /// Names with a tag.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Names with a digest of the manifest.
    #[serde(default)]
    pub digests: BTreeSet<String>,
    /// Whether it should survive a clean-up of unused images.
    #[serde(default)]
    pub pinned: bool,
}

/// An unpacked layer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// The digest of its uncompressed content.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub bytes: u64,
    /// How many files.
    pub entries: u64,
}

/// What images take on disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Bytes of files.
    pub bytes: u64,
    /// Files.
    pub inodes: u64,
}

/// See the module. Clones share one store. Methods that touch the disk block: call them off async threads.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    /// One unpacking of a layer at a time.
    unpacking: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    temporary: AtomicU64,
    /// One change of images at a time, from memory to disk: records must be written in the order of their changes.
    /// Only ever taken on threads that may block.
    changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<Digest, Image>,
    layers: BTreeMap<Digest, Layer>,
    /// Layers that something under way needs, counted.
    leases: BTreeMap<Digest, usize>,
}

/// Keeps layers from being collected while an image is being put together or a container made.
#[derive(Debug)]
pub(crate) struct Lease {
    inner: Arc<Inner>,
    layers: Vec<Digest>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        for layer in &self.layers {
            if let Some(count) = state.leases.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.leases.remove(layer);
                }
            }
        }
    }
}

impl Store {
    /// Opens the store in `root`, making it where missing. Records that cannot be read are put aside, not fatal.
    pub fn open(root: &Path, limits: Limits) -> Result<Self, ImageError> {
        for dir in ["images", "blobs", "layers", "ingest"] {
            let path = root.join(dir);
            fs::create_dir_all(&path).context(|| format!("make {}", path.display()))?;
        }
        let mut state = State::default();
        for layer in records::<Layer>(&root.join("layers"))? {
            if root.join("layers").join(short_name(&layer.diff_id)).is_dir() {
                state.layers.insert(layer.diff_id.clone(), layer);
            }
        }
        for image in records::<Image>(&root.join("images"))? {
            let complete = image.layers.iter().all(|layer| state.layers.contains_key(layer));
            if complete && root.join("blobs").join(image.id.hex()).is_file() {
                state.images.insert(image.id.clone(), image);
            } else {
                tracing::warn!(image = %image.id, "an image is incomplete on disk and forgotten; it will be pulled again");
            }
        }
        let store = Self {
            inner: Arc::new(Inner {
                root: root.to_owned(),
                limits,
                state: Mutex::new(state),
                unpacking: Mutex::new(HashMap::new()),
                temporary: AtomicU64::new(0),
                changing: Mutex::new(()),
            }),
        };
        store.clear_ingest()?;
        Ok(store)
    }

    // What a dead process left half-done. Partial downloads are worth keeping: the next pull goes on with them.
    fn clear_ingest(&self) -> Result<(), ImageError> {
        let ingest = self.inner.root.join("ingest");
        for entry in fs::read_dir(&ingest).context(|| format!("list {}", ingest.display()))? {
            let path = entry.context(|| format!("list {}", ingest.display()))?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).context(|| format!("remove {}", path.display()))?;
            } else if path.extension().is_none_or(|extension| extension != "partial") {
                fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The directory of unpacked layers.
    pub fn layers_dir(&self) -> PathBuf {
        self.inner.root.join("layers")
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The directory names of an image's layers, topmost first.
    pub fn lower(image: &Image) -> Vec<String> {
        image.layers.iter().rev().map(short_name).collect()
    }

    /// All images.
    pub fn list(&self) -> Vec<Image> {
        self.inner.state.lock().images.values().cloned().collect()
    }

    /// The image known as `text`: an id (with or without `sha256:`, or its first digits), a name, or a name with a
    /// digest.
    pub fn find(&self, text: &str) -> Option<Image> {
        let state = self.inner.state.lock();
        let bare = text.strip_prefix("sha256:").unwrap_or(text);
        if bare.len() >= 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut found = state.images.values().filter(|image| image.id.hex().starts_with(bare));
            if let (Some(image), None) = (found.next(), found.next()) {
                return Some(image.clone());
            }
        }
        let name = Name::parse(text).ok()?;
        let (tagged, pinned) = (name.tagged(), name.pinned());
        state
            .images
            .values()
            .find(|image| {
                tagged.as_ref().is_some_and(|tag| image.tags.contains(tag))
                    || pinned.as_ref().is_some_and(|digest| image.digests.contains(digest))
            })
            .cloned()
    }

    /// An image's configuration.
    pub fn config(&self, image: &Image) -> Result<ImageConfig, ImageError> {
        let path = self.blob_path(&image.id);
        let text = fs::read(&path).context(|| format!("read {}", path.display()))?;
        ImageConfig::parse(&text)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs").join(digest.hex())
    }

    /// What all layers take on disk.
    pub fn usage(&self) -> Usage {
        let state = self.inner.state.lock();
        state.layers.values().fold(Usage::default(), |sum, layer| Usage {
            bytes: sum.bytes + layer.bytes,
            inodes: sum.inodes + layer.entries,
        })
    }

    /// Keeps these layers until the lease is dropped, whether they are here yet or not.
    pub(crate) fn lease(&self, layers: &[Digest]) -> Lease {
        let mut state = self.inner.state.lock();
        for layer in layers {
            *state.leases.entry(layer.clone()).or_default() += 1;
        }
        Lease { inner: self.inner.clone(), layers: layers.to_vec() }
    }

    /// Whether a layer is unpacked here.
    pub(super) fn has_layer(&self, diff_id: &Digest) -> bool {
        self.inner.state.lock().layers.contains_key(diff_id)
    }

    /// The lock under which a layer is fetched and unpacked.
    pub(super) fn layer_lock(&self, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut unpacking = self.inner.unpacking.lock();
        unpacking.retain(|_, lock| Arc::strong_count(lock) > 1);
        unpacking.entry(diff_id.clone()).or_default().clone()
    }

    /// A path for something unfinished.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        let number = self.inner.temporary.fetch_add(1, Ordering::Relaxed);
        self.inner.root.join("ingest").join(format!("{name}-{number}"))
    }

    /// Where a partial download of `digest` is kept.
    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("ingest").join(format!("{}.partial", digest.hex()))
    }

    /// Unpacks a layer, unless it is here. `diff_id` is what its uncompressed content must have as digest.
    pub(super) fn add_layer(&self, diff_id: &Digest, stream: impl Read) -> Result<(), ImageError> {
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let fresh = self.temporary("layer");
        let done = self.unpack_to(&fresh, diff_id, stream);
        if done.is_err() {
            // The first error counts.
            let _ = fs::remove_dir_all(&fresh);
        }
        done
    }

    fn unpack_to(&self, fresh: &Path, diff_id: &Digest, stream: impl Read) -> Result<(), ImageError> {
        fs::create_dir(fresh).context(|| format!("make {}", fresh.display()))?;
        let (digest, done) = super::unpack::unpack(stream, fresh, self.inner.limits)?;
        if digest != *diff_id {
            return Err(ImageError::broken(
                "a layer",
                format!("its content has digest {digest}, not {diff_id}"),
            ));
        }
        self.place_layer(fresh, diff_id, done)
    }

    /// Makes a finished directory a layer.
    pub(super) fn place_layer(
        &self,
        fresh: &Path,
        diff_id: &Digest,
        done: Unpacked,
    ) -> Result<(), ImageError> {
        let target = self.layers_dir().join(short_name(diff_id));
        // Left by a process that died between the two renames below.
        let _ = fs::remove_dir_all(&target);
        sync_filesystem(&self.layers_dir())?;
        fs::rename(fresh, &target).context(|| format!("move a layer to {}", target.display()))?;
        let layer = Layer { diff_id: diff_id.clone(), bytes: done.bytes, entries: done.entries };
        self.save(&self.layers_dir(), &short_name(diff_id), &layer)?;
        self.inner.state.lock().layers.insert(diff_id.clone(), layer);
        Ok(())
    }

    /// Adds an image whose layers are all here, with names that move to it from whatever had them. Returns it as it
    /// is now.
    pub(super) fn add_image(
        &self,
        config: &[u8],
        size: u64,
        names: &[Name],
        manifest: Option<&Digest>,
        pinned: bool,
    ) -> Result<Image, ImageError> {
        let id = Digest::of(config);
        let layers = ImageConfig::parse(config)?.rootfs.diff_ids;
        if let Some(missing) = layers.iter().find(|layer| !self.has_layer(layer)) {
            return Err(ImageError::broken("the image", format!("layer {missing} is missing")));
        }
        let _only = self.inner.changing.lock();
        let blob = self.blob_path(&id);
        write_durably(&blob, config)?;
        let tags: BTreeSet<String> = names.iter().filter_map(Name::tagged).collect();
        let digests: BTreeSet<String> = manifest
            .into_iter()
            .flat_map(|digest| names.iter().map(move |name| format!("{}@{digest}", name.repository())))
            .collect();
        let mut image = Image { id: id.clone(), layers, size, tags: BTreeSet::new(), digests, pinned };
        let (image, losers) = {
            let mut state = self.inner.state.lock();
            let mut losers = Vec::new();
            for other in state.images.values_mut().filter(|other| other.id != id) {
                let before = other.tags.len();
                other.tags.retain(|tag| !tags.contains(tag));
                if other.tags.len() != before {
                    losers.push(other.clone());
                }
            }
            if let Some(known) = state.images.get(&id) {
                image.tags.clone_from(&known.tags);
                image.digests.extend(known.digests.iter().cloned());
                image.pinned |= known.pinned;
            }
            image.tags.extend(tags);
            state.images.insert(id, image.clone());
            (image, losers)
        };
        for changed in losers.iter().chain([&image]) {
            self.save(&self.inner.root.join("images"), changed.id.hex(), changed)?;
        }
        Ok(image)
    }

    /// Removes an image with all its names. Not there is not an error. Layers go when nothing needs them.
    pub fn remove(&self, text: &str, in_use: &[String]) -> Result<(), ImageError> {
        let _only = self.inner.changing.lock();
        let Some(image) = self.find(text) else { return Ok(()) };
        let record = self.inner.root.join("images").join(format!("{}.json", image.id.hex()));
        fs::remove_file(&record).context(|| format!("remove {}", record.display()))?;
        self.inner.state.lock().images.remove(&image.id);
        let _ = fs::remove_file(self.blob_path(&image.id));
        self.collect_unused(in_use)
    }

    /// Removes layers that no image, no lease and none of the layer names `in_use` (of containers) needs.
    pub fn collect(&self, in_use: &[String]) -> Result<(), ImageError> {
        let _only = self.inner.changing.lock();
        self.collect_unused(in_use)
    }

    fn collect_unused(&self, in_use: &[String]) -> Result<(), ImageError> {
        let unused: Vec<Digest> = {
            let mut state = self.inner.state.lock();
            let needed: BTreeSet<Digest> =
                state.images.values().flat_map(|image| image.layers.iter().cloned()).collect();
            let unused: Vec<Digest> = state
                .layers
                .keys()
                .filter(|layer| !needed.contains(*layer) && !state.leases.contains_key(*layer))
                .filter(|layer| !in_use.contains(&short_name(layer)))
                .cloned()
                .collect();
            for layer in &unused {
                state.layers.remove(layer);
            }
            unused
        };
        for layer in unused {
            let name = short_name(&layer);
            let (dir, trash) = (self.layers_dir().join(&name), self.temporary("trash"));
            let _ = fs::remove_file(self.layers_dir().join(format!("{name}.json")));
            fs::rename(&dir, &trash).context(|| format!("remove {}", dir.display()))?;
            fs::remove_dir_all(&trash).context(|| format!("remove {}", trash.display()))?;
        }
        Ok(())
    }

    fn save<T: Serialize>(&self, dir: &Path, name: &str, record: &T) -> Result<(), ImageError> {
        let path = dir.join(format!("{name}.json"));
        let text = serde_json::to_vec(record)
            .map_err(std::io::Error::from)
            .context(|| format!("write {}", path.display()))?;
        write_durably(&path, &text)
    }
}

fn records<T: for<'de> Deserialize<'de>>(dir: &Path) -> Result<Vec<T>, ImageError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).context(|| format!("list {}", dir.display()))? {
        let path = entry.context(|| format!("list {}", dir.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).context(|| format!("read {}", path.display()))?;
        match serde_json::from_slice(&text) {
            Ok(record) => found.push(record),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a damaged record is put aside; what it described will be fetched again");
                let _ = fs::rename(&path, path.with_extension("damaged"));
            }
        }
    }
    Ok(found)
}

// One call for a layer's thousands of files.
fn sync_filesystem(dir: &Path) -> Result<(), ImageError> {
    let what = || format!("write {} to disk", dir.display());
    let open = fs::File::open(dir).context(what)?;
    rustix::fs::syncfs(&open).context(what)?;
    Ok(())
}

/// Replaces a file such that after a loss of power there is the old content or the new.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<(), ImageError> {
    let what = || format!("write {}", path.display());
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh).context(what)?;
    file.write_all(content).context(what)?;
    file.sync_all().context(what)?;
    fs::rename(&fresh, path).context(what)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).context(what)?;
    Ok(())
}
