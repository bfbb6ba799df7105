//! The configuration file: `raw` is what it says, `check` judges it, [`Config`] holds only what is sound.
//!
//! All that is wrong is told at once, each with its place in the file and what to do about it. A configuration holds no
//! secret, only where secrets are; these and all other files that it names are opened when they are needed, so that
//! a machine on which some are missing can still list and restore. [`probe`] opens them all, for `holdfast config check`.

mod check;
mod diagnostic;
mod keys;
pub mod probe;
mod raw;
pub mod reference;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_runtime::{Allow, Grants, HttpOptions, Limits, SecretText, TrustPolicy};

pub use diagnostic::{Described, Diagnostic, Invalid, Severity, Source, Span};

use crate::catalog::Trust;
use crate::notify::Notifier;
use crate::pack::{self, Recipient};
use crate::pipeline::Require;
use crate::pipeline::preflight::Policy;
use crate::schedule::Schedule;
use crate::secret::{SecretError, SecretSource};
use crate::signing::{SigningError, SigningKey};
use crate::store::s3;
use crate::{boot, etcd, retain, secret};

/// The largest configuration that is read. A larger file is some other file, given by mistake.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A sound configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster that is backed up.
    pub cluster: ClusterConfig,
    /// What is looked at before a backup.
    pub preflight: Policy,
    /// How a backup is made.
    pub backup: BackupConfig,
    /// When the agent proves backups that lie in a store, in the order of the file.
    pub verify: Vec<VerifyConfig>,
    /// Which backups stay.
    pub retention: Retention,
    /// Files with the age identities that read backups.
    pub decrypt: Vec<PathBuf>,
    /// Where the passphrases are that read backups, besides the one that writes them.
    pub passphrases: Vec<SecretSource>,
    /// What signs manifests; none when they are not signed.
    pub signing: Option<SigningConfig>,
    /// Whose manifests count; none when all do.
    pub trust: Option<Trust>,
    /// How long each store may take for an upload, by name.
    pub store_timeouts: BTreeMap<String, Duration>,
    /// The stores, by name.
    pub stores: BTreeMap<String, StoreConfig>,
    /// The chains, by name.
    pub chains: BTreeMap<String, Chain>,
    /// The etcd that is started on restored backups.
    pub boot: BootConfig,
    /// The secrets that plugins may be granted, by name.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Where metrics are served, if they are.
    pub metrics: Option<SocketAddr>,
    /// The plugins: where they are, and the limits of each.
    pub plugins: PluginsConfig,
    /// Who is told what happens, by name.
    pub notifiers: BTreeMap<String, Notifier>,
    /// What is likely not meant as it is written.
    pub warnings: Vec<Diagnostic>,
    /// The file, for diagnostics that come later.
    pub source: Source,
}

/// `[cluster]`
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Names the cluster.
    pub name: String,
    /// Where it is and how it is reached, all but the password. Private, so that nobody connects without it: see [`Self::etcd`].
    connection: etcd::Options,
    /// Whom to log in as.
    login: Option<Login>,
}

/// A user of the cluster, and where the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Login {
    username: String,
    password: SecretSource,
}

impl ClusterConfig {
    /// How to reach the cluster, with the password as it is now.
    pub fn etcd(&self) -> Result<etcd::Options, SecretError> {
        let mut options = self.connection.clone();
        if let Some(Login { username, password }) = &self.login {
            let password: secret::Secret = password.read()?;
            options.credentials = Some(etcd::Credentials { username: username.clone(), password });
        }
        Ok(options)
    }

    /// The client URLs of the members; none on a machine that has no business with them.
    pub fn endpoints(&self) -> &[String] {
        &self.connection.endpoints
    }

    /// The TLS settings.
    pub fn tls(&self) -> Option<&etcd::Tls> {
        self.connection.tls.as_ref()
    }

    /// Where the password is, when there is one.
    pub fn password(&self) -> Option<&SecretSource> {
        self.login.as_ref().map(|login| &login.password)
    }
}

