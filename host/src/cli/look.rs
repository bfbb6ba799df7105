//! What the commands that look into a snapshot share: their flags, and the snapshot opened.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use etcd_snapshot::{LiveKeys, ReadError, SnapshotFile};
use kubernetes_objects::{DEFAULT_PREFIX, Keys};
use zeroize::Zeroizing;

use super::agent::stop_on_signals;
use super::failure::FailureExt;
use super::open::{self, Need, Sources};
use super::target::Target;
use super::{Context, verify};
use crate::look::select::{Selection, Wanted};
use crate::pipeline::inspect::InspectError;
use crate::source::LocalFile;

/// What stands for the newest revision.
pub(super) const NEWEST: i64 = 0;

/// Where a snapshot is read from.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// The store to read from; the first that has it otherwise
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// A file with the age identity (secret key) that decrypts it, besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// Which Kubernetes objects are meant.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct ObjectArgs {
    /// Objects of this kind: its kind, plural or short name (`secret`, `deploy`, `tenants.ops.example`)
    #[arg(long)]
    pub kind: Option<String>,
    /// Objects in this namespace
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Objects of this name
    #[arg(long)]
    pub name: Option<String>,
    /// What the API server's keys begin with: its `--etcd-prefix`
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_PREFIX)]
    pub etcd_prefix: String,
}

impl ObjectArgs {
    /// Whether any of it was given.
    pub(super) fn is_given(&self) -> bool {
        self.kind.is_some() || self.namespace.is_some() || self.name.is_some()
    }

    /// With a prefix of keys, or none.
    pub(super) fn wanted(&self, prefix: Option<&str>) -> Wanted {
        Wanted {
            prefix: prefix.map(|prefix| prefix.as_bytes().to_owned()),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            etcd_prefix: self.etcd_prefix.clone(),
        }
    }
}

/// The keys of an API server that encrypts what it stores.
#[derive(Debug, clap::Args)]
pub struct DecryptArgs {
    /// The API server's `EncryptionConfiguration`, to decrypt what it encrypted (aescbc, aesgcm, secretbox)
    #[arg(long, value_name = "FILE", help_heading = "Kubernetes")]
    pub encryption_config: Option<PathBuf>,
}

impl DecryptArgs {
    /// Reads the keys; none when no file is given.
    pub(super) fn keys(&self) -> Result<Keys> {
        let Some(path) = &self.encryption_config else { return Ok(Keys::none()) };
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.with_context(|| format!("cannot read `{}`", path.display()));
        let text = text.hint("it is the file that the API server's `--encryption-provider-config` names")?;
        let keys = Keys::from_configuration(&text)
            .with_context(|| format!("cannot take keys from `{}`", path.display()));
        keys.hint("it is the file that the API server's `--encryption-provider-config` names")
    }
}

/// An open snapshot.
pub(super) struct View {
    /// The file, mapped.
    pub(super) file: SnapshotFile,
    /// What it was called: an id or a path.
    pub(super) name: String,
    /// Unpacked for this, if it had to be; gone with this value.
    _local: LocalFile,
}

impl View {
    /// Has the snapshot on local disk, and opens it.
    pub(super) async fn open(
        target: &Target,
        from: &SourceArgs,
        number: u8,
        context: &Context,
    ) -> Result<Self> {
        let sources = Sources::new(context, target, from.store.as_deref(), &from.identity, Need::Help)?;
        let cancel = stop_on_signals()?;
        let scratch = verify::scratch(sources.config.as_ref());
        let unpacked = format!("look-{}-{number}", std::process::id());
        let opened =
            open::unless_stopped(&cancel, sources.open(target, &scratch, &unpacked, context)).await??;
        let path = opened.file.path().to_owned();
        let file = SnapshotFile::open(&path).map_err(|source| InspectError { path, source })?;
        let name = match &opened.found {
            Some(found) => found.entry.manifest.id.to_string(),
            None => target.to_string(),
        };
        Ok(Self { file, name, _local: opened.file })
    }

    /// The keys at a revision, or at [`NEWEST`].
    pub(super) fn live_at(&self, revision: i64) -> Result<LiveKeys<'_>> {
        self.readable(self.file.live_at(revision))
    }

    /// The revision that is meant, where it can be [`NEWEST`].
    ///
    /// # Errors
    /// When the snapshot does not have it.
    pub(super) fn revision(&self, asked: i64) -> Result<i64> {
        let snapshot = self.file.snapshot();
        let newest = self.readable(snapshot.revision())?;
        let compact_revision = self.readable(snapshot.compactions())?.furthest();
        self.readable(match asked {
            NEWEST => Ok(newest),
            revision if revision > newest => Err(ReadError::Future { revision, newest }),
            revision if revision < compact_revision => {
                Err(ReadError::Compacted { revision, compact_revision })
            }
            revision => Ok(revision),
        })
    }

    /// With the next step for a reader who asked for what is not there.
    pub(super) fn readable<T>(&self, read: Result<T, ReadError>) -> Result<T> {
        let hint = match &read {
            Err(ReadError::Compacted { compact_revision, .. }) => {
                format!("ask for revision {compact_revision} or later, or look into an older backup")
            }
            Err(ReadError::Future { newest, .. }) => {
                format!("leave `--revision` out for {newest}, or look into a newer backup")
            }
            _ => format!("`holdfast inspect {}` tells what is damaged", self.name),
        };
        read.with_context(|| format!("cannot read the keys of `{}`", self.name)).hint(hint)
    }
}

/// Finds out which keys are meant.
pub(super) fn select(wanted: &Wanted, states: &[&LiveKeys<'_>]) -> Result<Selection> {
    Selection::new(wanted, states).map_err(|error| anyhow!(error))
}

/// A key as text: bytes that cannot be printed are escaped.
pub(super) fn printable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}
