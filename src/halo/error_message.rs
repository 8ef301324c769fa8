//! Finds the message in the body of an error response, whatever its shape (`halo-api.md` §7).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How many messages of one array are joined.
const JOINED_MAX: usize = 10;

/// The members of an error object that may hold the message, in order of preference.
const MESSAGE_MEMBERS: [&str; 5] = ["error_description", "Message", "message", "error", "errors"];

/// Extracts the message from an error body, as received; never a whole page, and never a fragment of truncated JSON.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    let text = if let Ok(MessageText(text)) = serde_json::from_slice(body) {
        text?
    } else {
        let text = text_start(body)?;
        if text.trim_start().starts_with(['<', '{', '[', '"']) {
            return None;
        }
        text.to_owned()
    };
    (!text.trim().is_empty()).then_some(text)
}

/// Returns a body that is text. The body may have been cut in the middle of a character.
fn text_start(body: &[u8]) -> Option<&str> {
    match std::str::from_utf8(body) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&body[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// The message in a JSON value: a text, the messages of an array, or the most telling member of an object.
struct MessageText(Option<String>);

impl<'de> Deserialize<'de> for MessageText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MessageText, D::Error> {
        deserializer.deserialize_any(ErrorMessageVisitor)
    }
}

struct ErrorMessageVisitor;

impl<'de> Visitor<'de> for ErrorMessageVisitor {
    type Value = MessageText;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<MessageText, E> {
        Ok(MessageText(Some(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<MessageText, A::Error> {
        let mut messages = Vec::new();
        while messages.len() < JOINED_MAX
            && let Some(MessageText(message)) = array.next_element()?
        {
            messages.extend(message);
        }
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(MessageText((!messages.is_empty()).then(|| messages.join("; "))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<MessageText, A::Error> {
        let mut members: [Option<String>; MESSAGE_MEMBERS.len()] = Default::default();
        let mut other = None;
        while let Some(key) = object.next_key::<Cow<'de, str>>()? {
            match MESSAGE_MEMBERS.iter().position(|name| *name == key) {
                Some(index) => members[index] = object.next_value::<MessageText>()?.0,
                None if other.is_none() => other = object.next_value::<MessageText>()?.0,
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        // OAuth errors have a code and a description (RFC 6749 §5.2).
        if let [Some(description), _, _, Some(code), _] = &members {
            return Ok(MessageText(Some(format!("{code}: {description}"))));
        }
        Ok(MessageText(members.into_iter().flatten().next().or(other)))
    }

    fn visit_unit<E>(self) -> Result<MessageText, E> {
        Ok(MessageText(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<MessageText, E> {
        Ok(MessageText(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<MessageText, E> {
        Ok(MessageText(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<MessageText, E> {
        Ok(MessageText(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<MessageText, E> {
        Ok(MessageText(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::text(r#""Rate limit""#, Some("Rate limit"))]
    #[case::plain("no access\n", Some("no access\n"))]
    #[case::code_and_description(r#"{"error_description":"bad","error":"denied"}"#, Some("denied: bad"))]
    #[case::nested(r#"{"error":{"error_description":"bad"}}"#, Some("bad"))]
    #[case::exception(r#"{"ClassName":"System.Exception","Message":"bad"}"#, Some("bad"))]
    #[case::list(r#"{"errors":["a",{"message":"b"},3]}"#, Some("a; b"))]
    #[case::one_unknown_key(r#"{"status":401,"reason":"bad"}"#, Some("bad"))]
    #[case::no_text("[1,null,true,{}]", None)]
    #[case::cut_json(r#"{"error":"ba"#, None)]
    #[case::page("<html>", None)]
    #[case::empty("", None)]
    fn message_is_found_in_every_shape(#[case] body: &str, #[case] message: Option<&str>) {
        assert_eq!(error_message(body.as_bytes()).as_deref(), message);
    }

    #[test]
    fn nested_long_and_cut_bodies_are_harmless() {
        for deep in
            ["[".repeat(64 << 10), "[".repeat(30_000) + &"]".repeat(30_000), r#"{"a":"#.repeat(12_000)]
        {
            assert_eq!(error_message(deep.as_bytes()), None);
        }
        let wide = format!("[{}]", vec!["[]"; 20_000].join(","));
        assert_eq!(error_message(wide.as_bytes()), None);
        let cut = &"\u{20ac}".repeat(30_000).into_bytes()[..64 << 10];
        assert_eq!(error_message(cut).map(|message| message.chars().count()), Some((64 << 10) / 3));
    }
}
