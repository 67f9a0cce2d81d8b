"""A step-by-step interpreter of graphs that shares no line with the package's engines.

One node after the other at every step, each with its own state and its own arithmetic: the
independent witness of what a network means, in ideal and in chip time.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import product

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Readout, Relay, Synapse

TOP = 2**23


def leak(x: np.ndarray, rate: np.ndarray) -> np.ndarray:
    # products stay below 2**36 and the divisor is a power of two, so float64 is exact
    return np.trunc(x * (4096.0 - rate) / 4096).astype(np.int64)


def wrapped(x: np.ndarray) -> np.ndarray:
    return (x + TOP - 1) % 2**24 - (TOP - 1)


def spread(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One value, one per channel or one per neuron, for every neuron of ``shape``."""
    if values.ndim == 1 and len(shape) == 3:
        values = values[:, None, None]
    return np.broadcast_to(values, shape)


def correlate(x: np.ndarray, node: Conv, shape: tuple[int, ...]) -> np.ndarray:
    """(N, C, H, W), one kernel tap at a time, groups side by side."""
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in node.padding)))
    padded = padded.reshape(len(x), node.groups, -1, *padded.shape[2:])
    weight = node.weight.reshape(node.groups, -1, *node.weight.shape[1:])
    out = np.zeros((len(x), node.groups, weight.shape[1], *shape[1:]), np.int64)
    for ky, kx in product(*map(range, node.weight.shape[2:])):
        y, z = ky * node.dilation[0], kx * node.dilation[1]
        taken = padded[
            ...,
            y : y + (shape[1] - 1) * node.stride[0] + 1 : node.stride[0],
            z : z + (shape[2] - 1) * node.stride[1] + 1 : node.stride[1],
        ]
        out += np.einsum("goi,ngiyx->ngoyx", weight[..., ky, kx], taken)
    return out.reshape(len(x), *shape)


class Cell:
    """One node with its state; ``latency`` is when, in chip time, what it receives begins."""

    def __init__(self, node: Node, shape: tuple[int, ...], latency: int, samples: int) -> None:
        self.node, self.shape, self.latency, self.samples = node, shape, latency, samples
        self.seen: Counter[str] = Counter()
        late = 1 + node.lag if isinstance(node, Synapse) else 0
        self.delivered = deque(np.zeros((samples, *shape), np.int64) for _ in range(late))
        self.reset()

    def reset(self) -> None:
        """A sample begins."""
        self.u = self.v = np.zeros((self.samples, *self.shape), np.int64)
        self.received: list[np.ndarray] = []

    def step(self, inputs: list[np.ndarray], frame: np.ndarray) -> np.ndarray:
        """What the node answers at once to what arrives now."""
        node = self.node
        if isinstance(node, Input):
            return frame
        total = np.sum(inputs, axis=0)
        if isinstance(node, Conv):
            return correlate(total, node, self.shape) * 2**node.exponent
        if isinstance(node, Delay):
            self.received.append(total)
            return self.ago(node.steps)
        if isinstance(node, Dense):
            self.received.append(total.reshape(self.samples, -1))
            out = np.zeros((self.samples, *self.shape), np.int64)
            for late in set(node.delay.reshape(-1).tolist()):
                weight = node.weight * (node.delay == late)
                out += np.einsum("oi,ni->no", weight, self.ago(late))
            return out * 2**node.exponent
        if isinstance(node, Relay):
            rounded = np.floor(total / 2**node.shift + 0.5) if node.shift else total
            message = rounded.astype(np.int64)
            return np.where(np.abs(message) <= node.threshold, 0, message)
        bias = spread(node.bias, self.shape)
        if isinstance(node, Readout):
            self.v = self.clipped(self.v + wrapped(64 * total) + 64 * bias)
            return self.v
        return self.fire(node, total, 64 * bias)

    def fire(self, node: Lif, total: np.ndarray, bias: np.ndarray) -> np.ndarray:
        threshold = 64 * spread(node.threshold, self.shape)
        current = leak(self.u, spread(node.current_decay, self.shape)) + 64 * total
        self.u = wrapped(current)
        self.seen["wraps"] += int((self.u != current).sum())
        voltage = self.clipped(leak(self.v, spread(node.voltage_decay, self.shape)) + self.u + bias)
        spikes = voltage > threshold
        self.seen["ties"] += int((voltage == threshold).sum())
        self.v = np.where(spikes, 0, voltage)
        return spikes.astype(np.int64)

    def clipped(self, v: np.ndarray) -> np.ndarray:
        self.seen["saturations"] += int((np.abs(v) >= TOP).sum())
        return np.clip(v, 1 - TOP, TOP - 1)

    def ago(self, late: int) -> np.ndarray:
        """What was received ``late`` steps ago in this sample, else 0."""
        if late < len(self.received):
            return self.received[-1 - late]
        return np.zeros_like(self.received[0])

    def deliver(self, answer: np.ndarray) -> np.ndarray:
        """What leaves the node now in chip time: a synapse's answer of 1 + lag steps ago."""
        self.delivered.append(answer)
        return self.delivered.popleft()


def cells(graph: Graph, samples: int) -> dict[str, Cell]:
    """All nodes of a graph, each with the longest path to it, counted in steps of chip time."""
    found: dict[str, Cell] = {}
    late: dict[str, int] = {}
    for node in graph:
        latency = max((late[name] for name in node.inputs), default=0)
        found[node.name] = Cell(node, graph.facts(node.name).shape, latency, samples)
        late[node.name] = latency + len(found[node.name].delivered)
    return found


def interpret(graph: Graph, frames: np.ndarray) -> tuple[dict[str, np.ndarray], Counter[str]]:
    """Outputs of all nodes in ideal time, (T, N, *shape); ties, saturations and wraps met."""
    network = cells(graph, frames.shape[1])
    outs: list[dict[str, np.ndarray]] = []
    for frame in frames:
        out: dict[str, np.ndarray] = {}
        for name, cell in network.items():
            out[name] = cell.step([out[source] for source in cell.node.inputs], frame)
        outs.append(out)
    seen = sum((cell.seen for cell in network.values()), Counter())
    return {name: np.stack([out[name] for out in outs]) for name in network}, seen


def interpret_chip(graph: Graph, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The same from one network in chip time, samples back to back, each node's latency removed."""
    steps, samples = frames.shape[:2]
    network = cells(graph, 1)
    late = {name: cell.latency + len(cell.delivered) for name, cell in network.items()}
    length = (samples - 1) * graph.interval + steps + max(late.values())
    nothing = np.zeros_like(frames[0, 0])
    outs: list[dict[str, np.ndarray]] = []
    for time in range(length):
        sample, t = divmod(time, graph.interval)
        frame = frames[t, sample] if sample < samples and t < steps else nothing
        out: dict[str, np.ndarray] = {}
        for name, cell in network.items():
            since = time - cell.latency
            if since >= 0 and since % graph.interval == 0:
                cell.reset()
            answer = cell.step([out[source] for source in cell.node.inputs], frame[None])
            out[name] = cell.deliver(answer)
        outs.append(out)
    found = {}
    for name in network:
        starts = [late[name] + n * graph.interval for n in range(samples)]
        windows = [[out[name][0] for out in outs[start : start + steps]] for start in starts]
        found[name] = np.stack([np.stack(window) for window in windows], axis=1)
    return found
