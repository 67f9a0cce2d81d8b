"""Optimizer and learning rate of a recipe, and the optimizer's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from neuroport.recipe import Recipe


def learning_rate(recipe: Recipe, epoch: int, index: int, batches: int) -> float:
    """Rate of a batch: linear warm-up, then the recipe's schedule; in the second phase a cosine.

    ::

        cosine    peak * (1 + cos(pi * done / total)) / 2
        step      peak * decay ** floor(done / decay_epochs)
        constant  peak
    """
    training = recipe.training
    if epoch < training.epochs:
        peak, warmup, schedule = training.learning_rate, training.warmup, training.schedule
        done, total = epoch + index / batches, float(training.epochs)
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
    """The recipe's optimizer, fresh; its rate is set before every step."""
    training = recipe.training
    parameters = [p for p in net.parameters() if p.requires_grad]
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=1.0,
            momentum=training.momentum,
            nesterov=training.nesterov,
            weight_decay=training.weight_decay,
        )
    return torch.optim.AdamW(parameters, lr=1.0, weight_decay=training.weight_decay)


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give the optimizer the state that :func:`tensors_of` found."""
    for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
        prefix = f"optimizer.{index}."
        optimizer.state[parameter] = {
            name[len(prefix) :]: tensor.clone()
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }


def tensors_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of the optimizer, by the number of the parameter and the name."""
    parameters = optimizer.param_groups[0]["params"]
    return {
        f"optimizer.{index}.{name}": value
        for index, parameter in enumerate(parameters)
        for name, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }
