"""Training: what a recipe asks for is what happens, and the defaults never change."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

from neuroport.data.samples import Pictures, Split, frames_of  # noqa: E402
from neuroport.errors import BackendError, FormatError, RecipeError, TrainingError  # noqa: E402
from neuroport.quantization.scales import freeze_scales  # noqa: E402
from neuroport.recipe import Recipe, from_dict, to_toml  # noqa: E402
from neuroport.training.augmentation import (  # noqa: E402
    augmented,
    changed_views,
    draw,
    part_of,
    partners,
)
from neuroport.training.averaging import Average, accuracies  # noqa: E402
from neuroport.training.checkpoint import (  # noqa: E402
    State,
    build_network,
    load,
    read_checkpoint,
    save_checkpoint,
)
from neuroport.training.fit import evaluate, fit  # noqa: E402
from neuroport.training.optimizer import learning_rate  # noqa: E402
from neuroport.training.parallel import Group  # noqa: E402
from neuroport.training.step import Step  # noqa: E402


def recipe_of(quantized: int = 1, **training: Any) -> Recipe:
    return from_dict(
        {
            "data": {"steps": 2, "train": 20, "test": 10},
            "network": {"widths": [3, 4, 5]},
            "training": {"epochs": 2, "batch": 5, **training},
            "quantization": {"epochs": quantized},
        }
    )


@pytest.fixture(scope="module")
def data() -> Split:
    """Pictures of 12 x 12 in ten classes; each class has a bright row of its own."""
    rng = np.random.default_rng(0)

    def pictures(count: int) -> Pictures:
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 1, 12, 12)).astype(np.uint8)
        images[np.arange(count), 0, labels + 1] = 255
        return Pictures(images, labels.astype(np.int64))

    return Split(pictures(20), pictures(10))


def trained(recipe: Recipe, folder: Path, data: Split) -> dict[str, Any]:
    fit(recipe, folder, data=data)
    return read_checkpoint(folder).tensors


def assert_equal(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


# -- the defaults ------------------------------------------------------------------------------


def as_version_1(recipe: Recipe, data: Split) -> dict[str, Any]:
    """The training loop as it was before there was anything to choose, on its own."""
    net = build_network(recipe)
    epochs, batch, steps = recipe.training.epochs, recipe.training.batch, recipe.data.steps
    images, labels = data.train.views(slice(None))[0], data.train.labels
    batches = len(labels) // batch
    for epoch in range(recipe.epochs):
        if epoch == epochs:
            net.eval()
            freeze_scales(net, torch.tensor(frames_of(data.test, slice(1), steps)).float())
        if epoch in (0, epochs):
            parameters = [p for p in net.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(parameters, weight_decay=recipe.training.weight_decay)
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(labels))
        net.train()
        for index in range(batches):
            chosen = order[index * batch : (index + 1) * batch]
            padded = np.pad(images[chosen], ((0, 0), (0, 0), (1, 1), (1, 1)))
            offsets = rng.integers(0, 3, (batch, 2))
            moved = [
                p[:, y : y + 12, x : x + 12] for p, (y, x) in zip(padded, offsets, strict=True)
            ]
            first = 0 if epoch < epochs else epochs
            peak = (recipe.training if epoch < epochs else recipe.quantization).learning_rate
            total = epochs if epoch < epochs else recipe.epochs - epochs
            warmup = recipe.training.warmup if epoch < epochs else 0
            done = epoch - first + index / batches
            if done < warmup:
                rate = peak * (done + 1 / batches) / (warmup + 1 / batches)
            else:
                rate = peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (total - warmup)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            frames = np.broadcast_to(np.stack(moved), (steps, batch, 1, 12, 12))
            logits = net(torch.from_numpy(frames.astype(np.float32)))
            optimizer.zero_grad()
            F.cross_entropy(logits, torch.from_numpy(labels[chosen])).backward()
            optimizer.step()
        net.eval()
    found = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, parameter in enumerate(parameters):
        for name, tensor in optimizer.state[parameter].items():
            found[f"optimizer.{index}.{name}"] = tensor
    return found


def test_defaults_train_what_they_always_trained(data: Split, tmp_path: Path) -> None:
    recipe = recipe_of()
    assert_equal(trained(recipe, tmp_path, data), as_version_1(recipe, data))


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_kernels_lie_as_convolutions_read_them_while_real_numbers_are_trained_without_clipping(
    clip: float, data: Split, tmp_path: Path
) -> None:
    layouts: list[bool] = []

    def step(net: torch.nn.Module, *given: Any) -> Step:
        kernels = [p for p in net.parameters() if p.ndim == 4 and p.shape[1] > 1]
        turned = {p.is_contiguous(memory_format=torch.channels_last) for p in kernels[1:4]}
        layouts.extend(turned)
        return Step(net, *given)

    with patch("neuroport.training.fit.Step", step):
        net = fit(recipe_of(clip=clip), tmp_path / "run", data=data)
    assert layouts == [clip == 0, clip == 0, False]
    assert all(p.is_contiguous() for p in net.parameters())


@pytest.mark.parametrize(("half", "label"), [("train", 10), ("test", -1)])
def test_samples_of_other_classes_are_refused(
    half: str, label: int, data: Split, tmp_path: Path
) -> None:
    samples = getattr(data, half)
    labels = samples.labels.copy()
    labels[3] = label
    other = dataclasses.replace(data, **{half: Pictures(samples.images, labels)})
    with pytest.raises(
        RecipeError, match=rf"samples: labels are .*{label}\b.* 10 classes are 0 to 9"
    ):
        fit(recipe_of(), tmp_path / "run", data=other)
    none = dataclasses.replace(data, **{half: Pictures(samples.images[:0], labels[:0])})
    with pytest.raises(RecipeError, match=r"there is no (training|held-out) sample"):
        fit(recipe_of(), tmp_path / "run", data=none)


def test_a_voltage_that_no_target_has_is_refused_before_it_is_trained(
    data: Split, tmp_path: Path
) -> None:
    for decay in (1.0, 0.9999):  # rounded to 4096 of 4096
        network = {"family": "sew_resnet", "voltage_decay": decay}
        recipe = from_dict({"data": {"steps": 1}, "network": network})
        with pytest.raises(RecipeError, match=rf"voltage_decay is {decay}, .* use 0\.9998 at most"):
            fit(recipe, tmp_path / "run", data=data)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_recipe_of_an_older_neuroport_takes_the_defaults() -> None:
    values = Recipe().to_dict()
    old = {
        "training": ("epochs", "batch", "learning_rate", "weight_decay", "warmup", "shift"),
        "data": ("dataset", "steps", "train", "test", "split_seed"),
    }
    for table, names in old.items():
        values[table] = {name: values[table][name] for name in names}
    assert from_dict(values) == Recipe()


# -- what can be chosen ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "nesterov": True},
        {"optimizer": "sgd", "momentum": 0.0},
        {"schedule": "step", "decay_epochs": 1},
        {"schedule": "constant"},
        {"label_smoothing": 0.1},
        {"clip": 0.01},
        {"flip": True},
        {"rotate": 20.0},
        {"scale": 0.2},
        {"cutout": 5},
        {"mixup": 0.4},
    ],
)
def test_every_choice_changes_the_training_and_is_repeatable(
    choice: dict[str, Any], data: Split, tmp_path: Path
) -> None:
    if {"rotate", "scale"} & choice.keys():
        pytest.importorskip("torchvision")
    plain = recipe_of(**({"optimizer": "sgd", "momentum": 0.5} if "optimizer" in choice else {}))
    got = trained(recipe_of(**choice), tmp_path / "a", data)
    assert_equal(trained(recipe_of(**choice), tmp_path / "b", data), got)
    other = trained(plain, tmp_path / "c", data)
    assert not torch.equal(other["model.readout.synapse.weight"], got[
        "model.readout.synapse.weight"
    ])  # fmt: skip


def test_a_recipe_beside_a_checkpoint_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    for name, steps in (("run", 2), ("other", 3)):
        recipe = from_dict({"data": {"steps": steps}, "network": {"widths": [2, 2, 2]}})
        tensors = {f"model.{n}": t for n, t in build_network(recipe).state_dict().items()}
        save_checkpoint(tmp_path / name, State(recipe, 0, [], tensors))
        load(tmp_path / name)  # without a recipe.toml
        (tmp_path / name / "recipe.toml").write_text(to_toml(recipe))
        load(tmp_path / name)
    beside, text = tmp_path / "run" / "recipe.toml", to_toml(recipe_of())
    edited = '[data]\nsteps = 2\n[network]\nwidths = [2, 2, 2]\nshortcut = "stride"\n'
    for content, said in (
        (edited, r"\(network\.shortcut 'pool' -> 'stride'\)"),
        ((tmp_path / "other" / "recipe.toml").read_text(), r"\(data\.steps 2 -> 3\)"),
        (text, r"network\.widths \[2, 2, 2\] -> \[3, 4, 5\], training\.epochs 8 -> 2"),
    ):
        beside.write_text(content)
        for read in (load, read_checkpoint):
            with pytest.raises(TrainingError, match=said) as caught:
                read(tmp_path / "run")
            for words in (f"{beside} is not", str(tmp_path / "run" / "checkpoint.safetensors")):
                assert words in str(caught.value)
            assert f"neuroport train {beside} -o FOLDER" in str(caught.value)
    beside.write_text("steps = 2")
    with pytest.raises(RecipeError, match=r"recipe\.toml: unknown key 'steps'"):
        load(tmp_path / "run")
    beside.write_text("[training]\ncheckpoint_steps = 7\n" + edited.partition("shortcut")[0])
    load(tmp_path / "run")


def test_a_report_that_cannot_be_called_is_refused_before_any_work(
    data: Split, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="report is an int; give a function, or leave it out"):
        fit(recipe_of(), tmp_path / "run", data=data, report=3)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_run_of_before_a_key_without_effect_was_refused_loads_and_goes_on(
    data: Split, tmp_path: Path
) -> None:
    recipe = recipe_of(quantized=0)
    want = trained(recipe, tmp_path / "run", data)
    values = recipe.to_dict()
    values["training"] |= {"momentum": 0.5, "decay": 0.7}
    values["data"]["root"] = "/nowhere"
    state = read_checkpoint(tmp_path / "run")
    state.recipe = SimpleNamespace(to_dict=lambda: values)  # type: ignore[assignment]
    save_checkpoint(tmp_path / "run", state)
    content = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    assert b"/nowhere" in content
    text = to_toml(recipe).replace("[training]", "[training]\nmomentum = 0.5\ndecay = 0.7")
    (tmp_path / "run" / "recipe.toml").write_text(text)
    assert read_checkpoint(tmp_path / "run").recipe == recipe
    assert_equal(trained(recipe, tmp_path / "run", data), want)
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == content


def test_rate_warms_up_and_follows_its_schedule() -> None:
    def rates(**choice: Any) -> list[float]:
        recipe = recipe_of(learning_rate=0.4, **choice)
        recipe = dataclasses.replace(
            recipe, training=dataclasses.replace(recipe.training, epochs=4)
        )
        return [learning_rate(recipe, epoch, 0, 2) for epoch in range(4)]

    assert rates(schedule="constant", warmup=0) == [0.4] * 4
    steps = rates(schedule="step", warmup=0, decay=0.5, decay_epochs=2)
    assert steps == pytest.approx([0.4, 0.4, 0.2, 0.2])
    cosine = [0.2 * (1 + math.cos(math.pi * n / 4)) for n in range(4)]
    assert rates(schedule="cosine", warmup=0) == pytest.approx(cosine)
    wave = rates(schedule="cosine", warmup=0, cosine_epochs=2)
    assert wave == pytest.approx([0.4, 0.2, 0, 0.2])
    every = recipe_of(learning_rate=0.4, warmup=0, schedule_per="epoch")
    halves = [learning_rate(every, 0, index, 4) for index in range(4)]
    assert halves == [0.4] * 4
    assert rates(schedule="cosine", warmup=0, schedule_per="epoch") == pytest.approx(cosine)
    for schedule in ("constant", "step", "cosine"):
        warm = rates(schedule=schedule, warmup=1)
        assert warm[0] == pytest.approx(0.4 * (1 / 2) / (1 + 1 / 2))
        assert warm[1] == pytest.approx(0.4)


def test_sample_is_changed_alike_at_every_step_and_unlike_its_neighbours() -> None:
    pytest.importorskip("torchvision")
    picture = np.random.default_rng(0).integers(0, 256, (1, 1, 2, 16, 16)).astype(np.uint8)
    views = np.tile(picture, (3, 8, 1, 1, 1))
    recipe = recipe_of(shift=2, flip=True, rotate=10.0, scale=0.1).training
    found = augmented(views, recipe, np.random.default_rng(1))
    assert found.shape == views.shape
    assert found.dtype == np.uint8
    assert (found == found[:1]).all()
    assert len({found[0, n].tobytes() for n in range(8)}) == 8


def test_cutout_blanks_a_square_that_may_reach_over_the_border() -> None:
    views = np.full((2, 60, 1, 9, 12), 7, np.uint8)
    recipe = recipe_of(shift=0, cutout=4).training
    found = augmented(views, recipe, np.random.default_rng(0))
    assert (views == 7).all()
    assert (found == found[:1]).all()
    sizes = set()
    for picture in found[0, :, 0]:
        rows, columns = np.nonzero(picture == 0)
        size = (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
        assert len(rows) == size[0] * size[1]  # a rectangle
        sizes.add(size)
    assert (4, 4) in sizes
    assert max(map(max, sizes)) == 4
    assert min(map(min, sizes)) == 2  # the centre lies inside
    assert (found[0, :, 0] == 0).any(0).all()  # anywhere


def test_flip_mirrors_left_to_right_about_half_of_the_samples() -> None:
    views = np.arange(2 * 40 * 6, dtype=np.uint8).reshape(2, 40, 1, 2, 3)
    recipe = recipe_of(shift=0, flip=True).training
    found = augmented(views, recipe, np.random.default_rng(0))
    mirrored = [np.array_equal(found[:, n], views[:, n, :, :, ::-1]) for n in range(40)]
    same = [np.array_equal(found[:, n], views[:, n]) for n in range(40)]
    assert 10 < sum(mirrored) < 30
    assert sum(mirrored) + sum(same) == 40


def test_turn_of_nothing_changes_nothing() -> None:
    views = np.arange(32, dtype=np.uint8).reshape(2, 1, 1, 4, 4)
    recipe = recipe_of(shift=0).training
    assert augmented(views, recipe, np.random.default_rng(0)) is views


# -- checkpoints within an epoch ------------------------------------------------------------------


class StoppedError(Exception):
    """Raised by a report, as an interruption would be."""


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("dropout", [False, True])
def test_training_goes_on_from_the_middle_of_an_epoch(
    optimizer: str, dropout: bool, data: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = {"optimizer": optimizer, "flip": True}
    if dropout:  # a network that draws random numbers itself, in its real-valued phase
        choice |= {"quantized": 0, "epochs": 3}

        def dropping(recipe: Recipe, *_: Any) -> Any:
            net = build_network(recipe)
            net.register_forward_pre_hook(lambda m, x: F.dropout(x[0], 0.2, m.training))
            return net

        monkeypatch.setattr("neuroport.training.fit.build_network", dropping)
    recipe = recipe_of(**choice, checkpoint_steps=3)
    seen: list[tuple[int, int]] = []
    for epoch, batch in ((0, 4), (2, 4)):

        def report(told: dict[str, Any], stop: tuple[int, int] = (epoch, batch)) -> None:
            if "batch" in told:
                seen.append((told["epoch"], told["batch"]))
                if seen[-1] == stop:
                    raise StoppedError

        with pytest.raises(StoppedError):
            fit(recipe, tmp_path / "run", report=report, data=data)
        assert read_checkpoint(tmp_path / "run").within["batch"] == 3
    got = trained(recipe, tmp_path / "run", data)
    assert seen.count((0, 3)) == 1  # not done again
    assert seen.count((0, 4)) == 2
    plain = recipe_of(**choice)
    assert_equal(got, trained(plain, tmp_path / "plain", data))
    told = [
        [{k: v for k, v in m.items() if k != "seconds"} for m in read_checkpoint(folder).metrics]
        for folder in (tmp_path / "run", tmp_path / "plain")
    ]
    assert told[0] == told[1]  # gradients of batches before and after the interruption, too
    assert told[0][0]["gradients"]["batches"] == 4


def test_checkpoint_within_an_epoch_is_not_for_an_older_neuroport(tmp_path: Path) -> None:
    net = build_network(Recipe()).state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in net.items()}
    within: dict[str, Any] = {"batch": 1, "total": 0.5, "seconds": 1.0}
    within["rng"] = np.random.default_rng(0).bit_generator.state
    save_checkpoint(tmp_path, State(Recipe(), 0, within=within, tensors=tensors))
    assert b'\\"version\\": 2' in (tmp_path / "checkpoint.safetensors").read_bytes()
    assert read_checkpoint(tmp_path).within == within
    save_checkpoint(tmp_path, State(Recipe(), 0, tensors=tensors))
    assert b'\\"version\\": 1' in (tmp_path / "checkpoint.safetensors").read_bytes()
    broken = State(Recipe(), 0, within={"batch": 1}, tensors=tensors)
    save_checkpoint(tmp_path, broken)
    with pytest.raises(FormatError, match="not a neuroport checkpoint"):
        read_checkpoint(tmp_path)


# -- mixtures, averages, the best epoch -----------------------------------------------------------


def test_mixed_samples_are_the_mean_of_two_by_their_share_and_so_is_their_loss() -> None:
    recipe = recipe_of(mixup=0.4, shift=0).training
    drawn = draw(recipe, 5, np.random.default_rng(0))
    (share,) = set(drawn["mixup"].tolist())
    assert 0 < share < 1
    views = np.random.default_rng(1).integers(0, 256, (1, 5, 1, 4, 4)).astype(np.uint8)
    mixed = augmented(views, recipe, np.random.default_rng(0))
    want = np.float32(share) * views + np.float32(1 - share) * views[:, ::-1]
    assert mixed.dtype == np.uint8
    assert np.abs(mixed - want).max() <= 0.5 + 1e-4
    net = torch.nn.Linear(3, 4)
    step = Step(net, None, None, recipe_of(mixup=0.4), Group(0, 1))
    frames, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    each = F.cross_entropy(net(frames), labels, reduction="none")
    other = F.cross_entropy(net(frames), labels.flip(0), reduction="none")
    want_loss = (share * each + (1 - share) * other).mean()
    torch.testing.assert_close(step.loss(frames, labels, share), want_loss)
    assert torch.equal(step.loss(frames, labels), F.cross_entropy(net(frames), labels))


@pytest.mark.parametrize(("batch", "size"), [(5, 1), (8, 2), (12, 2), (12, 3)])
def test_processes_mix_what_one_process_mixes(batch: int, size: int) -> None:
    recipe, rng = recipe_of(mixup=0.4), np.random.default_rng(1)
    images = rng.integers(0, 256, (batch, 1, 6, 6)).astype(np.uint8)
    samples = Pictures(images, np.arange(batch))
    chosen = rng.permutation(batch)
    drawn = draw(recipe.training, batch, rng)
    whole = changed_views(samples, chosen, recipe, drawn)
    pairs = dict(zip(chosen.tolist(), partners(chosen).tolist(), strict=True))
    places = []
    for rank in range(size):
        part = Group(rank, size).part(batch, mixed=True)
        own = chosen[part]
        made = changed_views(samples, own, recipe, part_of(drawn, part))
        assert np.array_equal(made, whole[:, part])
        assert {a: pairs[a] for a in own.tolist()} == dict(
            zip(own.tolist(), partners(own).tolist(), strict=True)
        )
        places += np.arange(batch)[part].tolist()
        assert len(own) == batch // size
    assert sorted(places) == list(range(batch))
    with pytest.raises(TrainingError, match=r"6, which 2 processes .* pairs .* multiple of 4"):
        Group(0, 2).part(6, mixed=True)


def test_average_weighs_steps_as_it_says() -> None:
    net = torch.nn.BatchNorm1d(2)
    average = Average(net, 0.5)
    want = net.weight.detach().clone()
    for n in range(12):
        with torch.no_grad():
            net.weight.fill_(n)
            net.num_batches_tracked.fill_(n)
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        want = decay * want + (1 - decay) * n
    torch.testing.assert_close(average.values["weight"], want)
    assert average.values["num_batches_tracked"] == 11
    with average.shown():
        assert torch.equal(net.weight, average.values["weight"])
    assert (net.weight == 11).all()


def test_averaged_weights_are_what_a_run_gives_and_what_is_evaluated(
    data: Split, tmp_path: Path
) -> None:
    recipe = recipe_of(quantized=0, ema=0.9)
    net = fit(recipe, tmp_path / "a", data=data)
    tensors = read_checkpoint(tmp_path / "a").tensors
    plain = trained(recipe_of(quantized=0), tmp_path / "b", data)
    for name, value in net.state_dict().items():
        assert torch.equal(value, tensors[f"model.{name}"])
        assert torch.equal(tensors[f"average.{name}"], tensors[f"model.{name}"])
        assert torch.equal(tensors[f"trained.{name}"], plain[f"model.{name}"])  # untouched by it
    correct = evaluate(load(tmp_path / "a"), data.test, 2)
    assert 10 * correct == read_checkpoint(tmp_path / "a").metrics[-1]["accuracy"]


def test_the_best_epoch_of_the_phase_is_what_a_run_gives(data: Split, tmp_path: Path) -> None:
    choice = {"quantized": 0, "epochs": 5, "learning_rate": 0.02}
    epochs: list[dict[str, Any]] = []

    def report(told: dict[str, Any]) -> None:
        if "accuracy" in told:
            epochs.append(read_checkpoint(tmp_path / "last").tensors)

    fit(recipe_of(**choice), tmp_path / "last", data=data, report=report)
    net = fit(recipe_of(**choice, keep="best"), tmp_path / "best", data=data)
    state = read_checkpoint(tmp_path / "best")
    accuracies = [metrics["accuracy"] for metrics in state.metrics]
    best = accuracies.index(max(accuracies))  # of equal ones the first
    assert best < len(accuracies) - 1  # or there would be nothing to see
    for name, value in net.state_dict().items():
        assert torch.equal(value, epochs[best][f"model.{name}"]), name
        assert torch.equal(value, state.tensors[f"model.{name}"]), name
        assert torch.equal(state.tensors[f"trained.{name}"], epochs[-1][f"model.{name}"]), name
    assert 10 * evaluate(load(tmp_path / "best"), data.test, 2) == max(accuracies)


def test_accuracy_of_a_phase_is_that_of_the_network_that_it_gave() -> None:
    told = [("float", 30.0), ("float", 50.0), ("float", 40.0), ("quantized", 45.0)]
    told += [("quantized", 35.0)]
    metrics = [{"phase": phase, "accuracy": percent} for phase, percent in told]
    assert accuracies(recipe_of(), metrics) == {"float": 40.0, "quantized": 35.0}
    assert accuracies(recipe_of(keep="best"), metrics) == {"float": 50.0, "quantized": 45.0}


@pytest.mark.parametrize(
    "choice", [{"mixup": 0.4}, {"ema": 0.9}, {"keep": "best"}, {"ema": 0.9, "keep": "best"}]
)
def test_a_run_with_them_goes_on_to_the_same_bits(
    choice: dict[str, Any], data: Split, tmp_path: Path
) -> None:
    recipe = recipe_of(quantized=2, epochs=3, checkpoint_steps=3, **choice)
    want = trained(recipe_of(quantized=2, epochs=3, **choice), tmp_path / "plain", data)
    for stop in ((0, 4), (1, 4), (2, 4), (3, 1), (4, 4)):

        def report(told: dict[str, Any], stop: tuple[int, int] = stop) -> None:
            if (told["epoch"], told.get("batch")) == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            fit(recipe, tmp_path / "run", report=report, data=data)
    assert_equal(trained(recipe, tmp_path / "run", data), want)
