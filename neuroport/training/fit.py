"""Train a recipe: a real-valued phase, then a phase whose forward pass is the integer network.

Every random choice depends on (seed, epoch) only, and a checkpoint is written after each epoch, so
a run that is interrupted and started again ends with the same bits as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.data.loading import load_data
from neuroport.data.samples import Frames, Samples, Split, frames_of, over_time
from neuroport.errors import TrainingError
from neuroport.files import write_atomic
from neuroport.quantization.scales import freeze_scales, is_integer
from neuroport.recipe import Recipe
from neuroport.training.checkpoint import (
    CHECKPOINT,
    State,
    build_network,
    read_checkpoint,
    save_checkpoint,
)

Report = Callable[[dict[str, Any]], None]


def fit(
    recipe: Recipe, folder: str | Path, *, report: Report | None = None, data: Split | None = None
) -> nn.Module:
    """Train ``recipe`` in ``folder``, resuming what is there; returns the network, evaluating.

    Args:
        report: called with ``{"phase", "epoch", "epochs", "batch", "batches", ...}`` while working,
            and with the metrics of each finished epoch.
        data: the split to use instead of loading the recipe's dataset.

    Raises:
        TrainingError: ``folder`` holds a run of another recipe, or the loss is not a number.
    """
    folder = Path(folder)
    say = report or (lambda _: None)
    state = _resume(recipe, folder)
    net = build_network(recipe)
    if state.epoch > 0:
        state.load_into(net)
        _write_metrics(folder, state)  # the run may have ended between the two files
    if state.epoch >= recipe.epochs > 0:
        return net.eval()
    data = data or load_data(recipe.data)
    while state.epoch < recipe.epochs:
        quantized = state.epoch >= recipe.training.epochs
        if quantized and not is_integer(net):
            first = frames_of(data.test, slice(1), recipe.data.steps)
            freeze_scales(net, _tensor(first))
        optimizer = _optimizer(net, recipe, state, quantized)
        metrics = _epoch(net, optimizer, data, recipe, state.epoch, say)
        state.metrics.append(metrics)
        state.epoch += 1
        state.tensors = {f"model.{n}": t for n, t in net.state_dict().items()}
        state.tensors |= _optimizer_tensors(optimizer)
        save_checkpoint(folder, state)
        _write_metrics(folder, state)
        say(metrics)
    return net.eval()


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
    if not (folder / CHECKPOINT).exists():
        return State(recipe, 0)
    state = read_checkpoint(folder)
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


def _epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Split,
    recipe: Recipe,
    epoch: int,
    say: Report,
) -> dict[str, Any]:
    quantized = epoch >= recipe.training.epochs
    phase = "quantized" if quantized else "float"
    started = time.perf_counter()
    rng = np.random.default_rng((recipe.seed, epoch))
    order = rng.permutation(len(data.train.labels))
    batch = recipe.training.batch
    batches = len(order) // batch
    if batches == 0:
        raise TrainingError(
            f"training.batch is {batch}, more than the {len(order)} training samples; "
            "use a smaller one"
        )
    net.train()
    total = 0.0
    for index in range(batches):
        chosen = order[index * batch : (index + 1) * batch]
        views = _shifted(data.train.views(chosen), recipe.training.shift, rng)
        rate = _learning_rate(recipe, epoch, index, batches)
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = net(_tensor(over_time(views, recipe.data.steps)))
        loss = F.cross_entropy(logits, torch.from_numpy(data.train.labels[chosen]))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {epoch + 1}, batch {index + 1}; the checkpoint "
                f"after epoch {epoch} is kept: lower the learning rate and use a new folder"
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += value
        say(
            {
                "phase": phase,
                "epoch": epoch,
                "epochs": recipe.epochs,
                "batch": index + 1,
                "batches": batches,
                "loss": total / (index + 1),
            }
        )
    correct = evaluate(net, data.test, recipe.data.steps)
    return {
        "phase": phase,
        "epoch": epoch + 1,
        "epochs": recipe.epochs,
        "loss": total / batches,
        "accuracy": 100 * correct / len(data.test.labels),
        "samples": len(data.test.labels),
        "seconds": time.perf_counter() - started,
    }


def _learning_rate(recipe: Recipe, epoch: int, index: int, batches: int) -> float:
    """Linear warm-up, then cosine to zero, within each phase."""
    if epoch < recipe.training.epochs:
        peak, warmup = recipe.training.learning_rate, recipe.training.warmup
        done, total = epoch + index / batches, float(recipe.training.epochs)
    else:
        peak, warmup = recipe.quantization.learning_rate, 0.0
        done, total = (
            epoch - recipe.training.epochs + index / batches,
            float(recipe.quantization.epochs),
        )
    if done < warmup:
        return peak * (done + 1 / batches) / (warmup + 1 / batches)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(total - warmup, 1e-9)))


def _shifted(views: Frames, most: int, rng: np.random.Generator) -> Frames:
    """Each sample (S, N, C, H, W) moved by up to ``most`` pixels each way, zeros moving in."""
    if most == 0:
        return views
    height, width = views.shape[3:]
    padded = np.pad(views, ((0, 0), (0, 0), (0, 0), (most, most), (most, most)))
    offsets = rng.integers(0, 2 * most + 1, (views.shape[1], 2))
    return np.stack(
        [padded[:, n, :, y : y + height, x : x + width] for n, (y, x) in enumerate(offsets)],
        axis=1,
    )


def _optimizer(
    net: nn.Module, recipe: Recipe, state: State, quantized: bool
) -> torch.optim.Optimizer:
    """AdamW with the state of the checkpoint, fresh at the start of each phase."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=recipe.training.weight_decay)
    first = recipe.training.epochs if quantized else 0
    if state.epoch == first:
        return optimizer
    for index, parameter in enumerate(parameters):
        prefix = f"optimizer.{index}."
        optimizer.state[parameter] = {
            name[len(prefix) :]: tensor.clone()
            for name, tensor in state.tensors.items()
            if name.startswith(prefix)
        }
    return optimizer


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    parameters = optimizer.param_groups[0]["params"]
    return {
        f"optimizer.{index}.{name}": value
        for index, parameter in enumerate(parameters)
        for name, value in optimizer.state[parameter].items()
    }
