//! How servers, proxies and firewalls encode a secret that they repeat.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How a secret is encoded where it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretEncoding {
    /// As it is.
    Plain,
    /// Every byte as `%2B`.
    Percent,
    /// As in a form: only special characters are encoded.
    Form,
    /// In base64, behind the client id as in HTTP's Basic authentication.
    Basic,
    /// In base64 with the alphabet of URLs.
    Base64Url,
    /// In hexadecimal.
    Hex,
    /// Every character as `\u002B`.
    Json,
    /// Every character as `&#43;`.
    Html,
}

impl SecretEncoding {
    /// All encodings with their names.
    pub const ALL: [(&'static str, SecretEncoding); 8] = [
        ("plain", SecretEncoding::Plain),
        ("percent", SecretEncoding::Percent),
        ("form", SecretEncoding::Form),
        ("basic", SecretEncoding::Basic),
        ("base64url", SecretEncoding::Base64Url),
        ("hex", SecretEncoding::Hex),
        ("json", SecretEncoding::Json),
        ("html", SecretEncoding::Html),
    ];

    pub(crate) fn parse(name: &str) -> Option<SecretEncoding> {
        SecretEncoding::ALL.iter().find(|(known, _)| *known == name).map(|(_, encoding)| *encoding)
    }

    pub(crate) fn encode(self, client_id: &str, secret: &str) -> String {
        match self {
            SecretEncoding::Plain => secret.to_owned(),
            SecretEncoding::Percent => secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            SecretEncoding::Form => url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            SecretEncoding::Basic => STANDARD_NO_PAD.encode(format!("{client_id}:{secret}")),
            SecretEncoding::Base64Url => URL_SAFE_NO_PAD.encode(secret),
            SecretEncoding::Hex => secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
            SecretEncoding::Json => secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
            SecretEncoding::Html => secret.chars().map(|it| format!("&#{};", u32::from(it))).collect(),
        }
    }
}
