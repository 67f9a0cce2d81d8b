"""State dicts as others write them, by name and shape alone, and what their networks compute.

Nothing here imports neuroport. Networks are computed step by step from the tensors' names, in the
order of the published equations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

Shapes = dict[str, tuple[int, ...]]
State = dict[str, Tensor]
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    104: (3, 8, 32, 8),
    152: (3, 8, 36, 3),
}


def _norm(name: str, channels: int, affine: bool = True) -> Shapes:
    return {
        f"{name}.{part}": () if part.startswith("num") else (channels,)
        for part in (NORM if affine else NORM[2:])
    }


def ms_resnet(
    depth: int, widths: Sequence[int] = (64, 128, 256, 512), classes: int = 1000
) -> Shapes:
    """MS-ResNet's authors'."""
    first, deep = widths[0], depth == 104
    shapes: Shapes = {}
    if deep:
        for index, channels in enumerate((3, first, first)):
            shapes |= {f"conv1.{index}.weight": (first, channels, 3, 3)}
            shapes |= {f"conv1.{index}.bias": (first,)}
        shapes |= _norm("conv1.3.bn", first)
    else:
        shapes |= {"conv1.0.weight": (first, 3, 7, 7), **_norm("conv1.1.bn", first)}
    before = first
    for stage, (width, number) in enumerate(zip(widths, BLOCKS[depth], strict=True), 2):
        for block in range(number):
            own, channels = f"conv{stage}_x.{block}", before if block == 0 else width
            branch = f"{own}.residual_function"
            shapes |= {f"{branch}.1.weight": (width, channels, 3, 3)}
            shapes |= _norm(f"{branch}.2.bn", width)
            shapes |= {f"{branch}.4.weight": (width, width, 3, 3)}
            shapes |= _norm(f"{branch}.5.bn", width)
            if block == 0:
                shapes |= {f"{own}.shortcut.{int(deep)}.weight": (width, channels, 1, 1)}
                shapes |= _norm(f"{own}.shortcut.{1 + deep}.bn", width)
        before = width
    return shapes | {"fc.weight": (classes, before), "fc.bias": (classes,)}


def mlf(
    blocks: int, widths: Sequence[int], channels: int, classes: int, counts: bool = False
) -> Shapes:
    """MLF's authors', DS-ResNet; ``counts``: of Gesture, whose frames are normalized."""
    shapes: Shapes = _norm("bn0.bn", channels, affine=False) if counts else {}
    shapes |= {"conv1.weight": (widths[0], channels, 3, 3), **_norm("bn1.bn", widths[0])}
    before = widths[0]
    for stage, width in enumerate(widths, 1):
        for block in range(blocks):
            own, inner = f"layer{stage}.execute.{block}", before if block == 0 else width
            shapes |= {f"{own}.conv1.weight": (width, inner, 3, 3)} | _norm(f"{own}.bn1.bn", width)
            shapes |= {f"{own}.conv2.weight": (width, width, 3, 3)} | _norm(f"{own}.bn2.bn", width)
            if inner != width:
                shapes |= {f"{own}.shortcut.0.weight": (width, inner, 1, 1)}
                shapes |= _norm(f"{own}.shortcut.1.bn", width)
        before = width
    return shapes | {"voting.weight": (classes, before), "voting.bias": (classes,)}


def mlf_vgg(numbers: Sequence[int], widths: Sequence[int], classes: int) -> Shapes:
    """MLF's authors', VGG."""
    shapes: Shapes = {}
    at, before = 0, 3
    for number, width in zip(numbers, widths, strict=True):
        for _ in range(number):
            own = f"feature.{at}.conv"
            shapes |= {f"{own}.0.weight": (width, before, 3, 3), f"{own}.0.bias": (width,)}
            shapes |= _norm(f"{own}.1.bn", width)
            at, before = at + 1, width
        at += 1
    sizes = (before, before, before // 2, classes)
    for index, (inner, outer) in enumerate(pairwise(sizes)):
        own = f"classifier.{3 * index}"
        shapes |= {f"{own}.weight": (outer, inner), f"{own}.bias": (outer,)}
    return shapes


def spikingjelly(
    depth: int,
    membrane: bool = False,
    widths: Sequence[int] = (64, 128, 256, 512),
    classes: int = 1000,
) -> Shapes:
    """SpikingJelly's sew_resnet and spiking_resnet, whose names are the same, or ms_resnet."""
    stem, norm, head = ("stem.0", "stem.1", "head") if membrane else ("conv1", "bn1", "fc")
    wide = 4 if depth >= 50 else 1
    before = widths[0]
    shapes: Shapes = {f"{stem}.weight": (before, 3, 7, 7), **_norm(norm, before)}
    for stage, (width, number) in enumerate(zip(widths, BLOCKS[depth], strict=True), 1):
        for block in range(number):
            own, channels = f"layer{stage}.{block}", before if block == 0 else wide * width
            convs = [(width, channels, 3, 3), (width, width, 3, 3)]
            if wide > 1:
                convs = [(width, channels, 1, 1), (width, width, 3, 3), (wide * width, width, 1, 1)]
            for each, shape in enumerate(convs, 1):
                shapes |= {f"{own}.conv{each}.weight": shape}
                shapes |= _norm(f"{own}.bn{each}", shape[0])
            if block == 0 and (stage > 1 or membrane or wide > 1):
                shapes |= {f"{own}.downsample.0.weight": (wide * width, channels, 1, 1)}
                shapes |= _norm(f"{own}.downsample.1", wide * width)
        before = wide * width
    return shapes | {f"{head}.weight": (classes, before), f"{head}.bias": (classes,)}


