"""`--admission-control-config-file`: what single plugins are told.

apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration: {...}        or  path: file-beside-this-one.yaml
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

API_VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1")


def read_configurations(path: Path) -> dict[str, Mapping[str, Any]]:
    """Configurations by plugin name. Raises ValueError with one line that says what is wrong."""
    whole = _read(path)
    if whole.get("kind") != "AdmissionConfiguration" or whole.get("apiVersion") not in API_VERSIONS:
        raise ValueError(f"{path} must be an AdmissionConfiguration of {API_VERSIONS[0]}")
    found: dict[str, Mapping[str, Any]] = {}
    for item in whole.get("plugins") or ():
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            raise ValueError(f"{path}: every plugin needs a name")
        if name in found:
            raise ValueError(f"{path}: plugin {name} is configured twice")
        if item.get("configuration") is not None and item.get("path"):
            raise ValueError(f"{path}: plugin {name} has both a path and a configuration")
        configuration = _read(path.parent / item["path"]) if item.get("path") else item.get("configuration") or {}
        if not isinstance(configuration, dict):
            raise ValueError(f"{path}: the configuration of {name} must be an object")
        found[name] = configuration
    return found


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold one object")
    return value
