"""Admission that is configured while the server runs or by whoever starts it: webhooks, policies and functions.

`ServerOptions.admission` takes plugins (AdmissionPlugin) and plain asynchronous functions of the attributes:

    async def no_latest(attributes: Attributes) -> None:
        if attributes.resource.plural == "pods" and attributes.operation == "CREATE":
            for container in attributes.object.spec.containers:
                if container.image.endswith(":latest"):
                    raise forbidden("pods", attributes.name, "images must have a version")

They may change `attributes.object` and refuse by raising StatusError, and are asked before webhooks are.
"""

from collections.abc import Awaitable, Callable, Iterable

from wherry.api.admissionregistration_v1 import (
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
)
from wherry.server.admission.plugin import AdmissionPlugin, Attributes
from wherry.server.admission.policies.mutating import MutatingPolicies
from wherry.server.admission.policies.plugins import Surroundings
from wherry.server.admission.policies.validating import ValidatingPolicies
from wherry.server.admission.versions import Versions
from wherry.server.admission.webhooks.plugins import MutatingWebhooks, ValidatingWebhooks
from wherry.server.caches import Caches
from wherry.server.callouts.client import Callouts
from wherry.server.rbac.authorizer import Authorizer
from wherry.server.registry import Registry

AdmissionFunction = Callable[[Attributes], Awaitable[None]]


class FunctionPlugin(AdmissionPlugin):
    """A function as a plugin; it is asked about every operation on every kind."""

    def __init__(self, function: AdmissionFunction) -> None:
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    async def admit(self, attributes: Attributes) -> None:
        await self._function(attributes)


class ConfiguredAdmission:
    """The plugins in their order, and what keeps them up to date."""

    def __init__(
        self,
        given: Iterable[AdmissionPlugin | AdmissionFunction],
        caches: Caches,
        registry: Registry,
        callouts: Callouts,
        changed: Callable[[], None],
        authorizer: Authorizer,
    ) -> None:
        self._caches = caches
        versions = Versions(registry)
        self._mutating = MutatingWebhooks(caches, versions, callouts, changed, authorizer)
        self._validating = ValidatingWebhooks(caches, versions, callouts, changed, authorizer)
        around = Surroundings(caches, registry, versions, authorizer, changed)
        self._mutating_policies, self._validating_policies = MutatingPolicies(around), ValidatingPolicies(around)
        self.plugins: list[AdmissionPlugin] = [
            *(item if isinstance(item, AdmissionPlugin) else FunctionPlugin(item) for item in given),
            self._mutating_policies,
            self._mutating,
            self._validating_policies,
            self._validating,
        ]
        for changing in (self._mutating, self._validating, self._mutating_policies, self._validating_policies):
            registry.on_change(changing.resources_changed)
        registry.on_change(changed)

    def follow(self) -> None:
        """Read what is configured, and each change from then on. The caches must have started."""
        follow, mutating, validating = self._caches.on_change, self._mutating_policies, self._validating_policies
        follow(MutatingAdmissionPolicy, mutating.policy_changed)
        follow(MutatingAdmissionPolicyBinding, mutating.binding_changed)
        follow(ValidatingAdmissionPolicy, validating.policy_changed)
        follow(ValidatingAdmissionPolicyBinding, validating.binding_changed)
        self._caches.on_change(MutatingWebhookConfiguration, self._mutating.configuration_changed)
        self._caches.on_change(ValidatingWebhookConfiguration, self._validating.configuration_changed)
