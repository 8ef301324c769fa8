//! The server without its socket: a request and a moment in, an answer out.
//!
//! Nothing here reads a clock, sleeps or opens anything. Time is an argument, chance comes from the seed, so the same
//! requests at the same moments get the same answers; a test may drive it in virtual time.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::access::Access;
use super::chance::Chance;
use super::choices::Application;
use super::control;
use super::detail;
use super::effect::{Bend, Effect};
use super::endpoint::{Endpoint, route};
use super::faults::Faults;
use super::fields;
use super::knobs::Knobs;
use super::limit::{Limit, too_many};
use super::list;
use super::log::{Entry, RequestLog};
use super::message::{Answer, Delivery, Request, http_date};
use super::query::{Malformed, Query};
use super::reference;
use super::refusal::{page, portal, refusal};
use super::selection::Selections;
use super::settings::Settings;
use super::stamp::Stamp;
use super::world::World;

/// The simulated server.
#[derive(Debug)]
pub struct Server {
    pub(super) world: World,
    pub(super) selections: Selections,
    pub(super) knobs: Knobs,
    pub(super) faults: Faults,
    pub(super) access: Access,
    pub(super) limit: Limit,
    pub(super) log: RequestLog,
    pub(super) chance: Chance,
    pub(super) clock_offset: TimeDelta,
    pub(super) origin: String,
    pub(super) backup: Option<Box<World>>,
    /// Single tickets as they were answered, and when.
    cached: HashMap<i64, (Stamp, Answer)>,
}

impl Server {
    /// A server whose world begins at `now`. The `listen` address of the settings is the socket door's business.
    #[must_use]
    pub fn new(settings: Settings, now: DateTime<Utc>) -> Server {
        let Settings { listen, seed, tickets, client_id, client_secret, tenant, knobs, faults } = settings;
        Server {
            world: World::new(seed, tickets, knobs.undated, knobs.details_bytes, now),
            selections: Selections::default(),
            faults: Faults::new(faults, seed),
            access: Access::new(client_id, client_secret, tenant, seed),
            limit: Limit::default(),
            log: RequestLog::default(),
            chance: Chance::seeded(seed ^ 0x5EED),
            clock_offset: TimeDelta::zero(),
            origin: format!("http://{listen}"),
            backup: None,
            cached: HashMap::new(),
            knobs,
        }
    }

    /// Answers a request that arrives at `now`.
    pub fn answer(&mut self, request: &Request, now: DateTime<Utc>) -> Answer {
        if control::is_control(&request.path) {
            return control::answer(self, request, now);
        }
        let (endpoint, id) = route(&request.path);
        let query = Query::read(request.query.as_bytes());
        let page_no = query.number("page_no").ok().flatten();
        let effects = self.faults.strike(endpoint, page_no);
        for effect in &effects {
            self.befall(effect, now);
        }

        let clock = now + self.clock_offset;
        let instead = effects.iter().find_map(|effect| self.instead(effect, clock));
        let mut answer = match self.limit.pass(&self.knobs, clock) {
            Err(too_many) => too_many,
            Ok(()) => instead.unwrap_or_else(|| {
                let asked = Asked { request, query: &query, endpoint, id, bend: Bend::of(&effects) };
                self.routed(&asked, clock)
            }),
        };

        if self.knobs.date_header.is_on() {
            answer = answer.with_header("date", http_date(clock));
        }
        let takes_gzip = request.accept_encoding.as_deref().is_some_and(|it| it.contains("gzip"));
        if takes_gzip && self.knobs.gzip.is_on() {
            answer.compressible();
        }
        answer.delay += Duration::from_millis(self.knobs.latency_ms.into());
        for effect in &effects {
            deliver(effect, &mut answer);
        }
        self.log.record(Entry {
            endpoint,
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            status: answer.status,
            at: clock,
        });
        answer
    }

    fn routed(&mut self, asked: &Asked<'_>, clock: DateTime<Utc>) -> Answer {
        match asked.endpoint {
            Endpoint::Token => return self.access.token(asked.request, asked.query, &self.knobs, clock),
            Endpoint::AuthInfo if self.knobs.authinfo.is_on() => return self.access.info(&self.origin),
            Endpoint::AuthInfo => return self.refused(404, "No such endpoint."),
            Endpoint::Other if !is_below_api(&asked.request.path) => return portal(),
            _ => {}
        }
        if let Some(refused) = self.forbids(asked, clock) {
            return refused;
        }
        self.read(asked, Stamp::nearest(clock))
            .unwrap_or_else(|Malformed(message)| self.refused(400, &message))
    }

    /// 401 and 403, in the order in which the server looks.
    fn forbids(&self, asked: &Asked<'_>, clock: DateTime<Utc>) -> Option<Answer> {
        let Some(pass) = self.access.check(asked.request.authorization.as_deref(), clock) else {
            let refused = self.refused(401, "Authorization has been denied for this request.");
            return Some(refused.with_header("www-authenticate", "Bearer error=\"invalid_token\""));
        };
        if !asked.request.method.eq_ignore_ascii_case("GET") {
            return Some(self.refused(403, "This application may only read."));
        }
        let wide = pass.has(&["all", "all:standard"]);
        let tickets = self.knobs.application == Application::Service
            && (wide || pass.has(&["read:tickets", "edit:tickets"]));
        let allowed = match asked.endpoint {
            Endpoint::List | Endpoint::Ticket => tickets,
            Endpoint::Status | Endpoint::TicketType | Endpoint::FieldInfo => {
                wide || !self.knobs.reference_needs_all.is_on()
            }
            _ => true,
        };
        (!allowed).then(|| self.refused(403, "You do not have permission to access this resource."))
    }

