//! The plugin host: looks at a folder, loads what is new, drops what is gone, and hands out registries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, CacheError};
use crate::call::Outside;
use crate::capability::http::HttpOptions;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::examine::{self, Examination};
use crate::hygiene;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::load::{self, Fingerprint, Loaded, Loader, Reading, Refusal};
use crate::plugin::Plugin;
use crate::registry::{self, Condition, LiveVersion, PluginState, Registry, Rejection};
use crate::text;
use crate::trust::TrustPolicy;
use crate::worlds::description;

/// Files that are read and compiled at the same time. Each may take a plugin file's size and its compiler's memory.
const LOADS_AT_ONCE: usize = 2;
/// Plugin files looked at in one folder.
const FILES: usize = 1000;

/// Where plugins are and how they are treated.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// The folder with the `.wasm` files.
    pub directory: PathBuf,
    /// A private folder for compiled code. Made if missing.
    pub cache_directory: PathBuf,
    /// Which files may become plugins.
    pub trust: TrustPolicy,
    /// Settings by plugin name.
    pub plugins: BTreeMap<String, PluginOptions>,
    /// What calls may use of plugins without settings of their own.
    pub limits: Limits,
    /// How their HTTP requests leave this machine.
    pub http: HttpOptions,
    /// A private folder for what plugins keep between calls. Made when it is needed; without one nothing can be kept.
    pub state_directory: Option<PathBuf>,
    /// Where calls and changes are counted.
    pub ledger: Ledger,
}

impl HostOptions {
    /// The settings of a plugin.
    pub(crate) fn of(&self, name: &str) -> PluginOptions {
        let default = || PluginOptions { limits: self.limits.clone(), ..PluginOptions::default() };
        self.plugins.get(name).cloned().unwrap_or_else(default)
    }
}

/// Settings of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginOptions {
    /// The only SHA-256 that the file may have, in hexadecimal digits.
    pub sha256: Option<String>,
    /// What its calls may use.
    pub limits: Limits,
}

/// Why the host could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This machine cannot run compiled plugins.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The cache folder cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl StartError {
    /// What to do, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            StartError::Engine(_) => None,
            StartError::Cache(CacheError::Untrusted(error)) => error.hint(),
            StartError::Cache(CacheError::Create { .. }) => {
                Some("set `cache` under `[plugins]` to a folder that you may write".into())
            }
        }
    }
}

/// What one look at the folder changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// In the order in which it happened.
    pub events: Vec<ScanEvent>,
    /// Why the folder could not be looked at, if it could not. Nothing was changed then.
    pub problem: Option<Rejection>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanEvent {
    /// The plugin.
    pub plugin: String,
    /// Its file.
    pub file: PathBuf,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A version is live.
    Loaded {
        /// The version.
        version: LiveVersion,
        /// The one that it replaced.
        replaced: Option<LiveVersion>,
        /// Its native code came from the cache.
        cached: bool,
        /// From the bytes to the plugin.
        elapsed: Duration,
    },
    /// The file was refused.
    Rejected {
        /// Why.
        rejection: Rejection,
        /// The version that stays live, if there is one.
        still_live: Option<LiveVersion>,
    },
    /// The file is gone and the plugin with it.
    Unloaded,
}

/// Runs plugins. Shared as an `Arc`.
pub struct PluginHost {
    options: HostOptions,
    loader: Arc<Loader>,
    /// One scan at a time.
    turn: Semaphore,
    entries: Mutex<BTreeMap<String, Entry>>,
    current: watch::Sender<Arc<Registry>>,
}

/// What the host knows of one name.
#[derive(Default)]
struct Entry {
    file: PathBuf,
    /// Of the content that was last looked at.
    fingerprint: Option<Fingerprint>,
    /// Of component and signature.
    digest: Option<Digest>,
    live: Option<Arc<Plugin>>,
    refusal: Option<Refusal>,
    loading: bool,
}

impl Entry {
    fn state(&self) -> PluginState {
        let condition = match (&self.live, &self.refusal) {
            _ if self.loading => Condition::Compiling,
            (Some(_), Some(_)) => Condition::Stale,
            (Some(_), None) => Condition::Live,
            (None, _) => Condition::Rejected,
        };
        PluginState {
            condition,
            file: self.file.clone(),
            live: self.live.as_deref().map(live_version),
            rejection: self.refusal.as_ref().map(rejection),
        }
    }
}

