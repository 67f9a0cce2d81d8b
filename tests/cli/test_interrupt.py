"""Training that is stopped in the middle of an epoch ends, started again, with the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

# The command line, hit by a signal in the second batch of an epoch.
STOPPED = """\
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # not what a shell left ignored
from neuroport.cli import main
from neuroport.training import fit

stop = (int(sys.argv.pop(1)) - 1, 1)
number = int(sys.argv.pop(1))
rate = fit.learning_rate

def rate_or_stop(recipe, epoch, index, batches):
    if (epoch, index) == stop:
        os.kill(os.getpid(), number)
    return rate(recipe, epoch, index, batches)

fit.learning_rate = rate_or_stop
main()
"""


@pytest.fixture
def recipe(tiny_recipe: Path, tmp_path: Path) -> Path:
    """The tiny recipe with a second quantized epoch, which starts from an optimizer's state."""
    pytest.importorskip("torch")
    text = tiny_recipe.read_text()
    changed = text.replace("[quantization]\nepochs = 1", "[quantization]\nepochs = 2")
    assert changed != text
    path = tmp_path / "interrupted.toml"
    path.write_text(changed)
    return path


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def train_until(epoch: int, number: int, recipe: Path, folder: Path) -> tuple[int, str]:
    """Train until a signal in an epoch (from 1): exit code and stderr."""
    command = [sys.executable, "-c", STOPPED, str(epoch), str(int(number))]
    done = subprocess.run(
        [*command, "train", str(recipe), "-o", str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    # the epoch before is there, the one that was stopped is not
    assert len(metrics(folder)) == epoch - 1, done.stderr
    return done.returncode, done.stderr


def assert_same_run(got: Path, want: Path) -> None:
    """Equal bits in every tensor, and equal metrics but for the seconds."""
    safetensors = pytest.importorskip("safetensors.numpy")
    ours = safetensors.load_file(got / "checkpoint.safetensors")
    theirs = safetensors.load_file(want / "checkpoint.safetensors")
    model = [name for name in theirs if name.startswith("model.")]
    assert len(model) > 20
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype, name
        assert ours[name].tobytes() == theirs[name].tobytes(), name
    timeless = [
        [{k: v for k, v in m.items() if k != "seconds"} for m in metrics(folder)]
        for folder in (got, want)
    ]
    assert timeless[0] == timeless[1]
    assert [m["phase"] for m in timeless[1]] == ["float", "float", "quantized", "quantized"]


def test_training_stopped_again_and_again_ends_with_the_weights_of_an_undisturbed_run(
    called: Any, recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    code, said = train_until(2, signal.SIGINT, recipe, folder)
    assert code == 130
    assert said == "neuroport: interrupted; the same command resumes from the last checkpoint\n"
    # an interrupted process clears away what it was writing
    assert {path.name for path in folder.iterdir()} == {"checkpoint.safetensors", "metrics.jsonl"}
    # once in the first epoch of the quantized phase, once with its optimizer under way
    for epoch in (3, 4):
        code, _ = train_until(epoch, signal.SIGKILL, recipe, folder)
        assert code == -signal.SIGKILL
    done = called("train", recipe, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert "epoch  3/4" not in done.stdout
    assert "epoch  4/4" in done.stdout
    undisturbed = called("train", recipe, "-o", tmp_path / "undisturbed", cwd=tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert_same_run(folder, tmp_path / "undisturbed")
