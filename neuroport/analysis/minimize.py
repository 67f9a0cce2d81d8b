"""The smallest network and frames on which two runs still differ."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis import crop
from neuroport.analysis.compare import Divergence, compare
from neuroport.analysis.crop import Case
from neuroport.analysis.ddmin import ddmin
from neuroport.backends.base import backend, check_frames
from neuroport.backends.reference import Reference
from neuroport.backends.trace import Trace
from neuroport.errors import BackendError, CompareError, FramesError, GraphError, IllegalError
from neuroport.files import write_atomic
from neuroport.graph.graph import Graph
from neuroport.graph.node import Lif, Readout, Relay
from neuroport.graph.store import save
from neuroport.netx import export

Engine = Callable[[Graph, npt.NDArray[Any]], Trace]
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Minimized:
    """A small case that was seen to differ.

    Attributes:
        graph, other: networks of the two runs; the same object where only the engines differ.
        frames: for both.
        first: where the runs of the small case part.
        before, after: (nodes, weights) of the larger network.
        tests: cases that were run.
        interrupted: ended by the user; it may not be the smallest.
    """

    graph: Graph
    other: Graph
    frames: npt.NDArray[Any]
    first: Divergence
    before: tuple[int, int]
    after: tuple[int, int]
    tests: int
    interrupted: bool = False

    def __str__(self) -> str:
        steps, samples = self.frames.shape[:2]
        entries = int(np.prod(self.frames.shape[2:]))
        (nodes, weights), (few, light) = self.before, self.after
        return (
            f"{nodes} nodes and {_many(weights, 'weight')} became {few} nodes and "
            f"{_many(light, 'weight')}: {_many(samples, 'sample')} of {_many(steps, 'step')}, "
            f"{_many(entries, 'input')} ({self.tests} runs"
            f"{', interrupted' if self.interrupted else ''})\n{self.graph}\n"
            f"first divergence: {self.first}"
        )

    def save(self, path: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write the network to ``path``, the frames beside it (``.npy``).

        The network of the second run, where it is another one, becomes ``NAME.other.net``.
        """
        import io

        target = Path(path)
        written = [_write(self.graph, target)]
        if self.other is not self.graph:
            written.append(_write(self.other, target.with_suffix(f".other{target.suffix}")))
        content = io.BytesIO()
        np.save(content, self.frames)
        written.append(write_atomic(target.with_suffix(".npy"), content.getvalue()))
        return tuple(written)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "before": {"nodes": self.before[0], "weights": self.before[1]},
            "after": {"nodes": self.after[0], "weights": self.after[1]},
            "samples": self.frames.shape[1],
            "steps": self.frames.shape[0],
            "tests": self.tests,
            "interrupted": self.interrupted,
            "first": str(self.first),
        }


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _write(graph: Graph, path: Path) -> Path:
    try:
        return export(graph, path)
    except IllegalError:
        return save(graph, path)  # what cannot run on Lava can still be read and run here


def minimize(
    graph: Graph,
    other: Graph | str | Engine,
    frames: npt.NDArray[Any],
    *,
    on: str | Engine = "reference",
    report: Report | None = None,
) -> Minimized:
    """Make a difference small: fewer samples, steps, nodes, inputs and weights.

    The first run is the reference's, of ``graph``. Whatever is returned was run and seen to differ
    first at the same population. Ctrl-C ends the search and returns the best so far.

    Args:
        other: the network of the second run; or an engine, by name or as a function of (graph,
            frames), that runs ``graph`` itself.
        on: the engine of the second run where ``other`` is a network.
        report: called with a line when something became smaller.

    Raises:
        CompareError: nothing differs.
        FramesError: the frames do not fit.
        BackendError: the engine failed on the whole case.
    """
    second, engine = (other, on) if isinstance(other, Graph) else (graph, other)
    check_frames(graph, frames)
    return _Search(Case(graph, second, np.asarray(frames)), _engine(engine), report).minimize()


def _engine(engine: str | Engine) -> Engine:
    return backend(engine).run if isinstance(engine, str) else engine


def _bulk(case: Case) -> tuple[int, ...]:
    """What is to become smaller, the most important first."""
    return (*case.size, case.frames.size, int(np.count_nonzero(case.frames)))


