"""Nodes in a few words, for labels and tooltips."""

from __future__ import annotations

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import span
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay, Synapse

TIMES = "\N{MULTIPLICATION SIGN}"


def by(sizes: tuple[int, ...]) -> str:
    """Sizes joined by a multiplication sign: 16 by 28 by 28."""
    return TIMES.join(str(n) for n in sizes)


def kernel(node: Node) -> str:
    """A synapse: ``conv 3 by 3 /2`` (a stride of 2), ``dense``, or ``identity``."""
    match node:
        case Conv():
            if _is_identity(node):
                return "identity"
            stride = "" if max(node.stride) == 1 else f" /{_pair(node.stride)}"
            groups = "" if node.groups == 1 else f" in {node.groups} groups"
            return f"conv {by(node.weight.shape[2:])}{stride}{groups}"
        case Dense():
            square = node.weight.shape[0] == node.weight.shape[1] and node.exponent == 0
            same = square and np.array_equal(node.weight, np.eye(len(node.weight), dtype=np.int64))
            return "identity" if same else "dense"
        case _:
            return ""


def describe_population(graph: Graph, node: Node) -> str:
    """Name, kind, shape and constants of a population or input, one a line."""
    facts = graph.facts(node.name)
    place = [f"shape {by(facts.shape)}", f"skew {facts.skew}"]
    match node:
        case Lif():
            decays = (
                f"decay of current {span(node.current_decay)}, "
                f"of voltage {span(node.voltage_decay)}"
            )
            constants = [f"threshold {span(node.threshold)}", decays, _bias(node)]
            lines = [node.name, "leaky integrate-and-fire", *place, *constants]
        case Relay():
            constants = [f"shift {node.shift}", f"threshold {node.threshold}"]
            lines = [node.name, "graded relay", *place, *constants]
        case Readout():
            lines = [node.name, "readout, never fires", *place, _bias(node)]
        case Input():
            sign = "signed" if node.signed else "unsigned"
            lines = [node.name, f"input, {sign} {node.bits} bit", *place]
        case _:
            lines = [node.name, node.kind, *place]
    return "\n".join(lines)


def describe_synapse(node: Synapse, source: str, target: str) -> str:
    """Name, ends, kernel and weights of a synapse, one a line."""
    lines = [node.name, f"{source} \N{RIGHTWARDS ARROW} {target}", kernel(node)]
    lines.append(f"weight {by(node.weight.shape)}, {node.weight.min()} to {node.weight.max()}")
    if isinstance(node, Conv):
        lines.append(f"stride {_pair(node.stride)}, padding {_pair(node.padding)}")
        lines.append(f"dilation {_pair(node.dilation)}, groups {node.groups}")
    return "\n".join(lines)


def _is_identity(node: Conv) -> bool:
    depthwise = node.weight.shape[1:] == (1, 1, 1) and node.groups == len(node.weight)
    plain = max(node.stride) == 1 and max(node.padding) == 0 and node.exponent == 0
    return depthwise and plain and bool((node.weight == 1).all())


def _pair(sizes: tuple[int, int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else by(sizes)


def _bias(node: Lif | Readout) -> str:
    return f"bias {node.bias.min()} to {node.bias.max()}"
