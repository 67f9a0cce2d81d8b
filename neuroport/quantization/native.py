"""Quantize a network of neuroport's own layers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from neuroport.quantization import QuantizationWarning

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from neuroport.graph.graph import Graph


def integers_of(
    net: nn.Module,
    calibration: Tensor | npt.ArrayLike,
    widths: str | None = None,
    equalize: bool | None = None,
    correct_bias: bool | None = None,
) -> Graph:
    """See :func:`neuroport.quantize`; a grid that is chosen here is stored in ``net``."""
    from neuroport.capture.native_network import integer_graph
    from neuroport.nets.synapse import exact
    from neuroport.quantization.input_checks import check_numbers, real_frames
    from neuroport.quantization.scales import fit_scales, freeze_scales, is_integer, set_options
    from neuroport.quantization.weight_levels import few_levels

    frames = real_frames(calibration)
    check_numbers(net)
    set_options(net, frames, widths, equalize, correct_bias)
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
                stacklevel=5,
            )
    with exact(frames):
        graph = integer_graph(net, frames[:, :1])
    few = few_levels(graph)
    if few is not None:
        warnings.warn(few, QuantizationWarning, stacklevel=5)
    return graph
