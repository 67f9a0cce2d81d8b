"""A measurement of power and time on hardware: the only source of an energy on Loihi 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from neuroport.errors import TargetError

TOLERANCE = 0.01  # fraction of the total by which static plus dynamic power may differ from it


@dataclass(frozen=True, slots=True)
class Measurement:
    """Power and time of one run, one sample at a time (batch 1).

    ``E = P * step_s * steps``, for each of the three powers. Dynamic power is the difference of two
    measured powers and may be negative; the value is kept, and :attr:`doubts` reports it.

    Attributes:
        total_w, static_w, dynamic_w: mean power of the run; without work; their difference, W.
        step_s: mean time of a step, s.
        steps: steps from one sample to the next.
        chips: number of chips whose power is included.
        with_io: whether the measurement includes host I/O.
        board: the board, and the date.

    Raises:
        TargetError: a number is impossible for a measurement.
    """

    total_w: float
    static_w: float
    dynamic_w: float
    step_s: float
    steps: int
    chips: int
    with_io: bool
    board: str
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("total_w", "static_w", "dynamic_w", "step_s"):
            value = getattr(self, name)
            if not isfinite(value) or (value <= 0 and name != "dynamic_w"):
                wanted = "a number" if name == "dynamic_w" else "a number above 0"
                raise TargetError(f"measurement: {name} is {value!r}; it must be {wanted}")
        for name in ("steps", "chips"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise TargetError(
                    f"measurement: {name} is {getattr(self, name)!r}; it must be a whole number, "
                    "1 or more"
                )
        if self.batch != 1:
            raise TargetError(
                f"measurement: batch is {self.batch!r}; a chip takes one sample at a time: measure "
                "with batch 1"
            )

    @property
    def sample_s(self) -> float:
        """Time from one sample to the next, s."""
        return self.step_s * self.steps

    @property
    def total_uj(self) -> float:
        """Energy of a sample, uJ."""
        return self.total_w * self.sample_s * 1e6

    @property
    def static_uj(self) -> float:
        """Static part of the energy of a sample, uJ."""
        return self.static_w * self.sample_s * 1e6

    @property
    def dynamic_uj(self) -> float:
        """Dynamic part of the energy of a sample, uJ."""
        return self.dynamic_w * self.sample_s * 1e6

    @property
    def label(self) -> str:
        """Description of the measurement."""
        io = "with host I/O" if self.with_io else "without host I/O"
        chips = "1 chip" if self.chips == 1 else f"{self.chips} chips"
        return f"measured on {self.board}: {chips}, {io}, batch 1"

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons to doubt the numbers; empty if there are none."""
        return tuple(self._doubts())

    def _doubts(self) -> Iterator[str]:
        if self.dynamic_w <= 0:
            yield f"dynamic power {self.dynamic_w:g} W is below the noise"
        if self.total_w < self.static_w:
            yield f"total power {self.total_w:g} W is below the static floor, {self.static_w:g} W"
        missed = self.total_w - self.static_w - self.dynamic_w
        if abs(missed) > TOLERANCE * self.total_w:
            yield f"static and dynamic power miss the total by {missed:g} W"

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Measurement:
        """Return the measurement that :meth:`to_dict` wrote, for example from a provenance.

        Raises:
            TargetError: a part of it is missing.
        """
        lacking = [part.name for part in fields(cls) if part.name not in found]
        if lacking:
            raise TargetError(
                f"measurement: {', '.join(lacking)} missing; give what to_dict returned, or a "
                "provenance's hardware.measurement"
            )
        return cls(**{part.name: found[part.name] for part in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the measurement and the derived numbers."""
        energies = {name: getattr(self, name) for name in ("total_uj", "static_uj", "dynamic_uj")}
        return {
            **asdict(self),
            "sample_s": self.sample_s,
            **energies,
            "label": self.label,
            "doubts": list(self.doubts),
        }