/// `[backup]`
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// When the agent makes one.
    pub schedule: Option<Schedule>,
    /// Names of [`Config::stores`]; none on a machine that makes no backups.
    pub stores: Vec<String>,
    /// Which of them must have a backup.
    pub require: Require,
    /// Names of [`Config::chains`].
    pub verify: Vec<String>,
    /// The folder in which the snapshot lies while it is worked on.
    pub scratch: PathBuf,
    /// The most bytes a second taken from a member.
    pub rate_limit: Option<u64>,
    /// After so long without a byte a member is given up.
    pub stall_timeout: Duration,
    /// Whether a snapshot without its sha256 is taken.
    pub allow_missing_hash: bool,
    /// How backups are packed, all but the recipients in files. Private, so that nobody packs without these: see [`Self::pack`].
    packing: pack::Options,
    recipients_files: Vec<PathBuf>,
    passphrase: Option<SecretSource>,
}

impl BackupConfig {
    /// How backups are packed, with the recipients, or the passphrase, that the files hold now.
    pub fn pack(&self) -> Result<pack::Options, RecipientsError> {
        let mut options = self.packing.clone();
        options.passphrase = self.passphrase.as_ref().map(SecretSource::read).transpose()?;
        for path in &self.recipients_files {
            for recipient in read_recipients(path)? {
                if !options.recipients.contains(&recipient) {
                    options.recipients.push(recipient);
                }
            }
        }
        Ok(options)
    }

    /// Whether backups are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.passphrase.is_some() || !self.packing.recipients.is_empty() || !self.recipients_files.is_empty()
    }

    /// Where the passphrase is, when there is one.
    pub fn passphrase(&self) -> Option<&SecretSource> {
        self.passphrase.as_ref()
    }

    /// Files with recipients.
    pub fn recipients_files(&self) -> &[PathBuf] {
        &self.recipients_files
    }
}

/// `[[verify]]`
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyConfig {
    /// When it is due.
    pub schedule: Schedule,
    /// Which backup.
    pub pick: Pick,
    /// A name of [`Config::stores`]; none for the first that has it.
    pub store: Option<String>,
    /// Names of [`Config::chains`]; those of `backup.verify` when there are none.
    pub chains: Vec<String>,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// Which backup is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// The newest.
    Latest,
    /// The oldest.
    Oldest,
    /// Any.
    Random,
    /// Each in turn.
    All,
}

impl Pick {
    /// As it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Oldest => "oldest",
            Self::Random => "random",
            Self::All => "all",
        }
    }
}

/// `[signing]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig {
    /// Where the key is.
    pub key: SecretSource,
    /// Where its password is, when it has one.
    pub password: Option<SecretSource>,
}

/// `[retention]` and `[store.NAME.retention]`
#[derive(Debug, Clone, Default)]
pub struct Retention {
    everywhere: Option<retain::Policy>,
    by_store: BTreeMap<String, retain::Policy>,
}

impl Retention {
    /// The rules of one store: its own, or those for all. None when every backup stays.
    pub fn of(&self, store: &str) -> Option<&retain::Policy> {
        self.by_store.get(store).or(self.everywhere.as_ref())
    }
}

/// `[store.NAME.KIND]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// A folder.
    Directory {
        /// Where it is.
        path: PathBuf,
    },
    /// A bucket.
    S3(Box<s3::Options>),
    /// A plugin.
    Plugin(Box<PluginStoreConfig>),
}

/// `[store.NAME.plugin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginStoreConfig {
    /// Its name.
    pub plugin: String,
    /// What is passed to it; an empty object when nothing is said.
    pub config: serde_json::Value,
    /// What it may reach.
    pub granted: Granted,
    /// Tries of one call, the first included.
    pub attempts: u32,
    /// Limit of a call that moves no object's bytes.
    pub request_timeout: Duration,
    /// Limit of standing still, for one that does.
    pub stall_timeout: Duration,
    /// What was begun so long ago and never ended is swept.
    pub stale_after: Duration,
}

/// `[chain.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// What is done. At least one.
    pub steps: Vec<Step>,
    /// One after the other, or not.
    pub order: Order,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// One step of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done.
    pub kind: StepKind,
    /// What its failure means for the chain.
    pub on_error: OnError,
    /// Whether a script is given an etcd that no step before has had.
    pub fresh: bool,
}

