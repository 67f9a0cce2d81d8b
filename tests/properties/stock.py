"""Stock files two ways: their layers seen as a graph again, and unmodified NetX running them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout
from neuroport.lowering.chain import Layer
from tests.properties.interpreter import interpret


def chain_messages(
    layers: list[Layer], lowered: Graph, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """Messages of every population of ``lowered``, from the layers alone, in ideal time.

    Each layer is a synapse and a spiking population; what a readout became must never fire, and
    its potential is that of an integrator on the same current.
    """
    inlet = lowered.input
    nodes: list[Node] = [Input("layer", inlet.shape, inlet.bits, inlet.signed)]
    for i, layer in enumerate(layers):
        source = "layer" if i == 0 else f"layer{i - 1}"
        if layer.weight.ndim == 4:
            nodes.append(
                Conv(
                    f"synapse{i}",
                    (source,),
                    layer.weight,
                    stride=layer.stride,
                    padding=layer.padding,
                    groups=layer.groups,
                )
            )
        else:
            nodes.append(Dense(f"synapse{i}", (source,), layer.weight))
        nodes.append(
            Lif(
                f"layer{i}",
                (f"synapse{i}",),
                layer.threshold,
                layer.current_decay,
                layer.voltage_decay,
                layer.bias,
            )
        )
        nodes.append(Readout(f"potential{i}", (f"synapse{i}",), layer.bias))
    values, _ = interpret(Graph(nodes, lowered.steps, lowered.interval), frames)
    found = {}
    for i, layer in enumerate(layers):
        for name, (start, stop) in layer.members.items():
            spikes = values[f"layer{i}"][:, :, start:stop]
            if isinstance(lowered[name], Readout):
                assert not spikes.any(), f"the readout {name} fires in the chain"
                found[name] = values[f"potential{i}"][:, :, start:stop]
            else:
                found[name] = spikes
    return found


STOCK = Path(__file__).resolve().parents[2] / "deploy" / "lava_cpu" / "run_stock.py"


def netx_messages(layers: list[Layer], lowered: Graph, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Messages of every population of ``lowered``, from lava-dl's own NetX in its own process."""
    with tempfile.TemporaryDirectory(prefix="neuroport-stock-") as name:
        folder = Path(name)
        port.export(lowered, folder / "chain.net")
        np.save(folder / "frames.npy", frames)
        command = [sys.executable, STOCK, *(folder / n for n in ("chain.net", "frames.npy"))]
        done = subprocess.run(
            [*command, folder / "out.npz"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode != 0:
            raise RuntimeError(f"stock NetX failed: {done.stderr[-2000:]}")
        with np.load(folder / "out.npz") as out:
            values = {key: out[key] for key in out.files}
    steps, samples = frames.shape[:2]
    found = {}
    for i, layer in enumerate(layers):
        for name, (start, stop) in layer.members.items():
            readout = isinstance(lowered[name], Readout)
            rows = values["potential" if readout else f"layer{i}"]
            rows = rows.reshape(len(rows), *layer.shape)[:, start:stop]
            first = lowered.facts(name).skew
            starts = [first + n * lowered.interval for n in range(samples)]
            found[name] = np.stack([rows[at : at + steps] for at in starts], axis=1)
    return found
