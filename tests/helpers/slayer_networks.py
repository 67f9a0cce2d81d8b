"""Networks of genuine lava-dl SLAYER blocks, by what they show; imported where lava-dl is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lava.lib.dl.slayer as slayer
import torch
from torch import Tensor, nn

from neuroport.nets.slayer import DenselyAdditive, MembraneShortcut, MultiLevel, SpikeShortcut

STEPS, SAMPLES = 20, 3
ROW, IMAGE = (20,), (2, 9, 9)
CUBA = {"threshold": 1.25, "current_decay": 0.25, "voltage_decay": 0.03}
PLAIN = {"threshold": 1.25, "current_decay": 1, "voltage_decay": 0}
RESONATOR = {"threshold": 0.4, "period": 8, "decay": 0.05}
ADAPTS = {
    "threshold": 0.4,
    "threshold_step": 0.2,
    "threshold_decay": 0.1,
    "refractory_decay": 0.3,
}
CHANGES = {"threshold": 0.1, "activation": torch.nn.functional.relu}
MEAN = {"norm": slayer.neuron.norm.MeanOnlyBatchNorm}
SCALE = {"norm": slayer.neuron.norm.WgtScaleBatchNorm}
UNSHIFTED = {"delay_shift": False}


class Chain(nn.Module):
    """Blocks in a row, called as every SLAYER tutorial calls them."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, spike: Any) -> Any:
        for block in self.blocks:
            spike = block(spike)
        return spike


class Counting(Chain):
    """As the tutorials that log event rates."""

    def forward(self, spike: Any) -> Any:
        count = []
        for block in self.blocks:
            spike = block(spike)
            if hasattr(block, "neuron"):
                active = torch.sum((torch.abs(spike[..., 1:]) > 0).to(spike.dtype))
                count.append(active.item())
        return spike, torch.FloatTensor(count).reshape((1, -1)).to(spike.device)


class Residual(nn.Module):
    """Spike shortcuts over one and two blocks, one of them from the frames."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.stem = cuba("Conv", 2, 4, 3, padding=1, weight_scale=5, **options)
        self.one = cuba("Conv", 4, 4, 3, padding=1, weight_scale=3, **options)
        self.two = cuba("Conv", 4, 4, 3, padding=1, weight_scale=3, **options)
        self.flat = slayer.block.cuba.Flatten()
        self.classes = cuba("Dense", 4 * 81, 10, weight_scale=2, **options)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        y = self.two(self.one(x))
        y += x
        return self.classes(self.flat(y) + self.flat_of(x))

    def flat_of(self, x: Any) -> Any:
        return torch.flatten(x, 1, 3)


class Membrane(nn.Module):
    """Membrane shortcuts: the currents of the stem, and of a shifted block, reach later neurons."""

    def __init__(self, grows: bool = False) -> None:
        super().__init__()
        params = {**CUBA, "norm": slayer.neuron.norm.MeanOnlyBatchNorm}
        self.neurons = nn.ModuleList(slayer.neuron.cuba.Neuron(**params) for _ in range(3))
        hook = self.neurons[0].quantize_8bit
        if grows:
            self.stem = slayer.synapse.ConvTranspose(2, 4, 2, 2, 0, 1, 1, 3, pre_hook_fx=hook)
        else:
            self.stem = slayer.synapse.Conv(2, 4, 3, 1, 1, weight_scale=5, pre_hook_fx=hook)
        self.one = slayer.synapse.Conv(4, 4, 3, 1, 1, weight_scale=3, pre_hook_fx=hook)
        self.two = slayer.synapse.Conv(4, 4, 3, 1, 1, weight_scale=3, pre_hook_fx=hook)
        self.shortcut = slayer.synapse.Conv(4, 4, 1, weight_scale=3, pre_hook_fx=hook)
        self.delay = slayer.axon.Delay(max_delay=4)
        self.block = cuba("Conv", 4, 4, 3, padding=1, weight_scale=3)

    def forward(self, x: Any) -> Any:
        current = self.stem(x)
        current = current + self.one(self.delay(self.neurons[0](current)))
        second = self.neurons[1](current)
        current += self.two(second)
        return self.neurons[2](self.shortcut(self.block(second)) + current)


def cuba(kind: str, *sizes: Any, neuron: dict[str, Any] | None = None, **options: Any) -> Any:
    return getattr(slayer.block.cuba, kind)({**CUBA, **(neuron or {})}, *sizes, **options)


def alif(kind: str, *sizes: Any, neuron: dict[str, Any] | None = None, **options: Any) -> Any:
    params = {**CUBA, **ADAPTS, **(neuron or {})}
    return getattr(slayer.block.alif, kind)(params, *sizes, **options)


def changes(kind: str, *sizes: Any, **options: Any) -> Any:
    return getattr(slayer.block.sigma_delta, kind)(dict(CHANGES), *sizes, **options)


def spikes(shape: tuple[int, ...], rate: float = 0.3) -> Tensor:
    return (torch.rand(SAMPLES, *shape, STEPS) < rate).float()


def steady(shape: tuple[int, ...]) -> Tensor:
    """Slowly changing values on SLAYER's grid of 2/64."""
    steps = 2 * torch.randint(-16, 17, (SAMPLES, *shape, STEPS))
    kept = torch.rand(steps.shape) < 0.3
    return (steps * kept).cumsum(-1).clamp(-60, 60).float() / 64


