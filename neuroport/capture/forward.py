"""Follow a network's own ``forward`` to find the connections between blocks, for every family.

*Read.* The forward pass runs once, in evaluation mode, on signals: tensors of zeros that know their
origin, a sum or concatenation of blocks' outputs. Blocks are not run; their calls are recorded. Few
operations keep an origin (:data:`ADDITIONS`, :data:`CONCATENATIONS`, :data:`KEPT`,
:data:`RESHAPED`, stacking and summing, disabled dropout). Every other operation removes it, and so
does a write into memory that a signal shares, under any name. No block may read a signal without
origin; the host may, because counts and rates are collected on the way. Asking for values is an
error, because a signal has none.

*Check.* Then the same forward runs on plain tensors: with random values as the outputs of blocks,
so that the check does not depend on which neurons fire, once for each number of samples in
:data:`SAMPLES`, and once unchanged, on real frames. Every call and every input of a block must
match the recorded ones.

*Samples.* A signal has one sample, and what is recorded must hold for any number of them. Sizes
that depend on it are :class:`~neuroport.capture.signal_tensors.SampleCount`, and forward may not
decide on them; the check finds what is asked of tensors that are no signals.

(``torch.fx`` does not suffice: networks of lava-dl call ``item()`` and build tensors from it.)
"""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.capture.currents import CurrentSum, MessageSum
from neuroport.capture.held_state import HeldState
from neuroport.capture.signal_tensors import (
    READINGS,
    SAME,
    AxisOrder,
    Origin,
    Reading,
    Signal,
    new_signal,
)
from neuroport.capture.source_lines import SourceLine, defined, enter, function_place, here
from neuroport.errors import CaptureError
from neuroport.graph.node import Shape

INPUT = "input"  # the node of the frames
SAMPLES = (1, 2, 3, 5)  # numbers of samples that forward is checked on
CALLED = ("forward", "__call__", "_call_impl")  # what a call of a module runs
FRAMES = ""  # as no call of a block is named
WRAPPERS = (
    nn.DataParallel,
    nn.parallel.DistributedDataParallel,
    torch.optim.swa_utils.AveragedModel,
)


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a block: its name (``block.2`` the second time), place, and what it reads."""

    name: str
    module: nn.Module
    place: SourceLine
    read: Origin
    sends: Shape
    counted: bool


# -- modules -----------------------------------------------------------------------------------


def unwrapped(net: nn.Module) -> nn.Module:
    """Unwrap DataParallel, DistributedDataParallel, AveragedModel and ``torch.compile``."""
    while True:
        if isinstance(net, WRAPPERS):
            net = net.module
        elif _is_compiled(net):
            net = net._orig_mod
        else:
            return net


def _is_compiled(module: nn.Module) -> bool:
    return isinstance(vars(module).get("_modules", {}).get("_orig_mod"), nn.Module)


def refuse_wrappers(net: nn.Module) -> None:
    """Refuse wrappers that run a part of the network in a way of their own.

    Raises:
        CaptureError: names the part and an alternative.
    """
    hooks = torch.nn.modules.module
    every = [*hooks._global_forward_hooks.values(), *hooks._global_forward_pre_hooks.values()]
    if every:
        raise CaptureError(
            f"there are forward hooks for all modules ({function_place(every[0])}), which may "
            "change what they compute; remove them first (handle.remove())"
        )
    for name, module in net.named_modules():
        if module is not net and unwrapped(module) is not module:
            way = "_orig_mod" if _is_compiled(module) else "module"
            raise CaptureError(
                f"{name!r} is a {type(module).__name__} inside the network{defined(net)}; put what "
                f"it wraps in its place (net.{name} = net.{name}.{way})"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(
                f"{name or type(net).__name__!r} is TorchScript, whose calls cannot be followed; "
                "give the Python module that it was made of"
            )


def refuse_hooks(
    name: str, module: nn.Module, allowed: Callable[[Any], bool] | None = None
) -> None:
    """Refuse hooks on a module that the reader does not enter.

    Raises:
        CaptureError: names the module and what to do.
    """
    found = [h for h in module._forward_pre_hooks.values() if not (allowed and allowed(h))]
    found += module._forward_hooks.values()
    if found:
        raise CaptureError(
            f"{name!r} has forward hooks ({function_place(found[0])}), which may change what it "
            "computes and are no part of the graph; remove them first (handle.remove())"
        )


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Context with ``net`` in evaluation mode; every module's own mode is restored."""
    before = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def replaced(blocks: Mapping[str, nn.Module], call: Callable[..., Any]) -> Iterator[None]:
    """Context that replaces each block's own forward by ``call(name, block, *args)``."""
    done: list[nn.Module] = []
    try:
        for name, block in blocks.items():
            block.forward = partial(call, name, block)
            done.append(block)
        yield
    finally:
        for block in done:
            vars(block).pop("forward", None)  # a forward may have removed it


