"""Loss and gradients of a training step, recorded once as a CUDA graph and replayed for each batch.

A step consists of hundreds of short operations, and Python starts them more slowly than a GPU does
them. A graph starts all of them at once. It holds the forward and the backward pass only: clipping,
optimizer and averages follow one by one. It computes what the operations would, with the same bits.

The first steps run one operation at a time, so that kernels are compiled and plans are chosen. A
step is never recorded if a replay might differ from it, see :func:`refusal` and
:class:`CapturedGradients`.
"""

from __future__ import annotations

import gc
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.nets.activation_recompute import Recomputing
from neuroport.nets.fused_batchnorm import listened
from neuroport.nets.held_numbers import asked, numbers, small_tensors
from neuroport.nets.neuron import neurons_of
from neuroport.training.parallel import Group

PLAIN = (bool, int, float, str, type(None))
KIND = "cuda"  # of the devices that have graphs
WARM = 3  # steps before a step is recorded; in the last one nothing is compiled any more

Share = float | tuple[Tensor, Tensor]  # of a sample and of its partner
Work = Callable[[Tensor, Tensor, Share], Tensor]


def possible(together: Group, scaler: Any) -> bool:
    """Whether the steps of these processes may be recorded: one process, no loss factor, a GPU.

    ``NEUROPORT_CUDA_GRAPHS=off`` switches graphs off.
    """
    if os.environ.get("NEUROPORT_CUDA_GRAPHS", "").lower() in ("off", "0"):
        return False
    return together.device.type == KIND and together.size == 1 and scaler is None


def refusal(net: nn.Module) -> str | None:
    """Why steps of a network run one operation at a time; None if they may be recorded."""
    for name, module in net.named_modules():
        if listened(module):
            return f"{name or type(net).__name__} has hooks"
        if isinstance(module, Recomputing) and module.recompute:
            return "activations are recomputed"
    if any(p.requires_grad for lif in neurons_of(net) for p in lif.parameters(recurse=False)):
        return "neurons learn their decays or thresholds"  # numbers of the graph
    parameters = list(net.parameters())
    if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters):
        return "parameters have hooks"
    if len({p.device for p in parameters}) > 1:
        return "the network is on several devices"
    return None


