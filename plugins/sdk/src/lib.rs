//! Write Holdfast plugins in Rust.
//!
//! A verifier answers one question about a snapshot of etcd: is what should be in it there? It is a WebAssembly
//! component that the agent runs in a sandbox over the snapshot file, in place: no etcd is started, and the plugin
//! sees nothing but the snapshot, its own config and a log.
//!
//! ```
//! use holdfast_plugin::{Context, Error, Finding, Query, Report, SnapshotView, Verifier, export_verifier};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! /// What the operator writes as `config = { at_least = 10 }`.
//! #[derive(Deserialize, JsonSchema)]
//! pub struct Config {
//!     /// How many Secrets there must be.
//!     at_least: u64,
//! }
//!
//! pub struct EnoughSecrets;
//!
//! impl Verifier for EnoughSecrets {
//!     const NAME: &'static str = "enough-secrets";
//!     const VERSION: &'static str = "0.1.0";
//!     const SUMMARY: &'static str = "Checks that a snapshot holds enough Secrets";
//!     type Config = Config;
//!
//!     fn verify(snapshot: &SnapshotView<'_>, _context: &Context, config: Config) -> Result<Report, Error> {
//!         let found = snapshot.totals(&Query::prefix("/registry/secrets/"))?.keys;
//!         let report = if found >= config.at_least {
//!             Report::passed(format!("{found} Secrets"))
//!         } else {
//!             let message = format!("{found} Secrets, fewer than {}", config.at_least);
//!             Report::failed(&message).finding(Finding::error("too-few-secrets", message))
//!         };
//!         Ok(report.measure("secrets", found, "keys"))
//!     }
//! }
//!
//! export_verifier!(EnoughSecrets);
//!
//! // The logic runs natively over a snapshot made up in memory, so `cargo test` needs no agent.
//! let snapshot = holdfast_plugin::MemorySnapshot::new().with("/registry/secrets/a/b", "k8s:enc:...");
//! let report = holdfast_plugin::run::<EnoughSecrets>(&snapshot, &Context::default(), r#"{"at_least": 1}"#).unwrap();
//! assert_eq!(report.outcome, holdfast_plugin::Outcome::Passed);
//! ```
//!
//! A notifier tells someone what happened: [`Notifier`], with [`http`], [`secrets`] and [`state`] for what it reaches.
//!
//! The crate is plain Rust on every target. Only the module that speaks to the agent (`guest`) exists on `wasm32`
//! alone, and [`export_verifier!`], [`export_notifier!`] and [`export_store!`] are what reaches for it.
#![warn(missing_docs)]

mod config;
mod context;
mod database;
mod error;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
pub mod http;
pub mod kubernetes;
pub mod log;
mod memory;
mod notifier;
mod report;
pub mod secrets;
mod snapshot;
pub mod state;
pub mod store;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod text;

pub use config::{ConfigError, NoConfig, Problem, parse as parse_config, schema as config_schema};
pub use context::{Context, Previous};
pub use database::memory::MemoryDatabase;
pub use database::{
    Answer, Committed, Comparison, DatabaseError, DatabaseSource, DatabaseView, KeyCursor, KeyNumber,
    KeyQuery, KeyRows, KvHash, LeaseHandle, Operation, Operator, TimeToLive, Transaction, WatchEvent,
    WatchEventKind, WatchHandle, Watching,
};
pub use error::{Error, ReadError};
pub use memory::MemorySnapshot;
pub use notifier::{Event, Notifier, NotifyError, Receipt, Status, cut, deliver};
pub use report::{Finding, Findings, Measurement, Outcome, Report, Severity};
pub use snapshot::{
    BATCH_BYTES, BATCH_ROWS, Batch, BatchColumns, Columns, Cursor, KeyValue, Query, Row, Rows,
    SnapshotSource, SnapshotView, Totals,
};
pub use text::printable;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// One question about a snapshot.
///
/// The agent calls [`Verifier::verify`] once for each run, in a fresh instance: nothing is remembered between calls.
pub trait Verifier {
    /// The plugin's name: lower case, digits and dashes. It must equal the name of the file, so `required-keys` lives
    /// in `required-keys.wasm`.
    const NAME: &'static str;
    /// The plugin's own version; `env!("CARGO_PKG_VERSION")` is a good one.
    const VERSION: &'static str;
    /// One sentence on what it does.
    const SUMMARY: &'static str;
    /// Grants it would like, as the TOML of the `allow` table, one a line. Nothing is granted by this.
    const WANTS: &'static [&'static str] = &[];
    /// Whether its reports remember something ([`Report::remember`]) that it wants back with the next backup
    /// ([`Context::previous`]).
    const REMEMBERS: bool = false;

    /// What the operator may write in the step's `config` table; [`NoConfig`] when there is nothing to say.
    ///
    /// Keys that the type does not know are refused, whether or not it says `deny_unknown_fields`. Its doc comments
    /// become the descriptions in the JSON Schema that the agent checks a config with.
    type Config: DeserializeOwned + JsonSchema;

    /// Looks, and reports. An `Err` means that the verifier could not do its work, which is not the same as a snapshot
    /// that does not hold what it should: that one is [`Report::failed`].
    fn verify(snapshot: &SnapshotView<'_>, context: &Context, config: Self::Config) -> Result<Report, Error>;
}

