"""Train a recipe: a real-valued phase, then a phase whose forward pass is the integer network.

Every random choice depends on (seed, epoch) only, and a checkpoint holds all there is to know after
an epoch, or in the middle of one, so that a run that is interrupted and started again ends with the
same bits as one that was not.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.arguments import is_path, is_recipe, takes
from neuroport.data.loading import load_data
from neuroport.data.samples import Frames, Samples, Split, frames_of, over_time
from neuroport.errors import TrainingError
from neuroport.files import check_folder, write_atomic
from neuroport.kernels.allocator import keep_freed
from neuroport.nets.neuron import bound
from neuroport.nets.synapse import convolve_in
from neuroport.quantization.scales import fit_scales, freeze_scales, is_integer
from neuroport.recipe import Recipe
from neuroport.training.augmentation import training_views
from neuroport.training.checkpoint import (
    CHECKPOINT,
    State,
    build_network,
    read_checkpoint,
    save_checkpoint,
)
from neuroport.training.optimizer import (
    learning_rate,
    optimizer_of,
    restore,
    set_rate,
    tensors_of,
)
from neuroport.training.parallel import Group, group

Report = Callable[[dict[str, Any]], None]


@takes(recipe=is_recipe, folder=is_path)
def fit(
    recipe: Recipe, folder: str | Path, *, report: Report | None = None, data: Split | None = None
) -> nn.Module:
    """Train ``recipe`` in ``folder``, resuming what is there; returns the network, evaluating.

    Args:
        report: called with ``{"phase", "epoch", "epochs", "batch", "batches", ...}`` while working,
            and with the metrics of each finished epoch.
        data: the split to use instead of loading the recipe's dataset.

    Started by torchrun, the processes share every batch; the first one writes and reports.

    Raises:
        TrainingError: ``folder`` holds a run of another recipe, or the loss is not a number.
    """
    keep_freed()
    with group() as together:
        return _fit(recipe, Path(folder), report or (lambda _: None), data, together)


def _fit(
    recipe: Recipe, folder: Path, say: Report, data: Split | None, together: Group
) -> nn.Module:
    together.part(recipe.training.batch)
    if together.first:
        check_folder(folder)
    if not together.first:
        say = lambda _: None  # noqa: E731
    state = _resume(recipe, folder)
    net = convolve_in(build_network(recipe), getattr(torch, recipe.training.precision))
    together.check(net)
    if state.tensors:
        state.load_into(net)
        if together.first:
            _write_metrics(folder, state)  # the run may have ended between the two files
    if state.epoch >= recipe.epochs > 0:
        return net.eval()
    data = data or _load(recipe, together)
    while state.epoch < recipe.epochs:
        quantized = state.epoch >= recipe.training.epochs
        if quantized and not is_integer(net):
            first = frames_of(data.test, slice(1), recipe.data.steps)
            freeze_scales(net, _tensor(first))
        optimizer = optimizer_of(net, recipe)
        if state.within or state.epoch not in (0, recipe.training.epochs):  # a phase starts afresh
            restore(optimizer, state.tensors)
        with torch.random.fork_rng(devices=[]):
            metrics = _Epoch(net, optimizer, data, state, folder, say, together).run()
        state.metrics.append(metrics)
        state.epoch += 1
        state.within = {}
        state.tensors = _tensors(net, optimizer)
        if together.first:
            save_checkpoint(folder, state)
            _write_metrics(folder, state)
        say(metrics)
    return net.eval()


def _load(recipe: Recipe, together: Group) -> Split:
    """The samples; what has to be made first is made by one process."""
    if not together.first:
        together.wait()
    data = load_data(recipe.data)
    if together.first:
        together.wait()
    return data


@torch.no_grad()
def evaluate(net: nn.Module, samples: Samples, steps: int) -> int:
    """Number of correctly classified samples."""
    net.eval()
    correct = 0
    for first in range(0, len(samples.labels), 100):
        part = slice(first, first + 100)
        classes = net(_tensor(frames_of(samples, part, steps))).argmax(1).numpy()
        correct += int((classes == samples.labels[part]).sum())
    return correct


def _resume(recipe: Recipe, folder: Path) -> State:
    if not os.path.lexists(folder / CHECKPOINT):
        return State(recipe, 0)
    state = read_checkpoint(folder)
    steps = recipe.training.checkpoint_steps  # may change: it does not change what is trained
    training = replace(state.recipe.training, checkpoint_steps=steps)
    state.recipe = replace(state.recipe, training=training)
    if state.recipe != recipe:
        old, new = _flat(state.recipe.to_dict()), _flat(recipe.to_dict())
        changed = ", ".join(f"{k} {old[k]!r} -> {new[k]!r}" for k in new if old.get(k) != new[k])
        raise TrainingError(
            f"{folder} holds a run of another recipe ({changed}); "
            "choose another folder or remove it"
        )
    return state


def _write_metrics(folder: Path, state: State) -> None:
    write_atomic(folder / "metrics.jsonl", "".join(json.dumps(m) + "\n" for m in state.metrics))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _tensor(frames: Frames) -> Tensor:
    return torch.from_numpy(frames.astype(np.float32))


def _tensors(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {f"model.{n}": t for n, t in net.state_dict().items()} | tensors_of(optimizer)


@dataclass
class _Epoch:
    """One epoch, from its beginning or from the batch at which a checkpoint was written."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    data: Split
    state: State
    folder: Path
    say: Report
    together: Group

    def run(self) -> dict[str, Any]:
        """Train on every batch that is left, then evaluate; the epoch's metrics."""
        state, recipe, epoch = self.state, self.state.recipe, self.state.epoch
        phase = "quantized" if epoch >= recipe.training.epochs else "float"
        started = time.perf_counter() - state.within.get("seconds", 0.0)
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(self.data.train.labels))
        batches = len(order) // recipe.training.batch
        if batches == 0:
            raise TrainingError(
                f"training.batch is {recipe.training.batch}, more than the {len(order)} training "
                "samples; use a smaller one"
            )
        own = np.random.default_rng((recipe.seed, epoch, 1 + self.together.rank))
        torch.manual_seed(int(own.integers(1 << 62)))
        done, total = 0, 0.0
        if state.within:
            done, total = int(state.within["batch"]), float(state.within["total"])
            rng.bit_generator.state = state.within["rng"]
            generator = state.tensors.get(f"rng.torch.{self.together.rank}")
            if generator is not None:  # there were as many processes
                try:
                    torch.set_rng_state(generator)
                except (RuntimeError, TypeError) as error:
                    raise TrainingError(
                        f"the checkpoint's generator is none of torch's ({error}); train again in "
                        "another folder"
                    ) from error
        self.net.train()
        progress = {"phase": phase, "epoch": epoch, "epochs": recipe.epochs, "batches": batches}
        for index in range(done, batches):
            chosen = order[index * recipe.training.batch : (index + 1) * recipe.training.batch]
            total += self._step(chosen, index, batches, rng)
            self.say({**progress, "batch": index + 1, "loss": total / (index + 1)})
            every = recipe.training.checkpoint_steps
            if every and (index + 1) % every == 0 and index + 1 < batches:
                within = {"batch": index + 1, "total": total, "rng": rng.bit_generator.state}
                self._save(within | {"seconds": time.perf_counter() - started})
        if phase == "quantized":  # before anything is told of the network: lowering must take it
            first = frames_of(self.data.test, slice(1), recipe.data.steps)
            fit_scales(self.net, _tensor(first))
        correct = evaluate(self.net, self.data.test, recipe.data.steps)
        return {
            "phase": phase,
            "epoch": epoch + 1,
            "epochs": recipe.epochs,
            "loss": total / batches,
            "accuracy": 100 * correct / len(self.data.test.labels),
            "samples": len(self.data.test.labels),
            "seconds": time.perf_counter() - started,
        }

    def _save(self, within: dict[str, Any]) -> None:
        """Write a checkpoint in the middle of the epoch."""
        tensors = _tensors(self.net, self.optimizer)
        for rank, generator in enumerate(self.together.gather(torch.get_rng_state())):
            tensors[f"rng.torch.{rank}"] = generator
        if self.together.first:
            save_checkpoint(self.folder, replace(self.state, tensors=tensors, within=within))

    def _step(
        self, chosen: npt.NDArray[np.int64], index: int, batches: int, rng: np.random.Generator
    ) -> float:
        """One step of the optimizer; the batch's loss."""
        recipe, epoch = self.state.recipe, self.state.epoch
        training = recipe.training
        views = training_views(self.data.train, chosen, recipe, rng)
        set_rate(self.optimizer, learning_rate(recipe, epoch, index, batches))
        own = self.together.part(len(chosen))
        frames = _tensor(over_time(views[:, own], recipe.data.steps))
        labels = torch.from_numpy(self.data.train.labels[chosen[own]])
        self.optimizer.zero_grad()
        with self.together.joint():
            loss = F.cross_entropy(
                self.net(frames), labels, label_smoothing=training.label_smoothing
            )
            value = float(self.together.average(loss.detach().clone()))
            if math.isfinite(value):
                loss.backward()  # type: ignore[no-untyped-call]
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {epoch + 1}, batch {index + 1}; the checkpoint "
                "before it is kept: lower the learning rate and use a new folder"
            )
        self.together.average_gradients(self.net)
        if training.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), training.clip)
        self.optimizer.step()
        bound(self.net)
        return value
