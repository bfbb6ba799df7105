//! Notifications of the agent and of commands: into the queues, and out of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use holdfast_runtime::{PluginHost, Registry};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::notify::delivery::{self, Pass, Plugins};
use crate::notify::news::{self, Origin};
use crate::notify::queue::Queue;
use crate::notify::{Event, Notifier};
use crate::session::Clock;

/// News on their way to the queues. More at one time are a flood, and what does not fit is dropped and told in the log.
const NEWS: usize = 256;
/// How long what is queued when the agent stops may still be on its way.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The queue of a notifier.
pub fn queue_of(config: &Config, notifier: &Notifier) -> Queue {
    Queue::of(&config.backup.scratch, &notifier.name)
}

fn queues(config: &Config) -> Vec<(Notifier, Queue)> {
    config.notifiers.values().map(|notifier| (notifier.clone(), queue_of(config, notifier))).collect()
}

/// Queues events for everyone who is to be told of them, on disk. Gives the names of queues that cannot be used, and why.
pub async fn enqueue(config: &Config, events: Vec<Event>, clock: Clock) -> Vec<(String, io::Error)> {
    admit(&queues(config), events, clock).await
}

async fn admit(queues: &[(Notifier, Queue)], events: Vec<Event>, clock: Clock) -> Vec<(String, io::Error)> {
    let queues = queues.to_vec();
    let admitted = tokio::task::spawn_blocking(move || {
        let now = clock();
        let admit = |(notifier, queue): &(Notifier, Queue)| {
            queue.admit(notifier, &events, now).err().map(|error| (notifier.name.clone(), error))
        };
        queues.iter().filter_map(admit).collect()
    });
    admitted.await.unwrap_or_default()
}

/// Delivers what waits for these notifiers and is due, side by side. `plugins` is asked when the first event goes.
pub async fn deliver(
    config: &Config,
    plugins: Arc<Registry>,
    clock: Clock,
    cancel: &CancellationToken,
) -> Vec<(String, io::Result<Pass>)> {
    let plugins: Plugins = Arc::new(move || Arc::clone(&plugins));
    let queues = queues(config);
    let passes = queues.iter().map(|(notifier, queue)| {
        let plugins = &plugins;
        async move {
            let pass = delivery::deliver_due(notifier, queue, plugins, clock, cancel).await;
            (notifier.name.clone(), pass)
        }
    });
    futures::future::join_all(passes).await
}

/// Takes news. Never waits, and fails nobody.
#[derive(Debug, Clone)]
pub struct Teller {
    news: mpsc::Sender<Vec<Event>>,
    cluster: String,
    clock: Clock,
}

impl Teller {
    /// Tells what there is to tell.
    pub fn tell(&self, make: impl FnOnce(&Origin) -> Vec<Event>) {
        // Nobody listens when nobody is to be told.
        if self.news.is_closed() {
            return;
        }
        let events = make(&Origin::here(&self.cluster, (self.clock)()));
        if let Err(mpsc::error::TrySendError::Full(events)) = self.news.try_send(events) {
            tracing::warn!(dropped = events.len(), "too much happens at once to be notified of");
        }
    }
}

/// The agent's own notifications, as long as a configuration is in force.
pub(super) struct Notices {
    teller: Teller,
    /// Ends the intake, once all news are queued.
    stop: CancellationToken,
    intake: JoinSet<()>,
    /// Ends the deliveries, once what is due has gone.
    last: CancellationToken,
    /// Ends them in the middle.
    give_up: CancellationToken,
    deliveries: JoinSet<()>,
}

impl Notices {
    pub(super) fn begin(config: &Config, host: &Arc<PluginHost>, clock: Clock) -> Notices {
        let (news, mut arriving) = mpsc::channel::<Vec<Event>>(NEWS);
        let teller = Teller { news, cluster: config.cluster.name.clone(), clock };
        let [stop, last, give_up] = [(); 3].map(|()| CancellationToken::new());
        let (mut intake, mut deliveries) = (JoinSet::new(), JoinSet::new());
        let queues = queues(config);
        if queues.is_empty() {
            arriving.close();
            return Notices { teller, stop, intake, last, give_up, deliveries };
        }
        let wakes: Vec<Arc<Notify>> = queues.iter().map(|_| Arc::default()).collect();
        for ((notifier, queue), wake) in queues.iter().zip(&wakes) {
            let plugins: Plugins = {
                let host = Arc::clone(host);
                Arc::new(move || host.registry())
            };
            let (notifier, queue) = (notifier.clone(), queue.clone());
            let signals =
                delivery::Signals { wake: Arc::clone(wake), last: last.clone(), give_up: give_up.clone() };
            deliveries.spawn(delivery::follow(notifier, queue, plugins, clock, signals));
        }
        let told_to_stop = stop.clone();
        intake.spawn(async move {
            loop {
                let events = tokio::select! {
                    biased;
                    events = arriving.recv() => events,
                    () = told_to_stop.cancelled() => None,
                };
                let Some(events) = events else { return };
                for (name, error) in admit(&queues, events, clock).await {
                    tracing::error!(notifier = name, %error, "cannot be queued: somebody is not notified");
                }
                for wake in &wakes {
                    wake.notify_one();
                }
            }
        });
        intake.spawn(watch_plugins(Arc::clone(host), teller.clone(), stop.clone()));
        Notices { teller, stop, intake, last, give_up, deliveries }
    }

    pub(super) fn teller(&self) -> &Teller {
        &self.teller
    }

    /// Queues what is still coming, and stops. What is due may still go for a while; the rest waits for the next start.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while self.intake.join_next().await.is_some() {}
        self.last.cancel();
        let gone = async { while self.deliveries.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, gone).await.is_err() {
            tracing::warn!("some notifications are not delivered yet; they wait for the next start");
            self.give_up.cancel();
            while self.deliveries.join_next().await.is_some() {}
        }
    }
}

/// Tells what changes among the plugins.
async fn watch_plugins(host: Arc<PluginHost>, teller: Teller, stop: CancellationToken) {
    let mut changes = host.changes();
    let mut before = changes.borrow_and_update().states().clone();
    // A plugin that is refused at the start is news as well; one that is in use is not.
    let sound = before.iter().filter(|(_, state)| state.rejection.is_none());
    let sound = sound.map(|(name, state)| (name.clone(), state.clone())).collect();
    teller.tell(|origin| news::of_plugins(origin, &sound, &before));
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let now = changes.borrow_and_update().states().clone();
        teller.tell(|origin| news::of_plugins(origin, &before, &now));
        before = now;
    }
}
