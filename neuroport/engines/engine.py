"""Base class of engines: a name, typed options, and a network prepared once and run often.

This module and those of the engines import neither NumPy nor an engine's libraries, because the
command line needs the list of engines and their options before these.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from neuroport.errors import BackendError

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.graph.graph import Graph
    from neuroport.runs.frames import Progress
    from neuroport.runs.trace import Trace

    Run = Callable[[npt.NDArray[Any], Progress | None], Trace]


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    choices: Sequence[str] = (),
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    minimizing: bool = True,
) -> Any:
    """A field of an engine's options.

    Args:
        default: the value if it is not given.
        help: description for the command line and for messages.
        flag: name on the command line, without dashes; None: the name of the field.
        choices: the permitted texts; empty: any text.
        low, above, high: smallest permitted number, number that must be exceeded, largest number.
        minimizing: whether it also applies to the small runs of a minimization.
    """
    about = {
        "help": help,
        "flag": flag,
        "choices": tuple(choices),
        "low": low,
        "above": above,
        "high": high,
        "minimizing": minimizing,
    }
    return field(default=default, metadata=about)


def device_option() -> Any:
    """The option of engines that compute in torch."""
    return option("cpu", "Where torch computes: cpu, cuda, cuda:1, or auto: a GPU if there is one.")


@dataclass(frozen=True)
class Options:
    """Options of every engine: what a run records (:mod:`neuroport.runs.recording`)."""

    record: str = option("messages", "messages (default), or their counts (default on loihi2).")
    count: str | Sequence[str] | None = option(
        None, "A population to count (may be repeated); else all."
    )
    granularity: str | None = option(None, "A counter per neuron (default), channel or layer.")


class Prepared:
    """A network that is prepared on an engine: planned once, then run any number of times.

    It is a context manager that releases the engine's resources at its end. Calls from several
    threads run one after the other. A function for progress cannot call it.
    """

    def __init__(self, run: Run, close: Callable[[], None] | None = None) -> None:
        self._run: Run | None = run
        self._close = close
        self._turn = threading.Lock()
        # threads that run it, or tell its progress: they would wait for themselves
        self._within: set[int] = set()

    def run(self, frames: npt.ArrayLike, *, progress: Progress | None = None) -> Trace:
        """Run frames, integers (T, N, *shape); states reset between the N samples.

        Args:
            progress: called with the number of finished samples and N.

        Raises:
            FramesError: the frames do not fit.
            BackendError: the engine failed, was closed, or was called by its own run's progress.
        """
        from neuroport.arguments import as_array

        if progress is not None and not callable(progress):
            raise BackendError(f"progress is {progress!r:.100}; give a function (done, total)")
        data = as_array(frames, "frames")
        with self._alone():
            if self._run is None:
                raise BackendError("this network was closed; prepare it again to run it")
            return self._run(data, None if progress is None else self._telling(progress))

    def close(self) -> None:
        """Release the engine's resources; it cannot run afterwards.

        Raises:
            BackendError: it was called by its own run's progress.
        """
        with self._alone():
            self._run = None
            close, self._close = self._close, None
        if close is not None:
            close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other threads' calls.

        Raises:
            BackendError: this call is within another of this thread, which it would wait for.
        """
        if threading.get_ident() in self._within:
            raise BackendError(
                "this network is called while it runs, by its progress function or by what it "
                "runs; call it after that run, or prepare another"
            )
        with self._turn, self._here():
            yield

    @contextmanager
    def _here(self) -> Iterator[None]:
        thread = threading.get_ident()
        if thread in self._within:
            yield
            return
        self._within.add(thread)
        try:
            yield
        finally:
            self._within.discard(thread)

    def _telling(self, progress: Progress) -> Progress:
        """The same function for progress, which engines may call in threads of their own."""

        def tell(done: int, total: int) -> None:
            with self._here():
                progress(done, total)

        return tell

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Engine:
    """Base class of engines; a subclass defines its name, its options and how it prepares a graph.

    Attributes:
        name: the name for ``on=`` and ``--on``.
        summary: a description of one line.
        Options: a frozen dataclass of its options; each field is an :func:`option`.
        takes_modules: whether it runs torch modules instead of graphs.
        in_parts: whether samples may run in parts, one after the other, to save memory; False, for
            example, for an engine that measures a run.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[Any]] = Options
    takes_modules: ClassVar[bool] = False
    in_parts: ClassVar[bool] = True

    def available(self, options: Any = None) -> str | None:
        """Return why the engine cannot run here and how to change that; None if it can run.

        Args:
            options: the options of a run, if they matter; None for the defaults.
        """
        return None

    def plan(self, graph: Graph, options: Any) -> Run:
        """Do the work needed once for ``graph``, and return the function that runs frames.

        That function is called with an array of integers, and with a function for progress or
        None. It must check the frames (:func:`neuroport.runs.frames.check_frames`).

        Args:
            options: an instance of :attr:`Options` whose values have been checked.

        Raises:
            NeuroportError: the engine cannot run this graph, or not with these options.
        """
        raise NotImplementedError(f"the engine {self.name!r} does not say how it plans a graph")

    def prepare(self, graph: Graph, **options: Any) -> Prepared:
        """Prepare ``graph`` to run with these options.

        Raises:
            BackendError: the engine lacks an option, or a value is wrong.
            NeuroportError: the engine cannot run this graph.
        """
        return Prepared(self.plan(graph, read_options(self, options)))

    def run(
        self,
        graph: Graph,
        frames: npt.NDArray[Any],
        *,
        progress: Progress | None = None,
        **options: Any,
    ) -> Trace:
        """Prepare ``graph`` and run ``frames`` (T, N, *shape) once."""
        with self.prepare(graph, **options) as prepared:
            return prepared.run(frames, progress=progress)


def read_options(engine: Engine, given: dict[str, Any]) -> Any:
    """Build the engine's ``Options`` from the given values.

    Raises:
        BackendError: the engine lacks an option, or a value has the wrong type or is out of range.
    """
    known = {each.name: each for each in fields(engine.Options)}
    for key, value in given.items():
        if key not in known:
            raise BackendError(
                f"engine {engine.name!r} has no option {key!r}; it takes "
                f"{', '.join(['progress', *known])}"
            )
        _check(known[key], value)
    return engine.Options(**given)


def kind_of(each: Field[Any]) -> str:
    """Return ``int``, ``float``, ``bool``, ``str``, ``path`` or ``many`` (texts), by annotation."""
    written = each.type if isinstance(each.type, str) else getattr(each.type, "__name__", "")
    words = {word.strip() for word in str(written).split("|")} - {"None"}
    if any(word.startswith(("Sequence", "tuple", "list")) for word in words):
        return "many"
    if words & {"os.PathLike[str]", "Path", "PathLike[str]"}:
        return "path"
    known = words & {"int", "float", "bool", "str"}
    return known.pop() if len(known) == 1 else ""


_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "True or False",
    "path": "a path",
    "many": "a text or several",
}


def _check(each: Field[Any], value: Any) -> None:
    """Refuse a value that has the wrong type or is out of the field's range."""
    kind, about, name = kind_of(each), each.metadata, each.name
    if value is None and each.default is None:
        return
    if not _is(kind, value):
        raise BackendError(f"{name} is {value!r:.100}; give {_WORDS[kind]}")
    choices = about.get("choices")
    if choices and value not in choices:
        raise BackendError(f"{name} is {value!r:.100}; use {' or '.join(map(repr, choices))}")
    low, above, high = (about.get(key) for key in ("low", "above", "high"))
    if kind not in ("int", "float"):
        return
    if (
        (low is not None and not value >= low)
        or (above is not None and not value > above)
        or (high is not None and not value <= high)
    ):
        least = f"{low:,} or more" if low is not None else ""
        least = f"more than {above:,}" if above is not None else least
        most = f"at most {high:,}" if high is not None else ""
        raise BackendError(
            f"{name} is {value!r:.100}; use {' and '.join(filter(None, (least, most)))}"
        )


def _is(kind: str, value: Any) -> bool:
    if kind in ("int", "float", "bool"):
        from numbers import Integral, Real

        truth = isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
        if kind == "bool":
            return truth
        return isinstance(value, Integral if kind == "int" else Real) and not truth
    if kind == "str":
        return isinstance(value, str)
    if kind == "path":
        return isinstance(value, (str, os.PathLike))
    if kind == "many":
        return isinstance(value, str) or (
            isinstance(value, Sequence) and all(isinstance(item, str) for item in value)
        )
    return True
