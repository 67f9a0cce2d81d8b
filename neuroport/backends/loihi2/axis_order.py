"""Convert axis orders: the graph's feature maps are (C, H, W), Lava's are (W, H, C).

No other module does this. Populations with three axes keep them on the chip, because Lava's
``Conv`` needs them; all others are flat. Kernels are flipped, because Lava convolves, while torch
and the graph correlate (``lava/proc/conv/utils.py``). A dense synapse after a feature map reads it
flat in Lava's order, so its columns are permuted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.graph.kernel import Kernel
from neuroport.graph.linear_bounds import ungrouped
from neuroport.graph.node import IntArray, Shape


def lava_shape(shape: Shape) -> Shape:
    """(C, H, W) -> (W, H, C); anything else is flat."""
    return shape[::-1] if len(shape) == 3 else (int(np.prod(shape)),)


def to_lava(values: npt.NDArray[Any], shape: Shape) -> npt.NDArray[Any]:
    """Convert values (..., *shape) to (..., *lava_shape(shape)), contiguous."""
    lead = values.shape[: values.ndim - len(shape)]
    if len(shape) != 3:
        return np.ascontiguousarray(values.reshape(*lead, -1))
    n = len(lead)
    return np.ascontiguousarray(values.transpose(*range(n), n + 2, n + 1, n))


def from_lava(values: npt.NDArray[Any], shape: Shape) -> npt.NDArray[Any]:
    """Convert rows (n, ...) in Lava's order, flat or not, to (n, *shape)."""
    if len(shape) != 3:
        return values.reshape(len(values), *shape)
    return values.reshape(len(values), *shape[::-1]).transpose(0, 3, 2, 1)


def flat_order(shape: Shape) -> npt.NDArray[np.int64]:
    """For each position in Lava's flat order, return that in the graph's channel-major order."""
    return to_lava(np.arange(int(np.prod(shape))).reshape(shape), shape).reshape(-1)


def dense_columns(weight: Any, shape: Shape) -> Any:
    """Return a matrix (outputs, inputs) for inputs of ``shape`` that are flat in Lava's order."""
    return weight[:, flat_order(shape)]


def conv_arguments(kernel: Kernel, weight: IntArray, source: Shape) -> dict[str, Any]:
    """Return the arguments of Lava's ``Conv`` for ``weight`` and the geometry of ``kernel``.

    Groups are expanded with zeros between them, because Lava's own groups are not documented on a
    chip.
    """
    flipped: IntArray = ungrouped(weight, kernel.groups)[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
    return {
        "weight": np.ascontiguousarray(flipped).astype(np.int32),
        "input_shape": lava_shape(source),
        "stride": kernel.stride[::-1],
        "padding": kernel.padding[::-1],
        "dilation": kernel.dilation[::-1],
    }
