//! The plugins that a config names: how their host runs, which of them one command needs, and what they say to the
//! configuration that their steps give them.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_runtime::{Allow, HostOptions, Kind, Plugin, PluginHost, PluginOptions, Registry, StartError};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{LONGEST_UPLOAD, store_options};
use crate::boot::Program;
use crate::config::{
    Chain, Config, Diagnostic, PluginStoreConfig, PluginsConfig, Severity, Span, StepKind, StoreConfig, probe,
};
use crate::notify::Means;
use crate::pipeline::verify::is_drill;
use crate::store::Store as _;
use crate::store::plugin::{NoPlugin, PluginSource, PluginStore};

/// Whether any of the chains, or of the stores that backups go to, needs the plugin host.
fn wants_plugins(config: &Config, chains: &[Chain]) -> bool {
    let mut steps = chains.iter().flat_map(|chain| &chain.steps);
    let mut stores = config.backup.stores.iter().filter_map(|name| config.stores.get(name));
    steps.any(|step| matches!(step.kind, StepKind::Plugin { .. }))
        || stores.any(|store| matches!(store, StoreConfig::Plugin(_)))
}

/// The plugins for one command: loaded once. Chains and stores without plugins do not start the host.
pub async fn plugins_for(config: &Config, chains: &[Chain]) -> Result<Arc<Registry>, StartError> {
    if wants_plugins(config, chains) { load(host_options(&config.plugins)).await } else { Ok(Arc::default()) }
}

/// The plugins for notifications alone: loaded once, if any notifier is one.
pub async fn notifier_plugins(config: &Config) -> Result<Arc<Registry>, StartError> {
    if !tells_through_plugins(config) {
        return Ok(Arc::default());
    }
    load(host_options(&config.plugins)).await
}

fn tells_through_plugins(config: &Config) -> bool {
    config.notifiers.values().any(|notifier| notifier.means.plugin().is_some())
}

async fn load(options: HostOptions) -> Result<Arc<Registry>, StartError> {
    let host = PluginHost::start(options)?;
    host.scan().await;
    Ok(host.registry())
}

/// Plugins that are loaded once, when the first store asks for them.
struct WhenAsked {
    options: HostOptions,
    registry: OnceCell<Arc<Registry>>,
}

#[async_trait]
impl PluginSource for WhenAsked {
    async fn plugin(&self, name: &str) -> Result<Arc<Plugin>, NoPlugin> {
        let registry = self.registry.get_or_try_init(|| load(self.options.clone())).await?;
        Ok(Registry::plugin(registry, name)?)
    }
}

/// The plugins of a config, for stores that may never need them.
pub(super) fn when_asked(config: &Config) -> Arc<dyn PluginSource> {
    Arc::new(WhenAsked { options: host_options(&config.plugins), registry: OnceCell::new() })
}

/// How the plugin host runs.
pub fn host_options(plugins: &PluginsConfig) -> HostOptions {
    let options = plugins.plugins.iter().map(|(name, plugin)| {
        (name.clone(), PluginOptions { sha256: plugin.sha256.clone(), limits: plugin.limits.clone() })
    });
    HostOptions {
        directory: plugins.directory.clone(),
        cache_directory: plugins.cache.clone(),
        trust: plugins.trust.clone(),
        plugins: options.collect(),
        http: plugins.http.clone(),
        state_directory: Some(plugins.state.clone()),
        limits: plugins.limits.clone(),
        ..HostOptions::default()
    }
}

/// For a file that is there and is no plugin.
const NOT_LOADED_HINT: &str = "put a component built for this kind of use in its place; `holdfast plugin list` tells the state of each file";

/// Loads the plugins that steps, stores and notifiers name, lets each judge its configuration, and looks for the etcd that
/// chains boot.
pub async fn check_plugins(config: &Config) -> Vec<Diagnostic> {
    let chains: Vec<Chain> = config.chains.values().cloned().collect();
    let stores_are_plugins = plugin_stores(config).next().is_some();
    let wanted = wants_plugins(config, &chains) || stores_are_plugins || tells_through_plugins(config);
    let loaded = if wanted { load(host_options(&config.plugins)).await } else { Ok(Arc::default()) };
    let registry = match loaded {
        Ok(registry) => registry,
        Err(error) => return vec![not_started(config, &error)],
    };
    let mut found = judge_steps(config, &registry);
    found.extend(judge_program(config, &registry).await);
    for (name, store) in plugin_stores(config) {
        let judged = judge_store(config, name, store, &registry);
        let sound = judged.iter().all(|one| one.severity != Severity::Error);
        found.extend(judged);
        if sound {
            found.extend(ask_store(config, name, store, &registry).await);
        }
    }
    found
}

/// Tries of a call of a store's plugin: somebody sits and waits for the answer.
const ASKED_ATTEMPTS: u32 = 2;

