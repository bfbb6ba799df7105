//! From what stands on the command line to a plain snapshot file on local disk.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::failure::{self, FailureExt};
use super::list::selected_stores;
use super::target::Target;
use crate::catalog::BackupId;
use crate::config::Config;
use crate::pack::{self, Identity};
use crate::pipeline::inspect::Hash;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::source::{self, Found, LocalFile, Place, Point, SourceError};
use crate::units;

/// A snapshot file, and the backup it came from.
pub(super) struct Opened {
    /// The file.
    pub(super) file: LocalFile,
    /// The backup; none for a file given by a person.
    pub(super) found: Option<Found>,
}

impl Opened {
    /// Whether etcd sent this backup without a hash, which was allowed when it was made.
    pub(super) fn has_no_hash(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.entry.manifest.facts.trailer != "present")
    }

    /// What is known of its trailing hash. A backup that has none by right may have none here, and any may if that is allowed.
    pub(super) fn hash(&self, allow_missing: bool) -> Hash<'_> {
        self.file.hash(allow_missing || self.has_no_hash())
    }
}

/// What a command reads from: the config that it needs, the stores, and the keys.
pub(super) struct Sources {
    /// The config; none when a file is read and there is no config.
    pub(super) config: Option<Config>,
    pub(super) stores: Vec<NamedStore>,
    pub(super) identities: Vec<Identity>,
}

/// What a command that is given a file needs a configuration for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It says what is done: a broken one is an error.
    Config,
    /// It may know more than the flags say: without a sound one it goes on, and says so.
    Help,
}

impl Sources {
    /// What the target and the flags `--store` and `--identity` ask for. Backups need a config, files do not.
    pub(super) fn new(
        context: &Context,
        target: &Target,
        store: Option<&str>,
        keys: &[PathBuf],
        need: Need,
    ) -> Result<Self> {
        let (config, stores) = if let Target::File(path) = target {
            if let Some(store) = store {
                let misplaced: Result<()> =
                    Err(anyhow!("`--store {store}` is given, and `{}` is a file", path.display()));
                misplaced.hint("leave `--store` out, or give the id of a backup, or `latest`")?;
            }
            let config = match context.config_if_any() {
                // Who can unpack without it is not kept from doing so.
                Err(error)
                    if need == Need::Help
                        && !(is_packed(path) && keys.is_empty() && context.passphrase_file.is_none()) =>
                {
                    failure::report(&error);
                    context.printer.warn("the configuration cannot be used; going on without it");
                    None
                }
                other => other?,
            };
            (config, Vec::new())
        } else {
            let config = context.config()?;
            let stores = selected_stores(&config, store)?;
            (Some(config), stores)
        };
        let identities = context.identities(config.as_ref(), keys)?;
        Ok(Self { config, stores, identities })
    }

    /// The backup that is meant; none for a file.
    pub(super) async fn find(&self, target: &Target, context: &Context) -> Result<Option<Found>> {
        match target {
            Target::File(_) => Ok(None),
            _ => find(&self.stores, target, context).await.map(Some),
        }
    }

    /// Has the snapshot on local disk: files where they lie, backups unpacked to `place`. A copy that is
    /// damaged or away is told, and the next store is asked.
    pub(super) async fn fetch(
        &self,
        target: &Target,
        found: Option<Found>,
        place: Place<'_>,
        context: &Context,
    ) -> Result<Opened, SourceError> {
        let found = match (found, target) {
            (Some(found), _) => found,
            (None, Target::File(path)) => {
                let file = source::open_file(path, &self.identities, place).await?;
                return Ok(Opened { file, found: None });
            }
            (None, _) => unreachable!("a backup was found, or an error told"),
        };
        let tell = tell_of_copy(context);
        let progress = context.progress.as_ref();
        let mut missed = Vec::new();
        let unpacked = source::unpack_any_copy(
            &self.stores,
            found,
            &self.identities,
            place,
            progress,
            &tell,
            &mut missed,
        );
        match unpacked.await {
            Ok((file, found)) => Ok(Opened { file, found: Some(found) }),
            Err((_, error)) => Err(error),
        }
    }

    /// Finds and fetches, to be read as `name` in `directory`.
    pub(super) async fn open(
        &self,
        target: &Target,
        directory: &Path,
        name: &str,
        context: &Context,
    ) -> Result<Opened> {
        let found = self.find(target, context).await?;
        let place = Place::passing(directory, name);
        answered(self.fetch(target, found, place, context).await)
    }
}

/// Tells of a copy that cannot be used.
pub(super) fn tell_of_copy(context: &Context) -> impl Fn(&Found, &SourceError, &NamedStore) + Sync + '_ {
    |copy, error, next| {
        context.printer.warn(format_args!(
            "the copy in store `{}` cannot be used: {}; taking the one in store `{}`",
            copy.named.name,
            with_causes(error),
            next.name
        ));
    }
}

/// Whether a file is compressed or encrypted. One that cannot be read is found out when it is opened.
pub(super) fn is_packed(path: &Path) -> bool {
    const HEAD_BYTES: u64 = 32;
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && pack::is_packed(&head)
}

/// Awaits a step unless the command is stopped before.
pub(super) async fn unless_stopped<T>(
    cancel: &CancellationToken,
    step: impl Future<Output = T>,
) -> Result<T> {
    tokio::select! {
        done = step => Ok(done),
        () = cancel.cancelled() => bail!("stopped; nothing was written"),
    }
}

/// Finds the backup that is meant. What had to be passed over is told: another backup, or copy, than the one meant may be looked at.
pub(super) async fn find(stores: &[NamedStore], target: &Target, context: &Context) -> Result<Found> {
    let found = match target {
        Target::Id(id) => source::find(stores, &id.parse::<BackupId>()?).await,
        Target::At(time) => source::nearest(stores, Point::Time(*time)).await,
        Target::Revision(revision) => source::nearest(stores, Point::Revision(*revision)).await,
        Target::Latest | Target::File(_) => source::latest(stores).await,
    };
    let found = answered(found)?;
    say_how_far(target, &found, context);
    for passed_over in &found.passed_over {
        context.printer.warn(format_args!(
            "`{target}` is `{}` in store `{}`, as far as can be read; passed over: {passed_over}",
            found.entry.manifest.id, found.named.name
        ));
    }
    Ok(found)
}

/// Of a backup that was asked for by time or revision: which it is, and how far off.
fn say_how_far(target: &Target, found: &Found, context: &Context) {
    let id = &found.entry.manifest.id;
    let off = match target {
        Target::At(time) => {
            let off = std::time::Duration::try_from(time.duration_since(id.time())).unwrap_or_default();
            units::format_duration(off)
        }
        Target::Revision(revision) => format!("{} revisions", revision - id.revision()),
        _ => return,
    };
    context.printer.note(format_args!("the nearest backup at or before {target} is `{id}`, {off} earlier"));
}

/// Exit code 1 where it was looked and the answer is no.
pub(super) fn answered<T>(result: Result<T, SourceError>) -> Result<T> {
    match result {
        Err(error) if error.is_answer() => Err(error).answer_is_no(),
        other => Ok(other?),
    }
}
