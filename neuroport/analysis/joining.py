"""Join comparisons of consecutive samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from neuroport.analysis.compare import Comparison, CountDivergence, Divergence, compare
from neuroport.analysis.neuron_history import Neighbourhood
from neuroport.runs.trace_file import PART, StoredTrace


def joined(parts: Sequence[Comparison], order: Sequence[str] = ()) -> Comparison:
    """Return the comparison of all samples, numbered from the first sample of all parts.

    Args:
        parts: comparisons of the same populations on consecutive samples.
        order: populations in the order of data flow. If two differ first at the same step, the one
        nearest to the input is reported. Needed if several parts differ.
    """
    rank = {name: at for at, name in enumerate(order)}
    starts = [sum(part.samples for part in parts[:at]) for at in range(len(parts))]
    placed = [
        replace(
            part,
            first=_later(part.first, start),
            first_count=_later(part.first_count, start),
            neighbourhood=_later(part.neighbourhood, start),
        )
        for part, start in zip(parts, starts, strict=True)
    ]
    with_first = [(part.first, part) for part in placed if part.first is not None]
    counts = [part.first_count for part in placed if part.first_count is not None]
    told = placed[-1]
    if with_first:
        _, told = min(with_first, key=lambda found: _place(found[0], rank))
    names = dict.fromkeys(name for part in parts for name in part.by_population)
    same = [part.same_predictions for part in parts]
    return replace(
        told,
        samples=sum(part.samples for part in parts),
        positions=sum(part.positions for part in parts),
        counts=sum(part.counts for part in parts),
        spikes=sum(part.spikes for part in parts),
        differing=sum(part.differing for part in parts),
        by_population={
            name: sum(part.by_population.get(name, 0) for part in parts)
            for name in sorted(names, key=lambda name: rank.get(name, 0))
        },
        first_count=min(
            counts, key=lambda c: (rank.get(c.population, 0), c.sample, c.counter), default=None
        ),
        same_predictions=None if None in same else all(same),
        networks=None if any(part.differing for part in parts) else told.networks,
        shard=None,
    )


def compare_stored(want: StoredTrace, got: StoredTrace) -> Comparison:
    """Compare traces in files some samples at a time, like :func:`~.compare.compare`.

    Raises:
        CompareError: see there.
    """
    if want.samples != got.samples:  # refused, and told as for any two traces
        return compare(want.load(), got.load())
    many = max(1, PART // (want.bytes_per_sample + got.bytes_per_sample))
    parts = [
        compare(want.part(at, last), got.part(at, last))
        for at in range(0, want.samples, many)
        for last in [min(at + many, want.samples)]
    ]
    return replace(joined(parts, list(want.kinds)), shard=parts[0].shard)


def _place(first: Divergence, rank: dict[str, int]) -> tuple[object, ...]:
    return first.step, rank.get(first.population, 0), first.sample, first.neuron


_Found = TypeVar("_Found", Divergence | None, CountDivergence | None, Neighbourhood | None)


def _later(found: _Found, samples: int) -> _Found:
    """Return ``found`` with samples numbered after those of earlier parts."""
    return None if found is None else replace(found, sample=found.sample + samples)
