//! Authentication: the token endpoint, its discovery, and verification of bearer tokens (halo-api.md §1).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::error_response::wrong_tenant_page;
use crate::knob_values::{Application, ExpiresIn, TenantPolicy};
use crate::knobs::Knobs;
use crate::message::{ApiRequest, ApiResponse};
use crate::query::Query;
use crate::rng::SeededRng;

/// Scopes of the server, besides `read:` and `edit:` of [`SCOPE_AREAS`] (halo-api.md §1.4).
const SCOPES: [&str; 5] = ["all", "all:standard", "admin", "access:chat", "access:adpasswordreset"];
/// `users` and `agents` are not among them; requesting those gives `invalid_scope`.
const SCOPE_AREAS: [&str; 18] = [
    "tickets",
    "calendar",
    "customers",
    "crm",
    "timesheets",
    "contracts",
    "suppliers",
    "items",
    "projects",
    "sales",
    "quotes",
    "sos",
    "pos",
    "invoices",
    "reporting",
    "software",
    "kb",
    "assets",
];

/// The only registered application and its tokens.
#[derive(Debug)]
pub(crate) struct AuthServer {
    client_id: String,
    client_secret: String,
    tenant: Option<String>,
    tokens: HashMap<String, IssuedToken>,
    rng: SeededRng,
}

/// The scope and lifetime of a token.
#[derive(Clone, Debug)]
pub(crate) struct IssuedToken {
    scope: String,
    expires_at: DateTime<Utc>,
}

impl IssuedToken {
    /// A token requested without a scope is refused everywhere (halo-api.md §1.3).
    fn is_valid(&self, now: DateTime<Utc>) -> bool {
        now < self.expires_at && !self.scope.is_empty()
    }

    pub(crate) fn has_any_scope(&self, wanted: &[&str]) -> bool {
        self.scope.split(' ').any(|scope| wanted.contains(&scope))
    }
}

impl AuthServer {
    pub(crate) fn new(
        client_id: String,
        client_secret: String,
        tenant: Option<String>,
        seed: u64,
    ) -> AuthServer {
        let rng = SeededRng::from_seed(seed ^ 0x70CE);
        AuthServer { client_id, client_secret, tenant, tokens: HashMap::new(), rng }
    }

    /// `GET /api/authinfo`, which needs no token (halo-api.md §1.2).
    pub(crate) fn auth_info(&self, auth_url: &str) -> ApiResponse {
        let tenant = self.tenant.as_deref().unwrap_or("");
        ApiResponse::json(200, json!({ "auth_url": auth_url, "tenant_id": tenant }).to_string())
    }

    /// `POST /auth/token`; the tenant may be in the query or in the form.
    pub(crate) fn token(
        &mut self,
        request: &ApiRequest,
        query: &Query,
        knobs: &Knobs,
        now: DateTime<Utc>,
    ) -> ApiResponse {
        if !request.method.eq_ignore_ascii_case("POST") {
            return ApiResponse::empty(405);
        }
        let form = Query::parse(&request.body);
        if !self.accepts_tenant(query.text("tenant").or(form.text("tenant")), knobs.tenant) {
            return wrong_tenant_page();
        }
        if form.text("grant_type") != Some("client_credentials") {
            return oauth_error("unsupported_grant_type", "The specified 'grant_type' is not supported.");
        }
        let known = form.text("client_id") == Some(&self.client_id)
            && form.text("client_secret") == Some(&self.client_secret);
        if !known {
            return oauth_error("invalid_client", "The specified client credentials are invalid.");
        }
        if knobs.application == Application::Other {
            return oauth_error(
                "unauthorized_client",
                "This client application is not allowed to use the specified grant type.",
            );
        }
        let scope = form.text("scope").unwrap_or("").split_whitespace().collect::<Vec<_>>();
        if let Some(unknown) = scope.iter().find(|scope| !is_known_scope(scope, knobs)) {
            return oauth_error("invalid_scope", &format!("The scope '{unknown}' is not allowed."));
        }
        self.issue(scope.join(" "), knobs, now)
    }

