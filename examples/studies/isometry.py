"""Block dynamical isometry: at initialization, and after every epoch of training.

For the Jacobian J (m x n) of a block's output with respect to its input, all steps and samples of a
batch together, and A = J J^T,

    phi      = tr(A) / m
    variance = tr(A^2) / m - phi^2

are mean and variance of the squared singular values of J. A gradient of random direction leaves the
block, backwards, with ``sqrt(phi)`` times its norm. MS-ResNet's authors call a block isometric if
phi is near 1 and the variance near 0. J holds the surrogate in place of the spike's derivative and
the batch's statistics in the norms, as in training.

J is never computed: with ``PROBES`` vectors v of random signs and products g = J^T v,

    phi      ~ mean over i     of (g_i g_i) / m
    variance ~ mean over i < j of (g_i g_j - phi v_i v_j)^2 / m

The second holds because E (v B w)^2 = tr(B B^T) for independent v and w, here with B = A - phi I.
Standard errors: of the mean for phi, jackknife over the probes for the variance (which is up to
sqrt(2) too large).

A block's input and output are what the network's blocks exchange: currents in MS-ResNet; spikes, or
sums of them, in the other families, whose blocks end in neurons.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from examples.studies.gradients import batch_of, blocks_of, decades, norms_of
from examples.studies.plan import Budget, Run, projects
from neuroport.data.samples import Split
from neuroport.files import read_json, write_json
from neuroport.training.checkpoint import CHECKPOINT, build_network, load, read_checkpoint
from neuroport.training.fit import fit

PROBES = 16
MEASURED = "isometry.json"  # in a run's folder: the epochs that are measured
KEYS = ("phi", "phi_error", "variance", "variance_error")


def estimate(signs: Tensor, products: Tensor) -> dict[str, float]:
    """phi, variance and standard errors of a Jacobian (m x n).

    Args:
        signs: the vectors v, (probes, m), of 1 and -1.
        products: J^T v of each, (probes, n).
    """
    number, m = signs.shape
    signs, products = signs.double(), products.double()
    each = products.square().sum(1) / m
    phi = each.mean()
    pairs = (products @ products.T - phi * (signs @ signs.T)).square() / m
    pairs.fill_diagonal_(0)
    total = pairs.sum()
    without = (total - 2 * pairs.sum(1)) / ((number - 1) * (number - 2))  # one probe each
    values = (
        phi,
        each.std() / number**0.5,
        total / (number * (number - 1)),
        ((without - without.mean()).square().sum() * (number - 1) / number).sqrt(),
    )
    return {key: float(f"{float(value):.4g}") for key, value in zip(KEYS, values, strict=True)}


def spectrum(block: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, float]:
    """:func:`estimate` for a block at the input ``x``."""
    x = x.detach().requires_grad_()
    out = block(x)
    signs = 2.0 * torch.randint(0, 2, (PROBES, *out.shape), generator=generator) - 1
    products = [torch.autograd.grad(out, x, v, retain_graph=True)[0] for v in signs]
    return estimate(signs.flatten(1), torch.stack(products).flatten(1))


def measure(net: nn.Module, seed: int, frames: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """Gradient norms and spectrum of every block; changes running statistics of ``net``."""
    inputs: list[Tensor] = []
    blocks = blocks_of(net)
    handles = [
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
        for block in blocks
    ]
    norms = norms_of(net, frames, labels)
    for handle in handles:
        handle.remove()
    net.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    found = [spectrum(block, x, generator) for block, x in zip(blocks, inputs, strict=True)]
    return norms | {key: [each[key] for each in found] for key in KEYS}


def at_start(run: Run, budget: Budget, data: Split) -> dict[str, Any]:
    """The measurements of an untrained network, as the epoch 0."""
    net = build_network(run.recipe(budget))
    return {"epoch": 0, **measure(net, run.seed, *batch_of(run.seed, budget, data))}


def along_training(run: Run, budget: Budget, data: Split, folder: Path) -> list[dict[str, Any]]:
    """The measurements at initialization and after every epoch; goes on where it was."""
    place = folder / run.name
    path = place / MEASURED
    epochs: list[dict[str, Any]] = read_json(path) if path.exists() else []
    batch = batch_of(run.seed, budget, data)

    def add(epoch: dict[str, Any]) -> None:
        epochs.append(epoch)
        write_json(path, epochs)

    def after(metrics: dict[str, Any]) -> None:
        if "accuracy" not in metrics or metrics["epoch"] < len(epochs):  # a batch, or measured
            return
        if metrics["epoch"] > len(epochs):
            raise click.ClickException(
                f"{place} was trained on without measuring; remove it to start again"
            )
        told = {"epoch": metrics["epoch"], "accuracy": metrics["accuracy"]}
        add(told | {"loss": round(metrics["loss"], 4)} | measure(load(place), run.seed, *batch))

    place.mkdir(parents=True, exist_ok=True)
    if not epochs:
        add(at_start(run, budget, data))
    if (place / CHECKPOINT).exists():  # it may have ended before its epoch was measured
        after(read_checkpoint(place).metrics[-1])
    fit(run.recipe(budget), place, data=data, report=after)
    return epochs


def isometry_run(run: Run, epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """The entry of the JSON.

    Of the first and the last epoch (``phi_0``, ``phi_4``), over the blocks that keep the shape:
    mean phi and mean variance, with their standard errors; ``growth``, by how many decades the
    gradient's norm grows on its way back through all of them; ``predicted``, the same from phi, as
    if the gradient had random directions. ``decades`` is log10 of the norm at the first block over
    that at the last. Norms are those at outputs, so that the first block is in neither of the sums.
    """
    about: dict[str, Any] = {f: getattr(run, f) for f in ("name", "network", "depth", "seed")}
    kept = [block for block in range(len(epochs[0]["phi"])) if block not in projects(run.depth)]
    for found in (epochs[0], *epochs[:0:-1][:1]):  # the first, and the last of several
        at, signal = found["epoch"], found["signal"]
        for key in ("phi", "variance"):
            about[f"{key}_{at}"] = round(statistics.fmean(found[key][k] for k in kept), 4)
            error = math.hypot(*(found[f"{key}_error"][k] for k in kept)) / len(kept)
            about[f"{key}_error_{at}"] = round(error, 5)
        about[f"decades_{at}"] = _sum([decades(signal[0], signal[-1])])
        about[f"growth_{at}"] = _sum([decades(signal[k - 1], signal[k]) for k in kept[1:]])
        halves = [decades(found["phi"][k] ** 0.5, 1.0) for k in kept[1:]]
        about[f"predicted_{at}"] = _sum(halves)
    if "accuracy" in epochs[-1]:
        about["accuracy"] = float(epochs[-1]["accuracy"])
    return about | {"epochs": epochs}


def _sum(values: list[float | None]) -> float | None:
    """Their sum; None if one of them is."""
    known = [value for value in values if value is not None]
    return round(math.fsum(known), 3) if len(known) == len(values) else None
