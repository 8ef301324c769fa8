//! Bodies of error responses.
//!
//! They have no fixed form on the real server (halo-api.md §7); knobs choose one.

use serde_json::json;

use crate::knob_values::ErrorBody;
use crate::message::ApiResponse;

/// Builds an error response with `message` in the given form.
pub(crate) fn error_response(status: u16, form: ErrorBody, message: &str) -> ApiResponse {
    let value = match form {
        ErrorBody::Message => json!({ "Message": message }),
        ErrorBody::Error => json!({ "error": message }),
        ErrorBody::Nested => json!({ "error": { "error_description": message } }),
        ErrorBody::Pair => json!({ "error": "server_error", "error_description": message }),
        ErrorBody::Exception => {
            json!({ "ClassName": "System.Exception", "Message": message, "HResult": -2_146_233_088 })
        }
        ErrorBody::List => json!({ "errors": [message] }),
        ErrorBody::Text => json!(message),
        ErrorBody::Plain => return ApiResponse::plain(status, message),
        ErrorBody::Empty => return ApiResponse::empty(status),
        ErrorBody::Html => return ApiResponse::html(status, html_page(message)),
    };
    ApiResponse::json(status, value.to_string())
}

/// Builds an HTML page that shows `message`.
pub(crate) fn html_page(message: &str) -> String {
    format!(
        "<!DOCTYPE html>\r\n<html lang=\"en\">\r\n<head><meta charset=\"utf-8\"><title>{message}</title></head>\r\n\
         <body><h1>{message}</h1><p>Please contact your administrator.</p></body>\r\n</html>\r\n"
    )
}

/// Builds the web portal page that the host serves outside `/api` and `/auth`, with status 200. A client whose base
/// address lacks `/api` gets it on its first request (halo-api.md §7).
pub(crate) fn portal_page() -> ApiResponse {
    ApiResponse::html(200, html_page("Service Portal"))
}

/// Builds the full page that is sent for a wrong tenant; 250 kB were measured (halo-api.md §1.6).
pub(crate) fn wrong_tenant_page() -> ApiResponse {
    const SIZE: usize = 250_000;
    const FILLER: &str = "<script>/* the portal's own code, at length */</script>\r\n";
    let mut body = html_page("Tenant not found");
    body.push_str(&FILLER.repeat((SIZE - body.len()) / FILLER.len()));
    ApiResponse::html(500, body)
}