class CapturedGradients:
    """Runs the forward and backward pass of training steps, and records them when it may.

    One operation at a time run:

    * the first :data:`WARM` steps, and every batch of another shape,
    * all steps if the network is refused (:func:`refusal`), if it draws random numbers (dropout),
      or if it waits for the GPU,
    * all further steps after the network has changed in what the graph holds (:func:`_held`), or
      after recording failed.

    Python runs in the steps that are recorded only. What ``forward`` computes must follow from
    tensors, and from the numbers, truth values and texts that modules have as attributes.

    Args:
        net: the network in training mode, on its device.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.refused = refusal(net)
        self._recorded: _Recorded | None = None
        self._key: Any = None
        self._seen = 0

    @property
    def recorded(self) -> bool:
        """Whether there is a graph."""
        return self._recorded is not None

    def release(self) -> None:
        """Forget the graph, whose memory is free when the gradients are, too."""
        self._recorded, self._key, self._seen = None, None, 0

    def __call__(self, work: Work, frames: Tensor, labels: Tensor, share: float) -> Tensor:
        """Let the parameters hold the gradients of a batch; return its loss.

        Args:
            work: computes them, with ``None`` as the gradients before.
        """
        if self.refused is not None:
            return work(frames, labels, share)
        key = [(x.shape, x.stride(), x.dtype, x.device) for x in (frames, labels)], share == 1.0
        if self._recorded is not None:
            if key != self._key:
                return work(frames, labels, share)
            if self._recorded.holds():
                return self._recorded.replay(frames, labels, share)
            self._refuse("the network changed")
            return work(frames, labels, share)
        if key != self._key:
            self._key, self._seen = key, 0
        self._seen += 1
        if self._seen <= WARM:
            return self._warmed(work, frames, labels, share)
        failed = None
        try:
            self._recorded = _Recorded.of(self.net, work, frames, labels, share)
        except Exception as error:
            failed = _first_line(error)
        if failed is not None:  # outside of the handler, which holds the tensors of the failure
            self._refuse(f"recording a CUDA graph failed: {failed}", warn=True)
        if self._recorded is None:
            return work(frames, labels, share)
        return self._recorded.replay(frames, labels, share)

    def _warmed(self, work: Work, frames: Tensor, labels: Tensor, share: float) -> Tensor:
        """Run on the stream of the recording; in the last such step look for what forbids it."""
        if self._seen < WARM:
            with _beside(frames.device):
                return work(frames, labels, share)
        before, own = _random_states(frames.device), _states_of_python()
        held = _held(self.net)
        with _beside(frames.device), _waits() as waits:
            loss = work(frames, labels, share)
        same = all(map(torch.equal, before, _random_states(frames.device)))
        if not same or own != _states_of_python():
            self._refuse("it draws random numbers")
        elif waits:
            self._refuse("a training step waits for the GPU", warn=True)
        elif held != _held(self.net):
            self._refuse("forward changes attributes of the network")
        return loss

    def _refuse(self, why: str, warn: bool = False) -> None:
        self.release()
        self.refused = why
        if warn:
            _warn(why)


@dataclass
class _Recorded:
    """A graph, the tensors it reads and writes, and the numbers and addresses it holds."""

    graph: Any
    frames: Tensor
    labels: Tensor
    shares: tuple[Tensor, Tensor] | None
    loss: Tensor
    net: nn.Module
    held: list[Any]  # of the network
    gradients: list[tuple[nn.Parameter, Tensor]]
    others: list[nn.Parameter]  # that a step leaves without a gradient
    numbers: list[tuple[Tensor, tuple[float, ...]]]
    written: list[Tensor]  # of the small ones

    @classmethod
    def of(
        cls, net: nn.Module, work: Work, frames: Tensor, labels: Tensor, share: float
    ) -> _Recorded:
        """Record ``work`` on copies of a batch; the GPU does nothing until a replay."""
        device = frames.device
        given, classes = frames.clone(), labels.clone()
        shares = None
        if share != 1.0:
            kind = torch.get_default_dtype()  # frames may be integers
            shares = (
                frames.new_full((), share, dtype=kind),
                frames.new_full((), 1 - share, dtype=kind),
            )
        versions = [(each, each._version) for each in small_tensors(net)]
        gc.collect()  # an older graph may not be freed while this one is recorded
        graph: Any = torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
        pool, side = torch.cuda.graph_pool_handle(), _side(device)  # type: ignore[no-untyped-call]
        # other threads pin memory meanwhile, which the mode "global" forbids
        recording = torch.cuda.graph(graph, pool, side, capture_error_mode="thread_local")
        try:
            # the stream's own context is left even if that of a recording fails to end
            with asked() as found, torch.cuda.device(device), torch.cuda.stream(side), recording:
                loss = work(given, classes, shares or 1.0)
        except Exception:
            _recover(pool, device)
            raise
        parameters = list(net.parameters())
        return cls(
            graph,
            given,
            classes,
            shares,
            loss,
            net,
            _held(net),
            [(p, p.grad) for p in parameters if p.grad is not None],
            [p for p in parameters if p.grad is None],
            list(found.values()),
            [each for each, version in versions if each._version != version],
        )

    def holds(self) -> bool:
        """Whether the network still is what the graph reads and holds."""
        same = _held(self.net) == self.held
        return same and all(numbers(tensor) == value for tensor, value in self.numbers)

    def replay(self, frames: Tensor, labels: Tensor, share: float) -> Tensor:
        self.frames.copy_(frames)
        self.labels.copy_(labels)
        if self.shares is not None:
            self.shares[0].fill_(share)
            self.shares[1].fill_(1 - share)
        self.graph.replay()
        for parameter, gradient in self.gradients:  # a step in between may have had its own
            parameter.grad = gradient
        for parameter in self.others:
            parameter.grad = None
        with torch.no_grad():
            for tensor in self.written:
                # a replay changes no version, and held numbers go by versions
                tensor.logical_or_(tensor) if tensor.dtype == torch.bool else tensor.mul_(1)
        return self.loss.clone()


def _held(net: nn.Module) -> list[Any]:
    """What of a network a graph holds, except for the values of its tensors."""
    found: list[Any] = []
    for module in net.modules():
        plain = [value for value in vars(module).values() if type(value) in PLAIN]
        found += [id(module), listened(module), plain]
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                hooked = bool(tensor._backward_hooks)
                found += [id(tensor), tensor.data_ptr(), tensor.requires_grad, hooked]
    return found


@cache
def _side(device: torch.device) -> Any:
    """The stream on which steps are recorded, and run before."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def _beside(device: torch.device) -> Iterator[None]:
    """Context on that stream, after and before the work of the current one."""
    side: Any = _side(device)
    main: Any = torch.cuda.current_stream(device)
    side.wait_stream(main)
    try:
        with torch.cuda.stream(side):
            yield
    finally:
        main.wait_stream(side)


@contextmanager
def _waits() -> Iterator[list[str]]:
    """Context that lists operations that waited for the GPU, which cannot be recorded.

    torch does not recover well from such an operation in a recording, so they are looked for
    before.
    """
    found: list[str] = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for each in told:
        said = str(each.message)
        if "called a synchronizing CUDA operation" in said:
            found.append(said)
        elif "Synchronization debug mode" not in said:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def _states_of_python() -> tuple[Any, Any]:
    """States of the generators of Python and NumPy, of which forward may draw, too."""
    kind, keys, *place = np.random.get_state(legacy=True)
    return random.getstate(), (kind, np.asarray(keys).tobytes(), *place)


def _random_states(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device)


def _recover(pool: Any, device: torch.device) -> None:
    """Undo what torch leaves behind if the GPU refuses to end a recording.

    The allocator would keep on recording (emptying its cache is then an error), and the generator
    would refuse to draw. Where a recording ended as it should, both calls change nothing.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    for name in ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"):
        with suppress(Exception):
            getattr(torch._C, name)(index, pool)
    with suppress(Exception):
        generator: Any = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(generator.clone_state())


def _first_line(error: BaseException) -> str:
    """The first cause of an error, in a line."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}".splitlines()[0]


@cache
def _warn(why: str) -> None:
    warnings.warn(
        f"training steps run one operation at a time, which is slower: {why}", stacklevel=2
    )
