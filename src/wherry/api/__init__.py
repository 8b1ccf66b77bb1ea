"""The API types: a module per group version, a class per type, a line per field.

`from wherry.api import core_v1 as core`, then `core.Pod`. The modules are generated from the OpenAPI definitions of
Kubernetes 1.36 by tools/generate_api.py and hold data only. Read next: resources.py (one record per served kind),
registry.py (finding them), schema.py (how patches merge each type).
"""
