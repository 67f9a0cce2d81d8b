"""Tensors without numbers that know what they are of the network; operations make nodes of them.

A forward pass of a library runs on such tensors. What an operation makes of them is a node of
:class:`~neuroport.frontends.torch.building.Building` where it has one, and *lost* else: it may be
returned and computed with, but nothing that a neuron reads may follow from it. That what was read
is what the network computes is checked with numbers afterwards (:mod:`.checking`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroport.capture.source_lines import here
from neuroport.errors import CaptureError
from neuroport.frontends.nir.reading import Array, Shape
from neuroport.frontends.torch.building import LARGEST, Building, window
from neuroport.nets.stream import is_off

SAMPLES = 2  # of a tensor while forward is followed
HOST = "what is left is a number of the host"

# how a tensor lies: steps and samples in front, one after the other, or one step alone
WHOLE, BATCH_FIRST, FLAT, STEP, STATIC, ONE = "TN", "NT", "flat", "step", "static", "1N"
LEAD = {WHOLE: 2, BATCH_FIRST: 2, FLAT: 1, STEP: 1, STATIC: 1, ONE: 2}


@dataclass(frozen=True)
class Origin:
    """What a tensor is: the values of a node, and how they lie.

    Attributes:
        lies: ``TN``, ``NT``, ``flat`` (T*N), ``step``, ``static`` (equal at all steps) or ``1N``.
        step: of one step alone.
        mean: averaged over the steps.
        seen: steps that are added up, of a sum over steps.
        state: a neuron's state, which may be given back to it: ``mem``, ``syn`` or ``spk``.
    """

    node: str
    lies: str
    step: int | None = None
    mean: bool = False
    seen: frozenset[int] | None = None
    state: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is what the node sends, and not a state or a sum of it."""
        return not self.state and self.seen is None


class Traced(Tensor):
    """A tensor without memory that knows its origin, if it has one."""

    origin: Origin | None
    made_by: str
    of: frozenset[str]  # nodes that it follows from
    host: bool  # whether the host may compute what led to it

    @staticmethod
    def __new__(cls, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Traced:
        made: Traced = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, tuple(shape), dtype=dtype, device="cpu"
        )
        made.origin, made.made_by, made.of, made.host = None, "", frozenset(), True
        return made

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", str(func))
        if name in _ASIDE or (name == "__get__" and func not in _MADE_BY_GET):
            with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
                return func(*args, **(kwargs or {}))
        if not TRACERS:  # it outlived its tracing in an attribute
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


TRACERS: list[Tracer] = []
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
_MADE_BY_GET = tuple(
    vars(torch._C.TensorBase)[name].__get__ for name in ("T", "mT", "data", "H", "mH", "real")
)
_ASKED = {
    *("item", "tolist", "numpy", "bool", "int", "float", "index", "contains", "array", "equal"),
    *("allclose", "is_nonzero", "nonzero", "unique", "complex"),
}
SAME = {
    *("clone", "contiguous", "detach", "float", "to", "cpu", "type_as", "double", "detach_"),
    *("alias", "positive", "bfloat16", "half"),
}
WHOLE_NUMBERS = {"bool", "int", "long", "byte"}


class Lost(Exception):  # noqa: N818 - no fault, but an answer
    """An operation that has no node; the message says why."""


