"""Write a chain of layers as NetX reads it.

Unmodified lava-dl 0.6 runs such a file with equal spikes, if it gets the arguments in the attribute
``netx`` of the group ``layer`` (JSON) and one sample per ``reset_interval`` steps.
"""

from __future__ import annotations

import json

import h5py
import numpy as np

from neuroport.errors import IllegalError
from neuroport.graph.array_storage import plain
from neuroport.graph.graph import Graph
from neuroport.graph.node import IntArray
from neuroport.lowering.layer_chain import ChainLayer, chain
from neuroport.netx import schema


def fill(graph: Graph, file: h5py.File) -> None:
    """Write the group ``layer``: the network as a chain, or else a layer that NetX refuses."""
    group = file.create_group(schema.LAYERS)
    try:
        layers = chain(graph)
    except IllegalError as error:
        group.attrs["refused"] = error.message
        _type(group.create_group("0"), schema.REFUSED_TYPE)
        return
    arguments = {
        "reset_interval": graph.interval,
        "reset_offset": 1,
        # NetX takes 0 for spikes and anything else for integers
        "input_message_bits": 0 if _spikes(graph) else graph.input.bits,
    }
    group.attrs["netx"] = json.dumps(arguments)
    group.attrs["members"] = json.dumps([layer.members for layer in layers])
    shape = graph.input.shape
    entry = group.create_group("0")
    _type(entry, "input")
    entry["shape"] = np.array(shape, np.int64)
    for layer in layers:
        if len(shape) == 3 and len(layer.shape) == 1:
            entry = group.create_group(str(len(group)))
            _type(entry, "flatten")
            entry["shape"] = np.array([int(np.prod(shape)), 1, 1], np.int64)
        _layer(group.create_group(str(len(group))), layer, shape)
        shape = layer.shape


def _spikes(graph: Graph) -> bool:
    return graph.input.bits == 1 and not graph.input.signed


def _layer(entry: h5py.Group, layer: ChainLayer, source: tuple[int, ...]) -> None:
    entry["shape"] = np.array(layer.shape, np.int64)
    if len(layer.shape) == 3:
        _type(entry, "conv")
        for name, value in (
            ("inChannels", source[0]),
            ("outChannels", layer.shape[0]),
            ("groups", layer.groups),
            ("kernelSize", layer.packed.shape[2:]),
            ("stride", layer.stride),
            ("padding", layer.padding),
            ("dilation", (1, 1)),
        ):
            entry[name] = np.array(value, np.int64)
    else:
        _type(entry, "dense")
        entry["inFeatures"] = np.int64(layer.packed.shape[1])
        entry["outFeatures"] = np.int64(layer.shape[0])
    entry["weight"] = plain(layer.weight)  # whatever the type, NetX reads it ``astype(int)``
    entry["bias"] = plain(layer.bias)
    neuron = entry.create_group(schema.NEURON)
    neuron[schema.TYPE] = np.array([b"CUBA"])
    neuron["iDecay"] = _one(layer.current_decay)
    neuron["vDecay"] = _one(layer.voltage_decay)
    neuron["vThMant"] = _one(layer.threshold)
    neuron["refDelay"] = np.int64(1)
    neuron["gradedSpike"] = np.bool_(False)


def _one(values: IntArray) -> IntArray:
    """Return one number if all values are equal, because hardware has one per layer."""
    return np.int64(values[0]) if np.all(values == values[0]) else values  # type: ignore[return-value]


def _type(entry: h5py.Group, name: str) -> None:
    entry.create_dataset(schema.TYPE, data=np.array([name], "S10"))
