"""What no graph expresses is refused: the block, the reason, the nearest thing that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from tests.helpers.slayer_networks import (  # noqa: E402
    ADAPTS,
    CHANGES,
    CUBA,
    IMAGE,
    MEAN,
    PLAIN,
    RESONATOR,
    ROW,
    SCALE,
    Chain,
    changes,
    cuba,
    ready,
    spikes,
)

nn = torch.nn
block = slayer.block


class Custom(slayer.block.cuba.Dense):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return super().forward(x) * 2


class OwnNorm(nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return 2 * x


class Free(Chain):
    """Blocks, and a forward pass that the test gives."""

    def __init__(self, way: Callable[[Any, Any], Any], *blocks: Any) -> None:
        super().__init__(*blocks)
        self.way = way

    def forward(self, x: Any) -> Any:
        return self.way(self.blocks, x)


def dense(**options: Any) -> Any:
    return cuba("Dense", 20, 10, **options)


def adaptive(kind: str = "Dense", neuron: Any = None) -> Any:
    return getattr(block.alif, kind)({**CUBA, **ADAPTS, **(neuron or {})}, 20, 10)


def two() -> list[Any]:
    return [cuba("Dense", 20, 20), cuba("Dense", 20, 20)]


def _silent_calls(net: Any) -> None:
    part = net.blocks[0].synapse
    base = type(part)

    class Silent(base):  # type: ignore[misc, valid-type]
        def __call__(self, x: Any) -> Any:
            return 0 * super().__call__(x)

    part.__class__ = Silent


def altered(net: Any, change: Callable[[Any], Any]) -> Any:
    """``net`` with something changed after its first run."""
    net.change = change
    return net


def _set(path: str, value: Any) -> Callable[[Any], None]:
    def change(net: Any) -> None:
        *way, last = path.split(".")
        for name in way:
            net = net[int(name)] if name.isdigit() else getattr(net, name)
        setattr(net, last, value)

    return change


def _fill(value: float) -> Callable[[Any], None]:
    return lambda net: net.blocks[0].synapse.weight.data.fill_(value)


UNRUN = (
    "ADRF Izhikevich",
    "resonators of which few win",
    "cumulative errors",
)  # SLAYER's own forward pass fails

# name: network, shape of its frames, what the message must say
CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...], tuple[str, ...]]] = {
    "ADRF Izhikevich": (
        lambda: Chain(block.adrf_iz.Dense({**ADAPTS, "period": 8, "decay": 0.1}, 20, 10)),
        ROW,
        ("blocks.0", "forward pass fails", "self.spike(*self.dynamics(x))", "block.adrf"),
    ),
    "a refractory state that grows": (
        lambda: Chain(adaptive(neuron={"refractory_decay": -0.1})),
        ROW,
        ("blocks.0", "refractory_decay -410..-410", "clamp_(0, 4096)"),
    ),
    "a threshold that adapts without a number": (
        lambda: altered(
            Chain(adaptive()),
            _set("blocks.0.neuron.threshold_decay.data", torch.tensor([torch.nan])),
        ),
        ROW,
        ("blocks.0", "decays", "not finite"),
    ),
    "a step that is no number": (
        lambda: altered(Chain(adaptive()), _set("blocks.0.neuron.threshold_step", float("inf"))),
        ROW,
        ("blocks.0", "threshold_step inf", "not finite"),
    ),
    "a norm that divides before adaptive neurons": (
        lambda: altered(
            Chain(adaptive(neuron=SCALE)),
            lambda net: net.blocks[0].neuron.norm.running_var.fill_(15),
        ),
        ROW,
        ("blocks.0", "divides currents", "MeanOnlyBatchNorm"),
    ),
    "a norm that multiplies an adaptive neuron's own spikes": (
        lambda: altered(
            Chain(adaptive("Recurrent", neuron=SCALE)),
            lambda net: net.blocks[0].neuron.norm.running_var.fill_(0.2),
        ),
        ROW,
        ("blocks.0", "multiplies its own spikes", "MeanOnlyBatchNorm"),
    ),
    "winner-take-all": (
        lambda: Chain(cuba("KWTA", 20, 10, 2, neuron={"threshold": 8})),
        ROW,
        ("blocks.0", "adds 4/64 to a current that decays", "current_decay=1", "block.alif"),
    ),
    "resonators of which few win": (
        lambda: Chain(block.rf.KWTA(dict(RESONATOR), 20, 10, 2)),
        ROW,
        ("blocks.0", "KWTA of resonators", "use cuba"),
    ),
    "time decimation": (
        lambda: Chain(dense(), block.cuba.TimeDecimation(2)),
        ROW,
        ("blocks.1", "averages over steps", "fewer steps"),
    ),
    "a norm on what integrates": (
        lambda: altered(
            Chain(
                dense(),
                cuba("Affine", 10, 5, neuron={**MEAN, "current_decay": 0, "voltage_decay": 1}),
            ),
            _set("blocks.1.neuron.norm.running_mean", torch.ones(5)),
        ),
        ROW,
        ("blocks.1", "normalizes a voltage", "no norm"),
    ),
    "an average that is read": (
        lambda: Chain(dense(), block.cuba.Average(5), cuba("Dense", 5, 5)),
        ROW,
        ("blocks.2", "only the host", "must be the last"),
    ),
    "a norm on decaying currents": (
        lambda: Chain(dense(neuron=SCALE)),
        ROW,
        ("blocks.0", "WgtScaleBatchNorm", "current_decay=1", "MeanOnlyBatchNorm"),
    ),
    "a norm on decaying voltages": (
        lambda: altered(
            Chain(dense(neuron={**CUBA, **SCALE, "current_decay": 1})),
            lambda net: net.blocks[0].neuron.norm.running_var.fill_(15),
        ),
        ROW,
        ("blocks.0", "divides currents by 4", "voltage_decay=0"),
    ),
    "a norm in a recurrent block": (
        lambda: Chain(cuba("Recurrent", 20, 10, neuron=MEAN)),
        ROW,
        ("blocks.0", "recurrent and has a norm", "current_decay=1"),
    ),
    "a norm of the user's": (
        lambda: Chain(dense(neuron={"norm": OwnNorm})),
        ROW,
        ("blocks.0", "norm OwnNorm", "MeanOnlyBatchNorm"),
    ),
    "a resonator with a mean": (
        lambda: altered(
            Chain(block.rf.Dense({**RESONATOR, **MEAN}, 20, 10)),
            _set("blocks.0.neuron.real_norm.running_mean", torch.ones(10)),
        ),
        ROW,
        ("blocks.0", "resonators have no bias"),
    ),
    "graded spikes": (
        lambda: Chain(dense(neuron={"graded_spike": True})),
        ROW,
        ("blocks.0", "graded_spike=False"),
    ),
    "persistent states": (
        lambda: Chain(dense(neuron={"persistent_state": True})),
        ROW,
        ("blocks.0", "persistent_state", "False"),
    ),
    "a threshold beyond float32": (
        lambda: Chain(dense(neuron={"threshold": 64})),
        ROW,
        ("blocks.0", "threshold 64", "float32", "below 64"),
    ),
    "an odd scale": (lambda: Chain(dense(neuron={"scale": 48})), ROW, ("blocks.0", "scale 48")),
    "decays per channel of maps": (
        lambda: Chain(cuba("Conv", 2, 7, 3, neuron={"shared_param": False})),
        IMAGE,
        ("blocks.0", "shared_param=False", "along the width", "Flatten and a Dense"),
    ),
    "an own activation": (
        lambda: Chain(
            changes("Input"),
            block.sigma_delta.Dense({**CHANGES, "activation": torch.tanh}, 20, 10),
        ),
        ROW,
        ("blocks.1", "activation tanh", "relu"),
    ),
    "cumulative errors": (
        lambda: Chain(block.sigma_delta.Dense({**CHANGES, "cum_error": True}, 20, 10)),
        ROW,
        ("blocks.0", "cum_error"),
    ),
    "a learned threshold off the grid": (
        lambda: altered(
            Chain(changes("Dense", 20, 10)),
            lambda net: net.blocks[0].neuron.delta.threshold.data.fill_(0.123),
        ),
        ROW,
        ("blocks.0", "learned the threshold 0.123", "1/4096", "round_()"),
    ),
    "another scale of changes": (
        lambda: Chain(block.sigma_delta.Dense({**CHANGES, "scale": 32}, 20, 10)),
        ROW,
        ("blocks.0", "scale 32", "use 64"),
    ),
    "a scale that is no power of two": (
        lambda: Chain(dense(neuron={**PLAIN, "scale": 48})),
        ROW,
        ("blocks.0", "scale 48, no power of two", "use 64"),
    ),
    "states finer than of SLAYER's scale": (
        lambda: altered(Chain(dense()), _set("blocks.0.neuron.s_scale", 1 << 13)),
        ROW,
        ("blocks.0", "w_scale 64 and s_scale 8192", "64 times", "neuron.s_scale = 4096"),
    ),
    "weights coarser than of SLAYER's scale": (
        lambda: altered(Chain(dense()), _set("blocks.0.neuron.w_scale", 32)),
        ROW,
        ("blocks.0", "w_scale 32 and s_scale 4096", "neuron.s_scale = 2048"),
    ),
    "changes as spikes": (
        lambda: Chain(changes("Input"), cuba("Dense", 20, 10)),
        ROW,
        ("blocks.1", "changes", "spikes"),
    ),
    "pooling over channels": (
        lambda: Chain(cuba("Pool", 3, stride=1)),
        IMAGE,
        ("blocks.0", "from one channel into the next", "Conv with groups"),
    ),
    "unpooling over channels": (
        lambda: Chain(cuba("Unpool", 4, stride=2, padding=1)),
        (2, 8, 8),
        ("blocks.0", "run from one channel into the next", "ConvT with groups"),
    ),
    "weights that are no numbers": (
        lambda: altered(Chain(dense()), _fill(float("nan"))),
        ROW,
        ("blocks.0", "not finite"),
    ),
    "weights that SLAYER does not quantize": (
        lambda: Chain(dense(pre_hook_fx=None)),
        ROW,
        ("blocks.0", "weights", "no multiple of 1/64", "quantize_8bit"),
    ),
    "recurrent weights of -256": (
        lambda: altered(
            Chain(cuba("Recurrent", 20, 10)),
            lambda net: net.blocks[0].recurrent_synapse.weight.data.fill_(-5),
        ),
        ROW,
        ("blocks.0", "recurrent weights -256", "clamp"),
    ),
    "a forward pass of the user's": (
        lambda: Chain(Custom(dict(CUBA), 20, 10)),
        ROW,
        ("blocks.0", "Custom", "own 'forward'"),
    ),
    "hooks": (
        lambda: altered(
            Chain(dense()), lambda net: net.blocks[0].register_forward_hook(lambda *_: None)
        ),
        ROW,
        ("blocks.0", "forward hooks"),
    ),
    "a recurrent block called twice": (
        lambda: Free(
            lambda blocks, x: blocks[0](blocks[0](x)), cuba("Recurrent", 20, 20, neuron=PLAIN)
        ),
        ROW,
        ("blocks.0.2", "keep their state"),
    ),
    "a product between blocks": (
        lambda: Free(lambda blocks, x: blocks[1](blocks[0](x) * 2), *two()),
        ROW,
        ("blocks.1", "'mul'", "sums"),
    ),
    "a difference between blocks": (
        lambda: Free(lambda blocks, x: blocks[1](blocks[0](x) - x), *two()),
        ROW,
        ("blocks.1", "'sub'"),
    ),
    "a call of the object's own": (
        lambda: altered(Chain(dense()), _set("blocks.0.neuron._call_impl", lambda x: 0 * x)),
        ROW,
        ("blocks.0.neuron", "own '_call_impl'"),
    ),
    "a call of the class's own": (
        lambda: altered(Chain(dense()), _silent_calls),
        ROW,
        ("blocks.0.synapse", "Silent", "own '__call__'"),
    ),
    "another threshold_eps": (
        lambda: altered(Chain(dense()), _set("blocks.0.neuron.threshold_eps", 3.0)),
        ROW,
        ("blocks.0", "threshold_eps 3", "change the threshold"),
    ),
    "something of the block's own": (
        lambda: Free(lambda blocks, x: blocks[1](torch.ones_like(x)), *two()),
        ROW,
        ("blocks.1", "ones_like"),
    ),
    "a branch on values": (
        lambda: Free(lambda blocks, x: blocks[1](x) if x.sum() > 0 else blocks[0](x), *two()),
        ROW,
        ("branch", "same for all frames"),
    ),
    "a branch on a number": (
        lambda: Free(
            lambda blocks, x: blocks[1](x) if x.sum().item() > 0 else blocks[0](x), *two()
        ),
        ROW,
        ("branches on a number", "item"),
    ),
    "no block at all": (
        lambda: Free(lambda blocks, x: x + x, *two()),
        ROW,
        ("calls no block",),
    ),
    "a current that a block reads": (
        lambda: Free(lambda blocks, x: blocks[1](blocks[0].synapse(x)), *two()),
        ROW,
        ("blocks.1", "current", "only a neuron"),
    ),
    "messages that a neuron reads": (
        lambda: Free(lambda blocks, x: blocks[0].neuron(x), *two()),
        ROW,
        ("blocks.0.neuron", "synapses"),
    ),
    "a scaled current": (
        lambda: Free(lambda blocks, x: blocks[0].neuron(2 * blocks[0].synapse(x)), *two()),
        ROW,
        ("blocks.0.neuron", "mul"),
    ),
    "a resonator alone": (
        lambda: Free(
            lambda blocks, x: blocks[0].neuron(blocks[0].synapse(x)),
            block.rf.Dense(dict(RESONATOR), 20, 10),
        ),
        ROW,
        ("blocks.0.synapse", "complex", "call the block"),
    ),
    "an unknown neuron": (
        lambda: altered(Chain(dense()), _set("blocks.0.neuron", slayer.neuron.base.Neuron(1))),
        ROW,
        ("blocks.0",),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_no_graph_expresses_is_refused(case: str) -> None:
    make, shape, wanted = CASES[case]
    torch.manual_seed(2)
    net, x = make(), spikes(shape)
    change = net.__dict__.pop("change", None)
    if case not in UNRUN:
        ready(net, x)
    for module in net.modules():  # ready() draws means; these cases say their own
        if hasattr(module, "running_mean") and change is not None:
            module.running_mean.zero_()
    if change is not None:
        change(net)
    with pytest.raises(port.NeuroportError) as caught:
        port.quantize(net, np.moveaxis(x.numpy(), -1, 0))
    said = str(caught.value)
    assert all(word in said for word in wanted), said
    assert type(caught.value).__name__ == "CaptureError"
    assert all("forward" not in vars(module) for module in net.modules()), "left as it was"


def test_network_that_was_never_run_is_refused() -> None:
    with pytest.raises(port.NeuroportError, match=r"'blocks.0' was never run.*load_state_dict"):
        port.quantize(Chain(dense()).eval(), np.zeros((4, 1, 20)))


def test_network_elsewhere_or_of_another_type_is_refused() -> None:
    net = ready(Chain(dense()), spikes(ROW))
    with pytest.raises(port.NeuroportError, match=r"float64.*net.float\(\)"):
        port.quantize(net.double(), np.zeros((4, 1, 20)))
    with pytest.raises(port.NeuroportError, match=r"is on meta.*net.cpu\(\)"):
        port.quantize(net.to("meta"), np.zeros((4, 1, 20)))


def test_frames_of_another_size_than_the_network_was_run_with_are_refused() -> None:
    net = ready(Chain(cuba("Conv", 2, 3, 3)), spikes(IMAGE))
    with pytest.raises(port.NeuroportError, match=r"run with \(3, 7, 7\).*give \(3, 8, 8\)"):
        port.quantize(net, np.zeros((4, 1, 2, 10, 10)))


def test_frames_that_are_no_integers_need_an_input_block() -> None:
    net = ready(Chain(dense()), spikes(ROW))
    with pytest.raises(port.NeuroportError, match=r"not integers.*block.cuba.Input"):
        port.quantize(net, np.full((4, 1, 20), 0.3))


def test_states_that_leave_24_bits_are_named_when_slayer_is_recorded() -> None:
    own = {"neuron": {**PLAIN, "threshold": 60}}
    net = Chain(cuba("Dense", 20, 10, **own))
    x = spikes(ROW) * 200
    ready(net, x)
    net.blocks[0].synapse.weight.data.fill_(-4)
    with pytest.raises(port.NeuroportError, match=r"blocks.0.neuron: a state.*24 bits"):
        capture.record(net, x)


def test_what_a_spike_adds_to_adaptive_states_is_held_to_24_bits_too() -> None:
    net = Chain(adaptive(neuron={"threshold": 1100, "refractory_decay": 1}))
    x = spikes(ROW) * 200
    ready(net, x)
    net.blocks[0].synapse.weight.data.fill_(3.9)
    with pytest.raises(port.NeuroportError, match=r"blocks.0.neuron: a state.*24 bits"):
        capture.record(net, x)
    net.blocks[0].synapse.weight.data.fill_(0)  # a threshold alone fits
    capture.record(net, x)
