"""Lava's CPU simulator: the stock road, the graph of stock processes, fused processes, workers.

The stock road of a residual network is a graph of Lava's own processes, ``Conv`` among them
(:mod:`benchmarks.speed.straight`); that of lava-dl's PilotNet is unmodified NetX. A way's figure is
its seconds per sample while samples follow each other, starting and stopping left out; ours record
every population, NetX records one layer. What is compared sends the same messages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

import neuroport as port
from benchmarks.speed.figure import Figure
from benchmarks.speed.timing import Turns
from benchmarks.speed.whole import ROOT, ZOO
from neuroport.backends.lava_cpu import engine
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace
from tests.golden import shipped

ROUNDS = 7  # at most: a turn takes half a minute
SAMPLES = 8
MANY_SAMPLES = 320  # workers start one after the other: what they do side by side is to be longer
STRAIGHT_SAMPLES = 2  # Lava's convolutions are slow, and as slow for every sample
LAYER = 5  # of PilotNet, after its five convolutions: small, and recorded in the stock road
DEADLINE = 3600.0

Way = Callable[[], float]  # runs, and tells seconds per sample


def seconds_per_sample(graph: Graph, trace: Trace) -> float:
    """While samples follow each other: a step's seconds times the steps between two samples."""
    workers = trace.provenance["workers"]
    share = -(-trace.samples // workers)
    steps = (share - 1) * graph.interval + graph.steps + graph.depth
    each: float = trace.provenance["phases"]["run"] / steps * graph.interval
    return each / workers


def our_way(graph: Graph, frames: np.ndarray, want: Trace, **options: Any) -> Way:
    """A run of ours, compared with ``want`` as far as its samples go."""

    def way() -> float:
        got = port.run(graph, frames, on="lava-cpu", deadline=DEADLINE, **options)
        for name, messages in want.messages.items():
            if not np.array_equal(got[name], messages[:, : frames.shape[1]]):
                raise AssertionError(f"{name} differs with {options}")
        return seconds_per_sample(graph, got)

    return way


def by(worker: str, way: Way) -> Way:
    """The same run in the child that another module of this folder is."""

    def changed() -> float:
        other = partial(engine.supervise, worker=f"benchmarks.speed.{worker}")
        # the child finds neuroport by its place, and the worker in this folder's root
        root = {"PYTHONPATH": str(ROOT)}
        with patch.object(engine, "supervise", other), patch.dict(os.environ, root):
            return way()

    return changed


def netx(graph: Graph, samples: int, want: Trace) -> Way:
    """Unmodified NetX on PilotNet, in a process of its own."""

    def way() -> float:
        command = [sys.executable, "-m", "benchmarks.speed.lava", str(graph.steps), str(samples)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
        told = json.loads(done.stdout.splitlines()[-1])
        spikes = int(want[f"layer{LAYER}"][:, 0].sum())
        if told["spikes"] != spikes:
            raise AssertionError(f"NetX sent {told['spikes']} spikes, the network {spikes}")
        return float(told["seconds"])

    return way


def pilotnet_by_netx(steps: int, samples: int) -> dict[str, Any]:
    """Seconds per sample of NetX, and the spikes of a layer in the first sample."""
    from lava.lib.dl.netx import hdf5
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer

    path = shipped.net("gts/pilotnet_lif/network.net")
    network = hdf5.Network(net_config=str(path), reset_interval=steps)
    network.in_layer.neuron.bias_mant.init = np.load(shipped.net("gts/pilotnet_lif/image.npy"))
    outlet = network.layers[LAYER].out
    sink = RingBuffer(shape=outlet.shape, buffer=LAYER + steps)
    outlet.connect(sink.a_in)
    try:
        first = LAYER + steps
        network.run(RunSteps(num_steps=first), Loihi2SimCfg(select_tag="fixed_pt"))
        spikes = int(sink.data.get()[..., LAYER:].sum())
        started = time.perf_counter()
        network.run(RunSteps(num_steps=steps * samples), Loihi2SimCfg(select_tag="fixed_pt"))
        seconds = (time.perf_counter() - started) / samples
    finally:
        network.stop()
    return {"seconds": seconds, "spikes": spikes}


def turns_of(ways: dict[str, Way], rounds: int) -> Turns:
    """Every way once a round, beginning with another one each round."""
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(ways[name]())
    return Turns(seconds)


def residual(rounds: int) -> list[Figure]:
    """MS-ResNet-20 on digits."""
    graph = port.read(ZOO / "network.net")
    digits = np.load(ZOO / "frames.npy")
    frames = digits[:, np.arange(MANY_SAMPLES) % digits.shape[1]]
    want = port.run(graph, frames)
    ways = {
        "straight": by("straight", our_way(graph, frames[:, :STRAIGHT_SAMPLES], want)),
        "stock": our_way(graph, frames[:, :SAMPLES], want),
        "fused": our_way(graph, frames, want, processes="fused"),
        "avx2": by("avx2", our_way(graph, frames, want, processes="fused")),
        "two": our_way(graph, frames, want, processes="fused", workers=2),
    }
    own = "MS-ResNet-20 on Lava CPU"
    turns = turns_of(ways, rounds)
    return [
        Figure(f"{own}: seconds per sample, fused", turns.time("fused"), "s", 0.010),
        Figure(f"{own}: with kernels held to AVX2", turns.time("avx2"), "s", 0.010),
        Figure(f"{own}: with Lava's Conv / fused", turns.ratio("straight", "fused"), "x", 60, True),
        Figure(f"{own}: with Lava's Sparse / fused", turns.ratio("stock", "fused"), "x"),
        Figure(f"{own}: one worker / two", turns.ratio("fused", "two"), "x", 1.7, True),
    ]


def pilotnet(rounds: int, samples: int = 4) -> list[Figure]:
    """lava-dl's trained PilotNet, if its wheel is installed."""
    if shipped.folder() is None:
        return []
    golden = shipped.pilotnet_lif()
    graph = golden.graph
    frames = np.repeat(golden.frames[:, :1], samples, 1)
    want = port.run(graph, frames)
    ways = {
        "netx": netx(graph, 1, want),
        "stock": our_way(graph, frames, want),
        "fused": our_way(graph, frames, want, processes="fused"),
    }
    own = "PilotNet LIF on Lava CPU"
    turns = turns_of(ways, rounds)
    return [
        Figure(f"{own}: seconds per sample, fused", turns.time("fused"), "s"),
        Figure(f"{own}: NetX / fused", turns.ratio("netx", "fused"), "x", 5, True),
        Figure(f"{own}: with Lava's Sparse / fused", turns.ratio("stock", "fused"), "x"),
    ]


def measure(rounds: int) -> list[Figure]:
    """Both networks."""
    few = min(rounds, ROUNDS)
    return [*residual(few), *pilotnet(few)]


if __name__ == "__main__":
    print(json.dumps(pilotnet_by_netx(*map(int, sys.argv[1:]))))
