//! The resources that Kubernetes has built in: their groups, kinds, short names, and what they are stored under.
//!
//! The key of a built-in object does not tell its API group or kind, so they are listed here, with those that Kubernetes
//! has dropped since. Sources: `SpecialDefaultResourcePrefixes` in Kubernetes'
//! `pkg/kubeapiserver/default_storage_factory_builder.go` for the names in etcd, `kubectl api-resources` for the rest.

/// A kind of object, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resource {
    /// What its keys begin with behind the server's prefix, e.g. `services/specs`.
    pub stored: &'static str,
    /// Its plural in the API, e.g. `services`.
    pub plural: &'static str,
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// Its kind, e.g. `Service`.
    pub kind: &'static str,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// The short names that `kubectl` knows, e.g. `svc`.
    pub short: &'static [&'static str],
}

impl Resource {
    const fn new(plural: &'static str, group: &'static str, kind: &'static str, namespaced: bool) -> Self {
        Self { stored: plural, plural, group, kind, namespaced, short: &[] }
    }

    const fn stored(mut self, stored: &'static str) -> Self {
        self.stored = stored;
        self
    }

    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }
}

const CORE: &str = "";
const ADMISSION: &str = "admissionregistration.k8s.io";
const APPS: &str = "apps";
const BATCH: &str = "batch";
const CERTIFICATES: &str = "certificates.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const NODE: &str = "node.k8s.io";
const POLICY: &str = "policy";
const RBAC: &str = "rbac.authorization.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";
const STORAGE: &str = "storage.k8s.io";

