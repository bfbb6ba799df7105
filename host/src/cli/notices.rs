//! Notifications of commands: what they did is told as what the agent does.
//!
//! A command waits a while for the far ends, and leaves what has not gone by then in the queue, for the agent or the next command.
//! Nothing of it changes what the command says or how it exits.

use std::sync::Arc;
use std::time::Duration;

use holdfast_runtime::Registry;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::agent;
use crate::config::Config;
use crate::notify::Event;
use crate::notify::news::Origin;
use crate::pipeline::store::with_causes;
use crate::units::counted;

/// How long a command waits for its notifications to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// Events of this machine, now; none when nobody is to be told.
pub(super) fn events(
    config: &Config,
    context: &Context,
    make: impl FnOnce(&Origin) -> Vec<Event>,
) -> Vec<Event> {
    if config.notifiers.is_empty() {
        return Vec::new();
    }
    make(&Origin::here(&config.cluster.name, (context.now)()))
}

/// Tells those who want to know. `plugins` are those that the command has loaded, if it has.
pub(super) async fn tell(
    config: &Config,
    events: Vec<Event>,
    plugins: Option<Arc<Registry>>,
    context: &Context,
) {
    if config.notifiers.is_empty() || events.is_empty() {
        return;
    }
    for (name, error) in agent::enqueue(config, events, context.now).await {
        context
            .printer
            .warn(format_args!("notifier `{name}` cannot be told: its queue cannot be used: {error}"));
    }
    if !anything_waits(config) {
        return;
    }
    // Without steps that are plugins the command has loaded none.
    let loaded = plugins.filter(|plugins| plugins.plugins().next().is_some());
    let plugins = match loaded {
        Some(plugins) => plugins,
        None => match agent::notifier_plugins(config).await {
            Ok(plugins) => plugins,
            Err(error) => {
                context.printer.warn(format_args!("nobody is notified yet: {}", with_causes(&error)));
                return;
            }
        },
    };
    let cancel = CancellationToken::new();
    let delivering = agent::deliver(config, plugins, context.now, &cancel);
    let Ok(passes) = tokio::time::timeout(PATIENCE, delivering).await else {
        context
            .printer
            .warn("some notifications are not delivered yet; the agent, or the next command, tries again");
        return;
    };
    for (name, pass) in passes {
        match pass {
            Ok(pass) if pass.busy => context.printer.note(format_args!("notifier {name}: left to the agent")),
            Ok(pass) => {
                if pass.delivered > 0 {
                    let count = counted(pass.delivered as u64, "event");
                    context.printer.note(format_args!("notifier {name}: told of {count}"));
                }
                if pass.waiting > 0 {
                    let count = counted(pass.waiting as u64, "event");
                    context.printer.warn(format_args!(
                        "notifier `{name}`: {count} could not be delivered yet; the agent, or the next command, tries again"
                    ));
                }
            }
            Err(error) => context
                .printer
                .warn(format_args!("notifier `{name}` cannot be told: its queue cannot be used: {error}")),
        }
    }
}

fn anything_waits(config: &Config) -> bool {
    config.notifiers.values().any(|notifier| {
        // One that cannot be read is told of when it is delivered.
        agent::queue_of(config, notifier).waiting().map_or(true, |waiting| !waiting.is_empty())
    })
}
