"""The compiled kernels give the bits of the plain path, whatever the shape and the constants."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuroport.errors import LayerError
from neuroport.graph import integers
from neuroport.kernels import kernels, plain, why_plain
from neuroport.kernels.surrogate import SURROGATES
from neuroport.nets.families import build
from neuroport.nets.neuron import Lif, learn
from neuroport.nets.recipe import NetworkRecipe
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Relay, snap_weight
from neuroport.quantization.scales import freeze_scales
from tests.tiers import examples

SHAPES = [
    (1, 1, 1, 1, 1),
    (4, 2, 3, 5, 7),
    (3, 1, 16, 14, 14),
    (6, 5, 2, 1, 600),
    (2, 3, 1, 23, 23),
]


@pytest.fixture(autouse=True)
def compiled() -> None:
    reason = why_plain()
    if reason:
        pytest.skip(f"the plain path alone runs here: {reason}")


def laid_out(x: Tensor, layout: str) -> Tensor:
    """``x`` in the memory that a convolution, or something odd, would leave it in."""
    if layout == "channels_last":
        flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return flat.unflatten(0, x.shape[:2])
    if layout == "transposed":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    return x


def bits(run: Callable[[], list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    with plain():
        assert kernels() is None
        want = run()
    assert kernels() is not None
    return want, run()


def assert_same(run: Callable[[], list[Tensor]]) -> list[Tensor]:
    want, got = bits(run)
    for one, other in zip(want, got, strict=True):
        assert torch.equal(one, other)
    return got


layouts = st.sampled_from(["contiguous", "channels_last", "transposed"])
constants = st.tuples(
    st.sampled_from([0.0, 0.25, 0.3, 0.75, 1.0]),  # voltage decay
    st.sampled_from([1.0, 0.5, 0.123]),  # current decay
    st.sampled_from(sorted(SURROGATES)),
    st.booleans(),
)


@settings(max_examples=examples(120), deadline=None)
@given(st.sampled_from(SHAPES), layouts, constants, st.integers(0, 99))
def test_real_neurons_and_their_gradients_have_the_same_bits(
    shape: tuple[int, ...], layout: str, drawn: tuple[float, float, str, bool], seed: int
) -> None:
    voltage_decay, current_decay, surrogate, detach = drawn
    neuron = Lif(0.6, voltage_decay, current_decay, surrogate, detach)
    learn(neuron, "both")
    learned = [p for p in neuron.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator)
    values[values.abs() < 0.1] = 0.6  # on the threshold

    def run() -> list[Tensor]:
        x = laid_out(values, layout).requires_grad_()
        spikes = neuron(x)
        weights = laid_out(torch.linspace(-1, 1, spikes.numel()).reshape(shape), layout)
        grads = torch.autograd.grad((spikes * weights).sum(), (x, *learned))
        return [spikes, *grads]

    assert_same(run)


@settings(max_examples=examples(120), deadline=None)
@given(
    st.sampled_from(SHAPES),
    layouts,
    constants,
    st.sampled_from(["channel", "position"]),
    st.sampled_from([3, 200, 1 << 16]),
    st.integers(0, 99),
)
def test_integer_neurons_and_their_gradients_have_the_same_bits(
    shape: tuple[int, ...],
    layout: str,
    drawn: tuple[float, float, str, bool],
    bias_of: str,
    size: int,
    seed: int,
) -> None:
    voltage_decay, current_decay, surrogate, detach = drawn
    neuron = Lif(0.5, voltage_decay, current_decay, surrogate, detach)
    neuron.lsb.fill_(0.5 / size)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-2 * size, 2 * size + 1, shape, generator=generator).float()
    bias = torch.randn(shape[2:] if bias_of == "position" else shape[2:3], generator=generator)

    def run() -> list[Tensor]:
        x = laid_out(values, layout).requires_grad_()
        real = bias.clone().requires_grad_()
        spikes = neuron(Stream(x, real))
        weights = torch.linspace(-1, 1, spikes.numel()).reshape(shape)
        grads = torch.autograd.grad((spikes * weights).sum(), (x, real))
        return [spikes, *grads]

    assert_same(run)


def test_currents_that_wrap_and_voltages_that_saturate_have_the_same_bits() -> None:
    top = integers.STATE_MAX
    values = torch.tensor([top, -top, 1 << 17, -(1 << 17), (1 << 17) - 1, 5, -5, 0]).float()
    x = values[torch.randperm(8 * 64, generator=torch.Generator().manual_seed(0)) % 8]
    x = x.reshape(8, 1, 4, 4, 4)
    for decays in ((4096, 0), (0, 0), (1, 1), (2048, 4095), (4095, 3072)):
        neuron = Lif(100.0)
        neuron.current_decay.fill_(decays[0])
        neuron.voltage_decay.fill_(decays[1])
        neuron.lsb.fill_(1.0)
        (spikes,) = assert_same(lambda neuron=neuron: [neuron(Stream(x, torch.full((4,), -7.0)))])
        assert 0 < spikes.mean() < 1


@pytest.mark.parametrize("shift", [0, 1, 5, 20])
def test_relays_round_alike(shift: int) -> None:
    x = torch.randint(-(1 << 23), 1 << 23, (4, 2, 3, 8, 8)).float()
    relay = Relay()
    relay.shift.fill_(shift)
    for layout in ("contiguous", "channels_last", "transposed"):
        assert_same(lambda layout=layout: [relay(laid_out(x, layout))])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "every other"])
def test_weights_snap_alike(layout: str) -> None:
    unit = 0.37
    edges = torch.tensor(
        [0, 1, 253.999, 254, 254.001, 1e9, -254, -254.001, -1, 3, -3, 5, torch.nan]
    )
    weight = torch.cat([edges * unit, torch.linspace(-100, 100, 36 * 8 - len(edges))])
    weight = weight.reshape(8, 4, 3, 3)
    if layout == "channels_last":
        weight = weight.contiguous(memory_format=torch.channels_last)
    if layout == "every other":
        weight = weight.repeat_interleave(2, 0)[::2]
    gradient = torch.linspace(-1, 1, weight.numel()).reshape(weight.shape)

    def run() -> list[Tensor]:
        w = weight.detach().requires_grad_()
        out = snap_weight(w, unit)
        out.backward(gradient)
        assert w.grad is not None
        return [out.nan_to_num(7.5), w.grad]

    out, grad = assert_same(run)
    real = weight / torch.tensor(unit)
    want = 2 * (real.double().clamp(-254, 254) / 2).round()
    assert torch.equal(out.double(), want.nan_to_num(7.5))
    within = (real >= -254) & (real <= 254)
    assert 5 < int((~within).sum()) < weight.numel() / 2
    assert torch.equal(grad, torch.where(within, gradient / torch.tensor(unit), 0.0))


def test_kernels_of_one_position_keep_their_layout_and_second_derivatives_are_right() -> None:
    weight = torch.linspace(-100, 100, 8 * 4).reshape(8, 4, 1, 1).requires_grad_()
    out = snap_weight(weight, 0.5)
    assert out.stride() == weight.stride()
    (first,) = torch.autograd.grad(out.pow(2).sum(), weight, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), weight)
    assert torch.equal(first, 4 * out)
    assert torch.equal(second, torch.full_like(weight, 8.0))


def test_kernels_may_be_switched_off_before_the_gradient() -> None:
    neuron = Lif(0.5, 0.3, 0.5)
    neuron.lsb.fill_(0.5 / 200)
    found = []
    for off in (False, True):
        x = torch.randint(-400, 400, (4, 2, 3, 5, 5), generator=torch.Generator().manual_seed(0))
        value = x.float().requires_grad_()
        spikes = neuron(Stream(value, torch.linspace(-0.1, 0.1, 3)))
        with plain() if off else nullcontext():
            found.append(torch.autograd.grad(spikes.square().sum(), value)[0])
    assert torch.equal(*found)
    assert found[0].any()


def test_a_stream_grows_in_place_by_streams_of_its_size_alone() -> None:
    small, large = (Stream(torch.zeros(2, 1, 3, 4, size), torch.zeros(3)) for size in (1, 4))
    with pytest.raises(LayerError, match=r"\(2, 1, 3, 4, 4\) are added in place to smaller ones"):
        small.add_(large)


def test_a_stream_that_grows_after_a_neuron_has_read_it_keeps_the_gradient() -> None:
    values = torch.randint(-400, 400, (4, 2, 3, 5, 5)).float()
    neuron = Lif(0.5)
    neuron.lsb.fill_(0.5 / 200)
    bias = torch.zeros(3)
    found = []
    for grow in (lambda stream, more: stream.add_(more), lambda stream, more: stream + more):
        x = values.clone().requires_grad_()
        stream = Stream(x * 1, bias)
        spikes = neuron(stream)
        total = grow(stream, Stream(values, bias))
        (spikes.sum() + neuron(total).sum()).backward()
        found += [x.grad, spikes, total.value]
    for one, other in zip(found[:3], found[3:], strict=True):
        assert torch.equal(one, other)


def test_weights_after_training_steps_are_close_in_the_real_and_the_same_in_the_integer_phase() -> (
    None
):
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (1, 4, 1, 16, 16)).float().expand(4, -1, -1, -1, -1)
    recipe = NetworkRecipe("ds_resnet", widths=(4, 8, 8))
    state = build(recipe, 1, 10).state_dict()

    def train(state: dict[str, Tensor], integers: bool, steps: int) -> dict[str, Tensor]:
        net = build(recipe, 1, 10)
        net.load_state_dict(state)
        if integers:
            freeze_scales(net.eval(), frames[:, :1])
        net.train()
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            net(frames).logsumexp(1).sum().backward()
            optimizer.step()
        return {name: value.detach().clone() for name, value in net.state_dict().items()}

    with plain():
        want = train(state, False, 1)
    got = train(state, False, 1)
    for name, value in want.items():  # norms round differently
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert_same(lambda: list(train(want, True, 3).values()))


def test_import_compiles_nothing_and_a_cold_cache_is_filled_once(tmp_path: Path) -> None:
    script = (
        "import sys, neuroport.nets.neuron, pathlib, torch\n"
        f"cache = pathlib.Path({str(tmp_path)!r}) / 'neuroport'\n"
        "assert not cache.exists()\n"
        "spikes = neuroport.nets.neuron.Lif()(torch.ones(2, 3, 4, 5, 6))\n"
        "found = list((cache / 'kernels').iterdir())\n"
        "assert len(found) == 1 and found[0].suffix == '.so', found\n"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [("NEUROPORT_KERNELS", "off", "unset it"), ("CC", "/no/such/compiler", "did not compile")],
)
def test_without_a_compiler_the_plain_path_runs_and_the_reason_is_told(
    variable: str, value: str, told: str, tmp_path: Path
) -> None:
    script = (
        "import torch, neuroport.kernels as k\n"
        "from neuroport.nets.neuron import Lif\n"
        "assert Lif()(torch.ones(2, 3, 4)).sum() == 24\n"
        "assert k.kernels() is None\n"
        "print(k.why_plain())\n"
    )
    environment = os.environ | {variable: value, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True
    )
    assert told in done.stdout
