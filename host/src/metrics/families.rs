//! Every family of metrics: its name, its labels and what it means. The page `docs/metrics.md` has the same list, and a test
//! compares them.

/// What kind of number a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from the start of the agent on.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A family of metrics.
#[derive(Debug)]
pub struct Definition {
    /// Its name; of a counter with `_total`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels. Measurements have more, one for each attribute.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

const PLUGIN: &[&str] = &["plugin", "sha256"];
const STORE: &[&str] = &["store"];

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) static $constant: Definition =
            Definition { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*
        /// All of them, in the order in which they are told.
        pub static FAMILIES: &[&Definition] = &[$(&$constant),*];
    };
}

families! {
    BUILD_INFO: Gauge "holdfast_build_info" &["version", "cluster"],
        "1, with the version of the agent and the cluster that it backs up.";
    BACKUPS: Counter "holdfast_backups_total" &["outcome"],
        "Runs by outcome: passed (a backup whose proof passed), failed and inconclusive (a backup that is not proved), error (no backup), cancelled, skipped (another was under way).";
    RUNNING: Gauge "holdfast_backup_running" &[],
        "1 while a run is under way.";
    LAST_SUCCESS: Gauge "holdfast_backup_last_success_timestamp_seconds" &[],
        "When the newest backup was committed to at least one store. What was there before the agent started counts.";
    LAST_PROVED: Gauge "holdfast_backup_last_proved_timestamp_seconds" &[],
        "When the newest proof that passed ended. What was there before the agent started counts.";
    NEXT_RUN: Gauge "holdfast_schedule_next_run_timestamp_seconds" &[],
        "When the next run is due.";
    DURATION: Gauge "holdfast_backup_duration_seconds" &[],
        "How long the newest backup of this agent took, from preflight to proof.";
    STAGE_DURATION: Gauge "holdfast_backup_stage_duration_seconds" &["stage"],
        "How long each stage of it took. Stages overlap.";
    PLAIN_BYTES: Gauge "holdfast_backup_plain_bytes" &[],
        "The size of its snapshot, as etcd sent it.";
    STORED_BYTES: Gauge "holdfast_backup_stored_bytes" &[],
        "The size of the object that is stored.";
    REVISION: Gauge "holdfast_backup_revision" &[],
        "The newest revision in it.";
    LIVE_KEYS: Gauge "holdfast_backup_live_keys" &[],
        "The live keys in it.";
    STORE_UP: Gauge "holdfast_store_up" STORE,
        "1 if the store could be used when it was last needed, 0 if not.";
    STORE_MISSED: Counter "holdfast_store_missed_backups_total" STORE,
        "Backups that the store did not take.";
    STORE_LAST_SUCCESS: Gauge "holdfast_store_last_success_timestamp_seconds" STORE,
        "When the newest backup in the store was committed.";
    STORE_BACKUPS: Gauge "holdfast_store_backups" STORE,
        "Backups in the store, when it was last looked into.";
    STORE_BYTES: Gauge "holdfast_store_stored_bytes" STORE,
        "Bytes of the data of these backups.";
    REMOVED: Counter "holdfast_retention_removed_backups_total" STORE,
        "Backups that retention removed.";
    FREED: Counter "holdfast_retention_freed_bytes_total" STORE,
        "Bytes that retention freed.";
    PRUNE_ERRORS: Counter "holdfast_retention_errors_total" STORE,
        "Times that retention did not come to its end in the store, or could not read all that is there.";
    CONFIG_RELOADS: Counter "holdfast_config_reloads_total" &["result"],
        "Changed configurations that were taken, or refused.";
    PLUGIN_INFO: Gauge "holdfast_plugin_info" &["plugin", "sha256", "version"],
        "1 for each plugin that is live, with its own version and the digest of its file.";
    PLUGIN_STATE: Gauge "holdfast_plugin_state" &["plugin", "state"],
        "1 for the state that the plugin is in, 0 for the others: live, compiling, stale (its new file is refused, the old version is called), rejected, missing (a step names it, and there is no file).";
    PLUGIN_RELOADS: Counter "holdfast_plugin_reloads_total" &["plugin", "result"],
        "Times that a file of the plugin was loaded, was rejected, or was unloaded because it went.";
    PLUGIN_CALLS: Counter "holdfast_plugin_calls_total" &["plugin", "sha256", "outcome"],
        "Calls by outcome: passed, failed and inconclusive (its verdict), done (it answers with no verdict), error (it said that it could not), trap, timeout, out-of-memory, denied, rejected (its config or its answer was not taken), cancelled.";
    PLUGIN_SECONDS: Counter "holdfast_plugin_call_seconds_total" PLUGIN,
        "Time that its calls took.";
    PLUGIN_CPU: Counter "holdfast_plugin_cpu_seconds_total" PLUGIN,
        "Processor time that its calls took.";
    PLUGIN_MEMORY: Gauge "holdfast_plugin_peak_memory_bytes" PLUGIN,
        "The most memory that a call of it had at one time.";
    PLUGIN_MEMORY_LIMIT: Gauge "holdfast_plugin_memory_limit_bytes" PLUGIN,
        "The most memory that a call of it may have.";
    PLUGIN_ROWS: Counter "holdfast_plugin_read_rows_total" PLUGIN,
        "Rows of snapshots that it read.";
    PLUGIN_BYTES: Counter "holdfast_plugin_read_bytes_total" PLUGIN,
        "Bytes of keys and values that it read.";
    PLUGIN_HOST_CALLS: Counter "holdfast_plugin_host_calls_total" PLUGIN,
        "Calls that it made to the agent.";
    PLUGIN_DENIALS: Counter "holdfast_plugin_denials_total" PLUGIN,
        "Times that it asked for something that is not granted.";
    PLUGIN_HTTP: Counter "holdfast_plugin_http_requests_total" PLUGIN,
        "HTTP requests that it made.";
    PLUGIN_HTTP_SENT: Counter "holdfast_plugin_http_sent_bytes_total" PLUGIN,
        "Bytes of their bodies.";
    PLUGIN_HTTP_RECEIVED: Counter "holdfast_plugin_http_received_bytes_total" PLUGIN,
        "Bytes of the bodies of the answers.";
    PLUGIN_DROPPED: Counter "holdfast_plugin_log_dropped_lines_total" PLUGIN,
        "Lines that it wrote beyond its log limit.";
    MEASUREMENT: Gauge "holdfast_plugin_measurement" &["plugin", "sha256", "chain", "step", "measurement", "unit"],
        "What it measured in the newest backup, by the step's place in its chain (from 1), with a label attribute_NAME for each attribute.";
    MEASUREMENTS_DROPPED: Gauge "holdfast_plugin_measurements_dropped" &["plugin", "sha256", "chain", "step"],
        "Measurements of that step that are not told: too many, or two of the same name.";
}
