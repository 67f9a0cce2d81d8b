"""SLAYER on the CPU, the reference engine and Lava: one row of docs/slayer.md after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from tests import slayer_networks as networks  # noqa: E402


@pytest.fixture(autouse=True)
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one forward pass of lava-dl 0.6.0 that always fails, as the refusal says to mend it."""
    monkeypatch.setattr(
        slayer.neuron.adrf_iz.Neuron, "forward", lambda self, x: self.spike(*self.dynamics(x))
    )


@pytest.mark.parametrize("case", networks.CASES)
def test_graph_sends_what_slayer_sends(case: str) -> None:
    net, x = networks.build(case)
    frames = capture.frames(net, x)
    graph = port.quantize(net, frames)
    want = capture.record(net, x)
    got = port.run(graph, frames)
    active(want, networks.CASES[case])
    outcome = port.compare(want, got)
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want
    assert not outcome.only_got


@pytest.mark.lava
@pytest.mark.parametrize("case", networks.CASES)
def test_lava_sends_what_slayer_sends(case: str) -> None:
    net, x = networks.build(case)
    frames = capture.frames(net, x)
    chip = port.lower(port.quantize(net, frames))
    outcome = port.compare(capture.record(net, x), port.run(chip, frames, on="lava-cpu"))
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want


@pytest.mark.lava
def test_adaptive_network_keeps_its_spikes_in_a_file_and_no_chip_takes_it(tmp_path: Path) -> None:
    net, x = networks.build("adaptive recurrent")
    frames = capture.frames(net, x)
    graph = port.quantize(net, frames)
    chip = port.lower(graph)
    path = port.export(chip, tmp_path / "net.net")
    outcome = port.compare(capture.record(net, x), port.run(path, frames, on="lava-cpu"))
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want
    with pytest.raises(port.NeuroportError, match="threshold adapts, which runs on the CPU only"):
        port.lower(graph, target="loihi2")


def active(trace: Any, case: networks.Case) -> None:
    for name, messages in trace.messages.items():
        rate = np.count_nonzero(messages) / messages.size
        if trace.kinds[name] in ("relay", "readout", "leakyreadout", "sigma"):
            assert rate > 0
        else:
            assert case.low < rate < case.high, f"{name}: {rate:.3f} fire"
