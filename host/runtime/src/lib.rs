//! Runs Holdfast's plugins: WebAssembly components that nobody has to trust.
//!
//! A plugin is a file in a folder. [`PluginHost`] looks at the folder, compiles what is new beside what is live, and hands
//! out a [`Registry`], a fixed set of plugins that a run keeps from its start to its end. [`Plugin::verify`] lets one
//! judge a snapshot: in an instance of its own, with nothing but the snapshot, a log and what [`Grants`] name, under [`Limits`]. However a plugin
//! fails, the answer is a [`CallError`] of a known kind, and the next call starts afresh.
//!
//! This crate is the only one that knows the WebAssembly engine, and shows nothing of it.
//!
//! From the outside in: `host` and `watch` follow the folder, `examine` looks at one file for its author, `load` makes a file a plugin (`hygiene`, `trust`, `shape`, `contract`, `cache`,
//! `schema`), `worlds` calls one kind of plugin each (`call` for limits and ends, `capability` for what a guest reaches, `grants` for what it may),
//! `report` and `text` make safe what comes back, `ledger` counts.
#![warn(missing_docs)]

mod bindings;
mod cache;
mod call;
mod capability;
mod component;
mod contract;
mod database;
mod digest;
mod engine;
mod error;
mod examine;
mod facts;
mod grants;
mod host;
mod hygiene;
mod kind;
mod ledger;
mod limits;
mod load;
mod output;
mod pace;
mod plugin;
mod registry;
mod report;
mod schema;
mod shape;
mod text;
mod trust;
mod watch;
mod worlds;

pub use cache::CacheError;
pub use call::CallStats;
pub use capability::http::{HttpOptions, HttpProxy};
pub use capability::state::is_store_name;
pub use capability::transfer::{Got, Piece};
pub use component::{ComponentError, component};
pub use database::{
    Answer, Committed, Comparison, Database, DatabaseError, Event, EventKind, KeyNumber, KeyRange, KvHash,
    Operation, Operator, Page, PageRequest, Row, TimeToLive, Transaction, Watching,
};
pub use error::{CallError, CallErrorKind};
pub use examine::{Examination, Import, Ready};
pub use grants::{
    AddressRange, Allow, Denial, Grants, HttpPattern, PatternError, RangeError, SecretText, Wants,
};
pub use host::{
    Change, HostOptions, PluginHost, PluginOptions, ScanEvent, ScanReport, StartError, plugin_name,
};
pub use hygiene::Untrusted;
pub use kind::Kind;
pub use ledger::{CallOutcome, CallTotals, FileTotals, Ledger, LedgerView};
pub use limits::Limits;
pub use plugin::Plugin;
pub use registry::{
    Condition, LiveVersion, PluginState, Registry, Rejection, Unavailable, UnavailableReason,
};
pub use report::{Measurement, PluginFinding, Report};
pub use schema::Setting;
pub use trust::{KeyError, Signature, Trust, TrustPolicy, TrustedKey};
pub use worlds::description::Description;
pub use worlds::notifier::{Notice, NotifyReceipt, NotifyRun};
pub use worlds::store::{StoreCall, StoreFailure, StorePlugin, StoreRun, Stored, StoredObject, StoredPage};
pub use worlds::verifier::VerifyRun;
