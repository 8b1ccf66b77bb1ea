"""The STATUS and RESTARTS cells of pods, and rows as wide as their columns."""

from typing import Any

import pytest

from wherry.aio.clock import SystemClock
from wherry.api.core_v1 import Pod
from wherry.api.registry import RESOURCES, resource_for
from wherry.meta.wire import convert
from wherry.server import printers


def status_cell(status: dict[str, Any], **members: Any) -> str:
    pod = convert({"metadata": {"name": "p", **members}, "status": status, "spec": SPEC}, Pod)
    return str(printers.row(resource_for(Pod), pod, SystemClock())[2])


SPEC = {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}
WAITING = {"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
DONE = {"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}, "Init:0/1"),
        (
            {"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 1}}}]},
            "Init:ExitCode:1",
        ),
        ({"phase": "Running", "initContainerStatuses": [DONE], "containerStatuses": [WAITING]}, "CrashLoopBackOff"),
        (
            {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"signal": 9}}}]},
            "Signal:9",
        ),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
    ],
)
def test_the_status_cell_says_what_holds_the_pod_up(status: dict[str, Any], expected: str) -> None:
    assert status_cell(status) == expected


def test_a_pod_being_deleted_is_terminating() -> None:
    assert status_cell({"phase": "Running"}, deletionTimestamp="2026-01-01T00:00:00Z") == "Terminating"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: item.group_resource)
def test_every_row_has_a_cell_for_each_column(resource: Any) -> None:
    if "list" in resource.verbs:
        assert len(printers.row(resource, resource.type(), SystemClock())) == len(printers.columns(resource))
