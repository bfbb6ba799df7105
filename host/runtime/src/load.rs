//! From a file to a plugin that can be called, or to a sentence that says why not.
//!
//! The bytes are read once; digest, pin, parse and compile all see the same ones. Nothing of the file runs before it is
//! known to be whole and to import only what is served, and the first thing that runs is `describe()` under tight limits.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasmtime::component::Component;

use crate::cache::{Cache, Key};
use crate::call::Outside;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::error::CallErrorKind;
use crate::grants::Wants;
use crate::host::PluginOptions;
use crate::hygiene::{self, Untrusted};
use crate::kind::Kind;
use crate::plugin::Plugin;
use crate::schema::ConfigSchema;
use crate::shape;
use crate::text;
use crate::trust::{SIGNATURE_BYTES, SIGNATURE_SUFFIX, Signature, SignatureFile, TrustPolicy};
use crate::worlds::{Linkers, World};

/// The largest plugin file that is read. A Python interpreter with a library takes 20 MB.
const FILE_BYTES: u64 = 128 << 20;
/// How much of an engine's error is shown.
const REASON_BYTES: usize = 1 << 10;

/// Why a file did not become a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// One sentence, the file being its subject.
    pub(crate) reason: String,
    /// What to do, where we know.
    pub(crate) hint: Option<String>,
    /// Whether the same bytes may do better another time.
    pub(crate) transient: bool,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), hint: None, transient: false }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }

    fn transient(mut self) -> Refusal {
        self.transient = true;
        self
    }
}

impl From<Untrusted> for Refusal {
    fn from(error: Untrusted) -> Self {
        let hint = error.hint();
        Refusal { reason: error.to_string(), hint, transient: true }
    }
}

/// Tells whether a component or its signature may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    component: Stamp,
    signature: Option<Stamp>,
}

/// Only the system sets the change time, so an equal stamp means equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Stamp> {
        let metadata = file.metadata()?;
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// A file's content at one moment.
pub(crate) struct Candidate {
    pub(crate) fingerprint: Fingerprint,
    /// Of the component.
    pub(crate) digest: Digest,
    /// Of the component and what lies beside it.
    pub(crate) content: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: SignatureFile,
}

impl Candidate {
    fn new(component: (Stamp, Vec<u8>), signature: (Option<Stamp>, SignatureFile)) -> Candidate {
        let ((component, bytes), (stamp, signature)) = (component, signature);
        let digest = Digest::of(&[&bytes]);
        let beside = match &signature {
            SignatureFile::Missing => "",
            SignatureFile::Unreadable(text) | SignatureFile::Text(text) => text,
        };
        Candidate {
            fingerprint: Fingerprint { component, signature: stamp },
            content: Digest::of(&[&digest.0, beside.as_bytes()]),
            digest,
            bytes,
            signature,
        }
    }
}

/// What reading a file gave.
pub(crate) enum Reading {
    /// The file is the one that was seen before.
    Unchanged,
    /// Its content now.
    Content(Box<Candidate>),
}

/// Reads a plugin file, unless it still has the fingerprint `known`. `path` lies in `folder` or a link in `folder` leads to
/// it; every folder on the way and the file are checked.
pub(crate) fn read(folder: &Path, path: &Path, known: Option<Fingerprint>) -> Result<Reading, Refusal> {
    let file = open(folder, path)?;
    let beside = beside(path);
    let signature_file = match open(folder, &beside) {
        Ok(file) => Ok(Some(file)),
        Err(_) if !beside.exists() => Ok(None),
        Err(refusal) => Err(refusal),
    };
    let stamps = Stamp::of(&file).and_then(|component| {
        let signature = signature_file.as_ref().ok().and_then(Option::as_ref).map(Stamp::of).transpose()?;
        Ok(Fingerprint { component, signature })
    });
    if known.is_some() && known == stamps.ok() {
        return Ok(Reading::Unchanged);
    }
    let candidate = Candidate::new(read_file(&file)?, read_signature(signature_file));
    Ok(Reading::Content(Box::new(candidate)))
}

/// Where a component's signature lies.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SIGNATURE_SUFFIX);
    name.into()
}

/// Opens a plugin file, once it is known that nobody else could have written it.
fn open(folder: &Path, path: &Path) -> Result<File, Refusal> {
    let target = resolve(folder, path)?;
    Ok(hygiene::open_file(&target)?)
}

/// Reads a file that an author points at, whoever may write it: he says himself which bytes he means. The second part is why
/// an agent would not take it from where it lies.
pub(crate) fn read_given(path: &Path) -> Result<(Candidate, Option<Refusal>), Refusal> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let untrusted = open(folder, path).err();
    let component = read_file(&open_given(path)?)?;
    let signature = match beside(path) {
        beside if beside.exists() => open_given(&beside).map(Some),
        _ => Ok(None),
    };
    Ok((Candidate::new(component, read_signature(signature)), untrusted))
}

