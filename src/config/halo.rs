//! `[halo]`: the server and how requests are made.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::quantity::RateLimit;
use super::reader::{Section, did_you_mean};
use super::server::{ServerUrl, parse_safe_url};
use crate::reference::{REFERENCE_TABLES, ReferenceTable, Selection};
use crate::retry::RetryPolicy;

/// The default scope.
const READ_TICKETS: &str = "read:tickets";

/// Values in the example that everyone has to replace.
const EXAMPLE_SERVER: &str = "https://example.haloitsm.com";
const EXAMPLE_CLIENT: &str = "00000000-0000-0000-0000-000000000000";

/// `[halo]`: the server and how requests are made.
#[derive(Debug)]
pub struct HaloConfig {
    /// Address of the server.
    pub server: ServerUrl,
    /// Tenant, if configured.
    pub tenant: Option<String>,
    /// Address of the authorization server, if configured.
    pub auth_url: Option<Url>,
    /// Client ID of the API application.
    pub client_id: String,
    /// Source of the client secret; a systemd credential takes precedence.
    pub secret: SecretSource,
    /// OAuth scope that the token is requested for.
    pub scope: String,
    /// The scope that is requested where the server does not know the default one.
    pub narrower_scope: Option<String>,
    /// The reference tables that are read besides statuses and ticket types.
    pub reference: Vec<&'static ReferenceTable>,
    /// File with additional root certificates.
    pub ca_file: Option<PathBuf>,
    /// Whether only the certificates of `ca_file` are trusted.
    pub ca_only: bool,
    /// Proxy, whose address may hold a password; `None` means the standard environment variables.
    pub proxy: Option<SecretString>,
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

impl HaloConfig {
    /// Reads the section; `None` if the server is missing or invalid.
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<HaloConfig> {
        let server = read_server(section);
        let auth_url = section.filled_text("auth_url").and_then(|text| {
            parse_safe_url(&text).map_err(|message| section.add_problem("auth_url", message)).ok()
        });
        if let (Some(server), Some(url)) = (&server, &auth_url)
            && !server.may_have_auth_url(url)
        {
            section.add_problem("auth_url", "must be https, because server_url is");
        }
        let (ca_file, ca_only) = (section.path("ca_file"), section.boolean("ca_only", false));
        if ca_only && ca_file.is_none() {
            section.add_problem("ca_only", "needs `halo.ca_file`: without it no certificate is trusted");
        }
        let client_id = section.text("client_id").unwrap_or_default();
        if client_id.trim().is_empty() {
            section.add_problem("client_id", "is missing: set it to the Client ID of the API application");
        } else if client_id == EXAMPLE_CLIENT {
            let message = "is still the example value: set it to the Client ID of your API application";
            section.add_problem("client_id", message);
        }
        let reference = read_reference(section);
        let reads_customers = reference.iter().any(|table| table.needs_customers);
        // A scope in the settings is requested as it is.
        let (scope, narrower_scope) = match section.text("scope") {
            Some(scope) => (scope, None),
            None if reads_customers => {
                (format!("{READ_TICKETS} read:customers"), Some(READ_TICKETS.to_owned()))
            }
            None => (READ_TICKETS.to_owned(), None),
        };
        let halo = HaloConfig {
            secret: SecretSource::read(section),
            tenant: section.filled_text("tenant"),
            auth_url,
            client_id,
            scope,
            narrower_scope,
            reference,
            ca_file,
            ca_only,
            proxy: section.filled_text("proxy").map(SecretString::from),
            connect_timeout: section.duration("connect_timeout", Duration::from_secs(10)),
            request_timeout: section.duration("request_timeout", Duration::from_mins(2)),
            page_size: section.integer("page_size", 1..=100, 100),
            parallel_requests: section.integer("parallel_requests", 1..=32, 4),
            retry: RetryPolicy {
                max_retries: section.integer("max_retries", 0..=20, 5),
                rate_limit_wait: section.duration("rate_limit_wait", Duration::from_mins(1)),
                max_wait: Duration::MAX,
            },
            rate_limit: section
                .parsed("rate_limit", "requests per window, such as \"300/5m\"", RateLimit::parse)
                .unwrap_or(RateLimit { requests: 300, window: Duration::from_mins(5) }),
            include_custom_fields: section.boolean("include_custom_fields", false),
            ticket_types: section.texts("ticket_type"),
            // Last, so that all keys are known to the reader even if this one is invalid.
            server: server?,
        };
        Some(halo)
    }
}

/// Reads the names of reference tables; those that are always read may be named, too.
fn read_reference(section: &mut Section<'_, '_>) -> Vec<&'static ReferenceTable> {
    if !section.is_set("reference") {
        return REFERENCE_TABLES.iter().filter(|table| table.selection == Selection::Default).collect();
    }
    let mut tables: Vec<&ReferenceTable> = Vec::new();
    for name in section.texts("reference") {
        match ReferenceTable::named(name.trim()) {
            Some(table) if !tables.contains(&table) => tables.push(table),
            Some(_) => {}
            None => {
                let known: Vec<_> = REFERENCE_TABLES
                    .iter()
                    .filter(|table| table.selection != Selection::Always)
                    .map(|table| table.name)
                    .collect();
                let hint = did_you_mean(&name, known.iter().copied());
                let message = format!("has no table `{name}`{hint}; known are {}", known.join(", "));
                section.add_problem("reference", message);
            }
        }
    }
    tables
}

fn read_server(section: &mut Section<'_, '_>) -> Option<ServerUrl> {
    let Some(text) = section.text("server_url") else {
        if !section.is_set("server_url") {
            let message = "is missing: set it to the address of the Resource Server";
            section.add_problem("server_url", message);
        }
        return None;
    };
    let server =
        ServerUrl::parse(&text).map_err(|message| section.add_problem("server_url", message)).ok()?;
    if server.as_str() == EXAMPLE_SERVER {
        let message = "is still the example value: set it to the address of your Resource Server";
        section.add_problem("server_url", message);
    }
    Some(server)
}

impl SecretSource {
    fn read(section: &mut Section<'_, '_>) -> SecretSource {
        let file = section.path("client_secret_file");
        // An empty environment variable is still set, and so takes precedence over the file.
        let from_environment = section.is_from_environment("client_secret");
        let text = section.text("client_secret").filter(|it| from_environment || !it.is_empty());
        match (text.map(SecretString::from), file) {
            (Some(secret), _) if from_environment => SecretSource::Environment(secret),
            (_, Some(file)) => SecretSource::File(file),
            (Some(secret), None) => SecretSource::Inline(secret),
            (None, None) => SecretSource::Absent,
        }
    }
}
