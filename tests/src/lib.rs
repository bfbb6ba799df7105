//! The harness of the whole-system tests: throwaway etcd clusters, an operator's machine with its configuration and
//! its store, and the `holdfast` binary, seen from outside only.
//!
//! Nothing here knows Holdfast's code. What a test starts it ends, by process id, and every test has folders and
//! ports of its own, so that all of them may run at once. Waiting is always for an event, with a limit
//! ([`wait::until`]).

pub mod alertmanager;
pub mod certificates;
pub mod cluster;
pub mod disk;
pub mod dns;
pub mod filling;
mod listener;
pub mod mail;
pub mod objects;
pub mod plugins;
pub mod process;
pub mod protobuf;
pub mod proxy;
pub mod relay;
pub mod s3;
pub mod scrape;
pub mod service;
pub mod site;
pub mod tools;
pub mod toxiproxy;
pub mod wait;
pub mod webdav;

pub use certificates::{Authority, Validity};
pub use cluster::{Cluster, Key};
pub use process::Process;
pub use site::{Output, Site};
