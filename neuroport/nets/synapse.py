"""Trainable synapses with their batch norm, in real numbers and in integers.

``Conv`` turns spikes into a current. ``GradedConv`` does so for graded values (pixels, or a
membrane stream at a projection). ``Readout`` averages and classifies. Each has a ``synapse`` (the
weights, with SLAYER's name) and a ``norm``. A positive ``lsb`` puts a layer into its integer phase:
batch norm, ``y = scale * x + shift`` with its running statistics, is folded,

    W' = W * scale,     b' = shift,

and the forward pass uses ``2 * round(W' / (2 * unit))`` in [-254, 254].
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.arguments import between, flag, is_module, one_of, positive, takes, whole_number
from neuroport.errors import CaptureError, LayerError
from neuroport.graph import integers
from neuroport.kernels import exact_products, lif_kernels
from neuroport.kernels.convolution import conv2d, unstrided
from neuroport.kernels.exact_products import full_precision
from neuroport.kernels.exact_sums import convolve_exactly
from neuroport.nets.batchnorm import BiasNorm, folding, unfoldable
from neuroport.nets.fused_batchnorm import DeferredCurrent, defer, listened
from neuroport.nets.geometry import Size, padding_of, pair
from neuroport.nets.held_numbers import number, numbers
from neuroport.nets.stream import Stream, per_position
from neuroport.nets.torch_parts import OnGrid, as_called, refreshed, unlike


def snap_weight(weight: Tensor, unit: float) -> Tensor:
    """Even integers nearest to ``weight / unit``, clipped to +-254; straight-through gradient."""
    out = _Snap.apply(weight, unit)
    assert isinstance(out, Tensor)
    return out


class _Snap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, unit: float) -> Tensor:
        flat = _flat(weight)
        out, inside = lif_kernels.snap(flat, unit, integers.WEIGHT_MAX) or _snapped(flat, unit)
        ctx.save_for_backward(inside)
        ctx.unit = unit
        return out if flat is weight else out.reshape(weight.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        flat, found = _flat(grad), None
        if not torch.is_grad_enabled():  # a second derivative goes through torch
            found = lif_kernels.snap_backward(flat, inside, ctx.unit)
        if found is None:
            found = torch.where(inside, flat, 0.0) / grad.new_full((), ctx.unit)
        return found if flat is grad else found.reshape(grad.shape), None


def _flat(kernel: Tensor) -> Tensor:
    """A kernel of one position as a matrix: its layout in memory stays the usual one."""
    return kernel.flatten(1) if kernel.ndim == 4 and kernel.shape[2:] == (1, 1) else kernel


def _snapped(weight: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    # divide by a tensor: a GPU multiplies by the inverse of a number, which rounds twice
    real, most = weight / weight.new_full((), unit), integers.WEIGHT_MAX
    inside = (real >= -most).logical_and_(real <= most)
    return real.clamp_(-most, most).div_(2).round_().mul_(2), inside


@contextmanager
def exact(x: Tensor) -> Iterator[None]:
    """Compute in float32, which is exact for integers, without autocast or TF32."""
    kind = x.device.type
    whole = torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else nullcontext()
    with whole, full_precision():
        yield


class _RoundShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: int) -> Tensor:
        ctx.scale = 2.0**-shift
        found = lif_kernels.relay(x, shift)
        if found is None:
            found = integers.relay(x.to(torch.int64), shift, 0).to(x.dtype)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)  # of convolutions in training
_count = whole_number(1, LayerError)
_positive = positive(LayerError)
_finite = between(-sys.float_info.max, sys.float_info.max, LayerError)


class Relay(nn.Module):
    """Stateless graded population: ``(x + 2**(shift-1)) >> shift`` in the integer phase."""

    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        shift = int(number(self.shift))
        if shift == 0:
            return x
        out = _RoundShift.apply(x, shift)
        assert isinstance(out, Tensor)
        return out


class Biased(OnGrid):
    """A synapse whose bias may have a correction, which only the integer phase adds."""

    correction: Tensor | None  # (O,), real units
    finer: Tensor | None  # of an equalized grid, see Stream; only where streamed
    streamed = False  # whether others may add to its currents: those of a convolution

    @property
    def outputs(self) -> int:
        """Number of currents: channels, or classes."""
        raise NotImplementedError

    def is_constant(self) -> bool:
        """Whether all weights have one magnitude, so that they were not trained."""
        return False

    def corrected(self, bias: Tensor) -> Tensor:
        """The bias of the integer phase, (O,) or (O, H, W)."""
        if self.correction is None:
            return bias
        return bias + self.correction.reshape(-1, *[1] * (bias.ndim - 1))


class Conv(Biased):
    """Convolution of spikes and batch norm: ``current = norm(weight * spikes)``.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, groups, dilation: as
            ``torch.nn.Conv2d``: sizes are integers or pairs (height, width), padding may be
            ``"same"`` or ``"valid"``.
        norm_scale: initial gamma of the batch norm (0.5 in MS-ResNet, 0 at a branch's end).
        norm: class of the norm, called with the number of channels: one of
            :mod:`neuroport.nets.batchnorm`, ``nn.BatchNorm2d``, ``nn.SyncBatchNorm`` or
            ``nn.Identity``.
        pool: average over ``pool x pool``, or a pair, before a 1x1 kernel (as one strided
            convolution).

    Raises:
        LayerError: a size is invalid, the padding is as wide as the kernel, or a pool precedes a
            kernel that is not 1x1.

    Takes (T, N, C, H, W); returns a tensor in the real phase, a ``Stream`` in the integer phase.

    ``synapse`` is an ``nn.Conv2d``. The layer uses its weight and its bias, if you put one with a
    bias in its place. In the real phase the module is called if a call does more than that.
    """

    lsb: Tensor
    exponent: Tensor
    streamed = True
    message_unit = 1.0  # real value of a message of 1
    defers = False  # whether its readers apply the norm, see fused_batchnorm.deferred
    precision = torch.float32  # of the convolution while real numbers are trained, see convolve_in

    @takes(in_channels=_count, out_channels=_count, groups=_count, norm_scale=_finite)
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | str = 1,
        groups: int = 1,
        norm_scale: float = 0.5,
        dilation: Size = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        pool: Size = 1,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise LayerError(
                f"{groups} groups do not divide {in_channels} channels in and {out_channels} out"
            )
        kernel, pools = pair("kernel_size", kernel_size, 1), pair("pool", pool, 1)
        strides, dilations = pair("stride", stride, 1), pair("dilation", dilation, 1)
        if pools != (1, 1):
            if kernel != (1, 1):
                raise LayerError(
                    f"pool is {pool}; it averages before a 1x1 kernel, not {kernel_size}"
                )
            strides = strides[0] * pools[0], strides[1] * pools[1]
        pads = padding_of(padding, kernel, strides, dilations)
        self.synapse = nn.Conv2d(
            in_channels, out_channels, kernel, strides, pads, dilations, groups, bias=False
        )
        self.pool = pools
        self.norm = norm(out_channels)
        normed = isinstance(self.norm, (nn.BatchNorm2d, nn.SyncBatchNorm))
        if normed and self.norm.weight is not None:
            nn.init.constant_(self.norm.weight, norm_scale)
        self._begin_grid()

    def _begin_grid(self) -> None:
        self.register_buffer("lsb", torch.zeros((), dtype=torch.float64))
        self.register_buffer("exponent", torch.zeros((), dtype=torch.int64))
        self.register_buffer("finer", None)
        self.register_buffer("correction", None)

    @property
    def stride(self) -> tuple[int, int]:
        return self.synapse.stride  # type: ignore[return-value]

    @property
    def padding(self) -> tuple[int, int]:
        given = self.synapse.padding
        if not isinstance(given, str):  # as a synapse of torch's own may have it
            return given  # type: ignore[return-value]
        kernel = pair("kernel_size", self.synapse.kernel_size, 1)
        return padding_of(given, kernel, self.stride, self.dilation)

    @property
    def dilation(self) -> tuple[int, int]:
        return self.synapse.dilation  # type: ignore[return-value]

    @property
    def groups(self) -> int:
        return self.synapse.groups

    def kernel(self) -> Tensor:
        """Weights of the executed convolution, (O, I/groups, kH, kW)."""
        return self.pooled(refreshed(self.synapse).weight)

    @property
    def outputs(self) -> int:
        return len(self.kernel())  # a layer of several convolutions has that of the last one

    def is_constant(self) -> bool:
        magnitudes = self.kernel().abs()
        return bool(magnitudes.min() == magnitudes.max())

    def pooled(self, weight: Tensor) -> Tensor:
        """Return a 1x1 kernel as the strided kernel that includes the average."""
        if self.pool == (1, 1):
            return weight
        return weight.expand(-1, -1, *self.pool) / math.prod(self.pool)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias with the batch norm folded in, real units."""
        kernel = self.kernel()
        scale, shift = folding(self.norm, kernel)
        if self.synapse.bias is not None:
            shift = shift + self.synapse.bias * scale
        return kernel * scale.reshape(-1, 1, 1, 1), shift

    def scaled(self, kernel: Tensor) -> Tensor:
        """The folded kernel on an equalized grid, whose units are those of channels; exact."""
        return kernel if self.finer is None else kernel * 2.0 ** self.finer.reshape(-1, 1, 1, 1)

    def refusal(self) -> str | None:
        """Why a graph cannot hold the layer; None if it can."""
        return unlike(self.synapse, nn.Conv2d) or unfoldable(self.norm)

    def unit(self) -> float:
        """Real value of an integer weight of 1, of :meth:`scaled` weights."""
        return number(self.lsb) * 2.0 ** int(number(self.exponent)) / self.message_unit

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        steps = x.shape[0]
        flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        out = conv2d(flat, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        current: Tensor = out.unflatten(0, (steps, -1))
        return current

    def convolve_integers(self, x: Tensor, weight: Tensor) -> Tensor:
        """:meth:`convolve` for sums that are integers and exact in the type."""
        if x.device.type == "cpu":
            return self.convolve(x, weight)
        flat, geometry = x.flatten(0, 1), (self.stride, self.padding, self.dilation, self.groups)
        current: Tensor = exact_products.conv2d(flat, weight, *geometry).unflatten(0, (len(x), -1))
        return current

    def convolve_real(self, x: Tensor) -> Tensor:
        """The convolution of the real phase; the output has the precision of the input."""
        if not self.training or self.precision == torch.float32:
            return self._convolve_real(x)
        with torch.autocast(x.device.type, self.precision):
            return self._convolve_real(x).to(x.dtype)

    def _convolve_real(self, x: Tensor) -> Tensor:
        if as_called(self.synapse, nn.Conv2d):
            return self.convolve(x, self.kernel(), self.synapse.bias)
        with unstrided(self.synapse) as step:
            called = self.synapse(self.before_call(x).flatten(0, 1)[..., :: step[0], :: step[1]])
        current: Tensor = called.unflatten(0, (len(x), -1))
        return current

    def before_call(self, x: Tensor) -> Tensor:
        """The input of the synapse module if :meth:`kernel` differs from its weight."""
        if self.pool == (1, 1):
            return x
        # windows begin at the positions of the strided kernel
        pooled: Tensor = F.avg_pool2d(x.flatten(0, 1), self.pool, 1).unflatten(0, (len(x), -1))
        return pooled

    def unnormalized(self, x: Tensor) -> Tensor:
        """The current of the real phase before its norm."""
        return self.convolve_real(x)

    def normalized(self, current: Tensor) -> Tensor:
        found = defer(self.norm, current)
        if found is not None:
            return found.tensor()
        steps = current.shape[0]
        out: Tensor = self.norm(current.flatten(0, 1))
        normalized: Tensor = out.unflatten(0, (steps, -1))
        return normalized

    def real(self, x: Tensor) -> Tensor | DeferredCurrent:
        """The current of the real phase; without its norm if the norm is deferred to the reader."""
        current = self.unnormalized(x)
        if self.defers and self.training and not listened(self):
            found = defer(self.norm, current)
            if found is not None:
                return found
        return self.normalized(current)

    def forward(self, x: Tensor) -> Tensor | Stream | DeferredCurrent:
        if number(self.lsb) == 0:
            return self.real(x)
        self._in_integers()
        with exact(x):
            return self._integer(x)

    def _in_integers(self) -> None:
        """Refuse modules and hooks that the integer phase would ignore."""
        if not as_called(self.synapse, nn.Conv2d):
            raise CaptureError(
                f"{self}: {unlike(self.synapse, nn.Conv2d) or 'its synapse has backward hooks'}; "
                "in the integer phase the synapse is not called"
            )

    def _integer(self, x: Tensor) -> Stream:
        weight, bias = self.folded()
        current = self.convolve_integers(x, snap_weight(self.scaled(weight), self.unit()))
        exponent = int(number(self.exponent))
        current = current * 2.0**exponent if exponent else current
        return Stream(current, self.corrected(bias), self.finer)


class Direct(Conv):
    """Turn spikes into currents one to one, for a spike shortcut that enters a neuron.

    A depthwise 1x1 convolution whose weight is 1 and is not trained.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1, 1, 0, channels, norm=BiasNorm)
        nn.init.ones_(self.synapse.weight)
        self.requires_grad_(False)


class GradedConv(Conv):
    """Convolution of graded values: pixels, or the membrane stream at a projection.

    In the integer phase the product is finer than the stream that it enters, so a relay rounds it
    to the stream's LSB. If the input is a stream, it passes a relay first:

        value = (W_q * ((x + 2**(r-1)) >> r) + 2**(p-1)) >> p

    with r, p the shifts of ``relay_in`` and ``relay_out``.

    Args:
        pixels: the input is frames of unsigned 8-bit pixels, 255 meaning 1
            (:func:`set_frame_bits` takes fewer bits).
        mean, std: mean and deviation per channel; the input is normalized to
            ``(pixel / 255 - mean) / std`` before it is padded with zeros. Both are folded into the
            weights and a bias, which differs near the border because the padding lacks the mean.
        frame_norm: a norm of the raw frames (counts, not divided by 255) in place of ``mean`` and
            ``std``; it is folded in the same way.
        rounds: False, for pixels only: weights so coarse that pixels times weights lie on the
            stream's grid, ``value = W_q * x``, without a relay (:func:`coarsen_stem`).

    Raises:
        LayerError: a stream has its batch norm and cannot be normalized here, or ``rounds`` is
            False for a stream; otherwise as in :class:`Conv`.
    """

    source_lsb: Tensor
    source_finer: Tensor | None
    mean: Tensor
    std: Tensor

    @takes(pixels=flag(LayerError), rounds=flag(LayerError))
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 1,
        stride: Size = 1,
        padding: Size | str = 0,
        norm_scale: float = 0.5,
        pool: Size = 1,
        pixels: bool = False,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        frame_norm: nn.BatchNorm2d | None = None,
        dilation: Size = 1,
        rounds: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            norm_scale=norm_scale,
            dilation=dilation,
            norm=norm,
            pool=pool,
        )
        given = any(mean) or any(value != 1 for value in std) or frame_norm is not None
        if not pixels and given:
            raise LayerError(
                "mean, std and frame_norm normalize pixels; a membrane stream has its batch norm"
            )
        if not (pixels or rounds):
            raise LayerError(
                "rounds is False; a projection of a stream is finer than the stream it enters, and "
                "is rounded: only pixels may go without"
            )
        self.normalize(mean, std)
        self.frame_norm = frame_norm
        self.pixels = pixels
        self.rounds = rounds
        self.relay_in = None if pixels else Relay()
        self.register_buffer("source_lsb", torch.zeros((), dtype=torch.float64))
        self.register_buffer("source_finer", None)
        self.relay_out = Relay()
        self.frame_bits = 8
        self.message_unit = 1 / 255 if pixels else 1.0

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set mean and deviation of pixels; they are part of the state if they have an effect.

        Raises:
            LayerError: they are not one number for all channels or one for each, or a deviation is
                not above 0.
        """
        channels = self.synapse.in_channels
        kept = any(mean) or any(value != 1 for value in std)
        for name, given, check in (("mean", mean, _finite), ("std", std, _positive)):
            values = given.tolist() if isinstance(given, Tensor) else list(given)
            if len(values) not in (1, channels):
                raise LayerError(
                    f"{name} has {len(values)} numbers for {channels} channels; give one for all, "
                    "or one for each"
                )
            for channel, value in enumerate(values):
                check(value, f"{name}[{channel}]")
            each = torch.tensor(values, dtype=torch.float32).expand(channels)
            self.register_buffer(name, each.clone(), persistent=kept)

    def normalization(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of pixels, per channel, in evaluation."""
        if self.frame_norm is None:
            return self.mean, self.std
        scale, shift = folding(self.frame_norm, self.mean)
        return -shift / scale * self.message_unit, self.message_unit / scale

    def kernel(self) -> Tensor:
        return super().kernel() / self.normalization()[1].reshape(-1, 1, 1)

    def scaled(self, kernel: Tensor) -> Tensor:
        scaled = super().scaled(kernel)
        if self.source_finer is None:
            return scaled
        finer: Tensor = 2.0 ** self.source_finer.reshape(-1, 1, 1)
        return scaled / finer

    def refusal(self) -> str | None:
        found = super().refusal()
        if found is None and self.frame_norm is not None:
            found = unfoldable(self.frame_norm)
        if found is None and self.synapse.groups > 1:
            found = "its synapse has groups, which graded values do not support; use one group"
        return found

    def unit(self) -> float:
        shift = int(number(self.relay_out.shift))
        message = self.message_unit
        if self.relay_in is not None:
            message = number(self.source_lsb) * 2.0 ** int(number(self.relay_in.shift))
        return number(self.lsb) * 2.0**-shift / message

    def unnormalized(self, x: Tensor) -> Tensor:
        if self.frame_norm is not None:
            x = self.frame_norm(x.flatten(0, 1)).unflatten(0, (len(x), -1))
        elif self.pixels:  # a membrane stream has no pixel unit and no mean
            x = x * self.message_unit - per_position(self.mean)
        return self.convolve_real(x)

    def _convolve_real(self, x: Tensor) -> Tensor:
        if not as_called(self.synapse, nn.Conv2d):
            return super()._convolve_real(x)
        # a norm of the frames has already divided; a membrane stream is not divided
        divided = self.frame_norm is not None or not self.pixels
        kernel = super().kernel() if divided else self.kernel()
        return self.convolve(x, kernel, self.synapse.bias)

    def before_call(self, x: Tensor) -> Tensor:
        if self.pixels and self.frame_norm is None:
            x = x / per_position(self.std)
        return super().before_call(x)

    def forward(self, x: Tensor | Stream) -> Tensor | Stream | DeferredCurrent:
        if number(self.lsb) == 0:
            assert isinstance(x, Tensor)
            return self.real(x)
        self._in_integers()
        with exact(x.value if isinstance(x, Stream) else x):
            return self._integer(x)

    def _integer(self, x: Tensor | Stream) -> Stream:
        weight, bias = self.folded()
        if isinstance(x, Stream):
            assert self.relay_in is not None
            bias = self.carried(weight, bias, x.bias, x.value.shape[-2:])
            messages: Tensor = self.relay_in(x.value)
        else:
            mean = self.normalization()[0]
            if any(numbers(mean)):
                bias = self.carried(weight, bias, -mean, x.shape[-2:])
            messages = x
        bias = self.corrected(bias)
        snapped = snap_weight(self.scaled(weight), self.unit())
        if self.relay_in is None:
            current = self.convolve_integers(messages, snapped)
            return Stream(self.relay_out(current) if self.rounds else current, bias, self.finer)
        product = convolve_exactly(self.convolve_integers, messages, snapped)
        return Stream(self.relay_out(product), bias, self.finer)

    def carried(self, weight: Tensor, bias: Tensor, source: Tensor, size: torch.Size) -> Tensor:
        """``bias`` plus the kernel's response to the bias of its input (0 in padding)."""
        if bias.device.type != "cpu" and not torch.is_grad_enabled():
            # on the CPU, because real sums depend on their order and the graph's integers come
            # from the CPU
            found = self.carried(weight.cpu(), bias.cpu(), source.cpu(), size)
            return found.to(bias.device)
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


class Readout(Biased):
    """Mean over time and space, then a linear classifier; returns logits (N, classes).

    In the integer phase each class integrates ``sum(W_q * spikes) + H*W*b`` over the steps and
    the last potential, divided by ``64 * T * H * W``, is the logit.

    Args:
        dropout: fraction of the averaged channels dropped while real numbers are trained.
    """

    lsb: Tensor

    @takes(channels=_count, classes=_count, dropout=between(0, 1, LayerError))
    def __init__(self, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.synapse = nn.Linear(channels, classes)
        self.dropout = dropout
        self.potential = Integrator()
        self.register_buffer("lsb", torch.zeros((), dtype=torch.float64))
        self.register_buffer("correction", None)

    @property
    def outputs(self) -> int:
        return self.synapse.out_features

    def refusal(self) -> str | None:
        """Why a graph cannot hold the layer; None if it can."""
        return unlike(self.synapse, nn.Linear)

    def weights(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the classifier, real units."""
        weight, bias = refreshed(self.synapse).weight, self.synapse.bias
        return weight, torch.zeros_like(weight[:, 0]) if bias is None else bias

    def integer_weight(self) -> Tensor:
        return snap_weight(self.weights()[0], number(self.lsb))

    def integer_bias(self, positions: int) -> Tensor:
        bias = self.corrected(self.weights()[1])
        real = bias * positions / self.lsb.to(bias.dtype)
        return real + (real.round() - real).detach()

    def forward(self, x: Tensor) -> Tensor:
        steps, _, _, height, width = x.shape
        if number(self.lsb) == 0:
            mean = F.dropout(x.mean((0, 3, 4)), self.dropout, self.training)
            logits: Tensor = self.synapse(mean)
            return logits
        if not as_called(self.synapse, nn.Linear):
            raise CaptureError(
                f"{self}: {self.refusal() or 'its synapse has backward hooks'}; "
                "in the integer phase the synapse is not called"
            )
        positions = height * width
        with exact(x):
            current = x.sum((3, 4)) @ self.integer_weight().T
        potential: Tensor = self.potential(current, self.integer_bias(positions))
        scale = number(self.lsb) / (steps * positions * (1 << integers.STATE_SHIFT))
        return potential[-1] * scale


@takes(net=is_module, bits=one_of(range(1, 9), LayerError))
def set_frame_bits(net: nn.Module, bits: int) -> nn.Module:
    """Set the number of bits of pixels in all layers that read pixels; ``2**bits - 1`` means 1.

    With fewer bits, the weights of a coarse stem have more levels in the same current. Call it
    before scales are chosen.

    Raises:
        LayerError: pixels have no such number of bits, which are 1 to 8.
    """
    for module in net.modules():
        if isinstance(module, GradedConv) and module.pixels:
            module.frame_bits, module.message_unit = bits, 1 / ((1 << bits) - 1)
    return net


def _readers_of_pixels(net: nn.Module) -> list[GradedConv]:
    found = [m for m in net.modules() if isinstance(m, GradedConv) and m.pixels]
    if not found:
        raise LayerError(
            f"{type(net).__name__} has no layer that takes pixels; begin with a GradedConv that "
            "has pixels=True"
        )
    return found


def normalize_pixels(net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """Let the layers that read pixels normalize them, ``(pixel / 255 - mean) / std``.

    Mean and deviation become part of the network's state and are folded into its integers, so that
    frames are raw pixels everywhere. Call it before scales are chosen.

    Raises:
        LayerError: no layer reads pixels, or one already normalizes its frames.
    """
    for module in _readers_of_pixels(net):
        if module.frame_norm is not None:
            raise LayerError("mean and std normalize pixels, and a norm of the frames is there")
        module.normalize(mean, std)
    return net


def coarsen_stem(net: nn.Module) -> nn.Module:
    """Make the weights of layers that read pixels so coarse that no relay has to round.

    On Loihi 2 a relay that rounds after the stem is a neuron whose widths are not published. A stem
    without it has weights of fewer levels. Call it before scales are chosen.

    Raises:
        LayerError: no layer reads pixels.
    """
    for module in _readers_of_pixels(net):
        module.rounds = False
    return net


@takes(net=is_module, precision=one_of(PRECISIONS, LayerError))
def convolve_in(net: nn.Module, precision: torch.dtype) -> nn.Module:
    """Compute the convolutions of ``net`` in ``precision`` in real-valued training.

    This uses torch's autocast, on the CPU or CUDA. Norms, neurons, classifier and weights stay in
    float32. Evaluation and the integer phase use float32 only; the integer phase is exact.

    Raises:
        LayerError: the precision is another one than torch's float32, bfloat16 or float16.
    """
    for module in net.modules():
        if isinstance(module, Conv):
            module.precision = precision
    return net
