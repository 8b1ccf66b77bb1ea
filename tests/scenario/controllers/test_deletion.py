"""What goes when something is deleted: the three propagation policies, and whole namespaces."""

from tests.scenario.controllers.test_workloads import play
from tests.scenario.controllers.world import World
from wherry.api.apps_v1 import Deployment, ReplicaSet
from wherry.api.core_v1 import ConfigMap, Namespace
from wherry.meta.object import ObjectMeta
from wherry.testing import builders


async def _deployed(made: World) -> None:
    await made.client.create(builders.deployment("web", replicas=2))
    await made.settle()


async def _left(made: World) -> tuple[int, int, int]:
    deployments = await made.client.list(Deployment)
    sets = await made.client.list(ReplicaSet)
    return len(deployments.items), len(sets.items), len(made.pods.list())


def test_background_deletion_takes_everything_along() -> None:
    async def scenario(made: World) -> None:
        await _deployed(made)
        await made.client.delete(Deployment, "web", "default", propagation_policy="Background")
        await made.settle()
        assert await _left(made) == (0, 0, 0)

    play(scenario)


def test_foreground_deletion_takes_the_owner_last() -> None:
    async def scenario(made: World) -> None:
        await _deployed(made)
        gone: list[str] = []

        def note(old: Deployment | ReplicaSet | None, new: Deployment | ReplicaSet | None) -> None:
            if new is None:
                gone.append(type(old).__name__)

        made.informers.informer(Deployment).add_handler(note)
        made.informers.informer(ReplicaSet).add_handler(note)
        await made.client.delete(Deployment, "web", "default", propagation_policy="Foreground")
        await made.settle()
        assert await _left(made) == (0, 0, 0)
        assert gone == ["ReplicaSet", "Deployment"]

    play(scenario)


def test_orphaning_leaves_the_dependents_without_owner() -> None:
    async def scenario(made: World) -> None:
        await _deployed(made)
        await made.client.delete(Deployment, "web", "default", propagation_policy="Orphan")
        await made.settle()
        assert await _left(made) == (0, 1, 2)
        orphan = (await made.client.list(ReplicaSet)).items[0]
        assert orphan.metadata.ownerReferences == []

    play(scenario)


def test_a_namespace_goes_with_all_it_holds() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(Namespace(metadata=ObjectMeta(name="team")))
        await made.client.create(builders.deployment("web", "team", replicas=2))
        await made.settle()
        assert (await made.client.get(ConfigMap, "kube-root-ca.crt", "team")).data == {"ca.crt": "PEM"}
        await made.client.delete(Namespace, "team")
        await made.settle(10)
        assert "team" not in [item.metadata.name for item in (await made.client.list(Namespace)).items]
        assert made.pods.list("team") == []

    play(scenario)


def test_a_namespace_that_cannot_be_emptied_says_why() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(Namespace(metadata=ObjectMeta(name="team")))
        held = builders.config_map("held", "team")
        held.metadata.finalizers = ["example.com/hold"]
        await made.client.create(held)
        await made.client.delete(Namespace, "team")
        await made.settle()
        namespace = await made.client.get(Namespace, "team")
        messages = {item.type: (item.status, item.message) for item in namespace.status.conditions}
        remaining = "Some resources are remaining: configmaps. has 1 resource instances"
        assert messages["NamespaceContentRemaining"] == ("True", remaining)
        text = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        assert messages["NamespaceFinalizersRemaining"] == ("True", text)

    play(scenario)
