"""What a network has of everything that could go wrong, so that a proof can say what it saw."""

from __future__ import annotations

from collections import Counter

import numpy as np

from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Readout, Relay
from tests.properties.networks import Case


def features(case: Case, seen: Counter[str]) -> dict[str, int]:
    """Feature -> how often the network has it; ``seen`` is what the interpreter met."""
    graph, found = case.graph, Counter(case.tags)
    found.update({f"hits: {name}": count for name, count in seen.items()})
    for node in graph:
        found.update(_node(node, graph.facts(node.name).shape))
        latencies = set(graph.facts(node.name).input_latencies)
        if len(latencies) > 1:
            domain = "messages" if isinstance(node, (Conv, Dense, Delay)) else "currents"
            found[f"unequally late {domain} meet"] += 1
            found["shortcut over 3 steps or more"] += max(latencies) - min(latencies) >= 3
    sharing = Counter(node.inputs for node in graph if isinstance(node, Lif))
    levels = {
        inputs: {tuple(n.threshold) for n in graph if isinstance(n, Lif) and n.inputs == inputs}
        for inputs, count in sharing.items()
        if count > 1
    }
    for inputs, thresholds in levels.items():
        found[f"MLF units of {sharing[inputs]} levels"] += 1
        found["MLF units of different thresholds"] += len(thresholds) > 1
    samples, steps = case.frames.shape[1], graph.steps
    found["one step"] = steps == 1
    found["samples back to back"] = samples > 1
    found["pause between samples"] = samples > 1 and graph.interval > steps
    return {name: int(count) for name, count in sorted(found.items()) if count}


def _node(node: Node, shape: tuple[int, ...]) -> Counter[str]:
    found: Counter[str] = Counter()
    match node:
        case Input():
            found["input: spikes" if node.bits == 1 else "input: graded"] += 1
            found["input: signed"] += node.signed
        case Conv() | Dense():
            found["convolutions" if isinstance(node, Conv) else "dense synapses"] += 1
            found["exponents"] += node.exponent > 0
            found["odd weights of one sign"] += bool(np.any(node.weight & 1))
            if isinstance(node, Dense):
                found["delays per synapse"] += bool(node.delay.any())
            else:
                found["strides"] += node.stride != (1, 1)
                found["unequal strides"] += node.stride[0] != node.stride[1]
                found["groups"] += node.groups > 1
                found["dilation"] += node.dilation != (1, 1)
                found["padding"] += node.padding != (0, 0)
        case Delay():
            found["delay nodes"] += node.steps > 0
        case Relay():
            found["rounding relays"] += node.shift > 0
            found["relays with a threshold"] += node.threshold > 0
        case Lif():
            found["populations"] += 1
            found["thresholds per channel"] += node.threshold.size > 1
            found["decays per channel"] += max(node.current_decay.size, node.voltage_decay.size) > 1
            leaky = np.any(node.current_decay < 4096) or np.any(node.voltage_decay > 0)
            found["leaky populations"] += bool(leaky)
            found.update(_bias(node, shape))
        case Readout():
            found.update(_bias(node, shape))
    return found


def _bias(node: Lif | Readout, shape: tuple[int, ...]) -> Counter[str]:
    if not node.bias.any():
        return Counter()
    if node.bias.ndim == 3:
        return Counter({"biases per neuron": 1})
    return Counter({"biases per channel" if node.bias.size > 1 else "biases per population": 1})
