"""Files of NIR that other tools wrote, run as those tools run them, in integers and on Lava."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.frontends.nir.interpreter import interpret
from neuroport.frontends.nir.reading import read

FILES = Path(__file__).parent / "files"
SAID = np.load(FILES / "said.npz")  # tests.nir.tools made it
DT = {"lif_norse": 1e-3, "braille": 1e-4, "scnn_mnist": 1.0}


def frames(name: str) -> Any:
    return SAID[f"{name}_frames"].astype(np.int64)


def test_norse_says_the_same_of_its_file() -> None:
    network = read(FILES / "lif_norse.nir")
    got = interpret(network, {"input": frames("lif_norse")}, DT["lif_norse"])["output"]
    assert 0.2 < got.mean() < 0.8
    assert (got == SAID["lif_norse"]).all()


def test_snntorch_says_the_same_of_the_recurrent_network() -> None:
    network = read(FILES / "braille.nir")
    got = interpret(network, {"input": frames("braille")}, DT["braille"])["output"]
    assert 0.2 < got.mean() < 0.8
    assert (got == SAID["braille_snntorch"]).all()


def test_norse_says_the_same_of_the_recurrent_network_without_the_bias_of_its_loop() -> None:
    network = read(FILES / "braille.nir")
    own = network.nodes["lif1.w_rec"]
    own.values["bias"] = np.zeros(own.shape)  # type: ignore[index]
    got = interpret(network, {"input": frames("braille")}, DT["braille"])["output"]
    assert (got == SAID["braille_norse"]).all()


def test_sinabs_says_the_same_of_its_convolutions() -> None:
    network = read(FILES / "scnn_mnist.nir")
    got = interpret(network, {"input": frames("scnn_mnist")}, DT["scnn_mnist"])["output"]
    assert got.sum() > 10
    assert (got == SAID["scnn_mnist_sinabs"]).all()


@pytest.mark.lava
@pytest.mark.parametrize("name", DT)
def test_files_of_others_run_on_lava_as_in_integers(name: str, tmp_path: Path) -> None:
    given = frames(name)[:, :2]
    made = port.import_nir(FILES / f"{name}.nir", dt=DT[name], frames=given)
    assert made.cost is not None
    assert made.cost.outputs[0].integer > 5
    net = port.export(port.lower(made.graph), tmp_path / "n.net")
    want = port.run(made.graph, given)
    got = port.run(net, given, on="lava-cpu", processes="fused")
    assert port.compare(want, got).equal


def test_what_quantization_costs_these_files_is_told() -> None:
    shares = {}
    for name, first in (("lif_norse", "1"), ("scnn_mnist", "1")):
        made = port.import_nir(FILES / f"{name}.nir", dt=DT[name], frames=frames(name))
        assert made.cost is not None
        shares[name] = next(p.share for p in made.cost.populations if p.name == first)
        assert f"{first:10}" in str(made.cost)
    assert shares["lif_norse"] == 0
    assert 0 < shares["scnn_mnist"] < 0.2


@pytest.mark.parametrize("name", ["scnn_mnist", "braille"])
def test_with_one_unit_a_population_files_of_others_are_lowered_for_a_board(name: str) -> None:
    given = frames(name)[:, :1]
    graph = port.from_nir(FILES / f"{name}.nir", dt=DT[name], frames=given, one_unit=True)
    lowered = port.lower(graph, "kapoho-point")
    want = port.run(graph, given)
    assert port.compare(want, port.run(lowered, given)).equal
