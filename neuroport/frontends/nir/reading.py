"""Read a NIR file or graph as a checked, ordered description without subgraphs.

NIR (the Neuromorphic Intermediate Representation, version 1) describes a network as nodes and edges
in continuous time; edges that meet at a node are summed. A ``.nir`` file is an HDF5 file: ``node``
is the graph, its ``nodes`` are groups that hold a ``type`` and parameters, its ``edges`` are pairs
of names. It is read as an untrusted file (:mod:`neuroport.hdf5`), without the package ``nir``.

In a loop (a strongly connected component of the graph), a message from a neuron to a node of the
same loop arrives one step later; every other edge takes no time. For loops with one neuron all
tools do this; NIR itself has no steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.errors import FormatError
from neuroport.frontends.nir.file_content import WHAT, content_of, of_object
from neuroport.sandbox import Plain

Array: TypeAlias = npt.NDArray[np.float64]
Shape: TypeAlias = tuple[int, ...]

INTEGERS = "neuroport"  # metadata of the root: neuroport's integers, see docs/nir.md
NODES = 100_000

# Neuron, Potential, Matrix and Reshape are in no file of NIR: front ends of libraries, whose
# networks have steps and no time constants, say with them what NIR cannot
# (neuroport.frontends.torch)
FIRING = ("IF", "LIF", "CubaLIF", "Threshold", "Neuron")
# integrators, whose output is their potential
SILENT = ("I", "LI", "CubaLI", "Potential")
ORDER = ("Flatten", "Reshape")  # fields that only neurons have
NEURONS = (*FIRING, *SILENT)
PASSING = ("Input", "Output", "Pass")  # node that sums the edges that meet here
# per kind: numbers with one value per neuron or one for all; None where there is no default
_PER_NEURON: dict[str, dict[str, float | None]] = {
    "IF": {"r": None, "v_threshold": None, "v_reset": 0.0},
    "LIF": {"tau": None, "r": None, "v_leak": None, "v_threshold": None, "v_reset": 0.0},
    "CubaLIF": {
        "tau_syn": None,
        "tau_mem": None,
        "r": None,
        "v_leak": None,
        "v_threshold": None,
        "v_reset": 0.0,
        "w_in": 1.0,
    },
    "I": {"r": None},
    "LI": {"tau": None, "r": None, "v_leak": None},
    "CubaLI": {"tau_syn": None, "tau_mem": None, "r": None, "v_leak": None, "w_in": 1.0},
    "Threshold": {"threshold": None},
    "Scale": {"scale": None},
    "Delay": {"delay": None},
}
KINDS = (
    "Input",
    "Output",
    "Affine",
    "Linear",
    "Scale",
    "Conv1d",
    "Conv2d",
    "Flatten",
    "SumPool2d",
    "AvgPool2d",
    "Delay",
    *(kind for kind in NEURONS if kind not in ("Neuron", "Potential")),
)


@dataclass(frozen=True, eq=False)
class Node:
    """One node of NIR.

    Attributes:
        inputs: names of the nodes whose values are summed here.
        late: those of ``inputs`` that are in a loop with this node; it reads their previous step.
        takes, shape: shapes of input and output, without steps and samples.
        values: arrays of float64; parameters of neurons are broadcast to ``shape``.
        sizes: whole numbers: ``stride``, ``dilation``, ``groups``, ``kernel_size``, and
            ``padding`` as (top, bottom, left, right).
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    late: frozenset[str]
    takes: Shape
    shape: Shape
    values: Mapping[str, Array] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Network:
    """A checked NIR graph without subgraphs.

    Attributes:
        nodes: nodes by name (``subgraph.node`` in a subgraph), sources before readers.
        loops: the neurons of each loop, by the name of every one of them.
        dt: duration of a step in seconds, if the metadata states it.
        integers: neuroport's own integers in the metadata, as plain values, or None.
        where: the file, for messages.
    """

    nodes: dict[str, Node]
    loops: dict[str, tuple[str, ...]]
    dt: float | None
    integers: Plain
    where: str

    def of_kind(self, *kinds: str) -> tuple[Node, ...]:
        """Return the nodes of these kinds, in order."""
        return tuple(node for node in self.nodes.values() if node.kind in kinds)

    @property
    def timed(self) -> tuple[Node, ...]:
        """Nodes whose behaviour depends on the duration of a step."""
        return tuple(n for n in self.nodes.values() if n.kind in (*NEURONS, "Delay"))