def in_containers(shapes: Shapes) -> Shapes:
    """Of SpikingJelly's names those of SEW's authors, who put norms beside convolutions."""
    found = {}
    for name, shape in shapes.items():
        if name.startswith("layer"):
            name = re.sub(r"\.conv(\d)\.", r".conv\1.module.0.", name)
            name = re.sub(r"\.bn(\d)\.", r".conv\1.module.1.", name)
            name = re.sub(r"\.downsample\.(\d)\.", r".downsample.0.module.\1.", name)
        found[name] = shape
    return found


def out_of_containers(state: State) -> State:
    """The same tensors by SpikingJelly's names."""
    found = {}
    for name, tensor in state.items():
        name = re.sub(r"\.downsample\.0\.module\.(\d)\.", r".downsample.\1.", name)
        name = re.sub(r"\.conv(\d)\.module\.0\.", r".conv\1.", name)
        found[re.sub(r"\.conv(\d)\.module\.1\.", r".bn\1.", name)] = tensor
    return found


def drawn(shapes: Shapes, seed: int = 0, gain: float = 1.0) -> State:
    """Numbers as training may leave them; every branch is active."""
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, shape: tuple[int, ...]) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    state: State = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = between(0.2, 0.9, shape)
        elif name.endswith("running_mean"):
            state[name] = between(-0.3, 0.3, shape)
        elif len(shape) == 1:
            low, high = (0.4 * gain, 0.9 * gain) if name.endswith("weight") else (-0.1, 0.5 * gain)
            state[name] = between(low, high, shape)
        else:
            top = 1.7 / torch.Size(shape[1:]).numel() ** 0.5
            state[name] = between(-top, top, shape)
    return state


