"""Relays that round, on real Lava: stock processes, equal to the integers' relay everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node, Readout, Relay

pytestmark = pytest.mark.lava

NETWORK = "neuroport.backends.lava_cpu.processes"  # what is here is no process of Lava's
HOST = {f"{NETWORK}.fixed_pt.FrameSource", f"{NETWORK}.fixed_pt.RasterSink"}


def every_shift(seed: int) -> tuple[Graph, np.ndarray]:
    """A relay for every shift, with currents as wide as 24 bits permit, and random thresholds."""
    rng = np.random.default_rng(seed)
    size = 12
    nodes: list[Node] = [Input("frames", (size,), 12, signed=True)]
    for shift in range(integers.STATE_BITS):
        exponent = int(rng.integers(0, 11))
        weight = np.diag(rng.choice([1, 2], size))
        threshold = int(rng.choice([0, 0, 1, 2, 1 << int(rng.integers(0, 24))]))
        nodes += [
            Dense(f"in{shift}", ("frames",), weight, exponent),
            Relay(f"relay{shift}", (f"in{shift}",), shift, threshold),
        ]
    nodes += [
        Dense("in", ("frames",), 2 * rng.integers(-2, 3, (3, size))),
        Lif("lif", ("in",), 40),
        Dense("classes", ("lif",), 2 * rng.integers(-9, 10, (3, 3))),
        Readout("potential", ("classes",), np.array([1, -4, 0])),
    ]
    graph = Graph(nodes, int(rng.integers(2, 5)))
    frames = rng.integers(-2048, 2048, (graph.steps, 9, size))
    frames[:, 0] = rng.choice([-2048, 2047, 0, 1, -1], frames[:, 0].shape)
    half = 1 << rng.integers(0, 11, frames[:, 1:4].shape)  # where rounding turns
    frames[:, 1:4] = half * rng.choice([-1, 1], half.shape) + rng.integers(-1, 2, half.shape)
    return port.lower(graph), frames


@pytest.mark.parametrize("seed", range(2))
def test_relays_of_every_shift_and_threshold_are_lavas_prodneuron_bit_for_bit(seed: int) -> None:
    graph, frames = every_shift(seed)
    want = port.run(graph, frames)
    got = port.run(graph, frames, on="lava-cpu")
    outcome = port.compare(want, got)
    assert outcome.differing == 0, str(outcome)
    lively = [shift for shift in range(24) if want[f"relay{shift}"].any()]
    assert len(lively) > 9
    assert any((want[f"relay{shift}"] < 0).any() for shift in lively)
    built = got.provenance["built"]
    assert built["lava.proc.prodneuron.process.ProdNeuron"] == 23
    assert built["lava.proc.lif.process.LIF"] == 1  # always on, shared by all
    assert {name for name in built if name.startswith("neuroport")} <= HOST


def test_a_trained_membrane_network_runs_on_lava_without_a_process_of_ours(
    network: Path, frames: Path
) -> None:
    given = np.load(frames)[:, :4]
    lowered = port.lower(port.read(network), "kapoho-point")
    want, got = (port.run(lowered, given, on=on) for on in ("reference", "lava-cpu"))
    outcome = port.compare(want, got)
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want
    built = got.provenance["built"]
    rounds = [node for node in lowered if isinstance(node, Relay) and node.shift]
    assert built["lava.proc.prodneuron.process.ProdNeuron"] == len(rounds) >= 3
    assert {name for name in built if name.startswith("neuroport")} <= HOST


def test_a_readout_is_read_after_every_step_also_where_a_chips_would_have_fired() -> None:
    nodes: list[Node] = [
        Input("frames", (2,), 8),
        Dense("in", ("frames",), np.array([[254, 0], [0, -254]]), 1),
        Readout("potential", ("in",), np.array([4095, -4095])),
    ]
    graph = Graph(nodes, 6)
    frames = np.random.default_rng(0).integers(200, 256, (6, 3, 2))
    want = port.run(graph, frames)
    assert np.abs(want.output).max() == integers.STATE_MAX  # saturates
    assert port.compare(want, port.run(graph, frames, on="lava-cpu")).equal


@pytest.mark.parametrize(
    "name", ["(constant of relays that round)", "(factor of relay)", "(half a unit of relay)"]
)
def test_a_population_may_have_the_name_of_what_helps_a_relay(name: str) -> None:
    rng = np.random.default_rng(1)
    nodes: list[Node] = [
        Input("frames", (4,)),
        Dense("in", ("frames",), 2 * rng.integers(-15, 16, (4, 4))),
        Relay("relay", ("in",), 4),
        Dense("out", ("relay",), 2 * rng.integers(-20, 21, (1, 4))),
        Lif(name, ("out",), 200),
    ]
    graph = port.lower(Graph(nodes, 5))
    frames = rng.integers(0, 256, (5, 2, 4))
    want = port.run(graph, frames)
    assert want[name].any()
    outcome = port.compare(want, port.run(graph, frames, on="lava-cpu"))
    assert outcome.differing == 0, str(outcome)
