//! Tokens: where to ask for one, one request at a time, renewed before they end or when refused.

use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::error::HaloError;
use super::transport::Answer;
use super::{Errand, Halo};
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
    pub(super) fn is_good(&self) -> bool {
        Instant::now() < self.renew_at
    }
}

/// What is known of tokens so far. It is locked while one is asked for, so that lanes which see their
/// token refused together ask for one new token.
#[derive(Default)]
pub(super) struct Keyring {
    token: Option<Token>,
    endpoint: Option<Url>,
    /// What the server took, where it did not take the configured scope.
    scope: Option<&'static str>,
    generation: u64,
}

impl Keyring {
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// What the server took, where it did not take the configured scope.
    pub(super) fn other_scope(&self) -> Option<&'static str> {
        self.scope
    }
}

/// What a request for a token is for, in messages.
pub(super) const TOKEN: &str = "a token";

/// What a token is asked for where the server does not know the configured scope.
const WIDEST_SCOPE: &str = "all";

/// A token of this length would not fit a header that servers accept.
const TOKEN_MAX: usize = 16 << 10;
const LIFE_WHERE_UNSAID: Duration = Duration::from_mins(5);
const LIFE_MAX: Duration = Duration::from_hours(24);

impl Halo {
    /// A good token; never again the one that was `refused`.
    pub(super) async fn token(&self, refused: Option<&Token>) -> Result<Token, HaloError> {
        let mut keyring = self.keyring.lock().await;
        let refused = refused.map(|token| token.generation);
        if let Some(token) = &keyring.token
            && Some(token.generation) != refused
            && token.is_good()
        {
            return Ok(token.clone());
        }
        let endpoint = self.known_endpoint(&mut keyring).await?;
        let scope = keyring.scope.unwrap_or(&self.terms.scope);
        let grant = match self.grant(&endpoint, scope).await {
            Err(HaloError::Credentials { code, .. }) if code == "invalid_scope" && scope != WIDEST_SCOPE => {
                tracing::info!(
                    scope,
                    "the server does not know the scope `{scope}`: asking for `{WIDEST_SCOPE}`"
                );
                let grant = self.grant(&endpoint, WIDEST_SCOPE).await?;
                keyring.scope = Some(WIDEST_SCOPE);
                grant
            }
            granted => granted?,
        };
        keyring.generation += 1;
        let token = Token {
            header: grant.header,
            generation: keyring.generation,
            renew_at: Instant::now() + grant.life - grant.life.div_f64(10.0).min(Duration::from_mins(1)),
        };
        keyring.token = Some(token.clone());
        Ok(token)
    }

