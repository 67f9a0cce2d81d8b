"""Training that is stopped in the middle of an epoch ends, started again, with the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

# Epochs of a second or so: long enough to be hit in the middle.
RECIPE = """\
name = "interrupted"

[data]
steps = 4
train = 400
test = 20

[network]
widths = [4, 6, 8]

[training]
epochs = 2
batch = 20
learning_rate = 0.05
shift = 1

[quantization]
epochs = 2
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("recipe") / "interrupted.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def uninterrupted(neuroport: Any, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    done = neuroport("train", recipe, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl, none where there is no such file yet."""
    path = folder / "metrics.jsonl"
    return [json.loads(n) for n in path.read_text().splitlines()] if path.exists() else []


Stop = Callable[[Path, int, signal.Signals], tuple[int, str]]


@pytest.fixture(scope="module")
def stop_in_epoch(entry_point: list[str], recipe: Path) -> Stop:
    """Train, send a signal about half way through an epoch (from 1): exit code and stderr."""
    return partial(stop, [*entry_point, "train", str(recipe), "-o"])


def stop(start: list[str], folder: Path, epoch: int, number: signal.Signals) -> tuple[int, str]:
    command = subprocess.Popen(
        [*start, str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts background jobs with the interrupt ignored; a user's terminal does not
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    given_up = time.monotonic() + 120
    while len(done := metrics(folder)) < epoch - 1:
        assert command.poll() is None, "training ended before it could be stopped"
        assert time.monotonic() < given_up
        time.sleep(0.01)
    time.sleep(done[-1]["seconds"] / 2)
    command.send_signal(number)
    _, said = command.communicate(timeout=60)
    # the epoch before is there, the one that was stopped is not
    assert len(metrics(folder)) == epoch - 1
    return command.returncode, said


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


def test_ctrl_c_in_the_second_epoch_resumes_to_the_weights_of_an_undisturbed_run(
    stop_in_epoch: Stop, neuroport: Any, recipe: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    code, said = stop_in_epoch(folder, 2, signal.SIGINT)
    assert code == 130
    assert said == "neuroport: interrupted; the same command resumes from the last checkpoint\n"
    # an interrupted process clears away what it was writing
    assert {path.name for path in folder.iterdir()} == {"checkpoint.safetensors", "metrics.jsonl"}
    done = neuroport("train", recipe, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert "epoch  1/4" not in done.stdout
    assert "epoch  2/4" in done.stdout
    assert_same_run(folder, uninterrupted)


def test_kill_9_in_the_quantized_phase_resumes_to_the_weights_of_an_undisturbed_run(
    stop_in_epoch: Stop, neuroport: Any, recipe: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    # once at the first epoch of the phase, once with its optimizer under way
    for epoch in (3, 4):
        code, _ = stop_in_epoch(folder, epoch, signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert metrics(folder)[-1]["phase"] == ("float" if epoch == 3 else "quantized")
    done = neuroport("train", recipe, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder, uninterrupted)
