"""``python -m benchmarks.gpu``: what training and the exact engine do on a GPU, in under 8 minutes.

First bits: neurons (Triton against torch, on the GPU and on the CPU), the integer phase of a module
and the exact engine, every population, against the CPU. Then a training step may not wait for the
GPU (torch's ``set_sync_debug_mode`` makes it an error). Then two epochs of a real recipe, the last
one on the CPU, from the checkpoint of the GPU. Then times, in turns: a training step and the exact
engine over the bare convolutions and norms, and over SpikingJelly's fastest backend if it is
installed. Writes a JSON; what does not agree is in it as ``false``, and the exit status is 1.

Needs torch, NumPy and h5py besides neuroport, and no data: the samples are made.

``--reduced`` is for a machine without a GPU: the same script on the CPU, with small networks and
few samples. Its times mean nothing and are not written to the documentation.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import neuroport as port
from benchmarks.speed.timing import Turns, in_turn
from benchmarks.speed.topology import Bare, evaluating, stepping
from benchmarks.speed.topology import frames as speed_frames
from neuroport.data.samples import Pictures, Split
from neuroport.files import write_json
from neuroport.kernels import exact_products, lif_kernels, torch_neurons
from neuroport.kernels.devices import device_of, told
from neuroport.nets.families import build
from neuroport.nets.held_numbers import held
from neuroport.nets.ms_resnet import MsResNet
from neuroport.recipe import NetworkRecipe, Recipe, load_recipe
from neuroport.runs.trace import versions
from neuroport.training.checkpoint import read_checkpoint
from neuroport.training.fit import fit
from neuroport.training.optimizer import optimizer_of
from neuroport.training.parallel import Group
from neuroport.training.step import Step

ROOT = Path(__file__).resolve().parents[1]
FAMILIES: dict[str, dict[str, Any]] = {
    "ms_resnet": {},
    "ds_resnet": {"levels": 3},
    "danet": {},
    "sew_resnet": {},
}
RECIPE = "ms_resnet20_cifar100"


@dataclass(frozen=True)
class Size:
    """How much is done."""

    widths: tuple[int, int, int]
    side: int
    samples: int  # of comparisons
    train: int  # samples of an epoch
    batch: int
    batches: tuple[int, ...]  # of steps that are timed
    rounds: int


FULL = Size((16, 32, 64), 32, 64, 5000, 100, (64, 256), 15)
REDUCED = Size((4, 6, 8), 8, 3, 40, 20, (4,), 1)


def neurons(device: torch.device) -> dict[str, bool]:
    """Whether neurons on ``device`` have the bits of torch there, and integers those of the CPU."""
    rng = torch.Generator().manual_seed(0)
    current = torch.randint(-3000, 3000, (6, 4, 8, 16, 16), generator=rng).float()
    bias = torch.randint(-4095, 4096, (8, 1, 1), generator=rng)
    found: dict[str, bool] = {}
    decays = (4096, 1024), (1000, 2000)
    for name, decay in zip(("no memory", "memory"), decays, strict=True):
        want = torch_neurons.integer_forward(current, bias, *decay, 1500)
        got = lif_kernels.integer_forward(current.to(device), bias.to(device), *decay, 1500)
        if got is None:
            got = torch_neurons.integer_forward(current.to(device), bias.to(device), *decay, 1500)
        pairs = zip(want, got, strict=True)
        found[f"integer neurons, {name}"] = all(torch.equal(a, b.cpu()) for a, b in pairs)
    x = torch.randn(6, 4, 8, 16, 16, generator=rng).to(device)
    for keep in (0.0, 0.3):
        want = torch_neurons.real_forward(x, keep, 0.25, 0.5)
        got = lif_kernels.real_forward(x, keep, 0.25, 0.5) or want
        same = all(map(torch.equal, want, got))
        found[f"real neurons, current kept {keep}"] = same
    found["products of float32"] = exact_products.fault(device) is None
    return found


def network(family: str, size: Size) -> nn.Module:
    """A network whose norms and weights have seen a batch, on the CPU."""
    torch.manual_seed(0)
    net = build(NetworkRecipe(family, widths=size.widths, **FAMILIES[family]), 3, 10)
    rng = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (4, 8, 3, size.side, size.side), generator=rng).float()
    step = stepping(net, x, torch.arange(8))
    for _ in range(2):
        step()
    return net.eval()


def integers(device: torch.device, size: Size) -> dict[str, bool]:
    """Whether modules and the exact engine on ``device`` send what they send on the CPU."""
    shape = (4, size.samples, 3, size.side, size.side)
    frames = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = {}
    for family in FAMILIES:
        net = network(family, size)
        graph = port.quantize(net, frames[:, :1])
        want = port.run(graph, frames, on="fast")
        for engine, given in (("module", net), ("fast", graph)):
            got = port.run(given, frames, on=engine, device=str(device))
            found[f"{family}, {engine}"] = bool(port.compare(want, got))
    return found


def waits(device: torch.device, size: Size) -> dict[str, bool | None]:
    """Whether a training step waits for a GPU; None on the CPU, where nothing can."""
    found: dict[str, bool | None] = {}
    for family in FAMILIES:
        for phase in ("real", "integer"):
            net = network(family, size)
            shape = (4, 8, 3, size.side, size.side)
            if phase == "integer":
                port.quantize(net, np.full((4, 1, *shape[2:]), 100))
            net.to(device).train()
            recipe = Recipe()
            step = Step(net, optimizer_of(net, recipe), None, recipe, Group(0, 1, device))
            step.set_rate(0.001)
            x = torch.randint(0, 256, shape, device=device).float()
            labels = torch.arange(8, device=device)
            with held(net):
                step(x, labels)  # compiles what has to be compiled
                if device.type == "cuda":
                    torch.cuda.synchronize()
                    torch.cuda.set_sync_debug_mode("error")
                try:
                    step(x, labels)
                    found[f"{family}, {phase} phase"] = False if device.type == "cuda" else None
                except RuntimeError as error:
                    if "synchronizing" not in str(error):
                        raise
                    found[f"{family}, {phase} phase"] = True
                finally:
                    if device.type == "cuda":
                        torch.cuda.set_sync_debug_mode("default")
    return found


def made(count: int, side: int, classes: int, seed: int) -> Pictures:
    """Colour pictures that can be told apart: a bright square at a place of the class's own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    images = rng.integers(0, 120, (count, 3, side, side)).astype(np.uint8)
    each = max(1, side // 10)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 10)
        image[:, row * each : (row + 1) * each, column * each : (column + 1) * each] = 255
    return Pictures(images, labels.astype(np.int64))


def training(device: torch.device, size: Size) -> dict[str, Any]:
    """Two epochs of a recipe: real numbers on ``device``, integers there, too, then on the CPU."""
    recipe = load_recipe(RECIPE)
    kept = replace(recipe.training, epochs=1, batch=size.batch, auto_augment=False)
    table = replace(recipe.network, widths=size.widths)
    recipe = replace(
        recipe,
        network=table,
        training=kept,
        quantization=replace(recipe.quantization, epochs=1),
    )
    classes = recipe.data.class_count
    data = Split(made(size.train, size.side, classes, 0), made(100, size.side, classes, 1))
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        seconds = {}

        class StoppedError(Exception):
            pass

        def report(event: dict[str, Any]) -> None:
            if "accuracy" in event:
                raise StoppedError

        started = time.perf_counter()
        try:
            fit(recipe, own, data=data, device=str(device), report=report)
        except StoppedError:
            seconds["first epoch, real numbers"] = time.perf_counter() - started
        started = time.perf_counter()
        net = fit(recipe, own, data=data, device=str(device))
        seconds["second epoch, integers"] = time.perf_counter() - started
        metrics = read_checkpoint(own).metrics
        # the run that began on the device is a run on the CPU: loaded, quantized, and equal
        frames = np.repeat(data.test.views(slice(4)), recipe.data.steps, axis=0)
        graph = port.quantize(net, frames[:, :1])
        loaded = port.load(own)
        same = bool(port.compare(port.run(graph, frames), port.run(loaded, frames)))
    return {
        "recipe": recipe.name,
        "samples": size.train,
        "loss": [round(each["loss"], 4) for each in metrics],
        "finite": all(np.isfinite(each["loss"]) for each in metrics),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "checkpoint is the same network on the CPU": same,
    }


def synchronized(work: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """``work``, and what it asked of the device done."""

    def done() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return done


def jelly(x: Tensor, labels: Tensor, device: torch.device) -> dict[str, Callable[[], object]]:
    """Training steps of SpikingJelly's backends, where it is installed."""
    if importlib.util.find_spec("spikingjelly") is None:
        return {}
    from spikingjelly.activation_based import functional

    from benchmarks.speed.jelly import Jelly

    found: dict[str, Callable[[], object]] = {}
    for backend in ("torch", "cupy", "triton"):
        try:
            net = Jelly().to(device)
            if backend != "torch":
                functional.set_backend(net, backend)
            step = stepping(net, x / 255, labels)
            step()
        except Exception as error:  # a backend that is not there, or does not run here
            print(f"SpikingJelly, {backend}: {type(error).__name__}: {error}"[:200])
            continue
        found[f"SpikingJelly, {backend}"] = step
    return found


def times(device: torch.device, size: Size) -> dict[str, Any]:
    """Seconds of a step and of a run, and ratios to what bounds them."""
    found: dict[str, Any] = {}
    for batch in size.batches:
        x, labels = (tensor.to(device) for tensor in speed_frames(batch))
        net = MsResNet(3, (16, 32, 64), in_channels=3).to(device)
        with held(net):
            ways = {
                f"bare, {name}": stepping(Bare(True, last, norm=True).to(device), x / 255, labels)
                for name, last in (("contiguous", False), ("channels last", True))
            }
            ways["neuroport"] = stepping(net, x, labels)
            ways |= jelly(x, labels, device)  # type: ignore[arg-type]
            run = {name: synchronized(way, device) for name, way in ways.items()}
            turns = in_turn(run, size.rounds)
        found[f"training step, batch {batch}"] = _ratios(turns)
    found["exact engine"] = _exact(device, size)
    if device.type == "cuda":
        found["peak memory, GB"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    return found


def _exact(device: torch.device, size: Size) -> dict[str, Any]:
    net, batch = MsResNet(3, (16, 32, 64), in_channels=3), max(size.batches)
    x, _ = speed_frames(batch)
    frames = x.numpy().astype(np.uint8)
    graph = port.quantize(net.eval(), frames[:, :1])
    engine = port.prepare(graph, on="fast", device=str(device), batch=batch, record="counts")
    ways: dict[str, Callable[[], object]] = {
        f"bare, {name}": evaluating(Bare(True, last, norm=False).to(device), (x / 255).to(device))
        for name, last in (("contiguous", False), ("channels last", True))
    }
    ways["neuroport"] = lambda: engine.run(frames)
    run = {name: synchronized(way, device) for name, way in ways.items()}
    return _ratios(in_turn(run, size.rounds))


def _ratios(turns: Turns) -> dict[str, Any]:
    bare = turns.faster("bare, contiguous", "bare, channels last")
    rivals = [name for name in turns.seconds if name.startswith("SpikingJelly")]
    found: dict[str, Any] = {
        "seconds": {name: turns.time(name).to_list(6) for name in turns.seconds},
        "neuroport / bare": turns.ratio("neuroport", bare).to_list(3),
    }
    if rivals:
        rival = turns.faster(*rivals)
        found[f"{rival} / neuroport"] = turns.ratio(rival, "neuroport").to_list(3)
    return found


def measure(device: torch.device, size: Size) -> dict[str, Any]:
    """Everything, as it is written."""
    found: dict[str, Any] = {
        "device": told(device),
        "reduced": size is REDUCED,
        "versions": {"python": platform.python_version(), **versions("torch", "numpy")},
    }
    started = time.perf_counter()
    parts: dict[str, Callable[[], Any]] = {
        "neurons": lambda: neurons(device),
        "integers": lambda: integers(device, size),
        "waits": lambda: waits(device, size),
        "training": lambda: training(device, size),
        "times": lambda: times(device, size),
    }
    for name, part in parts.items():
        began = time.perf_counter()
        found[name] = part()
        print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


def agrees(found: dict[str, Any]) -> bool:
    """Whether every bit was equal, nothing waited, and training gave numbers."""
    equal = [*found["neurons"].values(), *found["integers"].values()]
    trained = found["training"]
    equal += [trained["finite"], trained["checkpoint is the same network on the CPU"]]
    return all(equal) and not any(found["waits"].values())


def main() -> int:
    """Measure and write; 0 where everything agrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--reduced", action="store_true", help="Small, for a CPU; no figures.")
    parser.add_argument("--out", type=Path, help="JSON; docs/gpu.json, or none if reduced.")
    asked = parser.parse_args()
    device = device_of("cpu" if asked.reduced and asked.device == "cuda" else asked.device)
    found = measure(device, REDUCED if asked.reduced else FULL)
    out = asked.out or (None if asked.reduced else ROOT / "docs" / "gpu.json")
    if out is not None:
        write_json(out, found)
    good = agrees(found)
    print("everything agrees" if good else f"something differs: {found}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
