//! Manifests, and inventories, with their signatures: what is written is what was signed, byte for byte.
//!
//! A signature is a small object beside its manifest, `manifest.json.minisig`, in minisign's format. It is written first: a
//! backup that exists is signed, and what an interruption leaves is a signature without a manifest, an orphan.

use holdfast_runtime::{Signature, TrustedKey};
use jiff::Timestamp;
use serde::Serialize;

use super::listing::{Role, role};
use super::{BackupId, CatalogError, Manifest, edition_path, path};
use crate::signing::SigningKey;
use crate::store::{self, ObjectPath, Store, StoreError};

/// What is added to the name of the document.
const SUFFIX: &str = ".minisig";
/// Digits of a key's id.
const KEY_ID_DIGITS: usize = 16;
/// A signature has some 400 bytes; minisign's own comments may have 8 KiB each.
const MAX_SIGNATURE_BYTES: u64 = 32 << 10;

/// The first signature over a document.
fn signature_path(document: &ObjectPath) -> ObjectPath {
    path(format!("{document}{SUFFIX}"))
}

/// A further signature over a document that has one, by another key.
fn signature_by(document: &ObjectPath, key: &TrustedKey) -> ObjectPath {
    path(format!("{document}.{}{SUFFIX}", key.id()))
}

/// The document that a signature of this name is over; none if the name is no signature's.
pub(super) fn signed_document(signature: &ObjectPath) -> Option<ObjectPath> {
    let name = signature.as_str().strip_suffix(SUFFIX)?;
    let document = match name.rsplit_once('.') {
        Some((document, key))
            if key.len() == KEY_ID_DIGITS && key.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            document
        }
        _ => name,
    };
    let document = ObjectPath::new(document).ok()?;
    matches!(role(&document), Some(Role::Manifest(..) | Role::Inventory)).then_some(document)
}

/// A manifest as it will lie in a store.
#[derive(Debug, Clone)]
pub struct Sealed {
    document: ObjectPath,
    bytes: Vec<u8>,
    signature: Option<String>,
}

/// Gives a manifest its final bytes, and signs them.
pub fn seal(manifest: &Manifest, key: Option<&SigningKey>) -> Result<Sealed, CatalogError> {
    let document = edition_path(&manifest.id, manifest.edition);
    seal_document(document, manifest, manifest.committed, &subject(manifest), key)
}

