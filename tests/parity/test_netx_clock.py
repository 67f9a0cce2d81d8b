"""When stock NetX's layers begin and what resets them is computed as NetX does it, step for step.

``neuroport check`` tries on that clock what would mend a file, and ``read(..., free_running=True)``
is it without a reset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.netx_audit import faults, inspect
from neuroport.analysis.netx_audit.findings import Report
from neuroport.netx.unread_fields import opened
from tests.helpers.netx import run_netx
from tests.helpers.stockfile import CUBA, dense, file

pytest.importorskip("lava.lib.dl.netx")
pytestmark = pytest.mark.lava

STEPS, SAMPLES, BEHIND = 14, 3, 3
rng = np.random.default_rng(8)
SDNN = {"type": "SDNN", "activation": "relu", "vThMant": 9}
WEIGHTS = [np.float32(2 * rng.integers(-12, 20, size)) for size in ((6, 4), (5, 6))]
BIASES = [np.float32(rng.integers(-20, 21, len(weight))) for weight in WEIGHTS]


def layers(neuron: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    pairs = zip(WEIGHTS, BIASES, strict=True)
    made = [dense(w, bias=b, shape=[len(w)], neuron=neuron) for w, b in pairs]
    made[0] |= more
    return made


def hosted(neuron: dict[str, Any]) -> dict[str, Any]:
    return {"type": "input", "shape": [4], "weight": 64.0, "bias": 0.0, "neuron": neuron}


CASES: dict[str, list[dict[str, Any]]] = {
    "spikes": layers(CUBA),
    "delays": layers({**CUBA, "vThMant": 9}, delay=np.float32([0, 5, 2, 1, 6, 3]), bias=[0.0]),
    "driven neurons": [hosted(CUBA), *layers(CUBA)],
    "changes": [hosted(SDNN), *layers(SDNN)],
}
# the reset_offset that mends each: 0 where the host drives neurons, none that are not LIF
MENDS = {"spikes": 1, "delays": None, "driven neurons": 0, "changes": None}


def frames(case: str) -> Any:
    high = 40 if case in ("driven neurons", "changes") else 2
    return np.random.default_rng(9).integers(0, high, (STEPS, SAMPLES, 4))


def netx(path: Path, data: Any, driven: bool, **arguments: int) -> list[Any]:
    """What every layer of unmodified NetX sends, samples in a row, (steps, neurons)."""
    stream = np.moveaxis(data, 1, 0).reshape(-1, 4)
    stream = np.concatenate([stream, np.zeros((BEHIND, 4), stream.dtype)]).astype(np.int32)
    sent = run_netx(path, stream.T, driven=driven, every=True, **arguments)
    return [layer.T.astype(int) for layer in sent]


@pytest.mark.parametrize("offset", [None, 0, 1])
@pytest.mark.parametrize("case", CASES)
def test_clock_of_netx_is_netx(case: str, offset: int | None, tmp_path: Path) -> None:
    path, data = file(tmp_path / "a.net", *CASES[case]), frames(case)
    graph = port.read(path, frames=data, delay_shift=False)
    driven = CASES[case][0]["type"] == "input"
    resets = {} if offset is None else {"reset_interval": STEPS, "reset_offset": offset}
    got = netx(path, data, driven, **resets)
    clock = faults.Clock(driven, offset=offset)
    content = opened(path, lambda held: held)
    assert content.hosted is driven
    want = faults.timed(graph, data, clock)
    right = faults.run(graph, data)
    differ = False
    for depth, (layer, sent) in enumerate(zip(got, want.values(), strict=True)):
        first = depth + (not driven)
        cut = [layer[first + n * STEPS :][:STEPS] for n in range(SAMPLES)]
        np.testing.assert_array_equal(np.stack(cut, 1), sent)
        differ |= not np.array_equal(sent, list(right.values())[depth])
    assert any(sent.any() for sent in want.values())
    assert differ is (offset is None or offset != MENDS[case])
    if offset is None:
        whole = np.moveaxis(data, 1, 0).reshape(-1, 1, 4)  # never reset: one long sample
        free = port.run(port.read(path, frames=whole, free_running=True), whole)
        for layer, sent in zip(got, free.messages.values(), strict=True):
            np.testing.assert_array_equal(layer[: len(whole)], sent[:, 0])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("given", [True, False])
def test_what_mends_a_file_is_what_was_tried(case: str, given: bool, tmp_path: Path) -> None:
    path, data = file(tmp_path / "a.net", *CASES[case]), frames(case)
    found: Report = inspect(path, steps=STEPS, frames=data if given else None)
    about = [f.what for f in found.findings if "before its first frame" in f.what]
    about += [f.what for f in found.findings if f.layer == "all layers"]
    assert len(about) >= 2
    offset = MENDS[case]
    if offset is None:
        assert "reset_offset" not in about[-1]
    else:
        for what in about:
            assert f"Network(reset_interval=T, reset_offset={offset}) fixes it" in what
    if case == "changes":
        assert all("NetX resets no sigma-delta neurons" in what for what in about)
    if given:
        assert all(f.changes is not None for f in found.findings if f.what in about)
