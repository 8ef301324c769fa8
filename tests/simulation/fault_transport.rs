//! The transport between client and server: responses take time, the server changes between them, requests meet faults,
//! and the client is killed at one of them.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use halo_simulator::{Effect, RetryAfter, Server, ServerFault, Trigger, WrongCount, WrongTickets};
use halosync::halo::{HttpRequest, HttpResponse, Transport, TransportError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::coverage::CoverageEvent;
use crate::reference_lists::{ListedRows, ServerList};
use crate::reference_model::{ReferenceModel, Seq};
use crate::row_defects;
use crate::scenario::{
    Condition, Hazards, NameScenario, PlannedEnd, RunScenario, Scenario, ScopeChoice, is_enabled, percent,
    stream,
};
use crate::server_activity::{self, Timing};
use crate::support::virtual_server::VirtualServer;

/// More requests than a run of a small scenario can need.
const REQUESTS_MAX: u32 = 20_000;

/// A response to a list request, in the order in which the server gave them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListResponse {
    /// The last server event that it can reflect.
    pub(crate) seq: Seq,
    /// The server's time on it, once the client has received it.
    pub(crate) received: Option<DateTime<Utc>>,
}

/// The requests of the present run.
#[derive(Clone, Debug)]
pub(crate) struct RunTrace {
    number: u64,
    scenario: RunScenario,
    requests: u32,
    pub(crate) lists: Vec<ListResponse>,
    /// Requests for reference lists other than statuses and ticket types.
    list_requests: u32,
    /// What responses showed of reference lists.
    pub(crate) listed: Vec<ListedRows>,
}

/// A transport that injects faults, with the server at its other end.
pub(crate) struct FaultTransport {
    pub(crate) simulated: Arc<VirtualServer>,
    seed: u64,
    latency_ms: u64,
    admin_activity: bool,
    hazards: Hazards,
    names: NameScenario,
    state: Mutex<(ReferenceModel, RunTrace)>,
    /// Notified when the client must be killed at a request.
    pub(crate) killed: Notify,
}

impl FaultTransport {
    pub(crate) fn new(
        simulated: Arc<VirtualServer>,
        model: ReferenceModel,
        scenario: &Scenario,
    ) -> Arc<FaultTransport> {
        let trace = RunTrace {
            number: 0,
            scenario: RunScenario::undisturbed(ScopeChoice::PLAIN, &[]),
            requests: 0,
            lists: Vec::new(),
            list_requests: 0,
            listed: Vec::new(),
        };
        Arc::new(FaultTransport {
            simulated,
            seed: scenario.seed,
            latency_ms: scenario.latency_ms,
            admin_activity: scenario.admin_activity,
            hazards: scenario.hazards,
            names: scenario.names.clone(),
            state: Mutex::new((model, trace)),
            killed: Notify::new(),
        })
    }

    /// Starts the trace of another run.
    pub(crate) fn start_run(&self, number: u64, scenario: &RunScenario) {
        self.state().1 = RunTrace {
            number,
            scenario: scenario.clone(),
            requests: 0,
            lists: Vec::new(),
            list_requests: 0,
            listed: Vec::new(),
        };
    }

    pub(crate) fn trace(&self) -> RunTrace {
        self.state().1.clone()
    }

    /// Gives access to the server and the reference model at the present time.
    pub(crate) fn with<R>(
        &self,
        access: impl FnOnce(&mut ReferenceModel, &mut Server, DateTime<Utc>) -> R,
    ) -> R {
        let mut state = self.state();
        self.simulated.with(|server, now| access(&mut state.0, server, now))
    }

    /// Appends a line to the log of the simulation run.
    pub(crate) fn log(&self, line: impl FnOnce() -> String) {
        let now = self.simulated.now();
        self.state().0.log(now, line);
    }

