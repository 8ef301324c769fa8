//! Settings: parsed from `agent.toml` and the environment, and checked.
//!
//! Pure functions: text in, settings or all problems out. The file and the secret are read by
//! [`crate::app`].

mod format;
mod quantity;
mod reader;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;
use strum::VariantNames;

pub use format::{Format, FormatOptions, Newlines};
pub use quantity::{ExportSchedule, RateLimit};
pub use reader::ConfigProblem;
pub use server::{ServerUrl, check_safe_url};

use crate::retry::RetryPolicy;
use reader::ConfigReader;

/// The commented example that `init` writes.
pub const EXAMPLE: &str = include_str!("../../agent.toml.example");

/// Values in the example that everyone has to replace.
const EXAMPLE_SERVER: &str = "https://example.haloitsm.com";
const EXAMPLE_CLIENT: &str = "00000000-0000-0000-0000-000000000000";

/// Checked settings.
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

/// `[halo]`: the server and how requests are made.
#[derive(Debug)]
pub struct HaloConfig {
    /// Address of the server.
    pub server: ServerUrl,
    /// Tenant, if configured.
    pub tenant: Option<String>,
    /// Address of the authorization server, if configured.
    pub auth_url: Option<url::Url>,
    /// Client ID of the API application.
    pub client_id: String,
    /// Source of the client secret; a systemd credential takes precedence.
    pub secret: SecretSource,
    /// OAuth scope that the token is requested for.
    pub scope: String,
    /// File with an additional root certificate.
    pub ca_file: Option<PathBuf>,
    /// Proxy; `None` means the standard environment variables.
    pub proxy: Option<String>,
    /// Timeout for a connection to be established.
    pub connect_timeout: Duration,
    /// Timeout for a whole request.
    pub request_timeout: Duration,
    /// Rows per page, 1 to 100.
    pub page_size: u32,
    /// Number of requests in flight, 1 to 32.
    pub parallel_requests: u32,
    /// When failed requests are retried.
    pub retry: RetryPolicy,
    /// Limit that all requests together never exceed.
    pub rate_limit: RateLimit,
    /// Whether custom fields are synchronized.
    pub include_custom_fields: bool,
    /// Names of the ticket types to synchronize; empty means all.
    pub ticket_types: Vec<String>,
}

/// Source of the client secret.
#[derive(Debug)]
pub enum SecretSource {
    /// The environment variable `HALOSYNC_HALO__CLIENT_SECRET`.
    Environment(SecretString),
    /// The file `halo.client_secret_file`.
    File(PathBuf),
    /// `agent.toml` itself, which group and others must then not be able to read.
    Inline(SecretString),
    /// None is configured; only a systemd credential is left.
    Absent,
}

/// `[sync]`: schedule and safety limits of runs.
#[derive(Debug)]
pub struct SyncConfig {
    /// Interval between runs of the service.
    pub interval: Duration,
    /// Fraction of the interval by which it varies at random.
    pub jitter: f64,
    /// How far before the watermark an incremental scan starts.
    pub overlap: TimeDelta,
    /// Interval between full scans; `None` means no regular full scans.
    pub full_every: Option<Duration>,
    /// Fraction of the tickets that may be deleted by one full scan.
    pub delete_guard: f64,
    /// Number of tickets that a full scan may lack compared with the server's count.
    pub accept_shortfall: u32,
}

/// `[store]`: the database.
#[derive(Debug)]
pub struct StoreConfig {
    /// Database file.
    pub path: PathBuf,
    /// Whether the full-text index `tickets_fts` is kept.
    pub full_text: bool,
    /// Whether `SOURCE_LAST_MODIFIED` is indexed.
    pub index_last_modified: bool,
    /// How long to wait for a lock held by another process.
    pub busy_timeout: Duration,
    /// Free disk space in bytes below which a run ends before it writes; 0 means that it is not watched.
    pub min_free_disk: u64,
    /// How long change records are kept; `None` means forever.
    pub keep_changes: Option<Duration>,
    /// How long records of runs are kept.
    pub keep_runs: Duration,
}

/// `[export]`: exported files.
#[derive(Debug)]
pub struct ExportConfig {
    /// Export folder.
    pub dir: PathBuf,
    /// Format of the files.
    pub format: Format,
    /// When the service exports packages.
    pub schedule: ExportSchedule,
    /// Default consumer.
    pub consumer: ConsumerName,
    /// When packages count as acknowledged.
    pub ack: AckMode,
    /// How long acknowledged packages are kept.
    pub keep: Duration,
}

/// When a package counts as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum AckMode {
    /// When it is acknowledged by `export ack`.
    Manual,
    /// As soon as it is exported.
    Auto,
}

/// Name of a consumer: `[a-z0-9][a-z0-9_-]{0,63}`, which is safe as a folder name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerName(String);

impl ConsumerName {
    /// The rule for names, to complete "must be …".
    pub const RULE: &'static str =
        "a name of 1 to 64 characters a-z, 0-9, `_` and `-` that begins with a letter or digit";

