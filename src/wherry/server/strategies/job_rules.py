"""What a Job may say: counts, modes, policies of failure and success, and what even its controller may not report.

Source: kubernetes pkg/apis/batch/validation and pkg/registry/batch/job.
"""

from collections.abc import Iterator

from wherry.api import batch_v1 as batch
from wherry.api.core_v1 import PodTemplateSpec
from wherry.meta import names
from wherry.meta.errors import (
    INVALID,
    OMITTED,
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from wherry.meta.wire import deep_copy
from wherry.rules.conditions import is_true
from wherry.server.strategies import checks, pod_rules
from wherry.server.strategies.checks import Faults

_COUNTS = (
    "parallelism completions activeDeadlineSeconds backoffLimit ttlSecondsAfterFinished backoffLimitPerIndex "
    "maxFailedIndexes".split()
)
_PARALLELISM_MAX, _MANAGER_MAX = 100_000, 63
_MANY_COMPLETIONS, _PARALLELISM_OF_MANY, _FAILED_OF_MANY = 100_000, 10_000, 10_000
_RULES_MAX, _PATTERNS_MAX, _CODES_MAX, _SUCCESS_RULES_MAX, _INDEXES_BYTES_MAX = 20, 20, 255, 20, 65536
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_HIGH = "completions are above 100000 and used with backoff limit per index"


def spec(path: str, value: batch.JobSpec) -> Faults:
    """A JobSpec, in a Job or in a CronJob's template."""
    for name in _COUNTS:
        yield from checks.non_negative(f"{path}.{name}", getattr(value, name))
    if value.maxFailedIndexes is not None and value.backoffLimitPerIndex is None:
        yield required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if value.managedBy is not None:
        yield from checks.domain_prefixed_path(f"{path}.managedBy", value.managedBy)
        if len(value.managedBy) > _MANAGER_MAX:
            yield too_long(f"{path}.managedBy", _MANAGER_MAX)
    if value.completionMode not in (None, "NonIndexed", "Indexed"):
        yield not_supported(f"{path}.completionMode", value.completionMode, ("NonIndexed", "Indexed"))
    if value.completionMode == "Indexed":
        yield from _indexed(path, value)
    else:
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if getattr(value, name) is not None:
                yield invalid_value(f"{path}.{name}", getattr(value, name), "requires indexed completion mode")
    if value.podFailurePolicy is not None:
        yield from _failure_policy(f"{path}.podFailurePolicy", value)
    if value.successPolicy is not None:
        if value.completionMode == "Indexed":
            yield from _success_policy(f"{path}.successPolicy", value)
        else:
            yield invalid_value(f"{path}.successPolicy", value.successPolicy, "requires indexed completion mode")
    policies = ("Failed",) if value.podFailurePolicy is not None else ("Failed", "TerminatingOrFailed")
    yield from checks.one_of(f"{path}.podReplacementPolicy", value.podReplacementPolicy, policies)
    yield from pod_rules.template(f"{path}.template", value.template)
    yield from _restart(f"{path}.template.spec.restartPolicy", value)


def _restart(path: str, value: batch.JobSpec) -> Faults:
    policy = value.template.spec.restartPolicy
    if policy in (None, "", "Always"):
        yield required(path, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield not_supported(path, policy, ("OnFailure", "Never"))
    elif value.podFailurePolicy is not None and policy != "Never":
        yield invalid_value(path, policy, 'only "Never" is supported when podFailurePolicy is specified')


def _indexed(path: str, value: batch.JobSpec) -> Faults:
    completions, parallelism, failed = value.completions, value.parallelism or 0, value.maxFailedIndexes
    if completions is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism > _PARALLELISM_MAX:
        text = f"must be less than or equal to {_PARALLELISM_MAX} when completion mode is Indexed"
        yield invalid_value(f"{path}.parallelism", parallelism, text)
    if failed is not None and completions is not None and failed > completions:
        yield invalid_value(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions")
    if failed is not None and failed > _PARALLELISM_MAX:
        yield invalid_value(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {_PARALLELISM_MAX}")
    if completions is None or completions <= _MANY_COMPLETIONS or value.backoffLimitPerIndex is None:
        return
    if failed is None:
        yield required(f"{path}.maxFailedIndexes", f"must be specified when completions is above {_MANY_COMPLETIONS}")
    if parallelism > _PARALLELISM_OF_MANY:
        text = f"must be less than or equal to {_PARALLELISM_OF_MANY} when {_HIGH}"
        yield invalid_value(f"{path}.parallelism", parallelism, text)
    if failed is not None and failed > _FAILED_OF_MANY:
        text = f"must be less than or equal to {_FAILED_OF_MANY} when {_HIGH}"
        yield invalid_value(f"{path}.maxFailedIndexes", failed, text)


def _failure_policy(path: str, value: batch.JobSpec) -> Faults:
    assert value.podFailurePolicy is not None
    rules, pod = value.podFailurePolicy.rules, value.template.spec
    if len(rules) > _RULES_MAX:
        yield too_many(f"{path}.rules", len(rules), _RULES_MAX)
    containers = {item.name for item in (*pod.containers, *pod.initContainers)}
    for index, rule in enumerate(rules):
        here = f"{path}.rules[{index}]"
        if not rule.action:
            yield required(f"{here}.action", f"valid values: {_go_list(_ACTIONS)}")
        elif rule.action == "FailIndex" and value.backoffLimitPerIndex is None:
            yield invalid_value(f"{here}.action", rule.action, "requires the backoffLimitPerIndex to be set")
        yield from checks.one_of(f"{here}.action", rule.action or None, _ACTIONS)
        if rule.onExitCodes is not None:
            yield from _exit_codes(f"{here}.onExitCodes", rule.onExitCodes, containers)
        if len(rule.onPodConditions) > _PATTERNS_MAX:
            yield too_many(f"{here}.onPodConditions", len(rule.onPodConditions), _PATTERNS_MAX)
        for number, pattern in enumerate(rule.onPodConditions):
            place = f"{here}.onPodConditions[{number}]"
            yield from checks.named(f"{place}.type", pattern.type, names.qualified_name)
            yield from checks.one_of_required(f"{place}.status", pattern.status, ("False", "True", "Unknown"))
        if rule.onExitCodes is not None and rule.onPodConditions:
            yield _plain(here, "specifying both OnExitCodes and OnPodConditions is not supported")
        elif rule.onExitCodes is None and not rule.onPodConditions:
            yield _plain(here, "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(path: str, codes: batch.PodFailurePolicyOnExitCodesRequirement, containers: set[str]) -> Faults:
    values = codes.values
    yield from checks.one_of_required(f"{path}.operator", codes.operator, ("In", "NotIn"))
    if codes.containerName is not None and codes.containerName not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        yield invalid_value(f"{path}.containerName", codes.containerName, text)
    if not values:
        yield invalid_value(f"{path}.values", values, "at least one value is required")
    elif len(values) > _CODES_MAX:
        yield too_many(f"{path}.values", len(values), _CODES_MAX)
    for index, code in enumerate(values):
        if codes.operator == "In" and code == 0:
            yield invalid_value(f"{path}.values[{index}]", code, "must not be 0 for the In operator")
        if code in values[:index]:
            yield duplicate(f"{path}.values[{index}]", code)
    if values != sorted(values):
        yield invalid_value(f"{path}.values", values, "must be ordered")


def _success_policy(path: str, value: batch.JobSpec) -> Faults:
    assert value.successPolicy is not None
    rules, completions = value.successPolicy.rules, value.completions or 0
    if not rules:
        text = "at least one rules must be specified when the successPolicy is specified"
        yield required(f"{path}.rules", text)
    if len(rules) > _SUCCESS_RULES_MAX:
        yield too_many(f"{path}.rules", len(rules), _SUCCESS_RULES_MAX)
    for index, rule in enumerate(rules):
        here, count, listed = f"{path}.rules[{index}]", rule.succeededCount, rule.succeededIndexes
        if count is None and listed is None:
            yield required(here, "at least one of succeededCount or succeededIndexes must be specified")
        total = 0
        if listed is not None:
            if len(listed) > _INDEXES_BYTES_MAX:
                yield too_long(f"{here}.succeededIndexes", _INDEXES_BYTES_MAX)
            try:
                total = sum(last - first + 1 for first, last in intervals(listed, completions))
            except ValueError as error:
                yield invalid_value(f"{here}.succeededIndexes", listed, f"error parsing succeededIndexes: {error}")
        if count is not None:
            yield from checks.non_negative(f"{here}.succeededCount", count)
            for bound, what in ((completions, "completions"), (total, "")):
                if count > bound and (what or listed is not None):
                    of = "specified completions" if what else "indexes in the specified succeededIndexes field"
                    text = f"must be less than or equal to {bound} (the number of {of})"
                    yield invalid_value(f"{here}.succeededCount", count, text)


def intervals(text: str, completions: int) -> Iterator[tuple[int, int]]:
    """1,3-5 as pairs, ends included. Raises ValueError with what is wrong, in Kubernetes' words."""
    last = -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            rule = "an index interval can have at most two parts separated by '-'"
            raise ValueError(f'the fragment "{part}" violates the requirement that {rule}')
        for end in ends:
            if not end.isdecimal() or not end.isascii():
                raise ValueError(f'cannot convert string to integer for index: "{end}"')
        first, final = int(ends[0]), int(ends[-1])
        if first >= completions or final >= completions:
            raise ValueError(f'too large index: "{ends[0] if first >= completions else ends[-1]}"')
        if len(ends) == 2 and first >= final:
            raise ValueError(f"non-increasing order, previous: {first}, current: {final}")
        if first <= last:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        last = final
        yield first, final


def update(new: batch.Job, old: batch.Job) -> Faults:
    """What changes of a Job: its parallelism, its suspension, an elastic Job's size, and where waiting pods go."""
    after, before = new.spec, old.spec
    if after.completionMode != "Indexed":
        yield from checks.immutable("spec.completions", after.completions, before.completions)
    elif after.completions not in (before.completions, None) and after.completions != after.parallelism:
        text = "can only be modified in tandem with spec.parallelism"
        yield invalid_value("spec.completions", after.completions, text)
    yield from checks.immutable("spec.selector", after.selector, before.selector)
    template = deep_copy(after.template)
    started = old.status.startTime is not None and not is_true(old.status.conditions, "Suspended")
    if before.suspend and not started:
        _forgive_scheduling(template, before.template)
    yield from checks.immutable("spec.template", template, before.template)
    for name in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        yield from checks.immutable(f"spec.{name}", getattr(after, name), getattr(before, name))


def _forgive_scheduling(template: PodTemplateSpec, old: PodTemplateSpec) -> None:
    """A suspended Job that never started may still say where its pods go."""
    for name in ("nodeSelector", "tolerations", "schedulingGates"):
        setattr(template.spec, name, getattr(old.spec, name))
    template.metadata.labels, template.metadata.annotations = old.metadata.labels, old.metadata.annotations
    mine, theirs = template.spec.affinity, old.spec.affinity
    if mine is not None:
        mine.nodeAffinity = theirs.nodeAffinity if theirs is not None else None
    bare = mine is None or (mine.podAffinity is None and mine.podAntiAffinity is None)
    if bare and (theirs is None or (theirs.podAffinity is None and theirs.podAntiAffinity is None)):
        template.spec.affinity = theirs


def _go_list(items: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{item}"' for item in items) + "]"


def _plain(path: str, text: str) -> FieldError:
    return FieldError(INVALID, path, OMITTED, text)


# status


def status(new: batch.Job, old: batch.Job) -> Faults:
    """Counts that never shrink, ends that stay, and conditions that go together."""
    after, before = new.status, old.status
    for name in ("active", "succeeded", "failed", "ready", "terminating"):
        yield from checks.non_negative(f"status.{name}", getattr(after, name))
    yield from _finished(new)
    for kind in ("Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"):
        if is_true(before.conditions, kind) and not is_true(after.conditions, kind):
            terminal = "" if kind == "SuccessCriteriaMet" else "terminal "
            yield _plain("status.conditions", f"cannot disable the {terminal}{kind}=True condition")
    for name in ("failed", "succeeded"):
        if (getattr(after, name) or 0) < (getattr(before, name) or 0):
            text = f"cannot decrease the {name} counter"
            yield invalid_value(f"status.{name}", getattr(after, name) or 0, text)
    if after.completionTime and before.completionTime and after.completionTime != before.completionTime:
        yield invalid_value("status.completionTime", after.completionTime, "completionTime cannot be mutated")
    if before.startTime and before.startTime != after.startTime and not new.spec.suspend:
        yield required("status.startTime", "startTime cannot be removed for unsuspended job")
    for name, allowed in (("completedIndexes", new.spec.completionMode == "Indexed"), ("failedIndexes", True)):
        value = getattr(after, name)
        if value and not allowed:
            text = "cannot set non-empty completedIndexes when non-indexed completion mode"
            yield invalid_value(f"status.{name}", value, text)
        if value and new.spec.completions is not None:
            try:
                list(intervals(value, new.spec.completions))
            except ValueError as error:
                yield invalid_value(f"status.{name}", value, f"error parsing {name}: {error}")
    if after.failedIndexes is not None and new.spec.backoffLimitPerIndex is None:
        text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        yield invalid_value("status.failedIndexes", after.failedIndexes, text)
    if (after.ready or 0) > (after.active or 0):
        yield invalid_value("status.ready", after.ready, "cannot set more ready pods than active")


def _finished(job: batch.Job) -> Faults:
    state, path = job.status, "status.conditions"
    complete, failed = is_true(state.conditions, "Complete"), is_true(state.conditions, "Failed")
    met, target = is_true(state.conditions, "SuccessCriteriaMet"), is_true(state.conditions, "FailureTarget")
    for one, other, text in (
        (complete, failed, "cannot set Complete=True and Failed=true conditions"),
        (complete, target, "cannot set Complete=True and FailureTarget=true conditions"),
        (failed, not target, "cannot set Failed=True condition without the FailureTarget=true condition"),
        (complete, not met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
        (met, failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met, target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ):
        if one and other:
            yield _plain(path, text)
    if state.completionTime and not complete:
        text = "cannot set completionTime when there is no Complete=True condition"
        yield invalid_value("status.completionTime", state.completionTime, text)
    if complete and not state.completionTime:
        yield required("status.completionTime", "completionTime is required for Complete jobs")
    if state.startTime and state.completionTime and state.completionTime < state.startTime:
        text = "completionTime cannot be set before startTime"
        yield invalid_value("status.completionTime", state.completionTime, text)
    if not (complete or failed):
        return
    if not state.startTime:
        yield required("status.startTime", "startTime is required for finished job")
    for name in ("active", "terminating"):
        if getattr(state, name):
            yield invalid_value(f"status.{name}", getattr(state, name), f"{name}>0 is invalid for finished job")
    uncounted = state.uncountedTerminatedPods
    if uncounted is not None and (uncounted.succeeded or uncounted.failed):
        text = "uncountedTerminatedPods needs to be empty for finished job"
        yield invalid_value("status.uncountedTerminatedPods", uncounted, text)
