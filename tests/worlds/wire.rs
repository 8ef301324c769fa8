//! The wire between agent and server: answers take their time, people act between them, requests meet faults, and the
//! agent is killed at one of them.

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

use crate::coverage::Happening;
use crate::ledger::{Ledger, Seq};
use crate::people::{self, Moment};
use crate::plan::{End, Hardship, PassPlan, Plan, ScopePlan, percent, stands, stream};
use crate::simulated::World;

/// No pass of a small world asks that often.
const REQUESTS_MAX: u32 = 20_000;

/// An answer to a request for the list, in the order in which the server gave them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListAnswer {
    /// The last event that it can know of.
    pub(crate) seq: Seq,
    /// The server's time on it, once the agent has it.
    pub(crate) received: Option<DateTime<Utc>>,
}

/// The pass under way, as it is seen from the wire.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    number: u64,
    plan: PassPlan,
    requests: u32,
    /// The answers to requests for the list.
    pub(crate) lists: Vec<ListAnswer>,
}

/// The wire, and the world at its other end.
pub(crate) struct Wire {
    pub(crate) world: Arc<World>,
    seed: u64,
    latency_ms: u64,
    wide: bool,
    state: Mutex<(Ledger, Seen)>,
    /// Told when the agent is to die at a request.
    pub(crate) killed: Notify,
}

impl Wire {
    pub(crate) fn new(world: Arc<World>, ledger: Ledger, plan: &Plan) -> Arc<Wire> {
        let nothing =
            Seen { number: 0, plan: PassPlan::quiet(ScopePlan::PLAIN), requests: 0, lists: Vec::new() };
        Arc::new(Wire {
            world,
            seed: plan.seed,
            latency_ms: plan.latency_ms,
            wide: plan.wide,
            state: Mutex::new((ledger, nothing)),
            killed: Notify::new(),
        })
    }

    /// From now on it is this pass that asks.
    pub(crate) fn begin(&self, number: u64, plan: &PassPlan) {
        self.state().1 = Seen { number, plan: plan.clone(), requests: 0, lists: Vec::new() };
    }

    pub(crate) fn seen(&self) -> Seen {
        self.state().1.clone()
    }

    /// Looks at the server and the ledger at the present moment.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Ledger, &mut Server, DateTime<Utc>) -> R) -> R {
        let mut state = self.state();
        self.world.with(|server, now| look(&mut state.0, server, now))
    }

    /// A line of the story.
    pub(crate) fn tell(&self, words: impl FnOnce() -> String) {
        let now = self.world.now();
        self.state().0.tell(now, words);
    }

    fn state(&self) -> MutexGuard<'_, (Ledger, Seen)> {
        self.state.lock().expect("no panic before this one")
    }

    async fn carry(&self, ask: HttpRequest) -> Result<HttpResponse, TransportError> {
        let since = Instant::now();
        let (request, end, mut chance) = self.enter();
        if end == End::KilledAtRequest(request) || request == REQUESTS_MAX {
            return self.die().await;
        }
        let latency = |chance: &mut Rng| Duration::from_millis(chance.u64(..=self.latency_ms / 2));
        sleep(latency(&mut chance)).await;
        let path = ask.url.path().to_owned();
        let list = self.meet(&mut chance, &path, ask.url.query().unwrap_or_default());
        let answer = self.world.send(ask).await;
        if end == End::KilledAtAnswer(request) {
            return self.die().await;
        }
        sleep(latency(&mut chance)).await;
        let mut answer = answer?;
        answer.took = since.elapsed();
        if let (Some(place), 200) = (list, answer.status) {
            let date = answer
                .date
                .unwrap_or_else(|| self.world.now() - TimeDelta::from_std(answer.took).expect("a span"));
            if let Some(list) = self.state().1.lists.get_mut(place) {
                list.received = Some(date);
            }
        }
        Ok(answer)
    }

    /// Counts a request of the present pass.
    fn enter(&self) -> (u32, End, Rng) {
        let seen = &mut self.state().1;
        seen.requests += 1;
        let draws = stream(self.seed, 4 + seen.number, u64::from(seen.requests));
        (seen.requests, seen.plan.end, draws)
    }

    /// Just before an answer people act and faults strike. Gives the place of the answer among those with lists, where
    /// it is one that the agent can use.
    fn meet(&self, chance: &mut Rng, path: &str, query: &str) -> Option<usize> {
        let mut state = self.state();
        let (ledger, seen) = &mut *state;
        let is_list = path.ends_with("/tickets") && !query.contains("ticketids");
        let walking = seen.lists.iter().any(|list| list.received.is_some());
        let moment = if walking { Moment::InMidWalk } else { Moment::Between { bound: None } };
        self.world.with(|server, now| {
            while percent(chance, seen.plan.bustle) {
                people::act(ledger, server, now, moment, chance);
            }
            let mut more = stream(self.seed, 3_000 + seen.number, u64::from(seen.requests));
            if self.wide && percent(&mut more, seen.plan.bustle / 3) {
                people::act_widely(ledger, server, now, moment, &mut more);
            }
            let spared = path.ends_with("/status") && !stands(Hardship::StatusListFails);
            let fault = percent(chance, seen.plan.faults).then(|| fault(chance)).filter(|_| !spared);
            if let Some((happening, effect)) = &fault {
                ledger.coverage.saw(*happening);
                ledger.tell(now, || format!("request {} ({path}) meets {effect:?}", seen.requests));
                let trigger = Trigger::Requests(1, 1);
                server.inject(ServerFault {
                    endpoint: None,
                    trigger,
                    times: Some(1),
                    effect: effect.clone(),
                });
            }
            if !is_list || fault.is_some_and(|(_, effect)| !is_harmless(&effect)) {
                return None;
            }
            seen.lists.push(ListAnswer { seq: ledger.seq, received: None });
            Some(seen.lists.len() - 1)
        })
    }

    async fn die(&self) -> Result<HttpResponse, TransportError> {
        self.killed.notify_one();
        pending().await
    }
}

