//! Which files may become plugins: any, only pinned ones, or only signed ones.
//!
//! A signature is a file beside the component, `NAME.wasm.minisig`, as `minisign -S` writes it. It is checked over the very
//! bytes that are compiled. Only prehashed signatures are taken, which minisign has written since 2021.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use minisign_verify::{Error, PublicKey};
use serde::Serialize;

use crate::digest::Digest;
use crate::host::rejection;
use crate::load::{self, Refusal};
use crate::registry::Rejection;
use crate::text;

/// What is added to a component's file name.
pub(crate) const SIGNATURE_SUFFIX: &str = ".minisig";
/// A signature has some 300 bytes, and two comments of at most 8 KiB.
pub(crate) const SIGNATURE_BYTES: u64 = 32 << 10;
const COMMENT_BYTES: usize = 512;
/// `Ed`, the key's id, the key.
const PUBLIC_KEY_BYTES: usize = 42;
/// What a secret key's text begins with: `Ed`, then the ways in which it is derived and checked, or not encrypted.
const SECRET_KEY_PREFIXES: [&str; 2] = ["RWRTY0Iy", "RWQAAEIy"];

/// Which files may become plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Any. Pins hold where there are some.
    #[default]
    Open,
    /// Those whose digest the config pins.
    Pinned,
    /// Those with a signature by a trusted key. Pins hold besides, where there are some.
    Signed,
}

/// Which files may become plugins, and whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// Which files.
    pub mode: Trust,
    /// Whose signatures.
    pub keys: Vec<TrustedKey>,
}

/// A minisign public key.
#[derive(Clone)]
pub struct TrustedKey {
    key: PublicKey,
    id: String,
}

impl TrustedKey {
    /// Reads a key: the line that begins with `RW`, or the whole of a `.pub` file.
    ///
    /// # Errors
    /// What is wrong with it. The text is not repeated, for it may be a secret key given by mistake.
    pub fn parse(text: &str) -> Result<TrustedKey, KeyError> {
        let text = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        if SECRET_KEY_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            && text.len() > 2 * PUBLIC_KEY_BYTES
        {
            return Err(KeyError { secret: true });
        }
        let malformed = KeyError { secret: false };
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| malformed.clone())?;
        if bytes.len() != PUBLIC_KEY_BYTES {
            return Err(malformed);
        }
        let key = PublicKey::from_base64(text).map_err(|_| malformed.clone())?;
        Ok(TrustedKey { key, id: key_id(&bytes).ok_or(malformed)? })
    }

    /// The key's id, as minisign prints it: 16 upper-case hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TrustedKey").field(&self.id).finish()
    }
}

impl PartialEq for TrustedKey {
    fn eq(&self, other: &TrustedKey) -> bool {
        self.key == other.key
    }
}

impl Eq for TrustedKey {}

/// A text that is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", if *secret { "is a secret key of minisign" } else { "is not a public key of minisign" })]
pub struct KeyError {
    secret: bool,
}

impl KeyError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        if self.secret {
            "take it out of there, and give the public key: the line of the `.pub` file that begins with `RW`"
        } else {
            "it is the line of the `.pub` file that begins with `RW` and has 56 characters"
        }
    }
}

/// Bytes 2 to 10 of a key or a signature, as minisign prints them.
fn key_id(bytes: &[u8]) -> Option<String> {
    let id: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
}

/// What lies beside a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignatureFile {
    Missing,
    /// It is there and cannot be read, or somebody else may write it.
    Unreadable(String),
    Text(String),
}

/// What is known of a file's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Signature {
    /// There is none.
    Missing,
    /// A trusted key made it, over these bytes.
    Trusted {
        /// The key's id.
        key: String,
        /// What the signer wrote with it; the signature covers it.
        comment: String,
    },
    /// A key made it that is not trusted here. Nothing was checked.
    Unknown {
        /// The id that it claims.
        key: String,
    },
    /// It is none, or not over these bytes.
    Invalid {
        /// The end of a sentence that begins with the signature.
        reason: String,
    },
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signature::Missing => formatter.write_str("none"),
            Signature::Trusted { key, comment } => write!(formatter, "by the trusted key {key} ({comment})"),
            Signature::Unknown { key } => write!(formatter, "by the key {key}, which is not trusted here"),
            Signature::Invalid { reason } => write!(formatter, "not good: it {reason}"),
        }
    }
}