/// Gives a document its final bytes, and signs them.
pub(super) fn seal_document(
    document: ObjectPath,
    content: &impl Serialize,
    at: Timestamp,
    subject: &str,
    key: Option<&SigningKey>,
) -> Result<Sealed, CatalogError> {
    let mut bytes = serde_json::to_vec_pretty(content).map_err(|source| CatalogError::Damaged {
        path: document.to_string(),
        store: "memory".to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    let signature = key.map(|key| signature_text(key, &document, &bytes, at, subject)).transpose()?;
    Ok(Sealed { document, bytes, signature })
}

/// What a manifest's signature says besides: which backup it is, and which data.
fn subject(Manifest { id, stored, .. }: &Manifest) -> String {
    format!("backup:{id}\tdata:{}", stored.path)
}

/// A signature, and what `minisign -V` prints of it and it covers: when, which file, and what that is.
fn signature_text(
    key: &SigningKey,
    document: &ObjectPath,
    bytes: &[u8],
    at: Timestamp,
    subject: &str,
) -> Result<String, CatalogError> {
    let name = document.as_str().rsplit('/').next().unwrap_or_default();
    let comment = format!("timestamp:{}\tfile:{name}\t{subject}", at.as_second());
    key.sign(bytes, &comment).map_err(|source| CatalogError::Unsigned { path: document.to_string(), source })
}

/// Commits a backup, or a further edition of it: from here on it exists.
pub async fn commit(store: &dyn Store, sealed: &Sealed) -> Result<(), CatalogError> {
    if let Some(signature) = &sealed.signature {
        store.put(&signature_path(&sealed.document), store::body(signature.clone().into_bytes())).await?;
    }
    store.put(&sealed.document, store::body(sealed.bytes.clone())).await?;
    Ok(())
}

/// Adds a signature to a manifest that is there, byte for byte as it is there: beside what it has already.
///
/// # Errors
/// [`StoreError::Exists`] when this key has signed it before.
pub async fn sign(
    store: &dyn Store,
    manifest: &Manifest,
    key: &SigningKey,
) -> Result<ObjectPath, CatalogError> {
    let document = edition_path(&manifest.id, manifest.edition);
    let bytes = store::read_small(store, &document, super::MAX_DOCUMENT_BYTES).await?;
    let text = signature_text(key, &document, &bytes, manifest.committed, &subject(manifest))?;
    let first = signature_path(&document);
    match store.put(&first, store::body(text.clone().into_bytes())).await {
        Ok(_) => Ok(first),
        Err(StoreError::Exists { .. }) => {
            let further = signature_by(&document, key.public());
            store.put(&further, store::body(text.into_bytes())).await?;
            Ok(further)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a key has signed a manifest as it lies there.
pub async fn is_signed_by(
    store: &dyn Store,
    manifest: &Manifest,
    key: &TrustedKey,
) -> Result<bool, CatalogError> {
    let document = edition_path(&manifest.id, manifest.edition);
    let (_, judged) = read_judged(store, &document, std::slice::from_ref(key)).await?;
    Ok(judged.iter().any(|signature| matches!(signature, Signature::Trusted { .. })))
}

/// A document, and what is known of its signatures: of the first, and of those by these keys, up to one that a key of these made.
pub(super) async fn read_judged(
    store: &dyn Store,
    document: &ObjectPath,
    keys: &[TrustedKey],
) -> Result<(Vec<u8>, Vec<Signature>), StoreError> {
    // Both at once: over a network each is a round trip.
    let first = signature_path(document);
    let read = store::read_small(store, document, super::MAX_DOCUMENT_BYTES);
    let (bytes, first) = futures::join!(read, signature(store, &first));
    let bytes = bytes?;
    let mut judged = Vec::new();
    let mut found = first?;
    let mut further = keys.iter().map(|key| signature_by(document, key));
    loop {
        if let Some(text) = found {
            let signature = Signature::check(keys, &bytes, &text);
            let is_enough = matches!(signature, Signature::Trusted { .. });
            judged.push(signature);
            if is_enough {
                break;
            }
        }
        let Some(path) = further.next() else { break };
        found = signature(store, &path).await?;
    }
    Ok((bytes, judged))
}

/// The text of a signature; none if it is not there.
async fn signature(store: &dyn Store, path: &ObjectPath) -> Result<Option<String>, StoreError> {
    match store::read_small(store, path, MAX_SIGNATURE_BYTES).await {
        // What is no text is no signature; what the check says of it is the same.
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(StoreError::TooLarge { .. }) => Ok(Some(String::new())),
        Err(error) => Err(error),
    }
}

/// Signatures beside a backup that were made for a manifest naming this data and never got one: only who wrote the data
/// writes its name there.
pub(super) async fn signatures_for(
    store: &dyn Store,
    id: &BackupId,
    data: &ObjectPath,
) -> Result<Vec<ObjectPath>, StoreError> {
    let objects = store::list_all(store, &format!("backups/{id}/")).await?;
    let mut found = Vec::new();
    for object in &objects {
        let Some(document) = signed_document(&object.path) else { continue };
        if objects.iter().any(|other| other.path == document) {
            continue;
        }
        match store::read_small(store, &object.path, MAX_SIGNATURE_BYTES).await {
            Ok(bytes) if String::from_utf8_lossy(&bytes).contains(&format!("\tdata:{data}\n")) => {
                found.push(object.path.clone());
            }
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
