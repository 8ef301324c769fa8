//! Request handling: routing, authorization, faults and the rate limit.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::control;
use crate::custom_fields;
use crate::detail;
use crate::echo;
use crate::effect::{self, Effect, ListFault};
use crate::endpoint::{ApiEndpoint, route};
use crate::error_response::{error_response, html_page, portal_page};
use crate::knob_values::Application;
use crate::list;
use crate::log::RequestLogEntry;
use crate::message::{ApiRequest, ApiResponse, Delivery, http_date};
use crate::query::{InvalidParameter, Query};
use crate::rate_limit::too_many_requests;
use crate::reference;
use crate::reference_list;
use crate::row_defect;
use crate::server::Server;
use crate::timestamp::SqlDateTime;

impl Server {
    /// Responds to a request that arrives at `now`.
    pub fn respond(&mut self, request: &ApiRequest, now: DateTime<Utc>) -> ApiResponse {
        if control::is_control(&request.path) {
            return control::respond(self, request, now);
        }
        self.commit_due(now);
        let (endpoint, id) = route(&request.path);
        let query = Query::parse(request.query.as_bytes());
        let page_no = query.number("page_no").ok().flatten();
        let effects = self.faults.matching(endpoint, page_no, request.connection);
        for effect in &effects {
            self.apply(effect, now);
        }

        let log_time = now + self.clock_offset;
        // Another node may handle the request.
        let server_time = now + effects.iter().fold(self.clock_offset, node_clock);
        let list_fault = self.list_fault(&effects, &query);
        let overridden = effects
            .iter()
            .find_map(|effect| self.override_response(effect, page_no.unwrap_or(1), server_time));
        let is_replaced = overridden.is_some();
        let routed = RoutedRequest { request, query: &query, endpoint, id, list_fault };
        let (generated_at, mut response) = match self.rate_limit.admit(&self.knobs, log_time) {
            Err(rejection) => (server_time, rejection),
            Ok(()) => match overridden {
                Some(response) => (server_time, response),
                None => self.cached_or_dispatched(&routed, &effects, server_time),
            },
        };

        let mut date = generated_at;
        let is_error = is_replaced || 300 <= response.status || endpoint == ApiEndpoint::AuthInfo;
        for effect in &effects {
            match *effect {
                Effect::AuthUrl(ref url) if endpoint == ApiEndpoint::AuthInfo && !is_replaced => {
                    response = self.auth.auth_info(url);
                }
                Effect::Echo(encoding) if is_error => {
                    let (client_id, secrets) = self.auth.secrets(request.authorization.as_deref());
                    echo::add(&mut response, encoding, client_id, &secrets);
                }
                Effect::Age(seconds) => {
                    response = response.with_header("age", seconds.to_string());
                    date -= TimeDelta::seconds(seconds.into());
                }
                Effect::Date(time) => date = time,
                _ => {}
            }
        }
        if self.knobs.date_header.is_on() {
            response = response.with_header("date", http_date(date));
        }
        let accepts_gzip = request.accept_encoding.as_deref().is_some_and(|it| it.contains("gzip"));
        if accepts_gzip && self.knobs.gzip.is_on() {
            response.allow_compression();
        }
        response.delay += Duration::from_millis(self.knobs.latency_ms.into());
        for effect in &effects {
            apply_delivery(effect, &mut response);
        }
        self.log.record(RequestLogEntry {
            endpoint,
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            status: response.status,
            at: log_time,
        });
        response
    }

    /// Returns what the faults alter in a list.
    fn list_fault(&mut self, effects: &[Effect], query: &Query) -> ListFault {
        if effects.iter().any(|effect| matches!(effect, Effect::Endless(_))) {
            let page = query.number("page_no").ok().flatten().unwrap_or(1);
            self.endless_pages = self.endless_pages.max(page);
        }
        ListFault::from_effects(effects, self.endless_pages)
    }

    /// Responds from the cache in front of the server, if a fault put one there, or else as the server does; also returns
    /// when the response was generated.
    fn cached_or_dispatched(
        &mut self,
        routed: &RoutedRequest<'_>,
        effects: &[Effect],
        server_time: DateTime<Utc>,
    ) -> (DateTime<Utc>, ApiResponse) {
        let seconds = effects.iter().find_map(|effect| match *effect {
            Effect::Cache(seconds) => Some(seconds),
            _ => None,
        });
        let cached = seconds.and_then(|seconds| self.cache.get(routed.request, seconds, server_time));
        cached.unwrap_or_else(|| {
            let response = self.dispatch(routed, server_time);
            if seconds.is_some() {
                self.cache.put(routed.request, &response, server_time);
            }
            (server_time, response)
        })
    }

