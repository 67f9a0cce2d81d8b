"""Training steps from a graph have the bits of single operations; a CPU stands in for the GPU.

The stand-in records operations, as a CUDA graph does: Python runs once, tensors keep their place,
numbers are constants, recording changes no value, and a replay does the operations again.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch._dynamo")  # optimizers import it; it inspects classes replaced here
from torch import Tensor, nn  # noqa: E402
from torch.utils._python_dispatch import (  # noqa: E402
    TorchDispatchMode,
    _disable_current_modes,
)
from torch.utils._pytree import tree_leaves  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.kernels import batchnorm_kernels, lif_kernels  # noqa: E402
from neuroport.nets import synapse  # noqa: E402
from neuroport.nets.activation_recompute import recompute  # noqa: E402
from neuroport.nets.held_numbers import held, numbers, small_tensors  # noqa: E402
from neuroport.nets.neuron import Lif, learn, neurons_of  # noqa: E402
from neuroport.recipe import from_dict  # noqa: E402
from neuroport.training import captured_step  # noqa: E402
from neuroport.training.captured_step import WARM  # noqa: E402
from neuroport.training.checkpoint import read_checkpoint  # noqa: E402
from neuroport.training.fit import fit  # noqa: E402
from neuroport.training.given_graph import Classifier  # noqa: E402
from neuroport.training.optimizer import optimizer_of  # noqa: E402
from neuroport.training.parallel import Group  # noqa: E402
from neuroport.training.step import Step  # noqa: E402
from tests.unit.training import test_given_graph as given  # noqa: E402
from tests.unit.training.test_devices import (  # noqa: E402
    DATA,
    WAITS,
    StoppedError,
    network,
    recipe_of,
)

STEPS = 8


class Tape(TorchDispatchMode):
    """Operations and their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITS:
            raise RuntimeError("operation not permitted when stream is capturing")
        out = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, out))
        return out


class Recorder:
    """``torch.cuda.CUDAGraph``."""

    made: list[Recorder] = []  # noqa: RUF012
    kept: list[Tensor] = []  # noqa: RUF012 whose values recording does not change

    def __init__(self) -> None:
        self.tape, self.replays = Tape(), 0
        Recorder.made.append(self)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, out in self.tape.done:
            written = [r.alias_info for r in func._schema.returns]
            again = None
            if not any(alias is not None and not alias.is_write for alias in written):
                again = func(*args, **kwargs)
            if any(written) or again is None:  # in place, or a view of what is computed again
                continue
            for place, value in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(place, Tensor):
                    place.data.copy_(value)


class Recording:
    """``torch.cuda.graph``."""

    def __init__(self, graph: Recorder, pool: Any, stream: Any, capture_error_mode: str) -> None:
        assert isinstance(stream, Stream)
        assert capture_error_mode == "thread_local"
        self.graph = graph

    def __enter__(self) -> None:
        self.before = [tensor.detach().clone() for tensor in Recorder.kept]
        self.graph.tape.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self.graph.tape.__exit__(*raised)
        for tensor, value in zip(Recorder.kept, self.before, strict=True):
            tensor.data.copy_(value)
        if raised[0] is not None:  # as torch ends what a forbidden operation has stopped
            raise RuntimeError("operation failed due to a previous error during capture")


class Stream:
    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream)


