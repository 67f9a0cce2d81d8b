"""Train a recipe: a real-valued phase, then a phase whose forward pass is the integer network.

Every random choice depends only on (seed, epoch), and a checkpoint holds the complete state after
an epoch, or within one. A run that is interrupted and resumed therefore ends with the same bits as
an uninterrupted run.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from neuroport.arguments import is_function, is_path, is_recipe, takes
from neuroport.data.loading import as_evaluated, load_data
from neuroport.data.samples import Samples, Split, check_labels
from neuroport.errors import BackendError, RecipeError, TrainingError
from neuroport.files import check_folder, write_atomic
from neuroport.graph.graph import Graph
from neuroport.graph.integers import DECAY_UNITY
from neuroport.graph.store import load
from neuroport.kernels.allocator import keep_freed
from neuroport.kernels.devices import device_of, memory_of, told
from neuroport.nets.held_numbers import held
from neuroport.nets.recipe import GRAPH
from neuroport.nets.synapse import convolve_in
from neuroport.nets.widths import PROVEN
from neuroport.quantization.calibration import CALIBRATION
from neuroport.quantization.scales import fit_scales, freeze_scales, is_integer
from neuroport.recipe import Recipe, changes_between
from neuroport.training.augmentation import MIXED, draw, part_of
from neuroport.training.averaging import (
    AVERAGE,
    COUNT,
    MODEL,
    TRAINED,
    Average,
    keeps_more,
    part,
    with_shown,
)
from neuroport.training.checkpoint import (
    CHECKPOINT,
    State,
    build_network,
    read_checkpoint,
    save_checkpoint,
)
from neuroport.training.diagnostics import FewSamples, GradientNorms, activity, clipped_weights
from neuroport.training.given_graph import START, Classifier, begin, has
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


@takes(recipe=is_recipe, folder=is_path, report=is_function)
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
    """Train ``recipe`` in ``folder``, or resume the run there; return the network in eval mode.

    Args:
        report: called with ``{"phase", "epoch", "epochs", "batch", "batches", ...}`` during
            training, and with the metrics of each finished epoch.
        data: the split to use instead of loading the recipe's dataset; of as many steps (or still
            pictures), channels, bits and classes, and of any size.
        start: the graph to train further, for a recipe with ``network.family = "graph"``, from
            :func:`neuroport.quantize` or :func:`neuroport.trainable`. The folder keeps it, so that
            resuming does not need it.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``. A checkpoint does
            not depend on it: a run can resume on another device.
        workers: number of additional processes that read samples; the result does not depend on
            it. ``None``: several if a GPU trains on files, otherwise 0.
        damaged: ``stop`` at a file that cannot be read, or ``skip`` it: training uses the next
            sample of its class instead, and evaluation omits it.

    With torchrun, the processes share every batch, each on its own GPU if there are GPUs; the first
    one writes and reports. The returned network is on the CPU.

    Raises:
        TrainingError: ``folder`` holds a run of another recipe or graph, the loss is not a number,
            memory ran out, or a process that reads samples has died.
        RecipeError: the recipe's data do not match the graph; or samples are not 8-bit integers, of
            other steps, channels or bits than the recipe's, or their labels no classes, or
            there are none; or no target has the recipe's neurons.
        BackendError: there is no such device, or the report is no function.
        FormatError: a file cannot be read.
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
    """Store the initial network, as a checkpoint of zero epochs."""
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
    before = _began_with(folder) if begun else ""
    together.wait()  # all have looked before the first one writes
    if begun:
        if before is None:
            return  # a run of another recipe, which is refused as such
        if before not in ("", graph.hash):
            raise TrainingError(
                f"{folder} holds a run that began with another graph; choose another folder, or "
                "leave start out to resume"
            )
        if together.first and not has(folder, graph):  # it was lost, damaged or replaced
            begin(graph, folder)
        together.wait()
        return
    net = Classifier(graph, recipe, start.units() if isinstance(start, Trainable) else None)
    if together.first:
        check_folder(folder)
        begin(graph, folder)
        tensors = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
        save_checkpoint(folder, State(recipe, 0, [], tensors, start=graph.hash))
    together.wait()


