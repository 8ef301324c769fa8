//! Which proxy requests go through, where that is set, and how it fails.

use std::error::Error;
use std::fmt;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use secrecy::{ExposeSecret as _, SecretString};
use tower_service::Service;
use url::Url;

use super::root_cause::RootCause;

/// The error of an HTTP proxy that does not connect to the server, as the HTTP client has it in its chain of causes.
type TunnelError = <Tunnel<HttpConnector> as Service<Uri>>::Error;

/// The environment variables that name a proxy, as the HTTP client reads them.
const HTTPS_VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const HTTP_VARIABLES: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const ALL_VARIABLES: [&str; 2] = ["ALL_PROXY", "all_proxy"];

/// The port of a SOCKS proxy that names none.
const SOCKS_PORT: u16 = 1080;

/// A proxy that a request goes through, without its login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRoute {
    /// Host and port.
    address: String,
    source: ProxySource,
}

/// Where a proxy is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxySource {
    Setting,
    Variable(&'static str),
}

impl fmt::Display for ProxySource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxySource::Setting => out.write_str("the setting `proxy`"),
            ProxySource::Variable(name) => write!(out, "the environment variable {name}"),
        }
    }
}

/// `HOST:PORT, set by …`.
impl fmt::Display for ProxyRoute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, set by {}", self.address, self.source)
    }
}

impl ProxyRoute {
    /// Returns host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Which requests go through a proxy: by the same rules as those of the HTTP client.
pub(super) struct ProxyRules {
    /// `None` where no proxy is ever used.
    matcher: Option<Matcher>,
    is_setting: bool,
}

impl ProxyRules {
    /// The rules of the setting `proxy`, else of the environment; a `loopback` server is never reached through a proxy.
    pub(super) fn new(setting: Option<&SecretString>, loopback: bool) -> ProxyRules {
        let matcher = match setting {
            _ if loopback => None,
            Some(proxy) => Some(Matcher::builder().all(proxy.expose_secret().to_owned()).build()),
            None => Some(Matcher::from_system()),
        };
        ProxyRules { matcher, is_setting: setting.is_some() }
    }

    /// Returns the proxy of a request.
    pub(super) fn route(&self, url: &Url) -> Option<ProxyRoute> {
        let uri = url.as_str().parse().ok()?;
        let proxy = self.matcher.as_ref()?.intercept(&uri)?;
        let default_port = match proxy.uri().scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => SOCKS_PORT,
        };
        let port = proxy.uri().port_u16().unwrap_or(default_port);
        let address = format!("{}:{port}", proxy.uri().host()?);
        let source = if self.is_setting {
            ProxySource::Setting
        } else {
            ProxySource::Variable(variable(&uri, |name| std::env::var(name).ok())?)
        };
        Some(ProxyRoute { address, source })
    }
}

/// The variable that names the proxy of a request: of those that mean the same the first counts, even if it is empty.
fn variable(uri: &Uri, value_of: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let own = if uri.scheme_str() == Some("https") { HTTPS_VARIABLES } else { HTTP_VARIABLES };
    [own, ALL_VARIABLES].into_iter().find_map(|names| {
        let (name, value) = names.into_iter().find_map(|name| Some((name, value_of(name)?)))?;
        Matcher::builder().all(value).build().intercept(uri).map(|_| name)
    })
}

/// How a proxy failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProblem {
    /// There is no connection to it.
    #[error("the proxy cannot be reached")]
    Unreachable,
    /// It wants another login, or one at all.
    #[error("the proxy requires a login (407)")]
    LoginRequired,
    /// It answered that it does not connect to the server.
    #[error("the proxy refuses to connect to the server")]
    Refused,
    /// It closed the connection, or what it answered is not HTTP.
    #[error("the proxy closed the connection")]
    ConnectionLost,
    /// Neither it nor the server behind it responded in time.
    #[error("connecting through the proxy timed out")]
    Timeout,
}

impl ProxyProblem {
    /// Finds the failure of the proxy in a connection error, if there is one. All but the connection to the proxy goes
    /// through its tunnel.
    pub(super) fn find_in(error: &(dyn Error + 'static)) -> Option<ProxyProblem> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<TunnelError>() {
                return Some(match error {
                    TunnelError::ConnectFailed(_) => ProxyProblem::Unreachable,
                    TunnelError::ProxyAuthRequired => ProxyProblem::LoginRequired,
                    TunnelError::TunnelUnsuccessful | TunnelError::MissingHost => ProxyProblem::Refused,
                    TunnelError::Io(_)
                    | TunnelError::ProxyHeadersTooLong
                    | TunnelError::TunnelUnexpectedEof => ProxyProblem::ConnectionLost,
                });
            }
            next = error.source();
        }
        None
    }
}

