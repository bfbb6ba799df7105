//! The snapshot that an author lets a plugin judge, opened as a run of the agent would open it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use etcd_snapshot::{Inspection, Outcome, SnapshotFile};
use holdfast_runtime::{Grants, Kind, Plugin, VerifyRun};

use super::super::failure::{Failure, FailureExt as _};
use super::super::{Context, open, verify};
use crate::boot::{self, BootError, Throwaway};
use crate::config::Config;
use crate::pipeline::inspect;
use crate::pipeline::verify::restored;
use crate::session::Session;
use crate::source::{self, LocalFile, Place};

/// Which snapshot.
#[derive(Debug, Clone, clap::Args)]
pub struct SubjectArgs {
    /// The snapshot file that a verifier judges: one that etcd sent, or one taken out of a store
    #[arg(long, short, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// A file with the age identity (secret key) that decrypts it, besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// Take the integrity of the snapshot as known: it is not checked again, and facts that only a check finds are not told. For verifiers
    #[arg(long)]
    pub integrity_known: bool,
}

/// A snapshot, and what a plugin is told beside it.
pub(super) struct Subject {
    pub(super) file: Arc<SnapshotFile>,
    /// None when its integrity is taken as known.
    inspection: Option<Inspection>,
    /// How it is restored for a script.
    boot: boot::Options,
    context: Vec<(String, String)>,
    /// Removed with this value, when it was unpacked for it.
    _local: LocalFile,
}

impl Subject {
    /// Opens the file, and inspects it. One that is damaged is told about, and looked at all the same.
    pub(super) async fn open(args: &SubjectArgs, config: Option<&Config>, context: &Context) -> Result<Self> {
        let snapshot = args
            .snapshot
            .as_deref()
            .ok_or_else(|| anyhow!("there is no snapshot for the verifier to judge"))
            .hint("name one: `--snapshot FILE`; `etcdctl snapshot save FILE` makes one")?;
        let session = Session::begin(context.now);
        let identities = context.identities(config, &args.identity)?;
        let name = session.id.to_string();
        let scratch = verify::scratch(config);
        let local = source::open_file(snapshot, &identities, Place::passing(&scratch, &name)).await;
        let local = open::answered(local)?;
        let (file, inspection) = if args.integrity_known {
            (inspect::open(local.path()).await?, None)
        } else {
            let inspected = inspect::inspect(local.path(), local.hash(true)).await?;
            if inspected.inspection.integrity.outcome != Outcome::Passed {
                let path = snapshot.display();
                context.printer.warn(format_args!("`{path}` is not sound; see `holdfast inspect {path}`"));
            }
            (inspected.file, Some(inspected.inspection))
        };
        let cluster = config.map_or_else(|| "test".to_owned(), |config| config.cluster.name.clone());
        let boot = config.map_or_else(|| boot::Options::of(scratch.clone()), Config::boot);
        Ok(Self {
            file,
            inspection,
            boot,
            context: vec![
                ("cluster".to_owned(), cluster),
                ("time".to_owned(), session.started.to_string()),
                ("session".to_owned(), name),
            ],
            _local: local,
        })
    }

    /// Lets a plugin judge it: a verifier the file, a script an etcd that is restored from it and thrown away.
    pub(super) async fn judge(
        &self,
        plugin: &Plugin,
        context: Vec<(String, String)>,
        config: &serde_json::Value,
        grants: &Grants,
    ) -> Result<VerifyRun> {
        if plugin.kind() != Kind::Script {
            let file = Arc::clone(&self.file);
            return Ok(match &self.inspection {
                Some(found) => plugin.verify_inspected(file, &found.facts, context, config, grants).await,
                None => plugin.verify_uninspected(file, context, config, grants).await,
            });
        }
        let Some(inspection) = &self.inspection else {
            return Err(anyhow!(
                "`{}` is a script, and what is restored for one is checked before",
                plugin.name()
            ))
            .hint("leave out `--integrity-known`");
        };
        let source = restored::source_of(&self.file, inspection);
        let throwaway = booted(Throwaway::boot(&self.boot, &source).await)?;
        let database = booted(throwaway.database().await)?;
        let fresh = ("fresh".to_owned(), throwaway.touch().to_string());
        let context = context.into_iter().chain([fresh]).chain(restored::facts_of(&source)).collect();
        let run = plugin.run_script(database, context, config, grants).await;
        throwaway.end().await;
        Ok(run)
    }

    /// What is known of the run.
    pub(super) fn context(&self) -> Vec<(String, String)> {
        self.context.clone()
    }
}

/// A script that has no etcd gives no report.
fn booted<T>(booted: Result<T, BootError>) -> Result<T> {
    booted.map_err(|error| {
        let hint = error.hint();
        Failure {
            error: anyhow::Error::new(error).context("there is no restored etcd for the script"),
            hint,
            code: 2,
        }
        .into()
    })
}