@dataclass(frozen=True)
class Case:
    """A network and what it takes; ``low`` and ``high`` bound the rate of its spikes."""

    make: Callable[[], nn.Module]
    frames: Callable[[], Tensor]
    low: float = 0.05
    high: float = 0.6


def _dense(**options: Any) -> Chain:
    return Chain(
        cuba("Dense", 20, 40, weight_scale=2, **options),
        cuba("Dense", 40, 30, weight_scale=2, **options),
        cuba("Dense", 30, 10, weight_scale=2, **options),
    )


def _conv(**options: Any) -> Chain:
    return Chain(
        cuba("Conv", 2, 4, 3, stride=2, weight_scale=4, **options),
        cuba("Conv", 4, 6, 3, padding=1, weight_scale=3, **options),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 6 * 16, 10, weight_scale=2, **options),
    )


def _uneven() -> Chain:
    return Chain(
        cuba("Conv", 2, 4, (3, 5), stride=(2, 1), dilation=(1, 2), groups=2, weight_scale=4),
        cuba("Conv", 4, 4, (1, 1), weight_scale=3),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 64, 10, weight_scale=4),
    )


def _scaled(neuron: dict[str, Any], power: int) -> Chain:
    net = _dense(neuron={**neuron, **SCALE})
    return _prepared(net, variance=4.0**power)


def _prepared(net: nn.Module, variance: float = 1.0) -> nn.Module:
    """With the power of two that the norms of ``net`` will divide by."""
    for module in net.modules():
        if isinstance(module, slayer.neuron.norm.WgtScaleBatchNorm):
            module.running_var.fill_(variance * 0.99)
    return net


def _resonators(kind: str, **own: Any) -> Chain:
    block = getattr(slayer.block, kind)
    params = {**RESONATOR, **own}
    return Chain(
        block.Dense(dict(params), 20, 30, weight_scale=3),
        block.Dense(dict(params), 30, 12, weight_scale=3),
    )


def _adaptive_rows(neuron: dict[str, Any] | None = None, **options: Any) -> Chain:
    return Chain(
        alif("Dense", 20, 40, weight_scale=2, neuron=neuron, **options),
        alif("Dense", 40, 30, weight_scale=2, neuron=neuron, **options),
        alif("Dense", 30, 10, weight_scale=2, neuron=neuron, **options),
    )


def _adaptive_maps() -> Chain:
    return Chain(
        alif("Conv", 2, 4, 3, stride=2, weight_scale=4, neuron=MEAN, delay=True),
        alif("Unpool", 2, weight_scale=1.3),
        alif("ConvT", 4, 3, 3, padding=1, weight_scale=3, neuron=MEAN),
        alif("Pool", 2, weight_scale=0.4, neuron={"threshold": 1}),
        slayer.block.alif.Flatten(),
        alif("Dense", 3 * 16, 10, weight_scale=2, neuron=MEAN),
    )