def _began_with(folder: Path) -> str | None:
    """The hash of the graph with which the run in a folder began; empty if nothing says it.

    None if the run there is of another family.
    """
    state = read_checkpoint(folder, check_recipe=False)
    if state.recipe.network.family != GRAPH:
        return None
    if state.start or not os.path.lexists(folder / START):
        return state.start
    return load(folder / START).hash  # of a run of an earlier version


def _fit(
    recipe: Recipe,
    folder: Path,
    say: Report,
    data: Split | None,
    together: Group,
    reading: Reading,
    workers: int | None,
) -> nn.Module:
    together.part(recipe.training.batch, recipe.training.mixup > 0)
    if together.first:
        check_folder(folder)
    if not together.first:
        say = lambda _: None  # noqa: E731
    state = _resume(recipe, folder)
    if not state.epoch and round(recipe.network.voltage_decay * DECAY_UNITY) == DECAY_UNITY:
        raise RecipeError(
            f"network.voltage_decay is {recipe.network.voltage_decay}, and no target has neurons "
            f"that lose everything in a step; use {1 - 1 / DECAY_UNITY:.4f} at most"
        )
    net = build_network(recipe, folder, state.start)
    if isinstance(net, Classifier):
        state.start = net.start.hash
    net = convolve_in(net, getattr(torch, recipe.training.precision))
    together.check(net)
    if state.tensors:
        state.load_into(net, TRAINED if goes_on_elsewhere(state) else MODEL)
        if together.first:
            _write_metrics(folder, state)  # the run may have ended after the first of the two files
    if state.epoch >= recipe.epochs > 0:
        return net.eval()
    if data is None:
        data = _load(recipe, together)
    _check_classes(data, recipe)
    if recipe.quantization.epochs and _measures(recipe):
        as_evaluated(data.train, recipe.data)  # refused before anything is trained
    reading = replace(
        reading,
        workers=workers_for(workers, data.train, reading.device),
        checked=True,
    )
    net.to(reading.device)
    while state.epoch < recipe.epochs:
        quantized = state.epoch >= recipe.training.epochs
        _lay_out(net, quantized or recipe.training.clip > 0)
        if quantized and not (isinstance(net, Trainable) or is_integer(net)):
            show(state, net)
            with on_cpu(net):
                freeze_scales(net, calibration(reading, data, recipe))
        optimizer = optimizer_of(net, recipe)
        scaler = scaler_of(recipe, quantized, reading.device)
        if state.within or state.epoch not in (
            0,
            recipe.training.epochs,
        ):  # a phase starts with a new optimizer
            restore(optimizer, state.tensors)
            restore_scaler(scaler, state.tensors)
        average = average_of(net, state) if recipe.training.ema and not quantized else None
        with _generators(reading.device):
            step = Step(net, optimizer, scaler, recipe, together, average)
            metrics = _Epoch(step, data, state, folder, say, reading).run()
        state.tensors = after_epoch(state, step, metrics)
        state.metrics.append(metrics)
        state.epoch += 1
        state.within = {}
        if together.first:
            save_checkpoint(folder, state)
            _write_metrics(folder, state)
        say(metrics)
    show(state, net)
    _lay_out(net.cpu(), True)
    return net.eval()


def _lay_out(net: nn.Module, usual: bool) -> None:
    """Hold the kernels of a network on the CPU as convolutions read them, or in the usual order.

    The real phase then copies no weights. The usual order stays where a kernel is summed up in the
    order of memory: for the gradient of a folded norm in the integer phase, and to clip gradients.
    """
    layout = torch.contiguous_format if usual else torch.channels_last
    for kernel in net.parameters():
        # with one input channel, both layouts are one, and torch takes it for the other
        if kernel.ndim == 4 and kernel.shape[1] > 1 and kernel.device.type == "cpu":
            kernel.data = kernel.data.contiguous(memory_format=layout)


