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

/// The schemes of a proxy that are understood, but not supported.
const SOCKS_SCHEMES: [&str; 4] = ["socks4", "socks4a", "socks5", "socks5h"];

/// The port of a SOCKS proxy that names none.
const SOCKS_PORT: u16 = 1080;

/// A proxy that a request goes through, without its login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRoute {
    /// Host and port.
    address: String,
    /// The scheme, if it is not supported.
    unsupported_scheme: Option<&'static str>,
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

impl ProxySource {
    /// The other thing that an administrator can do, as the end of advice.
    fn exemption(self) -> &'static str {
        match self {
            ProxySource::Setting => "",
            ProxySource::Variable(_) => ", or name the server in NO_PROXY if it needs no proxy",
        }
    }
}

/// `HOST:PORT (from …)`.
impl fmt::Display for ProxyRoute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} (from {})", self.address, self.source)
    }
}

impl ProxyRoute {
    /// Returns why requests cannot go through it, whether it can be reached or not.
    pub(super) fn problem(&self) -> Option<ProxyProblem> {
        self.unsupported_scheme.map(ProxyProblem::Unsupported)
    }

    /// Returns what an administrator can do if the server is not reached, and the proxy is not known to have failed.
    pub(super) fn advice(&self) -> String {
        let ProxyRoute { source, .. } = self;
        format!(
            "check that the proxy in {source} reaches the server and allows this machine{}; the next run continues where \
             this one stopped",
            source.exemption()
        )
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

    /// Returns why the setting `proxy` cannot be used.
    pub(super) fn setting_problem(&self) -> Option<ProxyProblem> {
        let any_server = Uri::from_static("https://server.invalid/");
        if self.is_setting { self.route_to(&any_server)?.problem() } else { None }
    }

    /// Returns the proxy of a request.
    pub(super) fn route(&self, url: &Url) -> Option<ProxyRoute> {
        self.route_to(&url.as_str().parse().ok()?)
    }

    fn route_to(&self, uri: &Uri) -> Option<ProxyRoute> {
        let proxy = self.matcher.as_ref()?.intercept(uri)?;
        let scheme = proxy.uri().scheme_str();
        let default_port = match scheme {
            Some("http") => 80,
            Some("https") => 443,
            _ => SOCKS_PORT,
        };
        let port = proxy.uri().port_u16().unwrap_or(default_port);
        let address = format!("{}:{port}", proxy.uri().host()?);
        let source = if self.is_setting {
            ProxySource::Setting
        } else {
            ProxySource::Variable(variable(uri, |name| std::env::var(name).ok())?)
        };
        let unsupported_scheme = SOCKS_SCHEMES.into_iter().find(|it| Some(*it) == scheme);
        Some(ProxyRoute { address, unsupported_scheme, source })
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
    /// It is of a kind that is not supported: its scheme.
    #[error("halosync supports http:// and https:// proxies, not {0}://")]
    Unsupported(&'static str),
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
    /// What it did.
    pub problem: ProxyProblem,
    /// Why, where more is known.
    #[source]
    pub source: Option<RootCause>,
}

impl ProxyError {
    /// Returns what an administrator can do about the failure of this proxy.
    pub(super) fn advice(&self, route: &ProxyRoute) -> String {
        let ProxyRoute { address, source, .. } = route;
        let exempt = source.exemption();
        match self.problem {
            ProxyProblem::Unsupported(_) => {
                format!("set {source} to the address of an HTTP proxy{exempt}")
            }
            ProxyProblem::Unreachable => {
                format!("check the address in {source}, and that the proxy runs{exempt}")
            }
            ProxyProblem::LoginRequired => format!(
                "put user name and password into {source} (http://USER:PASSWORD@{address}), or let the proxy admit this \
                 machine without"
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
        assert_eq!(route.as_ref().map(|it| &*it.address), address);
        assert_eq!(route.as_ref().and_then(ProxyRoute::problem), None);
        assert!(route.unwrap().to_string().ends_with(" (from the setting `proxy`)"));
        assert_eq!(ProxyRules::new(Some(&setting), true).route(&url), None, "a server on this machine");
    }

    #[rstest]
    fn socks_proxy_is_not_supported(#[values("socks4", "socks4a", "socks5", "socks5h")] scheme: &str) {
        let setting = SecretString::from(format!("{scheme}://me:hunter2@proxy.example"));
        let rules = ProxyRules::new(Some(&setting), false);
        let route = rules.route(&"https://halo.example/api".parse().unwrap());
        assert_eq!(route.map(|it| it.address).as_deref(), Some("proxy.example:1080"));
        let problem = rules.setting_problem().map(|it| it.to_string());
        assert!(problem.is_some_and(|it| it.ends_with(&format!(", not {scheme}://"))));
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
            let route = ProxyRoute { address: "proxy.example:3128".into(), unsupported_scheme: None, source };
            ProxyError { problem, source: None }.advice(&route)
        };
        for problem in [
            ProxyProblem::Unsupported("socks5"),
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
