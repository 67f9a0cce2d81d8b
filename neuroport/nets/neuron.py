"""The leaky integrate-and-fire neuron, in real numbers and in integers.

One module serves both phases. With a tensor as input it is the real-valued neuron that is trained
first. With a :class:`~neuroport.nets.stream.Stream` of integer currents, its forward pass *is* the
integer semantics of :mod:`neuroport.graph.integers`, with straight-through gradients. Parameters
have SLAYER's names (``current_decay``, ``voltage_decay``, in units of 1/4096).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.arguments import between, flag, is_module, one_of, positive, takes
from neuroport.errors import LayerError
from neuroport.graph import integers
from neuroport.kernels import kernels, lif_kernels, torch_neurons
from neuroport.kernels.batchnorm_kernels import NeuronConstants
from neuroport.kernels.surrogate import SURROGATES
from neuroport.nets import fused_batchnorm
from neuroport.nets.fused_batchnorm import DeferredCurrent, laid_out_like
from neuroport.nets.held_numbers import number
from neuroport.nets.recipe import choice
from neuroport.nets.stream import Stream, per_position
from neuroport.nets.torch_parts import UNIT, OnGrid


def _backward_through_time(
    grad_spikes: Tensor,
    v: Tensor,
    unit: float,
    offset: float,
    surrogate: str,
    current_keep: float,
    voltage_keep: float,
    threshold: float | Tensor | None,
    scale: float = 1.0,
    gain: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`torch_neurons.backward`, computed by compiled kernels if they support it."""
    grad_spikes = laid_out_like(grad_spikes, v)
    found = None
    if gain is None and not isinstance(threshold, Tensor):
        found = lif_kernels.backward(
            grad_spikes, v, unit, offset, surrogate, current_keep, voltage_keep, threshold, scale
        )
    return found or torch_neurons.backward(
        grad_spikes,
        v,
        unit,
        offset,
        surrogate,
        current_keep,
        voltage_keep,
        threshold,
        scale,
        gain,
    )


def _sum_to(x: Tensor, shape: torch.Size) -> Tensor:
    """Sum (T, N, ...) over steps, samples and all other axes that ``shape`` lacks."""
    rest = [2 + i for i, size in enumerate(shape) if size == 1 and len(shape) == x.ndim - 2]
    if rest:
        return x.sum([0, 1, *rest]).reshape(shape)
    # torch is slow if the kept axes are not in memory order
    order = sorted(range(2, x.ndim), key=x.stride, reverse=True)
    summed = x.permute(0, 1, *order).sum((0, 1))
    return summed.permute([order.index(axis) for axis in range(2, x.ndim)]).sum_to_size(shape)


class _RealLif(torch.autograd.Function):
    """u = (1-du) u + x;  v = (1-dv) v + u;  s = v > threshold;  v = 0 where s.

    Decays and threshold are given twice: as numbers to compute with, and as tensors that receive
    the gradient if they are trained.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        current_decay: Tensor,
        voltage_decay: Tensor,
        trained_threshold: Tensor | None,
        current_keep: float,
        voltage_keep: float,
        threshold: float,
        surrogate: str,
        detach_reset: bool,
    ) -> Tensor:
        current = lif_kernels.dense(current)
        found = lif_kernels.real_forward(current, current_keep, voltage_keep, threshold)
        v, spikes = found or torch_neurons.real_forward(
            current, current_keep, voltage_keep, threshold
        )
        ctx.save_for_backward(v)
        ctx.learned = (current_decay, voltage_decay, trained_threshold)
        ctx.constants = (current_keep, voltage_keep, threshold, surrogate, detach_reset)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor | None, ...]:
        (v,) = ctx.saved_tensors
        current_keep, voltage_keep, threshold, surrogate, detach_reset = ctx.constants
        grad_v, grad = _backward_through_time(
            grad_spikes,
            v,
            1.0,
            threshold,
            surrogate,
            current_keep,
            voltage_keep,
            None if detach_reset else threshold,
        )
        learned: list[Tensor | None] = [None] * 3
        if any(ctx.needs_input_grad[1:4]):
            found = torch_neurons.constants_backward(v, grad_v, grad, voltage_keep, threshold)
            learned = [
                each.to(like.dtype).reshape(like.shape) if asked else None
                for each, like, asked in zip(
                    found, ctx.learned, ctx.needs_input_grad[1:4], strict=True
                )
            ]
        return grad, *learned, None, None, None, None, None


def integrate(
    current: Tensor, bias: Tensor, current_decay: int, voltage_decay: int, threshold: int | Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`torch_neurons.integer_forward`, computed by compiled kernels if they support it."""
    current, bias = lif_kernels.dense(current), bias.to(torch.int64)
    found = None
    if not isinstance(threshold, Tensor):
        found = lif_kernels.integer_forward(current, bias, current_decay, voltage_decay, threshold)
    return found or torch_neurons.integer_forward(
        current, bias, current_decay, voltage_decay, threshold
    )


