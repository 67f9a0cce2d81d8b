"""The networks with ground truth that lava-dl's wheel ships, read into graphs, with their truth.

Nothing is copied from the wheel: files are read where it is installed. Lava's arrays are
(W, H, C, T); here everything is (T, N, C, H, W). In Lava a layer answers one step later than the
layer before it, in a graph's own time at once: truth is cut to begin with each layer's first step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Delta,
    Dense,
    Input,
    Lif,
    Node,
    ResonateFire,
    Sigma,
    SigmaDelta,
)
from neuroport.netx import read

Array = npt.NDArray[np.int64]


def folder() -> Path | None:
    """Where lava-dl's tests are installed, or None."""
    try:
        files = distribution("lava-dl").files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.match("lib/dl/netx/tiny.net"):
            return Path(str(file.locate())).parent
    return None


@dataclass(frozen=True, eq=False)
class Golden:
    """A network, what goes in, and what the wheel says comes out.

    ``truth`` maps populations to messages (rows, *shape), one sample after the other, from the
    first step of the first sample on; ``currents`` maps synapses to what they deliver, likewise.
    """

    graph: Graph
    frames: Array
    truth: dict[str, Array]
    currents: dict[str, Array] = field(default_factory=dict)


def load(name: str) -> Array:
    """One of the shipped arrays, time first: (T, C, H, W), (T, N) or (...)."""
    base = folder()
    assert base is not None
    array = np.load(base / "gts" / f"{name}.npy")
    assert np.array_equal(array, np.round(array))
    whole = array.astype(np.int64)
    return np.ascontiguousarray(whole.T)  # (W, H, C, T) -> (T, C, H, W); (N, T) -> (T, N)


def net(name: str) -> Path:
    base = folder()
    assert base is not None
    return base / name


def held(frame: Array, steps: int, samples: int = 1) -> Array:
    """One frame, the same at every step of every sample."""
    return np.broadcast_to(frame, (steps, samples, *frame.shape))


# -- CUBA --------------------------------------------------------------------------------------


def tinynet(steps: int = 15) -> Golden:
    """Two convolutions on an image that drives LIF neurons; all layers, all 15 steps.

    The shipped arrays hold one step more, before the first.
    """

    def layer(name: str) -> Array:
        array = np.load(net(f"gts/tinynet/{name}.npy"))[0]  # (C, H, W, T)
        return np.moveaxis(array, -1, 0)[1 : steps + 1].astype(np.int64)

    return Golden(
        read(net("tiny.net"), steps=steps),
        held(load("tinynet/input_bias"), steps),
        {"layer0": layer("input"), "layer1": layer("layer1"), "layer2": layer("output")},
        {"layer1.synapse": layer("current")},
    )


PILOTNET_LAYERS = {
    "layer0": "input",
    "layer1": "conv-0",
    "layer2": "conv-1",
    "layer3": "conv-2",
    "layer4": "conv-3",
    "layer5": "conv-4",
    "layer7": "fc-0",
    "layer8": "fc-1",
    "layer9": "fc-2",
}


