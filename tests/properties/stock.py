"""A chain of NetX layers seen as a graph again: what a stock file says, without NetX."""

from __future__ import annotations

import numpy as np

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
