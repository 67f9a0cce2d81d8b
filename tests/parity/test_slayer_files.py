"""Files written by unmodified lava-dl: what SLAYER computed on the CPU is what the graph computes.

Blocks have ``delay_shift=False``: a graph's own time has no latency. Where a layer with a bias, or
a convolution, delays what it sends, the delay is the next layer's, so its own spikes come before
the delay; stock NetX runs neither of these two as SLAYER does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.netx_audit import repaired
from neuroport.graph.node import Input
from neuroport.netx import read

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

STEPS, SAMPLES = 24, 3
CUBA = {"threshold": 1.25, "current_decay": 0.25, "voltage_decay": 0.03}
RESONATOR = {"threshold": 0.4, "period": 8, "decay": 0.05}
ADAPTS = {"threshold": 0.4, "threshold_step": 0.2, "threshold_decay": 0.1}
ADAPTS |= {"refractory_decay": 0.3}
Blocks = list[Any]


def cuba(kind: str, *sizes: int, **options: Any) -> Any:
    params = {**CUBA, **options.pop("neuron", {})}
    block = getattr(slayer.block.cuba, kind)
    return block(params, *sizes, delay_shift=False, **options)


def convolutions() -> Blocks:
    return [
        cuba("Conv", 2, 6, 3, stride=2, weight_scale=4),
        cuba("Conv", 6, 8, 3, padding=1, weight_scale=3),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 8 * 5 * 5, 10, weight_scale=2),
    ]


def uneven_convolutions() -> Blocks:
    return [
        cuba("Conv", 2, 4, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1), weight_scale=4),
        cuba("Conv", 4, 6, (1, 3), groups=2, weight_scale=4),
    ]


def axonal_delays() -> Blocks:
    return [
        cuba("Dense", 20, 30, weight_scale=3, delay=True),
        cuba("Dense", 30, 12, weight_scale=3, delay=True),
    ]


def biases_and_delays() -> Blocks:
    norm = {"norm": slayer.neuron.norm.MeanOnlyBatchNorm}
    return [
        cuba("Dense", 20, 30, weight_scale=3, delay=True, neuron=norm),
        cuba("Dense", 30, 12, weight_scale=3),
    ]


def delayed_convolution() -> Blocks:
    return [
        cuba("Conv", 2, 6, 3, weight_scale=4, delay=True),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 6 * 9 * 9, 10),
    ]


def pooling() -> Blocks:
    """Sizes that the kernel does not divide, where SLAYER appends zeros, and one that it does."""
    return [
        cuba("Pool", 2, weight_scale=1.3),
        cuba("Conv", 2, 6, 3, padding=1, weight_scale=4),
        cuba("Pool", (3, 2), weight_scale=0.7),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 6 * 2 * 3, 10, weight_scale=4),
    ]


def decays_per_neuron() -> Blocks:
    own = {"shared_param": False, "requires_grad": True}
    return [
        cuba("Dense", 20, 30, weight_scale=3, neuron=own),
        cuba("Dense", 30, 12, weight_scale=3),
    ]


def recurrent() -> Blocks:
    return [
        cuba("Recurrent", 20, 16, weight_scale=3),
        cuba("Dense", 16, 12, weight_scale=3),
    ]


def resonators(kind: str, **own: Any) -> Blocks:
    dense = getattr(slayer.block, kind).Dense
    params = {**RESONATOR, **own}
    return [
        dense(dict(params), 20, 30, weight_scale=3, delay_shift=False),
        dense(dict(params), 30, 12, weight_scale=3, delay_shift=False),
    ]


def adaptive(kind: str = "Dense", **own: Any) -> Blocks:
    norm = slayer.neuron.norm.MeanOnlyBatchNorm
    params = {**CUBA, **ADAPTS, **own}
    first = getattr(slayer.block.alif, kind)
    return [
        first(dict(params), 20, 30, weight_scale=3, delay_shift=False),
        slayer.block.alif.Dense(
            {**params, "norm": norm}, 30, 12, weight_scale=3, delay_shift=False
        ),
    ]


IMAGE, ROW = (2, 11, 11), (20,)
CASES: dict[str, tuple[Callable[[], Blocks], tuple[int, ...]]] = {
    "convolutions": (convolutions, IMAGE),
    "uneven convolutions": (uneven_convolutions, IMAGE),
    "axonal delays": (axonal_delays, ROW),
    "biases and delays": (biases_and_delays, ROW),
    "delayed convolution": (delayed_convolution, IMAGE),
    "pooling": (pooling, IMAGE),
    "decays per neuron": (decays_per_neuron, ROW),
    "recurrent": (recurrent, ROW),
    "phase resonators": (lambda: resonators("rf"), ROW),
    "Izhikevich resonators": (lambda: resonators("rf_iz"), ROW),
    "adaptive": (adaptive, ROW),
    "adaptive with decays per neuron": (
        lambda: adaptive(shared_param=False, requires_grad=True, threshold_decay=[0.01, 0.6]),
        ROW,
    ),
    "adaptive recurrent": (lambda: adaptive("Recurrent"), ROW),
    "adaptive resonators": (lambda: resonators("adrf", **ADAPTS), ROW),
}


@torch.no_grad()  # type: ignore[misc]
def evaluate(blocks: Blocks, x: Any) -> list[Any]:
    """What every block sends, (N, *shape, T)."""
    sent = []
    for block in blocks:
        x = block.eval()(x)
        sent.append(x)
    return sent


def randomize(blocks: Blocks, rng: np.random.Generator) -> None:
    """Delays and biases, which SLAYER begins at 0."""
    for block in blocks:
        if getattr(block, "delay", None) is not None:
            delay = rng.integers(0, 7, block.delay.delay.shape)
            block.delay.delay.data = torch.tensor(delay).float()
        norm = getattr(getattr(block, "neuron", None), "norm", None)
        if norm is not None:
            mean = 2 * rng.integers(-10, 11, norm.running_mean.shape) / 64
            norm.running_mean.data = torch.tensor(mean).float()


def export(blocks: Blocks, path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for index, block in enumerate(blocks):
            block.export_hdf5(file.create_group(f"layer/{index}"))
    return path


@pytest.mark.parametrize("case", CASES)
def test_graph_of_a_file_that_slayer_wrote_sends_what_slayer_sent(
    case: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    make, shape = CASES[case]
    blocks = make()
    x = (torch.rand(SAMPLES, *shape, STEPS) < 0.3).float()
    if not case.endswith("recurrent"):  # its state would persist
        evaluate(blocks, x)  # gives everything its shape
    randomize(blocks, np.random.default_rng(2))
    sent = evaluate(blocks, x)
    path = export(blocks, tmp_path / "net.net")
    graph = read(path, steps=STEPS, frames=Input("input", shape, bits=1))
    frames = np.moveaxis(x.numpy().astype(np.int64), -1, 0)
    trace = port.run(graph, frames)
    compared = 0
    for index, (block, spikes) in enumerate(zip(blocks, sent, strict=True)):
        name = f"layer{index}"
        moved = block is not blocks[-1] and case in ("biases and delays", "delayed convolution")
        if name not in trace.messages or moved:
            continue
        found = np.moveaxis(trace[name], 0, -1)
        assert found.any()
        assert not found.all()
        np.testing.assert_array_equal(found, spikes.numpy().reshape(found.shape))
        compared += 1
    assert compared


@torch.no_grad()  # type: ignore[misc]
def test_pooling_with_a_delay_per_channel_is_repaired_into_what_slayer_sent(tmp_path: Path) -> None:
    torch.manual_seed(2)
    blocks = [
        cuba("Conv", 2, 6, 3, weight_scale=4),
        cuba("Pool", 3, weight_scale=0.7, delay=True),
        cuba("Conv", 6, 4, 3, weight_scale=4),
    ]
    x = (torch.rand(SAMPLES, *IMAGE, STEPS) < 0.3).float()
    evaluate(blocks, x)
    randomize(blocks, np.random.default_rng(2))
    want = evaluate(blocks, x)[-1]
    frames = np.moveaxis(x.numpy().astype(np.int64), -1, 0)
    graph = repaired(export(blocks, tmp_path / "net.net"), steps=STEPS)
    found = np.moveaxis(port.run(graph, frames)["layer2"], 0, -1)
    assert 0.05 < found.mean() < 0.95
    np.testing.assert_array_equal(found, want.numpy())


def test_graph_of_a_sigma_delta_file_sends_what_slayer_sent(tmp_path: Path) -> None:
    """Images on SLAYER's grid, x = 2k/64: frames are 64 x, messages are 4096 times SLAYER's."""
    torch.manual_seed(3)
    params = {"threshold": 0.1, "activation": torch.nn.functional.relu}
    block = slayer.block.sigma_delta
    blocks = [
        block.Input(dict(params)),
        block.Dense(dict(params), 20, 30, weight_scale=3),
        block.Dense(dict(params), 30, 12, weight_scale=3),
    ]
    steps = 2 * torch.randint(-16, 17, (1, 20, STEPS)) * (torch.rand(1, 20, STEPS) < 0.3)
    x = steps.cumsum(-1).clamp(-60, 60)
    sent = evaluate(blocks, x.float() / 64)
    graph = read(export(blocks, tmp_path / "net.net"), steps=STEPS)
    trace = port.run(graph, np.moveaxis(x.numpy(), -1, 0))
    for index, changes in enumerate(sent):
        found = np.moveaxis(trace[f"layer{index}"], 0, -1)
        assert np.count_nonzero(found) > 20
        np.testing.assert_array_equal(found, changes.numpy() * 4096)


def test_netx_truncates_resonators_that_a_graph_takes_as_they_are() -> None:
    """NetX goes through period and decay in floating point, and back by truncation."""
    from lava.lib.dl.slayer.neuron.rf import neuron_params

    sin, cos = np.meshgrid(np.arange(1, 4096, 37), np.arange(0, 4096, 37))
    inside = sin**2 + cos**2 < 4096**2
    file = {"sinDecay": sin[inside], "cosDecay": cos[inside], "vThMant": 1}
    params = neuron_params(file)
    turn, length = 2 * np.pi / params["period"], 1 - params["decay"]
    taken = [(length * part(turn) * 4096).astype(np.int32) for part in (np.sin, np.cos)]
    lost = (taken[0] != file["sinDecay"]) | (taken[1] != file["cosDecay"])
    assert 0.3 < lost.mean() < 0.5
    assert np.abs(taken[0] - file["sinDecay"]).max() == 1
