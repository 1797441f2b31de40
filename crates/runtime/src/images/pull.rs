//! Pulling images from registries (OCI distribution specification).
//!
//! Layers that are here already are not fetched; one that several pulls need is fetched once; a download that broke
//! off goes on where it stopped. Everything is checked against its digest before it counts.

use super::digest::{Digest, Hashing};
use super::hosts::Endpoint;
use super::metadata::{Descriptor, MAX_JSON, Manifest};
use super::{Image, ImageConfig, ImageError, Name, Registries, Store};
use futures::StreamExt;
use futures::future::BoxFuture;
use linux::Context;
use oci_client::Reference;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use std::io::Read;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How often a layer's download is taken up again after it broke off.
const RESUMES: usize = 5;

/// How long a registry may say nothing before the attempt counts as failed.
const SILENCE: Duration = Duration::from_secs(60);

const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Who asks.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// User and password.
    Basic(String, String),
    /// A token for the registry.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic(..) => "Basic(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

impl Credentials {
    fn auth(&self) -> RegistryAuth {
        match self {
            Self::Anonymous => RegistryAuth::Anonymous,
            Self::Basic(user, password) => RegistryAuth::Basic(user.clone(), password.clone()),
            Self::Bearer(token) => RegistryAuth::Bearer(token.clone()),
        }
    }
}

impl Store {
    /// Pulls `name`. The registry is asked even when the image is here: a tag may have moved.
    pub async fn pull(
        &self,
        name: &Name,
        credentials: &Credentials,
        registries: &Registries,
    ) -> Result<Image, ImageError> {
        let (client, place, bytes, digest) = connect(name, credentials, registries).await?;
        let puller = Puller { store: self, name, place, client };
        let mut manifest = Manifest::parse(&bytes)?;
        if !manifest.manifests.is_empty() {
            let here = manifest.here()?.clone();
            let bytes = puller.manifest(&here.digest).await?;
            manifest = Manifest::parse(&bytes)?;
        }
        puller.image(&manifest, &digest).await
    }
}

/// What a registry has answered: the client that knows it, where it was asked, the manifest and its digest.
type Answer = (oci_client::Client, Reference, Vec<u8>, Digest);

/// Asks one place after the other, mirrors first; what the last said counts.
async fn connect(
    name: &Name,
    credentials: &Credentials,
    registries: &Registries,
) -> Result<Answer, ImageError> {
    // The client takes the process's default; somebody else may have chosen it before, the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut last = None;
    for endpoint in registries.endpoints(name.registry())? {
        match ask(name, credentials, &endpoint).await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                tracing::debug!(host = endpoint.host, %error, "a registry did not give the image");
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| ImageError::NotFound(name.repository())))
}

async fn ask(name: &Name, credentials: &Credentials, endpoint: &Endpoint) -> Result<Answer, ImageError> {
    // Loopback registries may speak plain HTTP, as is the custom; others only where the user says so.
    let protocols: &[ClientProtocol] = match endpoint.tls {
        Some(true) => &[ClientProtocol::Https],
        Some(false) => &[ClientProtocol::Http],
        None => &[ClientProtocol::Https, ClientProtocol::Http],
    };
    let (mut place, mut auth) = (name.inner().clone(), credentials.auth());
    if endpoint.host != name.registry() {
        place.set_mirror_registry(endpoint.host.clone());
        // They were given for the registry and for nobody else.
        auth = RegistryAuth::Anonymous;
    }
    let mut last = None;
    for protocol in protocols {
        let config = ClientConfig {
            protocol: protocol.clone(),
            extra_root_certificates: endpoint.certificates()?,
            accept_invalid_certificates: endpoint.skip_verify,
            connect_timeout: Some(Duration::from_secs(30)),
            read_timeout: Some(SILENCE),
            user_agent: "windlass",
            ..ClientConfig::default()
        };
        let client = oci_client::Client::try_from(config).map_err(|error| failed(name, &error))?;
        // Several requests: who may ask, then what.
        let answer = tokio::time::timeout(SILENCE, client.pull_manifest_raw(&place, &auth, &MANIFESTS)).await;
        let answer = answer.unwrap_or_else(|_| {
            let why = format!("{} did not answer in {} s; is it well?", endpoint.host, SILENCE.as_secs());
            Err(OciDistributionError::GenericError(Some(format!("request timed out: {why}"))))
        });
        match answer {
            Ok((bytes, digest)) => {
                let bytes = bytes.to_vec();
                let found = Digest::of(&bytes);
                let wanted = name.digest().map_or_else(|| Digest::try_from(digest), Ok)?;
                if found != wanted {
                    return Err(ImageError::broken(
                        format!("manifest {wanted}"),
                        format!("its content has digest {found}"),
                    ));
                }
                return Ok((client, place, bytes, found));
            }
            Err(error @ OciDistributionError::RequestError(_)) => last = Some(failed(name, &error)),
            Err(error) => return Err(failed(name, &error)),
        }
    }
    Err(last.unwrap_or_else(|| ImageError::NotFound(name.repository())))
}