    /// Accepts the token in a response that was not made here.
    pub(crate) fn accept_replayed(&mut self, response: &ApiResponse, now: DateTime<Utc>) {
        let body = response.json_body().unwrap_or_default();
        if let (200, Some(token)) = (response.status, body["access_token"].as_str()) {
            let seconds = body["expires_in"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
            let lifetime = TimeDelta::seconds(seconds.unwrap_or(3_600).into());
            let issued = IssuedToken { scope: "all".to_owned(), expires_at: now + lifetime };
            self.tokens.insert(token.to_owned(), issued);
        }
    }

    /// Returns the valid token of an `Authorization` header.
    pub(crate) fn verify(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Option<&IssuedToken> {
        let (scheme, token) = authorization?.split_once(' ')?;
        let issued = self.tokens.get(token.trim())?;
        (scheme.eq_ignore_ascii_case("bearer") && issued.is_valid(now)).then_some(issued)
    }

    /// Revokes all tokens, as a restart of the server does.
    pub(crate) fn revoke_all(&mut self) {
        self.tokens.clear();
    }

    /// Returns the client id, and what a client must keep secret: the client secret and the token of a request, else one
    /// that was issued.
    pub(crate) fn secrets(&self, authorization: Option<&str>) -> (&str, Vec<String>) {
        let sent = authorization.and_then(|it| it.split_once(' ')).map(|(_, token)| token.to_owned());
        let token = sent.or_else(|| self.tokens.keys().next().cloned());
        (&self.client_id, std::iter::once(self.client_secret.clone()).chain(token).collect())
    }

    fn accepts_tenant(&self, given: Option<&str>, policy: TenantPolicy) -> bool {
        match (policy, &self.tenant, given) {
            (TenantPolicy::Ignored, _, _)
            | (TenantPolicy::Accepted, None, _)
            | (TenantPolicy::Accepted, _, None) => true,
            (_, Some(tenant), Some(given)) => tenant.eq_ignore_ascii_case(given),
            (TenantPolicy::Required, _, _) => false,
        }
    }

    fn issue(&mut self, scope: String, knobs: &Knobs, now: DateTime<Utc>) -> ApiResponse {
        if knobs.new_token_kills_old.is_on() {
            self.tokens.clear();
        }
        self.tokens.retain(|_, issued| now < issued.expires_at);
        let lifetime = TimeDelta::seconds(knobs.token_seconds.into());
        let token = self.jwt(&scope, now, now + lifetime);
        let mut body = Map::new();
        body.insert("access_token".into(), json!(token));
        body.insert("token_type".into(), json!("Bearer"));
        match knobs.expires_in {
            ExpiresIn::Number => body.insert("expires_in".into(), json!(knobs.token_seconds)),
            ExpiresIn::Text => body.insert("expires_in".into(), json!(knobs.token_seconds.to_string())),
            ExpiresIn::Zero => body.insert("expires_in".into(), json!(0)),
            ExpiresIn::Missing => None,
        };
        body.insert("scope".into(), json!(scope));
        body.insert("refresh_token".into(), json!(URL_SAFE_NO_PAD.encode(self.rng.next().to_be_bytes())));
        body.insert("id_token".into(), json!(self.jwt("openid", now, now + lifetime)));
        self.tokens.insert(token, IssuedToken { scope, expires_at: now + lifetime });
        ApiResponse::json(200, Value::Object(body).to_string())
    }

    /// Creates a JWT with a random signature, since only this server checks it.
    fn jwt(&mut self, scope: &str, now: DateTime<Utc>, expires_at: DateTime<Utc>) -> String {
        let header = json!({ "alg": "RS256", "typ": "at+jwt" });
        let claims = json!({
            "sub": self.client_id, "scope": scope, "iat": now.timestamp(), "exp": expires_at.timestamp(),
        });
        let signature: Vec<u8> = (0..8).flat_map(|_| self.rng.next().to_be_bytes()).collect();
        let parts = [header.to_string().into_bytes(), claims.to_string().into_bytes(), signature];
        parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    }
}

/// Builds an OAuth error; the status is always 400 (halo-api.md §1.6).
fn oauth_error(error: &str, description: &str) -> ApiResponse {
    ApiResponse::json(400, json!({ "error": error, "error_description": description }).to_string())
}

fn is_known_scope(scope: &str, knobs: &Knobs) -> bool {
    if scope == "read:tickets" {
        return knobs.scope_read_tickets.is_on();
    }
    let area = scope.strip_prefix("read:").or(scope.strip_prefix("edit:"));
    SCOPES.contains(&scope) || area.is_some_and(|area| SCOPE_AREAS.contains(&area))
}
