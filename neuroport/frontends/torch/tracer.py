"""Follow a forward pass: compute the results of torch's functions on traced tensors.

If a function has a node, its result is a node of :class:`~.network_builder.Building`. Otherwise the
result is *lost*: it may be returned and used in computations, but no input of a neuron may depend
on it. Afterwards :mod:`.numeric_check` compares the captured network with the module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuroport.capture.signal_tensors import SampleCount
from neuroport.capture.source_lines import here
from neuroport.errors import CaptureError
from neuroport.frontends.torch import elementwise, layers
from neuroport.frontends.torch.signal_nodes import SignalNodes
from neuroport.frontends.torch.torch_functions import (
    ASKED,
    DECIDES,
    FRESH,
    INPLACE,
    LINEAR,
    ON_THE_HOST,
    RULES,
    SAME,
    WAYS,
    WHOLE_NUMBERS,
)
from neuroport.frontends.torch.traced_tensor import MADE_BY_GET, Lost, Traced, signals_in
from neuroport.nets.stream import is_off


class Tracer(SignalNodes):
    """Follows one forward pass."""

    followed = 0  # calls that have a node
    inside = 0
    refused: CaptureError | None = None
    counted = False

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a function of torch, with its node."""
        self.inside += 1
        try:
            args, kwargs = _plain(args), _plain(kwargs)
            found = self._called(name, func, args, kwargs)
            if name == "iter":
                found = list(found)
            if name not in FRESH:
                _share_memory(func, args, kwargs, found)
            return iter(found) if name == "iter" else found
        finally:
            self.inside -= 1

    def _called(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        converts = func in (Tensor.float, Tensor.bool, Tensor.int)
        if name in ASKED and not converts:
            raise CaptureError(
                f"forward asks for the values of a signal ({name}, {here().quoted}); what it "
                "does must be the same for all frames"
            )
        into = _writes(func, kwargs) and not isinstance(args[0], Traced)
        if name == "setitem" or kwargs.get("out") is not None or (into and not _rebinds(func)):
            raise CaptureError(
                f"forward writes into a tensor ({here().quoted}); collect what neurons send in a "
                "list, and torch.stack it"
            )
        if name == "get":
            name = "T" if func in MADE_BY_GET[:2] else "detach"
        why = ""
        try:
            made = self._made(name, func, args, kwargs)
            if made is not None:
                self.followed += 1
                return made
        except Lost as error:
            why = str(error)
        return self._lost(name, func, args, kwargs, why)

    def _lost(
        self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], why: str
    ) -> Any:
        place = here().quoted
        inputs = signals_in((args, kwargs))
        before = next((each.made_by for each in inputs if each.origin is None and each.made_by), "")
        said = before or f"{name!r} in {place} made" + (f" ({why})" if why else "")
        decided = f"{name!r} in {place} makes" if name in DECIDES else ""
        computed = next((each.computed for each in inputs if each.computed), decided)
        of = frozenset().union(*(each.of for each in inputs))
        known = {id(signal) for signal in inputs}
        weights = any(isinstance(t, Tensor) and id(t) not in known for t in _flat((args, kwargs)))
        host = name in ON_THE_HOST and not weights and all(each.host for each in inputs)
        try:
            shapes = func(*_on_meta(args), **_on_meta(kwargs))
        except CaptureError:
            raise
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CaptureError(f"{name!r} in {place} fails ({reason})") from error

        def traced(found: Any) -> Any:
            if isinstance(found, Tensor):
                made = Traced(found.shape, found.dtype)
                made.note(None, said, of, host)
                made.computed = computed
                return made
            if isinstance(found, (tuple, list)) and not isinstance(found, torch.Size):
                return (
                    type(found)(traced(each) for each in found)
                    if type(found)
                    in (
                        tuple,
                        list,
                    )
                    else tuple(traced(each) for each in found)
                )
            return found

        found = traced(shapes)
        if _writes(func, kwargs) and isinstance(args[0], Traced) and isinstance(found, Traced):
            _written(args[0])
            args[0].note(None, said, of, host)
            return args[0]
        return found

    def _made(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        base = INPLACE.get(name, name)
        rule = RULES.get(base)
        if rule is None:
            if base in SAME:
                rule = elementwise.same
            elif base in WHOLE_NUMBERS:
                rule = elementwise.whole_numbers
            elif "dropout" in base:
                if not is_off(func, args, kwargs):
                    raise Lost("it drops at random, in evaluation too")
                return args[0]
            elif base in LINEAR:
                rule = layers.linear_by_matrix
            else:
                raise Lost(WAYS.get(base, ""))
        made = rule(self, func, base, args, kwargs)
        if _writes(func, kwargs) and isinstance(made, Traced) and isinstance(args[0], Traced):
            origin, made_by, host = made.origin, made.made_by, made.host
            _written(args[0])
            args[0].note(origin, made_by, made.of, host)
            return args[0]
        return made


def _written(changed: Traced) -> None:
    """Let tensors that share the memory of ``changed`` lose their origins."""
    changed.memory.writes += 1
    changed.memory.writer = here().quoted


def _share_memory(func: Any, args: Any, kwargs: Any, found: Any) -> None:
    """Give results the memory of the arguments that they are views of, as torch's own function
    has it."""
    results = [each for each in _flat(found) if isinstance(each, Traced)]
    given = {id(each): each for each in signals_in((args, kwargs))}
    results = [each for each in results if id(each) not in given]
    if not results or not given:
        return
    probes: dict[int, Tensor] = {}
    try:
        made = _flat(func(*_on_meta(args, probes), **_on_meta(kwargs, probes)))
    except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError):
        made = []
    views = [each for each in made if isinstance(each, Tensor)]
    places = {probe.untyped_storage()._cdata: given[at] for at, probe in probes.items()}
    sources = [places.get(view.untyped_storage()._cdata) for view in views]
    if len(sources) != len(results):  # unknown: as if all were views of the first
        sources = [next(iter(given.values()))] * len(results)
    for each, source in zip(results, sources, strict=True):
        if source is not None:
            each.memory, each._stamp = source.memory, source.memory.writes


def _rebinds(func: Any) -> bool:
    """Whether it is an operator such as ``+=``, after which the name stands for the result."""
    return bool(func.__name__.startswith("__"))


def _plain(value: Any) -> Any:
    """Sizes as numbers."""
    if isinstance(value, SampleCount):
        return int(value)
    if isinstance(value, torch.Size):
        return torch.Size(_plain(tuple(value)))
    if type(value) in (tuple, list):
        return type(value)(_plain(each) for each in value)
    if type(value) is dict:
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, slice):
        return slice(_plain(value.start), _plain(value.stop), _plain(value.step))
    return value


def _writes(func: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function of torch changes its first argument."""
    if kwargs.get("inplace"):
        return True
    name: str = func.__name__
    if name.startswith("__i") and name.endswith("__"):
        return name.strip("_") in INPLACE and name != "__invert__"
    return name.endswith("_") and not name.endswith("__")


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return [found for each in value for found in _flat(each)]
    return [value]


def _on_meta(value: Any, probes: dict[int, Tensor] | None = None) -> Any:
    """Return arguments without numbers, to infer shapes; ``probes`` keeps those of signals."""
    if isinstance(value, Tensor):
        made = torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
        if probes is None or not isinstance(value, Traced):
            return made
        return probes.setdefault(id(value), made)
    if isinstance(value, dict):
        return {key: _on_meta(each, probes) for key, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_on_meta(each, probes) for each in value)
    return value
