"""Networks as NetX would run them: one fault each, to count what it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.rerun import Plan, rerun
from neuroport.analysis.stock_road.repair import Content
from neuroport.analysis.stock_road.rescaling import rescaled, survives
from neuroport.backends.reference import NumpyArithmetic, output
from neuroport.backends.walk import Starts, walk
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Adaptive,
    Delay,
    Delta,
    Dense,
    Input,
    IntArray,
    LeakyReadout,
    Node,
    Recurrent,
    ResonateFire,
    Sigma,
    SigmaDelta,
)
from neuroport.netx import schema
from neuroport.runs.frames import check_frames

LATE = ".delayed"
Messages = dict[str, npt.NDArray[Any]]
# how many positions differ from what the network sends; None where that cannot be told
Fault = Callable[[Graph, npt.NDArray[Any], Messages], "int | None"]


def run(
    graph: Graph, frames: npt.NDArray[Any], shifts: dict[str, IntArray] | None = None
) -> Messages:
    """Every population's messages (T, N, *shape); currents of ``shifts`` are shifted right."""
    check_frames(graph, frames)
    engine = _Shifting(shifts or {})
    return walk(engine, graph, frames, progress=None, time_model="ideal", batch=32).messages


class _Shifting(NumpyArithmetic):
    def __init__(self, shifts: dict[str, IntArray]) -> None:
        self.shifts = shifts

    def output(self, node: Node, arriving: IntArray, starts: Starts) -> IntArray:
        out = output(node, arriving, starts)
        return out >> self.shifts[node.name] if node.name in self.shifts else out


def differing(right: Messages, wrong: Messages) -> int:
    """How many positions differ; a last layer's delays, where they are lost, are its own."""
    late = (name + LATE for name in wrong if name + LATE in right and name + LATE not in wrong)
    heard = {**wrong, **{name: wrong[name.removesuffix(LATE)] for name in late}}
    names = right.keys() & heard.keys()
    return sum(int(np.count_nonzero(right[name] != heard[name])) for name in names)


def passed_over(content: Content, field: str, index: int) -> Fault:
    """Without a field of a layer."""

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        return differing(
            right, run(content.graph(graph.steps, graph.input, {(field, index)}), data)
        )

    return fault


def at_the_input(content: Content, index: int, late: IntArray) -> Fault:
    """With the delays of what a dense layer sends on what it receives."""

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        wrong = content.graph(graph.steps, graph.input, {("delay", index)})
        name = wrong[f"layer{index}"].inputs[0]
        synapse = wrong[name]
        assert isinstance(synapse, Dense)
        delay = np.broadcast_to(synapse.delay, synapse.weight.shape) + late[:, None]
        return differing(right, run(_with(wrong, replace(synapse, delay=delay)), data))

    return fault


