"""What a NIR network means, in real numbers, step by step.

NIR states equations in continuous time. Here a step of ``dt`` seconds is one of Euler's method, in
this order, with everything in float64 (``x`` is the sum of what arrives):

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

A sample begins at ``v = v_reset`` (0 where there is none), ``i = 0``. An edge takes no time, but
for one from a neuron to a node of its own loop, which takes a step. This is the real-valued network
that quantization is held against; that it is what other tools compute is tested, not assumed.
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


def interpret(
    network: Network,
    frames: Mapping[str, npt.NDArray[Any]],
    dt: float,
    *,
    reset: str = "v_reset",
    record: tuple[str, ...] | None = None,
) -> Signals:
    """Values of the neurons and outputs of ``network``, (T, N, *shape) each.

    Args:
        frames: of every Input by name, (T, N, *shape), real numbers.
        dt: seconds of a step.
        reset: ``v_reset``, which NIR says; or ``subtract``, in which a spike takes the threshold
            off the voltage, as some tools that write NIR run their networks.
        record: nodes whose values are wanted, in place of neurons and outputs.

    Raises:
        FramesError: frames that do not fit the inputs.
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
    """Steps and samples of frames that fit the inputs of a network."""
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
            raise FramesError(f"frames of {node.name} are no finite numbers")
        if found is not None and given.shape[:2] != found:
            raise FramesError(
                f"frames of {node.name} are {given.shape[:2]} steps and samples, others {found}"
            )
        found = (given.shape[0], given.shape[1])
    if found is None:
        raise FramesError("the network has no input")
    return found


def delay_steps(node: Node, dt: float) -> npt.NDArray[np.int64]:
    """Steps of a Delay, per element.

    Raises:
        FormatError: a delay that is no whole number of steps.
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
    """What a linear node makes of ``x`` (N, *takes), without its bias; a Delay changes nothing."""
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
    """One node as it runs."""

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
        """How far above its threshold a Neuron came in a step, which it does."""
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
