"""Quantization: a trained network becomes a graph of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neuroport.graph.graph import Graph


def quantize(net: nn.Module, calibration: Tensor) -> Graph:
    """Integer graph of ``net``.

    A network that was trained quantization-aware keeps its grid; a real-valued one gets its grid
    chosen now (in place), from its folded weights.

    Args:
        net: a network of neuroport layers.
        calibration: frames (T, N, C, H, W).
    """
    from neuroport.capture.native import integer_graph
    from neuroport.quantization.scales import freeze_scales, is_integer

    if not is_integer(net):
        freeze_scales(net, calibration)
    return integer_graph(net, calibration)
