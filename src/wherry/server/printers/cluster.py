"""Nodes, namespaces, events, configuration, storage, access: what is not a workload and not the network."""

from datetime import datetime, timedelta
from typing import Any

from wherry.meta.time import age, format_duration
from wherry.rules import conditions
from wherry.server.printers.table import NONE, UNKNOWN, UNSET, joined, printed, since

_ROLE = "node-role.kubernetes.io/"
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def _node(obj: Any, now: datetime) -> list[Any]:
    info = obj.status.nodeInfo
    addresses = {item.type: item.address for item in reversed(obj.status.addresses)}
    return [
        obj.metadata.name,
        node_status(obj),
        _roles(obj),
        since(obj, now),
        info.kubeletVersion,
        addresses.get("InternalIP") or NONE,
        addresses.get("ExternalIP") or NONE,
        info.osImage or UNKNOWN,
        info.kernelVersion or UNKNOWN,
        info.containerRuntimeVersion or UNKNOWN,
    ]


def node_status(obj: Any) -> str:
    """The STATUS cell of a node."""
    ready = conditions.find(obj.status.conditions, "Ready")
    words = ["Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"]
    return ",".join([*words, "SchedulingDisabled"] if obj.spec.unschedulable else words)


def _roles(obj: Any) -> str:
    labels = obj.metadata.labels
    found = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE) and key != _ROLE}
    if role := labels.get("kubernetes.io/role"):
        found.add(role)
    return joined(sorted(found))


def _namespace(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.status.phase or "", since(obj, now)]


def _event(obj: Any, now: datetime) -> list[Any]:
    """An Event of either group; the fields differ by name only."""
    core = hasattr(obj, "involvedObject")
    target = obj.involvedObject if core else obj.regarding
    source = obj.source if core else obj.deprecatedSource
    first = (obj.firstTimestamp if core else obj.deprecatedFirstTimestamp) or obj.eventTime
    last = (obj.lastTimestamp if core else obj.deprecatedLastTimestamp) or first
    count = (obj.count if core else obj.deprecatedCount) or 1
    if obj.series is not None:
        last, count = obj.series.lastObservedTime or last, obj.series.count or count
    reporter = (obj.reportingComponent if core else obj.reportingController) or ""
    component, host = source.component or reporter, source.host or obj.reportingInstance or ""
    kind = (target.kind or "").lower()
    return [
        age(last, now),
        obj.type or "",
        obj.reason or "",
        f"{kind}/{target.name}" if kind else target.name or "",
        target.fieldPath or "",
        f"{component}, {host}" if host else component,
        ((obj.message if core else obj.note) or "").strip(),
        age(first, now),
        count,
        obj.metadata.name,
    ]


def _config_map(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.data) + len(obj.binaryData), since(obj, now)]


def _secret(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.type or "", len(obj.data), since(obj, now)]


def _account(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.secrets), since(obj, now)]


def _quota(obj: Any, now: datetime) -> list[Any]:
    used, hard = obj.status.used, obj.status.hard
    shown = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = ", ".join(text for name, text in shown.items() if name.startswith("limits"))
    requests = ", ".join(text for name, text in shown.items() if not name.startswith("limits"))
    return [obj.metadata.name, requests, limits, since(obj, now)]


def _modes(modes: list[str]) -> str:
    return ",".join(dict.fromkeys(_MODES.get(mode, mode) for mode in modes))