def read(source: Any) -> Network:
    """Read the network of a ``.nir`` file, or of a ``nir.NIRGraph``.

    Raises:
        StorageError: there is no such file.
        FormatError: the file is not NIR, or its graph is invalid; the error names the node.
    """
    if hasattr(source, "to_dict") and not isinstance(source, (str, os.PathLike)):
        return build({"node": of_object(source.to_dict())}, "the NIR graph")
    if not isinstance(source, (str, os.PathLike)):
        raise FormatError(
            f"{type(source).__name__} is neither the path of a .nir file nor a nir.NIRGraph; "
            "give one of them"
        )
    path = os.fspath(source)
    return hdf5.read(
        path, WHAT, lambda file: content_of(file, path), lambda content: build(content, path)
    )


# -- graphs ----------------------------------------------------------------------------------


def build(content: Plain, where: str) -> Network:
    """Build the network from the plain values of a file.

    Raises:
        FormatError: names the node and what it lacks.
    """
    raw = _Raw(where)
    root = content["node"]
    if raw.text(root, "type", "the root") != "NIRGraph":
        raise FormatError(f"{where}: the root is not a NIRGraph; put the node into a graph first")
    raw.flatten(root, "")
    order, late, loops = _order(raw)
    shaped = _Shapes(raw, late)
    nodes = shaped.nodes(order)
    metadata = root.get("metadata", {})
    integers = metadata.get(INTEGERS) if isinstance(metadata, dict) else None
    return Network(nodes, loops, raw.stated_dt(), integers, where)


