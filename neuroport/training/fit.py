"""Train a recipe: a real-valued phase, then a phase whose forward pass is the integer network.

Every random choice depends on (seed, epoch) only, and a checkpoint holds all there is to know after
an epoch, or in the middle of one, so that a run that is interrupted and started again ends with the
same bits as one that was not.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from neuroport.arguments import is_path, is_recipe, takes
from neuroport.data.loading import load_data
from neuroport.data.samples import Samples, Split
from neuroport.errors import BackendError, TrainingError
from neuroport.files import check_folder, write_atomic
from neuroport.graph.graph import Graph
from neuroport.graph.store import load
from neuroport.kernels.allocator import keep_freed
from neuroport.kernels.devices import device_of, memory_of, told
from neuroport.nets.held_numbers import held
from neuroport.nets.recipe import GRAPH
from neuroport.nets.synapse import convolve_in
from neuroport.nets.widths import PROVEN
from neuroport.quantization.calibration import CALIBRATION
from neuroport.quantization.scales import fit_scales, freeze_scales, is_integer
from neuroport.recipe import Recipe
from neuroport.training.augmentation import draw, part_of
from neuroport.training.checkpoint import (
    CHECKPOINT,
    State,
    build_network,
    read_checkpoint,
    save_checkpoint,
)
from neuroport.training.diagnostics import FewSamples, GradientNorms, activity, clipped_weights
from neuroport.training.given_graph import START, Classifier, begin
from neuroport.training.loading import (
    DAMAGED,
    Batch,
    Job,
    Reading,
    check_workers,
    workers_for,
)
from neuroport.training.metrics import METRICS
from neuroport.training.optimizer import learning_rate, optimizer_of, restore
from neuroport.training.parallel import Group, group
from neuroport.training.step import (
    Losses,
    Step,
    generators,
    restore_generator,
    restore_scaler,
    scaler_of,
)
from neuroport.training.trainable import Trainable

Report = Callable[[dict[str, Any]], None]


@takes(recipe=is_recipe, folder=is_path)
def fit(
    recipe: Recipe,
    folder: str | Path,
    *,
    report: Report | None = None,
    data: Split | None = None,
    start: Graph | Trainable | None = None,
    device: str = "auto",
    workers: int | None = None,
    damaged: str = "stop",
) -> nn.Module:
    """Train ``recipe`` in ``folder``, resuming what is there; returns the network, evaluating.

    Args:
        report: called with ``{"phase", "epoch", "epochs", "batch", "batches", ...}`` while working,
            and with the metrics of each finished epoch.
        data: the split to use instead of loading the recipe's dataset.
        start: of a recipe with ``network.family = "graph"``: the graph that is trained on, as
            :func:`neuroport.quantize` or :func:`neuroport.trainable` gives it; kept in the folder,
            and not needed to resume.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``. A checkpoint
            knows none: a run may go on elsewhere.
        workers: processes that read samples, beside this one; the result is the same for any
            number. ``None``: some where a GPU trains on files, else 0.
        damaged: ``stop`` at a file that cannot be read, or ``skip`` it: training takes the next
            sample of its class instead, evaluation leaves it out.

    Started by torchrun, the processes share every batch, each on a GPU of its own where there are
    GPUs; the first one writes and reports. The network that is returned is on the CPU.

    Raises:
        TrainingError: ``folder`` holds a run of another recipe or graph, the loss is not a number,
            memory ran out, or a process that reads samples has died.
        RecipeError: the recipe's data are not what the graph takes.
        BackendError: there is no such device.
        FormatError: a file that cannot be read.
    """
    if damaged not in DAMAGED:
        raise TrainingError(f"damaged is {damaged!r:.100}; use {' or '.join(map(repr, DAMAGED))}")
    check_workers(workers)  # before anything is read
    keep_freed()
    where = device_of(device)
    with group(where) as together:
        reading = Reading(where, workers or 0, damaged)
        say = report or (lambda _: None)
        if start is not None:
            _begin(start, recipe, Path(folder), together)
        return _fit(recipe, Path(folder), say, data, together, reading, workers)


def _begin(start: Graph | Trainable, recipe: Recipe, folder: Path, together: Group) -> None:
    """Keep what training begins with, as a checkpoint of no epochs."""
    if recipe.network.family != GRAPH:
        raise TrainingError(
            f"start is for network.family = 'graph', and that of {recipe.name} is "
            f"{recipe.network.family!r}; leave it out, or change the recipe"
        )
    if not isinstance(start, (Graph, Trainable)):
        raise TrainingError(
            f"start is {type(start).__name__}; give a graph (port.quantize, port.read), or a "
            "module that trains on (port.trainable, .trainable() of an import)"
        )
    graph = start if isinstance(start, Graph) else start.graph()
    begun = os.path.lexists(folder / CHECKPOINT)
    together.wait()  # all have looked before the first one writes
    if begun:
        if os.path.lexists(folder / START) and load(folder / START).hash != graph.hash:
            raise TrainingError(
                f"{folder} holds a run that began with another graph; choose another folder, or "
                "leave start out to resume"
            )
        return
    net = Classifier(graph, recipe, start.units() if isinstance(start, Trainable) else None)
    if together.first:
        check_folder(folder)
        begin(graph, folder)
        tensors = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
        save_checkpoint(folder, State(recipe, 0, [], tensors))
    together.wait()


def _fit(
    recipe: Recipe,
    folder: Path,
    say: Report,
    data: Split | None,
    together: Group,
    reading: Reading,
    workers: int | None,
) -> nn.Module:
    together.part(recipe.training.batch)
    if together.first:
        check_folder(folder)
    if not together.first:
        say = lambda _: None  # noqa: E731
    state = _resume(recipe, folder)
    net = convolve_in(build_network(recipe, folder), getattr(torch, recipe.training.precision))
    together.check(net)
    if state.tensors:
        state.load_into(net)
        if together.first:
            _write_metrics(folder, state)  # the run may have ended between the two files
    if state.epoch >= recipe.epochs > 0:
        return net.eval()
    data = data or _load(recipe, together)
    reading = replace(reading, workers=workers_for(workers, data.train, reading.device))
    net.to(reading.device)
    while state.epoch < recipe.epochs:
        quantized = state.epoch >= recipe.training.epochs
        if quantized and not (isinstance(net, Trainable) or is_integer(net)):
            with on_cpu(net):
                freeze_scales(net, calibration(reading, data, recipe))
        optimizer = optimizer_of(net, recipe)
        scaler = scaler_of(recipe, quantized, reading.device)
        if state.within or state.epoch not in (0, recipe.training.epochs):  # a phase starts afresh
            restore(optimizer, state.tensors)
            restore_scaler(scaler, state.tensors)
        with _generators(reading.device):
            step = Step(net, optimizer, scaler, recipe, together)
            metrics = _Epoch(step, data, state, folder, say, reading).run()
        state.metrics.append(metrics)
        state.epoch += 1
        state.within = {}
        state.tensors = step.tensors()
        if together.first:
            save_checkpoint(folder, state)
            _write_metrics(folder, state)
        say(metrics)
    return net.cpu().eval()


def calibration(reading: Reading, data: Split, recipe: Recipe) -> Tensor:
    """Frames from which scales are chosen; where their ranges are proven, only sizes matter."""
    if recipe.quantization.widths == PROVEN:
        return reading.some(data.test, recipe)
    return reading.some(data.train, recipe, CALIBRATION)


def _generators(device: torch.device) -> AbstractContextManager[None]:
    """Within it torch's generators may be seeded."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _load(recipe: Recipe, together: Group) -> Split:
    """The samples; what has to be made first is made by one process."""
    if not together.first:
        together.wait()
    data = load_data(recipe.data)
    if together.first:
        together.wait()
    return data


