"""Kubeconfig files: which one is read, how they merge, and what writing leaves alone."""

import base64
import os
import stat
from pathlib import Path

import pytest
import yaml

from wherry.aio.clock import SystemClock
from wherry.client.kubeconfig import (
    Credentials,
    KubeconfigError,
    load,
    merge_context,
    namespace_of,
    remove_context,
    select,
    single_context,
    transport_from_kubeconfig,
    write,
)

OURS = Credentials("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY")


def saved(path: Path, name: str, server: str, current: bool = True) -> Path:
    config = single_context(name, Credentials(server))
    if not current:
        del config["current-context"]
    path.write_text(yaml.safe_dump(config))
    return path


def test_an_explicit_path_wins_over_the_variable_and_that_over_home(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    saved(tmp_path / ".kube" / "config", "home", "https://home")
    variable, explicit = saved(tmp_path / "v", "variable", "https://v"), saved(tmp_path / "e", "explicit", "https://e")
    home = {"HOME": str(tmp_path)}
    assert load(None, home).current_context == "home"
    assert load(None, home | {"KUBECONFIG": str(variable)}).current_context == "variable"
    assert load(explicit, home | {"KUBECONFIG": str(variable)}).current_context == "explicit"


def test_listed_files_merge_and_the_first_to_name_something_wins(tmp_path: Path) -> None:
    first = saved(tmp_path / "1", "a", "https://first", current=False)
    second = saved(tmp_path / "2", "a", "https://second")
    third = saved(tmp_path / "3", "b", "https://third")
    files = [first, tmp_path / "missing", second, third]
    config = load(None, {"KUBECONFIG": os.pathsep.join(map(str, files))})
    assert config.current_context == "a"
    assert select(config)[0]["server"] == "https://first"
    assert select(config, "b")[0]["server"] == "https://third"


def test_relative_files_start_from_the_kubeconfigs_own_directory(tmp_path: Path) -> None:
    config = single_context("x", Credentials("https://x"))
    del config["users"][0]["user"]
    config["users"][0]["user"] = {"tokenFile": "token"}
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(KubeconfigError, match=f"{tmp_path}/token: No such file"):
        transport_from_kubeconfig(path, clock=SystemClock())
    (tmp_path / "token").write_text("secret\n")
    assert transport_from_kubeconfig(path, clock=SystemClock()).server_url == "https://x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not YAML"),
        ("- 1", "not a kubeconfig"),
        ("{}", "no context is current"),
        ("current-context: gone", 'context "gone" does not exist'),
        ("{current-context: x, contexts: [{name: x, context: {cluster: y}}]}", "names no cluster with a server"),
    ],
)
def test_errors_are_one_line_that_names_the_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(KubeconfigError) as caught:
        select(load(path, {}))
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_merged_context_is_private_current_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    merge_context(path, "wherry-dev", OURS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = load(path, {})
    assert config.current_context == "wherry-dev"
    cluster, user = select(config)
    assert cluster["server"] == OURS.server
    assert base64.b64decode(user["client-key-data"]) == b"KEY"
    assert namespace_of(config) == "default"


def test_merging_keeps_what_is_not_ours_and_removing_restores_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "config", "work", "https://work")
    path.chmod(0o640)
    before = yaml.safe_load(path.read_text()) | {"preferences": {"colors": True}}
    path.write_text(yaml.safe_dump(before))
    merge_context(path, "wherry-dev", OURS)
    merge_context(path, "wherry-dev", OURS)  # started again
    assert [item["name"] for item in yaml.safe_load(path.read_text())["contexts"]] == ["work", "wherry-dev"]
    assert remove_context(path, "wherry-dev", OURS.server)
    assert yaml.safe_load(path.read_text()) == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not remove_context(path, "wherry-dev", OURS.server)


def test_removing_leaves_a_context_that_the_user_made_current_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "config"
    merge_context(path, "wherry-one", OURS)
    merge_context(path, "wherry-two", OURS)
    remove_context(path, "wherry-one", OURS.server)
    assert load(path, {}).current_context == "wherry-two"
    remove_context(path, "wherry-two", OURS.server)
    assert load(path, {}).current_context == "", "what was current before is gone too"


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    real = saved(tmp_path / "real", "work", "https://work")
    link = tmp_path / "config"
    link.symlink_to(real)
    merge_context(link, "wherry-dev", OURS)
    assert link.is_symlink()
    assert load(real, {}).current_context == "wherry-dev"


def test_a_written_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "admin.conf"
    write(path, single_context("admin", OURS))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["admin.conf"]
