"""Map the names in other projects' state dicts to those of neuroport's networks.

A *naming* lists, for a network of neuroport, which entry of another project's state dict belongs
to which of its own. Names and shapes were read in the authors' code; none of that code is here.

    ms_resnet    MS-ResNet for ImageNet (``Ariande1/MS-ResNet``): 18, 34, 104 layers
    mlf          MLF: DS-ResNet and VGG (``langfengQ/MLF-DSResNet``)
    sew          SEW-ResNet for ImageNet (``fangwei123456/Spike-Element-Wise-ResNet``)
    spikingjelly SpikingJelly's ``sew_resnet``, ``spiking_resnet`` and ``ms_resnet``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from neuroport.nets.ds_resnet import DsResNet
from neuroport.nets.mlf_vgg import MlfVgg
from neuroport.nets.ms_resnet import MsResNet
from neuroport.nets.recipe import NetworkRecipe

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Entry:
    """A tensor of the other state dict, and its place in neuroport's.

    Attributes:
        theirs, ours: names in the state dicts.
        subtracted: whether it is a bias before a norm, to be subtracted from the running mean.
    """

    theirs: str
    ours: str
    subtracted: bool = False


@dataclass(frozen=True)
class Naming:
    """The names in one other project.

    Attributes:
        families: neuroport's families that contain its networks.
        entries: function that lists all entries for the network of a recipe.
        fires: whether its neurons fire only ``above`` the threshold or also ``at`` it.
        source: the project.
    """

    families: tuple[str, ...]
    entries: Callable[[nn.Module, NetworkRecipe], Iterator[Entry]]
    fires: str
    source: str


def _norm(theirs: str, ours: str, affine: bool = True) -> Iterator[Entry]:
    for name in NORM if affine else NORM[2:]:
        yield Entry(f"{theirs}.{name}", f"{ours}.{name}")


def _conv(conv: str, norm: str, ours: str) -> Iterator[Entry]:
    yield Entry(f"{conv}.weight", f"{ours}.synapse.weight")
    yield from _norm(norm, f"{ours}.norm")


def _linear(theirs: str) -> Iterator[Entry]:
    for name in ("weight", "bias"):
        yield Entry(f"{theirs}.{name}", f"readout.synapse.{name}")


def _blocks(net: nn.Module, recipe: NetworkRecipe) -> Iterator[tuple[int, int, str, nn.Module]]:
    """Yield stage and block numbers (from 0), neuroport's name, and the block."""
    index = 0
    for stage, number in enumerate(recipe.stages):
        for block in range(number):
            yield stage, block, f"blocks.{index}", net.blocks[index]
            index += 1


def _ms_resnet(net: nn.Module, recipe: NetworkRecipe) -> Iterator[Entry]:
    assert isinstance(net, MsResNet)
    if isinstance(net.stem, nn.Sequential):
        for index in range(2):
            yield Entry(f"conv1.{index}.weight", f"stem.{index}.synapse.weight")
            yield Entry(f"conv1.{index}.bias", f"stem.{index}.norm.bias")
        yield from _conv("conv1.2", "conv1.3.bn", "stem.2")
        yield Entry("conv1.2.bias", "stem.2.norm.running_mean", subtracted=True)
    else:
        yield from _conv("conv1.0", "conv1.1.bn", "stem")
    for stage, number, ours, block in _blocks(net, recipe):
        theirs = f"conv{stage + 2}_x.{number}"
        for at, conv in ((1, "conv1"), (4, "conv2")):
            branch = f"{theirs}.residual_function"
            yield from _conv(f"{branch}.{at}", f"{branch}.{at + 1}.bn", f"{ours}.{conv}")
        if block.projects:
            at = 1 if block.shortcut.pool != (1, 1) else 0  # behind the average
            shortcut = f"{theirs}.shortcut"
            yield from _conv(f"{shortcut}.{at}", f"{shortcut}.{at + 1}.bn", f"{ours}.shortcut")
    yield from _linear("fc")


