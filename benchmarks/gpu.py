"""``python -m benchmarks.gpu``: what training and the exact engine do on a GPU, in under 8 minutes.

First bits: neurons (Triton against torch, on the GPU and on the CPU), the integer phase of a module
and the exact engine, every population, against the CPU. Then a training step may not wait for the
GPU (torch's ``set_sync_debug_mode`` makes it an error), and steps of a CUDA graph are compared with
single operations. Then two epochs of a real recipe, the last one on the CPU, from the checkpoint of
the GPU. Then times, in turns: a training step and the exact engine over the bare convolutions and
norms, and over SpikingJelly's fastest way if it is installed. At last a recording that fails.
Writes a JSON and the table of ``docs/devices.md``; what does not agree is in it as ``false``, and
the exit status is 1.

Needs torch, NumPy and h5py besides neuroport, and no data: the samples are made.

``--reduced`` is for a machine without a GPU: the same script on the CPU, with small networks and
few samples. Its times mean nothing and are not written to the documentation.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import itertools
import os
import platform
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from neuroport.files import read_json, write_atomic, write_json
from neuroport.kernels import exact_products, lif_kernels, torch_neurons
from neuroport.kernels.devices import device_of, told
from neuroport.nets.families import build
from neuroport.nets.held_numbers import held
from neuroport.nets.ms_resnet import MsResNet
from neuroport.recipe import NetworkRecipe, Recipe, load_recipe
from neuroport.runs.recording import GRANULARITIES
from neuroport.runs.trace import versions
from neuroport.training.captured_step import WARM
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
PHASES = ("real", "integer")
PARTS = (
    *("neurons", "integers", "random networks", "waits", "captured", "training", "times"),
    "failed recording",
)
BEGIN, END = "<!-- gpu: begin -->\n", "<!-- gpu: end -->\n"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the GPU is first used


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
    seconds: float  # of random networks


FULL = Size((16, 32, 64), 32, 64, 5000, 100, (64, 256), 15, 20.0)
REDUCED = Size((4, 6, 8), 8, 3, 40, 20, (4,), 1, 0.5)


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
        got = lif_kernels.real_forward(x, keep, 0.25, 0.5)
        if got is None and device.type == "cuda":
            got = ()  # there are no kernels to compare
        same = got is None or (len(got) == 2 and all(map(torch.equal, want, got)))
        found[f"real neurons, current kept {keep}, against torch there"] = same
    found["products of float32"] = exact_products.fault(device) is None
    return found


def network(family: str, size: Size) -> nn.Module:
    """A network of a family, which spikes, on the CPU."""
    torch.manual_seed(0)
    table = NetworkRecipe(family, widths=size.widths, **FAMILIES[family])
    return spiking(build(table, 3, 10), size.side)


def spiking(net: nn.Module, side: int) -> nn.Module:
    """``net`` in evaluation, after its norms and weights have seen a batch."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    rng = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (4, 8, 3, side, side), generator=rng).float()
    step = stepping(net, x, torch.arange(8))
    for _ in range(2):
        step()
    for norm in norms:
        norm.momentum = 0.1
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
        spikes = [want.sent(name) > 0 for name, kind in want.kinds.items() if kind == "lif"]
        found[f"{family}, most populations spike"] = sum(spikes) > 0.7 * len(spikes)
        for engine, given in (("module", net), ("fast", graph)):
            got = port.run(given, frames, on=engine, device=str(device))
            found[f"{family}, {engine}"] = bool(port.compare(want, got))
        for each in GRANULARITIES:
            record = {"on": "fast", "record": "counts", "granularity": each}
            some = port.run(graph, frames, **record)
            got = port.run(graph, frames, **record, device=str(device))
            found[f"{family}, fast, counts of every {each}"] = bool(port.compare(some, got))
    return found


