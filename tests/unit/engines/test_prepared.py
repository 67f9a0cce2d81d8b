"""A prepared network runs one call after the other, and none within another."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

import neuroport as port
from neuroport.engines.engine import Prepared
from neuroport.errors import BackendError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Readout
from neuroport.runs.frames import Progress
from neuroport.runs.trace import Trace

GRAPH = Graph(
    [
        Input("frames", (2,), 4),
        Dense("wire", ("frames",), np.eye(2, dtype=int)),
        Readout("out", ("wire",)),
    ],
    2,
)
FRAMES = np.arange(12).reshape(2, 3, 2)


def ended(call: Callable[[], object]) -> BaseException | None:
    """What a call raises; it must end soon."""
    raised: list[BaseException | None] = []

    def tried() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=tried, daemon=True)
    thread.start()
    thread.join(30)
    assert raised, "it waits for itself"
    return raised[0]


@pytest.mark.parametrize("on", ["reference", "fast"])
@pytest.mark.parametrize("what", ["run", "close"])
def test_progress_cannot_call_the_network_that_it_tells_of(on: str, what: str) -> None:
    if on == "fast":
        pytest.importorskip("torch")
    prepared = port.prepare(GRAPH, on=on)
    again = prepared.close if what == "close" else lambda: prepared.run(FRAMES)
    error = ended(lambda: prepared.run(FRAMES, progress=lambda done, total: again()))
    assert isinstance(error, BackendError)
    assert "called while it runs, by its progress function" in str(error)
    np.testing.assert_array_equal(prepared.run(FRAMES)["out"], port.run(GRAPH, FRAMES)["out"])
    prepared.close()


def test_progress_in_a_thread_of_the_engine_cannot_call_it_either() -> None:
    errors: list[BaseException | None] = []

    def run(frames: np.ndarray, progress: Progress | None) -> Trace:
        assert progress is not None
        teller = threading.Thread(target=lambda: errors.append(ended_here(progress)))
        teller.start()
        teller.join()
        return Trace({}, {})

    def ended_here(progress: Progress) -> BaseException | None:
        try:
            progress(1, 1)
        except BackendError as error:
            return error
        return None

    prepared = Prepared(run)
    again = lambda done, total: prepared.close()  # noqa: E731
    assert ended(lambda: prepared.run(FRAMES, progress=again)) is None
    assert "called while it runs" in str(errors[0])