class _Search:
    """The smallest case so far; ``accept`` is the only way to a smaller one."""

    def __init__(self, case: Case, engine: Engine, report: Report | None) -> None:
        self.engine, self.report, self.tests = engine, report, 0
        found = self.run(case)
        if found is None:
            raise CompareError("nothing differs, so there is nothing to minimize")
        self.before = case.size
        self.best = (case, *found)

    @property
    def case(self) -> Case:
        return self.best[0]

    @property
    def first(self) -> Divergence:
        return self.best[1]

    def run(self, case: Case) -> tuple[Divergence, Trace, Trace] | None:
        """Both runs, where they differ."""
        self.tests += 1
        want = Reference().run(case.graph, case.frames)
        got = self.engine(case.other, case.frames)
        first = compare(want, got).first
        return None if first is None else (first, want, got)

    def accept(self, cut: Callable[..., Case], *arguments: Any) -> bool:
        """Whether the cut makes the case smaller, and it still differs at the same population."""
        try:
            case = cut(*arguments)
            if _bulk(case) >= _bulk(self.case):
                return False
            found = self.run(case)
        except (GraphError, FramesError, IllegalError, CompareError, BackendError):
            return False
        if found is None or found[0].population != self.first.population:
            return False
        self.best = (case, *found)  # at once: Ctrl-C finds one case or the other
        return True

    def minimize(self) -> Minimized:
        interrupted = False
        try:
            for name, phase in (
                ("samples", self.samples),
                ("steps", self.steps),
                ("what is downstream", self.downstream),
                ("what is upstream", self.upstream),
                ("inputs of nodes", self.edges),
                ("what is upstream", self.upstream),  # that nothing bypasses any more
                ("frames", self.pixels),
                ("silent inputs", self.entries),
                ("samples and steps", self.again),
            ):
                before = self.case
                phase()
                if self.report is not None and self.case is not before:
                    nodes, weights = self.case.size
                    steps, samples = self.case.frames.shape[:2]
                    self.report(
                        f"{name}: {nodes} nodes, {_many(weights, 'weight')}, "
                        f"{_many(samples, 'sample')} of {_many(steps, 'step')}, frames with "
                        f"{_many(int(np.count_nonzero(self.case.frames)), 'value')}"
                    )
        except KeyboardInterrupt:
            interrupted = True
        case = self.case
        return Minimized(
            case.graph,
            case.other,
            case.frames,
            self.first,
            self.before,
            case.size,
            self.tests,
            interrupted,
        )

    # -- phases --------------------------------------------------------------------------------

    def samples(self) -> None:
        n = self.first.sample
        for kept in ([n], [n - 1, n], list(range(n + 1))):
            if min(kept) >= 0 and self._fewer(crop.with_samples, kept):
                break
        self._ddmin(crop.with_samples, self.case.frames.shape[1])

    def steps(self) -> None:
        self._fewer(crop.with_steps, list(range(self.first.step + 1)))
        self._ddmin(crop.with_steps, self.case.frames.shape[0])

    def again(self) -> None:
        self._ddmin(crop.with_samples, self.case.frames.shape[1])
        self._ddmin(crop.with_steps, self.case.frames.shape[0])
        self.entries()

    def _fewer(self, cut: Callable[[Case, list[int]], Case], kept: list[int]) -> bool:
        return self.accept(cut, self.case, kept)

    def _ddmin(self, cut: Callable[[Case, list[int]], Case], count: int) -> None:
        case = self.case
        if count > 1:
            ddmin(list(range(count)), lambda kept: self.accept(cut, case, kept))

    def downstream(self) -> None:
        self.accept(crop.upstream, self.case, self.first.population)

    def upstream(self) -> None:
        """The neuron alone, its layer alone, or what follows the last population that suffices."""
        case, first, want, got = self.best
        name = first.population
        synapses = dict.fromkeys((*case.graph[name].inputs, *case.other[name].inputs))
        for kept in ((), *((s,) for s in synapses), tuple(synapses)):
            if self.accept(crop.one_neuron, case, want, got, name, first.neuron, kept):
                return
        if self.accept(crop.one_layer, case, want, got, name):
            return
        for node in reversed(case.graph.nodes):
            if (
                isinstance(node, (Lif, Relay))
                and node.name != name
                and self.accept(crop.replayed_from, case, want, got, node.name)
            ):
                return

    def edges(self) -> None:
        """Inputs that the difference does not need, with all that stood behind them."""
        for node in self.case.graph.nodes:
            if isinstance(node, (Lif, Relay, Readout)):
                for source in dict.fromkeys(node.inputs):
                    name = self.first.population
                    self.accept(crop.without_input, self.case, node.name, source, name)

    def pixels(self) -> None:
        """Values of the frames become 0: first everywhere in time, then one by one."""
        self._zeros(2)
        self._zeros(0)

    def _zeros(self, first_axis: int) -> None:
        """Keep as few places as possible; a place leaves out the axes before ``first_axis``."""
        case = self.case
        frames = case.frames.reshape(*case.frames.shape[:2], -1)
        used = np.argwhere(frames.any(axis=tuple(range(first_axis))) if first_axis else frames)

        def shows(kept: list[tuple[int, ...]]) -> bool:
            mask = np.zeros(frames.shape[first_axis:], bool)
            mask[tuple(np.array(kept, int).reshape(-1, mask.ndim).T)] = True
            fewer = np.where(mask, frames, 0).reshape(case.frames.shape)
            return self.accept(crop.with_frames, case, fewer)

        ddmin([tuple(int(i) for i in place) for place in used], shows)

    def entries(self) -> None:
        case = self.case
        if case.frames.any(axis=tuple(i for i in range(case.frames.ndim) if i != 2)).all():
            return
        self.accept(crop.without_silent_entries, case)
