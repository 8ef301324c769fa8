//! Certificates of authorities, from a file in PEM.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Certificates of authorities, each of which can be trusted.
#[derive(Clone, Default)]
pub struct Certificates(Vec<CertificateDer<'static>>);

/// Why a file of certificates cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaFileError {
    /// There is no certificate in it.
    #[error("it contains no `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// What is between the lines of PEM is damaged.
    #[error("certificate {number} in it is damaged")]
    Damaged {
        /// Its place in the file.
        number: usize,
    },
    /// A certificate is no certificate of an authority.
    #[error("certificate {number} in it cannot be trusted as an authority")]
    Unusable {
        /// Its place in the file.
        number: usize,
    },
}

impl Certificates {
    /// Reads all certificates of a file. A byte order mark, indentation and line breaks of Windows do no harm.
    ///
    /// # Errors
    /// There is none, or one of them cannot be used: what the file was written for would silently be missing.
    pub fn from_pem(bytes: &[u8]) -> Result<Certificates, CaFileError> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let lines: Vec<_> =
            bytes.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii).collect();
        let mut certificates = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(&lines.join(&b'\n')).enumerate() {
            let number = index + 1;
            let certificate = certificate.map_err(|_| CaFileError::Damaged { number })?;
            let added = RootCertStore::empty().add(certificate.clone());
            added.map_err(|_| CaFileError::Unusable { number })?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(CaFileError::NoCertificate);
        }
        Ok(Certificates(certificates))
    }

    /// Returns each certificate (DER).
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Certificates({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn authority() -> String {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn certificate_is_read_whatever_is_around_its_lines() {
        let pem = authority();
        for (name, text) in [
            ("plain", pem.clone()),
            ("byte order mark", format!("\u{FEFF}{pem}")),
            ("indentation", format!("    {}", pem.trim_end().replace('\n', "\n\t "))),
            ("CRLF", pem.replace('\n', "\r\n")),
            ("CR", pem.replace('\n', "\r")),
            ("all of them", format!("\u{FEFF}\r\n  {}", pem.replace('\n', "  \r\n  "))),
            ("comments", format!("# our authority\nsubject=CN\n\n{pem}\nend\n")),
            ("no last line break", pem.trim_end().to_owned()),
        ] {
            assert_eq!(Certificates::from_pem(text.as_bytes()).unwrap().0.len(), 1, "{name}");
        }
        let two = Certificates::from_pem(format!("{pem}{}", authority()).as_bytes()).unwrap();
        assert_eq!(two.iter().count(), 2);
    }

    #[rstest]
    #[case::empty("", CaFileError::NoCertificate)]
    #[case::text("not a certificate\n", CaFileError::NoCertificate)]
    #[case::header_only("-----BEGIN CERTIFICATE-----", CaFileError::NoCertificate)]
    #[case::no_base64("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", CaFileError::Damaged { number: 1 })]
    #[case::no_certificate("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CaFileError::Unusable { number: 1 })]
    #[case::nothing_in_it("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", CaFileError::Unusable { number: 1 })]
    #[case::key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", CaFileError::NoCertificate)]
    fn file_without_a_usable_certificate_is_an_error(#[case] text: &str, #[case] expected: CaFileError) {
        let found = Certificates::from_pem(text.as_bytes()).unwrap_err();
        let is_none = matches!(found, CaFileError::NoCertificate | CaFileError::Damaged { .. });
        assert!(found == expected || (text.ends_with("---") && is_none), "{found:?}");
    }

    #[test]
    fn one_damaged_certificate_is_not_left_out() {
        let pem = authority();
        let text = format!("{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let found = Certificates::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(found, CaFileError::Unusable { number: 2 });
        let utf16: Vec<u8> = pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Certificates::from_pem(&utf16).unwrap_err(), CaFileError::NoCertificate);
    }
}