impl Transport for Wire {
    fn send(
        &self,
        ask: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.carry(ask))
    }
}

impl Seen {
    /// Whether a walk was under way: something of the list had come, and more was asked for.
    pub(crate) fn walked(&self) -> bool {
        self.lists.iter().any(|list| list.received.is_some())
    }

    /// Whether a person said that however many tickets are gone, they are.
    pub(crate) fn accepts_deletes(&self) -> bool {
        self.plan.accept_deletes
    }

    /// The first answer with a list that came.
    pub(crate) fn first(&self) -> Option<ListAnswer> {
        self.lists.iter().find(|list| list.received.is_some()).copied()
    }

    pub(crate) fn requests_without_end(&self) -> bool {
        REQUESTS_MAX <= self.requests
    }

    /// Whether somebody left and somebody entered between the same two answers, which no count shows. The answers to
    /// neighbouring pages may have so many others between them as are fetched ahead.
    pub(crate) fn is_blind(&self, ledger: &Ledger, full: bool, ahead: usize) -> bool {
        let seqs: Vec<_> =
            self.lists.iter().filter(|list| list.received.is_some()).map(|list| list.seq).collect();
        let (first, last) = (seqs.first().copied().unwrap_or(0), seqs.last().copied().unwrap_or(0));
        seqs.windows(2 + ahead)
            .map(|span| (span[0], span[1 + ahead]))
            .chain([(first, last)].into_iter().filter(|_| seqs.len() < 2 + ahead))
            .any(|(from, to)| {
                let between = ledger.events.iter().filter(|event| from < event.seq && event.seq <= to);
                let exchanged = between.map(|event| event.exchanged(full));
                let (left, entered) =
                    exchanged.fold((false, false), |all, one| (all.0 | one.0, all.1 | one.1));
                left && entered
            })
    }
}

/// What a request may meet.
fn fault(chance: &mut Rng) -> (Happening, Effect) {
    let told = [RetryAfter::Off, RetryAfter::Seconds, RetryAfter::Date][chance.usize(..3)];
    match chance.u32(..20) {
        0..3 => (Happening::Throttled, Effect::Throttle(told, chance.u32(..90))),
        3..7 => (Happening::ServerFailed, Effect::Status([500, 502, 503, 504][chance.usize(..4)])),
        7 => (Happening::Refused, Effect::Status([400, 403][chance.usize(..2)])),
        8..10 => (Happening::NotJson, Effect::Html(200)),
        10 => (Happening::NotJson, [Effect::Blank, Effect::Error(200)][chance.usize(..2)].clone()),
        11 => {
            let loss = [WrongTickets::Missing, WrongTickets::Null][chance.usize(..2)];
            let strange = [
                Effect::Empty,
                Effect::Tickets(loss),
                Effect::Count(WrongCount::Null),
                Effect::Count(WrongCount::Missing),
            ];
            (Happening::NotJson, strange[chance.usize(..4)].clone())
        }
        12..14 => (Happening::BodyCut, Effect::Cut(None)),
        14..16 => (Happening::ConnectionReset, Effect::Reset),
        16 => (Happening::Slow, Effect::Slow(chance.u32(..200_000))),
        17..19 => (Happening::Slow, Effect::Delay(chance.u32(..30_000))),
        _ => (Happening::TokensRevoked, Effect::Expire),
    }
}

/// Whether the answer comes all the same, if it comes.
fn is_harmless(effect: &Effect) -> bool {
    matches!(effect, Effect::Slow(_) | Effect::Delay(_) | Effect::Expire | Effect::Count(_))
}
