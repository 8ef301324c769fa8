//! Errors that repeat what a client must keep secret, as servers, proxies and firewalls do.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::message::ApiResponse;

/// How a secret is encoded where it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
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

impl Spelling {
    /// All spellings with their names.
    pub const ALL: [(&'static str, Spelling); 8] = [
        ("plain", Spelling::Plain),
        ("percent", Spelling::Percent),
        ("form", Spelling::Form),
        ("basic", Spelling::Basic),
        ("base64url", Spelling::Base64Url),
        ("hex", Spelling::Hex),
        ("json", Spelling::Json),
        ("html", Spelling::Html),
    ];

    pub(crate) fn parse(name: &str) -> Option<Spelling> {
        Spelling::ALL.iter().find(|(known, _)| *known == name).map(|(_, spelling)| *spelling)
    }

    fn spell(self, client_id: &str, secret: &str) -> String {
        match self {
            Spelling::Plain => secret.to_owned(),
            Spelling::Percent => secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            Spelling::Form => url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            Spelling::Basic => STANDARD_NO_PAD.encode(format!("{client_id}:{secret}")),
            Spelling::Base64Url => URL_SAFE_NO_PAD.encode(secret),
            Spelling::Hex => secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
            Spelling::Json => secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
            Spelling::Html => secret.chars().map(|it| format!("&#{};", u32::from(it))).collect(),
        }
    }
}

/// Adds the secrets to every text of a response: each string of its JSON except an OAuth error code, its page or plain
/// text, and its headers.
pub(crate) fn add(response: &mut ApiResponse, spelling: Spelling, client_id: &str, secrets: &[String]) {
    let encoded: Vec<_> = secrets.iter().map(|secret| spelling.spell(client_id, secret)).collect();
    let echo = format!(" client_secret={}", encoded.join(" Bearer "));
    match serde_json::from_slice::<Value>(&response.body) {
        Ok(mut value) => {
            add_to_strings(&mut value, &echo);
            response.body = value.to_string().into_bytes();
        }
        Err(_) => response.body.extend_from_slice(echo.as_bytes()),
    }
    for (name, value) in &mut response.headers {
        if *name == "location" {
            *value = format!("{value}?{}", echo.trim_start().replace(' ', "&"));
        }
    }
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{}\"", echo.trim_start());
    response.headers.push(("www-authenticate", challenge));
}

fn add_to_strings(value: &mut Value, echo: &str) {
    match value {
        Value::String(text) => text.push_str(echo),
        Value::Array(items) => items.iter_mut().for_each(|item| add_to_strings(item, echo)),
        Value::Object(members) => {
            let is_oauth_error = members.contains_key("error_description");
            let shown = members.iter_mut().filter(|(name, _)| !is_oauth_error || *name != "error");
            shown.for_each(|(_, member)| add_to_strings(member, echo));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
