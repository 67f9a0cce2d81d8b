"""The fast engine is exact: which float type holds which sums, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from neuroport.backends.fast import TorchArithmetic  # noqa: E402
from neuroport.engines.fast import Fast  # noqa: E402
from neuroport.engines.reference import Reference  # noqa: E402
from neuroport.errors import BackendError, IllegalError  # noqa: E402
from neuroport.graph.float_exactness import largest_sum  # noqa: E402
from neuroport.graph.graph import Graph  # noqa: E402
from neuroport.graph.node import Conv, Dense, Input, Node, Relay, Synapse  # noqa: E402
from neuroport.kernels import compilation, exact_products  # noqa: E402

CPU = torch.device("cpu")


def dense(*weights: int, bits: int = 1, signed: bool = False, delay: object = 0) -> Graph:
    nodes: list[Node] = [
        Input("frames", (len(weights),), bits, signed),
        Dense("wide", ("frames",), [list(weights)], 0, delay),
        Relay("out", ("wide",)),
    ]
    return Graph(nodes, 3)


def conv(*weights: int, bits: int = 1, signed: bool = False, delay: object = 0) -> Graph:
    nodes: list[Node] = [
        Input("frames", (len(weights), 2, 2), bits, signed),
        Conv("wide", ("frames",), np.array(weights).reshape(1, -1, 1, 1)),
        Relay("out", ("wide",)),
    ]
    return Graph(nodes, 3)


@pytest.fixture(autouse=True, params=[True, False])
def with_onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With kernels and without them."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    with nullcontext() if request.param else compilation.plain():
        yield


@pytest.mark.parametrize("build", [dense, conv])
@pytest.mark.parametrize(
    ("worst", "kind"),
    [
        (1, torch.float32),
        (2**24 - 1, torch.float32),
        (2**24, torch.float64),
        (2**24 + 1, torch.float64),
        (2**53 - 1, torch.float64),
    ],
)
def test_synapse_runs_in_the_type_that_holds_its_largest_sum(
    build: Callable[..., Graph], worst: int, kind: torch.dtype
) -> None:
    graph = build(worst // 2 - worst, worst // 2)
    weight = TorchArithmetic(graph, CPU).weights["wide"]
    assert weight.dtype == kind
    assert weight.ravel().tolist() == [worst // 2 - worst, worst // 2]


@pytest.mark.parametrize("build", [dense, conv])
@pytest.mark.parametrize("more", [0, 2])
def test_sums_beyond_floating_point_are_refused_with_the_node(
    build: Callable[..., Graph], more: int
) -> None:
    graph = build(2**52, -(2**52), more)
    worst = 2**53 + more
    with pytest.raises(IllegalError, match=f"^wide: a sum can reach {worst}, more than") as caught:
        Fast().run(graph, np.zeros((3, 1, *graph.input.shape), int))
    assert "reference engine" in caught.value.message


@pytest.mark.parametrize("onednn", [True, False])
def test_float32_is_used_where_its_convolutions_are_exact(
    monkeypatch: pytest.MonkeyPatch, onednn: bool
) -> None:
    """Not without oneDNN (NNPACK's Winograd)."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    found = TorchArithmetic(dense(1), CPU).weights["wide"].dtype
    assert found == (torch.float32 if onednn else torch.float64)


@pytest.mark.parametrize("fault", [None, "products of float32 are not exact"])
def test_float32_of_another_device_is_used_where_its_products_are_seen_to_be_exact(
    monkeypatch: pytest.MonkeyPatch, fault: str | None
) -> None:
    monkeypatch.setattr(exact_products, "fault", lambda device: fault)
    found = TorchArithmetic(dense(1), torch.device("meta")).weights["wide"].dtype
    assert found == (torch.float64 if fault else torch.float32)


@pytest.mark.parametrize(
    ("graph", "worst"),
    [
        (dense(3, -5), 8),
        (dense(3, -5, bits=4), 8 * 15),
        (dense(3, -5, bits=4, signed=True), 8 * 8),
        (dense(0, 0, bits=4), 15),  # the messages themselves must be exact
        (conv(3, -5, bits=4), 8 * 15),
    ],
)
def test_largest_sum_counts_every_weight_by_its_magnitude(graph: Graph, worst: int) -> None:
    synapse = graph["wide"]
    assert isinstance(synapse, Synapse)
    assert largest_sum(graph, synapse) == worst


def test_largest_sum_is_that_of_the_worst_output_and_kernel() -> None:
    weight = np.array([[[[1, -2], [0, 1]]], [[[3, 0], [-4, 1]]], [[[1, 1], [1, 1]]]])
    nodes: list[Node] = [Input("frames", (1, 4, 4), 1), Conv("wide", ("frames",), weight)]
    graph = Graph(nodes, 1)
    assert largest_sum(graph, nodes[1]) == 8  # type: ignore[arg-type]
    several: list[Node] = [
        Input("frames", (2,), 1),
        Dense("in", ("frames",), [[9, 0], [0, 2]]),
        Relay("relay", ("in",)),
        Dense("wide", ("relay",), [[1, 1], [0, 3]]),
    ]
    assert largest_sum(Graph(several, 1), several[-1]) == 27  # type: ignore[arg-type]


@pytest.mark.parametrize("delay", [0, [[0, 1, 1]]])
@pytest.mark.parametrize("build", [dense, conv])
def test_sums_between_the_two_types_stay_exact(build: Callable[..., Graph], delay: object) -> None:
    """2**30 + 1 is no float32: its last bit is what remains of the sum."""
    graph = build(2**30 + 1, -(2**30), 2**25 + 3, bits=2, delay=delay)
    frames = np.random.default_rng(0).integers(0, 4, (3, 64, *graph.input.shape))
    frames[:, :, 1] = frames[:, :, 0]
    weight = np.array([2**30 + 1, -(2**30), 2**25 + 3])
    heard = frames.copy()
    if build is dense and delay:
        heard[1:, :, 1:] = frames[:-1, :, 1:]
        heard[0, :, 1:] = 0
    want = np.einsum("c,tnc...->tn...", weight, heard).reshape(3, 64, -1)
    kept = (np.abs(want) < 2**31).all((0, 2))  # samples that a trace holds
    assert kept.any()
    got = Fast().run(graph, frames[:, kept])["out"]
    np.testing.assert_array_equal(got.reshape(3, kept.sum(), -1), want[:, kept])
    if not delay:
        np.testing.assert_array_equal(got, Reference().run(graph, frames[:, kept])["out"])


def test_sums_near_the_end_of_float64_stay_exact() -> None:
    graph = dense(2**52 - 1, 2 - 2**52, 1)
    frames = np.array([[[1, 1, 0]], [[1, 1, 1]], [[0, 0, 1]]])
    assert Fast().run(graph, frames)["out"].ravel().tolist() == [1, 2, 1]


@pytest.mark.parametrize("device", ["pigeon", "", "cpux", "mps", "meta"])
def test_unknown_device_is_refused_with_the_known_ones(device: str) -> None:
    with pytest.raises(BackendError, match="unknown device") as caught:
        Fast().run(dense(1), np.zeros((3, 1, 1), int), device=device)
    assert repr(device) in caught.value.message
    assert "use 'auto', 'cpu', 'cuda' or 'cuda:1'" in caught.value.message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_missing_gpu_is_refused(device: str) -> None:
    with pytest.raises(BackendError, match="torch finds no GPU here; use device='cpu'"):
        Fast().run(dense(1), np.zeros((3, 1, 1), int), device=device)


def test_engine_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Fast().available() is None
    monkeypatch.setattr("neuroport.engines.fast.find_spec", lambda name: None)
    want = "torch is not installed; pip install '.[train]' in neuroport's folder"
    assert Fast().available() == want


def test_no_gradient_is_kept() -> None:
    seen: list[bool] = []
    graph = dense(1)
    frames = np.zeros((3, 1, 1), int)
    Fast().run(graph, frames, progress=lambda *_: seen.append(torch.is_inference_mode_enabled()))
    assert seen == [True]


WINDOWS = [  # on which oneDNN's 8-bit convolution crashes, or gives wrong sums
    ((4, 3, 2), (4, 4, 2, 1), (1, 3), (0, 1), 1),
    ((8, 3, 2), (6, 4, 4, 1), (1, 3), (2, 1), 2),
    ((1, 6, 4), (5, 1, 2, 3), (1, 2), (0, 0), 1),
    ((2, 12, 5), (6, 1, 4, 5), (1, 3), (1, 0), 2),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "groups"), WINDOWS)
