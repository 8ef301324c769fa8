//! Addresses that the client secret may be sent to.

use url::{Host, Url};

/// Base address of a HaloITSM server, without `/api` and without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Url);

impl ServerUrl {
    /// Parses and checks an address.
    ///
    /// # Errors
    /// The problem, as the end of a sentence that begins with the key.
    pub fn parse(text: &str) -> Result<ServerUrl, String> {
        let mut url = parse_safe_url(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or a fragment".into());
        }
        let path = url.path().trim_end_matches('/');
        let base = match path.rsplit_once('/') {
            // The paths of IIS are the same in any case.
            Some((base, last)) if last.eq_ignore_ascii_case("api") => base,
            _ => path,
        };
        let base = base.trim_end_matches('/').to_owned();
        url.set_path(&base);
        Ok(ServerUrl(url))
    }

    /// Returns the address of a path on the server; `path` begins with a slash.
    #[must_use]
    pub fn endpoint(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }

    /// Returns the address as shown to people and stored in the database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// Returns the path of the address, which is empty on most servers.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether an address has the scheme, the host and the port of the server, and no user name.
    #[must_use]
    pub fn is_same_origin(&self, url: &Url) -> bool {
        let origin = |url: &Url| {
            let host = url.host_str().map(|host| host.strip_suffix('.').unwrap_or(host).to_owned());
            (url.scheme().to_owned(), host, url.port_or_known_default())
        };
        url.host_str().is_some() && origin(url) == origin(&self.0) && check_safe_url(url).is_ok()
    }

    /// Whether the settings may name an address as the authorization server: one to which the secret may be sent, and
    /// never without encryption for a server with it.
    #[must_use]
    pub fn may_have_auth_url(&self, url: &Url) -> bool {
        check_safe_url(url).is_ok() && (url.scheme() == "https" || !self.is_encrypted())
    }

    /// Returns the host, without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether the server is on this machine, for which no proxy is used.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

/// Parses an address to which the secret may be sent.
///
/// # Errors
/// The problem, as the end of a sentence.
pub(super) fn parse_safe_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "must begin with https://".to_owned(),
        error => format!("is not a valid URL: {error}"),
    })?;
    check_safe_url(&url).map(|()| url)
}

/// Checks that the secret may be sent to an address: encrypted, or on this machine.
///
/// # Errors
/// The problem, as the end of a sentence.
fn check_safe_url(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password".into());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err("must be https: http is allowed only for this machine (localhost)".into()),
        other => Err(format!("must be https, not {other}")),
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://halo.example", "https://halo.example")]
    #[case("https://halo.example/", "https://halo.example")]
    #[case("https://halo.example/api/", "https://halo.example")]
    #[case("https://HALO.example:443/desk/api", "https://halo.example/desk")]
    #[case::capitals("https://halo.example/API", "https://halo.example")]
    #[case::a_capital("https://halo.example/Api/", "https://halo.example")]
    #[case::capitals_below_a_path("https://halo.example/Desk/API//", "https://halo.example/Desk")]
    #[case::no_segment_of_its_own("https://halo.example/myapi", "https://halo.example/myapi")]
    #[case("http://127.0.0.1:8080", "http://127.0.0.1:8080")]
    #[case("http://[::1]:8080/", "http://[::1]:8080")]
    #[case("http://localhost:1", "http://localhost:1")]
    fn server_url_is_normalized(#[case] written: &str, #[case] expected: &str) {
        let url = ServerUrl::parse(written).unwrap();
        assert_eq!(url.as_str(), expected);
        assert_eq!(url.endpoint("/api/tickets").as_str(), format!("{expected}/api/tickets"));
    }

    #[rstest]
    #[case::itself("https://halo.example", "https://halo.example/auth", true)]
    #[case::default_port("https://halo.example", "https://halo.example:443/auth", true)]
    #[case::configured_default_port("https://halo.example:443", "https://halo.example/auth?tenant=x", true)]
    #[case::case("https://halo.example", "HTTPS://HALO.Example/", true)]
    #[case::trailing_dot("https://halo.example", "https://halo.example./auth", true)]
    #[case::configured_trailing_dot("https://halo.example.", "https://halo.example/auth", true)]
    #[case::unicode("https://bücher.example", "https://xn--bcher-kva.example", true)]
    #[case::ipv6("https://[::1]:8443", "https://[0:0:0:0:0:0:0:1]:8443", true)]
    #[case::loopback("http://127.0.0.1:8080", "http://127.0.0.1:8080/auth", true)]
    #[case::http("https://localhost", "http://localhost/auth", false)]
    #[case::http_on_the_same_port("https://localhost:8443", "http://localhost:8443", false)]
    #[case::https("http://localhost:8443", "https://localhost:8443", false)]
    #[case::other_port("https://halo.example", "https://halo.example:8443/auth", false)]
    #[case::other_loopback_port("http://127.0.0.1:8080", "http://127.0.0.1:8081/auth", false)]
    #[case::other_name_of_this_machine("http://127.0.0.1:8080", "http://localhost:8080/auth", false)]
    #[case::subdomain("https://halo.example", "https://auth.halo.example", false)]
    #[case::longer_name("https://halo.example", "https://halo.example.evil.example", false)]
    #[case::user_name("https://halo.example", "https://halo.example@evil.example", false)]
    #[case::user_name_at_itself("https://halo.example", "https://user@halo.example", false)]
    #[case::no_host("https://halo.example", "data:,x", false)]
    fn origin_is_scheme_host_and_port(#[case] server: &str, #[case] url: &str, #[case] same: bool) {
        let server = ServerUrl::parse(server).unwrap();
        assert_eq!(server.is_same_origin(&url.parse().unwrap()), same);
    }

    #[rstest]
    #[case::http("http://halo.example")]
    #[case::http_to_a_name_like_localhost("http://localhost.example")]
    #[case::http_to_a_private_address("http://10.0.0.1")]
    #[case::password("https://user:password@halo.example")]
    #[case::query("https://halo.example/?tenant=x")]
    #[case::no_scheme("halo.example")]
    #[case::other_scheme("ftp://halo.example")]
    #[case::empty("")]
    fn server_url_that_could_leak_the_secret_is_rejected(#[case] written: &str) {
        assert!(ServerUrl::parse(written).is_err());
    }
}
