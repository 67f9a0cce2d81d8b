"""Trainable synapses with their batch norm, in real numbers and in integers.

``Conv`` carries spikes to a current, ``GradedConv`` carries graded values (pixels, or a membrane
stream that passes a projection), ``Readout`` averages and classifies. Each holds ``synapse`` (the
weights, named as SLAYER names them) and ``norm``. A positive ``lsb`` puts a layer into its integer
phase: batch norm, ``y = scale * x + shift`` with its running statistics, is folded,

    W' = W * scale,     b' = shift,

and the forward pass uses ``2 * round(W' / (2 * unit))`` in [-254, 254].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.graph import integers
from neuroport.kernels import fused
from neuroport.kernels.convolution import conv2d
from neuroport.kernels.sums import convolve_exactly
from neuroport.nets.norm import BiasNorm, folding
from neuroport.nets.norming import norming
from neuroport.nets.stream import Stream, per_position


def snap_weight(weight: Tensor, unit: float) -> Tensor:
    """Even integers nearest to ``weight / unit``, clipped to +-254; straight-through gradient."""
    real = weight / unit
    clipped = real.clamp(-integers.WEIGHT_MAX, integers.WEIGHT_MAX)
    snapped: Tensor = clipped + (2 * (clipped / 2).round() - clipped).detach()
    return snapped


class _RoundShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: int) -> Tensor:
        ctx.scale = 2.0**-shift
        found = fused.relay(x, shift)
        if found is None:
            found = integers.relay(x.to(torch.int64), shift, 0).to(x.dtype)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


class Relay(nn.Module):
    """Stateless graded population: ``(x + 2**(shift-1)) >> shift`` in the integer phase."""

    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        shift = int(self.shift)
        if shift == 0:
            return x
        out = _RoundShift.apply(x, shift)
        assert isinstance(out, Tensor)
        return out


class Conv(nn.Module):
    """Convolution of spikes and batch norm: ``current = norm(weight * spikes)``.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, groups, dilation: as
            ``torch.nn.Conv2d``.
        norm_scale: initial gamma of the batch norm (0.5 in MS-ResNet, 0 at a branch's end).
        norm: makes the norm of a number of channels, one of :mod:`neuroport.nets.norm` or torch's.

    Raises:
        ValueError: padding as wide as the kernel: a window would lie in the padding altogether,
            where its output is the bias alone, and where torch's convolution of channels that lie
            last crashes (oneDNN of torch 2.3).

    Takes (T, N, C, H, W); gives a tensor in the real phase, a ``Stream`` in the integer phase.
    """

    lsb: Tensor
    exponent: Tensor
    message_unit = 1.0  # real value of a message of 1
    precision = torch.float32  # of the convolution while real numbers are trained, see convolve_in

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        groups: int = 1,
        norm_scale: float = 0.5,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        reach = dilation * (kernel_size - 1)
        if padding > reach:
            raise ValueError(
                f"padding {padding} is as wide as the kernel ({reach + 1} with its dilation): "
                f"windows would see padding only; pad by {reach} at most"
            )
        self.synapse = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False
        )
        self.norm = norm(out_channels)
        if isinstance(self.norm, nn.BatchNorm2d):
            nn.init.constant_(self.norm.weight, norm_scale)
        self.register_buffer("lsb", torch.zeros((), dtype=torch.float64))
        self.register_buffer("exponent", torch.zeros((), dtype=torch.int64))

    @property
    def stride(self) -> tuple[int, int]:
        return self.synapse.stride  # type: ignore[return-value]

    @property
    def padding(self) -> tuple[int, int]:
        return self.synapse.padding  # type: ignore[return-value]

    @property
    def dilation(self) -> tuple[int, int]:
        return self.synapse.dilation  # type: ignore[return-value]

    @property
    def groups(self) -> int:
        return self.synapse.groups

    def kernel(self) -> Tensor:
        """Weights of the convolution that is executed, (O, I/groups, kH, kW)."""
        return self.synapse.weight

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias with the batch norm folded in, real units."""
        scale, shift = folding(self.norm)
        return self.kernel() * scale.reshape(-1, 1, 1, 1), shift

    def unit(self) -> float:
        """Real value of an integer weight of 1."""
        return float(self.lsb) * 2.0 ** int(self.exponent) / self.message_unit

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        steps = x.shape[0]
        flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        out = conv2d(flat, weight, self.stride, self.padding, self.dilation, self.groups)
        current: Tensor = out.unflatten(0, (steps, -1))
        return current

    def convolve_real(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution of the real phase: what comes out has the precision of what comes in."""
        if not self.training or self.precision == torch.float32:
            return self.convolve(x, weight)
        with torch.autocast(x.device.type, self.precision):
            return self.convolve(x, weight).to(x.dtype)

    def unnormalized(self, x: Tensor) -> Tensor:
        """The current of the real phase before its norm."""
        return self.convolve_real(x, self.kernel())

    def normalized(self, current: Tensor) -> Tensor:
        found = norming(self.norm, current)
        if found is not None:
            return found.tensor()
        steps = current.shape[0]
        out: Tensor = self.norm(current.flatten(0, 1))
        normalized: Tensor = out.unflatten(0, (steps, -1))
        return normalized

    def forward(self, x: Tensor) -> Tensor | Stream:
        if self.lsb == 0:
            return self.normalized(self.unnormalized(x))
        weight, bias = self.folded()
        current = self.convolve(x, snap_weight(weight, self.unit()))
        exponent = int(self.exponent)
        return Stream(current * 2.0**exponent if exponent else current, bias)


class Direct(Conv):
    """Spikes become currents one to one: a spike shortcut that enters a neuron.

    A depthwise 1x1 convolution whose weight is 1 and is not trained.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1, 1, 0, channels, norm=BiasNorm)
        nn.init.ones_(self.synapse.weight)
        self.requires_grad_(False)


class GradedConv(Conv):
    """Convolution of graded values: pixels, or the membrane stream at a projection.

    In the integer phase the product is finer than the stream it enters, so a rounding relay
    brings it onto the stream's LSB; a stream that is *read* passes a relay first:

        value = (W_q * ((x + 2**(r-1)) >> r) + 2**(p-1)) >> p

    with r, p the shifts of ``relay_in`` and ``relay_out``.

    Args:
        pool: average over ``pool x pool`` before a 1x1 kernel (as one strided convolution).
        pixels: the input is frames of unsigned 8-bit pixels, 255 meaning 1.
        mean, std: per channel of pixels; the input is normalized to ``(pixel / 255 - mean) / std``
            before it is padded with zeros. Folded into the weights and a bias that differs near the
            border, where the kernel does not see the mean.
        frame_norm: a norm of the frames as they come (counts, not divided by 255) in place of
            ``mean`` and ``std``; folded alike.

    Raises:
        ValueError: normalization for a stream, which has its batch norm.
    """

    source_lsb: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        norm_scale: float = 0.5,
        pool: int = 1,
        pixels: bool = False,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        frame_norm: nn.BatchNorm2d | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride * pool,
            padding,
            norm_scale=norm_scale,
            norm=norm,
        )
        given = any(mean) or any(value != 1 for value in std) or frame_norm is not None
        if not pixels and given:
            raise ValueError(
                "mean, std and frame_norm normalize pixels; a membrane stream has its batch norm"
            )
        for name, values in (("mean", mean), ("std", std)):
            each = torch.tensor(values, dtype=torch.float32).expand(in_channels).clone()
            self.register_buffer(name, each, persistent=False)
        self.frame_norm = frame_norm
        self.pool = pool
        self.pixels = pixels
        self.relay_in = None if pixels else Relay()
        self.register_buffer("source_lsb", torch.zeros((), dtype=torch.float64))
        self.relay_out = Relay()
        self.message_unit = 1 / 255 if pixels else 1.0

    def normalization(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of pixels, per channel, in evaluation."""
        if self.frame_norm is None:
            return self.mean, self.std
        scale, shift = folding(self.frame_norm)
        return -shift / scale * self.message_unit, self.message_unit / scale

    def kernel(self) -> Tensor:
        return self.pooled(self.synapse.weight / self.normalization()[1].reshape(-1, 1, 1))

    def pooled(self, weight: Tensor) -> Tensor:
        """A 1x1 kernel as the strided one that averages first."""
        if self.pool == 1:
            return weight
        return weight.expand(-1, -1, self.pool, self.pool) / self.pool**2

    def unit(self) -> float:
        shift = int(self.relay_out.shift)
        message = self.message_unit
        if self.relay_in is not None:
            message = float(self.source_lsb) * 2.0 ** int(self.relay_in.shift)
        return float(self.lsb) * 2.0**-shift / message

    def unnormalized(self, x: Tensor) -> Tensor:
        if self.frame_norm is not None:
            frames = self.frame_norm(x.flatten(0, 1)).unflatten(0, (len(x), -1))
            return self.convolve_real(frames, self.pooled(self.synapse.weight))
        if self.pixels:  # a membrane stream has neither unit nor mean
            x = x * self.message_unit - per_position(self.mean)
        return self.convolve_real(
            x, self.kernel() if self.pixels else self.pooled(self.synapse.weight)
        )

    def forward(self, x: Tensor | Stream) -> Tensor | Stream:
        if self.lsb == 0:
            assert isinstance(x, Tensor)
            return self.normalized(self.unnormalized(x))
        weight, bias = self.folded()
        if isinstance(x, Stream):
            assert self.relay_in is not None
            bias = self.carried(weight, bias, x.bias, x.value.shape[-2:])
            messages: Tensor = self.relay_in(x.value)
        else:
            mean = self.normalization()[0]
            if mean.any():
                bias = self.carried(weight, bias, -mean, x.shape[-2:])
            messages = x
        snapped = snap_weight(weight, self.unit())
        if self.relay_in is None:
            return Stream(self.relay_out(self.convolve(messages, snapped)), bias)
        product = convolve_exactly(self.convolve, messages, snapped)
        return Stream(self.relay_out(product), bias)

    def carried(self, weight: Tensor, bias: Tensor, source: Tensor, size: torch.Size) -> Tensor:
        """``bias`` and what the kernel makes of the bias of its input, which padding lacks."""
        if source.ndim == 1 and self.padding == (0, 0):
            return bias + weight.sum((2, 3)) @ source
        image = per_position(source).expand(-1, *size)
        return per_position(bias) + self.convolve(image[None, None], weight)[0, 0]


class _Integrate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, bias: Tensor) -> Tensor:
        bias_q = bias.to(torch.int64)
        v = torch.zeros_like(current[0], dtype=torch.int64)
        potential = torch.empty_like(current)
        for t in range(len(current)):
            v = integers.readout_step(v, current[t].to(torch.int64), bias_q)
            potential[t] = v
        return potential

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        scale = float(1 << integers.STATE_SHIFT)
        grad_current = grad.flip(0).cumsum(0).flip(0) * scale
        return grad_current, grad_current.sum((0, 1))


class Integrator(nn.Module):
    """Potential of a population that integrates and never fires, (T, N, K)."""

    def forward(self, current: Tensor, bias: Tensor) -> Tensor:
        out = _Integrate.apply(current, bias)
        assert isinstance(out, Tensor)
        return out


class Readout(nn.Module):
    """Mean over time and space, then a linear classifier; returns logits (N, classes).

    In the integer phase each class integrates ``sum(W_q * spikes) + H*W*b`` over the steps and
    the last potential, divided by ``64 * T * H * W``, is the logit.

    Args:
        dropout: fraction of the averaged channels dropped while real numbers are trained.
    """

    lsb: Tensor

    def __init__(self, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.synapse = nn.Linear(channels, classes)
        self.dropout = dropout
        self.potential = Integrator()
        self.register_buffer("lsb", torch.zeros((), dtype=torch.float64))

    def integer_weight(self) -> Tensor:
        return snap_weight(self.synapse.weight, float(self.lsb))

    def integer_bias(self, positions: int) -> Tensor:
        real = self.synapse.bias * positions / self.lsb.to(self.synapse.bias.dtype)
        return real + (real.round() - real).detach()

    def forward(self, x: Tensor) -> Tensor:
        steps, _, _, height, width = x.shape
        if self.lsb == 0:
            mean = F.dropout(x.mean((0, 3, 4)), self.dropout, self.training)
            logits: Tensor = self.synapse(mean)
            return logits
        positions = height * width
        current = x.sum((3, 4)) @ self.integer_weight().T
        potential: Tensor = self.potential(current, self.integer_bias(positions))
        scale = float(self.lsb) / (steps * positions * (1 << integers.STATE_SHIFT))
        return potential[-1] * scale


def convolve_in(net: nn.Module, precision: torch.dtype) -> nn.Module:
    """Compute the convolutions of ``net`` in ``precision`` while real numbers are trained.

    By torch's autocast, on the CPU or CUDA. Norms, neurons, classifier and weights stay in float32,
    and so does everything in evaluation and in the integer phase, which is exact.
    """
    for module in net.modules():
        if isinstance(module, Conv):
            module.precision = precision
    return net
