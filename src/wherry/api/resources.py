"""Every kind a 1.36 API server serves, or can be told to: one record each, in the order of its discovery documents.

The core group comes first, then the groups as /apis lists them, each with its preferred version first. Read registry.py
next: it finds these records.
"""

from typing import Any

from wherry.api import admissionregistration_v1 as admissionregistration
from wherry.api import apiextensions_v1 as apiextensions
from wherry.api import apiregistration_v1 as apiregistration
from wherry.api import apps_v1 as apps
from wherry.api import authentication_v1 as authentication
from wherry.api import authorization_v1 as authorization
from wherry.api import autoscaling_v1, autoscaling_v2
from wherry.api import batch_v1 as batch
from wherry.api import certificates_v1 as certificates
from wherry.api import coordination_v1 as coordination
from wherry.api import core_v1 as core
from wherry.api import discovery_v1 as discovery
from wherry.api import events_v1 as events
from wherry.api import flowcontrol_v1 as flowcontrol
from wherry.api import networking_v1 as networking
from wherry.api import node_v1 as node
from wherry.api import policy_v1 as policy
from wherry.api import rbac_v1 as rbac
from wherry.api import resource_v1 as dynamic
from wherry.api import scheduling_v1 as scheduling
from wherry.api import storage_v1 as storage
from wherry.api import storagemigration_v1beta1 as storagemigration
from wherry.meta.object import KubernetesObject
from wherry.meta.resource import ALL_VERBS, Resource, Subresource

CREATE = ("create",)
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")
_STREAM_VERBS = ("create", "get")


class _GroupVersion:
    """Makes the records of one group version; a record's words are separated by spaces."""

    def __init__(self, api_version: str) -> None:
        self.group, _, self.version = api_version.rpartition("/")

    def namespaced(self, kind: type[KubernetesObject], plural: str, short: str = "", **more: Any) -> Resource:
        return self._record(kind, plural, True, short, **more)

    def cluster(self, kind: type[KubernetesObject], plural: str, short: str = "", **more: Any) -> Resource:
        return self._record(kind, plural, False, short, **more)

    def _record(
        self,
        kind: type[KubernetesObject],
        plural: str,
        namespaced: bool,
        short: str,
        categories: str = "",
        fields: str = "",
        status: bool = False,
        scale: bool = False,
        subresources: tuple[Subresource, ...] = (),
        verbs: tuple[str, ...] = ALL_VERBS,
        storage_version: str = "",
        deprecated: str = "",
    ) -> Resource:
        name = kind.__name__
        if scale:
            subresources += (Subresource("scale", "Scale", group="autoscaling", version="v1"),)
        if status:
            subresources += (Subresource("status", name),)
        return Resource(
            group=self.group,
            version=self.version,
            kind=name,
            plural=plural,
            namespaced=namespaced,
            type=kind,
            singular=name.lower(),
            short_names=tuple(short.split()),
            categories=tuple(categories.split()),
            verbs=verbs,
            subresources=tuple(sorted(subresources, key=lambda item: item.name)),
            selectable_fields=tuple(fields.split()),
            storage_version=storage_version,
            deprecated=deprecated,
        )


_V1 = _GroupVersion("v1")
_APPS = _GroupVersion("apps/v1")
_AUTHENTICATION = _GroupVersion("authentication.k8s.io/v1")
_AUTHORIZATION = _GroupVersion("authorization.k8s.io/v1")
_BATCH = _GroupVersion("batch/v1")
_NETWORKING = _GroupVersion("networking.k8s.io/v1")
_RBAC = _GroupVersion("rbac.authorization.k8s.io/v1")
_STORAGE = _GroupVersion("storage.k8s.io/v1")
_ADMISSION = _GroupVersion("admissionregistration.k8s.io/v1")
_FLOW = _GroupVersion("flowcontrol.apiserver.k8s.io/v1")
_DYNAMIC = _GroupVersion("resource.k8s.io/v1")

_EVENT_FIELDS = (
    "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid involvedObject.apiVersion "
    "involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent source type"
)
_NEW_EVENT_FIELDS = (
    "regarding.kind regarding.namespace regarding.name regarding.uid regarding.apiVersion "
    "regarding.resourceVersion regarding.fieldPath reason reportingController type"
)
_POD_FIELDS = (
    "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork "
    "status.phase status.podIP status.podIPs status.nominatedNodeName"
)
_POD_SUBRESOURCES = (
    Subresource("attach", "PodAttachOptions", _STREAM_VERBS),
    Subresource("binding", "Binding", CREATE),
    Subresource("ephemeralcontainers", "Pod"),
    Subresource("eviction", "Eviction", CREATE, group="policy", version="v1"),
    Subresource("exec", "PodExecOptions", _STREAM_VERBS),
    Subresource("log", "Pod", ("get",)),
    Subresource("portforward", "PodPortForwardOptions", _STREAM_VERBS),
    Subresource("proxy", "PodProxyOptions", _PROXY_VERBS),
    Subresource("resize", "Pod"),
)
_NAMESPACE_VERBS = tuple(verb for verb in ALL_VERBS if verb != "deletecollection")
_TOKEN = Subresource("token", "TokenRequest", CREATE, group="authentication.k8s.io", version="v1")

