"""A function is all it takes to change or refuse writes in a test's cluster."""

import pytest

from wherry.api.core_v1 import ConfigMap
from wherry.meta.errors import StatusError, forbidden
from wherry.meta.object import ObjectMeta
from wherry.server.admission.plugin import Attributes
from wherry.testing.cluster import InProcessCluster


async def test_a_function_changes_and_refuses() -> None:
    async def only_small(attributes: Attributes) -> None:
        if attributes.resource.plural == "configmaps" and attributes.object is not None:
            if len(attributes.object.data) > 1:
                raise forbidden("configmaps", attributes.name, "too much")
            attributes.object.data["seen"] = "yes"

    async with InProcessCluster(admission=[only_small]) as cluster:
        made = await cluster.client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default")))
        assert made.data == {"seen": "yes"}
        with pytest.raises(StatusError, match="too much"):
            data = {"a": "1", "b": "2"}
            await cluster.client.create(ConfigMap(metadata=ObjectMeta(name="b", namespace="default"), data=data))
