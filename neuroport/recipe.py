"""Recipes: what to train, as TOML; every key is known and every value is checked.

A missing key takes the default written here, so the empty file is a valid recipe: MS-ResNet of 8
layers on real digits.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from neuroport.data.known import KNOWN, Dataset
from neuroport.errors import RecipeError, StorageError
from neuroport.files import parse_toml, place, read_text

# a recipe is anybody's: it does not ask for more than a network has
MOST_BLOCKS = 200  # of a stage, as in the deepest that were published
WIDEST = 1 << 16
MOST_EPOCHS = 1_000_000
HOUR = 3_600_000_000  # microseconds


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


def _positive(value: float, name: str) -> None:
    _require(0 < value < math.inf, f"{name} must be positive, not {value}")


def _fraction(value: float, name: str) -> None:
    _require(0 <= value < 1, f"{name} is {value}; use 0 to less than 1")


def _one_of(value: str, known: tuple[str, ...], name: str) -> None:
    _require(value in known, f"{name} is {value!r}; use {', '.join(map(repr, known))}")


def _seed(value: int, name: str) -> None:
    _require(0 <= value < 1 << 63, f"{name} is {value}; use 0 to 2**63 - 1")


@dataclass(frozen=True)
class DataRecipe:
    """Dataset, number of steps T, and how many samples to use (chosen with their own seed).

    ``train`` and ``test`` may be 0, all samples, where the dataset comes with its own split.
    ``root`` is the folder that holds it; for ``saccades``, which are simulated, where they are kept
    (the user's cache folder if empty). Events are binned by ``time`` or by ``count``; ``window`` is
    a step in microseconds, 0 the recording's length / T; a frame holds ``gain`` times the count, at
    most 255. ``size`` is a frame's side (its columns where the sensor is one row; pictures held in
    memory are averaged down to a divisor of theirs) and ``classes`` the number of classes, 0 the
    dataset's own.
    """

    dataset: str = "mnist5k"
    steps: int = 4
    train: int = 4000
    test: int = 1000
    split_seed: int = 0
    root: str = ""
    binning: str = "time"
    window: int = 0
    gain: int = 1
    size: int = 0
    classes: int = 0

    def __post_init__(self) -> None:
        names = ", ".join(repr(name) for name in KNOWN)
        _require(self.dataset in KNOWN, f"data.dataset is {self.dataset!r}; known: {names}")
        known = self.known
        _require(1 <= self.steps <= 64, f"data.steps is {self.steps}; use 1 to 64")
        self._check_samples(known)
        _seed(self.split_seed, "data.split_seed")
        _one_of(self.binning, ("time", "count"), "data.binning")
        _require(
            0 <= self.window <= HOUR,
            f"data.window is {self.window}; use 0 or more microseconds, an hour at most",
        )
        _require(
            self.window == 0 or self.binning == "time",
            f"data.window is {self.window}, but samples are binned by count; leave it out",
        )
        _require(1 <= self.gain <= 255, f"data.gain is {self.gain}; use 1 to 255")
        _require(
            known.events or (self.binning, self.window, self.gain) == ("time", 0, 1),
            f"data.binning, window and gain are for events; {self.dataset} has pictures",
        )
        _require(0 <= self.size <= 1024, f"data.size is {self.size}; use 0 to 1024 pixels")
        _require(
            known.resized or self.size == 0 or known.height % self.size == 0,
            f"data.size is {self.size}; the pictures of {self.dataset} have {known.height}: use a "
            "number that divides it, so that every pixel averages as many",
        )
        _require(
            self.classes in (0, known.classes)
            or (self.dataset == "imagenet" and 1 < self.classes <= WIDEST),
            f"data.classes is {self.classes}; {self.dataset} has {known.classes}",
        )
        _require(
            self.root != "" or not known.layout,
            f"data.root is missing; name the folder that holds {known.layout} "
            f"(published at {known.published})",
        )

    def _check_samples(self, known: Dataset) -> None:
        for name, value in (("train", self.train), ("test", self.test)):
            whole = "" if known.samples else ", or 0 for all"
            _require(
                value >= 10 or (value == 0 and not known.samples),
                f"data.{name} is {value}; use at least 10 samples{whole}",
            )
        total = self.train + self.test
        _require(
            not known.samples or total <= known.samples,
            f"data.train + data.test is {total}; the dataset has {known.samples} samples",
        )

    @property
    def known(self) -> Dataset:
        """Facts of the dataset."""
        return KNOWN[self.dataset]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a frame."""
        known = self.known
        rows = self.size if self.size and known.height > 1 else known.height
        return known.channels, rows, self.size or known.width

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return self.classes or self.known.classes


