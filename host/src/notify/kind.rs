//! What can happen: the kinds of events, and patterns that name some of them.

use std::fmt;

use etcd_snapshot::Severity;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    BackupSucceeded,
    BackupFailed,
    BackupIncomplete,
    BackupSkipped,
    BackupResolved,
    PreflightWarning,
    PreflightResolved,
    VerifyPassed,
    VerifyFailed,
    VerifyInconclusive,
    VerifyResolved,
    DrillPassed,
    DrillFailed,
    DrillInconclusive,
    DrillResolved,
    StoreUnreachable,
    StoreResolved,
    SyncCopied,
    SyncFailed,
    SyncResolved,
    PruneRemoved,
    PruneFailed,
    PruneResolved,
    RestoreSucceeded,
    RestoreFailed,
    AgentStarted,
    AgentStopped,
    AgentReloaded,
    AgentReloadRefused,
    AgentResolved,
    PluginLoaded,
    PluginRemoved,
    PluginRejected,
    PluginStale,
    PluginResolved,
}

/// What is known of a kind.
struct Known {
    kind: Kind,
    name: &'static str,
    severity: Severity,
    doc: &'static str,
}

const fn known(kind: Kind, name: &'static str, severity: Severity, doc: &'static str) -> Known {
    Known { kind, name, severity, doc }
}

use Severity::{Error, Info, Warning};