/// A proxy that did not connect to the server.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct ProxyError {
    /// The proxy.
    pub route: ProxyRoute,
    /// What it did.
    pub problem: ProxyProblem,
    /// Why, where more is known.
    #[source]
    pub source: Option<RootCause>,
}

impl ProxyError {
    /// Returns what an administrator can do.
    pub(super) fn advice(&self) -> String {
        let source = self.route.source;
        let exempt = match source {
            ProxySource::Setting => "",
            ProxySource::Variable(_) => ", or name the server in NO_PROXY if it needs no proxy",
        };
        match self.problem {
            ProxyProblem::Unreachable => {
                format!("check the address in {source}, and that the proxy runs{exempt}")
            }
            ProxyProblem::LoginRequired => format!(
                "put user name and password into {source} (http://USER:PASSWORD@{}), or let the proxy admit this machine \
                 without",
                self.route.address
            ),
            ProxyProblem::Refused => {
                format!("let the proxy allow connections to the server, or correct {source}{exempt}")
            }
            ProxyProblem::ConnectionLost => {
                format!("check that {source} names an HTTP proxy and its right port{exempt}")
            }
            ProxyProblem::Timeout => {
                format!("check that the proxy in {source} runs, and that it can reach the server{exempt}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("http://proxy.example:3128", Some("proxy.example:3128"))]
    #[case::login("http://me:hunter2@proxy.example:3128/path", Some("proxy.example:3128"))]
    #[case::no_scheme("proxy.example:3128", Some("proxy.example:3128"))]
    #[case::no_port("http://proxy.example", Some("proxy.example:80"))]
    #[case::encrypted("https://proxy.example", Some("proxy.example:443"))]
    #[case::ipv6("http://[::1]:3128", Some("[::1]:3128"))]
    fn route_of_the_setting_has_no_login(#[case] setting: &str, #[case] address: Option<&str>) {
        let url = "https://halo.example/api".parse().unwrap();
        let setting = SecretString::from(setting.to_owned());
        let route = ProxyRules::new(Some(&setting), false).route(&url);
        assert_eq!(route.as_ref().map(ProxyRoute::address), address);
        assert!(route.unwrap().to_string().ends_with(", set by the setting `proxy`"));
        assert_eq!(ProxyRules::new(Some(&setting), true).route(&url), None, "a server on this machine");
    }

    #[rstest]
    #[case::own(&[("HTTPS_PROXY", "p"), ("ALL_PROXY", "q")], Some("HTTPS_PROXY"))]
    #[case::lowercase(&[("https_proxy", "p")], Some("https_proxy"))]
    #[case::all(&[("all_proxy", "p"), ("HTTP_PROXY", "q")], Some("all_proxy"))]
    #[case::an_empty_one_hides_its_twin(&[("HTTPS_PROXY", ""), ("https_proxy", "p"), ("ALL_PROXY", "q")], Some("ALL_PROXY"))]
    #[case::of_another_scheme(&[("HTTP_PROXY", "p")], None)]
    #[case::none(&[], None)]
    fn variable_is_that_which_the_client_uses(
        #[case] variables: &[(&str, &str)],
        #[case] expected: Option<&str>,
    ) {
        let value_of = |name: &str| {
            let found = variables.iter().find(|(it, _)| *it == name);
            found.map(|(_, host)| if host.is_empty() { String::new() } else { format!("http://{host}:1") })
        };
        assert_eq!(variable(&Uri::from_static("https://halo.example/"), value_of), expected);
    }

    #[test]
    fn advice_names_where_the_proxy_is_set() {
        let error = |source, problem| {
            let route = ProxyRoute { address: "proxy.example:3128".into(), source };
            ProxyError { route, problem, source: None }.advice()
        };
        for problem in [
            ProxyProblem::Unreachable,
            ProxyProblem::LoginRequired,
            ProxyProblem::Refused,
            ProxyProblem::ConnectionLost,
            ProxyProblem::Timeout,
        ] {
            let text = error(ProxySource::Setting, problem);
            assert!(text.contains("the setting `proxy`") && !text.contains("NO_PROXY"), "{text}");
            let text = error(ProxySource::Variable("HTTPS_PROXY"), problem);
            assert!(text.contains("the environment variable HTTPS_PROXY"), "{text}");
        }
    }
}
