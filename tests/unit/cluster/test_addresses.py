"""Address ranges: each cluster of a machine has its own, keeps them, and gives them back."""

import os
import threading
from pathlib import Path

import pytest

from wherry.cluster import addresses
from wherry.cluster.failure import ClusterError


@pytest.fixture(autouse=True)
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This test's own machine."""
    monkeypatch.setattr(addresses, "CONTAINED_CLAIMS", tmp_path / "contained")
    monkeypatch.setattr(addresses, "LOOPBACK_CLAIMS", tmp_path / "loopback")
    return tmp_path / "contained"


def made(path: Path) -> Path:
    path.mkdir()
    (path / "lock").touch()
    return path


def test_clusters_get_ranges_of_their_own(tmp_path: Path) -> None:
    first = addresses.claim(made(tmp_path / "a"), loopback=False)
    second = addresses.claim(made(tmp_path / "b"), loopback=False)
    assert (first.service_cidr, first.pod_cidr) == ("10.96.0.0/16", "10.244.0.0/16")
    assert (second.service_cidr, second.pod_cidr) == ("10.97.0.0/16", "10.243.0.0/16")
    assert (first.api_address, first.dns_address) == ("10.96.0.1", "10.96.0.10")
    assert addresses.claimed(tmp_path / "b") == 1


def test_loopback_ranges_are_counted_apart_and_own_no_tables(tmp_path: Path) -> None:
    addresses.claim(made(tmp_path / "a"), loopback=False)
    assert addresses.claim(made(tmp_path / "b"), loopback=True).service_cidr == "127.96.0.0/16"
    assert addresses.claimed(tmp_path / "b") is None
    assert (tmp_path / "loopback").stat().st_mode & 0o7777 == 0o1777


def test_a_cluster_that_comes_back_has_its_ranges(tmp_path: Path) -> None:
    addresses.claim(made(tmp_path / "a"), loopback=False)
    before = addresses.claim(made(tmp_path / "b"), loopback=False)
    addresses.release(tmp_path / "a")
    assert addresses.claim(tmp_path / "b", loopback=False) == before


def test_after_a_reboot_a_cluster_asks_for_its_old_number(tmp_path: Path) -> None:
    assert addresses.claim(made(tmp_path / "a"), loopback=False, before=3).number == 3
    with pytest.raises(ClusterError) as error:
        addresses.claim(made(tmp_path / "b"), loopback=False, before=3)
    assert str(error.value) == (
        f"the addresses of this cluster are in use by the one in {tmp_path}/a: stop that with wherry down"
    )


def test_a_released_number_and_one_whose_owner_is_gone_are_free(tmp_path: Path, claims: Path) -> None:
    addresses.claim(made(tmp_path / "a"), loopback=False)
    addresses.release(tmp_path / "a")
    assert addresses.claim(made(tmp_path / "b"), loopback=False).number == 0
    (tmp_path / "b" / "lock").unlink()
    assert addresses.claim(made(tmp_path / "c"), loopback=False).number == 0
    (claims / "0").write_text("")
    assert addresses.claim(made(tmp_path / "d"), loopback=False).number == 0


def test_another_users_claim_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses.claim(tmp_path / "a", loopback=True)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    assert addresses.claim(made(tmp_path / "b"), loopback=True).number == 1


def test_clusters_that_start_at_once_never_share(tmp_path: Path) -> None:
    directories = [made(tmp_path / str(number)) for number in range(8)]
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda d=one: numbers.append(addresses.claim(d, loopback=False).number))
        for one in directories
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(8))


def test_a_machine_holds_only_so_many(tmp_path: Path) -> None:
    for number in range(addresses.CLUSTERS_LIMIT):
        addresses.claim(made(tmp_path / str(number)), loopback=False)
    with pytest.raises(ClusterError, match="has 48 clusters already"):
        addresses.claim(made(tmp_path / "more"), loopback=False)
