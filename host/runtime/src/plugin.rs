//! A loaded plugin, ready to be called.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use etcd_snapshot::SnapshotFile;
use serde_json::Value;

use crate::call::{Outside, Reach};
use crate::capability::snapshot::Subject;
use crate::database::Database;
use crate::engine::Engine;
use crate::facts::Facts;
use crate::grants::{Grants, Wants};
use crate::kind::Kind;
use crate::ledger::CallOutcome;
use crate::limits::Limits;
use crate::schema::{ConfigSchema, Setting};
use crate::trust::Signature;
use crate::worlds::World;
use crate::worlds::description::Description;
use crate::worlds::notifier::{self, Notice, NotifyRun};
use crate::worlds::script;
use crate::worlds::store::StorePlugin;
use crate::worlds::verifier::{self, Input, VerifyRun};

/// One version of a plugin. Whoever holds it keeps that version, whatever happens to its file.
pub struct Plugin {
    pub(crate) engine: Engine,
    pub(crate) world: World,
    pub(crate) description: Description,
    pub(crate) wants: Wants,
    pub(crate) outside: Outside,
    pub(crate) schema: ConfigSchema,
    pub(crate) limits: Limits,
    pub(crate) sha256: String,
    pub(crate) signature: Signature,
    pub(crate) file: PathBuf,
    /// The last file whose key index is known to be there.
    pub(crate) indexed: Mutex<Weak<SnapshotFile>>,
}

