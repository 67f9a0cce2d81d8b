"""Quantization: turn a trained network into a graph of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuroport.arguments import as_array, is_module, takes
from neuroport.errors import NeuroportWarning

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from neuroport.graph.graph import Graph


class QuantizationWarning(NeuroportWarning):
    """Warning about a quantized network, for instance about few weight levels."""


@takes(net=is_module, calibration=as_array)
def quantize(net: nn.Module, calibration: Tensor | npt.ArrayLike, **options: Any) -> Graph:
    """Return the integer graph of ``net``.

    After quantization-aware training a network keeps its grid, which is made coarser (in place)
    only where weights outgrew it. For a real-valued network of
    neuroport's layers, the grid is chosen now (in place), from its folded weights.

    Args:
        net: a network of neuroport's layers, of lava-dl SLAYER blocks (which have their own grid,
            see :mod:`neuroport.capture.slayer`), of snnTorch or SpikingJelly
            (:mod:`neuroport.frontends.torch`; it is not changed), or of another package's front
            end.
        calibration: frames (T, N, C, H, W), or (T, N, *shape) if the network's input has another
            shape.
        options: for networks of neuroport's layers ``widths``. With ``"proven"``, currents and
            states fit their widths for every input, and only the shape of the calibration matters.
            With ``"checked"``, the grid is as fine as all samples of the calibration permit, with a
            margin of a factor of two; every engine checks every step, and ends with a
            ``RangeError`` if a width is exceeded. By default the network's setting, or proven.
            With ``equalize=True``, each channel of a current has an LSB of its own, finer than that
            of all by a power of two, where its weights are small; its threshold is larger by as
            much. With ``correct_bias=True``, biases are corrected by the mean errors of currents on
            the calibration's samples (:mod:`neuroport.quantization.bias_correction`). For
            networks of snnTorch and SpikingJelly, the options of :func:`neuroport.import_torch`.

    Raises:
        CaptureError: a graph cannot express the network's ``forward``, or its numbers are not
            finite.
        FramesError: the calibration is not valid frames; or its frames have more steps or positions
            than those for which the network has its integers, and need others; or biases are to be
            corrected, and all of its values are 0.
        IllegalError: a stream's worst case does not fit the hardware's widths.

    Warns:
        QuantizationWarning: weights outgrew their grid in training, so that it was made coarser; or
            a grid leaves weights few levels.
    """
    from neuroport.capture.forward import unwrapped
    from neuroport.capture.frontend import front_end_of

    net = unwrapped(net)
    return front_end_of(net).quantize(net, calibration, **options)
