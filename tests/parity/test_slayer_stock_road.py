"""What lava-dl's own road, ``export_hdf5`` and NetX, makes of the networks that neuroport captures.

One sample from rest, with lava-dl's defaults: its exporter, its loader, Lava's processes. What the
last layer sends is compared with what SLAYER sent, step by step (``delay_shift`` is the step
that Lava takes).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from benchmarks.carriers import run_stock  # noqa: E402
from neuroport.nets.slayer import MembraneShortcut, SpikeShortcut  # noqa: E402
from tests.helpers import slayer_networks as networks  # noqa: E402
from tests.helpers.netx import run_netx  # noqa: E402

pytestmark = pytest.mark.lava

RIGHT = [
    "phase resonators",
    "Izhikevich resonators",
    "dense",
    "convolutions",
    "axonal delays",
    "mask and weight norm",
    "decays of their own",
]
ADAPTIVE = {"threshold": 1, "threshold_step": 1, "threshold_decay": 0.1, "refractory_decay": 0.1}
WRONG = [
    "delayed convolutions",
    "mean-only norm",
    "mean-only norm of maps",
    "norm and delays",
    "scaling norm of 4",
    "scaling norm of 1/2",
]
FAILS = {
    "pooling": NotImplementedError,
    "growing": NotImplementedError,
    "average": AttributeError,
    "recurrent": ValueError,  # with delays, unless the weight is square
}


def differing(net: Any, x: Any, path: Path) -> int:
    """Differing spikes of the last layer, first sample."""
    with torch.no_grad():
        want = net(x[:1])[0].numpy()
    with h5py.File(path, "w") as file:
        for index, block in enumerate(net.blocks):
            block.export_hdf5(file.create_group(f"layer/{index}"))
    sample = x[0].numpy().astype(np.int32)
    if sample.ndim == 4:
        sample = sample.transpose(2, 1, 0, 3)  # Lava's (W, H, C, T)
    (got,) = run_netx(path, sample, shape=sample.shape[:-1])
    assert want.any()
    return int(np.count_nonzero(got != want.reshape(got.shape)))


@pytest.mark.parametrize("case", RIGHT)
def test_stock_road_is_right(case: str, tmp_path: Path) -> None:
    net, x = networks.build(case)
    assert differing(net, x, tmp_path / "net.net") == 0


@pytest.mark.parametrize("case", WRONG)
def test_stock_road_is_wrong_where_ours_is_right(case: str, tmp_path: Path) -> None:
    net, x = networks.build(case)
    count = differing(net, x, tmp_path / "net.net")
    assert count > 0


def adaptive(kind: str) -> tuple[Any, Any]:
    """A network with adaptive thresholds."""
    torch.manual_seed(3)
    own = {"period": 8, "decay": 0.1, "threshold": 0.1}
    if kind == "alif":
        own = {"current_decay": 0.25, "voltage_decay": 0.03, "threshold": 0.1}
    block = getattr(slayer.block, kind)
    net = networks.Chain(block.Dense({**ADAPTIVE, **own}, 20, 12, weight_scale=4))
    x = networks.spikes(networks.ROW)
    return networks.ready(net, x), x


def test_stock_road_runs_adaptive_resonators_without_their_adaptation(tmp_path: Path) -> None:
    net, x = adaptive("adrf")
    assert differing(net, x, tmp_path / "net.net") > 0


def test_stock_road_ends_at_adaptive_neurons_and_at_winner_take_all(tmp_path: Path) -> None:
    net, x = adaptive("alif")
    with pytest.raises(AttributeError, match="pop"):
        differing(net, x, tmp_path / "alif.net")
    net = networks.Chain(networks.cuba("KWTA", 20, 12, 3, weight_scale=4))
    with pytest.raises(KeyError):
        differing(networks.ready(net, x), x, tmp_path / "kwta.net")


@pytest.mark.parametrize("case", FAILS)
def test_stock_road_ends(case: str, tmp_path: Path) -> None:
    net, x = networks.build(case)
    with pytest.raises(FAILS[case]):
        differing(net, x, tmp_path / "net.net")


ATONCE = {"delay_shift": False}
SCALED = {**networks.PLAIN, **networks.SCALE, "threshold": 0.6}
STOCK = {
    "pooling and norm": lambda: networks.Chain(
        networks.cuba("Conv", 2, 4, 3, padding=1, weight_scale=3, neuron=networks.MEAN, **ATONCE),
        networks.cuba("Pool", 2, weight_scale=0.7, **ATONCE),
        slayer.block.cuba.Flatten(),
        networks.cuba("Dense", 64, 10, weight_scale=3, neuron=networks.MEAN, **ATONCE),
    ),
    "scaling norm": lambda: networks.Chain(
        networks.cuba("Conv", 2, 4, 3, weight_scale=4, neuron=SCALED, **ATONCE),
        networks.cuba("Conv", 4, 4, 3, weight_scale=4, neuron=SCALED, **ATONCE),
    ),
    "residual": lambda: networks.Residual(**ATONCE),
    "containers": lambda: networks.Chain(
        MembraneShortcut(
            networks.cuba("Conv", 2, 4, 3, padding=1, weight_scale=5, **ATONCE),
            networks.cuba("Conv", 4, 4, 3, padding=1, weight_scale=3, **ATONCE),
        ),
        SpikeShortcut(networks.cuba("Conv", 4, 4, 3, padding=1, weight_scale=3, **ATONCE)),
        networks.cuba("Conv", 4, 4, 3, padding=1, weight_scale=1, **ATONCE),
    ),
}


# the slower ones take a dozen seconds each, most of it Lava's
LONG = ("residual", "scaling norm")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.long) if case in LONG else case for case in STOCK],
)
def test_stock_file_of_a_captured_network_is_right_in_unmodified_netx(
    case: str, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    net, x = STOCK[case](), networks.spikes((2, 8, 8) if case == "pooling and norm" else (2, 9, 9))
    networks.ready(net, x)
    for module in net.modules():
        if isinstance(module, slayer.neuron.norm.WgtScaleBatchNorm):
            module.running_var.fill_(3.9)
    frames = capture.frames(net, x)
    want = capture.record(net, x)
    chip = port.lower(port.quantize(net, frames), carrier="stock")
    row = run_stock(chip, port.export(chip, tmp_path / "stock.net"), want, frames)
    assert row["samples"] == networks.SAMPLES
    assert row["compared"] == sum(messages.size for messages in want.messages.values())
    assert row["differing"] == 0
    assert all(messages.any() and not messages.all() for messages in want.messages.values())
