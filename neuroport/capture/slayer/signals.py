"""Which block feeds which, read from a network's own ``forward``.

The forward pass runs once, on a signal that knows where it comes from, while every block is
replaced by one that notes its call. Blocks and ``+`` pass the origin on; so do ``clone``,
``detach`` and flattening. Anything else gives a signal of no origin: the spike counts and rates
that lava-dl's networks collect on the way may be computed and returned, but no block may read
them. (``torch.fx`` cannot trace such networks: they call ``item()`` and build tensors of what it
gives.)

A forward pass that asks for values is refused: the signal has none, so what the answer would have
been is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.errors import CaptureError, NeuroportError
from neuroport.graph.node import IntArray, Shape

ADDITIONS = ("add", "__add__", "__radd__", "add_", "__iadd__")
UNCHANGED = ("clone", "contiguous", "detach", "float", "to", "cpu")
RESHAPED = ("reshape", "view", "flatten")
ASKED = ("__bool__", "__int__", "__float__", "__index__", "tolist", "numpy", "equal", "allclose")


@dataclass(frozen=True, eq=False)
class Term:
    """Messages of a node, each ``delay`` steps later; None, or one delay per neuron (n,)."""

    node: str
    delay: IntArray | None = None

    def later(self, steps: int, size: int) -> Term:
        if steps == 0:
            return self
        before = np.zeros(size, np.int64) if self.delay is None else self.delay
        return replace(self, delay=before + steps)


@dataclass(frozen=True, eq=False)
class Value:
    """A sum of messages, as a block reads it.

    Attributes:
        shape: without samples and steps, as SLAYER has it.
        shift: steps by which SLAYER has it later than the graph.
        unit: what SLAYER's 1.0 is in the graph, 0 for what only the host may read.
        raw: whether the module's own frames are among it, which an Input block may encode.
    """

    terms: tuple[Term, ...]
    shape: Shape
    shift: int = 0
    unit: int = 1
    raw: bool = False

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def delays(self) -> tuple[bytes, ...]:
        """The delays of its terms, to be told from others."""
        each = (term.delay for term in self.terms)
        return tuple(b"" if delay is None else delay.tobytes() for delay in each)

    def later(self, steps: int) -> Value:
        """The same, delayed in the graph."""
        return replace(self, terms=tuple(term.later(steps, self.size) for term in self.terms))

    def __add__(self, other: Value) -> Value:
        """Both; what SLAYER has later stays so much later: it is delayed in the graph."""
        if self.shape != other.shape:
            raise CaptureError(f"forward adds {self.shape} to {other.shape}; make the shapes equal")
        if self.unit != other.unit:
            raise CaptureError(
                "forward adds spikes to the changes of a sigma-delta block; add like to like"
            )
        shift = min(self.shift, other.shift)
        raw = self.raw or other.raw
        mine, theirs = self.later(self.shift - shift), other.later(other.shift - shift)
        return replace(self, terms=mine.terms + theirs.terms, shift=shift, raw=raw)


@dataclass(frozen=True, eq=False)
class Current:
    """A sum of what synapses make of values: (name, synapse, value) each."""

    parts: tuple[tuple[str, Any, Value], ...]
    shape: Shape

    def __add__(self, other: Current) -> Current:
        if self.shape != other.shape:
            raise CaptureError(
                f"forward adds currents {self.shape} to {other.shape}; make the shapes equal"
            )
        return Current(self.parts + other.parts, self.shape)


class Signal(Tensor):
    """A tensor (1, *shape, T) of zeros that knows the value it stands for, if it is one."""

    value: Value | Current | None = None
    made_by = ""

    @classmethod
    def of(cls, value: Value | Current, steps: int) -> Signal:
        signal: Signal = torch.zeros(1, *value.shape, steps).as_subclass(cls)
        signal.value = value
        return signal

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", str(func))
        if name in ASKED:
            raise CaptureError(
                f"forward asks for the values of a signal ({name.strip('_')}); it may not branch "
                "on them: what it does must be the same for all frames"
            )
        result = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        if name == "item":
            return Statistic(result)
        if isinstance(result, Signal):
            if name in ADDITIONS:
                result.value = _sum(args, kwargs)
            elif name in UNCHANGED or func == Tensor.data.__get__:  # type: ignore[attr-defined]
                source = args[0]
                kept = result.dtype == source.dtype and result.device == source.device
                result.value = source.value if kept else None
            elif name in RESHAPED:
                result.value = _reshaped(args[0], tuple(result.shape))
            elif result.value is not None and name.endswith("_"):
                result.value = None  # changed in place
            result.made_by = name
        return result


class Statistic(float):
    """A number taken from a signal: it may be collected, not compared."""

    def _asked(self, *_: object) -> Any:
        raise CaptureError(
            "forward branches on a number taken from a signal (item); what it does must be the "
            "same for all frames"
        )

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _asked
    __hash__ = float.__hash__


def _sum(args: tuple[Any, ...], kwargs: Any) -> Value | Current | None:
    if kwargs or len(args) != 2:
        return None
    left, right = (a.value if isinstance(a, Signal) else a for a in args)
    if isinstance(left, Value) and isinstance(right, Value):
        return left + right
    if isinstance(left, Current) and isinstance(right, Current):
        return left + right
    for value, other in ((left, right), (right, left)):
        if isinstance(value, (Value, Current)) and isinstance(other, (int, float)) and other == 0:
            return value  # sum() of Python begins with 0
    return None


def _reshaped(source: Signal, shape: tuple[int, ...]) -> Value | None:
    """Rows and columns flattened, samples and steps kept."""
    value = source.value
    if not isinstance(value, Value) or shape[0] != 1 or shape[-1] != source.shape[-1]:
        return None
    if shape[1:-1] == value.shape or shape[1:-1] == (value.size,):
        return replace(value, shape=shape[1:-1])
    return None


Perform = Callable[[str, nn.Module, Any], tuple[Value | Current, bool]]


def follow(
    net: nn.Module, blocks: dict[str, nn.Module], frames: Value, steps: int, perform: Perform
) -> None:
    """Run ``forward`` and call ``perform(name, block, what it reads)`` at every call of a block.

    ``perform`` gives what the block sends, and whether a log of counts comes with it.

    Raises:
        CaptureError: ``forward`` fails, branches on values, or feeds a block with what is neither
            the frames nor a sum of what blocks sent.
    """
    called: set[str] = set()

    def call(name: str, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if name in called:
            raise CaptureError(
                f"block {name!r} is called twice; a neuron population exists once: use two blocks"
            )
        called.add(name)
        if kwargs or len(args) != 1:
            raise CaptureError(f"block {name!r} is called with {len(args)} arguments; give it one")
        value = args[0].value if isinstance(args[0], Signal) else None
        if value is None:
            made_by = getattr(args[0], "made_by", "") or type(args[0]).__name__
            raise CaptureError(
                f"block {name!r} reads what {made_by!r} made; it may read the frames, what blocks "
                "send, and sums of these"
            )
        sent, counted = perform(name, block, value)
        signal = Signal.of(sent, steps)
        if counted:
            return signal, (signal > 0).float().mean()
        return signal

    with _replaced(blocks, call), torch.no_grad():
        try:
            net(Signal.of(frames, steps))
        except NeuroportError:
            raise
        except Exception as error:  # forward is the user's code: it may fail in any way
            raise CaptureError(
                f"{type(net).__name__}.forward fails when it is followed "
                f"({type(error).__name__}: {error}); it may call blocks and add what they send"
            ) from error
    if not called:
        raise CaptureError(f"{type(net).__name__}.forward calls no block")


@contextmanager
def _replaced(blocks: dict[str, nn.Module], call: Callable[..., Any]) -> Iterator[None]:
    done: list[nn.Module] = []
    try:
        for name, block in blocks.items():
            block.forward = partial(call, name, block)
            done.append(block)
        yield
    finally:
        for block in done:
            del block.forward
