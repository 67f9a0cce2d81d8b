"""Rules of a target besides the widths of integers: one named function each.

The widths of weights, thresholds, biases, decays and sums hold on every target
(:mod:`neuroport.targets.widths`). The rules here depend on the target's file. A finding is
*refused*, or, on a chip, *unproven* if no public source shows the construct on hardware; it then
names the small network that would prove it (:mod:`neuroport.targets.qualification_networks`).
Sources are given in docstrings and in the target's file. Nothing was checked on hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroport.deprecated import moved
from neuroport.errors import IllegalError
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import (
    CHANGES,
    GRADED,
    MESSAGES,
    Node,
    Population,
    Synapse,
)
from neuroport.graph.node import Conv, Dense, Readout, Relay
from neuroport.lowering.exponents import MOST_PARTS, holds_exponent, largest, shifted
from neuroport.targets.qualification_networks import (
    COLUMNS,
    EXPONENTS,
    MERGED,
    for_product,
    for_size,
)
from neuroport.targets.target import Target, load_target
from neuroport.targets.widths import WIDTHS

PRODUCT_SEEN = 480  # the largest product of the published run of ProdNeuron on Loihi 2
REFUSED, UNPROVEN = "refused", "unproven on hardware"
_CUSTOM = "custom_neurons in a target file"
LISTED = 8  # findings in an error


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a node breaks (``refused``), or for which there is no evidence (``unproven``).

    An unproven finding names the ``construct`` that proves it on a board; none if no construct is
    large enough, or if it depends on the frames.
    """

    rule: str
    node: str
    message: str
    severity: str = REFUSED
    construct: str = ""

    def __str__(self) -> str:
        mark = "" if self.severity == REFUSED else f"{self.severity}: "
        return f"{self.node}: {mark}{self.message} [{self.rule}]"


# severity and message, and the construct that would prove what is unproven
Found = tuple[str, str] | tuple[str, str, str] | None
Rule = Callable[[Graph, Any, Target], Found]
_ON: dict[Rule, type[Node]] = {}  # rules that ask nodes of a class only


def on(kind: type[Node]) -> Callable[[Rule], Rule]:
    """Restrict a rule to the nodes of a class."""

    def register(rule: Rule) -> Rule:
        _ON[rule] = kind
        return rule

    return register


def widths_are_proven(graph: Graph, node: Node, target: Target) -> Found:
    """A chip does not check sums during a run, so a declared width may be exceeded unnoticed."""
    if node.name not in graph.checked:
        return None
    told = (
        f"its current is declared to stay within {graph.checked[node.name]}, not proven to, and "
        f"{target.name} checks nothing while it runs; "
    )
    if target["checked_widths"]:
        return UNPROVEN, told + "run the same frames on an engine that checks first", ""
    return REFUSED, told + (
        "quantize with widths='proven', or allow it (checked_widths in a target file)"
    )


def interval_is_a_power_of_two(graph: Graph, node: Node, target: Target) -> Found:
    """On Loihi 2, states are reset every 2**k steps (NeuroBench's and mlGeNN's scripts)."""
    spaced = graph.interval & (graph.interval - 1)
    if node.takes or not target["power_of_two_reset"] or not spaced:
        return None
    return REFUSED, (
        f"samples follow each other every {graph.interval} steps, and states reset every 2**k; "
        "lower with --power-of-two-interval"
    )


def messages_fit(graph: Graph, node: Node, target: Target) -> Found:
    """Graded messages, including their sign, have at most as many bits as the payload."""
    facts = graph.facts(node.name)
    if facts.wire != MESSAGES or node.takes == MESSAGES:
        return None
    bits = target.limit("message_bits")
    if bits is None:
        return None
    low, high = int(facts.low.min()), int(facts.high.max())
    if bits == 1:
        return (
            None
            if (low, high) in ((0, 0), (0, 1))
            else (
                REFUSED,
                f"messages {low}..{high} are graded and the chip sends spikes only; "
                "lower with --carrier unroll, or encode the frames as spikes",
            )
        )
    if isinstance(node, Population) and not node.bounded:  # checked while an engine runs
        return None
    if not -(1 << (bits - 1)) <= low <= high < 1 << (bits - 1):
        return REFUSED, f"messages {low}..{high} need more than {bits} bits; shift them right"
    return None


