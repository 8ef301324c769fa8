//! `[lake]`: an object store that packages are shipped to.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::export::{ExportSchedule, is_short_name};
use super::halo::HaloConfig;
use super::quantity;
use super::reader::Section;
use super::server::is_loopback;

/// `[lake]`: an object store that packages are shipped to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeConfig {
    /// Where the lake is.
    pub url: LakeUrl,
    /// Name of this copy in the lake.
    pub server: LakeServer,
    /// When the service ships packages.
    pub schedule: ExportSchedule,
    /// After how long a new epoch begins with everything; `None` means never.
    pub rebase: Option<Duration>,
    /// Size in bytes above which a package is cut into several files.
    pub max_file: u64,
    /// Address of a store that speaks the protocol of S3 or Azure, if it is not the provider's own.
    pub endpoint: Option<Url>,
    /// Region of the store, if not that of the environment.
    pub region: Option<String>,
    /// Whether connections to the endpoint may be unencrypted.
    pub allow_http: bool,
    /// What the row of a deleted ticket holds.
    pub deleted_rows: DeletedRows,
}

/// Size in bytes above which a package is cut, unless the settings say otherwise.
const MAX_FILE: u64 = 32 << 20;

/// What the row of a deleted ticket holds in the lake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum DeletedRows {
    /// The number of the ticket and nothing else.
    #[default]
    Key,
    /// The last known row.
    Last,
}

/// The way to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRoute {
    /// Encrypted, and through the proxy of the settings.
    Encrypted,
    /// Unencrypted as far as the address says so, which the settings allow.
    Unencrypted,
    /// To this machine, or to what it asks who it is: never through a proxy.
    Local,
}

/// Where credentials for the store come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
enum LakeCredentials {
    /// The environment, and what the machine or the cluster provides.
    #[default]
    Ambient,
}

impl LakeConfig {
    /// Returns settings for reading a lake, with the connection of the environment.
    #[must_use]
    pub fn reading(url: LakeUrl) -> LakeConfig {
        LakeConfig {
            url,
            server: LakeServer("reader".into()),
            schedule: ExportSchedule::Off,
            rebase: None,
            max_file: MAX_FILE,
            endpoint: None,
            region: None,
            allow_http: false,
            deleted_rows: DeletedRows::Key,
        }
    }

    /// Returns the way to a store with this address, which may come from the environment; `None` is the provider's own.
    ///
    /// # Errors
    /// The problem with the address, as the end of a sentence that begins with what names it.
    pub fn route(&self, endpoint: Option<&str>) -> Result<StoreRoute, String> {
        let Some(endpoint) = endpoint else { return Ok(StoreRoute::Encrypted) };
        let url = read_endpoint(endpoint, self.allow_http)?;
        Ok(match url.scheme() {
            _ if is_loopback(&url) => StoreRoute::Local,
            "http" => StoreRoute::Unencrypted,
            _ => StoreRoute::Encrypted,
        })
    }

