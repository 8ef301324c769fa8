//! The server's certificate: its names, issuer and expiry.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::CheckOutcome;
use crate::ticket::Timestamp;

/// A certificate that expires sooner is a warning.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(14);

/// Names shown at most.
const NAMES_MAX: usize = 5;

/// Checks a certificate (DER). It is trusted: without trust there would be no response.
pub(super) fn check(der: Option<&[u8]>, now: Timestamp) -> CheckOutcome {
    let parsed = der.and_then(|der| X509Certificate::from_der(der).ok());
    let Some((_, certificate)) = parsed else {
        return CheckOutcome::warning(
            "the server's certificate is trusted, but cannot be read",
            "inspect it with: openssl s_client -connect HOST:443",
        );
    };
    let expires_at = certificate.validity().not_after.timestamp();
    let Some(expires_at) = DateTime::from_timestamp(expires_at, 0).and_then(Timestamp::new) else {
        return CheckOutcome::Ok("the certificate is trusted".into());
    };
    let (names, issuer, until) = (names(&certificate), certificate.issuer(), expires_at.to_second());
    let message = format!("trusted: for {names}, by {issuer}, until {until}");
    if expires_at.instant() - now.instant() < EXPIRY_WARNING {
        CheckOutcome::warning(message, "renew it on the server in time: no run can connect after that")
    } else {
        CheckOutcome::Ok(message)
    }
}

/// Returns the names that it is for, else its subject.
fn names(certificate: &X509Certificate<'_>) -> String {
    let listed = certificate.subject_alternative_name().ok().flatten();
    let names = listed.iter().flat_map(|listed| &listed.value.general_names);
    let names: Vec<_> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let ipv4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                ipv4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|it| it.to_string())
            }
            _ => None,
        })
        .collect();
    match names.len() {
        0 => certificate.subject().to_string(),
        few if few <= NAMES_MAX => names.join(", "),
        many => format!("{} and {} more", names[..NAMES_MAX].join(", "), many - NAMES_MAX),
    }
}
