//! Puts objects into a store and reads them, with `object_store`.
//!
//! Calls block: they are made from threads that may.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientConfigKey, ClientOptions, Error, GetOptions, ObjectStore,
    ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::LakeError;
use super::answer::StoreAnswer;
use crate::config::{LakeConfig, LakeScheme, LakeUrl, StoreRoute};
use crate::content_digest::{ContentDigest, hex};

/// How often a request is repeated that the store answers with an error of its own.
const RETRIES_MAX: usize = 3;

/// How long such a request is repeated.
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);

/// How often an object is put whose name the store calls taken, although there is none of that name. Some stores answer so
/// while another request for that name is in progress.
const PUT_ATTEMPTS: u32 = 5;

/// How long the second attempt waits; each further one waits twice as long.
const PUT_PAUSE: Duration = Duration::from_millis(200);

/// Where the hash of an object is kept, so that comparing it needs no download.
const HASH_ATTRIBUTE: &str = "sha256";

/// What creating an object came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was created.
    Created,
    /// An object of that name has the same content.
    SameThere,
    /// An object of that name has other content, and was left alone.
    OtherThere,
}

/// Makes an HTTP client for a way to a store; the error says what is wrong with the settings.
pub type ClientOfRoute = Box<dyn Fn(StoreRoute) -> Result<reqwest::Client, String> + Send + Sync>;

/// How to reach a store.
pub struct StoreConnection {
    /// Makes an HTTP client for a way, with the proxy and the certificates of the settings.
    pub client: ClientOfRoute,
    /// Ends every call that is waiting.
    pub stop: CancellationToken,
    /// Takes secrets out of a text of the store.
    pub clean: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

/// An object store.
pub struct LakeStore {
    store: Box<dyn ObjectStore>,
    root: Path,
    url: LakeUrl,
    /// The folder of a local lake.
    folder: Option<PathBuf>,
    runtime: Handle,
    connection: StoreConnection,
}

/// Gives the clients of the settings to `object_store`.
#[derive(Debug)]
struct GivenClients {
    store: reqwest::Client,
    metadata: reqwest::Client,
}

impl GivenClients {
    /// The clients for a store at an address, which the environment may name.
    fn new(
        lake: &LakeConfig,
        endpoint: Option<&str>,
        client: &ClientOfRoute,
    ) -> Result<GivenClients, LakeError> {
        let route = lake
            .route(endpoint)
            .map_err(|problem| LakeError::Settings(format!("the endpoint in the environment {problem}")))?;
        let client = |route| client(route).map_err(LakeError::Settings);
        Ok(GivenClients { store: client(route)?, metadata: client(StoreRoute::Local)? })
    }
}

impl HttpConnector for GivenClients {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // It allows unencrypted connections for the credentials of machines and containers alone.
        let is_metadata = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        Ok(HttpClient::new(if is_metadata { self.metadata.clone() } else { self.store.clone() }))
    }
}

impl fmt::Debug for LakeStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "LakeStore({})", self.url)
    }
}

