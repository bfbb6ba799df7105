//! Why a stored value is not an object. No error ever quotes a value: it may be a Secret.

/// Why a value that claims to be an object is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The protobuf breaks off or contradicts itself.
    #[error("broken protobuf at byte {offset}: {reason}")]
    Protobuf {
        /// Bytes from the start of the value.
        offset: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// It is not JSON, or not that of an object.
    #[error("broken JSON at line {line}, column {column}: {reason}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// It begins as an encrypted value does, and does not go on as one.
    #[error("broken head of an encrypted value")]
    Encryption,
    /// It is encrypted: see [`crate::Keys`].
    #[error("encrypted by `{provider}` with key `{key_name}`")]
    Encrypted {
        /// E.g. `aescbc`.
        provider: String,
        /// The key's name in the API server's configuration.
        key_name: String,
    },
    /// None of the ways in which an API server stores objects.
    #[error("not an object of Kubernetes")]
    NotAnObject,
    /// It does not say what it is.
    #[error("says no `{0}`")]
    Missing(&'static str),
}

impl DecodeError {
    /// A JSON parser's message can quote the value, so only its category and place are passed on.
    pub(crate) fn json(error: &serde_json::Error) -> Self {
        let reason = match error.classify() {
            serde_json::error::Category::Eof => "it breaks off",
            serde_json::error::Category::Data => "a field has the wrong type",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
        };
        Self::Json { line: error.line(), column: error.column(), reason }
    }
}
