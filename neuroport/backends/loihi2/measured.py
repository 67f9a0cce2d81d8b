"""Convert loggers' figures to a :class:`~neuroport.runs.measurement.Measurement`.

The board's logger adds up the power of all its chips. The static power of chips that the network
does not use is subtracted: of a board of ``B`` chips with static power ``S``, a
network on ``n`` of them has ``static = n S / B`` and ``total = P - (B - n) S / B`` (lava-dl's
notebooks, for one chip of eight). The error of that subtraction can exceed what is left, so the
result keeps its doubts.
"""

from __future__ import annotations

from typing import Any

from neuroport.backends.loihi2.site import Site
from neuroport.errors import BackendError
from neuroport.runs.measurement import Measurement

STATUS = "this engine was not run on hardware by its authors: compare before you believe it"


def measurement(
    site: Site, told: dict[str, dict[str, Any]], interval: int, with_io: bool, when: str
) -> Measurement:
    """Return power and time of one sample.

    Args:
        told: results of the loggers ``power``, ``time`` and ``activity``.
        interval: steps from one sample to the next.
        when: date of the run.

    Raises:
        BackendError: more chips were active than the site has.
        TargetError: a number is impossible for a measurement.
    """
    power, time = told["power"], told["time"]
    used = len(set(told["activity"]["chip_idx"]))
    if used > site.chips:
        raise BackendError(
            f"{site.title}: chips is {site.chips}, and the network ran on {used}; correct it, or "
            "static power is shared out wrongly"
        )
    each = mean(power["static_total_power"]) / site.chips
    total = mean(power["total_power"]) - (site.chips - used) * each
    return Measurement(
        total_w=total,
        static_w=used * each,
        dynamic_w=total - used * each,
        step_s=mean(time["avg_time_per_step"]) * 1e-6,
        steps=interval,
        chips=used,
        with_io=with_io,
        board=f"{site.where}, {when}",
    )


def mean(value: Any) -> float:
    """Return the mean of a result, which may be a number, a series or its summary."""
    if isinstance(value, dict):
        return float(value["mean"])
    if isinstance(value, list):
        return sum(value) / len(value)
    return float(value)
