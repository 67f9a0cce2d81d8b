"""The families of networks by name: from the ``[network]`` table of a recipe to a module."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from neuroport.errors import RecipeError
from neuroport.nets.activation_recompute import recompute
from neuroport.nets.baselines import SpikingResNet
from neuroport.nets.danet import DaNet
from neuroport.nets.ds_resnet import DsResNet
from neuroport.nets.e_spikeformer import ESpikeformer
from neuroport.nets.mlf_vgg import MlfVgg
from neuroport.nets.ms_resnet import MsResNet
from neuroport.nets.neuron import learn, neurons_of
from neuroport.nets.qkformer import QKFormer
from neuroport.nets.recipe import GRAPH, NetworkRecipe, family
from neuroport.nets.spike_transformer import SpikeTransformer
from neuroport.nets.synapse import GradedConv, coarsen_stem, normalize_pixels, set_frame_bits
from neuroport.registry import loaded


def ms_resnet(net: NetworkRecipe) -> nn.Module:
    """A MS-ResNet."""
    if net.depth:
        built = MsResNet.imagenet(
            net.depth, net.widths, net.in_channels, net.classes, net.surrogate, net.projection
        )
    else:
        built = MsResNet(
            net.blocks,
            net.widths,
            net.in_channels,
            net.classes,
            net.shortcut,
            stem_stride=net.stem_stride,
            first_stride=net.first_stride,
            surrogate=net.surrogate,
            projection=net.projection,
            stem_width=net.stem_width,
            downsampling=net.downsampling,
        )
    for neuron in neurons_of(built):
        neuron.fires_at = net.fires == "at"
    return built


def ds_resnet(net: NetworkRecipe) -> nn.Module:
    """A DS-ResNet."""
    return DsResNet(
        net.blocks,
        net.widths,
        net.in_channels,
        net.classes,
        net.levels,
        net.block,
        net.surrogate,
        net.normalize,
    )


def mlf_vgg(net: NetworkRecipe) -> nn.Module:
    """A VGG of multi-level neurons."""
    return MlfVgg(net.blocks, net.widths, net.in_channels, net.classes, net.levels, net.surrogate)


def danet(net: NetworkRecipe) -> nn.Module:
    """A DANet."""
    if net.depth:
        return DaNet.imagenet(
            net.depth,
            net.widths,
            net.in_channels,
            net.classes,
            net.domain,
            net.reach,
            net.surrogate,
            net.order,
        )
    return DaNet(
        net.blocks,
        net.widths,
        net.in_channels,
        net.classes,
        net.domain,
        net.reach,
        surrogate=net.surrogate,
        order=net.order,
    )


def _baseline(net: NetworkRecipe, block: str) -> nn.Module:
    given: dict[str, Any] = {
        "block": block,
        "connect": net.connect,
        "surrogate": net.surrogate,
        "threshold": net.threshold,
        "voltage_decay": net.voltage_decay,
        "fires_at": net.fires == "at",
    }
    shape = (net.widths, net.in_channels, net.classes)
    if net.depth:
        return SpikingResNet.imagenet(net.depth, *shape, **given)
    return SpikingResNet(net.blocks, *shape, **given)


plain_resnet = partial(_baseline, block="plain")
tdbn_resnet = partial(_baseline, block="tdbn")
sew_resnet = partial(_baseline, block="sew")


def e_spikeformer(net: NetworkRecipe) -> nn.Module:
    """The convolutional stages of an E-SpikeFormer."""
    return ESpikeformer(
        net.blocks,
        net.widths,
        net.in_channels,
        net.classes,
        net.levels,
        net.ratio,
        net.reparameterize,
        stem_stride=net.stem_stride,
        surrogate=net.surrogate,
    )


def qkformer(net: NetworkRecipe) -> nn.Module:
    """A small QKFormer."""
    return QKFormer(
        net.blocks,
        net.widths,
        net.in_channels,
        net.classes,
        net.heads,
        net.ratio,
        net.surrogate,
        net.stem_stride,
        net.first_stride,
    )


def spike_transformer(net: NetworkRecipe) -> nn.Module:
    """A small spike-driven transformer."""
    return SpikeTransformer(
        net.blocks,
        net.widths,
        net.in_channels,
        net.classes,
        net.window,
        net.ratio,
        net.reparameterize,
        net.surrogate,
        net.stem_stride,
        net.first_stride,
    )


def build(net: NetworkRecipe, in_channels: int, classes: int, bits: int = 8) -> nn.Module:
    """The untrained network that ``net`` describes, for frames of ``in_channels`` and ``classes``.

    ``bits`` are those of a pixel, the largest of which is 1.

    Raises:
        RecipeError: numbers in ``net`` contradict the dataset, or a key has no effect on the
            network.
        LayerError: the network has no blocks to recompute, or no layer that takes pixels.
    """
    for key, has in (("in_channels", in_channels), ("classes", classes)):
        said = getattr(net, key)
        if said not in (0, has):
            raise RecipeError(f"network.{key} is {said}, but the dataset has {has}; leave it out")
    if net.family == GRAPH:
        raise RecipeError(
            "network.family is 'graph': give the graph that is trained on, "
            "port.fit(recipe, folder, start=graph), or neuroport train --graph FILE"
        )
    make = loaded(family(net.family).build)
    built: nn.Module = make(replace(net, in_channels=in_channels, classes=classes))
    learn(built, net.learn)
    set_frame_bits(built, bits)
    if net.mean:
        if len(net.mean) not in (1, in_channels) or len(net.std) not in (1, in_channels):
            raise RecipeError(
                f"network.mean has {len(net.mean)} and network.std {len(net.std)} values for "
                f"frames of {in_channels} channels; give one for each channel, or one for all"
            )
        normalize_pixels(built, net.mean, net.std)
    if net.stem == "coarse":
        if not any(isinstance(part, GradedConv) and part.pixels for part in built.modules()):
            raise RecipeError(
                f"network.stem is 'coarse', and no layer of family {net.family!r} takes pixels; "
                "leave it out"
            )
        coarsen_stem(built)
    return recompute(built) if net.recompute else built
