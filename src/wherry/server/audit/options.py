"""Settings of the audit log, and what is made of them; nothing of it is imported where none is configured."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.aio.clock import Clock
from wherry.server.callouts.client import Callouts

if TYPE_CHECKING:
    from wherry.server.audit.auditor import Auditor, Backend
    from wherry.server.audit.policy import Policy
    from wherry.server.audit.webhook import BatchOptions


@dataclass(slots=True)
class AuditOptions:
    """kube-apiserver's --audit-* flags."""

    policy: "Policy | None" = None
    """Without one nothing is recorded."""
    log_path: str = ""
    """`-` is stdout."""
    log_format: str = "json"
    log_size_max_megabytes: int = 0
    log_age_max_days: int = 0
    log_backups_max: int = 0
    log_compress: bool = False
    webhook_config: Path | None = None
    """A kubeconfig file that names the server."""
    batch: "BatchOptions | None" = None


def make_auditor(options: AuditOptions, callouts: Callouts, clock: Clock) -> "Auditor | None":
    """The auditor that is configured, if any. Raises OSError, KubeconfigError."""
    if options.policy is None or not (options.log_path or options.webhook_config):
        return None
    from wherry.server.audit.auditor import Auditor
    from wherry.server.audit.logfile import LogFile
    from wherry.server.audit.webhook import BatchOptions, Webhook

    backends: list[Backend] = []
    if options.log_path:
        backends.append(
            LogFile(
                options.log_path,
                clock,
                form=options.log_format,
                size_max_megabytes=options.log_size_max_megabytes,
                age_max_days=options.log_age_max_days,
                backups_max=options.log_backups_max,
                compress=options.log_compress,
            )
        )
    if options.webhook_config is not None:
        remote = callouts.from_kubeconfig(options.webhook_config)
        backends.append(Webhook(remote, callouts, clock, options.batch or BatchOptions()))
    return Auditor(options.policy, backends, clock)