    /// Parses a name; `None` if it breaks the rule.
    #[must_use]
    pub fn parse(name: &str) -> Option<ConsumerName> {
        let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_valid = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| is_alphanumeric(byte) || byte == b'_' || byte == b'-')
            && name.bytes().next().is_some_and(is_alphanumeric);
        is_valid.then(|| ConsumerName(name.to_owned()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[log]`: log of the service.
#[derive(Debug)]
pub struct LogConfig {
    /// Lowest level that is logged.
    pub level: LogLevel,
    /// Format of the log.
    pub format: LogFormat,
}

/// Level of a log event.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    /// Only errors.
    Error,
    /// Warnings too.
    Warn,
    /// What the service does, in brief.
    #[default]
    Info,
    /// Details of each run.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Returns its name in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// journald if stderr is connected to it, else text.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per event.
    Json,
    /// Structured journald entries.
    Journald,
}

/// `[metrics]`: metrics and health of the service.
#[derive(Debug)]
pub struct MetricsConfig {
    /// Address of the metrics and health endpoints, if enabled.
    pub listen: Option<SocketAddr>,
    /// File that metrics are written to, if enabled.
    pub textfile: Option<PathBuf>,
}

impl Config {
    /// Parses settings from the text of a file and the environment.
    ///
    /// `file` is the name of the file in problems, `folder` the base of relative paths, and `environment`
    /// all environment variables, of which those that begin with `HALOSYNC_` are used.
    ///
    /// # Errors
    /// All problems at once, in the order of the file.
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
                level: choice(&mut reader, "log", "level"),
                format: choice(&mut reader, "log", "format"),
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
                reader.add_problem(
                    HALO,
                    "server_url",
                    "is missing: set it to the address of the Resource Server",
                );
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
            "is still the example value: set it to the address of your Resource Server",
        );
    }
    let auth_url = reader.optional_text(HALO, "auth_url").filter(|it| !it.is_empty()).and_then(|text| {
        server::parse_safe_url(&text).map_err(|message| reader.add_problem(HALO, "auth_url", message)).ok()
    });
    let client_id = reader.text(HALO, "client_id", "");
    if client_id.trim().is_empty() {
        reader.add_problem(HALO, "client_id", "is missing: set it to the Client ID of the API application");
    } else if client_id == EXAMPLE_CLIENT {
        reader.add_problem(
            HALO,
            "client_id",
            "is still the example value: set it to the Client ID of your API application",
        );
    }
    let secret_file = path(reader, HALO, "client_secret_file", folder);
    // An empty environment variable is still set, and so takes precedence over the file.
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
            .parsed(HALO, "rate_limit", "requests per window, such as \"300/5m\"", RateLimit::parse)
            .unwrap_or(RateLimit { requests: 300, window: Duration::from_mins(5) }),
        include_custom_fields: reader.boolean(HALO, "include_custom_fields", false),
        ticket_types: reader.texts(HALO, "ticket_type"),
        // Last, so that all keys are known to the reader even if this one is invalid.
        server: server?,
    };
    Some(halo)
}

fn sync(reader: &mut ConfigReader<'_>) -> SyncConfig {
    const SYNC: &str = "sync";
    let percent = "a percentage such as \"5%\"";
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
        min_free_disk: reader
            .parsed_number(
                STORE,
                "min_free_disk",
                "a size with a unit, such as \"256MB\" or \"2GB\", or 0",
                quantity::parse_size,
            )
            .unwrap_or(256 << 20),
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
            .parsed(EXPORT, "format", "\"csv\", \"jsonl\" or \"json\"", |text| text.parse().ok())
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
            .parsed(EXPORT, "ack", "\"manual\" or \"auto\"", |text| text.parse().ok())
            .unwrap_or(AckMode::Manual),
        keep: reader.duration(EXPORT, "keep", Duration::from_hours(24 * 30)),
    }
}

/// Reads an address to listen on; `None` if empty.
fn listen(reader: &mut ConfigReader<'_>) -> Option<SocketAddr> {
    let text = reader.optional_text("metrics", "listen").filter(|it| !it.is_empty())?;
    let problem = |_| {
        let message = format!("must be an address with a port, such as \"127.0.0.1:9187\", not {text:?}");
        reader.add_problem("metrics", "listen", message);
    };
    text.parse().map_err(problem).ok()
}

/// Reads a path, relative to the folder of the file; `None` if empty.
fn path(
    reader: &mut ConfigReader<'_>,
    section: &'static str,
    key: &'static str,
    folder: &Path,
) -> Option<PathBuf> {
    reader.optional_text(section, key).filter(|it| !it.is_empty()).map(|path| folder.join(path))
}

/// Reads one of the names of an enum.
fn choice<T: Default + FromStr + VariantNames>(
    reader: &mut ConfigReader<'_>,
    section: &'static str,
    key: &'static str,
) -> T {
    let expected = format!("one of {}", T::VARIANTS.join(", "));
    reader.parsed(section, key, &expected, |text| text.parse().ok()).unwrap_or_default()
}
