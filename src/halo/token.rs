//! Tokens: where to ask for one, one request at a time, renewed before they end or when refused.

use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::error::HaloError;
use super::transport::HttpResponse;
use super::{HaloClient, RequestSpec};
use crate::config;
use crate::ticket::parse::ParseError;

/// A token; it shows itself to nobody but the wire, which may be a simulated one.
#[derive(Clone)]
pub struct Token {
    header: HeaderValue,
    generation: u64,
    renew_at: Instant,
}

impl Token {
    /// What stands in `Authorization`; marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether it is not about to end.
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at
    }
}

/// What is known of tokens so far. It is locked while one is asked for, so that lanes which see their
/// token refused together ask for one new token.
#[derive(Default)]
pub(super) struct TokenCache {
    token: Option<Token>,
    endpoint: Option<Url>,
    /// What the server took, where it did not take the configured scope.
    fallback_scope: Option<&'static str>,
    generation: u64,
}

impl TokenCache {
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// What the server took, where it did not take the configured scope.
    pub(super) fn fallback_scope(&self) -> Option<&'static str> {
        self.fallback_scope
    }
}

/// What a request for a token is for, in messages.
pub(super) const TOKEN: &str = "a token";

/// What a token is asked for where the server does not know the configured scope.
const WIDEST_SCOPE: &str = "all";

/// A token of this length would not fit a header that servers accept.
const TOKEN_MAX: usize = 16 << 10;
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);
const LIFETIME_MAX: Duration = Duration::from_hours(24);

impl HaloClient {
    /// A good token; never again the one that was `refused`.
    pub(super) async fn token(&self, refused: Option<&Token>) -> Result<Token, HaloError> {
        let mut cache = self.token_cache.lock().await;
        let refused = refused.map(|token| token.generation);
        if let Some(token) = &cache.token
            && Some(token.generation) != refused
            && token.is_fresh()
        {
            return Ok(token.clone());
        }
        let endpoint = self.token_endpoint(&mut cache).await?;
        let scope = cache.fallback_scope.unwrap_or(&self.options.scope);
        let issued = match self.request_token(&endpoint, scope).await {
            Err(HaloError::Credentials { code, .. }) if code == "invalid_scope" && scope != WIDEST_SCOPE => {
                tracing::info!(
                    scope,
                    "the server does not know the scope `{scope}`: asking for `{WIDEST_SCOPE}`"
                );
                let issued = self.request_token(&endpoint, WIDEST_SCOPE).await?;
                cache.fallback_scope = Some(WIDEST_SCOPE);
                issued
            }
            result => result?,
        };
        cache.generation += 1;
        let token = Token {
            header: issued.header,
            generation: cache.generation,
            renew_at: Instant::now() + issued.lifetime
                - issued.lifetime.div_f64(10.0).min(Duration::from_mins(1)),
        };
        cache.token = Some(token.clone());
        Ok(token)
    }

