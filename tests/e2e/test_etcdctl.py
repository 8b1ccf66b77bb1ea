"""etcdctl, as Debian and PyPI have it, against `wherry etcd` and a real etcd: the same commands print the same."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REAL = Path(sys.prefix) / "bin"
CONTROLS = {"3.4": shutil.which("etcdctl", path="/usr/bin") or "etcdctl", "3.5": str(REAL / "etcdctl")}
ANY_PORT = "http://127.0.0.1:0"


@contextmanager
def started(command: list[str], log: Path, says: str) -> Iterator[str]:
    """A server until the end of the block; what `says` matches in its log."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)
    try:
        while (found := re.search(says, log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            os.sched_yield()
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM), log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Where Wherry's etcd and the real one serve."""
    directory = tmp_path_factory.mktemp("etcd")
    with socket.socket() as one, socket.socket() as other:  # the real one says nowhere which free port it took
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        client, peer = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in (one, other))
    names = ["--initial-advertise-peer-urls", peer]
    ours = [sys.executable, "-m", "wherry", "etcd", "--listen-client-urls", ANY_PORT, "--advertise-client-urls", client]
    theirs = [str(REAL / "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client]
    theirs += ["--listen-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with (
        started(
            [*ours, "--data-dir", "ours", *names], directory / "ours.log", r"serving clients on http://(\S+)"
        ) as our,
        started([*theirs, "--data-dir", "real", *names], directory / "real.log", r"ready to serve client requests()"),
    ):
        yield our, client.removeprefix("http://")


def control(version: str, endpoint: str, *arguments: str, stdin: str = "") -> str:
    """What etcdctl prints, errors and exit code included, without what no two servers share: lease ids and hashes."""
    command = [CONTROLS[version], "--endpoints", endpoint, *arguments]
    environment = {**os.environ, "ETCDCTL_API": "3"}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, env=environment)
    text = re.sub(r'^\{"level":"warn".*\n', "", done.stderr, flags=re.MULTILINE)  # the time and address of a retry
    shown = f"{done.stdout}{text}{done.returncode}"
    return re.sub(r"took = \S+", "took", re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", shown))


# Every verb, in an order that gives each something to find.
COMMANDS = [
    ["put", "a", "1"],
    ["put", "a", "2", "--prev-kv"],
    ["put", "b", "three"],
    ["put", "a", "--ignore-value"],
    ["put", "missing", "--ignore-value"],
    ["put", "", "x"],
    ["put", "with-lease", "x", "--lease=7fffffff"],
    ["get", "a"],
    ["get", "a", "-w", "json"],
    ["get", "a", "-w", "fields"],
    ["get", "a", "--hex"],
    ["get", "nothing"],
    ["get", "a", "c"],
    ["get", "", "--prefix", "--keys-only"],
    ["get", "", "--from-key", "--sort-by=MODIFY", "--order=DESCEND"],
    ["get", "", "--prefix", "--limit=1", "-w", "json"],
    ["get", "", "--prefix", "--limit=1", "--sort-by=VERSION", "-w", "json"],
    ["get", "a", "--rev=2"],
    ["get", "a", "--rev=1000"],
    ["get", "", "--prefix", "--count-only", "--write-out=fields"],
    ["get", "a", "--consistency=s"],
    ["get", "a", "--print-value-only"],
    ["del", "b", "--prev-kv"],
    ["del", "b"],
    ["del", "", "--prefix", "-w", "json"],
    ["put", "k", "1"],
    ["put", "k", "2"],
    ["put", "k", "3"],
    ["compaction", "8"],
    ["compaction", "8"],
    ["compaction", "1000"],
    ["get", "k", "--rev=3"],
    ["lease", "timetolive", "123"],
    ["lease", "revoke", "123"],
    ["lease", "keep-alive", "--once", "123"],
    ["lease", "list"],
    ["member", "list"],
    ["member", "list", "-w", "json"],
    ["endpoint", "health"],
    ["alarm", "list"],
]
TRANSACTIONS = [
    'value("k") = "3"\n\nput k 4\nget k\n\nput k 5\n\n',
    'mod("k") > "0"\nversion("nothing") = "0"\n\nget k\ndel nothing\n\n\n',
    'create("k") = "0"\n\nput k 6\n\nget k\nput other x\n\n',
    "\nput k 7\nput k 8\n\n\n",
]


@pytest.mark.parametrize("version", list(CONTROLS))
def test_every_verb_prints_what_it_prints_against_etcd(endpoints: tuple[str, str], version: str) -> None:
    ours, real = endpoints
    before = max(
        int(re.findall(r'"revision":(\d+)', control(version, end, "get", "x", "-w", "json"))[0]) for end in endpoints
    )
    differing = []
    for arguments in COMMANDS:
        shifted = [re.sub(r"^(8|--rev=[23])$", lambda m: _later(m[0], before), item) for item in arguments]
        pair = control(version, ours, *shifted), control(version, real, *shifted)
        if pair[0] != pair[1]:
            differing.append((shifted, *pair))
    for lines in TRANSACTIONS:
        pair = control(version, ours, "txn", stdin=lines), control(version, real, "txn", stdin=lines)
        if pair[0] != pair[1]:
            differing.append((["txn", lines], *pair))
    assert not differing


def _later(text: str, revision: int) -> str:
    """A revision of the first run in a later one."""
    word, equals, number = text.rpartition("=")
    return f"{word}{equals}{int(number) + revision - 1}"


@pytest.mark.parametrize("version", list(CONTROLS))
def test_leases_and_watches_as_against_etcd(endpoints: tuple[str, str], version: str) -> None:
    seen = [_lived(version, endpoint) for endpoint in endpoints]
    assert seen[0] == seen[1] and len(seen[0]) > 20


def _lived(version: str, endpoint: str) -> list[str]:
    """What a lease and a watch over its keys say, ids and revisions left out."""
    said = control(version, endpoint, "lease", "grant", "100")
    lease = said.split()[1]
    said += control(version, endpoint, "put", "of-lease", "1", f"--lease={lease}")
    said += control(version, endpoint, "lease", "keep-alive", "--once", lease)
    said += control(version, endpoint, "lease", "timetolive", lease, "--keys")
    revision = int(re.findall(r'"revision":(\d+)', control(version, endpoint, "get", "of-lease", "-w", "json"))[0])
    said += control(version, endpoint, "lease", "list")
    said += control(version, endpoint, "lease", "revoke", lease)
    said += control(version, endpoint, "put", "of-lease", "2")
    command = [CONTROLS[version], "--endpoints", endpoint, "watch", "of-lease", f"--rev={revision}", "--prev-kv"]
    environment = {**os.environ, "ETCDCTL_API": "3"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(11)]
        watching.kill()
    return re.sub(r"remaining\(\d+s\)", "remaining", said.replace(lease, "LEASE")).split() + lines
