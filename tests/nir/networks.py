"""Random NIR networks: chains, residuals before and after the neuron, dense sums, loops, delays,
pools, subgraphs, several inputs and outputs.

A network is what ``nir.NIRGraph.to_dict`` would give, so that tests need not have the package.
Every choice comes from the seed. ``exact`` networks have only numbers that integers hold (no leaks,
powers of two), so that nothing may be lost; the others have whatever numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
DT = 0.5**10


@dataclass
class Drawn:
    """A network, frames for its inputs, and what it has."""

    root: dict[str, Any]
    frames: dict[str, Array]
    exact: bool
    features: set[str]

    def to_dict(self) -> dict[str, Any]:
        return self.root


def write(root: dict[str, Any], path: Path) -> Path:
    """As ``nir.write`` does: groups, texts, arrays packed by gzip."""

    def fill(group: h5py.Group, content: dict[str, Any]) -> None:
        for key, value in content.items():
            if isinstance(value, dict):
                fill(group.create_group(key), value)
            elif isinstance(value, str):
                group.create_dataset(key, data=value, dtype=h5py.string_dtype())
            elif isinstance(value, np.ndarray) and value.ndim:
                group.create_dataset(key, data=value, compression="gzip")
            else:
                group.create_dataset(key, data=value)

    with h5py.File(path, "w") as file:
        file.create_dataset("version", data="1.0.8", dtype=h5py.string_dtype())
        fill(file.create_group("node"), root)
    return path


def draw(seed: int, steps: int = 12, samples: int = 2) -> Drawn:
    """The network of a seed."""
    return _Drawing(np.random.default_rng([seed, 18]), steps, samples).drawn()


@dataclass
class _Drawing:
    rng: np.random.Generator
    steps: int
    samples: int
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    features: set[str] = field(default_factory=set)

    def drawn(self) -> Drawn:
        rng = self.rng
        self.exact = self.chance(0.4)
        self.graded = self.chance(0.25)
        maps = self.chance(0.5)
        frames: dict[str, Array] = {}
        signals: dict[str, Shape] = {}
        for index in range(2 if self.chance(0.25) else 1):
            name = f"in{index}"
            shape = (self.pick(1, 2, 3), *self.size) if maps else (self.pick(3, 5, 8),)
            self.add(name, "Input", shape=np.array(shape))
            signals[name] = shape
            size = (self.steps, self.samples, *shape)
            values = rng.integers(-8, 9, size) if self.graded else rng.integers(0, 2, size)
            frames[name] = values
        if len(frames) > 1:
            self.features.add("several inputs")
        if self.graded:
            self.features.add("graded frames")
        for index in range(self.pick(1, 2, 3, 4)):
            signals.update(self.layer(f"n{index}", signals))
        self.outputs(signals)
        edges = [[a, self.inside(b)] for a, b in self.edges]
        root = {"type": "NIRGraph", "nodes": self.nodes, "edges": edges}
        if self.chance(0.3):
            self.features.add("dt in metadata")
            root["metadata"] = {"dt": np.asarray(DT)}
        return Drawn(root, frames, self.exact, self.features)

    size = (4, 5)

    # -- choices -----------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def numbers(self, *shape: int) -> Array:
        """Weights: small multiples of a power of two, or anything."""
        if self.exact:
            return self.rng.integers(-4, 7, shape) / 8.0
        return self.rng.normal(0.15, 0.5, shape)

    def positive(self, low: float, high: float, *shape: int) -> Array:
        if self.exact:
            return self.pick(*[v for v in (0.5, 1.0, 2.0) if low <= v <= high] or [1.0]) * np.ones(
                shape
            )
        return self.rng.uniform(low, high, shape)

    # -- nodes -------------------------------------------------------------------------------

    def add(self, name: str, kind: str, **values: Any) -> str:
        self.nodes[name] = {"type": kind, **values}
        return name

    def inside(self, name: str) -> str:
        """A subgraph, or the node in it that takes its input."""
        if self.nodes[name]["type"] == "NIRGraph" and self.chance(0.5):
            self.features.add("edge into a subgraph")
            return f"{name}.input"
        return name

    def edge(self, source: str, target: str) -> None:
        if (source, target) not in self.edges:
            self.edges.append((source, target))

    def layer(self, name: str, signals: dict[str, Shape]) -> dict[str, Shape]:
        """Neurons, with one to three sources; what sends from there, and its shape."""
        firing = list(signals)
        first = self.pick(*firing[-3:])
        like = [s for s in firing if signals[s] == signals[first]]
        sources = {first, *(s for s in like if self.chance(0.3))}
        if len(sources) > 1:
            self.features.add("sums before synapses")
        shape = signals[first]
        if len(shape) == 3 and self.chance(0.25):
            end, out = self.flat(name, shape)
        elif len(shape) == 3:
            end, out = self.maps(name, shape)
        else:
            end, out = self.dense(name, shape)
        for source in sorted(sources):
            self.edge(source, end[0])
        neuron = self.neuron(name, out)
        self.edge(end[1], neuron)
        same = [s for s in firing if signals[s] == out]
        if same and self.chance(0.5):
            self.features.add("bare spike edge into a neuron")
            self.edge(self.pick(*same), neuron)
        if same and self.chance(0.3):
            self.features.add("second branch before the neuron")
            other = self.pick(*same)
            scale = self.add(f"{name}_side", "Scale", scale=self.numbers(*out))
            self.edge(other, scale)
            self.edge(scale, neuron)
        sends = neuron
        if self.chance(0.2):
            self.features.add("delay")
            steps = self.rng.integers(0, 4, out) if self.chance(0.5) else np.full(out, 2)
            sends = self.add(f"{name}_late", "Delay", delay=steps * DT)
            self.edge(neuron, sends)
        return {sends: out}

    def dense(self, name: str, shape: Shape) -> tuple[tuple[str, str], Shape]:
        count = self.pick(shape[0], shape[0], 4, 6)
        weight = self.numbers(count, shape[0])
        if self.chance(0.6):
            end = self.add(f"{name}_w", "Affine", weight=weight, bias=self.numbers(count) / 4)
        else:
            end = self.add(f"{name}_w", "Linear", weight=weight)
        if self.chance(0.2):
            self.features.add("two linear nodes")
            scale = self.add(f"{name}_s", "Scale", scale=self.positive(0.5, 2, count))
            self.edge(end, scale)
            return (end, scale), (count,)
        return (end, end), (count,)

    def flat(self, name: str, shape: Shape) -> tuple[tuple[str, str], Shape]:
        self.features.add("flatten")
        flatten = self.add(
            f"{name}_f",
            "Flatten",
            start_dim=np.asarray(0),
            end_dim=np.asarray(-1),
            input_type=np.array(shape),
        )
        ends, out = self.dense(name, (int(np.prod(shape)),))
        self.edge(flatten, ends[0])
        return (flatten, ends[1]), out

    def maps(self, name: str, shape: Shape) -> tuple[tuple[str, str], Shape]:
        channels, height, width = shape
        count = self.pick(channels, channels, 2, 4)
        groups = channels if count % channels == 0 and self.chance(0.2) else 1
        kernel = self.pick((3, 3), (1, 1), (2, 3))
        padding: Any = np.array((kernel[0] // 2, kernel[1] // 2))
        stride = (1, 1)
        if self.chance(0.15):
            self.features.add("padding same")
            padding = "same"
        elif min(height, width) >= 4 and self.chance(0.2):
            stride = (2, 2)
        conv = self.add(
            f"{name}_c",
            "Conv2d",
            input_shape=np.array((height, width)),
            weight=self.numbers(count, channels // groups, *kernel),
            stride=np.array(stride),
            padding=padding,
            dilation=np.array((1, 1)),
            groups=np.asarray(groups),
            bias=self.numbers(count) / 4,
        )
        if isinstance(padding, str):
            out = (count, height, width)
        else:
            out = (
                count,
                *(
                    (size + 2 * int(p) - k) // s + 1
                    for size, p, k, s in zip((height, width), padding, kernel, stride, strict=True)
                ),
            )
        if min(out[1:]) >= 2 and self.chance(0.35):
            kind = self.pick("SumPool2d", "AvgPool2d")
            self.features.add(kind)
            square = np.array((2, 2))
            zero = np.array((0, 0))
            pool = self.add(f"{name}_p", kind, kernel_size=square, stride=square, padding=zero)
            if stride == (1, 1) and self.chance(0.5):  # before the convolution, of maps that fit it
                halves = (height // 2, width // 2)
                self.nodes[conv]["input_shape"] = np.array(halves)
                self.edge(pool, conv)
                if isinstance(padding, str):
                    return (pool, conv), (count, *halves)
                grown = (
                    n + 2 * int(p) - k + 1 for n, p, k in zip(halves, padding, kernel, strict=True)
                )
                return (pool, conv), (count, *grown)
            self.edge(conv, pool)
            return (conv, pool), (count, out[1] // 2, out[2] // 2)
        return (conv, conv), out

    def neuron(self, name: str, shape: Shape) -> str:
        kinds = ("IF",) if self.exact else ("IF", "LIF", "LIF", "CubaLIF")
        kind = self.pick(*kinds)
        self.features.add(kind)
        each = shape if self.chance(0.2) and not self.exact else ()
        if each:
            self.features.add("parameters per neuron")

        def per(low: float, high: float) -> Array:
            value = self.positive(low, high, *each)
            return np.broadcast_to(value, shape).copy()

        values: dict[str, Array] = {"v_threshold": per(0.5, 2.0)}
        if kind == "IF":
            values["r"] = per(0.5, 2.0) / DT
        else:
            tau = per(2.0, 9.0) * DT
            values["r"] = per(0.8, 2.0) * (tau / DT if kind == "LIF" else 1.5)
            values["tau" if kind == "LIF" else "tau_mem"] = tau
            values["v_leak"] = per(0, 0.2) if self.chance(0.3) else np.zeros(shape)
            if kind == "CubaLIF":
                values["tau_syn"] = per(1.5, 4.0) * DT
                values["w_in"] = per(0.5, 2.0)
        if self.chance(0.2):
            self.features.add("v_reset")
            values["v_reset"] = np.full(shape, -0.25)
        loop = len(shape) == 1 and self.chance(0.35)
        own = self.numbers(shape[0], shape[0]) / 2 if loop else None
        if self.chance(0.3):
            self.features.add("subgraph")
            nodes: dict[str, Any] = {
                "input": {"type": "Input", "shape": np.array(shape)},
                "cell": {"type": kind, **values},
                "output": {"type": "Output", "shape": np.array(shape)},
            }
            edges = [["input", "cell"], ["cell", "output"]]
            if own is not None:
                self.features.add("loop")
                nodes["own"] = {"type": "Linear", "weight": own}
                edges += [["cell", "own"], ["own", "cell"]]
            self.nodes[name] = {"type": "NIRGraph", "nodes": nodes, "edges": edges}
            return name
        self.add(name, kind, **values)
        if own is not None:
            self.features.add("loop")
            bias = {"bias": self.numbers(shape[0]) / 8} if self.chance(0.4) else {}
            self.add(f"{name}_own", "Affine" if bias else "Linear", weight=own, **bias)
            self.edge(name, f"{name}_own")
            self.edge(f"{name}_own", name)
        return name

    def outputs(self, signals: dict[str, Shape]) -> None:
        last = list(signals)[-1]
        shape = signals[last]
        if self.chance(0.4):
            count = int(np.prod(shape))
            source = last
            if len(shape) > 1:
                source = self.add(
                    "out_f",
                    "Flatten",
                    start_dim=np.asarray(0),
                    end_dim=np.asarray(-1),
                    input_type=np.array(shape),
                )
                self.edge(last, source)
            self.add("out_w", "Linear", weight=self.numbers(3, count))
            self.edge(source, "out_w")
            kind = "I" if self.exact else self.pick("I", "LI", "CubaLI")
            self.features.add(kind)
            values: dict[str, Array] = {"r": np.full(3, 1 / DT if kind == "I" else 1.0)}
            if kind != "I":
                values["v_leak"] = np.zeros(3)
                values["tau" if kind == "LI" else "tau_mem"] = np.full(3, 4 * DT)
            if kind == "CubaLI":
                values |= {"tau_syn": np.full(3, 2 * DT), "w_in": np.ones(3)}
            last, shape = self.add("readout", kind, **values), (3,)
            self.edge("out_w", last)
        self.add("out", "Output", shape=np.array(shape))
        self.edge(last, "out")
        others = [s for s in signals if s != last and s not in ("in0", "in1")]
        if others and self.chance(0.4):
            self.features.add("several outputs")
            other = self.pick(*others)
            self.add("out2", "Output", shape=np.array(signals[other]))
            self.edge(other, "out2")
            alike = [s for s in signals if s != other and signals[s] == signals[other]]
            if alike and self.chance(0.5):
                self.features.add("sum at an output")
                self.edge(self.pick(*alike), "out2")
