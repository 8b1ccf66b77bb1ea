"""Deployments and Jobs from end to end."""

from collections.abc import Awaitable, Callable

from tests.scenario.controllers.world import World, world
from wherry.api.apps_v1 import Deployment, ReplicaSet
from wherry.api.batch_v1 import Job
from wherry.api.core_v1 import Endpoints, Pod
from wherry.api.discovery_v1 import EndpointSlice
from wherry.server.enablement import RuntimeConfig
from wherry.server.options import ServerOptions
from wherry.sim.loop import run_virtual
from wherry.testing import builders


def play(scenario: Callable[[World], Awaitable[None]], options: ServerOptions | None = None) -> None:
    async def main() -> None:
        async with world(options=options) as made:
            await scenario(made)

    run_virtual(main())


async def _image(made: World, image: str) -> None:
    containers = [{"name": "app", "image": image}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    await made.client.patch(Deployment, "web", "default", patch, patch_type="strategic")


def test_a_rollout_and_its_undo_keep_revisions() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(builders.deployment("web", replicas=4))
        await made.settle()
        first = (await made.client.list(ReplicaSet, "default")).items[0]
        await _image(made, "busybox:2")
        await made.settle(10)
        deployment = await made.client.get(Deployment, "web", "default")
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "2"
        assert (deployment.status.updatedReplicas, deployment.status.availableReplicas) == (4, 4)
        reasons = {item.type: item.reason for item in deployment.status.conditions}
        assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
        await _image(made, first.spec.template.spec.containers[0].image or "")  # type: ignore[union-attr]
        await made.settle(10)
        again = await made.client.get(ReplicaSet, first.metadata.name or "", "default")
        assert again.spec.replicas == again.status.availableReplicas == 4
        assert again.metadata.annotations["deployment.kubernetes.io/revision"] == "3"
        assert again.metadata.annotations["deployment.kubernetes.io/revision-history"] == "1"
        assert len(made.pods.list("default")) == 4

    play(scenario)


def test_sixty_replicas_are_made_once() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(builders.deployment("web", replicas=60))
        await made.settle(10)
        assert len((await made.client.list(Pod, "default")).items) == 60
        deployment = await made.client.get(Deployment, "web", "default")
        assert deployment.status.availableReplicas == 60

    play(scenario)


def test_a_service_has_endpoints_of_both_kinds() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(builders.deployment("web", replicas=2))
        await made.client.create(builders.service("web"))
        await made.settle()
        labelled = "kubernetes.io/service-name=web"
        slices = (await made.client.list(EndpointSlice, "default", label_selector=labelled)).items
        assert [len(item.endpoints) for item in slices] == [2]
        assert all(endpoint.conditions.ready for endpoint in slices[0].endpoints)
        endpoints = await made.client.get(Endpoints, "web", "default")
        assert [len(subset.addresses) for subset in endpoints.subsets] == [2]

    play(scenario)


def test_a_job_completes_and_lets_its_pods_go() -> None:
    async def scenario(made: World) -> None:
        made.outcome[builders.IMAGE] = "Succeeded"
        await made.client.create(builders.job("job", completions=3, parallelism=2))
        await made.settle()
        job = await made.client.get(Job, "job", "default")
        assert [item.type for item in job.status.conditions] == ["SuccessCriteriaMet", "Complete"]
        assert (job.status.succeeded, job.status.active) == (3, None)
        assert not any(pod.metadata.finalizers for pod in made.pods.list("default"))
        assert "Completed: Job completed" in await made.events()

    play(scenario)


def test_a_failing_job_backs_off_twice_as_long_each_time() -> None:
    async def scenario(made: World) -> None:
        made.outcome[builders.IMAGE] = "Failed"
        await made.client.create(builders.job("job", backoff_limit=2))
        await made.settle(5)
        assert len(made.pods.list("default")) == 1
        await made.settle(7)
        assert len(made.pods.list("default")) == 2
        await made.settle(10)
        assert len(made.pods.list("default")) == 2
        await made.settle(20)
        job = await made.client.get(Job, "job", "default")
        assert job.status.failed == 3
        assert [(item.type, item.reason) for item in job.status.conditions] == [
            ("FailureTarget", "BackoffLimitExceeded"),
            ("Failed", "BackoffLimitExceeded"),
        ]

    play(scenario)


def test_controllers_go_on_where_some_kinds_are_switched_off() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(builders.job("work"))
        await made.settle()
        assert len(made.pods.list("default")) == 1
        await made.client.delete(Job, "work", "default", propagation_policy="Background")
        await made.settle()
        assert made.pods.list("default") == []

    off = {"apps/v1": "false", "discovery.k8s.io/v1": "false", "policy/v1": "false", "/v1/endpoints": "false"}
    play(scenario, ServerOptions(runtime_config=RuntimeConfig(off)))
