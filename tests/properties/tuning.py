"""Constants of a population that fires sometimes: thresholds from what arrives at it.

All arithmetic is on integers (sorted values, floor division), so that a seed gives the same
constants on every machine. The neuron is run by the interpreter's own arithmetic.
"""

from __future__ import annotations

import numpy as np

from neuroport.graph.integers import BIAS_MAX, THRESHOLD_MAX
from neuroport.graph.node import Lif
from tests.properties.choices import Choices
from tests.properties.interpreter import Cell

RATES = (1, 7, 500, 1000, 2048, 3072, 4000, 4095, 4096)
TRIES = 5


def lively_lif(
    choose: Choices,
    name: str,
    inputs: tuple[str, ...],
    arriving: np.ndarray,
    *,
    by_neuron: bool = True,
) -> Lif:
    """A population that answers ``arriving`` (T, N, *shape) with spikes and with silence.

    Where that fails (nothing arrives, say) the last attempt is given, silent or always firing.
    """
    shape = arriving.shape[2:]
    bias = biases(choose, arriving, by_neuron)
    current, voltage = decays(choose, shape[0])
    exact = choose.chance(70)
    per_channel = choose.chance(40)
    share = choose.integer(55, 97)  # of the voltages, in percent, that stay below threshold
    lif = Lif(name, inputs, THRESHOLD_MAX, current, voltage, bias)
    for _ in range(TRIES):
        free = positive(
            voltages(Lif(name, inputs, THRESHOLD_MAX, current, voltage, bias), arriving)
        )
        threshold = quantiles(free, share, exact, per_channel)
        lif = Lif(name, inputs, np.minimum(threshold, THRESHOLD_MAX), current, voltage, bias)
        rate = spikes(lif, arriving)
        count = int(rate.sum())
        if 0 < count < rate.size and 50 * count >= rate.size:
            break
        if 2 * count > rate.size:
            share = min(99, share + 10)
            bias = bias - pull(arriving)
        else:
            share = max(20, share - 15)
            bias = bias + pull(arriving)
        bias = np.clip(bias, -BIAS_MAX, BIAS_MAX)
    return lif


def biases(choose: Choices, arriving: np.ndarray, by_neuron: bool) -> np.ndarray:
    """One for the population, one per channel or one per neuron."""
    shape = arriving.shape[2:]
    top = min(BIAS_MAX, pull(arriving))
    kept = choose.pick(((1,), (shape[0],), shape if by_neuron else (1,)))
    if choose.chance(35):
        return np.zeros(1, np.int64)
    return choose.integers(-(top // 2), top, kept)


def pull(arriving: np.ndarray) -> int:
    """A bias that moves voltages by about what arrives."""
    return 1 + int(np.abs(arriving).sum()) // arriving.size


def decays(choose: Choices, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Current and voltage decay within what Lava takes: none at all in half of the cases."""
    if choose.chance(50):
        return np.array([4096]), np.array([0])
    current, voltage = (
        np.array([choose.pick(RATES) for _ in range(channels if choose.chance(40) else 1)])
        for _ in range(2)
    )
    return current, np.minimum(voltage, 4095)


def voltages(lif: Lif, arriving: np.ndarray) -> np.ndarray:
    """Voltages of all steps, before the reset."""
    cell = Cell(lif, arriving.shape[2:], 0, arriving.shape[1])
    found = []
    for current in arriving:
        cell.step([current], current)
        found.append(cell.v)
    return np.stack(found)


def spikes(lif: Lif, arriving: np.ndarray) -> np.ndarray:
    cell = Cell(lif, arriving.shape[2:], 0, arriving.shape[1])
    return np.stack([cell.step([current], current) for current in arriving])


def positive(v: np.ndarray) -> list[np.ndarray]:
    """Positive voltages of each channel, sorted, by 2**-6."""
    channels = np.moveaxis(v, 2, 0).reshape(v.shape[2], -1)
    return [np.sort(channel[channel > 0] >> 6) for channel in channels]


def quantiles(free: list[np.ndarray], share: int, exact: bool, per_channel: bool) -> np.ndarray:
    """Thresholds at ``share`` percent of the voltages: at one that is reached, or beside it."""
    if not per_channel:
        free = [np.sort(np.concatenate(free))]
    at = [int(v[(len(v) - 1) * share // 100]) if len(v) else 0 for v in free]
    return np.array([max(0, value - (not exact)) for value in at], np.int64)