@contextmanager
def on_cpu(net: nn.Module) -> Iterator[None]:
    """Within it a network is on the CPU, where scales are chosen and its integers are proven."""
    device = next(net.parameters()).device
    net.cpu()
    try:
        yield
    finally:
        net.to(device)


TOGETHER = 100  # samples that are evaluated side by side


@torch.no_grad()
def evaluate(
    net: nn.Module, samples: Samples, steps: int, *, device: str = "cpu", workers: int = 0
) -> int:
    """Number of correctly classified samples; ``net`` is left on the CPU.

    Args:
        device, workers: as of :func:`fit`.

    Raises:
        BackendError: there is no such device, or it has not the memory.
    """
    check_workers(workers)
    reading = Reading(device_of(device), workers)
    net.to(reading.device)
    try:
        return evaluated(net, samples, Recipe(), steps, reading, Group(0, 1))[0]
    finally:
        net.cpu()


@torch.no_grad()
def evaluated(
    net: nn.Module,
    samples: Samples,
    recipe: Recipe,
    steps: int,
    reading: Reading,
    together: Group,
    few: FewSamples | None = None,
) -> tuple[int, int]:
    """How many samples are classified correctly, and of how many: those that can be read.

    Every process takes some of the batches; ``few`` keeps some samples of this one's.
    """
    net.eval()
    every = np.arange(len(samples.labels))
    parts = [every[at : at + TOGETHER] for at in range(0, len(every), TOGETHER)]
    jobs = [Job(part) for part in parts[together.rank :: together.size]]
    found: list[Tensor] = []
    read = 0

    def attempt(count: int) -> None:
        shape = views.views.shape
        net(torch.zeros(steps, count, *shape[2:], device=reading.device))

    with held(net), reading.watched():
        for views in reading.batches(samples, recipe, jobs):
            batch = len(views.labels)
            with memory_of(
                reading.device, batch, 1, attempt, BackendError, "samples evaluated side by side"
            ):
                classes = net(views.frames(steps, reading.device)).argmax(1)
            if few is not None:
                few.take(views)
            right = classes == views.classes(reading.device)
            if views.damaged:
                right[list(views.damaged)] = False
                _warn(views.damaged.values(), "left out")
            read += batch - len(views.damaged)
            found.append(right.sum())
    correct = int(torch.stack(found).sum()) if found else 0
    correct, read = together.total(correct, read)
    return correct, read


