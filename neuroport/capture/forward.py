"""What a network's own ``forward`` says: which block feeds which. One reader for every family.

*Read.* The forward pass runs once, in evaluation mode, on signals: tensors of zeros that know their
origin, the sum or concatenation of what blocks sent. Blocks are replaced by a note of their call.
Few operations keep an origin (:data:`ADDITIONS`, :data:`CONCATENATIONS`, :data:`KEPT`,
:data:`RESHAPED`, stacking and summing, dropout that is off); every other one loses it, and so does
a write into memory that a signal shares, by whatever name. A block reads nothing of lost origin;
the host may: counts and rates are collected on the way. Values may not be asked for, since a signal
has none.

*Checked.* Then the same forward runs on plain tensors: twice with values drawn at random in the
place of what blocks send, so that silent neurons hide nothing, and once as it is, on real frames.
Every call and everything that a block receives must be what was read.

(``torch.fx`` does not do: networks of lava-dl call ``item()`` and build tensors of what it gives.)
"""

from __future__ import annotations

import inspect
import linecache
import os
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from neuroport.capture.signals import Current, Value
from neuroport.errors import CaptureError, NeuroportError
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
# what to write for an operation that a block computes, too
INSTEAD = {
    "mul div truediv rmul": "A factor belongs into the weights of the block that reads it",
    "getitem": "x[..., ::s, ::s] is a convolution of 1x1 with stride s",
    "max_pool2d avg_pool2d adaptive_avg_pool2d mean": "Sums of windows are a block's: Pool, or a "
    "convolution with a constant weight",
    "interpolate upsample upsample_nearest2d repeat_interleave": "Nearest upsampling is a block's: "
    "Unpool",
    "zeros_like zeros new_zeros": "Zeros that are added may be left out",
    "sub rsub neg": "Signs belong into the weights of the block that reads it",
}
INPUT = "input"  # the node of the frames
FRAMES = ""  # as no call of a block is named
SAME = "what it does must be the same for all frames"


@dataclass(frozen=True)
class Place:
    """A line of the user's code."""

    file: str
    line: int
    direct: bool = True  # whether what happened is written there, or in what it calls

    def __str__(self) -> str:
        name = self.file
        if not name.startswith("<") and not os.path.relpath(name).startswith(os.pardir):
            name = os.path.relpath(name)
        return f"{name}:{self.line}"

    @property
    def quoted(self) -> str:
        """The line and what stands there."""
        text = linecache.getline(self.file, self.line).strip()
        text = "".join(c for c in text if c.isprintable())
        if len(text) > 70:
            text = text[:67] + "..."
        return f"`{text}` ({self})" if text else str(self)


@dataclass(frozen=True)
class Layout:
    """How a family lays out tensors: (T, N, *shape), or (N, *shape, T) with steps last."""

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