def random_networks(device: torch.device, size: Size) -> dict[str, Any]:
    """Random graphs of every kind of node, each three times, against the CPU."""
    from neuroport.backends import gpu_network
    from neuroport.backends.fast import TorchArithmetic
    from tests.properties.networks import network as drawn

    found = {"networks": 0, "by kernels": 0, "positions": 0, "differ": 0}
    until = time.perf_counter() + size.seconds
    for seed in itertools.count():
        if time.perf_counter() > until:
            return found
        case = drawn(seed)
        want = port.run(case.graph, case.frames, on="fast")
        with port.prepare(case.graph, on="fast", device=str(device), batch=4) as prepared:
            for _ in range(3):  # one by one, recorded, replayed
                outcome = port.compare(want, prepared.run(case.frames))
                found["positions"] += outcome.positions
                found["differ"] += outcome.differing
        found["networks"] += 1
        found["by kernels"] += gpu_network.whole(case.graph, device, TorchArithmetic) is not None
    raise AssertionError


def in_phase(family: str, phase: str, size: Size) -> nn.Module:
    """A network that trains in real numbers or in integers, on the CPU."""
    net = network(family, size)
    if phase == "integer":
        port.quantize(net, np.full((4, 1, 3, size.side, size.side), 100))
    return net.train()


def waits(device: torch.device, size: Size) -> dict[str, bool | None]:
    """Whether single steps wait for a GPU; None on the CPU, where nothing can."""
    found: dict[str, bool | None] = {}
    for family, phase in itertools.product(FAMILIES, PHASES):
        net = in_phase(family, phase, size).to(device)
        recipe = Recipe()
        group = Group(0, 1, device)
        step = Step(net, optimizer_of(net, recipe), None, recipe, group, capture=False)
        step.set_rate(0.001)
        x = torch.randint(0, 256, (4, 8, 3, size.side, size.side), device=device).float()
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


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Context in which torch and cuDNN sum in the same order every time, where they can."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = before


def some_steps(
    net: nn.Module, device: torch.device, size: Size, capture: bool, kind: type[Step] = Step
) -> tuple[list[Tensor], Step]:
    """Losses and state, on the CPU, after steps of a copy of ``net`` on several batches."""
    net = copy.deepcopy(net).to(device)
    recipe = Recipe()
    group = Group(0, 1, device)
    step = kind(net, optimizer_of(net, recipe), None, recipe, group, capture=capture)
    rng = torch.Generator().manual_seed(2)
    losses = []
    with held(net) as numbers:
        for index in range(WARM + 5):
            numbers.refresh()
            step.set_rate(0.001 * (1 + index))
            x = torch.randint(0, 256, (4, 8, 3, size.side, size.side), generator=rng).float()
            labels = torch.randint(0, 10, (8,), generator=rng)
            losses.append(step(x.to(device), labels.to(device)))
    return [each.detach().cpu() for each in (*losses, *net.state_dict().values())], step