    fn dispatch(&mut self, routed: &RoutedRequest<'_>, server_time: DateTime<Utc>) -> ApiResponse {
        if let Some(response) = self.replays.next(&routed.request.path) {
            if routed.endpoint == ApiEndpoint::Token {
                self.auth.accept_replayed(&response, server_time);
            }
            return response;
        }
        match routed.endpoint {
            ApiEndpoint::Token => {
                return self.auth.token(routed.request, routed.query, &self.knobs, server_time);
            }
            ApiEndpoint::AuthInfo if self.knobs.authinfo.is_on() => {
                return self.auth.auth_info(&format!("{}/auth", self.origin));
            }
            ApiEndpoint::AuthInfo => return self.error_response(404, "No such endpoint."),
            ApiEndpoint::Other if !is_under_api(&routed.request.path) => return portal_page(),
            _ => {}
        }
        if let Some(error) = self.authorization_error(routed, server_time) {
            return error;
        }
        self.handle_get(routed, SqlDateTime::from_utc(server_time))
            .unwrap_or_else(|InvalidParameter(message)| self.error_response(400, &message))
    }

    /// Returns the 401 or 403 response to a request that is not authorized.
    fn authorization_error(
        &self,
        routed: &RoutedRequest<'_>,
        server_time: DateTime<Utc>,
    ) -> Option<ApiResponse> {
        let Some(token) = self.auth.verify(routed.request.authorization.as_deref(), server_time) else {
            let response = self.error_response(401, "Authorization has been denied for this request.");
            return Some(response.with_header("www-authenticate", "Bearer error=\"invalid_token\""));
        };
        if !routed.request.method.eq_ignore_ascii_case("GET") {
            return Some(self.error_response(403, "This application may only read."));
        }
        let has_full_scope = token.has_any_scope(&["all", "all:standard"]);
        let may_read_tickets = self.knobs.application == Application::Service
            && (has_full_scope || token.has_any_scope(&["read:tickets", "edit:tickets"]));
        let allowed = match routed.endpoint {
            ApiEndpoint::List | ApiEndpoint::Ticket => may_read_tickets,
            ApiEndpoint::Status
            | ApiEndpoint::TicketType
            | ApiEndpoint::FieldInfo
            | ApiEndpoint::Agent
            | ApiEndpoint::Team
            | ApiEndpoint::Priority
            | ApiEndpoint::Sla
            | ApiEndpoint::Category => has_full_scope || !self.knobs.reference_needs_all.is_on(),
            ApiEndpoint::Client | ApiEndpoint::Site | ApiEndpoint::Users => {
                has_full_scope
                    || !self.knobs.customers_scope.is_on()
                    || token.has_any_scope(&["read:customers", "edit:customers"])
            }
            _ => true,
        };
        (!allowed).then(|| self.error_response(403, "You do not have permission to access this resource."))
    }

    fn handle_get(
        &mut self,
        routed: &RoutedRequest<'_>,
        now: SqlDateTime,
    ) -> Result<ApiResponse, InvalidParameter> {
        let (database, knobs) = (&self.database, &self.knobs);
        let mut response = match (routed.endpoint, routed.id) {
            (ApiEndpoint::List, _) => {
                return list::respond(
                    database,
                    &mut self.selections,
                    knobs,
                    routed.query,
                    &routed.list_fault,
                    now,
                );
            }
            (ApiEndpoint::Ticket, Some(id)) => {
                let mut response = self.ticket_response(id, now);
                if response.status == 200 {
                    self.database.field_changes.apply(ApiEndpoint::Ticket, &mut response.body);
                }
                return Ok(self.with_defects(response, id, &routed.list_fault));
            }
            (
                endpoint @ (ApiEndpoint::Agent
                | ApiEndpoint::Team
                | ApiEndpoint::Priority
                | ApiEndpoint::Sla
                | ApiEndpoint::Category
                | ApiEndpoint::Client
                | ApiEndpoint::Site
                | ApiEndpoint::Users),
                _,
            ) => {
                return reference_list::respond(
                    database,
                    &mut self.user_ids,
                    knobs,
                    (endpoint, routed.query),
                    &routed.list_fault,
                    now,
                );
            }
            (ApiEndpoint::Status, _) => reference::statuses(database, knobs, routed.query),
            (ApiEndpoint::TicketType, _) => reference::ticket_types(database, routed.query),
            (ApiEndpoint::FieldInfo, id) => {
                let found = match id {
                    None => custom_fields::definitions(database, knobs),
                    Some(id) => custom_fields::definition_of(database, knobs, id),
                };
                match found {
                    Some(found) => ApiResponse::json(200, found.to_string()),
                    None => self.error_response(404, "No such field."),
                }
            }
            _ => self.error_response(404, "No such endpoint."),
        };
        if response.status == 200 {
            self.database.field_changes.apply_to_array(routed.endpoint, &mut response.body);
            routed.list_fault.alter_elements(&mut response.body);
        }
        Ok(response)
    }

