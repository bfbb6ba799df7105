//! From what the file says to a [`Config`](super::Config): judges meanings, and notes all that is wrong.
//!
//! A value that `raw` found unsound is missing here and has been told of; the checks then go on without it, so
//! that one error does not bring others that only follow from it.

mod grants;
mod limits;
mod notifiers;
mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_runtime::{Trust, TrustPolicy, TrustedKey};
use jiff::tz::TimeZone;

use super::diagnostic::{Diagnostic, Span};
use super::raw::{self, Fields, Spanned};
use super::{
    BackupConfig, BootConfig, Chain, ClusterConfig, Login, OnError, Order, Pick, PluginConfig, PluginsConfig,
    Retention, SigningConfig, Step, StepKind, StoreConfig, VerifyConfig,
};
use crate::catalog;
use crate::etcd;
use crate::notify::Notifier;
use crate::pack;
use crate::pipeline::Require;
use crate::pipeline::preflight::{Action, Policy};
use crate::retain;
use crate::schedule::Schedule;
use crate::secret::SecretSource;

/// All of a configuration but its source and its warnings.
pub(super) struct Parts {
    pub(super) cluster: ClusterConfig,
    pub(super) preflight: Policy,
    pub(super) backup: BackupConfig,
    pub(super) verify: Vec<VerifyConfig>,
    pub(super) retention: Retention,
    pub(super) decrypt: Vec<PathBuf>,
    pub(super) passphrases: Vec<SecretSource>,
    pub(super) signing: Option<SigningConfig>,
    pub(super) trust: Option<catalog::Trust>,
    pub(super) store_timeouts: BTreeMap<String, Duration>,
    pub(super) stores: BTreeMap<String, StoreConfig>,
    pub(super) chains: BTreeMap<String, Chain>,
    pub(super) boot: BootConfig,
    pub(super) secrets: BTreeMap<String, SecretSource>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) plugins: PluginsConfig,
    pub(super) notifiers: BTreeMap<String, Notifier>,
}

/// Judges a file. `None` when something without which there is no configuration is missing; it has been told of then.
pub(super) fn check(mut fields: Fields, folder: &Path, problems: &mut Vec<Diagnostic>) -> Option<Parts> {
    let mut check = Check {
        folder,
        problems,
        secrets: BTreeMap::new(),
        granted_secrets: BTreeSet::new(),
        verified: BTreeSet::new(),
    };
    let secrets = fields.named("secret").map(|secrets| secrets.value).unwrap_or_default();
    let secret_spans = spans(&secrets);
    check.secrets(secrets);
    check.machine(&mut fields);
    let cluster = fields.fields("cluster").and_then(|cluster| check.cluster(cluster.value));
    let preflight = fields.fields("preflight").map(|preflight| policy(preflight.value));
    let stores = fields.named("store").map(|stores| stores.value);
    let store_spans = stores.as_deref().map(spans);
    let mut retention = Retention::default();
    let mut store_timeouts = BTreeMap::new();
    let stores = stores
        .map(|stores| check.stores(stores, &mut retention.by_store, &mut store_timeouts))
        .unwrap_or_default();
    retention.everywhere = fields.fields("retention").and_then(|rules| check.retention(rules.value));
    let chains = fields.named("chain").map(|chains| chains.value);
    let chain_spans = chains.as_deref().map(spans);
    let chains = chains.map(|chains| check.chains(chains)).unwrap_or_default();
    let boot = fields.fields("boot").and_then(|boot| check.boot(boot.value));
    let metrics = fields.fields("metrics").and_then(|metrics| check.metrics(metrics.value));
    let directory = fields.fields("plugins");
    let plugins = fields.named("plugin").map(|plugins| plugins.value).unwrap_or_default();
    let notifiers = fields.named("notify").map(|notifiers| notifiers.value).unwrap_or_default();
    let notifiers = check.notifiers(notifiers);
    let plugins = check.plugins(directory?.value, plugins, &chains, &notifiers, &stores);
    check.unused_secrets(&secret_spans);
    let verify = fields
        .list("verify")
        .map(|verify| check.verify(verify.value, store_spans.as_ref(), chain_spans.as_ref()));
    let backup = fields
        .fields("backup")
        .and_then(|backup| check.backup(backup.value, store_spans.as_ref(), chain_spans.as_ref()));
    if let Some(plugins) = &plugins {
        check.places("plugins.cache", &plugins.cache, &stores, store_spans.as_ref());
    }
    if let Some(backup) = &backup {
        check.places("backup.scratch", &backup.scratch, &stores, store_spans.as_ref());
    }
    let mut decrypt = fields.fields("decrypt");
    let mut files = |key| decrypt.as_mut().and_then(|decrypt| decrypt.value.texts(key));
    let (identities, passphrases) = (files("identity_files"), files("passphrase_files"));
    let variable = decrypt
        .as_mut()
        .and_then(|decrypt| decrypt.value.text("passphrase_env").map(|name| SecretSource::Env(name.value)));
    let decrypt = identities.map(|files| check.paths(files)).unwrap_or_default();
    let passphrases = passphrases.map(|files| check.paths(files)).unwrap_or_default();
    let passphrases: Vec<SecretSource> =
        passphrases.into_iter().map(SecretSource::File).chain(variable).collect();
    let signing = fields.fields("signing").and_then(|signing| check.signing(signing.value));
    let cluster_name = cluster.as_ref().map(|cluster| cluster.name.clone());
    let trust = fields.fields("trust").and_then(|trust| check.trusted(trust.value, cluster_name));
    let secrets = check.secrets;
    Some(Parts {
        secrets,
        cluster: cluster?,
        preflight: preflight??,
        backup: backup?,
        verify: verify?,
        retention,
        decrypt,
        passphrases,
        signing,
        trust,
        store_timeouts,
        stores,
        chains,
        boot: boot?,
        metrics,
        plugins: plugins?,
        notifiers,
    })
}

