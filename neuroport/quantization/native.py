"""Quantize a network of neuroport's own layers."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING

from neuroport.errors import FramesError
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
    from neuroport.capture.connectivity import unwrapped
    from neuroport.capture.native_network import integer_graph
    from neuroport.nets.synapse import exact
    from neuroport.nets.widths import CHECKED, widths_of
    from neuroport.quantization.input_checks import check_numbers, real_frames
    from neuroport.quantization.scales import (
        fit_scales,
        frames_of_grid,
        freeze_scales,
        is_integer,
        set_options,
    )
    from neuroport.quantization.weight_levels import few_levels

    net, frames = unwrapped(net), real_frames(calibration)
    check_numbers(net)
    set_options(net, frames, widths, equalize, correct_bias)
    if not is_integer(net):
        freeze_scales(net, frames)
    elif frames_of_grid(net) not in (None, (len(frames), *frames.shape[2:])):
        _check_frames(net, frames)
    else:
        changed = fit_scales(net, frames)
        if changed:
            cause = "training moved weights"
            if widths_of(net) == CHECKED:
                cause += ", or frames of the calibration go,"
            warnings.warn(
                f"{cause} beyond what the grid holds of {', '.join(changed)}: it is coarser now, "
                "and the network another one than was evaluated before; evaluate it again",
                QuantizationWarning,
                stacklevel=5,
            )
    with exact(frames):
        graph = integer_graph(net, frames[:, :1])
    few = few_levels(graph)
    if few is not None:
        warnings.warn(few, QuantizationWarning, stacklevel=5)
    return graph


def _check_frames(net: nn.Module, frames: Tensor) -> None:
    """Refuse frames of another size than the grid is for, if they would change the network.

    Raises:
        FramesError: more steps or positions need a coarser grid.
    """
    from neuroport.quantization.scales import fit_scales, frames_of_grid

    changed = fit_scales(copy.deepcopy(net), frames)
    if changed:
        known = _size(frames_of_grid(net) or ())
        raise FramesError(
            f"the calibration has {_size((len(frames), *frames.shape[2:]))}, and the network has "
            f"its integers for {known}: these frames need a coarser grid of {', '.join(changed)}, "
            "which would make it another network than was trained or exported before; give frames "
            f"of {known}, or, if it is to run on these from now on, call fit_scales(net, frames) "
            "of neuroport.quantization.scales and evaluate it again"
        )


def _size(frames: tuple[int, ...]) -> str:
    steps, *shape = frames
    return f"{steps} step{'s' * (steps != 1)} of {'x'.join(map(str, shape))}"