impl LakeStore {
    /// Sets up the connection to a store and sends no request yet. Credentials come from the environment and the machine.
    ///
    /// # Errors
    /// [`LakeError::Settings`] if settings or credentials cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(lake: &LakeConfig, connection: StoreConnection) -> Result<LakeStore, LakeError> {
        let bad = |error: &Error| LakeError::Settings((connection.clean)(&describe(error).text));
        let store = build(lake, &connection.client)?.map_err(|error| bad(&error))?;
        let root = Path::parse(lake.url.prefix()).map_err(|error| bad(&error.into()))?;
        let is_file = lake.url.scheme() == LakeScheme::File;
        let folder = is_file.then(|| PathBuf::from("/").join(lake.url.prefix()));
        let (url, runtime) = (lake.url.clone(), Handle::current());
        Ok(LakeStore { store, root, url, folder, runtime, connection })
    }

    /// Returns the address of an object.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        self.url.object(name)
    }

    /// Creates an object with this size and hash, if there is none of that name.
    ///
    /// # Errors
    /// It is then not known whether the object exists; creating it again is safe.
    pub fn create(
        &self,
        name: &str,
        content: Vec<u8>,
        digest: &ContentDigest,
    ) -> Result<PutOutcome, LakeError> {
        let payload = PutPayload::from(content);
        for attempt in 0..PUT_ATTEMPTS {
            let mut options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            if self.folder.is_none() {
                let hash = Attribute::Metadata(HASH_ATTRIBUTE.into());
                options.attributes = Attributes::from_iter([(hash, digest.sha256.clone())]);
            }
            match self.wait(self.store.put_opts(&self.path(name), payload.clone(), options))? {
                Ok(_) => return Ok(PutOutcome::Created),
                // Neither means that it is ours nor that it is not: an earlier attempt may have been stored although its answer
                // was lost, and a store may answer so with nothing stored.
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(error) => return Err(self.error(name, &error)),
            }
            match self.digest(name) {
                Ok(Some(there)) if there == *digest => return Ok(PutOutcome::SameThere),
                Ok(Some(_)) => return Ok(PutOutcome::OtherThere),
                // Stores refuse to say that there is no object where the credentials may not list.
                Ok(None) | Err(LakeError::Refused { .. }) => {
                    self.wait(tokio::time::sleep(PUT_PAUSE * 2u32.pow(attempt)))?;
                }
                Err(error) => return Err(error),
            }
        }
        let why = format!("it calls the name {} taken, but shows no such object", self.address(name));
        Err(LakeError::Unavailable(why))
    }

    /// Puts an object in place of the one of that name.
    pub fn replace(&self, name: &str, content: Vec<u8>) -> Result<(), LakeError> {
        let path = self.path(name);
        self.wait(self.store.put(&path, content.into()))?.map(drop).map_err(|error| self.error(name, &error))
    }

    /// Reads an object of at most `max` bytes; `None` if there is none.
    ///
    /// # Errors
    /// Also where it is larger.
    pub fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, LakeError> {
        let got = match self.wait(self.store.get(&self.path(name)))? {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.error(name, &error)),
        };
        if max < got.meta.size {
            let why = format!("it has {} bytes, {max} were expected at most", got.meta.size);
            return Err(LakeError::Io { object: self.address(name), why });
        }
        let bytes = self.wait(got.bytes())?.map_err(|error| self.error(name, &error))?;
        Ok(Some(bytes.to_vec()))
    }

    /// Returns size and hash of an object as the store has it; `None` if there is none. Where the hash was kept beside it, the
    /// object is not read.
    pub fn digest(&self, name: &str) -> Result<Option<ContentDigest>, LakeError> {
        if self.folder.is_none() {
            let head = GetOptions { head: true, ..GetOptions::default() };
            let found = match self.wait(self.store.get_opts(&self.path(name), head))? {
                Ok(found) => found,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(self.error(name, &error)),
            };
            if let Some(sha256) = found.attributes.get(&Attribute::Metadata(HASH_ATTRIBUTE.into())) {
                return Ok(Some(ContentDigest {
                    bytes: found.meta.size,
                    sha256: sha256.as_ref().to_owned(),
                }));
            }
        }
        self.read_digest(name)
    }

    /// Reads an object and returns its size and hash; `None` if there is none.
    pub fn read_digest(&self, name: &str) -> Result<Option<ContentDigest>, LakeError> {
        let got = match self.wait(self.store.get(&self.path(name)))? {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.error(name, &error)),
        };
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut chunks = got.into_stream();
        while let Some(chunk) = self.wait(chunks.next())? {
            let chunk = chunk.map_err(|error| self.error(name, &error))?;
            hash.update(&chunk);
            bytes += chunk.len() as u64;
        }
        Ok(Some(ContentDigest { bytes, sha256: hex(&hash.finalize()) }))
    }

    /// Lists the names of the objects in a folder and below it, sorted; with `after`, only those that sort behind it.
    pub fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<String>, LakeError> {
        let prefix = self.path(folder);
        let mut objects = match after {
            Some(after) => self.store.list_with_offset(Some(&prefix), &self.path(after)),
            None => self.store.list(Some(&prefix)),
        };
        let mut names = Vec::new();
        while let Some(object) = self.wait(objects.next())? {
            let object = object.map_err(|error| self.error(folder, &error))?;
            let within = object.location.prefix_match(&self.root);
            names.extend(
                within.map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/")),
            );
        }
        names.sort();
        Ok(names)
    }

    fn path(&self, name: &str) -> Path {
        let name: Path = name.split('/').collect();
        self.root.parts().chain(name.parts()).collect()
    }

    /// Waits for a request, or until shipping is stopped.
    fn wait<T>(&self, request: impl Future<Output = T>) -> Result<T, LakeError> {
        // It is never created: where a disk is not mounted, the lake is elsewhere.
        if let Some(folder) = self.folder.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(LakeError::NoFolder(folder.display().to_string()));
        }
        let stop = &self.connection.stop;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(LakeError::Stopped),
                done = request => Ok(done),
            }
        })
    }

    fn error(&self, name: &str, error: &Error) -> LakeError {
        let answer = describe(error);
        let (object, why) = (self.address(name), (self.connection.clean)(&answer.text));
        match error {
            Error::NotFound { .. } => LakeError::NotFound { object, why },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                LakeError::Refused { object, why }
            }
            // Listing has errors of its own.
            _ if answer.is_bucket_missing => LakeError::NotFound { object, why },
            _ if answer.is_refusal => LakeError::Refused { object, why },
            Error::NotImplemented { .. }
            | Error::NotSupported { .. }
            | Error::UnknownConfigurationKey { .. } => LakeError::Settings(why),
            _ if self.folder.is_some() => LakeError::Io { object, why },
            _ => LakeError::Unavailable(why),
        }
    }
}

