"""Weights from SLAYER's blocks to neuroport's own layers, and back.

Both use the same units: SLAYER's quantized weights, thresholds and biases are integers over
``scale`` (64), and its decays are integers over 4096. A pair of neuroport layers in its integer
phase with ``lsb = 1 / scale`` therefore sends SLAYER's spikes, and a SLAYER block with neuroport's
integers over 64 sends neuroport's.

Spikes are equal on the CPU, in evaluation, of blocks without ``delay_shift`` (with it they are a
step later), except:

* if a threshold is 4096 or more as an integer (64 in SLAYER's units): SLAYER compares in float32,
  which then cannot distinguish *equal* from *above*. Both functions refuse such thresholds;
* if a state exceeds 24 bits: neuroport wraps and saturates as the hardware does, SLAYER does not;
* on a GPU, where SLAYER's kernel resets a neuron that reaches its threshold without a spike.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, NoReturn

import lava.lib.dl.slayer as slayer
import numpy as np
import torch
from lava.lib.dl.slayer.block import base
from lava.lib.dl.slayer.neuron.norm import MeanOnlyBatchNorm
from torch import Tensor, nn

from neuroport.errors import CaptureError
from neuroport.graph.integers import DECAY_UNITY, WEIGHT_MAX
from neuroport.nets.batchnorm import BiasNorm
from neuroport.nets.neuron import Lif
from neuroport.nets.slayer.integers import integers_of
from neuroport.nets.stream import per_position
from neuroport.nets.synapse import Conv, GradedConv, snap_weight

SCALE = 64
STEPS = 16  # of random spikes, with which a block is compared
HIGHEST = SCALE << 6  # from this threshold on, float32 cannot distinguish equal from above


@torch.no_grad()
def from_slayer(block: Any) -> nn.Sequential:
    """Return ``nn.Sequential(Conv, Lif)`` with the weights of ``block``, in its integer phase.

    It reads (T, N, C, H, W); the block reads (N, C, H, W, T). A Dense on rows of C numbers becomes
    a 1x1 convolution of (T, N, C, 1, 1). The real weights are copied, so that training can
    continue.

    Raises:
        CaptureError: the block is not a Dense or Conv of ``slayer.block.cuba``, or has a feature
            that the layers lack; the error names it and the alternative.
    """
    name = type(block).__name__
    own: Any = getattr(block, "neuron", None)
    kinds = (base.AbstractDense, base.AbstractConv)
    if not isinstance(block, kinds) or not isinstance(own, slayer.neuron.cuba.Neuron):
        _refuse(name, "is not a Dense or Conv of slayer.block.cuba; capture the network instead")
    if block.delay is not None:
        _refuse(name, "has axonal delays, which the layers lack; capture the network instead")
    if not own.shared_param or own.persistent_state or own.graded_spike:
        _refuse(name, "has neurons of their own (shared_param, persistent_state, graded_spike)")
    if own.norm is not None and not isinstance(own.norm, MeanOnlyBatchNorm):
        _refuse(name, f"has a {type(own.norm).__name__}; use MeanOnlyBatchNorm or no norm")
    scale, synapse = int(own.w_scale), block.synapse
    _below(name, int(own.threshold * scale))
    used = integers_of(name, synapse, scale, getattr(block, "mask", None))
    if np.abs(used).max() > WEIGHT_MAX or np.any(used & 1):
        _refuse(name, f"has weights {used.min()}..{used.max()}, not even in [-254, 254]")

    outputs, inputs, *kernel = used.shape
    stride, padding, dilation = (
        tuple(map(int, getattr(synapse, item)[:2])) for item in ("stride", "padding", "dilation")
    )
    conv = Conv(
        inputs * synapse.groups, outputs, 1, padding=0, groups=synapse.groups, norm=BiasNorm
    )
    conv.synapse = nn.Conv2d(
        inputs * synapse.groups,
        outputs,
        tuple(kernel),  # type: ignore[arg-type]
        stride,  # type: ignore[arg-type]
        padding,  # type: ignore[arg-type]
        dilation,  # type: ignore[arg-type]
        synapse.groups,
        bias=False,
    )
    real = synapse.weight.detach()[..., 0]
    same = torch.equal(snap_weight(real, 1 / scale), torch.from_numpy(used).to(real.dtype))
    conv.synapse.weight.copy_(real if same else torch.from_numpy(used) / scale)
    if own.norm is not None:
        mean = own.norm.pre_hook_fx(own.norm.running_mean)
        conv.norm.bias.copy_(-mean)
    lif = Lif(own.threshold)
    lif.current_decay.copy_(own.current_decay.clamp(0, DECAY_UNITY))
    lif.voltage_decay.copy_(own.voltage_decay.clamp(0, DECAY_UNITY))
    for layer in (conv, lif):
        layer.lsb.fill_(1 / scale)
    found = nn.Sequential(conv, lif).eval()
    _check_spikes(name, block, found)
    return found


def _check_spikes(name: str, block: Any, layers: nn.Sequential) -> None:
    """Compare the layers with the block on random spikes.

    A block may hold more than is read of it: a bias, constants of its neuron, states that an
    earlier run left.

    Raises:
        CaptureError: they send other spikes.
    """
    synapse: Any = layers[0].synapse
    sides = zip(synapse.kernel_size, synapse.dilation, strict=True)
    reach = [spread * (side - 1) + 3 for side, spread in sides]
    size = [1, 1] if isinstance(block, base.AbstractDense) else reach
    dice = torch.Generator().manual_seed(0)
    spikes = torch.rand(STEPS, 2, synapse.in_channels, *size, generator=dice) < 0.5
    own = copy.deepcopy(block).cpu().eval()
    states = {n: state for n, state in own.neuron.named_buffers() if n.endswith("_state")}
    if left := [n for n, state in states.items() if state.any()]:
        _refuse(name, f"holds states of an earlier run ({', '.join(left)}); set them to zeros")
    own.neuron.shape = None  # of another map
    try:
        got = own(spikes.float().movedim(0, -1).squeeze((2, 3) if size == [1, 1] else ()))
    except Exception as error:  # whatever it is that the block does with spikes of its shape
        _refuse(name, f"fails on random spikes ({type(error).__name__}: {error})")
    got = got[0] if isinstance(got, tuple) else got
    want = layers(spikes.float()).movedim(0, -1)
    shift = int(bool(getattr(block, "delay_shift", False)))
    got, want = got[..., shift:], want[..., : STEPS - shift]
    if got.numel() != want.numel() or not torch.equal(got.reshape(want.shape), want):
        _refuse(
            name,
            "sends other spikes than its weights and constants say (tried with random ones): it "
            "holds what the layers lack, such as a bias of its synapse; capture the network "
            "instead, which names it",
        )


@torch.no_grad()
def to_slayer(conv: Conv, lif: Lif, *, delay_shift: bool = True) -> Any:
    """Return a ``slayer.block.cuba.Conv`` with the weights, folded norm and neuron of two layers.

    In the integer phase the block has the layers' integers, for any ``lsb``. In the real phase it
    has their real numbers, which SLAYER then quantizes, so that spikes may differ.

    Raises:
        CaptureError: SLAYER's 8 bits or its float32 cannot represent a weight or a threshold.
    """
    if isinstance(conv, GradedConv):
        _refuse(type(conv).__name__, "reads graded values; a SLAYER block reads spikes")
    if conv.lsb != lif.lsb:
        _refuse(type(conv).__name__, "reads averages; a SLAYER block reads spikes")
    unit = float(conv.lsb) or 1 / SCALE
    weight, bias = conv.folded()
    if float(conv.lsb):
        weight = snap_weight(weight, conv.unit()) * 2.0 ** int(conv.exponent) / SCALE
        bias = (per_position(bias) / unit).round() / SCALE
        threshold = lif.integer_threshold
    else:
        threshold = int(lif.threshold * SCALE)
    largest = float(weight.abs().max()) * SCALE
    if largest > WEIGHT_MAX:
        _refuse("the convolution", f"has weights up to {largest:.0f}/{SCALE}, SLAYER's end at 254")
    if bias.squeeze().ndim > 1:
        _refuse("the convolution", "has a bias that differs by position; SLAYER's is per channel")
    _below("the neuron", threshold)
    current, voltage = lif.decays
    neuron = {
        "threshold": threshold / SCALE,
        "current_decay": current / DECAY_UNITY,
        "voltage_decay": voltage / DECAY_UNITY,
        "norm": partial(MeanOnlyBatchNorm, len(weight)) if bias.any() else None,
    }
    block = slayer.block.cuba.Conv(
        neuron,
        conv.synapse.in_channels,
        len(weight),
        tuple(weight.shape[2:]),
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        delay_shift=delay_shift,
    )
    block.synapse.weight.copy_(weight[..., None])
    if bias.any():
        block.neuron.norm.running_mean.copy_(-bias.reshape(-1))
        # SLAYER's own quantizer keeps only even biases up to 254
        block.neuron.norm.pre_hook_fx = whole_bias
    return block


def whole_bias(mean: Tensor, descale: bool = False) -> Tensor:
    """Hook for SLAYER that rounds a norm's mean to integers over 64, not to even 8-bit ones."""
    rounded = (mean * SCALE).round()
    steps = mean * SCALE + (rounded - mean * SCALE).detach()
    return steps if descale else steps / SCALE


def _below(name: str, threshold: int) -> None:
    if threshold >= HIGHEST:
        _refuse(
            name,
            f"has the threshold {threshold}, where SLAYER's float32 takes reaching it for passing "
            f"it; keep it below {HIGHEST} (64 in SLAYER's units)",
        )


def _refuse(name: str, why: str) -> NoReturn:
    raise CaptureError(f"{name} {why}")
