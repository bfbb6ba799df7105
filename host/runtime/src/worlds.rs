//! One call interface for each kind of plugin, and what they share.

use wasmtime::component::{Component, Linker};

use crate::bindings::VerifierPre;
use crate::bindings::notifier::NotifierPre;
use crate::bindings::script::ScriptPre;
use crate::bindings::store::StorePre;
use crate::call::CallState;
use crate::engine::Engine;
use crate::error::CallError;
use crate::kind::Kind;
use crate::limits::Limits;
use description::Description;

pub(crate) mod description;
pub(crate) mod notifier;
pub(crate) mod script;
pub(crate) mod store;
pub(crate) mod verifier;

/// A component joined with what its kind may import, ahead of its calls.
#[derive(Clone)]
pub(crate) enum World {
    Verifier(VerifierPre<CallState>),
    Script(ScriptPre<CallState>),
    Notifier(NotifierPre<CallState>),
    Store(StorePre<CallState>),
}

impl World {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            World::Verifier(_) => Kind::Verifier,
            World::Script(_) => Kind::Script,
            World::Notifier(_) => Kind::Notifier,
            World::Store(_) => Kind::Store,
        }
    }

    /// Asks a plugin what it is. `label` names it in logs until it has told its name.
    pub(crate) async fn describe(
        &self,
        engine: &Engine,
        label: &str,
        limits: &Limits,
    ) -> Result<Description, CallError> {
        match self {
            World::Verifier(verifier) => verifier::describe(engine, verifier, label, limits).await,
            World::Script(script) => script::describe(engine, script, label, limits).await,
            World::Notifier(notifier) => notifier::describe(engine, notifier, label, limits).await,
            World::Store(store) => store::describe(engine, store, label, limits).await,
        }
    }
}

/// What each kind may import.
pub(crate) struct Linkers {
    verifier: Linker<CallState>,
    script: Linker<CallState>,
    notifier: Linker<CallState>,
    store: Linker<CallState>,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Linkers> {
        Ok(Linkers {
            verifier: verifier::linker(engine)?,
            script: script::linker(engine)?,
            notifier: notifier::linker(engine)?,
            store: store::linker(engine)?,
        })
    }

    /// Joins a component with what a plugin of this kind may import.
    pub(crate) fn link(&self, kind: Kind, component: &Component) -> wasmtime::Result<World> {
        match kind {
            Kind::Verifier => verifier::link(&self.verifier, component).map(World::Verifier),
            Kind::Script => script::link(&self.script, component).map(World::Script),
            Kind::Notifier => notifier::link(&self.notifier, component).map(World::Notifier),
            Kind::Store => store::link(&self.store, component).map(World::Store),
        }
    }
}