def _adaptive_ties() -> Chain:
    """Weights of quarters and no fractions left by decays: thresholds are reached exactly."""
    params = {"current_decay": 1, "voltage_decay": 0.5, "threshold": 0.5, "threshold_step": 0.25}
    params |= {"threshold_decay": 0.5, "refractory_decay": 0.5}
    net = Chain(alif("Dense", 20, 40, neuron=params), alif("Dense", 40, 30, neuron=params))
    for block in net.blocks:
        weight = block.synapse.weight
        weight.data = torch.round(1.2 * torch.randn(weight.shape)) / 4
    return net


def _adaptive_recurrent(neuron: dict[str, Any] | None = None) -> Chain:
    return Chain(
        alif("Recurrent", 20, 16, weight_scale=2, neuron=neuron, delay=True),
        alif("Dense", 16, 12, weight_scale=3),
    )


def _adaptive_resonators(kind: str, **own: Any) -> Chain:
    return _resonators(kind, **{**ADAPTS, **own})


def _adaptive_resonating_maps() -> Chain:
    params = {**RESONATOR, **ADAPTS, "threshold": 0.2}
    return Chain(
        slayer.block.adrf.Conv(dict(params), 2, 4, 3, groups=2, weight_scale=3),
        slayer.block.adrf.Pool(dict(params), 2, weight_scale=0.6),
    )


def _winners(kind: str, neuron: dict[str, Any], winners: int) -> Chain:
    block = getattr(slayer.block, kind)
    params = {**CUBA, **(ADAPTS if kind == "alif" else {}), **neuron}
    return Chain(
        cuba("Dense", 20, 30, weight_scale=2, neuron=MEAN),
        block.KWTA(params, 30, 12, winners, self_excitation=0.3, weight_scale=8),
        cuba("Dense", 12, 12, weight_scale=3),
    )


def _resonating_maps() -> Chain:
    block = slayer.block.rf_iz
    return Chain(
        block.Conv(dict(RESONATOR), 2, 4, 3, groups=2, weight_scale=2),
        block.Pool(dict(RESONATOR), 2, weight_scale=0.4),
    )


def _pools(size: int) -> Chain:
    return Chain(
        cuba("Conv", 2, 4, 3, padding=1, weight_scale=3),
        cuba("Pool", size, weight_scale=0.7, delay=True),
        cuba("Conv", 4, 6, 2, weight_scale=3),
    )


def _growing(**options: Any) -> Chain:
    return Chain(
        cuba("Conv", 2, 4, 3, stride=2, weight_scale=4),
        cuba("Unpool", 2, weight_scale=1.3),
        cuba("ConvT", 4, 3, 3, padding=1, weight_scale=3),
        cuba("ConvT", 3, 2, 2, stride=2, weight_scale=4, delay=True),
        cuba("Conv", 2, 3, 3, stride=2, weight_scale=4, **options),
        cuba("Pool", 2, weight_scale=1.2),
    )


def _uneven_transposed() -> Chain:
    return Chain(
        cuba("Conv", 2, 4, 3, stride=3, weight_scale=4),
        cuba("ConvT", 4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, weight_scale=4),
        cuba("ConvT", 6, 4, 2, dilation=2, groups=2, weight_scale=4),
    )


def _sigma_delta(**options: Any) -> Chain:
    return Chain(
        changes("Input"),
        changes("Conv", 2, 3, 3, weight_scale=2, **options),
        changes("Pool", 2, weight_scale=0.5),
        slayer.block.sigma_delta.Flatten(),
        changes("Dense", 3 * 25, 12, weight_scale=2, weight_norm=True, **options),
        slayer.block.sigma_delta.Output(dict(CHANGES), 12, 5, weight_scale=2),
    )


def _sigma_delta_biased() -> Chain:
    norm = dict(MEAN)
    block = slayer.block.sigma_delta
    net = Chain(
        block.Input(dict(CHANGES), weight=1.3, bias=0.2),
        block.Dense({**CHANGES, **norm}, 20, 30, weight_scale=2),
        block.Dense({**CHANGES, **norm}, 30, 12, weight_scale=2, delay_shift=True),
        block.Dense({**CHANGES, **SCALE}, 12, 12, weight_scale=2),
    )
    net.blocks[2].neuron.set_bias(torch.randint(-8, 9, (12,)) / 32)
    return net


