//! The one way by which text of a server, a proxy or a library leaves `halo`: known secrets are taken out in every
//! encoding, then it is cleaned, then cut.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The longest text, in characters.
const TEXT_MAX: usize = 500;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// Shorter secrets are not searched for: their place would tell what they are.
const SECRET_MIN: usize = 4;

/// How many tokens are remembered; older ones have expired.
const TOKENS_MAX: usize = 64;

/// How many comparisons one text is worth. A text that needs more was made for that, and is dropped.
const STEPS_MAX: u32 = 4_000_000;

/// A text that came from outside: without known secrets, on one line, at most 500 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerText(String);

impl ServerText {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text itself.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for ServerText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whether a character shows nothing or moves what is around it: control characters, line separators, direction marks,
/// and characters without width.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{61C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{3164}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFFB}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// Takes known secrets out of texts.
#[derive(Default)]
pub struct Redactor {
    known: RwLock<KnownSecrets>,
}

#[derive(Clone, Default)]
struct KnownSecrets {
    /// The encodings of the client secrets.
    secrets: Vec<EncodedSecret>,
    /// The encodings of each token, the newest last.
    tokens: VecDeque<Vec<EncodedSecret>>,
}

/// A secret in one encoding, letters in lower case.
#[derive(Clone, PartialEq, Eq)]
struct EncodedSecret {
    bytes: Vec<u8>,
    is_base64: bool,
}

impl Redactor {
    /// Knows a client secret; none if it is empty.
    #[must_use]
    pub fn new(client_secret: &str) -> Redactor {
        let known = KnownSecrets { secrets: encodings(client_secret), tokens: VecDeque::new() };
        Redactor { known: RwLock::new(known) }
    }

    /// Remembers a token, also after it has expired or was refused.
    pub fn add_token(&self, token: &str) {
        let mut encoded = encodings(token);
        // A message about a JWT may show one part of it.
        for part in token.split('.').filter(|part| 16 <= part.len() && part.len() < token.len()) {
            encoded.push(EncodedSecret::plain(part.as_bytes()));
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.tokens.contains(&encoded) {
            known.tokens.push_back(encoded);
        }
        if TOKENS_MAX < known.tokens.len() {
            known.tokens.pop_front();
        }
    }

    /// Remembers what another one knows.
    pub(super) fn learn_from(&self, other: &Redactor) {
        let other = other.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for secret in other.secrets {
            if !known.secrets.contains(&secret) {
                known.secrets.push(secret);
            }
        }
        for token in other.tokens.into_iter().rev() {
            if known.tokens.len() < TOKENS_MAX && !known.tokens.contains(&token) {
                known.tokens.push_front(token);
            }
        }
    }

    /// Makes a text safe to log, store and show.
    #[must_use]
    pub fn text(&self, text: &str) -> ServerText {
        let redacted = self.redact(text);
        let cleaned = redacted.chars().map(|it| if is_hidden(it) { ' ' } else { it });
        let cleaned: String = cleaned.skip_while(|it| it.is_whitespace()).take(TEXT_MAX).collect();
        ServerText(cleaned.trim_end().to_owned())
    }

    /// Whether a text contains a known secret.
    pub(super) fn finds_secret(&self, text: &str) -> bool {
        self.redact(text) != text
    }

    /// Replaces every known secret, and the beginning of one that the end of the text cuts off.
    pub(super) fn redact(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let encoded: Vec<_> = known.secrets.iter().chain(known.tokens.iter().flatten()).collect();
        let (mut redacted, mut copied, mut at, mut steps) = (String::new(), 0, 0, 0);
        while at < text.len() {
            let first = Units::at(text, at);
            let candidates = encoded.iter().filter(|secret| first.may_begin(secret));
            let end = candidates.filter_map(|secret| secret.end_in(text, at, &mut steps)).max();
            if STEPS_MAX < steps {
                return REDACTED.to_owned();
            }
            match end {
                Some(end) => {
                    redacted.push_str(&text[copied..at]);
                    redacted.push_str(REDACTED);
                    (copied, at) = (end, end);
                }
                None => at = text.ceil_char_boundary(at + 1),
            }
        }
        redacted.push_str(&text[copied..]);
        redacted
    }
}

/// Returns the encodings to search for. What stands between the characters of one, such as escapes, is part of the
/// search.
fn encodings(secret: &str) -> Vec<EncodedSecret> {
    if secret.len() < SECRET_MIN {
        return Vec::new();
    }
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![EncodedSecret::plain(secret.as_bytes()), EncodedSecret::plain(hex.as_bytes())];
    for offset in 0..3 {
        // The characters at both ends depend on the bytes around the secret; those between do not.
        let padded = [&vec![0; offset][..], secret.as_bytes()].concat();
        let (from, to) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
        let encoded = &STANDARD_NO_PAD.encode(&padded)[from..to];
        all.push(EncodedSecret { is_base64: true, ..EncodedSecret::plain(encoded.as_bytes()) });
    }
    all
}

impl EncodedSecret {
    fn plain(bytes: &[u8]) -> EncodedSecret {
        EncodedSecret { bytes: bytes.to_ascii_lowercase(), is_base64: false }
    }

