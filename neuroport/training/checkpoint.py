"""Checkpoints: one safetensors file per run, written atomically, read without executing code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from neuroport.errors import FormatError, HashError, RecipeError, StorageError, TrainingError
from neuroport.files import ordinary, parse_json, place, write_atomic
from neuroport.hdf5 import short
from neuroport.kernels.allocator import available
from neuroport.nets.families import build
from neuroport.nets.grid_options import set_grid_options
from neuroport.nets.recipe import GRAPH
from neuroport.nets.widths import set_widths
from neuroport.quantization.scales import is_integer, note_frames
from neuroport.recipe import Recipe, changes_between, from_dict, load_recipe
from neuroport.training.averaging import MODEL, part
from neuroport.training.given_graph import Classifier, given

CHECKPOINT = "checkpoint.safetensors"
RECIPE = "recipe.toml"  # of the same folder, for its readers: the checkpoint's own recipe decides
EPOCH_KEYS = ("phase", "epoch", "loss", "accuracy", "seconds")  # facts of an epoch, at least
VERSION = 2  # 2: also within an epoch; between epochs 1 is written, as ever


@dataclass
class State:
    """The state of a training run after some epochs, and some batches of the next one.

    ``within`` describes an unfinished epoch: ``batch`` (number of batches done), ``total`` (sum of
    their losses), ``seconds``, ``gradients`` (measured norms), and ``rng`` (state of NumPy's
    generator). The order of the samples follows from seed and epoch. The states of torch's
    generators are the tensors ``rng.torch.*``, one per process.
    """

    recipe: Recipe
    epoch: int  # epochs done, both phases
    metrics: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)  # model.*, optimizer.*, rng.*
    within: dict[str, Any] = field(default_factory=dict)
    source: str = "the checkpoint"  # its file, for messages
    start: str = ""  # hash of the graph with which a run of family graph began; earlier ones: empty

    def load_into(self, net: nn.Module, prefix: str = MODEL) -> None:
        """Copy the model's tensors, or those under another prefix, into ``net``.

        Raises:
            TrainingError: the checkpoint belongs to another architecture, or holds impossible
                values.
        """
        own = self.fitting(net, prefix)
        for name, tensor in own.items():
            if not torch.isfinite(tensor).all():
                raise TrainingError(
                    f"{self.source} holds NaN or infinite values in {name}: the training diverged "
                    "or the file was damaged; train again with a lower learning rate"
                )
            if name.endswith("running_var") and (tensor < 0).any():
                raise TrainingError(
                    f"{self.source} holds a negative variance in {name}; it was damaged: train "
                    "again"
                )
            if name.endswith((".exponent", ".shift", "finer")) and (tensor.abs() > 63).any():
                raise TrainingError(
                    f"{self.source} holds {tensor.flatten()[0]} in {name}, a shift of bits beyond "
                    "63; it was damaged: train again"
                )
        net.load_state_dict(own)
        if is_integer(net):
            note_frames(net, self.recipe.data.steps, self.recipe.data.shape)

    def fitting(self, net: nn.Module, prefix: str = MODEL) -> dict[str, Tensor]:
        """Return the model's tensors if their names, shapes and types match ``net``.

        Nothing is computed, so that ``net`` may be on the device ``meta``.

        Raises:
            TrainingError: they do not match.
        """
        own = part(self.tensors, prefix)
        wanted = net.state_dict()
        faults = [f"{name} is missing" for name in wanted if name not in own]
        faults += [f"{name} is unknown" for name in own if name not in wanted]
        for name in wanted.keys() & own.keys():
            has, wants = own[name], wanted[name]
            if (has.dtype, has.shape) != (wants.dtype, wants.shape):
                faults.append(f"{name} is {_form(has)}, not {_form(wants)}")
        if faults:
            raise TrainingError(
                f"{self.source} does not fit {type(net).__name__} ({min(faults)}"
                + (f", and {len(faults) - 1} more" if faults[1:] else "")
                + "); use the recipe it was made with"
            )
        return own


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).partition('.')[2]} {tuple(tensor.shape)}"


def skeleton(recipe: Recipe, folder: str | os.PathLike[str] = "", start: str = "") -> nn.Module:
    """Build the network of a recipe without values, on the device ``meta``.

    Args:
        folder: folder of the run, which holds the graph for a recipe of family ``graph``.
        start: hash of that graph, from the checkpoint; empty: whatever graph is there.

    Raises:
        RecipeError: its parameters would not fit in the memory of this machine.
        TrainingError: the folder holds no graph, or another one.
    """
    if recipe.network.family == GRAPH and folder:
        return given(recipe, folder, start)
    with torch.device("meta"):
        net = _built(recipe)
    size = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    if size > (free := available()):
        raise RecipeError(
            f"[network] of {recipe.name} takes {size / 1e9:,.1f} GB for its parameters alone, and "
            f"{free / 1e9:,.1f} GB are free; use smaller widths or fewer blocks"
        )
    return net


def build_network(
    recipe: Recipe, folder: str | os.PathLike[str] = "", start: str = ""
) -> nn.Module:
    """Build the untrained network of a recipe; weights depend only on the recipe's seed.

    Args:
        folder, start: see :func:`skeleton`.

    Raises:
        RecipeError: it would not fit in memory.
        TrainingError: see :func:`skeleton`.
    """
    found = skeleton(recipe, folder, start)
    return found if isinstance(found, Classifier) else _untrained(recipe)


def _untrained(recipe: Recipe) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _built(recipe)


def _built(recipe: Recipe) -> nn.Module:
    data, options = recipe.data, recipe.quantization
    net = build(recipe.network, data.shape[0], data.class_count, data.bits)
    set_grid_options(net, options.equalize, options.correct_bias)
    return set_widths(net, options.widths)


def save_checkpoint(folder: Path, state: State) -> Path:
    """Write the run's checkpoint, atomically."""
    about = {
        "format": "neuroport-checkpoint",
        "version": 2 if state.within else 1,
        "recipe": state.recipe.to_dict(),
        "epoch": state.epoch,
        "metrics": state.metrics,
    }
    if state.within:
        about["within"] = state.within
    if state.start:
        about["start"] = state.start
    # a file has no device
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.tensors.items()}
    about["hash"] = _digest(about, tensors)
    content = to_bytes(tensors, {"neuroport": json.dumps(about)})
    return write_atomic(folder / CHECKPOINT, content)


