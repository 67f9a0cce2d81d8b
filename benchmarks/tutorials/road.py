"""Each tutorial's network from its first weights to Lava: trained, captured, exported, compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lava.lib.dl.slayer as slayer
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import neuroport as port
from benchmarks.tutorials import networks, samples
from neuroport.capture import slayer as capture
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Synapse

LONGEST = 4.0  # steps; hundreds of epochs let delays grow, a few steps of training do not
CHANGE = 4096  # thresholds of changes that Lava knows, per 1.0


Length = tuple[int, int, int]


@dataclass(frozen=True)
class Tutorial:
    """A network and how its tutorial trains it.

    Attributes:
        source: where its definition is.
        feed: x and target of ``samples`` and ``steps``.
        error: the tutorial's loss.
        whole, short: samples, their steps, and how many steps of the optimizer.
        captured: the trained network as it is captured.
        rate: of learning. ``options`` are those of SLAYER's Assistant.
    """

    source: str
    make: Callable[[], nn.Module]
    feed: Callable[[int, int], samples.Pair]
    error: Callable[[Tensor, Tensor], Tensor]
    whole: Length
    short: Length
    optimizer: Callable[..., Any] = torch.optim.Adam
    rate: float = 0.001
    captured: Callable[[Any], nn.Module] = nn.Module.eval
    options: dict[str, Any] = field(default_factory=dict)


def _last(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output[..., -1].flatten(), target[..., -1].flatten())


RATES = slayer.loss.SpikeRate(true_rate=0.2, false_rate=0.03, reduction="sum")
LIF = "gts/pilotnet_lif/image.npy"
SDNN = "gts/pilotnet_sdnn/input.npy"
TUTORIALS = {
    "PilotNet, sigma-delta": Tutorial(
        "slayer/pilotnet",
        networks.pilotnet_sdnn,
        lambda n, steps: samples.drive(SDNN, n, steps),
        lambda output, target: F.mse_loss(output.flatten(), target.flatten()),
        whole=(8, 16, 8),
        short=(3, 16, 8),
        optimizer=torch.optim.RAdam,
        options={"count_log": True, "lam": 0.01},
    ),
    "PilotNet, spiking": Tutorial(
        "netx/pilotnet_snn",
        networks.pilotnet_snn,
        lambda n, steps: samples.drive(LIF, n, steps),
        _last,
        whole=(8, 16, 20),
        short=(2, 6, 20),
    ),
    "Oxford": Tutorial(
        "slayer/oxford",
        networks.oxford,
        samples.oxford,
        slayer.loss.SpikeTime(time_constant=2, filter_order=2),
        whole=(3, 2000, 3),
        short=(2, 300, 3),
    ),
    "N-MNIST, dense": Tutorial(
        "slayer/nmnist",
        networks.nmnist,
        lambda n, steps: samples.saccades(n, steps, flat=True),
        RATES,
        whole=(4, 300, 3),
        short=(2, 60, 3),
        options={"classifier": slayer.classifier.Rate.predict},
    ),
    "N-MNIST, convolutions": Tutorial(
        "slayer/nmnist",
        networks.nmnist_conv,
        lambda n, steps: samples.saccades(n, steps, flat=False),
        RATES,
        whole=(2, 300, 2),
        short=(2, 30, 1),
        options={"classifier": slayer.classifier.Rate.predict},
    ),
    "MNIST, bootstrap": Tutorial(
        "bootstrap/mnist",
        networks.mnist,
        samples.digits,
        lambda output, target: F.cross_entropy(output.mean(-1), target),
        whole=(20, 16, 8),
        short=(3, 8, 8),
        captured=networks.as_slayer,
    ),
    "XOR": Tutorial(
        "slayer/xor_regression",
        networks.xor,
        lambda n, steps: samples.xor(steps),
        _last,
        whole=(4, 10, 20),
        short=(4, 10, 20),
        optimizer=torch.optim.AdamW,
        options={"count_log": True},
    ),
}


def train(tutorial: Tutorial, x: Tensor, target: Tensor, steps: int) -> tuple[nn.Module, Graph]:
    """A network after some steps of SLAYER's Assistant, and its graph before them.

    Delays begin anywhere below ``LONGEST``. Learned thresholds of sigma-delta neurons are rounded
    at the end, as ``port.quantize`` asks for.
    """
    torch.manual_seed(7)
    net = tutorial.make()
    net(x[:1])  # SLAYER draws its sizes and delays in its first pass
    for module in net.modules():
        if isinstance(module, slayer.axon.Delay):
            module.delay.data = LONGEST * torch.rand(module.delay.shape)
    untrained = tutorial.captured(net)
    first = port.quantize(untrained, capture.frames(untrained, x))
    optimizer = tutorial.optimizer(net.parameters(), lr=tutorial.rate)
    stats = slayer.utils.LearningStats()
    assistant = slayer.utils.Assistant(net, tutorial.error, optimizer, stats, **tutorial.options)
    for _ in range(steps):
        assistant.train(x, target)
    for module in net.modules():
        if isinstance(module, slayer.axon.Delta):
            module.threshold.data.mul_(CHANGE).round_().div_(CHANGE)
    return tutorial.captured(net), first


def integers(graph: Graph) -> npt.NDArray[np.int64]:
    """All weights and delays of synapses."""
    parts = []
    for node in graph:
        if isinstance(node, Synapse):
            parts.append(node.weight.reshape(-1))
        if isinstance(node, Dense):
            parts.append(np.broadcast_to(node.delay, node.weight.shape).reshape(-1))
    return np.concatenate(parts)


def travel(name: str, folder: Path, *, whole: bool = False) -> dict[str, Any]:
    """The whole road of one network: what was compared, and how many positions differ."""
    tutorial = TUTORIALS[name]
    count, steps, training = tutorial.whole if whole else tutorial.short
    x, target = tutorial.feed(count, steps)
    started = time.perf_counter()
    net, first = train(tutorial, x, target, training)
    trained = time.perf_counter()
    frames = capture.frames(net, x)
    graph = port.quantize(net, frames)
    captured = time.perf_counter()
    path = port.export(port.lower(graph), folder / "tutorial.net")
    want = capture.record(net, x)
    running = time.perf_counter()
    got = port.run(path, frames, on="lava-cpu")
    ended = time.perf_counter()
    outcome = port.compare(want, got)
    weights = integers(graph)
    moved = np.count_nonzero(weights != integers(first))
    silent = [name for name, messages in want.messages.items() if not messages.any()]
    return {
        "source": tutorial.source,
        "input": list(x.shape[1:-1]),
        "samples": count,
        "steps": steps,
        "training_steps": training,
        "integers": weights.size,
        "integers_moved": int(moved),
        "populations": outcome.populations,
        "silent": silent,
        "missing": [*outcome.only_want, *outcome.missing],
        "positions": outcome.positions,
        "spikes": outcome.spikes,
        "differ": outcome.differing,
        "seconds": {
            "training": round(trained - started, 1),
            "capture": round(captured - trained, 1),
            "lava-cpu": round(ended - running, 1),
        },
    }
