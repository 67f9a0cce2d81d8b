"""Optimizer and learning rate of a recipe, and the optimizer's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.errors import TrainingError
from neuroport.graph.integers import DECAY_UNITY
from neuroport.nets.neuron import neurons_of
from neuroport.recipe import Recipe


def learning_rate(recipe: Recipe, epoch: int, index: int, batches: int) -> float:
    """Return the rate of a batch: linear warm-up, then the recipe's schedule (phase 2: a cosine).

    ``done`` counts epochs, only complete ones with ``schedule_per = "epoch"``.

    ::

        cosine    peak * (1 + cos(pi * done / total)) / 2
        step      peak * decay ** floor(done / decay_epochs)
        constant  peak
    """
    training = recipe.training
    if epoch < training.epochs:
        peak, warmup, schedule = training.learning_rate, training.warmup, training.schedule
        done, total = epoch + index / batches, float(training.cosine_epochs or training.epochs)
        if training.schedule_per == "epoch" and done >= warmup:
            done = float(max(epoch, warmup))
    else:
        peak, warmup, schedule = recipe.quantization.learning_rate, 0.0, "cosine"
        done, total = epoch - training.epochs + index / batches, float(recipe.quantization.epochs)
    if done < warmup:
        return peak * (done + 1 / batches) / (warmup + 1 / batches)
    if schedule == "constant":
        return peak
    if schedule == "step":
        return float(peak * training.decay ** (epoch // training.decay_epochs))
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(total - warmup, 1e-9)))


def optimizer_of(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Create the recipe's optimizer; :func:`set_rate` sets its rate before every step.

    Decays and thresholds that neurons learn have no weight decay. Decays are stored in 1/4096, but
    the optimizer treats them as fractions.
    """
    training = recipe.training
    sgd = training.optimizer == "sgd"
    unity = float(DECAY_UNITY)
    neurons = list(neurons_of(net))
    decays = [p for n in neurons for p in (n.current_decay, n.voltage_decay) if p.requires_grad]
    thresholds = [p for n in neurons for p in n.parameters() if p is n.trained_threshold]
    thresholds = [p for p in thresholds if p.requires_grad]
    special = {id(p) for p in (*decays, *thresholds)}
    weights = [p for p in net.parameters() if p.requires_grad and id(p) not in special]
    groups: list[dict[str, Any]] = [{"params": weights}]
    if thresholds:
        groups.append({"params": thresholds, "weight_decay": 0.0})
    if decays:
        # a gradient in 1/4096 is smaller by that factor; Adam's steps do not depend on its size
        own = {"scale": unity * unity} if sgd else {"scale": unity, "eps": 1e-8 / unity}
        groups.append({"params": decays, "weight_decay": 0.0, **own})
    if sgd:
        return torch.optim.SGD(
            groups,
            lr=1.0,
            momentum=training.momentum,
            nesterov=training.nesterov,
            weight_decay=training.weight_decay,
        )
    return torch.optim.AdamW(groups, lr=1.0, weight_decay=training.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that :func:`tensors_of` returned.

    Raises:
        TrainingError: a tensor does not have its parameter's shape and type.
    """
    for index, parameter in enumerate(_parameters(optimizer)):
        prefix = f"optimizer.{index}."
        own = {
            name[len(prefix) :]: _beside(parameter, name, tensor)
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        for name, tensor in own.items():
            if tensor.ndim and (tensor.shape, tensor.dtype) != (parameter.shape, parameter.dtype):
                raise TrainingError(
                    f"the checkpoint's {prefix}{name} is {tensor.dtype} {tuple(tensor.shape)}, "
                    f"not of its parameter, {parameter.dtype} {tuple(parameter.shape)}; train "
                    "again in another folder"
                )
        optimizer.state[parameter] = own


def _beside(parameter: Tensor, name: str, tensor: Tensor) -> Tensor:
    """Return a copy on the parameter's device; Adam's step counters stay on the CPU."""
    return tensor.clone() if name.endswith(".step") else tensor.to(parameter.device, copy=True)


def tensors_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of the optimizer, by number of the parameter and name."""
    return {
        f"optimizer.{index}.{name}": value
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