    /// Whether a byte of a text stands for a byte of the secret. Case does not matter, because addresses lose it.
    fn is_same(&self, found: u8, wanted: u8) -> bool {
        let found = match found {
            b'-' if self.is_base64 => b'+',
            b'_' if self.is_base64 => b'/',
            found => found.to_ascii_lowercase(),
        };
        found == wanted
    }

    /// Returns where the secret that begins at `start` ends. A secret that the end of the text cuts off ends there.
    fn end_in(&self, text: &str, start: usize, steps: &mut u32) -> Option<usize> {
        let mut open = vec![(start, 0)];
        let mut end = None;
        while let Some((at, matched)) = open.pop() {
            *steps += 1;
            if STEPS_MAX < *steps {
                return None;
            }
            if matched == self.bytes.len() || (at == text.len() && SECRET_MIN <= matched) {
                end = end.max(Some(at));
                continue;
            }
            if at == text.len() {
                continue;
            }
            for (unit, next) in Units::at(text, at).0.into_iter().flatten() {
                let wanted = &self.bytes[matched..];
                let same = wanted.iter().zip(unit.bytes()).all(|(wanted, it)| self.is_same(*it, *wanted));
                if same && unit.length <= wanted.len() {
                    open.push((next, matched + unit.length));
                }
            }
            let character = text[at..].chars().next();
            if 0 < matched
                && let Some(hidden) = character.filter(|it| is_hidden(*it))
            {
                // Encoders break lines.
                open.push((at + hidden.len_utf8(), matched));
            }
        }
        end.filter(|end| text.is_char_boundary(*end))
    }
}

/// What one place of a text may stand for.
#[derive(Clone, Copy)]
struct Unit {
    utf8: [u8; 4],
    length: usize,
}

impl Unit {
    fn byte(byte: u8) -> Unit {
        Unit { utf8: [byte, 0, 0, 0], length: 1 }
    }

    fn character(character: char) -> Unit {
        let mut utf8 = [0; 4];
        let length = character.encode_utf8(&mut utf8).len();
        Unit { utf8, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.utf8[..self.length]
    }
}

/// The meanings of one place, each with the place behind it: the character itself, and what it stands for as an escape
/// of URLs, forms, JSON, HTML or debug output.
///
/// A library decodes a whole text of one encoding; here a text may mix several, and its places must stay known.
struct Units([Option<(Unit, usize)>; 3]);

impl Units {
    fn at(text: &str, at: usize) -> Units {
        let bytes = text.as_bytes();
        let Some(character) = text[at..].chars().next() else { return Units([None; 3]) };
        let literal = Some((Unit::character(character), at + character.len_utf8()));
        let [escape, doubled] = match character {
            '+' => [Some((Unit::byte(b' '), at + 1)), None],
            '%' => percent(bytes, at),
            '\\' => [backslash(bytes, at), None],
            '&' => [entity(&text[at..]).map(|(unit, length)| (unit, at + length)), None],
            _ => [None; 2],
        };
        Units([literal, escape, doubled])
    }

