"""Refuse invalid inputs before quantization: NaNs, wrong types, wrong frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.errors import CaptureError, FramesError
from neuroport.nets.neuron import Lif
from neuroport.nets.synapse import Conv, GradedConv, Readout
from neuroport.nets.torch_parts import refreshed


@torch.no_grad()
def check_numbers(net: nn.Module) -> None:
    """Refuse a network whose numbers are not finite float32 on the CPU.

    Raises:
        CaptureError: names the parameter, or the layer whose norm gives such numbers.
    """
    for module in net.modules():
        refreshed(module)
    for path, tensor in _numbers(net):
        kind = tensor.dtype
        grid = path.rpartition(".")[2] in ("lsb", "source_lsb")
        if tensor.is_meta:
            raise CaptureError(
                f"{path!r} is on torch's meta device and has no values; write "
                'net.to_empty(device="cpu") and load the weights (load_state_dict) first'
            )
        if not kind.is_floating_point and not kind.is_complex:
            continue
        if kind not in ((torch.float64,) if grid else (torch.float32,)):
            raise CaptureError(
                f"{path!r} is {kind}; neuroport computes in float32, which holds every integer of "
                "a network: " + ("load the checkpoint again" if grid else "write net.float() first")
            )
        if tensor.device.type != "cpu":
            raise CaptureError(f"{path!r} is on {tensor.device}; write net.cpu() first")
        if not tensor.isfinite().all():
            what = "NaN (not a number)" if tensor.isnan().any() else "infinity"
            raise CaptureError(
                f"{path!r} holds {what}: the network's training diverged; load a checkpoint from "
                "before, and lower the learning rate"
            )
    for path, module in net.named_modules():
        match module:
            case Conv() if module.refusal() is None:
                made, cause = module.folded(), "its norm"
                if _negative(module):
                    cause = "a negative running variance of its norm"
            case Readout() if module.refusal() is None:
                made, cause = module.weights(), "its synapse"
            case _:
                continue
        if not all(tensor.isfinite().all() for tensor in made):
            raise CaptureError(
                f"layer {path!r} ({type(module).__name__}): {cause} gives numbers that are not "
                "finite (NaN or infinity); load a checkpoint from before its training diverged"
            )


def _numbers(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Return parameters and buffers of the layers."""
    for path, layer in net.named_modules():
        if isinstance(layer, (Conv, Readout, Lif)):
            for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
                yield f"{path}.{name}" if path else name, tensor


def _negative(module: Conv) -> bool:
    norms = [module.norm, *([module.frame_norm] if isinstance(module, GradedConv) else [])]
    found = [getattr(norm, "running_var", None) for norm in norms]
    return any(var is not None and bool((var < 0).any()) for var in found)


def real_frames(given: Any, what: str = "the calibration") -> Tensor:
    """Return frames (T, N, C, H, W) as float32.

    Raises:
        FramesError: the rank is wrong, frames are empty, or values are not finite real numbers.
    """
    try:
        if isinstance(given, Tensor):
            given = given.detach().cpu()
            given = (given.float() if given.is_floating_point() else given).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy warns about lists of unequal length
            frames = np.asarray(given)
    except (ValueError, TypeError, RuntimeError, Warning) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FramesError(f"{what}: no array of frames ({said})") from error
    wanted = "give (T, N, C, H, W): steps, samples, channels, height, width"
    if frames.ndim != 5 or 0 in frames.shape:
        raise FramesError(f"{what}: shape {frames.shape}; {wanted}")
    if frames.dtype.kind not in "buif":
        raise FramesError(f"{what}: values are {frames.dtype}; frames are real numbers")
    if frames.dtype.kind == "f" and not np.isfinite(frames).all():
        raise FramesError(f"{what}: values are NaN or infinite; frames are finite numbers")
    return torch.from_numpy(np.array(frames, np.float32))
