"""What one kubelet knows of one pod beside its spec and what the runtime says.

All of it may be lost: a new kubelet starts with an empty memory, and the pod goes on. Probe results are by container
id, so that a restarted container starts afresh.
"""

from dataclasses import dataclass, field

from wherry.kubelet.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for machines and a message for people."""

    reason: str
    message: str = ""


@dataclass(slots=True)
class PodMemory:
    """One pod's transient state."""

    start_time: str | None = None
    backoff: Backoff = field(default_factory=Backoff)
    waiting: dict[str, Reason] = field(default_factory=dict)
    """Why a container could not be started, by container name."""
    termination_messages: dict[str, str] = field(default_factory=dict)
    """By container id."""
    ready: dict[str, bool] = field(default_factory=dict)
    """Result of the readiness probe, by container id."""
    started: dict[str, bool] = field(default_factory=dict)
    """Result of the startup probe, by container id."""
    unhealthy: dict[str, Reason] = field(default_factory=dict)
    """Containers whose liveness or startup probe failed for good, by container id."""
    hooks_pending: set[str] = field(default_factory=set)
    """Containers whose postStart hook has not ended, by container id."""
    failed: Reason | None = None
    """Why the whole pod has failed: rejected, evicted, past its deadline."""
    terminating: bool = False
    """The containers are being stopped for good."""
    stopped: bool = False
    """All containers are stopped, the sandbox too."""
