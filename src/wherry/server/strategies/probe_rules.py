"""Probes, lifecycle handlers, and when one container restarts.

Source: kubernetes pkg/apis/core/validation.
"""

from collections.abc import Sequence
from typing import Any

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, required, too_long
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults

_ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
_WATCHING = ("livenessProbe", "readinessProbe", "startupProbe")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")
_LINUX_SIGNALS = (
    *"SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL SIGPIPE SIGPOLL "
    "SIGPROF SIGPWR SIGQUIT SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 "
    "SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIGRTMIN SIGRTMAX".split(),
    *(f"SIGRTMIN+{number}" for number in range(1, 16)),
    *(f"SIGRTMAX-{number}" for number in range(1, 15)),
)
RESTART_POLICIES = ("Always", "Never", "OnFailure")
RESTART_RULES_MAX, EXIT_CODES_MAX = 20, 255


def watched(path: str, container: core.Container, grace_seconds: int | None, system: str | None) -> Faults:
    """Everything that watches or greets a container that keeps running."""
    if container.lifecycle is not None:
        yield from _lifecycle(f"{path}.lifecycle", container.lifecycle, grace_seconds, system)
    for name in _WATCHING:
        probe: core.Probe | None = getattr(container, name)
        if probe is not None:
            yield from _probe(f"{path}.{name}", probe, grace_seconds)
            if name == "readinessProbe" and probe.terminationGracePeriodSeconds is not None:
                text, seconds = "must not be set for readinessProbes", probe.terminationGracePeriodSeconds
                yield invalid_value(f"{path}.{name}.terminationGracePeriodSeconds", seconds, text)
            elif name != "readinessProbe" and probe.successThreshold != 1:
                yield invalid_value(f"{path}.{name}.successThreshold", probe.successThreshold, "must be 1")


def unwatched(path: str, container: core.Container) -> Faults:
    """An init container that ends has neither."""
    for name in ("lifecycle", *_WATCHING):
        if getattr(container, name) is not None:
            yield field_forbidden(f"{path}.{name}", _ONLY_SIDECARS)


def _probe(path: str, probe: core.Probe, grace_seconds: int | None) -> Faults:
    yield from _handler(path, probe, ("exec", "httpGet", "tcpSocket", "grpc"), grace_seconds)
    for name in _COUNTS:
        yield from checks.non_negative(f"{path}.{name}", getattr(probe, name))
    yield from checks.positive(f"{path}.terminationGracePeriodSeconds", probe.terminationGracePeriodSeconds)


def _lifecycle(path: str, lifecycle: core.Lifecycle, grace_seconds: int | None, system: str | None) -> Faults:
    for name in ("postStart", "preStop"):
        handler = getattr(lifecycle, name)
        if handler is not None:
            yield from _handler(f"{path}.{name}", handler, ("exec", "httpGet", "tcpSocket", "sleep"), grace_seconds)
    signal = lifecycle.stopSignal
    if signal is None:
        return
    if system is None:
        yield field_forbidden(f"{path}.stopSignal", "may not be set for containers with empty `spec.os.name`")
    else:
        yield from checks.one_of(
            f"{path}.stopSignal", signal, _WINDOWS_SIGNALS if system == "windows" else _LINUX_SIGNALS
        )


def _handler(path: str, handler: Any, kinds: Sequence[str], grace_seconds: int | None) -> Faults:
    chosen = [name for name in kinds if getattr(handler, name) is not None]
    if not chosen:
        yield required(path, "must specify a handler type")
        return
    name = chosen[0]
    action, here = getattr(handler, name), f"{path}.{name}"
    if name == "exec":
        yield from checks.present(f"{here}.command", action.command)
    elif name == "sleep":
        if grace_seconds is not None and not 0 <= action.seconds <= grace_seconds:
            text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"
            yield invalid_value(here, action.seconds, text)
    elif name == "httpGet":
        yield from checks.present(f"{here}.path", action.path)
        yield from checks.port(f"{here}.port", action.port)
        yield from checks.one_of(f"{here}.scheme", action.scheme, ("HTTP", "HTTPS"))
        for header in action.httpHeaders:
            yield from checks.named(f"{here}.httpHeaders", header.name, names.http_header_name)
    else:
        yield from checks.port(f"{here}.port", action.port)
    for extra in chosen[1:]:
        yield field_forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")


def restarts(path: str, container: core.Container, *, init: bool) -> Faults:
    """A container's own restart policy and the exit codes that overrule it."""
    policy, rules = container.restartPolicy, container.restartPolicyRules
    if policy is None and not rules:
        return
    if init and policy == "Always":
        if rules:
            text = "restartPolicyRules are not allowed for init containers with restart policy Always"
            yield field_forbidden(f"{path}.restartPolicyRules", text)
        return
    if policy is None:
        if init:
            return
        yield required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")
    yield from checks.one_of(f"{path}.restartPolicy", policy, RESTART_POLICIES)
    if len(rules) > RESTART_RULES_MAX:
        yield too_long(f"{path}.restartPolicyRules", RESTART_RULES_MAX)
    for index, rule in enumerate(rules):
        here = f"{path}.restartPolicyRules[{index}]"
        yield from checks.one_of(f"{here}.action", rule.action or "", ("Restart",))
        if rule.exitCodes is None:
            yield required(f"{here}.exitCodes", "must be specified")
            continue
        yield from checks.one_of(f"{here}.exitCodes.operator", rule.exitCodes.operator or "", ("In", "NotIn"))
        if len(rule.exitCodes.values) > EXIT_CODES_MAX:
            yield too_long(f"{here}.exitCodes.values", EXIT_CODES_MAX)


def resize_policy(path: str, items: Sequence[core.ContainerResizePolicy], restart: str | None) -> Faults:
    """What a change of each resource costs the container."""
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item.resourceName in seen:
            yield duplicate(f"{path}[{index}]", item.resourceName)
        seen.add(item.resourceName)
        yield from checks.one_of_required(path, item.resourceName, ("cpu", "memory"))
        yield from checks.one_of_required(path, item.restartPolicy, ("NotRequired", "RestartContainer"))
        if restart == "Never" and item.restartPolicy != "NotRequired":
            text = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            yield invalid_value(path, item.restartPolicy, text)
