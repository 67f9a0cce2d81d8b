"""Networks of snnTorch in real numbers, in integers, trained on, and on Lava."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import neuroport as port
from neuroport.errors import CaptureError, FramesError
from neuroport.quantization import QuantizationWarning

snn = pytest.importorskip("snntorch")

from tests.libraries import snntorch_networks as networks  # noqa: E402

STEPS, SAMPLES = 10, 4


def spikes(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((STEPS, SAMPLES, *shape)) < 0.5).astype(np.int64)


def picture(*shape: int, most: int = 15) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, most + 1, (1, SAMPLES, *shape))
    return np.repeat(drawn, STEPS, 0)


def said(net: nn.Module, frames: np.ndarray) -> np.ndarray:
    """What the library's own forward gives, (T, N, *shape)."""
    with torch.no_grad():
        out = net(torch.from_numpy(frames.astype(np.float32)))
    return (out[0] if isinstance(out, tuple) else out).numpy()


def equal_to_the_library(net: nn.Module, frames: np.ndarray) -> port.TorchImport:
    made = port.import_torch(net, frames)
    want = said(net, frames)
    assert 0.01 < want.mean() < 0.9
    assert np.array_equal(made.real(frames)["output"], want)  # spikes, without a tolerance
    return made


@pytest.mark.parametrize(
    ("neuron", "options"),
    [
        ("Leaky", {"beta": 0.8}),
        ("Leaky", {"beta": 0.8, "reset_mechanism": "zero"}),
        ("Leaky", {"beta": 0.8, "reset_mechanism": "zero", "reset_delay": False}),
        ("Leaky", {"beta": 0.8, "reset_mechanism": "none"}),
        ("Leaky", {"beta": 1.3, "threshold": 0.7, "learn_beta": True, "learn_threshold": True}),
        ("Leaky", {"beta": torch.linspace(0.2, 1, 20), "threshold": torch.linspace(0.4, 1, 20)}),
        ("Leaky", {"beta": 0.8, "graded_spikes_factor": 0.5}),
        ("Synaptic", {"alpha": 0.6, "beta": 0.8}),
        ("Synaptic", {"alpha": 0.6, "beta": 0.8, "reset_mechanism": "zero", "reset_delay": False}),
        ("Lapicque", {"beta": 0.8}),
        ("Lapicque", {"R": 2.0, "C": 3.0, "time_step": 1}),
        ("RLeaky", {"beta": 0.8, "linear_features": 20}),
        ("RLeaky", {"beta": 0.7, "all_to_all": False, "V": 0.3}),
        (
            "RLeaky",
            {
                "beta": 0.8,
                "linear_features": 20,
                "reset_mechanism": "zero",
                "reset_delay": False,
            },
        ),
    ],
)
def test_every_neuron_fires_as_the_library_lets_it(neuron: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    made = getattr(snn, neuron)(init_hidden=True, **options)
    net = networks.lively(networks.hidden(made))
    equal_to_the_library(net, spikes(12))


@pytest.mark.parametrize(("before", "reset"), [(True, "zero"), (False, "subtract")])
@pytest.mark.lava
def test_a_residual_network_goes_to_lava_and_no_spike_differs(
    tmp_path: Path, before: bool, reset: str
) -> None:
    net = networks.lively(networks.Residual(before, 6, reset_mechanism=reset))
    frames = spikes(2, 6, 6)
    made = equal_to_the_library(net, frames)
    assert all(p.share < 0.2 for p in made.cost.populations)
    kinds = {node.kind for node in made.graph}
    assert ("subtractivelif" in kinds) == (reset == "subtract")
    file = port.export(port.lower(made.graph, target="lava-cpu"), tmp_path / "net.net")
    want = port.run(made.graph, frames)
    assert port.compare(want, port.run(file, frames, on="lava-cpu")).equal
    assert port.compare(want, port.run(made.graph, frames, on="fast")).equal


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_what_forward_feeds_back_a_step_later_is_a_population_that_hears_itself(reset: str) -> None:
    net = networks.lively(networks.Fed(reset_mechanism=reset), seed=3)
    made = equal_to_the_library(net, spikes(12))
    kind = "recurrent" if reset == "zero" else "subtractiverecurrent"
    assert made.graph["lif1"].kind == kind


def test_what_is_fed_back_over_two_layers_is_refused() -> None:
    class Far(networks.Fed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
            spk2, found = torch.zeros(x.size(1), 10), []
            for step in range(x.size(0)):
                spk1, mem1 = self.lif1(self.fc1(x[step]) + spk2, mem1)
                spk2, mem2 = self.lif2(self.back(spk1), mem2)
                found.append(spk2)
            return torch.stack(found)

    says = "feeds lif1 and lif2 back.*let lif2 read what lif1 sent the step before"
    with pytest.raises(CaptureError, match=says):
        port.import_torch(networks.lively(Far()), spikes(12))


class Late(networks.Fed):
    """The second neuron reads what the first sent the step before: at step 0 ``start``."""

    def __init__(self, loop: bool, start: Any = torch.zeros, **options: Any) -> None:
        super().__init__(**options)
        self.loop, self.start, self.back = loop, start, nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spk1, spk2, found = self.start(x.size(1), 10), torch.zeros(x.size(1), 10), []
        for step in range(x.size(0)):
            before, current = spk1, self.fc1(x[step])
            spk1, mem1 = self.lif1(current + spk2 if self.loop else current, mem1)
            spk2, mem2 = self.lif2(self.back(before), mem2)
            found.append(spk2)
        return torch.stack(found)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("loop", [True, False])
def test_a_layer_may_read_what_another_sent_the_step_before(loop: bool, reset: str) -> None:
    net = networks.lively(Late(loop, reset_mechanism=reset), seed=3)
    made = equal_to_the_library(net, spikes(12))
    assert any("recurrent" in node.kind for node in made.graph) == loop
    assert any(node.kind == "delay" for node in made.graph) != loop
    assert all(cost.share < 0.1 for cost in made.cost.populations)
    want = port.run(made.graph, spikes(12))
    assert port.compare(want, port.run(port.lower(made.graph, target="lava-cpu"), spikes(12))).equal


def test_what_a_layer_reads_first_must_be_what_no_spike_gives() -> None:
    with pytest.raises(CaptureError, match=r"'lif2' receives .* than 'back\.late' at step 0"):
        port.import_torch(networks.lively(Late(True, torch.ones)), spikes(12))
    with pytest.raises(CaptureError, match=r"'lif2' \(.*\) reads a Tensor that does not depend on"):
        port.import_torch(networks.lively(Late(False)), spikes(12)[:1])


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_layers_that_hear_each_other_a_step_later_are_one_population(reset: str) -> None:
    net = networks.lively(networks.Mutual(reset_mechanism=reset), seed=3)
    made = equal_to_the_library(net, spikes(12))
    (loop,) = (node for node in made.graph if "recurrent" in node.kind)
    assert made.graph.facts(loop.name).shape == (17,)
    assert made.trainable().graph().hash == made.graph.hash
    want = port.run(made.graph, spikes(12))
    assert port.compare(want, port.run(port.lower(made.graph, target="lava-cpu"), spikes(12))).equal


def test_one_picture_for_all_steps_is_found_out() -> None:
    net = networks.lively(networks.Dense(12, STEPS))
    frames = picture(12, most=1)
    made = port.import_torch(net, frames)
    assert made.way == "static"
    assert np.array_equal(made.real(frames)["output"], said(net, frames[0]))
    with pytest.raises(FramesError, match="differ between steps"):
        port.import_torch(net, spikes(12))
    with pytest.raises(CaptureError, match="10 of the 12 steps"):
        port.import_torch(net, np.repeat(frames[:1], STEPS + 2, 0))


def test_a_network_that_is_called_for_each_step_is_found_out() -> None:
    net = networks.lively(networks.hidden(snn.Leaky(0.9, init_hidden=True))).net
    made = port.import_torch(net, spikes(12))
    assert made.way == "step"
    whole = networks.Hidden(*net)
    assert np.array_equal(made.real(spikes(12))["output"], said(whole, spikes(12)))


def test_pools_of_spikes_are_gates_and_those_of_currents_are_refused() -> None:
    frames = picture(1, 28, 28)
    net = networks.lively(networks.Convolutional(STEPS, pool_first=False))
    made = port.import_torch(net, frames, scale=1 / 15)
    want = said(net, frames[0] / 15)
    assert np.array_equal(made.real(frames)["output"], want)
    first = networks.lively(networks.Convolutional(STEPS, pool_first=True))
    with pytest.raises(CaptureError, match=r"'lif1'.*put the pool behind the neuron"):
        port.import_torch(first, frames, scale=1 / 15)


def test_the_network_stays_as_it_is_states_included() -> None:
    net = networks.lively(networks.hidden(snn.Leaky(0.9, init_hidden=True)))
    frames = spikes(12)
    want = said(net, frames)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    mem = net.net[1].mem.clone()
    port.import_torch(net, frames)
    assert net.training
    assert torch.equal(mem, net.net[1].mem)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert "forward" not in vars(net.net[1])
    assert np.array_equal(said(net.eval(), frames), want)


@pytest.mark.parametrize(("beta", "told"), [(1e-5, True), (0.003, False), (0.9, False)])
def test_a_voltage_that_a_spike_lowers_by_many_thresholds_keeps_its_spikes(
    beta: float, told: bool
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 40), snn.Leaky(beta, init_hidden=True)).eval()
    nn.init.uniform_(net[0].weight, -1, 1)
    frames = spikes(12)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = port.import_torch(net, frames)
    said = [str(w.message) for w in caught if issubclass(w.category, QuantizationWarning)]
    (cost,) = made.cost.populations
    assert 0.1 < cost.real / cost.positions < 0.9
    assert cost.differing / cost.positions < 0.02
    assert bool(said) == told
    if told:
        (only,) = said
        assert re.match(r"neuron '1' has a threshold of 32 units .* a larger beta or", only)


REFUSED = [
    ({"inhibition": True}, "inhibition lets one neuron of a layer fire"),
    ({"state_quant": lambda x: x}, "state_quant rounds the states"),
    ({"reset_delay": False}, "reset_delay=True"),
    ({"beta": 0.0}, "beta is 0"),
    ({"graded_spikes_factor": 0.0}, "nothing is sent"),
    ({"spike_grad": lambda x: torch.sigmoid(x)}, "surrogate function does not give 1"),
    ({"spike_grad": lambda x: ((x > 0) & (x < 6)).float()}, "surrogate function does not give 1"),
]


@pytest.mark.parametrize(("options", "says"), REFUSED, ids=[next(iter(o)) for o, _ in REFUSED])
@pytest.mark.filterwarnings("ignore:Inhibition")
def test_what_no_integer_neuron_does_is_refused_by_name(options: dict[str, Any], says: str) -> None:
    neuron = snn.Leaky(**{"beta": 0.9, "init_hidden": True, **options})
    with pytest.raises(CaptureError, match=says) as error:
        port.import_torch(networks.lively(networks.hidden(neuron)), spikes(12))
    assert "'net.1'" in str(error.value)


def test_resets_that_lose_an_input_are_refused_with_the_reset_that_does_not() -> None:
    options = {"reset_mechanism": "zero", "init_hidden": True}
    for neuron, way in (
        (snn.Synaptic(0.9, 0.8, **options), "reset_delay=False"),
        (snn.RLeaky(0.8, linear_features=20, **options), "reset_delay=False"),
        (snn.Lapicque(0.8, **options), "snn.Leaky"),
    ):
        with pytest.raises(CaptureError, match=way):
            port.import_torch(networks.lively(networks.hidden(neuron)), spikes(12))


def test_a_reset_that_was_changed_afterwards_is_refused() -> None:
    neuron = snn.Leaky(0.9, init_hidden=True)
    neuron.reset_mechanism = "zero"  # snnTorch's forward still subtracts
    with pytest.raises(CaptureError, match="make the neuron anew"):
        port.import_torch(networks.lively(networks.hidden(neuron)), spikes(12))


def test_other_neurons_and_changed_ones_are_refused() -> None:
    class Noisy(snn.Leaky):
        def fire(self, mem: Any) -> Any:
            return super().fire(mem + 0.1 * torch.randn_like(mem))

    for neuron, says in (
        (snn.Alpha(0.9, 0.8, init_hidden=True), "is a Alpha"),
        (Noisy(0.9, init_hidden=True), "changes 'fire' of Leaky"),
    ):
        with pytest.raises(CaptureError, match=says):
            port.import_torch(networks.lively(networks.hidden(neuron)), spikes(12))


def test_a_norm_for_each_step_is_refused_with_the_reason() -> None:
    with pytest.raises(CaptureError, match=r"one weight for all steps.*BatchNormTT"):
        port.import_torch(networks.PerStepNorm(STEPS), spikes(12))


class Odd(nn.Module):
    """A forward with one line that no graph holds."""

    def __init__(self, line: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 8)
        self.lif = snn.Leaky(0.9)
        self.out = nn.Linear(8, 5)
        self.line = line

    def forward(self, x: torch.Tensor) -> Any:
        mem, found = self.lif.reset_mem(), []
        for step in range(x.size(0)):
            cur, mem = self.line(self, self.fc(x[step]), mem, step)
            spk, mem = self.lif(cur, mem)
            found.append(spk)
        return torch.stack(found)


LINES = [
    (lambda net, cur, mem, step: (torch.relu(cur), mem), "relu"),
    (lambda net, cur, mem, step: (cur * (step + 1), mem), "at step 1"),
    (lambda net, cur, mem, step: (cur, mem * 0.5 if step else mem), "given states"),
    (lambda net, cur, mem, step: (cur if cur.sum() > 0 else -cur, mem), "values of a signal"),
    (lambda net, cur, mem, step: (cur + torch.randn(8), mem), "at step 1"),
    (lambda net, cur, mem, step: (cur, torch.ones(8)), "other than 0"),
]


@pytest.mark.parametrize(("line", "says"), LINES, ids=[says for _, says in LINES])
def test_a_line_that_no_graph_holds_is_refused(line: Any, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        port.import_torch(networks.lively(Odd(line)), spikes(12))


def test_a_forward_that_does_other_things_with_other_numbers_is_found_by_trying() -> None:
    class Sly(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if type(x) is not torch.Tensor else super().forward(2 * x)

    net = networks.lively(Odd(lambda net, cur, mem, step: (cur, mem)))
    net.fc = Sly(12, 8)
    with pytest.raises(CaptureError, match="receives something else"):
        port.import_torch(net, spikes(12))


def test_what_was_captured_trains_on_and_runs_as_it_was_trained(tmp_path: Path) -> None:
    net = networks.lively(networks.Residual(True, 6))
    frames = spikes(2, 6, 6)
    made = port.import_torch(net, frames)
    trained = made.trainable()
    assert trained.graph().hash == made.graph.hash
    optimizer = torch.optim.Adam(trained.parameters(), 1e-2)
    x, labels = torch.from_numpy(frames), torch.arange(SAMPLES)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(trained(x).sum(0), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trained.bound()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    graph = port.quantize(trained, frames)
    assert graph.hash != made.graph.hash
    assert port.compare(port.run(graph, frames), port.run(trained, frames)).equal
    port.lower(graph, target="lava-cpu")  # within its widths
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    again = made.trainable()
    again.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert again.graph().hash == graph.hash


def test_a_real_valued_network_is_not_run_as_if_it_had_integers() -> None:
    net = networks.lively(networks.Residual(True, 6))
    with pytest.raises(CaptureError, match=r"real-valued.*port\.quantize"):
        port.run(net, spikes(2, 6, 6))


def test_quantize_asks_the_front_end_and_imports_no_library_for_it() -> None:
    net = networks.lively(networks.Residual(True, 6))
    graph = port.quantize(net, spikes(2, 6, 6))
    assert graph.hash == port.import_torch(net, spikes(2, 6, 6)).graph.hash
    code = (
        "import sys, torch, neuroport as port; from neuroport.capture.frontend import front_end_of;"
        "net = torch.nn.Linear(2, 2); assert front_end_of(net).name == 'neuroport';"
        "assert not {'snntorch', 'spikingjelly', 'lava'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


@pytest.mark.lava
def test_gates_of_spikes_are_exact_in_integers_and_on_lava(tmp_path: Path) -> None:
    frames = spikes(2, 6, 6)
    made = port.import_torch(networks.lively(networks.Gates()), frames)
    trace = port.run(made.graph, frames)
    a, b = trace["lif1"], trace["lif2"]
    assert 0.1 < a.mean() < 0.9
    assert 0.1 < b.mean() < 0.9
    pooled = a.reshape(*a.shape[:3], 3, 2, 3, 2).any((4, 6))
    fired = {name: m for name, m in trace.messages.items() if m.dtype == bool}
    for want in (a & b, a & ~b, a | b, ~a & b, pooled):
        assert any(m.shape == want.shape and np.array_equal(m, want) for m in fired.values())
    (readout,) = (n.name for n in made.graph.populations if n.kind == "leakyreadout")
    either = trace[readout] / 64 * made.quantized.unit[readout]
    assert np.array_equal(either, a ^ b)  # a + b - 2ab, the sum of spikes and a gate
    net = port.export(port.lower(made.graph, target="lava-cpu"), tmp_path / "gates.net")
    assert port.compare(trace, port.run(net, frames, on="lava-cpu")).equal


class Combines(nn.Module):
    """A third neuron reads what a rule makes of the spikes of two."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.rule = rule
        self.fc1, self.fc2 = nn.Linear(12, 8), nn.Linear(12, 8)
        self.lif1, self.lif2, self.lif3 = (snn.Leaky(beta) for beta in (0.9, 0.7, 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem1, mem2, mem3 = (lif.reset_mem() for lif in (self.lif1, self.lif2, self.lif3))
        found = []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, mem2 = self.lif2(self.fc2(step), mem2)
            spk3, mem3 = self.lif3(self.rule(spk1, spk2).float(), mem3)
            found.append(spk3)
        return torch.stack(found)


@pytest.mark.parametrize(
    ("rule", "want"),
    [
        (lambda a, b: a + b >= 1, lambda a, b: a | b),
        (lambda a, b: a + b > 0, lambda a, b: a | b),
        (lambda a, b: a + b >= 2, lambda a, b: a & b),
        (lambda a, b: a + b > 1, lambda a, b: a & b),
        (lambda a, b: 2 * a + b >= 2, lambda a, b: a),
        (lambda a, b: 2 * a - b > 1, lambda a, b: a & ~b),
        (lambda a, b: (a + b).clamp(0, 1), lambda a, b: a | b),
        (lambda a, b: (a + b + a.flip(1)).clamp(max=1), lambda a, b: a | b | a[..., ::-1]),
        (lambda a, b: (2 * a + (b + b.flip(1))).clamp(0, 1), lambda a, b: a | b | b[..., ::-1]),
    ],
)
def test_a_sum_of_spikes_that_is_compared_or_clamped_is_the_gate_that_was_written(
    rule: Any, want: Any
) -> None:
    torch.manual_seed(0)
    net = Combines(rule)
    with torch.no_grad():
        for layer in (net.fc1, net.fc2):
            layer.weight *= 3
    made = port.import_torch(net, spikes(12))
    trace = port.run(made.graph, spikes(12))
    a, b = trace["lif1"], trace["lif2"]
    assert (a & b).sum() > 5
    assert np.array_equal(trace["above" if "above" in trace.messages else "or"], want(a, b))


@pytest.mark.parametrize(
    "rule",
    [
        lambda a, b: (a - b).clamp(0, 1),
        lambda a, b: (0.5 * a + b).clamp(0, 1),
        lambda a, b: (a + b).clamp(0, 2),
        lambda a, b: (a + b + 1).clamp(max=1),
    ],
)
def test_what_is_clamped_and_no_sum_of_spikes_is_refused(rule: Any) -> None:
    net = Combines(rule)
    with pytest.raises(CaptureError, match="clamps values that are not a sum of spikes, or to"):
        port.import_torch(net, spikes(12))


@pytest.mark.parametrize("threshold", [0.5, 0.75, 1.5])
def test_a_neuron_without_a_leak_that_subtracts_loses_nothing(threshold: float) -> None:
    net = nn.Sequential(nn.Linear(3, 3), snn.Leaky(1.0, threshold=threshold, init_hidden=True))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3))
        net[0].bias.zero_()
    made = port.import_torch(net, spikes(3))
    assert np.array_equal(port.run(made.graph, spikes(3))["1"], made.real(spikes(3))["output"])
    assert "a spike subtracts, exact" in made.table()


def test_potentials_of_all_classes_have_one_unit_so_that_the_largest_is_the_class() -> None:
    class Mean(networks.Dense):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem1, found = self.lif1.reset_mem(), []
            for step in range(len(x)):
                spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
                found.append(self.fc2(spk1))
            return torch.stack(found).mean(0)

    net = networks.lively(Mean(12, STEPS))
    with torch.no_grad():
        net.fc2.weight[0] *= 0.01  # which a unit of its own would make 100 times as large
        net.fc2.bias.zero_()
    frames = np.random.default_rng(0).integers(0, 2, (STEPS, 60, 12))
    made = port.import_torch(net, frames)
    want = said(net, frames).argmax(1)
    assert (want != 0).any()
    assert (port.run(made.graph, frames).predictions == want).mean() > 0.9


def returning(compute: Any, neuron: Any = None) -> nn.Module:
    class Returns(networks.Dense):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
            spikes = []
            for step in range(len(x)):
                spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
                spk2, mem2 = (neuron or (lambda net: net.lif2))(self)(self.fc2(spk1), mem2)
                spikes.append(spk2)
            return compute(torch.stack(spikes))

    return networks.lively(Returns(12, STEPS))


def test_what_the_host_makes_of_spikes_is_left_to_it_and_told() -> None:
    net = returning(lambda spikes: nn.functional.softmax(spikes.sum(0), 1))
    warning = port.quantization.QuantizationWarning
    with pytest.warns(warning, match=r"'softmax' .*makes.*with output"):
        made = port.import_torch(net, spikes(12))
    assert np.array_equal(
        made.real(spikes(12))["output"].sum(0).argmax(1), said(net, spikes(12)).argmax(1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        port.import_torch(returning(lambda spikes: spikes.mean(0)), spikes(12))
        port.import_torch(returning(lambda spikes: spikes.sum(0) / STEPS), spikes(12))
    currents = nn.Sequential(nn.Linear(12, 20), snn.Leaky(0.9, init_hidden=True), nn.Linear(20, 3))
    with pytest.warns(warning, match="return their mean or sum"):
        port.import_torch(networks.lively(currents), spikes(12))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: returning(lambda x: x).double(), r"parameters of torch\.float64; give net\.float"),
        (
            lambda: nn.Sequential(*[nn.Linear(12, 12), snn.Leaky(0.9, init_hidden=True)] * 2),
            "called twice in a step; give every layer a neuron module of its own",
        ),
        (
            lambda: torch.jit.trace(nn.Linear(12, 3), torch.zeros(2, 12)),
            "TorchScript; give the module",
        ),
        (
            lambda: networks.lively(
                Odd(lambda net, cur, mem, step: (cur + torch.rand_like(cur), mem))
            ),
            "draws at random; encode outside",
        ),
    ],
)
def test_what_cannot_be_followed_says_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        port.import_torch(make(), spikes(12))


def test_a_neuron_that_layers_share_is_a_population_for_each_state_that_it_is_given() -> None:
    net = returning(lambda spikes: spikes, lambda net: net.lif1)  # lif1 twice, with a state each
    made = equal_to_the_library(net, spikes(12))
    assert sum(node.kind == "subtractivelif" for node in made.graph) == 2
