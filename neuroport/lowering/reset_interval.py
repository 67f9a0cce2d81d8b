"""Pass: pad the interval between samples to a power of two. Effect: exact; more steps in chip time.

Loihi 2 resets a neuron's state at intervals of ``2**k`` steps only; the steps between the end of a
sample and the start of the next are idle.
"""

from __future__ import annotations

from neuroport.graph.graph import Graph


def pad_interval(graph: Graph) -> Graph:
    """Raise ``graph.interval`` to the next power of two."""
    return graph.derived(graph.nodes, interval=1 << (graph.interval - 1).bit_length())
