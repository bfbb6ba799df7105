//! The plugins that a config names: how their host runs, which of them one command needs, and what they say to the
//! configuration that their steps give them.

use std::sync::Arc;

use holdfast_runtime::{Allow, HostOptions, Limits, Plugin, PluginHost, PluginOptions, Registry, StartError};

use crate::config::{Chain, Config, Diagnostic, PluginsConfig, Span, StepKind, probe};

/// Whether any of the chains needs the plugin host.
fn wants_plugins(chains: &[Chain]) -> bool {
    chains.iter().flat_map(|chain| &chain.steps).any(|step| matches!(step.kind, StepKind::Plugin { .. }))
}

/// The plugins for one command: loaded once. Chains without plugins do not start the host.
pub async fn plugins_for(config: &Config, chains: &[Chain]) -> Result<Arc<Registry>, StartError> {
    if !wants_plugins(chains) {
        return Ok(Arc::default());
    }
    let host = PluginHost::start(host_options(&config.plugins))?;
    host.scan().await;
    Ok(host.registry())
}

/// How the plugin host runs.
pub fn host_options(plugins: &PluginsConfig) -> HostOptions {
    let options = plugins.plugins.iter().map(|(name, plugin)| {
        // Who grants a call more time means time to compute.
        let cpu = Limits::default().cpu.max(plugin.timeout);
        let limits =
            Limits { memory_bytes: plugin.memory_bytes, timeout: plugin.timeout, cpu, ..Limits::default() };
        (name.clone(), PluginOptions { sha256: plugin.sha256.clone(), limits })
    });
    HostOptions {
        directory: plugins.directory.clone(),
        cache_directory: plugins.cache.clone(),
        trust: plugins.trust.clone(),
        plugins: options.collect(),
        http: plugins.http.clone(),
        state_directory: Some(plugins.state.clone()),
    }
}

/// For a file that is there and is no plugin.
const NOT_LOADED_HINT: &str = "put a component built for `holdfast:verifier` in its place; `holdfast plugin list` tells the state of each file";

/// Loads the plugins that steps name, and lets each judge its configuration.
pub async fn check_plugins(config: &Config) -> Vec<Diagnostic> {
    let chains: Vec<Chain> = config.chains.values().cloned().collect();
    match plugins_for(config, &chains).await {
        Ok(registry) => judge_steps(config, &registry),
        Err(error) => vec![not_started(config, &error)],
    }
}

/// What to tell of a plugin host that did not start.
pub(super) fn not_started(config: &Config, error: &StartError) -> Diagnostic {
    let place = config.source.place("plugins.cache").or_else(|| config.source.place("plugins"));
    let message = format!("plugins cannot be run: {}", probe::with_causes(error));
    Diagnostic::error(message).at(place).maybe_hint(error.hint())
}

/// Lets each plugin that a step names judge that step's configuration.
pub(super) fn judge_steps(config: &Config, registry: &Registry) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for chain in config.chains.values() {
        for (index, step) in chain.steps.iter().enumerate() {
            let StepKind::Plugin { name, config: given, granted } = &step.kind else { continue };
            let place = || config.step_place(&chain.name, index);
            match registry.plugin(name) {
                Err(error) => {
                    let hint = error.hint().unwrap_or_else(|| NOT_LOADED_HINT.to_owned());
                    found.push(Diagnostic::error(error.to_string()).at(place()).maybe_hint(Some(hint)));
                }
                Ok(plugin) => {
                    let allow = format!("chain.{}.steps[{index}].allow", chain.name);
                    let at = config.source.place(&allow).or_else(place);
                    found.extend(judge_grants(&plugin, &granted.allow).map(|told| told.at(at.clone())));
                    let complaints = plugin.check_config(given).err().unwrap_or_default();
                    found.extend(complaints.iter().map(|complaint| {
                        let within = config_place(config, &chain.name, index, complaint);
                        Diagnostic::error(format!("plugin `{name}` refuses its config: {complaint}"))
                            .at(within.or_else(place))
                            .maybe_hint(Some(format!(
                                "`{name}` says what it takes in its schema, which its README explains"
                            )))
                    }));
                }
            }
        }
    }
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

/// Where a plugin's complaint points: it begins with the place in backticks, `prefixes[0].min_count`, or is about the
/// whole config.
fn config_place(config: &Config, chain: &str, index: usize, complaint: &str) -> Option<Span> {
    let step = format!("chain.{chain}.steps[{index}].config");
    let within = complaint.strip_prefix('`').and_then(|rest| rest.split_once("`: "));
    within
        .and_then(|(place, _)| config.source.place(&format!("{step}.{place}")))
        .or_else(|| config.source.place(&step))
}
