"""Networks of SpikingJelly: in this environment, or in one of a newer Python, which it needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from neuroport.frontends.torch.neurons import cell_of
from tests.libraries.test_pages import blocks

NEWER = ("python3.12", "python3.13", "python3.11")
HERE = find_spec("spikingjelly") is not None
# where it is missing, an environment is made first, which takes minutes
installed = pytest.mark.lava if HERE else pytest.mark.long


@pytest.fixture(scope="module")
def jelly(root: Path, request: pytest.FixtureRequest) -> Path:
    """A Python with SpikingJelly, neuroport and Lava."""
    if HERE:
        return Path(sys.executable)
    wheel: Path = request.getfixturevalue("wheel")
    tmp_path_factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    python = next((p for p in map(shutil.which, NEWER) if p and works(p, root)), None)
    if python is None:
        pytest.skip(f"none of {', '.join(NEWER)} is on the path")
    folder = tmp_path_factory.mktemp("jelly") / "venv"
    for command in (
        [python, "-m", "venv", folder],
        [
            *(folder / "bin" / "python", "-m", "pip", "-q", "install"),
            *(f"{wheel}[train,lava,spikingjelly]",),
        ],
        [folder / "bin" / "neuroport", "backends", "--install", "lava", "--yes"],
    ):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stderr
    return folder / "bin" / "python"


def works(python: str, root: Path) -> bool:
    return subprocess.run([python, "--version"], cwd=root, capture_output=True).returncode == 0


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.long
@pytest.mark.lava
@pytest.mark.timeout(3000)
def test_networks_of_the_tutorials_go_to_lava_and_no_spike_differs(
    jelly: Path, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    command = [jelly, "-m", "tests.libraries", "--out", out, "--only", "tutorial: "]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["networks"]
    assert {one["called"] for one in found.values()} == {"step", "static"}
    assert all(one["differing"] == 0 for one in found.values())


@installed
@pytest.mark.lava
@pytest.mark.timeout(3000)
def test_the_page_on_spikingjelly_prints_what_it_says(jelly: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks("spikingjelly.md", "python")))
    done = subprocess.run(
        [jelly, script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wanted,) = blocks("spikingjelly.md", "text")
    assert done.stdout.strip().splitlines()[1:] == wanted.strip().splitlines()[1:]


WITHOUT_LEAKS = """
import numpy as np, torch, neuroport as port
from spikingjelly.activation_based import functional, neuron
from neuroport.errors import FormatError

frames = (np.random.default_rng(0).random((40, 4, 3)) < 0.6).astype(np.int64)


def layer(node):
    node.step_mode = "m"
    net = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), node)
    net[0].weight.data = torch.eye(3)
    return net


for reset in (None, 0.0):
    for threshold in (0.5, 0.75, 1.0, 1.5):
        net = layer(neuron.IFNode(v_threshold=threshold, v_reset=reset))
        made = port.import_torch(net, frames)
        functional.reset_net(net)
        want = net(torch.from_numpy(frames).float()).detach().numpy() > 0
        assert want.sum() > 100
        assert np.array_equal(port.run(made.graph, frames)["1"], want), (reset, threshold)
        assert "exact" in made.table().splitlines()[-2]
for options in ({"v_decay": -0.5}, {"v_decay": 1.5}, {"c_decay": 1.2}, {"c_decay": -0.25}):
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), neuron.CUBALIFNode(**options))
    try:
        port.import_torch(net, frames)
    except FormatError as error:
        assert f" keeps {min(options.values()):g} of itself" in str(error), error
    else:
        raise AssertionError(options)
"""


@installed
@pytest.mark.timeout(3000)
def test_neurons_without_a_leak_lose_nothing_and_odd_decays_are_refused(jelly: Path) -> None:
    done = subprocess.run(
        [jelly, "-c", WITHOUT_LEAKS], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.lava
@pytest.mark.timeout(3000)
def test_weights_of_its_networks_give_its_logits(jelly: Path, root: Path) -> None:
    done = subprocess.run(
        [jelly, "-m", "tests.libraries.jelly_weights"],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, found in json.loads(done.stdout).items():
        assert found["entries"] == found["of"], name
        assert found["difference"] < 1e-12 < 0.1 < found["deviation"], name


@pytest.mark.parametrize(
    ("kind", "constants", "key", "want"),
    [
        ("LIFNode", {"tau": torch.tensor([2.0, 4.0]), "decay_input": False}, "voltage_leak",
         [0.5, 0.25]),
        ("LIFNode", {"tau": torch.tensor(4.0), "decay_input": True}, "gain", 0.25),
        ("CUBALIFNode", {"c_decay": torch.tensor([0.25, 0.5]), "v_decay": 0.75}, "current_leak",
         [0.75, 0.5]),
        ("CUBALIFNode", {"c_decay": 0.5, "v_decay": torch.tensor([0.75, 0.5])}, "voltage_leak",
         [0.25, 0.5]),
        ("IFNode", {"v_threshold": torch.tensor([1.0, 0.5])}, "threshold", [1.25, 0.75]),
    ],
)  # fmt: skip
def test_constants_may_be_one_for_each_neuron(
    kind: str, constants: dict[str, object], key: str, want: object
) -> None:
    # a class of the library's names, which has no version for every Python that is tested
    neuron = type(kind, (nn.Module,), {"__module__": "spikingjelly.activation_based.neuron"})()
    shared = {"v_threshold": 1.0, "v_reset": -0.25, "step_mode": "m"}
    fires = {"surrogate_function": lambda x: (x >= 0).float()}
    vars(neuron).update({**shared, **fires, "_memories_rv": {"v": -0.25}, **constants})
    assert np.array_equal(cell_of("n", neuron).values[key], want)
