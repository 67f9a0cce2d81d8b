"""What the compiled kernels compute on emulated processors, against the reference."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from neuroport.backends import compiled_network
from neuroport.engines.fast import Fast
from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Input, Relay
from neuroport.kernels.compilation import HERE
from neuroport.targets.lowering import lower
from tests.arm.emulated import FOLDER, CodePath, Emulated, compiled, emulate, emulating
from tests.arm.layers import layers
from tests.properties.networks import network

TRAINING = ("neuron.c", "normed.c")
LAYER_BITS = (1, 8, 12)  # of the messages of the layer whose instructions are counted


def compare(
    libraries: Sequence[Emulated], graph: Graph, frames: np.ndarray
) -> dict[str, Counter[str]]:
    """Count, by path, positions that were compared with the reference, and those that differ."""
    counts: dict[str, Counter[str]] = {library.name: Counter() for library in libraries}
    want = Reference().run(graph, frames).messages
    times = ("ideal", "chip") if graph.balanced else ("ideal",)
    for library, time_model in product(libraries, times):
        with emulating(library):
            assert compiled_network.whole(graph, time_model) is not None
            got = Fast().run(graph, frames, time_model=time_model).messages
        assert got.keys() == want.keys()
        for name, messages in want.items():
            assert got[name].shape == messages.shape
            counts[library.name]["compared"] += messages.size
            counts[library.name]["differing"] += int(np.count_nonzero(got[name] != messages))
    return counts


def cases(
    of_layers: Iterable[int], of_networks: Iterable[int]
) -> Iterable[tuple[Graph, np.ndarray]]:
    """Networks of these numbers: of a few layers, and residual ones that were lowered."""
    yield from map(layers, of_layers)
    for seed in of_networks:
        case = network(seed)
        graph = lower(case.graph)
        if compiled_network.fits(graph):
            yield graph, case.frames


def layer(bits: int) -> tuple[Graph, np.ndarray]:
    """A layer of 32 channels, 3 x 3, and frames of this many bits for it."""
    random = np.random.default_rng(bits)
    weight = 2 * random.integers(-127, 128, (32, 32, 3, 3))
    conv = Conv("synapse", ("frames",), weight, 0, (1, 1), (1, 1))
    frames = Input("frames", (32, 8, 8), bits, False)
    graph = Graph([frames, conv, Relay("out", ("synapse",), 8)], 2)
    return graph, random.integers(0, 1 << bits, (2, 1, 32, 8, 8))


def instructions_per_product(library: Emulated) -> dict[str, float]:
    """Instructions of that layer by the bits of its messages, per product of message and weight."""
    found = {}
    for bits in LAYER_BITS:
        graph, frames = layer(bits)
        assert not compare([library], graph, frames)[library.name]["differing"]
        products = frames.size * 32 * 3 * 3
        found[f"{bits} bits"] = round(library.instructions() / products, 3)
    return found


def training(path: CodePath, folder: Path) -> bytes:
    """Return what all kernels of training compute for drawn numbers on an emulated processor."""
    program = compiled("training_calls.c", path.flags, folder / f"training-{path.cpu}", *TRAINING)
    return emulate(path.cpu, program)


def training_here(folder: Path) -> bytes:
    """Return the same of this processor, without its multiply-add."""
    out = folder / "training"
    sources = [FOLDER / "training_calls.c", *(HERE / name for name in TRAINING)]
    flags = ["-O1", "-ffp-contract=off", "-fopenmp"]
    subprocess.run(["cc", *flags, *sources, "-o", out, "-lm"], check=True)
    return subprocess.run([out], check=True, capture_output=True).stdout
