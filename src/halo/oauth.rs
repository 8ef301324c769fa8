//! The error codes of OAuth 2.0.

/// An error code that a token endpoint may send (RFC 6749 §4.1.2.1 and §5.2). Any other is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum OAuthErrorCode {
    /// The request lacks a parameter or repeats one.
    InvalidRequest,
    /// The client is unknown, or its secret is wrong.
    InvalidClient,
    /// The grant is invalid or has expired.
    InvalidGrant,
    /// The client may not use this grant type.
    UnauthorizedClient,
    /// The server does not know this grant type.
    UnsupportedGrantType,
    /// The server does not know this response type.
    UnsupportedResponseType,
    /// The scope is unknown, or the client may not have it.
    InvalidScope,
    /// The owner of the data refused.
    AccessDenied,
    /// The server failed.
    ServerError,
    /// The server is overloaded or under maintenance.
    TemporarilyUnavailable,
}
