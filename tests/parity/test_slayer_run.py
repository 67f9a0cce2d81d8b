"""``port.run`` of a module of SLAYER blocks: SLAYER itself, on the frames of its graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import CaptureError, CompareError, FramesError
from tests.conftest import Neuroport

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from neuroport.capture import slayer as capture  # noqa: E402
from tests.helpers.slayer_networks import Chain, build, cuba, ready, spikes  # noqa: E402


@pytest.mark.parametrize(
    "name",
    [
        "mean-only norm of maps",
        "norm and delays",
        "recurrent",
        "input of currents",  # frames are the currents, of its neurons
        "adaptive input of currents",
        "input on the host",  # or the spikes
        "input that passes",
        "graded frames",
        "sigma-delta",
        "sigma-delta with biases",
        "spike containers",
    ],
)
def test_a_module_runs_on_frames_as_on_what_they_were_made_of(name: str) -> None:
    net, x = build(name)
    frames = capture.frames(net, x)
    graph = port.quantize(net, np.moveaxis(x.numpy(), -1, 0))
    want = capture.record(net, x)
    got = port.run(net, frames, batch=2)  # states of the first part are not the second's
    assert got.provenance["engine"] == "slayer"
    outcome = port.compare(want, got)
    assert outcome.equal, str(outcome)
    assert outcome.spikes > 0
    assert port.compare(port.run(graph, frames), got).equal


def test_a_module_counts_instead_of_recording() -> None:
    net, x = build("dense")
    frames = capture.frames(net, x)
    full = port.run(net, frames)
    got = port.run(net, frames, record="counts", granularity="layer")
    assert list(got.counts) == list(full.messages)
    for name, counts in got.counts.items():
        np.testing.assert_array_equal(counts[:, 0], full[name].sum((0, 2)))


def test_frames_in_the_axes_of_slayer_are_known_and_the_way_is_told() -> None:
    net, x = build("convolutions")
    with pytest.raises(FramesError, match=r"SLAYER's axes; .* give capture\.slayer\.frames"):
        port.quantize(net, x.numpy())
    with pytest.raises(FramesError, match="steps come first"):
        port.run(net, x.numpy())
    with pytest.raises(FramesError, match=r"slayer\.utils\.time\.replicate"):
        port.quantize(net, x.numpy()[0, 0, :, 0])


def test_weights_that_fit_no_frames_are_not_blamed_on_their_axes() -> None:
    net, _ = build("dense")
    with pytest.raises(CaptureError, match="does not fit what it reads"):
        port.quantize(net, np.zeros((9, 2, 3), int))


def test_a_network_that_was_given_weights_before_it_ran_says_what_to_do() -> None:
    def make() -> Chain:
        return Chain(cuba("Dense", 20, 16, weight_scale=2), cuba("Dense", 16, 5, weight_scale=2))

    old, x = make(), spikes((20,))
    ready(old, x)
    new = make().eval()
    new.load_state_dict(old.state_dict())
    frames = np.moveaxis(x.numpy().astype(int), -1, 0)
    with pytest.raises(CaptureError, match=r"Run the network once .*load_state_dict") as caught:
        port.quantize(new, frames)
    assert "'blocks.0'" in caught.value.message
    with torch.no_grad():
        new(x)
    new.load_state_dict(old.state_dict())
    outcome = port.compare(port.run(port.quantize(new, frames), frames), port.run(old, frames))
    assert outcome.equal
    assert outcome.spikes > 0


def test_one_dict_behind_a_recurrent_block_is_named_as_the_cause() -> None:
    params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
    block = slayer.block.cuba
    net = Chain(block.Recurrent(params, 20, 8), block.Dense(params, 8, 4))
    assert params["persistent_state"] is True, "lava-dl writes into it"
    x = spikes((20,))
    ready(net, x)
    with pytest.raises(CaptureError, match=r"give each block a dict of its own, dict\(params\)"):
        port.quantize(net, np.moveaxis(x.numpy(), -1, 0))


# -- rate classifiers ---------------------------------------------------------------------------


def test_spikes_of_the_last_block_are_summed_into_classes() -> None:
    net, x = build("dense")
    frames = capture.frames(net, x)
    trace = port.run(port.lower(port.quantize(net, frames)), frames)
    with torch.no_grad():
        raw = net(x)  # the answer of SLAYER, two steps of it cut off
    counts = trace["blocks.2"].sum(0)
    assert trace.answer[0] == "blocks.2"
    np.testing.assert_array_equal(trace.output, counts)
    np.testing.assert_array_equal(counts >= raw.sum(-1).numpy(), np.ones_like(counts, bool))
    np.testing.assert_array_equal(trace.predictions, counts.argmax(1))
    counted = port.run(net, frames, record="counts")
    np.testing.assert_array_equal(counted.output, counts)


def test_ties_are_told_and_the_lowest_class_counts(called: Neuroport, tmp_path: Path) -> None:
    net, x = build("dense")
    frames = capture.frames(net, x)
    frames[:, 0] = 0  # nothing fires: all classes tie
    path = port.export(port.lower(port.quantize(net, frames)), tmp_path / "net.net")
    trace = port.run(path, frames)
    assert trace.ties[0]
    assert trace.predictions[0] == 0
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "labels.npy", trace.predictions)
    done = called(
        "run", path, "--frames", tmp_path / "frames.npy", "--labels", tmp_path / "labels.npy"
    )
    assert done.returncode == 0, done.stderr
    samples = len(trace.predictions)
    assert f"accuracy 100.0 % ({samples} of {samples}) by the spikes of blocks.2" in done.stdout
    ties = int(trace.ties.sum())
    assert f"{ties} of {samples} samples have several largest" in done.stdout


def test_maps_and_populations_that_were_not_counted_are_no_classes() -> None:
    net, x = build("pooling")
    frames = capture.frames(net, x)
    with pytest.raises(CompareError, match=r"sends feature maps .* read trace\['blocks"):
        _ = port.run(net, frames).predictions
    net, x = build("dense")
    frames = capture.frames(net, x)
    with pytest.raises(CompareError, match=r"its last population, blocks\.2, was not recorded"):
        _ = port.run(net, frames, record="counts", count="blocks.0").predictions
    with pytest.raises(CompareError, match=r"only messages per layer were counted"):
        _ = port.run(net, frames, record="counts", granularity="layer").predictions
