"""The fast engine on a GPU: every node is a kernel in integers over all samples and steps.

Values stay as narrow as the graph's intervals prove to be enough, channels last. Synapses multiply
8-bit digits and add up in 32 bits (:mod:`neuroport.kernels.triton_network`). Messages are counted
on the GPU. When frames of a shape run for the second time, the kernels are recorded in a CUDA
graph, because launching each of them from Python takes longer than its work.

:func:`whole` returns None for a graph that the compiled engine of the CPU does not support either
(:func:`neuroport.backends.compiled_network.fits`), for declared widths, and for values or weights
of more than 15 bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neuroport.backends.compiled_network import (
    KINDS,
    every_operation,
    fits,
    is_carried,
    kernels_by_delay,
    planes,
)
from neuroport.backends.executor import Arithmetic, AtOnce, evaluate
from neuroport.errors import BackendError
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.fields import IntArray, Shape, per_neuron
from neuroport.kernels.compilation import switched_off
from neuroport.kernels.devices import told
from neuroport.kernels.network_kernel import LIF, LOAD, READOUT, RELAY
from neuroport.runs.recording import GRANULARITIES, counted
from neuroport.runs.trace import versions

if TYPE_CHECKING:
    from neuroport.kernels.triton_network import Weights

Plain = Callable[[Graph, torch.device], Arithmetic]
TYPES = (torch.int8, torch.uint8, torch.int16, torch.int32)


class NotFittingError(Exception):
    """A graph needs more bits than the kernels have."""


@dataclass(frozen=True)
class Part:
    """A value by its number, its bounds, and a shift to the left.

    A node's output is the sum of its parts.
    """

    value: int
    low: int
    high: int
    shift: int = 0


@dataclass(frozen=True)
class Launch:
    """Computes a value from others; values have numbers, because nodes may have any name."""

    value: int
    reads: tuple[int, ...]
    run: Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Wanted:
    """Values that a run records: all messages, or counts."""

    messages: tuple[str, ...]
    counted: tuple[str, ...]
    granularity: str


class GpuNetwork(AtOnce):
    """A graph as a list of launches.

    Raises:
        NotFittingError: a value or a weight has more bits than the kernels multiply.
    """

    name = "fast"
    elsewhere = True

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph, self.device = graph, device
        self._launches: list[Launch] = []
        self._values = 0
        self._senders: dict[int, str] = {}  # the nodes whose messages values are
        self._parts: dict[str, list[Part]] = {}
        self._sums: dict[tuple[Part, ...], Part] = {}
        self._seen: tuple[Any, Wanted] | None = None
        self._recorded: _Recorded | None = None
        for node in graph:
            what = KINDS.get(type(node))
            self._parts[node.name] = self._connect(node) if what is None else self._send(node, what)
        self._last = {name: launch.value for launch in self._launches for name in launch.reads}

    def fill(
        self,
        frames: npt.NDArray[Any],
        into: Mapping[str, npt.NDArray[Any]],
        counts: Mapping[str, npt.NDArray[Any]] | None = None,
        granularity: str = "neuron",
    ) -> None:
        """See :meth:`AtOnce.fill`.

        Raises:
            BackendError: a kernel does not fit the GPU, or the batch is too large for it.
        """
        wanted = Wanted(tuple(into), tuple(counts or {}), granularity)
        kind = narrowest(*self._bounds(self.graph.input.name))
        narrow = np.ascontiguousarray(frames, str(kind).removeprefix("torch."))
        with _compiling(self.device):
            messages, tallies = self._found(torch.from_numpy(narrow), wanted)
        for name, array in into.items():
            array[:] = messages[name].cpu().numpy().reshape(array.shape)
        if counts:
            together, first = tallies.cpu().numpy(), 0
            for array in counts.values():
                size = array[0].size
                array[:] = together[:, first : first + size].reshape(array.shape)
                first += size

    def versions(self) -> dict[str, str]:
        """Versions of the kernels."""
        return versions("torch", "numpy")

    def _found(self, given: Tensor, wanted: Wanted) -> tuple[dict[str, Tensor], Tensor]:
        """What is recorded, from a CUDA graph if this is not the first run of this shape."""
        key = tuple(given.shape), wanted
        if self.device.type == "cuda" and self._seen == key:
            if self._recorded is None:
                self._recorded = _Recorded(self, given, wanted)
            return self._recorded.replay(given)
        self._seen, self._recorded = key, None  # one shape's memory at a time
        return self.evaluate(given.to(self.device), wanted)

    def evaluate(self, frames: Tensor, wanted: Wanted) -> tuple[dict[str, Tensor], Tensor]:
        """Messages (T, N, *planes) and counts (N, counters), launch by launch."""
        steps, samples = frames.shape[:2]
        shape = planes(self.graph.facts(self.graph.input.name).shape)
        flat = frames.reshape(steps * samples, *shape)
        values = {self._input: flat.permute(0, 2, 3, 1).contiguous()}
        messages: dict[str, Tensor] = {}
        tallied: dict[str, Tensor] = {}

        def look(number: int) -> None:
            name = self._senders.get(number, "")
            value = values[number].reshape(steps, samples, *values[number].shape[1:])
            if number in self._senders and name in wanted.messages:
                messages[name] = value.permute(0, 1, 4, 2, 3).contiguous()
            if number in self._senders and name in wanted.counted:
                tallied[name] = _count(value, wanted.granularity, self._spikes(name))
            if number not in self._last:
                del values[number]

        look(self._input)
        for launch in self._launches:
            values[launch.value] = launch.run([values[number] for number in launch.reads])
            for number in dict.fromkeys(launch.reads):
                if self._last[number] == launch.value:
                    del values[number]
            look(launch.value)
        tallies = [tallied[name] for name in wanted.counted]
        return messages, torch.cat(tallies, 1) if tallies else flat.new_empty(samples, 0)

    def _bounds(self, name: str) -> tuple[int, int]:
        facts = self.graph.facts(name)
        return int(facts.low.min()), int(facts.high.max())

    def _spikes(self, name: str) -> bool:
        return self._bounds(name) == (0, 1)

    def _number(self) -> int:
        """Return the number of a new value."""
        self._values += 1
        return self._values

    def _launch(
        self, parts: Sequence[Part], run: Callable[[Sequence[Tensor]], Tensor], value: int = 0
    ) -> int:
        """Add a launch, and return the number of its value, a new one unless given."""
        value = value or self._number()
        self._launches.append(Launch(value, tuple(part.value for part in parts), run))
        return value

    def _send(self, node: Any, what: int) -> list[Part]:
        """Add the launch of a node that sends messages, or of a readout."""
        from neuroport.kernels import triton_network as kernels

        low, high = self._bounds(node.name)
        number = self._number()
        self._senders[number] = node.name
        sent = [Part(number, low, high)]
        parts = [part for name in node.inputs for part in self._parts[name]]
        if what == LOAD:
            self._input = number
            return sent
        delay = getattr(node, "steps", 0) if what == RELAY else 0
        if delay:
            parts = [self._late(part, delay) for part in parts]
        parts = self._few(parts, kernels.PARTS)
        shifts = [part.shift for part in parts]
        if what == RELAY:
            shift, threshold = getattr(node, "shift", 0), getattr(node, "threshold", -1)
            kind = narrowest(low, high)
            self._launch(
                parts,
                lambda given: kernels.relay(_shifted(given, shifts), shift, threshold, kind),
                number,
            )
            return sent
        unity, shape = np.full(1, integers.DECAY_UNITY), self.graph.facts(node.name).shape
        forgets = getattr(node, "current_decay", unity)
        fields = {
            "bias": node.bias << integers.STATE_SHIFT,
            "keep_u": integers.DECAY_UNITY - forgets,
            "keep_v": integers.DECAY_UNITY - getattr(node, "voltage_decay", 0 * unity),
        }
        if what == LIF:
            fields["limit"] = node.threshold << integers.STATE_SHIFT
        laid: dict[str, Any] = {"limit": None, **self._laid(fields, shape)}
        memory, steps = bool(fields["keep_u"].any()), self.graph.steps
        assert what in (LIF, READOUT)
        self._launch(
            parts,
            lambda given: kernels.neuron(_shifted(given, shifts), steps, **laid, memory=memory),
            number,
        )
        return sent

    def _laid(self, fields: dict[str, IntArray], shape: Shape) -> dict[str, Tensor]:
        """Constants of neurons, (positions of a sample,), or (channels,) if that suffices."""
        spread = {
            name: np.broadcast_to(per_neuron(values, shape), shape).reshape(planes(shape))
            for name, values in fields.items()
        }
        everywhere = all((x == x[:, :1, :1]).all() for x in spread.values())
        found = {}
        for name, x in spread.items():
            kept = x[:, :1, :1] if everywhere else x
            last = np.ascontiguousarray(kept.transpose(1, 2, 0), np.int32).reshape(-1)
            found[name] = torch.from_numpy(last).to(self.device)
        return found

    def _connect(self, node: Any) -> list[Part]:
        """Add the launches of a synapse; a shortcut uses its source directly."""
        from neuroport.kernels import triton_network as kernels

        heard = [part for name in node.inputs for part in self._parts[name]]
        if is_carried(node):
            shift = min(31, node.exponent + int(node.weight.flat[0]).bit_length() - 1)
            return [replace(part, shift=shift) for part in heard]
        source = planes(self.graph.facts(node.inputs[0]).shape)
        low, high = sum(part.low for part in heard), sum(part.high for part in heard)
        if len(heard) > 1 and _is_held(low, high):  # add up first, multiply once
            heard = self._few(heard, 1)
        made: list[Part] = []
        for delay, weight in kernels_by_delay(node, source):
            for part in heard:
                if not _is_held(part.low, part.high) or not _is_held(*_extremes(weight)):
                    raise NotFittingError
                said = self._late(part, delay) if delay else part
                even = not (weight & 1).any()
                halved = torch.tensor(weight >> 1 if even else weight)
                weights = kernels.Weights(halved, part.low, part.high, self.device)
                made.append(self._multiplied(node, weights, said, halved, even))
        return made

    def _multiplied(
        self, node: Any, weights: Weights, part: Part, weight: Tensor, even: bool
    ) -> Part:
        """Add the sums of a synapse over one value."""
        from neuroport.kernels import triton_network as kernels

        positive = weight.clamp(min=0).flatten(1).sum(1)
        negative = weight.clamp(max=0).flatten(1).sum(1)
        high = int((positive * max(part.high, 0) + negative * min(part.low, 0)).max())
        low = int((positive * min(part.low, 0) + negative * max(part.high, 0)).min())
        kind = narrowest(low, high)
        one = (1, 1)
        geometry = (
            getattr(node, "stride", one),
            getattr(node, "padding", (0, 0)),
            getattr(node, "dilation", one),
        )
        value = self._launch(
            [part], lambda given: kernels.synapse(given[0], weights, *geometry, kind)
        )
        return Part(value, low, high, node.exponent + even)

    def _late(self, part: Part, delay: int) -> Part:
        """Add a delayed copy of a value: 0 in the first steps of every sample."""
        steps = self.graph.steps

        def run(given: Sequence[Tensor]) -> Tensor:
            by_step = given[0].reshape(steps, -1, *given[0].shape[1:])
            late = torch.zeros_like(by_step)
            if delay < steps:
                late[delay:] = by_step[: steps - delay]
            return late.flatten(0, 1)

        value = self._launch([part], run)
        return Part(value, min(part.low, 0), max(part.high, 0), part.shift)

    def _few(self, parts: list[Part], most: int) -> list[Part]:
        """Add sums of values until there are at most ``most``."""
        from neuroport.kernels import triton_network as kernels

        while len(parts) > most:
            some, parts = parts[: kernels.PARTS], parts[kernels.PARTS :]
            if (found := self._sums.get(tuple(some))) is not None:
                parts = [found, *parts]
                continue
            low = sum(part.low << part.shift for part in some)
            high = sum(part.high << part.shift for part in some)
            try:
                kind = narrowest(low, high)
            except NotFittingError:  # these wrap, and what they add up to does not
                kind = torch.int32
            value = self._launch(some, _summing([part.shift for part in some], kind))
            self._sums[tuple(some)] = total = Part(value, low, high)
            parts = [total, *parts]
        return parts


def _summing(shifts: Sequence[int], kind: torch.dtype) -> Callable[[Sequence[Tensor]], Tensor]:
    from neuroport.kernels import triton_network as kernels

    return lambda given: kernels.relay(_shifted(given, shifts), 0, -1, kind)


def _shifted(given: Sequence[Tensor], shifts: Sequence[int]) -> list[tuple[Tensor, int]]:
    return list(zip(given, shifts, strict=True))


def narrowest(low: int, high: int) -> torch.dtype:
    """Return the first of ``TYPES`` that holds both bounds.

    Raises:
        NotFittingError: none does.
    """
    for kind in TYPES:
        held = torch.iinfo(kind)
        if held.min <= low and high <= held.max:
            return kind
    raise NotFittingError


def _is_held(low: int, high: int) -> bool:
    from neuroport.kernels.triton_network import HELD

    return low >= HELD[0] and high <= HELD[1]


def _extremes(weight: IntArray) -> tuple[int, int]:
    return int(weight.min()), int(weight.max())


def _count(value: Tensor, granularity: str, spikes: bool) -> Tensor:
    """Nonzero messages of (T, N, H, W, C) per sample, (N, counters), int32."""
    from neuroport.kernels import triton_network as kernels

    if granularity == "layer":
        return kernels.count(value)
    ones = value if spikes else value != 0
    if granularity == "channel":
        return ones.sum((0, 2, 3), dtype=torch.int32)
    return ones.sum(0, dtype=torch.int32).permute(0, 3, 1, 2).flatten(1)


class _Recorded:
    """The launches of frames of one shape, in a CUDA graph."""

    def __init__(self, network: GpuNetwork, frames: Tensor, wanted: Wanted) -> None:
        self._frames = frames.to(network.device)
        self._graph = torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
        with torch.cuda.device(network.device), torch.cuda.graph(self._graph):
            self._found = network.evaluate(self._frames, wanted)

    def replay(self, frames: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        self._frames.copy_(frames)
        self._graph.replay()  # type: ignore[no-untyped-call]
        return self._found


@contextmanager
def _compiling(device: torch.device) -> Iterator[None]:
    """Context that says what to do if kernels do not fit a GPU, as one with little shared memory.

    Raises:
        BackendError: Triton compiled no kernel.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("triton."):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackendError(
            f"the kernels of 'fast' do not run on {told(device)} ({said}); NEUROPORT_KERNELS=off "
            "runs it there without them, which is slower"
        ) from error


