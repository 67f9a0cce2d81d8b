"""Read SLAYER's pooling layers, which lava-dl writes into files and NetX does not build.

The file holds everything needed: one kernel for all channels, stride, padding and dilation.
Source: ``AbstractPool.export_hdf5`` and ``synapse.Pool`` of lava-dl 0.6.0.
"""

from __future__ import annotations

import numpy as np

from neuroport.graph.node import IntArray, Pair, Shape
from neuroport.netx.field_reader import Entry


def pooled(
    entry: Entry, weight: IntArray, source: Shape, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[IntArray, Pair]:
    """Return weight (C, 1, kH, kW) and padding of the grouped convolution that pools ``source``.

    SLAYER appends ``H % kH`` rows of zeros (likewise columns), stacks the channels of a sample
    vertically, and applies one kernel to the stack. Windows must therefore end where channels end.

    Raises:
        FormatError: a window crosses from one channel into the next, or the kernel is invalid.
    """
    if weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]
    if weight.ndim != 4 or weight.shape[:2] != (1, 1) or len(source) != 3:
        entry.refuse("weight", f"is {weight.shape} on {source}; it must be (1, 1, kH, kW) on maps")
    kernel = weight.shape[2:]
    channels, height, width = source
    more = height % kernel[0], width % kernel[1]
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    inside = span[0] <= stride[0] and span[1] <= width + more[1]
    if min(*stride, *dilation) < 1 or any(padding) or not inside or (height + more[0]) % stride[0]:
        entry.refuse(
            "stride",
            f"{stride} with kernel {kernel}, dilation {dilation}, padding {padding} on {source} "
            "lets SLAYER pool from one channel into the next; pool with stride = kernel, without "
            "padding, a height that it divides",
        )
    # zeros below and to the right alone: padding on both sides, and a kernel that begins later
    spread = np.zeros(span, np.int64)
    spread[:: dilation[0], :: dilation[1]] = weight[0, 0]
    spread = np.pad(spread, ((more[0], 0), (more[1], 0)))
    return np.tile(spread, (channels, 1, 1, 1)), more
