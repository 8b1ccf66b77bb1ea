"""Expressions of admission: the variables that policies and match conditions see, compiling and evaluating in a budget.

`object`, `oldObject`, `params` are dyn; `request` and `namespaceObject` are typed. Values are made of a request's
attributes only when an expression asks for them. Source: apiserver, admission/plugin/cel.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from wherry.api.core_v1 import Namespace
from wherry.meta import wire
from wherry.meta.resource import Resource
from wherry.server.admission.plugin import Attributes
from wherry.server.cel.environment import PER_CALL_LIMIT, Environment, Program
from wherry.server.cel.functions import OPAQUE, parse_type
from wherry.server.cel.kubernetes import Authorizer, Check
from wherry.server.cel.syntax import CompileError
from wherry.server.cel.types import DYN, TIMESTAMP, Field, Type, opaque, same
from wherry.server.cel.values import CelError, CostExceeded, timestamp
from wherry.server.http import RequestInfo, UserInfo
from wherry.server.rbac.authorizer import Authorizer as RequestAuthorizer
from wherry.server.rbac.authorizer import Verdict

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
Json = dict[str, Any]
T = TypeVar("T")


class OutOfBudgetError(Exception):
    """All expressions together have cost more than they may."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_BUDGET)


def _moment(value: str) -> Any:
    return timestamp(value)


_TIME = Type(TIMESTAMP.kind, convert=_moment)


def _object(type_name: str, /, **fields: str | Type) -> Type:
    found: dict[str, Field] = {}
    for name, kind in fields.items():
        of = _TIME if kind == "Timestamp" else parse_type(kind) if isinstance(kind, str) else kind
        found[name] = Field(name, of)
    return Type("object", name=f"kubernetes.{type_name}", fields=found)


@cache
def request_type() -> Type:
    """`request`: what is asked, and by whom."""
    kind = _object("GroupVersionKind", group="string", version="string", kind="string")
    resource = _object("GroupVersionResource", group="string", version="string", resource="string")
    user = _object(
        "UserInfo", username="string", uid="string", groups="list<string>", extra="map<string, list<string>>"
    )
    return _object(
        "AdmissionRequest",
        kind=kind,
        resource=resource,
        subResource="string",
        requestKind=kind,
        requestResource=resource,
        requestSubResource="string",
        name="string",
        namespace="string",
        operation="string",
        userInfo=user,
        dryRun="bool",
        options="dyn",
    )


@cache
def namespace_type() -> Type:
    """`namespaceObject`: the namespace that the object is in."""
    condition = _object(
        "NamespaceCondition",
        status="string",
        type="string",
        lastTransitionTime="Timestamp",
        message="string",
        reason="string",
    )
    metadata = _object(
        "NamespaceMetadata",
        name="string",
        generateName="string",
        namespace="string",
        labels="map<string, string>",
        annotations="map<string, string>",
        UID="string",
        creationTimestamp="Timestamp",
        deletionGracePeriodSeconds="int",
        deletionTimestamp="Timestamp",
        generation="int",
        resourceVersion="string",
        finalizers="list<string>",
    )
    status = _object("NamespaceStatus", conditions=Type("list", (condition,)), phase="string")
    spec = _object("NamespaceSpec", finalizers="list<string>")
    return _object("Namespace", metadata=metadata, spec=spec, status=status)


def environment(
    *,
    params: bool = False,
    authorizer: bool = True,
    composed: Mapping[str, Type] | None = None,
    typed: Mapping[str, Type] | None = None,
    structs: Callable[[str], Type | None] = lambda name: None,
) -> Environment:
    """What an expression sees. `composed`: a policy's variables so far; `typed`: better types for type checking."""
    variables: dict[str, Type] = {
        "object": DYN,
        "oldObject": DYN,
        "namespaceObject": namespace_type(),
        "request": request_type(),
    }
    if params:
        variables["params"] = DYN
    if authorizer:
        variables["authorizer"] = opaque(OPAQUE["Authorizer"])
        variables["authorizer.requestResource"] = opaque(OPAQUE["ResourceCheck"])
    if composed is not None:
        fields = {name: Field(name, kind) for name, kind in composed.items()}
        variables["variables"] = Type("object", name="kubernetes.variables", fields=fields or {"": Field("", DYN)})
    return Environment(variables | dict(typed or {}), structs)


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, or why it does not compile."""

    text: str
    program: Program | None
    fault: str = ""


def compile_expression(text: str, where: Environment, results: Iterable[Type] = ()) -> Expression:
    """Never raises: the fault is told when the expression is used, or by whoever validates it."""
    try:
        program = where.compile(text)
    except CompileError as error:
        return Expression(text, None, f"compilation failed: {error}")
    wanted = list(results)
    if not wanted or any(same(program.result, item) for item in wanted):
        return Expression(text, program)
    names = str(wanted[0]) if len(wanted) == 1 else f"one of [{' '.join(map(str, wanted))}]"
    return Expression(text, None, f"must evaluate to {names} but got {program.result}")


class Budget:
    """What several expressions may cost together."""

    __slots__ = ("left",)

    def __init__(self, limit: int) -> None:
        self.left = limit

    def evaluate(self, expression: Expression, variables: Mapping[str, Any]) -> Any:
        """Raises CelError in kube-apiserver's words, OutOfBudgetError."""
        if expression.program is None:
            raise CelError(f"compilation error: {expression.fault}")
        try:
            value, cost = expression.program.evaluate(variables)
        except CostExceeded as error:
            self.left -= PER_CALL_LIMIT
            if self.left < 0:
                raise OutOfBudgetError from None
            raise CelError(f"expression '{expression.text}' resulted in error: {error}") from None
        except CelError as error:
            raise CelError(f"expression '{expression.text}' resulted in error: {error}") from None
        self.left -= cost
        if self.left < 0:
            raise OutOfBudgetError
        return value


