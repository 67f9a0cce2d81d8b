"""A training step asks nothing of its device; what runs on a GPU runs here on another device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.backends.executor import walk  # noqa: E402
from neuroport.backends.fast import TorchArithmetic  # noqa: E402
from neuroport.data.samples import Pictures, Split  # noqa: E402
from neuroport.errors import BackendError, TrainingError  # noqa: E402
from neuroport.kernels import exact_products  # noqa: E402
from neuroport.kernels.devices import device_of, largest_fitting, memory_of  # noqa: E402
from neuroport.nets.families import build  # noqa: E402
from neuroport.nets.held_numbers import held, number  # noqa: E402
from neuroport.nets.neuron import learn  # noqa: E402
from neuroport.nets.synapse import Conv, convolve_in  # noqa: E402
from neuroport.recipe import NetworkRecipe, Recipe, from_dict  # noqa: E402
from neuroport.training.checkpoint import read_checkpoint  # noqa: E402
from neuroport.training.fit import fit  # noqa: E402
from neuroport.training.optimizer import optimizer_of, restore  # noqa: E402
from neuroport.training.parallel import Group  # noqa: E402
from neuroport.training.step import Step, scaler_of  # noqa: E402
from tests.properties import networks  # noqa: E402

WIDTHS = (4, 6, 8)
NETWORKS: dict[str, dict[str, Any]] = {
    "ms_resnet": {},
    "ms_resnet with composed projections": {"projection": "composed"},
    "ds_resnet": {"levels": 2},
    "danet": {},
    "danet, norms before neurons": {"order": "bn-lif-conv"},
    "sew_resnet": {},
    "plain_resnet": {},
    "ms_resnet, normalized pixels": {"mean": (0.4, 0.5), "std": (0.2, 0.3)},
    "mlf_vgg": {"levels": 2},
    "tdbn_resnet": {},
}
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    family = name.partition(",")[0].partition(" ")[0]
    return build(NetworkRecipe(family, widths=WIDTHS, **NETWORKS[name]), 2, 5)


def step_of(net: nn.Module, **training: Any) -> Step:
    recipe = from_dict({"training": {"batch": 4, "clip": 1.0, **training}})
    optimizer = optimizer_of(net, recipe)
    step = Step(net, optimizer, None, recipe, Group(0, 1))
    step.set_rate(0.01)
    return step


# -- nothing waits for the device -----------------------------------------------------------------


@pytest.fixture(scope="module")
def statistics_without_values() -> Iterator[None]:
    """Shapes of a function that torch has for the CPU and CUDA, and not for ``meta``."""
    library = torch.library.Library("aten", "IMPL")
    library.impl(
        "batch_norm_update_stats",
        lambda x, mean, var, momentum: (torch.empty_like(mean), torch.empty_like(var)),
        "Meta",
    )
    yield
    library._destroy()


@pytest.mark.usefixtures("statistics_without_values")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("phase", ["float", "quantized"])
def test_a_step_runs_on_a_device_that_has_no_values_to_ask_for(name: str, phase: str) -> None:
    """The device ``meta`` refuses every question, and every operation with a tensor of the CPU."""
    known = network(name)
    if phase == "quantized":
        port.quantize(known.eval(), np.full((2, 1, 2, 8, 8), 100))
    net = copy.deepcopy(known).to("meta").train()
    step = step_of(net)
    frames = torch.empty(2, 4, 2, 8, 8, device="meta")
    with held(net, like=known):
        loss = step(frames, torch.empty(4, dtype=torch.int64, device="meta"))
    assert loss.is_meta
    trained = [p for p in net.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.is_meta for p in trained)


class Waits(TorchDispatchMode):
    """Counts operations after which a device must have done all that it was asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS or (name == "_to_copy" and (kwargs or {}).get("device") is not None):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_numbers_of_neurons_are_read_at_once_and_again_when_they_were_learned() -> None:
    net = learn(network("ms_resnet"), "both").train()
    step = step_of(net, optimizer="sgd")
    frames, labels = torch.rand(2, 4, 2, 8, 8) * 255, torch.arange(4)
    with Waits() as asked:
        step(frames, labels)
    assert len(asked.seen) > 20  # what a GPU would have waited for
    with held(net) as numbers:
        before = [number(p) for p in net.parameters() if p.numel() == 1]
        with Waits() as asked:
            step(frames, labels)
        assert asked.seen == []
        numbers.refresh()
        after = [number(p) for p in net.parameters() if p.numel() == 1]
        assert after == [p.item() for p in net.parameters() if p.numel() == 1]
        assert before != after
        net.readout.lsb = torch.tensor(0.5, dtype=torch.float64)  # another tensor is another number
        assert number(net.readout.lsb) == 0.5