    /// Applies the defects of a ticket to the response for it.
    fn with_defects(&self, mut response: ApiResponse, id: i64, list_fault: &ListFault) -> ApiResponse {
        let index = self.database.find(id).filter(|_| response.status == 200);
        let defects = index.map(|index| list::defects_of(&self.database, list_fault, index));
        let generated = row_defect::apply(&defects.unwrap_or_default(), &mut response.body);
        generated.into_iter().fold(response, |response, (at, text)| response.with_generated(at, text))
    }

    /// Responds to a request for one ticket, from the cache if the knob `detail_cache_s` allows.
    fn ticket_response(&mut self, id: i64, now: SqlDateTime) -> ApiResponse {
        let cache_ms = 1_000 * i64::from(self.knobs.detail_cache_s);
        if let Some((at, response)) = self.ticket_cache.get(&id)
            && (0..cache_ms).contains(&now.millis_since(*at))
        {
            return response.clone();
        }
        let response = detail::respond(&self.database, &self.knobs, id, now);
        if 0 < cache_ms && response.status == 200 {
            self.ticket_cache.insert(id, (now, response.clone()));
        }
        response
    }

    fn error_response(&self, status: u16, message: &str) -> ApiResponse {
        error_response(status, self.knobs.error_body, message)
    }

    /// Applies the effect of a fault on the data, before the request is handled.
    fn apply(&mut self, effect: &Effect, now: DateTime<Utc>) {
        match *effect {
            Effect::Expire => self.auth.revoke_all(),
            Effect::Delete(count) => {
                for id in self.pick_listed(count) {
                    self.delete(id, now);
                }
            }
            Effect::Edit(count) => drop(self.edit_some(count, now)),
            Effect::Create(count) => drop(self.create(count, now)),
            Effect::Hide(percent) => {
                let listed = self.ids().len();
                let share = listed * usize::try_from(percent).unwrap_or(0) / 100;
                let ids = self.pick_listed(u32::try_from(share).unwrap_or(u32::MAX));
                self.hide(&ids);
            }
            Effect::Reveal(count) => drop(self.reveal_some(count)),
            Effect::Restore(count) => drop(self.restore_some(count, now)),
            Effect::Skew(seconds) => {
                self.clock_offset = effect::shifted(self.clock_offset, TimeDelta::seconds(seconds));
            }
            _ => {}
        }
    }

    /// Returns the response of a fault that replaces the server's own.
    fn override_response(
        &self,
        effect: &Effect,
        page_no: u32,
        server_time: DateTime<Utc>,
    ) -> Option<ApiResponse> {
        match *effect {
            Effect::Status(status) if status < 500 => {
                Some(self.error_response(status, "The request was refused."))
            }
            Effect::Status(status) => Some(ApiResponse::html(status, html_page("Service unavailable"))),
            Effect::Html(status) => Some(ApiResponse::html(status, html_page("Service Portal"))),
            Effect::Error(status) => {
                Some(ApiResponse::json(status, r#"{"error":"An unexpected error occurred."}"#))
            }
            Effect::Throttle(retry_after, seconds) => Some(too_many_requests(
                &self.knobs,
                retry_after,
                TimeDelta::seconds(seconds.into()),
                server_time,
            )),
            Effect::Redirect(status) => Some(
                ApiResponse::empty(status)
                    .with_header("location", "http://elsewhere.example.com/api/tickets"),
            ),
            Effect::Blank => Some(ApiResponse::json(200, "")),
            Effect::Bomb(bomb) => Some(bomb.response(page_no)),
            _ => None,
        }
    }
}

/// A request with its parsed query and endpoint.
struct RoutedRequest<'r> {
    request: &'r ApiRequest,
    query: &'r Query,
    endpoint: ApiEndpoint,
    id: Option<i64>,
    list_fault: ListFault,
}

/// Adds what a fault sets the clock of this node ahead by.
fn node_clock(offset: TimeDelta, effect: &Effect) -> TimeDelta {
    match *effect {
        Effect::Clock(seconds) => effect::shifted(offset, TimeDelta::seconds(seconds)),
        _ => offset,
    }
}

fn is_under_api(path: &str) -> bool {
    let path = path.trim_start_matches('/').to_ascii_lowercase();
    path == "api" || path.starts_with("api/")
}

/// Applies the effect of a fault on the delivery of a response.
fn apply_delivery(effect: &Effect, response: &mut ApiResponse) {
    match *effect {
        Effect::Cut(after) => {
            let half = usize::try_from(response.body_length() / 2).unwrap_or(usize::MAX);
            response.delivery = Delivery::Cut(after.unwrap_or(half));
        }
        Effect::Reset => response.delivery = Delivery::Reset,
        Effect::Slow(millis) => response.delivery = Delivery::Slow(Duration::from_millis(millis.into())),
        Effect::Delay(millis) => response.delay += Duration::from_millis(millis.into()),
        Effect::Garble => {
            let middle = response.body.len() / 2;
            if let Some(byte) = response.body.get_mut(middle) {
                *byte = 0xFF;
            }
        }
        _ => {}
    }
}
