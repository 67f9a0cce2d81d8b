"""Follow a forward pass: compute the results of torch's functions on traced tensors.

If a function has a node, its result is a node of :class:`~.network_builder.Building`. Otherwise the
result is *lost*: it may be returned and used in computations, but no input of a neuron may depend
on it. Afterwards :mod:`.numeric_check` compares the captured network with the module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuroport.capture.source_lines import here
from neuroport.errors import CaptureError
from neuroport.frontends.torch import elementwise, layers
from neuroport.frontends.torch.signal_nodes import SignalNodes
from neuroport.frontends.torch.torch_functions import (
    ASKED,
    DECIDES,
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

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a function of torch, with its node."""
        converts = func in (Tensor.float, Tensor.bool, Tensor.int)
        if name in ASKED and not converts:
            raise CaptureError(
                f"forward asks for the values of a signal ({name}, {here().quoted}); what it "
                "does must be the same for all frames"
            )
        if name == "setitem" or kwargs.get("out") is not None:
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
                made.made_by, made.of, made.host, made.computed = said, of, host, computed
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
            args[0].origin, args[0].made_by, args[0].of, args[0].host = None, said, of, host
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
            args[0].origin, args[0].made_by, args[0].of = made.origin, made.made_by, made.of
            return args[0]
        return made


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


def _on_meta(value: Any) -> Any:
    """Return arguments without numbers, to infer shapes."""
    if isinstance(value, Tensor):
        return torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
    if isinstance(value, dict):
        return {key: _on_meta(each) for key, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_on_meta(each) for each in value)
    return value
