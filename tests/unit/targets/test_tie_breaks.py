"""Ways of equal cores are weighed by messages between chips and the slowest core's step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Node, Relay
from neuroport.lowering.cost import Cost
from neuroport.targets.lowering import LoweringOption, best
from neuroport.targets.resources import Resources, resources
from neuroport.targets.target import load_target
from neuroport.targets.tie_breaks import Weight, weight

CHIP = load_target("loihi2")


def chain(*sizes: int, crossed: bool = False) -> Graph:
    """Relays one after the other, each of which reads the one before; or the first, ``crossed``."""
    nodes: list[Node] = [Input("frames", (1,), 1)]
    sources = ["frames"]
    for number, size in enumerate(sizes):
        source = sources[min(1, len(sources) - 1) if crossed else -1]
        before = next(n for n in nodes if n.name == source)
        width = 1 if isinstance(before, Input) else sizes[int(source[1:])]
        nodes += [
            Dense(f"d{number}", (source,), 2 * np.ones((size, width), np.int64)),
            Relay(f"r{number}", (f"d{number}",)),
        ]
        sources.append(f"r{number}")
    return Graph(nodes, 1)


def placed(graph: Graph, cores: int) -> Resources:
    """On chips of so few cores."""
    values = {**CHIP.values, "cores": replace(CHIP.values["cores"], value=cores)}
    return resources(graph, replace(CHIP, values=values))


def test_messages_between_chips_are_counted_once_per_chip_they_go_to() -> None:
    graph = chain(3, 4, 5)
    assert placed(graph, 120).cores == 3
    assert weight(placed(graph, 120)).between_chips == 0
    assert weight(placed(graph, 1)).between_chips == 3 + 4
    assert weight(placed(graph, 2)).between_chips == 4
    # the first is read by both others, on two other chips
    assert weight(placed(chain(3, 4, 5, crossed=True), 1)).between_chips == 2 * 3


def test_the_slowest_step_is_of_operations_neurons_or_the_least_there_is() -> None:
    assert weight(placed(chain(3, 4), 120)).slowest_us == 10  # the least
    wide = weight(placed(chain(3, 4000), 120)).slowest_us
    assert wide == 4000 * 4.0 / 1e3  # 4 ns each
    heavy = weight(placed(chain(100, 400), 120)).slowest_us
    assert heavy == 400 * 100 * 0.66 / 1e3


def test_of_ways_with_equal_cores_the_one_with_fewer_messages_between_chips_is_taken() -> None:
    def option(carrier: str, graph: Graph, seconds: float) -> LoweringOption:
        cost = Cost(1, 1, 1, 1, 0, seconds)
        return LoweringOption(carrier, "relays", graph, cost, placed(graph, 1))

    near, far = chain(3, 4, 5), chain(5, 4, 3)
    assert weight(placed(near, 1)) < weight(placed(far, 1)) == Weight(9, 10.0)
    ways = [option("unroll", far, 0.1), option("relay", near, 0.2)]
    assert best(ways) is near
    assert best(ways, "time") is far
