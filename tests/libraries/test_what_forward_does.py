"""What forward does with states, and returns, is followed, said or refused: never left out.

Weights and decays are multiples of a quarter, so that real numbers have no rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import neuroport as port
from neuroport.errors import CaptureError, FramesError
from neuroport.nets.neuron import Lif
from neuroport.quantization import QuantizationWarning

snn = pytest.importorskip("snntorch")

FRAMES = (np.random.default_rng(0).random((6, 4, 12)) < 0.5).astype(np.int64)
Line = Callable[[Any, int, Tensor, Tensor], Tensor]


class Net(nn.Module):
    """Two neurons: ``line`` runs behind the first, ``end`` makes what is returned of the rest."""

    def __init__(
        self,
        line: Line | None = None,
        end: Callable[[Tensor, Tensor], Any] | None = None,
        *,
        hidden: bool = False,
        reset: str = "subtract",
    ) -> None:
        super().__init__()
        self.line, self.end, self.hidden = line, end, hidden
        self.fc1, self.lif1 = nn.Linear(12, 16), snn.Leaky(0.5, init_hidden=hidden)
        self.fc2, self.lif2 = nn.Linear(16, 5), snn.Leaky(0.5, reset_mechanism=reset)
        dice = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in (*self.fc1.parameters(), *self.fc2.parameters()):
                parameter.copy_(torch.randint(-4, 5, parameter.shape, generator=dice) / 4)
        self.eval()

    def forward(self, x: Tensor) -> Any:
        first, second = self.lif1.reset_mem(), self.lif2.reset_mem()
        sent, voltages = [], []
        for step in range(len(x)):
            if self.hidden:
                spikes = self.lif1(self.fc1(x[step]))
            else:
                spikes, first = self.lif1(self.fc1(x[step]), first)
            if self.line is not None:
                spikes = self.line(self, step, spikes, first)
            out, second = self.lif2(self.fc2(spikes), second)
            sent.append(out)
            voltages.append(second)
        if self.end is None:
            return torch.stack(sent)
        return self.end(torch.stack(sent), torch.stack(voltages))


def given(net: nn.Module) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = net(torch.from_numpy(FRAMES).float()).numpy()
    return found


def warned(net: nn.Module) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = port.import_torch(net, FRAMES)
    return made, [str(w.message) for w in caught if issubclass(w.category, QuantizationWarning)]


@pytest.mark.parametrize("hidden", [False, True])
def test_what_is_captured_is_what_the_module_computes(hidden: bool) -> None:
    net = Net(hidden=hidden)
    made, said = warned(net)
    assert not said
    assert np.array_equal(made.real(FRAMES)["output"], given(net))


# -- states ------------------------------------------------------------------------------------


def minus(net: Any, step: int, spikes: Tensor, voltage: Tensor) -> Tensor:
    voltage -= 0.5 * spikes
    return spikes


def changed(how: Callable[[Any, Tensor, Tensor], Any]) -> Line:
    def line(net: Any, step: int, spikes: Tensor, voltage: Tensor) -> Tensor:
        how(net, spikes, voltage)
        return spikes

    return line


@pytest.mark.parametrize(
    "line",
    [
        changed(lambda net, s, v: v.mul_(0.25)),
        changed(lambda net, s, v: v.clamp_(0, 0.3)),
        changed(lambda net, s, v: v.zero_()),
        changed(lambda net, s, v: v.fill_(0.5)),
        changed(lambda net, s, v: v.copy_(s)),
        changed(lambda net, s, v: v.sub_(s)),
        changed(lambda net, s, v: v.relu_()),
        changed(lambda net, s, v: F.relu(v, inplace=True)),
        changed(lambda net, s, v: v.masked_fill_(torch.arange(16) > 4, 0.0)),
        changed(lambda net, s, v: torch.mul(v, 0.25, out=v)),
        changed(lambda net, s, v: v.data.mul_(0.25)),
        changed(lambda net, s, v: v.detach().mul_(0.25)),
        changed(lambda net, s, v: v.view(-1).mul_(0.25)),
        minus,
    ],
)
def test_a_voltage_that_forward_changes_in_place_is_refused(line: Line) -> None:
    says = "unchanged|not change them|writes into a tensor"
    with pytest.raises(CaptureError, match=says):
        port.import_torch(Net(line), FRAMES)


@pytest.mark.parametrize(
    "line",
    [
        changed(lambda net, s, v: net.lif1.mem.mul_(0.25)),
        changed(lambda net, s, v: setattr(net.lif1, "mem", net.lif1.mem * 0.25)),
        changed(lambda net, s, v: setattr(net.lif1, "mem", torch.ones(s.shape))),
    ],
)
def test_a_hidden_voltage_that_forward_changes_is_refused(line: Line) -> None:
    with pytest.raises(CaptureError, match=r"change(s its states|\s?them)|begins anew"):
        port.import_torch(Net(line, hidden=True), FRAMES)


def test_a_hidden_voltage_that_begins_elsewhere_is_refused() -> None:
    class Begins(Net):
        def forward(self, x: Tensor) -> Any:
            self.lif1.reset_mem()
            self.lif1.mem = torch.full((x.shape[1], 16), 0.5)
            return torch.stack([self.lif1(self.fc1(step)) for step in x])

    with pytest.raises(CaptureError, match="forward changes its states"):
        port.import_torch(Begins(hidden=True), FRAMES)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (lambda net, t, s, v: s - net.lif1.mem.sum(), "reads what 'sum' in"),
        (lambda net, t, s, v: s * float(net.lif1.mem.sum() > 0), "asks for the values"),
        (lambda net, t, s, v: -s if net.lif1.mem.sum() > 0 else s, "asks for the values"),
    ],
)
def test_a_hidden_voltage_that_forward_reads_is_no_constant(line: Line, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        port.import_torch(Net(line, hidden=True), FRAMES)


@pytest.mark.parametrize("constant", ["threshold", "beta"])
def test_constants_that_forward_changes_are_refused(constant: str) -> None:
    def line(net: Any, step: int, spikes: Tensor, voltage: Tensor) -> Tensor:
        setattr(net.lif1, constant, torch.tensor(1 / (step + 2)))
        return spikes

    with pytest.raises(CaptureError, match=r"neuron 'lif1' .*: forward changes its "):
        port.import_torch(Net(line), FRAMES)


def test_a_neuron_with_a_forward_of_its_own_is_refused() -> None:
    net = Net()
    neuron = net.lif1
    neuron.forward = lambda x, mem=None: type(neuron).forward(neuron, 3 * x, mem)
    with pytest.raises(CaptureError, match="neuron 'lif1' has a forward of its own"):
        port.import_torch(net, FRAMES)


def test_neurons_that_take_turns_on_a_state_are_refused() -> None:
    class Turns(Net):
        def forward(self, x: Tensor) -> Any:
            voltage, sent = self.lif1.reset_mem(), []
            for step in range(len(x)):
                spikes, voltage = (self.lif1, self.other)[step % 2](self.fc1(x[step]), voltage)
                sent.append(spikes)
            return torch.stack(sent)

    net = Turns()
    net.other = snn.Leaky(0.5)
    with pytest.raises(CaptureError, match=r"neuron 'other' .* is given states of 'lif1'"):
        port.import_torch(net, FRAMES)


def test_what_forward_writes_and_keeps_is_as_it_was_before() -> None:
    class Writes(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("rate", torch.zeros(5))
            self.unused = nn.Parameter(torch.ones(3))
            self.swapped = nn.Parameter(torch.ones(3))
            self.plain, self.calls, self.log, self.last = torch.zeros(2), 0, [], {}

        def forward(self, x: Tensor) -> Any:
            out = super().forward(x)
            self.seen += 1
            self.rate = 0.5 * self.rate + out.mean((0, 1))
            self.unused.detach().mul_(2)
            self.swapped.data = self.unused.data
            self.plain[1] = 7
            self.calls += 1
            self.log.append(out)
            self.last["out"] = out
            return out

    net = Writes()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    waits = (net.fc1.weight**2).sum()  # for a gradient, which needs the weight as it is
    made = port.import_torch(net, FRAMES)
    waits.backward()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.plain.any()
    assert (net.calls, net.log, net.last) == (0, [], {})
    assert np.array_equal(made.real(FRAMES)["output"], given(Net()))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda net: setattr(net, "fc2", nn.LazyLinear(5)), r"Net\.fc2\.weight is not made yet.*"),
        (lambda net: net.to("meta"), r"Net\.fc1\.weight is on the device meta.*load its weights"),
        (lambda net: net.lif2.to("meta"), r"Net\.lif2\.\w+ is on the device meta"),
        (
            lambda net: setattr(net.fc1, "weight", nn.Parameter(net.fc1.weight.to_sparse())),
            r"Net\.fc1\.weight is sparse; give the same weights as tensor\.to_dense\(\)",
        ),
    ],
)
def test_a_network_without_its_numbers_is_refused(change: Any, says: str) -> None:
    net = Net()
    change(net)
    with pytest.raises(CaptureError, match=says):
        port.import_torch(net, FRAMES)
    if "not made yet" in says:
        assert torch.nn.parameter.is_lazy(net.fc2.weight)
        net(torch.from_numpy(FRAMES).float())
        assert np.array_equal(port.import_torch(net, FRAMES).real(FRAMES)["output"], given(net))


# -- what is returned --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        lambda s, v: s.sum(0),
        lambda s, v: s.mean(0),
        lambda s, v: s.sum(0) / len(s),
        lambda s, v: 3 * s.sum(0),
        lambda s, v: s.transpose(0, 1).sum(1),
        lambda s, v: torch.stack(list(s), 1).mean(1),
        lambda s, v: s.cumsum(0)[-1],
        lambda s, v: list(s),
        lambda s, v: torch.cat([one.unsqueeze(0) for one in s]),
        lambda s, v: (s, v),
        lambda s, v: {"spikes": s.sum(0), "loss": v.mean(0)},
    ],
)
def test_sums_of_all_steps_have_the_classes_of_the_network(end: Any) -> None:
    net = Net(end=end)
    made, said = warned(net)
    assert not said
    want = given(Net()).sum(0)
    assert np.array_equal(made.real(FRAMES)["output"].sum(0), want)
    assert (port.run(made.graph, FRAMES).output.argmax(1) == want.argmax(1)).all()


@pytest.mark.parametrize(
    "end",
    [
        lambda s, v: s.mean(0).flip(1),
        lambda s, v: 1 - s.mean(0),
        lambda s, v: s.mean(0)[:, 1:],
        lambda s, v: s.mean(0)[:, [4, 3, 2, 1, 0]],
        lambda s, v: torch.cat([s.mean(0)[:, 1:], s.mean(0)[:, :1]], 1),
        lambda s, v: (1 - s).sum(0),
        lambda s, v: s[:, :, [3, 1, 2]].sum(0),
        lambda s, v: s.mean(0).view(-1, 5, 1).sum(2),
    ],
)
def test_classes_of_what_is_made_of_spikes_are_those_of_its_sum(end: Any) -> None:
    net = Net(end=end)
    made, said = warned(net)
    assert not said
    frames = (np.random.default_rng(1).random((6, 100, 12)) < 0.5).astype(np.int64)
    with torch.no_grad():
        want = net(torch.from_numpy(frames).float()).numpy().argmax(1)
    assert np.unique(want).size > 1
    got = port.run(made.graph, frames)
    assert (got.predictions == want).all()
    assert port.compare(got, port.run(port.lower(made.graph, target="lava-cpu"), frames)).equal


@pytest.mark.parametrize(
    "end",
    [
        lambda s, v: s.sum(0) * -1,
        lambda s, v: s.sum(0) / -6,
        lambda s, v: 9 - s.sum(0),
        lambda s, v: -s.sum(0),
        lambda s, v: s.sum(0)[:, [4, 3, 2, 1, 0]],
        lambda s, v: s.sum(0)[:, 2:],
        lambda s, v: s[-1],
        lambda s, v: s[3:].sum(0),
        lambda s, v: s[:3].mean(0) - s[3:].mean(0),
        lambda s, v: s.sum(0) - s.sum(0).mean(0),
        lambda s, v: sum((t + 1) * one for t, one in enumerate(s)),
        lambda s, v: reduce(lambda a, b: 0.5 * a + b, s),
        lambda s, v: torch.stack([s[step] for step in reversed(range(6))]),
        lambda s, v: s.mean(0).int(),
        lambda s, v: s.mean(0) * s.mean(0).flip(1),
        lambda s, v: s.sum(0).softmax(1),
    ],
)
def test_what_the_host_makes_of_spikes_is_told(end: Any) -> None:
    _, said = warned(Net(end=end))
    assert len(said) == 1
    assert "Net.forward returns " in said[0]
    assert "the graph ends before that, with output" in said[0]


@pytest.mark.parametrize(
    "end",
    [
        lambda s, v: (s.mean(0) > 0.5).float(),
        lambda s, v: torch.logical_not(s.mean(0)).float(),
        lambda s, v: torch.maximum(s.mean(0), s.mean(0).flip(1)),
        lambda s, v: (s.mean(0) + s.mean(0).flip(1)).clamp(0, 1),
        lambda s, v: F.max_pool2d(s.mean(0)[:, None, None], (1, 2)).flatten(1),
        lambda s, v: s.flip(0),
        lambda s, v: s.roll(1, 0).sum(0),
        lambda s, v: s.flip(1),
        lambda s, v: (~s.int()).float(),
        lambda s, v: (s.byte() * 200 + s.byte() * 100).float(),
    ],
)
def test_what_is_no_sum_of_spikes_is_no_node(end: Any) -> None:
    with pytest.raises(CaptureError, match=r"Net\.forward .*returns "):
        port.import_torch(Net(end=end), FRAMES)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda s, v: v.mean(0), "returns the voltage of 'lif2', whose spikes reset it"),
        (lambda s, v: v.sum(0), "returns the voltage of 'lif2', whose spikes reset it"),
        (lambda s, v: v[-1], "returns the voltage of 'lif2', whose spikes reset it"),
        (lambda s, v: (s * v).sum(0), "of spikes and of the voltage of 'lif2'"),
        (lambda s, v: s.sum(0) + v.sum(0), "of spikes and of the voltage of 'lif2'"),
    ],
)
def test_voltages_that_spikes_reset_are_refused(end: Any, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        port.import_torch(Net(end=end), FRAMES)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda s, v: v, False),
        (lambda s, v: v[-1], False),
        (lambda s, v: 2 * v[-1], False),
        (lambda s, v: v[2], True),
        (lambda s, v: -v[-1], True),
        (lambda s, v: v.mean(0), True),
    ],
)
def test_voltages_that_nothing_resets_are_sent_and_the_rest_is_told(end: Any, told: bool) -> None:
    net = Net(end=end, reset="none")
    made, said = warned(net)
    assert bool(said) == told
    (name,) = (each for each in made.real(FRAMES) if each.startswith("output"))
    want = given(Net(end=lambda s, v: v, reset="none"))
    assert np.allclose(made.real(FRAMES)[name], want, atol=1e-6)


@pytest.mark.parametrize(
    "early", [lambda spikes: spikes * 0.0, lambda spikes: spikes.cumsum(1), lambda spikes: -spikes]
)
def test_networks_that_are_called_step_by_step_return_the_same_at_all_steps(early: Any) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif, self.step = nn.Linear(12, 5), snn.Leaky(0.5, init_hidden=True), 0

        def forward(self, x: Tensor) -> Tensor:
            assert x.ndim == 2
            self.step += 1
            spikes: Tensor = self.lif(self.fc(x))
            return spikes if self.step > 3 else early(spikes)

    with pytest.raises(CaptureError, match="something else at step 0 than at the last one"):
        port.import_torch(Counts().eval(), FRAMES)


@pytest.mark.parametrize("order", [("input_", "mem"), ("mem", "input_")])
def test_a_neuron_may_be_called_by_names_in_any_order(order: tuple[str, str]) -> None:
    class Named(Net):
        def forward(self, x: Tensor) -> Any:
            voltage, sent = self.lif1.reset_mem(), []
            for step in range(len(x)):
                given = {"input_": self.fc1(x[step]), "mem": voltage}
                spikes, voltage = self.lif1(**{name: given[name] for name in order})
                sent.append(spikes)
            return torch.stack(sent)

    net = Named()
    assert np.array_equal(port.import_torch(net, FRAMES).real(FRAMES)["output"], given(net))


# -- what forward computes with ----------------------------------------------------------------


DIFFERS, BRANCHES = "receives something else", "branches on the number of samples"


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (lambda x: x * (x.size(1) / 2), DIFFERS),
        (lambda x: 1 - x if x.size(1) > 2 else x, BRANCHES),
        (lambda x: 1 - x if x.shape[1] > 1000 else x, BRANCHES),
        (lambda x: 1 - x if x.numel() > x.shape[0] * x.shape[2] * 50 else x, BRANCHES),
        (lambda x: x / x.numel() * 144, DIFFERS),
        (lambda x: 1 - x if len(x.transpose(0, 1)) > 1 else x, DIFFERS),
        (lambda x: 1 - x if len(x.transpose(0, 1)) > 16 else x, DIFFERS),
        (lambda x: x * torch.tensor([1.0] * 3 + [0.0] * 99)[: x.shape[1], None], DIFFERS),
    ],
)
def test_forward_may_not_depend_on_the_number_of_samples(before: Any, said: str) -> None:
    class Before(Net):
        def forward(self, x: Tensor) -> Any:
            return super().forward(before(x))

    with pytest.raises(CaptureError, match=said):
        port.import_torch(Before(), FRAMES)


@pytest.mark.parametrize(
    "sizes",
    [
        lambda x: x.reshape(x.shape[0], x.shape[1], -1),
        lambda x: x.flatten(0, 1).view(*x.shape[:2], -1),
        lambda x: x + torch.zeros(len(x), x.size(1), 1),
        lambda x: x if x.shape[1] > 0 and x.shape == (1 * x).shape else 1 - x,
    ],
)
def test_forward_may_compute_with_the_number_of_samples(sizes: Any) -> None:
    class Sized(Net):
        def forward(self, x: Tensor) -> Any:
            return super().forward(sizes(x))

    net = Sized()
    assert np.array_equal(port.import_torch(net, FRAMES).real(FRAMES)["output"], given(net))


def _half(h: Tensor) -> None:
    h.chunk(2, 1)[0].neg_()


@pytest.mark.parametrize(
    "write",
    [
        _half,
        lambda h: h[:, :8].zero_(),
        lambda h: h.view(-1).mul_(1.0005),
        lambda h: h.detach().mul_(0.5),
        lambda h: h.data.mul_(0.5),
        lambda h: h.contiguous().mul_(1.0005),
        lambda h: h.float().mul_(1.0005),
        lambda h: h.transpose(0, 1).add_(0.001),
    ],
)
def test_a_write_through_a_view_is_no_secret(write: Any) -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Any:
            h = x * 1.0
            write(h[0])
            return super().forward(h)

    with pytest.raises(CaptureError, match="changed in place, through another tensor"):
        port.import_torch(Writes(), FRAMES)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda h: torch.zeros_like(h).add_(h), "writes into a tensor"),
        (lambda h: setattr(h, "data", 2 * h), "replaces what a tensor holds"),
        (lambda h: h.data_ptr(), "asks for the values"),
    ],
)
def test_other_ways_around_a_signal_are_refused(write: Any, said: str) -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Any:
            write(x)
            return super().forward(x)

    with pytest.raises(CaptureError, match=said):
        port.import_torch(Writes(), FRAMES)


def test_a_refusal_that_forward_catches_is_one() -> None:
    class Catches(Net):
        def forward(self, x: Tensor) -> Any:
            try:
                most = float(x.sum(-1).max())
            except Exception:
                most = 0.0
            return super().forward(x * 0.5 if most > 11 else x)

    with pytest.raises(CaptureError, match="asks for the values of a signal"):
        port.import_torch(Catches(), FRAMES)


@pytest.mark.parametrize("at", [False, True])
def test_a_neuron_fires_at_its_threshold_if_its_surrogate_does(at: bool) -> None:
    net = Net()  # whose currents and voltages are exact, so that many are thresholds
    fires = (lambda x: (x >= 0).float()) if at else (lambda x: (x > 0).float())
    net.lif1.spike_grad = net.lif2.spike_grad = fires
    made, want = port.import_torch(net, FRAMES), given(net)
    assert np.array_equal(made.real(FRAMES)["output"], want)
    assert np.array_equal(port.run(made.graph, FRAMES)["lif2"], want)
    net.lif1.spike_grad = net.lif2.spike_grad = lambda x: (x >= 0 if not at else x > 0).float()
    assert not np.array_equal(given(net), want)


def test_neurons_of_neuroport_are_none_of_a_library() -> None:
    class Mixed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.last = Lif()

    with pytest.raises(CaptureError, match="'last' is a Lif of neuroport"):
        port.import_torch(Mixed(), FRAMES)


@pytest.mark.parametrize(
    "product",
    [
        lambda x, layer: x @ layer.weight.t() + layer.bias,
        lambda x, layer: torch.matmul(x, layer.weight.T) + layer.bias,
        lambda x, layer: torch.mm(x, layer.weight.t()) + layer.bias,
    ],
)
def test_a_product_with_a_matrix_of_constants_is_a_layer(product: Any) -> None:
    class Product(Net):
        def forward(self, x: Tensor) -> Any:
            voltage, sent = self.lif1.reset_mem(), []
            for step in range(len(x)):
                spikes, voltage = self.lif1(product(x[step], self.fc1), voltage)
                sent.append(spikes)
            return torch.stack(sent)

    net = Product()
    assert np.array_equal(port.import_torch(net, FRAMES).real(FRAMES)["output"], given(net))


def test_a_product_of_two_signals_is_refused_with_what_has_a_form() -> None:
    net = Net(lambda net, t, s, v: (s[:, None] @ s[:, :, None]).flatten(1) * s)
    with pytest.raises(CaptureError, match="of two signals a product of matrices has no exact"):
        port.import_torch(net, FRAMES)


def test_a_sum_of_currents_over_all_steps_is_a_readout() -> None:
    class Sums(Net):
        def forward(self, x: Tensor) -> Any:
            voltage, sent = self.lif1.reset_mem(), []
            for step in range(len(x)):
                spikes, voltage = self.lif1(self.fc1(x[step]), voltage)
                sent.append(self.fc2(spikes))
            return sum(sent) / len(sent)

    net = Sums()
    made, said = warned(net)
    assert not said
    assert (port.run(made.graph, FRAMES).predictions == given(net).argmax(1)).all()


@pytest.mark.parametrize(
    "make", [torch.jit.script, lambda layer: torch.jit.trace(layer, torch.zeros(1, 12))]
)
def test_torchscript_inside_a_network_is_refused_by_name(make: Any) -> None:
    net = nn.Sequential(make(nn.Linear(12, 5)), snn.Leaky(0.5, init_hidden=True))
    with pytest.raises(CaptureError, match=r"Sequential\.0 is TorchScript"):
        port.import_torch(net, FRAMES)


@pytest.mark.parametrize("scale", ["1", None, [1.0], 1j, True, float("nan"), 0, -1, torch.ones(2)])
def test_a_scale_that_is_no_positive_number_is_refused(scale: Any) -> None:
    with pytest.raises(FramesError, match="give the real value of an integer frame of 1"):
        port.import_torch(Net(), FRAMES, scale=scale)


@pytest.mark.parametrize("scale", [torch.tensor(0.25), np.float32(0.25), np.array(0.25)])
def test_a_scale_may_be_any_real_number(scale: Any) -> None:
    assert port.import_torch(Net(), FRAMES, scale=scale).scale == 0.25


@pytest.mark.parametrize("padding", [1, "same"])
def test_recurrent_convolutions_keep_the_size_of_the_map(padding: Any) -> None:
    torch.manual_seed(0)
    maps = (np.random.default_rng(0).random((4, 2, 2, 4, 5)) < 0.5).astype(int)
    neuron = snn.RLeaky(0.5, conv2d_channels=4, kernel_size=3, threshold=0.2, init_hidden=True)
    neuron.recurrent = nn.Conv2d(4, 4, 3, padding=padding)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), neuron).eval()
    made = port.import_torch(net, maps)
    neuron.reset_mem()
    with torch.no_grad():
        want = np.stack([net(torch.from_numpy(step).float()).numpy() for step in maps])
    assert 0.1 < want.mean() < 0.9
    assert np.array_equal(made.real(maps)["output"], want)


@pytest.mark.parametrize(
    "recurrent",
    [
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)),
    ],
)
def test_other_recurrent_weights_are_refused(recurrent: nn.Module) -> None:
    maps = (np.random.default_rng(0).random((4, 2, 2, 4, 5)) < 0.5).astype(int)
    neuron = snn.RLeaky(0.5, conv2d_channels=4, kernel_size=3, init_hidden=True)
    neuron.recurrent = recurrent
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), neuron)
    with pytest.raises(CaptureError, match="neuron '1': its recurrent weights are"):
        port.import_torch(net, maps)
