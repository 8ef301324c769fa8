//! Sets up the object store of the settings.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::app::{AppError, http_options};
use crate::config::{Config, LakeConfig, LakeUrl, SecretSource, StoreRoute};
use crate::halo::{HttpOptions, Redactor, other_client};
use crate::lake::{LakeStore, StoreConnection};

/// How long one request may take: the upload of a file of the greatest size over a slow line.
const REQUEST_MAX: Duration = Duration::from_mins(10);

/// How long connecting may take where no settings say.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Beginnings of the names of variables from which credentials of stores come.
const CREDENTIAL_PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Parts of those names where the value is secret.
const SECRET_PARTS: [&str; 5] = ["SECRET", "TOKEN", "KEY", "SAS", "PASSWORD"];

/// Ends of names whose value says where to find a secret, or who asks.
const PUBLIC_ENDS: [&str; 6] = ["_FILE", "_PATH", "_URI", "_URL", "ACCESS_KEY_ID", "_SERVICE_ACCOUNT"];

/// Sets up the connection; sends no request.
pub(crate) fn open_lake(
    config: &Config,
    lake: &LakeConfig,
    stop: CancellationToken,
) -> Result<LakeStore, AppError> {
    let secret = match &config.halo.secret {
        SecretSource::Environment(secret) | SecretSource::Inline(secret) => secret.expose_secret(),
        _ => "",
    };
    connect(http_options(config)?, secret, lake, stop)
}

/// Sets up the connection of a reader that has no settings; sends no request.
pub(super) fn open_lake_without_settings(
    url: &LakeUrl,
    stop: CancellationToken,
) -> Result<LakeStore, AppError> {
    let options = HttpOptions { connect_timeout: CONNECT_MAX, ..HttpOptions::default() };
    connect(options, "", &LakeConfig::reading(url.clone()), stop)
}

fn connect(
    options: HttpOptions,
    client_secret: &str,
    lake: &LakeConfig,
    stop: CancellationToken,
) -> Result<LakeStore, AppError> {
    // Stores of a provider have certificates that the system knows, whatever those of HaloITSM are.
    let options = HttpOptions { request_timeout: REQUEST_MAX, ca_only: false, ..options };
    let client = Box::new(move |route| {
        let options = HttpOptions { loopback: route == StoreRoute::Local, ..options.clone() };
        other_client(&options, route == StoreRoute::Encrypted).map_err(|error| error.to_string())
    });
    let redactor = Redactor::new(client_secret);
    for secret in store_secrets(std::env::vars()) {
        redactor.add_token(&secret);
    }
    let clean = Arc::new(move |text: &str| redactor.text(text).into_string());
    Ok(LakeStore::open(lake, StoreConnection { client, stop, clean })?)
}

/// The secrets among the variables from which stores take credentials.
fn store_secrets(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let is_secret = |name: &str| {
        CREDENTIAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && SECRET_PARTS.iter().any(|part| name.contains(part))
            && !PUBLIC_ENDS.iter().any(|end| name.ends_with(end))
    };
    let named = variables.map(|(name, value)| (name.to_ascii_uppercase(), value));
    named.filter(|(name, _)| is_secret(name)).map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_stores_are_known_by_the_names_of_their_variables() {
        for (name, is_secret) in [
            ("AWS_SECRET_ACCESS_KEY", true),
            ("AWS_SESSION_TOKEN", true),
            ("aws_secret_access_key", true),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", true),
            ("AZURE_STORAGE_ACCOUNT_KEY", true),
            ("AZURE_STORAGE_SAS_TOKEN", true),
            ("AZURE_CLIENT_SECRET", true),
            ("GOOGLE_SERVICE_ACCOUNT_KEY", true),
            ("AWS_ACCESS_KEY_ID", false),
            ("AWS_REGION", false),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", false),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", false),
            ("GOOGLE_SERVICE_ACCOUNT", false),
            ("HALOSYNC_HALO__CLIENT_SECRET", false),
        ] {
            let variables = [(name.to_owned(), "value".to_owned())].into_iter();
            assert_eq!(store_secrets(variables).len(), usize::from(is_secret), "{name}");
        }
    }
}
