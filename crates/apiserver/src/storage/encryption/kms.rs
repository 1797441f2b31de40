//! KMS v2: a plugin behind a unix socket encrypts a seed, and values are encrypted with keys derived from the seed
//! (KEP-3299). A new key of the plugin means a new seed; what older seeds encrypted stays readable and is stale.
//!
//! The plugin is asked for its status every minute, as its protocol wants; it tells key changes no other way.

use super::Provider;
use super::ciphers::{gcm, gcm_open, gcm_seal, random};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use component::{SharedClock, Tasks};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prost::Message;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};

/// Between two questions for the status while all is well, and while it is not (upstream's).
const POLL: Duration = Duration::from_secs(60);
const POLL_FAILED: Duration = Duration::from_secs(10);
/// How long a seed may encrypt after the plugin last answered (upstream's).
const VALID: Duration = Duration::from_secs(3 * 60);
/// Bytes of a seed, of a derived key, and of what it is derived with.
const SEED: usize = 32;
/// Seeds that are remembered.
const REMEMBERED: usize = 1000;
/// Bytes of a key's name and of an encrypted seed (upstream's limits).
const MAX_FIELD: usize = 1024;
/// `encryptedDEKSourceType` of a value whose key is derived from a seed.
const SEED_TYPE: i32 = 1;

/// A stored value after its prefix (`v2.EncryptedObject`).
#[derive(Clone, PartialEq, Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: std::collections::BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    source_type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: std::collections::BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: std::collections::BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

/// What the configuration says of a plugin.
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) timeout: Duration,
}

/// A seed, and how the plugin encrypted it.
struct Seed {
    plain: [u8; SEED],
    key_id: String,
    id: Arc<str>,
    source: Vec<u8>,
    annotations: std::collections::BTreeMap<String, Vec<u8>>,
    /// Until when it may encrypt.
    until: Instant,
}

struct Plugin {
    name: String,
    channel: Channel,
    timeout: Duration,
    clock: SharedClock,
    seed: ArcSwap<Seed>,
    known: Mutex<HashMap<[u8; 32], [u8; SEED]>>,
}

/// The provider.
pub(super) struct Kms {
    prefix: Vec<u8>,
    plugin: Arc<Plugin>,
}

impl Kms {
    /// Asks the plugin for its key and makes a seed. Fails when the plugin does not answer.
    pub(super) async fn start(
        settings: Settings,
        clock: &SharedClock,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        let Settings { name, path, timeout } = settings;
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move {
                let stream = match path.strip_prefix('\0') {
                    None => tokio::net::UnixStream::connect(path).await?,
                    Some(name) => {
                        use std::os::linux::net::SocketAddrExt;
                        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                        let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
                        stream.set_nonblocking(true)?;
                        tokio::net::UnixStream::from_std(stream)?
                    }
                };
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        let status = status(&channel, timeout).await?;
        let seed = fresh(&channel, timeout, &status.key_id, &name, clock).await?;
        let plugin = Arc::new(Plugin {
            channel,
            timeout,
            clock: clock.clone(),
            seed: ArcSwap::from_pointee(seed),
            known: Mutex::default(),
            name: name.clone(),
        });
        let poller = plugin.clone();
        tasks.spawn_until_stopped("kms", async move { poller.poll().await });
        Ok(Self { prefix: format!("k8s:enc:kms:v2:{name}:").into_bytes(), plugin })
    }
}

/// One call of the plugin.
async fn call<Q, A>(channel: &Channel, timeout: Duration, method: &'static str, ask: Q) -> Result<A, String>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let path = match method {
        "Status" => "/v2.KeyManagementService/Status",
        "Encrypt" => "/v2.KeyManagementService/Encrypt",
        _ => "/v2.KeyManagementService/Decrypt",
    };
    let mut grpc = Grpc::new(channel.clone());
    let exchange = async {
        grpc.ready().await.map_err(|error| format!("the plugin cannot be reached: {error}"))?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = grpc.unary(tonic::Request::new(ask), PathAndQuery::from_static(path), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(answer) => answer.map_err(|why| format!("failed to call {method} of the KMS plugin: {why}")),
        Err(_) => Err(format!("failed to call {method} of the KMS plugin: no answer in {timeout:?}")),
    }
}

async fn status(channel: &Channel, timeout: Duration) -> Result<StatusResponse, String> {
    let status: StatusResponse = call(channel, timeout, "Status", StatusRequest {}).await?;
    if status.healthz != "ok" {
        return Err(format!("the KMS plugin is not healthy: {}", status.healthz));
    }
    if !matches!(status.version.as_str(), "v2" | "v2beta1") {
        return Err(format!("the KMS plugin speaks version {:?}, not v2", status.version));
    }
    check("keyID", status.key_id.as_bytes())?;
    Ok(status)
}

fn check(what: &str, field: &[u8]) -> Result<(), String> {
    match field.len() {
        1..=MAX_FIELD => Ok(()),
        0 => Err(format!("the KMS plugin gave an empty {what}")),
        size => Err(format!("the KMS plugin gave a {what} of {size} bytes; at most {MAX_FIELD} are allowed")),
    }
}

fn id(name: &str, key_id: &str) -> Arc<str> {
    format!("kms:v2:{name}:{key_id}").into()
}

/// A new seed under the plugin's current key.
async fn fresh(
    channel: &Channel,
    timeout: Duration,
    key_id: &str,
    name: &str,
    clock: &SharedClock,
) -> Result<Seed, String> {
    let plain: [u8; SEED] = random()?;
    let ask = EncryptRequest { plaintext: plain.to_vec(), uid: uuid::Uuid::new_v4().to_string() };
    let answer: EncryptResponse = call(channel, timeout, "Encrypt", ask).await?;
    check("keyID", answer.key_id.as_bytes())?;
    check("ciphertext", &answer.ciphertext)?;
    if answer.key_id != key_id {
        return Err(format!(
            "the KMS plugin encrypted with key {:?}, but says that {key_id:?} is current",
            answer.key_id
        ));
    }
    Ok(Seed {
        plain,
        id: id(name, &answer.key_id),
        key_id: answer.key_id,
        source: answer.ciphertext,
        annotations: answer.annotations,
        until: clock.instant() + VALID,
    })
}

struct SeedLength;

impl KeyType for SeedLength {
    fn len(&self) -> usize {
        SEED
    }
}

/// The key of one value.
fn derive(seed: &[u8; SEED], info: &[u8]) -> Result<ring::aead::LessSafeKey, String> {
    let failed = |_| "failed to derive a key".to_owned();
    let mut key = [0; SEED];
    let info = [info];
    let seed = Prk::new_less_safe(HKDF_SHA256, seed);
    let derived = seed.expand(&info, SeedLength).map_err(failed)?;
    derived.fill(&mut key).map_err(failed)?;
    gcm(&key)
}

impl Plugin {
    async fn poll(&self) {
        let mut pause = POLL;
        loop {
            self.clock.sleep(pause).await;
            pause = match self.refresh().await {
                Ok(()) => POLL,
                Err(error) => {
                    tracing::error!(plugin = self.name, "{error}; check the plugin, or writes will fail");
                    POLL_FAILED
                }
            };
        }
    }