    /// Where tokens are asked for; found out once.
    pub(super) async fn known_endpoint(&self, keyring: &mut Keyring) -> Result<Url, HaloError> {
        if let Some(endpoint) = &keyring.endpoint {
            return Ok(endpoint.clone());
        }
        let endpoint = self.endpoint().await?;
        keyring.endpoint = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Where tokens are asked for: as configured, else as the server says, else beside the server
    /// (`halo-api.md` §1.1, §1.2).
    async fn endpoint(&self) -> Result<Url, HaloError> {
        let info = match &self.terms.auth_url {
            Some(url) => AuthInfo { auth_url: Some(url.to_string()), tenant_id: None },
            None => self.authinfo().await?,
        };
        let said = info.auth_url.filter(|it| !it.is_empty()).and_then(|text| Url::parse(&text).ok());
        let mut url = match said {
            Some(url) => {
                config::safe(&url)
                    .map_err(|why| HaloError::Misled { what: "the authorisation server", why })?;
                under_token(url)
            }
            None => self.terms.server.at("/auth/token"),
        };
        let tenant = self.terms.tenant.clone().or(info.tenant_id).filter(|tenant| !tenant.is_empty());
        if let Some(tenant) = tenant
            && !url.query_pairs().any(|(name, _)| name == "tenant")
        {
            url.query_pairs_mut().append_pair("tenant", &tenant);
        }
        Ok(url)
    }

    /// Asks the server where its authorisation server is. One that does not say, in whatever way, is no
    /// error: the usual place is tried then.
    async fn authinfo(&self) -> Result<AuthInfo, HaloError> {
        let url = self.terms.server.at("/api/authinfo");
        let errand = Errand {
            what: "the authorisation server's address",
            url: &url,
            also: &[400, 401, 403, 404, 500],
        };
        let read = |answer: &Answer| Ok(serde_json::from_slice(&answer.body).unwrap_or_default());
        match self.ask_openly(&errand, None, read).await {
            Err(HaloError::Refused { .. } | HaloError::Unavailable { .. }) => Ok(AuthInfo::default()),
            asked => asked,
        }
    }

    async fn grant(&self, endpoint: &Url, scope: &str) -> Result<Grant, HaloError> {
        let plain = |text: &str| SecretString::from(text.to_owned());
        let form = [
            ("grant_type", plain("client_credentials")),
            ("client_id", plain(&self.terms.client_id)),
            ("client_secret", self.terms.client_secret.clone()),
            ("scope", plain(scope)),
        ];
        let errand = Errand { what: TOKEN, url: endpoint, also: &[400, 401, 403] };
        let answered = self.ask_openly(&errand, Some(&form), read_grant).await?;
        answered.map_err(|refusal| match refusal {
            Refusal::OAuth(refusal) => HaloError::Credentials {
                code: refusal.error,
                description: refusal.error_description,
                client_id: self.terms.client_id.clone(),
            },
            Refusal::Other(error) => error,
        })
    }
}

/// `…/token` below the address that the server or the settings give, which may end in it already.
fn under_token(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/');
    if !path.ends_with("/token") {
        let path = format!("{path}/token");
        url.set_path(&path);
    }
    url
}

struct Grant {
    header: HeaderValue,
    life: Duration,
}

#[derive(Default, Deserialize)]
struct AuthInfo {
    auth_url: Option<String>,
    tenant_id: Option<String>,
}

/// How a token was refused.
enum Refusal {
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
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

fn read_grant(answer: &Answer) -> Result<Result<Grant, Refusal>, ParseError> {
    let expected = "a token";
    if !(200..300).contains(&answer.status) {
        return Ok(Err(match serde_json::from_slice(&answer.body) {
            Ok(refusal) => Refusal::OAuth(refusal),
            Err(_) => Refusal::Other(HaloError::of_status(TOKEN, answer)),
        }));
    }
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|error| {
        if error.is_data() { ParseError::Shape { expected } } else { ParseError::NotJson(error) }
    })?;
    let bearer = granted.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    let token = SecretString::from(granted.access_token);
    let token = token.expose_secret();
    let visible =
        !token.is_empty() && token.len() <= TOKEN_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !bearer || !visible {
        return Err(ParseError::Shape { expected: "a bearer token" });
    }
    let mut header =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ParseError::Shape { expected })?;
    header.set_sensitive(true);
    Ok(Ok(Grant { header, life: life(granted.expires_in.as_ref()) }))
}

/// How long a token lives; short where the server does not say so usably, since a 401 renews it anyway.
fn life(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = expires_in.and_then(|value| match value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    });
    match seconds {
        Some(seconds) if seconds.is_finite() && 0.0 < seconds => {
            Duration::from_secs_f64(seconds.min(LIFE_MAX.as_secs_f64()))
        }
        _ => LIFE_WHERE_UNSAID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_lives_as_long_as_the_server_says_within_reason() {
        for (said, seconds) in [
            (Some(json!(3600)), 3600),
            (Some(json!("1200")), 1200),
            (Some(json!(0)), 300),
            (Some(json!(-5)), 300),
            (Some(json!("soon")), 300),
            (Some(json!(1e12)), 86_400),
            (None, 300),
        ] {
            assert_eq!(life(said.as_ref()), Duration::from_secs(seconds), "{said:?}");
        }
    }

    #[test]
    fn a_token_that_no_header_holds_is_refused() {
        for token in ["", "two words", "line\r\nbreak", "caf\u{e9}"] {
            let body = json!({ "access_token": token, "token_type": "Bearer" }).to_string().into_bytes();
            let answer = Answer {
                status: 200,
                date: None,
                retry_after: None,
                location: None,
                body: body.into(),
                took: Duration::ZERO,
            };
            assert!(read_grant(&answer).is_err(), "{token:?}");
        }
    }

    #[test]
    fn the_token_is_asked_for_below_the_authorisation_server() {
        for (said, asked) in [
            ("https://halo.example/auth", "https://halo.example/auth/token"),
            ("https://halo.example/auth/", "https://halo.example/auth/token"),
            ("https://halo.example/auth/token", "https://halo.example/auth/token"),
            ("https://auth.example", "https://auth.example/token"),
        ] {
            assert_eq!(under_token(Url::parse(said).unwrap()).as_str(), asked);
        }
    }
}
