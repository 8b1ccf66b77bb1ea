"""Which part of the API is served: --runtime-config and --feature-gates, read. Their meaning: server/enablement.py."""

from collections.abc import Iterable

from wherry.cluster.failure import ClusterError
from wherry.server.enablement import RuntimeConfig, read
from wherry.server.features import Features


def runtime_config(flags: Iterable[str]) -> RuntimeConfig:
    """Raises ClusterError."""
    try:
        return RuntimeConfig(read(flags))
    except ValueError as error:
        raise ClusterError(f"--runtime-config: {error}") from error


def features(flags: Iterable[str]) -> Features:
    """Raises ClusterError."""
    try:
        return Features(gate.strip() for text in flags for gate in text.split(",") if gate.strip())
    except ValueError as error:
        raise ClusterError(f"--feature-gates: {error}") from error
