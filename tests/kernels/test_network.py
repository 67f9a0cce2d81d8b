"""A network in one compiled call sends what the reference sends, on processors old and new."""

from __future__ import annotations

import ctypes
import platform
import shutil
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from neuroport.backends import compiled_network  # noqa: E402
from neuroport.backends.compiled_network import CompiledNetwork  # noqa: E402
from neuroport.engines.fast import Fast  # noqa: E402
from neuroport.engines.reference import Reference  # noqa: E402
from neuroport.graph.graph import Graph  # noqa: E402
from neuroport.graph.node import (  # noqa: E402
    Conv,
    Delay,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Relay,
    Sigma,
)
from neuroport.kernels import compilation  # noqa: E402
from neuroport.kernels.network_kernel import BYTES, SHORTS, WORDS  # noqa: E402
from neuroport.targets.lowering import lower  # noqa: E402
from tests.helpers.processors import network_for  # noqa: E402
from tests.properties.networks import network  # noqa: E402

COMPILER = shutil.which("cc") or shutil.which("gcc")
LEVELS = ("native", "x86-64-v4 -mno-avx512vnni", "x86-64-v3", "x86-64-v3 -mavxvnni", "x86-64")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


def has(level: str) -> bool:
    """Whether this processor runs code of a level."""
    if level == "native":
        return True
    if platform.machine() != "x86_64":
        return False
    with open("/proc/cpuinfo") as told:
        flags = next(line.split() for line in told if line.startswith("flags"))
    need = {"x86-64-v4": "avx512bw", "x86-64-v3": "avx2", "-mavxvnni": "avx_vnni"}
    return all(need.get(part, flags[-1]) in flags for part in level.split())


@pytest.fixture(scope="module", params=[level for level in LEVELS if has(level)])
def library(request: pytest.FixtureRequest) -> ctypes.CDLL:
    first, *rest = request.param.split()
    return network_for(f"-march={first}", *rest)


@pytest.mark.parametrize("level", LEVELS)
def test_this_processor_runs_the_instructions(level: str) -> None:
    """One skip per level that this processor lacks says that none of its tests ran."""
    if not has(level):
        pytest.skip(f"this processor lacks {level}: no test of the code for it was run")
    first, *rest = level.split()
    assert network_for(f"-march={first}", *rest)


