"""A small residual network, the same with one other weight, and the runs of both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout
from neuroport.lowering.latency import balance_latency
from neuroport.runs.trace import Trace

STEPS, SAMPLES = 5, 6


@dataclass(frozen=True)
class TwoRuns:
    """``other`` has another weight than ``graph``, at ``place`` of the synapse ``node``."""

    graph: Graph
    other: Graph
    frames: npt.NDArray[Any]
    want: Trace
    got: Trace
    labels: npt.NDArray[Any]
    node: str
    place: tuple[int, ...]


def two_runs(neuron: str = "second", synapse: str = "conv1") -> TwoRuns:
    """Networks and runs; the populations before ``neuron`` send the same in both."""
    random = np.random.default_rng(3)

    def weight(*shape: int) -> npt.NDArray[Any]:
        return random.integers(-4, 6, shape) * 2

    nodes: list[Node] = [
        Input("input", (1, 8, 8), bits=1),
        Conv("stem", ("input",), weight(4, 1, 3, 3), padding=(1, 1)),
        Lif("first", ("stem",), threshold=6),
        Conv(synapse, ("first",), weight(4, 4, 3, 3), exponent=1, padding=(1, 1)),
        Lif(neuron, (synapse,), threshold=60),
        Conv("conv2", (neuron,), weight(4, 4, 3, 3), padding=(1, 1)),
        Lif("last", ("conv2", "stem"), threshold=20),
        Dense("fc", ("last",), weight(3, 256)),
        Readout("out", ("fc",)),
    ]
    graph = balance_latency(Graph(nodes, steps=STEPS))
    frames = random.integers(0, 2, (STEPS, SAMPLES, 1, 8, 8))
    changed, place = graph[synapse], (2, 1, 0, 2)
    assert isinstance(changed, Conv)
    values = changed.weight.copy()
    values[place] += 2
    other = Graph(
        [replace(changed, weight=values) if n.name == synapse else n for n in graph],
        graph.steps,
        graph.interval,
    )
    want, got = Reference().run(graph, frames), Reference().run(other, frames)
    labels = want.predictions.copy()
    labels[1] = (labels[1] + 1) % 3
    return TwoRuns(graph, other, frames, want, got, labels, synapse, place)
