//! What an error of a store says, without what may be secret in it.
//!
//! Bodies of errors repeat the request in part: S3 quotes a temporary token that it refuses, and addresses of Azure carry
//! signatures. Only the status, the code and the message of a body are kept, and no query of an address.

/// Between the status of an answer and its body, as `object_store` writes them.
const STATUS: &str = "non-2xx status code: ";

/// Before a body that came with a good status, as `object_store` writes it.
const BODY: &str = "error response: ";

/// Codes that say that the credentials do not suffice. Not every request tells so by its status.
const REFUSALS: [&str; 10] = [
    "401 ",
    "403 ",
    "AccessDenied",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "UnauthorizedAccess",
];

/// What S3 and Azure call a bucket or container that does not exist.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// What an error of a store says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoreAnswer {
    /// For people; without secrets that the store repeats.
    pub(super) text: String,
    /// Whether it refuses the credentials.
    pub(super) is_refusal: bool,
    /// Whether there is no such bucket or container.
    pub(super) is_bucket_missing: bool,
}

impl StoreAnswer {
    /// Takes it from the text of an error with its causes.
    pub(super) fn parse(text: &str) -> StoreAnswer {
        let (answer, is_answer) = if let Some((_, answer)) = text.split_once(STATUS) {
            let (status, body) = answer.split_once(": ").unwrap_or((answer, ""));
            (join(status, body), true)
        } else if let Some((_, body)) = text.split_once(BODY) {
            (join("", body), true)
        } else {
            (text.to_owned(), false)
        };
        StoreAnswer {
            is_refusal: is_answer && REFUSALS.iter().any(|code| starts_word(&answer, code)),
            is_bucket_missing: is_answer && NO_BUCKET.iter().any(|code| starts_word(&answer, code)),
            text: without_queries(&answer),
        }
    }
}

/// The status, and the code and the message of an XML body.
fn join(status: &str, body: &str) -> String {
    let parts = [Some(status), element(body, "Code"), element(body, "Message")];
    let parts: Vec<_> = parts.into_iter().flatten().map(str::trim).filter(|it| !it.is_empty()).collect();
    if parts.is_empty() { "an error without a code".into() } else { parts.join(": ") }
}

fn element<'b>(body: &'b str, name: &str) -> Option<&'b str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    // Azure puts a request number and a time on further lines.
    Some(rest.split_once(&format!("</{name}>"))?.0.lines().next().unwrap_or_default())
}

fn starts_word(text: &str, code: &str) -> bool {
    text.match_indices(code).any(|(at, _)| at == 0 || text[..at].ends_with(' '))
}

/// Leaves out what follows `?` in addresses.
fn without_queries(text: &str) -> String {
    let is_end = |it: char| it.is_whitespace() || matches!(it, '"' | '\'' | ')' | '>' | '`');
    let mut clean = String::new();
    let mut rest = text;
    while let Some((before, address)) = rest.split_once("://") {
        let end = address.find(is_end).unwrap_or(address.len());
        let address_end = address[..end].find('?').unwrap_or(end);
        clean += before;
        clean += "://";
        clean += &address[..address_end];
        rest = &address[end..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_keeps_status_code_and_message_and_nothing_else_of_a_body() {
        let expired = "Generic S3 error: Error performing PUT https://s3.x.amazonaws.com/b/k in 1ms - \
             Server returned non-2xx status code: 400 Bad Request: <?xml?><Error><Code>ExpiredToken</Code>\
             <Message>The provided token has expired.</Message><Token-0>SECRET</Token-0></Error>";
        for (text, expected, is_refusal, is_bucket_missing) in [
            (expired, "400 Bad Request: ExpiredToken: The provided token has expired.", true, false),
            (
                "Error performing list request: Server returned non-2xx status code: 403 Forbidden: <html>SECRET</html>",
                "403 Forbidden",
                true,
                false,
            ),
            (
                "Server returned non-2xx status code: 404 Not Found: <Error><Code>NoSuchBucket</Code><Message>The specified \
                 bucket does not exist</Message></Error>",
                "404 Not Found: NoSuchBucket: The specified bucket does not exist",
                false,
                true,
            ),
            (
                "Server returned non-2xx status code: 503 Service Unavailable: ",
                "503 Service Unavailable",
                false,
                false,
            ),
            (
                "Server returned error response: <Error><Code>InternalError</Code><Detail>SECRET</Detail></Error>",
                "InternalError",
                false,
                false,
            ),
            (
                "error sending request for url (https://a.blob.core.windows.net/c?sv=1&sig=SECRET): connection refused",
                "error sending request for url (https://a.blob.core.windows.net/c): connection refused",
                false,
                false,
            ),
            (
                "Server returned non-2xx status code: 403 Forbidden: <Error><Code>AuthenticationFailed</Code><Message>No\
                 \nRequestId:1</Message><AuthenticationErrorDetail>SECRET</AuthenticationErrorDetail></Error>",
                "403 Forbidden: AuthenticationFailed: No",
                true,
                false,
            ),
            ("cannot open /srv/403 AccessDenied", "cannot open /srv/403 AccessDenied", false, false),
        ] {
            let expected = StoreAnswer { text: expected.into(), is_refusal, is_bucket_missing };
            assert_eq!(StoreAnswer::parse(text), expected, "{text}");
        }
    }
}
