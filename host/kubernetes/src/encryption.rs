//! Values encrypted at rest, opened with the keys of an API server's `EncryptionConfiguration`.
//!
//! ```text
//! k8s:enc:aescbc:v1:KEY:      16 bytes iv, AES-CBC with PKCS #7 padding
//! k8s:enc:aesgcm:v1:KEY:      12 bytes nonce, AES-GCM, the etcd key authenticated with it
//! k8s:enc:secretbox:v1:KEY:   24 bytes nonce, XSalsa20 and Poly1305
//! k8s:enc:kms:v1|v2:PLUGIN:   by a key that only the plugin has
//! ```
//! Source: apiserver `pkg/storage/value/encrypt`. No error and no `Debug` here ever shows a key or what was encrypted.

use std::borrow::Cow;
use std::fmt;

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead, KeyInit, Payload};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::object::{Encryption, Stored};

/// The keys of a configuration.
pub struct Keys {
    keys: Vec<Key>,
    plugins: Vec<String>,
}

struct Key {
    provider: Provider,
    name: String,
    secret: Zeroizing<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    AesCbc,
    AesGcm,
    Secretbox,
}

impl Provider {
    fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
        }
    }

    fn takes_key_of(self, len: usize) -> bool {
        match self {
            Self::AesCbc | Self::AesGcm => matches!(len, 16 | 24 | 32),
            Self::Secretbox => len == 32,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// It is not YAML, or not of this form.
    #[error("not an EncryptionConfiguration (line {line}, column {column})")]
    Form {
        /// From 1; 0 where it is not known.
        line: u64,
        /// From 1; 0 where it is not known.
        column: u64,
    },
    /// It is of another kind.
    #[error("`kind` is `{0}`, not `EncryptionConfiguration`")]
    Kind(String),
    /// A key is not base64.
    #[error("key `{name}` of `{provider}` is not base64")]
    NotBase64 {
        /// E.g. `aescbc`.
        provider: &'static str,
        /// The key's name.
        name: String,
    },
    /// A key is too short or too long.
    #[error("key `{name}` of `{provider}` has {bytes} bytes, which it does not take")]
    Length {
        /// E.g. `aescbc`.
        provider: &'static str,
        /// The key's name.
        name: String,
        /// The key's length.
        bytes: usize,
    },
}

/// Why an encrypted value stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The configuration has no such key.
    #[error("encrypted by `{provider}` with key `{key_name}`, which the configuration does not have")]
    NoKey {
        /// E.g. `aescbc`.
        provider: String,
        /// The key's name.
        key_name: String,
    },
    /// Only a KMS plugin can open it.
    #[error("encrypted by the KMS plugin `{plugin}`, which alone can decrypt it")]
    Kms {
        /// The plugin's name in the configuration.
        plugin: String,
    },
    /// The key does not fit, or the value is damaged.
    #[error("key `{key_name}` of `{provider}` does not decrypt it: another key, or the value is damaged")]
    Refused {
        /// E.g. `aescbc`.
        provider: String,
        /// The key's name.
        key_name: String,
    },
}

#[derive(Deserialize)]
struct Configuration {
    kind: Option<String>,
    #[serde(default)]
    resources: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    providers: Vec<ProviderEntry>,
}

#[derive(Deserialize)]
struct ProviderEntry {
    aescbc: Option<KeyList>,
    aesgcm: Option<KeyList>,
    secretbox: Option<KeyList>,
    kms: Option<Plugin>,
}

#[derive(Deserialize)]
struct KeyList {
    #[serde(default)]
    keys: Vec<NamedKey>,
}

#[derive(Deserialize)]
struct NamedKey {
    name: String,
    secret: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Plugin {
    name: String,
}

impl Keys {
    /// Reads an `EncryptionConfiguration`, YAML or JSON, as the API server's `--encryption-provider-config` names it. The keys of all
    /// its resources are taken.
    pub fn from_configuration(text: &str) -> Result<Self, ConfigurationError> {
        let configuration: Configuration = serde_saphyr::from_str(text).map_err(|error| {
            // Its message can quote what stands there.
            let place = error.location();
            ConfigurationError::Form {
                line: place.map_or(0, |place| place.line()),
                column: place.map_or(0, |place| place.column()),
            }
        })?;
        // `EncryptionConfig` is what it was called before Kubernetes 1.13.
        match configuration.kind.as_deref() {
            None | Some("EncryptionConfiguration" | "EncryptionConfig") => {}
            Some(kind) => return Err(ConfigurationError::Kind(kind.to_owned())),
        }
        let mut found = Self::none();
        for entry in configuration.resources.into_iter().flat_map(|group| group.providers) {
            let lists = [
                (Provider::AesCbc, entry.aescbc),
                (Provider::AesGcm, entry.aesgcm),
                (Provider::Secretbox, entry.secretbox),
            ];
            for (provider, list) in lists {
                for key in list.into_iter().flat_map(|list| list.keys) {
                    found.keys.push(decode_key(provider, key)?);
                }
            }
            found.plugins.extend(entry.kms.map(|plugin| plugin.name));
        }
        Ok(found)
    }

