//! One file, looked at by itself: what it is, and whether an agent would take it.
//!
//! This is for authors, who want to know everything at once, also about a file that is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::host::{self, HostOptions, rejection};
use crate::kind::Kind;
use crate::load::{self, Candidate, Loaded, Loader, Refusal};
use crate::plugin::Plugin;
use crate::registry::Rejection;
use crate::shape::Interfaces;
use crate::text;
use crate::trust::Signature;

/// Imports and exports that are shown, and the length of each. A Python guest has some 25.
const NAMES: usize = 200;
const NAME_BYTES: usize = 256;

/// What is known of a file.
#[derive(Debug)]
pub struct Examination {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, in lower-case hexadecimal digits.
    pub sha256: String,
    /// What is known of the signature beside it.
    pub signature: Signature,
    /// What kind of plugin its exports make it; none when this agent calls no such kind.
    pub kind: Option<Kind>,
    /// What it asks of its host. Empty for a file that is no component.
    pub imports: Vec<Import>,
    /// What it offers.
    pub exports: Vec<String>,
    /// Why an agent would not take the file from where it lies: somebody else may write it.
    pub untrusted: Option<Rejection>,
    /// The plugin, or why the file is none.
    pub plugin: Result<Ready, Rejection>,
}

/// A plugin that was made from a file.
#[derive(Debug)]
pub struct Ready {
    /// It can be called.
    pub plugin: Arc<Plugin>,
    /// Its native code came from the cache.
    pub cached: bool,
    /// From the bytes to the plugin.
    pub elapsed: Duration,
}

/// One thing that a component asks of its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// `package/interface@version`.
    pub name: String,
    /// Why it is not served, if it is not.
    pub refused: Option<String>,
}

/// Reads and loads one file, with the settings of its name.
pub(crate) async fn examine(
    loader: &Arc<Loader>,
    path: &Path,
    options: &HostOptions,
) -> Result<Examination, Refusal> {
    let given = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        load::read_given(&given).map(|(candidate, untrusted)| {
            let interfaces = Interfaces::read(&candidate.bytes).ok();
            (candidate, untrusted, interfaces)
        })
    });
    let (candidate, untrusted, interfaces) =
        read.await.map_err(|error| Refusal::new(format!("could not be read: {error}")))??;
    let (size_bytes, sha256) = (candidate.bytes.len() as u64, candidate.digest.to_string());
    let signature = loader.signature(&candidate);
    let kind = interfaces.as_ref().and_then(|interfaces| interfaces.kind.as_ref().ok().copied());
    let (imports, exports) =
        interfaces.map(|interfaces| (interfaces.imports, interfaces.exports)).unwrap_or_default();
    let loaded = load_named(loader, path, candidate, options).await;
    Ok(Examination {
        file: path.to_owned(),
        size_bytes,
        sha256,
        signature,
        kind,
        imports: imports
            .into_iter()
            .take(NAMES)
            .map(|(name, refused)| Import {
                name: text::one_line(&name, NAME_BYTES),
                refused: refused.map(|reason| text::one_line(&reason, 2 * NAME_BYTES)),
            })
            .collect(),
        exports: exports.iter().take(NAMES).map(|name| text::one_line(name, NAME_BYTES)).collect(),
        untrusted: untrusted.as_ref().map(rejection),
        plugin: match loaded {
            Ok(Loaded { plugin, cached, elapsed }) => Ok(Ready { plugin, cached, elapsed }),
            Err(refusal) => Err(rejection(&refusal)),
        },
    })
}

async fn load_named(
    loader: &Arc<Loader>,
    path: &Path,
    candidate: Candidate,
    options: &HostOptions,
) -> Result<Loaded, Refusal> {
    let name = host::name_of(path)?;
    let options = options.of(&name);
    Arc::clone(loader).load(candidate, name, path.to_owned(), options).await
}
