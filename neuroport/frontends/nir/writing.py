"""Write a graph of integers as a NIR network, with the integers in its metadata.

Weights are ``weight * 2**exponent``, time constants ``4096 / decay`` steps, all exact in float64 or
within its last bit. NIR cannot express the rounding of leaks, widths and exponents. They are in the
metadata (:mod:`neuroport.frontends.nir.stored_integers`), from which :func:`neuroport.from_nir`
builds the same graph.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.arguments import is_graph, is_path, positive, takes
from neuroport.errors import GraphError
from neuroport.files import check_file, check_name, write_atomic
from neuroport.frontends.nir.reading import INTEGERS, build
from neuroport.frontends.nir.stored_integers import stored
from neuroport.graph.graph import Graph
from neuroport.graph.integers import DECAY_UNITY
from neuroport.graph.linear_bounds import ungrouped
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    IntArray,
    LeakyReadout,
    Lif,
    Node,
    Population,
    Readout,
    Recurrent,
    Relay,
    Shape,
    Synapse,
    per_neuron,
)
from neuroport.sandbox import Plain

NIR_VERSION = "1.0.8"
NEVER = 2.0**40  # a time constant so long that no sample shows the leak
# Half of the smallest voltage step, 1/64 of a unit: between two voltages neither rounding nor
# firing at the threshold has an effect.
HALF = 2.0**-7


@takes(graph=is_graph, path=is_path, dt=positive(GraphError))
def to_nir(graph: Graph, path: str | os.PathLike[str], *, dt: float = 1.0) -> Path:
    """Write a graph as a ``.nir`` file, atomically.

    Args:
        dt: duration of a step in seconds, as the reading tool assumes it; some tools support only
            their own value (snnTorch 1e-4). With 1, the ``r`` of neurons without leaks is 1.

    Raises:
        GraphError: NIR has no primitive for a node; the error names it.
        StorageError: the file cannot be written, or its name is that of another format; an existing
            file is not changed.
    """
    check_name(path, "a NIR file", ".nir")
    check_file(path)
    root = as_nir(graph, os.fspath(path), dt)

    def fill(file: h5py.File) -> None:
        file.create_dataset("version", data=NIR_VERSION, dtype=h5py.string_dtype())
        _fill(file.create_group("node"), root)

    return write_atomic(path, hdf5.writer(fill))


def as_nir(graph: Graph, where: str = "the NIR graph", dt: float = 1.0) -> dict[str, Plain]:
    """Return the NIR graph of a graph of integers, in the form of ``nir.NIRGraph.to_dict``."""
    if not 0 < dt < np.inf:
        raise GraphError(f"dt is {dt!r}; give the seconds of a step")
    if graph.checked:
        raise GraphError(
            f"{next(iter(graph.checked))}: {graph.widths}, which NIR cannot say: "
            "quantize with widths='proven', or save the graph as a .net file"
        )
    root = _Writing(graph, dt).root()
    root["metadata"] = {"dt": np.asarray(float(dt))}
    network = build({"node": root}, where)
    root["metadata"][INTEGERS] = stored(graph, network)
    return root


def _fill(group: h5py.Group, content: dict[str, Plain]) -> None:
    for key, value in content.items():
        if isinstance(value, dict):
            _fill(group.create_group(key), value)
        elif isinstance(value, str):
            group.create_dataset(key, data=value, dtype=h5py.string_dtype())
        elif isinstance(value, list):
            data = np.array(value, object)
            group.create_dataset(key, data=data, dtype=h5py.string_dtype())
        else:
            group.create_dataset(key, data=value)


class _Writing:
    def __init__(self, graph: Graph, dt: float) -> None:
        self.graph = graph
        self.dt = dt
        self.nodes: dict[str, dict[str, Plain]] = {}
        self.edges: list[list[str]] = []
        self.ends: dict[str, str] = {}  # node of the graph -> NIR node that sends its messages
        self.begins: dict[
            str, list[str]
        ] = {}  # node of the graph -> NIR nodes that receive its inputs
        self.readers = Counter(name for node in graph for name in node.inputs)
        self.bias: dict[str, IntArray] = {}  # synapse -> bias that it adds
        for node in graph:
            self._lend_bias(node)
        self.gain = self._gains()  # synapse -> factor of its weights

    def root(self) -> dict[str, Plain]:
        for node in self.graph:
            self._write(node)
            for source in node.inputs:
                for begin in self.begins[node.name]:
                    self.edges.append([self.ends[source], begin])
        last = [n for n in self.graph if isinstance(n, Population) and not self.readers[n.name]]
        for node in last:
            name = self._fresh("output" if len(last) == 1 else f"{node.name}.output")
            self._add(name, "Output", shape=np.array(self._shape(node.name)))
            self.edges.append([self.ends[node.name], name])
        return {"type": "NIRGraph", "nodes": self.nodes, "edges": self.edges}

    # -- parts -------------------------------------------------------------------------------

    def _shape(self, name: str) -> Shape:
        return self.graph.facts(name).shape

    def _fresh(self, name: str) -> str:
        """Return a name for a NIR node; names in HDF5 cannot contain '/'."""
        name, count = name.replace("/", "|"), 2
        found = name
        while found in self.nodes:
            found, count = f"{name}~{count}", count + 1
        return found

    def _add(self, name: str, kind: str, **values: Plain) -> str:
        self.nodes[name] = {"type": kind, **values}
        return name

    def _only(self, node: Node, name: str) -> None:
        """Represent ``node`` by one NIR node."""
        self.ends[node.name], self.begins[node.name] = name, [name]

    def _lend_bias(self, node: Node) -> None:
        """Move a population's bias into a synapse, as tools do, if that is equivalent."""
        bias = getattr(node, "bias", None)
        decays = getattr(node, "current_decay", np.full(1, DECAY_UNITY))
        if bias is None or not bias.any() or (decays != DECAY_UNITY).any():
            return
        shape = self._shape(node.name)
        for name in node.inputs:
            synapse = self.graph[name]
            plain = self.readers[name] == 1 and isinstance(synapse, Synapse)
            by_channel = bias.size in (1, shape[0])
            match synapse:
                case Dense():
                    plain &= not synapse.delay.any()
                case Conv():
                    plain &= by_channel
            if plain:
                self.bias[name] = np.broadcast_to(bias.reshape(-1), (shape[0],))
                self.bias[node.name] = np.zeros(1, np.int64)
                return

    def _gains(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the factors of weights that compensate time constants of LIF neurons, per channel.

        In ``v += dt/tau (r x - v)``, either ``r`` or larger weights compensate ``dt/tau``. Norse
        1.1 ignores ``r``, so the weights are used if all readers of a synapse need the same factor.
        """
        lent = {node.name: gain for node in self.graph if (gain := self._gain(node)) is not None}
        readers: dict[str, list[str]] = {}
        for node in self.graph:
            for source in node.inputs:
                readers.setdefault(source, []).append(node.name)

        def apart(name: str) -> bool:
            others = {other for source in self.graph[name].inputs for other in readers[source]}
            return any(not np.array_equal(lent.get(other, ()), lent[name]) for other in others)

        while alone := [name for name in lent if apart(name)]:
            for name in alone:
                del lent[name]
        of = [(source, gain) for name, gain in lent.items() for source in self.graph[name].inputs]
        return lent | dict(of)

    def _gain(self, node: Node) -> npt.NDArray[np.float64] | None:
        """Return the time constant in steps, per channel, of a leaky neuron without a current."""
        if not isinstance(node, (Lif, Recurrent, LeakyReadout)) or not node.voltage_decay.any():
            return None
        channels = self._shape(node.name)[0]
        by_channel = node.voltage_decay.size in (1, channels)
        if (node.current_decay != DECAY_UNITY).any() or not by_channel:
            return None
        return np.broadcast_to(_steps(node.voltage_decay).reshape(-1), (channels,))

    def _write(self, node: Node) -> None:
        shape = self._shape(node.name)
        match node:
            case Input():
                self._only(node, self._add(self._fresh(node.name), "Input", shape=np.array(shape)))
            case Conv():
                self._conv(node)
            case Dense():
                self._dense(node)
            case Delay():
                delay = np.full(shape, node.steps * self.dt)
                self._only(node, self._add(self._fresh(node.name), "Delay", delay=delay))
            case Relay():
                scale = np.full(shape, 2.0**-node.shift)
                self._only(node, self._add(self._fresh(node.name), "Scale", scale=scale))
            case Lif() | Recurrent():
                threshold = per_neuron(node.threshold, shape) + HALF
                extra = {"v_threshold": threshold, "v_reset": np.zeros(shape)}
                self._neurons(node, "F", node.current_decay, node.voltage_decay, extra)
            case LeakyReadout():
                self._neurons(node, "", node.current_decay, node.voltage_decay, {})
            case Readout():
                self._neurons(node, "", np.full(1, DECAY_UNITY), np.zeros(1, np.int64), {})
            case _:
                raise GraphError(
                    f"{node.name}: NIR has no primitive for {node.kind}; it has IF, LIF, "
                    "CubaLIF and their integrators, convolutions, matrices and delays"
                )
        match node:
            case Recurrent():
                self._loop(node, shape)

    def _conv(self, node: Conv) -> None:
        maps = self._shape(node.inputs[0])
        bias = self.bias.get(node.name, np.zeros(len(node.weight), np.int64))
        gain = self.gain.get(node.name, np.ones(len(node.weight)))
        weight = ungrouped(
            node.weight, node.groups
        )  # nir 1.0.8 cannot infer shapes of grouped convolutions
        values = {
            "input_shape": np.array(maps[1:]),
            "weight": _real(weight, node.exponent) * gain[:, None, None, None],
            "stride": np.array(node.stride),
            "padding": np.array(node.padding),
            "dilation": np.array(node.dilation),
            "groups": np.asarray(1),
            "bias": bias * gain,
        }
        self._only(node, self._add(self._fresh(node.name), "Conv2d", **values))

    def _dense(self, node: Dense) -> None:
        shape = self._shape(node.inputs[0])
        gain = self.gain.get(node.name, np.ones(len(node.weight)))
        weight = _real(node.weight, node.exponent) * gain[:, None]
        delays = np.broadcast_to(node.delay, node.weight.shape)
        late = [int(n) for n in np.unique(delays)]
        begins: list[str] = []
        ends: list[str] = []
        for steps in late:
            tag = f"{node.name}.late{steps}" if len(late) > 1 or steps else node.name
            part = np.where(delays == steps, weight, 0.0)
            bias = self.bias.get(node.name)
            values = {"weight": part} if bias is None else {"weight": part, "bias": bias * gain}
            name = self._add(self._fresh(tag), "Linear" if bias is None else "Affine", **values)
            begin = name
            if len(shape) > 1:
                begin = self._add(
                    self._fresh(f"{tag}.flatten"),
                    "Flatten",
                    start_dim=np.asarray(0),
                    end_dim=np.asarray(-1),
                    input_type=np.array(shape),
                )
                self.edges.append([begin, name])
            if steps:
                after = begin
                delay = np.full(shape, steps * self.dt)
                begin = self._add(self._fresh(f"{tag}.delay"), "Delay", delay=delay)
                self.edges.append([begin, after])
            begins.append(begin)
            ends.append(name)
        end = ends[0]
        if len(ends) > 1:  # their sum
            outputs = len(node.weight)
            end = self._add(self._fresh(node.name), "Scale", scale=np.ones(outputs))
            self.edges += [[each, end] for each in ends]
        self.ends[node.name], self.begins[node.name] = end, begins

    def _neurons(
        self,
        node: Node,
        firing: str,
        current: IntArray,
        voltage: IntArray,
        extra: dict[str, npt.NDArray[Any]],
    ) -> None:
        """IF, LIF, CubaLIF, or, without firing, I, LI, CubaLI."""
        shape = self._shape(node.name)
        own: IntArray = getattr(node, "bias", np.zeros(1, np.int64))
        bias = per_neuron(self.bias.get(node.name, own), shape)
        slow = bool((current != DECAY_UNITY).any())
        leaks = bool(voltage.any())
        name = self._fresh(node.name)
        self._only(node, name)
        plain = not slow and not leaks and not bias.any()
        # Tools that have a dt of their own take the r of IF per step or not at all (snnTorch 1.0
        # lets IF leak): for them it is a LIF of which nothing leaks.
        if plain and (self.dt == 1 or not firing):
            self._add(name, f"I{firing}", r=np.full(shape, 1 / self.dt), **extra)
            return
        steps = _steps(per_neuron(voltage, shape))
        tau = steps * self.dt
        own_r = np.ones(shape) if node.name in self.gain else steps
        values = {"v_leak": bias * steps, "r": own_r, **extra}
        if not slow:
            self._add(name, f"LI{firing}", tau=tau, **values)
            return
        synapse = _steps(per_neuron(current, shape))
        values |= {"tau_mem": tau, "tau_syn": synapse * self.dt, "w_in": synapse}
        self._add(name, f"CubaLI{firing}", **values)

    def _loop(self, node: Recurrent, shape: Shape) -> None:
        if len(shape) != 1:
            raise GraphError(
                f"{node.name}: maps {shape} with recurrent weights: NIR can flatten maps but "
                "not unflatten them; use a dense layer before it"
            )
        gain = self.gain.get(node.name, np.ones(len(node.weight)))
        weight = _real(node.weight, 0) * gain[:, None]
        name = self._add(self._fresh(f"{node.name}.loop"), "Linear", weight=weight)
        self.edges += [[self.ends[node.name], name], [name, self.ends[node.name]]]


def _real(weight: IntArray, exponent: int) -> npt.NDArray[np.float64]:
    return np.ldexp(weight.astype(np.float64), exponent)


def _steps(decay: IntArray) -> npt.NDArray[np.float64]:
    """Return the time constant in steps of a decay in 1/4096 per step."""
    found: npt.NDArray[np.float64] = np.where(decay > 0, DECAY_UNITY / np.maximum(decay, 1), NEVER)
    return found
