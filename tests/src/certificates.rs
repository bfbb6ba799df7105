//! Certificates for test clusters: good ones, expired ones, ones that expire soon, ones from somebody else.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// For a year.
    Valid,
    /// It ended yesterday.
    Expired,
    /// It ends after this many days.
    EndsIn(i64),
}

/// A certificate authority with a folder that its files go to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority whose files lie in `directory`.
    pub fn new(directory: &Path) -> Authority {
        fs::create_dir_all(directory).expect("a folder can be made");
        let mut params = CertificateParams::default();
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        params.distinguished_name.push(DnType::CommonName, format!("holdfast-tests {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        let authority = Authority { issuer: Issuer::new(params, key), directory: directory.to_owned() };
        fs::write(authority.certificate(), certificate.pem()).expect("a certificate can be written");
        authority
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// Makes a certificate for servers on loopback and for clients.
    pub fn issue(&self, common_name: &str, validity: Validity) -> Identity {
        let now = OffsetDateTime::now_utc();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("the names are good ones");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = match validity {
            Validity::Valid => (now - Duration::days(1), now + Duration::days(365)),
            Validity::Expired => (now - Duration::days(30), now - Duration::days(1)),
            Validity::EndsIn(days) => (now - Duration::days(1), now + Duration::days(days)),
        };
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        let identity = Identity {
            certificate: self.directory.join(format!("{common_name}.crt")),
            key: self.directory.join(format!("{common_name}.key")),
        };
        fs::write(&identity.certificate, certificate.pem()).expect("a certificate can be written");
        fs::write(&identity.key, key.serialize_pem()).expect("a key can be written");
        identity
    }
}
