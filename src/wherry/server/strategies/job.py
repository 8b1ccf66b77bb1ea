"""Jobs and CronJobs: run pods to completion, once or on a schedule."""

import re

from wherry.api.batch_v1 import CronJob, Job, JobSpec
from wherry.api.meta_v1 import LabelSelector
from wherry.meta import names
from wherry.meta.errors import invalid_value, not_supported, required
from wherry.meta.labels import from_label_selector
from wherry.server.strategies import checks, job_rules, pod_defaults, workloads
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext

CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
LEGACY_CONTROLLER_UID, LEGACY_JOB_NAME = "controller-uid", "job-name"
CRON_NAME_MAX = 52
"""63, less what a Job of it is called after: a dash and minutes since 1970."""
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
        if not obj.spec.manualSelector and obj.spec.selector is not None:
            yield from _generated(obj)
        yield from job_rules.spec("spec", obj.spec)
        if obj.spec.selector is None:
            yield required("spec.selector")
        else:
            yield from checks.label_selector("spec.selector", obj.spec.selector)
            yield from workloads.matching("spec.template", obj.spec.template, obj.spec.selector)
        if obj.spec.completionMode == "Indexed" and obj.spec.completions:
            last = f"{obj.metadata.name}-{obj.spec.completions - 1}"
            if names.dns1123_label(last):
                text = f"will not able to create pod with invalid DNS label: {last}"
                yield invalid_value("metadata.name", obj.metadata.name, text)

    def update_rules(self, new: Job, old: Job) -> Faults:
        yield from job_rules.update(new, old)

    def status_rules(self, new: Job, old: Job) -> Faults:
        yield from job_rules.status(new, old)

    def fields(self, obj: Job) -> dict[str, str]:
        return {"status.successful": str(obj.status.succeeded or 0)}


def _generate_selector(job: Job) -> None:
    labels = job.spec.template.metadata.labels = dict(job.spec.template.metadata.labels)
    uid, name = job.metadata.uid or "", job.metadata.name or ""
    labels.update({CONTROLLER_UID: uid, JOB_NAME: name, LEGACY_CONTROLLER_UID: uid, LEGACY_JOB_NAME: name})
    job.spec.selector = LabelSelector(matchLabels={CONTROLLER_UID: uid})


def _generated(job: Job) -> Faults:
    """The labels that tie pods to their Job are there, and mean it."""
    labels, uid, name = job.spec.template.metadata.labels, job.metadata.uid or "", job.metadata.name or ""
    wanted = {LEGACY_CONTROLLER_UID: uid, LEGACY_JOB_NAME: name, CONTROLLER_UID: uid, JOB_NAME: name}
    for key, value in wanted.items():
        path = "spec.template.metadata"
        if key not in labels:
            yield required(f"{path}.labels", f"must be '{value}'")
        elif labels[key] != value:
            yield invalid_value(f"{path}.labels", labels, f"must be '{value}'")
    if job.spec.selector is not None and not from_label_selector(job.spec.selector).matches(wanted):
        yield invalid_value("spec.selector", job.spec.selector, "`selector` not auto-generated")


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

    def create_rules(self, obj: CronJob) -> Faults:
        yield from _time_zone("spec.timeZone", obj.spec.timeZone)
        if len(obj.metadata.name or "") > CRON_NAME_MAX:
            yield invalid_value("metadata.name", obj.metadata.name, f"must be no more than {CRON_NAME_MAX} characters")

    def rules(self, obj: CronJob) -> Faults:
        yield from self._rules(obj, None)

    def changed_rules(self, new: CronJob, old: CronJob) -> Faults:
        yield from self._rules(new, old)
        if new.spec.timeZone != old.spec.timeZone:
            yield from _time_zone("spec.timeZone", new.spec.timeZone)

    def _rules(self, obj: CronJob, old: CronJob | None) -> Faults:
        spec = obj.spec
        if not spec.schedule:
            yield required("spec.schedule")
        else:
            zoned = old is not None and "TZ" in old.spec.schedule
            yield from _schedule("spec.schedule", spec.schedule, spec.timeZone, zoned=zoned)
        yield from checks.non_negative("spec.startingDeadlineSeconds", spec.startingDeadlineSeconds)
        policies = ("Allow", "Forbid", "Replace")
        yield from checks.one_of_required("spec.concurrencyPolicy", spec.concurrencyPolicy, policies)
        job, path = spec.jobTemplate.spec, "spec.jobTemplate.spec"
        yield from job_rules.spec(path, job)
        if job.selector is not None:
            yield invalid_value(f"{path}.selector", job.selector, "`selector` will be auto-generated")
        if job.manualSelector:
            yield not_supported(f"{path}.manualSelector", True, ("nil", "false"))
        yield from checks.non_negative("spec.successfulJobsHistoryLimit", spec.successfulJobsHistoryLimit)
        yield from checks.non_negative("spec.failedJobsHistoryLimit", spec.failedJobsHistoryLimit)


_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))


def _schedule(path: str, text: str, time_zone: str | None, *, zoned: bool) -> Faults:
    if fault := cron_fault(text):
        yield invalid_value(path, text, fault)
    if "TZ" in text and not zoned:
        yield invalid_value(path, text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    elif "TZ" in text and time_zone is not None:
        yield invalid_value(path, text, "cannot use both timeZone field and TZ or CRON_TZ in schedule")


def _time_zone(path: str, zone: str | None) -> Faults:
    if zone is None:
        return
    if not zone:
        yield invalid_value(path, zone, "timeZone must be nil or non-empty string")
    elif not all(_ZONE_PART.fullmatch(part) and part not in (".", "..") for part in zone.split("/")):
        yield invalid_value(path, zone, f"unknown time zone {zone}")
    else:
        if zone.lower() == "local":
            text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
            yield invalid_value(path, zone, text)
        import zoneinfo  # reads files; most CronJobs name no zone

        if zone.lower() not in ("local", "utc") and zone not in zoneinfo.available_timezones():
            yield invalid_value(path, zone, f"unknown time zone {zone}")


_ZONE_PART = re.compile(r"(?!-)[A-Za-z.\-_0-9+]{1,14}")


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