def test_a_number_that_was_changed_is_not_taken_from_before() -> None:
    layer = nn.Module()
    layer.register_buffer("lsb", torch.tensor(2.0))
    with held(layer):
        layer.lsb.fill_(3.0)
        assert number(layer.lsb) == 3.0
    assert number(layer.lsb) == 3.0


# -- integers on another device -----------------------------------------------------------------


GEOMETRIES = [
    ((1, 1), (1, 1), (1, 1)),
    ((2, 1), (0, 2), (1, 2)),
    ((3, 2), (2, 0), (2, 1)),
]  # stride, padding, dilation


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(("stride", "padding", "dilation"), GEOMETRIES)
def test_convolution_as_one_product_is_torchs(
    groups: int, stride: Any, padding: Any, dilation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(-300, 300, (5, 6, 11, 9), generator=rng).float().requires_grad_()
    weight = torch.randint(-254, 255, (12, 6 // groups, 3, 2), generator=rng).float()
    weight.requires_grad_()
    want = nn.functional.conv2d(x, weight, None, stride, padding, dilation, groups)
    wanted = torch.randint(-9, 9, want.shape, generator=rng).float()
    gradients = torch.autograd.grad(want, (x, weight), wanted)
    for patches in (exact_products.PATCHES, 1):  # at once, and one sample after the other
        monkeypatch.setattr(exact_products, "PATCHES", patches)
        got = exact_products.conv2d(x, weight, stride, padding, dilation, groups)
        assert torch.equal(got, want)
        found = torch.autograd.grad(got, (x, weight), wanted)
        assert all(map(torch.equal, found, gradients))


def test_products_take_whole_factors_whatever_torch_is_set_to() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with exact_products.full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", NETWORKS)
def test_integer_phase_by_the_products_of_another_device_sends_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 2, 8, 8)).astype(np.uint8)
    net = network(name).eval()
    port.quantize(net, frames)
    want = net(torch.from_numpy(frames).float())
    used: list[int] = []

    def products(self: Conv, x: Tensor, weight: Tensor) -> Tensor:
        used.append(1)
        geometry = self.stride, self.padding, self.dilation, self.groups
        return exact_products.conv2d(x.flatten(0, 1), weight, *geometry).unflatten(0, (len(x), -1))

    monkeypatch.setattr(Conv, "convolve_integers", products)
    with torch.no_grad():
        assert torch.equal(net(torch.from_numpy(frames).float()), want)
    assert len(used) >= 5


@pytest.mark.parametrize("seed", range(12))
def test_engine_by_products_of_matrices_is_the_reference(seed: int) -> None:
    """What runs on a GPU, on the CPU."""
    case = networks.network(seed)
    used = TorchArithmetic(case.graph, torch.device("cpu"), products=True)
    with torch.inference_mode():
        got = walk(used, case.graph, case.frames, progress=None, time_model="ideal", batch=2)
    assert port.compare(port.run(case.graph, case.frames), got)


def test_products_are_seen_to_be_exact_on_the_cpu_and_not_with_fewer_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    exact_products.fault.cache_clear()
    assert exact_products.fault(cpu) is None

    def fewer_bits(x: Tensor, weight: Tensor) -> Tensor:  # as TF32 keeps of its factors and sums
        return (x.bfloat16() @ weight.bfloat16()).float()

    monkeypatch.setattr(exact_products, "matmul", fewer_bits)
    exact_products.fault.cache_clear()
    said = exact_products.fault(cpu)
    exact_products.fault.cache_clear()
    assert said == "products of float32 on cpu are not exact"


def test_bias_that_saturates_every_voltage_is_the_same_in_the_kernels() -> None:
    from neuroport.kernels import lif_kernels, torch_neurons

    current = torch.randint(-1000, 1000, (3, 2, 4, 1, 1)).float()
    bias = torch.tensor([1 << 30, -(1 << 40), 1 << 20, 5]).reshape(4, 1, 1)
    want = torch_neurons.integer_forward(current, bias, 1000, 1024, 500)
    found = lif_kernels.integer_forward(current, bias, 1000, 1024, 500)
    assert found is None or all(map(torch.equal, found, want))


# -- which device ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu", "unknown device 'tpu'; use 'auto', 'cpu', 'cuda' or 'cuda:1'"),
        ("cuda:x", "unknown device 'cuda:x'"),
        ("auto:1", "unknown device 'auto:1'.*use 'cuda:1'"),
        ("cpu:1", "there is 1, numbered from 0"),
        ("cuda:7", "there are 2, numbered from 0"),
    ],
)
def test_device_that_is_not_there_is_refused(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(BackendError, match=message):
        device_of(name)


def test_each_process_of_torchrun_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of("auto") == torch.device("cuda", 1)
    with pytest.raises(BackendError, match="2 processes of torchrun would share it"):
        device_of("cuda:0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(BackendError, match="there are 2, process 2 of 3 has none"):
        device_of("cuda")


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of() == torch.device("cpu")


# -- memory that runs out -----------------------------------------------------------------------


def no_memory_beyond(most: int) -> Any:
    def attempt(count: int) -> None:
        if count > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    return attempt


def test_the_batch_that_fits_is_found_by_halving() -> None:
    assert largest_fitting(64, 1, no_memory_beyond(20)) == 16
    assert largest_fitting(7, 2, no_memory_beyond(2)) == 2
    assert largest_fitting(8, 2, no_memory_beyond(1)) is None
    with pytest.raises(ZeroDivisionError):
        largest_fitting(8, 1, lambda count: 1 // 0)


def test_another_error_is_not_taken_for_memory() -> None:
    cpu = torch.device("cpu")
    given = cpu, 8, 1, lambda n: None, TrainingError, "batch"
    with pytest.raises(RuntimeError, match="shapes"), memory_of(*given):
        raise RuntimeError("shapes differ")


def pictures(count: int) -> Pictures:
    labels = np.arange(count, dtype=np.int64) % 10
    images = np.random.default_rng(0).integers(0, 60, (count, 1, 12, 12)).astype(np.uint8)
    images[np.arange(count), 0, labels + 1] = 255
    return Pictures(images, labels)


def recipe_of(**training: Any) -> Recipe:
    return from_dict(
        {
            "data": {"steps": 2, "train": 20, "test": 10},
            "network": {"widths": [3, 4, 5]},
            "training": {"epochs": 1, "batch": 10, **training},
            "quantization": {"epochs": 1},
        }
    )


DATA = Split(pictures(20), pictures(10))


def test_training_that_runs_out_of_memory_says_which_batch_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, loss = no_memory_beyond(3), Step.loss

    def limited(self: Step, frames: Tensor, labels: Tensor, *share: float) -> Tensor:
        attempt(len(labels))
        return loss(self, frames, labels, *share)

    monkeypatch.setattr(Step, "loss", limited)
    with pytest.raises(TrainingError) as caught:
        fit(recipe_of(), tmp_path / "run", data=DATA, device="cpu")
    assert "has too little memory for training.batch = 10" in str(caught.value)
    assert "2 was tried and fits: use it" in str(caught.value)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


# -- half precision, and checkpoints that move ---------------------------------------------------


class StoppedError(Exception):
    """Raised by a report, as an interruption would be."""


def test_float16_multiplies_the_loss_and_goes_on_with_equal_bits(tmp_path: Path) -> None:
    recipe = recipe_of(precision="float16", epochs=2, batch=5, checkpoint_steps=1)
    assert scaler_of(recipe, True, torch.device("cpu")) is None  # integers are exact without

    def report(told: dict[str, Any]) -> None:
        if (told["epoch"], told.get("batch")) == (1, 3):
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(recipe, tmp_path / "parts", data=DATA, report=report)
    kept = read_checkpoint(tmp_path / "parts").tensors
    assert kept["scaler"].tolist() == [65536.0, 6.0]  # of two epochs: as many steps were finite
    for name in ("parts", "whole"):
        fit(recipe, tmp_path / name, data=DATA)
    want, got = (read_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert want.keys() == got.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in want.items())


def test_float16_leaves_out_a_step_whose_gradients_are_not_finite() -> None:
    net = convolve_in(network("ms_resnet"), torch.float16).train()
    step = step_of(net, precision="float16", clip=0.0, optimizer="sgd")
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    step(torch.rand(2, 4, 2, 8, 8) * 255, torch.arange(4))
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert step.scaler.get_scale() == 2.0**126


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_state_of_an_optimizer_goes_to_where_its_parameters_are(optimizer: str) -> None:
    net = network("ms_resnet").train()
    step = step_of(net, optimizer=optimizer)
    step(torch.rand(2, 4, 2, 8, 8) * 255, torch.arange(4))
    tensors = step.tensors()
    moved = copy.deepcopy(net).to("meta")
    there = step_of(moved, optimizer=optimizer)
    restore(there.optimizer, tensors)
    names = {name.rpartition(".")[2] for name in tensors if name.startswith("optimizer.")}
    for parameter in moved.parameters():
        state = there.optimizer.state[parameter]
        if parameter.requires_grad:
            assert state.keys() == names
        for name, tensor in state.items():
            assert tensor.is_meta == (name != "step")  # which Adam counts on the CPU


def test_checkpoint_of_another_precision_is_refused(tmp_path: Path) -> None:
    fit(recipe_of(), tmp_path, data=DATA)
    with pytest.raises(TrainingError, match=r"training\.precision 'float32' -> 'bfloat16'"):
        fit(recipe_of(precision="bfloat16"), tmp_path, data=DATA)
