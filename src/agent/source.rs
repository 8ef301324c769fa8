//! The server of the settings: how it is asked, and with which secret.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::settings::{self, Loaded};
use super::{AgentError, ago};
use crate::config::{self, Config};
use crate::halo::{Halo, Http, Terms, Throttle, Wiring};
use crate::store::{Snapshot, StoreError};
use crate::sync;

/// A server that can be asked, and was not yet.
pub(super) struct Source {
    http: Http,
    secret: SecretString,
}

impl Source {
    /// Reads the secret and sets connections up.
    pub(super) fn of(loaded: &Loaded) -> Result<Source, AgentError> {
        let secret = settings::secret(loaded)?;
        let http = Http::new(&wiring(&loaded.config)?).map_err(AgentError::Wiring)?;
        Ok(Source { http, secret })
    }

    /// Whether the secret is another one.
    pub(super) fn has_another_secret(&self, than: &SecretString) -> bool {
        self.secret.expose_secret() != than.expose_secret()
    }

    /// The secret.
    pub(super) fn secret(&self) -> SecretString {
        self.secret.clone()
    }

    /// Begins to ask, when `spent` requests were made in the window before now.
    pub(super) fn open(self, config: &Config, spent: u64) -> Halo {
        let throttle = Throttle::new(config.halo.rate_limit, spent);
        Halo::new(Arc::new(self.http), throttle, terms(config, self.secret), fastrand::f64)
    }
}

/// How many requests earlier passes may have made in the window before now.
pub(crate) fn spent(config: &Config, snapshot: &Snapshot<'_>) -> Result<u64, StoreError> {
    snapshot.spent_since(ago(config.halo.rate_limit.window), unrecorded(&config.halo))
}

/// Requests that a killed pass may have made without writing them down: the pages of two batches of rows,
/// those that the lanes fetched ahead, what comes before the first page, and what is compared after it.
fn unrecorded(halo: &config::Halo) -> u64 {
    const TWO_BATCHES: u64 = 2 * sync::BATCH_ROWS as u64;
    const AHEAD_A_LANE: u64 = 4;
    const BEFORE_THE_FIRST: u64 = 6;
    // Twice some tickets by the list and alone.
    const COMPARED: u64 = 2 * (sync::SAMPLES_MAX as u64 + 1);
    let pages = TWO_BATCHES.div_ceil(u64::from(halo.page_size.max(1)));
    let compared = if halo.include_custom_fields { COMPARED } else { 0 };
    pages + AHEAD_A_LANE * u64::from(halo.parallel_requests) + BEFORE_THE_FIRST + compared
}

/// How the server of the settings is asked.
pub(crate) fn terms(config: &Config, secret: SecretString) -> Terms {
    Terms {
        server: config.halo.server.clone(),
        tenant: config.halo.tenant.clone(),
        auth_url: config.halo.auth_url.clone(),
        client_id: config.halo.client_id.clone(),
        client_secret: secret,
        scope: config.halo.scope.clone(),
        retry: config.halo.retry,
    }
}

/// What connections to it are made of.
pub(crate) fn wiring(config: &Config) -> Result<Wiring, AgentError> {
    let halo = &config.halo;
    let ca = halo.ca_file.as_deref().map(settings::certificates).transpose()?;
    Ok(Wiring {
        connect_timeout: halo.connect_timeout,
        request_timeout: halo.request_timeout,
        ca,
        proxy: halo.proxy.clone(),
        loopback: halo.server.is_loopback(),
        keeps_certificate: false,
    })
}
