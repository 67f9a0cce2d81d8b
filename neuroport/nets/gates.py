"""Gates of spikes: AND, AND NOT and OR as neurons without memory, and attention masks.

A dendrite adds; it cannot multiply. But a product of spikes, which are 0 or 1, is a comparison,

    and    a b        fires where  a + b > 1.5
    iand   (1 - a) b  fires where  b - a > 0.5
    or     a + b - ab fires where  a + b > 0.5

by a neuron whose voltage decays in every step, but for 1/4096 of it, which decides nothing: the
sums are whole numbers, and the thresholds lie between them. Training computes the same numbers with
the gradient of the product, which a threshold would hide. If a message can be larger than 1, the
gate computes the *comparison*, also in training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuroport.errors import LayerError
from neuroport.nets.neuron import FORGETS, Lif
from neuroport.nets.synapse import Conv

KINDS = {"and": 1.5, "iand": 0.5, "or": 0.5}  # kind -> threshold


def ones(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    groups: int = 1,
    weight: float = 1.0,
) -> Conv:
    """A convolution that counts spikes: all weights are ``weight`` and are not trained.

    With as many groups as input channels, it copies each channel to several. The map keeps its
    size, so the kernel must be odd.
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
        channels: number of channels of the map.
        kind: one of ``KINDS``.
        heads: number of equal parts of the second map's channels; the first map has one channel per
            part. 0: the first map has as many channels as the second.

    Takes and gives (T, N, C, H, W).

    Raises:
        LayerError: the kind is unknown, or the heads do not divide the channels.
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
        self.neuron = Lif(KINDS[kind], FORGETS)

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
    """Return the number of channels of each of ``heads`` equal parts.

    Raises:
        LayerError: the parts are not equal.
    """
    if heads < 1 or channels % heads:
        raise LayerError(f"{what} {channels} are not divided by {heads} heads; use a divisor")
    return channels // heads


class TokenMask(nn.Module):
    """Token attention: ``mask = neuron(sum of q over the channels of a head)``, ``mask AND k``.

    This is QKFormer's attention (arXiv 2403.16552): a token is kept where its query fires. There is
    no attention matrix; the only product is that with the mask.

    Args:
        channels: number of channels of queries and keys.
        heads: number of parts of the channels; each has its own mask.
        threshold: threshold of the mask's neuron in spikes (0.5: one spike is enough).
        voltage_decay, surrogate: of the mask's neuron. ``rectangular`` is 0 at whole numbers of
            spikes around 0.5: take a wider one to train queries.

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

    This is the attention of the Spike-driven Transformer (arXiv 2307.01694), whose product of q, k
    and v is a product of single spikes. Every position has its own mask, computed from the window
    around it. If the window covers the whole map from every position, all masks are equal, which is
    the published sum over the map.

    Args:
        channels: number of channels of queries, keys and values.
        window: height and width of the window, odd; ``2 s - 1`` covers a map of s x s.
        threshold, voltage_decay, surrogate: see :class:`TokenMask`.

    Takes three maps of spikes (T, N, C, H, W); gives spikes.

    Raises:
        LayerError: the window is even.
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