class Tracer:
    """Follows one forward pass.

    Args:
        building: where nodes go.
        steps: T of the frames.
        named: the innermost module that runs, for names.
        static: the frames are equal at all steps.
    """

    def __init__(
        self, building: Building, steps: int, named: Callable[[], str], static: bool = False
    ) -> None:
        self.building, self.steps, self.named, self.static = building, steps, named, static
        self._arrays: dict[int, tuple[Tensor, int, Array]] = {}

    # -- tensors -------------------------------------------------------------------------------

    def tensor(self, origin: Origin, dtype: torch.dtype = torch.float32) -> Traced:
        """A tensor that is the values of a node."""
        lead = {
            WHOLE: (self.steps, SAMPLES),
            BATCH_FIRST: (SAMPLES, self.steps),
            FLAT: (self.steps * SAMPLES,),
            STEP: (SAMPLES,),
            STATIC: (SAMPLES,),
            ONE: (1, SAMPLES),
        }[origin.lies]
        made = Traced((*lead, *self.building.shape(origin.node)), dtype)
        made.origin, made.of = origin, frozenset((origin.node,))
        return made

    def array(self, value: Any) -> Array:
        """The numbers of a tensor that is no signal; those of parameters are kept."""
        if not isinstance(value, Tensor):
            return np.asarray(value, np.float64)
        found = self._arrays.get(id(value))
        if found is None or found[0] is not value or found[1] != value._version:
            numbers = value.detach().cpu().double().numpy()
            found = value, value._version, numbers
            self._arrays[id(value)] = found
        return found[2]

    # -- operations ----------------------------------------------------------------------------

    def call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a function of torch gives, and its node."""
        converts = func in (Tensor.float, Tensor.bool, Tensor.int)
        if name in _ASKED and not converts:
            raise CaptureError(
                f"forward asks for the values of a signal ({name}, {here().quoted}); what it "
                "does must be the same for all frames"
            )
        if name == "setitem":
            raise CaptureError(
                f"forward writes into a tensor ({here().quoted}); collect what neurons send in a "
                "list, and torch.stack it"
            )
        if name == "get":
            name = "T" if func in _MADE_BY_GET[:2] else "detach"
        why = ""
        try:
            made = self._made(name, func, args, kwargs)
            if made is not None:
                return made
        except Lost as error:
            why = str(error)
        return self._lost(name, func, args, kwargs, why)

    def _lost(
        self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], why: str
    ) -> Any:
        place = here().quoted
        inputs = _signals((args, kwargs))
        before = next((each.made_by for each in inputs if each.origin is None and each.made_by), "")
        said = before or f"{name!r} in {place} made" + (f" ({why})" if why else "")
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
                made.made_by, made.of, made.host = said, of, host
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
        if name.endswith("_") and isinstance(args[0], Traced) and isinstance(found, Traced):
            args[0].origin, args[0].made_by, args[0].of, args[0].host = None, said, of, host
            return args[0]
        return found

    def _made(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inplace = func.__name__.endswith("_") and not func.__name__.endswith("__")
        inplace = inplace or (func.__name__.startswith("__i") and name in _INPLACE)
        base = _INPLACE.get(name, name)
        rule = RULES.get(base)
        if rule is None:
            if base in SAME:
                rule = Tracer.same
            elif base in WHOLE_NUMBERS:
                rule = Tracer.whole_numbers
            elif "dropout" in base:
                if not is_off(func, args, kwargs):
                    raise Lost("it drops at random, in evaluation too")
                return args[0]
            elif base in LINEAR:
                rule = Tracer.linear_by_matrix
            else:
                raise Lost(WAYS.get(base, ""))
        made = rule(self, func, base, args, kwargs)
        if inplace and isinstance(made, Traced) and isinstance(args[0], Traced):
            args[0].origin, args[0].made_by, args[0].of = made.origin, made.made_by, made.of
            return args[0]
        return made

    def known(self, value: Any) -> Origin:
        """The origin of a signal that sends messages or currents."""
        if not isinstance(value, Traced):
            raise Lost("")
        if value.origin is None:
            raise Lost("")
        if not value.origin.plain:
            raise Lost("it is a state, or a sum over steps")
        return value.origin

    def like(self, origin: Origin, node: str) -> Traced:
        return self.tensor(replace(origin, node=node))

    def named_as(self, base: str) -> str:
        """The name of a node of an operation: its module's, or with the operation's."""
        module = self.named()
        if base in ("conv2d", "conv1d", "linear", "batch_norm") and module:
            return module
        return f"{module}.{base}" if module else base

    # rules: each gives a tensor, or raises Lost

    def same(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = args[0]
        if given.origin is None:
            raise Lost("")
        kinds = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, torch.dtype)]
        if any(not kind.is_floating_point for kind in kinds):
            return self.whole_numbers(func, base, args, kwargs)
        made = Traced(given.shape)
        made.origin, made.of = given.origin, given.of
        return made

    def whole_numbers(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        origin = self.known(args[0])
        if origin.node not in self.building.binary:
            raise Lost("it rounds what is no spike")
        return self.like(origin, origin.node)

    def add(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        left, right = args[:2]
        sign = -1.0 if base in ("sub", "subtract", "rsub") else 1.0
        alpha = float(kwargs.get("alpha", args[2] if len(args) > 2 else 1))
        if base == "rsub":
            left, right = right, left
        factors = (1.0, sign * alpha)
        if not (isinstance(left, Traced) and isinstance(right, Traced)):
            constant, given = (right, left) if isinstance(left, Traced) else (left, right)
            of_signal, of_constant = factors if given is left else factors[::-1]
            if not isinstance(constant, Tensor) and constant == 0 and of_signal == 1:
                return self._unchanged(given)
            if given.origin is not None and given.origin.seen is not None:
                raise Lost(HOST)
            origin = self.known(given)
            bias = of_constant * self._over(origin, constant, given)
            name = self.named_as(base)
            node = self.building.scaled(name, origin.node, of_signal, bias)
            if origin.node in self.building.binary and of_signal == -1 and np.all(bias == 1):
                self.building.binary.add(node)  # 1 - spike
            return self.like(origin, node)
        summed = self._sum_over_steps(left, right, factors)
        if summed is not None:
            return summed
        one, other = self._aligned(left, right)
        lies = self._together(one, other)
        name = self.named_as(base)
        terms = [
            self.building.scaled(f"{name}.factor", origin.node, factor)
            for origin, factor in ((one, factors[0]), (other, factors[1]))
        ]
        return self.like(lies, self._spread_sum(name, terms))

    def _unchanged(self, given: Traced) -> Traced:
        made = Traced(given.shape)
        made.origin, made.made_by, made.of = given.origin, given.made_by, given.of
        return made

    def _spread_sum(self, name: str, terms: list[str]) -> str:
        shapes = {self.building.shape(term) for term in terms}
        if len(shapes) > 1:
            raise Lost(f"it adds {' and '.join(map(str, sorted(shapes)))}; make shapes equal")
        return self.building.total(name, terms)

    def _sum_over_steps(
        self, left: Traced, right: Traced, factors: tuple[float, float]
    ) -> Traced | None:
        """``total += spikes`` of one step after the other: what the host adds up."""
        steps: set[int] = set()
        nodes = set()
        for each in (left, right):
            origin = each.origin
            if origin is None or origin.state or origin.lies != STEP or factors != (1.0, 1.0):
                return None
            steps |= origin.seen if origin.seen is not None else {_step(origin)}
            nodes.add(origin.node)
        one, other = left.origin, right.origin
        assert one is not None
        assert other is not None
        if one.seen is None and other.seen is None and one.step == other.step:
            return None
        count = sum(len(o.seen) if o.seen is not None else 1 for o in (one, other))
        if len(nodes) > 1 and one.seen is None and other.seen is None:
            return None  # one of them a step late
        if len(nodes) > 1 or count != len(steps):
            raise Lost(HOST)
        return self.tensor(replace(one, step=None, seen=frozenset(steps)))

    def _aligned(self, left: Any, right: Any) -> tuple[Origin, Origin]:
        """Two signals; of steps that follow each other the earlier one as what comes late."""
        one, other = self.known(left), self.known(right)
        apart = 0 if one.step is None or other.step is None else other.step - one.step
        if abs(apart) == 1 and one.lies == other.lies == STEP:
            now = max(_step(one), _step(other))
            early = one if apart > 0 else other
            moved = replace(early, node=self.late(early.node), step=now)
            return (moved, other) if apart > 0 else (one, moved)
        return one, other

    def late(self, name: str) -> str:
        """The node of what another one was a step before."""
        building = self.building
        node = building.nodes[name]
        if node.kind == "Input" and self.static:
            return name
        if node.late or node.kind == "Potential":
            raise Lost("it is two steps late, or a potential; a loop takes one step")
        if node.kind in ("Input", "Neuron", "Threshold"):
            return building.late(name)
        inputs = tuple(self.late(source) for source in node.inputs)
        return building.node(f"{name}.late", node.kind, inputs, node.shape, node.values, node.sizes)

    def _together(self, one: Origin, other: Origin) -> Origin:
        """How the sum or product of two signals lies."""
        if one.mean != other.mean:
            raise Lost("it takes an average over steps with what is none")
        if one.lies == other.lies and one.step == other.step:
            return one
        for still, moving in ((one, other), (other, one)):
            if still.lies == ONE and moving.lies == WHOLE:
                return moving
            if still.lies == STATIC and moving.lies in (STEP, WHOLE):
                return moving
        raise Lost(
            f"it takes step {one.step} with step {other.step}: an edge takes no time"
            if one.lies == other.lies
            else "it takes all steps with one"
        )

    def _over(self, origin: Origin, constant: Any, given: Traced) -> Array:
        """A constant over the values of a node; it must be the same for steps and samples."""
        numbers = self.array(constant)
        shape = self.building.shape(origin.node)
        rank = len(shape)
        if numbers.ndim > rank:
            lead = numbers.reshape(-1, *numbers.shape[numbers.ndim - rank :])
            if not (lead == lead[:1]).all():
                raise Lost("its constants differ between steps or samples")
            numbers = lead[0]
        try:
            return np.broadcast_to(numbers, shape)
        except ValueError:
            raise Lost(f"a constant of {numbers.shape} is spread over {shape}") from None

    def multiply(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        left, right = args[:2]
        if isinstance(left, Traced) and isinstance(right, Traced):
            if base in ("div", "divide", "true_divide"):
                raise Lost("it divides signals")
            for given in (left, right):
                if given.origin is not None and given.origin.seen is not None:
                    raise Lost(HOST)
            one, other = self._aligned(left, right)
            lies = self._together(one, other)
            (factor, first), (times, second) = (self._spikes(o.node) for o in (one, other))
            if lies.mean or not {first, second} <= self.building.binary:
                raise Lost(
                    "it multiplies what are no spikes, and a dendrite sums; add instead, and put "
                    "factors into weights"
                )
            found = self._gate("and", [first, second])
            name = self.named_as(base)
            return self.like(lies, self.building.scaled(name, found, factor * times))
        constant, given = (right, left) if isinstance(left, Traced) else (left, right)
        origin = self.known(given)
        numbers = self._over(origin, constant, given)
        if base in ("div", "divide", "true_divide"):
            if given is right or kwargs.get("rounding_mode") is not None:
                raise Lost("it divides by a signal, or rounds")
            if not numbers.all():
                raise Lost("it divides by 0")
            numbers = 1 / numbers
        return self.like(origin, self.building.scaled(self.named_as(base), origin.node, numbers))

    def _spikes(self, name: str) -> tuple[float, str]:
        """A node as a factor times spikes, where it is that."""
        node = self.building.nodes[name]
        if name in self.building.binary or node.kind != "Scale" or "bias" in node.values:
            return 1.0, name
        factors = np.unique(node.values["scale"])
        return (float(factors[0]), node.inputs[0]) if len(factors) == 1 else (1.0, name)

    def negate(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        origin = self.known(args[0])
        return self.like(origin, self.building.scaled(self.named_as(base), origin.node, -1.0))

    # gates

    def _gate(self, kind: str, nodes: list[str]) -> str:
        name = self.named_as(kind)
        if len({self.building.shape(node) for node in nodes}) > 1:
            raise Lost("it takes spikes of different shapes")
        found = self.building.all_of if kind == "and" else self.building.any_of
        return found(name, nodes)

    def gate(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        left, right = args[:2]
        one, other = self._aligned(left, right)
        lies = self._together(one, other)
        if not {one.node, other.node} <= self.building.binary:
            raise Lost("it compares what are no spikes")
        kind = (
            "or" if base in ("maximum", "max", "logical_or", "or", "bitwise_or", "fmax") else "and"
        )
        return self.like(lies, self._gate(kind, [one.node, other.node]))

    def complement(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        origin = self.known(args[0])
        if origin.node not in self.building.binary:
            raise Lost("it negates what is no spike")
        node = self.building.scaled(
            self.named_as("not"), origin.node, -1.0, np.ones(self.building.shape(origin.node))
        )
        self.building.binary.add(node)
        return self.like(origin, node)

    def compare(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        left, right = args[:2]
        flip = not isinstance(left, Traced)
        given, constant = (right, left) if flip else (left, right)
        if isinstance(constant, Traced):
            raise Lost("it compares two signals")
        origin = self.known(given)
        level = self.array(constant)
        if level.size != 1:
            raise Lost("it compares with several numbers")
        kind = {"gt": "gt", "ge": "ge", "lt": "lt", "le": "le", "greater": "gt", "less": "lt"}[base]
        if flip:
            kind = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}[kind]
        if kind in ("lt", "le"):
            raise Lost("it fires below a level; 1 - (x > level) says the same")
        at = float(level.reshape(-1)[0])
        if at < 0 or (at == 0 and kind == "ge"):
            raise Lost("it fires without input")
        if kind == "ge":
            at = float(np.nextafter(at, -np.inf))
        name = self.named_as("above")
        return self.like(origin, self.building.above(name, origin.node, at))

    def clamp(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        origin = self.known(args[0])
        low = kwargs.get("min", args[1] if len(args) > 1 else None)
        high = kwargs.get("max", args[2] if len(args) > 2 else None)
        if base == "clamp_max":
            low, high = None, kwargs.get("max", args[1] if len(args) > 1 else None)
        if base == "clamp_min":
            high = None
        node = self.building.nodes[origin.node]
        addends = node.inputs if node.kind == "Pass" else (origin.node,)
        spikes = set(addends) <= self.building.binary
        if not spikes or (low is not None and low != 0) or (high is not None and high != 1):
            raise Lost("it clamps what is no sum of spikes, or not to 0 and 1")
        if high is None:
            return self.like(origin, origin.node)
        return self.like(origin, self._gate("or", list(addends)))

    def max_pool(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        origin = self.known(given["input"])
        if origin.node not in self.building.binary:
            raise Lost(
                "it takes the maximum of currents, and a dendrite sums; put the pool behind the "
                "neuron, where it is an OR of spikes, or use AvgPool2d, and train again"
            )
        if given.get("ceil_mode") or _pair(given.get("dilation", 1)) != (1, 1):
            raise Lost("use no ceil_mode and no dilation")
        if given.get("return_indices"):
            raise Lost("use return_indices=False")
        summed = self._pooled("SumPool2d", origin, given, base)
        return self.like(origin, self.building.above(self.named_as("or"), summed, 0.5))

    def avg_pool(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        names = (
            *("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
            "divisor_override",
        )
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        origin = self.known(given["input"])
        plain = not given.get("ceil_mode") and given.get("divisor_override") is None
        if given.get("count_include_pad") is False:
            plain = plain and _pair(given.get("padding", 0)) == (0, 0)
        if not plain or len(self.building.shape(origin.node)) != 3:
            return self.linear_by_matrix(func, base, args, kwargs)
        return self.like(origin, self._pooled("AvgPool2d", origin, given, base))

    def _pooled(self, kind: str, origin: Origin, given: dict[str, Any], base: str) -> str:
        shape = self.building.shape(origin.node)
        if len(shape) != 3 or LEAD[origin.lies] != 1:
            raise Lost(f"it pools {shape}; give maps (N, C, H, W)")
        kernel = _pair(given["kernel_size"])
        stride = _pair(given.get("stride") or kernel)
        pad = _pair(given.get("padding", 0))
        size = tuple(
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(shape[1:], pad, kernel, stride, strict=True)
        )
        if min(size) < 1:
            raise Lost(f"windows {kernel} of maps {shape}")
        sizes = window(kernel, stride, (pad[0], pad[0], pad[1], pad[1]))
        name = self.named_as(base)
        return self.building.node(name, kind, (origin.node,), (shape[0], *size), sizes=sizes)

    def adaptive_pool(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = args[0]
        origin = self.known(given)
        wanted = kwargs.get("output_size", args[1] if len(args) > 1 else None)
        shape = self.building.shape(origin.node)
        if LEAD[origin.lies] != 1 or len(shape) != 3:
            return self.linear_by_matrix(func, base, args, kwargs)
        size = (wanted, wanted) if isinstance(wanted, int) else tuple(wanted)
        size = tuple(n if m is None else m for m, n in zip(size, shape[1:], strict=True))
        if any(n % m for m, n in zip(size, shape[1:], strict=True)):
            return self.linear_by_matrix(func, base, args, kwargs)
        kernel = tuple(n // m for m, n in zip(size, shape[1:], strict=True))
        return self.like(origin, self._pooled("AvgPool2d", origin, {"kernel_size": kernel}, base))

    # linear

    def linear(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
        origin = self._linear_of(given)
        weight = self.array(given["weight"])
        shape = (*self.building.shape(origin.node)[:-1], len(weight))
        values: dict[str, Any] = {"weight": weight}
        self._with_bias(values, given.get("bias"), lambda each: np.broadcast_to(each, shape))
        name = self.named_as(base)
        return self.like(origin, self.building.node(name, "Linear", (origin.node,), shape, values))

    def _linear_of(self, given: dict[str, Any]) -> Origin:
        if isinstance(given["weight"], Traced):
            raise Lost("its weights are a signal")
        return self.known(given["input"])

    def _with_bias(
        self, values: dict[str, Any], bias: Any, spread: Callable[[Array], Array]
    ) -> None:
        if bias is not None:
            numbers = self.array(bias)
            if numbers.any():
                values["bias"] = spread(numbers)

    def conv(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        origin = self._linear_of(given)
        axes = 1 if base == "conv1d" else 2
        shape = self.building.shape(origin.node)
        if LEAD[origin.lies] != 1 or len(shape) != 1 + axes:
            raise Lost(f"it convolves {shape} with {axes} axes")
        weight = self.array(given["weight"])
        if weight.shape[1] * int(given.get("groups", 1)) != shape[0]:
            raise Lost(f"it takes {weight.shape[1]} channels, and gets {shape[0]}")
        lead = (1,) * (2 - axes)
        stride = (*lead, *_pair(given.get("stride", 1), axes))
        dilation = (*lead, *_pair(given.get("dilation", 1), axes))
        kernel = (*lead, *weight.shape[2:])
        padding = given.get("padding", 0)
        if isinstance(padding, str):
            total = [
                d * (k - 1) if padding == "same" else 0
                for d, k in zip(dilation, kernel, strict=True)
            ]
            ends = [(n // 2, n - n // 2) for n in total]
        else:
            ends = [(0, 0)] * (2 - axes) + [(n, n) for n in _pair(padding, axes)]
        spread_shape = (*((1,) if axes == 1 else ()), *shape[1:])
        size = [
            (n + sum(end) - d * (k - 1) - 1) // s + 1
            for n, end, d, k, s in zip(spread_shape, ends, dilation, kernel, stride, strict=True)
        ]
        if min(size) < 1:
            raise Lost(f"its kernel {kernel} does not fit maps {shape}")
        made = (len(weight), *size[2 - axes :])
        values: dict[str, Any] = {"weight": weight if axes == 2 else weight[:, :, None]}
        rest = (1,) * axes
        self._with_bias(
            values, given.get("bias"), lambda b: np.broadcast_to(b.reshape(-1, *rest), made)
        )
        pads = (ends[0][0], ends[0][1], ends[1][0], ends[1][1])
        sizes = window(kernel, stride, pads, dilation, int(given.get("groups", 1)))  # type: ignore[arg-type]
        kind = "Conv1d" if axes == 1 else "Conv2d"
        name = self.named_as(base)
        return self.like(
            origin, self.building.node(name, kind, (origin.node,), made, values, sizes)
        )

    def batch_norm(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        names = (
            *("input", "running_mean", "running_var", "weight", "bias", "training", "momentum"),
            "eps",
        )
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if "cudnn_enabled" in kwargs or len(args) == 9:  # torch.batch_norm
            names = (
                *("input", "weight", "bias", "running_mean", "running_var", "training"),
                *("momentum", "eps"),
            )
            given = {**dict(zip(names, args, strict=False)), **kwargs}
        origin = self.known(given["input"])
        if given.get("training") or given.get("running_mean") is None:
            raise Lost(
                "it normalizes by the batch in evaluation, too; use track_running_stats=True"
            )
        if LEAD[origin.lies] != 1:
            raise Lost("it normalizes over steps; flatten steps and samples first")
        shape = self.building.shape(origin.node)
        mean, var = self.array(given["running_mean"]), self.array(given["running_var"])
        factor = 1 / np.sqrt(var + float(given.get("eps", 1e-5)))
        if given.get("weight") is not None:
            factor = factor * self.array(given["weight"])
        bias = -mean * factor
        if given.get("bias") is not None:
            bias = bias + self.array(given["bias"])
        rest = (-1,) + (1,) * (len(shape) - 1)
        node = self.building.scaled(
            self.named_as(base), origin.node, factor.reshape(rest), bias.reshape(rest)
        )
        return self.like(origin, node)

    def linear_by_matrix(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        """A function of torch that is linear, as the matrix that it is."""
        given = args[0]
        origin = self.known(given)
        if any(isinstance(each, Traced) for each in _signals((args[1:], kwargs))):
            raise Lost("it takes two signals")
        shape, lead = self.building.shape(origin.node), LEAD[origin.lies]
        inputs = math.prod(shape)
        if inputs * inputs > LARGEST * 4:
            raise Lost(f"as a matrix it has {inputs} inputs, too many")
        between = (1,) * (lead - 1)
        unit = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *between, *shape)
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():  # type: ignore[no-untyped-call]
            try:
                rest, named = _doubled(args[1:]), _doubled(kwargs)
                found = func(unit, *rest, **named)
                zero = func(torch.zeros_like(unit[:1]), *rest, **named)
            except (RuntimeError, IndexError, TypeError, ValueError) as error:
                raise Lost(str(error).splitlines()[0]) from error
        if not isinstance(found, Tensor) or tuple(found.shape[:lead]) != (inputs, *between):
            raise Lost("it moves samples or steps")
        made = tuple(found.shape[lead:])
        if not made:
            made = (1,)
            raise Lost("it leaves no neurons")
        bias = zero.reshape(-1).numpy().copy()
        found = found - zero
        if inputs * math.prod(made) > LARGEST:
            raise Lost(f"as a matrix it has {inputs * math.prod(made):,} weights, too many")
        weight = found.reshape(inputs, -1).T.numpy()
        if not bias.any() and len(weight) == inputs and np.array_equal(weight, np.eye(inputs)):
            node = self.building.reshaped(self.named_as(base), origin.node, made)
        else:
            node = self.building.matrix(self.named_as(base), origin.node, weight, bias, made)
            chosen = (
                not bias.any()
                and ((weight == 0) | (weight == 1)).all()
                and (weight.sum(1) <= 1).all()
            )
            if chosen and origin.node in self.building.binary:
                self.building.binary.add(node)
        return self.like(origin, node)

    # steps

    def reduce(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        """Means and sums over steps are the host's; those over a map are linear."""
        given = args[0]
        origin = self.known(given)
        dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
        if dims is None:
            raise Lost(HOST)
        each: list[Any] = [dims] if isinstance(dims, int) else list(dims)
        axes = {int(dim) % given.ndim for dim in each}
        lead = LEAD[origin.lies]
        if axes == {0} and origin.lies == WHOLE:
            if base == "mean" and not kwargs.get("keepdim") and len(args) < 3:
                return self.tensor(replace(origin, lies=STEP, mean=True))
            if base == "sum" and not kwargs.get("keepdim") and len(args) < 3:
                seen = frozenset(range(self.steps))
                return self.tensor(replace(origin, lies=STEP, seen=seen))
            raise Lost(HOST)
        if min(axes) < lead:
            raise Lost(HOST)
        return self.linear_by_matrix(func, base, args, kwargs)

    def reshape(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = args[0]
        origin = self.known(given)
        with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
            rest = tuple(
                torch.empty(a.shape, device="meta") if isinstance(a, Tensor) else a
                for a in args[1:]
            )
            found = func(torch.empty(given.shape, device="meta"), *rest, **kwargs)
        return self._placed(origin, tuple(found.shape), self.named_as(base))

    def _placed(self, origin: Origin, made: Shape, name: str) -> Traced:
        """A reshaped signal: how steps and samples lie in it, and what order neurons have."""
        T, N = self.steps, SAMPLES  # noqa: N806
        shape = self.building.shape(origin.node)
        size = math.prod(shape)

        def fits(lead: Shape) -> bool:
            return made[: len(lead)] == lead and math.prod(made[len(lead) :]) == size

        every: dict[str, list[tuple[str, Shape]]] = {
            WHOLE: [(WHOLE, (T, N)), (FLAT, (T * N,))],
            BATCH_FIRST: [(BATCH_FIRST, (N, T))],
            FLAT: [(FLAT, (T * N,)), (WHOLE, (T, N))],
            STEP: [(STEP, (N,))],
            STATIC: [(STATIC, (N,)), (ONE, (1, N))],
            ONE: [(ONE, (1, N)), (STATIC, (N,))],
        }
        ways = every[origin.lies]
        if origin.lies == STATIC and made[:1] == (1,) and shape[:1] == (1,):
            ways = ways[::-1]
        for lies, lead in ways:
            if fits(lead):
                rest = made[len(lead) :]
                node = self.building.reshaped(name, origin.node, rest or (1,))
                found = self.tensor(replace(origin, node=node, lies=lies))
                if tuple(found.shape) != made:
                    raise Lost("it leaves no neurons")
                return found
        raise Lost(
            f"it makes {made} of {shape} at {T} steps and {N} samples: steps and samples must stay "
            "apart from neurons"
        )

    def repeat(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = args[0]
        origin = self.known(given)
        with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
            rest = tuple(
                torch.empty(a.shape, device="meta") if isinstance(a, Tensor) else a
                for a in args[1:]
            )
            found = func(torch.empty(given.shape, device="meta"), *rest, **kwargs)
        made = tuple(found.shape)
        if made == tuple(given.shape):
            return self._unchanged(given)
        shape = self.building.shape(origin.node)
        if origin.lies in (ONE, STATIC) and made[1:] == (SAMPLES, *shape):
            return self._over_steps(origin, made[0])
        raise Lost("it repeats neurons or samples")

    def _over_steps(self, origin: Origin, count: int) -> Traced:
        if count != self.steps:
            raise CaptureError(
                f"forward repeats its input for {count} steps ({here().quoted}), and the frames "
                f"have {self.steps}; give frames (T, N, *shape) with T = {count}"
            )
        return self.tensor(replace(origin, lies=WHOLE))

    def transpose(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = args[0]
        origin = self.known(given)
        if origin.lies in (WHOLE, BATCH_FIRST):
            order = torch.arange(given.ndim)
            probe = torch.empty(tuple(int(n) + 2 for n in order), device="meta")
            with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
                found = func(probe, *args[1:], **kwargs)
            now = tuple(int(n) - 2 for n in found.shape)
            if now == (1, 0, *range(2, given.ndim)):
                lies = BATCH_FIRST if origin.lies == WHOLE else WHOLE
                return self.tensor(replace(origin, lies=lies))
        return self.linear_by_matrix(func, base, args, kwargs)

    def getitem(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given, index = args[0], args[1]
        if not isinstance(given, Traced):
            raise Lost("a signal says which")
        if given.origin is None:
            raise Lost("")
        origin = given.origin
        if origin.seen is not None or origin.state:
            raise Lost(HOST)
        each: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
        first = each[0]
        full = slice(None)
        steps = self.steps
        if origin.lies == WHOLE and type(first) is int and all(e == full for e in each[1:]):
            return self._step_of(origin, first % steps if -steps <= first < steps else first)
        if (
            origin.lies == BATCH_FIRST
            and len(each) > 1
            and first == full
            and type(each[1]) is int
            and all(e == full for e in each[2:])
        ):
            return self._step_of(origin, each[1] % steps)
        if origin.lies == ONE and first == 0 and all(e == full for e in each[1:]):
            return self.tensor(replace(origin, lies=STATIC))
        lead = LEAD[origin.lies]
        before = 0
        for each_one in each:
            if each_one is Ellipsis:
                before = lead
                break
            if each_one != full or before == lead:
                break
            before += 1
        if before < lead:
            raise Lost(
                "it takes some of the steps or samples; batch_first=True if forward takes (N, T, "
                "...)"
            )
        return self.linear_by_matrix(func, base, args, kwargs)

    def _step_of(self, origin: Origin, step: int) -> Traced:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of {self.steps}")
        return self.tensor(replace(origin, lies=STEP, step=step))

    def select(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = args[0]
        origin = self.known(given)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % given.ndim
        index = kwargs.get("index", args[2] if len(args) > 2 else 0)
        at = {WHOLE: 0, BATCH_FIRST: 1}.get(origin.lies)
        if dim == at and type(index) is int:
            return self._step_of(origin, index % self.steps)
        return self.linear_by_matrix(func, base, args, kwargs)

    def unbind(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        given = args[0]
        origin = self.known(given)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % given.ndim
        if dim != {WHOLE: 0, BATCH_FIRST: 1}.get(origin.lies):
            raise Lost("it takes apart what are no steps")
        found = [self._step_of(origin, step) for step in range(self.steps)]
        return iter(found) if base == "iter" else tuple(found)

    def split(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        """Steps one by one (each with an axis of one), or groups of channels."""
        given = args[0]
        origin = self.known(given)
        probe = torch.empty(given.shape, device="meta")
        with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
            shapes = [tuple(part.shape) for part in func(probe, *args[1:], **kwargs)]
        lead, shape = LEAD[origin.lies], self.building.shape(origin.node)
        wanted = tuple(given.shape[:lead])
        if any(part[:lead] != wanted or part[lead + 1 :] != shape[1:] for part in shapes):
            raise Lost("it splits other than channels")
        found, first = [], 0
        for index, part in enumerate(shapes):
            place = np.zeros((part[lead], shape[0]))
            place[np.arange(part[lead]), first + np.arange(part[lead])] = 1
            first += part[lead]
            name = f"{self.named_as(base)}.part{index}"
            node = self.building.across(name, origin.node, place)
            if origin.node in self.building.binary:
                self.building.binary.add(node)
            found.append(self.like(origin, node))
        return tuple(found)

    def stack(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        """Steps, one after the other."""
        tensors = list(args[0])
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        found = [each.origin if isinstance(each, Traced) else None for each in tensors]
        if any(origin is None for origin in found):
            raise Lost("")
        first = found[0]
        assert first is not None
        alike = {replace(origin, step=None) for origin in found if origin is not None}
        if len(alike) > 1 or first.seen is not None or first.mean:
            raise Lost("it stacks different signals")
        if dim % (tensors[0].ndim + 1) != 0:
            raise Lost(HOST)
        if first.lies == STATIC and not first.state:
            return self._over_steps(first, len(tensors))
        if first.lies != STEP or [o.step for o in found if o] != list(range(self.steps)):
            raise Lost("it stacks some of the steps, or in another order")
        return self.tensor(replace(first, lies=WHOLE, step=None))

    def cat(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        tensors = list(args[0])
        dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
        signals = [tensor for tensor in tensors if isinstance(tensor, Traced)]
        lies = self.known(signals[0])
        origins = {id(signal): self.known(signal) for signal in signals}
        for signal in signals[1:]:
            one, other = self._aligned(signals[0], signal)
            lies = self._together(one, other)
            origins[id(signals[0])], origins[id(signal)] = one, other
        if dim % tensors[0].ndim != LEAD[lies.lies]:
            raise Lost("it joins other than channels")
        parts: list[str | int] = []
        for tensor in tensors:
            if isinstance(tensor, Traced):
                parts.append(origins[id(tensor)].node)
            elif tensor.any():
                raise Lost("it joins constants other than 0")
            else:
                parts.append(int(tensor.shape[LEAD[lies.lies]]))
        return self.like(lies, self.building.beside(self.named_as(base), parts))

    def zeros_like(self, func: Any, base: str, args: Any, kwargs: Any) -> Any:
        value = {"zeros_like": 0.0, "new_zeros": 0.0, "ones_like": 1.0, "new_ones": 1.0}.get(base)
        if base in ("full_like", "new_full"):
            value = float(kwargs.get("fill_value", args[-1] if len(args) > 1 else 0))
        if base.startswith("new_"):
            shape = args[1] if len(args) > 1 else kwargs["size"]
            if not isinstance(shape, (tuple, list, torch.Size)):
                shape = tuple(a for a in args[1:] if isinstance(a, int))
            return torch.full(tuple(shape), float(value or 0.0))
        return torch.full(tuple(args[0].shape), float(value or 0.0))


def _step(origin: Origin) -> int:
    return -1 if origin.step is None else origin.step


def _pair(value: Any, axes: int = 2) -> Any:
    if isinstance(value, (tuple, list)):
        each = tuple(int(n) for n in value)
        return each * axes if len(each) == 1 else each
    return (int(value),) * axes


def _signals(value: Any) -> list[Traced]:
    if isinstance(value, Traced):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [found for each in value for found in _signals(each)]
    return []


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return [found for each in value for found in _flat(each)]
    return [value]


def _doubled(value: Any) -> Any:
    """Arguments with what is real in float64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _doubled(each) for key, each in value.items()}
    return tuple(map(_doubled, value)) if isinstance(value, tuple) else value


def _on_meta(value: Any) -> Any:
    """Arguments without numbers, for shapes alone."""
    if isinstance(value, Tensor):
        return torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
    if isinstance(value, dict):
        return {key: _on_meta(each) for key, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_on_meta(each) for each in value)
    return value


_INPLACE = {
    **{f"{name}_": name for name in ("add", "sub", "mul", "div", "neg", "clamp", "unsqueeze")},
    **{f"{name}_": name for name in ("squeeze", "transpose", "detach", "logical_not", "fill")},
    **{"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "radd": "add"},
    **{
        "rmul": "mul",
        "truediv": "div",
        "rtruediv": "rdiv",
        "rdiv": "rdiv",
        "invert": "logical_not",
    },
    **{"or": "logical_or", "and": "logical_and", "ior": "logical_or", "iand": "logical_and"},
}
RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), Tracer.add),
    **dict.fromkeys(("mul", "multiply", "div", "divide", "true_divide"), Tracer.multiply),
    **dict.fromkeys(("neg", "negative"), Tracer.negate),
    **dict.fromkeys(
        ("maximum", "minimum", "max", "min", "logical_or", "logical_and", "fmax"), Tracer.gate
    ),
    **dict.fromkeys(("bitwise_or", "bitwise_and"), Tracer.gate),
    **dict.fromkeys(("logical_not", "bitwise_not"), Tracer.complement),
    **dict.fromkeys(("gt", "ge", "lt", "le", "greater", "less"), Tracer.compare),
    **dict.fromkeys(("clamp", "clip", "clamp_max", "clamp_min"), Tracer.clamp),
    "max_pool2d": Tracer.max_pool,
    "_max_pool2d": Tracer.max_pool,
    "avg_pool2d": Tracer.avg_pool,
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_avg_pool1d"), Tracer.adaptive_pool),
    "linear": Tracer.linear,
    **dict.fromkeys(("conv1d", "conv2d"), Tracer.conv),
    "batch_norm": Tracer.batch_norm,
    **dict.fromkeys(("mean", "sum"), Tracer.reduce),
    **dict.fromkeys(
        ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as"),
        Tracer.reshape,
    ),
    "reshape_as": Tracer.reshape,
    **dict.fromkeys(("repeat", "expand", "expand_as", "tile", "broadcast_to"), Tracer.repeat),
    **dict.fromkeys(
        ("transpose", "permute", "swapaxes", "movedim", "moveaxis", "swapdims"), Tracer.transpose
    ),
    "getitem": Tracer.getitem,
    "select": Tracer.select,
    **dict.fromkeys(("unbind", "iter"), Tracer.unbind),
    **dict.fromkeys(("split", "chunk", "tensor_split", "split_with_sizes"), Tracer.split),
    "stack": Tracer.stack,
    **dict.fromkeys(("cat", "concat", "concatenate"), Tracer.cat),
    **dict.fromkeys(
        ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"),
        Tracer.zeros_like,
    ),
}
LINEAR = {
    *("avg_pool1d", "avg_pool3d", "conv_transpose1d", "conv_transpose2d", "pad", "interpolate"),
    *("upsample", "pixel_shuffle", "pixel_unshuffle", "flip", "roll", "narrow", "index_select"),
    *("adaptive_avg_pool3d", "lp_pool2d_", "T", "t", "channel_shuffle", "constant_pad_nd"),
}
# what the host may make of what is returned, without weights
ON_THE_HOST = {
    *(
        "sum",
        "mean",
        "stack",
        "cat",
        "argmax",
        "softmax",
        "log_softmax",
        "max",
        "add",
        "div",
        "mul",
    ),
    *("iadd", "radd", "truediv", "rmul", "true_divide", "getitem", "view", "reshape", "flatten"),
    *(
        "squeeze",
        "unsqueeze",
        "transpose",
        "permute",
        "swapaxes",
        "cumsum",
        "sub",
        "clone",
        "detach",
    ),
    *(
        "amax",
        "topk",
        "sigmoid",
        "to",
        "float",
        "long",
        "int",
        "select",
        "itruediv",
        "idiv",
        "imul",
    ),
    *("count_nonzero", "std", "var", "unbind", "contiguous"),
}
WAYS = {
    "layer_norm": "its mean and deviation follow from the values; use BatchNorm",
    "group_norm": "its mean and deviation follow from the values; use BatchNorm",
    "relu": "it is no spiking neuron; put a neuron in its place",
    "softmax": "it divides by a sum; leave it to the loss",
    "matmul": "it multiplies, and a dendrite sums",
    "bmm": "it multiplies, and a dendrite sums",
}
