//! The whole system, from outside: the real binary on real etcd, with the real plugins.

mod agent;
mod architecture;
mod check;
mod cluster_faults;
mod continuity;
mod crash;
mod credentials;
mod damage;
mod disks;
mod examples;
mod filling;
mod interface;
mod kills;
mod look;
mod plugin_authors;
mod plugin_drift;
mod plugin_projects;
mod plugin_trust;
mod proof;
mod restore;
mod retention;
mod round_trip;
mod s3;
mod s3_access;
mod stores;
mod trust;
