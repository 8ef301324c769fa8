//! Gets tokens (OAuth 2.0 client credentials): one request at a time, renewed before they expire or when
//! the server refuses them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use url::Url;

use super::oauth::OAuthErrorCode;
use super::rate_limiter::RequestSlot;
use super::redaction::is_hidden;
use super::request::RequestSpec;
use super::token::{Token, TokenCache, TokenEndpoint};
use super::{HaloClient, HaloError, HttpResponse, Resource, Responder};
use crate::config;
use crate::ticket::parse::ParseError;

/// The longest token, in bytes, that fits a header which servers accept.
const TOKEN_MAX: usize = 16 << 10;
/// The longest tenant, in bytes, and the longest address that is worth a line of settings.
const TENANT_MAX: usize = 256;
const SHOWN_URL_MAX: usize = 200;
/// The longest address that is remembered, in bytes.
const REMEMBERED_URL_MAX: usize = 1_000;

const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);
const LIFETIME_MAX: Duration = Duration::from_hours(24);

impl HaloClient {
    /// Returns a valid token, other than the one that was `refused`.
    pub(super) async fn token(&self, refused: Option<&Token>) -> Result<Token, HaloError> {
        let mut cache = self.token_cache.lock().await;
        match cache.usable_token(refused) {
            Some(token) => Ok(token),
            None => self.renew_token(&mut cache, None).await,
        }
    }

    /// Requests a token; `slot` is for the first attempt.
    pub(super) async fn renew_token(
        &self,
        cache: &mut TokenCache,
        slot: Option<RequestSlot>,
    ) -> Result<Token, HaloError> {
        let endpoint = self.token_endpoint(cache).await?;
        let mut issued = self.request_token_in_scope(cache, &endpoint.url, slot).await;
        if let Err(error) = &issued
            && endpoint.is_recalled
            && may_have_moved(error)
        {
            cache.endpoint = None;
            match self.token_endpoint(cache).await {
                Ok(asked) if cache.endpoint.is_some() => {
                    if asked.url != endpoint.url {
                        cache.is_scope_refused = false;
                        issued = self.request_token_in_scope(cache, &asked.url, None).await;
                    }
                }
                Err(error @ HaloError::OtherAuthServer { .. }) => return Err(error),
                // A guess is no better than what the server said before, and the first error is the one to show.
                Ok(_) | Err(_) => cache.endpoint = Some(endpoint),
            }
        }
        let issued = issued?;
        self.redactor.add_token(issued.header.to_str().unwrap_or_default().trim_start_matches("Bearer "));
        Ok(cache.insert(issued.header, issued.lifetime))
    }

    /// Requests a token for the scope, or for the narrower one where the server does not know all of it. A wider scope is
    /// never requested on the word of a server: who owns the secret decides that.
    async fn request_token_in_scope(
        &self,
        cache: &mut TokenCache,
        endpoint: &Url,
        slot: Option<RequestSlot>,
    ) -> Result<TokenGrant, HaloError> {
        let issued = match (&self.options.narrower_scope, cache.is_scope_refused) {
            (Some(narrower), true) => self.request_token(endpoint, narrower, slot).await,
            _ => self.request_token(endpoint, &self.options.scope, slot).await,
        };
        match (issued, &self.options.narrower_scope) {
            (Err(HaloError::Credentials { code: OAuthErrorCode::InvalidScope, .. }), Some(narrower))
                if !cache.is_scope_refused =>
            {
                cache.is_scope_refused = true;
                self.request_token(endpoint, narrower, None).await
            }
            (issued, _) => issued,
        }
    }

    /// Returns the address that tokens are requested from, and caches it if it will not change: as configured, else as
    /// reported by the server about itself, else the usual path on the server (`halo-api.md` §1.1, §1.2).
    pub(super) async fn token_endpoint(&self, cache: &mut TokenCache) -> Result<TokenEndpoint, HaloError> {
        if let Some(endpoint) = &cache.endpoint {
            return Ok(endpoint.clone());
        }
        let (url, is_definite) = if let Some(url) = &self.options.auth_url {
            let tenant = self.options.tenant.as_deref().unwrap_or_default();
            (with_tenant(with_token_path(url.clone()), tenant), true)
        } else {
            let (url, is_definite) = self.reported_token_url().await?;
            cache.reported = Some(url.clone()).filter(|it| is_definite && self.may_be_remembered(it));
            (url, is_definite)
        };
        let endpoint = TokenEndpoint { url, is_recalled: false };
        cache.endpoint = is_definite.then(|| endpoint.clone());
        Ok(endpoint)
    }

