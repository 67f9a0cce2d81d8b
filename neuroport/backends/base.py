"""The door through which every engine is asked: a graph and frames in, a trace out."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from neuroport.errors import BackendError
from neuroport.runs.trace import Trace


class Backend(Protocol):
    """An engine. ``available`` returns why it cannot run here, with the way to mend it, or None."""

    name: str
    summary: str

    def available(self) -> str | None: ...

    @property
    def run(self) -> Callable[..., Trace]:
        """``run(graph, frames, *, progress=None, **options)``; options differ by engine."""


@runtime_checkable
class AtSite(Protocol):
    """An engine that also needs to know where its board is."""

    sited: bool

    def available(self, site: str | os.PathLike[str] | None = None) -> str | None: ...


def backends() -> dict[str, Backend]:
    """All engines that run graphs, by the name ``on=`` takes. Importing them imports no Lava."""
    from neuroport.backends.fast import Fast
    from neuroport.backends.lava_cpu import LavaCpu
    from neuroport.backends.loihi2 import Loihi2
    from neuroport.backends.reference import Reference

    engines: tuple[Backend, ...] = (Reference(), Fast(), LavaCpu(), Loihi2())
    return {engine.name: engine for engine in engines}


def backend(name: str, site: str | os.PathLike[str] | None = None) -> Backend:
    """An engine by name, ready to run; ``site`` is the file of a board's site, for ``loihi2``.

    Raises:
        BackendError: no such engine, or it is not installed.
    """
    engines = backends()
    if not isinstance(name, str) or name not in engines:
        raise BackendError(f"unknown engine {name!r}; the engines are {', '.join(engines)}")
    engine = engines[name]
    if isinstance(engine, AtSite):
        reason = engine.available(site)
    elif site is not None:
        raise BackendError(f"engine {name!r} needs no site; leave it out, or run on 'loihi2'")
    else:
        reason = engine.available()
    if reason is not None:
        raise BackendError(f"engine {name!r} is not available: {reason}")
    return engine


def check_options(run: Callable[..., Trace], name: str, options: dict[str, Any]) -> None:
    """Refuse options that an engine does not have, or whose values are of another type.

    Args:
        run: the engine's; what it takes after the frames are its options.
        name: of the engine, for the message.

    Raises:
        BackendError: names the option and what it takes.
    """
    known = {
        key: item
        for key, item in inspect.signature(run).parameters.items()
        if item.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for key, value in options.items():
        if key not in known:
            raise BackendError(
                f"engine {name!r} has no option {key!r}; it takes {', '.join(known)}"
            )
        hint = str(known[key].annotation)
        taken, words = _TYPES.get(hint, (object, ""))
        is_truth = isinstance(value, (bool, np.bool_))
        if key == "progress":
            if value is not None and not callable(value):
                raise BackendError(f"progress is {value!r:.100}; give a function (done, total)")
        elif not isinstance(value, taken) or (is_truth and hint in ("int", "float")):
            raise BackendError(f"{key} is {value!r:.100}; give {words}")


_TYPES: dict[str, tuple[Any, str]] = {  # annotations as they are written
    "int": ((int, np.integer), "a whole number"),
    "float": ((int, float, np.integer, np.floating), "a number"),
    "str": (str, "a text"),
    "bool": ((bool, np.bool_), "True or False"),
}
