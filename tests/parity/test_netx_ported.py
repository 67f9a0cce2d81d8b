"""lava-dl's own tests of ``lava.lib.dl.netx``, asked of neuroport, and the table of them all.

The wheel ships them (``tests/lava/lib/dl/netx``). Each asks whether a network or a layer gives the
arrays beside it; those asked of shipped arrays alone are ``tests/golden``. What is left is here, by
the public face: ``port.read`` and ``port.run``. ``docs/slayer.md`` lists all, and is held to them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node, Readout
from neuroport.netx import stock
from tests.golden.check import differences
from tests.golden.shipped import SHORT, Golden, folder, load, net

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="lava-dl is not installed with its tests; pip install lava-dl==0.6.0 (Python 3.10)",
)
ENGINES = ["reference", pytest.param("lava-cpu", marks=pytest.mark.lava)]


def test_num_layers() -> None:
    """A network is cut where its reader likes: there is no option, a graph is a list of nodes."""
    graph = port.read(net("tiny.net"), steps=15)
    second = [node.name for node in graph].index("layer1") + 1
    assert len(Graph(graph.nodes[:second], 15).populations) == 2


def test_input_transform() -> None:
    assert stock.transform(net("tiny.net")) == (36, 34)


def test_mnist() -> None:
    graph = port.read(net("mnist.net"), steps=8)
    assert [node.name for node in graph.populations] == [f"layer{i}" for i in range(4)]
    kinds = [type(node) for node in graph.populations]
    assert kinds == [Lif, Lif, Lif, Readout]  # the last never fires
    reads = [graph[name] for node in graph.populations for name in node.inputs]
    assert [node.inputs for node in reads] == [("input",), ("layer0",), ("layer1",), ("layer2",)]
    assert all(isinstance(node, Dense) for node in reads[1:])


@pytest.mark.parametrize("engine", ENGINES)
def test_pilotnet_sdnn(engine: str) -> None:
    """Nine steps as NetX runs them: all layers begin at once, and the source repeats its frame."""
    path = net("gts/pilotnet_sdnn/network.net")
    truth = load("pilotnet_sdnn/output")
    frames = np.resize(load("pilotnet_sdnn/input"), (len(truth), 1, 3, 33, 100))
    trace = port.run(path, frames, on=engine, free_running=True)
    assert np.count_nonzero(truth) > 0
    np.testing.assert_array_equal(trace["layer9"][:, 0].reshape(truth.shape), truth)


@pytest.mark.parametrize("engine", ENGINES)
def test_pilotnet_lif_spike_input(engine: str) -> None:
    """Four convolutions behind the spikes of the input layer; what reaches the fourth."""
    late, steps = 4, 12  # a layer's first step is as late as it is deep, in samples of 16
    path = net("gts/pilotnet_lif/network.net")
    graph = port.read(path, steps=steps, delay_shift=False)
    names = [node.name for node in graph]
    nodes: list[Node] = list(graph.nodes[names.index("layer0") + 1 : names.index("layer4") + 1])
    graph = Graph([Input("layer0", graph.facts("layer0").shape, bits=1), *nodes], steps)
    spikes = load("pilotnet_lif/input-s")[:steps, None]
    truth = load("pilotnet_lif/conv-3-u")[late : late + steps]
    assert not np.any(truth & 63)  # the current of a step, shifted by 6
    golden = Golden(graph, spikes, {}, {"layer4.synapse": truth >> 6})
    found = differences(golden, engine)
    assert found["nonzero"] > 0
    assert found["differ"] == 0, found


def test_recurrent_netx_save_and_load(tmp_path: Path) -> None:
    """Their network and its file, on spikes: every position is SLAYER's, not the mean rate."""
    torch = pytest.importorskip("torch")
    slayer = pytest.importorskip("lava.lib.dl.slayer")
    from neuroport.capture import slayer as capture

    torch.manual_seed(3)
    params = {"threshold": 0.95, "current_decay": 0.5, "voltage_decay": 0.15}
    params |= {"shared_param": False, "requires_grad": False}
    blocks = [slayer.block.cuba.Recurrent(dict(params), n, 5, weight_scale=0.0) for n in (6, 5)]
    for block in blocks:
        block.input_synapse.weight.data += 0.1
        block.recurrent_synapse.weight.data += 0.05
    module = torch.nn.Sequential(*blocks).eval()
    x = (torch.rand(3, 6, 101) < 0.5).float()
    with torch.no_grad():
        module(x)
    with h5py.File(tmp_path / "recurrent.net", "w") as file:
        for index, block in enumerate(blocks):
            block.export_hdf5(file.create_group(f"layer/{index}"))
    frames = capture.frames(module, x)
    want = capture.record(module, x)
    got = port.run(tmp_path / "recurrent.net", frames)
    for index in range(2):
        assert want[str(index)].any()
        np.testing.assert_array_equal(got[f"layer{index}"], want[str(index)])


# -- the table ---------------------------------------------------------------------------------


def table(root: Path) -> dict[str, tuple[str, str]]:
    """Rows of the page: their test -> (what becomes of it here, where or why)."""
    text = (root / "docs/slayer.md").read_text()
    part = text.split("<!-- netx tests: begin -->")[1].split("<!-- netx tests: end -->")[0]
    rows = re.findall(r"^\| `([\w.:]+)` \| ([^|]+) \| ([^|]+) \|$", part, re.M)
    found = {name: (state.strip(), why.strip()) for name, state, why in rows}
    assert len(found) == len(rows)
    return found


def theirs() -> set[str]:
    base = folder()
    assert base is not None
    return {
        f"{path.name}::{kind.name}::{test.name}"
        for path in sorted(base.glob("test_*.py"))
        for kind in ast.parse(path.read_text()).body
        if isinstance(kind, ast.ClassDef)
        for test in kind.body
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
    }


def test_the_page_lists_every_test_of_netx_and_where_it_is_asked_here(root: Path) -> None:
    rows = table(root)
    assert set(rows) == theirs()
    ours = {node.name for node in ast.parse(Path(__file__).read_text()).body
            if isinstance(node, ast.FunctionDef)}  # fmt: skip
    for name, (state, why) in rows.items():
        if state == "no":
            assert len(why) > 30, f"{name}: no reason"
            continue
        assert state in ("yes", "yes, on the CPU")
        assert (state != "yes") == name.startswith("test_hdf5_nx"), "those are of a board"
        asked = re.findall(r"`(\w+)`|golden \*([\w ]+)\*", why)
        assert asked, f"{name}: nothing asks it"
        for test, golden in asked:
            assert test in ours or golden in SHORT, f"{name}: {test or golden}"
