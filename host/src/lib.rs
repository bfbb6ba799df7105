//! Holdfast: backs up etcd, proves every backup, and gets a cluster back.
//!
//! The binary is a thin shell over this library; `ARCHITECTURE.md` beside this crate is the map.

pub mod agent;
pub mod atomic;
pub mod boot;
pub mod bridge;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod config;
pub mod details;
pub mod etcd;
pub mod look;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod pack;
pub mod pipeline;
pub mod printer;
pub mod progress;
pub mod proof;
pub mod prune;
pub mod rekey;
pub mod restore;
pub mod retain;
pub mod retrieve;
pub mod schedule;
pub mod secret;
pub mod serve;
pub mod session;
pub mod signing;
pub mod source;
pub mod store;
pub mod sync;
pub mod units;
