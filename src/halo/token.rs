//! Access tokens and their cache.

use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::Instant;
use url::Url;

/// An access token. Only the transport, which may be a simulated one, can read it.
#[derive(Clone)]
pub struct Token {
    header: HeaderValue,
    generation: u64,
    issued_at: Instant,
    renew_at: Instant,
}

impl Token {
    /// Returns the value of the `Authorization` header, marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// How long ago the token was issued.
    pub(super) fn age(&self) -> Duration {
        self.issued_at.elapsed()
    }

    /// Whether the token is not about to expire.
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at
    }
}

/// The current token and how to get the next one. It stays locked while a token is requested, so that
/// requests whose token is refused at the same time request one new token together.
#[derive(Default)]
pub(super) struct TokenCache {
    token: Option<Token>,
    /// Whether the server does not know all of the scope.
    pub(super) is_scope_refused: bool,
    generation: u64,
    /// The address that tokens are requested from, once it is known.
    pub(super) endpoint: Option<TokenEndpoint>,
    /// What the server said about that, to be remembered beyond this process.
    pub(super) reported: Option<Url>,
}

/// The address that tokens are requested from.
#[derive(Clone)]
pub(super) struct TokenEndpoint {
    /// With the tenant, if there is one.
    pub(super) url: Url,
    /// Whether an earlier process asked the server for it, so that the server may say something else by now.
    pub(super) is_recalled: bool,
}

impl TokenCache {
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Returns the cached token, unless it is about to expire or is the one that was refused.
    pub(super) fn usable_token(&self, refused: Option<&Token>) -> Option<Token> {
        let refused = refused.map(|token| token.generation);
        self.token.clone().filter(|token| Some(token.generation) != refused && token.is_fresh())
    }

    /// Caches a new token, to be renewed shortly before it expires.
    pub(super) fn insert(&mut self, header: HeaderValue, lifetime: Duration) -> Token {
        self.generation += 1;
        let issued_at = Instant::now();
        let renew_at = issued_at + lifetime - lifetime.div_f64(10.0).min(Duration::from_mins(1));
        let token = Token { header, generation: self.generation, issued_at, renew_at };
        self.token = Some(token.clone());
        token
    }
}
