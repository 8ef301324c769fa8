//! Who may ask: the token endpoint, its discovery, and the check of a bearer token (halo-api.md §1).

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::choices::{Application, ExpiresIn, Tenant};
use super::knobs::Knobs;
use super::message::{Answer, Request};
use super::query::Query;
use super::refusal::wrong_tenant;

/// Scopes the server knows, next to `read:` and `edit:` of [`AREAS`] (halo-api.md §1.4).
const SCOPES: [&str; 5] = ["all", "all:standard", "admin", "access:chat", "access:adpasswordreset"];
/// There is no `users` and no `agents` among them; asking for those gives `invalid_scope`.
const AREAS: [&str; 18] = [
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

/// The one application that is registered, and the tokens it holds.
#[derive(Debug)]
pub(super) struct Access {
    client_id: String,
    client_secret: String,
    tenant: Option<String>,
    tokens: HashMap<String, Pass>,
    chance: Chance,
}

/// What a token allows.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    scope: String,
    expires: DateTime<Utc>,
}

impl Pass {
    /// A token that was asked for without a scope is refused everywhere (halo-api.md §1.3).
    fn is_good(&self, now: DateTime<Utc>) -> bool {
        now < self.expires && !self.scope.is_empty()
    }

    pub(super) fn has(&self, wanted: &[&str]) -> bool {
        self.scope.split(' ').any(|scope| wanted.contains(&scope))
    }
}

impl Access {
    pub(super) fn new(client_id: String, client_secret: String, tenant: Option<String>, seed: u64) -> Access {
        let chance = Chance::seeded(seed ^ 0x70CE);
        Access { client_id, client_secret, tenant, tokens: HashMap::new(), chance }
    }

    /// `GET /api/authinfo`, which needs no token (halo-api.md §1.2).
    pub(super) fn info(&self, origin: &str) -> Answer {
        let tenant = self.tenant.as_deref().unwrap_or("");
        Answer::json(200, json!({ "auth_url": format!("{origin}/auth"), "tenant_id": tenant }).to_string())
    }

    /// `POST /auth/token`; `query` may carry the tenant, and so may the form.
    pub(super) fn token(
        &mut self,
        request: &Request,
        query: &Query,
        knobs: &Knobs,
        now: DateTime<Utc>,
    ) -> Answer {
        if !request.method.eq_ignore_ascii_case("POST") {
            return Answer::bare(405);
        }
        let form = Query::read(&request.body);
        if !self.knows_tenant(query.text("tenant").or(form.text("tenant")), knobs.tenant) {
            return wrong_tenant();
        }
        if form.text("grant_type") != Some("client_credentials") {
            return oauth("unsupported_grant_type", "The specified 'grant_type' is not supported.");
        }
        let known = form.text("client_id") == Some(&self.client_id)
            && form.text("client_secret") == Some(&self.client_secret);
        if !known {
            return oauth("invalid_client", "The specified client credentials are invalid.");
        }
        if knobs.application == Application::Other {
            return oauth(
                "unauthorized_client",
                "This client application is not allowed to use the specified grant type.",
            );
        }
        let scope = form.text("scope").unwrap_or("").split_whitespace().collect::<Vec<_>>();
        if let Some(unknown) = scope.iter().find(|scope| !is_scope(scope, knobs)) {
            return oauth("invalid_scope", &format!("The scope '{unknown}' is not allowed."));
        }
        self.issue(scope.join(" "), knobs, now)
    }

    /// The pass that belongs to an `Authorization` header.
    pub(super) fn check(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Option<&Pass> {
        let (scheme, token) = authorization?.split_once(' ')?;
        let pass = self.tokens.get(token.trim())?;
        (scheme.eq_ignore_ascii_case("bearer") && pass.is_good(now)).then_some(pass)
    }

    /// Makes every token worthless, as a revocation or a restart of the server does.
    pub(super) fn revoke_all(&mut self) {
        self.tokens.clear();
    }

    fn knows_tenant(&self, given: Option<&str>, knob: Tenant) -> bool {
        match (knob, &self.tenant, given) {
            (Tenant::Ignored, _, _) | (Tenant::Accepted, None, _) | (Tenant::Accepted, _, None) => true,
            (_, Some(tenant), Some(given)) => tenant.eq_ignore_ascii_case(given),
            (Tenant::Required, _, _) => false,
        }
    }

    fn issue(&mut self, scope: String, knobs: &Knobs, now: DateTime<Utc>) -> Answer {
        if knobs.new_token_kills_old.is_on() {
            self.tokens.clear();
        }
        self.tokens.retain(|_, pass| now < pass.expires);
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
        body.insert("refresh_token".into(), json!(base64url(&self.chance.next().to_be_bytes())));
        body.insert("id_token".into(), json!(self.jwt("openid", now, now + lifetime)));
        self.tokens.insert(token, Pass { scope, expires: now + lifetime });
        Answer::json(200, Value::Object(body).to_string())
    }

    /// Three dotted parts like a real one; the signature is chance, since nobody but this server looks at it.
    fn jwt(&mut self, scope: &str, now: DateTime<Utc>, expires: DateTime<Utc>) -> String {
        let header = json!({ "alg": "RS256", "typ": "at+jwt" });
        let claims = json!({
            "sub": self.client_id, "scope": scope, "iat": now.timestamp(), "exp": expires.timestamp(),
        });
        let signature: Vec<u8> = (0..8).flat_map(|_| self.chance.next().to_be_bytes()).collect();
        let parts = [header.to_string().into_bytes(), claims.to_string().into_bytes(), signature];
        parts.map(|part| base64url(&part)).join(".")
    }
}

/// The OAuth form of an error; the status is 400 for all of them (halo-api.md §1.6).
fn oauth(error: &str, description: &str) -> Answer {
    Answer::json(400, json!({ "error": error, "error_description": description }).to_string())
}

fn is_scope(scope: &str, knobs: &Knobs) -> bool {
    if scope == "read:tickets" {
        return knobs.scope_read_tickets.is_on();
    }
    let area = scope.strip_prefix("read:").or(scope.strip_prefix("edit:"));
    SCOPES.contains(&scope) || area.is_some_and(|area| AREAS.contains(&area))
}

/// RFC 4648 §5, without padding: what the parts of a JWT are written in.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let letter = (bits >> (18 - 6 * place)) & 63;
            text.push(char::from(ALPHABET[usize::try_from(letter).unwrap_or(0)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64url;

    #[test]
    fn base64url_is_what_the_standard_says() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
