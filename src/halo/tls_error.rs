//! What is wrong with a connection that is not safe, in words of people: by the errors of the TLS library, not by
//! their texts, which change.

use std::error::Error;
use std::fmt;
use std::io;

use chrono::{DateTime, Utc};
use rustls::CertificateError;

/// What is wrong with a connection that is not safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate has ended.
    Expired(Option<DateTime<Utc>>),
    /// The certificate is not valid yet.
    NotYetValid(Option<DateTime<Utc>>),
    /// Nobody whom this machine trusts vouches for it.
    UnknownIssuer,
    /// It is for other hosts, as far as it names any.
    WrongHost(Vec<String>),
    /// What answers does not speak TLS, or none that is known.
    NoTls,
    /// Something else about the certificate or the handshake.
    Other,
}

impl TlsError {
    /// The flaw in an error of a connection, where it is one of its safety. The TLS library's errors are I/O
    /// errors of one kind, in I/O errors of the layers above.
    pub(super) fn find_in(error: &(dyn Error + 'static)) -> Option<TlsError> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(tls_error) = error.downcast_ref::<rustls::Error>() {
                return Some(TlsError::from_rustls(tls_error));
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                let inner = io.get_ref().and_then(|inner| TlsError::find_in(inner));
                if inner.is_some() || io.kind() == io::ErrorKind::InvalidData {
                    return inner.or(Some(TlsError::Other));
                }
            }
            next = error.source();
        }
        None
    }

    fn from_rustls(error: &rustls::Error) -> TlsError {
        let at = |time: &rustls::pki_types::UnixTime| {
            DateTime::from_timestamp(i64::try_from(time.as_secs()).ok()?, 0)
        };
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::Expired => TlsError::Expired(None),
                CertificateError::ExpiredContext { not_after, .. } => TlsError::Expired(at(not_after)),
                CertificateError::NotValidYet => TlsError::NotYetValid(None),
                CertificateError::NotValidYetContext { not_before, .. } => {
                    TlsError::NotYetValid(at(not_before))
                }
                CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
                CertificateError::NotValidForName => TlsError::WrongHost(Vec::new()),
                CertificateError::NotValidForNameContext { presented, .. } => {
                    TlsError::WrongHost(presented.iter().map(|name| bare_name(name)).collect())
                }
                _ => TlsError::Other,
            },
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. } => TlsError::NoTls,
            _ => TlsError::Other,
        }
    }

    /// What a person can do.
    pub(super) const fn advice(&self) -> &'static str {
        match self {
            TlsError::Expired(_) => {
                "the server's certificate has ended and must be renewed there; or this machine's clock is wrong"
            }
            TlsError::NotYetValid(_) => {
                "the server's certificate is not valid yet: this machine's clock is wrong, or that of its authority"
            }
            TlsError::UnknownIssuer => {
                "nobody known vouches for the server's certificate: if it comes from an authority of your own, or from \
                 a proxy that looks into connections, name that authority's certificate in ca_file"
            }
            TlsError::WrongHost(_) => {
                "the certificate is for another name: set server_url to the name that the server has, not to its \
                 address or an alias"
            }
            TlsError::NoTls => "no TLS is spoken there: check that server_url is https at the right port",
            TlsError::Other => {
                "check that server_url is https at the right port; if the server's certificate comes from an \
                 authority of your own, name that authority's certificate in ca_file"
            }
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date_suffix = |at: &Option<DateTime<Utc>>| {
            at.map_or(String::new(), |at| at.format(" at %F %T UTC").to_string())
        };
        match self {
            TlsError::Expired(at) => write!(f, "the server's certificate ended{}", date_suffix(at)),
            TlsError::NotYetValid(at) => {
                write!(f, "the server's certificate begins{}, which is still to come", date_suffix(at))
            }
            TlsError::UnknownIssuer => f.write_str("nobody known vouches for the server's certificate"),
            TlsError::WrongHost(names) if names.is_empty() => {
                f.write_str("the server's certificate is for another host")
            }
            TlsError::WrongHost(names) => {
                write!(f, "the server's certificate is for {}, not for this host", names.join(", "))
            }
            TlsError::NoTls => f.write_str("no TLS is spoken there"),
            TlsError::Other => f.write_str("TLS fails"),
        }
    }
}

/// `DnsName("halo.example")`, as the TLS library has names, without what is around.
fn bare_name(name: &str) -> String {
    name.split('"').nth(1).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use std::time::Duration;

    #[test]
    fn tls_error_is_found_in_nested_errors_and_shows_its_date_or_names() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (then, now) = (time(1_790_000_000), time(1_790_000_100));
        let name = rustls::pki_types::ServerName::try_from("halo.example").unwrap();
        let presented = vec!["DnsName(\"desk.example\")".to_owned()];
        for (error, expected) in [
            (
                CertificateError::ExpiredContext { time: now, not_after: then },
                "ended at 2026-09-21 14:13:20 UTC",
            ),
            (CertificateError::Expired, "certificate ended"),
            (CertificateError::NotValidYetContext { time: then, not_before: now }, "begins at 2026-09-21"),
            (CertificateError::UnknownIssuer, "nobody known vouches"),
            (
                CertificateError::NotValidForNameContext { expected: name, presented },
                "is for desk.example, not for",
            ),
            (CertificateError::NotValidForName, "for another host"),
            (CertificateError::BadSignature, "TLS fails"),
        ] {
            let layers = io::Error::other(io::Error::new(
                io::ErrorKind::InvalidData,
                rustls::Error::InvalidCertificate(error.clone()),
            ));
            let message = TlsError::find_in(&layers).unwrap().to_string();
            assert!(message.contains(expected), "{error:?}: {message}");
        }
        let no_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(
            TlsError::find_in(&io::Error::new(io::ErrorKind::InvalidData, no_tls)),
            Some(TlsError::NoTls)
        );
        assert_eq!(TlsError::find_in(&io::Error::new(io::ErrorKind::ConnectionRefused, "refused")), None);
    }
}
