"""The inputs of blocks in terms of nodes: sums and concatenations of messages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuroport.errors import CaptureError
from neuroport.graph.node import IntArray, Shape


@dataclass(frozen=True, eq=False)
class NodeMessages:
    """Messages of a node, delayed by ``delay`` steps per neuron (n,), or not delayed (None).

    ``part``: their channels (or rows) in the value, from and to; None for all.
    """

    node: str
    delay: IntArray | None = None
    part: tuple[int, int] | None = None

    def later(self, steps: int, size: int) -> NodeMessages:
        if steps == 0:
            return self
        before = np.zeros(size, np.int64) if self.delay is None else self.delay
        return replace(self, delay=before + steps)


@dataclass(frozen=True, eq=False)
class MessageSum:
    """A sum of messages, as a block reads it.

    Attributes:
        shape: the module's shape, without samples and steps.
        shift: number of steps by which SLAYER's value is later than the graph's.
        unit: the graph's value for SLAYER's 1.0; 0 for values that only the host may read.
        raw: whether it includes the module's own frames, which an Input block may encode.
    """

    terms: tuple[NodeMessages, ...]
    shape: Shape
    shift: int = 0
    unit: int = 1
    raw: bool = False

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def delays(self) -> tuple[bytes, ...]:
        """The delays of its terms, in a form that can be compared."""
        each = (term.delay for term in self.terms)
        return tuple(b"" if delay is None else delay.tobytes() for delay in each)

    @property
    def said(self) -> str:
        """A description in words."""
        return _words([term.node for term in self.terms])

    def rows(self, term: NodeMessages) -> slice:
        """The neurons of the value that a term is, in channel-major order."""
        low, high = term.part or (0, self.shape[0])
        each = self.size // self.shape[0]
        return slice(low * each, high * each)

    def later(self, steps: int) -> MessageSum:
        """The same, delayed in the graph."""
        sizes = (self.rows(term) for term in self.terms)
        late = (
            term.later(steps, rows.stop - rows.start)
            for term, rows in zip(self.terms, sizes, strict=True)
        )
        return replace(self, terms=tuple(late))

    def flattened(self) -> MessageSum:
        """Feature maps in a row."""
        terms = (
            term if term.part is None else replace(term, part=(rows.start, rows.stop))
            for term, rows in ((term, self.rows(term)) for term in self.terms)
        )
        return replace(self, terms=tuple(terms), shape=(self.size,))

    def __add__(self, other: MessageSum) -> MessageSum:
        """Both; what SLAYER has later stays so much later: it is delayed in the graph."""
        if self.shape != other.shape:
            raise CaptureError(f"forward adds {self.shape} to {other.shape}; make the shapes equal")
        return self._with(other, "adds", self.terms, other.terms, self.shape)

    def beside(self, other: MessageSum) -> MessageSum:
        """This one's channels, then the other's."""
        if self.shape[1:] != other.shape[1:]:
            raise CaptureError(
                f"forward concatenates {self.shape} and {other.shape}; make rows and columns equal"
            )
        middle, all_ = self.shape[0], self.shape[0] + other.shape[0]
        mine = tuple(replace(t, part=t.part or (0, middle)) for t in self.terms)
        theirs = tuple(
            replace(
                t,
                part=(middle, all_) if t.part is None else (t.part[0] + middle, t.part[1] + middle),
            )
            for t in other.terms
        )
        return self._with(other, "concatenates", mine, theirs, (all_, *self.shape[1:]))

    def _with(
        self,
        other: MessageSum,
        verb: str,
        mine: tuple[NodeMessages, ...],
        theirs: tuple[NodeMessages, ...],
        shape: Shape,
    ) -> MessageSum:
        if self.unit != other.unit:
            raise CaptureError(
                f"forward {verb} spikes and the changes of a sigma-delta block; take like with like"
            )
        shift = min(self.shift, other.shift)
        early = replace(self, terms=mine, shape=shape).later(self.shift - shift)
        late = replace(other, terms=theirs, shape=shape).later(other.shift - shift)
        raw = self.raw or other.raw
        return replace(early, terms=early.terms + late.terms, shift=shift, raw=raw)


@dataclass(frozen=True, eq=False)
class CurrentSum:
    """A sum of what synapses make of values: (name, synapse, value) each."""

    parts: tuple[tuple[str, Any, MessageSum], ...]
    shape: Shape

    @property
    def said(self) -> str:
        """A description in words."""
        return _words([name for name, _, _ in self.parts])

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __add__(self, other: CurrentSum) -> CurrentSum:
        if self.shape != other.shape:
            raise CaptureError(
                f"forward adds currents {self.shape} to {other.shape}; make the shapes equal"
            )
        return CurrentSum(self.parts + other.parts, self.shape)


def _words(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else "the sum or concatenation of " + ", ".join(quoted)
