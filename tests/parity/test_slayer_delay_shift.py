"""Files that lava-dl wrote of blocks with ``delay_shift=True``, their default.

The file does not say it. Read with ``delay_shift=True`` it is the module, population by population;
without a word it is read as before, with a warning where that matters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.netx_audit import inspect
from neuroport.errors import BackendError, FormatError, NeuroportWarning
from tests.conftest import Neuroport

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from neuroport.capture import slayer as capture  # noqa: E402
from tests.helpers.slayer_networks import Chain, alif, cuba, ready, spikes  # noqa: E402

MEAN = {"norm": slayer.neuron.norm.MeanOnlyBatchNorm}
ADAPTS = {"threshold": 0.4, "threshold_step": 0.2, "threshold_decay": 0.1, "refractory_decay": 0.3}
IMAGE, ROW = (2, 9, 9), (20,)


def rows(**options: Any) -> Chain:
    return Chain(
        cuba("Dense", 20, 24, weight_scale=3, neuron=MEAN, **options),
        cuba("Dense", 24, 16, weight_scale=3),  # rests without input: its step is a mere shift
        cuba("Dense", 16, 16, weight_scale=3, neuron=MEAN, **options),
        cuba("Dense", 16, 8, weight_scale=3, neuron=MEAN),
    )


def maps() -> Chain:
    return Chain(
        cuba("Conv", 2, 6, 3, stride=2, weight_scale=4, neuron=MEAN),
        cuba("Conv", 6, 8, 3, padding=1, weight_scale=3, neuron=MEAN, delay=True),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 8 * 16, 10, weight_scale=2, neuron=MEAN),
    )


def adaptive() -> Chain:
    return Chain(
        alif("Dense", 20, 24, weight_scale=3, neuron={**ADAPTS, **MEAN}),
        alif("Dense", 24, 12, weight_scale=3, neuron={**ADAPTS, **MEAN}),
    )


NETWORKS: dict[str, tuple[Callable[[], Chain], tuple[int, ...]]] = {
    "rows": (rows, ROW),
    "rows with delays": (lambda: rows(delay=True), ROW),
    "maps": (maps, IMAGE),
    "adaptive": (adaptive, ROW),
}


def made(name: str, folder: Path) -> tuple[Any, Any, Path]:
    """A network, what it takes, and its file as every tutorial of lava-dl writes it."""
    torch.manual_seed(5)
    make, shape = NETWORKS[name]
    net, x = make(), spikes(shape)
    ready(net, x)
    path = folder / "old.net"
    with h5py.File(path, "w") as file:
        for index, block in enumerate(net.blocks):
            block.export_hdf5(file.create_group(f"layer/{index}"))
    return net, x, path


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_read_with_delay_shift_is_the_module_in_every_population(
    name: str, tmp_path: Path
) -> None:
    net, x, path = made(name, tmp_path)
    frames = capture.frames(net, x)
    graph = port.read(path, frames=frames, delay_shift=True)
    got, want = port.run(graph, frames), capture.record(net, x)
    layers = [name for name in want.messages if not name.endswith(".delayed")]
    assert len(layers) == len([n for n in got.messages if not n.endswith(".delayed")])
    for block in layers:
        index = int(block.rsplit(".", 1)[-1])
        assert want[block].any()
        np.testing.assert_array_equal(got[f"layer{index}"], want[block])
    again = port.run(path, frames, delay_shift=True)
    assert port.compare(got, again).equal
    with pytest.warns(NeuroportWarning, match="does not say whether it was trained with delay_shi"):
        other = port.read(path, frames=frames)
    assert not port.compare(got, port.run(other, frames)).equal
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert port.read(path, frames=frames, delay_shift=False).hash == other.hash


@pytest.mark.lava
def test_what_a_shifted_file_is_lowered_to_is_the_module_on_lava(
    called: Neuroport, tmp_path: Path
) -> None:
    net, x, path = made("rows", tmp_path)
    frames = capture.frames(net, x)[:, :2]
    np.save(tmp_path / "frames.npy", frames)
    new = tmp_path / "new.net"
    done = called("lower", path, "--steps", len(frames), "--delay-shift", "-o", new)
    assert done.returncode == 0, done.stderr
    assert "delay_shift" not in done.stderr
    got, want = port.run(new, frames, on="lava-cpu"), capture.record(net, x[:2])
    for (name, sent), truth in zip(got.messages.items(), want.messages.values(), strict=True):
        np.testing.assert_array_equal(sent, truth, err_msg=name)


def test_every_verb_says_in_one_line_what_such_a_file_leaves_open(
    called: Neuroport, tmp_path: Path
) -> None:
    net, x, path = made("rows", tmp_path)
    frames = tmp_path / "frames.npy"
    np.save(frames, capture.frames(net, x))
    for verb in (
        ("run", path, "--frames", frames),
        ("show", path, "--frames", frames),
        ("lower", path, "--frames", frames, "-o", tmp_path / "new.graph"),
        ("compare", path, path, "--frames", frames),
    ):
        done = called(*verb)
        assert done.returncode == 0, done.stderr
        (line,) = (line for line in done.stderr.splitlines() if "delay_shift" in line)
        assert line.startswith(f"neuroport: warning: {path}: does not say")
        assert "(--delay-shift or --no-delay-shift)" in line
        for said in ("--delay-shift", "--no-delay-shift"):
            assert called(*verb, said).stderr == ""
    told = called("check", path, "--frames", frames).stdout
    assert f"{path}: does not say whether it was trained with delay_shift=True" in told
    assert "delay_shift" not in called("check", path, "--frames", frames, "--delay-shift").stdout


def test_check_of_a_shifted_file_knows_that_no_reset_of_netx_mends_it(tmp_path: Path) -> None:
    net, x, path = made("rows", tmp_path)
    found = inspect(path, frames=capture.frames(net, x), delay_shift=True)
    early, together = (f for f in found.findings if f.layer == "all layers")
    assert "biases act a step longer" in early.what
    assert early.changes is not None
    assert early.changes > 0
    for each in (early, together):
        assert "no reset of NetX fixes it" in each.what
    assert not any("its bias acts" in f.what for f in found.findings)


def test_files_that_depend_on_no_shift_are_read_without_a_word(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net, x = Chain(cuba("Dense", 20, 8, neuron=MEAN), cuba("Dense", 8, 8)), spikes(ROW)
    ready(net, x)
    path = tmp_path / "a.net"
    with h5py.File(path, "w") as file:
        for index, block in enumerate(net.blocks):
            block.export_hdf5(file.create_group(f"layer/{index}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = (port.read(path, steps=9, delay_shift=s) for s in (None, True))
    assert one.hash == two.hash


def test_the_options_of_stock_files_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    net, x, path = made("rows", tmp_path)
    frames = capture.frames(net, x)
    graph = port.quantize(net, frames)
    with pytest.raises(BackendError, match="delay_shift: for stock NetX files"):
        port.run(graph, frames, delay_shift=True)
    new = port.export(port.lower(graph), tmp_path / "new.net")
    with pytest.raises(FormatError, match="says when its layers begin"):
        port.read(new, delay_shift=True)
    with pytest.raises(FormatError, match="give one of them"):
        port.read(path, steps=9, delay_shift=True, free_running=True)
