//! Our view of an etcd cluster: its endpoints, what each member says of itself, and the snapshot stream.
//!
//! Every endpoint has a connection of its own and is asked on it. There is no balanced channel: a snapshot, a status and
//! a hash are facts about one member, and it must be known which. Nothing here writes to the cluster; even alarms are
//! read from the status, because asking for them is a proposal to raft. The one exception is logging in, which etcd
//! itself runs through raft.
//!
//! A [`Cluster`] is cheap and made for a run. Its connections are opened when first used and again after they broke, and
//! every time the certificates and keys are read from disk, so that rotated ones are picked up.

mod certificates;
mod client;
mod connector;
mod endpoint;
mod errors;
mod member;
mod snapshot;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

pub use certificates::Certificate;
pub use client::Connection;
pub use endpoint::{Endpoint, EndpointError};
pub use errors::{Attempt, Cause, EtcdError};
pub use member::{Alarm, HashKv, Member, MemberId, Status};
pub use snapshot::SnapshotStream;

use crate::secret::Secret;

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port`, `https://host:port`, `unix:///path` or `unixs:///path`, one for each member.
    pub endpoints: Vec<String>,
    /// TLS settings for `https` and `unixs`. Without them the system's roots are trusted and no certificate is shown.
    pub tls: Option<Tls>,
    /// For a cluster with authentication on. A snapshot needs the `root` role.
    pub credentials: Option<Credentials>,
    /// For the name look-up, the connection and the TLS handshake together.
    pub dial_timeout: Duration,
    /// For one request and its answer. The snapshot stream has its own limit.
    pub request_timeout: Duration,
}

/// TLS settings. The files are read at every connection.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file of the certificate authorities to trust; the system's roots when absent.
    pub ca: Option<PathBuf>,
    /// PEM files of the client certificate (with its chain) and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name the server certificate must carry, when it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// A user of the cluster.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Name of the user.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// A cluster as configured: one connection for each endpoint.
#[derive(Debug)]
pub struct Cluster {
    connections: Vec<Connection>,
    tls: Option<Tls>,
}

impl Cluster {
    /// Checks the endpoints and the TLS files and prepares the connections. Nothing is dialled yet.
    ///
    /// # Errors
    /// An endpoint that cannot be one, or a TLS file that cannot be used.
    pub async fn connect(options: &Options) -> Result<Self, EtcdError> {
        let mut connections: Vec<Connection> = Vec::with_capacity(options.endpoints.len());
        for text in &options.endpoints {
            let endpoint = Endpoint::parse(text)
                .map_err(|error| EtcdError::new(text, Attempt::Configure, Cause::BadEndpoint(error)))?;
            if connections.iter().all(|known| known.endpoint() != endpoint.as_str()) {
                connections.push(Connection::new(endpoint, options).await?);
            }
        }
        if connections.is_empty() {
            return Err(EtcdError::new("(none)", Attempt::Configure, Cause::NoEndpoints));
        }
        Ok(Self { connections, tls: options.tls.clone() })
    }

    /// One connection for each endpoint, in the order configured.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// The connection to this endpoint.
    pub fn connection(&self, endpoint: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.endpoint() == endpoint)
    }

    /// The client certificate as it lies on disk now; `None` when none is configured.
    pub fn client_certificate(&self) -> Option<Result<Certificate, EtcdError>> {
        let (path, _) = self.tls.as_ref()?.identity.as_ref()?;
        let endpoint = self.connections.first()?.endpoint();
        Some(
            Certificate::from_file(path)
                .map_err(|error| EtcdError::new(endpoint, Attempt::Configure, Cause::TlsFile(error))),
        )
    }
}
