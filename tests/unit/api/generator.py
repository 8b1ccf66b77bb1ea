"""tools/generate_api.py as a module: tools is no package."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[3]
API_DIRECTORY = _ROOT / "src" / "wherry" / "api"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("generate_api", _ROOT / "tools" / "generate_api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_api"] = module
    spec.loader.exec_module(module)
    return module


generator = _load()
