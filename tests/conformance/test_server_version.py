"""test/e2e/apimachinery/server_version.go: which Kubernetes this is."""

import re

from tests.conformance.entry import conformance
from tests.conformance.world import World


@conformance("[sig-api-machinery] server version should find the server version [Conformance]")
async def test_the_version_is_numbers(api: World) -> None:
    found = await api.get("/version")
    assert re.fullmatch(r"[1-9][0-9]*", found["major"]) and re.fullmatch(r"[0-9]+", found["minor"].rstrip("+"))
