//! Secrets that the operator granted by name: `allow = { secrets = ["token"] }`.
//!
//! The agent blots a secret's value out of whatever the plugin logs, reports or says in an error. Natively a test puts them there
//! ([`crate::testing::set_secret`]).

/// The secret is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SecretError {
    /// `denied`, as the agent says it.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// The value of a secret as it is now.
///
/// # Errors
/// When it is not granted, whether or not there is one of this name.
pub fn get(name: &str) -> Result<String, SecretError> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::guest::host::secrets::get(name)
            .map_err(|error| SecretError { code: error.code, message: error.message })
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::testing::secret(name).ok_or_else(|| SecretError {
            code: "denied".to_owned(),
            message: format!("the secret `{name}` is not granted"),
        })
    }
}
