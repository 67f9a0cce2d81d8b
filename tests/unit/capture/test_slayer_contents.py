"""What SLAYER's modules hold: the graph has it, or the network is refused with what to do."""

from __future__ import annotations

import re
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
    UNSHIFTED,
    Chain,
    changes,
    cuba,
    ready,
    spikes,
)

nn = torch.nn
block = slayer.block

ADAPTIVE = {**CUBA, **ADAPTS}
LEAKY = {**PLAIN, "voltage_decay": 0.1}


def dense(kind: str = "cuba", params: Any = CUBA, **options: Any) -> Any:
    made = getattr(block, kind).Dense
    return made(dict(params), 20, 10, weight_scale=3, **{**UNSHIFTED, **options})


def run(net: Any, x: Any) -> np.ndarray:
    """What the network itself answers, (T, N, ...)."""
    with torch.no_grad():
        return np.moveaxis(net(x).numpy(), -1, 0)


def graph_of(net: Any, x: Any) -> Any:
    return port.quantize(net, np.moveaxis(x.numpy(), -1, 0).astype(np.int64))


def answered(net: Any, x: Any) -> np.ndarray:
    """What the last population of its graph answers."""
    frames = capture.frames(net, x)
    messages = port.run(port.quantize(net, frames), frames).messages
    return np.asarray(messages[list(messages)[-1]])


def refused(net: Any, x: Any, *words: str) -> str:
    with pytest.raises(port.NeuroportError) as caught:
        graph_of(net, x)
    said = str(caught.value)
    assert type(caught.value).__name__ == "CaptureError"
    assert all(word in said for word in words), said
    assert "\n" not in said
    return said


def mend(net: Any, lines: str) -> None:
    """Do what an error says."""
    for module in net.blocks:
        exec(lines, {"neuron": module.neuron, "block": module})


# -- states ----------------------------------------------------------------------------------------

KEEPING = {
    "cuba": CUBA,
    "alif": ADAPTIVE,
    "rf": RESONATOR,
    "rf_iz": RESONATOR,
    "adrf": {**RESONATOR, **ADAPTS},
    "sigma_delta": CHANGES,
}


@pytest.mark.parametrize("kind", KEEPING)
def test_advice_about_persistent_states_makes_the_graph_equal_the_network(kind: str) -> None:
    torch.manual_seed(3)
    net, x = Chain(dense(kind, {**KEEPING[kind], "persistent_state": True})), spikes(ROW)
    x[..., 6:] = 0  # so that what sigma-delta neurons sum up stays small
    ready(net, x)
    said = refused(net, x, "blocks.0", "persistent_state", "recording")
    advice = re.search(r"clear what it kept \((.+?)\) and give frames", said)
    assert advice is not None, said
    mend(net, advice[1])
    want = run(net, x)
    unit = 4096 if kind == "sigma_delta" else 1
    assert want.any()
    np.testing.assert_array_equal(answered(net, x), want * unit)


@pytest.mark.parametrize(
    ("kind", "state", "value"),
    [
        ("cuba", "current_state", 2),
        ("cuba", "voltage_state", -1),
        ("alif", "threshold_state", 0),
        ("alif", "refractory_state", 1),
        ("rf", "real_state", 1),
        ("rf_iz", "imag_state", 1),
        ("cuba", "voltage_state", float("nan")),
    ],
)
def test_state_left_over_is_refused_until_it_is_cleared(kind: str, state: str, value: Any) -> None:
    torch.manual_seed(3)
    net, x = Chain(dense(kind, KEEPING[kind])), spikes(ROW)
    ready(net, x)
    want = run(net, x)
    getattr(net.blocks[0].neuron, state).fill_(value)
    said = refused(net, x, "blocks.0", f"left over ({state})", "evaluate the network again")
    with pytest.raises(port.NeuroportError, match="left over"):
        capture.record(net, x)
    assert torch.all(getattr(net.blocks[0].neuron, state).nan_to_num(7) != 0) or value == 0
    advice = re.search(r"clear it \((.+?)\) and evaluate", said)
    assert advice is not None, said
    mend(net, advice[1])
    np.testing.assert_array_equal(run(net, x), want)
    np.testing.assert_array_equal(answered(net, x), want)


