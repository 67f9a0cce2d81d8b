"""Describe a results dictionary in words, for the page and the terminal.

``results`` is read from JSON that people may have edited, so every key is optional. Nothing is
inferred from missing keys: a comparison without an outcome is never called equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, TypeGuard

from neuroport.errors import FormatError

MOST = 1e300  # of a number, which NaN is not below either
STAGES = {"float": "Float", "quantized": "Quantized", "lava-cpu": "Lava CPU", "loihi2": "Loihi 2"}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """``tone`` is ``good``, ``bad`` or ``none`` (nothing compared); ``lines`` give the details."""

    tone: str
    sentence: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of one stage.

    Attributes:
        stage: name to show.
        percent: percentage of correct predictions, 0..100.
        samples: number of classified samples, or None.
        interval: 95% Wilson score interval in percent, or None if ``samples`` is unknown.
        change: percentage points above the first stage; None unless both have equally many samples.
    """

    stage: str
    percent: float
    samples: int | None
    interval: tuple[float, float] | None
    change: float | None


def verdict(results: Mapping[str, Any]) -> Conclusion:
    """Return one sentence on all comparisons, and details in one line for each."""
    found = [c for c in comparisons(results) if isinstance(c, Mapping)]
    if not found:
        return Conclusion("none", "This run was not compared with another.")
    outcomes = [_equal(c) for c in found]
    tone = "bad" if False in outcomes else "none" if None in outcomes else "good"
    if len(found) == 1:
        (only,) = found
        return Conclusion(tone, _sentence(only), tuple(_details(only)))
    worst = [c for c, equal in zip(found, outcomes, strict=True) if equal is not True]
    if not worst:
        positions = sum(_count(c, "positions") for c in found)
        sentence = f"{len(found)} comparisons over {positions:,} positions: 0 differ."
    else:
        unlike = "is not equal" if len(worst) == 1 else "are not equal"
        sentence = f"{len(worst)} of {len(found)} comparisons {unlike}."
    lines = [" ".join((f"{_pair(c)}: {_sentence(c)}", *_details(c, paired=True))) for c in found]
    return Conclusion(tone, sentence, tuple(lines))


def comparisons(results: Mapping[str, Any]) -> list[Any]:
    """Return the comparisons of the results.

    Raises:
        FormatError: they are no list.
    """
    found = results.get("comparisons")
    if found is None or isinstance(found, (list, tuple)):
        return list(found or ())
    raise FormatError(
        f"comparisons of the results is {found!r:.100}; give a list of comparisons, as "
        "Comparison.to_dict gives them, or leave it out"
    )


def accuracies(results: Mapping[str, Any]) -> tuple[Accuracy, ...]:
    """Return the accuracy of each stage, in the order of the dictionary."""
    table = _table(results, "accuracy")
    rows: list[Accuracy] = []
    for stage, entry in table.items():
        percent = entry.get("percent") if isinstance(entry, Mapping) else None
        if not _is_number(percent) or not 0 <= percent <= 100:
            continue
        samples = entry.get("samples")
        samples = samples if isinstance(samples, int) and samples > 0 else None
        first = rows[0] if rows else None
        alike = first is not None and samples is not None and samples == first.samples
        change = percent - first.percent if first is not None and alike else None
        interval = None if samples is None else _wilson(percent / 100, samples)
        rows.append(Accuracy(STAGES.get(stage, stage), percent, samples, interval, change))
    return tuple(rows)


def seconds(results: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Return the wall time of each stage, in the order of the dictionary."""
    table = _table(results, "seconds")
    return tuple((name, float(s)) for name, s in table.items() if _is_number(s) and s >= 0)


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number; JSON of Python may hold NaN and Infinity."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < MOST


def _table(results: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = results.get(key)
    return value if isinstance(value, Mapping) else {}


def _equal(comparison: Mapping[str, Any]) -> bool | None:
    stated, differing = comparison.get("equal"), comparison.get("differing")
    if stated is False or comparison.get("missing"):
        return False
    if isinstance(differing, int):
        return differing == 0
    return True if stated is True else None


def _sentence(comparison: Mapping[str, Any]) -> str:
    populations = _count(comparison, "populations")
    where = f" in {_counted(populations, 'population')}" if populations else ""
    differing = comparison.get("differing")
    outcome = f"{differing:,} differ" if isinstance(differing, int) else "the outcome is not stated"
    positions = _counted(_count(comparison, "positions"), "position")
    return f"Compared {positions}{where}: {outcome}."


def _details(comparison: Mapping[str, Any], *, paired: bool = False) -> list[str]:
    lines, about = [], []
    if samples := _count(comparison, "samples"):
        about.append(_counted(samples, "sample"))
    if spikes := _count(comparison, "spikes"):
        about.append(_counted(spikes, "nonzero message"))
    same = comparison.get("same_predictions")
    if isinstance(same, bool):
        about.append("same predictions" if same else "different predictions")
    if not paired:
        about[:1] = [": ".join((_pair(comparison), *about[:1]))]
    if about:
        lines.append(f"{', '.join(about)}.")
    if first := comparison.get("first"):
        lines.append(f"First divergence: {_first(first)}.")
    cause, near = _table(comparison, "cause"), _table(comparison, "neighbourhood")
    if "kind" in cause:
        lines.append(f"Cause: {cause['kind']}: {cause.get('sentence', 'not told')}.")
    if "verdict" in near:
        lines.append(f"At that neuron, {near['verdict']}.")
    if missing := comparison.get("missing"):
        lines.append(f"Recorded on one side only: {', '.join(map(str, missing))}.")
    return lines


def _first(first: Any) -> str:
    """Return the first divergence, given as text or as fields of a ``Divergence``."""
    if not isinstance(first, Mapping):
        return str(first).rstrip(".")
    place = [
        f"{key} {first[key]}" for key in ("population", "step", "sample", "neuron") if key in first
    ]
    return f"{', '.join(place)}: expected {first.get('expected')}, got {first.get('got')}"


def _pair(comparison: Mapping[str, Any]) -> str:
    return f"{comparison.get('got', 'one run')} against {comparison.get('want', 'another')}"


def _count(comparison: Mapping[str, Any], key: str) -> int:
    value = comparison.get(key)
    return value if isinstance(value, int) else 0


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _wilson(share: float, samples: int) -> tuple[float, float]:
    """Return the 95% score interval of a proportion, in percent (Wilson, JASA 22, 1927)."""
    z = 1.96
    scale = 1 + z * z / samples
    middle = (share + z * z / (2 * samples)) / scale
    half = z * sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples)) / scale
    return 100 * (middle - half), 100 * (middle + half)