@on(Population)
def neuron_exists(graph: Graph, node: Population, target: Target) -> Found:
    """The chip or a public library for it has the neuron.

    Evidence: LIF, LIFReset, Sigma, Delta, SigmaDelta, GradedVec and ProdNeuron, which rounds, ran
    on Loihi 2 (notebooks of lava-dl, lava_va). Adaptive thresholds and Izhikevich's resonator exist
    in Python only; Lava's other resonator has no published run.
    """
    known, why = target.has_neuron(node.kind), node.cpu_only()
    if not target.is_chip:
        return None if known else (REFUSED, f"{target.name} has no {node.kind} neuron")
    own = target["custom_neurons"] and node.gives == MESSAGES
    if why and not own:
        cure = f", or bring microcode ({_CUSTOM})" if node.gives == MESSAGES else ""
        return REFUSED, why + cure
    if not target["programmable"]:
        graded = node.emits == GRADED and int(graph.facts(node.name).high.max()) > 1
        if known and not graded:
            return None
        return REFUSED, (
            f"a {node.kind} needs programmable neurons; the chip has leaky integrate-and-fire only"
        )
    if not known and not why:
        return REFUSED, (
            f"{target.name} is not known to have a {node.kind} neuron; if it has, say so in a "
            "target file of your own, under neuron_kinds and with a source"
        )
    if own:
        return None
    match node:
        case Relay() if node.shift:
            return _rounding(graph, node)
    if node.kind == "resonator":
        why = "no run of Lava's resonator on a chip is published; try it alone first"
        return UNPROVEN, why, "resonator"
    return None


def _rounding(graph: Graph, node: Relay) -> Found:
    """Lava's ``ProdNeuron`` rounds: ``(current + half) * 1 >> shift``, in 24-bit inputs.

    Source: ``lava/proc/prodneuron`` of Lava 0.10.0 (inputs of 24 bits). It ran on Loihi 2 as
    ``ProductVec`` in ``tutorials/lava_va/Tutorial02`` (stored output: "Running on Loihi 2", N3B3),
    where products reached 480 and nothing was shifted.
    """
    facts, half = graph.facts(node.name), 1 << (node.shift - 1)
    worst = max(int(facts.reach_high.max()) + half, -int(facts.reach_low.min()) - half)
    if worst > integers.MESSAGE_MAX:
        return REFUSED, (
            f"it rounds (>> {node.shift}), and its current with half a unit can reach {worst:,}, "
            f"more than the {integers.STATE_BITS} bits of a ProdNeuron's input; use a coarser LSB "
            "for its stream"
        )
    return (
        UNPROVEN,
        f"it rounds (>> {node.shift}) as Lava's ProdNeuron, with products up to {worst:,}; a "
        f"published run on a chip multiplied up to {PRODUCT_SEEN} and shifted nothing, and how "
        "wide a product may be is not published: compare it alone first",
        for_product(worst),
    )


