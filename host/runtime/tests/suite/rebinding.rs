//! Names that lead elsewhere each time they are asked for, as an attacker's do: the system's resolver asks a real DNS server, in a
//! network of its own where public and private addresses are all this machine's, so that whatever is connected to would answer.

use holdfast_runtime::Limits;
use holdfast_tests::dns;
use serde_json::json;

use crate::grants::{Reach, reaching_under, to, to_addresses};
use crate::servers::{Answer, Server};

/// Where a name is allowed to lead.
const PUBLIC: &str = "93.184.215.14";
/// Likewise; the server there sends its clients to its own name once more.
const REDIRECTING: &str = "93.184.215.16";
/// Nobody listens there.
const DEAD: &str = "93.184.215.15";
/// What an attacker is after: the cluster's network, a cloud's credentials, this machine.
const PRIVATE: [&str; 3] = ["10.0.0.7", "169.254.169.254", "127.0.0.1"];

/// Servers at all of these addresses.
struct World {
    public: Server,
    redirecting: Server,
    private: Vec<Server>,
}

impl World {
    async fn new() -> World {
        let mut private = Vec::new();
        for address in PRIVATE {
            private.push(Server::at(&format!("{address}:80"), Answer::ok()).await);
        }
        let redirect = Answer::redirect("http://moving.example/latest/meta-data");
        World {
            public: Server::at(&format!("{PUBLIC}:80"), Answer::ok()).await,
            redirecting: Server::at(&format!("{REDIRECTING}:80"), redirect).await,
            private,
        }
    }

    /// How many requests reached the good server, and how many any of the others.
    fn reached(&self) -> (usize, usize) {
        (self.public.heads().len(), self.private.iter().map(|server| server.heads().len()).sum())
    }
}

async fn request(reach: &Reach, name: &str) -> String {
    reach.ask(json!({ "do": "request", "authority": name }), &to(&[&format!("http://{name}")])).await
}

const PROHIBITED: &str = "http: ErrorCode::DestinationIpProhibited";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "`what_was_judged_is_what_is_connected_to` runs it in a network of its own"]
async fn within() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mixed = format!("{},{},{PUBLIC},{}", PRIVATE[0], PRIVATE[1], PRIVATE[2]);
    let dead = format!("{DEAD},{}", PRIVATE[0]);
    let dns = dns::Server::start(
        "127.0.0.1:53",
        &[
            ("metadata.example", &[PUBLIC, PRIVATE[1]]),
            ("cluster.example", &[PUBLIC, PRIVATE[0], PUBLIC, PRIVATE[2]]),
            ("mixed.example", &[&mixed]),
            ("dead.example", &[&dead]),
            ("mapped.example", &["::ffff:10.0.0.7", "::ffff:127.0.0.1,64:ff9b::7f00:1,::1"]),
            ("many.example", &[PUBLIC, PUBLIC, PRIVATE[1]]),
            ("moving.example", &[REDIRECTING, PRIVATE[1]]),
            ("inside.example", &[PRIVATE[0], PRIVATE[1]]),
        ],
        &folder.path().join("dns.log"),
    );
    let reach = reaching_under(Limits::default()).await;
    let world = World::new().await;

    // It was a good name when it was granted. Each request asks once, judges what it is told, and connects to that.
    assert_eq!(request(&reach, "metadata.example").await, "200 5");
    assert_eq!(
        dns.asked("metadata.example"),
        1,
        "between the look-up that is judged and the connection is none"
    );
    assert_eq!(request(&reach, "metadata.example").await, PROHIBITED);
    assert_eq!((dns.asked("metadata.example"), world.reached()), (2, (1, 0)));
    // There and back.
    for (turn, answer) in ["200 5", PROHIBITED, "200 5", PROHIBITED].into_iter().enumerate() {
        assert_eq!(request(&reach, "cluster.example").await, answer, "{turn}");
        assert_eq!(dns.asked("cluster.example"), turn + 1);
    }
    assert_eq!(world.reached(), (3, 0));

    // Several addresses at once: only the good one is tried, and when it does not answer there is no other.
    for _ in 0..4 {
        assert_eq!(request(&reach, "mixed.example").await, "200 5");
    }
    assert_eq!(world.reached(), (7, 0));
    assert_eq!(request(&reach, "dead.example").await, "http: ErrorCode::ConnectionRefused");
    assert_eq!(world.reached(), (7, 0));

    // IPv4 in the clothes of IPv6.
    for _ in 0..2 {
        assert_eq!(request(&reach, "mapped.example").await, PROHIBITED);
    }

    // Within one call, each request is judged by itself.
    let many = json!({ "do": "many-requests", "n": 5, "authority": "many.example" });
    let run = reach.call(many, &to(&["http://many.example"])).await;
    assert_eq!(
        run.result.expect_err("the third leads elsewhere").message,
        "ErrorCode::DestinationIpProhibited"
    );
    assert_eq!((run.stats.http_requests, run.stats.denied), (3, 1));
    assert_eq!((dns.asked("many.example"), world.reached()), (3, (9, 0)));
    let denial = &run.denied[0];
    assert_eq!(denial.reason, format!("it leads to `{}`, a link-local address", PRIVATE[1]));

    // What is listed is reached, and that alone, wherever the name leads next.
    let granted = to_addresses(&["http://inside.example"], &["10.0.0.0/8"]);
    let inside = json!({ "do": "request", "authority": "inside.example" });
    assert_eq!(reach.ask(inside.clone(), &granted).await, "200 5");
    assert_eq!(reach.ask(inside, &granted).await, PROHIBITED);
    assert_eq!((world.reached(), world.private[0].heads().len()), ((9, 1), 1));

    // The name has moved between the redirect and the request that follows it.
    let follow = json!({ "do": "follow", "authority": "moving.example" });
    assert_eq!(reach.ask(follow, &to(&["http://moving.example"])).await, PROHIBITED);
    assert_eq!((dns.asked("moving.example"), world.redirecting.heads().len()), (2, 1));
    assert_eq!(world.reached(), (9, 1));
}

#[test]
fn what_was_judged_is_what_is_connected_to() {
    let own = std::env::current_exe().expect("a test has a file");
    // The loopback address is there by itself.
    let addresses: Vec<&str> = PRIVATE[..2].iter().copied().chain([PUBLIC, REDIRECTING, DEAD]).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The guest is built out here: there is no registry in there.
    crate::harness::reach();
    let Some(mut command) = dns::isolated(&own, &addresses, &folder.path().join("resolv.conf")) else {
        return;
    };
    let output = command.args(["--exact", "rebinding::within", "--ignored", "--nocapture"]).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
