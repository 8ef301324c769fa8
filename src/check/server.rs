//! Steps on the server, from reaching it to what its lists show.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::initial_load::{CustomFieldsReadMode, custom_fields_mode, estimate_initial_load, initial_load};
use super::requests::UsedRequests;
use super::{CheckOutcome, CheckStep, ListCounts, ReportBuilder, certificate, connection, lists};
use crate::app::{self, AppError, now};
use crate::config::Config;
use crate::halo::{
    Coverage, Filter, HaloClient, HttpOptions, HttpTransport, ProxyRoute, RateLimiter, Transport as _,
};
use crate::privacy::PrivacyRules;
use crate::reference::{TICKET_TYPES, reference_items};

/// Largest page size that HaloITSM allows.
const PAGE_MAX: u32 = 100;

/// Retries of a failed request; few, because somebody is waiting.
const RETRIES_MAX: u32 = 1;

/// Longest wait after a 429 response; short for the same reason.
const MAX_WAIT: Duration = Duration::from_secs(5);

impl ReportBuilder<'_> {
    /// Checks the server; returns how many requests that took.
    pub(super) async fn check_server(
        &mut self,
        config: &Config,
        secret: Option<SecretString>,
        used: UsedRequests,
    ) -> u64 {
        let http_options =
            app::http_options(config).map(|options| HttpOptions { keeps_certificate: true, ..options });
        let http =
            http_options.and_then(|options| HttpTransport::new(&options).map_err(AppError::HttpOptions));
        let Some(http) = self.value_or_failure(CheckStep::Server, http).map(Arc::new) else { return 0 };
        let proxy = http.proxy_route(&config.halo.server.endpoint("/"));
        // The steps before the token need no secret.
        let has_secret = secret.is_some();
        let secret = secret.unwrap_or_else(|| SecretString::from(String::new()));
        // Without the key nothing of a hashed column is left, and the step that reads the key says so.
        let privacy = app::privacy_rules(config)
            .unwrap_or_else(|_| Arc::new(PrivacyRules::new(&config.privacy.rules, None)));
        let mut options = app::client_options(config, secret, privacy);
        options.retry.max_retries = options.retry.max_retries.min(RETRIES_MAX);
        options.retry.rate_limit_wait = options.retry.rate_limit_wait.min(MAX_WAIT);
        options.retry.max_wait = MAX_WAIT;
        let used_before = used.total;
        let (limit, used) = used.limit_for_check(config.halo.rate_limit);
        let halo = HaloClient::new(http.clone(), RateLimiter::new(limit, used), options, fastrand::f64);
        // An early end is recorded as a finding.
        let _ = self.check_connection(config, &http, &halo, proxy.as_ref(), has_secret, used_before).await;
        halo.request_counts().requests
    }

    /// Checks the connection and what comes after it; `None` where a failure ends it early.
    async fn check_connection(
        &mut self,
        config: &Config,
        http: &HttpTransport,
        halo: &HaloClient,
        proxy: Option<&ProxyRoute>,
        has_secret: bool,
        used_before: u64,
    ) -> Option<()> {
        let ping = self.value_or_failure(CheckStep::Server, halo.ping().await)?;
        self.record(CheckStep::Server, connection::server(ping, &config.halo.server, proxy));
        let outcome = if config.halo.server.is_encrypted() {
            certificate::check(http.certificate().as_deref(), now())
        } else {
            let message = "none: the server is on this machine, and the connection is not encrypted";
            CheckOutcome::Ok(message.into())
        };
        // Certificate and addresses are texts of the server.
        let shown = |text: &str| halo.server_text(text).into_string();
        self.record(CheckStep::Certificate, outcome.map_message(shown));
        let (seconds_ahead, outcome) = connection::clock(ping, now());
        self.report.clock_ahead_seconds = seconds_ahead;
        self.record(CheckStep::Clock, outcome);
        let endpoint = halo.authorization_server().await;
        let endpoint = self.value_or_failure(CheckStep::Authorization, endpoint)?;
        let (auth, tenant) = (config.halo.auth_url.is_some(), config.halo.tenant.is_some());
        let outcome = connection::authorization(&endpoint, auth, tenant).map_message(shown);
        self.record(CheckStep::Authorization, outcome);
        if !has_secret {
            return None;
        }
        let scope = &config.halo.scope;
        let message = |(): &()| format!("the server issues a token for scope `{scope}`");
        self.record_result(CheckStep::Token, halo.authenticate().await, message)?;
        let (types, outcome) = lists::ticket_types(
            &config.halo.ticket_types,
            halo.fetch_reference_list(TICKET_TYPES).await.map(|list| reference_items(TICKET_TYPES, &list)),
        );
        let failed = matches!(outcome, CheckOutcome::Fail(_));
        self.record(CheckStep::TicketTypes, outcome);
        // Without the ids of the types the counts would be those of other tickets.
        if failed { None } else { self.check_lists(config, halo, types, used_before).await }
    }

    /// Checks counts, page size and the cost of the initial load for these ticket types.
    async fn check_lists(
        &mut self,
        config: &Config,
        halo: &HaloClient,
        types: Vec<i64>,
        used_before: u64,
    ) -> Option<()> {
        let filter_for = |coverage| Filter::All { types: types.clone(), coverage };
        let mut counts = ListCounts::default();
        for (coverage, count) in [
            (Coverage::Plain, &mut counts.plain_list),
            (Coverage::Open, &mut counts.open),
            (Coverage::Closed, &mut counts.closed),
        ] {
            let page = halo.fetch_page(&filter_for(coverage).into(), 1, 10).await;
            *count = self.value_or_failure(CheckStep::Coverage, page)?.list.record_count;
        }
        self.report.counts = Some(counts);
        self.record(CheckStep::Coverage, lists::coverage(counts));

        let page = halo.fetch_list(&filter_for(Coverage::Plain), 1, PAGE_MAX).await;
        let page = self.value_or_failure(CheckStep::PageCap, page)?;
        let rows = page.list.rows_received as u64;
        self.report.page_rows = Some(rows);
        self.report.ticket_bytes = (page.meta.bytes as u64).checked_div(rows);
        self.record(CheckStep::PageCap, lists::page_cap(rows, PAGE_MAX.into(), page.list.record_count));

        let (default_count, count) = (counts.plain_list?, counts.total()?);
        // A list shorter than a page says nothing about the page cap.
        let page_cap = if rows < default_count { rows } else { PAGE_MAX.into() };
        let (page_rows, parallel_requests) =
            (page_cap.min(config.halo.page_size.into()), config.halo.parallel_requests);
        let limit = config.halo.rate_limit;
        let mode = custom_fields_mode(config.halo.include_custom_fields, &self.report.probes);
        let took = page.meta.took;
        // A load that starts now waits until the requests of the check leave the window, too.
        let used = used_before + halo.request_counts().requests;
        let estimate = |single_requests| {
            estimate_initial_load(count, page_rows, single_requests, parallel_requests, took, limit, used)
        };
        let (with_list, per_ticket) = (estimate(0), estimate(count));
        self.report.initial_load =
            Some(if mode == CustomFieldsReadMode::PerTicket { per_ticket } else { with_list });
        self.record(CheckStep::InitialLoad, initial_load(with_list, per_ticket, mode, limit));
        Some(())
    }
}
