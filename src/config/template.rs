//! The commented settings file that `init` writes.

use url::Url;

use super::server::ServerUrl;

/// The commented example.
pub const EXAMPLE: &str = include_str!("../../agent.toml.example");

/// The lines of the example that `settings_for` fills in.
const SERVER_LINE: &str = "server_url = \"https://example.haloitsm.com\"";
const TENANT_LINE: &str = "# tenant = \"\"";
const AUTH_LINE: &str = "# auth_url = \"\"";

/// Returns the example for a server, with the authorization server and the tenant that it names.
#[must_use]
pub fn settings_for(server: &ServerUrl, auth: Option<(&Url, Option<&str>)>) -> String {
    let line = |key: &str, value: &str| format!("{key} = {}", toml_string(value));
    let mut text = EXAMPLE.replacen(SERVER_LINE, &line("server_url", server.as_str()), 1);
    if let Some((url, tenant)) = auth {
        text = text.replacen(AUTH_LINE, &line("auth_url", url.as_str()), 1);
        if let Some(tenant) = tenant {
            text = text.replacen(TENANT_LINE, &line("tenant", tenant), 1);
        }
    }
    text
}

/// Quotes a text without control characters as a string of TOML.
#[must_use]
pub fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn example_is_filled_in_and_can_be_read() {
        let server = ServerUrl::parse("https://halo.example:8443/desk").unwrap();
        let auth_url: Url = "https://auth.example/auth".parse().unwrap();
        let text = settings_for(&server, Some((&auth_url, Some("a\"c\\me"))));
        let text = text.replace("0000-000000000000", "0000-000000000001");
        let config = Config::read("agent.toml", &text, "/".as_ref(), []).unwrap();
        assert_eq!(config.halo.server, server);
        assert_eq!(config.halo.auth_url, Some(auth_url));
        assert_eq!(config.halo.tenant.as_deref(), Some("a\"c\\me"));
        for line in [SERVER_LINE, TENANT_LINE, AUTH_LINE] {
            assert_eq!(EXAMPLE.lines().filter(|it| *it == line).count(), 1, "{line}");
        }
    }
}