    fn state(&self) -> MutexGuard<'_, (ReferenceModel, RunTrace)> {
        self.state.lock().expect("no earlier panic")
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let (path, query) =
            (request.url.path().to_owned(), request.url.query().unwrap_or_default().to_owned());
        let list = ServerList::of_request(&path, &query);
        match list {
            // They have random streams of their own, so that the other draws do not depend on which tables are read.
            Some(list) if !list.is_always_read => self.exchange_list(list, request).await,
            Some(list) => Ok(self.show(list, &query, self.exchange_counted(request).await?)),
            None => self.exchange_counted(request).await,
        }
    }

    /// Exchanges a request for a reference list.
    async fn exchange_list(
        &self,
        list: &'static ServerList,
        request: HttpRequest,
    ) -> Result<HttpResponse, TransportError> {
        let since = Instant::now();
        let query = request.url.query().unwrap_or_default().to_owned();
        let (number, killed_at, mut rng) = {
            let trace = &mut self.state().1;
            trace.list_requests += 1;
            let rng = stream(self.seed, 8_400 + trace.number, u64::from(trace.list_requests));
            (trace.list_requests, trace.scenario.killed_at_list, rng)
        };
        if killed_at == Some(number) || number == REQUESTS_MAX {
            return self.kill_client().await;
        }
        let latency = |rng: &mut Rng| Duration::from_millis(rng.u64(..=self.latency_ms / 2));
        sleep(latency(&mut rng)).await;
        {
            let mut state = self.state();
            let (model, trace) = &mut *state;
            self.simulated.with(|server, now| {
                if self.names.activity && percent(&mut rng, trace.scenario.activity) {
                    server_activity::change_reference(model, server, now, &mut rng);
                }
                if percent(&mut rng, trace.scenario.faults) {
                    let (event, effect) = draw_fault(&mut rng);
                    model.coverage.record(event);
                    model.log(now, || format!("list request {number} ({}) meets {effect:?}", list.table));
                    inject(server, effect);
                }
            });
        }
        let response = self.simulated.send(request).await;
        sleep(latency(&mut rng)).await;
        let mut response = response?;
        response.took = since.elapsed();
        Ok(self.show(list, &query, response))
    }

    /// Replaces the response where the list is not what it should be, and records what it shows.
    fn show(&self, list: &'static ServerList, query: &str, mut response: HttpResponse) -> HttpResponse {
        let mut state = self.state();
        let (model, trace) = &mut *state;
        let outage = model.outages.get(list.table).filter(|_| response.status == 200);
        if let Some((status, body)) = outage.and_then(|outage| outage.apply(list, &response.body)) {
            (response.status, response.body) = (status, body.into());
        }
        trace.listed.push(list.parse(query, response.status, &response.body));
        response
    }

    async fn exchange_counted(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let since = Instant::now();
        let (number, end, mut rng) = self.count_request();
        if end == PlannedEnd::KilledAtRequest(number) || number == REQUESTS_MAX {
            return self.kill_client().await;
        }
        let latency = |rng: &mut Rng| Duration::from_millis(rng.u64(..=self.latency_ms / 2));
        sleep(latency(&mut rng)).await;
        let path = request.url.path().to_owned();
        let list = self.disturb(&mut rng, &path, request.url.query().unwrap_or_default());
        let response = self.simulated.send(request).await;
        if end == PlannedEnd::KilledAtResponse(number) {
            return self.kill_client().await;
        }
        sleep(latency(&mut rng)).await;
        let mut response = response?;
        response.took = since.elapsed();
        if let (Some(index), 200) = (list, response.status) {
            let date = response.date.unwrap_or_else(|| {
                self.simulated.now() - TimeDelta::from_std(response.took).expect("a duration")
            });
            if let Some(list) = self.state().1.lists.get_mut(index) {
                list.received = Some(date);
            }
        }
        Ok(response)
    }

    /// Counts a request of the present run. Returns its number, the planned end of the run, and its random stream.
    fn count_request(&self) -> (u32, PlannedEnd, Rng) {
        let trace = &mut self.state().1;
        trace.requests += 1;
        let rng = stream(self.seed, 4 + trace.number, u64::from(trace.requests));
        (trace.requests, trace.scenario.end, rng)
    }

    /// Changes the server and injects a fault just before a response. Returns the index of the response among the list
    /// responses, if it is one that the client can use.
    fn disturb(&self, rng: &mut Rng, path: &str, query: &str) -> Option<usize> {
        let mut state = self.state();
        let (model, trace) = &mut *state;
        let is_list = path.ends_with("/tickets") && !query.contains("ticketids");
        let scanning = trace.has_list_response();
        let timing = if scanning { Timing::DuringScan } else { Timing::BetweenRuns { lower_bound: None } };
        self.simulated.with(|server, now| {
            let is_unreadable = |id: &i64| model.tickets[id].defects.unreadable;
            let stands_still = scanning
                && !is_enabled(Condition::ListChangesBetweenParts)
                && model.defective_ids().iter().any(is_unreadable);
            while !stands_still && percent(rng, trace.scenario.activity) {
                server_activity::change_tickets(model, server, now, timing, rng);
            }
            let mut admin_rng = stream(self.seed, 3_000 + trace.number, u64::from(trace.requests));
            if self.admin_activity && !stands_still && percent(&mut admin_rng, trace.scenario.activity / 3) {
                server_activity::administrate(model, server, now, timing, &mut admin_rng);
            }
            let mut defect_rng = stream(self.seed, 7_100 + trace.number, u64::from(trace.requests));
            if self.hazards.has_defects() && percent(&mut defect_rng, trace.scenario.activity / 3) {
                row_defects::change(model, server, now, self.hazards, &mut defect_rng);
            }
            let mut names_rng = stream(self.seed, 8_200 + trace.number, u64::from(trace.requests));
            if self.names.profiles_change && percent(&mut names_rng, trace.scenario.activity / 5) {
                server_activity::change_profile(model, server, now, &mut names_rng);
            }
            let spared = path.ends_with("/status") && !is_enabled(Condition::StatusListFails);
            let fault = percent(rng, trace.scenario.faults).then(|| draw_fault(rng)).filter(|_| !spared);
            if let Some((event, effect)) = &fault {
                model.coverage.record(*event);
                model.log(now, || format!("request {} ({path}) meets {effect:?}", trace.requests));
                inject(server, effect.clone());
            }
            if !is_list || fault.is_some_and(|(_, effect)| !is_harmless(&effect)) {
                return None;
            }
            trace.lists.push(ListResponse { seq: model.seq, received: None });
            Some(trace.lists.len() - 1)
        })
    }

    async fn kill_client(&self) -> Result<HttpResponse, TransportError> {
        self.killed.notify_one();
        pending().await
    }
}

