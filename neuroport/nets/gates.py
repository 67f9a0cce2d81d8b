"""Gates of spikes: AND, AND NOT and OR as neurons without memory, and the masks made of them.

A dendrite sums and does not multiply. Of spikes that are 0 or 1 a product is a comparison,

    and    a b        fires where  a + b > 1.5
    iand   (1 - a) b  fires where  b - a > 0.5
    or     a + b - ab fires where  a + b > 0.5

by a neuron whose voltage is gone after every step. In training the same numbers come with the
gradient of the product, which a threshold would hide. Where a message may be larger than 1 the
*comparison* is what is computed, in training, too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuroport.errors import LayerError
from neuroport.nets.neuron import Lif
from neuroport.nets.synapse import Conv

KINDS = {"and": 1.5, "iand": 0.5, "or": 0.5}  # kind -> threshold


def ones(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    groups: int = 1,
    weight: float = 1.0,
) -> Conv:
    """A convolution whose weights are all ``weight`` and are not trained: it counts spikes.

    With as many groups as channels that are read it spreads each over several; the map keeps its
    size, so that the kernel's is odd.
    """
    conv = Conv(
        in_channels,
        out_channels,
        kernel_size,
        1,
        kernel_size // 2,
        groups,
        norm=nn.Identity,
    )
    nn.init.constant_(conv.synapse.weight, weight)
    conv.requires_grad_(False)
    return conv


class Gate(nn.Module):
    """``and``, ``iand`` or ``or`` of two maps of spikes.

    Args:
        channels: of the map.
        kind: one of ``KINDS``.
        heads: the first map has one channel for each of so many equal parts of the second's; 0: as
            many channels as the second.

    Takes and gives (T, N, C, H, W).

    Raises:
        LayerError: another kind, or channels that the heads do not divide.
    """

    def __init__(self, channels: int, kind: str = "and", heads: int = 0) -> None:
        super().__init__()
        if kind not in KINDS:
            raise LayerError(f"kind is {kind!r}; use {', '.join(map(repr, KINDS))}")
        self.kind = kind
        self.each = shares("channels", channels, heads) if heads else 1
        self.first = ones(
            heads or channels,
            channels,
            groups=heads or channels,
            weight=-1 if kind == "iand" else 1,
        )
        self.second = ones(channels, channels, groups=channels)
        self.neuron = Lif(KINDS[kind], voltage_decay=1.0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if not self.training:
            fired: Tensor = self.neuron(self.first(a) + self.second(b))
            return fired
        if self.each > 1:
            a = a.repeat_interleave(self.each, 2)
        product = a * b
        smooth = {"and": product, "iand": b - product, "or": a + b - product}[self.kind]
        with torch.no_grad():
            total = b - a if self.kind == "iand" else a + b
            lost = (total > KINDS[self.kind]).to(total.dtype) - smooth
        return smooth + lost


def shares(what: str, channels: int, heads: int) -> int:
    """Channels of each of ``heads`` equal parts.

    Raises:
        LayerError: the parts are not equal.
    """
    if heads < 1 or channels % heads:
        raise LayerError(f"{what} {channels} are not divided by {heads} heads; use a divisor")
    return channels // heads


class TokenMask(nn.Module):
    """Token attention: ``mask = neuron(sum of q over the channels of a head)``, ``mask AND k``.

    QKFormer's (arXiv 2403.16552): a token is kept where its query fires. There is no matrix of
    attention, and no product but that of the mask.

    Args:
        channels: of queries and keys.
        heads: parts of the channels with a mask each.
        threshold: of the mask's neuron, in spikes (0.5: one is enough).
        voltage_decay, surrogate: of the mask's neuron.

    Takes two maps of spikes (T, N, C, H, W); gives spikes.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 1,
        threshold: float = 0.5,
        voltage_decay: float = 0.75,
        surrogate: str = "rectangular",
    ) -> None:
        super().__init__()
        shares("channels", channels, heads)
        self.count = ones(channels, heads, groups=heads)
        self.neuron = Lif(threshold, voltage_decay, surrogate=surrogate)
        self.gate = Gate(channels, "and", heads)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        kept: Tensor = self.gate(self.neuron(self.count(q)), k)
        return kept


class ChannelMask(nn.Module):
    """Channel attention: ``mask = neuron(sum of k AND v over the positions)``, ``mask AND q``.

    That of the Spike-driven Transformer (arXiv 2307.01694), whose "product" of q, k and v is one of
    single spikes. Every position has a mask of its own, of what is in the window around it: of a
    map no larger than half the window all positions see all, and their masks are equal, which is
    the published sum over the map.

    Args:
        channels: of queries, keys and values.
        window: height and width of the window, odd; ``2 s - 1`` covers a map of s x s.
        threshold, voltage_decay, surrogate: of the masks' neurons, as of :class:`TokenMask`.

    Takes three maps of spikes (T, N, C, H, W); gives spikes.

    Raises:
        LayerError: an even window.
    """

    def __init__(
        self,
        channels: int,
        window: int,
        threshold: float = 0.5,
        voltage_decay: float = 0.75,
        surrogate: str = "rectangular",
    ) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise LayerError(f"window is {window}; use an odd one, 2 s - 1 for a map of s x s")
        self.both = Gate(channels, "and")
        self.count = ones(channels, channels, window, channels)
        self.neuron = Lif(threshold, voltage_decay, surrogate=surrogate)
        self.gate = Gate(channels, "and")

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = self.neuron(self.count(self.both(k, v)))
        kept: Tensor = self.gate(mask, q)
        return kept
