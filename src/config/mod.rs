//! The settings: as written in `agent.toml` and the environment, then checked and usable.
//!
//! Pure: text in, settings or all that is wrong with them out. Who reads the file and the secret is
//! [`crate::agent`]'s business.

mod format;
mod quantity;
mod reader;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;

pub use format::{Format, FormatOptions, Newlines};
pub use quantity::{ExportSchedule, RateLimit};
pub use reader::ConfigProblem;
pub use server::{ServerUrl, check_safe_url};

use crate::retry::RetryPolicy;
use reader::ConfigReader;

/// The commented example, which `init` writes.
pub const EXAMPLE: &str = include_str!("../../agent.toml.example");

/// What stands in the example where everybody has something else.
const EXAMPLE_SERVER: &str = "https://example.haloitsm.com";
const EXAMPLE_CLIENT: &str = "00000000-0000-0000-0000-000000000000";

/// All settings, checked.
#[derive(Debug)]
pub struct Config {
    /// `[halo]`
    pub halo: HaloConfig,
    /// `[sync]`
    pub sync: SyncConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[export]`
    pub export: ExportConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
}

/// `[halo]`: the server and how to ask it.
#[derive(Debug)]
pub struct HaloConfig {
    /// Where it is.
    pub server: ServerUrl,
    /// The tenant, where one is configured.
    pub tenant: Option<String>,
    /// The authorisation server, where one is configured.
    pub auth_url: Option<url::Url>,
    /// The id of the API application.
    pub client_id: String,
    /// Where the secret is, below the places that come before it.
    pub secret: SecretSource,
    /// What the token is asked for.
    pub scope: String,
    /// A further root certificate.
    pub ca_file: Option<PathBuf>,
    /// A proxy; `None` leaves it to the standard variables.
    pub proxy: Option<String>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// Rows a page, at most 100.
    pub page_size: u32,
    /// Requests at a time.
    pub parallel_requests: u32,
    /// When to ask again.
    pub retry: RetryPolicy,
    /// The promise of how often the server is asked.
    pub rate_limit: RateLimit,
    /// Whether custom fields are copied.
    pub include_custom_fields: bool,
    /// Names of the ticket types to copy; none is all.
    pub ticket_types: Vec<String>,
}

/// Where the client secret comes from.
#[derive(Debug)]
pub enum SecretSource {
    /// From the variable `HALOSYNC_HALO__CLIENT_SECRET`.
    Environment(SecretString),
    /// From a file of its own.
    File(PathBuf),
    /// From `agent.toml` itself, which nobody else may then read.
    Inline(SecretString),
    /// From nowhere, unless systemd hands a credential over.
    Absent,
}

/// `[sync]`: when and how to walk.
#[derive(Debug)]
pub struct SyncConfig {
    /// Between two passes of the service.
    pub interval: Duration,
    /// By what share the interval is spread.
    pub jitter: f64,
    /// How far a following walk reaches back behind the watermark.
    pub overlap: TimeDelta,
    /// How often every ticket is looked at.
    pub full_every: Option<Duration>,
    /// The share of the tickets that may disappear at once.
    pub delete_guard: f64,
    /// How many tickets a full walk may miss without being incomplete.
    pub accept_shortfall: u32,
}

/// `[store]`: the database.
#[derive(Debug)]
pub struct StoreConfig {
    /// The file.
    pub path: PathBuf,
    /// Whether `tickets_fts` is kept.
    pub full_text: bool,
    /// Whether `SOURCE_LAST_MODIFIED` is indexed.
    pub index_last_modified: bool,
    /// How long to wait for somebody else's lock.
    pub busy_timeout: Duration,
    /// How long change records are kept; `None` is for ever.
    pub keep_changes: Option<Duration>,
    /// How long the records of passes are kept.
    pub keep_runs: Duration,
}

/// `[export]`: the files.
#[derive(Debug)]
pub struct ExportConfig {
    /// The folder.
    pub dir: PathBuf,
    /// The format.
    pub format: Format,
    /// When packages are made without being asked for.
    pub schedule: ExportSchedule,
    /// For whom.
    pub consumer: ConsumerName,
    /// Whether a package counts as taken as soon as it is made.
    pub ack: AckMode,
    /// How long acknowledged packages are kept.
    pub keep: Duration,
}

/// When a package counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// When `export ack` says so.
    Manual,
    /// As soon as it is made.
    Auto,
}

/// The name of a consumer: `[a-z0-9][a-z0-9_-]{0,63}`, so that it is safe as a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerName(String);

impl ConsumerName {
    /// What a name must look like.
    pub const RULE: &'static str =
        "a name of 1 to 64 characters a-z, 0-9, `_` and `-` that begins with a letter or digit";

    /// Checks a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<ConsumerName> {
        let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_valid = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| is_alphanumeric(byte) || byte == b'_' || byte == b'-')
            && name.bytes().next().is_some_and(is_alphanumeric);
        is_valid.then(|| ConsumerName(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[log]`
#[derive(Debug)]
pub struct LogConfig {
    /// The least level that is written.
    pub level: String,
    /// How.
    pub format: String,
}

/// `[metrics]`
#[derive(Debug)]
pub struct MetricsConfig {
    /// Address of the metrics and health endpoints, or none.
    pub listen: Option<SocketAddr>,
    /// File that metrics are written to, or none.
    pub textfile: Option<PathBuf>,
}

impl Config {
    /// Reads settings from the text of a file and the environment.
    ///
    /// `file` is what problems call the file, `folder` what relative paths are relative to,
    /// `environment` all variables; those that are ours are picked out.
    ///
    /// # Errors
    /// All problems at once.
    pub fn read(
        file: &str,
        text: &str,
        folder: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Vec<ConfigProblem>> {
        let environment: BTreeMap<_, _> =
            environment.into_iter().filter(|(name, _)| name.starts_with("HALOSYNC_")).collect();
        let mut reader = ConfigReader::new(file, text, &environment)?;
        let from_environment = environment.contains_key("HALOSYNC_HALO__CLIENT_SECRET");
        let halo = halo(&mut reader, folder, from_environment);
        let config = (
            sync(&mut reader),
            store(&mut reader, folder),
            export(&mut reader, folder),
            LogConfig {
                level: choice(&mut reader, "log", "level", &["info", "error", "warn", "debug", "trace"]),
                format: choice(&mut reader, "log", "format", &["auto", "text", "json", "journald"]),
            },
            MetricsConfig {
                listen: listen(&mut reader),
                textfile: path(&mut reader, "metrics", "textfile", folder),
            },
        );
        let problems = reader.finish();
        match halo {
            Some(halo) if problems.is_empty() => {
                let (sync, store, export, log, metrics) = config;
                Ok(Config { halo, sync, store, export, log, metrics })
            }
            _ => Err(problems),
        }
    }
}

fn halo(reader: &mut ConfigReader<'_>, folder: &Path, from_environment: bool) -> Option<HaloConfig> {
    const HALO: &str = "halo";
    let server = match reader.optional_text(HALO, "server_url") {
        None => {
            if !reader.is_set(HALO, "server_url") {
                reader.add_problem(HALO, "server_url", "is missing: the address of the Resource Server");
            }
            None
        }
        Some(text) => {
            ServerUrl::parse(&text).map_err(|message| reader.add_problem(HALO, "server_url", message)).ok()
        }
    };
    if server.as_ref().is_some_and(|server| server.as_str() == EXAMPLE_SERVER) {
        reader.add_problem(
            HALO,
            "server_url",
            "is still that of the example: set it to your Resource Server",
        );
    }
    let auth_url = reader.optional_text(HALO, "auth_url").filter(|it| !it.is_empty()).and_then(|text| {
        server::parse_safe_url(&text).map_err(|message| reader.add_problem(HALO, "auth_url", message)).ok()
    });
    let client_id = reader.text(HALO, "client_id", "");
    if client_id.trim().is_empty() {
        reader.add_problem(HALO, "client_id", "is missing: the Client ID of the API application");
    } else if client_id == EXAMPLE_CLIENT {
        reader.add_problem(
            HALO,
            "client_id",
            "is still that of the example: set it to that of your application",
        );
    }
    let secret_file = path(reader, HALO, "client_secret_file", folder);
    // An empty variable is still the one that was given; what stands below it is not tried.
    let inline = reader.optional_text(HALO, "client_secret").filter(|it| from_environment || !it.is_empty());
    let secret = match (inline.map(SecretString::from), secret_file) {
        (Some(secret), _) if from_environment => SecretSource::Environment(secret),
        (_, Some(file)) => SecretSource::File(file),
        (Some(secret), None) => SecretSource::Inline(secret),
        (None, None) => SecretSource::Absent,
    };
    let halo = HaloConfig {
        tenant: reader.optional_text(HALO, "tenant").filter(|it| !it.is_empty()),
        auth_url,
        client_id,
        secret,
        scope: reader.text(HALO, "scope", "read:tickets"),
        ca_file: path(reader, HALO, "ca_file", folder),
        proxy: reader.optional_text(HALO, "proxy").filter(|it| !it.is_empty()),
        connect_timeout: reader.duration(HALO, "connect_timeout", Duration::from_secs(10)),
        request_timeout: reader.duration(HALO, "request_timeout", Duration::from_mins(2)),
        page_size: reader.integer(HALO, "page_size", 1..=100, 100),
        parallel_requests: reader.integer(HALO, "parallel_requests", 1..=32, 4),
        retry: RetryPolicy {
            max_retries: reader.integer(HALO, "max_retries", 0..=20, 5),
            rate_limit_wait: reader.duration(HALO, "rate_limit_wait", Duration::from_mins(1)),
            max_wait: Duration::MAX,
        },
        rate_limit: reader
            .parsed(HALO, "rate_limit", "requests in a window, such as \"300/5m\"", RateLimit::parse)
            .unwrap_or(RateLimit { requests: 300, window: Duration::from_mins(5) }),
        include_custom_fields: reader.boolean(HALO, "include_custom_fields", false),
        ticket_types: reader.texts(HALO, "ticket_type"),
        // Last, so that every key was asked for even where this one is unusable.
        server: server?,
    };
    Some(halo)
}

fn sync(reader: &mut ConfigReader<'_>) -> SyncConfig {
    const SYNC: &str = "sync";
    let percent = "a share such as \"5%\"";
    SyncConfig {
        interval: reader.duration(SYNC, "interval", Duration::from_mins(5)),
        jitter: reader.parsed(SYNC, "jitter", percent, quantity::parse_percentage).unwrap_or(0.1),
        overlap: TimeDelta::from_std(reader.duration(SYNC, "overlap", Duration::from_mins(10)))
            .unwrap_or(TimeDelta::minutes(10)),
        full_every: reader
            .parsed(SYNC, "full_every", "a duration such as \"24h\", or \"off\"", |text| match text {
                "off" => Some(None),
                every => reader::duration(every).map(Some),
            })
            .unwrap_or(Some(Duration::from_hours(24))),
        delete_guard: reader
            .parsed(SYNC, "delete_guard", percent, quantity::parse_percentage)
            .unwrap_or(0.05),
        accept_shortfall: reader.integer(SYNC, "accept_shortfall", 0..=u32::MAX, 0),
    }
}

fn store(reader: &mut ConfigReader<'_>, folder: &Path) -> StoreConfig {
    const STORE: &str = "store";
    StoreConfig {
        path: path(reader, STORE, "path", folder).unwrap_or_else(|| folder.join("halosync.db")),
        full_text: reader.boolean(STORE, "full_text", false),
        index_last_modified: reader.boolean(STORE, "index_last_modified", false),
        busy_timeout: reader.duration(STORE, "busy_timeout", Duration::from_secs(10)),
        keep_changes: reader
            .parsed(STORE, "keep_changes", "a duration such as \"400d\", or \"forever\"", |text| match text {
                "forever" => Some(None),
                keep => reader::duration(keep).map(Some),
            })
            .unwrap_or(None),
        keep_runs: reader.duration(STORE, "keep_runs", Duration::from_hours(24 * 400)),
    }
}

fn export(reader: &mut ConfigReader<'_>, folder: &Path) -> ExportConfig {
    const EXPORT: &str = "export";
    ExportConfig {
        dir: path(reader, EXPORT, "dir", folder).unwrap_or_else(|| folder.join("export")),
        format: reader
            .parsed(EXPORT, "format", "\"csv\", \"jsonl\" or \"json\"", Format::parse)
            .unwrap_or(Format::Csv),
        schedule: reader
            .parsed(
                EXPORT,
                "schedule",
                "\"off\", \"after-sync\" or a duration such as \"1h\"",
                ExportSchedule::parse,
            )
            .unwrap_or(ExportSchedule::Off),
        consumer: reader
            .parsed(EXPORT, "consumer", ConsumerName::RULE, ConsumerName::parse)
            .unwrap_or_else(|| ConsumerName("default".into())),
        ack: reader
            .parsed(EXPORT, "ack", "\"manual\" or \"auto\"", |text| match text {
                "manual" => Some(AckMode::Manual),
                "auto" => Some(AckMode::Auto),
                _ => None,
            })
            .unwrap_or(AckMode::Manual),
        keep: reader.duration(EXPORT, "keep", Duration::from_hours(24 * 30)),
    }
}

/// An address to listen at; an empty one is none.
fn listen(reader: &mut ConfigReader<'_>) -> Option<SocketAddr> {
    let text = reader.optional_text("metrics", "listen").filter(|it| !it.is_empty())?;
    let problem = |_| {
        let message = format!("must be an address with a port, such as \"127.0.0.1:9187\", not {text:?}");
        reader.add_problem("metrics", "listen", message);
    };
    text.parse().map_err(problem).ok()
}

/// A path, relative to the folder of the file; an empty one is none.
fn path(
    reader: &mut ConfigReader<'_>,
    section: &'static str,
    key: &'static str,
    folder: &Path,
) -> Option<PathBuf> {
    reader.optional_text(section, key).filter(|it| !it.is_empty()).map(|path| folder.join(path))
}

/// One of some words; the first is the default.
fn choice(
    reader: &mut ConfigReader<'_>,
    section: &'static str,
    key: &'static str,
    choices: &[&str],
) -> String {
    let expected = format!("one of {}", choices.join(", "));
    let chosen =
        reader.parsed(section, key, &expected, |text| choices.contains(&text).then(|| text.to_owned()));
    chosen.unwrap_or_else(|| choices.first().copied().unwrap_or_default().to_owned())
}
