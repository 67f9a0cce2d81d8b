"""Streams: the integer currents between synapses and neurons in the integer phase."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuroport.errors import LayerError

_ONLY_ADDED = "currents may be added, and nothing else: no graph holds it"


@dataclass(frozen=True, eq=False)
class Stream:
    """A sum of integer currents and its real bias.

    ``value`` holds integers in float32 (exact below 2**24), shape (T, N, C, H, W), in units of the
    stream's LSB. ``bias`` is (C,), or (C, H, W) if it differs by position, in real units. Biases of
    a stream add up as real numbers, and each neuron rounds the sum once, so that rounding errors do
    not accumulate with depth. If the grid is equalized, the unit of channel c is
    ``LSB / 2**finer[c]``, the same in all currents of a stream; ``finer`` is (C,) or None.

    A ``forward`` may use it like a tensor, as far as a graph can express it: addition,
    ``sum([...])``, ``torch.stack([...]).sum(0)``, disabled dropout, ``clone``, ``contiguous``,
    ``detach``, and ``float``, ``to``, ``cpu``, ``view`` and ``reshape`` where they change nothing.
    """

    value: Tensor
    bias: Tensor
    finer: Tensor | None = None

    @property
    def factor(self) -> Tensor | None:
        """``2**finer`` as (C, 1, 1), exact in float32; None if all channels have the LSB."""
        return None if self.finer is None else per_position(2.0**self.finer)

    def __add__(self, other: Any) -> Stream:
        if isinstance(other, (int, float)) and other == 0:
            return self  # Python's sum() begins with 0
        if not isinstance(other, Stream):
            return NotImplemented
        if self.bias.ndim == other.bias.ndim:
            bias = self.bias + other.bias
        else:
            bias = per_position(self.bias) + per_position(other.bias)
        return Stream(self.value + other.value, bias, self.finer)

    __radd__ = __add__

    def add(self, other: Any) -> Stream:
        """``self + other``."""
        total: Stream = self + other
        return total

    def add_(self, other: Any) -> Stream:
        """Add in place: in this stream, not in its tensor, which a neuron may have stored."""
        total: Stream = self + other
        if total.shape != self.shape:
            raise LayerError(
                f"currents {tuple(other.shape)} are added in place to smaller ones, "
                f"{tuple(self.shape)}; write a = a + b"
            )
        object.__setattr__(self, "value", total.value)
        object.__setattr__(self, "bias", total.bias)
        return self

    @property
    def shape(self) -> torch.Size:
        return self.value.shape

    def clone(self) -> Stream:
        return Stream(self.value.clone(), self.bias.clone(), self.finer)

    def contiguous(self) -> Stream:
        return self

    def detach(self) -> Stream:
        return Stream(self.value.detach(), self.bias.detach(), self.finer)

    def float(self) -> Stream:
        return self._unchanged("float", self.value.float())

    def cpu(self) -> Stream:
        return self._unchanged("cpu", self.value.cpu())

    def to(self, *args: Any, **kwargs: Any) -> Stream:
        return self._unchanged("to", self.value.to(*args, **kwargs))

    def view(self, *shape: Any) -> Stream:
        return self._unchanged("view", self.value.reshape(*shape))

    def reshape(self, *shape: Any) -> Stream:
        return self._unchanged("reshape", self.value.reshape(*shape))

    def _unchanged(self, name: str, value: Tensor) -> Stream:
        own = self.value
        if (value.shape, value.dtype, value.device) != (own.shape, own.dtype, own.device):
            raise LayerError(
                f"{name!r} makes a current {value.dtype} {tuple(value.shape)} on {value.device} of "
                f"one in {own.dtype} {tuple(own.shape)} on {own.device}; {_ONLY_ADDED}"
            )
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{name!r} is asked of a current in the integer phase; {_ONLY_ADDED}")

    def equals(self, other: Stream) -> bool:
        """Whether both hold the same numbers."""
        return torch.equal(self.value, other.value) and torch.equal(self.bias, other.bias)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Apply a function of torch to a stream.

        Raises:
            LayerError: a graph cannot express the function.
        """
        name, kwargs = getattr(func, "__name__", str(func)), kwargs or {}
        if name in ("add", "__radd__", "__add__") and len(args) == 2 and not kwargs:
            left, right = args
            return left + right if isinstance(left, Stream) else right + left
        if name in ("clone", "detach") and not kwargs:
            return getattr(args[0], name)()
        if name == "stack" and not kwargs.get("dim", args[1] if len(args) > 1 else 0):
            return _Stack(tuple(args[0]))
        if "dropout" in name and is_off(func, args, kwargs):
            return args[0]
        raise LayerError(f"{name!r} is given a current in the integer phase; {_ONLY_ADDED}")


class _Stack(tuple[Stream, ...]):
    """``torch.stack`` of streams, to be summed."""

    def __new__(cls, streams: tuple[Stream, ...]) -> _Stack:
        return super().__new__(cls, streams)

    def sum(self, dim: int) -> Stream:
        if dim != 0:
            raise LayerError(f"a stack of currents is summed over {dim}; stack and sum over 0")
        first, *others = self
        for other in others:
            first = first + other
        return first

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.sum:
            return args[0].sum(*args[1:], **(kwargs or {}))
        raise LayerError(f"{func.__name__!r} is given a stack of currents; sum it over 0")


def join(branch: Any, shortcut: Any, add: Callable[[Any, Any], Any] = operator.add) -> Any:
    """``branch + shortcut``, at the end of a block, by ``add``.

    Raises:
        LayerError: the two differ in size, so that a sum would broadcast the smaller one.
    """
    if branch.shape != shortcut.shape:
        raise LayerError(
            f"a block's branch gives maps {tuple(branch.shape[2:])} and its shortcut "
            f"{tuple(shortcut.shape[2:])} (C, H, W): a strided convolution rounds an odd size up, "
            "average pooling rounds it down; use frames whose height and width the strides "
            'divide (crop or pad them), or shortcut="stride"'
        )
    return add(branch, shortcut)


def is_off(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a dropout is disabled; ``train`` is the third argument of torch.dropout."""
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments.get("training", bound.arguments.get("train")) is False
    except (ValueError, TypeError):
        return kwargs.get("train", args[2] if len(args) > 2 else True) is False


def per_position(bias: Tensor) -> Tensor:
    """Return a bias as (C, 1, 1) or (C, H, W)."""
    return bias.reshape(len(bias), *(bias.shape[1:] or (1, 1)))
