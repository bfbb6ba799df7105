//! A store on a WebDAV server (RFC 4918): a NAS, Nextcloud, Apache, nginx with its DAV modules.
//!
//! An object is a file of the same path below one folder. It is written to `.uploads` in that folder, its size is looked at, and it
//! is moved to its place: `MOVE` with `Overwrite: F` shows it whole, and never in the place of another. What a dead writer left lies
//! in `.uploads`.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `config` | which server, and with what right |
//! | `server` | requests, and what their answers mean |
//! | `multistatus` | the XML of a folder's listing |
//! | `upload`, `download` | bytes to the server and back |
//! | `tree` | a listing in the order of paths, folder by folder |
//! | `folders` | those that became empty |

mod config;
mod download;
mod folders;
mod multistatus;
mod server;
mod tree;
mod upload;

use std::time::Duration;

use holdfast_plugin::export_store;
use holdfast_plugin::store::{Body, Call, Feature, Object, Page, Sink, Store, StoreError};

pub use config::Config;
use server::Server;

/// Keeps objects on a WebDAV server.
pub struct WebDav {
    server: Server,
    upload: String,
}

impl Store for WebDav {
    const NAME: &'static str = "webdav";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Keeps backups on a WebDAV server";
    const WANTS: &'static [&'static str] = &[r#"http = ["https://*", "http://*"]"#, r#"secrets = ["*"]"#];
    type Config = Config;

    fn features(_config: &Config) -> Vec<Feature> {
        vec![Feature::Atomic, Feature::Exclusive, Feature::Ranges, Feature::Sweep]
    }

    fn open(config: Config, call: &Call<'_>) -> Result<Self, StoreError> {
        // A try that was given up may still be writing: each has a file of its own.
        let upload = format!("{}-{}", call.upload().unwrap_or("upload"), call.attempt());
        Ok(Self { server: config.server()?, upload })
    }

    fn probe(&self) -> Result<(), StoreError> {
        upload::probe(&self.server)
    }

    fn put(&self, path: &str, body: &mut dyn Body) -> Result<u64, StoreError> {
        upload::put(&self.server, &self.upload, path, body)
    }

    fn get(&self, path: &str, start: u64, end: Option<u64>, into: &mut dyn Sink) -> Result<(), StoreError> {
        download::get(&self.server, path, start, end, into)
    }

    fn head(&self, path: &str) -> Result<Option<Object>, StoreError> {
        let found = self.server.look(path)?.filter(|entry| !entry.is_folder);
        Ok(found.map(|entry| entry.object(path.to_owned())))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, StoreError> {
        tree::page(&self.server, prefix, after, limit)
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.server.delete(path)?;
        upload::remove_leftovers(&self.server, path)?;
        folders::remove_empty_above(&self.server, path);
        Ok(())
    }

    fn sweep(&self, age: Duration) -> Result<u64, StoreError> {
        upload::sweep(&self.server, age)
    }
}

export_store!(WebDav);
