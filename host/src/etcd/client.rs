//! One endpoint's connection: the requests we make, each with its time limit, and the login.
//!
//! The login is our own rather than etcd-client's: the token also has to go with the raw snapshot stream, and it has to be
//! renewed not only when it expired but when the auth settings of the cluster changed.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::certificates::Certificate;
use super::connector::{Connector, Shared, dial};
use super::endpoint::Endpoint;
use super::errors::{Attempt, Cause, EtcdError};
use super::member::{Alarm, HashKv, Member, Status};
use super::snapshot::{self, SnapshotStream};
use super::{Credentials, Options};

/// HTTP/2 windows: how much a member may send before we take it. Large enough for a gigabit with 50 ms between.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// A handshake seen this recently still tells the server's certificate.
const CERTIFICATE_FRESH: Duration = Duration::from_mins(5);
/// How much longer than a dial a request may take at least.
const DIAL_MARGIN: Duration = Duration::from_millis(500);
/// The metadata key that etcd reads the token from.
const TOKEN_HEADER: &str = "token";

/// The connection to one endpoint. Clones share it.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    channel: TokenChannel,
    client: etcd_client::Client,
    session: Arc<Session>,
    request_timeout: Duration,
}

/// The login of one connection.
struct Session {
    credentials: Option<Credentials>,
    /// Held while logging in, so that requests that find the token stale log in once between them.
    renewal: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Prepares the connection and checks the TLS files; the network is not touched.
    pub(super) async fn new(endpoint: Endpoint, options: &Options) -> Result<Self, EtcdError> {
        let fail = |cause| EtcdError::new(endpoint.as_str(), Attempt::Configure, cause);
        let origin: http::Uri =
            endpoint.origin().parse().map_err(|error| fail(Cause::Protocol(format!("{error}"))))?;
        let shared = Arc::new(Shared::new(endpoint.clone(), options));
        shared.check_files().await.map_err(fail)?;
        // The channel is told a plain address, because TLS is our connector's work; `origin` is what requests carry.
        let channel = tonic::transport::Endpoint::from_static("http://etcd")
            .origin(origin)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| fail(Cause::Protocol(error.to_string())))?
            .connect_with_connector_lazy(Connector(Arc::clone(&shared)));
        let channel = TokenChannel { channel, token: Arc::default() };
        let raw = etcd_client::Channel::Custom(BoxCloneSyncService::new(
            channel.clone().map_err(tower::BoxError::from),
        ));
        let client = etcd_client::Client::from_channel(raw, None)
            .await
            .map_err(|error| fail(Cause::Protocol(error.to_string())))?;
        let session =
            Session { credentials: options.credentials.clone(), renewal: tokio::sync::Mutex::default() };
        Ok(Self {
            shared,
            channel,
            client,
            session: Arc::new(session),
            request_timeout: options.request_timeout,
        })
    }

    /// The endpoint as configured.
    pub fn endpoint(&self) -> &str {
        self.shared.endpoint.as_str()
    }

    /// Whether TLS is spoken on it.
    pub fn is_secure(&self) -> bool {
        self.shared.endpoint.is_secure()
    }

    /// Asks the member for its status.
    pub async fn status(&self) -> Result<Status, EtcdError> {
        let client = self.client.maintenance_client();
        let answer = self
            .request(Attempt::Status, || {
                let mut client = client.clone();
                async move { client.status().await.map_err(into_status) }
            })
            .await?;
        let header = answer.header();
        let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let (alarms, complaints) = split_errors(answer.errors());
        Ok(Status {
            cluster_id: header.map_or(0, etcd_client::ResponseHeader::cluster_id),
            member_id: header.map_or(0, etcd_client::ResponseHeader::member_id),
            revision: header.map_or(0, etcd_client::ResponseHeader::revision),
            version: answer.version().to_owned(),
            storage_version: Some(answer.storage_version().to_owned()).filter(|version| !version.is_empty()),
            db_size_bytes: positive(answer.db_size()).unwrap_or(0),
            db_in_use_bytes: positive(answer.raft_used_db_size()).unwrap_or(0),
            quota_bytes: positive(answer.db_size_quota()),
            leader: answer.leader(),
            raft_index: answer.raft_index(),
            raft_applied_index: answer.raft_applied_index(),
            raft_term: answer.raft_term(),
            is_learner: answer.is_learner(),
            alarms,
            complaints,
        })
    }

    /// Asks for the members of the cluster, as this member knows them: no quorum needed.
    pub async fn member_list(&self) -> Result<Vec<Member>, EtcdError> {
        let client = self.client.cluster_client();
        let answer = self
            .request(Attempt::Members, || {
                let mut client = client.clone();
                async move { client.member_list().await.map_err(into_status) }
            })
            .await?;
        let member = |member: &etcd_client::Member| Member {
            id: member.id(),
            name: member.name().to_owned(),
            client_urls: member.client_urls().to_vec(),
            is_learner: member.is_learner(),
        };
        Ok(answer.members().iter().map(member).collect())
    }

    /// Reads through the quorum: proof that the cluster, seen from this member, still decides. What is read does not
    /// matter, and neither does whether the user may read it: that answer comes through the quorum as well.
    pub async fn read_through_quorum(&self) -> Result<(), EtcdError> {
        let client = self.client.kv_client();
        let answer = self
            .request(Attempt::Read, || {
                let mut client = client.clone();
                let options = etcd_client::GetOptions::new().with_limit(1).with_keys_only();
                async move { client.get("holdfast/health", Some(options)).await.map_err(into_status) }
            })
            .await;
        match answer {
            Ok(_) | Err(EtcdError { cause: Cause::PermissionDenied { .. }, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks the member for the hash of its keyspace at `revision`; 0 is its newest. The member reads its whole database
    /// for it, so `allowance` is given to it beyond the request timeout.
    pub async fn hash_kv(&self, revision: i64, allowance: Duration) -> Result<HashKv, EtcdError> {
        let client = self.client.maintenance_client();
        let asking = || {
            let mut client = client.clone();
            async move { client.hash_kv(revision).await.map_err(into_status) }
        };
        let answer = self.request_within(self.limit() + allowance, Attempt::HashKv, asking).await?;
        Ok(HashKv {
            member_id: answer.header().map_or(0, etcd_client::ResponseHeader::member_id),
            hash: answer.hash(),
            compact_revision: answer.compact_version(),
            newest_revision: answer.header().map_or(0, etcd_client::ResponseHeader::revision),
            hash_revision: Some(answer.hash_revision()).filter(|revision| *revision != 0),
        })
    }

    /// Opens the snapshot stream. The server answers with the first bytes, so the limit is that of a stall and not that
    /// of a request.
    pub async fn snapshot(&self, stall_timeout: Duration) -> Result<SnapshotStream, EtcdError> {
        let channel = self.channel.clone();
        let opening = self.authorized(Attempt::Snapshot, || snapshot::open(channel.clone()));
        let body = tokio::time::timeout(stall_timeout, opening).await.unwrap_or_else(|_| {
            Err(self.error(Attempt::Snapshot, Cause::Stalled { after: stall_timeout, received: 0 }))
        })?;
        Ok(SnapshotStream::new(body, self.clone()))
    }

    /// The certificates that the server shows, its own first; empty without TLS. From the newest handshake when that is
    /// fresh, else from one made for this.
    pub async fn server_certificates(&self) -> Result<Vec<Certificate>, EtcdError> {
        if !self.is_secure() {
            return Ok(Vec::new());
        }
        let fresh = |shared: &Shared| shared.peer().filter(|peer| peer.seen.elapsed() < CERTIFICATE_FRESH);
        if let Some(peer) = fresh(&self.shared) {
            return Ok(peer.chain);
        }
        dial(Arc::clone(&self.shared)).await.map_err(|cause| self.error(Attempt::Handshake, cause))?;
        Ok(self.shared.peer().map(|peer| peer.chain).unwrap_or_default())
    }

    pub(super) fn error(&self, attempt: Attempt, cause: Cause) -> EtcdError {
        EtcdError::new(self.endpoint(), attempt, cause)
    }

    /// Reads a failed request: from our own connector when the connection is to blame, from the server's answer otherwise.
    pub(super) fn explain(&self, attempt: Attempt, status: &tonic::Status) -> EtcdError {
        let cause = if let Some(source) = std::error::Error::source(status) {
            self.shared.failure().unwrap_or_else(|| Cause::Lost { received: None, reason: innermost(source) })
        } else {
            match self.shared.failure() {
                // A reply of another protocol is turned into a status by the gRPC library.
                Some(cause @ (Cause::NotEtcd(_) | Cause::WantsTls)) => cause,
                _ => match Cause::from_server(status, self.username()) {
                    // Without a user name it is the certificate's.
                    Cause::UnknownUser { username: None, .. } => {
                        Cause::UnknownUser { username: None, common_name: self.shared.client_common_name() }
                    }
                    Cause::PermissionDenied { username: None } => {
                        Cause::PermissionDenied { username: self.shared.client_common_name() }
                    }
                    cause => cause,
                },
            }
        };
        self.error(attempt, cause)
    }

    fn username(&self) -> Option<&str> {
        self.session.credentials.as_ref().map(|credentials| credentials.username.as_str())
    }

    /// How long a request may take. Not less than dialling may, whose own failure tells more.
    fn limit(&self) -> Duration {
        self.request_timeout.max(self.shared.dial_timeout() + DIAL_MARGIN)
    }

    /// A request with the request timeout.
    async fn request<T, F>(&self, attempt: Attempt, call: impl Fn() -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        self.request_within(self.limit(), attempt, call).await
    }

    async fn request_within<T, F>(
        &self,
        limit: Duration,
        attempt: Attempt,
        call: impl Fn() -> F,
    ) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        tokio::time::timeout(limit, self.authorized(attempt, call))
            .await
            .unwrap_or_else(|_| Err(self.error(attempt, Cause::Timeout(limit))))
    }

    /// Logs in first when needed, and again when the token is refused.
    async fn authorized<T, F>(&self, attempt: Attempt, call: impl Fn() -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        if self.session.credentials.is_some() && self.channel.token().is_none() {
            self.log_in(None).await?;
        }
        let token = self.channel.token();
        let answer = match call().await {
            // A connection that lay idle may have been closed meanwhile, which only the next request finds out. All of
            // ours only read, so asking again is safe.
            Err(status) if matches!(self.explain(attempt, &status).cause, Cause::Lost { .. }) => call().await,
            answer => answer,
        };
        match answer {
            Err(status) if self.session.credentials.is_some() && is_token_refused(&status) => {
                self.log_in(token).await?;
                call().await.map_err(|status| self.explain(attempt, &status))
            }
            Err(status) => Err(self.explain(attempt, &status)),
            Ok(answer) => Ok(answer),
        }
    }

    /// Gets a token, unless another request has replaced the `stale` one meanwhile.
    async fn log_in(&self, stale: Option<HeaderValue>) -> Result<(), EtcdError> {
        let Some(credentials) = &self.session.credentials else { return Ok(()) };
        let _renewing = self.session.renewal.lock().await;
        if self.channel.token() != stale {
            return Ok(());
        }
        let mut client = self.client.auth_client();
        let password = credentials.password.expose().to_owned();
        let limit = self.limit();
        let answer = tokio::time::timeout(limit, client.authenticate(credentials.username.clone(), password))
            .await
            .map_err(|_| self.error(Attempt::LogIn, Cause::Timeout(limit)))?;
        let token = match answer.map_err(into_status) {
            Ok(answer) => HeaderValue::from_str(answer.token())
                .map_err(|error| self.error(Attempt::LogIn, Cause::Protocol(error.to_string())))?,
            // A user is configured but the cluster has authentication off: then there is nothing to show.
            Err(status) if status.message() == "etcdserver: authentication is not enabled" => {
                HeaderValue::from_static("")
            }
            Err(status) => return Err(self.explain(Attempt::LogIn, &status)),
        };
        self.channel.set_token(token);
        Ok(())
    }
}

/// The error texts of a status: alarms, and the rest.
fn split_errors(errors: &[String]) -> (Vec<Alarm>, Vec<String>) {
    let mut alarms = Vec::new();
    let mut complaints = Vec::new();
    for text in errors {
        match Alarm::parse(text) {
            Some(alarm) => alarms.push(alarm),
            None => complaints.push(text.trim().to_owned()),
        }
    }
    (alarms, complaints)
}

fn is_token_refused(status: &tonic::Status) -> bool {
    // etcd answers the first when a token expired, the second when users or roles changed since it was given.
    status.code() == tonic::Code::Unauthenticated
        || matches!(
            status.message(),
            "etcdserver: invalid auth token" | "etcdserver: revision of auth store is old"
        )
}

fn into_status(error: etcd_client::Error) -> tonic::Status {
    match error {
        etcd_client::Error::GRpcStatus(status) => status,
        other => tonic::Status::from_error(Box::new(other)),
    }
}

/// The last word of a chain of errors.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The channel of a connection, which puts the login's token on every request.
#[derive(Clone)]
pub(super) struct TokenChannel {
    channel: Channel,
    token: Arc<Mutex<Option<HeaderValue>>>,
}

impl TokenChannel {
    fn token(&self) -> Option<HeaderValue> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_token(&self, mut token: HeaderValue) {
        token.set_sensitive(true);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }
}

impl tower::Service<Request<Body>> for TokenChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as tower::Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower::Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let logging_in = request.uri().path() == "/etcdserverpb.Auth/Authenticate";
        if let Some(token) = self.token().filter(|token| !logging_in && !token.is_empty()) {
            request.headers_mut().insert(TOKEN_HEADER, token);
        }
        tower::Service::call(&mut self.channel, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_told_from_other_complaints() {
        let errors = ["memberID:1 alarm:CORRUPT ".to_owned(), "etcdserver: no leader".to_owned()];
        let (alarms, complaints) = split_errors(&errors);
        assert_eq!(alarms.len(), 1);
        assert_eq!(alarms[0].alarm, "CORRUPT");
        assert_eq!(complaints, ["etcdserver: no leader"]);
    }

    #[test]
    fn both_stale_tokens_are_renewed() {
        assert!(is_token_refused(&tonic::Status::unauthenticated("etcdserver: invalid auth token")));
        assert!(is_token_refused(&tonic::Status::invalid_argument(
            "etcdserver: revision of auth store is old"
        )));
        assert!(!is_token_refused(&tonic::Status::permission_denied("etcdserver: permission denied")));
    }
}
