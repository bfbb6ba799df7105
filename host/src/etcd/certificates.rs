//! What a certificate says of itself: whose it is, and how long it holds.
//!
//! Facts only. Whether a certificate is trusted is rustls' business.

use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use super::tls::TlsFileError;

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The subject, like `CN=etcd-1, O=example`.
    pub subject: String,
    /// The issuer, written the same way.
    pub issuer: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

impl Certificate {
    /// The certificate of a PEM file: its first, which is the one that a chain is for.
    ///
    /// # Errors
    /// The file cannot be read or has no certificate in it.
    pub fn from_file(path: &Path) -> Result<Self, TlsFileError> {
        let first = CertificateDer::pem_file_iter(path)
            .and_then(|mut all| all.next().unwrap_or(Err(rustls::pki_types::pem::Error::NoItemsFound)))
            .map_err(|error| TlsFileError::from_pem(path, "certificate", &error))?;
        Self::from_der(&first)
            .ok_or_else(|| TlsFileError::new(path, "its first certificate cannot be read".to_owned()))
    }

    /// The common name of the subject: what etcd takes for a user name when none is given.
    pub(super) fn common_name(path: &Path) -> Option<String> {
        let der = CertificateDer::pem_file_iter(path).ok()?.next()?.ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        Some(name.to_owned())
    }

    /// Reads the facts; `None` when the bytes are no certificate.
    pub(super) fn from_der(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let time = |seconds: i64| Timestamp::from_second(seconds).ok();
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
        })
    }

    /// Whole days until it expires; negative once it has.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        const DAY_SECONDS: i64 = 24 * 60 * 60;
        (self.not_after.as_second() - now.as_second()).div_euclid(DAY_SECONDS)
    }
}

/// A time as it stands in messages.
pub(super) fn readable(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_go_below_zero() {
        let certificate = Certificate {
            subject: String::new(),
            issuer: String::new(),
            not_before: Timestamp::UNIX_EPOCH,
            not_after: Timestamp::from_second(10 * 86_400).unwrap(),
        };
        let days = |second| certificate.days_left(Timestamp::from_second(second).unwrap());
        assert_eq!(days(0), 10);
        assert_eq!(days(1), 9);
        assert_eq!(days(10 * 86_400), 0);
        assert_eq!(days(10 * 86_400 + 1), -1);
    }
}