/// A table with a name of the user's; `None` when it is no table.
type Named = (Spanned<String>, Option<Fields>);

/// Names with their places.
type Spans = BTreeMap<String, Option<Span>>;

fn spans(named: &[Named]) -> Spans {
    named.iter().map(|(name, _)| (name.value.clone(), name.span.clone())).collect()
}

fn policy(mut fields: Fields) -> Option<Policy> {
    let mut action = |key| match fields.text(key)?.value.as_str() {
        "ignore" => Some(Action::Ignore),
        "warn" => Some(Action::Warn),
        _ => Some(Action::Stop),
    };
    Some(Policy {
        unhealthy_member: action("unhealthy_member")?,
        no_quorum: action("no_quorum")?,
        alarm: action("alarm")?,
        learner: action("learner")?,
        lag: action("lag")?,
        quota: action("quota")?,
        disk_space: action("disk_space")?,
        certificate: action("certificate")?,
        version_skew: action("version_skew")?,
        max_lag: fields.integer("max_lag")?.value as u64,
        quota_percent: fields.integer("quota_percent")?.value as u8,
        certificate_days: fields.integer("certificate_days")?.value as u32,
        free_space_percent: fields.integer("free_space_percent")?.value as u32,
    })
}

struct Check<'a> {
    folder: &'a Path,
    problems: &'a mut Vec<Diagnostic>,
    /// Where the secrets are that plugins may be granted.
    secrets: BTreeMap<String, SecretSource>,
    /// Names of those that some `allow` names.
    granted_secrets: BTreeSet<String>,
    /// What some `[[verify]]` names: `store` or `chain`, and the name.
    verified: BTreeSet<(&'static str, String)>,
}