class Questions(TorchDispatchMode):
    """What torch says of operations that wait for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITS:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        return func(*args, **(kwargs or {}))


def no_reading_of_sums(convolve: Any, messages: Tensor, weight: Tensor) -> Tensor:
    """``convolve_exactly`` on a GPU."""
    from neuroport.kernels.exact_sums import _with_gradient

    with torch.no_grad():
        value = convolve(messages.double(), weight.double()).to(messages.dtype)
    return _with_gradient(convolve, messages, weight, value)


def on_a_cpu(function: Any) -> Any:
    """What calculates on the CPU wherever the network is, so that a GPU does not hear of it."""

    def silent(*given: Any) -> Any:
        with _disable_current_modes():
            return function(*given)

    return silent


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Recorder]]:
    """A CPU that takes the place of a GPU; yields the graphs that are made."""
    asked: list[Questions] = []

    def debug(mode: Any) -> None:
        if mode == "warn":
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
            asked.append(Questions())
            asked[-1].__enter__()
        else:
            asked.pop().__exit__(None, None, None)

    for name, stand_in in {
        "CUDAGraph": Recorder,
        "graph": Recording,
        "graph_pool_handle": lambda: (0, 1),
        "Stream": Stream,
        "current_stream": Stream,
        "stream": nullcontext,
        "device": nullcontext,
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": debug,
        "get_rng_state": lambda device: torch.zeros(1),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(captured_step, "KIND", "cpu")
    for module in (lif_kernels, batchnorm_kernels):  # which a tape does not see
        monkeypatch.setattr(module, "kernels", lambda: None)
    monkeypatch.setattr(synapse, "convolve_exactly", no_reading_of_sums)
    monkeypatch.setattr(Lif, "integer_threshold", property(on_a_cpu(Lif.integer_threshold.fget)))
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(Recorder, "kept", [])
    captured_step._side.cache_clear()
    captured_step._warn.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield Recorder.made
    captured_step._side.cache_clear()
    captured_step._warn.cache_clear()
    assert asked == []


def batch(index: int, count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(index)
    frames = torch.randint(0, 256, (2, count, 2, 8, 8), generator=generator).float()
    return frames, torch.randint(0, 5, (count,), generator=generator)


Between = Callable[[nn.Module, int], None]


def trained(
    net: nn.Module,
    capture: bool,
    between: Between = lambda net, index: None,
    counts: dict[int, int] | None = None,
    share: Callable[[int], float] = lambda index: 1.0,
    batches: Callable[[int, int], tuple[Tensor, Tensor]] = batch,
    **training: Any,
) -> tuple[dict[str, Tensor], list[Tensor], Step]:
    """Weights and losses after some steps of a copy of ``net``."""
    net = copy.deepcopy(net).train()
    Recorder.kept = [*net.parameters(), *net.buffers()]
    recipe = from_dict({"training": {"batch": 4, "clip": 1.0, **training}})
    step = Step(net, optimizer_of(net, recipe), None, recipe, Group(0, 1), capture=capture)
    losses = []
    with held(net) as known:
        for index in range(STEPS):
            between(net, index)
            known.refresh()
            step.set_rate(0.01 / (1 + index))
            frames, labels = batches(index, (counts or {}).get(index, 4))
            losses.append(step(frames, labels, share=share(index)))
        for tensor in small_tensors(net):
            known.refresh()
            assert numbers(tensor) == tuple(tensor.flatten().tolist())
    return net.state_dict(), losses, step


def same(net: nn.Module, **how: Any) -> Step:
    """Train with and without graphs, which has the same bits; return the former's step."""
    weights, losses, _ = trained(net, False, **how)
    found, values, step = trained(net, True, **how)
    assert all(map(torch.equal, losses, values))
    assert len({float(loss) for loss in losses}) > STEPS // 2
    assert all(torch.equal(tensor, found[name]) for name, tensor in weights.items())
    return step


@pytest.mark.parametrize("name", ["ms_resnet", "ds_resnet", "danet", "sew_resnet", "tdbn_resnet"])
@pytest.mark.parametrize("phase", ["float", "quantized"])
def test_replays_are_steps(name: str, phase: str, gpu: list[Recorder]) -> None:
    net = network(name)
    if phase == "quantized":
        port.quantize(net.eval(), np.full((2, 1, 2, 8, 8), 100))
    step = same(net)
    assert step.captured is not None
    assert step.captured.recorded
    assert [graph.replays for graph in gpu] == [STEPS - WARM]
    step.release()
    assert not step.captured.recorded
    assert all(p.grad is None for p in step.net.parameters())


def test_gradients_that_were_removed_or_scaled_are_there_again(gpu: list[Recorder]) -> None:
    def between(net: nn.Module, index: int) -> None:
        for p in net.parameters():
            if p.grad is not None:
                p.grad = None if index % 2 else p.grad.mul_(3)

    same(network("ms_resnet"), between=between, optimizer="sgd", momentum=0.9)
    assert [graph.replays for graph in gpu] == [STEPS - WARM]


def test_a_batch_of_another_size_runs_by_itself(gpu: list[Recorder]) -> None:
    same(network("ms_resnet"), counts={WARM + 2: 3})
    assert [graph.replays for graph in gpu] == [STEPS - WARM - 1]


def test_sizes_that_change_before_are_warmed_up_again(gpu: list[Recorder]) -> None:
    same(network("ms_resnet"), counts={0: 3, 1: 3})
    assert [graph.replays for graph in gpu] == [STEPS - WARM - 2]


def test_mixed_samples_have_their_shares(gpu: list[Recorder]) -> None:
    same(network("ms_resnet"), share=lambda index: 1.0 if index == WARM + 1 else 0.9 - index / 20)
    assert [graph.replays for graph in gpu] == [STEPS - WARM - 1]


