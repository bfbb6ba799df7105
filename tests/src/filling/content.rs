//! Objects as the API server stores them: the fields, sizes and repetitions of a real cluster's.
//!
//! Field numbers: Kubernetes `api/core/v1/generated.proto` and its neighbours, `apimachinery/pkg/apis/meta/v1/generated.proto`.

use std::fmt::Write as _;

use super::changes::Random;
use crate::protobuf::{Message, envelope};

/// The kinds of objects, in about the shares of a large cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Pod,
    ReplicaSet,
    EndpointSlice,
    ConfigMap,
    Secret,
    ServiceAccount,
    Lease,
}

/// What managers of fields note of a pod, and in part of other objects.
const POD_FIELDS: &str = r#"{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{},"f:team":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"UID\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"LOG_LEVEL\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}}},"f:resources":{".":{},"f:limits":{".":{},"f:cpu":{},"f:memory":{}},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:serviceAccount":{},"f:serviceAccountName":{},"f:terminationGracePeriodSeconds":{}}}"#;
const POD_STATUS_FIELDS: &str = r#"{"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:hostIPs":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\"10.0.0.0\"}":{".":{},"f:ip":{}}},"f:startTime":{}}}"#;
const REPLICA_SET_FIELDS: &str = r#"{"f:metadata":{"f:annotations":{".":{},"f:deployment.kubernetes.io/desired-replicas":{},"f:deployment.kubernetes.io/max-replicas":{},"f:deployment.kubernetes.io/revision":{}},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{},"f:team":{}},"f:ownerReferences":{".":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{},"f:team":{}}},"f:spec":{"f:containers":{},"f:dnsPolicy":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}}}"#;
const EVENT_FIELDS: &str = r#"{"f:count":{},"f:firstTimestamp":{},"f:involvedObject":{},"f:lastTimestamp":{},"f:message":{},"f:reason":{},"f:reportingComponent":{},"f:source":{"f:component":{},"f:host":{}},"f:type":{}}"#;
const SMALL_FIELDS: &str =
    r#"{"f:data":{".":{},"f:config.yaml":{}},"f:metadata":{"f:labels":{".":{},"f:app":{},"f:team":{}}}}"#;

const APPLICATIONS: [&str; 16] = [
    "checkout",
    "cart",
    "catalogue",
    "search",
    "payments",
    "ledger",
    "mailer",
    "gateway",
    "identity",
    "sessions",
    "inventory",
    "pricing",
    "reports",
    "scheduler",
    "telemetry",
    "uploads",
];
const REASONS: [(&str, &str); 6] = [
    ("Pulled", "Container image \"registry.example/IMAGE\" already present on machine"),
    ("Created", "Created container: main"),
    ("Started", "Started container main"),
    ("Scheduled", "Successfully assigned POD to NODE"),
    ("BackOff", "Back-off restarting failed container main in pod POD"),
    ("Unhealthy", "Readiness probe failed: Get \"http://ADDRESS:8080/ready\": context deadline exceeded"),
];
/// Some day in 2026.
const EPOCH_SECONDS: u64 = 1_790_000_000;

impl Kind {
    /// The kind for a roll of a hundred-sided dice.
    pub(super) fn of(dice: u64) -> Kind {
        match dice {
            0..=43 => Kind::Event,
            44..=63 => Kind::Pod,
            64..=70 => Kind::ReplicaSet,
            71..=76 => Kind::EndpointSlice,
            77..=83 => Kind::ConfigMap,
            84..=91 => Kind::Secret,
            92..=96 => Kind::ServiceAccount,
            _ => Kind::Lease,
        }
    }

    /// Whether objects of this kind are deleted all the time.
    pub(super) fn goes(self) -> bool {
        matches!(self, Kind::Event | Kind::Pod | Kind::ReplicaSet)
    }

    /// The key of the object with this number.
    pub(super) fn key(self, number: u64) -> String {
        let folder = match self {
            Kind::Event => "events",
            Kind::Pod => "pods",
            Kind::ReplicaSet => "replicasets",
            Kind::EndpointSlice => "endpointslices",
            Kind::ConfigMap => "configmaps",
            Kind::Secret => "secrets",
            Kind::ServiceAccount => "serviceaccounts",
            Kind::Lease => "leases",
        };
        let names = Names::of(self, number);
        format!("/registry/{folder}/{}/{}", names.namespace, names.name)
    }
}

