"""Rules for linear functions of torch: layers, norms in evaluation and pools."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroport.frontends.nir.reading import Array
from neuroport.frontends.torch.network_builder import LARGEST, window
from neuroport.frontends.torch.signal_nodes import SignalNodes
from neuroport.frontends.torch.traced_tensor import (
    LEAD,
    PRODUCT,
    Lost,
    Origin,
    Traced,
    signals_in,
)


def linear(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
    origin = _linear_of(signals, given)
    weight = signals.array(given["weight"])
    shape = (*signals.building.shape(origin.node)[:-1], len(weight))
    values: dict[str, Any] = {"weight": weight}
    _with_bias(signals, values, given.get("bias"), lambda each: np.broadcast_to(each, shape))
    name = signals.named_as(base)
    return signals.like(
        origin, signals.building.node(name, "Linear", (origin.node,), shape, values)
    )


def matmul(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    """A signal times a matrix of constants is a linear layer."""
    given = {**dict(zip(("input", "weight"), args, strict=False)), **kwargs}
    weight = given.get("weight", given.get("other", given.get("mat2")))
    if isinstance(given.get("input"), Traced) and isinstance(weight, Tensor):
        if not isinstance(weight, Traced) and weight.ndim == 2:
            return linear(signals, func, "linear", (given["input"], weight.t()), {})
        if not isinstance(weight, Traced):
            raise Lost("it takes a matrix of constants on the left, or several; use F.linear")
    elif isinstance(weight, Traced):
        raise Lost("it takes constants on the left; use F.linear(x, weight)")
    raise Lost(PRODUCT)


def _linear_of(signals: SignalNodes, given: dict[str, Any]) -> Origin:
    if isinstance(given["weight"], Traced):
        raise Lost("its weights are a signal")
    return signals.known(given["input"])


def _with_bias(
    signals: SignalNodes, values: dict[str, Any], bias: Any, spread: Callable[[Array], Array]
) -> None:
    if bias is not None:
        numbers = signals.array(bias)
        if numbers.any():
            values["bias"] = spread(numbers)


def conv(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    origin = _linear_of(signals, given)
    axes = 1 if base == "conv1d" else 2
    shape = signals.building.shape(origin.node)
    if LEAD[origin.lies] != 1 or len(shape) != 1 + axes:
        raise Lost(f"it convolves {shape} with {axes} axes")
    weight = signals.array(given["weight"])
    if weight.shape[1] * int(given.get("groups", 1)) != shape[0]:
        raise Lost(f"it takes {weight.shape[1]} channels, and gets {shape[0]}")
    lead = (1,) * (2 - axes)
    stride = (*lead, *pair(given.get("stride", 1), axes))
    dilation = (*lead, *pair(given.get("dilation", 1), axes))
    kernel = (*lead, *weight.shape[2:])
    padding = given.get("padding", 0)
    if isinstance(padding, str):
        total = [
            d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)
        ]
        ends = [(n // 2, n - n // 2) for n in total]
    else:
        ends = [(0, 0)] * (2 - axes) + [(n, n) for n in pair(padding, axes)]
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
    _with_bias(
        signals, values, given.get("bias"), lambda b: np.broadcast_to(b.reshape(-1, *rest), made)
    )
    pads = (ends[0][0], ends[0][1], ends[1][0], ends[1][1])
    sizes = window(kernel, stride, pads, dilation, int(given.get("groups", 1)))  # type: ignore[arg-type]
    kind = "Conv1d" if axes == 1 else "Conv2d"
    name = signals.named_as(base)
    return signals.like(
        origin, signals.building.node(name, kind, (origin.node,), made, values, sizes)
    )


def batch_norm(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
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
    origin = signals.known(given["input"])
    if given.get("training") or given.get("running_mean") is None:
        raise Lost("it normalizes by the batch in evaluation, too; use track_running_stats=True")
    if LEAD[origin.lies] != 1:
        raise Lost("it normalizes over steps; flatten steps and samples first")
    shape = signals.building.shape(origin.node)
    mean, var = signals.array(given["running_mean"]), signals.array(given["running_var"])
    factor = 1 / np.sqrt(var + float(given.get("eps", 1e-5)))
    if given.get("weight") is not None:
        factor = factor * signals.array(given["weight"])
    bias = -mean * factor
    if given.get("bias") is not None:
        bias = bias + signals.array(given["bias"])
    rest = (-1,) + (1,) * (len(shape) - 1)
    node = signals.building.scaled(
        signals.named_as(base), origin.node, factor.reshape(rest), bias.reshape(rest)
    )
    return signals.like(origin, node)


def max_pool(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    origin = signals.sent(given["input"])
    if origin.node not in signals.building.binary:
        raise Lost(
            "it takes the maximum of currents, and a dendrite sums; put the pool behind the "
            "neuron, where it is an OR of spikes, or use AvgPool2d, and train again"
        )
    if given.get("ceil_mode") or pair(given.get("dilation", 1)) != (1, 1):
        raise Lost("use no ceil_mode and no dilation")
    if given.get("return_indices"):
        raise Lost("use return_indices=False")
    summed = _pooled(signals, "SumPool2d", origin, given, base)
    return signals.like(origin, signals.building.above(signals.named_as("or"), summed, 0.5))


def avg_pool(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    names = (
        *("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
        "divisor_override",
    )
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    origin = signals.known(given["input"])
    plain = not given.get("ceil_mode") and given.get("divisor_override") is None
    if given.get("count_include_pad") is False:
        plain = plain and pair(given.get("padding", 0)) == (0, 0)
    if not plain or len(signals.building.shape(origin.node)) != 3:
        return linear_by_matrix(signals, func, base, args, kwargs)
    return signals.like(origin, _pooled(signals, "AvgPool2d", origin, given, base))


def _pooled(
    signals: SignalNodes, kind: str, origin: Origin, given: dict[str, Any], base: str
) -> str:
    shape = signals.building.shape(origin.node)
    if len(shape) != 3 or LEAD[origin.lies] != 1:
        raise Lost(f"it pools {shape}; give maps (N, C, H, W)")
    kernel = pair(given["kernel_size"])
    stride = pair(given.get("stride") or kernel)
    pad = pair(given.get("padding", 0))
    size = tuple(
        (n + 2 * p - k) // s + 1 for n, p, k, s in zip(shape[1:], pad, kernel, stride, strict=True)
    )
    if min(size) < 1:
        raise Lost(f"windows {kernel} of maps {shape}")
    sizes = window(kernel, stride, (pad[0], pad[0], pad[1], pad[1]))
    name = signals.named_as(base)
    return signals.building.node(name, kind, (origin.node,), (shape[0], *size), sizes=sizes)


def adaptive_pool(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = args[0]
    origin = signals.known(given)
    wanted = kwargs.get("output_size", args[1] if len(args) > 1 else None)
    shape = signals.building.shape(origin.node)
    if LEAD[origin.lies] != 1 or len(shape) != 3:
        return linear_by_matrix(signals, func, base, args, kwargs)
    size = (wanted, wanted) if isinstance(wanted, int) else tuple(wanted)
    size = tuple(n if m is None else m for m, n in zip(size, shape[1:], strict=True))
    if any(n % m for m, n in zip(size, shape[1:], strict=True)):
        return linear_by_matrix(signals, func, base, args, kwargs)
    kernel = tuple(n // m for m, n in zip(size, shape[1:], strict=True))
    return signals.like(
        origin, _pooled(signals, "AvgPool2d", origin, {"kernel_size": kernel}, base)
    )


def linear_by_matrix(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    """Return a linear function of torch as a matrix."""
    given = args[0]
    origin = signals.known(given)
    if any(isinstance(each, Traced) for each in signals_in((args[1:], kwargs))):
        raise Lost("it takes two signals")
    shape, lead = signals.building.shape(origin.node), LEAD[origin.lies]
    inputs = math.prod(shape)
    if inputs * inputs > LARGEST * 4:
        raise Lost(f"as a matrix it has {inputs} inputs, too many")
    between = (1,) * (lead - 1)
    unit = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *between, *shape)
    dice = torch.Generator().manual_seed(0)
    drawn = torch.randint(-9, 10, tuple(given.shape), generator=dice, dtype=torch.float64)
    with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():  # type: ignore[no-untyped-call]
        try:
            rest, named = doubled(args[1:]), doubled(kwargs)
            found = func(unit, *rest, **named)
            zero = func(torch.zeros_like(unit[:1]), *rest, **named)
            whole = func(drawn, *rest, **named)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise Lost(str(error).splitlines()[0]) from error
    if not isinstance(found, Tensor) or tuple(found.shape[:lead]) != (inputs, *between):
        raise Lost("it moves samples or steps")
    made = tuple(found.shape[lead:])
    if not made:
        raise Lost("it leaves no neurons")
    if inputs * math.prod(made) > LARGEST:
        raise Lost(f"as a matrix it has {inputs * math.prod(made):,} weights, too many")
    bias = zero.reshape(-1).numpy().copy()
    found = found - zero
    steps_and_samples = tuple(given.shape[:lead])
    want = drawn.reshape(*steps_and_samples, inputs) @ found.reshape(inputs, -1) + zero.reshape(-1)
    alike = tuple(whole.shape) == (*steps_and_samples, *made)
    if not alike or not torch.allclose(whole.reshape(want.shape), want):
        raise Lost("it moves samples or steps")
    weight = found.reshape(inputs, -1).T.numpy()
    if not bias.any() and len(weight) == inputs and np.array_equal(weight, np.eye(inputs)):
        node = signals.building.reshaped(signals.named_as(base), origin.node, made)
    else:
        node = signals.building.matrix(signals.named_as(base), origin.node, weight, bias, made)
        chosen = (
            not bias.any() and ((weight == 0) | (weight == 1)).all() and (weight.sum(1) <= 1).all()
        )
        if chosen and origin.node in signals.building.binary:
            signals.building.binary.add(node)
    return signals.like(origin, node)


def pair(value: Any, axes: int = 2) -> Any:
    if isinstance(value, (tuple, list)):
        each = tuple(int(n) for n in value)
        return each * axes if len(each) == 1 else each
    return (int(value),) * axes


def doubled(value: Any) -> Any:
    """Convert real arguments to float64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: doubled(each) for key, each in value.items()}
    return tuple(map(doubled, value)) if isinstance(value, tuple) else value
