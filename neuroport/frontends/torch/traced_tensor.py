"""Tensors without numbers that know their node in the network.

A library's forward pass runs on them. :mod:`.tracer` defines the results of torch's functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

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


class Traced(Tensor):
    """A tensor without memory that knows its origin, if it has one."""

    origin: Origin | None
    made_by: str
    of: frozenset[str]  # nodes from which it is computed
    host: bool  # whether the host may compute it
    computed: str  # the first thing that the host decides, such as a maximum over steps

    @staticmethod
    def __new__(cls, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Traced:
        made: Traced = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, tuple(shape), dtype=dtype, device="cpu"
        )
        made.origin, made.made_by, made.of, made.host = None, "", frozenset(), True
        made.computed = ""
        return made

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", str(func))
        if name in _ASIDE or (name == "__get__" and func not in MADE_BY_GET):
            with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
                return func(*args, **(kwargs or {}))
        if not TRACERS:  # an attribute kept it after its tracing ended
            raise CaptureError(
                "a tensor of an earlier capture is used; states that the network keeps must be "
                "reset where forward begins"
            )
        return TRACERS[-1].call(name.strip("_") or name, func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise CaptureError(f"forward asks for the values of a signal ({func}, {here().quoted})")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Traced({tuple(self.shape)}, {self.origin})"


class Calls(Protocol):
    """The handlers that compute the result of a function of torch."""

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...


TRACERS: list[Calls] = []  # the last one follows
_ASIDE = {
    *(
        "size",
        "dim",
        "numel",
        "nelement",
        "stride",
        "is_floating_point",
        "is_complex",
        "ndimension",
    ),
    *(
        "is_contiguous",
        "__len__",
        "requires_grad_",
        "__set__",
        "__delete__",
        "__hash__",
        "get_device",
    ),
    *("__repr__", "is_signed", "element_size", "is_same_size", "retain_grad", "register_hook"),
}
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