def weights(index: int, layer: dict[str, Any]) -> Iterator[tuple[str, Fault | None]]:
    """What NetX's rescaling does to the weights of a dense layer."""
    found = layer.get("weight")
    parts = [found["real"], found["imag"]] if isinstance(found, dict) else [found]
    own = layer.get("weight_rec") if layer[schema.TYPE] == "dense_rec" else None
    matrices = [*parts, *([] if own is None else [own])]
    if not all(isinstance(m, np.ndarray) and m.size and m.dtype.kind in "iuf" for m in matrices):
        return
    whole = [m.astype(np.int64) for m in matrices]
    # real and imaginary parts each for itself, a recurrent layer's two together
    groups = [[part] for part in whole] if own is None else [whole]
    through = [rescaled(group) for group in groups]
    if any(each is None for each in through):
        yield "all weights are 0, at which NetX's rescaling overflows", None
        return
    flat = [each for group in through if group is not None for each in group]
    broken = [
        k for k, (m, each) in enumerate(zip(whole, flat, strict=True)) if not survives(m, each)
    ]
    if not broken:
        return
    first = whole[broken[0]]
    kept, shift = flat[broken[0]]
    bad = first[kept != first << shift].flat[0]
    now = kept[kept != first << shift].flat[0] / (1 << shift)
    count = sum(int(np.count_nonzero(flat[k][0] != whole[k] << flat[k][1])) for k in broken)
    what = (
        f"{count:,} of {sum(m.size for m in whole):,} weights change when NetX rescales them: "
        f"{bad} becomes {now:g}"
    )
    name = f"layer{index}"

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int | None:
        node = graph[name]
        synapse = graph[node.inputs[0]]
        assert isinstance(synapse, Dense)
        rows = len(synapse.weight)
        own_shift = 0
        pieces = flat if own is None else flat[:1]
        weight = np.concatenate([kept.reshape(rows // len(pieces), -1) for kept, _ in pieces])
        shift = np.repeat([shift for _, shift in pieces], rows // len(pieces))
        wrong = _with(graph, replace(synapse, weight=weight))
        if own is not None:
            assert isinstance(node, Recurrent)
            kept, own_shift = flat[1]
            if np.any(kept & ((1 << own_shift) - 1)):
                return None  # rounded sums, which no node makes
            wrong = _with(wrong, replace(node, weight=(kept >> own_shift).reshape(rows, rows)))
        return differing(right, run(wrong, data, {synapse.name: shift}))

    yield what, fault


def resonators(index: int, neuron: dict[str, Any]) -> Iterator[tuple[str, Fault | None]]:
    """NetX goes through period and decay in floating point, and truncates on the way back."""
    sin, cos = neuron.get("sinDecay"), neuron.get("cosDecay")
    if not isinstance(sin, np.ndarray) or not isinstance(cos, np.ndarray):
        return
    with np.errstate(all="ignore"):
        real, imag = cos / 4096, sin / 4096
        kept = 1 - (1 - np.sqrt(real**2 + imag**2))
        turn = np.pi * 2 * 1 / (1 / (np.arctan2(imag, real) / 2 / np.pi))
        taken = [np.nan_to_num(kept * part(turn)) * 4096 for part in (np.sin, np.cos)]
    now = [part.astype(np.int64) for part in taken]
    if np.array_equal(now[0], sin) and np.array_equal(now[1], cos):
        return

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        node = graph[f"layer{index}"]
        assert isinstance(node, ResonateFire)
        moved = replace(node, sin=np.atleast_1d(now[0]), cos=np.atleast_1d(now[1]))
        return differing(right, run(_with(graph, moved), data))

    yield (
        f"its decays are truncated: sinDecay {_span(sin)} and cosDecay {_span(cos)} become "
        f"{_span(now[0])} and {_span(now[1])}",
        fault,
    )


def lead_in(name: str, hosted: bool) -> Fault:
    """Without a reset before the first frame: each sample alone, from the chip's first step on.

    Args:
        hosted: whether the file begins with neurons that the host drives.
    """

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int | None:
        graph, data = _behind_the_host(graph, data, hosted)
        if not _resets_alone(graph):
            return None
        return differing(right, _alone(graph, data, frozenset([name])))

    return fault


def carried_over(hosted: bool) -> Fault:
    """What samples in a row do that they do not do alone, without a reset between them."""

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int | None:
        graph, data = _behind_the_host(graph, data, hosted)
        if not _resets_alone(graph):
            return None
        together = dict(rerun(graph, data, Plan(stream=True, resets="never")))
        return differing(_alone(graph, data, None), together)

    return fault


# what keeps something of its own, besides LIF neurons and readouts without leaks
KEEPING = (Delay, Recurrent, Delta, SigmaDelta, Sigma, LeakyReadout, ResonateFire, Adaptive)


def _resets_alone(graph: Graph) -> bool:
    """Whether nothing but LIF neurons keeps anything, as the rerun without resets takes it."""
    return not any(
        isinstance(node, KEEPING) or (isinstance(node, Dense) and np.any(node.delay))
        for node in graph
    )


def _alone(graph: Graph, data: npt.NDArray[Any], at: frozenset[str] | None) -> Messages:
    """Each sample from rest on a chip that resets none of ``at`` (all) at its first frame."""
    plan = Plan(stream=True, resets="never", at=at)
    samples = [dict(rerun(graph, data[:, n : n + 1], plan)) for n in range(data.shape[1])]
    return {name: np.concatenate([each[name] for each in samples], 1) for name in samples[0]}


def _behind_the_host(
    graph: Graph, data: npt.NDArray[Any], hosted: bool
) -> tuple[Graph, npt.NDArray[Any]]:
    """Neurons that the host drives have no synapse in NetX: their messages are the frames."""
    if not hosted:
        return graph, data
    node = graph["layer0"]
    sent = run(graph, data)[node.name]
    gone = (graph.input.name, *node.inputs, node.name)
    low, high = int(sent.min()), int(sent.max())
    bits = max(1, high.bit_length(), (-low).bit_length()) + (low < 0)
    entry = Input(node.name, graph.facts(node.name).shape, bits, low < 0)
    return Graph([entry, *(each for each in graph if each.name not in gone)], graph.steps), sent


def _with(graph: Graph, node: Node) -> Graph:
    return Graph([node if each.name == node.name else each for each in graph], graph.steps)


def _span(values: npt.NDArray[Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}..{high}"
