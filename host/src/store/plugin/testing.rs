//! A store that is a plugin, for the tests of whoever works on one: with a real WebDAV server behind it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_runtime::{
    AddressRange, Allow, HostOptions, HttpOptions, HttpPattern, PluginHost, PluginOptions, Registry,
};
use holdfast_tests::{plugins, webdav};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Options, PluginStore};
use crate::secret::SecretSource;

/// A plugin directory with one plugin in it, loaded.
pub(super) struct Bench {
    registry: Arc<Registry>,
    pub(super) folder: TempDir,
}

impl Bench {
    pub(super) async fn new(name: &str, component: &[u8], http: HttpOptions) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("plugins");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(format!("{name}.wasm")), component).unwrap();
        let host = PluginHost::start(HostOptions {
            directory,
            cache_directory: folder.path().join("cache"),
            plugins: [(name.to_owned(), PluginOptions::default())].into(),
            http,
            ..HostOptions::default()
        });
        let host = host.unwrap();
        let report = host.scan().await;
        assert!(host.registry().plugin(name).is_ok(), "{report:?}");
        Bench { registry: host.registry(), folder }
    }

    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, content).unwrap();
        file
    }

    pub(super) fn options(plugin: &str, config: Value) -> Options {
        Options {
            store: "nas".to_owned(),
            cluster: "prod-eu".to_owned(),
            plugin: plugin.to_owned(),
            config,
            allow: Allow::default(),
            secrets: [].into(),
            attempts: 3,
            request_timeout: Duration::from_mins(2),
            transfer_timeout: Duration::from_mins(10),
            stall_timeout: Duration::from_mins(2),
            stale_after: Duration::from_hours(24),
        }
    }

    pub(super) fn open(&self, options: Options) -> PluginStore {
        PluginStore::new(options, Arc::new(Arc::clone(&self.registry)), Timestamp::now)
    }

    /// The plugin `webdav` on a server's folder.
    pub(super) fn webdav(&self, origin: &str, folder: &str) -> PluginStore {
        self.open(self.webdav_options(origin, folder))
    }

    pub(super) fn webdav_options(&self, origin: &str, folder: &str) -> Options {
        let url = format!("{origin}/dav/{folder}");
        let config = json!({ "url": url, "username": webdav::USER, "password_secret": "nas" });
        let password = webdav::Server::password_in(self.folder.path());
        Options {
            allow: Allow {
                http: vec![HttpPattern::parse(origin).unwrap()],
                http_addresses: vec![AddressRange::parse("127.0.0.0/8").unwrap()],
                secrets: ["nas".to_owned()].into(),
                ..Allow::default()
            },
            secrets: [("nas".to_owned(), SecretSource::File(password))].into(),
            ..Bench::options("webdav", config)
        }
    }
}

pub(super) async fn webdav_bench(http: HttpOptions) -> Bench {
    Bench::new("webdav", &fs::read(plugins::built("webdav")).unwrap(), http).await
}

/// A WebDAV server with the plugin in front of it. What lies in its folders can be looked at as in a directory store.
pub(crate) struct Share {
    server: webdav::Server,
    bench: Bench,
}

impl Share {
    /// None, said loudly, where no WebDAV server is installed.
    pub(crate) async fn start() -> Option<Share> {
        Some(Share { server: webdav::Server::start()?, bench: webdav_bench(HttpOptions::default()).await })
    }

    /// A folder of the server.
    pub(crate) fn folder(&self) -> TempDir {
        tempfile::Builder::new().prefix("share-").tempdir_in(self.server.folder("")).unwrap()
    }

    /// What lies in such a folder, through the plugin.
    pub(crate) fn plugin(&self, folder: &TempDir) -> Arc<PluginStore> {
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        Arc::new(self.bench.webdav(&self.server.origin(), name))
    }
}
