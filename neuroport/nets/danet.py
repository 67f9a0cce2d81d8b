"""DANet: networks with densely additive connections, in four architectures.

**This is neuroport's reading of the abstract** of DANet (arXiv 2311.05171; Neurocomputing 616,
128950): no code is published, and the paper's neuron, norms and names of its architectures are not
used here. Results of these networks are not results of the paper.

A block's input is the *sum* of all earlier outputs in its reach: DenseNet with + in place of
concatenation,

    z = F_0(x) + sum_r projection_r(x_r),      z <- z + F_i(z)  for every later block of the stage.

Two axes give four architectures. What is summed is *spikes* (each branch is conv-norm-lif, sums are
messages 0..k) or *membrane* currents (each branch is lif-conv-norm). The reach is the *stage*,
whose only source x_r is the stage before, or the *network*, where every earlier stage is one. A
source passes one projection to the new shape, itself driven by spikes: no real value is multiplied,
so that every carrier of shortcuts applies.

Two of the four are networks that were published before, under other names: with equal weights they
compute the same numbers (``tests/unit/nets/test_danet_equals.py``).

    spike, stage       SEW-ResNet (ADD)
    membrane, stage    MS-ResNet with ``projection="spike"`` and ``shortcut="stride"``. Here
                       projections read a neuron of their own, in MS-ResNet that of the branch;
                       both send the same spikes

Only the reach *network* adds anything to these: one more projection at three stages.

A third reach, *fused*, is how another reader of the paper codes it
(``AndreaLolli2912/Spiking-ResNet``): the stages of reach *stage*, and behind each stage

    z <- z + sum_r neuron_r(norm_r(conv1x1_r(x_r)))

over all sources x_r: the stem, the output of every earlier stage, and z itself. Each has its own
strided 1x1 convolution, norm and neuron. Currents are then projected as real values, with relays
that round them. That code differs in three points: it divides the sum by a length, has a norm for
each step, and adds the first sum to the stem. neuroport uses the plain sum, one norm, and adds to
the stage.

Branches of currents have one of two orders: lif-conv-bn, or bn-lif-conv, in which every branch
normalizes its input sum and its output is not normalized (:mod:`neuroport.nets.batchnorm_lif`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from neuroport.arguments import flag, one_of, takes
from neuroport.errors import LayerError
from neuroport.nets.activation_recompute import Recomputing
from neuroport.nets.batchnorm import BiasNorm
from neuroport.nets.batchnorm_lif import NormLif
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.neuron import Lif
from neuroport.nets.recipe import BLOCKS, choice, per_stage
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, Direct, GradedConv, Readout

EXPANSION = 4
# depth for ImageNet -> whether its blocks are bottlenecks
IMAGENET = {18: False, 34: False, 50: True, 101: True, 152: True}

Signal = Tensor | Stream


def _branch(
    domain: str,
    layers: Sequence[tuple[int, int, int, int]],
    end: float,
    surrogate: str,
    order: str,
) -> nn.Sequential:
    """A branch of convolutions (in, out, kernel, stride); neurons follow them (spike) or precede
    them (membrane)."""
    parts: list[nn.Module] = []
    for index, (inner, outer, kernel, stride) in enumerate(layers):
        if order == "bn-lif-conv":
            bare = Conv(inner, outer, kernel, stride, kernel // 2, norm=BiasNorm)
            parts += [NormLif(inner, surrogate=surrogate), bare]
            continue
        scale = end if index == len(layers) - 1 else 0.5
        conv = Conv(inner, outer, kernel, stride, kernel // 2, norm_scale=scale)
        neuron = Lif(surrogate=surrogate)
        # in the membrane domain the last one's current is summed by the stage
        last = domain == "membrane" and index == len(layers) - 1
        conv = conv if last else deferred(conv)
        parts += [conv, neuron] if domain == "spike" else [neuron, conv]
    return nn.Sequential(*parts)


class Stage(Recomputing):
    """Blocks of one shape; each reads the sum of all earlier outputs within its reach.

    Args:
        sources: channels and stride of every input, the previous stage first.
    """

    def __init__(
        self,
        domain: str,
        sources: Sequence[tuple[int, int]],
        width: int,
        blocks: int,
        bottleneck: bool,
        surrogate: str,
        order: str,
    ) -> None:
        super().__init__()
        out = width * EXPANSION if bottleneck else width
        # a branch of currents may start at zero; one of spikes would then never fire
        end = 0.0 if domain == "membrane" else 0.5

        def block(channels: int, stride: int) -> nn.Sequential:
            layers = [(channels, width, 3, stride), (width, width, 3, 1)]
            if bottleneck:
                layers = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
            return _branch(domain, layers, end, surrogate, order)

        self.projections = nn.ModuleList(
            nn.Identity()
            if (channels, stride) == (out, 1)
            else _branch(domain, [(channels, out, 1, stride)], 0.5, surrogate, order)
            for channels, stride in sources
        )
        channels, stride = sources[0]
        self.blocks = nn.ModuleList(
            block(channels if index == 0 else out, stride if index == 0 else 1)
            for index in range(blocks)
        )

    def forward(self, sources: Sequence[Signal]) -> Signal:
        first, *later = self.blocks
        total = self.run(first, sources[0])
        for projection, source in zip(self.projections, sources, strict=True):
            total = total + projection(source)
        for block in later:
            total = total + self.run(block, total)
        return total  # type: ignore[no-any-return]


class Fusion(nn.Module):
    """The sum of all sources at the end of a stage, each as spikes after a strided 1x1 convolution.

    Args:
        domain: whether sources are spikes or currents.
        sources: channels and stride of each.
        out: channels of the stage.
    """

    def __init__(
        self, domain: str, sources: Sequence[tuple[int, int]], out: int, surrogate: str
    ) -> None:
        super().__init__()
        kind = Conv if domain == "spike" else GradedConv
        self.branches = nn.ModuleList(
            nn.Sequential(
                deferred(kind(channels, out, 1, stride, 0)),
                Lif(surrogate=surrogate),
                nn.Identity() if domain == "spike" else Direct(out),
            )
            for channels, stride in sources
        )

    def forward(self, total: Signal, sources: Sequence[Signal]) -> Signal:
        """Return ``total`` plus the term of each source."""
        for branch, source in zip(self.branches, sources, strict=True):
            total = total + branch(source)
        return total


class DaNet(nn.Module):
    """A densely additive network; by default of depth 6n + 2, for small images.

    Args:
        blocks: number of blocks in each stage: one number for all, or one for each.
        widths: channels of the stages (a quarter of them, with bottlenecks).
        in_channels, classes: channels of the frames (unsigned 8-bit pixels); classes.
        domain: sum spikes (``spike``) or currents (``membrane``).
        reach: ``stage``, ``network`` or ``fused``: which earlier outputs a sum includes.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions instead of two 3x3.
        stem: size of the stem's kernel, 3 or 7.
        stem_stride, first_stride: strides of the stem and of the first stage (2 for ImageNet).
        surrogate: of every neuron.
        order: ``lif-conv-bn`` or, for currents only, ``bn-lif-conv``.

    Takes frames (T, N, C, H, W) of pixels 0..255, gives logits (N, classes).
    """

    @takes(
        domain=choice("domain"),
        reach=choice("reach"),
        order=choice("order"),
        bottleneck=flag(LayerError),
    )
    def __init__(
        self,
        blocks: int | Sequence[int] = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        domain: str = "membrane",
        reach: str = "stage",
        bottleneck: bool = False,
        stem: int = 3,
        stem_stride: int = 1,
        first_stride: int = 1,
        surrogate: str = "rectangular",
        order: str = "lif-conv-bn",
    ) -> None:
        super().__init__()
        if order == "bn-lif-conv" and domain == "spike":
            raise LayerError(
                "order 'bn-lif-conv' normalizes sums of currents; domain 'spike' sums spikes: "
                "use domain='membrane'"
            )
        numbers = per_stage(blocks, widths)
        self.stem = GradedConv(in_channels, widths[0], stem, stem_stride, stem // 2, pixels=True)
        self.domain = domain
        self.reach = reach
        stages: list[Stage] = []
        fusions: list[Fusion] = []
        sources = every = [(widths[0], first_stride)]
        for width, number in zip(widths, numbers, strict=True):
            stages.append(Stage(domain, sources, width, number, bottleneck, surrogate, order))
            out = width * EXPANSION if bottleneck else width
            if reach == "fused":
                fusions.append(Fusion(domain, [(out, 1), *every], out, surrogate))
                every = [(out, 2), *((channels, 2 * stride) for channels, stride in every)]
            # seen from the next stage, the stride of every earlier output doubles
            earlier = [(channels, 2 * stride) for channels, stride in sources]
            kept = earlier if reach == "network" and len(stages) > 1 else []
            sources = [(out, 2), *kept]
        spiking = domain == "spike" and order != "bn-lif-conv"
        self.stem = deferred(self.stem) if spiking else self.stem
        # the neuron between the stem and sums of spikes, or between currents and the readout
        normed = order == "bn-lif-conv"
        self.neuron = NormLif(out, surrogate=surrogate) if normed else Lif(surrogate=surrogate)
        self.stages = nn.ModuleList(stages)
        self.fusions = nn.ModuleList(fusions)
        self.readout = Readout(out, classes)

    @classmethod
    @takes(depth=one_of(IMAGENET, LayerError))
    def imagenet(
        cls,
        depth: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        in_channels: int = 3,
        classes: int = 1000,
        domain: str = "membrane",
        reach: str = "stage",
        surrogate: str = "rectangular",
        order: str = "lif-conv-bn",
    ) -> DaNet:
        """Depth 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks); every stage halves the map."""
        blocks, bottleneck = BLOCKS[depth], IMAGENET[depth]
        return cls(
            blocks,
            widths,
            in_channels,
            classes,
            domain,
            reach,
            bottleneck,
            stem=7,
            stem_stride=2,
            first_stride=2,
            surrogate=surrogate,
            order=order,
        )

    def forward(self, frames: Tensor) -> Tensor:
        spiking = self.domain == "spike"
        total = self.neuron(self.stem(frames)) if spiking else self.stem(frames)
        sources: list[Signal] = [total]
        every = sources
        for index, stage in enumerate(self.stages):
            total = stage(sources)
            if self.reach == "fused":
                total = self.fusions[index](total, [total, *every])
                every = [total, *every]
            # the stem is not a stage: its output is part of the first stage's output
            kept = sources if self.reach == "network" and index > 0 else []
            sources = [total, *kept]
        logits: Tensor = self.readout(total if spiking else self.neuron(total))
        return logits
