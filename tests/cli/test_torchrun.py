"""Two processes that share every batch train what one process trains with the whole of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RECIPE = """\
name = "shared"
[data]
steps = 3
train = 40
test = 10
[network]
widths = [4, 6, 8]
[training]
epochs = 1
batch = 20
optimizer = "sgd"
clip = 1.0
rotate = 5.0
mixup = 0.4
checkpoint_steps = 1
[quantization]
epochs = 1
"""


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run_together(script: str, folder: Path) -> str:
    """What two processes that run a script with a folder say on stdout."""
    (folder / "script.py").write_text(script)
    done = subprocess.run(
        [*TORCHRUN, str(folder / "script.py"), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train_together(recipe: Path, folder: Path) -> str:
    """What two processes that torchrun starts say on stdout."""
    running = subprocess.Popen(
        [*TORCHRUN, "-m", "neuroport", "train", str(recipe), "-o", str(folder), "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, errors = running.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        for path in Path("/proc").glob("[0-9]*/cmdline"):  # who waits for whom: they tell and end
            with contextlib.suppress(OSError):
                if str(folder).encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGABRT)
        said, errors = running.communicate(timeout=60)
        pytest.fail(f"torchrun and its processes do not end; they are at\n{errors}")
    assert running.returncode == 0, errors
    return said


def test_two_processes_train_what_one_trains(called: Any, tmp_path: Path) -> None:
    for package in ("torch", "torchvision", "mlxtend"):
        pytest.importorskip(package)
    import torch
    from safetensors.torch import load_file

    recipe = tmp_path / "shared.toml"
    recipe.write_text(RECIPE)
    done = called("train", recipe, "-o", tmp_path / "alone", "--json")
    assert done.returncode == 0, done.stderr
    alone, shared = done.stdout, train_together(recipe, tmp_path / "shared")
    told: list[dict[str, Any]] = [json.loads(said)["metrics"] for said in (alone, shared)]  # once
    for ours, theirs in zip(*told, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    got, want = (
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("shared", "alone")
    )
    assert got.keys() == want.keys()
    fresh = load_file(_untrained(recipe, tmp_path))
    moved = 0
    for name, tensor in want.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
        if name in fresh and tensor.is_floating_point():
            moved += not torch.allclose(fresh[name], tensor, rtol=1e-3, atol=1e-4)
    assert moved > 20  # far more than what is tolerated
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {
        "checkpoint.safetensors",
        "metrics.jsonl",
        "recipe.toml",
    }


NORMS = """\
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from neuroport.nets.batchnorm import TdBatchNorm
from neuroport.data.samples import Split
from neuroport.recipe import from_dict
from neuroport.training.fit import fit
from neuroport.training.parallel import group

folder = Path(sys.argv[1])


@dataclass(frozen=True)
class Counting:
    half: str
    labels: np.ndarray

    def views(self, chosen):
        numbers = np.arange(len(self.labels))[chosen]
        with (folder / f"{self.half}.{os.environ['RANK']}").open("a") as file:
            file.writelines(f"{n}\\n" for n in numbers)
        return np.random.default_rng(0).integers(0, 99, (1, len(numbers), 1, 12, 12), np.uint8)


classes = np.arange(230, dtype=np.int64) % 10
data = Split(Counting("train", classes[:40]), Counting("test", classes))
recipe = from_dict({
    "data": {"steps": 1}, "network": {"widths": [2, 2, 2]},
    "training": {"epochs": 1, "batch": 20}, "quantization": {"epochs": 0},
})

