"""Jobs and CronJobs: run pods to completion, once or on a schedule."""

import re

from wherry.api.batch_v1 import CronJob, Job, JobSpec
from wherry.api.core_v1 import PodTemplateSpec
from wherry.api.meta_v1 import LabelSelector
from wherry.meta import names
from wherry.meta.errors import field_forbidden, invalid_value, required
from wherry.server.strategies import checks, metadata, pod_defaults, workloads
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext

CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
LEGACY_CONTROLLER_UID, LEGACY_JOB_NAME = "controller-uid", "job-name"
_RESTART = ("Never", "OnFailure")
_UNLIMITED = 2**31 - 1


def _default_spec(spec: JobSpec) -> None:
    if spec.completions is None and spec.parallelism is None:
        spec.completions = spec.parallelism = 1
    unset(
        spec,
        parallelism=1,
        backoffLimit=_UNLIMITED if spec.backoffLimitPerIndex is not None else 6,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="TerminatingOrFailed" if spec.podFailurePolicy is None else "Failed",
    )
    for rule in spec.podFailurePolicy.rules if spec.podFailurePolicy is not None else ():
        for pattern in rule.onPodConditions:
            unset(pattern, status="True")
    pod_defaults.template(spec.template)


class JobStrategy(KindStrategy):
    """batch/v1 Job. The selector is generated from the Job's uid unless manualSelector says otherwise."""

    generation_counts = ("spec",)

    def default(self, obj: Job) -> None:
        _default_spec(obj.spec)
        if not obj.metadata.labels:
            obj.metadata.labels = dict(obj.spec.template.metadata.labels)

    def prepare_for_create(self, obj: Job, ctx: RequestContext) -> None:
        super().prepare_for_create(obj, ctx)
        if not obj.spec.manualSelector:
            _generate_selector(obj)

    def rules(self, obj: Job) -> Faults:
        if obj.spec.selector is None:
            yield required("spec.selector")
        yield from _job_spec("spec", obj.spec)
        yield from workloads.template("spec.template", obj.spec.template, obj.spec.selector, restart=_RESTART)
        if obj.spec.completionMode == "Indexed" and obj.spec.completions:
            last = f"{obj.metadata.name}-{obj.spec.completions - 1}"
            yield from checks.named("metadata.name", last, names.dns1123_label)

    def update_rules(self, new: Job, old: Job) -> Faults:
        yield from checks.immutable("spec.selector", new.spec.selector, old.spec.selector)
        yield from _template_update(new, old)
        for name in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
            yield from checks.immutable(f"spec.{name}", getattr(new.spec, name), getattr(old.spec, name))
        elastic = new.spec.completionMode == "Indexed" and new.spec.completions == new.spec.parallelism
        if not (elastic and old.spec.completions == old.spec.parallelism):
            yield from checks.immutable("spec.completions", new.spec.completions, old.spec.completions)

    def fields(self, obj: Job) -> dict[str, str]:
        return {"status.successful": str(obj.status.succeeded or 0)}


def _generate_selector(job: Job) -> None:
    labels = job.spec.template.metadata.labels = dict(job.spec.template.metadata.labels)
    uid, name = job.metadata.uid or "", job.metadata.name or ""
    labels.update({CONTROLLER_UID: uid, JOB_NAME: name, LEGACY_CONTROLLER_UID: uid, LEGACY_JOB_NAME: name})
    job.spec.selector = LabelSelector(matchLabels={CONTROLLER_UID: uid})


def _job_spec(path: str, spec: JobSpec) -> Faults:
    for name in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        yield from checks.non_negative(f"{path}.{name}", getattr(spec, name))
    yield from checks.one_of(f"{path}.completionMode", spec.completionMode, ("Indexed", "NonIndexed"))
    if spec.completionMode == "Indexed" and spec.completions is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if spec.completionMode == "Indexed" and (spec.parallelism or 0) > 100000:
        text = "must be less than or equal to 100000 when completion mode is Indexed"
        yield invalid_value(f"{path}.parallelism", spec.parallelism, text)
    policies = ("Failed",) if spec.podFailurePolicy is not None else ("Failed", "TerminatingOrFailed")
    yield from checks.one_of(f"{path}.podReplacementPolicy", spec.podReplacementPolicy, policies)
    if spec.backoffLimitPerIndex is not None and spec.completionMode != "Indexed":
        yield invalid_value(
            f"{path}.backoffLimitPerIndex", spec.backoffLimitPerIndex, "requires indexed completion mode"
        )
    if spec.podFailurePolicy is not None and spec.template.spec.restartPolicy != "Never":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid_value(f"{path}.template.spec.restartPolicy", spec.template.spec.restartPolicy, text)


