//! Signatures over what lies in a repository, in minisign's format: the stock `minisign -V` verifies them.
//!
//! The secret key is read when a run needs it, as a password is. It is a file of `minisign -G` or `holdfast key signing`;
//! what checks signatures is [`holdfast_runtime::Signature`], the same as for plugins.

use std::fmt;

use base64::Engine as _;
use holdfast_runtime::TrustedKey;
use minisign::{PublicKey, SecretKey, SecretKeyBox};

use crate::secret::{SecretError, SecretSource};

/// A secret key that is ready to sign.
pub struct SigningKey {
    secret: SecretKey,
    public: PublicKey,
    trusted: TrustedKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SigningKey").field(&self.trusted.id()).finish()
    }
}

/// Why nothing could be signed. None of the messages holds anything of the key or its password.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key or its password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It is something else.
    #[error("{from} is not a secret key of minisign")]
    NotAKey {
        /// Where it was read from.
        from: SecretSource,
    },
    /// It has a password, and none is configured.
    #[error("the signing key in {from} has a password, and none is given")]
    Locked {
        /// Where it was read from.
        from: SecretSource,
    },
    /// It has another password.
    #[error("the signing key in {from} cannot be unlocked: {reason}")]
    Password {
        /// Where it was read from.
        from: SecretSource,
        /// What is wrong.
        reason: String,
    },
    /// The key does not sign.
    #[error("nothing can be signed with the key {key}: {reason}")]
    Sign {
        /// The key's id.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// What it signs would be refused.
    #[error(
        "the signing key {key} is not one of `trust.keys`: what this machine writes, it would refuse itself"
    )]
    NotTrusted {
        /// The key's id.
        key: String,
        /// The public key, to be added.
        public_key: String,
    },
    /// What is written would be refused.
    #[error(
        "`trust.keys` asks for signatures, and there is no key to sign with: what this machine writes, it would refuse itself"
    )]
    NoKey,
}

impl SigningError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Secret(error) => return error.hint(),
            Self::NotAKey { .. } => {
                "make one with `holdfast key signing FILE`, or `minisign -G -W`".to_owned()
            }
            Self::Locked { .. } | Self::Password { .. } => {
                "give its password with `password_file` or `password_env` in [signing]".to_owned()
            }
            Self::Sign { .. } => return None,
            Self::NotTrusted { public_key, .. } => format!("add \"{public_key}\" to `keys` in [trust]"),
            Self::NoKey => {
                "give `key_file` in [signing], or take `keys` out of [trust] on a machine that only writes"
                    .to_owned()
            }
        })
    }
}

/// The key as it lies in the file. `minisign -W` writes no checksum into one that is not encrypted, so none is asked for here;
/// what is signed is verified at once with the public half.
pub fn parse_secret_key(text: &str) -> Option<SecretKey> {
    let line = text.lines().nth(1)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(line.trim()).ok()?;
    SecretKey::from_bytes(&bytes).ok()
}

impl SigningKey {
    /// Reads a key, and unlocks it when it has a password.
    pub fn read(key: &SecretSource, password: Option<&SecretSource>) -> Result<Self, SigningError> {
        let text = key.read()?;
        let not_a_key = || SigningError::NotAKey { from: key.clone() };
        let secret = parse_secret_key(text.expose()).ok_or_else(not_a_key)?;
        let secret = if secret.is_encrypted() {
            let password = password.ok_or_else(|| SigningError::Locked { from: key.clone() })?.read()?;
            let boxed = SecretKeyBox::from_string(text.expose()).map_err(|_| not_a_key())?;
            boxed
                .into_secret_key(Some(password.expose().to_owned()))
                .map_err(|error| SigningError::Password { from: key.clone(), reason: error.to_string() })?
        } else {
            secret
        };
        Self::new(secret).ok_or_else(not_a_key)
    }

    fn new(secret: SecretKey) -> Option<Self> {
        let public = PublicKey::from_secret_key(&secret).ok()?;
        let trusted = TrustedKey::parse(&public.to_base64()).ok()?;
        Some(Self { secret, public, trusted })
    }

    /// A new key that lies nowhere, for tests.
    #[cfg(test)]
    pub(crate) fn generate() -> Self {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("a key can be made");
        Self::new(pair.sk).expect("a key of our own is one")
    }

    /// The public half.
    pub fn public(&self) -> &TrustedKey {
        &self.trusted
    }

    /// The public half as it stands in a `.pub` file.
    pub fn public_text(&self) -> String {
        self.public.to_base64()
    }

    /// The text of a detached signature over `bytes`. It covers the comment as well.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<String, SigningError> {
        let failed = |reason: String| SigningError::Sign { key: self.trusted.id().to_owned(), reason };
        let signed = minisign::sign(Some(&self.public), &self.secret, bytes, Some(comment), None)
            .map_err(|error| failed(error.to_string()))?;
        Ok(signed.into_string())
    }
}

#[cfg(test)]
mod tests {
    use holdfast_runtime::Signature;

    use super::*;

    #[test]
    fn what_is_signed_is_trusted_by_who_trusts_the_key() {
        let (ours, others) = (SigningKey::generate(), SigningKey::generate());
        let text = ours.sign(b"bytes", "backup:x").unwrap();
        let check = |key: &SigningKey, bytes: &[u8]| Signature::check(&[key.public().clone()], bytes, &text);
        assert!(
            matches!(check(&ours, b"bytes"), Signature::Trusted { comment, .. } if comment == "backup:x")
        );
        assert!(matches!(check(&ours, b"Bytes"), Signature::Invalid { .. }));
        assert!(matches!(check(&others, b"bytes"), Signature::Unknown { .. }));
        assert!(!format!("{ours:?}").contains(&ours.public_text()[10..]));
    }

    #[test]
    fn keys_with_a_password_want_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            SecretSource::File(path)
        };
        let pair = minisign::KeyPair::generate_encrypted_keypair(Some("correct horse".to_owned())).unwrap();
        let key = file("key", &pair.sk.to_box(None).unwrap().into_string());
        let (right, wrong) = (file("right", "correct horse\n"), file("wrong", "battery staple\n"));
        assert!(matches!(SigningKey::read(&key, None), Err(SigningError::Locked { .. })));
        let error = SigningKey::read(&key, Some(&wrong)).unwrap_err();
        assert!(
            matches!(error, SigningError::Password { .. }) && !error.to_string().contains("staple"),
            "{error}"
        );
        assert_eq!(SigningKey::read(&key, Some(&right)).unwrap().public_text(), pair.pk.to_base64());
        assert!(matches!(SigningKey::read(&right, None), Err(SigningError::NotAKey { .. })));
    }
}
