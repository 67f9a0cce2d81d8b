"""Quantization: a trained network becomes a graph of integers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from neuroport.arguments import as_array, is_module, takes
from neuroport.errors import NeuroportWarning

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from neuroport.graph.graph import Graph


class QuantizationWarning(NeuroportWarning):
    """A network was quantized, and something about it should be known."""


@takes(net=is_module, calibration=as_array)
def quantize(net: nn.Module, calibration: Tensor | npt.ArrayLike) -> Graph:
    """Integer graph of ``net``.

    A network that was trained quantization-aware keeps its grid; a real-valued one gets its grid
    chosen now (in place), from its folded weights.

    Args:
        net: a network of neuroport layers, or of lava-dl SLAYER blocks (which has a grid of its
            own, see :mod:`neuroport.capture.slayer`).
        calibration: frames (T, N, C, H, W).

    Raises:
        CaptureError: the network's ``forward`` has no graph, or its numbers have no integers.
        FramesError: the calibration is no frames.
        IllegalError: a stream's worst case does not fit the hardware's widths.

    Warns:
        QuantizationWarning: weights that outgrew their grid in training, which was made coarser;
            a grid that leaves weights few levels.
    """
    from neuroport.capture import slayer
    from neuroport.capture.forward import unwrapped
    from neuroport.capture.native import integer_graph
    from neuroport.nets.synapse import exact
    from neuroport.quantization.input_checks import check_numbers, real_frames
    from neuroport.quantization.scales import fit_scales, freeze_scales, is_integer
    from neuroport.quantization.weight_levels import few_levels

    net = unwrapped(net)
    if slayer.is_slayer(net):
        return slayer.integer_graph(net, calibration)
    frames = real_frames(calibration)[:, :1]
    check_numbers(net)
    if not is_integer(net):
        freeze_scales(net, frames)
    else:
        changed = fit_scales(net, frames)
        if changed:
            warnings.warn(
                f"training moved weights beyond what the grid holds of {', '.join(changed)}: it is "
                "coarser now, and the network another one than was evaluated before; evaluate it "
                "again",
                QuantizationWarning,
                stacklevel=2,
            )
    with exact(frames):
        graph = integer_graph(net, frames)
    few = few_levels(graph)
    if few is not None:
        warnings.warn(few, QuantizationWarning, stacklevel=2)
    return graph
