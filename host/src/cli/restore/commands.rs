//! The commands to run on each member's machine: one backup, one token, one bump for all.

use std::process::ExitCode;

use anyhow::Result;
use etcd_snapshot::Facts;
use etcd_snapshot::restore::{Member, Plan};
use serde::Serialize;

use super::{Args, known};
use crate::cli::Context;
use crate::cli::open::{Need, Sources};
use crate::cli::target::Target;
use crate::cli::verify;
use crate::restore::{self, Permissions};

#[derive(Debug, Serialize)]
struct MemberCommand {
    /// The member whose machine it is for.
    name: String,
    /// Its words.
    command: Vec<String>,
}

pub(super) async fn run(args: &Args, plans: &[Plan], context: &Context) -> Result<ExitCode> {
    let sources = Sources::new(context, &args.backup, args.store.as_deref(), &args.identity, Need::Help)?;
    let found = sources.find(&args.backup, context).await?;
    let (source, facts, by);
    let mut plans = plans.to_vec();
    if let Some(found) = &found {
        // The manifest says all that is needed; each machine checks what it fetches.
        source = found.entry.manifest.id.to_string();
        facts = found.entry.manifest.facts.clone();
        let asked = known::Asked { sources: &sources, found: Some(found), file: "".as_ref() };
        by = super::raise(args, &mut plans, &facts, &asked, context).await?;
    } else {
        source = args.backup.to_string();
        let scratch = verify::scratch(sources.config.as_ref());
        let name = format!("restore-{}", std::process::id());
        let opened = sources.open(&args.backup, &scratch, &name, context).await?;
        let allowed = Permissions { missing_hash: args.skip_hash_check, failed_integrity: args.force };
        let expected = super::expected(args, &sources, context).await?;
        let checked = super::answered(restore::check(&opened.file, allowed, expected.as_ref(), &[]).await)?;
        facts = checked.inspection.facts;
        let asked = known::Asked { sources: &sources, found: None, file: opened.file.path() };
        by = super::raise(args, &mut plans, &facts, &asked, context).await?;
    }
    let commands: Vec<MemberCommand> = plans
        .iter()
        .map(|plan| MemberCommand { name: plan.name.clone(), command: words(args, plan, &source, context) })
        .collect();
    context.printer.show(&commands, |printer| {
        for command in &commands {
            printer.line(format_args!("# on the machine of member `{}`", command.name));
            let quoted: Vec<String> = command.command.iter().map(|word| quoted(word)).collect();
            printer.line(quoted.join(" "));
        }
    });
    tell(&plans, &facts, context);
    if let Some(bump) = by {
        context.printer.note(format_args!("the revision is raised by {bump}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(plans: &[Plan], facts: &Facts, context: &Context) {
    let cautions = plans.first().map(|plan| restore::cautions(facts, plan)).unwrap_or_default();
    for caution in &cautions {
        context.printer.warn(caution);
    }
}

fn words(args: &Args, plan: &Plan, source: &str, context: &Context) -> Vec<String> {
    let mut words: Vec<String> = ["holdfast", "restore", source].map(str::to_owned).to_vec();
    let mut flag = |name: &str, value: &str| words.extend([format!("--{name}"), value.to_owned()]);
    flag("data-dir", &plan.data_dir.display().to_string());
    if let Some(wal_dir) = &plan.wal_dir {
        flag("wal-dir", &wal_dir.display().to_string());
    }
    flag("name", &plan.name);
    let each = |member: &Member| -> Vec<String> {
        member.peer_urls.iter().map(|url| format!("{}={url}", member.name)).collect()
    };
    flag("initial-cluster", &plan.initial_cluster.iter().flat_map(each).collect::<Vec<_>>().join(","));
    flag("initial-cluster-token", &plan.token);
    let own = plan.initial_cluster.iter().find(|member| member.name == plan.name);
    flag("initial-advertise-peer-urls", &own.map(|own| own.peer_urls.join(",")).unwrap_or_default());
    match plan.bump_revision {
        Some(by) => flag("bump-revision", &by.to_string()),
        None => flag("bump-revision", "none"),
    }
    for identity in &args.identity {
        flag("identity", &identity.display().to_string());
    }
    if let Some(passphrase) = &context.passphrase_file {
        flag("passphrase-file", &passphrase.display().to_string());
    }
    if let Some(store) = &args.store {
        flag("store", store);
    }
    match &args.verify_against {
        Some(Target::Id(against)) => flag("verify-against", against),
        Some(Target::At(time)) => flag("verify-against", &format!("at:{time}")),
        Some(Target::Revision(revision)) => flag("verify-against", &format!("revision:{revision}")),
        Some(Target::Latest | Target::File(_)) | None => {}
    }
    let switches = [
        ("mark-compacted", plan.mark_compacted),
        ("clear-alarms", plan.clear_alarms),
        ("strip-auth", plan.strip_auth),
        ("compact", plan.compact),
        ("skip-hash-check", args.skip_hash_check),
        ("force", args.force),
    ];
    words.extend(switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!("--{name}")));
    words
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@+%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_safe_in_a_shell() {
        assert_eq!(quoted("a=https://10.0.0.1:2380,b=http://h:1"), "a=https://10.0.0.1:2380,b=http://h:1");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
