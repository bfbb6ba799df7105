//! Opens everything that a configuration names, for `holdfast config check`: secrets, TLS files, recipients, identities.
//!
//! Buckets are asked whether they can be used; nothing else here talks to a network, and nothing is left behind. What is
//! found points at the line that names the file or the store.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::diagnostic::{Diagnostic, Severity, Span};
use super::{Config, StoreConfig, read_recipients};
use crate::etcd::Cluster;
use crate::notify::Means;
use crate::pack;
use crate::secret::SecretSource;
use crate::signing::SigningError;
use crate::store::s3::{self, Credentials, Encryption};
use crate::store::{S3Store, Store};

/// Tries of a request to a bucket: somebody sits and waits for the answer.
const BUCKET_ATTEMPTS: u32 = 2;

/// Opens and reads what the configuration names, and asks its buckets.
pub async fn probe(config: &Config) -> Vec<Diagnostic> {
    let mut found = probe_files(config).await;
    for (name, store) in &config.stores {
        if let StoreConfig::S3(options) = store {
            bucket(config, name, options, &mut found).await;
        }
    }
    found
}

/// Opens and reads the files that the configuration names. Who takes up a new configuration does not wait for buckets: one
/// that cannot be reached now says nothing about it.
pub async fn probe_files(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    config_file(config, &mut found);
    password(config, &mut found);
    tls_files(config, &mut found);
    if !found.iter().any(|one| one.severity == Severity::Error) {
        connection(config, &mut found).await;
    }
    keys(config, &mut found);
    plugin_secrets(config, &mut found);
    mail(config, &mut found);
    signing(config, &mut found);
    folders(config, &mut found);
    found
}

fn config_file(config: &Config, found: &mut Vec<Diagnostic>) {
    let path = &config.source.path;
    if mode(path).is_some_and(|mode| mode & 0o022 != 0) {
        let hint = format!("it names the plugins that are run: `chmod go-w {}`", path.display());
        found.push(Diagnostic::warning("this file may be written by others").hint(hint));
    }
}

fn password(config: &Config, found: &mut Vec<Diagnostic>) {
    let Some(source) = config.cluster.password() else { return };
    let (key, file) = match source {
        SecretSource::File(path) => ("cluster.password_file", Some(path)),
        SecretSource::Env(_) => ("cluster.password_env", None),
    };
    let place = config.source.place(key);
    match source.read() {
        Ok(_) => {
            if let Some(path) = file {
                private("password file", path, place, found);
            }
        }
        Err(error) => found.push(Diagnostic::error(with_causes(&error)).at(place).maybe_hint(error.hint())),
    }
}

fn tls_files(config: &Config, found: &mut Vec<Diagnostic>) {
    let Some(tls) = config.cluster.tls() else { return };
    let mut file = |key: &str, what: &str, path: &Path, read: fn(&Path) -> Result<(), String>| {
        let place = config.source.place(&format!("cluster.tls.{key}"));
        match fs::metadata(path).map_err(|error| error.to_string()).and_then(|_| read(path)) {
            Ok(()) => place,
            Err(reason) => {
                let message = format!("{what} `{}` cannot be used: {reason}", path.display());
                found.push(Diagnostic::error(message).at(place));
                None
            }
        }
    };
    if let Some(path) = &tls.ca {
        file("ca", "authority", path, certificates);
    }
    if let Some((certificate, key)) = &tls.identity {
        file("cert", "certificate", certificate, certificates);
        if let Some(place) = file("key", "key", key, private_key) {
            private("key", key, Some(place), found);
        }
    }
}

fn certificates(path: &Path) -> Result<(), String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn private_key(path: &Path) -> Result<(), String> {
    PrivateKeyDer::from_pem_file(path).map(drop).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => "there is no private key in it".to_owned(),
        other => other.to_string(),
    })
}

/// Puts the files together as a connection does: do key and certificate belong to each other?
async fn connection(config: &Config, found: &mut Vec<Diagnostic>) {
    // Told by `password`.
    // A machine that only proves what others made has none.
    if config.cluster.endpoints().is_empty() {
        return;
    }
    let Ok(options) = config.cluster.etcd() else { return };
    if let Err(error) = Cluster::connect(&options).await {
        let place = config.source.place("cluster.tls").or_else(|| config.source.place("cluster.endpoints"));
        found.push(Diagnostic::error(with_causes(&error)).at(place));
    }
}

