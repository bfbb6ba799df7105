//! The config in force, and how another takes its place: read, checked with all that it names, and taken whole or refused
//! whole. A run keeps what it began with.

use std::sync::Arc;

use holdfast_runtime::{HostOptions, PluginHost, Registry};
use jiff::Timestamp;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::AgentError;
use super::notices::{Notices, Teller};
use super::plugins::{host_options, judge_program, judge_steps, judge_stores, misplaced_steps, not_started};
use crate::config::{Config, ConfigErrors, Described, Diagnostic, Invalid, Severity, Source, probe};
use crate::metrics::Metrics;
use crate::notify::Kind;
use crate::pipeline::store::with_causes;
use crate::schedule::Schedule;
use crate::serve::{Listening, Serving};
use crate::session::Clock;

/// What the agent runs by.
pub(super) struct Live {
    pub(super) config: Config,
    /// When backups are made; none on a machine that only proves what others make.
    pub(super) schedule: Option<Schedule>,
    plugins: Watched,
    notices: Notices,
    /// Notices of configurations that were in force before: they send what they had begun.
    former: JoinSet<()>,
    metrics: Arc<Metrics>,
    /// None when metrics are served nowhere.
    serving: Option<Serving>,
    clock: Clock,
}

/// What a reload brings.
pub(super) struct Next {
    config: Config,
    schedule: Option<Schedule>,
    /// None when the plugins' part of the config is the same: theirs goes on, with what it has loaded.
    plugins: Option<PluginHost>,
    /// Taken already, so that an address that cannot be had is known before anything is changed. None when there is no other one.
    listening: Option<Listening>,
}

impl Live {
    /// Begins with a config that was loaded: plugins that are not there yet may come later, and an etcd for drills too. Backups are
    /// made all the same.
    ///
    /// # Errors
    /// When a part does not start, or a step names a plugin that can never prove anything.
    pub(super) async fn start(
        config: Config,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Live, AgentError> {
        let schedule = schedule(&config)?;
        let listening = match config.metrics {
            Some(address) => {
                let listening = Listening::at(address).await;
                Some(listening.map_err(|source| AgentError::Metrics { address, source })?)
            }
            None => None,
        };
        let host = PluginHost::start(counting(&config, &metrics))?;
        let mut found = Vec::new();
        if config.plugins.directory.exists() {
            host.scan().await;
            let diagnostics = misplaced_steps(&config, &host.registry());
            if !diagnostics.is_empty() {
                let source = config.source.clone();
                return Err(AgentError::Config(Box::new(Invalid { source, diagnostics })));
            }
            // What a plugin would like and is not granted; the rest is told when it is used.
            found.extend(judge_steps(&config, &host.registry()));
            found.extend(judge_stores(&config, &host.registry()));
            found.retain(|one| one.severity == Severity::Warning);
        }
        found.extend(judge_program(&config, &host.registry()).await);
        tell(&config.source, &found);
        let plugins = Watched::begin(host);
        metrics.in_force(&config, Arc::clone(&plugins.host));
        let notices = Notices::begin(&config, &plugins.host, clock);
        let serving = listening.map(|listening| listening.serve(Arc::clone(&metrics)));
        Ok(Live { config, schedule, plugins, notices, former: JoinSet::new(), metrics, serving, clock })
    }

    /// When the next backup is due.
    pub(super) fn next_backup(&self, now: Timestamp) -> Option<Timestamp> {
        self.schedule.as_ref()?.next_after(now)
    }

    /// The plugins as they are now.
    pub(super) fn plugins(&self) -> Arc<Registry> {
        self.plugins.host.registry()
    }

    /// Takes news.
    pub(super) fn teller(&self) -> &Teller {
        self.notices.teller()
    }

    /// Reads the config's file again and checks it. What is wrong with it is logged, and gives nothing.
    pub(super) fn read_again(&self) -> impl Future<Output = Option<Next>> + Send + use<> {
        let path = self.config.source.path.clone();
        let (now, host) = (self.config.plugins.clone(), Arc::clone(&self.plugins.host));
        let metrics = Arc::clone(&self.metrics);
        let served = self.serving.as_ref().map(|serving| serving.address);
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
            let schedule = match schedule(&config) {
                Ok(schedule) => schedule,
                Err(error) => {
                    let place = config.source.place("backup");
                    found.push(Diagnostic::error(error.to_string()).at(place).maybe_hint(error.hint()));
                    None
                }
            };
            let mut plugins = None;
            if config.plugins == now {
                found.extend(judge_steps(&config, &host.registry()));
                found.extend(judge_stores(&config, &host.registry()));
                found.extend(judge_program(&config, &host.registry()).await);
            } else {
                match PluginHost::start(counting(&config, &metrics)) {
                    Ok(host) => {
                        if config.plugins.directory.exists() {
                            host.scan().await;
                        }
                        found.extend(judge_steps(&config, &host.registry()));
                        found.extend(judge_stores(&config, &host.registry()));
                        found.extend(judge_program(&config, &host.registry()).await);
                        plugins = Some(host);
                    }
                    Err(error) => found.push(not_started(&config, &error)),
                }
            }
            let mut listening = None;
            if let Some(address) = config.metrics.filter(|address| Some(*address) != served) {
                match Listening::at(address).await {
                    Ok(taken) => listening = Some(taken),
                    Err(source) => {
                        let error = AgentError::Metrics { address, source };
                        let place = config.source.place("metrics.listen");
                        let message = with_causes(&error);
                        found.push(Diagnostic::error(message).at(place).maybe_hint(error.hint()));
                    }
                }
            }
            tell(&config.source, &found);
            if found.iter().any(|one| one.severity == Severity::Error) {
                return None;
            }
            Some(Next { config, schedule, plugins, listening })
        }
    }

