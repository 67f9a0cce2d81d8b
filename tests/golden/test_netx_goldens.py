"""Every network with ground truth in lava-dl's wheel, on every engine, equal to that truth.

What is compared, and what of the wheel is left out and why, stands with each network in
``shipped.py``. No difference is tolerated anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from tests.golden.check import differences
from tests.golden.measure import ENGINES, RESULTS
from tests.golden.shipped import GOLDENS, SHORT, Array, Golden, folder, load, net

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="lava-dl is not installed with its tests; pip install lava-dl==0.6.0 (Python 3.10)",
)


def same(golden: Callable[[], Golden], engine: str) -> None:
    found = differences(golden(), engine)
    assert found["nonzero"] > 0
    assert found["differ"] == 0, found


@pytest.mark.parametrize("engine", ["reference", "fast"])
@pytest.mark.parametrize("name", SHORT)
def test_shipped_truth_is_met(name: str, engine: str) -> None:
    if engine == "fast":
        pytest.importorskip("torch")
    same(SHORT[name], engine)


@pytest.mark.lava
@pytest.mark.parametrize("name", SHORT)
def test_shipped_truth_is_met_by_lava_processes(name: str) -> None:
    same(SHORT[name], "lava-cpu")


@pytest.mark.long
@pytest.mark.parametrize("engine", ["reference", "fast", "lava-cpu"])
@pytest.mark.parametrize(
    "name", sorted(set(GOLDENS) & {n for n in SHORT if SHORT[n] is not GOLDENS[n]})
)
def test_shipped_truth_is_met_to_its_last_step(name: str, engine: str) -> None:
    same(GOLDENS[name], engine)


def test_last_layer_of_pilotnet_contradicts_the_layer_before_it_in_the_wheel() -> None:
    spikes = load("pilotnet_lif/fc-2")
    weight = pilotnet_weight()
    shipped = load("pilotnet_lif/fc-3-u").reshape(-1)
    assert np.flatnonzero(spikes[10]).tolist() == [4]
    assert int(weight @ spikes[10]) << 6 == 640  # a dense layer without leak, one step later
    assert shipped[11] == -5376


def pilotnet_weight() -> Array:
    import h5py

    with h5py.File(net("gts/pilotnet_lif/network.net"), "r") as file:
        return np.asarray(file["layer/10/weight"][()]).astype(np.int64)


def test_committed_results_are_of_all_networks_in_full_and_without_a_difference() -> None:
    measured = json.loads(RESULTS.read_text())["networks"]
    assert set(measured) == set(GOLDENS)
    for engines in measured.values():
        assert set(engines) == set(ENGINES)
        assert {found["differ"] for found in engines.values()} == {0}
        assert len({found["positions"] for found in engines.values()}) == 1