fn keys(config: &Config, found: &mut Vec<Diagnostic>) {
    for (index, path) in config.backup.recipients_files().iter().enumerate() {
        if let Err(error) = read_recipients(path) {
            let place = config.source.place(&format!("backup.pack.recipients_files[{index}]"));
            found.push(Diagnostic::error(with_causes(&error)).at(place).maybe_hint(error.hint()));
        }
    }
    let mut readable = Vec::new();
    for (index, path) in config.decrypt.iter().enumerate() {
        let place = config.source.place(&format!("decrypt.identity_files[{index}]"));
        match pack::read_identities(path) {
            Ok(identities) => {
                readable.extend(identities.iter().filter_map(pack::Identity::recipient));
                private("identity file", path, place, found);
            }
            Err(error) => {
                found.push(Diagnostic::error(with_causes(&error)).at(place).maybe_hint(error.hint()));
            }
        }
    }
    let written = config.backup.passphrase().into_iter();
    for (source, place) in written
        .map(|source| {
            (source, ["backup.pack.passphrase_file", "backup.pack.passphrase_env"].map(String::from))
        })
        .chain(config.passphrases.iter().enumerate().map(|(index, source)| {
            (source, [format!("decrypt.passphrase_files[{index}]"), "decrypt.passphrase_env".to_owned()])
        }))
    {
        let place = match source {
            SecretSource::File(_) => config.source.place(&place[0]),
            SecretSource::Env(_) => config.source.place(&place[1]),
        };
        match (source.read(), source) {
            (Err(error), _) => {
                found.push(Diagnostic::error(with_causes(&error)).at(place).maybe_hint(error.hint()));
            }
            (Ok(_), SecretSource::File(path)) => private("passphrase file", path, place, found),
            (Ok(_), SecretSource::Env(_)) => {}
        }
    }
    let Ok(packing) = config.backup.pack() else { return };
    let pack_place = || config.source.place("backup.pack").or_else(|| config.source.place("backup"));
    if packing.recipients.is_empty() {
        return;
    }
    if config.decrypt.is_empty() {
        found.push(
            Diagnostic::warning("this machine can write backups but not read them: it has no identity")
                .at(pack_place())
                .hint("keep it so if backups are verified and restored elsewhere; else give `identity_files` in [decrypt]"),
        );
    } else if !packing.recipients.iter().any(|recipient| readable.contains(recipient)) {
        found.push(
            Diagnostic::warning(
                "none of the identities reads what is written: they belong to other recipients",
            )
            .at(config.source.place("decrypt.identity_files"))
            .hint("`age-keygen -y KEYFILE` prints the recipient of an identity"),
        );
    }
}

/// What plugins may be granted, and whom their requests trust.
fn plugin_secrets(config: &Config, found: &mut Vec<Diagnostic>) {
    for (name, source) in &config.secrets {
        let place = |key: &str| config.source.place(&format!("secret.{name}.{key}"));
        match (source.read(), source) {
            (Err(error), _) => {
                let place = place("file").or_else(|| place("env"));
                found.push(Diagnostic::error(with_causes(&error)).at(place).maybe_hint(error.hint()));
            }
            (Ok(_), SecretSource::File(path)) => private("secret file", path, place("file"), found),
            (Ok(_), SecretSource::Env(_)) => {}
        }
    }
    if let Some(Err(reason)) = config.plugins.http.ca.as_deref().map(certificates) {
        let message = format!("the authorities for plugins' requests cannot be used: {reason}");
        found.push(Diagnostic::error(message).at(config.source.place("plugins.http_ca")));
    }
}

/// What notifications by email need.
fn mail(config: &Config, found: &mut Vec<Diagnostic>) {
    for notifier in config.notifiers.values() {
        let Means::Email(email) = &notifier.means else { continue };
        let place = |key: &str| config.source.place(&format!("notify.{}.email.{key}", notifier.name));
        if let Some(Err(reason)) = email.ca.as_deref().map(certificates) {
            let message = format!("the authorities of the mail server cannot be used: {reason}");
            found.push(Diagnostic::error(message).at(place("ca")));
        }
        let Some(login) = &email.login else { continue };
        match (login.password.read(), &login.password) {
            (Err(error), _) => {
                let place = place("password_file").or_else(|| place("password_env"));
                found.push(Diagnostic::error(with_causes(&error)).at(place).maybe_hint(error.hint()));
            }
            (Ok(_), SecretSource::File(path)) => {
                private("password file", path, place("password_file"), found);
            }
            (Ok(_), SecretSource::Env(_)) => {}
        }
    }
}