def test_a_number_that_changes_ends_the_graph(gpu: list[Recorder]) -> None:
    def between(net: nn.Module, index: int) -> None:
        if index == WARM + 2:
            for neuron in neurons_of(net):
                neuron.voltage_decay.data = neuron.voltage_decay.data.clone()
                with torch.no_grad():
                    neuron.voltage_decay.fill_(2000)

    step = same(network("ms_resnet"), between=between)
    assert step.captured is not None
    assert step.captured.refused == "the network changed"
    assert [graph.replays for graph in gpu] == [2]


def frozen(net: nn.Module) -> None:
    next(net.parameters()).requires_grad_(False)


def norms_that_evaluate(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def another_momentum(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5


def other_statistics(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_mean.clone()


def hooked(net: nn.Module) -> None:
    net.get_submodule("readout").register_forward_hook(lambda module, given, out: out * 0.5)


def hooked_parameter(net: nn.Module) -> None:
    next(net.parameters()).register_hook(lambda gradient: gradient * 2)


def another_parameter(net: nn.Module) -> None:
    classifier = net.get_submodule("readout").synapse
    classifier.weight = nn.Parameter(classifier.weight.detach() * 0.5)


@pytest.mark.parametrize(
    "change",
    [
        *(frozen, norms_that_evaluate, another_momentum, other_statistics),
        *(hooked, hooked_parameter, another_parameter),
    ],
)
def test_a_network_that_changes_ends_the_graph(
    change: Callable[[nn.Module], None], gpu: list[Recorder]
) -> None:
    def between(net: nn.Module, index: int) -> None:
        if index == WARM + 2:
            change(net)

    step = same(network("ms_resnet"), between=between)
    assert step.captured is not None
    assert step.captured.refused == "the network changed"
    assert [graph.replays for graph in gpu] == [2]


class Around(nn.Module):
    """A network of which Python decides something in every step."""

    def __init__(self, inner: nn.Module, factor: Callable[[Around, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.factor, self.calls = inner, [factor], 0
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("seen", torch.zeros(1, dtype=torch.bool))
        self.extra = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        changed: Tensor = out * self.factor[0](self, out)
        return changed


def called(net: Around, out: Tensor) -> float:
    net.calls += 1
    return 1 + net.calls / 10


def averaged(net: Around, out: Tensor) -> Tensor:
    net.mean = 0.9 * net.mean + 0.1 * out.detach().mean()
    return 1 + net.mean.mean()


@pytest.mark.parametrize("factor", [called, averaged])
def test_a_forward_that_changes_its_network_has_no_graph(factor: Any, gpu: list[Recorder]) -> None:
    step = same(Around(network("ms_resnet"), factor))
    assert step.captured is not None
    assert step.captured.refused == "forward changes attributes of the network"
    assert gpu == []


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_a_forward_that_draws_of_python_has_no_graph(draw: Any, gpu: list[Recorder]) -> None:
    _, _, step = trained(Around(network("ms_resnet"), lambda net, out: draw()), True)
    assert step.captured is not None
    assert step.captured.refused == "it draws random numbers"
    assert gpu == []


def test_a_small_truth_that_a_step_writes_is_written_by_replays(gpu: list[Recorder]) -> None:
    def factor(net: Around, out: Tensor) -> float:
        net.seen.logical_or_(out.detach().max() > 0)
        return 1.0

    same(Around(network("ms_resnet"), factor))
    assert [graph.replays for graph in gpu] == [STEPS - WARM]


def test_a_parameter_of_batches_of_another_size_has_no_old_gradient(gpu: list[Recorder]) -> None:
    def factor(net: Around, out: Tensor) -> Tensor | float:
        return (
            net.extra[: out.shape[1]].repeat(out.shape[1])[: out.shape[1]] if len(out) == 3 else 1.0
        )

    same(Around(network("ms_resnet"), factor), counts={WARM + 1: 3})
    assert [graph.replays for graph in gpu] == [STEPS - WARM - 1]


def test_shares_of_frames_that_are_integers_are_fractions(gpu: list[Recorder]) -> None:
    def integers(index: int, count: int) -> tuple[Tensor, Tensor]:
        frames, labels = batch(index, count)
        return frames.to(torch.uint8), labels

    same(network("ms_resnet"), batches=integers, share=lambda index: 0.7)
    assert [graph.replays for graph in gpu] == [STEPS - WARM]


def test_parameters_that_moved_end_the_graph(gpu: list[Recorder]) -> None:
    def between(net: nn.Module, index: int) -> None:
        if index == WARM + 2:
            for p in net.parameters():
                p.data = p.data.clone()

    same(network("ms_resnet"), between=between)
    assert [graph.replays for graph in gpu] == [2]


def with_hook(net: nn.Module) -> nn.Module:
    net.readout.register_forward_hook(lambda module, given, out: out)
    return net


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda net: learn(net, "both"), "neurons learn"),
        (recompute, "activations are recomputed"),
        (with_hook, "readout has hooks"),
    ],
)
def test_networks_that_python_must_run(change: Any, why: str, gpu: list[Recorder]) -> None:
    step = same(change(network("ms_resnet")))
    assert why in str(step.captured and step.captured.refused)
    assert gpu == []


def test_random_numbers_are_drawn_by_each_step(gpu: list[Recorder]) -> None:
    net = network("ms_resnet")
    net.readout.dropout = 0.5
    found = []
    for capture in (False, True):
        torch.manual_seed(0)
        found.append(trained(net, capture))
    assert all(map(torch.equal, found[0][1], found[1][1]))
    step = found[1][2]
    assert step.captured is not None
    assert step.captured.refused == "it draws random numbers"
    assert gpu == []


class Curious(nn.Module):
    """A network that reads its input, always or from some call on."""

    def __init__(self, inner: nn.Module, since: int) -> None:
        super().__init__()
        self.inner, self.since, self.calls = inner, since, [0]  # a list is not looked into

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        if self.calls[0] > self.since:
            x.max().item()
        logits: Tensor = self.inner(x)
        return logits


@pytest.mark.parametrize(
    ("since", "why"),
    [
        (0, "a training step waits for the GPU"),
        (WARM, "recording a CUDA graph failed: RuntimeError: operation not permitted"),
    ],
)
def test_what_cannot_be_recorded_is_said_once(since: int, why: str, gpu: list[Recorder]) -> None:
    net = Curious(network("ms_resnet"), since)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        same(net)
        trained(net, True)
    (said,) = told
    assert why in str(said.message)
    assert [graph.replays for graph in gpu] == [0] * len(gpu)
    assert bool(gpu) == (since > 0)


def test_where_steps_are_not_recorded(gpu: list[Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    one = Group(0, 1)
    assert captured_step.possible(one, None)
    assert not captured_step.possible(Group(0, 2), None)
    assert not captured_step.possible(one, torch.amp.GradScaler("cpu"))
    assert not captured_step.possible(Group(0, 1, torch.device("meta")), None)
    monkeypatch.setenv("NEUROPORT_CUDA_GRAPHS", "off")
    assert not captured_step.possible(one, None)


def test_an_interrupted_run_with_graphs_has_the_bits_of_one_without(
    tmp_path: Path, gpu: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured_step, "WARM", 1)
    recipe = recipe_of(epochs=2, batch=4, checkpoint_steps=1, mixup=0.2, ema=0.9)
    of = captured_step._Recorded.of

    def recorded(net: nn.Module, *given: Any) -> Any:
        Recorder.kept = [*net.parameters(), *net.buffers()]
        return of(net, *given)

    monkeypatch.setattr(captured_step._Recorded, "of", recorded)

    def report(told: dict[str, Any]) -> None:
        if (told["epoch"], told.get("batch")) == (1, 3):
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(recipe, tmp_path / "parts", data=DATA, report=report)
    fit(recipe, tmp_path / "parts", data=DATA)
    assert len(gpu) == 4
    assert sum(graph.replays for graph in gpu) > 8
    monkeypatch.setenv("NEUROPORT_CUDA_GRAPHS", "off")
    fit(recipe, tmp_path / "whole", data=DATA)
    assert len(gpu) == 4
    want, got = (read_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert want.keys() == got.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in want.items())


@pytest.mark.parametrize("counts", [False, True])
def test_a_graph_of_integers_that_trains_on_is_recorded(counts: bool, gpu: list[Recorder]) -> None:
    def pictures(index: int, count: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(index)
        frames = torch.randint(
            0, 16, (given.STEPS, count, 1, given.SIZE, given.SIZE), generator=generator
        )
        return frames.float(), torch.randint(0, 10, (count,), generator=generator)

    net = Classifier(given.graph_of(counts=counts), given.recipe_of())
    same(net, batches=pictures)
    assert [each.replays for each in gpu] == [STEPS - WARM]
