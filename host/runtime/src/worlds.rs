//! One call interface for each kind of plugin, and what they share.

use wasmtime::component::{Component, Linker};

use crate::bindings::VerifierPre;
use crate::bindings::notifier::NotifierPre;
use crate::bindings::script::ScriptPre;
use crate::bindings::store::StorePre;
use crate::call::{self, CallState, Reach};
use crate::capability;
use crate::engine::Engine;
use crate::error::CallError;
use crate::kind::Kind;
use crate::limits::Limits;
use description::{Description, RawDescription};

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
        let limits = limits.for_description();
        // Each package has types of its own for the same call and the same record.
        macro_rules! ask {
            ($world:expr, $interface:ident) => {{
                let world = $world.clone();
                let described = call::run(engine, label, &limits, Reach::default(), |store| {
                    Box::pin(async move {
                        let instance = world.instantiate_async(&mut *store).await?;
                        instance.$interface().call_describe(store).await
                    })
                });
                let raw = described.await.result?;
                RawDescription {
                    name: raw.name,
                    version: raw.version,
                    summary: raw.summary,
                    config_schema: raw.config_schema,
                    wants: raw.wants,
                    attributes: raw.attributes,
                }
            }};
        }
        let raw = match self {
            World::Verifier(verifier) => ask!(verifier, holdfast_verifier_plugin),
            World::Script(script) => ask!(script, holdfast_script_plugin),
            World::Notifier(notifier) => ask!(notifier, holdfast_notifier_plugin),
            World::Store(store) => ask!(store, holdfast_store_plugin),
        };
        raw.accept()
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
        let with = |add: fn(&mut Linker<CallState>) -> wasmtime::Result<()>| {
            let mut linker = capability::in_common(engine)?;
            add(&mut linker).map(|()| linker)
        };
        Ok(Linkers {
            verifier: with(capability::snapshot::add)?,
            script: with(capability::database::add)?,
            notifier: capability::in_common(engine)?,
            store: with(capability::transfer::add)?,
        })
    }

    /// Joins a component with what a plugin of this kind may import.
    pub(crate) fn link(&self, kind: Kind, component: &Component) -> wasmtime::Result<World> {
        match kind {
            Kind::Verifier => {
                VerifierPre::new(self.verifier.instantiate_pre(component)?).map(World::Verifier)
            }
            Kind::Script => ScriptPre::new(self.script.instantiate_pre(component)?).map(World::Script),
            Kind::Notifier => {
                NotifierPre::new(self.notifier.instantiate_pre(component)?).map(World::Notifier)
            }
            Kind::Store => StorePre::new(self.store.instantiate_pre(component)?).map(World::Store),
        }
    }
}