def _recurrent(neuron: dict[str, Any]) -> Chain:
    return Chain(
        cuba("Recurrent", 20, 16, weight_scale=2, neuron=neuron, delay=True),
        cuba("Dense", 16, 12, weight_scale=3),
    )


def _sigma_delta_learned() -> Chain:
    """Thresholds off the grid of weights; that of the input may be any number."""
    params = {**CHANGES, "requires_grad": True}
    block = slayer.block.sigma_delta
    net = Chain(
        block.Input(dict(params)),
        block.Dense({**params, **MEAN}, 20, 30, weight_scale=2),
        block.Dense(dict(params), 30, 12, weight_scale=2),
    )
    for module, value in zip(net.blocks, (0.0777, 333 / 4096, 401 / 4096), strict=True):
        module.neuron.delta.threshold.data.fill_(value)
    return net


def _sigma_delta_growing() -> Chain:
    block = slayer.block.sigma_delta
    net = Chain(
        changes("Input"),
        block.ConvT({**CHANGES, **MEAN}, 2, 3, 2, stride=2, weight_scale=2, delay=True),
        block.Conv({**CHANGES, **SCALE}, 3, 2, 3, weight_scale=5, delay_shift=True),
        block.Conv({**CHANGES, **MEAN}, 2, 2, 3, weight_scale=2),
    )
    net.blocks[1].neuron.set_bias(torch.randint(-8, 9, (3, 10, 10)) / 32)
    _prepared(net, variance=4)
    return net


def _masked() -> Chain:
    half = torch.rand(30, 20) < 0.5
    return Chain(
        cuba("Dense", 20, 30, mask=half, weight_scale=4),
        cuba("Dense", 30, 10, weight_norm=True, weight_scale=2),
        cuba("Dense", 10, 10, weight_norm=True, weight_scale=4, mask=torch.rand(10, 10) < 0.5),
    )


def _high_thresholds() -> Chain:
    """Weights of whole numbers, so that many neurons reach their threshold exactly."""
    net = Chain(
        cuba("Dense", 20, 30, weight_scale=12, neuron={**PLAIN, "threshold": 64}),
        cuba("Dense", 30, 10, weight_scale=6, neuron={**PLAIN, "threshold": 0.5}),
    )
    net.blocks[0].synapse.weight.data.abs_().round_()
    return net


def _extreme() -> Chain:
    """Weights that reach SLAYER's lowest, -256."""
    net = _dense()
    for block in net.blocks:
        block.synapse.weight.data.mul_(14)
    return net


def _conv3(inner: int, outer: int, scale: float = 3, **options: Any) -> Any:
    return cuba("Conv", inner, outer, 3, padding=1, weight_scale=scale, **options)


def _membrane_container(**options: Any) -> Chain:
    """A stream that runs on over two branches, and one that a projection continues."""
    stage = MembraneShortcut(
        _conv3(2, 4, 5, **options), _conv3(4, 4, **options), _conv3(4, 4, 2, **options)
    )
    stage = MembraneShortcut(stage, _conv3(4, 4, 2, **options))
    narrow = MembraneShortcut(
        _conv3(4, 4, 2, **options),
        cuba("Conv", 4, 6, 3, stride=2, padding=1, weight_scale=3, **options),
        shortcut=slayer.synapse.Conv(4, 6, 1, stride=2, weight_scale=3),
    )
    flat = slayer.block.cuba.Flatten()
    return Chain(stage, narrow, flat, cuba("Dense", 6 * 25, 10, weight_scale=2, **options))


def _spike_container(**options: Any) -> Chain:
    """Spikes 0, 1, 2, with a projection, and sums of three branches, the last a shortcut itself."""
    return Chain(
        SpikeShortcut(_conv3(2, 4, 4, **options), shortcut=_conv3(2, 4, 4, **options)),
        SpikeShortcut(_conv3(4, 4, 2, **options), _conv3(4, 4, 2, **options)),
        DenselyAdditive(
            [_conv3(4, 4, 1, **options), _conv3(4, 4, 2, **options)],
            _conv3(4, 4, 1, **options),
            SpikeShortcut(_conv3(4, 4, 1, **options)),
        ),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 4 * 81, 10, weight_scale=0.7, **options),
    )