impl Transport for FaultTransport {
    fn send(
        &self,
        ask: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.exchange(ask))
    }
}

impl RunTrace {
    /// Whether the client has received a list response; from then on a scan is in progress.
    pub(crate) fn has_list_response(&self) -> bool {
        self.lists.iter().any(|list| list.received.is_some())
    }

    pub(crate) fn scenario(&self) -> &RunScenario {
        &self.scenario
    }

    /// Whether the run was started with `--accept-deletes`.
    pub(crate) fn accepts_deletes(&self) -> bool {
        self.scenario.accept_deletes
    }

    /// The first list response that the client received.
    pub(crate) fn first_list(&self) -> Option<ListResponse> {
        self.lists.iter().find(|list| list.received.is_some()).copied()
    }

    pub(crate) fn has_too_many_requests(&self) -> bool {
        REQUESTS_MAX <= self.requests
    }

    /// Whether one ticket disappeared and another one entered between the same two responses, which no count shows. Up
    /// to `prefetched` other responses may lie between those to neighboring pages.
    pub(crate) fn has_undetectable_exchange(
        &self,
        model: &ReferenceModel,
        full: bool,
        prefetched: usize,
    ) -> bool {
        let seqs: Vec<_> =
            self.lists.iter().filter(|list| list.received.is_some()).map(|list| list.seq).collect();
        let (first, last) = (seqs.first().copied().unwrap_or(0), seqs.last().copied().unwrap_or(0));
        seqs.windows(2 + prefetched)
            .map(|span| (span[0], span[1 + prefetched]))
            .chain([(first, last)].into_iter().filter(|_| seqs.len() < 2 + prefetched))
            .any(|(from, to)| {
                let between = model.events.iter().filter(|event| from < event.seq && event.seq <= to);
                let moves = between.map(|event| event.disappeared_and_entered(full));
                let (disappeared, entered) =
                    moves.fold((false, false), |all, one| (all.0 | one.0, all.1 | one.1));
                disappeared && entered
            })
    }
}

/// Lets the next request meet a fault.
fn inject(server: &mut Server, effect: Effect) {
    let trigger = Trigger::Requests(1, 1);
    server.inject(ServerFault { endpoint: None, trigger, times: Some(1), effect });
}

/// Draws a fault for a request.
fn draw_fault(rng: &mut Rng) -> (CoverageEvent, Effect) {
    let retry_after = [RetryAfter::Off, RetryAfter::Seconds, RetryAfter::Date][rng.usize(..3)];
    match rng.u32(..20) {
        0..3 => (CoverageEvent::RateLimited, Effect::Throttle(retry_after, rng.u32(..90))),
        3..7 => (CoverageEvent::ServerError, Effect::Status([500, 502, 503, 504][rng.usize(..4)])),
        7 => (CoverageEvent::RequestRefused, Effect::Status([400, 403][rng.usize(..2)])),
        8..10 => (CoverageEvent::InvalidBody, Effect::Html(200)),
        10 => (CoverageEvent::InvalidBody, [Effect::Blank, Effect::Error(200)][rng.usize(..2)].clone()),
        11 => {
            let tickets = [WrongTickets::Missing, WrongTickets::Null][rng.usize(..2)];
            let effects = [
                Effect::Empty,
                Effect::Tickets(tickets),
                Effect::Count(WrongCount::Null),
                Effect::Count(WrongCount::Missing),
            ];
            (CoverageEvent::InvalidBody, effects[rng.usize(..4)].clone())
        }
        12..14 => (CoverageEvent::BodyTruncated, Effect::Cut(None)),
        14..16 => (CoverageEvent::ConnectionReset, Effect::Reset),
        16 => (CoverageEvent::SlowResponse, Effect::Slow(rng.u32(..200_000))),
        17..19 => (CoverageEvent::SlowResponse, Effect::Delay(rng.u32(..30_000))),
        _ => (CoverageEvent::TokensRevoked, Effect::Expire),
    }
}

/// Whether a response with this effect is still usable, if it arrives.
fn is_harmless(effect: &Effect) -> bool {
    matches!(effect, Effect::Slow(_) | Effect::Delay(_) | Effect::Expire | Effect::Count(_))
}
