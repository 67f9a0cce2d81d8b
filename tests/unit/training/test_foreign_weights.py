"""Weights of others: state dicts by name and shape, against what their networks compute."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.errors import FormatError, StorageError, TrainingError  # noqa: E402
from neuroport.recipe import Recipe, from_dict, load_recipe  # noqa: E402
from tests.helpers import published_weights as published  # noqa: E402

FULL, NARROW = (64, 128, 256, 512), (6, 8, 10, 12)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPIKING = {"threshold": 1.0, "voltage_decay": 0.0}  # neurons of SpikingJelly's own examples


def recipe(steps: int = 2, size: int = 64, classes: int = 10, **network: Any) -> Recipe:
    data = {"dataset": "imagenet", "root": "none", "steps": steps, "size": size, "classes": classes}
    return from_dict({"name": "of_others", "data": data, "network": network})


def pictures(steps: int = 2, channels: int = 3, size: int = 64, samples: int = 2) -> Tensor:
    drawn = np.random.default_rng(5).integers(0, 256, (1, samples, channels, size, size))
    return torch.from_numpy(drawn).double().expand(steps, -1, -1, -1, -1)


def normalized(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(each).double().reshape(-1, 1, 1) for each in (MEAN, STD))
    return (pixels / 255 - mean) / std


@torch.no_grad()
def same_logits(made: port.ForeignWeights, state: published.State, x: Tensor, want: Tensor) -> None:
    assert {entry.theirs for entry in made.entries} == set(state)
    assert len(made.entries) == len(state)
    logits = made.net.double()(x)
    assert want.std() > 0.1
    torch.testing.assert_close(logits, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("depth", "widths"),
    [
        (18, FULL),
        (34, NARROW),
        (104, NARROW),
        pytest.param(34, FULL, marks=pytest.mark.long),
        pytest.param(104, FULL, marks=pytest.mark.long),
    ],
)
def test_weights_of_ms_resnets_authors_give_their_logits(
    depth: int, widths: tuple[int, ...]
) -> None:
    state = published.drawn(published.ms_resnet(depth, widths, 10), depth)
    given = {f"module.{name}": tensor for name, tensor in state.items()}  # as DDP saves it
    table = {"depth": depth, "widths": list(widths), "mean": list(MEAN), "std": list(STD)}
    made = port.import_weights(given, recipe(**table))
    assert made.naming == "ms_resnet"
    x = pictures()
    same_logits(made, state, x, published.ms_resnet_logits(state, depth, normalized(x)))


@pytest.mark.parametrize(
    ("name", "blocks", "channels", "size", "steps"),
    [
        ("ds_resnet20_cifar10", 3, 3, 32, 4),
        ("ds_resnet20_gesture", 3, 2, 32, 3),
        ("ds_resnet14_cifar10dvs", 2, 2, 42, 3),
    ],
)
def test_weights_of_mlfs_authors_give_their_logits(
    name: str, blocks: int, channels: int, size: int, steps: int
) -> None:
    known = load_recipe(name)
    known = replace(known, network=replace(known.network, mean=(), std=()))
    counts = known.network.normalize
    widths, classes = known.network.widths, known.data.class_count
    state = published.drawn(published.mlf(blocks, widths, channels, classes, counts))
    made = port.import_weights(state, known)
    assert made.naming == "mlf"
    x = pictures(steps, channels, size, samples=1)
    if counts:
        x = (x / 60).floor()
    given = x if counts else x / 255
    same_logits(made, state, x, published.mlf_logits(state, blocks, given))


def test_weights_of_mlfs_vgg_give_its_logits() -> None:
    numbers, widths = (2, 2, 3, 3, 3), (4, 6, 8, 10, 12)
    state = published.drawn(published.mlf_vgg(numbers, widths, 10))
    table = {"family": "mlf_vgg", "blocks": list(numbers), "widths": list(widths)}
    made = port.import_weights(state, recipe(3, 32, **table))
    x = pictures(3, size=32)
    same_logits(made, state, x, published.mlf_vgg_logits(state, numbers, x / 255))


@pytest.mark.parametrize("depth", [34, 50])
def test_weights_of_sew_resnets_authors_give_their_logits(depth: int) -> None:
    shapes = published.in_containers(published.spikingjelly(depth, False, NARROW, 10))
    state = published.drawn(shapes, depth, 2.0)
    table = {"family": "sew_resnet", "depth": depth, "widths": list(NARROW), **SPIKING}
    made = port.import_weights({"model": state, "epoch": 319}, recipe(3, **table))
    assert made.naming == "sew"
    x, named = pictures(3), published.out_of_containers(state)
    want = published.spikingjelly_logits(named, depth, "sew_resnet", x / 255)
    same_logits(made, state, x, want)


@pytest.mark.parametrize(
    ("family", "depth", "widths"),
    [
        ("sew_resnet", 18, FULL),
        ("sew_resnet", 50, NARROW),
        ("plain_resnet", 34, NARROW),
        ("ms_resnet", 18, NARROW),
        pytest.param("sew_resnet", 152, NARROW, marks=pytest.mark.long),
        pytest.param("plain_resnet", 50, NARROW, marks=pytest.mark.long),
        pytest.param("ms_resnet", 34, FULL, marks=pytest.mark.long),
    ],
)
def test_weights_of_spikingjelly_give_its_logits(
    family: str, depth: int, widths: tuple[int, ...]
) -> None:
    membrane = family == "ms_resnet"
    shapes = published.spikingjelly(depth, membrane, widths, 10)
    state = published.drawn(shapes, depth, 1.0 if membrane else 2.0)
    neurons = {} if membrane else SPIKING
    table = {"family": family, "depth": depth, "widths": list(widths), **neurons}
    made = port.import_weights(state, recipe(3, **table))
    assert (made.naming, made.recipe.network.fires) == ("spikingjelly", "at")
    x = pictures(3)
    constants = (0.5, 0.25) if membrane else (1.0, 1.0)
    want = published.spikingjelly_logits(state, depth, family, x / 255, *constants)
    same_logits(made, state, x, want)


def small(family: str = "sew_resnet") -> tuple[published.State, Recipe]:
    state = published.drawn(published.spikingjelly(18, False, NARROW, 10), 1, 1.2)
    return state, recipe(3, family=family, depth=18, widths=list(NARROW), **SPIKING)


@pytest.mark.parametrize("connect", ["add", "iand"])
def test_what_was_brought_in_is_quantized_and_lowered_as_any_network(
    connect: str, tmp_path: Path
) -> None:
    state, known = small()
    known = replace(known, network=replace(known.network, connect=connect))
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "theirs.pth")
    made = port.import_weights(tmp_path / "theirs.pth", known)
    made.save(tmp_path / "run")
    net = port.load(tmp_path / "run")
    frames = pictures(3, samples=1).numpy().astype(np.uint8)
    graph = port.quantize(net, frames)
    assert port.compare(port.run(graph, frames), run_module(net, frames)).equal
    assert port.lower(graph, "lava-cpu")
    again = load_recipe(tmp_path / "run" / "recipe.toml")
    assert again == made.recipe
    assert (again.training.epochs, again.quantization.epochs) == (0, 2)
    with pytest.raises(TrainingError, match="holds a run already"):
        made.save(tmp_path / "run")


def test_every_entry_that_does_not_fit_is_told_with_the_nearest(tmp_path: Path) -> None:
    state, known = small()
    state["layer1.0.conv_1.weight"] = state.pop("layer1.0.conv1.weight")
    state["fc.weight"] = state["fc.weight"][:9]
    del state["bn1.bias"]
    state["decoder"] = torch.zeros(2)
    with pytest.raises(TrainingError) as told:
        port.import_weights(state, known)
    assert "5 of its 122 entries" in told.value.message
    assert set(told.value.detail.splitlines()) == {
        "layer1.0.conv1.weight is missing; the nearest is layer1.0.conv_1.weight",
        "bn1.bias is missing",
        "layer1.0.conv_1.weight float32 (6, 6, 3, 3) has no place; the nearest is "
        "layer1.0.conv1.weight",
        "decoder float32 (2,) has no place",
        "fc.weight is (9, 12), the recipe's network has (10, 12)",
    }


class Payload:
    """What a file might run when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state, known = small()
    torch.save({"state_dict": state, "other": Payload()}, "evil.pth")
    Path("evil.pt").write_bytes(pickle.dumps(Payload()))
    for name in ("evil.pth", "evil.pt"):
        with pytest.raises(FormatError, match="without running code"):
            port.import_weights(name, known)
    assert not Path("ran").exists()