def _levels(neuron: dict[str, Any] | None = None, **options: Any) -> Chain:
    """Multi-level neurons alone, and at both ends of a membrane shortcut."""
    params = {**CUBA, "current_decay": 1, **(neuron or {})}

    def level(block: Any) -> MultiLevel:
        above = [slayer.neuron.cuba.Neuron(**{**params, "threshold": t}) for t in (2.5, 3.75)]
        return MultiLevel(block, *above)

    def conv(inner: int, outer: int, scale: float) -> Any:
        return _conv3(inner, outer, scale, neuron=params, **options)

    return Chain(
        level(conv(2, 4, 8)),
        MembraneShortcut(level(conv(4, 4, 2)), conv(4, 4, 2), level(conv(4, 4, 2))),
        slayer.block.cuba.Flatten(),
        cuba("Dense", 4 * 81, 10, weight_scale=1, **options),
    )


def _sigma_delta_membrane() -> Chain:
    return Chain(
        changes("Input"),
        MembraneShortcut(
            changes("Dense", 20, 16, weight_scale=2),
            changes("Dense", 16, 16, weight_scale=2),
            changes("Dense", 16, 16, weight_scale=2),
        ),
        changes("Dense", 16, 12, weight_scale=2),
    )


CASES: dict[str, Case] = {
    "dense": Case(_dense, lambda: spikes(ROW)),
    "dense without shift": Case(lambda: _dense(**UNSHIFTED), lambda: spikes(ROW)),
    "convolutions": Case(_conv, lambda: spikes(IMAGE)),
    "convolutions without shift": Case(lambda: _conv(**UNSHIFTED), lambda: spikes(IMAGE)),
    "uneven convolutions": Case(_uneven, lambda: spikes((2, 9, 12))),
    "axonal delays": Case(lambda: _dense(delay=True), lambda: spikes(ROW)),
    "delayed convolutions": Case(lambda: _conv(delay=True), lambda: spikes(IMAGE)),
    "mean-only norm": Case(lambda: _dense(neuron=MEAN), lambda: spikes(ROW)),
    "mean-only norm of maps": Case(lambda: _conv(neuron=MEAN), lambda: spikes(IMAGE)),
    "norm and delays": Case(lambda: _conv(neuron=MEAN, delay=True), lambda: spikes(IMAGE)),
    "scaling norm of 1": Case(lambda: _scaled(CUBA, 0), lambda: spikes(ROW)),
    "scaling norm of 4": Case(lambda: _scaled({**PLAIN, "threshold": 0.4}, 2), lambda: spikes(ROW)),
    "scaling norm of 1/2": Case(
        lambda: _scaled({**CUBA, "current_decay": 1, "threshold": 2}, -1), lambda: spikes(ROW)
    ),
    "recurrent": Case(lambda: _recurrent(CUBA), lambda: spikes(ROW)),
    "recurrent with norm": Case(lambda: _recurrent({**PLAIN, **MEAN}), lambda: spikes(ROW)),
    "winners": Case(lambda: _winners("cuba", {}, 6), lambda: spikes(ROW)),
    "winners with a bias": Case(
        lambda: _winners("cuba", {**MEAN, "current_decay": 1, "threshold": 4}, 2),
        lambda: spikes(ROW),
    ),
    "winners that adapt": Case(lambda: _winners("alif", {"threshold": 4}, 2), lambda: spikes(ROW)),
    "affine current": Case(
        lambda: Chain(cuba("Dense", 20, 30, weight_scale=3), cuba("Affine", 30, 5, dynamics=False)),
        lambda: spikes(ROW),
    ),
    "affine voltage": Case(
        lambda: Chain(cuba("Dense", 20, 30, weight_scale=3), cuba("Affine", 30, 5, neuron=PLAIN)),
        lambda: spikes(ROW),
    ),
    "affine voltage that leaks": Case(
        lambda: Chain(cuba("Dense", 20, 30, weight_scale=3), cuba("Affine", 30, 5, neuron=MEAN)),
        lambda: spikes(ROW),
    ),
    "average": Case(
        lambda: Chain(
            cuba("Dense", 20, 30, weight_scale=3, delay=True), slayer.block.cuba.Average(10)
        ),
        lambda: spikes(ROW),
    ),
    "phase resonators": Case(lambda: _resonators("rf"), lambda: spikes(ROW), low=0.01),
    "Izhikevich resonators": Case(lambda: _resonators("rf_iz"), lambda: spikes(ROW)),
    "resonators of their own": Case(
        lambda: _resonators("rf", shared_param=False, requires_grad=True, period=[5, 9]),
        lambda: spikes(ROW),
        low=0.01,
    ),
    "resonating maps": Case(_resonating_maps, lambda: spikes(IMAGE)),
    "adaptive": Case(_adaptive_rows, lambda: spikes(ROW)),
    "adaptive without shift": Case(lambda: _adaptive_rows(**UNSHIFTED), lambda: spikes(ROW)),
    "adaptive with norm and delays": Case(
        lambda: _adaptive_rows(MEAN, delay=True), lambda: spikes(ROW)
    ),
    "adaptive with scaling norm": Case(
        lambda: _prepared(_adaptive_rows(SCALE), variance=0.25), lambda: spikes(ROW)
    ),
    "adaptive maps": Case(_adaptive_maps, lambda: spikes(IMAGE), high=0.9),
    "adaptive thresholds reached exactly": Case(_adaptive_ties, lambda: spikes(ROW)),
    "adaptive with decays of their own": Case(
        lambda: _adaptive_rows(
            {
                "shared_param": False,
                "requires_grad": True,
                "threshold_decay": [0.01, 0.6],
                "refractory_decay": [0.1, 0.9],
            }
        ),
        lambda: spikes(ROW),
    ),
    "adaptive recurrent": Case(_adaptive_recurrent, lambda: spikes(ROW)),
    "adaptive recurrent with norm": Case(lambda: _adaptive_recurrent(MEAN), lambda: spikes(ROW)),
    "adaptive input of currents": Case(
        lambda: Chain(
            slayer.block.alif.Input({**CUBA, **ADAPTS, "threshold": 0.8}, weight=0.5, bias=0.05),
            alif("Dense", 20, 12, weight_scale=3),
        ),
        lambda: steady(ROW),
    ),
    "adaptive resonators": Case(
        lambda: _adaptive_resonators("adrf"), lambda: spikes(ROW), low=0.01
    ),
    "adaptive resonators of their own": Case(
        lambda: _adaptive_resonators("adrf", shared_param=False, requires_grad=True, period=[5, 9]),
        lambda: spikes(ROW),
        low=0.01,
    ),
    "adaptive resonating maps": Case(_adaptive_resonating_maps, lambda: spikes(IMAGE), low=0.01),
    "adaptive Izhikevich resonators": Case(
        lambda: _adaptive_resonators("adrf_iz"), lambda: spikes(ROW)
    ),
    "sigma-delta": Case(_sigma_delta, lambda: steady((2, 11, 11)), high=1),
    "sigma-delta that learned": Case(_sigma_delta_learned, lambda: steady(ROW), high=1),
    "sigma-delta that grows": Case(_sigma_delta_growing, lambda: steady((2, 5, 5)), high=1),
    "sigma-delta with biases": Case(_sigma_delta_biased, lambda: steady(ROW), high=1),
    "pooling": Case(lambda: _pools(2), lambda: spikes((2, 8, 8))),
    "pooling of odd sizes": Case(lambda: _pools(2), lambda: spikes((2, 7, 9))),
    "growing": Case(_growing, lambda: spikes((2, 7, 7))),
    "growing with norm": Case(lambda: _growing(neuron=MEAN), lambda: spikes((2, 7, 7))),
    "uneven transposed": Case(_uneven_transposed, lambda: spikes(IMAGE)),
    "decays of their own": Case(
        lambda: _dense(neuron={"shared_param": False, "requires_grad": True}), lambda: spikes(ROW)
    ),
    "thresholds of 64": Case(_high_thresholds, lambda: spikes(ROW)),
    "other scale": Case(
        lambda: Chain(
            cuba("Dense", 20, 30, weight_scale=2, neuron={"scale": 32}),
            cuba("Dense", 30, 10, weight_scale=2, neuron={"scale": 128}),
        ),
        lambda: spikes(ROW),
    ),
    "mask and weight norm": Case(_masked, lambda: spikes(ROW)),
    "dropout": Case(
        lambda: _dense(neuron={"dropout": slayer.neuron.Dropout(0.5)}), lambda: spikes(ROW)
    ),
    "weights of -256": Case(_extreme, lambda: spikes(ROW)),
    "input of currents": Case(
        lambda: Chain(
            slayer.block.cuba.Input({**CUBA, "threshold": 0.8}, weight=0.5, bias=0.2),
            cuba("Dense", 20, 12, weight_scale=3),
        ),
        lambda: steady(ROW),
    ),
    "input on the host": Case(
        lambda: Chain(
            slayer.block.cuba.Input({**CUBA, **MEAN}, weight=1.3, bias=0.2),
            cuba("Dense", 20, 12, weight_scale=3),
            cuba("Dense", 12, 12, weight_scale=3, neuron=MEAN),
        ),
        lambda: steady(ROW),
    ),
    "input that passes": Case(
        lambda: Chain(
            slayer.block.cuba.Input(None, delay_shift=False), cuba("Dense", 20, 12, weight_scale=3)
        ),
        lambda: spikes(ROW),
    ),
    "graded frames": Case(
        lambda: Chain(cuba("Dense", 20, 12, weight_scale=2, neuron={"threshold": 20})),
        lambda: torch.randint(-9, 10, (SAMPLES, 20, STEPS)).float(),
    ),
    "dense on maps": Case(
        lambda: Chain(
            cuba("Conv", 2, 4, 3, padding=1, weight_scale=4),
            cuba("Dense", (9, 9, 4), 10, weight_scale=3),
        ),
        lambda: spikes(IMAGE),
    ),
    "event rates": Case(lambda: Counting(*_dense().blocks), lambda: spikes(ROW)),
    "sequential": Case(lambda: nn.Sequential(*_conv().blocks), lambda: spikes(IMAGE)),
    "membrane shortcuts": Case(Membrane, lambda: spikes(IMAGE)),
    "membrane shortcuts that grow": Case(lambda: Membrane(True), lambda: spikes((2, 4, 4))),
    "membrane container": Case(_membrane_container, lambda: spikes(IMAGE)),
    "membrane container without shift": Case(
        lambda: _membrane_container(**UNSHIFTED), lambda: spikes(IMAGE)
    ),
    "membrane container with norm and delays": Case(
        lambda: _membrane_container(neuron=MEAN, delay=True), lambda: spikes(IMAGE)
    ),
    "spike containers": Case(_spike_container, lambda: spikes(IMAGE)),
    "spike containers without shift": Case(
        lambda: _spike_container(**UNSHIFTED), lambda: spikes(IMAGE)
    ),
    "spike containers with delays": Case(
        lambda: _spike_container(delay=True), lambda: spikes(IMAGE)
    ),
    "multi-level neurons": Case(_levels, lambda: spikes(IMAGE), low=0.02),
    "multi-level neurons with norm": Case(
        lambda: _levels({**MEAN, "threshold": 0.7}, delay=True), lambda: spikes(IMAGE), low=0.005
    ),
    "sigma-delta membrane container": Case(_sigma_delta_membrane, lambda: steady(ROW), high=1),
    "residual": Case(Residual, lambda: spikes(IMAGE)),
    "residual without shift": Case(lambda: Residual(**UNSHIFTED), lambda: spikes(IMAGE)),
    "residual with norm and delays": Case(
        lambda: Residual(neuron=MEAN, delay=True), lambda: spikes(IMAGE)
    ),
}


def build(name: str) -> tuple[nn.Module, Tensor]:
    """A network of ``CASES`` in evaluation mode, run once, and what it takes."""
    torch.manual_seed(11)
    case = CASES[name]
    net, x = case.make(), case.frames()
    return ready(net, x), x


@torch.no_grad()  # type: ignore[misc]
def ready(net: nn.Module, x: Tensor) -> nn.Module:
    """Run ``net`` once, so that it has its sizes, and draw its delays and means."""
    net.eval()
    net(x)
    for module in net.modules():
        if isinstance(module, slayer.axon.Delay):
            module.delay.data = 6 * torch.rand(module.delay.shape)
        if getattr(module, "num_features", None) and hasattr(module, "running_mean"):
            module.running_mean = 0.4 * torch.randn(module.num_features)
    return net
