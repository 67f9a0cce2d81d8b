"""Carriers of the shortcuts of a graph: each is an exact pass, graph -> graph."""

from __future__ import annotations

from neuroport.graph.graph import Graph
from neuroport.lowering.latency import balance_latency
from neuroport.lowering.layer_chain import chain
from neuroport.lowering.unroll import unroll

CARRIERS = {
    "relay": "graded relays hold the stream: dense traffic, few synapses",
    "unroll": "every earlier synapse is repeated for every later dendrite: spikes only",
    "stock": "unrolled with spike relays into a chain that unmodified NetX runs",
}


def carry(graph: Graph, carrier: str, align: str, most: int | None = None) -> Graph:
    """Return the graph in chip time, with shortcuts carried by a key of ``CARRIERS``.

    Args:
        align: how early branches wait: ``relays``, or ``delays`` in the synapses.
        most: number of nodes above which unrolling gives up.

    Raises:
        IllegalError: the carrier cannot carry this network.
    """
    if carrier == "relay":
        return balance_latency(graph, align)
    lowered = unroll(graph, align, most)
    if carrier == "stock":
        chain(lowered)
    return lowered