    /// Takes what was read, if it was sound. Says whether it did.
    pub(super) async fn take(&mut self, read: Result<Option<Next>, JoinError>) -> bool {
        let Ok(Some(next)) = read else {
            tracing::error!(
                file = %self.config.source.path.display(),
                "the changed configuration is refused; the one before stays in force"
            );
            self.teller().tell(|origin| {
                let summary = "the changed configuration is refused; the one before stays in force";
                let event = origin.event(Kind::AgentReloadRefused, summary);
                let hint = "`holdfast config check` tells what is wrong with it";
                vec![event.attribute("hint", hint).firing("agent/reload")]
            });
            return false;
        };
        if let Some(host) = next.plugins {
            // What it has loaded lives on in the runs that use it.
            std::mem::replace(&mut self.plugins, Watched::begin(host)).end().await;
        }
        // The old ones queue what they were told before, by the configuration that was in force then.
        let notices = Notices::begin(&next.config, &self.plugins.host, self.clock);
        let before = std::mem::replace(&mut self.notices, notices);
        // Beside the schedule: the far end of one of them may hang.
        self.former.spawn(before.end());
        while self.former.try_join_next().is_some() {}
        (self.config, self.schedule) = (next.config, next.schedule);
        self.metrics.in_force(&self.config, Arc::clone(&self.plugins.host));
        let served = self.serving.as_ref().map(|serving| serving.address);
        if served != self.config.metrics {
            let metrics = Arc::clone(&self.metrics);
            let next = next.listening.map(|listening| listening.serve(metrics));
            if let Some(before) = std::mem::replace(&mut self.serving, next) {
                before.end().await;
            }
        }
        tracing::info!(
            cluster = self.config.cluster.name,
            schedule = self.schedule.as_ref().map(ToString::to_string),
            verifications = self.config.verify.len(),
            "the configuration is reloaded"
        );
        self.teller().tell(|origin| {
            let summary = "a changed configuration is in force";
            vec![
                origin.event(Kind::AgentReloaded, summary),
                origin.event(Kind::AgentResolved, summary).resolved("agent/reload"),
            ]
        });
        true
    }

    /// Sends the last notifications, and stops watching for plugins and serving metrics.
    pub(super) async fn end(mut self) {
        self.notices.end().await;
        while self.former.join_next().await.is_some() {}
        if let Some(serving) = self.serving {
            serving.end().await;
        }
        self.plugins.end().await;
    }
}

/// When backups are made.
///
/// # Errors
/// When nothing would ever be done.
fn schedule(config: &Config) -> Result<Option<Schedule>, AgentError> {
    if config.backup.schedule.is_none() && config.verify.is_empty() {
        return Err(AgentError::NoSchedule);
    }
    Ok(config.backup.schedule.clone())
}

/// How the plugin host runs, counting what its plugins do.
fn counting(config: &Config, metrics: &Metrics) -> HostOptions {
    HostOptions { ledger: metrics.ledger.clone(), ..host_options(&config.plugins) }
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
