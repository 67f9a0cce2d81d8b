"""Tensors without numbers that know their node in the network.

A library's forward pass runs on them. :mod:`.tracer` defines the results of torch's functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from neuroport.capture.signal_tensors import SampleCount
from neuroport.capture.source_lines import here
from neuroport.errors import CaptureError

SAMPLES = 2  # samples of a tensor while forward is followed
HOST = "what is left is a number of the host"
PRODUCT = (
    "of two signals a product of matrices has no exact form, since weights are constants; "
    "attention by masks, products of single spikes, has one"
)

# layouts of a tensor: steps and samples as leading axes, flattened, or a single step
WHOLE, BATCH_FIRST, FLAT, STEP, STATIC, ONE = "TN", "NT", "flat", "step", "static", "1N"
LEAD = {WHOLE: 2, BATCH_FIRST: 2, FLAT: 1, STEP: 1, STATIC: 1, ONE: 2}


@dataclass(frozen=True)
class Origin:
    """The origin of a tensor: a node's values, and their layout.

    Attributes:
        lies: ``TN``, ``NT``, ``flat`` (T*N), ``step``, ``static`` (equal at all steps) or ``1N``.
        step: number of the step, for a single step.
        mean: whether it is averaged over the steps.
        seen: the added steps, for a sum over steps.
        scaled: whether the host multiplied that sum by a positive number, which changes no class.
        state: a neuron's state, which may be passed back to it: ``mem``, ``syn`` or ``spk``.
    """

    node: str
    lies: str
    step: int | None = None
    mean: bool = False
    seen: frozenset[int] | None = None
    scaled: bool = False
    state: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is the node's output, not a state or a sum."""
        return not self.state and self.seen is None


class Memory:
    """What a tensor shares with its views."""

    writes = 0  # how often one of them was changed in place
    writer = ""  # the line that did so last


class Traced(Tensor):
    """A tensor without numbers that knows its origin, if it has one.

    It loses its origin where another tensor with the same memory is changed in place.
    """

    of: frozenset[str]  # nodes from which it is computed
    computed: str  # the first thing that the host decides, such as a maximum over steps
    memory: Memory
    _stamp: int  # writes to its memory when its origin was noted
    _noted: tuple[Origin | None, str, bool]

    @staticmethod
    def __new__(cls, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Traced:
        made: Traced = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, tuple(shape), dtype=dtype, device="cpu"
        )
        made.memory = Memory()
        made.note(None, "", frozenset())
        made.computed = ""
        return made

    def note(
        self, origin: Origin | None, made_by: str, of: frozenset[str], host: bool = True
    ) -> None:
        """Set what it holds from now on.

        Args:
            made_by: the operation that lost the origin.
            host: whether the host may compute it.
        """
        self._noted, self._stamp, self.of = (origin, made_by, host), self.memory.writes, of

    @property
    def changed(self) -> bool:
        """Whether a view of it, or what it is a view of, was changed in place."""
        return self._stamp != self.memory.writes

    @property
    def origin(self) -> Origin | None:
        return None if self.changed else self._noted[0]

    @property
    def made_by(self) -> str:
        if not self.changed:
            return self._noted[1]
        return f"{self.memory.writer} changed in place, through another tensor with its memory"

    @property
    def host(self) -> bool:
        return self._noted[2] and not self.changed

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with refusals_noted():
            return _answer(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        with refusals_noted():
            raise CaptureError(f"forward asks for the values of a signal ({func}, {here().quoted})")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Traced({tuple(self.shape)}, {self.origin})"


def _answer(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a function of torch on signals."""
    name = getattr(func, "__name__", str(func))
    if name in _SIZES or func == _SHAPE:
        with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
            return _sized(args[0], name, func(*args, **kwargs), *args[1:], **kwargs)
    if func in _REPLACES:
        raise CaptureError(
            f"forward replaces what a tensor holds ({here().quoted}); give what it computes "
            "another name"
        )
    if name in _ASIDE or (name == "__get__" and func not in MADE_BY_GET):
        with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
            return func(*args, **kwargs)
    if not TRACERS:  # an attribute kept it after its tracing ended
        raise CaptureError(
            "a tensor of an earlier capture is used; states that the network keeps must be "
            "reset where forward begins"
        )
    return TRACERS[-1].call(name.strip("_") or name, func, args, kwargs)


@contextmanager
def refusals_noted() -> Iterator[None]:
    """Context that keeps an error of the capture, which forward itself may catch."""
    try:
        yield
    except CaptureError as error:
        if TRACERS:
            TRACERS[-1].refused = TRACERS[-1].refused or error
        raise


def _sized(signal: Traced, name: str, plain: Any, dim: int | None = None) -> Any:
    """The sizes of a signal, one, or their product, where forward asks: of samples, a SampleCount.

    ``len`` gives a number; what forward does with it is tried with other numbers of samples.
    """
    origin = signal.origin
    if origin is None or not TRACERS or TRACERS[-1].inside:
        return plain
    found: list[int] = list(signal.shape)
    axis = 1 if origin.lies in (WHOLE, ONE) else 0
    steps = found[axis] // SAMPLES  # more than one where steps and samples are one axis
    of = int if steps == 1 else lambda samples: steps * samples
    found[axis] = SampleCount(of, SAMPLES, lambda: bool(TRACERS))
    TRACERS[-1].counted = True
    if name == "__len__":
        return plain
    if name in ("numel", "nelement"):
        return math.prod(found)
    return torch.Size(found) if dim is None else found[dim]


class Calls(Protocol):
    """The handlers that compute the result of a function of torch."""

    inside: int  # more than 0 while it computes one
    refused: CaptureError | None  # the first error
    counted: bool  # whether forward has asked for a number of samples

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...


TRACERS: list[Calls] = []  # the last one follows
_SIZES = ("size", "numel", "nelement", "__len__")
_SHAPE = vars(torch._C.TensorBase)["shape"].__get__
_ASIDE = {
    *(
        "dim",
        "stride",
        "is_floating_point",
        "is_complex",
        "ndimension",
    ),
    *(
        "is_contiguous",
        "requires_grad_",
        "__set__",
        "__delete__",
        "__hash__",
        "get_device",
    ),
    *("__repr__", "is_signed", "element_size", "is_same_size", "retain_grad", "register_hook"),
}
_REPLACES = tuple(vars(torch._C.TensorBase)[name].__set__ for name in ("data", "real", "imag"))
MADE_BY_GET = tuple(
    vars(torch._C.TensorBase)[name].__get__ for name in ("T", "mT", "data", "H", "mH", "real")
)


class Lost(Exception):  # noqa: N818 - no fault, but an answer
    """An operation that has no node; the message says why."""


def signals_in(value: Any) -> list[Traced]:
    if isinstance(value, Traced):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [found for each in value for found in signals_in(each)]
    return []
