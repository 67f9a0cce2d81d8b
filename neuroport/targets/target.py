"""Targets as data: the properties of a simulator, a chip or a board, with sources.

A target is a TOML file with a ``summary`` and, for each key of ``KEYS``, a table with ``value``,
``source`` and ``confidence``. Missing keys are taken from ``base``, another target (a shipped name,
or a file in the same folder). A board is thus the name of a chip and a number of chips, and needs
no code. Another package adds a folder of TOML files by an entry point of the group
``neuroport.targets`` that names a package.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroport.deprecated import moved
from neuroport.errors import GraphError, NeuroportWarning, StorageError, TargetError
from neuroport.files import parse_toml, place, read_text
from neuroport.registry import Registry

if TYPE_CHECKING:
    from importlib.abc import Traversable  # moved in Python 3.11

CONFIDENCE = {
    "seen": "read in a primary source: code, notebook, repository",
    "tested": "measured on Lava's CPU simulator",
    "second-hand": "read in another's account of the primary source",
    "derived": "computed from published numbers",
    "recalled": "known, without a source at hand",
}
BASES = 16  # of a target, one on another
NONE = "none"  # a limit that does not exist or is not published

_FOLDERS = Registry(("targets' folder", "targets' folders"), "neuroport.targets", {}, TargetError)
_LIMIT, _FROM_0 = "whole number or none", "whole number, also 0, or none"
_TRUTH = "true or false"
_COST, _KINDS = "number or none", "list of kinds or any"
# key -> (what it holds, what it means)
KEYS: dict[str, tuple[str, str]] = {
    "chips": (_LIMIT, "chips of the board"),
    "cores": (_LIMIT, "neuron cores of a chip that a network can have"),
    "neurons": (_LIMIT, "neurons of a core"),
    "memory_words": (_LIMIT, "64-bit words of a core, all together"),
    "synapse_words": (_LIMIT, "64-bit words of a core for synapses"),
    "axon_map_words": (_LIMIT, "64-bit words of a core for the map of its axons"),
    "axon_memory_words": (_LIMIT, "64-bit words of a core for the lists of its axons"),
    "axons_in": (_LIMIT, "axons that end in a core"),
    "message_bits": (_LIMIT, "bits of a message, the sign included; 1: spikes only"),
    "delay": (_FROM_0, "steps by which a dense synapse can delay a message"),
    "convolution_delay": (_TRUTH, "whether a convolution can delay a message"),
    "kernel": (_LIMIT, "largest kernel, stride, padding or dilation of a convolution"),
    "weight_exponent": (_LIMIT, "largest exponent of a synapse's weights"),
    "exact_width": (_LIMIT, "widest feature map from which no spike is known to be dropped"),
    "synop_ns": (_COST, "least time of a core for a synaptic operation, ns"),
    "neuron_ns": (_COST, "least time of a core for a pass of a neuron's update, ns"),
    "sigma_delta_passes": (_COST, "passes that the update of a sigma-delta neuron takes"),
    "step_us": (_COST, "least time of a step, us"),
    "synop_pj": (_COST, "energy of a synaptic operation, pJ"),
    "active_update_pj": (_COST, "energy of the update of a neuron that fires, pJ"),
    "inactive_update_pj": (_COST, "energy of the update of a neuron that does not, pJ"),
    "spike_pj": (_COST, "energy of a spike that is sent, without its way, pJ"),
    "hop_east_west_pj": (_COST, "energy of a spike's step to the next tile in its row, pJ"),
    "hop_north_south_pj": (_COST, "energy of a spike's step to the next tile in its column, pJ"),
    "power_of_two_reset": (_TRUTH, "whether states reset every 2**k steps only"),
    "channel_constants": (_TRUTH, "whether channels of a population can differ in constants"),
    "neuron_kinds": (_KINDS, "kinds of neurons that the chip, or a public library for it, has"),
    "programmable": (_TRUTH, "whether neurons other than leaky integrate-and-fire exist"),
    "custom_neurons": (_TRUTH, "whether neurons that no public library has can be added"),
    "checked_widths": (_TRUTH, "whether networks may run whose widths are declared, not proven"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact about a target; ``value`` is None if there is none or none is published."""

    value: float | bool | tuple[str, ...] | None
    source: str
    confidence: str

    @property
    def number(self) -> float | None:
        """Return the value of a number."""
        assert self.value is None or isinstance(self.value, (int, float))
        return self.value


