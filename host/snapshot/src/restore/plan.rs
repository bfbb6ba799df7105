//! What the restored member shall be, as etcd's users say it, and the checks that need no snapshot.
//!
//! The rules are those of `etcdutl snapshot restore`: etcd `server/config/config.go` (`VerifyBootstrap`),
//! `client/pkg/types/{urls,urlsmap}.go`, `etcdutl/snapshot/v3_snapshot.go`. It is stricter where a wrong plan would pass
//! there and fail later: names, ports, and URLs with more than a host and a port.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::staging::{self, Leftover};
use crate::membership::{Voter, cluster_id, member_id};

/// Members of one cluster at most: raft serves seven well, and no cluster has come near this.
const MAX_MEMBERS: usize = 100;

/// What the name of a directory has in it that a restore works in.
pub(super) const STAGING_MARK: &str = ".holdfast-restore-";

/// One member of the cluster that is to be formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its human-readable name.
    pub name: String,
    /// The URLs at which the other members reach it.
    pub peer_urls: Vec<String>,
}

/// What a restore shall write, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name of the member whose data directory is written; one of `initial_cluster`.
    pub name: String,
    /// All members of the cluster, this one among them.
    pub initial_cluster: Vec<Member>,
    /// Makes the ids of this cluster differ from those of any other: use a fresh one for every restore.
    pub token: String,
    /// The data directory: absent or empty.
    pub data_dir: PathBuf,
    /// Where the write-ahead log goes, absent so far; `<data_dir>/member/wal` when not given.
    pub wal_dir: Option<PathBuf>,
    /// Raises the newest revision by this much, so that no client has seen a higher one. Needs `mark_compacted`.
    pub bump_revision: Option<u64>,
    /// Marks all revisions up to the raised one as compacted, so that watches start anew. Needs `bump_revision`.
    pub mark_compacted: bool,
    /// Takes out standing alarms, which would otherwise make the restored cluster refuse writes.
    pub clear_alarms: bool,
    /// Takes out users, roles and the switch of authentication, so that everybody may do everything.
    pub strip_auth: bool,
    /// Writes the database anew without free space, as a defragmentation would leave it.
    pub compact: bool,
}

