"""The README's first command, in a clone of its own: it ends with a Service that answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.timeout(300)
def test_the_demonstration_ends_with_a_service_that_answers(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environment = os.environ | {
        "WHERRY_HOME": str(tmp_path / "home"),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "HOME": str(tmp_path),
        # A fresh environment of its own; packages come from pip's cache or index as for anyone.
        "WHERRY_VENV": str(tmp_path / "venv"),
        "PYTHON": sys.executable,
    }
    environment.pop("VIRTUAL_ENV", None)
    demo = [str(clone / "scripts/demo"), "--port", "0"]
    try:
        result = subprocess.run(demo, env=environment, capture_output=True, text=True, check=False, timeout=280)
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.count("Hello from hello-") == 6
    finally:
        down = [str(tmp_path / "venv/bin/wherry"), "down"]
        subprocess.run(down, env=environment, capture_output=True, check=False, timeout=60)