Compute = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, eq=False)
class Origin:
    """What a signal is: in terms of nodes, and how it follows from what blocks send."""

    value: Value | Current
    compute: Compute


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a block: its name (``block.2`` the second time), place, and what it reads."""

    name: str
    module: nn.Module
    place: Place
    read: Origin
    sends: Shape
    counted: bool


class Signal(Tensor):
    """A tensor of zeros that knows its origin, if it has one."""

    origin: Origin | None = None
    stamp = -1  # of its memory when the origin was noted
    stacked: tuple[int, tuple[Origin, ...]] | None = None
    made_by = ""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        reading = _now()
        if reading is None:  # it outlived its reading in an attribute
            return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        if name == "item" and args[0].numel() == 1:
            reading.numbers = True
            return Statistic(1.0)
        if name in ASKED:
            raise _asked(name.strip("_"))
        if name == "__set__" and func not in _HARMLESS:
            args[0].origin = None  # .data = ...
        before = [reading.known(a) for a in _signals(args)] if name in ADDITIONS else []
        with reading.computing(), torch._C.DisableTorchFunctionSubclass():
            result = _signals_of(func(*args, **kwargs))
        try:
            origin = reading.kept(func, name, args, kwargs, before, result)
        except CaptureError as error:
            raise CaptureError(f"{error.message} ({here()})") from None
        # what lost the origin first is named, not what was then done with it
        lost = [s.made_by for s in _signals(args) if s.origin is None and s.made_by]
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, Signal) and not any(each is a for a in args):
                each.made_by = lost[0] if lost else _made_by(name)
        if isinstance(result, Signal) and origin is not None:
            reading.note(result, origin)
        return result


_HARMLESS = (Tensor.requires_grad.__set__, Tensor.grad.__set__)  # type: ignore[attr-defined]
_READINGS: list[_Reading] = []


def _now() -> _Reading | None:
    return _READINGS[-1] if _READINGS else None


class Statistic(float):
    """A number taken from a signal: it may be collected and computed with, not compared."""

    def _refused(self, *_: object) -> Any:
        raise CaptureError(
            f"forward branches on a number taken from a signal (item, {here().quoted}); {SAME}"
        )

    def _computed(self, *_: object) -> Statistic:
        return Statistic(1.0)

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refused
    __int__ = __float__ = __trunc__ = __floor__ = __ceil__ = is_integer = as_integer_ratio = _refused
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _computed
    __rtruediv__ = __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = _computed
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __round__ = _computed
    __hash__ = float.__hash__


class _Reading(TorchDispatchMode):
    """Watches the memory of signals, and who asks for values, while forward is read."""

    def __init__(self, net: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.numbers = False  # whether a Statistic was handed out
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
                    self._writers[memory] = _made_by(func._schema.name.split("::")[-1])
        return found

    @contextmanager
    def computing(self) -> Iterator[None]:
        self._computing += 1
        try:
            yield
        finally:
            self._computing -= 1

    def note(self, signal: Signal, origin: Origin) -> None:
        signal.origin, signal.stamp = origin, self._writes[_memory(signal)]

    def known(self, signal: Any) -> Origin | None:
        """The origin of a signal whose memory nobody has written since."""
        if not isinstance(signal, Signal) or signal.stamp != self._writes[_memory(signal)]:
            return None
        return signal.origin

    def maker(self, signal: Any) -> str:
        """What made a signal of no origin."""
        if not isinstance(signal, Signal):
            return f"a {type(signal).__name__} that no block sent"
        if signal.origin is not None:
            return f"{self._writers.get(_memory(signal), 'a write')} has changed in place"
        return f"{signal.made_by} made"

    def kept(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        before: list[Origin | None],
        result: Any,
    ) -> Origin | None:
        """The origin of what an operation made, if it keeps one. This is the whole list."""
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
        whole = [value for value in values if isinstance(value, Value)]
        if len(whole) < len(values):
            raise CaptureError(
                "forward concatenates currents, and a population has one kind of synapse for all "
                "its channels; give each current its own neurons and concatenate what they send: "
                "the same spikes"
            )
        parts = [origin.compute for origin in each]
        return Origin(
            reduce(Value.beside, whole), lambda sent: torch.cat([p(sent) for p in parts], axis)
        )

    def _stack(self, result: Signal, tensors: Any, dim: int = 0, **others: Any) -> None:
        found = [self.known(t) for t in tensors]
        each = tuple(origin for origin in found if origin is not None)
        if not others and len(each) == len(found):
            result.stacked, result.stamp = (dim % result.ndim, each), self._writes[_memory(result)]

    def _summed(self, stack: Any, dim: Any = None, **others: Any) -> Origin | None:
        """``torch.stack([a, b, c]).sum(0)`` is ``a + b + c``: integers have no order."""
        if others or not isinstance(stack, Signal) or stack.stacked is None:
            return None
        axis, each = stack.stacked
        if not isinstance(dim, int) or dim % stack.ndim != axis:
            return None
        if stack.stamp != self._writes[_memory(stack)]:
            return None
        return reduce(_added, each)

    def _reshaped(self, origin: Origin, source: Signal, result: Signal) -> Origin | None:
        """Rows and columns flattened, samples and steps kept."""
        now, last = tuple(result.shape), self.layout.steps_last
        if now == tuple(source.shape):
            return origin
        value = origin.value
        flat = last and now == (source.shape[0], value.size, source.shape[-1])
        if not flat or isinstance(value, Current):
            return None
        compute = origin.compute
        return Origin(value.flattened(), lambda sent: compute(sent).flatten(1, -2))


def _added(left: Origin, right: Origin) -> Origin:
    if isinstance(left.value, Value) and isinstance(right.value, Value):
        total: Value | Current = left.value + right.value
    elif isinstance(left.value, Current) and isinstance(right.value, Current):
        total = left.value + right.value
    else:
        raise CaptureError("forward adds the current of a synapse to messages; add like to like")
    return Origin(total, lambda sent: left.compute(sent) + right.compute(sent))


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


def _signals(args: tuple[Any, ...]) -> list[Signal]:
    return [a for a in args if isinstance(a, Signal)]


def _signal(tensor: Tensor) -> Signal:
    with torch._C.DisableTorchFunctionSubclass():  # as_subclass fails while operations are watched
        made: Signal = Tensor._make_subclass(Signal, tensor)  # type: ignore[attr-defined]
    return made


def _signals_of(result: Any) -> Any:
    """Whatever was computed of signals as signals."""
    if isinstance(result, Tensor):
        return result if isinstance(result, Signal) else _signal(result)
    if isinstance(result, (tuple, list)) and not isinstance(result, torch.Size):
        each = [_signals_of(one) for one in result]
        return type(result)(each)
    return result


def _memory(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunctionSubclass():
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
    place = here()
    return f"{name.strip('_')!r} in {place.quoted}" if place.direct else place.quoted


def _instead(maker: str) -> str:
    """What computes the same as an operation that keeps no origin, where a block does."""
    found = re.match(r"'(\w+)'", maker)
    for names, way in INSTEAD.items():
        if found and found[1] in names.split():
            return f". {way}"
    return ""


# -- places ------------------------------------------------------------------------------------

_LIBRARIES = {"torch", "lava", "neuroport", *sys.stdlib_module_names} - {"__main__"}


def _is_users(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).split(".")[0] not in _LIBRARIES


def here() -> Place:
    """The innermost line of the user's code that is being run; of a family's where there is none."""
    frame: FrameType | None = sys._getframe(1)
    family: Place | None = None
    direct = True
    while frame is not None and frame.f_code is not _entered.__code__:
        name = str(frame.f_globals.get("__name__", ""))
        if _is_users(frame):
            return Place(frame.f_code.co_filename, frame.f_lineno, direct)
        if name.startswith("neuroport.nets.") and family is None:
            family = Place(frame.f_code.co_filename, frame.f_lineno, direct)
        # a layer of torch or of a library that the line calls
        direct = direct and name.startswith("neuroport.capture")
        frame = frame.f_back
    return family or Place("forward", 0)


def _failed_at(error: BaseException) -> str:
    """The innermost line of the user's code on the way to an error."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if _is_users(trace.tb_frame):
            found = Place(trace.tb_frame.f_code.co_filename, trace.tb_lineno).quoted
        trace = trace.tb_next
    return found