/// All built-in resources, sorted by their name in keys.
pub const BUILT_IN: &[Resource] = &[
    Resource::new("customresourcedefinitions", "apiextensions.k8s.io", "CustomResourceDefinition", false)
        .stored("apiextensions.k8s.io/customresourcedefinitions")
        .short(&["crd", "crds"]),
    Resource::new("apiservices", "apiregistration.k8s.io", "APIService", false)
        .stored("apiregistration.k8s.io/apiservices"),
    Resource::new("certificatesigningrequests", CERTIFICATES, "CertificateSigningRequest", false)
        .short(&["csr"]),
    Resource::new("clusterrolebindings", RBAC, "ClusterRoleBinding", false),
    Resource::new("clusterroles", RBAC, "ClusterRole", false),
    Resource::new("clustertrustbundles", CERTIFICATES, "ClusterTrustBundle", false),
    Resource::new("configmaps", CORE, "ConfigMap", true).short(&["cm"]),
    Resource::new("controllerrevisions", APPS, "ControllerRevision", true),
    Resource::new("replicationcontrollers", CORE, "ReplicationController", true)
        .stored("controllers")
        .short(&["rc"]),
    Resource::new("cronjobs", BATCH, "CronJob", true).short(&["cj"]),
    Resource::new("csidrivers", STORAGE, "CSIDriver", false),
    Resource::new("csinodes", STORAGE, "CSINode", false),
    Resource::new("csistoragecapacities", STORAGE, "CSIStorageCapacity", true),
    Resource::new("daemonsets", APPS, "DaemonSet", true).short(&["ds"]),
    Resource::new("deployments", APPS, "Deployment", true).short(&["deploy"]),
    Resource::new("deviceclasses", RESOURCE, "DeviceClass", false),
    Resource::new("devicetaintrules", RESOURCE, "DeviceTaintRule", false),
    Resource::new("endpointslices", "discovery.k8s.io", "EndpointSlice", true),
    Resource::new("events", CORE, "Event", true).short(&["ev"]),
    Resource::new("flowschemas", FLOW_CONTROL, "FlowSchema", false),
    Resource::new("horizontalpodautoscalers", "autoscaling", "HorizontalPodAutoscaler", true).short(&["hpa"]),
    Resource::new("ingresses", NETWORKING, "Ingress", true).stored("ingress").short(&["ing"]),
    Resource::new("ingressclasses", NETWORKING, "IngressClass", false),
    Resource::new("ipaddresses", NETWORKING, "IPAddress", false).short(&["ip"]),
    Resource::new("jobs", BATCH, "Job", true),
    Resource::new("leasecandidates", COORDINATION, "LeaseCandidate", true),
    Resource::new("leases", COORDINATION, "Lease", true),
    Resource::new("limitranges", CORE, "LimitRange", true).short(&["limits"]),
    Resource::new("nodes", CORE, "Node", false).stored("minions").short(&["no"]),
    Resource::new("mutatingadmissionpolicies", ADMISSION, "MutatingAdmissionPolicy", false),
    Resource::new("mutatingadmissionpolicybindings", ADMISSION, "MutatingAdmissionPolicyBinding", false),
    Resource::new("mutatingwebhookconfigurations", ADMISSION, "MutatingWebhookConfiguration", false),
    Resource::new("namespaces", CORE, "Namespace", false).short(&["ns"]),
    Resource::new("networkpolicies", NETWORKING, "NetworkPolicy", true).short(&["netpol"]),
    Resource::new("persistentvolumeclaims", CORE, "PersistentVolumeClaim", true).short(&["pvc"]),
    Resource::new("persistentvolumes", CORE, "PersistentVolume", false).short(&["pv"]),
    Resource::new("podcertificaterequests", CERTIFICATES, "PodCertificateRequest", true),
    Resource::new("poddisruptionbudgets", POLICY, "PodDisruptionBudget", true).short(&["pdb"]),
    Resource::new("podgroups", SCHEDULING, "PodGroup", true),
    Resource::new("pods", CORE, "Pod", true).short(&["po"]),
    Resource::new("podsecuritypolicies", POLICY, "PodSecurityPolicy", false)
        .stored("podsecuritypolicy")
        .short(&["psp"]),
    Resource::new("podtemplates", CORE, "PodTemplate", true),
    Resource::new("priorityclasses", SCHEDULING, "PriorityClass", false).short(&["pc"]),
    Resource::new("prioritylevelconfigurations", FLOW_CONTROL, "PriorityLevelConfiguration", false),
    Resource::new("replicasets", APPS, "ReplicaSet", true).short(&["rs"]),
    Resource::new("resourceclaims", RESOURCE, "ResourceClaim", true),
    Resource::new("resourceclaimtemplates", RESOURCE, "ResourceClaimTemplate", true),
    Resource::new("resourcequotas", CORE, "ResourceQuota", true).short(&["quota"]),
    Resource::new("resourceslices", RESOURCE, "ResourceSlice", false),
    Resource::new("rolebindings", RBAC, "RoleBinding", true),
    Resource::new("roles", RBAC, "Role", true),
    Resource::new("runtimeclasses", NODE, "RuntimeClass", false),
    Resource::new("secrets", CORE, "Secret", true),
    Resource::new("serviceaccounts", CORE, "ServiceAccount", true).short(&["sa"]),
    Resource::new("servicecidrs", NETWORKING, "ServiceCIDR", false),
    Resource::new("endpoints", CORE, "Endpoints", true).stored("services/endpoints").short(&["ep"]),
    Resource::new("services", CORE, "Service", true).stored("services/specs").short(&["svc"]),
    Resource::new("statefulsets", APPS, "StatefulSet", true).short(&["sts"]),
    Resource::new("storageclasses", STORAGE, "StorageClass", false).short(&["sc"]),
    Resource::new("storageversionmigrations", "storagemigration.k8s.io", "StorageVersionMigration", false),
    Resource::new("storageversions", "internal.apiserver.k8s.io", "StorageVersion", false),
    Resource::new("validatingadmissionpolicies", ADMISSION, "ValidatingAdmissionPolicy", false),
    Resource::new("validatingadmissionpolicybindings", ADMISSION, "ValidatingAdmissionPolicyBinding", false),
    Resource::new("validatingwebhookconfigurations", ADMISSION, "ValidatingWebhookConfiguration", false),
    Resource::new("volumeattachments", STORAGE, "VolumeAttachment", false),
    Resource::new("volumeattributesclasses", STORAGE, "VolumeAttributesClass", false).short(&["vac"]),
    Resource::new("workloads", SCHEDULING, "Workload", true),
];

/// The built-in resource that is stored under this name, e.g. `minions`.
pub fn built_in(stored: &str) -> Option<&'static Resource> {
    let place = BUILT_IN.binary_search_by(|resource| resource.stored.cmp(stored)).ok()?;
    BUILT_IN.get(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_each_name_means_one() {
        assert!(BUILT_IN.is_sorted_by(|a, b| a.stored < b.stored));
        let mut names: Vec<&str> = BUILT_IN.iter().flat_map(|resource| resource.short).copied().collect();
        names.extend(BUILT_IN.iter().map(|resource| resource.plural));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands for two resources");
    }

    #[test]
    fn resources_are_found_by_what_they_are_stored_under() {
        assert_eq!(built_in("minions").map(|resource| resource.kind), Some("Node"));
        assert_eq!(built_in("services/specs").map(|resource| resource.plural), Some("services"));
        assert_eq!(built_in("nodes"), None);
    }
}
