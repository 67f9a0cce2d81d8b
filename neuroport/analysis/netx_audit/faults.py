"""Simulate single errors of NetX, to count their effect."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.netx_audit.rescaling import rescaled, survives
from neuroport.backends.executor import Starts, chip_stream, cut_window, evaluate, walk
from neuroport.backends.reference import NumpyArithmetic, output
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    AdaptiveRecurrent,
    Dense,
    IntArray,
    LeakyReadout,
    Lif,
    Node,
    Population,
    Readout,
    Recurrent,
    ResonateFire,
)
from neuroport.netx import layer_starts, schema
from neuroport.netx.unread_fields import Content
from neuroport.runs.frames import check_frames

LATE = ".delayed"
_NEVER = 1 << 60
Messages = dict[str, npt.NDArray[Any]]
# how many positions differ from what the network sends; None where that is unknown
Fault = Callable[[Graph, npt.NDArray[Any], Messages], "int | None"]


def run(
    graph: Graph, frames: npt.NDArray[Any], shifts: dict[str, IntArray] | None = None
) -> Messages:
    """Run a graph; return all messages (T, N, *shape). Currents in ``shifts`` are shifted right."""
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
    """Count differing positions, including those of lost delays of the last layer."""
    late = (name + LATE for name in wrong if name + LATE in right and name + LATE not in wrong)
    heard = {**wrong, **{name: wrong[name.removesuffix(LATE)] for name in late}}
    names = right.keys() & heard.keys()
    return sum(int(np.count_nonzero(right[name] != heard[name])) for name in names)


def passed_over(content: Content, field: str, index: int) -> Fault:
    """Return the error of ignoring a field of a layer."""

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        return differing(
            right, run(content.graph(graph.steps, graph.input, {(field, index)}), data)
        )

    return fault


def ungraded(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
    """Return the error of reading every message of the frames as a spike."""
    return differing(right, run(graph, (data != 0).astype(data.dtype)))


def at_the_input(content: Content, index: int, late: IntArray) -> Fault:
    """Return the error of applying a dense layer's output delays to its input."""

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        wrong = content.graph(graph.steps, graph.input, {("delay", index)})
        name = wrong[f"layer{index}"].inputs[0]
        synapse = wrong.expect(name, Dense)
        delay = np.broadcast_to(synapse.delay, synapse.weight.shape) + late[:, None]
        return differing(right, run(_with(wrong, replace(synapse, delay=delay)), data))

    return fault


