"""SLAYER on the CPU, the reference engine and Lava: one row of docs/slayer.md after the other."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture
from neuroport.graph.graph import Graph
from neuroport.graph.node import is_array

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from tests.helpers import slayer_networks as networks  # noqa: E402


@pytest.fixture(autouse=True)
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one forward pass of lava-dl 0.6.0 that always fails, as the refusal says to mend it."""
    monkeypatch.setattr(
        slayer.neuron.adrf_iz.Neuron, "forward", lambda self, x: self.spike(*self.dynamics(x))
    )


# What Lava runs by default: between them these lower to every node, field and wire of all cases.
# The others differ from them in numbers only, and run on Lava with -m long.
ON_LAVA = (
    "uneven convolutions",
    "scaling norm of 4",
    "recurrent",
    "recurrent with norm",
    "winners with a bias",
    "winners that adapt",
    "affine voltage",
    "affine voltage that leaks",
    "phase resonators",
    "resonators of their own",
    "resonating maps",
    "adaptive maps",
    "adaptive with decays of their own",
    "adaptive recurrent",
    "adaptive recurrent with norm",
    "adaptive resonators",
    "adaptive resonators of their own",
    "adaptive resonating maps",
    "adaptive Izhikevich resonators",
    "sigma-delta",
    "sigma-delta that learned",
    "sigma-delta with biases",
    "decays of their own",
    "membrane container with norm and delays",
    "multi-level neurons with norm",
    "sigma-delta membrane container",
)


@cache
def captured(case: str) -> tuple[Graph, np.ndarray, Any]:
    """The integers of a case, its frames, and what SLAYER sends."""
    net, x = networks.build(case)
    frames = capture.frames(net, x)
    return port.quantize(net, frames), frames, capture.record(net, x)


@pytest.mark.parametrize("case", networks.CASES)
def test_graph_sends_what_slayer_sends(case: str) -> None:
    graph, frames, want = captured(case)
    got = port.run(graph, frames)
    active(want, networks.CASES[case])
    outcome = port.compare(want, got)
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want
    assert not outcome.only_got


@pytest.mark.lava
@pytest.mark.parametrize(
    "case",
    [
        case if case in ON_LAVA else pytest.param(case, marks=pytest.mark.long)
        for case in networks.CASES
    ],
)
def test_lava_sends_what_slayer_sends(case: str, tmp_path: Path) -> None:
    graph, frames, want = captured(case)
    path = port.export(port.lower(graph), tmp_path / "net.net")
    outcome = port.compare(want, port.run(path, frames, on="lava-cpu"))
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want


def test_what_lava_runs_by_default_has_every_node_field_and_wire_of_all_cases() -> None:
    found = {case: features(port.lower(captured(case)[0])) for case in networks.CASES}
    assert set().union(*(found[case] for case in ON_LAVA)) == set().union(*found.values())


def features(graph: Graph) -> set[str]:
    """Which kinds of node feed which, and which form each of their fields has."""
    found = set()
    for node in graph:
        kind = node.kind
        found |= {f"{graph[source].kind} into {kind}" for source in node.inputs}
        found.add(f"{kind} of {'several' if len(set(node.inputs)) > 1 else 'one'}")
        for item in fields(node):
            value = getattr(node, item.name)
            if item.name in ("name", "inputs", "shape"):
                continue
            if is_array(item):
                form = (value.size > 1, bool(value.any()), bool(value.min() < 0 < value.max()))
            elif isinstance(value, tuple):  # (H, W)
                form = (max(value) > 1, len(set(value)) > 1)
            else:
                form = bool(value)
            found.add(f"{kind} {item.name} {form}")
    return found


def test_no_chip_takes_an_adaptive_network() -> None:
    graph, _, _ = captured("adaptive recurrent")
    with pytest.raises(port.NeuroportError, match="threshold adapts, which runs on the CPU only"):
        port.lower(graph, target="loihi2")


def active(trace: Any, case: networks.Case) -> None:
    for name, messages in trace.messages.items():
        rate = np.count_nonzero(messages) / messages.size
        if trace.kinds[name] in ("relay", "readout", "leakyreadout", "sigma"):
            assert rate > 0
        else:
            assert case.low < rate < case.high, f"{name}: {rate:.3f} fire"
