"""NIR networks, in: what every primitive means, what is exact, what is refused and how."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import FormatError, FramesError, NeuroportWarning
from neuroport.frontends.nir.cost import integer_signals
from neuroport.frontends.nir.interpreter import interpret
from neuroport.frontends.nir.reading import read
from tests.nir.networks import Drawn, write

FILES = Path(__file__).parent / "files"
RNG = np.random.default_rng
Values = dict[str, Any]


def network(nodes: dict[str, Values], *edges: tuple[str, str], **metadata: Any) -> Drawn:
    root = {"type": "NIRGraph", "nodes": nodes, "edges": [list(edge) for edge in edges]}
    if metadata:
        root["metadata"] = {name: np.asarray(value) for name, value in metadata.items()}
    return Drawn(root, {}, False, set())


def chain(*nodes: tuple[str, Values], **metadata: Any) -> Drawn:
    return network(dict(nodes), *pairwise(name for name, _ in nodes), **metadata)


def node(kind: str, **values: Any) -> Values:
    return {
        "type": kind,
        **{k: v if isinstance(v, (str, dict)) else np.asarray(v) for k, v in values.items()},
    }


def given(*shape: int) -> tuple[str, Values]:
    return "in", node("Input", shape=shape)


def taken(*shape: int) -> tuple[str, Values]:
    return "out", node("Output", shape=shape)


def spikes(*shape: int, steps: int = 40, share: float = 0.4, seed: int = 0) -> Any:
    return (RNG(seed).random((steps, 3, *shape)) < share).astype(np.int64)


def lif(size: int, **other: float) -> Values:
    values = {"tau": 0.004, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.4, **other}
    return node("LIF", **{key: np.full(size, value) for key, value in values.items()})


def if_(*shape: int, **other: float) -> Values:
    values = {"r": 1.0, "v_threshold": 1.0, **other}
    return node("IF", **{key: np.full(shape, value) for key, value in values.items()})


# -- the meaning -------------------------------------------------------------------------------


def test_lif_takes_the_steps_of_euler_and_fires_above_its_threshold() -> None:
    drawn = chain(given(1), ("n", lif(1, v_threshold=0.5)), taken(1))
    frames = np.array([1, 1, 1, 0, 1]).reshape(5, 1, 1)
    got = interpret(read(drawn), {"in": frames}, dt=0.001)["out"].ravel()
    # v = 0.25, 0.4375, 0.578 fires, 0, 0.25
    assert got.tolist() == [0, 0, 1, 0, 0]


def test_cuba_lif_lets_the_current_of_a_step_reach_the_voltage_in_it() -> None:
    values = {"tau_syn": 0.002, "tau_mem": 0.004, "r": 4.0, "v_leak": 0.0, "w_in": 2.0}
    cell = node("CubaLI", **{key: np.full(1, value) for key, value in values.items()})
    drawn = chain(given(1), ("n", cell), taken(1))
    frames = np.array([1, 0, 0]).reshape(3, 1, 1)
    got = interpret(read(drawn), {"in": frames}, dt=0.001)["out"].ravel()
    # i = 1, 0.5, 0.25 and v = 0.75 v + i
    assert got.tolist() == [1.0, 1.25, 1.1875]


def test_a_neuron_hears_its_own_loop_a_step_later() -> None:
    drawn = network(
        {"in": given(1)[1], "n": if_(1), "w": node("Linear", weight=[[-1.0]]), "out": taken(1)[1]},
        ("in", "n"), ("n", "w"), ("w", "n"), ("n", "out"),
    )  # fmt: skip
    frames = np.full((6, 1, 1), 2)
    got = interpret(read(drawn), {"in": frames}, dt=1.0)["out"].ravel()
    assert got.tolist() == [1, 0, 1, 0, 1, 0]  # 2 fires; 2 - 1 stays; 1 + 2 fires; 2 - 1 ...


def test_a_neuron_hears_its_own_loop_a_step_later_in_integers_too() -> None:
    drawn = network(
        {"in": given(3)[1], "n": if_(3), "out": taken(3)[1],
         "w": node("Linear", weight=RNG(1).integers(-4, 5, (3, 3)) / 4)},
        ("in", "n"), ("n", "w"), ("w", "n"), ("n", "out"),
    )  # fmt: skip
    made = port.import_nir(drawn, dt=1.0, frames=spikes(3))
    assert made.cost is not None
    assert made.cost.populations[0].real > 10
    assert made.cost.populations[0].differing == 0


# -- integers ----------------------------------------------------------------------------------

PER_NEURON = RNG(3).uniform(0.5, 1.5, 6)
INTEGRATORS = {
    "I": {"r": PER_NEURON / 0.001},
    "LI": {"tau": 0.004 * PER_NEURON, "r": PER_NEURON, "v_leak": PER_NEURON - 1},
    "CubaLI": {
        "tau_syn": 0.003 * PER_NEURON, "tau_mem": 0.005 * PER_NEURON, "r": PER_NEURON,
        "v_leak": PER_NEURON - 1, "w_in": 2 * PER_NEURON,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", INTEGRATORS)
def test_potentials_of_integrators_are_those_of_the_equations(kind: str) -> None:
    affine = node("Affine", weight=RNG(0).normal(size=(6, 5)), bias=RNG(1).normal(size=6))
    drawn = chain(given(5), ("w", affine), ("n", node(kind, **INTEGRATORS[kind])), taken(6))
    made = port.import_nir(drawn, dt=0.001, frames=spikes(5))
    assert made.cost is not None
    (output,) = made.cost.outputs
    assert not output.spikes
    assert output.error < 0.01


def linear_cases() -> dict[str, tuple[tuple[int, ...], list[tuple[str, Values]], tuple[int, ...]]]:
    rng = RNG(5)
    weight = rng.integers(-4, 5, (4, 2, 3, 3)) / 8
    plain = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}

    def conv(kernel: Any, **other: Any) -> Values:
        return node("Conv2d", **{**plain, "weight": kernel, "bias": np.zeros(len(kernel)), **other})

    def pool(kind: str, size: int = 2, padding: int = 0) -> Values:
        return node(kind, kernel_size=(size, size), stride=(2, 2), padding=(padding, padding))

    flat = node("Flatten", start_dim=0, end_dim=-1, input_type=(2, 6, 8))
    dense = node("Linear", weight=rng.integers(-4, 5, (5, 96)) / 8)
    channels = np.array([1.0, 0.5])[:, None, None] * np.ones((2, 6, 8))
    uneven = rng.integers(1, 4, (2, 6, 8)) / 2
    maps = (2, 6, 8)
    return {
        "convolution": (maps, [("a", conv(weight))], (4, 6, 8)),
        "stride, dilation": (
            maps, [("a", conv(weight, stride=(2, 1), padding=(0, 2), dilation=(1, 2)))], (4, 2, 8)
        ),
        "groups": (maps, [("a", conv(weight[:, :1], groups=2))], (4, 6, 8)),
        "same, even kernel": (
            maps, [("a", conv(weight[:, :, :2, :2], padding="same"))], (4, 6, 8)
        ),
        "same, even kernel, dilation": (
            maps,
            [("a", conv(weight[:, :, :2, :2], padding="same", dilation=(3, 1)))],
            (4, 6, 8),
        ),
        "pool, convolution": (
            maps, [("p", pool("SumPool2d")), ("a", conv(weight))], (4, 3, 4)
        ),
        "mean, convolution": (
            maps, [("p", pool("AvgPool2d")), ("a", conv(weight))], (4, 3, 4)
        ),
        "overlapping pool, convolution": (
            maps, [("p", pool("SumPool2d", 3, 1)), ("a", conv(weight))], (4, 3, 4)
        ),
        "convolution, pool": (
            maps, [("a", conv(weight)), ("p", pool("SumPool2d"))], (4, 3, 4)
        ),
        "convolution, convolution": (
            maps,
            [("a", conv(weight)), ("b", conv(rng.integers(-2, 3, (3, 4, 3, 3)) / 4))],
            (3, 6, 8),
        ),
        "two without padding": (
            maps,
            [
                ("a", conv(weight[:, :1], groups=2, padding=(0, 0), stride=(2, 2))),
                ("b", conv(rng.integers(-1, 5, (4, 2, 1, 2)) / 2, groups=2, padding=(0, 0))),
            ],
            (4, 2, 2),
        ),
        "scale by channel": (maps, [("s", node("Scale", scale=channels)), ("a", conv(weight))],
                             (4, 6, 8)),
        "scale by neuron": (maps, [("s", node("Scale", scale=uneven)), ("a", conv(weight))],
                            (4, 6, 8)),
        "flatten": (maps, [("f", flat), ("a", dense)], (5,)),
        "pool, flatten": (
            maps,
            [("p", pool("SumPool2d")),
             ("f", node("Flatten", start_dim=0, end_dim=-1, input_type=(2, 3, 4))),
             ("a", node("Linear", weight=rng.integers(-4, 5, (5, 24)) / 8))],
            (5,),
        ),
        "one axis": (
            (3, 9),
            [("a", node("Conv1d", input_shape=9, weight=rng.integers(-4, 5, (2, 3, 3)) / 8,
                        stride=2, padding=1, dilation=1, groups=1, bias=[0.25, -0.125]))],
            (2, 5),
        ),
        "two dense": (
            (6,),
            [("a", node("Linear", weight=rng.integers(-4, 5, (3, 6)) / 4)),
             ("b", node("Affine", weight=rng.integers(-2, 3, (4, 3)) / 4, bias=[1, 0, -1, 2]))],
            (4,),
        ),
    }  # fmt: skip


CASES = linear_cases()


@pytest.mark.parametrize("name", CASES)
def test_paths_of_linear_nodes_lose_nothing_where_numbers_are_powers_of_two(name: str) -> None:
    shape, nodes, out = CASES[name]
    drawn = chain(given(*shape), *nodes, ("n", if_(*out)), taken(*out))
    made = port.import_nir(drawn, dt=1.0, frames=spikes(*shape))
    assert made.cost is not None
    (population,) = made.cost.populations
    assert population.real > 20
    if name != "mean, convolution":
        assert "rounded" not in made.table()
    assert population.differing == 0
    port.lower(made.graph)


@pytest.mark.parametrize("name", CASES)
def test_maps_stay_maps_where_a_path_is_a_convolution(name: str) -> None:
    shape, nodes, out = CASES[name]
    drawn = chain(given(*shape), *nodes, ("n", if_(*out)), taken(*out))
    graph = port.from_nir(drawn, dt=1.0, frames=spikes(*shape, steps=2))
    rows = {"flatten", "pool, flatten", "two dense", "scale by neuron",
            "overlapping pool, convolution", "convolution, convolution"}  # fmt: skip
    assert (len(graph.facts("n").shape) == 1) == (name in rows)


def test_convolution_of_a_sum_of_spikes_is_one_synapse_of_two_populations() -> None:
    eye = np.eye(4)
    drawn = network(
        {"in": given(4)[1], "a": if_(4, v_threshold=0.5), "w": node("Linear", weight=eye),
         "b": if_(4), "u": node("Linear", weight=eye), "c": if_(4), "out": taken(4)[1]},
        ("in", "a"), ("a", "w"), ("w", "b"), ("a", "u"), ("b", "u"), ("u", "c"), ("c", "out"),
    )  # fmt: skip
    graph = port.from_nir(drawn, dt=1.0, frames=spikes(4))
    assert graph["u"].inputs == ("a", "b")


def test_a_bias_before_a_current_that_decays_comes_from_a_neuron_that_always_fires() -> None:
    values = {
        "tau_syn": 4.0,
        "tau_mem": 2.0,
        "r": 2.0,
        "v_leak": 0.0,
        "v_threshold": 1.0,
        "w_in": 4.0,
    }
    cell = node("CubaLIF", **{key: np.full(2, value) for key, value in values.items()})
    affine = node("Affine", weight=np.zeros((2, 2)), bias=[0.5, 0.25])
    drawn = chain(given(2), ("w", affine), ("n", cell), taken(2))
    frames = np.zeros((20, 1, 2), np.int64)
    made = port.import_nir(drawn, dt=1.0, frames=frames)
    assert made.cost is not None
    assert made.cost.populations[0].real > 5
    assert made.cost.populations[0].differing == 0
    assert "constant" in {n.name for n in made.graph}


def test_delays_are_whole_steps_and_may_differ_by_neuron() -> None:
    late = node("Delay", delay=np.array([0.0, 0.002, 0.003]))
    drawn = chain(given(3), ("d", late), ("n", if_(3, r=1000, v_threshold=0.5)), taken(3))
    frames = spikes(3)
    made = port.import_nir(drawn, dt=0.001, frames=frames)
    got = port.run(made.graph, frames)["n"]
    for neuron, steps in enumerate((0, 2, 3)):
        assert (got[steps:, :, neuron] == frames[: len(frames) - steps, :, neuron]).all()
        assert not got[:steps, :, neuron].any()


def test_a_delay_of_half_a_step_is_refused() -> None:
    drawn = chain(given(3), ("d", node("Delay", delay=np.full(3, 0.0015))), ("n", if_(3)), taken(3))
    with pytest.raises(FormatError, match=r"d: a delay of 0.0015 s is 1.5 steps of 0.001 s"):
        port.from_nir(drawn, dt=0.001, frames=spikes(3))


def test_inputs_are_joined_and_their_frames_too() -> None:
    drawn = network(
        {"x": given(2)[1], "y": given(3)[1], "a": node("Linear", weight=np.ones((2, 2))),
         "b": node("Linear", weight=np.eye(2, 3)), "n": if_(2), "out": taken(2)[1]},
        ("x", "a"), ("y", "b"), ("a", "n"), ("b", "n"), ("n", "out"),
    )  # fmt: skip
    frames = {"x": spikes(2), "y": spikes(3, seed=1)}
    made = port.import_nir(drawn, dt=1.0, frames=frames)
    assert made.frames is not None
    assert made.frames.shape == (40, 3, 5)
    assert made.cost is not None
    assert made.cost.outputs[0].real > 20
    assert made.cost.outputs[0].differing == 0
    with pytest.raises(FramesError, match="several inputs"):
        port.from_nir(drawn, dt=1.0, frames=frames["x"])


def test_two_neurons_in_a_loop_are_one_population() -> None:
    drawn = network(
        {"in": given(2)[1], "a": if_(2), "ab": node("Linear", weight=[[1, 0], [0.5, 1], [1, 1]]),
         "b": if_(3), "ba": node("Linear", weight=[[0.5, -1, 0], [0, 0.5, 0.25]]),
         "out": taken(3)[1]},
        ("in", "a"), ("a", "ab"), ("ab", "b"), ("b", "ba"), ("ba", "a"), ("b", "out"),
    )  # fmt: skip
    made = port.import_nir(drawn, dt=1.0, frames=spikes(2))
    assert made.cost is not None
    assert [p.differing for p in made.cost.populations] == [0, 0]
    assert made.cost.outputs[0].real > 10
    assert "every edge between neurons takes a step" in made.table()


def test_scale_says_what_an_integer_frame_is_worth() -> None:
    drawn = chain(given(4), ("w", node("Linear", weight=np.eye(4))), ("n", if_(4)), taken(4))
    pixels = RNG(0).integers(0, 256, (30, 2, 4))
    made = port.import_nir(drawn, dt=1.0, frames=pixels, scale=1 / 256)
    assert made.cost is not None
    assert made.cost.outputs[0].real > 20
    assert made.cost.outputs[0].differing == 0
    with pytest.raises(FramesError, match=r"scale=1/255"):
        port.from_nir(drawn, dt=1.0, frames=pixels / 255)


def test_a_reset_above_zero_moves_the_voltage() -> None:
    drawn = chain(given(4), ("n", lif(4, v_reset=0.2, v_leak=0.1, v_threshold=0.6)), taken(4))
    made = port.import_nir(drawn, dt=0.001, frames=spikes(4, share=0.7))
    assert made.cost is not None
    assert made.cost.outputs[0].real > 20
    assert made.cost.outputs[0].share < 0.05


def test_a_threshold_is_a_neuron_that_all_but_forgets() -> None:
    drawn = chain(
        given(3), ("w", node("Linear", weight=RNG(0).normal(size=(4, 3)))),
        ("n", node("Threshold", threshold=np.full(4, 0.3))), taken(4),
    )  # fmt: skip
    made = port.import_nir(drawn, frames=spikes(3), dt=1.0)
    assert made.cost is not None
    assert made.cost.outputs[0].real > 20
    assert made.cost.outputs[0].differing == 0
    assert "voltage decays by 4095/4096 a step for 1" in made.table()


# -- what is asked, and what is refused --------------------------------------------------------


def test_dt_is_asked_for_and_never_assumed() -> None:
    drawn = chain(given(4), ("n", lif(4)), taken(4))
    with pytest.raises(
        FormatError, match=r"does not say how long a step is, and n \(tau 0.004 s\)"
    ):
        port.from_nir(drawn, frames=spikes(4))


def test_dt_of_the_metadata_is_taken_and_another_one_warned_of() -> None:
    nodes = (given(4), ("n", lif(4)), taken(4))
    stated, frames = chain(*nodes, dt=0.002), spikes(4)
    want = port.from_nir(chain(*nodes), dt=0.002, frames=frames)
    assert port.from_nir(stated, frames=frames).hash == want.hash
    with pytest.warns(NeuroportWarning, match="metadata state steps of 0.002 s") as warned:
        port.import_nir(stated, dt=0.001, frames=frames)
    assert warned[0].filename == __file__
    with pytest.warns(NeuroportWarning, match="metadata state steps of 0.002 s"):
        other = port.from_nir(stated, dt=0.001, frames=frames)
    assert other.hash == port.from_nir(chain(*nodes), dt=0.001, frames=frames).hash


def test_a_subtracting_reset_is_what_the_tool_that_trained_it_had() -> None:
    frames = spikes(12)
    made = port.import_nir(FILES / "braille.nir", dt=1e-4, frames=frames, reset="subtract")
    kinds = {node.name: node.kind for node in made.graph.populations}
    assert kinds["lif1.lif"] == "subtractiverecurrent"
    assert kinds["lif2"] == "subtractivelif"
    network = read(FILES / "braille.nir")
    real = interpret(network, {"input": frames}, 1e-4, reset="subtract")
    plain = interpret(network, {"input": frames}, 1e-4)
    assert (real["lif2"] != plain["lif2"]).any()
    assert made.cost.populations[0].real == real["lif1.lif"].sum()
    assert all(population.share < 0.7 for population in made.cost.populations)
    with pytest.raises(FormatError, match="reset is 'soft'; use v_reset or subtract"):
        port.from_nir(FILES / "braille.nir", dt=1e-4, frames=frames, reset="soft")


@pytest.mark.parametrize("scale", ["1", None, [1.0], np.ones(1), 1j, np.complex64(1), True, np.nan,
                                   np.inf, 0, -1.0, np.True_, np.array("1"), 10**400])  # fmt: skip
def test_a_scale_that_is_no_number_above_0_is_refused(scale: Any) -> None:
    drawn = chain(given(4), ("n", if_(4)), taken(4))
    with pytest.raises(FramesError, match=r"^scale is .*; give the real value of an integer frame"):
        port.from_nir(drawn, dt=1.0, frames=spikes(4), scale=scale)


def test_a_scale_is_any_real_number() -> None:
    torch = pytest.importorskip("torch")
    drawn, frames = chain(given(4), ("n", if_(4)), taken(4)), spikes(4)
    want = port.from_nir(drawn, dt=1.0, frames=frames, scale=0.5).hash
    parameter = torch.nn.Parameter(torch.tensor(0.5))
    for scale in (np.float32(0.5), np.array(0.5), parameter, Fraction(1, 2), np.float16(0.5)):
        assert port.from_nir(drawn, dt=1.0, frames=frames, scale=scale).hash == want
    one = port.from_nir(drawn, dt=1.0, frames=frames).hash
    assert port.from_nir(drawn, dt=1.0, frames=frames, scale=np.uint8(1)).hash == one


def test_a_graph_built_in_python_is_what_its_file_is(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    ones, weight = np.ones((4, 3, 3)), RNG(0).integers(-4, 5, (4, 2, 3, 3)) / 4
    graph = nir.NIRGraph(
        nodes={
            "in": nir.Input({"input": np.array((2, 8, 8))}),
            "c": nir.Conv2d((8, 8), weight, 1, 0, 1, 1, np.zeros(4)),  # of sizes, nir makes tuples
            "p": nir.SumPool2d((2, 2), (2, 2), (0, 0)),
            "n": nir.IF(r=ones, v_threshold=ones, v_reset=0 * ones),
            "out": nir.Output({"output": np.array((4, 3, 3))}),
        },
        edges=[("in", "c"), ("c", "p"), ("p", "n"), ("n", "out")],
    )
    frames = spikes(2, 8, 8)
    nir.write(tmp_path / "n.nir", graph)
    want = port.from_nir(tmp_path / "n.nir", dt=1.0, frames=frames)
    assert port.run(want, frames)["n"].any()
    assert port.from_nir(graph, dt=1.0, frames=frames).hash == want.hash


def test_frames_of_64_bits_without_a_sign_are_what_they_say() -> None:
    drawn = chain(given(3), ("n", if_(3, v_threshold=0.5)), taken(3))
    frames = spikes(3).astype(np.uint64)
    assert port.from_nir(drawn, dt=1.0, frames=frames).hash == (
        port.from_nir(drawn, dt=1.0, frames=spikes(3)).hash
    )
    frames[0, 0, 1] = np.iinfo(np.uint64).max  # -1 of int64
    with pytest.raises(FramesError, match=r"frames span 0\.\.18446744073709551615; messages have"):
        port.from_nir(drawn, dt=1.0, frames=frames)


def inside(takes: int, sends: int) -> Values:
    """A subgraph of four neurons that declares what it takes and sends."""
    return chain(given(takes), ("n", lif(4)), taken(sends)).root


def broken() -> dict[str, tuple[Drawn, str]]:
    good = (given(4), ("n", lif(4)), taken(4))
    w = node("Linear", weight=np.ones((4, 4)))
    li = node("LI", tau=np.full(4, 0.01), r=np.ones(4), v_leak=np.zeros(4))
    return {
        "kind": (chain(given(4), ("n", node("Synth")), taken(4)), "n: kind 'Synth'"),
        "shape": (chain(given(3), *good[1:2], ("w", w), taken(4)), "w: takes .4,., and n sends"),
        "edge": (network(dict(good), ("in", "n"), ("n", "nowhere")), "nowhere: an edge names it"),
        "twice": (network(dict(good), ("in", "n"), ("in", "n"), ("n", "out")), "occurs twice"),
        "fed by nothing": (network(dict(good), ("n", "out")), "nothing feeds it"),
        "no input": (network({"n": lif(4)}, ("n", "n")), "no node Input"),
        "tau": (chain(given(4), ("n", lif(4, tau=0.0)), taken(4)), "a time constant is positive"),
        "short tau": (chain(given(4), ("n", lif(4, tau=1e-5)), taken(4)), "shorter than a step"),
        "not a number": (chain(given(4), ("n", lif(4, r=np.nan)), taken(4)), "r holds NaN"),
        "threshold": (chain(given(4), ("n", lif(4, v_reset=0.9)), taken(4)), "below v_reset"),
        "per channel": (
            chain(given(4, 3), ("n", lif(4)), taken(4, 3)), "tau is .4,.; give one value, or one"
        ),
        "loop": (
            network({**dict(good), "w": w, "u": w}, ("in", "n"), ("n", "out"), ("w", "u"),
                    ("u", "w")),
            "a loop without a neuron",
        ),
        "integrator": (
            chain(given(4), ("i", li), ("w", w), good[1], good[2]), "i: an integrator whose"
        ),
        "slow loop": (
            network(
                {**dict(good), "d": node("Delay", delay=np.full(4, 0.001))},
                ("in", "n"), ("n", "d"), ("d", "n"), ("n", "out"),
            ),
            "what comes back to it takes 2 steps",
        ),
        "declared, of a convolution": (
            chain(
                given(2, 7, 7),
                ("c", node("Conv2d", input_shape=(9, 9), weight=np.ones((1, 2, 3, 3)), stride=1,
                           padding=0, dilation=1, groups=1, bias=[0])),
                ("n", if_(1, 5, 5)), taken(1, 5, 5),
            ),
            r"c: says input_shape .9, 9., and gets .7, 7.; correct input_shape",
        ),
        "declared, of a convolution of one axis": (
            chain(given(3, 9), ("c", node("Conv1d", input_shape=8, weight=np.ones((2, 3, 3)),
                                          stride=1, padding=1, dilation=1, groups=1, bias=[0, 0])),
                  ("n", if_(2, 9)), taken(2, 9)),
            r"c: says input_shape .8,., and gets .9,.",
        ),
        "declared, of a flatten": (
            chain(given(2, 3, 4), ("f", node("Flatten", start_dim=0, end_dim=-1,
                                             input_type=(2, 4, 3))), ("n", if_(24)), taken(24)),
            r"f: says input_type .2, 4, 3., and gets .2, 3, 4.",
        ),
        "declared, of an output": (
            chain(given(4), good[1], taken(5)), r"out: says shape .5,., and gets .4,."
        ),
        "declared, of a subgraph": (
            network(
                {"in": given(4)[1], "g": inside(5, 4), "out": taken(4)[1]},
                ("in", "g"), ("g", "out"),
            ),
            r"g.in: says shape .5,., and gets .4,.",
        ),
        "declared, at the end of a subgraph": (
            network(
                {"in": given(4)[1], "g": inside(4, 5), "out": taken(4)[1]},
                ("in", "g"), ("g", "out"),
            ),
            r"g.out: says shape .5,., and gets .4,.",
        ),
        "subgraph": (
            network(
                {**dict(good), "g": {"type": "NIRGraph", "nodes": {"a": w}, "edges": []}},
                ("in", "g"), ("in", "n"), ("n", "out"),
            ),
            "a subgraph with 0 nodes Input",
        ),
    }  # fmt: skip


BROKEN = broken()


@pytest.mark.parametrize("name", BROKEN)
def test_what_has_no_integers_is_refused_by_name(name: str) -> None:
    drawn, said = BROKEN[name]
    with pytest.raises(FormatError, match=said):
        port.from_nir(drawn, dt=0.001, frames=spikes(*drawn.root["nodes"].get(
            "in", {"shape": (4,)})["shape"]))  # fmt: skip


def test_every_node_is_told_and_every_node_of_the_graph_is_some_of_them() -> None:
    made = port.import_nir(FILES / "scnn_mnist.nir", dt=1.0, frames=spikes(2, 34, 34, steps=2))
    assert [r.source for r in made.records] == list(read(FILES / "scnn_mnist.nir").nodes)
    assert all(record.what for record in made.records)
    named = {name for record in made.records for name in record.targets}
    assert named == {node.name for node in made.graph}


def test_the_file_and_the_object_are_the_same_network(tmp_path: Path) -> None:
    drawn = chain(given(4), ("w", node("Linear", weight=np.eye(4))), ("n", lif(4)), taken(4))
    path, frames = write(drawn.root, tmp_path / "n.nir"), spikes(4)
    want = port.from_nir(drawn, dt=0.001, frames=frames)
    assert port.from_nir(path, dt=0.001, frames=frames).hash == want.hash


def test_signals_of_nir_are_read_back_in_its_units() -> None:
    li = node("LI", tau=np.full(3, 0.01), r=np.ones(3), v_leak=np.zeros(3))
    drawn = chain(given(3), ("n", li), taken(3))
    frames = spikes(3)
    made = port.import_nir(drawn, dt=0.001, frames=frames)
    assert made.quantized is not None
    real = interpret(read(drawn), {"in": frames}, 0.001)["n"]
    got = integer_signals(read(drawn), made.quantized, frames)["n"]
    assert np.abs(got - real).max() < 0.01 * np.abs(real).max()


def test_what_leaves_a_loop_behind_its_weights_is_a_step_late() -> None:
    drawn = network(
        {"in": given(3)[1], "n": if_(3), "w": node("Linear", weight=np.eye(3)[::-1] / 2),
         "m": if_(3, v_threshold=0.25), "out": taken(3)[1]},
        ("in", "n"), ("n", "w"), ("w", "n"), ("w", "m"), ("n", "m"), ("m", "out"),
    )  # fmt: skip
    made = port.import_nir(drawn, dt=1.0, frames=spikes(3))
    assert made.cost is not None
    assert made.cost.outputs[0].real > 20
    assert [p.differing for p in made.cost.populations] == [0, 0]
    assert "n.late1" in {n.name for n in made.graph}


def test_a_neuron_may_hear_itself_without_weights() -> None:
    drawn = network(
        {"in": given(2)[1], "n": if_(2, v_threshold=1.5), "out": taken(2)[1]},
        ("in", "n"), ("n", "n"), ("n", "out"),
    )  # fmt: skip
    made = port.import_nir(drawn, dt=1.0, frames=spikes(2))
    assert made.cost is not None
    assert made.cost.outputs[0].real > 5
    assert made.cost.outputs[0].differing == 0
