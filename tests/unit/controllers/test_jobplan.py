"""Jobs: indexes, waits, verdicts."""

import pytest

from wherry.api.batch_v1 import PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule
from wherry.api.core_v1 import ContainerState, ContainerStateTerminated, ContainerStatus, Pod
from wherry.controllers import jobplan
from wherry.testing import builders


@pytest.mark.parametrize("text", ["", "0", "0-1", "0,2-4,7"])
def test_indexes_are_read_as_they_are_written(text: str) -> None:
    assert jobplan.format_indexes(jobplan.parse_indexes(text)) == text


def test_waits_double_up_to_ten_minutes() -> None:
    assert [jobplan.backoff_seconds(count) for count in (0, 1, 2, 3, 9)] == [0, 10, 20, 40, 600]


@pytest.mark.parametrize(
    ("parallelism", "completions", "succeeded", "active", "expected"),
    [(2, 5, 0, 0, 2), (2, 5, 4, 1, 1), (3, None, 0, 1, 3), (3, None, 1, 2, 2)],
)
def test_no_more_pods_run_than_are_still_needed(
    parallelism: int, completions: int | None, succeeded: int, active: int, expected: int
) -> None:
    job = builders.job(parallelism=parallelism)
    job.spec.completions = completions
    assert jobplan.wanted_active(job, succeeded, active) == expected


def _failed(exit_code: int) -> Pod:
    pod = builders.pod("p")
    pod.status.phase = "Failed"
    pod.metadata.finalizers = [jobplan.FINALIZER]
    ended = ContainerState(terminated=ContainerStateTerminated(exitCode=exit_code))
    pod.status.containerStatuses = [ContainerStatus(name="app", state=ended)]
    return pod


def test_the_failure_policy_may_end_the_job_or_look_away() -> None:
    job = builders.job()
    rules = [
        PodFailurePolicyRule(
            action=action, onExitCodes=PodFailurePolicyOnExitCodesRequirement(operator="In", values=[code])
        )
        for action, code in (("FailJob", 42), ("Ignore", 7))
    ]
    job.spec.podFailurePolicy = PodFailurePolicy(rules=rules)
    found = jobplan.tally(job, [_failed(42), _failed(7), _failed(1)])
    assert (len(found.failed), len(found.ignored)) == (2, 1)
    message = "Container app for pod default/p failed with exit code 42 matching FailJob rule at index 0"
    assert found.verdict == ("PodFailurePolicy", message)
