//! The config in force, and how another takes its place: read, checked with all that it names, and taken whole or refused
//! whole. A run keeps what it began with.

use std::sync::Arc;

use holdfast_runtime::{PluginHost, Registry};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::AgentError;
use super::plugins::{host_options, judge_steps, not_started};
use crate::config::{Config, ConfigErrors, Described, Diagnostic, Severity, Source, probe};
use crate::pipeline::store::with_causes;
use crate::schedule::Schedule;

/// What the agent runs by.
pub(super) struct Live {
    pub(super) config: Config,
    pub(super) schedule: Schedule,
    plugins: Watched,
}

/// What a reload brings.
pub(super) struct Next {
    config: Config,
    schedule: Schedule,
    /// None when the plugins' part of the config is the same: theirs goes on, with what it has loaded.
    plugins: Option<PluginHost>,
}

impl Live {
    /// Begins with a config that was loaded: plugins that are not there yet may come later.
    pub(super) async fn start(config: Config) -> Result<Live, AgentError> {
        let schedule = config.backup.schedule.clone().ok_or(AgentError::NoSchedule)?;
        let host = PluginHost::start(host_options(&config.plugins))?;
        if config.plugins.directory.exists() {
            host.scan().await;
            // What a plugin would like and is not granted; the rest is told when it is used.
            let mut found = judge_steps(&config, &host.registry());
            found.retain(|one| one.severity == Severity::Warning);
            tell(&config.source, &found);
        }
        Ok(Live { config, schedule, plugins: Watched::begin(host) })
    }

    /// The plugins as they are now.
    pub(super) fn plugins(&self) -> Arc<Registry> {
        self.plugins.host.registry()
    }

    /// Reads the config's file again and checks it. What is wrong with it is logged, and gives nothing.
    pub(super) fn read_again(&self) -> impl Future<Output = Option<Next>> + Send + use<> {
        let path = self.config.source.path.clone();
        let (now, host) = (self.config.plugins.clone(), Arc::clone(&self.plugins.host));
        async move {
            let config = match tokio::task::spawn_blocking(move || Config::load(&path)).await.ok()? {
                Ok(config) => config,
                Err(ConfigErrors::Invalid(invalid)) => {
                    tell(&invalid.source, &invalid.diagnostics);
                    return None;
                }
                Err(error) => {
                    tracing::error!(
                        error = with_causes(&error),
                        hint = error.hint(),
                        "the configuration cannot be read"
                    );
                    return None;
                }
            };
            let mut found = config.warnings.clone();
            found.extend(probe::probe_files(&config).await);
            let schedule = config.backup.schedule.clone();
            if schedule.is_none() {
                let error = AgentError::NoSchedule;
                let place = config.source.place("backup");
                found.push(Diagnostic::error(error.to_string()).at(place).maybe_hint(error.hint()));
            }
            let mut plugins = None;
            if config.plugins == now {
                found.extend(judge_steps(&config, &host.registry()));
            } else {
                match PluginHost::start(host_options(&config.plugins)) {
                    Ok(host) => {
                        if config.plugins.directory.exists() {
                            host.scan().await;
                        }
                        found.extend(judge_steps(&config, &host.registry()));
                        plugins = Some(host);
                    }
                    Err(error) => found.push(not_started(&config, &error)),
                }
            }
            tell(&config.source, &found);
            if found.iter().any(|one| one.severity == Severity::Error) {
                return None;
            }
            Some(Next { config, schedule: schedule?, plugins })
        }
    }

    /// Takes what was read, if it was sound. Says whether it did.
    pub(super) async fn take(&mut self, read: Result<Option<Next>, JoinError>) -> bool {
        let Ok(Some(next)) = read else {
            tracing::error!(
                file = %self.config.source.path.display(),
                "the changed configuration is refused; the one before stays in force"
            );
            return false;
        };
        if let Some(host) = next.plugins {
            // What it has loaded lives on in the runs that use it.
            std::mem::replace(&mut self.plugins, Watched::begin(host)).end().await;
        }
        (self.config, self.schedule) = (next.config, next.schedule);
        tracing::info!(cluster = self.config.cluster.name, schedule = %self.schedule, "the configuration is reloaded");
        true
    }

    /// Stops watching for plugins.
    pub(super) async fn end(self) {
        self.plugins.end().await;
    }
}

/// A plugin host that follows its directory.
struct Watched {
    host: Arc<PluginHost>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watched {
    fn begin(host: PluginHost) -> Watched {
        let (host, stop) = (Arc::new(host), CancellationToken::new());
        let (watched, until) = (Arc::clone(&host), stop.clone());
        let task = tokio::spawn(async move { watched.watch(until).await });
        Watched { host, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "watching the plugin directory broke off");
        }
    }
}

/// Logs what is wrong, or might be, each with its line.
fn tell(source: &Source, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let Described { severity, message, line, hint, .. } = source.describe(diagnostic);
        let file = source.path.display();
        match severity {
            Severity::Error => tracing::error!(%file, line, hint, "{message}"),
            Severity::Warning => tracing::warn!(%file, line, hint, "{message}"),
        }
    }
}
