"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: the webhooks that a write concerns, asked in order.

Configurations come by name, webhooks within one as they are listed. Mutating ones are asked one after another and see
each other's changes; when one changed the object, the whole mutating chain runs once more, and with it those webhooks
that want to be asked again. Validating ones are asked at the same time. While nothing is configured the chain does not
know these plugins (`concerns`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wherry.meta.errors import StatusError, forbidden, internal_error, quote
from wherry.meta.patch import json_patch
from wherry.meta.resource import Resource
from wherry.server.admission.matching import CONFIGURATIONS
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.admission.versions import Json, Versions
from wherry.server.admission.webhooks.hooks import Hook, compile_hooks
from wherry.server.admission.webhooks.review import HookFailedError, ask, question
from wherry.server.callouts.client import Callouts
from wherry.server.rbac.authorizer import Authorizer
from wherry.server.strategies.strategy import Caches

_log = logging.getLogger(__name__)


class Webhooks(AdmissionPlugin):
    """What both kinds share: the configurations there are, and which webhooks a write concerns."""

    def __init__(
        self,
        caches: Caches,
        versions: Versions,
        callouts: Callouts,
        changed: Callable[[], None],
        authorizer: Authorizer | None = None,
    ) -> None:
        self._authorizer = authorizer
        self._caches = caches
        self._versions = versions
        self._callouts = callouts
        self._changed = changed
        self._configurations: dict[str, list[Hook]] = {}
        self._hooks: list[Hook] = []

    def configuration_changed(self, old: Any, new: Any) -> None:
        """A webhook configuration came, changed or went."""
        self._configurations.pop((old or new).metadata.name, None)
        if new is not None:
            self._configurations[new.metadata.name] = compile_hooks(new, self._callouts)
        self._hooks = [hook for name in sorted(self._configurations) for hook in self._configurations[name]]
        self._changed()

    def resources_changed(self) -> None:
        """Kinds came or went."""
        for hook in self._hooks:
            hook.matching.forget()

    def concerns(self, operation: Operation, resource: Resource) -> bool:
        if (resource.group, resource.plural) in CONFIGURATIONS:
            return False
        served = [resource, *self._versions.equivalents(resource)]
        return any(hook.matching.ever(operation, served) for hook in self._hooks)

    def _match(self, hook: Hook, attributes: Attributes) -> Resource | None:
        found = hook.matching.match(attributes, self._versions.equivalents, self._caches)
        if found is None or not hook.conditions:
            return found
        from wherry.server.cel.conditions import ConditionError, evaluate, inputs

        policy = "Ignore" if hook.ignore_failure else "Fail"
        try:
            return found if evaluate(hook.conditions, inputs(attributes, self._authorizer), policy) else None
        except ConditionError as error:
            raise forbidden(attributes.requested.group_resource, attributes.name, str(error)) from error

    def _ask(self, attributes: Attributes, resource: Resource) -> Json:
        old = self._versions.show(attributes, attributes.old_object, resource)
        new = self._versions.show(attributes, attributes.object, resource)
        return question(attributes, resource, self._versions, old, new)


def _failed(hook: Hook, error: HookFailedError) -> StatusError | None:
    """What a failed call means: an error, or nothing where failures are ignored."""
    text = f"failed calling webhook {quote(hook.name)}: {error}"
    if hook.ignore_failure:
        _log.warning("%s: ignored, as its failurePolicy says", text)
        return None
    return internal_error(text)


@dataclass(slots=True)
class _Rounds:
    """What one write's first round leaves for its second."""

    asked: set[Hook] = field(default_factory=set)
    """Asked since the last change, and willing to be asked again."""
    again: set[Hook] = field(default_factory=set)
    output: Json | None = None
    """The object as webhooks left it."""

    def changed(self) -> None:
        """Who was asked before this change has not seen it."""
        self.again |= self.asked
        self.asked = set()


class MutatingWebhooks(Webhooks):
    """One after another."""

    name = "MutatingAdmissionWebhook"

    async def admit(self, attributes: Attributes) -> None:
        rounds: _Rounds = attributes.memory.setdefault(self.name, _Rounds())
        if attributes.round and rounds.output != self._whole(attributes):
            rounds.changed()
        for hook in self._hooks:
            resource = self._match(hook, attributes)
            if resource is None or (attributes.round and hook not in rounds.again):
                continue
            try:
                changed = await self._mutate(hook, attributes, resource)
            except HookFailedError as error:
                refusal = _failed(hook, error)
                if refusal is not None:
                    raise refusal from error
                changed = False
            if changed:
                rounds.changed()
                attributes.again = True
            if hook.reinvoke:
                rounds.asked.add(hook)
        if attributes.again and not attributes.round:
            rounds.output = self._whole(attributes)

    def _whole(self, attributes: Attributes) -> Json | None:
        return self._versions.show(attributes, attributes.object, attributes.resource)

    async def _mutate(self, hook: Hook, attributes: Attributes, resource: Resource) -> bool:
        asked = self._ask(attributes, resource)
        verdict = await ask(hook, asked, attributes, self._callouts, mutating=True)
        if not verdict.patch:
            return False
        before = asked["object"]
        if before is None:
            text = f"admission webhook {quote(hook.name)} attempted to modify the object"
            raise internal_error(f"{text}, which is not supported for this operation")
        try:
            after = json_patch(before, verdict.patch)
            if after == before:
                return False
            attributes.object = self._versions.take(attributes, after, resource)
        except (StatusError, msgspec.ValidationError, ValueError, TypeError, AttributeError) as error:
            raise internal_error(str(error)) from error
        return True


class ValidatingWebhooks(Webhooks):
    """All at once; the first refusal, in the order of webhooks, is the answer."""

    name = "ValidatingAdmissionWebhook"

    async def validate(self, attributes: Attributes) -> None:
        asked: dict[str, Json] = {}
        calls = []
        for hook in self._hooks:
            resource = self._match(hook, attributes)
            if resource is None:
                continue
            if resource.api_version not in asked:
                asked[resource.api_version] = self._ask(attributes, resource)
            calls.append(self._check(hook, asked[resource.api_version], attributes))
        refusals = [item for item in await asyncio.gather(*calls) if item is not None]
        if refusals:
            raise refusals[0]

    async def _check(self, hook: Hook, asked: Json, attributes: Attributes) -> StatusError | None:
        try:
            await ask(hook, asked, attributes, self._callouts, mutating=False)
        except HookFailedError as error:
            return _failed(hook, error)
        except StatusError as error:
            return error
        return None