    /// Takes the address for tokens that the server has reported since the last call, with the tenant of the settings or else
    /// the reported one, so that a later process need not ask again ([`HaloClient::recall_token_url`]).
    pub async fn take_reported_token_url(&self) -> Option<Url> {
        self.token_cache.lock().await.reported.take()
    }

    /// Uses an address for tokens that the server reported to an earlier process, unless the settings name one, or it is not
    /// on the server, or not for the tenant of the settings. Where it turns out to be wrong, the server is asked again.
    pub async fn recall_token_url(&self, url: Url) {
        let mut cache = self.token_cache.lock().await;
        let is_needed = cache.endpoint.is_none() && self.options.auth_url.is_none();
        let tenant_of_settings = self.options.tenant.as_deref();
        let has_tenant = |tenant| url.query_pairs().any(|(name, value)| name == "tenant" && value == tenant);
        if is_needed && self.may_be_remembered(&url) && tenant_of_settings.is_none_or(has_tenant) {
            cache.endpoint = Some(TokenEndpoint { url, is_recalled: true });
        }
    }

    /// Whether an address may be stored, and used again: it leads to the server and contains no secret, not even one that the
    /// server repeats.
    fn may_be_remembered(&self, url: &Url) -> bool {
        self.options.server.is_same_origin(url)
            && url.username().is_empty()
            && url.password().is_none()
            && url.as_str().len() <= REMEMBERED_URL_MAX
            && !self.redactor.finds_secret(url.as_str())
    }

    /// The address for tokens that the server reports about itself, or the usual path where it reports none, with the tenant of
    /// the settings or else the reported one. The second value tells whether a later answer of the server cannot change it.
    async fn reported_token_url(&self) -> Result<(Url, bool), HaloError> {
        let (info, is_definite) = self.fetch_auth_info().await?;
        let reported_tenant = info.tenant();
        let url = match info.auth_url() {
            Some(url) if self.options.server.is_same_origin(&url) => with_token_path(url),
            Some(url) => return Err(self.other_auth_server(&url, reported_tenant.as_deref())),
            None => self.options.server.endpoint("/auth/token"),
        };
        let tenant = self.options.tenant.clone().or(reported_tenant).unwrap_or_default();
        Ok((with_tenant(url, &tenant), is_definite))
    }

    /// Asks the server for its authorization server, which may have another address; `None` where it says nothing.
    pub async fn reported_auth_server(&self) -> Result<Option<ReportedAuthServer>, HaloError> {
        let (info, _) = self.fetch_auth_info().await?;
        let Some(mut url) = info.auth_url() else { return Ok(None) };
        let server = &self.options.server;
        if !server.may_have_auth_url(&url) {
            return Err(self.other_auth_server(&url, None));
        }
        url.set_query(None);
        url.set_fragment(None);
        let is_same_origin = server.is_same_origin(&url);
        Ok(Some(ReportedAuthServer { url, tenant: info.tenant(), is_same_origin }))
    }

    /// The error of an authorization server that is not to be trusted on the word of the server.
    fn other_auth_server(&self, url: &Url, tenant: Option<&str>) -> HaloError {
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        let is_allowed = self.options.server.may_have_auth_url(&shown)
            && shown.as_str().len() <= SHOWN_URL_MAX
            && !self.redactor.finds_secret(url.as_str());
        let settings = is_allowed.then(|| {
            let tenant = tenant.filter(|_| self.options.tenant.is_none()).map(|it| self.redactor.text(it));
            let tenant = tenant.map(|it| format!("; and tenant = {}", config::toml_string(it.as_str())));
            format!("auth_url = {}{}", config::toml_string(shown.as_str()), tenant.unwrap_or_default())
        });
        HaloError::OtherAuthServer { address: self.redactor.text(shown.as_str()), settings }
    }

    /// Asks the server for the address of its authorization server. A refusal is not an error: the usual
    /// path is tried then. The second value is false where it may say something else later.
    async fn fetch_auth_info(&self) -> Result<(AuthInfo, bool), HaloError> {
        let url = self.options.server.endpoint("/api/authinfo");
        let spec = RequestSpec::new(Resource::AuthInfo, &url, &[400, 401, 403, 404, 500]);
        let read = |response: &HttpResponse| {
            let info = serde_json::from_slice(&response.body).ok();
            // A firewall may let the next request through.
            let is_refusal = (400..500).contains(&response.status)
                && Responder::of(response.status, &response.body) == Responder::Server;
            let is_definite = info.is_some() || is_refusal;
            Ok((info.unwrap_or_default(), is_definite))
        };
        match self.send_unauthenticated(&spec, None, None, read).await {
            Err(HaloError::Refused { .. } | HaloError::Unavailable { .. }) => {
                Ok((AuthInfo::default(), false))
            }
            result => result,
        }
    }