def _defined(net: nn.Module) -> str:
    """Where the forward of a network begins."""
    code = getattr(inspect.unwrap(type(net).forward), "__code__", None)
    return "" if code is None else f" ({Place(code.co_filename, code.co_firstlineno)})"


# -- modules -----------------------------------------------------------------------------------


def unwrapped(net: nn.Module) -> nn.Module:
    """The network in DataParallel, DistributedDataParallel, an average of weights or a compiled one."""
    while True:
        if isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            net = net.module
        elif isinstance(net, torch.optim.swa_utils.AveragedModel):
            net = net.module
        elif _is_compiled(net):
            net = net._orig_mod  # type: ignore[assignment]
        else:
            return net


def _is_compiled(module: nn.Module) -> bool:
    return isinstance(vars(module).get("_modules", {}).get("_orig_mod"), nn.Module)


def refuse_wrappers(net: nn.Module) -> None:
    """Refuse what runs a part of the network in a way of its own.

    Raises:
        CaptureError: naming the part and the way out.
    """
    hooks = torch.nn.modules.module
    if hooks._global_forward_hooks or hooks._global_forward_pre_hooks:
        raise CaptureError(
            "there are forward hooks for all modules (register_module_forward_hook), which may "
            "change what they compute; remove them first (handle.remove())"
        )
    for name, module in net.named_modules():
        if module is not net and unwrapped(module) is not module:
            way = "_orig_mod" if _is_compiled(module) else "module"
            raise CaptureError(
                f"{name!r} is a {type(module).__name__} inside the network; put what it wraps in "
                f"its place (net.{name} = net.{name}.{way})"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(
                f"{name or type(net).__name__!r} is TorchScript, whose calls cannot be followed; "
                "give the Python module that it was made of"
            )


def refuse_hooks(name: str, module: nn.Module, allowed: Callable[[Any], bool] | None = None) -> None:
    """Refuse hooks on a module that the reader does not enter.

    Raises:
        CaptureError: naming the module and the way out.
    """
    before = [h for h in module._forward_pre_hooks.values() if not (allowed and allowed(h))]
    if module._forward_hooks or before:
        raise CaptureError(
            f"{name!r} has forward hooks, which may change what it computes and are no part of the "
            "graph; remove them first (handle.remove())"
        )


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """``net`` in evaluation mode; every module's own mode is given back."""
    before = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def replaced(blocks: Mapping[str, nn.Module], call: Callable[..., Any]) -> Iterator[None]:
    """``call(name, block, *args)`` in the place of each block's own forward."""
    done: list[nn.Module] = []
    try:
        for name, block in blocks.items():
            block.forward = partial(call, name, block)
            done.append(block)
        yield
    finally:
        for block in done:
            del block.forward


class Numbering:
    """Names of calls: the block's, and ``block.2`` the second time."""

    def __init__(self) -> None:
        self._times: dict[str, int] = defaultdict(int)

    def __call__(self, name: str) -> str:
        self._times[name] += 1
        return name if self._times[name] == 1 else f"{name}.{self._times[name]}"


@contextmanager
def called(blocks: Mapping[str, nn.Module], around: Callable[..., Any]) -> Iterator[None]:
    """``around(name of the call, block, own, *args)`` at every call by forward itself.

    ``own`` is the block's own forward, in which calls of parts are no calls.
    """
    number, inside = Numbering(), False

    def own(block: nn.Module, *args: Any) -> Any:
        nonlocal inside
        inside = True
        try:
            return type(block).forward(block, *args)
        finally:
            inside = False

    def call(name: str, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if inside:
            return type(block).forward(block, *args, **kwargs)
        return around(number(name), block, own, *args, **kwargs)

    with replaced(blocks, call):
        yield


@contextmanager
def _plainly(net: nn.Module) -> Iterator[None]:
    """In evaluation mode, without gradients and what compiles or casts."""
    compiled = [m for m in net.modules() if getattr(m, "_compiled_call_impl", None) is not None]
    kept = [m._compiled_call_impl for m in compiled]
    with ExitStack() as stack:
        stack.enter_context(evaluating(net))
        stack.enter_context(torch.no_grad())
        for kind in ("cpu", "cuda"):
            if kind == "cpu" or torch.cuda.is_available():
                stack.enter_context(torch.autocast(kind, enabled=False))
        for module in compiled:
            module._compiled_call_impl = None
        try:
            yield
        finally:
            for module, impl in zip(compiled, kept, strict=True):
                module._compiled_call_impl = impl


def _entered(net: nn.Module, x: Any) -> Any:
    """Where the user's code begins."""
    try:
        return net(x)
    except NeuroportError:
        raise
    except Exception as error:  # forward is the user's code: it may fail in any way
        at = _failed_at(error)
        raise CaptureError(
            f"{type(net).__name__}.forward fails when it is followed, {at or 'before any line'} "
            f"({type(error).__name__}: {error}); it may call blocks, and add and concatenate what "
            "they send"
        ) from error


# -- reading and checking ----------------------------------------------------------------------

Perform = Callable[[str, nn.Module, Any], tuple[Value | Current, bool]]
Given = Callable[[nn.Module, Tensor], Any]


@dataclass
class Forward:
    """A forward pass that was read."""

    net: nn.Module
    blocks: Mapping[str, nn.Module]
    layout: Layout
    frames: Value
    calls: list[Call] = field(default_factory=list)
    returned: list[Origin] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # what made what else it returns

    def check(self, x: Any, given: Given | None = None) -> None:
        """Run forward on ``x`` and compare every call, and what it receives, with what was read.

        ``given`` makes what a block sends of numbers drawn at random; without it the blocks run.

        Raises:
            CaptureError: names the line of the call that differs.
        """
        sent: dict[str, Any] = {FRAMES: _copy(x)}
        rng = torch.Generator().manual_seed(len(self.calls))

        def around(now: str, block: nn.Module, own: Any, *args: Any, **_: Any) -> Any:
            index = len(sent) - 1
            if index >= len(self.calls) or self.calls[index].name != now:
                before = self.calls[index].name if index < len(self.calls) else "nothing more"
                raise CaptureError(
                    f"forward calls {now!r} in {here().quoted} where it called {before!r} with "
                    f"other values; {SAME}"
                )
            one = self.calls[index]
            _compare(one, args[0] if args else None, one.read.compute(sent), given is not None)
            if given is None:
                out = own(block, *args)
                sent[now] = _copy(out[0] if one.counted else out)
                return out
            samples = len(x) if self.layout.steps_last else x.shape[1]
            drawn = given(block, _drawn(rng, self.layout.full(one.sends, samples)))
            sent[now] = _copy(drawn)
            return (drawn, (drawn > 0).float().mean()) if one.counted else drawn

        with _plainly(self.net), called(self.blocks, around):
            _entered(self.net, x)
        if len(sent) <= len(self.calls):
            raise CaptureError(
                f"forward does not call {self.calls[len(sent) - 1].name!r} with other values "
                f"({self.calls[len(sent) - 1].place}); {SAME}"
            )



def read(
    net: nn.Module,
    blocks: Mapping[str, nn.Module],
    frames: Value,
    layout: Layout,
    perform: Perform,
    given: Given = lambda _, drawn: drawn,
) -> Forward:
    """Read ``forward`` and call ``perform(name, block, what it reads)`` at every call of a block.

    ``perform`` gives what the block sends, and whether a log of counts comes with it. What was read
    is checked with numbers drawn at random, of which ``given`` makes what a block sends.

    Raises:
        CaptureError: ``forward`` fails, branches on values, or feeds a block with what is neither
            the frames nor sums and concatenations of what blocks sent; names the line.
    """
    found = Forward(net, blocks, layout, frames)
    number, reading = Numbering(), _Reading(net, layout)

    def signal(name: str, value: Value | Current) -> Signal:
        made = _signal(torch.zeros(layout.full(value.shape), dtype=torch.float32))
        reading.note(made, Origin(value, lambda sent: sent[name]))
        return made

    def call(name: str, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        place = here()
        if kwargs or len(args) != 1:
            raise CaptureError(
                f"block {name!r} is called with {len(args)} arguments"
                f"{' and keywords' * bool(kwargs)} ({place}); give it one, without its name"
            )
        origin = reading.known(args[0])
        if origin is None:
            raise CaptureError(
                f"block {name!r} ({place}) reads what {reading.maker(args[0])}; it may read the "
                "frames, what blocks send, and sums and concatenations of these"
                f"{_instead(reading.maker(args[0]))}"
            )
        own = number(name)
        try:
            sent, counted = perform(own, block, origin.value)
        except CaptureError as error:
            raise CaptureError(f"{error.message} ({place})", error.detail) from error
        found.calls.append(Call(own, block, place, origin, sent.shape, counted))
        made = signal(own, sent)
        return (made, (made > 0).float().mean()) if counted else made

    refuse_wrappers(net)
    dice = _dice()
    _READINGS.append(reading)
    try:
        with _plainly(net), replaced(blocks, call), reading:
            out = _entered(net, signal(FRAMES, frames))
            for one in _leaves(out):
                origin = reading.known(one)
                if origin is not None:
                    found.returned.append(origin)
                else:
                    found.lost.append(reading.maker(one))
    finally:
        _READINGS.pop()
    if _dice() != dice:
        raise CaptureError(
            f"{type(net).__name__}.forward{_defined(net)} draws random numbers in evaluation mode; "
            f"{SAME}: draw only `if self.training`"
        )
    if not found.calls:
        raise CaptureError(f"{type(net).__name__}.forward{_defined(net)} calls no block")
    rng = torch.Generator().manual_seed(0)
    for samples in (1, 2):
        found.check(_drawn(rng, layout.full(frames.shape, samples)), given)
    return found


def _leaves(out: Any) -> Iterator[Tensor]:
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, Mapping):
        for each in out.values():
            yield from _leaves(each)
    elif isinstance(out, (tuple, list)):
        for each in out:
            yield from _leaves(each)


def _dice() -> tuple[Any, ...]:
    state = np.random.get_state()
    return random.getstate(), state[1].tobytes(), state[2]  # type: ignore[index, union-attr]


def _drawn(rng: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Small integers of both signs, few of them 0."""
    return torch.randint(-2, 4, shape, generator=rng, dtype=torch.float32)


def _copy(x: Any) -> Any:
    return x.clone()


def _compare(call: Call, got: Any, want: Any, drawn: bool) -> None:
    if type(got) is type(want) and _equal(got, want):
        return
    on = "values drawn at random" if drawn else "the given frames"
    raise CaptureError(
        f"block {call.name!r} receives something else than {call.read.value.said} in "
        f"{call.place.quoted} (tried with {on}); forward changes it on the way: it may call "
        "blocks, and add and concatenate what they send, without writing into tensors"
    )


def _equal(got: Any, want: Any) -> bool:
    if not isinstance(got, Tensor):
        return bool(got.equals(want))
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    return torch.equal(got, want) or bool(((got == want) | (got.isnan() & want.isnan())).all())
