//! The world `holdfast:store/store`: keeps objects, one call of the contract at a time.
//!
//! Each call has an instance of its own, so any number of them may be under way. What comes back is bounded and safe to show, and
//! is a stranger's word all the same: whether it can be true is for the caller to judge.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use wasmtime::Store;
use wasmtime::component::Resource;

use crate::bindings::store::exports::holdfast::store::objects;
use crate::bindings::store::{Store as Guest, StorePre};
use crate::call::{self, CallState, CallStats, Finished, Work};
use crate::capability::transfer::{Body, Got, Piece, Sink, Taken};
use crate::error::{CallError, CallErrorKind};
use crate::grants::{Denial, Grants, Redactor};
use crate::ledger::CallOutcome;
use crate::limits::Limits;
use crate::plugin::Plugin;
use crate::report;
use crate::text;

/// Requests of one call: a page of a listing may need one for each object on it.
const HTTP_REQUESTS: u64 = 100_000;
/// Bytes of the answers to a call that moves no object: listings, for the most part.
const ANSWER_BYTES: u64 = 256 << 20;
/// Features that are kept, and the length of each.
const FEATURES: usize = 64;
const FEATURE_BYTES: usize = 64;
/// The longest path of the contract.
const PATH_BYTES: usize = 512;
/// What a page hands to the next one.
const NEXT_BYTES: usize = 1 << 10;
/// An object's tag.
const TAG_BYTES: usize = 256;

/// How a store is called. The same for all of its calls but for the context.
#[derive(Clone, Debug)]
pub struct StoreCall {
    /// Its `config` table.
    pub config: Value,
    /// What it is told about the call.
    pub context: Vec<(String, String)>,
    /// What it may reach, as far as it wants it.
    pub grants: Grants,
    /// The most that a call may take that moves no object's bytes.
    pub answer: Duration,
    /// The most that one may take that does.
    pub transfer: Duration,
    /// How long that one may stand still.
    pub stall: Duration,
}

/// How one call of a store ended.
#[derive(Clone, Debug)]
pub struct StoreRun<T> {
    /// The answer, or why there is none.
    pub result: Result<T, StoreFailure>,
    /// What the call used.
    pub stats: CallStats,
    /// The end of what the plugin wrote to standard error, safe to show.
    pub stderr: String,
    /// What it asked for and was refused.
    pub denied: Vec<Denial>,
}

/// Why a call of a store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct StoreFailure {
    /// In which way it ended; of [`CallErrorKind::Error`], the code is the store's own.
    pub error: CallError,
    /// Further facts by name: `until`, `retry-after`.
    pub attributes: Vec<(String, String)>,
}

impl StoreFailure {
    /// A fact by its name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a store says of an object. Any path, any size: nothing is known to be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The path, whatever it is: one that is too long is cut, and made visible.
    pub path: String,
    /// The size.
    pub size_bytes: u64,
    /// When it was written: milliseconds since 1970.
    pub modified: Option<i64>,
    /// What tells it from another one of the same path.
    pub tag: Option<String>,
    /// Until when it cannot be removed: RFC 3339, as the store wrote it.
    pub locked_until: Option<String>,
}

/// A page of a store's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPage {
    /// The objects, as the store sorted them.
    pub objects: Vec<StoredObject>,
    /// What the next call is handed.
    pub next: Option<String>,
}

/// What a store says of an object that it took, and what it was seen to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bytes that it says it stored.
    pub claimed_bytes: u64,
    /// The bytes that it was handed.
    pub taken_bytes: u64,
    /// Whether it was told that these were all.
    pub ended: bool,
}

/// A plugin that is a store. Whoever holds it keeps that version.
#[derive(Clone)]
pub struct StorePlugin {
    plugin: Arc<Plugin>,
    world: StorePre<CallState>,
}

impl StorePlugin {
    pub(crate) fn new(plugin: Arc<Plugin>, world: StorePre<CallState>) -> StorePlugin {
        StorePlugin { plugin, world }
    }

    /// The plugin.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// What it promises with this config.
    pub async fn features(&self, how: &StoreCall) -> StoreRun<Vec<String>> {
        let limits = Limits { http_requests: 0, ..self.answering(how) };
        let run = self.call(how, limits, move |guest, store, given| {
            Box::pin(async move { guest.call_features(store, &given.config).await })
        });
        let bounded = |features: Vec<String>, _: &Redactor| {
            Ok(features.iter().take(FEATURES).map(|name| text::one_line(name, FEATURE_BYTES)).collect())
        };
        accept(run.await, bounded)
    }

