"""Checkpoints: one safetensors file per run, written whole, read without executing anything."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from neuroport.errors import FormatError, StorageError, TrainingError
from neuroport.files import write_atomic
from neuroport.nets.families import build
from neuroport.recipe import Recipe, from_dict

CHECKPOINT = "checkpoint.safetensors"
VERSION = 1


@dataclass
class State:
    """A training run after a number of epochs."""

    recipe: Recipe
    epoch: int  # epochs done, both phases
    metrics: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)  # model.* and optimizer.*

    def load_into(self, net: nn.Module) -> None:
        """Copy the model's tensors into ``net``.

        Raises:
            TrainingError: the checkpoint belongs to another architecture.
        """
        own = {n[6:]: t for n, t in self.tensors.items() if n.startswith("model.")}
        try:
            net.load_state_dict(own)
        except RuntimeError as error:
            raise TrainingError(
                f"the checkpoint does not fit {type(net).__name__} "
                f"({str(error).splitlines()[-1].strip()}); use the recipe it was made with"
            ) from error


def build_network(recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe; weights depend on the recipe's seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return build(recipe.network, in_channels=1, classes=10)  # as mnist5k has


def save_checkpoint(folder: Path, state: State) -> Path:
    """Write the run's checkpoint, atomically."""
    about = {
        "format": "neuroport-checkpoint",
        "version": VERSION,
        "recipe": state.recipe.to_dict(),
        "epoch": state.epoch,
        "metrics": state.metrics,
    }
    tensors = {name: t.detach().contiguous() for name, t in state.tensors.items()}
    content = to_bytes(tensors, {"neuroport": json.dumps(about)})
    return write_atomic(folder / CHECKPOINT, content)


def read_checkpoint(folder: str | os.PathLike[str]) -> State:
    """Read a run's checkpoint.

    Raises:
        StorageError: there is none.
        FormatError: it is truncated, foreign or newer.
    """
    path = Path(folder) / CHECKPOINT
    if not path.is_file():
        raise StorageError(
            f"{path}: no such file; give the folder of a training run (neuroport train)"
        )
    try:
        with safe_open(str(path), "pt") as file:
            about = json.loads(file.metadata()["neuroport"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = about["version"]
        if about["format"] != "neuroport-checkpoint" or not isinstance(version, int):
            raise KeyError("format")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path}: not a neuroport checkpoint, or truncated ({error}); train again"
        ) from error
    if version > VERSION:
        raise FormatError(f"{path}: version {version} is newer than {VERSION}; upgrade neuroport")
    recipe = from_dict(about["recipe"], str(path))
    return State(recipe, int(about["epoch"]), list(about["metrics"]), tensors)


def load(folder: str | os.PathLike[str]) -> nn.Module:
    """The trained network of a checkpoint folder, in evaluation mode.

    After the quantization-aware phase it computes with integers.
    """
    state = read_checkpoint(folder)
    net = build_network(state.recipe)
    state.load_into(net)
    return net.eval()
