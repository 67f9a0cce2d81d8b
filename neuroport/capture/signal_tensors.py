"""Signals: tensors of zeros that know their origin, a sum or concatenation of blocks' outputs.

:meth:`Reading.kept` lists the operations that keep an origin; all others remove it.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from neuroport.capture.currents import CurrentSum, MessageSum
from neuroport.capture.source_lines import here
from neuroport.errors import CaptureError
from neuroport.graph.node import Shape
from neuroport.nets.stream import is_off

ADDITIONS = ("add", "__add__", "__radd__", "add_", "__iadd__")
CONCATENATIONS = ("cat", "concat", "concatenate")
KEPT = ("clone", "contiguous", "detach", "float", "to", "cpu")
RESHAPED = ("reshape", "view", "flatten")
ASKED = (
    *("__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__"),
    *("tolist", "numpy", "__array__", "__dlpack__", "equal", "allclose", "is_nonzero"),
    *("storage", "untyped_storage", "_typed_storage"),
)
SIZES = ("size", "numel", "nelement")
SAME = "what it does must be the same for all frames"
# numbers of samples for which a decision about sizes must be the same
COUNTS = (*range(1, 1025), *(1 << power for power in range(11, 40)))


@dataclass(frozen=True)
class AxisOrder:
    """The axis order of a family's tensors: (T, N, *shape), or (N, *shape, T) with steps last."""

    steps: int
    steps_last: bool = False

    def full(self, shape: Shape, samples: int = 1) -> tuple[int, ...]:
        if self.steps_last:
            return (samples, *shape, self.steps)
        return (self.steps, samples, *shape) if len(shape) > 1 else (samples, *shape)

    def inner(self, x: Sequence[int]) -> Shape:
        return tuple(x[1:-1] if self.steps_last else x[2:])

    @property
    def channels(self) -> int:
        return 1 if self.steps_last else 2

    def samples(self, axes: int) -> int:
        """The axis of samples of a tensor with so many axes."""
        return 0 if self.steps_last or axes <= 2 else 1


Compute = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, eq=False)
class Origin:
    """The origin of a signal: its nodes, and how it is computed from the outputs of blocks.

    ``calls`` are the calls whose outputs ``compute`` reads.
    """

    value: MessageSum | CurrentSum
    compute: Compute
    calls: frozenset[str]


class Signal(Tensor):
    """A tensor of zeros that knows its origin, if it has one."""

    origin: Origin | None = None
    stamp = -1  # version of its memory when the origin was recorded
    stacked: tuple[int, tuple[Origin, ...]] | None = None
    made_by = ""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        reading = _now()
        if reading is None:  # an attribute kept it after its reading ended
            return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        if name == "item" and args[0].numel() == 1:
            reading.numbers = True
            return Statistic(1.0)
        if name in ASKED:
            raise _asked(name.strip("_"))
        if name in SIZES or func == Tensor.shape.__get__:  # type: ignore[attr-defined]
            return reading.size(name, *args, **kwargs)
        if name == "__len__" and isinstance(reading.size("size", args[0], 0), SampleCount):
            raise CaptureError(
                f"forward asks for the number of samples by len ({here().quoted}), which gives a "
                "number that cannot be followed; write .shape[0]"
            )
        if name == "__set__" and func not in _HARMLESS:
            args[0].origin = None  # .data = ...
        before = [reading.known(a) for a in _signals(args)] if name in ADDITIONS else []
        lost = next((reading.maker(a) for a in _signals(args) if reading.known(a) is None), "")
        with reading.computing(), _plain():
            result = _signals_of(func(*args, **kwargs))
        try:
            with _plain():  # whose sizes are numbers
                origin = reading.kept(func, name, args, kwargs, before, result)
        except CaptureError as error:
            raise CaptureError(f"{error.message} ({here()})") from None
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, Signal) and not any(each is a for a in args):
                each.made_by = lost or _made_by(name)  # the operation that first removed the origin
        if isinstance(result, Signal) and origin is not None:
            reading.note(result, origin)
        return result