def _warn(faults: Iterable[str], what: str) -> None:
    for fault in faults:
        warnings.warn(f"{fault}; {what}", stacklevel=3)


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
    write_atomic(folder / METRICS, "".join(json.dumps(m) + "\n" for m in state.metrics))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@dataclass
class _Epoch:
    """One epoch, from its beginning or from the batch at which a checkpoint was written."""

    step: Step
    data: Split
    state: State
    folder: Path
    say: Report
    reading: Reading

    def run(self) -> dict[str, Any]:
        """Train on every batch that is left, then evaluate; the epoch's metrics."""
        state, recipe, epoch = self.state, self.state.recipe, self.state.epoch
        net, together, device = self.step.net, self.step.together, self.reading.device
        phase = "quantized" if epoch >= recipe.training.epochs else "float"
        started = time.perf_counter() - state.within.get("seconds", 0.0)
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(self.data.train.labels))
        batch = recipe.training.batch
        batches = len(order) // batch
        if batches == 0:
            raise TrainingError(
                f"training.batch is {batch}, more than the {len(order)} training "
                "samples; use a smaller one"
            )
        own = np.random.default_rng((recipe.seed, epoch, 1 + together.rank))
        torch.manual_seed(int(own.integers(1 << 62)))
        done, losses, damaged = 0, Losses(device), 0
        if state.within:
            done, losses.total = int(state.within["batch"]), float(state.within["total"])
            damaged = int(state.within.get("damaged", 0)) if together.first else 0
            rng.bit_generator.state = state.within["rng"]
            restore_generator(state.tensors, together.rank, device)
        norms = GradientNorms(net, batches)
        norms.restore(state.within.get("gradients", []))
        net.train()
        progress = {"phase": phase, "epoch": epoch, "epochs": recipe.epochs, "batches": batches}
        jobs = self._jobs(order, range(done, batches), rng)
        losses.count = done
        with held(net) as numbers, self.reading.watched():
            for index, made in enumerate(
                self.reading.batches(self.data.train, recipe, jobs), start=done
            ):
                damaged += len(made.damaged)
                _warn(made.damaged.values(), "the next of its class was taken")
                numbers.refresh()  # those that neurons learn
                self.step.set_rate(learning_rate(recipe, epoch, index, batches))
                measure = norms if together.first and norms.measures(index) else None
                losses.add(self._trained(made, measure), epoch, index)
                self.say({**progress, "batch": index + 1, "loss": losses.mean})
                every = recipe.training.checkpoint_steps
                if every and (index + 1) % every == 0 and index + 1 < batches:
                    losses.finish(epoch)
                    within = {"batch": index + 1, "total": losses.total, "rng": made.job.after}
                    (skipped,) = together.total(damaged)
                    if skipped:
                        within["damaged"] = skipped
                    within["gradients"] = norms.finish()
                    self._save(within | {"seconds": time.perf_counter() - started})
        losses.finish(epoch)
        # before anything is told of the network: lowering must take it
        if phase == "quantized" and not isinstance(net, Trainable):
            with on_cpu(net):
                fit_scales(net, calibration(self.reading, self.data, recipe))
        steps = recipe.data.steps
        few = FewSamples(-(-len(self.data.test.labels) // TOGETHER))
        correct, tested = evaluated(net, self.data.test, recipe, steps, self.reading, together, few)
        metrics = {
            "phase": phase,
            "epoch": epoch + 1,
            "epochs": recipe.epochs,
            "loss": losses.total / batches,
            "accuracy": 100 * correct / max(tested, 1),
            "samples": tested,
            "seconds": time.perf_counter() - started,
        }
        if device.type != "cpu":
            metrics["device"] = told(device)
        (damaged,) = together.total(damaged)
        if damaged or tested < len(self.data.test.labels):
            metrics["damaged"] = damaged + len(self.data.test.labels) - tested
        if together.first:
            metrics["gradients"] = norms.told()
            if (frames := few.frames(steps, device)) is not None:
                metrics["activity"] = activity(net, frames)
            if phase == "quantized":
                metrics["weights"] = clipped_weights(net)
        return metrics

    def _jobs(
        self, order: npt.NDArray[np.int64], indices: range, rng: np.random.Generator
    ) -> Iterator[Job]:
        """The part of every batch that is this process's, and what is drawn for it."""
        training = self.state.recipe.training
        own = self.step.together.part(training.batch)
        for index in indices:
            chosen = order[index * training.batch : (index + 1) * training.batch]
            drawn = draw(training, len(chosen), rng)
            yield Job(chosen[own], part_of(drawn, own), rng.bit_generator.state)

    def _trained(self, made: Batch, measure: GradientNorms | None) -> Tensor:
        """The loss of a batch, on which the network was trained."""
        recipe, device = self.state.recipe, self.reading.device
        steps = recipe.data.steps
        together = self.step.together.size

        def attempt(count: int) -> None:
            few = Batch(made.job, made.views[:, :count], made.labels[:count])
            self.step.tried(few.frames(steps, device), few.classes(device))

        own = len(made.labels)
        key = "training.batch" if together == 1 else f"training.batch / {together}"
        with memory_of(device, own, 2, attempt, TrainingError, key):
            return self.step(made.frames(steps, device), made.classes(device), measure)

    def _save(self, within: dict[str, Any]) -> None:
        """Write a checkpoint in the middle of the epoch."""
        together, tensors = self.step.together, self.step.tensors()
        for name, generator in generators(self.reading.device).items():
            for rank, each in enumerate(together.gather(generator)):
                tensors[f"rng.{name}.{rank}"] = each
        if together.first:
            save_checkpoint(self.folder, replace(self.state, tensors=tensors, within=within))