impl Plugin {
    /// The name that configs use; also the file's stem.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.world.kind()
    }

    /// The plugin's own version.
    pub fn version(&self) -> &str {
        &self.description.version
    }

    /// SHA-256 of the component, in lower-case hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What was known of its signature when it was loaded.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The file that it was loaded from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The grants that it would like. Nothing is granted by this.
    pub fn wants(&self) -> &Wants {
        &self.wants
    }

    /// Whether it remembers something with each report, and wants it back: `previous-backup` and `previous-memo` in the context.
    pub fn remembers(&self) -> bool {
        self.description.attributes.iter().any(|(name, _)| name == crate::report::MEMO)
    }

    /// The limits of its calls.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The keys that its config may have, as its schema describes them. Empty: it takes none.
    pub fn settings(&self) -> Vec<Setting> {
        self.schema.settings()
    }

    /// Checks a step's config against the schema that the plugin describes.
    ///
    /// # Errors
    /// One sentence for each thing that does not fit, with its place in the config.
    pub fn check_config(&self, config: &Value) -> Result<(), Vec<String>> {
        self.schema.check(config)
    }

    /// A config as a guest is given it: JSON.
    ///
    /// # Errors
    /// One sentence that says what does not fit.
    pub(crate) fn config_text(&self, config: &Value) -> Result<String, String> {
        self.check_config(config)
            .map_err(|complaints| format!("the config does not fit: {}", complaints.join("; ")))?;
        Ok(if config.is_null() { "{}".to_owned() } else { config.to_string() })
    }

    /// Lets the plugin judge a snapshot, under its limits, in an instance of its own. `context` tells about the run
    /// (`cluster`, `backup-id`, `time`, `session`); `config` is the step's config table.
    ///
    /// The future may be dropped at any time, which ends the call. The first call on a file builds its key index, which
    /// is not counted as the plugin's time. Nothing is granted; see [`Plugin::verify_inspected`].
    pub async fn verify(
        &self,
        subject: Arc<SnapshotFile>,
        context: Vec<(String, String)>,
        config: &Value,
    ) -> VerifyRun {
        self.verify_uninspected(subject, context, config, &Grants::default()).await
    }

    /// As [`Plugin::verify`], with what it may reach. What only an inspection finds, the plugin asks for in vain.
    pub async fn verify_uninspected(
        &self,
        subject: Arc<SnapshotFile>,
        context: Vec<(String, String)>,
        config: &Value,
        grants: &Grants,
    ) -> VerifyRun {
        self.verify_file(subject, Facts::default(), context, config, grants).await
    }

    /// As [`Plugin::verify`], with what an inspection found, which the plugin may ask for by name (`hash`, `records`,
    /// `storage-version` and so on), and with what it may reach: of `grants` what the plugin wants, too.
    pub async fn verify_inspected(
        &self,
        subject: Arc<SnapshotFile>,
        facts: &etcd_snapshot::Facts,
        context: Vec<(String, String)>,
        config: &Value,
        grants: &Grants,
    ) -> VerifyRun {
        self.verify_file(subject, Facts::of(facts), context, config, grants).await
    }

    async fn verify_file(
        &self,
        file: Arc<SnapshotFile>,
        facts: Facts,
        context: Vec<(String, String)>,
        config: &Value,
        grants: &Grants,
    ) -> VerifyRun {
        let recording = self.outside.ledger.begin(self.name(), &self.sha256);
        let run = self.judge(file, facts, context, config, grants).await;
        recording.ended(CallOutcome::of_verification(&run.result), &run.stats);
        run
    }

    async fn judge(
        &self,
        file: Arc<SnapshotFile>,
        facts: Facts,
        context: Vec<(String, String)>,
        config: &Value,
        grants: &Grants,
    ) -> VerifyRun {
        let World::Verifier(verifier) = &self.world else {
            return VerifyRun::rejected("kind", self.is_no(Kind::Verifier));
        };
        let config = match self.config_text(config) {
            Ok(config) => config,
            Err(refusal) => return VerifyRun::rejected("config", refusal),
        };
        if let Err(panicked) = self.index(&file).await {
            return VerifyRun::rejected("snapshot", panicked.to_string());
        }
        let input = Input { subject: Subject { file, facts: Arc::new(facts) }, context, config };
        let reach = self.reach(grants);
        verifier::verify(&self.engine, verifier, self.name(), &self.limits, reach, input).await
    }

    /// Lets a notifier deliver an event, under its limits, in an instance of its own, with what it may reach: of `grants`
    /// what the plugin wants, too. `config` is its config table.
    ///
    /// The future may be dropped at any time, which ends the call.
    pub async fn notify(&self, notice: &Notice, config: &Value, grants: &Grants) -> NotifyRun {
        let recording = self.outside.ledger.begin(self.name(), &self.sha256);
        let run = self.deliver(notice, config, grants).await;
        recording.ended(CallOutcome::of_call(&run.result), &run.stats);
        run
    }

    async fn deliver(&self, notice: &Notice, config: &Value, grants: &Grants) -> NotifyRun {
        let World::Notifier(notifier) = &self.world else {
            return NotifyRun::rejected("kind", self.is_no(Kind::Notifier));
        };
        let config = match self.config_text(config) {
            Ok(config) => config,
            Err(refusal) => return NotifyRun::rejected("config", refusal),
        };
        let reach = self.reach(grants);
        notifier::notify(&self.engine, notifier, self.name(), &self.limits, reach, notice, config).await
    }

    /// Says that it is of another kind.
    fn is_no(&self, wanted: Kind) -> String {
        format!("plugin `{}` is a {}, not a {wanted}", self.name(), self.kind())
    }

    /// What a call may reach: of `grants` what the plugin wants, too.
    pub(crate) fn reach(&self, grants: &Grants) -> Reach {
        Reach { grants: grants.wanted(&self.wants), outside: self.outside.clone() }
    }

    /// The plugin as a store.
    ///
    /// # Errors
    /// What it is instead.
    pub fn as_store(self: &Arc<Self>) -> Result<StorePlugin, Kind> {
        match &self.world {
            World::Store(store) => Ok(StorePlugin::new(Arc::clone(self), store.clone())),
            _ => Err(self.kind()),
        }
    }

    /// Lets the plugin, a script, work with a database, under its limits, in an instance of its own. `context` tells about the run and
    /// about what the backup holds; of `grants` it gets what it wants, too.
    ///
    /// The future may be dropped at any time, which ends the call and what it has open in the database.
    pub async fn run_script(
        &self,
        database: Arc<dyn Database>,
        context: Vec<(String, String)>,
        config: &Value,
        grants: &Grants,
    ) -> VerifyRun {
        let recording = self.outside.ledger.begin(self.name(), &self.sha256);
        let run = self.work(database, context, config, grants).await;
        recording.ended(CallOutcome::of_verification(&run.result), &run.stats);
        run
    }

    async fn work(
        &self,
        database: Arc<dyn Database>,
        context: Vec<(String, String)>,
        config: &Value,
        grants: &Grants,
    ) -> VerifyRun {
        let World::Script(script) = &self.world else {
            return VerifyRun::rejected("kind", self.is_no(Kind::Script));
        };
        let config = match self.config_text(config) {
            Ok(config) => config,
            Err(refusal) => return VerifyRun::rejected("config", refusal),
        };
        let input = script::Input { database, context, config };
        let reach = self.reach(grants);
        script::run(&self.engine, script, self.name(), &self.limits, reach, input).await
    }

    /// Builds the file's key index, if it is not there, on a thread that may block. A file that cannot be indexed answers
    /// the guest's questions with the error, so that the plugin decides what it means.
    async fn index(&self, file: &Arc<SnapshotFile>) -> Result<(), tokio::task::JoinError> {
        let indexed = || self.indexed.lock().unwrap_or_else(PoisonError::into_inner);
        // While a `Weak` lives, no other file can have its address.
        if std::ptr::eq(indexed().as_ptr(), Arc::as_ptr(file)) {
            return Ok(());
        }
        let building = Arc::clone(file);
        tokio::task::spawn_blocking(move || drop(building.live())).await?;
        *indexed() = Arc::downgrade(file);
        Ok(())
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Plugin")
            .field("name", &self.name())
            .field("version", &self.version())
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}