def difference(some: list[Tensor], others: list[Tensor]) -> float:
    """The largest difference; 0 if all bits are equal."""
    if all(map(torch.equal, some, others)):
        return 0.0
    pairs = zip(some, others, strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def captured(device: torch.device, size: Size) -> dict[str, dict[str, Any]]:
    """How far steps of a graph are from single ones, and single ones from themselves."""
    found = {}
    for family, phase in itertools.product(FAMILIES, PHASES):
        net = in_phase(family, phase, size)
        with deterministic():
            single, _ = some_steps(net, device, size, False)
            again, _ = some_steps(net, device, size, False)
            graph, step = some_steps(net, device, size, True)
        found[f"{family}, {phase} phase"] = {
            "recorded": None if step.captured is None else step.captured.recorded,
            "refused": None if step.captured is None else step.captured.refused,
            "largest difference": difference(single, graph),
            "of single steps, twice": difference(single, again),
        }
        step.release()
    return found


class Curious(Step):
    """A step that waits for the GPU only while it is recorded, which torch does not allow."""

    def loss(self, frames: Tensor, labels: Tensor, share: Any = 1.0) -> Tensor:
        found = super().loss(frames, labels, share)
        if frames.is_cuda and torch.cuda.is_current_stream_capturing():
            found.item()
        return found


def failed_recording(device: torch.device, size: Size) -> dict[str, bool]:
    """Whether training goes on, and torch is as before, after a recording that failed."""
    net = in_phase("ms_resnet", "real", size)
    with deterministic():
        single, _ = some_steps(net, device, size, False)
        found, step = some_steps(net, device, size, True, Curious)
    refused = step.captured is None or "recording" in str(step.captured.refused)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.rand(1, device=device)
        torch.nn.functional.dropout(torch.rand(9, device=device)).sum().item()
    _, step = some_steps(net, device, size, True)
    recorded = step.captured is None or step.captured.recorded
    return {
        "trains on, with the same bits": refused and difference(single, found) == 0,
        "the next network is recorded": recorded,
    }


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


Way = Callable[[], object]


def own_step(
    net: nn.Module, x: Tensor, labels: Tensor, device: torch.device, capture: bool
) -> tuple[Way, Step]:
    """A step of :class:`Step`, by plain SGD as the bare one, warmed up."""
    recipe = replace(Recipe(), training=replace(Recipe().training, clip=0.0, label_smoothing=0.0))
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    step = Step(net, optimizer, None, recipe, Group(0, 1, device), capture=capture)
    return partial(step, x, labels), step


def captured_way(
    name: str, net: nn.Module, x: Tensor, labels: Tensor, device: torch.device
) -> dict[str, Way]:
    """A step of another network as a CUDA graph, as neuroport records it; or why there is none."""
    way, step = own_step(net, x, labels, device, capture=True)
    if step.captured is None:
        return {}
    for _ in range(WARM + 2):
        way()
    if not step.captured.recorded:
        print(f"{name}: {step.captured.refused}"[:300])
        return {}
    return {f"{name}, CUDA graph": way}


def chosen_backends(device: torch.device) -> dict[str, Callable[[], None]]:
    """What makes SpikingJelly 2.0 use a backend: native CUDA, Triton or torch.

    Without a choice it takes the first that is there. ``SJ_LIF_CUDA_IMPLEMENTATION`` chooses for a
    process; here all run in turns.
    """
    if device.type != "cuda":
        return {"torch": lambda: None}
    from spikingjelly._ops.lif import _selection

    index = torch.cuda.current_device() if device.index is None else device.index
    found: dict[str, Callable[[], None]] = {}
    requested = _selection._requested
    for backend in ("cuda", "triton", "torch"):
        try:
            _selection._requested = backend
            chosen = _selection._select(index)
        except Exception as error:
            print(f"SpikingJelly, {backend}: {type(error).__name__}: {error}"[:300])
            continue
        found[backend] = partial(_selection._selections.__setitem__, index, chosen)
    _selection._requested = requested
    return found


def after(first: Callable[[], None], way: Way) -> Way:
    """Both, one after the other."""

    def both() -> None:
        first()
        way()

    return both


def jelly(x: Tensor, labels: Tensor, device: torch.device) -> dict[str, Way]:
    """Training steps of SpikingJelly's backends, where it is installed."""
    if importlib.util.find_spec("spikingjelly") is None:
        print("SpikingJelly is not installed")
        return {}
    from benchmarks.speed.jelly import Jelly

    found: dict[str, Way] = {}
    formats = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
    for backend, use in chosen_backends(device).items():
        for layout, memory in formats.items():
            name = f"SpikingJelly, {backend}, {layout}"

            def made(memory: torch.memory_format = memory) -> nn.Module:
                return Jelly().to(device).to(memory_format=memory)  # type: ignore[call-overload, no-any-return]

            try:
                use()
                step = stepping(made(), x / 255, labels)
                step()
                found[name] = after(use, step)
                ways = captured_way(name, made(), x / 255, labels, device)
                found |= {each: after(use, way) for each, way in ways.items()}
            except Exception as error:  # a backend that does not run here
                print(f"{name}: {type(error).__name__}: {error}"[:300])
    return found


def times(device: torch.device, size: Size) -> dict[str, Any]:
    """Seconds of a step and of a run, and ratios to what bounds them."""
    found: dict[str, Any] = {}
    peaks: dict[str, float] = {}
    for batch in size.batches:
        x, labels = (tensor.to(device) for tensor in speed_frames(batch))
        with contextlib.ExitStack() as kept:
            bares = {
                f"bare, {name}": Bare(True, last, norm=True).to(device)
                for name, last in (("contiguous", False), ("channels last", True))
            }
            ways: dict[str, Way] = {
                name: stepping(bare, x / 255, labels) for name, bare in bares.items()
            }
            for name, bare in bares.items():
                ways |= captured_way(name, copy.deepcopy(bare), x / 255, labels, device)
            for name, capture in (("neuroport", True), ("neuroport, eager", False)):
                net = MsResNet(3, (16, 32, 64), in_channels=3).to(device)
                numbers = kept.enter_context(held(net))
                way, step = own_step(net, x, labels, device, capture)
                ways[name] = after(numbers.refresh, way)
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)
                    before = torch.cuda.memory_allocated(device)
                for _ in range(WARM + 2):
                    ways[name]()
                if device.type == "cuda":
                    most = torch.cuda.max_memory_allocated(device) - before
                    peaks[f"{name}, batch {batch}"] = round(most / 1e9, 2)
                if step.captured is not None and not step.captured.recorded:
                    print(f"{name}, batch {batch}: no graph: {step.captured.refused}"[:300])
            ways |= jelly(x, labels, device)
            run = {name: synchronized(way, device) for name, way in ways.items()}
            turns = in_turn(run, size.rounds)
        found[f"training step, batch {batch}"] = _ratios(turns)
        if device.type == "cuda":
            del ways, run, step
            torch.cuda.empty_cache()
    found["exact engine"] = _exact(device, size)
    if peaks:
        found["peak memory of steps, GB"] = peaks
    return found