# what every chip has a number of
COUNTS = ("chips", "cores", "neurons", "message_bits", "delay", "kernel", "weight_exponent")
ANY = "any"  # kind of neuron
_TAKEN = "the file does not say; what files from before this key could take for granted"
BEFORE = {  # keys that files from before them lack
    "checked_widths": Fact(False, _TAKEN, "recalled"),
    "channel_constants": Fact(False, _TAKEN, "recalled"),
    "neuron_kinds": Fact(
        ("lif", "recurrent", "readout", "relay", "delta", "sigmadelta", "sigma", "resonator"),
        _TAKEN,
        "recalled",
    ),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A simulator, a chip or a board; ``values`` holds every key of ``KEYS``."""

    name: str
    summary: str
    values: dict[str, Fact]

    def __getitem__(self, key: str) -> int:
        """Return a count or a truth value."""
        found = self.values[key].value
        assert isinstance(found, int)
        return found

    def limit(self, key: str) -> int | None:
        """Return a limit; None if there is none."""
        found = self.values[key].value
        assert found is None or isinstance(found, int)
        return found

    def cost(self, key: str) -> float | None:
        """Return a time or energy in the unit at the end of the key; None if none is published."""
        return self.values[key].number

    def has_neuron(self, kind: str) -> bool:
        """Return whether it has neurons of a kind, by its name in a graph."""
        found = self.values["neuron_kinds"].value
        assert isinstance(found, tuple)
        return found == (ANY,) or kind in found

    @property
    def is_chip(self) -> bool:
        """Whether the target has cores."""
        return self.limit("cores") is not None

    @property
    def capacity(self) -> int:
        """Number of cores of the board; 0 for a simulator."""
        return self["chips"] * self["cores"] if self.is_chip else 0


def names() -> list[str]:
    """Return the names of shipped targets and those of other packages, smallest first.

    Targets of other packages that cannot be loaded are left out, with a warning.
    """
    capacity: dict[str, int] = {}
    for name in _files():
        try:
            capacity[name] = load_target(name).capacity
        except TargetError as error:
            warnings.warn(f"{error.message}; it is left out", NeuroportWarning, 2)
    return sorted(capacity, key=lambda name: (capacity[name], name))


def _files() -> dict[str, tuple[Traversable, ...]]:
    """Return the files of all named targets, neuroport's first; warns about one of its names."""
    own = dict(_in_folder(resources.files(__package__)))
    found: dict[str, tuple[Traversable, ...]] = {name: (path,) for name, path in own.items()}
    for folder in _folders():
        for name, path in _in_folder(folder):
            if name in own:
                warnings.warn(
                    f"target {name!r} in {path} is ignored: neuroport has one of that name; "
                    "rename the file",
                    NeuroportWarning,
                    2,
                )
            else:
                found[name] = (*found.get(name, ()), path)
    return found


def _in_folder(folder: Traversable) -> Iterator[tuple[str, Traversable]]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.endswith(".toml"):
            yield path.name.removesuffix(".toml"), path


def _folders() -> Iterator[Traversable]:
    """Return the folders of other packages; warns about a package that cannot be imported."""
    for name in _FOLDERS:
        try:
            package = _FOLDERS[name]
        except TargetError as error:
            warnings.warn(f"{error.message}; its targets are left out", NeuroportWarning, 2)
            continue
        yield resources.files(package)


def load_target(name: str | Path) -> Target:
    """Load a target by name, or from a TOML file.

    Raises:
        TargetError: there is no such target; or the file lacks a value, source or confidence, or
        has a forbidden one.
    """
    try:
        return _load(place(name), Path(), ())
    except StorageError as error:
        raise TargetError(error.message) from error


def load_chip(name: str | Path) -> Target:
    """Load a target that has cores.

    Raises:
        TargetError: see :func:`load_target`; or the target is a simulator.
    """
    return require_chip(load_target(name))


def require_chip(target: Target) -> Target:
    """Return ``target``, which must have cores.

    Raises:
        TargetError: the target is a simulator.
    """
    if not target.is_chip:
        raise TargetError(f"{target.name} has no cores; name a chip or board such as 'loihi2'")
    return target


@cache
def simulator() -> Target:
    """Return Lava's CPU simulator, for which every network is checked."""
    return load_target("lava-cpu")


def _load(name: str, folder: Path, trail: tuple[str, ...]) -> Target:
    if name in trail:
        raise TargetError(f"{trail[-1]}: base {name!r} leads back to itself; name a chip")
    if len(trail) > BASES:
        raise TargetError(f"{trail[0]}: stands on more than {BASES} bases; name a chip as its base")
    text, where, title = _text(name, folder)
    table = parse_toml(text, title, TargetError)
    summary, base = table.pop("summary", None), table.pop("base", None)
    if not isinstance(summary, str) or not summary:
        raise TargetError(f"{title}: summary is missing; say in a line what the target is")
    if base is not None and not isinstance(base, str):
        raise TargetError(f"{title}: base is {base!r}; name a target or its file")
    values = dict(_load(base, where, (*trail, name)).values) if base is not None else {}
    values |= {key: _value(title, key, entry, KEYS) for key, entry in table.items()}
    values = BEFORE | values
    missing = [key for key in KEYS if key not in values]
    if missing:
        key = missing[0]
        more = f", and {', '.join(missing[1:])}" if missing[1:] else ""
        raise TargetError(
            f"{title}: {key} is missing ({KEYS[key][1]}){more}; give each a value, a source and a "
            f"confidence, or name a base such as {'loihi2'!r}"
        )
    found = Target(title, summary, values)
    chip = any(found.limit(key) is not None for key in ("chips", "cores"))
    for key in COUNTS if chip else ():
        if found.limit(key) is None:
            raise TargetError(
                f"{title}: {key} is {NONE!r}; it must be a whole number ({KEYS[key][1]}) of a "
                f"chip; of a simulator chips and cores are {NONE!r}"
            )
    return found


def read_toml(text: str, title: str, keys: Mapping[str, tuple[str, str]]) -> dict[str, Fact]:
    """Return the values of a TOML text, each with its source, as ``keys`` permit.

    Raises:
        TargetError: names the key and the mistake; ``title`` is the file.
    """
    table = parse_toml(text, title, TargetError)
    return {key: _value(title, key, entry, keys) for key, entry in table.items()}


def _text(name: str, folder: Path) -> tuple[str, Path, str]:
    """Return the text of a target's file, its folder and its name."""
    files = _files().get(name, ())
    if len(files) > 1:
        raise TargetError(
            f"target {name!r} is in {' and in '.join(map(str, files))}; remove one of them"
        )
    for path in files:
        try:
            return path.read_text(encoding="utf-8"), Path(str(path)).parent, name
        except (OSError, UnicodeDecodeError) as error:
            raise TargetError(f"{path}: cannot be read ({error}); repair its package") from error
    own = folder / name
    if not name.endswith(".toml") and not os.path.isfile(own):
        raise TargetError(
            f"unknown target {name!r}; the targets are {', '.join(names())}, "
            "or a TOML file of your own"
        )
    return read_text(own, TargetError, "a target"), own.parent, str(own)


def _value(title: str, key: str, entry: Any, keys: Mapping[str, tuple[str, str]]) -> Fact:
    if key not in keys:
        near = difflib.get_close_matches(key, keys, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(keys)}"
        raise TargetError(f"{title}: unknown key {key!r}; {hint}")
    if not isinstance(entry, dict):
        raise TargetError(
            f"{title}: {key} is {entry!r}; make it a table [{key}] with value, source, confidence"
        )
    for part in ("value", "source", "confidence"):
        if part not in entry:
            raise TargetError(f"{title}: {key} has no {part}; say {_wanted(keys[key], part)}")
    unknown = set(entry) - {"value", "source", "confidence"}
    if unknown:
        raise TargetError(f"{title}: {key} has an unknown part {min(unknown)!r}; remove it")
    value, source, confidence = entry["value"], entry["source"], entry["confidence"]
    if not isinstance(source, str) or not source.strip():
        raise TargetError(f"{title}: {key} has no source; say {_wanted(keys[key], 'source')}")
    if not isinstance(confidence, str) or confidence not in CONFIDENCE:
        raise TargetError(
            f"{title}: confidence of {key} is {confidence!r}; use {', '.join(CONFIDENCE)}"
        )
    kind = keys[key][0]
    if kind == _TRUTH:
        good = type(value) is bool
    elif kind == _KINDS:
        value = [ANY] if value == ANY else value
        good = isinstance(value, list) and all(isinstance(name, str) for name in value)
        good = good and (value == [ANY] or ANY not in value)
        value = tuple(value) if good else value
    elif kind == _COST:
        good = type(value) in (int, float) and 0 < value < 1 << 31
    else:
        good = type(value) is int and (kind == _LIMIT) <= value < 1 << 31
    if kind in (_LIMIT, _FROM_0, _COST) and value == NONE:
        value, good = None, True
    if not good:
        raise TargetError(f"{title}: {key} is {value!r}; it must be {_wanted(keys[key], 'value')}")
    if kind == _KINDS and value != (ANY,):
        _check_kinds(f"{title}: {key}", value)
    return Fact(value, source, confidence)


def _check_kinds(where: str, listed: tuple[str, ...]) -> None:
    """Refuse what is no kind of neuron, also of an installed package: it would never match.

    Raises:
        TargetError: names it.
    """
    from neuroport.graph.node import KINDS, Population, find_kind  # needs NumPy

    for name in listed:
        try:
            found = find_kind(name)
        except GraphError as error:
            raise TargetError(f"{where} lists {name!r}: {error.message}") from error
        if found is None or not issubclass(found, Population):
            known = sorted(n for n, each in KINDS.items() if issubclass(each, Population))
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TargetError(
                f"{where} lists {name!r:.100}, which is no kind of neuron here; {hint}known: "
                f"{', '.join(known)}, and those of packages that are installed"
            )


def _wanted(what: tuple[str, str], part: str) -> str:
    kind, meaning = what
    least = {_LIMIT: ", 1 or more", _COST: ", above 0"}.get(kind, "")
    return {
        "value": f"{'' if kind == _TRUTH else 'a '}{kind}{least} ({meaning})",
        "source": "where the value is from",
        "confidence": f"how well it is known: {', '.join(CONFIDENCE)}",
    }[part]


__getattr__ = moved(__name__, {"Value": "neuroport.targets.target:Fact"})
