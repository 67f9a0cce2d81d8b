"""Train one network in several processes, each with a part of every batch (``torchrun``).

The result equals that of one process with the whole batch, within float error: gradients are
averaged, and batch norm uses the statistics of all parts,

    mean = sum(x) / N,     var = sum((x - mean)**2) / N     over the elements of all processes,

through which gradients flow as well. Every process draws the same order and augmentation and holds
the same weights. It reads its own part of every batch, and only the first process writes files. On
GPUs, one per process, they communicate by NCCL, on CPUs by gloo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from neuroport.errors import TrainingError
from neuroport.nets.batchnorm import TdBatchNorm, norm_outside_root
from neuroport.nets.batchnorm_lif import PositiveNorm
from neuroport.processes import die_with_parent

CPU = torch.device("cpu")
_BUFFERS: dict[tuple[Any, ...], Tensor] = {}  # of this process's group


@dataclass(frozen=True)
class Group:
    """The processes that train together; ``Group(0, 1)`` is this one alone."""

    rank: int
    size: int
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def part(self, batch: int, mixed: bool = False) -> slice | npt.NDArray[np.int64]:
        """Return this process's samples of a batch.

        Args:
            mixed: whether the first sample of the batch is mixed with the last one, and so on. Both
                are then in the same part, where they are the first and the last one, too.

        Raises:
            TrainingError: the batch cannot be divided evenly.
        """
        if self.size > 1 and batch % (self.size * (1 + mixed)):
            said = " in the pairs that training.mixup mixes" if mixed else ""
            raise TrainingError(
                f"training.batch is {batch}, which {self.size} processes cannot share evenly"
                f"{said}; use a multiple of {self.size * (1 + mixed)}"
            )
        each = batch // self.size
        if mixed and self.size > 1:
            half = each // 2
            first: npt.NDArray[np.int64] = np.arange(self.rank * half, (self.rank + 1) * half)
            both: npt.NDArray[np.int64] = np.concatenate([first, batch - 1 - first[::-1]])
            return both
        return slice(self.rank * each, (self.rank + 1) * each)

    def check(self, net: nn.Module) -> None:
        """Refuse norms whose statistics cannot be combined.

        Raises:
            TrainingError: a norm computes its own statistics, from this process's part only.
        """
        for name, norm in net.named_modules():
            known = (nn.BatchNorm2d.forward, TdBatchNorm.forward, PositiveNorm.forward)
            own = isinstance(norm, nn.BatchNorm2d) and type(norm).forward not in known
            if own and self.size > 1:
                raise TrainingError(
                    f"{name}: {type(norm).__name__} takes statistics of its own, which "
                    f"{self.size} processes cannot join; train in one process"
                )

    def average(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, in place."""
        if self.size > 1:
            _add_up(value)
            value /= self.size
        return value

    def average_gradients(self, net: nn.Module) -> None:
        """Average the gradients of all parameters over the processes."""
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        if self.size == 1 or not gradients:
            return
        together = self.average(torch.cat([grad.flatten() for grad in gradients]))  # in one message
        parts = torch.split(together, [grad.numel() for grad in gradients])
        for grad, part in zip(gradients, parts, strict=True):
            grad.copy_(part.view_as(grad))

    def total(self, *counts: int) -> list[int]:
        """Return the sums of counts over all processes."""
        if self.size == 1:
            return list(counts)
        together = torch.tensor(counts, dtype=torch.int64, device=self.device)
        return [int(count) for count in _add_up(together).tolist()]

    def gather(self, value: Tensor) -> list[Tensor]:
        """Return the tensor of every process, on the CPU."""
        if self.size == 1:
            return [value]
        own = _buffer(value.to(self.device))
        found = [_buffer(torch.empty_like(own), rank) for rank in range(self.size)]
        dist.all_gather(found, own)
        return [each.to(CPU, copy=True) for each in found]

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    @contextmanager
    def joint(self) -> Iterator[None]:
        """Context in which batch norm in training uses the statistics of the whole batch."""
        if self.size == 1:
            yield
        else:
            with _JointStatistics():  # type: ignore[no-untyped-call]
                yield


def is_first() -> bool:
    """Whether this process writes files and reports, before there is a group."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def group(device: torch.device = CPU) -> Iterator[Group]:
    """Context with the group of processes that torchrun started, or of this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        rank, count = (dist.get_rank(), dist.get_world_size()) if size > 1 else (0, 1)
        yield Group(rank, count, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # the device on which NCCL allocates memory
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent(os.getppid())  # torchrun itself may be killed
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        together = Group(dist.get_rank(), dist.get_world_size(), device)
        yield together
        together.wait()  # wait until the first process has written its files
    finally:
        dist.destroy_process_group()
        _BUFFERS.clear()


def _add_up(value: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place."""
    own = _buffer(value)
    dist.all_reduce(own)
    return value if own is value else value.copy_(own)


def _buffer(value: Tensor, *use: int) -> Tensor:
    """Return the tensor that a CPU's group exchanges for ``value``, with its content.

    It lives as long as the group. A thread of gloo may let go of a tensor some time after the
    exchange. If it is the last to do so, it needs Python's lock, which the process that ends its
    group holds while it waits for the thread: both would wait for ever.
    """
    if value.device.type != "cpu":
        return value
    key = (*use, value.shape, value.dtype)
    if key not in _BUFFERS:
        _BUFFERS[key] = torch.empty(value.shape, dtype=value.dtype)
    return _BUFFERS[key].copy_(value)


class _Sum(torch.autograd.Function):
    """Sum over all processes; its gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _add_up(value.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _add_up(grad.clone())


class _JointStatistics(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            return _joint_norm(*args, **(kwargs or {}))
        if func is norm_outside_root:
            return partial(_joint_norm, outside=True)(*args)
        return func(*args, **(kwargs or {}))


def _joint_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    outside: bool = False,
) -> Tensor:
    """``F.batch_norm`` with the statistics of all processes' batches in training.

    With ``outside`` it replaces ``norm_outside_root``.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    others = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    count = x.numel() // x.shape[1] * dist.get_world_size()  # parts are equal
    mean = _total(x.sum(others)) / count
    centred = x - mean.reshape(shape)
    var = _total((centred * centred).sum(others)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (count / (count - 1)), momentum)
    if outside:  # the root of a silent channel, whose variance is 0, has no finite slope
        root = torch.sqrt(var.clamp_min(torch.finfo(var.dtype).tiny)) + eps
    else:
        root = torch.sqrt(var + eps)
    y = centred / root.reshape(shape)
    if weight is not None:
        y = y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _total(value: Tensor) -> Tensor:
    total = _Sum.apply(value)  # type: ignore[no-untyped-call]
    assert isinstance(total, Tensor)
    return total