torch.manual_seed(0)
x = torch.randn(8, 3, 4, 5, dtype=torch.float64)
x[:, 2] = 0.0  # silent
wanted = torch.randn_like(x)
with group() as together:
    part = together.part(8)
    for make in (nn.BatchNorm2d, TdBatchNorm, lambda c: TdBatchNorm(c, inside=True, alpha=0.7)):
        whole, shared = make(3).double(), make(3).double()
        whole_x, own_x = x.clone().requires_grad_(), x[part].clone().requires_grad_()
        want = whole(whole_x)
        (want * wanted).sum().backward()
        with together.joint():
            got = shared(own_x)
        (got * wanted[part]).sum().backward()
        for ours, theirs in (
            (got, want[part]),
            (own_x.grad, whole_x.grad[part]),
            (2 * together.average(shared.weight.grad), whole.weight.grad),
            (shared.running_mean, whole.running_mean),
            (shared.running_var, whole.running_var),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    print("joined")
    own = together.rank
    fit(recipe, folder / "run", data=data, workers=own)
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have joined norms, and trained on samples that note who read them."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("together")
    (folder / "stdout").write_text(run_together(NORMS, folder))
    return folder


def test_norms_of_two_processes_are_those_of_the_whole_batch(together: Path) -> None:
    assert (together / "stdout").read_text().count("joined") == 2


def test_processes_read_parts_that_are_disjoint_and_together_everything(together: Path) -> None:
    """The first reads by itself, the second has a process that does."""
    for half, samples in (("train", 40), ("test", 230)):
        read = [[int(n) for n in (together / f"{half}.{r}").read_text().split()] for r in (0, 1)]
        assert sorted(read[0] + read[1]) == list(range(samples))  # each once, by one of them
        assert min(map(len, read)) >= samples // 2 - 20
    (metrics,) = map(json.loads, (together / "run" / "metrics.jsonl").read_text().splitlines())
    assert metrics["samples"] == 230


ROUNDS = """\
import os
import sys

import torch
import torch.distributed as dist
from neuroport.training.parallel import _total, group

begin, rank = dist.init_process_group, int(os.environ["RANK"])
for n in range(60):
    dist.init_process_group = lambda kind: begin(
        kind, init_method=f"file://{sys.argv[1]}/{n}", rank=rank, world_size=2
    )
    with group() as together:
        x = torch.ones(3, requires_grad=True)
        _total((rank + 1) * x).sum().backward()
        assert together.average(x.grad).tolist() == [3.0] * 3
        assert together.total(rank, n) == [1, 2 * n]
        assert [each.tolist() for each in together.gather(torch.tensor([rank]))] == [[0], [1]]
"""


def test_groups_end_sixty_times(tmp_path: Path) -> None:
    """Gloo's threads let go of what was exchanged at any time, the end of the group included."""
    pytest.importorskip("torch")
    run_together(ROUNDS, tmp_path)


WAITS = """\
import os
import sys
import time
from pathlib import Path

from neuroport.training.parallel import group

with group() as together:
    Path(sys.argv[1], str(together.rank)).write_text(str(os.getpid()))
    time.sleep(600)
"""


def test_processes_end_with_a_torchrun_that_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "script.py").write_text(WAITS)
    running = subprocess.Popen(
        [*TORCHRUN, str(tmp_path / "script.py"), str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    told = [tmp_path / "0", tmp_path / "1"]
    assert _within(60, lambda: all(path.exists() and path.read_text() for path in told))
    ranks = [int(path.read_text()) for path in told]
    running.kill()
    running.wait()
    assert _within(10, lambda: not any(map(_runs, ranks)))


def _within(seconds: float, happens: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not happens() and time.monotonic() < until:
        time.sleep(0.05)
    return happens()


def _runs(process: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _untrained(recipe: Path, folder: Path) -> Path:
    from neuroport.recipe import load_recipe
    from neuroport.training.checkpoint import State, build_network, save_checkpoint

    loaded = load_recipe(recipe)
    tensors = {f"model.{name}": t for name, t in build_network(loaded).state_dict().items()}
    return save_checkpoint(folder / "fresh", State(loaded, 0, tensors=tensors))


def test_norm_that_takes_its_own_statistics_is_refused() -> None:
    torch = pytest.importorskip("torch")
    from neuroport.errors import TrainingError
    from neuroport.training.parallel import Group

    class OwnNorm(torch.nn.BatchNorm2d):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x - x.mean((0, 2, 3), keepdim=True)

    net = torch.nn.Sequential(torch.nn.BatchNorm2d(2), OwnNorm(2))
    Group(0, 1).check(net)
    Group(0, 2).check(net[:1])
    with pytest.raises(TrainingError, match="1: OwnNorm takes statistics of its own"):
        Group(0, 2).check(net)


def test_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from neuroport.errors import TrainingError
    from neuroport.training.parallel import Group

    assert Group(2, 3).part(12) == slice(8, 12)
    with pytest.raises(TrainingError, match="10, which 3 processes cannot share evenly"):
        Group(0, 3).part(10)
