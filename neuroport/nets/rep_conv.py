"""Re-parameterized convolutions: trained as several convolutions in a row, evaluated as one.

    RepConv          norm(pointwise(depthwise(pad(inner_norm(1x1(x))))))
    Conv-Conv-BN     norm(kxk(1x1(x)))

In evaluation norms are linear. All of it is then one k x k convolution with a bias, if the map
between is padded with the inner norm's output for zero. The graph holds that convolution.

Source: RepConv of Spike-driven Transformer V2 and V3 (``BICLab/Spike-Driven-Transformer-V2``). In
training it also pads with the inner norm's output for zero, by the *running* statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.errors import CaptureError, LayerError
from neuroport.nets.batchnorm import folding, unfoldable
from neuroport.nets.synapse import Conv
from neuroport.nets.torch_parts import as_called, refreshed, unlike


class RepConv(Conv):
    """A k x k convolution of spikes that is trained as several convolutions in a row.

    Args:
        in_channels, out_channels, kernel_size, stride, norm_scale: see :class:`Conv`; the kernel is
            odd, and the map is padded by half of it.
        hidden: channels between the convolutions; 0: as many as ``in_channels``.
        separable: a depthwise k x k, then a 1x1 convolution (RepConv); False: one k x k convolution
            of all channels (Conv-Conv-BN).
        inner_norm: whether a batch norm follows the first 1x1 convolution.

    Raises:
        LayerError: the kernel is even.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        norm_scale: float = 0.5,
        hidden: int = 0,
        separable: bool = True,
        inner_norm: bool = True,
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise LayerError(f"kernel_size is {kernel_size}; use an odd one")
        hidden = hidden or in_channels
        super().__init__(in_channels, hidden, 1, 1, 0)
        # the first one is the synapse, which determines the input
        self.inner = nn.BatchNorm2d(hidden) if inner_norm else nn.Identity()
        middle = hidden if separable else out_channels
        self.spatial = nn.Conv2d(
            hidden,
            middle,
            kernel_size,
            stride,
            groups=hidden if separable else 1,
            bias=False,
        )
        self.pointwise = nn.Conv2d(hidden, out_channels, 1, bias=False) if separable else None
        self.norm = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.norm.weight, norm_scale)

    @property
    def stride(self) -> tuple[int, int]:
        return self.spatial.stride  # type: ignore[return-value]

    @property
    def padding(self) -> tuple[int, int]:
        height, width = self.spatial.kernel_size
        return height // 2, width // 2

    @property
    def _rest(self) -> list[nn.Conv2d]:
        """The convolutions behind the first."""
        return [self.spatial] if self.pointwise is None else [self.spatial, self.pointwise]

    def kernel(self) -> Tensor:
        return self._unnormalized()[0]

    def folded(self) -> tuple[Tensor, Tensor]:
        kernel, bias = self._unnormalized()
        scale, shift = folding(self.norm, kernel)
        return kernel * scale.reshape(-1, 1, 1, 1), bias * scale + shift

    def _unnormalized(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of all but the last norm."""
        first = refreshed(self.synapse).weight
        scale, shift = (x.double() for x in folding(self.inner, first))
        inner = first[:, :, 0, 0].double() * scale[:, None]
        # float64, because the order of a sum changes the last bit of float32
        spatial = refreshed(self.spatial).weight.double()
        if self.pointwise is None:
            kernel = torch.einsum("ohkl,hi->oikl", spatial, inner)
            bias = spatial.sum((2, 3)) @ shift
        else:
            last = refreshed(self.pointwise).weight[:, :, 0, 0].double()
            kernel = torch.einsum("oh,hkl,hi->oikl", last, spatial[:, 0], inner)
            bias = last @ (spatial[:, 0].sum((1, 2)) * shift)
        return kernel.to(first.dtype), bias.to(first.dtype)

    def refusal(self) -> str | None:
        found = super().refusal() or unfoldable(self.inner)
        return found or next((why for c in self._rest if (why := unlike(c, nn.Conv2d))), None)

    def _in_integers(self) -> None:
        super()._in_integers()
        for conv in self._rest:
            if not as_called(conv, nn.Conv2d):
                why = unlike(conv, nn.Conv2d) or "it has backward hooks"
                raise CaptureError(f"{self}: {why}; in the integer phase it is not called")

    def _convolve_real(self, x: Tensor) -> Tensor:
        y = self.inner(self.synapse(x.flatten(0, 1)))
        height, width = self.padding
        around = folding(self.inner, self.synapse.weight)[1].detach().to(y.dtype)
        y = F.pad(y - around.reshape(-1, 1, 1), (width, width, height, height))
        for conv in self._rest:
            y = conv(y)
            if (
                conv is self.spatial
            ):  # the bias subtracted before the padding is the same everywhere
                y = y + self._carried(around, y.dtype)
        current: Tensor = y.unflatten(0, (len(x), -1))
        return current

    def _carried(self, around: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the spatial convolution's output for a constant map of ``around``."""
        weight = self.spatial.weight.sum((2, 3))
        found = weight[:, 0] * around if self.pointwise is not None else weight @ around
        return found.to(dtype).reshape(-1, 1, 1)
