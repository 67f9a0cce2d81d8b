"""The compiler's published tables, layer by layer, against the fitted formulas and the tiling."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroport.netx import read
from neuroport.targets.population_demands import population_demands, weight_bits
from neuroport.targets.published_tables import Table, tables
from neuroport.targets.resources import resources
from neuroport.targets.target import load_target
from tests.golden.shipped import folder
from tests.helpers.lava import lava_module

TABLES = {table.network: table for table in tables()}
# what the formulas miss: the words of a slot (why: the tables' files say it)
WORDS = {
    ("PilotNet LIF", "conv3"): -0.2,
    ("PilotNet SDNN", "conv1"): 1 / 3,
    ("PilotNet SDNN", "conv3"): -0.2,
    ("Oxford", "dense2"): 128 / 8064,
}


def names(table: Table) -> list[str]:
    return [row.placed.layer.name for row in table.rows]


def test_the_published_networks_are_there() -> None:
    sizes = {name: len(table.rows) for name, table in TABLES.items()}
    assert sizes == {
        "PilotNet LIF": 10,
        "PilotNet SDNN": 9,
        "Oxford": 2,
        "MNIST": 3,
        "YOLO-KP": 10,
    }


@pytest.mark.parametrize("network", TABLES)
def test_synapse_words_of_every_tile_are_within_one_percent_or_the_file_says_why(
    network: str,
) -> None:
    for row in TABLES[network].rows:
        missed = WORDS.get((network, row.placed.layer.name), 0.0)
        assert row.residual == pytest.approx(missed, abs=1e-4)
        assert row.reproduced == (missed == 0.0)
        assert missed == 0.0 or row.published["why"]


@pytest.mark.parametrize(
    ("network", "cores"),
    [("PilotNet LIF", 74), ("PilotNet SDNN", 61), ("MNIST", 5), ("YOLO-KP", 574)],
)
def test_every_layer_takes_as_many_cores_as_published(network: str, cores: int) -> None:
    table = TABLES[network]
    assert [row.placed.cores for row in table.rows] == [
        row.published["cores"] for row in table.rows
    ]
    assert table.cores == (cores, cores)


def test_oxford_takes_a_core_less_than_published_and_the_file_says_why() -> None:
    first, second = TABLES["Oxford"].rows
    assert (first.placed.cores, first.published["cores"]) == (2, 3)
    assert "went past two cores" in first.published["why"]
    assert second.same_cores


def test_cores_are_equal_for_nearly_all_layers() -> None:
    rows = [row for table in TABLES.values() for row in table.rows]
    assert sum(row.same_cores for row in rows) == len(rows) - 1


def test_tiles_are_equal_but_for_three_of_equally_many_cores() -> None:
    other = {
        (name, row.placed.layer.name)
        for name, table in TABLES.items()
        for row in table.rows
        if not row.same_tile
    }
    assert other == {("YOLO-KP", "conv6"), ("YOLO-KP", "conv7"), ("YOLO-KP", "conv9")}


def test_axon_maps_are_within_a_factor_of_two_of_the_published_means() -> None:
    for table in TABLES.values():
        for row in table.rows:
            assert 0.49 <= row.placed.tiling.full.axon_map_words / row.published["axon_map"] <= 1.7


def test_the_lines_show_both_numbers_the_residual_and_why() -> None:
    lines = list(TABLES["PilotNet LIF"].lines())
    assert lines[0].startswith("PilotNet LIF: 74 cores published, 74 by the formulas (lava-dl,")
    (conv3,) = [line for line in lines if line.startswith("  conv3")]
    assert " ".join(conv3.split()) == "conv3 8x7x48 3 / 3 1,620 / 1,296 -20.0 % 112 / 56"
    assert "48 channels of 4 bits" in lines[lines.index(conv3) + 1]


needs_wheel = pytest.mark.skipif(folder() is None, reason="lava-dl ships the networks")


@needs_wheel
def test_the_shipped_pilotnet_has_the_shapes_and_bits_of_the_table() -> None:
    base = folder()
    assert base is not None
    graph = read(Path(base) / "gts" / "pilotnet_lif" / "network.net", steps=16)
    for layer, row in zip(population_demands(graph), TABLES["PilotNet LIF"].rows, strict=True):
        wanted = row.placed.layer
        assert layer.shape == wanted.shape
        if wanted.arriving:  # the input layer is driven by its bias; here a synapse feeds it
            assert layer.arriving == wanted.arriving


@needs_wheel
def test_the_shipped_pilotnet_takes_74_cores_on_a_chip_of_12000_words_and_fewer_on_todays() -> None:
    base = folder()
    assert base is not None
    graph = read(Path(base) / "gts" / "pilotnet_lif" / "network.net", steps=16)
    found = resources(graph, TABLES["PilotNet LIF"].target)
    assert (found.cores, found.chips) == (74, 1)
    assert resources(graph, load_target("loihi2")).cores == 66


@pytest.mark.lava
def test_weight_bits_are_those_that_lava_dl_stores() -> None:
    import numpy as np

    utils = lava_module("lava.lib.dl.netx.utils")
    rng = np.random.default_rng(0)
    for scale in (1, 2, 4, 16):
        for low, high in ((-127, 127), (-5, 4), (-8, 7), (-1, 1), (0, 1), (0, 255), (3, 17)):
            top = 254 if low < 0 else 255
            values = rng.integers(low, high + 1, 200)
            values[:2] = low, high
            weight = scale * values * (2 if low < 0 else 1)
            if np.abs(weight).max() > top:
                continue
            assert weight_bits(weight) == utils.optimize_weight_bits(weight)[1]
