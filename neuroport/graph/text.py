"""The fields of a node as text, as a graph prints them."""

from __future__ import annotations

from neuroport.graph.node import (
    Adaptive,
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Conv,
    Delay,
    Delta,
    Dense,
    Input,
    IntArray,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
    ResonateFire,
    SelfConnected,
    Sigma,
    SigmaDelta,
)


def fields_text(node: Node) -> str:
    """Every field but name and inputs; arrays as the span of their values."""
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
            return " ".join(parts) + _synapse(node)
        case Dense():
            delay = f" delay {span(node.delay)}" if node.delay.any() else ""
            return f"w {node.weight.shape[0]}x{node.weight.shape[1]}{delay}{_synapse(node)}"
        case Delay():
            return f"{node.steps} steps"
        case Lif() | Recurrent():
            return (
                f"{_own(node)}threshold {span(node.threshold)} "
                f"decay {span(node.current_decay)}/{span(node.voltage_decay)}{_bias(node)}"
            )
        case Relay():
            return f">>{node.shift}" if node.shift else "graded"
        case Readout():
            return f"bias {span(node.bias)}"
        case LeakyReadout():
            decays = f"{span(node.current_decay)}/{span(node.voltage_decay)}"
            return f"decay {decays} bias {span(node.bias)}"
        case Delta() | SigmaDelta():
            bias = _bias(node) if isinstance(node, SigmaDelta) else ""
            exponents = f"spike <<{node.spike_exponent} state <<{node.state_exponent}"
            return f"threshold {node.threshold} {exponents}{bias}"
        case Sigma():
            return "sum"
        case ResonateFire():
            kind = "izhikevich" if node.izhikevich else "phase"
            return f"{kind} threshold {node.threshold} sin {span(node.sin)} cos {span(node.cos)}"
        case AdaptiveLif() | AdaptiveRecurrent():
            decays = f"decay {span(node.current_decay)}/{span(node.voltage_decay)}"
            return f"{_own(node)}{_adaptation(node)} {decays}{_bias(node)}"
        case AdaptiveResonateFire():
            kind = "izhikevich" if node.izhikevich else "phase"
            return f"{kind} {_adaptation(node)} sin {span(node.sin)} cos {span(node.cos)}"


def _own(node: Node) -> str:
    return f"own w {span(node.weight)} " if isinstance(node, SelfConnected) else ""


def _adaptation(node: Adaptive) -> str:
    decays = f"{span(node.threshold_decay)}/{span(node.refractory_decay)}"
    return f"threshold {node.threshold} step {node.threshold_step} adapts {decays}"


def _bias(node: Lif | Recurrent | SigmaDelta | AdaptiveLif | AdaptiveRecurrent) -> str:
    return f" bias {span(node.bias)}" if node.bias.any() else ""


def _synapse(node: Conv | Dense) -> str:
    exponent = f" <<{node.exponent}" if node.exponent else ""
    return exponent + (f" lag {node.lag}" if node.lag else "")


def span(values: IntArray) -> str:
    """``5`` or ``3..7``: the values that an array spans."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}..{high}"