class IntegerLif(torch.autograd.Function):
    """The integer neuron; gradients treat currents and voltages as real multiples of ``lsb``.

    ``threshold`` is one integer. With a ``gain`` that converts the current's units into those of
    the surrogate, it is one integer per channel, (C, 1, 1).
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        bias: Tensor,
        current_decay: int,
        voltage_decay: int,
        threshold: int | Tensor,
        lsb: float,
        surrogate: str,
        detach_reset: bool,
        gain: Tensor | None = None,
    ) -> Tensor:
        if isinstance(threshold, Tensor):
            threshold = threshold.to(torch.int64)
        neurons = current_decay, voltage_decay, threshold
        alike = gain is None and not isinstance(threshold, Tensor)  # all channels
        ctx.recomputes = alike and lif_kernels.recomputes(current, threshold, surrogate)  # type: ignore[arg-type]
        if ctx.recomputes:
            current = lif_kernels.dense(current)
            shifted = lif_kernels.shifted_biases(current, bias.to(torch.int64))
            spikes = lif_kernels.integer_spikes(current, shifted, *neurons)  # type: ignore[arg-type]
            ctx.save_for_backward(current, shifted)
        else:
            distance, spikes = integrate(current, bias, *neurons)
            ctx.save_for_backward(distance)
        ctx.bias_shape = bias.shape
        reset_at = None if detach_reset else threshold * lsb
        ctx.constants = (current_decay, voltage_decay, lsb, surrogate, reset_at, gain)
        ctx.threshold = threshold
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor | None, ...]:
        current_decay, voltage_decay, lsb, surrogate, reset_at, gain = ctx.constants
        if ctx.recomputes:
            current, shifted = ctx.saved_tensors
            neurons = current_decay, voltage_decay, ctx.threshold
            if kernels() is not None:
                unit = lsb / (1 << integers.STATE_SHIFT)
                grad = laid_out_like(grad_spikes, current)
                grad_v, grad_u = lif_kernels.integer_backward(
                    grad, current, shifted, *neurons, unit, surrogate, reset_at, lsb
                )
                grad_bias = _sum_to(grad_v, ctx.bias_shape)
                return grad_u, grad_bias, None, None, None, None, None, None, None
            # switched off since
            distance, _ = integrate(current, shifted >> integers.STATE_SHIFT, *neurons)
        else:
            (distance,) = ctx.saved_tensors
        unity = integers.DECAY_UNITY
        grad_v, grad_u = _backward_through_time(
            grad_spikes,
            distance,
            lsb / (1 << integers.STATE_SHIFT),
            0.0,
            surrogate,
            1 - current_decay / unity,
            1 - voltage_decay / unity,
            reset_at,
            lsb,
            gain,
        )
        grad_bias = _sum_to(grad_v, ctx.bias_shape)
        grad_threshold = None
        if gain is not None:
            # as if the gain scaled v and the threshold stayed constant: v / threshold
            ratio = 1 + distance / (ctx.threshold.clamp(min=1) << integers.STATE_SHIFT)
            distance = distance * (gain * (lsb / (1 << integers.STATE_SHIFT)))
            direct = grad_spikes * SURROGATES[surrogate](distance) * gain * ratio
            grad_threshold = -_sum_to(direct, gain.shape) * lsb
        return grad_u, grad_bias, None, None, grad_threshold, None, None, None, None


LEAST_THRESHOLD = 2.0**-6  # of one that is learned
_threshold, _decay = positive(LayerError), between(0, 1, LayerError)
FORGETS = 1 - 1 / integers.DECAY_UNITY  # the fastest decay of a voltage that a chip has


class Lif(OnGrid):
    """Leaky integrate-and-fire population.

    Args:
        threshold: real threshold; a spike is ``v > threshold``, strictly.
        voltage_decay: fraction of the voltage lost per step (0.75 in MS-ResNet).
        current_decay: fraction of the current lost per step; 1 means no synaptic memory.
        surrogate: a name in :data:`neuroport.kernels.surrogate.SURROGATES`.
        detach_reset: whether the gradient stops at the reset (as in MS-ResNet's code).
        fires_at: a spike is ``v >= threshold`` instead (as in SpikingJelly). The neuron then
            compares with the next smaller number of the voltage's type, or the next smaller
            integer.

    Raises:
        LayerError: the threshold is not a positive number, a decay is not within 0..1, or there is
            no such surrogate.

    Input and output are (T, N, C, H, W). In the integer phase the input is a ``Stream`` and
    ``lsb`` (real value of one unit of current) is positive. Decays and threshold are constants
    unless :func:`learn` makes them parameters of the real phase; :meth:`fix` ends this.
    """

    current_decay: Tensor
    voltage_decay: Tensor
    trained_threshold: nn.Parameter | None
    lsb: Tensor

    @takes(
        voltage_decay=_decay,
        current_decay=_decay,
        surrogate=one_of(SURROGATES, LayerError),
        detach_reset=flag(LayerError),
        fires_at=flag(LayerError),
    )
    def __init__(
        self,
        threshold: float = 0.5,
        voltage_decay: float = 0.75,
        current_decay: float = 1.0,
        surrogate: str = "rectangular",
        detach_reset: bool = True,
        fires_at: bool = False,
    ) -> None:
        super().__init__()
        self._threshold = _threshold(threshold, "threshold")
        self.fires_at = fires_at
        self.surrogate = surrogate
        self.detach_reset = detach_reset
        unity = float(integers.DECAY_UNITY)
        self.current_decay = nn.Parameter(torch.tensor([unity * current_decay]), False)
        self.voltage_decay = nn.Parameter(torch.tensor([unity * voltage_decay]), False)
        self.register_parameter("trained_threshold", None)
        self.register_buffer("lsb", torch.zeros((), dtype=torch.float64))

    @property
    def threshold(self) -> float:
        """Real threshold, learned or not."""
        return self._threshold if self.trained_threshold is None else number(self.trained_threshold)

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = _threshold(value, "threshold")
        if self.trained_threshold is not None:
            self.trained_threshold.data.fill_(value)

    def exceeded(self, dtype: torch.dtype = torch.float32) -> float:
        """The number of that type that the voltage must exceed for the neuron to fire."""
        if not self.fires_at:
            return self.threshold
        real = np.float64 if dtype == torch.float64 else np.float32
        return float(np.nextafter(real(self.threshold), real(-np.inf)))

    @property
    def decays(self) -> tuple[int, int]:
        """Current and voltage decay on the integer grid, 0..4096, in both phases."""
        return round(number(self.current_decay)), round(number(self.voltage_decay))

    @property
    def integer_threshold(self) -> int:
        """Threshold in units of ``lsb``; exact comparison keeps ``v > threshold`` strict."""
        return int(self._whole(torch.tensor(self.threshold / number(self.lsb), dtype=UNIT)))

    def _whole(self, units: Tensor) -> Tensor:
        """The integer thresholds of real ones, all in units."""
        # a learned threshold is a multiple of lsb, except for the rounding of float32
        if self.trained_threshold is not None:
            return units.round() - int(self.fires_at)
        return (units - 1e-9).ceil() - 1 if self.fires_at else (units + 1e-9).floor()

    def thresholds(self, stream: Stream) -> int | Tensor:
        """Integer threshold, or that of each channel of an equalized stream, (C,)."""
        if stream.finer is None:
            return self.integer_threshold
        units = self.threshold / self.lsb * 2.0 ** stream.finer.to(self.lsb.dtype)
        return self._whole(units).to(stream.value.dtype)

    def constants(self) -> NeuronConstants | None:
        """Constants of one level in real numbers, for kernels; None if kernels cannot use them."""
        if any(p.requires_grad for p in self.parameters(recurse=False)):
            return None
        current, voltage = (1 - decay / integers.DECAY_UNITY for decay in self.decays)
        found = NeuronConstants(
            (self.exceeded(),), current, voltage, self.surrogate, self.detach_reset
        )
        return found if found.known else None

    def learn(self, decays: bool, threshold: bool) -> None:
        """Make decays (that of the current only if it has memory) and threshold parameters."""
        self.voltage_decay.requires_grad_(decays)
        # a network without values (on the device meta) needs only the shapes
        remembers = self.current_decay.is_meta or self.decays[0] < integers.DECAY_UNITY
        self.current_decay.requires_grad_(decays and remembers)
        if threshold and self.trained_threshold is None:
            self.trained_threshold = nn.Parameter(torch.tensor([self._threshold]))

    @torch.no_grad()
    def bound(self) -> None:
        """Limit learned values to the chip's range; a threshold stays above 0."""
        if self.current_decay.requires_grad:
            self.current_decay.clamp_(1, integers.DECAY_UNITY)
        if self.voltage_decay.requires_grad:
            self.voltage_decay.clamp_(0, integers.DECAY_UNITY - 1)
        if self.trained_threshold is not None and self.trained_threshold.requires_grad:
            self.trained_threshold.clamp_(min=LEAST_THRESHOLD)

    @torch.no_grad()
    def fix(self) -> None:
        """Round learned values to the grid (a threshold to multiples of ``lsb``) and fix them."""
        self.bound()
        for decay in (self.current_decay, self.voltage_decay):
            if decay.requires_grad:
                decay.round_()
        if self.trained_threshold is not None:
            lsb = self.lsb.item()
            self.trained_threshold.fill_(max(1, round(self.threshold / lsb)) * lsb)
        self._hold()

    def _hold(self) -> None:
        for parameter in (self.current_decay, self.voltage_decay, self.trained_threshold):
            if parameter is not None:
                parameter.requires_grad_(False)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self.lsb > 0:  # learned values are fixed in the integer phase
            self._hold()

    def gain(self, stream: Stream) -> Tensor | None:
        """The factor from a channel's unit to that of the surrogate, ``lsb``, (C, 1, 1)."""
        return None if stream.factor is None else 1 / stream.factor

    def integer_bias(self, stream: Stream) -> Tensor:
        """Bias in units of ``lsb``, (C, 1, 1) or (C, H, W), rounded once; straight-through."""
        real = per_position(stream.bias) / self.lsb.to(stream.bias.dtype)
        if stream.factor is not None:
            real = real * stream.factor
        return real + (real.round() - real).detach()

    def forward(self, x: Tensor | Stream | DeferredCurrent) -> Tensor:
        x, together = _together(self, x)
        if together is not None:
            return together
        current_decay, voltage_decay = self.decays
        if isinstance(x, Stream):
            threshold, gain = self.thresholds(x), None
            if isinstance(threshold, Tensor):
                threshold, gain = per_position(threshold), self.gain(x)
            spikes = IntegerLif.apply(
                x.value,
                self.integer_bias(x),
                current_decay,
                voltage_decay,
                threshold,
                number(self.lsb),
                self.surrogate,
                self.detach_reset,
                gain,
            )
        else:
            unity = integers.DECAY_UNITY
            spikes = _RealLif.apply(
                x,
                self.current_decay,
                self.voltage_decay,
                self.trained_threshold,
                1 - current_decay / unity,
                1 - voltage_decay / unity,
                self.exceeded(x.dtype),
                self.surrogate,
                self.detach_reset,
            )
        assert isinstance(spikes, Tensor)
        return spikes

    def extra_repr(self) -> str:
        current_decay, voltage_decay = self.decays
        at = ", fires_at=True" if self.fires_at else ""
        return f"threshold={self.threshold}, decay={current_decay}/{voltage_decay}{at}"


def _together(
    neuron: Lif | Mlf, x: Tensor | Stream | DeferredCurrent
) -> tuple[Tensor | Stream, Tensor | None]:
    """Return the current, and the spikes of all steps and levels, computed together.

    None if kernels or constants are not available."""
    if isinstance(x, DeferredCurrent):
        levels = neuron.constants()
        plain = x.x if levels is not None else x.tensor()
        return plain, None if levels is None else x.spikes(levels)
    if isinstance(x, Stream) or not torch.is_grad_enabled() or x.ndim != 5:
        return x, None
    levels = neuron.constants()
    return x, None if levels is None else fused_batchnorm.spikes(x, levels)


class Mlf(nn.Module):
    """Multi-level neuron: K populations under one current, whose spikes add up to 0..K.

    ``u_k = (1 - decay) u_k (1 - s_k) + x``, ``s_k = u_k > threshold_k``, ``o = sum_k s_k``. On a
    chip it is K populations that share a dendrite. Source: MLF, official code
    (``langfengQ/MLF-DSResNet``), whose thresholds are 0.6, 1.6 and 2.6 and whose gradient passes
    the resets. Up to four such levels are nested: if a level fires, all lower levels fire.
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (0.6, 1.6, 2.6),
        voltage_decay: float = 0.75,
        surrogate: str = "rectangular",
        detach_reset: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(thresholds, Real) or not len(thresholds):
            raise LayerError(f"thresholds is {thresholds!r}; give one for each level, (0.6, 1.6)")
        levels = [
            Lif(threshold, voltage_decay, surrogate=surrogate, detach_reset=detach_reset)
            for threshold in thresholds
        ]
        self.levels = nn.ModuleList(levels)

    def constants(self) -> NeuronConstants | None:
        """Constants of all levels, see :meth:`Lif.constants`."""
        each = [level.constants() for level in self.levels]
        heard = any(level._forward_hooks or level._forward_pre_hooks for level in self.levels)
        if heard or any(one is None for one in each):
            return None
        found = [replace(one, thresholds=()) for one in each if one is not None]
        levels = replace(found[0], thresholds=tuple(level.exceeded() for level in self.levels))
        return levels if levels.known and all(one == found[0] for one in found) else None

    def forward(self, x: Tensor | Stream | DeferredCurrent) -> Tensor:
        x, together = _together(self, x)
        if together is not None:
            return together
        first, *others = self.levels
        total: Tensor = first(x)
        for level in others:
            total = total + level(x)
        return total


@takes(net=is_module, what=choice("learn"))
def learn(net: nn.Module, what: str) -> nn.Module:
    """Train ``decay``, ``threshold`` or ``both`` of every neuron of ``net`` (or ``none``).

    Decays are also rounded to 1/4096 in the real phase; the gradient ignores the rounding.

    Raises:
        LayerError: there is no such choice, or thresholds are those of neurons with several levels,
            whose differences are fixed.
    """
    decays, threshold = what in ("decay", "both"), what in ("threshold", "both")
    for module in net.modules():
        if threshold and isinstance(module, Mlf) and len(module.levels) > 1:
            raise LayerError(
                f"thresholds of {len(module.levels)} levels cannot be learned: the levels share "
                "one grid, on which their distances are exact; learn the decays alone"
            )
    for neuron in neurons_of(net):
        neuron.learn(decays, threshold)
    return net


def neurons_of(net: nn.Module) -> Iterator[Lif]:
    """Return all neurons of a network, in the order of its modules."""
    return (module for module in net.modules() if isinstance(module, Lif))


def bound(net: nn.Module) -> None:
    """Limit what the neurons learned to its range; call it after every optimizer step."""
    for neuron in neurons_of(net):
        neuron.bound()