impl PluginHost {
    /// Starts the engine and opens the cache. Loads nothing yet; see [`PluginHost::scan`].
    pub fn start(options: HostOptions) -> Result<PluginHost, StartError> {
        let cache = Cache::open(&options.cache_directory)?;
        let outside = Outside {
            http: Arc::new(options.http.clone()),
            state_folder: options.state_directory.clone(),
            ledger: options.ledger.clone(),
        };
        let loader = Engine::new()
            .and_then(|engine| Loader::new(engine, cache, options.trust.clone(), outside))
            .map_err(|error| StartError::Engine(format!("{error:#}")))?;
        let empty = Registry { directory: options.directory.clone(), ..Registry::default() };
        Ok(PluginHost {
            options,
            loader: Arc::new(loader),
            turn: Semaphore::new(1),
            entries: Mutex::default(),
            current: watch::Sender::new(Arc::new(empty)),
        })
    }

    /// The plugins as they are now. A run takes this once and keeps it.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells each time that [`PluginHost::registry`] gives another value.
    pub fn changes(&self) -> watch::Receiver<Arc<Registry>> {
        self.current.subscribe()
    }

    /// Looks at the folder once: loads what is new or changed, drops what is gone. A file that is refused leaves the
    /// version before it live.
    pub async fn scan(&self) -> ScanReport {
        // Never closed, so this waits and does not fail.
        let Ok(_turn) = self.turn.acquire().await else { return ScanReport::default() };
        let directory = self.options.directory.clone();
        let files = match tokio::task::spawn_blocking(move || list(&directory)).await {
            Ok(Ok(files)) => files,
            Ok(Err(refusal)) => return self.unreadable(&refusal),
            Err(error) => return self.unreadable(&Refusal::new(error.to_string())),
        };
        let mut report = ScanReport::default();
        self.unload_missing(&files, &mut report);
        self.load_changed(files, &mut report).await;
        self.publish(None);
        for event in &report.events {
            self.options.ledger.changed(&event.plugin, &event.change);
        }
        report
    }

    /// Follows the folder until `cancel`: what changes in it is live a moment later. Each change is logged.
    pub async fn watch(&self, cancel: CancellationToken) {
        crate::watch::follow(self, &self.options.directory, cancel).await;
    }

    /// Looks at one file, wherever it lies, and makes it a plugin as a scan would, with the settings of its name.
    pub async fn examine(&self, path: &Path) -> Result<Examination, Rejection> {
        examine::examine(&self.loader, path, &self.options).await.map_err(|refusal| rejection(&refusal))
    }

    fn unreadable(&self, refusal: &Refusal) -> ScanReport {
        let problem = rejection(refusal);
        self.publish(Some(problem.clone()));
        ScanReport { events: Vec::new(), problem: Some(problem) }
    }

    fn unload_missing(&self, files: &BTreeMap<String, Listed>, report: &mut ScanReport) {
        self.entries().retain(|name, entry| {
            let kept = files.contains_key(name);
            if !kept {
                let (plugin, file) = (name.clone(), std::mem::take(&mut entry.file));
                report.events.push(ScanEvent { plugin, file, change: Change::Unloaded });
            }
            kept
        });
    }

    /// Reads and loads, a few files at a time; each is live as soon as it is ready, not when all are.
    async fn load_changed(&self, files: BTreeMap<String, Listed>, report: &mut ScanReport) {
        let permits = Arc::new(Semaphore::new(LOADS_AT_ONCE));
        let (news, mut arriving) = mpsc::channel(LOADS_AT_ONCE);
        // Dropped with this future, which ends the loads that are still under way.
        let mut loads = JoinSet::new();
        for (name, listed) in files {
            let known = self.known(&name, &listed);
            let options = self.options.of(&name);
            let load = Load {
                loader: Arc::clone(&self.loader),
                folder: self.options.directory.clone(),
                name,
                path: listed.path,
                known,
                options,
                news: news.clone(),
            };
            let permits = Arc::clone(&permits);
            loads.spawn(async move {
                let _permit = permits.acquire_owned().await;
                load.run(listed.refusal).await;
            });
        }
        // The loads hold the other senders: the loop ends with the last of them. One that panicked is a bug of ours; its
        // file keeps the state that it had.
        drop(news);
        self.publish(None);
        while let Some(News { name, path, outcome }) = arriving.recv().await {
            if let Some(change) = self.settle(&name, &path, outcome) {
                report.events.push(ScanEvent { plugin: name, file: path, change });
            }
            self.publish(None);
        }
    }