    fn read(&mut self, asked: &Asked<'_>, now: Stamp) -> Result<Answer, Malformed> {
        let (world, knobs) = (&self.world, &self.knobs);
        Ok(match (asked.endpoint, asked.id) {
            (Endpoint::List, _) => {
                return list::answer(world, &mut self.selections, knobs, asked.query, &asked.bend, now);
            }
            (Endpoint::Ticket, Some(id)) => return Ok(self.single(id, now)),
            (Endpoint::Status, _) => reference::statuses(world, knobs, asked.query),
            (Endpoint::TicketType, _) => reference::ticket_types(world, asked.query),
            (Endpoint::FieldInfo, id) => {
                let found = match id {
                    None => fields::definitions(world, knobs),
                    Some(id) => fields::definition_of(world, knobs, id),
                };
                match found {
                    Some(found) => Answer::json(200, found.to_string()),
                    None => self.refused(404, "No such field."),
                }
            }
            _ => self.refused(404, "No such endpoint."),
        })
    }

    /// A single ticket, as it was answered last if that is not long ago.
    fn single(&mut self, id: i64, now: Stamp) -> Answer {
        let keeps_ms = 1_000 * i64::from(self.knobs.detail_cache_s);
        if let Some((at, answer)) = self.cached.get(&id)
            && (0..keeps_ms).contains(&now.millis_since(*at))
        {
            return answer.clone();
        }
        let answer = detail::answer(&self.world, &self.knobs, id, now);
        if 0 < keeps_ms && answer.status == 200 {
            self.cached.insert(id, (now, answer.clone()));
        }
        answer
    }

    fn refused(&self, status: u16, message: &str) -> Answer {
        refusal(status, self.knobs.error_body, message)
    }

    /// What a fault does to the world before the request is looked at.
    fn befall(&mut self, effect: &Effect, now: DateTime<Utc>) {
        match *effect {
            Effect::Expire => self.access.revoke_all(),
            Effect::Delete(how_many) => {
                for id in self.some(how_many) {
                    self.delete(id, now);
                }
            }
            Effect::Edit(how_many) => drop(self.edit_some(how_many, now)),
            Effect::Create(how_many) => drop(self.create(how_many, now)),
            Effect::Hide(percent) => {
                let listed = self.ids().len();
                let share = listed * usize::try_from(percent).unwrap_or(0) / 100;
                let ids = self.some(u32::try_from(share).unwrap_or(u32::MAX));
                self.hide(&ids);
            }
            Effect::Skew(seconds) => self.clock_offset += TimeDelta::seconds(seconds),
            _ => {}
        }
    }

    /// The answer that a fault gives in place of the server's own.
    fn instead(&self, effect: &Effect, clock: DateTime<Utc>) -> Option<Answer> {
        match *effect {
            Effect::Status(status) if status < 500 => Some(self.refused(status, "The request was refused.")),
            Effect::Status(status) => Some(Answer::html(status, page("Service unavailable"))),
            Effect::Html(status) => Some(Answer::html(status, page("Service Portal"))),
            Effect::Error(status) => {
                Some(Answer::json(status, r#"{"error":"An unexpected error occurred."}"#))
            }
            Effect::Throttle(told, seconds) => {
                Some(too_many(&self.knobs, told, TimeDelta::seconds(seconds.into()), clock))
            }
            Effect::Redirect(status) => {
                Some(Answer::bare(status).with_header("location", "http://elsewhere.example.com/api/tickets"))
            }
            Effect::Blank => Some(Answer::json(200, "")),
            _ => None,
        }
    }
}

/// A request that is understood.
struct Asked<'r> {
    request: &'r Request,
    query: &'r Query,
    endpoint: Endpoint,
    id: Option<i64>,
    bend: Bend,
}

fn is_below_api(path: &str) -> bool {
    let path = path.trim_start_matches('/').to_ascii_lowercase();
    path == "api" || path.starts_with("api/")
}

/// What a fault does to an answer on its way.
fn deliver(effect: &Effect, answer: &mut Answer) {
    match *effect {
        Effect::Cut(after) => answer.delivery = Delivery::Cut(after.unwrap_or(answer.body.len() / 2)),
        Effect::Reset => answer.delivery = Delivery::Reset,
        Effect::Slow(over) => answer.delivery = Delivery::Drip(Duration::from_millis(over.into())),
        Effect::Delay(by) => answer.delay += Duration::from_millis(by.into()),
        Effect::Garble => {
            let middle = answer.body.len() / 2;
            if let Some(byte) = answer.body.get_mut(middle) {
                *byte = 0xFF;
            }
        }
        _ => {}
    }
}
