"""Quantization: a trained network becomes a graph of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroport.arguments import as_array, is_module, takes
from neuroport.errors import FramesError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from neuroport.graph.graph import Graph


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
        CaptureError: the network's ``forward`` has no graph.
        IllegalError: a stream's worst case does not fit the hardware's widths.
    """
    import numpy as np
    import torch

    from neuroport.capture import slayer
    from neuroport.capture.native import integer_graph
    from neuroport.quantization.scales import freeze_scales, is_integer

    if slayer.is_slayer(net):
        return slayer.integer_graph(net, calibration)
    if np.ndim(calibration) != 5:
        raise FramesError(
            f"frames are {np.shape(calibration)}; the network takes (T, N, C, H, W): "
            "frames[:, None] adds the axis of one sample"
        )
    frames = torch.as_tensor(np.asarray(calibration)[:, :1].astype(np.float32))
    if not is_integer(net):
        freeze_scales(net, frames)
    return integer_graph(net, frames)