    /// What of a file need not be looked at again.
    fn known(&self, name: &str, listed: &Listed) -> Known {
        let mut entries = self.entries();
        let entry = entries.entry(name.to_owned()).or_default();
        let retry = entry.refusal.as_ref().is_some_and(|refusal| refusal.transient);
        let known = if entry.file == listed.path && !retry {
            Known { fingerprint: entry.fingerprint, digest: entry.digest }
        } else {
            Known::default()
        };
        entry.file.clone_from(&listed.path);
        // Until it is known whether a file is new, only a name that has nothing to show counts as being made ready.
        entry.loading = entry.live.is_none() && entry.refusal.is_none();
        known
    }

    /// Takes the outcome of a load into the entries. None: nothing changed.
    fn settle(&self, name: &str, path: &Path, outcome: Outcome) -> Option<Change> {
        let mut entries = self.entries();
        let entry = entries.entry(name.to_owned()).or_default();
        entry.loading = matches!(outcome, Outcome::Started);
        match outcome {
            Outcome::Started | Outcome::Unchanged => None,
            Outcome::SameContent(fingerprint) => {
                entry.fingerprint = Some(fingerprint);
                None
            }
            Outcome::Loaded { fingerprint, digest, loaded } => {
                entry.fingerprint = Some(fingerprint);
                entry.digest = Some(digest);
                let was_refused = entry.refusal.take().is_some();
                let replaced = entry.live.replace(Arc::clone(&loaded.plugin));
                let same = replaced.as_ref().is_some_and(|old| old.sha256() == loaded.plugin.sha256());
                (was_refused || !same).then(|| Change::Loaded {
                    version: live_version(&loaded.plugin),
                    replaced: replaced.as_deref().map(live_version),
                    cached: loaded.cached,
                    elapsed: loaded.elapsed,
                })
            }
            Outcome::Refused { seen, refusal } => {
                let (fingerprint, digest) = seen.unzip();
                // The same words about other bytes are news; about the same ones they were said before.
                let news = entry.refusal.as_ref() != Some(&refusal) || entry.digest != digest;
                (entry.fingerprint, entry.digest) = (fingerprint, digest);
                let change = Change::Rejected {
                    rejection: rejection(&refusal),
                    still_live: entry.live.as_deref().map(live_version),
                };
                entry.refusal = Some(refusal);
                path.clone_into(&mut entry.file);
                news.then_some(change)
            }
        }
    }

    fn publish(&self, problem: Option<Rejection>) {
        let entries = self.entries();
        let registry = Registry {
            directory: self.options.directory.clone(),
            plugins: entries
                .iter()
                .filter_map(|(name, entry)| Some((name.clone(), Arc::clone(entry.live.as_ref()?))))
                .collect(),
            states: entries.iter().map(|(name, entry)| (name.clone(), entry.state())).collect(),
            problem,
        };
        self.current.send_if_modified(|current| {
            let changed = current.states != registry.states || current.problem != registry.problem;
            *current = Arc::new(registry);
            changed
        });
    }

    /// Every change under this lock is whole at each point where it could panic, so a poisoned one is still usable.
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that could be a plugin.
struct Listed {
    path: PathBuf,
    /// Why it cannot be one by its name alone.
    refusal: Option<Refusal>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    fingerprint: Option<Fingerprint>,
    digest: Option<Digest>,
}

/// What a load tells the scan that started it.
struct News {
    name: String,
    path: PathBuf,
    outcome: Outcome,
}

enum Outcome {
    /// The content is new and is being made ready; another outcome follows.
    Started,
    Unchanged,
    /// Touched or copied over with the same bytes.
    SameContent(Fingerprint),
    Loaded {
        fingerprint: Fingerprint,
        digest: Digest,
        loaded: Loaded,
    },
    /// `seen` is the content that was refused, when it was read.
    Refused {
        seen: Option<(Fingerprint, Digest)>,
        refusal: Refusal,
    },
}

/// One file on its way.
struct Load {
    loader: Arc<Loader>,
    folder: PathBuf,
    name: String,
    path: PathBuf,
    known: Known,
    options: PluginOptions,
    news: mpsc::Sender<News>,
}

impl Load {
    /// `refusal`: the file's name alone rules it out.
    async fn run(self, refusal: Option<Refusal>) {
        let outcome = match refusal {
            Some(refusal) => Outcome::Refused { seen: None, refusal },
            None => self.read_and_load().await,
        };
        self.tell(outcome).await;
    }