    /// No keys at all: what is encrypted stays so.
    pub fn none() -> Self {
        Self { keys: Vec::new(), plugins: Vec::new() }
    }

    /// What was stored under the key, decrypted if it is encrypted. `etcd_key` is the whole key, which `aesgcm` authenticates.
    pub fn unseal<'a>(&self, etcd_key: &[u8], value: &'a [u8]) -> Result<Cow<'a, [u8]>, UnsealError> {
        let Stored::Encrypted(encryption) = Stored::of(value) else { return Ok(Cow::Borrowed(value)) };
        let (provider, key_name) = (encryption.provider.to_owned(), encryption.key_name.to_owned());
        if provider == "kms" {
            return Err(UnsealError::Kms { plugin: key_name });
        }
        let mut keys = self
            .keys
            .iter()
            .filter(|key| {
                key.provider.name() == provider && key.name == key_name && encryption.version == "v1"
            })
            .peekable();
        if keys.peek().is_none() {
            return Err(UnsealError::NoKey { provider, key_name });
        }
        // Two resources may have different keys of one name.
        let opened = keys.find_map(|key| key.open(etcd_key, &encryption));
        opened.map(Cow::Owned).ok_or(UnsealError::Refused { provider, key_name })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> =
            self.keys.iter().map(|key| format!("{}:{}", key.provider.name(), key.name)).collect();
        formatter.debug_struct("Keys").field("keys", &names).field("plugins", &self.plugins).finish()
    }
}

fn decode_key(provider: Provider, key: NamedKey) -> Result<Key, ConfigurationError> {
    let NamedKey { name, secret } = key;
    let Ok(bytes) = BASE64.decode(secret.trim()).map(Zeroizing::new) else {
        return Err(ConfigurationError::NotBase64 { provider: provider.name(), name });
    };
    if !provider.takes_key_of(bytes.len()) {
        return Err(ConfigurationError::Length { provider: provider.name(), name, bytes: bytes.len() });
    }
    Ok(Key { provider, name, secret: bytes })
}

impl Key {
    fn open(&self, etcd_key: &[u8], encryption: &Encryption<'_>) -> Option<Vec<u8>> {
        let (secret, sealed) = (self.secret.as_slice(), encryption.sealed);
        match (self.provider, secret.len()) {
            (Provider::AesCbc, 16) => cbc_open::<Aes128>(secret, sealed),
            (Provider::AesCbc, 24) => cbc_open::<Aes192>(secret, sealed),
            (Provider::AesCbc, _) => cbc_open::<Aes256>(secret, sealed),
            (Provider::AesGcm, 16) => aead_open::<AesGcm<Aes128, U12>>(secret, sealed, etcd_key),
            (Provider::AesGcm, 24) => aead_open::<AesGcm<Aes192, U12>>(secret, sealed, etcd_key),
            (Provider::AesGcm, _) => aead_open::<AesGcm<Aes256, U12>>(secret, sealed, etcd_key),
            (Provider::Secretbox, _) => aead_open::<XSalsa20Poly1305>(secret, sealed, b""),
        }
    }
}

/// CBC proves nothing of its own: what comes out has to be padded well and to look like an object.
fn cbc_open<C>(secret: &[u8], sealed: &[u8]) -> Option<Vec<u8>>
where
    C: cbc::cipher::BlockDecrypt + cbc::cipher::BlockCipher + cbc::cipher::KeyInit,
{
    const IV_BYTES: usize = 16;
    let (iv, sealed) = sealed.split_at_checked(IV_BYTES)?;
    let cipher = cbc::Decryptor::<C>::new_from_slices(secret, iv).ok()?;
    let opened = cipher.decrypt_padded_vec_mut::<Pkcs7>(sealed).ok()?;
    (Stored::of(&opened) != Stored::Unknown).then_some(opened)
}

fn aead_open<C: Aead + KeyInit>(secret: &[u8], sealed: &[u8], authenticated: &[u8]) -> Option<Vec<u8>> {
    let cipher = C::new_from_slice(secret).ok()?;
    let nonce_bytes = crypto_secretbox::aead::Nonce::<C>::default().len();
    let (nonce, sealed) = sealed.split_at_checked(nonce_bytes)?;
    let nonce = crypto_secretbox::aead::Nonce::<C>::from_slice(nonce);
    cipher.decrypt(nonce, Payload { msg: sealed, aad: authenticated }).ok()
}