Run = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def run(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The fast engine with these kernels, which have to take the graph."""
    monkeypatch.setattr(compiled_network, "kernels", lambda: library)

    def run(graph: Graph, frames: np.ndarray, **options: str) -> dict[str, np.ndarray]:
        assert isinstance(
            compiled_network.whole(graph, options.get("time_model", "ideal")), CompiledNetwork
        )
        return Fast().run(graph, frames, **options).messages

    return run


def agrees(run: Run, graph: Graph, frames: np.ndarray) -> dict[str, np.ndarray]:
    """What the reference sends, after the fast engine was seen to send it in both times."""
    want = Reference().run(graph, frames).messages
    for time_model in ("ideal", "chip") if graph.balanced else ("ideal",):
        got = run(graph, frames, time_model=time_model)
        assert got.keys() == want.keys()
        for name, messages in want.items():
            assert got[name].dtype == messages.dtype
            np.testing.assert_array_equal(got[name], messages, f"{name}, {time_model} time")
    return want


def test_random_networks_on_any_processor(library: ctypes.CDLL, run: Run) -> None:
    seen = 0
    for seed in range(60):
        case = network(seed)
        graph = lower(case.graph)
        if compiled_network.whole(graph, "ideal") is not None:
            agrees(run, graph, case.frames)
            seen += 1
    assert seen > 30


def wide(shape: tuple[int, ...], bits: int, signed: bool, *after: Node, steps: int = 3) -> Graph:
    return Graph([Input("frames", shape, bits, signed), *after], steps)


def extremes(graph: Graph, samples: int, seed: int = 0) -> np.ndarray:
    """Frames that are often as large as they may be."""
    node = graph.input
    low, high = (
        (-(1 << node.bits - 1), (1 << node.bits - 1) - 1)
        if node.signed
        else (0, (1 << node.bits) - 1)
    )
    random = np.random.default_rng(seed)
    drawn = random.integers(low, high + 1, (graph.steps, samples, *node.shape))
    return np.where(random.random(drawn.shape) < 0.5, high, drawn)


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 16, 33, 70])
@pytest.mark.parametrize("outputs", [1, 2, 15, 17, 48, 65, 130])
def test_any_number_of_channels(run: Run, channels: int, outputs: int) -> None:
    random = np.random.default_rng(channels * outputs)
    weight = 2 * random.integers(-127, 128, (outputs, channels, 3, 3))
    graph = wide(
        (channels, 5, 7),
        1,
        False,
        Conv("synapse", ("frames",), weight, 0, (1, 1), (1, 1)),
        Lif("out", ("synapse",), np.full(1, 200)),
    )
    agrees(run, graph, extremes(graph, 2))


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 15, 16, 17])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("weights", ["all even", "small", "odd", "wide"])
def test_messages_and_weights_of_any_width(run: Run, bits: int, signed: bool, weights: str) -> None:
    """Two products of 255 and 127 leave 16 bits; odd weights beyond 127 leave 8."""
    low, high = {
        "all even": (-254, 254),
        "small": (-128, 127),
        "odd": (-255, 255),
        "wide": (-999, 999),
    }[weights]
    random = np.random.default_rng(bits)
    weight = random.choice([low, high, high - 2], (3, 6, 2, 1))
    if weights == "odd":
        weight[0, 0] = 255
    graph = wide(
        (6, 4, 4),
        bits,
        signed,
        Conv("synapse", ("frames",), weight),
        Relay("out", ("synapse",), 2, 5),
    )
    want = agrees(run, graph, extremes(graph, 3))
    assert want["out"].any()


WINDOWS = [  # shape, kernel, stride, padding, dilation, groups
    ((4, 3, 2), (4, 4, 2, 1), (1, 3), (0, 1), (1, 1), 1),
    ((8, 3, 2), (6, 4, 4, 1), (1, 3), (2, 1), (1, 1), 2),
    ((1, 6, 4), (5, 1, 2, 3), (1, 2), (0, 0), (2, 1), 1),
    ((2, 12, 5), (6, 1, 4, 5), (1, 3), (1, 0), (1, 1), 2),
    ((3, 9, 9), (4, 3, 3, 3), (2, 2), (3, 3), (2, 3), 1),
    ((6, 8, 8), (6, 1, 2, 2), (2, 2), (0, 0), (1, 1), 6),
    ((2, 1, 40), (3, 2, 1, 5), (1, 1), (0, 2), (1, 1), 1),
    ((2, 40, 1), (3, 2, 5, 1), (1, 1), (2, 0), (1, 1), 1),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation", "groups"), WINDOWS)
@pytest.mark.parametrize("bits", [1, 12])
def test_any_window(
    run: Run,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    bits: int,
) -> None:
    weight = 2 * np.random.default_rng(0).integers(-127, 128, kernel)
    synapse = Conv("synapse", ("frames",), weight, 1, stride, padding, dilation, groups)
    graph = wide(shape, bits, False, synapse, Relay("out", ("synapse",)))
    agrees(run, graph, extremes(graph, 3))


@pytest.mark.parametrize(
    ("bits", "channels", "kernel", "words"),
    [
        (1, 516, (1, 1), 129),  # 129 words of 2 * 127 are 32,766: all fit in 16 bits
        (1, 520, (1, 1), 129),  # 130 are 33,020: the old way, as a place has more than 129
        (1, 172, (1, 3), 129),
        (1, 176, (1, 3), 129),  # parts of two places and of one
        (3, 12, (3, 3), 18),  # 18 words of 7 * 254 are 32,004; parts of six places
        (7, 4, (3, 3), 1),  # a pair is 32,258: parts of one place
        (7, 8, (3, 3), 1),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_pairs_at_the_end_of_16_bits(
    run: Run, bits: int, channels: int, kernel: tuple[int, int], words: int, sign: int
) -> None:
    high = (1 << bits) - 1
    weight = np.full((9, channels, *kernel), sign * 254)  # halved: 127
    weight[1:] = 2 * np.random.default_rng(0).integers(-127, 128, weight[1:].shape)
    assert compiled_network.narrow_words(weight >> 1, high) == words
    synapse = Conv("synapse", ("frames",), weight, 0)
    graph = wide((channels, 4, 19), bits, False, synapse, Relay("out", ("synapse",)))
    frames = extremes(graph, 2)
    frames[0] = high
    agrees(run, graph, frames)


@pytest.mark.parametrize(
    "places", [(1, 1), (1, 3), (1, 15), (4, 4), (7, 7), (8, 8), (5, 13), (10, 33)]
)
@pytest.mark.parametrize("channels", [1, 37])
@pytest.mark.parametrize("past", [False, True])
def test_messages_of_every_width_are_recorded_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, places: tuple[int, int], channels: int, past: bool
) -> None:
    """With and without stores past the caches, which only long records take otherwise."""
    if past:
        monkeypatch.setattr(compiled_network, "CACHES", -1)
    one = np.ones((channels, 1, 1, 1), int)
    synapses = [
        Conv(name, ("frames",), w, 0, groups=channels) for name, w in (("+", one), ("-", -one))
    ]
    relays = [Relay(f"{name}{shift}", (name,), shift) for name in "+-" for shift in (11, 4, 1)]
    spikes = Lif("spikes", ("+",), np.full(1, 1 << 15))
    graph = wide((channels, *places), 18, False, *synapses, *relays, spikes)
    program = compiled_network.whole(graph, "ideal")
    assert program is not None
    assert {place.kind for place in program._places[1:]} == {BYTES, SHORTS, WORDS}
    wanted = agrees(run, graph, extremes(graph, 8))
    assert all(len(np.unique(messages)) > 1 for messages in wanted.values())


@pytest.mark.parametrize("shape", [(5, 6, 7), (5,)])
def test_frames_that_stand_still_or_move_late(run: Run, shape: tuple[int, ...]) -> None:
    """Equal steps are multiplied once, but not if one of them differs."""
    random = np.random.default_rng(0)
    if len(shape) == 3:
        synapse = Conv("synapse", ("frames",), random.integers(-99, 99, (6, 5, 3, 3)), 0)
    else:
        synapse = Dense("synapse", ("frames",), random.integers(-99, 99, (6, 5)), 0)
    graph = wide(shape, 8, False, synapse, Relay("out", ("synapse",)), steps=4)
    frames = np.repeat(random.integers(0, 256, (1, 3, *shape)), 4, axis=0)
    frames[3, 1, 0] ^= 1
    frames[1, 2] ^= 1
    agrees(run, graph, frames)


def test_neurons_of_every_decay_bias_and_threshold(run: Run) -> None:
    """Per channel and per neuron, with currents that wrap and voltages that saturate."""
    random = np.random.default_rng(3)
    shape = (5, 4, 3)
    weight = random.integers(-255, 256, (5, 5, 3, 3))
    nodes: list[Node] = [Conv("synapse", ("frames",), weight, 6, (1, 1), (1, 1))]
    decays = [(4096, 0), (4096, 4096), (4096, 2048), (0, 0), (1000, 37), (4095, 1)]
    for number, (current, voltage) in enumerate(decays):
        bias = random.integers(-4000, 4000, shape if number % 2 else (1,))
        fields = np.full(1, current), np.full(1, voltage), bias
        nodes.append(Lif(f"lif{number}", ("synapse",), random.integers(0, 90000, 5), *fields))
        nodes.append(LeakyReadout(f"leaky{number}", ("synapse",), *fields))
    each = random.integers(0, 4097, 5), random.integers(0, 4097, 5)
    nodes.append(Lif("each", ("synapse",), np.full(1, 7), *each))
    nodes.append(Readout("out", ("synapse",), random.integers(-4000, 4000, shape)))
    graph = wide(shape, 8, True, *nodes, steps=12)
    want = agrees(run, graph, extremes(graph, 4))
    for name, messages in want.items():
        if name.startswith("lif"):
            assert 0 < messages.mean() < 1, name
    assert (np.abs(want["leaky3"]) == 8388607).any()


def test_shortcuts_pass_on_their_source_shifted(run: Run) -> None:
    random = np.random.default_rng(1)
    one = np.ones((4, 1, 1, 1), int)
    graph = wide(
        (4, 5, 5),
        1,
        False,
        Conv("stem", ("frames",), random.integers(-9, 9, (4, 4, 3, 3)), 0, (1, 1), (1, 1)),
        Relay("relay", ("stem",)),
        Conv("once", ("relay",), one, groups=4),
        Conv("eight", ("relay",), 4 * one, 1, groups=4),
        Conv("thrice", ("relay",), 3 * one, groups=4),
        Conv("minus", ("relay",), -one, groups=4),
        Relay("sum", ("once", "eight", "thrice", "minus", "once")),
    )
    want = agrees(run, graph, extremes(graph, 2))
    np.testing.assert_array_equal(want["sum"], 12 * want["relay"])


def test_delays_of_axons_and_of_single_synapses(run: Run) -> None:
    random = np.random.default_rng(2)
    graph = wide(
        (3, 2, 2),
        4,
        False,
        Delay("later", ("frames",), 2),
        Dense(
            "hidden",
            ("later",),
            random.integers(-99, 99, (20, 12)),
            0,
            random.integers(0, 5, (20, 12)),
        ),
        Lif("neuron", ("hidden",), np.full(1, 300)),
        Delay("long", ("neuron",), 9),
        Dense("last", ("long",), random.integers(-99, 99, (3, 20)), 2),
        Readout("out", ("last",)),
        steps=8,
    )
    want = agrees(run, graph, extremes(graph, 3))
    assert want["neuron"].any()
    assert not want["out"].any()


def test_batches_and_interrupted_calls_are_the_same_samples(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = network(1)
    graph = lower(case.graph)
    frames = np.concatenate([case.frames] * 4, axis=1)
    want = run(graph, frames)
    monkeypatch.setattr(compiled_network, "MOMENT", 1)
    for batch in (1, 3, 64):
        got = Fast().run(graph, frames, batch=batch).messages
        assert all(np.array_equal(got[name], want[name]) for name in want)


def test_what_leaves_32_bits_or_is_of_another_kind_is_left_to_other_lines() -> None:
    def reader(*nodes: Node, shape: tuple[int, ...] = (1,)) -> Graph:
        return wide(shape, 8, False, *nodes)

    dense = Dense("synapse", ("frames",), [[1]])
    fits = reader(dense, Relay("out", ("synapse",)))
    assert isinstance(compiled_network.whole(fits, "ideal"), CompiledNetwork)
    others = [
        reader(Dense("synapse", ("frames",), [[1 << 24]]), Relay("out", ("synapse",))),
        reader(Dense("synapse", ("frames",), [[1 << 32]], 0), Relay("out", ("synapse",))),
        reader(dense, Sigma("out", ("synapse",))),
        reader(dense, Lif("out", ("synapse",), np.full(1, 1 << 25))),
        reader(
            Dense("synapse", ("frames",), [[1, 1], [1, 1]]),
            Readout("out", ("synapse",)),
            shape=(2, 1),
        ),
    ]
    for graph in others:
        assert compiled_network.whole(graph, "ideal") is None
    with compilation.plain():
        assert compiled_network.whole(fits, "ideal") is None


def test_the_plain_engine_agrees_too() -> None:
    with compilation.plain():
        for seed in range(20):
            case = network(seed)
            graph = lower(case.graph)
            want, got = (engine.run(graph, case.frames) for engine in (Reference(), Fast()))
            for name, messages in want.messages.items():
                np.testing.assert_array_equal(got[name], messages, name)
