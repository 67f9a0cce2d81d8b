"""Stock NetX files, written here field by field: what is read, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.errors import FormatError, StorageError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, LeakyReadout, Lif, Readout
from neuroport.netx import read, stock
from tests.helpers.stockfile import CUBA, WEIGHT, Fields, conv, dense, file, pool


def spikes(graph: Graph, name: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 2, (graph.steps, 2, *graph.input.shape))
    return np.asarray(port.run(graph, frames)[name])


def test_numbers_of_the_file_become_the_numbers_of_the_nodes(tmp_path: Path) -> None:
    bias = np.float32([1, -2, 3])
    own = {**CUBA, "iDecay": np.array([1, 2, 3]), "gradedSpike": False, "theta": 5}
    graph = read(file(tmp_path / "a.net", dense(bias=bias, neuron=own)))
    assert graph.steps == 6
    assert graph.input.shape == (4,)
    assert (graph.input.bits, graph.input.signed) == (1, False)
    synapse, neurons = graph["layer0.synapse"], graph["layer0"]
    assert isinstance(synapse, Dense)
    assert isinstance(neurons, Lif)
    np.testing.assert_array_equal(synapse.weight, WEIGHT)
    np.testing.assert_array_equal(neurons.bias, bias)
    np.testing.assert_array_equal(neurons.current_decay, [1, 2, 3])
    assert (neurons.voltage_decay, neurons.threshold) == (128, 20)


def test_a_convolution_keeps_its_kernel_and_a_flat_row_becomes_a_matrix(tmp_path: Path) -> None:
    flatten = {"type": "flatten", "shape": [40, 1, 1]}
    row = dense(np.arange(40, dtype=np.float32) * 2, shape=[1])
    graph = read(file(tmp_path / "a.net", conv(), flatten, row))
    np.testing.assert_array_equal(graph["layer0.synapse"].weight, conv()["weight"])  # type: ignore[union-attr]
    assert graph.input.shape == (2, 6, 7)
    assert graph["layer2.synapse"].weight.shape == (1, 40)  # type: ignore[union-attr]


def test_an_input_layer_is_driven_by_the_integers_that_the_host_makes(tmp_path: Path) -> None:
    first = {"type": "input", "shape": [4], "weight": 36.0, "bias": 34.0, "neuron": CUBA}
    path = file(tmp_path / "a.net", first, dense())
    assert stock.transform(path) == (36, 34)
    graph = read(path)
    assert (graph.input.bits, graph.input.signed) == (13, True)
    assert [node.name for node in graph.populations] == ["layer0", "layer1"]


def test_steps_come_from_the_caller_before_the_file(tmp_path: Path) -> None:
    path = file(tmp_path / "a.net", dense())
    assert read(path, steps=9).steps == 9
    silent = file(tmp_path / "b.net", dense(), steps=None)
    with pytest.raises(FormatError, match="give steps"):
        read(silent)
    assert port.run(silent, np.ones((7, 2, 4), int)).steps == 7


def test_a_conv_with_a_stride_asks_for_the_input(tmp_path: Path) -> None:
    path = file(tmp_path / "a.net", conv(stride=[2, 2], shape=[2, 2, 3]))
    with pytest.raises(FormatError, match=r"layer/0 \(conv\): field shape .*frames=Input"):
        read(path)
    assert read(path, frames=Input("input", (2, 6, 8), bits=4)).input.bits == 4


def test_layers_that_only_integrate_become_readouts(tmp_path: Path) -> None:
    bare = dense()
    del bare["neuron"]
    leakless = {**CUBA, "iDecay": 4096, "vDecay": 0}
    at_the_edge = dense(neuron={**leakless, "vThMant": 131071})
    beyond = dense(np.full((3, 3), 254), neuron={**leakless, "vThMant": 262143}, bias=[4000.0])
    for layers in ((dense(np.eye(4) * 30), bare), (dense(np.eye(4) * 30), at_the_edge)):
        assert isinstance(read(file(tmp_path / "a.net", *layers))["layer1"], Readout)
    graph = read(file(tmp_path / "b.net", dense(), beyond), steps=5000)
    assert isinstance(graph["layer1"], Readout)


def test_a_layer_that_leaks_and_never_fires_becomes_a_readout_that_leaks(tmp_path: Path) -> None:
    graph = read(file(tmp_path / "a.net", dense(neuron={**CUBA, "vThMant": 262143}, bias=[5.0])))
    node = graph["layer0"]
    assert isinstance(node, LeakyReadout)
    assert (node.current_decay, node.voltage_decay, node.bias) == (1024, 128, 5)


def test_a_neuron_that_could_reach_the_largest_threshold_stays_one(tmp_path: Path) -> None:
    neuron = {**CUBA, "iDecay": 4096, "vDecay": 0, "vThMant": 131071}
    path = file(tmp_path / "a.net", dense(np.full((3, 4), 254), neuron=neuron))
    assert isinstance(read(path, steps=129)["layer0"], Readout)  # 129 * 1016 <= 131071
    assert isinstance(read(path, steps=130)["layer0"], Lif)


# -- delays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [3, np.float32([3]), np.float32([3, 3, 3])])
def test_delays_without_bias_delay_what_the_layer_sends(tmp_path: Path, delay: Any) -> None:
    plain = read(file(tmp_path / "a.net", dense()))
    late = read(file(tmp_path / "b.net", dense(delay=delay)))
    sent = spikes(plain, "layer0")
    assert sent.any()
    np.testing.assert_array_equal(spikes(late, "layer0")[3:], sent[:-3])
    assert not spikes(late, "layer0")[:3].any()


def test_delays_with_a_bias_move_into_the_next_layer(tmp_path: Path) -> None:
    bias = np.float32([9, 5, -2])
    last = dense(np.eye(3) * 60)
    plain = read(file(tmp_path / "c.net", dense(bias=bias), last))
    same = read(file(tmp_path / "a.net", dense(bias=bias, delay=np.float32([2, 2, 2])), last))
    sent = spikes(plain, "layer1")
    assert sent.any()
    np.testing.assert_array_equal(spikes(same, "layer1")[2:], sent[:-2])
    each = read(file(tmp_path / "b.net", dense(bias=bias, delay=np.float32([0, 2, 4])), last))
    synapse = each["layer1.synapse"]
    assert isinstance(synapse, Dense)
    np.testing.assert_array_equal(synapse.delay, np.tile([0, 2, 4], (3, 1)))


def test_delays_per_synapse_and_per_input_are_the_synapses_own(tmp_path: Path) -> None:
    each = np.arange(12, dtype=np.float32).reshape(3, 4)
    synapse = read(file(tmp_path / "a.net", dense(delay=each)))["layer0.synapse"]
    np.testing.assert_array_equal(synapse.delay, each)  # type: ignore[union-attr]
    row = np.float32([0, 1, 2, 3])
    synapse = read(file(tmp_path / "b.net", dense(delay=row)))["layer0.synapse"]
    np.testing.assert_array_equal(synapse.delay, np.tile(row, (3, 1)))  # type: ignore[union-attr]


def test_pooling_delivers_the_weighted_sum_of_a_window_of_each_channel(tmp_path: Path) -> None:
    """Of the fifth column a window of zeros is appended, as SLAYER does."""
    path = file(tmp_path / "a.net", conv(), pool(weight=np.float32([[[[2, 4], [6, 8]]]])))
    graph = read(path)
    synapse = graph["layer1.synapse"]
    maps = np.random.default_rng(0).integers(0, 2, (graph.steps, 1, 2, 6, 7))
    trace = port.run(Graph([*graph.nodes, Readout("sums", (synapse.name,))], graph.steps), maps)
    sent = np.pad(trace["layer0"].astype(int), ((0, 0), (0, 0), (0, 0), (0, 0), (0, 1)))
    want = sum(
        weight * sent[..., row::2, column::2]
        for weight, row, column in ((2, 0, 0), (4, 0, 1), (6, 1, 0), (8, 1, 1))
    )
    assert sent.any()
    np.testing.assert_array_equal(np.diff(trace["sums"], axis=0, prepend=0), 64 * want)


# -- refusals ----------------------------------------------------------------------------------


def neuron(**changes: Any) -> Fields:
    return dense(neuron={**CUBA, **changes})


def sdnn(**changes: Any) -> Fields:
    return dense(neuron={"type": "SDNN", "activation": "relu", "vThMant": 3, **changes})


COMPLEX = {"real": WEIGHT, "imag": WEIGHT}
RF: Fields = {"type": "RF_PHASE", "sinDecay": 900, "cosDecay": 3000, "vThMant": 9}
REFUSED: dict[str, tuple[Callable[[], list[Fields]], str]] = {
    "half a weight": (
        lambda: [dense(WEIGHT + 0.5)],
        r"layer/0 \(dense\): field weight holds .*\.5",
    ),
    "not a number": (lambda: [dense(WEIGHT * np.nan)], "field weight holds nan"),
    "half a bias": (lambda: [dense(bias=np.float32([1.5]))], "field bias holds 1.5"),
    "half a delay": (lambda: [dense(delay=np.float32([1.5]))], "field delay holds 1.5"),
    "early": (lambda: [dense(delay=np.float32([-1]))], "field delay is -1"),
    "weight exponent": (
        lambda: [neuron(weight_exp=np.float32([2]))],
        "neuron: field weight_exp is 2, of neurons that leak",
    ),
    "legacy exponent": (lambda: [neuron(wgtExp=1)], "field wgtExp is 1"),
    "graded spikes": (lambda: [neuron(gradedSpike=True)], "field gradedSpike is 1"),
    "refractory": (lambda: [neuron(refDelay=4)], "field refDelay is 4"),
    "message bits": (lambda: [neuron(messageBits=8)], "field messageBits is unknown"),
    "ALIF without its step": (lambda: [neuron(type="ALIF")], "field vThStep is missing"),
    "ADRF without its step": (
        lambda: [dense(weight=COMPLEX, shape=[3], neuron={**RF, "type": "ADRF_PHASE"})],
        "field vThStep is missing",
    ),
    "graded ALIF": (
        lambda: [neuron(type="ALIF", vThStep=1, thDecay=9, refDecay=9, gradedSpike=True)],
        "field gradedSpike is 1",
    ),
    "unknown field": (lambda: [dense(mask=WEIGHT)], "field mask is unknown"),
    "unknown layer": (
        lambda: [dense(type="concat")],
        "field type is a layer that neuroport does not know",
    ),
    "transposed convolution": (lambda: [conv(type="convT")], "field type is convT, no convolution"),
    "pooling of an open size": (lambda: [pool()], "field shape leaves the size of the input open"),
    "pooling of rows": (lambda: [dense(), pool()], r"field weight is \(1, 1, 2, 2\) on \(3,\)"),
    "pooling by a number": (lambda: [conv(), pool(weight=np.float32([2]))], r"is \(1,\) on"),
    "kernels that pool": (
        lambda: [conv(), pool(weight=np.ones((2, 1, 2, 2)))],
        r"field weight is \(2, 1, 2, 2\)",
    ),
    "pooling over channels": (
        lambda: [conv(), pool(weight=np.ones((1, 1, 3, 3)), stride=[3, 3])],
        r"field stride \(3, 3\) .* into the next",
    ),
    "pooling with padding": (lambda: [conv(), pool(padding=[1, 0])], "into the next"),
    "pooling without steps": (lambda: [conv(), pool(stride=[0, 2])], "into the next"),
    "pooling of all the world": (lambda: [conv(), pool(dilation=[1, 1 << 30])], "into the next"),
    "complex pooling": (
        lambda: [
            conv(),
            pool(weight={"real": np.ones((1, 1, 2, 2)), "imag": np.ones((1, 1, 2, 2))}),
        ],
        "field weight pools complex channels",
    ),
    "some that fire": (
        lambda: [neuron(vThMant=np.array([131071, 262143, 262143]))],
        "layer0: vThMant is 131071..262143",
    ),
    "negative decay": (lambda: [neuron(iDecay=-1)], "layer0: current_decay is -1"),
    "bias without neurons": (
        lambda: [{k: v for k, v in dense(bias=[5.0]).items() if k != "neuron"}],
        "field bias of a layer without neurons",
    ),
    "tanh": (lambda: [sdnn(activation="tanh")], "field activation is 'tanh'"),
    "bias of a sum": (lambda: [{**sdnn(sigma_output=True), "bias": [1.0]}], "field sigma_output"),
    "real resonator": (lambda: [dense(neuron=RF)], "field type is RF_PHASE"),
    "complex neuron": (lambda: [dense(weight=COMPLEX, shape=[3])], "field type is CUBA"),
    "bias of a resonator": (
        lambda: [dense(weight=COMPLEX, shape=[3], neuron=RF, bias=[1.0])],
        "field type comes with a bias",
    ),
    "unequal parts": (
        lambda: [dense(weight={"real": WEIGHT, "imag": WEIGHT[:2]}, shape=[3], neuron=RF)],
        "field weight has real",
    ),
    "input in the middle": (
        lambda: [dense(), {"type": "input", "shape": [3]}],
        "stands behind another layer",
    ),
    "wide input": (
        lambda: [{"type": "input", "shape": [2000], "neuron": CUBA}, dense()],
        "field shape is",
    ),
    "wrong shape": (lambda: [conv(shape=[2, 3, 5]), conv(shape=[2, 9, 9])], "field shape is"),
    "wrong columns": (lambda: [dense(), dense()], "weight is"),
    "wrong rows": (lambda: [dense(shape=[5])], "5 neurons need as many rows"),
    "huge": (lambda: [dense(shape=[2**30])], "field shape is"),
    "recurrent delay": (
        lambda: [dense(type="dense_rec", weight_rec=np.eye(3), delay=np.float32([1]))],
        "field delay of a recurrent layer",
    ),
    "recurrent weights": (
        lambda: [dense(type="dense_rec", weight_rec=np.eye(2))],
        "field weight_rec holds 4",
    ),
    "recurrent resonator": (
        lambda: [
            dense(weight=COMPLEX, type="dense_rec", weight_rec=np.eye(3), shape=[3], neuron=RF)
        ],
        "a recurrent layer has CUBA or ALIF neurons",
    ),
    "groups of complex channels": (
        lambda: [conv(weight={"real": conv()["weight"], "imag": conv()["weight"]}, groups=2)],
        "field groups splits complex",
    ),
    "only an input": (lambda: [{"type": "input", "shape": [4]}], "no layer that computes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_graph_expresses_is_refused_by_layer_and_field(case: str, tmp_path: Path) -> None:
    build, message = REFUSED[case]
    path = file(tmp_path / "bad.net", *build())
    with pytest.raises(FormatError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_layers_must_be_numbered_from_0(tmp_path: Path) -> None:
    path = file(tmp_path / "a.net", dense(), dense(np.eye(3) * 2))
    with h5py.File(path, "r+") as into:
        into.move("layer/1", "layer/2")
    with pytest.raises(FormatError, match="field 1 is missing"):
        read(path)


def test_a_weight_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path / "a.net", dense())
    with h5py.File(path, "r+") as into:
        del into["layer/0/weight"]
        into["layer/0/weight"] = h5py.ExternalLink("other.h5", "/weight")
    with pytest.raises(FormatError, match="layer/0/weight is missing"):
        read(path)


def test_a_file_without_layers_is_no_network(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.net", "w") as into:
        into["weights"] = WEIGHT
    with pytest.raises(FormatError, match="format is ''"):
        read(tmp_path / "a.net")
    with pytest.raises(StorageError, match="no such file"):
        read(tmp_path / "none.net")


def test_a_graph_keeps_its_own_steps(tmp_path: Path) -> None:
    graph = Graph([Input("input", (4,), bits=1), Dense("d", ("input",), WEIGHT.astype(int))], 3)
    path = port.graph.store.save(graph, tmp_path / "a.graph")
    with pytest.raises(FormatError, match="drop yours"):
        read(path, steps=4)
    assert read(path).hash == graph.hash


def test_layers_that_neuroport_writes_for_netx_are_read_back_as_the_same_network(
    tmp_path: Path,
) -> None:
    bias = np.float32([3, -9, 4, 0])
    first = dense(
        np.eye(4) * 40, bias=bias, neuron={**CUBA, "iDecay": np.array([1, 90, 3000, 4096])}
    )
    graph = read(file(tmp_path / "a.net", first, dense(bias=[2.0])))
    written = port.export(port.lower(graph), tmp_path / "b.net")
    with h5py.File(written) as whole, h5py.File(tmp_path / "c.net", "w") as layers:
        whole.copy("layer", layers)
    again = read(tmp_path / "c.net", steps=graph.steps)
    for mine, theirs in zip(graph.populations, again.populations, strict=True):
        sent = spikes(graph, mine.name)
        assert sent.any()
        np.testing.assert_array_equal(spikes(again, theirs.name), sent)
