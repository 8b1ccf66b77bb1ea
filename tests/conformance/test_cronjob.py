"""test/e2e/apps/cronjob.go: the API of CronJobs."""

from tests.conformance.entry import conformance
from tests.conformance.operations import discovered, operations
from tests.conformance.world import World, pod


@conformance("[sig-apps] CronJob should support CronJob API operations [Conformance]")
async def test_cron_jobs(api: World) -> None:
    await discovered(api, "batch", "v1", "cronjobs", "cronjobs/status")
    template = {"spec": {"template": {"spec": pod("", restartPolicy="OnFailure")["spec"]}}}
    spec = {"schedule": "*/1 * * * *", "concurrencyPolicy": "Allow", "jobTemplate": template}
    status = {"lastScheduleTime": "2026-01-01T00:00:00Z"}
    change = {"spec": {"suspend": True}}
    await operations(api, api.path("/apis/batch/v1", "cronjobs"), {"spec": spec}, change, status)