/// What an object is called; the same for all its versions.
struct Names {
    application: &'static str,
    namespace: String,
    name: String,
    uid: String,
    node: String,
    seconds: u64,
}

impl Names {
    fn of(kind: Kind, number: u64) -> Names {
        let mut random = Random::new(number + 1);
        let application = APPLICATIONS[random.below(16) as usize];
        let namespace = format!("team-{}", random.below(200));
        let name = match kind {
            Kind::Event => {
                format!("{application}-{:09x}-{:05x}.{:016x}", number >> 4, number & 0xf_ffff, random.next())
            }
            Kind::Pod => format!("{application}-{:09x}-{number:05x}", number >> 4),
            Kind::ReplicaSet | Kind::EndpointSlice => format!("{application}-{number:09x}"),
            _ => format!(
                "{application}-{}-{number}",
                ["config", "tls", "token", "settings"][random.below(4) as usize]
            ),
        };
        let uid = uid(&mut random);
        let node = format!("node-{}.eu-west-1.example", random.below(400));
        Names { application, namespace, name, uid, node, seconds: EPOCH_SECONDS + number / 20 }
    }
}

/// The stored form of an object's version.
pub(super) fn content(kind: Kind, number: u64, version: u32) -> Vec<u8> {
    let names = Names::of(kind, number);
    let mut random = Random::new(number << 20 | u64::from(version));
    match kind {
        Kind::Event => envelope("v1", "Event", &event(&names, version, &mut random)),
        Kind::Pod => envelope("v1", "Pod", &pod(&names, version, &mut random)),
        Kind::ReplicaSet => envelope("apps/v1", "ReplicaSet", &replica_set(&names, version, &mut random)),
        Kind::EndpointSlice => {
            envelope("discovery.k8s.io/v1", "EndpointSlice", &endpoint_slice(&names, version, &mut random))
        }
        Kind::ConfigMap => envelope("v1", "ConfigMap", &config_map(&names, version, &mut random)),
        Kind::Secret => envelope("v1", "Secret", &secret(&names, version, &mut random)),
        Kind::ServiceAccount => {
            envelope("v1", "ServiceAccount", &new().message(1, &metadata(&names, version, &[])))
        }
        Kind::Lease => envelope("coordination.k8s.io/v1", "Lease", &lease(&names, version)),
    }
}

fn new() -> Message {
    Message::default()
}

