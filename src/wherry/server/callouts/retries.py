"""Asking a webhook that decides about requests (authentication, authorization): again when it only stumbled.

Source: k8s.io/apiserver, pkg/util/webhook (which errors, how often) and pkg/server/options (the waits).
"""

from typing import Any

from wherry.server.callouts.client import CalloutError, Callouts, Remote

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 5
WAIT_SECONDS, FACTOR, JITTER = 0.5, 1.5, 0.2
_PASSING = frozenset({"InternalError", "Timeout", "TooManyRequests"})


async def post_retrying(callouts: Callouts, remote: Remote, value: Any) -> Any:
    """Send JSON, return the JSON answered; up to `ATTEMPTS` times. Raises the last CalloutError."""
    wait = WAIT_SECONDS
    for _ in range(ATTEMPTS - 1):
        try:
            return await callouts.post(remote, value, timeout_seconds=TIMEOUT_SECONDS)
        except CalloutError as error:
            if not _may_pass(error):
                raise
        await callouts.clock.sleep(wait * callouts.entropy.uniform(1, 1 + JITTER))
        wait *= FACTOR
    return await callouts.post(remote, value, timeout_seconds=TIMEOUT_SECONDS)


def _may_pass(error: CalloutError) -> bool:
    if error.status is not None:
        return error.status.reason in _PASSING or bool(error.status.retry_after_seconds)
    cause = error.__cause__
    return isinstance(cause, ConnectionResetError) or isinstance(getattr(cause, "os_error", None), ConnectionResetError)