/// Runs a verifier over a snapshot as the agent would: `config` is the JSON of the step's config table.
///
/// This is the way to test a plugin natively, with a [`MemorySnapshot`] or any other [`SnapshotSource`].
pub fn run<V: Verifier>(
    snapshot: &dyn SnapshotSource,
    context: &Context,
    config: &str,
) -> Result<Report, Error> {
    let config = config::parse::<V::Config>(config)?;
    V::verify(&SnapshotView::new(snapshot), context, config)
}

/// Work with an etcd that was restored from a backup: does what came back live?
///
/// The agent calls [`Script::run`] once for each run, in a fresh instance, with a database that is thrown away afterwards.
///
/// ```
/// use holdfast_plugin::{Context, DatabaseView, Error, KeyQuery, MemoryDatabase, NoConfig, Outcome, Report, Script};
///
/// pub struct Counts;
///
/// impl Script for Counts {
///     const NAME: &'static str = "counts";
///     const VERSION: &'static str = "0.1.0";
///     const SUMMARY: &'static str = "Checks that as many keys came back as the backup holds";
///     type Config = NoConfig;
///
///     fn run(database: &DatabaseView<'_>, context: &Context, _config: NoConfig) -> Result<Report, Error> {
///         let (Some(revision), Some(expected)) = (context.number("revision"), context.number("live-keys")) else {
///             return Ok(Report::inconclusive("nothing is known of the backup"));
///         };
///         let found = database.count(&KeyQuery::all().at(revision))?;
///         let summary = format!("{found} of {expected} keys came back");
///         Ok(if i64::try_from(found) == Ok(expected) { Report::passed(summary) } else { Report::failed(summary) })
///     }
/// }
///
/// holdfast_plugin::export_script!(Counts);
///
/// let database = MemoryDatabase::new().with("/a", "1");
/// let context = Context::new(vec![("revision".into(), "2".into()), ("live-keys".into(), "1".into())]);
/// let report = holdfast_plugin::run_script::<Counts>(&database, &context, "{}").unwrap();
/// assert_eq!(report.outcome, Outcome::Passed);
/// ```
pub trait Script {
    /// The plugin's name: lower case, digits and dashes. It must equal the name of the file.
    const NAME: &'static str;
    /// The plugin's own version; `env!("CARGO_PKG_VERSION")` is a good one.
    const VERSION: &'static str;
    /// One sentence on what it does.
    const SUMMARY: &'static str;
    /// Grants it would like, as the TOML of the `allow` table, one a line. Nothing is granted by this.
    const WANTS: &'static [&'static str] = &[];

    /// What the operator may write in the step's `config` table; [`NoConfig`] when there is nothing to say. See
    /// [`Verifier::Config`].
    type Config: DeserializeOwned + JsonSchema;

    /// Works, and reports. An `Err` means that the script could not do its work, which is not the same as a database that is not
    /// what it should be: that one is [`Report::failed`].
    fn run(database: &DatabaseView<'_>, context: &Context, config: Self::Config) -> Result<Report, Error>;
}

/// Runs a script on a database as the agent would: `config` is the JSON of the step's config table.
///
/// This is the way to test a plugin natively, with a [`MemoryDatabase`] or any other [`DatabaseSource`].
pub fn run_script<S: Script>(
    database: &dyn DatabaseSource,
    context: &Context,
    config: &str,
) -> Result<Report, Error> {
    let config = config::parse::<S::Config>(config)?;
    S::run(&DatabaseView::new(database), context, config)
}

/// Makes a [`Script`] the component's exports. Once in a crate, at its root; on targets other than `wasm32` it is nothing at all.
#[macro_export]
macro_rules! export_script {
    ($script:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::guest::script::Component<$script>;
    $crate::guest::script::bindings::export!(Component with_types_in $crate::guest::script::bindings);
        };
    };
}

/// Makes a [`Verifier`] the component's exports. Once in a crate, at its root; on targets other than `wasm32` it is
/// nothing at all, so that tests run natively.
#[macro_export]
macro_rules! export_verifier {
    ($verifier:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::guest::Component<$verifier>;
    $crate::guest::bindings::export!(Component with_types_in $crate::guest::bindings);
        };
    };
}