# family -> the keys of [network] that it alone, or with others, knows
FAMILIES: dict[str, tuple[str, ...]] = {
    "ms_resnet": ("depth", "shortcut", "stem_stride", "first_stride"),
    "ds_resnet": ("levels", "block", "normalize"),
    "danet": ("depth", "domain", "reach", "order"),
    "plain_resnet": (),
    "tdbn_resnet": (),
    "sew_resnet": ("connect",),
}
DEPTHS = {"ms_resnet": (18, 34, 104), "danet": (18, 34, 50, 101, 152)}
CHOICES: dict[str, tuple[str, ...]] = {
    "shortcut": ("pool", "stride"),
    "block": ("ds", "vanilla"),
    "domain": ("membrane", "spike"),
    "reach": ("stage", "network"),
    "order": ("lif-conv-bn", "bn-lif-conv"),
    "connect": ("add", "and", "iand"),
    "learn": ("none", "decay", "threshold", "both"),
    "surrogate": ("rectangular", "triangular", "sigmoid", "arctan", "slayer"),
}


@dataclass(frozen=True)
class NetworkRecipe:
    """A network of a family: 6 * blocks + 2 layers, or ``depth`` layers for ImageNet.

    ``blocks`` is their number in each of three stages; ``depth`` chooses a network of four stages,
    all of stride 2, instead. ``in_channels`` and ``classes`` are the dataset's; 0 leaves them to
    it. ``recompute`` trades time for memory in training. ``learn`` makes the neurons' ``decay``,
    ``threshold`` or ``both`` parameters of the real-valued phase. The keys below belong to some
    families only (``FAMILIES``).
    """

    family: str = "ms_resnet"
    blocks: int = 1
    widths: tuple[int, ...] = (16, 32, 64)
    in_channels: int = 0
    classes: int = 0
    surrogate: str = "rectangular"
    recompute: bool = False
    learn: str = "none"
    depth: int = 0
    shortcut: str = "pool"
    stem_stride: int = 1
    first_stride: int = 1
    levels: int = 3
    block: str = "ds"
    normalize: bool = False
    domain: str = "membrane"
    reach: str = "stage"
    order: str = "lif-conv-bn"
    connect: str = "add"

    def __post_init__(self) -> None:
        _require(
            self.family in FAMILIES,
            f"network.family is {self.family!r}; known: {', '.join(map(repr, FAMILIES))}",
        )
        others = {key for keys in FAMILIES.values() for key in keys} - set(FAMILIES[self.family])
        self._unset(sorted(others), f"in family {self.family!r}")
        _require(
            1 <= self.blocks <= MOST_BLOCKS,
            f"network.blocks is {self.blocks}; use 1 or more, {MOST_BLOCKS} at most",
        )
        if self.depth and self.family in DEPTHS:
            depths = DEPTHS[self.family]
            _require(
                self.depth in depths,
                f"network.depth is {self.depth}; for ImageNet {self.family} has "
                f"{', '.join(map(str, depths))}; for 6 n + 2 layers leave it out and set blocks",
            )
            taken = ("blocks", "shortcut", "stem_stride", "first_stride")
            self._unset(taken, f"with network.depth = {self.depth}, which decides it")
        four = self.depth != 0
        good = len(self.widths) == (4 if four else 3) and min(self.widths) >= 1
        good = good and max(self.widths) <= WIDEST
        advice = "four positive widths ([64, 128, 256, 512])" if four else "three positive widths"
        advice += f", {WIDEST} at most" if max(self.widths, default=0) > WIDEST else ""
        _require(good, f"network.widths is {list(self.widths)}; give {advice}")
        for key in ("stem_stride", "first_stride"):
            value = getattr(self, key)
            _require(1 <= value <= 1024, f"network.{key} is {value}; use 1 or more, 1024 at most")
        for key in ("in_channels", "classes"):
            value = getattr(self, key)
            _require(value >= 0, f"network.{key} is {value}; leave it out: the dataset decides")
        _require(1 <= self.levels <= 4, f"network.levels is {self.levels}; use 1 to 4")
        for key, names in CHOICES.items():
            value = getattr(self, key)
            known = " or ".join(map(repr, names)) if len(names) == 2 else ", ".join(names)
            _require(value in names, f"network.{key} is {value!r}; use {known}")
        if self.domain == "spike":
            self._unset(("order",), "with network.domain = 'spike', whose norms follow synapses")
        several = self.family == "ds_resnet" and self.levels > 1
        _require(
            not several or self.learn not in ("threshold", "both"),
            f"network.learn is {self.learn!r}, but the {self.levels} levels of a neuron share a "
            "grid, on which the distances of their thresholds are exact; use 'decay' or 1 level",
        )
        _require(
            self.order == "lif-conv-bn" or self.learn not in ("threshold", "both"),
            f"network.learn is {self.learn!r}, but with network.order = {self.order!r} the norm "
            "before each neuron learns its threshold already; use 'decay' or 'none'",
        )

    @property
    def captured(self) -> bool:
        """Whether the network has an integer phase: a dendrite sums, it does not multiply."""
        return self.family != "sew_resnet" or self.connect == "add"

    @property
    def pooled(self) -> bool:
        """Whether shortcuts average over squares where the shape changes."""
        if self.family != "ms_resnet":
            return False
        return self.depth == 104 if self.depth else self.shortcut == "pool"

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the stem and of every stage."""
        stem, first = (2, 2) if self.depth else (self.stem_stride, self.first_stride)
        return stem, first, *[2] * (len(self.widths) - 1)

    def _unset(self, keys: Iterable[str], where: str) -> None:
        """Refuse a key that would have no effect, before someone relies on it."""
        defaults = {item.name: item.default for item in fields(self)}
        for key in keys:
            value = getattr(self, key)
            _require(
                value == defaults[key],
                f"network.{key} is {value!r}, which has no effect {where}; leave it out",
            )


@dataclass(frozen=True)
class TrainingRecipe:
    """Real-valued phase: optimizer, schedule of its rate, augmentation, checkpoints.

    ``optimizer`` is ``adamw`` or ``sgd`` (with ``momentum``, ``nesterov``), in both phases.
    ``schedule`` comes after a warm-up in epochs: ``cosine`` (to zero, in ``cosine_epochs`` if that
    is not 0, and up again), ``step`` (times ``decay`` after every ``decay_epochs``) or
    ``constant``. ``clip`` bounds the norm of the gradient, 0 does not. Random shifts are in pixels,
    ``rotate`` in degrees, ``scale`` as a fraction, ``flip`` left to right; ``crop`` is the
    ``middle`` of a picture file or a random part ``resized``, and ``auto_augment`` torchvision's
    AutoAugment. ``precision`` is that of the convolutions. A checkpoint is written after each
    epoch, and within one after every ``checkpoint_steps`` batches (0: not).
    """

    epochs: int = 8
    batch: int = 50
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    warmup: float = 1.0
    shift: int = 1
    optimizer: str = "adamw"
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "cosine"
    decay: float = 0.1
    decay_epochs: int = 40
    cosine_epochs: int = 0
    label_smoothing: float = 0.0
    clip: float = 0.0
    flip: bool = False
    rotate: float = 0.0
    scale: float = 0.0
    crop: str = "middle"
    auto_augment: bool = False
    precision: str = "float32"
    checkpoint_steps: int = 0

    def __post_init__(self) -> None:
        _require(
            0 <= self.epochs <= MOST_EPOCHS,
            f"training.epochs is {self.epochs}; use 0 or more, {MOST_EPOCHS} at most",
        )
        _require(self.batch >= 2, f"training.batch is {self.batch}; batch norm needs at least 2")
        _positive(self.learning_rate, "training.learning_rate")
        _require(
            0 <= self.weight_decay < math.inf,
            f"training.weight_decay is {self.weight_decay}; use 0 or more",
        )
        _require(
            0 <= self.warmup < math.inf,
            f"training.warmup is {self.warmup}; use 0 or more epochs",
        )
        _require(0 <= self.shift <= 8, f"training.shift is {self.shift}; use 0 to 8 pixels")
        _one_of(self.optimizer, ("adamw", "sgd"), "training.optimizer")
        _fraction(self.momentum, "training.momentum")
        _require(
            self.momentum > 0 or not self.nesterov,
            "training.nesterov is true, but training.momentum is 0; give it a momentum",
        )
        _one_of(self.schedule, ("cosine", "step", "constant"), "training.schedule")
        _require(0 < self.decay <= 1, f"training.decay is {self.decay}; use more than 0, up to 1")
        _require(
            self.decay_epochs >= 1, f"training.decay_epochs is {self.decay_epochs}; use 1 or more"
        )
        _require(
            self.cosine_epochs == 0 or self.cosine_epochs > self.warmup,
            f"training.cosine_epochs is {self.cosine_epochs}; use more than the warm-up, or 0 for "
            "all epochs",
        )
        _require(
            self.cosine_epochs == 0 or self.schedule == "cosine",
            f"training.cosine_epochs is {self.cosine_epochs}, which has no effect on schedule "
            f"{self.schedule!r}; leave it out",
        )
        _fraction(self.label_smoothing, "training.label_smoothing")
        _require(0 <= self.clip < math.inf, f"training.clip is {self.clip}; use 0 or more")
        _require(0 <= self.rotate <= 180, f"training.rotate is {self.rotate}; use 0 to 180 degrees")
        _fraction(self.scale, "training.scale")
        _one_of(self.crop, ("middle", "resized"), "training.crop")
        _one_of(self.precision, ("float32", "bfloat16"), "training.precision")
        _require(
            self.checkpoint_steps >= 0,
            f"training.checkpoint_steps is {self.checkpoint_steps}; use 0 or more batches",
        )


@dataclass(frozen=True)
class QuantizationRecipe:
    """Quantization-aware phase: the forward pass is the integer network; cosine to zero.

    Optimizer, batch, augmentation and the like are those of ``[training]``.
    """

    epochs: int = 2
    learning_rate: float = 0.001

    def __post_init__(self) -> None:
        _require(
            0 <= self.epochs <= MOST_EPOCHS,
            f"quantization.epochs is {self.epochs}; use 0 or more, {MOST_EPOCHS} at most",
        )
        _positive(self.learning_rate, "quantization.learning_rate")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run produces."""

    name: str = "ms_resnet8_mnist"
    seed: int = 0
    data: DataRecipe = field(default_factory=DataRecipe)
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    quantization: QuantizationRecipe = field(default_factory=QuantizationRecipe)

    def __post_init__(self) -> None:
        _require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name) is not None,
            f"name is {self.name!r}; it names files: use letters, digits, '.', '_' and '-'",
        )
        _seed(self.seed, "seed")
        _require(self.epochs >= 1, "training.epochs + quantization.epochs is 0; use 1 or more")
        _require(
            self.quantization.epochs == 0 or self.network.captured,
            f"quantization.epochs is {self.quantization.epochs}, but network.connect = "
            f"{self.network.connect!r} multiplies spikes, which no integer network does: set "
            'quantization.epochs = 0 to train real numbers alone, or network.connect = "add"',
        )
        dataset = self.data.dataset
        _require(
            self.training.crop == "middle" or dataset == "imagenet",
            f"training.crop is {self.training.crop!r}, which is for the picture files of imagenet; "
            f"{dataset} has none: leave it out (training.shift moves pictures)",
        )
        _require(
            not self.training.auto_augment or dataset in ("imagenet", "cifar10", "cifar100"),
            f"training.auto_augment is for colour pictures (imagenet, cifar10, cifar100), "
            f"not for {dataset}; leave it out",
        )
        self._check_pooling()

    def _check_pooling(self) -> None:
        """Refuse sides that do not divide where a pooled shortcut meets its branch.

        A strided convolution leaves ``ceil(side / stride)``, average pooling ``floor``.
        """
        if not self.network.pooled:
            return
        stem, *stages = strides = self.network.strides
        sides = tuple(-(-side // stem) for side in self.data.shape[1:])
        for number, stride in enumerate(stages, 1):
            for side in sides:
                _require(
                    side % stride == 0,
                    f"frames of {' x '.join(map(str, self.data.shape[1:]))} reach stage {number} "
                    f"with a side of {side}, which its average-pooled shortcut cannot divide by "
                    f"{stride}: use sides that are multiples of {math.prod(strides)}"
                    + (" (data.size)" if self.data.known.resized else "")
                    + ("" if self.network.depth else ', or network.shortcut = "stride"'),
                )
            sides = tuple(side // stride for side in sides)

    @property
    def epochs(self) -> int:
        """Epochs of both phases."""
        return self.training.epochs + self.quantization.epochs

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, as :func:`from_dict` takes it."""
        found = asdict(self)
        found["network"]["widths"] = list(self.network.widths)
        return found


def from_dict(values: dict[str, Any], source: str = "recipe") -> Recipe:
    """A recipe from nested dictionaries.

    Raises:
        RecipeError: unknown key (names the nearest), wrong type, or a value out of range.
    """
    if not isinstance(values, dict):
        raise RecipeError(f"{source}: {values!r:.200} is no table of keys; see docs/recipes.md")
    try:
        recipe: Recipe = _build(Recipe, values, "")
    except RecipeError as error:
        raise RecipeError(f"{source}: {error.message}") from error
    return recipe


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe: a TOML file, or the name of one that neuroport ships (``demo``)."""
    return from_dict(parse_toml(recipe_text(path), str(path), RecipeError), str(path))


def recipe_text(path: str | Path) -> str:
    """Text of a recipe file, or of a shipped recipe by name."""
    folder = resources.files("neuroport") / "recipes"
    shipped = folder / f"{path}.toml"
    if not os.path.exists(place(path)) and "/" not in str(path) and shipped.is_file():
        return shipped.read_text()
    if not os.path.exists(path):
        names = sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))
        raise StorageError(
            f"{path}: No such file; give a TOML file, or a shipped recipe: {', '.join(names)}"
        )
    return read_text(path, RecipeError, "a recipe")


def _build(cls: type[Any], values: dict[str, Any], prefix: str) -> Any:
    known = {item.name for item in fields(cls)}
    types = get_type_hints(cls)
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key)[:100], known, 1)
            hint = (
                f"did you mean {prefix + near[0]!r}?"
                if near
                else f"known: {', '.join(sorted(known))}"
            )
            raise RecipeError(f"unknown key {f'{prefix}{key}'!r}; {hint}")
        built[key] = _convert(types[key], value, prefix + key)
    return cls(**built)


def _convert(wanted: Any, value: Any, name: str) -> Any:
    if hasattr(wanted, "__dataclass_fields__"):
        if not isinstance(value, dict):
            raise RecipeError(f"{name} is {value!r}; make it a table: [{name}]")
        return _build(wanted, value, f"{name}.")
    if wanted is float and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if wanted in (bool, int, float, str):
        if type(value) is not wanted:
            raise RecipeError(f"{name} is {value!r}; expected {wanted.__name__}")
        return value
    if not isinstance(value, list) or not all(type(n) is int for n in value):
        raise RecipeError(f"{name} is {value!r}; expected a list of integers")
    return tuple(value)