def test_state_of_a_network_with_delay_shift_and_another_batch_is_refused_too() -> None:
    net, x = Chain(cuba("Dense", 20, 10)), spikes(ROW)
    ready(net, x)
    net.blocks[0].neuron.voltage_state.fill_(1)
    refused(net, x[:1], "left over (voltage_state)")


def test_recurrent_neurons_that_forget_every_step_are_refused() -> None:
    net, x = Chain(cuba("Recurrent", 20, 10)), spikes(ROW)
    ready(net, x)
    net.blocks[0].neuron.persistent_state = False
    refused(net, x, "blocks.0", "forget", "neuron.persistent_state = True")


@pytest.mark.parametrize("part", ["sigma", "delta"])
def test_halves_of_sigma_delta_neurons_keep_no_state(part: str) -> None:
    net, x = Chain(changes("Dense", 20, 10)), spikes(ROW)
    ready(net, x)
    getattr(net.blocks[0].neuron, part).persistent_state = True
    refused(net, x, "blocks.0", f"neuron.{part}.persistent_state = False")


def test_winners_begin_without_spikes_of_their_own() -> None:
    net, x = Chain(cuba("KWTA", 20, 10, 5, neuron={"threshold": 8})), spikes(ROW)
    ready(net, x)
    graph_of(net, x)
    net.blocks[0].spike_state = torch.ones(len(x), 10)
    refused(net, x, "blocks.0", "spike_state.zero_()")


# -- parameters, buffers and parts -----------------------------------------------------------------

KINDS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "Dense": (lambda: cuba("Dense", 20, 10), ROW),
    "Conv": (lambda: cuba("Conv", 2, 4, 3), IMAGE),
    "Pool": (lambda: cuba("Pool", 3), IMAGE),
    "ConvT": (lambda: cuba("ConvT", 2, 4, 3), IMAGE),
    "Unpool": (lambda: cuba("Unpool", 2), IMAGE),
}


def built(kind: str) -> tuple[Any, Any]:
    make, shape = KINDS[kind]
    net, x = Chain(make()), spikes(shape)
    ready(net, x)
    graph_of(net, x)  # as it is, it is captured
    return net, x


@pytest.mark.parametrize("kind", KINDS)
def test_bias_of_a_synapse_is_refused(kind: str) -> None:
    net, x = built(kind)
    synapse = net.blocks[0].synapse
    synapse.bias = nn.Parameter(torch.full((synapse.out_channels,), 0.25))
    refused(net, x, "blocks.0.synapse", "bias", "MeanOnlyBatchNorm")
    del synapse.bias
    synapse.bias = torch.ones(synapse.out_channels)  # no parameter, and forward uses it
    refused(net, x, "blocks.0.synapse", "bias")


@pytest.mark.parametrize("kind", ["Recurrent", "KWTA"])
def test_bias_of_a_recurrent_block_is_refused(kind: str) -> None:
    more = (5,) if kind == "KWTA" else ()
    net, x = Chain(cuba(kind, 20, 10, *more, neuron={"threshold": 8})), spikes(ROW)
    ready(net, x)
    graph_of(net, x)
    net.blocks[0].bias = torch.ones(10, 1)
    refused(net, x, "blocks.0", "bias")


