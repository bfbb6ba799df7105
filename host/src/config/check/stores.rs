//! The stores: each has one kind, and no two share a place.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::diagnostic::Diagnostic;
use super::super::raw::{Fields, Spanned};
use super::super::{PluginStoreConfig, StoreConfig};
use super::{Check, Named, leaves_the_machine};
use crate::retain;
use crate::secret::SecretSource;
use crate::store::s3::{
    Algorithm, Checksums, ConditionalWrites, Credentials, Encryption, Keys, Lock, LockMode, MAX_PART_BYTES,
    MIN_PART_BYTES, Options,
};

const KINDS: [&str; 3] = ["directory", "s3", "plugin"];
/// S3 takes keys of 1,024 bytes; half of that is left to the paths of objects.
const MAX_PREFIX_BYTES: usize = 400;
/// Uploads younger than this are never dead: a backup under way must not lose its parts.
const MIN_STALE_SECONDS: u64 = 3600;
/// Most tags of an object: S3's own limit.
const MAX_TAGS: usize = 10;

impl Check<'_> {
    /// Fills `rules` with the retention of stores that have their own, and `timeouts` with how long each may take.
    pub(super) fn stores(
        &mut self,
        named: Vec<Named>,
        rules: &mut BTreeMap<String, retain::Policy>,
        timeouts: &mut BTreeMap<String, Duration>,
    ) -> BTreeMap<String, StoreConfig> {
        let mut stores: BTreeMap<String, StoreConfig> = BTreeMap::new();
        for (name, fields) in named {
            let Some(mut fields) = fields else { continue };
            if let Some(timeout) = fields.duration("timeout") {
                timeouts.insert(name.value.clone(), timeout.value);
            }
            if let Some(policy) = fields.fields("retention").and_then(|own| self.retention(own.value)) {
                rules.insert(name.value.clone(), policy);
            }
            let given: Vec<&str> = KINDS.into_iter().filter(|kind| fields.gives(kind)).collect();
            let span = fields.span.clone().or(name.span);
            match given[..] {
                [_] => {}
                [] if fields.has_unknown => {}
                [] => self.tell(
                    Diagnostic::error(format!("store `{}` has no kind", name.value)).at(span.clone()).hint(
                        format!(
                            "write it as `[store.{0}.directory]`, `[store.{0}.s3]` or `[store.{0}.plugin]`",
                            name.value
                        ),
                    ),
                ),
                _ => self.tell(
                    Diagnostic::error(format!("store `{}` has more than one kind", name.value))
                        .at(span.clone())
                        .hint("make a store of each, with a name of its own"),
                ),
            }
            let place = |fields: &Fields, key| fields.span_of(key).or_else(|| span.clone());
            let store = if let Some(mut directory) = fields.fields("directory") {
                let place = place(&directory.value, "path");
                directory
                    .value
                    .text("path")
                    .map(|path| (StoreConfig::Directory { path: self.path(path) }, place))
            } else if let Some(s3) = fields.fields("s3") {
                let place = place(&s3.value, "bucket");
                self.s3(s3.value).map(|options| (StoreConfig::S3(Box::new(options)), place))
            } else if let Some(plugin) = fields.fields("plugin") {
                let place = place(&plugin.value, "name");
                self.store_plugin(plugin.value).map(|plugin| (StoreConfig::Plugin(Box::new(plugin)), place))
            } else {
                None
            };
            let Some((store, place)) = store else { continue };
            if let Some((other, _)) = stores.iter().find(|(_, other)| same_place(other, &store)) {
                let what = match store {
                    StoreConfig::Directory { .. } => "folder",
                    StoreConfig::S3(_) => "bucket and prefix",
                    StoreConfig::Plugin(_) => "plugin and config",
                };
                self.tell(
                    Diagnostic::error(format!("stores `{other}` and `{}` are the same {what}", name.value))
                        .at(place)
                        .hint("two stores must not share a place: what one removes is gone from both"),
                );
            }
            stores.insert(name.value, store);
        }
        stores
    }

    fn s3(&mut self, mut fields: Fields) -> Option<Options> {
        let endpoint = self.s3_endpoint(&mut fields);
        let bucket = self.s3_bucket(&mut fields);
        let prefix = self.s3_prefix(&mut fields);
        let credentials = self.s3_credentials(&mut fields);
        let encryption = self.s3_encryption(&mut fields);
        let lock = self.s3_lock(&mut fields);
        let tags = self.s3_tags(&mut fields);
        let part_bytes = self.s3_part_size(&mut fields);
        let stale_after = self.stale_after(&mut fields)?;
        let algorithm = match fields.text("checksum_algorithm")?.value.as_str() {
            "sha256" => Algorithm::Sha256,
            _ => Algorithm::Crc32c,
        };
        let path_style = fields.flag("path_style").map(|flag| flag.value);
        Some(Options {
            bucket: bucket?,
            prefix,
            region: fields.text("region").map(|region| region.value),
            path_style: path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            ca: fields.text("ca").map(|path| self.path(path)),
            credentials,
            encryption,
            storage_class: fields.text("storage_class").map(|class| class.value),
            tags,
            lock,
            checksums: match fields.text("checksums")?.value.as_str() {
                "when_required" => Checksums::WhenRequired,
                _ => Checksums::WhenSupported(algorithm),
            },
            conditional_writes: match fields.text("conditional_writes")?.value.as_str() {
                "required" => ConditionalWrites::Required,
                "off" => ConditionalWrites::Off,
                _ => ConditionalWrites::Auto,
            },
            part_bytes: part_bytes?,
            parallel: usize::try_from(fields.integer("parallel")?.value).ok()?,
            attempts: u32::try_from(fields.integer("attempts")?.value).ok()?,
            connect_timeout: fields.duration("connect_timeout")?.value,
            request_timeout: fields.duration("request_timeout")?.value,
            stall_timeout: fields.duration("stall_timeout")?.value,
            stale_after,
        })
    }

    fn store_plugin(&mut self, mut fields: Fields) -> Option<PluginStoreConfig> {
        let granted = fields.fields("allow").map(|allow| self.allow(allow.value));
        let config_given = fields.gives("config");
        let config = fields.json("config").map(|config| config.value);
        let stale_after = self.stale_after(&mut fields);
        Some(PluginStoreConfig {
            plugin: fields.text("name")?.value,
            config: match config {
                None if config_given => return None,
                config => config.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new())),
            },
            granted: granted?,
            attempts: u32::try_from(fields.integer("attempts")?.value).ok()?,
            request_timeout: fields.duration("request_timeout")?.value,
            stall_timeout: fields.duration("stall_timeout")?.value,
            stale_after: stale_after?,
        })
    }

    fn stale_after(&mut self, fields: &mut Fields) -> Option<Duration> {
        let stale_after = fields.duration("stale_after")?;
        if stale_after.value.as_secs() < MIN_STALE_SECONDS {
            self.tell(
                Diagnostic::error(format!("`{}.stale_after` is less than an hour", fields.path))
                    .at(stale_after.span)
                    .hint("an upload under way would be taken for dead"),
            );
        }
        Some(stale_after.value)
    }

    fn s3_bucket(&mut self, fields: &mut Fields) -> Option<String> {
        let bucket = fields.text("bucket")?;
        let good = bucket.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if !good {
            self.tell(
                Diagnostic::error(format!("`{}` cannot be the name of a bucket", bucket.value))
                    .at(bucket.span)
                    .hint("give the name alone; what follows it goes into `prefix`, a server's URL into `endpoint`"),
            );
        }
        Some(bucket.value)
    }

    fn s3_prefix(&mut self, fields: &mut Fields) -> String {
        let Some(prefix) = fields.text("prefix") else { return String::new() };
        let bare = prefix.value.trim_matches('/');
        if crate::store::ObjectPath::new(bare).is_err() || bare.len() > MAX_PREFIX_BYTES {
            self.tell(
                Diagnostic::error(format!("`{}` cannot be a prefix", prefix.value)).at(prefix.span).hint(
                    "letters, digits, `.`, `_`, `-` and `/` between them; at most 400 of them, no name that begins with `.`",
                ),
            );
        }
        bare.to_owned()
    }

    fn s3_endpoint(&mut self, fields: &mut Fields) -> Option<String> {
        let endpoint = fields.text("endpoint")?;
        let text = endpoint.value.trim_end_matches('/');
        let parsed = text.parse::<http::Uri>().ok();
        let host = parsed.as_ref().and_then(http::Uri::authority).map(http::uri::Authority::as_str);
        // Before anything shows it: it may hold a password.
        if host.is_some_and(|host| host.contains('@')) {
            self.tell(
                Diagnostic::error("the endpoint holds a user or a password")
                    .at(endpoint.span)
                    .hint("take them out, and name the files of the keys"),
            );
            return None;
        }
        let scheme = parsed.as_ref().and_then(http::Uri::scheme_str);
        let bare = parsed.as_ref().is_some_and(|uri| uri.path() == "/" && uri.query().is_none());
        if !(matches!(scheme, Some("http" | "https")) && host.is_some() && bare) {
            self.tell(
                Diagnostic::error(format!("endpoint `{text}` is not the URL of a server"))
                    .at(endpoint.span)
                    .hint("write it as `https://s3.example.org` or `https://10.0.0.1:9000`, without a path: the bucket has a key of its own"),
            );
            return None;
        }
        if scheme == Some("http") && leaves_the_machine(&format!("{text}:")) {
            self.tell(
                Diagnostic::warning(format!(
                    "the backups go to `{text}` over a connection that is not encrypted"
                ))
                .at(endpoint.span)
                .hint("write `https://` if the server has TLS"),
            );
        }
        Some(text.to_owned())
    }

    /// The secret that `NAME_file` or `NAME_env` points to.
    pub(super) fn secret(
        &mut self,
        fields: &mut Fields,
        file: &'static str,
        env: &'static str,
    ) -> Option<SecretSource> {
        if fields.gives(file) && fields.gives(env) {
            self.tell(
                Diagnostic::error(format!("both `{file}` and `{env}` are given"))
                    .at(fields.span_of(env))
                    .hint("keep one of them"),
            );
        }
        if let Some(path) = fields.text(file) {
            return Some(SecretSource::File(self.path(path)));
        }
        let name = fields.text(env)?;
        if name.value.contains('=') {
            self.tell(
                Diagnostic::error(format!("`{env}` is not the name of an environment variable"))
                    .at(name.span)
                    .hint("give its name, not its value"),
            );
        }
        Some(SecretSource::Env(name.value))
    }

    fn s3_credentials(&mut self, fields: &mut Fields) -> Credentials {
        let span = fields.span.clone();
        let id = self.secret(fields, "access_key_id_file", "access_key_id_env");
        let secret = self.secret(fields, "secret_access_key_file", "secret_access_key_env");
        let session_token = self.secret(fields, "session_token_file", "session_token_env");
        let profile = fields.text("profile");
        let mut incomplete = |missing: &str| {
            self.tell(
                Diagnostic::error(format!("store has keys but no `{missing}`"))
                    .at(span.clone())
                    .hint(format!("add `{missing}_file = \"…\"` or `{missing}_env = \"…\"`")),
            );
        };
        match (&id, &secret) {
            (Some(_), None) => incomplete("secret_access_key"),
            (None, Some(_)) => incomplete("access_key_id"),
            (None, None) if session_token.is_some() => incomplete("access_key_id"),
            _ => {}
        }
        match (id, secret) {
            (Some(access_key_id), Some(secret_access_key)) => {
                if let Some(profile) = profile {
                    self.tell(
                        Diagnostic::error("both keys and a `profile` are given")
                            .at(profile.span)
                            .hint("keep one of them"),
                    );
                }
                Credentials::Keys(Keys { access_key_id, secret_access_key, session_token })
            }
            _ => Credentials::Chain { profile: profile.map(|profile| profile.value) },
        }
    }

    fn s3_encryption(&mut self, fields: &mut Fields) -> Encryption {
        let customer = self.secret(fields, "customer_key_file", "customer_key_env");
        let kind = fields.text("encryption");
        let kms_key = fields.text("kms_key");
        let kms = kind.as_ref().is_some_and(|kind| kind.value == "kms");
        if let Some(key) = &kms_key
            && !kms
        {
            self.tell(
                Diagnostic::error("`kms_key` is given but `encryption` is not \"kms\"")
                    .at(key.span.clone())
                    .hint("add `encryption = \"kms\"`"),
            );
        }
        match (customer, kind) {
            (Some(_), Some(kind)) => {
                self.tell(
                    Diagnostic::error("both `encryption` and a customer key are given")
                        .at(kind.span)
                        .hint("a server encrypts with one key: keep one of them"),
                );
                Encryption::Default
            }
            (Some(key), None) => Encryption::Customer { key },
            (None, Some(_)) if kms => Encryption::Kms { key_id: kms_key.map(|key| key.value) },
            (None, Some(_)) => Encryption::S3,
            (None, None) => Encryption::Default,
        }
    }

    fn s3_lock(&mut self, fields: &mut Fields) -> Option<Lock> {
        let mode = fields.text("object_lock");
        let retain_for = fields.duration("retain_for");
        let (given, missing, example) = match (&mode, &retain_for) {
            (Some(mode), None) => (mode.span.clone(), "retain_for", "30d"),
            (None, Some(time)) => (time.span.clone(), "object_lock", "governance"),
            _ => (None, "", ""),
        };
        if !missing.is_empty() {
            let other = if missing == "retain_for" { "object_lock" } else { "retain_for" };
            self.tell(
                Diagnostic::error(format!("`{other}` is given but no `{missing}`"))
                    .at(given)
                    .hint(format!("add `{missing} = \"{example}\"`")),
            );
        }
        let mode = match mode?.value.as_str() {
            "compliance" => LockMode::Compliance,
            _ => LockMode::Governance,
        };
        Some(Lock { mode, retain_for: retain_for?.value })
    }

    fn s3_tags(&mut self, fields: &mut Fields) -> Vec<(String, String)> {
        let Some(Spanned { value: serde_json::Value::Object(table), span }) = fields.json("tags") else {
            return Vec::new();
        };
        if table.len() > MAX_TAGS {
            self.tell(Diagnostic::error(format!("more than {MAX_TAGS} tags are given")).at(span.clone()));
        }
        let mut tags = Vec::new();
        for (name, value) in table {
            match value {
                serde_json::Value::String(text) => tags.push((name, text)),
                _ => self.tell(
                    Diagnostic::error(format!("tag `{name}` is not a text"))
                        .at(span.clone())
                        .hint(format!("put it in quotes: `{name} = \"…\"`")),
                ),
            }
        }
        tags
    }

    fn s3_part_size(&mut self, fields: &mut Fields) -> Option<u64> {
        let size = fields.size("part_size")?;
        if !(MIN_PART_BYTES..=MAX_PART_BYTES).contains(&size.value) {
            self.tell(
                Diagnostic::error(format!("`{}.part_size` is out of bounds", fields.path))
                    .at(size.span)
                    .label("expected 5MiB to 1GiB"),
            );
        }
        Some(size.value)
    }
}

fn same_place(one: &StoreConfig, other: &StoreConfig) -> bool {
    match (one, other) {
        (StoreConfig::Directory { path: one }, StoreConfig::Directory { path: other }) => one == other,
        (StoreConfig::S3(one), StoreConfig::S3(other)) => {
            one.bucket == other.bucket && one.prefix == other.prefix && one.endpoint == other.endpoint
        }
        (StoreConfig::Plugin(one), StoreConfig::Plugin(other)) => {
            one.plugin == other.plugin && one.config == other.config
        }
        _ => false,
    }
}
