"""Compare two runs position by position; equality has no tolerance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.cause import Cause, cause
from neuroport.analysis.difference import Difference, differences
from neuroport.analysis.neighbourhood import Neighbourhood, neighbourhood
from neuroport.backends.base import check_frames, frames_hash
from neuroport.backends.trace import READOUTS, Trace
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph


@dataclass(frozen=True)
class Divergence:
    """The first position that differs: earliest step, then the population nearest the input."""

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
class Comparison:
    """Outcome of comparing ``got`` against ``want``.

    Attributes:
        positions: (step, sample, neuron) positions compared, over all common populations.
        spikes: nonzero messages among them in ``want``.
        differing: positions that differ; ``by_population`` splits them.
        only_want, only_got: populations that one side lacks. Relays that lowering inserted are
            expected there; a neuron or readout is not, and makes the runs unequal.
        networks: the first difference of the networks, where both are known and it changes no
            message.
        neighbourhood: the neuron of the first divergence, as both runs fed it.
        cause: why the runs differ. Both need the networks and the frames.
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

    @property
    def equal(self) -> bool:
        """No position differs and no neuron or readout is missing."""
        return self.differing == 0 and not self.missing

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        lines = [
            f"{self.got} against {self.want}: compared {self.positions:,} spikes' worth of "
            f"positions in {self.populations} populations, {self.differing:,} differ"
        ]
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = asdict(self)
        found["equal"] = self.equal
        found["text"] = str(self)
        if self.neighbourhood is not None:
            found["neighbourhood"]["verdict"] = self.neighbourhood.verdict
        return found


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
        graph: the network of ``want``; with the frames, the first divergence is explained.
        other: the network of ``got``, where it is not the same.
        frames: the frames (T, N, *shape) of both runs.

    Raises:
        CompareError: the runs used different frames, or share no population.
        FramesError: the frames do not fit the network.
    """
    outcome = _compare(want, got)
    if graph is None:
        return outcome
    return explain(outcome, want, got, graph, other or graph, frames)


def explain(
    outcome: Comparison,
    want: Trace,
    got: Trace,
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any] | None,
) -> Comparison:
    """The outcome with what the networks and the frames tell of it."""
    if outcome.first is None:
        # a lowered network has nodes that its source lacks; that alone is no news
        edited = outcome.equal and {node.name for node in graph} == {node.name for node in other}
        unlike = differences(graph, other) if edited else ()
        return replace(outcome, networks=unlike[0]) if unlike else outcome
    if frames is None:
        return outcome
    for network in (graph, other):
        check_frames(network, frames)
    if want.provenance.get("frames", frames_hash(frames)) != frames_hash(frames):
        raise CompareError("these are not the frames of the runs; give those, all of them")
    return replace(
        outcome,
        neighbourhood=neighbourhood(want, got, graph, other, frames, outcome.first),
        cause=cause(want, got, graph, other, frames, outcome.first.population),
    )


def _compare(want: Trace, got: Trace) -> Comparison:
    ours, theirs = want.provenance.get("frames"), got.provenance.get("frames")
    if ours and theirs and ours != theirs:
        raise CompareError("the runs used different frames; run both on the same file")
    common = [name for name in want.messages if name in got.messages]
    if not common:
        raise CompareError("the runs have no population in common; they are different networks")
    positions = spikes = 0
    by_population: dict[str, int] = {}
    candidates: list[tuple[int, int, Divergence]] = []
    for order, name in enumerate(common):
        a, b = want[name], got[name]
        if a.shape != b.shape:
            raise CompareError(
                f"population {name!r} is {a.shape} here and {b.shape} there (T, N, neurons); "
                "run the same network on the same frames"
            )
        differs = a != b
        positions += a.size
        spikes += int(np.count_nonzero(a))
        count = int(np.count_nonzero(differs))
        if count:
            by_population[name] = count
            at = tuple(int(i) for i in np.unravel_index(int(differs.argmax()), differs.shape))
            first = Divergence(name, at[0], at[1], at[2:], int(a[at]), int(b[at]))
            candidates.append((at[0], order, first))
    only_want = tuple(n for n in want.messages if n not in got.messages)
    only_got = tuple(n for n in got.messages if n not in want.messages)
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
    )


def _same_predictions(want: Trace, got: Trace) -> bool | None:
    for trace in (want, got):
        if sum(kind in READOUTS for kind in trace.kinds.values()) != 1:
            return None  # no class, or several opinions
    return bool(np.array_equal(want.predictions, got.predictions))
