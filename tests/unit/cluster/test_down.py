"""`wherry down` takes away all it can, and says in one line what it could not."""

from pathlib import Path

import pytest
import yaml

from wherry.aio.clock import SystemClock
from wherry.client import kubeconfig
from wherry.cluster import instance
from wherry.cluster.down import bring_down
from wherry.cluster.failure import ClusterError

SERVER = "https://127.0.0.1:1"
GONE = 2**22 + 1
"""No process has this number: Linux stops at 2**22."""


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A cluster without nodes whose process is gone; its directory."""
    directory = tmp_path / "data" / "one"
    directory.mkdir(parents=True)
    config = tmp_path / "kubeconfig"
    kubeconfig.merge_context(config, "wherry-one", kubeconfig.Credentials(SERVER, b"ca", b"cert", b"key"))
    instance.write(
        directory,
        instance.Instance("one", GONE, SERVER, 1, "fake", "v1.36.0", str(config), "wherry-one", "2026-01-01T00:00:00Z"),
    )
    return directory


async def down(directory: Path, *, keep_data: bool = False) -> list[str]:
    """What it said."""
    said: list[str] = []
    await bring_down(directory.parent, directory.name, keep_data=keep_data, clock=SystemClock(), say=said.append)
    return said


async def test_data_and_context_are_removed(stopped: Path, tmp_path: Path) -> None:
    assert await down(stopped) == ["cluster one is stopped and removed"]
    assert not stopped.exists()
    assert yaml.safe_load((tmp_path / "kubeconfig").read_text())["contexts"] == []


async def test_kept_data_can_be_started_again(stopped: Path) -> None:
    assert await down(stopped, keep_data=True) == [f"cluster one is stopped; its data is kept in {stopped}"]
    assert instance.read(stopped) is not None


@pytest.mark.parametrize("fault", ["not YAML", "a directory", "contexts of no shape"])
async def test_an_unreadable_kubeconfig_keeps_nothing_else(stopped: Path, tmp_path: Path, fault: str) -> None:
    config = tmp_path / "kubeconfig"
    config.unlink()
    if fault == "a directory":
        config.mkdir()
    else:
        config.write_text({"not YAML": "{[", "contexts of no shape": "contexts: 3"}[fault])
    with pytest.raises(ClusterError) as error:
        await down(stopped)
    line = str(error.value)
    assert line.startswith("cluster one is stopped and removed, but context wherry-one could not be taken out")
    assert str(config) in line
    assert "\n" not in line
    assert not stopped.exists()


async def test_a_context_that_leads_to_another_cluster_stays(stopped: Path, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    neighbour = kubeconfig.Credentials("https://127.0.0.1:2", b"ca", b"cert", b"key")
    kubeconfig.merge_context(config, "wherry-one", neighbour)
    await down(stopped)
    assert [context["name"] for context in yaml.safe_load(config.read_text())["contexts"]] == ["wherry-one"]


async def test_a_cluster_that_is_unknown_is_refused(stopped: Path) -> None:
    with pytest.raises(ClusterError) as error:
        await down(stopped.parent / "two")
    assert str(error.value) == f"there is no cluster 'two' under {stopped.parent} (known: one)"


async def test_a_directory_in_use_is_left_alone(stopped: Path) -> None:
    with instance.exclusive(stopped), pytest.raises(ClusterError, match="is already running"):
        await down(stopped)
    assert instance.read(stopped) is not None
