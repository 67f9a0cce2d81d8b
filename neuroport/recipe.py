"""Recipes: TOML files that describe a training; unknown keys are refused, values are checked.

A missing key has the default of its table, so the empty file is a valid recipe: MS-ResNet with 8
layers on real digits.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from neuroport.checks import fraction, one_of, positive, require, seed
from neuroport.data.recipe import DataRecipe as DataRecipe
from neuroport.errors import RecipeError, StorageError
from neuroport.files import parse_toml, place, read_text
from neuroport.nets.recipe import GRAPH
from neuroport.nets.recipe import NetworkRecipe as NetworkRecipe
from neuroport.nets.widths import WIDTHS

MOST_EPOCHS = 1_000_000
# key of [training] -> the other key, and its value, with which alone it has an effect
ONLY_WITH = {
    "momentum": ("optimizer", "sgd"),
    "nesterov": ("optimizer", "sgd"),
    "decay": ("schedule", "step"),
    "decay_epochs": ("schedule", "step"),
    "cosine_epochs": ("schedule", "cosine"),
    "schedule_per": ("schedule", "cosine"),
}
# keys of [training] for the real-valued phase alone, which a graph does not have
REAL_PHASE = (
    *("learning_rate", "warmup", "schedule", "decay", "decay_epochs", "cosine_epochs"),
    *("schedule_per", "precision", "ema"),
)
IN_PACKAGES = ("mnist5k", "digit_pairs")  # datasets that are read from no folder


@dataclass(frozen=True)
class TrainingRecipe:
    """Real-valued phase: optimizer, learning rate, augmentation, checkpoints.

    * ``optimizer``: ``adamw`` or ``sgd`` (with ``momentum``, ``nesterov``), in both phases.
    * ``schedule``, after ``warmup`` epochs: ``cosine`` (to zero within ``cosine_epochs``, if that
      is not 0, then up again), ``step`` (times ``decay`` after every ``decay_epochs``) or
      ``constant``. The rate changes after every ``schedule_per``: a ``batch`` or an ``epoch``.
    * ``clip``: largest norm of the gradient; 0 for no limit.
    * ``shift``: random shifts in pixels (zeros move in, as in torchvision's padded random crop);
      ``rotate`` in degrees, ``scale`` as a fraction, ``flip`` left to right.
    * ``cutout``: side of a square that is blanked anywhere in a sample; 0 for none.
    * ``crop``: the ``middle`` of a picture file, or a random part that is ``resized``.
      ``auto_augment`` applies torchvision's AutoAugment.
    * ``precision``: type of the convolutions.
    * ``checkpoint_steps``: also write a checkpoint after this number of batches; 0: only after
      each epoch.
    * ``mixup``: every picture of a batch, and its label, is mixed with another by a share of the
      distribution Beta(mixup, mixup); 0: not. Pixels stay whole numbers.
    * ``ema``: decay of an average of the weights over the steps of this phase, which is evaluated
      and with which the next phase begins; 0: the last weights.
    * ``keep``: the ``last`` epoch of a phase, or the one of the ``best`` accuracy on the test
      samples, which then say less.
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
    schedule_per: str = "batch"
    label_smoothing: float = 0.0
    clip: float = 0.0
    flip: bool = False
    rotate: float = 0.0
    scale: float = 0.0
    cutout: int = 0
    crop: str = "middle"
    auto_augment: bool = False
    precision: str = "float32"
    checkpoint_steps: int = 0
    mixup: float = 0.0
    ema: float = 0.0
    keep: str = "last"

    def __post_init__(self) -> None:
        require(
            0 <= self.epochs <= MOST_EPOCHS,
            f"training.epochs is {self.epochs}; use 0 or more, {MOST_EPOCHS} at most",
        )
        require(self.batch >= 2, f"training.batch is {self.batch}; batch norm needs at least 2")
        positive(self.learning_rate, "training.learning_rate")
        require(
            0 <= self.weight_decay < math.inf,
            f"training.weight_decay is {self.weight_decay}; use 0 or more",
        )
        require(
            0 <= self.warmup < math.inf,
            f"training.warmup is {self.warmup}; use 0 or more epochs",
        )
        require(0 <= self.shift <= 8, f"training.shift is {self.shift}; use 0 to 8 pixels")
        one_of(self.optimizer, ("adamw", "sgd"), "training.optimizer")
        fraction(self.momentum, "training.momentum")
        require(
            self.momentum > 0 or not self.nesterov,
            "training.nesterov is true, but training.momentum is 0; give it a momentum",
        )
        one_of(self.schedule, ("cosine", "step", "constant"), "training.schedule")
        one_of(self.schedule_per, ("batch", "epoch"), "training.schedule_per")
        require(0 < self.decay <= 1, f"training.decay is {self.decay}; use more than 0, up to 1")
        require(
            self.decay_epochs >= 1, f"training.decay_epochs is {self.decay_epochs}; use 1 or more"
        )
        require(
            self.cosine_epochs == 0 or self.cosine_epochs > self.warmup,
            f"training.cosine_epochs is {self.cosine_epochs}; use more than the warm-up, or 0 for "
            "all epochs",
        )
        fraction(self.label_smoothing, "training.label_smoothing")
        require(0 <= self.clip < math.inf, f"training.clip is {self.clip}; use 0 or more")
        require(0 <= self.rotate <= 180, f"training.rotate is {self.rotate}; use 0 to 180 degrees")
        fraction(self.scale, "training.scale")
        require(0 <= self.cutout <= 1024, f"training.cutout is {self.cutout}; use 0 to 1024 pixels")
        one_of(self.crop, ("middle", "resized"), "training.crop")
        one_of(self.precision, ("float32", "bfloat16", "float16"), "training.precision")
        require(
            self.checkpoint_steps >= 0,
            f"training.checkpoint_steps is {self.checkpoint_steps}; use 0 or more batches",
        )
        require(
            0 <= self.mixup < math.inf,
            f"training.mixup is {self.mixup}; use 0 (none) or more, such as 0.2",
        )
        fraction(self.ema, "training.ema")
        one_of(self.keep, ("last", "best"), "training.keep")


@dataclass(frozen=True)
class QuantizationRecipe:
    """Quantization-aware phase: the forward pass is the integer network; cosine to zero.

    Optimizer, batch, augmentation and so on are those of ``[training]``. ``widths`` selects the
    ranges from which the grid is chosen: ``proven`` for every input, or ``checked``, the ranges on
    some training samples, which engines then check during a run. ``equalize`` and ``correct_bias``
    are the options of :func:`neuroport.quantize`, at the beginning of the phase.
    """

    epochs: int = 2
    learning_rate: float = 0.001
    widths: str = "proven"
    equalize: bool = False
    correct_bias: bool = False

    def __post_init__(self) -> None:
        require(
            0 <= self.epochs <= MOST_EPOCHS,
            f"quantization.epochs is {self.epochs}; use 0 or more, {MOST_EPOCHS} at most",
        )
        positive(self.learning_rate, "quantization.learning_rate")
        one_of(self.widths, WIDTHS, "quantization.widths")


@dataclass(frozen=True)
class Recipe:
    """All settings that determine the result of a training run."""

    name: str = "ms_resnet8_mnist"
    seed: int = 0
    data: DataRecipe = field(default_factory=DataRecipe)
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    quantization: QuantizationRecipe = field(default_factory=QuantizationRecipe)

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name) is not None,
            f"name is {self.name!r}; it names files: use letters, digits, '.', '_' and '-'",
        )
        seed(self.seed, "seed")
        require(self.epochs >= 1, "training.epochs + quantization.epochs is 0; use 1 or more")
        require(
            self.training.epochs == 0 or self.network.family != GRAPH,
            f"training.epochs is {self.training.epochs}, but a graph has no real-valued phase; set "
            "training.epochs = 0: quantization.epochs train its integers",
        )
        for (table, key), why in _idle(self.to_dict()).items():
            value = getattr(getattr(self, table), key)
            raise RecipeError(
                f"{table}.{key} is {value!r}, which has no effect {why}; leave it out"
            )
        dataset = self.data.dataset
        require(
            self.training.crop == "middle" or self.data.known.files,
            f"training.crop is {self.training.crop!r}, which is for the picture files of imagenet; "
            f"{dataset} has none: leave it out (training.shift moves pictures)",
        )
        require(
            not self.training.auto_augment or self.data.bits == 8,
            f"training.auto_augment takes pixels of 8 bits, and data.bits is {self.data.bits}; "
            "leave one of them out",
        )
        require(
            not self.training.mixup or self.data.bits == 8,
            f"training.mixup mixes pixels of 8 bits, and data.bits is {self.data.bits}; leave one "
            "of them out",
        )
        require(
            not self.training.auto_augment or self.data.known.policy != "",
            f"training.auto_augment is for colour pictures (imagenet, cifar10, cifar100), "
            f"not for {dataset}; leave it out",
        )
        self._check_pooling()

    def _check_pooling(self) -> None:
        """Refuse sizes at which a pooled shortcut and its branch differ.

        A strided convolution leaves ``ceil(side / stride)``, average pooling ``floor``.
        """
        if not self.network.pooled:
            return
        own = self.data.train_size
        for size in (self.data.shape[1:], *([(own, own)] if own else [])):
            self._check_sides(size)

    def _check_sides(self, size: tuple[int, ...]) -> None:
        stem, *stages = strides = self.network.strides
        sides = tuple(-(-side // stem) for side in size)
        for number, stride in enumerate(stages, 1):
            for side in sides:
                require(
                    side % stride == 0,
                    f"frames of {' x '.join(map(str, size))} reach stage {number} "
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
        """Return nested dictionaries, as :func:`from_dict` reads them."""
        return {
            key: {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}
            if isinstance(value, dict)
            else value
            for key, value in asdict(self).items()
        }


def changes_between(before: Recipe, after: Recipe) -> str:
    """Name the keys in which two recipes differ; empty if both give the same training.

    ``training.checkpoint_steps`` changes no training.
    """
    steps = before.training.checkpoint_steps
    after = replace(after, training=replace(after.training, checkpoint_steps=steps))
    old, new = _flat(before.to_dict()), _flat(after.to_dict())
    return ", ".join(f"{key} {old[key]!r} -> {new[key]!r}" for key in new if old[key] != new[key])


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


TABLES: dict[str, Any] = {
    "data": DataRecipe,
    "network": NetworkRecipe,
    "training": TrainingRecipe,
    "quantization": QuantizationRecipe,
}


def _idle(values: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Return the keys that are given but have no effect in this recipe: (table, key) -> why.

    A key with its default counts as not given. ``values`` need not be a valid recipe.
    """

    def told(table: str, key: str) -> Any:
        default, has = getattr(TABLES[table], key), values.get(table)
        return has.get(key, default) if isinstance(has, dict) else default

    why: dict[tuple[str, str], str] = {}
    for key, (other, wanted) in ONLY_WITH.items():
        if told("training", other) != wanted:
            why["training", key] = f"on {other} {told('training', other)!r}"
    if told("network", "family") == GRAPH:
        for key in ("widths", "equalize", "correct_bias"):
            why["quantization", key] = "on a graph, whose grid is given"
        for key in REAL_PHASE:
            why["training", key] = (
                "on a graph, which has no real-valued phase (quantization.learning_rate is the "
                "rate of its integers)"
            )
    if (dataset := told("data", "dataset")) in IN_PACKAGES:
        why["data", "root"] = f"on {dataset}, which is read from no folder"
    return {at: text for at, text in why.items() if told(*at) != getattr(TABLES[at[0]], at[1])}


def _without_idle(values: dict[str, Any]) -> dict[str, Any]:
    idle = _idle(values)
    return {
        name: {key: value for key, value in table.items() if (name, key) not in idle}
        if isinstance(table, dict)
        else table
        for name, table in values.items()
    }


def from_dict(values: dict[str, Any], source: str = "recipe", *, earlier: bool = False) -> Recipe:
    """Build a recipe from nested dictionaries.

    Args:
        source: for messages.
        earlier: of a run that may be of an earlier version: keys that are refused because they
            have no effect, and had none, count as not given.

    Raises:
        RecipeError: a key is unknown (the error names the nearest), a type is wrong, or a value is
            out of range.
    """
    if not isinstance(values, dict):
        raise RecipeError(f"{source}: {values!r:.200} is not a table of keys; see docs/recipes.md")
    try:
        recipe: Recipe = _build(Recipe, _without_idle(values) if earlier else values, "")
    except RecipeError as error:
        raise RecipeError(f"{source}: {error.message}") from error
    return recipe


def to_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML, without values that equal the default."""
    values, default = recipe.to_dict(), Recipe().to_dict()
    lines = [f"{key} = {_toml(values[key])}" for key in ("name", "seed")]
    for table, keys in values.items():
        if isinstance(keys, dict):
            lines += ["", f"[{table}]"]
            lines += [
                f"{key} = {_toml(value)}"
                for key, value in keys.items()
                if value != default[table][key]
            ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """TOML of a value: JSON, but without pairs of \\u for a character, and without a bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def load_recipe(path: str | Path, *, earlier: bool = False) -> Recipe:
    """Read a recipe: a TOML file, or the name of a shipped recipe (``demo``).

    Args:
        earlier: see :func:`from_dict`.
    """
    return parsed_recipe(recipe_text(path), path, earlier=earlier)


def parsed_recipe(text: str, path: str | Path, *, earlier: bool = False) -> Recipe:
    """Return the recipe in the text of a file; ``path`` is for messages."""
    return from_dict(parse_toml(text, str(path), RecipeError), str(path), earlier=earlier)


def shipped() -> dict[str, Recipe]:
    """Return the shipped recipes, by name."""
    return {name: load_recipe(name) for name in _shipped_names()}


def _shipped_names() -> list[str]:
    folder = resources.files("neuroport") / "recipes"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def changed(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """Return a recipe with changed values, each given as ``table.key=value`` in TOML.

    Raises:
        RecipeError: a key does not exist, or a value has the wrong type.
    """
    values = recipe.to_dict()
    for change in changes:
        key, equals, text = change.partition("=")
        table, dot, name = key.strip().partition(".")
        if not equals or (dot and not isinstance(values.get(table), dict)):
            raise RecipeError(f"{change!r} changes no key; tell it as network.fires='at'")
        lines = parse_toml(f"value = {text}", change, RecipeError)
        if list(lines) != ["value"]:
            raise RecipeError(f"{change!r} holds more than one value; give each a --set of its own")
        told = lines["value"]
        if dot:
            values[table][name] = told
        else:
            values[table] = told
    return from_dict(values, recipe.name)


def recipe_text(path: str | Path) -> str:
    """Return the text of a recipe file, or of a shipped recipe by name."""
    folder = resources.files("neuroport") / "recipes"
    shipped = folder / f"{path}.toml"
    if not os.path.exists(place(path)) and "/" not in str(path) and shipped.is_file():
        return shipped.read_text()
    if not os.path.exists(path):
        names = ", ".join(_shipped_names())
        raise StorageError(f"{path}: No such file; give a TOML file, or a shipped recipe: {names}")
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
    either = get_origin(wanted) is not tuple  # an integer, or a list of them
    if either and type(value) is int:
        return value
    real = not either and get_args(wanted)[0] is float
    numbers = (int, float) if real else (int,)
    if not isinstance(value, list) or not all(_is_number(n, numbers) for n in value):
        said = "an integer or " * either + f"a list of {'numbers' if real else 'integers'}"
        raise RecipeError(f"{name} is {value!r}; expected {said}")
    return tuple(map(float, value)) if real else tuple(value)


def _is_number(value: Any, kinds: tuple[type[Any], ...]) -> bool:
    """Whether a value has one of these types; an integer for a float must be exact in it."""
    if type(value) is int and float in kinds:
        return abs(value) < 1 << 53
    return type(value) in kinds
