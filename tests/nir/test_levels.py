"""Thresholds and units: where the integers say exact, every spike is that of the real numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import FormatError
from neuroport.frontends.nir import NirImport
from neuroport.frontends.nir.interpreter import interpret
from neuroport.frontends.nir.quantizing import quantize_network
from neuroport.frontends.nir.reading import Network, Node
from neuroport.netx.stock import input_of
from tests.nir.networks import Drawn
from tests.nir.test_import import chain, given, if_, lif, network, node, spikes, taken

RNG = np.random.default_rng


def taken_over(drawn: Drawn, frames: Any, **options: Any) -> NirImport:
    return port.import_nir(drawn, dt=1.0, frames=frames, **options)


def told(made: NirImport, name: str = "n") -> str:
    return next(record.what for record in made.records if record.source == name)


def no_spike_differs(made: NirImport, fewest: int = 20) -> None:
    assert made.cost is not None
    assert made.cost.outputs[0].real >= fewest
    assert [population.differing for population in made.cost.populations] == [0] * len(
        made.cost.populations
    )


def layer(neuron: dict[str, Any], weight: Any) -> Drawn:
    rows, columns = np.shape(weight)
    synapse = node("Linear", weight=np.asarray(weight, np.float64))
    return chain(given(columns), ("w", synapse), ("n", neuron), taken(rows))


# -- a spike subtracts -------------------------------------------------------------------------


@pytest.mark.parametrize("one_unit", [False, True])
@pytest.mark.parametrize("threshold", [1.5, 0.75, 0.5, 3.0, 1.0009765625])
def test_a_neuron_that_subtracts_has_its_threshold_on_the_grid(
    threshold: float, one_unit: bool
) -> None:
    drawn = layer(if_(3, v_threshold=threshold), np.eye(3))
    made = taken_over(drawn, spikes(3, share=0.6), reset="subtract", one_unit=one_unit)
    no_spike_differs(made)
    assert told(made).endswith("a spike subtracts, exact")
    (neuron,) = (n for n in made.graph.populations if n.name == "n")
    assert neuron.subtract.tolist() == (64 * neuron.threshold).tolist()


def test_thresholds_of_different_channels_are_on_one_grid() -> None:
    levels = np.array([1.5, 0.25, 0.75, 5.0])
    cell = node("IF", r=np.ones(4), v_threshold=levels)
    made = taken_over(layer(cell, np.eye(4)), spikes(4, share=0.6), reset="subtract")
    no_spike_differs(made)
    assert told(made).endswith("exact")


def test_what_a_spike_cannot_subtract_is_told_and_the_weights_stay_exact() -> None:
    drawn = layer(if_(3, v_threshold=0.7), np.eye(3))
    made = taken_over(drawn, spikes(3, share=0.6), reset="subtract")
    assert "exact" not in told(made)
    assert "1 unit of current is 0.0001221, a spike subtracts 0.7" in told(made)
    assert told(made, "w") == "exact"
    assert made.cost is not None
    assert made.cost.outputs[0].share < 0.01  # floored to the grid of the weights it was 0.12
    (neuron,) = (n for n in made.graph.populations if n.name == "n")
    assert neuron.threshold.max() * 16 < 1 << 17  # room for voltages above the threshold


@pytest.mark.parametrize(("subtract", "sign"), [(True, 1), (False, -1)])
def test_a_voltage_that_may_leave_its_room_is_told(subtract: bool, sign: int) -> None:
    cell = if_(1, v_threshold=1.0009765625)
    made = taken_over(
        layer(cell, np.full((1, 100), sign)),
        np.ones((3, 1, 100), np.int64),
        reset="subtract" if subtract else "v_reset",
    )
    if subtract:  # steps of 1/1024: 131,071 of them are 127.999
        assert told(made).endswith(
            "a spike subtracts, exact while its voltage stays within 127.999"
        )
    else:  # steps of 1, and 300 at most
        assert told(made).endswith(", exact")
    frames = np.ones((2000, 1, 100), np.int64)
    drawn = layer(cell, np.full((1, 100), sign))
    made = taken_over(drawn, frames, reset="subtract" if subtract else "v_reset")
    assert "exact while its voltage stays within" in told(made)


def test_a_leak_is_never_told_as_exact() -> None:
    made = taken_over(layer(lif(3, tau=4.0, r=4.0, v_threshold=1.5), np.eye(3)), spikes(3))
    assert "exact" not in told(made)
    assert "1 unit of current is" in told(made)


def test_inhibition_of_a_leaky_neuron_on_a_grid_does_not_saturate() -> None:
    # 0.5 per step and a leak of 1/16: 8 thresholds below 0, where 131,071 units are 1 to 2 of them
    cell = lif(1, tau=16.0, r=16.0, v_threshold=1.0)
    frames = np.zeros((120, 1, 2), np.int64)
    frames[:60, :, 0] = 1
    frames[60:, :, 1] = 1
    made = taken_over(layer(cell, [[-0.5, 1.0]]), frames)
    no_spike_differs(made)


# -- a neuron that forgets ---------------------------------------------------------------------


def threshold(level: float, size: int = 1) -> dict[str, Any]:
    return node("Threshold", threshold=np.full(size, level))


@pytest.mark.parametrize("level", [0.0, 1.0, 2.0, 3.0, np.nextafter(2.0, 0), np.nextafter(2.0, 3)])
@pytest.mark.parametrize("weight", [1.0, 0.25, -1.0])
def test_a_threshold_that_equals_sums_is_not_reached_by_them(level: float, weight: float) -> None:
    drawn = layer(threshold(level * abs(weight)), [[abs(weight)] * 4 + [weight]])
    made = taken_over(drawn, spikes(5, steps=200, share=0.6))
    no_spike_differs(made)
    assert told(made).endswith("exact")


def test_a_lif_as_slow_as_a_step_forgets() -> None:
    made = taken_over(layer(lif(3, tau=1.0, r=1.0, v_threshold=1.0), np.eye(3)), spikes(3))
    no_spike_differs(made, 0)
    assert made.cost is not None
    assert made.cost.outputs[0].integer == 0  # at the threshold, and never above
    made = taken_over(
        layer(lif(3, tau=1.0, r=1.0, v_threshold=0.5), np.eye(3)), spikes(3), reset="subtract"
    )
    no_spike_differs(made)
    assert told(made).endswith("exact")


def test_with_one_unit_equal_thresholds_stay_equal() -> None:
    weight = np.array([[1.0] * 8, [0.5] * 8, [2.0] * 8, [-0.5] * 7 + [8.0]])
    made = taken_over(
        layer(threshold(20.0, 4), weight), RNG(0).integers(0, 12, (60, 3, 8)), one_unit=True
    )
    no_spike_differs(made)
    assert told(made).endswith("exact")
    (neuron,) = (n for n in made.graph.populations if n.name == "n")
    assert neuron.threshold.size == 1


@pytest.mark.parametrize("level", [1, 62, 63, 64, 65, 127, 128, 254])
@pytest.mark.parametrize("below", [0, 1, 64, 254])
def test_what_is_kept_of_a_voltage_never_decides(level: int, below: int) -> None:
    """The worst case: the most that is kept, and then a sum at the threshold or just above it."""
    drawn = layer(threshold(level), [[1.0, 1.0, -1.0]])
    before = [(level, 0, 0), (level - 1, 0, 0), (0, 0, below), (255, 255, 0)]
    after = [(level, 0, 0), (level, 1, 0), (255, level - 255, 0)]
    after = [now for now in after if min(now) >= 0]
    rows = [step for last in before for now in after for step in (last, last, last, now)]
    frames = np.array(rows).reshape(-1, 1, 3)
    made = taken_over(drawn, frames)
    no_spike_differs(made, 1)
    assert told(made).endswith("exact")


def test_too_many_levels_for_a_voltage_that_is_kept_are_told() -> None:
    frames = RNG(0).integers(0, 60000, (50, 2, 1))
    made = taken_over(layer(threshold(30000.0), [[1.0]]), frames)
    assert "voltage decays by 4095/4096 a step for 1" in told(made)
    assert "exact" not in told(made)
    assert made.cost is not None
    assert made.cost.outputs[0].share < 0.05


def drawn_on_a_grid(seed: int) -> tuple[Drawn, Any, str]:
    """A network of quarters: thresholds, neurons that hold, that forget, that subtract, loops."""
    rng = RNG([seed, 77])
    size, reset = 4, str(rng.choice(["v_reset", "subtract"]))

    def quarters(*shape: int) -> Any:
        return rng.integers(-4, 6, shape) / 4

    def neuron() -> dict[str, Any]:
        # a neuron that holds may have any threshold where a spike resets it
        anyhow = rng.uniform(0.1, 2, size)
        levels = np.abs(quarters(size)) + rng.choice([0, 0.125])
        match rng.integers(3):
            case 0:
                return node("Threshold", threshold=levels)
            case 1:
                values = {"tau": 1.0, "r": 1.0, "v_leak": 0.0}
                return node("LIF", v_threshold=levels, **{k: [v] * size for k, v in values.items()})
            case _:
                free = reset == "v_reset" and rng.random() < 0.5
                return node("IF", r=np.ones(size), v_threshold=anyhow if free else levels + 0.25)

    nodes = {
        "in": given(4)[1],
        "w": node("Affine", weight=quarters(size, 4), bias=quarters(size) / 2),
        "a": neuron(),
        "v": node("Linear", weight=quarters(size, size)),
        "b": neuron(),
        "out": taken(size)[1],
    }
    edges = [("in", "w"), ("w", "a"), ("a", "v"), ("v", "b"), ("b", "out")]
    edges += [[("a", "b")], [("in", "b")], []][rng.integers(3)]
    edges += [("v", "a")] if rng.random() < 0.3 else []
    frames = rng.integers(0, rng.choice([2, 4]), (30, 3, 4))
    return network(nodes, *edges), frames, reset


def test_what_is_told_as_exact_is_exact() -> None:
    seen = {"exact": 0, "spikes": 0}
    for seed in range(60):
        drawn, frames, reset = drawn_on_a_grid(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made = taken_over(drawn, frames, reset=reset)
        assert made.cost is not None
        if any("1 unit of current" in told(made, name) for name in "ab"):
            continue  # of some sums there are too many for a neuron that forgets
        for population in made.cost.populations:
            assert population.differing == 0, (seed, population)
            seen["spikes"] += population.real
        seen["exact"] += 1
    assert seen["exact"] > 40
    assert seen["spikes"] > 1000


# -- neurons of libraries ----------------------------------------------------------------------


def stepped(**values: Any) -> Network:
    """One neuron with the parameters that a front end of a library gives it, after its input."""
    full = {"gain": 1.0, "current_leak": 1.0, "voltage_leak": 0.0, "bias": 0.0, "inclusive": 1.0}
    arrays = {key: np.full(1, value) for key, value in {**full, **values}.items()}
    nodes = [
        Node("in", "Input", (), frozenset(), (1,), (1,)),
        Node("n", "Neuron", ("in",), frozenset(), (1,), (1,), arrays),
        Node("out", "Output", ("n",), frozenset(), (1,), (1,)),
    ]
    return Network({one.name: one for one in nodes}, {}, 1.0, None, "Net")


def of_both(net: Network, frames: Any) -> tuple[Any, Any, str]:
    source = input_of(frames, "in")
    assert source is not None
    made = quantize_network(net, 1.0, source, 1.0, len(frames), {}, False)
    real = interpret(net, {"in": frames}, 1.0)["n"] > 0
    return port.run(made.graph, frames)["n"], real, made.records[1].what


@pytest.mark.parametrize("inclusive", [0.0, 1.0])
@pytest.mark.parametrize("leak", [0.0, 1.0])
@pytest.mark.parametrize("level", [1.0, 2.5, 3.0, 100.0])
@pytest.mark.parametrize("subtract", [False, True])
def test_a_neuron_at_its_threshold_fires_if_its_library_lets_it(
    inclusive: float, leak: float, level: float, subtract: bool
) -> None:
    more = {"subtract": level} if subtract else {}
    net = stepped(threshold=level, inclusive=inclusive, voltage_leak=leak, **more)
    arriving = [0, 0, 0, 99, 100, 101] if level == 100 else [*[0] * 12, 1, 2, 3, 4]
    frames = RNG(0).choice(arriving, (400, 3, 1))
    got, want, what = of_both(net, frames)
    assert ", exact" in what
    assert np.array_equal(got, want)
    assert 20 < want.sum() < want.size


def test_the_last_bits_of_a_difference_are_no_threshold() -> None:
    got, _, what = of_both(stepped(threshold=1.1 - 0.6, gain=0.5), np.ones((4, 1, 1), np.int64))
    assert got.all()  # at 0.5, of which 1.1 - 0.6 is a bit more
    assert what.endswith("exact")


def test_a_reset_beside_zero_leaves_a_threshold_on_the_grid() -> None:
    cell = if_(3, v_reset=0.2, v_threshold=0.7)  # 0.7 - 0.2 < 0.5 in float64
    made = taken_over(layer(cell, np.eye(3) / 2), spikes(3))
    no_spike_differs(made)
    assert told(made) == "threshold 1, exact"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"voltage_leak": 1.5}, "n: its voltage keeps -0.5 of itself at every step"),
        ({"voltage_leak": -0.25}, "n: its voltage keeps 1.25 of itself"),
        ({"current_leak": 1 - 1.2}, "n: its current keeps 1.2 of itself"),
        ({"threshold": -0.5}, "n: its threshold is -0.5, so that it would fire without input"),
        ({"threshold": 0.0}, "n: fires at a threshold of 0"),
    ],
)
def test_what_no_integer_neuron_does_is_refused_and_not_clipped(
    values: dict[str, float], says: str
) -> None:
    with pytest.raises(FormatError, match=f"^Net: {says}"):
        of_both(stepped(**{"threshold": 1.0, **values}), spikes(1))


# -- what is refused ---------------------------------------------------------------------------


def test_a_threshold_below_0_is_refused_in_its_own_number_with_a_way_out() -> None:
    with pytest.raises(FormatError, match=r"n: its threshold is -0.5, .* add 0.5 or more"):
        taken_over(layer(threshold(-0.5, 3), np.eye(3)), spikes(3))
    synapse = node("Affine", weight=-np.eye(3), bias=np.full(3, 0.5))
    out = chain(given(3), ("w", synapse), ("n", threshold(0.0, 3)), taken(3))
    made = taken_over(out, spikes(3))
    no_spike_differs(made)
    got = port.run(made.graph, spikes(3))["n"]
    assert np.array_equal(got, -spikes(3) > -0.5)


@pytest.mark.parametrize(
    "neuron",
    [
        lif(3, tau=4.0, r=1e300),
        if_(3, r=1e300),
        node("Threshold", threshold=np.full(3, 1.0)),
        node("I", r=np.full(3, 1e300)),
    ],
)
def test_weights_beyond_float64_are_refused_by_name(neuron: dict[str, Any]) -> None:
    drawn = layer(neuron, np.full((3, 3), 1e308 if neuron["type"] == "Threshold" else 1e300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FormatError, match=r"n: its weights, times its gain .*make them small"):
            taken_over(drawn, spikes(3))
