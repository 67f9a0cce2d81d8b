"""Run a NIR network in real numbers, step by step.

NIR states equations in continuous time. Here a step of ``dt`` seconds is one step of Euler's
method, in this order and in float64 (``x`` is the summed input):

=========  =====================================================
IF         ``v = v + dt r x``
LIF        ``v = v + dt/tau (v_leak - v + r x)``
CubaLIF    ``i = i + dt/tau_syn (w_in x - i)``, then ``v = v + dt/tau_mem (v_leak - v + r i)``
firing     ``s = v > v_threshold``, then ``v = v_reset`` where ``s``
I LI       as IF, LIF and CubaLIF, without firing; they send ``v``
CubaLI
Threshold  ``s = x > threshold``
Neuron     ``u = (1 - current_leak) u + gain x``, ``v = (1 - voltage_leak) v + u + bias``, ``s = v >
           threshold``, or ``>=`` where ``inclusive``, then ``v = 0``, or ``v = v - subtract``
Potential  as Neuron, without firing
=========  =====================================================

A sample begins at ``v = v_reset`` (0 if there is none) and ``i = 0``. An edge takes no time, except
an edge from a neuron to a node of its own loop, which takes one step. Quantization is compared with
this real-valued network. Tests show that it computes the same as other tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from neuroport.errors import FormatError, FramesError
from neuroport.frontends.nir.reading import FIRING, NEURONS, PASSING, Array, Network, Node

Signals = dict[str, Array]
RESETS = ("v_reset", "subtract")


@np.errstate(over="ignore", invalid="ignore")  # the import refuses such numbers by name
def interpret(
    network: Network,
    frames: Mapping[str, npt.NDArray[Any]],
    dt: float,
    *,
    reset: str = "v_reset",
    record: tuple[str, ...] | None = None,
) -> Signals:
    """Return the values of neurons and outputs of ``network``, (T, N, *shape) each.

    Args:
        frames: frames of every Input by name, (T, N, *shape), real numbers.
        dt: duration of a step in seconds.
        reset: ``v_reset``, as NIR states; or ``subtract``, where a spike subtracts the threshold,
            as in some tools that write NIR.
        record: nodes to record instead of neurons and outputs.

    Raises:
        FramesError: the frames do not fit the inputs.
    """
    if reset not in RESETS:
        raise FormatError(f"reset is {reset!r}; use {' or '.join(RESETS)}")
    steps, samples = check_frames(network, frames)
    wanted = record
    if wanted is None:
        wanted = tuple(n.name for n in network.of_kind(*NEURONS, "Output"))
    out = {name: np.empty((steps, samples, *network.nodes[name].shape)) for name in wanted}
    cells = {name: RealCell(node, samples, dt, reset) for name, node in network.nodes.items()}
    late = {source for node in network.nodes.values() for source in node.late}
    before = {name: np.zeros((samples, *network.nodes[name].shape)) for name in late}
    for step in range(steps):
        now: Signals = {}
        for name, node in network.nodes.items():
            if node.kind == "Input":
                now[name] = np.asarray(frames[name][step], np.float64)
                continue
            arriving = np.zeros((samples, *node.takes))
            for source in node.inputs:
                arriving += before[source] if source in node.late else now[source]
            now[name] = cells[name].step(arriving)
        before = {name: now[name] for name in before}
        for name in wanted:
            out[name][step] = now[name]
    return out


def check_frames(network: Network, frames: Mapping[str, npt.NDArray[Any]]) -> tuple[int, int]:
    """Return the numbers of steps and samples of frames, after checking that they fit."""
    found: tuple[int, int] | None = None
    inputs = network.of_kind("Input")
    if set(frames) != {node.name for node in inputs}:
        raise FramesError(
            f"frames are of {', '.join(sorted(frames)) or 'nothing'}; the network's inputs are "
            f"{', '.join(node.name for node in inputs)}"
        )
    for node in inputs:
        given = frames[node.name]
        if given.ndim != 2 + len(node.shape) or given.shape[2:] != node.shape or not given.size:
            wanted = ", ".join(str(n) for n in ("T", "N", *node.shape))
            raise FramesError(f"frames of {node.name} are {given.shape}; it takes ({wanted})")
        if given.dtype.kind not in "biuf" or not np.isfinite(given).all():
            raise FramesError(f"frames of {node.name} are not finite numbers")
        if found is not None and given.shape[:2] != found:
            raise FramesError(
                f"frames of {node.name} are {given.shape[:2]} steps and samples, others {found}"
            )
        found = (given.shape[0], given.shape[1])
    if found is None:
        raise FramesError("the network has no input")
    return found


def delay_steps(node: Node, dt: float) -> npt.NDArray[np.int64]:
    """Return the steps of a Delay, per element.

    Raises:
        FormatError: a delay is not a whole number of steps.
    """
    ratio = node.values["delay"] / dt
    steps = np.rint(ratio)
    if (np.abs(ratio - steps) > 1e-6 * np.maximum(1, steps)).any():
        worst = node.values["delay"].ravel()[np.argmax(np.abs(ratio - steps))]
        raise FormatError(
            f"{node.name}: a delay of {worst:g} s is {worst / dt:g} steps of {dt:g} s; use whole "
            "steps, or another dt"
        )
    if steps.max(initial=0) > 1 << 16:
        raise FormatError(f"{node.name}: a delay of {int(steps.max())} steps; is dt in seconds?")
    found: npt.NDArray[np.int64] = steps.astype(np.int64)
    return found


def apply(node: Node, x: Array) -> Array:
    """Apply a linear node to ``x`` (N, *takes), without its bias; a Delay changes nothing."""
    match node.kind:
        case "Affine" | "Linear":
            made: Array = np.einsum("...oi,n...i->n...o", node.values["weight"], x, optimize=True)
            return made
        case "Conv1d" | "Conv2d" | "SumPool2d" | "AvgPool2d":
            return _windows(node, x)
        case "Scale":
            return x * node.values["scale"]
        case "Flatten" | "Reshape":
            return x.reshape(len(x), *node.shape)
        case "Matrix":
            rows: Array = x.reshape(len(x), -1) @ node.values["weight"].T
            return rows.reshape(len(x), *node.shape)
        case _:
            return x


def _windows(node: Node, x: Array) -> Array:
    flat = x.ndim == 3  # of Conv1d
    maps = x[:, :, None] if flat else x
    top, bottom, left, right = node.sizes["padding"]
    maps = np.pad(maps, ((0, 0), (0, 0), (top, bottom), (left, right)))
    kernel, stride, dilation = (node.sizes[key] for key in ("kernel_size", "stride", "dilation"))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    taps = sliding_window_view(maps, reach, axis=(2, 3))  # type: ignore[call-overload]
    taps = taps[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    if node.kind in ("SumPool2d", "AvgPool2d"):
        summed: Array = taps.sum((4, 5))
        return summed / (kernel[0] * kernel[1]) if node.kind == "AvgPool2d" else summed
    (groups,) = node.sizes["groups"]
    weight = node.values["weight"]
    parts = [
        np.einsum("nihwyx,oiyx->nohw", part, own, optimize=True)
        for part, own in zip(
            np.split(taps, groups, axis=1), np.split(weight, groups, axis=0), strict=True
        )
    ]
    made: Array = np.concatenate(parts, axis=1)
    return made[:, :, 0] if flat else made


class RealCell:
    """A node with its state during a run."""

    def __init__(self, node: Node, samples: int, dt: float, reset: str) -> None:
        self.node = node
        self.subtract = reset == "subtract"
        self.dt = dt
        zeros = np.zeros((samples, *node.shape))
        self.v = zeros + node.values.get("v_reset", 0.0)
        self.i = zeros.copy()
        self.past: list[Array] = []
        if node.kind == "Delay":
            self.steps = delay_steps(node, dt)

    def distance(self, x: Array) -> Array:
        """Run a step of a Neuron; return the distance of its voltage from the threshold."""
        value = self.node.values
        i = (1 - value["current_leak"]) * self.i + value["gain"] * x
        v = (1 - value["voltage_leak"]) * self.v + i + value["bias"]
        self.step(x)
        found: Array = v - value["threshold"]
        return found

    def step(self, x: Array) -> Array:
        node = self.node
        if node.kind in NEURONS:
            return self._neuron(x)
        if node.kind == "Delay":
            return self._delayed(x)
        if node.kind in PASSING:
            return x
        made = apply(node, x)
        return made + node.values["bias"] if "bias" in node.values else made

    def _neuron(self, x: Array) -> Array:
        kind, value, dt = self.node.kind, self.node.values, self.dt
        if kind == "Threshold":
            return (x > value["threshold"]).astype(np.float64)
        if kind in ("Neuron", "Potential"):
            return self._stepped(x)
        if kind in ("CubaLIF", "CubaLI"):
            self.i = self.i + dt / value["tau_syn"] * (value["w_in"] * x - self.i)
            drive, tau = value["r"] * self.i, value["tau_mem"]
        else:
            drive, tau = value["r"] * x, value.get("tau", x)
        if kind in ("IF", "I"):
            self.v = self.v + dt * drive
        else:
            self.v = self.v + dt / tau * (value["v_leak"] - self.v + drive)
        if kind not in FIRING:
            return self.v
        spikes = self.v > value["v_threshold"]
        after = self.v - value["v_threshold"] if self.subtract else value["v_reset"]
        self.v = np.where(spikes, after, self.v)
        return spikes.astype(np.float64)

    def _stepped(self, x: Array) -> Array:
        value = self.node.values
        self.i = (1 - value["current_leak"]) * self.i + value["gain"] * x
        self.v = (1 - value["voltage_leak"]) * self.v + self.i + value["bias"]
        if self.node.kind == "Potential":
            return self.v
        above = self.v > value["threshold"]
        spikes = above | ((self.v == value["threshold"]) & (value["inclusive"] > 0))
        after = self.v - value["subtract"] if "subtract" in value else 0.0
        self.v = np.where(spikes, after, self.v)
        fired: Array = spikes.astype(np.float64)
        return fired

    def _delayed(self, x: Array) -> Array:
        longest = int(self.steps.max(initial=0))
        self.past = [x.copy(), *self.past[:longest]]
        made = np.zeros_like(x)
        for steps in np.unique(self.steps):
            if steps < len(self.past):
                made = np.where(self.steps == steps, self.past[steps], made)
        return made
