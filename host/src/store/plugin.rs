//! A store that is a plugin: any place that keeps objects, through a component that nobody has to trust.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `upload` | streams into a call that stores them, and what may be tried again of it |
//! | `download` | a call that hands out bytes as a stream, taken up again where it broke off |
//! | `listing` | pages whose word is not taken for order, place or end |
//! | `errors` | what a plugin said, or how it ended, in words |
//!
//! Each call has an instance of its own, and several are under way at a time. What a plugin says is compared with what it was
//! seen to do: bytes are counted, an object that it says it stored is looked at, pages must be in order and within the prefix.
//! A word that cannot be true is an error that names it, and what was stored with it is taken back.
//!
//! The plugin is looked for at the first call and stays the same for as long as this value lives: a run that began with one
//! version ends with it.

mod download;
mod errors;
mod listing;
mod upload;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_runtime::{
    Allow, Grants, Plugin, Registry, SecretText, StartError, StoreCall, StorePlugin, StoreRun, StoredObject,
    Unavailable,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::errors::Failed;
use super::{ByteStream, Features, ObjectInfo, ObjectPath, Page, Store, StoreError};
use crate::secret::SecretSource;
use crate::session::Clock;

/// First pause before another try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause that a plugin can ask for.
const LONGEST_ASKED_PAUSE: Duration = Duration::from_mins(1);
/// What a plugin is given to clean up after a call that was given up.
const GRACE: Duration = Duration::from_secs(10);

/// Without it an object could be seen before it is whole, and no such store is used./// Small objects read at once: each takes an instance of the plugin.
const READS_AT_ONCE: usize = 64;

const ATOMIC: &str = "atomic";
const EXCLUSIVE: &str = "exclusive";
const RANGES: &str = "ranges";
const SWEEP: &str = "sweep";
const OBJECT_LOCK: &str = "object-lock";
const VERSIONING: &str = "versioning";

/// Which plugin, and how it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The store's name in the config.
    pub store: String,
    /// The cluster's name.
    pub cluster: String,
    /// The plugin's name.
    pub plugin: String,
    /// Its `config` table.
    pub config: Value,
    /// What it may reach.
    pub allow: Allow,
    /// Where the secrets are that `allow` names. They are read at each call, so that a new one counts at once.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Tries of one call, the first included.
    pub attempts: u32,
    /// Limit of a call that moves no object's bytes.
    pub request_timeout: Duration,
    /// Limit of one that does.
    pub transfer_timeout: Duration,
    /// Limit of standing still, for one that does.
    pub stall_timeout: Duration,
    /// What was begun so long ago and never ended is swept.
    pub stale_after: Duration,
}

/// Where plugins come from.
#[async_trait]
pub trait PluginSource: Send + Sync {
    /// The plugin of this name: in one run the same each time.
    async fn plugin(&self, name: &str) -> Result<Arc<Plugin>, NoPlugin>;
}

/// Why there is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum NoPlugin {
    /// The plugin host did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It is not among the plugins that there are.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Those that were loaded when the run began.
#[async_trait]
impl PluginSource for Arc<Registry> {
    async fn plugin(&self, name: &str) -> Result<Arc<Plugin>, NoPlugin> {
        Ok(Registry::plugin(self, name)?)
    }
}

/// This one, whatever it is asked for by: an author says himself which file he means.
#[async_trait]
impl PluginSource for Arc<Plugin> {
    async fn plugin(&self, _name: &str) -> Result<Arc<Plugin>, NoPlugin> {
        Ok(Self::clone(self))
    }
}

/// Keeps objects in a plugin.
#[derive(Clone)]
pub struct PluginStore {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    source: Arc<dyn PluginSource>,
    clock: Clock,
    pinned: OnceCell<Pinned>,
    told_of_looking: AtomicBool,
}

/// The version that is called, and what it promises.
struct Pinned {
    plugin: StorePlugin,
    promises: Vec<String>,
}

impl Pinned {
    fn promises(&self, feature: &str) -> bool {
        self.promises.iter().any(|promised| promised == feature)
    }
}