fn plugin_stores(config: &Config) -> impl Iterator<Item = (&String, &PluginStoreConfig)> {
    config.stores.iter().filter_map(|(name, store)| match store {
        StoreConfig::Plugin(plugin) => Some((name, plugin.as_ref())),
        _ => None,
    })
}

/// Lets each plugin that a store names judge that store's configuration.
pub(super) fn judge_stores(config: &Config, registry: &Registry) -> Vec<Diagnostic> {
    plugin_stores(config).flat_map(|(name, store)| judge_store(config, name, store, registry)).collect()
}

fn judge_store(
    config: &Config,
    store: &str,
    given: &PluginStoreConfig,
    registry: &Registry,
) -> Vec<Diagnostic> {
    let table = format!("store.{store}.plugin");
    let place = config.source.place(&format!("{table}.name"));
    let plugin = match loaded(registry, &given.plugin, place.as_ref()) {
        Ok(plugin) => plugin,
        Err(told) => return vec![told],
    };
    if let Err(kind) = plugin.as_store() {
        let message = format!("store `{store}` names plugin `{}`, which is a {kind}", given.plugin);
        let hint = "a store needs a plugin that was built for `holdfast:store`";
        return vec![Diagnostic::error(message).at(place).hint(hint)];
    }
    judge_use(config, &plugin, &table, &given.config, &given.granted.allow, place.as_ref())
}

/// Asks a store whether it can be used, as buckets are asked.
async fn ask_store(
    config: &Config,
    name: &str,
    store: &PluginStoreConfig,
    registry: &Arc<Registry>,
) -> Option<Diagnostic> {
    let store = PluginStoreConfig { attempts: store.attempts.min(ASKED_ATTEMPTS), ..store.clone() };
    let options = store_options(config, name, &store, LONGEST_UPLOAD);
    let asked = PluginStore::new(options, Arc::new(Arc::clone(registry)), Timestamp::now);
    let error = asked.probe().await.err()?;
    let place = |key: &str| config.source.place(&format!("store.{name}.plugin.{key}"));
    let message = format!("store `{name}` cannot be used: {}", probe::with_causes(&error));
    Some(Diagnostic::error(message).at(place("config").or_else(|| place("name"))).maybe_hint(error.hint()))
}

/// What to tell of a plugin host that did not start.
pub(super) fn not_started(config: &Config, error: &StartError) -> Diagnostic {
    let place = config.source.place("plugins.cache").or_else(|| config.source.place("plugins"));
    let message = format!("plugins cannot be run: {}", probe::with_causes(error));
    Diagnostic::error(message).at(place).maybe_hint(error.hint())
}

/// Lets each plugin that a step or a notifier names judge the configuration that it is given there.
pub(super) fn judge_steps(config: &Config, registry: &Registry) -> Vec<Diagnostic> {
    let mut found = judge_notifiers(config, registry);
    for chain in config.chains.values() {
        for (index, step) in chain.steps.iter().enumerate() {
            let StepKind::Plugin { name, config: given, granted } = &step.kind else { continue };
            let place = config.step_place(&chain.name, index);
            let plugin = match loaded(registry, name, place.as_ref()) {
                Ok(plugin) => plugin,
                Err(told) => {
                    found.push(told);
                    continue;
                }
            };
            if let Some(told) = misplaced(&chain.name, &plugin, place.clone()) {
                found.push(told);
                continue;
            }
            if step.fresh && plugin.kind() != Kind::Script {
                let message = format!("`fresh` has no effect: `{name}` is a {}", plugin.kind());
                let hint = "only scripts work with a restored etcd";
                found.push(Diagnostic::warning(message).at(place.clone()).hint(hint));
            }
            let table = format!("chain.{}.steps[{index}]", chain.name);
            found.extend(judge_use(config, &plugin, &table, given, &granted.allow, place.as_ref()));
        }
    }
    found
}

/// The steps whose plugin is there, and of a kind that proves nothing, whatever comes of it later.
pub(super) fn misplaced_steps(config: &Config, registry: &Registry) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for chain in config.chains.values() {
        for (index, step) in chain.steps.iter().enumerate() {
            let StepKind::Plugin { name, .. } = &step.kind else { continue };
            let Ok(plugin) = registry.plugin(name) else { continue };
            found.extend(misplaced(&chain.name, &plugin, config.step_place(&chain.name, index)));
        }
    }
    found
}

/// What to tell of a step's plugin that is neither a verifier nor a script.
fn misplaced(chain: &str, plugin: &Plugin, place: Option<Span>) -> Option<Diagnostic> {
    let (name, kind) = (plugin.name(), plugin.kind());
    let belongs = match kind {
        Kind::Verifier | Kind::Script => return None,
        Kind::Notifier => format!("`plugin = \"{name}\"` in a table [notify.NAME]"),
        Kind::Store => format!("`name = \"{name}\"` in a table [store.NAME.plugin]"),
    };
    let message =
        format!("a step of chain `{chain}` names plugin `{name}`, which is a {kind} and proves nothing");
    let hint = format!("steps take verifiers and scripts: name one here; the {kind} belongs as {belongs}");
    Some(Diagnostic::error(message).at(place).hint(hint))
}

