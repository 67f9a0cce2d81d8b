"""Declared widths on Lava: every process checks them, and the run ends as the reference's does."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import neuroport as port
from neuroport.engines.reference import Reference
from neuroport.errors import RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
)
from neuroport.lowering.latency import balance_latency
from tests.properties.declared import declared, outcome, same

pytestmark = pytest.mark.lava
PROCESSES = ("stock", "fused")


def everything(limits: dict[str, int]) -> tuple[Graph, np.ndarray]:
    """Each kind of population whose widths can be declared, in a network that pauses."""
    rng = np.random.default_rng(5)

    def even(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-9, 10, shape)

    nodes: list[Node] = [
        Input("frames", (2, 4, 4), bits=4),
        Conv("stem", ("frames",), even(4, 2, 3, 3), padding=(1, 1)),
        Lif("first", ("stem",), 200, 4096, 1000, np.array([3, -2, 0, 7])),
        Conv("branch", ("first",), even(4, 4, 3, 3), 3, padding=(1, 1)),
        Lif("second", ("stem", "branch"), 150, 900, 300),
        Relay("stream", ("stem", "branch"), shift=2, threshold=1),
        Conv("projection", ("stream",), even(2, 4, 1, 1), stride=(2, 2)),
        Relay("product", ("projection",), shift=3),
        Conv("back", ("product",), np.full((2, 1, 1, 1), 2), groups=2),
        Lif("third", ("back",), 40),
        Dense("loop in", ("third",), even(5, 8)),
        Recurrent("loop", ("loop in",), even(5, 5), 30),
        Dense("classes", ("loop",), even(3, 5), 1),
        Readout("potential", ("classes",), np.array([5, -7, 0])),
        LeakyReadout("leaky", ("classes",), np.full(1, 4096), np.full(1, 600)),
    ]
    checked = {node.name: node.widest_current for node in Graph(nodes, 5).populations}
    graph = Graph(nodes, 5, 7, {**checked, **limits})
    return balance_latency(graph, "delays"), rng.integers(0, 16, (5, 3, 2, 4, 4))


@pytest.mark.parametrize("processes", PROCESSES)
def test_what_stays_within_its_widths_is_equal_on_lava(processes: str) -> None:
    graph, frames = everything({})
    want = Reference().run(graph, frames)
    got = port.run(graph, frames, on="lava-cpu", processes=processes)
    for name, messages in want.messages.items():
        np.testing.assert_array_equal(got[name], messages, name)


@pytest.mark.parametrize(
    ("processes", "name"),
    [
        ("stock", "first"),
        ("stock", "product"),
        ("stock", "loop"),
        ("stock", "potential"),
        ("fused", "second"),
        ("fused", "stream"),
        ("fused", "potential"),
        ("fused", "leaky"),
    ],
)
def test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference(
    processes: str, name: str
) -> None:
    limits = {"first": 1100, "product": 4800, "loop": 30, "potential": 35, "leaky": 35}
    graph, frames = everything({name: limits.get(name, 1500)})
    with pytest.raises(RangeError) as want:
        Reference().run(graph, frames)
    assert want.value.population == name
    with pytest.raises(RangeError) as got:
        port.run(graph, frames, on="lava-cpu", processes=processes)
    assert got.value.message == want.value.message


def test_the_fused_process_checks_without_kernels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROPORT_KERNELS", "off")
    graph, frames = everything({"second": 1500})
    with pytest.raises(RangeError, match="sample 2: second: at step 4 neuron"):
        port.run(graph, frames, on="lava-cpu", processes="fused")
    whole, _ = everything({})
    want = Reference().run(whole, frames)
    got = port.run(whole, frames, on="lava-cpu", processes="fused")
    for name, messages in want.messages.items():
        np.testing.assert_array_equal(got[name], messages, name)


@pytest.mark.long
@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("seed", range(12))
def test_random_networks_end_alike_on_lava(processes: str, seed: int) -> None:
    case = declared(seed, small=True)
    graph = balance_latency(case.graph, "delays")
    want = outcome(partial(Reference().run, graph, case.frames), graph)
    run = partial(port.run, graph, case.frames, on="lava-cpu", processes=processes)
    assert same(want, outcome(run, graph))