/// How often, and for what, a call is made.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    number: u32,
    /// The word that all attempts at one upload share.
    upload: Option<&'a str>,
}

impl PluginStore {
    /// A store by these options. Nothing is looked for yet.
    pub fn new(options: Options, source: Arc<dyn PluginSource>, clock: Clock) -> Self {
        let shared = Shared {
            options,
            source,
            clock,
            pinned: OnceCell::new(),
            told_of_looking: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The plugin, once it is known to be a store that keeps the one promise without which there is no backup.
    async fn pinned(&self) -> Result<&Pinned, StoreError> {
        self.shared.pinned.get_or_try_init(|| self.pin()).await.map_err(|failed| failed.of_place(self, "use"))
    }

    async fn pin(&self) -> Result<Pinned, Failed> {
        let options = self.options();
        let plugin = self.shared.source.plugin(&options.plugin).await;
        let plugin = plugin.map_err(|error| Failed::no_plugin(&error))?;
        let plugin = plugin.as_store().map_err(|kind| Failed::other_kind(&options.plugin, kind))?;
        let how = self.how(Attempt { number: 1, upload: None })?;
        let run = plugin.features(&how).await;
        let promises = run.result.map_err(|failure| Failed::call(&failure, &run.denied))?;
        let pinned = Pinned { plugin, promises };
        if pinned.promises(ATOMIC) { Ok(pinned) } else { Err(Failed::not_atomic(&options.plugin)) }
    }

    /// How a call is made now: with the secrets as they are.
    fn how(&self, attempt: Attempt<'_>) -> Result<StoreCall, Failed> {
        let options = self.options();
        let mut secrets = BTreeMap::new();
        for (name, source) in &options.secrets {
            let value = source.read().map_err(|error| Failed::secret(&error))?;
            secrets.insert(name.clone(), SecretText::new(value.expose()));
        }
        let mut context = vec![
            ("store".to_owned(), options.store.clone()),
            ("cluster".to_owned(), options.cluster.clone()),
            ("time".to_owned(), (self.shared.clock)().to_string()),
            ("attempt".to_owned(), attempt.number.to_string()),
        ];
        if let Some(upload) = attempt.upload {
            context.push(("upload".to_owned(), upload.to_owned()));
        }
        Ok(StoreCall {
            config: options.config.clone(),
            context,
            grants: Grants::new(options.allow.clone(), secrets),
            answer: options.request_timeout,
            transfer: options.transfer_timeout,
            stall: options.stall_timeout,
        })
    }

    /// Calls until there is an answer, or an error that no further try mends.
    async fn ask<T, R>(&self, call: impl Fn(StorePlugin, StoreCall) -> R) -> Result<T, Failed>
    where
        R: Future<Output = StoreRun<T>>,
    {
        let pinned = self.shared.pinned.get_or_try_init(|| self.pin()).await?;
        let mut number = 1;
        loop {
            let how = self.how(Attempt { number, upload: None })?;
            let run = call(pinned.plugin.clone(), how).await;
            let failed = match run.result {
                Ok(answer) => return Ok(answer),
                Err(failure) => Failed::call(&failure, &run.denied),
            };
            self.pause(number, failed).await?;
            number += 1;
        }
    }

    /// Waits before another try.
    ///
    /// # Errors
    /// The failure itself when no further try is made.
    async fn pause(&self, number: u32, failed: Failed) -> Result<(), Failed> {
        if !failed.is_transient() || number >= self.options().attempts {
            return Err(failed);
        }
        let asked = failed.retry_after().map(|asked| asked.min(LONGEST_ASKED_PAUSE));
        let pause = pause_before(number).max(asked.unwrap_or_default());
        tracing::debug!(store = self.options().store, %failed, number, ?pause, "a call of a store's plugin is tried again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Facts about an object, as the plugin tells them and as far as they can be true.
    async fn look(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, Failed> {
        let found = self.ask(|plugin, how| async move { plugin.head(&how, path.as_str()).await }).await?;
        found.map(|object| checked(object, path)).transpose()
    }

    async fn remove(&self, path: &ObjectPath) -> Result<(), Failed> {
        let removed = self.ask(|plugin, how| async move { plugin.delete(&how, path.as_str()).await });
        match removed.await {
            Err(failed) if failed.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Says once that two writers may both succeed.
    fn tell_of_looking(&self) {
        if !self.shared.told_of_looking.swap(true, Ordering::Relaxed) {
            let options = self.options();
            tracing::warn!(
                store = options.store,
                plugin = options.plugin,
                "the plugin does not promise `exclusive`: it is looked first whether an object is there, and two agents may both be told no"
            );
        }
    }
}

/// A plugin's call that outlives whoever gave it up, but not for long: so that it can take away what it has begun.
struct Calling<T> {
    task: JoinHandle<Option<T>>,
    _given_up: DropGuard,
}

impl<T: Send + 'static> Calling<T> {
    fn begin(call: impl Future<Output = T> + Send + 'static) -> Self {
        let wanted = CancellationToken::new();
        let given_up = wanted.clone();
        let task = tokio::spawn(async move {
            let too_long = async {
                given_up.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                ended = call => Some(ended),
                () = too_long => None,
            }
        });
        Self { task, _given_up: wanted.drop_guard() }
    }

    /// How it ended.
    async fn ended(&mut self) -> Result<T, Failed> {
        match (&mut self.task).await {
            Ok(Some(ended)) => Ok(ended),
            // Nobody is left to ask then.
            Ok(None) => Err(Failed::short("the call was given up")),
            Err(error) => Err(Failed::short(format!("the call broke off: {error}"))),
        }
    }
}

/// An answer about one object must be about that one.
fn checked(object: StoredObject, path: &ObjectPath) -> Result<ObjectInfo, Failed> {
    if object.path != path.as_str() {
        return Err(Failed::lie(format!("it was asked for `{path}` and tells of `{}`", object.path)));
    }
    Ok(info(object, path.clone()))
}

fn info(object: StoredObject, path: ObjectPath) -> ObjectInfo {
    let locked_until = object.locked_until.and_then(|until| until.parse().ok());
    ObjectInfo {
        path,
        size_bytes: object.size_bytes,
        modified: object.modified.and_then(|at| Timestamp::from_millisecond(at).ok()),
        tag: object.tag,
        locked_until,
    }
}

/// Half of the longest pause for so many tries, and as much again by chance: many who wait do not come back at once.
fn pause_before(tries: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), tries) % 1000;
    longest / 2 + longest.mul_f64(chance as f64 / 2000.0)
}

#[async_trait]
impl Store for PluginStore {
    fn describe(&self) -> String {
        format!("store `{}` of plugin `{}`", self.options().store, self.options().plugin)
    }

    fn features(&self) -> Features {
        let promises = |feature| self.shared.pinned.get().is_some_and(|pinned| pinned.promises(feature));
        Features {
            exclusive: promises(EXCLUSIVE),
            object_lock: promises(OBJECT_LOCK),
            versioning: promises(VERSIONING),
        }
    }

    fn reads_at_once(&self) -> usize {
        READS_AT_ONCE
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let probed = self.ask(|plugin, how| async move { plugin.probe(&how).await });
        probed.await.map_err(|failed| failed.of_place(self, "use"))
    }

    async fn put(&self, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError> {
        upload::put(self, path, body).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        download::get(self, path, range).await
    }

    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        self.look(path).await.map_err(|failed| failed.of(self, path, "read"))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        listing::page(self, prefix, after).await.map_err(|failed| failed.of_place(self, "list"))
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        self.remove(path).await.map_err(|failed| failed.of(self, path, "remove"))
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        if !self.pinned().await?.promises(SWEEP) {
            return Ok(0);
        }
        let age = self.options().stale_after;
        let swept = self.ask(|plugin, how| async move { plugin.sweep(&how, age).await });
        swept.await.map_err(|failed| failed.of_place(self, "sweep"))
    }
}