/// Every kind once, in the order of [`Kind`]. What `holdfast notify kinds` prints, and the documentation repeats.
static KINDS: [Known; 35] = [
    known(Kind::BackupSucceeded, "backup.succeeded", Info, "A backup was made, and its proof passed."),
    known(Kind::BackupFailed, "backup.failed", Error, "No backup was made."),
    known(
        Kind::BackupIncomplete,
        "backup.incomplete",
        Error,
        "A backup was made, but a store that must have it has it not, or not with its proof.",
    ),
    known(
        Kind::BackupSkipped,
        "backup.skipped",
        Warning,
        "A backup was due while the run before was still under way.",
    ),
    known(Kind::BackupResolved, "backup.resolved", Info, "The first backup after one of these."),
    known(
        Kind::PreflightWarning,
        "preflight.warning",
        Warning,
        "Something about the cluster will matter soon: a member, an alarm, room, a certificate.",
    ),
    known(
        Kind::PreflightResolved,
        "preflight.resolved",
        Info,
        "The first run that finds nothing of the kind.",
    ),
    known(Kind::VerifyPassed, "verify.passed", Info, "A backup is proved."),
    known(Kind::VerifyFailed, "verify.failed", Error, "A backup is not what it should be."),
    known(
        Kind::VerifyInconclusive,
        "verify.inconclusive",
        Warning,
        "A backup could not be proved: a step could not run.",
    ),
    known(Kind::VerifyResolved, "verify.resolved", Info, "The first proof that passes after that."),
    known(
        Kind::DrillPassed,
        "drill.passed",
        Info,
        "A backup was restored, and an etcd booted on it: every step of such a chain passed.",
    ),
    known(
        Kind::DrillFailed,
        "drill.failed",
        Error,
        "What came of a restore does not boot, is not what was backed up, or a script said no.",
    ),
    known(
        Kind::DrillInconclusive,
        "drill.inconclusive",
        Warning,
        "A drill was not gone through: no etcd to boot, no time, no backup to be had, or a step could not run.",
    ),
    known(
        Kind::DrillResolved,
        "drill.resolved",
        Info,
        "The first drill of that chain that passes after that.",
    ),
    known(Kind::StoreUnreachable, "store.unreachable", Warning, "A store did not take a backup."),
    known(Kind::StoreResolved, "store.resolved", Info, "It took one again."),
    known(Kind::SyncCopied, "sync.copied", Info, "A store was brought backups that it had missed."),
    known(Kind::SyncFailed, "sync.failed", Warning, "A store could not be brought what it had missed."),
    known(Kind::SyncResolved, "sync.resolved", Info, "It was brought that."),
    known(Kind::PruneRemoved, "prune.removed", Info, "Backups were removed by the retention rules."),
    known(
        Kind::PruneFailed,
        "prune.failed",
        Warning,
        "Backups that the retention rules do not keep could not be removed.",
    ),
    known(Kind::PruneResolved, "prune.resolved", Info, "A store was pruned to the end again."),
    known(Kind::RestoreSucceeded, "restore.succeeded", Info, "A data directory was restored."),
    known(Kind::RestoreFailed, "restore.failed", Error, "A restore did not succeed."),
    known(Kind::AgentStarted, "agent.started", Info, "The agent has started."),
    known(Kind::AgentStopped, "agent.stopped", Info, "The agent was stopped."),
    known(Kind::AgentReloaded, "agent.reloaded", Info, "A changed configuration is in force."),
    known(
        Kind::AgentReloadRefused,
        "agent.reload-refused",
        Error,
        "A changed configuration was refused; the one before stays in force.",
    ),
    known(Kind::AgentResolved, "agent.resolved", Info, "A sound configuration was taken after that."),
    known(Kind::PluginLoaded, "plugin.loaded", Info, "A plugin, or another version of one, is in use."),
    known(Kind::PluginRemoved, "plugin.removed", Warning, "A plugin's file is gone, and the plugin with it."),
    known(
        Kind::PluginRejected,
        "plugin.rejected",
        Error,
        "A plugin's file was refused, and nothing is in its place.",
    ),
    known(
        Kind::PluginStale,
        "plugin.stale",
        Warning,
        "A plugin's file was refused; the version before stays in use.",
    ),
    known(Kind::PluginResolved, "plugin.resolved", Info, "A plugin that was refused is in use."),
];

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(|known| known.kind)
    }

    fn known(self) -> &'static Known {
        // The table has them in their order, which a test holds.
        &KINDS[self as usize]
    }

    /// Its name, e.g. `backup.failed`.
    pub fn name(self) -> &'static str {
        self.known().name
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        self.known().severity
    }

    /// When it happens, in one sentence.
    pub fn doc(self) -> &'static str {
        self.known().doc
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        KINDS.iter().find(|known| known.name == name).map(|known| known.kind)
    }

    /// What comes before the dot: what it is about.
    pub fn area(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// The kind that says that such a problem is over; none for what is over when it has happened.
    pub fn resolved(self) -> Option<Kind> {
        let name = format!("{}.resolved", self.area());
        Kind::named(&name).filter(|_| self.severity() != Info)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Kind::named(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no event `{name}`")))
    }
}

/// Names some kinds: `backup.failed`, `backup.*`, `*.failed`, all of a severity (`error`), or all (`*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads one. None when there is no kind that it names.
    pub fn parse(text: &str) -> Option<Pattern> {
        let pattern = Pattern(text.to_owned());
        Kind::all().any(|kind| pattern.matches(kind)).then_some(pattern)
    }

    fn matches(&self, kind: Kind) -> bool {
        let name = kind.name();
        match (self.0.strip_prefix('*'), self.0.strip_suffix('*')) {
            _ if self.0 == "*" => true,
            _ if self.0 == kind.severity().to_string() => !name.ends_with(".resolved"),
            (Some(end), _) => end.starts_with('.') && name.ends_with(end),
            (_, Some(beginning)) => beginning.ends_with('.') && name.starts_with(beginning),
            (None, None) => name == self.0,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a notifier is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When(pub Vec<Pattern>);

impl When {
    /// Whether it wants to be told of this.
    pub fn includes(&self, kind: Kind) -> bool {
        self.0.iter().any(|pattern| pattern.matches(kind))
    }

    /// The kinds that it is told of.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        Kind::all().filter(|kind| self.includes(*kind))
    }
}

impl fmt::Display for When {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<&str> = self.0.iter().map(|pattern| pattern.0.as_str()).collect();
        formatter.write_str(&patterns.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (index, known) in KINDS.iter().enumerate() {
            assert_eq!(known.kind as usize, index, "{}", known.name);
            assert_eq!(Kind::named(known.name), Some(known.kind));
        }
    }

    #[test]
    fn what_is_wrong_can_be_over() {
        for kind in Kind::all().filter(|kind| kind.severity() != Info && kind.area() != "restore") {
            let resolved = kind.resolved().unwrap_or_else(|| panic!("{kind} is never over"));
            assert!(resolved.name().ends_with(".resolved"), "{kind}");
        }
        assert_eq!(Kind::BackupSucceeded.resolved(), None);
    }

    #[test]
    fn patterns_name_kinds_that_there_are() {
        let named = |text: &str| -> Vec<&str> {
            let pattern = Pattern::parse(text).unwrap_or_else(|| panic!("`{text}` names none"));
            Kind::all().filter(|kind| pattern.matches(*kind)).map(Kind::name).collect()
        };
        assert_eq!(named("backup.failed"), ["backup.failed"]);
        assert_eq!(named("store.*"), ["store.unreachable", "store.resolved"]);
        assert_eq!(named("*.failed").len(), 6);
        assert_eq!(
            named("drill.*"),
            ["drill.passed", "drill.failed", "drill.inconclusive", "drill.resolved"]
        );
        assert_eq!(named("*").len(), KINDS.len());
        assert!(named("error").contains(&"backup.failed") && !named("error").contains(&"prune.failed"));
        assert!(
            !named("info").iter().any(|name| name.ends_with(".resolved")),
            "these belong to what they end"
        );
        for none in ["backup.exploded", "back*", "*ed", "", "backup", "Backup.failed", "**"] {
            assert_eq!(Pattern::parse(none), None, "{none}");
        }
    }

    #[test]
    fn the_documentation_has_every_kind() {
        let documented = include_str!("../../docs/notifications.md");
        for known in &KINDS {
            let line = format!("| `{}` | {} | {} |", known.name, known.severity, known.doc);
            assert!(documented.contains(&line), "missing: {line}");
        }
    }
}
