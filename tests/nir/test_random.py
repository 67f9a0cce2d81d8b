"""Random NIR networks through everything; ``python -m tests.nir`` draws hundreds."""

from __future__ import annotations

import pytest

from neuroport.files import read_json
from tests.nir.__main__ import RESULTS
from tests.nir.probe import probe


@pytest.mark.parametrize("seed", range(1000, 1010))
def test_a_random_nir_network_is_the_same_wherever_it_runs(seed: int) -> None:
    found = probe(seed)
    assert found.positions > 0


@pytest.mark.lava
def test_a_random_nir_network_is_the_same_on_lava() -> None:
    assert probe(1003, lava=True).lava_positions > 0


@pytest.mark.long
@pytest.mark.lava
@pytest.mark.parametrize("seed", range(2000, 2030))
def test_many_random_nir_networks_are_the_same_on_lava(seed: int) -> None:
    assert probe(seed, lava=True).lava_positions > 0


def test_committed_results_are_of_300_networks_without_a_difference() -> None:
    results = read_json(RESULTS)
    assert results["networks"] >= 300
    assert results["on lava-cpu"] >= 60
    assert results["differing"] == 0
    assert results["of them exact"] > 50
    wanted = {"loop", "subgraph", "several inputs", "bare spike edge into a neuron", "delay",
              "second branch before the neuron", "sums before synapses", "LIF", "CubaLIF", "IF",
              "SumPool2d", "AvgPool2d", "flatten", "graded frames", "several outputs"}  # fmt: skip
    assert all(results["features"].get(name, 0) >= 10 for name in wanted)