def _volume(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    claim = f"{spec.claimRef.namespace}/{spec.claimRef.name}" if spec.claimRef is not None else ""
    phase = "Terminating" if obj.metadata.deletionTimestamp else obj.status.phase or ""
    return [
        obj.metadata.name,
        str(spec.capacity.get("storage", "0")),
        _modes(spec.accessModes),
        spec.persistentVolumeReclaimPolicy or "",
        phase,
        claim,
        spec.storageClassName or "",
        UNSET if spec.volumeAttributesClassName is None else spec.volumeAttributesClassName,
        obj.status.reason or "",
        since(obj, now),
        UNSET if spec.volumeMode is None else spec.volumeMode,
    ]


def _claim(obj: Any, now: datetime) -> list[Any]:
    spec, status = obj.spec, obj.status
    bound = bool(spec.volumeName)
    return [
        obj.metadata.name,
        "Terminating" if obj.metadata.deletionTimestamp else status.phase or "",
        spec.volumeName or "",
        str(status.capacity.get("storage", "0")) if bound else "",
        _modes(status.accessModes) if bound else "",
        spec.storageClassName or "",
        UNSET if spec.volumeAttributesClassName is None else spec.volumeAttributesClassName,
        since(obj, now),
        UNSET if spec.volumeMode is None else spec.volumeMode,
    ]


def _storage_class(obj: Any, now: datetime) -> list[Any]:
    default = any(obj.metadata.annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return [
        f"{obj.metadata.name} (default)" if default else obj.metadata.name,
        obj.provisioner,
        obj.reclaimPolicy or "Delete",
        obj.volumeBindingMode or "Immediate",
        "true" if obj.allowVolumeExpansion else "false",
        since(obj, now),
    ]


def _csi_node(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.spec.drivers), since(obj, now)]


def _attachment(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    attached = "true" if obj.status.attached else "false"
    return [
        obj.metadata.name,
        spec.attacher,
        spec.source.persistentVolumeName or "",
        spec.nodeName,
        attached,
        since(obj, now),
    ]


def _created(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.metadata.creationTimestamp]


def _binding(obj: Any, now: datetime) -> list[Any]:
    users = [item.name for item in obj.subjects if item.kind == "User"]
    groups = [item.name for item in obj.subjects if item.kind == "Group"]
    accounts = [f"{item.namespace}/{item.name}" for item in obj.subjects if item.kind == "ServiceAccount"]
    role = f"{obj.roleRef.kind}/{obj.roleRef.name}"
    return [obj.metadata.name, role, since(obj, now), ", ".join(users), ", ".join(groups), ", ".join(accounts)]


def _signing_request(obj: Any, now: datetime) -> list[Any]:
    seconds = obj.spec.expirationSeconds
    kinds = [item.type for item in obj.status.conditions]
    words = ["Approved"] if "Approved" in kinds else ["Denied"] if "Denied" in kinds else []
    words += ["Failed"] if "Failed" in kinds else []
    words = words or ["Pending"]
    if obj.status.certificate:
        words.append("Issued")
    return [
        obj.metadata.name,
        since(obj, now),
        obj.spec.signerName,
        obj.spec.username or "",
        NONE if seconds is None else format_duration(timedelta(seconds=seconds)),
        ",".join(words),
    ]


def _lease(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.spec.holderIdentity or "", since(obj, now)]


def _priority_class(obj: Any, now: datetime) -> list[Any]:
    return [
        obj.metadata.name,
        obj.value or 0,
        "true" if obj.globalDefault else "false",
        since(obj, now),
        obj.preemptionPolicy or "PreemptLowerPriority",
    ]


def _runtime_class(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.handler, since(obj, now)]


def _webhooks(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.webhooks), since(obj, now)]


def _policy(obj: Any, now: datetime) -> list[Any]:
    kind = obj.spec.paramKind
    shown = UNSET if kind is None else f"{kind.apiVersion}/{kind.kind}"
    return [obj.metadata.name, len(obj.spec.validations), shown, since(obj, now)]


def _api_service(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    service = "Local" if spec.service is None else f"{spec.service.namespace}/{spec.service.name}"
    available = conditions.find(obj.status.conditions, "Available")
    shown = "Unknown" if available is None else available.status
    if available is not None and available.status != "True":
        shown = f"{available.status} ({available.reason})"
    return [obj.metadata.name, service, shown, since(obj, now)]


_CREATED = printed("Name, Created At", _created)
_BINDING = printed("Name, Role, Age, +Users, +Groups, +ServiceAccounts", _binding)
_EVENT = printed("Last Seen, Type, Reason, Object, +Subobject, +Source, Message, +First Seen, +#Count, +Name", _event)
_WEBHOOKS = printed("Name, #Webhooks, Age", _webhooks)

PRINTED = {
    ("", "nodes"): printed(
        "Name, Status, Roles, Age, Version, +Internal-IP, +External-IP, +OS-Image, +Kernel-Version, +Container-Runtime",
        _node,
    ),
    ("", "namespaces"): printed("Name, Status, Age", _namespace),
    ("", "events"): _EVENT,
    ("events.k8s.io", "events"): _EVENT,
    ("", "configmaps"): printed("Name, #Data, Age", _config_map),
    ("", "secrets"): printed("Name, Type, #Data, Age", _secret),
    ("", "serviceaccounts"): printed("Name, #Secrets, Age", _account),
    ("", "resourcequotas"): printed("Name, Request, Limit, Age", _quota),
    ("", "persistentvolumes"): printed(
        "Name, Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, VolumeAttributesClass, "
        "Reason, Age, +VolumeMode",
        _volume,
    ),
    ("", "persistentvolumeclaims"): printed(
        "Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, +VolumeMode", _claim
    ),
    ("storage.k8s.io", "storageclasses"): printed(
        "Name, Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age", _storage_class
    ),
    ("storage.k8s.io", "csinodes"): printed("Name, #Drivers, Age", _csi_node),
    ("storage.k8s.io", "volumeattachments"): printed("Name, Attacher, PV, Node, Attached, Age", _attachment),
    ("rbac.authorization.k8s.io", "rolebindings"): _BINDING,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _BINDING,
    ("certificates.k8s.io", "certificatesigningrequests"): printed(
        "Name, Age, SignerName, Requestor, RequestedDuration, Condition", _signing_request
    ),
    ("coordination.k8s.io", "leases"): printed("Name, Holder, Age", _lease),
    ("scheduling.k8s.io", "priorityclasses"): printed(
        "Name, #Value, Global-Default, Age, PreemptionPolicy", _priority_class
    ),
    ("node.k8s.io", "runtimeclasses"): printed("Name, Handler, Age", _runtime_class),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): _WEBHOOKS,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): _WEBHOOKS,
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): printed(
        "Name, #Validations, ParamKind, Age", _policy
    ),
    ("apiregistration.k8s.io", "apiservices"): printed("Name, Service, Available, Age", _api_service),
}
GENERIC = _CREATED
