"""The registry names every kind that the API server serves, as its discovery documents do."""

import pytest

from tests.unit.api.generator import generator
from wherry.api import core_v1 as core
from wherry.api import events_v1 as events
from wherry.api.registry import (
    RESOURCES,
    RESOURCES_BY_KEY,
    group_versions,
    kind_type,
    list_type,
    resource,
    resource_for,
)
from wherry.meta.resource import Resource


def test_every_object_kind_of_the_definitions_is_registered() -> None:
    definitions = generator.load_definitions()
    modules = {generator.package_of(module) for module in generator.MODULES}
    missing = []
    for name, schema in definitions.items():
        if name.rpartition(".")[0] in modules and generator.is_object(schema):
            (served,) = schema["x-kubernetes-group-version-kind"]
            api_version = "/".join(part for part in (served["group"], served["version"]) if part)
            found = kind_type(api_version, served["kind"])
            if found is None or found.__name__ != served["kind"]:
                missing.append(name)
    assert missing == []


def test_names_are_unique_where_clients_look_them_up() -> None:
    keys = [(item.group, item.version, item.plural) for item in RESOURCES]
    assert len(keys) == len(set(keys)) == len(RESOURCES_BY_KEY)
    for version in {item.api_version for item in RESOURCES}:
        names = [name for item in RESOURCES if item.api_version == version for name in item.short_names]
        assert len(names) == len(set(names)), version


def test_whatever_can_be_listed_has_a_list_type() -> None:
    for item in RESOURCES:
        found = list_type(item)
        assert (found is not None) == ("list" in item.verbs), item.kind
        assert found is None or found.__name__ == item.list_kind


def test_pods_are_as_discovery_tells() -> None:
    pods = resource("v1", "Pod")
    assert (pods.plural, pods.singular, pods.short_names, pods.categories) == ("pods", "pod", ("po",), ("all",))
    assert [item.name for item in pods.subresources] == (
        "attach binding ephemeralcontainers eviction exec log portforward proxy resize status".split()
    )
    eviction = next(item for item in pods.subresources if item.name == "eviction")
    assert (eviction.group, eviction.version, eviction.kind, eviction.verbs) == (
        "policy",
        "v1",
        "Eviction",
        ("create",),
    )


@pytest.mark.parametrize(
    ("api_version", "kind", "verbs"),
    [
        ("v1", "Namespace", ("create", "delete", "get", "list", "patch", "update", "watch")),
        ("v1", "ComponentStatus", ("get", "list")),
        ("v1", "Binding", ("create",)),
        ("authentication.k8s.io/v1", "TokenReview", ("create",)),
        ("authorization.k8s.io/v1", "LocalSubjectAccessReview", ("create",)),
    ],
)
def test_kinds_with_verbs_of_their_own(api_version: str, kind: str, verbs: tuple[str, ...]) -> None:
    assert resource(api_version, kind).verbs == verbs


def test_workloads_scale_through_autoscaling_v1() -> None:
    for api_version, kind in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("v1", "ReplicationController"),
    ]:
        scale = next(item for item in resource(api_version, kind).subresources if item.name == "scale")
        assert (scale.group, scale.version, scale.kind) == ("autoscaling", "v1", "Scale")
    assert kind_type("autoscaling/v1", "Scale") is not None


def test_the_same_objects_served_twice_are_stored_once() -> None:
    assert resource("events.k8s.io/v1", "Event").storage_version == "v1"
    assert resource("autoscaling/v1", "HorizontalPodAutoscaler").storage_version == "autoscaling/v2"
    assert resource_for(core.Event).group == ""
    assert resource_for(events.Event).group == "events.k8s.io"


def test_autoscaling_prefers_v2_and_core_comes_first() -> None:
    versions = group_versions()
    assert next(iter(versions)) == ""
    assert versions["autoscaling"] == ["v2", "v1"]


def test_unknown_kinds_are_key_errors() -> None:
    with pytest.raises(KeyError):
        resource("apps/v1", "Pod")
    assert kind_type("apps/v1", "Pod") is None


# Where kube-apiserver keeps each kind in etcd (Kubernetes, test/integration/etcd/data.go).
STORED_UNDER = (
    "apiextensions.k8s.io/customresourcedefinitions apiregistration.k8s.io/apiservices certificatesigningrequests "
    "clusterrolebindings clusterroles configmaps controllerrevisions controllers cronjobs csidrivers csinodes "
    "csistoragecapacities daemonsets deployments deviceclasses endpointslices events flowschemas "
    "horizontalpodautoscalers ingress ingressclasses ipaddresses jobs leases limitranges minions "
    "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations namespaces "
    "networkpolicies persistentvolumeclaims persistentvolumes poddisruptionbudgets pods podtemplates priorityclasses "
    "prioritylevelconfigurations replicasets resourceclaims resourceclaimtemplates resourcequotas resourceslices "
    "rolebindings roles runtimeclasses secrets serviceaccounts servicecidrs services/endpoints services/specs "
    "statefulsets storageclasses storageversionmigrations validatingadmissionpolicies "
    "validatingadmissionpolicybindings validatingwebhookconfigurations volumeattachments volumeattributesclasses"
).split()


def test_kinds_are_stored_under_kube_apiservers_keys() -> None:
    stored = {item.storage_prefix for item in RESOURCES if "create" in item.verbs and "get" in item.verbs}
    assert stored == {f"/registry/{path}/" for path in STORED_UNDER}
    custom = Resource("wherry.example", "v1", "Boat", "boats", namespaced=True, type=None)
    assert custom.key("default", "one") == "/registry/wherry.example/boats/default/one"
    assert Resource("", "v1", "Node", "nodes", namespaced=False, type=core.Node).key(None, "n") == "/registry/minions/n"
