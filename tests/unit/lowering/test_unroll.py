"""Unrolling synapses that have delays of their own, listeners at several depths, or none."""

from __future__ import annotations

import numpy as np
import pytest

import neuroport as port
from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.graph.node import Delay, Dense, Input, Lif, Node, Relay, Synapse
from neuroport.lowering.latency import balance_latency
from neuroport.lowering.unroll import unroll

RNG = np.random.default_rng(7)
FRAMES = RNG.integers(0, 2, (3, 4, 3))


def dense(name: str, *inputs: str, lag: int = 0) -> Dense:
    weight = 2 * np.random.default_rng(sum(name.encode())).integers(-3, 5, (3, 3))
    return Dense(name, inputs, weight, lag=lag)


def lagging() -> Graph:
    """A late stem joins three later dendrites; an axonal delay; synapses that nobody reads."""
    return Graph(
        [
            Input("frames", (3,), bits=1),
            dense("stem", "frames", lag=1),
            Lif("a", ("stem",), 3),
            dense("d1", "a"),
            Lif("b", ("d1", "stem"), 5),
            dense("d2", "b"),
            Lif("c", ("d2", "d1", "stem"), 6),
            Delay("axon", ("a",), 1),
            dense("slow", "axon", "b", lag=2),
            dense("dead", "c", "frames"),
            dense("d3", "c"),
            Lif("d", ("d3", "slow", "stem"), 6),
        ],
        3,
    )


def lags(graph: Graph) -> dict[str, int]:
    return {node.name: node.lag for node in graph if isinstance(node, Synapse)}


@pytest.mark.parametrize("align", ["relays", "delays"])
def test_unrolling_keeps_every_answer_and_makes_no_node_later(align: str) -> None:
    before = lagging()
    after = unroll(before, align)
    want = Reference().run(before, FRAMES)
    for node in before.populations:
        assert 0.1 < want[node.name].mean() < 0.9, "constant spikes prove nothing"
        assert after.facts(node.name).latency == before.facts(node.name).latency
    assert after.balanced
    assert after.depth == before.depth == 6
    for time_model in ("ideal", "chip"):
        assert port.compare(want, Reference().run(after, FRAMES, time_model=time_model))


def test_copies_lag_by_what_is_missing_and_by_their_own() -> None:
    assert lags(unroll(lagging(), "delays")) == {
        "stem": 1,  # frames @0 to a @2
        "d1": 0,  # a @2 to b @3
        "stem.late1": 2,  # frames @0 to b @3
        "d2": 0,  # b @3 to c @4
        "d1.late1": 1,  # a @2 to c @4
        "stem.late2": 3,  # frames @0 to c @4
        "dead": 0,  # c @4 and
        "dead.from0": 4,  # frames @0 to @5
        "d3.late1": 1,  # c @4 to d @6
        "slow": 2,  # b @3 and
        "slow.from2": 3,  # a @2 to d @6
        "stem.late4": 5,  # frames @0 to d @6
    }


def test_copies_whose_messages_are_held_keep_their_own_lag() -> None:
    found = lags(unroll(lagging(), "relays"))
    assert {name: lag for name, lag in found.items() if lag} == {
        "stem": 1,
        "stem.late1": 1,
        "stem.late2": 1,
        "stem.late4": 1,
        "slow": 2,
    }


def test_names_of_copies_do_not_collide_with_names_in_use() -> None:
    nodes: list[Node] = [*lagging(), dense("stem.late1", "d"), Relay("last", ("stem.late1",))]
    before = Graph(nodes, 3)
    after = unroll(before)
    assert "stem.late1~2" in [node.name for node in after]
    want = Reference().run(before, FRAMES)
    assert port.compare(want, Reference().run(after, FRAMES, time_model="chip"))


def hops(first: str, *names: str) -> list[Node]:
    """Neurons behind each other, each a step later than the one before."""
    nodes: list[Node] = []
    for source, name in zip((first, *names), names, strict=False):
        nodes += [dense(f"to {name}", source), Lif(name, (f"to {name}",), 2)]
    return nodes


DELAYS = "".join(("de", "lays"))  # equal to the name of the alignment, and another object


def test_relays_with_delays_pass_currents_from_one_meeting_to_the_next() -> None:
    """Three currents of different lateness: what is early joins the next before it goes on."""
    before = Graph(
        [
            Input("frames", (3,), bits=1),
            *hops("frames", "a", "b", "c", "d", "e"),
            dense("early", "frames"),
            dense("middle", "a"),
            dense("late", "e"),
            Lif("out", ("late", "early", "middle"), 6),
        ],
        3,
    )
    after = balance_latency(before, DELAYS)
    found = {name: lag for name, lag in lags(after).items() if "carry" in name}
    assert found == {"out.carry0.identity": 0, "out.carry1.identity": 3}
    assert after["out.carry1"].inputs == ("out.carry0.identity", "middle")
    for time_model in ("ideal", "chip"):
        want, got = (
            Reference().run(before, FRAMES),
            Reference().run(after, FRAMES, time_model=time_model),
        )
        assert port.compare(want, got)


def test_messages_are_held_with_delays_by_one_relay_whatever_the_span() -> None:
    before = Graph(
        [
            Input("frames", (3,), bits=1),
            *hops("frames", "a", "b", "c"),
            dense("joint", "frames", "c"),
            Lif("out", ("joint",), 6),
        ],
        3,
    )
    after = balance_latency(before, DELAYS)
    assert {n: lag for n, lag in lags(after).items() if "held" in n} == {"frames.held.identity": 2}
    got = Reference().run(after, FRAMES, time_model="chip")
    assert port.compare(Reference().run(before, FRAMES), got)


def test_sources_that_are_equally_late_stay_together_however_late() -> None:
    """Skews beyond the small numbers that Python keeps one object of."""
    before = Graph(
        [
            Input("frames", (3,), bits=1),
            dense("slow a", "frames", lag=299),
            Lif("a", ("slow a",), 2),
            dense("slow b", "frames", lag=299),
            Lif("b", ("slow b",), 2),
            dense("joint", "a", "b"),
            dense("direct", "frames"),
            Lif("out", ("joint", "direct"), 6),
        ],
        3,
    )
    after = unroll(before)
    assert after["joint"].inputs == ("a", "b")
    assert port.compare(Reference().run(before, FRAMES), Reference().run(after, FRAMES))
