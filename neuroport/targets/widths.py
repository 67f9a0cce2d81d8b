"""Rules for the widths of integers on every target: one named function each.

Sources: Lava 0.10.0, ``lava/proc/{lif,sdn,rf}/models.py`` (state widths, thresholds, bias mantissa)
and ``lava/utils/weightutils.py`` (weight fields); Loihi 2 shares these widths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from neuroport.graph import integers
from neuroport.graph.array_storage import hold
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import CHANGES, GRADED
from neuroport.graph.node import Node, Population, Synapse

# what a node breaks, in words
WidthRule = Callable[[Graph, Node], str | None]


def weights_fit_eight_bits(graph: Graph, node: Node) -> str | None:
    """Mixed-sign weights are even in [-254, 254]; weights of one sign are at most 255."""
    own = None if isinstance(node, Synapse) else node.own_weight
    if own is None and not isinstance(node, Synapse):
        return None
    weight = node.packed("weight") if own is None else hold(own)
    low, high = weight.range
    if low < 0 < high:
        if max(-low, high) > integers.WEIGHT_MAX or weight.bits & 1:
            return f"mixed-sign weights span {low}..{high}, not even in [-254, 254]; quantize again"
        return None
    if max(-low, high) > 255:
        return f"weights of one sign span {low}..{high} and must not exceed 255; quantize again"
    return None


def threshold_fits(graph: Graph, node: Node) -> str | None:
    """Thresholds are unsigned 17-bit integers."""
    for name, (_, high), (_, top) in _fields(node):
        if name == "threshold" and top > high:
            return f"threshold {top} exceeds {high}; use a coarser LSB"
    return None


def bias_fits(graph: Graph, node: Node) -> str | None:
    """Biases are 13-bit signed mantissas."""
    for name, (_, high), (low, top) in _fields(node):
        if name == "bias" and max(-low, top) > high:
            return f"|bias| reaches {max(-low, top)}, more than {high}; use a coarser LSB"
    return None


def decays_fit(graph: Graph, node: Node) -> str | None:
    """A LIF's current decay is at least 1 (stored minus one), its voltage decay at most 4095."""
    decays = [field for field in _fields(node) if field[0].endswith("_decay")]
    if all(least <= low and high <= most for _, (least, most), (low, high) in decays):
        return None
    found = "/".join(str(low if low < least else high) for _, (least, _), (low, high) in decays)
    ranges = ", ".join(f"{name.replace('_', ' ')} {low}..{high}" for name, (low, high), _ in decays)
    return (
        f"decays {found} must be within {ranges}; give the neuron a current_decay of 1/4096 at "
        "least, a voltage_decay of 4095/4096 at most"
    )


def _fields(node: Node) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Yield constants with a field on Lava and chips: name, range of the field, range of values."""
    for name, what, values in node.constants():
        if what.fits is not None:
            yield name, what.fits, (int(np.min(values)), int(np.max(values)))


def currents_fit(graph: Graph, node: Node) -> str | None:
    """The summed current of a step is provably below 2**17, so it alone cannot wrap the state.

    A slowly decaying current can still accumulate over steps and wrap, in the same way on every
    engine. If the population's width is declared, engines check it, and the proof is that sums fit
    the 32 bits of engines.
    """
    if not isinstance(node, Population) or not node.proves_current:
        return None
    facts, (least, most) = graph.facts(node.name), node.own_current()
    worst = max(-int(facts.reach_low.min()) - least, int(facts.reach_high.max()) + most)
    largest = integers.ACCUMULATOR_MAX if graph.is_declared(node.name) else integers.CURRENT_MAX
    if worst > largest:
        return f"current can reach {worst}, more than {largest}; use a coarser LSB"
    return None


def accumulators_fit(graph: Graph, node: Node) -> str | None:
    """Every synaptic sum and graded message provably fits 24 bits.

    Messages of sigma-delta populations are exempt, because engines check their sums during a run.
    So are sums into populations of declared widths only, which provably fit the 32 bits of engines.
    """
    if not isinstance(node, Synapse) and not (node.emits == GRADED and node.takes):
        return None
    if isinstance(node, Synapse) and all(_sends_changes(graph, name) for name in node.inputs):
        return None
    facts = graph.facts(node.name)
    bounds = (facts.low, facts.high, facts.reach_low, facts.reach_high)
    worst = max(int(np.abs(bound).max()) for bound in bounds)
    largest, bits = integers.MESSAGE_MAX, integers.STATE_BITS
    if graph.is_declared(node.name):
        largest, bits = integers.ACCUMULATOR_MAX, 32
    if worst > largest:
        return f"a sum can reach {worst}, more than {bits} bits hold; shift its source further"
    return None


def _sends_changes(graph: Graph, name: str) -> bool:
    return all(node.emits == CHANGES for node, _ in graph.past_delays(name))


def states_fit(graph: Graph, node: Node) -> str | None:
    """Thresholds and biases of sigma-delta, resonating and adaptive neurons fit 24-bit states."""
    if not isinstance(node, Population):
        return None
    worst = node.largest_state(graph.facts(node.name))
    if worst > integers.STATE_MAX:
        return f"a state or threshold reaches {worst}, more than 24 bits hold; use a coarser LSB"
    return None


def delays_fit(graph: Graph, node: Node) -> str | None:
    """A synapse delays messages by at most 62 steps, including its lag."""
    if node.longest_delay > integers.DELAY_MAX:
        return (
            f"a message is delayed by {node.longest_delay} steps, more than {integers.DELAY_MAX}; "
            "shorten the delay, or lower with align='relays'"
        )
    return None


def latencies_agree(graph: Graph, node: Node) -> str | None:
    """All inputs of a node have equal latency."""
    latencies = graph.facts(node.name).input_latencies
    if len(set(latencies)) > 1:
        late = ", ".join(f"{n} @{s}" for n, s in zip(node.inputs, latencies, strict=True))
        return f"inputs with unequal latency meet ({late}); lower the graph"
    return None


WIDTHS: tuple[WidthRule, ...] = (
    weights_fit_eight_bits,
    threshold_fits,
    bias_fits,
    decays_fit,
    delays_fit,
    states_fit,
    currents_fit,
    accumulators_fit,
    latencies_agree,
)
