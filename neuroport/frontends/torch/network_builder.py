"""Build the real-valued network of a forward pass, node by node.

Nodes are those of :mod:`neuroport.frontends.nir.reading`, so that the interpreter and the
quantization of NIR also serve these networks. ``dt`` is 1: one step of the network.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuroport.errors import CaptureError
from neuroport.frontends.nir.reading import Array, Network, Node, Shape, components

FRAMES = "input"
LARGEST = 1 << 24  # weights of a matrix, as of neuroport.frontends.nir.linear


class Building:
    """The nodes found so far; the same operation on the same values is one node."""

    def __init__(self, shape: Shape) -> None:
        self.nodes: dict[str, Node] = {}
        self.loops: dict[str, tuple[str, ...]] = {}
        self.binary: set[str] = set()  # nodes whose values are 0 or 1
        self._made: dict[Any, str] = {}
        self._digests: dict[int, tuple[Array, Any]] = {}
        self._names: set[str] = set()
        self._add(Node(FRAMES, "Input", (), frozenset(), shape, shape))

    def shape(self, name: str) -> Shape:
        return self.nodes[name].shape

    def sender(self, name: str) -> Node:
        """Return the node whose values a node sends in the same order: itself, if not reshaped."""
        node = self.nodes[name]
        while node.kind == "Reshape":
            node = self.nodes[node.inputs[0]]
        return node

    def free(self, name: str) -> str:
        """Return ``name``, or ``name.2`` and so on."""
        found, count = name, 2
        while found in self._names or found in self.nodes:
            found, count = f"{name}.{count}", count + 1
        self._names.add(found)
        return found

    def _add(self, node: Node) -> str:
        self.nodes[node.name] = node
        self._names.add(node.name)
        return node.name

    def node(
        self,
        name: str,
        kind: str,
        inputs: tuple[str, ...],
        shape: Shape,
        values: Mapping[str, Any] | None = None,
        sizes: Mapping[str, tuple[int, ...]] | None = None,
        binary: bool = False,
    ) -> str:
        """Return the node of an operation; it is created at the first call."""
        arrays = {key: np.asarray(value, np.float64) for key, value in (values or {}).items()}
        for field, array in arrays.items():
            if not np.isfinite(array).all():
                raise CaptureError(f"{name}: {field} holds NaN or infinity; train again")
        own = dict(sizes or {})
        key = (
            kind,
            tuple(sorted(inputs)),
            shape,
            tuple((k, self._digest(array)) for k, array in sorted(arrays.items())),
            tuple(sorted(own.items())),
        )
        if key in self._made:
            return self._made[key]
        takes = self.shape(inputs[0])
        made = Node(
            self.free(name), kind, tuple(sorted(inputs)), frozenset(), takes, shape, arrays, own
        )
        self._made[key] = self._add(made)
        if binary:
            self.binary.add(made.name)
        return made.name

    def _digest(self, array: Array) -> Any:
        """Return a digest of an array; those of parameters are cached."""
        if id(array) not in self._digests:
            whole = array
            if array.ndim and 0 in array.strides and array.size:  # spread out
                one = (slice(0, 1) if step == 0 else slice(None) for step in array.strides)
                whole = array[tuple(one)]
            found = hashlib.sha1(np.ascontiguousarray(whole).tobytes()).hexdigest()
            self._digests[id(array)] = array, (whole.shape, found)
        return self._digests[id(array)][1]

    def late(self, source: str) -> str:
        """Return the output of a neuron, or of the input, at the previous step; 0 at the first."""
        name = f"{source}.late"
        if ("late", source) not in self._made:
            shape = self.shape(source)
            made = Node(self.free(name), "Pass", (source,), frozenset((source,)), shape, shape)
            self._made["late", source] = self._add(made)
            if source in self.binary:
                self.binary.add(made.name)
        return self._made["late", source]

    def hears_late(self, name: str) -> bool:
        """Whether a node depends on a value of the previous step."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            node = self.nodes[waiting.pop()]
            if node.late:
                return True
            if node.kind not in ("Neuron", "Threshold", "Input") or node.name == name:
                waiting += [source for source in node.inputs if source not in seen]
                seen.update(node.inputs)
        return False

    def close_loops(self) -> None:
        """Record the loops that late edges close.

        Raises:
            CaptureError: a loop has several neurons, and not all of its edges take a step.
        """
        inputs = {name: node.inputs for name, node in self.nodes.items()}
        for part in components(inputs):
            if len(part) == 1 and part[0] not in inputs[part[0]]:
                continue
            neurons = sorted(n for n in part if self.nodes[n].kind in ("Neuron", "Threshold"))
            for name in neurons:
                heard = self._heard_at_once(name) & set(neurons)
                if heard:
                    raise CaptureError(
                        f"forward feeds {' and '.join(neurons[:3])} back over several neurons, "
                        f"and {name} hears {min(heard)} in the same step: in a loop every message "
                        f"takes a step; let {name} read what {min(heard)} sent the step before, "
                        "or feed back what a neuron itself sent"
                    )
            self.loops.update(dict.fromkeys(neurons, tuple(neurons)))

    def _heard_at_once(self, name: str) -> set[str]:
        """Return the neurons whose messages reach a neuron in the same step."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            node = self.nodes[waiting.pop()]
            for source in node.inputs:
                if source in node.late:
                    continue
                if self.nodes[source].kind in ("Neuron", "Threshold", "Input"):
                    found.add(source)
                else:
                    waiting.append(source)
        return found

    # -- operations ----------------------------------------------------------------------------

    def total(self, name: str, terms: list[str]) -> str:
        """Return the sum of nodes of one shape."""
        counts = {term: terms.count(term) for term in terms}
        inputs = tuple(
            term if count == 1 else self.scaled(f"{name}.twice", term, float(count))
            for term, count in counts.items()
        )
        return (
            inputs[0]
            if len(inputs) == 1
            else self.node(name, "Pass", inputs, self.shape(inputs[0]))
        )

    def scaled(
        self, name: str, source: str, factor: float | Array, bias: Array | None = None
    ) -> str:
        """Return a node times a factor plus a bias, both broadcast over its values."""
        shape = self.shape(source)
        plain = bool(np.all(np.asarray(factor) == 1)) and (bias is None or not np.any(bias))
        if plain:
            return source
        values = {"scale": np.broadcast_to(np.asarray(factor, np.float64), shape)}
        if bias is not None and np.any(bias):
            values["bias"] = np.broadcast_to(np.asarray(bias, np.float64), shape)
        return self.node(name, "Scale", (source,), shape, values)

    def reshaped(self, name: str, source: str, shape: Shape) -> str:
        if self.shape(source) == shape:
            return source
        return self.node(name, "Reshape", (source,), shape, binary=source in self.binary)

    def matrix(
        self, name: str, source: str, weight: Array, bias: Array | None, shape: Shape
    ) -> str:
        values = {"weight": weight}
        if bias is not None and np.any(bias):
            values["bias"] = np.asarray(bias).reshape(shape)
        return self.node(name, "Matrix", (source,), shape, values)

    def above(self, name: str, source: str, level: float) -> str:
        """Return a neuron without memory that fires above a level, unless it always fires."""
        shape = self.shape(source)
        values = {"threshold": np.full(shape, level)}
        return self.node(name, "Threshold", (source,), shape, values, binary=True)

    def all_of(self, name: str, terms: list[str]) -> str:
        """Return the AND of values that are 0 or 1."""
        each = list(dict.fromkeys(terms))
        if len(each) == 1:
            return each[0]
        return self.above(name, self.total(f"{name}.sum", each), len(each) - 0.5)

    def any_of(self, name: str, terms: list[str]) -> str:
        """Return the OR of values that are 0 or 1."""
        each = list(dict.fromkeys(terms))
        if len(each) == 1:
            return each[0]
        return self.above(name, self.total(f"{name}.sum", each), 0.5)

    def beside(self, name: str, parts: list[str | int]) -> str:
        """Concatenate channels of several nodes: each is padded with zeros, and these are added.

        A number instead of a node means this number of zero channels.
        """
        shapes = {part: self.shape(part) for part in parts if isinstance(part, str)}
        if len({shape[1:] for shape in shapes.values()}) > 1:
            joined = " and ".join(map(str, shapes.values()))
            raise CaptureError(f"{name}: joins {joined}; make maps equal")
        sizes = [part if isinstance(part, int) else shapes[part][0] for part in parts]
        first, terms = 0, []
        for index, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            if isinstance(part, str):
                place = np.zeros((sum(sizes), size))
                place[first + np.arange(size), np.arange(size)] = 1
                terms.append(self.across(f"{name}.part{index}", part, place))
            first += size
        found = self.total(name, terms)
        if set(shapes) <= self.binary:
            self.binary.add(found)
        return found

    def across(self, name: str, source: str, weight: Array) -> str:
        """Mix channels in the same way at every position."""
        shape = self.shape(source)
        made = (len(weight), *shape[1:])
        if len(shape) == 3:
            kernel, sizes = weight[:, :, None, None], window((1, 1))
            return self.node(name, "Conv2d", (source,), made, {"weight": kernel}, sizes)
        if len(shape) == 1:
            return self.node(name, "Linear", (source,), made, {"weight": weight})
        rows = math.prod(shape[1:])
        full = np.kron(weight, np.eye(rows))
        return self.matrix(name, source, full, None, made)

    def network(self, outputs: Mapping[str, str], where: str) -> Network:
        """Return the network with these outputs, by name."""
        nodes = dict(self.nodes)
        for name, source in outputs.items():
            shape = self.shape(source)
            nodes[name] = Node(name, "Output", (source,), frozenset(), shape, shape)
        return Network(_ordered(nodes), dict(self.loops), 1.0, None, where)


def window(
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> dict[str, tuple[int, ...]]:
    """Return sizes of a convolution or pool for two axes; padding is (top, bottom, left, right)."""
    return {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": (groups,),
    }


def _ordered(nodes: dict[str, Node]) -> dict[str, Node]:
    """Sort nodes so that sources precede readers, except in loops."""
    parts = components({name: node.inputs for name, node in nodes.items()})
    part = {name: index for index, names in enumerate(parts) for name in names}
    done: dict[str, Node] = {}
    waiting = list(nodes.values())
    while waiting:
        left = []
        for node in waiting:
            before = [
                source
                for source in node.inputs
                if source not in node.late or part[source] != part[node.name]
            ]
            if all(source in done for source in before):
                done[node.name] = node
            else:
                left.append(node)
        if len(left) == len(waiting):
            raise CaptureError(f"{left[0].name}: reads its own output in the same step")
        waiting = left
    return done
