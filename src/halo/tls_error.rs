//! Explains TLS failures by the error types of the TLS library, because its texts change between versions.

use std::error::Error;
use std::fmt;
use std::io;

use chrono::{DateTime, Utc};
use rustls::CertificateError;

use super::redaction::Redactor;

/// How many names of a certificate are shown.
const NAMES_MAX: usize = 10;

/// Why a connection is not secure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate has expired.
    Expired(Option<DateTime<Utc>>),
    /// The certificate is not valid yet.
    NotYetValid(Option<DateTime<Utc>>),
    /// The certificate is not signed by a trusted authority.
    UnknownIssuer,
    /// The certificate is for other hosts: the names in it.
    WrongHost(Vec<String>),
    /// The server does not speak TLS, or no supported version of it.
    NoTls,
    /// Any other failure of the certificate or the handshake.
    Other,
}

impl TlsError {
    /// Finds the TLS failure in a connection error, if there is one. The TLS library's errors are wrapped in
    /// I/O errors of kind `InvalidData`, which the layers above wrap in further I/O errors.
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

    /// Makes the names of a certificate safe to show.
    pub(super) fn redacted(self, redactor: &Redactor) -> TlsError {
        match self {
            TlsError::WrongHost(names) => {
                let shown = names.iter().take(NAMES_MAX).map(|name| redactor.text(name).into_string());
                TlsError::WrongHost(shown.collect())
            }
            other => other,
        }
    }

    /// Returns what an administrator can do.
    pub(super) const fn advice(&self) -> &'static str {
        match self {
            TlsError::Expired(_) => {
                "renew the server's certificate; if it has not expired, correct this machine's clock"
            }
            TlsError::NotYetValid(_) => {
                "correct this machine's clock; if it is right, the server's certificate was issued with a wrong date"
            }
            TlsError::UnknownIssuer => {
                "if the certificate comes from your own certificate authority, or from a proxy that inspects TLS, set \
                 ca_file to that authority's certificate"
            }
            TlsError::WrongHost(_) => {
                "set server_url to a host name that the certificate is valid for, not to an address or an alias"
            }
            TlsError::NoTls => "check that server_url uses https and the right port",
            TlsError::Other => {
                "check that server_url uses https and the right port; if the certificate comes from your own \
                 certificate authority, set ca_file to that authority's certificate"
            }
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Expired(None) => f.write_str("the server's certificate has expired"),
            TlsError::Expired(Some(at)) => {
                write!(f, "the server's certificate expired at {}", at.format("%F %T UTC"))
            }
            TlsError::NotYetValid(None) => f.write_str("the server's certificate is not valid yet"),
            TlsError::NotYetValid(Some(at)) => {
                write!(f, "the server's certificate is not valid before {}", at.format("%F %T UTC"))
            }
            TlsError::UnknownIssuer => {
                f.write_str("the server's certificate is not signed by a trusted authority")
            }
            TlsError::WrongHost(names) if names.is_empty() => {
                f.write_str("the server's certificate is for another host")
            }
            TlsError::WrongHost(names) => {
                write!(f, "the server's certificate is for {}, not for this host", names.join(", "))
            }
            TlsError::NoTls => f.write_str("the server does not speak TLS on this port"),
            TlsError::Other => f.write_str("the TLS handshake failed"),
        }
    }
}

/// Extracts the host name from `DnsName("halo.example")`, the form in which the TLS library reports it.
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
                "expired at 2026-09-21 14:13:20 UTC",
            ),
            (CertificateError::Expired, "certificate has expired"),
            (
                CertificateError::NotValidYetContext { time: then, not_before: now },
                "not valid before 2026-09-21",
            ),
            (CertificateError::UnknownIssuer, "not signed by a trusted authority"),
            (
                CertificateError::NotValidForNameContext { expected: name, presented },
                "is for desk.example, not for",
            ),
            (CertificateError::NotValidForName, "for another host"),
            (CertificateError::BadSignature, "the TLS handshake failed"),
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