/// Why a plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A part of `--initial-cluster` is no `name=url`.
    #[error("cannot read `{text}` as a member: it has no `=`")]
    NotAMember {
        /// The part as given.
        text: String,
    },
    /// The cluster has no members.
    #[error("the initial cluster has no members")]
    NoMembers,
    /// The cluster has more members than raft can bear.
    #[error("the initial cluster has {count} members, more than {MAX_MEMBERS}")]
    TooManyMembers {
        /// How many there are.
        count: usize,
    },
    /// A member has no name.
    #[error("a member of the initial cluster has no name")]
    NoName,
    /// Two members have one name.
    #[error("the initial cluster has member `{name}` twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A member has no peer URL.
    #[error("member `{name}` has no peer URL")]
    NoPeerUrl {
        /// The member's name.
        name: String,
    },
    /// A peer URL is not one that etcd takes.
    #[error("peer URL `{url}` cannot be used: {reason}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A peer URL occurs twice.
    #[error("peer URL `{url}` is given twice, to `{first}` and to `{second}`")]
    DuplicateUrl {
        /// The URL.
        url: String,
        /// The member that has it.
        first: String,
        /// The member that has it too.
        second: String,
    },
    /// Two members have one id, or one has the id that raft keeps for nobody.
    #[error("member `{name}` would have an id that cannot be used, {id:x}")]
    UnusableId {
        /// The member's name.
        name: String,
        /// The id.
        id: u64,
    },
    /// The member to restore is not in the cluster.
    #[error("member `{name}` is not in the initial cluster")]
    NotInCluster {
        /// The member's name.
        name: String,
        /// The names that are there.
        known: Vec<String>,
    },
    /// The URLs to advertise are not those in the cluster.
    #[error("member `{name}` advertises `{advertised}`, but the initial cluster has `{listed}` for it")]
    AdvertisedUrls {
        /// The member's name.
        name: String,
        /// What it advertises, sorted, with commas.
        advertised: String,
        /// What the cluster has, sorted, with commas.
        listed: String,
    },
    /// A bump without the mark.
    #[error("the revision is to be bumped, but not marked as compacted")]
    BumpWithoutMark,
    /// The mark without a bump.
    #[error("the revision is to be marked as compacted, but not bumped")]
    MarkWithoutBump,
    /// The path has no last part to be created.
    #[error("directory `{}` cannot be created: its path ends in no name", path.display())]
    NoDirectoryName {
        /// The path.
        path: PathBuf,
    },
    /// The data directory holds something.
    #[error("data directory `{}` is not empty: it has `{entry}`", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// The first thing found in it.
        entry: String,
    },
    /// A restore into it is under way.
    #[error("data directory `{}` is being restored into by another process", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// Two members would be written to one place.
    #[error("members `{first}` and `{second}` would both be written to `{}`", path.display())]
    SameDirectory {
        /// The directory.
        path: PathBuf,
        /// The member that has it.
        first: String,
        /// The member that has it too.
        second: String,
    },
    /// The data directory's path is taken by something else.
    #[error("data directory `{}` is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The WAL directory is there already.
    #[error("wal directory `{}` exists", path.display())]
    WalDirExists {
        /// The directory.
        path: PathBuf,
    },
    /// The WAL directory is in the way of the rest.
    #[error("wal directory `{}` overlaps with the data directory's own files", path.display())]
    WalDirOverlaps {
        /// The directory.
        path: PathBuf,
    },
    /// A directory cannot be looked at.
    #[error("directory `{}` cannot be read", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl PlanError {
    /// A next step, where one is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotAMember { .. } | Self::NoMembers | Self::NoPeerUrl { .. } => {
                "write the initial cluster as `name=url[,name=url]…`; a name may repeat to give it several URLs".into()
            }
            Self::NotInCluster { known, .. } => format!("the initial cluster has {}", quoted(known)),
            Self::AdvertisedUrls { .. } => "advertise the same URLs as the initial cluster lists for the member".into(),
            Self::BumpWithoutMark | Self::MarkWithoutBump => "ask for both or for neither".into(),
            Self::Busy { .. } => "wait for it to end, or restore into another directory".into(),
            Self::SameDirectory { .. } => "give each member a directory of its own".into(),
            Self::NotEmpty { .. } | Self::NotADirectory { .. } => {
                "restore into a new directory, then point etcd to it".into()
            }
            Self::WalDirExists { .. } => "name a directory that does not exist yet: etcd wants to create it".into(),
            Self::WalDirOverlaps { .. } => "leave it out for `member/wal` in the data directory".into(),
            _ => return None,
        };
        Some(hint)
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl Plan {
    /// A plan with nothing but what it cannot do without: no WAL directory apart, no bump, alarms and
    /// free space kept.
    pub fn new(name: &str, initial_cluster: Vec<Member>, token: &str, data_dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            initial_cluster,
            token: token.to_owned(),
            data_dir: data_dir.to_owned(),
            wal_dir: None,
            bump_revision: None,
            mark_compacted: false,
            clear_alarms: false,
            strip_auth: false,
            compact: false,
        }
    }

    /// Reads etcd's `name=url[,name=url]…`; a name may repeat to give it several URLs. Members come in the order in
    /// which their names first appear.
    ///
    /// # Errors
    /// The first part that is no member, or whose URL etcd would not take.
    pub fn parse_initial_cluster(text: &str) -> Result<Vec<Member>, PlanError> {
        let mut members: Vec<Member> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, url) =
                part.split_once('=').ok_or_else(|| PlanError::NotAMember { text: part.into() })?;
            let (name, url) = (name.trim(), peer_url(url)?);
            if name.is_empty() {
                return Err(PlanError::NoName);
            }
            match members.iter_mut().find(|member| member.name == name) {
                Some(member) => member.peer_urls.push(url),
                None => members.push(Member { name: name.to_owned(), peer_urls: vec![url] }),
            }
        }
        if members.is_empty() { Err(PlanError::NoMembers) } else { Ok(members) }
    }

    /// Checks all that needs no snapshot: members, URLs, ids, the directories.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), PlanError> {
        self.validate_content()?;
        check_data_dir(&self.data_dir)?;
        self.wal_dir.as_deref().map_or(Ok(()), |wal_dir| check_wal_dir(wal_dir, &self.data_dir))
    }

    /// As [`Self::validate`], without the directories.
    pub(super) fn validate_content(&self) -> Result<(), PlanError> {
        Cluster::of(self)?;
        match (self.bump_revision.unwrap_or(0), self.mark_compacted) {
            (0, true) => Err(PlanError::MarkWithoutBump),
            (1.., false) => Err(PlanError::BumpWithoutMark),
            _ => Ok(()),
        }
    }

    /// Checks several plans, and that no two of them are for one place.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate_all(plans: &[Self]) -> Result<(), PlanError> {
        let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
        for plan in plans {
            plan.validate()?;
            for directory in [Some(&plan.data_dir), plan.wal_dir.as_ref()].into_iter().flatten() {
                let place = absolute(directory)?;
                if let Some(first) = owners.insert(place, &plan.name).filter(|first| *first != plan.name) {
                    let (first, second) = (first.to_owned(), plan.name.clone());
                    return Err(PlanError::SameDirectory { path: directory.clone(), first, second });
                }
            }
        }
        Ok(())
    }

    /// Checks that what the member is to advertise is what the initial cluster lists for it, in any order.
    ///
    /// # Errors
    /// An URL that etcd would not take, or two lists that differ.
    pub fn check_advertised(&self, peer_urls: &[String]) -> Result<(), PlanError> {
        let own = self.own_member()?;
        let (advertised, listed) = (sorted_urls(peer_urls)?, sorted_urls(&own.peer_urls)?);
        if advertised == listed {
            return Ok(());
        }
        let (advertised, listed) = (advertised.join(","), listed.join(","));
        Err(PlanError::AdvertisedUrls { name: self.name.clone(), advertised, listed })
    }

    /// The ids that the plan gives: the cluster's, and each member's with its name, ascending by id.
    ///
    /// # Errors
    /// Members, URLs or ids that etcd would not take.
    pub fn ids(&self) -> Result<(u64, Vec<(String, u64)>), PlanError> {
        let cluster = Cluster::of(self)?;
        Ok((cluster.id, cluster.named_ids()))
    }

    fn own_member(&self) -> Result<&Member, PlanError> {
        self.initial_cluster.iter().find(|member| member.name == self.name).ok_or_else(|| {
            PlanError::NotInCluster {
                name: self.name.clone(),
                known: self.initial_cluster.iter().map(|member| member.name.clone()).collect(),
            }
        })
    }
}

