"""The families of networks by name: from the ``[network]`` table of a recipe to a module."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from neuroport.errors import RecipeError
from neuroport.nets.activation_recompute import recompute
from neuroport.nets.baselines import SpikingResNet
from neuroport.nets.danet import DaNet
from neuroport.nets.ds_resnet import DsResNet
from neuroport.nets.ms_resnet import MsResNet
from neuroport.nets.neuron import learn
from neuroport.nets.recipe import NetworkRecipe, family
from neuroport.nets.synapse import coarsen_stem, set_frame_bits
from neuroport.registry import loaded


def ms_resnet(net: NetworkRecipe) -> nn.Module:
    """A MS-ResNet."""
    if net.depth:
        return MsResNet.imagenet(
            net.depth, net.widths, net.in_channels, net.classes, net.surrogate, net.projection
        )
    return MsResNet(
        net.blocks,
        net.widths,
        net.in_channels,
        net.classes,
        net.shortcut,
        stem_stride=net.stem_stride,
        first_stride=net.first_stride,
        surrogate=net.surrogate,
        projection=net.projection,
    )


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
    return SpikingResNet(
        net.blocks, net.widths, net.in_channels, net.classes, block, net.connect, net.surrogate
    )


plain_resnet = partial(_baseline, block="plain")
tdbn_resnet = partial(_baseline, block="tdbn")
sew_resnet = partial(_baseline, block="sew")


def build(net: NetworkRecipe, in_channels: int, classes: int, bits: int = 8) -> nn.Module:
    """The untrained network that ``net`` describes, for frames of ``in_channels`` and ``classes``.

    ``bits`` are those of a pixel, the largest of which is 1.

    Raises:
        RecipeError: ``net`` says other numbers than the dataset has.
    """
    for key, has in (("in_channels", in_channels), ("classes", classes)):
        said = getattr(net, key)
        if said not in (0, has):
            raise RecipeError(f"network.{key} is {said}, but the dataset has {has}; leave it out")
    make = loaded(family(net.family).build)
    built: nn.Module = make(replace(net, in_channels=in_channels, classes=classes))
    learn(built, net.learn)
    set_frame_bits(built, bits)
    if net.stem == "coarse":
        coarsen_stem(built)
    return recompute(built) if net.recompute else built
