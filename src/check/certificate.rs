//! Whose certificate the server has, and for how long.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Verdict;
use crate::ticket::Stamp;

/// A certificate that ends sooner is worth a word.
const SOON: TimeDelta = TimeDelta::days(14);

/// So many names are told.
const NAMES_MAX: usize = 5;

/// What the certificate (DER) says of itself; that it is trusted is known, or there would be no answer.
pub(super) fn verdict(der: Option<&[u8]>, now: Stamp) -> Verdict {
    let parsed = der.and_then(|der| X509Certificate::from_der(der).ok());
    let Some((_, certificate)) = parsed else {
        return Verdict::warning(
            "the server's certificate is trusted, but cannot be read",
            "look at it with: openssl s_client -connect HOST:443",
        );
    };
    let until = certificate.validity().not_after.timestamp();
    let Some(until) = DateTime::from_timestamp(until, 0).and_then(Stamp::new) else {
        return Verdict::Good("the certificate is trusted".into());
    };
    let says = format!("trusted: for {}, by {}, until {until}", names(&certificate), certificate.issuer());
    if until.instant() - now.instant() < SOON {
        Verdict::warning(says, "renew it on the server in time: afterwards no pass can be made")
    } else {
        Verdict::Good(says)
    }
}

/// The names that it is for, else its subject.
fn names(certificate: &X509Certificate<'_>) -> String {
    let listed = certificate.subject_alternative_name().ok().flatten();
    let names = listed.iter().flat_map(|listed| &listed.value.general_names);
    let names: Vec<_> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let short = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                short
                    .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                    .ok()
                    .map(|it| it.to_string())
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
