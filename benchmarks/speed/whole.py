"""Whole jobs, each in a process of its own: a test set, a large network, the first step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed.figure import Figure
from benchmarks.speed.timing import Spread
from tests.helpers.memory import peak

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "models" / "ms_resnet20_mnist"


def verification(samples: int) -> dict[str, Any]:
    """The torch module against the fast engine on digits, every population."""
    import numpy as np

    import neuroport as port
    from neuroport.data.loading import load_data
    from neuroport.data.samples import frames_of
    from neuroport.recipe import load_recipe

    recipe = load_recipe(ZOO / "recipe.toml")
    data = load_data(recipe.data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.npy"
        held = [data.test, data.train][: 1 + (samples > len(data.test.labels))]
        parts = [frames_of(part, slice(None), recipe.data.steps) for part in held]
        stacked = np.concatenate(parts, 1)[:, :samples].astype(np.uint8)
        np.save(path, stacked)
        del data, held, parts, stacked
        frames = np.load(path, mmap_mode="r")
        net = port.load(ZOO)
        started = time.perf_counter()
        found = port.verify(net, str(ZOO / "network.net"), frames, on=("module", "fast"))
        seconds = time.perf_counter() - started
    if not found:
        raise AssertionError(str(found))
    return {"seconds": seconds, "positions": found.positions}


def compilation(depth: int) -> dict[str, Any]:
    """MS-ResNet for ImageNet from random weights to a file and back.

    Norms are at full strength, as training may leave them: where it begins, the last one of every
    branch is zero, and half of the weights would be zeros, which a file stores once.
    """
    import numpy as np
    import torch

    import neuroport as port
    from neuroport.nets.ms_resnet import MsResNet

    torch.manual_seed(0)
    before = peak()  # Python, torch and neuroport alone
    net = MsResNet.imagenet(depth).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    parameters = sum(p.numel() for p in net.parameters())
    weights = sum(p.numel() for p in net.parameters() if p.ndim > 1)
    frames = np.random.default_rng(0).integers(0, 256, (4, 1, 3, 224, 224), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.net"
        started = time.perf_counter()
        chip = port.lower(port.quantize(net, frames))
        port.export(chip, path)
        written = time.perf_counter()
        most = peak()
        back = port.read(path)
        read = time.perf_counter()
        if back.hash != chip.hash:
            raise AssertionError("what was read is not what was written")
        size = path.stat().st_size
    return {
        "parameters": parameters,
        "weights": weights,
        "compile": written - started,
        "read": read - written,
        "bytes": size,
        "added_bytes": most - before,
    }


def first_step() -> dict[str, Any]:
    """The first training step of a process, after ``import neuroport``."""
    import neuroport  # noqa: F401

    started = time.perf_counter()
    from benchmarks.speed.topology import BLOCKS, WIDTHS, frames, stepping

    x, labels = frames(16)
    from neuroport.nets.ms_resnet import MsResNet

    stepping(MsResNet(BLOCKS, WIDTHS, in_channels=3), x, labels)()
    return {"seconds": time.perf_counter() - started}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "verification": verification,
    "compilation": compilation,
    "first_step": first_step,
}


def job(name: str, *arguments: int, **environment: str) -> dict[str, Any]:
    """Run one of :data:`JOBS` in a process of its own; its figures and its peak of memory."""
    command = [sys.executable, "-m", "benchmarks.speed.whole", name, *map(str, arguments)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | environment
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_verification(rounds: int) -> list[Figure]:
    """1,000 digits under a minute; five times as many in the same memory."""
    few = [job("verification", 1000) for _ in range(min(rounds, 7))]
    many = job("verification", 5000)
    ratios = [many["peak_bytes"] / one["peak_bytes"] for one in few]
    seconds = Spread.of([one["seconds"] for one in few])
    return [
        Figure("1,000 digits, MS-ResNet-20, module against fast engine", seconds, "s", 60),
        Figure("peak memory, 5,000 digits / 1,000", Spread.of(ratios), "x", 1.1),
    ]


def measure_compilation(rounds: int) -> list[Figure]:
    """MS-ResNet-104, and 18 and 34 for how it grows."""
    found = {depth: job("compilation", depth) for depth in (18, 34, 104)}
    one = found[104]

    def single(value: float) -> Spread:
        return Spread.of([value])

    own = "MS-ResNet-104"
    figures = [
        Figure(f"{own}: quantize, lower, export", single(one["compile"]), "s", 60),
        Figure(f"{own}: read", single(one["read"]), "s", 10),
        Figure(
            f"{own}: peak memory, network included / fp32 weights",
            single(one["added_bytes"] / (4 * one["parameters"])),
            "x",
            2.5,
        ),
        Figure(f"{own}: file / int8 weights", single(one["bytes"] / one["weights"]), "x", 1.2),
    ]
    for depth in (18, 34):
        small = found[depth]
        each = (one["compile"] / one["parameters"]) / (small["compile"] / small["parameters"])
        what = f"compile time per parameter, {own} / MS-ResNet-{depth}"
        figures.append(Figure(what, single(each), "x", 1.5))
    return figures


def measure_start(rounds: int) -> list[Figure]:
    """Import, help, and the first training step with a cold and a warm cache of kernels."""
    python = sys.executable
    imports = [python, "-c", "import neuroport"]
    asked = [python, "-m", "neuroport", "--help"]
    found = [
        Figure("import neuroport", _timed(imports, rounds), "s", 0.3),
        Figure("neuroport --help", _timed(asked, rounds), "s", 0.3),
    ]
    with tempfile.TemporaryDirectory() as cache:
        cold = [job("first_step", XDG_CACHE_HOME=cache)["seconds"]]
        warm = [job("first_step", XDG_CACHE_HOME=cache)["seconds"] for _ in range(rounds)]
    found += [
        Figure("first training step, kernels compiled", Spread.of(cold), "s", 60),
        Figure("first training step, kernels cached", Spread.of(warm), "s", 5),
    ]
    return found


def _timed(command: list[str], rounds: int) -> Spread:
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        seconds.append(time.perf_counter() - started)
    return Spread.of(seconds[1:])  # the first one reads from disk


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    told = JOBS[name](*map(int, arguments))
    print(json.dumps({**told, "peak_bytes": peak()}))
