//! What the server is asked, from whether it is there to what its lists show.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::{Counts, Sheet, Step, Verdict, certificate, judge};
use crate::agent::{self, AgentError, now};
use crate::config::Config;
use crate::halo::{Coverage, Filter, Halo, Http, Throttle, Wiring};

/// The greatest page that HaloITSM gives.
const PAGE_MAX: u32 = 100;

/// How often a failed request is repeated: somebody is waiting for the answer.
const RETRIES_MAX: u32 = 1;

/// How long a server that is throttled is waited for, for the same reason.
const PATIENCE: Duration = Duration::from_secs(5);

impl Sheet<'_> {
    /// The server, step by step; `None` where it ends early.
    pub(super) async fn server(
        &mut self,
        config: &Config,
        secret: Option<SecretString>,
        spent: u64,
    ) -> Option<()> {
        let wiring = agent::wiring(config).map(|wiring| Wiring { keeps_certificate: true, ..wiring });
        let http = wiring.and_then(|wiring| Http::new(&wiring).map_err(AgentError::Wiring));
        let http = match http {
            Ok(http) => Arc::new(http),
            Err(error) => {
                self.enter(Step::Server, Verdict::Bad(error));
                return None;
            }
        };
        let limit = config.halo.rate_limit;
        // What comes before the token needs no secret.
        let known = secret.is_some();
        let mut terms = agent::terms(config, secret.unwrap_or_else(|| SecretString::from(String::new())));
        terms.retry.max_retries = terms.retry.max_retries.min(RETRIES_MAX);
        terms.retry.rate_limit_wait = terms.retry.rate_limit_wait.min(PATIENCE);
        terms.retry.patience = PATIENCE;
        let halo = Halo::new(http.clone(), Throttle::new(limit, spent), terms, fastrand::f64);

        let reached = match halo.reach().await {
            Ok(reached) => reached,
            Err(error) => {
                self.enter(Step::Server, Verdict::of(error));
                return None;
            }
        };
        self.enter(Step::Server, judge::server(reached, &config.halo.server));
        let verdict = if config.halo.server.is_encrypted() {
            certificate::verdict(http.certificate().as_deref(), now())
        } else {
            Verdict::Good("none: the server is this machine, and nothing is encrypted".into())
        };
        self.enter(Step::Certificate, verdict);
        let (ahead, verdict) = judge::clock(reached, now());
        self.checked.clock_ahead = ahead;
        self.enter(Step::Clock, verdict);
        match halo.authorisation_server().await {
            Ok(endpoint) => {
                let (auth, tenant) = (config.halo.auth_url.is_some(), config.halo.tenant.is_some());
                self.enter(Step::Authorisation, judge::authorisation(&endpoint, auth, tenant));
            }
            Err(error) => {
                self.enter(Step::Authorisation, Verdict::of(error));
                return None;
            }
        }
        if !known {
            return None;
        }
        match halo.sign_in().await {
            Ok(instead) => self.enter(Step::Token, judge::token(&config.halo.scope, instead)),
            Err(error) => {
                self.enter(Step::Token, Verdict::of(error));
                return None;
            }
        }
        let (types, verdict) = judge::ticket_types(&config.halo.ticket_types, halo.ticket_types().await);
        let failed = matches!(verdict, Verdict::Bad(_));
        self.enter(Step::TicketTypes, verdict);
        // Without their numbers the counts would be those of other tickets.
        if failed { None } else { self.lists(config, &halo, types).await }
    }

    /// What the list shows of these types.
    async fn lists(&mut self, config: &Config, halo: &Halo, types: Vec<i64>) -> Option<()> {
        let all = |coverage| Filter::All { types: types.clone(), coverage };
        let mut counts = Counts::default();
        for (coverage, count) in [
            (Coverage::Plain, &mut counts.plain),
            (Coverage::Open, &mut counts.open),
            (Coverage::Closed, &mut counts.closed),
        ] {
            match halo.page(&all(coverage).into(), 1, 10).await {
                Ok(listed) => *count = listed.list.record_count,
                Err(error) => {
                    self.enter(Step::Coverage, Verdict::of(error));
                    return None;
                }
            }
        }
        self.checked.counts = Some(counts);
        self.enter(Step::Coverage, judge::coverage(counts));

        let page = match halo.list(&all(Coverage::Plain), 1, PAGE_MAX).await {
            Ok(page) => page,
            Err(error) => {
                self.enter(Step::PageCap, Verdict::of(error));
                return None;
            }
        };
        let rows = page.list.received as u64;
        self.checked.page_rows = Some(rows);
        self.checked.ticket_bytes = (page.receipt.bytes as u64).checked_div(rows);
        self.enter(Step::PageCap, judge::page_cap(rows, PAGE_MAX.into(), page.list.record_count));

        let (plain, count) = (counts.plain?, counts.all()?);
        // A list that is shorter than a page tells nothing of how long a page can be.
        let full = if rows < plain { rows } else { PAGE_MAX.into() };
        let (rows, lanes) = (full.min(config.halo.page_size.into()), config.halo.parallel_requests);
        let limit = config.halo.rate_limit;
        let fields = judge::fields(config.halo.include_custom_fields, &self.checked.calibrations);
        let takes = |singles| judge::first_pass(count, rows, singles, lanes, page.receipt.took, limit);
        let (listed, one_by_one) = (takes(0), takes(count));
        self.checked.first_pass = Some(if fields == judge::Fields::OneByOne { one_by_one } else { listed });
        self.enter(Step::FirstPass, judge::estimate(listed, one_by_one, fields, limit));
        Some(())
    }
}