def graphed(name: str, way: Way, device: torch.device) -> dict[str, Way]:
    """An evaluation as a CUDA graph."""
    if device.type != "cuda":
        return {}
    way()
    graph = torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
    with torch.cuda.graph(graph):
        way()
    return {f"{name}, CUDA graph": graph.replay}


def _exact(device: torch.device, size: Size) -> dict[str, Any]:
    """Bare gets real numbers on the device; neuroport frames of the host, which it checks, hashes
    and copies, and it counts messages, or copies all of them to the host.
    """
    batch = max(size.batches)
    x, _ = speed_frames(batch)
    frames = x.numpy().astype(np.uint8)
    graph = port.quantize(spiking(MsResNet(3, (16, 32, 64), in_channels=3), 32), frames[:, :1])
    records: dict[str, dict[str, Any]] = {
        "neuroport": {"record": "counts", "granularity": "layer"},
        "neuroport, counts of every neuron": {"record": "counts"},
        "neuroport, every message": {},
    }
    ways: dict[str, Callable[[], object]] = {
        f"bare, {name}": evaluating(Bare(True, last, norm=False).to(device), (x / 255).to(device))
        for name, last in (("contiguous", False), ("channels last", True))
    }
    for name in tuple(ways):
        ways |= graphed(name, ways[name], device)
    for name, record in records.items():
        engine = port.prepare(graph, on="fast", device=str(device), batch=batch, **record)
        ways[name] = partial(engine.run, frames)
    run = {name: synchronized(way, device) for name, way in ways.items()}
    return _ratios(in_turn(run, size.rounds))


