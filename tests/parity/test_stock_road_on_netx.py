"""What is said that stock NetX does wrong with a file is what it does, spike for spike.

The fault is in the last layer, so that all that differs is what that layer sends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.netx_audit import faults, inspect
from neuroport.graph.node import Input
from tests.helpers.netx import run_netx
from tests.helpers.stockfile import CUBA, conv, dense, file

pytest.importorskip("lava.lib.dl.netx")
pytestmark = pytest.mark.lava

STEPS = 30
rng = np.random.default_rng(4)
EVEN = np.float32(2 * rng.integers(-20, 21, (6, 8)))
FIRST = dense(np.float32(2 * rng.integers(-10, 25, (8, 4))), neuron=CUBA)
IF = {**CUBA, "iDecay": 4096, "vDecay": 0}


def resonator() -> dict[str, Any]:
    """One whose period NetX truncates: which do depends on the sine of the processor."""
    for sin in range(3000, 2000, -1):
        neuron = {"sinDecay": np.array([sin]), "cosDecay": np.array([2780])}
        ((what, _),) = faults.resonators(0, neuron)
        if "this processor makes them" in what:
            return {"type": "RF_PHASE", "vThMant": 1, "sinDecay": sin, "cosDecay": 2780}
    raise AssertionError("a processor that rounds every one of 1,000 sines up")


COMPLEX = np.float32(2 * np.random.default_rng(6).integers(-60, 61, (2, 200, 8)))
MAPS = np.float32(2 * rng.integers(-3, 9, (3, 2, 3, 3)))


def last(weight: Any = EVEN, **changes: Any) -> dict[str, Any]:
    return dense(weight, shape=[6], **changes)


CASES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "bias": ([FIRST, last(bias=np.float32([5, 9, -9, 13, 0, 2]))], "bias acts 2 steps"),
    "negative weights": ([FIRST, last(-np.ones((6, 8)), bias=[30.0])], "weights change"),
    "weights beyond": ([FIRST, last(np.abs(EVEN) + 230)], "weights change"),
    "rounded": (
        [FIRST, last(np.float32([[-4, -1, -1, 0] * 2] * 6), bias=[60.0])],
        "weights change",
    ),
    "scaling norm": ([FIRST, last(neuron={**IF, "weight_exp": np.float32([2])})], "never read"),
    "resonators": (
        [FIRST, dense({"real": COMPLEX[0], "imag": COMPLEX[1]}, shape=[200], neuron=resonator())],
        "are truncated",
    ),
    "delayed maps": (
        [conv(), conv(shape=[3, 2, 3], outChannels=3, weight=MAPS, delay=[0.0, 3.0, 5.0])],
        "are ignored",
    ),
}


def netx(path: Path, frames: Any, depth: int, **arguments: int) -> Any:
    """What the last layer of unmodified NetX sends for one sample, (T, *shape)."""
    stream = np.zeros((STEPS + depth, *frames.shape[2:]), np.int32)
    stream[:STEPS] = frames[:, 0]
    data = stream.transpose(*range(stream.ndim - 1, 0, -1), 0)  # Lava's (W, H, C, T)
    (got,) = run_netx(path, data, shape=data.shape[:-1], **arguments)
    return got.T[depth:]  # (T, C, H, W)


@pytest.mark.parametrize("case", CASES)
def test_count_of_a_fault_is_what_netx_does(case: str, tmp_path: Path) -> None:
    layers, what = CASES[case]
    shape = (2, 6, 7) if layers[0]["type"] == "conv" else (4,)
    frames = np.random.default_rng(5).integers(0, 2, (STEPS, 1, *shape))
    path = file(tmp_path / "old.net", *layers)
    bits = Input("input", shape, bits=1)
    found = inspect(path, frames=frames, input=bits)
    (finding,) = (f for f in found.findings if what in f.what)
    assert found.graph is not None
    want = port.run(found.graph, frames)
    right = next(reversed(want.messages.values()))[:, 0]
    # the reset that mends a bias leaves the other fault alone
    mended = {} if "bias" in case else {"reset_interval": STEPS, "reset_offset": 1}
    got = netx(path, frames, len(layers), **mended)
    assert right.any()
    assert finding.changes == np.count_nonzero(got != right) > 0
