"""Convolutions of training, of many shapes, are sums, and write where they may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiers import examples

pytest.importorskip("torch")

CHECKED = "libc_malloc_debug.so.0"  # the heap of glibc, with checks


@pytest.mark.parametrize("processor", ["", "AVX2"])
def test_convolutions_of_every_shape_are_sums(processor: str, root: Path) -> None:
    """Torch's own, called in its place, fails for some of them on a processor of AVX2."""
    checks = {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165", "LD_PRELOAD": CHECKED}
    env = {**os.environ, **(checks if sys.platform == "linux" else {})}
    if processor:
        env["ONEDNN_MAX_CPU_ISA"] = processor
    command = [sys.executable, "-m", "tests.kernels.convolutions", "4", f"{examples(10)}"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