impl Signature {
    /// Checks a detached signature, as `minisign -S` writes it, over these bytes.
    pub fn check(keys: &[TrustedKey], bytes: &[u8], text: &str) -> Signature {
        let claimed = text
            .lines()
            .nth(1)
            .and_then(|line| base64::engine::general_purpose::STANDARD.decode(line).ok())
            .and_then(|bytes| key_id(&bytes));
        let (Some(claimed), Ok(signature)) = (claimed, minisign_verify::Signature::decode(text)) else {
            return Signature::invalid("is not a signature of minisign");
        };
        let Some(trusted) = keys.iter().find(|trusted| trusted.id == claimed) else {
            return Signature::Unknown { key: claimed };
        };
        match trusted.key.verify(bytes, &signature, false) {
            Ok(()) => Signature::Trusted {
                key: claimed,
                comment: text::one_line(signature.trusted_comment(), COMMENT_BYTES),
            },
            Err(Error::UnsupportedLegacyMode) => {
                Signature::invalid("is of the old kind, over bytes that are not hashed before")
            }
            Err(_) => {
                Signature::invalid("is not over these bytes: what is signed or the signature was changed")
            }
        }
    }

    fn invalid(reason: &str) -> Signature {
        Signature::Invalid { reason: text::one_line(reason, COMMENT_BYTES) }
    }
}