    /// Whether it is there, and can be written to.
    pub async fn probe(&self, how: &StoreCall) -> StoreRun<()> {
        let run = self.call(how, self.answering(how), move |guest, store, given| {
            Box::pin(async move { guest.call_probe(store, &given.config, &given.context).await })
        });
        accept(run.await, |(), _| Ok(()))
    }

    /// Stores the object that comes out of `body`. `size_bytes` is its size where that is known beforehand. The future may be
    /// dropped at any time, which ends the guest without a word; who wants to let it clean up drops the sender.
    pub async fn put(
        &self,
        how: &StoreCall,
        path: &str,
        body: mpsc::Receiver<Piece>,
        size_bytes: Option<u64>,
    ) -> StoreRun<Stored> {
        let (body, taken) = Body::new(body, size_bytes);
        let path = path.to_owned();
        let run = self.call(how, self.transferring(how), move |guest, store, given| {
            Box::pin(async move {
                let body = lend(store, body)?;
                guest.call_put(store, &given.config, &given.context, &path, body).await
            })
        });
        accept(run.await, |claimed_bytes, _| Ok(stored(claimed_bytes, &taken)))
    }

    /// Hands an object's bytes to `into`: from `start` on, up to `end`.
    pub async fn get(
        &self,
        how: &StoreCall,
        path: &str,
        (start, end): (u64, Option<u64>),
        into: mpsc::Sender<Got>,
    ) -> StoreRun<()> {
        let (sink, path) = (Sink::new(into), path.to_owned());
        let run = self.call(how, self.transferring(how), move |guest, store, given| {
            Box::pin(async move {
                let sink = lend(store, sink)?;
                guest.call_get(store, &given.config, &given.context, &path, start, end, sink).await
            })
        });
        accept(run.await, |(), _| Ok(()))
    }

    /// What it knows of an object.
    pub async fn head(&self, how: &StoreCall, path: &str) -> StoreRun<Option<StoredObject>> {
        let path = path.to_owned();
        let run = self.call(how, self.answering(how), move |guest, store, given| {
            Box::pin(async move { guest.call_head(store, &given.config, &given.context, &path).await })
        });
        accept(run.await, |found, redactor| Ok(found.map(|object| bounded(object, redactor))))
    }

    /// At most `limit` of the objects whose path begins with `prefix`.
    pub async fn list(
        &self,
        how: &StoreCall,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> StoreRun<StoredPage> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let run = self.call(how, self.answering(how), move |guest, store, given| {
            Box::pin(async move {
                let after = after.as_deref();
                guest.call_list(store, &given.config, &given.context, &prefix, after, limit).await
            })
        });
        accept(run.await, |page, redactor| {
            if page.objects.len() > limit as usize {
                let message =
                    format!("handed over a page of {} objects; {limit} were asked for", page.objects.len());
                return Err(rejected("page", message));
            }
            if page.next.as_ref().is_some_and(|next| next.len() > NEXT_BYTES) {
                return Err(rejected("page", format!("handed on more than {NEXT_BYTES} bytes with a page")));
            }
            let objects = page.objects.into_iter().map(|object| bounded(object, redactor)).collect();
            Ok(StoredPage { objects, next: page.next })
        })
    }

    /// Removes an object.
    pub async fn delete(&self, how: &StoreCall, path: &str) -> StoreRun<()> {
        let path = path.to_owned();
        let run = self.call(how, self.answering(how), move |guest, store, given| {
            Box::pin(async move { guest.call_delete(store, &given.config, &given.context, &path).await })
        });
        accept(run.await, |(), _| Ok(()))
    }

    /// Removes what writers left that died so long ago. Answers how many.
    pub async fn sweep(&self, how: &StoreCall, age: Duration) -> StoreRun<u64> {
        let run = self.call(how, self.answering(how), move |guest, store, given| {
            Box::pin(
                async move { guest.call_sweep(store, &given.config, &given.context, age.as_secs()).await },
            )
        });
        accept(run.await, |swept, _| Ok(swept))
    }

