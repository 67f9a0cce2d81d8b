"""What is read, and trained, is the same whoever reads it; what cannot be read is named."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from PIL import Image  # noqa: E402

from neuroport.data.events import EVENT, Binning, Events, Recordings  # noqa: E402
from neuroport.data.loading import load_data  # noqa: E402
from neuroport.data.samples import Frames, Pictures, Split  # noqa: E402
from neuroport.errors import FormatError, NeuroportError, RecipeError, TrainingError  # noqa: E402
from neuroport.recipe import Recipe, from_dict  # noqa: E402
from neuroport.training.augmentation import draw, part_of, training_views  # noqa: E402
from neuroport.training.checkpoint import build_network, read_checkpoint  # noqa: E402
from neuroport.training.fit import evaluate, fit  # noqa: E402
from neuroport.training.loading import Job, Reading, workers_for  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of six pictures of several sizes, in JPEG."""
    rng = np.random.default_rng(0)
    for half in ("train", "val"):
        for name in ("n01", "n02"):
            folder = tmp_path / "pictures" / half / name
            folder.mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 256, (6 + number, 9, 3)).astype(np.uint8)
                image = Image.fromarray(pixels).resize((50 + 9 * number, 44))
                image.save(folder / f"{number}.JPEG")
    return tmp_path / "pictures"


def recipe_of(root: Path, **training: Any) -> Recipe:
    return from_dict(
        {
            "data": {
                "dataset": "imagenet", "root": str(root), "size": 16, "classes": 2, "steps": 1,
                "train": 0, "test": 0,
            },
            "network": {"widths": [2, 2, 2]},
            "training": {
                "epochs": 1, "batch": 4, "shift": 1, "crop": "resized", "auto_augment": True,
                "flip": True, "rotate": 5.0, **training,
            },
            "quantization": {"epochs": 1},
        }
    )  # fmt: skip


class StoppedError(Exception):
    """Raised by a report, as an interruption would be."""


def tensors(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder).tensors


@pytest.mark.parametrize("workers", [1, 2])
def test_training_that_goes_on_has_equal_bits_with_any_number_of_readers(
    workers: int, root: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(root, checkpoint_steps=1)
    fit(recipe, tmp_path / "whole", workers=0)

    def report(told: dict[str, Any]) -> None:
        if (told["epoch"], told.get("batch")) == (0, 3):
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(recipe, tmp_path / "parts", workers=workers, report=report)
    fit(recipe, tmp_path / "parts", workers=workers)
    want, got = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert want.keys() == got.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in want.items())


def test_part_of_a_batch_is_read_and_changed_as_in_the_whole(root: Path) -> None:
    recipe = recipe_of(root)
    samples, chosen = load_data(recipe.data).train, np.array([7, 0, 3, 3, 11, 5])
    whole = training_views(samples, chosen, recipe, np.random.default_rng(3))
    drawn = draw(recipe.training, len(chosen), np.random.default_rng(3))
    jobs = [
        Job(chosen[part], part_of(drawn, part)) for part in (slice(0, 2), slice(2, 3), slice(3, 6))
    ]
    made = list(Reading(CPU).batches(samples, recipe, jobs))
    assert np.array_equal(np.concatenate([m.views.numpy() for m in made], axis=1), whole)
    assert torch.cat([m.labels for m in made]).tolist() == samples.labels[chosen].tolist()


@dataclass(frozen=True)
class Fatal:
    """Samples whose third is the end of who reads it."""

    labels: npt.NDArray[np.int64]
    parent: int

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        numbers = np.arange(len(self.labels))[chosen]
        if 2 in numbers and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros((1, len(numbers), 1, 12, 12), np.uint8)


def test_reader_that_dies_is_one_error(tmp_path: Path) -> None:
    samples = Fatal(np.arange(20, dtype=np.int64) % 10, os.getpid())
    recipe = from_dict(
        {"data": {"steps": 1}, "network": {"widths": [2, 2, 2]}, "training": {"batch": 5}}
    )
    with pytest.raises(TrainingError, match=r"processes that read samples has died.*--workers"):
        fit(recipe, tmp_path, data=Split(samples, samples), workers=1, device="cpu")


@pytest.fixture
def damaged(root: Path) -> Iterator[Path]:
    """Half of a picture, which is one of those to train on and one to test with."""
    for half in ("train", "val"):
        path = root / half / "n02" / "3.JPEG"
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_truncated_picture_is_named(workers: int, damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"train/n02/3.JPEG: not a picture.*truncated") as caught:
        fit(recipe_of(damaged), tmp_path / "run", workers=workers)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_truncated_picture_is_skipped_where_that_is_asked_for(
    workers: int, damaged: Path, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match=r"n02/3.JPEG.*truncated") as told:
        fit(recipe_of(damaged), tmp_path / "run", workers=workers, damaged="skip")
    about = [str(w.message) for w in told if "3.JPEG" in str(w.message)]  # others warn of forks
    said = {message.rpartition("; ")[2] for message in about}
    assert said == {"the next of its class was taken", "left out"}
    for metrics in read_checkpoint(tmp_path / "run").metrics:
        assert metrics["samples"] == 11  # of 12 to test with
        assert metrics["damaged"] == 2