def _mlf(net: nn.Module, recipe: NetworkRecipe) -> Iterator[Entry]:
    if isinstance(net, MlfVgg):
        yield from _mlf_vgg(net, recipe)
        return
    assert isinstance(net, DsResNet)
    if net.stem.frame_norm is not None:
        yield from _norm("bn0.bn", "stem.frame_norm", affine=False)
    yield from _conv("conv1", "bn1.bn", "stem")
    for stage, number, ours, block in _blocks(net, recipe):
        theirs = f"layer{stage + 1}.execute.{number}"
        for each in (1, 2):
            yield from _conv(f"{theirs}.conv{each}", f"{theirs}.bn{each}.bn", f"{ours}.conv{each}")
        if _projects(block):
            own = f"{ours}.shortcut.0" if block.kind == "ds" else f"{ours}.shortcut"
            yield from _conv(f"{theirs}.shortcut.0", f"{theirs}.shortcut.1.bn", own)
    yield from _linear("voting")


def _mlf_vgg(net: MlfVgg, recipe: NetworkRecipe) -> Iterator[Entry]:
    at = 0
    for stage, number in enumerate(recipe.stages):
        for layer in range(number):
            theirs, ours = f"feature.{at}.conv", f"blocks.{stage}.{2 * layer}"
            yield from _conv(f"{theirs}.0", f"{theirs}.1.bn", ours)
            yield Entry(f"{theirs}.0.bias", f"{ours}.norm.running_mean", subtracted=True)
            at += 1
        at += 1  # the average
    for index in range(len(net.dense)):
        yield Entry(f"classifier.{3 * index}.weight", f"dense.{index}.0.synapse.weight")
        yield Entry(f"classifier.{3 * index}.bias", f"dense.{index}.0.norm.bias")
    yield from _linear(f"classifier.{3 * len(net.dense)}")


def _projects(block: nn.Module) -> bool:
    """Whether a block's shortcut has trained weights."""
    return any(parameter.requires_grad for parameter in block.shortcut.parameters())


def _sew(net: nn.Module, recipe: NetworkRecipe) -> Iterator[Entry]:
    yield from _conv("conv1", "bn1", "stem")
    for stage, number, ours, block in _blocks(net, recipe):
        theirs = f"layer{stage + 1}.{number}"
        pairs = [(f"conv{each}", f"conv{each}") for each in range(1, block.convolutions + 1)]
        if _projects(block):
            pairs.append(("downsample.0", "shortcut.0"))
        for inner, own in pairs:
            container = f"{theirs}.{inner}.module"
            yield from _conv(f"{container}.0", f"{container}.1", f"{ours}.{own}")
    yield from _linear("fc")


def _spikingjelly(net: nn.Module, recipe: NetworkRecipe) -> Iterator[Entry]:
    membrane = isinstance(net, MsResNet)
    yield from _conv(*(("stem.0", "stem.1") if membrane else ("conv1", "bn1")), "stem")
    for stage, number, ours, block in _blocks(net, recipe):
        theirs = f"layer{stage + 1}.{number}"
        for each in range(1, 3 if membrane else block.convolutions + 1):
            yield from _conv(f"{theirs}.conv{each}", f"{theirs}.bn{each}", f"{ours}.conv{each}")
        if _projects(block):
            own = f"{ours}.shortcut.0" if recipe.family == "sew_resnet" else f"{ours}.shortcut"
            yield from _conv(f"{theirs}.downsample.0", f"{theirs}.downsample.1", own)
    yield from _linear("head" if membrane else "fc")


NAMINGS = {
    "ms_resnet": Naming(
        ("ms_resnet",), _ms_resnet, "above", "MS-ResNet's authors (Ariande1/MS-ResNet)"
    ),
    "mlf": Naming(
        ("ds_resnet", "mlf_vgg"), _mlf, "above", "MLF's authors (langfengQ/MLF-DSResNet)"
    ),
    "sew": Naming(
        ("sew_resnet",),
        _sew,
        "at",
        "SEW-ResNet's authors (fangwei123456/Spike-Element-Wise-ResNet)",
    ),
    "spikingjelly": Naming(
        ("sew_resnet", "plain_resnet", "ms_resnet"),
        _spikingjelly,
        "at",
        "SpikingJelly (activation_based.model)",
    ),
}