def read_checkpoint(folder: str | os.PathLike[str], *, check_recipe: bool = True) -> State:
    """Read a run's checkpoint.

    Args:
        check_recipe: refuse a ``recipe.toml`` in the folder that is another one than that of the
            checkpoint. What it says would have no effect.

    Raises:
        StorageError: there is no checkpoint.
        FormatError: it is truncated, of another format or of a newer version.
        HashError: its content does not match its hash.
        RecipeError: its recipe is invalid.
        TrainingError: ``recipe.toml`` is another recipe.
    """
    path = Path(place(folder)) / CHECKPOINT
    if not os.path.lexists(path):
        raise StorageError(
            f"{path}: no such file; give the folder of a training run (neuroport train)"
        )
    ordinary(path)
    try:
        with safe_open(str(path), "pt") as file:
            text = file.metadata()["neuroport"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # any exception of the reader means that the file is damaged
        raise FormatError(
            f"{path}: not a neuroport checkpoint, or truncated ({short(error)}); remove it, and "
            "train again"
        ) from error
    about = parse_json(text, str(path))
    fault = _fault(about)
    if fault:
        raise FormatError(
            f"{path}: not a neuroport checkpoint ({fault}); remove it, and train again"
        )
    if about["version"] > VERSION:
        raise FormatError(
            f"{path}: version {about['version']} is newer than {VERSION}; upgrade neuroport"
        )
    stored = about.pop("hash", None)  # older checkpoints have no hash
    if stored is not None and stored != _digest(about, tensors):
        raise HashError(
            f"{path}: the content does not match its hash; the file was damaged or edited: "
            "remove it, and train again"
        )
    recipe = from_dict(about["recipe"], str(path), earlier=True)
    if about["epoch"] > recipe.epochs:
        raise FormatError(
            f"{path}: {about['epoch']} epochs of {recipe.epochs} are done; remove it, and train "
            "again"
        )
    layers, own = recipe.network.layers - 2, sum(name.startswith("model.") for name in tensors)
    if own < layers:
        raise FormatError(
            f"{path}: {own} tensors for {layers} layers of its recipe; remove it, and train again"
        )
    if check_recipe:
        _check_recipe(path, recipe)
    within, start = about.get("within", {}), about.get("start", "")
    return State(recipe, about["epoch"], about["metrics"], tensors, within, str(path), start)


def _check_recipe(path: Path, recipe: Recipe) -> None:
    """Refuse another recipe beside the checkpoint in ``path``, whose recipe this is.

    Raises:
        RecipeError: it is no recipe.
        TrainingError: it was edited, or is that of another checkpoint.
    """
    beside = path.with_name(RECIPE)
    if not os.path.lexists(beside):  # the end of a training writes it
        return
    changed = changes_between(recipe, load_recipe(beside, earlier=True))
    if changed:
        raise TrainingError(
            f"{beside} is not the recipe with which {path} was trained ({changed}), so what it "
            f"says has no effect here; put the run's own {RECIPE} and checkpoint together again, "
            f"or remove {RECIPE}; what it says is trained in another folder: neuroport train "
            f"{beside} -o FOLDER"
        )


def _digest(about: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of everything in a checkpoint."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"|{name!r}|{_form(tensor)}=".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fault(about: Any) -> str:
    """Return what is wrong with the facts in a checkpoint, or an empty text."""
    if not isinstance(about, dict) or about.get("format") != "neuroport-checkpoint":
        return "its format is another"
    kinds = {"version": int, "recipe": dict, "epoch": int, "metrics": list}
    for key, kind in kinds.items():
        if type(about.get(key)) is not kind:
            return f"{key} is {short(about.get(key))}"
    if about["version"] < 1 or about["epoch"] < 0 or len(about["metrics"]) != about["epoch"]:
        return f"{len(about['metrics'])} metrics of {about['epoch']} epochs"
    for metrics in about["metrics"]:
        if not isinstance(metrics, dict) or not all(_is_told(metrics, key) for key in EPOCH_KEYS):
            return f"metrics are {short(metrics)}"
    if type(about.get("start", "")) is not str:
        return f"start is {short(about['start'])}"
    within = about.get("within", {})
    if not isinstance(within, dict):
        return f"within is {short(within)}"
    if within:
        counts = type(within.get("batch")) is int and within["batch"] >= 0
        counts = counts and type(within.get("damaged", 0)) is int
        if not (counts and all(_is_told(within, key) for key in ("total", "seconds"))):
            return f"within is {short(within)}"
        gradients = within.get("gradients", [])
        if not (isinstance(gradients, list) and all(map(_are_numbers, gradients))):
            return f"gradients are {short(gradients)}"
        try:
            np.random.default_rng().bit_generator.state = within["rng"]
        except Exception:  # NumPy may raise any exception for an invalid state
            return f"rng is {short(within.get('rng'))}"
    return ""


def _are_numbers(row: Any) -> bool:
    return isinstance(row, list) and all(type(each) in (int, float) for each in row)


def _is_told(values: dict[str, Any], key: str) -> bool:
    wanted = (str,) if key == "phase" else (int, float)
    return type(values.get(key)) in wanted


def load(folder: str | os.PathLike[str]) -> nn.Module:
    """Load the trained network of a run's folder, in evaluation mode.

    After the quantization-aware phase it computes with integers.

    Raises:
        StorageError, FormatError, HashError, RecipeError: see :func:`read_checkpoint`.
        TrainingError: the folder's ``recipe.toml`` is another recipe, the tensors do not match the
            recipe's network, or the graph of a run of family ``graph`` is missing or another one.
    """
    state = read_checkpoint(folder)
    net = skeleton(state.recipe, folder, state.start)
    state.fitting(net)  # before memory is allocated, because the file determines how much
    net = net if isinstance(net, Classifier) else _untrained(state.recipe)
    state.load_into(net)
    return net.eval()