    /// Requests a token. This is the only place that sends the secret, whatever the endpoint was remembered from.
    async fn request_token(
        &self,
        endpoint: &Url,
        scope: &str,
        slot: Option<RequestSlot>,
    ) -> Result<TokenGrant, HaloError> {
        let is_trusted = match &self.options.auth_url {
            Some(auth_url) => auth_url.origin() == endpoint.origin(),
            None => self.options.server.is_same_origin(endpoint),
        };
        if !is_trusted {
            return Err(self.other_auth_server(endpoint, None));
        }
        let secret = |text: &str| SecretString::from(text.to_owned());
        let form = [
            ("grant_type", secret("client_credentials")),
            ("client_id", secret(&self.options.client_id)),
            ("client_secret", self.options.client_secret.clone()),
            ("scope", secret(scope)),
        ];
        let spec = RequestSpec::new(Resource::Token, endpoint, &[400, 401, 403]);
        let outcome = self.send_unauthenticated(&spec, Some(&form), slot, parse_token_response).await?;
        outcome.map_err(|refusal| match refusal {
            TokenRefusal::OAuth(code) => {
                HaloError::Credentials { code, client_id: self.options.client_id.clone() }
            }
            TokenRefusal::Other { status, answered_by } => {
                HaloError::Refused { resource: Resource::Token, status, answered_by, message: None }
            }
        })
    }
}

/// Whether the failure of a token request may mean that the address for tokens, or the tenant, is another one now.
fn may_have_moved(error: &HaloError) -> bool {
    match error {
        HaloError::Credentials { .. }
        | HaloError::Refused { .. }
        | HaloError::Unavailable { .. }
        | HaloError::Unreadable(_)
        | HaloError::TooLarge { .. }
        | HaloError::OtherAuthServer { .. } => true,
        HaloError::Unreachable { .. } | HaloError::RateLimited { .. } => false,
    }
}

/// Appends a tenant, unless it is empty or there is one already.
fn with_tenant(mut url: Url, tenant: &str) -> Url {
    if !tenant.is_empty() && !url.query_pairs().any(|(name, _)| name == "tenant") {
        url.query_pairs_mut().append_pair("tenant", tenant);
    }
    url
}

/// Appends `/token` to the address from the server or the settings, unless it is already there.
fn with_token_path(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/');
    if !path.ends_with("/token") {
        let path = format!("{path}/token");
        url.set_path(&path);
    }
    url
}

struct TokenGrant {
    header: HeaderValue,
    lifetime: Duration,
}

/// The authorization server that a server names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedAuthServer {
    /// Its address: https, or http on this machine for a server on this machine.
    pub url: Url,
    /// The tenant to request tokens for, if there is one.
    pub tenant: Option<String>,
    /// Whether it has scheme, host and port of the server.
    pub is_same_origin: bool,
}

#[derive(Default, Deserialize)]
struct AuthInfo {
    auth_url: Option<String>,
    tenant_id: Option<String>,
}

impl AuthInfo {
    fn auth_url(&self) -> Option<Url> {
        Url::parse(self.auth_url.as_deref()?).ok()
    }

    fn tenant(&self) -> Option<String> {
        let is_name = |tenant: &&String| {
            !tenant.is_empty() && tenant.len() <= TENANT_MAX && !tenant.contains(is_hidden)
        };
        self.tenant_id.as_ref().filter(is_name).cloned()
    }
}

/// How a token request was refused.
enum TokenRefusal {
    /// With an OAuth error.
    OAuth(OAuthErrorCode),
    /// With something else, by a firewall for example.
    Other { status: u16, answered_by: Responder },
}

/// The OAuth error object (RFC 6749 §5.2). Its description is not read: nothing else of it may be shown.
#[derive(Deserialize)]
struct OAuthError<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: Option<String>,
    #[serde(default)]
    expires_in: ExpiresIn,
}

/// Seconds, as a number or as text; `None` for anything else.
#[derive(Debug, Default)]
struct ExpiresIn(Option<f64>);

