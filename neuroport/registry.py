"""Registries of named objects: neuroport's own, and those of other packages' entry points.

A package adds one without a change here. Its ``pyproject.toml`` says, for an engine::

    [project.entry-points."neuroport.engines"]
    theirs = "their_package.module:TheirEngine"

Nothing is imported before it is asked for by name.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from neuroport.errors import NeuroportError, NeuroportWarning, printable


class Registry(Mapping[str, Any]):
    """Names and what they stand for, imported when it is asked for.

    Args:
        what: what a name stands for, in the singular and the plural, for messages.
        group: the group of entry points by which other packages add.
        own: name -> ``module:attribute``, or what it stands for; in the order of lists.
        error: what an unknown name raises.
    """

    def __init__(
        self,
        what: tuple[str, str],
        group: str,
        own: Mapping[str, Any],
        error: type[NeuroportError],
    ) -> None:
        self.what, self.group, self.own, self.error = what, group, dict(own), error

    def added(self) -> dict[str, tuple[EntryPoint, ...]]:
        """Return the entries of other packages, by name; duplicates are refused on use."""
        found: dict[str, tuple[EntryPoint, ...]] = {}
        for entry in _entries(self.group, tuple(sys.path)):
            if entry.name in self.own:
                warnings.warn(
                    f"{self.what[0]} {entry.name!r} of {_package(entry)} is ignored: neuroport has "
                    "one of that name; give it another",
                    NeuroportWarning,
                    stacklevel=2,
                )
            elif all(entry.value != other.value for other in found.get(entry.name, ())):
                found[entry.name] = (*found.get(entry.name, ()), entry)
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self.added()

    def __len__(self) -> int:
        return len(self.own) + len(self.added())

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.added()

    def __getitem__(self, name: str) -> Any:
        """Return the entry called ``name``.

        Raises:
            NeuroportError: of the registry's kind: no such name, or its package cannot be imported.
        """
        if isinstance(name, str) and name in self.own:
            return loaded(self.own[name])
        entries = self.added().get(name, ()) if isinstance(name, str) else ()
        one, many = self.what
        if not entries:
            raise self.error(f"unknown {one} {name!r:.100}; the {many} are {', '.join(self)}")
        if len(entries) > 1:
            packages = " and ".join(map(_package, entries))
            raise self.error(f"{one} {name!r} is added by {packages}; remove one of them")
        entry = entries[0]
        try:
            return entry.load()
        except Exception as error:  # of another package: any error is reported
            why = printable(f"{type(error).__name__}: {error}")
            raise self.error(
                f"{one} {name!r} of {_package(entry)} cannot be imported "
                f"({entry.value}: {why}); repair or remove that package"
            ) from error


def loaded(place: Any) -> Any:
    """Import ``module:attribute`` and return it; anything but a string is returned unchanged."""
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@lru_cache(maxsize=16)
def _entries(group: str, paths: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of a group; reading the metadata of all packages takes long."""
    return tuple(entry_points(group=group))


def _package(entry: EntryPoint) -> str:
    dist = getattr(entry, "dist", None)
    return f"the package {dist.name}" if dist is not None else f"the package with {entry.value}"