    /// Reads the section; `None` where no lake is configured. `halo` has the server that names this copy by default.
    pub(super) fn read(section: &mut Section<'_, '_>, halo: Option<&HaloConfig>) -> Option<LakeConfig> {
        const SIZE: &str = "a size from \"1MB\" to \"64MB\"";
        const SCHEDULE: &str = "\"off\", \"after-sync\" or a duration such as \"1h\"";
        let text = section.filled_text("url");
        let server = section.parsed("server", LakeServer::RULE, |text| {
            if text.is_empty() { Some(None) } else { LakeServer::parse(text).map(Some) }
        });
        let schedule = section.parsed("schedule", SCHEDULE, ExportSchedule::parse);
        let rebase = section.duration_or("rebase", "7d", "off", Some(Duration::from_hours(24 * 7)));
        let max_file = section.parsed("max_file", SIZE, |text| {
            quantity::parse_size(text).filter(|size| (1 << 20..=64 << 20).contains(size))
        });
        let endpoint = section.filled_text("endpoint");
        let region = section.filled_text("region");
        let allow_http = section.boolean("allow_http", false);
        let LakeCredentials::Ambient = section.choice("credentials");
        let deleted_rows = section.choice("deleted_rows");
        let endpoint = endpoint.and_then(|text| match read_endpoint(&text, allow_http) {
            Ok(url) => Some(url),
            Err(problem) => {
                section.add_problem("endpoint", problem);
                None
            }
        });
        let text = text?;
        if cfg!(not(feature = "lake")) {
            section.add_problem("url", "needs a halosync that was built with the feature `lake`");
            return None;
        }
        let url = match LakeUrl::parse(&text) {
            Ok(url) => url,
            Err(problem) => {
                section.add_problem("url", problem);
                return None;
            }
        };
        let by_host = || halo.and_then(|halo| LakeServer::parse(halo.server.host()));
        let server = match server.flatten().or_else(by_host) {
            Some(server) => server,
            None if halo.is_none() => return None,
            None => {
                let problem = format!(
                    "must be set, to {}: the address of the server cannot be its name",
                    LakeServer::RULE
                );
                section.add_problem("server", problem);
                return None;
            }
        };
        Some(LakeConfig {
            url,
            server,
            schedule: schedule.unwrap_or(ExportSchedule::Every(Duration::from_hours(1))),
            rebase,
            max_file: max_file.unwrap_or(MAX_FILE),
            endpoint,
            region,
            allow_http,
            deleted_rows,
        })
    }
}

fn read_endpoint(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("must not contain a user name, a password or a query".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || is_loopback(&url) => Ok(url),
        "http" => Err("must be https, unless `lake.allow_http` is true".into()),
        other => Err(format!("must be https, not {other}")),
    }
}

/// Kind of an object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LakeScheme {
    /// Amazon S3, or a store that speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
    /// A folder.
    File,
}

/// Where a lake is: a bucket, container or folder, and a prefix in it. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeUrl {
    scheme: LakeScheme,
    bucket: String,
    prefix: String,
}

impl LakeUrl {
    /// Parses an address such as `s3://bucket/halo`.
    ///
    /// # Errors
    /// The problem, as the end of a sentence that begins with the key.
    pub fn parse(text: &str) -> Result<LakeUrl, String> {
        const EXAMPLES: &str =
            "s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or file:///FOLDER";
        let text = text.trim();
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| format!("must be an address such as {EXAMPLES}"))?;
        let scheme = match scheme {
            "s3" => LakeScheme::S3,
            "az" => LakeScheme::Azure,
            "gs" => LakeScheme::Google,
            "file" => LakeScheme::File,
            other => return Err(format!("must be {EXAMPLES}, not {other}://")),
        };
        if rest.contains(['?', '#', '@', '%', '\\', '*']) || rest.chars().any(char::is_control) {
            return Err("must not contain a user name, a query or any of the characters ? # @ % \\ *".into());
        }
        let segments = |path: &str| -> Vec<String> {
            path.split('/').filter(|it| !it.is_empty()).map(ToOwned::to_owned).collect()
        };
        let parts = segments(rest);
        if parts.iter().any(|it| it == "." || it == "..") {
            return Err("must not contain `.` or `..` as a folder".into());
        }
        if scheme == LakeScheme::File {
            if !rest.starts_with('/') || parts.is_empty() {
                return Err("must name a folder from the root on, such as file:///srv/lake".into());
            }
            return Ok(LakeUrl { scheme, bucket: String::new(), prefix: parts.join("/") });
        }
        let mut parts = parts.into_iter();
        let bucket = parts.next().filter(|_| !rest.starts_with('/'));
        let bucket = bucket.ok_or("must name a bucket or container behind ://")?;
        Ok(LakeUrl { scheme, bucket, prefix: parts.collect::<Vec<_>>().join("/") })
    }

    /// Returns the kind of the store.
    #[must_use]
    pub fn scheme(&self) -> LakeScheme {
        self.scheme
    }

    /// Returns the bucket or container; empty for a folder.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the path in the bucket, or the folder from the root on; no slash at either end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the address of an object in the lake.
    #[must_use]
    pub fn object(&self, name: &str) -> String {
        format!("{self}/{name}")
    }
}