/// How the steps of a chain run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// One after the other.
    #[default]
    InTurn,
    /// All at the same time.
    SideBySide,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// The structure of the file, its records and hashes.
    Integrity,
    /// The members' own hashes.
    Agreement,
    /// The backup before.
    Continuity,
    /// A data directory written from it.
    Restore {
        /// Whether an etcd is started on it.
        boot: bool,
    },
    /// A plugin.
    Plugin {
        /// Its name.
        name: String,
        /// What is passed to it; an empty object when nothing is said.
        config: serde_json::Value,
        /// What it may reach.
        granted: Granted,
    },
}

/// The `allow` table of one use of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    /// What it names.
    pub allow: Allow,
    /// Where the secrets are that it names.
    pub secrets: BTreeMap<String, SecretSource>,
}

impl Granted {
    /// The grants, with the secrets as they are now.
    pub fn read(&self) -> Result<Grants, SecretError> {
        let mut secrets = BTreeMap::new();
        for (name, source) in &self.secrets {
            secrets.insert(name.clone(), SecretText::new(source.read()?.expose()));
        }
        Ok(Grants::new(self.allow.clone(), secrets))
    }
}

impl StepKind {
    /// What records and messages call it: `integrity`, `agreement`, `restore`, or the plugin's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Integrity => "integrity",
            Self::Continuity => "continuity",
            Self::Agreement => "agreement",
            Self::Restore { .. } => "restore",
            Self::Plugin { name, .. } => name,
        }
    }
}

/// What the failure of a step means for its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The chain has failed.
    #[default]
    Fail,
    /// It is told, no more.
    Warn,
    /// The chain has failed, and the steps after it are skipped.
    Stop,
}

impl OnError {
    /// Whether the step's verdict counts for the chain's.
    pub fn counts(self) -> bool {
        self != Self::Warn
    }
}

/// `[boot]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootConfig {
    /// The etcd: a path, or a name that is looked for on `PATH`.
    pub program: PathBuf,
    /// How long it may take until it answers.
    pub timeout: Duration,
}

/// `[plugins]` and `[plugin.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginsConfig {
    /// Where plugins lie.
    pub directory: PathBuf,
    /// Where their native code is kept.
    pub cache: PathBuf,
    /// Which files are loaded.
    pub trust: TrustPolicy,
    /// Where they keep state.
    pub state: PathBuf,
    /// How their HTTP requests leave.
    pub http: HttpOptions,
    /// What calls may use of plugins that have no limits of their own.
    pub limits: Limits,
    /// Pin and limits of single plugins, by name.
    pub plugins: BTreeMap<String, PluginConfig>,
}

/// `[plugin.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// The only digest that is loaded, in lower-case hex.
    pub sha256: Option<String>,
    /// What its calls may use.
    pub limits: Limits,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read.
    #[error("configuration `{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What it says cannot be used.
    #[error("{0}")]
    Invalid(Box<Invalid>),
}

impl ConfigErrors {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "name another with `--config FILE`, or begin with `holdfast generate config-reference > holdfast.toml`"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Config {
    /// Reads and checks a file. Files that it names are not opened.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let text = read(path).map_err(|source| ConfigErrors::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a file. Relative paths start at the folder of `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let mut source = Source::new(path.to_owned(), text);
        let mut problems = Vec::new();
        let fields = raw::read(text, &mut problems, &mut source.places);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A relative `--config` would give relative paths, which are good only until someone changes the working folder.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let parts = fields.and_then(|fields| check::check(fields, &folder, &mut problems));
        problems.sort_by_key(|one| one.span.as_ref().map_or(0, |span| span.start));
        problems.dedup();
        match parts {
            Some(parts) if problems.iter().all(|one| one.severity == Severity::Warning) => Ok(Self {
                cluster: parts.cluster,
                preflight: parts.preflight,
                backup: parts.backup,
                verify: parts.verify,
                retention: parts.retention,
                decrypt: parts.decrypt,
                passphrases: parts.passphrases,
                signing: parts.signing,
                trust: parts.trust,
                store_timeouts: parts.store_timeouts,
                stores: parts.stores,
                chains: parts.chains,
                boot: parts.boot,
                secrets: parts.secrets,
                metrics: parts.metrics,
                plugins: parts.plugins,
                notifiers: parts.notifiers,
                warnings: problems,
                source,
            }),
            _ => Err(ConfigErrors::Invalid(Box::new(Invalid { source, diagnostics: problems }))),
        }
    }

    /// How an etcd is started on a restored backup.
    pub fn boot(&self) -> boot::Options {
        boot::Options {
            program: self.boot.program.clone(),
            timeout: self.boot.timeout,
            scratch: self.backup.scratch.clone(),
        }
    }

