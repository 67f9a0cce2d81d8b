"""Reduce a network and its frames to a small case in which two runs still differ."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis import differing_case, extraction
from neuroport.analysis.compare import Divergence, compare
from neuroport.analysis.delta_debugging import ddmin
from neuroport.analysis.differing_case import Case
from neuroport.analysis.minimization_result import Minimized, many
from neuroport.arguments import as_array, is_function, is_graph, is_runner, takes
from neuroport.engines.reference import Reference
from neuroport.engines.table import DEFAULT, ready
from neuroport.errors import BackendError, CompareError, FramesError, GraphError, IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import MESSAGES, Population
from neuroport.runs.frames import check_frames
from neuroport.runs.trace import Trace

Engine = Callable[[Graph, npt.NDArray[Any]], Trace]
Report = Callable[[str], None]
_QUIET = 10.0  # seconds without a line while something becomes smaller


@takes(graph=is_graph, other=is_runner, frames=as_array, on=is_runner, report=is_function)
def minimize(
    graph: Graph,
    other: Graph | str | Engine,
    frames: npt.NDArray[Any],
    *,
    on: str | Engine | None = None,
    report: Report | None = None,
) -> Minimized:
    """Reduce a case in which two runs differ: samples, steps, nodes, inputs, weights.

    The first run is that of ``graph`` on the reference. The returned case was run and differs first
    at the same population. Ctrl-C ends the search and returns the smallest case so far.

    Args:
        other: the network of the second run; or an engine, by name or as a function of (graph,
            frames), that runs ``graph`` itself.
        on: the engine of the second run, if ``other`` is a network; by default the reference.
        report: called with a line of text after each reduction.

    Raises:
        CompareError: the runs do not differ.
        FramesError: the frames do not fit.
        BackendError: there is no such engine, there are two, or it failed on the original case.
    """
    if isinstance(other, Graph):
        second, engine = other, DEFAULT if on is None else on
    elif on is None:
        second, engine = graph, other
    else:
        raise BackendError(
            "on is the engine of other, if that is a network, and other is an engine itself; give "
            "it alone, or the network that runs on it as other"
        )
    check_frames(graph, frames)
    return _Search(Case(graph, second, np.asarray(frames)), _engine(engine), report).minimize()


def _engine(engine: str | Engine) -> Engine:
    return ready(engine).run if isinstance(engine, str) else engine


def _bulk(case: Case) -> tuple[int, ...]:
    """Return the sizes to be reduced, the most important first."""
    return (*case.size, case.frames.size, int(np.count_nonzero(case.frames)))


class _Search:
    """The smallest case so far; only ``accept`` replaces it."""

    def __init__(self, case: Case, engine: Engine, report: Report | None) -> None:
        self.engine, self.report, self.tests = engine, report, 0
        found = self.run(case)
        if found is None:
            raise CompareError("nothing differs, so there is nothing to minimize")
        self.before = case.size
        self.best = (case, *found)
        self.phase, self.told, self.told_at = "", case, time.monotonic()

    @property
    def case(self) -> Case:
        return self.best[0]

    @property
    def first(self) -> Divergence:
        return self.best[1]

    def run(self, case: Case) -> tuple[Divergence, Trace, Trace] | None:
        """Run the case; return where the runs differ."""
        self.tests += 1
        want = Reference().run(case.graph, case.frames)
        got = self.engine(case.other, case.frames)
        first = compare(want, got).first
        return None if first is None else (first, want, got)

    def accept(self, cut: Callable[..., Case], *arguments: Any) -> bool:
        """Try a reduction; keep it if the case still differs at the same population."""
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
        if time.monotonic() - self.told_at > _QUIET:
            self.tell()
        return True

    def tell(self) -> None:
        """Report the new size."""
        if self.report is None or self.told is self.case:
            return
        self.told, self.told_at = self.case, time.monotonic()
        nodes, weights = self.case.size
        steps, samples = self.case.frames.shape[:2]
        self.report(
            f"{self.phase}: {nodes} nodes, {many(weights, 'weight')}, "
            f"{many(samples, 'sample')} of {many(steps, 'step')}, frames with "
            f"{many(int(np.count_nonzero(self.case.frames)), 'value')}"
        )

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
                self.phase = name
                phase()
                self.tell()
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
            if min(kept) >= 0 and self._fewer(differing_case.with_samples, kept):
                break
        self._ddmin(differing_case.with_samples, self.case.frames.shape[1])

    def steps(self) -> None:
        self._fewer(differing_case.with_steps, list(range(self.first.step + 1)))
        self._ddmin(differing_case.with_steps, self.case.frames.shape[0])

    def again(self) -> None:
        self._ddmin(differing_case.with_samples, self.case.frames.shape[1])
        self._ddmin(differing_case.with_steps, self.case.frames.shape[0])
        self.entries()

    def _fewer(self, cut: Callable[[Case, list[int]], Case], kept: list[int]) -> bool:
        return self.accept(cut, self.case, kept)

    def _ddmin(self, cut: Callable[[Case, list[int]], Case], count: int) -> None:
        case = self.case
        if count > 1:
            ddmin(list(range(count)), lambda kept: self.accept(cut, case, kept))

    def downstream(self) -> None:
        self.accept(differing_case.upstream, self.case, self.first.population)

    def upstream(self) -> None:
        """Try the neuron alone, its layer alone, or the last sufficient part."""
        case, first, want, got = self.best
        name = first.population
        synapses = dict.fromkeys((*case.graph[name].inputs, *case.other[name].inputs))
        for kept in ((), *((s,) for s in synapses), tuple(synapses)):
            if self.accept(extraction.one_neuron, case, want, got, name, first.neuron, kept):
                return
        if self.accept(extraction.one_layer, case, want, got, name):
            return
        for node in reversed(case.graph.nodes):
            if (
                isinstance(node, Population)
                and node.gives == MESSAGES
                and node.name != name
                and self.accept(extraction.replayed_from, case, want, got, node.name)
            ):
                return

    def edges(self) -> None:
        """Remove inputs that the difference does not need, with all their predecessors."""
        for node in self.case.graph.nodes:
            if isinstance(node, Population):
                for source in dict.fromkeys(node.inputs):
                    name = self.first.population
                    self.accept(differing_case.without_input, self.case, node.name, source, name)

    def pixels(self) -> None:
        """Set values of the frames to 0: first at all steps, then one by one."""
        self._zeros(2)
        self._zeros(0)

    def _zeros(self, first_axis: int) -> None:
        """Keep as few places as possible; a place ignores the axes before ``first_axis``."""
        case = self.case
        frames = case.frames.reshape(*case.frames.shape[:2], -1)
        used = np.argwhere(frames.any(axis=tuple(range(first_axis))) if first_axis else frames)

        def shows(kept: list[tuple[int, ...]]) -> bool:
            mask = np.zeros(frames.shape[first_axis:], bool)
            mask[tuple(np.array(kept, int).reshape(-1, mask.ndim).T)] = True
            fewer = np.where(mask, frames, 0).reshape(case.frames.shape)
            return self.accept(differing_case.with_frames, case, fewer)

        ddmin([tuple(int(i) for i in place) for place in used], shows)

    def entries(self) -> None:
        case = self.case
        if case.frames.any(axis=tuple(i for i in range(case.frames.ndim) if i != 2)).all():
            return
        self.accept(differing_case.without_silent_entries, case)
