"""A training step on any device; it never waits for a GPU.

On one GPU its forward and backward pass are a CUDA graph (:mod:`.captured_step`).

With ``training.precision = "float16"`` the loss is multiplied by a factor before gradients are
computed, so that small gradients are not lost, and gradients are divided by it before they are used
(torch's ``GradScaler``). A step whose gradients are not finite is skipped, and the factor halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.errors import TrainingError
from neuroport.nets.neuron import bound
from neuroport.recipe import Recipe
from neuroport.training.augmentation import partners
from neuroport.training.averaging import Average
from neuroport.training.captured_step import CapturedGradients, Share, possible
from neuroport.training.optimizer import set_rate, tensors_of
from neuroport.training.parallel import Group
from neuroport.training.trainable import Trainable


class Step:
    """Trains a network on a batch.

    Args:
        net: the network in training mode, on its device.
        scaler: result of :func:`scaler_of`.
        average: of the weights, updated after every step.
        capture: whether forward and backward pass may become a CUDA graph, where that is possible.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: Any,
        recipe: Recipe,
        together: Group,
        average: Average | None = None,
        *,
        capture: bool = True,
    ) -> None:
        self.average = average
        self.net, self.optimizer, self.scaler = net, optimizer, scaler
        self.recipe, self.together = recipe, together
        self.captured = CapturedGradients(net) if capture and possible(together, scaler) else None

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        set_rate(self.optimizer, rate)

    def __call__(
        self,
        frames: Tensor,
        labels: Tensor,
        measure: Callable[[nn.Module], None] | None = None,
        *,
        share: float = 1.0,
    ) -> Tensor:
        """Run one optimizer step; return the loss of all processes' batch, on the device.

        Args:
            frames: (T, N, C, H, W), this process's part.
            labels: (N,).
            measure: called with the network when it has the gradients of the whole batch, before
                clipping.
            share: of a sample in its frames, where it is mixed with another.
        """
        training = self.recipe.training
        if self.captured is None:
            value = self._gradients(frames, labels, share)
        else:
            value = self.captured(self._gradients, frames, labels, share)
        self.together.average_gradients(self.net)
        if self.scaler is not None and (training.clip or measure is not None):
            self.scaler.unscale_(self.optimizer)
        if measure is not None:
            measure(self.net)
        if training.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), training.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if isinstance(self.net, Trainable):
            self.net.bound()
        else:
            bound(self.net)
        if self.average is not None:
            self.average.update()
        return value

    def _gradients(self, frames: Tensor, labels: Tensor, share: Share) -> Tensor:
        """Let the parameters hold a batch's gradients; return its loss."""
        self.optimizer.zero_grad()
        with self.together.joint():
            loss = self.loss(frames, labels, share)
            value = self.together.average(loss.detach().clone())
            self._backward(loss)
        return value

    def loss(self, frames: Tensor, labels: Tensor, share: Share = 1.0) -> Tensor:
        """Cross entropy of a batch; of what is mixed the mean of both classes', by their shares."""
        smoothing = self.recipe.training.label_smoothing
        logits = self.net(frames)
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if share == 1.0:
            return loss
        # a graph has tensors, which change from batch to batch
        own, rest = share if isinstance(share, tuple) else (share, 1 - share)
        other = F.cross_entropy(logits, partners(labels), label_smoothing=smoothing)
        return own * loss + rest * other

    def _backward(self, loss: Tensor) -> None:
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()

    def release(self) -> None:
        """Free the memory of gradients and of a graph, which a later step makes anew."""
        if self.captured is not None:
            self.captured.release()
        self.optimizer.zero_grad()

    def tried(self, frames: Tensor, labels: Tensor) -> None:
        """Compute gradients to find out whether memory suffices, after the run has failed."""
        self.release()
        self.loss(frames, labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of a checkpoint except generators."""
        found = {f"model.{n}": t for n, t in self.net.state_dict().items()}
        found |= tensors_of(self.optimizer)
        if self.scaler is not None:
            state = self.scaler.state_dict()
            kept = [float(state["scale"]), float(state["_growth_tracker"])]
            found["scaler"] = torch.tensor(kept, dtype=torch.float64)
        if self.average is not None:
            found |= self.average.tensors()
        return found


def scaler_of(recipe: Recipe, quantized: bool, device: torch.device) -> Any:
    """Return the loss scaler for ``float16`` in real-valued training, otherwise None.

    Raises:
        TrainingError: this version of torch does not support it on this device.
    """
    if quantized or recipe.training.precision != "float16":
        return None
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type)
    if device.type == "cuda":
        return torch.cuda.amp.GradScaler()
    raise TrainingError(
        f"training.precision is 'float16', which torch {torch.__version__} trains on a GPU only; "
        "use 'bfloat16', or torch 2.3"
    )


def restore_scaler(scaler: Any, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state of ``scaler``."""
    if scaler is not None and "scaler" in tensors and tensors["scaler"].shape == (2,):
        scale, steps = tensors["scaler"].tolist()
        found = scaler.state_dict()
        scaler.load_state_dict(found | {"scale": scale, "_growth_tracker": int(steps)})


class Losses:
    """The losses of an epoch's batches; each is read from a GPU while the next batch runs."""

    def __init__(self, device: torch.device) -> None:
        self.total, self.count = 0.0, 0
        self._late = device.type == "cuda"
        self._waiting: tuple[Tensor, int] | None = None

    @property
    def mean(self) -> float:
        """Mean over the batches whose loss is known."""
        return self.total / max(self.count, 1)

    def add(self, loss: Tensor, epoch: int, index: int) -> None:
        """Add the loss of a batch.

        Raises:
            TrainingError: the loss of this batch, or of the previous one, is not a number.
        """
        before, self._waiting = self._waiting, (loss, index)
        if before is not None:
            self._read(*before, epoch)
        if not self._late or self.count == 0:
            self.finish(epoch)

    def finish(self, epoch: int) -> None:
        """Read the remaining losses."""
        if self._waiting is not None:
            self._read(*self._waiting, epoch)
            self._waiting = None

    def _read(self, loss: Tensor, index: int, epoch: int) -> None:
        value = float(loss)
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {epoch + 1}, batch {index + 1}; the checkpoint "
                "before it is kept: lower the learning rate and use a new folder"
            )
        self.total += value
        self.count = index + 1


def generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators that a network may use."""
    found = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_generator(tensors: Mapping[str, Tensor], rank: int, device: torch.device) -> None:
    """Restore torch's generators, if the number of processes and kind of device are the same.

    Raises:
        TrainingError: the state is not a state of torch's generators.
    """
    try:
        if (found := tensors.get(f"rng.torch.{rank}")) is not None:
            torch.set_rng_state(found)
        if device.type == "cuda" and (found := tensors.get(f"rng.cuda.{rank}")) is not None:
            torch.cuda.set_rng_state(found, device)
    except (RuntimeError, TypeError) as error:
        raise TrainingError(
            f"the checkpoint's generator is none of torch's ({error}); train again in "
            "another folder"
        ) from error