def _check_classes(data: Split, recipe: Recipe) -> None:
    """Refuse labels that are no classes of the network, and halves without a sample.

    Raises:
        RecipeError: names one of them.
    """
    halves: dict[str, Any] = {
        "training": getattr(data, "train", None),
        "held-out": getattr(data, "test", None),
    }
    for half, samples in halves.items():
        if not callable(getattr(samples, "views", None)):
            raise RecipeError(
                f"data is {type(data).__name__}, whose {half} samples are "
                f"{type(samples).__name__}; give a Split of Pictures or other Samples "
                "(neuroport.data.samples)"
            )
        labels: Any = getattr(samples, "labels", None)
        check_labels(labels, recipe.data.class_count, f"{half} samples")
        if len(labels) == 0:
            raise RecipeError(f"there is no {half} sample; give at least one")


def calibration(reading: Reading, data: Split, recipe: Recipe) -> Tensor:
    """Return the frames from which scales are chosen, in the size of the evaluation.

    For proven widths and biases as they are, only their size matters.
    """
    if not _measures(recipe):
        return reading.some(data.test, recipe)
    return reading.some(as_evaluated(data.train, recipe.data), recipe, CALIBRATION)


def _measures(recipe: Recipe) -> bool:
    """Whether the values of the calibration have an effect."""
    return recipe.quantization.widths != PROVEN or recipe.quantization.correct_bias


def goes_on_elsewhere(state: State) -> bool:
    """Whether training goes on from other weights than those that the run would give now."""
    begins = state.epoch in (state.recipe.training.epochs, state.recipe.epochs)  # a phase, or none
    return bool(part(state.tensors, TRAINED)) and (bool(state.within) or not begins)


def show(state: State, net: nn.Module) -> None:
    """Let ``net`` be what the run gives, where it is another one than that which was trained."""
    if part(state.tensors, TRAINED):
        net.load_state_dict(part(state.tensors, MODEL))


def average_of(net: nn.Module, state: State) -> Average:
    """The average of the weights, as the checkpoint has it where there is one."""
    found = Average(net, state.recipe.training.ema)
    if COUNT in state.tensors:
        found.restore(state.tensors, state.fitting(net, AVERAGE))
    return found


def after_epoch(state: State, step: Step, metrics: dict[str, Any]) -> dict[str, Tensor]:
    """Everything of a checkpoint after an epoch, ``model.*`` being what the run gives."""
    tensors = step.tensors()
    if not keeps_more(state.recipe):
        return tensors
    shown = part(tensors, AVERAGE) or part(tensors, MODEL)
    before = [m["accuracy"] for m in state.metrics if m["phase"] == metrics["phase"]]
    if state.recipe.training.keep == "best" and max(before, default=-1.0) >= metrics["accuracy"]:
        shown = part(state.tensors, MODEL)
    # tensors of the network change with it
    return with_shown(tensors, {name: tensor.detach().clone() for name, tensor in shown.items()})