def test_sample_taken_instead_is_the_next_of_its_class(damaged: Path) -> None:
    recipe = recipe_of(damaged)
    samples = load_data(recipe.data).train
    paths = [samples.whole.paths[n] for n in samples.numbers]  # type: ignore[attr-defined]
    at = next(n for n, path in enumerate(paths) if path.match("n02/3.JPEG"))
    alike = [n for n, path in enumerate(paths) if path.parent.name == "n02"]
    other = next(n for n, path in enumerate(paths) if path.parent.name == "n01")
    following = alike[(alike.index(at) + 1) % len(alike)]
    (made,) = Reading(CPU, damaged="skip").batches(samples, recipe, [Job(np.array([other, at]))])
    assert np.array_equal(made.views.numpy(), samples.views(np.array([other, following])))
    assert list(made.damaged) == [1]
    for path in paths:
        if path.parent.name == "n02":
            path.write_bytes(b"")
    with pytest.raises(FormatError, match=f"no sample of class {samples.labels[at]} can be read"):
        list(Reading(CPU, damaged="skip").batches(samples, recipe, [Job(np.array([at]))]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, "workers is -1; use 0 to 1024"),
        ({"workers": True}, "workers is True"),
        ({"damaged": "ignore"}, "damaged is 'ignore'; use 'stop' or 'skip'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_option_that_is_none_is_refused(
    options: dict[str, Any], message: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(NeuroportError, match=message):
        fit(recipe_of(root), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_readers_are_taken_where_they_pay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = load_data(recipe_of(root).data).train
    held = Pictures(np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int64))
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert workers_for(3, held, CPU) == 3
    assert workers_for(None, files, CPU) == 0
    assert workers_for(None, held, gpu) == 0
    assert workers_for(None, files, gpu) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert workers_for(None, files, gpu) == 3


def test_recordings_are_binned_once_whoever_reads_them(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def read(number: int) -> Events:
        with log.open("a") as file:
            file.write(f"{number}\n")
        events = np.zeros(5, EVENT)
        events["x"] = number % 8
        events["t"] = np.arange(5)
        return events

    labels = np.arange(20, dtype=np.int64) % 10
    samples = Recordings(read, labels, Binning(2, "time", 0, (8, 8), (8, 8)))
    recipe = from_dict({})
    jobs = [Job(np.arange(at, at + 5)) for at in range(0, 20, 5)]
    found = []
    for _ in range(2):
        made = list(Reading(CPU, workers=2).batches(samples, recipe, jobs))
        found.append(np.concatenate([m.views.numpy() for m in made], axis=1))
    assert np.array_equal(*found)
    assert np.array_equal(samples.views(slice(None)), found[0])
    assert sorted(map(int, log.read_text().split())) == list(range(20))


@pytest.mark.parametrize(
    ("images", "labels", "why"),
    [
        (np.ones((20, 1, 8, 8)) / 2, np.arange(20) % 10, r"samples are float64 .*np.uint8"),
        (np.ones((20, 1, 8, 8), np.int64), np.arange(20) % 10, r"samples are int64 .*np.uint8"),
        (np.ones((20, 1, 8, 8), np.uint8), np.arange(20), "training samples: labels are 0 "),
    ],
)
def test_samples_that_no_network_of_integers_reads_are_not_trained_on(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], why: str, tmp_path: Path
) -> None:
    network = {"widths": [2, 2, 2], "shortcut": "stride"}
    recipe = from_dict({"data": {"steps": 1}, "network": network, "training": {"batch": 5}})
    pictures = Pictures(images, labels)
    with pytest.raises(RecipeError, match=why):
        fit(recipe, tmp_path, data=Split(pictures, pictures), device="cpu")


def test_labels_of_any_integers_are_classes() -> None:
    samples = Pictures(np.zeros((3, 1, 4, 4), np.uint8), np.array([2, 0, 1], np.uint8))
    (made,) = Reading(CPU).batches(samples, from_dict({}), [Job(np.arange(3))])
    assert (made.labels.dtype, made.labels.tolist()) == (torch.int64, [2, 0, 1])


@dataclass(frozen=True)
class Film:
    """Samples of some steps, channels and values."""

    steps: int
    channels: int = 1
    value: int = 0
    labels: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.arange(20, dtype=np.int64) % 10
    )

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        count = len(self.labels[chosen])
        return np.full((self.steps, count, self.channels, 12, 12), self.value, np.uint8)


@pytest.mark.parametrize("half", ["train", "test"])
@pytest.mark.parametrize(
    ("film", "why"),
    [
        (Film(3), r"have 3 steps, and 2 are asked for \(data.steps\)"),
        (Film(2, 3), r"have 3 channels, \(2, \d+, 3, 12, 12\), and those of .*mnist5k, have 1"),
        (Film(2, value=16), "samples reach 16, and pixels of 4 bits are 0 to 15"),
        (np.zeros((20, 1, 12, 12), np.uint8), r"samples are ndarray; give a Split of Pictures"),
        (None, r"data is Split, whose .* samples are NoneType; give a Split"),
    ],
)
def test_samples_of_another_recipe_are_not_trained_on(
    film: Any, why: str, half: str, tmp_path: Path
) -> None:
    recipe = from_dict(
        {
            "data": {"steps": 2, "bits": 4},
            "network": {"widths": [2, 2, 2]},
            "training": {"batch": 5, "epochs": 1},
            "quantization": {"epochs": 0},
        }
    )
    data = replace(Split(Film(2, value=15), Film(1, value=15)), **{half: film})
    with pytest.raises(RecipeError, match=why):
        fit(recipe, tmp_path, data=data, device="cpu")
    assert not list(tmp_path.iterdir())


def test_pictures_without_a_label_each_are_refused() -> None:
    with pytest.raises(RecipeError, match="20 pictures have 19 labels; give a label for each"):
        Pictures(np.zeros((20, 1, 4, 4), np.uint8), np.zeros(19, np.int64))


def test_samples_of_other_steps_are_not_evaluated() -> None:
    net = build_network(from_dict({"network": {"widths": [2, 2, 2]}}))
    with pytest.raises(RecipeError, match="have 3 steps, and 4 are asked for"):
        evaluate(net, Film(3), 4)
    assert 0 <= evaluate(net, Film(4), 4) <= 20