    async fn read_and_load(&self) -> Outcome {
        let (folder, path, known) = (self.folder.clone(), self.path.clone(), self.known.fingerprint);
        let reading = tokio::task::spawn_blocking(move || load::read(&folder, &path, known)).await;
        let candidate = match reading {
            Ok(Ok(Reading::Content(candidate))) => *candidate,
            Ok(Ok(Reading::Unchanged)) => return Outcome::Unchanged,
            Ok(Err(refusal)) => return Outcome::Refused { seen: None, refusal },
            Err(error) => return Outcome::Refused { seen: None, refusal: Refusal::new(error.to_string()) },
        };
        let (fingerprint, digest) = (candidate.fingerprint, candidate.content);
        if self.known.digest == Some(digest) {
            return Outcome::SameContent(fingerprint);
        }
        self.tell(Outcome::Started).await;
        let loader = Arc::clone(&self.loader);
        match loader.load(candidate, self.name.clone(), self.path.clone(), self.options.clone()).await {
            Ok(loaded) => Outcome::Loaded { fingerprint, digest, loaded },
            Err(refusal) => Outcome::Refused { seen: Some((fingerprint, digest)), refusal },
        }
    }

    async fn tell(&self, outcome: Outcome) {
        // Without a receiver the scan was given up, and nobody asks.
        let news = News { name: self.name.clone(), path: self.path.clone(), outcome };
        let _ = self.news.send(news).await;
    }
}

/// The plugin files of a folder, by the plugin's name.
fn list(directory: &Path) -> Result<BTreeMap<String, Listed>, Refusal> {
    match hygiene::open_folder(directory) {
        Ok(_) => {}
        Err(error) if error.is_missing() => {
            let mut refusal = Refusal::new(format!("`{}` does not exist", directory.display()));
            refusal.hint =
                Some(format!("run `mkdir -p {}`, or set `directory` under `[plugins]`", directory.display()));
            return Err(refusal);
        }
        Err(error) => return Err(error.into()),
    }
    let unreadable =
        |error: std::io::Error| Refusal::new(format!("`{}` cannot be read: {error}", directory.display()));
    let mut paths = BTreeSet::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            paths.insert(path);
        }
        if paths.len() > FILES {
            return Err(Refusal::new(format!(
                "`{}` has more than {FILES} plugin files",
                directory.display()
            )));
        }
    }
    Ok(by_name(paths))
}

/// The plugin's name that a file's name stands for, if it is one: `required_keys.wasm` holds `required-keys`.
pub fn plugin_name(file: &Path) -> Option<String> {
    name_of(file).ok()
}

/// The name that a file's name gives a plugin.
pub(crate) fn name_of(path: &Path) -> Result<String, Refusal> {
    registry::stem(path).filter(|name| description::is_name(name)).ok_or_else(|| {
        Refusal::new("has no plugin's name: it is lower case, digits and dashes, then `.wasm`")
    })
}

fn by_name(paths: BTreeSet<PathBuf>) -> BTreeMap<String, Listed> {
    let mut files: BTreeMap<String, Listed> = BTreeMap::new();
    for path in paths {
        let Some(name) = registry::stem(&path) else { continue };
        let name = text::one_line(&name, 128);
        let refusal = name_of(&path).err();
        if let Some(first) = files.get_mut(&name) {
            let other = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            first.refusal = Some(Refusal::new(format!("and `{other}` are both named `{name}`: keep one")));
        } else {
            files.insert(name, Listed { path, refusal });
        }
    }
    files
}

fn live_version(plugin: &Plugin) -> LiveVersion {
    LiveVersion { version: plugin.version().to_owned(), sha256: plugin.sha256().to_owned() }
}

pub(crate) fn rejection(refusal: &Refusal) -> Rejection {
    Rejection { reason: refusal.reason.clone(), hint: refusal.hint.clone() }
}