def _template_update(new: Job, old: Job) -> Faults:
    """A suspended Job that never started may change where its pods go."""
    if new.spec.template == old.spec.template:
        return
    if old.spec.suspend and not old.status.startTime and _same_but_scheduling(new.spec.template, old.spec.template):
        return
    yield invalid_value("spec.template", new.spec.template, checks.IMMUTABLE)


def _same_but_scheduling(new: PodTemplateSpec, old: PodTemplateSpec) -> bool:
    mutable = ("nodeSelector", "tolerations", "schedulingGates", "affinity")
    fields = (name for name in new.spec.__struct_fields__ if name not in mutable)
    return all(getattr(new.spec, name) == getattr(old.spec, name) for name in fields)


class CronJobStrategy(KindStrategy):
    """batch/v1 CronJob."""

    generation_counts = ("spec",)

    def default(self, obj: CronJob) -> None:
        unset(
            obj.spec,
            concurrencyPolicy="Allow",
            suspend=False,
            successfulJobsHistoryLimit=3,
            failedJobsHistoryLimit=1,
        )
        template = obj.spec.jobTemplate
        spec = template.spec
        # The template of a Job is defaulted less than a Job: counts are left to the Job that is made of it.
        pod_defaults.template(spec.template)

    def rules(self, obj: CronJob) -> Faults:
        spec = obj.spec
        if len(obj.metadata.name or "") > 52:
            yield invalid_value("metadata.name", obj.metadata.name, "must be no more than 52 characters")
        yield from _schedule("spec.schedule", spec.schedule, spec.timeZone)
        yield from checks.non_negative("spec.startingDeadlineSeconds", spec.startingDeadlineSeconds)
        policies = ("Allow", "Forbid", "Replace")
        yield from checks.one_of_required("spec.concurrencyPolicy", spec.concurrencyPolicy, policies)
        yield from checks.non_negative("spec.successfulJobsHistoryLimit", spec.successfulJobsHistoryLimit)
        yield from checks.non_negative("spec.failedJobsHistoryLimit", spec.failedJobsHistoryLimit)
        job = spec.jobTemplate
        yield from checks.labels("spec.jobTemplate.labels", job.metadata.labels)
        yield from metadata.annotations("spec.jobTemplate.annotations", job.metadata.annotations)
        if job.spec.manualSelector:
            yield field_forbidden("spec.jobTemplate.spec.manualSelector", "`manualSelector` will be auto-generated")
        if job.spec.selector is not None:
            yield field_forbidden("spec.jobTemplate.spec.selector", "`selector` will be auto-generated")
        yield from _job_spec("spec.jobTemplate.spec", job.spec)
        yield from workloads.template("spec.jobTemplate.spec.template", job.spec.template, None, restart=_RESTART)


_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))


def _schedule(path: str, text: str, time_zone: str | None) -> Faults:
    if not text:
        yield required(path)
    else:
        if "TZ" in text and time_zone is not None:
            yield invalid_value(path, text, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
        elif "TZ" in text:
            yield invalid_value(path, text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
        if fault := cron_fault(text):
            yield invalid_value(path, text, fault)
    if time_zone is not None and (not time_zone or time_zone.lower() == "local"):
        yield invalid_value(
            "spec.timeZone",
            time_zone,
            "timeZone must be nil or non-empty string"
            if not time_zone
            else "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        )


def cron_fault(text: str) -> str:
    """What is wrong with a five-field schedule, or ""."""
    if text.startswith("@"):
        if text in _MACROS or re.fullmatch(r"@every ([0-9.]+(ns|us|µs|ms|s|m|h))+", text):
            return ""
        return f"unrecognized descriptor: {text}"
    fields = [item for item in text.split() if not item.startswith(("TZ=", "CRON_TZ="))]
    if len(fields) != 5:
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for field, (low, high, words) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            if fault := _part_fault(part, low, high, words):
                return fault
    return ""


def _part_fault(part: str, low: int, high: int, words: tuple[str, ...]) -> str:
    span, _, step = part.partition("/")
    if "/" in part and (not step.isdecimal() or int(step) == 0):
        return (
            f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax'
            if not step.isdecimal()
            else f"step of range should be a positive number: {part}"
        )
    if span in ("*", "?"):
        return ""
    numbers = []
    for end in span.split("-"):
        if end.lower() in words:
            numbers.append(words.index(end.lower()) + low)
        elif end.isdecimal():
            numbers.append(int(end))
        else:
            return f'failed to parse int from {end}: strconv.Atoi: parsing "{end}": invalid syntax'
    if len(numbers) > 2:
        return f"too many hyphens: {part}"
    if numbers[0] < low:
        return f"beginning of range ({numbers[0]}) below minimum ({low}): {part}"
    if numbers[-1] > high:
        return f"end of range ({numbers[-1]}) above maximum ({high}): {part}"
    if numbers[0] > numbers[-1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {part}"
    return ""