fn signing(config: &Config, found: &mut Vec<Diagnostic>) {
    let place = |key: &str| config.source.place(&format!("signing.{key}"));
    match config.signing_key() {
        Ok(_) => {}
        Err(SigningError::NoKey) => found.push(
            Diagnostic::warning("this machine refuses what is not signed, and has no key to sign with: it can make no backup")
                .at(config.source.place("trust.keys"))
                .hint("keep it so if backups are only listed, verified and restored here; else give `key_file` in [signing]"),
        ),
        Err(error) => {
            let at = match &error {
                SigningError::NotTrusted { .. } => config.source.place("trust.keys"),
                SigningError::Password { .. } => place("password_file").or_else(|| place("password_env")),
                _ => place("key_file").or_else(|| place("key_env")),
            };
            found.push(Diagnostic::error(with_causes(&error)).at(at).maybe_hint(error.hint()));
        }
    }
    let Some(signing) = &config.signing else { return };
    for (what, key, source) in [
        ("signing key", "key_file", Some(&signing.key)),
        ("password file", "password_file", signing.password.as_ref()),
    ] {
        if let Some(SecretSource::File(path)) = source {
            private(what, path, place(key), found);
        }
    }
}

/// Folders may well be made later, but what stands in their place may not be something else.
fn folders(config: &Config, found: &mut Vec<Diagnostic>) {
    let stores = config.stores.iter().filter_map(|(name, store)| match store {
        StoreConfig::Directory { path } => Some((format!("store.{name}.directory.path"), path.as_path())),
        StoreConfig::S3(_) | StoreConfig::Plugin(_) => None,
    });
    let others = [("backup.scratch".to_owned(), config.backup.scratch.as_path())];
    for (key, path) in stores.chain(others) {
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir()) {
            let message = format!("`{}` is not a folder", path.display());
            found.push(Diagnostic::error(message).at(config.source.place(&key)));
        }
    }
}

/// Reads the files that a bucket's table names, and asks the bucket when they are sound.
async fn bucket(config: &Config, name: &str, options: &s3::Options, found: &mut Vec<Diagnostic>) {
    let place = |key: &str| config.source.place(&format!("store.{name}.s3.{key}"));
    let before = found.len();
    let mut secrets = Vec::new();
    if let Credentials::Keys(keys) = &options.credentials {
        secrets.push(("access_key_id", &keys.access_key_id));
        secrets.push(("secret_access_key", &keys.secret_access_key));
        secrets.extend(keys.session_token.iter().map(|token| ("session_token", token)));
    }
    if let Encryption::Customer { key } = &options.encryption {
        secrets.push(("customer_key", key));
    }
    for (key, source) in secrets {
        let place = place(&format!("{key}_file")).or_else(|| place(&format!("{key}_env")));
        match (source.read(), source) {
            (Err(error), _) => {
                found.push(Diagnostic::error(with_causes(&error)).at(place).maybe_hint(error.hint()));
            }
            (Ok(_), SecretSource::File(path)) if key != "access_key_id" => {
                private("secret file", path, place, found);
            }
            _ => {}
        }
    }
    if let Some(Err(reason)) = options.ca.as_deref().map(certificates) {
        let message = format!("authority of store `{name}` cannot be used: {reason}");
        found.push(Diagnostic::error(message).at(place("ca")));
    }
    if found[before..].iter().any(|one| one.severity == Severity::Error) {
        return;
    }
    let options = s3::Options { attempts: options.attempts.min(BUCKET_ATTEMPTS), ..options.clone() };
    if let Err(error) = S3Store::new(options, Timestamp::now).probe().await {
        let message = format!("store `{name}` cannot be used: {}", with_causes(&error));
        found.push(Diagnostic::error(message).at(place("bucket")).maybe_hint(error.hint()));
    }
}

/// Warns of a secret file that others may read.
fn private(what: &str, path: &Path, place: Option<Span>, found: &mut Vec<Diagnostic>) {
    if mode(path).is_some_and(|mode| mode & 0o007 != 0) {
        found.push(
            Diagnostic::warning(format!(
                "{what} `{}` may be read by everyone on this machine",
                path.display()
            ))
            .at(place)
            .hint(format!("`chmod 600 {}`", path.display())),
        );
    }
}

/// Permission bits, where they mean something: not of pipes and devices, such as `/dev/stdin`.
fn mode(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| metadata.permissions().mode() & 0o777)
}

/// An error with its causes in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
