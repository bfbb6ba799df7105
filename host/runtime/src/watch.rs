//! Follows the plugin folder: events where the system sends them, a slow look where it does not.
//!
//! An event only says "look"; what changed is found out by [`PluginHost::scan`]. So it does not matter whether a file was
//! renamed into place, copied slowly or swapped with its whole folder, nor which event was lost. Events come in bursts
//! and a look waits for their end, but not for ever.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::host::{Change, PluginHost, ScanEvent, ScanReport};

/// A burst of events has ended when none came for so long.
const QUIET: Duration = Duration::from_millis(200);
/// A look is taken after so long even when events keep coming.
const BURST: Duration = Duration::from_secs(2);
/// The slow look: network file systems and some mounts send no events.
const RESCAN: Duration = Duration::from_mins(1);

/// Scans at once, then after each burst of events, and every minute, until `cancel`.
pub(crate) async fn follow(host: &PluginHost, directory: &Path, cancel: CancellationToken) {
    let wake = Arc::new(Notify::new());
    let mut watched = Watched::default();
    let mut last_problem = None;
    loop {
        watched.renew(directory, &wake);
        let report = host.scan().await;
        announce(&report, &mut last_problem);
        let rescan = Instant::now() + RESCAN;
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep_until(rescan) => {}
            () = burst(&wake) => {}
        }
    }
}

/// Waits for an event and then for the end of its burst.
async fn burst(wake: &Notify) {
    wake.notified().await;
    let latest = Instant::now() + BURST;
    loop {
        let quiet = (Instant::now() + QUIET).min(latest);
        if timeout_at(quiet, wake.notified()).await.is_err() {
            return;
        }
        if Instant::now() >= latest {
            return;
        }
        // Thousands of events a second are one event.
        sleep(Duration::from_millis(5)).await;
    }
}

/// What is being watched: the folder, or the nearest one above it while it does not exist.
#[derive(Default)]
struct Watched {
    watcher: Option<RecommendedWatcher>,
    /// Path, device and inode: a folder of the same name may be another one.
    folder: Option<(PathBuf, u64, u64)>,
    warned: bool,
}

impl Watched {
    /// Watches the folder that is there now, if it is not watched yet.
    fn renew(&mut self, directory: &Path, wake: &Arc<Notify>) {
        let Some(folder) = nearest(directory) else { return };
        if self.watcher.is_some() && self.folder.as_ref() == Some(&folder) {
            return;
        }
        let watching = watcher(directory.to_owned(), Arc::clone(wake)).and_then(|mut watcher| {
            watcher.watch(&folder.0, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.folder = Some(folder);
                self.warned = false;
            }
            Err(error) => {
                self.watcher = None;
                if !std::mem::replace(&mut self.warned, true) {
                    let every = RESCAN.as_secs();
                    tracing::warn!(folder = %folder.0.display(), %error, "the plugin folder cannot be watched; it is looked at every {every} s");
                }
            }
        }
    }
}

fn nearest(directory: &Path) -> Option<(PathBuf, u64, u64)> {
    directory.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let metadata = path.metadata().ok().filter(std::fs::Metadata::is_dir)?;
        Some((path.to_owned(), metadata.dev(), metadata.ino()))
    })
}

fn watcher(directory: PathBuf, wake: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        // A watcher that reports an error (a full queue, say) has lost events: look.
        if event.is_ok_and(|event| !matters(&event, &directory)) {
            return;
        }
        wake.notify_one();
    })
}

/// Our own reading is an event too, and must not lead to the next look.
fn matters(event: &Event, directory: &Path) -> bool {
    let changes = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    changes && (event.paths.is_empty() || event.paths.iter().any(|path| concerns(path, directory)))
}

/// A plugin file, the link that a `ConfigMap` swaps, or a folder on the way to ours.
fn concerns(path: &Path, directory: &Path) -> bool {
    if path.parent() != Some(directory) {
        return directory.starts_with(path) || path.starts_with(directory);
    }
    let Some(name) = path.file_name() else { return true };
    name == OsStr::new("..data") || !is_scratch(name)
}

/// Files that are being written under another name, and those that never become plugins.
fn is_scratch(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".part") || name.ends_with('~')
}

fn announce(report: &ScanReport, last_problem: &mut Option<String>) {
    for event in &report.events {
        announce_event(event);
    }
    let problem = report.problem.as_ref().map(|problem| problem.reason.clone());
    if let Some(problem) = report.problem.as_ref().filter(|_| problem != *last_problem) {
        tracing::warn!(reason = problem.reason, hint = problem.hint, "plugins are not looked at");
    }
    *last_problem = problem;
}

fn announce_event(event: &ScanEvent) {
    let plugin = event.plugin.as_str();
    let file = event.file.display();
    match &event.change {
        Change::Loaded { version, replaced, cached, elapsed } => tracing::info!(
            plugin,
            %file,
            version = version.version,
            sha256 = version.sha256,
            replaced = replaced.as_ref().map(|old| old.sha256.as_str()),
            cached,
            milliseconds = elapsed.as_millis() as u64,
            "plugin loaded"
        ),
        Change::Rejected { rejection, still_live } => tracing::error!(
            plugin,
            %file,
            reason = rejection.reason,
            hint = rejection.hint,
            still_live = still_live.as_ref().map(|live| live.sha256.as_str()),
            "plugin refused"
        ),
        Change::Unloaded => tracing::warn!(plugin, %file, "plugin unloaded: its file is gone"),
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn own_reads_and_scratch_files_wake_nobody() {
        let directory = Path::new("/p");
        let event = |kind, path: &str| Event {
            kind,
            paths: vec![path.into()],
            attrs: notify::event::EventAttributes::default(),
        };
        let create = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Read));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(matters(&event(create, "/p/a.wasm"), directory));
        assert!(matters(&event(renamed, "/p/..data"), directory));
        assert!(matters(&event(written, "/p/a.wasm"), directory));
        assert!(!matters(&event(opened, "/p/a.wasm"), directory));
        assert!(!matters(&event(create, "/p/.a.wasm.x8Yq"), directory));
        assert!(!matters(&event(create, "/p/a.wasm.part"), directory));
        let above = Path::new("/etc/holdfast/plugins");
        assert!(matters(&event(EventKind::Create(CreateKind::Folder), "/etc/holdfast"), above));
        assert!(!matters(&event(create, "/etc/passwd"), above));
    }
}