def _generators(device: torch.device) -> AbstractContextManager[None]:
    """Context that restores torch's generators afterwards."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _load(recipe: Recipe, together: Group) -> Split:
    """Load the samples; if they must be generated, one process does it."""
    if not together.first:
        together.wait()
    data = load_data(recipe.data)
    if together.first:
        together.wait()
    return data


@contextmanager
def on_cpu(net: nn.Module) -> Iterator[None]:
    """Context in which a network is on the CPU, to choose its scales and prove its widths."""
    device = next(net.parameters()).device
    net.cpu()
    try:
        yield
    finally:
        net.to(device)


TOGETHER = 100  # samples per batch of the evaluation


@torch.no_grad()
def evaluate(
    net: nn.Module, samples: Samples, steps: int, *, device: str = "cpu", workers: int = 0
) -> int:
    """Return the number of correctly classified samples; ``net`` is on the CPU afterwards.

    Args:
        device, workers: see :func:`fit`.

    Raises:
        BackendError: there is no such device, or it has too little memory.
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
    """Return how many samples are classified correctly, and how many could be read.

    Every process evaluates some of the batches; ``few`` keeps some samples of this process.
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
    # the folder's recipe.toml may be wrong: a run with the right recipe writes it again
    state = read_checkpoint(folder, check_recipe=False)
    if changed := changes_between(state.recipe, recipe):
        raise TrainingError(
            f"{folder} holds a run of another recipe ({changed}); "
            "choose another folder or remove it"
        )
    state.recipe = recipe
    return state


def _write_metrics(folder: Path, state: State) -> None:
    write_atomic(folder / METRICS, "".join(json.dumps(m) + "\n" for m in state.metrics))


@dataclass
class _Epoch:
    """One epoch, from its beginning or from the batch of a checkpoint."""

    step: Step
    data: Split
    state: State
    folder: Path
    say: Report
    reading: Reading

    def run(self) -> dict[str, Any]:
        """Train on all remaining batches, then evaluate; return the epoch's metrics."""
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
                numbers.refresh()  # decays and thresholds that neurons learn
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
        self.step.release()  # the evaluation takes the memory
        # before any report on the network, because lowering must accept it
        if phase == "quantized" and not isinstance(net, Trainable):
            with on_cpu(net):
                fit_scales(net, calibration(self.reading, self.data, recipe))
        steps, average = recipe.data.steps, self.step.average
        few = FewSamples(-(-len(self.data.test.labels) // TOGETHER))
        with average.shown() if average is not None else nullcontext():
            correct, tested = evaluated(
                net, self.data.test, recipe, steps, self.reading, together, few
            )
            seen = self._seen(few, phase) if together.first else {}
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
            metrics |= {"gradients": norms.told(), **seen}
        return metrics

    def _seen(self, few: FewSamples, phase: str) -> dict[str, Any]:
        """Return what the network that was evaluated does, for the metrics."""
        net, found = self.step.net, {}
        frames = few.frames(self.state.recipe.data.steps, self.reading.device)
        if frames is not None:
            found["activity"] = activity(net, frames)
        if phase == "quantized":
            found["weights"] = clipped_weights(net)
        return found

    def _jobs(
        self, order: npt.NDArray[np.int64], indices: range, rng: np.random.Generator
    ) -> Iterator[Job]:
        """Yield this process's part of every batch, with its random numbers."""
        training = self.state.recipe.training
        own = self.step.together.part(training.batch, training.mixup > 0)
        for index in indices:
            chosen = order[index * training.batch : (index + 1) * training.batch]
            drawn = draw(training, len(chosen), rng)
            yield Job(chosen[own], part_of(drawn, own), rng.bit_generator.state)

    def _trained(self, made: Batch, measure: GradientNorms | None) -> Tensor:
        """Train on a batch and return its loss."""
        recipe, device = self.state.recipe, self.reading.device
        steps = recipe.data.steps
        together = self.step.together.size

        def attempt(count: int) -> None:
            few = Batch(made.job, made.views[:, :count], made.labels[:count])
            self.step.tried(few.frames(steps, device), few.classes(device))

        own = len(made.labels)
        key = "training.batch" if together == 1 else f"training.batch / {together}"
        with memory_of(device, own, 2, attempt, TrainingError, key):
            mixed = (made.job.drawn or {}).get(MIXED)
            share = 1.0 if mixed is None else float(mixed[0])
            frames, classes = made.frames(steps, device), made.classes(device)
            return self.step(frames, classes, measure, share=share)

    def _save(self, within: dict[str, Any]) -> None:
        """Write a checkpoint in the middle of the epoch."""
        together, tensors = self.step.together, self.step.tensors()
        first = self.state.epoch in (0, self.state.recipe.training.epochs)  # of its phase
        if keeps_more(self.state.recipe) and not first:
            tensors = with_shown(tensors, part(self.state.tensors, MODEL))
        for name, generator in generators(self.reading.device).items():
            for rank, each in enumerate(together.gather(generator)):
                tensors[f"rng.{name}.{rank}"] = each
        if together.first:
            save_checkpoint(self.folder, replace(self.state, tensors=tensors, within=within))