class Writes(torch.nn.Module):
    """TorchScript that writes a file where it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.x = torch.zeros(1)
        self.training = False

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.x, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.training = state[1]
        written = torch.from_file("ran", True, 8, dtype=torch.uint8)
        written.copy_(torch.ones(8, dtype=torch.uint8))
        self.x = written

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_torchscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Writes()).save("evil.pth")
    torch.jit.load("evil.pth")
    Path("ran").unlink()  # this is what it does
    with pytest.raises(FormatError, match="TorchScript, whose code would run"):
        port.import_weights("evil.pth", small()[1])
    assert not Path("ran").exists()


def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    state, known = small()
    torch.save(state, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain:
        records = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in records.items():
            bomb.writestr(name, content + b"\0" * 1_000_000)
    with pytest.raises(FormatError, match=r"bomb\.pth: compressed, which torch\.save never does"):
        port.import_weights(tmp_path / "bomb.pth", known)
    with tarfile.open(tmp_path / "pipes.pth", "w") as tar:
        for name in ("storages", "tensors", "pickle"):
            pipe = tarfile.TarInfo(name)
            pipe.type = tarfile.FIFOTYPE
            tar.addfile(pipe)
    with pytest.raises(FormatError, match=r"an archive of a torch older than 1\.6"):
        port.import_weights(tmp_path / "pipes.pth", known)


def test_files_that_hold_no_state_dict_are_refused(tmp_path: Path) -> None:
    state, known = small()
    with pytest.raises(StorageError, match="no such file"):
        port.import_weights(tmp_path / "none.pth", known)
    for held, said in (
        ([1, 2], "holds a list, no state dict"),
        ({"a": state, "b": state}, "holds a, b; which of it is the state dict is not clear"),
        ({"model": {"x": 1}}, "'model' in it is not a state dict of tensors"),
        ({}, "holds nothing"),
    ):
        torch.save(held, tmp_path / "odd.pth")
        with pytest.raises(FormatError, match=said):
            port.import_weights(tmp_path / "odd.pth", known)


def test_numbers_that_no_training_gives_or_no_float32_holds_are_refused() -> None:
    state, known = small()
    for name, tensor, said in (
        ("conv1.weight", state["conv1.weight"] * float("nan"), "NaN or infinite values"),
        ("bn1.running_var", -state["bn1.running_var"], "negative variance"),
        ("fc.bias", state["fc.bias"].double() / 3, "does not hold exactly"),
    ):
        with pytest.raises(TrainingError, match=said) as told:
            port.import_weights({**state, name: tensor}, known)
        assert said in told.value.message + told.value.detail
    half = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    made = port.import_weights(half, known)
    assert torch.equal(made.net.state_dict()["readout.synapse.bias"], half["fc.bias"].float())


PLAIN: dict[str, tuple[Any, str]] = {
    "float8": (
        lambda t: t.to(torch.float8_e4m3fn),
        r"'fc.weight' is float8_e4m3fn \(10, 12\); convert it \(tensor.float\(\)\)",
    ),
    "sparse": (
        lambda t: t.to_sparse(),
        r"'fc.weight' is sparse_coo float32 \(10, 12\); convert it \(tensor.to_dense\(\)\)",
    ),
    "compressed": (lambda t: t.to_sparse_csr(), r"is sparse_csr float32 .*tensor.to_dense\(\)"),
    "of another library": (lambda t: t.to_mkldnn(), r"is _mkldnn float32 .*tensor.to_dense\(\)"),
    "quantized": (
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        r"'fc.weight' is qint8 \(10, 12\); convert it \(tensor.dequantize\(\)\)",
    ),
    "meta": (lambda t: t.to("meta"), r"'fc.weight' is float32 on torch's meta .*has no values"),
    "nested": (
        lambda t: torch.nested.nested_tensor([t, t[:5]]),
        r"'fc.weight' is nested float32; convert it \(tensor.to_padded_tensor",
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_tensor_that_is_not_plain_is_refused_with_its_type_and_the_way_out(case: str) -> None:
    make, said = PLAIN[case]
    state, known = small()
    with pytest.raises(FormatError, match=said):
        port.import_weights({**state, "fc.weight": make(state["fc.weight"])}, known)


@pytest.mark.parametrize("name", ["theirs.safetensors", "theirs.pth"])
def test_file_with_tensors_that_are_not_plain_tells_all_of_them(name: str, tmp_path: Path) -> None:
    state, known = small()
    for key in ("conv1.weight", "fc.weight"):
        state[key] = state[key].to(torch.float8_e5m2)
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    with pytest.raises(
        FormatError, match=r"'conv1.weight' is float8_e5m2 .*2 such tensors"
    ) as told:
        port.import_weights(tmp_path / name, known)
    assert [line.split()[0] for line in told.value.detail.splitlines()] == [
        "'conv1.weight'",
        "'fc.weight'",
    ]


def test_safetensors_and_state_dicts_without_counted_batches_are_read(tmp_path: Path) -> None:
    state, known = small("plain_resnet")
    old = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    save_file(old, tmp_path / "theirs.safetensors")
    made = port.import_weights(str(tmp_path / "theirs.safetensors"), known)
    assert torch.equal(made.net.state_dict()["stem.synapse.weight"], state["conv1.weight"])


@pytest.mark.parametrize("prefix", ["_orig_mod.module.", "module._orig_mod.", "module.module."])
def test_prefixes_of_wrappers_are_removed_in_any_order(prefix: str) -> None:
    state, known = small("plain_resnet")
    made = port.import_weights({f"{prefix}{name}": t for name, t in state.items()}, known)
    assert torch.equal(made.net.state_dict()["stem.synapse.weight"], state["conv1.weight"])
    some = {f"{prefix}{name}" if "conv" in name else name: t for name, t in state.items()}
    with pytest.raises(TrainingError, match="does not fit the"):
        port.import_weights(some, known)


def test_a_folder_without_room_for_the_recipe_gets_no_checkpoint(tmp_path: Path) -> None:
    state, known = small()
    (tmp_path / "run" / "recipe.toml").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"recipe\.toml: cannot write, a folder is there"):
        port.import_weights(state, known).save(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.toml"]


def test_a_family_that_nobody_else_has_is_refused() -> None:
    state, known = small()
    danet = recipe(family="danet", depth=18, widths=list(NARROW))
    with pytest.raises(TrainingError, match="no published weights of family 'danet'"):
        port.import_weights(state, danet)
    with pytest.raises(TrainingError, match="naming is 'mlf', which has no sew_resnet"):
        port.import_weights(state, known, naming="mlf")


def test_networks_of_the_same_names_that_compute_something_else_are_refused() -> None:
    state = published.drawn(published.ms_resnet(18, NARROW, 10))
    table: dict[str, Any] = {"depth": 18, "widths": list(NARROW)}
    with pytest.raises(TrainingError, match="which is another network than the one"):
        port.import_weights(state, recipe(**table, projection="spike"))
    with pytest.raises(TrainingError, match="'max', the maximum of spikes, and no published"):
        port.import_weights(state, recipe(widths=[4, 6, 8], downsampling="max"))
    colours = {"mean": list(MEAN), "std": list(STD)}
    made = port.import_weights(state, recipe(**table, **colours, projection="composed"))
    x = pictures()
    same_logits(made, state, x, published.ms_resnet_logits(state, 18, normalized(x)))
