"""Lava's loggers of power, time, activity and memory, and their results as plain values."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np

# Each has its own run: a logger belongs to one run(), and loggers would measure each other.
LOGGERS = {
    "power": "Loihi2Power",
    "time": "Loihi2ExecutionTime",
    "activity": "Loihi2Activity",
    "memory": "Loihi2Memory",
}
# What public notebooks of lava-dl read (tutorials/lava/lib/dl/netx/pilotnet_snn/benchmark.ipynb)
NEEDED = {
    "power": ("total_power", "static_total_power"),
    "time": ("avg_time_per_step",),
    "activity": ("core_idx", "chip_idx", "syn_ops", "dendrite_updates", "axon_out", "spikes_in"),
    "memory": ("total_mpds",),
}
MOST = 1000  # longest series that is kept completely


def logger(name: str, steps: int) -> Any:
    """A new logger for a run of ``steps``."""
    from lava.utils import loihi2_profiler

    kind = getattr(loihi2_profiler, LOGGERS[name])
    return kind(num_steps=steps) if name == "power" else kind()


def figures(name: str, told: Any) -> dict[str, Any]:
    """Return every public number and series of a logger after its run.

    Raises:
        RuntimeError: the logger lacks a figure that is needed.
    """
    found: dict[str, Any] = {}
    for attribute in dir(told):
        if attribute.startswith("_"):
            continue
        with contextlib.suppress(Exception):  # a property that needs another probe
            value = _plain(getattr(told, attribute))
            if value is not None:
                found[attribute] = value
    lacking = [attribute for attribute in NEEDED[name] if attribute not in found]
    if lacking:
        raise RuntimeError(
            f"{LOGGERS[name]} tells no {', '.join(lacking)} after the run; it tells "
            f"{', '.join(found) or 'nothing'}"
        )
    return found


def _plain(value: Any) -> Any:
    """Return a number, a list of numbers, or the summary of a long one; None for anything else."""
    if isinstance(value, bool) or callable(value):
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or not array.size:
        return None
    numbers = array.astype(float).reshape(-1)
    if not np.all(np.isfinite(numbers)):
        return None
    if array.ndim == 0:
        return _short(float(numbers[0]))
    if array.size <= MOST:
        return [_short(x) for x in numbers]
    return {
        "n": int(array.size),
        "mean": float(numbers.mean()),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
    }


def _short(number: float) -> int | float:
    return int(number) if math.isfinite(number) and number == int(number) else number
