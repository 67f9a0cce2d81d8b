"""The reference engine: the network in plain NumPy, to be believed on reading.

It evaluates node after node over all steps. In *ideal* time a synapse answers at once and samples
run side by side. In *chip* time every synapse answers one step late and samples follow each other
through one network whose states reset at step ``n * T + skew``, as on Lava and Loihi; the answer is
read from the window ``[n*T + skew, n*T + skew + T)`` of each population.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.base import Progress, check_frames, frames_hash
from neuroport.backends.trace import Trace, empty_messages, versions
from neuroport.errors import IllegalError
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, IntArray, Lif, Node, Readout, Relay, is_synapse


class Reference:
    """NumPy engine; needs nothing but the core."""

    name = "reference"
    summary = "exact integers in NumPy"

    def available(self) -> str | None:
        return None

    def run(
        self,
        graph: Graph,
        frames: npt.NDArray[Any],
        *,
        progress: Progress | None = None,
        time_model: str = "ideal",
        batch: int = 32,
    ) -> Trace:
        """Run ``frames`` (T, N, *shape) and record every population.

        Args:
            time_model: ``ideal``, or ``chip`` (the graph must be balanced).
            batch: samples evaluated side by side in ideal time; changes memory, never results.

        Raises:
            FramesError: the frames do not fit.
            IllegalError: chip time was asked of a graph whose skews are not balanced.
        """
        check_frames(graph, frames)
        if time_model == "chip" and not graph.balanced:
            raise IllegalError("inputs with unequal skew meet; lower the graph before chip time")
        started = time.perf_counter()
        samples = frames.shape[1]
        shapes = {node.name: graph.facts(node.name).shape for node in graph}
        messages, kinds = empty_messages(graph.populations, shapes, graph.steps, samples)
        if time_model == "chip":
            _run_chip(graph, frames, messages)
        else:
            for first in range(0, samples, batch):
                part = slice(first, first + batch)
                for node, out in _evaluate(graph, frames[:, part].astype(np.int64), chip=False):
                    messages[node.name][:, part] = out
                if progress is not None:
                    progress(min(first + batch, samples), samples)
        provenance = {
            "engine": self.name,
            "time": time_model,
            "graph": graph.hash,
            "frames": frames_hash(frames),
            "seconds": time.perf_counter() - started,
            "versions": versions("numpy"),
        }
        return Trace(messages, kinds, provenance)


def _run_chip(
    graph: Graph, frames: npt.NDArray[Any], messages: dict[str, npt.NDArray[Any]]
) -> None:
    steps, samples = frames.shape[:2]
    stream = np.zeros((steps * samples + graph.depth, 1, *frames.shape[2:]), np.int64)
    # sample after sample on one time axis
    stream[: steps * samples, 0] = np.moveaxis(frames, 1, 0).reshape(-1, *frames.shape[2:])
    for node, out in _evaluate(graph, stream, chip=True):
        skew = graph.facts(node.name).skew
        window = out[skew : skew + steps * samples, 0].reshape(samples, steps, *out.shape[2:])
        messages[node.name][:] = np.moveaxis(window, 0, 1)


def _evaluate(graph: Graph, frames: IntArray, *, chip: bool) -> Any:
    """Yield (population, its output over all steps (T, N, *shape)) in the order of the graph."""
    last_use = {name: node.name for node in graph for name in node.inputs}
    values: dict[str, IntArray] = {}
    for node in graph:
        arriving = sum((values[name] for name in node.inputs), np.zeros((), np.int64))
        reset_at = graph.facts(node.name).skew if chip else 0
        out = step_through(node, arriving, frames, graph.steps, reset_at)
        if chip and is_synapse(node):  # a synapse delivers on the next step
            out = np.concatenate([np.zeros_like(out[:1]), out[:-1]])
        values[node.name] = out
        for name in node.inputs:
            if last_use[name] == node.name:
                values.pop(name, None)
        if isinstance(node, (Lif, Relay, Readout)):
            yield node, out


def step_through(
    node: Node, arriving: IntArray, frames: IntArray, interval: int, reset_at: int
) -> IntArray:
    """Output of one node over all steps; states reset at ``reset_at + k * interval``."""
    match node:
        case Input():
            return frames
        case Conv():
            return convolve(arriving, node) << node.exponent
        case Dense():
            flat = arriving.reshape(*arriving.shape[:2], -1)
            return _product(flat, node.weight.T) << node.exponent
        case Relay():
            return np.asarray(integers.relay(arriving, node.shift, node.threshold))
        case Lif():
            bias = node.bias.reshape(-1, *[1] * (arriving.ndim - 3))
            spikes = np.zeros_like(arriving)
            u = v = np.zeros_like(arriving[0])
            for t in range(len(arriving)):
                if (t - reset_at) % interval == 0:
                    u = v = np.zeros_like(arriving[0])
                u, v, spikes[t] = integers.lif_step(
                    u, v, arriving[t], bias, node.current_decay, node.voltage_decay, node.threshold
                )
                v = integers.reset(v, spikes[t])
            return spikes
        case Readout():
            bias = node.bias.reshape(-1, *[1] * (arriving.ndim - 3))
            potential = np.zeros_like(arriving)
            v = np.zeros_like(arriving[0])
            for t in range(len(arriving)):
                if (t - reset_at) % interval == 0:
                    v = np.zeros_like(arriving[0])
                v = potential[t] = integers.readout_step(v, arriving[t], bias)
            return potential


def _product(a: IntArray, b: IntArray) -> IntArray:
    # BLAS multiplies float64 only, and float64 holds every integer below 2**53 exactly: 24-bit
    # messages times 9-bit weights leave room for 2**20 terms in a sum.
    return np.asarray((a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64))


def convolve(x: IntArray, node: Conv) -> IntArray:
    """Cross-correlation of (T, N, C, H, W) with the node's weight, without the exponent."""
    steps, samples, channels = x.shape[:3]
    padding = [(0, 0), (0, 0), (0, 0), *((p, p) for p in node.padding)]
    kernel = node.weight.shape[2:]
    span = tuple(d * (k - 1) + 1 for d, k in zip(node.dilation, kernel, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(  # type: ignore[call-overload]
        np.pad(x, padding), span, axis=(3, 4)
    )
    windows = windows[
        :, :, :, :: node.stride[0], :: node.stride[1], :: node.dilation[0], :: node.dilation[1]
    ]
    height, width = windows.shape[3:5]
    groups, each = node.groups, channels // node.groups
    # (T, N, G, C/G, H, W, kH, kW) -> (G, T*N*H*W, C/G * kH*kW)
    windows = windows.reshape(steps, samples, groups, each, height, width, *kernel)
    rows = np.moveaxis(windows, 2, 0).transpose(0, 1, 2, 4, 5, 3, 6, 7)
    rows = rows.reshape(groups, steps * samples * height * width, -1)
    weight = node.weight.reshape(groups, len(node.weight) // groups, -1)
    out = np.stack([_product(r, w.T) for r, w in zip(rows, weight, strict=True)])
    out = out.reshape(groups, steps, samples, height, width, -1)
    # (G, T, N, H, W, O/G) -> (T, N, O, H, W)
    out = out.transpose(1, 2, 0, 5, 3, 4)
    return out.reshape(steps, samples, len(node.weight), height, width)