    /// What signs manifests, as it is now; none when they are not signed.
    ///
    /// # Errors
    /// Also when this machine would refuse what it signs, or what it does not sign.
    pub fn signing_key(&self) -> Result<Option<SigningKey>, SigningError> {
        let Some(signing) = &self.signing else {
            return if self.trust.is_some() { Err(SigningError::NoKey) } else { Ok(None) };
        };
        let key = SigningKey::read(&signing.key, signing.password.as_ref())?;
        match &self.trust {
            Some(trust) if !trust.keys.contains(key.public()) => Err(SigningError::NotTrusted {
                key: key.public().id().to_owned(),
                public_key: key.public_text(),
            }),
            _ => Ok(Some(key)),
        }
    }

    /// The same for what may be done without a key, too: then others cannot tell what this machine removes from theft.
    ///
    /// # Errors
    /// As [`Self::signing_key`], when there is a key.
    pub fn signing_key_if_any(&self) -> Result<Option<SigningKey>, SigningError> {
        match self.signing_key() {
            Err(SigningError::NoKey) => Ok(None),
            other => other,
        }
    }

    /// Where the step of this index stands: at the plugin's name when it has one, for that is what messages are about.
    pub fn step_place(&self, chain: &str, index: usize) -> Option<Span> {
        let step = format!("chain.{chain}.steps[{index}]");
        self.source.place(&format!("{step}.plugin")).or_else(|| self.source.place(&step))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file is larger than 1 MiB"));
    }
    Ok(text)
}

/// Why it cannot be said whom to encrypt to.
#[derive(Debug, thiserror::Error)]
pub enum RecipientsError {
    /// The passphrase cannot be read.
    #[error(transparent)]
    Passphrase(#[from] SecretError),
    /// It cannot be read.
    #[error("recipients file `{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is no recipient.
    #[error("line {line} of recipients file `{}` is not an age recipient: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: RecipientError,
    },
    /// There is none in it.
    #[error("recipients file `{}` holds no recipient", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl RecipientsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Passphrase(error) => error.hint(),
            Self::Read { .. } => None,
            Self::Line { reason, .. } => Some(reason.hint()),
            Self::Empty { .. } => {
                Some("write one recipient a line, `age1…`: `age-keygen -y KEYFILE` prints it".to_owned())
            }
        }
    }
}

/// Why a text is not a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientError {
    /// It is an identity: the secret key.
    Identity,
    /// It is of a kind that is not taken.
    Kind(&'static str),
    /// It is nothing of the like.
    Malformed(&'static str),
}

impl fmt::Display for RecipientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => formatter.write_str("it is an identity, the secret key"),
            Self::Kind(kind) => write!(formatter, "it is {kind}"),
            Self::Malformed(reason) => formatter.write_str(reason),
        }
    }
}

impl RecipientError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Identity => {
                "take the secret key out of the file, and write its recipient: `age-keygen -y KEYFILE` prints it"
            }
            Self::Kind(_) => "give an X25519 recipient, `age1…`: `age-keygen` makes one",
            Self::Malformed(_) => "a recipient begins with `age1` and has 62 characters: `age-keygen -y KEYFILE` prints it",
        }
        .to_owned()
    }
}

/// Reads one recipient. The errors hold nothing of the text, which may be a secret key given by mistake.
fn parse_recipient(text: &str) -> Result<Recipient, RecipientError> {
    let text = text.trim();
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(RecipientError::Identity);
    }
    if text.starts_with("ssh-") {
        return Err(RecipientError::Kind("an SSH key"));
    }
    text.parse().map_err(RecipientError::Malformed)
}

/// Reads a file of recipients: one a line, `#` begins a comment.
fn read_recipients(path: &Path) -> Result<Vec<Recipient>, RecipientsError> {
    let text = read(path).map_err(|source| RecipientsError::Read { path: path.to_owned(), source })?;
    let mut recipients = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        recipients.push(parse_recipient(line).map_err(|reason| RecipientsError::Line {
            path: path.to_owned(),
            line: index + 1,
            reason,
        })?);
    }
    if recipients.is_empty() { Err(RecipientsError::Empty { path: path.to_owned() }) } else { Ok(recipients) }
}
