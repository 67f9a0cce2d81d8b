"""The example for those who have a .net file does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lava


def test_example_tells_what_netx_gets_wrong_and_runs_right(root: Path, tmp_path: Path) -> None:
    def example(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, root / "examples" / "from_net.py", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = example(tmp_path)
    for layer, fault in (
        ("layer/0 (conv)", "are ignored"),
        ("layer/1 (conv)", "weight_exp, 1, is never read"),
        ("layer/3 (dense)", "its bias acts 3 steps before"),
    ):
        (line,) = (line for line in said.splitlines() if line.startswith(layer) and fault in line)
        if "bias" not in fault:  # which is counted where nothing has delays
            assert int(line.split(": ")[-1].split()[0].replace(",", "")) > 0
    assert ", 0 differ" in said
    again = example(tmp_path / "old.net", tmp_path / "frames.npy", tmp_path)
    assert said.endswith(again), "with a file of one's own it says the same"
    assert again.count("\n") >= 5