class _Raw:
    """The nodes and edges of the file, with subgraphs flattened."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.nodes: dict[str, dict[str, Plain]] = {}
        self.kind: dict[str, str] = {}
        self.inputs: dict[str, list[str]] = {}
        self.steps: dict[str, float] = {}  # dt by the name of the node that states it

    def refuse(self, name: str, why: str) -> FormatError:
        return FormatError(f"{self.where}: {name}: {why}")

    def text(self, node: Plain, key: str, name: str) -> str:
        value = node.get(key) if isinstance(node, dict) else None
        if not isinstance(value, str):
            raise self.refuse(name, f"has no {key}; write the file again")
        return value

    def flatten(self, graph: Plain, prefix: str) -> None:
        nodes = graph.get("nodes")
        if not isinstance(nodes, dict) or not nodes:
            raise self.refuse(prefix or "the root", "a graph without nodes")
        self._metadata(graph, prefix[:-1] or "the root")
        for key, node in nodes.items():
            name = prefix + key
            kind = self.text(node, "type", name)
            if kind == "NIRGraph":
                self.flatten(node, f"{name}.")
                continue
            if kind not in KINDS:
                raise self.refuse(
                    name, f"kind {hdf5.short(kind)} is not one of NIR: {', '.join(KINDS)}"
                )
            if name in self.nodes or not key or not name.isprintable():
                raise self.refuse(name, "its name is empty, used twice or cannot be printed")
            if len(self.nodes) >= NODES:
                raise self.refuse(name, f"one of more than {NODES:,} nodes")
            inside = bool(prefix) and kind in ("Input", "Output")
            self.nodes[name], self.kind[name] = node, "Pass" if inside else kind
            self.inputs[name] = []
            self._metadata(node, name)
        edges = graph.get("edges", [])
        if isinstance(edges, np.ndarray):  # no edges: an empty array of any type
            edges = edges.tolist()
        for edge in edges:
            if not isinstance(edge, list) or len(edge) != 2:
                raise self.refuse(prefix or "the root", "an edge is not a pair of names")
            start = self._end(nodes, prefix, str(edge[0]), "Output")
            end = self._end(nodes, prefix, str(edge[1]), "Input")
            if start in self.inputs[end]:
                raise self.refuse(end, f"the edge from {start} occurs twice; remove one")
            self.inputs[end].append(start)

    def _end(self, nodes: Plain, prefix: str, name: str, port: str) -> str:
        """Return the node at an end of an edge, or the ``port`` of a subgraph."""
        if name in nodes:
            node = nodes[name]
            if node.get("type") != "NIRGraph":
                return prefix + name
            inner = node.get("nodes", {})
            ports = [key for key, found in inner.items() if found.get("type") == port]
            if len(ports) != 1:
                raise self.refuse(
                    prefix + name,
                    f"a subgraph with {len(ports)} nodes {port}; name one in the edge: "
                    f"'{name}.NODE'",
                )
            return f"{prefix}{name}.{ports[0]}"
        for key, node in nodes.items():
            if name.startswith(f"{key}.") and node.get("type") == "NIRGraph":
                return self._end(node["nodes"], f"{prefix}{key}.", name[len(key) + 1 :], port)
        raise self.refuse(prefix + name, "an edge names it, but there is no such node")

    def _metadata(self, node: Plain, name: str) -> None:
        metadata = node.get("metadata")
        if isinstance(metadata, dict) and isinstance(metadata.get("dt"), np.ndarray):
            value = metadata["dt"]
            if value.size == 1 and value.dtype.kind in "iuf" and float(value.ravel()[0]) > 0:
                self.steps[name] = float(value.ravel()[0])

    def stated_dt(self) -> float | None:
        found = sorted(set(self.steps.values()))
        if len(found) > 1:
            raise FormatError(
                f"{self.where}: the metadata state several lengths of a step, dt "
                f"{found[0]:g} to {found[-1]:g} s; write one"
            )
        return found[0] if found else None

    def array(self, name: str, key: str, default: float | None = None) -> Array:
        """Return a parameter as finite float64."""
        value = self.nodes[name].get(key)
        if value is None:
            if default is None:
                raise self.refuse(name, f"{self.kind[name]} without {key}")
            return np.asarray(default, np.float64)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise self.refuse(name, f"{key} is not an array of numbers")
        found: Array = value.astype(np.float64)
        if not np.isfinite(found).all():
            raise self.refuse(name, f"{key} holds NaN or infinity")
        return found

    def integers(self, name: str, key: str, count: int, default: int | None = None) -> Shape:
        """Return one whole number per axis, from one per axis or one for all."""
        value = self.array(name, key, default).ravel()
        good = value.size in (1, count) and bool((value == np.rint(value)).all())
        if not good or bool((np.abs(value) > 1 << 20).any()):
            raise self.refuse(name, f"{key} is {hdf5.short(value)}, not {count} whole numbers")
        return tuple(int(n) for n in np.broadcast_to(value, (count,)))

    def shape_of(self, name: str, key: str) -> Shape:
        value = self.array(name, key).ravel()
        if not 1 <= value.size <= 6 or (value < 1).any() or (value > 1 << 24).any():
            raise self.refuse(name, f"{key} {hdf5.short(value)} must hold sizes of 1 or more")
        return tuple(int(n) for n in value)


def _order(raw: _Raw) -> tuple[list[str], dict[str, frozenset[str]], dict[str, tuple[str, ...]]]:
    """Sort nodes so that sources come first; also return late inputs, and neurons of loops."""
    parts = components({name: sorted(sources) for name, sources in raw.inputs.items()})
    late: dict[str, frozenset[str]] = {}
    loops: dict[str, tuple[str, ...]] = {}
    order: list[str] = []
    for part in parts:
        here = set(part)
        looped = len(part) > 1 or part[0] in raw.inputs[part[0]]
        neurons = tuple(sorted(n for n in part if raw.kind[n] in NEURONS))
        for name in part:
            within = {s for s in raw.inputs[name] if s in here and raw.kind[s] in NEURONS}
            late[name] = frozenset(within if looped else ())
        if not looped:
            order.append(part[0])
            continue
        loops.update(dict.fromkeys(neurons, neurons))
        inner = {
            name: sorted(s for s in raw.inputs[name] if s in here and s not in late[name])
            for name in part
        }
        for again in components(inner):
            if len(again) > 1 or again[0] in inner[again[0]]:
                raise raw.refuse(
                    again[0], "is in a loop without a neuron, so its first value is undefined"
                )
            order.append(again[0])
    return order, late, loops


def components(inputs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return strongly connected components, sources first (Tarjan's algorithm, iterative)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    done: set[str] = set()
    for root in sorted(inputs):
        if root in index:
            continue
        work = [(root, iter(inputs[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            name, rest = work[-1]
            for source in rest:
                if source not in index:
                    index[source] = low[source] = len(index)
                    stack.append(source)
                    work.append((source, iter(inputs[source])))
                    break
                if source not in done:
                    low[name] = min(low[name], index[source])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = stack.index(name)
                    found.append(sorted(stack[at:]))
                    done.update(stack[at:])
                    del stack[at:]
    return found


class _Shapes:
    """Infers the shapes of all nodes from inputs and parameters."""

    def __init__(self, raw: _Raw, late: dict[str, frozenset[str]]) -> None:
        self.raw = raw
        self.late = late
        self.takes: dict[str, Shape] = {}
        self.shape: dict[str, Shape] = {}

    def nodes(self, order: list[str]) -> dict[str, Node]:
        raw = self.raw
        if "Input" not in raw.kind.values():
            raise FormatError(f"{raw.where}: has no node Input; add one, with its shape")
        before = -1
        while before != len(self.shape):
            before = len(self.shape)
            for name in order:
                if name not in self.shape:
                    self._infer(name)
        for name in order:
            if name not in self.shape:
                raise raw.refuse(name, "no Input leads to it, so that its shape is not known")
            for source in raw.inputs[name]:
                if self.shape[source] != self.takes[name]:
                    raise raw.refuse(
                        name,
                        f"takes {self.takes[name]}, and {source} sends {self.shape[source]}; "
                        "shapes have no axis for samples (Flatten: start_dim 0 flattens all)",
                    )
        return {name: self._node(name) for name in order}

    def _known(self, name: str) -> Shape | None:
        """Return the shape of a node's input as soon as one of its sources is known."""
        known = (self.shape[s] for s in self.raw.inputs[name] if s in self.shape)
        return next(known, None)

    def _infer(self, name: str) -> None:
        raw, kind = self.raw, self.raw.kind[name]
        if kind == "Input":
            if raw.inputs[name]:
                raise raw.refuse(name, "an Input that is fed by an edge")
            self.takes[name] = self.shape[name] = raw.shape_of(name, "shape")
            return
        if not raw.inputs[name]:
            raise raw.refuse(name, "nothing feeds it; add an Input before it")
        if kind in ("Affine", "Linear"):
            shape = raw.array(name, "weight").shape
            if len(shape) < 2:
                raise raw.refuse(name, f"weight is {shape}; it must be (outputs, inputs)")
            self.takes[name] = (*shape[:-2], shape[-1])
            self.shape[name] = (*shape[:-2], shape[-2])
            return
        arriving = self._known(name)
        if kind in _PER_NEURON and arriving is None:
            own = [raw.array(name, key, default) for key, default in _PER_NEURON[kind].items()]
            arriving = next((value.shape for value in own if value.size > 1), None)
        if arriving is None:
            return
        self.takes[name] = arriving
        match kind:
            case "Conv1d" | "Conv2d" | "SumPool2d" | "AvgPool2d":
                self.shape[name] = self._windowed(name, arriving)
            case "Flatten":
                rank = len(arriving)
                (start,) = raw.integers(name, "start_dim", 1, 1)
                (end,) = raw.integers(name, "end_dim", 1, -1)
                start, end = (n + rank if n < 0 else n for n in (start, end))
                if not 0 <= start <= end < rank:
                    raise raw.refuse(name, f"flattens axes {start} to {end} of {arriving}")
                middle = int(np.prod(arriving[start : end + 1]))
                self.shape[name] = (*arriving[:start], middle, *arriving[end + 1 :])
            case _:
                self.shape[name] = arriving

    def _windowed(self, name: str, arriving: Shape) -> Shape:
        sizes = self._sizes(name)
        axes = len(arriving) - 1
        wanted = 1 if self.raw.kind[name] == "Conv1d" else 2
        if axes != wanted:
            raise self.raw.refuse(name, f"takes channels and {wanted} axes, and gets {arriving}")
        weight = self.raw.array(name, "weight") if "groups" in sizes else None
        channels = arriving[0]
        if weight is not None:
            (groups,) = sizes["groups"]
            if weight.ndim != 2 + axes or groups < 1 or weight.shape[1] * groups != channels:
                raise self.raw.refuse(
                    name, f"weight is {weight.shape} in {groups} groups for {channels} channels"
                )
            if weight.shape[0] % groups:
                raise self.raw.refuse(name, f"{weight.shape[0]} outputs in {groups} groups")
            channels = weight.shape[0]
        spread = (1, *arriving[1:]) if axes == 1 else arriving[1:]
        top, bottom, left, right = sizes["padding"]
        out = []
        for size, kernel, stride, dilation, pad in zip(
            spread,
            sizes["kernel_size"],
            sizes["stride"],
            sizes["dilation"],
            (top + bottom, left + right),
            strict=True,
        ):
            reach = dilation * (kernel - 1) + 1
            if min(kernel, stride, dilation) < 1 or min(top, bottom, left, right) < 0:
                raise self.raw.refuse(
                    name, "a kernel, stride or dilation below 1, or a padding < 0"
                )
            if size + pad < reach:
                raise self.raw.refuse(name, f"its kernel reaches over {reach}, the map has {size}")
            out.append((size + pad - reach) // stride + 1)
        return (channels, *out[2 - axes :])

    def _sizes(self, name: str) -> dict[str, Shape]:
        """Return the whole numbers of a convolution or pooling, always for two axes."""
        raw, kind = self.raw, self.raw.kind[name]
        axes = 1 if kind == "Conv1d" else 2
        lead = (1,) * (2 - axes)
        if kind.startswith("Conv"):
            kernel = raw.array(name, "weight").shape[2:]
            if len(kernel) != axes:
                raise raw.refuse(name, f"weight needs {2 + axes} axes: (outputs, inputs, kernel)")
            dilation = raw.integers(name, "dilation", axes, 1)
            found = {"groups": raw.integers(name, "groups", 1, 1)}
            stride = raw.integers(name, "stride", axes, 1)
        else:
            kernel = raw.integers(name, "kernel_size", 2)
            dilation, found = (1, 1), {}
            stride = raw.integers(name, "stride", 2)
        said = raw.nodes[name].get("padding")
        if isinstance(said, str):
            if said not in ("same", "valid") or (said == "same" and set(stride) != {1}):
                raise raw.refuse(name, f"padding {hdf5.short(said)} with stride {stride}")
            total = [
                d * (k - 1) if said == "same" else 0 for d, k in zip(dilation, kernel, strict=True)
            ]
            ends = [(n // 2, n - n // 2) for n in total]
        else:
            ends = [(n, n) for n in raw.integers(name, "padding", axes, 0)]
        ends = [(0, 0)] * (2 - axes) + ends
        return {
            **found,
            "kernel_size": (*lead, *kernel),
            "stride": (*lead, *stride),
            "dilation": (*lead, *dilation),
            "padding": tuple(n for pair in ends for n in pair),
        }

    def _node(self, name: str) -> Node:
        raw, kind = self.raw, self.raw.kind[name]
        values: dict[str, Array] = {}
        sizes: dict[str, Shape] = {}
        shape = self.shape[name]
        if kind in ("Affine", "Linear"):
            values["weight"] = raw.array(name, "weight")
            if kind == "Affine":
                values["bias"] = self._spread(name, "bias", raw.array(name, "bias", 0.0), shape)
        elif kind in ("Conv1d", "Conv2d"):
            weight, bias = raw.array(name, "weight"), raw.array(name, "bias", 0.0)
            if bias.size not in (1, len(weight)):
                raise raw.refuse(name, f"bias is {bias.shape} for {len(weight)} channels")
            values["weight"] = weight if weight.ndim == 4 else weight[:, :, None]
            each = np.broadcast_to(bias.ravel(), (len(weight),))
            values["bias"] = np.broadcast_to(each.reshape(-1, *[1] * (len(shape) - 1)), shape)
            sizes = self._sizes(name)
        elif kind in ("SumPool2d", "AvgPool2d"):
            sizes = self._sizes(name)
        for key, default in _PER_NEURON.get(kind, {}).items():
            values[key] = self._spread(name, key, raw.array(name, key, default), shape)
        for key in ("tau", "tau_syn", "tau_mem"):
            if key in values and not (values[key] > 0).all():
                raise raw.refuse(
                    name, f"{key} is {values[key].min():g}; a time constant is positive"
                )
        if "delay" in values and (values["delay"] < 0).any():
            raise raw.refuse(name, "delays into the past")
        self._check_declared(name)
        inputs = tuple(sorted(raw.inputs[name]))
        return Node(name, kind, inputs, self.late[name], self.takes[name], shape, values, sizes)

    def _check_declared(self, name: str) -> None:
        """Refuse a node that declares another shape than it gets."""
        gets = self.takes[name]
        key, wanted = {
            "Input": ("shape", gets),  # of a subgraph, too
            "Output": ("shape", gets),
            "Conv1d": ("input_shape", gets[1:]),
            "Conv2d": ("input_shape", gets[1:]),
            "Flatten": ("input_type", gets),
        }.get(self.raw.nodes[name]["type"], ("", ()))
        if isinstance(self.raw.nodes[name].get(key), np.ndarray):
            said = self.raw.shape_of(name, key)
            if said != wanted:
                raise self.raw.refuse(
                    name,
                    f"says {key} {said}, and gets {wanted}; correct {key}, or what comes before it",
                )

    def _spread(self, name: str, key: str, value: Array, shape: Shape) -> Array:
        """Broadcast a parameter over all neurons; ambiguous shapes are refused."""
        if value.size == 1:
            return np.broadcast_to(value.reshape(()), shape)
        aligned = value.ndim == len(shape)
        if aligned and all(a in (1, b) for a, b in zip(value.shape, shape, strict=True)):
            return np.broadcast_to(value, shape)
        raise self.raw.refuse(
            name, f"{key} is {value.shape}; give one value, or one for each of {shape}"
        )
