//! A bad network: slow, cut, reset, dead. What is stored comes back, or is told not to be there.

use std::time::Duration;

use holdfast_tests::s3::Server;
use holdfast_tests::toxiproxy::Toxiproxy;
use serde_json::json;

use super::{BUCKET, LARGE, Options, content, options, path, read_small, store, stream, uploads};
use crate::store::{Store, list_all};

#[tokio::test]
async fn a_bad_network_only_takes_longer() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let Some(network) = Toxiproxy::to(server.port()) else { return };
    let keys = tempfile::tempdir().unwrap();
    let patient = Options {
        attempts: 30,
        stall_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        ..options(&network.endpoint(), keys.path())
    };
    let store = store(patient);
    let content = content(LARGE);
    let none = json!({});
    for (name, kind, direction, share, attributes) in [
        ("late", "latency", "downstream", 1.0, json!({ "latency": 80, "jitter": 40 })),
        (
            "sliced",
            "slicer",
            "upstream",
            1.0,
            json!({ "average_size": 20_000, "size_variation": 9_000, "delay": 10 }),
        ),
        ("cut-up", "limit_data", "upstream", 0.4, json!({ "bytes": 300_000 })),
        ("cut-down", "limit_data", "downstream", 0.4, json!({ "bytes": 300_000 })),
        ("reset", "reset_peer", "upstream", 0.3, json!({ "timeout": 20 })),
        ("dead-up", "bandwidth", "upstream", 0.25, json!({ "rate": 0 })),
        ("dead-down", "timeout", "downstream", 0.25, none.clone()),
    ] {
        let attributes = if attributes == none { json!({ "timeout": 0 }) } else { attributes };
        network.spoil(kind, direction, share, &attributes);
        let target = path(&format!("network/{name}"));
        assert_eq!(store.put(&target, stream(&content)).await.unwrap(), LARGE, "{name}");
        assert_eq!(read_small(&store, &target, LARGE).await.unwrap(), content, "{name}");
        network.heal();
    }
    assert_eq!(list_all(&store, "network/").await.unwrap().len(), 7);
    assert_eq!(uploads(&store).await, 0, "an upload is left");
}