@pytest.mark.parametrize("bits", [1, 8])
def test_windows_on_which_8_bit_convolutions_fail_are_computed_otherwise(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    bits: int,
) -> None:
    random = np.random.default_rng(0)
    weight = 2 * random.integers(-127, 128, kernel)
    nodes: list[Node] = [
        Input("frames", shape, bits),
        Conv("wide", ("frames",), weight, 1, stride, padding, groups=groups),
        Relay("out", ("wide",)),
    ]
    graph = Graph(nodes, 3)
    frames = random.integers(0, 1 << bits, (3, 5, *shape))
    want = Reference().run(graph, frames)
    assert np.array_equal(Fast().run(graph, frames)["out"], want["out"])


@pytest.mark.parametrize("seed", range(6))
def test_ordinary_8_bit_convolutions_are_exact(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(15):
        size, stride = int(random.integers(1, 6)), int(random.integers(1, 4))
        padding, channels = int(random.integers(0, size)), int(random.integers(1, 18))
        shape = (channels, *(int(n) for n in random.integers(size, 20, 2)))
        weight = 2 * random.integers(-127, 128, (int(random.integers(1, 18)), channels, size, size))
        nodes: list[Node] = [
            Input("frames", shape, int(random.integers(1, 9))),
            Conv("wide", ("frames",), weight, 0, (stride, stride), (padding, padding)),
            Relay("out", ("wide",)),
        ]
        graph = Graph(nodes, 2)
        frames = random.integers(0, 1 << graph.input.bits, (2, 3, *shape))
        want = Reference().run(graph, frames)
        assert np.array_equal(Fast().run(graph, frames)["out"], want["out"])
