//! Builds the client for the server in the settings.

use std::sync::Arc;

use secrecy::SecretString;

use super::settings::{self, LoadedConfig};
use super::{AppError, ago};
use crate::config::{self, Config};
use crate::halo::{ClientOptions, HaloClient, HttpOptions, HttpTransport, RateLimiter};
use crate::privacy::PrivacyRules;
use crate::store::{ReadTx, StoreError};
use crate::sync;

/// A connection to the server that is set up, but has sent no request yet.
pub(super) struct HaloConnector {
    http: HttpTransport,
    pub(super) secret: SecretString,
}

impl HaloConnector {
    /// Reads the secret and builds the HTTP transport.
    pub(super) fn from_config(loaded: &LoadedConfig) -> Result<HaloConnector, AppError> {
        let secret = settings::read_secret(loaded)?;
        let http = HttpTransport::new(&http_options(&loaded.config)?).map_err(AppError::HttpOptions)?;
        Ok(HaloConnector { http, secret })
    }

    /// Builds the client for a database, with its privacy rules; `used_requests` of the rate limit's window are used up
    /// already.
    pub(super) fn into_client(
        self,
        config: &Config,
        privacy: Arc<PrivacyRules>,
        used_requests: u64,
    ) -> HaloClient {
        let rate_limiter = RateLimiter::new(config.halo.rate_limit, used_requests);
        let options = client_options(config, self.secret, privacy);
        HaloClient::new(Arc::new(self.http), rate_limiter, options, fastrand::f64)
    }
}

/// The greatest number of requests that earlier runs can have made in the rate limit's window before now.
pub(crate) fn requests_in_window(config: &Config, tx: &ReadTx<'_>) -> Result<u64, StoreError> {
    tx.requests_since(ago(config.halo.rate_limit.window), unrecorded_requests(&config.halo))
}

/// The greatest number of requests that a killed run can have made without recording them: the pages of two
/// batches of rows, prefetched pages, what comes before the first page, and sampled tickets after it.
fn unrecorded_requests(halo: &config::HaloConfig) -> u64 {
    const TWO_BATCHES: u64 = 2 * sync::BATCH_ROWS as u64;
    const PREFETCHED_PER_FETCHER: u64 = 4;
    const BEFORE_FIRST_PAGE: u64 = 6;
    // Each sample is requested twice, by the list and alone.
    const SAMPLE_REQUESTS: u64 = 2 * (sync::SAMPLES_MAX as u64 + 1);
    let pages = TWO_BATCHES.div_ceil(u64::from(halo.page_size.max(1)));
    let sample_requests = if halo.include_custom_fields { SAMPLE_REQUESTS } else { 0 };
    pages + PREFETCHED_PER_FETCHER * u64::from(halo.parallel_requests) + BEFORE_FIRST_PAGE + sample_requests
}

pub(crate) fn client_options(
    config: &Config,
    secret: SecretString,
    privacy: Arc<PrivacyRules>,
) -> ClientOptions {
    ClientOptions {
        server: config.halo.server.clone(),
        tenant: config.halo.tenant.clone(),
        auth_url: config.halo.auth_url.clone(),
        client_id: config.halo.client_id.clone(),
        client_secret: secret,
        scope: config.halo.scope.clone(),
        narrower_scope: config.halo.narrower_scope.clone(),
        retry: config.halo.retry,
        privacy,
    }
}

pub(crate) fn http_options(config: &Config) -> Result<HttpOptions, AppError> {
    let halo = &config.halo;
    let ca = halo.ca_file.as_deref().map(settings::read_ca_file).transpose()?;
    Ok(HttpOptions {
        connect_timeout: halo.connect_timeout,
        request_timeout: halo.request_timeout,
        ca,
        ca_only: halo.ca_only,
        proxy: halo.proxy.clone(),
        loopback: halo.server.is_loopback(),
        keeps_certificate: false,
    })
}