def weights(index: int, layer: dict[str, Any]) -> Iterator[tuple[str, Fault | None]]:
    """Yield the changes that NetX's rescaling makes to the weights of a dense layer."""
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
        synapse = graph.expect(node.inputs[0], Dense)
        rows = len(synapse.weight)
        own_shift = 0
        pieces = flat if own is None else flat[:1]
        weight = np.concatenate([kept.reshape(rows // len(pieces), -1) for kept, _ in pieces])
        shift = np.repeat([shift for _, shift in pieces], rows // len(pieces))
        wrong = _with(graph, replace(synapse, weight=weight))
        if own is not None:
            recurrent = graph.expect(name, Recurrent)
            kept, own_shift = flat[1]
            if np.any(kept & ((1 << own_shift) - 1)):
                return None  # rounded sums, which no node makes
            wrong = _with(wrong, replace(recurrent, weight=(kept >> own_shift).reshape(rows, rows)))
        return differing(right, run(wrong, data, {synapse.name: shift}))

    yield what, fault


def resonators(index: int, neuron: dict[str, Any]) -> Iterator[tuple[str, Fault | None]]:
    """Yield the errors of NetX for resonators, which it converts in floating point.

    NetX computes period and decay and truncates the values computed back from them. Whether
    rounding makes them smaller than the original integers depends on the processor's sine, cosine
    and arc tangent. Every resonator that rotates is therefore reported, and the counts are those on
    this processor.
    """
    sin, cos = neuron.get("sinDecay"), neuron.get("cosDecay")
    if not isinstance(sin, np.ndarray) or not isinstance(cos, np.ndarray) or not sin.any():
        return
    with np.errstate(all="ignore"):
        real, imag = cos / 4096, sin / 4096
        kept = 1 - (1 - np.sqrt(real**2 + imag**2))
        turn = np.pi * 2 * 1 / (1 / (np.arctan2(imag, real) / 2 / np.pi))
        taken = [np.nan_to_num(kept * part(turn)) * 4096 for part in (np.sin, np.cos)]
    now = [part.astype(np.int64) for part in taken]
    same = np.array_equal(now[0], sin) and np.array_equal(now[1], cos)

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        node = graph.expect(f"layer{index}", ResonateFire)
        moved = replace(node, sin=np.atleast_1d(now[0]), cos=np.atleast_1d(now[1]))
        return differing(right, run(_with(graph, moved), data))

    here = "keeps them" if same else f"makes them {_span(now[0])} and {_span(now[1])}"
    yield (
        "its decays are truncated after a sine and a cosine that differ between processors: "
        f"sinDecay {_span(sin)} and cosDecay {_span(cos)} may each lose 1; this processor {here}",
        fault,
    )


def lead_in(name: str, hosted: bool) -> Fault:
    """Simulate NetX without a reset before the first frame, each sample alone.

    Args:
        hosted: whether the file begins with neurons driven by the host.
    """

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        return differing(right, _alone(graph, data, Clock(hosted=hosted, free={name})))

    return fault


def began_together(content: Content) -> Fault:
    """Simulate biases of all layers from the first step on, as with SLAYER's shift."""

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        plain = replace(content, delay_shift=False).graph(graph.steps, graph.input)
        return differing(right, _alone(plain, data, _shifting(content, plain)))

    return fault


def otherwise(content: Content, other: Content, graph: Graph, data: npt.NDArray[Any]) -> int:
    """Count the positions at which two readings of a file differ, aligned to the same frames."""
    plain = replace(content, delay_shift=False).graph(graph.steps, graph.input)
    lead = _shifting(other, plain).lead
    wrong = run(other.graph(graph.steps, graph.input), data)
    right = run(graph, data)
    return sum(
        int(np.count_nonzero(wrong[name][late:] != right[name][: len(right[name]) - late]))
        for name, late in lead.items()
    )


def carried_over(content: Content) -> Fault:
    """Return the error of running samples in a row without resets between them."""

    def fault(graph: Graph, data: npt.NDArray[Any], right: Messages) -> int:
        plain = replace(content, delay_shift=False).graph(graph.steps, graph.input)
        clock = _shifting(content, plain)
        return differing(_alone(plain, data, clock), timed(plain, data, clock))

    return fault


def mending(content: Content, graph: Graph, data: npt.NDArray[Any]) -> dict[str, int | None]:
    """Return the ``reset_offset`` with which NetX is right up to a population.

    NetX is reset every T steps. The offset is found by trying 0 and 1 on ``data``; None if neither
    equals ``graph`` in this population and all earlier ones.
    """
    right = run(graph, data)
    plain = replace(content, delay_shift=False).graph(graph.steps, graph.input)
    found: dict[str, int | None] = {node.name: None for node in plain.populations}
    for offset in (0, 1) if content.hosted else (1, 0):
        tried = timed(plain, data, replace(_shifting(content, plain), offset=offset))
        for node in plain.populations:
            # neurons of a recurrent layer still receive their spikes from before the reset
            if isinstance(node, (Recurrent, AdaptiveRecurrent)):
                break
            if node.name not in right or not np.array_equal(tried[node.name], right[node.name]):
                break
            if found[node.name] is None:
                found[node.name] = offset
        if None not in found.values():
            break
    return found


@dataclass(frozen=True)
class Clock:
    """The start and the resets of a chain's populations, on a chip or in NetX.

    Attributes:
        hosted: whether the first population has no synapse before it; the chip then starts one step
        later.
        free: populations that are not reset, like all synapses; None: all.
        offset: NetX's ``reset_offset``; None: nothing resets.
        lead: population -> number of recorded steps before its first frame.
    """

    hosted: bool
    free: Container[str] | None = None
    offset: int | None = None
    lead: Mapping[str, int] = field(default_factory=dict)


RESET = (Lif, Readout, LeakyReadout)  # NetX's LIFReset; Recurrent, too, but not what it sent itself


def timed(graph: Graph, data: npt.NDArray[Any], clock: Clock) -> Messages:
    """Yield the messages of every population on the chip's time axis, all samples in a row."""
    samples = data.shape[1]
    after = np.zeros((max(clock.lead.values(), default=0), *data.shape[2:]), data.dtype)
    stream = np.concatenate([chip_stream(graph, data), after])[:, None]
    found = {}
    order = [node.name for node in graph.populations]
    engine = _Clocked(graph, clock, {name: k for k, name in enumerate(order)})
    for node, out in evaluate(engine, graph, stream, chip=True):
        if isinstance(node, Population):
            latency = graph.facts(node.name).latency - clock.lead.get(node.name, 0)
            found[node.name] = cut_window(graph, out[:, 0], latency, samples)
    return found


def _alone(graph: Graph, data: npt.NDArray[Any], clock: Clock) -> Messages:
    """Run each sample alone."""
    samples = [timed(graph, data[:, n : n + 1], clock) for n in range(data.shape[1])]
    return {name: np.concatenate([each[name] for each in samples], 1) for name in samples[0]}


def _shifting(content: Content, plain: Graph) -> Clock:
    """NetX without resets, recorded at the steps of the intended network."""
    lead, total = {}, 0
    by = layer_starts.shifts(plain, sigma_delta=True) if content.delay_shift else {}
    for node in plain.populations:
        total += by.get(node.name, 0)
        lead[node.name] = total
    return Clock(content.hosted, lead=lead)


class _Clocked(NumpyArithmetic):
    def __init__(self, graph: Graph, clock: Clock, place: Mapping[str, int]) -> None:
        self.graph, self.clock, self.place = graph, clock, place
        self.born = int(clock.hosted)

    def output(self, node: Node, arriving: IntArray, starts: Starts) -> IntArray:
        if self.clock.free is None or node.name in self.clock.free:
            starts = Starts(self.born, _NEVER)
            if self.clock.offset is not None and isinstance(node, RESET):
                first = self.born + self.clock.offset + self.place[node.name]
                starts = _BornAndReset(self.born, first, self.graph.interval)
        out = output(node, arriving, starts)
        if isinstance(node, Population):
            out[: self.born] = 0
        return out


class _BornAndReset(Starts):
    """A start from rest, and resets."""

    def __init__(self, born: int, first: int, interval: int) -> None:
        super().__init__(first, interval)
        self.born = born

    def at(self, t: int) -> bool:
        return t == self.born or super().at(t)


def _with(graph: Graph, node: Node) -> Graph:
    return Graph([node if each.name == node.name else each for each in graph], graph.steps)


def _span(values: npt.NDArray[Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}..{high}"
