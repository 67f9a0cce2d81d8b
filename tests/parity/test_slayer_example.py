"""The example for those who train with lava-dl does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lava


def test_example_trains_with_slayer_and_runs_equal_on_lava(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, root / "examples" / "from_slayer.py", tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert ", 0 differ" in done.stdout
    assert (tmp_path / "stripes.net").exists()
    places, guessed = done.stdout.splitlines()[-1].split(" guessed on Lava ")
    assert places.endswith(guessed), "it learned where the bar is"
