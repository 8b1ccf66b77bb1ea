"""Admission plugins are chosen and configured by name."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.rules.world import Objects
from wherry.aio.clock import SystemClock
from wherry.aio.entropy import Entropy
from wherry.api.core_v1 import Namespace
from wherry.meta.errors import StatusError
from wherry.meta.wire import convert
from wherry.server.admission.chain import AdmissionChoice, built_in_plugins
from wherry.server.admission.configuration import read_configurations
from wherry.server.app import Server
from wherry.server.options import ServerOptions
from wherry.store.local import memory_store


def names(choice: AdmissionChoice) -> list[str]:
    def no_client() -> Any:
        raise AssertionError("nobody writes here")

    return [plugin.name for plugin in built_in_plugins(Objects(), no_client, SystemClock(), (), choice)]


def test_plugins_are_left_out_by_name() -> None:
    usual = names(AdmissionChoice())
    assert names(AdmissionChoice(disabled=("PodSecurity",))) == [name for name in usual if name != "PodSecurity"]


@pytest.mark.parametrize(
    ("choice", "fault"),
    [
        (AdmissionChoice(enabled=("Moon",)), "unknown admission plugin Moon"),
        (AdmissionChoice(("Priority",), ("Priority",)), "Priority is both enabled and disabled"),
        (
            AdmissionChoice(configurations={"PodSecurity": {"defaults": {"enforce": "lax"}}}),
            "admission plugin PodSecurity: defaults: 'lax'",
        ),
    ],
)
def test_a_choice_that_cannot_be_is_one_line(choice: AdmissionChoice, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        choice.check()


def test_configurations_stand_in_a_file_or_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.yaml").write_text("{defaults: {enforce: baseline}}")
    whole = tmp_path / "admission.yaml"
    head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
    for said in ("configuration: {defaults: {enforce: baseline}}", "path: beside.yaml"):
        whole.write_text(f"{head}- {{name: PodSecurity, {said}}}\n")
        assert read_configurations(whole) == {"PodSecurity": {"defaults": {"enforce": "baseline"}}}
    whole.write_text("kind: Pod")
    with pytest.raises(ValueError, match="must be an AdmissionConfiguration"):
        read_configurations(whole)
    for bad in (tmp_path / "none.yaml", Path(__file__)):
        with pytest.raises(ValueError, match="cannot be read") as caught:
            read_configurations(bad)
        assert "\n" not in str(caught.value)


async def test_a_server_asks_whom_its_options_name() -> None:
    clock, entropy = SystemClock(), Entropy(1)
    lax = convert({"metadata": {"name": "d", "labels": {"pod-security.kubernetes.io/enforce": "lax"}}}, Namespace)
    for disabled, refused in (((), True), (("PodSecurity",), False)):
        store = memory_store(clock, entropy)
        choice = AdmissionChoice(disabled=disabled)
        server = Server(store, clock, entropy, ServerOptions(bootstrap=False, admission_choice=choice))
        await server.start()
        try:
            await server.client().create(lax)
            assert not refused
        except StatusError as error:
            assert refused and error.code == 422
        finally:
            await server.close()
            await store.close()