# what a block computes, where an operation loses the origin
INSTEAD = {
    "div truediv": "put factors into weights",
    "sub rsub neg": "put signs into weights",
    "getitem": "x[..., ::s, ::s] is a strided 1x1 convolution",
    "zeros_like zeros new_zeros": "leave out zeros that are added",
}
_PRODUCTS = "matmul rmatmul bmm baddbmm einsum scaled_dot_product_attention mm dot tensordot"
_LAYERS = "linear conv1d conv2d conv3d"
_POOLS = "max_pool2d max_pool3d avg_pool2d avg_pool3d adaptive_avg_pool2d"
_UPSAMPLING = "interpolate upsample repeat_interleave"
INSTEAD_OF_SLAYERS = {  # of what SLAYER has a block for
    _POOLS: "use Pool, or a convolution of constant weights",
    _UPSAMPLING: "use Unpool for nearest upsampling",
    _PRODUCTS: "a product of matrices of two signals has no exact form: weights are constants",
    _LAYERS: "instead of a layer of torch use a block or synapse of SLAYER, such as Dense or Conv",
}
INSTEAD_OF_OURS = {
    _POOLS: "of spikes use MaxPool, SumPool or AvgPool of neuroport.nets.pooling; the maximum of "
    "currents has no exact form: put it behind their neuron",
    _PRODUCTS: "a product of matrices of two signals, as of queries and keys, has no exact form: "
    "a synapse's weights are constants; attention by masks has none, TokenMask and ChannelMask of "
    "neuroport.nets.gates",
    _LAYERS: "instead of a layer of torch use one of neuroport.nets.synapse, Conv, GradedConv or "
    "Readout",
    _UPSAMPLING: "no synapse of a chip's convolutions repeats messages; keep the size of the maps, "
    "or compute on the smaller map",
}
MULTIPLICATIONS = ("mul", "rmul", "imul", "multiply")
_HARMLESS = tuple(vars(torch._C.TensorBase)[name].__set__ for name in ("requires_grad", "grad"))
READINGS: list[Reading] = []


def _now() -> Reading | None:
    return READINGS[-1] if READINGS else None


class Statistic(float):
    """A number computed from a signal; it may be collected and used, but not compared."""

    def _refused(self, *_: object) -> Any:
        raise CaptureError(
            f"forward branches on a number taken from a signal (item, {here().quoted}); {SAME}"
        )

    def _computed(self, *_: object) -> Statistic:
        return Statistic(1.0)

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refused
    __int__ = __float__ = __trunc__ = __floor__ = __ceil__ = is_integer = as_integer_ratio = (
        _refused
    )
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _computed
    __rtruediv__ = __neg__ = __pos__ = __abs__ = __floordiv__ = __rfloordiv__ = _computed
    __mod__ = __rmod__ = _computed
    __pow__ = __rpow__ = __round__ = _computed  # type: ignore[assignment]
    __hash__ = float.__hash__


Method = Callable[..., Any]


def _computing(operation: Method) -> tuple[Method, Method]:
    """Methods that compute another size, and the reflected ones."""

    def made(*given: Any) -> Any:
        if not all(isinstance(each, int) for each in given):
            return NotImplemented
        like = next(each for each in given if isinstance(each, SampleCount))
        return SampleCount(
            lambda samples: operation(*(_value(each, samples) for each in given)),
            like.samples,
            like.followed,
        )

    return made, lambda *given: made(*reversed(given))


def _deciding(operation: Method) -> Method:
    """A method that asks something about sizes."""

    def decide(*given: Any) -> Any:
        if not all(isinstance(each, (int, float)) for each in given):
            return NotImplemented
        same = len(given) == 2 and all(getattr(each, "of", None) is int for each in given)
        like = next(each for each in given if isinstance(each, SampleCount))
        outside = not like.followed()  # an attribute kept it
        counts = COUNTS[:1] if same or outside else COUNTS
        found = {operation(*(_value(each, samples) for each in given)) for samples in counts}
        if len(found) > 1:
            line = here().quoted
            raise CaptureError(f"forward branches on the number of samples ({line}); {SAME}")
        return found.pop()

    return decide


def _value(size: Any, samples: int) -> Any:
    return size.of(samples) if isinstance(size, SampleCount) else size


class SampleCount(int):
    """A size that depends on the number of samples.

    It may be computed with, and asked only what has one answer for all numbers of samples.

    Attributes:
        of: its value for a number of samples.
        samples: those that signals have while forward is followed.
        followed: whether a forward is followed now.
    """

    of: Callable[[int], int]
    samples: int
    followed: Callable[[], bool]

    def __new__(
        cls,
        of: Callable[[int], int] = int,
        samples: int = 1,
        followed: Callable[[], bool] = lambda: _now() is not None,
    ) -> SampleCount:
        made = super().__new__(cls, of(samples))
        made.of, made.samples, made.followed = of, samples, followed
        return made

    def __reduce__(self) -> Any:  # copies of what forward keeps are numbers
        return int, (int(self),)

    __add__, __radd__ = _computing(operator.add)
    __sub__, __rsub__ = _computing(operator.sub)
    __mul__, __rmul__ = _computing(operator.mul)
    __floordiv__, __rfloordiv__ = _computing(operator.floordiv)
    __mod__, __rmod__ = _computing(operator.mod)
    __pow__, __rpow__ = _computing(operator.pow)
    __neg__, __pos__, __abs__ = (_computing(f)[0] for f in (operator.neg, operator.pos, abs))
    __lt__, __le__ = _deciding(operator.lt), _deciding(operator.le)
    __gt__, __ge__ = _deciding(operator.gt), _deciding(operator.ge)
    __eq__, __ne__ = _deciding(operator.eq), _deciding(operator.ne)
    __bool__ = _deciding(bool)
    __hash__ = int.__hash__