type BuiltStore = object_store::Result<Box<dyn ObjectStore>>;

fn build(lake: &LakeConfig, client: &ClientOfRoute) -> Result<BuiltStore, LakeError> {
    let retry =
        RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let options = ClientOptions::new();
    let bucket = lake.url.bucket();
    let endpoint = lake.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
    let clients = |endpoint: Option<String>| GivenClients::new(lake, endpoint.as_deref(), client);
    Ok(match lake.url.scheme() {
        LakeScheme::S3 => {
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_client_options(options)
                .with_retry(retry);
            if let Some(endpoint) = endpoint {
                // The variable for S3 alone would have precedence.
                builder = builder
                    .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.clone())
                    .with_endpoint(endpoint);
            }
            if let Some(region) = &lake.region {
                builder = builder.with_region(region);
            }
            let [own, general] = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
                .map(|key| builder.get_config_value(&key));
            let clients = clients(own.or(general))?;
            boxed(builder.with_http_connector(clients).build())
        }
        LakeScheme::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_client_options(options)
                .with_retry(retry);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            let clients = clients(builder.get_config_value(&AzureConfigKey::Endpoint))?;
            boxed(builder.with_http_connector(clients).build())
        }
        LakeScheme::Google => {
            let builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_client_options(options)
                .with_retry(retry);
            let clients = clients(builder.get_config_value(&GoogleConfigKey::BaseUrl))?;
            boxed(builder.with_http_connector(clients).build())
        }
        LakeScheme::File => boxed(Ok(LocalFileSystem::new().with_fsync(true))),
    })
}

fn boxed(store: object_store::Result<impl ObjectStore>) -> BuiltStore {
    store.map(|store| Box::new(store) as Box<dyn ObjectStore>)
}

/// What an error says with its causes, which some of its texts leave out.
fn describe(error: &Error) -> StoreAnswer {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(it) = cause {
        let part = it.to_string();
        if !text.contains(&part) {
            text += &format!(": {part}");
        }
        cause = it.source();
    }
    StoreAnswer::parse(&text)
}
