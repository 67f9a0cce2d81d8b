"""Lowering names the nodes that it adds; a network may have such names already."""

from __future__ import annotations

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Readout


@pytest.mark.parametrize("carrier", ["relay", "unroll"])
@pytest.mark.parametrize(
    "taken", ["a.held", "a.held.identity", "a.held~2", "d2.carry0", "d2.late1"]
)
def test_a_name_that_lowering_would_give_may_be_taken(taken: str, carrier: str) -> None:
    """It used to connect the relay of a held spike to the node that had its name."""
    rng = np.random.default_rng(0)

    def weight() -> np.ndarray:
        return 2 * rng.integers(-3, 5, (4, 4))

    graph = Graph(
        [
            Input("in", (4,), 1),
            Dense("d0", ("in",), weight()),
            Lif("a", ("d0",), 2),
            Dense(taken, ("a",), weight()),
            Lif("b", (taken,), 2),
            Dense("d2", ("b", "a"), weight()),
            Lif("c", ("d2", "d0"), 2),
            Dense("d3", ("c",), weight()),
            Readout("r", ("d3",)),
        ],
        4,
    )
    frames = rng.integers(0, 2, (4, 3, 4))
    want = port.run(graph, frames)
    lowered = port.lower(graph, carrier=carrier, align="relays")
    for time in ("ideal", "chip"):
        outcome = port.compare(want, port.run(lowered, frames, time_model=time))
        assert outcome.differing == 0, str(outcome)
