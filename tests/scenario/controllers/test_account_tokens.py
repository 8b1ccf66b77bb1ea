"""Secrets for service accounts' tokens are filled, and go with their accounts."""

import base64

from tests.scenario.controllers.test_workloads import play
from tests.scenario.controllers.world import World
from wherry.api.core_v1 import Secret, ServiceAccount
from wherry.controllers.serviceaccount_tokens import NAME, TYPE, UID
from wherry.meta.object import ObjectMeta


def _secret(name: str, account: str, **annotations: str) -> Secret:
    meta = ObjectMeta(name=name, namespace="default", annotations={NAME: account, **annotations})
    return Secret(metadata=meta, type=TYPE)


async def _names(made: World) -> set[str | None]:
    return {item.metadata.name for item in (await made.client.list(Secret, "default")).items}


def test_a_secret_gets_a_token_and_goes_with_its_account() -> None:
    async def scenario(made: World) -> None:
        account = await made.client.create(ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default")))
        await made.client.create(_secret("robot-token", "robot"))
        await made.settle(1)
        filled = await made.client.get(Secret, "robot-token", "default")
        found = {name: base64.b64decode(value).decode() for name, value in filled.data.items()}
        assert found == {"ca.crt": "PEM", "namespace": "default", "token": f"{account.metadata.uid} robot-token"}
        assert filled.metadata.annotations[UID] == account.metadata.uid
        await made.client.patch(Secret, "robot-token", "default", {"data": {"token": None}})
        await made.settle(1)
        assert (await made.client.get(Secret, "robot-token", "default")).data == filled.data
        await made.client.delete(ServiceAccount, "robot", "default")
        await made.settle(1)
        assert await _names(made) == set()

    play(scenario)


def test_a_secret_of_nobody_goes() -> None:
    async def scenario(made: World) -> None:
        await made.client.create(_secret("ghost", "nobody"))
        await made.client.create(_secret("reborn", "default", **{UID: "of another"}))
        await made.settle(1)
        assert await _names(made) == set()

    play(scenario)
