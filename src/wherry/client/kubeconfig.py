"""Kubeconfig files: which server, as whom, and keeping our own context in the user's file.

`load` finds and merges files as kubectl does: an explicit path, else every file of $KUBECONFIG (the first to name
something wins), else ~/.kube/config. `merge_context` and `remove_context` change one file under a lock, atomically and
without touching what they do not own. Everything raises `KubeconfigError`, one line that names the file and the fault.

Source of the behaviour: k8s.io/client-go, tools/clientcmd.
"""

import base64
import binascii
import contextlib
import fcntl
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from wherry.aio.clock import Clock

if TYPE_CHECKING:  # aiohttp costs a tenth of a second, and a whole cluster of one process needs none
    from wherry.client.https import HttpsTransport, TokenFile

Document = dict[str, Any]

_LISTS = {"clusters": "cluster", "users": "user", "contexts": "context"}
_PREVIOUS = "wherry/previous-context"
"""Extension of our context that remembers which context was current before it."""


class KubeconfigError(Exception):
    """What is wrong with which file, in one line."""


@dataclass(frozen=True)
class Kubeconfig:
    """Several files merged: named entries, each with the directory that its relative paths start from."""

    clusters: dict[str, Document] = field(default_factory=dict)
    users: dict[str, Document] = field(default_factory=dict)
    contexts: dict[str, Document] = field(default_factory=dict)
    current_context: str = ""
    sources: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Credentials:
    """What a context's server must be told, and trusted by: PEM bytes."""

    server: str
    ca: bytes = b""
    client_cert: bytes = b""
    client_key: bytes = b""


# Reading --------------------------------------------------------------------------------------------------------------


def paths(explicit: Path | None, environment: Mapping[str, str]) -> list[Path]:
    """The files to merge, in order of precedence."""
    if explicit is not None:
        return [explicit]
    listed = [Path(part) for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path(environment.get("HOME") or Path.home()) / ".kube" / "config"]


def load(explicit: Path | None = None, environment: Mapping[str, str] = os.environ) -> Kubeconfig:
    """Merge the files; missing ones are skipped unless named explicitly."""
    found = paths(explicit, environment)
    merged = Kubeconfig()
    current = ""
    for path in found:
        if explicit is None and not path.exists():
            continue
        document = _read(path)
        for plural, singular in _LISTS.items():
            entries = getattr(merged, plural)
            for name, entry in _entries(document, plural, singular, path).items():
                entries.setdefault(name, {**entry, "": path.resolve().parent})
        current = current or document.get("current-context") or ""
    return Kubeconfig(merged.clusters, merged.users, merged.contexts, current, tuple(found))


@dataclass(frozen=True)
class Access:
    """How to reach a context's server."""

    server: str
    tls: ssl.SSLContext
    token: Callable[[], str] | str | None = None


def access(
    path: Path | None = None, context: str | None = None, *, clock: Clock, environment: Mapping[str, str] = os.environ
) -> Access:
    """What a context (the current one by default) says, its files read."""
    config = load(path, environment)
    cluster, user = select(config, context)
    from wherry.client.https import tls_context

    try:
        tls = tls_context(
            ca=_material(cluster, "certificate-authority"),
            cert=_material(user, "client-certificate"),
            key=_material(user, "client-key"),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
        )
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{_names(config)}: a certificate or key is not valid PEM: {error}") from error
    token: TokenFile | str | None = user.get("token")
    if user.get("tokenFile"):
        token = _token_file(user, clock)
    return Access(cluster["server"], tls, token)


def transport_from_kubeconfig(
    path: Path | None = None, context: str | None = None, *, clock: Clock, environment: Mapping[str, str] = os.environ
) -> "HttpsTransport":
    """The transport of a context (the current one by default)."""
    found = access(path, context, clock=clock, environment=environment)
    from wherry.client.https import HttpsTransport

    return HttpsTransport(found.server, tls=found.tls, token=found.token)


def namespace_of(config: Kubeconfig, context: str | None = None) -> str:
    """The namespace that commands without one mean."""
    entry = config.contexts.get(context or config.current_context, {})
    return str(entry.get("namespace") or "default")


def select(config: Kubeconfig, context: str | None = None) -> tuple[Document, Document]:
    """The cluster and the user of a context."""
    name = context or config.current_context
    files = _names(config)
    if not name:
        raise KubeconfigError(f"{files}: no context is current; choose one with --context or start a cluster")
    if name not in config.contexts:
        raise KubeconfigError(f'{files}: context "{name}" does not exist')
    entry = config.contexts[name]
    cluster = config.clusters.get(entry.get("cluster") or "")
    user = config.users.get(entry.get("user") or "", {})
    if cluster is None or not cluster.get("server"):
        raise KubeconfigError(f'{files}: context "{name}" names no cluster with a server')
    for unsupported in ("exec", "auth-provider"):
        if user.get(unsupported):
            raise KubeconfigError(
                f'{files}: user "{entry.get("user")}" logs in by "{unsupported}", which Wherry cannot'
            )
    return cluster, user