class Numbering:
    """Names of calls: the block's name, and ``block.2`` for the second call."""

    def __init__(self) -> None:
        self._times: dict[str, int] = defaultdict(int)

    def __call__(self, name: str) -> str:
        self._times[name] += 1
        return name if self._times[name] == 1 else f"{name}.{self._times[name]}"


def _refuse_direct(name: str) -> None:
    """Refuse a call of a block's forward that is no call of the block.

    To be called by what replaces the forward.

    Raises:
        CaptureError: names the block and the line.
    """
    if sys._getframe(2).f_globals is not vars(nn.modules.module):  # where torch's __call__ is
        raise CaptureError(
            f"block {name!r} is called by .forward in {here().quoted}, where its hooks do not run: "
            "weights that hooks compute stay old, and what measures or records calls misses it; "
            "leave .forward out, and call the block itself"
        )


def unheard(name: str) -> CaptureError:
    """The error of a recording that misses a call."""
    return CaptureError(
        f"forward does not call {name!r} in this run, and it did when it was read; {SAME}, for any "
        "number of them, and in real numbers as in integers"
    )


@contextmanager
def called(blocks: Mapping[str, nn.Module], around: Callable[..., Any]) -> Iterator[None]:
    """Context that calls ``around(name of the call, block, own, *args)`` for calls by forward.

    ``own`` is the block's own forward; calls of parts inside it are not counted.
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
        _refuse_direct(name)
        return around(number(name), block, own, *args, **kwargs)

    with replaced(blocks, call):
        yield


@contextmanager
def _plainly(net: nn.Module) -> Iterator[None]:
    """Context of evaluation mode without gradients, compilation and autocast."""
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


def _takes_frames_alone(net: nn.Module) -> None:
    try:
        asked = inspect.signature(net.forward).parameters.values()
    except (ValueError, TypeError):
        return
    needed = [p.name for p in asked if p.default is p.empty and p.kind not in (2, 4)]  # * and **
    if len(needed) > 1:
        raise CaptureError(
            f"{type(net).__name__}.forward{defined(net)} takes {', '.join(map(repr, needed[1:]))} "
            "besides the frames; it must take the frames alone"
        )


# -- reading and checking ----------------------------------------------------------------------

Perform = Callable[[str, nn.Module, Any], tuple[MessageSum | CurrentSum, bool]]
Given = Callable[[nn.Module, Tensor], Any]


class Draws:
    """Small integers of both signs, few of them 0: parts of one line of them, which is repeated."""

    LENGTH = 65521  # a prime, so that no axis has its period

    def __init__(self, seed: int) -> None:
        self._rng = torch.Generator().manual_seed(seed)
        self._line = torch.randint(-2, 4, (self.LENGTH,), generator=self._rng).float()

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        start = int(torch.randint(self.LENGTH, (), generator=self._rng))
        count = math.prod(shape)
        turned = self._line.roll(start)
        return turned.repeat(-(-count // self.LENGTH))[:count].reshape(shape)


@dataclass
class Forward:
    """The record of a forward pass."""

    net: nn.Module
    blocks: Mapping[str, nn.Module]
    layout: AxisOrder
    frames: MessageSum
    calls: list[Call] = field(default_factory=list)
    returned: list[Origin] = field(default_factory=list)
    lost: list[str] = field(
        default_factory=list
    )  # the operations that made its other return values

    def check(self, x: Any, given: Given | None = None) -> None:
        """Run forward on ``x`` and compare every call and its inputs with the record.

        ``given`` turns random numbers into a block's output; without it the blocks run.

        Raises:
            CaptureError: names the line of the call that differs.
        """
        samples = len(x) if self.layout.steps_last else x.shape[1]
        # what blocks sent, up to the last call that reads it: all of it may be larger than the net
        sent = _Sent()
        sent[FRAMES] = x
        last = {name: index for index, one in enumerate(self.calls) for name in one.read.calls}
        draws = Draws(len(self.calls))
        done = 0

        def keep(name: str, out: Any) -> None:
            nonlocal done
            for read in self.calls[done].read.calls:
                if last[read] == done:
                    del sent[read]
            if name in last:
                sent[name] = out
            done += 1

        def around(now: str, block: nn.Module, own: Any, *args: Any, **_: Any) -> Any:
            index = done
            if index >= len(self.calls) or self.calls[index].name != now:
                before = self.calls[index].name if index < len(self.calls) else "nothing more"
                raise CaptureError(
                    f"forward calls {now!r} in {here().quoted} where it called {before!r} with "
                    f"other values (tried with {_samples(samples)}); {SAME}"
                )
            one = self.calls[index]
            _compare(one, args[0] if args else None, one.read.compute(sent), given is not None)
            if given is None:
                out = performed(block, own, *args)
                keep(now, out[0] if one.counted else out)
                return out
            drawn = given(block, draws(self.layout.full(one.sends, samples)))
            keep(now, drawn)
            return (drawn, (drawn > 0).float().mean()) if one.counted else drawn

        with _plainly(self.net), called(self.blocks, around):
            enter(self.net, x)
        if done < len(self.calls):
            raise CaptureError(
                f"forward does not call {self.calls[done].name!r} with other values "
                f"({self.calls[done].place}, tried with {_samples(samples)}); {SAME}"
            )


def read(
    net: nn.Module,
    blocks: Mapping[str, nn.Module],
    frames: MessageSum,
    layout: AxisOrder,
    perform: Perform,
    given: Given | None = lambda _, drawn: drawn,
) -> Forward:
    """Read ``forward`` and call ``perform(name, block, inputs)`` at every call of a block.

    ``perform`` returns the block's output, and whether a log of counts comes with it. The record is
    checked with random numbers, which ``given`` turns into a block's output (None: no check).

    Raises:
        CaptureError: ``forward`` fails, branches on values, or a block reads something other than
            the frames or sums and concatenations of blocks' outputs; the error names the line.
    """
    found = Forward(net, blocks, layout, frames)
    number, reading = Numbering(), Reading(net, layout)

    def signal(name: str, value: MessageSum | CurrentSum) -> Signal:
        made = new_signal(torch.zeros(layout.full(value.shape), dtype=torch.float32))
        reading.note(made, Origin(value, lambda sent: sent[name], frozenset({name})))
        return made

    def call(name: str, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        _refuse_direct(name)
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
            )
        if held is not None:
            with reading.aside():
                held.compare([block, *_synapses(origin)])
        own = number(name)
        try:
            with reading.aside():  # values read from a block's own numbers are not part of forward
                sent, counted = perform(own, block, origin.value)
        except CaptureError as error:
            raise CaptureError(f"{error.message} ({place})", error.detail) from error
        found.calls.append(Call(own, block, place, origin, sent.shape, counted))
        made = signal(own, sent)
        return (made, (made > 0).float().mean()) if counted else made

    refuse_wrappers(net)
    _takes_frames_alone(net)
    dice = _dice()
    READINGS.append(reading)
    try:
        with _plainly(net), replaced(blocks, call), reading:
            with reading.aside():
                held = HeldState(blocks) if given is not None else None
            out = enter(net, signal(FRAMES, frames))
            for one in _leaves(out):
                origin = reading.known(one)
                if origin is not None:
                    found.returned.append(origin)
                else:
                    found.lost.append(reading.maker(one))
    finally:
        READINGS.pop()
    if _dice() != dice:
        raise CaptureError(
            f"{type(net).__name__}.forward{defined(net)} draws random numbers in evaluation mode; "
            f"{SAME}: draw only `if self.training`"
        )
    if not found.calls:
        raise CaptureError(f"{type(net).__name__}.forward{defined(net)} calls no block")
    for samples in SAMPLES if given is not None else ():
        found.check(Draws(0)(layout.full(frames.shape, samples)), given)
    if held is not None:
        with _plainly(net):
            held.compare()
    return found


def _synapses(origin: Origin) -> list[nn.Module]:
    """The synapses of a current: their weights become those of a graph where neurons read it."""
    value = origin.value
    return [synapse for _, synapse, _ in value.parts] if isinstance(value, CurrentSum) else []


def performed(block: nn.Module, own: Any, *args: Any) -> Any:
    """Run a block with ``count_log`` off: SLAYER takes a mean of booleans, which torch refuses."""
    if not getattr(block, "count_log", False):
        return own(block, *args)
    counting: Any = block
    counting.count_log = False
    try:
        out = own(block, *args)
    finally:
        counting.count_log = True
    return out, (out > 0).float().mean()


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
    return random.getstate(), state[1].tobytes(), state[2]  # type: ignore[index]


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


class _Sent(dict[str, Any]):
    """What blocks sent, as it was then; whole numbers below 128 take one byte each."""

    def __setitem__(self, name: str, value: Any) -> None:
        narrow = _narrow(_tensor(value))
        copied = value.clone() if narrow is None else _with(value, narrow)
        super().__setitem__(name, (copied, _tensor(value).dtype))

    def __getitem__(self, name: str) -> Any:
        copied, kind = super().__getitem__(name)
        return _with(copied, _tensor(copied).to(kind, copy=True))


def _tensor(x: Any) -> Tensor:
    """The values of a tensor or stream."""
    found: Tensor = x if isinstance(x, Tensor) else x.value
    return found


def _with(x: Any, values: Tensor) -> Any:
    """The same with other values."""
    return values if isinstance(x, Tensor) else replace(x, value=values)


def _narrow(x: Tensor) -> Tensor | None:
    """The same whole numbers in a byte each; None if they are others."""
    found = x.to(torch.int8, copy=True)
    return found if bool((found == x).all()) else None


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