fn open_given(path: &Path) -> Result<File, Refusal> {
    // A named pipe would be waited for.
    if !path.metadata().map_err(|error| unreadable(&error))?.is_file() {
        return Err(Refusal::new("is not a regular file"));
    }
    File::open(path).map_err(|error| unreadable(&error))
}

fn read_file(file: &File) -> Result<(Stamp, Vec<u8>), Refusal> {
    let stamp = Stamp::of(file).map_err(|error| unreadable(&error))?;
    if stamp.size_bytes > FILE_BYTES {
        return Err(Refusal::new(format!("has {} bytes; at most {FILE_BYTES} are read", stamp.size_bytes)));
    }
    let mut bytes = Vec::with_capacity(stamp.size_bytes as usize);
    file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if Stamp::of(file).map_err(|error| unreadable(&error))? != stamp {
        return Err(Refusal::new("is being written").transient());
    }
    Ok((stamp, bytes))
}

/// A signature that cannot be read is none; whether one is wanted is asked later.
fn read_signature(file: Result<Option<File>, Refusal>) -> (Option<Stamp>, SignatureFile) {
    let file = match file {
        Ok(Some(file)) => file,
        Ok(None) => return (None, SignatureFile::Missing),
        Err(refusal) => {
            return (None, SignatureFile::Unreadable(format!("cannot be taken: {}", refusal.reason)));
        }
    };
    let mut text = String::new();
    let read = Stamp::of(&file).and_then(|stamp| {
        (&file).take(SIGNATURE_BYTES).read_to_string(&mut text)?;
        Ok(stamp)
    });
    match read {
        Ok(stamp) => (Some(stamp), SignatureFile::Text(text)),
        Err(error) => (None, SignatureFile::Unreadable(format!("cannot be read: {error}"))),
    }
}

fn unreadable(error: &std::io::Error) -> Refusal {
    Refusal::new(format!("cannot be read: {error}")).transient()
}

/// Where `path` leads. A link may lead to another place in the same folder, as a `ConfigMap`'s `x.wasm -> ..data/x.wasm` does.
fn resolve(folder: &Path, path: &Path) -> Result<PathBuf, Refusal> {
    let canonical = |path: &Path| path.canonicalize().map_err(|error| unreadable(&error));
    let folder = canonical(folder)?;
    let target = canonical(path)?;
    let Ok(inside) = target.strip_prefix(&folder) else {
        return Err(Untrusted::Outside { path: path.to_owned(), target }.into());
    };
    let mut parent = folder;
    hygiene::open_folder(&parent)?;
    for part in inside.parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        hygiene::open_folder(&parent)?;
    }
    Ok(target)
}

/// What loading needs, shared by all loads.
pub(crate) struct Loader {
    engine: Engine,
    linkers: Linkers,
    cache: Cache,
    trust: TrustPolicy,
    outside: Outside,
}

/// A plugin and how it came to be.
pub(crate) struct Loaded {
    pub(crate) plugin: Arc<Plugin>,
    /// Native code came from the cache.
    pub(crate) cached: bool,
    pub(crate) elapsed: Duration,
}

impl Loader {
    pub(crate) fn new(
        engine: Engine,
        cache: Cache,
        trust: TrustPolicy,
        outside: Outside,
    ) -> wasmtime::Result<Loader> {
        let linkers = Linkers::new(&engine)?;
        Ok(Loader { engine, linkers, cache, trust, outside })
    }

    /// What is known of a file's signature.
    pub(crate) fn signature(&self, candidate: &Candidate) -> Signature {
        self.trust.judge(&candidate.bytes, &candidate.signature)
    }