def _names(config: Kubeconfig) -> str:
    return os.pathsep.join(map(str, config.sources))


def _read(path: Path) -> Document:
    try:
        document = yaml.load(path.read_bytes(), Loader=_LOADER)
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise KubeconfigError(f"{path}: not a kubeconfig")
    for plural, singular in _LISTS.items():
        _entries(document, plural, singular, path)
    return document


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _entries(document: Document, plural: str, singular: str, path: Path) -> dict[str, Document]:
    entries: dict[str, Document] = {}
    items = document.get(plural) or []
    for item in items if isinstance(items, list) else [items]:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise KubeconfigError(f"{path}: {plural}: every entry needs a name")
        if not isinstance(entry := item.get(singular) or {}, dict):
            raise KubeconfigError(f"{path}: {plural}: {item['name']} is not a mapping")
        entries.setdefault(item["name"], dict(entry))
    return entries


def _material(entry: Document, name: str) -> bytes | None:
    """Inline base64 (`<name>-data`) or, without it, the file's content."""
    if inline := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{entry['']}: {name}-data is not base64") from error
    if not entry.get(name):
        return None
    path = entry[""] / str(entry[name])
    try:
        return bytes(path.read_bytes())
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror or error}") from error


def _token_file(user: Document, clock: Clock) -> "TokenFile":
    path = user[""] / str(user["tokenFile"])
    try:
        from wherry.client.https import TokenFile

        return TokenFile(path, clock)
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror or error}") from error


# Writing --------------------------------------------------------------------------------------------------------------


def single_context(name: str, credentials: Credentials) -> Document:
    """A kubeconfig with the one context `name`, everything inline."""
    cluster = {"certificate-authority-data": _inline(credentials.ca), "server": credentials.server}
    user = {
        "client-certificate-data": _inline(credentials.client_cert),
        "client-key-data": _inline(credentials.client_key),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"cluster": cluster, "name": name}],
        "contexts": [{"context": {"cluster": name, "user": name}, "name": name}],
        "current-context": name,
        "users": [{"name": name, "user": user}],
    }


def write(path: Path, content: Document) -> None:
    """Write a whole kubeconfig, readable by its owner only, atomically."""
    _replace(path, yaml.safe_dump(content, sort_keys=False).encode(), 0o600)


def merge_context(path: Path, name: str, credentials: Credentials, *, make_current: bool = True) -> None:
    """Add or renew the cluster, user and context `name` in `path`, and make it current."""
    with _locked(path):
        config: Document = _read(path) if path.exists() else {"apiVersion": "v1", "kind": "Config"}
        previous = config.get("current-context") or ""
        if previous == name:  # renewed while current: what was current before us stays remembered
            previous = _remembered(config, name)
        addition = single_context(name, credentials)
        extension = {"name": _PREVIOUS, "extension": {"context": previous}}
        addition["contexts"][0]["context"]["extensions"] = [extension]
        for plural in _LISTS:
            kept = [item for item in config.get(plural) or [] if item.get("name") != name]
            config[plural] = kept + addition[plural]
        if make_current:
            config["current-context"] = name
        _save(path, config)


def remove_context(path: Path, name: str, server: str) -> bool:
    """Take `name` out again; if it is current, the context that was current before it returns.

    False: it is not there, or leads to another server by now.
    """
    if not os.path.lexists(path):
        return False
    with _locked(path):
        config = _read(path)
        previous = _remembered(config, name)
        there = any(item["name"] == name for plural in _LISTS for item in config.get(plural) or [])
        cluster = _entries(config, "clusters", "cluster", path).get(name, {})
        if not there or cluster.get("server", server) != server:
            return False
        for plural in _LISTS:
            config[plural] = [item for item in config.get(plural) or [] if item.get("name") != name]
        if config.get("current-context") == name:
            remaining = {item.get("name") for item in config["contexts"]}
            config["current-context"] = previous if previous in remaining else ""
        _save(path, config)
    return True


def _remembered(config: Document, name: str) -> str:
    for item in config.get("contexts") or []:
        if item.get("name") == name:
            for extension in (item.get("context") or {}).get("extensions") or []:
                if extension.get("name") == _PREVIOUS:
                    return str((extension.get("extension") or {}).get("context") or "")
    return ""


def _inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _save(path: Path, config: Document) -> None:
    target = path.resolve()  # a symbolic link stays one
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    _replace(target, yaml.safe_dump(config, sort_keys=False).encode(), mode)


def _replace(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.wherry-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise KubeconfigError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold our own lock file, so that two of us never lose each other's context.

    kubectl's lock is the mere existence of `<file>.lock`, left behind for ever by a crash; ours goes with its process.
    """
    lock = path.with_name(f".{path.name}.wherry.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise KubeconfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
