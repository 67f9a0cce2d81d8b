"""What stock NetX would do wrong with a file: found, told, counted; and what the file means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.netx_audit import Report, inspect, repaired
from neuroport.analysis.netx_audit.rescaling import rescaled, survives
from neuroport.errors import FormatError
from neuroport.graph.node import Input, Lif, Relay
from tests.helpers.stockfile import CUBA, WEIGHT, conv, dense, file

STEPS = 12
ROW = np.random.default_rng(1).integers(0, 2, (STEPS, 3, 4))
MAPS = np.random.default_rng(1).integers(0, 2, (STEPS, 3, 2, 6, 7))
IF = {**CUBA, "iDecay": 4096, "vDecay": 0}
HEAD = dense(np.float32(2 * (np.arange(9).reshape(3, 3) % 5 - 1)))


def report(path: Path, frames: Any = ROW) -> Report:
    return inspect(path, frames=frames)


def told(found: Report, layer: str, *others: str) -> Any:
    """The one finding of a layer that says so."""
    (finding,) = (
        f for f in found.findings if f.layer == layer and all(o in f.what for o in others)
    )
    return finding


def test_a_file_without_faults_is_told_to_need_a_reset_between_samples_alone(
    tmp_path: Path,
) -> None:
    found = report(file(tmp_path / "a.net", dense(), HEAD))
    (only,) = found.findings
    assert only.layer == "all layers"
    assert "reset_interval=T" in only.what
    assert only.changes is not None
    assert only.changes > 0
    assert found.positions == STEPS * 3 * 6
    (alone,) = report(tmp_path / "a.net", ROW[:, :1]).findings
    assert alone.changes == 0


def test_biases_are_counted_by_the_steps_that_they_act_too_early(tmp_path: Path) -> None:
    path = file(tmp_path / "a.net", dense(bias=np.float32([9, 0, 13])), {**HEAD, "bias": [8.0]})
    found = report(path)
    first, second = told(found, "layer/0 (dense)"), told(found, "layer/1 (dense)")
    assert "acts 1 step before" in first.what
    assert "acts 2 steps before" in second.what
    assert first.changes > 0
    assert second.changes > 0
    assert inspect(path, steps=STEPS).findings[0].changes is None


def test_delays_of_a_convolution_are_ignored_by_netx_and_kept_here(tmp_path: Path) -> None:
    plain, late = conv(), conv(delay=np.float32([0, 3]))
    one = file(tmp_path / "late.net", late, conv(shape=[2, 2, 3]))
    graph = repaired(one, steps=STEPS)
    want = port.run(repaired(file(tmp_path / "a.net", plain), steps=STEPS), MAPS)["layer0"]
    got = port.run(graph, MAPS)
    np.testing.assert_array_equal(got["layer0"], want)
    moved = want.copy()
    moved[:, :, 1] = 0
    moved[3:, :, 1] = want[:-3, :, 1]
    after = file(tmp_path / "b.net", conv(shape=[2, 2, 3]))
    rest = port.run(repaired(after, steps=STEPS), moved.astype(int))["layer0"]
    assert rest.any()
    np.testing.assert_array_equal(got["layer1"], rest)
    finding = told(report(one, MAPS), "layer/0 (conv)", "up to 3 steps, are ignored")
    ignored = port.run(
        repaired(file(tmp_path / "c.net", plain, conv(shape=[2, 2, 3])), steps=STEPS), MAPS
    )
    assert finding.changes == np.count_nonzero(ignored["layer1"] != rest) > 0


def test_delays_of_grouped_convolutions_reach_the_groups_that_read_them(tmp_path: Path) -> None:
    second = conv(shape=[2, 2, 3], groups=2, weight=np.full((2, 1, 3, 3), 6, np.float32))
    path = file(tmp_path / "a.net", conv(delay=np.float32([2, 0])), second)
    got = port.run(repaired(path, steps=STEPS), MAPS)
    plain = port.run(repaired(file(tmp_path / "b.net", conv(), second), steps=STEPS), MAPS)
    assert got["layer1"].any()
    np.testing.assert_array_equal(got["layer1"][2:, :, 0], plain["layer1"][:-2, :, 0])
    np.testing.assert_array_equal(got["layer1"][:, :, 1], plain["layer1"][:, :, 1])


@pytest.mark.parametrize(
    "make", [lambda: conv(delay=[0.0, 3.0]), lambda: dense(bias=[4.0], delay=[0.0, 3.0, 1.0])]
)
def test_delays_of_the_last_layer_are_heard_in_a_population_of_their_own(
    make: Any, tmp_path: Path
) -> None:
    graph = repaired(file(tmp_path / "a.net", make()), steps=STEPS)
    frames = MAPS if graph.input.shape == (2, 6, 7) else ROW
    got = port.run(graph, frames)
    assert isinstance(graph["layer0.delayed"], Relay)
    np.testing.assert_array_equal(got["layer0.delayed"][3:, :, 1], got["layer0"][:-3, :, 1])
    np.testing.assert_array_equal(got["layer0.delayed"][:, :, 0], got["layer0"][:, :, 0])


def test_delays_of_a_layer_with_a_bias_belong_to_what_it_sends(tmp_path: Path) -> None:
    late = dense(bias=np.float32([9, 0, -9]), delay=np.float32([4, 0, 2]))
    path = file(tmp_path / "a.net", late, HEAD)
    found = report(path)
    finding = told(found, "layer/0 (dense)", "instead of what it sends")
    assert finding.changes > 0
    plain = port.run(
        repaired(file(tmp_path / "b.net", dense(bias=np.float32([9, 0, -9]))), steps=STEPS), ROW
    )
    np.testing.assert_array_equal(port.run(found.graph, ROW)["layer0"], plain["layer0"])


@pytest.mark.parametrize(("power", "leaky"), [(2, False), (-1, True)])
def test_scale_of_a_norm_becomes_part_of_the_network(
    power: int, leaky: bool, tmp_path: Path
) -> None:
    neuron = {**IF, "vDecay": 128 if leaky else 0}
    path = file(
        tmp_path / "a.net",
        dense(bias=[2.0], neuron={**neuron, "weight_exp": np.float32([power])}),
        HEAD,
    )
    found = report(path)
    finding = told(found, "layer/0 (dense)", f"weight_exp, {power}, is never read")
    ignored = repaired(
        file(tmp_path / "b.net", dense(bias=[2.0], neuron=neuron), HEAD), steps=STEPS
    )
    assert (
        finding.changes
        == port.compare(port.run(found.graph, ROW), port.run(ignored, ROW)).differing
    )
    assert finding.changes > 0
    lif = found.graph["layer0"]
    assert isinstance(lif, Lif)
    if power > 0:
        assert (lif.threshold[0], lif.bias[0]) == (20 << power, 2)
    else:
        synapse = found.graph["layer0.synapse"]
        assert (lif.threshold[0], lif.bias[0], synapse.exponent) == (20, 4, 1)


@pytest.mark.parametrize(
    ("neuron", "why"),
    [
        ({**CUBA, "weight_exp": np.float32([1])}, "neurons that leak"),
        ({**IF, "weight_exp": np.float32([-8])}, "weight_exp is -8"),
    ],
)
def test_scale_that_no_graph_expresses_is_told_and_refused(
    neuron: Any, why: str, tmp_path: Path
) -> None:
    path = file(tmp_path / "a.net", dense(neuron=neuron))
    found = report(path)
    assert found.graph is None
    assert why in found.refusal
    assert told(found, "layer/0 (dense)", "never read").changes is None
    with pytest.raises(FormatError, match=why):
        repaired(path, steps=STEPS)


@pytest.mark.parametrize(
    ("weight", "broken"),
    [
        (WEIGHT, False),
        (np.full((3, 4), -1.0), True),
        (np.float32([[-2, 0, 0, -2]] * 3), True),
        (np.float32([[300, 2, 4, 6]] * 3), True),
        (np.float32([[129, -3, 5, 7]] * 3), False),
        (np.float32([[255, 1, 4, 7]] * 3), False),
        (np.float32([[-256, 0, 0, -4]] * 3), True),
    ],
)
def test_matrices_that_netx_rescales_wrongly_are_told(
    weight: Any, broken: bool, tmp_path: Path
) -> None:
    through = rescaled([weight.astype(int)])
    assert through is not None
    assert survives(weight.astype(int), through[0]) is not broken
    # a bias keeps the neurons alive, whose weights are negative
    path = file(tmp_path / "a.net", dense(weight, bias=[12.0]))
    texts = [f for f in report(path).findings if "weights change" in f.what]
    assert bool(texts) is broken
    assert all(f.changes > 0 or weight.min() == -256 for f in texts)


FAULTS: dict[str, tuple[Any, str, bool]] = {
    "pool": ({"type": "pool", "shape": [1]}, "a layer that NetX does not build", True),
    "unknown": ({"type": "kwta", "shape": [1]}, "which leaves it out", False),
    "field": (dense(mask=[1.0]), "field mask is ignored", False),
    "neuron field": (dense(neuron={**CUBA, "noise": 1}), "neuron/noise is ignored", False),
    "fractions": (dense(WEIGHT + np.float32(0.5)), "12 fractions", False),
    "zeros": (dense(0 * WEIGHT), "overflows", True),
    "adaptive": (dense(neuron={**CUBA, "type": "ADRF_PHASE"}), "without their adaptation", False),
    "alif": (dense(neuron={**CUBA, "type": "ALIF"}), "are unknown", True),
    "graded": (dense(neuron={**CUBA, "gradedSpike": True}), "it sends spikes", False),
    "refractory": (dense(neuron={**CUBA, "refDelay": 4}), "fire at every step", False),
    "bits": (dense(neuron={**CUBA, "messageBits": 8}), "messageBits cannot", True),
    "far": (dense(delay=np.float32([70, 0, 0])), "cut to 62", False),
    "large bias": (dense(bias=[40000.0]), "wraps at 16 bits", False),
    "recurrent delay": (
        dense(type="dense_rec", weight_rec=np.eye(3), delay=[1.0]),
        "delay its own spikes",
        False,
    ),
    "activation": (
        dense(neuron={"type": "SDNN", "vThMant": 3, "activation": "tanh"}),
        "it rectifies",
        False,
    ),
    "sigma": (
        dense(neuron={"type": "SDNN", "vThMant": 3, "sigma_output": False}),
        "takes any such field for yes",
        False,
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_netx_passes_over_or_stops_at_is_told_by_layer(case: str, tmp_path: Path) -> None:
    layer, text, stops = FAULTS[case]
    found = inspect(file(tmp_path / "a.net", layer), steps=STEPS)
    finding = told(found, f"layer/0 ({layer['type']})", text)
    assert finding.stops is stops
    assert ("(NetX stops)" in str(finding)) is stops


@pytest.mark.parametrize(
    ("off", "here"), [(1e-12, "keeps them"), (-1e-12, "makes them 2750 and 2750")]
)
def test_decays_of_resonators_are_told_whatever_the_processor_makes_of_them(
    off: float, here: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A processor whose sine lies above the integer, and one whose sine lies below."""
    for name, exact in (("sin", np.sin), ("cos", np.cos)):
        monkeypatch.setattr(np, name, lambda x, exact=exact: exact(x) + off)
    weight = {"real": WEIGHT, "imag": WEIGHT[::-1].copy()}
    neuron = {"type": "RF_PHASE", "vThMant": 1, "sinDecay": 2751, "cosDecay": 2751}
    found = report(file(tmp_path / "a.net", dense(weight, shape=[3], neuron=neuron)))
    finding = told(found, "layer/0 (dense)", "are truncated")
    assert "2751 and cosDecay 2751 may each lose 1" in finding.what
    assert f"this processor {here}" in finding.what
    assert finding.changes is not None


def test_driven_input_neurons_take_no_step_of_their_own(tmp_path: Path) -> None:
    """NetX drives them by their bias: the layer behind them begins one step early, not two."""
    first = {"type": "input", "shape": [4], "neuron": {**CUBA, "vThMant": 3}}
    path = file(tmp_path / "a.net", first, dense(bias=[6.0]))
    found = report(path, 5 * ROW)
    finding = told(found, "layer/1 (dense)")
    assert "acts 1 step before" in finding.what
    assert finding.changes > 0


def test_a_file_that_holds_no_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="group 'layer' is empty"):
        inspect(file(tmp_path / "a.net"), steps=3)


def test_the_callers_input_is_used(tmp_path: Path) -> None:
    path = file(tmp_path / "a.net", conv(stride=[2, 2], shape=[2, 2, 3]))
    with pytest.raises(FormatError, match="give your frames"):
        repaired(path, steps=STEPS)
    graph = repaired(path, steps=STEPS, frames=Input("input", (2, 6, 7), bits=1))
    assert port.run(graph, MAPS)["layer0"].any()
    assert inspect(path, steps=STEPS).graph is None
    assert report(path, MAPS).graph is not None, "frames say what a convolution takes"