class Computed:
    """Layers of a state dict, on (T, N, C, H, W), in float64."""

    def __init__(
        self,
        state: State,
        fires: Callable[[Tensor, float], Tensor],
        threshold: float,
        keep: float,
        norm: str = "",
    ) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.fires, self.threshold, self.keep, self.inner = fires, threshold, keep, norm

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding, bias = weight.shape[-1] // 2, self.state.get(f"{name}.bias")
        return torch.stack([F.conv2d(each, weight, bias, stride, padding) for each in x])

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias, mean, var = (
            self.state[f"{name}{self.inner}.{part}"].reshape(-1, 1, 1) for part in NORM[:4]
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def spikes(self, x: Tensor, threshold: float | None = None) -> Tensor:
        limit = self.threshold if threshold is None else threshold
        u = s = torch.zeros_like(x[0])
        out = []
        for current in x:
            u = self.keep * u * (1 - s) + current
            s = self.fires(u, limit).double()
            out.append(s)
        return torch.stack(out)

    def classes(self, name: str, x: Tensor) -> Tensor:
        """Mean over space of each step, classified; mean over steps."""
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return torch.stack([F.linear(each.mean((2, 3)), weight, bias) for each in x]).mean(0)


def ms_resnet_logits(state: State, depth: int, x: Tensor) -> Tensor:
    net = Computed(state, torch.gt, 0.5, 0.25, ".bn")
    if depth == 104:
        for index, stride in enumerate((2, 1, 1)):
            x = net.conv(f"conv1.{index}", x, stride)
        x = net.norm("conv1.3", x)
    else:
        x = net.norm("conv1.1", net.conv("conv1.0", x, 2))
    for stage, number in enumerate(BLOCKS[depth], 2):
        for block in range(number):
            own, stride = f"conv{stage}_x.{block}", 2 if block == 0 else 1
            branch, passed = f"{own}.residual_function", x
            inner = net.norm(f"{branch}.2", net.conv(f"{branch}.1", net.spikes(x), stride))
            inner = net.norm(f"{branch}.5", net.conv(f"{branch}.4", net.spikes(inner)))
            if block == 0 and depth == 104:
                pooled = torch.stack([F.avg_pool2d(each, 2) for each in x])
                passed = net.norm(f"{own}.shortcut.2", net.conv(f"{own}.shortcut.1", pooled))
            elif block == 0:
                passed = net.norm(f"{own}.shortcut.1", net.conv(f"{own}.shortcut.0", x, 2))
            x = inner + passed
    return net.classes("fc", net.spikes(x))


class _Mlf(Computed):
    def norm(self, name: str, x: Tensor, affine: bool = True) -> Tensor:
        mean, var = (self.state[f"{name}.bn.{part}"].reshape(-1, 1, 1) for part in NORM[2:4])
        x = 0.6 * (x - mean) / (torch.sqrt(var) + 1e-5)
        if not affine:
            return x
        weight, bias = (self.state[f"{name}.bn.{part}"].reshape(-1, 1, 1) for part in NORM[:2])
        return x * weight + bias

    def levels(self, x: Tensor) -> Tensor:
        return self.spikes(x, 0.6) + self.spikes(x, 1.6) + self.spikes(x, 2.6)


def mlf_logits(state: State, blocks: int, x: Tensor) -> Tensor:
    net = _Mlf(state, torch.gt, 0.6, 0.25)
    if "bn0.bn.running_mean" in state:
        x = net.norm("bn0", x, affine=False)
    x = net.levels(net.norm("bn1", net.conv("conv1", x)))
    for stage in (1, 2, 3):
        for block in range(blocks):
            own, stride = f"layer{stage}.execute.{block}", 2 if stage > 1 and block == 0 else 1
            inner = net.levels(net.norm(f"{own}.bn1", net.conv(f"{own}.conv1", x, stride)))
            inner = net.levels(net.norm(f"{own}.bn2", net.conv(f"{own}.conv2", inner)))
            if f"{own}.shortcut.0.weight" in state:
                passed = net.conv(f"{own}.shortcut.0", x, stride)
                x = net.levels(net.norm(f"{own}.shortcut.1", passed))
            x = inner + x
    return net.classes("voting", x)


def mlf_vgg_logits(state: State, numbers: Sequence[int], x: Tensor) -> Tensor:
    net, at = _Mlf(state, torch.gt, 0.6, 0.25), 0
    for number in numbers:
        for _ in range(number):
            own = f"feature.{at}.conv"
            x, at = net.levels(net.norm(f"{own}.1", net.conv(f"{own}.0", x))), at + 1
        x, at = torch.stack([F.avg_pool2d(each, 2) for each in x]), at + 1
    x = x.flatten(2)
    for name in ("classifier.0", "classifier.3"):
        x = net.levels(F.linear(x, net.state[f"{name}.weight"], net.state[f"{name}.bias"]))
    return net.classes("classifier.6", x[..., None, None])


def spikingjelly_logits(
    state: State, depth: int, family: str, x: Tensor, threshold: float = 1.0, keep: float = 1.0
) -> Tensor:
    net = Computed(state, torch.ge, threshold, keep)
    membrane, number_of_convs = family == "ms_resnet", 3 if depth >= 50 else 2
    if membrane:
        x = net.norm("stem.1", net.conv("stem.0", x, 2))
    else:
        x = net.spikes(net.norm("bn1", net.conv("conv1", x, 2)))
        x = torch.stack([F.max_pool2d(each, 3, 2, 1) for each in x])
    strided = 2 if number_of_convs == 3 else 1
    for stage, number in enumerate(BLOCKS[depth], 1):
        for block in range(number):
            own = f"layer{stage}.{block}"
            stride = 2 if block == 0 and (stage > 1 or membrane) else 1
            inner = x
            for each in range(1, number_of_convs + 1):
                if membrane:
                    inner = net.spikes(inner)
                inner = net.conv(f"{own}.conv{each}", inner, stride if each == strided else 1)
                inner = net.norm(f"{own}.bn{each}", inner)
                if family == "sew_resnet" or (not membrane and each < number_of_convs):
                    inner = net.spikes(inner)
            passed = x
            if f"{own}.downsample.0.weight" in state:
                passed = net.norm(f"{own}.downsample.1", net.conv(f"{own}.downsample.0", x, stride))
                if family == "sew_resnet":
                    passed = net.spikes(passed)
            x = inner + passed
            if family == "plain_resnet":
                x = net.spikes(x)
    return net.classes("head", net.spikes(x)) if membrane else net.classes("fc", x)
