"""Estimate energy and time from counts; each estimate has a label that states its limits.

::

    arithmetic_45nm_nj = (4.6 * multiply-accumulates + 0.9 * accumulates) / 1000
    loihi1_nj = (23.6 * operations + 81 * active + 52 * inactive + 1.7 * messages + hops) / 1000
    step_time_us = sum over the steps of a sample of the slowest core's time (analysis/core_work.py)

The constants are data with sources: ``arithmetic.toml`` in this folder, and the targets' TOML files
(``neuroport targets loihi1``). No energies of Loihi 2 are published, so an energy on Loihi 2 exists
only with a measurement. It is never scaled from Loihi 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from neuroport.analysis.core_work import CoreWork
from neuroport.analysis.operations import Work
from neuroport.runs.measurement import Measurement
from neuroport.targets.target import Fact, load_target, read_toml

ARITHMETIC = "45 nm arithmetic only; no memory, routing, static or I/O; not Loihi"
LOIHI1 = "Loihi 1, pre-silicon, dynamic, lower bound"
BOUND = "bound, unpublished-grade constants"
UNMEASURED = "not available without a measurement"
UNPLACED = "needs a placement: not counted"

_KEYS = {
    "multiply_accumulate_pj": ("number or none", "energy of a multiply-accumulate, pJ"),
    "accumulate_pj": ("number or none", "energy of an accumulate, pJ"),
}
_NJ = 1e-3  # of a picojoule


@dataclass(frozen=True, slots=True)
class Routes:
    """Costs of a placement, as means per sample.

    They are messages between chips, as in :attr:`neuroport.targets.mapping.Mapping.messages`, and
    hops, if known.
    """

    inter_chip: float
    east_west: float | None = None
    north_south: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that was estimated, not measured; ``value`` is None if no estimate exists.

    ``label`` states its meaning and limits; ``remark`` has further information.
    """

    title: str
    value: float | None
    unit: str
    label: str
    remark: str = ""

    @property
    def amount(self) -> str:
        """The value with its unit, or an empty text."""
        if self.value is None:
            return ""
        digits = ",.1f" if self.value >= 100 else ".4g"
        return f"{self.value:{digits}} {self.unit}"

    def __str__(self) -> str:
        told = f"{self.amount}; {self.label}" if self.amount else self.label
        return f"{self.title}: {told}{f' ({self.remark})' if self.remark else ''}"


def estimates(
    counted: Work, cores: CoreWork | None, routes: Routes | None, measurement: Measurement | None
) -> dict[str, Estimate]:
    """Return all estimates of one sample; their names contain the unit."""
    without = counted.multiplies - counted.shortcut_multiplies
    return {
        "arithmetic_45nm_nj": _arithmetic(counted, counted.multiplies, ""),
        "arithmetic_45nm_without_shortcuts_nj": _arithmetic(
            counted, without, ", without membrane shortcuts"
        ),
        "loihi1_nj": _loihi1(counted, routes),
        "step_time_us": _step_time(cores),
        "loihi2_uj": _measured(measurement),
    }


@lru_cache
def arithmetic() -> dict[str, Fact]:
    """Return the energies of 45 nm arithmetic, with sources."""
    path = resources.files(__package__) / "arithmetic.toml"
    return read_toml(path.read_text(), path.name, _KEYS)


def _arithmetic(counted: Work, multiplies: float, which: str) -> Estimate:
    each = {name: found.number or 0.0 for name, found in arithmetic().items()}
    energy_pj = (
        each["multiply_accumulate_pj"] * multiplies + each["accumulate_pj"] * counted.accumulates
    )
    return Estimate(f"Arithmetic, 45 nm{which}", energy_pj * _NJ, "nJ", ARITHMETIC)


def _loihi1(counted: Work, routes: Routes | None) -> Estimate:
    chip = load_target("loihi1")

    def cost(key: str) -> float:
        return chip.cost(key) or 0.0

    energy_pj = (
        cost("synop_pj") * counted.chip_operations
        + cost("active_update_pj") * counted.active
        + cost("inactive_update_pj") * counted.inactive
        + cost("spike_pj") * (counted.spikes + counted.graded)
    )
    remarks = []
    if routes is None:
        remarks.append(f"hops: {UNPLACED}")
    elif routes.east_west is None or routes.north_south is None:
        remarks.append("hops: unknown, and not counted")
    else:
        energy_pj += cost("hop_east_west_pj") * routes.east_west
        energy_pj += cost("hop_north_south_pj") * routes.north_south
    if counted.graded or counted.frame_multiplies:
        remarks.append("graded messages counted as spikes; Loihi 1 sends none")
    return Estimate("Loihi 1", energy_pj * _NJ, "nJ", LOIHI1, "; ".join(remarks))


def _step_time(cores: CoreWork | None) -> Estimate:
    title = "Time of a sample alone, at least"
    if cores is None:
        return Estimate(title, None, "us", "needs a target")
    title = f"{title}, on {cores.target}"
    if cores.time is None:
        label = "not available: shortcuts are not aligned; lower the network first"
        return Estimate(title, None, "us", label)
    time = cores.time
    parts = [
        f"{steps:,.0f} bound by {name}"
        for name, steps in zip(
            ("operations", "neurons", "the least time of a step"),
            time.bound_by.values(),
            strict=True,
        )
        if steps
    ]
    remark = f"{time.steps} steps: {', '.join(parts)}; at worst {time.worst_us:,.1f} us"
    if time.unknown:
        remark += f"; nothing is published about {', '.join(time.unknown)}"
    return Estimate(title, time.latency_us, "us", BOUND, remark)


def _measured(measurement: Measurement | None) -> Estimate:
    if measurement is None:
        return Estimate("Loihi 2 energy", None, "uJ", UNMEASURED)
    m = measurement
    parts = (
        f"static {m.static_uj:,.1f} uJ, dynamic {m.dynamic_uj:,.1f} uJ, {1e6 * m.sample_s:,.1f} us"
    )
    return Estimate("Loihi 2 energy", m.total_uj, "uJ", m.label, "; ".join((parts, *m.doubts)))