UNKNOWN: dict[str, Callable[[Any], None]] = {
    "a parameter of a block": lambda b: b.register_parameter("gain", nn.Parameter(torch.ones(1))),
    "a buffer of a block": lambda b: b.register_buffer("gain", torch.ones(1)),
    "a part of a block": lambda b: b.add_module("gain", nn.Linear(1, 1)),
    "a parameter of neurons": lambda b: b.neuron.register_parameter(
        "gain", nn.Parameter(torch.ones(1))
    ),
    "a buffer of a synapse": lambda b: b.synapse.register_buffer("gain", torch.ones(1)),
    "a buffer of a norm": lambda b: b.neuron.norm.register_buffer("gain", torch.ones(1)),
    "a part of delays": lambda b: b.delay.add_module("gain", nn.Identity()),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_slayers_own_class_does_not_have_is_refused(what: str) -> None:
    net, x = Chain(dense(params={**CUBA, **MEAN}, delay=True)), spikes(ROW)
    ready(net, x)
    graph_of(net, x)
    UNKNOWN[what](net.blocks[0])
    refused(net, x, "'blocks.0", "'gain'", "outside of the block")


def test_weight_that_is_computed_of_others_is_refused() -> None:
    net, x = built("Dense")
    nn.utils.parametrizations.spectral_norm(net.blocks[0].synapse)
    refused(net, x, "blocks.0.synapse", "'parametrizations'", "remove_parametrizations")


def test_mask_that_slayer_ignores_is_ignored() -> None:
    torch.manual_seed(3)
    net = Chain(cuba("Conv", 2, 4, 3, weight_scale=3, **UNSHIFTED))
    x = spikes(IMAGE)
    ready(net, x)
    net.blocks[0].mask = torch.zeros(4, 2, 1, 1, 1)
    want = run(net, x)
    assert want.any()
    np.testing.assert_array_equal(answered(net, x), want)


# -- along the steps -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_kernel_that_sees_several_steps_is_refused(kind: str) -> None:
    net, x = built(kind)
    synapse = net.blocks[0].synapse
    wide = torch.cat([synapse.weight.data] * 2, dim=-1)
    synapse.weight = nn.Parameter(wide)
    refused(net, x, "blocks.0", str(tuple(wide.shape)), "along the steps", "one step")


@pytest.mark.parametrize("item", ["stride", "padding", "dilation", "output_padding"])
@pytest.mark.parametrize("kind", KINDS)
def test_synapse_that_moves_along_the_steps_is_refused(kind: str, item: str) -> None:
    if item == "output_padding" and kind not in ("ConvT", "Unpool"):
        pytest.skip("no such option")
    net, x = built(kind)
    synapse = net.blocks[0].synapse
    *space, along = getattr(synapse, item)
    for value in ((*space, along + 1), along + 1, "same"):
        setattr(synapse, item, value)
        refused(net, x, "blocks.0", item)


@pytest.mark.parametrize("kind", ["Dense", "Unpool"])
def test_groups_that_the_graph_takes_for_one_are_refused(kind: str) -> None:
    net, x = built(kind)
    net.blocks[0].synapse.groups = 2
    refused(net, x, "blocks.0.synapse", "groups=2", "set it back to 1")


def test_parts_of_a_complex_synapse_have_one_geometry() -> None:
    net = Chain(block.rf.Conv(dict(RESONATOR), 2, 4, 3, padding=1))
    x = spikes(IMAGE)
    ready(net, x)
    graph_of(net, x)
    imag = net.blocks[0].synapse.imag
    imag.dilation, imag.padding = (2, 2, 1), (2, 2, 0)  # of the same size
    run(net, x)  # which SLAYER takes
    refused(net, x, "blocks.0", "imaginary", "(2, 2)")


@pytest.mark.parametrize("value", [2, 0.5])
def test_delays_of_another_sampling_time_are_refused(value: float) -> None:
    net, x = Chain(dense(delay=True)), spikes(ROW)
    ready(net, x)
    net.blocks[0].delay.sampling_time = value
    refused(net, x, "blocks.0", f"sampling_time {value:g}", "use 1")


def test_delay_of_another_kind_is_refused() -> None:
    net, x = Chain(dense()), spikes(ROW)
    ready(net, x)
    net.blocks[0].delay = nn.Identity()
    refused(net, x, "blocks.0", "delay Identity", "slayer.axon.Delay")


# -- constants of neurons --------------------------------------------------------------------------

CONSTANTS: dict[str, tuple[Callable[[], Any], Callable[[Any], None], tuple[str, ...]]] = {
    "threshold_eps": (
        dense,
        lambda b: setattr(b.neuron, "threshold_eps", 0.4),
        ("threshold_eps 0.4", "0.01 / neuron.s_scale"),
    ),
    "a threshold off the grid": (
        dense,
        lambda b: setattr(b.neuron, "_threshold", 1.2521),
        ("threshold 1.2521", "1/64"),
    ),
    "a threshold that is no number": (
        dense,
        lambda b: setattr(b.neuron, "_threshold", float("nan")),
        ("threshold nan",),
    ),
    "a step off the grid": (
        lambda: dense("alif", ADAPTIVE),
        lambda b: setattr(b.neuron, "threshold_step", 0.2001),
        ("threshold_step 0.2001", "1/4096", "820 / 4096"),
    ),
    "a readout that resets": (
        lambda: cuba("Affine", 20, 10),
        lambda b: setattr(b.neuron, "_threshold", 1.0),
        ("threshold 1.0", "neuron._threshold = -1"),
    ),
    "changes rounded otherwise": (
        lambda: changes("Dense", 20, 10),
        lambda b: setattr(b.neuron.delta, "scale", 64),
        ("1/64", "neuron.delta.scale = 4096"),
    ),
    "a variance per channel": (
        lambda: dense(params={**PLAIN, **SCALE}),
        lambda b: setattr(b.neuron.norm, "running_var", torch.linspace(0.1, 4, 10)),
        ("10 variances",),
    ),
    "an own clamp": (
        lambda: dense(params={**CUBA, "requires_grad": True}),
        lambda b: setattr(b.neuron, "clamp", lambda: None),
        ("own 'clamp'",),
    ),
    "an own dropout": (
        lambda: dense(params={**CUBA, "dropout": nn.Dropout(0.5)}),
        lambda b: setattr(b.neuron.drop, "forward", lambda x: 1 - x),
        ("dropout",),
    ),
    "a dropout of the user's": (
        dense,
        lambda b: setattr(b.neuron, "drop", type("Mine", (nn.Dropout,), {})()),
        ("dropout Mine",),
    ),
    "sigma-delta neurons in a recurrent block": (
        lambda: cuba("Recurrent", 20, 10),
        lambda b: setattr(b, "neuron", dense("sigma_delta", KEEPS).neuron),
        ("recurrent", "sigma-delta"),
    ),
}
KEEPS = {**CHANGES, "persistent_state": True}


@pytest.mark.parametrize("what", CONSTANTS)
def test_constants_that_the_graph_takes_for_given_are_refused_where_they_differ(what: str) -> None:
    make, change, words = CONSTANTS[what]
    net, x = Chain(make()), spikes(ROW)
    ready(net, x)
    graph_of(net, x)
    change(net.blocks[0])
    net.eval()
    with torch.no_grad():
        net(x)  # SLAYER takes it
    refused(net, x, "blocks.0", *words)


ONES: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "count_log": (dense, lambda b: setattr(b, "count_log", 1)),
    "dynamics": (lambda: cuba("Affine", 20, 10, neuron=LEAKY), lambda b: setattr(b, "dynamics", 1)),
    "delay_shift": (dense, lambda b: setattr(b, "delay_shift", 1)),
}


