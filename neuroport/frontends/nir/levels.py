"""Choose the real value of one unit of current, and compute the integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import takewhile
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.frontends.nir.linear import Window
from neuroport.frontends.nir.quantized_parts import Form, Synapse, by_channel
from neuroport.frontends.nir.reading import Array
from neuroport.graph import integers
from neuroport.graph.node import IntArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

EXPONENT = 16
HALVINGS = 24  # of a unit until nothing fits
RESOLUTION = 1 << 12  # smallest number of units of a threshold
ROOM = 4  # factor by which a potential may exceed its range on the frames before it saturates


class Levels:
    """The units of one population, per channel.

    Args:
        form: the neurons.
        own: recurrent weights, (neurons, neurons); None without a loop.
        steps: steps of a sample.
        message_range: function that returns the smallest and largest message of a population.
        shown: the largest potential on the frames, for neurons that do not fire.
        one_unit: use one unit for all channels, which chips need. Neurons that do not fire always
            have one unit, because their potentials are compared with each other.
    """

    def __init__(
        self,
        form: Form,
        synapses: list[Synapse],
        own: Array | None,
        channels: int,
        steps: int,
        message_range: Callable[[str], tuple[int, int]],
        shown: float | None,
        one_unit: bool,
    ) -> None:
        self.one_unit = one_unit or form.threshold is None
        # convolutions on chips have no exponents
        self.plain = one_unit and any(isinstance(s.real, Window) for s in synapses)
        self.form = form
        self.synapses = synapses
        self.own = own
        self.channels = channels
        self.steps = steps
        self.message_range = message_range
        self.shown = shown
        self.rows = [synapse.rows() for synapse in synapses]
        threshold = form.threshold
        self.threshold = (
            np.zeros(self.channels) if threshold is None else by_channel(threshold, self.channels)
        )
        inclusive = form.inclusive
        self.inclusive = (
            np.zeros(self.channels, np.bool_)
            if inclusive is None
            else by_channel(inclusive, self.channels) > 0
        )
        subtract = form.subtract
        self.subtract = (
            np.zeros(self.channels) if subtract is None else by_channel(subtract, self.channels)
        )
        self.bias = np.abs(form.bias.reshape(self.channels, -1)).max(1)
        self.sides = self._sides(self.rows, self.own)
        self.sum = np.maximum(*self.sides) * self._times()
        current, voltage = (
            by_channel(leak, self.channels) for leak in (form.current_leak, form.voltage_leak)
        )
        # a voltage that is a sum of weights, or the sum of one step, has a grid; others have none
        self.holds = (current == 1) & (voltage == 0)
        self.forgets = (current == 1) & (voltage == 1)
        self.grid: Array | None = None  # on which those voltages lie, per channel

    def _flat_own(self) -> Array:
        assert self.own is not None
        return self.own.reshape(self.channels, -1)

    def _sides(self, rows: list[Array], own: Array | None) -> tuple[Array, Array]:
        """How far the sum of one step, of synapses and of a loop, may rise above 0 and fall."""
        up, down = np.zeros(self.channels), np.zeros(self.channels)
        for synapse, weight in zip(self.synapses, rows, strict=True):
            positive, negative = (
                np.maximum(sign * weight, 0).reshape(self.channels, -1).sum(1) for sign in (1, -1)
            )
            for source, _ in synapse.sources:
                low, high = self.message_range(source)
                up += positive * high - negative * low
                down += negative * high - positive * low
        if own is not None:
            for sign, side in ((1, up), (-1, down)):
                heard = np.maximum(sign * own, 0).sum(1)
                side += heard.reshape(self.channels, -1).max(1)
        return up, down

    def _times(self) -> Array:
        """The number of times that a current adds up before it decays or the sample ends."""
        leak = by_channel(self.form.current_leak, self.channels)
        leak = np.maximum(np.rint(leak * integers.DECAY_UNITY), 1) / integers.DECAY_UNITY
        times: Array = (1 - (1 - leak) ** self.steps) / leak
        return times

    def finite(self) -> bool:
        """Whether all weights, levels and possible sums are finite in float64."""
        numbers = (*self.rows, self.threshold, self.subtract, self.sum + self.bias, self._held())
        return all(np.isfinite(each).all() for each in numbers)

    def unit(self) -> Array:
        """Return the unit per channel."""
        grid = self._on_grid()
        if grid is not None:
            return grid
        largest = [np.abs(rows).max(1, initial=0) for rows in self.rows]
        own = [] if self.own is None else [np.abs(self._flat_own()).max(1, initial=0)]
        heard = np.array([*largest, *own])
        with np.errstate(divide="ignore"):
            finest = np.where(heard > 0, heard, np.inf).min(0) / integers.WEIGHT_MAX
        if self.form.threshold is not None:
            finest = np.minimum(finest, self.threshold / RESOLUTION)
        slack = 0.98  # the increase of the sum by rounding of weights
        floors = [
            self.threshold / integers.THRESHOLD_MAX,
            self.subtract / integers.CURRENT_MAX,
            self.bias / integers.BIAS_MAX,
            self.sum / (slack * integers.CURRENT_MAX),
            *(each / integers.WEIGHT_MAX for each in own),
            *(each / (integers.WEIGHT_MAX * 2.0**EXPONENT) for each in largest),
        ]
        if self.form.threshold is None:
            floors.append(self._held() / integers.CURRENT_MAX)
        floor = np.max(floors, axis=0)
        top = np.max(largest, axis=0) / integers.WEIGHT_MAX
        if self.one_unit:
            floor, top, finest = (
                np.full(self.channels, value) for value in (floor.max(), top.max(), finest.min())
            )
        unit = np.maximum(np.where(np.isfinite(finest), finest, 0), floor)
        unit = np.where(unit > 0, unit, 1.0)
        # one exponent for all channels, with which each can use all bits of its weights
        heard_of = top > 0
        if heard_of.any():
            wanted = 0 if self.plain else math.ceil(math.log2(max(float((top / unit).max()), 1.0)))
            with np.errstate(divide="ignore"):
                room = np.where(floor > 0, top / floor, 2.0**EXPONENT)[heard_of]
            most = math.floor(math.log2(max(float(room.min()), 1.0)))
            shared = 2.0 ** min(wanted, most)
            unit = np.where(heard_of, np.maximum(floor, top / shared), unit)
        while not self._fits(unit):
            unit = unit * 1.05
        return unit

    def _held(self) -> Array:
        """The potential at which an integrator may saturate."""
        leak = by_channel(self.form.voltage_leak, self.channels)
        steps = self.steps
        times = np.where(leak > 0, (1 - (1 - leak) ** steps) / np.maximum(leak, 1e-12), steps)
        most = (self.sum + self.bias) * times
        held: Array = most if self.shown is None else np.minimum(most, ROOM * self.shown)
        return held

    def _fits(self, unit: Array) -> bool:
        """Whether the sums of rounded weights and the accumulated current fit."""
        rows = []
        for synapse, real in zip(self.synapses, self.rows, strict=True):
            weight, exponent, _ = self.integers(real, synapse, unit)
            rows.append((weight << exponent).astype(np.float64))
        own = self.own
        if own is not None:
            own = self.integers(own, None, unit)[0].astype(np.float64)
        most = np.maximum(*self._sides(rows, own))
        return bool((most * self._times() <= integers.CURRENT_MAX).all())

    def _on_grid(self) -> Array | None:
        """Return powers of two in which all weights and biases are integers and fit, or None."""
        steps = []
        parts = [*self.rows, *([] if self.own is None else [self._flat_own()])]
        bias = self.form.bias.reshape(self.channels, -1)
        for channel in range(self.channels):
            found = [_lowest_bit(part[channel]) for part in parts] + [_lowest_bit(bias[channel])]
            known = [n for n in found if n is not None]
            steps.append(min(known, default=0))
        each, common = np.array(steps), np.full(len(steps), min(steps))
        # halved, because weights of both signs are even
        units = (common,) if self.one_unit else (each, common)
        tried = (np.ldexp(1.0, part - less) for part in units for less in (0, 1))
        unit = next((found for found in tried if self._exact(found)), None)
        if unit is None:
            return None
        self.grid = np.ldexp(1.0, common if self.one_unit else each)
        return self._finer(unit)

    def _finer(self, unit: Array) -> Array:
        """Halve a unit of the grid until nothing is lost, or else as far as helps.

        What is lost shrinks with the unit. But a voltage has room for 131,071 units, so where it
        could leave them, the unit stays at 1/4096 of the threshold.
        """
        if (self.holds | self.forgets).all():
            units = (unit / 2.0**halved for halved in range(HALVINGS))
            for tried in takewhile(self._exact, units):
                if self.kept(tried).all():
                    return tried
        for _ in range(HALVINGS):
            lost = ~self.kept(unit)
            fires = self.form.threshold is not None
            fine = fires and (self.threshold[lost] / unit[lost] >= RESOLUTION).all()
            full = fine and (2 * self._held()[lost] / unit[lost] > integers.CURRENT_MAX).any()
            if full or not lost.any() or not self._exact(unit / 2):
                break
            unit = unit / 2
        return unit

    def kept(self, unit: Array) -> BoolArray:
        """Whether integers fire exactly where real numbers do, per channel.

        Where a voltage lies on the grid, spikes are decided by whole numbers. A decaying voltage is
        rounded at every step, and so is one from which a spike subtracts what is not on the grid.
        """
        if self.grid is None:
            return np.zeros(self.channels, np.bool_)
        holds, forgets = self.holds, self.forgets
        if self.form.threshold is not None:
            amount = self.subtract / unit
            holds = holds & (amount == np.rint(amount))
            forgets = forgets & self._between(unit)[1]
        found: BoolArray = holds | forgets
        return found

    def room(self, unit: Array) -> float | None:
        """The real voltage at which a neuron that fires may saturate; None if none can."""
        up, down = (side + self.bias for side in self.sides)
        far = down * self.steps
        if self.form.subtract is not None:  # else a voltage above the threshold is reset
            far = np.maximum(far, up + np.maximum(up - self.subtract, 0) * self.steps)
        limit = integers.CURRENT_MAX * unit
        reached = self.holds & (far > limit)
        return float(limit[reached].min()) if reached.any() else None

    def thresholds(self, unit: Array) -> IntArray:
        """Return the integer threshold per channel; below 0 for one that always fires.

        With integer voltages ``v > x`` is ``v > floor(x)``, and ``v >= x`` is ``v > ceil(x) - 1``.
        """
        scaled = self.threshold / unit
        near = np.rint(scaled)
        # rounded numbers that were meant to be equal differ in their last bits
        equal = np.abs(scaled - near) < 1e-9 * np.maximum(1, near)
        rounded = np.where(self.inclusive, np.where(equal, near, np.ceil(scaled)) - 1, near)
        if self.grid is None:
            return rounded.astype(np.int64)
        whole = np.where(self.inclusive, np.ceil(scaled) - 1, np.floor(scaled))
        found = np.where(self.holds & self.kept(unit), whole, rounded)
        return np.where(self.forgets, self._between(unit)[0], found).astype(np.int64)

    def _between(self, unit: Array) -> tuple[Array, BoolArray]:
        """Return thresholds of neurons that forget, and whether they are between what arrives.

        An integer neuron keeps 1/4096 of its voltage. Sums of one step lie on the grid. Where one
        step of the grid has room for what is kept, the threshold is as far above the highest sum
        that must not fire as this can rise, and as far below the next as it can fall.
        """
        assert self.grid is not None
        last = self.threshold / self.grid  # the highest sum that does not fire
        last = np.where(self.inclusive, np.ceil(last) - 1, np.floor(last))
        step = self.grid / unit
        up, down = ((side + self.bias) / unit for side in self.sides)
        if self.form.subtract is None:  # only a voltage that did not fire is kept
            up = np.minimum(up, (last + 1) * step)
        down = np.maximum(down, self.subtract / unit)
        rise, fall = _left(up), _left(down)
        part = 1 << integers.STATE_SHIFT
        above = np.ceil(rise / part)
        if self.one_unit:  # equal thresholds stay equal
            above = np.full(self.channels, above[self.forgets].max(initial=0))
        tight = part * (step - above) <= fall
        above = np.where(tight.any() if self.one_unit else tight, np.floor(step / 2), above)
        fits = (part * above >= rise) & (part * (step - above) > fall)
        threshold = last * step + above
        fits &= (threshold >= 0) & (threshold <= integers.THRESHOLD_MAX)
        return np.where(last < 0, -1, threshold), fits

    def _exact(self, unit: Array) -> bool:
        if (self.threshold / unit > integers.THRESHOLD_MAX).any():
            return False
        if (self.subtract / unit > integers.CURRENT_MAX).any():
            return False
        if (self.bias / unit > integers.BIAS_MAX).any() or (
            self.sum / unit > integers.CURRENT_MAX
        ).any():
            return False
        if self.form.threshold is None and (self._held() / unit > integers.CURRENT_MAX).any():
            return False
        for rows, synapse in zip(self.rows, self.synapses, strict=True):
            _, exponent, error = self.integers(rows, synapse, unit)
            if error or (exponent and self.plain):
                return False
        own = self.own
        return own is None or self.integers(own, None, unit)[2] == 0

    def integers(
        self, rows: Array, synapse: Synapse | None, unit: Array
    ) -> tuple[IntArray, int, float]:
        """Return the integer weights, their exponent, and the largest relative error.

        The error is relative to the largest weight. ``synapse`` is None for a population's own
        weights, which have no exponent.
        """
        scaled = rows.reshape(self.channels, -1) / unit[:, None]
        largest = float(np.abs(scaled).max(initial=0))
        mixed = bool((rows > 0).any() and (rows < 0).any())
        exponent = 0
        if synapse is not None:
            most = integers.WEIGHT_MAX * (1 + 1e-9)
            while largest > most * 2.0**exponent and exponent < EXPONENT:
                exponent += 1
        step = 2.0**exponent * (2 if mixed else 1)
        whole = np.rint(scaled / step) * (2 if mixed else 1)
        limit = integers.WEIGHT_MAX
        whole = np.clip(whole, -limit, limit)
        error = float(np.abs(whole * 2.0**exponent - scaled).max(initial=0)) / (largest or 1)
        return whole.astype(np.int64).reshape(rows.shape), exponent, error


def _left(voltage: Array) -> Array:
    """The most that a neuron keeps of a voltage in units of current, in units of the state.

    That is 1/4096 of it, rounded toward zero, and then of that.
    """
    whole = integers.DECAY_UNITY >> integers.STATE_SHIFT
    return np.where(voltage < whole, 0.0, np.floor(voltage / whole) + 1)


def _lowest_bit(values: Array) -> int | None:
    """Return the exponent of the lowest bit in any of the values; None if all are 0."""
    found = values[values != 0]
    if not found.size:
        return None
    mantissa, exponent = np.frexp(found)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    low = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    return int((exponent - 53 + low).min())
