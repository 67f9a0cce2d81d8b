"""Run a golden network on an engine and count what differs from the wheel's truth."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import neuroport as port
from neuroport.backends.executor import Starts
from neuroport.backends.reference import output
from neuroport.runs.trace import Trace
from tests.golden.shipped import Array, Golden


def differences(golden: Golden, engine: str) -> dict[str, Any]:
    """Positions compared, nonzero values in the truth, and positions that differ."""
    started = time.perf_counter()
    trace = port.run(golden.graph, golden.frames, on=engine)
    seconds = time.perf_counter() - started
    pairs = [(rows(trace[name]), truth) for name, truth in golden.truth.items()]
    pairs += [(rows(current(golden, trace, n)), truth) for n, truth in golden.currents.items()]
    for found, truth in pairs:
        assert found.shape[1:] == truth.shape[1:]
        assert len(found) >= len(truth) > 0
    return {
        "arrays": len(pairs),
        "positions": sum(truth.size for _, truth in pairs),
        "nonzero": sum(int(np.count_nonzero(truth)) for _, truth in pairs),
        "differ": sum(int((found[: len(truth)] != truth).sum()) for found, truth in pairs),
        "seconds": round(seconds, 1),
    }


def rows(messages: Array) -> Array:
    """(T, N, *shape) as (T * N, *shape), one sample after the other."""
    return np.moveaxis(messages, 1, 0).reshape(-1, *messages.shape[2:])


def current(golden: Golden, trace: Trace, name: str) -> Array:
    """What a synapse delivers, from the messages that an engine recorded before it."""
    synapse = golden.graph[name]
    arriving = sum(trace[source].astype(np.int64) for source in synapse.inputs)
    return output(synapse, np.asarray(arriving), Starts(0, golden.graph.steps))
