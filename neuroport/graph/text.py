"""A graph as text: one line per node, stable, so that passes can be compared with diff."""

from __future__ import annotations

from neuroport.graph.graph import Graph
from neuroport.graph.node import KIND, Conv, Dense, Input, Lif, Node, Readout, Relay


def text(graph: Graph) -> str:
    """One line per node: kind, name, shape, skew, fields, inputs."""
    lines = [f"graph {graph.hash[:12]} steps={graph.steps} nodes={len(graph)} depth={graph.depth}"]
    width = max(len(node.name) for node in graph)
    for node in graph:
        facts = graph.facts(node.name)
        shape = "x".join(str(n) for n in facts.shape)
        source = f" <- {' + '.join(node.inputs)}" if node.inputs else ""
        lines.append(
            f"{KIND[type(node)]:8}{node.name:{width}}  {shape:10} @{facts.skew:<3} "
            f"{_fields(node)}{source}"
        )
    return "\n".join(lines)


def _fields(node: Node) -> str:
    match node:
        case Input():
            return f"{'signed' if node.signed else 'unsigned'} {node.bits} bit"
        case Conv():
            kernel = "x".join(str(n) for n in node.weight.shape)
            parts = [f"w {kernel}"]
            for name, default in (("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1))):
                value = getattr(node, name)
                if value != default:
                    parts.append(f"{name} {value[0]},{value[1]}")
            if node.groups != 1:
                parts.append(f"groups {node.groups}")
            if node.exponent:
                parts.append(f"<<{node.exponent}")
            return " ".join(parts)
        case Dense():
            return f"w {node.weight.shape[0]}x{node.weight.shape[1]}" + (
                f" <<{node.exponent}" if node.exponent else ""
            )
        case Lif():
            bias = f" bias {node.bias.min()}..{node.bias.max()}" if node.bias.any() else ""
            return (
                f"threshold {node.threshold} decay {node.current_decay}/{node.voltage_decay}{bias}"
            )
        case Relay():
            return f">>{node.shift}" if node.shift else "graded"
        case Readout():
            return f"bias {node.bias.min()}..{node.bias.max()}"
