"""Those who check their types are told of the right ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_the_api_has_the_types_that_it_says() -> None:
    command = [sys.executable, "-m", "mypy", "--python-version", "3.12", str(HERE / "typed.py")]
    done = subprocess.run(command, cwd=HERE.parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
