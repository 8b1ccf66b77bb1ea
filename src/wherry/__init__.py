"""Wherry: a complete, wire-compatible Kubernetes in Python. Start reading at docs/architecture.md."""

__version__ = "0.1.0"
KUBERNETES_VERSION = "v1.36.2"
