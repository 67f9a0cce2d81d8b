"""Lowering: an integer graph becomes one that runs in chip time, pass by pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neuroport.graph.graph import Graph
from neuroport.lowering.rules import check, rules_of
from neuroport.lowering.skew import balance_skew


@dataclass(frozen=True)
class Pass:
    """A graph -> graph function and what it does to the answer."""

    name: str
    effect: str
    apply: Callable[[Graph], Graph]


PASSES: tuple[Pass, ...] = (Pass("balance-skew", "exact", balance_skew),)


def lower(graph: Graph, target: str = "lava-cpu") -> Graph:
    """Lower ``graph`` for ``target`` and check it against the target's rules.

    Raises:
        TargetError: no such target.
        IllegalError: the rules broken, all of them.
    """
    rules_of(target)
    for step in PASSES:
        graph = step.apply(graph)
    check(graph, target)
    return graph
