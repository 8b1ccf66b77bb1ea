"""Lifecycle hooks: postStart and preStop by exec, HTTP or sleep."""

from wherry.aio.clock import Clock
from wherry.api.core_v1 import LifecycleHandler
from wherry.kubelet import actions
from wherry.kubelet.actions import Outcome
from wherry.kubelet.machine import AnyContainer
from wherry.kubelet.runtimes.protocol import ContainerRecord, Runtime

UNLIMITED_SECONDS = 3600.0 * 24


async def run_hook(
    handler: LifecycleHandler,
    container: AnyContainer,
    record: ContainerRecord,
    runtime: Runtime,
    clock: Clock,
    address: str,
    timeout_seconds: float = UNLIMITED_SECONDS,
) -> Outcome:
    """Run one hook to its end or to the timeout."""
    if handler.exec:
        return await actions.run_command(runtime, record.id, handler.exec.command, timeout_seconds)
    if handler.httpGet:
        # That the request was delivered is enough: what is answered does not matter to a hook.
        return await actions.get_http(handler.httpGet, container, address, timeout_seconds, any_status=True)
    if handler.sleep:
        await clock.sleep(min(float(handler.sleep.seconds), timeout_seconds))
        return Outcome(True)
    return Outcome(False, "invalid handler: no exec, httpGet or sleep")
