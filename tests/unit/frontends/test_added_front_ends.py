"""Front ends of other packages, added by an entry point; neuroport's own, found by the registry."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import neuroport as port
from neuroport.capture.frontend import FRONT_ENDS, front_end, front_end_of
from neuroport.errors import CaptureError
from tests.helpers.distribution import distribution

THEIRS = """
import numpy as np

from neuroport.frontends import FrontEnd
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif


class Theirs(FrontEnd):
    name = "theirs"
    summary = "modules that say what they are"

    def takes(self, network):
        return hasattr(network, "integer_rows")

    def quantize(self, network, frames, *, threshold=3):
        rows = np.array(network.integer_rows)
        nodes = [Input("frames", frames.shape[2:], bits=1), Dense("fc", ("frames",), rows)]
        return Graph([*nodes, Lif("lif", ("fc",), threshold)], len(frames))
"""


class Told(nn.Module):
    integer_rows = ((2, 4), (-2, 6))


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    entries = "[neuroport.frontends]\ntheirs = their_frontend:Theirs\n"
    folder = distribution(tmp_path / "site", entries, {"their_frontend.py": THEIRS})
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("their_frontend", None)


def test_a_front_end_of_another_package_reads_what_it_takes(theirs: Path) -> None:
    frames = np.ones((2, 1, 2), np.int64)
    graph = port.quantize(Told(), frames)
    assert graph["lif"].threshold.tolist() == [3]
    assert port.quantize(Told(), frames, threshold=5)["lif"].threshold.tolist() == [5]
    assert port.run(graph, frames)["lif"].tolist() == [[[True, True]], [[True, True]]]
    with pytest.raises(CaptureError, match=r"still real-valued \(theirs\)"):
        port.run(Told(), frames)
    assert "theirs" in FRONT_ENDS


def test_without_it_the_module_is_taken_for_one_of_neuroports_layers() -> None:
    assert front_end_of(Told()).name == "neuroport"
    with pytest.raises(CaptureError, match=r"Told\.forward fails"):
        port.quantize(Told(), torch.zeros(2, 1, 1, 2, 2))


def test_every_front_end_says_who_it_is_and_none_takes_a_plain_module() -> None:
    for name in FRONT_ENDS:
        found = front_end(name)
        assert found.name == name
        assert found.summary
        assert not found.takes(nn.Linear(2, 2))


def test_files_and_objects_of_nir_are_those_of_nir() -> None:
    assert front_end_of("network.nir").name == "nir"
    nir = pytest.importorskip("nir")
    assert front_end_of(nir.Linear(weight=np.zeros((2, 2)))).name == "nir"


def test_what_only_other_front_ends_know_is_refused() -> None:
    from neuroport.nets.neuron import Lif
    from neuroport.nets.synapse import Conv

    net = nn.Sequential(Conv(1, 2), Lif())
    with pytest.raises(CaptureError, match="scale: no option of networks of neuroport; use widths"):
        port.quantize(net, torch.zeros(2, 1, 1, 4, 4), scale=0.5)