def pilotnet_lif(rows: int = 24) -> Golden:
    """Five convolutions and four dense layers, 24 steps of samples that last 17.

    Left out, because the wheel contradicts itself or the graph has no such steps:

    * the first ``l`` steps of layer l, before anything arrives: on the chip that recorded the
      truth, biases already ran (22,176 spikes in conv-0's first step); here a layer begins with
      its sample;
    * ``fc-3``: another recording. At step 11 the shipped spikes of fc-2 and the shipped weights
      make its current 640, the shipped array says -5376;
    * ``*-v``: the chip's code for "just fired" (128) stands where Lava has 0;
    * ``input-s``: the input of samples that last 16; checked by :func:`pilotnet_input`.
    """
    steps = 17
    graph = read(net("gts/pilotnet_lif/network.net"), steps=steps)
    samples = -(-rows // steps)
    truth, currents = {}, {}
    for late, (name, file) in enumerate(PILOTNET_LAYERS.items()):
        truth[name] = load(f"pilotnet_lif/{file}")[late:rows]
        if late:
            # iDecay is 4096: u is the current of the step, shifted by 6
            u = load(f"pilotnet_lif/{file}-u")[late:rows]
            assert not np.any(u & 63)
            currents[f"{name}.synapse"] = u >> 6
    return Golden(graph, held(load("pilotnet_lif/image"), steps, samples), truth, currents)


def pilotnet_input(rows: int = 24) -> Golden:
    """The input layer alone, in samples that last 16 steps."""
    graph = read(net("gts/pilotnet_lif/network.net"), steps=16)
    first = Graph(graph.nodes[:3], 16)
    image = held(load("pilotnet_lif/image"), 16, -(-rows // 16))
    return Golden(first, image, {"layer0": load("pilotnet_lif/input-s")[:rows]})


def ntidigits(steps: int = 3000) -> Golden:
    """Three dense layers, two with axonal delays of up to 62 steps; layer 4 is the last spiking.

    The shipped output is four steps late: three synapses, and one of the recording.
    """
    frames = load("ntidigits/input")[: steps - 4].reshape(-1, 1, 1, 1, 64)
    graph = read(net("gts/ntidigits/ntidigits.net"), steps=len(frames))
    return Golden(graph, frames, {"layer4": load("ntidigits/output")[4:steps]})


def dense(steps: int = 2000) -> Golden:
    """One dense layer of LIF neurons."""
    nodes = [
        Input("input", (200,), bits=1),
        Dense("synapse", ("input",), np.load(net("gts/dense/weight.npy"))),
        Lif("neurons", ("synapse",), 6, current_decay=4096, voltage_decay=415),
    ]
    frames = load("dense/in")[: steps - 1, None]
    # the synapse takes a step in Lava
    return Golden(Graph(nodes, steps - 1), frames, {"neurons": load("dense/out")[1:steps]})


# -- resonate and fire -------------------------------------------------------------------------


def resonator(period: float, alpha: float) -> dict[str, int]:
    """``sin`` and ``cos`` as Lava's RF process computes and truncates them."""
    turn = 2 * np.pi / period
    return {
        "sin": int((1 - alpha) * np.sin(turn) * 4096),
        "cos": int((1 - alpha) * np.cos(turn) * 4096),
    }


def complex_dense(steps: int = 2000) -> Golden:
    """One dense layer of resonators with complex weights."""
    folder = "gts/complex_dense"
    parts = [np.load(net(f"{folder}/{name}.npy")) for name in ("weight_r", "weight_img")]
    nodes = [
        Input("input", (200,), bits=1),
        Dense("synapse", ("input",), np.concatenate(parts).astype(np.int64)),
        ResonateFire("neurons", ("synapse",), 25 << 6, **resonator(11, 0.05)),
    ]
    frames = load("complex_dense/in")[: steps - 1, None]
    return Golden(Graph(nodes, steps - 1), frames, {"neurons": load("complex_dense/out")[1:steps]})


def complex_input(steps: int = 2000) -> Golden:
    """Izhikevich resonators, driven by the same spikes in both dendrites; threshold 1.1."""
    nodes = [
        Input("input", (200,), bits=1),
        Dense("synapse", ("input",), np.tile(np.eye(200, dtype=np.int64), (2, 1))),
        ResonateFire("neurons", ("synapse",), int(1.1 * 64), **resonator(7, 0.05), izhikevich=True),
    ]
    frames = load("complex_dense/in")[:steps, None]
    return Golden(Graph(nodes, steps), frames, {"neurons": load("complex_dense/current")[:steps]})


# -- sigma-delta -------------------------------------------------------------------------------


def pilotnet_sdnn(steps: int = 20) -> Golden:
    """Eight layers of sigma-delta neurons: output over nine steps, sums of two layers over 20.

    The truth needs NetX's own time. NetX does not reset sigma-delta neurons, so in the shipped runs
    the biases of all layers started together, l steps before the image reached layer l; what they
    sent passed thresholds and lost low bits, and the sums never forget it. Aligned layers end
    elsewhere: the output is -31026 in the wheel and 0 when every layer begins with its sample.
    """
    graph = read(net("gts/pilotnet_sdnn/network.net"), steps=steps, free_running=True)
    truth = {
        "layer0": load("pilotnet_sdnn/act0")[:steps],
        "layer1.sum": load("pilotnet_sdnn/sigma1")[:steps],
        "layer2.sum": load("pilotnet_sdnn/sigma2")[:steps],
        "layer9": load("pilotnet_sdnn/output")[:steps],
    }
    image = load("pilotnet_sdnn/input")[0]
    return Golden(with_sums(graph), held(image, steps), truth)


def pilotnet_sdnn_square(steps: int = 20) -> Golden:
    """Its convolutions on a square of the same image: sums of four layers over 20 steps."""
    graph = read(net("gts/pilotnet_sdnn/square_network.net"), steps=steps, free_running=True)
    truth = {f"layer{i}.sum": load(f"pilotnet_sdnn/sigma{i}_square")[:steps] for i in (1, 2, 3, 4)}
    image = load("pilotnet_sdnn/input")[0][:, :, :33]
    return Golden(with_sums(graph), held(image, steps), truth)


def with_sums(graph: Graph) -> Graph:
    """The graph with a readout beside each sigma-delta population: the sum inside it."""
    nodes: list[Node] = []
    for node in graph:
        nodes.append(node)
        if isinstance(node, SigmaDelta):
            nodes.append(Sigma(f"{node.name}.sum", node.inputs))
    return Graph(nodes, graph.steps)


def sdnn_input(steps: int = 15) -> Golden:
    """A delta encoder on an image that swings like a sine."""
    wave = np.load(net("gts/tinynet_sdnn/input_bias.npy"))[..., None]
    wave = (wave * np.sin(2 * np.pi * np.arange(15) / 15)).astype(np.int64)
    nodes = [
        Input("input", (3, 16, 16), bits=8, signed=True),
        Conv("synapse", ("input",), np.ones((3, 1, 1, 1), np.int64), groups=3),
        Delta("neurons", ("synapse",), 20),
    ]
    truth = {"neurons": load("tinynet_sdnn/input")[:steps]}
    return Golden(Graph(nodes, steps), wave.T[:steps, None], truth)


def sdnn_conv() -> Golden:
    """A convolution of sigma-delta neurons: the wheel's test runs one step, the biases' answer."""
    kernel = np.load(net("gts/tinynet_sdnn/layer1_kernel.npy"))  # (O, W, H, I), flipped
    weight = kernel.transpose(0, 3, 2, 1)[:, :, ::-1, ::-1]
    bias = np.load(net("gts/tinynet_sdnn/layer1_bias.npy"))
    nodes = [
        Input("input", (3, 16, 16), bits=13, signed=True),
        Conv("synapse", ("input",), weight, stride=(2, 2)),
        SigmaDelta("neurons", ("synapse",), 20, bias),
    ]
    truth = load("tinynet_sdnn/layer1")
    assert not np.any(truth[1:])
    return Golden(Graph(nodes, 1), np.zeros((1, 1, 3, 16, 16), np.int64), {"neurons": truth[:1]})


def sdnn_dense() -> Golden:
    """A dense layer that sums what it receives.

    The wheel's test drives it with changes but says nothing of graded input, so Lava took every
    change for a spike: that is what its truth holds.
    """
    nodes = [
        Input("input", (864,), bits=1),
        Dense("synapse", ("input",), np.load(net("gts/tinynet_sdnn/layer2_weight.npy"))),
        Sigma("neurons", ("synapse",)),
    ]
    changes = np.load(net("gts/tinynet_sdnn/layer1.npy")).reshape(-1, 16).T
    truth = load("tinynet_sdnn/layer2")
    assert not np.any(truth[0])  # the synapse takes a step in Lava
    spikes = (changes[:15, None] != 0).astype(np.int64)
    return Golden(Graph(nodes, 15), spikes, {"neurons": truth[1:]})


GOLDENS: dict[str, Callable[[], Golden]] = {
    "tinynet": tinynet,
    "pilotnet_lif": pilotnet_lif,
    "pilotnet_lif input": pilotnet_input,
    "ntidigits": ntidigits,
    "dense": dense,
    "complex_dense": complex_dense,
    "complex_dense input": complex_input,
    "pilotnet_sdnn": pilotnet_sdnn,
    "pilotnet_sdnn square": pilotnet_sdnn_square,
    "tinynet_sdnn input": sdnn_input,
    "tinynet_sdnn conv": sdnn_conv,
    "tinynet_sdnn dense": sdnn_dense,
}

# a prefix for engines that take long
SHORT: dict[str, Callable[[], Golden]] = {
    **GOLDENS,
    "pilotnet_lif": lambda: pilotnet_lif(rows=10),
    "pilotnet_lif input": lambda: pilotnet_input(rows=10),
    "ntidigits": lambda: ntidigits(300),
    "pilotnet_sdnn": lambda: pilotnet_sdnn(9),
    "pilotnet_sdnn square": lambda: pilotnet_sdnn_square(9),
    "dense": lambda: dense(600),
    "complex_dense": lambda: complex_dense(600),
    "complex_dense input": lambda: complex_input(600),
}
