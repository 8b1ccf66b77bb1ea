"""Files that configure the server are taken anew when they change, and only then."""

from pathlib import Path

import pytest

from tests.unit.server.edges.worlds import StandingClock
from wherry.server.files import FileFollower


async def test_a_changed_file_is_taken_once_and_a_bad_one_leaves_things_as_they_were(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, taken = tmp_path / "f", []

    def take() -> None:
        text = path.read_text()
        if text == "bad":
            raise ValueError("not this")
        taken.append(text)

    path.write_text("one")
    follower = FileFollower(StandingClock())
    follower.follow([path], take)
    await follower.look()
    assert not taken
    path.write_text("three")
    await follower.look()
    await follower.look()
    assert taken == ["three"]
    path.write_text("bad")
    await follower.look()
    path.unlink()
    caplog.clear()
    for _ in range(3):
        await follower.look()
    assert len(caplog.records) == 1
    (tmp_path / "new").write_text("four")
    path.symlink_to(tmp_path / "new")
    await follower.look()
    assert taken == ["three", "four"]


async def test_what_waits_is_awaited_and_following_ends(tmp_path: Path) -> None:
    taken = []

    async def take() -> None:
        taken.append(True)

    follower = FileFollower(StandingClock())
    follower.start()  # nothing to follow: nothing runs
    follower.follow([tmp_path / "f"], take)
    (tmp_path / "f").write_text("now there")
    await follower.look()
    assert taken == [True]
    follower.start()
    await follower.close()