class Inputs(dict[str, Any]):
    """The values of an expression's variables, made when first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__()
        self._makers = dict(makers)

    def __missing__(self, name: str) -> Any:
        value = self[name] = self._makers[name]()
        return value

    def having(self, **values: Any) -> "Inputs":
        """The same and more, sharing what has been made so far."""
        found = Inputs(self._makers)
        found.update(self)
        found.update(values)
        return found


def inputs(
    attributes: Attributes,
    authorizer: RequestAuthorizer | None = None,
    show: Callable[[Any], Json | None] | None = None,
    resource: Resource | None = None,
) -> Inputs:
    """What expressions see of a request. `show` makes JSON of its objects in the version `resource`."""
    made = show or (lambda obj: _plain(obj, attributes))
    asking = Authorizer(_Asking(attributes.user, authorizer)) if authorizer is not None else None
    makers: dict[str, Callable[[], Any]] = {
        "object": lambda: made(attributes.object),
        "oldObject": lambda: made(attributes.old_object),
        "request": lambda: request_value(attributes, resource),
        "namespaceObject": lambda: _namespace(attributes),
        "params": lambda: None,
        "authorizer": lambda: asking,
        "authorizer.requestResource": lambda: _request_resource(asking, attributes),
    }
    return Inputs(makers)


def _plain(obj: Any, attributes: Attributes) -> Json | None:
    if obj is None:
        return None
    if isinstance(obj, dict):
        return obj
    found: Json = wire.to_builtins(obj)
    content = found.pop("content", None) if attributes.resource.type is None else None
    return found | content if content else found


def _kind(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _plural(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def request_value(attributes: Attributes, seen_as: Resource | None = None) -> Json:
    """AdmissionRequest without the objects; what is empty is not there."""
    user, asked = attributes.user, attributes.requested
    resource = seen_as or asked
    info = {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra}
    found = {
        "kind": _kind(resource),
        "resource": _plural(resource),
        "subResource": attributes.subresource,
        "requestKind": _kind(asked),
        "requestResource": _plural(asked),
        "requestSubResource": attributes.subresource,
        "name": attributes.name,
        "namespace": attributes.namespace,
        "operation": attributes.operation,
        "userInfo": {key: value for key, value in info.items() if value},
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    }
    return {key: value for key, value in found.items() if value != ""}


def _namespace(attributes: Attributes) -> Json | None:
    if not attributes.namespace or (attributes.resource.plural == "namespaces" and not attributes.resource.group):
        return None
    found = attributes.ctx.caches.peek(Namespace, None, attributes.namespace)
    if found is None:
        return None
    plain: Json = wire.to_builtins(found)
    metadata = plain["metadata"]
    if "uid" in metadata:
        metadata["UID"] = metadata.pop("uid")
    return plain


Question = tuple[Check, str]


class UndecidedError(Exception):
    """An expression asks an authorizer that has to ask somebody else first; see `answered`."""

    def __init__(self, asking: "_Asking", question: Question, verdict: Awaitable[Verdict]) -> None:
        super().__init__("the authorizer has not answered yet")
        self.asking, self.question, self.verdict = asking, question, verdict


async def answered(run: Callable[[], T]) -> T:
    """What `run` evaluates to, run again for each answer that an authorizer takes its time for."""
    while True:
        try:
            return run()
        except UndecidedError as asked:
            asked.asking.answers[asked.question] = await asked.verdict


class _Asking:
    """The authorizer's answers to expressions."""

    def __init__(self, user: UserInfo, authorizer: RequestAuthorizer) -> None:
        self._user = user
        self._authorizer = authorizer
        self.answers: dict[Question, Verdict] = {}

    def __call__(self, check: Check, verb: str) -> tuple[bool, str, str]:
        question = check, verb
        if question not in self.answers:
            account = check.authorizer.service_account
            verdict = self._authorizer.authorize(_service_account(account) if account else self._user, _info(*question))
            if not isinstance(verdict, tuple):
                raise UndecidedError(self, question, verdict)
            self.answers[question] = verdict
        allowed, reason = self.answers[question]
        return bool(allowed), reason, ""


def _info(check: Check, verb: str) -> RequestInfo:
    return RequestInfo(
        verb=verb,
        path=check.path,
        api_group=check.group,
        api_version="*",
        resource=check.resource,
        subresource=check.subresource,
        namespace=check.namespace,
        name=check.name,
        is_resource_request=not check.path,
    )


def _service_account(name: str) -> UserInfo:
    namespace = name.split(":")[2]
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return UserInfo(name, groups=groups)


def _request_resource(asking: Authorizer | None, attributes: Attributes) -> Check | None:
    resource = attributes.resource
    if asking is None:
        return None
    return Check(
        asking,
        group=resource.group,
        resource=resource.plural,
        subresource=attributes.subresource,
        namespace=attributes.namespace,
        name=attributes.name,
    )