    /// Makes `candidate` a plugin, `name` being its file's stem.
    pub(crate) async fn load(
        self: Arc<Self>,
        candidate: Candidate,
        name: String,
        file: PathBuf,
        options: PluginOptions,
    ) -> Result<Loaded, Refusal> {
        let started = Instant::now();
        let pin = options.sha256.as_deref();
        check_pin(&name, candidate.digest, pin)?;
        let digest = candidate.digest;
        let signature = self.signature(&candidate);
        self.trust.admit(&name, digest, pin, &signature)?;
        let loader = Arc::clone(&self);
        // Compiling takes from 0.1 s (Rust) to half a minute (Python): never on a thread that others wait for.
        let linked = tokio::task::spawn_blocking(move || loader.link(&candidate)).await;
        let (world, cached) = match linked {
            Ok(linked) => linked?,
            Err(error) => return Err(Refusal::new(format!("could not be compiled: {error}"))),
        };
        let description = world
            .describe(&self.engine, &name, &options.limits)
            .await
            .map_err(|error| cannot_describe(&error))?;
        if description.name != name {
            return Err(Refusal::new(format!(
                "calls itself `{}`, but its file's name says `{name}`",
                description.name
            ))
            .hint(format!("rename the file to `{}.wasm`", description.name)));
        }
        let wants = Wants::parse(&description.wants)
            .map_err(|reason| Refusal::new(text::one_line(&reason, REASON_BYTES)))?;
        let schema_text = description.config_schema.clone();
        let schema = tokio::task::spawn_blocking(move || ConfigSchema::parse(&schema_text)).await;
        let schema =
            schema.map_err(|error| error.to_string()).and_then(|schema| schema).map_err(|error| {
                Refusal::new(format!(
                    "describes a config schema that is not usable: {}",
                    text::one_line(&error, REASON_BYTES)
                ))
            })?;
        let plugin = Plugin {
            engine: self.engine.clone(),
            world,
            description,
            wants,
            outside: self.outside.clone(),
            schema,
            limits: options.limits,
            sha256: digest.to_string(),
            signature,
            file,
            indexed: Mutex::default(),
        };
        Ok(Loaded { plugin: Arc::new(plugin), cached, elapsed: started.elapsed() })
    }

    /// Compiles, or takes from the cache, and joins with the imports. True: it came from the cache.
    fn link(&self, candidate: &Candidate) -> Result<(World, bool), Refusal> {
        let kind = shape::check_names(&candidate.bytes).map_err(Refusal::new)?;
        let key = Key { component: candidate.digest, compatibility: self.engine.compatibility() };
        if let Some(component) = self.cached(key) {
            return Ok((self.join(kind, &component)?, true));
        }
        shape::check_content(&candidate.bytes).map_err(Refusal::new)?;
        let component = Component::from_binary(self.engine.wasmtime(), &candidate.bytes)
            .map_err(|error| Refusal::new(format!("could not be compiled: {}", reason(&error))))?;
        let world = self.join(kind, &component)?;
        let stored = component
            .serialize()
            .map_err(|error| reason(&error))
            .and_then(|code| self.cache.store(key, &code).map_err(|error| error.to_string()));
        if let Err(reason) = stored {
            // The plugin works all the same; only the next start is slower.
            tracing::warn!(reason, "a compiled plugin could not be cached");
        }
        Ok((world, false))
    }

    fn join(&self, kind: Kind, component: &Component) -> Result<World, Refusal> {
        self.linkers.link(kind, component).map_err(|error| {
            Refusal::new(format!("does not fit this agent's plugin interfaces: {}", reason(&error)))
        })
    }

    fn cached(&self, key: Key) -> Option<Component> {
        let code = self.cache.load(key)?;
        // SAFETY: `deserialize` wants bytes that `Component::serialize` made and nobody changed. The cache is a folder that
        // only we may write, it holds only what `link` above stored, and the entry's digest was just found right.
        #[expect(unsafe_code, reason = "the one way to load compiled code")]
        let component = unsafe { Component::deserialize(self.engine.wasmtime(), code) };
        component
            .inspect_err(|error| {
                tracing::warn!(reason = reason(error), "a cached plugin is not usable and is compiled again");
                self.cache.remove(key);
            })
            .ok()
    }
}

fn reason(error: &wasmtime::Error) -> String {
    text::one_line(&format!("{error:#}"), REASON_BYTES)
}

fn check_pin(name: &str, digest: Digest, pin: Option<&str>) -> Result<(), Refusal> {
    let Some(pin) = pin else { return Ok(()) };
    let digest = digest.to_string();
    if pin.trim().eq_ignore_ascii_case(&digest) {
        return Ok(());
    }
    Err(Refusal::new(format!("has the sha256 `{digest}`, but the config pins `{pin}`")).hint(format!(
        "if this file is the one you want, set `sha256 = \"{digest}\"` under `[plugin.{name}]`"
    )))
}

fn cannot_describe(error: &crate::error::CallError) -> Refusal {
    let refusal = match (error.kind, error.code.as_str()) {
        (CallErrorKind::Rejected, "description") => return Refusal::new(error.message.clone()),
        _ => Refusal::new(format!("did not describe itself: {} ({})", error.message, error.kind)),
    };
    match error.kind {
        // On a machine that is busy for a while it may come in time at the next look.
        CallErrorKind::Timeout => refusal.transient(),
        _ => match error.hint() {
            Some(hint) => refusal.hint(hint),
            None => refusal,
        },
    }
}