impl Check<'_> {
    fn tell(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    fn path(&mut self, text: Spanned<String>) -> PathBuf {
        if text.value.starts_with("~/") {
            self.tell(
                Diagnostic::error(format!("path `{}` begins with `~`, which is not expanded", text.value))
                    .at(text.span)
                    .hint("write the whole path"),
            );
        }
        raw::path(text.value, self.folder)
    }

    fn paths(&mut self, texts: Spanned<Vec<Spanned<String>>>) -> Vec<PathBuf> {
        texts.value.into_iter().map(|text| self.path(text)).collect()
    }

    /// What may be missing on a machine that only proves what others made: the cluster's endpoints, and where backups go.
    fn machine(&mut self, fields: &mut Fields) {
        let verifies = fields.gives("verify");
        if !fields.gives("backup") && !verifies {
            self.tell(raw::missing_here(fields, "backup").hint(
                "add it, with `stores = [\"local\"]`; or a `[[verify]]`, on a machine that only proves what others make",
            ));
        }
        let Some(backup) = fields.peek("backup") else { return };
        let alone = backup.gives_only("scratch") && verifies;
        let makes_backups = backup.gives("stores");
        if !makes_backups && !alone && fields.gives("backup") {
            let problem = raw::missing_here(backup, "stores");
            self.tell(problem);
        }
        if let Some(cluster) = fields.peek("cluster")
            && !cluster.gives("endpoints")
            && (makes_backups || !verifies)
        {
            let problem = raw::missing_here(cluster, "endpoints");
            self.tell(problem);
        }
    }

    fn cluster(&mut self, mut fields: Fields) -> Option<ClusterConfig> {
        let name = fields.text("name");
        if let Some(name) = &name
            && !name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            self.tell(
                Diagnostic::error(format!("`{}` cannot be the name of a cluster", name.value))
                    .at(name.span.clone())
                    .hint("a name has letters, digits, `-`, `_` and `.`"),
            );
        }
        let tls_given = fields.gives("tls");
        let tls = fields.fields("tls").map(|tls| self.tls(tls.value));
        let login_given = fields.gives("username");
        let login = self.login(&mut fields);
        let endpoints_given = fields.gives("endpoints");
        let endpoints =
            fields.texts("endpoints").map(|endpoints| self.endpoints(endpoints, tls_given, login_given));
        // That they are missing where they may not has been told.
        let endpoints = if endpoints_given { endpoints } else { Some(Vec::new()) };
        Some(ClusterConfig {
            name: name?.value,
            connection: etcd::Options {
                endpoints: endpoints?,
                tls,
                credentials: None,
                dial_timeout: fields.duration("dial_timeout")?.value,
                request_timeout: fields.duration("request_timeout")?.value,
            },
            login,
        })
    }

    fn endpoints(&mut self, texts: Spanned<Vec<Spanned<String>>>, tls: bool, login: bool) -> Vec<String> {
        if texts.value.is_empty() {
            self.tell(
                Diagnostic::error("`cluster.endpoints` is empty")
                    .at(texts.span)
                    .hint("name the client URL of at least one member: `[\"https://10.0.0.1:2379\"]`"),
            );
        }
        let mut endpoints: Vec<String> = Vec::new();
        for Spanned { value: text, span } in texts.value {
            // Before the endpoint's own check, whose message would show the password.
            if text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) {
                self.tell(
                    Diagnostic::error("an endpoint holds a user or a password")
                        .at(span)
                        .hint("take them out, and give `username` and `password_file` in [cluster]"),
                );
                continue;
            }
            let endpoint = match etcd::Endpoint::parse(&text) {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    self.tell(Diagnostic::error(error.to_string()).at(span).hint(error.hint()));
                    continue;
                }
            };
            if endpoints.iter().any(|known| known == endpoint.as_str()) {
                self.tell(Diagnostic::error(format!("endpoint `{endpoint}` is given twice")).at(span));
                continue;
            }
            if tls && !endpoint.is_secure() {
                self.tell(
                    Diagnostic::error(format!(
                        "endpoint `{endpoint}` is not encrypted, although `tls` is given"
                    ))
                    .at(span)
                    .hint("write `https://`, or take `tls` out"),
                );
            } else if login && !endpoint.is_secure() && leaves_the_machine(endpoint.as_str()) {
                self.tell(
                    Diagnostic::warning(format!("the password goes to `{endpoint}` unencrypted"))
                        .at(span)
                        .hint("write `https://` if the cluster has TLS"),
                );
            }
            endpoints.push(endpoint.as_str().to_owned());
        }
        endpoints
    }

    fn tls(&mut self, mut fields: Fields) -> etcd::Tls {
        for (one, other) in [("cert", "key"), ("key", "cert")] {
            if fields.gives(one) && !fields.gives(other) {
                self.tell(
                    Diagnostic::error(format!("`cluster.tls` has a `{one}` but no `{other}`"))
                        .at(fields.span_of(one).or_else(|| fields.span.clone()))
                        .hint(format!("add `{other} = \"…\"`: a client certificate works only with its key")),
                );
            }
        }
        let certificate = fields.text("cert").map(|path| self.path(path));
        let key = fields.text("key").map(|path| self.path(path));
        etcd::Tls {
            ca: fields.text("ca").map(|path| self.path(path)),
            identity: certificate.zip(key),
            server_name: fields.text("server_name").map(|name| name.value),
        }
    }

    fn login(&mut self, fields: &mut Fields) -> Option<Login> {
        let places =
            ["password_file", "password_env"].map(|key| (key, fields.gives(key), fields.span_of(key)));
        let given: Vec<_> = places.iter().filter(|(_, given, _)| *given).collect();
        if let [(key, _, span), ..] = given[..]
            && !fields.gives("username")
        {
            self.tell(
                Diagnostic::error(format!("`{key}` is given but no `username`"))
                    .at(span.clone())
                    .hint("add `username = \"root\"`"),
            );
        }
        let username = fields.text("username");
        if let Some(username) = &username
            && given.is_empty()
        {
            self.tell(
                Diagnostic::error("`username` is given but no password")
                    .at(username.span.clone())
                    .hint("add `password_file = \"/etc/holdfast/etcd-password\"`, or `password_env = \"ETCD_PASSWORD\"`"),
            );
        }
        let password = self.secret(fields, "password_file", "password_env");
        Some(Login { username: username?.value, password: password? })
    }

    fn signing(&mut self, mut fields: Fields) -> Option<SigningConfig> {
        if !fields.gives("key_file") && !fields.gives("key_env") && !fields.has_unknown {
            self.tell(Diagnostic::error("`signing` has no key").at(fields.span.clone()).hint(
                "add `key_file = \"/etc/holdfast/signing.key\"`; `holdfast key signing FILE` makes one",
            ));
        }
        let key = self.secret(&mut fields, "key_file", "key_env");
        let password = self.secret(&mut fields, "password_file", "password_env");
        Some(SigningConfig { key: key?, password })
    }

    /// `[trust]`. None without keys: then any backup counts.
    fn trusted(&mut self, mut fields: Fields, cluster: Option<String>) -> Option<catalog::Trust> {
        let keys = self.public_keys("trust.keys", fields.texts("keys")?);
        let mut clusters: Vec<String> =
            fields.texts("clusters")?.value.into_iter().map(|name| name.value).collect();
        clusters.extend(cluster);
        (!keys.is_empty()).then_some(catalog::Trust { keys, clusters })
    }

    /// Those that are keys; what is none is told of.
    fn public_keys(&mut self, place: &str, texts: Spanned<Vec<Spanned<String>>>) -> Vec<TrustedKey> {
        let mut keys = Vec::new();
        for text in texts.value {
            match TrustedKey::parse(&text.value) {
                Ok(key) => keys.push(key),
                Err(error) => self.tell(
                    Diagnostic::error(format!("an entry of `{place}` {error}"))
                        .at(text.span)
                        .hint(error.hint()),
                ),
            }
        }
        keys
    }

    fn backup(
        &mut self,
        mut fields: Fields,
        stores: Option<&Spans>,
        chains: Option<&Spans>,
    ) -> Option<BackupConfig> {
        let schedule = self.schedule(&mut fields);
        let named = fields.texts("stores");
        if let Some(Spanned { value, span }) = &named
            && value.is_empty()
        {
            self.tell(
                Diagnostic::error("`backup.stores` is empty")
                    .at(span.clone())
                    .hint("a backup must be kept somewhere: name a [store.NAME]"),
            );
        }
        let nothing = Spans::new();
        let stores_given = fields.gives("stores");
        let names = if stores_given { named.map(|names| names.value) } else { Some(Vec::new()) };
        let stores = self.references("store", names, stores.unwrap_or(&nothing));
        let require = fields.texts("require").map(|names| self.require(names.value, stores.as_deref()));
        let verify = fields.texts("verify").map(|names| names.value);
        let verify = self.references("chain", verify, chains.unwrap_or(&nothing));
        let scratch = fields.text("scratch").map(|path| self.path(path));
        let pack = fields.fields("pack").and_then(|pack| self.pack(pack.value));
        let (packing, recipients_files, passphrase) = pack?;
        Some(BackupConfig {
            schedule,
            stores: stores?,
            require: require?,
            verify: verify?,
            scratch: scratch?,
            rate_limit: fields.size("rate_limit").map(|size| size.value),
            stall_timeout: fields.duration("stall_timeout")?.value,
            allow_missing_hash: fields.flag("allow_missing_hash")?.value,
            packing,
            recipients_files,
            passphrase,
        })
    }

    /// `"all"`, `"any"`, or names of stores that backups go to.
    fn require(&mut self, names: Vec<Spanned<String>>, stores: Option<&[String]>) -> Require {
        match names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>()[..] {
            ["all"] => return Require::All,
            ["any"] => return Require::Any,
            _ => {}
        }
        for Spanned { value: name, span } in &names {
            if stores.is_some_and(|stores| !stores.contains(name)) {
                self.tell(
                    Diagnostic::error(format!(
                        "`backup.require` names `{name}`, which is none of `backup.stores`"
                    ))
                    .at(span.clone())
                    .hint("write `\"all\"`, `\"any\"`, or names of stores that backups go to"),
                );
            }
        }
        if names.is_empty() {
            self.tell(
                Diagnostic::error("`backup.require` is empty")
                    .hint("write `\"any\"` when one store is enough"),
            );
        }
        Require::Named(names.into_iter().map(|name| name.value).collect())
    }

    /// Checks that what is named is there, each once, and that what is there is named.
    fn references(
        &mut self,
        what: &str,
        names: Option<Vec<Spanned<String>>>,
        known: &Spans,
    ) -> Option<Vec<String>> {
        let names = names?;
        let mut seen = BTreeSet::new();
        for Spanned { value: name, span } in &names {
            if !self.is_there(what, name, span.as_ref(), known) {
                continue;
            }
            if !seen.insert(name) {
                self.tell(Diagnostic::error(format!("{what} `{name}` is named twice")).at(span.clone()));
            }
        }
        let (key, use_it) = match what {
            "store" => ("backup.stores", "no backup is kept there"),
            _ => ("backup.verify", "no new backup is proved by it"),
        };
        let is_unused = |(name, _): &(&String, &Option<Span>)| {
            !seen.contains(name) && !self.verified.iter().any(|(of, used)| *of == what && used == *name)
        };
        let unused: Vec<_> = known.iter().filter(is_unused).collect();
        // A machine that only reads names no store of its own.
        let unused = if what == "store" && names.is_empty() { Vec::new() } else { unused };
        for (name, span) in unused {
            self.tell(
                Diagnostic::warning(format!("{what} `{name}` is not used: {use_it}"))
                    .at(span.clone())
                    .hint(format!("name it in `{key}`")),
            );
        }
        Some(names.into_iter().map(|name| name.value).collect())
    }

    /// Whether there is a table of this name; tells where there is none.
    fn is_there(&mut self, what: &str, name: &String, span: Option<&Span>, known: &Spans) -> bool {
        if known.contains_key(name) {
            return true;
        }
        let there: Vec<&String> = known.keys().collect();
        let hint = raw::did_you_mean(name, &there).unwrap_or_else(|| match there.len() {
            0 => format!("add a table `[{what}.{name}]`"),
            _ => format!("add a table `[{what}.{name}]`, or name one of {}", raw::list(&there)),
        });
        self.tell(Diagnostic::error(format!("there is no {what} `{name}`")).at(span.cloned()).hint(hint));
        false
    }

    /// `[[verify]]`: those that are sound.
    fn verify(
        &mut self,
        all: Vec<Fields>,
        stores: Option<&Spans>,
        chains: Option<&Spans>,
    ) -> Vec<VerifyConfig> {
        let nothing = Spans::new();
        let (stores, chains) = (stores.unwrap_or(&nothing), chains.unwrap_or(&nothing));
        let mut sound = Vec::new();
        for mut fields in all {
            let schedule = self.schedule(&mut fields);
            let store = fields.text("store");
            if let Some(Spanned { value: name, span }) = &store {
                self.is_there("store", name, span.as_ref(), stores);
                self.verified.insert(("store", name.clone()));
            }
            let named = fields.texts("chain").map(|names| names.value).unwrap_or_default();
            for Spanned { value: name, span } in &named {
                self.is_there("chain", name, span.as_ref(), chains);
                self.verified.insert(("chain", name.clone()));
            }
            let pick = fields.text("pick").map(|pick| match pick.value.as_str() {
                "oldest" => Pick::Oldest,
                "random" => Pick::Random,
                "all" => Pick::All,
                _ => Pick::Latest,
            });
            let timeout = fields.duration("timeout");
            if let (Some(schedule), Some(pick), Some(timeout)) = (schedule, pick, timeout) {
                sound.push(VerifyConfig {
                    schedule,
                    pick,
                    store: store.map(|store| store.value),
                    chains: named.into_iter().map(|name| name.value).collect(),
                    timeout: timeout.value,
                });
            }
        }
        sound
    }

    fn schedule(&mut self, fields: &mut Fields) -> Option<Schedule> {
        let text = fields.text("schedule")?;
        match Schedule::parse(&text.value) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                self.tell(Diagnostic::error(error.to_string()).at(text.span).maybe_hint(error.hint()));
                None
            }
        }
    }

    fn pack(&mut self, mut fields: Fields) -> Option<(pack::Options, Vec<PathBuf>, Option<SecretSource>)> {
        let mut recipients = Vec::new();
        for Spanned { value: text, span } in fields.texts("recipients")?.value {
            match super::parse_recipient(&text) {
                Ok(recipient) if recipients.contains(&recipient) => {
                    self.tell(Diagnostic::warning("recipient is given twice").at(span));
                }
                Ok(recipient) => recipients.push(recipient),
                Err(error) => self.tell(
                    Diagnostic::error(format!("not an age recipient: {error}")).at(span).hint(error.hint()),
                ),
            }
        }
        let files = fields.texts("recipients_files").map(|files| self.paths(files))?;
        let passphrase_given =
            ["passphrase_file", "passphrase_env"].map(|key| fields.span_of(key)).into_iter().flatten().next();
        let passphrase = self.secret(&mut fields, "passphrase_file", "passphrase_env");
        if passphrase.is_some() && !(recipients.is_empty() && files.is_empty()) {
            self.tell(
                Diagnostic::error("both recipients and a passphrase are given")
                    .at(passphrase_given)
                    .hint("keep one of them: age encrypts to recipients or with a passphrase, not both"),
            );
        }
        let options = pack::Options {
            zstd_level: fields.integer("zstd")?.value as i32,
            threads: fields.integer("threads")?.value as u32,
            recipients,
            passphrase: None,
        };
        Some((options, files, passphrase))
    }

    /// The rules of a `[retention]`, here or in a store.
    fn retention(&mut self, mut fields: Fields) -> Option<retain::Policy> {
        const RULES: [&str; 8] =
            ["last", "hourly", "daily", "weekly", "monthly", "yearly", "max_age", "max_size"];
        if !RULES.iter().any(|rule| fields.gives(rule)) && !fields.has_unknown {
            self.tell(
                Diagnostic::error(format!("`{}` has no rule", fields.path))
                    .at(fields.span.clone())
                    .hint("say what to keep, e.g. `last = 24` and `daily = 30`, or leave the table out: then every backup stays"),
            );
        }
        let zone = fields.text("timezone")?;
        let Ok(timezone) = TimeZone::get(&zone.value) else {
            self.tell(
                Diagnostic::error(format!("there is no time zone `{}`", zone.value))
                    .at(zone.span)
                    .hint("give a name of the IANA database, such as `Europe/Berlin` or `UTC`"),
            );
            return None;
        };
        let mut count = |name| fields.integer(name).and_then(|count| u32::try_from(count.value).ok());
        let last = count("last");
        let periods = retain::Period::ALL.into_iter();
        let periods = periods.filter_map(|period| Some((period, count(period.name())?))).collect();
        Some(retain::Policy {
            last,
            periods,
            timezone,
            max_age: fields.duration("max_age").map(|age| age.value),
            max_size_bytes: fields.size("max_size").map(|size| size.value),
            orphan_grace: fields.duration("orphan_grace")?.value,
        })
    }

    fn chains(&mut self, named: Vec<Named>) -> BTreeMap<String, Chain> {
        let mut chains = BTreeMap::new();
        for (name, fields) in named {
            let Some(mut fields) = fields else { continue };
            let steps_span = fields.span_of("steps");
            let (Some(found), Some(timeout), Some(order)) =
                (fields.list("steps"), fields.duration("timeout"), fields.text("order"))
            else {
                continue;
            };
            let order = match order.value.as_str() {
                "side-by-side" => Order::SideBySide,
                _ => Order::InTurn,
            };
            if found.value.is_empty() {
                self.tell(
                    Diagnostic::error(format!("chain `{}` has no steps", name.value)).at(steps_span).hint(
                        "a chain that does nothing proves nothing; begin with `steps = [{ integrity = {} }]`",
                    ),
                );
            }
            let steps = found.value.into_iter().filter_map(|step| self.step(step, order)).collect();
            let chain = Chain { name: name.value.clone(), steps, order, timeout: timeout.value };
            chains.insert(name.value, chain);
        }
        chains
    }

    fn step(&mut self, mut fields: Fields, order: Order) -> Option<Step> {
        const KINDS: [&str; 5] = ["integrity", "agreement", "continuity", "restore", "plugin"];
        let given: Vec<&str> = KINDS.into_iter().filter(|kind| fields.gives(kind)).collect();
        let span = fields.span.clone();
        match given[..] {
            [_] => {}
            // Told of as an unknown key.
            [] if fields.has_unknown => {}
            [] => self.tell(
                Diagnostic::error("a step does nothing")
                    .at(span.clone())
                    .hint("say what: `{ integrity = {} }`, `{ agreement = {} }`, `{ continuity = {} }`, `{ restore = {} }` or `{ plugin = \"NAME\" }`"),
            ),
            _ => self.tell(
                Diagnostic::error(format!("a step has more than one kind: {}", raw::list(&given)))
                    .at(span.clone())
                    .hint("make a step of each"),
            ),
        }
        if fields.gives("config") && !fields.gives("plugin") {
            self.tell(
                Diagnostic::error("a step has a `config` but no `plugin`")
                    .at(fields.span_of("config").or_else(|| span.clone()))
                    .hint("only plugins take a `config`"),
            );
        }
        if fields.gives("allow") && !fields.gives("plugin") {
            self.tell(
                Diagnostic::error("a step has an `allow` but no `plugin`")
                    .at(fields.span_of("allow").or_else(|| span.clone()))
                    .hint("only plugins are granted something"),
            );
        }
        if fields.gives("fresh") && !fields.gives("plugin") {
            self.tell(
                Diagnostic::error("a step says `fresh` but has no `plugin`")
                    .at(fields.span_of("fresh").or_else(|| span.clone()))
                    .hint("a script is given a fresh etcd by it; a `restore` begins anew anyway"),
            );
        }
        let fresh = fields.flag("fresh")?.value;
        let granted = fields.fields("allow").map(|allow| self.allow(allow.value));
        let boot = fields.fields("restore").map(|mut restore| restore.value.flag("boot"));
        let on_error_span = fields.span_of("on_error");
        let on_error = match fields.text("on_error")?.value.as_str() {
            "warn" => OnError::Warn,
            "stop" => OnError::Stop,
            _ => OnError::Fail,
        };
        if on_error == OnError::Stop && order == Order::SideBySide {
            self.tell(
                Diagnostic::error("a step of a chain that runs side by side cannot stop those after it")
                    .at(on_error_span)
                    .hint("none comes after it: write `\"fail\"`, or `order = \"in-turn\"` for the chain"),
            );
        }
        let config_given = fields.gives("config");
        let config = fields.json("config").map(|config| config.value);
        let kind = match given[..] {
            ["integrity"] => StepKind::Integrity,
            ["agreement"] => StepKind::Agreement,
            ["continuity"] => StepKind::Continuity,
            ["restore"] => StepKind::Restore { boot: boot??.value },
            ["plugin"] => StepKind::Plugin {
                name: fields.text("plugin")?.value,
                config: match config {
                    None if config_given => return None,
                    config => config.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new())),
                },
                granted: granted?,
            },
            _ => return None,
        };
        Some(Step { kind, on_error, fresh })
    }

    fn boot(&mut self, mut fields: Fields) -> Option<BootConfig> {
        let program = fields.text("program")?;
        // A bare name is looked for; anything else is a path like all others.
        let program = if program.value.contains(['/', '~']) {
            self.path(program)
        } else {
            PathBuf::from(program.value)
        };
        Some(BootConfig { program, timeout: fields.duration("timeout")?.value })
    }

    fn plugins(
        &mut self,
        mut fields: Fields,
        named: Vec<Named>,
        chains: &BTreeMap<String, Chain>,
        notifiers: &BTreeMap<String, Notifier>,
        stores: &BTreeMap<String, StoreConfig>,
    ) -> Option<PluginsConfig> {
        let in_steps = chains.values().flat_map(|chain| &chain.steps).filter_map(|step| match &step.kind {
            StepKind::Plugin { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let in_stores = stores.values().filter_map(|store| match store {
            StoreConfig::Plugin(store) => Some(store.plugin.as_str()),
            _ => None,
        });
        let in_notifiers = notifiers.values().filter_map(|notifier| notifier.means.plugin());
        let used: BTreeSet<&str> = in_steps.chain(in_stores).chain(in_notifiers).collect();
        let defaults = fields.fields("limits")?.value;
        let defaults = self.limits(defaults, None);
        let base = defaults.clone().unwrap_or_default();
        let mut plugins = BTreeMap::new();
        for (name, fields) in named {
            let Some(mut fields) = fields else { continue };
            if !used.contains(name.value.as_str()) {
                let used: Vec<&str> = used.iter().copied().collect();
                self.tell(
                    Diagnostic::warning(format!("nothing names the plugin `{}`", name.value))
                        .at(name.span)
                        .maybe_hint(raw::did_you_mean(&name.value, &used)),
                );
            }
            let sha256 = fields.text("sha256").map(|digest| {
                if digest.value.len() != 64 || !digest.value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    self.tell(
                        Diagnostic::error(format!("`{}.sha256` is not a sha256", fields.path))
                            .at(digest.span)
                            .hint(format!("it has 64 hexadecimal digits: `sha256sum {}.wasm`", name.value)),
                    );
                }
                digest.value.to_ascii_lowercase()
            });
            if let Some(limits) = self.limits(fields, Some(&base)) {
                plugins.insert(name.value, PluginConfig { sha256, limits });
            }
        }
        let trust = self.trust(&mut fields);
        let directory = fields.text("directory").map(|path| self.path(path));
        let cache = fields.text("cache").map(|path| self.path(path));
        let state = fields.text("state").map(|path| self.path(path));
        let http = self.http(&mut fields);
        Some(PluginsConfig {
            directory: directory?,
            cache: cache?,
            trust: trust?,
            state: state?,
            http: http?,
            limits: defaults?,
            plugins,
        })
    }

    fn metrics(&mut self, mut fields: Fields) -> Option<SocketAddr> {
        let listen = fields.text("listen")?;
        let problem = match listen.value.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => return Some(address),
            Ok(_) => "names no port: 0 stands for any",
            Err(_) => "is not an IP address and a port",
        };
        self.tell(Diagnostic::error(format!("`metrics.listen` {problem}")).at(listen.span).hint(
            "`127.0.0.1:9719` for this machine alone, `0.0.0.0:9719` or `[::]:9719` for whoever reaches it",
        ));
        None
    }

    fn trust(&mut self, fields: &mut Fields) -> Option<TrustPolicy> {
        let mode = fields.text("trust")?;
        let texts = fields.texts("trusted_keys")?;
        let given = texts.value.len();
        let keys = self.public_keys("plugins.trusted_keys", texts);
        let wrong = keys.len() < given;
        let policy = TrustPolicy {
            mode: match mode.value.as_str() {
                "pinned" => Trust::Pinned,
                "signed" => Trust::Signed,
                _ => Trust::Open,
            },
            keys,
        };
        if policy.mode == Trust::Signed && policy.keys.is_empty() && !wrong {
            self.tell(
                Diagnostic::error("`plugins.trust` is \"signed\", but there are no `trusted_keys`")
                    .at(mode.span)
                    .hint("no plugin would be loaded: add `trusted_keys = [\"RW…\"]`, the public keys of those who sign"),
            );
        }
        Some(policy)
    }

    /// What is written beside the backups must not lie in a store: what is swept there, or listed, would be the wrong thing.
    fn places(
        &mut self,
        key: &str,
        place: &Path,
        stores: &BTreeMap<String, StoreConfig>,
        spans: Option<&Spans>,
    ) {
        for (name, store) in stores {
            let StoreConfig::Directory { path } = store else { continue };
            if place.starts_with(path) || path.starts_with(place) {
                self.tell(
                    Diagnostic::error(format!("store `{name}` and `{key}` lie within each other"))
                        .at(spans.and_then(|spans| spans.get(name).cloned().flatten()))
                        .hint(format!("`{key}` is `{}`: keep them apart", place.display())),
                );
            }
        }
    }
}

/// Whether what is sent to an endpoint can be read on the way.
fn leaves_the_machine(endpoint: &str) -> bool {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    !endpoint.starts_with("unix")
        && !["127.", "localhost:", "[::1]"].iter().any(|loopback| host.starts_with(loopback))
}
