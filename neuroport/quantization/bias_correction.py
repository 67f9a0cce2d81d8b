"""Correct the biases of a quantized network by the mean errors of its currents.

Rounded weights shift the mean of a layer's current, and so do the spikes that differ before it.
With the currents ``x`` of the real-valued network and ``x_q`` of the integer one, both in real
units and with their biases, every layer's bias becomes

    b + E[x] - E[x_q],

the mean over steps, samples of the calibration and positions, for each channel. Layers are
corrected in the order of their calls, each in a network whose earlier layers are corrected. The
graph has the correction in the integer biases of ``Lif`` and ``Readout`` populations. Relays have
no bias: the correction of what they round is carried on to the neurons behind them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.capture.connectivity import LayerCall, evaluating, heard, unit_of
from neuroport.errors import FramesError
from neuroport.nets.held_numbers import number
from neuroport.nets.stream import Stream, per_position
from neuroport.nets.synapse import Biased, GradedConv, Readout
from neuroport.nets.torch_parts import OnGrid
from neuroport.quantization.calibration import BATCH


def check_samples(frames: Tensor) -> None:
    """Refuse frames on which no mean can be measured.

    Raises:
        FramesError: all values are 0.
    """
    if not frames.any():
        raise FramesError(
            f"the calibration: all values of {tuple(frames.shape)} are 0, and correct_bias "
            "measures the errors of currents on its samples; give some dozens of training samples, "
            "or leave correct_bias out"
        )


@torch.no_grad()
def correct_biases(net: nn.Module, layers: Sequence[LayerCall], frames: Tensor) -> None:
    """Choose the corrections of ``net``, which has them and is in its integer phase.

    A layer that is called several times is corrected by the error of its first call. Layers of
    constant weights (gates, spikes that are passed on) keep their biases.

    Args:
        frames: (T, N, C, H, W), of which all samples run at once in integers.
    """
    corrected = {
        layer.path: layer.module
        for layer in layers
        if isinstance(layer.module, Biased) and not layer.module.is_constant()
    }
    for module in net.modules():
        if isinstance(module, Biased) and module.correction is not None:
            module.correction.zero_()
    calls = [layer.name for layer in layers if layer.path in corrected]
    wanted = _real_means(net, list(corrected), calls, frames)
    named = {layer.name: layer for layer in layers}
    done = set[str]()

    def correct(name: str, module: Any, args: Sequence[Any], output: Any) -> None:
        layer = named[name]
        if layer.path in done:
            return
        done.add(layer.path)
        if layer.readout is not None:
            module.correction.copy_(wanted[name] - _potential(layer.readout, args[0]))
            return
        module.correction.copy_(wanted[name] - _mean(output, layer, named))
        # what follows reads the corrected current
        object.__setattr__(output, "bias", module.corrected(output.bias))

    with evaluating(net), heard(net, corrected.items(), correct, calls):
        net(frames.float())


def _real_means(
    net: nn.Module, paths: Sequence[str], calls: Sequence[str], frames: Tensor
) -> Mapping[str, Tensor]:
    """Return the mean current of every call in the real-valued network, for each channel."""
    real = copy.deepcopy(net)
    for module in real.modules():
        if isinstance(module, OnGrid):
            module.lsb.zero_()
    sums: dict[str, Tensor] = {}

    def hear(name: str, module: Any, args: Sequence[Any], output: Any) -> None:
        if isinstance(module, Readout):
            weight, bias = module.weights()
            mean = weight.double() @ _over_positions(args[0]) + bias
        else:
            mean = _over_positions(output)
        sums[name] = sums.get(name, 0.0) + mean * args[0].shape[1]

    layers = [(path, real.get_submodule(path)) for path in paths]
    with evaluating(real), heard(real, layers, hear, calls):
        for first in range(0, frames.shape[1], BATCH):
            real(frames[:, first : first + BATCH].float())
    return {name: total / frames.shape[1] for name, total in sums.items()}


def _over_positions(x: Tensor) -> Tensor:
    """The mean of each channel of (T, N, C, H, W)."""
    return x.mean((0, 1, 3, 4), dtype=torch.float64)


def _mean(current: Stream, layer: LayerCall, named: Mapping[str, LayerCall]) -> Tensor:
    """Return the mean of an integer current in real units, its bias included."""
    module = layer.synapse
    assert module is not None
    unit = number(module.lsb)
    if not isinstance(module, GradedConv):  # its LSB is that of a message of 1
        unit *= unit_of(layer.inputs[0], named)
    mean = _over_positions(current.value) * unit
    if current.factor is not None:
        mean = mean / current.factor.reshape(-1)
    return mean + per_position(current.bias).mean((1, 2), dtype=torch.float64)


def _potential(module: Readout, spikes: Tensor) -> Tensor:
    """Return the mean of what a readout integrates, in real units."""
    weight = module.integer_weight().double() * number(module.lsb)
    return weight @ _over_positions(spikes) + module.weights()[1]