def whole(graph: Graph, device: torch.device, plain: Plain) -> GpuNetwork | None:
    """Return the graph as launches; None if the kernels cannot run it, or not here.

    Args:
        plain: makes the arithmetic with which the kernels are compared before they are used.
    """
    if device.type != "cuda" or switched_off() or graph.checked or not fits(graph):
        return None
    if not _usable(device, plain):
        return None
    try:
        return GpuNetwork(graph, device)
    except NotFittingError:
        return None


@cache
def _usable(device: torch.device, plain: Plain) -> bool:
    """Whether Triton is available, and a test shows that its kernels add up right on ``device``."""
    try:
        fault = fault_of(device, plain)
    except Exception as error:  # Triton, a compiler, a driver or a header is missing, or too old
        fault = f"{type(error).__name__}: {error}".splitlines()[0]
    if fault:
        warnings.warn(
            f"the engine 'fast' on {device} runs plain torch, which is slower: {fault}",
            stacklevel=2,
        )
    return fault is None


def fault_of(device: torch.device, plain: Plain, side: int = 64) -> str | None:
    """Run a graph with every kernel, and counts, on ``device`` and in ``plain`` on the CPU.

    Large layers are computed in other blocks, and so by other instructions, than small ones: with
    ``side`` 64 there are both.

    Returns:
        What differs, or None.
    """
    graph, samples = every_operation(side), 2
    shape = (graph.steps, samples, *graph.input.shape)
    frames = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    kinds = {node.name: node.kind for node in graph.populations}
    arithmetic = plain(graph, torch.device("cpu"))
    sent = {
        node.name: out.numpy()
        for node, out in evaluate(arithmetic, graph, frames, chip=False)
        if node.name in kinds
    }
    network, names = GpuNetwork(graph, device), tuple(kinds)
    for granularity in GRANULARITIES:
        given = torch.from_numpy(frames).to(device)
        messages, counts = network.evaluate(given, Wanted(names, names, granularity))
        for name, array in sent.items():
            if not np.array_equal(messages[name].cpu().numpy().reshape(array.shape), array):
                return f"a population of kind {kinds[name]!r} differs from the CPU's"
        tallies = [counted(array, granularity).reshape(samples, -1) for array in sent.values()]
        if not np.array_equal(counts.cpu().numpy(), np.concatenate(tallies, 1)):
            return f"counts of every {granularity} differ from the CPU's"
    return None
