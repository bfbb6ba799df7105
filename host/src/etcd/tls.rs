//! From TLS settings to a rustls configuration, reading the files anew each time.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::certificates::Certificate;
use super::connector::in_words;
use super::{Endpoint, Tls};

/// A TLS file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFileError {
    path: PathBuf,
    reason: String,
}

impl TlsFileError {
    pub(super) fn new(path: &Path, reason: String) -> Self {
        Self { path: path.to_owned(), reason }
    }

    pub(super) fn from_pem(path: &Path, wanted: &str, error: &pem::Error) -> Self {
        let reason = match error {
            pem::Error::NoItemsFound => format!("there is no {wanted} in it"),
            pem::Error::Io(error) => in_words(error),
            other => format!("it is not PEM: {other}"),
        };
        Self::new(path, reason)
    }
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` cannot be used: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for TlsFileError {}

/// Everything that one handshake needs.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
    /// Path and facts of the client certificate: a server refuses it with a word, and the facts tell the reason.
    pub(super) client: Option<(PathBuf, Certificate)>,
}

/// Reads the files and builds the configuration. Blocking, but the files are small and local.
pub(super) fn prepare(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Prepared, TlsFileError> {
    let none = Tls::default();
    let tls = tls.unwrap_or(&none);
    let roots = match &tls.ca {
        Some(path) => roots_from_file(path)?,
        None => system_roots()?,
    };
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsFileError::new(Path::new("TLS"), error.to_string()))?
            .with_root_certificates(roots);
    let mut client = None;
    let mut config = match &tls.identity {
        Some((certificate_path, key_path)) => {
            let chain = certificates(certificate_path)?;
            client = Some((certificate_path.clone(), Certificate::from_file(certificate_path)?));
            let key = PrivateKeyDer::from_pem_file(key_path)
                .map_err(|error| TlsFileError::from_pem(key_path, "private key", &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| identity_error(certificate_path, key_path, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = tls.server_name.as_deref().unwrap_or(endpoint.host());
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
        TlsFileError::new(Path::new(name), "it is not a name a certificate can carry".to_owned())
    })?;
    Ok(Prepared { config: Arc::new(config), server_name, client })
}

fn identity_error(certificate_path: &Path, key_path: &Path, error: &rustls::Error) -> TlsFileError {
    let reason = match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("it is not the key of the certificate `{}`", certificate_path.display())
        }
        other => other.to_string(),
    };
    TlsFileError::new(key_path, reason)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsFileError::from_pem(path, "certificate", &error))?;
    if all.is_empty() {
        return Err(TlsFileError::from_pem(path, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn roots_from_file(path: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsFileError::new(path, error.to_string()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Systems ship certificates that rustls does not take: the others still count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = "no certificate authority is installed; set `ca` in `tls`".to_owned();
        return Err(TlsFileError::new(Path::new("system roots"), reason));
    }
    Ok(roots)
}