@pytest.mark.parametrize("what", ONES)
def test_flag_of_1_is_what_slayer_takes_it_for(what: str) -> None:
    """SLAYER asks ``is True``: 1 is not."""
    torch.manual_seed(3)
    make, change = ONES[what]
    net, x = Chain(make()), spikes(ROW)
    ready(net, x)
    change(net.blocks[0])
    want = run(net, x)
    assert want.any()
    got = answered(net, x)
    np.testing.assert_array_equal(got if what != "dynamics" else got / 64, want)


def test_decays_that_slayer_does_not_clamp_are_not_clamped() -> None:
    net, x = Chain(dense()), spikes(ROW)
    ready(net, x)
    neuron = net.blocks[0].neuron
    neuron.requires_grad = 1  # SLAYER clamps where it is True
    neuron.current_decay.data.fill_(5000)
    with pytest.raises(port.NeuroportError):
        graph_of(net, x)


def test_weight_norm_that_slayer_does_not_apply_is_refused() -> None:
    torch.manual_seed(3)
    net, x = Chain(cuba("Recurrent", 20, 10, weight_norm=True, weight_scale=2)), spikes(ROW)
    ready(net, x)
    graph_of(net, x)
    want = run(net, x)
    net.blocks[0].recurrent_synapse.weight_g.data.mul_(3)
    for name in ("current_state", "voltage_state"):
        getattr(net.blocks[0].neuron, name).zero_()
    first = run(net, x)
    assert first.shape == want.shape
    refused(net, x, "blocks.0", "recurrent synapse", "disable_weight_norm()")
