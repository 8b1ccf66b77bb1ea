"""Settings of the API server: each with its unit, default and reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wherry.server.admission.chain import AdmissionChoice
from wherry.server.admission.configured import AdmissionFunction
from wherry.server.admission.plugin import AdmissionPlugin
from wherry.server.aggregation.aggregator import AggregationOptions
from wherry.server.bootstrap import Advertised
from wherry.server.edges import EdgeOptions
from wherry.server.enablement import RuntimeConfig
from wherry.server.features import Features
from wherry.server.traffic import TrafficOptions

DEFAULT_PORT = 6443


@dataclass(slots=True)
class ServerOptions:
    """One API server. File names are paths to PEM files."""

    edges: EdgeOptions = field(default_factory=EdgeOptions)
    """Authentication, authorization, tokens, the road to kubelets."""
    traffic: TrafficOptions = field(default_factory=TrafficOptions)
    """Priority and fairness, time limits, the orderly end."""
    runtime_config: RuntimeConfig = field(default_factory=RuntimeConfig)
    """Which built-in API versions and kinds are served."""
    features: Features = field(default_factory=Features)
    """Feature gates."""
    service_cidr: str = "10.96.0.0/12"
    """Where Services' cluster addresses come from."""
    node_port_range: tuple[int, int] = (30000, 32767)
    """Both ends included."""
    node_port_part: tuple[int, int] = (0, 1)
    """Which part of how many to choose node ports from while it has room, where clusters share a machine."""
    managed_fields: bool = True
    """Track who set which field on every write; server-side apply needs it."""
    bootstrap: bool = True
    """Make sure at start that system namespaces, roles, priority classes and the kubernetes Service are there."""
    aggregation: AggregationOptions = field(default_factory=AggregationOptions)
    """What extension servers are shown."""
    admission: Sequence[AdmissionPlugin | AdmissionFunction] = ()
    """Plugins and functions that may change or refuse writes; see admission/configured.py."""
    encryption_config: Path | None = None
    """EncryptionConfiguration file; None: values are stored as they are."""
    encryption_config_reload: bool = False
    """Take that file anew when it changes."""
    admission_choice: AdmissionChoice = field(default_factory=AdmissionChoice)
    """Which built-in admission plugins are on, and what they are told."""
    advertised: Advertised = field(default_factory=lambda: Advertised("10.96.0.1", "127.0.0.1", DEFAULT_PORT))
    """How clients inside the cluster reach this server; the address is the first of `service_cidr`."""