def _beyond(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit


@on(Synapse)
def delays_exist(graph: Graph, node: Synapse, target: Target) -> Found:
    """Convolutions cannot delay messages; dense synapses can, up to the target's limit."""
    held = max(steps for name in node.inputs for _, steps in graph.past_delays(name))
    match node:
        case Conv() if (node.lag or held) and not target["convolution_delay"]:
            cure = "lower with --align relays" if node.lag else "train without axonal delays"
            return REFUSED, f"a convolution cannot delay messages; {cure}"
        case Dense() if _beyond(longest := node.longest_delay + held, target.limit("delay")):
            return REFUSED, f"it delays by {longest} steps, more than {target['delay']}; shorten it"
    return None


@on(Conv)
def geometry_fits(graph: Graph, node: Conv, target: Target) -> Found:
    """Kernel, stride, padding and dilation fit their fields (8-bit signed in Lava)."""
    sizes = (*node.packed("weight").shape[2:], *node.stride, *node.padding, *node.dilation)
    if _beyond(max(sizes), target.limit("kernel")):
        return REFUSED, (
            f"kernel, stride, padding or dilation reaches {max(sizes)}, more than "
            f"{target['kernel']}; use a smaller one"
        )
    return None


@on(Synapse)
def exponent_fits(graph: Graph, node: Synapse, target: Target) -> Found:
    """The exponent of the weights fits its field, if the field is known.

    Lava's ``Conv`` ignores exponents, so the weights of a convolution must include it.
    """
    most = target.limit("weight_exponent")
    if most is None:
        return None
    match node:
        case Conv() if not holds_exponent(node):
            reach, most_held = int(abs(shifted(node)).max()), largest(node.weight)
            cure = "lower it for the chip (neuroport lower --target), which writes it as a sum of "
            cure += "kernels, or use one LSB for its stream"
            if reach > MOST_PARTS * most_held:
                cure = f"more than {MOST_PARTS} kernels would be needed; use one LSB for its stream"
            return REFUSED, (
                f"Lava's Conv ignores weight exponents, and with exponent {node.exponent} weights "
                f"reach {reach}, more than {most_held}; {cure}"
            )
        case Dense() if node.exponent > most:
            return (
                UNPROVEN,
                f"its weights have exponent {node.exponent}; more than {most} "
                "was not seen on a chip, use a coarser LSB for its stream",
                for_size("exponent", EXPONENTS, node.exponent),
            )
    return None


@on(Population)
def constants_are_shared(graph: Graph, node: Population, target: Target) -> Found:
    """All neurons of a Lava LIF process share one threshold and one pair of decays."""
    if target["channel_constants"]:
        return None
    for field, what, values in node.constants():
        shared = what.fits is not None and what.per == "channel"
        if shared and int(np.min(values)) != int(np.max(values)):
            return REFUSED, (
                f"{field} differs between channels, a population on the chip has one; fold the "
                "difference into weights, or make a population of each value"
            )
    return None


@on(Readout)
def readout_does_not_fire(graph: Graph, node: Readout, target: Target) -> Found:
    """On the chip, a readout is a LIF whose potential must stay below the largest threshold."""
    facts = graph.facts(node.name)
    top = int(facts.reach_high.max()) + max(0, int(node.bias.max()))
    worst = top * graph.interval
    if worst <= integers.THRESHOLD_MAX:
        return None
    return (
        UNPROVEN,
        f"its potential can reach {worst:,} in the worst case and would fire beyond "
        f"{integers.THRESHOLD_MAX:,}, the largest threshold; compare with the reference's maximum",
        "readout-range",
    )


@on(Population)
def dendrite_is_known(graph: Graph, node: Population, target: Target) -> Found:
    """There is no published run with several convolutions into one population.

    Grouped convolutions are not documented, either; the engine ``loihi2`` writes full kernels.
    """
    synapses = graph.synapses_into(node.name)
    merged = sum(len(synapse.inputs) for synapse in synapses if isinstance(synapse, Conv))
    if merged > 1:
        return (
            UNPROVEN,
            f"{merged} convolutions meet here; exact on Lava's CPU simulator, no run on a chip is "
            "published: try it on two layers first",
            for_size("merged", MERGED, merged),
        )
    return None


def reset_exists(graph: Graph, node: Node, target: Target) -> Found:
    """Lava has no reset of sigma-delta populations; neuroport has one on the CPU simulator."""
    if node.emits != CHANGES or target["custom_neurons"]:
        return None
    why = "it has no reset in Lava; run one sample after each boot, or compare a stream"
    return UNPROVEN, why, "sigma-delta"


@on(Conv)
def width_is_exact(graph: Graph, node: Conv, target: Target) -> Found:
    """Wide feature maps lose spikes in lava-dl's compiler (its own warning)."""
    limit = target.limit("exact_width")
    if limit is None:
        return None
    width = max(graph.facts(name).shape[-1] for name in (node.name, *node.inputs))
    if width <= limit:
        return None
    return (
        UNPROVEN,
        f"a feature map of {width} columns, more than {limit}: the compiler warns that spikes of "
        "some columns may get lost; use smaller frames",
        for_size("width", COLUMNS, width),
    )


RULES: tuple[Rule, ...] = (
    widths_are_proven,
    interval_is_a_power_of_two,
    messages_fit,
    neuron_exists,
    delays_exist,
    geometry_fits,
    exponent_fits,
    constants_are_shared,
    readout_does_not_fire,
    dendrite_is_known,
    reset_exists,
    width_is_exact,
)


def rule_names() -> list[str]:
    """Every rule that is checked."""
    return [rule.__name__ for rule in (*WIDTHS, *RULES)]


def too_wide(graph: Graph) -> Iterator[Finding]:
    """Yield the findings that refuse ``graph`` on every target, in graph order."""
    for node in graph:
        yield from _too_wide(graph, node)


def _too_wide(graph: Graph, node: Node) -> Iterator[Finding]:
    for rule in WIDTHS:
        message = rule(graph, node)
        if message is not None:
            yield Finding(rule.__name__, node.name, message)


def findings(graph: Graph, target: Target) -> Iterator[Finding]:
    """List all findings on ``graph`` for ``target``, in graph order."""
    for node in graph:
        yield from _too_wide(graph, node)
        for rule in RULES:
            if not isinstance(node, _ON.get(rule, Node)):
                continue
            found = rule(graph, node, target)
            if found is None:
                continue
            severity, message, *construct = found
            if severity == REFUSED or target.is_chip:  # a simulator proves what it runs
                yield Finding(rule.__name__, node.name, message, severity, *construct)


def by_rule(found: Iterable[Finding]) -> list[str]:
    """Return one line per rule and severity: the first node, and how many more."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        groups.setdefault((finding.rule, finding.severity), []).append(finding)
    return [
        f"{first}{f' and {len(rest)} more such nodes' if rest else ''}"
        for first, *rest in groups.values()
    ]


def refusals(graph: Graph, target: Target) -> list[Finding]:
    """Return the findings that forbid a run."""
    return [finding for finding in findings(graph, target) if finding.severity == REFUSED]


def require_legal(graph: Graph, target: Target | str = "lava-cpu") -> None:
    """Raise if a rule of ``target`` is broken.

    Raises:
        IllegalError: names the broken rules, with nodes and remedies.
        TargetError: no such target.
    """
    board = target if isinstance(target, Target) else load_target(target)
    require_none(refusals(graph, board), board.name)


def require_none(broken: Sequence[Finding], where: str) -> None:
    """Raise if any finding is given.

    Raises:
        IllegalError: names the findings; ``where`` is the target.
    """
    if broken:
        listing = "; ".join(map(str, broken[:LISTED]))
        more = f"; and {len(broken) - LISTED} more" if len(broken) > LISTED else ""
        raise IllegalError(f"illegal for {where}: {listing}{more}")


__getattr__ = moved(
    __name__, {"Violation": f"{__name__}:Finding", "check": f"{__name__}:require_legal"}
)
