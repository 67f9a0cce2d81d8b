"""Kernels, strides and paddings of a layer: an integer for both axes, or a pair (height, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from neuroport.errors import LayerError

Pair: TypeAlias = tuple[int, int]
Size: TypeAlias = int | Sequence[int]
AXES = ("height", "width")


def pair(what: str, value: Any, least: int) -> Pair:
    """Return ``value`` for both axes.

    Raises:
        LayerError: the value is neither an integer nor a pair of integers, or below ``least``.
    """
    each = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in each)
    if len(each) != 2 or not whole or min(each) < least:
        raise LayerError(
            f"{what} is {value!r}; give an integer of {least} or more, or a pair of them, "
            "(height, width)"
        )
    return each[0], each[1]


def padding_of(padding: Any, kernel: Pair, stride: Pair, dilation: Pair) -> Pair:
    """Return the padding of a convolution as numbers; it may be numbers, ``"same"`` or ``"valid"``.

    Raises:
        LayerError: a window would lie completely in the padding, where the output is only the bias
            and torch's channels-last convolution crashes (oneDNN of torch 2.3); or "same" would pad
            one side more than the other, or has a stride.
    """
    reach = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
    if padding == "valid":
        return 0, 0
    if padding == "same":
        if stride != (1, 1):
            raise LayerError(f"padding 'same' has no meaning with stride {stride}; give numbers")
        for axis, span in zip(AXES, reach, strict=True):
            if span % 2:
                raise LayerError(
                    f"padding 'same' of a kernel that spans {span + 1} in {axis} pads one side "
                    "more than the other, which no convolution of a chip does; use an odd kernel, "
                    "or a number"
                )
        return reach[0] // 2, reach[1] // 2
    if isinstance(padding, str):
        raise LayerError(f"padding is {padding!r}; give numbers, 'same' or 'valid'")
    each = pair("padding", padding, 0)
    for axis, pad, most in zip(AXES, each, reach, strict=True):
        if pad > most:
            raise LayerError(
                f"padding {pad} is as wide as the kernel ({most + 1} with its dilation, in "
                f"{axis}): windows would see only padding; pad by {most} at most"
            )
    return each
