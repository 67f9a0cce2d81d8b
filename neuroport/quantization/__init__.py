"""Quantization: a trained network becomes a graph of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuroport.arguments import as_array, is_module, takes
from neuroport.errors import NeuroportWarning

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from neuroport.graph.graph import Graph


class QuantizationWarning(NeuroportWarning):
    """Warning about a network that was quantized, for instance of few weight levels."""


@takes(net=is_module, calibration=as_array)
def quantize(net: nn.Module, calibration: Tensor | npt.ArrayLike, **options: Any) -> Graph:
    """Integer graph of ``net``.

    A network that was trained quantization-aware keeps its grid; a real-valued one of neuroport's
    layers gets its grid chosen now (in place), from its folded weights.

    Args:
        net: a network of neuroport layers; of lava-dl SLAYER blocks (which has a grid of its
            own, see :mod:`neuroport.capture.slayer`); of snnTorch or SpikingJelly
            (:mod:`neuroport.frontends.torch`, which is left as it is); or what a front end of
            another package takes.
        calibration: frames (T, N, C, H, W), or (T, N, *shape) where the network takes others.
        options: of networks of neuroport's layers ``widths``. ``"proven"``: currents and states
            keep to their widths for every input; of the calibration only the shape matters.
            ``"checked"``: the grid is as fine as all samples of the calibration permit, with room
            for twice as much; every engine checks every step, and ends with a ``RangeError`` where
            a width is left. Left out: as before, or proven. Of networks of snnTorch and
            SpikingJelly those of :func:`neuroport.import_torch`.

    Raises:
        CaptureError: the network's ``forward`` has no graph, or its numbers have no integers.
        FramesError: the calibration is no frames.
        IllegalError: a stream's worst case does not fit the hardware's widths.

    Warns:
        QuantizationWarning: weights that outgrew their grid in training, which was made coarser;
            a grid that leaves weights few levels.
    """
    from neuroport.capture.forward import unwrapped
    from neuroport.capture.frontend import front_end_of

    net = unwrapped(net)
    return front_end_of(net).quantize(net, calibration, **options)