/// A plan's cluster with its ids; only values that etcd takes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) id: u64,
    pub(crate) own_id: u64,
    /// Ascending by id.
    pub(crate) voters: Vec<Voter>,
}

impl Cluster {
    pub(crate) fn of(plan: &Plan) -> Result<Self, PlanError> {
        let members = &plan.initial_cluster;
        if members.is_empty() {
            return Err(PlanError::NoMembers);
        }
        if members.len() > MAX_MEMBERS {
            return Err(PlanError::TooManyMembers { count: members.len() });
        }
        let own = plan.own_member()?;
        check_unique(members)?;
        let mut voters = BTreeMap::new();
        for Member { name, peer_urls } in members {
            let peer_urls = sorted_urls(peer_urls)?;
            let id = member_id(&peer_urls, &plan.token);
            let voter = Voter { id, name: name.clone(), peer_urls };
            // raft keeps the id 0 for "no member".
            if id == 0 || voters.insert(id, voter).is_some() {
                return Err(PlanError::UnusableId { name: name.clone(), id });
            }
        }
        let own_id = member_id(&sorted_urls(&own.peer_urls)?, &plan.token);
        let ids: Vec<u64> = voters.keys().copied().collect();
        Ok(Self { id: cluster_id(&ids), own_id, voters: voters.into_values().collect() })
    }

    pub(crate) fn named_ids(&self) -> Vec<(String, u64)> {
        self.voters.iter().map(|voter| (voter.name.clone(), voter.id)).collect()
    }
}

