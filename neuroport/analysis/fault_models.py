"""Faults that an engine may have, each with a run that shows its exact effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroport.analysis.fault_simulation import Plan, Rules
from neuroport.analysis.graph_difference import differences
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED
from neuroport.graph.node import Lif, Node, Readout, Relay, Synapse

MOST_STEPS = 8  # delays and lead-ins are tried up to so many steps


@dataclass(frozen=True)
class Hypothesis:
    """``kind`` of fault, its description, and the network and plan that simulate it."""

    kind: str
    sentence: str
    graph: Graph
    plan: Plan
    node: str | None = None
    field: str | None = None


def hypotheses(graph: Graph, population: str, *, first_sample_equal: bool) -> Iterator[Hypothesis]:
    """Yield possible faults of a run of ``graph`` that is first wrong at ``population``.

    Faults of all populations come before those of this one alone. ``first_sample_equal`` is whether
    sample 0 is right: a missing reset affects only later samples.
    """
    near = frozenset({population, *graph[population].inputs})
    for kind, sentence, rules in _arithmetic(graph):
        for at in (None, near):
            where = "" if at is None else f" in {population!r}"
            yield Hypothesis(kind, sentence + where, graph, Plan(rules, at))
    yield from _resets(graph, population, first_sample_equal)
    yield from _lead_ins(graph, population, first_sample_equal)
    yield from _delays(graph, population)
    yield from _missing_edges(graph, population)
    yield from _ignored_fields(graph, population)


def at_or_above(v: Any, limit: Any) -> Any:
    """Fire at ``>=`` where the network has ``>``."""
    return v >= limit


def _scaled(x: Any, rate: Any) -> Any:
    return x * (integers.DECAY_UNITY - rate)


def _half_even(x: Any, shift: int) -> Any:
    down, rest, half = x >> shift, x & ((1 << shift) - 1), (1 << shift) >> 1
    return down + ((rest > half) | ((rest == half) & (down & 1 == 1) & (shift > 0)))


def _half_away(x: Any, shift: int) -> Any:
    return np.sign(x) * integers.round_shift(abs(x), shift)


def _keep(x: Any) -> Any:
    return x


def _arithmetic(graph: Graph) -> Iterator[tuple[str, str, Rules]]:
    """Yield wrong arithmetic rules that differ from the right ones on this network's nodes."""
    lifs, relays = graph.of(Lif), graph.of(Relay)
    if lifs or any(relay.threshold for relay in relays):
        equality = "neurons fire at v >= threshold<<6, where the network says v > threshold<<6"
        yield "threshold equality", equality, Rules(fires=at_or_above)
    if any(relay.shift for relay in relays):
        for said, function in (
            ("floor", lambda x, shift: x >> shift),
            ("round toward zero", lambda x, shift: np.sign(x) * (abs(x) >> shift)),
            ("round half to even", _half_even),
            ("round half away from zero", _half_away),
        ):
            sentence = f"relays {said} where they shift, not round half up"
            yield "rounding", sentence, Rules(round=function)
    if any(
        ((d > 0) & (d < integers.DECAY_UNITY)).any()
        for node in lifs
        for d in (node.current_decay, node.voltage_decay)
    ):
        for said, decay in (
            ("floor", lambda x, rate: _scaled(x, rate) >> 12),
            ("round to nearest", lambda x, rate: (_scaled(x, rate) + 2048) >> 12),
            (
                "round away from zero",
                lambda x, rate: np.sign(x) * ((_scaled(abs(x), rate) + 4095) >> 12),
            ),
        ):
            sentence = f"decays {said}, not truncate toward zero"
            yield "rounding", sentence, Rules(decay=decay)
    wrap, clip = integers.wrap24, integers.saturate24
    for sentence, rules in (
        ("the current u is kept beyond 24 bits, not wrapped", Rules(wrap=_keep)),
        ("the current u saturates at 24 bits, not wraps", Rules(wrap=clip)),
        ("the voltage v is kept beyond 24 bits, not clipped", Rules(clip=_keep)),
        ("the voltage v wraps at 24 bits, not clips", Rules(clip=wrap)),
        ("neither u nor v is held within 24 bits", Rules(wrap=_keep, clip=_keep)),
        ("sums of synapses wrap at 24 bits", Rules(sums=wrap)),
        ("sums of synapses saturate at 24 bits", Rules(sums=clip)),
    ):
        yield "saturation", sentence, rules


def _resets(graph: Graph, population: str, first_sample_equal: bool) -> Iterator[Hypothesis]:
    if not first_sample_equal:
        return
    for at in (None, frozenset({population})):
        where = "" if at is None else f" of {population!r}"
        for resets, when in (("first", ""), ("never", ", nor before the first")):
            sentence = f"states{where} are not reset between samples{when}"
            plan = Plan(at=at, stream=True, resets=resets)
            yield Hypothesis("reset", sentence, graph, plan)


def _lead_ins(graph: Graph, population: str, first_sample_equal: bool) -> Iterator[Hypothesis]:
    """Yield resets that come too early, so that a state holds some steps of bias.

    The state also holds the end of the previous sample, and loses the end of its own. Without a
    bias, or if sample 0 is right, the reset itself is wrong.
    """
    names = [node.name for node in graph if isinstance(node, (Lif, Readout))]
    latencies = {name: graph.facts(name).latency for name in names}
    kind, said = "bias gating", "bias is integrated before the sample begins: states are reset"
    biased = any(node.bias.any() for node in graph if isinstance(node, (Lif, Readout)))
    if first_sample_equal or not biased:
        kind, said = "reset", "states are reset"
    sentence = f"{said} with the frames, each by its latency too early"
    yield Hypothesis(kind, sentence, graph, Plan(stream=True, lead=latencies))
    if biased and not first_sample_equal:
        sentence = "bias is integrated before the first sample begins, and states are never reset"
        yield Hypothesis(kind, sentence, graph, Plan(stream=True, resets="never"))
    for chosen, where in ((names, ""), ([population], f" in {population!r}")):
        for k in range(1, min(max(graph.depth, graph.steps), MOST_STEPS) + 1):
            lead = dict.fromkeys(chosen, k)
            steps = f"{k} step{'s' * (k > 1)}"
            sentence = f"{said} {steps} too early{where}"
            yield Hypothesis(kind, sentence, graph, Plan(stream=True, lead=lead))
            sentence = f"bias is integrated {steps} before the sample begins{where}"
            yield Hypothesis("bias gating", sentence, graph, Plan(lead=lead))


