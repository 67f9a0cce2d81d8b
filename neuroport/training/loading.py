"""Read, decode and augment samples for a network, in other processes if requested.

A batch is a :class:`Job`: the numbers of this process's samples, and the random numbers of their
augmentation. The training process creates jobs in order, so that the result does not depend on the
number of readers. Samples stay 8-bit integers until they are on the device.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from neuroport.data.loading import check_fitting
from neuroport.data.samples import (
    Croppable,
    Frames,
    Labels,
    Samples,
    check_steps,
    check_views,
    over_time,
    spread_over,
)
from neuroport.errors import (
    FormatError,
    NeuroportError,
    StorageError,
    TrainingError,
)
from neuroport.kernels.devices import local_processes
from neuroport.recipe import Recipe
from neuroport.training.augmentation import Drawn, changed_views

MOST_WORKERS = 8  # readers of one process, by default at most
MOST = 1024
AHEAD = 2  # batches that each reader reads ahead
DAMAGED = ("stop", "skip")


@dataclass(frozen=True)
class Job:
    """Samples to be read together; ``drawn`` is None if they are not augmented."""

    chosen: Labels
    drawn: Drawn | None = None
    after: Any = None  # state of the generator after this job was drawn


@dataclass
class Batch:
    """The result of a job.

    Attributes:
        views: (S, N, C, H, W) of 8-bit integers, S is T or 1.
        labels: (N,).
        damaged: position in the batch of each sample that could not be read, and the reason.
    """

    job: Job
    views: Tensor
    labels: Tensor
    damaged: dict[int, str] = field(default_factory=dict)

    def pin_memory(self) -> Batch:
        """Copy to pinned memory, from which a GPU copies asynchronously."""
        return Batch(self.job, self.views.pin_memory(), self.labels.pin_memory(), self.damaged)

    def frames(self, steps: int, device: torch.device) -> Tensor:
        """Frames (T, N, C, H, W) of float32 on ``device``."""
        if device.type == "cpu":
            return float_frames(over_time(self.views.numpy(), steps))
        check_steps(len(self.views), steps)
        views = self.views.to(device, non_blocking=True)
        shown = views.expand(steps, *views.shape[1:]) if len(views) == 1 else views
        return shown.to(torch.float32, memory_format=torch.contiguous_format)

    def classes(self, device: torch.device) -> Tensor:
        """Labels (N,) on ``device``."""
        return self.labels.to(device, non_blocking=True)


def float_frames(frames: Frames) -> Tensor:
    """Convert frames to float32."""
    return torch.from_numpy(frames.astype(np.float32))


@dataclass(frozen=True)
class _Failed:
    """An error of another process, without its traceback."""

    kind: type[NeuroportError]
    message: str
    detail: str


@dataclass(frozen=True)
class _Read(Dataset[Any]):
    """Runs jobs; in another process it returns an error instead of raising it."""

    samples: Samples
    recipe: Recipe
    damaged: str
    checked: bool

    def __getitem__(self, job: Job) -> Batch | _Failed:
        try:
            return self.batch(job)
        except NeuroportError as error:
            return _Failed(type(error), error.message, error.detail)

    def batch(self, job: Job) -> Batch:
        faults: dict[int, str] = {}
        chosen, labels = job.chosen, self.samples.labels[job.chosen]
        try:
            views = self._views(chosen, job.drawn)
        except (FormatError, StorageError):
            if self.damaged == "stop":
                raise
            faults = self._faults(chosen)
            if not faults:
                raise
            chosen = chosen.copy()
            for place in faults:
                chosen[place] = self._instead(int(chosen[place]))
            views = self._views(chosen, job.drawn)
        classes = torch.from_numpy(labels.astype(np.int64, copy=False))
        return Batch(job, _tensor(views), classes, faults)

    def _views(self, chosen: Labels, drawn: Drawn | None) -> Frames:
        if drawn is None:
            views = self.samples.views(chosen)
            check_views(views, "samples")
            if self.checked:
                check_fitting(views, self.recipe.data)
            return views
        return changed_views(self.samples, chosen, self.recipe, drawn)

    def _faults(self, chosen: Labels) -> dict[int, str]:
        found = ((place, self._fault(int(number))) for place, number in enumerate(chosen))
        return {place: fault for place, fault in found if fault}

    def _fault(self, number: int) -> str:
        """Return why a sample cannot be read, or an empty text."""
        try:
            self.samples.views(np.array([number]))
        except (FormatError, StorageError) as error:
            return error.message
        return ""

    def _instead(self, number: int) -> int:
        """Return the next readable sample of the same class."""
        alike = np.flatnonzero(self.samples.labels == self.samples.labels[number])
        at = int(np.searchsorted(alike, number))
        for other in (*alike[at + 1 :], *alike[:at]):
            if not self._fault(int(other)):
                return int(other)
        raise FormatError(
            f"no sample of class {self.samples.labels[number]} can be read: complete the dataset"
        )


def _tensor(views: Frames) -> Tensor:
    return torch.from_numpy(views if views.flags.writeable else views.copy(order="K"))


def _as_made(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class Reading:
    """Reads samples.

    Args:
        device: device to which samples are copied.
        workers: number of additional processes that read; 0: the training process reads.
        damaged: ``stop`` at a file that cannot be read, or ``skip`` it: training uses the next
            sample of its class instead, and evaluation omits it.
        checked: whether samples without the channels and bits of the recipe are refused.
    """

    device: torch.device
    workers: int = 0
    damaged: str = "stop"
    checked: bool = False

    def batches(self, samples: Samples, recipe: Recipe, jobs: Iterable[Job]) -> Iterator[Batch]:
        """Yield the results of jobs, in order.

        Raises:
            NeuroportError: a file is damaged, or reading failed otherwise.
            TrainingError: a process that reads has died.
        """
        work = _Read(samples, recipe, self.damaged, self.checked)
        if not self.workers:
            for job in jobs:
                made = work.batch(job)
                yield made.pin_memory() if self.device.type == "cuda" else made
            return
        fork = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
        loader: DataLoader[Any] = DataLoader(
            work,
            batch_size=None,
            sampler=jobs,
            num_workers=self.workers,
            collate_fn=_as_made,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # its own generator: the network's must not advance
            prefetch_factor=AHEAD,
            multiprocessing_context="fork" if fork else None,
        )
        for made in loader:
            if isinstance(made, _Failed):
                raise made.kind(made.message, made.detail)
            yield made

    def some(self, samples: Samples, recipe: Recipe, count: int = 1) -> Tensor:
        """Return frames (T, count, C, H, W) of evenly spaced samples, on the CPU."""
        chosen = spread_over(len(samples.labels), count)
        made = _Read(samples, recipe, self.damaged, self.checked).batch(Job(chosen))
        return made.frames(recipe.data.steps, torch.device("cpu"))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Context for loops over batches: torch raises the death of a reader at any point.

        Raises:
            TrainingError: a process that reads has died.
        """
        try:
            yield
        except (RuntimeError, OSError) as error:
            said = str(error)
            if said.startswith("DataLoader worker"):
                cause = "is killed by the system if memory runs out"
            elif self.workers and ("shared memory" in said or "/torch_" in said):
                cause = "needs more shared memory (a container's /dev/shm) than there is"
            else:
                raise
            raise TrainingError(
                f"one of {self.workers} processes that read samples has died "
                f"({said.splitlines()[0]}); it {cause}: use fewer (--workers), or 0; the "
                "checkpoint before it is kept"
            ) from error


def check_workers(asked: int | None) -> None:
    """Check the number of processes.

    Raises:
        TrainingError: it is invalid.
    """
    if asked is not None and (type(asked) is not int or not 0 <= asked <= MOST):
        raise TrainingError(f"workers is {asked!r:.100}; use 0 to {MOST}")


def workers_for(asked: int | None, samples: Samples, device: torch.device) -> int:
    """Return the number of reading processes: the requested number, or a useful one.

    By default a GPU that trains on files gets as many as this machine has processors per training
    process, at most 8. On the CPU, readers would take processors from the network.
    """
    if asked is not None:
        return asked
    if device.type == "cpu" or not _are_read(samples):
        return 0
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return min(MOST_WORKERS, max(1, processors // local_processes()[0] - 1))


def _are_read(samples: Samples) -> bool:
    """Whether samples are read from files on demand."""
    from neuroport.data.events import Recordings

    whole = getattr(samples, "whole", samples)
    return isinstance(whole, (Croppable, Recordings))