/// Looks for the etcd that chains boot on restored backups, if one does.
pub(super) async fn judge_program(config: &Config, registry: &Registry) -> Option<Diagnostic> {
    let (chain, index) = config.chains.values().find_map(|chain| {
        let index = chain.steps.iter().position(|step| is_drill(&step.kind, registry))?;
        Some((chain.name.as_str(), index))
    })?;
    let error = Program::find(&config.boot.program).await.err()?;
    let message = format!("chain `{chain}` boots an etcd, and {error}");
    // A name that nobody wrote may be found where the agent runs; what was written is wrong.
    let told = match config.source.place("boot.program") {
        Some(place) => Diagnostic::error(message).at(place),
        None => Diagnostic::warning(message).at(config.step_place(chain, index)),
    };
    let hint = error.hint().unwrap_or_default();
    Some(told.hint(format!("{hint}; until then such steps are inconclusive, and never pass")))
}

/// Lets each plugin that a notifier names judge its configuration.
fn judge_notifiers(config: &Config, registry: &Registry) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for notifier in config.notifiers.values() {
        let Means::Plugin { plugin: name, config: given, granted } = &notifier.means else { continue };
        let table = format!("notify.{}", notifier.name);
        let place = config.source.place(&format!("{table}.plugin"));
        match loaded(registry, name, place.as_ref()) {
            Err(told) => found.push(told),
            Ok(plugin) if plugin.kind() != Kind::Notifier => found.push(
                Diagnostic::error(format!("plugin `{name}` is a {}, not a notifier", plugin.kind()))
                    .at(place)
                    .hint("`holdfast plugin list` tells the kind of each"),
            ),
            Ok(plugin) => {
                found.extend(judge_use(config, &plugin, &table, given, &granted.allow, place.as_ref()));
            }
        }
    }
    found
}

/// The plugin that is named at `place`, or what to tell of there being none.
fn loaded(registry: &Registry, name: &str, place: Option<&Span>) -> Result<Arc<Plugin>, Diagnostic> {
    registry.plugin(name).map_err(|error| {
        let hint = error.hint().unwrap_or_else(|| NOT_LOADED_HINT.to_owned());
        Diagnostic::error(error.to_string()).at(place.cloned()).hint(hint)
    })
}

/// What a plugin says to the grants and the config that `table` gives it, in `allow` and `config`; its name stands at `place`.
fn judge_use(
    config: &Config,
    plugin: &Plugin,
    table: &str,
    given: &Value,
    allow: &Allow,
    place: Option<&Span>,
) -> Vec<Diagnostic> {
    let at = config.source.place(&format!("{table}.allow")).or_else(|| place.cloned());
    let mut found: Vec<Diagnostic> = judge_grants(plugin, allow).map(|told| told.at(at.clone())).collect();
    let complaints = plugin.check_config(given).err().unwrap_or_default();
    found.extend(complaints.iter().map(|complaint| {
        let within = place_within(config, &format!("{table}.config"), complaint);
        refused_config(plugin.name(), complaint).at(within.or_else(|| place.cloned()))
    }));
    found
}

/// What a plugin would like and is not granted, and what is granted to no effect.
fn judge_grants(plugin: &Plugin, allow: &Allow) -> impl Iterator<Item = Diagnostic> {
    let (name, wants) = (plugin.name(), plugin.wants());
    let missing = wants.missing(allow).map(|line| {
        Diagnostic::warning(format!("plugin `{name}` would like more than it is granted"))
            .hint(format!("if that is meant, write `{line}` beside its name"))
    });
    let unwanted = wants.unwanted(allow).into_iter().map(|grant| {
        Diagnostic::warning(format!(
            "{grant} is granted to no effect: plugin `{}` does not ask for it",
            plugin.name()
        ))
        .hint(format!("`holdfast plugin check {}` tells what it asks for", plugin.file().display()))
    });
    missing.into_iter().chain(unwanted)
}

fn refused_config(plugin: &str, complaint: &str) -> Diagnostic {
    Diagnostic::error(format!("plugin `{plugin}` refuses its config: {complaint}"))
        .hint(format!("`{plugin}` says what it takes in its schema, which its README explains"))
}

/// Where a plugin's complaint points: it begins with the place in backticks, `prefixes[0].min_count`, or is about the
/// whole `table`.
fn place_within(config: &Config, table: &str, complaint: &str) -> Option<Span> {
    let within = complaint.strip_prefix('`').and_then(|rest| rest.split_once("`: "));
    within
        .and_then(|(place, _)| config.source.place(&format!("{table}.{place}")))
        .or_else(|| config.source.place(table))
}
