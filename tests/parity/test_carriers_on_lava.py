"""Every carrier means the same network, in both times, on Lava, and in unmodified NetX."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.backends.executor import cut_window
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.lowering import CARRIERS
from neuroport.netx import read
from neuroport.targets.lowering import options
from neuroport.targets.target import simulator
from tests.helpers.shapes import SHAPES, Shape, frames_for

SAMPLES = 2
Network = tuple[str, Graph, np.ndarray]

# shapes that no chain of NetX layers can express, and the reason given
NOT_STOCK = {
    "ms-resnet with projections": "sends graded messages",
    "danet, membrane, stage": "one size of feature map in a layer",
    "danet, membrane, network": "one size of feature map in a layer",
}


@pytest.fixture(scope="module", params=SHAPES)
def network(request: pytest.FixtureRequest) -> Network:
    frames = frames_for((2, 6, 6), steps=3, samples=SAMPLES)
    return request.param, SHAPES[request.param](Shape(frames)), frames


def test_every_population_of_the_shapes_fires_but_not_always(
    network: Network,
) -> None:
    _, graph, frames = network
    trace = port.run(graph, frames)
    for name, kind in trace.kinds.items():
        if kind == "lif":
            assert 0 < trace[name].mean() < 1, name


def test_every_carrier_equals_the_original_in_ideal_and_chip_time(
    network: Network,
) -> None:
    _, graph, frames = network
    want = port.run(graph, frames)
    found = options(graph, simulator())
    assert {option.carrier for option in found} == set(CARRIERS)
    lowered = [option.graph for option in found if option.graph is not None]
    assert len(lowered) >= 4
    for chip in lowered:
        for engine in ("reference", "fast"):
            assert port.compare(want, port.run(chip, frames, on=engine))
            assert port.compare(want, port.run(chip, frames, on=engine, time_model="chip"))


@pytest.mark.lava
@pytest.mark.parametrize(
    ("shape", "carrier", "align"),
    [  # each carrier and each way to wait, once; `make carriers` measures all
        ("ms-resnet with projections", "relay", "relays"),
        ("ms-resnet with projections", "unroll", "delays"),
        ("ds-resnet, K = 2", "relay", "delays"),
        ("ds-resnet, K = 2", "unroll", "relays"),
    ],
)
def test_every_carrier_equals_the_original_on_lava(shape: str, carrier: str, align: str) -> None:
    frames = frames_for((2, 6, 6), steps=3, samples=SAMPLES)
    graph = SHAPES[shape](Shape(frames))
    chip = port.lower(graph, carrier=carrier, align=align)
    assert port.compare(port.run(graph, frames), port.run(chip, frames, on="lava-cpu"))


# what runs all files with lava-dl alone, in one process because lava-dl takes long to import
DRIVER = """
import json, runpy, sys, traceback
main = runpy.run_path(sys.argv[1])["main"]
for folder in sys.argv[2:]:
    try:
        main(f"{folder}/stock.net", f"{folder}/frames.npy", f"{folder}/out.npz")
    except Exception:
        with open(f"{folder}/error.txt", "w") as file:
            file.write(traceback.format_exc())
"""


@pytest.fixture(scope="module")
def stock_folders(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A folder per shape of the tests that run: the file, and what unmodified NetX made of it."""
    frames = frames_for((2, 6, 6), steps=3, samples=SAMPLES)
    folders = {}
    asked = {
        item.callspec.params.get("network")
        for item in request.session.items
        if hasattr(item, "callspec") and "stock_folders" in getattr(item, "fixturenames", ())
    }
    for name, build in SHAPES.items():
        if name not in asked:
            continue
        folders[name] = folder = tmp_path_factory.mktemp("stock")
        graph = build(Shape(frames))
        chip = port.lower(graph, carrier="auto" if name in NOT_STOCK else "stock")
        port.export(chip, folder / "stock.net")
        np.save(folder / "frames.npy", frames)
    script = root / "deploy" / "lava_cpu" / "run_stock.py"
    command = [sys.executable, "-c", DRIVER, str(script), *map(str, folders.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.lava
def test_unmodified_netx_runs_the_stock_file_with_equal_spikes_or_refuses_it_loudly(
    network: Network, stock_folders: dict[str, Path]
) -> None:
    shape, graph, frames = network
    folder = stock_folders[shape]
    if shape in NOT_STOCK:
        with pytest.raises(IllegalError, match=NOT_STOCK[shape]):
            port.lower(graph, carrier="stock")
        assert "NotImplementedError: concat" in (folder / "error.txt").read_text()
        return
    assert not (folder / "error.txt").exists(), (folder / "error.txt").read_text()
    chip = read(folder / "stock.net")
    want = port.run(graph, frames)
    seen = set()
    with np.load(folder / "out.npz") as out, h5py.File(folder / "stock.net") as file:
        for layer, members in enumerate(json.loads(file["layer"].attrs["members"])):
            for name, (start, stop) in members.items():
                if name not in want.messages:
                    continue  # a spike relay that lowering added
                seen.add(name)
                key = "potential" if want.kinds[name] == "readout" else f"layer{layer}"
                got = cut_window(chip, out[key][:, start:stop], layer + 1, SAMPLES)
                np.testing.assert_array_equal(got, want[name], err_msg=name)
    assert seen == set(want.messages)