fn uid(random: &mut Random) -> String {
    let (high, low) = (random.next(), random.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

fn hexadecimal(random: &mut Random, digits: usize) -> String {
    let mut text = String::with_capacity(digits + 16);
    while text.len() < digits {
        let _ = write!(text, "{:016x}", random.next());
    }
    text.truncate(digits);
    text
}

fn time(seconds: u64) -> Message {
    new().number(1, seconds).number(2, 0)
}

fn address(random: &mut Random) -> String {
    format!("10.{}.{}.{}", random.below(256), random.below(256), random.below(256))
}

/// `ObjectMeta`, with the managers of its fields.
fn metadata(names: &Names, version: u32, managers: &[(&str, &str)]) -> Message {
    let mut meta = new()
        .text(1, &names.name)
        .text(2, "")
        .text(3, &names.namespace)
        .text(4, "")
        .text(5, &names.uid)
        .text(6, "")
        .number(7, u64::from(version))
        .message(8, &time(names.seconds))
        .entry(11, "app", names.application.as_bytes())
        .entry(11, "team", names.namespace.as_bytes());
    for (number, (manager, fields)) in managers.iter().enumerate() {
        let entry = new()
            .text(1, manager)
            .text(2, "Update")
            .text(3, "v1")
            .message(4, &time(names.seconds + u64::from(version)))
            .text(6, "FieldsV1")
            .message(7, &new().text(1, &fields.replace("UID", &names.uid)))
            .text(8, if number == 0 { "" } else { "status" });
        meta = meta.message(17, &entry);
    }
    meta
}

fn owner(kind: &str, names: &Names) -> Message {
    new()
        .text(1, kind)
        .text(3, names.application)
        .text(4, &names.uid)
        .text(5, "apps/v1")
        .number(6, 1)
        .number(7, 1)
}

fn container(names: &Names, number: u64) -> Message {
    let quantity = |text: &str| new().text(1, text).into_bytes();
    let mut container = new()
        .text(1, if number == 0 { "main" } else { "sidecar" })
        .text(
            2,
            &format!("registry.example/{}/{}:1.{}.0", names.namespace, names.application, names.seconds % 97),
        )
        .text(5, "")
        .message(6, &new().text(1, "http").number(2, 0).number(3, 8080).text(4, "TCP").text(5, ""));
    for (name, value) in [
        ("LOG_LEVEL", "info"),
        ("DATABASE_URL", "postgres://database.internal.example:5432/main?sslmode=verify-full"),
        ("CACHE_ADDRESS", "redis-headless.cache.svc.cluster.local:6379"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.telemetry.svc.cluster.local:4317"),
    ] {
        container = container.message(7, &new().text(1, name).text(2, value));
    }
    let resources = new()
        .entry(1, "cpu", &quantity("500m"))
        .entry(1, "memory", &quantity("512Mi"))
        .entry(2, "cpu", &quantity("100m"))
        .entry(2, "memory", &quantity("256Mi"));
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    container
        .message(8, &resources)
        .message(
            9,
            &new()
                .text(1, &format!("kube-api-access-{}", &names.uid[..5]))
                .number(2, 1)
                .text(3, token)
                .text(4, ""),
        )
        .text(13, "/dev/termination-log")
        .text(14, "IfNotPresent")
        .number(16, 0)
        .number(17, 0)
        .number(18, 0)
        .text(20, "File")
}

fn pod_spec(names: &Names) -> Message {
    let seconds =
        |key: &str| new().text(1, key).text(2, "Exists").text(3, "").text(4, "NoExecute").number(5, 300);
    let mut spec = new().message(2, &container(names, 0));
    if names.seconds.is_multiple_of(3) {
        spec = spec.message(2, &container(names, 1));
    }
    spec.text(3, "Always")
        .number(4, 30)
        .text(6, "ClusterFirst")
        .text(8, names.application)
        .text(9, names.application)
        .text(10, &names.node)
        .number(11, 0)
        .number(12, 0)
        .number(13, 0)
        .message(14, &new())
        .text(19, "default-scheduler")
        .message(22, &seconds("node.kubernetes.io/not-ready"))
        .message(22, &seconds("node.kubernetes.io/unreachable"))
        .number(25, 0)
        .number(30, 1)
        .text(31, "PreemptLowerPriority")
}

fn pod(names: &Names, version: u32, random: &mut Random) -> Message {
    let managers = [("kube-controller-manager", POD_FIELDS), ("kubelet", POD_STATUS_FIELDS)];
    // A pod is made, bound to its node, and then its status is written.
    let meta = metadata(names, version, &managers[..if version == 1 { 1 } else { 2 }])
        .message(13, &owner("ReplicaSet", names));
    let mut status = new().text(1, if version == 1 { "Pending" } else { "Running" });
    if version > 1 {
        for name in ["Initialized", "Ready", "ContainersReady", "PodScheduled"] {
            let since = time(names.seconds + u64::from(version));
            status = status
                .message(2, &new().text(1, name).text(2, "True").message(3, &time(0)).message(4, &since));
        }
        let (host, own) = (address(random), address(random));
        let image = format!("registry.example/{}@sha256:{}", names.application, hexadecimal(random, 64));
        let running = new().message(2, &new().message(1, &time(names.seconds + 3)));
        let container = new()
            .text(1, "main")
            .message(2, &running)
            .number(4, 1)
            .number(5, u64::from(version) / 4)
            .text(6, &image[..image.len() - 72])
            .text(7, &image)
            .text(8, &format!("containerd://{}", hexadecimal(random, 64)))
            .number(9, 1);
        status = status
            .text(5, &host)
            .text(6, &own)
            .message(7, &time(names.seconds + 1))
            .message(8, &container)
            .text(9, "Burstable")
            .message(12, &new().text(1, &own))
            .message(16, &new().text(1, &host));
    }
    new().message(1, &meta).message(2, &pod_spec(names)).message(3, &status)
}

fn replica_set(names: &Names, version: u32, random: &mut Random) -> Message {
    let replicas = 1 + random.below(9);
    let meta = metadata(names, version, &[("kube-controller-manager", REPLICA_SET_FIELDS)])
        .entry(12, "deployment.kubernetes.io/desired-replicas", replicas.to_string().as_bytes())
        .entry(12, "deployment.kubernetes.io/revision", version.to_string().as_bytes())
        .message(13, &owner("Deployment", names));
    let labels =
        new().entry(1, "app", names.application.as_bytes()).entry(1, "team", names.namespace.as_bytes());
    let template =
        new().message(1, &new().entry(11, "app", names.application.as_bytes())).message(2, &pod_spec(names));
    let spec = new().number(1, replicas).message(2, &labels).message(3, &template).number(4, 0);
    let status =
        new().number(1, replicas).number(2, replicas).number(3, u64::from(version)).number(4, replicas);
    new().message(1, &meta).message(2, &spec).message(3, &status)
}

fn endpoint_slice(names: &Names, version: u32, random: &mut Random) -> Message {
    let mut slice =
        new().message(1, &metadata(names, version, &[("endpointslice-controller", SMALL_FIELDS)]));
    for _ in 0..=random.below(12) {
        let target =
            new().text(1, "Pod").text(2, &names.namespace).text(3, &names.name).text(4, &uid(random));
        let endpoint = new()
            .text(1, &address(random))
            .message(2, &new().number(1, 1).number(2, 1).number(3, 0))
            .message(4, &target)
            .text(6, &names.node)
            .text(7, "eu-west-1a");
        slice = slice.message(2, &endpoint);
    }
    slice.message(3, &new().text(1, "http").text(2, "TCP").number(3, 8080)).text(4, "IPv4")
}

/// Mostly a few lines, rarely very long.
fn lines(random: &mut Random) -> u64 {
    match random.below(200) {
        0 => 2000 + random.below(2000),
        1..=19 => 100 + random.below(300),
        _ => 5 + random.below(40),
    }
}

fn config_map(names: &Names, version: u32, random: &mut Random) -> Message {
    let mut text = String::new();
    for line in 0..lines(random) {
        let application = APPLICATIONS[random.below(16) as usize];
        let _ = writeln!(
            text,
            "  {application}.setting_{line}: {}  # of {}",
            random.below(1 << 40),
            names.namespace
        );
    }
    new().message(1, &metadata(names, version, &[("kubectl-client-side-apply", SMALL_FIELDS)])).entry(
        2,
        "config.yaml",
        text.as_bytes(),
    )
}

fn secret(names: &Names, version: u32, random: &mut Random) -> Message {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let meta = metadata(names, version, &[("helm", SMALL_FIELDS)]);
    let length = lines(random) * 40;
    // A release of a package manager, or a certificate with its key: text that does not compress well.
    let text: Vec<u8> = (0..length).map(|_| DIGITS[random.below(64) as usize]).collect();
    let (name, kind) =
        if length > 4000 { ("release", "helm.sh/release.v1") } else { ("tls.key", "kubernetes.io/tls") };
    new().message(1, &meta).entry(2, name, &text).text(3, kind)
}

fn event(names: &Names, version: u32, random: &mut Random) -> Message {
    let (reason, message) = REASONS[random.below(6) as usize];
    let pod = &names.name[..names.name.len() - 17];
    let message = message
        .replace("POD", pod)
        .replace("NODE", &names.node)
        .replace("IMAGE", names.application)
        .replace("ADDRESS", &address(random));
    let object = new()
        .text(1, "Pod")
        .text(2, &names.namespace)
        .text(3, pod)
        .text(4, &uid(random))
        .text(5, "v1")
        .text(6, &(names.seconds % 1_000_000).to_string())
        .text(7, "spec.containers{main}");
    new()
        .message(1, &metadata(names, version, &[("kubelet", EVENT_FIELDS)]))
        .message(2, &object)
        .text(3, reason)
        .text(4, &message)
        .message(5, &new().text(1, "kubelet").text(2, &names.node))
        .message(6, &time(names.seconds))
        .message(7, &time(names.seconds + u64::from(version)))
        .number(8, u64::from(version))
        .text(9, if reason == "BackOff" || reason == "Unhealthy" { "Warning" } else { "Normal" })
        .text(14, "kubelet")
        .text(15, &names.node)
}

fn lease(names: &Names, version: u32) -> Message {
    let spec =
        new().text(1, &names.node).number(2, 40).message(4, &time(names.seconds + 10 * u64::from(version)));
    new().message(1, &metadata(names, version, &[("kubelet", SMALL_FIELDS)])).message(2, &spec)
}