    /// Limits of a call that moves no object.
    fn answering(&self, how: &StoreCall) -> Limits {
        let own = self.plugin.limits();
        Limits {
            timeout: how.answer,
            cpu: own.cpu.max(how.answer),
            http_requests: HTTP_REQUESTS,
            http_request_bytes: ANSWER_BYTES,
            http_response_bytes: ANSWER_BYTES,
            http_timeout: how.stall,
            ..own.clone()
        }
    }

    /// Limits of one that does: as many bytes as the object has, as long as they move.
    fn transferring(&self, how: &StoreCall) -> Limits {
        Limits {
            timeout: how.transfer,
            stall: Some(how.stall),
            http_request_bytes: u64::MAX,
            http_response_bytes: u64::MAX,
            ..self.answering(how)
        }
    }

    async fn call<T>(
        &self,
        how: &StoreCall,
        limits: Limits,
        ask: impl for<'a> FnOnce(
            &'a objects::Guest,
            &'a mut Store<CallState>,
            &'a Given,
        ) -> Work<'a, Result<T, objects::Error>>
        + Send
        + 'static,
    ) -> Finished<Result<T, objects::Error>> {
        let plugin = &self.plugin;
        let recording = plugin.outside.ledger.begin(plugin.name(), &plugin.sha256);
        let finished = match plugin.config_text(&how.config) {
            Err(refusal) => Finished::refused(CallError::new(CallErrorKind::Rejected, "config", refusal)),
            Ok(config) => {
                let given = Given { config, context: how.context.clone() };
                let (world, reach) = (self.world.clone(), plugin.reach(&how.grants));
                call::run(&plugin.engine, plugin.name(), &limits, reach, |store| {
                    Box::pin(async move {
                        let guest: Guest = world.instantiate_async(&mut *store).await?;
                        ask(guest.holdfast_store_objects(), store, &given).await
                    })
                })
                .await
            }
        };
        // What a store answers is told by the store's own metrics; here counts whether there was an answer.
        recording.ended(CallOutcome::of_call(&finished.result), &finished.stats);
        finished
    }
}

/// What every function of the contract is given.
struct Given {
    config: String,
    context: Vec<(String, String)>,
}

/// Lends a guest something for the call; the host's own handle stays in the table until the store of the call is dropped.
fn lend<T: Send + 'static>(store: &mut Store<CallState>, thing: T) -> wasmtime::Result<Resource<T>> {
    let own = store.data_mut().table.push(thing)?;
    Ok(Resource::new_borrow(own.rep()))
}

fn stored(claimed_bytes: u64, taken: &Taken) -> Stored {
    Stored { claimed_bytes, taken_bytes: taken.bytes(), ended: taken.ended() }
}

fn rejected(code: &str, message: impl Into<String>) -> CallError {
    CallError::new(CallErrorKind::Rejected, code, message)
}

/// Makes an ended call what the caller may see of it.
fn accept<T, U>(
    finished: Finished<Result<T, objects::Error>>,
    take: impl FnOnce(T, &Redactor) -> Result<U, CallError>,
) -> StoreRun<U> {
    let Finished { result, stats, stderr, denied, redactor } = finished;
    let result = match result {
        Ok(Ok(answer)) => {
            take(answer, &redactor).map_err(|error| StoreFailure { error, attributes: Vec::new() })
        }
        Ok(Err(error)) => Err(told(error, &redactor)),
        Err(error) => Err(StoreFailure { error, attributes: Vec::new() }),
    };
    StoreRun { result, stats, stderr, denied }
}

/// A store's own error, without secrets.
fn told(error: objects::Error, redactor: &Redactor) -> StoreFailure {
    let attributes = error.attributes.into_iter();
    let attributes = attributes.map(|(name, value)| (redactor.text(name), redactor.text(value))).collect();
    StoreFailure {
        error: report::own_error(error.code, error.message, redactor),
        attributes: report::bounded_attributes(attributes),
    }
}

fn bounded(object: objects::Object, redactor: &Redactor) -> StoredObject {
    let shown = |text: String, most: usize| text::one_line(&redactor.text(text), most);
    let locked_until = object.attributes.into_iter().find(|(name, _)| name == "locked-until");
    StoredObject {
        path: shown(object.path, PATH_BYTES),
        size_bytes: object.size_bytes,
        modified: object.modified,
        tag: (!object.tag.is_empty()).then(|| shown(object.tag, TAG_BYTES)),
        locked_until: locked_until.map(|(_, until)| shown(until, TAG_BYTES)),
    }
}
