"""Trainable layers against equations written out here, and against the graphs they become."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.engines.reference import Reference  # noqa: E402
from neuroport.errors import CaptureError, FramesError  # noqa: E402
from neuroport.graph.graph import Graph  # noqa: E402
from neuroport.kernels.surrogate import SURROGATES  # noqa: E402
from neuroport.nets.ms_resnet import MembraneBlock, MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.stream import Stream  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout, snap_weight  # noqa: E402
from tests.helpers.modules import frames_for, randomize  # noqa: E402

# -- the neuron ------------------------------------------------------------------------------


def eighths(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Multiples of 1/8, whose leaked sums float64 holds exactly."""
    return np.random.default_rng(seed).integers(-6, 10, shape) / 8


def ms_resnet_neuron(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``mem_update`` of MS-ResNet: decay 0.25, threshold 0.5, hard reset; (spikes, u)."""
    spikes, states = np.zeros_like(x), np.zeros_like(x)
    u = s = np.zeros_like(x[0])
    for t in range(len(x)):
        u = 0.25 * u * (1 - s) + x[t]
        s = (u > 0.5).astype(x.dtype)
        spikes[t], states[t] = s, u
    return spikes, states


def cuba_neuron(x: np.ndarray, keep_u: float, keep_v: float) -> tuple[np.ndarray, np.ndarray]:
    """A neuron whose current leaks as well; (spikes, v before the reset)."""
    spikes, states = np.zeros_like(x), np.zeros_like(x)
    u = v = s = np.zeros_like(x[0])
    for t in range(len(x)):
        u = keep_u * u + x[t]
        v = keep_v * v * (1 - s) + u
        s = (v > 0.5).astype(x.dtype)
        spikes[t], states[t] = s, v
    return spikes, states


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neuron_is_that_of_ms_resnet(dtype: torch.dtype) -> None:
    x = eighths((6, 3, 2, 4, 5), 0)
    expected, u = ms_resnet_neuron(x)
    found = Lif()(torch.tensor(x, dtype=dtype))
    np.testing.assert_array_equal(found.numpy(), expected)
    assert found.dtype == dtype
    ties = u == 0.5
    assert ties[0].sum() > 3
    assert ties[1:].sum() > 3
    assert not expected[ties].any()
    assert 0.1 < expected.mean() < 0.9


def test_neuron_fires_strictly_above_its_threshold() -> None:
    above = np.nextafter(np.float32(0.5), np.float32(1))
    x = torch.tensor([0.5, above, 0.49]).reshape(1, 3, 1, 1, 1)
    assert Lif()(x).flatten().tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("current_decay", "voltage_decay"), [(0.5, 0.75), (0.25, 0.0), (0.0, 1.0), (1.0, 0.5)]
)
def test_neuron_with_a_leaking_current(current_decay: float, voltage_decay: float) -> None:
    x = eighths((6, 4, 4, 6, 6), 1) - 0.125
    expected, v = cuba_neuron(x, 1 - current_decay, 1 - voltage_decay)
    found = Lif(current_decay=current_decay, voltage_decay=voltage_decay)(torch.tensor(x))
    np.testing.assert_array_equal(found.numpy(), expected)
    assert (v == 0.5).any()
    assert 0.1 < expected.mean() < 0.9


def test_neuron_does_not_change_its_input() -> None:
    x = torch.tensor(eighths((4, 1, 1, 2, 2), 2), requires_grad=True)
    before = x.detach().clone()
    Lif(current_decay=0.5)(x).sum().backward()
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize(("current_decay", "voltage_decay"), [(1.0, 0.75), (0.5, 0.75), (0.25, 0)])
@pytest.mark.parametrize("surrogate", ["rectangular", "triangular"])
def test_gradient_is_the_backward_pass_written_out(
    current_decay: float, voltage_decay: float, surrogate: str
) -> None:
    rng = np.random.default_rng(3)
    x, grad = eighths((5, 2, 2, 3, 3), 4), rng.normal(size=(5, 2, 2, 3, 3))
    keep_u, keep_v = 1 - current_decay, 1 - voltage_decay
    spikes, v = cuba_neuron(x, keep_u, keep_v)
    distance = v - 0.5
    slope = {
        "rectangular": np.where(np.abs(distance) < 0.5, 1.0, 0.0),
        "triangular": np.maximum(0, 1 - np.abs(distance)),
    }[surrogate]
    grad_u = np.zeros_like(x)
    later_v, later_u = np.zeros_like(x[0]), np.zeros_like(x[0])
    for t in reversed(range(5)):
        # v[t+1] = keep_v * v[t] * (1 - s[t]) + u[t+1], where s[t] is a constant
        later_v = grad[t] * slope[t] + keep_v * (1 - spikes[t]) * later_v
        later_u = later_v + keep_u * later_u
        grad_u[t] = later_u
    current = torch.tensor(x, requires_grad=True)
    neuron = Lif(current_decay=current_decay, voltage_decay=voltage_decay, surrogate=surrogate)
    neuron(current).backward(torch.tensor(grad))
    assert current.grad is not None
    np.testing.assert_allclose(current.grad.numpy(), grad_u, rtol=1e-12, atol=1e-12)
    assert (np.abs(distance) == 0.5).any(), "the edge of the rectangle must occur"
    assert np.count_nonzero(grad_u) > grad_u.size / 4


def test_surrogates_have_unit_area() -> None:
    distance = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    for name, surrogate in SURROGATES.items():
        # arctan's tails reach far: beyond +-d lies 2 / (pi**2 * d) of it: 0.0101
        limit = 0.0102 if name == "arctan" else 1e-4
        assert abs(torch.trapezoid(surrogate(distance), distance).item() - 1) < limit, name
        assert torch.equal(surrogate(distance), surrogate(-distance)), name


@pytest.mark.parametrize("lsb", [2.0**-10, 2.0**-7])
def test_integer_neuron_and_its_gradient_are_the_real_ones_where_both_are_exact(
    lsb: float,
) -> None:
    x = torch.tensor(eighths((4, 2, 3, 2, 2), 6))
    bias = torch.tensor([0.125, 0.0, -0.25], dtype=torch.float64)
    grad = torch.tensor(np.random.default_rng(0).normal(size=x.shape))

    real, real_bias = x.clone().requires_grad_(), bias.clone().requires_grad_()
    spikes = Lif()(real + real_bias.reshape(-1, 1, 1))
    spikes.backward(grad)

    neuron = Lif()
    neuron.lsb.fill_(lsb)
    value, value_bias = (x / lsb).requires_grad_(), bias.clone().requires_grad_()
    assert neuron.integer_threshold == 0.5 / lsb
    integer = neuron(Stream(value, value_bias))
    integer.backward(grad)

    assert torch.equal(integer, spikes)
    assert 0.1 < spikes.mean() < 0.9
    assert value.grad is not None
    torch.testing.assert_close(value.grad / lsb, real.grad)
    torch.testing.assert_close(value_bias.grad, real_bias.grad)


def test_weights_snap_to_even_integers() -> None:
    weight = torch.tensor([0.0, 0.9, 1.1, -2.9, -3.1, 253.9, 255.5, 9999.0, -9999.0]) * 0.125
    weight.requires_grad_()
    snapped = snap_weight(weight, 0.125)
    assert snapped.tolist() == [0, 0, 2, -2, -4, 254, 254, 254, -254]
    snapped.sum().backward()
    # straight through, except where it is clipped
    assert weight.grad is not None
    assert weight.grad.tolist() == [8.0] * 6 + [0.0] * 3


@pytest.mark.parametrize("pool", [1, 2])
@torch.no_grad()
def test_folded_kernel_and_bias_are_the_layer_with_its_running_statistics(pool: int) -> None:
    layer = randomize(GradedConv(3, 4, pool=pool), 5).double()
    layer.norm.eps = 0.1  # large enough to be missed
    x = torch.tensor(eighths((2, 2, 3, 6, 6), 0))
    kernel, bias = layer.folded()
    expected = F.conv2d(x.flatten(0, 1), kernel, bias, stride=pool).unflatten(0, (2, -1))
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_padding_as_wide_as_the_kernel_is_refused_and_one_less_is_exact() -> None:
    with pytest.raises(ValueError, match=r"padding 5 is as wide as the kernel .5 with.* 4 at most"):
        Conv(16, 16, padding=5, dilation=2)
    layer = Conv(16, 16, padding=4, dilation=2, norm=lambda _: nn.Identity())
    x = torch.tensor(eighths((2, 1, 16, 3, 3), 0)).float()
    wanted = F.conv2d(x.flatten(0, 1), layer.kernel(), padding=4, dilation=2)
    torch.testing.assert_close(layer(x).flatten(0, 1), wanted)


# -- the network -----------------------------------------------------------------------------


def test_norms_start_at_the_threshold_and_at_zero_where_a_branch_ends() -> None:
    net = MsResNet(blocks=2, widths=(2, 3, 4))
    seen = 0
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            expected = 0.0 if name.endswith("conv2.norm") else 0.5
            assert module.weight.detach().tolist() == [expected] * module.num_features, name
            assert not module.bias.detach().any(), name
            seen += 1
    assert seen == 1 + 2 * 6 + 2


def test_parameters_carry_the_names_of_slayer() -> None:
    state = MsResNet(blocks=1, widths=(2, 3, 4)).state_dict()
    for name in ("stem", "blocks.0.conv1", "blocks.2.conv2", "blocks.1.shortcut", "readout"):
        assert f"{name}.synapse.weight" in state
    for name in ("blocks.0.neuron1", "blocks.2.neuron2", "neuron"):
        assert state[f"{name}.current_decay"].tolist() == [4096]
        assert state[f"{name}.voltage_decay"].tolist() == [3072]


@pytest.mark.parametrize(("blocks", "depth"), [(1, 8), (2, 14), (3, 20)])
def test_depth_is_six_n_plus_two_weight_layers(blocks: int, depth: int) -> None:
    net = MsResNet(blocks)
    layers = [name for name, m in net.named_modules() if isinstance(m, (Conv, Readout))]
    projections = [name for name in layers if "shortcut" in name]
    assert len(layers) - len(projections) == depth
    assert projections == [f"blocks.{blocks}.shortcut", f"blocks.{2 * blocks}.shortcut"]


def test_ms_resnet_20_has_the_parameters_counted_by_hand() -> None:
    net = MsResNet(blocks=3, in_channels=3)
    convolutions = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    projections = 16 * 32 + 32 * 64
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64 + 32 + 64)
    classifier = 64 * 10 + 10
    expected = convolutions + projections + norms + classifier
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == expected
    assert expected == 272_474


def spikes_of(x: Tensor) -> Tensor:
    return torch.from_numpy(ms_resnet_neuron(x.detach().numpy())[0])


def conv_norm(x: Tensor, layer: Conv, kernel: Tensor, stride: int, padding: int) -> Tensor:
    """Convolution and batch norm over all steps at once, as MS-ResNet folds T into the batch."""
    steps = len(x)
    out = F.conv2d(x.flatten(0, 1), kernel, stride=stride, padding=padding)
    norm = layer.norm
    if norm.training:
        mean, var = out.mean((0, 2, 3)), out.var((0, 2, 3), unbiased=False)
    else:
        mean, var = norm.running_mean, norm.running_var
    per_channel = (1, -1, 1, 1)
    out = (out - mean.reshape(per_channel)) / torch.sqrt(var.reshape(per_channel) + norm.eps)
    out = out * norm.weight.reshape(per_channel) + norm.bias.reshape(per_channel)
    return out.unflatten(0, (steps, -1))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("channels", "stride", "shortcut"),
    [(3, 1, "pool"), (5, 2, "pool"), (5, 2, "stride"), (5, 1, "stride"), (3, 2, "pool")],
)
@torch.no_grad()
def test_block_is_its_equation(channels: int, stride: int, shortcut: str, training: bool) -> None:
    block = randomize(MembraneBlock(3, channels, stride, shortcut), 1).double().train(training)
    x = torch.tensor(eighths((3, 2, 3, 6, 4), 8))
    first, second = block.conv1.synapse.weight, block.conv2.synapse.weight
    inner = conv_norm(spikes_of(x), block.conv1, first, stride, 1)
    branch = conv_norm(spikes_of(inner), block.conv2, second, 1, 1)
    if channels == 3 and stride == 1:
        assert isinstance(block.shortcut, nn.Identity)
        way = x
    else:
        kernel = block.shortcut.synapse.weight
        assert kernel.shape[2:] == (1, 1)
        if shortcut == "pool" and stride == 2:
            pooled = F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, (3, -1))
            way = conv_norm(pooled, block.shortcut, kernel, 1, 0)
        else:
            way = conv_norm(x, block.shortcut, kernel, stride, 0)
    torch.testing.assert_close(block(x), branch + way)
    assert spikes_of(inner).any()


@torch.no_grad()
def test_network_is_stem_blocks_neuron_and_mean() -> None:
    net = randomize(MsResNet(1, (2, 3, 4), in_channels=2, classes=5), 2).double()
    frames = torch.tensor(np.random.default_rng(0).integers(0, 256, (3, 2, 2, 8, 8))).double()
    x = conv_norm(frames / 255, net.stem, net.stem.synapse.weight, 1, 1)
    for block in net.blocks:
        x = block(x)
    spikes = spikes_of(x)
    mean = spikes.mean((0, 3, 4))
    expected = mean @ net.readout.synapse.weight.T + net.readout.synapse.bias
    torch.testing.assert_close(net(frames), expected)
    assert 0 < mean.mean() < 1


@pytest.mark.parametrize("shortcut", ["pool", "stride"])
def test_shape_halves_at_every_stage_but_the_first(shortcut: str) -> None:
    net = MsResNet(1, (2, 3, 4), shortcut=shortcut).eval()
    shapes = []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[2:])))
    with torch.no_grad():
        assert net(torch.zeros(2, 1, 1, 12, 8)).shape == (1, 10)
    assert shapes == [(2, 12, 8), (3, 6, 4), (4, 3, 2)]


# -- the network and its graph ---------------------------------------------------------------


def assert_lively(graph: Graph, messages: dict[str, np.ndarray]) -> None:
    for node in graph.populations:
        active = (messages[node.name] != 0).mean()
        assert active > 0.02, f"{node.name} is almost silent"


@pytest.mark.parametrize("shortcut", ["pool", "stride"])
@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_integer_forward_is_the_reference_engine(seed: int, shortcut: str) -> None:
    channels = 1 + seed % 2
    net = randomize(MsResNet(1 + seed % 2, (4, 6, 8), channels, 5, shortcut), seed)
    frames = frames_for(net, seed)
    graph = port.quantize(net, frames)
    want = Reference().run(graph, frames)
    assert_lively(graph, want.messages)

    module = run_module(net, frames, batch=2)
    outcome = compare(want, module)
    assert outcome, str(outcome)
    assert not outcome.only_want
    assert not outcome.only_got
    assert list(module.messages) == list(want.messages)
    assert module.provenance["graph"] == graph.hash

    lowered = port.lower(graph)
    assert not graph.balanced
    for got in (
        port.run(lowered, frames),
        port.run(lowered, frames, time_model="chip"),
    ):
        outcome = compare(module, got)
        assert outcome, str(outcome)
        assert not outcome.only_want
        assert outcome.same_predictions

    # the logits are the last potentials, in real units
    logits = net(torch.tensor(frames, dtype=torch.float32))
    scale = float(net.readout.lsb) / (64 * 3 * 2 * 2)  # steps, and positions of 8 x 8 / 4 / 4
    np.testing.assert_allclose(logits.numpy(), want.output * scale, rtol=1e-5)


@pytest.mark.parametrize(
    ("current_decay", "voltage_decay"), [(3000, 1234), (2048, 0), (4096, 4096)]
)
def test_any_decay_runs_the_same_in_module_and_graph(
    current_decay: int, voltage_decay: int
) -> None:
    net = randomize(MsResNet(1, (4, 6, 8)), 11)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Lif):
                module.current_decay.fill_(current_decay)
                module.voltage_decay.fill_(voltage_decay)
    frames = frames_for(net, 5, steps=4)
    graph = port.quantize(net, frames)
    outcome = compare(run_module(net, frames), Reference().run(graph, frames))
    assert outcome, str(outcome)
    neurons = [node for node in graph if hasattr(node, "current_decay")]
    found = {(int(n.current_decay[0]), int(n.voltage_decay[0])) for n in neurons}
    assert found == {(current_decay, voltage_decay)}


def test_quantized_network_is_close_to_the_real_one() -> None:
    net = randomize(MsResNet(1, (8, 8, 8)), 3)
    frames = frames_for(net, samples=16)
    with torch.no_grad():
        real = net(torch.tensor(frames, dtype=torch.float32))
        port.quantize(net, frames)
        integer = net(torch.tensor(frames, dtype=torch.float32))
    assert not torch.equal(real, integer)
    assert (real - integer).abs().mean() < 0.15 * real.std()


def test_hooks_and_training_mode_are_left_as_they_were() -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    frames = frames_for(net)
    port.quantize(net, frames)
    for training in (True, False):
        net.train(training)
        run_module(net, frames)
        assert all(m.training == training for m in net.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_frames_that_do_not_fit_the_module_are_refused() -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    frames = frames_for(net)
    with pytest.raises(CaptureError, match="real-valued"):
        run_module(net, frames)
    port.quantize(net, frames)
    with pytest.raises(FramesError):
        run_module(net, frames[0])
    with pytest.raises(FramesError, match="whole numbers"):
        run_module(net, frames.astype(np.float32))
    with pytest.raises(FramesError, match="span"):
        run_module(net, frames + 1)


def test_progress_counts_samples() -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    frames = frames_for(net, samples=5)
    port.quantize(net, frames)
    seen: list[tuple[int, int]] = []
    run_module(net, frames, batch=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_graded_convolution_of_a_stream_is_its_written_equation() -> None:
    layer = GradedConv(3, 2, stride=2)
    randomize(layer, 4)
    assert layer.relay_in is not None
    layer.relay_in.shift.fill_(3)
    layer.relay_out.shift.fill_(4)
    layer.source_lsb.fill_(2.0**-9)
    layer.lsb.fill_(2.0**-7)
    rng = np.random.default_rng(0)
    value, bias = rng.integers(-3000, 3000, (2, 1, 3, 4, 4)), rng.normal(size=3)
    with torch.no_grad():
        stream = Stream(torch.tensor(value).float(), torch.tensor(bias).float())
        found = layer(stream)
    scale = (layer.norm.weight / torch.sqrt(layer.norm.running_var + layer.norm.eps)).detach()
    kernel = layer.synapse.weight[:, :, 0, 0].detach() * scale[:, None]
    # a weight of 1 turns a message of 2**-9 * 2**3 into 2**-7 * 2**-4 of current
    weight = (2 * torch.round(kernel / (2.0**-11 / 2.0**-6) / 2)).numpy().astype(int)
    messages = (value[..., ::2, ::2] + 4) >> 3
    product = np.einsum("oi,tnihw->tnohw", weight, messages)
    np.testing.assert_array_equal(found.value.numpy(), (product + 8) >> 4)
    real = layer.norm.bias - layer.norm.running_mean * scale + kernel @ torch.tensor(bias).float()
    torch.testing.assert_close(found.bias, real.detach())