def _delays(graph: Graph, population: str) -> Iterator[Hypothesis]:
    names = [node.name for node in graph.populations]
    latency = graph.facts(population).latency
    deeper = [n for n in names if graph.facts(n).latency >= latency]
    shifts = [k for n in range(1, min(graph.steps - 1, MOST_STEPS) + 1) for k in (n, -n)]
    for k in shifts:
        amount = f"{abs(k)} step{'s' * (abs(k) > 1)}"
        for chosen, who in (
            (names, "every population"),
            (deeper, f"every population at least as deep as {population!r}"),
            ([population], f"population {population!r}"),
        ):
            # a recording that begins early shows everything late
            sentence = f"{who} is shifted, {amount} {'later' if k > 0 else 'earlier'}"
            plan = Plan(stream=True, window=dict.fromkeys(chosen, -k))
            yield Hypothesis("delay", sentence, graph, plan, population)
        for name in dict.fromkeys(graph[population].inputs):
            late = {(name, population): k}
            sentence = (
                f"{name!r} reaches {population!r} {amount} {'later' if k > 0 else 'earlier'} than "
                "its other inputs and its reset"
            )
            yield Hypothesis("delay", sentence, graph, Plan(stream=True, late=late), name)
            if k > 0:
                sentence = f"{name!r} reaches {population!r} {amount} later"
                yield Hypothesis("delay", sentence, graph, Plan(late=late, gated=True), name)
    if not graph.balanced:
        early = {
            (name, node.name): s - max(graph.facts(node.name).input_latencies)
            for node in graph
            for name, s in zip(node.inputs, graph.facts(node.name).input_latencies, strict=True)
        }
        sentence = "inputs of unequal latency meet: shortcuts arrive before what they bypass"
        yield Hypothesis("delay", sentence, graph, Plan(stream=True, late=early))


def _missing_edges(graph: Graph, population: str) -> Iterator[Hypothesis]:
    node = graph[population]
    for name in dict.fromkeys(node.inputs):
        sentence = f"{population!r} does not receive {name!r}"
        cut = without_edge(graph, name, population)
        yield Hypothesis("missing edge", sentence, cut, Plan(), population, "inputs")


def without_edge(graph: Graph, name: str, population: str) -> Graph:
    """Return the network without the edge ``name`` to ``population``."""
    nodes: list[Node] = []
    for node in graph:
        if node.name != population:
            nodes.append(node)
            continue
        inputs = list(node.inputs)
        inputs.remove(name)
        if not inputs:
            source = graph[name]
            assert isinstance(source, Synapse)
            silent = f"{name}~silent"
            nodes.append(source.replace(name=silent, weight=source.weight * 0))
            inputs = [silent]
        nodes.append(node.replace(inputs=tuple(inputs)))
    return graph.derived(nodes)


def _ignored_fields(graph: Graph, population: str) -> Iterator[Hypothesis]:
    """Yield fields that engines may ignore or misread, in all populations or in this one."""
    near = {population, *graph[population].inputs}
    for field, change, said in (
        ("bias", lambda x: x * 0, "bias is ignored"),
        ("exponent", lambda x: 0, "the exponent is ignored"),
        ("weight", lambda x: x - (x & 1), "odd weights are rounded down to even ones"),
        ("weight", lambda x: x + (x & 1), "odd weights are rounded up to even ones"),
        ("weight", lambda x: np.sign(x) * (abs(x) >> 1 << 1), "odd weights lose their lowest bit"),
        ("delay", lambda x: x * 0, "delays of the weights are ignored"),
        ("current_decay", lambda x: (x + 1).clip(0, 4096), "current decays are one too large"),
        ("current_decay", lambda x: (x - 1).clip(0, 4096), "current decays are one too small"),
        ("voltage_decay", lambda x: (x + 1).clip(0, 4096), "voltage decays are one too large"),
        ("voltage_decay", lambda x: (x - 1).clip(0, 4096), "voltage decays are one too small"),
        ("threshold", lambda x: (x - 1).clip(0), "thresholds are one too small"),
        ("threshold", lambda x: x + 1, "thresholds are one too large"),
    ):
        seen = {graph.hash}
        for chosen, where in ((None, ""), (near, f" at {population!r}")):
            nodes = [
                _changed(node, field, change)
                if (chosen is None or node.name in chosen) and _has(node, field)
                else node
                for node in graph
            ]
            variant = graph.derived(nodes)
            if variant.hash in seen:
                continue
            seen.add(variant.hash)
            changed = [d.node for d in differences(graph, variant)]
            named = next((name for name in changed if name in near), changed[0])
            kind = "delay" if field == "delay" else "scale"
            yield Hypothesis(kind, said + where, variant, Plan(), named, field)


def _changed(node: Node, field: str, change: Callable[[Any], Any]) -> Node:
    values: dict[str, Any] = {field: change(getattr(node, field))}
    return node.replace(**values)


def _has(node: Node, field: str) -> bool:
    # a relay's threshold is no voltage
    return hasattr(node, field) and node.emits != GRADED