    async fn refresh(&self) -> Result<(), String> {
        let status = status(&self.channel, self.timeout).await?;
        let seed = self.seed.load();
        let until = self.clock.instant() + VALID;
        let next = if seed.key_id == status.key_id {
            let (key_id, source) = (seed.key_id.clone(), seed.source.clone());
            Seed {
                plain: seed.plain,
                id: seed.id.clone(),
                key_id,
                source,
                annotations: seed.annotations.clone(),
                until,
            }
        } else {
            tracing::info!(
                plugin = self.name,
                "the KMS plugin has a new key; values are encrypted with it from now on"
            );
            fresh(&self.channel, self.timeout, &status.key_id, &self.name, &self.clock).await?
        };
        self.seed.store(Arc::new(next));
        Ok(())
    }

    /// The seed that a value was encrypted with.
    async fn seed_of(&self, object: &EncryptedObject) -> Result<[u8; SEED], String> {
        let current = self.seed.load();
        if current.source == object.source && current.key_id == object.key_id {
            return Ok(current.plain);
        }
        let mut hash = Sha256::new();
        for part in [object.key_id.as_bytes(), &object.source] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        if let Some(seed) = self.known.lock().get(&hash) {
            return Ok(*seed);
        }
        let ask = DecryptRequest {
            ciphertext: object.source.clone(),
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let answer: DecryptResponse = call(&self.channel, self.timeout, "Decrypt", ask).await?;
        let seed: [u8; SEED] = answer
            .plaintext
            .try_into()
            .map_err(|_| "the KMS plugin gave a seed of another size".to_owned())?;
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(hash, seed);
        Ok(seed)
    }
}

#[async_trait]
impl Provider for Kms {
    fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    fn id(&self) -> Arc<str> {
        self.plugin.seed.load().id.clone()
    }

    async fn encrypt(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        if self.plugin.seed.load().until < self.plugin.clock.instant() {
            // The plugin has not answered for a while; perhaps it does now.
            self.plugin.refresh().await?;
        }
        let seed = self.plugin.seed.load_full();
        let info: [u8; SEED] = random()?;
        let mut data = info.to_vec();
        data.append(&mut gcm_seal(&derive(&seed.plain, &info)?, plain, context)?);
        let object = EncryptedObject {
            data,
            key_id: seed.key_id.clone(),
            source: seed.source.clone(),
            annotations: seed.annotations.clone(),
            source_type: SEED_TYPE,
        };
        Ok(object.encode_to_vec())
    }

    async fn decrypt(&self, data: &[u8], context: &[u8]) -> Result<(Vec<u8>, Arc<str>), String> {
        let object =
            EncryptedObject::decode(data).map_err(|_| "the stored data cannot be read".to_owned())?;
        let seed = self.plugin.seed_of(&object).await?;
        let plain = if object.source_type == SEED_TYPE {
            let (info, sealed) = object
                .data
                .split_at_checked(SEED)
                .ok_or_else(|| "the stored data was shorter than the required size".to_owned())?;
            gcm_open(&derive(&seed, info)?, sealed, context)?
        } else {
            // What upstream wrote before 1.29: the decrypted source is the key itself.
            gcm_open(&gcm(&seed)?, &object.data, context)?
        };
        let used = if object.source_type == SEED_TYPE { object.key_id.as_str() } else { "" };
        Ok((plain, id(&self.plugin.name, used)))
    }
}
