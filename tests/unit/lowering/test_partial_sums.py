"""Sums in parts before a population that hears more than a core takes: exact, and small enough."""

from __future__ import annotations

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node, Readout, Relay
from neuroport.lowering.partial_sums import partial_sums, parts_by_source
from neuroport.targets.lowering import picked
from neuroport.targets.resources import resources
from neuroport.targets.target import Fact, Target, load_target

LOIHI2 = load_target("loihi2")


def crowded(sources: int = 3, size: int = 20) -> Graph:
    """A readout that hears several populations, which a chain of synapses makes ever later."""
    rng = np.random.default_rng(2)
    nodes: list[Node] = [Input("frames", (size,), 4)]
    names: list[str] = []
    for number in range(sources):
        weight = 2 * rng.integers(-9, 10, (size, size))
        nodes.append(Dense(f"in{number}", (names[-1] if names else "frames",), weight))
        names.append(f"hidden{number}")
        nodes.append(Lif(names[-1], (f"in{number}",), 20, 3000, 500))
    nodes.append(Dense("classes", tuple(names), 2 * rng.integers(-9, 10, (4, size))))
    nodes.append(Readout("potential", ("classes",), np.array([3, -2, 0, 7])))
    return Graph(nodes, 5)


def frames(graph: Graph) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 16, (graph.steps, 3, *graph.input.shape))


def narrow(axons: int) -> Target:
    """A chip whose cores take few messages."""
    values = {**LOIHI2.values, "axons_in": Fact(axons, "test", "seen")}
    return Target("narrow", "test", values)


def equal(want: Graph, got: Graph) -> None:
    given = frames(want)
    here = port.run(want, given)
    outcome = port.compare(here, port.run(got, given))
    assert outcome, str(outcome)
    assert all(here[name].any() for name, kind in here.kinds.items() if kind == "readout")
    assert all(here[f"hidden{k}"].any() for k in range(2))


@pytest.mark.parametrize("most", [1, 7, 20, 33, 59])
def test_parts_take_no_more_than_a_core_does_and_sum_to_the_same(most: int) -> None:
    graph = crowded()
    made = partial_sums(graph, most)
    relays = [node for node in made if isinstance(node, Relay)]
    assert relays
    for relay in relays:
        axons = 0
        for name in relay.inputs:
            synapse = made[name]
            assert isinstance(synapse, Dense)
            axons += len(synapse.inputs) * int(synapse.weight.any(axis=0).sum())
        assert axons <= most
    equal(graph, made)
    equal(graph, port.lower(made))


def test_what_fits_stays_as_it_is() -> None:
    graph = crowded()
    assert partial_sums(graph, 60) is graph


def test_a_part_holds_whole_sources_where_it_can() -> None:
    made = partial_sums(crowded(), 45)
    sums = [node for node in made if isinstance(node, Dense) and ".sum" in node.name]
    assert [node.inputs for node in sums] == [("hidden0", "hidden1"), ("hidden2",)]
    np.testing.assert_array_equal(sums[0].weight, sums[1].weight)


def test_two_populations_of_one_synapse_get_parts_of_their_own() -> None:
    graph = crowded()
    more = Graph([*graph.nodes, Readout("second", ("classes",), np.array([1, 1, 1, 1]))], 5)
    made = partial_sums(more, 30)
    assert "classes" not in {node.name for node in made}
    assert {"potential.part0", "second.part0"} <= {node.name for node in made}
    equal(more, made)


def test_currents_of_early_sources_wait_not_their_messages() -> None:
    graph = crowded()
    made = parts_by_source(graph)
    assert list(made["potential"].inputs) == [f"classes.of.hidden{number}" for number in range(3)]
    equal(graph, made)
    waiting = [n for n in port.lower(made, align="relays", carrier="relay") if isinstance(n, Relay)]
    assert waiting
    lowered = port.lower(made, align="relays", carrier="relay")
    assert {lowered.facts(relay.name).shape for relay in waiting} == {(4,)}


def test_a_readout_of_too_many_axons_is_lowered_for_a_chip_in_parts_and_says_so() -> None:
    graph, chip = crowded(sources=4, size=200), narrow(500)
    assert resources(graph, chip).impossible
    from neuroport.targets.lowering import best, options

    lowered = best(options(graph, chip, align="relays"))
    assert not resources(lowered, chip).impossible
    equal(graph, lowered)
    said = " ".join(picked(graph, lowered, chip))
    assert "does not fit" not in said
    assert "samples every 8 steps, 5 of them shown" in said


def test_a_network_that_no_way_makes_legal_tells_every_rule_that_it_breaks() -> None:
    graph = crowded()
    nodes = [
        Lif("hidden0", ("in0",), np.arange(20) + 1, 3000, 500) if node.name == "hidden0" else node
        for node in graph
    ]
    nodes = [Relay("hidden1", ("in1",), 23) if node.name == "hidden1" else node for node in nodes]
    wide = Dense("in1", ("hidden0",), np.full((20, 20), 254), 10)
    nodes = [wide if node.name == "in1" else node for node in nodes]
    with pytest.raises(IllegalError) as told:
        port.lower(Graph(nodes, 5), "loihi2")
    assert "threshold differs between channels" in told.value.message
    assert "more than the 24 bits of a ProdNeuron" in told.value.message
