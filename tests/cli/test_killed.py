"""``neuroport train`` killed at any moment, again and again, ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RECIPE = """\
name = "killed"
[data]
steps = 2
train = 60
test = 20
[network]
widths = [4, 6, 8]
[training]
epochs = 2
batch = 10
flip = true
checkpoint_steps = {every}
[quantization]
epochs = 2
"""
KILLS = 2


def train(entry_point: list[str], recipe: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [*entry_point, "train", str(recipe), "-o", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_after(process: subprocess.Popen[bytes], folder: Path, writes: int, wait: float) -> bool:
    """Kill after so many checkpoints and a little; False if the run was faster."""
    path, seen, last = folder / "checkpoint.safetensors", 0, None
    if path.exists():
        last = path.stat().st_mtime_ns, path.stat().st_ino
    while seen < writes and process.poll() is None:
        time.sleep(0.002)
        now = (path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None
        seen += now != last
        last = now
    time.sleep(wait)
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    return True


def result(folder: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Every tensor's bytes, and the metrics but for the seconds."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / "checkpoint.safetensors")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    metrics = [{k: v for k, v in json.loads(m).items() if k != "seconds"} for m in lines]
    return {name: tensor.tobytes() for name, tensor in tensors.items()}, metrics


def test_training_killed_again_and_again_ends_with_the_bits_of_an_undisturbed_run(
    entry_point: list[str], called: Any, tmp_path: Path
) -> None:
    for package in ("torch", "mlxtend", "safetensors"):
        pytest.importorskip(package)
    recipes = {}
    for name, every in (("killed", 1), ("undisturbed", 0)):
        recipes[name] = tmp_path / f"{name}.toml"
        recipes[name].write_text(RECIPE.format(every=every))
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # told by pytest where the test fails
    chance, folder = random.Random(seed), tmp_path / "killed"
    kills = 0
    for _ in range(KILLS):
        process = train(entry_point, recipes["killed"], folder)
        kills += kill_after(process, folder, chance.randint(1, 11), chance.random() / 20)
        _, said = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, said.decode()
    assert kills == KILLS
    for name in recipes:
        done = called("train", recipes[name], "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    got, want = result(folder), result(tmp_path / "undisturbed")
    assert len(want[0]) > 60
    assert got == want
    # what killed writers left behind is gone
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint.safetensors",
        "metrics.jsonl",
        "recipe.toml",
    }
