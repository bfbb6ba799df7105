//! TLS to the targets of plugins' requests: the system's authorities, and one file of the operator's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

use crate::grants::Host;

/// The system's authorities: some 150 files, so they are read once.
static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();

pub(super) async fn handshake(
    stream: TcpStream,
    host: &Host,
    ca: Option<PathBuf>,
) -> Result<TlsStream<TcpStream>, Error> {
    let name = match host {
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
        Host::Address(address) => ServerName::from(*address),
    };
    let config = tokio::task::spawn_blocking(move || config(ca.as_deref()))
        .await
        .map_err(|error| Error::InternalError(Some(error.to_string())))??;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(Error::Tls)
}

/// The operator's file is read each time, so that a renewed one counts.
fn config(ca: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = SYSTEM.get_or_init(system).clone();
    if let Some(ca) = ca {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(ca).and_then(Iterator::collect);
        let certificates = certificates.map_err(|error| {
            tracing::error!(file = %ca.display(), %error, "the authorities for plugins' requests cannot be read");
            Error::ConfigurationError
        })?;
        roots.add_parsable_certificates(certificates);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::ConfigurationError)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