    /// Where tokens are asked for; found out once.
    pub(super) async fn token_endpoint(&self, cache: &mut TokenCache) -> Result<Url, HaloError> {
        if let Some(endpoint) = &cache.endpoint {
            return Ok(endpoint.clone());
        }
        let endpoint = self.resolve_token_endpoint().await?;
        cache.endpoint = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Where tokens are asked for: as configured, else as the server says, else beside the server
    /// (`halo-api.md` §1.1, §1.2).
    async fn resolve_token_endpoint(&self) -> Result<Url, HaloError> {
        let info = match &self.options.auth_url {
            Some(url) => AuthInfo { auth_url: Some(url.to_string()), tenant_id: None },
            None => self.fetch_auth_info().await?,
        };
        let auth_url = info.auth_url.filter(|it| !it.is_empty()).and_then(|text| Url::parse(&text).ok());
        let mut url = match auth_url {
            Some(url) => {
                config::check_safe_url(&url)
                    .map_err(|why| HaloError::UnsafeAuthUrl { what: "the authorisation server", why })?;
                with_token_path(url)
            }
            None => self.options.server.endpoint("/auth/token"),
        };
        let tenant = self.options.tenant.clone().or(info.tenant_id).filter(|tenant| !tenant.is_empty());
        if let Some(tenant) = tenant
            && !url.query_pairs().any(|(name, _)| name == "tenant")
        {
            url.query_pairs_mut().append_pair("tenant", &tenant);
        }
        Ok(url)
    }

    /// Asks the server where its authorisation server is. One that does not say, in whatever way, is no
    /// error: the usual place is tried then.
    async fn fetch_auth_info(&self) -> Result<AuthInfo, HaloError> {
        let url = self.options.server.endpoint("/api/authinfo");
        let spec = RequestSpec {
            what: "the authorisation server's address",
            url: &url,
            accepted_statuses: &[400, 401, 403, 404, 500],
        };
        let read = |response: &HttpResponse| Ok(serde_json::from_slice(&response.body).unwrap_or_default());
        match self.send_unauthenticated(&spec, None, read).await {
            Err(HaloError::Refused { .. } | HaloError::Unavailable { .. }) => Ok(AuthInfo::default()),
            result => result,
        }
    }

    async fn request_token(&self, endpoint: &Url, scope: &str) -> Result<TokenGrant, HaloError> {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let form = [
            ("grant_type", secret("client_credentials")),
            ("client_id", secret(&self.options.client_id)),
            ("client_secret", self.options.client_secret.clone()),
            ("scope", secret(scope)),
        ];
        let spec = RequestSpec { what: TOKEN, url: endpoint, accepted_statuses: &[400, 401, 403] };
        let outcome = self.send_unauthenticated(&spec, Some(&form), parse_token_response).await?;
        outcome.map_err(|refusal| match refusal {
            TokenRefusal::OAuth(refusal) => HaloError::Credentials {
                code: refusal.error,
                description: refusal.error_description,
                client_id: self.options.client_id.clone(),
            },
            TokenRefusal::Other(error) => error,
        })
    }
}

/// `…/token` below the address that the server or the settings give, which may end in it already.
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

#[derive(Default, Deserialize)]
struct AuthInfo {
    auth_url: Option<String>,
    tenant_id: Option<String>,
}

/// How a token was refused.
enum TokenRefusal {
    /// In the form of the protocol.
    OAuth(OAuthError),
    /// By a firewall, say, in its own words.
    Other(HaloError),
}

/// The OAuth error object (RFC 6749 §5.2).
#[derive(Deserialize)]
struct OAuthError {
    error: String,
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

fn parse_token_response(response: &HttpResponse) -> Result<Result<TokenGrant, TokenRefusal>, ParseError> {
    let expected = "a token";
    if !(200..300).contains(&response.status) {
        return Ok(Err(match serde_json::from_slice(&response.body) {
            Ok(refusal) => TokenRefusal::OAuth(refusal),
            Err(_) => TokenRefusal::Other(HaloError::from_status(TOKEN, response)),
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
    Ok(Ok(TokenGrant { header, lifetime: parse_lifetime(token_response.expires_in.as_ref()) }))
}

/// How long a token lives; short where the server does not say so usably, since a 401 renews it anyway.
fn parse_lifetime(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = expires_in.and_then(|value| match value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    });
    match seconds {
        Some(seconds) if seconds.is_finite() && 0.0 < seconds => {
            Duration::from_secs_f64(seconds.min(LIFETIME_MAX.as_secs_f64()))
        }
        _ => DEFAULT_LIFETIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn token_lifetime_follows_expires_in_within_limits() {
        for (expires_in, seconds) in [
            (Some(json!(3600)), 3600),
            (Some(json!("1200")), 1200),
            (Some(json!(0)), 300),
            (Some(json!(-5)), 300),
            (Some(json!("soon")), 300),
            (Some(json!(1e12)), 86_400),
            (None, 300),
        ] {
            assert_eq!(parse_lifetime(expires_in.as_ref()), Duration::from_secs(seconds), "{expires_in:?}");
        }
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
