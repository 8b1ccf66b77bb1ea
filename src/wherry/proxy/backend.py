"""The seam between the plan and what carries traffic: nftables, iptables, user-space listeners, or memory in tests."""

import asyncio
from collections.abc import Mapping
from tempfile import TemporaryFile
from typing import Protocol

from wherry.proxy.rules import ServicePort


class BackendError(Exception):
    """The kernel or its tool refused the rules; its text says which tool and why."""


class Backend(Protocol):
    """Makes the node's traffic follow a plan."""

    async def apply(self, ports: Mapping[str, ServicePort]) -> None:
        """Make exactly `ports` take effect, replacing what was applied before. Raises BackendError."""

    async def remove(self) -> None:
        """Leave nothing of ours behind. Raises BackendError."""


class MemoryBackend:
    """Remembers the plan; for tests and for nodes without a network (fake runtime)."""

    def __init__(self) -> None:
        self.ports: dict[str, ServicePort] = {}

    async def apply(self, ports: Mapping[str, ServicePort]) -> None:
        self.ports = dict(ports)

    async def remove(self) -> None:
        self.ports = {}


async def run_tool(*command: str, stdin: str = "") -> str:
    """Run a system tool; its standard output. Raises BackendError with the tool's own message.

    The input is a file, not a pipe: uvloop may find a pipe's other end closed before it has written the first byte.
    """
    with TemporaryFile() as source:
        source.write(stdin.encode())
        source.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
        except FileNotFoundError as error:
            raise BackendError(f"{command[0]} is not installed: install it, or choose another proxy mode") from error
        output, errors = await process.communicate()
    if process.returncode:
        raise BackendError(f"{' '.join(command[:2])} failed: {errors.decode(errors='replace').strip()[:500]}")
    return output.decode()