class Reading(TorchDispatchMode):
    """Tracks the memory of signals and requests for values while forward is read."""

    def __init__(self, net: nn.Module, layout: AxisOrder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layout = layout
        self.numbers = False  # whether a Statistic was returned
        self.constants = {_memory(t) for t in (*net.parameters(), *net.buffers())}
        self._writes: dict[int, int] = defaultdict(int)
        self._writers: dict[int, str] = {}
        self._computing = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise CaptureError(
                f"forward draws random numbers in evaluation mode ({here().quoted}); {SAME}: draw "
                "only `if self.training`, and give F.dropout training=self.training"
            )
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
            given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
            known = all(_memory(a) in self.constants for a in given)
            if self._computing or (self.numbers and not known):
                raise _asked(func._schema.name.split("::")[-1].strip("_"))
        found = func(*args, **kwargs)
        for index, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            given = args[index] if index < len(args) else kwargs.get(argument.name)
            for tensor in given if isinstance(given, (list, tuple)) else (given,):
                if isinstance(tensor, Tensor):
                    memory = _memory(tensor)
                    self._writes[memory] += 1
                    self._writers[memory] = here().quoted
        return found

    @contextmanager
    def computing(self) -> Iterator[None]:
        self._computing += 1
        try:
            yield
        finally:
            self._computing -= 1

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Context for neuroport's own computations, which are not part of ``forward``."""
        with _disable_current_modes():
            yield

    def note(self, signal: Signal, origin: Origin) -> None:
        signal.origin, signal.stamp = origin, self._writes[_memory(signal)]

    def known(self, signal: Any) -> Origin | None:
        """Return the origin of a signal whose memory has not been written since."""
        if not isinstance(signal, Signal) or signal.stamp != self._writes[_memory(signal)]:
            return None
        return signal.origin

    def size(self, name: str, signal: Signal, dim: int | None = None) -> Any:
        """The sizes of a signal, or one, or their product."""
        with _plain():
            sizes: list[int] = list(signal.shape)
        if signal.origin is not None:
            sizes[self.layout.samples(len(sizes))] = SampleCount()
        if name not in ("numel", "nelement"):
            return torch.Size(sizes) if dim is None else sizes[dim]
        return math.prod(sizes)

    def maker(self, signal: Any) -> str:
        """Describe the operation that made a signal without an origin."""
        if not isinstance(signal, Signal):
            return f"a {type(signal).__name__} that no block sent"
        if signal.origin is not None:
            return f"{self._writers.get(_memory(signal), 'a write')} has changed in place"
        return signal.made_by

    def kept(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        before: list[Origin | None],
        result: Any,
    ) -> Origin | None:
        """Return the origin of an operation's result, if it keeps one. This list is complete."""
        if not isinstance(result, Signal):
            return None
        if name in ADDITIONS:
            return _sum(args, kwargs, before)
        if name in CONCATENATIONS:
            return self._concatenated(*args, **kwargs)
        if name == "stack":
            self._stack(result, *args, **kwargs)
            return None
        if name == "sum":
            return self._summed(*args, **kwargs)
        source = args[0] if args else None
        if not isinstance(source, Signal):
            return None
        origin = self.known(source)
        if origin is None:
            return None
        same = result.dtype == source.dtype and result.device == source.device
        alike = same and result.shape == source.shape
        if name in KEPT or func == Tensor.data.__get__:  # type: ignore[attr-defined]
            return origin if alike else None
        if name in RESHAPED and same:
            return self._reshaped(origin, source, result)
        if "dropout" in name and alike and is_off(func, args, kwargs):
            return origin
        return None

    def _concatenated(self, tensors: Any, dim: int = 0, **others: Any) -> Origin | None:
        if others or not all(isinstance(t, Signal) for t in tensors):
            return None
        found = [self.known(t) for t in tensors]
        each = [origin for origin in found if origin is not None]
        if len(each) < len(found):
            return None
        axis = self.layout.channels
        if dim % tensors[0].ndim != axis:
            return None
        values = [origin.value for origin in each]
        whole = [value for value in values if isinstance(value, MessageSum)]
        if len(whole) < len(values):
            raise CaptureError(
                "forward concatenates currents, and a population has one kind of synapse for all "
                "its channels; give each current its own neurons and concatenate their "
                "spikes, which is equivalent"
            )
        parts = [origin.compute for origin in each]
        return Origin(
            reduce(MessageSum.beside, whole),
            lambda sent: torch.cat([p(sent) for p in parts], axis),
            frozenset().union(*(origin.calls for origin in each)),
        )

    def _stack(self, result: Signal, tensors: Any, dim: int = 0, **others: Any) -> None:
        found = [self.known(t) for t in tensors]
        each = tuple(origin for origin in found if origin is not None)
        if not others and len(each) == len(found):
            result.stacked, result.stamp = (dim % result.ndim, each), self._writes[_memory(result)]

    def _summed(self, stack: Any, dim: Any = None, **others: Any) -> Origin | None:
        """``torch.stack([a, b, c]).sum(0)`` equals ``a + b + c``: the order does not matter."""
        if others or not isinstance(stack, Signal) or stack.stacked is None:
            return None
        axis, each = stack.stacked
        if not isinstance(dim, int) or dim % stack.ndim != axis:
            return None
        if stack.stamp != self._writes[_memory(stack)]:
            return None
        return reduce(_added, each)

    def _reshaped(self, origin: Origin, source: Signal, result: Signal) -> Origin | None:
        """Flatten rows and columns; keep samples and steps."""
        now, last = tuple(result.shape), self.layout.steps_last
        if now == tuple(source.shape):
            return origin
        value = origin.value
        flat = last and now == (source.shape[0], value.size, source.shape[-1])
        if not flat or isinstance(value, CurrentSum):
            return None
        compute = origin.compute
        return Origin(value.flattened(), lambda sent: compute(sent).flatten(1, -2), origin.calls)


def _added(left: Origin, right: Origin) -> Origin:
    if isinstance(left.value, MessageSum) and isinstance(right.value, MessageSum):
        total: MessageSum | CurrentSum = left.value + right.value
    elif isinstance(left.value, CurrentSum) and isinstance(right.value, CurrentSum):
        total = left.value + right.value
    else:
        raise CaptureError("forward adds the current of a synapse to messages; add like to like")
    return Origin(
        total,
        lambda sent: left.compute(sent) + right.compute(sent),
        left.calls | right.calls,
    )


def _sum(
    args: tuple[Any, ...], kwargs: dict[str, Any], before: list[Origin | None]
) -> Origin | None:
    if kwargs.get("alpha", 1) != 1 or set(kwargs) - {"alpha"} or len(args) != 2:
        return None
    if all(isinstance(a, Signal) for a in args):
        left, right = before
        return None if left is None or right is None else _added(left, right)
    (origin,) = before
    number = args[1] if isinstance(args[0], Signal) else args[0]
    if type(number) in (int, float) and number == 0:
        return origin  # sum() of Python begins with 0
    return None


def _signals(args: Iterable[Any]) -> list[Signal]:
    """Return the signals among arguments, and in lists of them."""
    found: list[Signal] = []
    for each in args:
        if isinstance(each, (list, tuple)):
            found += _signals(each)
        elif isinstance(each, Signal):
            found.append(each)
    return found


def _plain() -> Any:
    """Convert signals to plain tensors."""
    return torch._C.DisableTorchFunctionSubclass()  # type: ignore[no-untyped-call]


def new_signal(tensor: Tensor) -> Signal:
    with _plain():  # as_subclass fails while operations are watched
        made: Signal = Tensor._make_subclass(Signal, tensor)
    return made


def _signals_of(result: Any) -> Any:
    """Return a result that was computed from signals, as signals."""
    if isinstance(result, Tensor):
        return result if isinstance(result, Signal) else new_signal(result)
    if isinstance(result, (tuple, list)) and not isinstance(result, torch.Size):
        each = [_signals_of(one) for one in result]
        return type(result)(each)
    return result


def _memory(tensor: Tensor) -> int:
    with _plain():
        try:
            return int(tensor.untyped_storage()._cdata)
        except (NotImplementedError, RuntimeError):  # sparse, meta and the like have none
            return id(tensor)


def _asked(what: str) -> CaptureError:
    return CaptureError(
        f"forward asks for the values of a signal ({what}, {here().quoted}); it may not branch on "
        f"them: {SAME}"
    )


def _made_by(name: str) -> str:
    """Describe an operation whose result has no origin: its name, its place, and a replacement."""
    place, name = here(), name.strip("_")
    made = f"{name!r} in {place.quoted}" if place.direct else place.quoted
    reading = _now()
    slayer = reading is not None and reading.layout.steps_last
    if name in MULTIPLICATIONS:
        why = f"{made} made: it multiplies, and a dendrite sums; "
        gates = "add spikes instead" if slayer else "of spikes use Gate of neuroport.nets.gates"
        return f"{why}{gates}, and put factors into weights"
    ways = {**INSTEAD, **(INSTEAD_OF_SLAYERS if slayer else INSTEAD_OF_OURS)}
    way = next((f" ({way})" for names, way in ways.items() if name in names.split()), "")
    return f"{made} made{way}"
