"""The table of engines: neuroport's own, and those of other packages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from neuroport.engines.engine import Engine, read_options
from neuroport.errors import BackendError
from neuroport.registry import Registry

ENGINES = Registry(
    ("engine", "engines"),
    "neuroport.engines",
    {
        "reference": "neuroport.engines.reference:Reference",
        "fast": "neuroport.engines.fast:Fast",
        "lava-cpu": "neuroport.engines.lava_cpu:LavaCpu",
        "loihi2": "neuroport.engines.loihi2:Loihi2",
        "module": "neuroport.engines.module:Module",
    },
    BackendError,
)
DEFAULT, MODULE = (
    "reference",
    "module",
)  # default engines for graphs and files, and for torch modules


def known(name: str) -> Engine:
    """Return an engine by name, even if it cannot run here.

    Raises:
        BackendError: there is no such engine.
    """
    kind = ENGINES[name]
    if not (isinstance(kind, type) and issubclass(kind, Engine)):
        raise BackendError(
            f"engine {name!r} is {kind!r:.100}; a package adds a class derived from "
            "neuroport.engines.Engine"
        )
    if getattr(kind, "name", None) != name:
        raise BackendError(
            f"engine {name!r} of a package calls itself {getattr(kind, 'name', None)!r:.100}; its "
            "entry point and its attribute name must be the same"
        )
    return kind()


def ready(name: str, options: Mapping[str, Any] | None = None) -> Engine:
    """Return an engine by name, ready to run with these options.

    Raises:
        BackendError: there is no such engine, it lacks an option, or it is not installed.
    """
    found = known(name)
    reason = found.available(read_options(found, dict(options or {})))
    if reason is not None:
        raise BackendError(f"engine {name!r} is not available: {reason}")
    return found


def engines() -> dict[str, Engine | BackendError]:
    """Return all engines that run graphs, by name; or why one cannot be loaded."""
    found: dict[str, Engine | BackendError] = {}
    for name in ENGINES:
        try:
            each = known(name)
        except BackendError as error:
            found[name] = error
            continue
        if not each.takes_modules:
            found[name] = each
    return found


def options() -> Iterator[dict[str, Field[Any]]]:
    """Return every option once: its field in each engine that has it, by the engine's name.

    Options of a package that cannot be imported are omitted; using its engine raises the reason.
    """
    found: dict[str, dict[str, Field[Any]]] = {}
    for name in ENGINES:
        with contextlib.suppress(BackendError):
            for each in fields(known(name).Options):
                found.setdefault(each.name, {})[name] = each
    yield from found.values()