impl<'de> Deserialize<'de> for ExpiresIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ExpiresIn, D::Error> {
        deserializer.deserialize_any(ExpiresInVisitor)
    }
}

struct ExpiresInVisitor;

impl<'de> Visitor<'de> for ExpiresInVisitor {
    type Value = ExpiresIn;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_f64<E>(self, seconds: f64) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn(Some(seconds)))
    }

    // Rounding matters only to lifetimes of more than 2^53 seconds.
    #[expect(clippy::cast_precision_loss)]
    fn visit_u64<E>(self, seconds: u64) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn(Some(seconds as f64)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn(None))
    }

    fn visit_str<E>(self, text: &str) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn(text.trim().parse().ok()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn(None))
    }

    fn visit_unit<E>(self) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<ExpiresIn, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(ExpiresIn(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<ExpiresIn, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(ExpiresIn(None))
    }
}

fn parse_token_response(response: &HttpResponse) -> Result<Result<TokenGrant, TokenRefusal>, ParseError> {
    let expected = "a token";
    if !(200..300).contains(&response.status) {
        let refusal = serde_json::from_slice(&response.body).ok();
        let code = refusal.and_then(|OAuthError { error }| error.parse().ok());
        return Ok(Err(match code {
            Some(code) => TokenRefusal::OAuth(code),
            None => TokenRefusal::Other {
                status: response.status,
                answered_by: Responder::of(response.status, &response.body),
            },
        }));
    }
    let token_response: TokenResponse = serde_json::from_slice(&response.body).map_err(|error| {
        if error.is_data() { ParseError::UnexpectedShape { expected } } else { ParseError::NotJson(error) }
    })?;
    let bearer = token_response.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    let token = SecretString::from(token_response.access_token);
    let token = token.expose_secret();
    let visible =
        !token.is_empty() && token.len() <= TOKEN_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !bearer || !visible {
        return Err(ParseError::UnexpectedShape { expected: "a bearer token" });
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| ParseError::UnexpectedShape { expected })?;
    header.set_sensitive(true);
    Ok(Ok(TokenGrant { header, lifetime: token_response.expires_in.lifetime() }))
}

impl ExpiresIn {
    /// Returns the lifetime of a token. The default is short; a token that lives longer is renewed early, and one
    /// that expires sooner is renewed after a 401.
    fn lifetime(&self) -> Duration {
        match self.0 {
            Some(seconds) if seconds.is_finite() && 0.0 < seconds => {
                Duration::from_secs_f64(seconds.min(LIFETIME_MAX.as_secs_f64()))
            }
            _ => DEFAULT_LIFETIME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn token_lifetime_follows_expires_in_within_limits() {
        for (expires_in, seconds) in [
            ("3600", 3600),
            ("3600.0", 3600),
            ("\"1200\"", 1200),
            ("0", 300),
            ("-5", 300),
            ("\"soon\"", 300),
            ("1e12", 86_400),
            ("null", 300),
            ("true", 300),
            ("[[1],[2]]", 300),
            ("{\"a\":{}}", 300),
        ] {
            let parsed: ExpiresIn = serde_json::from_str(expires_in).unwrap();
            assert_eq!(parsed.lifetime(), Duration::from_secs(seconds), "{expires_in}");
        }
        let without: TokenResponse = serde_json::from_str(r#"{"access_token":"x"}"#).unwrap();
        assert_eq!(without.expires_in.lifetime(), DEFAULT_LIFETIME);
    }

    #[test]
    fn token_that_does_not_fit_a_header_is_refused() {
        for token in ["", "two words", "line\r\nbreak", "caf\u{e9}"] {
            let body = json!({ "access_token": token, "token_type": "Bearer" }).to_string().into_bytes();
            let response = HttpResponse {
                status: 200,
                date: None,
                retry_after: None,
                location: None,
                age: None,
                body: body.into(),
                took: Duration::ZERO,
            };
            assert!(parse_token_response(&response).is_err(), "{token:?}");
        }
    }

    #[test]
    fn token_url_is_below_the_authorization_server() {
        for (auth_url, token_url) in [
            ("https://halo.example/auth", "https://halo.example/auth/token"),
            ("https://halo.example/auth/", "https://halo.example/auth/token"),
            ("https://halo.example/auth/token", "https://halo.example/auth/token"),
            ("https://auth.example", "https://auth.example/token"),
        ] {
            assert_eq!(with_token_path(Url::parse(auth_url).unwrap()).as_str(), token_url);
        }
    }
}