fn check_unique(members: &[Member]) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    let mut owners = BTreeMap::new();
    for Member { name, peer_urls } in members {
        if name.is_empty() {
            return Err(PlanError::NoName);
        }
        if !names.insert(name) {
            return Err(PlanError::DuplicateName { name: name.clone() });
        }
        if peer_urls.is_empty() {
            return Err(PlanError::NoPeerUrl { name: name.clone() });
        }
        for url in peer_urls {
            let url = peer_url(url)?;
            if let Some(first) = owners.insert(url.clone(), name) {
                return Err(PlanError::DuplicateUrl { url, first: first.clone(), second: name.clone() });
            }
        }
    }
    Ok(())
}

fn sorted_urls(urls: &[String]) -> Result<Vec<String>, PlanError> {
    let mut sorted = urls.iter().map(|url| peer_url(url)).collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    Ok(sorted)
}

/// A peer URL as etcd keeps it: the scheme in lower case, the rest as given.
fn peer_url(text: &str) -> Result<String, PlanError> {
    let text = text.trim();
    let wrong = |reason| PlanError::Url { url: text.to_owned(), reason };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme, like `https://`"))?;
    let scheme = scheme.to_ascii_lowercase();
    if rest.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return Err(wrong("it has a blank or a control character"));
    }
    match scheme.as_str() {
        "http" | "https" => check_authority(rest).map_err(wrong)?,
        "unix" | "unixs" if rest.is_empty() => return Err(wrong("it names no socket")),
        "unix" | "unixs" => {}
        _ => return Err(wrong("its scheme is not http, https, unix or unixs")),
    }
    Ok(format!("{scheme}://{rest}"))
}

/// `host:port`, the host in brackets when it has colons itself.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    if authority.contains('/') {
        return Err("it has a path");
    }
    if authority.contains(['?', '#', '@']) {
        return Err("it has more than a host and a port");
    }
    let (host, port) = authority.rsplit_once(':').ok_or("it has no port")?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.is_empty() || bare == Some("") {
        return Err("it has no host");
    }
    if bare.unwrap_or(host).contains(['[', ']']) || (bare.is_none() && host.contains(':')) {
        return Err("an IPv6 address stands in brackets, like `[::1]:2380`");
    }
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn check_data_dir(path: &Path) -> Result<(), PlanError> {
    if path.file_name().is_none() && !path.exists() {
        return Err(PlanError::NoDirectoryName { path: path.to_owned() });
    }
    let unreadable = |source| PlanError::Unreadable { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        // A link that leads nowhere is in the way of the directory as much as a file is.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(PlanError::NotADirectory { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(error)),
    };
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        // What a killed restore left here is taken away when this one begins.
        match staging::leftover(path, &entry.path()) {
            Leftover::No => {
                let entry = entry.file_name().to_string_lossy().into_owned();
                return Err(PlanError::NotEmpty { path: path.to_owned(), entry });
            }
            Leftover::Living => return Err(PlanError::Busy { path: path.to_owned() }),
            Leftover::Dead => {}
        }
    }
    Ok(())
}

fn check_wal_dir(wal_dir: &Path, data_dir: &Path) -> Result<(), PlanError> {
    if wal_dir.file_name().is_none() {
        return Err(PlanError::NoDirectoryName { path: wal_dir.to_owned() });
    }
    if wal_dir.symlink_metadata().is_ok() {
        return Err(PlanError::WalDirExists { path: wal_dir.to_owned() });
    }
    let (wal, data) = (absolute(wal_dir)?, absolute(data_dir)?);
    let member = data.join("member");
    let own_files = wal == member || (wal.starts_with(member.join("snap")));
    if own_files || data.starts_with(&wal) {
        return Err(PlanError::WalDirOverlaps { path: wal_dir.to_owned() });
    }
    Ok(())
}

/// The path without links and dots, so that two ways of writing one place compare equal.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, PlanError> {
    let unreadable = |source| PlanError::Unreadable { path: path.to_owned(), source };
    let from_root = std::path::absolute(path).map_err(unreadable)?;
    for ancestor in from_root.ancestors() {
        match ancestor.canonicalize() {
            Ok(mut real) => {
                // An ancestor is a prefix by definition. What is not there yet has no links, so dots can be counted.
                for component in from_root.strip_prefix(ancestor).unwrap_or(Path::new("")).components() {
                    match component {
                        Component::ParentDir => real.pop(),
                        component => {
                            real.push(component);
                            true
                        }
                    };
                }
                return Ok(real);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    Ok(from_root)
}

#[cfg(test)]
mod tests;
