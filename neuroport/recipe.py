"""Recipes: what to train, as TOML; every key is known and every value is checked.

A missing key takes the default written here, so the empty file is a valid recipe: MS-ResNet of 8
layers on real digits.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from neuroport.errors import RecipeError, StorageError
from neuroport.files import read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


def _positive(value: float, name: str) -> None:
    _require(0 < value < math.inf, f"{name} must be positive, not {value}")


def _seed(value: int, name: str) -> None:
    _require(0 <= value < 1 << 63, f"{name} is {value}; use 0 to 2**63 - 1")


@dataclass(frozen=True)
class DataRecipe:
    """Dataset, number of steps T, and how many samples to use (split with its own seed)."""

    dataset: str = "mnist5k"
    steps: int = 4
    train: int = 4000
    test: int = 1000
    split_seed: int = 0

    def __post_init__(self) -> None:
        _require(self.dataset == "mnist5k", f"data.dataset is {self.dataset!r}; known: 'mnist5k'")
        _require(1 <= self.steps <= 64, f"data.steps is {self.steps}; use 1 to 64")
        _require(self.train >= 10, f"data.train is {self.train}; use at least 10 samples")
        _require(self.test >= 10, f"data.test is {self.test}; use at least 10 samples")
        _seed(self.split_seed, "data.split_seed")
        total = self.train + self.test
        _require(total <= 5000, f"data.train + data.test is {total}; the dataset has 5000 samples")


# family -> the keys of [network] that it alone, or with others, knows
FAMILIES: dict[str, tuple[str, ...]] = {
    "ms_resnet": ("depth", "shortcut", "stem_stride", "first_stride"),
    "ds_resnet": ("levels", "block", "normalize"),
    "danet": ("depth", "domain", "reach"),
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
    "connect": ("add", "and", "iand"),
    "surrogate": ("rectangular", "triangular", "sigmoid", "arctan", "slayer"),
}


@dataclass(frozen=True)
class NetworkRecipe:
    """A network of a family: 6 * blocks + 2 layers, or ``depth`` layers for ImageNet.

    ``blocks`` is their number in each of three stages; ``depth`` chooses a network of four stages,
    all of stride 2, instead. ``in_channels`` and ``classes`` are the dataset's; 0 leaves them to
    it. ``recompute`` trades time for memory in training. The keys below it belong to some families
    only (``FAMILIES``).
    """

    family: str = "ms_resnet"
    blocks: int = 1
    widths: tuple[int, ...] = (16, 32, 64)
    in_channels: int = 0
    classes: int = 0
    surrogate: str = "rectangular"
    recompute: bool = False
    depth: int = 0
    shortcut: str = "pool"
    stem_stride: int = 1
    first_stride: int = 1
    levels: int = 3
    block: str = "ds"
    normalize: bool = False
    domain: str = "membrane"
    reach: str = "stage"
    connect: str = "add"

    def __post_init__(self) -> None:
        _require(
            self.family in FAMILIES,
            f"network.family is {self.family!r}; known: {', '.join(map(repr, FAMILIES))}",
        )
        others = {key for keys in FAMILIES.values() for key in keys} - set(FAMILIES[self.family])
        self._unset(sorted(others), f"in family {self.family!r}")
        _require(self.blocks >= 1, f"network.blocks is {self.blocks}; use 1 or more")
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
        advice = "four positive widths ([64, 128, 256, 512])" if four else "three positive widths"
        _require(good, f"network.widths is {list(self.widths)}; give {advice}")
        for key in ("stem_stride", "first_stride"):
            value = getattr(self, key)
            _require(value >= 1, f"network.{key} is {value}; use 1 or more")
        for key in ("in_channels", "classes"):
            value = getattr(self, key)
            _require(value >= 0, f"network.{key} is {value}; leave it out: the dataset decides")
        _require(1 <= self.levels <= 4, f"network.levels is {self.levels}; use 1 to 4")
        for key, names in CHOICES.items():
            value = getattr(self, key)
            known = " or ".join(map(repr, names)) if len(names) == 2 else ", ".join(names)
            _require(value in names, f"network.{key} is {value!r}; use {known}")

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
    """Real-valued phase: AdamW, warm-up in epochs, cosine to zero; random shifts in pixels."""

    epochs: int = 8
    batch: int = 50
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    warmup: float = 1.0
    shift: int = 1

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, f"training.epochs is {self.epochs}; use 0 or more")
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


@dataclass(frozen=True)
class QuantizationRecipe:
    """Quantization-aware phase: the forward pass is the integer network; cosine to zero."""

    epochs: int = 2
    learning_rate: float = 0.001

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, f"quantization.epochs is {self.epochs}; use 0 or more")
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
    try:
        recipe: Recipe = _build(Recipe, values, "")
    except RecipeError as error:
        raise RecipeError(f"{source}: {error.message}") from error
    return recipe


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe: a TOML file, or the name of one that neuroport ships (``demo``)."""
    text = recipe_text(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML ({error}); mend the line it names") from error
    return from_dict(values, str(path))


def recipe_text(path: str | Path) -> str:
    """Text of a recipe file, or of a shipped recipe by name."""
    folder = resources.files("neuroport") / "recipes"
    shipped = folder / f"{path}.toml"
    if not Path(path).exists() and "/" not in str(path) and shipped.is_file():
        return shipped.read_text()
    if not Path(path).is_file():
        names = sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))
        raise StorageError(
            f"{path}: No such file; give a TOML file, or a shipped recipe: {', '.join(names)}"
        )
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not text ({error.reason}); a recipe is a TOML file") from error


def _build(cls: type[Any], values: dict[str, Any], prefix: str) -> Any:
    known = {item.name for item in fields(cls)}
    types = get_type_hints(cls)
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = (
                f"did you mean {prefix + near[0]!r}?"
                if near
                else f"known: {', '.join(sorted(known))}"
            )
            raise RecipeError(f"unknown key {prefix + key!r}; {hint}")
        built[key] = _convert(types[key], value, prefix + key)
    return cls(**built)


def _convert(wanted: Any, value: Any, name: str) -> Any:
    if hasattr(wanted, "__dataclass_fields__"):
        if not isinstance(value, dict):
            raise RecipeError(f"{name} is {value!r}; make it a table: [{name}]")
        return _build(wanted, value, f"{name}.")
    if wanted is float and type(value) is int:
        return float(value)
    if wanted in (bool, int, float, str):
        if type(value) is not wanted:
            raise RecipeError(f"{name} is {value!r}; expected {wanted.__name__}")
        return value
    if not isinstance(value, list) or not all(type(n) is int for n in value):
        raise RecipeError(f"{name} is {value!r}; expected a list of integers")
    return tuple(value)