_CORE = (
    _V1.namespaced(core.Binding, "bindings", verbs=CREATE),
    _V1.cluster(
        core.ComponentStatus,
        "componentstatuses",
        "cs",
        verbs=("get", "list"),
        deprecated="v1 ComponentStatus is deprecated in v1.19+",
    ),
    _V1.namespaced(core.ConfigMap, "configmaps", "cm"),
    _V1.namespaced(
        core.Endpoints,
        "endpoints",
        "ep",
        deprecated="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ),
    _V1.namespaced(core.Event, "events", "ev", fields=_EVENT_FIELDS),
    _V1.namespaced(core.LimitRange, "limitranges", "limits"),
    _V1.cluster(
        core.Namespace,
        "namespaces",
        "ns",
        status=True,
        fields="status.phase",
        verbs=_NAMESPACE_VERBS,
        subresources=(Subresource("finalize", "Namespace", ("update",)),),
    ),
    _V1.cluster(
        core.Node,
        "nodes",
        "no",
        status=True,
        fields="spec.unschedulable",
        subresources=(Subresource("proxy", "NodeProxyOptions", _PROXY_VERBS),),
    ),
    _V1.namespaced(core.PersistentVolumeClaim, "persistentvolumeclaims", "pvc", status=True),
    _V1.cluster(core.PersistentVolume, "persistentvolumes", "pv", status=True),
    _V1.namespaced(
        core.Pod, "pods", "po", categories="all", status=True, fields=_POD_FIELDS, subresources=_POD_SUBRESOURCES
    ),
    _V1.namespaced(core.PodTemplate, "podtemplates"),
    _V1.namespaced(
        core.ReplicationController,
        "replicationcontrollers",
        "rc",
        categories="all",
        status=True,
        scale=True,
        fields="status.replicas",
    ),
    _V1.namespaced(core.ResourceQuota, "resourcequotas", "quota", status=True),
    _V1.namespaced(core.Secret, "secrets", fields="type"),
    _V1.namespaced(core.ServiceAccount, "serviceaccounts", "sa", subresources=(_TOKEN,)),
    _V1.namespaced(
        core.Service,
        "services",
        "svc",
        categories="all",
        status=True,
        fields="spec.clusterIP spec.type",
        subresources=(Subresource("proxy", "ServiceProxyOptions", _PROXY_VERBS),),
    ),
)

_WORKLOADS_AND_REVIEWS = (
    _GroupVersion("apiregistration.k8s.io/v1").cluster(
        apiregistration.APIService, "apiservices", categories="api-extensions", status=True
    ),
    _APPS.namespaced(apps.ControllerRevision, "controllerrevisions"),
    _APPS.namespaced(apps.DaemonSet, "daemonsets", "ds", categories="all", status=True),
    _APPS.namespaced(apps.Deployment, "deployments", "deploy", categories="all", status=True, scale=True),
    _APPS.namespaced(
        apps.ReplicaSet, "replicasets", "rs", categories="all", status=True, scale=True, fields="status.replicas"
    ),
    _APPS.namespaced(apps.StatefulSet, "statefulsets", "sts", categories="all", status=True, scale=True),
    _GroupVersion("events.k8s.io/v1").namespaced(
        events.Event, "events", "ev", fields=_NEW_EVENT_FIELDS, storage_version="v1"
    ),
    _AUTHENTICATION.cluster(authentication.SelfSubjectReview, "selfsubjectreviews", verbs=CREATE),
    _AUTHENTICATION.cluster(authentication.TokenReview, "tokenreviews", verbs=CREATE),
    _AUTHORIZATION.namespaced(authorization.LocalSubjectAccessReview, "localsubjectaccessreviews", verbs=CREATE),
    _AUTHORIZATION.cluster(authorization.SelfSubjectAccessReview, "selfsubjectaccessreviews", verbs=CREATE),
    _AUTHORIZATION.cluster(authorization.SelfSubjectRulesReview, "selfsubjectrulesreviews", verbs=CREATE),
    _AUTHORIZATION.cluster(authorization.SubjectAccessReview, "subjectaccessreviews", verbs=CREATE),
    _GroupVersion("autoscaling/v2").namespaced(
        autoscaling_v2.HorizontalPodAutoscaler, "horizontalpodautoscalers", "hpa", categories="all", status=True
    ),
    _GroupVersion("autoscaling/v1").namespaced(
        autoscaling_v1.HorizontalPodAutoscaler,
        "horizontalpodautoscalers",
        "hpa",
        categories="all",
        status=True,
        storage_version="autoscaling/v2",
    ),
    _BATCH.namespaced(batch.CronJob, "cronjobs", "cj", categories="all", status=True),
    _BATCH.namespaced(batch.Job, "jobs", categories="all", status=True, fields="status.successful"),
)

_POLICY_AND_NETWORK = (
    _GroupVersion("certificates.k8s.io/v1").cluster(
        certificates.CertificateSigningRequest,
        "certificatesigningrequests",
        "csr",
        status=True,
        fields="spec.signerName",
        subresources=(Subresource("approval", "CertificateSigningRequest"),),
    ),
    _NETWORKING.cluster(networking.IngressClass, "ingressclasses"),
    _NETWORKING.namespaced(networking.Ingress, "ingresses", "ing", status=True),
    _NETWORKING.cluster(networking.IPAddress, "ipaddresses", "ip"),
    _NETWORKING.namespaced(networking.NetworkPolicy, "networkpolicies", "netpol"),
    _NETWORKING.cluster(networking.ServiceCIDR, "servicecidrs", status=True),
    _GroupVersion("policy/v1").namespaced(policy.PodDisruptionBudget, "poddisruptionbudgets", "pdb", status=True),
    _RBAC.cluster(rbac.ClusterRoleBinding, "clusterrolebindings"),
    _RBAC.cluster(rbac.ClusterRole, "clusterroles"),
    _RBAC.namespaced(rbac.RoleBinding, "rolebindings"),
    _RBAC.namespaced(rbac.Role, "roles"),
    _STORAGE.cluster(storage.CSIDriver, "csidrivers"),
    _STORAGE.cluster(storage.CSINode, "csinodes"),
    _STORAGE.namespaced(storage.CSIStorageCapacity, "csistoragecapacities"),
    _STORAGE.cluster(storage.StorageClass, "storageclasses", "sc"),
    _STORAGE.cluster(storage.VolumeAttachment, "volumeattachments", status=True),
    _STORAGE.cluster(storage.VolumeAttributesClass, "volumeattributesclasses", "vac"),
)

_EXTENSION_AND_SCHEDULING = (
    *(
        _ADMISSION.cluster(kind, plural, categories="api-extensions", status=status)
        for kind, plural, status in (
            (admissionregistration.MutatingAdmissionPolicy, "mutatingadmissionpolicies", False),
            (admissionregistration.MutatingAdmissionPolicyBinding, "mutatingadmissionpolicybindings", False),
            (admissionregistration.MutatingWebhookConfiguration, "mutatingwebhookconfigurations", False),
            (admissionregistration.ValidatingAdmissionPolicy, "validatingadmissionpolicies", True),
            (admissionregistration.ValidatingAdmissionPolicyBinding, "validatingadmissionpolicybindings", False),
            (admissionregistration.ValidatingWebhookConfiguration, "validatingwebhookconfigurations", False),
        )
    ),
    _GroupVersion("apiextensions.k8s.io/v1").cluster(
        apiextensions.CustomResourceDefinition,
        "customresourcedefinitions",
        "crd crds",
        categories="api-extensions",
        status=True,
    ),
    _GroupVersion("scheduling.k8s.io/v1").cluster(scheduling.PriorityClass, "priorityclasses", "pc"),
    _GroupVersion("coordination.k8s.io/v1").namespaced(coordination.Lease, "leases"),
    _GroupVersion("node.k8s.io/v1").cluster(node.RuntimeClass, "runtimeclasses"),
    _GroupVersion("discovery.k8s.io/v1").namespaced(discovery.EndpointSlice, "endpointslices"),
    _FLOW.cluster(flowcontrol.FlowSchema, "flowschemas", status=True),
    _FLOW.cluster(flowcontrol.PriorityLevelConfiguration, "prioritylevelconfigurations", status=True),
    _DYNAMIC.cluster(dynamic.DeviceClass, "deviceclasses"),
    _DYNAMIC.namespaced(dynamic.ResourceClaim, "resourceclaims", status=True),
    _DYNAMIC.namespaced(dynamic.ResourceClaimTemplate, "resourceclaimtemplates"),
    _DYNAMIC.cluster(dynamic.ResourceSlice, "resourceslices", fields="spec.nodeName spec.driver"),
    _GroupVersion("storagemigration.k8s.io/v1beta1").cluster(
        storagemigration.StorageVersionMigration, "storageversionmigrations", status=True
    ),
)

RESOURCES: tuple[Resource, ...] = _CORE + _WORKLOADS_AND_REVIEWS + _POLICY_AND_NETWORK + _EXTENSION_AND_SCHEDULING
"""Every kind, in discovery order. Of versions that are not generally available none is served by default."""

SUBRESOURCE_KINDS: dict[tuple[str, str], type[KubernetesObject]] = {
    ("autoscaling/v1", "Scale"): autoscaling_v1.Scale,
    ("policy/v1", "Eviction"): policy.Eviction,
    ("authentication.k8s.io/v1", "TokenRequest"): authentication.TokenRequest,
}
"""Kinds that are only read and written through subresources of others."""
