"""Power and time of a sample from what the loggers told, with their doubts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuroport.backends.loihi2.loggers import MOST, figures
from neuroport.backends.loihi2.measured import measurement
from neuroport.backends.loihi2.site import Site
from neuroport.errors import BackendError, TargetError
from neuroport.runs.measurement import Measurement

KAPOHO = Site("mine.toml", 8, "slurm", "kapoho-point", partition="kp")


def told(total: Any = 3.0, static: float = 1.6, chips: tuple[int, ...] = (0,)) -> dict[str, Any]:
    return {
        "power": {"total_power": total, "static_total_power": static},
        "time": {"avg_time_per_step": 20.0},
        "activity": {"chip_idx": list(chips)},
    }


def test_idle_chips_of_the_board_are_taken_off_by_their_static_power() -> None:
    one = measurement(KAPOHO, told(), 16, True, "today")
    assert one.total_w == pytest.approx(3.0 - 7 * 0.2)
    assert (one.static_w, one.dynamic_w) == (pytest.approx(0.2), pytest.approx(1.4))
    assert one.total_uj == pytest.approx(1.6 * 16 * 20)  # W times us
    assert one.doubts == ()
    three = measurement(KAPOHO, told(chips=(0, 2, 2, 5)), 16, True, "today")
    assert (three.chips, three.static_w) == (3, pytest.approx(0.6))
    assert three.dynamic_w == pytest.approx(one.dynamic_w)
    alone = Site("one.toml", 1, "slurm", "oheo-gulch")
    assert measurement(alone, told(), 16, False, "today").total_w == pytest.approx(3.0)


def test_the_mean_of_a_series_or_of_its_summary_is_taken() -> None:
    series = measurement(KAPOHO, told([2.0, 4.0]), 16, True, "today")
    summary = measurement(KAPOHO, told({"mean": 3.0, "n": 9999}), 16, True, "today")
    assert series == summary == measurement(KAPOHO, told(), 16, True, "today")


def test_a_subtraction_that_leaves_nothing_is_doubted() -> None:
    found = measurement(KAPOHO, told(total=1.5), 16, True, "today")
    assert found.dynamic_w < 0
    below = "dynamic power -0.1 W is below the noise"
    assert found.doubts == (below, "total power 0.1 W is below the static floor, 0.2 W")


def test_more_active_chips_than_the_site_has_are_an_error() -> None:
    with pytest.raises(BackendError, match="chips is 8, and the network ran on 9"):
        measurement(KAPOHO, told(chips=tuple(range(9))), 16, True, "today")


def test_a_measurement_comes_back_from_what_a_trace_holds() -> None:
    found = measurement(KAPOHO, told(), 16, True, "today")
    assert Measurement.from_dict(found.to_dict()) == found
    with pytest.raises(TargetError, match=r"static_w, .* missing"):
        Measurement.from_dict({"total_w": 1.0})


def test_a_logger_tells_its_numbers_its_series_and_a_summary_of_long_ones() -> None:
    class Logger:
        avg_time_per_step = np.float64(12.5)
        short = np.array([1, 2])
        long = np.arange(MOST + 1)
        label = "no number"
        _private = 3

        def plot(self) -> None: ...

        @property
        def broken(self) -> float:
            raise RuntimeError("needs another probe")

    found = figures("time", Logger())
    assert found["avg_time_per_step"] == 12.5
    assert found["short"] == [1, 2]
    assert found["long"] == {"n": MOST + 1, "mean": MOST / 2, "min": 0.0, "max": MOST}
    assert set(found) == {"avg_time_per_step", "short", "long"}
    with pytest.raises(RuntimeError, match="Loihi2Memory tells no total_mpds"):
        figures("memory", Logger())
