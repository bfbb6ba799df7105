//! Keys out of files and environment variables, read again at each request.
//!
//! Whoever rotates them writes the files one after the other. A pair that does not fit yet is refused by the server, and
//! the request is tried again with what the files hold then.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

use crate::secret::SecretSource;

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key id. No secret, but it comes with one.
    pub access_key_id: SecretSource,
    /// The secret access key.
    pub secret_access_key: SecretSource,
    /// Of temporary credentials.
    pub session_token: Option<SecretSource>,
}

/// Reads [`Keys`] for the SDK.
#[derive(Debug)]
pub(super) struct FileCredentials {
    keys: Keys,
}

impl FileCredentials {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys }
    }

    fn read(&self) -> provider::Result {
        let read = |source: &SecretSource| source.read().map_err(CredentialsError::provider_error);
        let mut credentials = Credentials::builder()
            .provider_name("holdfast")
            .access_key_id(read(&self.keys.access_key_id)?.expose())
            .secret_access_key(read(&self.keys.secret_access_key)?.expose());
        if let Some(token) = &self.keys.session_token {
            credentials = credentials.session_token(read(token)?.expose());
        }
        Ok(credentials.build())
    }
}

impl ProvideCredentials for FileCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // Small local files: not worth a thread.
        future::ProvideCredentials::ready(self.read())
    }
}
