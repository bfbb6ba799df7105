//! From the flags to a plan for each member.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use etcd_snapshot::restore::{Member, Plan, PlanError};
use serde::Serialize;

use super::Args;
use crate::cli::failure::FailureExt;
use crate::restore::bump::Choice;
use crate::session::SessionId;

/// One member as it is to be written.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) member_id: String,
    pub(super) peer_urls: Vec<String>,
    pub(super) data_dir: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wal_dir: Option<PathBuf>,
}

/// The plans as they are shown.
pub(super) fn planned(plans: &[Plan]) -> Result<Vec<Planned>> {
    let each = plans.iter().map(|plan| {
        let (_, ids) = plan.ids()?;
        let id = ids.iter().find(|(name, _)| *name == plan.name).map_or(0, |(_, id)| *id);
        let own = plan.initial_cluster.iter().find(|member| member.name == plan.name);
        Ok(Planned {
            name: plan.name.clone(),
            member_id: format!("{id:016x}"),
            peer_urls: own.map(|member| member.peer_urls.clone()).unwrap_or_default(),
            data_dir: plan.data_dir.clone(),
            wal_dir: plan.wal_dir.clone(),
        })
    });
    each.collect()
}

/// Refuses a bump without the mark and the other way round, as `etcdutl` does.
pub(super) fn check_bump(args: &Args) -> Result<(), PlanError> {
    match args.bump_revision {
        Some(Choice::By(0)) if args.mark_compacted => Err(PlanError::MarkWithoutBump),
        Some(Choice::By(1..)) if !args.mark_compacted => Err(PlanError::BumpWithoutMark),
        _ => Ok(()),
    }
}

/// One plan, or one for each member with `--all-members` and `--print-commands`. The bump is decided later.
pub(super) fn plans(args: &Args) -> Result<Vec<Plan>> {
    let urls = args.initial_advertise_peer_urls.clone();
    let initial_cluster = match &args.initial_cluster {
        Some(text) => Plan::parse_initial_cluster(text).context("`--initial-cluster` cannot be used")?,
        None => vec![Member { name: args.name.clone(), peer_urls: urls }],
    };
    let at_once = args.all_members.is_some() || args.print_commands || args.dry_run;
    let token = token(args, initial_cluster.len(), at_once)?;
    let plan = |name: &str, data_dir: &Path, wal_dir: Option<PathBuf>| Plan {
        wal_dir,
        clear_alarms: args.clear_alarms,
        strip_auth: args.strip_auth,
        compact: args.compact,
        ..Plan::new(name, initial_cluster.clone(), &token, data_dir)
    };
    if let Some(directory) = &args.all_members {
        let each = initial_cluster.iter().map(|member| {
            let below = below(&member.name)?;
            let wal_dir = args.wal_dir.as_ref().map(|wal_dir| wal_dir.join(below));
            Ok(plan(&member.name, &directory.join(below), wal_dir))
        });
        return each.collect();
    }
    let data_dir = args.data_dir.as_ref().context("there is no `--data-dir`")?;
    if args.print_commands {
        let names = initial_cluster.iter().map(|member| &member.name);
        return Ok(names.map(|name| plan(name, data_dir, args.wal_dir.clone())).collect());
    }
    Ok(vec![plan(&args.name, data_dir, args.wal_dir.clone())])
}

fn token(args: &Args, members: usize, at_once: bool) -> Result<String> {
    let given = args.initial_cluster_token.as_deref().filter(|token| !token.is_empty());
    if members > 1 && given.is_none() && !at_once {
        let missing: Result<()> = Err(anyhow!(
            "`--initial-cluster` has {members} members and there is no `--initial-cluster-token`"
        ));
        missing.hint(
            "give all members the same new token, e.g. `--initial-cluster-token after-the-fire`: without one each restore \
             would be a cluster of its own, and with the old cluster's token old members could join; \
             `--print-commands` and `--all-members` make one for all",
        )?;
    }
    Ok(given.map_or_else(|| format!("holdfast-{}", SessionId::random()), str::to_owned))
}

/// A member's name as that of a directory.
fn below(name: &str) -> Result<&str> {
    if name.contains('/') || name.starts_with('.') {
        let refused: Result<()> = Err(anyhow!("member `{name}` cannot have a directory of its name"));
        refused.hint("restore it on its own, with `--name` and `--data-dir`")?;
    }
    Ok(name)
}
