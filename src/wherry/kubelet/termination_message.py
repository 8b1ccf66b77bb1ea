"""What a container left to say: its termination-message file, or the end of its log."""

import asyncio
from pathlib import Path

from wherry.kubelet.logs import tail_text
from wherry.kubelet.runtimes.protocol import LOG_FILE, TERMINATION_FILE, TERMINATION_POLICY, ContainerRecord

MESSAGE_MAX_BYTES = 4096
FALLBACK_MAX_BYTES, FALLBACK_MAX_LINES = 2048, 80


async def read_message(record: ContainerRecord) -> str:
    """The message, "" when there is none."""
    return await asyncio.to_thread(_read, record)


def _read(record: ContainerRecord) -> str:
    name = record.annotations.get(TERMINATION_FILE)
    path = Path(name) if name else None
    if path and path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            return file.read(MESSAGE_MAX_BYTES).decode(errors="replace")
    fallback = record.annotations.get(TERMINATION_POLICY) == "FallbackToLogsOnError"
    if fallback and record.exit_code and (log := record.annotations.get(LOG_FILE)):
        return tail_text(Path(log), FALLBACK_MAX_LINES, FALLBACK_MAX_BYTES)
    return ""