impl fmt::Display for LakeUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            LakeScheme::S3 => "s3",
            LakeScheme::Azure => "az",
            LakeScheme::Google => "gs",
            LakeScheme::File => "file",
        };
        write!(out, "{scheme}://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(out, "/{}", self.prefix) }
    }
}

/// Name of a copy in a lake: `[a-z0-9.-]{1,64}`, which is safe in the name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct LakeServer(String);

impl LakeServer {
    /// The rule for names, to complete "must be …".
    pub const RULE: &'static str =
        "a name of 1 to 64 characters a-z, 0-9, `.` and `-` that begins with a letter or digit";

    /// Parses a name; `None` if it breaks the rule.
    #[must_use]
    pub fn parse(name: &str) -> Option<LakeServer> {
        is_short_name(name, *b".-").then(|| LakeServer(name.to_owned()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_lake_names_bucket_and_prefix() {
        for (text, expected) in [
            ("s3://bucket/halo", Ok("s3://bucket/halo")),
            (" s3://bucket ", Ok("s3://bucket")),
            ("s3://bucket/a//b/", Ok("s3://bucket/a/b")),
            ("az://container/halo", Ok("az://container/halo")),
            ("gs://bucket/halo", Ok("gs://bucket/halo")),
            ("file:///srv/lake/", Ok("file:///srv/lake")),
            ("file://srv/lake", Err("must name a folder")),
            ("file:///", Err("must name a folder")),
            ("file:///srv/../etc", Err("must not contain `.`")),
            ("s3://", Err("must name a bucket")),
            ("s3:///halo", Err("must name a bucket")),
            ("s3://key:secret@bucket/halo", Err("must not contain a user name")),
            ("s3://bucket/halo?x=1", Err("must not contain a user name")),
            ("https://bucket.s3.amazonaws.com", Err("must be s3://")),
            ("bucket/halo", Err("must be an address")),
        ] {
            let parsed = LakeUrl::parse(text).map(|url| url.to_string());
            match expected {
                Ok(url) => assert_eq!(parsed.as_deref(), Ok(url), "{text}"),
                Err(start) => assert!(parsed.is_err_and(|it| it.starts_with(start)), "{text}"),
            }
        }
    }

    #[test]
    fn way_to_a_store_is_encrypted_unless_the_settings_allow_otherwise() {
        let lake = LakeConfig::reading(LakeUrl::parse("s3://lake").unwrap());
        let open = LakeConfig { allow_http: true, ..lake.clone() };
        for (lake, endpoint, expected) in [
            (&lake, None, Ok(StoreRoute::Encrypted)),
            (&lake, Some("https://s3.example.com"), Ok(StoreRoute::Encrypted)),
            (&lake, Some("http://127.0.0.1:9000"), Ok(StoreRoute::Local)),
            (&lake, Some("https://localhost:9000"), Ok(StoreRoute::Local)),
            (&lake, Some("http://minio.example.com"), Err("must be https")),
            (&open, Some("http://minio.example.com"), Ok(StoreRoute::Unencrypted)),
            (&open, None, Ok(StoreRoute::Encrypted)),
        ] {
            let route = lake.route(endpoint);
            match expected {
                Ok(expected) => assert_eq!(route, Ok(expected), "{endpoint:?}"),
                Err(start) => assert!(route.is_err_and(|it| it.starts_with(start)), "{endpoint:?}"),
            }
        }
    }

    #[test]
    fn name_in_a_lake_is_safe_in_a_path() {
        for (name, is_valid) in [
            ("acme.haloitsm.com", true),
            ("a", true),
            ("10.0.0.1", true),
            ("", false),
            (".", false),
            ("-a", false),
            ("Acme", false),
            ("a/b", false),
            ("a_b", false),
            ("[::1]", false),
        ] {
            assert_eq!(LakeServer::parse(name).is_some(), is_valid, "{name:?}");
        }
        assert!(LakeServer::parse(&"a".repeat(64)).is_some() && LakeServer::parse(&"a".repeat(65)).is_none());
    }
}
