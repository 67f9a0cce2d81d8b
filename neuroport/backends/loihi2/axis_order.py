"""Axis orders. The graph's feature maps are (C, H, W), Lava's are (W, H, C). Nowhere else.

Populations of three axes keep them on the chip, because Lava's ``Conv`` needs them; all others are
flat. Kernels are flipped, too: Lava convolves, torch and the graph correlate (``lava/proc/conv/
utils.py``). A dense synapse behind a feature map takes it flat in Lava's order, so that its columns
move.
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
    """Values (..., *shape) as (..., *lava_shape(shape)), contiguous."""
    lead = values.shape[: values.ndim - len(shape)]
    if len(shape) != 3:
        return np.ascontiguousarray(values.reshape(*lead, -1))
    n = len(lead)
    return np.ascontiguousarray(values.transpose(*range(n), n + 2, n + 1, n))


def from_lava(values: npt.NDArray[Any], shape: Shape) -> npt.NDArray[Any]:
    """Rows (n, ...) in Lava's order, flat or not, as (n, *shape)."""
    if len(shape) != 3:
        return values.reshape(len(values), *shape)
    return values.reshape(len(values), *shape[::-1]).transpose(0, 3, 2, 1)


def flat_order(shape: Shape) -> npt.NDArray[np.int64]:
    """For each place in Lava's flat order, the place in the graph's channel-major order."""
    return to_lava(np.arange(int(np.prod(shape))).reshape(shape), shape).reshape(-1)


def dense_columns(weight: Any, shape: Shape) -> Any:
    """A matrix (outputs, inputs) for inputs of ``shape`` that arrive flat in Lava's order."""
    return weight[:, flat_order(shape)]


def conv_arguments(kernel: Kernel, weight: IntArray, source: Shape) -> dict[str, Any]:
    """Arguments of Lava's ``Conv`` for ``weight`` and the geometry of ``kernel``, by its input.

    Groups are written out with zeros between them: on a chip Lava's own are not documented.
    """
    flipped: IntArray = ungrouped(weight, kernel.groups)[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
    return {
        "weight": np.ascontiguousarray(flipped).astype(np.int32),
        "input_shape": lava_shape(source),
        "stride": kernel.stride[::-1],
        "padding": kernel.padding[::-1],
        "dilation": kernel.dilation[::-1],
    }