impl TrustPolicy {
    /// Checks the signature beside a file, over the file's bytes.
    pub async fn check_file(&self, path: &Path) -> Result<Signature, Rejection> {
        let (policy, path) = (self.clone(), path.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            load::read_given(&path).map(|(candidate, _)| policy.judge(&candidate.bytes, &candidate.signature))
        });
        let checked = checked.await.unwrap_or_else(|error| Err(Refusal::new(error.to_string())));
        checked.map_err(|refusal| rejection(&refusal))
    }

    /// Checks what lies beside a component.
    pub(crate) fn judge(&self, bytes: &[u8], file: &SignatureFile) -> Signature {
        match file {
            SignatureFile::Missing => Signature::Missing,
            SignatureFile::Unreadable(reason) => Signature::invalid(reason),
            SignatureFile::Text(text) => Signature::check(&self.keys, bytes, text),
        }
    }

    /// Whether a file may become a plugin.
    pub(crate) fn admit(
        &self,
        name: &str,
        digest: Digest,
        pin: Option<&str>,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        match (self.mode, signature) {
            (Trust::Open, _) | (Trust::Signed, Signature::Trusted { .. }) => Ok(()),
            (Trust::Pinned, _) if pin.is_some() => Ok(()),
            (Trust::Pinned, _) => {
                Err(Refusal::new("is not pinned, and `trust` is \"pinned\"").hint(format!(
                    "if this file is the one you want, set `sha256 = \"{digest}\"` under `[plugin.{name}]`"
                )))
            }
            (Trust::Signed, Signature::Missing) => {
                Err(Refusal::new("is not signed, and `trust` is \"signed\"").hint(format!(
                    "sign it with `holdfast plugin sign`, and put `{name}.wasm{SIGNATURE_SUFFIX}` beside it"
                )))
            }
            (Trust::Signed, Signature::Unknown { key }) => {
                Err(Refusal::new(format!("is signed by the key {key}, which is not one of `trusted_keys`"))
                    .hint("if you trust its owner, add the public key to `trusted_keys` under `[plugins]`"))
            }
            (Trust::Signed, Signature::Invalid { reason }) => {
                Err(Refusal::new(format!("has a signature that {reason}"))
                    .hint("get component and signature again from where they came"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with minisign 0.11 over the bytes `holdfast\n`.
    const KEY: &str = "RWQ0c1xvd3jxtVfCo59JtjDxREoAVwaRTYiXHobLKzMJ4w0NYhXYlvtK";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\nRUQ0c1xvd3jxtWQYzw8cn7iQKqLQ9clQI8VkYHTlV//0P80il9FgWh+iI4TMl1yt3H2o9bqWBfOZojlEiVLaarohdMEMP/L9YQ8=\ntrusted comment: example 1.0.0\nw3YtqKgo26hW67s/NWWZiBw6Ggq9bj/O4LNmVv72/tvN+nr61rkrx3rezI/aezZNaoCnLTEBq+YyE4TevferBQ==\n";

    fn policy() -> TrustPolicy {
        TrustPolicy { mode: Trust::Signed, keys: vec![TrustedKey::parse(KEY).expect("a key")] }
    }

    fn judge(bytes: &[u8], text: &str) -> Signature {
        policy().judge(bytes, &SignatureFile::Text(text.to_owned()))
    }

    #[test]
    fn what_minisign_signed_is_taken_and_nothing_else() {
        let good = judge(b"holdfast\n", SIGNATURE);
        let Signature::Trusted { key, comment } = &good else { panic!("{good:?}") };
        assert_eq!((key.as_str(), comment.as_str()), (policy().keys[0].id(), "example 1.0.0"));
        assert!(matches!(judge(b"holdfast!", SIGNATURE), Signature::Invalid { .. }));
        // The comment is covered too.
        let other = SIGNATURE.replace("example 1.0.0", "example 9.0.0");
        assert!(matches!(judge(b"holdfast\n", &other), Signature::Invalid { .. }));
        for text in
            ["", "x", "a\nb\nc\nd", "untrusted comment: x\nRW==\ntrusted comment: \n\n", &SIGNATURE[..120]]
        {
            assert!(matches!(judge(b"holdfast\n", text), Signature::Invalid { .. }), "{text}");
        }
        let nobody = TrustPolicy { keys: Vec::new(), ..policy() };
        let unknown = nobody.judge(b"holdfast\n", &SignatureFile::Text(SIGNATURE.to_owned()));
        assert_eq!(unknown, Signature::Unknown { key: key.clone() });
    }

    #[test]
    fn each_flipped_byte_of_a_signature_is_noticed() {
        let lines: Vec<&str> = SIGNATURE.lines().collect();
        let covered = lines[0].len() + 1..SIGNATURE.len() - 1;
        for place in covered {
            let mut bytes = SIGNATURE.as_bytes().to_vec();
            bytes[place] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let judged = judge(b"holdfast\n", &text);
            assert!(!matches!(judged, Signature::Trusted { .. }), "flipped byte {place}: {judged:?}");
        }
    }

    #[test]
    fn modes_admit_what_they_say() {
        let digest = Digest::of(&[b"x"]);
        let trusted = Signature::Trusted { key: "K".into(), comment: String::new() };
        let admits = |mode, pin: Option<&str>, signature: &Signature| {
            TrustPolicy { mode, keys: Vec::new() }.admit("x", digest, pin, signature).is_ok()
        };
        assert!(admits(Trust::Open, None, &Signature::Missing));
        assert!(admits(Trust::Pinned, Some("aa"), &Signature::Missing));
        assert!(!admits(Trust::Pinned, None, &trusted), "a signature is no pin");
        assert!(admits(Trust::Signed, None, &trusted));
        for signature in [
            Signature::Missing,
            Signature::Unknown { key: "K".into() },
            Signature::Invalid { reason: "is none".into() },
        ] {
            assert!(!admits(Trust::Signed, Some("aa"), &signature), "a pin is no signature: {signature}");
        }
    }

    #[test]
    fn keys_are_read_as_minisign_writes_them() {
        let file = format!("untrusted comment: minisign public key\n{KEY}\n");
        assert_eq!(TrustedKey::parse(&file), TrustedKey::parse(KEY));
        for wrong in ["", "RW", "age1xyz", &KEY[..50], "untrusted comment: only"] {
            assert!(TrustedKey::parse(wrong).is_err(), "{wrong}");
        }
        let secret = format!("RWRTY0Iy{}", "A".repeat(204));
        let error = TrustedKey::parse(&secret).expect_err("a secret key");
        assert_eq!(error.to_string(), "is a secret key of minisign");
    }
}
