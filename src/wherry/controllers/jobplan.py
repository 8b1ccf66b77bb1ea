"""What a Job does next: whom to count, whether it is over, how many pods to run and which. Pure.

Counting loses no pod: a finished pod keeps the tracking finalizer until its uid stands in the Job's status, so it is
counted once whatever crashes in between (KEP-2307).

Source of the behaviour: kubernetes pkg/controller/job.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from wherry.api.batch_v1 import Job, JobCondition, JobStatus, PodFailurePolicyRule
from wherry.api.core_v1 import EnvVar, EnvVarSource, ObjectFieldSelector, Pod
from wherry.meta.time import format_time, parse_time
from wherry.rules import conditions
from wherry.rules.pods import all_containers, all_statuses, is_active, is_terminal, is_terminating

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
BACKOFF_SECONDS, BACKOFF_MAX_SECONDS = 10.0, 600.0

COMPLETE, FAILED, SUCCESS_CRITERIA_MET, FAILURE_TARGET = "Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"
REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
BACKOFF_EXCEEDED = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE_EXCEEDED = ("DeadlineExceeded", "Job was active longer than specified deadline")

Verdict = tuple[str, str]
"""(reason, message)."""


def is_indexed(job: Job) -> bool:
    """Each pod has an index of its own."""
    return job.spec.completionMode == "Indexed"


def is_finished(job: Job) -> bool:
    """Complete or Failed for good."""
    return any(conditions.is_true(job.status.conditions, kind) for kind in (COMPLETE, FAILED))


# Indexes -------------------------------------------------------------------------------------------------------------


def parse_indexes(text: str | None) -> set[int]:
    """ "0,2-4" to {0, 2, 3, 4}."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first:
            found |= set(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """{0, 2, 3, 4} to "0,2-4"."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def index_of(pod: Pod) -> int | None:
    """The completion index of a pod."""
    text = pod.metadata.annotations.get(INDEX) or pod.metadata.labels.get(INDEX) or ""
    return int(text) if text.isdigit() else None


def set_index(job: Job, pod: Pod, index: int) -> None:
    """Make a new pod the one of this index: annotation, label, name, host name and environment."""
    pod.metadata.generateName = f"{job.metadata.name}-{index}-"
    pod.metadata.annotations = {**pod.metadata.annotations, INDEX: str(index)}
    pod.metadata.labels = {**pod.metadata.labels, INDEX: str(index)}
    pod.spec.hostname = f"{job.metadata.name}-{index}"
    source = EnvVarSource(fieldRef=ObjectFieldSelector(fieldPath=f"metadata.labels['{INDEX}']"))
    for container in all_containers(pod.spec):
        if all(variable.name != INDEX_VARIABLE for variable in container.env):
            container.env = [*container.env, EnvVar(name=INDEX_VARIABLE, valueFrom=source)]


# Counting ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """The pods of a Job, sorted."""

    active: list[Pod] = field(default_factory=list)
    terminating: list[Pod] = field(default_factory=list)
    succeeded: list[Pod] = field(default_factory=list)
    """Finished and still with the finalizer: to be counted."""
    failed: list[Pod] = field(default_factory=list)
    ignored: list[Pod] = field(default_factory=list)
    """Failed, but the failure policy says not to count them."""
    verdict: Verdict | None = None
    """The failure policy wants the Job to fail."""


def tally(job: Job, pods: Sequence[Pod]) -> Tally:
    """Sort the pods; those counted already (no finalizer) fall out."""
    found = Tally()
    early = job.spec.podReplacementPolicy != "Failed" and job.spec.podFailurePolicy is None
    for pod in pods:
        if is_active(pod):
            found.active.append(pod)
        elif is_terminating(pod) and not is_terminal(pod):
            found.terminating.append(pod)
        if FINALIZER not in pod.metadata.finalizers:
            continue
        if pod.status.phase == "Succeeded":
            found.succeeded.append(pod)
        elif pod.status.phase == "Failed" or (early and is_terminating(pod)):
            _judge_failure(job, pod, found)
    return found


def _judge_failure(job: Job, pod: Pod, found: Tally) -> None:
    action, message = match_failure_policy(job, pod)
    if action == "Ignore":
        found.ignored.append(pod)
        return
    found.failed.append(pod)
    if action == "FailJob" and found.verdict is None:
        found.verdict = ("PodFailurePolicy", message)


def match_failure_policy(job: Job, pod: Pod) -> Verdict:
    """(action, message) of the first rule that applies; "Count" when none does."""
    rules = job.spec.podFailurePolicy.rules if job.spec.podFailurePolicy else []
    for number, rule in enumerate(rules):
        found = _exit_code_match(rule, pod) or _condition_match(rule, pod)
        if found:
            return rule.action, f"{found} matching {rule.action} rule at index {number}"
    return "Count", ""


def _full_name(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def _exit_code_match(rule: PodFailurePolicyRule, pod: Pod) -> str | None:
    wanted = rule.onExitCodes
    if wanted is None:
        return None
    for status in all_statuses(pod):
        ended = status.state.terminated
        if ended is None or ended.exitCode == 0 or wanted.containerName not in (None, status.name):
            continue
        if (ended.exitCode in wanted.values) == (wanted.operator == "In"):
            return f"Container {status.name} for pod {_full_name(pod)} failed with exit code {ended.exitCode}"
    return None


def _condition_match(rule: PodFailurePolicyRule, pod: Pod) -> str | None:
    for pattern in rule.onPodConditions:
        present = conditions.find(pod.status.conditions, pattern.type)
        if present is not None and present.status == (pattern.status or "True"):
            return f"Pod {_full_name(pod)} has condition {pattern.type}"
    return None


def finished_at(pod: Pod, now: datetime) -> datetime:
    """When the last container ended."""
    ends = [status.state.terminated.finishedAt for status in all_statuses(pod) if status.state.terminated]
    times = [parse_time(text) for text in ends if text]
    return max(times) if times else now


# The end -------------------------------------------------------------------------------------------------------------


def failure_of(job: Job, failed: int, found: Tally, now: datetime) -> Verdict | None:
    """Why the Job has failed, if it has."""
    present = conditions.find(job.status.conditions, FAILURE_TARGET)
    if present is not None and present.status == "True":
        return present.reason or "", present.message or ""
    if found.verdict is not None:
        return found.verdict
    limit = 6 if job.spec.backoffLimit is None else job.spec.backoffLimit
    if failed > limit or _restarts_exceed(job, found.active, limit):
        return BACKOFF_EXCEEDED
    left_seconds = seconds_to_deadline(job, now)
    return DEADLINE_EXCEEDED if left_seconds is not None and left_seconds <= 0 else None


def _restarts_exceed(job: Job, active: Sequence[Pod], limit: int) -> bool:
    """With restartPolicy OnFailure the containers' own restarts count."""
    if job.spec.template.spec.restartPolicy != "OnFailure":
        return False
    restarts = sum(status.restartCount for pod in active for status in all_statuses(pod))
    return restarts > 0 if limit == 0 else restarts >= limit


def seconds_to_deadline(job: Job, now: datetime) -> float | None:
    """How long until activeDeadlineSeconds have passed; None without a deadline or while suspended."""
    if job.spec.activeDeadlineSeconds is None or not job.status.startTime or job.spec.suspend:
        return None
    return job.spec.activeDeadlineSeconds - (now - parse_time(job.status.startTime)).total_seconds()


def is_successful(job: Job, succeeded: int, active: int) -> bool:
    """Enough pods succeeded. Without `completions`, one success decides once none is running any more."""
    if job.spec.completions is None:
        return succeeded > 0 and active == 0
    return succeeded >= job.spec.completions


# Pods to run ---------------------------------------------------------------------------------------------------------


def wanted_active(job: Job, succeeded: int, active: int) -> int:
    """How many pods should be active."""
    parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
    if job.spec.suspend:
        return 0
    if job.spec.completions is None:
        return min(active, parallelism) if succeeded > 0 else parallelism
    return max(0, min(parallelism, job.spec.completions - succeeded))


def missing_indexes(job: Job, completed: set[int], active: Sequence[Pod], count: int) -> list[int]:
    """The lowest indexes that are neither done nor being worked on."""
    busy = {index_of(pod) for pod in active}
    free = (index for index in range(job.spec.completions or 0) if index not in completed and index not in busy)
    return [index for _, index in zip(range(count), free, strict=False)]


def backoff_seconds(failures: int) -> float:
    """How long after the last of so many failures in a row the next pod starts."""
    return 0.0 if failures == 0 else min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2.0 ** min(failures - 1, 30))


def put_condition(status: JobStatus, kind: str, value: str, verdict: Verdict, now: datetime) -> bool:
    """Set a condition; True when it changed."""
    text = format_time(now)
    item = JobCondition(
        type=kind, status=value, reason=verdict[0], message=verdict[1], lastProbeTime=text, lastTransitionTime=text
    )
    present = conditions.find(status.conditions, kind)
    if present is not None and (present.status, present.reason) == (value, verdict[0]):
        return False
    return conditions.put(status.conditions, item)