def _ratios(turns: Turns) -> dict[str, Any]:
    bare = turns.faster("bare, contiguous", "bare, channels last")
    rivals, recorded = (
        [
            name
            for name in turns.seconds
            if name.startswith("SpikingJelly") and name.endswith("CUDA graph") == graph
        ]
        for graph in (False, True)
    )
    found: dict[str, Any] = {
        "seconds": {name: turns.time(name).to_list(6) for name in turns.seconds},
        "neuroport / bare": turns.ratio("neuroport", bare).to_list(3),
    }
    if rivals:
        rival = turns.faster(*rivals)
        found["fastest of SpikingJelly"] = rival
        found["SpikingJelly / neuroport"] = turns.ratio(rival, "neuroport").to_list(3)
    if recorded:  # no backend of SpikingJelly: neuroport trains its network
        rival = turns.faster(*recorded)
        ratio = turns.ratio(rival, "neuroport").to_list(3)
        found["SpikingJelly's network as a CUDA graph / neuroport"] = ratio
    graphs = [name for name in turns.seconds if name.startswith("bare") and name.endswith("graph")]
    if graphs:  # says how much of the gain anybody has who records a graph
        graph = turns.faster(*graphs)
        found["neuroport / bare as a CUDA graph"] = turns.ratio("neuroport", graph).to_list(3)
    return found


