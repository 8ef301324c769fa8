//! Errors that repeat what a client must keep secret, as servers, proxies and firewalls do.

use serde_json::Value;

use crate::message::ApiResponse;
use crate::secret_encoding::SecretEncoding;

/// Adds the secrets to every text of a response: each string of its JSON except an OAuth error code, its page or plain
/// text, and its headers.
pub(crate) fn add(response: &mut ApiResponse, encoding: SecretEncoding, client_id: &str, secrets: &[String]) {
    let encoded: Vec<_> = secrets.iter().map(|secret| encoding.encode(client_id, secret)).collect();
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
