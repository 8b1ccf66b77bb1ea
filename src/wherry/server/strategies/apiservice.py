"""APIService: what it must be; one of this server's own is available from the beginning.

Source: kube-aggregator, pkg/apis/apiregistration/validation and pkg/registry/apiservice.
"""

from wherry.api.apiregistration_v1 import APIService, APIServiceCondition
from wherry.meta import names
from wherry.meta.errors import FieldError, invalid_value, required
from wherry.server.strategies import checks, metadata
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.strategy import RequestContext

LOCAL = "Local APIServices are always available"
_GROUP_MAX, _VERSION_MAX = 20000, 1000


class APIServiceStrategy(KindStrategy):
    """apiregistration.k8s.io/v1 APIService."""

    name_check = staticmethod(names.path_segment)

    def default(self, obj: APIService) -> None:
        if obj.spec.service is not None and obj.spec.service.port is None:
            obj.spec.service.port = 443

    def prepare_for_create(self, obj: APIService, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        if obj.spec.service is None:
            now = ctx.clock_now()
            local = APIServiceCondition(
                type="Available", status="True", reason="Local", message=LOCAL, lastTransitionTime=now
            )
            obj.status.conditions = [local]

    def validate(self, obj: APIService) -> list[FieldError]:
        wanted = f"{obj.spec.version or ''}.{obj.spec.group or ''}"
        faults = list(metadata.validate(obj.metadata, False, names.path_segment))
        if not faults and obj.metadata.name != wanted:
            text = f'must be `spec.version+"."+spec.group`: "{wanted}"'
            faults.append(invalid_value("metadata.name", obj.metadata.name, text))
        return [*faults, *self.rules(obj)]

    def rules(self, obj: APIService) -> Faults:
        spec = obj.spec
        group, version = spec.group or "", spec.version or ""
        if not group and version != "v1":
            yield required("spec.group", "only v1 may have an empty group and it better be legacy kube")
        if group:
            yield from checks.named("spec.group", group, names.dns1123_subdomain)
        yield from checks.named("spec.version", version, names.dns1035_label)
        if not 0 < spec.groupPriorityMinimum <= _GROUP_MAX:
            text = f"must be positive and less than {_GROUP_MAX}"
            yield invalid_value("spec.groupPriorityMinimum", spec.groupPriorityMinimum, text)
        if not 0 < spec.versionPriority <= _VERSION_MAX:
            text = f"must be positive and less than {_VERSION_MAX}"
            yield invalid_value("spec.versionPriority", spec.versionPriority, text)
        yield from _local(obj) if spec.service is None else _remote(obj)


def _local(obj: APIService) -> Faults:
    spec = obj.spec
    if spec.caBundle:
        size = f"{len(spec.caBundle) * 3 // 4} bytes"
        yield invalid_value("spec.caBundle", size, "local APIServices may not have a caBundle")
    if spec.insecureSkipTLSVerify:
        text = "local APIServices may not have insecureSkipTLSVerify"
        yield invalid_value("spec.insecureSkipTLSVerify", True, text)


def _remote(obj: APIService) -> Faults:
    spec = obj.spec
    service = spec.service
    assert service is not None, "asked only of remote ones"
    yield from checks.present("spec.service.namespace", service.namespace)
    yield from checks.present("spec.service.name", service.name)
    port = service.port if service.port is not None else 443
    if not 1 <= port <= 65535:
        yield invalid_value("spec.service.port", port, f"port is not valid: {names.out_of_range(1, 65535)}")
    if spec.insecureSkipTLSVerify and spec.caBundle:
        yield invalid_value("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")