def measure(
    device: torch.device,
    size: Size,
    only: Sequence[str] = PARTS,
    keep: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Everything, or ``only`` some parts, as it is written; ``keep`` gets it after every part."""
    found: dict[str, Any] = {
        "device": told(device),
        "reduced": size is REDUCED,
        "versions": {
            "python": platform.python_version(),
            **versions("torch", "numpy", "triton", "spikingjelly"),
        },
    }
    started = time.perf_counter()
    parts: dict[str, Callable[[], Any]] = {
        "neurons": lambda: neurons(device),
        "integers": lambda: integers(device, size),
        "random networks": lambda: random_networks(device, size),
        "waits": lambda: waits(device, size),
        "captured": lambda: captured(device, size),
        "training": lambda: training(device, size),
        "times": lambda: times(device, size),
        # the last one: torch may not recover
        "failed recording": lambda: failed_recording(device, size),
    }
    for name in (name for name in parts if name in only):
        began = time.perf_counter()
        try:
            found[name] = parts[name]()
        except Exception as error:  # a GPU is seldom at hand: the other parts are measured
            traceback.print_exc()
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)
        found["seconds"] = round(time.perf_counter() - started, 1)
        keep(found)
    return found


def agrees(found: dict[str, Any]) -> bool:
    """Whether every bit was equal, nothing waited, and training gave numbers, where measured."""
    measured = {name: found.get(name, {}) for name in PARTS}
    if any("failed" in part for part in measured.values()):
        return False
    equal = [*measured["neurons"].values(), *measured["integers"].values()]
    drawn = measured["random networks"]
    if drawn:
        equal += [drawn["differ"] == 0, drawn["networks"] > 0]
        equal.append(found.get("device") == "cpu" or drawn["by kernels"] > 0)
    trained = measured["training"]
    if trained:
        equal += [trained["finite"], trained["checkpoint is the same network on the CPU"]]
    equal += measured["failed recording"].values()
    for each in measured["captured"].values():
        # where single steps differ from themselves, bits say nothing
        alike = each["largest difference"] == 0 or each["of single steps, twice"] > 0
        equal.append(each["recorded"] is not False and alike)
    return all(equal) and not any(measured["waits"].values())


def table(found: dict[str, Any]) -> str:
    """The rows of the documentation; ``not measured`` where a part is missing or has failed."""

    def part(name: str) -> dict[str, Any]:
        values = found.get(name, {})
        return {} if "failed" in values else values

    def counted(values: list[bool], what: str) -> str:
        return f"{sum(values)} of {len(values)} {what}" if values else "not measured"

    def spread(values: list[float]) -> str:
        median, low, high = values
        return f"{median:.2f} ({low:.2f} to {high:.2f})"

    def ratios(key: str) -> str:
        steps = {
            name.removeprefix("training step, "): value[key]
            for name, value in part("times").items()
            if name.startswith("training step") and key in value
        }
        told = [f"{name}: {spread(value)}" for name, value in steps.items()]
        return "; ".join(told) or "not measured"

    compared = {name: same for name, same in part("integers").items() if "spike" not in name}
    bits = [*part("neurons").values(), *compared.values()]
    steps = [each for each in part("captured").values() if each["recorded"] is not None]
    graph = counted([each["largest difference"] == 0 for each in steps], "networks")
    if steps and (most := max(each["largest difference"] for each in steps)) > 0:
        graph += f", largest difference {most:.1e}"
    waiting = [bool(value) for value in part("waits").values() if value is not None]
    exact = part("times").get("exact engine", {})
    engine, graphs = (exact.get(f"neuroport / bare{how}") for how in ("", " as a CUDA graph"))
    kinds = {
        "counters of layers": "neuroport",
        "counters of neurons": "neuroport, counts of every neuron",
        "every message": "neuroport, every message",
    }
    copied = [f"{name} {exact['seconds'][way][0]:.4f}" for name, way in kinds.items() if exact]
    drawn = part("random networks")
    random = "not measured"
    if drawn:
        random = (
            f"{drawn['differ']} of {drawn['positions']:,} differ in {drawn['networks']} networks"
        )
    rows = [
        (
            "neurons, integer phase, exact engine: bits of the CPU",
            counted(bits, "comparisons"),
            "all",
        ),
        ("random networks on the exact engine: positions unlike the CPU's", random, "0"),
        ("training step: waits for the GPU", counted(waiting, "networks"), "none"),
        ("training step: a CUDA graph has the bits of single operations", graph, "all"),
        (
            "training step: SpikingJelly's fastest backend / neuroport",
            ratios("SpikingJelly / neuroport"),
            "at least 1.2",
        ),
        (
            "training step: neuroport's CUDA graph of SpikingJelly's network / neuroport",
            ratios("SpikingJelly's network as a CUDA graph / neuroport"),
            "",
        ),
        ("training step: neuroport / bare", ratios("neuroport / bare"), "at most 1.3"),
        (
            "training step: neuroport / bare as a CUDA graph",
            ratios("neuroport / bare as a CUDA graph"),
            "",
        ),
        ("exact engine / bare", spread(engine) if engine else "not measured", "at most 1.3"),
        (
            "exact engine / bare as a CUDA graph",
            spread(graphs) if graphs else "not measured",
            "",
        ),
        (
            "exact engine, seconds for 256 samples, by what is copied to the host",
            "; ".join(copied) or "not measured",
            "",
        ),
    ]
    lines = ["| measured | | goal |", "|---|---|--:|"]
    return "".join(f"{line}\n" for line in [*lines, *(f"| {' | '.join(r)} |" for r in rows)])


def page(text: str, found: dict[str, Any]) -> str:
    """The documentation with the rows of ``found``."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table(found) + END + rest.split(END)[1]


def main() -> int:
    """Measure and write; 0 where everything agrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--reduced", action="store_true", help="Small, for a CPU; no figures.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="Some parts.")
    parser.add_argument("--out", type=Path, help="JSON; docs/gpu.json, or none if reduced.")
    parser.add_argument(
        "--page", action="store_true", help="Only write the table, of docs/gpu.json."
    )
    asked = parser.parse_args()
    results, devices = ROOT / "docs" / "gpu.json", ROOT / "docs" / "devices.md"
    if asked.page:
        write_atomic(devices, page(devices.read_text(), read_json(results)).encode())
        return 0
    device = device_of("cpu" if asked.reduced and asked.device == "cuda" else asked.device)
    out = asked.out or (None if asked.reduced else results)

    def keep(found: dict[str, Any]) -> None:
        if out is not None:
            write_json(out, found)

    found = measure(device, REDUCED if asked.reduced else FULL, asked.only, keep)
    if out == results:
        write_atomic(devices, page(devices.read_text(), found).encode())
    good = agrees(found)
    print("everything agrees" if good else f"something differs: {found}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
