"""Compare two runs position by position; equality has no tolerance.

If one of two traces holds counts, the other's messages are counted in the same way, and counts are
compared exactly. Counts do not show the step of a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.cause import Cause, cause
from neuroport.analysis.graph_difference import Difference, differences
from neuroport.analysis.neuron_history import Neighbourhood, neighbourhood
from neuroport.analysis.recorded_outputs import check_trace
from neuroport.arguments import as_array, is_graph, is_trace, takes
from neuroport.display import Shown, View
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.runs.frames import PIECES, check_frames, is_hash_of
from neuroport.runs.recording import GRANULARITIES, Counts, counted, pool
from neuroport.runs.trace import Trace, is_readout


@dataclass(frozen=True)
class Divergence:
    """The first differing position: the earliest step, then the population nearest to the input."""

    population: str
    step: int
    sample: int
    neuron: tuple[int, ...]
    expected: int
    got: int

    def __str__(self) -> str:
        return (
            f"population {self.population!r}, step {self.step}, sample {self.sample}, "
            f"neuron {self.neuron}: expected {self.expected}, got {self.got}"
        )


@dataclass(frozen=True)
class CountDivergence:
    """The first differing count, by the population nearest to the input; counts have no step."""

    population: str
    sample: int
    counter: tuple[int, ...]
    expected: int
    got: int

    def __str__(self) -> str:
        return (
            f"population {self.population!r}, sample {self.sample}, counter {self.counter}: "
            f"expected {self.expected} messages, got {self.got}"
        )


@dataclass(frozen=True)
class Comparison(Shown):
    """Outcome of comparing ``got`` against ``want``.

    Attributes:
        positions: number of compared (step, sample, neuron) positions, over all common populations.
        first: the first differing position; first_count: the first differing count.
        counts: number of compared counters, once per sample, if a trace holds only counts.
        spikes: number of nonzero messages in ``want`` at these positions, including counted ones.
        differing: number of differing positions and counts; ``by_population`` gives it per
        population.
        only_want, only_got: populations of one side only. Relays that lowering inserted are
        expected; a neuron or readout is not, and makes the runs unequal.
        networks: the first difference of the networks, if both are known and it changes no message.
        neighbourhood: the neuron at the first divergence, with its inputs in both runs.
        cause: why the runs differ. Like ``neighbourhood``, it needs the networks and the frames.
        shard: which part of the samples was compared; None for all.
    """

    want: str
    got: str
    samples: int
    populations: int
    positions: int
    spikes: int
    differing: int
    by_population: dict[str, int]
    first: Divergence | None
    only_want: tuple[str, ...]
    only_got: tuple[str, ...]
    missing: tuple[str, ...]
    same_predictions: bool | None
    networks: Difference | None = None
    neighbourhood: Neighbourhood | None = None
    cause: Cause | None = None
    counts: int = 0
    first_count: CountDivergence | None = None
    shard: dict[str, Any] | None = None

    @property
    def equal(self) -> bool:
        """No position differs and no neuron or readout is missing."""
        return self.differing == 0 and not self.missing

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        compared = f"{self.positions:,} spikes' worth of positions"
        if self.counts:
            compared = f"{self.counts:,} counts of messages and {compared}"
        lines = [
            f"{self.got} against {self.want}: compared {compared} in {self.populations} "
            f"populations, {self.differing:,} differ"
        ]
        if self.first_count is not None:
            lines.append(f"first count that differs: {self.first_count}")
        if self.first is not None:
            lines.append(f"first divergence: {self.first}")
        if self.missing:
            lines.append(f"recorded on one side only: {', '.join(self.missing)}")
        if self.networks is not None:
            lines.append(f"the networks differ (first: {self.networks}), the spikes do not")
        if self.cause is not None:
            lines.append(f"cause: {self.cause}")
        if self.neighbourhood is not None:
            lines.append(str(self.neighbourhood))
        return "\n".join(lines)

    def view(self) -> View:
        title, _, rest = str(self).partition("\n")
        rows = [(name, f"{count:,}") for name, count in self.by_population.items() if count]
        return View(title, ("population", "differing") if rows else (), rows, rest, (1,))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = asdict(self)
        found["equal"] = self.equal
        found["text"] = str(self)
        if self.neighbourhood is not None:
            found["neighbourhood"]["verdict"] = self.neighbourhood.verdict
        return found


@takes(want=is_trace, got=is_trace, graph=is_graph, other=is_graph, frames=as_array)
def compare(
    want: Trace,
    got: Trace,
    *,
    graph: Graph | None = None,
    other: Graph | None = None,
    frames: npt.NDArray[Any] | None = None,
) -> Comparison:
    """Compare ``got`` against ``want``, population by population.

    Args:
        graph: the network of ``want``; with it and the frames, the first divergence is explained.
        other: the network of ``got``, if it is another; with ``graph``.
        frames: the frames (T, N, *shape) of both runs, with ``graph``. Differing counts are not
        explained, as they have no step.

    Raises:
        CompareError: the runs used different frames, or share no population; the frames are not
        theirs, or ``other`` is not the network of ``got``.
        FramesError: the frames do not fit the network.
    """
    outcome = _compare(want, got)
    if graph is None:
        for name, value in (("other", other), ("frames", frames)):
            if value is not None:
                raise CompareError(
                    f"{name} explains where the runs differ, which needs the network of want, too; "
                    f"give graph, or leave {name} out"
                )
        return outcome
    if other is not None:
        check_trace(other, got)
    return explain(outcome, want, got, graph, other or graph, frames)


def explain(
    outcome: Comparison,
    want: Trace,
    got: Trace,
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any] | None,
) -> Comparison:
    """Add an explanation to a comparison, as far as networks and frames allow."""
    if frames is not None:  # wrong ones are refused where nothing differs, too
        for network in (graph, other):
            check_frames(network, frames)
        stored = want.provenance.get("frames")
        alike = frames.shape[1] == want.samples
        if not alike or (stored is not None and not is_hash_of(stored, frames)):
            raise CompareError("these are not the frames of the runs; give those, all of them")
    if outcome.first is None:
        # a lowered network has nodes that its source lacks; that alone is no news
        edited = outcome.equal and {node.name for node in graph} == {node.name for node in other}
        unlike = differences(graph, other) if edited else ()
        return replace(outcome, networks=unlike[0]) if unlike else outcome
    if frames is None or want.counts or got.counts:
        return outcome
    return replace(
        outcome,
        neighbourhood=neighbourhood(want, got, graph, other, frames, outcome.first),
        cause=cause(want, got, graph, other, frames, outcome.first.population),
    )


def _compare(want: Trace, got: Trace) -> Comparison:
    ours, theirs = want.provenance.get("frames"), got.provenance.get("frames")
    if ours and theirs and str(ours).startswith(PIECES) != str(theirs).startswith(PIECES):
        raise CompareError(
            "one of the runs was recorded by an earlier version, whose hash of the frames is "
            "another: whether both had the same frames is unknown; record it again"
        )
    told = _shard(want, got)
    if ours and theirs and ours != theirs:
        raise CompareError("the runs used different frames; run both on the same file")
    common = common_populations(want, got)
    if not common:
        raise CompareError("the runs have no population in common; they are different networks")
    if (want.counts or got.counts) and want.steps != got.steps:
        raise CompareError(f"the runs last {want.steps} and {got.steps} steps; run both alike")
    positions = counts = spikes = 0
    by_population: dict[str, int] = {}
    candidates: list[tuple[int, int, Divergence]] = []
    first_count: CountDivergence | None = None
    for order, name in enumerate(common):
        whole = name not in want.counts and name not in got.counts
        a, b = _whole(want, got, name) if whole else _counts(want, got, name)
        if a.shape != b.shape:
            what = "(T, N, neurons)" if whole else "(N, counters)"
            raise CompareError(
                f"population {name!r} is {a.shape} here and {b.shape} there {what}; "
                "run the same network on the same frames"
            )
        differs = a != b
        positions += a.size if whole else 0
        counts += 0 if whole else a.size
        spikes += int(np.count_nonzero(a) if whole else a.sum(dtype=np.int64))
        count = int(np.count_nonzero(differs))
        if not count:
            continue
        by_population[name] = count
        at = tuple(int(i) for i in np.unravel_index(int(differs.argmax()), differs.shape))
        values = int(a[at]), int(b[at])
        if whole:
            # beside counts a readout may have been kept after the last step only
            step = at[0] + (want.steps - len(a) if want.counts or got.counts else 0)
            candidates.append((step, order, Divergence(name, step, at[1], at[2:], *values)))
        elif first_count is None:
            first_count = CountDivergence(name, at[0], at[1:], *values)
    only_want = tuple(n for n in want.kinds if _has(want, n) and not _has(got, n))
    only_got = tuple(n for n in got.kinds if _has(got, n) and not _has(want, n))
    kinds = {**got.kinds, **want.kinds}
    return Comparison(
        want=str(want.provenance.get("engine", "want")),
        got=str(got.provenance.get("engine", "got")),
        samples=want.samples,
        populations=len(common),
        positions=positions,
        spikes=spikes,
        differing=sum(by_population.values()),
        by_population=by_population,
        first=min(candidates, key=lambda c: c[:2])[2] if candidates else None,
        only_want=only_want,
        only_got=only_got,
        missing=tuple(n for n in (*only_want, *only_got) if kinds[n] != "relay"),
        same_predictions=_same_predictions(want, got),
        counts=counts,
        first_count=first_count,
        shard=None
        if told is None
        else shard_of(told, want.provenance.get("graph"), got.provenance.get("graph"), common),
    )


def _shard(want: Trace, got: Trace) -> dict[str, Any] | None:
    """Return the common description of the shard of both runs, if any."""
    told = want.provenance.get("shard") or got.provenance.get("shard")
    if told is None:
        return None
    for key in ("number", "of", "total", "frames"):
        if any(told[key] != each.provenance.get("shard", told)[key] for each in (want, got)):
            raise CompareError("the runs are of different shards; compare those of the same one")
    return dict(told)


def shard_of(
    told: dict[str, Any], want: str | None, got: str | None, compared: Sequence[str]
) -> dict[str, Any]:
    """Describe the shard of a comparison, with networks and populations in order."""
    return {**told, "networks": [want, got], "compared": list(compared)}


def common_populations(want: Trace, got: Trace) -> list[str]:
    """Return the populations of both traces, in order."""
    return [name for name in want.kinds if _has(want, name) and _has(got, name)]


def unequal_samples(want: Trace, got: Trace) -> npt.NDArray[np.bool_]:
    """Return whether each sample differs, (N,)."""
    found = np.zeros(want.samples, np.bool_)
    for name in common_populations(want, got):
        if name not in want.counts and name not in got.counts:
            a, b = _whole(want, got, name)
            found |= np.moveaxis(a != b, 1, 0).reshape(len(found), -1).any(1)
        else:
            counts, others = _counts(want, got, name)
            found |= (counts != others).reshape(len(found), -1).any(1)
    return found


def _has(trace: Trace, name: str) -> bool:
    return name in trace.messages or name in trace.counts


def _whole(want: Trace, got: Trace, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the messages of both traces; a readout may have only those of the last step."""
    a, b = want[name], got[name]
    if is_readout(want.kinds[name]) and (want.counts or got.counts) and 1 in (len(a), len(b)):
        return a[-1:], b[-1:]
    return a, b


def _counts(want: Trace, got: Trace, name: str) -> tuple[Counts, Counts]:
    """Return counts of a population in both traces, at the coarser granularity."""
    used = [trace.granularity for trace in (want, got) if name in trace.counts]
    coarsest = max(used, key=GRANULARITIES.index)
    return _counted(want, name, coarsest), _counted(got, name, coarsest)


def _counted(trace: Trace, name: str, granularity: str) -> Counts:
    if name not in trace.counts:
        return counted(trace[name], granularity)
    counts = trace.counts[name]
    return counts if trace.granularity == granularity else pool(counts, granularity)


def _same_predictions(want: Trace, got: Trace) -> bool | None:
    for trace in (want, got):
        if sum(is_readout(kind) for kind in trace.kinds.values()) != 1:
            return None  # no class, or several opinions
    return bool(np.array_equal(want.predictions, got.predictions))
