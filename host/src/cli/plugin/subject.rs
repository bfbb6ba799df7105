//! The snapshot that an author lets a plugin judge, opened as a run of the agent would open it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use etcd_snapshot::{Facts, Outcome, SnapshotFile};
use holdfast_runtime::{Grants, Plugin, VerifyRun};

use super::super::{Context, open, verify};
use crate::config::Config;
use crate::pipeline::inspect::inspect;
use crate::session::Session;
use crate::source::{self, LocalFile, Place};

/// Which snapshot.
#[derive(Debug, clap::Args)]
pub struct SubjectArgs {
    /// The snapshot file: one that etcd sent, or one taken out of a store
    #[arg(long, short, value_name = "FILE")]
    pub snapshot: PathBuf,
    /// A file with the age identity (secret key) that decrypts it, besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// A snapshot, and what a plugin is told beside it.
pub(super) struct Subject {
    pub(super) file: Arc<SnapshotFile>,
    facts: Facts,
    context: Vec<(String, String)>,
    /// Removed with this value, when it was unpacked for it.
    _local: LocalFile,
}

impl Subject {
    /// Opens and inspects the file. One that is damaged is told about, and looked at all the same.
    pub(super) async fn open(args: &SubjectArgs, config: Option<&Config>, context: &Context) -> Result<Self> {
        let session = Session::begin(context.now);
        let identities = context.identities(config, &args.identity)?;
        let name = session.id.to_string();
        let scratch = verify::scratch(config);
        let local = source::open_file(&args.snapshot, &identities, Place::passing(&scratch, &name)).await;
        let local = open::answered(local)?;
        let inspected = inspect(local.path(), local.hash(true)).await?;
        let integrity = &inspected.inspection.integrity;
        if integrity.outcome != Outcome::Passed {
            let path = args.snapshot.display();
            context.printer.warn(format_args!("`{path}` is not sound; see `holdfast inspect {path}`"));
        }
        let cluster = config.map_or_else(|| "test".to_owned(), |config| config.cluster.name.clone());
        let facts = inspected.inspection.facts;
        Ok(Self {
            file: inspected.file,
            facts,
            context: vec![
                ("cluster".to_owned(), cluster),
                ("time".to_owned(), session.started.to_string()),
                ("session".to_owned(), name),
            ],
            _local: local,
        })
    }

    /// Lets a plugin judge it.
    pub(super) async fn judge(
        &self,
        plugin: &Plugin,
        context: Vec<(String, String)>,
        config: &serde_json::Value,
        grants: &Grants,
    ) -> VerifyRun {
        plugin.verify_inspected(Arc::clone(&self.file), &self.facts, context, config, grants).await
    }

    /// What is known of the run.
    pub(super) fn context(&self) -> Vec<(String, String)> {
        self.context.clone()
    }
}