fn failed(name: &Name, error: &OciDistributionError) -> ImageError {
    let unauthorized = matches!(
        error,
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_)
    );
    let codes: &[_] = match error {
        OciDistributionError::RegistryError { envelope, .. } => &envelope.errors,
        _ => &[],
    };
    let says = |wanted: &[OciErrorCode]| codes.iter().any(|said| wanted.contains(&said.code));
    let unauthorized = unauthorized || says(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]);
    let absent = matches!(error, OciDistributionError::ImageManifestNotFoundError(_))
        || matches!(error, OciDistributionError::ServerError { code: 404, .. })
        || says(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]);
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let text = inner.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        source = inner.source();
    }
    let image = name.tagged().or_else(|| name.pinned()).unwrap_or_else(|| name.repository());
    if absent {
        why = format!("{image}: not found");
    }
    ImageError::Pull { image, why, unauthorized, absent }
}

struct Puller<'a> {
    store: &'a Store,
    name: &'a Name,
    /// The name at the place that has answered.
    place: Reference,
    client: oci_client::Client,
}

impl Puller<'_> {
    async fn manifest(&self, wanted: &Digest) -> Result<Vec<u8>, ImageError> {
        let reference = self.place.clone_with_digest(wanted.as_str().to_owned());
        let pulled = self.client.pull_manifest_raw(&reference, &RegistryAuth::Anonymous, &MANIFESTS).await;
        let (bytes, _) = pulled.map_err(|error| failed(self.name, &error))?;
        let found = Digest::of(&bytes);
        if found != *wanted {
            return Err(ImageError::broken(
                format!("manifest {wanted}"),
                format!("its content has digest {found}"),
            ));
        }
        Ok(bytes.to_vec())
    }

    async fn image(&self, manifest: &Manifest, digest: &Digest) -> Result<Image, ImageError> {
        let described = manifest
            .config
            .as_ref()
            .ok_or_else(|| ImageError::broken("the manifest", "it names no configuration"))?;
        let config = self.configuration(described).await?;
        let diff_ids = ImageConfig::parse(&config)?.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(ImageError::broken(
                "the image",
                "its configuration lists other layers than its manifest",
            ));
        }
        let _lease = self.store.lease(&diff_ids);
        let mut fetches: Vec<BoxFuture<'_, Result<(), ImageError>>> = Vec::new();
        for (diff_id, layer) in diff_ids.iter().zip(&manifest.layers) {
            fetches.push(Box::pin(self.layer(diff_id, layer)));
        }
        let mut running = futures::stream::iter(fetches).buffer_unordered(3);
        while let Some(done) = running.next().await {
            done?;
        }
        let size = manifest.layers.iter().fold(described.size, |sum, layer| sum.saturating_add(layer.size));
        let (store, names, digest) = (self.store.clone(), vec![self.name.clone()], digest.clone());
        blocking(move || store.add_image(&config, size, &names, Some(&digest), false)).await
    }

    async fn configuration(&self, described: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if described.size > MAX_JSON {
            return Err(ImageError::broken(
                "the configuration",
                format!("it is larger than {MAX_JSON} bytes"),
            ));
        }
        let mut stream = self
            .client
            .pull_blob_stream(&self.place, described.digest.as_str())
            .await
            .map_err(|error| failed(self.name, &error))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| failed(self.name, &error.into()))?);
            if bytes.len() as u64 > MAX_JSON {
                return Err(ImageError::broken(
                    "the configuration",
                    format!("it is larger than {MAX_JSON} bytes"),
                ));
            }
        }
        let found = Digest::of(&bytes);
        if found != described.digest {
            return Err(ImageError::broken(
                format!("blob {}", described.digest),
                format!("its content has digest {found}"),
            ));
        }
        Ok(bytes)
    }

    async fn layer(&self, diff_id: &Digest, layer: &Descriptor) -> Result<(), ImageError> {
        let lock = self.store.layer_lock(diff_id);
        let _only = lock.lock().await;
        if self.store.has_layer(diff_id) {
            return Ok(());
        }
        let path = self.store.partial(&layer.digest);
        let mut attempt = 0;
        while let Err(error) = self.download(layer, &path).await {
            attempt += 1;
            let again = matches!(&error, ImageError::Pull { unauthorized: false, absent: false, .. });
            if attempt > RESUMES || !again {
                return Err(error);
            }
            tracing::debug!(layer = %layer.digest, %error, "a download broke off and goes on");
        }
        let (store, diff_id, wanted) = (self.store.clone(), diff_id.clone(), layer.digest.clone());
        blocking(move || {
            let file = std::fs::File::open(&path).context(|| format!("open {}", path.display()))?;
            let mut hashing = Hashing::new(file);
            let done = store.add_layer(&diff_id, &mut hashing);
            // The digest of all of it, also of what the archive did not need; a wrong one explains any other error.
            let drained = std::io::copy(&mut hashing.by_ref(), &mut std::io::sink());
            let (_, found, _) = hashing.finish();
            std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
            drained.context(|| "read a layer".to_owned())?;
            if found != wanted {
                return Err(ImageError::broken(
                    format!("blob {wanted}"),
                    format!("its content has digest {found}"),
                ));
            }
            done
        })
        .await
    }

    // Goes on behind what is there already. The digest is checked when all of it is.
    async fn download(&self, layer: &Descriptor, path: &std::path::Path) -> Result<(), ImageError> {
        let what = || format!("write {}", path.display());
        let mut have = tokio::fs::metadata(path).await.map_or(0, |found| found.len());
        if have > layer.size {
            have = 0;
        } else if have == layer.size && have > 0 {
            return Ok(());
        }
        let pulled =
            self.client.pull_blob_stream_partial(&self.place, layer.digest.as_str(), have, None).await;
        let (mut stream, append) = match pulled.map_err(|error| failed(self.name, &error))? {
            BlobResponse::Full(stream) => (stream, false),
            BlobResponse::Partial(stream) => (stream, true),
        };
        if !append {
            have = 0;
        }
        let mut options = tokio::fs::OpenOptions::new();
        let options = options.create(true).write(true).append(append).truncate(!append);
        let mut file = options.open(path).await.context(what)?;
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    file.flush().await.context(what)?;
                    return Err(failed(self.name, &error.into()));
                }
            };
            have += chunk.len() as u64;
            if have > layer.size {
                let why = format!("it is larger than the {} bytes its manifest says", layer.size);
                return Err(ImageError::broken(format!("blob {}", layer.digest), why));
            }
            file.write_all(&chunk).await.context(what)?;
        }
        file.flush().await.context(what)?;
        if have < layer.size {
            let error = OciDistributionError::GenericError(Some(
                "the registry sent less than it announced".to_owned(),
            ));
            return Err(failed(self.name, &error));
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(ImageError::broken("an image", "the work on it was interrupted")))
}