    /// Whether a secret may begin here: quick, because it is asked for every place and every secret.
    fn may_begin(&self, secret: &EncodedSecret) -> bool {
        let Some(wanted) = secret.bytes.first() else { return false };
        self.0.iter().flatten().any(|(unit, _)| secret.is_same(unit.utf8[0], *wanted))
    }
}

/// Reads up to four hexadecimal digits.
fn hex(bytes: &[u8], from: usize, digits: usize) -> Option<u16> {
    let digits = str::from_utf8(bytes.get(from..from + digits)?).ok()?;
    // `from_str_radix` also takes a sign.
    u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

/// `%2B`; and `%252B`, which was encoded more than once.
fn percent(bytes: &[u8], at: usize) -> [Option<(Unit, usize)>; 2] {
    let decoded = |from| {
        let byte = u8::try_from(hex(bytes, from, 2)?).ok()?;
        Some((Unit::byte(byte), from + 2))
    };
    let mut deepest = at + 1;
    while bytes[deepest..].starts_with(b"25") {
        deepest += 2;
    }
    [decoded(at + 1), if deepest == at + 1 { None } else { decoded(deepest) }]
}

/// `\u002B`, `\x2B`, `\/`, `\"` and `\\`, also with several backslashes, as texts have that were quoted more than once.
fn backslash(bytes: &[u8], at: usize) -> Option<(Unit, usize)> {
    let run = bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
    let kind = at + run;
    match bytes.get(kind) {
        Some(b'u') => {
            let unit = hex(bytes, kind + 1, 4)?;
            if let Some(character) = char::from_u32(unit.into()) {
                return Some((Unit::character(character), kind + 5));
            }
            let low = kind + 5 + bytes[kind + 5..].iter().take_while(|byte| **byte == b'\\').count();
            let character = char::decode_utf16([unit, hex(bytes, low + 1, 4)?]).next()?.ok()?;
            Some((Unit::character(character), low + 5))
        }
        Some(b'x') => Some((Unit::byte(u8::try_from(hex(bytes, kind + 1, 2)?).ok()?), kind + 3)),
        Some(quoted @ (b'/' | b'"' | b'\'')) => Some((Unit::byte(*quoted), kind + 1)),
        _ => (run % 2 == 0).then_some((Unit::byte(b'\\'), kind)),
    }
}

/// `&amp;`, `&#43;` and `&#x2B;`, with the length of the entity.
fn entity(text: &str) -> Option<(Unit, usize)> {
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let name = &text[1..end];
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "plus" => '+',
        "equals" => '=',
        "sol" => '/',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((Unit::character(character), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    /// Has characters that URLs, forms, JSON, HTML and base64 encode, and one of two bytes.
    const SECRET: &str = "s3cret+/<\"é\\&? =x";

    fn redactor() -> Redactor {
        Redactor::new(SECRET)
    }

    fn percent_encoded(text: &str, encode: impl Fn(usize, u8) -> bool, upper: bool) -> String {
        let encoded = text.bytes().enumerate().map(|(index, byte)| match (encode(index, byte), upper) {
            (true, true) => format!("%{byte:02X}"),
            (true, false) => format!("%{byte:02x}"),
            (false, _) => char::from(byte).to_string(),
        });
        encoded.collect()
    }

    fn json_escaped(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect()
    }

    #[rstest]
    #[case::plain(SECRET.to_owned())]
    #[case::upper_case(SECRET.to_uppercase().replace('É', "é"))]
    #[case::percent(percent_encoded(SECRET, |_, _| true, true))]
    #[case::percent_in_lower_case(percent_encoded(SECRET, |_, _| true, false))]
    #[case::partly_percent(percent_encoded(SECRET, |index, byte| index % 2 == 0 || !byte.is_ascii(), true))]
    #[case::form(url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect())]
    #[case::percent_twice(percent_encoded(SECRET, |_, _| true, true).replace('%', "%25"))]
    #[case::json(serde_json::to_string(SECRET).unwrap().trim_matches('"').to_owned())]
    #[case::json_with_escaped_slash(serde_json::to_string(SECRET).unwrap().trim_matches('"').replace('/', "\\/"))]
    #[case::json_code_points(json_escaped(SECRET))]
    #[case::json_twice(json_escaped(SECRET).replace('\\', "\\\\"))]
    #[case::html("s3cret+/&lt;&quot;&#233;\\&amp;? &#x3d;x".to_owned())]
    #[case::debug(format!("{SECRET:?}").trim_matches('"').to_owned())]
    #[case::hex(SECRET.bytes().map(|byte| format!("{byte:02x}")).collect())]
    #[case::hex_in_upper_case(SECRET.bytes().map(|byte| format!("{byte:02X}")).collect())]
    fn secret_is_found_in_every_encoding(#[case] encoded: String) {
        for (before, after) in [("", ""), ("client_secret=", "&scope=x"), ("\"", "\""), ("é\\", "%")] {
            let text = redactor().text(&format!("{before}{encoded}{after}"));
            assert!(text.as_str().contains(REDACTED), "{text}");
            assert!(text.as_str().chars().count() <= REDACTED.len() + before.len() + after.len(), "{text}");
        }
    }

    #[test]
    fn secret_is_found_in_base64_whatever_surrounds_it() {
        let secret = "canary+secret/4f1d=9b?&c7";
        let redactor = Redactor::new(secret);
        for before in ["", "a", "ab", "client-id:", "id:", "0123:"] {
            for after in ["", "x", "xy", "\n"] {
                let encoded = STANDARD_NO_PAD.encode(format!("{before}{secret}{after}"));
                let url_alphabet = encoded.replace('+', "-").replace('/', "_");
                let in_url = encoded.replace('+', "%2B").replace('/', "%2f");
                let (first, rest) = encoded.split_at(14);
                let wrapped = format!("{first}\r\n{rest}");
                for written in [&encoded, &url_alphabet, &in_url, &wrapped] {
                    let text = redactor.text(&format!("Basic {written}=="));
                    let left = text.as_str().replace(REDACTED, "").len();
                    assert!(text.as_str().contains(REDACTED), "{before}…{after}: {text}");
                    assert!(left < 16 + before.len() * 2 + after.len() * 2, "{before}…{after}: {text}");
                }
            }
        }
    }

    #[test]
    fn tokens_and_their_parts_are_found_also_when_newer_ones_came() {
        let redactor = redactor();
        let token = |number: usize| {
            format!("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0{number:04}.c2lnbmF0dXJl{number:04}")
        };
        for number in 0..TOKENS_MAX {
            redactor.add_token(&token(number));
        }
        for number in [0, TOKENS_MAX - 1] {
            let text =
                redactor.text(&format!("invalid: {} (signature c2lnbmF0dXJl{number:04})", token(number)));
            assert_eq!(text.as_str(), "invalid: [redacted] (signature [redacted])");
        }
        let next = Redactor::new("another secret");
        next.learn_from(&redactor);
        assert!(
            next.finds_secret(SECRET) && next.finds_secret(&token(0)) && next.finds_secret("another secret")
        );
    }

    #[test]
    fn text_is_cut_after_redaction_and_a_secret_at_the_end_of_what_was_received_is_not_left_half() {
        let redactor = redactor();
        for before in TEXT_MAX - SECRET.len()..TEXT_MAX {
            let text = redactor.text(&format!("{}{SECRET}", "x".repeat(before)));
            assert!(!text.as_str().contains("s3c"), "{before}: {text}");
            assert!(text.as_str().chars().count() <= TEXT_MAX);
        }
        for received in SECRET_MIN..SECRET.len() {
            if let Some(start) = SECRET.get(..received) {
                assert_eq!(redactor.text(&format!("no {start}")).as_str(), "no [redacted]");
            }
        }
    }

    #[test]
    fn hidden_characters_become_spaces_and_hide_no_secret() {
        let redactor = redactor();
        let text = redactor.text("\u{FEFF}a\u{202E}b\u{2066}c\u{2028}d\u{200B}e\r\nf\x1b[31m\u{85}g\0");
        assert_eq!(text.as_str(), "a b c d e  f [31m g");
        let (start, end) = SECRET.split_at(5);
        for hidden in ['\0', '\n', '\u{200B}', '\u{2028}', '\u{202E}'] {
            assert_eq!(redactor.text(&format!("{start}{hidden}{end}")).as_str(), REDACTED);
        }
    }

    #[test]
    fn text_without_a_secret_stays() {
        let redactor = redactor();
        for text in ["", "no access", "100 % of s3c", "é&;%zz\\u12\\", "%25%25", "a+b = c\\/d"] {
            assert_eq!(redactor.redact(text), text);
        }
        assert_eq!(Redactor::new("").text("anything").as_str(), "anything");
        assert_eq!(Redactor::new("any").text("anything").as_str(), "anything", "too short to hide");
    }

    #[test]
    fn text_that_is_made_to_cost_time_is_dropped() {
        let redactor = Redactor::default();
        for token in ["%25".repeat(4_000), "\\".repeat(12_000), "a\0".repeat(6_000)] {
            redactor.add_token(&token);
            let started = std::time::Instant::now();
            let _ = redactor.text(&token.repeat(5));
            let _ = redactor.text(&"%25".repeat(20_000));
            assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        }
    }

    proptest! {
        #[test]
        fn redaction_takes_any_text_and_leaves_no_secret(
            before in ".{0,40}", secret in "[ -~]{8,20}", after in ".{0,40}", mask: u32, upper: bool,
        ) {
            let redactor = Redactor::new(&secret);
            let encoded = percent_encoded(&secret, |index, _| mask >> (index % 32) & 1 == 1, upper);
            for text in [format!("{before}{secret}{after}"), format!("{before}{encoded}{after}")] {
                let shown = redactor.text(&text);
                prop_assert!(!shown.as_str().to_lowercase().contains(&secret.to_lowercase()));
                prop_assert!(shown.as_str().chars().all(|it| !is_hidden(it)));
                prop_assert!(redactor.finds_secret(&text));
            }
        }
    }
}
