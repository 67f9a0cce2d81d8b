"""A measurement of power and time on hardware: the only source of an energy on Loihi 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from neuroport.errors import TargetError

TOLERANCE = 0.01  # by which static and dynamic power may miss the total, of the total


@dataclass(frozen=True, slots=True)
class Measurement:
    """Power and time of one run, one sample at a time (batch 1).

    ``E = P * step_s * steps``, for each of the three powers. A dynamic power is the difference of
    two measured ones and may come out negative: it is kept and :attr:`doubts` says so.

    Attributes:
        total_w, static_w, dynamic_w: mean power while it runs; without work; their difference, W.
        step_s: mean time of a step, s.
        steps: steps from one sample to the next.
        chips: chips whose power is told.
        with_io: whether frames came from a host and answers went there while it was measured.
        board: where, and when.

    Raises:
        TargetError: a number that no measurement can give.
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
        """What was measured."""
        io = "with host I/O" if self.with_io else "without host I/O"
        chips = "1 chip" if self.chips == 1 else f"{self.chips} chips"
        return f"measured on {self.board}: {chips}, {io}, batch 1"

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the numbers should not be believed as they are; empty where nothing speaks so."""
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
        """The measurement that :meth:`to_dict` told, such as one in a trace's provenance."""
        return cls(**{part.name: found[part.name] for part in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: what was measured and what follows."""
        energies = {name: getattr(self, name) for name in ("total_uj", "static_uj", "dynamic_uj")}
        return {
            **asdict(self),
            "sample_s": self.sample_s,
            **energies,
            "label": self.label,
            "doubts": list(self.doubts),
        }
